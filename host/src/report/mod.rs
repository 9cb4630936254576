//! What `bench` found: the figures, and their three forms.
//!
//! - [`write_json`]: for programs; every field of [`Report`] under its own name.
//! - [`text()`]: for the terminal: what a musician can act on.
//! - [`html()`]: one self-contained page with charts.
//!
//! All times are in microseconds, loads are fractions of the period (1 = all of it). A figure
//! that the number of samples can't support is `None`, `null` in JSON and a dash elsewhere: see
//! [`Percentiles`].

mod charts;
mod format;
mod html;
mod json;
mod machine;
mod pick;
mod stats;
mod svg;
mod text;

pub use html::{html, write_html};
pub(crate) use json::write_whole;
pub use json::{read_json, to_json, write_json};
pub use machine::now_utc;
pub use stats::{Bin, Percentiles, bins};
pub use text::{Colours, text, text_with};

use serde::{Deserialize, Serialize};

/// Everything one run of `bench` found.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Version of Sandrack.
    pub version: String,
    /// When it started: UTC, as in `2031-05-17T09:30:00Z`; see [`now_utc`].
    pub date: String,
    /// The command line, to run it again.
    pub command: String,
    /// Name and path of the plugin that was loaded into every node.
    pub plugin: String,
    /// The driver that called back.
    pub driver: String,
    /// Where it ran.
    pub machine: Machine,
    /// What a bare hand-off between two processes costs here.
    pub floor: Floor,
    /// One per configuration.
    pub runs: Vec<Run>,
    /// How many plugins fit, one per buffer size, load and isolation.
    pub capacity: Vec<Capacity>,
    /// The share of the period that a callback may take to count as fitting; 0.8 by convention.
    pub capacity_limit: f64,
    /// Anything the reader should know of this measurement, a sentence each.
    #[serde(default)]
    pub notes: Vec<String>,
}

/// The computer.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Machine {
    /// Model of the processor, or `unknown`.
    pub cpu: String,
    /// Processors that this program may use.
    pub cores: u32,
    /// System and version of its kernel, or `unknown`.
    pub kernel: String,
    /// The realtime priority in force, or why there is none and how to get it.
    pub realtime: String,
    /// Whether [`realtime`](Self::realtime) was granted.
    #[serde(default)]
    pub realtime_granted: bool,
    /// Whether idle cores were kept awake, or why not.
    #[serde(default)]
    pub idle_cores: String,
    /// How much memory could be locked, or why none and how to get it.
    pub locked_memory: String,
    /// Whether [`locked_memory`](Self::locked_memory) was granted.
    #[serde(default)]
    pub locked_memory_granted: bool,
}

/// What waking another process costs at least: a futex hand-off around a ring of processes that
/// do nothing else, measured in the same run. p50.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Floor {
    /// All on one core, us per hand-off.
    pub same_core_us: f64,
    /// Left to the scheduler, us per hand-off.
    pub any_core_us: f64,
}

/// Where a plugin runs.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// In a process of its own.
    #[default]
    Plugin,
    /// In one process with all other plugins.
    Group,
    /// In the host's process; only to compare with.
    None,
}

impl Isolation {
    /// From the safest to the least safe.
    pub const ALL: [Self; 3] = [Self::Plugin, Self::Group, Self::None];

    /// As in JSON and on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plugin => "plugin",
            Self::Group => "group",
            Self::None => "none",
        }
    }

    /// In words: `each in its own process`.
    pub fn words(self) -> &'static str {
        match self {
            Self::Plugin => "each in its own process",
            Self::Group => "all in one process",
            Self::None => "without sandboxing",
        }
    }
}

/// One configuration, measured.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Frames per period.
    pub frames: u32,
    /// Frames per second.
    pub rate: u32,
    /// Plugins in the graph.
    pub plugins: u32,
    /// Work of each plugin in each block, us, as asked for.
    pub load_us: f64,
    /// Where the plugins ran.
    pub isolation: Isolation,
    /// Periods that passed.
    pub periods: u64,
    /// Periods that were missed.
    pub xruns: u64,
    /// Blocks in which a plugin wasn't done at the deadline, so that its fallback was heard.
    #[serde(default)]
    pub late: u64,
    /// Time from entering the callback to leaving it.
    pub callback_us: Percentiles,
    /// The same as a share of the period.
    pub load: Percentiles,
    /// From the end of one plugin to the start of the next.
    pub hop_us: Percentiles,
    /// What a block took beyond its plugins' own work, divided by its plugins: the hops, and all
    /// that the host does. Where chains run side by side it says little.
    #[serde(default)]
    pub overhead_us: Percentiles,
    /// The floor for this placement, us.
    pub floor_us: f64,
    /// Each plugin, in the order of the graph.
    pub nodes: Vec<Node>,
    /// A callback that did nothing, called back in the same minutes: the machine's own noise.
    #[serde(default)]
    pub empty: Option<Empty>,
    /// What caused xruns and late blocks; possibly not all, see the counts.
    #[serde(default)]
    pub causes: Vec<Cause>,
}

impl Run {
    /// Length of a period, us.
    pub fn period_us(&self) -> f64 {
        f64::from(self.frames) * 1e6 / f64::from(self.rate.max(1))
    }
}

/// A callback that did nothing.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Empty {
    /// Periods that passed.
    pub periods: u64,
    /// Periods that were missed all the same.
    pub xruns: u64,
    /// From when the callback was due to when it left, so that being woken late shows.
    pub callback_us: Percentiles,
}

/// One plugin of a run.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Node {
    /// Its name; from outside, not to be trusted.
    pub name: String,
    /// From being ready to starting: the hop.
    pub wait_us: Percentiles,
    /// From starting to ending.
    pub run_us: Percentiles,
    /// How the waits are distributed, where that was kept; see [`bins`].
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub wait_bins: Vec<Bin>,
    /// How the run times are distributed, where that was kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub run_bins: Vec<Bin>,
}

/// A block that did not come in time, and why.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Cause {
    /// Which period, from the start of the run.
    pub period: u64,
    /// The node it is due to; `host` when none is.
    pub node: String,
    /// How long this node waited to start, us.
    pub wait_us: f64,
    /// How long it ran, us.
    pub run_us: f64,
    /// What the host took outside the nodes, us.
    pub host_us: f64,
}

/// The largest number of plugins whose callback stays under the
/// [limit](Report::capacity_limit).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Capacity {
    /// Frames per period.
    pub frames: u32,
    /// Frames per second.
    #[serde(default)]
    pub rate: u32,
    /// Work of each plugin in each block, us.
    pub load_us: f64,
    /// Where the plugins ran.
    pub isolation: Isolation,
    /// How many fit.
    pub plugins: u32,
    /// What ended the search.
    #[serde(default)]
    pub limited_by: LimitedBy,
    /// The percentile of the callback time that was held against the limit: the highest at which
    /// the empty callback was itself clean.
    #[serde(default)]
    pub percentile: Percentile,
}

/// What ended the search for the capacity.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LimitedBy {
    /// One plugin more would not have fitted into the period.
    #[default]
    #[serde(rename = "period")]
    Period,
    /// More were not tried: the machine can do at least this.
    #[serde(rename = "sweep end")]
    SweepEnd,
}

/// A percentile that is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Percentile {
    /// Half of the blocks are quicker.
    #[serde(rename = "p50")]
    P50,
    /// One block in 100 is slower.
    #[default]
    #[serde(rename = "p99")]
    P99,
    /// One block in 1000 is slower.
    #[serde(rename = "p99.9")]
    P999,
    /// The slowest block.
    #[serde(rename = "max")]
    Max,
}

impl Percentile {
    /// How many samples it takes for one to lie above it on average.
    pub fn least_samples(self) -> u64 {
        match self {
            Self::P50 | Self::Max => 1,
            Self::P99 => 100,
            Self::P999 => 1000,
        }
    }

    /// As in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::P50 => "p50",
            Self::P99 => "p99",
            Self::P999 => "p99.9",
            Self::Max => "max",
        }
    }
}
