//! What is routed where, and what the musician's controls do. Made on the control thread, used on
//! the realtime thread, dropped on the control thread again.

use super::message::Message;
use sandrack_engine::graph::NodeId;
use serde::{Deserialize, Serialize};

/// All of it. Exchanged as a whole: see [`MidiControl::set`](super::MidiControl::set).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MidiSetup {
    /// Notes and controllers go along every route that matches: several make a layer.
    pub routes: Vec<Route>,
    /// Controls that move parameters or give commands.
    pub mappings: Vec<Mapping>,
    /// Whose program changes are for the host (as [`MidiNotice::Program`](super::MidiNotice)), and
    /// then don't reach plugins. `None`: plugins get them all.
    pub programs: Option<Source>,
    /// Port whose MIDI clock leads tempo and transport.
    pub clock_in: Option<u16>,
    /// Ports that get a MIDI clock.
    pub clock_out: Vec<u16>,
    /// Plugins whose notes come in through a port of their own, to be routed to output ports.
    pub taps: Vec<Tap>,
    /// Nodes that get [`panic`](super::MidiControl::panic) beside those of the routes: instruments that
    /// other plugins play.
    pub panic: Vec<NodeId>,
}

/// Ports that are meant only by who names them: a [`Source`] of any port does not mean these, and
/// what comes there is not learned.
pub const PRIVATE: std::ops::Range<u16> = 0xe000..0xf000;

/// Those of them that are for plugins' notes.
pub const TAPS: std::ops::Range<u16> = 0xe000..0xe800;

/// A plugin whose notes come in as if they were played on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tap {
    /// The plugin's node.
    pub node: NodeId,
    /// One of [`TAPS`]. What comes there may only be routed to [`Destination::Port`]: for
    /// plugins it is too late in this block.
    pub port: u16,
}

/// Where messages come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Source {
    /// A port; `None`: any that is not [private](PRIVATE).
    pub port: Option<u16>,
    /// Channels.
    pub channels: Channels,
}

impl Source {
    /// Whether it is one of these.
    pub fn matches(&self, port: u16, channel: u8) -> bool {
        self.has_port(port) && self.channels.has(channel)
    }

    /// Whether it is this port.
    pub fn has_port(&self, port: u16) -> bool {
        self.port.map_or(!PRIVATE.contains(&port), |only| only == port)
    }
}

/// A set of MIDI channels, counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Channels(pub u16);

impl Channels {
    /// All 16.
    pub const ALL: Self = Self(u16::MAX);

    /// One; none if it is more than 15.
    pub fn only(channel: u8) -> Self {
        Self(1u16.checked_shl(channel.into()).unwrap_or(0))
    }

    /// Whether it has a channel.
    pub fn has(self, channel: u8) -> bool {
        self.0 & Self::only(channel).0 != 0
    }
}

impl Default for Channels {
    fn default() -> Self {
        Self::ALL
    }
}

/// An inclusive range of keys or velocities, 0 ..= 127.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The lowest.
    pub low: u8,
    /// The highest.
    pub high: u8,
}

impl Range {
    /// Everything.
    pub const ALL: Self = Self { low: 0, high: 127 };

    /// Whether it has a value.
    pub fn has(self, value: u8) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

impl Default for Range {
    fn default() -> Self {
        Self::ALL
    }
}

/// Where messages go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Destination {
    /// A note port of a node.
    Node {
        /// The node.
        node: NodeId,
        /// Its note port.
        port: u16,
    },
    /// A MIDI output port, the driver's or another.
    Port(u16),
}

/// From a source to a destination, on the way changed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Route {
    /// Whose messages.
    pub from: Source,
    /// Notes with these keys, as played.
    pub keys: Range,
    /// Notes with these velocities, as played.
    pub velocities: Range,
    /// Semitones that are added to the key. What leaves 0 ..= 127 is not played.
    pub transpose: i8,
    /// How hard it sounds for how hard it is played.
    pub curve: VelocityCurve,
    /// The channel it is sent on; `None`: that on which it comes.
    pub channel: Option<u8>,
    /// Whether pedals 64, 66, 67 and 69 go along. (A bass under a split may do without.)
    pub pedals: bool,
    /// Whether other controllers, pitch bend, pressure, programs and system exclusive messages do.
    pub controllers: bool,
    /// Where to.
    pub to: Destination,
}

impl Route {
    /// Everything to a node's first note port, unchanged.
    pub fn to(node: NodeId) -> Self {
        Self::to_destination(Destination::Node { node, port: 0 })
    }

    /// Everything to a destination, unchanged.
    pub fn to_destination(to: Destination) -> Self {
        Self {
            from: Source::default(),
            keys: Range::ALL,
            velocities: Range::ALL,
            transpose: 0,
            curve: VelocityCurve::default(),
            channel: None,
            pedals: true,
            controllers: true,
            to,
        }
    }
}

/// From the velocity of a key to the velocity of a note: `low + (high - low) · v^exponent`, with v
/// from 0 (1, the softest) to 1 (127).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VelocityCurve {
    /// Less than 1: louder at the same touch; more: softer. 0.1 ..= 10.
    pub exponent: f32,
    /// Velocity of the softest note, 1 ..= 127.
    pub low: u8,
    /// Velocity of the loudest note, 1 ..= 127; the same as `low`: all notes alike.
    pub high: u8,
}

impl Default for VelocityCurve {
    fn default() -> Self {
        Self { exponent: 1.0, low: 1, high: 127 }
    }
}

impl VelocityCurve {
    /// The velocity of a note, above 0 and up to 1. Neither allocates nor fails, whatever the
    /// curve.
    pub fn apply(&self, velocity: u8) -> f64 {
        if *self == Self::default() {
            return f64::from(velocity.clamp(1, 127)) / 127.0;
        }
        let played = f64::from(velocity.clamp(1, 127) - 1) / 126.0;
        let exponent = if self.exponent.is_finite() { self.exponent.clamp(0.1, 10.0) } else { 1.0 };
        let (low, high) = (f64::from(self.low), f64::from(self.high));
        let velocity = low + (high - low) * played.powf(exponent.into());
        velocity.clamp(1.0, 127.0) / 127.0
    }
}

/// Something that a musician moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Control {
    /// A controller, 0 ..= 119.
    Controller(u8),
    /// A key or pad; its value is the velocity, 0 when it is let go.
    Note(u8),
    /// The pitch bend wheel.
    PitchBend,
    /// The pressure on all keys.
    Pressure,
    /// A program; its value is always 1.
    Program(u8),
}

impl Control {
    /// The control that a message comes from, its channel, and its value from 0 to 1.
    pub fn of(message: Message) -> Option<(Self, u8, f64)> {
        let seven = |value: u8| f64::from(value) / 127.0;
        Some(match message {
            Message::Controller { channel, number: number @ 0..120, value } => {
                (Self::Controller(number), channel, seven(value))
            }
            Message::NoteOn { channel, key, velocity } => {
                (Self::Note(key), channel, seven(velocity))
            }
            Message::NoteOff { channel, key, .. } => (Self::Note(key), channel, 0.0),
            Message::PitchBend { channel, value } => {
                (Self::PitchBend, channel, f64::from(value) / 16383.0)
            }
            Message::ChannelPressure { channel, value } => (Self::Pressure, channel, seven(value)),
            Message::Program { channel, program } => (Self::Program(program), channel, 1.0),
            _ => return None,
        })
    }
}

/// What a control does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Mapping {
    /// From where.
    pub from: Source,
    /// Which control.
    pub control: Control,
    /// How its value is taken.
    pub mode: Mode,
    /// What it moves.
    pub target: Target,
    /// Whether the message goes along the routes as well.
    pub pass: bool,
}

/// How the value of a control is taken.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As it is: a fader, a knob; a button for as long as it is held.
    #[default]
    Direct,
    /// Each time it goes from the lower half to the upper it switches between 0 and 1.
    Toggle,
}

/// What a mapping moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// A parameter of a node: at the frame at which the message comes.
    Param {
        /// The node.
        node: NodeId,
        /// The plugin's number for the parameter.
        param: u32,
        /// Its value, plain, when the control is at its lowest.
        low: f64,
        /// Its value, plain, when the control is at its highest.
        high: f64,
    },
    /// A command of the host, by a number that means something to whoever made the setup. Comes as
    /// [`MidiNotice::Command`](super::MidiNotice::Command).
    Command(u32),
}
