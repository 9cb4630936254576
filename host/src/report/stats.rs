//! Percentiles and histograms that say no more than their samples do.

use hdrhistogram::Histogram;
use serde::{Deserialize, Serialize};

use super::Percentile;

/// Percentiles of one quantity.
///
/// Nearest rank: always a value that was measured. Of few samples a high percentile is their
/// maximum (p99 below 100 samples, p99.9 below 1000); [`highest`](Self::highest) tells what the
/// samples support. Without samples there is none at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Percentiles {
    /// Half of the samples are lower.
    pub p50: Option<f64>,
    /// 99 of 100 are.
    #[serde(default)]
    pub p99: Option<f64>,
    /// 999 of 1000 are.
    #[serde(default)]
    pub p999: Option<f64>,
    /// The largest.
    #[serde(default)]
    pub max: Option<f64>,
    /// How many samples there are.
    #[serde(default)]
    pub samples: u64,
}

impl Percentiles {
    /// Of a histogram of nanoseconds, in us.
    pub fn from_ns(histogram: &Histogram<u64>) -> Self {
        Self::pick(histogram.len(), |quantile| {
            if quantile >= 1.0 {
                return histogram.max() as f64 / 1e3;
            }
            histogram.value_at_quantile(quantile) as f64 / 1e3
        })
    }

    /// Of values, in their unit. Values that aren't numbers are left out.
    pub fn from_values(values: &[f64]) -> Self {
        let mut sorted: Vec<f64> = values.iter().copied().filter(|v| !v.is_nan()).collect();
        sorted.sort_by(f64::total_cmp);
        // The nearest rank: always a value that was measured.
        Self::pick(sorted.len() as u64, |quantile| {
            let rank = (quantile * sorted.len() as f64).ceil() as usize;
            sorted[rank.clamp(1, sorted.len()) - 1]
        })
    }

    fn pick(samples: u64, at: impl Fn(f64) -> f64) -> Self {
        // A thousandth of a microsecond is below what the clock can tell.
        let from = |least: u64, quantile: f64| {
            (samples >= least).then(|| (at(quantile) * 1e3).round() / 1e3)
        };
        Self {
            p50: from(1, 0.5),
            p99: from(1, 0.99),
            p999: from(1, 0.999),
            max: from(1, 1.0),
            samples,
        }
    }

    /// The same quantity in another unit: callback times to loads with `1.0 / period_us`.
    pub fn scaled(&self, factor: f64) -> Self {
        let scale = |value: Option<f64>| value.map(|v| (v * factor * 1e5).round() / 1e5);
        Self {
            p50: scale(self.p50),
            p99: scale(self.p99),
            p999: scale(self.p999),
            max: scale(self.max),
            samples: self.samples,
        }
    }

    /// One of them.
    pub fn get(&self, percentile: Percentile) -> Option<f64> {
        match percentile {
            Percentile::P50 => self.p50,
            Percentile::P99 => self.p99,
            Percentile::P999 => self.p999,
            Percentile::Max => self.max,
        }
    }

    /// The highest percentile below the maximum that the samples support, with its value.
    pub fn highest(&self) -> Option<(Percentile, f64)> {
        [Percentile::P999, Percentile::P99, Percentile::P50]
            .into_iter()
            .filter(|percentile| self.samples >= percentile.least_samples())
            .find_map(|percentile| self.get(percentile).map(|value| (percentile, value)))
    }
}

/// One bar of a histogram.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Lower end, us, included.
    pub from_us: f64,
    /// Upper end, us, excluded.
    pub to_us: f64,
    /// Samples in between.
    pub count: u64,
}

/// A histogram of nanoseconds as bars of equal width on a logarithmic axis, eight to a doubling;
/// empty ones are left out.
pub fn bins(histogram: &Histogram<u64>) -> Vec<Bin> {
    let edge = |i: i32| 2f64.powf(f64::from(i) / 8.0);
    let mut bins: Vec<(i32, u64)> = Vec::new();
    for step in histogram.iter_recorded() {
        let us = (step.value_iterated_to() as f64 / 1e3).max(1e-3);
        let mut index = (us.log2() * 8.0).floor() as i32;
        // log2 rounds: a value on an edge belongs above it.
        if us >= edge(index + 1) {
            index += 1;
        }
        match bins.last_mut() {
            Some((last, count)) if *last == index => *count += step.count_since_last_iteration(),
            _ => bins.push((index, step.count_since_last_iteration())),
        }
    }
    let round = |x: f64| (x * 1e4).round() / 1e4;
    bins.into_iter()
        .map(|(i, count)| Bin { from_us: round(edge(i)), to_us: round(edge(i + 1)), count })
        .collect()
}
