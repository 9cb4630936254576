//! What a playing rig shows.
//!
//! A [`View`] is a picture of one moment, made about 30 times a second and shared: whoever draws
//! clones an `Arc`, and keeps it as long as it likes. What changes seldom (names, parameters'
//! descriptions) is shared from one picture to the next.

use crate::drivers::{Connections, DeviceDetails};
use crate::faults::FaultRecord;
use crate::rig::{
    DriverSettings, Grants, Id, Mapping, MidiInput, MidiOutput, Output, Send, SideChain, TrackKind,
};
use sandrack_engine::graph::NodeId;
use sandrack_sandbox::confine::Level;
use sandrack_sandbox::format::{Format, Preset};
use serde::Serialize;
use std::path::PathBuf;
use std::sync::Arc;

/// A picture of a playing rig.
#[derive(Clone, Debug, Default)]
pub struct View {
    /// Counts pictures.
    pub number: u64,
    /// When it was made, ns of the monotonic clock.
    pub time_ns: u64,
    /// The rig's name.
    pub name: String,
    /// Its file; `None`: it was never saved.
    pub path: Option<PathBuf>,
    /// Whether all of it is in its file.
    pub is_saved: bool,
    /// What calls back.
    pub driver: DriverView,
    /// MIDI ports, and what goes to them.
    pub midi: Arc<MidiView>,
    /// What the driver's ports are connected to; `None`: it has none that could be.
    pub connections: Option<Arc<Connections>>,
    /// All blocks together.
    pub engine: EngineView,
    /// Tracks and buses, in their order.
    pub tracks: Vec<TrackView>,
    /// Settings to switch between.
    pub snapshots: Arc<[SnapshotView]>,
    /// What controllers, keys and programs do.
    pub mappings: Arc<[Mapping]>,
    /// The last blocks, one by one.
    pub recent: RecentView,
    /// What went wrong with plugins, oldest first; the last of it.
    pub faults: Arc<[FaultRecord]>,
    /// What the user should know, oldest first; the last of it.
    pub messages: Arc<[Message]>,
    /// What would be undone, the last change last.
    pub undo: Arc<[String]>,
    /// What could be made again, the next change last.
    pub redo: Arc<[String]>,
    /// Song position and tempo.
    pub transport: TransportView,
    /// What waits for a controller or key.
    pub learning: Option<Learning>,
    /// What takes long and is under way; `None`: nothing.
    pub progress: Option<Progress>,
    /// Whether changes are under way: what is heard is not yet what is shown.
    pub is_changing: bool,
}

/// Something that takes long.
#[derive(Clone, Debug, PartialEq)]
pub struct Progress {
    /// What it is, for people.
    pub what: String,
    /// So much of it is done,
    pub done: usize,
    /// of so much.
    pub of: usize,
}

/// The driver.
#[derive(Clone, Debug, Default)]
pub struct DriverView {
    /// What was asked for.
    pub settings: DriverSettings,
    /// What is in force; frames per second.
    pub rate: u32,
    /// Frames per callback.
    pub frames: u32,
    /// Channels in.
    pub inputs: u32,
    /// Channels out.
    pub outputs: u32,
    /// One period, input to output, and what the driver adds, ms. Without plugins' delay.
    pub latency_ms: f64,
    /// Callbacks missed since statistics began.
    pub xruns: u64,
    /// Whether it calls back.
    pub is_running: bool,
    /// Why it does not; empty: it does, or was not asked to.
    pub error: String,
    /// What it offers; `None`: it is not open, or does not say.
    pub details: Option<Arc<DeviceDetails>>,
}

/// What waits for a controller or key.
#[derive(Clone, Debug, PartialEq)]
pub enum Learning {
    /// A parameter of a plugin: for a controller.
    Param(Id, u32),
    /// A range of keys: for its ends.
    Keys {
        /// The track.
        track: Id,
        /// Which of its ranges, from 0.
        range: usize,
        /// The end that is known.
        first: Option<u8>,
    },
    /// A snapshot: for a key or program.
    Snapshot(Id),
    /// What this does: for a controller, key or program.
    Mapping(Mapping),
}

/// MIDI ports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MidiView {
    /// Ports that can be heard, by their names.
    pub inputs: Vec<String>,
    /// Ports that can be played to.
    pub outputs: Vec<String>,
    /// Why there are none, or not those of the system, and what to do; empty: that needs no words.
    pub problem: String,
    /// Part of the name of the port whose MIDI clock leads.
    pub clock: Option<String>,
    /// Those of the ports that get a MIDI clock.
    pub clock_out: Vec<String>,
    /// What the rig sends to, by the words that it has for it.
    pub sends: Vec<MidiSendView>,
}

/// A word that a rig sends MIDI to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct MidiSendView {
    /// The word.
    pub word: String,
    /// The ports that it means now; none: there is none.
    pub ports: Vec<String>,
}

/// All blocks together, since statistics began.
#[derive(Clone, Debug, Default)]
pub struct EngineView {
    /// The time of one block, ns.
    pub period_ns: u64,
    /// Number of the last block.
    pub block: u64,
    /// Blocks measured.
    pub blocks: u64,
    /// Time in the callback, of a period: the average of the last half second, 0 ..= 1 and beyond.
    pub load: f64,
    /// Time in the callback, ns.
    pub busy: Times,
    /// Blocks in which a plugin was not done in time.
    pub late: u64,
    /// Delay that plugins add from driver input to driver output, frames.
    pub latency: u32,
    /// Whether the system grants realtime priority, and else what to do.
    pub restriction: Option<String>,
}

/// How a time is distributed, ns.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Times {
    /// Half are shorter.
    pub p50: u64,
    /// 99 of 100 are shorter.
    pub p99: u64,
    /// The longest.
    pub max: u64,
}

/// A track or bus.
#[derive(Clone, Debug)]
pub struct TrackView {
    /// Names it in commands.
    pub id: Id,
    /// For people.
    pub name: Arc<str>,
    /// What it is for.
    pub kind: TrackKind,
    /// Channels of the driver that it plays, from 1.
    pub input: Vec<u32>,
    /// Where it goes.
    pub output: Output,
    /// Fader, dB.
    pub gain_db: f64,
    /// -1 left ..= 1 right.
    pub pan: f64,
    /// Silent.
    pub mute: bool,
    /// Those without it are silent.
    pub solo: bool,
    /// Silent because another is solo.
    pub is_silenced: bool,
    /// Where it goes besides.
    pub sends: Vec<Send>,
    /// Which notes it plays.
    pub midi: Vec<MidiInput>,
    /// MIDI ports that get them, too.
    pub midi_out: Vec<MidiOutput>,
    /// Whether one of its plugins takes notes, or a MIDI port does.
    pub takes_notes: bool,
    /// How loud it is behind its fader, left and right.
    pub meter: [ChannelLevel; 2],
    /// Its plugins, in the order in which sound passes them.
    pub plugins: Vec<PluginView>,
}

/// How loud a channel is. 1 is full scale.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ChannelLevel {
    /// Largest magnitude since the picture before.
    pub peak: f32,
    /// The same, held for 1.5 s.
    pub held: f32,
    /// Root mean square of about 300 ms.
    pub rms: f32,
    /// Whether it was beyond full scale since statistics began.
    pub clipped: bool,
}

/// How a plugin's worker is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorkerState {
    /// It is being loaded.
    #[default]
    Loading,
    /// It takes part in every block.
    Running,
    /// It was late in one of the last blocks.
    Late,
    /// It is being brought back, or activated anew.
    Restarting,
    /// It failed too often, and is left alone.
    Quarantined,
    /// It is not on this machine. Its state and place are kept.
    Missing,
    /// It can't be loaded, or connected. Its state and place are kept.
    Refused,
}

/// A plugin.
#[derive(Clone, Debug)]
pub struct PluginView {
    /// Names it in commands.
    pub id: Id,
    /// For people.
    pub name: Arc<str>,
    /// Who makes it.
    pub vendor: Arc<str>,
    /// Its format.
    pub format: Format,
    /// Its maker's id for it.
    pub plugin: Arc<str>,
    /// The file it is in.
    pub path: Arc<std::path::Path>,
    /// The word by which plugins share its process; `None`: it has one of its own.
    pub group: Option<Arc<str>>,
    /// Its node in the engine; `None`: it has none.
    pub node: Option<NodeId>,
    /// How its worker is.
    pub state: WorkerState,
    /// Why, where that needs saying; else empty.
    pub reason: Arc<str>,
    /// The system's number of its process.
    pub process: Option<u32>,
    /// Heard as if it were not there.
    pub is_bypassed: bool,
    /// Whether it takes notes.
    pub takes_notes: bool,
    /// Its times since statistics began.
    pub load: PluginLoad,
    /// Its delay, frames.
    pub latency: u32,
    /// Whether it puts out notes.
    pub gives_notes: bool,
    /// MIDI ports that get them.
    pub midi_out: Vec<MidiOutput>,
    /// Names of its inputs beside the main one.
    pub side_inputs: Arc<[Arc<str>]>,
    /// What comes to these.
    pub side_chains: Vec<SideChain>,
    /// How it is confined.
    pub confinement: ConfinementView,
    /// Whether it may have an editor.
    pub has_editor: bool,
    /// Whether that is open.
    pub is_editor_open: bool,
    /// What it can be set to. Shared as long as nothing changes but values.
    pub params: Arc<[ParamView]>,
    /// Where these are now, one for each.
    pub values: Arc<[ParamValue]>,
    /// Presets that it lists itself.
    pub presets: Arc<[Preset]>,
}

/// A plugin's times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct PluginLoad {
    /// From ready to start, ns.
    pub wait: Times,
    /// From start to end, ns.
    pub run: Times,
    /// Wait and run of a period, 0 ..= 1 and beyond: the average of the last half second.
    pub share: f64,
    /// Blocks in which it was not heard: late, failed, or absent.
    pub missed: u64,
    /// The block in which wait and run together took longest,
    pub worst_block: u64,
    /// and how long, ns.
    pub worst_ns: u64,
}

/// How a plugin is confined.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConfinementView {
    /// How far.
    pub level: Level,
    /// What is in force, in a line.
    pub text: Arc<str>,
    /// What it may do besides.
    pub grants: Grants,
    /// What it was refused, once each: what, and the grant that would allow it.
    pub refused: Arc<[(String, String)]>,
}

/// A parameter, but for where it is.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamView {
    /// Names it in commands.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// Group, with `/` between levels.
    pub module: String,
    /// Smallest value.
    pub min: f64,
    /// Greatest value.
    pub max: f64,
    /// Value of a new instance.
    pub default: f64,
    /// Unit of measure, where the plugin names one apart from the text.
    pub unit: String,
    /// Values apart from the first, if it takes only so many; 0: any value.
    pub steps: u32,
    /// Shown, not set.
    pub read_only: bool,
    /// Not meant to be shown.
    pub hidden: bool,
    /// The controller that moves it: MIDI controller number.
    pub controller: Option<u8>,
}

/// Where a parameter is.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamValue {
    /// In the plugin's own range.
    pub value: f64,
    /// As the plugin writes it.
    pub text: Arc<str>,
}

/// A snapshot.
#[derive(Clone, Debug, PartialEq)]
pub struct SnapshotView {
    /// Names it in commands.
    pub id: Id,
    /// For people.
    pub name: String,
    /// MIDI program that recalls it, 1 ..= 128.
    pub program: Option<u8>,
    /// MIDI key that recalls it.
    pub key: Option<u8>,
    /// It was recalled last.
    pub is_current: bool,
    /// All it needs is loaded: recalling it takes no time.
    pub is_ready: bool,
}

/// The last blocks, for a picture of time against the deadline.
#[derive(Clone, Debug, Default)]
pub struct RecentView {
    /// Oldest first.
    pub blocks: Vec<Arc<BlockTiming>>,
    /// The block that took longest since statistics began.
    pub worst: Option<Arc<BlockTiming>>,
    /// Blocks that were late since then, oldest first; the last of them.
    pub late: Vec<Arc<BlockTiming>>,
}

/// One block.
#[derive(Clone, Debug, Default)]
pub struct BlockTiming {
    /// Its number.
    pub block: u64,
    /// When it began, ns of the monotonic clock.
    pub start_ns: u64,
    /// Time in the callback, ns.
    pub busy_ns: u64,
    /// The time of one block, ns.
    pub period_ns: u64,
    /// Every plugin's part.
    pub nodes: Vec<NodeTiming>,
    /// Whose fault it is that it was late; `None`: it was not.
    pub culprit: Option<Culprit>,
}

/// A plugin's part in a block.
#[derive(Clone, Copy, Debug)]
pub struct NodeTiming {
    /// Its node.
    pub node: NodeId,
    /// From the start of the block to when it was ready, ns.
    pub ready_ns: u32,
    /// From ready to start, ns.
    pub wait_ns: u32,
    /// From start to end, ns.
    pub run_ns: u32,
    /// Whether it was heard.
    pub is_heard: bool,
}

/// Who made a block late.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Culprit {
    /// The plugin's id in the rig; `None`: the host itself.
    pub plugin: Option<String>,
    /// Its name.
    pub name: String,
    /// From ready to start, ns.
    pub wait_ns: u64,
    /// From start to end, or to the deadline, ns.
    pub run_ns: u64,
    /// The host's own time in the block, ns.
    pub host_ns: u64,
}

/// Something that the user should know.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Counts messages.
    pub number: u64,
    /// When, ns of the monotonic clock.
    pub time_ns: u64,
    /// How grave.
    pub kind: MessageKind,
    /// What happened, and what to do next, in a line.
    pub text: String,
    /// The plugin it is about.
    pub plugin: Option<Id>,
}

/// How grave a message is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum MessageKind {
    /// Good to know.
    Note,
    /// Something is not as it should be.
    Warning,
    /// What was asked for was not done.
    Error,
}

/// Song position and tempo.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct TransportView {
    /// Whether the position moves.
    pub is_playing: bool,
    /// Quarter notes per minute.
    pub tempo: f64,
    /// Quarter notes since the start.
    pub beats: f64,
    /// Time signature: upper and lower number.
    pub signature: [u16; 2],
    /// Whether a MIDI clock or the driver says all that: then commands change nothing.
    pub is_led: bool,
}

impl View {
    /// The plugin of an id, and its track.
    pub fn plugin(&self, id: &Id) -> Option<(&TrackView, &PluginView)> {
        self.tracks.iter().find_map(|track| {
            let plugin = track.plugins.iter().find(|plugin| plugin.id == *id)?;
            Some((track, plugin))
        })
    }

    /// The track of an id.
    pub fn track(&self, id: &Id) -> Option<&TrackView> {
        self.tracks.iter().find(|track| track.id == *id)
    }
}
