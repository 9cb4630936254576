//! Events between shared memory's form and CLAP's.

use super::super::Transport;
use crate::event::{Event, kind, transport_flags};
use crate::shm::layout::EVENTS;
use clack_host::events::event_types::{
    MidiEvent, NoteChokeEvent, NoteEndEvent, NoteExpressionEvent, NoteExpressionType, NoteOffEvent,
    NoteOnEvent, ParamModEvent, ParamValueEvent, TransportEvent, TransportFlags,
};
use clack_host::events::io::{EventBuffer, OutputEventBuffer, OutputEvents, TryPushError};
use clack_host::events::spaces::CoreEventSpace;
use clack_host::events::{EventFlags, EventHeader, Pckn, UnknownEvent};
use clack_host::utils::{BeatTime, ClapId, SecondsTime};

fn pckn(event: &Event) -> Pckn {
    Pckn::from_raw(event.port, event.channel, event.key, event.note_id)
}

/// Appends an event; one that means nothing to CLAP is left out.
pub(super) fn push_event(into: &mut EventBuffer, event: &Event) {
    let (time, value) = (event.time, event.value);
    match event.kind {
        kind::NOTE_ON => into.push(&NoteOnEvent::new(time, pckn(event), value)),
        kind::NOTE_OFF => into.push(&NoteOffEvent::new(time, pckn(event), value)),
        kind::NOTE_CHOKE => into.push(&NoteChokeEvent::new(time, pckn(event))),
        kind::NOTE_END => into.push(&NoteEndEvent::new(time, pckn(event))),
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
        _ => {}
    }
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
