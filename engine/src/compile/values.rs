//! Builds the layout: first steps and values in compiled order, then everything that follows
//! from them.

use std::collections::{BTreeMap, HashMap};

use super::layout::{
    Direct, EngineSource, EventLinePlan, EventSource, Gather, InputPlan, Known, Layout, LineKey,
    LinePlan, Link, Lists, Step, ValuePlan,
};
use super::routes::{AudioRoute, BusRoutes, NodeRoutes};
use crate::bits::Bits;
use crate::graph::{Fallback, NodeId, NodeKind, NodeSpec};
use crate::processor::BusRef;
use crate::remote::{
    DirectSource, RemoteIndex, RemoteNodeTopology, Source, SourceFrom, SourceIndex,
};

pub(super) struct Builder<'a> {
    layout: Layout,
    specs: Vec<(NodeId, &'a NodeSpec)>,
    routes: Vec<NodeRoutes>,
    /// For each node the step that gathers its input, and the one that has its output.
    enters: Vec<u32>,
    leaves: Vec<u32>,
    /// For each step, those before it.
    before: Vec<Vec<u32>>,
    links: BTreeMap<(u32, u32), u64>,
    /// Delays of the plan before.
    delays_before: &'a HashMap<LineKey, Known>,
}

impl<'a> Builder<'a> {
    pub(super) fn new(
        layout: Layout,
        specs: Vec<(NodeId, &'a NodeSpec)>,
        routes: Vec<NodeRoutes>,
        delays_before: &'a HashMap<LineKey, Known>,
    ) -> Self {
        let (enters, leaves, before) = (Vec::new(), Vec::new(), Vec::new());
        let links = BTreeMap::new();
        Self { layout, specs, routes, enters, leaves, before, links, delays_before }
    }

    pub(super) fn build(mut self) -> Layout {
        self.steps_and_outputs();
        for node in 0..self.specs.len() {
            self.inputs(node);
            self.events(node);
            self.dry_line(node);
        }
        self.sort_lines();
        self.topology();
        self.wait_classes();
        self.renumber();
        self.layout
    }

    fn step(&mut self, step: Step) -> u32 {
        self.layout.steps.push(step);
        self.before.push(Vec::new());
        self.layout.steps.len() as u32 - 1
    }

    fn value(&mut self, channels: usize, begins: u32) -> u32 {
        let touched = vec![begins];
        self.layout.values.push(ValuePlan { channels, buffer: 0, begins, touched, kept: false });
        self.layout.values.len() as u32 - 1
    }

    fn steps_and_outputs(&mut self) {
        for node in 0..self.specs.len() {
            let (enters, leaves) = match self.layout.nodes[node].remote {
                Some(remote) => {
                    let (feed, out) = (self.step(Step::Feed(remote)), self.step(Step::Out(remote)));
                    let plan = &mut self.layout.remotes[remote as usize];
                    (plan.feed, plan.out) = (feed, out);
                    self.before[out as usize].push(feed);
                    (feed, out)
                }
                None => {
                    let step = self.step(Step::Local(node as u32));
                    (step, step)
                }
            };
            self.enters.push(enters);
            self.leaves.push(leaves);
            for bus in &self.specs[node].1.outputs {
                let value = self.value(bus.channels as usize, leaves);
                self.layout.nodes[node].outputs.push(value);
            }
        }
    }

    fn inputs(&mut self, node: usize) {
        let spec = self.specs[node].1;
        let (enters, leaves) = (self.enters[node], self.leaves[node]);
        let remote = self.layout.nodes[node].remote;
        let mut next_source = 0;
        let mut sources = Vec::new();
        for (bus, routes) in std::mem::take(&mut self.routes[node].buses).into_iter().enumerate() {
            let channels = spec.inputs[bus].channels as usize;
            let engine: Vec<EngineSource> =
                routes.engine.iter().map(|route| self.engine_source(node, bus, route)).collect();
            let gather = match (spec.kind, &engine[..]) {
                (NodeKind::Sum, _) => Gather::Sum(self.layout.nodes[node].outputs[0]),
                (NodeKind::Output { .. }, _) => {
                    let value = self.value(channels, enters);
                    self.layout.values[value as usize].kept = true;
                    Gather::Sum(value)
                }
                (_, []) => Gather::Silent,
                (_, [EngineSource { value, line: None }])
                    if self.layout.values[*value as usize].channels == channels =>
                {
                    Gather::Alias(*value)
                }
                _ => Gather::Sum(self.value(channels, enters)),
            };
            if let Gather::Alias(value) | Gather::Sum(value) = gather {
                // A remote node's fallback reads it when the node has not delivered.
                self.layout.values[value as usize].touched.push(leaves);
            }
            let mut engine_source = None;
            if remote.is_some() && !engine.is_empty() {
                engine_source = Some(next_source);
                next_source += 1;
                let (bus, channels) = (bus as u32, channels as u32);
                sources.push(Source { bus, channels, from: SourceFrom::Engine });
            }
            let direct = self.direct(node, bus, &routes, &mut next_source, &mut sources);
            self.layout.nodes[node].inputs.push(InputPlan {
                channels,
                gather,
                engine,
                direct,
                engine_source,
            });
        }
        if remote.is_some() {
            self.layout.topology.push(RemoteNodeTopology {
                node: self.specs[node].0,
                sources,
                event_sources: Vec::new(),
                predecessors: Vec::new(),
                successors: Vec::new(),
                engine_rings: false,
                engine_waits: false,
            });
        }
    }

    fn engine_source(&mut self, node: usize, bus: usize, route: &AudioRoute) -> EngineSource {
        let value = self.layout.nodes[route.from].outputs[route.from_bus];
        self.layout.nodes[route.from].read[route.from_bus] = true;
        self.layout.values[value as usize].touched.push(self.enters[node]);
        self.before[self.enters[node] as usize].push(self.leaves[route.from]);
        let key = LineKey::Edge {
            from: self.specs[route.from].0,
            from_bus: route.from_bus as u32,
            to: self.specs[node].0,
            to_bus: bus as u32,
        };
        EngineSource { value, line: self.line(key, value, route.delay) }
    }

    fn direct(
        &mut self,
        node: usize,
        bus: usize,
        routes: &BusRoutes,
        next_source: &mut u32,
        sources: &mut Vec<Source>,
    ) -> Vec<Direct> {
        let dry = self.is_dry(node) && bus == 0;
        let to = self.layout.nodes[node].remote.unwrap_or(0);
        let mut list = Vec::new();
        for route in &routes.direct {
            let from = self.layout.nodes[route.from].remote.unwrap_or(0);
            let value = self.layout.nodes[route.from].outputs[route.from_bus];
            let touched = &mut self.layout.values[value as usize].touched;
            touched.extend([self.enters[node], self.leaves[node]]);
            self.before[self.leaves[node] as usize].push(self.leaves[route.from]);
            let key = LineKey::Dry {
                from: self.specs[route.from].0,
                from_bus: route.from_bus as u32,
                to: self.specs[node].0,
            };
            let line = self.line(key, value, if dry { route.delay } else { 0 });
            let source = *next_source;
            *next_source += 1;
            *self.links.entry((from, to)).or_default() |= 1 << source;
            sources.push(Source {
                bus: bus as u32,
                channels: self.specs[node].1.inputs[bus].channels,
                from: SourceFrom::Direct(DirectSource {
                    node: RemoteIndex(from),
                    bus: route.from_bus as u32,
                    channels: self.layout.values[value as usize].channels as u32,
                    delay: route.delay,
                }),
            });
            debug_assert_eq!(SourceIndex(source).0 as usize, sources.len() - 1);
            list.push(Direct { remote: from, bus: route.from_bus as u32, source, line });
        }
        list
    }

    fn is_dry(&self, node: usize) -> bool {
        let spec = self.specs[node].1;
        spec.plugin_isolation().is_some()
            && spec.fallback == Fallback::Dry
            && !spec.inputs.is_empty()
            && !spec.outputs.is_empty()
    }

    fn line(&mut self, key: LineKey, value: u32, frames: u32) -> Option<u32> {
        let channels = self.layout.values[value as usize].channels;
        self.line_of(key, channels, frames)
    }

    fn line_of(&mut self, key: LineKey, channels: usize, frames: u32) -> Option<u32> {
        let before = self.delays_before.get(&key).copied();
        let plans_without = match before {
            _ if frames > 0 => 0,
            Some(known) => known.plans_without.saturating_add(1),
            None => Known::OVER,
        };
        self.layout.delays.insert(key, Known { frames, plans_without });
        // A line of no frames lets the end of a longer one be heard.
        if plans_without >= Known::OVER {
            return None;
        }
        let had_none = before.is_some_and(|known| known.frames == 0);
        // Where a node is new, there was none before it.
        let is_new = matches!(key, LineKey::Latency(_)) && before.is_none();
        let was_none = frames > 0 && (had_none || (is_new && !self.delays_before.is_empty()));
        self.layout.lines.push(LinePlan { key, channels, frames, was_none });
        Some(self.layout.lines.len() as u32 - 1)
    }

    fn events(&mut self, node: usize) {
        let routes = std::mem::take(&mut self.routes[node].engine_events);
        for route in &routes {
            self.layout.nodes[route.from].events_read = true;
            self.before[self.enters[node] as usize].push(self.leaves[route.from]);
            let line = (route.delay > 0).then(|| {
                let key = (self.specs[route.from].0, self.specs[node].0);
                self.layout.event_lines.push(EventLinePlan { key, frames: route.delay });
                self.layout.event_lines.len() as u32 - 1
            });
            self.layout.nodes[node].events.push(EventSource { node: route.from as u32, line });
        }
        let Some(to) = self.layout.nodes[node].remote else { return };
        for route in std::mem::take(&mut self.routes[node].direct_events) {
            let from = self.layout.nodes[route.from].remote.unwrap_or(0);
            self.before[self.leaves[node] as usize].push(self.leaves[route.from]);
            self.links.entry((from, to)).or_default();
            self.layout.topology[to as usize].event_sources.push(RemoteIndex(from));
        }
    }

    fn dry_line(&mut self, node: usize) {
        if !self.is_dry(node) {
            self.layout.nodes[node].fallback = Fallback::Silence;
            return;
        }
        let (id, spec) = self.specs[node];
        let channels = spec.inputs[0].channels as usize;
        let line = self.line_of(LineKey::Latency(id), channels, spec.latency);
        let plan = &mut self.layout.nodes[node];
        plan.dry_line = line;
        plan.history = line.is_some() || plan.inputs[0].direct.iter().any(|d| d.line.is_some());
    }

    /// Sorts delay lines by key, so that a plan finds those of the plan before.
    fn sort_lines(&mut self) {
        fn sort<T, K: Ord>(plans: &mut [T], key: impl Fn(&T) -> K) -> Vec<u32> {
            let mut order: Vec<u32> = (0..plans.len() as u32).collect();
            order.sort_by_key(|at| key(&plans[*at as usize]));
            plans.sort_by_key(key);
            let mut place = vec![0; order.len()];
            for (new, old) in order.into_iter().enumerate() {
                place[old as usize] = new as u32;
            }
            place
        }
        let audio = sort(&mut self.layout.lines, |line| line.key);
        let events = sort(&mut self.layout.event_lines, |line| line.key);
        let moved = |line: &mut Option<u32>, place: &[u32]| {
            if let Some(line) = line {
                *line = place[*line as usize];
            }
        };
        for node in &mut self.layout.nodes {
            moved(&mut node.dry_line, &audio);
            for input in &mut node.inputs {
                input.engine.iter_mut().for_each(|source| moved(&mut source.line, &audio));
                input.direct.iter_mut().for_each(|source| moved(&mut source.line, &audio));
            }
            node.events.iter_mut().for_each(|source| moved(&mut source.line, &events));
        }
    }

    fn topology(&mut self) {
        let count = self.layout.remotes.len();
        let (mut from_lists, mut to_lists) = (vec![Vec::new(); count], vec![Vec::new(); count]);
        for (at, ((from, to), sources)) in std::mem::take(&mut self.links).into_iter().enumerate() {
            self.layout.links.push(Link { from, to, sources });
            from_lists[from as usize].push(at as u32);
            to_lists[to as usize].push(at as u32);
            // Links are sorted, hence so are these.
            self.layout.topology[from as usize].successors.push(RemoteIndex(to));
            self.layout.topology[to as usize].predecessors.push(RemoteIndex(from));
        }
        self.layout.links_from = Lists::new(&from_lists);
        self.layout.links_to = Lists::new(&to_lists);
        self.layout.rung = Bits::new(count);
        self.layout.waited = Bits::new(count);
        for (at, topology) in self.layout.topology.iter_mut().enumerate() {
            let node = &self.layout.nodes[self.layout.remotes[at].node as usize];
            topology.engine_rings = topology.predecessors.is_empty()
                || !node.events.is_empty()
                || node.inputs.iter().any(|input| input.engine_source.is_some());
            topology.engine_waits = topology.successors.is_empty()
                || node.events_read
                || node.read.iter().any(|read| *read);
            if topology.engine_rings {
                self.layout.rung.set(at);
            }
            if topology.engine_waits {
                self.layout.waited.set(at);
            }
            let count = topology.predecessors.len() + usize::from(topology.engine_rings);
            self.layout.launch_count.push(count as u32);
        }
    }

    /// Finds which remote nodes have to finish before each feed.
    fn wait_classes(&mut self) {
        let count = self.layout.remotes.len();
        let mut needs: Vec<Bits> = Vec::with_capacity(self.before.len());
        let mut classes: HashMap<Vec<u64>, u32> = HashMap::new();
        for (at, step) in self.layout.steps.iter().enumerate() {
            let mut need = Bits::new(count);
            if !matches!(step, Step::Out(_)) {
                for before in &self.before[at] {
                    match self.layout.steps[*before as usize] {
                        Step::Out(remote) => need.set(remote as usize),
                        _ => need.add_all(&needs[*before as usize]),
                    }
                }
            }
            if let Step::Feed(remote) = step {
                let next = classes.len() as u32;
                self.layout.remotes[*remote as usize].wait_class =
                    *classes.entry(need.words().to_vec()).or_insert(next);
            }
            needs.push(need);
        }
    }

    /// Puts the steps that lead to a remote node first: it should start early.
    fn renumber(&mut self) {
        let count = self.layout.steps.len();
        for list in &mut self.before {
            list.sort_unstable();
            list.dedup();
        }
        let mut leads: Vec<bool> =
            self.layout.steps.iter().map(|step| matches!(step, Step::Feed(_))).collect();
        for at in (0..count).rev() {
            if leads[at] {
                self.before[at].iter().for_each(|before| leads[*before as usize] = true);
            }
        }
        // What comes before a step that leads to a remote node leads there too: still an order in
        // which every step comes after those before it.
        let mut order: Vec<usize> = (0..count).collect();
        order.sort_by_key(|at| !leads[*at]);
        let mut place = vec![0u32; count];
        for (new, old) in order.iter().enumerate() {
            place[*old] = new as u32;
        }
        let moved = |list: &[u32]| list.iter().map(|at| place[*at as usize]).collect::<Vec<_>>();
        let layout = &mut self.layout;
        layout.steps = order.iter().map(|old| layout.steps[*old]).collect();
        let before: Vec<Vec<u32>> = order.iter().map(|old| moved(&self.before[*old])).collect();
        let mut after = vec![Vec::new(); count];
        layout.first = Bits::new(count);
        for (at, list) in before.iter().enumerate() {
            list.iter().for_each(|before| after[*before as usize].push(at as u32));
            layout.counts.push(list.len() as u32);
            if list.is_empty() {
                layout.first.set(at);
            }
        }
        layout.before = Lists::new(&before);
        layout.after = Lists::new(&after);
        for remote in &mut layout.remotes {
            remote.feed = place[remote.feed as usize];
            remote.out = place[remote.out as usize];
        }
        for value in &mut layout.values {
            value.begins = place[value.begins as usize];
            value.touched = moved(&value.touched);
            value.touched.sort_unstable();
            value.touched.dedup();
        }
        for node in &mut layout.nodes {
            let bus = |value: &u32| BusRef {
                buffer: *value as usize,
                channels: layout.values[*value as usize].channels,
            };
            node.out_buses = node.outputs.iter().map(bus).collect();
        }
    }
}
