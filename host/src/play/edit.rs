//! Does what a player is told: most of it changes the rig, which everything else then follows.

use super::command::Command;
use super::control::Control;
use super::history::{Change, History};
use super::view::{Learning, MessageKind};
use crate::catalog::find::named;
use crate::rig::{Id, Output, PluginSlot, Rig, Track, TrackKind};
use sandrack_sandbox::format::{Format, PluginRef};
use std::collections::BTreeMap;
use std::path::Path;

impl Control {
    /// Changes the rig, if it makes sense afterwards. `what`: the label, and what one change has in
    /// common with the next that is to be undone along with it.
    fn change(
        &mut self,
        label: String,
        what: String,
        change: impl FnOnce(&mut Rig) -> Result<(), String>,
    ) -> bool {
        let mut rig = self.rig.clone();
        if let Err(why) = change(&mut rig) {
            self.tell(MessageKind::Error, None, why);
            return false;
        }
        rig.forget_missing();
        if rig == self.rig {
            return false;
        }
        if let Err(why) = rig.makes_sense() {
            self.tell(MessageKind::Error, None, format!("{label}: {why}"));
            return false;
        }
        let before = std::mem::replace(&mut self.rig, rig);
        self.history.keep(what, Change::Rig(label, Box::new(before)));
        self.follow_rig();
        true
    }

    fn change_track(&mut self, id: &Id, label: &str, change: impl FnOnce(&mut Track)) {
        let name = self.rig.track(id).map_or(String::new(), |track| track.name.clone());
        let what = format!("{label} {id}");
        self.change(format!("{label} of {name}"), what, |rig| {
            rig.track_mut(id).map(change).ok_or_else(|| format!("there is no track '{id}'"))
        });
    }

    /// Does it.
    pub(super) fn obey(&mut self, command: Command) {
        match command {
            Command::AddPlugin { track, place, plugin, group } => {
                self.add_plugin(&track, place, &plugin, group);
            }
            Command::RemovePlugin(id) => {
                self.capture_plugin(&id, true);
                let label = format!("removal of {}", self.name_of(&id));
                self.change(label, format!("remove {id}"), |rig| {
                    let (track, place) = rig.place(&id).ok_or_else(|| no_plugin(&id))?;
                    rig.tracks[track].plugins.remove(place);
                    Ok(())
                });
            }
            Command::MovePlugin { plugin, track, place } => {
                let label = format!("move of {}", self.name_of(&plugin));
                self.change(label, format!("move {plugin}"), |rig| {
                    let (from, at) = rig.place(&plugin).ok_or_else(|| no_plugin(&plugin))?;
                    let slot = rig.tracks[from].plugins.remove(at);
                    let to = rig.track_mut(&track).ok_or_else(|| no_track(&track))?;
                    let place = place.min(to.plugins.len());
                    to.plugins.insert(place, slot);
                    Ok(())
                });
            }
            Command::ReplacePlugin { plugin, by } => self.replace_plugin(&plugin, &by),
            Command::RenamePlugin(id, name) => {
                self.change(format!("name of {id}"), format!("rename {id}"), |rig| {
                    rig.plugin_mut(&id).ok_or_else(|| no_plugin(&id))?.name = name;
                    Ok(())
                });
            }
            Command::Bypass(id, on) => {
                let label = format!("bypass of {}", self.name_of(&id));
                self.change(label, format!("bypass {id} {on}"), |rig| {
                    rig.plugin_mut(&id).ok_or_else(|| no_plugin(&id))?.bypass = on;
                    Ok(())
                });
            }
            Command::Grant(id, grants) => {
                let label = format!("grants of {}", self.name_of(&id));
                self.change(label, format!("grants {id}"), |rig| {
                    rig.plugin_mut(&id).ok_or_else(|| no_plugin(&id))?.grants = grants;
                    Ok(())
                });
            }
            Command::SetSideChains(id, chains) => {
                let label = format!("side chain of {}", self.name_of(&id));
                self.change(label, format!("side chain {id}"), |rig| {
                    rig.plugin_mut(&id).ok_or_else(|| no_plugin(&id))?.side_chains = chains;
                    Ok(())
                });
            }
            Command::SetParam(id, param, value) => self.set_param(&id, param, value, true),
            Command::LoadPreset(id, preset) => self.load_preset(&id, &preset),
            Command::OpenEditor(id) => self.editor(&id, true),
            Command::CloseEditor(id) => self.editor(&id, false),
            Command::Restart(id) => self.load_again(&id, None),
            Command::AddTrack { name, kind, place } => {
                self.change(format!("new track {name}"), String::new(), |rig| {
                    let track = Track::new(rig.new_track_id(&name), name, kind);
                    let place = place.unwrap_or(usize::MAX).min(rig.tracks.len());
                    rig.tracks.insert(place, track);
                    Ok(())
                });
            }
            Command::RemoveTrack(id) => self.remove_track(&id),
            Command::MoveTrack(id, place) => {
                self.change(format!("move of {id}"), format!("move track {id}"), |rig| {
                    let at = rig.tracks.iter().position(|track| track.id == id);
                    let track = rig.tracks.remove(at.ok_or_else(|| no_track(&id))?);
                    let place = place.min(rig.tracks.len());
                    rig.tracks.insert(place, track);
                    Ok(())
                });
            }
            Command::RenameTrack(id, name) => {
                self.change_track(&id, "name", |track| track.name = name);
            }
            Command::SetGain(id, db) => self.change_track(&id, "gain", |track| track.gain_db = db),
            Command::SetPan(id, pan) => self.change_track(&id, "pan", |track| track.pan = pan),
            Command::Mute(id, on) => self.change_track(&id, "mute", |track| track.mute = on),
            Command::Solo(id, on) => self.change_track(&id, "solo", |track| track.solo = on),
            Command::SetInput(id, to) => self.change_track(&id, "input", |track| track.input = to),
            Command::SetOutput(id, to) => {
                self.change_track(&id, "output", |track| track.output = to);
            }
            Command::SetMidi(id, to) => self.change_track(&id, "notes", |track| track.midi = to),
            Command::SetMidiOut(id, to) => {
                self.change_track(&id, "MIDI output", |track| track.midi_out = to);
            }
            Command::SetPluginMidiOut(id, to) => {
                let label = format!("MIDI output of {}", self.name_of(&id));
                self.change(label, format!("MIDI output {id}"), |rig| {
                    rig.plugin_mut(&id).ok_or_else(|| no_plugin(&id))?.midi_out = to;
                    Ok(())
                });
            }
            Command::SetClock(port) => {
                self.change("MIDI clock".into(), "clock".into(), |rig| {
                    rig.transport.clock = port;
                    Ok(())
                });
            }
            Command::SetClockOut(ports) => {
                self.change("MIDI clock".into(), "clock out".into(), |rig| {
                    rig.transport.clock_out = ports;
                    Ok(())
                });
            }
            Command::SetSend(id, send) => {
                let label = format!("send to {}", send.to);
                self.change_track(&id, &label, |track| {
                    match track.sends.iter_mut().find(|known| known.to == send.to) {
                        Some(known) => *known = send,
                        None => track.sends.push(send),
                    }
                });
            }
            Command::RemoveSend(id, to) => {
                self.change_track(&id, &format!("send to {to}"), |track| {
                    track.sends.retain(|send| send.to != to);
                });
            }
            Command::NoteOn { track, key, velocity } => self.note(&track, key, Some(velocity)),
            Command::NoteOff { track, key } => self.note(&track, key, None),
            Command::Midi { port, data } => self.midi_message(&port, data),
            Command::Panic => self.panic(),
            Command::Transport(on) => {
                (self.transport.position_beats, self.transport.position_seconds) = self.position();
                self.transport.playing = on;
                self.transport_moved();
            }
            Command::Tempo(tempo) => {
                self.change("tempo".into(), "tempo".into(), |rig| {
                    rig.transport.tempo = tempo;
                    Ok(())
                });
                (self.transport.position_beats, self.transport.position_seconds) = self.position();
                self.transport.tempo = self.rig.transport.tempo;
                self.transport_moved();
            }
            Command::Locate(beats) if beats.is_finite() => {
                self.transport.position_beats = beats.max(0.0);
                self.transport.position_seconds = beats.max(0.0) * 60.0 / self.transport.tempo;
                self.transport_moved();
            }
            Command::Locate(_) => {}
            Command::StoreSnapshot(name) => self.store_snapshot(&name),
            Command::UpdateSnapshot(id) => self.update_snapshot(&id),
            Command::RecallSnapshot(id) => self.recall_snapshot(&id),
            Command::RenameSnapshot(id, name) => {
                self.change_snapshot(&id, |snapshot| snapshot.name = name);
            }
            Command::BindSnapshot(id, program, key) => {
                self.change_snapshot(&id, |snapshot| {
                    (snapshot.program, snapshot.key) = (program, key);
                });
            }
            Command::RemoveSnapshot(id) => {
                self.change(format!("removal of {id}"), format!("remove {id}"), |rig| {
                    rig.snapshots.retain(|snapshot| snapshot.id != id);
                    Ok(())
                });
            }
            Command::Learn(what) => {
                self.learn(what.map(|(id, param)| Learning::Param(id, param)));
            }
            Command::LearnKeys(what) => {
                let keys = what.map(|(track, range)| Learning::Keys { track, range, first: None });
                self.learn(keys);
            }
            Command::LearnSnapshot(what) => self.learn(what.map(Learning::Snapshot)),
            Command::Connect { port, other, on } => {
                if let Err(error) = self.sound.connect(&port, &other, on) {
                    self.tell(MessageKind::Error, None, error.to_string());
                }
                self.cables.look_again();
            }
            Command::Forget(id, param) => self.forget_mappings(&id, param),
            Command::LearnMapping(what) => self.learn(what.map(Learning::Mapping)),
            Command::AddMapping(mapping) => {
                self.change_mappings("mapping", |rig| rig.mappings.push(mapping));
            }
            Command::RemoveMapping(mapping) => {
                self.change_mappings("mapping", |rig| rig.mappings.retain(|m| *m != mapping));
            }
            Command::TapTempo => {
                let done = self.engine.as_ref().map(|engine| engine.controller.frames_done());
                self.tap_tempo(done.unwrap_or(0));
            }
            Command::StepSnapshot(step) => self.step_snapshot(step),
            Command::RenameRig(name) => {
                self.change("name of the rig".into(), "name".into(), |rig| {
                    rig.name = name;
                    Ok(())
                });
            }
            Command::Save => self.save_now(None),
            Command::SaveAs(path) => self.save_now(Some(path)),
            Command::Load(path) => self.load_rig(&path),
            Command::Undo => self.undo(),
            Command::Redo => self.redo(),
            Command::SetDriver(settings) => self.set_driver(settings),
            Command::DriverPanel => self.driver_panel(),
            Command::ResetStatistics => {
                self.statistics.reset();
                self.sound.reset();
                self.reset_meters();
            }
        }
    }

    /// The plugin that is meant, as it is written in a rig.
    fn slot_of(&mut self, plugin: &PluginRef) -> Result<PluginSlot, String> {
        let plugin = named(plugin).map_err(|error| error.to_string())?;
        let path = std::path::absolute(&plugin.path).unwrap_or_else(|_| plugin.path.clone());
        let is_vst3 = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("vst3"));
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned());
        let short = plugin.id.as_deref().and_then(|id| id.rsplit('.').next().map(str::to_owned));
        // An id of VST3 is a number that says nothing.
        let name = short.filter(|_| !is_vst3).or(stem).unwrap_or_default();
        Ok(PluginSlot {
            id: self.rig.new_plugin_id(&name),
            name: String::new(),
            format: if is_vst3 { Format::Vst3 } else { Format::Clap },
            plugin: plugin.id.unwrap_or_default(),
            path,
            group: None,
            bypass: false,
            side_chains: Vec::new(),
            midi_out: Vec::new(),
            grants: Default::default(),
            state: None,
            params: BTreeMap::new(),
        })
    }

    fn add_plugin(
        &mut self,
        track: &Id,
        place: Option<usize>,
        plugin: &PluginRef,
        group: Option<String>,
    ) {
        let slot = match self.slot_of(plugin) {
            Ok(slot) => PluginSlot { group, ..slot },
            Err(why) => return self.tell(MessageKind::Error, None, why),
        };
        let label = format!("new plugin {}", slot.id);
        self.change(label, String::new(), |rig| {
            let track = rig.track_mut(track).ok_or_else(|| no_track(track))?;
            let place = place.unwrap_or(usize::MAX).min(track.plugins.len());
            track.plugins.insert(place, slot);
            Ok(())
        });
    }

    fn replace_plugin(&mut self, id: &Id, by: &PluginRef) {
        let new = match self.slot_of(by) {
            Ok(new) => new,
            Err(why) => return self.tell(MessageKind::Error, None, why),
        };
        self.capture_plugin(id, true);
        let label = format!("other plugin for {}", self.name_of(id));
        let changed = self.change(label, String::new(), |rig| {
            let slot = rig.plugin_mut(id).ok_or_else(|| no_plugin(id))?;
            let (id, group) = (slot.id.clone(), slot.group.clone());
            let side_chains = std::mem::take(&mut slot.side_chains);
            *slot = PluginSlot { id, group, side_chains, ..new };
            Ok(())
        });
        if let Some(slot) = self.slots.get_mut(id).filter(|_| changed) {
            (slot.baseline, slot.captured, slot.has_changed) = (None, None, false);
        }
    }

    fn remove_track(&mut self, id: &Id) {
        let inside: Vec<Id> = self
            .rig
            .track(id)
            .map(|track| track.plugins.iter().map(|slot| slot.id.clone()).collect())
            .unwrap_or_default();
        inside.iter().for_each(|id| self.capture_plugin(id, true));
        self.change(format!("removal of {id}"), String::new(), |rig| {
            let at = rig.tracks.iter().position(|track| track.id == *id);
            let removed = rig.tracks.remove(at.ok_or_else(|| no_track(id))?);
            for track in &mut rig.tracks {
                track.sends.retain(|send| send.to != *id);
                if track.output == Output::Bus(id.clone()) {
                    track.output = match removed.kind {
                        TrackKind::Bus => removed.output.clone(),
                        TrackKind::Track => Output::default(),
                    };
                }
            }
            Ok(())
        });
    }

    /// Sets a parameter. `is_new`: it can be undone.
    pub(super) fn set_param(&mut self, id: &Id, param: u32, value: f64, is_new: bool) {
        let Some(at) = self.at(id) else {
            return self.tell(MessageKind::Error, Some(id), format!("{id}: it is not loaded"));
        };
        let before = self.value_of(id, param);
        let Some(engine) = &mut self.engine else { return };
        let (live, controller) = (&mut engine.live, &mut engine.controller);
        if let Err(error) = live.set_param(&mut self.session, controller, at, param, value) {
            return self.tell(MessageKind::Error, Some(id), error.to_string());
        }
        // Its state may not have been seen yet as it was before.
        if let Some(slot) = self.slots.get_mut(id) {
            slot.has_changed = true;
        }
        let edit = sandrack_sandbox::format::ParamEdit::Value(value);
        self.param_edited(at, param, edit);
        if let Some(before) = before.filter(|before| is_new && *before != value) {
            let label = format!("parameter of {}", self.name_of(id));
            let change = Change::Param(label, id.clone(), param, before);
            self.history.keep(format!("param {id} {param}"), change);
        }
    }

    fn load_preset(&mut self, id: &Id, preset: &sandrack_sandbox::format::Preset) {
        let Some(at) = self.at(id) else {
            return self.tell(MessageKind::Error, Some(id), format!("{id}: it is not loaded"));
        };
        self.capture_plugin(id, true);
        if let Err(error) = self.session.load_preset(at.track, at.plugin, preset) {
            return self.tell(MessageKind::Error, Some(id), error.to_string());
        }
        if let Some(engine) = &mut self.engine {
            engine.live.state_was_loaded(at);
        }
        let _ = self.session.refresh_info(at.track, at.plugin);
        self.params_changed(at);
        let label = format!("preset of {}", self.name_of(id));
        let before = Box::new(self.rig.clone());
        self.history.keep(String::new(), Change::Rig(label, before));
    }

    fn load_rig(&mut self, path: &Path) {
        let opened = crate::rig::RigFile::open(path);
        let (file, rig, states) = match opened {
            Ok(opened) => opened,
            Err(error) => return self.tell(MessageKind::Error, None, error.to_string()),
        };
        if self.options.autosave
            && let Err(error) = self.save_at_last()
        {
            return self.tell(MessageKind::Error, None, format!("the rig is not saved: {error}"));
        }
        match super::saver::Saver::start(Some(file), Some(rig.clone())) {
            Ok(saver) => self.saver = saver,
            Err(error) => return self.tell(MessageKind::Error, None, error.to_string()),
        }
        // Nothing of the one is to be taken for a part of the other.
        let driver = rig.driver.clone();
        self.rig = Rig { driver: self.rig.driver.clone(), ..Rig::default() };
        self.follow_rig();
        self.strips.clear();
        self.relieved.clear();
        self.spares.clear();
        (self.states, self.rig, self.current) = (states, rig, None);
        self.history = History::default();
        self.sound.set_wiring(&self.rig.connections);
        self.follow_rig();
        if driver != self.settings && self.options.driver.is_none() {
            self.set_driver(driver);
        }
        self.transport.tempo = self.rig.transport.tempo;
        self.transport_moved();
    }

    fn change_snapshot(&mut self, id: &Id, change: impl FnOnce(&mut crate::rig::Snapshot)) {
        self.change(format!("change of {id}"), format!("snapshot {id}"), |rig| {
            let snapshot = rig.snapshots.iter_mut().find(|snapshot| snapshot.id == *id);
            change(snapshot.ok_or_else(|| format!("there is no snapshot '{id}'"))?);
            Ok(())
        });
    }

    /// Changes what controllers do.
    pub(super) fn change_mappings(&mut self, label: &str, change: impl FnOnce(&mut Rig)) {
        self.change(label.to_owned(), String::new(), |rig| {
            change(rig);
            Ok(())
        });
        self.actions.clear();
        self.mappings_changed();
    }
}

fn no_plugin(id: &Id) -> String {
    format!("there is no plugin '{id}'")
}

fn no_track(id: &Id) -> String {
    format!("there is no track '{id}'")
}
