//! What is played to compare plugins with themselves: noise in blocks of varying sizes, notes and
//! parameters at any frame. The same each time, for each format.

use super::Noise;
use super::offline::{Offline, PATIENT};
use sandrack_engine::event::{Event, EventKind, Expression, NoteAddress};
use sandrack_sandbox::format::{Param, PluginInfo};

/// Most frames that a plugin is activated for.
pub(crate) const MAX: u32 = 512;

/// Frames of each block. The longest are more than the plugins were activated for: the engine
/// cuts them up.
pub(crate) const SIZES: &[u32] =
    &[64, 1, 17, 512, 33, 2, 256, 511, 1000, 128, 3, 512, 1537, 64, 480, 441, 7];

/// Which events are played.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Events {
    /// All kinds.
    All,
    /// Those that mean the same in every format, to the bit: notes and parameters.
    Common,
}

/// Parameters that a user sees: without those that stand for MIDI controllers in VST3.
pub(crate) fn shown(info: &PluginInfo) -> Vec<&Param> {
    info.params.iter().filter(|param| !param.name.starts_with("MIDI Ch.")).collect()
}

/// A value of a parameter, by its share of the range: one of its steps, if it has any.
pub(crate) fn value_at(info: &PluginInfo, param: &Param, share: f64) -> f64 {
    let span = param.max - param.min;
    if param.steps == 0 {
        return param.min + share * span;
    }
    let burns = info.descriptor.name.ends_with("Burn");
    // Microseconds of work, not seconds.
    let most = if burns { param.steps.min(40) } else { param.steps };
    let step = (share * f64::from(most)).round();
    param.min + step * span / f64::from(param.steps)
}

/// Events for one plugin in one block, at any of its frames and in any order. `held`: notes that
/// sound, of [`Events::Common`].
fn events(
    noise: &mut Noise,
    info: &PluginInfo,
    frames: u32,
    which: Events,
    held: &mut Vec<NoteAddress>,
) -> Vec<Event> {
    let mut events = Vec::new();
    for param in shown(info).into_iter().filter(|param| param.automatable && !param.read_only) {
        for _ in 0..noise.below(3) {
            let value = value_at(info, param, noise.unit());
            let kind = EventKind::ParamValue { param: param.id, note: NoteAddress::ALL, value };
            let time = noise.below(frames);
            // What comes first of a parameter and a note of one frame is not said in VST3.
            let time = if which == Events::Common { time & !1 } else { time };
            events.push(Event { time, kind });
        }
    }
    if info.note_inputs.is_empty() {
        return events;
    }
    let mut touched = Vec::new();
    for _ in 0..noise.below(6) {
        let key = (40 + noise.below(20)) as i16;
        let note = NoteAddress { note_id: -1, port: 0, channel: noise.below(2) as i16, key };
        let on = EventKind::NoteOn { note, velocity: noise.unit() };
        let off = EventKind::NoteOff { note, velocity: 0.5 };
        let (choice, time) = (noise.below(8), noise.below(frames));
        if which == Events::Common {
            // One note of a channel at a time: which of several of a key an end means is told by
            // numbers that the formats don't share.
            let time = time | 1;
            if time >= frames || touched.contains(&note.channel) {
                continue;
            }
            touched.push(note.channel);
            let kind = match held.iter().position(|other| other.channel == note.channel) {
                Some(place) => EventKind::NoteOff { note: held.swap_remove(place), velocity: 0.5 },
                None => {
                    held.push(note);
                    on
                }
            };
            events.push(Event { time, kind });
            continue;
        }
        let kind = match choice {
            0..4 => on,
            4 => off,
            5 => EventKind::NoteChoke { note },
            6 => EventKind::NoteExpression {
                note,
                expression: Expression::Tuning,
                value: noise.unit() * 4.0 - 2.0,
            },
            _ => EventKind::Midi { port: 0, data: [0xe0, 0, noise.below(128) as u8] },
        };
        events.push(Event { time, kind });
    }
    events
}

/// Plays the first track.
pub(crate) fn play(offline: &mut Offline, which: Events) {
    let mut noise = Noise(1);
    let mut held = vec![Vec::new(); offline.running.nodes[0].len()];
    for round in 0..4 {
        for &frames in SIZES {
            for (place, held) in held.iter_mut().enumerate() {
                let mut info = offline.session.info(0, place).clone();
                if place > 0 && which == Events::Common {
                    // It has its notes from the one before.
                    info.note_inputs.clear();
                }
                for event in events(&mut noise, &info, frames, which, held) {
                    offline.send(0, place, event);
                }
            }
            // The last round is a tail: silence comes in.
            let mut input = noise.channels(2, frames as usize);
            if round == 3 {
                input.iter_mut().for_each(|channel| channel.fill(0.0));
            }
            offline.step(&input, PATIENT);
        }
    }
    offline.assert_all_well();
}

/// Plays noise and one chord to the first track, and touches no parameter.
pub(crate) fn play_untouched(offline: &mut Offline) {
    let mut noise = Noise(2);
    for (block, &frames) in SIZES.iter().enumerate() {
        for key in [48, 60, 64].into_iter().filter(|_| block == 0) {
            let note = NoteAddress { note_id: -1, port: 0, channel: 0, key };
            offline.send(0, 0, Event { time: 3, kind: EventKind::NoteOn { note, velocity: 0.8 } });
        }
        let input = noise.channels(2, frames as usize);
        offline.step(&input, PATIENT);
    }
    offline.assert_all_well();
}
