//! A line for each thing that happens: for logs and other programs.

use super::super::{clean, print};
use super::Shown;
use crate::play::{BlockTiming, Message, MidiSendView, View, WorkerState};
use crate::rig::Id;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;

/// See the module.
pub(super) struct Lines {
    is_json: bool,
    has_begun: bool,
    message: u64,
    /// Number of the last late block that was told of.
    late: u64,
    states: BTreeMap<Id, WorkerState>,
    is_running: bool,
}

impl Lines {
    pub(super) fn new(is_json: bool) -> Self {
        let (message, late, states) = (0, 0, BTreeMap::new());
        Self { is_json, has_begun: false, message, late, states, is_running: false }
    }

    fn say(&self, text: &str, json: impl FnOnce() -> Value) {
        match self.is_json {
            true => print(&format!("{}\n", json())),
            false => print(&format!("{}\n", clean(text))),
        }
    }

    fn begin(&mut self, view: &View) {
        let driver = &view.driver;
        let plugins: usize = view.tracks.iter().map(|track| track.plugins.len()).sum();
        let text = format!(
            "{}: {} tracks, {plugins} plugins; driver {} at {} Hz in blocks of {} ({:.1} ms)",
            name(view),
            view.tracks.len(),
            driver.settings.name,
            driver.rate,
            driver.frames,
            driver.latency_ms
        );
        self.say(&text, || {
            json!({
                "event": "playing", "rig": view.name, "path": view.path,
                "driver": driver.settings.name, "rate": driver.rate, "frames": driver.frames,
                "inputs": driver.inputs, "outputs": driver.outputs,
                "latency_ms": driver.latency_ms, "tracks": view.tracks.len(), "plugins": plugins,
            })
        });
        for send in &view.midi.sends {
            let text = format!("MIDI out: {}", sent_to(send));
            self.say(
                &text,
                || json!({ "event": "midi-out", "to": send.word, "ports": send.ports }),
            );
        }
        if let Some(advice) = &view.engine.restriction {
            self.say(&format!("note: {advice}"), || json!({ "event": "note", "text": advice }));
        }
    }

    fn tell_message(&self, message: &Message) {
        let kind = format!("{:?}", message.kind).to_lowercase();
        self.say(&format!("{kind}: {}", message.text), || {
            json!({
                "event": "message", "kind": message.kind, "text": message.text,
                "plugin": message.plugin, "time_ns": message.time_ns,
            })
        });
    }

    fn tell_late(&self, block: &Arc<BlockTiming>) {
        let Some(culprit) = &block.culprit else { return };
        let us = |ns: u64| ns as f64 / 1e3;
        let text = format!(
            "xrun: block {} took {:.0} of {:.0} us: {}, waited {:.0}, ran {:.0} us",
            block.block,
            us(block.busy_ns),
            us(block.period_ns),
            culprit.name,
            us(culprit.wait_ns),
            us(culprit.run_ns)
        );
        self.say(&text, || {
            json!({
                "event": "xrun", "block": block.block, "busy_us": us(block.busy_ns),
                "period_us": us(block.period_ns), "culprit": culprit,
            })
        });
    }
}

/// A word that a rig sends MIDI to, and what it means now.
pub(super) fn sent_to(send: &MidiSendView) -> String {
    match send.ports.as_slice() {
        [] => format!("'{}' (not there)", send.word),
        [one] if *one == send.word => format!("'{one}'"),
        ports => format!("'{}' to '{}'", send.word, ports.join("', '")),
    }
}

fn name(view: &View) -> String {
    match (&view.name, &view.path) {
        (name, _) if !name.is_empty() => name.clone(),
        (_, Some(path)) => path.display().to_string(),
        _ => "rig".into(),
    }
}

impl Shown for Lines {
    fn show(&mut self, view: &View) {
        for message in view.messages.iter().filter(|message| message.number > self.message) {
            self.tell_message(message);
        }
        self.message = view.messages.last().map_or(self.message, |last| last.number);
        if view.progress.is_some() || view.is_changing && !self.has_begun {
            return;
        }
        if !self.has_begun && view.driver.is_running {
            self.has_begun = true;
            self.is_running = true;
            self.begin(view);
        }
        if self.has_begun && self.is_running != view.driver.is_running {
            self.is_running = view.driver.is_running;
            let text = if self.is_running { "driver: runs" } else { "driver: does not run" };
            self.say(text, || json!({ "event": "driver", "running": self.is_running }));
        }
        for track in &view.tracks {
            for plugin in &track.plugins {
                // Late blocks are told of one by one.
                let state = match plugin.state {
                    WorkerState::Late => WorkerState::Running,
                    state => state,
                };
                let before = self.states.insert(plugin.id.clone(), state);
                if before != Some(state) && (before.is_some() || state != WorkerState::Running) {
                    let text = format!("{}: {state:?} {}", plugin.id, plugin.reason);
                    self.say(&text.to_lowercase(), || {
                        json!({
                            "event": "state", "plugin": plugin.id, "state": state,
                            "reason": &*plugin.reason, "process": plugin.process,
                        })
                    });
                }
            }
        }
        for block in view.recent.late.iter().filter(|block| block.block > self.late) {
            self.tell_late(block);
        }
        self.late = view.recent.late.last().map_or(self.late, |last| last.block);
    }

    fn end(&mut self, view: &View) {
        let (engine, driver) = (&view.engine, &view.driver);
        let text = format!(
            "ended after {} blocks: {} late, {} xruns, {} faults; load p50 {:.0}, p99 {:.0}, \
             max {:.0} us of {:.0}",
            engine.blocks,
            engine.late,
            driver.xruns,
            view.faults.len(),
            engine.busy.p50 as f64 / 1e3,
            engine.busy.p99 as f64 / 1e3,
            engine.busy.max as f64 / 1e3,
            engine.period_ns as f64 / 1e3
        );
        self.say(&text, || {
            let plugins = view.tracks.iter().flat_map(|track| &track.plugins).map(|plugin| {
                json!({
                    "id": plugin.id, "name": &*plugin.name, "state": plugin.state,
                    "process": plugin.process, "latency": plugin.latency, "load": plugin.load,
                    "confinement": plugin.confinement.text.to_string(),
                })
            });
            json!({
                "event": "ended", "blocks": engine.blocks, "late": engine.late,
                "xruns": driver.xruns, "busy_ns": engine.busy, "period_ns": engine.period_ns,
                "plugins": plugins.collect::<Vec<_>>(), "faults": &*view.faults,
                "saved": view.is_saved,
            })
        });
    }
}
