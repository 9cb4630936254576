//! Notes, controllers and the song position.

use super::cables::{KEYBOARD, KEYBOARD_NAME};
use super::control::Control;
use super::view::MessageKind;
use crate::midi::setup::{
    Control as Knob, Destination, Mapping, Mode, PRIVATE, Range, Route, Source, TAPS, Tap, Target,
};
use crate::midi::{MidiNotice, MidiSetup, setup};
use crate::rig::{Id, MidiOutput, Track, TrackKind};
use crate::session::PluginAt;
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_engine::graph::NodeId;
use sandrack_sandbox::format::ParamEdit;
use sandrack_sandbox::sys::clock::now_ns;

/// A port that nobody has.
const NOBODY: u16 = u16::MAX;

/// The port of what is played by command on a track, for MIDI ports: plugins have it by then.
fn commanded(track: usize) -> u16 {
    TAPS.end + (track as u16 % (PRIVATE.end - TAPS.end))
}

impl Control {
    /// The plugin of a track that is given notes.
    pub(super) fn player_of(&self, track: &Track) -> Option<(PluginAt, NodeId)> {
        let live = &self.engine.as_ref()?.live;
        track.plugins.iter().find_map(|slot| {
            let at = self.at(&slot.id)?;
            let takes = !self.session.info(at.track, at.plugin).note_inputs.is_empty();
            Some((at, live.node(at)?)).filter(|_| takes)
        })
    }

    /// What is routed where, and what controllers do.
    pub(super) fn midi_setup(&self) -> MidiSetup {
        let mut all = MidiSetup::default();
        for (number, track) in self.rig.tracks.iter().enumerate() {
            self.route_track(number, track, &mut all);
            self.tap_plugins(track, &mut all);
        }
        let transport = &self.rig.transport;
        all.clock_in = transport.clock.as_ref().and_then(|word| self.cables.find(word));
        let outputs = transport.clock_out.iter();
        all.clock_out = outputs.filter_map(|word| self.cables.find_output(word)).collect();
        all.clock_out.sort_unstable();
        all.clock_out.dedup();
        self.map_controllers(&mut all);
        for (number, snapshot) in self.rig.snapshots.iter().enumerate() {
            let from = self.source(None, snapshot.channel);
            let knobs = [
                snapshot.program.map(|program| Knob::Program(program - 1)),
                snapshot.key.map(Knob::Note),
            ];
            for control in knobs.into_iter().flatten() {
                let (mode, target) = (Mode::Direct, Target::Command(number as u32));
                all.mappings.push(Mapping { from, control, mode, target, pass: false });
            }
        }
        all
    }

    /// What a track plays goes to the plugin that plays, and to MIDI ports.
    fn route_track(&self, number: usize, track: &Track, all: &mut MidiSetup) {
        let mut to: Vec<(Destination, Option<u8>)> = Vec::new();
        if let Some((_, node)) = self.player_of(track) {
            all.panic.push(node);
            to.push((Route::to(node).to, None));
        }
        to.extend(self.outputs(&track.midi_out));
        for (to, channel) in to {
            let route = Route::to_destination(to);
            if track.midi.is_empty() && track.kind == TrackKind::Track {
                all.routes.push(Route { channel, ..route });
            }
            for input in &track.midi {
                let range = |pair: Option<[u8; 2]>| {
                    pair.map_or(Range::ALL, |[low, high]| Range { low, high })
                };
                all.routes.push(Route {
                    from: self.source(input.port.as_deref(), input.channel),
                    keys: range(input.keys),
                    velocities: range(input.velocity),
                    transpose: input.transpose,
                    channel: channel.or(input.to_channel.map(|channel| channel - 1)),
                    ..route
                });
            }
            // What is played by command goes straight to plugins.
            if matches!(to, Destination::Port(_)) {
                let port = Some(commanded(number));
                let from = Source { port, ..Source::default() };
                all.routes.push(Route { from, channel, ..route });
            }
        }
    }

    /// What plugins put out goes to MIDI ports.
    fn tap_plugins(&self, track: &Track, all: &mut MidiSetup) {
        for slot in track.plugins.iter().filter(|slot| !slot.midi_out.is_empty()) {
            let live = self.engine.as_ref().map(|engine| &engine.live);
            let node = self.at(&slot.id).and_then(|at| live?.node(at));
            let port = node.map(|node| TAPS.start + (node.raw() % TAPS.len() as u64) as u16);
            let (Some(node), Some(port)) = (node, port) else { continue };
            let is_free = !all.taps.iter().any(|tap| tap.port == port);
            if !is_free {
                continue;
            }
            all.taps.push(Tap { node, port });
            let from = Source { port: Some(port), ..Source::default() };
            for (to, channel) in self.outputs(&slot.midi_out) {
                all.routes.push(Route { from, channel, ..Route::to_destination(to) });
            }
        }
    }

    /// The ports that are there.
    fn outputs<'a>(
        &'a self,
        wanted: &'a [MidiOutput],
    ) -> impl Iterator<Item = (Destination, Option<u8>)> + 'a {
        wanted.iter().filter_map(|output| {
            let port = self.cables.find_output(&output.port)?;
            Some((Destination::Port(port), output.channel.map(|channel| channel - 1)))
        })
    }

    fn map_controllers(&self, all: &mut MidiSetup) {
        for (number, mapping) in self.rig.mappings.iter().enumerate() {
            let target = match (&mapping.command, &mapping.track) {
                // Whether it is on or off is known here, not there.
                (Some(_), _) | (_, Some(_)) => {
                    Some((Target::Command(MAPPED + number as u32), None))
                }
                (None, None) => self.mapped_param(mapping).map(|target| (target, mapping.mode)),
            };
            let (Some((target, mode)), Some(control)) = (target, mapping.control()) else {
                continue;
            };
            let from = self.source(mapping.port.as_deref(), mapping.channel);
            let mode = mode.unwrap_or_default();
            all.mappings.push(Mapping { from, control, mode, target, pass: false });
        }
    }

    /// The parameter that a mapping moves, if its plugin is there.
    fn mapped_param(&self, mapping: &crate::rig::Mapping) -> Option<Target> {
        let (plugin, word) = (mapping.plugin.as_ref()?, mapping.param.as_ref()?);
        let at = self.at(plugin)?;
        let params = &self.session.info(at.track, at.plugin).params;
        let param = params.iter().find(|p| word.parse() == Ok(p.id));
        let param = param.or_else(|| params.iter().find(|p| p.name.eq_ignore_ascii_case(word)))?;
        let node = self.engine.as_ref()?.live.node(at)?;
        let (low, high) = (mapping.from.unwrap_or(param.min), mapping.to.unwrap_or(param.max));
        Some(Target::Param { node, param: param.id, low, high })
    }

    fn source(&self, port: Option<&str>, channel: Option<u8>) -> Source {
        let channels = channel.map_or(setup::Channels::ALL, |channel| {
            setup::Channels::only(channel.saturating_sub(1))
        });
        let port = port.map(|name| match name.eq_ignore_ascii_case(KEYBOARD_NAME) {
            true => KEYBOARD,
            false => self.cables.find(name).unwrap_or(NOBODY),
        });
        Source { port, channels }
    }

    /// Hears what controllers and programs tell.
    pub(super) fn hear_midi(&mut self) {
        let Some(engine) = &mut self.engine else { return };
        let mut notices = Vec::new();
        while let Some(notice) = engine.midi.notice() {
            notices.push(notice);
        }
        let moved: Vec<MidiNotice> = std::iter::from_fn(|| engine.midi.moved()).collect();
        for notice in notices {
            match notice {
                MidiNotice::Param { node, param, value } => {
                    let at = self.engine.as_ref().and_then(|engine| engine.live.at(node));
                    if let Some(at) = at {
                        if let Some(engine) = &mut self.engine {
                            engine.live.param_was_set(at, param, value);
                        }
                        self.param_edited(at, param, ParamEdit::Value(value));
                    }
                }
                MidiNotice::Command { command, value, at } if command >= MAPPED => {
                    self.mapped((command - MAPPED) as usize, value, at);
                }
                MidiNotice::Command { command, value, .. } if value > 0.0 => {
                    let id = self.rig.snapshots.get(command as usize).map(|s| s.id.clone());
                    if let Some(id) = id {
                        self.recall_snapshot(&id);
                    }
                }
                MidiNotice::Command { .. }
                | MidiNotice::Program { .. }
                | MidiNotice::Moved { .. } => {}
            }
        }
        for moved in moved {
            let learning = self.learning.as_mut();
            if let Some((source, knob)) = learning.and_then(|(_, learn)| learn.hear(&moved)) {
                self.learned(source, knob);
            }
        }
    }

    pub(super) fn move_fader(&mut self, mapping: &crate::rig::Mapping, value: f64) {
        let Some(track) = &mapping.track else { return };
        let (from, to) = (mapping.from.unwrap_or(-60.0), mapping.to.unwrap_or(0.0));
        let db = if value == 0.0 && mapping.from.is_none() {
            f64::NEG_INFINITY
        } else {
            from.max(-144.0) + (to - from.max(-144.0)) * value
        };
        if let Some(track) = self.rig.track_mut(track) {
            track.gain_db = db.min(crate::rig::LOUDEST_DB);
            self.is_stale = true;
        }
    }

    /// Begins a note of a track, or ends it.
    pub(super) fn note(&mut self, id: &Id, key: u8, velocity: Option<f64>) {
        let key = key.min(127);
        if velocity.is_some() {
            self.learn_key(key);
        }
        let is_sent = self.send_note(id, key, velocity);
        let track = self.rig.track(id);
        let Some((at, node)) = track.and_then(|track| self.player_of(track)) else {
            if velocity.is_some() && !is_sent {
                let text = format!("'{id}': no plugin of this track takes notes");
                self.tell(MessageKind::Note, None, text);
            }
            return;
        };
        let note = NoteAddress { note_id: -1, port: 0, channel: 0, key: key.into() };
        let Some(engine) = &mut self.engine else { return };
        let held = (id.clone(), key);
        let result = match velocity {
            Some(velocity) => {
                self.held.insert(held, at);
                let velocity = if velocity.is_finite() { velocity.clamp(0.0, 1.0) } else { 0.5 };
                let kind = EventKind::NoteOn { note, velocity };
                engine.controller.send_event(node, Event { time: 0, kind })
            }
            None => {
                // Where it began, though another instance may play by now.
                let began = self.held.remove(&held).and_then(|at| engine.live.node(at));
                let kind = EventKind::NoteOff { note, velocity: 0.5 };
                engine.controller.send_event(began.unwrap_or(node), Event { time: 0, kind })
            }
        };
        if result.is_err() {
            self.tell(MessageKind::Warning, None, "the driver does not take any notes".into());
        }
    }

    /// The same for the track's MIDI ports. Whether there are any.
    fn send_note(&mut self, id: &Id, key: u8, velocity: Option<f64>) -> bool {
        let place = self.rig.tracks.iter().position(|track| track.id == *id);
        let place = place.filter(|place| !self.rig.tracks[*place].midi_out.is_empty());
        let Some(engine) = &mut self.engine else { return false };
        let held = (id.clone(), key);
        match (velocity, place) {
            (Some(velocity), Some(place)) => {
                let velocity = if velocity.is_finite() { velocity.clamp(0.0, 1.0) } else { 0.5 };
                let velocity = ((velocity * 127.0).round() as u8).max(1);
                let port = commanded(place);
                self.held_out.insert(held, port);
                engine.keyboard.send(now_ns(), port, &[0x90, key, velocity]);
            }
            // Where it began, though the track may be elsewhere by now.
            (None, _) => {
                if let Some(port) = self.held_out.remove(&held) {
                    engine.keyboard.send(now_ns(), port, &[0x80, key, 64]);
                }
            }
            (Some(_), None) => {}
        }
        place.is_some()
    }

    pub(super) fn midi_message(&mut self, port: &str, data: [u8; 3]) {
        let number = match port.eq_ignore_ascii_case(KEYBOARD_NAME) || port.is_empty() {
            true => KEYBOARD,
            false => self.cables.find(port).unwrap_or(KEYBOARD),
        };
        let len = match data[0] {
            0xc0..=0xdf => 2,
            0x80..=0xef => 3,
            0xf8..=0xff => 1,
            _ => return self.tell(MessageKind::Error, None, "that is no MIDI message".into()),
        };
        if let Some(engine) = &mut self.engine {
            engine.keyboard.send(now_ns(), number, &data[..len]);
        }
    }

    pub(super) fn panic(&mut self) {
        self.held.clear();
        self.held_out.clear();
        let players: Vec<NodeId> = {
            let Some(engine) = &self.engine else { return };
            self.owners
                .keys()
                .filter_map(|at| {
                    let takes =
                        self.session.node(at.track, at.plugin)?.info().note_inputs.is_empty();
                    engine.live.node(*at).filter(|_| !takes)
                })
                .collect()
        };
        let Some(engine) = &mut self.engine else { return };
        let _ = engine.midi.panic();
        for node in players {
            let kind = EventKind::NoteChoke { note: NoteAddress::ALL };
            let _ = engine.controller.send_event(node, Event { time: 0, kind });
        }
    }

    /// The song position now: quarter notes, and seconds.
    pub(super) fn position(&self) -> (f64, f64) {
        let transport = &self.transport;
        let (beats, seconds) = (transport.position_beats, transport.position_seconds);
        let Some(began) = self.began.filter(|_| transport.playing) else { return (beats, seconds) };
        let now = self.engine.as_ref().map_or(began, |engine| engine.controller.frames_done());
        let passed = now.saturating_sub(began) as f64 / f64::from(self.blocks.0);
        (beats + passed * transport.tempo / 60.0, seconds + passed)
    }

    pub(super) fn beats(&self) -> f64 {
        self.position().0
    }

    /// The song position, tempo or whether it moves was changed.
    pub(super) fn transport_moved(&mut self) {
        self.began = self.engine.as_ref().map(|engine| engine.controller.frames_done());
        self.tell_transport();
    }
}

/// Commands from this number on are those of the rig's mappings; before it those of its snapshots.
const MAPPED: u32 = 1 << 16;
