//! Collects what the engine measured, off the realtime thread: nothing is averaged away.

use crate::report::{Cause, Node, Percentiles, bins};
use hdrhistogram::Histogram;
use sandrack_engine::Controller;
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::{BlockRecord, NodeRecord, Record};
use std::collections::HashMap;

/// Most causes that are kept.
const MAX_CAUSES: usize = 200;

/// Times of one run: histograms of ns, three digits exact.
pub struct Measurement {
    /// From entering the callback to leaving it.
    pub callback: Histogram<u64>,
    /// From the end of one plugin to the start of the next, over all plugins.
    pub hop: Histogram<u64>,
    /// What a block took beyond its plugins' own work, divided by its plugins.
    pub overhead: Histogram<u64>,
    /// Blocks measured.
    pub blocks: u64,
    /// Blocks in which a node was not done at the deadline.
    pub late: u64,
    /// Blocks that took longer than their period.
    pub over: u64,
    /// Records that did not fit their queue, so that the histograms lack them.
    pub lost: u64,
    causes: Vec<Cause>,
    nodes: Vec<NodeTimes>,
    by_id: HashMap<NodeId, usize>,
    period_ns: u64,
    // Of the block whose records are coming in.
    run_ns: u64,
    worst: Option<NodeRecord>,
    lost_at_start: Option<u64>,
}

struct NodeTimes {
    name: String,
    wait: Histogram<u64>,
    run: Histogram<u64>,
}

fn count(histogram: &mut Histogram<u64>, ns: u64) {
    // Fails only where it can't grow; these grow.
    let _ = histogram.record(ns);
}

fn histogram() -> Histogram<u64> {
    // Grows to what it meets: only on this thread.
    let mut histogram = Histogram::new(3).unwrap_or_else(|_| unreachable!("3 digits are valid"));
    histogram.auto(true);
    histogram
}

impl Measurement {
    /// For these nodes, in this order; a period of so many ns.
    pub fn new(nodes: &[(NodeId, String)], period_ns: u64) -> Self {
        let times = |(_, name): &(NodeId, String)| NodeTimes {
            name: name.clone(),
            wait: histogram(),
            run: histogram(),
        };
        Self {
            callback: histogram(),
            hop: histogram(),
            overhead: histogram(),
            blocks: 0,
            late: 0,
            over: 0,
            lost: 0,
            causes: Vec::new(),
            nodes: nodes.iter().map(times).collect(),
            by_id: nodes.iter().enumerate().map(|(at, (id, _))| (*id, at)).collect(),
            period_ns,
            run_ns: 0,
            worst: None,
            lost_at_start: None,
        }
    }

    /// Throws away what has been measured so far.
    pub fn discard(&mut self, controller: &mut Controller) {
        let records = controller.timing();
        while records.pop().is_ok() {}
        self.lost_at_start = Some(controller.lost_records());
    }

    /// Takes in what has been measured since the last call.
    pub fn collect(&mut self, controller: &mut Controller) {
        loop {
            match controller.timing().pop() {
                Ok(Record::Node(record)) => self.node(record),
                Ok(Record::Block(record)) => self.block(&record),
                Err(_) => break,
            }
        }
        let before = *self.lost_at_start.get_or_insert(0);
        self.lost = controller.lost_records() - before;
    }

    fn node(&mut self, record: NodeRecord) {
        let span = |from: u64, to: u64| to.saturating_sub(from);
        let took = |r: &NodeRecord| span(r.ready, r.end);
        if self.worst.as_ref().is_none_or(|worst| {
            (record.outcome.is_late(), took(&record)) > (worst.outcome.is_late(), took(worst))
        }) {
            self.worst = Some(record);
        }
        if !record.outcome.is_heard() {
            return;
        }
        let Some(&at) = self.by_id.get(&record.node) else { return };
        let (wait, run) = (span(record.ready, record.start), span(record.start, record.end));
        self.run_ns += run;
        count(&mut self.hop, wait);
        count(&mut self.nodes[at].wait, wait);
        count(&mut self.nodes[at].run, run);
    }

    fn block(&mut self, record: &BlockRecord) {
        let busy = record.end.saturating_sub(record.start);
        self.blocks += 1;
        count(&mut self.callback, busy);
        let plugins = self.nodes.len().max(1) as u64;
        count(&mut self.overhead, busy.saturating_sub(self.run_ns) / plugins);
        let (is_late, is_over) = (record.late_nodes > 0, busy > self.period_ns);
        self.late += u64::from(is_late);
        self.over += u64::from(is_over);
        if (is_late || is_over) && self.causes.len() < MAX_CAUSES {
            self.causes.push(self.cause(record, busy));
        }
        self.run_ns = 0;
        self.worst = None;
    }

    /// Whose fault: the node that took longest, unless the host took longer still.
    fn cause(&self, record: &BlockRecord, busy: u64) -> Cause {
        let us = |ns: u64| ns as f64 / 1e3;
        let host = busy.saturating_sub(record.wait).saturating_sub(record.local);
        let worst = self.worst.filter(|w| w.outcome.is_late() || w.end - w.ready.min(w.end) > host);
        let (node, wait, run) = match worst {
            None => ("host", 0, 0),
            Some(worst) => {
                let name = self.by_id.get(&worst.node).map_or("?", |&at| &self.nodes[at].name);
                let wait = worst.start.saturating_sub(worst.ready);
                (name, wait, worst.end.saturating_sub(worst.start))
            }
        };
        Cause {
            period: record.block,
            node: node.to_owned(),
            wait_us: us(wait),
            run_us: us(run),
            host_us: us(host),
        }
    }

    /// The nodes' figures. `with_bins`: how they are distributed, too.
    pub fn nodes(&self, with_bins: bool) -> Vec<Node> {
        let all = |h: &Histogram<u64>| if with_bins { bins(h) } else { Vec::new() };
        let node = |times: &NodeTimes| Node {
            name: times.name.clone(),
            wait_us: Percentiles::from_ns(&times.wait),
            run_us: Percentiles::from_ns(&times.run),
            wait_bins: all(&times.wait),
            run_bins: all(&times.run),
        };
        self.nodes.iter().map(node).collect()
    }

    /// What caused late blocks, the first of them.
    pub fn causes(&self) -> Vec<Cause> {
        self.causes.clone()
    }
}
