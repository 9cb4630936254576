//! What the driver's ports are connected to: shown, changed, and watched.

use super::client::Kind;
use super::library::port_flag;
use super::wires::{self, Wires, Words};
use super::{Context, JackDriver};
use crate::drivers::{Connections, DriverPort, JackOptions, Wiring};
use crate::error::Error;
use std::collections::BTreeSet;
use std::time::Instant;

/// The words of its MIDI ports.
fn words(options: &JackOptions) -> Words<'_> {
    let (inputs, outputs) = options.midi;
    Words {
        inputs: (inputs as usize, &options.midi_words),
        outputs: (outputs as usize, &options.midi_out_words),
    }
}

impl JackDriver {
    /// Our ports now.
    fn ours(&self) -> Vec<wires::Mine> {
        let Context { client, ports, .. } = &*self.context;
        wires::ours(client, ports, words(&self.options))
    }

    /// Whether it connects itself, and can.
    fn is_plugged(&self) -> bool {
        self.options.connect && self.is_active && self.gone().is_none()
    }

    /// Connects for the first time.
    pub(super) fn plug_in(&mut self) {
        if self.is_plugged() {
            let (ours, words) = (self.ours(), &self.options.midi_words);
            let given = self.options.wiring.as_ref();
            self.wires = Wires::begin(&self.name, &self.context.client, &ours, words, given);
            self.watch_wires();
        }
    }

    /// Connects what has come, and looks at what others have connected.
    pub(super) fn watch_wires(&mut self) {
        if !self.is_plugged() {
            return;
        }
        self.looked_at_wires = Instant::now();
        let new: BTreeSet<String> = self.context.shared.take_registered().into_iter().collect();
        let ours = self.ours();
        let client = &self.context.client;
        self.wires.follow(client, &ours);
        self.wires.look(client, &ours, &new);
        self.wires.remember(&self.name);
    }

    /// What the rig is to say about connections.
    pub(super) fn kept_wiring(&mut self) -> Option<Wiring> {
        // Nothing has been connected before it plays.
        let is_known = self.options.connect && self.is_active;
        self.watch_wires();
        is_known.then(|| self.wires.kept())
    }

    /// Another rig says what is to be connected.
    pub(super) fn change_wiring(&mut self, wiring: &Wiring) {
        self.options.wiring = Some(wiring.clone());
        if self.is_plugged() {
            let ours = self.ours();
            self.wires.change(&self.context.client, &ours, wiring);
            self.watch_wires();
        }
    }

    pub(super) fn all_connections(&self) -> Connections {
        let client = &self.context.client;
        let own = format!("{}:", client.name());
        let others = |kind| {
            let names = |flag| {
                let names = client.ports(kind, flag).into_iter();
                names.filter(|name| !name.starts_with(&own)).collect()
            };
            (names(port_flag::OUTPUT), names(port_flag::INPUT))
        };
        let ports = self.ours().into_iter().map(|mine| DriverPort {
            awaited: self.wires.awaited(&mine.name),
            is_midi: mine.kind == Kind::Midi,
            is_input: mine.is_input,
            connected: mine.connected,
            name: mine.name,
        });
        let ports = ports.collect();
        Connections { ports, audio: others(Kind::Audio), midi: others(Kind::Midi) }
    }

    pub(super) fn connect_port(&mut self, port: &str, other: &str, on: bool) -> Result<(), Error> {
        let known = self.all_connections();
        let Some(mine) = known.ports.iter().find(|known| known.name == port) else {
            return Err(self.fail(&format!("it has no port '{port}'")));
        };
        let is_there = mine.connected.iter().chain(known.others(mine)).any(|known| known == other);
        if !on && !is_there && mine.awaited.iter().any(|known| known == other) {
            self.wires.decide(port, other, false);
            return Ok(());
        }
        if !is_there {
            let offer = crate::drivers::midi_ports::suggest(other, known.others(mine));
            return Err(self.fail(&format!("'{port}' can't be connected to '{other}'{offer}")));
        }
        let client = &self.context.client;
        let full = format!("{}:{port}", client.name());
        let (from, to) = match mine.is_input {
            true => (other, full.as_str()),
            false => (full.as_str(), other),
        };
        let done = if on { client.connect(from, to) } else { client.disconnect(from, to) };
        match done {
            true => {
                self.wires.decide(port, other, on);
                Ok(())
            }
            false => Err(self.fail(&format!("the server does not connect '{port}' and '{other}'"))),
        }
    }
}
