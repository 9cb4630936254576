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
use super::recovery::{Recovery, Watch};
use super::{NamedNodes, Place, Plugin, PluginAt, Running, Session, SessionEvent};
use crate::error::Error;
use crate::faults::{FaultKind, FaultLog, Whom};
use sandrack_engine::Controller;
use sandrack_engine::compile::{CompileConfig, Delays};
use sandrack_engine::event::{EventKind, NoteAddress};
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::NodeOutcome;
use sandrack_sandbox::format::{Notice, Param, ParamEdit};
use sandrack_sandbox::supervisor::Node;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Sees to what plugins ask for while they run. Made by [`Session::connect`], valid for the engine
/// that was made with it; for the session's control thread.
pub struct Live {
    config: CompileConfig,
    channels: (u32, u32),
    nodes: NamedNodes,
    places: HashMap<NodeId, PluginAt>,
    delays: Delays,
    latency: u32,
    states: Vec<Vec<State>>,
    /// A plan has to be built.
    pub(super) is_stale: bool,
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
        nodes: NamedNodes,
        delays: Delays,
        latency: u32,
    ) -> Self {
        let mut places = HashMap::new();
        for (track, plugins) in nodes.iter().enumerate() {
            for (plugin, (node, _)) in plugins.iter().enumerate() {
                places.insert(*node, PluginAt { track, plugin });
            }
        }
        let states = |track: &Vec<_>| track.iter().map(|_| State::default()).collect();
        let states = nodes.iter().map(states).collect();
        let is_stale = false;
        let (faults, watch, recovery) = (FaultLog::default(), Watch::default(), None);
        Self {
            config,
            channels,
            nodes,
            places,
            delays,
            latency,
            states,
            is_stale,
            faults,
            watch,
            recovery,
        }
    }

    /// Delay from driver input to driver output, frames.
    pub fn latency(&self) -> u32 {
        self.latency
    }

    /// Whether something is under way: [`service`](Self::service) should be called again soon.
    pub fn is_busy(&self) -> bool {
        let settled = |state: &State| matches!(state.phase, Phase::Running | Phase::Lost);
        let is_recovering = self.recovery.as_ref().is_some_and(Recovery::is_busy);
        self.is_stale || is_recovering || !self.states.iter().flatten().all(settled)
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
        self.hear_blocks(controller, &mut events);
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
        for (state, node) in self.states.iter_mut().flatten().zip(self.nodes.iter().flatten()) {
            if state.phase == Phase::Wanted
                && state.pace.allows(now)
                && controller.take_out(node.0).is_ok()
            {
                state.phase = Phase::Leaving;
            }
        }
        while let Some(out) = controller.taken_out() {
            if let Some(at) = self.places.get(&out.node) {
                self.states[at.track][at.plugin].phase = Phase::Out;
            }
        }
        let is_out = |state: &State| state.phase == Phase::Out;
        let is_wanted = self.is_stale || self.states.iter().flatten().any(is_out);
        // One plan at a time: the engine must have left the outboxes of the one before.
        if is_wanted
            && controller.is_settled()
            && recovery.is_none_or(|recovery| recovery.allows_plan(session, now))
        {
            for at in self.all() {
                if self.state(at).phase == Phase::Out {
                    self.restart(session, at, now, events);
                }
            }
            if self.is_stale {
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
        let node = self.nodes[at.track][at.plugin].0;
        Whom { at, node, name: &session.tracks[at.track][at.plugin].name }
    }

    pub(super) fn phase(&self, at: PluginAt) -> Phase {
        self.states[at.track][at.plugin].phase
    }

    pub(super) fn has_replacement(&self, at: PluginAt) -> bool {
        self.states[at.track][at.plugin].replacement.is_some()
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
        let mut all: Vec<_> = self.places.values().copied().collect();
        all.sort_unstable();
        all
    }

    fn state(&mut self, at: PluginAt) -> &mut State {
        &mut self.states[at.track][at.plugin]
    }

    fn hear_notices(&mut self, session: &mut Session, block: u64, events: &mut Vec<SessionEvent>) {
        let mut said: HashMap<_, Vec<Notice>> = HashMap::new();
        for worker in session.workers() {
            for (number, notice) in worker.take_notices() {
                said.entry((worker.id(), number)).or_default().push(notice);
            }
        }
        for at in self.all() {
            let plugin = &mut session.tracks[at.track][at.plugin];
            let (notices, is_gone) = match &mut plugin.place {
                Place::Here(local, _) => (local.take_notices(), false),
                Place::Worker(node) => {
                    let key = (node.worker().id(), node.number());
                    (said.remove(&key).unwrap_or_default(), node.worker().is_gone())
                }
            };
            let state = &mut self.states[at.track][at.plugin];
            if is_gone {
                if !std::mem::replace(&mut state.is_gone, true) {
                    tracing::warn!(plugin = plugin.name, "its process has ended");
                    events.push(SessionEvent::Gone(at));
                    if self.recovery.is_none()
                        && let Place::Worker(node) = &plugin.place
                    {
                        let (exit, node) =
                            (node.worker().kill(), self.nodes[at.track][at.plugin].0);
                        let whom = Whom { at, node, name: &plugin.name };
                        let cause = format!("its process {exit}");
                        self.faults.add(whom, block, FaultKind::dead(exit), cause);
                    }
                }
                continue;
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
                        let whom = Whom {
                            at,
                            node: self.nodes[at.track][at.plugin].0,
                            name: &plugin.name,
                        };
                        let cause = format!("{what} (allowed by {grant})");
                        self.faults.add(whom, block, FaultKind::Refused, cause);
                    }
                }
            }
        }
    }

    /// What plugins told in their blocks.
    fn hear_blocks(&self, controller: &mut Controller, events: &mut Vec<SessionEvent>) {
        let queue = controller.plugin_events();
        // No more than there are now: plugins may go on.
        for _ in 0..queue.slots() {
            let Ok(told) = queue.pop() else { break };
            let Some(&at) = self.places.get(&told.node) else { continue };
            events.push(match told.event.kind {
                EventKind::ParamValue { param, note: NoteAddress::ALL, value } => {
                    SessionEvent::ParamEdited(at, param, ParamEdit::Value(value))
                }
                EventKind::ParamGesture { param, begin } => {
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
        let plugin = &mut session.tracks[at.track][at.plugin];
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

    /// Builds a plan of what is there, and swaps it in.
    fn swap(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
        events: &mut Vec<SessionEvent>,
    ) -> Result<(), Error> {
        let count = self.nodes.iter().map(Vec::len).max().unwrap_or(0);
        self.is_stale = false;
        let gone = |session: &Session| session.workers().iter().filter(|w| w.is_gone()).count();
        let built = loop {
            let before = gone(session);
            let (graph, nodes) = session.graph(count, self.channels)?;
            debug_assert_eq!(nodes, self.nodes, "the same plugins have the same nodes");
            match session.build(&graph, &nodes, self.config, &self.delays) {
                // One that dies meanwhile is left out. That it has may be known a moment later.
                Err(_) if comes_true(|| gone(session) > before) => {}
                built => break built?,
            }
        };
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
        if std::mem::replace(&mut self.latency, built.latency) != built.latency {
            events.push(SessionEvent::LatencyChanged { frames: built.latency });
        }
        for (state, (node, name)) in
            self.states.iter_mut().flatten().zip(self.nodes.iter().flatten())
        {
            if state.is_gone {
                continue;
            }
            for (param, value) in state.pending.drain(..) {
                if controller.set_param(*node, param, value).is_err() {
                    tracing::warn!(plugin = name, param, "the queue to the engine is full");
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
        let node = self.nodes[at.track][at.plugin].0;
        let state = self.state(at);
        match state.phase {
            Phase::Running | Phase::Wanted if !state.is_gone && state.replacement.is_none() => {
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
        controller.set_bypass(self.nodes[at.track][at.plugin].0, on).map_err(full)?;
        self.state(at).bypassed = on;
        Ok(())
    }

    /// Everything at another sample rate or block size: all plugins are activated anew and keep
    /// their state; there is another engine. The one before must have been dropped.
    pub fn reconfigure(
        &self,
        session: &mut Session,
        rate: u32,
        max_frames: u32,
    ) -> Result<Running, Error> {
        let count = self.nodes.iter().map(Vec::len).max().unwrap_or(0);
        let mut running = session.connect(rate, max_frames, count, self.channels)?;
        for at in self.all().into_iter().filter(|at| self.states[at.track][at.plugin].bypassed) {
            let node = running.nodes[at.track][at.plugin].0;
            running.controller.set_bypass(node, true).map_err(full)?;
            running.live.state(at).bypassed = true;
        }
        Ok(running)
    }

    fn plugin<'a>(&self, session: &'a mut Session, at: PluginAt) -> Result<&'a Plugin, Error> {
        let known = self.nodes.get(at.track).is_some_and(|track| at.plugin < track.len());
        let plugin = session.tracks.get(at.track).and_then(|track| track.get(at.plugin));
        plugin.filter(|_| known).ok_or_else(|| {
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

fn comes_true(so: impl Fn() -> bool) -> bool {
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

fn limit(param: &Param, value: f64) -> f64 {
    // What a plugin calls its range need not be one.
    if param.min <= param.max { value.clamp(param.min, param.max) } else { value }
}

impl Plugin {
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
