//! The main thread: answers requests, owns the plugins, calls them where they want the main
//! thread.

use super::audio_thread::{AudioHandle, Prepared, Wiring};
use super::control_thread::{ControlThread, Received};
use super::editors::Editors;
use super::node::AudioNode;
use crate::crash::Call;
use crate::error::PluginError;
use crate::format::editor::{Readiness, Watched};
use crate::format::{self, Instance, KeepsLoaded, Notice, Processor};
use crate::protocol::wire::{ConnectedSender, ReplySender, RequestReceiver};
use crate::protocol::{Answer, Hello, NodeNumber, Region, Reply, Request, VERSION, WRONG_BUILD};
use crate::shm::crash_page::CrashView;
use crate::shm::layout::OutboxShape;
use crate::shm::recording::{RecordingShape, RecordingWriter};
use crate::shm::{BlockView, DoorbellView, OutboxWriter};
use crate::sys::handles::{Handle, HandleChannel};
use crate::sys::memory::{Access, Mapping};
use crate::sys::poll::{Sleeper, Waker};
use crate::sys::process::{end_with_parent, exit_now, name_worker};
use crate::sys::{channel, confine, crash};
use ipc_channel::ipc::IpcSender;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::sync::Arc;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;
use std::time::Instant;

/// A plugin and what it needs to be activated and started.
pub(super) struct Plugin {
    pub(super) instance: Box<dyn Instance>,
    name: String,
    // Active, not yet started: becomes part of an AudioNode.
    idle_processor: Option<Box<dyn Processor>>,
    input_channels: Vec<u32>,
    max_frames: u32,
    on_audio_thread: bool,
    /// Channels of all its inputs, and most frames of a block, of the node on the audio thread.
    input_size: (u32, u32),
}

struct Worker {
    /// What was handed over with the request that is being answered.
    handles: io::Result<Vec<Handle>>,
    replies: ReplySender,
    plugins: BTreeMap<NodeNumber, Plugin>,
    /// Libraries that were listed. What goes wrong when one ends must not cost what was in it, so they
    /// end with the worker.
    listed: Vec<KeepsLoaded>,
    audio: Option<AudioHandle>,
    /// Takes the control thread's way to the audio thread there.
    wiring: mpsc::Sender<Wiring>,
    editors: Editors,
    waker: Waker,
    /// Where this thread writes down which entry point of a plugin it is in; from `Prepare` on.
    doing: Option<CrashView>,
    is_confined: bool,
}

/// Serves until told to quit.
pub(super) fn run(arguments: &[OsString]) -> Result<(), String> {
    let [channel, parent, version] = arguments else {
        return Err("started without its three arguments".into());
    };
    let (channel, parent) = (channel.to_string_lossy(), parent.to_string_lossy());
    let parent = parent.parse().map_err(|_| format!("'{parent}' is not a process number"))?;
    end_with_parent(parent).map_err(|e| e.to_string())?;
    confine::leave_host();
    if *version != *VERSION {
        eprintln!("sandrack worker: the host is {}, this {VERSION}", version.to_string_lossy());
        exit_now(WRONG_BUILD);
    }
    name_worker();
    let handles = HandleChannel::from_stdin().map_err(|e| format!("no handle channel: {e}"))?;
    let (ends, ways) = channel::open(&handles).map_err(|e| format!("no ways to the host: {e}"))?;
    let mut requests = RequestReceiver::new(ends.requests);
    let replies = ReplySender::new(ends.replies);
    let connected = ConnectedSender::new(ends.connected);
    IpcSender::connect(channel.into_owned())
        .map_err(|e| e.to_string())?
        .send(Hello { version: VERSION.into(), ways })
        .map_err(|e| e.to_string())?;

    // Before there is another thread: none that runs already would be confined.
    let is_confined;
    match requests.receive() {
        Ok(Request::Confine(wanted, plugins)) => {
            let confine::Begun { enforced, reached, listener } =
                confine::begin(&wanted, &plugins, parent);
            is_confined = enforced.seccomp;
            let listens = listener.is_some();
            if let Some(listener) = listener {
                handles.send(&[&listener]).map_err(|e| e.to_string())?;
            }
            confine::limit_files(&wanted).map_err(|e| e.to_string())?;
            let answer = Answer::Confined { enforced: Box::new(enforced), reached, listens };
            replies.send(&Reply::Answer(Ok(answer))).map_err(|e| e.to_string())?;
        }
        Ok(Request::Quit) => {
            return replies.send(&Reply::Answer(Ok(Answer::Done))).map_err(|e| e.to_string());
        }
        Ok(_) => return Err("the host did not begin with the confinement".into()),
        Err(_) => return Ok(()),
    }

    let (to_main, inbox) = mpsc::channel::<Received>();
    let (wiring, for_control) = mpsc::channel();
    let sleeper = Sleeper::new().map_err(|e| e.to_string())?;
    let main = sleeper.waker();
    thread::Builder::new()
        .name("control".into())
        .stack_size(128 * 1024)
        .spawn(move || {
            let wiring = for_control;
            ControlThread { requests, handles, to_main, main, wiring, connected }.run();
        })
        .map_err(|e| e.to_string())?;

    let mut worker = Worker {
        handles: Ok(Vec::new()),
        replies,
        plugins: BTreeMap::new(),
        listed: Vec::new(),
        audio: None,
        wiring,
        editors: Editors::default(),
        waker: sleeper.waker(),
        doing: None,
        is_confined,
    };
    // Whose each is: a plugin's, or the editors' (they look for themselves).
    let mut watched: Vec<(Watched, Readiness)> = Vec::new();
    let mut owners: Vec<Option<NodeNumber>> = Vec::new();
    loop {
        match inbox.try_recv() {
            Ok((Request::Quit, _)) => {
                worker.tell_doing(0, Call::Destroy);
                worker.quit();
                return worker.answer(Ok(Answer::Done));
            }
            Ok((request, handles)) => {
                let (plugin, call) = request.call();
                worker.tell_doing(plugin, call);
                worker.handles = handles;
                let answer = worker.handle(request);
                worker.tell_doing(0, Call::None);
                // What a plugin said before is told before: whoever asks knows it by the answer.
                worker.tell_notices()?;
                worker.answer(answer)?;
                continue;
            }
            Err(TryRecvError::Disconnected) => return Ok(()),
            Err(TryRecvError::Empty) => {}
        }
        let next = worker.idle()?;
        worker.collect_watched(&mut watched, &mut owners);
        sleeper.wait(&mut watched, next);
        for (&(which, ready), owner) in watched.iter().zip(&owners) {
            let plugin = owner.and_then(|number| worker.plugins.get_mut(&number));
            if let Some(plugin) = plugin.filter(|_| ready.any()) {
                tell_doing(&worker.doing, owner.unwrap_or_default(), Call::Idle);
                plugin.instance.watched_ready(which, ready);
                tell_doing(&worker.doing, 0, Call::None);
            }
        }
    }
}

impl Worker {
    fn answer(&self, answer: Result<Answer, PluginError>) -> Result<(), String> {
        self.replies.send(&Reply::Answer(answer)).map_err(|e| e.to_string())
    }

    /// Lets the plugins do what they asked for. When to come again.
    fn idle(&mut self) -> Result<Option<Instant>, String> {
        let mut next: Option<Instant> = None;
        for (&number, plugin) in &mut self.plugins {
            tell_doing(&self.doing, number, Call::Idle);
            if let Some(due) = plugin.instance.idle() {
                next = Some(next.map_or(due, |n| n.min(due)));
            }
        }
        if !self.editors.is_empty() {
            if let Some(due) = self.editors.take_apart_settled(&mut self.plugins) {
                next = Some(next.map_or(due, |n| n.min(due)));
            }
            for number in self.editors.idle(&mut self.plugins) {
                if let Some(plugin) = self.plugins.get_mut(&number) {
                    self.editors.close(number, &mut *plugin.instance);
                }
                self.tell(number, Notice::EditorClosed)?;
            }
        }
        self.tell_doing(0, Call::None);
        self.tell_notices()?;
        Ok(next)
    }

    fn collect_watched(
        &self,
        watched: &mut Vec<(Watched, Readiness)>,
        owners: &mut Vec<Option<NodeNumber>>,
    ) {
        watched.clear();
        owners.clear();
        self.editors.add_watched(watched);
        owners.resize(watched.len(), None);
        for (&number, plugin) in &self.plugins {
            plugin.instance.add_watched(watched);
            owners.resize(watched.len(), Some(number));
        }
    }

    fn tell_doing(&self, plugin: NodeNumber, call: Call) {
        tell_doing(&self.doing, plugin, call);
    }

    fn tell(&self, number: NodeNumber, notice: Notice) -> Result<(), String> {
        self.replies.send(&Reply::Notice(number, notice)).map_err(|e| e.to_string())
    }

    fn tell_notices(&mut self) -> Result<(), String> {
        for (&number, plugin) in &mut self.plugins {
            while let Some(notice) = plugin.instance.take_notice() {
                self.replies.send(&Reply::Notice(number, notice)).map_err(|e| e.to_string())?;
            }
        }
        Ok(())
    }

    fn handle(&mut self, request: Request) -> Result<Answer, PluginError> {
        match request {
            Request::Confine(..) => Err(confused("it is confined already")),
            Request::Prepare { core, priority, regions } => self.prepare(core, priority, &regions),
            Request::List(path) => {
                let (all, library) = format::list(&path)?;
                self.listed.push(library);
                Ok(Answer::Descriptors(all))
            }
            Request::ListPresets(path) => {
                let (all, library) = format::presets(&path)?;
                self.listed.push(library);
                Ok(Answer::Presets(all))
            }
            Request::Load(number, plugin) => {
                let main = self.waker.clone();
                let instance = format::load(&plugin, move || main.wake())?;
                let mut plugin = Plugin {
                    instance,
                    name: plugin.to_string(),
                    idle_processor: None,
                    input_channels: vec![],
                    max_frames: 0,
                    on_audio_thread: false,
                    input_size: (0, 0),
                };
                let info = plugin.instance.info();
                self.plugins.insert(number, plugin);
                Ok(Answer::Info(Box::new(info)))
            }
            Request::Info(number) => {
                Ok(Answer::Info(Box::new(self.plugin(number)?.instance.info())))
            }
            Request::Arrange(number, channels) => {
                let plugin = self.plugin(number)?;
                plugin.instance.arrange(channels);
                Ok(Answer::Info(Box::new(plugin.instance.info())))
            }
            Request::Activate(number, activation) => {
                let plugin = self.plugin(number)?;
                plugin.max_frames = activation.max_frames.max(activation.batch_frames);
                let processor = format::batch::activate(plugin.instance.as_mut(), activation)?;
                plugin.idle_processor = Some(processor);
                let (latency, tail) = (plugin.instance.latency(), plugin.instance.tail());
                let channels = plugin.instance.channels();
                plugin.input_channels.clone_from(&channels.0);
                Ok(Answer::Activated { latency, tail, channels })
            }
            Request::Start(number, shape, region) => self.start(number, shape, region),
            Request::Record(number, to) => self.record(number, to),
            Request::Deactivate(number) => {
                self.deactivate(number)?;
                Ok(Answer::Done)
            }
            Request::Connect(_) => Err(confused("the control thread does that")),
            Request::SaveState(number, context) => {
                Ok(Answer::State(self.plugin(number)?.instance.save_state(context)?))
            }
            Request::LoadState(number, state, context) => {
                self.plugin(number)?.instance.load_state(&state, context)?;
                Ok(Answer::Done)
            }
            Request::LoadPreset(number, preset) => {
                self.plugin(number)?.instance.load_preset(&preset)?;
                Ok(Answer::Done)
            }
            Request::ValueToText(number, param, value) => {
                Ok(Answer::Text(self.plugin(number)?.instance.value_to_text(param, value)))
            }
            Request::TextToValue(number, param, text) => {
                Ok(Answer::Value(self.plugin(number)?.instance.text_to_value(param, &text)))
            }
            Request::OpenEditor(number, options) => {
                let plugin =
                    self.plugins.get_mut(&number).ok_or_else(|| confused("no such plugin"))?;
                let instance = &mut *plugin.instance;
                Ok(Answer::Editor(self.editors.open(number, &plugin.name, instance, &options)?))
            }
            Request::PictureEditor(number) => {
                let name = self.plugin(number)?.name.clone();
                Ok(Answer::Picture(self.editors.picture(number, &name)?))
            }
            Request::CloseEditor(number) => {
                self.close_editor(number);
                Ok(Answer::Done)
            }
            Request::SetParams(number, values) => {
                self.plugin(number)?.instance.set_params(&values)?;
                Ok(Answer::Done)
            }
            Request::Pin(core) => {
                self.audio()?.pin(core);
                Ok(Answer::Done)
            }
            Request::Sync => {
                // A plugin may have asked to be called here before it can say what it wants.
                for plugin in self.plugins.values_mut() {
                    plugin.instance.idle();
                }
                Ok(Answer::Done)
            }
            Request::Quit => Ok(Answer::Done),
        }
    }

    fn close_editor(&mut self, number: NodeNumber) {
        if let Some(plugin) = self.plugins.get_mut(&number) {
            self.editors.close(number, &mut *plugin.instance);
        }
    }

    fn plugin(&mut self, number: NodeNumber) -> Result<&mut Plugin, PluginError> {
        self.plugins.get_mut(&number).ok_or_else(|| confused(format!("no plugin {number}")))
    }

    fn audio(&mut self) -> Result<&mut AudioHandle, PluginError> {
        self.audio.as_mut().ok_or_else(|| confused("no audio thread"))
    }

    fn record(
        &mut self,
        number: NodeNumber,
        to: Option<(RecordingShape, Region)>,
    ) -> Result<Answer, PluginError> {
        let mut recording = None;
        if let Some((shape, region)) = to {
            let mapping = self.map_one(region)?;
            let plugin = self.plugin(number)?;
            if !plugin.on_audio_thread || plugin.input_size != (shape.channels, shape.max_frames) {
                return Err(confused("a recording of other blocks"));
            }
            recording = Some(RecordingWriter::new(mapping, shape).map_err(confused)?);
        }
        self.audio()?.record(number, recording);
        Ok(Answer::Done)
    }

    /// What was handed over.
    fn take_handles(&mut self) -> Result<Vec<Handle>, PluginError> {
        std::mem::replace(&mut self.handles, Ok(Vec::new())).map_err(confused)
    }

    fn map_one(&mut self, region: Region) -> Result<Arc<Mapping>, PluginError> {
        let handles = self.take_handles()?;
        map(handles, &[region])?.pop().ok_or_else(|| confused("nothing was handed over"))
    }

    fn prepare(
        &mut self,
        core: Option<usize>,
        priority: Option<i32>,
        regions: &[Region],
    ) -> Result<Answer, PluginError> {
        let [page, bell, _] = regions else { return Err(confused("three regions needed")) };
        let mut handles = self.take_handles()?;
        let last = handles.pop().ok_or_else(|| confused("no crash page"))?;
        let maps = map(handles, &[*page, *bell])?;
        let [page, bell] = maps.as_slice() else { return Err(confused("two regions needed")) };
        let doing = crash::install(last).map_err(confused)?;
        self.doing = Some(doing.clone());
        let page = BlockView::new(Arc::clone(page)).map_err(confused)?;
        let bell = DoorbellView::new(Arc::clone(bell)).map_err(confused)?;
        let (audio, wiring, prepared) =
            AudioHandle::start(page, bell, doing, core, priority).map_err(confused)?;
        self.audio = Some(audio);
        self.wiring.send(wiring).map_err(confused)?;
        if self.is_confined {
            // No plugin is loaded yet.
            confine::keep_realtime().map_err(confused)?;
        }
        let Prepared { thread, not_realtime, locked } = prepared;
        Ok(Answer::Prepared { thread, not_realtime, locked })
    }

    fn start(
        &mut self,
        number: NodeNumber,
        shape: OutboxShape,
        region: Region,
    ) -> Result<Answer, PluginError> {
        let mapping = self.map_one(region)?;
        let outbox = OutboxWriter::new(mapping, shape).map_err(confused)?;
        let plugin = self.plugin(number)?;
        let name = plugin.name.clone();
        let processor =
            plugin.idle_processor.take().ok_or_else(|| confused("start before activate"))?;
        let node =
            AudioNode::new(number, processor, outbox, &plugin.input_channels, plugin.max_frames);
        let input_size = node.input_size();
        match self.audio()?.add(Box::new(node)) {
            Ok(()) => {
                let plugin = self.plugin(number)?;
                (plugin.on_audio_thread, plugin.input_size) = (true, input_size);
                Ok(Answer::Done)
            }
            Err(node) => {
                drop(node);
                let _ = self.plugin(number)?.instance.deactivate();
                Err(PluginError::Call {
                    plugin: name,
                    call: "start_processing".into(),
                    reason: "the plugin refused".into(),
                })
            }
        }
    }

    fn deactivate(&mut self, number: NodeNumber) -> Result<(), PluginError> {
        if self.plugin(number)?.on_audio_thread {
            drop(self.audio()?.remove(number));
        }
        let plugin = self.plugin(number)?;
        let was_idle = plugin.idle_processor.take().is_some();
        if std::mem::take(&mut plugin.on_audio_thread) || was_idle {
            plugin.instance.deactivate()?;
        }
        Ok(())
    }

    fn quit(&mut self) {
        let numbers: Vec<_> = self.plugins.keys().copied().collect();
        for number in numbers {
            if let Some(plugin) = self.plugins.get_mut(&number) {
                self.editors.take_apart(number, &mut *plugin.instance);
            }
            let _ = self.deactivate(number);
            self.plugins.remove(&number);
        }
        self.listed.clear();
    }
}

/// Maps what was handed over.
pub(super) fn map(
    handles: Vec<Handle>,
    regions: &[Region],
) -> Result<Vec<Arc<Mapping>>, PluginError> {
    let map = |(handle, region): (_, &Region)| {
        let access = if region.write { Access::ReadWrite } else { Access::Read };
        Mapping::from_handle(handle, region.len, access).map(Arc::new).map_err(confused)
    };
    if handles.len() != regions.len() {
        return Err(confused("not as much was handed over as was told"));
    }
    handles.into_iter().zip(regions).map(map).collect()
}

/// Writes down which entry point of which plugin is called next.
fn tell_doing(doing: &Option<CrashView>, plugin: NodeNumber, call: Call) {
    if let Some(doing) = doing {
        CrashView::begin(&doing.page().main, plugin, call);
    }
}

/// The host asked something that makes no sense, or the system failed.
pub(super) fn confused(what: impl ToString) -> PluginError {
    PluginError::Absurd { plugin: "worker".into(), what: what.to_string() }
}
