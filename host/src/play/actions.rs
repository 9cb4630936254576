//! What controllers, keys and programs do beside moving parameters: pedals and buttons of a foot
//! controller.

use super::command::Command;
use super::control::Control;
use super::view::MessageKind;
use crate::midi::setup::Mode;
use crate::rig::{Action, Id, Mapping};
use std::collections::BTreeMap;

/// What is remembered from press to press.
#[derive(Default)]
pub(super) struct Actions {
    /// The last value of each mapping's control.
    values: BTreeMap<usize, f64>,
    /// When the tempo was tapped, in frames since the driver's start.
    taps: Vec<u64>,
}

/// Taps that the tempo is made of, at most.
const TAPS: usize = 5;

/// The slowest that is tapped, seconds; a longer pause begins anew.
const SLOWEST: f64 = 2.0;

/// A tap that is so much off the others, of 1, begins another tempo.
const OFF: f64 = 0.3;

impl Actions {
    /// Mappings have other numbers from now on.
    pub(super) fn clear(&mut self) {
        self.values.clear();
    }

    /// Whether a value is a press. A controller is pressed where it enters its upper half, or says the same
    /// again: of many pedals nothing comes when they are let go.
    fn is_press(&mut self, number: usize, mapping: &Mapping, value: f64) -> bool {
        let before = self.values.insert(number, value);
        match mapping.controller {
            Some(_) => value >= 0.5 && before.is_none_or(|before| before < 0.5 || before == value),
            None => value > 0.0,
        }
    }

    /// The tempo, in quarter notes per minute, where this tap makes one clear.
    fn tap(&mut self, at: u64, rate: u32) -> Option<f64> {
        let seconds = |from: u64, to: u64| to.saturating_sub(from) as f64 / f64::from(rate.max(1));
        if let Some(&last) = self.taps.last() {
            let pause = seconds(last, at);
            let mean = seconds(self.taps[0], last) / (self.taps.len() - 1).max(1) as f64;
            let is_off = self.taps.len() > 1 && (pause / mean - 1.0).abs() > OFF;
            if at <= last || pause > SLOWEST {
                self.taps.clear();
            } else if is_off {
                self.taps.drain(..self.taps.len() - 1);
            }
        }
        if self.taps.len() == TAPS {
            self.taps.remove(0);
        }
        self.taps.push(at);
        let beats = self.taps.len() - 1;
        let passed = seconds(self.taps[0], at);
        // A tenth is finer than anybody taps, and can be read in the rig.
        (beats > 0).then(|| (600.0 * beats as f64 / passed).round() / 10.0)
    }
}

impl Control {
    /// A control that is mapped has moved.
    pub(super) fn mapped(&mut self, number: usize, value: f64, at: u64) {
        let Some(mapping) = self.rig.mappings.get(number).cloned() else { return };
        let Some(action) = mapping.command else { return self.move_fader(&mapping, value) };
        if mapping.mode == Some(Mode::Direct) {
            let on = if mapping.controller.is_some() { value >= 0.5 } else { value > 0.0 };
            self.switch(action, &mapping, Some(on));
        } else if self.actions.is_press(number, &mapping, value) {
            match action.is_switch() {
                true => self.switch(action, &mapping, None),
                false => self.act(action, at),
            }
        }
    }

    /// Switches something on or off; `None`: to what it is not.
    fn switch(&mut self, action: Action, mapping: &Mapping, on: Option<bool>) {
        let track = mapping.track.as_ref().and_then(|id| self.rig.track(id));
        match (action, track) {
            (Action::Mute, Some(track)) => {
                let command = Command::Mute(track.id.clone(), on.unwrap_or(!track.mute));
                self.obey(command);
            }
            (Action::Solo, Some(track)) => {
                let command = Command::Solo(track.id.clone(), on.unwrap_or(!track.solo));
                self.obey(command);
            }
            (Action::Bypass, _) => {
                let slots = track.map(|track| track.plugins.as_slice()).unwrap_or_default();
                let one = mapping.plugin.as_ref().and_then(|id| self.rig.plugin(id));
                let slots = || slots.iter().chain(one);
                // All of a track's are switched together.
                let on = on.unwrap_or_else(|| !slots().all(|slot| slot.bypass));
                let ids: Vec<Id> = slots().map(|slot| slot.id.clone()).collect();
                ids.into_iter().for_each(|id| self.obey(Command::Bypass(id, on)));
            }
            (Action::Play, _) => {
                let is_playing = self.transport.playing;
                let on = on.unwrap_or(!is_playing);
                if on != is_playing {
                    self.obey(Command::Transport(on));
                }
            }
            _ => {}
        }
    }

    fn act(&mut self, action: Action, at: u64) {
        match action {
            Action::Panic => self.obey(Command::Panic),
            // Started again it would lose its place for a moment.
            Action::Start if self.transport.playing => {}
            Action::Start => self.obey(Command::Transport(true)),
            Action::Stop => self.obey(Command::Transport(false)),
            Action::Rewind => self.obey(Command::Locate(0.0)),
            Action::TapTempo => self.tap_tempo(at),
            Action::NextSnapshot => self.step_snapshot(1),
            Action::PreviousSnapshot => self.step_snapshot(-1),
            Action::Mute | Action::Solo | Action::Bypass | Action::Play => {}
        }
    }

    /// `at`: frames since the driver's start.
    pub(super) fn tap_tempo(&mut self, at: u64) {
        if let Some(tempo) = self.actions.tap(at, self.blocks.0) {
            self.obey(Command::Tempo(tempo));
        }
    }

    /// Recalls a snapshot next to the one that was recalled last. The list has ends.
    pub(super) fn step_snapshot(&mut self, step: isize) {
        let snapshots = &self.rig.snapshots;
        let last = snapshots.len().saturating_sub(1);
        let now = self.current.as_ref();
        let now = now.and_then(|id| snapshots.iter().position(|known| known.id == *id));
        let next = match now {
            Some(now) => now.checked_add_signed(step).filter(|next| *next <= last),
            None if step > 0 => Some(0),
            None => Some(last),
        };
        match next.and_then(|next| snapshots.get(next)).map(|snapshot| snapshot.id.clone()) {
            Some(id) => self.recall_snapshot(&id),
            None => {
                let text = match (snapshots.is_empty(), step > 0) {
                    (true, _) => "there is no snapshot to recall",
                    (_, true) => "this is the last snapshot",
                    (_, false) => "this is the first snapshot",
                };
                self.tell(MessageKind::Note, None, text.into());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pedal_that_is_never_let_go_is_pressed_each_time_and_one_that_sweeps_once() {
        let pedal = Mapping { controller: Some(80), ..Mapping::default() };
        let pressed = |values: &[f64]| {
            let mut actions = Actions::default();
            let is_press = |value: &&f64| actions.is_press(0, &pedal, **value);
            values.iter().filter(is_press).count()
        };
        assert_eq!(pressed(&[1.0, 0.0, 1.0, 0.0]), 2);
        assert_eq!(pressed(&[1.0, 1.0, 1.0]), 3);
        assert_eq!(pressed(&[0.0, 0.3, 0.5, 0.7, 1.0, 0.7, 0.2]), 1);
        let key = Mapping { key: Some(36), ..Mapping::default() };
        assert!(Actions::default().is_press(0, &key, 0.01), "softly");
    }

    #[test]
    fn the_tempo_is_that_of_the_taps_and_another_one_begins_at_once() {
        let tap =
            |actions: &mut Actions, seconds: f64| actions.tap((seconds * 48e3) as u64, 48_000);
        let mut actions = Actions::default();
        assert_eq!(tap(&mut actions, 10.0), None);
        assert_eq!(tap(&mut actions, 10.51), Some(117.6));
        assert_eq!(tap(&mut actions, 11.0), Some(120.0));
        assert_eq!(tap(&mut actions, 11.5), Some(120.0));
        for (at, tempo) in [(11.8, 200.0), (12.1, 200.0), (12.4, 200.0)] {
            assert_eq!(tap(&mut actions, at), Some(tempo), "{at}");
        }
        assert_eq!(tap(&mut actions, 15.0), None, "after a pause");
        assert_eq!(tap(&mut actions, 15.0), None, "two pads at once");
        assert_eq!(tap(&mut actions, 3.0), None, "another driver counts anew");
        assert_eq!(tap(&mut actions, 4.0), Some(60.0));
    }
}
