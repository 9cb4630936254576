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
use std::ffi::OsStr;
use std::fmt;
use std::io::{self, Read};
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

    /// Channels of each audio input: what a block needs of [`info`](Self::info), which may take
    /// long.
    fn input_channels(&mut self) -> Vec<u32>;

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

/// The library file that a path means: a file, told by content and not by name, or the one in a
/// folder. Some makers pack plugins into folders where the system knows no bundles.
pub fn resolve(path: &Path) -> Result<PathBuf, PluginError> {
    let shown = || path.display().to_string();
    let unreadable = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => PluginError::Missing { path: shown() },
        _ => PluginError::Unreadable { path: shown(), reason: e.to_string() },
    };
    let not_a_plugin = |reason| PluginError::NotAPlugin { path: shown(), reason };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        let head = read_head(path).map_err(unreadable)?;
        check_head(&head).map_err(not_a_plugin)?;
        return Ok(path.to_owned());
    }
    let is_library = |file: &PathBuf| read_head(file).is_ok_and(|head| check_head(&head).is_ok());
    let entries = std::fs::read_dir(path).map_err(unreadable)?;
    let mut found: Vec<PathBuf> =
        entries.filter_map(|entry| Some(entry.ok()?.path())).filter(is_library).collect();
    found.sort();
    if let [only] = found.as_slice() {
        return Ok(only.clone());
    }
    // Others beside it may be what it needs.
    if let Some(main) = found.iter().find(|file| file.file_name() == path.file_name()) {
        return Ok(main.clone());
    }
    let names: Vec<_> =
        found.iter().filter_map(|file| file.file_name()).map(OsStr::to_string_lossy).collect();
    Err(not_a_plugin(match names.as_slice() {
        [] => "it is a folder without a plugin in it".into(),
        [first, .., last] => format!(
            "it is a folder of {} libraries ({first} … {last}): name one of them",
            names.len()
        ),
        [_] => unreachable!("taken above"),
    }))
}

/// The first bytes of a file. A pipe or a device would be waited for, and is none.
fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut head = Vec::with_capacity(20);
    std::fs::File::open(path)?.take(20).read_to_end(&mut head)?;
    Ok(head)
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
    let file = resolve(&plugin.path)?;
    Ok(Box::new(clap::ClapInstance::load(plugin, &file, Box::new(wake_main))?))
}

/// What is in a plugin file. Call it in a worker.
pub fn list(path: &Path) -> Result<Vec<Descriptor>, PluginError> {
    clap::list(&resolve(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a library for this machine.
    fn library() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()[..64].to_vec()
    }

    fn reason(path: &Path) -> String {
        resolve(path).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_with_one_library_means_that_library() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("Spectral.clap");
        std::fs::create_dir(&bundle).unwrap();
        assert!(reason(&bundle).ends_with("a folder without a plugin in it"));
        std::fs::write(bundle.join("readme.txt"), "not a library").unwrap();
        std::fs::create_dir(bundle.join("presets")).unwrap();
        std::fs::write(bundle.join("main.so"), library()).unwrap();
        assert_eq!(resolve(&bundle).unwrap(), bundle.join("main.so"));

        std::fs::write(bundle.join("other.so"), library()).unwrap();
        assert!(reason(&bundle).contains("2 libraries (main.so … other.so): name one"));
        std::fs::write(bundle.join("Spectral.clap"), library()).unwrap();
        assert_eq!(resolve(&bundle).unwrap(), bundle.join("Spectral.clap"));
    }

    #[test]
    fn what_is_no_library_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.clap");
        assert!(reason(&file).ends_with("no such file"));
        for (content, expected) in [
            (b"".as_slice(), "it is empty"),
            (b"\x7fELF\x01", "32-bit"),
            (b"\x7fELF\x02", "cut short"),
            (b"MZ\x90", "a Windows library"),
            (b"\xcf\xfa\xed\xfe", "a macOS library"),
            (b"#!/bin/sh", "not a library"),
        ] {
            std::fs::write(&file, content).unwrap();
            assert!(reason(&file).contains(expected), "{}", reason(&file));
        }
    }

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
