//! From what there is to the next plan. Nobody is waited for: the plan is built at one call, and swapped
//! in at a later one, when the workers have their part of it.

use super::{Live, PluginAt, Session, SessionEvent, comes_true};
use crate::error::Error;
use sandrack_engine::Controller;
use sandrack_engine::graph::NodeId;
use std::collections::BTreeMap;

impl Live {
    /// Builds a plan of what is there.
    pub(super) fn build(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
    ) -> Result<(), Error> {
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
    pub(super) fn swap(
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
}
