//! A plugin in a worker, seen from the host.

use super::recording::{Recorder, RecorderOptions, Recording};
use super::{Worker, hand_over, lock};
use crate::crash::{Call, ThreadKind};
use crate::error::{Error, PluginError};
use crate::format::editor::{EditorInfo, EditorOptions, Picture};
use crate::format::{PluginInfo, PluginRef, Preset, StateContext};
use crate::protocol::{Activation, Answer, NodeNumber, Request};
use crate::shm::OutboxReader;
use crate::shm::layout::{MAX_CHANNELS, MAX_FRAMES, MAX_LATENCY, OutboxShape};
use crate::sys::memory::{Access, SharedMemory};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

/// Most buses in one direction that are believed of a plugin.
const MAX_BUSES: usize = 256;

/// A plugin may say anything of itself; this is what a host can work with.
pub(super) fn check_info(plugin: &PluginRef, info: &PluginInfo) -> Result<(), PluginError> {
    let absurd = |what| Err(PluginError::Absurd { plugin: plugin.to_string(), what });
    for port in info.inputs.iter().chain(&info.outputs) {
        if port.channels > MAX_CHANNELS {
            return absurd(format!(
                "its audio port '{}' claims {} channels; more than {MAX_CHANNELS} are not \
                 believed",
                port.name, port.channels
            ));
        }
    }
    Ok(())
}

/// The delay that a plugin reports. One that nothing has is none: delay lines as long as that, for
/// everybody beside it, would be all that came of it.
pub(crate) fn believed_latency(plugin: &PluginRef, latency: u32) -> u32 {
    if latency <= MAX_LATENCY {
        return latency;
    }
    tracing::warn!(%plugin, "reports a delay of {latency} frames, which is not believed: taken as 0");
    0
}

/// A plugin in a worker.
pub struct Node {
    pub(super) worker: Arc<Worker>,
    pub(super) number: NodeNumber,
    pub(super) plugin: PluginRef,
    pub(super) info: PluginInfo,
    pub(super) active: Option<Active>,
    pub(super) recorder: Mutex<Recorder>,
    /// The state that it was given last.
    pub(super) given: Mutex<Option<Arc<Vec<u8>>>>,
    /// Channels that it was asked for last; 0: for none.
    pub(super) asked: u32,
}

pub(super) struct Active {
    activation: Activation,
    latency: u32,
    tail: u32,
    outbox: SharedMemory,
    reader: OutboxReader,
    shape: OutboxShape,
}

impl Node {
    /// Which plugin.
    pub fn plugin(&self) -> &PluginRef {
        &self.plugin
    }

    /// What it has, as of loading.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// Where it lives.
    pub fn worker(&self) -> &Arc<Worker> {
        &self.worker
    }

    /// Its number within its worker.
    pub fn number(&self) -> NodeNumber {
        self.number
    }

    /// Whether it can take part in a plan: it is active, and its worker lives.
    pub fn is_ready(&self) -> bool {
        self.active.is_some() && !self.worker.is_gone()
    }

    /// Delay from input to output in frames; `None` while not active.
    pub fn latency(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.latency)
    }

    /// How long it sounds after its input has become silent, frames; `u32::MAX`: without end.
    /// `None` while not active.
    pub fn tail(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.tail)
    }

    /// Prepares the plugin for blocks and starts it. Returns its latency in frames.
    ///
    /// # Errors
    /// The plugin's refusal; the node can be tried again with another activation.
    pub fn activate(&mut self, activation: Activation) -> Result<u32, Error> {
        self.deactivate()?;
        let longest = activation.max_frames.max(activation.batch_frames);
        if activation.max_frames == 0 || longest > MAX_FRAMES {
            return Err(Error::Plugin(PluginError::Absurd {
                plugin: self.plugin.to_string(),
                what: format!("blocks of {longest} frames: 1..={MAX_FRAMES}"),
            }));
        }
        // Once an instance: what it has made of itself since is its own business.
        if activation.main_channels != 0 && activation.main_channels != self.asked {
            self.arrange(activation.main_channels)?;
        }
        let activate = Request::Activate(self.number, activation);
        let Answer::Activated { latency, tail, channels } = self.worker.request(activate, &[])?
        else {
            return Err(self.worker.confused("answered something else"));
        };
        if let Err(error) = self.follow(&channels) {
            self.worker.request(Request::Deactivate(self.number), &[])?;
            return Err(error);
        }
        let latency = believed_latency(&self.plugin, latency);
        let name = &self.plugin;
        let shape = OutboxShape {
            buses: self.info.outputs.iter().map(|port| port.channels).collect(),
            max_frames: longest,
        };
        let memory = || Error::system(format!("{name}: making shared memory"));
        let outbox =
            SharedMemory::for_one_writer("sandrack-outbox", shape.len()).map_err(memory())?;
        let reader = outbox
            .map(Access::Read)
            .and_then(|mapping| OutboxReader::new(Arc::new(mapping), shape.clone()))
            .map_err(memory())?;
        let (regions, handles) = hand_over(&[(&outbox, Access::ReadWrite)]).map_err(memory())?;
        let start = Request::Start(self.number, shape.clone(), regions[0]);
        {
            let _calm = self.worker.calm();
            self.worker.request(start, &handles)?;
        }
        outbox.seal_writes().map_err(memory())?;
        self.active = Some(Active { activation, latency, tail, outbox, reader, shape });
        lock(&self.recorder).begin(self)?;
        Ok(latency)
    }

    /// Another state, or other values, may have brought other buses than it had when it was asked last.
    /// What it was activated with counts.
    fn follow(&mut self, channels: &(Vec<u32>, Vec<u32>)) -> Result<(), Error> {
        if self.info.has_channels(channels) {
            return Ok(());
        }
        let buses = channels.0.len().max(channels.1.len());
        if buses > MAX_BUSES {
            return Err(Error::Plugin(PluginError::Absurd {
                plugin: self.plugin.to_string(),
                what: format!("it claims {buses} buses; more than {MAX_BUSES} are not believed"),
            }));
        }
        let Answer::Info(info) = self.worker.request(Request::Info(self.number), &[])? else {
            return Err(self.worker.confused("answered something else"));
        };
        self.take_info(info.with_channels(channels)).map(drop)
    }

    /// What it was activated for; `None` while not active.
    pub fn activation(&self) -> Option<Activation> {
        self.active.as_ref().map(|active| active.activation)
    }

    /// From now on, and after each activation to come, what the plugin is given is recorded, in
    /// memory that outlives its worker; `None`: no more. May be called while it plays.
    ///
    /// # Errors
    /// The system has no memory; the worker is lost. A plugin of thousands of channels is not
    /// recorded, which is no error.
    pub fn record(&self, options: Option<RecorderOptions>) -> Result<(), Error> {
        let mut recorder = lock(&self.recorder);
        recorder.set(options);
        recorder.begin(self)
    }

    /// Where it is recorded; `None`: it isn't.
    pub fn recording(&self) -> Option<Recording> {
        lock(&self.recorder).recording()
    }

    /// Which entry point of the plugin its worker is in, or was in when it ended. The worker itself
    /// tells: a hint.
    pub fn call(&self) -> Call {
        let doing = self.worker.doing();
        let here = |(plugin, call): (NodeNumber, Call)| {
            (plugin == self.number && call != Call::None).then_some(call)
        };
        let is_in_block = || {
            let header = self.active.as_ref()?.reader.header();
            let begun = header.started.load(Ordering::Acquire);
            (begun != header.ended.load(Ordering::Acquire)).then_some(Call::Process)
        };
        let on_audio = || here(doing.audio).or_else(is_in_block);
        let on_main = || here(doing.main);
        // A signal that was sent hits any thread.
        let by_itself = doing.caught.as_ref().filter(|caught| !caught.was_sent);
        let call = match by_itself.map(|caught| caught.thread) {
            Some(ThreadKind::Main) => on_main(),
            Some(ThreadKind::Audio) => on_audio(),
            Some(ThreadKind::Other) => None,
            None => on_audio().or_else(on_main),
        };
        call.unwrap_or_default()
    }

    /// Stops and deactivates the plugin. It must take no part in any block any more.
    pub fn deactivate(&mut self) -> Result<(), Error> {
        match self.active.take() {
            Some(_) => {
                let _calm = self.worker.calm();
                self.worker.request(Request::Deactivate(self.number), &[]).map(|_| ())
            }
            None => Ok(()),
        }
    }

    /// Asks the plugin to describe itself anew. While it is active its buses and ports stay those
    /// that it was activated with.
    pub fn refresh_info(&mut self) -> Result<&PluginInfo, Error> {
        match self.worker.request(Request::Info(self.number), &[])? {
            Answer::Info(info) => self.take_info(*info),
            _ => Err(self.worker.confused("answered something else")),
        }
    }

    /// Asks the plugin, which must not be active, for so many channels on its main input and output.
    /// What it has then may be something else.
    pub fn arrange(&mut self, channels: u32) -> Result<&PluginInfo, Error> {
        self.asked = channels;
        match self.worker.request(Request::Arrange(self.number, channels), &[])? {
            Answer::Info(info) => self.take_info(*info),
            _ => Err(self.worker.confused("answered something else")),
        }
    }

    /// Takes what the plugin said of itself when its worker was asked for it elsewhere
    /// ([`Worker::describe`]).
    ///
    /// # Errors
    /// It is not to be believed; what was known before stays.
    pub fn take_info(&mut self, info: PluginInfo) -> Result<&PluginInfo, Error> {
        check_info(&self.plugin, &info)?;
        self.info = match self.active {
            Some(_) => info.with_ports_of(&self.info),
            None => info,
        };
        Ok(&self.info)
    }

    /// Takes the plugin out, to be asked for something on another thread. What stays here tells what
    /// is known of it, is not active, and is to be replaced by what was taken.
    pub fn take(&mut self) -> Self {
        let stays = Self {
            worker: Arc::clone(&self.worker),
            number: self.number,
            plugin: self.plugin.clone(),
            info: self.info.clone(),
            active: None,
            recorder: Mutex::default(),
            given: Mutex::new(self.given_state()),
            asked: self.asked,
        };
        std::mem::replace(self, stays)
    }

    /// The plugin's state.
    pub fn save_state(&self, context: StateContext) -> Result<Vec<u8>, Error> {
        match self.worker.request(Request::SaveState(self.number, context), &[])? {
            Answer::State(state) => Ok(state),
            _ => Err(self.worker.confused("answered something else")),
        }
    }

    /// Gives the plugin a state.
    pub fn load_state(&self, state: Vec<u8>, context: StateContext) -> Result<(), Error> {
        *lock(&self.given) = Some(Arc::new(state.clone()));
        self.worker.request(Request::LoadState(self.number, state, context), &[]).map(|_| ())
    }

    /// The state that it was given last, if any: it may not have survived that.
    pub fn given_state(&self) -> Option<Arc<Vec<u8>>> {
        lock(&self.given).clone()
    }

    /// Gives the plugin a preset. It may read the preset's file from then on.
    pub fn load_preset(&self, preset: Preset) -> Result<(), Error> {
        if let Some(file) = &preset.file {
            self.worker.grant(file)?;
        }
        self.worker.request(Request::LoadPreset(self.number, preset), &[]).map(|_| ())
    }

    /// Sets parameters of the plugin while it is inactive; while it is active, send it events.
    pub fn set_params(&self, values: &[(u32, f64)]) -> Result<(), Error> {
        let request = Request::SetParams(self.number, values.to_vec());
        self.worker.request(request, &[]).map(|_| ())
    }

    /// A parameter's value as the plugin writes it; `None`: it can't.
    pub fn value_to_text(&self, param: u32, value: f64) -> Result<Option<String>, Error> {
        match self.worker.request(Request::ValueToText(self.number, param, value), &[])? {
            Answer::Text(text) => Ok(text),
            _ => Err(self.worker.confused("answered something else")),
        }
    }

    /// The value that a text means to the plugin; `None`: nothing.
    pub fn text_to_value(&self, param: u32, text: &str) -> Result<Option<f64>, Error> {
        match self.worker.request(Request::TextToValue(self.number, param, text.into()), &[])? {
            Answer::Value(value) => Ok(value),
            _ => Err(self.worker.confused("answered something else")),
        }
    }

    /// Opens the plugin's editor in a window of its own, or brings it to the front.
    /// [`Notice::EditorClosed`](crate::format::Notice::EditorClosed) tells that its user closed it.
    ///
    /// # Errors
    /// There is no display, or the plugin has no editor, or refused: it can be used without.
    /// [`Error::Hung`]: it takes too long, and may yet come; meanwhile its audio goes on, but
    /// whatever else is asked of this worker waits, and would have it killed.
    pub fn open_editor(&self, options: EditorOptions) -> Result<EditorInfo, Error> {
        self.worker.open_editor(self.number, options)
    }

    /// What the window of the plugin's editor shows at this moment. It was opened with
    /// [`EditorOptions::pictured`].
    ///
    /// # Errors
    /// It is not open, or in a window of the plugin's own, or this system has no way to tell.
    pub fn editor_picture(&self) -> Result<Picture, Error> {
        self.worker.editor_picture(self.number)
    }

    /// Closes the plugin's editor, if it is open. No notice comes of that.
    ///
    /// # Errors
    /// As [`open_editor`](Self::open_editor).
    pub fn close_editor(&self) -> Result<(), Error> {
        self.worker.close_editor(self.number)
    }

    pub(crate) fn outbox(&self) -> Option<(&SharedMemory, &OutboxReader, &OutboxShape)> {
        self.active.as_ref().map(|active| (&active.outbox, &active.reader, &active.shape))
    }
}
