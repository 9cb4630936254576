use super::*;
use crate::drivers::{CallbackIo, CallbackTime};
use std::collections::VecDeque;
use std::sync::Mutex;

/// What a fake driver of one opening does.
#[derive(Clone, Default)]
struct Opening {
    /// Why it can't be opened.
    refused: Option<&'static str>,
    /// What it says, at each look.
    says: Vec<Vec<DriverEvent>>,
    /// The rate and size it insists on.
    insists: Option<(u32, u32)>,
    fails_to_start: bool,
}

struct Fake {
    config: DriverConfig,
    says: VecDeque<Vec<DriverEvent>>,
    fails_to_start: bool,
    callback: Option<Box<dyn Callback>>,
}

impl Driver for Fake {
    fn name(&self) -> &str {
        "fake"
    }
    fn config(&self) -> &DriverConfig {
        &self.config
    }
    fn start(&mut self, callback: Box<dyn Callback>) -> Result<(), Error> {
        if self.fails_to_start {
            return Err(refusal("does not start"));
        }
        self.callback = Some(callback);
        Ok(())
    }
    fn stop(&mut self) -> Result<Box<dyn Callback>, Error> {
        self.callback.take().ok_or_else(|| refusal("not started"))
    }
    fn running(&self) -> bool {
        self.callback.is_some()
    }
    fn blocks(&self) -> u64 {
        10
    }
    fn xruns(&self) -> u64 {
        1
    }
    fn take_events(&mut self) -> Vec<DriverEvent> {
        self.says.pop_front().unwrap_or_default()
    }
    fn settings(&self) -> Option<Settings> {
        Some(Settings { preferred: self.config.frames, rate: self.config.rate })
    }
}

fn refusal(reason: &str) -> Error {
    Error::Driver { driver: "fake".into(), reason: reason.into() }
}

/// Knows which one it is.
struct Numbered(#[allow(dead_code)] u32);

impl Callback for Numbered {
    fn process(&mut self, _: &CallbackTime, _: &mut CallbackIo<'_>) {}
}

#[derive(Default)]
struct Player {
    config: Option<DriverConfig>,
    made: u32,
    kept: u32,
}

impl Played for Player {
    fn connect(
        &mut self,
        config: &DriverConfig,
        before: Option<Box<dyn Callback>>,
    ) -> Result<Box<dyn Callback>, Error> {
        let same = self.config.replace(config.clone()).as_ref() == Some(config);
        if let Some(before) = before.filter(|_| same) {
            self.kept += 1;
            return Ok(before);
        }
        self.made += 1;
        Ok(Box::new(Numbered(self.made)))
    }
}

type Wishes = Arc<Mutex<Vec<(DriverConfig, Option<Settings>)>>>;

/// A keeper of a driver that goes through these openings, then on with the last.
fn keeper(openings: Vec<Opening>, player: &mut Player) -> (Result<Keeper, Error>, Wishes) {
    let wishes: Wishes = Arc::default();
    let (seen, left) = (Arc::clone(&wishes), Mutex::new(VecDeque::from(openings)));
    let open = move |wanted: &DriverConfig, before: Option<Settings>| {
        seen.lock().unwrap().push((wanted.clone(), before));
        let mut left = left.lock().unwrap();
        let now = if left.len() > 1 { left.pop_front() } else { left.front().cloned() };
        let Opening { refused, says, insists, fails_to_start } = now.unwrap_or_default();
        if let Some(reason) = refused {
            return Err(refusal(reason));
        }
        let mut config = wanted.clone();
        if let Some((rate, frames)) = insists {
            (config.rate, config.frames) = (rate, frames);
        }
        let says = says.into();
        Ok(Box::new(Fake { config, says, fails_to_start, callback: None }) as Box<dyn Driver>)
    };
    let wanted = DriverConfig { rate: 48_000, frames: 64, inputs: 2, outputs: 2 };
    (Keeper::with(open, &wanted, player), wishes)
}

/// Serves it until something is told that is wanted.
fn until(
    keeper: &mut Keeper,
    player: &mut Player,
    wanted: impl Fn(&KeeperEvent) -> bool,
) -> Vec<KeeperEvent> {
    let mut all = Vec::new();
    let end = Instant::now() + Duration::from_secs(30);
    while !all.iter().any(&wanted) {
        assert!(Instant::now() < end, "{all:?}");
        all.extend(keeper.service(player).unwrap());
        std::thread::sleep(Duration::from_millis(1));
    }
    all
}

fn resumed(event: &KeeperEvent) -> bool {
    matches!(event, KeeperEvent::Resumed { .. })
}

fn says(events: Vec<DriverEvent>) -> Opening {
    Opening { says: vec![events], ..Opening::default() }
}

#[test]
fn a_reset_goes_on_with_the_same_callback_and_totals_add_up() {
    let mut player = Player::default();
    let openings = vec![says(vec![DriverEvent::ResetRequested]), Opening::default()];
    let (keeper, wishes) = keeper(openings, &mut player);
    let mut keeper = keeper.unwrap();
    let told = until(&mut keeper, &mut player, resumed);
    assert!(matches!(told[0], KeeperEvent::Interrupted(_)), "{told:?}");
    assert_eq!((player.made, player.kept), (1, 1));
    assert_eq!((keeper.blocks(), keeper.xruns()), (20, 2));
    // What was set is known to the second opening, so that a change of it can be seen.
    let wishes = wishes.lock().unwrap();
    assert_eq!(wishes[0].1, None);
    assert_eq!(wishes[1].1, Some(Settings { preferred: 64, rate: 48_000 }));
    assert!(keeper.stop().unwrap().is_some());
}

#[test]
fn another_size_or_rate_is_asked_for_and_connected_anew() {
    let mut player = Player::default();
    let openings = vec![
        says(vec![DriverEvent::BufferSizeChanged(128)]),
        says(vec![DriverEvent::RateChanged(44_100), DriverEvent::ResetRequested]),
        Opening::default(),
    ];
    let (keeper, wishes) = keeper(openings, &mut player);
    let mut keeper = keeper.unwrap();
    until(&mut keeper, &mut player, resumed);
    assert_eq!(keeper.config().frames, 128);
    until(&mut keeper, &mut player, resumed);
    assert_eq!((keeper.config().rate, keeper.config().frames), (44_100, 128));
    assert_eq!((player.made, player.kept), (3, 0));
    assert_eq!(wishes.lock().unwrap().len(), 3);
}

#[test]
fn a_driver_that_insists_is_given_its_way() {
    let mut player = Player::default();
    let insists = Opening { insists: Some((96_000, 441)), ..Opening::default() };
    let openings = vec![says(vec![DriverEvent::ResetRequested]), insists];
    let (keeper, _) = keeper(openings, &mut player);
    let mut keeper = keeper.unwrap();
    until(&mut keeper, &mut player, resumed);
    assert_eq!(player.config.as_ref(), Some(keeper.config()));
    assert_eq!((keeper.config().rate, keeper.config().frames), (96_000, 441));
}

#[test]
fn a_driver_that_is_gone_is_tried_again_and_each_reason_is_told_once() {
    let mut player = Player::default();
    let gone = DriverEvent::Gone("unplugged".into());
    let refused = |reason| Opening { refused: Some(reason), ..Opening::default() };
    let openings = vec![
        says(vec![gone]),
        refused("not there"),
        refused("not there"),
        refused("in use"),
        Opening { fails_to_start: true, ..Opening::default() },
        Opening::default(),
    ];
    let (keeper, _) = keeper(openings, &mut player);
    let mut keeper = keeper.unwrap();
    let told = until(&mut keeper, &mut player, resumed);
    let words: Vec<String> = told
        .iter()
        .map(|event| match event {
            KeeperEvent::Interrupted(why) | KeeperEvent::Waiting(why) => why.clone(),
            _ => "resumed".to_owned(),
        })
        .collect();
    let waits = ["driver fake: not there", "driver fake: in use", "driver fake: does not start"];
    assert_eq!(words, [&["unplugged"][..], &waits, &["resumed"]].concat());
    // The one that did not start took the callback with it.
    assert_eq!((player.made, player.kept), (2, 1));
}

#[test]
fn what_needs_no_other_driver_interrupts_nothing() {
    let mut player = Player::default();
    let events = vec![DriverEvent::Overload, DriverEvent::Resync, DriverEvent::LatencyChanged];
    let (keeper, wishes) = keeper(vec![says(events)], &mut player);
    let mut keeper = keeper.unwrap();
    let told = keeper.service(&mut player).unwrap();
    assert_eq!(told, [KeeperEvent::Overload, KeeperEvent::Resync, KeeperEvent::Latency(0, 0)]);
    assert_eq!(wishes.lock().unwrap().len(), 1);
    assert!(keeper.driver().is_some());
}

#[test]
fn the_first_time_it_has_to_work() {
    let mut player = Player::default();
    let refused = Opening { refused: Some("in use"), ..Opening::default() };
    let (none, _) = keeper(vec![refused], &mut player);
    assert_eq!(none.err().unwrap().to_string(), "driver fake: in use");
    let silent = Opening { fails_to_start: true, ..Opening::default() };
    assert!(keeper(vec![silent], &mut player).0.is_err());
}

#[test]
fn a_driver_that_always_asks_for_a_reset_is_served_less_and_less_often() {
    let mut pace = Pace { last: None, pause: Duration::ZERO };
    let start = Instant::now();
    let (mut now, mut times) = (start, 0);
    while now < start + Duration::from_secs(60) {
        now = pace.next(now);
        times += 1;
        // It takes a moment to be opened, and asks again.
        now += Duration::from_millis(20);
    }
    assert!((12..20).contains(&times), "{times}");
    let later = now + Duration::from_secs(20);
    assert_eq!(pace.next(later), later);
}
