//! What went wrong with plugins, and what was done about it: a record each, kept for reports and
//! written to the log.

mod writer;

pub use writer::FaultWriter;

use crate::flight::details::FaultDetails;
use crate::session::PluginAt;
use sandrack_engine::graph::NodeId;
use sandrack_sandbox::sys::clock::now_ns;
use sandrack_sandbox::sys::process::Exit;
use serde::Serialize;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::mem::{Discriminant, discriminant};
use std::time::{Duration, Instant, SystemTime};

/// One fault, or one step of getting over it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FaultRecord {
    /// Number of the block, as in timing records: the one in which it showed, or the last one
    /// before.
    pub block: u64,
    /// When it was seen: ns of CLOCK_MONOTONIC.
    pub time_ns: u64,
    /// The same by the calendar's clock: ms since 1970.
    pub unix_ms: u64,
    /// Track, from 0.
    pub track: usize,
    /// Place in the track, from 0.
    pub plugin: usize,
    /// The plugin's name, with its number in the session.
    pub name: String,
    /// Its node in the engine.
    pub node: u64,
    /// What happened.
    #[serde(flatten)]
    pub kind: FaultKind,
    /// Why, as far as it is known; else empty.
    pub cause: String,
    /// What was found out about it. It comes a moment later than the record.
    #[serde(flatten, skip_serializing_if = "Option::is_none")]
    pub details: Option<Box<FaultDetails>>,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum FaultKind {
    /// It missed its deadline.
    Late {
        /// In so many blocks, of which none was a second after the one before.
        blocks: u64,
    },
    /// The plugin reported an error.
    Failed {
        /// As above.
        blocks: u64,
    },
    /// It put out NaN or infinities, which became zero.
    NotFinite {
        /// As above.
        blocks: u64,
    },
    /// Its process has ended.
    Dead {
        /// By this signal,
        signal: Option<i32>,
        /// or with this exit code.
        code: Option<i32>,
    },
    /// Its process was ended, because it did nothing any more, or used more than it may.
    Killed,
    /// It uses more than is good, and goes on.
    Excess,
    /// It plays again.
    Restarted {
        /// So long after the fault was seen, ms.
        ms: f64,
    },
    /// It could not be started again.
    NotRestarted,
    /// It failed too often, and is left alone.
    Quarantined,
    /// It tried what its confinement does not allow, or another plugin of its process did. The
    /// cause says what, and what would allow it.
    Violation,
}

impl FaultKind {
    /// For a process that has ended.
    pub(crate) fn dead(exit: Exit) -> Self {
        match exit {
            Exit::Signal(signal) => Self::Dead { signal: Some(signal), code: None },
            Exit::Code(code) => Self::Dead { signal: None, code: Some(code) },
        }
    }

    fn blocks_mut(&mut self) -> Option<&mut u64> {
        match self {
            Self::Late { blocks } | Self::Failed { blocks } | Self::NotFinite { blocks } => {
                Some(blocks)
            }
            _ => None,
        }
    }
}

/// Whom it happened to.
#[derive(Clone, Copy)]
pub(crate) struct Whom<'a> {
    pub(crate) at: PluginAt,
    pub(crate) node: NodeId,
    pub(crate) name: &'a str,
}

/// The last records, oldest first.
#[derive(Debug, Default)]
pub struct FaultLog {
    records: VecDeque<FaultRecord>,
    forgotten: u64,
    /// Records that count blocks: which (counted from the very first), and when it last counted.
    open: HashMap<(PluginAt, Discriminant<FaultKind>), (u64, Instant)>,
    /// Records, by number, of which more is being found out.
    pending: BTreeSet<u64>,
}

impl FaultLog {
    /// Records that are kept.
    pub const MOST: usize = 4096;
    /// A fault that comes again within this time is counted, not recorded anew.
    const TOGETHER: Duration = Duration::from_secs(1);

    /// The records that are still there, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &FaultRecord> {
        self.records.iter()
    }

    /// Records that were dropped because there were too many.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Records that are complete, from the number on (counted from the very first, 0) up to the
    /// first of which more is to come, with their numbers. `all`: these, too.
    pub fn complete(&self, from: u64, all: bool) -> impl Iterator<Item = (u64, &FaultRecord)> {
        let now = Instant::now();
        let counting = self.open.values().filter(move |(_, last)| now < *last + Self::TOGETHER);
        let counting = counting.map(|(number, _)| *number).filter(|n| *n >= self.forgotten).min();
        let first = counting.into_iter().chain(self.pending.first().copied()).min();
        let end = first.filter(|_| !all).unwrap_or(u64::MAX);
        let numbered = self.records.iter().enumerate();
        numbered
            .map(|(at, record)| (self.forgotten + at as u64, record))
            .filter(move |(number, _)| (from..end).contains(number))
    }

    /// More is being found out about a record: [`amend`](Self::amend) follows.
    pub(crate) fn expect(&mut self, number: u64) {
        self.pending.insert(number);
    }

    /// What was found out about a record, with the block if that is known better now; the record,
    /// if it is still there.
    pub(crate) fn amend(
        &mut self,
        number: u64,
        block: Option<u64>,
        details: FaultDetails,
    ) -> Option<&FaultRecord> {
        self.pending.remove(&number);
        let at = usize::try_from(number.checked_sub(self.forgotten)?).ok()?;
        let record = self.records.get_mut(at)?;
        let (name, place, block) = (&record.name, details.place(), block.unwrap_or(record.block));
        let file = details.file.as_ref().map(|file| file.display().to_string());
        tracing::info!(plugin = name, block, place, file, "where it failed");
        record.block = block;
        record.details = Some(Box::new(details));
        Some(record)
    }

    /// Adds a record. Its number.
    pub(crate) fn add(
        &mut self,
        whom: Whom<'_>,
        block: u64,
        kind: FaultKind,
        cause: String,
    ) -> u64 {
        let Whom { at, node, name } = whom;
        let fault = serde_json::to_value(kind).ok();
        let fault = fault.as_ref().and_then(|kind| kind["kind"].as_str()).unwrap_or("fault");
        match kind {
            FaultKind::Restarted { ms } => {
                tracing::info!(fault, block, node = node.raw(), plugin = name, ms, "back again");
            }
            // Whoever refused it has said so.
            FaultKind::Violation => {}
            _ => tracing::warn!(fault, block, node = node.raw(), plugin = name, cause, "a fault"),
        }
        if self.records.len() == Self::MOST {
            self.records.pop_front();
            self.pending.remove(&self.forgotten);
            self.forgotten += 1;
        }
        self.records.push_back(FaultRecord {
            block,
            time_ns: now_ns(),
            unix_ms: unix_ms(),
            track: at.track,
            plugin: at.plugin,
            name: name.to_owned(),
            node: node.raw(),
            kind,
            cause,
            details: None,
        });
        self.forgotten + self.records.len() as u64 - 1
    }

    /// One more block with a fault that may come in each. The number of its record, if that is new.
    pub(crate) fn count(
        &mut self,
        whom: Whom<'_>,
        block: u64,
        kind: FaultKind,
        now: Instant,
    ) -> Option<u64> {
        let key = (whom.at, discriminant(&kind));
        if let Some((number, last)) = self.open.get_mut(&key)
            && now < *last + Self::TOGETHER
            && let Some(at) = number.checked_sub(self.forgotten)
            && let Some(record) = self.records.get_mut(at as usize)
            && let Some(blocks) = record.kind.blocks_mut()
        {
            *blocks += 1;
            *last = now;
            return None;
        }
        let number = self.add(whom, block, kind, String::new());
        self.open.insert(key, (number, now));
        Some(number)
    }
}

fn unix_ms() -> u64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    now.map_or(0, |now| u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn faults_in_a_row_are_counted_and_old_ones_forgotten() {
        let mut log = FaultLog::default();
        let whom = |plugin| Whom {
            at: PluginAt { track: 0, plugin },
            node: NodeId::from_raw(plugin as u64),
            name: "plugin",
        };
        let start = Instant::now();
        let nan = FaultKind::NotFinite { blocks: 1 };
        for block in 0..100 {
            log.count(whom(0), block, nan, start);
            log.count(whom(1), block, FaultKind::Late { blocks: 1 }, start);
        }
        let kinds: Vec<FaultKind> = log.iter().map(|record| record.kind).collect();
        assert_eq!(kinds, [FaultKind::NotFinite { blocks: 100 }, FaultKind::Late { blocks: 100 }]);
        log.count(whom(0), 200, nan, start + Duration::from_secs(2));
        assert_eq!(log.iter().count(), 3);
        for block in 0..2 * FaultLog::MOST as u64 {
            log.add(whom(0), block, FaultKind::Killed, "hung".into());
        }
        assert_eq!(log.iter().count(), FaultLog::MOST);
        assert_eq!(log.forgotten(), 3 + FaultLog::MOST as u64);
        // Its record is gone: a new one.
        log.count(whom(0), 1, nan, start + Duration::from_secs(2));
        log.count(whom(0), 2, nan, start + Duration::from_secs(2));
        let last = log.iter().next_back().unwrap();
        assert_eq!((last.block, last.kind), (1, FaultKind::NotFinite { blocks: 2 }));
        assert_eq!(log.complete(0, false).count(), FaultLog::MOST - 1, "the last still counts");
        assert_eq!(log.complete(0, true).count(), FaultLog::MOST);
        let json = serde_json::to_value(last).unwrap();
        assert_eq!((&json["kind"], &json["blocks"]), (&"not-finite".into(), &2.into()));
    }
}
