//! Nodes that run elsewhere: what the block loop needs of them, and what they need of the plan.
//!
//! A *remote node* is a plugin whose code does not run on the engine's thread. The engine knows it
//! by its place in the plan's list of remote nodes ([`RemoteIndex`]) and through the trait
//! [`Remote`], one value of which drives all remote nodes of one plan.
//!
//! Remote nodes hand audio and events to each other directly where the graph allows it
//! ([`DirectSource`]): the engine then neither sees nor waits for what passes between them.
//!
//! # One block
//! 1. [`Remote::state`] of each node decides which nodes take part.
//! 2. [`Remote::prepare`] for each that does: which of its direct sources are replaced by audio
//!    from the engine this time, whether the engine rings it; [`Remote::push_event`] for events
//!    known by now.
//! 3. [`Remote::begin`] publishes the block. No node starts before.
//! 4. [`Remote::input`] (and more events, for nodes that the engine rings), then [`Remote::ring`].
//! 5. [`Remote::wait`] for what a local node needs; [`Remote::output`], [`Remote::events`].
//! 6. [`Remote::end`] closes the block: a node that has not started by then never runs this block.
//!
//! # Who waits for whom
//! A node waits for its [predecessors](RemoteNodeTopology::predecessors), except those that were
//! not prepared for this block, and those whose sources are replaced; and for the engine if it is
//! rung. A predecessor that does not take part gives it no events. The engine rings every node
//! that has a predecessor it need not wait for.
//!
//! # What the engine may ask of any node
//! Not only nodes with [`engine_waits`](RemoteNodeTopology::engine_waits) or
//! [`engine_rings`](RemoteNodeTopology::engine_rings) are waited for, read or rung: when another
//! node does not take part, the engine stands in for it, on both sides. It reads the output of
//! finished nodes to compute a fallback, and in every block where a node's dry signal has to be
//! delayed. It asks for the [`outcome`](Remote::outcome) of every node that takes part, often
//! before the node has finished, and for the [`times`](Remote::times) of those that have.

mod no_remote;

pub use no_remote::NoRemote;

use crate::block::Block;
use crate::event::{Event, EventBuffer, Notes};
use crate::graph::NodeId;

/// Place of a remote node in its plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RemoteIndex(pub u32);

/// Place of a source in [`RemoteNodeTopology::sources`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SourceIndex(pub u32);

/// What feeds one audio input bus of a remote node. All sources of a bus are summed in the order
/// in which they are listed, starting from the first (not from zero).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Which audio input bus of the node.
    pub bus: u32,
    /// Channels of that bus.
    pub channels: u32,
    /// Where the audio comes from.
    pub from: SourceFrom,
}

/// Where a source's audio comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceFrom {
    /// The engine writes it in every block ([`Remote::input`]): the sum of all local sources.
    Engine,
    /// Read from another remote node's output.
    Direct(DirectSource),
}

/// A connection from remote node to remote node that the engine does not touch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DirectSource {
    /// The predecessor.
    pub node: RemoteIndex,
    /// Its audio output bus.
    pub bus: u32,
    /// Channels of that output bus. Equal to the input's; or 1, then copied to every channel; or
    /// the input has 1, which then is the mean (sum in channel order, times 1/n as f32).
    pub channels: u32,
    /// Delay in frames (delay compensation). What the engine writes in place of the predecessor
    /// goes through the same delay: the line goes on without a gap.
    pub delay: u32,
}

/// How one remote node is connected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteNodeTopology {
    /// The node in the graph.
    pub node: NodeId,
    /// What feeds its audio inputs, grouped by bus, in bus order. A bus without source is silent.
    pub sources: Vec<Source>,
    /// Remote nodes whose output events this node receives directly, without delay: those that
    /// [pass on](crate::event::EventKind::passes_on), behind the engine's events of the same
    /// frame, in this order.
    pub event_sources: Vec<RemoteIndex>,
    /// Every remote node that must have finished first (distinct, ascending), by audio or events.
    pub predecessors: Vec<RemoteIndex>,
    /// The reverse of `predecessors` (distinct, ascending).
    pub successors: Vec<RemoteIndex>,
    /// Whether the engine rings the node in every block: it has a source or events from local
    /// nodes, or no predecessor.
    pub engine_rings: bool,
    /// Whether the engine waits for this node: a local node reads it, or nobody does.
    pub engine_waits: bool,
}

/// Whether a node can take part in the block that is about to begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteState {
    /// It has finished everything it was asked for.
    Ready,
    /// It is still busy with an earlier block, or stopped answering.
    Busy,
    /// Its process is gone, or the supervisor took it out.
    Gone,
}

/// How a node's part in a block ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemoteOutcome {
    /// It ran and finished.
    Finished,
    /// It started and has not finished: this node is at fault.
    Running,
    /// It was ready to run and did not start: it is at fault, or its core is held by another.
    NotStarted,
    /// It was never ready: a predecessor did not finish.
    NotReady,
    /// The plugin itself reported an error for this block; its output is not to be used. It is
    /// over, as if finished: nodes that read it directly run, and read silence and no events.
    Failed,
}

/// When a node ran, in ns of the engine's clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RemoteTimes {
    /// When the last of what it needed was there (its doorbell rang).
    pub ready: u64,
    /// When it began.
    pub start: u64,
    /// When it had finished.
    pub end: u64,
}

/// Drives the remote nodes of one plan, from the realtime thread only. No method may allocate,
/// lock, log or make a system call other than wake, timed wait and clock reads.
pub trait Remote: Send {
    /// Whether the node can take part in the next block.
    fn state(&mut self, node: RemoteIndex) -> RemoteState;

    /// Tells, before [`begin`](Self::begin), how the node takes part. Bit `i` of `replaced`:
    /// source `i`, a direct one, is read from what the engine writes with
    /// [`input`](Self::input), and its predecessor is not waited for. `ring`: the engine will
    /// call [`ring`](Self::ring) for it in this block.
    fn prepare(&mut self, node: RemoteIndex, replaced: u64, ring: bool);

    /// Says what becomes of the notes that the node puts out, from the block on that is
    /// [prepared](Self::prepare) next; until something else is said it is [`Notes::Own`].
    fn set_notes(&mut self, _node: RemoteIndex, _notes: Notes) {}

    /// Gives the node an event for this block. Only before [`begin`](Self::begin), or before
    /// [`ring`](Self::ring) for a node that is rung. Events come sorted by time. False: no room.
    fn push_event(&mut self, node: RemoteIndex, event: &Event) -> bool;

    /// Publishes the block to all nodes.
    fn begin(&mut self, block: &Block);

    /// The engine's buffer for one channel of a source, of the block's frames.
    fn input(&mut self, node: RemoteIndex, source: SourceIndex, channel: u32) -> &mut [f32];

    /// The engine's part of the node's input is there; wakes it unless it waits for others.
    fn ring(&mut self, node: RemoteIndex);

    /// Waits until all of `nodes` have finished, or until `deadline` (ns of the engine's clock).
    /// True: all have (or have failed). Returns early when the others are [lost](Self::is_lost).
    fn wait(&mut self, nodes: &[RemoteIndex], deadline: u64) -> bool;

    /// How far the node has come in this block. `Finished` is final for the block.
    fn outcome(&mut self, node: RemoteIndex) -> RemoteOutcome;

    /// Whether the node can't finish this block any more, because its process has ended, or that
    /// of a node it waits for: it is not to be waited for. What it has become is its
    /// [`outcome`](Self::outcome).
    fn is_lost(&mut self, _node: RemoteIndex) -> bool {
        false
    }

    /// Takes a node that started and has not finished off the realtime class, so that others on
    /// its core still run in this block.
    fn demote(&mut self, node: RemoteIndex);

    /// Copies one channel of what a finished node put out, with NaN, infinities and denormals
    /// replaced by zero. Returns false if anything but denormals was replaced.
    fn output(&mut self, node: RemoteIndex, bus: u32, channel: u32, into: &mut [f32]) -> bool;

    /// Appends the events that a finished node put out, checked and sorted.
    fn events(&mut self, node: RemoteIndex, into: &mut EventBuffer);

    /// When a finished (or failed) node ran.
    fn times(&mut self, node: RemoteIndex) -> RemoteTimes;

    /// Closes the block.
    fn end(&mut self);
}
