//! What our ports are connected to: remembered, and put back when the server has come back or the
//! driver is opened anew.

use super::client::{Client, Kind, Port};
use super::library::port_flag;
use super::process::Ports;
use std::collections::{BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};

/// A connection: which of our ports, without the client's name; and the other port's full name.
type Wire = (Mine, String);

/// One of our ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Mine {
    Input(usize),
    Output(usize),
    MidiInput(usize),
    MidiOutput(usize),
}

/// What each driver was connected to, by its name, as long as the program runs.
static REMEMBERED: LazyLock<Mutex<HashMap<String, Vec<Wire>>>> = LazyLock::new(Mutex::default);

fn memory() -> MutexGuard<'static, HashMap<String, Vec<Wire>>> {
    REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Connections that are wanted and not there yet.
#[derive(Default)]
pub(super) struct Wires {
    pending: Vec<(String, String)>,
    /// MIDI sources that were there when it was last looked at.
    sources: BTreeSet<String>,
}

/// The number of the first MIDI input that belongs to a word, and the words.
type Words<'a> = (usize, &'a [String]);

/// Whether a source is what a word means, by one of its names.
fn is_meant(client: &Client, source: &str, word: &str) -> bool {
    let word = word.to_lowercase();
    let has = |name: &String| name.to_lowercase().contains(&word);
    has(&source.to_owned()) || client.aliases(source).iter().any(has)
}

impl Wires {
    /// Those that were there before; the first time those to the sound card.
    pub(super) fn remembered(
        driver: &str,
        client: &Client,
        ports: &Ports,
        (first, words): Words<'_>,
    ) -> Self {
        let known = memory().get(driver).cloned();
        let wires = known.unwrap_or_else(|| to_hardware(client, ports, words));
        let name = |port: Option<&Port>| port.map(|port| client.port_name(*port));
        let pending = wires.into_iter().filter_map(|(mine, other)| {
            Some(match mine {
                Mine::Input(n) => (other, name(ports.inputs.get(n))?),
                // Those of words find what they mean themselves.
                Mine::MidiInput(n) if n >= first => return None,
                Mine::MidiInput(n) => (other, name(ports.midi_inputs.get(n))?),
                Mine::Output(n) => (name(ports.outputs.get(n))?, other),
                Mine::MidiOutput(n) => (name(ports.midi_outputs.get(n))?, other),
            })
        });
        Self { pending: pending.collect(), sources: BTreeSet::new() }
    }

    /// Connects MIDI sources that have come since the last time to the inputs whose words mean them.
    pub(super) fn follow(&mut self, client: &Client, ports: &Ports, (first, words): Words<'_>) {
        if words.is_empty() {
            return;
        }
        let own = format!("{}:", client.name());
        let sources: BTreeSet<String> =
            client.ports(Kind::Midi, port_flag::OUTPUT).into_iter().collect();
        let new = sources.difference(&self.sources).filter(|name| !name.starts_with(&own));
        for source in new {
            for (port, word) in ports.midi_inputs.iter().skip(first).zip(words) {
                if is_meant(client, source, word) {
                    self.pending.push((source.clone(), client.port_name(*port)));
                }
            }
        }
        self.sources = sources;
    }

    /// Makes what can be made: other programs may come later.
    pub(super) fn connect(&mut self, client: &Client) {
        self.pending.retain(|(from, to)| {
            let there = client.has_port(from) && client.has_port(to);
            !(there && client.connect(from, to))
        });
    }

    /// Remembers what is connected now. While connections are pending, what was remembered stays.
    pub(super) fn look(&self, client: &Client, ports: &Ports, driver: &str) {
        if !self.pending.is_empty() {
            return;
        }
        let mut wires: Vec<Wire> = Vec::new();
        let mut add = |ports: &[Port], mine: fn(usize) -> Mine| {
            for (number, port) in ports.iter().enumerate() {
                let others = client.connections(*port).into_iter();
                wires.extend(others.map(|other| (mine(number), other)));
            }
        };
        add(&ports.inputs, Mine::Input);
        add(&ports.outputs, Mine::Output);
        add(&ports.midi_inputs, Mine::MidiInput);
        add(&ports.midi_outputs, Mine::MidiOutput);
        memory().insert(driver.to_owned(), wires);
    }
}

/// Channel by channel to the hardware's, and all of the hardware's MIDI that no word means to the
/// first port.
fn to_hardware(client: &Client, ports: &Ports, words: &[String]) -> Vec<Wire> {
    let physical = |kind, flag| client.ports(kind, flag | port_flag::PHYSICAL);
    let captures = physical(Kind::Audio, port_flag::OUTPUT).into_iter();
    let playbacks = physical(Kind::Audio, port_flag::INPUT).into_iter();
    let inputs = (0..ports.inputs.len()).zip(captures).map(|(n, name)| (Mine::Input(n), name));
    let outputs = (0..ports.outputs.len()).zip(playbacks).map(|(n, name)| (Mine::Output(n), name));
    let mut wires: Vec<Wire> = inputs.chain(outputs).collect();
    if !ports.midi_inputs.is_empty() {
        let sources = physical(Kind::Midi, port_flag::OUTPUT).into_iter();
        let is_free = |name: &String| !words.iter().any(|word| is_meant(client, name, word));
        wires.extend(sources.filter(is_free).map(|name| (Mine::MidiInput(0), name)));
    }
    wires
}
