//! Which of many figures to show: the choices that text and page share.

use std::collections::BTreeSet;

use super::format::{count, ms, setting};
use super::{Capacity, Isolation, LimitedBy, Report, Run};

/// The buffer size a live player would look at first, frames.
const FRAMES: f64 = 64.0;
/// A plugin of middling weight, us.
const LOAD_US: f64 = 20.0;

impl Report {
    /// Loads that were measured, from light to heavy.
    pub(super) fn loads(&self) -> Vec<f64> {
        let all =
            self.capacity.iter().map(|c| c.load_us).chain(self.runs.iter().map(|r| r.load_us));
        let mut loads: Vec<f64> = all.collect();
        loads.sort_by(f64::total_cmp);
        loads.dedup();
        loads
    }

    /// Buffer sizes that were measured, with their rates, from small to large.
    pub(super) fn sizes(&self) -> Vec<(u32, u32)> {
        let runs = self.runs.iter().map(|r| (r.frames, r.rate));
        let capacity = self.capacity.iter().map(|c| (c.frames, c.rate));
        let all: BTreeSet<(u32, u32)> =
            runs.chain(capacity.filter(|(_, rate)| *rate > 0)).collect();
        if !all.is_empty() {
            return all.into_iter().collect();
        }
        let frames: BTreeSet<u32> = self.capacity.iter().map(|c| c.frames).collect();
        frames.into_iter().map(|frames| (frames, self.rate())).collect()
    }

    /// The rate, frames per second, where it isn't said otherwise.
    pub(super) fn rate(&self) -> u32 {
        self.runs.first().map_or(48_000, |run| run.rate)
    }

    /// Isolations that were measured.
    pub(super) fn isolations(&self) -> Vec<Isolation> {
        let has = |i: &Isolation| {
            self.capacity.iter().any(|c| c.isolation == *i)
                || self.runs.iter().any(|r| r.isolation == *i)
        };
        Isolation::ALL.into_iter().filter(has).collect()
    }

    /// The capacity of one configuration.
    pub(super) fn capacity_of(
        &self,
        frames: u32,
        load_us: f64,
        isolation: Isolation,
    ) -> Option<&Capacity> {
        self.capacity
            .iter()
            .find(|c| c.frames == frames && c.load_us == load_us && c.isolation == isolation)
    }

    /// The load that stands for all of them.
    pub(super) fn focus_load(&self) -> Option<f64> {
        nearest(self.loads().into_iter(), LOAD_US)
    }

    /// The buffer size that stands for all of them.
    pub(super) fn focus_frames(&self) -> Option<u32> {
        nearest(self.sizes().iter().map(|(frames, _)| f64::from(*frames)), FRAMES).map(|f| f as u32)
    }

    /// The most isolated way of running that was measured.
    pub(super) fn focus_isolation(&self) -> Isolation {
        self.isolations().first().copied().unwrap_or_default()
    }

    /// The run whose nodes are shown: the largest that fits at the size in focus.
    pub(super) fn focus_run(&self) -> Option<&Run> {
        let frames = self.focus_frames()?;
        let load = self.focus_load()?;
        let isolation = self.focus_isolation();
        let with_nodes = || self.runs.iter().filter(|r| !r.nodes.is_empty());
        let here = |r: &&Run| r.frames == frames && r.isolation == isolation;
        largest_that_fits(with_nodes().filter(here).filter(|r| r.load_us == load))
            .or_else(|| largest_that_fits(with_nodes().filter(here)))
            .or_else(|| largest_that_fits(with_nodes()))
    }

    /// One run for each buffer size, comparable with each other: the load in focus and, where
    /// there is one, the same number of plugins.
    pub(super) fn series(&self) -> Vec<&Run> {
        let (Some(load), isolation) = (self.focus_load(), self.focus_isolation()) else {
            return Vec::new();
        };
        let all = || self.runs.iter().filter(|r| r.isolation == isolation && r.load_us == load);
        let plugins = self.focus_run().map_or(1, |run| run.plugins);
        let of_size = |(frames, rate)| {
            all()
                .filter(|r| (r.frames, r.rate) == (frames, rate))
                .min_by_key(|r| (r.plugins.abs_diff(plugins), r.plugins))
        };
        self.sizes().into_iter().filter_map(of_size).collect()
    }

    /// The one sentence to remember. `us` is how microseconds are written.
    pub(super) fn headline(&self, us: &str) -> String {
        let (Some(frames), Some(load)) = (self.focus_frames(), self.focus_load()) else {
            return "Nothing was measured.".to_owned();
        };
        let in_ms =
            ms(frames, self.sizes().iter().find(|s| s.0 == frames).map_or(self.rate(), |s| s.1));
        let isolation = self.focus_isolation();
        if let Some(found) = self.capacity_of(frames, load, isolation) {
            let mut text = format!(
                "At {frames} frames ({in_ms}) this machine runs {} of {} {us}, {}",
                plugins(found),
                setting(load),
                isolation.words()
            );
            let others =
                [Isolation::Group, Isolation::None].into_iter().filter(|i| *i != isolation);
            for other in others.filter_map(|i| self.capacity_of(frames, load, i)) {
                text += &format!("; {} {}", number(other), other.isolation.words());
            }
            return text + ".";
        }
        match self.focus_run() {
            Some(run) => {
                let load = run.load.highest().map_or_else(String::new, |(percentile, value)| {
                    format!(
                        " took {} of the period ({})",
                        super::format::percent(value),
                        percentile.name()
                    )
                });
                format!(
                    "At {} frames ({}) {}, {},{load} with {}.",
                    run.frames,
                    ms(run.frames, run.rate),
                    count(run.plugins.into(), "plugin"),
                    run.isolation.words(),
                    count(run.xruns, "xrun")
                )
            }
            None => "No capacity was measured.".to_owned(),
        }
    }

    /// Whether a run asked for more than a period holds even in an ordinary block. Its xruns say
    /// nothing about the machine.
    pub(super) fn overloaded(&self, run: &Run) -> bool {
        let limit = if self.capacity_limit > 0.0 { self.capacity_limit } else { 1.0 };
        run.load.p50.is_some_and(|load| load >= limit)
    }

    /// The runs that asked for no more than a period holds.
    pub(super) fn fitting(&self) -> impl Iterator<Item = &Run> {
        self.runs.iter().filter(|run| !self.overloaded(run))
    }

    /// Whether runs of this size that fit had more dropouts than an empty callback.
    fn drops_out(&self, frames: u32, isolation: Isolation) -> bool {
        self.fitting().filter(|r| r.frames == frames && r.isolation == isolation).any(|r| {
            let empty = r.empty.as_ref().map_or(0, |e| e.xruns);
            r.xruns + r.late > empty
        })
    }

    /// What to do with the figures, a sentence or two each. `us` is how microseconds are written.
    pub(super) fn advice(&self, us: &str) -> Vec<String> {
        let mut advice = Vec::new();
        if let (Some(load), isolation) = (self.focus_load(), self.focus_isolation()) {
            let mut rows: Vec<&Capacity> = self
                .capacity
                .iter()
                .filter(|c| c.load_us == load && c.isolation == isolation)
                .collect();
            rows.sort_by_key(|c| c.frames);
            // Fewer than this is no rig to play.
            let playable = |c: &&&Capacity| c.plugins >= 8;
            let live = rows
                .iter()
                .find(|c| playable(c) && !self.drops_out(c.frames, isolation))
                .or(rows.iter().find(playable))
                .or(rows.last());
            if let Some(live) = live.filter(|c| c.plugins > 0) {
                let rate = if live.rate > 0 { live.rate } else { self.rate() };
                advice.push(format!(
                    "Live playing: set the buffer to {} frames ({}) for up to {} of {} {us}, {}.",
                    live.frames,
                    ms(live.frames, rate),
                    plugins(live),
                    setting(load),
                    isolation.words()
                ));
                if let Some(mix) = rows.last().filter(|mix| mix.frames > live.frames) {
                    let rate = if mix.rate > 0 { mix.rate } else { self.rate() };
                    advice.push(format!(
                        "Mixing: {} frames ({}) carries {}.",
                        mix.frames,
                        ms(mix.frames, rate),
                        plugins(mix)
                    ));
                }
            } else if !rows.is_empty() {
                advice.push(
                    "No buffer size carried a single plugin: close other programs, see the \
                     permissions below, and measure again."
                        .to_owned(),
                );
            }
        }
        let machine = &self.machine;
        if !machine.realtime_granted {
            advice.push(format!("Realtime priority is missing: {}.", sentence(&machine.realtime)));
        }
        if !machine.locked_memory_granted {
            advice
                .push(format!("Memory could not be locked: {}.", sentence(&machine.locked_memory)));
        }
        let noisy = self.runs.iter().filter_map(|r| r.empty.as_ref()).map(|e| e.xruns).sum::<u64>();
        if noisy > 0 {
            advice.push(format!(
                "An empty callback had {} in the same minutes, so this machine is not quiet: \
                 expect as many with any number of plugins.",
                count(noisy, "xrun")
            ));
        }
        advice
    }
}

/// A reason without what the sentence around it says already.
fn sentence(text: &str) -> &str {
    let text = text.trim().trim_end_matches('.');
    ["none: ", "no: "].into_iter().find_map(|start| text.strip_prefix(start)).unwrap_or(text)
}

fn plugins(of: &Capacity) -> String {
    let number = count(of.plugins.into(), "plugin");
    if of.limited_by == LimitedBy::SweepEnd { format!("at least {number}") } else { number }
}

fn number(of: &Capacity) -> String {
    super::format::capacity(of, "at least ")
}

/// The run of most plugins that stays within its period, or else the one of the fewest.
fn largest_that_fits<'a>(runs: impl Iterator<Item = &'a Run>) -> Option<&'a Run> {
    let fits = |run: &Run| run.load.highest().is_some_and(|(_, load)| load < 1.0);
    runs.max_by_key(|run| if fits(run) { i64::from(run.plugins) } else { -i64::from(run.plugins) })
}

/// The value nearest to `to` in proportion.
fn nearest(values: impl Iterator<Item = f64>, to: f64) -> Option<f64> {
    let distance = |value: &f64| (value.max(1e-3) / to).ln().abs();
    values.min_by(|a, b| distance(a).total_cmp(&distance(b)))
}
