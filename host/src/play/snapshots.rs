//! Snapshots: stored, and switched to without a gap.
//!
//! A plugin whose state is to be another is not given that state: another instance, which has it
//! already, takes its place. An effect's fades in where the old one's fades out. An instrument's
//! plays what is played from then on, while the old one sounds on beside it until its notes are
//! released. What the next snapshot needs is loaded beforehand.

use super::control::Control;
use super::slots::Want;
use super::view::MessageKind;
use crate::rig::{Id, PluginSettings, Snapshot, StateKey, TrackSettings};
use crate::session::{LoadOrder, Loaded, Loading, PluginAt};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Instances for the snapshot that comes next.
#[derive(Default)]
pub(super) struct Spares {
    snapshot: Option<Id>,
    plugins: BTreeMap<Id, Spare>,
    /// What could not be loaded is not tried again for this snapshot.
    failed: BTreeSet<Id>,
}

struct Spare {
    at: PluginAt,
    order: LoadOrder,
    key: Wanted,
    loading: Option<Loading>,
    loaded: Option<Loaded>,
}

/// How a plugin was loaded, its state, and parameters set after it.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    want: Want,
    state: Option<StateKey>,
    params: BTreeMap<String, f64>,
}

impl Spares {
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}

/// A plugin that sounds on.
pub(super) struct Relieved {
    /// Who has taken its place.
    pub(super) by: PluginAt,
    /// Since when none of its notes is held.
    released: Option<Instant>,
}

/// How long one that was relieved sounds on after its last note, at least and at most.
const TAIL: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(10));

impl Control {
    /// The present settings as a snapshot.
    fn settings_now(&mut self, snapshot: Snapshot) -> Snapshot {
        let ids: Vec<Id> = self.slots.keys().cloned().collect();
        ids.iter().for_each(|id| self.capture_plugin(id, true));
        let track = |track: &crate::rig::Track| TrackSettings {
            id: track.id.clone(),
            gain_db: Some(track.gain_db),
            pan: Some(track.pan),
            mute: Some(track.mute),
        };
        let plugin = |slot: &crate::rig::PluginSlot| PluginSettings {
            id: slot.id.clone(),
            bypass: Some(slot.bypass),
            state: slot.state,
            params: slot.params.clone(),
        };
        let slots = self.rig.tracks.iter().flat_map(|track| &track.plugins);
        Snapshot {
            tracks: self.rig.tracks.iter().map(track).collect(),
            plugins: slots.map(plugin).collect(),
            ..snapshot
        }
    }

    pub(super) fn store_snapshot(&mut self, name: &str) {
        let id = self.rig.new_snapshot_id(name);
        let snapshot = self.settings_now(Snapshot {
            id: id.clone(),
            name: name.to_owned(),
            program: None,
            channel: None,
            key: None,
            tracks: Vec::new(),
            plugins: Vec::new(),
        });
        let before = self.rig.clone();
        self.rig.snapshots.push(snapshot);
        self.keep_change(format!("new snapshot {name}"), before);
        self.current = Some(id);
        self.is_stale = true;
    }

    pub(super) fn update_snapshot(&mut self, id: &Id) {
        let Some(at) = self.rig.snapshots.iter().position(|snapshot| snapshot.id == *id) else {
            return self.no_snapshot(id);
        };
        let snapshot = self.settings_now(self.rig.snapshots[at].clone());
        let before = self.rig.clone();
        self.rig.snapshots[at] = snapshot;
        self.keep_change(format!("change of snapshot {id}"), before);
        self.current = Some(id.clone());
    }

    fn no_snapshot(&mut self, id: &Id) {
        self.tell(MessageKind::Error, None, format!("there is no snapshot '{id}'"));
    }

    pub(super) fn recall_snapshot(&mut self, id: &Id) {
        let found = self.rig.snapshots.iter().find(|snapshot| snapshot.id == *id).cloned();
        let Some(snapshot) = found else { return self.no_snapshot(id) };
        for settings in &snapshot.plugins {
            self.capture_plugin(&settings.id, true);
        }
        let before = self.rig.clone();
        for settings in &snapshot.tracks {
            let Some(track) = self.rig.track_mut(&settings.id) else { continue };
            track.gain_db = settings.gain_db.unwrap_or(track.gain_db);
            track.pan = settings.pan.unwrap_or(track.pan);
            track.mute = settings.mute.unwrap_or(track.mute);
        }
        for settings in &snapshot.plugins {
            let Some(slot) = self.rig.plugin_mut(&settings.id) else { continue };
            slot.bypass = settings.bypass.unwrap_or(slot.bypass);
            let says_nothing = settings.state.is_none() && settings.params.is_empty();
            let is_same = slot.state == settings.state && slot.params == settings.params;
            if says_nothing || is_same {
                continue;
            }
            let is_state = settings.state.is_some();
            if is_state {
                slot.state = settings.state;
                slot.params = settings.params.clone();
                self.bring_to(&settings.id);
            } else {
                for (word, value) in &settings.params {
                    self.set_named(&settings.id, word, *value);
                }
            }
        }
        self.current = Some(id.clone());
        self.is_stale = true;
        self.keep_change(format!("snapshot {}", snapshot.name), before);
    }

    /// Sets a parameter, by number or name.
    fn set_named(&mut self, id: &Id, word: &str, value: f64) {
        let Some(at) = self.at(id) else { return };
        let params = &self.session.info(at.track, at.plugin).params;
        let found = params.iter().find(|param| word.parse() == Ok(param.id));
        let found = found.or_else(|| params.iter().find(|p| p.name.eq_ignore_ascii_case(word)));
        match found.map(|param| param.id) {
            Some(param) => self.set_param(id, param, value, false),
            None => {
                let text = format!("{id}: it has no parameter '{word}'");
                self.tell(MessageKind::Warning, Some(id), text);
            }
        }
    }

    /// Lets a plugin be as the rig says: another instance, that is so, takes its place.
    pub(super) fn bring_to(&mut self, id: &Id) {
        let Some(slot) = self.rig.plugin(id) else { return };
        let (want, params) = (Want::of(slot), slot.params.clone());
        let key = Wanted { want, state: slot.state, params };
        if let Some(known) = self.slots.get_mut(id) {
            // It is in the rig already, in these words.
            (known.baseline, known.captured, known.has_changed) = (slot.state, None, true);
        }
        let spare = self.spares.plugins.remove(id);
        if let Some(Spare { at, order, loaded: Some(loaded), .. }) =
            spare.filter(|spare| spare.key == key && spare.loaded.is_some())
        {
            if let Some(slot) = self.slots.get_mut(id) {
                slot.next = Some(at);
            }
            return self.take_in(id, at, order, loaded);
        }
        let state = key.state.and_then(|key| self.states.get(&key));
        let Some(order) = self.order_of(id, state, key.params) else { return };
        self.load_order(id, order);
    }

    /// Whether recalling a snapshot takes no time.
    pub(super) fn is_spare_ready(&self, id: &Id) -> bool {
        self.spares.snapshot.as_ref() == Some(id)
            && self.spares.plugins.values().all(|spare| spare.loaded.is_some())
            && self.spares.failed.is_empty()
    }

    /// Sees to what has been relieved, and to what comes next.
    pub(super) fn step_snapshots(&mut self, now: Instant) {
        self.step_relieved(now);
        for id in self.spares.plugins.keys().cloned().collect::<Vec<_>>() {
            let Some(spare) = self.spares.plugins.get_mut(&id) else { continue };
            let Some(result) = spare.loading.as_ref().and_then(Loading::poll) else { continue };
            spare.loading = None;
            match result {
                Ok(loaded) => spare.loaded = Some(loaded),
                Err(_) => {
                    // It is told when it is needed.
                    self.spares.plugins.remove(&id);
                    self.spares.failed.insert(id);
                }
            }
        }
        if !self.is_loading() && !self.is_stale {
            self.prepare_next();
        }
    }

    /// The snapshot after the present one, or else the first.
    fn next_snapshot(&self) -> Option<Snapshot> {
        let all = &self.rig.snapshots;
        let now = self.current.as_ref();
        let at = now.and_then(|id| all.iter().position(|snapshot| snapshot.id == *id));
        all.get(at.map_or(0, |at| at + 1)).or(all.first()).cloned()
    }

    fn prepare_next(&mut self) {
        let Some(next) = self.next_snapshot() else { return self.spares.clear() };
        if Some(&next.id) == self.current.as_ref() {
            return self.spares.clear();
        }
        if self.spares.snapshot.as_ref() != Some(&next.id) {
            self.spares.clear();
            self.spares.snapshot = Some(next.id.clone());
        }
        let mut wanted: BTreeMap<Id, Wanted> = BTreeMap::new();
        for settings in &next.plugins {
            let Some(slot) = self.rig.plugin(&settings.id) else { continue };
            let is_same = slot.state == settings.state && slot.params == settings.params;
            // One that shares its process is loaded when it is needed.
            if settings.state.is_some() && !is_same && slot.group.is_none() {
                let (state, params) = (settings.state, settings.params.clone());
                let want = Want::of(slot);
                wanted.insert(settings.id.clone(), Wanted { want, state, params });
            }
        }
        self.spares.plugins.retain(|id, spare| wanted.get(id) == Some(&spare.key));
        for (id, key) in wanted {
            if self.spares.plugins.contains_key(&id) || self.spares.failed.contains(&id) {
                continue;
            }
            let state = key.state.and_then(|key| self.states.get(&key));
            let ordered = self.order_of(&id, state, key.params.clone());
            let Some((at, order)) = ordered else {
                self.spares.failed.insert(id);
                continue;
            };
            match Loading::start(&self.supervisor, vec![order.clone()], None) {
                Ok(loading) => {
                    let (loading, loaded) = (Some(loading), None);
                    self.spares.plugins.insert(id, Spare { at, order, key, loading, loaded });
                }
                Err(_) => {
                    self.spares.failed.insert(id);
                }
            }
        }
    }

    /// An instance whose place another has taken sounds on.
    pub(super) fn relieve(&mut self, old: PluginAt, by: PluginAt) {
        for other in self.relieved.values_mut().filter(|other| other.by == old) {
            other.by = by;
        }
        self.relieved.insert(old, Relieved { by, released: None });
        self.is_stale = true;
    }

    fn step_relieved(&mut self, now: Instant) {
        if self.relieved.is_empty() {
            return;
        }
        let mut over = Vec::new();
        let players: BTreeSet<PluginAt> =
            self.rig.tracks.iter().filter_map(|track| Some(self.player_of(track)?.0)).collect();
        for (at, relieved) in &mut self.relieved {
            let Some(node) = self.session.node(at.track, at.plugin) else {
                over.push(*at);
                continue;
            };
            // One that other plugins play sounds as long as anything does.
            let holds = |engine: &super::control::EngineParts| match players.contains(&relieved.by)
            {
                true => engine.live.node(*at).is_some_and(|node| engine.midi.sounds(node)),
                false => engine.midi.counts().notes > 0,
            };
            let is_held_by_midi = self.engine.as_ref().is_some_and(holds);
            if is_held_by_midi || self.held.values().any(|holder| holder == at) {
                relieved.released = None;
                continue;
            }
            let released = *relieved.released.get_or_insert(now);
            let tail = f64::from(node.tail().unwrap_or(0)) / f64::from(self.blocks.0.max(1));
            let tail = Duration::from_secs_f64(tail.min(60.0)).clamp(TAIL.0, TAIL.1);
            if node.worker().is_gone() || now >= released + tail {
                over.push(*at);
            }
        }
        for at in over {
            self.relieved.remove(&at);
            self.is_stale = true;
        }
    }
}
