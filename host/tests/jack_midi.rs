//! A rig that is played by MIDI through JACK: ports, splits, controllers, programs, pedals, clock.
#![cfg(unix)]

mod common;

use common::jack_clients::{RATE, client};
use common::jackd::Jackd;
use common::{LONG, PROGRAM, becomes_true, plugin};
use rtrb::{Consumer, Producer, RingBuffer};
use sandrack_host::drivers::jack::JackDriver;
use sandrack_host::drivers::{Callback, CallbackIo, CallbackTime, Driver};
use sandrack_host::play::{Command, Learning, PlayOptions, Player, Source, View};
use sandrack_host::rig::Rig;
use sandrack_plugins_test::param_id;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Plays what it is told, a message a block and at a frame within it that is never the first.
struct Keys {
    told: Consumer<[u8; 3]>,
    /// A clock of 24 ticks a quarter, so many frames apart; 0: none.
    tick: u32,
    next: u32,
}

impl Callback for Keys {
    fn process(&mut self, _: &CallbackTime, io: &mut CallbackIo<'_>) {
        let frames = io.inputs.first().map_or(0, |input| input.len()) as u32;
        let Some(midi) = io.midi_out.as_mut() else { return };
        if let Ok(message) = self.told.pop() {
            let length = match message[0] {
                0xc0..=0xdf => 2,
                0xf8..=0xff => 1,
                _ => 3,
            };
            assert!(midi.push(17, 0, &message[..length]));
        }
        while self.tick > 0 && self.next < frames {
            assert!(midi.push(self.next, 0, &[0xf8]));
            self.next += self.tick;
        }
        self.next = self.next.saturating_sub(frames);
    }
}

/// A keyboard: another program.
struct Keyboard {
    _driver: JackDriver,
    tell: Producer<[u8; 3]>,
}

impl Keyboard {
    fn new(server: &Jackd, name: &str, tick: u32) -> Self {
        let (tell, told) = RingBuffer::new(64);
        // An input, from which it knows how long blocks are.
        let mut driver = client(server, name, (1, 0));
        driver.start(Box::new(Keys { told, tick, next: 0 })).expect("it starts");
        Self { _driver: driver, tell }
    }

    fn play(&mut self, message: [u8; 3]) {
        self.tell.push(message).expect("it has room");
    }
}

/// Hears two channels.
struct Ear {
    heard: Producer<[f32; 2]>,
}

impl Callback for Ear {
    fn process(&mut self, _: &CallbackTime, io: &mut CallbackIo<'_>) {
        for frame in 0..io.inputs[0].len() {
            let _ = self.heard.push([io.inputs[0][frame], io.inputs[1][frame]]);
        }
    }
}

struct Stage {
    player: Player,
    _ear: JackDriver,
    heard: Consumer<[f32; 2]>,
    /// Ended last.
    server: Jackd,
}

impl Stage {
    /// Plays a rig of which the driver is left out; its first and third output are heard.
    fn new(server: Jackd, rig: &str) -> Self {
        let text = format!(
            "sandrack_rig = 1\n[driver]\nname = \"{}\"\ninputs = 0\noutputs = 4\n{rig}",
            server.driver()
        );
        let rig = Rig::parse(Path::new("rig.toml"), &text).expect("it is a rig");
        let mut options = PlayOptions::new().expect("this program has a file");
        options.supervisor.program = PROGRAM.into();
        options.supervisor.timeout = Duration::from_secs(30);
        let player = Player::open(Source::Rig(rig), options).expect("it plays");
        let view = player.view();
        assert!(view.driver.is_running, "{:?}", view.messages);
        let mut ear = client(&server, "ear", (2, 0));
        let (producer, heard) = RingBuffer::new(60 * RATE as usize);
        ear.start(Box::new(Ear { heard: producer })).expect("it starts");
        server.connect("sandrack:out_1", "ear:in_1");
        server.connect("sandrack:out_3", "ear:in_2");
        Self { player, _ear: ear, heard, server }
    }

    #[track_caller]
    fn until(&self, what: &str, so: impl Fn(&View) -> bool) -> Arc<View> {
        let mut view = self.player.view();
        let done = becomes_true(LONG, || {
            view = self.player.view();
            so(&view)
        });
        assert!(done, "not {what}: {:?}", view.messages);
        view
    }

    /// The next frames that are heard.
    fn listen(&mut self, frames: usize) -> Vec<[f32; 2]> {
        while self.heard.pop().is_ok() {}
        let mut all = Vec::new();
        let end = Instant::now() + LONG;
        while all.len() < frames {
            assert!(Instant::now() < end, "nothing is heard");
            std::thread::sleep(Duration::from_millis(5));
            while let Ok(frame) = self.heard.pop() {
                all.push(frame);
            }
        }
        all
    }

    /// Waits until each of the two channels sounds, or does not.
    #[track_caller]
    fn until_heard(&mut self, wanted: [bool; 2]) {
        let end = Instant::now() + LONG;
        loop {
            let all = self.listen(4800);
            let sounds = [0, 1].map(|n| all.iter().any(|frame| frame[n].abs() > 1e-4));
            if sounds == wanted {
                return;
            }
            assert!(Instant::now() < end, "{sounds:?}, not {wanted:?}");
        }
    }

    /// What a channel plays, Hz.
    fn pitch(&mut self, channel: usize) -> f64 {
        let all = self.listen(RATE as usize / 2);
        let rises = all.windows(2).enumerate();
        let rises = rises.filter(|(_, pair)| pair[0][channel] < 0.0 && pair[1][channel] >= 0.0);
        let places: Vec<usize> = rises.map(|(place, _)| place).collect();
        let (Some(first), Some(last)) = (places.first(), places.last()) else { return 0.0 };
        (places.len() - 1) as f64 * f64::from(RATE) / (last - first).max(1) as f64
    }
}

/// A track with a synth that begins and ends at once.
fn track(id: &str, output: &str, midi: &str) -> String {
    let synth = plugin("synth");
    format!(
        "[[track]]\nid = \"{id}\"\noutput = {output}\nmidi = [{midi}]\n  [[track.plugin]]\n  id = \
         \"{id}-synth\"\n  plugin = \"{}\"\n  path = \"{}\"\n  params = {{ attack = 0, release = \
         0 }}\n",
        synth.id.unwrap_or_default(),
        synth.path.display()
    )
}

const LOW: &str = "[1, 2]";
const HIGH: &str = "[3, 4]";
/// A period that all notes here fit into many times.
const FRAMES: u32 = 512;

#[test]
fn keys_are_split_and_transposed_and_panic_ends_them() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let rig = track("low", LOW, "{ keys = [0, 59], transpose = 12 }")
        + &track("high", HIGH, "{ keys = [60, 127], channel = 1 }");
    let mut stage = Stage::new(server, &rig);
    let mut keys = Keyboard::new(&stage.server, "keys", 0);
    stage.server.connect("keys:midi_out_1", "sandrack:midi_in_1");
    stage.until_heard([false, false]);
    keys.play([0x90, 57, 100]);
    stage.until_heard([true, false]);
    // The A below middle C, an octave up.
    let pitch = stage.pitch(0);
    assert!((pitch - 440.0).abs() < 2.0, "{pitch}");
    keys.play([0x90, 69, 100]);
    stage.until_heard([true, true]);
    let pitch = stage.pitch(1);
    assert!((pitch - 440.0).abs() < 2.0, "{pitch}");
    keys.play([0x80, 57, 64]);
    stage.until_heard([false, true]);
    // Another channel does not end it, and does not sound.
    keys.play([0x81, 69, 64]);
    keys.play([0x91, 72, 64]);
    let pitch = stage.pitch(1);
    assert!((pitch - 440.0).abs() < 2.0, "{pitch}");
    stage.player.send(Command::Panic);
    stage.until_heard([false, false]);
}

#[test]
fn ports_that_a_rig_names_connect_themselves_to_what_has_that_name() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let rig =
        track("low", LOW, "{ port = \"Left\" }") + &track("high", HIGH, "{ port = \"right\" }");
    // One is there before, one comes later.
    let mut left = Keyboard::new(&server, "my left hand", 0);
    let mut stage = Stage::new(server, &rig);
    left.play([0x90, 57, 100]);
    stage.until_heard([true, false]);
    let mut right = Keyboard::new(&stage.server, "Right", 0);
    // As long as it takes to be seen.
    std::thread::sleep(Duration::from_secs(1));
    right.play([0x90, 57, 100]);
    stage.until_heard([true, true]);
    left.play([0x80, 57, 100]);
    stage.until_heard([false, true]);
}

#[test]
fn controllers_move_parameters_are_learned_and_programs_recall_snapshots() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let rig = track("keys", LOW, "")
        + "[[mapping]]\ncontroller = 74\nplugin = \"keys-synth\"\nparam = \"volume\"\n\
           [[snapshot]]\nid = \"soft\"\nname = \"Soft\"\nprogram = 5\nplugin = [{ id = \"keys-synth\", \
           params = { volume = 0.125 } }]\n\
           [[snapshot]]\nid = \"loud\"\nname = \"Loud\"\nkey = 20\nplugin = [{ id = \"keys-synth\", \
           params = { volume = 0.75 } }]\n";
    let stage = Stage::new(server, &rig);
    let mut keys = Keyboard::new(&stage.server, "keys", 0);
    stage.server.connect("keys:midi_out_1", "sandrack:midi_in_1");
    let value = |view: &View, name: &str| {
        let (_, plugin) = view.plugin(&"keys-synth".into()).expect("it is there");
        let place = plugin.params.iter().position(|known| known.id == param_id(name));
        plugin.values[place.expect("it has it")].value
    };
    keys.play([0xb0, 74, 127]);
    stage.until("moved", |view| value(view, "volume") == 1.0);
    keys.play([0xc0, 4, 0]);
    stage.until("recalled", |view| value(view, "volume") == 0.125);
    keys.play([0x90, 20, 100]);
    stage.until("recalled by a key", |view| value(view, "volume") == 0.75);
    keys.play([0x80, 20, 0]);
    stage.player.send(Command::Learn(Some(("keys-synth".into(), param_id("release")))));
    std::thread::sleep(Duration::from_millis(200));
    for moved in [10, 40, 127] {
        keys.play([0xb0, 21, moved]);
    }
    stage.until("learned", |view| {
        view.messages.iter().any(|message| message.text.contains("controller 21"))
    });
    keys.play([0xb0, 21, 0]);
    stage.until("moved by what was learned", |view| value(view, "release") == 0.0);
    keys.play([0xb0, 21, 127]);
    stage.until("moved by what was learned", |view| value(view, "release") > 100.0);
}

#[test]
fn ranges_of_keys_and_a_snapshots_key_are_learned_by_pressing_them() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let rig = track("keys", LOW, "{ channel = 1 }")
        + "[[snapshot]]\nid = \"soft\"\nname = \"Soft\"\nplugin = [{ id = \"keys-synth\", params = { \
           volume = 0.125 } }]\n";
    let mut stage = Stage::new(server, &rig);
    let mut keys = Keyboard::new(&stage.server, "keys", 0);
    stage.server.connect("keys:midi_out_1", "sandrack:midi_in_1");
    stage.player.send(Command::LearnKeys(Some(("keys".into(), 0))));
    stage.until("waiting", |view| view.learning.is_some());
    // The highest first, and a wheel by mistake.
    for message in [[0xb0, 1, 127], [0x90, 72, 90], [0x80, 72, 0]] {
        keys.play(message);
    }
    let half = |view: &View| matches!(&view.learning, Some(Learning::Keys { first: Some(72), .. }));
    stage.until("half learned", half);
    keys.play([0x90, 60, 90]);
    keys.play([0x80, 60, 0]);
    let view = stage.until("learned", |view| view.learning.is_none());
    let learned = &view.track(&"keys".into()).expect("it is there").midi;
    assert_eq!((learned[0].keys, learned[0].channel), (Some([60, 72]), Some(1)));
    stage.until_heard([false, false]);
    keys.play([0x90, 73, 100]);
    keys.play([0x90, 59, 100]);
    std::thread::sleep(Duration::from_millis(300));
    stage.until_heard([false, false]);
    keys.play([0x90, 72, 100]);
    stage.until_heard([true, false]);
    keys.play([0x80, 72, 100]);
    stage.until_heard([false, false]);
    // Another range, on the screen; it can be taken back.
    stage.player.send(Command::LearnKeys(Some(("keys".into(), 1))));
    for key in [20, 30] {
        stage.player.send(Command::NoteOn { track: "keys".into(), key, velocity: 0.5 });
        stage.player.send(Command::NoteOff { track: "keys".into(), key });
    }
    stage.until("learned", |view| {
        let midi = &view.track(&"keys".into()).expect("it is there").midi;
        midi.len() == 2 && midi[1].keys == Some([20, 30])
    });
    stage.player.send(Command::Undo);
    stage.until("undone", |view| view.track(&"keys".into()).expect("it is there").midi.len() == 1);
    stage.player.send(Command::LearnSnapshot(Some("soft".into())));
    stage.until("waiting", |view| view.learning == Some(Learning::Snapshot("soft".into())));
    keys.play([0x90, 36, 90]);
    keys.play([0x80, 36, 0]);
    stage.until("learned", |view| view.snapshots[0].key == Some(36));
    assert!(!stage.player.view().snapshots[0].is_current);
    std::thread::sleep(Duration::from_millis(300));
    keys.play([0x90, 36, 90]);
    stage.until("recalled", |view| view.snapshots[0].is_current);
}

#[test]
fn ports_are_connected_by_command() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let mut stage = Stage::new(server, &track("keys", LOW, ""));
    let mut keys = Keyboard::new(&stage.server, "keys", 0);
    let connect = |port: &str, other: &str, on| Command::Connect {
        port: port.into(),
        other: other.into(),
        on,
    };
    let is = |view: &View, port: &str, other: &str| {
        let ports = view.connections.as_ref().map(|all| all.ports.clone()).unwrap_or_default();
        let port = ports.into_iter().find(|known| known.name == port).expect("it is there");
        port.connected.iter().any(|known| known == other)
    };
    stage.until("seen", |view| {
        let all = view.connections.as_ref().expect("JACK's ports are connected");
        all.midi.0.iter().any(|name| name == "keys:midi_out_1")
            && all.audio.1.iter().any(|name| name == "ear:in_1")
    });
    stage.until("known", |view| is(view, "out_1", "ear:in_1"));
    stage.player.send(connect("midi_in_1", "keys:midi_out_1", true));
    stage.until("connected", |view| is(view, "midi_in_1", "keys:midi_out_1"));
    keys.play([0x90, 57, 100]);
    stage.until_heard([true, false]);
    stage.player.send(connect("out_1", "ear:in_1", false));
    stage.until("not connected", |view| !is(view, "out_1", "ear:in_1"));
    stage.until_heard([false, false]);
    stage.player.send(connect("out_1", "ear:in_2", true));
    stage.until_heard([false, true]);
    // What is not there is told, with what is.
    stage.player.send(connect("out_1", "eer:in_1", true));
    stage.until("told", |view| {
        view.messages.iter().any(|m| m.text.contains("'eer:in_1'; did you mean 'ear:in_1'?"))
    });
    stage.player.send(connect("out_9", "ear:in_1", true));
    stage.until("told", |view| {
        view.messages.iter().any(|m| m.text.contains("it has no port 'out_9'"))
    });
}

#[test]
fn a_midi_clock_leads_the_tempo() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let rig = track("keys", LOW, "") + "[transport]\ntempo = 90.0\nclock = \"MIDI_in\"\n";
    let stage = Stage::new(server, &rig);
    let view = stage.until("heard", |view| view.engine.blocks > 10);
    assert!(!view.transport.is_led && view.transport.tempo == 90.0, "{:?}", view.transport);
    // 24 a quarter, 800 frames apart: 150 quarters a minute.
    let mut keys = Keyboard::new(&stage.server, "keys", 800);
    stage.server.connect("keys:midi_out_1", "sandrack:midi_in_1");
    let follows = |view: &View| view.transport.is_led && (view.transport.tempo - 150.0).abs() < 0.5;
    let view = stage.until("led", follows);
    assert!(!view.transport.is_playing, "{:?}", view.transport);
    keys.play([0xfa, 0, 0]);
    stage.until("playing", |view| view.transport.is_playing && view.transport.beats > 1.0);
    keys.play([0xfc, 0, 0]);
    stage.until("stopped", |view| !view.transport.is_playing);
    drop(keys);
    stage.until("free again", |view| !view.transport.is_led && view.transport.tempo == 90.0);
}

#[test]
fn a_pedal_keeps_what_a_snapshot_has_relieved_and_other_notes_do_not() {
    let Some(server) = Jackd::start(FRAMES) else { return };
    let stage = Stage::new(server, &track("keys", LOW, ""));
    let mut keys = Keyboard::new(&stage.server, "keys", 0);
    stage.server.connect("keys:midi_out_1", "sandrack:midi_in_1");
    let (synth, volume) = ("keys-synth", param_id("volume"));
    for (name, value) in [("Loud", 0.5), ("Soft", 0.125)] {
        stage.player.send(Command::SetParam(synth.into(), volume, value));
        // Until it is remembered.
        std::thread::sleep(Duration::from_millis(1500));
        stage.player.send(Command::StoreSnapshot(name.into()));
    }
    let process = |view: &View| view.plugin(&synth.into()).expect("it is there").1.process;
    let view = stage.until("prepared", |view| view.snapshots.iter().any(|s| s.is_ready));
    let before = process(&view).expect("it runs");
    let runs = || Path::new(&format!("/proc/{before}")).exists();
    keys.play([0xb0, 64, 127]);
    keys.play([0x90, 60, 100]);
    std::thread::sleep(Duration::from_millis(300));
    stage.player.send(Command::RecallSnapshot("loud".into()));
    stage.until("recalled", |view| {
        process(view).is_some_and(|id| id != before) && !view.is_changing
    });
    keys.play([0x80, 60, 64]);
    // The new one's own note, which is held throughout.
    keys.play([0x90, 72, 100]);
    std::thread::sleep(Duration::from_secs(3));
    assert!(runs(), "the pedal is down");
    keys.play([0xb0, 64, 0]);
    assert!(becomes_true(LONG, || !runs()), "it outlives its pedal");
}
