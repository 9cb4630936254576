//! Brings plugins back whose process has ended, or that hang, with their state and in their place.
//!
//! # Threads
//! All decisions are made in [`Live::service`], on the control thread, which waits for no plugin
//! here: a state is asked for, and a worker ended, started and filled, on threads of their own.
//!
//! # How a plugin comes back
//! 1. Its process has ended, or it has begun a block and not ended it for
//!    [`hang`](RecoveryOptions::hang).
//! 2. Its process is killed and reaped; another is started on the same core, loads the plugin, gives
//!    it its last state, then the parameters that are newer, and activates it.
//! 3. It takes the old one's place as in [`Live::replace`].
//!
//! Plugins that share a process come back together. In-process plugins do not: they would have
//! taken the host with them.

mod memory;
mod patience;
mod reload;
mod report;
mod spare;
mod watch;

pub(super) use watch::Watch;

use super::live::{Live, Phase};
use super::{Place, PluginAt, Session, SessionEvent};
use crate::error::Error;
use crate::faults::{FaultKind, FaultLog};
use crate::flight::RecorderOptions;
use crate::flight::file::Failure;
use crate::flight::reporter::{Reporter, Snapshot};
use crate::report::Isolation;
use memory::Memory;
use patience::Patience;
use reload::{Job, Order, Reload, Told};
use sandrack_engine::Controller;
use sandrack_sandbox::crash::Call;
use sandrack_sandbox::format::ParamEdit;
use sandrack_sandbox::supervisor::{Node, Worker};
use sandrack_sandbox::sys::process::Exit;
use spare::Spare;
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// When plugins are taken for lost, and what is done then.
#[derive(Clone, Debug)]
pub struct RecoveryOptions {
    /// A plugin that is still at the same block after so long, and after two more blocks, hangs;
    /// unless it is only waiting for a core all the while, which is borne for eight times as long
    /// (where the system tells: Linux).
    pub hang: Duration,
    /// So many faults [`within`](Self::within) this time put it into quarantine.
    pub most_faults: usize,
    /// See there.
    pub within: Duration,
    /// After a second fault within that time it is restarted so much later, after each further one
    /// twice as much. After the first: at once.
    pub first_pause: Duration,
    /// State is saved so long after the last change,
    pub save_after: Duration,
    /// but never later than so long after the first.
    pub save_at_latest: Duration,
    /// Whether what plugins are given is recorded, so that their faults can be had again.
    pub recorder: Option<RecorderOptions>,
}

impl Default for RecoveryOptions {
    fn default() -> Self {
        Self {
            hang: Duration::from_millis(60),
            most_faults: 5,
            within: Duration::from_secs(30),
            first_pause: Duration::from_millis(50),
            save_after: Duration::from_millis(300),
            save_at_latest: Duration::from_millis(900),
            recorder: None,
        }
    }
}

/// How a plugin is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It is in no plan yet.
    Loading,
    /// It takes part in every block.
    Running,
    /// It is being brought back, or activated anew.
    Restarting,
    /// It failed too often, and is left alone.
    Quarantined,
    /// It can't be activated.
    Lost,
}

/// What is remembered of a plugin: its last state, and parameters that are newer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Kept {
    /// Its state, if it has one.
    pub state: Option<Arc<Vec<u8>>>,
    /// By parameter.
    pub params: Vec<(u32, f64)>,
}

/// What is needed to bring plugins back; part of [`Live`].
pub(super) struct Recovery {
    options: RecoveryOptions,
    units: Vec<Unit>,
    memories: HashMap<PluginAt, Memory>,
    /// Finds out about faults; `None`: the system has no thread for it.
    reporter: Option<Reporter>,
    /// Whose NaN has been recorded.
    not_finite: HashSet<PluginAt>,
    /// How long states are kept for recordings.
    recorded: Duration,
}

/// Plugins that live and die together.
struct Unit {
    plugins: Vec<PluginAt>,
    core: Option<usize>,
    /// When it failed, lately.
    faults: VecDeque<Instant>,
    phase: UnitPhase,
    /// Why it was ended, if it was.
    killed: Option<String>,
    patience: Patience,
    /// Started while it was at one block for long.
    spare: Option<Spare>,
    /// It may hang, and lets others have the cores.
    stands_back: bool,
}

/// What a new instance of a plugin was given.
struct Given {
    /// Parameters with higher numbers are newer.
    number: u64,
    snapshot: Snapshot,
}

enum UnitPhase {
    Well,
    /// Something has happened since then, and another worker is being started.
    Loading {
        reload: Reload,
        since: Instant,
        given: Vec<Given>,
    },
    /// The new plugins are on their way into the plan.
    Placing {
        since: Instant,
    },
    /// Failed too often. Its process is being ended.
    Quarantined {
        reload: Option<Reload>,
    },
}

/// What a step works with.
struct Step<'a> {
    live: &'a mut Live,
    session: &'a Session,
    /// The block that was done last.
    block: u64,
    now: Instant,
    /// Whether the engine runs the plan that was sent last.
    is_settled: bool,
    events: &'a mut Vec<SessionEvent>,
}

impl Recovery {
    fn new(live: &Live, session: &Session, options: RecoveryOptions, now: Instant) -> Self {
        let seconds = options.recorder.as_ref().map_or(0.0, |recorder| recorder.seconds);
        let length = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        let mut units: Vec<(u32, Unit)> = Vec::new();
        let mut memories = HashMap::new();
        for at in live.all() {
            let Some(worker) = session.node(at.track, at.plugin).map(Node::worker) else {
                continue;
            };
            let mut memory = Memory::for_recordings(length);
            // What was loaded before must not be lost either: as soon as may be.
            memory.touch(now.checked_sub(options.save_at_latest).unwrap_or(now));
            memories.insert(at, memory);
            match units.iter_mut().find(|(id, _)| *id == worker.id()) {
                Some((_, unit)) => unit.plugins.push(at),
                None => {
                    let cores = &session.config.cores;
                    let of_track = match session.config.isolation {
                        Isolation::Group => 0,
                        _ => at.track,
                    };
                    let unit = Unit {
                        plugins: vec![at],
                        core: cores.get(of_track % cores.len().max(1)).copied(),
                        faults: VecDeque::new(),
                        phase: UnitPhase::Well,
                        killed: None,
                        patience: Patience::default(),
                        spare: None,
                        stands_back: false,
                    };
                    units.push((worker.id(), unit));
                }
            }
        }
        let units = units.into_iter().map(|(_, unit)| unit).collect();
        let reporter = Reporter::start(options.recorder.clone());
        let reporter = reporter
            .inspect_err(|error| tracing::warn!(%error, "no thread to find out about faults"))
            .ok();
        let not_finite = HashSet::new();
        let recorded = length;
        let this = Self { options, units, memories, reporter, not_finite, recorded };
        for at in live.all() {
            if let Some(node) = session.node(at.track, at.plugin)
                && let Err(error) = node.record(this.recorder())
            {
                tracing::warn!(plugin = session.name(at.track, at.plugin), %error, "not recorded");
            }
        }
        this
    }

    /// Whether something is under way.
    pub(super) fn is_busy(&self) -> bool {
        let busy = |unit: &Unit| match &unit.phase {
            UnitPhase::Loading { .. } | UnitPhase::Placing { .. } => true,
            UnitPhase::Quarantined { reload } => reload.is_some(),
            UnitPhase::Well => false,
        };
        self.units.iter().any(busy)
    }

    /// A plugin has come. `kept`: what it was given.
    fn add(&mut self, session: &Session, at: PluginAt, kept: Kept, now: Instant) {
        let Some(worker) = session.node(at.track, at.plugin).map(Node::worker) else { return };
        if let Some(node) = session.node(at.track, at.plugin)
            && let Err(error) = node.record(self.recorder())
        {
            tracing::warn!(plugin = session.name(at.track, at.plugin), %error, "not recorded");
        }
        let mut memory = Memory::for_recordings(self.recorded);
        memory.begin_with(kept.state, kept.params, now);
        memory.touch(now.checked_sub(self.options.save_at_latest).unwrap_or(now));
        self.memories.insert(at, memory);
        if self.unit_of(at).is_some() {
            return;
        }
        let shares = |unit: &Unit| {
            let nodes = unit.plugins.iter().filter_map(|at| session.node(at.track, at.plugin));
            nodes.into_iter().any(|node| node.worker().id() == worker.id())
        };
        match self.units.iter_mut().find(|unit| shares(unit)) {
            Some(unit) => {
                unit.plugins.push(at);
                // It is not confined for this one.
                unit.retire_spare();
            }
            None => {
                let (plugins, faults) = (vec![at], VecDeque::new());
                let (phase, killed) = (UnitPhase::Well, None);
                let (patience, spare) = (Patience::default(), None);
                let unit = Unit {
                    plugins,
                    core: None,
                    faults,
                    phase,
                    killed,
                    patience,
                    spare,
                    stands_back: false,
                };
                self.units.push(unit);
            }
        }
    }

    /// A plugin leaves: it is not brought back any more.
    pub(super) fn forget(&mut self, at: PluginAt, session: &Session) {
        self.memories.remove(&at);
        self.not_finite.remove(&at);
        let Some(index) = self.unit_of(at) else { return };
        self.units[index].plugins.retain(|known| *known != at);
        self.units[index].retire_spare();
        if self.units[index].plugins.is_empty() {
            self.units.remove(index);
        } else if let UnitPhase::Loading { since, .. } = self.units[index].phase {
            self.load_again(index, since, session);
        }
    }

    /// The plugins are to be active in another way: what is on its way begins anew.
    pub(super) fn begin_again(&mut self, session: &Session) {
        for index in 0..self.units.len() {
            if let UnitPhase::Loading { since, .. } = self.units[index].phase {
                self.load_again(index, since, session);
            }
        }
    }

    fn load_again(&mut self, index: usize, since: Instant, session: &Session) {
        // In this order: what was begun ends first.
        self.units[index].phase = UnitPhase::Well;
        self.units[index].phase = match self.reload(index, true, true, Duration::ZERO, session) {
            Ok((reload, given)) => UnitPhase::Loading { reload, since, given },
            Err(_) => UnitPhase::Well,
        };
    }

    /// A parameter was set by the host.
    pub(super) fn set_param(&mut self, at: PluginAt, param: u32, value: f64) {
        if let Some(memory) = self.memories.get_mut(&at) {
            memory.set(param, value, Instant::now());
        }
    }

    pub(super) fn step(
        &mut self,
        live: &mut Live,
        session: &Session,
        controller: &mut Controller,
        now: Instant,
        events: &mut Vec<SessionEvent>,
    ) {
        let (block, is_settled) = (controller.last_block(), controller.is_settled());
        self.remember(live, session, block, now, events);
        if let Some(reporter) = &self.reporter {
            let answers = std::iter::from_fn(|| reporter.answer());
            Self::hear_reporter(answers, &mut live.faults, events);
        }
        let mut step = Step { live, session, block, now, is_settled, events };
        for index in 0..self.units.len() {
            let phase = std::mem::replace(&mut self.units[index].phase, UnitPhase::Well);
            self.units[index].phase = match phase {
                UnitPhase::Well => self.look(index, &mut step),
                UnitPhase::Loading { reload, since, given } => {
                    self.load(index, reload, since, given, &mut step)
                }
                UnitPhase::Placing { since } => self.place(index, since, &mut step),
                UnitPhase::Quarantined { reload } => self.quarantine(index, reload, &mut step),
            };
        }
    }

    /// Follows what is moved, and has it saved.
    fn remember(
        &mut self,
        live: &Live,
        session: &Session,
        block: u64,
        now: Instant,
        events: &[SessionEvent],
    ) {
        for event in events {
            match event {
                SessionEvent::ParamEdited(at, param, ParamEdit::Value(value)) => {
                    if let Some(memory) = self.memories.get_mut(at).filter(|_| value.is_finite()) {
                        memory.set(*param, *value, now);
                    }
                }
                SessionEvent::StateDirty(at) | SessionEvent::ParamsChanged(at) => {
                    if let Some(memory) = self.memories.get_mut(at) {
                        memory.touch(now);
                    }
                }
                _ => {}
            }
        }
        let RecoveryOptions { save_after, save_at_latest, .. } = self.options;
        for unit in &self.units {
            for at in &unit.plugins {
                let Some(memory) = self.memories.get_mut(at) else { continue };
                let Some(node) = session.node(at.track, at.plugin) else { continue };
                let worker = node.worker();
                memory.take_saved(session.name(at.track, at.plugin), worker.id(), now);
                let is_well = matches!(unit.phase, UnitPhase::Well)
                    && live.phase(*at) == Phase::Running
                    && node.is_ready();
                if is_well
                    && memory.is_due(now, save_after, save_at_latest)
                    && worker.is_answering()
                {
                    let has_state = node.info().has_state;
                    memory.save(Arc::clone(worker), node.number(), has_state, block, now);
                }
            }
        }
    }

    /// Looks whether a unit that was well still is.
    fn look(&mut self, index: usize, step: &mut Step<'_>) -> UnitPhase {
        let (session, now) = (step.session, step.now);
        let live = &*step.live;
        let unit = &mut self.units[index];
        let is_gone = unit.plugins.iter().any(|at| {
            let node = session.node(at.track, at.plugin);
            node.is_some_and(|node| node.worker().is_gone()) && !live.has_replacement(*at)
        });
        if is_gone {
            return self.fail(index, now, None, step);
        }
        let is_prepared = unit.spare.is_some() || unit.stands_back;
        if !is_prepared && unit.plugins.iter().all(|at| live.watch.run(*at).is_none()) {
            return UnitPhase::Well;
        }
        let hang = self.options.hang;
        for at in &unit.plugins {
            if let Some(node) = session.node(at.track, at.plugin) {
                unit.patience.look(*at, live.watch.run(*at), node.worker(), now);
            }
        }
        let may_hang = unit.plugins.iter().any(|at| {
            let node = session.node(at.track, at.plugin);
            live.watch.hangs(*at, hang / 4).is_some()
                && node.is_some_and(|node| !unit.patience.spares(*at, node.worker(), hang, now))
        });
        self.prepare(index, may_hang, session, now);
        let unit = &mut self.units[index];
        let runs = unit.plugins.iter().filter_map(|at| Some((*at, live.watch.hangs(*at, hang)?)));
        // Who began, if several are at the same block: the others wait for its thread.
        let hung = runs.max_by_key(|(_, run)| run.was_seen_running);
        let Some((at, run)) = hung else { return self.look_at_silence(index, step) };
        if let Some(node) = session.node(at.track, at.plugin)
            && unit.patience.spares(at, node.worker(), hang, now)
        {
            return UnitPhase::Well;
        }
        let ms = now.saturating_duration_since(run.since).as_millis();
        let why = match unit.plugins.len() {
            1 => format!("it did not come back from block {} for {ms} ms", run.first),
            _ => {
                let name = session.name(at.track, at.plugin);
                format!("{name} did not come back from block {} for {ms} ms", run.first)
            }
        };
        unit.killed = Some(why);
        let since = run.since;
        self.fail(index, since, None, step)
    }

    /// The same for one that is at no block for long, as it says.
    fn look_at_silence(&mut self, index: usize, step: &mut Step<'_>) -> UnitPhase {
        let unit = &mut self.units[index];
        let mut silent = None;
        for at in &unit.plugins {
            let silence = step.live.watch.silence(*at);
            if let Some(node) = step.session.node(at.track, at.plugin)
                && unit.patience.sleeps(*at, silence, node.worker(), step.now)
            {
                silent = silence;
            }
        }
        let Some(silence) = silent else { return UnitPhase::Well };
        let ms = step.now.saturating_duration_since(silence.since).as_millis();
        let first = silence.first;
        unit.killed = Some(format!("it ended no block from {first} on for {ms} ms, and slept"));
        self.fail(index, silence.since, None, step)
    }

    /// A unit has failed (again). `reason`: why it could not be restarted; the process before has
    /// been ended then.
    fn fail(
        &mut self,
        index: usize,
        since: Instant,
        reason: Option<String>,
        step: &mut Step<'_>,
    ) -> UnitPhase {
        let RecoveryOptions { most_faults, within, first_pause, .. } = self.options;
        let unit = &mut self.units[index];
        unit.faults.push_back(step.now);
        while unit.faults.front().is_some_and(|first| *first + within < step.now) {
            unit.faults.pop_front();
        }
        let faults = unit.faults.len();
        let is_enough = faults >= most_faults.max(1);
        let pause = match faults {
            0 | 1 => Duration::ZERO,
            more => first_pause.saturating_mul(1 << (more - 2).min(16)),
        };
        if let Some(reason) = reason.as_ref().filter(|_| is_enough) {
            self.quarantined(index, reason, step);
            return UnitPhase::Quarantined { reload: None };
        }
        match self.reload(index, reason.is_none(), !is_enough, pause, step.session) {
            Ok((reload, _)) if is_enough => UnitPhase::Quarantined { reload: Some(reload) },
            Ok((reload, given)) => UnitPhase::Loading { reload, since, given },
            Err(error) => {
                let reason = format!("no thread to restart it: {error}");
                self.tell_quarantine(index, &reason, step);
                UnitPhase::Quarantined { reload: None }
            }
        }
    }

    fn reload(
        &mut self,
        index: usize,
        ends_old: bool,
        again: bool,
        pause: Duration,
        session: &Session,
    ) -> std::io::Result<(Reload, Vec<Given>)> {
        let unit = &self.units[index];
        let (mut old, mut orders, mut given) = (Vec::<Arc<Worker>>::new(), Vec::new(), vec![]);
        for at in &unit.plugins {
            let Some(plugin) = session.plugins.get(at) else { continue };
            let (Place::Worker(node), Some(activation)) = (&plugin.place, plugin.activation) else {
                continue;
            };
            if ends_old && !old.iter().any(|known| known.id() == node.worker().id()) {
                old.push(Arc::clone(node.worker()));
            }
            let remembered = self.memories[at].remembered();
            let snapshot = remembered.as_snapshot();
            given.push(Given { number: remembered.number, snapshot });
            if again {
                let (plugin, recorder) = (node.plugin().clone(), self.recorder());
                orders.push(Order { plugin, activation, remembered, recorder });
            }
        }
        let vessel = self.vessel(index, session);
        self.units[index].stands_back = false;
        // After a pause it may be needed elsewhere.
        let spare = self.units[index].spare.take().filter(|_| again && pause.is_zero());
        // It hangs, if it was not it that ended.
        let ask_where = self.units[index].killed.is_some();
        let spare = spare.map(Spare::take);
        let job = Job { old, ask_where, pause, vessel, spare, orders };
        Ok((Reload::start(job)?, given))
    }

    /// Looks how far the new worker is.
    fn load(
        &mut self,
        index: usize,
        reload: Reload,
        since: Instant,
        given: Vec<Given>,
        step: &mut Step<'_>,
    ) -> UnitPhase {
        while let Some(told) = reload.poll() {
            match told {
                Told::Ended(exit, why) => {
                    self.tell_end(index, exit, why, step);
                }
                Told::Ready(nodes) => {
                    let unit = &self.units[index];
                    for ((at, node), given) in unit.plugins.iter().zip(nodes).zip(given) {
                        let Some(memory) = self.memories.get_mut(at) else { continue };
                        memory.begin_instance(given.snapshot, step.now);
                        step.live.put_in_place(*at, node, memory.newer(given.number));
                    }
                    return UnitPhase::Placing { since };
                }
                Told::Failed(reason) => {
                    for at in &self.units[index].plugins {
                        step.record(*at, step.block, FaultKind::NotRestarted, reason.clone());
                    }
                    return self.fail(index, since, Some(reason), step);
                }
            }
        }
        UnitPhase::Loading { reload, since, given }
    }

    /// Tells that the process of a unit has ended; returns how.
    fn tell_end(
        &mut self,
        index: usize,
        exit: Exit,
        why: Option<(Failure, String)>,
        step: &mut Step<'_>,
    ) -> String {
        let unit = &mut self.units[index];
        let failure = match (&why, &unit.killed) {
            (Some((failure, _)), _) => *failure,
            (None, Some(_)) => Failure::Hung,
            (None, None) => Failure::died(exit),
        };
        // What was ended for what it did may have hung as well, by then.
        let killed = why.map(|(_, what)| format!("it {what}")).or(unit.killed.take());
        unit.killed = None;
        let cause = match &killed {
            Some(why) => why.clone(),
            None => format!("its process {exit}"),
        };
        let kind = match killed {
            Some(_) => FaultKind::Killed,
            None => FaultKind::dead(exit),
        };
        let plugins = unit.plugins.clone();
        let was_called = |at: &PluginAt| {
            step.session.node(at.track, at.plugin).is_some_and(|node| node.call() != Call::None)
        };
        // Of several in one process, who was in its own code when it ended; if nobody was, all.
        let culprits: Vec<PluginAt> = match plugins.iter().copied().filter(was_called).collect() {
            none if Vec::is_empty(&none) => plugins.clone(),
            some => some,
        };
        for at in plugins {
            let block = step.live.watch.last_fault(at, step.block);
            if !culprits.contains(&at) {
                let names: Vec<&str> =
                    culprits.iter().map(|at| step.session.name(at.track, at.plugin)).collect();
                let cause = format!("{cause}; in it ran {}", names.join(", "));
                step.record(at, block, kind, cause.clone());
                step.events.push(SessionEvent::Died { at, cause });
                continue;
            }
            let number = step.record(at, block, kind, cause.clone());
            if self.ask(step.session, at, number, block, failure) {
                step.live.faults.expect(number);
            }
            step.events.push(match &killed {
                Some(why) => SessionEvent::Killed { at, why: why.clone() },
                None => SessionEvent::Died { at, cause: cause.clone() },
            });
        }
        cause
    }

    /// Looks whether the new plugins are in the plan that runs.
    fn place(&mut self, index: usize, since: Instant, step: &mut Step<'_>) -> UnitPhase {
        let (live, session) = (&*step.live, step.session);
        let unit = &self.units[index];
        if unit.plugins.iter().any(|at| live.has_replacement(*at)) {
            return UnitPhase::Placing { since };
        }
        let is_gone = |at: &PluginAt| {
            session.node(at.track, at.plugin).is_some_and(|node| node.worker().is_gone())
        };
        if unit.plugins.iter().any(is_gone) {
            return UnitPhase::Well;
        }
        let placed = unit.plugins.iter().all(|at| live.phase(*at) == Phase::Running);
        if !placed || live.is_outdated() || !step.is_settled {
            return UnitPhase::Placing { since };
        }
        let ms = since.elapsed().as_secs_f64() * 1e3;
        for &at in &unit.plugins {
            tracing::debug!(plugin = session.name(at.track, at.plugin), ms, "it is back");
            step.record(at, step.block, FaultKind::Restarted { ms }, String::new());
            step.live.watch.forget(at);
            step.events.push(SessionEvent::Recovered { at, ms });
            if let Some(memory) = self.memories.get_mut(&at) {
                memory.touch(step.now);
            }
        }
        UnitPhase::Well
    }

    fn quarantine(
        &mut self,
        index: usize,
        reload: Option<Reload>,
        step: &mut Step<'_>,
    ) -> UnitPhase {
        let Some(job) = reload else { return UnitPhase::Quarantined { reload: None } };
        let Some(told) = job.poll() else {
            return UnitPhase::Quarantined { reload: Some(job) };
        };
        let cause = match told {
            Told::Ended(exit, why) => self.tell_end(index, exit, why, step),
            Told::Failed(reason) => reason,
            Told::Ready(_) => String::new(),
        };
        self.quarantined(index, &cause, step);
        UnitPhase::Quarantined { reload: None }
    }

    fn quarantined(&self, index: usize, cause: &str, step: &mut Step<'_>) {
        let (count, within) = (self.units[index].faults.len(), self.options.within.as_secs_f64());
        let reason = format!("{count} faults within {within} s; the last: {cause}");
        self.tell_quarantine(index, &reason, step);
    }

    fn tell_quarantine(&self, index: usize, reason: &str, step: &mut Step<'_>) {
        for &at in &self.units[index].plugins {
            step.record(at, step.block, FaultKind::Quarantined, reason.to_owned());
            step.events.push(SessionEvent::Quarantined { at, reason: reason.to_owned() });
        }
    }

    fn unit_of(&self, at: PluginAt) -> Option<usize> {
        self.units.iter().position(|unit| unit.plugins.contains(&at))
    }

    fn retry(&mut self, session: &Session, at: PluginAt) -> Result<(), Error> {
        let index = self.unit_of(at).ok_or_else(|| {
            Error::Usage(format!(
                "track {} has no plugin {} in a worker",
                at.track + 1,
                at.plugin + 1
            ))
        })?;
        if !matches!(self.units[index].phase, UnitPhase::Quarantined { reload: None }) {
            let name = session.name(at.track, at.plugin);
            return Err(Error::Usage(format!("{name} is not in quarantine")));
        }
        let started = self.reload(index, false, true, Duration::ZERO, session);
        let (reload, given) = started
            .map_err(|error| Error::Plan { reason: format!("no thread to restart it: {error}") })?;
        let unit = &mut self.units[index];
        unit.faults.clear();
        let since = Instant::now();
        unit.phase = UnitPhase::Loading { reload, since, given };
        Ok(())
    }
}

impl Step<'_> {
    fn record(&mut self, at: PluginAt, block: u64, kind: FaultKind, cause: String) -> u64 {
        let whom = self.live.whom(self.session, at);
        self.live.faults.add(whom, block, kind, cause)
    }
}

impl Live {
    /// Brings plugins back from now on whose process ends, or that hang; see the module. Their state
    /// is saved in the background for that, beginning now.
    pub fn enable_recovery(&mut self, session: &Session, options: RecoveryOptions) {
        self.recovery = Some(Recovery::new(self, session, options, Instant::now()));
    }

    /// Tries again with a plugin that was put into quarantine.
    ///
    /// # Errors
    /// It is not in quarantine, or recovery is not enabled.
    pub fn retry(&mut self, session: &Session, at: PluginAt) -> Result<(), Error> {
        match &mut self.recovery {
            Some(recovery) => recovery.retry(session, at),
            None => Err(Error::Usage("plugins are not brought back: it is not enabled".into())),
        }
    }

    /// Brings this plugin back from now on, too, which has come since; `kept`: what it was given.
    pub fn remember(&mut self, session: &Session, at: PluginAt, kept: Kept) {
        if let Some(recovery) = &mut self.recovery {
            recovery.add(session, at, kept, Instant::now());
        }
    }

    /// Says that a parameter was set by an event past [`Live`], as by a MIDI controller.
    pub fn param_was_set(&mut self, at: PluginAt, param: u32, value: f64) {
        if let Some(recovery) = &mut self.recovery {
            recovery.set_param(at, param, value);
        }
    }

    /// What is remembered of a plugin; `None`: nothing yet.
    pub fn kept(&self, at: PluginAt) -> Option<Kept> {
        let memory = self.recovery.as_ref()?.memories.get(&at)?;
        let remembered = memory.remembered();
        let (state, params) = (remembered.state, remembered.params);
        (state.is_some() || !params.is_empty()).then_some(Kept { state, params })
    }

    /// Whether everything of all plugins that answer is remembered.
    pub fn has_remembered_all(&self) -> bool {
        let recovery = self.recovery.as_ref();
        recovery.is_none_or(|recovery| {
            let well = recovery.units.iter().filter(|u| matches!(u.phase, UnitPhase::Well));
            well.flat_map(|unit| &unit.plugins)
                .all(|at| recovery.memories.get(at).is_none_or(Memory::is_saved))
        })
    }

    /// Remembers everything as soon as may be: the session is about to end.
    pub fn hurry(&mut self) {
        if let Some(recovery) = &mut self.recovery {
            (recovery.options.save_after, recovery.options.save_at_latest) =
                (Duration::ZERO, Duration::ZERO);
        }
    }

    /// Says that a plugin's state has changed, as if it had said so itself: it will be saved.
    pub fn state_changed(&mut self, at: PluginAt) {
        let memory = self.recovery.as_mut().and_then(|recovery| recovery.memories.get_mut(&at));
        if let Some(memory) = memory {
            memory.touch(Instant::now());
        }
    }

    /// Says that a plugin was given a preset or a state, past [`Live`]: parameters that were set
    /// before do not count any more.
    pub fn state_was_loaded(&mut self, at: PluginAt) {
        let memory = self.recovery.as_mut().and_then(|recovery| recovery.memories.get_mut(&at));
        if let Some(memory) = memory {
            memory.renew(Instant::now());
        }
    }

    /// What went wrong with plugins so far, and what was done about it.
    pub fn faults(&self) -> &FaultLog {
        &self.faults
    }
}

impl Live {
    /// How a plugin's worker is, and why, where that needs saying.
    pub fn health(&self, session: &Session, at: PluginAt) -> (Health, String) {
        let unit = self
            .recovery
            .as_ref()
            .and_then(|recovery| Some(&recovery.units[recovery.unit_of(at)?]));
        match unit.map(|unit| &unit.phase) {
            Some(UnitPhase::Quarantined { .. }) => {
                return (Health::Quarantined, "it failed too often".into());
            }
            Some(UnitPhase::Loading { .. } | UnitPhase::Placing { .. }) => {
                return (Health::Restarting, String::new());
            }
            Some(UnitPhase::Well) | None => {}
        }
        let is_gone = session.node(at.track, at.plugin).is_some_and(|n| n.worker().is_gone());
        match (self.phase(at), self.nodes.contains_key(&at)) {
            (_, false) => (Health::Loading, String::new()),
            _ if is_gone => (Health::Restarting, "its process has ended".into()),
            (Phase::Running, _) => (Health::Running, String::new()),
            (Phase::Wanted | Phase::Leaving | Phase::Out | Phase::Reactivating, _) => {
                (Health::Restarting, String::new())
            }
            (Phase::Lost, _) => (Health::Lost, "it can't be activated".into()),
        }
    }
}
