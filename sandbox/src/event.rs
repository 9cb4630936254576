//! Events as they lie in shared memory: fixed size, no pointers, every bit pattern harmless.

use crate::sysex;

/// An event at a frame of a block. Which fields mean something depends on `kind`; see [`kind`].
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Event {
    /// Frame within the block.
    pub time: u32,
    /// One of [`kind`].
    pub kind: u16,
    /// Note expression's number, as CLAP counts them.
    pub expression: u16,
    /// Number of a note, or -1.
    pub note_id: i32,
    /// Number of a parameter.
    pub param: u32,
    /// Note port, or -1.
    pub port: i16,
    /// MIDI channel, or -1.
    pub channel: i16,
    /// MIDI key, or -1.
    pub key: i16,
    /// MIDI bytes; the last is always 0.
    pub midi: [u8; 4],
    /// Fills the gap, so that no byte is undefined.
    pub reserved: [u16; 3],
    /// Velocity, value or amount.
    pub value: f64,
}

/// Values of [`Event::kind`], and the fields they use beside `time`.
pub mod kind {
    /// `note_id port channel key value` (velocity 0..=1).
    pub const NOTE_ON: u16 = 1;
    /// As `NOTE_ON`.
    pub const NOTE_OFF: u16 = 2;
    /// `note_id port channel key`.
    pub const NOTE_CHOKE: u16 = 3;
    /// As `NOTE_CHOKE`; from plugins only.
    pub const NOTE_END: u16 = 4;
    /// `expression note_id port channel key value`.
    pub const NOTE_EXPRESSION: u16 = 5;
    /// `param note_id port channel key value`.
    pub const PARAM_VALUE: u16 = 6;
    /// As `PARAM_VALUE`.
    pub const PARAM_MOD: u16 = 7;
    /// `param`; from plugins only.
    pub const GESTURE_BEGIN: u16 = 8;
    /// `param`; from plugins only.
    pub const GESTURE_END: u16 = 9;
    /// `port midi`.
    pub const MIDI: u16 = 10;
    /// A piece of a system exclusive message; see [`sysex`](crate::sysex).
    pub const SYSEX: u16 = 11;
    /// The greatest of them.
    pub const LAST: u16 = SYSEX;
}

/// Values of [`Event::expression`]: note expressions as CLAP counts them.
pub mod expression {
    /// Linear gain, 0..=4.
    pub const VOLUME: u16 = 0;
    /// Semitones, -120..=120.
    pub const TUNING: u16 = 2;
    /// 0..=1.
    pub const BRIGHTNESS: u16 = 5;
    /// 0..=1.
    pub const PRESSURE: u16 = 6;
}

/// Bits of `BlockPage::transport_flags`.
pub mod transport_flags {
    /// The song position moves.
    pub const PLAYING: u32 = 1;
    /// The host records.
    pub const RECORDING: u32 = 2;
    /// The loop is repeated.
    pub const LOOPING: u32 = 4;
}

impl Event {
    /// An event of a kind, with no note, port, parameter or value.
    pub const fn new(kind: u16, time: u32) -> Self {
        Self {
            time,
            kind,
            expression: 0,
            note_id: -1,
            param: 0,
            port: -1,
            channel: -1,
            key: -1,
            midi: [0; 4],
            reserved: [0; 3],
            value: 0.0,
        }
    }

    /// A parameter takes a value, in the parameter's own range.
    pub const fn param_value(time: u32, param: u32, value: f64) -> Self {
        let mut event = Self::new(kind::PARAM_VALUE, time);
        event.param = param;
        event.value = value;
        event
    }

    /// Whether it means something to another plugin: notes and MIDI do, one plugin's parameters
    /// don't.
    pub fn passes_on(&self) -> bool {
        matches!(
            self.kind,
            kind::NOTE_ON
                | kind::NOTE_OFF
                | kind::NOTE_CHOKE
                | kind::NOTE_EXPRESSION
                | kind::MIDI
                | kind::SYSEX
        )
    }

    /// Whether it is of a known kind, lies within the block, names a note that there can be and
    /// holds a number. What a worker wrote goes no further unless this holds.
    pub fn is_valid(&self, frames: u32) -> bool {
        self.time < frames
            && match self.kind {
                kind::NOTE_ON..=kind::PARAM_MOD => {
                    self.value.is_finite()
                        && self.port >= -1
                        && (-1..16).contains(&self.channel)
                        && (-1..128).contains(&self.key)
                }
                kind::GESTURE_BEGIN | kind::GESTURE_END => true,
                kind::MIDI => {
                    let [status, a, b, _] = self.midi;
                    status >= 0x80 && a < 0x80 && b < 0x80
                }
                kind::SYSEX => usize::try_from(self.channel).is_ok_and(|n| n <= sysex::BYTES),
                _ => false,
            }
    }
}

/// Inserts into a list sorted by time, behind those of the same time, if there is room.
pub fn insert_sorted(events: &mut Vec<Event>, event: Event) -> bool {
    if events.len() == events.capacity() {
        return false;
    }
    let at = match events.last() {
        Some(last) if last.time > event.time => events.partition_point(|e| e.time <= event.time),
        _ => events.len(),
    };
    events.insert(at, event);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_instrument_can_play_goes_no_further() {
        let on = Event { channel: 3, key: 60, value: 0.5, ..Event::new(kind::NOTE_ON, 7) };
        assert!(on.is_valid(8));
        assert!(!on.is_valid(7));
        for bad in [
            Event { channel: 16, ..on },
            Event { channel: -2, ..on },
            Event { key: 128, ..on },
            Event { key: i16::MIN, ..on },
            Event { port: -2, ..on },
            Event { value: f64::NAN, ..on },
            Event { kind: 0, ..on },
            Event { kind: kind::LAST + 1, ..on },
        ] {
            assert!(!bad.is_valid(8), "{bad:?}");
        }
        let midi = |midi| Event { midi, ..Event::new(kind::MIDI, 0) };
        assert!(midi([0xb0, 7, 127, 0]).is_valid(1));
        assert!(!midi([0x40, 7, 127, 0]).is_valid(1));
        assert!(!midi([0x90, 7, 0x80, 0]).is_valid(1));
        let sysex = |channel| Event { channel, value: f64::NAN, ..Event::new(kind::SYSEX, 0) };
        assert!(sysex(20).is_valid(1));
        assert!(!sysex(21).is_valid(1) && !sysex(-1).is_valid(1));
    }
}
