//! Figures as people read them.

use super::{Capacity, LimitedBy};

/// What stands for a figure that isn't there.
pub(super) const NONE: &str = "–";

/// Microseconds without their unit: three digits or so.
pub(super) fn us(value: f64) -> String {
    match value.abs() {
        x if x < 0.095 => format!("{value:.2}"),
        x if x < 99.95 => format!("{value:.1}"),
        _ => format!("{value:.0}"),
    }
}

/// The same, or a dash.
pub(super) fn us_or(value: Option<f64>) -> String {
    value.map_or_else(|| NONE.to_owned(), us)
}

/// A setting in microseconds: `20`, `2.5`.
pub(super) fn setting(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A share as whole per cent, one digit more below 10.
pub(super) fn percent(share: f64) -> String {
    if share < 0.0995 {
        format!("{:.1} %", share * 100.0)
    } else {
        format!("{:.0} %", share * 100.0)
    }
}

/// The same, or a dash.
pub(super) fn percent_or(share: Option<f64>) -> String {
    share.map_or_else(|| NONE.to_owned(), percent)
}

/// The length of a period: `1.3 ms`.
pub(super) fn ms(frames: u32, rate: u32) -> String {
    let ms = f64::from(frames) * 1e3 / f64::from(rate.max(1));
    if ms < 0.95 {
        format!("{ms:.2} ms")
    } else if ms < 99.95 {
        format!("{ms:.1} ms")
    } else {
        format!("{ms:.0} ms")
    }
}

/// `1 plugin`, `2 plugins`, `no plugin`.
pub(super) fn count(n: u64, one: &str) -> String {
    match n {
        0 => format!("no {one}"),
        1 => format!("1 {one}"),
        n => format!("{n} {one}s"),
    }
}

/// A capacity: `44`, or with a sign before it if more weren't tried.
pub(super) fn capacity(of: &Capacity, at_least: &str) -> String {
    match of.limited_by {
        LimitedBy::Period => of.plugins.to_string(),
        LimitedBy::SweepEnd => format!("{at_least}{}", of.plugins),
    }
}
