//! A rig that plays MIDI ports of other programs through JACK: notes, what plugins put out, clock.
#![cfg(unix)]

mod common;

use common::jack_clients::client;
use common::jackd::Jackd;
use common::{LONG, PROGRAM, becomes_true, plugin};
use rtrb::{Consumer, Producer, RingBuffer};
use sandrack_host::drivers::jack::JackDriver;
use sandrack_host::drivers::{Callback, CallbackIo, CallbackTime, Driver};
use sandrack_host::play::{Command, MessageKind, PlayOptions, Player, Source, View};
use sandrack_host::rig::{MidiOutput, Rig};
use std::path::Path;
use std::time::Duration;

/// A period in which a note has many frames to choose from.
const FRAMES: u32 = 512;
const RATE: f64 = 48_000.0;

/// A message in a cycle of the server: when that began, ns; at which frame.
#[derive(Clone, Copy, Debug)]
struct Message {
    cycle_ns: u64,
    frame: u32,
    bytes: [u8; 3],
    len: usize,
}

impl Message {
    fn bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    /// Frames since another, by the server's own time.
    fn since(&self, other: &Self) -> f64 {
        let cycles = (self.cycle_ns as f64 - other.cycle_ns as f64) * RATE / 1e9;
        cycles + f64::from(self.frame) - f64::from(other.frame)
    }
}

impl Message {
    /// The clocks of two programs are compared to the server's apart from each other, on a busy machine
    /// not to the microsecond: in the same cycle, or in another one.
    #[track_caller]
    fn is_in_the_cycle_of(&self, other: &Self) {
        let cycles = self.since(other) - f64::from(self.frame) + f64::from(other.frame);
        assert!(cycles.abs() < f64::from(FRAMES / 2), "{cycles} frames between the cycles");
    }
}

/// Another program, with a MIDI port each way.
struct Other {
    _driver: JackDriver,
    tell: Producer<(u32, [u8; 3])>,
    heard: Consumer<Message>,
    sent: Consumer<Message>,
    /// Everything that was heard so far.
    all: Vec<Message>,
}

struct Plays {
    told: Consumer<(u32, [u8; 3])>,
    heard: Producer<Message>,
    sent: Producer<Message>,
}

impl Callback for Plays {
    fn process(&mut self, time: &CallbackTime, io: &mut CallbackIo<'_>) {
        let cycle_ns = time.due_ns;
        for message in io.midi_in.iter() {
            let mut bytes = [0; 3];
            let len = message.bytes.len().min(3);
            bytes[..len].copy_from_slice(&message.bytes[..len]);
            let _ = self.heard.push(Message { cycle_ns, frame: message.frame, bytes, len });
        }
        let Some(out) = io.midi_out.as_mut() else { return };
        if let Ok((frame, bytes)) = self.told.pop() {
            assert!(out.push(frame, 0, &bytes));
            let _ = self.sent.push(Message { cycle_ns, frame, bytes, len: 3 });
        }
    }
}

impl Other {
    fn new(server: &Jackd, name: &str) -> Self {
        let (tell, told) = RingBuffer::new(64);
        let (heard, heard_here) = RingBuffer::new(65_536);
        let (sent, sent_here) = RingBuffer::new(64);
        let mut driver = client(server, name, (1, 0));
        driver.start(Box::new(Plays { told, heard, sent })).expect("it starts");
        Self { _driver: driver, tell, heard: heard_here, sent: sent_here, all: Vec::new() }
    }

    /// Sends a message; the server's cycle in which that happened.
    fn play(&mut self, frame: u32, bytes: [u8; 3]) -> Message {
        self.tell.push((frame, bytes)).expect("it has room");
        let mut sent = None;
        assert!(becomes_true(LONG, || {
            sent = self.sent.pop().ok();
            sent.is_some()
        }));
        sent.expect("it was sent")
    }

    /// The first message that it has heard since it was cleared, that is as wanted.
    #[track_caller]
    fn hears(&mut self, what: &str, wanted: impl Fn(&Message) -> bool) -> Message {
        let mut found = None;
        let so = becomes_true(LONG, || {
            while let Ok(message) = self.heard.pop() {
                self.all.push(message);
            }
            found = self.all.iter().find(|message| wanted(message)).copied();
            found.is_some()
        });
        assert!(so, "{what} is not heard, but {:?}", self.all);
        found.expect("it was found")
    }

    #[track_caller]
    fn hears_bytes(&mut self, bytes: &[u8]) -> Message {
        self.hears(&format!("{bytes:x?}"), |message| message.bytes() == bytes)
    }

    fn forget(&mut self) {
        while self.heard.pop().is_ok() {}
        self.all.clear();
    }
}

fn open(server: &Jackd, rig: &str) -> Player {
    let text = format!(
        "sandrack_rig = 1\n[driver]\nname = \"{}\"\ninputs = 0\noutputs = 2\n{rig}",
        server.driver()
    );
    let rig = Rig::parse(Path::new("rig.toml"), &text).expect("it is a rig");
    let mut options = PlayOptions::new().expect("this program has a file");
    options.supervisor.program = PROGRAM.into();
    options.supervisor.timeout = Duration::from_secs(30);
    let player = Player::open(Source::Rig(rig), options).expect("it plays");
    let view = player.view();
    assert!(view.driver.is_running, "{:?}", view.messages);
    player
}

#[track_caller]
fn until(player: &Player, what: &str, so: impl Fn(&View) -> bool) {
    let mut view = player.view();
    let done = becomes_true(LONG, || {
        view = player.view();
        so(&view)
    });
    assert!(done, "not {what}: {:?} {:?}", view.midi, view.messages);
}

fn events_plugin() -> String {
    let events = plugin("events");
    let (id, path) = (events.id.unwrap_or_default(), events.path.display().to_string());
    format!("  [[track.plugin]]\n  id = \"octave\"\n  plugin = \"{id}\"\n  path = \"{path}\"\n")
}

#[test]
fn notes_go_to_a_named_port_in_the_same_cycle_at_their_frame_and_panic_ends_them() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let mut keys = Other::new(&server, "keys");
    let mut module = Other::new(&server, "Big Module");
    let rig = "[[track]]\nid = \"outside\"\nmidi = [{ keys = [48, 127], transpose = 2 }]\nmidi_out = \
               [{ port = \"module\", channel = 5 }]\n";
    let player = open(&server, rig);
    server.connect("keys:midi_out_1", "sandrack:midi_in_1");
    until(&player, "connected", |view| {
        view.midi.sends.iter().any(|send| send.ports == ["Big Module:midi_in_1"])
    });
    std::thread::sleep(Duration::from_millis(500));
    for (frame, key) in [(0, 60), (17, 62), (FRAMES - 1, 64)] {
        let sent = keys.play(frame, [0x90, key, 100]);
        let heard = module.hears_bytes(&[0x94, key + 2, 100]);
        assert_eq!(heard.frame, frame);
        heard.is_in_the_cycle_of(&sent);
    }
    keys.play(100, [0x90, 40, 100]);
    let sent = keys.play(3, [0xb0, 7, 90]);
    let heard = module.hears_bytes(&[0xb4, 7, 90]);
    heard.is_in_the_cycle_of(&sent);
    keys.play(5, [0x80, 60, 0]);
    module.hears_bytes(&[0x84, 62, 0]);
    let below = module.all.iter().filter(|m| m.bytes[1] == 42 || m.bytes[1] == 40).count();
    assert_eq!(below, 0, "below the lowest key: {:?}", module.all);
    module.forget();
    player.send(Command::Panic);
    for channel in 0..16 {
        module.hears_bytes(&[0xb0 | channel, 123, 0]);
        module.hears_bytes(&[0xb0 | channel, 120, 0]);
    }
    for key in [64, 66] {
        module.hears("the end of a note", |m| m.bytes[0] == 0x84 && m.bytes[1] == key);
    }
    // What is played on the screen goes there as well.
    player.send(Command::NoteOn { track: "outside".into(), key: 70, velocity: 1.0 });
    module.hears_bytes(&[0x94, 70, 127]);
    module.forget();
    // A note that is held when the rig is closed does not sound on.
    player.close().expect("it closes");
    module.hears("the end of a note", |m| m.bytes[0] == 0x84 && m.bytes[1] == 70);
}

#[test]
fn what_a_plugin_puts_out_goes_to_a_port_and_ends_when_it_is_taken_away() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let mut keys = Other::new(&server, "keys");
    let mut module = Other::new(&server, "module");
    let rig = format!(
        "[[track]]\nid = \"seq\"\n{}  midi_out = [{{ port = \"Module\", channel = 2 }}]\n",
        events_plugin()
    );
    let player = open(&server, &rig);
    server.connect("keys:midi_out_1", "sandrack:midi_in_1");
    until(&player, "connected", |view| view.midi.sends.iter().any(|s| !s.ports.is_empty()));
    std::thread::sleep(Duration::from_millis(500));
    for (frame, key) in [(33, 60), (200, 64)] {
        let sent = keys.play(frame, [0x93, key, 127]);
        // An octave up, on another channel, at its frame of the same cycle.
        let heard = module.hears_bytes(&[0x91, key + 12, 127]);
        assert_eq!(heard.frame, frame);
        heard.is_in_the_cycle_of(&sent);
    }
    keys.play(7, [0x83, 60, 64]);
    module.hears("its end", |m| m.bytes[0] == 0x81 && m.bytes[1] == 72);
    // The other is held, and its plugin goes.
    let process = player.view().plugin(&"octave".into()).and_then(|p| p.1.process);
    let process = i32::try_from(process.expect("it runs")).expect("a process");
    let process = rustix::process::Pid::from_raw(process).expect("a process");
    rustix::process::kill_process(process, rustix::process::Signal::KILL).expect("it is killed");
    module.hears("the end of the other", |m| m.bytes[0] == 0x81 && m.bytes[1] == 76);
    until(&player, "back", |view| {
        view.messages.iter().any(|message| message.text.contains("plays again"))
    });
    module.forget();
    keys.play(7, [0x93, 50, 127]);
    module.hears_bytes(&[0x91, 62, 127]);
    player.send(Command::RemovePlugin("octave".into()));
    module.hears("the end of what it had begun", |m| m.bytes[0] == 0x81 && m.bytes[1] == 62);
}

#[test]
fn a_clock_goes_out_at_its_frames_with_start_position_and_stop() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let mut drums = Other::new(&server, "Drum Box");
    let rig = "[transport]\ntempo = 125.0\nclock_out = [\"drum\"]\n";
    let player = open(&server, rig);
    until(&player, "connected", |view| view.midi.sends.iter().any(|s| !s.ports.is_empty()));
    let first = drums.hears_bytes(&[0xf8]);
    player.send(Command::Locate(0.0));
    player.send(Command::Transport(true));
    let start = drums.hears_bytes(&[0xfa]);
    let clocks = |drums: &mut Other, from: &Message, count: usize| -> Vec<f64> {
        let so = becomes_true(LONG, || {
            while let Ok(message) = drums.heard.pop() {
                drums.all.push(message);
            }
            let later = drums.all.iter().filter(|m| m.bytes() == [0xf8] && m.since(from) > -1.0);
            later.count() > count
        });
        assert!(so, "{:?}", drums.all);
        let all = drums.all.iter().filter(|m| m.bytes() == [0xf8] && m.since(from) > -1.0);
        all.take(count).map(|m| m.since(from)).collect()
    };
    assert!(start.since(&first) > 0.0);
    // 24 to the quarter at 125 a minute: 960 frames apart, without a sum of errors. The server's clock
    // says when a cycle began to some microseconds; and it leaves cycles out when the machine is busy.
    let clocks = clocks(&mut drums, &start, 100);
    assert!(clocks[0].abs() < 100.0, "{clocks:?}");
    let apart: Vec<f64> = clocks.windows(2).map(|pair| pair[1] - pair[0]).collect();
    let even: Vec<f64> = apart.iter().copied().filter(|d| (d - 960.0).abs() < 100.0).collect();
    let mean = even.iter().sum::<f64>() / even.len() as f64;
    assert!(even.len() + 4 > apart.len() && (mean - 960.0).abs() < 8.0, "{mean}: {apart:?}");
    drums.forget();
    player.send(Command::Transport(false));
    drums.hears_bytes(&[0xfc]);
    // Eight quarters are 32 sixteenths.
    player.send(Command::Locate(8.0));
    std::thread::sleep(Duration::from_millis(100));
    drums.forget();
    player.send(Command::Transport(true));
    let position = drums.hears_bytes(&[0xf2, 32, 0]);
    let again = drums.hears_bytes(&[0xfb]);
    assert!(again.since(&position) >= 0.0);
    // One that comes now, and is named now, is told where the song is.
    let mut late = Other::new(&server, "late");
    player.send(Command::SetClockOut(vec!["drum".into(), "late".into()]));
    late.hears("a position", |m| m.bytes[0] == 0xf2);
    late.hears_bytes(&[0xfb]);
    late.hears_bytes(&[0xf8]);
    player.send(Command::SetClockOut(vec!["drum".into()]));
    late.hears_bytes(&[0xfc]);
}

#[test]
fn a_port_that_is_not_there_is_told_with_the_nearest_and_used_when_it_comes() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let mut keys = Other::new(&server, "keys");
    let _near = Other::new(&server, "Modular");
    let rig = "[[track]]\nid = \"outside\"\nmidi_out = [{ port = \"modulor\" }]\n";
    let player = open(&server, rig);
    server.connect("keys:midi_out_1", "sandrack:midi_in_1");
    until(&player, "told", |view| {
        view.messages.iter().any(|message| {
            message.kind == MessageKind::Warning
                && message.text.contains("'modulor'; did you mean 'Modular:midi_in_1'?")
                && message.text.contains("'keys:midi_in_1'")
        })
    });
    let mut module = Other::new(&server, "modulor 2");
    until(&player, "there", |view| {
        view.messages.iter().any(|message| message.text.contains("'modulor' is there"))
    });
    std::thread::sleep(Duration::from_millis(500));
    keys.play(9, [0x90, 60, 100]);
    assert_eq!(module.hears_bytes(&[0x90, 60, 100]).frame, 9);
    // Another word while it plays: a port is made for it, and nothing stops.
    let mut other = Other::new(&server, "Strings");
    let blocks = player.view().engine.block;
    let to = MidiOutput { port: "strings".into(), channel: Some(16) };
    player.send(Command::SetMidiOut("outside".into(), vec![to]));
    until(&player, "led there", |view| {
        view.midi.sends.iter().any(|send| send.ports == ["Strings:midi_in_1"])
    });
    std::thread::sleep(Duration::from_millis(500));
    keys.play(10, [0x90, 61, 100]);
    assert_eq!(other.hears_bytes(&[0x9f, 61, 100]).frame, 10);
    assert!(player.view().engine.block > blocks, "it plays on");
}
