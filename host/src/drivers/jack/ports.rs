//! Our ports. MIDI ports may be added while JACK's threads use those that are there.

use super::client::{Client, Kind, Port};
use super::library::port_flag;
use crate::drivers::{DriverConfig, JackOptions};
use std::ffi::c_ulong;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicUsize, Ordering};

/// MIDI ports of one direction, at most.
const MOST_MIDI: usize = 64;

/// The client's ports; the place of a MIDI port is its number.
#[derive(Default)]
pub(super) struct Ports {
    pub(super) inputs: Vec<Port>,
    pub(super) outputs: Vec<Port>,
    pub(super) midi_inputs: MidiPorts,
    pub(super) midi_outputs: MidiPorts,
}

/// A list that one thread adds to while others read it. Nothing ever leaves it.
pub(super) struct MidiPorts {
    slots: [AtomicPtr<super::library::jack_port_t>; MOST_MIDI],
    /// How many of them count: a slot is written before it does ("release" in `push`, "acquire" in
    /// `iter`).
    count: AtomicUsize,
}

impl Default for MidiPorts {
    fn default() -> Self {
        let slots = std::array::from_fn(|_| AtomicPtr::default());
        Self { slots, count: AtomicUsize::new(0) }
    }
}

impl MidiPorts {
    /// The ports, in the order of their numbers. Realtime-safe.
    pub(super) fn iter(&self) -> impl Iterator<Item = Port> {
        let count = self.count.load(Ordering::Acquire).min(MOST_MIDI);
        let slots = self.slots[..count].iter();
        slots.filter_map(|slot| NonNull::new(slot.load(Ordering::Relaxed)).map(Port))
    }

    pub(super) fn len(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Adds one, from the control thread. False: there is no room.
    fn push(&self, port: Port) -> bool {
        let count = self.len();
        let Some(slot) = self.slots.get(count) else { return false };
        slot.store(port.0.as_ptr(), Ordering::Relaxed);
        self.count.store(count + 1, Ordering::Release);
        true
    }
}

impl Ports {
    /// All that are wanted.
    pub(super) fn register(
        client: &Client,
        config: &DriverConfig,
        options: &JackOptions,
    ) -> Result<Self, String> {
        let many = |count: u32, name: &str, flag| -> Result<Vec<Port>, String> {
            let name = |n| format!("{name}_{n}");
            (1..=count).map(|n| client.register(&name(n), Kind::Audio, flag)).collect()
        };
        let ports = Self {
            inputs: many(config.inputs, "in", port_flag::INPUT)?,
            outputs: many(config.outputs, "out", port_flag::OUTPUT)?,
            ..Self::default()
        };
        let (inputs, outputs) = options.midi;
        for n in 1..=inputs {
            ports.add(client, &format!("midi_in_{n}"), port_flag::INPUT)?;
        }
        for n in 1..=outputs {
            ports.add(client, &format!("midi_out_{n}"), port_flag::OUTPUT)?;
        }
        for word in &options.midi_words {
            ports.add(client, word, port_flag::INPUT)?;
        }
        for word in &options.midi_out_words {
            ports.add(client, word, port_flag::OUTPUT)?;
        }
        Ok(ports)
    }

    /// Makes a MIDI port with a word for its name; from the control thread.
    pub(super) fn add(&self, client: &Client, word: &str, flag: c_ulong) -> Result<(), String> {
        let is_input = flag == port_flag::INPUT;
        let list = if is_input { &self.midi_inputs } else { &self.midi_outputs };
        if list.len() == MOST_MIDI {
            return Err(format!("no more than {MOST_MIDI} MIDI ports each way: name fewer"));
        }
        let name = port_name(word);
        // An input and an output can't have the same name.
        let short = |port| client.port_name(port).split_once(':').map(|(_, name)| name.to_owned());
        let others = if is_input { &self.midi_outputs } else { &self.midi_inputs };
        let is_taken = others.iter().any(|port| short(port).as_deref() == Some(name.as_str()));
        let name = match (is_taken, is_input) {
            (false, _) => name,
            (true, true) => format!("{name}_in"),
            (true, false) => format!("{name}_out"),
        };
        // One of the audio ports may have it.
        let again = |_| client.register(&format!("{name}_midi"), Kind::Midi, flag);
        list.push(client.register(&name, Kind::Midi, flag).or_else(again)?);
        Ok(())
    }
}

/// A word as a port's name: what is before a colon is the client's.
fn port_name(word: &str) -> String {
    word.replace(|c: char| c == ':' || c.is_control(), "_")
}
