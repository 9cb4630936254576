use super::*;
use vst3::ComRef;

/// What a plugin with one event bus gets, as it reads it.
fn given(events: &mut InEvents) -> Vec<Vst3Event> {
    // SAFETY: valid as long as `events`; valid pointers.
    unsafe {
        let list = ComRef::from_raw(events.as_ptr()).unwrap();
        let mut all = vec![];
        for index in 0..list.getEventCount() {
            all.push(event(-1, 0, 99, Event__type0 { data: NO_DATA }));
            assert_eq!(list.getEvent(index, all.last_mut().unwrap()), kResultOk);
            assert_ne!(list.getEvent(index, std::ptr::null_mut()), kResultOk);
        }
        for index in [-1, list.getEventCount(), i32::MAX, i32::MIN] {
            let mut none = event(-1, 0, 99, Event__type0 { data: NO_DATA });
            assert_ne!(list.getEvent(index, &mut none), kResultOk);
        }
        all
    }
}

fn of(list: &[Event]) -> Vec<Vst3Event> {
    let mut events = InEvents::new(1, Expressions::default());
    events.begin(0.0, 0.0);
    for event in list {
        assert_eq!(events.push(event), None);
    }
    given(&mut events)
}

fn note(kind: u16, time: u32, channel: i16, key: i16, id: i32) -> Event {
    Event { port: 0, channel, key, note_id: id, value: 0.5, ..Event::new(kind, time) }
}

fn midi(bytes: [u8; 3]) -> Event {
    Event { port: 0, midi: [bytes[0], bytes[1], bytes[2], 0], ..Event::new(kind::MIDI, 4) }
}

/// Of note offs: channel, key and number.
fn offs(events: &[Vst3Event]) -> Vec<(i16, i16, i32)> {
    let offs = events.iter().filter(|event| EventTypes::from(event.r#type) == kNoteOffEvent);
    // SAFETY: the part that the type names.
    let offs = offs.map(|event| unsafe { event.__field0.noteOff });
    offs.map(|off| (off.channel, off.pitch, off.noteId)).collect()
}

#[test]
fn a_note_is_given_with_its_number_channel_and_time() {
    let mut events = InEvents::new(1, Expressions::default());
    events.begin(2.0, 0.25);
    events.push(&note(kind::NOTE_ON, 4, 3, 60, 17));
    events.push(&note(kind::NOTE_OFF, 8, 3, 60, 17));
    let [on, off] = given(&mut events)[..] else { panic!("two events") };
    assert_eq!((EventTypes::from(on.r#type), on.busIndex, on.sampleOffset), (kNoteOnEvent, 0, 4));
    assert_eq!([on.ppqPosition, off.ppqPosition], [3.0, 4.0]);
    // SAFETY: the parts that the types name.
    let (on, off) = unsafe { (on.__field0.noteOn, off.__field0.noteOff) };
    assert_eq!((on.channel, on.pitch, on.velocity, on.noteId), (3, 60, 0.5, 17));
    assert_eq!((off.channel, off.pitch, off.velocity, off.noteId), (3, 60, 0.5, 17));
}

#[test]
fn what_an_event_leaves_open_fits_all_notes_that_sound() {
    let on = |channel, key, id| note(kind::NOTE_ON, 0, channel, key, id);
    let begun = [on(0, 60, 1), on(1, 60, 2), on(1, 64, 3)];
    let ends = |event: Event| offs(&of(&[&begun[..], &[event]].concat()));
    assert_eq!(ends(note(kind::NOTE_OFF, 1, -1, -1, -1)), [(0, 60, 1), (1, 60, 2), (1, 64, 3)]);
    assert_eq!(ends(note(kind::NOTE_OFF, 1, 1, -1, -1)), [(1, 60, 2), (1, 64, 3)]);
    assert_eq!(ends(note(kind::NOTE_CHOKE, 1, -1, 60, -1)), [(0, 60, 1), (1, 60, 2)]);
    assert_eq!(ends(note(kind::NOTE_OFF, 1, -1, -1, 3)), [(1, 64, 3)]);
    // Nothing of the kind sounds: with a key it may have begun before we looked.
    assert_eq!(ends(note(kind::NOTE_OFF, 1, 5, -1, -1)), []);
    assert_eq!(ends(note(kind::NOTE_OFF, 1, 5, 70, -1)), [(5, 70, -1)]);
}

#[test]
fn an_ended_note_is_not_ended_twice() {
    let list = [
        note(kind::NOTE_ON, 0, 0, 60, -1),
        note(kind::NOTE_OFF, 1, 0, 60, -1),
        note(kind::NOTE_CHOKE, 2, -1, -1, -1),
    ];
    assert_eq!(offs(&of(&list)).len(), 1);
}

#[test]
fn more_notes_than_are_known_can_still_be_ended() {
    let mut events = InEvents::new(1, Expressions::default());
    for block in 0..8 {
        events.begin(0.0, 0.0);
        for n in 0..100 {
            events.push(&note(kind::NOTE_ON, 0, 0, n, block * 100 + i32::from(n)));
        }
        assert_eq!(given(&mut events).len(), 100);
    }
    events.begin(0.0, 0.0);
    events.push(&note(kind::NOTE_CHOKE, 0, -1, -1, -1));
    assert_eq!(offs(&given(&mut events)).len(), Notes::MOST);
    events.begin(0.0, 0.0);
    events.push(&note(kind::NOTE_OFF, 0, 0, 5, 5));
    assert_eq!(offs(&given(&mut events)), [(0, 5, 5)], "forgotten, and named in full");
    assert_eq!(events.take_dropped(), 0);
}

#[test]
fn expressions_name_the_note_that_sounds_and_have_the_formats_range() {
    for (which, value, expected) in [
        (expression::VOLUME, 1.0, 0.25),
        (expression::VOLUME, 4.0, 1.0),
        (1, 0.25, 0.25),
        (expression::TUNING, 0.0, 0.5),
        (expression::TUNING, 12.0, 0.55),
        (expression::TUNING, -120.0, 0.0),
        (expression::BRIGHTNESS, 7.0, 1.0),
    ] {
        let on = note(kind::NOTE_ON, 0, 2, 60, -1);
        let expression =
            Event { expression: which, value, ..note(kind::NOTE_EXPRESSION, 5, 2, 60, -1) };
        let [on, expressed] = of(&[on, expression])[..] else { panic!("two events") };
        // SAFETY: the parts that the types name.
        let (on, expressed) =
            unsafe { (on.__field0.noteOn, expressed.__field0.noteExpressionValue) };
        assert!(on.noteId >= 0);
        assert_eq!((expressed.typeId, expressed.noteId), (u32::from(which), on.noteId));
        assert!((expressed.value - expected).abs() < 1e-12, "{which}: {}", expressed.value);
        assert!((from_vst3(which, expressed.value) - value).abs() < 1e-9 || value == 7.0);
    }
    let none = Event { expression: 1, ..note(kind::NOTE_EXPRESSION, 5, 2, 60, -1) };
    assert!(of(&[none]).is_empty(), "of no note");
}

#[test]
fn pressure_is_poly_pressure() {
    let pressure =
        Event { expression: expression::PRESSURE, ..note(kind::NOTE_EXPRESSION, 5, -1, -1, 9) };
    let list = of(&[note(kind::NOTE_ON, 0, 2, 60, 9), pressure]);
    assert_eq!(EventTypes::from(list[1].r#type), kPolyPressureEvent);
    // SAFETY: the part that the type names.
    let poly = unsafe { list[1].__field0.polyPressure };
    assert_eq!((poly.channel, poly.pitch, poly.pressure, poly.noteId), (2, 60, 0.5, 9));
}

#[test]
fn midi_is_notes_or_controllers() {
    let mut events = InEvents::new(1, Expressions::default());
    events.begin(0.0, 0.0);
    for bytes in [[0x91, 60, 127], [0xa1, 60, 127], [0x91, 62, 1], [0x81, 60, 0], [0xf8, 0, 0]] {
        assert_eq!(events.push(&midi(bytes)), None);
    }
    let kinds: Vec<EventTypes> = given(&mut events).iter().map(|e| e.r#type.into()).collect();
    assert_eq!(kinds, [kNoteOnEvent, kPolyPressureEvent, kNoteOnEvent, kNoteOffEvent]);
    let controller = |what| Some(Controller { bus: 0, channel: 1, what });
    let value = |number, value| controller(ControllerKind::Value(number, value));
    assert_eq!(events.push(&midi([0xb1, 7, 127])), value(7, 1.0));
    assert_eq!(events.push(&midi([0xe1, 0, 0])), value(129, 0.0));
    assert_eq!(events.push(&midi([0xc1, 9, 0])), controller(ControllerKind::Program(9)));
    assert_eq!(given(&mut events).len(), 4);
    assert_eq!(events.push(&midi([0xb1, 123, 0])), value(123, 0.0));
    assert_eq!(offs(&given(&mut events)[4..]).len(), 1, "all notes off: 62 sounded");
}

#[test]
fn notes_that_make_no_sense_and_buses_that_are_not_there_are_left_out() {
    let on = note(kind::NOTE_ON, 0, 0, 60, -1);
    let list = [
        Event { port: 1, ..on },
        Event { key: -1, ..on },
        Event { key: 128, ..on },
        Event { kind: kind::NOTE_END, ..on },
    ];
    assert!(of(&list).is_empty());
    let mut deaf = InEvents::new(0, Expressions::default());
    deaf.begin(0.0, 0.0);
    assert_eq!(deaf.push(&on), None);
    assert_eq!(deaf.push(&midi([0x90, 60, 1])), None);
    assert!(given_nothing(&deaf));
    // Effects without an event bus may have controllers assigned.
    assert!(deaf.push(&midi([0xb0, 7, 1])).is_some());
}

fn given_nothing(events: &InEvents) -> bool {
    events.list.count.get() == 0
}

#[test]
fn system_exclusive_bytes_are_given_where_they_lie() {
    let bytes = [0xf0, 1, 2, 0xf7];
    let mut events = InEvents::new(1, Expressions::default());
    events.begin(0.0, 0.0);
    events.push_sysex(3, 0, &bytes);
    let [event] = given(&mut events)[..] else { panic!("one event") };
    // SAFETY: the part that the type names.
    let data = unsafe { event.__field0.data };
    assert_eq!((data.size, data.r#type, data.bytes), (4, 0, bytes.as_ptr()));
}

/// What the host gets of what a plugin puts out, and how much of it was wrong.
fn put_out(list: &[Vst3Event]) -> (Vec<Event>, u64) {
    let mut events = OutEvents::new(2);
    events.begin();
    // SAFETY: valid as long as `events`; valid pointers, or null, which is what this is about.
    unsafe {
        let to = ComRef::from_raw(events.as_ptr()).unwrap();
        for event in list {
            to.addEvent(&mut { *event });
        }
        assert_ne!(to.addEvent(std::ptr::null_mut()), kResultOk);
    }
    let mut out = Vec::with_capacity(EVENTS);
    let wrong = events.take(64, &mut out);
    assert!(out.iter().all(|event| event.is_valid(64)), "{out:?}");
    (out, wrong)
}

fn on(channel: i16, pitch: i16, velocity: f32) -> Event__type0 {
    let on = NoteOnEvent { channel, pitch, tuning: 0.0, velocity, length: 0, noteId: 5 };
    Event__type0 { noteOn: on }
}

#[test]
fn what_a_plugin_puts_out_is_what_the_host_gets() {
    let cc = |number, value, value2| Event__type0 {
        midiCCOut: LegacyMIDICCOutEvent { controlNumber: number, channel: 3, value, value2 },
    };
    let value = NoteExpressionValueEvent { typeId: 2, noteId: 5, value: 0.55 };
    let poly = PolyPressureEvent { channel: 1, pitch: 60, pressure: 0.5, noteId: -1 };
    let (out, wrong) = put_out(&[
        event(1, 10, kNoteOnEvent, on(1, 60, 0.5)),
        event(0, 11, kNoteOnEvent, on(1, 60, 0.0)),
        event(0, 12, kNoteExpressionValueEvent, Event__type0 { noteExpressionValue: value }),
        event(0, 13, kPolyPressureEvent, Event__type0 { polyPressure: poly }),
        event(0, 14, kLegacyMIDICCOutEvent, cc(74, 100, 0)),
        event(0, 14, kLegacyMIDICCOutEvent, cc(129, 1, 64)),
        event(0, 14, kLegacyMIDICCOutEvent, cc(130, 9, 0)),
        event(0, 14, kLegacyMIDICCOutEvent, cc(128, 9, 0)),
        event(0, 14, kLegacyMIDICCOutEvent, cc(131, 60, 9)),
    ]);
    assert_eq!(wrong, 0);
    let kinds: Vec<u16> = out.iter().map(|event| event.kind).collect();
    let expressions = [kind::NOTE_EXPRESSION; 2];
    assert_eq!(kinds[..2], [kind::NOTE_ON, kind::NOTE_OFF]);
    assert_eq!(kinds[2..4], expressions);
    assert_eq!((out[0].port, out[0].channel, out[0].key, out[0].note_id), (1, 1, 60, 5));
    assert_eq!((out[2].expression, out[3].expression), (expression::TUNING, expression::PRESSURE));
    assert!((out[2].value - 12.0).abs() < 1e-9);
    let bytes: Vec<[u8; 3]> = out[4..].iter().map(|e| [e.midi[0], e.midi[1], e.midi[2]]).collect();
    let expected = [[0xb3, 74, 100], [0xe3, 1, 64], [0xc3, 9, 0], [0xd3, 9, 0], [0xa3, 60, 9]];
    assert_eq!(bytes, expected);
}

#[test]
fn events_that_make_no_sense_are_dropped_and_counted() {
    let cc = |channel, number| Event__type0 {
        midiCCOut: LegacyMIDICCOutEvent { controlNumber: number, channel, value: 1, value2: 1 },
    };
    let value = |which, note, value| Event__type0 {
        noteExpressionValue: NoteExpressionValueEvent { typeId: which, noteId: note, value },
    };
    let senseless = [
        event(2, 0, kNoteOnEvent, on(0, 60, 0.5)),
        event(-1, 0, kNoteOnEvent, on(0, 60, 0.5)),
        event(0, 0, kNoteOnEvent, on(16, 60, 0.5)),
        event(0, 0, kNoteOnEvent, on(0, -1, 0.5)),
        event(0, 0, kNoteOnEvent, on(0, 128, 0.5)),
        event(0, 0, kNoteOnEvent, on(0, 60, f32::NAN)),
        event(0, 0, 1234, on(0, 60, 0.5)),
        event(0, 0, kDataEvent, Event__type0 { data: NO_DATA }),
        event(0, 0, kLegacyMIDICCOutEvent, cc(-1, 1)),
        event(0, 0, kLegacyMIDICCOutEvent, cc(0, 200)),
        event(0, 0, kNoteExpressionValueEvent, value(u32::MAX, 1, 0.5)),
        event(0, 0, kNoteExpressionValueEvent, value(1, -1, 0.5)),
        event(0, 0, kNoteExpressionValueEvent, value(1, 1, f64::NAN)),
    ];
    assert_eq!(put_out(&senseless), (vec![], senseless.len() as u64));
}

#[test]
fn times_outside_the_block_are_moved_into_it_and_lists_have_an_end() {
    let at = |time: i32| {
        let mut event = event(0, 0, kNoteOnEvent, on(0, 60, 0.5));
        event.sampleOffset = time;
        event
    };
    let (out, wrong) = put_out(&[at(-1), at(i32::MIN), at(64), at(i32::MAX), at(63)]);
    let times: Vec<u32> = out.iter().map(|event| event.time).collect();
    assert_eq!((times, wrong), (vec![0, 0, 63, 63, 63], 4));
    let (out, wrong) = put_out(&vec![at(0); 10_000]);
    assert_eq!((out.len(), wrong), (EVENTS, 10_000 - EVENTS as u64));
}
