//! Answers of ASIO drivers that are not by the book, and entries of theirs in the registry that are
//! not: played through all the same where that can be, and else refused in words that help.
#![cfg(windows)]

mod common;

use common::asio::{Loop, NAME, OUTPUT_READY, Seen, VirtualAsio, layout, open, plays, wanted};
use common::{LONG, PROGRAM, becomes_true};
use sandrack_host::drivers::keeper::{Keeper, KeeperEvent, Played};
use sandrack_host::drivers::{
    self, Callback, CallbackIo, CallbackTime, DriverConfig, DriverEvent, DriverOptions, Rates,
};
use sandrack_host::error::Error;
use std::collections::HashSet;
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::ThreadId;
use std::time::{Duration, Instant};
use windows_registry::LOCAL_MACHINE;

fn opened(settings: &str, wanted: &DriverConfig) -> Result<DriverConfig, String> {
    let virtual_asio = VirtualAsio::set(settings);
    let opened = drivers::open(NAME, wanted, &DriverOptions::default());
    let opened = opened.map(|driver| driver.config().clone()).map_err(|error| error.to_string());
    virtual_asio.was_treated_well();
    opened
}

#[test]
fn yes_no_and_well_come_as_all_kinds_of_numbers() {
    for bad in ["yes-is-code", "yes-is-minus-1", "ok-is-1", "needs-window", "ok-is-1,index"] {
        let (events, _) = plays(&format!("bad={bad}"), 64);
        assert_eq!(events, [], "{bad}");
    }
    let text = opened("bad=init,no-is-code", &wanted(64)).unwrap_err();
    assert!(text.contains("init fails, as it was told to") && text.contains("plug in"), "{text}");
}

#[test]
fn names_in_the_code_page_of_the_system_are_read() {
    let virtual_asio = VirtualAsio::set("bad=code-page");
    let details = drivers::probe(NAME).unwrap().details.unwrap();
    let name = &details.inputs.each[0].name;
    assert!(name.chars().count() == "Loop in 1".len() && name.ends_with("op in 1"), "{name}");
    assert!(!name.starts_with("Lo"), "{name}");
    let source = &details.clock_sources[1].name;
    assert!(source.starts_with('W') && source.ends_with("rd clock"), "{source}");
    virtual_asio.was_treated_well();
}

#[test]
fn inputs_and_outputs_may_have_formats_of_their_own() {
    for (settings, number) in [
        ("format=int24 output-format=float32", 17),
        ("format=float64be output-format=int32-24", 17),
        ("format=int32 output-format=int16", 16),
        ("format=int16be,float32 output-format=int24,int32-20be", 16),
    ] {
        let virtual_asio = VirtualAsio::set(settings);
        let mut driver = open(64).expect(settings);
        let through = Loop::new(driver.config(), layout(number)).on_steps();
        let seen = Arc::clone(&through.seen);
        driver.start(Box::new(through)).expect(settings);
        seen.wait_for(100);
        drop(driver.stop().expect(settings));
        drop(driver);
        seen.came_back_exactly();
        virtual_asio.was_treated_well();
    }
}

#[test]
fn a_format_that_is_certain_only_with_the_buffers_is_asked_for_again() {
    for format in ["int24", "int16", "float64"] {
        let virtual_asio = VirtualAsio::set(&format!("bad=late-format format={format}"));
        let mut driver = open(64).expect(format);
        let through = Loop::new(driver.config(), layout(16)).on_steps();
        let seen = Arc::clone(&through.seen);
        driver.start(Box::new(through)).expect(format);
        seen.wait_for(100);
        drop(driver.stop().expect(format));
        drop(driver);
        seen.came_back_exactly();
        virtual_asio.was_treated_well();
    }
}

#[test]
fn a_hundred_channels_and_more_come_back_each_as_it_went() {
    for (inputs, outputs) in [(160, 160), (129, 300)] {
        let settings = format!("inputs={inputs} outputs={outputs} format=int24,float32,int16");
        let virtual_asio = VirtualAsio::set(&settings);
        let wanted = DriverConfig { inputs: 512, outputs: 512, ..wanted(1024) };
        let mut driver = drivers::open(NAME, &wanted, &DriverOptions::default()).unwrap();
        assert_eq!((driver.config().inputs, driver.config().outputs), (inputs, outputs));
        let through = Loop::new(driver.config(), layout(16)).on_steps();
        let seen = Arc::clone(&through.seen);
        driver.start(Box::new(through)).unwrap();
        seen.wait_for(12);
        drop(driver.stop().unwrap());
        drop(driver);
        seen.came_back_exactly();
        virtual_asio.was_treated_well();
    }
}

/// Plays a number of its own on each channel, and keeps what came in last.
struct Numbers(Arc<Mutex<Vec<f32>>>, Arc<AtomicU64>);

impl Callback for Numbers {
    fn process(&mut self, _: &CallbackTime, io: &mut CallbackIo<'_>) {
        let mut seen = self.0.lock().unwrap();
        seen.clear();
        seen.extend(io.inputs.iter().map(|channel| channel[0]));
        for (number, channel) in io.outputs.iter_mut().enumerate() {
            channel.fill((number + 1) as f32 / 8.0);
        }
        self.1.fetch_add(1, Ordering::Relaxed);
    }
}

#[test]
fn a_channel_that_the_driver_does_not_know_is_silent_and_the_others_play() {
    let virtual_asio = VirtualAsio::set("inputs=3 outputs=3 bad=second-channel");
    let wanted = DriverConfig { inputs: 3, outputs: 3, ..wanted(64) };
    let mut driver = drivers::open(NAME, &wanted, &DriverOptions::default()).unwrap();
    assert_eq!((driver.config().inputs, driver.config().outputs), (3, 3));
    let (seen, blocks) = (Arc::new(Mutex::new(Vec::with_capacity(8))), Arc::default());
    driver.start(Box::new(Numbers(Arc::clone(&seen), Arc::clone(&blocks)))).unwrap();
    assert!(becomes_true(LONG, || blocks.load(Ordering::Relaxed) > 20));
    drop(driver.stop().unwrap());
    assert_eq!(*seen.lock().unwrap(), [0.125, 0.0, 0.375]);
    drop(driver);
    virtual_asio.was_treated_well();
}

#[test]
fn channels_are_those_of_the_rate_that_is_chosen() {
    let all = DriverConfig { inputs: 64, outputs: 64, ..wanted(64) };
    let settings = "inputs=8 outputs=6 bad=fewer-channels";
    let few = opened(settings, &DriverConfig { rate: 96_000, ..all.clone() }).unwrap();
    assert_eq!((few.inputs, few.outputs), (4, 3));
    let many = opened(&format!("{settings} rate=96000"), &all).unwrap();
    assert_eq!((many.inputs, many.outputs), (8, 6));
}

#[test]
fn a_driver_without_what_is_asked_for_says_so_and_is_opened_where_nothing_is() {
    let only_in = |inputs, outputs| DriverConfig { inputs, outputs, ..wanted(64) };
    let text = opened("inputs=2 outputs=0", &only_in(0, 2)).unwrap_err();
    assert!(text.contains("no outputs") && text.contains("--panel"), "{text}");
    let text = opened("inputs=0 outputs=2", &only_in(2, 0)).unwrap_err();
    assert!(text.contains("no inputs") && text.contains("--panel"), "{text}");
    let some = opened("", &only_in(0, 0)).unwrap();
    assert_eq!((some.inputs, some.outputs), (1, 1));
}

#[test]
fn rates_are_found_out_whatever_the_driver_says_of_them() {
    let at = |rate| DriverConfig { rate, ..wanted(64) };
    for (settings, rate, real) in [
        // It says no to all of them, also to that at which it runs.
        ("bad=denies-rates rate=44100", 48_000, 48_000),
        ("bad=denies-rates rate=44100", 0, 44_100),
        // It does not say at which it runs, ever.
        ("bad=no-clock", 96_000, 96_000),
        ("bad=no-clock", 0, 48_000),
        ("bad=no-clock,cannot-tell-rates", 0, 48_000),
        ("bad=no-rate-yet rates=44100 rate=44100", 0, 44_100),
        // It needs a moment to switch.
        ("bad=late-rate rate=44100", 96_000, 96_000),
        // It tells the rate that it has measured.
        ("rate=48003 rates=44100,48000", 0, 48_000),
        ("rate=44098 rates=44100", 44_100, 44_100),
    ] {
        let config =
            opened(settings, &at(rate)).unwrap_or_else(|text| panic!("{settings}: {text}"));
        assert_eq!(config.rate, real, "{settings}, {rate}");
    }
    let virtual_asio = VirtualAsio::set("bad=denies-rates rate=44100");
    let details = drivers::probe(NAME).unwrap().details.unwrap();
    assert_eq!(details.rates, Rates::These { usual: vec![44_100], now: 44_100 });
    virtual_asio.was_treated_well();
}

#[test]
fn two_threads_that_take_turns_are_set_up_once_each() {
    let virtual_asio = VirtualAsio::set("bad=two-threads");
    let threads: Arc<Mutex<Vec<ThreadId>>> = Arc::default();
    let of_driver = Arc::clone(&threads);
    let setup = move || of_driver.lock().unwrap().push(std::thread::current().id());
    let options = DriverOptions { setup: Some(Arc::new(setup)), ..DriverOptions::default() };
    let mut driver = drivers::open(NAME, &wanted(64), &options).unwrap();
    for times in 1..=2 {
        let through = Loop::new(driver.config(), layout(19));
        let seen = Arc::clone(&through.seen);
        driver.start(Box::new(through)).unwrap();
        seen.wait_for(50);
        drop(driver.stop().unwrap());
        seen.came_back_exactly();
        let threads = threads.lock().unwrap();
        let different: HashSet<_> = threads.iter().collect();
        assert_eq!((threads.len(), different.len()), (2 * times, 2 * times), "{threads:?}");
    }
    drop(driver);
    virtual_asio.was_treated_well();
}

#[test]
fn a_driver_that_goes_on_after_stop_plays_silence_and_can_be_started_again() {
    let (events, _) = plays("bad=goes-on", 64);
    assert_eq!(events, []);
    let virtual_asio = VirtualAsio::set("bad=goes-on");
    let mut driver = open(64).unwrap();
    for _ in 0..3 {
        let through = Loop::new(driver.config(), layout(19));
        let seen = Arc::clone(&through.seen);
        driver.start(Box::new(through)).unwrap();
        seen.wait_for(20);
        drop(driver.stop().unwrap());
        let (blocks, told) =
            (seen.blocks.load(Ordering::Relaxed), virtual_asio.count(OUTPUT_READY));
        // It is heard of further on, and goes unanswered.
        assert!(becomes_true(LONG, || virtual_asio.count(OUTPUT_READY) > told + 10));
        assert_eq!(seen.blocks.load(Ordering::Relaxed), blocks);
    }
    drop(driver);
    virtual_asio.was_treated_well();
}

#[test]
fn what_a_driver_says_in_every_block_is_passed_on_now_and_then() {
    let virtual_asio = VirtualAsio::set("bad=nags");
    let mut driver = open(64).unwrap();
    let through = Loop::new(driver.config(), layout(19));
    let seen = Arc::clone(&through.seen);
    driver.start(Box::new(through)).unwrap();
    let mut events = Vec::new();
    // Some thousands of messages.
    let so = becomes_true(LONG, || {
        events.extend(driver.take_events());
        seen.blocks.load(Ordering::Relaxed) > 1000
    });
    assert!(so);
    drop(driver.stop().unwrap());
    let seconds = seen.position.load(Ordering::Relaxed) / 48_000 + 2;
    for kind in [DriverEvent::Resync, DriverEvent::Overload, DriverEvent::LatencyChanged] {
        let count = events.iter().filter(|event| **event == kind).count() as u64;
        assert!((1..10 * seconds).contains(&count), "{kind:?}: {count} times in {seconds} s");
    }
    drop(driver);
    virtual_asio.was_treated_well();
}

/// A keeper's player that only plays loops.
#[derive(Default)]
struct Loops(Arc<Seen>);

impl Played for Loops {
    fn connect(
        &mut self,
        config: &DriverConfig,
        before: Option<Box<dyn Callback>>,
    ) -> Result<Box<dyn Callback>, Error> {
        drop(before);
        Ok(Box::new(Loop::new(config, layout(19)).seen_by(&self.0)))
    }
}

/// Serves a keeper until it has resumed; all that was told.
#[track_caller]
fn until_resumed(keeper: &mut Keeper, loops: &mut Loops) -> Vec<KeeperEvent> {
    let mut all = Vec::new();
    let so = becomes_true(LONG, || {
        all.extend(keeper.service(loops).expect("it goes on"));
        all.iter().any(|event| matches!(event, KeeperEvent::Resumed { .. }))
    });
    assert!(so, "{all:?}");
    all
}

#[test]
fn a_driver_that_has_one_size_left_when_it_is_opened_anew_plays_on_with_that() {
    let virtual_asio = VirtualAsio::set("rates=4800 rate=4800 at=60:reset");
    let mut loops = Loops::default();
    let as_it_is = DriverConfig { rate: 0, ..wanted(64) };
    let options = DriverOptions::default();
    let mut keeper = Keeper::start(NAME, &as_it_is, &options, &mut loops).unwrap();
    assert_eq!(keeper.config().frames, 64);
    // From the next opening on it states many sizes and makes buffers of one.
    virtual_asio.change("rates=4800 rate=4800 bad=one-size");
    until_resumed(&mut keeper, &mut loops);
    assert_eq!(keeper.config().frames, 256);
    drop(keeper.stop().unwrap());
    drop(keeper);
    virtual_asio.was_treated_well();
    drop(virtual_asio);
    // One that is opened for the first time is asked for what its user wants.
    let text = opened("bad=one-size", &wanted(64)).unwrap_err();
    assert!(text.contains("--frames 0"), "{text}");
    assert_eq!(opened("bad=one-size", &wanted(0)).unwrap().frames, 256);
}

#[test]
fn two_requests_for_a_reset_at_once_are_one() {
    let virtual_asio = VirtualAsio::set("rates=4800 rate=4800 at=30:reset,30:reset,30:resync");
    let mut loops = Loops::default();
    let as_it_is = DriverConfig { rate: 0, ..wanted(64) };
    let options = DriverOptions::default();
    let mut keeper = Keeper::start(NAME, &as_it_is, &options, &mut loops).unwrap();
    let mut all = until_resumed(&mut keeper, &mut loops);
    let blocks = keeper.blocks();
    let so = becomes_true(LONG, || {
        all.extend(keeper.service(&mut loops).expect("it goes on"));
        keeper.blocks() > blocks + 60
    });
    assert!(so);
    let resets = all.iter().filter(|event| matches!(event, KeeperEvent::Interrupted(_))).count();
    assert_eq!(resets, 1, "{all:?}");
    drop(keeper.stop().unwrap());
    drop(keeper);
    virtual_asio.was_treated_well();
}

#[test]
fn a_stop_that_hangs_or_waits_for_the_control_panel_holds_nobody_up_for_long() {
    // Both longer than it is waited for; what the driver does then is let go of it.
    for (settings, panel) in [("stop-ms=9000", false), ("panel-ms=9000", true)] {
        let virtual_asio = VirtualAsio::set(settings);
        let mut driver = open(64).unwrap();
        let through = Loop::new(driver.config(), layout(19));
        let seen = Arc::clone(&through.seen);
        driver.start(Box::new(through)).unwrap();
        seen.wait_for(10);
        if panel {
            driver.open_panel().unwrap();
            // And a second one is not opened.
            driver.open_panel().unwrap();
        }
        let before = Instant::now();
        let callback = driver.stop().expect("its callback is there all the same");
        assert!(before.elapsed() < Duration::from_millis(8500), "{settings}");
        let blocks = seen.blocks.load(Ordering::Relaxed);
        drop(driver);
        drop(callback);
        assert_eq!(seen.blocks.load(Ordering::Relaxed), blocks, "{settings}: called after stop");
        let text = open(64).err().map(|error| error.to_string()).unwrap_or_default();
        assert!(text.contains("uses it already"), "{settings}: {text}");
        // When it comes back, it is stopped and let go.
        let mut again = None;
        let so = becomes_true(LONG, || {
            again = open(64).ok();
            again.is_some()
        });
        assert!(so, "{settings}");
        drop(again);
        virtual_asio.was_treated_well();
    }
}

/// An entry in the list of drivers, and one of its class, that are gone with this.
struct Entry(String, Option<String>);

impl Entry {
    fn driver(name: &str, class: Option<&str>, description: &str) -> Self {
        let path = format!(r"SOFTWARE\ASIO\{name}");
        let key = LOCAL_MACHINE.create(&path).unwrap();
        if let Some(class) = class {
            key.set_string("CLSID", class).unwrap();
        }
        key.set_string("Description", description).unwrap();
        Self(path, None)
    }

    /// With a class whose library is here; `None`: it states none.
    fn with_library(name: &str, library: Option<&str>) -> Self {
        let class = "{5a4d7a3c-91e0-4c5e-9d0b-0f2b8f7a1662}";
        let path = format!(r"SOFTWARE\Classes\CLSID\{class}");
        let key = LOCAL_MACHINE.create(&path).unwrap();
        key.set_string("", name).unwrap();
        if let Some(library) = library {
            let server = key.create("InprocServer32").unwrap();
            server.set_string("", library).unwrap();
            server.set_string("ThreadingModel", "Apartment").unwrap();
        }
        let mut entry = Self::driver(name, Some(class), name);
        entry.1 = Some(path);
        entry
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        for path in [Some(&self.0), self.1.as_ref()].into_iter().flatten() {
            let _ = LOCAL_MACHINE.remove_tree(path);
        }
    }
}

fn open_named(name: &str) -> Result<String, String> {
    let opened = drivers::open(name, &wanted(64), &DriverOptions::default());
    opened.map(|driver| driver.name().to_owned()).map_err(|error| error.to_string())
}

#[test]
fn a_driver_goes_by_its_description_and_a_class_in_small_letters_too() {
    let virtual_asio = VirtualAsio::set("");
    let class = "{5a4d7a3c-91e0-4c5e-9d0b-0f2b8f7a1660}";
    let _entries = [
        Entry::driver("sd-alias", Some(class), "Known Otherwise"),
        Entry::driver("sd-blanks ", Some(&format!(" {class}\0")), ""),
    ];
    assert_eq!(open_named("asio:known otherwise").unwrap(), "asio:sd-alias");
    assert_eq!(open_named("asio:sd-blanks").unwrap(), "asio:sd-blanks ");
    virtual_asio.was_treated_well();
}

#[test]
fn entries_that_lead_to_no_driver_say_what_is_wrong() {
    let virtual_asio = VirtualAsio::set("");
    let folder = tempfile::tempdir().unwrap();
    let no_library = folder.path().join("driver.dll");
    std::fs::write(&no_library, "no library").unwrap();
    let path = no_library.to_str().unwrap();
    let unknown = "{5a4d7a3c-91e0-4c5e-9d0b-0f2b8f7a1661}";
    let not_installed = "class not registered";
    for (make, words) in [
        (
            &(|name: &str| Entry::driver(name, None, "")) as &dyn Fn(&str) -> Entry,
            "no proper CLSID",
        ),
        (&|name| Entry::driver(name, Some("{5a4d7a3c}"), ""), "no proper CLSID but \"{5a4d7a3c}\""),
        (&|name| Entry::driver(name, Some(unknown), ""), not_installed),
        (&|name| Entry::with_library(name, None), not_installed),
        // Windows tells by its code what is wrong with a library; Wine has one code for all.
        (&|name| Entry::with_library(name, Some("")), "install it anew"),
        (
            &|name| Entry::with_library(name, Some(r"C:\nowhere\driver.dll")),
            "its library can't be found|it can't be loaded",
        ),
        (
            &|name| Entry::with_library(name, Some(path)),
            "not for 64-bit programs|it can't be loaded",
        ),
        (&|name| Entry::with_library(name, Some("version.dll")), "install it anew"),
    ] {
        let _entry = make("sd-broken");
        let text = open_named("asio:sd-broken").unwrap_err();
        let has = |text: &str| words.split('|').any(|words| text.contains(words));
        assert!(has(&text) && text.contains("install"), "{words}: {text}");
        // It is shown with the reason, and keeps nobody from using the others.
        let output = Command::new(PROGRAM).arg("devices").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && has(&text), "{words}: {text}");
        assert!(text.contains(NAME) && text.contains("Word clock"), "{text}");
    }
    virtual_asio.was_treated_well();
}

#[test]
fn a_driver_for_32_bit_programs_only_is_shown_as_such() {
    let virtual_asio = VirtualAsio::set("");
    let path = r"SOFTWARE\WOW6432Node\ASIO\sd-small";
    let key = LOCAL_MACHINE.create(path).unwrap();
    key.set_string("CLSID", "{5a4d7a3c-91e0-4c5e-9d0b-0f2b8f7a1663}").unwrap();
    let _entry = Entry(path.to_owned(), None);
    let text = open_named("asio:sd-small").unwrap_err();
    assert!(text.contains("32-bit programs only") && text.contains("64-bit driver"), "{text}");
    virtual_asio.was_treated_well();
}

#[test]
fn a_driver_whose_entry_is_wrong_about_threads_is_made_all_the_same() {
    let virtual_asio = VirtualAsio::set("");
    let path = r"SOFTWARE\Classes\CLSID\{5A4D7A3C-91E0-4C5E-9D0B-0F2B8F7A1660}\InprocServer32";
    let entry = windows_registry::LOCAL_MACHINE.create(path).unwrap();
    entry.set_string("ThreadingModel", "Free").unwrap();
    let opened = open(64).map(drop);
    entry.set_string("ThreadingModel", "Apartment").unwrap();
    opened.unwrap();
    virtual_asio.was_treated_well();
}
