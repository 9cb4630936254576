//! A session while it runs: what plugins ask for is done without disturbing anything else.
//!
//! # A plugin is activated anew
//! because it asked for that, because its delay changed, or because another takes its place:
//!
//! 1. The engine takes its node out ([`Controller::take_out`]): from the next block on its fallback
//!    is heard, faded in, and nobody waits for it. That needs no other plan.
//! 2. It is deactivated, asked what it is now, and activated.
//! 3. The graph is built with its new delay and buses, compiled, and swapped in at a block
//!    boundary. Node ids stay, so everything else goes on where it was. Where a connection's
//!    delay is another now, the old delay is heard until the new line is full.
//! 4. The fallback is heard for as long as the plugin's latency, in which it has nothing to put
//!    out; then it is faded in.
//!
//! Each step needs the engine to have done the one before, so [`Live::service`] never waits for
//! the engine: it does what can be done, and goes on at the next call.

use super::pace::{PEACE, Pace};
use super::plan::Building;
use super::recovery::{Recovery, Watch};
use super::rewire::Rewiring;
use super::{Place, Plugin, PluginAt, Running, Session, SessionEvent};
use crate::error::Error;
use crate::faults::{FaultKind, FaultLog, Whom};
use sandrack_engine::Controller;
use sandrack_engine::compile::{CompileConfig, Delays};
use sandrack_engine::event::{EventKind, NoteAddress};
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::NodeOutcome;
use sandrack_sandbox::confine::Refusal;
use sandrack_sandbox::format::{Notice, Param, ParamEdit};
use sandrack_sandbox::remote::Connecting;
use sandrack_sandbox::supervisor::Node;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

/// Sees to what plugins ask for while they run. Made by [`Session::connect`], valid for the engine
/// that was made with it; for the session's control thread.
pub struct Live {
    pub(super) config: CompileConfig,
    channels: (u32, u32),
    pub(super) nodes: BTreeMap<PluginAt, NodeId>,
    places: HashMap<NodeId, PluginAt>,
    delays: Delays,
    latency: u32,
    states: BTreeMap<PluginAt, State>,
    pub(super) rewiring: Rewiring,
    /// Plans that were sent after the first.
    plans: u64,
    /// A plan has to be built.
    pub(super) is_stale: bool,
    /// One that waits for its workers.
    building: Option<Building>,
    /// Of the plan that runs: workers that were away when it was swapped in.
    stragglers: Option<Connecting>,
    pub(super) faults: FaultLog,
    pub(super) watch: Watch,
    pub(super) recovery: Option<Recovery>,
}

/// What is known of a plugin of the running plan.
#[derive(Default)]
struct State {
    phase: Phase,
    pace: Pace,
    replacement: Option<Node>,
    /// Parameters set while it takes no part.
    pending: Vec<(u32, f64)>,
    bypassed: bool,
    is_gone: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// It takes part.
    #[default]
    Running,
    /// It takes part, and is to be activated anew.
    Wanted,
    /// The engine has been told to take it out.
    Leaving,
    /// It takes part in no block.
    Out,
    /// It takes part in no block, and can't.
    Lost,
}

impl Live {
    pub(super) fn new(
        config: CompileConfig,
        channels: (u32, u32),
        nodes: BTreeMap<PluginAt, NodeId>,
        delays: Delays,
        latency: u32,
    ) -> Self {
        let places = nodes.iter().map(|(at, node)| (*node, *at)).collect();
        let states = nodes.keys().map(|at| (*at, State::default())).collect();
        let (is_stale, rewiring) = (false, Rewiring::default());
        let (faults, watch, recovery) = (FaultLog::default(), Watch::default(), None);
        Self {
            config,
            channels,
            nodes,
            places,
            delays,
            latency,
            states,
            rewiring,
            plans: 0,
            is_stale,
            building: None,
            stragglers: None,
            faults,
            watch,
            recovery,
        }
    }

    /// Whether the plan that was sent last is not the one that is wanted.
    pub(super) fn is_outdated(&self) -> bool {
        self.is_stale || self.building.is_some()
    }

    /// Delay from driver input to driver output, frames.
    pub fn latency(&self) -> u32 {
        self.latency
    }

    /// Whether something is under way: [`service`](Self::service) should be called again soon.
    pub fn is_busy(&self) -> bool {
        let settled = |state: &State| matches!(state.phase, Phase::Running | Phase::Lost);
        let is_recovering = self.recovery.as_ref().is_some_and(Recovery::is_busy);
        self.is_outdated()
            || is_recovering
            || self.rewiring.is_busy()
            || !self.states.values().all(settled)
    }

    /// Hears what plugins ask for and does it. To be called a few times a second, every few
    /// milliseconds while it [is busy](Self::is_busy), and as long as the engine runs: what it does
    /// is done in steps that wait for the engine. May take as long as a plugin takes to activate.
    ///
    /// # Errors
    /// No plan could be made; the one before goes on.
    pub fn service(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
    ) -> Result<Vec<SessionEvent>, Error> {
        let mut events = Vec::new();
        session.idle();
        self.hear_notices(session, controller.last_block(), &mut events);
        self.hear_blocks(session, controller, &mut events);
        let now = Instant::now();
        self.hear_faults(session, controller, now);
        let mut recovery = self.recovery.take();
        if let Some(recovery) = &mut recovery {
            recovery.step(self, session, controller, now, &mut events);
        }
        let served = self.serve(session, controller, now, recovery.as_mut(), &mut events);
        self.recovery = recovery;
        served.map(|()| events)
    }

    /// Takes the next steps of what is under way.
    fn serve(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
        now: Instant,
        recovery: Option<&mut Recovery>,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Error> {
        for (at, state) in &mut self.states {
            if state.phase == Phase::Wanted
                && state.pace.allows(now)
                && let Some(&node) = self.nodes.get(at)
                && controller.take_out(node).is_ok()
            {
                state.phase = Phase::Leaving;
            }
        }
        self.step_rewiring(session, controller, recovery);
        while let Some(out) = controller.taken_out() {
            if let Some(at) = self.places.get(&out.node) {
                self.states.entry(*at).or_default().phase = Phase::Out;
            }
        }
        if let Some(stragglers) = &mut self.stragglers
            && !matches!(stragglers.poll(), Ok(false))
        {
            // Who can't take part has been ended.
            self.stragglers = None;
        }
        if self.building.is_some() {
            return self.swap(session, controller, events);
        }
        let is_out = |state: &State| state.phase == Phase::Out;
        let is_wanted = self.is_stale || self.states.values().any(is_out);
        // One plan at a time: the engine must have left the outboxes of the one before.
        if is_wanted && controller.is_settled() {
            for at in self.all() {
                if self.state(at).phase == Phase::Out {
                    self.restart(session, at, now, events);
                }
            }
            if self.is_stale {
                self.build(session, controller)?;
                self.swap(session, controller, events)?;
            }
        }
        Ok(())
    }

    /// What went wrong in blocks.
    fn hear_faults(&mut self, session: &Session, controller: &mut Controller, now: Instant) {
        // In this order: of this block, and those before, all is in the queue.
        let block = controller.last_block();
        let queue = controller.faults();
        for _ in 0..queue.slots() {
            let Ok(record) = queue.pop() else { break };
            let Some(&at) = self.places.get(&record.node) else { continue };
            self.watch.count(at, record, now);
            let kind = match record.outcome {
                NodeOutcome::Running | NodeOutcome::NotStarted => FaultKind::Late { blocks: 1 },
                NodeOutcome::Failed => FaultKind::Failed { blocks: 1 },
                NodeOutcome::NotFinite => FaultKind::NotFinite { blocks: 1 },
                // Of others' making, or counted already.
                _ => continue,
            };
            let whom = self.whom(session, at);
            let new = self.faults.count(whom, record.block, kind, now);
            if let (Some(number), FaultKind::NotFinite { .. }) = (new, kind)
                && let Some(recovery) = &mut self.recovery
                && recovery.ask_not_finite(session, at, number, record.block)
            {
                self.faults.expect(number);
            }
        }
        self.watch.reached(block);
    }

    pub(super) fn whom<'a>(&self, session: &'a Session, at: PluginAt) -> Whom<'a> {
        let node = self.nodes.get(&at).copied().unwrap_or(NodeId::from_raw(0));
        let name = session.plugins.get(&at).map_or("", |plugin| &plugin.name);
        Whom { at, node, name }
    }

    pub(super) fn phase(&self, at: PluginAt) -> Phase {
        self.states.get(&at).map_or(Phase::Lost, |state| state.phase)
    }

    pub(super) fn has_replacement(&self, at: PluginAt) -> bool {
        self.states.get(&at).is_some_and(|state| state.replacement.is_some())
    }

    /// Puts an active plugin in the place of one, and then sets parameters.
    pub(super) fn put_in_place(
        &mut self,
        at: PluginAt,
        node: Node,
        params: impl Iterator<Item = (u32, f64)>,
    ) {
        let state = self.state(at);
        state.replacement = Some(node);
        state.pace = Pace::default();
        state.phase = match state.phase {
            Phase::Running => Phase::Wanted,
            Phase::Lost => Phase::Out,
            under_way => under_way,
        };
        for (param, value) in params {
            state.pending.retain(|(known, _)| *known != param);
            state.pending.push((param, value));
        }
    }

    pub(super) fn all(&self) -> Vec<PluginAt> {
        self.nodes.keys().copied().collect()
    }

    fn state(&mut self, at: PluginAt) -> &mut State {
        self.states.entry(at).or_default()
    }

    fn hear_notices(&mut self, session: &mut Session, block: u64, events: &mut Vec<SessionEvent>) {
        let mut said: HashMap<_, Vec<Notice>> = HashMap::new();
        for worker in session.workers() {
            for (number, notice) in worker.take_notices() {
                said.entry((worker.id(), number)).or_default().push(notice);
            }
        }
        for at in self.all() {
            let Some(plugin) = session.plugins.get_mut(&at) else { continue };
            let (notices, is_gone) = match &mut plugin.place {
                Place::Here(local, _) => (local.take_notices(), false),
                Place::Worker(node) => {
                    let key = (node.worker().id(), node.number());
                    (said.remove(&key).unwrap_or_default(), node.worker().is_gone())
                }
            };
            let state = self.states.entry(at).or_default();
            if is_gone {
                if !std::mem::replace(&mut state.is_gone, true) {
                    tracing::warn!(plugin = plugin.name, "its process has ended");
                    events.push(SessionEvent::Gone(at));
                    if self.recovery.is_none()
                        && let Place::Worker(node) = &plugin.place
                    {
                        let (worker, node) = (node.worker(), self.nodes[&at]);
                        let (exit, whom) = (worker.kill(), Whom { at, node, name: &plugin.name });
                        let (kind, cause) = match worker.excess() {
                            Some(what) => (FaultKind::Killed, format!("it {what}")),
                            None => (FaultKind::dead(exit), format!("its process {exit}")),
                        };
                        self.faults.add(whom, block, kind, cause);
                    }
                }
                continue;
            }
            if let Place::Worker(node) = &plugin.place {
                for remark in node.worker().take_remarks() {
                    let node = self.nodes[&at];
                    let whom = Whom { at, node, name: &plugin.name };
                    self.faults.add(whom, block, FaultKind::Excess, format!("it {remark}"));
                }
            }
            for notice in notices {
                tracing::debug!(plugin = plugin.name, ?notice, "a plugin says");
                match notice {
                    Notice::LatencyChanged | Notice::RestartRequested => state.want(&plugin.name),
                    Notice::ParamsChanged => {
                        // What it can't tell now it will tell when it is asked again.
                        if plugin.refresh_info().is_ok() {
                            events.push(SessionEvent::ParamsChanged(at));
                        }
                    }
                    // It may say anything.
                    Notice::ParamEdited { param, .. } if !plugin.has_param(param) => {}
                    Notice::ParamEdited { param, edit } => {
                        events.push(SessionEvent::ParamEdited(at, param, edit));
                    }
                    Notice::StateDirty => events.push(SessionEvent::StateDirty(at)),
                    Notice::ProcessRequested => events.push(SessionEvent::ProcessRequested(at)),
                    Notice::EditorClosed => events.push(SessionEvent::EditorClosed(at)),
                    Notice::Log(level, line) => {
                        events.push(SessionEvent::Logged(at, level, line));
                    }
                    Notice::Refused { what, grant } => {
                        let refusal = Refusal { what, grant };
                        let whom = Whom { at, node: self.nodes[&at], name: &plugin.name };
                        self.faults.add(whom, block, FaultKind::Violation, refusal.to_string());
                        events.push(SessionEvent::Refused(at, refusal));
                    }
                }
            }
        }
    }

    /// What plugins told in their blocks.
    fn hear_blocks(
        &self,
        session: &Session,
        controller: &mut Controller,
        events: &mut Vec<SessionEvent>,
    ) {
        let is_known = |at, param| {
            session.plugins.get(&at).is_some_and(|plugin: &Plugin| plugin.has_param(param))
        };
        let queue = controller.plugin_events();
        // No more than there are now: plugins may go on.
        for _ in 0..queue.slots() {
            let Ok(told) = queue.pop() else { break };
            let Some(&at) = self.places.get(&told.node) else { continue };
            events.push(match told.event.kind {
                EventKind::ParamValue { param, note: NoteAddress::ALL, value }
                    if value.is_finite() && is_known(at, param) =>
                {
                    SessionEvent::ParamEdited(at, param, ParamEdit::Value(value))
                }
                EventKind::ParamGesture { param, begin } if is_known(at, param) => {
                    let edit = if begin { ParamEdit::Begin } else { ParamEdit::End };
                    SessionEvent::ParamEdited(at, param, edit)
                }
                EventKind::NoteEnd { note } => SessionEvent::NoteEnded(at, note),
                _ => continue,
            });
        }
    }

    /// Activates anew a plugin that takes no part.
    fn restart(
        &mut self,
        session: &mut Session,
        at: PluginAt,
        now: Instant,
        events: &mut Vec<SessionEvent>,
    ) {
        let state = self.state(at);
        let Some(plugin) = session.plugins.get_mut(&at) else { return };
        state.pace.count(now);
        let result = match state.replacement.take() {
            Some(node) => {
                plugin.latency = node.latency().unwrap_or(0);
                // The old one's process, if it still lives, ends with its last plugin.
                plugin.place = Place::Worker(node);
                state.is_gone = false;
                Ok(())
            }
            None => plugin.reactivate(),
        };
        match result {
            Ok(()) => {
                state.phase = Phase::Running;
                self.is_stale = true;
                events.push(SessionEvent::Restarted(at));
            }
            Err(error) => {
                state.phase = Phase::Lost;
                tracing::warn!(plugin = plugin.name, %error, "can't be activated again");
                events.push(SessionEvent::RestartFailed(at, error.to_string()));
            }
        }
    }

    /// Builds a plan of what is there.
    fn build(&mut self, session: &mut Session, controller: &mut Controller) -> Result<(), Error> {
        self.is_stale = false;
        let before = session.gone_workers();
        let (graph, nodes) = session.wire(self.count(), self.channels)?;
        match session.build(&graph, nodes, self.config, &self.delays) {
            Ok(building) => self.building = Some(building),
            Err(error) => self.build_again(error, before, session, controller)?,
        }
        Ok(())
    }

    /// If a worker has ended meanwhile, the next plan does without it.
    fn build_again(
        &mut self,
        error: Error,
        gone: usize,
        session: &mut Session,
        controller: &mut Controller,
    ) -> Result<(), Error> {
        // That it has may be known a moment later.
        if comes_true(|| session.gone_workers() > gone) {
            self.is_stale = true;
            return Ok(());
        }
        self.give_up_rewiring(session, controller);
        Err(error)
    }

    /// Whether a worker has been missing for some blocks.
    fn is_away(&self, session: &Session, worker: u32) -> bool {
        let here = |at: &PluginAt| {
            let node = session.node(at.track, at.plugin);
            node.is_some_and(|node| node.worker().id() == worker)
        };
        self.nodes.keys().filter(|at| here(at)).any(|at| self.watch.is_away(*at))
    }

    /// Swaps the plan in that was built, once all workers have their part.
    fn swap(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Error> {
        let Some(mut building) = self.building.take() else { return Ok(()) };
        match building.is_connected() {
            Ok(true) => {}
            // Those that are stuck in a block take no part in the next ones either. They hear of the plan
            // when they are back, if they ever are.
            Ok(false) if building.waits_only_for(|worker| self.is_away(session, worker)) => {}
            Ok(false) => {
                self.building = Some(building);
                return Ok(());
            }
            Err(error) => return self.build_again(error, building.gone, session, controller),
        }
        self.stragglers = building.take_connecting();
        let built = session.finish(building)?;
        tracing::debug!("a plan is swapped in");
        if let Err(error) = controller.swap(built.plan) {
            return match error {
                // The next call comes back to it.
                sandrack_engine::SwapError::QueueFull(_) => {
                    self.is_stale = true;
                    Ok(())
                }
                error => Err(Error::Plan { reason: error.to_string() }),
            };
        }
        self.delays = built.delays;
        self.follow(built.nodes);
        if std::mem::replace(&mut self.latency, built.latency) != built.latency {
            events.push(SessionEvent::LatencyChanged { frames: built.latency });
        }
        for (at, state) in &mut self.states {
            let node = &self.nodes[at];
            if state.is_gone {
                continue;
            }
            for (param, value) in state.pending.drain(..) {
                if controller.set_param(*node, param, value).is_err() {
                    tracing::warn!(%node, param, "the queue to the engine is full");
                }
            }
        }
        Ok(())
    }

    /// Puts another plugin in the place of one, as when its process has ended: loaded in a worker
    /// of the same supervisor, and given its state. It is activated here; its first blocks follow
    /// some calls of [`service`](Self::service) later.
    ///
    /// # Errors
    /// It can't be activated; nothing has changed.
    pub fn replace(
        &mut self,
        session: &mut Session,
        at: PluginAt,
        mut node: Node,
    ) -> Result<(), Error> {
        let plugin = self.plugin(session, at)?;
        let (Place::Worker(_), Some(activation)) = (&plugin.place, plugin.activation) else {
            let reason = format!("{}: only a plugin in a worker can be replaced", plugin.name);
            return Err(Error::Usage(reason));
        };
        if let Some(recovery) = &mut self.recovery {
            recovery.record(&node, at);
        }
        node.activate(activation)?;
        self.put_in_place(at, node, std::iter::empty());
        Ok(())
    }

    /// Asks for a plugin to be activated anew, as if it had asked itself.
    pub fn restart_plugin(&mut self, session: &mut Session, at: PluginAt) -> Result<(), Error> {
        let name = self.plugin(session, at)?.name.clone();
        self.state(at).want(&name);
        Ok(())
    }

    /// Sets a parameter from the next block on. Values are limited to the parameter's range.
    ///
    /// # Errors
    /// No such parameter, one that is only shown, a value that is not a number; the queue to the
    /// engine is full.
    pub fn set_param(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
        at: PluginAt,
        param: u32,
        value: f64,
    ) -> Result<(), Error> {
        let plugin = self.plugin(session, at)?;
        let known = plugin.info().params.iter().find(|p| p.id == param);
        let reason = match known {
            None => format!("{} has no parameter {param}", plugin.name),
            Some(p) if p.read_only => format!("{}: \"{}\" is only shown", plugin.name, p.name),
            Some(p) if value.is_nan() => {
                format!("{}: the value of \"{}\" is not a number", plugin.name, p.name)
            }
            Some(p) => {
                let value = limit(p, value);
                return self.send_param(controller, at, param, value);
            }
        };
        Err(Error::Usage(reason))
    }

    fn send_param(
        &mut self,
        controller: &mut Controller,
        at: PluginAt,
        param: u32,
        value: f64,
    ) -> Result<(), Error> {
        if let Some(recovery) = &mut self.recovery {
            recovery.set_param(at, param, value);
        }
        let node = self.nodes.get(&at).copied();
        let state = self.state(at);
        match (state.phase, node) {
            (Phase::Running | Phase::Wanted, Some(node))
                if !state.is_gone && state.replacement.is_none() =>
            {
                controller.set_param(node, param, value).map_err(full)
            }
            // The engine has nobody to give it to.
            _ => {
                state.pending.retain(|(known, _)| *known != param);
                state.pending.push((param, value));
                Ok(())
            }
        }
    }

    /// Bypasses a plugin: with its own parameter if it has one, otherwise in the engine, which lets
    /// an effect's input be heard as late as the effect would be, an instrument not at all. The
    /// engine fades; the plugin runs on.
    ///
    /// # Errors
    /// The queue to the engine is full.
    pub fn set_bypass(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
        at: PluginAt,
        on: bool,
    ) -> Result<(), Error> {
        let plugin = self.plugin(session, at)?;
        let own = plugin.info().params.iter().find(|p| p.bypass && !p.read_only);
        if let Some((id, value)) = own.map(|p| (p.id, if on { p.max } else { p.min })) {
            return self.send_param(controller, at, id, value);
        }
        self.state(at).bypassed = on;
        self.tell_bypass(controller, at)
    }

    /// Lets the engine hear of what is not to be heard.
    pub(super) fn tell_bypass(
        &mut self,
        controller: &mut Controller,
        at: PluginAt,
    ) -> Result<(), Error> {
        let Some(&node) = self.nodes.get(&at) else { return Ok(()) };
        let on = self.rewiring.holds(at) || self.state(at).bypassed;
        controller.set_bypass(node, on).map_err(full)
    }

    /// Whether a plugin is bypassed in the engine.
    pub fn is_bypassed(&self, at: PluginAt) -> bool {
        self.states.get(&at).is_some_and(|state| state.bypassed)
    }

    /// Plugins of the longest chain.
    fn count(&self) -> usize {
        self.nodes.keys().map(|at| at.plugin + 1).max().unwrap_or(0)
    }

    /// The plan that was just sent has these nodes.
    fn follow(&mut self, nodes: BTreeMap<PluginAt, NodeId>) {
        self.places = nodes.iter().map(|(at, node)| (*node, *at)).collect();
        self.states.retain(|at, _| nodes.contains_key(at));
        for at in nodes.keys() {
            self.states.entry(*at).or_default();
        }
        self.nodes = nodes;
        self.plans += 1;
    }

    /// Counts plans: who has which [node](Self::node) may have changed with each.
    pub fn plans(&self) -> u64 {
        self.plans
    }

    /// A plugin's node; `None`: it is in no plan yet, or no more.
    pub fn node(&self, at: PluginAt) -> Option<NodeId> {
        self.nodes.get(&at).copied()
    }

    /// The plugin of a node.
    pub fn at(&self, node: NodeId) -> Option<PluginAt> {
        self.places.get(&node).copied()
    }

    /// Everything at another sample rate or block size: all plugins are activated anew and keep
    /// their state; there is another engine. The one before must have been dropped. Recovery, the
    /// log of faults and what is bypassed go on.
    pub fn reconfigure(
        &mut self,
        session: &mut Session,
        rate: u32,
        max_frames: u32,
    ) -> Result<Running, Error> {
        self.reconfigure_with(session, rate, max_frames, self.channels)
    }

    /// The same, with other channels of the driver, in and out.
    pub fn reconfigure_with(
        &mut self,
        session: &mut Session,
        rate: u32,
        max_frames: u32,
        channels: (u32, u32),
    ) -> Result<Running, Error> {
        // What was being moved is where it is to be, or will be moved again.
        session.plugins.values_mut().for_each(|plugin| plugin.is_wire = false);
        // What was on its way is there now.
        for (at, state) in &mut self.states {
            if let (Some(node), Some(plugin)) =
                (state.replacement.take(), session.plugins.get_mut(at))
            {
                plugin.place = Place::Worker(node);
                plugin.activation = None;
                state.is_gone = false;
            }
        }
        let mut running = match session.mixer {
            Some(_) => session.connect_mixer(rate, max_frames, channels)?,
            None => session.connect(rate, max_frames, self.count(), channels)?,
        };
        let (live, controller) = (&mut running.live, &mut running.controller);
        live.faults = std::mem::take(&mut self.faults);
        live.recovery = self.recovery.take();
        live.rewiring = std::mem::take(&mut self.rewiring).begin_again();
        for at in live.all() {
            let Some(before) = self.states.get_mut(&at) else { continue };
            let state = live.state(at);
            state.bypassed = before.bypassed;
            state.pending = std::mem::take(&mut before.pending);
            state.is_gone = before.is_gone;
            if state.bypassed {
                live.tell_bypass(controller, at)?;
            }
            let is_there = session.plugins.get(&at).is_some_and(Plugin::is_ready);
            if is_there {
                for (param, value) in std::mem::take(&mut live.state(at).pending) {
                    live.send_param(controller, at, param, value)?;
                }
            } else if !is_there {
                live.state(at).phase = Phase::Lost;
            }
        }
        if let Some(mut recovery) = live.recovery.take() {
            recovery.begin_again(session);
            live.recovery = Some(recovery);
        }
        Ok(running)
    }

    fn plugin<'a>(&self, session: &'a mut Session, at: PluginAt) -> Result<&'a Plugin, Error> {
        let known = self.nodes.contains_key(&at);
        session.plugins.get(&at).filter(|_| known).ok_or_else(|| {
            Error::Usage(format!("track {} has no plugin {}", at.track + 1, at.plugin + 1))
        })
    }
}

impl State {
    fn want(&mut self, name: &str) {
        if matches!(self.phase, Phase::Running | Phase::Lost) {
            self.phase = if self.phase == Phase::Lost { Phase::Out } else { Phase::Wanted };
            if self.pace.pause >= PEACE {
                let pause = self.pace.pause.as_secs_f32();
                tracing::warn!(plugin = name, pause, "wants to be restarted all the time");
            }
        }
    }
}

pub(super) fn comes_true(so: impl Fn() -> bool) -> bool {
    const MOMENTS: u32 = 50;
    (0..MOMENTS).any(|_| {
        so() || {
            std::thread::sleep(Duration::from_millis(1));
            false
        }
    })
}

fn full(error: sandrack_engine::QueueFull) -> Error {
    Error::Plan { reason: error.to_string() }
}

pub(super) fn limit(param: &Param, value: f64) -> f64 {
    // What a plugin calls its range need not be one.
    if param.min <= param.max { value.clamp(param.min, param.max) } else { value }
}

impl Plugin {
    /// Whether it has said that it has this parameter.
    fn has_param(&self, param: u32) -> bool {
        self.info().params.iter().any(|known| known.id == param)
    }

    /// Whether it can take part in a plan.
    fn is_ready(&self) -> bool {
        match &self.place {
            Place::Worker(node) => node.is_ready(),
            Place::Here(..) => self.activation.is_some(),
        }
    }

    /// Deactivates, asks what it is now, and activates as before. It must take no part in any
    /// block.
    fn reactivate(&mut self) -> Result<(), Error> {
        let Some(activation) = self.activation else {
            return Err(Error::Plan { reason: format!("{}: was never active", self.name) });
        };
        match &mut self.place {
            Place::Worker(node) => {
                node.deactivate()?;
                node.refresh_info()?;
                self.latency = node.activate(activation)?;
            }
            Place::Here(local, processor) => {
                drop(processor.take());
                local.deactivate()?;
                local.refresh_info();
                let (active, latency) = local.activate(activation)?;
                *processor = Some(active);
                self.latency = latency;
            }
        }
        Ok(())
    }

    fn refresh_info(&mut self) -> Result<(), Error> {
        match &mut self.place {
            Place::Worker(node) => {
                node.refresh_info()?;
            }
            Place::Here(local, _) => {
                local.refresh_info();
            }
        }
        Ok(())
    }
}
