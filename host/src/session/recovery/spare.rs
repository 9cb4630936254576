//! Processes that are started before it is certain that they are needed.
//!
//! That a plugin hangs is certain only after a while, in which nothing would happen: a new process
//! is started and confined for it meanwhile. It is kept for some time, should the plugin go on.

use super::{Recovery, Unit};
use crate::session::{Place, Session};
use sandrack_sandbox::confine::Grants;
use sandrack_sandbox::error::Error;
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::{Supervisor, Worker};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// So many at a time: a machine that stalls has everybody be late.
const MOST: usize = 4;
/// How long one is kept that nobody needs.
const KEPT: Duration = Duration::from_secs(10);

/// A process without a plugin.
#[derive(Clone)]
pub(super) struct Vessel {
    pub(super) supervisor: Supervisor,
    pub(super) core: Option<usize>,
    /// For whom it is confined.
    pub(super) plugins: Vec<(PluginRef, Grants)>,
}

impl Vessel {
    /// Starts and confines it.
    pub(super) fn start(&self) -> Result<Arc<Worker>, Error> {
        let worker = self.start_free()?;
        self.confine(&worker)?;
        Ok(worker)
    }

    pub(super) fn start_free(&self) -> Result<Arc<Worker>, Error> {
        self.supervisor.start_worker(&self.plugins[0].0.to_string(), self.core)
    }

    pub(super) fn confine(&self, worker: &Worker) -> Result<(), Error> {
        let files: Vec<&Path> = self.plugins.iter().map(|(plugin, _)| &*plugin.path).collect();
        let grants: Vec<Grants> = self.plugins.iter().map(|(_, grants)| grants.clone()).collect();
        worker.begin_with(&files, &grants).map(drop)
    }
}

impl Recovery {
    /// Has another process ready for a unit that may hang.
    pub(super) fn prepare(
        &mut self,
        index: usize,
        may_hang: bool,
        session: &Session,
        now: Instant,
    ) {
        let may_start = may_hang && self.units[index].spare.is_none() && self.make_room();
        let vessel = may_start.then(|| self.vessel(index, session));
        let unit = &mut self.units[index];
        if unit.stands_back != may_hang {
            // All that goes on for it from now on needs the core that it may be spinning on.
            unit.stands_back = may_hang;
            let workers = unit.plugins.iter().filter_map(|at| session.node(at.track, at.plugin));
            workers.for_each(|node| node.worker().stand_back(may_hang));
        }
        match &mut unit.spare {
            None => {
                unit.spare = vessel
                    .filter(|vessel| !vessel.plugins.is_empty())
                    .and_then(|vessel| Spare::start(vessel, now))
            }
            Some(spare) if may_hang => spare.keep(now),
            Some(spare) if spare.is_over(now) => unit.retire_spare(),
            Some(_) => {}
        }
    }

    /// Whether another may be started; ends the one that was needed least lately, if it has to.
    fn make_room(&mut self) -> bool {
        let with_spare = || self.units.iter().enumerate().filter(|(_, unit)| unit.spare.is_some());
        if with_spare().count() < MOST {
            return true;
        }
        let idle = |(index, unit): (usize, &Unit)| {
            let spare = unit.spare.as_ref()?;
            (!unit.stands_back).then_some((spare.until, index))
        };
        let Some((_, oldest)) = with_spare().filter_map(idle).min() else { return false };
        self.units[oldest].retire_spare();
        true
    }

    /// A process for the plugins of a unit.
    pub(super) fn vessel(&self, index: usize, session: &Session) -> Vessel {
        let unit = &self.units[index];
        let plugins = unit.plugins.iter().filter_map(|at| {
            let plugin = session.plugins.get(at)?;
            let Place::Worker(node) = &plugin.place else { return None };
            plugin.activation.map(|_| (node.plugin().clone(), plugin.grants.clone()))
        });
        let plugins = plugins.collect();
        Vessel { supervisor: session.supervisor.clone(), core: unit.core, plugins }
    }
}

impl Unit {
    /// Ends its spare process, if there is one, without waiting for that.
    pub(super) fn retire_spare(&mut self) {
        if let Some(spare) = self.spare.take() {
            spare.retire();
        }
    }
}

/// A process in waiting. Dropping it ends it.
pub(super) struct Spare {
    wanted: Option<mpsc::Sender<mpsc::Sender<Arc<Worker>>>>,
    thread: Option<JoinHandle<()>>,
    until: Instant,
}

impl Spare {
    /// `None`: the system has no thread for it.
    pub(super) fn start(vessel: Vessel, now: Instant) -> Option<Self> {
        let (wanted, is_wanted) = mpsc::channel::<mpsc::Sender<Arc<Worker>>>();
        let thread = std::thread::Builder::new().name("plugin spare".into()).spawn(move || {
            let worker = vessel.start();
            let wish = is_wanted.recv();
            match (worker, wish) {
                (Ok(worker), Ok(wish)) => drop(wish.send(worker)),
                (Ok(worker), Err(_)) => drop(worker.kill()),
                // Who wants it starts another, and hears why that fails.
                (Err(error), _) => tracing::debug!(%error, "no process in waiting"),
            }
        });
        Some(Self { wanted: Some(wanted), thread: Some(thread.ok()?), until: now + KEPT })
    }

    /// It may be needed.
    pub(super) fn keep(&mut self, now: Instant) {
        self.until = now + KEPT;
    }

    pub(super) fn is_over(&self, now: Instant) -> bool {
        now >= self.until
    }

    /// The process, once it has started: for another thread to wait for. Nothing comes if it could
    /// not be started.
    pub(super) fn take(mut self) -> mpsc::Receiver<Arc<Worker>> {
        let (wish, worker) = mpsc::channel();
        if let Some(wanted) = self.wanted.take() {
            let _ = wanted.send(wish);
        }
        // It ends by itself.
        self.thread = None;
        worker
    }
}

impl Spare {
    /// Ends it, without waiting for that.
    pub(super) fn retire(mut self) {
        self.thread = None;
    }
}

impl Drop for Spare {
    fn drop(&mut self) {
        drop(self.wanted.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
