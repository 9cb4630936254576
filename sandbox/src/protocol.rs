//! What host and worker say to each other outside the blocks, over `sys::channel`; a worker's first
//! words, which it says before it holds any plugin, over ipc-channel.
//!
//! The host asks, the worker's main thread answers each request once, in order; in between it may send
//! notices. [`Request::Connect`] is answered past the main thread, which a plugin may keep busy.
//! Shared memory is handed over beside the channel (`sys::handles`): a request that names
//! *regions* is preceded by that many handles.

pub mod wire;

use crate::confine::{Confinement, Enforced, Reached};
use crate::crash::Call;
use crate::error::PluginError;
use crate::format::editor::{EditorInfo, EditorOptions, Picture};
use crate::format::{
    Descriptor, ListedPreset, Notice, PluginInfo, PluginRef, Preset, StateContext,
};
use crate::shm::layout::{InboxShape, OutboxShape};
use crate::shm::recording::RecordingShape;
use crate::sys::channel;
use crate::sys::thread::ThreadId;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// First argument of a program that is started as a worker. What follows: the name of the
/// channel to call back on, the host's process number, [`VERSION`].
pub const WORKER_ARGUMENT: &str = "--sandrack-worker";

/// Build that both sides must share: the protocol is not spoken between versions. A number made of the
/// sources follows the version, so that it changes with them.
pub const VERSION: &str = concat!(env!("CARGO_PKG_VERSION"), "/", env!("SANDRACK_BUILD"));

/// Exit code of a worker that is told of another [`VERSION`] than its own.
pub(crate) const WRONG_BUILD: i32 = 3;

/// A worker's first words.
#[derive(Serialize, Deserialize)]
pub struct Hello {
    /// [`VERSION`].
    pub version: String,
    /// What the host needs to have its ends of the ways to the worker.
    pub ways: channel::Offer,
}

/// Number of a plugin within its worker.
pub type NodeNumber = u32;

/// A piece of shared memory that is handed over.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Region {
    /// Its size in bytes.
    pub len: usize,
    /// Whether the worker may write to it.
    pub write: bool,
}

/// What the host asks.
#[derive(Serialize, Deserialize)]
pub enum Request {
    /// Confines the worker to what the plugin files named need. Always the first but `Quit`.
    Confine(Confinement, Vec<PathBuf>),
    /// Sets up the audio thread. Regions: block page, the worker's own doorbell, its crash page.
    Prepare {
        /// Core to stay on.
        core: Option<usize>,
        /// Priority in the realtime class; `None`: the normal class.
        priority: Option<i32>,
        /// The three regions.
        regions: Vec<Region>,
    },
    /// Lists what is in a file.
    List(PathBuf),
    /// Lists the presets that a file declares.
    ListPresets(PathBuf),
    /// Loads a plugin.
    Load(NodeNumber, PluginRef),
    /// Describes a loaded plugin anew.
    Info(NodeNumber),
    /// Asks an inactive plugin for so many channels on its main input and output, and describes what
    /// it has then.
    Arrange(NodeNumber, u32),
    /// Prepares a plugin for audio.
    Activate(NodeNumber, Activation),
    /// Gives an active plugin its outbox (one region) and starts it.
    Start(NodeNumber, OutboxShape, Region),
    /// From now on records what an active plugin is given, in one region; `None`: no more.
    Record(NodeNumber, Option<(RecordingShape, Region)>),
    /// Stops and deactivates a plugin.
    Deactivate(NodeNumber),
    /// Prepares the connections of a plan. Answered by [`Connected`].
    Connect(Connections),
    /// Saves a plugin's state.
    SaveState(NodeNumber, StateContext),
    /// Restores a plugin's state.
    LoadState(NodeNumber, Vec<u8>, StateContext),
    /// Loads a preset into a plugin.
    LoadPreset(NodeNumber, Preset),
    /// A parameter's value as the plugin writes it.
    ValueToText(NodeNumber, u32, f64),
    /// The value that a text means to the plugin.
    TextToValue(NodeNumber, u32, String),
    /// Opens a plugin's editor, or brings it to the front.
    OpenEditor(NodeNumber, EditorOptions),
    /// What the window of a plugin's editor shows.
    PictureEditor(NodeNumber),
    /// Closes a plugin's editor, if it is open.
    CloseEditor(NodeNumber),
    /// Sets parameters of an inactive plugin.
    SetParams(NodeNumber, Vec<(u32, f64)>),
    /// Moves the audio thread to another core.
    Pin(Option<usize>),
    /// Lets the plugins do what they asked for; their notices so far come before the answer.
    Sync,
    /// Destroys all plugins and ends.
    Quit,
}

impl Request {
    /// Which plugin is asked, and which of its entry points is called first.
    pub(crate) fn call(&self) -> (NodeNumber, Call) {
        match self {
            Self::List(_) | Self::ListPresets(_) => (0, Call::Load),
            Self::Load(number, _) => (*number, Call::Load),
            Self::Info(number) | Self::Arrange(number, _) => (*number, Call::Describe),
            Self::Activate(number, _) => (*number, Call::Activate),
            Self::Deactivate(number) => (*number, Call::Deactivate),
            Self::SaveState(number, _) => (*number, Call::SaveState),
            Self::LoadState(number, ..) => (*number, Call::LoadState),
            Self::LoadPreset(number, _) => (*number, Call::LoadPreset),
            Self::ValueToText(number, ..) | Self::TextToValue(number, ..) => {
                (*number, Call::ParamText)
            }
            Self::OpenEditor(number, _) => (*number, Call::OpenEditor),
            Self::CloseEditor(number) => (*number, Call::CloseEditor),
            Self::SetParams(number, _) => (*number, Call::SetParams),
            Self::Sync => (0, Call::Idle),
            Self::Quit => (0, Call::Destroy),
            Self::Confine(..)
            | Self::Prepare { .. }
            | Self::Start(..)
            | Self::Record(..)
            | Self::Connect(_)
            | Self::PictureEditor(_)
            | Self::Pin(_) => (0, Call::None),
        }
    }

    /// How many regions are handed over with it.
    pub(crate) fn regions(&self) -> usize {
        match self {
            Self::Prepare { regions, .. } => regions.len(),
            Self::Connect(connections) => connections.regions.len(),
            Self::Start(..) | Self::Record(_, Some(_)) => 1,
            _ => 0,
        }
    }

    /// For errors: what was asked.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Confine(..) => "its confinement",
            Self::Prepare { .. } => "start of its audio thread",
            Self::List(_) => "load",
            Self::ListPresets(_) => "list of its presets",
            Self::Load(..) => "load, create or init",
            Self::Info(_) => "description of its ports and parameters",
            Self::Arrange(..) => "arrangement of its channels",
            Self::Activate(..) => "activate",
            Self::Start(..) => "start_processing",
            Self::Record(..) => "start of its recording",
            Self::Deactivate(_) => "stop_processing or deactivate",
            Self::Connect(_) => "connect",
            Self::SaveState(..) => "state.save",
            Self::LoadState(..) => "state.load",
            Self::LoadPreset(..) => "load of a preset",
            Self::ValueToText(..) => "text of a parameter's value",
            Self::TextToValue(..) => "value of a parameter's text",
            Self::OpenEditor(..) => "opening its editor",
            Self::PictureEditor(_) => "picture of its editor",
            Self::CloseEditor(_) => "closing its editor",
            Self::SetParams(..) => "change of its parameters",
            Self::Pin(_) => "move to another core",
            Self::Sync => "what its main thread was doing",
            Self::Quit => "destroy",
        }
    }
}

/// For what a plugin is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Activation {
    /// Frames per second.
    pub rate: f64,
    /// Fewest frames of a block.
    pub min_frames: u32,
    /// Most frames of a block, as the plugin sees it.
    pub max_frames: u32,
    /// Most frames that are handed over at once. More than `max_frames`: the plugin gets them in
    /// blocks of `max_frames`, one after the other. For offline work: fewer wakes.
    pub batch_frames: u32,
    /// Whether blocks are rendered to a file, as fast or slow as it goes.
    pub offline: bool,
    /// Input buses that something is connected to, a bit each, from the lowest.
    pub connected_inputs: u64,
    /// Output buses that are connected to something.
    pub connected_outputs: u64,
    /// Channels that its main input and output are asked to have before; 0: as they are. See
    /// [`Instance::arrange`](crate::format::Instance::arrange).
    #[serde(default)]
    pub main_channels: u32,
}

impl Activation {
    /// For realtime, with all main buses connected and no others.
    pub const fn new(rate: f64, max_frames: u32) -> Self {
        Self {
            rate,
            min_frames: 1,
            max_frames,
            batch_frames: max_frames,
            offline: false,
            connected_inputs: 1,
            connected_outputs: 1,
            main_channels: 0,
        }
    }
}

/// How a worker's nodes are connected in one plan.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Connections {
    /// The plan's number: `BlockPage::generation` of its blocks.
    pub generation: u32,
    /// What is handed over with this request.
    pub regions: Vec<Region>,
    /// The nodes, in the order in which they may run.
    pub nodes: Vec<NodeConnections>,
}

/// Index into [`Connections::regions`].
pub type RegionIndex = u32;

/// Consecutive slots of a doorbell.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Slots {
    /// The first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// How one node is connected.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeConnections {
    /// Which of the worker's plugins.
    pub node: NodeNumber,
    /// Its slots in its worker's doorbell.
    pub slots: Slots,
    /// Its inbox.
    pub inbox: RegionIndex,
    /// The inbox's shape: one entry a source.
    pub inbox_shape: InboxShape,
    /// Its sources, by input bus.
    pub sources: Vec<SourceConnection>,
    /// Outboxes whose events it receives.
    pub event_sources: Vec<(RegionIndex, OutboxShape)>,
    /// Whom it rings.
    pub successors: Vec<SuccessorConnection>,
    /// The host's doorbell.
    pub host: RegionIndex,
    /// Its number in the plan: its entry behind the block page, and its name to the host.
    pub index: u32,
}

/// One source of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SourceConnection {
    /// Input bus.
    pub bus: u32,
    /// Channels of that bus.
    pub channels: u32,
    /// `None`: the host's part in the inbox.
    pub direct: Option<DirectConnection>,
}

/// A source that is another node's outbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct DirectConnection {
    /// The outbox.
    pub outbox: RegionIndex,
    /// Its shape.
    pub shape: OutboxShape,
    /// Output bus there.
    pub bus: u32,
    /// Delay in frames.
    pub delay: u32,
    /// The same for the same connection in another plan: its delay line is carried over.
    pub key: u64,
}

/// Someone to ring.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct SuccessorConnection {
    /// The doorbell; `None`: the worker's own.
    pub doorbell: Option<RegionIndex>,
    /// The successor's slots there.
    pub slots: Slots,
    /// Which of them is this node's, counted from the first. The first is the host's.
    pub slot: u32,
    /// The successor's number in the plan.
    pub index: u32,
}

/// Answer to [`Request::Connect`], by a thread that runs no plugin: a plan's number, and why the worker
/// can't take part in it.
#[derive(Serialize, Deserialize)]
pub struct Connected(pub u32, pub Result<(), PluginError>);

/// What the worker says.
#[derive(Serialize, Deserialize)]
pub enum Reply {
    /// Answer to the oldest request that has none.
    Answer(Result<Answer, PluginError>),
    /// A plugin has something to say.
    Notice(NodeNumber, Notice),
}

/// Answers, by request.
#[derive(Serialize, Deserialize)]
pub enum Answer {
    /// Done.
    Done,
    /// To `Confine`.
    Confined {
        /// What is in force.
        enforced: Box<Enforced>,
        /// What it can reach.
        reached: Reached,
        /// Whether a handle to listen at has been sent before.
        listens: bool,
    },
    /// To `Prepare`.
    Prepared {
        /// The audio thread.
        thread: ThreadId,
        /// Why it is not in the realtime class, though asked.
        not_realtime: Option<String>,
        /// Whether its stack is locked in memory.
        locked: bool,
    },
    /// To `List`.
    Descriptors(Vec<Descriptor>),
    /// To `ListPresets`.
    Presets(Vec<ListedPreset>),
    /// To `Load` and `Info`.
    Info(Box<PluginInfo>),
    /// To `Activate`.
    Activated {
        /// Delay from input to output in frames.
        latency: u32,
        /// How long it sounds after its input has become silent, frames; `u32::MAX`: without end.
        tail: u32,
        /// Channels of its input and output buses, as it was activated.
        channels: (Vec<u32>, Vec<u32>),
    },
    /// To `SaveState`.
    State(Vec<u8>),
    /// To `OpenEditor`.
    Editor(EditorInfo),
    /// To `PictureEditor`.
    Picture(Picture),
    /// To `ValueToText`.
    Text(Option<String>),
    /// To `TextToValue`.
    Value(Option<f64>),
}
