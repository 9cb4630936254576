//! The MIDI ports that a rig's notes, controllers and clock come from and go to: the driver's own, or
//! else the system's.

use super::control::Control;
use super::view::{MessageKind, MidiSendView, MidiView};
use crate::drivers::midi_ports::{self, FIRST_PORT, InputPort, OutputPort};
use crate::drivers::{Connections, MidiPeer};
use crate::midi::setup::PRIVATE;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The port of messages that come by command.
pub(super) const KEYBOARD: u16 = 0xfff0;
/// What it is called in rigs.
pub(super) const KEYBOARD_NAME: &str = "keyboard";
/// What the driver's first ports are called, where it has any.
const DRIVERS_INPUT: &str = "midi_in_1";
const DRIVERS_OUTPUT: &str = "midi_out_1";

/// See the module.
#[derive(Default)]
pub(super) struct Cables {
    /// Names of the inputs that there are, by number; of those that were made for a word, the word.
    pub(super) names: BTreeMap<u16, String>,
    /// Likewise, of outputs.
    outputs: BTreeMap<u16, String>,
    /// Those of the system. Closed when dropped.
    open: BTreeMap<u16, InputPort>,
    open_outputs: BTreeMap<u16, OutputPort>,
    /// What could not be opened. Not tried again until it has been gone.
    refused: BTreeSet<String>,
    /// Words of the rig for which there is no port: whether to send, and the word.
    missing: BTreeSet<(bool, String)>,
    /// What has been told once.
    told: BTreeSet<String>,
    /// The numbers of the next ones that are opened.
    next: u16,
    next_output: u16,
    looked: Option<Instant>,
    pub(super) view: Arc<MidiView>,
    pub(super) connections: Option<Arc<Connections>>,
}

/// The number of the port that a word means: that of this name, or else the first that has it in its
/// name.
fn find(names: &BTreeMap<u16, String>, word: &str) -> Option<u16> {
    let word = word.to_lowercase();
    let mut same = names.iter().filter(|(_, name)| name.to_lowercase() == word);
    let mut alike = names.iter().filter(|(_, name)| name.to_lowercase().contains(&word));
    same.next().or_else(|| alike.next()).map(|(number, _)| *number)
}

impl Cables {
    /// The number of the input that a word means.
    pub(super) fn find(&self, word: &str) -> Option<u16> {
        find(&self.names, word)
    }

    /// The number of the output that a word means.
    pub(super) fn find_output(&self, word: &str) -> Option<u16> {
        find(&self.outputs, word)
    }

    /// Forgets all, and closes what is open: another engine hears from now on.
    pub(super) fn clear(&mut self) {
        let (told, missing) = (std::mem::take(&mut self.told), std::mem::take(&mut self.missing));
        let view = Arc::clone(&self.view);
        *self = Self { told, missing, view, ..Self::default() };
    }

    /// Looks at once what ports there are: what the rig wants may have changed.
    pub(super) fn look_again(&mut self) {
        self.looked = None;
    }
}

/// Each word once.
fn once<'a>(words: impl Iterator<Item = &'a String>) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for word in words {
        if !all.iter().any(|known| known.eq_ignore_ascii_case(word)) {
            all.push(word.clone());
        }
    }
    all
}

/// Without the client's name, which may be another tomorrow.
fn short(name: &str) -> &str {
    name.split_once(':').map_or(name, |(_, name)| name)
}

/// How often the system is asked for new ports.
const LOOK: Duration = Duration::from_secs(2);

impl Control {
    /// The MIDI inputs that the rig names, beside the program's own.
    fn midi_words(&self) -> Vec<String> {
        let routes = self.rig.tracks.iter().flat_map(|track| &track.midi);
        let routes = routes.filter_map(|input| input.port.as_ref());
        let mappings = self.rig.mappings.iter().filter_map(|mapping| mapping.port.as_ref());
        let all = routes.chain(mappings).chain(&self.rig.transport.clock);
        once(all.filter(|word| !word.eq_ignore_ascii_case(KEYBOARD_NAME)))
    }

    /// The MIDI outputs that it names.
    fn midi_out_words(&self) -> Vec<String> {
        let tracks = self.rig.tracks.iter();
        let all = tracks.flat_map(|track| {
            track.midi_out.iter().chain(track.plugins.iter().flat_map(|slot| &slot.midi_out))
        });
        once(all.map(|output| &output.port).chain(&self.rig.transport.clock_out))
    }

    /// The words for which a driver with ports of its own is to make one each, in and out.
    pub(super) fn words_for_driver(&self) -> (Vec<String>, Vec<String>) {
        let others = |words: Vec<String>, own: &str| {
            let is_own = |word: &String| own.contains(&word.to_lowercase());
            words.into_iter().filter(|word| !is_own(word)).collect()
        };
        (others(self.midi_words(), DRIVERS_INPUT), others(self.midi_out_words(), DRIVERS_OUTPUT))
    }

    /// Finds the driver's ports, for an engine that has just been made.
    pub(super) fn begin_cables(&mut self) {
        self.cables.clear();
        let (inputs, outputs) = self.sound.midi_ports();
        let named = |names: Vec<String>| {
            (0..FIRST_PORT).zip(names.iter().map(|name| short(name).to_owned())).collect()
        };
        (self.cables.names, self.cables.outputs) = (named(inputs), named(outputs));
        if self.sound.midi_peers().is_some() {
            let (inputs, outputs) = self.words_for_driver();
            name_last(&mut self.cables.names, &inputs);
            name_last(&mut self.cables.outputs, &outputs);
        }
        (self.cables.next, self.cables.next_output) = (FIRST_PORT, FIRST_PORT);
        self.see_to_cables(Instant::now());
    }

    /// Opens ports of the system that have come, and forgets those that are gone. A driver that has
    /// its own shows the system's among them.
    pub(super) fn see_to_cables(&mut self, now: Instant) {
        if self.cables.looked.is_some_and(|looked| now < looked + LOOK) {
            return;
        }
        self.cables.looked = Some(now);
        let names = |peers: &[MidiPeer]| peers.iter().map(|peer| peer.name.clone()).collect();
        let own = |names: &BTreeMap<u16, String>| -> Vec<String> {
            names.range(..FIRST_PORT).map(|(_, name)| name.clone()).collect()
        };
        let (mut inputs, mut outputs) = (own(&self.cables.names), own(&self.cables.outputs));
        let has_own = !inputs.is_empty() || !outputs.is_empty();
        let peers = self.sound.midi_peers();
        let mut problem = String::new();
        if let Some((sources, sinks)) = &peers {
            self.add_words();
            (inputs, outputs) = (names(sources), names(sinks));
        } else if !has_own {
            match midi_ports::missing().map(str::to_owned).map_or_else(midi_ports::list, |why| {
                problem = why;
                Ok(midi_ports::MidiPortNames::default())
            }) {
                Ok(ports) => {
                    (inputs, outputs) = (ports.inputs, ports.outputs);
                    self.follow_inputs(&inputs);
                    self.follow_outputs(&outputs);
                }
                Err(error) => self.tell_once(MessageKind::Warning, error.to_string()),
            }
        }
        let find = |word: &str, is_output: bool, cables: &Cables| -> Vec<String> {
            let (own, known) = match is_output {
                true => (DRIVERS_OUTPUT, &cables.outputs),
                false => (DRIVERS_INPUT, &cables.names),
            };
            match &peers {
                Some((sources, sinks)) if !own.contains(&word.to_lowercase()) => {
                    let peers = if is_output { sinks } else { sources };
                    let meant = peers.iter().filter(|peer| peer.is_meant_by(word));
                    meant.map(|peer| peer.name.clone()).collect()
                }
                _ => find(known, word).and_then(|at| known.get(&at)).cloned().into_iter().collect(),
            }
        };
        let connections = self.sound.connections();
        if self.cables.connections.as_deref() != connections.as_ref() {
            self.cables.connections = connections.map(Arc::new);
        }
        let meant = |words: Vec<String>, is_output| -> Vec<MidiSendView> {
            let words = words.into_iter();
            let ports = |word: &str| find(word, is_output, &self.cables);
            words.map(|word| MidiSendView { ports: ports(&word), word }).collect()
        };
        let sends = meant(self.midi_out_words(), true);
        for send in &meant(self.midi_words(), false) {
            self.tell_missing(false, send, &inputs, &problem);
        }
        for send in &sends {
            self.tell_missing(true, send, &outputs, &problem);
        }
        let (clock, clock_out) =
            (self.rig.transport.clock.clone(), self.rig.transport.clock_out.clone());
        let view = MidiView { inputs, outputs, problem, clock, clock_out, sends };
        if *self.cables.view != view {
            self.cables.view = Arc::new(view);
        }
    }

    /// Tells of a port that is not there, once; and that it is there again.
    fn tell_missing(&mut self, is_output: bool, of: &MidiSendView, there: &[String], why: &str) {
        let MidiSendView { word, ports } = of;
        let what = if is_output { "MIDI output" } else { "MIDI port" };
        let mark = (is_output, word.clone());
        if !ports.is_empty() {
            if self.cables.missing.remove(&mark) {
                let text = format!("{what} '{word}' is there: '{}'", ports.join("', '"));
                self.tell(MessageKind::Note, None, text);
            }
        } else if self.cables.missing.insert(mark) {
            let text = match why {
                "" => {
                    let offer = midi_ports::suggest(word, there);
                    format!("there is no {what} '{word}'{offer}; it is used as soon as it is there")
                }
                why => format!("there is no {what} '{word}': {why}"),
            };
            let kind = if is_output { MessageKind::Warning } else { MessageKind::Note };
            self.tell(kind, None, text);
        }
    }

    /// Has the driver make ports for words that the rig has not had before.
    fn add_words(&mut self) {
        let (inputs, outputs) = self.words_for_driver();
        let new = |words: Vec<String>, known: &BTreeMap<u16, String>| -> Vec<String> {
            let is_new = |word: &String| !known.values().any(|name| name == word);
            words.into_iter().filter(is_new).collect()
        };
        let inputs = new(inputs, &self.cables.names);
        let outputs = new(outputs, &self.cables.outputs);
        if inputs.is_empty() && outputs.is_empty() {
            return;
        }
        if let Err(error) = self.sound.add_midi_words(&inputs, &outputs) {
            return self.tell_once(MessageKind::Error, error.to_string());
        }
        let add = |names: &mut BTreeMap<u16, String>, words: Vec<String>| {
            let next = names.range(..FIRST_PORT).count() as u16;
            names.extend((next..FIRST_PORT).zip(words));
        };
        add(&mut self.cables.names, inputs);
        add(&mut self.cables.outputs, outputs);
        self.routed = u64::MAX;
    }

    fn follow_inputs(&mut self, names: &[String]) {
        let gone: Vec<u16> = (self.cables.open.iter())
            .filter(|(_, port)| !names.contains(&port.name))
            .map(|(number, _)| *number)
            .collect();
        for number in gone {
            self.cables.open.remove(&number);
            if let Some(name) = self.cables.names.remove(&number) {
                self.routed = u64::MAX;
                self.tell(MessageKind::Warning, None, format!("MIDI port '{name}' is gone"));
            }
        }
        self.cables.refused.retain(|name| names.contains(name));
        for name in names {
            let is_open = self.cables.open.values().any(|port| port.name == *name);
            if is_open || name.is_empty() || self.cables.refused.contains(name) {
                continue;
            }
            let Some(engine) = &mut self.engine else { return };
            let number = self.cables.next;
            match midi_ports::open_input(name, number) {
                Ok((port, receiver)) => {
                    if engine.midi.add_input(receiver).is_err() {
                        // The callback does not run: next time.
                        return;
                    }
                    self.cables.next = number.saturating_add(1).min(PRIVATE.start - 1);
                    self.cables.open.insert(number, port);
                    self.cables.names.insert(number, name.clone());
                    self.routed = u64::MAX;
                }
                Err(error) => {
                    self.cables.refused.insert(name.clone());
                    self.tell(MessageKind::Warning, None, error.to_string());
                }
            }
        }
    }

    /// Opens the outputs that the rig names, and no others: on some systems a port that is open is
    /// open to nobody else.
    fn follow_outputs(&mut self, names: &[String]) {
        let words = self.midi_out_words();
        let wanted =
            |name: &str| words.iter().any(|w| name.to_lowercase().contains(&w.to_lowercase()));
        let open = self.cables.open_outputs.iter();
        let gone = open.filter(|(_, port)| !names.contains(&port.name) || !wanted(&port.name));
        let gone: Vec<u16> = gone.map(|(number, _)| *number).collect();
        for number in gone {
            self.cables.outputs.remove(&number);
            if let Some(port) = self.cables.open_outputs.remove(&number)
                && wanted(&port.name)
            {
                let text = format!("MIDI output '{}' is gone", port.name);
                self.tell(MessageKind::Warning, None, text);
            }
            self.routed = u64::MAX;
        }
        for word in &words {
            let is_there = self.cables.find_output(word).is_some();
            // One that is not there is told of elsewhere.
            let meant = names.iter().any(|n| n.to_lowercase().contains(&word.to_lowercase()));
            if is_there || !meant || self.cables.told.contains(&format!("out {word}")) {
                continue;
            }
            let Some(engine) = &mut self.engine else { return };
            let number = self.cables.next_output;
            match midi_ports::open_output(word) {
                Ok((port, sender)) => {
                    if engine.midi.add_output(number, sender).is_err() {
                        return;
                    }
                    self.cables.next_output = number.saturating_add(1).min(PRIVATE.start - 1);
                    self.cables.outputs.insert(number, port.name.clone());
                    self.cables.open_outputs.insert(number, port);
                    self.routed = u64::MAX;
                }
                Err(error) => {
                    self.cables.told.insert(format!("out {word}"));
                    self.tell(MessageKind::Warning, None, error.to_string());
                }
            }
        }
    }

    fn tell_once(&mut self, kind: MessageKind, text: String) {
        if self.cables.told.insert(text.clone()) {
            self.tell(kind, None, text);
        }
    }
}

/// The last ports are those that were made for words.
fn name_last(names: &mut BTreeMap<u16, String>, words: &[String]) {
    for (name, word) in names.values_mut().rev().zip(words.iter().rev()) {
        name.clone_from(word);
    }
}
