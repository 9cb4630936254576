//! What goes wrong in `process`.

use std::ptr;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::thread;

use vst3::Steinberg::Vst::Event_::EventTypes_::{
    kChordEvent, kDataEvent, kLegacyMIDICCOutEvent, kNoteExpressionTextEvent, kNoteOffEvent,
    kNoteOnEvent,
};
use vst3::Steinberg::Vst::{
    Event, IComponentHandlerTrait, IEventList, IEventListTrait, IParamValueQueueTrait,
    IParameterChanges, IParameterChangesTrait, LegacyMIDICCOutEvent, NoteOnEvent, ProcessData,
};
use vst3::Steinberg::{FUnknown, kInternalError, tresult};
use vst3::{ComPtr, ComRef};

use crate::plugin::{BLOCK, EVERYTHING, Plugin};
use crate::process::{buses, channels, empty};
use crate::strikes;
use crate::what::What;

const FLOOD: i32 = 65_536;

/// What the host lent in a block, kept for longer.
pub(crate) struct Kept {
    events: Option<ComPtr<IEventList>>,
    changes: Option<ComPtr<IParameterChanges>>,
}

/// A block, for the strikes of every format.
struct Block<'a, K> {
    plugin: &'a Plugin<K>,
    /// Valid, as who makes this promises.
    data: &'a ProcessData,
}

/// Does the damage in a block.
///
/// # Safety
///
/// `data` describes a block.
pub(crate) unsafe fn strike<K>(plugin: &Plugin<K>, data: &mut ProcessData) -> tresult {
    if let Some(strike) = plugin.strike() {
        let mut block = Block { plugin, data };
        // SAFETY: as the caller promises.
        let done = unsafe { strike.strike(&plugin.memory, &mut block) };
        return if done { plugin.fine() } else { kInternalError };
    }
    // SAFETY: as the caller promises; where a fault is for breaking a rule, it does.
    unsafe {
        match plugin.what {
            What::ParamListChanges => plugin.has_more_params.store(true, Relaxed),
            What::BadParams => bad_params(data),
            What::ParamFlood => param_flood(data),
            What::BadSilence => {
                for index in 0..data.numOutputs as usize {
                    (*data.outputs.add(index)).silenceFlags = !0b11;
                }
            }
            What::MovesBuffers => moves_buffers(data),
            What::Releases => releases(data),
            What::Keeps => keeps(plugin, data),
            What::RestartFlood => {
                let Some(handler) = plugin.handler() else { return plugin.fine() };
                for _ in 0..1000 {
                    handler.restartComponent(EVERYTHING);
                    handler.restartComponent(-1);
                }
            }
            _ => {}
        }
    }
    plugin.fine()
}

impl<K> strikes::Block for Block<'_, K> {
    fn outputs(&self) -> Vec<(*mut f32, usize)> {
        let frames = self.data.numSamples as usize;
        // SAFETY: describes a block.
        let buses = unsafe { buses(self.data.outputs, self.data.numOutputs) };
        // SAFETY: as above.
        let channels = buses.iter().flat_map(|bus| unsafe { channels(bus) });
        channels.map(|&channel| (channel, frames)).collect()
    }

    fn bad_events(&mut self) {
        // SAFETY: describes a block.
        unsafe { bad_events(self.data) };
    }

    fn event_flood(&mut self) {
        for index in 0..FLOOD {
            // SAFETY: describes a block.
            unsafe { push(self.data, note(index % self.data.numSamples.max(1))) };
        }
    }

    /// The format has no log; there is standard error.
    fn log_flood(&mut self) {
        for _ in 0..FLOOD / 64 {
            eprintln!("one line of very many");
        }
    }

    fn wrong_threads(&mut self, first: bool) {
        if first {
            wrong_threads(self.plugin);
        }
    }
}

/// # Safety
///
/// As for [`strike`].
unsafe fn fill(data: &ProcessData, value: f32) {
    // SAFETY: as the caller promises.
    unsafe {
        for to in buses(data.outputs, data.numOutputs).iter().flat_map(|bus| channels(bus)) {
            for frame in 0..data.numSamples as usize {
                *to.add(frame) = value;
            }
        }
    }
}

/// Sound, marked as silence.
///
/// # Safety
///
/// As for [`strike`].
pub(crate) unsafe fn fill_and_deny(data: &ProcessData) {
    // SAFETY: as the caller promises.
    unsafe {
        fill(data, 0.75);
        for index in 0..data.numOutputs as usize {
            (*data.outputs.add(index)).silenceFlags = 0b11;
        }
    }
}

fn note(time: i32) -> Event {
    let mut event = empty(kNoteOnEvent, time);
    event.__field0.noteOn =
        NoteOnEvent { channel: 0, pitch: 60, tuning: 0.0, velocity: 1.0, length: 0, noteId: -1 };
    event
}

/// # Safety
///
/// As for [`strike`].
unsafe fn push(data: &ProcessData, mut event: Event) {
    // SAFETY: as the caller promises.
    unsafe {
        if let Some(list) = ComRef::from_raw(data.outputEvents) {
            list.addEvent(&mut event);
        }
    }
}

/// # Safety
///
/// As for [`strike`].
unsafe fn bad_events(data: &ProcessData) {
    let frames = data.numSamples;
    let mut no_note = note(0);
    no_note.__field0.noteOn = NoteOnEvent {
        channel: 4711,
        pitch: i16::MIN,
        tuning: f32::INFINITY,
        velocity: f32::NAN,
        length: i32::MIN,
        noteId: i32::MIN,
    };
    let mut no_controller = empty(kLegacyMIDICCOutEvent, 0);
    no_controller.__field0.midiCCOut =
        LegacyMIDICCOutEvent { controlNumber: 255, channel: -1, value: -1, value2: -1 };
    // SAFETY: as the caller promises; the events are the fault that the plugin is for.
    unsafe {
        // Beyond the block, then back before what came earlier.
        for time in [frames, i32::MAX, frames / 2, 0, -1, i32::MIN] {
            push(data, note(time));
        }
        for bus in [-1, 1, i32::MAX, i32::MIN] {
            push(data, Event { busIndex: bus, ..note(0) });
        }
        for r#type in [kDataEvent, kChordEvent, kNoteExpressionTextEvent, 99, 60_000] {
            push(data, Event { r#type: r#type as u16, ..note(0) });
        }
        push(data, Event { flags: u16::MAX, ppqPosition: f64::NAN, ..note(0) });
        push(data, no_note);
        push(data, Event { r#type: kNoteOffEvent as u16, ..no_note });
        push(data, no_controller);
        if let Some(list) = ComRef::from_raw(data.outputEvents) {
            list.addEvent(ptr::null_mut());
        }
        // The host's own list is not the plugin's to write to.
        if let Some(list) = ComRef::from_raw(data.inputEvents) {
            list.addEvent(&mut note(0));
            list.getEvent(-1, &mut note(0));
            list.getEvent(i32::MAX, ptr::null_mut());
        }
    }
}

/// # Safety
///
/// As for [`strike`].
unsafe fn bad_params(data: &ProcessData) {
    // SAFETY: as the caller promises; what is passed is the fault that the plugin is for.
    unsafe {
        let Some(changes) = ComRef::from_raw(data.outputParameterChanges) else { return };
        for id in [BLOCK, 77, u32::MAX] {
            let Some(queue) = ComRef::from_raw(changes.addParameterData(&id, ptr::null_mut()))
            else {
                continue;
            };
            for (time, value) in [
                (data.numSamples, 0.5),
                (i32::MAX, f64::NAN),
                (3, f64::INFINITY),
                (-7, f64::NEG_INFINITY),
                (i32::MIN, 1e300),
                (0, -1.0),
            ] {
                queue.addPoint(time, value, ptr::null_mut());
            }
            queue.getPoint(-1, ptr::null_mut(), ptr::null_mut());
            queue.getPoint(i32::MAX, ptr::null_mut(), ptr::null_mut());
        }
        changes.addParameterData(ptr::null(), ptr::null_mut());
        changes.getParameterData(i32::MIN);
        if let Some(given) = ComRef::from_raw(data.inputParameterChanges) {
            given.addParameterData(&BLOCK, &mut 0);
            given.getParameterData(i32::MAX);
        }
    }
}

/// # Safety
///
/// As for [`strike`].
unsafe fn param_flood(data: &ProcessData) {
    // SAFETY: as the caller promises; valid pointers.
    unsafe {
        let Some(changes) = ComRef::from_raw(data.outputParameterChanges) else { return };
        for id in 0..FLOOD as u32 {
            let mut index = 0;
            if let Some(queue) = ComRef::from_raw(changes.addParameterData(&id, &mut index)) {
                queue.addPoint(0, 0.5, &mut index);
            }
        }
        let Some(queue) = ComRef::from_raw(changes.addParameterData(&BLOCK, &mut 0)) else {
            return;
        };
        for index in 0..FLOOD {
            queue.addPoint(index % data.numSamples.max(1), 0.0, &mut 0);
        }
    }
}

/// # Safety
///
/// As for [`strike`].
unsafe fn moves_buffers(data: &mut ProcessData) {
    // SAFETY: as the caller promises; that it may write there is what the plugin is wrong about.
    unsafe {
        for (first, count) in [(data.inputs, data.numInputs), (data.outputs, data.numOutputs)] {
            for index in 0..count as usize {
                let bus = &mut *first.add(index);
                for channel in 0..bus.numChannels as usize {
                    *bus.__field0.channelBuffers32.add(channel) = ptr::without_provenance_mut(8);
                }
                bus.__field0.channelBuffers32 = ptr::without_provenance_mut(8);
                bus.numChannels = i32::MAX;
            }
        }
    }
    data.numSamples = i32::MAX;
    data.numOutputs = -1;
    data.outputs = ptr::null_mut();
    data.outputEvents = ptr::null_mut();
    data.outputParameterChanges = ptr::null_mut();
}

/// # Safety
///
/// As for [`strike`].
unsafe fn releases(data: &ProcessData) {
    let lists: [*mut FUnknown; 4] = [
        data.inputEvents.cast(),
        data.outputEvents.cast(),
        data.inputParameterChanges.cast(),
        data.outputParameterChanges.cast(),
    ];
    for list in lists.into_iter().filter(|list| !list.is_null()) {
        for _ in 0..3 {
            // SAFETY: valid lists. The references aren't the plugin's: the fault that it is for.
            unsafe { ((*(*list).vtbl).release)(list) };
        }
    }
}

/// # Safety
///
/// As for [`strike`].
unsafe fn keeps<K>(plugin: &Plugin<K>, data: &ProcessData) {
    let mut kept = plugin.kept.lock().unwrap_or_else(PoisonError::into_inner);
    // SAFETY: as the caller promises; what was kept has a reference.
    unsafe {
        if let Some(kept) = &*kept {
            if let Some(events) = &kept.events {
                events.addEvent(&mut note(1));
            }
            if let Some(changes) = &kept.changes {
                let queue = ComRef::from_raw(changes.addParameterData(&BLOCK, &mut 0));
                if let Some(queue) = queue {
                    queue.addPoint(1, 0.0, &mut 0);
                }
            }
        } else {
            *kept = Some(Kept {
                events: ComRef::from_raw(data.outputEvents).map(|list| list.to_com_ptr()),
                changes: ComRef::from_raw(data.outputParameterChanges)
                    .map(|list| list.to_com_ptr()),
            });
        }
    }
}

fn wrong_threads<K>(plugin: &Plugin<K>) {
    let Some(handler) = plugin.handler() else { return };
    let call = move || {
        // SAFETY: a valid handler. The thread is the wrong one: the fault that the plugin is for.
        unsafe {
            handler.beginEdit(BLOCK);
            handler.performEdit(BLOCK, f64::NAN);
            handler.performEdit(u32::MAX, 0.5);
            // Below its range: nothing that a host takes from it keeps `any` from striking again.
            handler.performEdit(BLOCK, -7.0);
            handler.endEdit(BLOCK);
            handler.endEdit(BLOCK);
            handler.restartComponent(EVERYTHING);
        }
    };
    call.clone()();
    thread::spawn(call);
}
