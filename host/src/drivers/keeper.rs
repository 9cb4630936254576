//! Keeps a driver playing: whatever it asks for while it runs, and however often it goes away.
//!
//! ```text
//!            asks for a reset, another size or rate; stands still; is unplugged
//!   playing ────────────────────────────────────────────────────────────────▶ opening ◀─┐
//!      ▲                                                                        │    │   │ pause
//!      └──────── opened and started, with the same callback if nothing changed ─┘    └─▶ waiting
//! ```
//!
//! A driver is stopped, let go and opened anew, as ASIO prescribes for a reset; that is done for
//! every change, so there is one way to go wrong. Opening may take seconds and is done on a thread
//! of its own: [`Keeper::service`] waits for the driver to stop, and for nothing else.

use super::registry::Settings;
use super::{Callback, Driver, DriverConfig, DriverEvent, DriverOptions};
use crate::error::Error;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Whoever is played.
pub trait Played {
    /// What to call back, now that the driver runs so. `before`: what it called until now, if there
    /// was such a thing and it came back; it may go on where the configuration is the same, and
    /// must otherwise be dropped before another is made.
    ///
    /// # Errors
    /// It can't be played so; the keeper gives up.
    fn connect(
        &mut self,
        config: &DriverConfig,
        before: Option<Box<dyn Callback>>,
    ) -> Result<Box<dyn Callback>, Error>;
}

/// What has become of a driver.
#[derive(Clone, Debug, PartialEq)]
pub enum KeeperEvent {
    /// It was stopped, and is opened anew: why.
    Interrupted(String),
    /// It plays again, like this.
    Resumed {
        /// Rate, size and channels that are in force.
        config: DriverConfig,
        /// Since it was interrupted.
        after: Duration,
    },
    /// It can't be opened: why. It is tried again; said once for each reason.
    Waiting(String),
    /// [`Driver::latency`] is another: frames in, frames out.
    Latency(u32, u32),
    /// Its blocks have so many frames from now on; it plays on.
    Blocks(u32),
    /// It says that its position has jumped.
    Resync,
    /// It says that it was too late for the hardware.
    Overload,
    /// It has ended by itself, as one with a limit does.
    Ended,
}

/// Opens the driver; on whatever thread.
type Open = dyn Fn(&DriverConfig, Option<Settings>) -> Result<Box<dyn Driver>, Error> + Send + Sync;

/// Keeps a driver playing; see the [module](self). For one control thread.
pub struct Keeper {
    open: Arc<Open>,
    wanted: DriverConfig,
    /// What was in force last.
    config: DriverConfig,
    settings: Option<Settings>,
    latency: (u32, u32),
    /// Counted by drivers that are gone.
    before: Totals,
    state: State,
    /// The callback, while no driver has it.
    kept: Option<Box<dyn Callback>>,
    interrupted: Instant,
    /// When it is opened anew, as it has asked for, and why. Until then it plays on.
    due: Option<(Instant, String)>,
    pace: Pace,
    told: String,
}

#[derive(Clone, Copy, Default)]
struct Totals {
    blocks: u64,
    xruns: u64,
}

enum State {
    Playing(Box<dyn Driver>),
    Opening(JoinHandle<Result<Box<dyn Driver>, Error>>),
    Waiting(Instant),
    Ended,
}

/// How soon a driver gets what it asks for.
#[derive(Default)]
pub(crate) struct Pace {
    last: Option<Instant>,
    pause: Duration,
}

impl Pace {
    /// A driver that asks for a reset each time it is started is served ever less often, and plays
    /// in between.
    const SHORTEST: Duration = Duration::from_millis(100);
    const LONGEST: Duration = Duration::from_secs(5);
    /// After so long without trouble it is served at once again.
    const PEACE: Duration = Duration::from_secs(3);

    /// When to do what it asks for now.
    pub(crate) fn next(&mut self, now: Instant) -> Instant {
        let quiet = self.last.is_none_or(|last| now > last + self.pause + Self::PEACE);
        let due = if quiet { now } else { now + self.pause };
        self.pause = match quiet {
            true => Self::SHORTEST,
            false => (2 * self.pause).min(Self::LONGEST),
        };
        self.last = Some(due);
        due
    }
}

impl Keeper {
    /// Opens the driver `name` and starts it; see [`super::open`].
    ///
    /// # Errors
    /// The first time, it has to work: as of opening, starting, and [`Played::connect`].
    pub fn start(
        name: &str,
        wanted: &DriverConfig,
        options: &DriverOptions,
        played: &mut dyn Played,
    ) -> Result<Self, Error> {
        let (name, options) = (name.to_owned(), options.clone());
        let open = move |wanted: &DriverConfig, before: Option<Settings>| {
            super::open(&name, wanted, &DriverOptions { before, ..options.clone() })
        };
        Self::with(open, wanted, played)
    }

    /// The same with a driver that is opened in another way. The second argument: what its user had
    /// set when it was open before, if it was.
    ///
    /// # Errors
    /// As of [`start`](Self::start).
    pub fn with(
        open: impl Fn(&DriverConfig, Option<Settings>) -> Result<Box<dyn Driver>, Error>
        + Send
        + Sync
        + 'static,
        wanted: &DriverConfig,
        played: &mut dyn Played,
    ) -> Result<Self, Error> {
        let driver = open(wanted, None)?;
        let mut keeper = Self {
            open: Arc::new(open),
            wanted: wanted.clone(),
            config: driver.config().clone(),
            settings: None,
            latency: (0, 0),
            before: Totals::default(),
            state: State::Ended,
            kept: None,
            interrupted: Instant::now(),
            due: None,
            pace: Pace::default(),
            told: String::new(),
        };
        keeper.play(driver, played)??;
        Ok(keeper)
    }

    /// What is, or was last, in force.
    pub fn config(&self) -> &DriverConfig {
        &self.config
    }

    /// What the driver adds, in frames: see [`Driver::latency`].
    pub fn latency(&self) -> (u32, u32) {
        self.latency
    }

    /// The driver, while it plays.
    pub fn driver(&mut self) -> Option<&mut dyn Driver> {
        match &mut self.state {
            State::Playing(driver) => Some(&mut **driver),
            _ => None,
        }
    }

    /// Whether it has ended by itself, or was stopped.
    pub fn has_ended(&self) -> bool {
        matches!(self.state, State::Ended)
    }

    /// Callbacks so far, over all interruptions.
    pub fn blocks(&self) -> u64 {
        self.totals().blocks
    }

    /// Callbacks missed so far, without those of interruptions.
    pub fn xruns(&self) -> u64 {
        self.totals().xruns
    }

    fn totals(&self) -> Totals {
        match &self.state {
            State::Playing(driver) => Totals {
                blocks: self.before.blocks + driver.blocks(),
                xruns: self.before.xruns + driver.xruns(),
            },
            _ => self.before,
        }
    }

    /// Asks for another rate or size, or other channels, from now on.
    pub fn change(&mut self, wanted: &DriverConfig) {
        self.wanted = wanted.clone();
        if let State::Playing(_) = self.state {
            self.interrupt(Instant::now());
        }
    }

    /// Does what is due, and tells what has happened. To be called some times a second.
    ///
    /// # Errors
    /// Nothing is left to be played: the callback panicked, or [`Played::connect`] failed.
    pub fn service(&mut self, played: &mut dyn Played) -> Result<Vec<KeeperEvent>, Error> {
        let mut events = Vec::new();
        let now = Instant::now();
        match &mut self.state {
            State::Playing(driver) => {
                let said = driver.take_events();
                let running = driver.running();
                self.hear(said, running, now, &mut events)?;
            }
            State::Waiting(until) if now >= *until => self.begin_opening(&mut events),
            State::Opening(thread) if thread.is_finished() => {
                let State::Opening(thread) = std::mem::replace(&mut self.state, State::Ended)
                else {
                    return Ok(events);
                };
                match thread.join().unwrap_or_else(|_| Err(panicked())) {
                    Err(error) => self.wait(&error, &mut events),
                    Ok(driver) => match self.play(driver, played)? {
                        Err(error) => self.wait(&error, &mut events),
                        Ok(()) => {
                            self.told.clear();
                            events.push(KeeperEvent::Resumed {
                                config: self.config.clone(),
                                after: self.interrupted.elapsed(),
                            });
                        }
                    },
                }
            }
            _ => {}
        }
        Ok(events)
    }

    /// What the driver has said.
    fn hear(
        &mut self,
        said: Vec<DriverEvent>,
        running: bool,
        now: Instant,
        events: &mut Vec<KeeperEvent>,
    ) -> Result<(), Error> {
        let (mut why, mut gone) = (None, None);
        for event in said {
            match event {
                DriverEvent::Resync => events.push(KeeperEvent::Resync),
                DriverEvent::Overload => events.push(KeeperEvent::Overload),
                DriverEvent::LatencyChanged => {
                    if let State::Playing(driver) = &self.state {
                        self.latency = driver.latency();
                    }
                    events.push(KeeperEvent::Latency(self.latency.0, self.latency.1));
                }
                DriverEvent::ResetRequested => why = Some("it asks for a reset".to_owned()),
                DriverEvent::BlocksChanged(frames) => {
                    self.config.frames = frames;
                    self.wanted.frames = frames;
                    events.push(KeeperEvent::Blocks(frames));
                }
                DriverEvent::BufferSizeChanged(frames) => {
                    self.wanted.frames = frames;
                    why = Some(format!("its buffers have {frames} frames now"));
                }
                DriverEvent::RateChanged(rate) => {
                    self.wanted.rate = rate;
                    why = Some(format!("it runs at {rate} Hz now"));
                }
                DriverEvent::Gone(reason) => gone = Some(reason),
            }
        }
        if let Some(why) = why {
            let due = self.due.take().map_or_else(|| self.pace.next(now), |(due, _)| due);
            self.due = Some((due, why));
        }
        if let Some((_, why)) = self.due.take_if(|(due, _)| now >= *due) {
            gone.get_or_insert(why);
        }
        if let Some(why) = gone {
            events.push(KeeperEvent::Interrupted(why));
            self.interrupt(now);
        } else if !running {
            // At its end, or by a panic, which is told by stopping it.
            if let State::Playing(mut driver) = std::mem::replace(&mut self.state, State::Ended) {
                self.count(&*driver);
                drop(driver.stop()?);
            }
            events.push(KeeperEvent::Ended);
        }
        Ok(())
    }

    /// Stops the driver and lets it go; it is opened anew as soon as it may be.
    fn interrupt(&mut self, now: Instant) {
        self.due = None;
        let before = std::mem::replace(&mut self.state, State::Waiting(now));
        if let State::Playing(mut driver) = before {
            self.interrupted = now;
            self.settings = driver.settings();
            self.count(&*driver);
            match driver.stop() {
                Ok(callback) => self.kept = Some(callback),
                // Its callback hangs, or has panicked: another one is made.
                Err(error) => tracing::warn!(%error, "at an interruption"),
            }
        }
    }

    fn count(&mut self, driver: &dyn Driver) {
        self.before.blocks += driver.blocks();
        self.before.xruns += driver.xruns();
    }

    fn begin_opening(&mut self, events: &mut Vec<KeeperEvent>) {
        let (open, wanted, settings) = (Arc::clone(&self.open), self.wanted.clone(), self.settings);
        let thread = std::thread::Builder::new()
            .name("open driver".into())
            .spawn(move || open(&wanted, settings));
        match thread {
            Ok(thread) => self.state = State::Opening(thread),
            Err(source) => self.wait(&Error::File { path: "thread".into(), source }, events),
        }
    }

    fn wait(&mut self, error: &Error, events: &mut Vec<KeeperEvent>) {
        /// Someone has to plug it in again, or to end another program.
        const PAUSE: Duration = Duration::from_secs(1);
        self.state = State::Waiting(Instant::now() + PAUSE);
        let why = error.to_string();
        if self.told != why {
            self.told.clone_from(&why);
            events.push(KeeperEvent::Waiting(why));
        }
    }

    /// Starts an opened driver. The outer error: there is nothing to play; the inner one: it does
    /// not start.
    fn play(
        &mut self,
        mut driver: Box<dyn Driver>,
        played: &mut dyn Played,
    ) -> Result<Result<(), Error>, Error> {
        let config = driver.config().clone();
        let callback = played.connect(&config, self.kept.take())?;
        self.config = config;
        self.settings = driver.settings();
        self.latency = driver.latency();
        if let Err(error) = driver.start(callback) {
            return Ok(Err(error));
        }
        self.state = State::Playing(driver);
        Ok(Ok(()))
    }

    /// Stops. The callback comes back if a driver has one, or none has it.
    ///
    /// # Errors
    /// As of [`Driver::stop`].
    pub fn stop(&mut self) -> Result<Option<Box<dyn Callback>>, Error> {
        match std::mem::replace(&mut self.state, State::Ended) {
            State::Playing(mut driver) => {
                self.count(&*driver);
                driver.stop().map(Some)
            }
            // What is being opened is let go as soon as it is there.
            _ => Ok(self.kept.take()),
        }
    }
}

fn panicked() -> Error {
    Error::Plan { reason: "opening the driver panicked: report this".to_owned() }
}

#[cfg(test)]
mod tests;
