//! THE block loop.
//!
//! A block is a set of steps, each of which waits for others ([`Step`]). What can run runs; when
//! nothing can, the engine waits for remote nodes: as late as possible, and for exactly what the
//! next remote node in line needs from it, or, when all remote nodes have what they need, for all
//! that is still open.
//!
//! Two deadlines end the waiting. At the soft one, nodes that started and have not finished are
//! demoted, and the engine goes on. At the hard one the block expires: whatever is open is given
//! up, what it would have put out becomes its fallback, and the remaining steps run without
//! waiting.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rtrb::Producer;

use crate::block::Block;
use crate::compile::layout::{Layout, Step};
use crate::controller::PluginEvent;
use crate::event::Event;
use crate::graph::NodeId;
use crate::plan::{Agenda, Plan, Rt};
use crate::remote::{Remote, RemoteIndex, RemoteOutcome, RemoteState, RemoteTimes};
use crate::taps::Taps;
use crate::timing::{BlockRecord, NodeOutcome, NodeRecord, Record, Recorder};

/// When to stop waiting, in ns of the engine's clock; `u64::MAX`: never.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// Nodes that are still running are taken off the realtime class.
    pub soft: u64,
    /// Nodes that have not finished are replaced by their fallback.
    pub hard: u64,
}

impl Deadlines {
    /// Waits for as long as it takes.
    pub const NONE: Self = Self { soft: u64::MAX, hard: u64::MAX };
}

/// What outlives plans.
pub(crate) struct Context {
    pub(crate) clock: fn() -> u64,
    /// Frames of a ramp.
    pub(crate) ramp: usize,
    pub(crate) recorder: Recorder,
    pub(crate) lost_events: u64,
    /// What plugins tell their host.
    pub(crate) told: Producer<PluginEvent>,
    pub(crate) lost_told: Arc<AtomicU64>,
    pub(crate) taps: Taps,
}

impl Context {
    /// Passes on what a plugin tells its host.
    #[inline]
    pub(crate) fn tell(&mut self, node: NodeId, block: u64, events: &[Event]) {
        for &event in events.iter().filter(|event| event.kind.is_told()) {
            if self.told.push(PluginEvent { node, block, event }).is_err() {
                self.lost_told.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

/// When several remote nodes wait for different things, one that hangs must not hold up what the
/// others wait for: the engine waits for each in turn, for this part of what is left, in ns.
const SLICE_PART: u64 = 8;
const SLICE_MIN: u64 = 20_000;
const SLICE_MAX: u64 = 1_000_000;

/// One block of one plan.
pub(crate) struct Run<'a> {
    pub(crate) layout: &'a Layout,
    pub(crate) rt: &'a mut Rt,
    pub(crate) remote: &'a mut dyn Remote,
    pub(crate) block: &'a Block,
    pub(crate) context: &'a mut Context,
    pub(crate) inputs: &'a [&'a [f32]],
    pub(crate) offset: usize,
    deadlines: Deadlines,
    /// Every remote node takes part, and did before.
    pub(crate) normal: bool,
    /// The soft deadline has passed.
    softened: bool,
    /// The hard deadline has passed.
    pub(crate) expired: bool,
    /// Which remote node to wait for first, when there is a choice.
    turn: usize,
    pub(crate) local_time: u64,
    wait_time: u64,
    waits: u32,
    pub(crate) absent: u32,
}

impl Plan {
    /// Runs a block; returns when it ended. `offset`: where the block lies in `inputs` and
    /// `outputs`, in frames.
    pub(crate) fn run(
        &mut self,
        block: &Block,
        inputs: &[&[f32]],
        outputs: &mut [&mut [f32]],
        offset: usize,
        (start, deadlines): (u64, Deadlines),
        context: &mut Context,
    ) -> u64 {
        let mut run = Run {
            layout: &self.layout,
            rt: &mut self.rt,
            remote: &mut *self.remote,
            block,
            context,
            inputs,
            offset,
            deadlines,
            normal: true,
            softened: false,
            expired: false,
            turn: 0,
            local_time: 0,
            wait_time: 0,
            waits: 0,
            absent: 0,
        };
        run.assemble();
        run.remote.begin(block);
        run.work();
        run.remote.end();
        run.write_driver(outputs);
        run.close(start)
    }
}

impl Run<'_> {
    /// Finds who takes part, and what that changes.
    fn assemble(&mut self) {
        let (layout, agenda) = (self.layout, &mut self.rt.agenda);
        agenda.counts.copy_from_slice(&layout.counts);
        agenda.launch_counts.copy_from_slice(&layout.launch_count);
        agenda.ready.copy_from(&layout.first);
        agenda.rung.copy_from(&layout.rung);
        agenda.left = layout.steps.len();
        agenda.lowest = 0;
        for set in [&mut agenda.done, &mut agenda.awaited, &mut agenda.open, &mut agenda.launched] {
            set.clear_all();
        }
        for (at, node) in self.rt.remotes.iter_mut().enumerate() {
            // All are asked, as the trait promises.
            let state = match self.remote.state(RemoteIndex(at as u32)) {
                _ if node.out => RemoteState::Gone,
                state => state,
            };
            let present = state == RemoteState::Ready;
            let muted = self.rt.mutes[layout.remotes[at].node as usize].is_on();
            node.returns = present && !muted && (!node.present || node.muted);
            node.present = present;
            node.muted = muted;
            node.jolted = false;
            node.failed = node.outcome == NodeOutcome::Failed;
            let notes = self.rt.mutes[layout.remotes[at].node as usize].bypass;
            if present && std::mem::replace(&mut node.notes, notes) != notes {
                self.remote.set_notes(RemoteIndex(at as u32), notes);
            }
            node.replaced = 0;
            node.times = RemoteTimes::default();
            node.outcome = match state {
                RemoteState::Ready => NodeOutcome::NotReady,
                RemoteState::Busy => NodeOutcome::Busy,
                RemoteState::Gone => NodeOutcome::Gone,
            };
            if present {
                self.rt.agenda.open.set(at);
            }
            self.normal &= present && !node.returns && !muted;
        }
        if !self.normal {
            self.bypass();
        }
        let agenda = &mut self.rt.agenda;
        agenda.unrung.clear_all();
        for (at, node) in self.rt.remotes.iter().enumerate().filter(|(_, node)| node.present) {
            let (index, rung) = (RemoteIndex(at as u32), agenda.rung.has(at));
            self.remote.prepare(index, node.replaced, rung);
            if rung {
                agenda.unrung.set(at);
                continue;
            }
            // It may start as soon as the block begins: its events have to be there.
            for event in self.rt.events_in[layout.remotes[at].node as usize].as_slice() {
                if !self.remote.push_event(index, event) {
                    self.context.lost_events += 1;
                }
            }
        }
    }

    /// Some remote nodes do not take part, or are not to be heard, or return. The engine carries
    /// what they would have handed on, and, in the block in which they return, the way back from
    /// the fallback.
    fn bypass(&mut self) {
        let (layout, agenda, remotes) = (self.layout, &mut self.rt.agenda, &mut self.rt.remotes);
        agenda.carried.clear_all();
        for (at, link) in layout.links.iter().enumerate() {
            let (from, to) = (remotes[link.from as usize], &mut remotes[link.to as usize]);
            let carries = link.sources != 0 && (!from.present || from.returns || from.muted);
            if !to.present || (from.present && !carries) {
                continue;
            }
            // Its predecessor does not wake it: the engine does.
            let launch = &mut agenda.launch_counts[link.to as usize];
            *launch -= 1;
            if !agenda.rung.has(link.to as usize) {
                agenda.rung.set(link.to as usize);
                *launch += 1;
            }
            if carries {
                to.replaced |= link.sources;
                agenda.carried.set(at);
                let feed = layout.remotes[link.to as usize].feed as usize;
                agenda.counts[feed] += 1;
                agenda.ready.clear(feed);
            }
        }
    }

    /// Runs all steps.
    fn work(&mut self) {
        loop {
            // The lowest first: those that lead to remote nodes.
            while let Some(step) = self.rt.agenda.next() {
                self.step(self.layout.steps[step]);
                self.complete(step);
            }
            if self.rt.agenda.left == 0 {
                return;
            }
            if !self.poll() {
                self.wait();
            }
        }
    }

    /// Lets the steps go on that waited for this one.
    fn complete(&mut self, step: usize) {
        let layout = self.layout;
        self.rt.agenda.done.set(step);
        self.rt.agenda.left -= 1;
        for after in layout.after.of(step) {
            self.release(*after as usize);
        }
        if self.normal {
            return;
        }
        if let Step::Out(remote) = layout.steps[step] {
            for link in layout.links_from.of(remote as usize) {
                if self.rt.agenda.carried.has(*link as usize) {
                    let to = layout.links[*link as usize].to;
                    self.release(layout.remotes[to as usize].feed as usize);
                }
            }
        }
    }

    fn release(&mut self, step: usize) {
        let agenda = &mut self.rt.agenda;
        agenda.counts[step] -= 1;
        if agenda.counts[step] > 0 {
            return;
        }
        match self.layout.steps[step] {
            Step::Out(remote) if self.rt.remotes[remote as usize].present => {
                agenda.awaited.set(remote as usize);
                if self.expired {
                    self.give_up(remote as usize);
                }
            }
            _ => agenda.make_ready(step),
        }
    }

    /// The engine has nothing more to bring to this node, nor to those it alone held up.
    pub(crate) fn launch(&mut self, remote: usize) {
        let (layout, agenda) = (self.layout, &mut self.rt.agenda);
        agenda.stack.clear();
        agenda.stack.push(remote as u32);
        while let Some(at) = agenda.stack.pop() {
            let count = &mut agenda.launch_counts[at as usize];
            *count -= 1;
            if *count > 0 {
                continue;
            }
            agenda.launched.set(at as usize);
            for link in layout.links_from.of(at as usize) {
                let to = layout.links[*link as usize].to;
                let carried = !self.normal && agenda.carried.has(*link as usize);
                if self.rt.remotes[to as usize].present && !carried {
                    agenda.stack.push(to);
                }
            }
        }
    }

    /// Takes what remote nodes have finished, and those that never will. False: none.
    fn poll(&mut self) -> bool {
        let mut progress = false;
        let mut at = 0;
        // Nodes that come up on the way have higher numbers: one pass takes a whole chain.
        while let Some(remote) = self.rt.agenda.awaited.next(at) {
            let outcome = self.remote.outcome(RemoteIndex(remote as u32));
            if matches!(outcome, RemoteOutcome::Finished | RemoteOutcome::Failed) {
                self.settle(remote, outcome);
                progress = true;
            } else if self.remote.is_lost(RemoteIndex(remote as u32)) {
                self.give_up(remote);
                progress = true;
            }
            at = remote + 1;
        }
        progress
    }

    fn settle(&mut self, remote: usize, outcome: RemoteOutcome) {
        self.rt.remotes[remote].outcome = outcome.into();
        self.rt.agenda.awaited.clear(remote);
        self.rt.agenda.open.clear(remote);
        let step = self.layout.remotes[remote].out as usize;
        self.step(self.layout.steps[step]);
        self.complete(step);
    }

    /// Takes a node as it is: after the hard deadline, or when it is lost.
    fn give_up(&mut self, remote: usize) {
        let outcome = self.remote.outcome(RemoteIndex(remote as u32));
        self.rt.remotes[remote].outcome = outcome.into();
        self.rt.agenda.awaited.clear(remote);
        self.rt.agenda.open.clear(remote);
        self.rt.agenda.make_ready(self.layout.remotes[remote].out as usize);
    }

    /// Waits for what is missing, until a deadline at most.
    fn wait(&mut self) {
        let now = (self.context.clock)();
        if now >= self.deadlines.hard {
            return self.expire();
        }
        if now >= self.deadlines.soft {
            self.soften();
        }
        let limit = if self.softened { self.deadlines.hard } else { self.deadlines.soft };
        let limit = limit.min(self.deadlines.hard);
        let (feed, others) = self.choose();
        let until = match feed {
            Some(_) if others => {
                let slice = (limit.saturating_sub(now) / SLICE_PART).clamp(SLICE_MIN, SLICE_MAX);
                now.saturating_add(slice).min(limit)
            }
            _ => limit,
        };
        let all = self.remote.wait(&self.rt.agenda.wait_set, until);
        let then = (self.context.clock)();
        self.wait_time += then.saturating_sub(now);
        self.waits += 1;
        if all {
            // All have finished, and none has: not to be waited for again.
            if !self.poll() {
                self.expire();
            }
            return;
        }
        // Its turn is over; the next one's comes.
        self.turn = feed.map_or(0, |feed| feed + 1);
        if then >= self.deadlines.soft {
            self.soften();
        }
        if then >= self.deadlines.hard && !self.poll() {
            self.expire();
        }
    }

    /// Takes nodes that run too long off the realtime class, once.
    fn soften(&mut self) {
        if self.softened {
            return;
        }
        self.softened = true;
        for remote in self.rt.agenda.open.iter() {
            let index = RemoteIndex(remote as u32);
            if self.remote.outcome(index) == RemoteOutcome::Running {
                self.remote.demote(index);
            }
        }
    }

    fn expire(&mut self) {
        self.expired = true;
        while let Some(remote) = self.rt.agenda.awaited.next(0) {
            self.give_up(remote);
        }
    }

    /// Fills the wait set. Returns the remote node that needs it, and whether there are others
    /// that need something else.
    fn choose(&mut self) -> (Option<usize>, bool) {
        let unrung = &self.rt.agenda.unrung;
        let class = |remote: usize| self.layout.remotes[remote].wait_class;
        let others = match unrung.next(0) {
            Some(first) if self.normal => unrung.iter().any(|r| class(r) != class(first)),
            Some(first) => unrung.next(first + 1).is_some(),
            None => false,
        };
        for round in 0..2 {
            let (mut at, end) = if round == 0 { (self.turn, usize::MAX) } else { (0, self.turn) };
            while let Some(feed) = self.rt.agenda.unrung.next(at).filter(|feed| *feed < end) {
                if self.wants_of(feed) {
                    return (Some(feed), others);
                }
                at = feed + 1;
            }
        }
        // Every remote node has what it needs from the engine: now for all of them.
        let agenda = &mut self.rt.agenda;
        agenda.wait_set.clear();
        for remote in agenda.open.iter() {
            // What another open node waits for need not be named.
            let implied = !self.layout.waited.has(remote)
                && self.layout.links_from.of(remote).iter().any(|link| {
                    let to = self.layout.links[*link as usize].to as usize;
                    let carried = !self.normal && agenda.carried.has(*link as usize);
                    agenda.open.has(to) && !carried
                });
            if agenda.launched.has(remote) && !implied {
                agenda.wait_set.push(RemoteIndex(remote as u32));
            }
        }
        (None, false)
    }

    /// Fills the wait set with the remote nodes that have to finish before the engine can ring
    /// `remote`. False: one of them lacks something from the engine, too.
    fn wants_of(&mut self, remote: usize) -> bool {
        let (layout, agenda, remotes) = (self.layout, &mut self.rt.agenda, &self.rt.remotes);
        let Agenda { stack, seen, wait_set, done, launched, carried, .. } = agenda;
        seen.clear_all();
        wait_set.clear();
        stack.clear();
        stack.push(layout.remotes[remote].feed);
        while let Some(step) = stack.pop() {
            let mut visit = |before: u32| {
                if done.has(before as usize) || seen.has(before as usize) {
                    return true;
                }
                seen.set(before as usize);
                match layout.steps[before as usize] {
                    Step::Out(from) if remotes[from as usize].present => {
                        wait_set.push(RemoteIndex(from));
                        launched.has(from as usize)
                    }
                    _ => {
                        stack.push(before);
                        true
                    }
                }
            };
            if !layout.before.of(step as usize).iter().all(|before| visit(*before)) {
                return false;
            }
            let Step::Feed(to) = layout.steps[step as usize] else { continue };
            for link in layout.links_to.of(to as usize) {
                if !self.normal && carried.has(*link as usize) {
                    let from = layout.links[*link as usize].from;
                    if !visit(layout.remotes[from as usize].out) {
                        return false;
                    }
                }
            }
        }
        !wait_set.is_empty()
    }

    /// Records the block, and keeps events for nodes that could not take them.
    fn close(&mut self, start: u64) -> u64 {
        let number = self.block.number;
        let mut late_nodes = 0;
        for (node, remote) in self.rt.remotes.iter().zip(&self.layout.remotes) {
            let at = remote.node as usize;
            let events = &mut self.rt.events_in[at];
            match node.outcome {
                // It did not get to run: it hears of everything in the next block.
                NodeOutcome::NotStarted | NodeOutcome::NotReady => events.hold(|_| true),
                // It may take longer: no note is to begin long after it was played, but what
                // ends one must not be lost.
                NodeOutcome::Busy => events.hold(|kind| !kind.starts_note()),
                // It will be back, and is to be as it was set meanwhile.
                NodeOutcome::Gone if node.out => events.hold(|kind| !kind.starts_note()),
                _ => events.clear(),
            }
            late_nodes += u32::from(node.outcome.is_late());
            self.absent += u32::from(!node.present);
            let RemoteTimes { ready, start, end } = node.times;
            self.context.recorder.record(Record::Node(NodeRecord {
                block: number,
                node: self.layout.nodes[at].id,
                ready,
                start,
                end,
                outcome: node.outcome,
            }));
        }
        for mute in &mut self.rt.mutes {
            mute.warm_up = mute.warm_up.saturating_sub(self.block.frames);
        }
        let end = (self.context.clock)();
        self.context.recorder.record(Record::Block(BlockRecord {
            block: number,
            frames: self.block.frames,
            start,
            end,
            deadline: self.deadlines.hard,
            late_nodes,
            absent_nodes: self.absent,
            local: self.local_time,
            wait: self.wait_time,
            waits: self.waits,
            lost_records: self.context.recorder.lost(),
            lost_events: self.context.lost_events,
        }));
        end
    }
}
