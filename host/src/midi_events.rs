//! What a plugin is sent so that it plays a MIDI file.

use crate::midi_file::{Bytes, Meter, Song};
use crate::mpe::Zones;
use sandrack_engine::block::Transport;
use sandrack_engine::event::{EventKind, NoteAddress, SYSEX_BYTES};

/// A song as events, frame by frame.
pub(crate) struct Played {
    /// In time order. The pieces of a system-exclusive message are at one frame.
    pub(crate) events: Vec<(u64, EventKind)>,
    /// Its length. What still sounds then ends with it.
    pub(crate) frames: u64,
    /// System-exclusive messages longer than the longest that can be sent.
    pub(crate) too_long: usize,
}

impl Played {
    /// `zones`: of MPE, whose notes come with expressions; `None`: channels are channels.
    pub(crate) fn new(
        song: &Song,
        rate: u32,
        longest_sysex: usize,
        mut zones: Option<Zones>,
    ) -> Self {
        let frame = |seconds: f64| (seconds * f64::from(rate)).round() as u64;
        let mut played = Self { events: Vec::new(), frames: frame(song.seconds), too_long: 0 };
        let mut sounding = [[0u32; 128]; 16];
        let mut sustained = [false; 16];
        for message in &song.messages {
            let at = frame(message.seconds);
            let bytes = match &message.bytes {
                Bytes::Channel(bytes) => *bytes,
                Bytes::Exclusive(bytes) if bytes.len() > longest_sysex => {
                    played.too_long += 1;
                    continue;
                }
                Bytes::Exclusive(bytes) => {
                    played.events.extend(pieces(bytes, 0).map(|kind| (at, kind)));
                    continue;
                }
            };
            let mut push = |kind| played.events.push((at, kind));
            if zones.as_mut().is_some_and(|zones| zones.take(bytes, &mut push)) {
                continue;
            }
            let channel = usize::from(bytes[0] & 15);
            let key = usize::from(bytes[1] & 127);
            match bytes[0] & 0xf0 {
                0x90 => sounding[channel][key] += 1,
                0x80 => sounding[channel][key] = sounding[channel][key].saturating_sub(1),
                0xb0 if key == 64 => sustained[channel] = bytes[2] >= 64,
                _ => {}
            }
            played.events.push((at, event(bytes)));
        }
        if let Some(zones) = &mut zones {
            zones.end_all(&mut |kind| played.events.push((played.frames, kind)));
        }
        let mut at_end = |bytes| played.events.push((played.frames, event(bytes)));
        for channel in 0..16u8 {
            if sustained[usize::from(channel)] {
                at_end([0xb0 | channel, 64, 0]);
            }
            for key in 0..128u8 {
                for _ in 0..sounding[usize::from(channel)][usize::from(key)] {
                    at_end([0x80 | channel, key, 64]);
                }
            }
        }
        played
    }
}

/// Notes as notes, which every port that takes any understands; the rest as it is.
fn event([status, a, b]: [u8; 3]) -> EventKind {
    let channel = i16::from(status & 15);
    let note = NoteAddress { note_id: -1, port: 0, channel, key: i16::from(a) };
    let velocity = f64::from(b) / 127.0;
    match status & 0xf0 {
        0x90 => EventKind::NoteOn { note, velocity },
        0x80 => EventKind::NoteOff { note, velocity },
        _ => EventKind::Midi { port: 0, data: [status, a, b] },
    }
}

/// A system-exclusive message as the engine takes it.
pub(crate) fn pieces(message: &[u8], port: u16) -> impl Iterator<Item = EventKind> {
    let last = message.len().div_ceil(SYSEX_BYTES).saturating_sub(1);
    message.chunks(SYSEX_BYTES).enumerate().map(move |(number, piece)| {
        let mut data = [0; SYSEX_BYTES];
        data[..piece.len()].copy_from_slice(piece);
        let (len, first, last) = (piece.len() as u8, number == 0, number == last);
        EventKind::SysEx { port, data, len, first, last }
    })
}

/// The transport at a time of a song that plays.
pub(crate) fn transport(meter: &Meter, seconds: f64) -> Transport {
    let position = meter.position(seconds);
    Transport {
        playing: true,
        tempo: position.tempo,
        position_beats: position.beats,
        position_seconds: seconds,
        bar_start_beats: position.bar_start,
        bar_number: position.bar,
        signature_numerator: position.numerator,
        signature_denominator: position.denominator,
        ..Transport::default()
    }
}
