//! Events between shared memory's form and CLAP's.

use super::super::{NotePort, Transport};
use crate::event::{Event, kind, transport_flags};
use crate::shm::layout::EVENTS;
use clack_host::events::event_types::{
    MidiEvent, NoteChokeEvent, NoteExpressionEvent, NoteExpressionType, NoteOffEvent, NoteOnEvent,
    ParamModEvent, ParamValueEvent, TransportEvent, TransportFlags,
};
use clack_host::events::io::{EventBuffer, OutputEventBuffer, OutputEvents, TryPushError};
use clack_host::events::spaces::CoreEventSpace;
use clack_host::events::{EventFlags, EventHeader, Pckn, UnknownEvent};
use clack_host::utils::{BeatTime, ClapId, SecondsTime};

fn pckn(event: &Event) -> Pckn {
    Pckn::from_raw(event.port, event.channel, event.key, event.note_id)
}

/// What a note port of the plugin understands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    clap: bool,
    midi: bool,
}

impl Dialect {
    pub(super) fn of(port: &NotePort) -> Self {
        // One that names none is spoken to as CLAP plugins are.
        Self { clap: port.clap || !port.midi, midi: port.midi }
    }
}

/// Appends an event, in words that the plugin's port for it understands. One that means nothing to
/// it, or whose port is not there, is left out.
pub(super) fn push_event(into: &mut EventBuffer, event: &Event, ports: &[Dialect]) {
    let (time, value) = (event.time, event.value);
    let is_note = matches!(event.kind, kind::NOTE_ON..=kind::NOTE_EXPRESSION | kind::MIDI);
    if is_note {
        // A port that isn't said: the first.
        let Some(port) = ports.get(event.port.max(0) as usize) else { return };
        match event.kind {
            kind::MIDI if !port.midi => {
                if let Some(note) = note_of_midi(event) {
                    push_event(into, &note, ports);
                }
                return;
            }
            kind::MIDI => {}
            _ if !port.clap => {
                if let Some(midi) = midi_of_note(event) {
                    push_event(into, &midi, ports);
                }
                return;
            }
            _ => {}
        }
    }
    match event.kind {
        kind::NOTE_ON => {
            // A note that begins is one note: only its number may be left open.
            let (port, channel) = (event.port.max(0), event.channel.max(0));
            if event.key >= 0 {
                let note = pckn(&Event { port, channel, ..*event });
                into.push(&NoteOnEvent::new(time, note, value));
            }
        }
        kind::NOTE_OFF => into.push(&NoteOffEvent::new(time, pckn(event), value)),
        kind::NOTE_CHOKE => into.push(&NoteChokeEvent::new(time, pckn(event))),
        kind::NOTE_EXPRESSION => {
            if let Some(which) = NoteExpressionType::from_raw(i32::from(event.expression)) {
                into.push(&NoteExpressionEvent::new(time, pckn(event), which, value));
            }
        }
        kind::PARAM_VALUE => {
            if let Some(id) = ClapId::from_raw(event.param) {
                into.push(&ParamValueEvent::new(time, id, pckn(event), value));
            }
        }
        kind::PARAM_MOD => {
            if let Some(id) = ClapId::from_raw(event.param) {
                into.push(&ParamModEvent::new(time, id, pckn(event), value));
            }
        }
        kind::MIDI => {
            let [a, b, c, _] = event.midi;
            into.push(&MidiEvent::new(time, event.port.max(0) as u16, [a, b, c]));
        }
        // The rest is for plugins to say.
        _ => {}
    }
}

const NOTE_OFF: u8 = 0x80;
const NOTE_ON: u8 = 0x90;
const KEY_PRESSURE: u8 = 0xa0;
const CONTROL: u8 = 0xb0;
const ALL_SOUND_OFF: u8 = 120;
const ALL_NOTES_OFF: u8 = 123;

/// A note event in MIDI 1.0, if that can say it.
fn midi_of_note(event: &Event) -> Option<Event> {
    let amount = |least: f64| (event.value.clamp(0.0, 1.0) * 127.0).round().max(least) as u8;
    let key = match event.key {
        -1 => None,
        key => Some(u8::try_from(key).ok().filter(|key| *key < 128)?),
    };
    let pressure = NoteExpressionType::Pressure.into_raw();
    let [status, a, b] = match (event.kind, key) {
        // With velocity 0 it would be the note's end.
        (kind::NOTE_ON, Some(key)) => [NOTE_ON, key, amount(1.0)],
        (kind::NOTE_OFF, Some(key)) => [NOTE_OFF, key, amount(0.0)],
        (kind::NOTE_OFF, None) => [CONTROL, ALL_NOTES_OFF, 0],
        (kind::NOTE_CHOKE, Some(key)) => [NOTE_OFF, key, 127],
        (kind::NOTE_CHOKE, None) => [CONTROL, ALL_SOUND_OFF, 0],
        (kind::NOTE_EXPRESSION, Some(key)) if i32::from(event.expression) == pressure => {
            [KEY_PRESSURE, key, amount(0.0)]
        }
        _ => return None,
    };
    let channel = event.channel.clamp(0, 15) as u8;
    let port = event.port.max(0);
    Some(Event { port, midi: [status | channel, a, b, 0], ..Event::new(kind::MIDI, event.time) })
}

/// A MIDI 1.0 message as a note event, if it is about notes.
fn note_of_midi(event: &Event) -> Option<Event> {
    let [status, a, b, _] = event.midi;
    let (kind, key) = match (status & 0xf0, a, b) {
        (NOTE_ON, key, 0) | (NOTE_OFF, key, _) => (kind::NOTE_OFF, Some(key)),
        (NOTE_ON, key, _) => (kind::NOTE_ON, Some(key)),
        (KEY_PRESSURE, key, _) => (kind::NOTE_EXPRESSION, Some(key)),
        (CONTROL, ALL_SOUND_OFF, _) => (kind::NOTE_CHOKE, None),
        (CONTROL, ALL_NOTES_OFF, _) => (kind::NOTE_OFF, None),
        _ => return None,
    };
    Some(Event {
        expression: match kind {
            kind::NOTE_EXPRESSION => NoteExpressionType::Pressure.into_raw() as u16,
            _ => 0,
        },
        port: event.port.max(0),
        channel: i16::from(status & 0x0f),
        key: key.map_or(-1, |key| i16::from(key & 0x7f)),
        value: f64::from(if key.is_some() { b & 0x7f } else { 0 }) / 127.0,
        ..Event::new(kind, event.time)
    })
}

/// What the plugin puts out: kept if it can be expressed and lies within the block.
pub(super) struct OutEvents {
    /// Never grows.
    events: Vec<Event>,
    frames: u32,
    dropped: u64,
}

impl OutEvents {
    pub(super) fn new() -> Self {
        Self { events: Vec::with_capacity(EVENTS), frames: 0, dropped: 0 }
    }

    pub(super) fn begin(&mut self, frames: u32) {
        self.events.clear();
        self.frames = frames;
        self.dropped = 0;
    }

    /// Moves the events into a list of fixed capacity.
    pub(super) fn take(&mut self, into: &mut Vec<Event>) {
        let room = into.capacity() - into.len();
        self.dropped += self.events.len().saturating_sub(room) as u64;
        into.extend(self.events.iter().take(room));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }
}

impl OutputEventBuffer for OutEvents {
    fn try_push(&mut self, event: &UnknownEvent) -> Result<(), TryPushError> {
        let converted = convert(event).filter(|event| event.is_valid(self.frames));
        match converted {
            Some(event) if self.events.len() < EVENTS => {
                self.events.push(event);
                Ok(())
            }
            _ => {
                self.dropped += 1;
                // The only way to make this error: a list that takes nothing.
                OutputEvents::void().try_push(event)
            }
        }
    }
}

fn convert(event: &UnknownEvent) -> Option<Event> {
    let time = event.header().time();
    let note = |kind: u16, note: Pckn, value: f64| Event {
        note_id: note.raw_note_id(),
        port: note.raw_port_index(),
        channel: note.raw_channel(),
        key: note.raw_key(),
        value,
        ..Event::new(kind, time)
    };
    Some(match event.as_core_event()? {
        CoreEventSpace::NoteOn(e) => note(kind::NOTE_ON, e.pckn(), e.velocity()),
        CoreEventSpace::NoteOff(e) => note(kind::NOTE_OFF, e.pckn(), e.velocity()),
        CoreEventSpace::NoteChoke(e) => note(kind::NOTE_CHOKE, e.pckn(), 0.0),
        CoreEventSpace::NoteEnd(e) => note(kind::NOTE_END, e.pckn(), 0.0),
        CoreEventSpace::NoteExpression(e) => Event {
            expression: e.expression_type()?.into_raw() as u16,
            ..note(kind::NOTE_EXPRESSION, e.pckn(), e.value())
        },
        CoreEventSpace::ParamValue(e) => {
            Event { param: e.param_id()?.get(), ..note(kind::PARAM_VALUE, e.pckn(), e.value()) }
        }
        CoreEventSpace::ParamMod(e) => {
            Event { param: e.param_id()?.get(), ..note(kind::PARAM_MOD, e.pckn(), e.amount()) }
        }
        CoreEventSpace::ParamGestureBegin(e) => {
            Event { param: e.param_id()?.get(), ..Event::new(kind::GESTURE_BEGIN, time) }
        }
        CoreEventSpace::ParamGestureEnd(e) => {
            Event { param: e.param_id()?.get(), ..Event::new(kind::GESTURE_END, time) }
        }
        CoreEventSpace::Midi(e) => {
            let [a, b, c] = e.data();
            Event {
                port: e.port_index() as i16,
                midi: [a, b, c, 0],
                ..Event::new(kind::MIDI, time)
            }
        }
        _ => return None,
    })
}

pub(super) fn transport_event(transport: &Transport) -> TransportEvent {
    let mut flags = TransportFlags::HAS_TEMPO
        | TransportFlags::HAS_BEATS_TIMELINE
        | TransportFlags::HAS_SECONDS_TIMELINE
        | TransportFlags::HAS_TIME_SIGNATURE;
    flags.set(TransportFlags::IS_PLAYING, transport.flags & transport_flags::PLAYING != 0);
    flags.set(TransportFlags::IS_RECORDING, transport.flags & transport_flags::RECORDING != 0);
    flags.set(TransportFlags::IS_LOOP_ACTIVE, transport.flags & transport_flags::LOOPING != 0);
    let seconds = |beats: f64| SecondsTime::from_float(beats * 60.0 / transport.tempo.max(1.0));
    TransportEvent {
        header: EventHeader::new_core(0, EventFlags::empty()),
        flags,
        song_pos_beats: BeatTime::from_float(transport.position_beats),
        song_pos_seconds: SecondsTime::from_float(transport.position_seconds),
        tempo: transport.tempo,
        tempo_inc: transport.tempo_increment,
        loop_start_beats: BeatTime::from_float(transport.loop_start_beats),
        loop_end_beats: BeatTime::from_float(transport.loop_end_beats),
        loop_start_seconds: seconds(transport.loop_start_beats),
        loop_end_seconds: seconds(transport.loop_end_beats),
        bar_start: BeatTime::from_float(transport.bar_start_beats),
        bar_number: transport.bar_number,
        time_signature_numerator: transport.signature_numerator,
        time_signature_denominator: transport.signature_denominator,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLAP: Dialect = Dialect { clap: true, midi: false };
    const MIDI: Dialect = Dialect { clap: false, midi: true };
    const BOTH: Dialect = Dialect { clap: true, midi: true };

    /// What a plugin with these ports gets of an event.
    fn given(event: Event, ports: &[Dialect]) -> Option<Event> {
        let mut buffer = EventBuffer::with_capacity(4);
        push_event(&mut buffer, &event, ports);
        assert!(buffer.len() <= 1);
        buffer.iter().next().and_then(convert)
    }

    fn note(kind: u16, port: i16, key: i16, value: f64) -> Event {
        Event { note_id: 7, port, channel: 2, key, value, ..Event::new(kind, 5) }
    }

    fn midi(bytes: [u8; 3]) -> Event {
        let [a, b, c] = bytes;
        Event { port: 0, midi: [a, b, c, 0], ..Event::new(kind::MIDI, 5) }
    }

    #[test]
    fn a_port_that_understands_it_gets_an_event_as_it_is() {
        let on = note(kind::NOTE_ON, 0, 60, 0.5);
        let bend = midi([0xe1, 0, 64]);
        assert_eq!(given(on, &[CLAP]), Some(on));
        assert_eq!(given(on, &[BOTH]), Some(on));
        assert_eq!(given(bend, &[MIDI]), Some(bend));
        assert_eq!(given(bend, &[BOTH]), Some(bend));
        // Wildcards stay what they are, unless a note begins.
        let all_off = Event { channel: -1, ..note(kind::NOTE_OFF, -1, -1, 0.0) };
        assert_eq!(given(all_off, &[CLAP]), Some(all_off));
        let somewhere = Event { channel: -1, ..note(kind::NOTE_ON, -1, 60, 0.5) };
        let first = Event { channel: 0, port: 0, ..somewhere };
        assert_eq!(given(somewhere, &[CLAP]), Some(first));
        assert_eq!(given(Event { key: -1, ..on }, &[CLAP]), None);
    }

    #[test]
    fn notes_reach_a_plugin_that_knows_midi_only() {
        let given = |event| given(event, &[MIDI]);
        assert_eq!(given(note(kind::NOTE_ON, 0, 60, 1.0)), Some(midi([0x92, 60, 127])));
        assert_eq!(given(note(kind::NOTE_ON, -1, 60, 0.0)), Some(midi([0x92, 60, 1])));
        assert_eq!(given(note(kind::NOTE_OFF, 0, 60, 0.0)), Some(midi([0x82, 60, 0])));
        assert_eq!(given(note(kind::NOTE_OFF, 0, -1, 0.0)), Some(midi([0xb2, 123, 0])));
        assert_eq!(given(note(kind::NOTE_CHOKE, 0, 61, 0.0)), Some(midi([0x82, 61, 127])));
        assert_eq!(given(note(kind::NOTE_CHOKE, 0, -1, 0.0)), Some(midi([0xb2, 120, 0])));
        let pressure = Event { expression: 6, ..note(kind::NOTE_EXPRESSION, 0, 60, 1.0) };
        assert_eq!(given(pressure), Some(midi([0xa2, 60, 127])));
        assert_eq!(given(Event { expression: 2, ..pressure }), None);
        assert_eq!(given(note(kind::NOTE_ON, 0, 128, 0.5)), None);
    }

    #[test]
    fn midi_notes_reach_a_plugin_that_knows_clap_only() {
        let given = |bytes| given(midi(bytes), &[CLAP]);
        let note = |kind, key, value| Some(Event { note_id: -1, ..note(kind, 0, key, value) });
        assert_eq!(given([0x92, 60, 127]), note(kind::NOTE_ON, 60, 1.0));
        assert_eq!(given([0x92, 60, 0]), note(kind::NOTE_OFF, 60, 0.0));
        assert_eq!(given([0x82, 60, 127]), note(kind::NOTE_OFF, 60, 1.0));
        assert_eq!(given([0xb2, 123, 0]), note(kind::NOTE_OFF, -1, 0.0));
        assert_eq!(given([0xb2, 120, 0]), note(kind::NOTE_CHOKE, -1, 0.0));
        let pressure = Event { expression: 6, ..note(kind::NOTE_EXPRESSION, 60, 1.0).unwrap() };
        assert_eq!(given([0xa2, 60, 127]), Some(pressure));
        assert_eq!(given([0xe2, 0, 64]), None);
    }

    #[test]
    fn a_port_that_is_not_there_gets_nothing() {
        assert_eq!(given(note(kind::NOTE_ON, 0, 60, 0.5), &[]), None);
        assert_eq!(given(note(kind::NOTE_ON, 1, 60, 0.5), &[CLAP]), None);
        assert_eq!(given(midi([0x90, 60, 1]), &[]), None);
        let param = Event::param_value(3, 9, 0.5);
        assert_eq!(given(param, &[]), Some(param));
    }

    #[test]
    fn what_plugins_say_is_not_said_to_them() {
        for kind in [kind::NOTE_END, kind::GESTURE_BEGIN, kind::GESTURE_END] {
            assert_eq!(given(note(kind, 0, 60, 0.0), &[BOTH]), None);
        }
    }
}
