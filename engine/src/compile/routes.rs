//! Which edges the engine carries, and which remote nodes share directly.
//!
//! The order of every sum is the same wherever plugins run, so that the bits are: first what
//! comes from nodes other than plugins, then what comes from plugins, each in edge order. A
//! remote node sums what the engine gives it first. Hence, when one of its plugin sources has to
//! go through the engine, all plugin sources before that one do too.

use std::collections::HashMap;

use super::latency::Timed;
use crate::graph::{Graph, Isolation, NodeId};

/// `RemoteIndex` has a bit for each source in `prepare`.
const MAX_SOURCES: usize = 64;

/// An edge as its destination sees it. Nodes are numbered in the compiled order.
#[derive(Clone, Copy, Debug)]
pub(super) struct AudioRoute {
    pub(super) from: usize,
    pub(super) from_bus: usize,
    pub(super) delay: u32,
}

#[derive(Clone, Copy, Debug)]
pub(super) struct EventRoute {
    pub(super) from: usize,
    pub(super) delay: u32,
}

/// What feeds one input bus, in the order of the sum.
#[derive(Clone, Debug, Default)]
pub(super) struct BusRoutes {
    pub(super) engine: Vec<AudioRoute>,
    pub(super) direct: Vec<AudioRoute>,
}

/// What feeds one node.
#[derive(Clone, Debug, Default)]
pub(super) struct NodeRoutes {
    pub(super) buses: Vec<BusRoutes>,
    pub(super) engine_events: Vec<EventRoute>,
    pub(super) direct_events: Vec<EventRoute>,
}

pub(super) fn route(graph: &Graph, order: &[NodeId], timed: &Timed) -> Vec<NodeRoutes> {
    let place: HashMap<NodeId, usize> = order.iter().enumerate().map(|(i, id)| (*id, i)).collect();
    let isolation: Vec<Option<Isolation>> =
        order.iter().map(|id| graph.node(*id).ok().and_then(|n| n.plugin_isolation())).collect();
    let mut routes: Vec<NodeRoutes> = order
        .iter()
        .map(|id| NodeRoutes {
            buses: vec![BusRoutes::default(); graph.node(*id).map_or(0, |n| n.inputs.len())],
            ..NodeRoutes::default()
        })
        .collect();

    // `direct` holds all that comes from plugins until it is decided how much of it is direct.
    for edge in graph.audio_edges() {
        let from = place[&edge.from];
        let route = AudioRoute { from, from_bus: edge.from_bus as usize, delay: timed.audio[edge] };
        let bus = &mut routes[place[&edge.to]].buses[edge.to_bus as usize];
        let list = if isolation[from].is_none() { &mut bus.engine } else { &mut bus.direct };
        list.push(route);
    }
    for edge in graph.event_edges() {
        let from = place[&edge.from];
        let route = EventRoute { from, delay: timed.events[edge] };
        let node = &mut routes[place[&edge.to]];
        // Only the engine can delay events.
        let engine = isolation[from].is_none() || route.delay > 0;
        let list = if engine { &mut node.engine_events } else { &mut node.direct_events };
        list.push(route);
    }
    for (node, isolated) in routes.iter_mut().zip(&isolation) {
        let remote = *isolated == Some(Isolation::Remote);
        let relayed = |from: usize| !remote || isolation[from] != Some(Isolation::Remote);
        for bus in &mut node.buses {
            let count = bus.direct.iter().rposition(|r| relayed(r.from)).map_or(0, |at| at + 1);
            bus.engine.extend(bus.direct.drain(..count));
        }
        let last = node.direct_events.iter().rposition(|r| relayed(r.from));
        let count = last.map_or(0, |at| at + 1);
        node.engine_events.extend(node.direct_events.drain(..count));
        limit(&mut node.buses);
    }
    routes
}

/// Sends direct sources through the engine until every one that is left has a bit.
fn limit(buses: &mut [BusRoutes]) {
    loop {
        let count: usize =
            buses.iter().map(|b| b.direct.len() + usize::from(!b.engine.is_empty())).sum();
        if count <= MAX_SOURCES {
            return;
        }
        // The first must go first. Take them where there are most.
        let Some(bus) = buses.iter_mut().max_by_key(|b| b.direct.len()) else { return };
        if bus.direct.is_empty() {
            return;
        }
        let excess = (count - MAX_SOURCES + 1).min(bus.direct.len());
        bus.engine.extend(bus.direct.drain(..excess));
    }
}
