//! From a session's graph to a plan that its plugins run.

use super::{Place, Plugin, PluginAt, Session};
use crate::error::Error;
use crate::join::{LocalPluginNode, Workers};
use sandrack_engine::compile::{CompileConfig, Compiled, Delays, compile_after};
use sandrack_engine::graph::{Graph, NodeId};
use sandrack_engine::plan::Plan;
use sandrack_engine::processor::Processor;
use sandrack_engine::remote::{NoRemote, Remote};
use sandrack_sandbox::remote::Connecting;
use std::collections::{BTreeMap, HashMap};

/// A plan, and what the next one has to know of it.
pub(super) struct Built {
    pub(super) plan: Plan,
    pub(super) nodes: BTreeMap<PluginAt, NodeId>,
    /// Delay from driver input to driver output, frames.
    pub(super) latency: u32,
    pub(super) delays: Delays,
}

/// A plan of which not all workers may have their part yet.
pub(super) struct Building {
    compiled: Compiled,
    nodes: BTreeMap<PluginAt, NodeId>,
    remote: Box<dyn Remote>,
    connecting: Option<Connecting>,
    /// Workers that had ended when it was begun.
    pub(super) gone: usize,
}

impl Building {
    /// Whether the workers have their part. Waits for no answer.
    ///
    /// # Errors
    /// One of them can't take it: another plan is needed.
    pub(super) fn is_connected(&mut self) -> Result<bool, Error> {
        Ok(self.connecting.as_mut().map_or(Ok(true), Connecting::poll)?)
    }

    /// Whether all that have not said so are among these processes.
    pub(super) fn waits_only_for(&self, some: impl Fn(u32) -> bool) -> bool {
        self.connecting.as_ref().is_none_or(|connecting| connecting.waits_for().all(some))
    }

    /// What is left to be heard of them.
    pub(super) fn take_connecting(&mut self) -> Option<Connecting> {
        self.connecting.take()
    }

    /// Waits for that.
    pub(super) fn wait(&mut self) -> Result<(), Error> {
        Ok(self.connecting.take().map_or(Ok(()), Connecting::wait)?)
    }
}

impl Session {
    /// Compiles the graph and begins to wire the workers.
    pub(super) fn build(
        &self,
        graph: &Graph,
        nodes: BTreeMap<PluginAt, NodeId>,
        config: CompileConfig,
        before: &Delays,
    ) -> Result<Building, Error> {
        let compiled = compile_after(graph, config, before)?;
        let gone = self.gone_workers();
        if compiled.topology().is_empty() {
            let remote = Box::new(NoRemote);
            return Ok(Building { compiled, nodes, remote, connecting: None, gone });
        }
        let by_id: HashMap<NodeId, PluginAt> = nodes.iter().map(|(at, id)| (*id, *at)).collect();
        let node = |id: NodeId| match &self.plugins[&by_id[&id]].place {
            Place::Worker(node) => node,
            Place::Here(..) => unreachable!("the compiler gives remote nodes only"),
        };
        let topology = compiled.topology();
        let (workers, connecting) =
            Workers::begin_connecting(&self.supervisor, topology, node, config.max_frames)?;
        let (remote, connecting) = (Box::new(workers) as Box<dyn Remote>, Some(connecting));
        Ok(Building { compiled, nodes, remote, connecting, gone })
    }

    /// How many of its workers have ended.
    pub(super) fn gone_workers(&self) -> usize {
        self.workers().iter().filter(|worker| worker.is_gone()).count()
    }

    /// Makes the plan. In-process plugins that were given to a plan before, and were not activated
    /// since, stay in it until this one is swapped in.
    pub(super) fn finish(&mut self, building: Building) -> Result<Built, Error> {
        let Building { compiled, nodes, remote, .. } = building;
        let (latency, delays) = (compiled.latency(), compiled.delays());
        let mut by_id: HashMap<NodeId, &mut Plugin> = HashMap::new();
        for (at, plugin) in &mut self.plugins {
            if let Some(node) = nodes.get(at) {
                by_id.insert(*node, plugin);
            }
        }
        let processor = |id: NodeId| match &mut by_id.get_mut(&id)?.place {
            Place::Here(_, processor) => processor
                .take()
                .map(|processor| Box::new(LocalPluginNode::new(processor)) as Box<dyn Processor>),
            Place::Worker(_) => None,
        };
        let plan = compiled.into_plan(processor, remote)?;
        Ok(Built { plan, nodes, latency, delays })
    }
}
