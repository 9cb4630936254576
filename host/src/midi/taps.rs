//! From notes that a plugin puts out to MIDI messages.

use super::buffer::MidiBuffer;
use super::output::LONGEST_SYSEX;
use sandrack_engine::event::{Event, EventKind, NoteAddress};

/// Puts a system exclusive message together of a plugin's pieces.
pub(super) struct Pieces {
    bytes: Vec<u8>,
    /// The message has more bytes than there is room for, or has begun without a beginning.
    is_void: bool,
}

impl Pieces {
    pub(super) fn new() -> Self {
        Self { bytes: Vec::with_capacity(LONGEST_SYSEX), is_void: true }
    }

    /// Writes an event of a plugin's as if it had come in through a port. Notes that mean several keys
    /// become controllers; expressions have no counterpart and are left out.
    pub(super) fn write(&mut self, event: &Event, port: u16, into: &mut MidiBuffer) {
        let frame = event.time;
        let mut send = |bytes: &[u8]| into.push(frame, port, bytes);
        match event.kind {
            EventKind::NoteOn { note, velocity } => {
                if let (channel, Some(key)) = place(note) {
                    let velocity = (velocity * 127.0).round().clamp(1.0, 127.0) as u8;
                    send(&[0x90 | channel, key, velocity]);
                }
            }
            EventKind::NoteOff { note, velocity } => match place(note) {
                (channel, Some(key)) => {
                    let velocity = (velocity * 127.0).round().clamp(0.0, 127.0) as u8;
                    send(&[0x80 | channel, key, velocity]);
                }
                (channel, None) => all_off(note, channel, send),
            },
            EventKind::NoteChoke { note } => match place(note) {
                (channel, Some(key)) => {
                    send(&[0x80 | channel, key, 64]);
                }
                (channel, None) => all_off(note, channel, send),
            },
            EventKind::Midi { data, .. } => {
                let len = match data[0] {
                    0xc0..=0xdf | 0xf1 | 0xf3 => 2,
                    0x80..=0xef | 0xf2 => 3,
                    0xf6 | 0xf8..=0xff => 1,
                    _ => return,
                };
                send(&data[..len]);
            }
            EventKind::SysEx { data, len, first, last, .. } => {
                if first {
                    self.bytes.clear();
                    self.is_void = false;
                }
                let piece = &data[..usize::from(len).min(data.len())];
                self.is_void |= self.bytes.len() + piece.len() > self.bytes.capacity();
                if !self.is_void {
                    self.bytes.extend_from_slice(piece);
                    if last {
                        send(&self.bytes);
                        self.is_void = true;
                    }
                }
            }
            EventKind::NoteEnd { .. }
            | EventKind::NoteExpression { .. }
            | EventKind::ParamValue { .. }
            | EventKind::ParamMod { .. }
            | EventKind::ParamGesture { .. } => {}
        }
    }
}

/// Channel, and the key unless all are meant.
fn place(note: NoteAddress) -> (u8, Option<u8>) {
    let key = u8::try_from(note.key).ok().filter(|key| *key < 128);
    (u8::try_from(note.channel).unwrap_or(0) & 15, key)
}

/// All notes off: on a channel, or on all.
fn all_off(note: NoteAddress, channel: u8, mut send: impl FnMut(&[u8]) -> bool) {
    match note.channel {
        0.. => {
            send(&[0xb0 | channel, 123, 0]);
        }
        _ => (0..16).for_each(|channel| {
            send(&[0xb0 | channel, 123, 0]);
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(events: &[(u32, EventKind)]) -> Vec<(u32, Vec<u8>)> {
        let (mut pieces, mut midi) = (Pieces::new(), MidiBuffer::usual());
        for (time, kind) in events {
            pieces.write(&Event { time: *time, kind: *kind }, 9, &mut midi);
        }
        midi.iter().map(|message| (message.frame, message.bytes.to_vec())).collect()
    }

    #[test]
    fn a_plugins_notes_become_messages_and_pieces_a_whole() {
        let note = NoteAddress { note_id: 7, port: 0, channel: 2, key: 60 };
        let piece = |bytes: &[u8], first, last| {
            let mut data = [0; 20];
            data[..bytes.len()].copy_from_slice(bytes);
            EventKind::SysEx { port: 0, data, len: bytes.len() as u8, first, last }
        };
        let got = written(&[
            (3, EventKind::NoteOn { note, velocity: 1.0 }),
            (5, EventKind::NoteOff { note, velocity: 0.5 }),
            (6, EventKind::NoteChoke { note: NoteAddress { key: -1, ..note } }),
            (7, EventKind::Midi { port: 0, data: [0xc1, 5, 0] }),
            (8, piece(&[0xf0, 1], true, false)),
            (8, piece(&[2, 0xf7], false, true)),
            (9, piece(&[3, 0xf7], false, true)),
        ]);
        // The last begins in the middle of nothing.
        let wanted: [(u32, &[u8]); 5] = [
            (3, &[0x92, 60, 127]),
            (5, &[0x82, 60, 64]),
            (6, &[0xb2, 123, 0]),
            (7, &[0xc1, 5]),
            (8, &[0xf0, 1, 2, 0xf7]),
        ];
        assert_eq!(got.len(), 5, "{got:?}");
        for (got, wanted) in got.iter().zip(wanted) {
            assert_eq!((got.0, got.1.as_slice()), wanted);
        }
    }
}
