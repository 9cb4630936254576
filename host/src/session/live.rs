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
//! Each step needs the engine to have done the one before, and the plugin to answer, so
//! [`Live::service`] waits for neither: it does what can be done, and goes on at the next call. What
//! plugins in workers are asked for is asked on threads of its own.

mod hear;
mod params;
mod restart;
mod swap;

pub(super) use params::limit;

use super::pace::{PEACE, Pace};
use super::plan::Building;
use super::recovery::{Recovery, Watch};
use super::rewire::Rewiring;
use super::{Place, Plugin, PluginAt, Running, Session, SessionEvent};
use crate::errand::Errand;
use crate::error::Error;
use crate::faults::{FaultLog, Whom};
use restart::Reactivating;
use sandrack_engine::Controller;
use sandrack_engine::compile::{CompileConfig, Delays};
use sandrack_engine::graph::NodeId;
use sandrack_sandbox::format::PluginInfo;
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
    /// It is being activated anew.
    reactivating: Option<Reactivating>,
    /// It asked for that once more meanwhile.
    wants_again: bool,
    /// It is describing itself.
    describing: Option<Describing>,
    /// It has changed since it was asked for that.
    is_changed: bool,
}

/// The answer of a plugin that was asked what it is now.
type Describing = Errand<Result<PluginInfo, sandrack_sandbox::error::Error>>;

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
    /// It takes part in no block, and is being activated anew.
    Reactivating,
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
        let settled = |state: &State| {
            matches!(state.phase, Phase::Running | Phase::Lost) && state.describing.is_none()
        };
        let is_recovering = self.recovery.as_ref().is_some_and(Recovery::is_busy);
        self.is_outdated()
            || is_recovering
            || self.rewiring.is_busy()
            || !self.states.values().all(settled)
    }

    /// Hears what plugins ask for and does it. To be called a few times a second, every few
    /// milliseconds while it [is busy](Self::is_busy), and as long as the engine runs: what it does
    /// is done in steps that wait for the engine and for plugins. Waits for none that is in a worker.
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
        for at in self.all() {
            self.hear_reactivated(session, at, events);
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

    /// Plugins of the longest chain.
    fn count(&self) -> usize {
        self.nodes.keys().map(|at| at.plugin + 1).max().unwrap_or(0)
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
    /// log of faults and what is bypassed go on. Waits for plugins.
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
            if let (Some(reactivating), Some(plugin)) =
                (state.reactivating.take(), session.plugins.get_mut(at))
            {
                reactivating.put_back(plugin);
            }
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
        self.wants_again |= self.phase == Phase::Reactivating;
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
}
