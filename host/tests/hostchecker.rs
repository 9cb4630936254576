//! Steinberg's hostchecker, a VST3 plugin that judges its host: it finds nothing wrong with this one.
//!
//! It needs the libraries of Debian 13, and so does the program that loads it: `.ci/run` gets both
//! and runs this test with
//! - `SANDRACK_TRIXIE`: the folder of a Debian 13 root with the package `vst3sdk-plugins`,
//! - `SANDRACK_TRIXIE_PROGRAM`: a copy of the program that runs with that root's libraries.
//!
//! What the checker's processor sees it reports in eight read-only parameters, `ProcessWarn`, a bit
//! for each of 24 findings. (What its controller sees is shown in its editor only.)
//!
//! Linux: so is the plugin.
#![cfg(target_os = "linux")]

mod common;

use common::offline::{Offline, PATIENT, RATE};
use common::score::{MAX, SIZES, value_at};
use common::{LONG, Noise, supervisor_of};
use sandrack_engine::block::Transport;
use sandrack_engine::event::{Event, EventKind, Expression, NoteAddress};
use sandrack_host::report::Isolation;
use sandrack_host::session::SessionConfig;
use sandrack_sandbox::format::{PluginRef, StateContext};
use std::collections::BTreeSet;
use std::path::PathBuf;

/// Findings a parameter.
const BITS: u32 = 24;

/// The last finding about a host's mistakes; behind it is what a host supports.
const LAST: u32 = 87;

/// The song position was moved or started, which this test does; a latency changed; a note was
/// played again while it sounded.
const NO_MISTAKES: [u32; 6] = [16, 17, 18, 19, 39, 174];

/// A part of the surroundings that `.ci/run` makes.
fn surroundings(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    PathBuf::from(value.unwrap_or_else(|| panic!("{name} is not set: run it as .ci/run does")))
}

/// Plays all that a host can say, and takes what the checker says to it.
struct Checked {
    offline: Offline,
    noise: Noise,
    /// Keys that sound.
    held: Vec<NoteAddress>,
    next_note: i32,
    findings: BTreeSet<u32>,
    supported: BTreeSet<u32>,
    first_warning: u32,
}

impl Checked {
    fn play(&mut self) {
        for round in 0..4 {
            for &frames in SIZES {
                self.transport(round);
                self.events(frames);
                let input = self.noise.channels(2, frames as usize);
                self.offline.step(&input, PATIENT);
                self.listen();
            }
        }
        self.offline.assert_all_well();
    }

    fn transport(&mut self, round: u32) {
        // Playing, looping, stopped.
        let transport = Transport {
            playing: round != 2,
            recording: round == 1,
            looping: round == 1,
            loop_end_beats: 8.0,
            tempo: 90.0 + 10.0 * f64::from(round),
            position_beats: f64::from(round) * 4.0,
            position_seconds: f64::from(round) * 2.0,
            bar_start_beats: f64::from(round) * 4.0,
            bar_number: round as i32,
            ..Transport::default()
        };
        self.offline.running.controller.transport(transport).unwrap();
    }

    fn events(&mut self, frames: u32) {
        let info = self.offline.session.info(0, 0).clone();
        let settable = info.params.iter().filter(|param| param.automatable && !param.read_only);
        for param in settable.filter(|param| !param.bypass).take(40) {
            // Each at a time of its own: the checker takes already the second at one time, which is
            // a jump, for the third that it means to find.
            let changes = self.noise.below(4).min(frames);
            for number in 0..changes {
                let value = value_at(&info, param, self.noise.unit());
                let kind = EventKind::ParamValue { param: param.id, note: NoteAddress::ALL, value };
                let from = number * frames / changes;
                let time = from + self.noise.below((number + 1) * frames / changes - from);
                self.offline.send(0, 0, Event { time, kind });
            }
        }
        // Notes of their own numbers, each off once; an expression and controllers between.
        let ports = info.note_inputs.len() as u32;
        assert!(ports > 0, "it takes notes");
        if let Some(note) = self.held.pop() {
            self.offline.send(
                0,
                0,
                Event { time: 0, kind: EventKind::NoteOff { note, velocity: 0.5 } },
            );
        }
        let note = NoteAddress {
            note_id: self.next_note,
            port: self.noise.below(ports) as i16,
            channel: 0,
            key: (self.next_note % 128) as i16,
        };
        self.next_note += 1;
        let time = self.noise.below(frames);
        for kind in [
            EventKind::NoteOn { note, velocity: self.noise.unit() },
            EventKind::NoteExpression { note, expression: Expression::Tuning, value: 1.5 },
            EventKind::NoteExpression { note, expression: Expression::Volume, value: 4.0 },
            EventKind::NoteExpression { note, expression: Expression::Pressure, value: 0.5 },
            EventKind::Midi { port: 0, data: [0xe0, 0, self.noise.below(128) as u8] },
            EventKind::Midi { port: 0, data: [0xb0, 1, self.noise.below(128) as u8] },
            EventKind::Midi { port: 0, data: [0xd0, self.noise.below(128) as u8, 0] },
        ] {
            self.offline.send(0, 0, Event { time, kind });
        }
        self.held.push(note);
    }

    fn listen(&mut self) {
        while let Ok(said) = self.offline.running.controller.plugin_events().pop() {
            let EventKind::ParamValue { param, value, .. } = said.event.kind else { continue };
            let Some(place) = param.checked_sub(self.first_warning).filter(|place| *place < 8)
            else {
                continue;
            };
            let bits = (value * f64::from(1 << BITS)).round() as u32;
            for id in (0..BITS).filter(|bit| bits & (1 << bit) != 0).map(|bit| place * BITS + bit) {
                let found = id <= LAST && !NO_MISTAKES.contains(&id);
                if found { &mut self.findings } else { &mut self.supported }.insert(id);
            }
        }
    }

    fn again(self, rate: u32, max_frames: u32, offline: bool) -> Self {
        let mut again = self;
        again.offline.session.configure(|config| config.offline = offline);
        again.offline = again.offline.again(rate, max_frames);
        again.held.clear();
        again
    }
}

#[test]
#[ignore = "needs the libraries of Debian 13; .ci/run gets them and runs it"]
fn steinbergs_host_checker_finds_nothing_wrong() {
    let root = surroundings("SANDRACK_TRIXIE");
    let program = surroundings("SANDRACK_TRIXIE_PROGRAM");
    let path = root.join("usr/lib/vst3/hostchecker.vst3");
    let plugin = PluginRef { path, id: None };
    let config = SessionConfig {
        tracks: vec![vec![plugin]],
        isolation: Isolation::Plugin,
        ..SessionConfig::default()
    };
    let offline = Offline::of(supervisor_of(&program, LONG), config, MAX, |_| {});
    let info = offline.session.info(0, 0).clone();
    let warnings = info.params.iter().filter(|param| param.name.starts_with("ProcessWarn"));
    let first_warning = warnings.map(|param| param.id).min().expect("it reports");
    let mut checked = Checked {
        offline,
        noise: Noise(3),
        held: Vec::new(),
        next_note: 1,
        findings: BTreeSet::new(),
        supported: BTreeSet::new(),
        first_warning,
    };
    checked.play();
    let session = &mut checked.offline.session;
    session.refresh_info(0, 0).unwrap();
    let state = session.save_state(0, 0, StateContext::Project).unwrap();
    session.load_state(0, 0, &state, StateContext::Project).unwrap();
    for (rate, frames, offline) in [(44_100, 64, false), (96_000, 1024, true), (RATE, MAX, false)] {
        checked = checked.again(rate, frames, offline);
        checked.play();
    }
    let Checked { offline, findings, supported, .. } = checked;
    offline.quit();
    // That it says anything at all.
    assert!(supported.iter().any(|id| *id > LAST), "{supported:?}");
    assert!(
        findings.is_empty(),
        "it found {findings:?}: places in the list of the SDK's hostchecker/source/logevents.h"
    );
    eprintln!("what it says that this host supports: {supported:?}");
}
