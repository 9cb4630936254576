//! Starts workers, hands them memory, watches them, stops, kills and reaps them.
//!
//! # Threads
//! [`Supervisor`], [`Worker`] and [`Node`] may be used from any thread but the realtime one; a
//! request blocks until it is answered or its time is up. Two threads of its own: one starts all
//! processes (the kernel ends a worker when the *thread* that started it ends), one waits for any
//! of them to end.
//!
//! # Lifecycle
//! [`Supervisor::start_worker`] → [`Worker::load`] → [`Node::activate`] →
//! [`RemoteSet::connect`](crate::remote::RemoteSet::connect) → blocks → [`Node::deactivate`] →
//! [`Worker::quit`]. Dropping a worker at any point kills and reaps it.

use crate::error::{Error, PluginError};
use crate::format::{Descriptor, Notice, PluginInfo, PluginRef};
use crate::protocol::{
    Activation, Answer, Connections, Hello, NodeNumber, Region, Reply, Request, VERSION,
    WORKER_ARGUMENT,
};
use crate::shm::layout::{MAX_CHANNELS, MAX_FRAMES, OutboxShape};
use crate::shm::{BlockView, DoorbellView, OutboxReader};
use crate::sys::handles::{Handle, HandleChannel};
use crate::sys::memory::{Access, SharedMemory};
use crate::sys::process::{Exit, Process, Waker, Watch, wait_any};
use crate::sys::thread::{self, ThreadId, priority};
use ipc_channel::TryRecvError;
use ipc_channel::ipc::{IpcOneShotServer, IpcReceiver, IpcSender};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// How workers are started.
#[derive(Clone, Debug)]
pub struct SupervisorOptions {
    /// The program that is started as a worker; it must call
    /// [`run_if_worker`](crate::worker::run_if_worker) first thing.
    pub program: PathBuf,
    /// Whether audio threads ask for the realtime class.
    pub realtime: bool,
    /// How long a plugin may take for any one request.
    pub timeout: Duration,
    /// Whether workers' standard error goes to this program's.
    pub show_errors: bool,
}

impl SupervisorOptions {
    /// This very program as worker, realtime, ten seconds.
    pub fn new() -> Result<Self, Error> {
        let program = std::env::current_exe().map_err(Error::system("finding this program"))?;
        Ok(Self { program, realtime: true, timeout: Duration::from_secs(10), show_errors: false })
    }
}

/// What the system did not permit; said once, for all workers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Restrictions {
    /// No realtime class: why.
    pub not_realtime: Option<String>,
    /// Memory could not be locked.
    pub not_locked: bool,
}

/// See the module.
#[derive(Clone)]
pub struct Supervisor(Arc<Inner>);

struct Inner {
    options: SupervisorOptions,
    page_memory: SharedMemory,
    page: BlockView,
    bell_memory: SharedMemory,
    bell: DoorbellView,
    starter: Mutex<mpsc::Sender<StartJob>>,
    watched: Arc<Watched>,
    restrictions: Mutex<Restrictions>,
    generation: AtomicU32,
    /// Blocks begun so far, by all plans.
    blocks: Arc<AtomicU64>,
}

type StartJob = (Vec<OsString>, HandleChannel, mpsc::SyncSender<std::io::Result<Process>>);

/// Processes whose end somebody wants to know of at once.
struct Watched {
    list: Mutex<Vec<(Watch, Arc<AtomicBool>)>>,
    waker: Waker,
    stop: AtomicBool,
    host_bell: DoorbellView,
    /// How many have ended.
    deaths: Arc<AtomicU32>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Supervisor {
    /// Sets up the memory that all workers share with the host, and the two threads.
    pub fn new(options: SupervisorOptions) -> Result<Self, Error> {
        thread::raise_descriptor_limit();
        let no_memory = || Error::system("making shared memory");
        let page_memory =
            SharedMemory::new("sandrack-block", BlockView::LEN).map_err(no_memory())?;
        let bell_memory =
            SharedMemory::new("sandrack-host-bell", DoorbellView::LEN).map_err(no_memory())?;
        let map = |memory: &SharedMemory| memory.map(Access::ReadWrite).map(Arc::new);
        let page = map(&page_memory).and_then(BlockView::new).map_err(no_memory())?;
        let bell = map(&bell_memory).and_then(DoorbellView::new).map_err(no_memory())?;

        let (starter, jobs) = mpsc::channel::<StartJob>();
        let (program, show_errors) = (options.program.clone(), options.show_errors);
        std::thread::Builder::new()
            .name("worker starter".into())
            .spawn(move || start_processes(&program, show_errors, &jobs))
            .map_err(Error::system("starting a thread"))?;

        let watched = Arc::new(Watched {
            list: Mutex::new(Vec::new()),
            waker: Waker::new().map_err(Error::system("making an event"))?,
            stop: AtomicBool::new(false),
            host_bell: bell.clone(),
            deaths: Arc::default(),
        });
        let for_watcher = Arc::clone(&watched);
        std::thread::Builder::new()
            .name("worker watcher".into())
            .spawn(move || for_watcher.run())
            .map_err(Error::system("starting a thread"))?;

        Ok(Self(Arc::new(Inner {
            options,
            page_memory,
            page,
            bell_memory,
            bell,
            starter: Mutex::new(starter),
            watched,
            restrictions: Mutex::new(Restrictions::default()),
            generation: AtomicU32::new(0),
            blocks: Arc::new(AtomicU64::new(0)),
        })))
    }

    /// What the system has not permitted so far.
    pub fn restrictions(&self) -> Restrictions {
        lock(&self.0.restrictions).clone()
    }

    /// Starts a worker. `name` is for errors: the plugin it is for. `core`: where its audio
    /// thread stays; `None`: wherever the system puts it.
    pub fn start_worker(&self, name: &str, core: Option<usize>) -> Result<Arc<Worker>, Error> {
        let system = |what: &str| Error::system(format!("{name}: {what}"));
        let bell_memory = SharedMemory::new("sandrack-bell", DoorbellView::LEN)
            .map_err(system("making shared memory"))?;
        let bell = bell_memory
            .map(Access::ReadWrite)
            .and_then(|mapping| DoorbellView::new(Arc::new(mapping)))
            .map_err(system("mapping shared memory"))?;
        let (handles, for_worker) =
            HandleChannel::pair().map_err(system("making a socket pair"))?;
        let (server, channel) =
            IpcOneShotServer::<Hello>::new().map_err(system("making a channel"))?;

        let arguments = vec![
            WORKER_ARGUMENT.into(),
            OsString::from(&channel),
            std::process::id().to_string().into(),
            VERSION.into(),
        ];
        let (started, process) = mpsc::sync_channel(1);
        let _ = lock(&self.0.starter).send((arguments, for_worker, started));
        let process = process
            .recv()
            .map_err(|_| std::io::Error::other("the thread that starts workers is gone"))
            .and_then(|result| result)
            .map_err(system(&format!("starting {}", self.0.options.program.display())))?;

        let timeout = self.0.options.timeout;
        let mut process = process;
        let hello = accept(server, &channel, &mut process, timeout, name)?;
        if hello.version != VERSION {
            return Err(Error::Protocol {
                name: name.into(),
                what: format!("it is build {}, this host is {VERSION}", hello.version),
            });
        }
        let gone = Arc::new(AtomicBool::new(false));
        let watch = process.watch().map_err(system("watching the worker"))?;
        self.0.watched.add(watch, Arc::clone(&gone));
        let id = process.id();
        let worker = Arc::new(Worker {
            name: name.into(),
            supervisor: self.clone(),
            id,
            gone,
            bell_memory,
            bell,
            thread: Mutex::new(None),
            next_number: AtomicU32::new(0),
            control: Mutex::new(Control {
                process,
                requests: hello.requests,
                replies: hello.replies,
                handles,
                notices: Vec::new(),
                timeout,
            }),
        });
        worker.prepare(core)?;
        Ok(worker)
    }

    /// Lists what is in a plugin file, in a worker of its own.
    pub fn list(&self, path: &Path) -> Result<Vec<Descriptor>, Error> {
        let worker = self.start_worker(&path.display().to_string(), None)?;
        match worker.request(Request::List(path.to_owned()), &[])? {
            Answer::Descriptors(all) => {
                worker.quit();
                Ok(all)
            }
            _ => Err(worker.confused("answered something else")),
        }
    }

    pub(crate) fn next_generation(&self) -> u32 {
        self.0.generation.fetch_add(1, Ordering::Relaxed) + 1
    }

    pub(crate) fn blocks(&self) -> Arc<AtomicU64> {
        Arc::clone(&self.0.blocks)
    }

    pub(crate) fn deaths(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.0.watched.deaths)
    }

    pub(crate) fn page(&self) -> BlockView {
        self.0.page.clone()
    }

    pub(crate) fn bell(&self) -> (DoorbellView, &SharedMemory) {
        (self.0.bell.clone(), &self.0.bell_memory)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.watched.stop.store(true, Ordering::Release);
        self.watched.waker.wake();
    }
}

fn start_processes(program: &Path, show_errors: bool, jobs: &mpsc::Receiver<StartJob>) {
    while let Ok((arguments, handles, answer)) = jobs.recv() {
        let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        let _ = answer.send(Process::start(program, &arguments, handles, show_errors));
    }
}

impl Watched {
    fn add(&self, watch: Watch, gone: Arc<AtomicBool>) {
        lock(&self.list).push((watch, gone));
        self.waker.wake();
    }

    fn run(&self) {
        let mut mine: Vec<(Watch, Arc<AtomicBool>)> = Vec::new();
        while !self.stop.load(Ordering::Acquire) {
            mine.append(&mut lock(&self.list));
            let watches: Vec<&Watch> = mine.iter().map(|(watch, _)| watch).collect();
            if let Some(ended) = wait_any(&watches, &self.waker) {
                let (_, gone) = mine.swap_remove(ended);
                gone.store(true, Ordering::Release);
                // Release, with `RemoteSet::find_lost`.
                self.deaths.fetch_add(1, Ordering::Release);
                // The engine may be waiting for it.
                self.host_bell.wake();
            }
        }
    }
}

/// Waits for a new worker's first words; never for ever, although the channel would.
fn accept(
    server: IpcOneShotServer<Hello>,
    channel: &str,
    process: &mut Process,
    timeout: Duration,
    name: &str,
) -> Result<Hello, Error> {
    let (sender, hello) = mpsc::sync_channel(1);
    std::thread::Builder::new()
        .name("worker accept".into())
        .stack_size(256 * 1024)
        .spawn(move || {
            let _ = sender.send(server.accept());
        })
        .map_err(Error::system("starting a thread"))?;
    let give_up = Instant::now() + timeout;
    loop {
        match hello.recv_timeout(Duration::from_millis(20)) {
            Ok(Ok((_, hello))) => return Ok(hello),
            Ok(Err(error)) => {
                return Err(Error::Protocol { name: name.into(), what: error.to_string() });
            }
            Err(_) => {}
        }
        let exit = process.ended();
        if exit.is_some() || Instant::now() > give_up {
            // Ends the thread above: its accept() would otherwise wait for ever.
            drop(IpcSender::<Hello>::connect(channel.to_owned()));
            let (name, during) = (name.to_owned(), "start".to_owned());
            return Err(match exit {
                Some(exit) => Error::Died { name, exit, during },
                None => Error::Timeout { name, during, timeout },
            });
        }
    }
}

/// A worker process, seen from the host.
pub struct Worker {
    name: String,
    supervisor: Supervisor,
    id: u32,
    gone: Arc<AtomicBool>,
    bell_memory: SharedMemory,
    bell: DoorbellView,
    thread: Mutex<Option<ThreadId>>,
    next_number: AtomicU32,
    control: Mutex<Control>,
}

struct Control {
    process: Process,
    requests: IpcSender<Request>,
    replies: IpcReceiver<Reply>,
    handles: HandleChannel,
    notices: Vec<(NodeNumber, Notice)>,
    timeout: Duration,
}

impl Worker {
    /// The system's number of the process.
    pub fn id(&self) -> u32 {
        self.id
    }

    /// Whether the process has ended. Set at once, by the watcher.
    pub fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    fn prepare(&self, core: Option<usize>) -> Result<(), Error> {
        let page = &self.supervisor.0.page_memory;
        let regions = [(page, Access::Read), (&self.bell_memory, Access::ReadWrite)];
        let (described, handles) = hand_over(&regions)
            .map_err(Error::system(format!("{}: handing over memory", self.name)))?;
        let request = Request::Prepare {
            core,
            priority: self.supervisor.0.options.realtime.then_some(priority::WORKER),
            regions: described,
        };
        match self.request(request, &handles)? {
            Answer::Prepared { thread, not_realtime, locked } => {
                if !thread::belongs_to(thread, self.id) {
                    return Err(self.confused("it named a thread of another process"));
                }
                *lock(&self.thread) = Some(thread);
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

    /// Loads a plugin.
    pub fn load(self: &Arc<Self>, plugin: &PluginRef) -> Result<Node, Error> {
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
                })
            }
            _ => Err(self.confused("answered something else")),
        }
    }

    /// Keeps the audio thread on a core.
    pub fn pin(&self, core: Option<usize>) -> Result<(), Error> {
        self.request(Request::Pin(core), &[]).map(|_| ())
    }

    /// What the plugins have said since the last call.
    pub fn take_notices(&self) -> Vec<(NodeNumber, Notice)> {
        let mut control = lock(&self.control);
        while let Ok(Reply::Notice(number, notice)) = control.replies.try_recv() {
            control.notices.push((number, notice));
        }
        std::mem::take(&mut control.notices)
    }

    /// Lets the plugins be destroyed in order, then the process end; kills it if that takes more
    /// than a second.
    pub fn quit(&self) {
        let mut control = lock(&self.control);
        control.timeout = Duration::from_secs(1);
        let answered = control.request(&self.name, Request::Quit, &[]).is_ok();
        if !answered || control.process.wait(Duration::from_secs(1)).is_none() {
            control.process.kill();
        }
    }

    /// Ends the process at once.
    pub fn kill(&self) -> Exit {
        lock(&self.control).process.kill()
    }

    fn confused(&self, what: &str) -> Error {
        self.kill();
        Error::Protocol { name: self.name.clone(), what: what.into() }
    }

    pub(crate) fn request(&self, request: Request, handles: &[Handle]) -> Result<Answer, Error> {
        lock(&self.control).request(&self.name, request, handles)
    }

    pub(crate) fn connect(&self, to: Connections, handles: &[Handle]) -> Result<(), Error> {
        self.request(Request::Connect(to), handles).map(|_| ())
    }

    pub(crate) fn bell(&self) -> (DoorbellView, &SharedMemory) {
        (self.bell.clone(), &self.bell_memory)
    }

    pub(crate) fn gone_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.gone)
    }

    pub(crate) fn thread(&self) -> Option<ThreadId> {
        *lock(&self.thread)
    }
}

impl Control {
    fn request(
        &mut self,
        name: &str,
        request: Request,
        handles: &[Handle],
    ) -> Result<Answer, Error> {
        let during = request.name().to_owned();
        let sent = self.handles.send(&handles.iter().collect::<Vec<_>>()).is_ok()
            && self.requests.send(request).is_ok();
        if !sent {
            return Err(self.died(name, during));
        }
        let give_up = Instant::now() + self.timeout;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            match self.replies.try_recv_timeout(left) {
                Ok(Reply::Answer(answer)) => return answer.map_err(Error::Plugin),
                Ok(Reply::Notice(number, notice)) => self.notices.push((number, notice)),
                Err(TryRecvError::Empty) if left.is_zero() => {
                    self.process.kill();
                    let timeout = self.timeout;
                    return Err(Error::Timeout { name: name.into(), during, timeout });
                }
                Err(TryRecvError::Empty) => {}
                Err(TryRecvError::IpcError(_)) => return Err(self.died(name, during)),
            }
        }
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

/// A plugin may say anything of itself; this is what a host can work with.
fn check_info(plugin: &PluginRef, info: &PluginInfo) -> Result<(), PluginError> {
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

/// A plugin in a worker.
pub struct Node {
    worker: Arc<Worker>,
    number: NodeNumber,
    plugin: PluginRef,
    info: PluginInfo,
    active: Option<Active>,
}

struct Active {
    latency: u32,
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

    /// Delay from input to output in frames; `None` while not active.
    pub fn latency(&self) -> Option<u32> {
        self.active.as_ref().map(|active| active.latency)
    }

    /// Prepares the plugin for blocks and starts it. Returns its latency in frames.
    ///
    /// # Errors
    /// The plugin's refusal; the node can be tried again with another activation.
    pub fn activate(&mut self, activation: Activation) -> Result<u32, Error> {
        self.deactivate()?;
        if !(1..=MAX_FRAMES).contains(&activation.max_frames) {
            return Err(Error::Plugin(PluginError::Absurd {
                plugin: self.plugin.to_string(),
                what: format!("blocks of {} frames: 1..={MAX_FRAMES}", activation.max_frames),
            }));
        }
        let latency = match self.worker.request(Request::Activate(self.number, activation), &[])? {
            Answer::Activated { latency } => latency,
            _ => return Err(self.worker.confused("answered something else")),
        };
        let name = &self.plugin;
        let shape = OutboxShape {
            buses: self.info.outputs.iter().map(|port| port.channels).collect(),
            max_frames: activation.max_frames,
        };
        let memory = || Error::system(format!("{name}: making shared memory"));
        let outbox = SharedMemory::new("sandrack-outbox", shape.len()).map_err(memory())?;
        let reader = outbox
            .map(Access::Read)
            .and_then(|mapping| OutboxReader::new(Arc::new(mapping), shape.clone()))
            .map_err(memory())?;
        let (regions, handles) = hand_over(&[(&outbox, Access::ReadWrite)]).map_err(memory())?;
        let start = Request::Start(self.number, shape.clone(), regions[0]);
        self.worker.request(start, &handles)?;
        self.active = Some(Active { latency, outbox, reader, shape });
        Ok(latency)
    }

    /// Stops and deactivates the plugin. It must take no part in any block any more.
    pub fn deactivate(&mut self) -> Result<(), Error> {
        match self.active.take() {
            Some(_) => self.worker.request(Request::Deactivate(self.number), &[]).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Asks the plugin to describe itself anew.
    pub fn refresh_info(&mut self) -> Result<&PluginInfo, Error> {
        match self.worker.request(Request::Info(self.number), &[])? {
            Answer::Info(info) => {
                check_info(&self.plugin, &info)?;
                self.info = *info;
                Ok(&self.info)
            }
            _ => Err(self.worker.confused("answered something else")),
        }
    }

    /// The plugin's state.
    pub fn save_state(&self) -> Result<Vec<u8>, Error> {
        match self.worker.request(Request::SaveState(self.number), &[])? {
            Answer::State(state) => Ok(state),
            _ => Err(self.worker.confused("answered something else")),
        }
    }

    /// Gives the plugin a state.
    pub fn load_state(&self, state: Vec<u8>) -> Result<(), Error> {
        self.worker.request(Request::LoadState(self.number, state), &[]).map(|_| ())
    }

    pub(crate) fn outbox(&self) -> Option<(&SharedMemory, &OutboxReader, &OutboxShape)> {
        self.active.as_ref().map(|active| (&active.outbox, &active.reader, &active.shape))
    }
}
