//! What happens to the plugins while rendering: parameters, automation and notes, frame by frame.

use super::chain::Chain;
use super::expressions::Moved;
use super::{ParamSetting, RenderOptions};
use crate::automation::{Automation, Point, Time, nearest};
use crate::error::Error;
use crate::midi_events::Played;
use crate::midi_file::{Meter, Song};
use crate::mpe::{Mpe, Zones};
use sandrack_engine::event::{EventKind, NoteAddress, SYSEX_BYTES};
use sandrack_sandbox::format::{Format, Param, PluginInfo};
use std::collections::HashMap;

/// Everything that happens, by plugin.
pub(super) struct Score {
    /// By place in the chain, in time order.
    events: Vec<Vec<Entry>>,
    /// What was automated, by place, as it was before.
    before: Vec<(usize, EventKind)>,
    /// Tempo and time signatures.
    pub(super) meter: Meter,
    /// Length of the MIDI file in frames.
    pub(super) frames: u64,
    /// What the user should know.
    pub(super) notes: Vec<String>,
}

/// An event, at a frame of the file.
#[derive(Clone, Copy)]
struct Entry {
    frame: u64,
    kind: EventKind,
    /// Before all audio, not with it.
    at_start: bool,
}

/// What automation moves.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Target {
    /// A parameter; `key`: of the notes of that key only.
    Param {
        id: u32,
        key: Option<u8>,
    },
    /// An offset to a parameter's value, likewise.
    Modulation {
        id: u32,
        key: Option<u8>,
    },
    Notes(Moved),
}

/// What the names of parameters begin with that are modulated.
const MODULATION: &str = "mod:";

impl Target {
    /// The event by which it takes a value.
    fn takes(self, number: f64) -> EventKind {
        match self {
            Self::Param { id: param, key } => {
                EventKind::ParamValue { param, note: notes_of(key), value: number }
            }
            Self::Modulation { id: param, key } => {
                EventKind::ParamMod { param, note: notes_of(key), amount: number }
            }
            Self::Notes(moved) => moved.event(number),
        }
    }
}

/// The notes of a key; `None`: what is not of single notes.
fn notes_of(key: Option<u8>) -> NoteAddress {
    NoteAddress { key: key.map_or(-1, i16::from), ..NoteAddress::ALL }
}

/// What one target does.
struct Line {
    /// Its value before the first point.
    begin: f64,
    name: String,
    /// Frame, value, whether in a straight line from the one before.
    points: Vec<(u64, f64, bool)>,
}

impl Line {
    fn new((begin, name): (f64, String)) -> Self {
        Self { begin, name, points: Vec::new() }
    }

    /// Gives the points, and those between that make up the ramps, in order of time.
    fn draw(mut self, mut send: impl FnMut(u64, f64) -> Result<(), String>) -> Result<(), String> {
        self.points.sort_by_key(|(frame, ..)| *frame);
        let mut before = (0, self.begin);
        for (frame, number, linear) in self.points {
            if linear && number != before.1 {
                let length = frame - before.0;
                if length / RAMP_STEP > MAX_EVENTS as u64 {
                    return Err(format!("a ramp of '{}' is too long", self.name));
                }
                for at in (RAMP_STEP..length).step_by(RAMP_STEP as usize) {
                    let part = at as f64 / length as f64;
                    send(before.0 + at, before.1 + (number - before.1) * part)?;
                }
            }
            send(frame, number)?;
            before = (frame, number);
        }
        Ok(())
    }
}

/// Frames between two points of a ramp.
const RAMP_STEP: u64 = 64;
/// Most events of a plugin: what a ramp over hours makes.
const MAX_EVENTS: usize = 4_000_000;

/// A parameter's value, from the start.
fn value(param: u32, value: f64) -> EventKind {
    EventKind::ParamValue { param, note: NoteAddress::ALL, value }
}

impl Score {
    /// Reads all files, and asks the plugins what names and texts mean. `restored`: values from
    /// state files, by place.
    pub(super) fn new(
        options: &RenderOptions,
        chain: &mut Chain,
        rate: u32,
        restored: &[(usize, u32, f64)],
    ) -> Result<Self, Error> {
        let places = options.chain.len();
        let mut score = Self {
            events: vec![Vec::new(); places],
            before: Vec::new(),
            meter: Meter::default(),
            frames: 0,
            notes: Vec::new(),
        };
        for &(place, param, number) in restored {
            let kind = value(param, number);
            score.events[place].push(Entry { frame: 0, kind, at_start: true });
        }
        for ParamSetting { place, param, value: text } in &options.params {
            let say = |reason| Error::Usage(format!("--param {param}={text}: {reason}"));
            let (place, found) = find_param(chain, *place, "", param).map_err(say)?;
            let number = number_of(chain, place, &found, text)?.map_err(say)?;
            let kind = value(found.id, number);
            score.events[place].push(Entry { frame: 0, kind, at_start: true });
        }
        if let Some(path) = &options.midi {
            let song = Song::read(path)?;
            let shown = path.display();
            score.notes.extend(song.warnings.iter().map(|w| format!("{shown}: {w}")));
            score.play(song, chain, rate, &shown.to_string(), options.mpe)?;
        }
        if let Some(path) = &options.automation {
            score.automate(&Automation::read(path)?, chain, rate)?;
        }
        for events in &mut score.events {
            events.sort_by_key(|entry| entry.frame);
        }
        Ok(score)
    }

    /// Sends a song to the first plugin that takes notes.
    fn play(
        &mut self,
        song: Song,
        chain: &Chain,
        rate: u32,
        path: &str,
        mpe: Mpe,
    ) -> Result<(), Error> {
        let takes_notes = |place: &usize| !chain.info(*place).note_inputs.is_empty();
        let Some(place) = (0..self.events.len()).find(takes_notes) else {
            return Err(Error::Usage(format!("--midi {path}: no plugin of the chain takes notes")));
        };
        let expressive = chain.info(place).note_inputs.iter().any(|port| port.expressions);
        let zones = match mpe {
            Mpe::Auto => expressive.then(|| Zones::new(false)),
            Mpe::On => Some(Zones::new(true)),
            Mpe::Off => None,
        };
        let played = Played::new(&song, rate, LONGEST_SYSEX, zones);
        if played.too_long > 0 {
            self.notes.push(format!(
                "{path}: {} system-exclusive messages of more than {LONGEST_SYSEX} bytes are left \
                 out",
                played.too_long
            ));
        }
        let entry = |(frame, kind)| Entry { frame, kind, at_start: false };
        self.events[place].extend(played.events.into_iter().map(entry));
        self.frames = played.frames;
        self.meter = song.meter;
        Ok(())
    }

    fn automate(
        &mut self,
        automation: &Automation,
        chain: &mut Chain,
        rate: u32,
    ) -> Result<(), Error> {
        let mut lines: HashMap<(usize, Target), Line> = HashMap::new();
        for point in &automation.points {
            let Point { line, time, param, value, plugin, linear, note } = point;
            let say = |column: &str, reason: String| Error::Automation {
                path: automation.path.clone(),
                line: *line,
                reason: format!("column '{column}': {reason}"),
            };
            let place = match plugin.as_str() {
                "" => None,
                name => Some(chain.place(name).map_err(|e| say("plugin", e))?),
            };
            let (place, target, number, begin) = match Moved::named(param, *note) {
                Some(moved) => {
                    let moved = moved.map_err(|e| say("param", e))?;
                    let place = self.plays_notes(chain, place).map_err(|e| say("param", e))?;
                    let number = moved.value(value).map_err(|e| say("value", e))?;
                    (place, Target::Notes(moved), number, (moved.neutral(), moved.name()))
                }
                None => {
                    let modulated = param.strip_prefix(MODULATION).map(str::trim_start);
                    let name = modulated.unwrap_or(param);
                    let (place, found) =
                        find_param(chain, place, plugin, name).map_err(|e| say("param", e))?;
                    let (id, key) = (found.id, *note);
                    if key.is_some() && !found.per_note {
                        let reason = format!("'{}' is not of single notes", found.name);
                        return Err(say("note", reason));
                    }
                    if modulated.is_some() {
                        let format = chain.info(place).format;
                        let number = offset(format, &found, value).map_err(|(c, e)| say(c, e))?;
                        (place, Target::Modulation { id, key }, number, (0.0, param.clone()))
                    } else if found.read_only {
                        return Err(say("param", format!("'{}' is shown, not set", found.name)));
                    } else {
                        let number =
                            number_of(chain, place, &found, value)?.map_err(|e| say("value", e))?;
                        (place, Target::Param { id, key }, number, (found.value, found.name))
                    }
                }
            };
            let frames = |seconds: f64| (seconds * f64::from(rate)).round() as u64;
            let frame = match *time {
                Time::Seconds(seconds) => frames(seconds),
                Time::Frames(frame) => frame,
                Time::Beats(beats) => frames(self.meter.seconds_at(beats)),
            };
            let line = lines.entry((place, target)).or_insert_with(|| Line::new(begin));
            line.points.push((frame, number, *linear));
        }
        let mut lines: Vec<_> = lines.into_iter().collect();
        lines.sort_by_key(|(key, _)| *key);
        for ((place, target), line) in lines {
            let refuse =
                |reason| Error::Automation { path: automation.path.clone(), line: 1, reason };
            if !matches!(target, Target::Notes(_)) {
                self.before.push((place, target.takes(line.begin)));
            }
            let events = &mut self.events[place];
            line.draw(|frame, number| {
                let kind = target.takes(number);
                events.push(Entry { frame, kind, at_start: false });
                match events.len() > MAX_EVENTS {
                    true => Err(format!("it makes more than {MAX_EVENTS} events")),
                    false => Ok(()),
                }
            })
            .map_err(refuse)?;
        }
        Ok(())
    }

    /// The plugin whose notes are meant.
    fn plays_notes(&self, chain: &Chain, place: Option<usize>) -> Result<usize, String> {
        let takes = |place: usize| {
            place < chain.places() && chain.info(place).note_inputs.iter().any(|p| p.expressions)
        };
        match place {
            Some(place) if takes(place) => Ok(place),
            Some(_) => Err("this plugin takes no note expressions".into()),
            None => (0..chain.places())
                .find(|&place| takes(place))
                .ok_or_else(|| "no plugin of the chain takes note expressions".into()),
        }
    }

    /// When each event reaches its plugin, by place: audio comes to plugins behind others late by
    /// their delay, and what belongs to it with it. Never more than [`MOST_AT_ONCE`] at a frame.
    ///
    /// `again`: the plugins have heard a part of it, so their parameters are put back first.
    pub(super) fn timed(&self, arrivals: &[u64], again: bool) -> Vec<Vec<(u64, EventKind)>> {
        let back = |place: usize| {
            let mine = self.before.iter().filter(move |(at, _)| again && *at == place);
            mine.map(|(_, kind)| (0, *kind))
        };
        let timed = |(place, (events, arrival)): (usize, (&Vec<Entry>, &u64))| {
            let time = |e: &Entry| if e.at_start { 0 } else { e.frame.saturating_add(*arrival) };
            let mut all: Vec<_> = back(place).collect();
            all.extend(events.iter().map(|e| (time(e), e.kind)));
            all.sort_by_key(|(frame, _)| *frame);
            spread(&mut all);
            all
        };
        self.events.iter().zip(arrivals).enumerate().map(timed).collect()
    }
}

/// Events that a plugin is sent in one block: leaves room for what other plugins send it.
pub(super) const MOST_AT_ONCE: usize = 192;

/// The longest system-exclusive message that can be sent: its pieces are sent at once.
const LONGEST_SYSEX: usize = MOST_AT_ONCE * SYSEX_BYTES;

/// Moves what is too much at a frame to the next, in order. The pieces of a message stay together.
fn spread(all: &mut [(u64, EventKind)]) {
    let continues =
        |(_, kind): &(u64, EventKind)| matches!(kind, EventKind::SysEx { first: false, .. });
    let (mut at, mut count) = (0, 0);
    for whole in all.chunk_by_mut(|_, next| continues(next)) {
        if whole[0].0 > at {
            (at, count) = (whole[0].0, 0);
        }
        if count + whole.len() > MOST_AT_ONCE {
            (at, count) = (at + 1, 0);
        }
        count += whole.len();
        whole.iter_mut().for_each(|(frame, _)| *frame = at);
    }
}

fn find_param(
    chain: &Chain,
    place: Option<usize>,
    plugin: &str,
    name: &str,
) -> Result<(usize, Param), String> {
    let places: Vec<usize> = match place {
        Some(place) if place >= chain.places() => {
            return Err(format!("there are {} plugins in the chain", chain.places()));
        }
        Some(place) => vec![place],
        None => (0..chain.places()).collect(),
    };
    let found: Vec<(usize, &Param)> = places
        .iter()
        .filter_map(|&place| Some((place, param_of(chain.info(place), name)?)))
        .collect();
    match found.as_slice() {
        [(place, param)] => Ok((*place, (*param).clone())),
        [] => {
            let all = places.iter().flat_map(|&place| &chain.info(place).params);
            let near = nearest(name, all.map(|param| param.name.as_str()));
            let near = near.map(|near| format!("; do you mean '{near}'?")).unwrap_or_default();
            let whose = if plugin.is_empty() { "" } else { " of this plugin" };
            Err(format!("there is no parameter '{name}'{whose}{near}"))
        }
        [(first, _), .., (last, _)] => Err(format!(
            "plugins {} and {} both have a parameter '{name}': say which one's",
            first + 1,
            last + 1
        )),
    }
}

/// By name, by name without regard to case, by `group/name`, or by `#number`.
fn param_of<'a>(info: &'a PluginInfo, name: &str) -> Option<&'a Param> {
    let by = |test: &dyn Fn(&&Param) -> bool| info.params.iter().find(test);
    let number = name.strip_prefix('#').and_then(|digits| digits.parse::<u32>().ok());
    by(&|param| param.name == name)
        .or_else(|| by(&|param| number == Some(param.id)))
        .or_else(|| by(&|param| param.name.eq_ignore_ascii_case(name)))
        .or_else(|| by(&|param| format!("{}/{}", param.module, param.name) == name))
}

/// Reads the amount of a modulation. The error says which column is wrong, and why.
fn offset(format: Format, param: &Param, text: &str) -> Result<f64, (&'static str, String)> {
    // VST3 has none: there it moves the value, for as long as it lasts.
    let takes = param.modulatable || (format == Format::Vst3 && param.automatable);
    if !takes {
        return Err(("param", format!("'{}' can't be modulated", param.name)));
    }
    let most = param.max - param.min;
    match text.trim().parse::<f64>() {
        Ok(number) if number.abs() <= most => Ok(number),
        _ => Err((
            "value",
            format!("'{text}' is no offset for '{}', a number from -{most} to {most}", param.name),
        )),
    }
}

fn number_of(
    chain: &mut Chain,
    place: usize,
    param: &Param,
    text: &str,
) -> Result<Result<f64, String>, Error> {
    let (min, max, name) = (param.min, param.max, &param.name);
    let number = match text.trim().parse::<f64>() {
        Ok(number) => Some(number),
        Err(_) => chain.text_to_value(place, param.id, text.trim())?,
    };
    Ok(match number {
        Some(number) if number >= min && number <= max => Ok(number),
        Some(number) => Err(format!("{number} is not in the range of '{name}', {min} to {max}")),
        None => Err(format!(
            "'{text}' means nothing to '{name}', whose value is {} now and whose range is {min} \
             to {max}",
            param.text
        )),
    })
}
