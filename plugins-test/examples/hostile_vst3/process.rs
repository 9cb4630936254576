//! A block, as a plugin processes it that keeps the rules.

use std::slice;
use std::sync::atomic::Ordering::Relaxed;

use vst3::ComRef;
use vst3::Steinberg::Vst::BusDirections_::kInput;
use vst3::Steinberg::Vst::Event_::EventTypes;
use vst3::Steinberg::Vst::Event_::EventTypes_::{
    kDataEvent, kLegacyMIDICCOutEvent, kNoteOffEvent, kNoteOnEvent,
};
use vst3::Steinberg::Vst::MediaTypes_::kAudio;
use vst3::Steinberg::Vst::RestartFlags_::{kLatencyChanged, kParamIDMappingChanged};
use vst3::Steinberg::Vst::{
    AudioBusBuffers, BusDirection, Event, Event__type0, IComponentHandlerBusActivation,
    IComponentHandlerBusActivationTrait, IComponentHandlerTrait, IEventListTrait,
    IParamValueQueueTrait, IParameterChangesTrait, LegacyMIDICCOutEvent, MediaType, ProcessData,
};
use vst3::Steinberg::{int32, kInternalError, kResultOk, tresult};

use crate::plugin::{BEND, GAIN, PRESSURE, Plugin, VALUE, VOLUME};
use crate::strike;
use crate::what::What;

/// # Safety
///
/// `data` describes a block.
pub(crate) unsafe fn process<K>(plugin: &Plugin<K>, data: &mut ProcessData) -> tresult {
    let now = plugin.processed.fetch_add(1, Relaxed);
    let block = plugin.block();
    // SAFETY: as the caller promises.
    unsafe {
        read_params(plugin, data);
        read_notes(plugin, data);
        match plugin.what {
            What::AllErrors => {}
            What::OddMidiMapping => sound(plugin, data),
            What::OddBuses | What::OddAsks => sum(plugin, data),
            What::OddDouble => {
                each_channel(data, |from, to| apply_wide(from.cast(), to.cast(), plugin, data));
            }
            _ => each_channel(data, |from, to| apply(from, to, plugin, data)),
        }
    }
    match plugin.what {
        // SAFETY: as the caller promises.
        What::OddSilent => unsafe { strike::fill_and_deny(data) },
        What::OddAsks if now == 0 => {
            let handler = plugin.handler();
            let asked = handler.and_then(|h| h.cast::<IComponentHandlerBusActivation>());
            if let Some(handler) = asked {
                let (media, direction) = (kAudio as MediaType, kInput as BusDirection);
                // SAFETY: the host's handler.
                unsafe { handler.requestBusActivation(media, direction, 1, 1) };
            }
        }
        What::OddLatency if now == block => {
            if let Some(handler) = plugin.handler() {
                // SAFETY: the host's handler. (It is told from the audio thread; so do others.)
                unsafe { handler.restartComponent(kLatencyChanged as int32) };
            }
        }
        What::OddRemaps if now == block && !plugin.has_more_params.swap(true, Relaxed) => {
            if let Some(handler) = plugin.handler() {
                // SAFETY: as above.
                unsafe { handler.restartComponent(kParamIDMappingChanged as int32) };
            }
        }
        // Where there is no bus there is no address either.
        What::OddMidiMapping if !data.inputs.is_null() => return kInternalError,
        // SAFETY: as the caller promises.
        _ if now >= block => return unsafe { strike::strike(plugin, data) },
        _ => {}
    }
    plugin.fine()
}

/// Takes the last value of each parameter. (The gain is then the same throughout a block.)
///
/// # Safety
///
/// As for [`process`].
unsafe fn read_params<K>(plugin: &Plugin<K>, data: &ProcessData) {
    // SAFETY: as the caller promises; valid pointers.
    unsafe {
        let Some(changes) = ComRef::from_raw(data.inputParameterChanges) else { return };
        for index in 0..changes.getParameterCount() {
            let Some(queue) = ComRef::from_raw(changes.getParameterData(index)) else { continue };
            let (mut time, mut value) = (0, 0.0);
            if queue.getPoint(queue.getPointCount() - 1, &mut time, &mut value) == kResultOk {
                plugin.set(queue.getParameterId(), value);
            }
        }
    }
}

/// Counts the notes that sound, and answers them if it is the plugin for it.
///
/// # Safety
///
/// As for [`process`].
unsafe fn read_notes<K>(plugin: &Plugin<K>, data: &ProcessData) {
    // SAFETY: as the caller promises; valid pointers.
    unsafe {
        let Some(events) = ComRef::from_raw(data.inputEvents) else { return };
        for index in 0..events.getEventCount() {
            let mut event = empty(0, 0);
            if events.getEvent(index, &mut event) != kResultOk {
                continue;
            }
            match EventTypes::from(event.r#type) {
                kNoteOnEvent => {
                    plugin.held.fetch_add(1, Relaxed);
                    if plugin.what == What::OddMidiOut {
                        answer(data, &event);
                    }
                }
                kNoteOffEvent => {
                    let _ = plugin.held.fetch_update(Relaxed, Relaxed, |held| held.checked_sub(1));
                }
                kDataEvent if plugin.what == What::OddSysex => answer_sysex(plugin, data, &event),
                _ => {}
            }
        }
    }
}

/// Puts a message out backwards, but for its ends.
///
/// # Safety
///
/// As for [`process`]; the event has bytes.
unsafe fn answer_sysex<K>(plugin: &Plugin<K>, data: &ProcessData, event: &Event) {
    let mut bytes = plugin.sysex.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    // SAFETY: as the caller promises.
    unsafe {
        let Some(out) = ComRef::from_raw(data.outputEvents) else { return };
        let given = event.__field0.data;
        let message = slice::from_raw_parts(given.bytes, given.size as usize);
        if message.len() > bytes.capacity() {
            return;
        }
        bytes.clear();
        bytes.extend_from_slice(message);
        if let [_, inner @ .., _] = bytes.as_mut_slice() {
            inner.reverse();
        }
        let mut event = *event;
        event.__field0.data.bytes = bytes.as_ptr();
        out.addEvent(&mut event);
    }
}

/// # Safety
///
/// As for [`process`]; the event is a note that begins.
unsafe fn answer(data: &ProcessData, event: &Event) {
    // SAFETY: as the caller promises.
    unsafe {
        let Some(out) = ComRef::from_raw(data.outputEvents) else { return };
        let note = event.__field0.noteOn;
        let pitch = note.pitch as i8;
        for (number, value2) in [(74, 0), (128, 0), (129, 64), (130, 0)] {
            let mut event = empty(kLegacyMIDICCOutEvent, event.sampleOffset);
            event.__field0.midiCCOut = LegacyMIDICCOutEvent {
                controlNumber: number,
                channel: note.channel as i8,
                value: pitch,
                value2,
            };
            out.addEvent(&mut event);
        }
    }
}

/// An event without content.
pub(crate) fn empty(r#type: EventTypes, time: i32) -> Event {
    Event {
        busIndex: 0,
        sampleOffset: time,
        ppqPosition: 0.0,
        flags: 0,
        r#type: r#type as u16,
        // SAFETY: plain numbers and pointers: all may be zero.
        __field0: unsafe { std::mem::zeroed::<Event__type0>() },
    }
}

/// # Safety
///
/// As for [`process`].
pub(crate) unsafe fn buses<'a>(first: *mut AudioBusBuffers, count: int32) -> &'a [AudioBusBuffers] {
    match (first.is_null(), usize::try_from(count)) {
        // SAFETY: as the caller promises.
        (false, Ok(count)) => unsafe { slice::from_raw_parts(first, count) },
        _ => &[],
    }
}

/// A bus's channels.
///
/// # Safety
///
/// As for [`process`].
pub(crate) unsafe fn channels(bus: &AudioBusBuffers) -> &[*mut f32] {
    // SAFETY: as the caller promises.
    unsafe {
        match (bus.__field0.channelBuffers32, usize::try_from(bus.numChannels)) {
            (first, Ok(count)) if !first.is_null() => slice::from_raw_parts(first, count),
            _ => &[],
        }
    }
}

/// Calls with each output channel and the input channel for it, if there is one.
///
/// # Safety
///
/// As for [`process`].
unsafe fn each_channel(data: &ProcessData, mut each: impl FnMut(*const f32, *mut f32)) {
    // SAFETY: as the caller promises.
    unsafe {
        let inputs = buses(data.inputs, data.numInputs);
        let from = inputs.first().map_or(&[][..], |bus| channels(bus));
        for bus in buses(data.outputs, data.numOutputs) {
            for (index, to) in channels(bus).iter().enumerate() {
                each(from.get(index).map_or(std::ptr::null(), |from| from.cast_const()), *to);
            }
        }
    }
}

/// # Safety
///
/// Both are good for the block, or the first is null.
unsafe fn apply<K>(from: *const f32, to: *mut f32, plugin: &Plugin<K>, data: &ProcessData) {
    let gain = match plugin.what {
        What::OddRemaps if plugin.has_more_params.load(Relaxed) => plugin.value(VALUE),
        _ => plugin.value(GAIN),
    } as f32;
    for frame in 0..data.numSamples as usize {
        // SAFETY: as the caller promises.
        unsafe { *to.add(frame) = if from.is_null() { 0.0 } else { *from.add(frame) * gain } };
    }
}

/// # Safety
///
/// As for [`apply`].
unsafe fn apply_wide<K>(from: *const f64, to: *mut f64, plugin: &Plugin<K>, data: &ProcessData) {
    let gain = plugin.value(GAIN);
    for frame in 0..data.numSamples as usize {
        // SAFETY: as the caller promises.
        unsafe { *to.add(frame) = if from.is_null() { 0.0 } else { *from.add(frame) * gain } };
    }
}

/// # Safety
///
/// As for [`process`].
unsafe fn sum<K>(plugin: &Plugin<K>, data: &ProcessData) {
    let inactive = plugin.inactive.load(Relaxed);
    // SAFETY: as the caller promises.
    unsafe {
        let inputs = buses(data.inputs, data.numInputs);
        for to in buses(data.outputs, data.numOutputs) {
            for (channel, to) in channels(to).iter().enumerate() {
                for frame in 0..data.numSamples as usize {
                    let active = inputs.iter().enumerate().filter(|(n, _)| inactive >> n & 1 == 0);
                    let samples = active.filter_map(|(_, bus)| channels(bus).get(channel));
                    *to.add(frame) = samples.map(|from| *from.add(frame)).sum();
                }
            }
        }
    }
}

/// # Safety
///
/// As for [`process`].
unsafe fn sound<K>(plugin: &Plugin<K>, data: &ProcessData) {
    let held = plugin.held.load(Relaxed) as f32;
    let moved = plugin.value(BEND) - 0.5 + plugin.value(PRESSURE);
    let level = 0.125 * held * (plugin.value(VOLUME) + moved) as f32;
    // SAFETY: as the caller promises.
    unsafe {
        each_channel(data, |_, to| {
            for frame in 0..data.numSamples as usize {
                *to.add(frame) = level;
            }
        });
    }
}
