//! What is learned of controllers and keys: what moves a parameter or gives a command, where a range of
//! keys ends, what recalls a snapshot.

use super::cables::{KEYBOARD, KEYBOARD_NAME};
use super::command::Command;
use super::control::Control;
use super::view::{Learning, MessageKind};
use crate::midi::Learn;
use crate::midi::setup::{Channels, Control as Knob, Source};
use crate::rig::{Id, Mapping, MidiInput};
use std::collections::BTreeMap;

impl Control {
    pub(super) fn learn(&mut self, what: Option<Learning>) {
        if let Some(Learning::Mapping(mapping)) = &what {
            let what = mapping.command.map_or("move it", |action| action.word());
            let text = format!("press the pedal, button or key that is to do this: {what}");
            self.tell(MessageKind::Note, None, text);
        }
        self.learning = what.map(|what| (what, Learn::new()));
    }

    /// A control was moved, or a key pressed, and is meant.
    pub(super) fn learned(&mut self, source: Source, knob: Knob) {
        let Some((what, _)) = self.learning.take() else { return };
        match (what, knob) {
            (Learning::Param(id, param), Knob::Controller(controller)) => {
                self.param_learned(&id, param, source, controller);
            }
            (Learning::Keys { track, range, first: None }, Knob::Note(key)) => {
                self.tell(MessageKind::Note, None, format!("from key {key}: now the other end"));
                self.learn(Some(Learning::Keys { track, range, first: Some(key) }));
            }
            (Learning::Keys { track, range, first: Some(first) }, Knob::Note(key)) => {
                self.keys_learned(&track, range, [first.min(key), first.max(key)]);
            }
            (Learning::Snapshot(id), Knob::Note(key)) => self.snapshot_learned(id, None, Some(key)),
            (Learning::Snapshot(id), Knob::Program(program)) => {
                self.snapshot_learned(id, Some(program + 1), None);
            }
            (
                Learning::Mapping(mapping),
                Knob::Controller(_) | Knob::Note(_) | Knob::Program(_),
            ) => self.mapping_learned(mapping, source, knob),
            (what, _) => {
                let text = match what {
                    Learning::Param(..) => {
                        "only controllers can move a parameter: move a knob or fader"
                    }
                    Learning::Keys { .. } => "a range is learned of keys: press its ends",
                    Learning::Snapshot(_) => "a snapshot is recalled by a key or program",
                    Learning::Mapping(_) => {
                        "this is done by a controller, key or program: press a pedal or button"
                    }
                };
                self.learning = Some((what, Learn::new()));
                self.tell(MessageKind::Note, None, text.to_owned());
            }
        }
    }

    /// A key was pressed on the screen.
    pub(super) fn learn_key(&mut self, key: u8) {
        let waits = self.learning.as_ref().is_some_and(|(what, _)| match what {
            Learning::Keys { .. } | Learning::Snapshot(_) => true,
            Learning::Mapping(_) | Learning::Param(..) => false,
        });
        if waits {
            self.learned(Source::default(), Knob::Note(key));
        }
    }

    fn keys_learned(&mut self, id: &Id, range: usize, keys: [u8; 2]) {
        let Some(track) = self.rig.track(id) else { return };
        let mut inputs = track.midi.clone();
        match inputs.get_mut(range) {
            Some(input) => input.keys = Some(keys),
            None => inputs.push(MidiInput { keys: Some(keys), ..MidiInput::default() }),
        }
        let name = track.name.clone();
        self.obey(Command::SetMidi(id.clone(), inputs));
        let text = format!("{name} plays keys {} to {} from now on", keys[0], keys[1]);
        self.tell(MessageKind::Note, None, text);
    }

    fn snapshot_learned(&mut self, id: Id, program: Option<u8>, key: Option<u8>) {
        let Some(snapshot) = self.rig.snapshots.iter().find(|known| known.id == id) else { return };
        let name = snapshot.name.clone();
        let (program, key) = (program.or(snapshot.program), key.or(snapshot.key));
        let text = match (program, key) {
            (Some(program), Some(key)) => format!("program {program} or key {key}"),
            (Some(program), None) => format!("program {program}"),
            (None, Some(key)) => format!("key {key}"),
            (None, None) => return,
        };
        self.obey(Command::BindSnapshot(id, program, key));
        self.tell(MessageKind::Note, None, format!("{text} recalls {name} from now on"));
    }

    fn param_learned(&mut self, id: &Id, param: u32, source: Source, controller: u8) {
        let (plugin, param) = (Some(id.clone()), Some(param.to_string()));
        let mapping = Mapping { plugin, param, ..Mapping::default() };
        self.put_mapping(mapping, source, Knob::Controller(controller));
        let text = format!("controller {controller} moves it from now on");
        self.tell(MessageKind::Note, Some(id), text);
    }

    fn mapping_learned(&mut self, mapping: Mapping, source: Source, knob: Knob) {
        let text = match &mapping.command {
            Some(action) => {
                let about = mapping.track.as_ref().or(mapping.plugin.as_ref());
                let about = about.map(|id| format!(" of {id}")).unwrap_or_default();
                format!("does '{action}'{about} from now on")
            }
            None => "moves it from now on".to_owned(),
        };
        if let Some(name) = self.put_mapping(mapping, source, knob) {
            self.tell(MessageKind::Note, None, format!("{name} {text}"));
        }
    }

    /// Has a control do something, in place of what did it before; the control's name.
    fn put_mapping(&mut self, mapping: Mapping, source: Source, knob: Knob) -> Option<String> {
        let channel = (0..16u8).find(|channel| source.channels == Channels::only(*channel));
        let port = source.port.and_then(|port| match port {
            KEYBOARD => Some(KEYBOARD_NAME.to_owned()),
            port => self.cables.names.get(&port).cloned(),
        });
        let (controller, key, program) = match knob {
            Knob::Controller(number) => (Some(number), None, None),
            Knob::Note(key) => (None, Some(key), None),
            Knob::Program(program) => (None, None, Some(program + 1)),
            Knob::PitchBend | Knob::Pressure => return None,
        };
        let channel = channel.map(|channel| channel + 1);
        let mapping = Mapping { port, channel, controller, key, program, ..mapping };
        let name = mapping.control_name();
        self.change_mappings("controller", |rig| {
            rig.mappings.retain(|known| !known.is_about_the_same(&mapping));
            rig.mappings.push(mapping);
        });
        Some(name)
    }

    pub(super) fn forget_mappings(&mut self, id: &Id, param: u32) {
        let is_it = |known: &Mapping| {
            known.plugin.as_ref() == Some(id)
                && known.param.as_ref().is_some_and(|word| word.parse() == Ok(param))
        };
        self.change_mappings("controller", |rig| rig.mappings.retain(|known| !is_it(known)));
    }

    /// The controllers of a plugin's parameters.
    pub(super) fn controllers(&self, id: &Id) -> BTreeMap<u32, u8> {
        let mine = self.rig.mappings.iter().filter(|known| known.plugin.as_ref() == Some(id));
        mine.filter_map(|known| Some((known.param.as_ref()?.parse().ok()?, known.controller?)))
            .collect()
    }
}
