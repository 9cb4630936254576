//! How many plugins fit: predicted from runs, then tried.

use super::run::Rig;
use super::{BenchOptions, CAPACITY_LIMIT};
use crate::error::Error;
use crate::report::{Capacity, Empty, LimitedBy, Percentile, Run};

/// Most runs of one search.
const MOST_TRIES: usize = 6;

/// Finds the largest number of plugins whose callback stays under the limit.
pub(super) fn search(
    rig: &mut Rig<'_>,
    options: &BenchOptions,
    frames: u32,
    load_us: f64,
    empty: &Empty,
    mut step: impl FnMut(),
) -> Result<Capacity, Error> {
    let percentile = percentile(empty, frames, options.rate);
    let mut search = Search { most: options.most, fits: 0, fails: options.most + 1 };
    let mut try_it = |plugins: u32| -> Result<(bool, Run), Error> {
        step();
        // Others use this machine too: a number fails only if it fails twice.
        let length = options.length(frames);
        let run = rig.run(frames, plugins, load_us, length)?;
        if fits(&run, percentile) {
            return Ok((true, run));
        }
        let run = rig.run(frames, plugins, load_us, length)?;
        Ok((fits(&run, percentile), run))
    };
    let mut next = (options.most / 8).clamp(1, 8);
    for _ in 0..MOST_TRIES {
        let (ok, run) = try_it(next)?;
        search.note(next, ok);
        match search.next(next, &run, percentile) {
            Some(plugins) => next = plugins,
            None => break,
        }
    }
    Ok(Capacity {
        frames,
        rate: options.rate,
        load_us,
        isolation: rig.isolation(),
        plugins: search.fits * options.tracks,
        limited_by: match search.fits >= options.most {
            true => LimitedBy::SweepEnd,
            false => LimitedBy::Period,
        },
        percentile,
    })
}

/// The highest percentile at which the machine itself is quiet.
fn percentile(empty: &Empty, frames: u32, rate: u32) -> Percentile {
    let period_us = f64::from(frames) * 1e6 / f64::from(rate);
    match empty.callback_us.highest() {
        Some((Percentile::P99 | Percentile::P999, _))
            if empty.callback_us.p99.is_some_and(|p99| p99 < 0.2 * period_us) =>
        {
            Percentile::P99
        }
        _ => Percentile::P50,
    }
}

fn fits(run: &Run, percentile: Percentile) -> bool {
    run.load.get(percentile).is_some_and(|load| load <= CAPACITY_LIMIT)
}

struct Search {
    most: u32,
    fits: u32,
    fails: u32,
}

impl Search {
    fn note(&mut self, plugins: u32, ok: bool) {
        match ok {
            true => self.fits = self.fits.max(plugins),
            false => self.fails = self.fails.min(plugins),
        }
    }

    /// The next number to try: where the limit is expected if cost grows evenly, kept inside
    /// what is still open. `None`: found, to a thirtieth.
    fn next(&self, tried: u32, run: &Run, percentile: Percentile) -> Option<u32> {
        if self.fails <= self.fits + 1 + self.fits / 30 {
            return None;
        }
        let load = run.load.get(percentile).filter(|load| *load > 0.0)?;
        let expected = (f64::from(tried) * CAPACITY_LIMIT / load) as u32;
        // Not onto what is known: half way, where the expectation says nothing new.
        let (low, high) = (self.fits + 1, self.fails - 1);
        if high == self.most && expected >= high {
            return Some(high);
        }
        Some(
            match expected {
                e if e <= self.fits => self.fits + (self.fails - self.fits).div_ceil(4),
                e if e >= self.fails => self.fails - (self.fails - self.fits).div_ceil(4),
                e => e,
            }
            .clamp(low, high),
        )
    }
}
