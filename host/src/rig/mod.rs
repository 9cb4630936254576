//! Rigs: everything that is played together, in a file that people can read and edit.
//!
//! | part | for |
//! |---|---|
//! | this | what a rig is: plain data |
//! | [`read`](Rig::read) | from a file; errors name line and key |
//! | [`Mapping`] | what controllers, keys and programs do |
//! | `write` | back to it, comments and order kept |
//! | [`states`] | plugins' states, in a compact file beside it |
//! | [`demo`] | a rig to begin with |
//!
//! The form of the file is described in docs/rig.md.

mod check;
mod connections;
pub mod demo;
mod mapping;
mod read;
pub mod states;
#[cfg(test)]
mod tests;
mod write;

use sandrack_sandbox::confine::Level;
use sandrack_sandbox::format::Format;
use serde::{Deserialize, Serialize};
use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

pub(crate) use check::LOUDEST_DB;
pub use mapping::{Action, Mapping};
pub(crate) use read::offer as nearest;
pub use states::{StateKey, States};
pub use write::RigFile;

/// The version of the form that this program writes.
pub const VERSION: u32 = 1;

/// Names a track, a plugin or a snapshot within a rig: a short word. Stays when what it names is
/// renamed or moved.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(from = "String", into = "String")]
pub struct Id(Arc<str>);

impl Id {
    /// The word.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// A word made of a name, that is not among those `taken`.
    pub fn new(name: &str, taken: impl Fn(&str) -> bool) -> Self {
        let mut word = String::new();
        for c in name.chars().take(40) {
            match c.to_ascii_lowercase() {
                c if c.is_ascii_alphanumeric() => word.push(c),
                _ if word.ends_with('-') || word.is_empty() => {}
                _ => word.push('-'),
            }
        }
        let word = match word.trim_end_matches('-') {
            "" => "x",
            word => word,
        };
        let numbered = (2..).map(|number| format!("{word}-{number}"));
        let mut words = std::iter::once(word.to_owned()).chain(numbered);
        words.find(|word| !taken(word)).map_or_else(|| word.into(), Self::from)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl From<&str> for Id {
    fn from(word: &str) -> Self {
        Self(word.into())
    }
}

impl From<String> for Id {
    fn from(word: String) -> Self {
        Self(word.into())
    }
}

impl From<Id> for String {
    fn from(id: Id) -> Self {
        id.0.as_ref().into()
    }
}

impl Borrow<str> for Id {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Everything that is played together.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rig {
    /// Version of the form: [`VERSION`].
    #[serde(rename = "sandrack_rig")]
    pub version: u32,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// What calls back.
    #[serde(default)]
    pub driver: DriverSettings,
    /// Beats and bars as plugins are told of them.
    #[serde(default)]
    pub transport: TransportSettings,
    /// What the driver's ports (JACK's) are connected to, where the user has said so: others' ports, by
    /// the driver's own.
    #[serde(default)]
    pub connections: BTreeMap<String, Vec<String>>,
    /// Tracks and buses, in the order in which they are shown.
    #[serde(default, rename = "track")]
    pub tracks: Vec<Track>,
    /// What MIDI controllers, keys and programs do.
    #[serde(default, rename = "mapping")]
    pub mappings: Vec<Mapping>,
    /// Settings to switch between.
    #[serde(default, rename = "snapshot")]
    pub snapshots: Vec<Snapshot>,
}

impl Default for Rig {
    fn default() -> Self {
        Self {
            version: VERSION,
            name: String::new(),
            driver: DriverSettings::default(),
            transport: TransportSettings::default(),
            connections: BTreeMap::new(),
            tracks: Vec::new(),
            mappings: Vec::new(),
            snapshots: Vec::new(),
        }
    }
}

/// Which audio driver, and how.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DriverSettings {
    /// `virtual`, `jack`, `asio:NAME`; see `sandrack devices`.
    pub name: String,
    /// Frames per second; 0: as the driver is set.
    pub rate: u32,
    /// Frames per callback; 0: as the driver is set.
    pub frames: u32,
    /// Channels that come in.
    pub inputs: u32,
    /// Channels that go out.
    pub outputs: u32,
}

impl Default for DriverSettings {
    fn default() -> Self {
        Self { name: "virtual".into(), rate: 0, frames: 0, inputs: 2, outputs: 2 }
    }
}

/// Tempo and time signature.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TransportSettings {
    /// Quarter notes per minute.
    pub tempo: f64,
    /// Time signature: upper and lower number.
    pub signature: [u16; 2],
    /// Part of the name of a MIDI port, in any case: its MIDI clock leads tempo and position.
    pub clock: Option<String>,
    /// Parts of the names of MIDI ports, in any case: they get a MIDI clock.
    pub clock_out: Vec<String>,
}

impl Default for TransportSettings {
    fn default() -> Self {
        Self { tempo: 120.0, signature: [4, 4], clock: None, clock_out: Vec::new() }
    }
}

/// What a track is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TrackKind {
    /// Plays notes, or what comes from the driver.
    #[default]
    Track,
    /// Sums what tracks send it.
    Bus,
}

/// A chain of plugins with a fader: a track or a bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Track {
    /// Names it within the rig.
    pub id: Id,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub kind: TrackKind,
    /// Channels of the driver that it plays, from 1; none: nothing.
    #[serde(default)]
    pub input: Vec<u32>,
    /// Where it goes.
    #[serde(default)]
    pub output: Output,
    /// Fader, dB; `-inf`: silent.
    #[serde(default)]
    pub gain_db: f64,
    /// -1 left ..= 1 right.
    #[serde(default)]
    pub pan: f64,
    /// Silent.
    #[serde(default)]
    pub mute: bool,
    /// Those without it are silent as long as any has it.
    #[serde(default)]
    pub solo: bool,
    /// Where it goes besides.
    #[serde(default, rename = "send")]
    pub sends: Vec<Send>,
    /// Which notes it plays; none: all.
    #[serde(default, rename = "midi")]
    pub midi: Vec<MidiInput>,
    /// MIDI ports that get what it plays, besides its plugins.
    #[serde(default)]
    pub midi_out: Vec<MidiOutput>,
    /// Its plugins, in the order in which sound passes them.
    #[serde(default, rename = "plugin")]
    pub plugins: Vec<PluginSlot>,
}

impl Track {
    /// An empty one, to the driver's first two channels.
    pub fn new(id: Id, name: impl Into<String>, kind: TrackKind) -> Self {
        Self {
            id,
            name: name.into(),
            kind,
            input: Vec::new(),
            output: Output::default(),
            gain_db: 0.0,
            pan: 0.0,
            mute: false,
            solo: false,
            sends: Vec::new(),
            midi: Vec::new(),
            midi_out: Vec::new(),
            plugins: Vec::new(),
        }
    }
}

/// Where a track goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Output {
    /// Channels of the driver, from 1; none: nowhere.
    Channels(Vec<u32>),
    /// A bus, by its id.
    Bus(Id),
}

impl Default for Output {
    fn default() -> Self {
        Self::Channels(vec![1, 2])
    }
}

/// A copy of a track's sound to a bus.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Send {
    /// The bus.
    pub to: Id,
    /// dB; `-inf`: silent.
    #[serde(default)]
    pub gain_db: f64,
    /// Taken before the track's fader.
    #[serde(default)]
    pub pre: bool,
}

/// Which notes a track plays, and how. All that is not said counts as any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct MidiInput {
    /// Part of the name of a MIDI port, in any case; `keyboard`: the program's own.
    pub port: Option<String>,
    /// MIDI channel, 1 ..= 16.
    pub channel: Option<u8>,
    /// Lowest and highest key, 0 ..= 127; 60 is middle C.
    pub keys: Option<[u8; 2]>,
    /// Semitones up.
    pub transpose: i8,
    /// Lowest and highest velocity, 1 ..= 127.
    pub velocity: Option<[u8; 2]>,
    /// MIDI channel that the plugin sees, 1 ..= 16; else the one it came on.
    pub to_channel: Option<u8>,
}

/// A MIDI port that something goes to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MidiOutput {
    /// Part of the name of a MIDI port, in any case.
    pub port: String,
    /// MIDI channel that it is sent on, 1 ..= 16; else the one it came on.
    #[serde(default)]
    pub channel: Option<u8>,
}

/// A plugin's place in a track: what is to be there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginSlot {
    /// Names it within the rig.
    pub id: Id,
    /// For people; empty: what the plugin calls itself.
    #[serde(default)]
    pub name: String,
    /// Its format.
    #[serde(default)]
    pub format: Format,
    /// Its maker's id for it; empty: the only one in the file.
    #[serde(default)]
    pub plugin: String,
    /// Where it was last.
    #[serde(default)]
    pub path: PathBuf,
    /// Plugins with the same word share a process; none: it has one of its own.
    #[serde(default)]
    pub group: Option<String>,
    /// Heard as if it were not there.
    #[serde(default)]
    pub bypass: bool,
    /// What goes to its further inputs.
    #[serde(default, rename = "side_chain")]
    pub side_chains: Vec<SideChain>,
    /// MIDI ports that get the notes which it puts out.
    #[serde(default)]
    pub midi_out: Vec<MidiOutput>,
    /// What it may do besides making sound.
    #[serde(default)]
    pub grants: Grants,
    /// Its state, in the file beside the rig.
    #[serde(default)]
    pub state: Option<StateKey>,
    /// Parameters set after the state, by number or name.
    #[serde(default)]
    pub params: BTreeMap<String, f64>,
}

/// What goes to one of a plugin's inputs beside its main one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SideChain {
    /// The track or bus that it comes from; or
    #[serde(default)]
    pub from: Option<Id>,
    /// channels of the driver, from 1.
    #[serde(default)]
    pub input: Vec<u32>,
    /// Which of the inputs beside the main one, from 1.
    #[serde(default = "first")]
    pub bus: u32,
    /// dB; `-inf`: silent.
    #[serde(default)]
    pub gain_db: f64,
    /// Taken before the track's fader.
    #[serde(default)]
    pub pre: bool,
}

fn first() -> u32 {
    1
}

impl SideChain {
    /// A track or bus, behind its fader, to the first side chain.
    pub fn from_track(id: Id) -> Self {
        Self { from: Some(id), input: Vec::new(), bus: first(), gain_db: 0.0, pre: false }
    }
}

/// What a plugin may do besides making sound.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// How far it is confined; none: as the program is told.
    pub confinement: Option<Level>,
    /// Files and folders that it may read, `PATH:rw` to change too.
    pub files: Vec<String>,
    /// It may use the network.
    pub network: bool,
}

/// Settings that can be recalled as a whole.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// Names it within the rig.
    pub id: Id,
    /// For people.
    #[serde(default)]
    pub name: String,
    /// MIDI program that recalls it, 1 ..= 128.
    #[serde(default)]
    pub program: Option<u8>,
    /// MIDI channel of program and key, 1 ..= 16; none: any.
    #[serde(default)]
    pub channel: Option<u8>,
    /// MIDI key that recalls it (and is not played), 0 ..= 127.
    #[serde(default)]
    pub key: Option<u8>,
    /// Tracks' settings.
    #[serde(default, rename = "track")]
    pub tracks: Vec<TrackSettings>,
    /// Plugins' settings.
    #[serde(default, rename = "plugin")]
    pub plugins: Vec<PluginSettings>,
}

/// A track's settings in a snapshot. What is not said stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrackSettings {
    /// The track.
    pub id: Id,
    /// Fader, dB.
    #[serde(default)]
    pub gain_db: Option<f64>,
    /// -1 left ..= 1 right.
    #[serde(default)]
    pub pan: Option<f64>,
    /// Silent.
    #[serde(default)]
    pub mute: Option<bool>,
}

/// A plugin's settings in a snapshot. What is not said stays.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PluginSettings {
    /// The plugin.
    pub id: Id,
    /// Heard as if it were not there.
    #[serde(default)]
    pub bypass: Option<bool>,
    /// Its state, in the file beside the rig.
    #[serde(default)]
    pub state: Option<StateKey>,
    /// Parameters set after the state, by number or name.
    #[serde(default)]
    pub params: BTreeMap<String, f64>,
}

impl Rig {
    /// The track, or bus, of this id.
    pub fn track(&self, id: &Id) -> Option<&Track> {
        self.tracks.iter().find(|track| track.id == *id)
    }

    /// The same, to be changed.
    pub fn track_mut(&mut self, id: &Id) -> Option<&mut Track> {
        self.tracks.iter_mut().find(|track| track.id == *id)
    }

    /// The plugin of this id, wherever it is.
    pub fn plugin(&self, id: &Id) -> Option<&PluginSlot> {
        self.tracks.iter().flat_map(|track| &track.plugins).find(|slot| slot.id == *id)
    }

    /// The same, to be changed.
    pub fn plugin_mut(&mut self, id: &Id) -> Option<&mut PluginSlot> {
        self.tracks.iter_mut().flat_map(|track| &mut track.plugins).find(|slot| slot.id == *id)
    }

    /// Where a plugin is: places of its track and in its track, from 0.
    pub fn place(&self, id: &Id) -> Option<(usize, usize)> {
        self.tracks.iter().enumerate().find_map(|(number, track)| {
            let place = track.plugins.iter().position(|slot| slot.id == *id)?;
            Some((number, place))
        })
    }

    /// An id for a new track.
    pub fn new_track_id(&self, name: &str) -> Id {
        Id::new(name, |word| self.tracks.iter().any(|track| track.id.as_str() == word))
    }

    /// An id for a new plugin.
    pub fn new_plugin_id(&self, name: &str) -> Id {
        Id::new(name, |word| self.plugin(&word.into()).is_some())
    }

    /// An id for a new snapshot.
    pub fn new_snapshot_id(&self, name: &str) -> Id {
        Id::new(name, |word| self.snapshots.iter().any(|snapshot| snapshot.id.as_str() == word))
    }

    /// All states that it refers to.
    pub fn states(&self) -> impl Iterator<Item = &StateKey> {
        let slots = self.tracks.iter().flat_map(|track| &track.plugins);
        let settings = self.snapshots.iter().flat_map(|snapshot| &snapshot.plugins);
        slots
            .filter_map(|slot| slot.state.as_ref())
            .chain(settings.filter_map(|s| s.state.as_ref()))
    }
}

/// From dB to a factor; -inf: 0.
pub fn linear(db: f64) -> f32 {
    10f64.powf(db / 20.0) as f32
}
