//! From a session's graph to a plan that its plugins run.

use super::{Place, Plugin, PluginAt, Session};
use crate::error::Error;
use crate::join::{LocalPluginNode, Workers};
use sandrack_engine::compile::{CompileConfig, Delays, compile_after};
use sandrack_engine::graph::{Graph, NodeId};
use sandrack_engine::plan::Plan;
use sandrack_engine::processor::Processor;
use sandrack_engine::remote::{NoRemote, Remote};
use std::collections::{BTreeMap, HashMap};

/// A plan, and what the next one has to know of it.
pub(super) struct Built {
    pub(super) plan: Plan,
    /// Delay from driver input to driver output, frames.
    pub(super) latency: u32,
    pub(super) delays: Delays,
}

impl Session {
    /// Compiles the graph and wires the workers. In-process plugins that were given to a plan
    /// before, and were not activated since, stay in it until this one is swapped in.
    pub(super) fn build(
        &mut self,
        graph: &Graph,
        nodes: &BTreeMap<PluginAt, NodeId>,
        config: CompileConfig,
        before: &Delays,
    ) -> Result<Built, Error> {
        let compiled = compile_after(graph, config, before)?;
        let (latency, delays) = (compiled.latency(), compiled.delays());
        let mut by_id: HashMap<NodeId, &mut Plugin> = HashMap::new();
        for (at, plugin) in &mut self.plugins {
            if let Some(node) = nodes.get(at) {
                by_id.insert(*node, plugin);
            }
        }
        let remote: Box<dyn Remote> = if compiled.topology().is_empty() {
            Box::new(NoRemote)
        } else {
            let node = |id: NodeId| match &by_id[&id].place {
                Place::Worker(node) => node,
                Place::Here(..) => unreachable!("the compiler gives remote nodes only"),
            };
            let topology = compiled.topology();
            Box::new(Workers::connect(&self.supervisor, topology, node, config.max_frames)?)
        };
        let processor = |id: NodeId| match &mut by_id.get_mut(&id)?.place {
            Place::Here(_, processor) => processor
                .take()
                .map(|processor| Box::new(LocalPluginNode::new(processor)) as Box<dyn Processor>),
            Place::Worker(_) => None,
        };
        let plan = compiled.into_plan(processor, remote)?;
        Ok(Built { plan, latency, delays })
    }
}
