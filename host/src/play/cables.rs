//! The MIDI ports that a rig's notes, controllers and clock come from: the driver's own, or else the
//! system's.

use super::control::Control;
use super::view::MessageKind;
use crate::drivers::midi_ports::{self, FIRST_PORT, InputPort};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The port of messages that come by command.
pub(super) const KEYBOARD: u16 = 0xfff0;
/// What it is called in rigs.
pub(super) const KEYBOARD_NAME: &str = "keyboard";
/// What the driver's first port is called, where it has any.
const DRIVERS_PORT: &str = "midi_in_1";

/// See the module.
#[derive(Default)]
pub(super) struct Cables {
    /// Names of the inputs that there are, by number.
    pub(super) names: BTreeMap<u16, String>,
    /// Those of the system. Closed when dropped.
    open: BTreeMap<u16, InputPort>,
    /// What could not be opened. Not tried again until it has been gone.
    refused: BTreeSet<String>,
    /// What has been told once.
    told: BTreeSet<String>,
    /// The number of the next one that is opened.
    next: u16,
    looked: Option<Instant>,
}

impl Cables {
    /// The number of the port whose name contains this.
    pub(super) fn find(&self, word: &str) -> Option<u16> {
        let word = word.to_lowercase();
        let is_it = |name: &str| name.to_lowercase().contains(&word);
        self.names.iter().find(|(_, name)| is_it(name)).map(|(number, _)| *number)
    }

    /// Forgets all, and closes what is open: another engine hears from now on.
    pub(super) fn clear(&mut self) {
        let told = std::mem::take(&mut self.told);
        *self = Self { told, ..Self::default() };
    }
}

/// How often the system is asked for new ports.
const LOOK: Duration = Duration::from_secs(2);

impl Control {
    /// The MIDI ports that the rig names, beside the program's own.
    pub(super) fn midi_words(&self) -> Vec<String> {
        let routes = self.rig.tracks.iter().flat_map(|track| &track.midi);
        let routes = routes.filter_map(|input| input.port.as_ref());
        let mappings = self.rig.mappings.iter().filter_map(|mapping| mapping.port.as_ref());
        let clock = self.rig.transport.clock.iter();
        let mut words: Vec<String> = Vec::new();
        for word in routes.chain(mappings).chain(clock) {
            let is_known = |known: &String| known.eq_ignore_ascii_case(word);
            if !word.eq_ignore_ascii_case(KEYBOARD_NAME) && !words.iter().any(is_known) {
                words.push(word.clone());
            }
        }
        words
    }

    /// The words for which a driver with ports of its own is to make one each.
    pub(super) fn words_for_driver(&self) -> Vec<String> {
        let is_own = |word: &String| DRIVERS_PORT.contains(&word.to_lowercase());
        self.midi_words().into_iter().filter(|word| !is_own(word)).collect()
    }

    /// Finds the driver's ports, for an engine that has just been made.
    pub(super) fn begin_cables(&mut self, drivers: Vec<String>) {
        self.cables.clear();
        // Without the client's name, which may be another tomorrow.
        let short = |name: String| match name.split_once(':') {
            Some((_, name)) => name.to_owned(),
            None => name,
        };
        self.cables.names.extend((0..FIRST_PORT).zip(drivers.into_iter().map(short)));
        self.cables.next = FIRST_PORT;
        self.see_to_cables(Instant::now());
    }

    /// Opens ports of the system that have come, and forgets those that are gone. A driver that has
    /// its own shows the system's among them.
    pub(super) fn see_to_cables(&mut self, now: Instant) {
        if self.cables.looked.is_some_and(|looked| now < looked + LOOK) {
            return;
        }
        self.cables.looked = Some(now);
        let has_own = self.cables.names.keys().any(|number| *number < FIRST_PORT);
        if !has_own && midi_ports::missing().is_none() {
            match midi_ports::list() {
                Ok(names) => self.follow_system(&names.inputs),
                Err(error) => self.tell_once(MessageKind::Warning, error.to_string()),
            }
        }
        for word in self.midi_words() {
            if self.cables.find(&word).is_some() {
                continue;
            }
            let reason = match midi_ports::missing() {
                _ if has_own => "reconnect the driver, and it has one of that name",
                Some(missing) => missing,
                None => "it is used as soon as it is there",
            };
            self.tell_once(MessageKind::Note, format!("there is no MIDI port '{word}': {reason}"));
        }
    }

    fn follow_system(&mut self, names: &[String]) {
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
                    self.cables.next = number.saturating_add(1).min(KEYBOARD - 1);
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

    fn tell_once(&mut self, kind: MessageKind, text: String) {
        if self.cables.told.insert(text.clone()) {
            self.tell(kind, None, text);
        }
    }
}
