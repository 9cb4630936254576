//! Events between shared memory's form and CLAP's.

use super::super::{NotePort, Transport};
use super::cookies::Cookies;
use super::lists::{InEvents, Slot, header};
use crate::event::{Event, kind, transport_flags};
use clack_host::events::event_types::{TransportEvent, TransportFlags};
use clack_host::events::{EventFlags, EventHeader};
use clack_host::utils::{BeatTime, SecondsTime};
use clap_sys::events::*;
use clap_sys::id::CLAP_INVALID_ID;

/// What a note port of the plugin understands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Dialect {
    clap: bool,
    midi: bool,
    /// Whether what both can say is said in MIDI.
    prefers_midi: bool,
}

impl Dialect {
    pub(super) fn of(port: &NotePort) -> Self {
        // One that names none is spoken to as CLAP plugins are.
        let clap = port.clap || !port.midi;
        Self { clap, midi: port.midi, prefers_midi: port.midi && (port.prefers_midi || !clap) }
    }
}

/// Appends an event, in words that the plugin's port for it understands. One that means nothing to
/// it, or whose port is not there, is left out.
pub(super) fn push_event(into: &mut InEvents, event: &Event, ports: &[Dialect], cookies: &Cookies) {
    if let kind::PARAM_VALUE | kind::PARAM_MOD = event.kind {
        push_param(into, event, cookies);
        return;
    }
    // A port that isn't said: the first.
    let Some(port) = ports.get(event.port.max(0) as usize) else { return };
    match event.kind {
        kind::MIDI if port.midi => push_midi(into, event),
        kind::MIDI => {
            if let Some(note) = note_of_midi(event) {
                push_note(into, &note);
            }
        }
        kind::SYSEX if port.midi => into.push_sysex(event, event.port.max(0) as u16),
        kind::NOTE_ON..=kind::NOTE_CHOKE | kind::NOTE_EXPRESSION => {
            let midi = if port.prefers_midi { midi_of_note(event) } else { None };
            match midi {
                Some(midi) => push_midi(into, &midi),
                // What MIDI can't say, a port that understands both gets all the same; but no note
                // begins without it.
                None if port.clap => push_note(into, event),
                None => {}
            }
        }
        // The rest is for plugins to say.
        _ => {}
    }
}

fn push_note(into: &mut InEvents, event: &Event) {
    let (mut port_index, mut channel, key) = (event.port, event.channel, event.key);
    let (note_id, velocity, time) = (event.note_id, event.value, event.time);
    let type_ = match event.kind {
        kind::NOTE_ON => {
            // A note that begins is one note: only its number may be left open.
            (port_index, channel) = (port_index.max(0), channel.max(0));
            if key < 0 {
                return;
            }
            CLAP_EVENT_NOTE_ON
        }
        kind::NOTE_OFF => CLAP_EVENT_NOTE_OFF,
        kind::NOTE_CHOKE => CLAP_EVENT_NOTE_CHOKE,
        _ => {
            let expression_id = i32::from(event.expression);
            if expression_id > CLAP_NOTE_EXPRESSION_PRESSURE {
                return;
            }
            let header = header::<clap_event_note_expression>(time, CLAP_EVENT_NOTE_EXPRESSION);
            let expression = clap_event_note_expression {
                header,
                expression_id,
                note_id,
                port_index,
                channel,
                key,
                value: velocity,
            };
            return into.push(Slot { expression });
        }
    };
    let header = header::<clap_event_note>(time, type_);
    into.push(Slot {
        note: clap_event_note { header, note_id, port_index, channel, key, velocity },
    });
}

fn push_param(into: &mut InEvents, event: &Event, cookies: &Cookies) {
    let &Event { time, param: param_id, note_id, port: port_index, channel, key, .. } = event;
    // Plugins find the parameter by its number where they are given no cookie; some are slow at that,
    // and some don't look whether there is one.
    let cookie = cookies.of(param_id);
    if param_id == CLAP_INVALID_ID {
        return;
    }
    into.push(if event.kind == kind::PARAM_VALUE {
        let header = header::<clap_event_param_value>(time, CLAP_EVENT_PARAM_VALUE);
        let value = event.value;
        Slot {
            value: clap_event_param_value {
                header,
                param_id,
                cookie,
                note_id,
                port_index,
                channel,
                key,
                value,
            },
        }
    } else {
        let header = header::<clap_event_param_mod>(time, CLAP_EVENT_PARAM_MOD);
        let amount = event.value;
        Slot {
            modulation: clap_event_param_mod {
                header,
                param_id,
                cookie,
                note_id,
                port_index,
                channel,
                key,
                amount,
            },
        }
    });
}

fn push_midi(into: &mut InEvents, event: &Event) {
    let [a, b, c, _] = event.midi;
    let header = header::<clap_event_midi>(event.time, CLAP_EVENT_MIDI);
    let port_index = event.port.max(0) as u16;
    into.push(Slot { midi: clap_event_midi { header, port_index, data: [a, b, c] } });
}

const NOTE_OFF: u8 = 0x80;
const NOTE_ON: u8 = 0x90;
const KEY_PRESSURE: u8 = 0xa0;
const CONTROL: u8 = 0xb0;
const CHANNEL_PRESSURE: u8 = 0xd0;
const PITCH_BEND: u8 = 0xe0;
const VOLUME: u8 = 7;
const PAN: u8 = 10;
const EXPRESSION: u8 = 11;
const BRIGHTNESS: u8 = 74;
const ALL_SOUND_OFF: u8 = 120;
const ALL_NOTES_OFF: u8 = 123;

/// A note event in MIDI 1.0, if that can say it.
fn midi_of_note(event: &Event) -> Option<Event> {
    let amount = |least: f64| (event.value.clamp(0.0, 1.0) * 127.0).round().max(least) as u8;
    let key = match event.key {
        -1 => None,
        key => Some(u8::try_from(key).ok().filter(|key| *key < 128)?),
    };
    let [status, a, b] = match (event.kind, key) {
        // With velocity 0 it would be the note's end.
        (kind::NOTE_ON, Some(key)) => [NOTE_ON, key, amount(1.0)],
        (kind::NOTE_OFF, Some(key)) => [NOTE_OFF, key, amount(0.0)],
        (kind::NOTE_OFF, None) => [CONTROL, ALL_NOTES_OFF, 0],
        (kind::NOTE_CHOKE, Some(key)) => [NOTE_OFF, key, 127],
        (kind::NOTE_CHOKE, None) => [CONTROL, ALL_SOUND_OFF, 0],
        (kind::NOTE_EXPRESSION, Some(key)) if event.expression == PRESSURE_OF_NOTE => {
            [KEY_PRESSURE, key, amount(0.0)]
        }
        (kind::NOTE_EXPRESSION, None) if event.expression == PRESSURE_OF_NOTE => {
            [CHANNEL_PRESSURE, amount(0.0), 0]
        }
        _ => return None,
    };
    let channel = event.channel.clamp(0, 15) as u8;
    let port = event.port.max(0);
    Some(Event { port, midi: [status | channel, a, b, 0], ..Event::new(kind::MIDI, event.time) })
}

const PRESSURE_OF_NOTE: u16 = CLAP_NOTE_EXPRESSION_PRESSURE as u16;

/// Semitones that the pitch wheel reaches each way, as instruments have it when nothing else is
/// agreed.
const BEND_RANGE: f64 = 2.0;

/// A MIDI 1.0 message as a note event, if it is about notes.
///
/// A port that takes CLAP's notes only must not be sent MIDI, and would leave a player's pitch
/// wheel, pressure and pedals of expression dead. What of these has a meaning of its own among
/// CLAP's expressions therefore goes to all notes of the channel as that. (A modulation wheel or a
/// program change has none.)
fn note_of_midi(event: &Event) -> Option<Event> {
    let [status, a, b, _] = event.midi;
    let (a, b) = (a & 0x7f, b & 0x7f);
    let amount = |value: u8| f64::from(value) / 127.0;
    let expression =
        |which: i32, key: i16, value: f64| (kind::NOTE_EXPRESSION, key, which as u16, value);
    let key = i16::from(a);
    let (kind, key, expression, value) = match (status & 0xf0, a, b) {
        (NOTE_ON, _, 0) => (kind::NOTE_OFF, key, 0, 0.0),
        (NOTE_OFF, _, velocity) => (kind::NOTE_OFF, key, 0, amount(velocity)),
        (NOTE_ON, _, velocity) => (kind::NOTE_ON, key, 0, amount(velocity)),
        (KEY_PRESSURE, _, value) => expression(CLAP_NOTE_EXPRESSION_PRESSURE, key, amount(value)),
        (CHANNEL_PRESSURE, value, _) => {
            expression(CLAP_NOTE_EXPRESSION_PRESSURE, -1, amount(value))
        }
        (PITCH_BEND, low, high) => {
            let bend = f64::from((i32::from(high) << 7 | i32::from(low)) - 8192) / 8192.0;
            expression(CLAP_NOTE_EXPRESSION_TUNING, -1, bend * BEND_RANGE)
        }
        // Linear gain, of which MIDI's full volume is 1.
        (CONTROL, VOLUME, value) => expression(CLAP_NOTE_EXPRESSION_VOLUME, -1, amount(value)),
        // 64 is the centre, and both 0 and 1 are hard left.
        (CONTROL, PAN, value) => {
            let pan = f64::from(value.max(1) - 1) / 126.0;
            expression(CLAP_NOTE_EXPRESSION_PAN, -1, pan)
        }
        (CONTROL, EXPRESSION, value) => {
            expression(CLAP_NOTE_EXPRESSION_EXPRESSION, -1, amount(value))
        }
        (CONTROL, BRIGHTNESS, value) => {
            expression(CLAP_NOTE_EXPRESSION_BRIGHTNESS, -1, amount(value))
        }
        (CONTROL, ALL_SOUND_OFF, _) => (kind::NOTE_CHOKE, -1, 0, 0.0),
        (CONTROL, ALL_NOTES_OFF, _) => (kind::NOTE_OFF, -1, 0, 0.0),
        _ => return None,
    };
    let (port, channel) = (event.port.max(0), i16::from(status & 0x0f));
    Some(Event { expression, port, channel, key, value, ..Event::new(kind, event.time) })
}

pub(super) fn transport_event(transport: &Transport) -> TransportEvent {
    // What is not known is not claimed: a plugin takes it for true.
    let has_tempo = transport.tempo.is_finite() && transport.tempo > 0.0;
    let has_signature = transport.signature_numerator > 0 && transport.signature_denominator > 0;
    let loops = transport.flags & transport_flags::LOOPING != 0
        && transport.loop_end_beats > transport.loop_start_beats;
    let mut flags = TransportFlags::HAS_SECONDS_TIMELINE;
    flags.set(TransportFlags::HAS_TEMPO | TransportFlags::HAS_BEATS_TIMELINE, has_tempo);
    flags.set(TransportFlags::HAS_TIME_SIGNATURE, has_signature);
    flags.set(TransportFlags::IS_PLAYING, transport.flags & transport_flags::PLAYING != 0);
    flags.set(TransportFlags::IS_RECORDING, transport.flags & transport_flags::RECORDING != 0);
    flags.set(TransportFlags::IS_LOOP_ACTIVE, loops);
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
    use super::super::lists::Converted;
    use super::*;

    const CLAP: Dialect = Dialect { clap: true, midi: false, prefers_midi: false };
    const MIDI: Dialect = Dialect { clap: false, midi: true, prefers_midi: true };
    const BOTH: Dialect = Dialect { clap: true, midi: true, prefers_midi: false };
    const RATHER_MIDI: Dialect = Dialect { prefers_midi: true, ..BOTH };

    /// What a plugin with these ports gets of an event.
    fn given(event: Event, ports: &[Dialect]) -> Option<Event> {
        let mut events = InEvents::with_capacity(4);
        push_event(&mut events, &event, ports, &Cookies::default());
        match events.first()? {
            Converted::Event(event) => Some(event),
            Converted::SysEx { .. } => panic!("not sent"),
        }
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
        // What holds for a channel holds for all its notes.
        let all = |expression, value| {
            let event = note(kind::NOTE_EXPRESSION, -1, value).unwrap();
            Some(Event { expression, ..event })
        };
        assert_eq!(given([0xd2, 127, 0]), all(6, 1.0));
        assert_eq!(given([0xe2, 0, 64]), all(2, 0.0));
        assert_eq!(given([0xe2, 0, 0]), all(2, -2.0));
        assert_eq!(given([0xb2, 7, 127]), all(0, 1.0));
        assert_eq!(given([0xb2, 10, 64]), all(1, 0.5));
        assert_eq!(given([0xb2, 10, 0]), all(1, 0.0));
        assert_eq!(given([0xb2, 10, 127]), all(1, 1.0));
        assert_eq!(given([0xb2, 11, 0]), all(4, 0.0));
        assert_eq!(given([0xb2, 74, 127]), all(5, 1.0));
        assert_eq!(given([0xb2, 1, 127]), None);
        assert_eq!(given([0xc2, 1, 0]), None);
    }

    #[test]
    fn a_port_that_prefers_midi_is_spoken_to_in_midi_where_that_suffices() {
        let given = |event| given(event, &[RATHER_MIDI]);
        assert_eq!(given(note(kind::NOTE_ON, 0, 60, 1.0)), Some(midi([0x92, 60, 127])));
        assert_eq!(given(note(kind::NOTE_OFF, 0, 60, 0.0)), Some(midi([0x82, 60, 0])));
        let tuning = Event { expression: 2, ..note(kind::NOTE_EXPRESSION, 0, 60, 0.25) };
        assert_eq!(given(tuning), Some(tuning));
    }

    #[test]
    fn what_is_not_known_of_the_transport_is_not_claimed() {
        let flags = |transport: &Transport| transport_event(transport).flags;
        let none = Transport::default();
        assert_eq!(flags(&none), TransportFlags::HAS_SECONDS_TIMELINE);
        let all = Transport {
            flags: transport_flags::PLAYING | transport_flags::LOOPING,
            tempo: 120.0,
            loop_end_beats: 4.0,
            signature_numerator: 3,
            signature_denominator: 4,
            ..none
        };
        let known = TransportFlags::HAS_SECONDS_TIMELINE
            | TransportFlags::HAS_TEMPO
            | TransportFlags::HAS_BEATS_TIMELINE
            | TransportFlags::HAS_TIME_SIGNATURE
            | TransportFlags::IS_PLAYING;
        assert_eq!(flags(&all), known | TransportFlags::IS_LOOP_ACTIVE);
        // A loop without length repeats nothing.
        assert_eq!(flags(&Transport { loop_end_beats: 0.0, ..all }), known);
        let event = transport_event(&all);
        assert_eq!(event.loop_end_seconds.to_float(), 2.0);
        assert_eq!((event.time_signature_numerator, event.time_signature_denominator), (3, 4));
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
