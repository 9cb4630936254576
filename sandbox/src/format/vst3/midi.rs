//! MIDI controllers as the parameters that a plugin assigns to them.

use vst3::Steinberg::Vst::ControllerNumbers_::{kAfterTouch, kCtrlProgramChange, kPitchBend};

/// Controller numbers: MIDI's 128, then channel pressure, pitch bend, program change.
pub(super) const CONTROLLERS: u16 = PROGRAM_CHANGE + 1;
/// What a program change counts as. It moves a parameter by whole programs.
pub(super) const PROGRAM_CHANGE: u16 = kCtrlProgramChange as u16;
const CHANNELS: usize = 16;
/// What VST 3 calls no parameter.
const NONE: u32 = u32::MAX;

/// Which parameter a controller moves, by event bus and MIDI channel.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct MidiMap {
    /// Empty for a bus without assignments.
    buses: Vec<Box<[u32]>>,
}

impl MidiMap {
    /// No assignments, for so many event buses.
    pub(super) fn new(buses: usize) -> Self {
        Self { buses: vec![Box::default(); buses] }
    }

    /// Assigns. Numbers that do not exist are ignored.
    pub(super) fn set(&mut self, bus: usize, channel: u8, controller: u16, param: u32) {
        let Some(at) = index(channel, controller) else { return };
        let Some(bus) = self.buses.get_mut(bus) else { return };
        if bus.is_empty() {
            *bus = vec![NONE; CHANNELS * usize::from(CONTROLLERS)].into();
        }
        bus[at] = param;
    }

    /// The parameter that a controller moves.
    pub(super) fn get(&self, bus: usize, channel: u8, controller: u16) -> Option<u32> {
        let param = *self.buses.get(bus)?.get(index(channel, controller)?)?;
        (param != NONE).then_some(param)
    }
}

fn index(channel: u8, controller: u16) -> Option<usize> {
    (usize::from(channel) < CHANNELS && controller < CONTROLLERS)
        .then(|| usize::from(channel) * usize::from(CONTROLLERS) + usize::from(controller))
}

/// What a MIDI 1.0 message says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Message {
    NoteOn {
        key: u8,
        velocity: f32,
    },
    NoteOff {
        key: u8,
        velocity: f32,
    },
    KeyPressure {
        key: u8,
        pressure: f32,
    },
    /// A control change, channel pressure or pitch bend; value 0..=1.
    Controller {
        number: u16,
        value: f64,
    },
    Program(u8),
}

/// A channel message, with its channel; `None`: another kind of message.
pub(super) fn read(bytes: [u8; 4]) -> Option<(u8, Message)> {
    let [status, a, b, _] = bytes;
    let (a, b) = (a & 0x7f, b & 0x7f);
    let part = |value: u8| f32::from(value) / 127.0;
    let message = match status & 0xf0 {
        0x80 => Message::NoteOff { key: a, velocity: part(b) },
        0x90 if b == 0 => Message::NoteOff { key: a, velocity: 0.0 },
        0x90 => Message::NoteOn { key: a, velocity: part(b) },
        0xa0 => Message::KeyPressure { key: a, pressure: part(b) },
        0xb0 => Message::Controller { number: a.into(), value: f64::from(b) / 127.0 },
        0xc0 => Message::Program(a),
        0xd0 => Message::Controller { number: kAfterTouch as u16, value: f64::from(a) / 127.0 },
        0xe0 => {
            let bend = u16::from(a) | u16::from(b) << 7;
            Message::Controller { number: kPitchBend as u16, value: f64::from(bend) / 16383.0 }
        }
        _ => return None,
    };
    Some((status & 0x0f, message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn assignments_are_by_bus_and_channel() {
        let mut map = MidiMap::new(2);
        map.set(1, 15, kPitchBend as u16, 7);
        map.set(0, 0, 1, 0);
        // None of these exist.
        map.set(2, 0, 1, 9);
        map.set(0, 16, 1, 9);
        map.set(0, 0, CONTROLLERS, 9);
        assert_eq!(map.get(1, 15, kPitchBend as u16), Some(7));
        assert_eq!(map.get(0, 0, 1), Some(0));
        for (bus, channel, controller) in [(0, 1, 1), (1, 0, 1), (2, 0, 1), (0, 16, 1), (0, 0, 999)]
        {
            assert_eq!(map.get(bus, channel, controller), None);
        }
        map.set(0, 0, 1, NONE);
        assert_eq!(map.get(0, 0, 1), None);
    }

    #[test]
    fn messages_are_read_at_full_scale() {
        let controller = |number, value| Some((3, Message::Controller { number, value }));
        assert_eq!(read([0xb3, 74, 127, 0]), controller(74, 1.0));
        assert_eq!(read([0xd3, 127, 0, 0]), controller(128, 1.0));
        assert_eq!(read([0xe3, 0x7f, 0x7f, 0]), controller(129, 1.0));
        assert_eq!(read([0xe3, 0, 0, 0]), controller(129, 0.0));
        assert_eq!(read([0x93, 60, 0, 0]), Some((3, Message::NoteOff { key: 60, velocity: 0.0 })));
        assert_eq!(read([0xc3, 5, 0, 0]), Some((3, Message::Program(5))));
        assert_eq!(read([0xf8, 0, 0, 0]), None);
        assert_eq!(read([0x10, 0, 0, 0]), None);
    }
}
