//! Has faults looked into, and recordings written, by a thread that nobody waits for.

use super::super::live::Live;
use super::super::{PluginAt, Session, SessionEvent};
use super::Recovery;
use super::memory::Memory;
use crate::faults::FaultLog;
use crate::flight::RecorderOptions;
use crate::flight::file::Failure;
use crate::flight::reporter::{Answer, Question, Snapshot, Subject};
use sandrack_sandbox::supervisor::{self, Node};
use std::time::Instant;

impl Recovery {
    pub(super) fn recorder(&self) -> Option<supervisor::RecorderOptions> {
        let RecorderOptions { seconds, most_bytes, .. } = *self.options.recorder.as_ref()?;
        Some(supervisor::RecorderOptions { seconds, most_bytes })
    }

    /// A plugin that is about to be activated takes the place of one.
    pub(in crate::session) fn record(&mut self, node: &Node, at: PluginAt) {
        let _ = node.record(self.recorder());
        if let Some(memory) = self.memories.get_mut(&at) {
            memory.begin_instance(Snapshot::default(), Instant::now());
            memory.touch(Instant::now());
        }
    }

    /// Finds out about a plugin that put out NaN. False: nothing will come of it.
    pub(in crate::session) fn ask_not_finite(
        &mut self,
        session: &Session,
        at: PluginAt,
        number: u64,
        block: u64,
    ) -> bool {
        let wanted = self.options.recorder.as_ref().is_some_and(|recorder| recorder.not_finite);
        wanted
            && self.not_finite.insert(at)
            && self.ask(session, at, number, block, Failure::NotFinite)
    }

    pub(super) fn ask(
        &self,
        session: &Session,
        at: PluginAt,
        number: u64,
        block: u64,
        failure: Failure,
    ) -> bool {
        let (Some(reporter), Some(node)) = (&self.reporter, session.node(at.track, at.plugin))
        else {
            return false;
        };
        let snapshots = self.memories.get(&at).map(Memory::snapshots).unwrap_or_default();
        let (subject, write) = (Subject::new(node), self.options.recorder.is_some());
        reporter.ask(Question { number, subject, failure, block, snapshots, write });
        true
    }

    /// Takes what was found out.
    pub(super) fn hear_reporter(
        answers: impl IntoIterator<Item = Answer>,
        faults: &mut FaultLog,
        events: &mut Vec<SessionEvent>,
    ) {
        for Answer { number, details, block, not_written } in answers {
            let path = details.file.clone();
            let record = faults.amend(number, block, details);
            if let Some(why) = not_written {
                let plugin = record.map(|record| record.name.as_str()).unwrap_or_default();
                tracing::warn!(plugin, why, "its recording could not be written");
            } else if let (Some(record), Some(path)) = (record, path) {
                let at = PluginAt { track: record.track, plugin: record.plugin };
                events.push(SessionEvent::CrashFile { at, path });
            }
        }
    }
}

impl Live {
    /// Waits until all that can be found out about faults so far is, and recordings are written: at
    /// the end, for nothing is found out any more afterwards.
    pub fn finish_faults(&mut self) -> Vec<SessionEvent> {
        let mut events = Vec::new();
        if let Some(mut reporter) = self.recovery.as_mut().and_then(|r| r.reporter.take()) {
            Recovery::hear_reporter(reporter.finish(), &mut self.faults, &mut events);
        }
        events
    }
}
