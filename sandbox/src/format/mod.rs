//! Plugin formats behind two traits, split as the formats split their threads.
//!
//! | value | thread |
//! |---|---|
//! | [`Instance`] | the thread that loaded it, its *main thread*; not `Send` |
//! | [`Processor`] | one audio thread at a time |
//!
//! Loaders run inside workers. (In-process hosting uses them too, for one purpose: to be compared
//! with.)

pub mod clap;

use crate::error::PluginError;
use crate::event::Event;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AudioPort {
    /// Its name.
    pub name: String,
    /// Its channels.
    pub channels: u32,
    /// Whether it is the main one of its direction.
    pub main: bool,
}

/// A note port of a plugin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NotePort {
    /// Its name.
    pub name: String,
    /// Whether it takes (or gives) CLAP notes.
    pub clap: bool,
    /// Whether it takes (or gives) MIDI 1.0 messages.
    pub midi: bool,
    /// Whether it prefers MIDI 1.0 to CLAP notes.
    pub prefers_midi: bool,
}

/// A parameter of a plugin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// Only whole values.
    pub stepped: bool,
    /// May be changed by events.
    pub automatable: bool,
    /// Shown, not set.
    pub read_only: bool,
    /// The plugin's own bypass.
    pub bypass: bool,
}

/// What a loaded plugin has.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct PluginInfo {
    /// What it is.
    pub descriptor: Descriptor,
    /// `CLAP`, `VST3`.
    pub format: String,
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
    /// Whether it has an editor.
    pub has_editor: bool,
}

/// What a plugin asks of its host, or tells it, outside its answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
}

/// A loaded plugin, on its main thread.
pub trait Instance {
    /// Everything about it. Asks the plugin anew at each call.
    fn info(&mut self) -> PluginInfo;

    /// Prepares for audio: frames per second; fewest and most frames of a block.
    fn activate(
        &mut self,
        rate: f64,
        frames: (u32, u32),
    ) -> Result<Box<dyn Processor>, PluginError>;

    /// Undoes [`activate`](Self::activate). The processor must have been stopped and dropped.
    fn deactivate(&mut self) -> Result<(), PluginError>;

    /// Delay from input to output in frames. Only while active.
    fn latency(&mut self) -> u32;

    /// Its state, in a form only it understands.
    fn save_state(&mut self) -> Result<Vec<u8>, PluginError>;

    /// Takes a state that [`save_state`](Self::save_state) gave.
    fn load_state(&mut self, state: &[u8]) -> Result<(), PluginError>;

    /// Does what the plugin asked to be done on its main thread, timers included. Returns when it
    /// has to be called again at the latest.
    fn idle(&mut self) -> Option<Instant>;

    /// Takes the next notice.
    fn take_notice(&mut self) -> Option<Notice>;
}

/// Where a node's audio lies: all channels of all buses of a direction one after the other, in
/// whole cache lines, packed by the frames of the block at hand
/// ([`stride`](crate::shm::layout::stride)).
#[derive(Clone, Debug)]
pub struct Buffers {
    /// Channels of each input bus.
    pub inputs: Vec<u32>,
    /// The first input channel. The plugin may write to its inputs.
    pub input: *mut f32,
    /// Channels of each output bus.
    pub outputs: Vec<u32>,
    /// The first output channel.
    pub output: *mut f32,
}

/// One block for a processor.
pub struct ProcessBlock<'a> {
    /// Frames in the block.
    pub frames: u32,
    /// Frames since the engine was made.
    pub steady_time: u64,
    /// Song position and tempo.
    pub transport: &'a Transport,
    /// What happens, sorted by time.
    pub events: &'a [Event],
    /// What the plugin says happened, in its order. Must not grow beyond its capacity.
    pub out_events: &'a mut Vec<Event>,
}

/// Song position and tempo, as the block page has them.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Transport {
    /// Bits of [`transport_flags`](crate::event::transport_flags).
    pub flags: u32,
    /// Quarter notes per minute.
    pub tempo: f64,
    /// Change of tempo per frame.
    pub tempo_increment: f64,
    /// Quarter notes.
    pub position_beats: f64,
    /// Seconds.
    pub position_seconds: f64,
    /// Quarter notes.
    pub loop_start_beats: f64,
    /// Quarter notes.
    pub loop_end_beats: f64,
    /// Quarter notes.
    pub bar_start_beats: f64,
    /// From 0.
    pub bar_number: i32,
    /// Upper number of the time signature.
    pub signature_numerator: u16,
    /// Lower number of the time signature.
    pub signature_denominator: u16,
}

/// An active plugin, on its audio thread.
pub trait Processor: Send {
    /// Tells the plugin that blocks follow. False: it refused.
    fn start(&mut self) -> bool;

    /// Tells the plugin that no blocks follow for now.
    fn stop(&mut self);

    /// Forgets all that sounds: voices, tails.
    fn reset(&mut self);

    /// Sets the buffers of all blocks to come.
    ///
    /// # Safety
    /// Until other buffers are set or the processor is dropped, both addresses must be good for
    /// reading and writing all channels of the greatest block, whenever
    /// [`process`](Self::process) runs, and nothing else in this process may use them meanwhile.
    #[expect(unsafe_code, reason = "the contract is about addresses; see Safety")]
    unsafe fn bind(&mut self, buffers: Buffers);

    /// Processes a block. False: the plugin reported an error; the outputs are void.
    fn process(&mut self, block: ProcessBlock<'_>) -> bool;
}

/// The formats' library files: told by content, not by name.
pub fn check_file(path: &Path) -> Result<(), PluginError> {
    let shown = || path.display().to_string();
    let meta = std::fs::metadata(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => PluginError::Missing { path: shown() },
        _ => PluginError::Unreadable { path: shown(), reason: e.to_string() },
    })?;
    if meta.is_dir() {
        return Err(PluginError::NotAPlugin {
            path: shown(),
            reason: "it is a folder; name the file in it".into(),
        });
    }
    let mut head = [0u8; 20];
    let got = std::fs::File::open(path)
        .and_then(|mut file| std::io::Read::read(&mut file, &mut head))
        .map_err(|e| PluginError::Unreadable { path: shown(), reason: e.to_string() })?;
    check_head(&head[..got]).map_err(|reason| PluginError::NotAPlugin { path: shown(), reason })
}

fn check_head(head: &[u8]) -> Result<(), String> {
    const ELF: &[u8] = b"\x7fELF";
    let machine = |at: usize| head.get(at).zip(head.get(at + 1)).map(|(a, b)| [*a, *b]);
    match head {
        [] => Err("it is empty".into()),
        _ if head.starts_with(ELF) => {
            if head.get(4) != Some(&2) {
                return Err("it is a 32-bit library; this is a 64-bit program".into());
            }
            let ours = if cfg!(target_arch = "x86_64") { 62 } else { 183 };
            match machine(18).map(u16::from_le_bytes) {
                Some(number) if number == ours => Ok(()),
                Some(number) => Err(format!(
                    "it is built for {}, this machine is {}",
                    elf_machine(number),
                    std::env::consts::ARCH
                )),
                None => Err("it is cut short".into()),
            }
        }
        _ if head.starts_with(b"MZ") => Err("it is a Windows library".into()),
        [0xcf | 0xce, 0xfa, 0xed, 0xfe, ..] | [0xca, 0xfe, 0xba, 0xbe, ..] => {
            Err("it is a macOS library".into())
        }
        _ => Err("it is not a library of this system".into()),
    }
}

fn elf_machine(number: u16) -> String {
    match number {
        3 => "x86".into(),
        40 => "ARM (32 bit)".into(),
        62 => "x86_64".into(),
        183 => "aarch64".into(),
        243 => "RISC-V".into(),
        other => format!("machine number {other}"),
    }
}

/// Loads a plugin. Call it in a worker.
pub fn load(
    plugin: &PluginRef,
    wake_main: impl Fn() + Send + Sync + 'static,
) -> Result<Box<dyn Instance>, PluginError> {
    check_file(&plugin.path)?;
    Ok(Box::new(clap::ClapInstance::load(plugin, Box::new(wake_main))?))
}

/// What is in a plugin file. Call it in a worker.
pub fn list(path: &Path) -> Result<Vec<Descriptor>, PluginError> {
    check_file(path)?;
    clap::list(path)
}
