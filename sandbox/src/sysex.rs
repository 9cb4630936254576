//! System exclusive messages in pieces that fit an [`Event`] of shared memory.
//!
//! The pieces of a message follow each other at the same time. In a [`kind::SYSEX`] event the
//! fields `note_id param midi value` hold up to [`BYTES`] bytes of it (its F0 and F7 included),
//! `channel` how many, and `expression` whether it is the [`FIRST`] or [`LAST`] piece.

use crate::event::{Event, kind};
use std::ops::Range;

/// Most bytes of a piece.
pub const BYTES: usize = 20;

/// Most bytes of all messages that one node gets in a block, and of one that it puts out.
pub const MOST: usize = 4096;

/// Bit of [`Event::expression`]: a message begins with this piece.
pub const FIRST: u16 = 1;
/// Bit of [`Event::expression`]: the message ends with this piece.
pub const LAST: u16 = 2;

/// How many pieces a message of so many bytes takes.
pub const fn pieces(len: usize) -> usize {
    if len == 0 { 1 } else { len.div_ceil(BYTES) }
}

/// A message in pieces.
pub fn split(time: u32, port: i16, message: &[u8]) -> impl Iterator<Item = Event> {
    let count = pieces(message.len());
    (0..count).map(move |index| {
        let from = index * BYTES;
        let piece = &message[from..message.len().min(from + BYTES)];
        let flags = if index == 0 { FIRST } else { 0 } | if index + 1 == count { LAST } else { 0 };
        Event { port, ..piece_event(time, piece, flags) }
    })
}

/// One piece; of more than [`BYTES`] bytes, the first of them.
pub fn piece_event(time: u32, piece: &[u8], flags: u16) -> Event {
    let len = piece.len().min(BYTES);
    let mut bytes = [0; BYTES];
    bytes[..len].copy_from_slice(&piece[..len]);
    let word = |at: usize| u32::from_le_bytes([0, 1, 2, 3].map(|n| bytes[at + n]));
    Event {
        expression: flags,
        channel: len as i16,
        note_id: word(0) as i32,
        param: word(4),
        midi: word(8).to_le_bytes(),
        value: f64::from_bits(u64::from(word(12)) | u64::from(word(16)) << 32),
        ..Event::new(kind::SYSEX, time)
    }
}

/// The bytes that a piece holds, and how many of them count.
pub fn piece_bytes(event: &Event) -> ([u8; BYTES], usize) {
    let mut bytes = [0; BYTES];
    bytes[..4].copy_from_slice(&event.note_id.to_le_bytes());
    bytes[4..8].copy_from_slice(&event.param.to_le_bytes());
    bytes[8..12].copy_from_slice(&event.midi);
    bytes[12..].copy_from_slice(&event.value.to_bits().to_le_bytes());
    (bytes, usize::try_from(event.channel).unwrap_or(0).min(BYTES))
}

/// Puts the pieces of a block's messages together. Never allocates once made.
#[derive(Debug)]
pub struct Joiner {
    bytes: Vec<u8>,
    /// Where the message begins whose pieces come now, if there is one.
    open: Option<usize>,
    lost: u64,
}

impl Default for Joiner {
    fn default() -> Self {
        Self { bytes: Vec::with_capacity(MOST), open: None, lost: 0 }
    }
}

impl Joiner {
    /// Forgets the messages of the block before.
    pub fn begin_block(&mut self) {
        self.bytes.clear();
        self.lost = u64::from(self.open.take().is_some());
    }

    /// Takes the next piece. The place in [`bytes`](Self::bytes) of the message that it completes.
    pub fn push(&mut self, piece: &Event) -> Option<Range<usize>> {
        if piece.expression & FIRST != 0 {
            self.lose();
            self.open = Some(self.bytes.len());
        }
        // What follows on a piece that was lost or did not fit is no message.
        let start = self.open?;
        let (bytes, len) = piece_bytes(piece);
        if self.bytes.capacity() - self.bytes.len() < len {
            self.lose();
            return None;
        }
        self.bytes.extend_from_slice(&bytes[..len]);
        if piece.expression & LAST == 0 {
            return None;
        }
        self.open = None;
        Some(start..self.bytes.len())
    }

    fn lose(&mut self) {
        if let Some(start) = self.open.take() {
            self.bytes.truncate(start);
            self.lost += 1;
        }
    }

    /// All bytes so far. They stay where they are until the next block.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Messages of this block that were longer than there was room, or incomplete.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(len: usize) -> Vec<u8> {
        (0..len).map(|n| (n * 7 % 251) as u8 | (u8::from(n % 20 >= 12) * 0x80)).collect()
    }

    fn join(joiner: &mut Joiner, pieces: impl Iterator<Item = Event>) -> Vec<Vec<u8>> {
        let mut all = vec![];
        for piece in pieces {
            assert!(piece.is_valid(10) && piece.passes_on());
            if let Some(place) = joiner.push(&piece) {
                all.push(joiner.bytes()[place].to_vec());
            }
        }
        all
    }

    #[test]
    fn a_message_of_any_length_comes_back_as_it_went() {
        for len in [0, 1, 19, 20, 21, 40, 41, 1000, MOST] {
            let mut joiner = Joiner::default();
            joiner.begin_block();
            let pieces: Vec<Event> = split(9, 2, &message(len)).collect();
            assert_eq!(pieces.len(), super::pieces(len));
            assert!(pieces.iter().all(|piece| (piece.time, piece.port) == (9, 2)));
            assert_eq!(join(&mut joiner, pieces.into_iter()), [message(len)]);
            assert_eq!(joiner.lost(), 0);
        }
    }

    #[test]
    fn what_does_not_fit_or_misses_a_piece_is_left_out_and_counted() {
        let mut joiner = Joiner::default();
        joiner.begin_block();
        let whole = || split(0, 0, &[1, 2, 3]).collect::<Vec<_>>().into_iter();
        assert_eq!(join(&mut joiner, split(0, 0, &message(MOST + 1))), [] as [Vec<u8>; 0]);
        assert_eq!(joiner.lost(), 1);
        // There is room again: nothing of the long one was kept.
        assert_eq!(join(&mut joiner, whole()), [[1, 2, 3]]);
        let long = message(50);
        let without_end = split(0, 0, &long).take(2);
        assert_eq!(join(&mut joiner, without_end.chain(whole())), [[1, 2, 3]]);
        assert_eq!(joiner.lost(), 2);
        assert_eq!(join(&mut joiner, split(0, 0, &long).skip(1)), [] as [Vec<u8>; 0]);
        joiner.begin_block();
        assert_eq!(joiner.lost(), 0);
    }

    #[test]
    fn a_joiner_never_grows() {
        let mut joiner = Joiner::default();
        let room = joiner.bytes.capacity();
        for len in [5000, 1, 4096, 100_000] {
            join(&mut joiner, split(0, 0, &message(len)));
        }
        assert_eq!(joiner.bytes.capacity(), room);
    }
}
