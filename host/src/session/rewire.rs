//! From one mixer to another while it plays: what does not change goes on to the bit, what changes
//! fades.
//!
//! 1. Routes that are to go are faded to silence; plugins that are to go, or to move, to their
//!    fallback.
//! 2. If one of these has a delay: a plan in which it has none, so that it is a mere wire. The old
//!    delay turns into none.
//! 3. A plan of the new mixer. Where a wire was or will be, no bit changes. What is new fades in, as
//!    the engine does with all that is new in a plan that follows another.
//! 4. Plugins that have moved get their delay back, and are heard again.
//!
//! Each step waits for the engine, none of them here: it is taken at a later call.

use super::mixer::{Mixer, Part, Route};
use super::recovery::Recovery;
use super::{Live, PluginAt, Session};
use sandrack_engine::Controller;
use std::collections::BTreeSet;

/// How far the way to another mixer is.
#[derive(Default)]
pub(super) struct Rewiring {
    /// What was asked for last.
    wanted: Option<Mixer>,
    /// Whether plugins that it does not name leave.
    retires: bool,
    stage: Stage,
    /// What is being brought about.
    going: Mixer,
    /// What was before, should it be impossible.
    before: Option<Mixer>,
    /// Plugins whose fallback is heard meanwhile.
    held: BTreeSet<PluginAt>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Stage {
    #[default]
    Rest,
    /// Until this block what leaves fades out.
    Fading(u64),
    /// The plan without its delays is on its way.
    Wiring,
    /// Until this block the delays turn into none.
    Crossing(u64),
    /// The new plan is on its way.
    Plugging,
    /// The plan with the delays of what has moved is on its way.
    Returning,
}

impl Rewiring {
    pub(super) fn is_busy(&self) -> bool {
        self.stage != Stage::Rest || self.wanted.is_some()
    }

    pub(super) fn holds(&self, at: PluginAt) -> bool {
        self.held.contains(&at)
    }

    /// For another engine, which knows nothing of what was under way.
    pub(super) fn begin_again(self) -> Self {
        Self { wanted: self.wanted, retires: self.retires, ..Self::default() }
    }
}

/// What a fader's ramp, and the engine's ramp between plugin and fallback, take at most, s.
const RAMP: f64 = 0.006;
/// Frames in which one delay turns into another.
const CROSSING: u32 = 256;

impl Live {
    /// Wants another mixer: it comes in the course of the next calls of [`service`](Self::service),
    /// faders and pans with the next one. The plugins that it names are in the session; those that
    /// it names no more leave the session when it is there.
    pub fn rewire(&mut self, wanted: Mixer) {
        self.rewiring.wanted = Some(wanted);
        self.rewiring.retires = true;
    }

    /// Wants other faders and pans in the mixer that there is. Plugins that it does not name stay in
    /// the session: they may have been loaded for the next one.
    pub fn move_to(&mut self, wanted: Mixer) {
        self.rewiring.wanted = Some(wanted);
        self.rewiring.retires = false;
    }

    /// Whether a mixer that was wanted is not there yet.
    pub fn is_rewiring(&self) -> bool {
        self.rewiring.is_busy()
    }

    /// Takes the next steps. `recovery` forgets what leaves.
    pub(super) fn step_rewiring(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
        mut recovery: Option<&mut Recovery>,
    ) {
        if !self.rewiring.is_busy() || session.mixer.is_none() {
            return;
        }
        let have_moved = self.move_faders(session, controller);
        let block = controller.last_block();
        loop {
            let is_free = !self.is_outdated() && controller.is_settled();
            match self.rewiring.stage {
                Stage::Rest => {
                    let Some(wanted) = &self.rewiring.wanted else { return };
                    let same = session.mixer.as_ref().is_some_and(|now| now.has_shape_of(wanted));
                    if same {
                        if have_moved {
                            self.rewiring.wanted = None;
                            if self.rewiring.retires {
                                session.retire_unused();
                            }
                        }
                        return;
                    }
                    self.rewiring.going = wanted.clone();
                    let fades = self.fade(session, controller, recovery.as_deref_mut());
                    let until = if fades { block + self.blocks(0) } else { block };
                    self.rewiring.stage = Stage::Fading(until);
                }
                Stage::Fading(until) => {
                    if block < until || !is_free {
                        return;
                    }
                    let mut has_delay = false;
                    for at in &self.rewiring.held {
                        if let Some(plugin) = session.plugins.get_mut(at) {
                            plugin.is_wire = true;
                            has_delay |= plugin.latency > 0;
                        }
                    }
                    if has_delay {
                        self.is_stale = true;
                        self.rewiring.stage = Stage::Wiring;
                        return;
                    }
                    return self.plug(session);
                }
                Stage::Wiring => {
                    if !is_free {
                        return;
                    }
                    let latencies = session.plugins.values().map(|plugin| plugin.latency);
                    let longest = latencies.fold(0u32, u32::saturating_add);
                    let until = block + self.blocks(longest.saturating_add(CROSSING));
                    self.rewiring.stage = Stage::Crossing(until);
                }
                Stage::Crossing(until) => {
                    if block < until || !is_free {
                        return;
                    }
                    return self.plug(session);
                }
                Stage::Plugging => {
                    if !is_free {
                        return;
                    }
                    self.rewiring.before = None;
                    self.unplug(session, controller);
                    self.rewiring.stage = Stage::Returning;
                }
                Stage::Returning => {
                    if !is_free {
                        return;
                    }
                    self.rewiring.stage = Stage::Rest;
                }
            }
        }
    }

    /// So many blocks that a ramp, and so many frames, are over.
    fn blocks(&self, frames: u32) -> u64 {
        let ramp = (self.config.rate * RAMP).ceil() as u64;
        (ramp + u64::from(frames)).div_ceil(u64::from(self.config.max_frames.max(1))) + 3
    }

    /// Moves faders, pans and routes to where they are wanted. False: not all, the queue is full.
    fn move_faders(&mut self, session: &mut Session, controller: &mut Controller) -> bool {
        let (Some(mixer), Some(wanted)) = (&mut session.mixer, &self.rewiring.wanted) else {
            return true;
        };
        let mut all = true;
        let mut parts = Vec::new();
        for (key, new) in &wanted.strips {
            let Some(strip) = mixer.strips.get(key) else { continue };
            if strip.gain != new.gain {
                parts.push((Part::Fader(*key), new.gain));
            }
            if strip.pan != new.pan {
                parts.push((Part::Pan(*key), new.pan));
            }
        }
        // One that is on its way out stays there, and comes anew.
        let leaves = |route: &Route| {
            self.rewiring.stage != Stage::Rest && !self.rewiring.going.routes.contains_key(route)
        };
        for (route, gain) in wanted.routes.iter().filter(|(route, _)| !leaves(route)) {
            if mixer.routes.get(route).is_some_and(|now| now != gain) {
                parts.push((Part::Route(*route), *gain));
            }
        }
        for (part, value) in parts {
            let Some(node) = mixer.node(part) else { continue };
            let told = match part {
                Part::Pan(_) => controller.set_pan(node, value),
                _ => controller.set_gain(node, value),
            };
            all &= told.is_ok();
            if told.is_ok() {
                mixer.set(part, value);
            }
        }
        all
    }

    /// Fades out what leaves, and what moves. False: there is nothing of that kind.
    fn fade(
        &mut self,
        session: &mut Session,
        controller: &mut Controller,
        recovery: Option<&mut Recovery>,
    ) -> bool {
        let Some(mixer) = &mut session.mixer else { return false };
        let going = &self.rewiring.going;
        let leaving: Vec<Route> = mixer
            .routes
            .keys()
            .filter(|route| !going.routes.contains_key(route))
            .copied()
            .collect();
        let mut fades = false;
        for route in leaving {
            if let Some(node) = mixer.node(Part::Route(route)) {
                // A queue that is full: it ends without a fade.
                fades |= controller.set_gain(node, 0.0).is_ok();
                mixer.set(Part::Route(route), 0.0);
            }
        }
        let stay: BTreeSet<PluginAt> = going.plugins().collect();
        let removed: BTreeSet<PluginAt> = mixer.plugins().filter(|at| !stay.contains(at)).collect();
        let moved = moved(mixer, going);
        if let Some(recovery) = recovery {
            removed.iter().for_each(|at| recovery.forget(*at, session));
        }
        self.rewiring.held = removed.union(&moved).copied().collect();
        for at in self.rewiring.held.clone() {
            fades |= self.tell_bypass(controller, at).is_ok();
        }
        fades
    }

    /// Lets the next plan be one of the new mixer.
    fn plug(&mut self, session: &mut Session) {
        let Some(mixer) = session.mixer.take() else { return };
        let mut going = std::mem::take(&mut self.rewiring.going).with_nodes_of(&mixer);
        // Faders may have moved since.
        if let Some(wanted) = &self.rewiring.wanted {
            going.take_faders_of(wanted);
        }
        session.mixer = Some(going);
        self.rewiring.before = Some(mixer);
        self.rewiring.stage = Stage::Plugging;
        self.is_stale = true;
    }

    /// The new plan runs: what it has not leaves the session, what has moved is heard again.
    fn unplug(&mut self, session: &mut Session, controller: &mut Controller) {
        let Some(mixer) = &session.mixer else { return };
        let stay: BTreeSet<PluginAt> = mixer.plugins().collect();
        for at in std::mem::take(&mut self.rewiring.held) {
            if !stay.contains(&at) {
                session.retire(at);
            } else if let Some(plugin) = session.plugins.get_mut(&at) {
                plugin.is_wire = false;
                self.is_stale |= plugin.latency > 0;
                // Should the queue be full, the next plan says the same.
                let _ = self.tell_bypass(controller, at);
            }
        }
    }

    /// No plan could be made: back to what was.
    pub(super) fn give_up_rewiring(&mut self, session: &mut Session, controller: &mut Controller) {
        if let Some(before) = self.rewiring.before.take() {
            session.mixer = Some(before);
        }
        let held = std::mem::take(&mut self.rewiring).held;
        for at in held {
            if let Some(plugin) = session.plugins.get_mut(&at) {
                plugin.is_wire = false;
            }
            let _ = self.tell_bypass(controller, at);
        }
    }
}

/// Plugins of both mixers that are elsewhere in the second, as few as may be.
fn moved(from: &Mixer, to: &Mixer) -> BTreeSet<PluginAt> {
    let stay: BTreeSet<PluginAt> = to.strips.values().flat_map(|s| s.plugins.clone()).collect();
    let mut moved = BTreeSet::new();
    for (key, strip) in &from.strips {
        let new: &[PluginAt] = to.strips.get(key).map_or(&[], |strip| &strip.plugins);
        let old: Vec<PluginAt> =
            strip.plugins.iter().filter(|at| stay.contains(at)).copied().collect();
        let kept = common(&old, new);
        moved.extend(old.into_iter().filter(|at| !kept.contains(at)));
    }
    moved
}

/// A longest common subsequence.
fn common(a: &[PluginAt], b: &[PluginAt]) -> BTreeSet<PluginAt> {
    let mut lengths = vec![vec![0usize; b.len() + 1]; a.len() + 1];
    for (i, x) in a.iter().enumerate().rev() {
        for (j, y) in b.iter().enumerate().rev() {
            lengths[i][j] = match x == y {
                true => lengths[i + 1][j + 1] + 1,
                false => lengths[i + 1][j].max(lengths[i][j + 1]),
            };
        }
    }
    let (mut i, mut j, mut kept) = (0, 0, BTreeSet::new());
    while i < a.len() && j < b.len() {
        if a[i] == b[j] {
            kept.insert(a[i]);
            (i, j) = (i + 1, j + 1);
        } else if lengths[i + 1][j] >= lengths[i][j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_few_plugins_as_may_be_are_moved() {
        let at = |plugin| PluginAt { track: 0, plugin };
        let mixer = |chains: &[&[usize]]| {
            let mut mixer = Mixer::default();
            for (number, chain) in chains.iter().enumerate() {
                let plugins = chain.iter().map(|plugin| at(*plugin)).collect();
                let strip = super::super::Strip { plugins, ..Default::default() };
                mixer.strips.insert(super::super::StripKey(number as u32), strip);
            }
            mixer
        };
        let check = |from: &[&[usize]], to: &[&[usize]], expected: &[usize]| {
            let expected: BTreeSet<PluginAt> = expected.iter().map(|p| at(*p)).collect();
            assert_eq!(moved(&mixer(from), &mixer(to)), expected, "{from:?} to {to:?}");
        };
        check(&[&[1, 2, 3]], &[&[1, 2, 3]], &[]);
        check(&[&[1, 2, 3]], &[&[1, 3]], &[]);
        check(&[&[1, 3]], &[&[1, 2, 3]], &[]);
        check(&[&[1, 2, 3, 4]], &[&[4, 1, 2, 3]], &[4]);
        check(&[&[1, 2], &[3]], &[&[2], &[3, 1]], &[1]);
    }
}
