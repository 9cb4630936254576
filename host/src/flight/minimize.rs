//! Shrinks a recording to the shortest that still fails: each trial in a fresh worker.
//!
//! First what costs one trial each: no state, no parameters, silence, no events, what lies behind the
//! failure. Then fewer blocks, and of these fewer events, after Zeller and Hildebrandt's *delta
//! debugging*: parts are left out, large ones first, as long as what remains still fails.

use super::file::{Failure, Flight};
use super::replay::{ReplayOptions, Replayed, replay};
use crate::error::Error;
use sandrack_sandbox::supervisor::Supervisor;
use std::time::{Duration, Instant};

/// How long it may go on.
#[derive(Clone, Copy, Debug)]
pub struct MinimizeOptions {
    /// Most trials.
    pub trials: usize,
    /// Longest time; the trial under way is ended.
    pub time: Duration,
}

impl Default for MinimizeOptions {
    /// 500 trials, ten minutes.
    fn default() -> Self {
        Self { trials: 500, time: Duration::from_secs(600) }
    }
}

/// How far it has come: trials so far, and the shortest recording.
pub type Progress<'a> = &'a mut dyn FnMut(usize, &Flight);

/// The result.
pub struct Minimized {
    /// The shortest recording that was found to fail.
    pub flight: Flight,
    /// How it fails.
    pub replayed: Replayed,
    /// Trials that it took.
    pub trials: usize,
    /// Whether nothing more could be left out; else trials or time ran out.
    pub is_done: bool,
}

/// Shrinks a recording. `None`: it does not fail as it is.
///
/// # Errors
/// As of [`replay`].
pub fn minimize(
    supervisor: &Supervisor,
    flight: &Flight,
    replays: &ReplayOptions,
    options: MinimizeOptions,
    progress: Progress<'_>,
) -> Result<Option<Minimized>, Error> {
    let first = replay(supervisor, flight, replays, &mut |_, _| {})?;
    let Some(failure) = first.failure.filter(|_| first.reproduces(flight)) else {
        return Ok(None);
    };
    let mut search = Search {
        supervisor,
        replays,
        failure,
        symbol: first.details.symbol.clone().map(|symbol| function(&symbol)),
        best: cut(flight, &first),
        replayed: first,
        trials: 1,
        options,
        end: Instant::now() + options.time,
        progress,
    };
    search.whole()?;
    search.blocks()?;
    search.events()?;
    let is_done = search.has_time();
    let Search { best, replayed, trials, .. } = search;
    Ok(Some(Minimized { flight: best, replayed, trials, is_done }))
}

/// Without what lies behind the failure.
fn cut(flight: &Flight, replayed: &Replayed) -> Flight {
    let mut flight = flight.clone();
    if let Some(at) = replayed.at {
        flight.blocks.truncate(at + 1);
    }
    flight
}

/// A symbol without the distance from its beginning.
fn function(symbol: &str) -> String {
    symbol.rsplit_once('+').map_or(symbol, |(function, _)| function).to_owned()
}

struct Search<'a> {
    supervisor: &'a Supervisor,
    replays: &'a ReplayOptions,
    failure: Failure,
    /// In which function, if known: another failure is another's recording.
    symbol: Option<String>,
    best: Flight,
    replayed: Replayed,
    trials: usize,
    options: MinimizeOptions,
    end: Instant,
    progress: Progress<'a>,
}

impl Search<'_> {
    fn has_time(&self) -> bool {
        self.trials < self.options.trials && Instant::now() < self.end
    }

    /// Takes this one if it fails as well.
    fn attempt(&mut self, flight: Flight) -> Result<bool, Error> {
        if !self.has_time() {
            return Ok(false);
        }
        self.trials += 1;
        let replayed = replay(self.supervisor, &flight, self.replays, &mut |_, _| {})?;
        let symbol = replayed.details.symbol.as_deref().map(function);
        let same = replayed.failure == Some(self.failure) && symbol == self.symbol;
        if same {
            self.best = cut(&flight, &replayed);
            self.replayed = replayed;
        }
        (self.progress)(self.trials, &self.best);
        Ok(same)
    }

    /// Leaves out all of something.
    fn whole(&mut self) -> Result<(), Error> {
        if self.best.state.is_some() || !self.best.head.params.is_empty() {
            let mut flight = self.best.clone();
            flight.state = None;
            flight.head.has_state = false;
            if !self.attempt(flight.clone())? && !flight.head.params.is_empty() {
                flight.head.params.clear();
                self.attempt(flight)?;
            }
        }
        if !self.best.head.params.is_empty() {
            let mut flight = self.best.clone();
            flight.head.params.clear();
            self.attempt(flight)?;
        }
        if self.best.events() > 0 {
            let mut flight = self.best.clone();
            flight.blocks.iter_mut().for_each(|block| block.events.clear());
            self.attempt(flight)?;
        }
        let is_silent = |flight: &Flight| {
            flight.blocks.iter().all(|block| block.audio.iter().all(|sample| *sample == 0.0))
        };
        if !is_silent(&self.best) {
            let mut flight = self.best.clone();
            flight.blocks.iter_mut().for_each(|block| block.audio.fill(0.0));
            self.attempt(flight)?;
        }
        Ok(())
    }

    /// Leaves out blocks.
    fn blocks(&mut self) -> Result<(), Error> {
        // Often only the last few count.
        let mut last = 1;
        while last < self.best.blocks.len() && self.has_time() {
            let mut flight = self.best.clone();
            flight.blocks.drain(..flight.blocks.len() - last);
            if self.attempt(flight)? {
                break;
            }
            last *= 4;
        }
        self.reduce(
            |flight| flight.blocks.len(),
            |flight, range| {
                flight.blocks.drain(range);
            },
        )
    }

    /// Leaves out events.
    fn events(&mut self) -> Result<(), Error> {
        self.reduce(Flight::events, |flight, range| {
            let mut number = 0;
            for block in &mut flight.blocks {
                block.events.retain(|_| {
                    number += 1;
                    !range.contains(&(number - 1))
                });
            }
        })
    }

    /// Leaves out parts of so many things, halves first, then smaller ones.
    fn reduce(
        &mut self,
        count: impl Fn(&Flight) -> usize,
        remove: impl Fn(&mut Flight, std::ops::Range<usize>),
    ) -> Result<(), Error> {
        let mut part = count(&self.best).div_ceil(2);
        while part > 0 && self.has_time() {
            let mut at = 0;
            let mut any = false;
            while at < count(&self.best) && self.has_time() {
                let end = (at + part).min(count(&self.best));
                let mut flight = self.best.clone();
                remove(&mut flight, at..end);
                if self.attempt(flight)? {
                    any = true;
                } else {
                    at = end;
                }
            }
            part = match part {
                1 if any => 1,
                1 => 0,
                part => part.div_ceil(2),
            };
        }
        Ok(())
    }
}
