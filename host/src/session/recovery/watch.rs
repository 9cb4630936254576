//! Tells from what went wrong in blocks who hangs.

use crate::session::PluginAt;
use sandrack_engine::timing::{NodeOutcome, NodeRecord};
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Who is still at which block.
#[derive(Default)]
pub(in crate::session) struct Watch {
    runs: HashMap<PluginAt, Run>,
    silences: HashMap<PluginAt, Silence>,
    last_faults: HashMap<PluginAt, u64>,
    /// Up to which block all is known.
    block: u64,
}

/// Blocks in a row in which a plugin was at the first one of them.
#[derive(Clone, Copy)]
pub(super) struct Run {
    pub(super) since: Instant,
    heard: Instant,
    pub(super) first: u64,
    last: u64,
    pub(super) was_seen_running: bool,
}

/// Blocks in a row none of which a plugin ended in time.
#[derive(Clone, Copy)]
pub(super) struct Silence {
    pub(super) since: Instant,
    pub(super) first: u64,
    last: u64,
    /// In how many it did not even begin.
    not_started: u32,
}

impl Run {
    fn hangs(&self, limit: Duration, block: u64) -> bool {
        // Two more blocks after the first, the last of which nobody has gone beyond.
        self.last >= self.first + 2 && self.last >= block && self.heard >= self.since + limit
    }
}

impl Watch {
    /// The engine has told all that went wrong up to this block.
    pub(in crate::session) fn reached(&mut self, block: u64) {
        self.block = block;
    }

    /// The engine told this of a plugin.
    pub(in crate::session) fn count(&mut self, at: PluginAt, record: NodeRecord, now: Instant) {
        let NodeRecord { block, outcome, .. } = record;
        let was_seen_running = outcome == NodeOutcome::Running;
        let new = Run { since: now, heard: now, first: block, last: block, was_seen_running };
        match outcome {
            NodeOutcome::Running | NodeOutcome::NotStarted | NodeOutcome::Busy => {
                let begun = Silence { since: now, first: block, last: block, not_started: 0 };
                let silence = self.silences.entry(at).or_insert(begun);
                if silence.last + 1 < block {
                    *silence = begun;
                }
                silence.last = block;
                silence.not_started += u32::from(outcome == NodeOutcome::NotStarted);
            }
            NodeOutcome::NotReady => {}
            _ => drop(self.silences.remove(&at)),
        }
        match outcome {
            // It could have begun, so it has ended what was before.
            NodeOutcome::Running | NodeOutcome::NotStarted => {
                self.runs.insert(at, new);
            }
            NodeOutcome::Busy => match self.runs.get_mut(&at) {
                Some(run) if run.last + 1 == block => (run.last, run.heard) = (block, now),
                _ => {
                    self.runs.insert(at, new);
                }
            },
            NodeOutcome::NotReady => return,
            _ => {
                self.runs.remove(&at);
            }
        }
        self.last_faults.insert(at, block);
    }

    /// Since when the plugin is at one block, if it is.
    pub(super) fn run(&self, at: PluginAt) -> Option<Run> {
        self.runs.get(&at).copied().filter(|run| run.last >= self.block)
    }

    /// How long the plugin has been at one block, if it has for longer than `limit`, and after two
    /// more blocks.
    pub(super) fn hangs(&self, at: PluginAt, limit: Duration) -> Option<Run> {
        self.runs.get(&at).copied().filter(|run| run.hangs(limit, self.block))
    }

    /// That it has not ended any block in time for some, up to the last, and did not even begin some of
    /// them: a plugin that is only too slow for the blocks begins each that it is given.
    pub(super) fn silence(&self, at: PluginAt) -> Option<Silence> {
        let is_silent = |s: &Silence| s.last >= self.block && s.not_started >= 3;
        self.silences.get(&at).copied().filter(is_silent)
    }

    /// Whether it is at an earlier block, and has been for some.
    pub(in crate::session) fn is_away(&self, at: PluginAt) -> bool {
        const MOMENT: Duration = Duration::from_millis(5);
        self.runs.get(&at).is_some_and(|run| run.hangs(MOMENT, self.block))
    }

    /// The block in which a plugin that is lost now was lost.
    pub(super) fn last_fault(&self, at: PluginAt, now: u64) -> u64 {
        let last = self.runs.get(&at).map(|run| run.first);
        let recent = |block: &u64| now.saturating_sub(*block) < 8;
        last.or_else(|| self.last_faults.get(&at).copied().filter(recent)).unwrap_or(now)
    }

    pub(super) fn forget(&mut self, at: PluginAt) {
        self.runs.remove(&at);
        self.silences.remove(&at);
    }
}
