//! The MIDI messages of one block.

/// A MIDI 1.0 message at a frame of a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MidiMessage<'a> {
    /// Frame within the block.
    pub frame: u32,
    /// Which of the driver's or the host's MIDI ports, from 0.
    pub port: u16,
    /// One whole message with its status byte: 1 to 3 bytes, or `F0 … F7`. Not checked: it comes
    /// from other programs and from cables.
    pub bytes: &'a [u8],
}

/// Messages of one block, sorted by frame; those at the same frame keep the order in which they
/// came. Its room is fixed when it is made: what does not fit is counted, not stored. Only making
/// it allocates.
#[derive(Clone, Debug, Default)]
pub struct MidiBuffer {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
    lost: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    frame: u32,
    port: u16,
    start: u32,
    len: u32,
}

/// For whoever has no MIDI.
pub static NO_MIDI: MidiBuffer = MidiBuffer::none();

impl MidiBuffer {
    /// Longest message that any buffer takes: longer system exclusive ones are counted as lost.
    pub const LONGEST: usize = 65_536;

    /// A buffer without room.
    pub const fn none() -> Self {
        Self { entries: Vec::new(), bytes: Vec::new(), lost: 0 }
    }

    /// Room for so many messages, with so many bytes in all.
    pub fn with_capacity(messages: usize, bytes: usize) -> Self {
        Self { entries: Vec::with_capacity(messages), bytes: Vec::with_capacity(bytes), lost: 0 }
    }

    /// Room for what comes in a block from a stage full of instruments: 1024 messages, 64 KiB.
    pub fn usual() -> Self {
        Self::with_capacity(1024, Self::LONGEST)
    }

    /// Inserts behind all messages whose frame is not later. False: there is no room, or there are
    /// no bytes; counted as lost.
    pub fn push(&mut self, frame: u32, port: u16, bytes: &[u8]) -> bool {
        let fits = self.entries.len() < self.entries.capacity()
            && bytes.len() <= (self.bytes.capacity() - self.bytes.len()).min(Self::LONGEST);
        if !fits || bytes.is_empty() {
            self.lost += 1;
            return false;
        }
        let entry = Entry { frame, port, start: self.bytes.len() as u32, len: bytes.len() as u32 };
        self.bytes.extend_from_slice(bytes);
        let at = match self.entries.last() {
            Some(last) if last.frame > frame => self.entries.partition_point(|e| e.frame <= frame),
            _ => self.entries.len(),
        };
        self.entries.insert(at, entry);
        true
    }

    /// The messages, sorted by frame.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = MidiMessage<'_>> {
        self.entries.iter().map(|entry| MidiMessage {
            frame: entry.frame,
            port: entry.port,
            bytes: &self.bytes[entry.start as usize..][..entry.len as usize],
        })
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets the messages, keeps the room and the count of those lost.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }

    /// How many messages did not fit since it was made.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_in_the_order_of_their_frames_and_what_does_not_fit_is_counted() {
        let mut midi = MidiBuffer::with_capacity(3, 8);
        assert!(midi.push(5, 0, &[0x90, 60, 1]));
        assert!(midi.push(2, 1, &[0xf8]));
        assert!(!midi.push(0, 0, &[0xf0, 1, 2, 3, 0xf7]), "nine bytes");
        assert!(midi.push(5, 0, &[0x80, 60, 1]));
        assert!(!midi.push(9, 0, &[0xf8]), "four messages");
        let seen: Vec<_> = midi.iter().map(|m| (m.frame, m.port, m.bytes.to_vec())).collect();
        assert_eq!(
            seen,
            [(2, 1, vec![0xf8]), (5, 0, vec![0x90, 60, 1]), (5, 0, vec![0x80, 60, 1])]
        );
        assert_eq!((midi.len(), midi.lost()), (3, 2));
        midi.clear();
        assert!(midi.is_empty() && midi.push(0, 0, &[0xf8]));
        assert!(!MidiBuffer::none().push(0, 0, &[0xf8]));
    }
}
