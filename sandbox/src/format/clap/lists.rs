//! The lists of events that a block's plugin reads and writes.
//!
//! Written against the bare interface: what a plugin claims of an event is checked before it is
//! believed, and nothing is allocated once the lists are made.
//!
//! # Safety
//! `unsafe` here follows pointers that a plugin hands over, which the interface promises to be good
//! for the size that the event's header states. No more is read than that size, and no more than the
//! event's kind has. The list handed out points to a value that its caller keeps borrowed.
#![allow(unsafe_code)]

use crate::event::{Event, insert_sorted, kind};
use crate::shm::layout::EVENTS;
use crate::sysex;
use clap_sys::events::*;
use std::marker::PhantomData;
use std::ops::Range;
use std::ptr;

/// An event of any kind that plugins are given.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) union Slot {
    pub(super) header: clap_event_header,
    pub(super) note: clap_event_note,
    pub(super) expression: clap_event_note_expression,
    pub(super) value: clap_event_param_value,
    pub(super) modulation: clap_event_param_mod,
    pub(super) midi: clap_event_midi,
    pub(super) sysex: clap_event_midi_sysex,
}

/// The header of an event of the interface's own kinds.
pub(super) fn header<T>(time: u32, type_: clap_event_type) -> clap_event_header {
    clap_event_header {
        size: size_of::<T>() as u32,
        time,
        space_id: CLAP_CORE_EVENT_SPACE_ID,
        type_,
        flags: 0,
    }
}

/// What a plugin is given in a block.
pub(super) struct InEvents {
    /// Never grows: the plugin holds pointers into it.
    slots: Vec<Slot>,
    messages: sysex::Joiner,
}

impl InEvents {
    pub(super) fn with_capacity(events: usize) -> Self {
        Self { slots: Vec::with_capacity(events), messages: sysex::Joiner::default() }
    }

    pub(super) fn clear(&mut self) {
        self.slots.clear();
        self.messages.begin_block();
    }

    /// Appends an event, if there is room.
    pub(super) fn push(&mut self, slot: Slot) {
        if self.slots.len() < self.slots.capacity() {
            self.slots.push(slot);
        }
    }

    /// Takes a piece of a message; appends the message when it is complete.
    pub(super) fn push_sysex(&mut self, piece: &Event, port_index: u16) {
        if let Some(Range { start, end }) = self.messages.push(piece) {
            let message = &self.messages.bytes()[start..end];
            let header = header::<clap_event_midi_sysex>(piece.time, CLAP_EVENT_MIDI_SYSEX);
            // The bytes stay where they are until `clear`.
            let (buffer, size) = (message.as_ptr(), message.len() as u32);
            let sysex = clap_event_midi_sysex { header, port_index, buffer, size };
            self.push(Slot { sysex });
        }
    }

    /// Messages that were too long or incomplete.
    pub(super) fn lost(&self) -> u64 {
        self.messages.lost()
    }

    /// The list, for as long as nothing is changed.
    pub(super) fn list(&self) -> List<'_, clap_input_events> {
        let ctx = ptr::from_ref(self).cast_mut().cast();
        List(clap_input_events { ctx, size: Some(size), get: Some(get) }, PhantomData)
    }

    #[cfg(test)]
    pub(super) fn first(&self) -> Option<Converted<'_>> {
        // SAFETY: a slot that was pushed here begins with a header that is true.
        unsafe { convert(ptr::from_ref(self.slots.first()?).cast()) }
    }
}

/// A list in the interface's form, which lives no longer than what it lists.
pub(super) struct List<'a, T>(T, PhantomData<&'a ()>);

impl<T> List<'_, T> {
    pub(super) fn as_ptr(&self) -> *const T {
        &raw const self.0
    }
}

unsafe extern "C" fn size(list: *const clap_input_events) -> u32 {
    // SAFETY: the plugin passes the list it was given; `ctx` is what `list` set it to.
    let events = unsafe { list.as_ref().and_then(|list| list.ctx.cast::<InEvents>().as_ref()) };
    events.map_or(0, |events| events.slots.len() as u32)
}

unsafe extern "C" fn get(list: *const clap_input_events, index: u32) -> *const clap_event_header {
    // SAFETY: as in `size`.
    let events = unsafe { list.as_ref().and_then(|list| list.ctx.cast::<InEvents>().as_ref()) };
    let slot = events.and_then(|events| events.slots.get(index as usize));
    slot.map_or(ptr::null(), |slot| ptr::from_ref(slot).cast())
}

/// What the plugin puts out: kept if it can be expressed.
pub(super) struct OutEvents {
    /// Sorted by time, whatever order they came in: a note's end must not get lost for coming
    /// early. Never grows.
    events: Vec<Event>,
    frames: u32,
    dropped: u64,
    /// Those that lay behind the block's end.
    late: u64,
}

impl OutEvents {
    pub(super) fn new() -> Self {
        Self { events: Vec::with_capacity(EVENTS), frames: 0, dropped: 0, late: 0 }
    }

    pub(super) fn begin(&mut self, frames: u32) {
        self.events.clear();
        self.frames = frames;
        (self.dropped, self.late) = (0, 0);
    }

    /// Moves the events into a list of fixed capacity.
    pub(super) fn take(&mut self, into: &mut Vec<Event>) {
        let room = into.capacity() - into.len();
        self.dropped += self.events.len().saturating_sub(room) as u64;
        into.extend(self.events.iter().take(room));
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.events
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// How many were said to happen behind the block's end; they are taken for its last frame, for a
    /// note that never ends is worse than one that ends early.
    pub(super) fn late(&self) -> u64 {
        self.late
    }

    /// The list, for as long as nothing else uses it.
    pub(super) fn list(&mut self) -> List<'_, clap_output_events> {
        let ctx = ptr::from_mut(self).cast();
        List(clap_output_events { ctx, try_push: Some(try_push) }, PhantomData)
    }

    fn push(&mut self, event: Converted<'_>) -> bool {
        let last = self.frames.saturating_sub(1);
        let (is_late, taken) = match event {
            Converted::Event(event) => {
                let within = Event { time: event.time.min(last), ..event };
                let taken = within.is_valid(self.frames) && insert_sorted(&mut self.events, within);
                (event.time > last, taken)
            }
            Converted::SysEx { time, port, message } => {
                // All of it or nothing. Its pieces lie behind each other as they are inserted.
                let taken = message.len() <= sysex::MOST
                    && sysex::pieces(message.len()) <= EVENTS - self.events.len()
                    && sysex::split(time.min(last), port, message)
                        .all(|piece| insert_sorted(&mut self.events, piece));
                (time > last, taken)
            }
        };
        self.late += u64::from(is_late && taken);
        taken
    }
}

unsafe extern "C" fn try_push(
    list: *const clap_output_events,
    event: *const clap_event_header,
) -> bool {
    // SAFETY: the plugin passes the list it was given; `ctx` is what `list` set it to, and the
    // plugin has one thread that may call this.
    let Some(events) =
        (unsafe { list.as_ref().and_then(|list| list.ctx.cast::<OutEvents>().as_mut()) })
    else {
        return false;
    };
    // SAFETY: the interface promises that it is null or good for its stated size.
    let taken = unsafe { convert(event) }.is_some_and(|event| events.push(event));
    events.dropped += u64::from(!taken);
    taken
}

/// A plugin's event in our words.
#[derive(Debug, PartialEq)]
pub(super) enum Converted<'a> {
    Event(Event),
    SysEx { time: u32, port: i16, message: &'a [u8] },
}

/// An event that is of a known kind and as large as its kind has to be.
///
/// # Safety
/// `event` is null, or good for reading as many bytes as its header states (a header at least);
/// a system exclusive message's buffer likewise.
pub(super) unsafe fn convert<'a>(event: *const clap_event_header) -> Option<Converted<'a>> {
    if event.is_null() {
        return None;
    }
    // SAFETY: as the caller promises. Unaligned: plugins pack events into bytes.
    let header = unsafe { event.read_unaligned() };
    if header.space_id != CLAP_CORE_EVENT_SPACE_ID {
        return None;
    }
    let time = header.time;
    macro_rules! read {
        ($type:ty) => {{
            if (header.size as usize) < size_of::<$type>() {
                return None;
            }
            // SAFETY: as large as that, as just checked.
            unsafe { event.cast::<$type>().read_unaligned() }
        }};
    }
    macro_rules! addressed {
        ($kind:expr, $from:expr, $value:expr) => {
            Event {
                note_id: $from.note_id,
                port: $from.port_index,
                channel: $from.channel,
                key: $from.key,
                value: $value,
                ..Event::new($kind, time)
            }
        };
    }
    let note = |kind: u16, e: clap_event_note, value: f64| addressed!(kind, e, value);
    let is_param = |id: u32| (id != clap_sys::id::CLAP_INVALID_ID).then_some(id);
    Some(Converted::Event(match header.type_ {
        CLAP_EVENT_NOTE_ON => {
            let e = read!(clap_event_note);
            note(kind::NOTE_ON, e, e.velocity)
        }
        CLAP_EVENT_NOTE_OFF => {
            let e = read!(clap_event_note);
            note(kind::NOTE_OFF, e, e.velocity)
        }
        // The velocity of these means nothing, and may be anything.
        CLAP_EVENT_NOTE_CHOKE => note(kind::NOTE_CHOKE, read!(clap_event_note), 0.0),
        CLAP_EVENT_NOTE_END => note(kind::NOTE_END, read!(clap_event_note), 0.0),
        CLAP_EVENT_NOTE_EXPRESSION => {
            let e = read!(clap_event_note_expression);
            let known = (CLAP_NOTE_EXPRESSION_VOLUME..=CLAP_NOTE_EXPRESSION_PRESSURE)
                .contains(&e.expression_id);
            let expression = known.then_some(e.expression_id as u16)?;
            Event { expression, ..addressed!(kind::NOTE_EXPRESSION, e, e.value) }
        }
        CLAP_EVENT_PARAM_VALUE => {
            let e = read!(clap_event_param_value);
            let param = is_param(e.param_id)?;
            Event { param, ..addressed!(kind::PARAM_VALUE, e, e.value) }
        }
        CLAP_EVENT_PARAM_MOD => {
            let e = read!(clap_event_param_mod);
            let param = is_param(e.param_id)?;
            Event { param, ..addressed!(kind::PARAM_MOD, e, e.amount) }
        }
        CLAP_EVENT_PARAM_GESTURE_BEGIN => {
            let param = is_param(read!(clap_event_param_gesture).param_id)?;
            Event { param, ..Event::new(kind::GESTURE_BEGIN, time) }
        }
        CLAP_EVENT_PARAM_GESTURE_END => {
            let param = is_param(read!(clap_event_param_gesture).param_id)?;
            Event { param, ..Event::new(kind::GESTURE_END, time) }
        }
        CLAP_EVENT_MIDI => {
            let e = read!(clap_event_midi);
            let [status, a, b] = e.data;
            // What follows a message of two bytes may be anything.
            let b = if matches!(status & 0xf0, 0xc0 | 0xd0) { 0 } else { b };
            let port = i16::try_from(e.port_index).ok()?;
            Event { port, midi: [status, a, b, 0], ..Event::new(kind::MIDI, time) }
        }
        CLAP_EVENT_MIDI_SYSEX => {
            let e = read!(clap_event_midi_sysex);
            let size = e.size as usize;
            if e.buffer.is_null() || size > sysex::MOST {
                return None;
            }
            // SAFETY: as the caller promises.
            let message = unsafe { std::slice::from_raw_parts(e.buffer, size) };
            let port = i16::try_from(e.port_index).ok()?;
            return Some(Converted::SysEx { time, port, message });
        }
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn push(events: &mut OutEvents, event: *const clap_event_header) -> bool {
        let list = events.list();
        // SAFETY: the list is valid; the event is null or a local with a true header.
        unsafe { list.0.try_push.unwrap()(list.as_ptr(), event) }
    }

    fn note(time: u32, key: i16) -> clap_event_note {
        clap_event_note {
            header: header::<clap_event_note>(time, CLAP_EVENT_NOTE_ON),
            note_id: -1,
            port_index: 0,
            channel: 0,
            key,
            velocity: 0.5,
        }
    }

    #[test]
    fn what_a_plugin_claims_of_an_event_is_checked() {
        let mut events = OutEvents::new();
        events.begin(64);
        let good = note(3, 60);
        let with = |size, space_id, type_| clap_event_note {
            header: clap_event_header { size, space_id, type_, ..good.header },
            ..good
        };
        let size = good.header.size;
        let bad = [
            with(0, 0, CLAP_EVENT_NOTE_ON),
            with(size - 1, 0, CLAP_EVENT_NOTE_ON),
            with(size, 1, CLAP_EVENT_NOTE_ON),
            with(size, 0, u16::MAX),
            // Larger than a note: its size can't be true.
            with(size, 0, CLAP_EVENT_PARAM_VALUE),
            note(0, 128),
            clap_event_note { velocity: f64::NAN, ..good },
        ];
        for bad in &bad {
            assert!(!push(&mut events, &raw const bad.header), "{:?}", bad.header);
        }
        assert!(!push(&mut events, ptr::null()));
        assert_eq!((events.dropped(), events.events().len()), (bad.len() as u64 + 1, 0));
        // More than is needed may follow, as in later versions.
        let whole = with(size, 0, CLAP_EVENT_NOTE_ON);
        assert!(push(&mut events, &raw const whole.header));
        assert_eq!(events.events().len(), 1);
    }

    #[test]
    fn events_that_come_in_no_order_are_put_in_order() {
        let mut events = OutEvents::new();
        events.begin(64);
        for (time, key) in [(9, 1), (3, 2), (9, 3), (0, 4), (3, 5)] {
            let note = note(time, key);
            assert!(push(&mut events, &raw const note.header));
        }
        let order: Vec<i16> = events.events().iter().map(|event| event.key).collect();
        assert_eq!(order, [4, 2, 5, 1, 3]);
        assert_eq!(events.dropped(), 0);
    }

    #[test]
    fn what_lies_behind_the_end_of_a_block_comes_with_its_last_frame() {
        let mut events = OutEvents::new();
        events.begin(64);
        let message = [0xf0, 1, 0xf7];
        let sysex = clap_event_midi_sysex {
            header: header::<clap_event_midi_sysex>(64, CLAP_EVENT_MIDI_SYSEX),
            port_index: 0,
            buffer: message.as_ptr(),
            size: 3,
        };
        for time in [64, 3, u32::MAX, 63] {
            let note = note(time, 60);
            assert!(push(&mut events, &raw const note.header));
        }
        assert!(push(&mut events, &raw const sysex.header));
        let times: Vec<u32> = events.events().iter().map(|event| event.time).collect();
        assert_eq!((times, events.late(), events.dropped()), (vec![3, 63, 63, 63, 63], 3, 0));
    }

    #[test]
    fn messages_go_out_whole_or_not_at_all_and_come_in_as_they_were() {
        let message: Vec<u8> = (0..300_u32).map(|n| n as u8).collect();
        let mut events = OutEvents::new();
        events.begin(64);
        let mut sysex = clap_event_midi_sysex {
            header: header::<clap_event_midi_sysex>(5, CLAP_EVENT_MIDI_SYSEX),
            port_index: 0,
            buffer: message.as_ptr(),
            size: message.len() as u32,
        };
        assert!(push(&mut events, &raw const sysex.header));
        sysex.size = u32::MAX;
        assert!(!push(&mut events, &raw const sysex.header));
        (sysex.size, sysex.buffer) = (1, ptr::null());
        assert!(!push(&mut events, &raw const sysex.header));
        assert_eq!(events.events().len(), 15);

        let mut input = InEvents::with_capacity(4);
        input.clear();
        events.events().iter().for_each(|piece| input.push_sysex(piece, 2));
        assert_eq!(input.slots.len(), 1);
        let got = input.first();
        assert_eq!(got, Some(Converted::SysEx { time: 5, port: 2, message: &message }));
    }

    #[test]
    fn no_event_lies_behind_the_end_of_a_list() {
        let mut input = InEvents::with_capacity(2);
        for key in 0..5 {
            input.push(Slot { note: note(0, key) });
        }
        let list = input.list();
        // SAFETY: the list is valid.
        let (size, get) = unsafe {
            (list.0.size.unwrap()(list.as_ptr()), |n| list.0.get.unwrap()(list.as_ptr(), n))
        };
        assert_eq!(size, 2);
        assert!(!get(1).is_null() && get(2).is_null() && get(u32::MAX).is_null());
    }
}
