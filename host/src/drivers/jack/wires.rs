//! What our ports are connected to: remembered, and put back when the server has come back or the
//! driver is opened anew.

use super::client::{Client, Kind, Port};
use super::library::port_flag;
use super::ports::Ports;
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
    /// Others' MIDI ports that were there when it was last looked at.
    seen: [Seen; 2],
}

/// Of one direction: others' ports, and how many words of ours have seen them.
#[derive(Default)]
struct Seen {
    others: BTreeSet<String>,
    words: usize,
}

/// The words of our MIDI ports, each with the number of the first port that belongs to one.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) inputs: (usize, &'a [String]),
    pub(super) outputs: (usize, &'a [String]),
}

/// Whether a port is what a word means, by one of its names.
fn is_meant(client: &Client, other: &str, word: &str) -> bool {
    let word = word.to_lowercase();
    let has = |name: &String| name.to_lowercase().contains(&word);
    has(&other.to_owned()) || client.aliases(other).iter().any(has)
}

impl Wires {
    /// Those that were there before; the first time those to the sound card.
    pub(super) fn remembered(
        driver: &str,
        client: &Client,
        ports: &Ports,
        words: Words<'_>,
    ) -> Self {
        let known = memory().get(driver).cloned();
        let wires = known.unwrap_or_else(|| to_hardware(client, ports, words.inputs.1));
        let name = |port: Option<Port>| port.map(|port| client.port_name(port));
        let pending = wires.into_iter().filter_map(|(mine, other)| {
            Some(match mine {
                Mine::Input(n) => (other, name(ports.inputs.get(n).copied())?),
                // Those of words find what they mean themselves.
                Mine::MidiInput(n) if n >= words.inputs.0 => return None,
                Mine::MidiOutput(n) if n >= words.outputs.0 => return None,
                Mine::MidiInput(n) => (other, name(ports.midi_inputs.get(n))?),
                Mine::Output(n) => (name(ports.outputs.get(n).copied())?, other),
                Mine::MidiOutput(n) => (name(ports.midi_outputs.get(n))?, other),
            })
        });
        Self { pending: pending.collect(), seen: Default::default() }
    }

    /// Connects MIDI ports of others that have come since the last time to those of ours whose words
    /// mean them; and words that have come since to what was there.
    pub(super) fn follow(&mut self, client: &Client, ports: &Ports, words: Words<'_>) {
        let own = format!("{}:", client.name());
        let ways = [
            (&ports.midi_inputs, words.inputs, port_flag::OUTPUT),
            (&ports.midi_outputs, words.outputs, port_flag::INPUT),
        ];
        for ((list, (first, words), flag), seen) in ways.into_iter().zip(&mut self.seen) {
            if words.is_empty() {
                continue;
            }
            let others: BTreeSet<String> = client.ports(Kind::Midi, flag).into_iter().collect();
            let ours: Vec<Port> = list.iter().skip(first).collect();
            for other in others.iter().filter(|name| !name.starts_with(&own)) {
                let before = if seen.others.contains(other) { seen.words } else { 0 };
                for (port, word) in ours.iter().zip(words).skip(before) {
                    if is_meant(client, other, word) {
                        let (other, mine) = (other.clone(), client.port_name(*port));
                        self.pending.push(match flag {
                            port_flag::OUTPUT => (other, mine),
                            _ => (mine, other),
                        });
                    }
                }
            }
            *seen = Seen { others, words: words.len() };
        }
    }

    /// Somebody has decided about these two: they are not waited for any more.
    pub(super) fn forget(&mut self, from: &str, to: &str) {
        self.pending.retain(|pending| (pending.0.as_str(), pending.1.as_str()) != (from, to));
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
        let mut add = |ports: &mut dyn Iterator<Item = Port>, mine: fn(usize) -> Mine| {
            for (number, port) in ports.enumerate() {
                let others = client.connections(port).into_iter();
                wires.extend(others.map(|other| (mine(number), other)));
            }
        };
        add(&mut ports.inputs.iter().copied(), Mine::Input);
        add(&mut ports.outputs.iter().copied(), Mine::Output);
        add(&mut ports.midi_inputs.iter(), Mine::MidiInput);
        add(&mut ports.midi_outputs.iter(), Mine::MidiOutput);
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
    if ports.midi_inputs.len() > 0 {
        let sources = physical(Kind::Midi, port_flag::OUTPUT).into_iter();
        let is_free = |name: &String| !words.iter().any(|word| is_meant(client, name, word));
        wires.extend(sources.filter(is_free).map(|name| (Mine::MidiInput(0), name)));
    }
    wires
}
