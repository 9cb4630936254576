//! MIDI without a cable: a file that is played into the MIDI input, and what goes out coming in again.

use crate::error::Error;
use crate::midi::MidiBuffer;
use crate::midi_file::{Bytes, Song};
use std::path::Path;

/// A MIDI file as the callback thread plays it, again and again.
#[derive(Clone, Debug)]
pub(super) struct Tape {
    /// When, and where in `bytes`. In time order.
    messages: Vec<(u64, usize, usize)>,
    bytes: Vec<u8>,
    /// Length of a round in frames.
    length: u64,
    /// Where this round began.
    start: u64,
    next: usize,
}

impl Tape {
    pub(super) fn read(path: &Path, rate: u32) -> Result<Self, Error> {
        let song = Song::read(path)?;
        let frame = |seconds: f64| (seconds * f64::from(rate)).round() as u64;
        let (mut messages, mut bytes) = (Vec::new(), Vec::new());
        for message in &song.messages {
            let at = bytes.len();
            match &message.bytes {
                Bytes::Channel(three) => {
                    let two = matches!(three[0] & 0xf0, 0xc0 | 0xd0);
                    bytes.extend_from_slice(if two { &three[..2] } else { three });
                }
                Bytes::Exclusive(all) => bytes.extend_from_slice(all),
            }
            messages.push((frame(message.seconds), at, bytes.len() - at));
        }
        // A round of no length would never end.
        let length = frame(song.seconds).max(u64::from(rate) / 100).max(1);
        if messages.is_empty() {
            let reason = "there is nothing to play in it".into();
            return Err(Error::Midi { path: path.to_owned(), reason });
        }
        Ok(Self { messages, bytes, length, start: 0, next: 0 })
    }

    /// What is played in a block. What belongs to periods that were missed comes at its first frame,
    /// but for rounds that were missed as a whole: no end of a note is lost.
    pub(super) fn fill(&mut self, position: u64, frames: usize, into: &mut MidiBuffer) {
        let end = position + frames as u64;
        loop {
            while let Some(&(frame, at, len)) = self.messages.get(self.next)
                && self.start + frame < end
            {
                let frame = (self.start + frame).saturating_sub(position) as u32;
                into.push(frame, 0, &self.bytes[at..at + len]);
                self.next += 1;
            }
            if self.next < self.messages.len() || self.start + self.length >= end {
                return;
            }
            self.start += self.length;
            self.next = 0;
            // After a long stop many rounds are over: their notes have ended, and are not caught up.
            if self.start + self.length < position {
                self.start += (position - self.start) / self.length * self.length;
            }
        }
    }
}

/// MIDI of the callback thread. What goes out goes nowhere unless it loops.
pub(super) struct MidiSide {
    pub(super) tape: Option<Tape>,
    /// Whether what goes out comes in again in the next block.
    pub(super) loops: bool,
    pub(super) input: MidiBuffer,
    pub(super) output: MidiBuffer,
}

impl MidiSide {
    pub(super) fn new() -> Self {
        let (input, output) = (MidiBuffer::usual(), MidiBuffer::usual());
        Self { tape: None, loops: false, input, output }
    }

    /// Before a block.
    pub(super) fn begin(&mut self, position: u64, frames: usize) {
        self.input.clear();
        if self.loops {
            for message in self.output.iter() {
                self.input.push(message.frame, message.port, message.bytes);
            }
        }
        self.output.clear();
        if let Some(tape) = &mut self.tape {
            tape.fill(position, frames, &mut self.input);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tape_begins_again_at_its_end_and_loses_no_end_of_a_note() {
        let mut tape = Tape {
            messages: vec![(0, 0, 3), (90, 3, 3)],
            bytes: vec![0x90, 60, 1, 0x80, 60, 1],
            length: 100,
            start: 0,
            next: 0,
        };
        let mut midi = MidiBuffer::usual();
        let mut seen = Vec::new();
        for position in [0, 64, 128, 320, 384] {
            midi.clear();
            tape.fill(position, 64, &mut midi);
            seen.extend(midi.iter().map(|m| (position + u64::from(m.frame), m.bytes[0])));
        }
        let on_off = [(0, 0x90), (90, 0x80), (100, 0x90), (190, 0x80)];
        assert_eq!(seen[..4], on_off);
        // 192 ..= 319 were missed: the round from 200 is left out, as it was over by then; the note
        // of the one from 300 comes late.
        assert_eq!(seen[4..], [(320, 0x90), (390, 0x80), (400, 0x90)]);
        let balance = seen.iter().map(|(_, s)| if *s == 0x90 { 1 } else { -1 }).sum::<i32>();
        assert_eq!(balance, 1, "{seen:?}: the last one sounds");
    }
}
