//! Connections of the driver's ports, as a rig says them.

use super::Rig;
use super::check::{CHANNELS, Problem, Step};
use super::read::offer;
use crate::drivers::Wiring;

/// What the driver's ports are called, before their numbers.
const PORTS: [&str; 4] = ["in_", "out_", "midi_in_", "midi_out_"];

impl Rig {
    /// The words for MIDI ports.
    fn midi_words(&self) -> impl Iterator<Item = &str> {
        let tracks = self.tracks.iter();
        let of_tracks = tracks.flat_map(|track| {
            let plugins = track.plugins.iter().flat_map(|slot| &slot.midi_out);
            let outputs = track.midi_out.iter().chain(plugins).map(|output| &output.port);
            track.midi.iter().filter_map(|input| input.port.as_ref()).chain(outputs)
        });
        let mappings = self.mappings.iter().filter_map(|mapping| mapping.port.as_ref());
        let clocks = self.transport.clock.iter().chain(&self.transport.clock_out);
        of_tracks.chain(mappings).chain(clocks).map(String::as_str)
    }

    /// Takes over what the driver's ports are connected to, but for what a rig can't say: ports of words
    /// that it has no more, and names that can't be written.
    pub(crate) fn set_connections(&mut self, mut all: Wiring) {
        all.retain(|port, _| self.has_port(port));
        all.values_mut().for_each(|others| others.retain(|other| is_port(other)));
        if all != self.connections {
            self.connections = all;
        }
    }

    /// Whether the driver may have a port of this name: a numbered one, or that of a word.
    pub(super) fn has_port(&self, name: &str) -> bool {
        let is_number = |number: &str| {
            let number: Option<u32> = number.parse().ok().filter(|_| !number.starts_with('+'));
            number.is_some_and(|number| (1..=CHANNELS).contains(&number))
        };
        // As the driver calls it: a colon has a meaning for JACK, and no two have the same name.
        let plain =
            |word: &str| word.replace(|c: char| c == ':' || c.is_control(), "_").to_lowercase();
        let name = name.to_lowercase();
        let short = ["_in", "_out", "_midi"].iter().filter_map(|end| name.strip_suffix(end));
        let names: Vec<&str> = short.chain([name.as_str()]).collect();
        PORTS.iter().any(|port| name.strip_prefix(port).is_some_and(is_number))
            || self.midi_words().any(|word| names.contains(&plain(word).as_str()))
    }

    pub(super) fn check_connections(&self) -> Result<(), Problem> {
        for (port, others) in &self.connections {
            let refuse = |reason: String| {
                let at = vec![Step::Key("connections")];
                Err(Problem { at, name: Some(port.clone()), reason })
            };
            if !self.has_port(port) {
                let numbered = PORTS.map(|port| format!("{port}1"));
                let words = numbered.iter().map(String::as_str).chain(self.midi_words());
                let reason =
                    format!("connections: there is no port '{port}'{}", offer(port, words));
                return refuse(reason);
            }
            if let Some(other) = others.iter().find(|other| !is_port(other)) {
                return refuse(format!(
                    "{port}: '{other}' must be the whole name of a port, as \"system:playback_1\" \
                     ('jack_lsp' lists them)"
                ));
            }
            let mut known = others.iter().enumerate();
            if let Some((_, other)) = known.find(|(n, other)| others[..*n].contains(other)) {
                return refuse(format!("{port}: '{other}' is there twice"));
            }
        }
        Ok(())
    }
}

/// Whether this can be the whole name of another program's port.
fn is_port(name: &str) -> bool {
    let (client, port) = name.split_once(':').unwrap_or_default();
    !client.is_empty() && !port.is_empty() && !name.contains(char::is_control)
}
