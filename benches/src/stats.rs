//! Percentiles of a run, and how they are printed and written.

use std::io::{self, Write};
use std::path::Path;

use serde_json::{Value, json};

/// Microseconds at the percentiles that the number of samples supports.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// How many samples there were.
    pub count: usize,
    /// The median.
    pub p50: Option<f64>,
    /// 99 of 100 samples are at most this.
    pub p99: Option<f64>,
    /// The largest sample.
    pub max: Option<f64>,
}

impl Summary {
    /// Of samples in nanoseconds, each divided by `by`.
    ///
    /// A percentile needs ten samples beyond it, otherwise a single late block decides it: p50
    /// is there from 20 samples on, p99 from 1000 on.
    #[must_use]
    pub fn of(nanoseconds: &[u64], by: usize) -> Self {
        let mut sorted = nanoseconds.to_vec();
        sorted.sort_unstable();
        let us = |ns: u64| ns as f64 / 1e3 / by as f64;
        let percentile = |percent: usize| {
            let rank = (sorted.len() * percent).div_ceil(100);
            (sorted.len() - rank >= 10).then(|| us(sorted[rank - 1]))
        };
        Self {
            count: sorted.len(),
            p50: percentile(50),
            p99: percentile(99),
            max: sorted.last().map(|&ns| us(ns)),
        }
    }

    /// `{"p50":…,"p99":…,"max":…}`, null for what the samples do not support.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "p50": round(self.p50), "p99": round(self.p99), "max": round(self.max) })
    }
}

/// The middle one of a few figures; of an even number, the mean of the middle two.
#[must_use]
pub fn median(figures: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = figures.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (low, high) =
        (sorted.get(sorted.len().checked_sub(1)? / 2)?, sorted.get(sorted.len() / 2)?);
    Some((low + high) / 2.0)
}

/// To three digits after the point, for JSON.
#[must_use]
pub fn round(figure: Option<f64>) -> Option<f64> {
    figure.map(|figure| (figure * 1e3).round() / 1e3)
}

/// A figure for a table, eight wide; `-` where there is none.
#[must_use]
pub fn cell(us: Option<f64>) -> String {
    match us {
        Some(us) if us < 100.0 => format!("{us:>8.2}"),
        Some(us) => format!("{us:>8.0}"),
        None => format!("{:>8}", "-"),
    }
}

/// Writes `value` to `file`, or to standard output when that is `-`.
pub fn write_json(file: &Path, value: &Value) -> io::Result<()> {
    let text = format!("{value:#}\n");
    if file == Path::new("-") {
        return io::stdout().write_all(text.as_bytes());
    }
    std::fs::write(file, text)
        .map_err(|e| io::Error::new(e.kind(), format!("{}: {e}", file.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank_and_divided() {
        let samples: Vec<u64> = (1..=2000).rev().map(|i| i * 1000).collect();
        let summary = Summary::of(&samples, 2);
        assert_eq!(
            summary,
            Summary { count: 2000, p50: Some(500.0), p99: Some(990.0), max: Some(1000.0) }
        );
    }

    #[test]
    fn the_median_of_few() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([3.0, 1.0, 2.0, 10.0]), Some(2.5));
    }

    #[test]
    fn too_few_samples_give_no_percentile() {
        let summary = Summary::of(&[5000; 999], 1);
        assert_eq!((summary.p50, summary.p99), (Some(5.0), None));
        let summary = Summary::of(&[5000; 19], 1);
        assert_eq!((summary.p50, summary.max), (None, Some(5.0)));
        assert_eq!(Summary::of(&[], 1).max, None);
    }
}
