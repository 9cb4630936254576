//! Messages with time stamps from one thread to another, without a lock: from a MIDI cable, an
//! on-screen keyboard or a network to the callback, and from the callback to a cable.

use super::buffer::MidiBuffer;
use crate::drivers::CallbackTime;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Bytes of a message in one place of the queue; longer messages take several.
const BYTES: usize = 20;

/// Longest message that a queue takes.
pub const LONGEST: usize = 4096;

#[derive(Clone, Copy)]
struct Packet {
    stamp_ns: u64,
    /// Bytes of the whole message. The packets of a message follow each other.
    len: u16,
    port: u16,
    bytes: [u8; BYTES],
}

/// A queue with room for so many short messages (a system exclusive one takes a place for each 20
/// bytes).
pub fn midi_queue(capacity: usize) -> (MidiSender, MidiReceiver) {
    let (producer, consumer) = RingBuffer::new(capacity.max(1));
    let lost = Arc::new(AtomicU64::new(0));
    let sender = MidiSender { producer, lost: Arc::clone(&lost) };
    (sender, MidiReceiver { consumer, lost, message: Vec::with_capacity(LONGEST) })
}

/// The end that sends. Realtime-safe.
pub struct MidiSender {
    producer: Producer<Packet>,
    lost: Arc<AtomicU64>,
}

impl MidiSender {
    /// Sends one whole message, heard or to be sent at a time in ns of
    /// [`now_ns`](crate::drivers::clock::now_ns). False, and counted: there is no room, or it is too long or
    /// empty.
    pub fn send(&mut self, stamp_ns: u64, port: u16, message: &[u8]) -> bool {
        let fits = !message.is_empty() && message.len() <= LONGEST;
        let packets = message.len().div_ceil(BYTES);
        let chunk = fits.then(|| self.producer.write_chunk_uninit(packets).ok()).flatten();
        let Some(chunk) = chunk else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return false;
        };
        chunk.fill_from_iter(message.chunks(BYTES).map(|piece| {
            let mut bytes = [0; BYTES];
            bytes[..piece.len()].copy_from_slice(piece);
            Packet { stamp_ns, len: message.len() as u16, port, bytes }
        }));
        true
    }

    /// Whether the other end is gone.
    pub fn is_abandoned(&self) -> bool {
        self.producer.is_abandoned()
    }
}

/// The end that receives. Realtime-safe.
pub struct MidiReceiver {
    consumer: Consumer<Packet>,
    lost: Arc<AtomicU64>,
    /// The message that was taken last.
    message: Vec<u8>,
}

impl MidiReceiver {
    /// The next message, its time stamp and port, unless it was stamped at or after `before_ns`.
    pub fn next_before(&mut self, before_ns: u64) -> Option<(u64, u16, &[u8])> {
        let &Packet { stamp_ns, len, port, .. } = self.consumer.peek().ok()?;
        if stamp_ns >= before_ns {
            return None;
        }
        self.message.clear();
        let len = usize::from(len);
        // All packets of a message come at once.
        let chunk = self.consumer.read_chunk(len.div_ceil(BYTES)).ok()?;
        for packet in chunk {
            let more = (len - self.message.len()).min(BYTES);
            self.message.extend_from_slice(&packet.bytes[..more]);
        }
        Some((stamp_ns, port, &self.message))
    }

    /// Takes what came in during the period before this block, and puts each message at the frame
    /// of this block that corresponds to its time: as late as the audio that came in with it,
    /// and without jitter. Without a due time all of it comes at the first frame.
    pub fn drain(&mut self, time: &CallbackTime, frames: u32, into: &mut MidiBuffer) {
        let period = time.next_due_ns.saturating_sub(time.due_ns);
        let timed = time.next_due_ns != u64::MAX && period > 0;
        let before = if timed { time.due_ns } else { u64::MAX };
        let begin = time.due_ns.saturating_sub(period);
        while let Some((stamp, port, bytes)) = self.next_before(before) {
            let since = u128::from(stamp.saturating_sub(begin));
            let frame = if timed { since * u128::from(frames) / u128::from(period) } else { 0 };
            into.push((frame as u32).min(frames.saturating_sub(1)), port, bytes);
        }
    }

    /// Whether nothing comes any more: the sender is gone, and all was taken.
    pub fn is_over(&self) -> bool {
        self.consumer.is_abandoned() && self.consumer.is_empty()
    }

    /// Messages that found no room.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_a_period_later_at_the_frame_of_their_time() {
        let (mut sender, mut receiver) = midi_queue(16);
        let sysex: Vec<u8> =
            [0xf0].into_iter().chain((0..50).map(|b| b as u8)).chain([0xf7]).collect();
        assert!(sender.send(100, 1, &[0x90, 60, 100]), "long before");
        assert!(sender.send(1_500, 2, &sysex));
        assert!(sender.send(2_000, 3, &[0xf8]), "in the block itself");
        assert!(!sender.send(0, 0, &[]) && !sender.send(0, 0, &[0; 400]), "no room");
        let time = |due_ns| CallbackTime {
            sample_position: 0,
            due_ns,
            next_due_ns: due_ns + 1_000,
            xruns: 0,
        };
        let mut midi = MidiBuffer::usual();
        receiver.drain(&time(2_000), 64, &mut midi);
        let seen: Vec<_> = midi.iter().map(|m| (m.frame, m.port, m.bytes.to_vec())).collect();
        assert_eq!(seen, [(0, 1, vec![0x90, 60, 100]), (32, 2, sysex)]);
        midi.clear();
        receiver.drain(&time(3_000), 64, &mut midi);
        assert_eq!(midi.iter().map(|m| (m.frame, m.port)).collect::<Vec<_>>(), [(0, 3)]);
        assert_eq!(receiver.lost(), 2);
    }
}
