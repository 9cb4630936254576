//! Along the routes, message by message; what a mapping takes goes elsewhere.
//!
//! Realtime-safe: nothing allocates, and each message costs time in proportion to the routes, the
//! mappings and what sounds.

use super::buffer::{MidiBuffer, MidiMessage};
use super::message::{Message, cc};
use super::output::{Budget, Out, Place, Sink};
use super::setup::{Control, Destination, MidiSetup, Mode, PRIVATE, Route, TAPS, Target};
use super::sounding::{From, Lasting, Sounding, is_pedal};
use sandrack_engine::graph::NodeId;

/// What routing tells the control thread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MidiNotice {
    /// A control was moved (or a key played): for learning, and to show that MIDI comes in.
    Moved {
        /// Port on which it came.
        port: u16,
        /// Channel, from 0.
        channel: u8,
        /// Which control.
        control: Control,
        /// 0 ..= 1
        value: f64,
    },
    /// A mapping moved a parameter. The node has it already.
    Param {
        /// The node.
        node: NodeId,
        /// The plugin's number for the parameter.
        param: u32,
        /// Plain value.
        value: f64,
    },
    /// A mapping gave a command.
    Command {
        /// See [`Target::Command`].
        command: u32,
        /// 0 ..= 1; of a key or button that is let go: 0.
        value: f64,
        /// When: frames since the driver was started.
        at: u64,
    },
    /// A program change for the host.
    Program {
        /// Port on which it came.
        port: u16,
        /// Channel, from 0.
        channel: u8,
        /// Of the bank selects before it, 0 ..= 16383; 0 if there were none.
        bank: u16,
        /// 0 ..= 127
        program: u8,
    },
}

/// A setup, and what is remembered for each of its mappings.
pub(super) struct Prepared {
    pub(super) setup: MidiSetup,
    toggles: Vec<Toggle>,
}

#[derive(Clone, Copy, Default)]
struct Toggle {
    is_on: bool,
    was_high: bool,
}

impl Prepared {
    pub(super) fn new(setup: MidiSetup) -> Self {
        let toggles = vec![Toggle::default(); setup.mappings.len()];
        Self { setup, toggles }
    }

    /// Toggles that the setup before has, too, stay as they are.
    fn take_over(&mut self, before: &Self) {
        for (mapping, toggle) in self.setup.mappings.iter().zip(&mut self.toggles) {
            let same = before.setup.mappings.iter().position(|old| old == mapping);
            if let Some(same) = same {
                *toggle = before.toggles[same];
            }
        }
    }
}

/// Routes messages; the realtime half of all that is remembered.
pub(super) struct Router {
    prepared: Box<Prepared>,
    sounding: Sounding,
    budget: Budget,
    /// Bank selects, by channel, of whatever port.
    banks: [u16; 16],
    /// Messages that were not valid.
    pub(super) invalid: u64,
}

impl Router {
    pub(super) fn new(setup: MidiSetup) -> Self {
        Self {
            prepared: Box::new(Prepared::new(setup)),
            sounding: Sounding::new(),
            budget: Budget::new(),
            banks: [0; 16],
            invalid: 0,
        }
    }

    /// Messages that found no room at their destination.
    pub(super) fn lost(&self) -> u64 {
        self.budget.lost
    }

    pub(super) fn setup(&self) -> &MidiSetup {
        &self.prepared.setup
    }

    /// The port that a plugin's notes come through.
    pub(super) fn tap(&self, node: NodeId) -> Option<u16> {
        self.setup().taps.iter().find(|tap| tap.node == node).map(|tap| tap.port)
    }

    /// Notes that are held, or wait for room for their end.
    pub(super) fn notes(&self) -> usize {
        self.sounding.notes()
    }

    /// Nodes that have held notes, or a pedal that is down; each as often as it has.
    pub(super) fn sounding_nodes(&self) -> impl Iterator<Item = NodeId> {
        self.sounding.held_places().filter_map(|place| match place.to {
            Destination::Node { node, .. } => Some(node),
            Destination::Port(_) => None,
        })
    }

    /// From now on by another setup. What sounds goes on until it is let go. Gives back the one
    /// before.
    pub(super) fn swap(&mut self, mut next: Box<Prepared>) -> Box<Prepared> {
        next.take_over(&self.prepared);
        std::mem::replace(&mut self.prepared, next)
    }

    /// Begins a block: sends what found no room in the one before.
    pub(super) fn begin(&mut self, sink: &mut impl Sink) {
        self.budget.begin();
        self.sounding.settle(&mut Out { sink, budget: &mut self.budget, frame: 0 });
    }

    /// Ends all that was begun through a port: what played there can't end it itself.
    pub(super) fn silence_port(&mut self, port: u16, sink: &mut impl Sink) {
        let out = &mut Out { sink, budget: &mut self.budget, frame: 0 };
        self.sounding.release_ports(|known| known == port, out);
    }

    /// The same for those plugins' ports that the setup does not have any more.
    pub(super) fn silence_lost_taps(&mut self, sink: &mut impl Sink) {
        let taps = &self.prepared.setup.taps;
        let is_lost = |port| TAPS.contains(&port) && !taps.iter().any(|tap| tap.port == port);
        let out = &mut Out { sink, budget: &mut self.budget, frame: 0 };
        self.sounding.release_ports(is_lost, out);
    }

    /// Routes the messages of a block.
    pub(super) fn process(
        &mut self,
        midi: &MidiBuffer,
        sink: &mut impl Sink,
        tell: &mut impl FnMut(MidiNotice),
    ) {
        for message in midi.iter() {
            match Message::parse(message.bytes) {
                Some(meaning) => self.message(message, meaning, sink, tell),
                None => self.invalid += 1,
            }
        }
    }

    fn message(
        &mut self,
        MidiMessage { frame, port, bytes }: MidiMessage<'_>,
        message: Message,
        sink: &mut impl Sink,
        tell: &mut impl FnMut(MidiNotice),
    ) {
        let Self { prepared, sounding, budget, banks, .. } = self;
        let mut out = Out { sink, budget, frame };
        let mut is_taken = false;
        if let Some((control, channel, value)) = Control::of(message) {
            if !PRIVATE.contains(&port) {
                tell(MidiNotice::Moved { port, channel, control, value });
            }
            is_taken = map(prepared, port, channel, control, value, &mut out, tell);
        }
        let setup = &prepared.setup;
        match message {
            Message::NoteOn { channel, key, velocity } => {
                let from = (port, channel);
                // Played twice without having been let go.
                sounding.release((from, key), 0.5, &mut out);
                if !is_taken {
                    press(setup, sounding, (from, key), velocity, &mut out);
                }
            }
            // Also when a mapping takes it by now: what began has to end.
            Message::NoteOff { channel, key, velocity } => {
                sounding.release(((port, channel), key), f64::from(velocity) / 127.0, &mut out);
            }
            Message::KeyPressure { channel, key, value } => {
                sounding.key_pressure(((port, channel), key), value, &mut out);
            }
            _ if is_taken => {}
            Message::Controller { channel, number, value } => {
                let from = (port, channel);
                match number {
                    cc::BANK_MSB => bank(banks, channel, 7, value),
                    cc::BANK_LSB => bank(banks, channel, 0, value),
                    cc::SOUND_OFF | cc::NOTES_OFF.. => sounding.release_channel(from, &mut out),
                    cc::RESET => sounding.rest(from, &mut out),
                    _ => {}
                }
                let wanted =
                    |route: &Route| if is_pedal(number) { route.pedals } else { route.controllers };
                let data = [number, value];
                match Lasting::controller(number) {
                    Some(what) => lasting(setup, sounding, from, what, data, wanted, &mut out),
                    None => each(setup, from, wanted, |place| {
                        out.midi(place.to, &[0xb0 | place.channel, number, value]);
                    }),
                }
            }
            Message::PitchBend { channel, .. } => {
                let (from, data) = ((port, channel), [bytes[1], bytes[2]]);
                let wanted = |route: &Route| route.controllers;
                lasting(setup, sounding, from, Lasting::Bend, data, wanted, &mut out);
            }
            Message::ChannelPressure { channel, value } => {
                let (from, data) = ((port, channel), [value, 0]);
                let wanted = |route: &Route| route.controllers;
                lasting(setup, sounding, from, Lasting::Pressure, data, wanted, &mut out);
            }
            Message::Program { channel, program } => {
                if setup.programs.is_some_and(|source| source.matches(port, channel)) {
                    let bank = banks[usize::from(channel)];
                    tell(MidiNotice::Program { port, channel, bank, program });
                } else {
                    each(
                        setup,
                        (port, channel),
                        |route| route.controllers,
                        |place| {
                            out.midi(place.to, &[0xc0 | place.channel, program, 0]);
                        },
                    );
                }
            }
            Message::SysEx => exclusive(setup, port, bytes, &mut out),
            Message::SongPosition(_)
            | Message::Clock
            | Message::Start
            | Message::Continue
            | Message::Stop
            | Message::Other => {}
        }
    }

    /// Silence, whatever sounds and why: ends what is held, lifts the pedals, and tells every
    /// destination to stop all sound.
    pub(super) fn panic(&mut self, sink: &mut impl Sink) {
        let Self { prepared, sounding, budget, .. } = self;
        let setup = &prepared.setup;
        let mut out = Out { sink, budget, frame: 0 };
        // First those that only sound: afterwards they are forgotten.
        let routed = |to| setup.routes.iter().any(|route| route.to == to);
        for (index, place) in sounding.places().enumerate() {
            let is_first = !sounding.places().take(index).any(|before| before.to == place.to);
            if is_first && !routed(place.to) {
                silence(place.to, &mut out);
            }
        }
        for (index, route) in setup.routes.iter().enumerate() {
            if !setup.routes[..index].iter().any(|before| before.to == route.to) {
                silence(route.to, &mut out);
            }
        }
        for &node in &setup.panic {
            silence(Destination::Node { node, port: 0 }, &mut out);
        }
        sounding.end_all(&mut out);
    }
}

/// Pedals up, wheels back, all notes off, all sound off, on all channels.
fn silence(to: Destination, out: &mut Out<'_, impl Sink>) {
    for channel in 0..16 {
        for (number, value) in
            [(cc::SUSTAIN, 0), (cc::SOSTENUTO, 0), (cc::RESET, 0), (cc::NOTES_OFF, 0)]
        {
            out.midi(to, &[0xb0 | channel, number, value]);
        }
        out.midi(to, &[0xb0 | channel, cc::SOUND_OFF, 0]);
    }
    if let Destination::Node { node, .. } = to {
        out.choke(node);
    }
}

fn bank(banks: &mut [u16; 16], channel: u8, shift: u32, value: u8) {
    let bank = &mut banks[usize::from(channel & 15)];
    *bank = *bank & !(127 << shift) | u16::from(value) << shift;
}

/// The place that a route leads to from a channel.
fn place(route: &Route, channel: u8) -> Place {
    Place { to: route.to, channel: route.channel.unwrap_or(channel) & 15 }
}

/// Every place that routes lead to, once, however many do (as two halves of a split may).
fn each(
    setup: &MidiSetup,
    (port, channel): From,
    wanted: impl Fn(&Route) -> bool,
    mut send: impl FnMut(Place),
) {
    let goes = |route: &&Route| route.from.matches(port, channel) && wanted(route);
    for (index, route) in setup.routes.iter().enumerate().filter(|(_, route)| goes(route)) {
        let to = place(route, channel);
        let mut before = setup.routes[..index].iter().filter(goes);
        if !before.any(|before| place(before, channel) == to) {
            send(to);
        }
    }
}

fn press(
    setup: &MidiSetup,
    sounding: &mut Sounding,
    ((port, channel), key): (From, u8),
    velocity: u8,
    out: &mut Out<'_, impl Sink>,
) {
    let plays = |route: &&Route| {
        route.from.matches(port, channel) && route.keys.has(key) && route.velocities.has(velocity)
    };
    for route in setup.routes.iter().filter(plays) {
        let Some(moved) = key.checked_add_signed(route.transpose).filter(|key| *key < 128) else {
            continue;
        };
        let (by, at) = (((port, channel), key), (place(route, channel), moved));
        let sounds = sounding.press(by, at, route.curve.apply(velocity), out);
        out.budget.lost += u64::from(!sounds);
    }
}

fn lasting(
    setup: &MidiSetup,
    sounding: &mut Sounding,
    from: From,
    what: Lasting,
    data: [u8; 2],
    wanted: impl Fn(&Route) -> bool,
    out: &mut Out<'_, impl Sink>,
) {
    each(setup, from, &wanted, |place| sounding.put(from, what, place, data, out));
    let is_routed = |to: Place| {
        let goes = |route: &&Route| route.from.matches(from.0, from.1) && wanted(route);
        setup.routes.iter().filter(goes).any(|route| place(route, from.1) == to)
    };
    sounding.follow(from, what, data, is_routed, out);
}

/// To all destinations of routes from the port, once each: these messages have no channel.
fn exclusive(setup: &MidiSetup, port: u16, bytes: &[u8], out: &mut Out<'_, impl Sink>) {
    let goes = |route: &&Route| route.controllers && route.from.has_port(port);
    for (index, route) in setup.routes.iter().enumerate().filter(|(_, route)| goes(route)) {
        if !setup.routes[..index].iter().filter(goes).any(|before| before.to == route.to) {
            out.sysex(route.to, bytes);
        }
    }
}

/// Does what the mappings of a control say. True: it goes no further.
fn map(
    prepared: &mut Prepared,
    port: u16,
    channel: u8,
    control: Control,
    value: f64,
    out: &mut Out<'_, impl Sink>,
    tell: &mut impl FnMut(MidiNotice),
) -> bool {
    let mut is_taken = false;
    for (mapping, toggle) in prepared.setup.mappings.iter().zip(&mut prepared.toggles) {
        if mapping.control != control || !mapping.from.matches(port, channel) {
            continue;
        }
        is_taken |= !mapping.pass;
        let value = match mapping.mode {
            Mode::Direct => value,
            Mode::Toggle => {
                // A program change comes once, and goes back never.
                let is_high = value >= 0.5 || matches!(control, Control::Note(_)) && value > 0.0;
                let rises = is_high && !toggle.was_high;
                toggle.was_high = is_high && !matches!(control, Control::Program(_));
                if !rises {
                    continue;
                }
                toggle.is_on = !toggle.is_on;
                f64::from(u8::from(toggle.is_on))
            }
        };
        match mapping.target {
            Target::Param { node, param, low, high } => {
                let value = low + (high - low) * value;
                if out.param(node, param, value) {
                    tell(MidiNotice::Param { node, param, value });
                }
            }
            // Counted from the start of the block, until that is known.
            Target::Command(command) => {
                tell(MidiNotice::Command { command, value, at: out.frame.into() });
            }
        }
    }
    is_taken
}

#[cfg(test)]
mod tests;
