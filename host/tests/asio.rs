//! ASIO from outside, with the virtual ASIO driver: every sample format and size, to the bit;
//! through every message of a driver, with plugins in workers, one of which is killed.
#![cfg(windows)]

mod common;

use common::asio::{ALIVE, FORMATS, Loop, NAME, OUTPUT_READY, Seen, VirtualAsio, layout};
use common::{LONG, plugin, supervisor};
use sandrack_engine::Controller;
use sandrack_host::drivers::keeper::{Keeper, KeeperEvent, Played};
use sandrack_host::drivers::{self, Callback, Dither, Driver, DriverConfig, DriverOptions};
use sandrack_host::error::Error;
use sandrack_host::report::Isolation;
use sandrack_host::session::{
    Live, PluginAt, RecoveryOptions, Running, Session, SessionConfig, SessionEvent,
};
use sandrack_plugins_test::param_id;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const SIZES: [u32; 5] = [16, 32, 64, 256, 1024];
/// What the chain's plugins multiply by.
const FACTORS: [f32; 3] = [0.7, 0.9, 0.35];

/// Blocks that take 40 ms, whatever their size: time enough for plugins on a busy machine.
fn slow(frames: u32) -> u32 {
    frames * 25
}

fn wanted(rate: u32, frames: u32) -> DriverConfig {
    DriverConfig { rate, frames, inputs: 2, outputs: 2 }
}

fn no_dither() -> DriverOptions {
    DriverOptions { dither: Dither::Off, ..DriverOptions::default() }
}

/// Plays a loop for so many blocks.
fn play(driver: &mut dyn Driver, through: Loop, blocks: u64) -> Arc<Seen> {
    let seen = Arc::clone(&through.seen);
    driver.start(Box::new(through)).expect("it starts");
    seen.wait_for(blocks);
    drop(driver.stop().expect("it stops"));
    seen
}

#[test]
fn every_format_at_every_size_comes_back_to_the_bit() {
    for (name, number) in FORMATS {
        for frames in SIZES {
            // As fast as it can be: what is too late here is waited for.
            let virtual_asio = VirtualAsio::set(&format!("format={name} rate=48000"));
            let mut driver = drivers::open(NAME, &wanted(48_000, frames), &no_dither()).unwrap();
            assert_eq!((driver.config().frames, driver.latency()), (frames, (frames, frames)));
            let through = Loop::new(driver.config(), layout(number));
            play(&mut *driver, through, 12).came_back_exactly();
            drop(driver);
            // With dither, samples that lose nothing are as exact.
            let how = DriverOptions::default();
            let mut driver = drivers::open(NAME, &wanted(48_000, frames), &how).unwrap();
            let through = Loop::new(driver.config(), layout(number)).on_steps();
            play(&mut *driver, through, 12).came_back_exactly();
            let told = virtual_asio.count(OUTPUT_READY);
            assert!(told >= driver.blocks(), "{told} times told of {} blocks", driver.blocks());
            drop(driver);
            virtual_asio.was_treated_well();
        }
    }
}

#[test]
fn channels_of_several_formats_are_each_read_and_written_in_their_own() {
    let virtual_asio = VirtualAsio::set("inputs=4 outputs=4 format=int16,float64be,int24,int32-20");
    let config = DriverConfig { inputs: 4, outputs: 4, ..wanted(48_000, 64) };
    let mut driver = drivers::open(NAME, &config, &DriverOptions::default()).unwrap();
    // Steps of the coarsest are steps of all.
    let through = Loop::new(driver.config(), layout(16)).on_steps();
    play(&mut *driver, through, 50).came_back_exactly();
    drop(driver);
    virtual_asio.was_treated_well();
}

/// A session of gains in series, each in a worker, as a keeper's.
struct Stage {
    session: Session,
    live: Option<(Live, Controller)>,
    config: Option<DriverConfig>,
    format: i32,
    seen: Arc<Seen>,
    /// What the keeper told since the start: a message may come at any step of a test.
    told: Vec<KeeperEvent>,
}

impl Stage {
    fn load(format: i32) -> Self {
        let config = SessionConfig {
            tracks: vec![vec![plugin("gain"); FACTORS.len()]],
            isolation: Isolation::Plugin,
            ..SessionConfig::default()
        };
        let session = Session::load(&supervisor(), &config, &|| {}).expect("plugins load");
        Self { session, live: None, config: None, format, seen: Arc::default(), told: Vec::new() }
    }

    /// Sets the gains, as a user does; once.
    fn set_gains(&mut self) {
        let (live, controller) = self.live.as_mut().expect("it is connected");
        for (plugin, factor) in FACTORS.into_iter().enumerate() {
            let (at, param) = (PluginAt { track: 0, plugin }, param_id("gain"));
            live.set_param(&mut self.session, controller, at, param, factor.into()).unwrap();
        }
    }

    fn service(&mut self) -> Vec<SessionEvent> {
        let (live, controller) = self.live.as_mut().expect("it is connected");
        while controller.timing().pop().is_ok() {}
        live.service(&mut self.session, controller).expect("a plan")
    }

    /// Serves keeper and session until something is so of all that the keeper told since the start
    /// and of what the session says from here on.
    #[track_caller]
    fn until(
        &mut self,
        keeper: &mut Keeper,
        what: &str,
        mut so: impl FnMut(&[KeeperEvent], &[SessionEvent]) -> bool,
    ) {
        let mut said = Vec::new();
        let end = Instant::now() + LONG;
        while !so(&self.told, &said) {
            assert!(Instant::now() < end, "not {what}: {:?} {said:?}", self.told);
            let told = keeper.service(self).expect("it goes on");
            self.told.extend(told);
            said.extend(self.service());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// Until the chain has put out what it should for so many blocks in a row.
    #[track_caller]
    fn until_exact(&mut self, keeper: &mut Keeper, blocks: u64) {
        self.seen.chain_row.store(0, Ordering::Relaxed);
        let seen = Arc::clone(&self.seen);
        let what = format!("{blocks} exact blocks in a row");
        self.until(keeper, &what, |_, _| seen.chain_row.load(Ordering::Relaxed) >= blocks);
    }
}

impl Played for Stage {
    fn connect(
        &mut self,
        config: &DriverConfig,
        before: Option<Box<dyn Callback>>,
    ) -> Result<Box<dyn Callback>, Error> {
        let same = self.config.replace(config.clone()).as_ref() == Some(config);
        if let Some(before) = before.filter(|_| same) {
            return Ok(before);
        }
        let DriverConfig { rate, frames, inputs, outputs } = *config;
        let running = match self.live.take() {
            Some((mut live, _)) => live.reconfigure(&mut self.session, rate, frames)?,
            None => self.session.connect(rate, frames, FACTORS.len(), (inputs, outputs))?,
        };
        let Running { callback, controller, mut live, .. } = running;
        live.enable_recovery(&self.session, RecoveryOptions::default());
        self.live = Some((live, controller));
        let through = Loop::new(config, layout(self.format));
        Ok(Box::new(through.through(Box::new(callback), &FACTORS).seen_by(&self.seen)))
    }
}

#[test]
fn a_chain_of_workers_is_exact_at_every_size_in_every_format() {
    let mut stage = Stage::load(19);
    for frames in SIZES {
        for (name, number) in FORMATS {
            let rate = slow(frames);
            let virtual_asio = VirtualAsio::set(&format!("format={name} rates={rate} rate={rate}"));
            stage.format = number;
            stage.seen = Arc::default();
            stage.config = None;
            let wanted = wanted(rate, frames);
            let mut keeper = Keeper::start(NAME, &wanted, &no_dither(), &mut stage).unwrap();
            stage.set_gains();
            stage.until_exact(&mut keeper, 4);
            drop(keeper.stop().expect("it stops"));
            drop(keeper);
            stage.seen.came_back_exactly();
            virtual_asio.was_treated_well();
        }
    }
    drop(stage.live.take());
    stage.session.quit();
}

/// Plays the chain while the driver does what `happens` says; then the chain has to be exact again,
/// with the gains that were set before. What the keeper told meanwhile.
fn through_a_message(happens: &str, told: impl Fn(&KeeperEvent) -> bool, after: (u32, u32)) {
    let settings = "format=int24 sizes=16:4096:64:-1 rates=1600,3200 rate=1600 ";
    let virtual_asio = VirtualAsio::set(&format!("{settings} at=12:{happens}"));
    let mut stage = Stage::load(17);
    let mut keeper = Keeper::start(NAME, &wanted(1600, 64), &no_dither(), &mut stage).unwrap();
    stage.set_gains();
    let mut all = Vec::new();
    stage.until(&mut keeper, "told", |events, _| {
        all = events.to_vec();
        events.iter().any(&told)
    });
    stage.until_exact(&mut keeper, 6);
    let config = keeper.config();
    assert_eq!((config.rate, config.frames), after, "{all:?}");
    drop(keeper.stop().expect("it stops"));
    drop(keeper);
    stage.seen.came_back_exactly();
    virtual_asio.was_treated_well();
    drop(stage.live.take());
    stage.session.quit();
}

fn resumed(event: &KeeperEvent) -> bool {
    matches!(event, KeeperEvent::Resumed { .. })
}

#[test]
fn a_reset_is_done_and_plugins_keep_what_they_had() {
    through_a_message("reset", resumed, (1600, 64));
}

#[test]
fn a_size_chosen_in_the_control_panel_is_taken_over() {
    through_a_message("reset-size:128", resumed, (1600, 128));
}

#[test]
fn a_rate_chosen_in_the_control_panel_is_taken_over() {
    through_a_message("reset-rate:3200", resumed, (3200, 64));
}

#[test]
fn another_buffer_size_is_taken_over() {
    through_a_message("size:32", resumed, (1600, 32));
}

#[test]
fn another_rate_is_taken_over() {
    through_a_message("rate:3200", resumed, (3200, 64));
}

#[test]
fn an_odd_size_that_the_driver_prefers_now_is_taken_over() {
    through_a_message("reset-size:441", resumed, (1600, 441));
}

#[test]
fn other_latencies_are_told_without_an_interruption() {
    let told = |event: &KeeperEvent| *event == KeeperEvent::Latency(111, 222);
    through_a_message("latency:111:222", told, (1600, 64));
}

#[test]
fn a_resync_is_told_without_an_interruption() {
    through_a_message("resync", |event| *event == KeeperEvent::Resync, (1600, 64));
}

#[test]
fn an_overload_is_told_without_an_interruption() {
    through_a_message("overload", |event| *event == KeeperEvent::Overload, (1600, 64));
}

#[test]
fn a_driver_that_vanishes_is_opened_again_when_it_is_back() {
    through_a_message("vanish:4000", resumed, (1600, 64));
}

#[test]
fn a_driver_that_only_stands_still_is_opened_anew() {
    through_a_message("stall", resumed, (1600, 64));
}

#[test]
fn a_plugin_killed_in_the_middle_comes_back_through_a_reset() {
    let settings = "format=int24 rates=1600 rate=1600 at=60:reset";
    let virtual_asio = VirtualAsio::set(settings);
    let mut stage = Stage::load(17);
    let mut keeper = Keeper::start(NAME, &wanted(1600, 64), &no_dither(), &mut stage).unwrap();
    stage.set_gains();
    stage.until_exact(&mut keeper, 4);
    // Its state is saved before it is needed.
    let end = Instant::now() + Duration::from_millis(1500);
    stage.until(&mut keeper, "saved", |_, _| Instant::now() > end);
    stage.session.workers()[1].kill();
    stage.until(&mut keeper, "recovered", |_, said| {
        said.iter().any(|event| matches!(event, SessionEvent::Recovered { .. }))
    });
    stage.until_exact(&mut keeper, 4);
    stage.until(&mut keeper, "resumed", |told, _| told.iter().any(resumed));
    stage.until_exact(&mut keeper, 4);
    drop(keeper.stop().expect("it stops"));
    drop(keeper);
    // Whatever the chain did, it went out and came back as it was.
    stage.seen.came_back_exactly();
    virtual_asio.was_treated_well();
    drop(stage.live.take());
    stage.session.quit();
}

#[test]
fn an_engine_in_the_callback_is_not_started_twice() {
    let virtual_asio = VirtualAsio::set("");
    let mut driver = drivers::open(NAME, &wanted(48_000, 64), &no_dither()).unwrap();
    let through = Loop::new(driver.config(), layout(19));
    driver.start(Box::new(through)).unwrap();
    let again = Box::new(Loop::new(driver.config(), layout(19)));
    let text = driver.start(again).unwrap_err().to_string();
    assert!(text.contains("already started"), "{text}");
    drop(driver.stop().unwrap());
    let text = driver.stop().err().unwrap().to_string();
    assert!(text.contains("not started"), "{text}");
    // And again, as often as wanted.
    for _ in 0..5 {
        let through = Loop::new(driver.config(), layout(19));
        play(&mut *driver, through, 5).came_back_exactly();
    }
    // Dropped while it plays: it stops first.
    let through = Loop::new(driver.config(), layout(19));
    driver.start(Box::new(through)).unwrap();
    drop(driver);
    virtual_asio.was_treated_well();
    assert_eq!(virtual_asio.count(ALIVE), 0);
}
