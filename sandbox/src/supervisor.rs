//! Starts workers, hands them memory, watches them, stops, kills and reaps them.
//!
//! # Threads
//! [`Supervisor`], [`Worker`] and [`Node`] may be used from any thread but the realtime one; a
//! request blocks until it is answered or its time is up. Three threads of its own: one starts all
//! processes (the kernel ends a worker when the *thread* that started it ends), one waits for any
//! of them to end, one looks at what they use.
//!
//! # Lifecycle
//! [`Supervisor::start_worker`] → ([`Worker::begin`]) → [`Worker::load`] → [`Node::activate`] →
//! [`RemoteSet::connect`](crate::remote::RemoteSet::connect) → blocks → [`Node::deactivate`] →
//! [`Worker::quit`]. Dropping a worker at any point kills and reaps it.

mod class;
mod limiter;
mod node;
mod recording;
mod requests;
mod worker;

pub(crate) use class::Class;
pub use node::Node;
pub(crate) use node::believed_latency;
pub use recording::{RecorderOptions, Recording};
pub use worker::Worker;
pub(crate) use worker::hand_over;

use crate::confine::{Confinement, Refusal};
use crate::error::Error;
use crate::format::{Descriptor, ListedPreset};
use crate::protocol::wire::{ConnectedReceiver, ReplyReceiver};
use crate::protocol::{Answer, Hello, Request, VERSION, WORKER_ARGUMENT, WRONG_BUILD};
use crate::shm::crash_page::{self, CrashView};
use crate::shm::{BlockView, DoorbellView};
use crate::sys::handles::HandleChannel;
use crate::sys::memory::{Access, SharedMemory};
use crate::sys::process::{Exit, Process, Waker, Watch, this_program, wait_any};
use crate::sys::{channel, thread, window};
use ipc_channel::ipc::{IpcOneShotServer, IpcSender};
use limiter::Limiter;
use requests::Requests;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, mpsc};
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
    /// What workers may do to the rest of the system.
    pub confinement: Confinement,
}

impl SupervisorOptions {
    /// This very program as worker, realtime, ten seconds, confined as plugins bear it.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            program: this_program().map_err(Error::system("finding this program"))?,
            realtime: true,
            timeout: Duration::from_secs(10),
            show_errors: false,
            confinement: Confinement::default(),
        })
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
///
/// Its workers share one block page and one doorbell: one engine runs at a time. Engines that run
/// side by side have a supervisor each.
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
    limiter: Limiter,
    restrictions: Mutex<Restrictions>,
    refused: Arc<Mutex<Vec<Refusal>>>,
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
        window::prepare();
        let no_memory = || Error::system("making shared memory");
        let page_memory =
            SharedMemory::for_one_writer("sandrack-block", BlockView::LEN).map_err(no_memory())?;
        let bell_memory = SharedMemory::with_bells("sandrack-host-bell", DoorbellView::LEN, 1)
            .map_err(no_memory())?;
        let map = |memory: &SharedMemory| memory.map(Access::ReadWrite).map(Arc::new);
        let page = map(&page_memory).and_then(BlockView::new).map_err(no_memory())?;
        page_memory.seal_writes().map_err(no_memory())?;
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
            limiter: Limiter::default(),
            restrictions: Mutex::new(Restrictions::default()),
            refused: Arc::default(),
            generation: AtomicU32::new(0),
            blocks: Arc::new(AtomicU64::new(0)),
        })))
    }

    /// What the system has not permitted so far.
    pub fn restrictions(&self) -> Restrictions {
        lock(&self.0.restrictions).clone()
    }

    /// What any of its workers has been refused so far, each once, up to a limit.
    pub fn refused(&self) -> Vec<Refusal> {
        lock(&self.0.refused).clone()
    }

    /// Keeps what a worker has been refused.
    fn keep_refusals(&self) -> impl Fn(&Refusal) + Send + Sync + 'static {
        const MOST: usize = 1024;
        let refused = Arc::clone(&self.0.refused);
        move |refusal| {
            let mut refused = lock(&refused);
            if refused.len() < MOST && !refused.contains(refusal) {
                refused.push(refusal.clone());
            }
        }
    }

    /// Starts a worker. `name` is for errors: the plugin it is for. `core`: where its audio
    /// thread stays; `None`: wherever the system puts it.
    pub fn start_worker(&self, name: &str, core: Option<usize>) -> Result<Arc<Worker>, Error> {
        let system = |what: &str| Error::system(format!("{name}: {what}"));
        let bell_memory = SharedMemory::with_bells("sandrack-bell", DoorbellView::LEN, 1)
            .map_err(system("making shared memory"))?;
        let bell = bell_memory
            .map(Access::ReadWrite)
            .and_then(|mapping| DoorbellView::new(Arc::new(mapping)))
            .map_err(system("mapping shared memory"))?;
        let crash_memory = SharedMemory::new("sandrack-crash", crash_page::LEN)
            .map_err(system("making shared memory"))?;
        let doing = crash_memory
            .map_unlocked()
            .and_then(|mapping| CrashView::new(Arc::new(mapping)))
            .map_err(system("mapping shared memory"))?;
        let (handles, for_worker) =
            HandleChannel::pair().map_err(system("making a socket pair"))?;
        let ways = channel::prepare(&handles).map_err(system("making a channel"))?;
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
            return Err(Error::OtherBuild { name: name.into() });
        }
        let ways = ways.accept(hello.ways);
        let gone = Arc::new(AtomicBool::new(false));
        let killer = process.killer().map_err(system("watching the worker"))?;
        let watch = process.watch().map_err(system("watching the worker"))?;
        self.0.watched.add(watch, Arc::clone(&gone));
        let id = process.id();
        let worker = Arc::new(Worker {
            name: name.into(),
            supervisor: self.clone(),
            id,
            killer: Arc::new(killer),
            gone,
            excess: Arc::default(),
            class: Arc::default(),
            bell_memory,
            bell,
            crash_memory,
            doing,
            core,
            begun: Mutex::new(None),
            listener: OnceLock::new(),
            thread: Arc::default(),
            next_number: AtomicU32::new(0),
            requests: Requests::new(ways.requests, handles),
            broken: OnceLock::new(),
            connected: Mutex::new(ConnectedReceiver::new(ways.connected)),
            control: Mutex::new(worker::Control {
                process,
                replies: ReplyReceiver::new(ways.replies),
                notices: Vec::new(),
                notice_bytes: 0,
                timeout,
                owed: 0,
            }),
        });
        Ok(worker)
    }

    /// Lists what is in a plugin file, in a worker of its own.
    pub fn list(&self, path: &Path) -> Result<Vec<Descriptor>, Error> {
        let worker = self.start_worker(&path.display().to_string(), None)?;
        let all = worker.list(path)?;
        worker.quit();
        Ok(all)
    }

    /// Lists the presets that a plugin file declares, in a worker of its own: those that it may
    /// read, so that nobody is led to give it a file of the user's by a false name.
    pub fn presets(&self, path: &Path) -> Result<Vec<ListedPreset>, Error> {
        let worker = self.start_worker(&path.display().to_string(), None)?;
        worker.begin(&[path])?;
        match worker.request(Request::ListPresets(path.to_owned()), &[])? {
            Answer::Presets(mut all) => {
                all.retain(|listed| {
                    let file = listed.preset.file.as_deref();
                    let is_reached = file.is_none_or(|file| worker.reaches(file));
                    if !is_reached {
                        let (preset, path) = (&listed.preset.name, path.display());
                        tracing::warn!(
                            "{path}: preset '{preset}' lies out of reach (allowed by --grant-files)"
                        );
                    }
                    is_reached
                });
                worker.quit();
                Ok(all)
            }
            _ => Err(worker.confused("answered something else")),
        }
    }

    /// How long a worker may take for its part of a new plan, which needs no plugin.
    pub(crate) fn connect_limit(&self) -> Duration {
        const LONG: Duration = Duration::from_secs(2);
        self.0.options.timeout.min(LONG)
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
                Some(Exit::Code(WRONG_BUILD)) => Error::OtherBuild { name },
                Some(exit) => Error::Died { name, exit, during },
                None => Error::Timeout { name, during, timeout },
            });
        }
    }
}
