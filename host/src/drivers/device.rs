//! What is known of a driver: what it offers, and what only asking it tells.

use super::sizes::Sizes;
use serde::Serialize;

/// A driver of this machine.
#[derive(Clone, Debug, Serialize)]
pub struct DeviceInfo {
    /// As `--driver` takes it: `virtual`, `jack`, `asio:NAME`.
    pub name: String,
    /// What it is, in a line.
    pub about: String,
    /// Why it can't be used, and what to try.
    pub problem: Option<String>,
    /// What it offers. `None`: not known until it is asked ([`probe`](super::probe)), which opens it.
    pub details: Option<DeviceDetails>,
}

/// What a driver offers.
#[derive(Clone, Debug, Default, Serialize)]
pub struct DeviceDetails {
    /// Its input channels.
    pub inputs: Channels,
    /// Its output channels.
    pub outputs: Channels,
    /// Frames per second.
    pub rates: Rates,
    /// Frames per callback.
    pub frames: Option<Sizes>,
    /// From the connector to the first frame of a block, and from its last frame to the connector,
    /// in frames, at the buffer size that is preferred. `None`: it does not say.
    pub latency: Option<(u32, u32)>,
    /// What its clock may follow. Empty: it does not say.
    pub clock_sources: Vec<ClockSource>,
    /// MIDI ports that it can read.
    pub midi_inputs: Vec<String>,
    /// MIDI ports that it can play to.
    pub midi_outputs: Vec<String>,
    /// Whether inputs can be led to outputs by the hardware.
    pub direct_monitoring: bool,
    /// Whether it has a control panel (`devices --panel`).
    pub control_panel: bool,
    /// What else its user may want to know: `version 3`, `speaks up when output is ready`.
    pub notes: Vec<String>,
}

/// Channels of one direction.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Channels {
    /// How many there are, or how many there can be at most.
    pub most: u32,
    /// Each of them. Empty where they are made as needed.
    pub each: Vec<Channel>,
}

/// A channel of a driver.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Channel {
    /// Its name.
    pub name: String,
    /// Channels of the same number belong together.
    pub group: i32,
    /// How the driver writes its samples down: `int24`, `float32`.
    pub format: String,
}

/// Frames per second that a driver can do.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rates {
    /// Any from the first to the second.
    Between(u32, u32),
    /// These, of those that are usual; and which of them it runs at, or would.
    These {
        /// The usual ones that it says it can do.
        usual: Vec<u32>,
        /// At which it runs now; 0: it does not say.
        now: u32,
    },
}

impl Default for Rates {
    fn default() -> Self {
        Rates::These { usual: Vec::new(), now: 0 }
    }
}

/// What the clock of a driver may follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ClockSource {
    /// Number by which the driver knows it.
    pub index: i32,
    /// Its name: `Internal`, `S/PDIF`.
    pub name: String,
    /// Whether it is followed now.
    pub current: bool,
}
