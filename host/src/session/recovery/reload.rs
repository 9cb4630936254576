//! Starts plugins again in a new worker, on a thread of its own.

use super::memory::Remembered;
use super::spare::Vessel;
use crate::flight::file::Failure;
use sandrack_sandbox::error::Error;
use sandrack_sandbox::format::{PluginRef, StateContext};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::supervisor::{Node, RecorderOptions, Worker};
use sandrack_sandbox::sys::process::Exit;
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// A plugin as it is to be.
pub(super) struct Order {
    pub(super) plugin: PluginRef,
    pub(super) activation: Activation,
    pub(super) remembered: Remembered,
    pub(super) recorder: Option<RecorderOptions>,
}

/// What to do.
pub(super) struct Job {
    /// What is ended first, and reaped.
    pub(super) old: Vec<Arc<Worker>>,
    /// Asked before that where it is.
    pub(super) ask_where: bool,
    /// Then this is waited for.
    pub(super) pause: Duration,
    /// The process to start,
    pub(super) vessel: Vessel,
    /// or one that may have been started already.
    pub(super) spare: Option<mpsc::Receiver<Arc<Worker>>>,
    /// Then these are loaded, into one worker; may be none.
    pub(super) orders: Vec<Order>,
}

/// How it went.
pub(super) enum Told {
    /// The old worker has ended, how, and why, if it was ended for what it did.
    Ended(Exit, Option<(Failure, String)>),
    /// Active, in the order of the orders.
    Ready(Vec<Node>),
    /// They can't be loaded.
    Failed(String),
}

/// A job under way. Dropping it ends it, with all that it has started.
pub(super) struct Reload {
    told: mpsc::Receiver<Told>,
    stop: Option<mpsc::Sender<()>>,
    new: Arc<Mutex<New>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct New {
    worker: Option<Arc<Worker>>,
    is_stopped: bool,
}

impl Reload {
    pub(super) fn start(job: Job) -> std::io::Result<Self> {
        let (sender, told) = mpsc::channel();
        let (stop, stopped) = mpsc::channel();
        let new = Arc::<Mutex<New>>::default();
        let shared = Arc::clone(&new);
        let thread = std::thread::Builder::new()
            .name("plugin restart".into())
            .spawn(move || run(job, &sender, &stopped, &shared))?;
        Ok(Self { told, stop: Some(stop), new, thread: Some(thread) })
    }

    /// The next news; `None`: none yet.
    pub(super) fn poll(&self) -> Option<Told> {
        match self.told.try_recv() {
            Ok(told) => Some(told),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => {
                Some(Told::Failed("its thread ended without a word".into()))
            }
        }
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        drop(self.stop.take());
        let worker = {
            let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
            new.is_stopped = true;
            new.worker.take()
        };
        // Whatever it is asked fails at once.
        if let (Some(worker), false) = (worker, self.has_ended()) {
            worker.end_now();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Reload {
    fn has_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }
}

fn why_ended(worker: &Worker) -> Option<(Failure, String)> {
    let failure = match worker.excess() {
        Some(_) => Failure::Excess,
        None => Failure::Protocol,
    };
    Some((failure, worker.why_ended()?))
}

/// How long one that hangs is given to say where.
const ANSWER: Duration = Duration::from_millis(10);
/// How long one that is ended is waited for before another is started beside it.
const MOMENT: Duration = Duration::from_millis(5);

fn run(mut job: Job, told: &mpsc::Sender<Told>, stopped: &mpsc::Receiver<()>, new: &Mutex<New>) {
    let old = std::mem::take(&mut job.old);
    let start = Instant::now();
    let took = |what: &str| {
        let ms = start.elapsed().as_secs_f64() * 1e3;
        tracing::debug!(
            plugin = job.orders.first().map(|order| tracing::field::display(&order.plugin)),
            ms,
            "{what}"
        );
    };
    for worker in &old {
        if job.ask_where {
            worker.ask_where(ANSWER);
        }
        let exit = end(worker);
        let _ = told.send(Told::Ended(exit, why_ended(worker)));
    }
    took("the old process is ended");
    bring_back(&job, told, stopped, new, &took);
    reap(old);
}

/// Waits for ends, on a thread that nobody waits for; without one, whoever lets go of it last does.
fn reap(old: Vec<Arc<Worker>>) {
    fn end(all: &[Arc<Worker>]) {
        for worker in all {
            worker.kill();
        }
    }
    let (gone, going): (Vec<_>, Vec<_>) = old.into_iter().partition(|worker| worker.is_gone());
    end(&gone);
    if !going.is_empty() {
        let _ = std::thread::Builder::new().name("plugin end".into()).spawn(move || end(&going));
    }
}

/// Ends a process, and waits for that only for a moment: what has much memory takes long to give it
/// back. How it ended.
fn end(worker: &Worker) -> Exit {
    let was_gone = worker.is_gone();
    worker.end_now();
    let give_up = Instant::now() + MOMENT;
    while !worker.is_gone() && Instant::now() < give_up {
        std::thread::sleep(Duration::from_millis(1));
    }
    match was_gone || worker.is_gone() {
        true => worker.kill(),
        false => Exit::KILLED,
    }
}

fn bring_back(
    job: &Job,
    told: &mpsc::Sender<Told>,
    stopped: &mpsc::Receiver<()>,
    new: &Mutex<New>,
    took: &dyn Fn(&str),
) {
    if job.orders.is_empty() || stopped.recv_timeout(job.pause) != Err(RecvTimeoutError::Timeout) {
        return;
    }
    let result = load(job, new, took);
    // Before the news: who has the nodes need not be afraid for them.
    new.lock().unwrap_or_else(PoisonError::into_inner).worker = None;
    let _ = told.send(match result {
        Ok(nodes) => Told::Ready(nodes),
        Err(error) => Told::Failed(error.to_string()),
    });
}

fn load(job: &Job, new: &Mutex<New>, took: &dyn Fn(&str)) -> Result<Vec<Node>, Error> {
    let spare = job.spare.as_ref().and_then(|spare| spare.recv().ok());
    let worker = match spare.filter(|spare| !spare.is_gone()) {
        Some(spare) => spare,
        None => job.vessel.start_free()?,
    };
    took("a new process has started");
    {
        let mut new = new.lock().unwrap_or_else(PoisonError::into_inner);
        if new.is_stopped {
            return Ok(Vec::new());
        }
        new.worker = Some(Arc::clone(&worker));
    }
    job.vessel.confine(&worker)?;
    took("it is confined");
    let mut nodes = Vec::with_capacity(job.orders.len());
    for order in &job.orders {
        let mut node = worker.load(&order.plugin)?;
        took("its plugin is loaded");
        let Remembered { state, params, .. } = &order.remembered;
        if let Some(state) = state {
            let loaded = node.load_state(state.to_vec(), StateContext::Project);
            forgive(&order.plugin, loaded, "it does not take its own state")?;
        }
        // Those that it has: another version of it may have fewer.
        let is_known = |id| node.info().params.iter().any(|param| param.id == id);
        let params: Vec<(u32, f64)> =
            params.iter().copied().filter(|(id, _)| is_known(*id)).collect();
        if !params.is_empty() {
            forgive(&order.plugin, node.set_params(&params), "it does not take its parameters")?;
        }
        took("it has its state");
        // Recorded from its first block on.
        node.record(order.recorder)?;
        node.activate(order.activation)?;
        took("it is active");
        nodes.push(node);
    }
    Ok(nodes)
}

/// Better a plugin as it is when it is new than none.
fn forgive(plugin: &PluginRef, result: Result<(), Error>, what: &str) -> Result<(), Error> {
    match result {
        Err(Error::Plugin(error)) => {
            tracing::warn!(%plugin, %error, "{what}");
            Ok(())
        }
        result => result,
    }
}
