//! One attacked plugin: strikes at random times, and is looked at afterwards.

use super::Playing;
use super::kinds::{Kind, Then};
use super::random::Random;
use super::tally::Tally;
use crate::errand::Errand;
use crate::session::{PluginAt, Session, SessionEvent};
use sandrack_sandbox::error::Error;
use sandrack_sandbox::format::PluginInfo;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Parameters of the hostile plugin that can be any.
pub(super) const KIND: u32 = 7;
const VALUE: u32 = 8;
const EDITS: u32 = 9;
const NONE: f64 = 0.0;

/// Between two faults of one plugin, on average.
const PAUSE: Duration = Duration::from_millis(150);
/// How long what goes on is let go on, at least and at most.
const HOLD: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(120));
/// The same, where the state has to be asked for first.
const HOLD_SAVING: Duration = Duration::from_millis(400);
/// Told once more to strike after so long: the block before may have been late.
const AGAIN: Duration = Duration::from_millis(250);
/// After so long a plugin that has not come back is lost.
const LOST: Duration = Duration::from_secs(15);
/// What has not reached its limit by then is ended: something holds it below.
const BURST: Duration = Duration::from_secs(4);
/// Edits that the plugin made itself may be lost if they are younger.
const EDITS_SAVED: Duration = Duration::from_secs(1);

/// What all attacked plugins are attacked with.
pub(super) struct Weapons {
    /// The kinds, and the value of the parameter that chooses each, by format.
    pub(super) kinds: Vec<Kind>,
    pub(super) values: [Vec<f64>; 2],
}

/// A plugin under attack.
pub(super) struct Attacked {
    at: PluginAt,
    /// Index of its format.
    format: usize,
    random: Random,
    phase: Phase,
    /// What the host set last.
    value: f64,
    /// What the plugin itself was made to change, and when.
    edits: Vec<(Instant, f64)>,
    /// It is being asked how it is, after the fault of then.
    asked: Option<(Instant, Errand<Result<PluginInfo, Error>>)>,
}

enum Phase {
    Resting {
        until: Instant,
    },
    /// Told to strike; `until`: to be stopped or ended then, if it goes on.
    Struck {
        kind: usize,
        since: Instant,
        again: Instant,
        until: Instant,
        fell: bool,
    },
    /// Ended by us, or by its earlier deeds.
    Ended {
        kind: usize,
        since: Instant,
    },
}

/// What a step works with.
pub(super) struct Step<'a> {
    pub(super) playing: &'a mut Playing,
    pub(super) session: &'a mut Session,
    pub(super) weapons: &'a Weapons,
    pub(super) tally: &'a mut Tally,
    pub(super) now: Instant,
    /// Whether new faults may begin.
    pub(super) strikes: bool,
}

impl Attacked {
    pub(super) fn new(at: PluginAt, format: usize, seed: u64, now: Instant) -> Self {
        let mut random = Random::new(seed);
        let until = now + random.pause(PAUSE);
        let edits = vec![(now, 0.0)];
        let phase = Phase::Resting { until };
        Self { at, format, random, phase, value: 0.5, edits, asked: None }
    }

    /// The engine is another now, and nothing is under way.
    pub(super) fn begin(&mut self, now: Instant) {
        self.phase = Phase::Resting { until: now + self.random.pause(PAUSE) };
    }

    pub(super) fn is_resting(&self) -> bool {
        matches!(self.phase, Phase::Resting { .. }) && self.asked.is_none()
    }

    /// Something happened to it.
    pub(super) fn hear(&mut self, event: &SessionEvent, step: &mut Step<'_>) {
        match event {
            SessionEvent::Died { cause, .. } => self.fell(false, cause, step),
            SessionEvent::Killed { why, .. } => self.fell(true, why, step),
            SessionEvent::Recovered { ms, .. } => self.recovered(*ms, step),
            SessionEvent::RestartFailed(..) => {
                // It can't be used like that.
                let now = step.now;
                let kind = self.kind();
                self.end(kind, now, step);
            }
            _ => {}
        }
    }

    /// Which kind it was last; of one at rest: any.
    fn kind(&self) -> usize {
        match self.phase {
            Phase::Struck { kind, .. } | Phase::Ended { kind, .. } => kind,
            Phase::Resting { .. } => 0,
        }
    }

    fn fell(&mut self, killed: bool, why: &str, step: &mut Step<'_>) {
        match &mut self.phase {
            Phase::Struck { kind, fell, .. } => {
                step.tally.fell(step.weapons.kinds[*kind].name, killed);
                *fell = true;
            }
            Phase::Ended { .. } => {}
            Phase::Resting { .. } => {
                tracing::debug!(track = self.at.track, why, "ended at rest");
                step.tally.late_deaths += 1;
                self.phase = Phase::Ended { kind: 0, since: step.now };
            }
        }
    }

    fn recovered(&mut self, ms: f64, step: &mut Step<'_>) {
        let kind = self.kind();
        let Kind { name, then, .. } = step.weapons.kinds[kind];
        let since = match self.phase {
            Phase::Struck { since, .. } | Phase::Ended { since, .. } => since,
            Phase::Resting { .. } => step.now,
        };
        let from_fault = step.now.saturating_duration_since(since).as_secs_f64() * 1e3;
        // How long a bomb takes to reach its limit is its own affair, and one that strikes when it is
        // asked for its state waits for that.
        let waits = matches!(then, Then::Bursts | Then::Saves);
        let ms = match self.phase {
            Phase::Struck { .. } if waits => ms,
            _ => from_fault,
        };
        step.tally.recovered(name, ms);
        self.ask_state(since, step);
        self.phase = Phase::Resting { until: step.now + self.random.pause(PAUSE) };
    }

    /// Asks it what it is now, on a thread of its own: it may strike at any time.
    fn ask_state(&mut self, fault: Instant, step: &Step<'_>) {
        let PluginAt { track, plugin } = self.at;
        let Some(node) = step.session.node(track, plugin) else { return };
        let (worker, number) = (Arc::clone(node.worker()), node.number());
        let errand = Errand::start("torture", move || worker.describe(number));
        self.asked = errand.ok().map(|errand| (fault, errand));
    }

    /// Whether it is as it was: what the host set, and what the plugin changed itself up to a second
    /// before the fault.
    fn check_state(&mut self, step: &mut Step<'_>) {
        let Some((fault, answer)) =
            self.asked.as_ref().and_then(|(fault, errand)| Some((*fault, errand.poll()?)))
        else {
            return;
        };
        self.asked = None;
        let Ok(Ok(info)) = answer else { return };
        let track = self.at.track;
        let value_of = |id| info.params.iter().find(|param| param.id == id).map(|p| p.value);
        let (Some(value), Some(edits)) = (value_of(VALUE), value_of(EDITS)) else { return };
        let old = |(at, _): &&(Instant, f64)| *at + EDITS_SAVED <= fault;
        let saved = self.edits.iter().filter(old).count().saturating_sub(1);
        let is_there = self.edits[saved..].iter().any(|(_, known)| *known == edits);
        step.tally.states += 1;
        if value != self.value || !is_there {
            tracing::warn!(track, value, expected = self.value, edits, "state lost");
            step.tally.states_lost += 1;
        }
        self.value = value;
        self.edits = vec![(step.now, edits)];
    }

    pub(super) fn step(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        self.check_state(step);
        match self.phase {
            Phase::Resting { until } if now >= until && step.strikes && self.asked.is_none() => {
                self.strike(step);
            }
            Phase::Resting { .. } => {}
            Phase::Struck { kind, since, again, until, fell } => {
                if now >= since + LOST {
                    self.lose(kind, step);
                } else if fell {
                } else if now >= until {
                    self.stop(kind, step);
                } else if now >= again && step.weapons.kinds[kind].then == Then::Falls {
                    self.tell(kind, step);
                    self.phase = Phase::Struck { kind, since, again: now + AGAIN, until, fell };
                }
            }
            Phase::Ended { kind, since } if now >= since + LOST => self.lose(kind, step),
            Phase::Ended { .. } => {}
        }
    }

    fn strike(&mut self, step: &mut Step<'_>) {
        let now = step.now;
        self.change_state(step);
        let kind = self.random.below(step.weapons.kinds.len());
        let Kind { name, then, .. } = step.weapons.kinds[kind];
        if !self.tell(kind, step) {
            return;
        }
        step.tally.strike(name);
        tracing::debug!(track = self.at.track, kind = name, "strikes");
        let hold = HOLD.0 + (HOLD.1 - HOLD.0).mul_f64(self.random.unit());
        let until = match then {
            Then::Goes | Then::Harms => now + hold,
            Then::Saves => {
                self.set_value(step);
                now + hold + HOLD_SAVING
            }
            Then::Bursts => now + BURST,
            Then::Falls | Then::Loads => now + LOST,
        };
        self.phase = Phase::Struck { kind, since: now, again: now + AGAIN, until, fell: false };
    }

    /// Past the session, which would have it strike again when it is back.
    fn tell(&mut self, kind: usize, step: &mut Step<'_>) -> bool {
        let value = step.weapons.values[self.format][kind];
        self.set_past_session(KIND, value, step)
    }

    fn set_past_session(&self, param: u32, value: f64, step: &mut Step<'_>) -> bool {
        let node = step.playing.nodes[self.at.track][self.at.plugin].0;
        step.playing.controller.set_param(node, param, value).is_ok()
    }

    /// Now and then, right before a fault: a parameter, and what is in the state only.
    fn change_state(&mut self, step: &mut Step<'_>) {
        if self.random.below(3) == 0 {
            let edits = self.random.below(1 << 20) as f64 / f64::from(1 << 20);
            if self.set_past_session(EDITS, edits, step) {
                // It is not the plugin's own doing; one that changed by itself would say so.
                step.playing.live.state_changed(self.at);
                self.edits.push((step.now, edits));
            }
        }
        if self.random.below(2) == 0 {
            self.set_value(step);
        }
    }

    fn set_value(&mut self, step: &mut Step<'_>) {
        let value = self.random.below(1 << 20) as f64 / f64::from(1 << 20);
        let Step { playing, session, .. } = step;
        let Playing { live, controller, .. } = &mut **playing;
        let set = live.set_param(session, controller, self.at, VALUE, value);
        if set.is_ok() {
            self.value = value;
        }
    }

    /// It has gone on for long enough.
    fn stop(&mut self, kind: usize, step: &mut Step<'_>) {
        let now = step.now;
        self.set_past_session(KIND, NONE, step);
        match step.weapons.kinds[kind].then {
            Then::Harms | Then::Saves | Then::Bursts => self.end(kind, now, step),
            _ => self.phase = Phase::Resting { until: now + self.random.pause(PAUSE) },
        }
    }

    fn end(&mut self, kind: usize, since: Instant, step: &mut Step<'_>) {
        if let Some(node) = step.session.node(self.at.track, self.at.plugin) {
            node.worker().end_now();
        }
        self.phase = Phase::Ended { kind, since };
    }

    fn lose(&mut self, kind: usize, step: &mut Step<'_>) {
        let name = step.weapons.kinds[kind].name;
        tracing::warn!(track = self.at.track, kind = name, "it has not come back");
        step.tally.lost(name);
        let now = step.now;
        self.end(kind, now, step);
    }
}
