//! What sounds because of whom: held notes, and controllers that are away from rest.
//!
//! Routes may change at any time; a key that is let go must release the note that it began, where it
//! began it. So every note that was sent is remembered with the key that sent it. Likewise a pedal
//! that is down, or a wheel that is turned, stays with the sound that it moved until it is back
//! at rest: only then does a sound that is no longer played fall silent, in tune.
//!
//! A note has one end for each beginning, also where several keys play it: it is begun anew with
//! each key, and ends with the last. An end that finds no room is sent in the next block.

use super::message::{BEND_CENTRE, cc};
use super::output::{Out, Place, Sink};

/// Most notes that are held at once. More are not begun: they could not be ended.
const HELD: usize = 2048;
/// Most controllers that are away from rest at once. Those beyond are not followed.
const AWAY: usize = 1024;

/// A port and a channel.
pub(super) type From = (u16, u8);

/// Everything that sounds.
pub(super) struct Sounding {
    held: Vec<Held>,
    away: Vec<Away>,
}

struct Held {
    /// Whose key, and which. `None`: it is let go, but the note's end found no room.
    by: Option<(From, u8)>,
    place: Place,
    key: u8,
    /// Whether the note was begun, as far as is known; false where its new beginning found no room
    /// after its end was sent.
    began: bool,
}

struct Away {
    /// `None`: at rest, but that found no room.
    by: Option<From>,
    what: Lasting,
    place: Place,
}

/// What stays where it is put.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Lasting {
    Controller(u8),
    Bend,
    Pressure,
}

impl Lasting {
    /// Of controllers, those that are at rest when nobody touches them: pedals and the wheel. A
    /// volume stays.
    pub(super) fn controller(number: u8) -> Option<Self> {
        let lasts = matches!(number, cc::MODULATION) || is_pedal(number);
        lasts.then_some(Self::Controller(number))
    }

    fn at_rest(self, channel: u8) -> [u8; 3] {
        match self {
            Self::Controller(number) => [0xb0 | channel, number, 0],
            Self::Bend => [0xe0 | channel, 0, (BEND_CENTRE >> 7) as u8],
            Self::Pressure => [0xd0 | channel, 0, 0],
        }
    }

    /// Whether these data bytes of its message are its rest.
    fn is_rest(self, data: [u8; 2]) -> bool {
        match self {
            Self::Controller(number) if is_pedal(number) => data[1] < 64,
            Self::Controller(_) => data[1] == 0,
            Self::Bend => data == [0, (BEND_CENTRE >> 7) as u8],
            Self::Pressure => data[0] == 0,
        }
    }
}

pub(super) fn is_pedal(number: u8) -> bool {
    matches!(number, cc::SUSTAIN | cc::SOSTENUTO | cc::SOFT | cc::HOLD_2)
}

impl Sounding {
    pub(super) fn new() -> Self {
        Self { held: Vec::with_capacity(HELD), away: Vec::with_capacity(AWAY) }
    }

    /// A key begins a note. False: there is no room.
    pub(super) fn press(
        &mut self,
        by: (From, u8),
        (place, key): (Place, u8),
        velocity: f64,
        out: &mut Out<'_, impl Sink>,
    ) -> bool {
        if self.held.len() == self.held.capacity() {
            return false;
        }
        let same = |held: &&mut Held| (held.place, held.key) == (place, key);
        let sounds = self.held.iter_mut().filter(same).any(|held| held.began);
        if sounds && !out.note_off(place, key, 0.5) {
            return false;
        }
        let began = out.note_on(place, key, velocity);
        self.held.iter_mut().filter(same).for_each(|held| held.began = began);
        if began {
            self.held.push(Held { by: Some(by), place, key, began });
        }
        began
    }

    /// A key is let go: ends all that it began.
    pub(super) fn release(&mut self, by: (From, u8), velocity: f64, out: &mut Out<'_, impl Sink>) {
        let mut at = 0;
        while at < self.held.len() {
            if self.held[at].by == Some(by) {
                self.held[at].by = None;
                self.end(at, velocity, out, &mut at);
            } else {
                at += 1;
            }
        }
    }

    /// Ends a note that no key holds any more, and forgets it; or else goes on to the next.
    fn end(&mut self, index: usize, velocity: f64, out: &mut Out<'_, impl Sink>, next: &mut usize) {
        let Held { place, key, began, .. } = self.held[index];
        let mut others = self.held.iter().enumerate().filter(|(other, _)| *other != index);
        let shared = others.any(|(_, other)| (other.place, other.key) == (place, key));
        if shared || !began || out.note_off(place, key, velocity) {
            self.held.remove(index);
        } else {
            *next += 1;
        }
    }

    /// All keys of a port and channel are let go.
    pub(super) fn release_channel(&mut self, from: From, out: &mut Out<'_, impl Sink>) {
        let mut at = 0;
        while at < self.held.len() {
            if self.held[at].by.is_some_and(|(by, _)| by == from) {
                self.held[at].by = None;
                self.end(at, 0.5, out, &mut at);
            } else {
                at += 1;
            }
        }
    }

    /// All keys of some ports are let go, and what lasts there goes to its rest.
    pub(super) fn release_ports(
        &mut self,
        is_it: impl Fn(u16) -> bool,
        out: &mut Out<'_, impl Sink>,
    ) {
        for held in &mut self.held {
            held.by = held.by.filter(|((port, _), _)| !is_it(*port));
        }
        for away in &mut self.away {
            away.by = away.by.filter(|(port, _)| !is_it(*port));
        }
        self.settle(out);
    }

    /// The pressure on a key goes to what it began.
    pub(super) fn key_pressure(&self, by: (From, u8), value: u8, out: &mut Out<'_, impl Sink>) {
        for held in self.held.iter().filter(|held| held.by == Some(by)) {
            let channel = held.place.channel;
            out.midi(held.place.to, &[0xa0 | channel, held.key, value]);
        }
    }

    /// Sends something lasting to a place.
    pub(super) fn put(
        &mut self,
        by: From,
        what: Lasting,
        place: Place,
        data: [u8; 2],
        out: &mut Out<'_, impl Sink>,
    ) {
        let [status, ..] = what.at_rest(place.channel);
        let is_sent = out.midi(place.to, &[status, data[0], data[1]]);
        if is_sent {
            // What was to follow has been overtaken.
            let due = (None, what, place);
            self.away.retain(|away| (away.by, away.what, away.place) != due);
        }
        let known = self
            .away
            .iter()
            .position(|away| (away.by, away.what, away.place) == (Some(by), what, place));
        match (known, what.is_rest(data), is_sent) {
            (Some(known), true, true) => drop(self.away.swap_remove(known)),
            (Some(known), true, false) => self.away[known].by = None,
            (None, false, true) if self.away.len() < self.away.capacity() => {
                self.away.push(Away { by: Some(by), what, place });
            }
            _ => {}
        }
    }

    /// Sends something lasting to the places where it still is away from rest, though no route leads
    /// there any more.
    pub(super) fn follow(
        &mut self,
        by: From,
        what: Lasting,
        data: [u8; 2],
        is_routed: impl Fn(Place) -> bool,
        out: &mut Out<'_, impl Sink>,
    ) {
        self.away.retain_mut(|away| {
            if (away.by, away.what) != (Some(by), what) || is_routed(away.place) {
                return true;
            }
            let [status, ..] = what.at_rest(away.place.channel);
            let is_sent = out.midi(away.place.to, &[status, data[0], data[1]]);
            match (what.is_rest(data), is_sent) {
                (true, true) => false,
                (true, false) => {
                    away.by = None;
                    true
                }
                (false, _) => true,
            }
        });
    }

    /// All that lasts of a port and channel goes to its rest.
    pub(super) fn rest(&mut self, by: From, out: &mut Out<'_, impl Sink>) {
        for away in self.away.iter_mut().filter(|away| away.by == Some(by)) {
            away.by = None;
        }
        self.settle_away(out);
    }

    /// Sends what found no room before.
    pub(super) fn settle(&mut self, out: &mut Out<'_, impl Sink>) {
        let mut at = 0;
        while at < self.held.len() {
            match self.held[at].by {
                None => self.end(at, 0.5, out, &mut at),
                Some(_) => at += 1,
            }
        }
        self.settle_away(out);
    }

    fn settle_away(&mut self, out: &mut Out<'_, impl Sink>) {
        self.away.retain(|away| {
            let Away { by, what, place } = away;
            by.is_some() || !out.midi(place.to, &what.at_rest(place.channel))
        });
    }

    /// Ends everything.
    pub(super) fn end_all(&mut self, out: &mut Out<'_, impl Sink>) {
        self.held.iter_mut().for_each(|held| held.by = None);
        self.away.iter_mut().for_each(|away| away.by = None);
        self.settle(out);
    }

    /// Where anything sounds, as often as it does.
    pub(super) fn places(&self) -> impl Iterator<Item = Place> {
        let held = self.held.iter().map(|held| held.place);
        held.chain(self.away.iter().map(|away| away.place))
    }

    /// Where notes are held, or pedals are down, as often as they are.
    pub(super) fn held_places(&self) -> impl Iterator<Item = Place> {
        let is_down = |away: &&Away| matches!(away.what, Lasting::Controller(n) if is_pedal(n));
        let pedals = self.away.iter().filter(is_down).map(|away| away.place);
        self.held.iter().map(|held| held.place).chain(pedals)
    }

    /// How many notes are held, or wait for their end.
    pub(super) fn notes(&self) -> usize {
        self.held.len()
    }
}
