//! What a plugin says of itself: plain data, the same for all formats.

use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// A plugin format.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// CLAP 1.
    #[default]
    Clap,
    /// VST 3.
    Vst3,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Clap => "CLAP",
            Self::Vst3 => "VST3",
        })
    }
}

/// Which plugin is meant: a file, and one of the plugins in it.
///
/// Written `PATH` or `PATH#ID`. An id alone does not name a plugin: some makers give the same id
/// to several.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct PluginRef {
    /// The file (or bundle folder).
    pub path: PathBuf,
    /// The plugin's id in it; `None`: the only one, or the first.
    pub id: Option<String>,
}

impl FromStr for PluginRef {
    type Err = std::convert::Infallible;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        // A file may have '#' in its name: what exists as a whole is a path.
        Ok(match text.rsplit_once('#') {
            Some((path, id)) if !Path::new(text).exists() && !id.is_empty() => {
                Self { path: path.into(), id: Some(id.into()) }
            }
            _ => Self { path: text.into(), id: None },
        })
    }
}

impl fmt::Display for PluginRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.id {
            Some(id) => write!(f, "{}#{id}", self.path.display()),
            None => write!(f, "{}", self.path.display()),
        }
    }
}

/// One plugin in a file, as its factory describes it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Descriptor {
    /// The maker's name for it among programs.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// Who makes it.
    pub vendor: String,
    /// Its version.
    pub version: String,
    /// What it is, in a sentence.
    pub description: String,
    /// What kind of plugin: `instrument`, `audio-effect`, `reverb`, …
    pub features: Vec<String>,
}

/// An audio bus of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioPort {
    /// Its name.
    pub name: String,
    /// Its channels.
    pub channels: u32,
    /// Whether it is the main one of its direction.
    pub main: bool,
    /// Whether it takes part even if nothing is connected to it.
    pub active: bool,
}

/// The bus that is in a chain: the one that the plugin calls its main one, or else the first with
/// channels.
pub fn main_port(ports: &[AudioPort]) -> Option<usize> {
    let with_channels = |port: &AudioPort| port.channels > 0;
    ports
        .iter()
        .position(|port| port.main && with_channels(port))
        .or_else(|| ports.iter().position(with_channels))
}

/// A note port of a plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotePort {
    /// Its name.
    pub name: String,
    /// Whether it takes (or gives) CLAP notes.
    pub clap: bool,
    /// Whether it takes (or gives) MIDI 1.0 messages.
    pub midi: bool,
    /// Whether it prefers MIDI 1.0 to CLAP notes.
    pub prefers_midi: bool,
    /// Whether single notes can be bent, swelled, …: it takes note expressions. Of CLAP: all that
    /// takes CLAP notes may; of VST3: it lists some.
    #[serde(default)]
    pub expressions: bool,
    /// MIDI channels that it tells apart.
    pub channels: u32,
}

/// A parameter of a plugin.
///
/// Values are in the range that the plugin gives its host: of CLAP its own, of VST3 0 to 1.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Param {
    /// Number by which events name it.
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
    /// Value now.
    pub value: f64,
    /// `value` as the plugin writes it.
    pub text: String,
    /// Unit of measure, where the plugin names one apart from the text: `dB`, `Hz`.
    pub unit: String,
    /// Values apart from the first, if it takes only so many; 0: any value. (CLAP: whole numbers
    /// from `min` to `max`. VST3: multiples of `1 / steps`.)
    pub steps: u32,
    /// May be changed by events.
    pub automatable: bool,
    /// May be offset by events, all notes at once.
    pub modulatable: bool,
    /// May be set or offset for each note.
    pub per_note: bool,
    /// Shown, not set.
    pub read_only: bool,
    /// Not meant to be shown.
    pub hidden: bool,
    /// The greatest value is followed by the smallest: a phase, an angle.
    pub periodic: bool,
    /// The plugin's own bypass.
    pub bypass: bool,
    /// Chooses one of the plugin's programs.
    pub program: bool,
}

/// What a loaded plugin has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// What it is.
    pub descriptor: Descriptor,
    /// Its format.
    pub format: Format,
    /// Audio inputs.
    pub inputs: Vec<AudioPort>,
    /// Audio outputs.
    pub outputs: Vec<AudioPort>,
    /// Note inputs.
    pub note_inputs: Vec<NotePort>,
    /// Note outputs.
    pub note_outputs: Vec<NotePort>,
    /// Parameters.
    pub params: Vec<Param>,
    /// Whether it can save its state.
    pub has_state: bool,
    /// Whether it has an editor. Of VST3: whether it may have one, as it tells only when asked to
    /// make it, which may go wrong.
    pub has_editor: bool,
    /// Presets that the loaded plugin lists itself (VST3 programs).
    pub presets: Vec<Preset>,
    /// Its voices; `None`: it does not say.
    pub voices: Option<Voices>,
    /// Keys that have names of their own, as those of a drum kit.
    pub note_names: Vec<NoteName>,
    /// Whether it can't be rendered faster or slower than it is heard: it drives hardware, say.
    pub realtime_only: bool,
}

/// How many notes sound at once.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Voices {
    /// At present.
    pub count: u32,
    /// At most.
    pub capacity: u32,
    /// Whether one key can sound twice, told apart by the notes' numbers.
    pub overlapping: bool,
}

/// The name of a key.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NoteName {
    /// Its name.
    pub name: String,
    /// Note port, or -1: all.
    pub port: i16,
    /// MIDI channel, or -1: all.
    pub channel: i16,
    /// MIDI key, or -1: all.
    pub key: i16,
}

/// A preset that a plugin file declares, without a plugin having been loaded.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedPreset {
    /// What to load.
    pub preset: Preset,
    /// Ids of the plugins that it is for.
    pub plugins: Vec<String>,
    /// Who made it.
    pub creators: Vec<String>,
    /// What it is, in a sentence.
    pub description: String,
    /// What kind of sound: as a plugin's features.
    pub features: Vec<String>,
}

impl PluginInfo {
    /// With another's buses and note ports; but buses that differ in name only have their new ones.
    pub(crate) fn with_ports_of(self, other: &Self) -> Self {
        let kept = |now: Vec<AudioPort>, then: &[AudioPort]| {
            let alike = |(now, then): (&AudioPort, &AudioPort)| {
                (now.channels, now.main) == (then.channels, then.main)
            };
            match now.len() == then.len() && now.iter().zip(then).all(alike) {
                true => now,
                false => then.to_vec(),
            }
        };
        Self {
            inputs: kept(self.inputs, &other.inputs),
            outputs: kept(self.outputs, &other.outputs),
            note_inputs: other.note_inputs.clone(),
            note_outputs: other.note_outputs.clone(),
            ..self
        }
    }

    /// Whether its buses, in and out, have these channels.
    pub(crate) fn has_channels(&self, (inputs, outputs): &(Vec<u32>, Vec<u32>)) -> bool {
        let has = |ports: &[AudioPort], channels: &[u32]| {
            ports.iter().map(|port| port.channels).eq(channels.iter().copied())
        };
        has(&self.inputs, inputs) && has(&self.outputs, outputs)
    }

    /// With buses that have these channels, in and out.
    pub(crate) fn with_channels(mut self, (inputs, outputs): &(Vec<u32>, Vec<u32>)) -> Self {
        for (ports, channels) in [(&mut self.inputs, inputs), (&mut self.outputs, outputs)] {
            ports.resize(channels.len(), AudioPort::default());
            ports.iter_mut().zip(channels).for_each(|(port, channels)| port.channels = *channels);
        }
        self
    }
}

/// A preset: of a file, of something within a file, or within the plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Preset {
    /// Its name.
    pub name: String,
    /// The file it is in; `None`: the plugin itself.
    pub file: Option<PathBuf>,
    /// What names it within the file or the plugin, for the plugin to understand.
    pub key: Option<String>,
}

/// What a state is saved or loaded for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum StateContext {
    /// A session: everything.
    #[default]
    Project,
    /// A preset: what a user would call the sound.
    Preset,
    /// A copy of the instance, in the same session.
    Duplicate,
}

/// What a plugin asks of its host, or tells it, outside its answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Notice {
    /// A line for the log; 0 debug … 4 fatal, 5 host misbehaves, 6 plugin misbehaves.
    Log(i32, String),
    /// Its latency is another now.
    LatencyChanged,
    /// Parameters' values, texts or list have changed.
    ParamsChanged,
    /// It wants to be deactivated and activated again.
    RestartRequested,
    /// It wants to process (again).
    ProcessRequested,
    /// Its state differs from what was saved last.
    StateDirty,
    /// Its user (in its editor, say) moved a parameter.
    ParamEdited {
        /// The parameter.
        param: u32,
        /// What happened to it.
        edit: ParamEdit,
    },
    /// Its user closed the editor.
    EditorClosed,
    /// Its confinement refused it something. Each is told once.
    Refused {
        /// The system call.
        what: String,
        /// The option that would allow it.
        grant: String,
    },
}

/// What a plugin's user did to a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum ParamEdit {
    /// Took hold of it.
    Begin,
    /// Gave it a value.
    Value(f64),
    /// Let go of it.
    End,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_a_path_and_an_id() {
        let parse = |text: &str| text.parse::<PluginRef>().unwrap();
        let both = PluginRef { path: "a.clap".into(), id: Some("b.c".into()) };
        assert_eq!(parse("a.clap#b.c"), both);
        assert_eq!(both.to_string(), "a.clap#b.c");
        assert_eq!(parse("a.clap").id, None);
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a#b.clap");
        std::fs::write(&odd, "").unwrap();
        assert_eq!(parse(odd.to_str().unwrap()), PluginRef { path: odd, id: None });
    }
}
