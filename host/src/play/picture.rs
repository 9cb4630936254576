//! Makes a [`View`] of what there is.

use super::control::Control;
use super::view::{
    ChannelLevel, ConfinementView, Message, ParamValue, ParamView, PluginView, Progress,
    SnapshotView, TrackView, TransportView, View, WorkerState,
};
use crate::faults::FaultRecord;
use crate::midi::Led;
use crate::rig::{Id, Mapping, PluginSlot, Track};
use crate::session::{Health, PluginAt, side_inputs};
use sandrack_sandbox::format::{Param, ParamEdit, PluginInfo, Preset};
use sandrack_sandbox::sys::clock::now_ns;
use sandrack_sandbox::sys::thread::realtime_advice;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is kept from one picture to the next.
#[derive(Default)]
pub(super) struct Picture {
    number: u64,
    pub(super) messages: Arc<[Message]>,
    faults: (u64, Arc<[FaultRecord]>),
    mappings: Arc<[Mapping]>,
    meters: BTreeMap<Id, [Held; 2]>,
}

#[derive(Clone, Copy, Default)]
struct Held {
    level: f32,
    since: Option<Instant>,
    clipped: bool,
}

/// What of a plugin changes seldom.
#[derive(Default)]
pub(super) struct Shown {
    /// Whether it has to be asked anew.
    is_known: bool,
    vendor: Arc<str>,
    params: Arc<[ParamView]>,
    /// Where a parameter is in the list.
    places: BTreeMap<u32, usize>,
    values: Vec<ParamValue>,
    shared: Arc<[ParamValue]>,
    is_shared: bool,
    presets: Arc<[Preset]>,
    takes_notes: bool,
    gives_notes: bool,
    side_inputs: Arc<[Arc<str>]>,
    has_editor: bool,
}

/// How long a peak is held.
const HOLD: Duration = Duration::from_millis(1500);
/// Faults that are shown.
const FAULTS: usize = 200;

impl Shown {
    fn learn(&mut self, info: &PluginInfo, controllers: &BTreeMap<u32, u8>) {
        let param = |p: &Param| ParamView {
            id: p.id,
            name: p.name.clone(),
            module: p.module.clone(),
            min: p.min,
            max: p.max,
            default: p.default,
            unit: p.unit.clone(),
            steps: p.steps,
            read_only: p.read_only,
            hidden: p.hidden,
            controller: controllers.get(&p.id).copied(),
        };
        let params: Vec<ParamView> = info.params.iter().map(param).collect();
        if *self.params != *params {
            self.params = params.into();
        }
        self.places = info.params.iter().enumerate().map(|(at, p)| (p.id, at)).collect();
        let value = |p: &Param| ParamValue { value: p.value, text: p.text.as_str().into() };
        self.values = info.params.iter().map(value).collect();
        self.is_shared = false;
        self.vendor = info.descriptor.vendor.as_str().into();
        if *self.presets != *info.presets {
            self.presets = info.presets.clone().into();
        }
        self.takes_notes = !info.note_inputs.is_empty();
        self.gives_notes = !info.note_outputs.is_empty();
        self.side_inputs = side_inputs(info).map(|port| port.name.as_str().into()).collect();
        self.has_editor = info.has_editor;
        self.is_known = true;
    }
}

impl Control {
    /// A plugin's parameters are to be looked at anew.
    pub(super) fn params_changed(&mut self, at: PluginAt) {
        let owner = self.owner(at).cloned();
        if let Some(slot) = owner.and_then(|id| self.slots.get_mut(&id)) {
            slot.shown.is_known = false;
        }
    }

    /// All parameters are: what moves them has changed.
    pub(super) fn mappings_changed(&mut self) {
        self.slots.values_mut().for_each(|slot| slot.shown.is_known = false);
        self.is_stale = true;
    }

    pub(super) fn param_edited(&mut self, at: PluginAt, param: u32, edit: ParamEdit) {
        let ParamEdit::Value(value) = edit else { return };
        let owner = self.owner(at).cloned();
        let Some(slot) = owner.and_then(|id| self.slots.get_mut(&id)) else { return };
        // Not of the instance that is being relieved.
        if slot.at != Some(at) {
            return;
        }
        let shown = &mut slot.shown;
        let Some(place) = shown.places.get(&param) else { return };
        let Some(known) = shown.values.get_mut(*place) else { return };
        if known.value != value {
            *known = ParamValue { value, text: format!("{value:.3}").into() };
            shown.is_shared = false;
            self.ask_text(at, param, value);
        }
    }

    pub(super) fn text_is(&mut self, at: PluginAt, param: u32, value: f64, text: &str) {
        let owner = self.owner(at).cloned();
        let Some(slot) = owner.and_then(|id| self.slots.get_mut(&id)) else { return };
        let shown = &mut slot.shown;
        let place = shown.places.get(&param).copied();
        if let Some(known) = place.and_then(|place| shown.values.get_mut(place))
            && known.value == value
        {
            known.text = text.into();
            shown.is_shared = false;
        }
    }

    /// Where a parameter is, as far as is known.
    pub(super) fn value_of(&self, id: &Id, param: u32) -> Option<f64> {
        let slot = self.slots.get(id)?;
        if slot.shown.is_known {
            return Some(slot.shown.values.get(*slot.shown.places.get(&param)?)?.value);
        }
        let at = slot.at?;
        let params = &self.session.info(at.track, at.plugin).params;
        params.iter().find(|known| known.id == param).map(|known| known.value)
    }

    pub(super) fn make_view(&mut self) -> View {
        let now = Instant::now();
        self.name_nodes();
        self.picture.number += 1;
        let silenced = self.silenced();
        let tracks = self.rig.tracks.clone();
        let mut shown = Vec::with_capacity(tracks.len());
        for track in &tracks {
            let mut plugins = Vec::with_capacity(track.plugins.len());
            for slot in &track.plugins {
                plugins.extend(self.plugin_view(slot, now));
            }
            shown.push(TrackView {
                id: track.id.clone(),
                name: track.name.as_str().into(),
                kind: track.kind,
                input: track.input.clone(),
                output: track.output.clone(),
                gain_db: track.gain_db,
                pan: track.pan,
                mute: track.mute,
                solo: track.solo,
                is_silenced: silenced.contains(&track.id),
                sends: track.sends.clone(),
                midi: track.midi.clone(),
                midi_out: track.midi_out.clone(),
                takes_notes: !track.midi_out.is_empty()
                    || plugins.iter().any(|plugin| plugin.takes_notes),
                meter: self.meter(track, now),
                plugins,
            });
        }
        let snapshots = self.rig.snapshots.iter().map(|snapshot| SnapshotView {
            id: snapshot.id.clone(),
            name: snapshot.name.clone(),
            program: snapshot.program,
            key: snapshot.key,
            is_current: self.current.as_ref() == Some(&snapshot.id),
            is_ready: self.is_spare_ready(&snapshot.id),
        });
        let snapshots = snapshots.collect();
        let live = self.engine.as_ref().map(|engine| &engine.live);
        let mut engine = self.statistics.engine();
        engine.latency = live.map_or(0, |live| live.latency());
        let restrictions = self.supervisor.restrictions();
        engine.restriction = restrictions.not_realtime.map(|_| realtime_advice().to_owned());
        let is_changing = self.is_stale || live.is_some_and(|live| live.is_rewiring());
        let progress = self.is_loading().then(|| Progress {
            what: "loading plugins".into(),
            done: self.loaded,
            of: self.to_load.max(self.loaded),
        });
        if *self.picture.mappings != *self.rig.mappings {
            self.picture.mappings = self.rig.mappings.clone().into();
        }
        View {
            number: self.picture.number,
            time_ns: now_ns(),
            name: self.rig.name.clone(),
            path: self.saver.path().map(Into::into),
            is_saved: self.saver.has(&self.rig),
            driver: self.sound.view(&self.settings),
            midi: Arc::clone(&self.cables.view),
            connections: self.cables.connections.clone(),
            engine,
            tracks: shown,
            snapshots,
            mappings: Arc::clone(&self.picture.mappings),
            recent: self.statistics.recent(),
            faults: self.faults(),
            messages: Arc::clone(&self.picture.messages),
            undo: self.history.undo_labels(),
            redo: self.history.redo_labels(),
            transport: match self.engine.as_ref().and_then(|engine| engine.midi.led()) {
                Some(Led { tempo, beats, playing }) => TransportView {
                    is_playing: playing,
                    tempo,
                    beats,
                    signature: self.rig.transport.signature,
                    is_led: true,
                },
                None => TransportView {
                    is_playing: self.transport.playing,
                    tempo: self.transport.tempo,
                    beats: self.beats(),
                    signature: self.rig.transport.signature,
                    is_led: false,
                },
            },
            learning: self.learning.as_ref().map(|(what, _)| what.clone()),
            progress,
            is_changing,
        }
    }

    /// For whoever finds a culprit.
    fn name_nodes(&mut self) {
        let Some(engine) = &self.engine else { return };
        let mut names = BTreeMap::new();
        for (at, id) in &self.owners {
            if let Some(node) = engine.live.node(*at) {
                let known = self.statistics.names.get(&node).filter(|(known, _)| known == id);
                let name = known.map(|(_, name)| Arc::clone(name));
                let name = name.unwrap_or_else(|| self.name_of(id).into());
                names.insert(node, (id.clone(), name));
            }
        }
        self.statistics.names = names;
        let is_there = |at: &PluginAt| self.session.node(at.track, at.plugin).is_some();
        let gone: Vec<PluginAt> = self.owners.keys().filter(|at| !is_there(at)).copied().collect();
        gone.iter().for_each(|at| drop(self.owners.remove(at)));
    }

    fn faults(&mut self) -> Arc<[FaultRecord]> {
        let Some(engine) = &self.engine else { return Arc::default() };
        let log = engine.live.faults();
        let last = log.iter().next_back().map_or(0, |last| last.time_ns);
        let mark = log.forgotten() + log.iter().count() as u64 + last;
        if self.picture.faults.0 != mark {
            let all: Vec<FaultRecord> = log.iter().rev().take(FAULTS).cloned().collect();
            self.picture.faults = (mark, all.into_iter().rev().collect());
        }
        Arc::clone(&self.picture.faults.1)
    }

    fn meter(&mut self, track: &Track, now: Instant) -> [ChannelLevel; 2] {
        let strip = self.strips.get(&track.id).copied();
        let levels = [0, 1].map(|channel| {
            let engine = self.engine.as_ref()?;
            engine.controller.level(engine.live.meter(&self.session, strip?)?, channel)
        });
        let held = self.picture.meters.entry(track.id.clone()).or_default();
        let mut shown = [ChannelLevel::default(); 2];
        for (at, level) in levels.into_iter().enumerate() {
            let Some(level) = level else { continue };
            let held = &mut held[at];
            if level.peak >= held.level || held.since.is_none_or(|since| now >= since + HOLD) {
                (held.level, held.since) = (level.peak, Some(now));
            }
            held.clipped |= level.peak > 1.0;
            let (peak, rms, clipped) = (level.peak, level.rms, held.clipped);
            shown[at] = ChannelLevel { peak, held: held.level, rms, clipped };
        }
        shown
    }

    /// Forgets what was beyond full scale.
    pub(super) fn reset_meters(&mut self) {
        self.picture.meters.clear();
    }

    fn plugin_view(&mut self, wanted: &PluginSlot, now: Instant) -> Option<PluginView> {
        let name: Arc<str> = self.name_of(&wanted.id).into();
        let controllers: BTreeMap<u32, u8> = self.controllers(&wanted.id);
        let slot = self.slots.get_mut(&wanted.id)?;
        let at = slot.at;
        if let Some(at) = at
            && !slot.shown.is_known
        {
            slot.shown.learn(self.session.info(at.track, at.plugin), &controllers);
        }
        let shown = &mut slot.shown;
        if !shown.is_shared {
            shown.shared = shown.values.iter().cloned().collect();
            shown.is_shared = true;
        }
        let live = self.engine.as_ref().map(|engine| &engine.live);
        let node = at.and_then(|at| live?.node(at));
        let (load, is_late) = node.map(|node| self.statistics.of(node, now)).unwrap_or_default();
        let (state, reason) = match (&slot.absent, at, live) {
            (Some((state, reason)), None, _) => (*state, reason.clone()),
            (_, None, _) | (_, _, None) => (WorkerState::Loading, String::new()),
            (_, Some(at), Some(live)) => match live.health(&self.session, at) {
                (Health::Running, _) if slot.next.is_some() => {
                    (WorkerState::Restarting, String::new())
                }
                (Health::Running, _) if is_late => (WorkerState::Late, String::new()),
                (Health::Running, reason) => (WorkerState::Running, reason),
                (Health::Loading, reason) => (WorkerState::Loading, reason),
                (Health::Restarting, reason) => (WorkerState::Restarting, reason),
                (Health::Quarantined, reason) => (WorkerState::Quarantined, reason),
                (Health::Lost, reason) => (WorkerState::Refused, reason),
            },
        };
        let there = at.and_then(|at| self.session.node(at.track, at.plugin));
        let enforced = there.and_then(|node| node.worker().enforced());
        Some(PluginView {
            id: wanted.id.clone(),
            name,
            vendor: Arc::clone(&shown.vendor),
            format: wanted.format,
            plugin: wanted.plugin.as_str().into(),
            path: wanted.path.as_path().into(),
            group: wanted.group.as_deref().map(Into::into),
            node,
            state,
            reason: reason.into(),
            process: there.filter(|n| !n.worker().is_gone()).map(|node| node.worker().id()),
            is_bypassed: wanted.bypass,
            takes_notes: shown.takes_notes,
            load,
            latency: there.and_then(|node| node.latency()).unwrap_or(0),
            gives_notes: shown.gives_notes,
            midi_out: wanted.midi_out.clone(),
            side_inputs: Arc::clone(&shown.side_inputs),
            side_chains: wanted.side_chains.clone(),
            confinement: ConfinementView {
                level: enforced.as_ref().map(|e| e.level).unwrap_or_default(),
                text: enforced.map(|e| e.to_string()).unwrap_or_default().into(),
                grants: wanted.grants.clone(),
                refused: Arc::clone(&slot.refused),
            },
            has_editor: shown.has_editor,
            is_editor_open: slot.is_editor_open,
            params: Arc::clone(&shown.params),
            values: Arc::clone(&shown.shared),
            presets: Arc::clone(&shown.presets),
        })
    }
}
