//! What is remembered of a plugin, so that another instance can go on in its place: its last state,
//! and parameters that are newer.

use crate::errand::{Errand, NoAnswer};
use crate::error::Error;
use crate::flight::reporter::Snapshot;
use sandrack_sandbox::format::{Param, StateContext};
use sandrack_sandbox::supervisor::Worker;
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A parameter that was moved this short a time before a state was asked for may not be in it: it
/// had to go through the audio thread.
const ON_ITS_WAY: Duration = Duration::from_millis(250);
/// How long a plugin is let alone that could not save its state.
const AFTER_FAILURE: Duration = Duration::from_millis(500);

/// Bytes of states that are kept for recordings of one plugin.
const MOST_BYTES: usize = 64 << 20;

/// See the module.
#[derive(Default)]
pub(super) struct Memory {
    /// How long states are kept for recordings.
    keeps: Duration,
    /// Of the present instance, oldest first.
    snapshots: VecDeque<(Instant, Snapshot)>,
    state: Option<Arc<Vec<u8>>>,
    /// Values, when they were set, and a number that grows with each.
    params: BTreeMap<u32, (f64, Instant, u64)>,
    number: u64,
    /// Since when, and when last, it differs from what is remembered.
    changed: Option<(Instant, Instant)>,
    saving: Option<Saving>,
    not_before: Option<Instant>,
}

/// A state that was asked for.
struct Saving {
    errand: Errand<Result<Saved, sandrack_sandbox::error::Error>>,
    since: Instant,
    /// The last block that was done then.
    block: u64,
    worker: u32,
}

struct Saved {
    state: Option<Vec<u8>>,
    params: Vec<(u32, f64)>,
}

/// What another instance is given.
pub(super) struct Remembered {
    pub(super) state: Option<Arc<Vec<u8>>>,
    pub(super) params: Vec<(u32, f64)>,
    /// Parameters with higher numbers have been set since.
    pub(super) number: u64,
}

impl Remembered {
    /// As what an instance began with.
    pub(super) fn as_snapshot(&self) -> Snapshot {
        Snapshot { block: 0, state: self.state.clone(), params: self.params.clone() }
    }
}

impl Memory {
    /// The instance was given this.
    pub(super) fn begin_with(
        &mut self,
        state: Option<Arc<Vec<u8>>>,
        params: Vec<(u32, f64)>,
        now: Instant,
    ) {
        let given = Snapshot { block: 0, state: state.clone(), params: params.clone() };
        self.begin_instance(given, now);
        self.params = params.into_iter().map(|(param, value)| (param, (value, now, 0))).collect();
        self.state = state;
    }

    /// Whether nothing has changed since it was saved.
    pub(super) fn is_saved(&self) -> bool {
        (self.changed.is_none() && self.saving.is_none()) || self.not_before.is_some()
    }

    /// Keeps states for recordings of this length.
    pub(super) fn for_recordings(length: Duration) -> Self {
        // One more second, for the recording ends a moment before it is looked at.
        Self { keeps: length + Duration::from_secs(1), ..Self::default() }
    }

    /// States that the plugin had, oldest first.
    pub(super) fn snapshots(&self) -> Vec<Snapshot> {
        self.snapshots.iter().map(|(_, snapshot)| snapshot.clone()).collect()
    }

    /// There is a new instance, which was given this.
    pub(super) fn begin_instance(&mut self, given: Snapshot, now: Instant) {
        self.snapshots = [(now, given)].into();
        // That the one before could not save its state says nothing of this one.
        self.not_before = None;
    }

    fn keep(&mut self, mut snapshot: Snapshot, now: Instant) {
        if self.keeps.is_zero() {
            return;
        }
        if let Some((_, last)) = self.snapshots.back()
            && last.state == snapshot.state
        {
            snapshot.state.clone_from(&last.state); // the same bytes are kept once
        }
        self.snapshots.push_back((now, snapshot));
        let bytes = |snapshots: &VecDeque<(Instant, Snapshot)>| -> usize {
            let states = snapshots.iter().filter_map(|(_, snapshot)| snapshot.state.as_ref());
            states.map(|state| state.len()).sum()
        };
        // Of those from before the recording the last is needed, the others aren't.
        while self.snapshots.get(1).is_some_and(|(taken, _)| *taken + self.keeps < now)
            || self.snapshots.len() > 1 && bytes(&self.snapshots) > MOST_BYTES
        {
            self.snapshots.pop_front();
        }
    }

    /// A parameter was moved, by host or plugin.
    pub(super) fn set(&mut self, param: u32, value: f64, now: Instant) {
        self.number += 1;
        self.params.insert(param, (value, now, self.number));
        self.touch(now);
    }

    /// Something has changed.
    pub(super) fn touch(&mut self, now: Instant) {
        let (since, _) = self.changed.unwrap_or((now, now));
        self.changed = Some((since, now));
    }

    /// Everything is another now: a preset or state was loaded.
    pub(super) fn renew(&mut self, now: Instant) {
        self.params.clear();
        // What is being saved may be from before.
        self.saving = None;
        self.touch(now);
    }

    /// Whether it is time to save: not while things are being moved, but not too late either.
    pub(super) fn is_due(&self, now: Instant, after: Duration, at_latest: Duration) -> bool {
        let due = |(since, last)| now >= last + after || now >= since + at_latest;
        self.saving.is_none()
            && self.not_before.is_none_or(|time| now >= time)
            && self.changed.is_some_and(due)
    }

    /// Asks for the state, and waits for it elsewhere.
    /// `block`: the last that was done.
    pub(super) fn save(
        &mut self,
        worker: Arc<Worker>,
        plugin: u32,
        has_state: bool,
        block: u64,
        now: Instant,
    ) {
        let id = worker.id();
        match Errand::start("plugin state", move || save(&worker, plugin, has_state)) {
            Ok(errand) => {
                self.changed = None;
                self.saving = Some(Saving { errand, since: now, block, worker: id });
            }
            Err(_) => self.not_before = Some(now + AFTER_FAILURE),
        }
    }

    /// Takes what was saved, if it is there.
    pub(super) fn take_saved(&mut self, name: &str, worker: u32, now: Instant) {
        let Some(saving) = &self.saving else { return };
        let (since, block, of_another) = (saving.since, saving.block, saving.worker != worker);
        let result = match saving.errand.poll() {
            None => return,
            Some(Err(NoAnswer)) => Err(Error::Usage("nobody answered".into())),
            Some(Ok(result)) => result.map_err(Error::from),
        };
        self.saving = None;
        match result {
            // Of an instance that is gone: its parameters may have been sent to the next already, and
            // that it could not save says nothing of the next.
            _ if of_another => self.touch(now),
            Ok(saved) => {
                tracing::debug!(plugin = name, "its state is saved");
                let state = saved.state.map(Arc::new);
                let params = saved.params.clone();
                self.keep(Snapshot { block, state: state.clone(), params }, since);
                if let Some(state) = state {
                    self.state = Some(state);
                }
                let newer = |set: Instant| set + ON_ITS_WAY > since;
                self.params.retain(|_, (_, set, _)| newer(*set));
                if !self.params.is_empty() {
                    self.touch(now);
                }
                for (param, value) in saved.params {
                    let old = since.checked_sub(ON_ITS_WAY).unwrap_or(since);
                    self.params.entry(param).or_insert((value, old, 0));
                }
            }
            Err(error) => {
                tracing::debug!(plugin = name, %error, "its state could not be saved");
                self.not_before = Some(now + AFTER_FAILURE);
                self.touch(now);
            }
        }
    }

    pub(super) fn remembered(&self) -> Remembered {
        Remembered {
            state: self.state.clone(),
            params: self.params.iter().map(|(param, (value, ..))| (*param, *value)).collect(),
            number: self.number,
        }
    }

    /// Parameters that were set after what has this number was remembered.
    pub(super) fn newer(&self, number: u64) -> impl Iterator<Item = (u32, f64)> {
        let params = self.params.iter().filter(move |(_, (_, _, set))| *set > number);
        params.map(|(param, (value, ..))| (*param, *value))
    }
}

fn save(
    worker: &Worker,
    plugin: u32,
    has_state: bool,
) -> Result<Saved, sandrack_sandbox::error::Error> {
    if has_state {
        match worker.save_state(plugin, StateContext::Project) {
            Ok(state) => return Ok(Saved { state: Some(state), params: Vec::new() }),
            // It says that it can and can't: its parameters, then.
            Err(sandrack_sandbox::error::Error::Plugin(_)) => {}
            Err(error) => return Err(error),
        }
    }
    let settable = |param: &Param| !param.read_only && param.value.is_finite();
    let params = worker.describe(plugin)?.params;
    let params = params.iter().filter(|param| settable(param));
    Ok(Saved { state: None, params: params.map(|param| (param.id, param.value)).collect() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_is_saved_when_things_rest_and_now_and_then_while_they_move() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let due = |memory: &Memory, ms| {
            memory.is_due(at(ms), Duration::from_millis(300), Duration::from_millis(900))
        };
        let mut memory = Memory::default();
        assert!(!due(&memory, 10_000));
        memory.set(1, 0.5, at(0));
        assert!(!due(&memory, 299) && due(&memory, 300));
        for ms in (0..880).step_by(20) {
            memory.set(1, 0.5, at(ms));
            assert!(!due(&memory, ms + 10));
        }
        memory.set(1, 0.75, at(890));
        assert!(due(&memory, 900));
        let remembered = memory.remembered();
        assert_eq!(remembered.params, [(1, 0.75)]);
        assert_eq!(memory.newer(remembered.number).count(), 0);
        memory.set(2, 1.0, at(900));
        assert_eq!(memory.newer(remembered.number).collect::<Vec<_>>(), [(2, 1.0)]);
    }
}
