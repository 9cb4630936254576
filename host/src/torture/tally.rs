//! What was counted.

use super::report::{ByKind, Milliseconds};
use hdrhistogram::Histogram;
use std::collections::BTreeMap;

/// Counts of the whole run.
pub(super) struct Tally {
    pub(super) faults: u64,
    /// States that were looked at,
    pub(super) states: u64,
    /// and were not what they should have been.
    pub(super) states_lost: u64,
    /// Plugins that ended when nothing was asked of them: of what they had done before.
    pub(super) late_deaths: u64,
    /// Faults of which a plugin did not come back.
    pub(super) lost: u64,
    recoveries: Histogram<u64>,
    kinds: BTreeMap<&'static str, OfKind>,
}

struct OfKind {
    faults: u64,
    died: u64,
    killed: u64,
    lost: u64,
    recoveries: Histogram<u64>,
}

/// Of microseconds. Grows to what it meets.
fn histogram() -> Histogram<u64> {
    let mut histogram = Histogram::new(3).unwrap_or_else(|_| unreachable!("3 digits are valid"));
    histogram.auto(true);
    histogram
}

impl Default for Tally {
    fn default() -> Self {
        Self {
            faults: 0,
            states: 0,
            states_lost: 0,
            late_deaths: 0,
            lost: 0,
            recoveries: histogram(),
            kinds: BTreeMap::new(),
        }
    }
}

impl Tally {
    fn of(&mut self, kind: &'static str) -> &mut OfKind {
        let new = || OfKind { faults: 0, died: 0, killed: 0, lost: 0, recoveries: histogram() };
        self.kinds.entry(kind).or_insert_with(new)
    }

    pub(super) fn strike(&mut self, kind: &'static str) {
        self.faults += 1;
        self.of(kind).faults += 1;
    }

    pub(super) fn fell(&mut self, kind: &'static str, killed: bool) {
        let of = self.of(kind);
        *if killed { &mut of.killed } else { &mut of.died } += 1;
    }

    pub(super) fn recovered(&mut self, kind: &'static str, ms: f64) {
        let us = (ms * 1e3) as u64;
        let _ = self.recoveries.record(us);
        let _ = self.of(kind).recoveries.record(us);
    }

    pub(super) fn lost(&mut self, kind: &'static str) {
        self.lost += 1;
        self.of(kind).lost += 1;
    }

    pub(super) fn recovery_ms(&self) -> Milliseconds {
        milliseconds(&self.recoveries)
    }

    pub(super) fn by_kind(&self) -> Vec<ByKind> {
        let one = |(kind, of): (&&'static str, &OfKind)| ByKind {
            kind: (*kind).to_owned(),
            faults: of.faults,
            died: of.died,
            killed: of.killed,
            recovered: of.recoveries.len(),
            not_recovered: of.lost,
            recovery_ms: milliseconds(&of.recoveries),
        };
        self.kinds.iter().map(one).collect()
    }
}

fn milliseconds(histogram: &Histogram<u64>) -> Milliseconds {
    let at = |quantile| histogram.value_at_quantile(quantile) as f64 / 1e3;
    Milliseconds { p50: at(0.5), p99: at(0.99), max: histogram.max() as f64 / 1e3 }
}
