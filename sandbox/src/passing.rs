//! Notes of a plugin that is bypassed: as if it were not there, what comes in goes on. No note is left
//! hanging on either way: what the plugin had begun is ended when it is bypassed, and what was passed
//! on meanwhile is ended when its key is let go, whoever is heard by then.

use crate::event::{Event, insert_sorted, kind};

/// What becomes of a plugin's notes in a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notes {
    /// They go on.
    #[default]
    Own,
    /// What came in goes on in their place.
    Passed,
    /// Nothing goes on.
    Ended,
}

/// Notes and pedals that are remembered each way. Further ones are not ended.
const MOST: usize = 256;

/// What goes on from a plugin, from block to block.
pub struct Passing {
    notes: Notes,
    /// Begun by the plugin and not ended, for all who hear it.
    own: Vec<Event>,
    /// Begun by what was passed on.
    passed: Vec<Event>,
}

/// Whether an event begins something that has to be ended: a note, or a pedal that keeps notes.
fn begins(event: &Event) -> bool {
    match (event.kind, event.midi) {
        (kind::NOTE_ON, _) => true,
        (kind::MIDI, [status, key, value, _]) => match status & 0xf0 {
            0x90 => value > 0,
            0xb0 => is_pedal(key) && value >= 64,
            _ => false,
        },
        _ => false,
    }
}

/// Sustain and sostenuto.
fn is_pedal(controller: u8) -> bool {
    matches!(controller, 64 | 66)
}

/// Whether `event` ends what `begun` began.
fn ends(event: &Event, begun: &Event) -> bool {
    let port = event.port == -1 || begun.port == -1 || event.port == begun.port;
    let is = |event: i32, begun: i32| event == -1 || event == begun;
    port && match (event.kind, begun.kind) {
        (kind::NOTE_OFF | kind::NOTE_CHOKE, kind::NOTE_ON) => {
            is(event.channel.into(), begun.channel.into())
                && is(event.key.into(), begun.key.into())
                && (begun.note_id == -1 || is(event.note_id, begun.note_id))
        }
        (kind::MIDI, kind::MIDI) => {
            let ([status, key, value, _], [begun, begun_key, ..]) = (event.midi, begun.midi);
            let is_note = begun & 0xf0 == 0x90;
            status & 0x0f == begun & 0x0f
                && match status & 0xf0 {
                    0x80 => is_note && key == begun_key,
                    0x90 => is_note && key == begun_key && value == 0,
                    0xb0 if is_pedal(key) => !is_note && key == begun_key && value < 64,
                    // All sound off; all notes off and the modes that mean it, too.
                    0xb0 => is_note && (key == 120 || key >= 123),
                    _ => false,
                }
        }
        _ => false,
    }
}

/// What ends it, at the start of a block.
fn end_of(begun: &Event) -> Event {
    let [status, key, ..] = begun.midi;
    match begun.kind {
        kind::MIDI if status & 0xf0 == 0x90 => {
            Event { time: 0, midi: [0x80 | status & 0x0f, key, 64, 0], ..*begun }
        }
        kind::MIDI => Event { time: 0, midi: [status, key, 0, 0], ..*begun },
        _ => Event { time: 0, kind: kind::NOTE_OFF, value: 0.5, ..*begun },
    }
}

/// Remembers what is begun and forgets what is ended.
fn follow(held: &mut Vec<Event>, event: &Event) {
    if begins(event) {
        if held.len() < held.capacity() {
            held.push(*event);
        }
    } else if !held.is_empty() {
        held.retain(|begun| !ends(event, begun));
    }
}

impl Default for Passing {
    fn default() -> Self {
        let room = || Vec::with_capacity(MOST);
        Self { notes: Notes::Own, own: room(), passed: room() }
    }
}

impl Passing {
    /// Makes of what a plugin put out what goes on. `input`: what it was given. Neither allocates nor
    /// costs anything to speak of while the plugin is heard.
    #[inline]
    pub fn block(&mut self, notes: Notes, input: &[Event], out: &mut Vec<Event>) {
        if notes == Notes::Own && self.notes == Notes::Own && self.passed.is_empty() {
            out.iter().for_each(|event| follow(&mut self.own, event));
            return;
        }
        self.change(notes, input, out);
    }

    fn change(&mut self, notes: Notes, input: &[Event], out: &mut Vec<Event>) {
        if notes != Notes::Own {
            out.retain(|event| !event.passes_on());
            for begun in self.own.drain(..) {
                insert_sorted(out, end_of(&begun));
            }
        }
        match notes {
            Notes::Own => out.iter().for_each(|event| follow(&mut self.own, event)),
            Notes::Ended => {
                for begun in self.passed.drain(..) {
                    insert_sorted(out, end_of(&begun));
                }
            }
            Notes::Passed => {}
        }
        for event in input.iter().filter(|event| event.passes_on()) {
            let goes_on = match notes {
                Notes::Passed => true,
                Notes::Own | Notes::Ended => self.passed.iter().any(|begun| ends(event, begun)),
            };
            // One that finds no room is not ended here either: it is tried when all is ended.
            if goes_on && insert_sorted(out, *event) {
                follow(&mut self.passed, event);
            }
        }
        self.notes = notes;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(kind: u16, key: i16, time: u32) -> Event {
        Event { port: 0, channel: 0, key, value: 0.8, ..Event::new(kind, time) }
    }

    fn midi(data: [u8; 3]) -> Event {
        let [a, b, c] = data;
        Event { port: 0, midi: [a, b, c, 0], ..Event::new(kind::MIDI, 0) }
    }

    struct Bench(Passing);

    impl Bench {
        /// Kinds and keys of what goes on, of what the plugin is given and puts out.
        fn block(
            &mut self,
            notes: Notes,
            input: &[Event],
            output: &[Event],
        ) -> Vec<(u16, i16, u32)> {
            let mut out = Vec::with_capacity(64);
            out.extend_from_slice(output);
            self.0.block(notes, input, &mut out);
            assert!(out.is_sorted_by_key(|event| event.time), "{out:?}");
            out.iter().map(|event| (event.kind, event.key, event.time)).collect()
        }
    }

    use kind::{NOTE_OFF as OFF, NOTE_ON as ON, PARAM_VALUE as PARAM};

    #[test]
    fn a_bypassed_plugin_passes_notes_on_and_none_hangs_on_either_way() {
        let mut bench = Bench(Passing::default());
        // It plays an octave above.
        let on = |key, time| note(ON, key, time);
        let off = |key, time| note(OFF, key, time);
        assert_eq!(bench.block(Notes::Own, &[on(60, 5)], &[on(72, 5)]), [(ON, 72, 5)]);
        // What it tells its host goes on as before; what it had begun ends first.
        let param = Event::param_value(9, 1, 0.5);
        let out = bench.block(Notes::Passed, &[on(62, 3)], &[on(74, 3), param]);
        assert_eq!(out, [(OFF, 72, 0), (ON, 62, 3), (PARAM, -1, 9)]);
        assert_eq!(bench.block(Notes::Passed, &[off(60, 1)], &[off(72, 1)]), [(OFF, 60, 1)]);
        // It is heard again while a key is held: the end of that is passed on, nothing else is.
        let out = bench.block(Notes::Own, &[on(64, 2)], &[on(76, 2)]);
        assert_eq!(out, [(ON, 76, 2)]);
        let out = bench.block(Notes::Own, &[off(62, 4), off(64, 6)], &[off(74, 4), off(76, 6)]);
        assert_eq!(out, [(OFF, 74, 4), (OFF, 62, 4), (OFF, 76, 6)]);
        assert!(bench.0.own.is_empty() && bench.0.passed.is_empty());
    }

    #[test]
    fn one_that_is_taken_out_ends_all_that_was_begun_through_it() {
        let mut bench = Bench(Passing::default());
        bench.block(Notes::Passed, &[note(ON, 60, 0)], &[]);
        assert_eq!(bench.block(Notes::Own, &[], &[note(ON, 72, 0)]), [(ON, 72, 0)]);
        let out =
            bench.block(Notes::Ended, &[note(ON, 61, 2), note(OFF, 60, 3)], &[note(ON, 73, 2)]);
        assert_eq!(out, [(OFF, 72, 0), (OFF, 60, 0)]);
        assert_eq!(bench.block(Notes::Ended, &[note(ON, 61, 2)], &[note(ON, 73, 2)]), []);
    }

    #[test]
    fn midi_notes_and_pedals_are_followed_too() {
        let mut passing = Passing::default();
        let mut block = |notes, input: &[[u8; 3]], output: &[[u8; 3]]| -> Vec<[u8; 3]> {
            let mut out = Vec::with_capacity(64);
            out.extend(output.iter().map(|data| midi(*data)));
            let input: Vec<Event> = input.iter().map(|data| midi(*data)).collect();
            passing.block(notes, &input, &mut out);
            out.iter().map(|event| [event.midi[0], event.midi[1], event.midi[2]]).collect()
        };
        block(Notes::Own, &[], &[[0x91, 60, 100], [0x91, 61, 100], [0xb1, 123, 0], [0x91, 62, 9]]);
        let out = block(Notes::Passed, &[[0x90, 40, 1], [0xb0, 64, 127], [0xe0, 0, 70]], &[]);
        let bent = [[0x81, 62, 64], [0x90, 40, 1], [0xb0, 64, 127], [0xe0, 0, 70]];
        assert_eq!(out, bent);
        assert_eq!(block(Notes::Own, &[[0xb0, 64, 100], [0xe0, 0, 64]], &[]), [[0; 3]; 0]);
        let released = [[0x90, 40, 0], [0xb0, 64, 0]];
        assert_eq!(block(Notes::Own, &released, &[]), released);
        assert_eq!(block(Notes::Own, &released, &[]), [[0; 3]; 0], "once");
    }

    #[test]
    fn what_finds_no_room_is_not_forgotten_before_it_is_ended() {
        let mut passing = Passing::default();
        let many: Vec<Event> = (0..2000).map(|n| note(ON, n % 128, 0)).collect();
        let mut out = Vec::with_capacity(8);
        passing.block(Notes::Passed, &many, &mut out);
        assert_eq!((out.len(), passing.passed.len()), (8, 8));
    }
}
