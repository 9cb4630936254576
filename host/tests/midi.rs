//! MIDI through the callback: from a driver's port and from queues to plugins, and out again.

mod common;

use common::render::midi as song;
use common::{plugin, supervisor};
use sandrack_engine::Controller;
use sandrack_engine::graph::NodeId;
use sandrack_host::drivers::virtual_driver::VirtualDriver;
use sandrack_host::drivers::{Callback, CallbackIo, CallbackTime, Driver, DriverConfig};
use sandrack_host::midi::setup::{
    Control, Destination, Mapping, Mode, Route, Source, TAPS, Tap, Target,
};
use sandrack_host::midi::{MidiControl, MidiNotice, MidiSetup, midi, midi_queue};
use sandrack_host::report::Isolation;
use sandrack_host::session::{Running, Session, SessionConfig};
use sandrack_plugins_test::param_id;
use std::sync::{Arc, Mutex};

const RATE: u32 = 48_000;
/// 50 blocks a second: with one MIDI clock a block, 125 quarter notes a minute.
const FRAMES: u32 = 960;

/// Keeps what a callback puts out.
struct Witness {
    inner: Box<dyn Callback>,
    said: Arc<Mutex<Said>>,
}

#[derive(Default)]
struct Said {
    /// The left channels of two tracks.
    audio: [Vec<f32>; 2],
    /// Frame since the start, and bytes.
    midi: Vec<(u64, Vec<u8>)>,
}

impl Callback for Witness {
    fn process(&mut self, time: &CallbackTime, io: &mut CallbackIo<'_>) {
        self.inner.process(time, io);
        let mut said = self.said.lock().unwrap();
        said.audio[0].extend_from_slice(io.outputs[0]);
        said.audio[1].extend_from_slice(io.outputs[2]);
        let out = io.midi_out.as_ref().expect("the virtual driver has MIDI").iter();
        said.midi.extend(out.map(|m| (time.sample_position + u64::from(m.frame), m.bytes.into())));
    }
}

/// Two synths that sound at once and end at once, on a virtual driver that is stepped by hand.
struct Stage {
    driver: VirtualDriver,
    midi: MidiControl,
    controller: Controller,
    synths: [NodeId; 2],
    said: Arc<Mutex<Said>>,
    _session: Session,
}

impl Stage {
    fn new(
        prepare: impl FnOnce(VirtualDriver) -> VirtualDriver,
        setup: impl FnOnce([NodeId; 2]) -> MidiSetup,
    ) -> Self {
        Self::of("synth", prepare, setup)
    }

    /// The same, with another plugin in place of the first.
    fn of(
        first: &str,
        prepare: impl FnOnce(VirtualDriver) -> VirtualDriver,
        setup: impl FnOnce([NodeId; 2]) -> MidiSetup,
    ) -> Self {
        Self::isolated(Isolation::None, first, prepare, setup)
    }

    fn isolated(
        isolation: Isolation,
        first: &str,
        prepare: impl FnOnce(VirtualDriver) -> VirtualDriver,
        setup: impl FnOnce([NodeId; 2]) -> MidiSetup,
    ) -> Self {
        let config = SessionConfig {
            tracks: vec![vec![plugin(first)], vec![plugin("synth")]],
            isolation,
            separate: true,
            ..SessionConfig::default()
        };
        let mut session = Session::load(&supervisor(), &config, &|| {}).expect("they load");
        let Running { callback, mut controller, nodes, .. } =
            session.connect(RATE, FRAMES, 1, (0, 4)).expect("a plan");
        let synths = [nodes[0][0].0, nodes[1][0].0];
        for synth in synths {
            controller.set_param(synth, param_id("attack"), 0.0).unwrap();
            controller.set_param(synth, param_id("release"), 0.0).unwrap();
        }
        let (rt, midi) = midi(setup(synths), RATE);
        let config = DriverConfig { rate: RATE, frames: FRAMES, inputs: 0, outputs: 4 };
        let mut driver = prepare(VirtualDriver::new(config).expect("it can").by_hand());
        let said: Arc<Mutex<Said>> = Arc::default();
        let inner = Box::new(callback.with_midi(rt));
        driver.start(Box::new(Witness { inner, said: Arc::clone(&said) })).expect("it starts");
        Self { driver, midi, controller, synths, said, _session: session }
    }

    fn run(&mut self, blocks: u64) {
        assert_eq!(self.driver.run_blocks(blocks).expect("it runs"), blocks);
    }

    /// Where each synth sounds: first and last frame, roughly (the wave goes through zero).
    fn spans(&self, track: usize) -> Vec<(usize, usize)> {
        let said = self.said.lock().unwrap();
        let mut spans: Vec<(usize, usize)> = Vec::new();
        for (at, _) in said.audio[track].iter().enumerate().filter(|(_, s)| s.abs() > 1e-6) {
            match spans.last_mut() {
                Some((_, end)) if at - *end < 8 => *end = at,
                _ => spans.push((at, at)),
            }
        }
        spans
    }
}

fn routes(to: &[NodeId]) -> MidiSetup {
    let routes = to.iter().map(|node| Route::to(*node)).collect();
    MidiSetup { routes, ..MidiSetup::default() }
}

#[test]
fn a_file_on_the_drivers_port_is_played_at_its_samples() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("song.mid");
    // 120 a minute, 480 ticks a quarter: 50 frames a tick.
    let events: [(u32, &[u8]); 3] =
        [(101, &[0x90, 60, 100]), (200, &[0x80, 60, 0]), (179, &[0x90, 61, 0])];
    std::fs::write(&path, song(&[&events])).unwrap();
    let mut stage = Stage::new(
        |driver| driver.with_midi(&path).expect("a song"),
        |[first, _]| routes(&[first]),
    );
    stage.run(50);
    // Its length is 480 ticks, 24000 frames: it begins again.
    let spans = stage.spans(0);
    assert_eq!(spans.len(), 2, "{spans:?}");
    for (span, start) in spans.iter().zip([5_050, 29_050]) {
        assert_eq!(span.0, start, "{spans:?}");
        assert!(span.1.abs_diff(start + 10_000) < 4, "{spans:?}");
    }
    assert!(stage.spans(1).is_empty());
}

#[test]
fn a_held_note_stays_with_its_sound_when_the_setup_changes_and_panic_ends_it() {
    let (mut keys, receiver) = midi_queue(64);
    let mut stage = Stage::new(|driver| driver, |[first, _]| routes(&[first]));
    stage.midi.add_input(receiver).unwrap();
    let second = stage.synths[1];
    let at = |block: usize| block * FRAMES as usize;
    assert!(keys.send(0, 9, &[0x90, 60, 100]));
    stage.run(10);
    stage.midi.set(routes(&[second])).unwrap();
    assert!(keys.send(0, 9, &[0x90, 64, 100]));
    stage.run(10);
    assert!(keys.send(0, 9, &[0x80, 60, 64]));
    stage.run(10);
    assert_eq!(stage.midi.counts().notes, 1);
    stage.midi.panic().unwrap();
    stage.run(10);
    assert_eq!(stage.midi.counts().notes, 0);
    let near = |spans: Vec<(usize, usize)>, start: usize, end: usize| {
        let [(from, to)] = spans[..] else { panic!("{spans:?}") };
        assert!(from == start && to.abs_diff(end) < 4, "{from} {to}, not {start} {end}");
    };
    near(stage.spans(0), at(0), at(20));
    near(stage.spans(1), at(10), at(30));
}

#[test]
fn a_clock_leads_the_transport_and_goes_out_again() {
    let (mut cable, receiver) = midi_queue(64);
    let mut stage = Stage::new(
        |driver| driver,
        |_| MidiSetup { clock_in: Some(9), clock_out: vec![0], ..MidiSetup::default() },
    );
    stage.midi.add_input(receiver).unwrap();
    cable.send(0, 9, &[0xfa]);
    for _ in 0..200 {
        cable.send(0, 9, &[0xf8]);
        stage.run(1);
    }
    let clocks = |stage: &Stage, from: u64| {
        let said = stage.said.lock().unwrap();
        let late = said.midi.iter().filter(|(at, _)| *at >= from * u64::from(FRAMES));
        late.filter(|(_, bytes)| bytes == &[0xf8]).count()
    };
    let goes = |byte: u8| {
        let said = stage.said.lock().unwrap();
        said.midi.iter().any(|(_, bytes)| bytes[0] == byte)
    };
    assert!(goes(0xfa) || goes(0xfb), "it starts, or goes on where it can");
    assert!((99..=101).contains(&clocks(&stage, 100)), "{}", clocks(&stage, 100));
    cable.send(0, 9, &[0xfc]);
    stage.run(2);
    let stopped = stage.said.lock().unwrap().midi.iter().any(|(_, bytes)| bytes == &[0xfc]);
    assert!(stopped, "it stops");
}

#[test]
fn controls_are_told_and_what_goes_out_can_come_in() {
    let (mut knobs, receiver) = midi_queue(64);
    let volume = param_id("volume");
    let mut stage = Stage::new(VirtualDriver::with_midi_loop, |[first, second]| MidiSetup {
        routes: vec![
            // What comes by queue goes out; what comes in by the loop is played.
            Route {
                from: Source { port: Some(9), ..Source::default() },
                ..Route::to_destination(Destination::Port(0))
            },
            Route { from: Source { port: Some(0), ..Source::default() }, ..Route::to(second) },
        ],
        mappings: vec![Mapping {
            from: Source::default(),
            control: Control::Controller(74),
            mode: Mode::Direct,
            target: Target::Param { node: first, param: volume, low: 0.0, high: 0.5 },
            pass: false,
        }],
        ..MidiSetup::default()
    });
    stage.midi.add_input(receiver).unwrap();
    knobs.send(0, 9, &[0x90, 60, 127]);
    knobs.send(0, 9, &[0xb0, 74, 127]);
    stage.run(5);
    assert_eq!(stage.spans(1)[0].0, FRAMES as usize, "a block later");
    let node = stage.synths[0];
    let moved = MidiNotice::Param { node, param: volume, value: 0.5 };
    assert_eq!(stage.midi.notice(), Some(moved));
    assert_eq!(stage.midi.notice(), None);
    let all: Vec<MidiNotice> = std::iter::from_fn(|| stage.midi.moved()).collect();
    let knob = |notice: &&MidiNotice| {
        matches!(notice, MidiNotice::Moved { port: 9, control: Control::Controller(74), .. })
    };
    assert_eq!(all.iter().filter(knob).count(), 1, "{all:?}");
}

/// The notes that a plugin puts out leave in the block in which it was given its own, at their frames;
/// what it has begun ends on panic, and when nobody listens to it any more.
#[test]
fn what_a_plugin_puts_out_leaves_by_the_drivers_port() {
    let (mut keys, receiver) = midi_queue(64);
    let with_tap = |node: NodeId| {
        let port = TAPS.start;
        let from = Source { port: Some(port), ..Source::default() };
        let out = Route::to_destination(Destination::Port(0));
        MidiSetup {
            routes: vec![Route::to(node), Route { from, channel: Some(3), ..out }],
            taps: vec![Tap { node, port }],
            ..MidiSetup::default()
        }
    };
    let mut stage = Stage::of("events", |driver| driver, |[events, _]| with_tap(events));
    let events = stage.synths[0];
    stage.midi.add_input(receiver).unwrap();
    let said = |stage: &Stage| -> Vec<(u64, Vec<u8>)> {
        std::mem::take(&mut stage.said.lock().unwrap().midi)
    };
    stage.run(2);
    assert_eq!(said(&stage), []);
    let block = |number: u64| number * u64::from(FRAMES);
    keys.send(0, 9, &[0x90, 60, 127]);
    keys.send(0, 9, &[0x90, 62, 127]);
    stage.run(1);
    assert_eq!(
        said(&stage),
        [(block(2), vec![0x93, 72, 127]), (block(2), vec![0x93, 74, 127])],
        "an octave up, on its channel"
    );
    keys.send(0, 9, &[0x80, 60, 64]);
    stage.run(1);
    assert_eq!(said(&stage), [(block(3), vec![0x83, 72, 64])]);
    stage.midi.panic().unwrap();
    stage.run(1);
    let all = said(&stage);
    let has = |bytes: [u8; 3]| all.iter().any(|(_, said)| *said == bytes);
    assert!(all.iter().any(|(_, said)| said[..2] == [0x83, 74]), "{all:?}");
    assert!((0..16).all(|channel| has([0xb0 | channel, 123, 0]) && has([0xb0 | channel, 120, 0])));
    keys.send(0, 9, &[0x90, 48, 127]);
    stage.run(1);
    assert_eq!(said(&stage), [(block(5), vec![0x93, 60, 127])]);
    // Nobody learns what a plugin plays.
    let moved: Vec<MidiNotice> = std::iter::from_fn(|| stage.midi.moved()).collect();
    assert!(moved.iter().all(|n| matches!(n, MidiNotice::Moved { port: 9, .. })), "{moved:?}");
    stage.midi.set(routes(&[events])).unwrap();
    stage.run(1);
    let all = said(&stage);
    assert!(matches!(&all[..], [(_, end)] if end[..2] == [0x83, 60]), "{all:?}");
}

/// Bypassed, it is as if it were not there: what is played goes on as it is, and nothing hangs whenever
/// that changes.
#[test]
fn a_bypassed_plugin_passes_its_notes_on() {
    for isolation in [Isolation::None, Isolation::Plugin] {
        let (mut keys, receiver) = midi_queue(64);
        let mut stage = Stage::isolated(
            isolation,
            "events",
            |driver| driver,
            |[events, _]| {
                let port = TAPS.start;
                let from = Source { port: Some(port), ..Source::default() };
                let out = Route { from, ..Route::to_destination(Destination::Port(0)) };
                let taps = vec![Tap { node: events, port }];
                MidiSetup { routes: vec![Route::to(events), out], taps, ..MidiSetup::default() }
            },
        );
        let events = stage.synths[0];
        stage.midi.add_input(receiver).unwrap();
        let mut block = |stage: &mut Stage, played: &[[u8; 3]]| -> Vec<[u8; 2]> {
            played.iter().for_each(|bytes| assert!(keys.send(0, 9, bytes)));
            stage.run(1);
            let said = std::mem::take(&mut stage.said.lock().unwrap().midi);
            said.iter().map(|(_, bytes)| [bytes[0], bytes[1]]).collect()
        };
        block(&mut stage, &[]);
        block(&mut stage, &[]);
        assert_eq!(block(&mut stage, &[[0x90, 60, 100]]), [[0x90, 72]], "{isolation:?}");
        stage.controller.set_bypass(events, true).unwrap();
        assert_eq!(block(&mut stage, &[]), [[0x80, 72]], "what it had begun ends");
        assert_eq!(block(&mut stage, &[[0x90, 62, 100], [0xb0, 1, 9]]), [[0x90, 62], [0xb0, 1]]);
        assert_eq!(block(&mut stage, &[[0x80, 60, 64]]), [[0; 2]; 0], "that has ended");
        stage.controller.set_bypass(events, false).unwrap();
        assert_eq!(block(&mut stage, &[[0x90, 65, 100]]), [[0x90, 77]]);
        assert_eq!(
            block(&mut stage, &[[0x80, 62, 64]]),
            [[0x80, 62]],
            "what it had passed on ends"
        );
        stage.controller.silence(events).unwrap();
        assert_eq!(block(&mut stage, &[[0x90, 67, 100]]), [[0x80, 77]], "it is taken out");
    }
}
