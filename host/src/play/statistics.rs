//! What blocks and plugins take, since statistics began.

use super::view::{BlockTiming, Culprit, EngineView, NodeTiming, PluginLoad, RecentView, Times};
use crate::rig::Id;
use hdrhistogram::Histogram;
use sandrack_engine::Controller;
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::{BlockRecord, NodeRecord, Record};
use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// See the module.
#[derive(Default)]
pub(super) struct Statistics {
    period_ns: u64,
    nodes: HashMap<NodeId, NodeStatistics>,
    busy: Option<Histogram<u64>>,
    blocks: u64,
    late: u64,
    last_block: u64,
    load: f64,
    /// Of the block whose records are coming in.
    parts: Vec<NodeTiming>,
    ready: Vec<NodeRecord>,
    recent: VecDeque<Arc<BlockTiming>>,
    worst: Option<Arc<BlockTiming>>,
    late_blocks: VecDeque<Arc<BlockTiming>>,
    /// Who is who, for culprits.
    pub(super) names: BTreeMap<NodeId, (Id, Arc<str>)>,
    busy_times: Times,
    averaged: Option<Instant>,
    /// Busy ns, and blocks, since then.
    sum: (u64, u64),
    /// Late blocks that nobody has been told of.
    pub(super) xruns: Vec<Arc<BlockTiming>>,
}

struct NodeStatistics {
    wait: Histogram<u64>,
    run: Histogram<u64>,
    load: PluginLoad,
    sum: u64,
    late_at: Option<Instant>,
}

/// Blocks that are shown one by one.
const RECENT: usize = 256;
/// Late ones that are kept.
const LATE: usize = 64;
/// How often percentiles and averages are computed.
const AVERAGE: Duration = Duration::from_millis(500);

fn histogram() -> Histogram<u64> {
    // Grows to what it meets, on this thread only.
    let mut histogram = Histogram::new(2).unwrap_or_else(|_| unreachable!("2 digits are valid"));
    histogram.auto(true);
    histogram
}

fn times(of: &Histogram<u64>) -> Times {
    if of.is_empty() {
        return Times::default();
    }
    Times { p50: of.value_at_quantile(0.5), p99: of.value_at_quantile(0.99), max: of.max() }
}

impl Statistics {
    /// For an engine of this rate and block size.
    pub(super) fn begin(&mut self, (rate, frames): (u32, u32)) {
        let names = std::mem::take(&mut self.names);
        let period_ns = u64::from(frames) * 1_000_000_000 / u64::from(rate.max(1));
        *self = Self { period_ns, names, ..Self::default() };
    }

    /// Counts from now on.
    pub(super) fn reset(&mut self) {
        let period_ns = self.period_ns;
        let names = std::mem::take(&mut self.names);
        *self = Self { period_ns, names, ..Self::default() };
    }

    /// Takes in what has been measured since the last call.
    pub(super) fn collect(&mut self, controller: &mut Controller, now: Instant) {
        let queue = controller.timing();
        // No more than there are now: the engine goes on.
        for _ in 0..queue.slots() {
            match queue.pop() {
                Ok(Record::Node(record)) => self.node(record, now),
                Ok(Record::Block(record)) => self.block(&record),
                Err(_) => break,
            }
        }
        let averaged = *self.averaged.get_or_insert(now);
        if now >= averaged + AVERAGE {
            self.averaged = Some(now);
            self.average();
        }
    }

    fn node(&mut self, record: NodeRecord, now: Instant) {
        let node = self.nodes.entry(record.node).or_insert_with(|| NodeStatistics {
            wait: histogram(),
            run: histogram(),
            load: PluginLoad::default(),
            sum: 0,
            late_at: None,
        });
        let wait = record.start.saturating_sub(record.ready);
        let run = record.end.saturating_sub(record.start);
        let is_heard = record.outcome.is_heard();
        if is_heard {
            // Fails only where it can't grow; these grow.
            let _ = node.wait.record(wait);
            let _ = node.run.record(run);
            node.sum += wait + run;
            if wait + run > node.load.worst_ns {
                (node.load.worst_ns, node.load.worst_block) = (wait + run, record.block);
            }
        } else {
            node.load.missed += 1;
            node.late_at = record.outcome.is_late().then_some(now).or(node.late_at);
        }
        self.ready.push(record);
    }

    fn block(&mut self, record: &BlockRecord) {
        let busy = record.end.saturating_sub(record.start);
        let short = |ns: u64| u32::try_from(ns).unwrap_or(u32::MAX);
        let nodes = self.ready.iter().map(|node| NodeTiming {
            node: node.node,
            ready_ns: short(node.ready.saturating_sub(record.start)),
            wait_ns: short(node.start.saturating_sub(node.ready)),
            run_ns: short(node.end.saturating_sub(node.start)),
            is_heard: node.outcome.is_heard(),
        });
        self.parts.clear();
        self.parts.extend(nodes);
        self.blocks += 1;
        self.last_block = record.block;
        let _ = self.busy.get_or_insert_with(histogram).record(busy);
        self.sum = (self.sum.0 + busy, self.sum.1 + 1);
        let has_deadline = record.deadline != u64::MAX;
        let is_late = has_deadline && (record.late_nodes > 0 || busy > self.period_ns);
        let timing = Arc::new(BlockTiming {
            block: record.block,
            start_ns: record.start,
            busy_ns: busy,
            period_ns: self.period_ns,
            nodes: self.parts.clone(),
            culprit: is_late.then(|| self.culprit(record, busy)),
        });
        self.ready.clear();
        if is_late {
            self.late += 1;
            push(&mut self.late_blocks, LATE, &timing);
            if self.xruns.len() < LATE {
                self.xruns.push(Arc::clone(&timing));
            }
        }
        if self.worst.as_ref().is_none_or(|worst| worst.busy_ns < busy) {
            self.worst = Some(Arc::clone(&timing));
        }
        push(&mut self.recent, RECENT, &timing);
    }

    /// Whose fault: the node that took longest, unless the host took longer still.
    fn culprit(&self, record: &BlockRecord, busy: u64) -> Culprit {
        let host = busy.saturating_sub(record.wait).saturating_sub(record.local);
        let end = |node: &NodeRecord| if node.end == 0 { record.end } else { node.end };
        let took = |node: &NodeRecord| end(node).saturating_sub(node.ready.max(record.start));
        // One that could have run, or did: not those that waited for it.
        let is_at_fault = |node: &NodeRecord| node.outcome.is_late() && node.ready != 0;
        let worst = self.ready.iter().max_by_key(|node| (is_at_fault(node), took(node)));
        let worst = worst.filter(|node| node.outcome.is_late() || took(node) > host);
        match worst {
            None => Culprit {
                plugin: None,
                name: "the host".into(),
                wait_ns: 0,
                run_ns: 0,
                host_ns: host,
            },
            Some(node) => {
                let known = self.names.get(&node.node);
                let start = if node.start == 0 { end(node) } else { node.start };
                Culprit {
                    plugin: known.map(|(id, _)| id.to_string()),
                    name: known.map_or_else(|| node.node.to_string(), |(_, name)| name.to_string()),
                    wait_ns: start.saturating_sub(node.ready.max(record.start)),
                    run_ns: end(node).saturating_sub(start),
                    host_ns: host,
                }
            }
        }
    }

    fn average(&mut self) {
        let (busy, blocks) = std::mem::take(&mut self.sum);
        let of = |sum: u64| sum as f64 / (blocks.max(1) * self.period_ns.max(1)) as f64;
        self.load = of(busy);
        self.busy_times = self.busy.as_ref().map(times).unwrap_or_default();
        for node in self.nodes.values_mut() {
            node.load.share = of(std::mem::take(&mut node.sum));
            node.load.wait = times(&node.wait);
            node.load.run = times(&node.run);
        }
        // Of plugins that are no more nothing is shown.
        if self.nodes.len() > 2 * self.names.len() + 16 {
            self.nodes.retain(|id, _| self.names.contains_key(id));
        }
    }

    /// A plugin's times, and whether it was late in the last second.
    pub(super) fn of(&self, node: NodeId, now: Instant) -> (PluginLoad, bool) {
        let Some(node) = self.nodes.get(&node) else { return Default::default() };
        let lately = |late: Instant| now < late + Duration::from_secs(1);
        (node.load, node.late_at.is_some_and(lately))
    }

    pub(super) fn engine(&self) -> EngineView {
        EngineView {
            period_ns: self.period_ns,
            block: self.last_block,
            blocks: self.blocks,
            load: self.load,
            busy: self.busy_times,
            late: self.late,
            latency: 0,
            restriction: None,
        }
    }

    pub(super) fn recent(&self) -> RecentView {
        RecentView {
            blocks: self.recent.iter().cloned().collect(),
            worst: self.worst.clone(),
            late: self.late_blocks.iter().cloned().collect(),
        }
    }
}

fn push(list: &mut VecDeque<Arc<BlockTiming>>, most: usize, timing: &Arc<BlockTiming>) {
    if list.len() == most {
        list.pop_front();
    }
    list.push_back(Arc::clone(timing));
}
