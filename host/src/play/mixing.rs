//! From the rig to the mixer that the engine is to play.

use super::control::Control;
use super::snapshots::Relieved;
use crate::rig::{Id, Output, Track};
use crate::session::{Channels, Mixer, PluginAt, Route, RouteFrom, RouteTo, Strip, StripKey};
use std::collections::{BTreeMap, BTreeSet};

impl Control {
    /// The key of a track's strip.
    fn strip(&mut self, id: &Id) -> StripKey {
        if let Some(key) = self.strips.get(id) {
            return *key;
        }
        self.last_strip += 1;
        let key = StripKey(self.last_strip);
        self.strips.insert(id.clone(), key);
        key
    }

    /// Tracks that are silent because others are solo.
    pub(super) fn silenced(&self) -> BTreeSet<Id> {
        if !self.rig.tracks.iter().any(|track| track.solo) {
            return BTreeSet::new();
        }
        let next = |track: &Track| -> Vec<Id> {
            let main = match &track.output {
                Output::Bus(bus) => Some(bus.clone()),
                Output::Channels(_) => None,
            };
            main.into_iter().chain(track.sends.iter().map(|send| send.to.clone())).collect()
        };
        let solo = self.rig.tracks.iter().filter(|track| track.solo).map(|t| t.id.clone());
        // Whatever they go through, and whatever goes through them.
        let mut down: BTreeSet<Id> = solo.collect();
        let mut up = down.clone();
        loop {
            let (was_down, was_up) = (down.len(), up.len());
            for track in &self.rig.tracks {
                if down.contains(&track.id) {
                    down.extend(next(track));
                }
                if next(track).iter().any(|id| up.contains(id)) {
                    up.insert(track.id.clone());
                }
            }
            if (down.len(), up.len()) == (was_down, was_up) {
                break;
            }
        }
        let ids = self.rig.tracks.iter().map(|track| track.id.clone());
        ids.filter(|id| !down.contains(id) && !up.contains(id)).collect()
    }

    /// The mixer that the rig means, of the plugins that are there.
    fn mixer(&mut self) -> Mixer {
        let silenced = self.silenced();
        let tracks = self.rig.tracks.clone();
        self.strips.retain(|id, _| tracks.iter().any(|track| track.id == *id));
        let mut mixer = Mixer::default();
        for track in &tracks {
            let key = self.strip(&track.id);
            let is_silent = track.mute || silenced.contains(&track.id);
            let plugins: Vec<PluginAt> =
                track.plugins.iter().filter_map(|slot| self.at(&slot.id)).collect();
            let mut relieved: BTreeMap<PluginAt, Vec<PluginAt>> = BTreeMap::new();
            for (old, Relieved { by, .. }) in &self.relieved {
                if plugins.contains(by) {
                    relieved.entry(*by).or_default().push(*old);
                }
            }
            let strip = Strip {
                name: track.name.clone(),
                plugins,
                relieved,
                gain: if is_silent { 0.0 } else { crate::rig::linear(track.gain_db) },
                pan: track.pan as f32,
            };
            mixer.strips.insert(key, strip);
            if let Some(channels) = channels(&track.input) {
                let (from, to) = (RouteFrom::Driver(channels), RouteTo::Strip(key));
                mixer.routes.insert(Route { from, to }, 1.0);
            }
            let to = match &track.output {
                Output::Channels(list) => channels(list).map(RouteTo::Driver),
                Output::Bus(bus) => Some(RouteTo::Strip(self.strip(&bus.clone()))),
            };
            if let Some(to) = to {
                mixer.routes.insert(Route { from: RouteFrom::Post(key), to }, 1.0);
            }
            for send in &track.sends {
                let from = if send.pre { RouteFrom::Pre(key) } else { RouteFrom::Post(key) };
                let gain = match is_silent {
                    true => 0.0,
                    false => crate::rig::linear(send.gain_db),
                };
                let to = RouteTo::Strip(self.strip(&send.to));
                // Where it goes already its gain is that of both.
                *mixer.routes.entry(Route { from, to }).or_insert(0.0) += gain;
            }
            self.add_side_chains(track, &mut mixer);
        }
        mixer
    }

    /// What comes to the further inputs of a track's plugins. What is listened to is muted with its
    /// track; that others are solo only silences its fader.
    fn add_side_chains(&mut self, track: &Track, mixer: &mut Mixer) {
        for slot in &track.plugins {
            let Some(at) = self.at(&slot.id) else { continue };
            for chain in &slot.side_chains {
                let (from, is_silent) = match &chain.from {
                    Some(id) => {
                        let is_silent = self.rig.track(id).is_none_or(|track| track.mute);
                        let key = self.strip(id);
                        let from =
                            if chain.pre { RouteFrom::Pre(key) } else { RouteFrom::Post(key) };
                        (from, is_silent)
                    }
                    None => match channels(&chain.input) {
                        Some(channels) => (RouteFrom::Driver(channels), false),
                        None => continue,
                    },
                };
                let gain = if is_silent { 0.0 } else { crate::rig::linear(chain.gain_db) };
                let to = RouteTo::SideChain(at, chain.bus);
                mixer.routes.insert(Route { from, to }, gain);
            }
        }
    }

    /// Tells the engine what the rig says.
    pub(super) fn tell_engine(&mut self) {
        let mixer = self.mixer();
        self.routed = u64::MAX;
        self.cables.look_again();
        let bypasses: Vec<(Id, PluginAt, bool)> = self
            .slots
            .iter()
            .filter_map(|(id, slot)| {
                let wanted = self.rig.plugin(id)?.bypass;
                Some((id.clone(), slot.at?, wanted)).filter(|_| slot.is_bypassed != wanted)
            })
            .collect();
        let Some(engine) = &mut self.engine else { return };
        engine.live.rewire(mixer);
        for (id, at, on) in bypasses {
            let Some(engine) = &mut self.engine else { return };
            let (live, controller) = (&mut engine.live, &mut engine.controller);
            match live.set_bypass(&mut self.session, controller, at, on) {
                Ok(()) => {
                    if let Some(slot) = self.slots.get_mut(&id) {
                        slot.is_bypassed = on;
                    }
                }
                // It is not in the plan yet.
                Err(_) => self.is_stale = true,
            }
        }
    }
}

/// Channels of the driver, as the rig counts them: from 1.
fn channels(list: &[u32]) -> Option<Channels> {
    let first = list.first()?.checked_sub(1)?;
    Some(Channels { first, count: list.len() as u32 })
}
