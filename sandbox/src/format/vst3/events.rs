//! Notes of a block: what the plugin is given, and what it puts out.
//!
//! # Safety
//! As in `queues`: pointers that a plugin passes are checked for null and used at once, everything
//! it can change is in `Cell`s with every index checked. Of the union in an event only the part is
//! read that its type names; each part is plain numbers, for which every bit pattern is valid, and
//! addresses that are followed only where that is said to be sound.
#![allow(unsafe_code)]
#![allow(non_upper_case_globals, reason = "the format's own names")]

use super::expressions::{Expressions, Given, from_vst3};
use super::lent::Lent;
use super::midi::{self, Message};
use super::notes::{Note, Notes};
use crate::event::{Event, expression, kind};
use crate::shm::layout::EVENTS;
use crate::sysex;
use std::cell::Cell;
use vst3::Class;
use vst3::Steinberg::Vst::Event_::EventTypes;
use vst3::Steinberg::Vst::Event_::EventTypes_::{
    kDataEvent, kLegacyMIDICCOutEvent, kNoteExpressionValueEvent, kNoteOffEvent, kNoteOnEvent,
    kPolyPressureEvent,
};
use vst3::Steinberg::Vst::{
    DataEvent, Event as Vst3Event, Event__type0, IEventList, IEventListTrait, LegacyMIDICCOutEvent,
    NoteExpressionValueEvent, NoteOffEvent, NoteOnEvent, PolyPressureEvent,
};
use vst3::Steinberg::{int32, kInvalidArgument, kOutOfMemory, kResultFalse, kResultOk, tresult};

/// A list of events as a plugin sees it.
struct List {
    events: Box<[Cell<Vst3Event>]>,
    count: Cell<usize>,
    /// Whether the plugin may add.
    open: bool,
    /// Bytes of system exclusive messages that the plugin added: its own may be gone by the time
    /// they are read.
    data: Box<[Cell<u8>]>,
    data_used: Cell<usize>,
    dropped: Cell<u64>,
}

impl Class for List {
    type Interfaces = (IEventList,);
}

impl List {
    fn new(room: usize, open: bool) -> Lent<Self> {
        let empty = event(0, 0, 0, Event__type0 { data: NO_DATA });
        Lent::new(Self {
            events: vec![empty; room].into_iter().map(Cell::new).collect(),
            count: Cell::new(0),
            open,
            data: vec![Cell::new(0); if open { sysex::MOST } else { 0 }].into(),
            data_used: Cell::new(0),
            dropped: Cell::new(0),
        })
    }

    fn begin(&self) {
        self.count.set(0);
        self.data_used.set(0);
    }

    /// Copies the bytes of a system exclusive message, so that the event has the copy; a message
    /// without its first and last byte, as some plugins give it, gets them. `None`: no room, or
    /// data of another kind.
    fn copy_data(&self, mut event: Vst3Event) -> Option<Vst3Event> {
        // SAFETY: the part that the type names.
        let data = unsafe { event.__field0.data };
        let len = data.size as usize;
        let used = self.data_used.get();
        let room = self.data.get(used..)?;
        if data.r#type != SYSEX || data.bytes.is_null() || len == 0 || len > room.len() {
            return None;
        }
        // SAFETY: so many bytes, by the plugin's contract; not ours, for nobody else gets at those.
        let bytes = unsafe { std::slice::from_raw_parts(data.bytes, len) };
        let begin = (bytes.first() != Some(&0xf0)).then_some(0xf0);
        let end = (bytes.last() != Some(&0xf7)).then_some(0xf7);
        let whole = begin.into_iter().chain(bytes.iter().copied()).chain(end);
        let size = len + usize::from(begin.is_some()) + usize::from(end.is_some());
        if size > room.len() {
            return None;
        }
        for (place, byte) in room.iter().zip(whole) {
            place.set(byte);
        }
        self.data_used.set(used + size);
        let copy = DataEvent { size: size as u32, bytes: room.as_ptr().cast(), ..data };
        event.__field0 = Event__type0 { data: copy };
        Some(event)
    }

    fn add(&self, event: Vst3Event) -> bool {
        let count = self.count.get();
        match self.events.get(count) {
            Some(place) => {
                place.set(event);
                self.count.set(count + 1);
                true
            }
            None => {
                self.dropped.set(self.dropped.get() + 1);
                false
            }
        }
    }

    fn each(&self) -> impl Iterator<Item = Vst3Event> {
        self.events.iter().take(self.count.get()).map(Cell::get)
    }
}

impl IEventListTrait for List {
    unsafe fn getEventCount(&self) -> int32 {
        self.count.get() as int32
    }

    unsafe fn getEvent(&self, index: int32, event: *mut Vst3Event) -> tresult {
        let known = usize::try_from(index).ok().filter(|at| *at < self.count.get());
        // SAFETY: the plugin's own variable, or null.
        match (known, unsafe { event.as_mut() }) {
            (Some(at), Some(event)) => {
                *event = self.events[at].get();
                kResultOk
            }
            _ => kInvalidArgument,
        }
    }

    unsafe fn addEvent(&self, event: *mut Vst3Event) -> tresult {
        if !self.open {
            return kResultFalse;
        }
        // SAFETY: the plugin's own variable, or null.
        match unsafe { event.as_ref() } {
            None => kInvalidArgument,
            Some(event) => {
                let is_data = EventTypes::from(event.r#type) == kDataEvent;
                let event = if is_data { self.copy_data(*event) } else { Some(*event) };
                match event {
                    Some(event) if self.add(event) => kResultOk,
                    Some(_) => kOutOfMemory,
                    None => {
                        self.dropped.set(self.dropped.get() + 1);
                        kOutOfMemory
                    }
                }
            }
        }
    }
}

/// `DataEvent::kMidiSysEx`.
const SYSEX: u32 = 0;
const NO_DATA: DataEvent = DataEvent { size: 0, r#type: 0, bytes: std::ptr::null() };

fn event(bus: i32, time: u32, r#type: EventTypes, data: Event__type0) -> Vst3Event {
    Vst3Event {
        busIndex: bus,
        sampleOffset: time as i32,
        ppqPosition: 0.0,
        flags: 0,
        r#type: r#type as u16,
        __field0: data,
    }
}

/// A controller that has to be given to the plugin as a parameter.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Controller {
    pub(super) bus: usize,
    pub(super) channel: u8,
    pub(super) what: ControllerKind,
}

/// What it says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum ControllerKind {
    /// A controller (see `MidiMap`) takes a value, 0 to 1.
    Value(u16, f64),
    /// A program is chosen.
    Program(u8),
}

/// Notes for the plugin.
pub(super) struct InEvents {
    list: Lent<List>,
    notes: Notes,
    expressions: Expressions,
    /// Event buses of the plugin.
    buses: usize,
    beats: f64,
    beats_per_frame: f64,
}

impl InEvents {
    pub(super) fn new(buses: usize, expressions: Expressions) -> Self {
        // A wildcard may end every note that sounds, beside all other events.
        let list = List::new(2 * EVENTS + Notes::MOST, false);
        Self { list, notes: Notes::new(), expressions, buses, beats: 0.0, beats_per_frame: 0.0 }
    }

    /// Empties it, for a block that begins at a song position in quarter notes.
    pub(super) fn begin(&mut self, beats: f64, beats_per_frame: f64) {
        self.list.begin();
        self.beats = beats;
        self.beats_per_frame = beats_per_frame;
    }

    /// Nothing sounds any more.
    pub(super) fn forget_notes(&mut self) {
        self.notes.clear();
    }

    pub(super) fn as_ptr(&self) -> *mut IEventList {
        self.list.as_ptr()
    }

    pub(super) fn take_dropped(&self) -> u64 {
        self.list.dropped.take()
    }

    /// Adds a note event or MIDI message, in order of time. What it gives back is for the
    /// parameters. A note for a bus that is not there is left out.
    pub(super) fn push(&mut self, event: &Event) -> Option<Controller> {
        let bus = event.port.max(0) as usize;
        if event.kind == kind::MIDI {
            return self.push_midi(event, bus);
        }
        if bus >= self.buses {
            return None;
        }
        match event.kind {
            kind::NOTE_ON => self.note_on(event),
            kind::NOTE_OFF => self.note_off(event, event.value as f32),
            kind::NOTE_CHOKE => self.note_off(event, 0.0),
            kind::NOTE_EXPRESSION => self.expression(event),
            _ => {}
        }
        None
    }

    fn push_midi(&mut self, event: &Event, bus: usize) -> Option<Controller> {
        let (channel, message) = midi::read(event.midi)?;
        let note = |kind, key: Option<u8>, value: f32| Event {
            port: bus as i16,
            channel: channel.into(),
            key: key.map_or(-1, i16::from),
            expression: expression::PRESSURE,
            value: value.into(),
            ..Event::new(kind, event.time)
        };
        let note = match message {
            Message::NoteOn { key, velocity } => note(kind::NOTE_ON, Some(key), velocity),
            Message::NoteOff { key, velocity } => note(kind::NOTE_OFF, Some(key), velocity),
            Message::KeyPressure { key, pressure } => {
                note(kind::NOTE_EXPRESSION, Some(key), pressure)
            }
            Message::Controller { number, value } => {
                if matches!(number, ALL_SOUND_OFF | ALL_NOTES_OFF) {
                    self.push(&note(kind::NOTE_OFF, None, 0.0));
                }
                let what = ControllerKind::Value(number, value);
                return Some(Controller { bus, channel, what });
            }
            Message::Program(number) => {
                let what = ControllerKind::Program(number);
                return Some(Controller { bus, channel, what });
            }
        };
        self.push(&note)
    }

    /// A system exclusive message. Its bytes must stay where they are until the block has been
    /// processed.
    pub(super) fn push_sysex(&mut self, time: u32, port: i16, bytes: &[u8]) {
        if port.max(0) as usize >= self.buses {
            return;
        }
        let data = DataEvent { size: bytes.len() as u32, r#type: SYSEX, bytes: bytes.as_ptr() };
        self.add(port, time, kDataEvent, Event__type0 { data });
    }

    fn note_on(&mut self, event: &Event) {
        if !(0..128).contains(&event.key) {
            return;
        }
        let note = self.notes.begin(event);
        let note_on = NoteOnEvent {
            channel: note.channel,
            pitch: note.key,
            tuning: 0.0,
            velocity: event.value.clamp(0.0, 1.0) as f32,
            length: 0,
            noteId: note.id,
        };
        self.add(event.port, event.time, kNoteOnEvent, Event__type0 { noteOn: note_on });
    }

    fn note_off(&mut self, event: &Event, velocity: f32) {
        let velocity = velocity.clamp(0.0, 1.0);
        let mut ended = false;
        while let Some(note) = self.notes.end(event) {
            self.add_note_off(event, note, velocity);
            ended = true;
        }
        // One that the table has no room for, or that began before.
        if !ended && (0..128).contains(&event.key) {
            let note = Note {
                bus: event.port.max(0),
                channel: event.channel.max(0),
                key: event.key,
                id: event.note_id,
            };
            self.add_note_off(event, note, velocity);
        }
    }

    fn add_note_off(&mut self, event: &Event, note: Note, velocity: f32) {
        let note_off = NoteOffEvent {
            channel: note.channel,
            pitch: note.key,
            velocity,
            noteId: note.id,
            tuning: 0.0,
        };
        self.add(event.port, event.time, kNoteOffEvent, Event__type0 { noteOff: note_off });
    }

    fn expression(&mut self, event: &Event) {
        for at in 0..Notes::MOST {
            let Some(note) = self.notes.get(at) else { break };
            if !note.is_meant_by(event) {
                continue;
            }
            let known = self.expressions.of(note.bus, note.channel);
            match known.give(event.expression, event.value) {
                Given::Expression(id, value) => {
                    let value = NoteExpressionValueEvent { typeId: id, noteId: note.id, value };
                    let data = Event__type0 { noteExpressionValue: value };
                    self.add(event.port, event.time, kNoteExpressionValueEvent, data);
                }
                Given::Pressure(pressure) => {
                    let pressure = PolyPressureEvent {
                        channel: note.channel,
                        pitch: note.key,
                        pressure: pressure as f32,
                        noteId: note.id,
                    };
                    let data = Event__type0 { polyPressure: pressure };
                    self.add(event.port, event.time, kPolyPressureEvent, data);
                }
                Given::Nothing => {}
            }
        }
    }

    fn add(&mut self, port: i16, time: u32, r#type: EventTypes, data: Event__type0) {
        let mut event = event(port.max(0).into(), time, r#type, data);
        event.ppqPosition = self.beats + f64::from(time) * self.beats_per_frame;
        self.list.add(event);
    }
}

const ALL_SOUND_OFF: u16 = 120;
const ALL_NOTES_OFF: u16 = 123;

/// Notes from the plugin.
pub(super) struct OutEvents {
    list: Lent<List>,
    /// Event buses of the plugin.
    buses: usize,
}

impl OutEvents {
    pub(super) fn new(buses: usize) -> Self {
        Self { list: List::new(EVENTS, true), buses }
    }

    /// Empties it, for a block.
    pub(super) fn begin(&mut self) {
        self.list.begin();
    }

    pub(super) fn as_ptr(&self) -> *mut IEventList {
        self.list.as_ptr()
    }

    /// Moves them into a list of fixed capacity. Gives the number of those that were left out
    /// because they had no room or made no sense, and of those moved into the block because they
    /// lay outside.
    pub(super) fn take(&mut self, frames: u32, into: &mut Vec<Event>) -> u64 {
        let mut wrong = self.list.dropped.take();
        for event in self.list.each() {
            let most = frames.saturating_sub(1) as i32;
            let time = event.sampleOffset.clamp(0, most);
            wrong += u64::from(time != event.sampleOffset);
            let bus = usize::try_from(event.busIndex).ok().filter(|bus| *bus < self.buses);
            if let Some(bus) = bus.filter(|_| EventTypes::from(event.r#type) == kDataEvent) {
                // SAFETY: the part that the type names, and the bytes that `copy_data` made of it.
                // They stay until `begin`; only an `addEvent` would write to those behind them.
                let message = unsafe {
                    let data = event.__field0.data;
                    std::slice::from_raw_parts(data.bytes, data.size as usize)
                };
                if into.capacity() - into.len() >= sysex::pieces(message.len()) {
                    into.extend(sysex::split(time as u32, bus as i16, message));
                } else {
                    wrong += 1;
                }
                continue;
            }
            let converted = bus.and_then(|bus| convert(&event, time as u32, bus as i16));
            match converted {
                Some(event) if into.len() < into.capacity() => into.push(event),
                _ => wrong += 1,
            }
        }
        wrong
    }
}

fn convert(event: &Vst3Event, time: u32, port: i16) -> Option<Event> {
    let note = |kind, channel: i16, key: i16, note_id: i32, value: f32| {
        let valid = (0..16).contains(&channel) && (0..128).contains(&key) && value.is_finite();
        let value = f64::from(value).clamp(0.0, 1.0);
        let note =
            Event { port, channel, key, note_id: note_id.max(-1), value, ..Event::new(kind, time) };
        valid.then_some(note)
    };
    let data = &event.__field0;
    match EventTypes::from(event.r#type) {
        kNoteOnEvent => {
            // SAFETY: the part that the type names; plain numbers. So are those below.
            let on = unsafe { data.noteOn };
            // As in MIDI.
            let kind = if on.velocity == 0.0 { kind::NOTE_OFF } else { kind::NOTE_ON };
            note(kind, on.channel, on.pitch, on.noteId, on.velocity)
        }
        kNoteOffEvent => {
            // SAFETY: see above.
            let off = unsafe { data.noteOff };
            note(kind::NOTE_OFF, off.channel, off.pitch, off.noteId, off.velocity)
        }
        kPolyPressureEvent => {
            // SAFETY: see above.
            let poly = unsafe { data.polyPressure };
            let event =
                note(kind::NOTE_EXPRESSION, poly.channel, poly.pitch, poly.noteId, poly.pressure)?;
            Some(Event { expression: expression::PRESSURE, ..event })
        }
        kNoteExpressionValueEvent => {
            // SAFETY: see above.
            let value = unsafe { data.noteExpressionValue };
            let which =
                u16::try_from(value.typeId).ok().filter(|n| *n <= expression::BRIGHTNESS)?;
            // It names its note by number alone.
            (value.noteId >= 0 && value.value.is_finite()).then(|| Event {
                expression: which,
                port,
                note_id: value.noteId,
                value: from_vst3(which, value.value),
                ..Event::new(kind::NOTE_EXPRESSION, time)
            })
        }
        kLegacyMIDICCOutEvent => {
            // SAFETY: see above.
            let midi = midi_out(unsafe { data.midiCCOut })?;
            Some(Event { port, midi, ..Event::new(kind::MIDI, time) })
        }
        // Text, chords, scales. (System exclusive bytes are no single event.)
        _ => None,
    }
}

/// MIDI bytes of a controller that the plugin put out.
fn midi_out(event: LegacyMIDICCOutEvent) -> Option<[u8; 4]> {
    let channel = u8::try_from(event.channel).ok().filter(|channel| *channel < 16)?;
    let (a, b) = (event.value as u8 & 0x7f, event.value2 as u8 & 0x7f);
    Some(match event.controlNumber {
        number @ 0..128 => [0xb0 | channel, number, a, 0],
        128 => [0xd0 | channel, a, 0, 0],
        129 => [0xe0 | channel, a, b, 0],
        130 => [0xc0 | channel, a, 0, 0],
        131 => [0xa0 | channel, a, b, 0],
        132 => [0xf1, a, 0, 0],
        _ => return None,
    })
}

#[cfg(test)]
#[path = "events/tests.rs"]
mod tests;
