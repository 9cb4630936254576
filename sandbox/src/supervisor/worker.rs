//! A worker process, seen from the host: requests and their answers.

use super::class::{Calm, Class};
use super::limiter::{Excess, Subject};
use super::node::check_info;
use super::requests::Requests;
use super::{Node, Supervisor, lock};
use crate::confine::{Confinement, Enforced, Grants, Level, Reached, Refusal};
use crate::crash::Doing;
use crate::error::{Error, PluginError};
use crate::format::editor::{EditorInfo, EditorOptions, Picture};
use crate::format::{Descriptor, Notice, PluginInfo, PluginRef, StateContext};
use crate::limits::bytes;
use crate::protocol::wire::{ConnectedReceiver, Nothing, ReplyReceiver};
use crate::protocol::{Answer, Connected, Connections, NodeNumber, Region, Reply, Request};
use crate::shm::DoorbellView;
use crate::shm::crash_page::CrashView;
use crate::sys::channel::NotSent;
use crate::sys::confine::Listener;
use crate::sys::crash;
use crate::sys::handles::Handle;
use crate::sys::memory::{Access, SharedMemory};
use crate::sys::process::{Exit, Killer, Process};
use crate::sys::thread::{self, CoreUse, ThreadId, priority};
use crate::sys::usage;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, OnceLock, TryLockError};
use std::time::{Duration, Instant};

/// What plugins said that is kept until it is taken; more is forgotten.
const MOST_NOTICES: usize = 4096;
/// The same, in bytes.
const MOST_NOTICE_BYTES: usize = 4 << 20;

/// A worker process, seen from the host.
pub struct Worker {
    pub(super) name: String,
    pub(super) supervisor: Supervisor,
    pub(super) id: u32,
    pub(super) killer: Arc<Killer>,
    pub(super) gone: Arc<AtomicBool>,
    pub(super) excess: Arc<Excess>,
    pub(super) class: Arc<Class>,
    pub(super) bell_memory: SharedMemory,
    pub(super) bell: DoorbellView,
    pub(super) crash_memory: SharedMemory,
    pub(super) doing: CrashView,
    pub(super) core: Option<usize>,
    pub(super) begun: Mutex<Option<Enforced>>,
    pub(super) listener: OnceLock<Listener>,
    pub(super) thread: Arc<Mutex<Option<ThreadId>>>,
    pub(super) next_number: AtomicU32,
    pub(super) requests: Requests,
    /// What it said that no worker says by itself.
    pub(super) broken: OnceLock<String>,
    pub(super) control: Mutex<Control>,
    pub(super) connected: Mutex<ConnectedReceiver>,
}

/// What its main thread answers. Held until it has.
pub(super) struct Control {
    pub(super) process: Process,
    pub(super) replies: ReplyReceiver,
    pub(super) notices: Vec<(NodeNumber, Notice)>,
    /// How long they were when they came.
    pub(super) notice_bytes: usize,
    pub(super) timeout: Duration,
    /// Answers that were not waited for: they come before the next one that counts.
    pub(super) owed: u32,
}

/// What becomes of a worker that does not answer in time.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Late {
    /// It is killed.
    Killed,
    /// It goes on: only its main thread hangs, and audio does not need that.
    Spared,
}

impl Worker {
    /// The system's number of the process.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// For errors: what it is for.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Whether the process has ended. Set at once, by the watcher.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    /// Confines the worker to what these plugin files need, and starts its audio thread. Others
    /// can't be loaded afterwards, unless they lie in the same folders; so call it before
    /// [`load`](Self::load) where a worker is to hold plugins from several. Otherwise the first
    /// use of a file does it. A second call does nothing.
    ///
    /// # Errors
    /// The confinement that was asked for can't be enforced here: the worker is killed.
    pub fn begin(&self, plugins: &[&Path]) -> Result<Enforced, Error> {
        self.begin_with(plugins, &[])
    }

    /// The same, with what is different for these plugins.
    ///
    /// # Errors
    /// As [`begin`](Self::begin).
    pub fn begin_with(&self, plugins: &[&Path], grants: &[Grants]) -> Result<Enforced, Error> {
        let mut begun = lock(&self.begun);
        if let Some(enforced) = &*begun {
            return Ok(enforced.clone());
        }
        let wanted = self.supervisor.0.options.confinement.with(grants);
        let absolute =
            |path: &&Path| std::path::absolute(path).unwrap_or_else(|_| path.to_path_buf());
        let request = Request::Confine(wanted.clone(), plugins.iter().map(absolute).collect());
        let Answer::Confined { enforced, reached, listens } = self.request(request, &[])? else {
            return Err(self.confused("answered something else"));
        };
        if listens {
            let listener = self
                .listen(reached)
                .map_err(Error::system(format!("{}: listening at its filter", self.name)))?;
            let _ = self.listener.set(listener);
        }
        self.requests.stop_receiving();
        if let Err(what) = enforced.allows(&wanted) {
            self.kill();
            return Err(PluginError::Absurd { plugin: self.name.clone(), what }.into());
        }
        tracing::debug!(worker = self.name, "confined: {enforced} {:?}", enforced.weaker);
        if enforced.level != Level::Off && !enforced.missing.is_empty() {
            let missing = enforced.missing.join("; ");
            tracing::warn!("{}: runs all the same, though not confined: {missing}", self.name);
        }
        self.limit(&wanted, &enforced)?;
        self.prepare(self.core)?;
        Ok(begun.insert(*enforced).clone())
    }

    fn listen(&self, reached: Reached) -> std::io::Result<Listener> {
        let handle = self.requests.receive()?;
        Listener::start(handle, self.id, reached, &self.name, self.supervisor.keep_refusals())
    }

    /// Lets its plugins read a file or folder from now on, besides what they may read since the
    /// worker [began](Self::begin).
    ///
    /// # Errors
    /// The system does not let anybody do so.
    pub fn grant(&self, path: &Path) -> Result<(), Error> {
        match (self.listener.get(), &*lock(&self.begun)) {
            (Some(listener), _) => {
                listener.grant(path);
                Ok(())
            }
            (None, Some(enforced)) if enforced.landlock_abi.is_some() => {
                let what = format!(
                    "it can't be given {} any more on this system; start with --grant-files",
                    path.display()
                );
                Err(PluginError::Absurd { plugin: self.name.clone(), what }.into())
            }
            (None, _) => Ok(()),
        }
    }

    /// What its confinement has refused it so far, each once, up to a limit.
    pub fn refused(&self) -> Vec<Refusal> {
        self.listener.get().map(Listener::refused).unwrap_or_default()
    }

    /// Whether its plugins may read what lies there.
    pub(super) fn reaches(&self, path: &Path) -> bool {
        self.listener.get().is_none_or(|listener| listener.reaches(path))
    }

    /// Has what it uses looked at.
    fn limit(&self, wanted: &Confinement, enforced: &Enforced) -> Result<(), Error> {
        let limits = wanted.limits.in_force(wanted.level, usage::machine().memory);
        if let Some(folder) = enforced.folder.as_ref().filter(|_| enforced.is_folder_full) {
            tracing::warn!(
                "{}: its folder {} holds more than the {} it may: it can write nothing until you \
                 remove files there, or raise --limit-disk",
                self.name,
                folder.display(),
                bytes(limits.disk)
            );
        }
        self.supervisor
            .0
            .limiter
            .add(Subject {
                process: self.id,
                killer: Arc::clone(&self.killer),
                thread: Arc::clone(&self.thread),
                gone: Arc::clone(&self.gone),
                limits,
                folder: enforced.folder.clone().filter(|_| !enforced.is_folder_full),
                excess: Arc::clone(&self.excess),
            })
            .map_err(Error::system(format!("{}: starting a thread", self.name)))
    }

    /// Why it was ended, if that is because it used more than it may: "used 3 GB of memory, …".
    pub fn excess(&self) -> Option<&str> {
        self.excess.ended()
    }

    /// What it said that no worker says by itself; it was ended for it.
    pub fn broken(&self) -> Option<&str> {
        self.broken.get().map(String::as_str)
    }

    /// Why it was ended, if it did not end by itself: it used more than it may, or said what makes no
    /// sense. The sentence begins behind "it".
    pub fn why_ended(&self) -> Option<String> {
        let broken = || Some(format!("broke the protocol with its host: {}", self.broken.get()?));
        self.excess().map(str::to_owned).or_else(broken)
    }

    /// Whatever comes from it means nothing any more. Ends it, waiting for nothing.
    fn breaks(&self, what: String) -> Error {
        tracing::debug!(worker = self.name, what, "broke the protocol");
        let _ = self.broken.set(what.clone());
        self.end_now();
        Error::Protocol { name: self.name.clone(), what }
    }

    /// What it used more of than is good, though it was not ended for it; each is told once.
    pub fn take_remarks(&self) -> Vec<String> {
        self.excess.take_remarks()
    }

    /// What confines it; `None`: it has not [begun](Self::begin).
    pub fn enforced(&self) -> Option<Enforced> {
        lock(&self.begun).clone()
    }

    fn prepare(&self, core: Option<usize>) -> Result<(), Error> {
        let page = &self.supervisor.0.page_memory;
        let priority = self.supervisor.0.options.realtime.then_some(priority::WORKER);
        let regions = [
            (page, Access::Read),
            (&self.bell_memory, Access::ReadWrite),
            (&self.crash_memory, Access::ReadWrite),
        ];
        let (described, handles) = hand_over(&regions)
            .map_err(Error::system(format!("{}: handing over memory", self.name)))?;
        let request = Request::Prepare {
            core,
            // One that is listened at may not do that by itself.
            priority: priority.filter(|_| self.listener.get().is_none()),
            regions: described,
        };
        match self.request(request, &handles)? {
            Answer::Prepared { thread, not_realtime, locked } => {
                if !thread::belongs_to(thread, self.id) {
                    return Err(self.confused("it named a thread of another process"));
                }
                *lock(&self.thread) = Some(thread);
                let by_host = priority.filter(|_| self.listener.get().is_some());
                let not_realtime = match by_host {
                    Some(priority) => {
                        thread::promote(thread, priority).err().map(|error| error.to_string())
                    }
                    None => not_realtime,
                };
                let mut restrictions = lock(&self.supervisor.0.restrictions);
                restrictions.not_locked |= !locked;
                if not_realtime.is_some() {
                    restrictions.not_realtime = not_realtime;
                }
                Ok(())
            }
            _ => Err(self.confused("answered something else")),
        }
    }

    /// Lists what is in a plugin file. Loads its library, to stay as long as the worker.
    pub fn list(&self, path: &Path) -> Result<Vec<Descriptor>, Error> {
        self.begin(&[path])?;
        match self.request(Request::List(path.to_owned()), &[])? {
            Answer::Descriptors(all) => Ok(all),
            _ => Err(self.confused("answered something else")),
        }
    }

    /// Loads a plugin.
    pub fn load(self: &Arc<Self>, plugin: &PluginRef) -> Result<Node, Error> {
        self.begin(&[&plugin.path])?;
        if let Some(listener) = self.listener.get() {
            // It may have begun for others.
            listener.grant_plugin(&plugin.path);
        }
        let number = self.next_number.fetch_add(1, Ordering::Relaxed);
        match self.request(Request::Load(number, plugin.clone()), &[])? {
            Answer::Info(info) => {
                check_info(plugin, &info)?;
                Ok(Node {
                    worker: Arc::clone(self),
                    number,
                    plugin: plugin.clone(),
                    info: *info,
                    active: None,
                    recorder: Mutex::default(),
                    given: Mutex::default(),
                    asked: 0,
                })
            }
            _ => Err(self.confused("answered something else")),
        }
    }

    /// Keeps the audio thread on a core.
    pub fn pin(&self, core: Option<usize>) -> Result<(), Error> {
        self.request(Request::Pin(core), &[]).map(|_| ())
    }

    /// Waits until the worker has told all that its plugins have said so far.
    pub fn sync(&self) -> Result<(), Error> {
        self.request(Request::Sync, &[]).map(|_| ())
    }

    /// What the plugins have said since the last call. Never waits: what they say while another
    /// thread asks them something comes with a later call.
    pub fn take_notices(&self) -> Vec<(NodeNumber, Notice)> {
        let mut control = match self.control.try_lock() {
            Ok(control) => control,
            Err(TryLockError::Poisoned(control)) => control.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        // No more than fit: a worker may send faster than anybody reads.
        let (mut count, mut bytes) = (0, 0);
        while count < MOST_NOTICES && bytes < MOST_NOTICE_BYTES && self.broken.get().is_none() {
            let len = match control.replies.receive(Instant::now()) {
                Ok((Reply::Notice(number, notice), len)) => {
                    control.keep(number, notice, len);
                    len
                }
                Ok((Reply::Answer(_), len)) if control.owed > 0 => {
                    control.owed -= 1;
                    len
                }
                Ok((Reply::Answer(_), _)) => {
                    self.breaks("an answer that nobody asked for".into());
                    break;
                }
                Err(Nothing::Garbled(what)) => {
                    self.breaks(what);
                    break;
                }
                Err(Nothing::Late | Nothing::Closed) => break,
            };
            (count, bytes) = (count + 1, bytes + len);
        }
        control.notice_bytes = 0;
        let mut notices = std::mem::take(&mut control.notices);
        if let Some(listener) = self.listener.get() {
            // Which of several plugins it was is not known: the first.
            let refused = listener.take().into_iter();
            notices.extend(
                refused.map(|Refusal { what, grant }| (0, Notice::Refused { what, grant })),
            );
        }
        notices
    }

    /// Lets the plugins be destroyed in order, then the process end; kills it if that takes more
    /// than a second.
    pub fn quit(&self) {
        let mut control = lock(&self.control);
        control.timeout = Duration::from_secs(1);
        let answered = self.ask(&mut control, Request::Quit, &[], Late::Killed).is_ok();
        if !answered || control.process.wait(Duration::from_secs(1)).is_none() {
            control.process.kill();
        }
    }

    /// Whether nobody waits for an answer of its main thread at this moment, nor has given up
    /// waiting for one.
    pub fn is_answering(&self) -> bool {
        match self.control.try_lock() {
            Ok(control) => control.owed == 0,
            Err(TryLockError::Poisoned(control)) => control.into_inner().owed == 0,
            Err(TryLockError::WouldBlock) => false,
        }
    }

    /// The state of one of its plugins, for a thread that has not the [`Node`].
    ///
    /// # Errors
    /// As [`Node::save_state`]; but a worker that takes too long is not killed: [`Error::Hung`].
    pub fn save_state(&self, plugin: NodeNumber, context: StateContext) -> Result<Vec<u8>, Error> {
        match self.request_sparing(Request::SaveState(plugin, context))? {
            Answer::State(state) => Ok(state),
            _ => Err(self.confused("answered something else")),
        }
    }

    /// What one of its plugins says of itself now, as [`save_state`](Self::save_state).
    pub fn describe(&self, plugin: NodeNumber) -> Result<PluginInfo, Error> {
        match self.request_sparing(Request::Info(plugin))? {
            Answer::Info(info) => Ok(*info),
            _ => Err(self.confused("answered something else")),
        }
    }

    /// A value of a parameter of one of its plugins as the plugin writes it, as
    /// [`save_state`](Self::save_state).
    pub fn value_to_text(
        &self,
        plugin: NodeNumber,
        param: u32,
        value: f64,
    ) -> Result<Option<String>, Error> {
        match self.request_sparing(Request::ValueToText(plugin, param, value))? {
            Answer::Text(text) => Ok(text),
            _ => Err(self.confused("answered something else")),
        }
    }

    /// Opens the editor of one of its plugins, for a thread that has not the [`Node`].
    ///
    /// # Errors
    /// As [`Node::open_editor`].
    pub fn open_editor(
        &self,
        plugin: NodeNumber,
        options: EditorOptions,
    ) -> Result<EditorInfo, Error> {
        match self.request_sparing(Request::OpenEditor(plugin, options))? {
            Answer::Editor(info) => Ok(info),
            _ => Err(self.confused("answered something else")),
        }
    }

    /// What the window of an editor shows, as [`Node::editor_picture`].
    pub fn editor_picture(&self, plugin: NodeNumber) -> Result<Picture, Error> {
        match self.request_sparing(Request::PictureEditor(plugin))? {
            Answer::Picture(picture) => Ok(picture),
            _ => Err(self.confused("answered something else")),
        }
    }

    /// Closes the editor of one of its plugins, as [`Node::close_editor`].
    pub fn close_editor(&self, plugin: NodeNumber) -> Result<(), Error> {
        self.request_sparing(Request::CloseEditor(plugin)).map(|_| ())
    }

    /// Has its audio thread stand back behind everybody else, or not any more, as long as it is off the
    /// realtime class.
    pub fn stand_back(&self, back: bool) {
        // What was counted on again meanwhile is realtime, and must stay so.
        if let Some(thread) = self.thread().filter(|_| !back || self.class.is_demoted()) {
            thread::stand_back(thread, back);
        }
    }

    /// Ends the process, without waiting for anything: not for its end, nor for a request that is
    /// under way, which fails. [`kill`](Self::kill) tells how it ended.
    pub fn end_now(&self) {
        // Its end is some milliseconds of work for the kernel, on the core of whoever is last: not ahead of
        // the plugins that share that core.
        if let Some(thread) = self.thread().filter(|_| !self.is_gone()) {
            thread::demote(thread);
        }
        self.killer.kill();
    }

    /// What it is doing, or was doing when it ended. The worker itself tells: a hint.
    pub fn doing(&self) -> Doing {
        self.doing.read()
    }

    /// What its audio thread has had of the cores; `None`: it has none, or the system does not tell.
    pub fn core_use(&self) -> Option<CoreUse> {
        thread::core_use(self.thread()?, self.id)
    }

    /// Asks a worker that hangs where its audio thread is, and waits for the answer for at most so
    /// long; it is then in [`doing`](Self::doing). The worker ends of it, or is left as it is: end it
    /// afterwards.
    pub fn ask_where(&self, timeout: Duration) {
        let Some(thread) = self.thread().filter(|_| !self.is_gone()) else { return };
        crash::ask_where(self.id, thread);
        let give_up = Instant::now() + timeout;
        while !self.is_gone() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the process at once.
    pub fn kill(&self) -> Exit {
        self.end_now();
        lock(&self.control).process.kill()
    }

    pub(super) fn confused(&self, what: &str) -> Error {
        let error = self.breaks(what.into());
        self.kill();
        error
    }

    pub(crate) fn request(&self, request: Request, handles: &[Handle]) -> Result<Answer, Error> {
        self.ask(&mut lock(&self.control), request, handles, Late::Killed)
    }

    fn ask(
        &self,
        control: &mut Control,
        request: Request,
        handles: &[Handle],
        late: Late,
    ) -> Result<Answer, Error> {
        let during = request.name().to_owned();
        let give_up = Instant::now() + control.timeout;
        let answer = match self.requests.send(&request, handles, give_up) {
            Ok(()) => control.wait(&self.name, during, late, give_up),
            // It does not even take what it is asked: not its main thread hangs, but all of it.
            Err(NotSent::Late) => Err(control.late(&self.name, during)),
            Err(NotSent::Closed) => Err(control.died(&self.name, during)),
        };
        answer.map_err(|error| self.explain(error))
    }

    /// How it died may not be why.
    fn explain(&self, error: Error) -> Error {
        match (error, self.excess(), self.broken.get()) {
            (Error::Died { name, during, .. }, Some(what), _) => {
                Error::Excess { name, what: what.into(), during }
            }
            (Error::Died { name, .. }, None, Some(what)) => {
                Error::Protocol { name, what: what.clone() }
            }
            (Error::Protocol { what, .. }, ..) => self.breaks(what),
            (error, ..) => error,
        }
    }

    /// The same, but a worker that takes too long is not killed.
    pub(super) fn request_sparing(&self, request: Request) -> Result<Answer, Error> {
        self.ask(&mut lock(&self.control), request, &[], Late::Spared)
    }

    /// Tells its part of a plan. Waits for nothing: [`connected`](Self::connected) has the answer.
    pub(crate) fn connect(&self, to: Connections, handles: &[Handle]) -> Result<(), Error> {
        let request = Request::Connect(to);
        let during = request.name().to_owned();
        self.requests.send_now(&request, handles).map_err(|_| self.has_died(during))
    }

    /// Whether it can take part in that plan, once it has said so. That it does not answer is its
    /// death: its plugins do not run where it is answered.
    pub(crate) fn connected(&self, generation: u32) -> Option<Result<(), Error>> {
        // More plans than that are not under way at once.
        const MOST: usize = 64;
        let mut connected = lock(&self.connected);
        for _ in 0..MOST {
            match connected.receive(Instant::now()) {
                Ok((Connected(of, result), _)) if of == generation => {
                    return Some(result.map_err(Error::Plugin));
                }
                // Of a plan that nobody wants any more.
                Ok(_) => {}
                Err(Nothing::Late) => return None,
                Err(Nothing::Garbled(what)) => return Some(Err(self.breaks(what))),
                Err(Nothing::Closed) => {
                    drop(connected);
                    return Some(Err(self.has_died("connect".into())));
                }
            }
        }
        None
    }

    /// It has closed its end of a channel, or takes nothing any more.
    fn has_died(&self, during: String) -> Error {
        // By ending, or by a plugin that closes what it finds. Whoever waits for its main thread is
        // told at the same time, and lets go of the lock.
        const MOMENT: Duration = Duration::from_millis(20);
        let give_up = Instant::now() + MOMENT;
        while !self.is_gone() && Instant::now() < give_up {
            std::thread::sleep(Duration::from_millis(1));
        }
        self.end_now();
        self.explain(lock(&self.control).died(&self.name, during))
    }

    pub(crate) fn bell(&self) -> (DoorbellView, &SharedMemory) {
        (self.bell.clone(), &self.bell_memory)
    }

    pub(crate) fn gone_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.gone)
    }

    pub(crate) fn class(&self) -> Arc<Class> {
        Arc::clone(&self.class)
    }

    /// The audio thread, if it is meant to be in the realtime class.
    pub(crate) fn realtime_thread(&self) -> Option<ThreadId> {
        self.thread().filter(|_| self.supervisor.0.options.realtime)
    }

    /// Keeps its audio thread off the realtime class, for what a plugin does there outside blocks and
    /// may take its time for. From the first block after that on, it is there again.
    pub(super) fn calm(&self) -> Calm {
        Calm::new(Arc::clone(&self.class), self.realtime_thread())
    }

    pub(crate) fn thread(&self) -> Option<ThreadId> {
        *lock(&self.thread)
    }
}

impl Control {
    /// Waits for the answer to what was sent last.
    fn wait(
        &mut self,
        name: &str,
        during: String,
        late: Late,
        give_up: Instant,
    ) -> Result<Answer, Error> {
        loop {
            let is_late = match self.replies.receive(give_up) {
                Ok((Reply::Answer(answer), _)) if self.owed == 0 => {
                    return answer.map_err(Error::Plugin);
                }
                Ok((Reply::Answer(_), _)) => {
                    self.owed -= 1;
                    false
                }
                Ok((Reply::Notice(number, notice), len)) => {
                    self.keep(number, notice, len);
                    // There may be no end of them.
                    Instant::now() >= give_up
                }
                Err(Nothing::Late) => true,
                Err(Nothing::Closed) => return Err(self.died(name, during)),
                Err(Nothing::Garbled(what)) => {
                    return Err(Error::Protocol { name: name.into(), what });
                }
            };
            if is_late && late == Late::Spared {
                self.owed += 1;
                let (name, timeout) = (name.to_owned(), self.timeout);
                return Err(Error::Hung { name, during, timeout });
            }
            if is_late {
                return Err(self.late(name, during));
            }
        }
    }

    /// Keeps what a plugin said until it is taken, up to a limit: a flood must not fill memory.
    fn keep(&mut self, number: NodeNumber, notice: Notice, len: usize) {
        if self.notices.len() < MOST_NOTICES && self.notice_bytes + len <= MOST_NOTICE_BYTES {
            self.notices.push((number, notice));
            self.notice_bytes += len;
        }
    }

    fn late(&mut self, name: &str, during: String) -> Error {
        self.process.kill();
        Error::Timeout { name: name.into(), during, timeout: self.timeout }
    }

    fn died(&mut self, name: &str, during: String) -> Error {
        // It closed its end: by ending, or by a plugin that closes what it finds.
        let exit = self.process.wait(Duration::from_millis(500));
        let exit = exit.unwrap_or_else(|| self.process.kill());
        Error::Died { name: name.into(), exit, during }
    }
}

/// Describes memory to hand over, and makes the handles.
pub(crate) fn hand_over(
    regions: &[(&SharedMemory, Access)],
) -> std::io::Result<(Vec<Region>, Vec<Handle>)> {
    let mut described = Vec::with_capacity(regions.len());
    let mut handles = Vec::with_capacity(regions.len());
    for (memory, access) in regions {
        described.push(Region { len: memory.len(), write: *access == Access::ReadWrite });
        handles.push(memory.handle(*access)?);
    }
    Ok((described, handles))
}
