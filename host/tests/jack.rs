//! JACK: audio and MIDI through a server, at buffer sizes that change, and after its end.
#![cfg(unix)]

mod common;

use common::jack_clients::{Ear, Expected, Others, RATE, client};
use common::jackd::Jackd;
use common::program::Program;
use common::{LONG, becomes_true, plugin, supervisor_with};
use rtrb::RingBuffer;
use sandrack_engine::Controller;
use sandrack_host::drivers::{
    self, Callback, CallbackIo, CallbackTime, Driver, DriverConfig, DriverEvent, DriverOptions,
    JackOptions,
};
use sandrack_host::midi::setup::{Destination, Route};
use sandrack_host::midi::{MidiSetup, midi};
use sandrack_host::session::{Running, Session, SessionConfig, realtime_setup};
use sandrack_plugins_test::param_id;
use std::sync::Arc;
use std::time::Duration;

/// Opens the host's driver as the program does.
fn host_driver(server: &Jackd) -> Result<Box<dyn Driver>, sandrack_host::error::Error> {
    let wanted = DriverConfig { rate: 0, frames: 0, inputs: 2, outputs: 4 };
    let jack = JackOptions { client: "host".into(), ..JackOptions::default() };
    let setup: drivers::ThreadSetup = Arc::new(|| realtime_setup(None)());
    let options = DriverOptions { setup: Some(setup), jack, ..DriverOptions::default() };
    drivers::open(&server.driver(), &wanted, &options)
}

/// The plugins: a gain of a half on the first track, a synth on the second; notes go to the synth
/// and out again.
fn connect(session: &mut Session, frames: u32) -> (Box<dyn Callback>, Controller) {
    let Running { callback, mut controller, nodes, .. } =
        session.connect(RATE, frames, 1, (2, 4)).expect("a plan");
    let (gain, synth) = (nodes[0][0].0, nodes[1][0].0);
    controller.set_param(gain, param_id("gain"), 0.5).unwrap();
    controller.set_param(synth, param_id("attack"), 0.0).unwrap();
    controller.set_param(synth, param_id("release"), 0.0).unwrap();
    let routes = vec![Route::to(synth), Route::to_destination(Destination::Port(0))];
    let (rt, _control) = midi(MidiSetup { routes, ..MidiSetup::default() }, RATE);
    (Box::new(callback.with_midi(rt)), controller)
}

#[test]
fn audio_and_midi_are_exact_at_changing_buffer_sizes_and_after_the_servers_end() {
    let Some(mut server) = Jackd::start(1024) else { return };
    let supervisor = supervisor_with(true);
    let config = SessionConfig {
        tracks: vec![vec![plugin("gain")], vec![plugin("synth")]],
        separate: true,
        ..SessionConfig::default()
    };
    let mut session = Session::load(&supervisor, &config, &|| {}).expect("they load");
    let (callback, mut controller) = connect(&mut session, 1024);
    let mut driver = host_driver(&server).expect("the server runs");
    assert_eq!(driver.config(), &DriverConfig { rate: RATE, frames: 1024, inputs: 2, outputs: 4 });
    driver.start(callback).expect("it starts");
    let expected = Expected { factor: 0.5, midi: true };
    let mut others = Others::new(&server, expected);
    others.connect(&server, "host");
    let xruns = |others: &Others, driver: &dyn Driver| driver.xruns() + others.xruns();
    let mut gaps = others.listen(RATE as usize);
    for frames in [2048, 512, 1024] {
        server.set_frames(frames);
        let mut told = Vec::new();
        let is_told = || {
            told.extend(driver.take_events());
            told.contains(&DriverEvent::BlocksChanged(frames))
        };
        assert!(becomes_true(LONG, is_told), "{told:?}");
        assert_eq!(driver.config().frames, frames);
        gaps += others.listen(RATE as usize);
        drain(&mut controller);
    }
    let allowed = xruns(&others, &*driver) + 3;
    assert!(gaps as u64 <= allowed, "{gaps} pieces are missing, {allowed} may be");

    // As it is remembered what is connected to what.
    std::thread::sleep(Duration::from_millis(400));
    driver.take_events();
    server.kill();
    let mut told = Vec::new();
    let is_gone = || {
        told.extend(driver.take_events());
        told.iter().any(|event| matches!(event, DriverEvent::Gone(_)))
    };
    assert!(becomes_true(LONG, is_gone), "{told:?}");
    assert!(!driver.running());
    let callback = driver.stop().expect("the callback comes back");
    drop(others);
    assert!(host_driver(&server).is_err(), "no server");
    server.start_again();
    drop(driver);
    let mut driver = host_driver(&server).expect("the server runs again");
    driver.start(callback).expect("it starts");
    let mut others = Others::new(&server, expected);
    // Nobody connects anything: the driver knows what was.
    others.wait_until_connected(|| drop(driver.take_events()));
    let gaps = others.listen(RATE as usize);
    let allowed = xruns(&others, &*driver);
    assert!(gaps as u64 <= allowed, "{gaps} pieces are missing, {allowed} may be");
    drain(&mut controller);
    drop(driver.stop().expect("it stops"));
    session.quit();
}

/// Throws away what was measured.
fn drain(controller: &mut Controller) {
    while controller.timing().pop().is_ok() {}
}

#[test]
fn latency_is_told_to_other_programs_and_stopping_disconnects_nothing() {
    let Some(server) = Jackd::start(256) else { return };
    struct Silent;
    impl Callback for Silent {
        fn process(&mut self, _: &CallbackTime, _: &mut CallbackIo<'_>) {}
    }
    let mut host = client(&server, "host", (1, 1));
    let mut other = client(&server, "other", (1, 1));
    host.start(Box::new(Silent)).unwrap();
    other.start(Box::new(Silent)).unwrap();
    server.connect("system:capture_1", "host:in_1");
    server.connect("host:out_1", "other:in_1");
    other.set_graph_latency(0);
    host.set_graph_latency(333);
    assert!(
        becomes_true(LONG, || other.latency().0 == host.latency().0 + 333),
        "{:?}, before it {:?}",
        other.latency(),
        host.latency()
    );
    drop(host.stop().unwrap());
    assert!(host.start(Box::new(Silent)).is_ok());
    let blocks = becomes_true(LONG, || host.blocks() > 3);
    assert!(blocks, "it is called back again");
    assert_eq!(other.latency().0, host.latency().0 + 333, "still connected");
    assert!(host.start(Box::new(Silent)).is_err(), "twice");
    let events = other.take_events();
    assert!(!events.iter().any(|event| matches!(event, DriverEvent::Gone(_))), "{events:?}");
}

#[test]
fn a_callback_that_panics_is_silenced_and_said() {
    let Some(server) = Jackd::start(256) else { return };
    struct Bomb;
    impl Callback for Bomb {
        fn process(&mut self, _: &CallbackTime, io: &mut CallbackIo<'_>) {
            io.outputs[0].fill(1.0);
            panic!("as the test wants");
        }
    }
    let mut host = client(&server, "host", (0, 1));
    let mut ear = client(&server, "ear", (4, 0));
    let (producer, mut heard) = RingBuffer::new(RATE as usize);
    ear.start(Box::new(Ear { heard: producer })).unwrap();
    host.start(Box::new(Bomb)).unwrap();
    server.connect("host:out_1", "ear:in_1");
    assert!(becomes_true(LONG, || !host.running()));
    let error = host.stop().err().expect("an error").to_string();
    assert!(error.contains("panicked"), "{error}");
    while let Ok(heard) = heard.pop() {
        assert_eq!(heard.audio[0], 0.0);
    }
}

#[test]
fn without_a_server_it_is_said_what_to_do() {
    let finished = Program::new(["devices", "jack:sandrack-test-nobody"]).start().finish();
    assert!(!finished.status.success());
    let said = "driver jack:sandrack-test-nobody: no JACK server named 'sandrack-test-nobody' is \
                running: start one ('jackd -n sandrack-test-nobody -d alsa'";
    // Where libjack is missing, that is said instead.
    let known = finished.stderr.contains(said) || finished.stderr.contains("libjack");
    assert!(known, "{}", finished.stderr);
}

#[test]
fn devices_shows_the_servers_rate_size_and_ports() {
    let Some(server) = Jackd::start(512) else { return };
    let _other = client(&server, "other", (0, 0));
    let finished = Program::new(["devices", &server.driver()]).start().finish();
    finished.assert_success();
    for part in ["48000 Hz", "512 frames", "system:capture_1", "MIDI in", "other:midi_out_1"] {
        assert!(finished.stdout.contains(part), "{part}: {}", finished.stdout);
    }
}

#[test]
fn bench_measures_in_the_servers_cycle() {
    let Some(server) = Jackd::start(1024) else { return };
    let driver = server.driver();
    let program = Program::new([
        "bench",
        "--driver",
        &driver,
        "--plugins",
        "2",
        "--load-us",
        "20",
        "--isolation",
        "plugin",
        "--no-capacity",
        "--seconds",
        "0.2",
    ]);
    let finished = program.start().finish();
    finished.assert_success();
    assert!(finished.stdout.contains("1024"), "{}", finished.stdout);
}
