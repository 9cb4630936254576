//! What was measured: one record per plugin node and block, one per block.
//!
//! Records go to the control thread through a queue. What does not fit is counted, and every
//! [`BlockRecord`] carries the count: no loss is silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::{Consumer, Producer, RingBuffer};

use crate::graph::NodeId;
use crate::remote::RemoteOutcome;

/// How a plugin node's part in a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NodeOutcome {
    /// It ran and finished.
    Finished,
    /// It ran and finished; NaN or infinities in what it put out became zero.
    NotFinite,
    /// The plugin reported an error: its fallback was heard.
    Failed,
    /// It had not finished at the hard deadline: this node is at fault.
    Running,
    /// It could have run and had not started at the hard deadline.
    NotStarted,
    /// It never had its input: a predecessor did not finish.
    NotReady,
    /// It did not take part: still busy with an earlier block.
    Busy,
    /// It did not take part: its process is gone, or was taken out.
    Gone,
}

impl NodeOutcome {
    /// Whether what it put out was heard.
    pub fn is_heard(self) -> bool {
        matches!(self, Self::Finished | Self::NotFinite)
    }

    /// Whether it is worth telling by itself: anything but a block that finished, and a plugin that
    /// is gone, which is known otherwise.
    pub fn is_fault(self) -> bool {
        !matches!(self, Self::Finished | Self::Gone)
    }

    /// Whether it missed the hard deadline of this block.
    pub fn is_late(self) -> bool {
        matches!(self, Self::Running | Self::NotStarted | Self::NotReady)
    }
}

impl From<RemoteOutcome> for NodeOutcome {
    fn from(outcome: RemoteOutcome) -> Self {
        match outcome {
            RemoteOutcome::Finished => Self::Finished,
            RemoteOutcome::Running => Self::Running,
            RemoteOutcome::NotStarted => Self::NotStarted,
            RemoteOutcome::NotReady => Self::NotReady,
            RemoteOutcome::Failed => Self::Failed,
        }
    }
}

/// One plugin node in one block. Times are ns of the engine's clock; 0 where it did not come to
/// that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NodeRecord {
    /// Number of the block.
    pub block: u64,
    /// The node.
    pub node: NodeId,
    /// When the last of what it needed was there. For a local plugin: when it began.
    pub ready: u64,
    /// When it began.
    pub start: u64,
    /// When it had finished.
    pub end: u64,
    /// How it ended.
    pub outcome: NodeOutcome,
}

/// One block. Follows its nodes' records. Times are ns of the engine's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockRecord {
    /// Number of the block.
    pub block: u64,
    /// Frames.
    pub frames: u32,
    /// When the engine began with it.
    pub start: u64,
    /// When the engine was done with it.
    pub end: u64,
    /// The hard deadline; `u64::MAX`: none.
    pub deadline: u64,
    /// How many nodes missed the deadline.
    pub late_nodes: u32,
    /// How many nodes did not take part.
    pub absent_nodes: u32,
    /// Time in local plugins, ns.
    pub local: u64,
    /// Time spent waiting for remote nodes, ns.
    pub wait: u64,
    /// How often the engine waited.
    pub waits: u32,
    /// Records lost so far because the queue was full.
    pub lost_records: u64,
    /// Events lost so far: for a node that is not in the plan, or because a buffer was full.
    pub lost_events: u64,
}

/// What the queue carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Record {
    /// A node's part in a block.
    Node(NodeRecord),
    /// A block, after all its nodes.
    Block(BlockRecord),
}

/// The realtime end of the queues.
#[derive(Debug)]
pub(crate) struct Recorder {
    queue: Producer<Record>,
    lost: Arc<AtomicU64>,
    lost_so_far: u64,
    /// What went wrong goes here as well, for somebody else to read.
    faults: Producer<NodeRecord>,
    blocks: Arc<AtomicU64>,
    frames: Arc<AtomicU64>,
}

/// The other end.
#[derive(Debug)]
pub(crate) struct Recorded {
    pub(crate) records: Consumer<Record>,
    pub(crate) lost: Arc<AtomicU64>,
    pub(crate) faults: Consumer<NodeRecord>,
    pub(crate) blocks: Arc<AtomicU64>,
    pub(crate) frames: Arc<AtomicU64>,
}

/// Records of faults that nobody has fetched; more are forgotten.
const FAULTS: usize = 4096;

impl Recorder {
    pub(crate) fn new(capacity: usize) -> (Self, Recorded) {
        let (mut queue, mut consumer) = RingBuffer::new(capacity);
        // Filled and emptied once: otherwise its pages would come in one by one, in the callback.
        while queue.push(Record::Block(BlockRecord::default())).is_ok() {}
        while consumer.pop().is_ok() {}
        let [lost, blocks, frames] = std::array::from_fn(|_| Arc::new(AtomicU64::new(0)));
        let (mut faults, mut faults_consumer) = RingBuffer::new(FAULTS);
        let nothing = NodeRecord {
            block: 0,
            node: NodeId::from_raw(0),
            ready: 0,
            start: 0,
            end: 0,
            outcome: NodeOutcome::Gone,
        };
        while faults.push(nothing).is_ok() {}
        while faults_consumer.pop().is_ok() {}
        let recorded = Recorded {
            records: consumer,
            lost: lost.clone(),
            faults: faults_consumer,
            blocks: blocks.clone(),
            frames: frames.clone(),
        };
        (Self { queue, lost, lost_so_far: 0, faults, blocks, frames }, recorded)
    }

    pub(crate) fn lost(&self) -> u64 {
        self.lost_so_far
    }

    /// How many frames are done, all in all.
    pub(crate) fn reached(&self, frames: u64) {
        // A plain count; it orders nothing.
        self.frames.store(frames, Ordering::Relaxed);
    }

    #[inline]
    pub(crate) fn record(&mut self, record: Record) {
        match record {
            Record::Node(node) if node.outcome.is_fault() => {
                // A queue that nobody reads must cost nothing.
                let _ = self.faults.push(node);
            }
            Record::Node(_) => {}
            // A plain count; it orders nothing.
            Record::Block(block) => self.blocks.store(block.block, Ordering::Relaxed),
        }
        if self.queue.push(record).is_err() {
            self.lost_so_far += 1;
            // A plain count; it orders nothing.
            self.lost.store(self.lost_so_far, Ordering::Relaxed);
        }
    }
}
