//! What the bytes of a MIDI 1.0 message mean.

/// A message. Channels, keys, controllers and 7-bit values are in their ranges.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Message {
    /// A key goes down; its velocity is 1 ..= 127.
    NoteOn {
        /// 0 ..= 15
        channel: u8,
        /// 60 is middle C.
        key: u8,
        /// 1 ..= 127
        velocity: u8,
    },
    /// A key goes up.
    NoteOff {
        /// 0 ..= 15
        channel: u8,
        /// 60 is middle C.
        key: u8,
        /// Of the release; 64 where the sender can't tell.
        velocity: u8,
    },
    /// The pressure on one key.
    KeyPressure {
        /// 0 ..= 15
        channel: u8,
        /// 60 is middle C.
        key: u8,
        /// 0 ..= 127
        value: u8,
    },
    /// A controller takes a value.
    Controller {
        /// 0 ..= 15
        channel: u8,
        /// One of [`cc`], or any other up to 127.
        number: u8,
        /// 0 ..= 127
        value: u8,
    },
    /// Another program.
    Program {
        /// 0 ..= 15
        channel: u8,
        /// 0 ..= 127
        program: u8,
    },
    /// The pressure on all keys.
    ChannelPressure {
        /// 0 ..= 15
        channel: u8,
        /// 0 ..= 127
        value: u8,
    },
    /// The pitch bend wheel.
    PitchBend {
        /// 0 ..= 15
        channel: u8,
        /// 0 ..= 16383; 8192 is the centre.
        value: u16,
    },
    /// System exclusive, `F0 … F7`.
    SysEx,
    /// Song position, in sixteenths from the start.
    SongPosition(u16),
    /// A 24th of a quarter note has passed.
    Clock,
    /// The song begins at the next clock.
    Start,
    /// The song goes on at the next clock.
    Continue,
    /// The song stops.
    Stop,
    /// Valid, and of no use here.
    Other,
}

/// Numbers of controllers that mean something to the host.
pub mod cc {
    /// Bank select, upper 7 bits.
    pub const BANK_MSB: u8 = 0;
    /// Modulation wheel.
    pub const MODULATION: u8 = 1;
    /// Bank select, lower 7 bits.
    pub const BANK_LSB: u8 = 32;
    /// Sustain pedal.
    pub const SUSTAIN: u8 = 64;
    /// Sostenuto pedal.
    pub const SOSTENUTO: u8 = 66;
    /// Soft pedal.
    pub const SOFT: u8 = 67;
    /// Second sustain pedal.
    pub const HOLD_2: u8 = 69;
    /// All sound off, at once.
    pub const SOUND_OFF: u8 = 120;
    /// Reset all controllers.
    pub const RESET: u8 = 121;
    /// All notes off. So are the mode messages behind it, up to 127.
    pub const NOTES_OFF: u8 = 123;
}

/// Centre of the pitch bend wheel.
pub const BEND_CENTRE: u16 = 8192;

impl Message {
    /// `None`: not one whole message.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let (&status, data) = bytes.split_first()?;
        if status == 0xf0 {
            let (&last, inner) = data.split_last()?;
            let whole = last == 0xf7 && inner.iter().all(|byte| *byte < 0x80);
            return whole.then_some(Self::SysEx);
        }
        if data.iter().any(|byte| *byte >= 0x80) {
            return None;
        }
        let channel = status & 15;
        Some(match (status & 0xf0, data) {
            (0x90, &[key, velocity @ 1..=127]) => Self::NoteOn { channel, key, velocity },
            // With a velocity of 0 it is a release, of which the velocity is not known.
            (0x90, &[key, 0]) => Self::NoteOff { channel, key, velocity: 64 },
            (0x80, &[key, velocity]) => Self::NoteOff { channel, key, velocity },
            (0xa0, &[key, value]) => Self::KeyPressure { channel, key, value },
            (0xb0, &[number, value]) => Self::Controller { channel, number, value },
            (0xc0, &[program]) => Self::Program { channel, program },
            (0xd0, &[value]) => Self::ChannelPressure { channel, value },
            (0xe0, &[low, high]) => {
                Self::PitchBend { channel, value: u16::from(high) << 7 | u16::from(low) }
            }
            (0xf0, data) => match (status, data) {
                (0xf2, &[low, high]) => Self::SongPosition(u16::from(high) << 7 | u16::from(low)),
                (0xf8, []) => Self::Clock,
                (0xfa, []) => Self::Start,
                (0xfb, []) => Self::Continue,
                (0xfc, []) => Self::Stop,
                (0xf1 | 0xf3, [_]) | (0xf6 | 0xfe | 0xff, []) => Self::Other,
                _ => return None,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn messages_mean_what_the_standard_says() {
        let parse = |bytes: &[u8]| Message::parse(bytes);
        let note = Message::NoteOn { channel: 3, key: 60, velocity: 1 };
        assert_eq!(parse(&[0x93, 60, 1]), Some(note));
        let off = Message::NoteOff { channel: 3, key: 60, velocity: 64 };
        assert_eq!(parse(&[0x93, 60, 0]), Some(off));
        let bend = Message::PitchBend { channel: 15, value: 0x3fff };
        assert_eq!(parse(&[0xef, 0x7f, 0x7f]), Some(bend));
        assert_eq!(parse(&[0xf2, 1, 1]), Some(Message::SongPosition(129)));
        assert_eq!(parse(&[0xf0, 1, 0xf7]), Some(Message::SysEx));
        for bad in [
            &[][..],
            &[60, 1],
            &[0x90, 60],
            &[0x90, 60, 1, 1],
            &[0x90, 0x80, 1],
            &[0xf0, 1],
            &[0xf0, 0x90, 0xf7],
            &[0xf0],
            &[0xf4],
            &[0xc0, 1, 2],
        ] {
            assert_eq!(parse(bad), None, "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_taken_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..8)) {
            let _ = Message::parse(&bytes);
        }
    }
}
