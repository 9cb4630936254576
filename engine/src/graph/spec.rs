//! What a node is: its kind, its buses, its latency, and what is heard in its place.

/// Audio channels that belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BusSpec {
    /// 1 ..= [`MAX_CHANNELS`].
    pub channels: u32,
}

/// The most channels that a bus may have.
pub const MAX_CHANNELS: u32 = 256;

/// What is heard in place of a plugin that did not deliver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fallback {
    /// Main output (bus 0) is main input (bus 0), delayed by the node's latency; other outputs
    /// are silent. Between different channel counts, one channel is copied to all, all are
    /// averaged into one; otherwise channels without a counterpart are silent or dropped.
    Dry,
    /// All outputs are silent.
    Silence,
}

/// Where a plugin's code runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Elsewhere, driven through [`Remote`](crate::remote::Remote).
    Remote,
    /// On the engine's thread, as a [`Processor`](crate::processor::Processor).
    Local,
}

/// What a node does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NodeKind {
    /// Reads the driver's inputs. If it puts out events: those sent to it by the controller.
    Input {
        /// Channel of the driver that its first channel reads.
        first_channel: u32,
    },
    /// Writes the driver's outputs. Nodes that write the same channel are summed.
    Output {
        /// Channel of the driver that its first channel writes.
        first_channel: u32,
    },
    /// Multiplies by a factor, which changes smoothly.
    Gain {
        /// Linear: 1 changes nothing.
        gain: f32,
    },
    /// Puts out its input, which as any input is the sum of what is connected to it.
    Sum,
    /// Balance of a stereo signal.
    Pan {
        /// -1 left, 0 centre (changes nothing), 1 right.
        pan: f32,
    },
    /// Passes audio on unchanged and measures it.
    Meter,
    /// Delays on purpose: its frames are heard, not compensated.
    Delay {
        /// Frames.
        frames: u32,
    },
    /// A plugin.
    Plugin {
        /// Where its code runs.
        isolation: Isolation,
    },
}

/// Description of a node. Make one with [`NodeSpec::plugin`] and its like, then adjust it.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeSpec {
    /// For people: errors use it.
    pub name: String,
    /// What it does.
    pub kind: NodeKind,
    /// Audio inputs.
    pub inputs: Vec<BusSpec>,
    /// Audio outputs.
    pub outputs: Vec<BusSpec>,
    /// Whether events can be connected to it. The controller may send events to any node.
    pub event_input: bool,
    /// Whether its events can be connected. Nodes other than plugins pass on what they receive.
    pub event_output: bool,
    /// Frames by which what it puts out is late, to be compensated.
    pub latency: u32,
    /// What is heard in its place when it does not deliver.
    pub fallback: Fallback,
}

impl NodeSpec {
    fn new(name: impl Into<String>, kind: NodeKind, inputs: &[u32], outputs: &[u32]) -> Self {
        // A bus without channels is no bus: an input node for MIDI only is `input(name, 0)`.
        let buses = |channels: &[u32]| {
            channels.iter().filter(|c| **c > 0).map(|&channels| BusSpec { channels }).collect()
        };
        Self {
            name: name.into(),
            kind,
            inputs: buses(inputs),
            outputs: buses(outputs),
            event_input: false,
            event_output: false,
            latency: 0,
            fallback: Fallback::Silence,
        }
    }

    /// Reads driver channels from 0 on.
    pub fn input(name: impl Into<String>, channels: u32) -> Self {
        Self::new(name, NodeKind::Input { first_channel: 0 }, &[], &[channels])
    }

    /// Writes driver channels from 0 on.
    pub fn output(name: impl Into<String>, channels: u32) -> Self {
        Self::new(name, NodeKind::Output { first_channel: 0 }, &[channels], &[])
    }

    /// Multiplies by `gain_linear`.
    pub fn gain(name: impl Into<String>, channels: u32, gain_linear: f32) -> Self {
        Self::new(name, NodeKind::Gain { gain: gain_linear }, &[channels], &[channels])
    }

    /// Sums what is connected to it.
    pub fn sum(name: impl Into<String>, channels: u32) -> Self {
        Self::new(name, NodeKind::Sum, &[channels], &[channels])
    }

    /// Stereo balance, -1 ..= 1.
    pub fn pan(name: impl Into<String>, pan: f32) -> Self {
        Self::new(name, NodeKind::Pan { pan }, &[2], &[2])
    }

    /// Measures.
    pub fn meter(name: impl Into<String>, channels: u32) -> Self {
        Self::new(name, NodeKind::Meter, &[channels], &[channels])
    }

    /// Delays by `frames`.
    pub fn delay(name: impl Into<String>, channels: u32, frames: u32) -> Self {
        Self::new(name, NodeKind::Delay { frames }, &[channels], &[channels])
    }

    /// A plugin with these channels per bus, remote, without event connections. Its fallback is
    /// dry if it has audio inputs, silence otherwise.
    pub fn plugin(name: impl Into<String>, inputs: &[u32], outputs: &[u32]) -> Self {
        let kind = NodeKind::Plugin { isolation: Isolation::Remote };
        let mut spec = Self::new(name, kind, inputs, outputs);
        if !spec.inputs.is_empty() {
            spec.fallback = Fallback::Dry;
        }
        spec
    }

    /// Sets where a plugin's code runs; no effect on other nodes.
    pub fn isolation(mut self, to: Isolation) -> Self {
        if let NodeKind::Plugin { isolation } = &mut self.kind {
            *isolation = to;
        }
        self
    }

    /// Sets the first driver channel of an input or output; no effect on other nodes.
    pub fn first_channel(mut self, to: u32) -> Self {
        if let NodeKind::Input { first_channel } | NodeKind::Output { first_channel } =
            &mut self.kind
        {
            *first_channel = to;
        }
        self
    }

    /// Sets whether events can be connected to it.
    pub fn event_input(mut self, to: bool) -> Self {
        self.event_input = to;
        self
    }

    /// Sets whether its events can be connected.
    pub fn event_output(mut self, to: bool) -> Self {
        self.event_output = to;
        self
    }

    /// Sets the latency in frames.
    pub fn latency(mut self, frames: u32) -> Self {
        self.latency = frames;
        self
    }

    /// Sets what is heard when it does not deliver.
    pub fn fallback(mut self, to: Fallback) -> Self {
        self.fallback = to;
        self
    }

    /// Where its code runs, if it is a plugin.
    pub fn plugin_isolation(&self) -> Option<Isolation> {
        match self.kind {
            NodeKind::Plugin { isolation } => Some(isolation),
            _ => None,
        }
    }
}
