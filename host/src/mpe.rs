//! MPE: notes that each have a MIDI channel of their own, so that bend, pressure and slide are the
//! note's. Here they become a note's expressions, which plugins of both formats take.
//!
//! A zone has a master channel, the first or the last, and next to it its members. Notes of members
//! come out on the master channel, told apart by their numbers. What is on the master channel is
//! for all notes of its zone and passes through, but for its bend, which is added to theirs.

use sandrack_engine::event::{EventKind, Expression, NoteAddress};

/// How the channels of a MIDI file are understood.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mpe {
    /// As MPE where the file declares zones and the plugin takes note expressions.
    #[default]
    Auto,
    /// As MPE in any case; without a declaration all channels but the first are members.
    On,
    /// As sixteen channels of their own.
    Off,
}

impl std::str::FromStr for Mpe {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "auto" => Ok(Self::Auto),
            "on" => Ok(Self::On),
            "off" => Ok(Self::Off),
            other => Err(format!("'{other}' is none of auto, on, off")),
        }
    }
}

/// Semitones either way: of members until they say otherwise, and of masters.
const MEMBER_RANGE: f64 = 48.0;
const MASTER_RANGE: f64 = 2.0;

/// Controllers.
const DATA: u8 = 6;
const DATA_FINE: u8 = 38;
const SLIDE: u8 = 74;
const NRPN: [u8; 2] = [98, 99];
const RPN_FINE: u8 = 100;
const RPN: u8 = 101;
const ALL_SOUND_OFF: u8 = 120;
const ALL_NOTES_OFF: u8 = 123;

/// Registered parameters.
const BEND_RANGE: (u8, u8) = (0, 0);
const CONFIGURATION: (u8, u8) = (0, 6);
const NO_PARAMETER: (u8, u8) = (127, 127);

/// What was last said on a channel.
#[derive(Clone, Copy)]
struct Channel {
    /// -1..=1.
    bend: f64,
    /// Of `bend` 1, semitones.
    range: f64,
    pressure: f64,
    /// `None`: nothing, so the plugin's own value holds.
    slide: Option<f64>,
    /// The registered parameter that data is for.
    parameter: (u8, u8),
}

/// A note of a member that sounds.
#[derive(Clone, Copy)]
struct Sounding {
    member: u8,
    note: NoteAddress,
}

/// Turns one song's messages into events.
pub(crate) struct Zones {
    /// Members of the lower zone (master: the first channel) and the upper one.
    members: [u8; 2],
    channels: [Channel; 16],
    sounding: Vec<Sounding>,
    next_id: i32,
}

impl Zones {
    /// Nothing declared yet; with `all`, everything is one lower zone.
    pub(crate) fn new(all: bool) -> Self {
        let channel = Channel {
            bend: 0.0,
            range: MEMBER_RANGE,
            pressure: 0.0,
            slide: None,
            parameter: NO_PARAMETER,
        };
        let mut zones =
            Self { members: [0, 0], channels: [channel; 16], sounding: Vec::new(), next_id: 0 };
        if all {
            zones.declare(0, 15);
        }
        zones
    }

    /// A zone has so many members from here on; the other has what is left.
    fn declare(&mut self, zone: usize, members: u8) {
        let members = members.min(15);
        self.members[zone] = members;
        let left = 14_u8.saturating_sub(members);
        self.members[1 - zone] = self.members[1 - zone].min(left);
        for (number, channel) in (0_u8..).zip(&mut self.channels) {
            channel.range = if number == master(zone) { MASTER_RANGE } else { channel.range };
            channel.bend = 0.0;
        }
    }

    /// The zone that a channel is a member of.
    fn zone_of(&self, channel: u8) -> Option<usize> {
        let [lower, upper] = self.members;
        if (1..=lower).contains(&channel) {
            Some(0)
        } else if channel < 15 && channel >= 15 - upper {
            Some(1)
        } else {
            None
        }
    }

    /// The zone whose master a channel is.
    fn led_by(&self, channel: u8) -> Option<usize> {
        (0..2).find(|&zone| self.members[zone] > 0 && master(zone) == channel)
    }

    /// Takes a message. `false`: it is of no zone, and to be passed on as it is.
    pub(crate) fn take(&mut self, message: [u8; 3], out: &mut impl FnMut(EventKind)) -> bool {
        let [status, a, b] = message;
        let channel = status & 15;
        if status & 0xf0 == 0xb0 && self.controller(channel, a, b) {
            return true;
        }
        let Some(zone) = self.zone_of(channel) else {
            return match (self.led_by(channel), status & 0xf0) {
                (Some(zone), 0xe0) => {
                    self.channels[usize::from(channel)].bend = bend(a, b);
                    self.tell(|me, s| me.zone_of(s.member) == Some(zone), Expression::Tuning, out);
                    true
                }
                _ => false,
            };
        };
        let of_channel = |_: &Self, sounding: &Sounding| sounding.member == channel;
        let mine = &mut self.channels[usize::from(channel)];
        match (status & 0xf0, a) {
            (0x90, key) if b > 0 => self.begin(zone, channel, key, b, out),
            (0x80 | 0x90, key) => self.end(channel, Some(key), b, out),
            (0xa0, key) => {
                for sounding in self.sounding.iter().filter(|s| s.is(channel, Some(key))) {
                    out(expression(sounding.note, Expression::Pressure, amount(b)));
                }
            }
            (0xd0, pressure) => {
                mine.pressure = amount(pressure);
                self.tell(of_channel, Expression::Pressure, out);
            }
            (0xe0, _) => {
                mine.bend = bend(a, b);
                self.tell(of_channel, Expression::Tuning, out);
            }
            (0xb0, SLIDE) => {
                mine.slide = Some(amount(b));
                self.tell(of_channel, Expression::Brightness, out);
            }
            (0xb0, ALL_SOUND_OFF | ALL_NOTES_OFF) => self.end(channel, None, 64, out),
            _ => return false,
        }
        true
    }

    /// Declarations and ranges. Whether it was one.
    fn controller(&mut self, channel: u8, number: u8, value: u8) -> bool {
        let zone = self.zone_of(channel);
        let in_zone = zone.is_some() || self.led_by(channel).is_some();
        let mine = &mut self.channels[usize::from(channel)];
        match (number, mine.parameter) {
            (RPN, _) => mine.parameter.0 = value,
            (RPN_FINE, _) => mine.parameter.1 = value,
            (number, _) if NRPN.contains(&number) => mine.parameter = NO_PARAMETER,
            (DATA, CONFIGURATION) if channel == 0 || channel == 15 => {
                self.declare(usize::from(channel == 15), value);
                return true;
            }
            (DATA | DATA_FINE, BEND_RANGE) if in_zone => {
                let range = |before: f64| match number {
                    DATA => f64::from(value),
                    _ => before.trunc() + f64::from(value) / 100.0,
                };
                match zone {
                    // Of one member it holds for all.
                    Some(zone) => {
                        for other in 0..16 {
                            if self.zone_of(other) == Some(zone) {
                                let other = &mut self.channels[usize::from(other)];
                                other.range = range(other.range);
                            }
                        }
                    }
                    None => mine.range = range(mine.range),
                }
                return true;
            }
            _ => return false,
        }
        in_zone
    }

    fn begin(
        &mut self,
        zone: usize,
        member: u8,
        key: u8,
        velocity: u8,
        out: &mut impl FnMut(EventKind),
    ) {
        let channel = i16::from(master(zone));
        let note = NoteAddress { note_id: self.next_id, port: 0, channel, key: i16::from(key) };
        self.next_id = self.next_id.checked_add(1).unwrap_or(0);
        out(EventKind::NoteOn { note, velocity: amount(velocity) });
        let sounding = Sounding { member, note };
        let state = self.channels[usize::from(member)];
        let bend = self.tuning(&sounding);
        let said = [
            (Expression::Tuning, Some(bend).filter(|bend| *bend != 0.0)),
            (Expression::Pressure, Some(state.pressure).filter(|pressure| *pressure != 0.0)),
            (Expression::Brightness, state.slide),
        ];
        for (which, value) in said {
            if let Some(value) = value {
                out(expression(note, which, value));
            }
        }
        self.sounding.push(sounding);
    }

    /// Ends the oldest note of a key, or all of a channel.
    fn end(&mut self, member: u8, key: Option<u8>, velocity: u8, out: &mut impl FnMut(EventKind)) {
        while let Some(at) = self.sounding.iter().position(|s| s.is(member, key)) {
            let note = self.sounding.remove(at).note;
            out(EventKind::NoteOff { note, velocity: amount(velocity) });
            if key.is_some() {
                return;
            }
        }
    }

    /// Ends all that sounds.
    pub(crate) fn end_all(&mut self, out: &mut impl FnMut(EventKind)) {
        for Sounding { note, .. } in self.sounding.drain(..) {
            out(EventKind::NoteOff { note, velocity: amount(64) });
        }
    }

    /// Semitones that a note is bent.
    fn tuning(&self, sounding: &Sounding) -> f64 {
        let of = |channel: u8| {
            let Channel { bend, range, .. } = self.channels[usize::from(channel)];
            bend * range
        };
        let master = self.zone_of(sounding.member).map_or(0.0, |zone| of(master(zone)));
        (of(sounding.member) + master).clamp(-120.0, 120.0)
    }

    /// Tells some notes the value that their channel has.
    fn tell(
        &self,
        which: impl Fn(&Self, &Sounding) -> bool,
        what: Expression,
        out: &mut impl FnMut(EventKind),
    ) {
        for sounding in self.sounding.iter().filter(|sounding| which(self, sounding)) {
            let state = self.channels[usize::from(sounding.member)];
            let value = match what {
                Expression::Tuning => self.tuning(sounding),
                Expression::Pressure => state.pressure,
                _ => state.slide.unwrap_or(0.5),
            };
            out(expression(sounding.note, what, value));
        }
    }
}

impl Sounding {
    fn is(&self, member: u8, key: Option<u8>) -> bool {
        self.member == member && key.is_none_or(|key| self.note.key == i16::from(key))
    }
}

fn master(zone: usize) -> u8 {
    if zone == 0 { 0 } else { 15 }
}

fn amount(value: u8) -> f64 {
    f64::from(value) / 127.0
}

/// -1..=1.
fn bend(fine: u8, coarse: u8) -> f64 {
    let value = f64::from(u16::from(coarse) << 7 | u16::from(fine)) - 8192.0;
    value / if value < 0.0 { 8192.0 } else { 8191.0 }
}

fn expression(note: NoteAddress, expression: Expression, value: f64) -> EventKind {
    EventKind::NoteExpression { note, expression, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn play(zones: &mut Zones, messages: &[[u8; 3]]) -> (Vec<EventKind>, usize) {
        let (mut events, mut passed) = (Vec::new(), 0);
        for message in messages {
            passed += usize::from(!zones.take(*message, &mut |event| events.push(event)));
        }
        (events, passed)
    }

    fn tunings(events: &[EventKind]) -> Vec<(i32, f64)> {
        let tuning = |event: &EventKind| match event {
            EventKind::NoteExpression { note, expression: Expression::Tuning, value } => {
                Some((note.note_id, (value * 1e3).round() / 1e3))
            }
            _ => None,
        };
        events.iter().filter_map(tuning).collect()
    }

    const LOWER_ZONE: [[u8; 3]; 3] = [[0xb0, 101, 0], [0xb0, 100, 6], [0xb0, 6, 15]];

    #[test]
    fn without_a_declaration_all_passes_through() {
        let messages = [[0x91, 60, 100], [0xe1, 0, 96], [0xb1, 74, 5], [0x81, 60, 0]];
        let (events, passed) = play(&mut Zones::new(false), &messages);
        assert_eq!((events.len(), passed), (0, 4));
        let (events, passed) = play(&mut Zones::new(true), &messages);
        assert_eq!((events.len(), passed), (4, 0));
    }

    #[test]
    fn each_note_is_bent_alone_and_all_with_the_master() {
        let mut zones = Zones::new(false);
        play(&mut zones, &LOWER_ZONE);
        let (events, _) = play(&mut zones, &[[0xe2, 0, 96], [0x91, 60, 100], [0x92, 64, 100]]);
        // Half the way up, of 48 semitones.
        assert_eq!(tunings(&events), [(1, 24.003)]);
        let (events, passed) = play(&mut zones, &[[0xe1, 0, 32], [0xe0, 127, 127]]);
        assert_eq!(tunings(&events), [(0, -24.0), (0, -22.0), (1, 26.003)]);
        assert_eq!(passed, 0);
    }

    #[test]
    fn a_range_said_on_one_member_holds_for_all() {
        let mut zones = Zones::new(true);
        let range = [[0xb3, 101, 0], [0xb3, 100, 0], [0xb3, 6, 12], [0xb3, 38, 50]];
        let (events, passed) = play(&mut zones, &range);
        assert_eq!((events.len(), passed), (0, 0));
        let (events, _) = play(&mut zones, &[[0x91, 60, 1], [0xe1, 127, 127]]);
        assert_eq!(tunings(&events), [(0, 12.5)]);
    }

    #[test]
    fn the_upper_zone_counts_from_the_top_and_takes_from_the_lower() {
        let mut zones = Zones::new(true);
        play(&mut zones, &[[0xbf, 101, 0], [0xbf, 100, 6], [0xbf, 6, 4]]);
        assert_eq!(zones.members, [10, 4]);
        let of: Vec<_> = (0..16).map(|channel| zones.zone_of(channel)).collect();
        assert_eq!(of[10..], [Some(0), Some(1), Some(1), Some(1), Some(1), None]);
        let (events, _) = play(&mut zones, &[[0x9b, 60, 127]]);
        let EventKind::NoteOn { note, velocity: 1.0 } = events[0] else { panic!("{events:?}") };
        assert_eq!(note.channel, 15);
    }

    #[test]
    fn pressure_and_slide_go_to_the_notes_that_sound() {
        let mut zones = Zones::new(true);
        let (events, _) = play(
            &mut zones,
            &[[0xb1, 74, 127], [0x91, 60, 1], [0xd1, 127, 0], [0x81, 60, 0], [0xd1, 0, 0]],
        );
        let kinds: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                EventKind::NoteExpression { expression, value, .. } => Some((*expression, *value)),
                _ => None,
            })
            .collect();
        assert_eq!(kinds, [(Expression::Brightness, 1.0), (Expression::Pressure, 1.0)]);
        assert!(zones.sounding.is_empty());
    }
}
