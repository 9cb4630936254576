//! Plugin formats behind two traits, split as the formats split their threads.
//!
//! | value | thread |
//! |---|---|
//! | [`Instance`] | the thread that loaded it, its *main thread*; not `Send` |
//! | [`Processor`] | one audio thread at a time |
//!
//! Loaders run inside workers. (In-process hosting uses them too, for one purpose: to be compared
//! with.)

pub(crate) mod batch;
pub mod clap;
mod describe;
pub mod editor;
mod library;
mod steady_time;
pub mod vst3;
mod wish;

pub use describe::{
    AudioPort, Descriptor, Format, ListedPreset, NoteName, NotePort, Notice, Param, ParamEdit,
    PluginInfo, PluginRef, Preset, StateContext, Voices, main_port,
};
pub use library::resolve;

use crate::error::PluginError;
use crate::event::Event;
use crate::protocol::Activation;
use crate::sys::library::Library;
use editor::{Editor, Readiness, Watched};
use std::any::Any;
use std::path::Path;
use std::time::Instant;

/// A loaded plugin, on its main thread.
pub trait Instance {
    /// Everything about it. Asks the plugin anew at each call.
    fn info(&mut self) -> PluginInfo;

    /// Channels of its audio inputs and outputs, as it was activated: another state may have brought
    /// other buses than [`info`](Self::info) told before. Only while active.
    fn channels(&mut self) -> (Vec<u32>, Vec<u32>);

    /// Asks for so many channels on the main input and output, where there are such, or else on the
    /// main input alone; other buses stay as they are. A plugin that has neither then is left as it
    /// was. What it has now, [`info`](Self::info) tells. Nothing, while it is active.
    fn arrange(&mut self, channels: u32);

    /// Prepares for audio.
    fn activate(&mut self, activation: Activation) -> Result<Box<dyn Processor>, PluginError>;

    /// Undoes [`activate`](Self::activate). The processor must have been stopped and dropped.
    fn deactivate(&mut self) -> Result<(), PluginError>;

    /// Delay from input to output in frames. Only while active.
    fn latency(&mut self) -> u32;

    /// How long it sounds after its input has become silent, in frames; `u32::MAX`: without end.
    fn tail(&mut self) -> u32;

    /// A parameter's value as the plugin writes it; `None`: it can't.
    fn value_to_text(&mut self, param: u32, value: f64) -> Option<String>;

    /// The value that a text means to the plugin; `None`: it means nothing.
    fn text_to_value(&mut self, param: u32, text: &str) -> Option<f64>;

    /// Its state, in a form only it understands (of VST3: as in a `.vstpreset` file).
    fn save_state(&mut self, context: StateContext) -> Result<Vec<u8>, PluginError>;

    /// Takes a state that [`save_state`](Self::save_state) gave.
    fn load_state(&mut self, state: &[u8], context: StateContext) -> Result<(), PluginError>;

    /// Sets parameters of an inactive plugin, by number; an active one's are set by events.
    fn set_params(&mut self, values: &[(u32, f64)]) -> Result<(), PluginError> {
        let _ = values;
        Err(PluginError::Absurd {
            plugin: self.info().descriptor.id,
            what: "its parameters can be set by events only".into(),
        })
    }

    /// Takes a preset.
    fn load_preset(&mut self, preset: &Preset) -> Result<(), PluginError>;

    /// Does what the plugin asked to be done on its main thread, timers included. Returns when it
    /// has to be called again at the latest.
    fn idle(&mut self) -> Option<Instant>;

    /// Its editor; `None`: it has none.
    fn editor(&mut self) -> Option<&mut dyn Editor> {
        None
    }

    /// Adds what it wants to be told of, with what it waits for.
    fn add_watched(&self, _all: &mut Vec<(Watched, Readiness)>) {}

    /// Tells it that one of these is ready.
    fn watched_ready(&mut self, _watched: Watched, _ready: Readiness) {}

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

/// Loads a plugin. Call it in a worker.
pub fn load(
    plugin: &PluginRef,
    wake_main: impl Fn() + Send + Sync + 'static,
) -> Result<Box<dyn Instance>, PluginError> {
    let file = resolve(&plugin.path)?;
    Ok(match format_of(&plugin.path, &file)? {
        Format::Clap => Box::new(clap::ClapInstance::load(plugin, &file, Box::new(wake_main))?),
        Format::Vst3 => Box::new(vst3::Vst3Instance::load(plugin, &file, Box::new(wake_main))?),
    })
}

/// Keeps a library that was listed as it is. Plugins' libraries may fail when they end, so what was in
/// one is best passed on before this is dropped.
pub type KeepsLoaded = Box<dyn Any>;

/// What is in a plugin file. Call it in a worker.
pub fn list(path: &Path) -> Result<(Vec<Descriptor>, KeepsLoaded), PluginError> {
    let file = resolve(path)?;
    match format_of(path, &file)? {
        Format::Clap => clap::list(&file),
        Format::Vst3 => vst3::list(&file, path),
    }
}

/// The format of a plugin: by the name that the user gave, or else by what the library exports. One
/// that exports both is taken for CLAP.
fn format_of(path: &Path, file: &Path) -> Result<Format, PluginError> {
    let is_clap = |path: &Path| path.extension().is_some_and(|e| e.eq_ignore_ascii_case("clap"));
    if vst3::bundle::is_named_vst3(path) || vst3::bundle::is_bundle(path) {
        return Ok(Format::Vst3);
    }
    if is_clap(path) {
        return Ok(Format::Clap);
    }
    let load = |reason| PluginError::Load { path: path.display().to_string(), reason };
    let full = std::path::absolute(file).map_err(|e| load(e.to_string()))?;
    let library = Library::open(&full).map_err(load)?;
    match ["clap_entry", "GetPluginFactory"].map(|name| library.address(name).is_some()) {
        [true, _] => Ok(Format::Clap),
        [false, true] => Ok(Format::Vst3),
        [false, false] => Err(load(
            "it is a library but not a plugin (neither clap_entry nor GetPluginFactory)".into(),
        )),
    }
}

/// Presets that a plugin file declares for its plugins, or that lie where the format has them. Call
/// it in a worker.
pub fn presets(path: &Path) -> Result<(Vec<ListedPreset>, KeepsLoaded), PluginError> {
    let file = resolve(path)?;
    match format_of(path, &file)? {
        Format::Clap => clap::presets(&file),
        Format::Vst3 => vst3::presets(&file, path),
    }
}
