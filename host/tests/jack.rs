//! JACK: audio and MIDI through a server, at buffer sizes that change, and after its end.

mod common;

use common::jackd::Jackd;
use common::program::Program;
use common::{LONG, becomes_true, plugin, supervisor_with};
use rtrb::{Consumer, Producer, RingBuffer};
use sandrack_engine::Controller;
use sandrack_host::drivers::jack::JackDriver;
use sandrack_host::drivers::{
    self, Callback, CallbackIo, CallbackTime, Driver, DriverConfig, DriverEvent, DriverOptions,
    JackOptions,
};
use sandrack_host::midi::setup::{Destination, Route};
use sandrack_host::midi::{MidiSetup, midi};
use sandrack_host::session::{Running, Session, SessionConfig, realtime_setup};
use sandrack_plugins_test::param_id;
use std::sync::Arc;
use std::time::{Duration, Instant};

const RATE: u32 = 48_000;
/// Frames between two notes, where in between they begin, and how long they are.
const EVERY: u32 = 12_000;
const BEGINS: u32 = 1_234;
const ENDS: u32 = 7_891;
const VELOCITY: u8 = 100;

/// Plays numbers: each sample says which it is. And a note now and then.
struct Numbers {
    next: u32,
}

/// As samples, numbers up to this are exact.
const EXACT: f32 = 16_777_216.0;

impl Callback for Numbers {
    fn process(&mut self, _: &CallbackTime, io: &mut CallbackIo<'_>) {
        let frames = io.outputs[0].len() as u32;
        for frame in 0..frames {
            let number = (self.next + frame) as f32 / EXACT;
            io.outputs[0][frame as usize] = number;
            io.outputs[1][frame as usize] = -number;
            let midi = io.midi_out.as_mut().expect("it has a MIDI port");
            match (self.next + frame) % EVERY {
                BEGINS => assert!(midi.push(frame, 0, &[0x90, 60, VELOCITY])),
                ENDS => assert!(midi.push(frame, 0, &[0x80, 60, 64])),
                _ => {}
            }
        }
        self.next += frames;
    }
}

/// What was heard at a frame.
#[derive(Clone, Copy, Default)]
struct Heard {
    audio: [f32; 4],
    midi: Option<[u8; 3]>,
}

/// Keeps what it hears.
struct Ear {
    heard: Producer<Heard>,
}

impl Callback for Ear {
    fn process(&mut self, _: &CallbackTime, io: &mut CallbackIo<'_>) {
        let mut midi = io.midi_in.iter().peekable();
        for frame in 0..io.inputs[0].len() {
            let mut heard = Heard::default();
            for (channel, input) in io.inputs.iter().enumerate() {
                heard.audio[channel] = input[frame];
            }
            if let Some(message) = midi.next_if(|message| message.frame as usize == frame) {
                heard.midi = message.bytes.try_into().ok();
            }
            let _ = self.heard.push(heard);
        }
    }
}

fn client(server: &Jackd, name: &str, channels: (u32, u32)) -> JackDriver {
    let wanted = DriverConfig { rate: 0, frames: 0, inputs: channels.0, outputs: channels.1 };
    let options = JackOptions { client: name.into(), connect: false, midi: (1, 1) };
    JackDriver::open(Some(&server.name), &wanted, &options, None).expect("the server runs")
}

/// Opens the host's driver as the program does.
fn host_driver(server: &Jackd) -> Result<Box<dyn Driver>, sandrack_host::error::Error> {
    let wanted = DriverConfig { rate: 0, frames: 0, inputs: 2, outputs: 4 };
    let jack = JackOptions { client: "host".into(), ..JackOptions::default() };
    let setup: drivers::ThreadSetup = Arc::new(|| realtime_setup(None)());
    let options = DriverOptions { setup: Some(setup), jack, ..DriverOptions::default() };
    drivers::open(&server.driver(), &wanted, &options)
}

/// The two other programs, between which the host lies.
struct Others {
    numbers: JackDriver,
    ear: JackDriver,
    heard: Consumer<Heard>,
}

impl Others {
    fn new(server: &Jackd) -> Self {
        let mut numbers = client(server, "numbers", (0, 2));
        let mut ear = client(server, "ear", (4, 0));
        let (producer, heard) = RingBuffer::new(60 * RATE as usize);
        ear.start(Box::new(Ear { heard: producer })).expect("it starts");
        numbers.start(Box::new(Numbers { next: 1 })).expect("it starts");
        Self { numbers, ear, heard }
    }

    /// Waits until so many frames of audio have come through, and checks them. Returns how often
    /// a piece was missing.
    fn listen(&mut self, frames: usize) -> usize {
        let mut all = Vec::new();
        let end = Instant::now() + LONG;
        while all.len() < frames {
            assert!(Instant::now() < end, "{} of {frames} frames were heard", all.len());
            std::thread::sleep(Duration::from_millis(5));
            while let Ok(heard) = self.heard.pop() {
                // Before it is connected there is nothing.
                if heard.audio[0] != 0.0 || !all.is_empty() {
                    all.push(heard);
                }
            }
        }
        check(&all)
    }
}

/// Every sample is one of those sent, halved; they come in order; and notes sound from their very
/// frame to their very frame.
fn check(all: &[Heard]) -> usize {
    let mut gaps = 0;
    let mut last: Option<u32> = None;
    let (mut begun, mut ended) = (0, 0);
    for (at, heard) in all.iter().enumerate() {
        let [left, right, synth, _] = heard.audio;
        let number = left * 2.0 * EXACT;
        assert!(number > 0.0 && number.fract() == 0.0, "frame {at} holds {left}");
        assert_eq!(left.to_bits(), (-right).to_bits(), "frame {at}");
        let number = number as u32;
        let follows = last == Some(number - 1);
        if let Some(last) = last.filter(|_| !follows) {
            assert!(number > last, "frame {at}: {number} after {last}");
            gaps += 1;
        }
        if follows && number % EVERY == BEGINS {
            assert_eq!(heard.midi, Some([0x90, 60, VELOCITY]), "frame {at}");
            assert_eq!(all[at - 1].audio[2], 0.0, "frame {at}: silence before the note");
            let first = f32::from(VELOCITY) / 127.0 * 0.25;
            assert!((synth - first).abs() < 1e-6, "frame {at}: {synth}, not {first}");
            begun += 1;
        } else if follows && number % EVERY == ENDS {
            assert_eq!(heard.midi, Some([0x80, 60, 64]), "frame {at}");
            assert_eq!(synth, 0.0, "frame {at}");
            ended += 1;
        } else {
            assert_eq!(heard.midi, None, "frame {at}");
        }
        last = Some(number);
    }
    let whole = all.len() / EVERY as usize;
    assert!(
        begun + gaps + 1 >= whole && ended + gaps + 1 >= whole,
        "{begun} {ended} {whole} notes"
    );
    gaps
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
    let mut others = Others::new(&server);
    // The host's inputs last: then all is there when the first sound comes.
    for (from, to) in [
        ("host:out_1", "ear:in_1"),
        ("host:out_2", "ear:in_2"),
        ("host:out_3", "ear:in_3"),
        ("host:out_4", "ear:in_4"),
        ("host:midi_out_1", "ear:midi_in_1"),
        ("numbers:midi_out_1", "host:midi_in_1"),
        ("numbers:out_2", "host:in_2"),
        ("numbers:out_1", "host:in_1"),
    ] {
        server.connect(from, to);
    }
    let xruns = |others: &Others, driver: &dyn Driver| {
        driver.xruns() + others.ear.xruns() + others.numbers.xruns()
    };
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
    let mut others = Others::new(&server);
    // Nobody connects anything: the driver knows what was.
    let mut gaps = 0;
    let mut heard = 0;
    let end = Instant::now() + LONG;
    while heard == 0 {
        assert!(Instant::now() < end, "it does not connect itself");
        driver.take_events();
        std::thread::sleep(Duration::from_millis(20));
        heard += usize::from(others.heard.peek().is_ok_and(|heard| heard.audio[0] != 0.0));
        if heard == 0 {
            while others.heard.peek().is_ok_and(|heard| heard.audio[0] == 0.0) {
                let _ = others.heard.pop();
            }
        }
    }
    gaps += others.listen(RATE as usize);
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
