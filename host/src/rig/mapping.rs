//! What MIDI controllers, keys and programs do.

use super::check::{Problem, Step, check_range, refuse};
use super::{Id, Rig};
use crate::midi::setup::{Control, Mode};
use serde::{Deserialize, Serialize};
use std::fmt;

/// A MIDI controller, key or program that moves something, or does something.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Mapping {
    /// Part of the name of a MIDI port; none: any.
    pub port: Option<String>,
    /// MIDI channel, 1 ..= 16; none: any.
    pub channel: Option<u8>,
    /// Controller number, 0 ..= 127; or
    pub controller: Option<u8>,
    /// a key (which is not played), 0 ..= 127; or
    pub key: Option<u8>,
    /// a program, 1 ..= 128.
    pub program: Option<u8>,
    /// What it does; none: it moves something.
    pub command: Option<Action>,
    /// The plugin whose parameter moves, or that the command is about.
    pub plugin: Option<Id>,
    /// Its parameter, by number or name.
    pub param: Option<String>,
    /// The track whose fader moves, or that the command is about.
    pub track: Option<Id>,
    /// How its value is taken; none: a command switches with each press, all else follows.
    pub mode: Option<Mode>,
    /// Value at the controller's 0, in the parameter's range (of a fader: dB).
    pub from: Option<f64>,
    /// Value at the controller's 127.
    pub to: Option<f64>,
}

/// What a controller, key or program can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Silences a track, or not.
    Mute,
    /// Silences all others, or not.
    Solo,
    /// Lets a plugin, or all of a track's, be heard as if it were not there, or again.
    Bypass,
    /// Ends all notes, everywhere.
    Panic,
    /// Lets the song position move, or not.
    Play,
    /// Lets it move.
    Start,
    /// Stops it.
    Stop,
    /// Puts it to the start of the song.
    Rewind,
    /// Sets the tempo by the time between presses.
    TapTempo,
    /// Recalls the snapshot behind the one that was recalled last.
    NextSnapshot,
    /// Recalls the one before it.
    PreviousSnapshot,
}

impl Action {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Mute,
        Self::Solo,
        Self::Bypass,
        Self::Panic,
        Self::Play,
        Self::Start,
        Self::Stop,
        Self::Rewind,
        Self::TapTempo,
        Self::NextSnapshot,
        Self::PreviousSnapshot,
    ];

    /// The word for it in rigs.
    pub fn word(self) -> &'static str {
        match self {
            Self::Mute => "mute",
            Self::Solo => "solo",
            Self::Bypass => "bypass",
            Self::Panic => "panic",
            Self::Play => "play",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Rewind => "rewind",
            Self::TapTempo => "tap-tempo",
            Self::NextSnapshot => "next-snapshot",
            Self::PreviousSnapshot => "previous-snapshot",
        }
    }

    /// Whether it is about a track.
    pub fn is_of_track(self) -> bool {
        matches!(self, Self::Mute | Self::Solo | Self::Bypass)
    }

    /// Whether it is about a plugin.
    pub fn is_of_plugin(self) -> bool {
        self == Self::Bypass
    }

    /// Whether it switches something on and off.
    pub fn is_switch(self) -> bool {
        self.is_of_track() || self == Self::Play
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.word())
    }
}

impl Mapping {
    /// What is moved or pressed.
    pub fn control(&self) -> Option<Control> {
        let controller = self.controller.map(Control::Controller);
        let program = self.program.map(|program| Control::Program(program.saturating_sub(1)));
        controller.or(self.key.map(Control::Note)).or(program)
    }

    /// The same, for people.
    pub fn control_name(&self) -> String {
        match (self.controller, self.key, self.program) {
            (Some(number), ..) => format!("controller {number}"),
            (_, Some(key), _) => format!("key {key}"),
            (.., Some(program)) => format!("program {program}"),
            (None, None, None) => "nothing".into(),
        }
    }

    /// Whether it does the same to the same, whatever makes it do so.
    pub fn is_about_the_same(&self, other: &Self) -> bool {
        let what = |of: &Self| {
            let Self { command, plugin, param, track, .. } = of.clone();
            (command, plugin, param, track)
        };
        what(self) == what(other)
    }
}

impl Rig {
    pub(super) fn check_mappings(&self) -> Result<(), Problem> {
        for (number, mapping) in self.mappings.iter().enumerate() {
            let at = |key| [Step::Key("mapping"), Step::At(number), Step::Key(key)];
            check_range("controller", mapping.controller, 0..=127, &at("controller"))?;
            check_range("key", mapping.key, 0..=127, &at("key"))?;
            check_range("program", mapping.program, 1..=128, &at("program"))?;
            check_range("channel", mapping.channel, 1..=16, &at("channel"))?;
            let controls = [mapping.controller, mapping.key, mapping.program];
            if controls.iter().flatten().count() != 1 {
                let reason = "a mapping needs 'controller', 'key' or 'program', one of them";
                return refuse(&at("controller"), reason);
            }
            if let Some(track) = &mapping.track {
                self.check_track(track, "track", &at("track"))?;
            }
            if let Some(plugin) = &mapping.plugin {
                self.check_plugin(plugin, "plugin", &at("plugin"))?;
            }
            match (&mapping.command, &mapping.plugin, &mapping.param, &mapping.track) {
                (Some(action), ..) => check_command(*action, mapping, &at)?,
                (None, Some(_), Some(_), None) => {}
                (None, None, None, Some(_)) => {
                    if mapping.mode.is_some() {
                        return refuse(&at("mode"), "mode: a fader has none, it follows");
                    }
                }
                _ => {
                    let reason = "a mapping needs 'plugin' and 'param', 'track', or 'command'";
                    return refuse(&at("controller"), reason);
                }
            }
            for (key, value) in [("from", mapping.from), ("to", mapping.to)] {
                if value.is_some_and(f64::is_nan) {
                    return refuse(&at(key), format!("{key}: not a number"));
                }
            }
        }
        Ok(())
    }
}

fn check_command(
    action: Action,
    mapping: &Mapping,
    at: &dyn Fn(&'static str) -> [Step; 3],
) -> Result<(), Problem> {
    let needed = match (action.is_of_track(), action.is_of_plugin()) {
        (true, true) => "'plugin' or 'track'",
        (true, false) => "'track'",
        _ => "",
    };
    let given = [mapping.track.is_some(), mapping.plugin.is_some()];
    let wrong = match given {
        [false, false] if !needed.is_empty() => {
            return refuse(&at("command"), format!("command: '{action}' needs {needed}"));
        }
        [true, _] if !action.is_of_track() => Some("track"),
        [_, true] if !action.is_of_plugin() => Some("plugin"),
        [true, true] => Some("track"),
        _ => None,
    };
    let others = [
        ("param", mapping.param.is_some()),
        ("mode", mapping.mode.is_some() && !action.is_switch()),
        ("from", mapping.from.is_some()),
        ("to", mapping.to.is_some()),
    ];
    let wrong = wrong.or(others.into_iter().find(|(_, is_there)| *is_there).map(|(key, _)| key));
    match wrong {
        Some(key) => {
            let instead = match needed {
                "" => String::new(),
                needed => format!(", only {needed}"),
            };
            refuse(&at(key), format!("{key}: the command '{action}' has none{instead}"))
        }
        None => Ok(()),
    }
}
