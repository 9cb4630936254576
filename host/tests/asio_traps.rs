//! What ASIO drivers are known to do that hosts have stumbled over, each done by the virtual ASIO
//! driver; and every way of not being able to play, each with words that help.
#![cfg(windows)]

mod common;

use common::asio::{Loop, MONITORS, NAME, Seen, VirtualAsio, layout, open, plays, wanted};
use common::{PROGRAM, becomes_true};
use sandrack_host::drivers::keeper::{Keeper, KeeperEvent, Played};
use sandrack_host::drivers::{self, Callback, DriverConfig, DriverEvent, DriverOptions};
use sandrack_host::error::Error;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[test]
fn callbacks_from_inside_calls_and_on_other_threads_do_no_harm() {
    for bad in [
        "calls-in-create",
        "calls-in-start",
        "calls-in-stop",
        "late-calls",
        "new-threads",
        "calls-in-create,calls-in-start,calls-in-stop,late-calls,new-threads",
    ] {
        let (events, _) = plays(&format!("bad={bad}"), 64);
        assert_eq!(events, [], "{bad}");
    }
}

#[test]
fn the_first_callbacks_may_come_on_the_thread_that_starts() {
    let (events, _) = plays("bad=calls-here-in-start", 64);
    assert_eq!(events, []);
}

#[test]
fn time_may_come_in_any_way_or_not_at_all() {
    for bad in ["no-time-info", "null-time", "no-position", "no-time-info,no-position"] {
        let (_, seen) = plays(&format!("bad={bad}"), 64);
        let blocks = seen.blocks.load(Ordering::Relaxed);
        assert!(seen.position.load(Ordering::Relaxed) >= (blocks - 1) * 64, "{bad}");
    }
}

#[test]
fn swapped_halves_give_the_same_positions_and_no_xruns() {
    for bad in ["swapped", "swapped,no-time-info"] {
        let (_, seen) = plays(&format!("bad={bad}"), 256);
        let xruns = seen.xruns.load(Ordering::Relaxed);
        let position = seen.position.load(Ordering::Relaxed);
        let blocks = seen.blocks.load(Ordering::Relaxed);
        // By position: xruns of this busy machine itself leave no gap in it.
        assert_eq!(position, (blocks - 1) * 256, "{bad}, {xruns} xruns");
    }
}

#[test]
fn blocks_that_the_driver_leaves_out_are_counted() {
    for bad in ["", "bad=swapped", "bad=no-time-info"] {
        let virtual_asio = VirtualAsio::set(&format!("at=50:skip:3 {bad}"));
        let mut driver = open(256).unwrap();
        let through = Loop::new(driver.config(), layout(19));
        let seen = Arc::clone(&through.seen);
        driver.start(Box::new(through)).unwrap();
        seen.wait_for(80);
        drop(driver.stop().unwrap());
        let blocks = seen.blocks.load(Ordering::Relaxed);
        assert_eq!(seen.position.load(Ordering::Relaxed), (blocks - 1 + 3) * 256, "{bad}");
        assert!(driver.xruns() >= 3, "{bad}");
        drop(driver);
        virtual_asio.was_treated_well();
    }
}

#[test]
fn odd_answers_and_buffers_are_understood() {
    for bad in [
        "yes-is-42",
        "unterminated-names",
        "negative-clocks",
        "many-clocks",
        "no-output-ready",
        "index",
        "latencies",
    ] {
        let (events, _) = plays(&format!("bad={bad}"), 64);
        assert_eq!(events, [], "{bad}");
    }
}

#[test]
fn channels_are_as_many_as_there_are_each_way() {
    for (inputs, outputs) in [(1, 0), (0, 1), (1, 3), (3, 1)] {
        let settings = format!("inputs={inputs} outputs={outputs} sizes=512:512:512:0");
        let virtual_asio = VirtualAsio::set(&settings);
        let wanted = DriverConfig { inputs: 9, outputs: 9, ..wanted(512) };
        let mut driver = drivers::open(NAME, &wanted, &DriverOptions::default()).unwrap();
        assert_eq!((driver.config().inputs, driver.config().outputs), (inputs, outputs));
        let through = Loop::new(driver.config(), layout(19)).on_steps();
        let seen = Arc::clone(&through.seen);
        driver.start(Box::new(through)).unwrap();
        seen.wait_for(20);
        drop(driver.stop().unwrap());
        drop(driver);
        virtual_asio.was_treated_well();
    }
}

#[test]
fn a_latency_that_only_a_running_driver_knows_is_asked_for() {
    let virtual_asio = VirtualAsio::set("bad=quiet-latency");
    let mut driver = open(64).unwrap();
    assert_eq!(driver.latency(), (64, 64));
    let through = Loop::new(driver.config(), layout(19));
    let seen = Arc::clone(&through.seen);
    driver.start(Box::new(through)).unwrap();
    seen.wait_for(10);
    assert_eq!(driver.take_events(), [DriverEvent::LatencyChanged]);
    assert_eq!(driver.latency(), (71, 73));
    drop(driver.stop().unwrap());
    drop(driver);
    virtual_asio.was_treated_well();
}

#[test]
fn rates_may_be_measured_unknown_or_not_to_be_asked_for() {
    for settings in
        ["at=50:rate:48011", "bad=no-rate-yet", "bad=cannot-tell-rates rate=44100", "bad=no-future"]
    {
        let (events, _) = plays(settings, 64);
        assert_eq!(events, [], "{settings}");
    }
}

#[test]
fn a_driver_whose_first_callback_takes_its_time_is_waited_for() {
    let virtual_asio = VirtualAsio::set("bad=slow-start");
    let mut driver = open(64).unwrap();
    let through = Loop::new(driver.config(), layout(19));
    let seen = Arc::clone(&through.seen);
    driver.start(Box::new(through)).unwrap();
    let end = Instant::now() + Duration::from_millis(2500);
    while Instant::now() < end {
        assert_eq!(driver.take_events(), []);
        std::thread::sleep(Duration::from_millis(20));
    }
    seen.wait_for(10);
    drop(driver.stop().unwrap());
    drop(driver);
    virtual_asio.was_treated_well();
}

#[test]
fn names_that_do_not_end_are_cut_where_their_memory_ends() {
    let virtual_asio = VirtualAsio::set("bad=unterminated-names");
    let details = drivers::probe(NAME).unwrap().details.unwrap();
    assert!(details.inputs.each[0].name.starts_with("Loop in 1x"), "{details:?}");
    assert_eq!(details.inputs.each[0].name.len(), 32);
    virtual_asio.was_treated_well();
}

#[test]
fn a_rate_that_did_change_without_a_change_is_no_event() {
    let (events, _) = plays("bad=rate-in-start", 64);
    assert_eq!(events, []);
}

#[test]
fn two_callbacks_at_once_are_one_and_the_other_is_counted() {
    let virtual_asio = VirtualAsio::set("bad=overlap");
    let mut driver = open(64).unwrap();
    let through = Loop::new(driver.config(), layout(19));
    let seen = Arc::clone(&through.seen);
    driver.start(Box::new(through)).unwrap();
    seen.wait_for(200);
    drop(driver.stop().unwrap());
    drop(driver);
    virtual_asio.was_treated_well();
}

#[test]
fn sizes_on_no_grid_are_played() {
    for (sizes, frames) in [
        ("22:22:22:0", 22),
        ("441:441:441:0", 441),
        ("441:441:441:-1", 441),
        ("64:512:441:64", 441),
        ("48:768:96:-1", 192),
        ("16:2048:256:16", 1008),
        ("1:8192:64:1", 17),
        ("16:64:16:0", 64),
    ] {
        let (_, seen) = plays(&format!("sizes={sizes}"), frames);
        let blocks = seen.blocks.load(Ordering::Relaxed);
        let position = seen.position.load(Ordering::Relaxed);
        assert_eq!(position, (blocks - 1) * u64::from(frames), "{sizes}");
    }
}

#[test]
fn the_drivers_own_size_and_rate_are_to_be_had() {
    let virtual_asio = VirtualAsio::set("sizes=64:512:441:64 rate=96000");
    let as_set = DriverConfig { rate: 0, frames: 0, inputs: 2, outputs: 9 };
    let driver = drivers::open(NAME, &as_set, &DriverOptions::default()).unwrap();
    // And of channels as many as there are.
    let real = DriverConfig { rate: 96_000, frames: 441, inputs: 2, outputs: 2 };
    assert_eq!(*driver.config(), real);
    drop(driver);
    virtual_asio.was_treated_well();
}

#[test]
fn a_clock_that_drifts_or_wavers_costs_no_block() {
    for settings in ["drift-ppm=2000", "drift-ppm=-2000", "jitter-us=900"] {
        plays(settings, 64);
    }
}

#[test]
fn the_clock_source_is_set_by_name() {
    let virtual_asio = VirtualAsio::set("");
    let with = |name: &str| {
        let clock_source = Some(name.to_owned());
        let options = DriverOptions { clock_source, ..DriverOptions::default() };
        drivers::open(NAME, &wanted(64), &options)
    };
    drop(with("word clock").unwrap());
    let clocks = drivers::probe(NAME).unwrap().details.unwrap().clock_sources;
    let now: Vec<_> = clocks.iter().filter(|clock| clock.current).collect();
    assert_eq!((now.len(), now[0].name.as_str()), (1, "Word clock"));
    let text = with("atomic").err().unwrap().to_string();
    assert!(text.contains("'Internal', 'Word clock'"), "{text}");
    virtual_asio.was_treated_well();
}

#[test]
fn direct_monitoring_is_set_up_and_taken_back() {
    let virtual_asio = VirtualAsio::set("");
    let options = DriverOptions { monitor: vec![(0, 0), (1, 1)], ..DriverOptions::default() };
    let driver = drivers::open(NAME, &wanted(64), &options).unwrap();
    assert_eq!(virtual_asio.count(MONITORS), 2);
    drop(driver);
    assert_eq!(virtual_asio.count(MONITORS), 0);
    virtual_asio.was_treated_well();
    virtual_asio.change("bad=no-future");
    let text = drivers::open(NAME, &wanted(64), &options).err().unwrap().to_string();
    assert!(text.contains("leave out --monitor"), "{text}");
    virtual_asio.was_treated_well();
}

/// A keeper's player that only plays loops.
#[derive(Default)]
struct Loops {
    seen: Arc<Seen>,
}

impl Played for Loops {
    fn connect(
        &mut self,
        config: &DriverConfig,
        before: Option<Box<dyn Callback>>,
    ) -> Result<Box<dyn Callback>, Error> {
        drop(before);
        Ok(Box::new(Loop::new(config, layout(19)).on_steps().seen_by(&self.seen)))
    }
}

/// Serves a keeper until something is told; all that was.
fn until(
    keeper: &mut Keeper,
    loops: &mut Loops,
    so: impl Fn(&KeeperEvent) -> bool,
) -> Vec<KeeperEvent> {
    let mut all = Vec::new();
    let told = becomes_true(common::LONG, || {
        all.extend(keeper.service(loops).expect("it goes on"));
        all.iter().any(&so)
    });
    assert!(told, "{all:?}");
    all
}

#[test]
fn the_control_panel_changes_size_and_rate_under_a_running_stream() {
    let settings = "panel=reset-size:128,reset-rate:96000 panel-ms=300";
    let virtual_asio = VirtualAsio::set(settings);
    let mut loops = Loops::default();
    let options = DriverOptions::default();
    let mut keeper = Keeper::start(NAME, &wanted(64), &options, &mut loops).unwrap();
    let before = Instant::now();
    keeper.driver().unwrap().open_panel().unwrap();
    assert!(before.elapsed() < Duration::from_millis(250), "the panel is not waited for");
    until(&mut keeper, &mut loops, |event| matches!(event, KeeperEvent::Resumed { .. }));
    let config = keeper.config();
    assert_eq!((config.rate, config.frames), (96_000, 128));
    drop(keeper.stop().unwrap());
    drop(keeper);
    loops.seen.came_back_exactly();
    virtual_asio.was_treated_well();
}

#[test]
fn resets_at_bad_moments_are_done_and_one_at_every_start_is_slowed_down() {
    for bad in ["reset-in-start", "reset-in-create", "reset-always"] {
        let virtual_asio = VirtualAsio::set(&format!("bad={bad}"));
        let mut loops = Loops::default();
        let options = DriverOptions::default();
        let mut keeper = Keeper::start(NAME, &wanted(64), &options, &mut loops).unwrap();
        until(&mut keeper, &mut loops, |event| matches!(event, KeeperEvent::Resumed { .. }));
        if bad != "reset-in-start" {
            // It goes on like that, but not all the time.
            let end = Instant::now() + Duration::from_secs(3);
            let mut resets = 0;
            while Instant::now() < end {
                let told = keeper.service(&mut loops).unwrap();
                let is_reset = |event: &&KeeperEvent| matches!(event, KeeperEvent::Interrupted(_));
                resets += told.iter().filter(is_reset).count();
                std::thread::sleep(Duration::from_millis(5));
            }
            assert!((1..8).contains(&resets), "{bad}: {resets} in three seconds");
        }
        let blocks = loops.seen.blocks.load(Ordering::Relaxed);
        let plays = becomes_true(common::LONG, || {
            keeper.service(&mut loops).expect("it goes on");
            loops.seen.blocks.load(Ordering::Relaxed) > blocks + 20
        });
        assert!(plays, "{bad}");
        // It may just be opened anew.
        drop(keeper.stop());
        drop(keeper);
        loops.seen.came_back_exactly();
        virtual_asio.was_treated_well();
    }
}

#[test]
fn each_refusal_says_what_to_try() {
    for (settings, frames, words) in [
        ("bad=init", 64, &["init fails, as it was told to", "plug in"][..]),
        ("nonsense=1", 64, &["can't understand nonsense=1"]),
        ("bad=channels", 64, &["does not tell its channels", "switched on"]),
        ("bad=no-channels", 64, &["no channels", "--panel"]),
        ("bad=no-sizes", 64, &["states no buffer size", "--panel"]),
        ("bad=sizes", 64, &["states no buffer size", "--panel"]),
        ("bad=rate rate=44100", 64, &["48000 Hz is refused", "--rate"]),
        ("rates=44100,96000 rate=44100", 64, &["48000 Hz is refused", "44100, 96000"]),
        ("bad=rate-is-other rate=44100", 64, &["runs at 44100 Hz all the same"]),
        ("", 100, &["100 frames", "16, 32, 64", "--frames"]),
        ("bad=create", 64, &["refuses buffers of 64 frames", "create fails, as it was told to"]),
        ("bad=null-buffers", 64, &["made no buffer for input 1"]),
        ("bad=channel-info", 64, &["does not describe input 1"]),
        ("bad=unknown-format", 64, &["input 1", "33", "DSD", "PCM"]),
    ] {
        let virtual_asio = VirtualAsio::set(settings);
        let text = open(frames).err().unwrap_or_else(|| panic!("{settings}")).to_string();
        for words in words {
            assert!(text.contains(words), "{settings}: {text}");
        }
        assert!(text.starts_with(&format!("driver {NAME}: ")), "{text}");
        virtual_asio.was_treated_well();
    }
}

#[test]
fn a_driver_that_does_not_start_says_so_and_can_be_tried_again() {
    let virtual_asio = VirtualAsio::set("bad=start");
    let mut driver = open(64).unwrap();
    for _ in 0..2 {
        let through = Loop::new(driver.config(), layout(19));
        let text = driver.start(Box::new(through)).unwrap_err().to_string();
        assert!(text.contains("does not start") && text.contains("another program"), "{text}");
        assert!(!driver.running());
    }
    drop(driver);
    virtual_asio.was_treated_well();
}

#[test]
fn a_driver_in_use_says_so() {
    let virtual_asio = VirtualAsio::set("");
    let first = open(64).unwrap();
    let text = open(64).err().unwrap().to_string();
    assert!(text.contains("uses it already") && text.contains("close other programs"), "{text}");
    // From another program, too.
    let output = Command::new(PROGRAM).args(["devices", NAME]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("another program uses it"), "{text}");
    drop(first);
    drop(open(64).unwrap());
    virtual_asio.was_treated_well();
}

#[test]
fn a_driver_whose_init_takes_its_time_is_waited_for() {
    let virtual_asio = VirtualAsio::set("init-ms=6500");
    let before = Instant::now();
    drop(open(64).unwrap());
    assert!(before.elapsed() >= Duration::from_millis(6500));
    virtual_asio.was_treated_well();
}

#[test]
fn a_driver_that_is_not_there_is_answered_with_those_that_are() {
    let _virtual_asio = VirtualAsio::set("");
    let text = drivers::open("asio:Nobody", &wanted(64), &DriverOptions::default());
    let text = text.err().unwrap().to_string();
    assert!(text.contains("no such driver") && text.contains(NAME), "{text}");
}

fn program(arguments: &[&str], settings: &str) -> (bool, String, String) {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env("SANDRACK_ASIO", settings);
    let output = command.output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.success(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn devices_shows_what_the_driver_offers() {
    let _virtual_asio = VirtualAsio::set("");
    let settings = "format=int24 inputs=4 outputs=6 sizes=64:1024:128:-1";
    let (well, text, errors) = program(&["devices"], settings);
    assert!(well, "{errors}");
    for words in [NAME, "virtual", "64, 128, 256, 512, 1024", "prefers 128", "int24", "Word clock"]
    {
        assert!(text.contains(words), "{words}: {text}");
    }
    let (well, text, errors) = program(&["devices", "--json", NAME], settings);
    assert!(well, "{errors}");
    let json: serde_json::Value = serde_json::from_str(&text).expect(&text);
    let details = &json[0]["details"];
    assert_eq!(json[0]["name"], NAME);
    assert_eq!(details["inputs"]["most"], 4);
    assert_eq!(details["outputs"]["each"][5]["name"], "Loop out 6");
    assert_eq!(details["frames"]["preferred"], 128);
    assert_eq!(details["rates"]["these"]["now"], 48_000);
    assert_eq!(details["latency"][0], 128);
    // One that can't be opened is shown with the reason, beside the others.
    let (well, text, _) = program(&["devices"], "bad=init");
    assert!(well && text.contains("can't be used") && text.contains("virtual"), "{text}");
    let (well, _, errors) = program(&["devices", NAME], "bad=init");
    assert!(!well && errors.contains("as it was told to"), "{errors}");
}

#[test]
fn devices_opens_the_control_panel() {
    let _virtual_asio = VirtualAsio::set("");
    let (well, _, errors) = program(&["devices", "--panel", NAME], "panel-ms=100");
    assert!(well, "{errors}");
    let (well, _, errors) = program(&["devices", "--panel", NAME], "bad=panel");
    assert!(!well && errors.contains("control panel does not open"), "{errors}");
}
