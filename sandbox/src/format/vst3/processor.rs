//! An active VST 3 plugin, on its audio thread.
//!
//! # Safety
//! `unsafe` here calls the plugin. `ProcessData` points to memory of this value, which outlives
//! the call; the channels' validity is the contract of [`Processor::bind`]. Everything the plugin
//! can change of that is made anew in each block, or checked where it is read.
#![allow(unsafe_code)]

use super::super::{Buffers, ProcessBlock, Processor, Transport};
use super::buffers::Buses;
use super::context::ContextMaker;
use super::events::{Controller, ControllerKind, InEvents, OutEvents};
use super::expressions::Expressions;
use super::link::AudioEnd;
use super::midi::{MidiMap, PROGRAM_CHANGE};
use super::queues::Changes;
use crate::event::{Event, kind};
use crate::shm::layout::EVENTS;
use crate::sysex::Joiner;
use std::rc::Rc;
use vst3::ComPtr;
use vst3::Steinberg::Vst::ProcessModes_::{kOffline, kRealtime};
use vst3::Steinberg::Vst::SymbolicSampleSizes_::{kSample32, kSample64};
use vst3::Steinberg::Vst::{IAudioProcessor, IAudioProcessorTrait, IComponent, ProcessData};
use vst3::Steinberg::{
    kInternalError, kInvalidArgument, kNoInterface, kNotInitialized, kOutOfMemory, tresult,
};

/// An audio bus.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bus {
    pub(super) channels: u32,
    pub(super) active: bool,
}

/// What the audio thread has to know of a parameter.
#[derive(Clone, Copy, Debug)]
pub(super) struct ParamSpec {
    pub(super) id: u32,
    /// Events don't change it.
    pub(super) read_only: bool,
    /// Its value now, 0 to 1.
    pub(super) value: f64,
    /// It chooses a program: how many there are apart from the first.
    pub(super) program: Option<u32>,
}

/// What a processor is made of.
pub(super) struct Setup {
    pub(super) component: ComPtr<IComponent>,
    pub(super) processor: ComPtr<IAudioProcessor>,
    pub(super) inputs: Vec<Bus>,
    pub(super) outputs: Vec<Bus>,
    /// MIDI channels of each event bus.
    pub(super) event_inputs: Vec<u32>,
    /// MIDI channels of each event bus.
    pub(super) event_outputs: Vec<u32>,
    /// The plugin takes 64-bit samples only.
    pub(super) double: bool,
    pub(super) offline: bool,
    /// Frames a second.
    pub(super) rate: f64,
    pub(super) max_frames: u32,
    /// Of `IProcessContextRequirements`; all bits if the plugin has none.
    pub(super) context_requirements: u32,
    pub(super) midi: MidiMap,
    pub(super) expressions: Expressions,
    pub(super) params: Vec<ParamSpec>,
    pub(super) link: AudioEnd,
}

/// Edits taken in one block; the rest waits for the next.
const EDITS: usize = 256;
/// Parameters that the plugin can put out in one block.
const OUT_PARAMS: usize = 4096;

/// An active VST 3 plugin.
pub(super) struct Vst3Processor {
    processor: ComPtr<IAudioProcessor>,
    /// The same object, mostly. It must live as long as its processor.
    _component: ComPtr<IComponent>,
    inputs: Buses,
    outputs: Buses,
    params: Params,
    in_events: InEvents,
    in_sysex: Joiner,
    out_events: OutEvents,
    out_changes: Changes,
    context: ContextMaker,
    mode: i32,
    sample_size: i32,
    max_frames: u32,
    rate: f64,
    processing: bool,
}

// SAFETY: channels' addresses are good on any thread (contract of `bind`). The reference counts in
// `Changes` and `Params` are shared within this value only, and plugin objects may be called from
// one thread after another.
unsafe impl Send for Vst3Processor {}

impl Vst3Processor {
    pub(super) fn new(setup: Setup) -> Self {
        let params = Params::new(setup.params, setup.midi, setup.link, setup.rate);
        let channels = |buses: &[Bus]| Buses::new(buses, setup.double, setup.max_frames);
        Self {
            processor: setup.processor,
            _component: setup.component,
            inputs: channels(&setup.inputs),
            outputs: channels(&setup.outputs),
            out_changes: Changes::new(params.ids.clone(), OUT_PARAMS, 2 * EVENTS, true),
            params,
            in_events: InEvents::new(setup.event_inputs.len(), setup.expressions),
            in_sysex: Joiner::default(),
            out_events: OutEvents::new(setup.event_outputs.len()),
            context: ContextMaker::new(setup.rate, setup.context_requirements),
            mode: if setup.offline { kOffline } else { kRealtime } as i32,
            sample_size: if setup.double { kSample64 } else { kSample32 } as i32,
            max_frames: setup.max_frames,
            rate: setup.rate,
            processing: false,
        }
    }

    fn set_processing(&mut self, on: bool) -> bool {
        self.processing = on;
        // SAFETY: an active plugin, on its audio thread.
        !is_failure(unsafe { self.processor.setProcessing(on.into()) })
    }

    /// Gives the plugin edits that wait, as many as fit a block, without audio: what the SDK calls a
    /// flush. It must have been started. False: the plugin reported an error.
    pub(super) fn flush(&mut self) -> bool {
        let (transport, mut out_events) = (Transport::default(), Vec::with_capacity(EVENTS));
        let block = ProcessBlock {
            frames: 0,
            steady_time: 0,
            transport: &transport,
            events: &[],
            out_events: &mut out_events,
        };
        self.run(block, false)
    }

    fn run(&mut self, block: ProcessBlock<'_>, with_audio: bool) -> bool {
        let frames = block.frames.min(self.max_frames);
        self.give(&block);
        self.out_events.begin();
        self.out_changes.begin(frames);
        let mut context = self.context.next(block.transport, block.steady_time, frames);
        let mut data = ProcessData {
            processMode: self.mode,
            symbolicSampleSize: self.sample_size,
            numSamples: frames as i32,
            numInputs: 0,
            numOutputs: 0,
            inputs: std::ptr::null_mut(),
            outputs: std::ptr::null_mut(),
            inputParameterChanges: self.params.changes.as_ptr(),
            outputParameterChanges: self.out_changes.as_ptr(),
            inputEvents: self.in_events.as_ptr(),
            outputEvents: self.out_events.as_ptr(),
            processContext: &raw mut context,
        };
        if with_audio {
            data.numInputs = self.inputs.len() as i32;
            data.numOutputs = self.outputs.len() as i32;
            data.inputs = self.inputs.pack_inputs(frames);
            data.outputs = self.outputs.pack_outputs(frames);
        }
        // SAFETY: everything `data` points to lives until the end of this function.
        let result = unsafe { self.processor.process(&raw mut data) };
        if with_audio {
            self.outputs.finish_outputs(frames);
        }
        self.take(frames, block.out_events);
        !is_failure(result)
    }

    fn give(&mut self, block: &ProcessBlock<'_>) {
        let tempo = block.transport.tempo;
        let beats_per_frame = if tempo.is_finite() { tempo / 60.0 / self.rate } else { 0.0 };
        self.in_events.begin(block.transport.position_beats, beats_per_frame);
        self.in_sysex.begin_block();
        self.params.begin(block.frames);
        let last = block.frames.saturating_sub(1);
        for event in block.events {
            let event = Event { time: event.time.min(last), ..*event };
            match event.kind {
                kind::PARAM_VALUE => self.params.value(&event),
                kind::PARAM_MOD => self.params.modulate(&event),
                kind::SYSEX => {
                    if let Some(message) = self.in_sysex.push(&event) {
                        let bytes = &self.in_sysex.bytes()[message];
                        self.in_events.push_sysex(event.time, event.port, bytes);
                    }
                }
                _ => {
                    if let Some(controller) = self.in_events.push(&event) {
                        self.params.controller(event.time, controller);
                    }
                }
            }
        }
    }

    fn take(&mut self, frames: u32, into: &mut Vec<Event>) {
        let mut dropped = self.in_events.take_dropped() + self.params.dropped();
        dropped += self.in_sysex.lost();
        // Notes first: of parameters the last values are enough.
        dropped += self.out_events.take(frames, into);
        dropped += self.out_changes.take_dropped();
        let room = into.capacity() - into.len();
        let only_last = self.out_changes.points() > room;
        let params = &mut self.params;
        self.out_changes.each(|param, points| {
            let skip = if only_last { usize::MAX } else { 0 };
            let mut last = None;
            for (index, point) in points.enumerate() {
                last = Some(point);
                if index >= skip {
                    into.push(Event::param_value(point.0, params.ids[param], point.1));
                }
            }
            let Some((time, value)) = last else { return };
            params.put_out(param, value);
            if only_last && into.len() < into.capacity() {
                into.push(Event::param_value(time, params.ids[param], value));
            } else if only_last {
                dropped += 1;
            }
        });
        self.params.link.count_dropped(dropped);
        self.params.link.end_block(frames);
    }
}

/// Whether a result means that a call failed. Many plugins give "false" or "not implemented" where
/// they mean that there was nothing to do, and hosts live with that.
fn is_failure(result: tresult) -> bool {
    const FAILURES: [tresult; 5] =
        [kNoInterface, kInvalidArgument, kInternalError, kNotInitialized, kOutOfMemory];
    FAILURES.contains(&result)
}

impl Processor for Vst3Processor {
    fn start(&mut self) -> bool {
        self.set_processing(true)
    }

    fn stop(&mut self) {
        if self.processing {
            self.set_processing(false);
        }
        self.in_events.forget_notes();
        self.params.link.pass_on();
    }

    fn reset(&mut self) {
        if self.processing {
            self.set_processing(false);
            self.set_processing(true);
        }
        self.in_events.forget_notes();
    }

    unsafe fn bind(&mut self, buffers: Buffers) {
        self.inputs.bind(&buffers.inputs, buffers.input);
        self.outputs.bind(&buffers.outputs, buffers.output);
    }

    fn process(&mut self, block: ProcessBlock<'_>) -> bool {
        self.run(block, true)
    }
}

/// The place of the parameter that chooses programs, if there is one and no other.
fn only_program(specs: &[ParamSpec]) -> Option<usize> {
    let mut all = specs.iter().enumerate().filter(|(_, spec)| spec.program.is_some());
    let first = all.next()?.0;
    all.next().is_none().then_some(first)
}

/// Parameters on their way to the plugin.
struct Params {
    /// Sorted.
    ids: Rc<[u32]>,
    specs: Vec<ParamSpec>,
    /// Last value of each, without modulation, and its offset. VST 3 has no modulation of its own.
    values: Vec<(f64, f64)>,
    /// The parameter that a program change moves, where the plugin does not say so itself: the only
    /// one that chooses programs.
    program: Option<usize>,
    changes: Changes,
    midi: MidiMap,
    link: AudioEnd,
    dropped: u64,
}

impl Params {
    fn new(mut specs: Vec<ParamSpec>, midi: MidiMap, mut link: AudioEnd, rate: f64) -> Self {
        specs.sort_by_key(|spec| spec.id);
        specs.dedup_by_key(|spec| spec.id);
        let ids: Rc<[u32]> = specs.iter().map(|spec| spec.id).collect();
        link.prepare(&ids, rate);
        Self {
            changes: Changes::new(ids.clone(), 2 * EVENTS + EDITS, 2 * EVENTS, false),
            ids,
            values: specs.iter().map(|spec| (spec.value, 0.0)).collect(),
            program: only_program(&specs),
            specs,
            midi,
            link,
            dropped: 0,
        }
    }

    /// Empties the changes, and takes what was edited meanwhile.
    fn begin(&mut self, frames: u32) {
        self.changes.begin(frames);
        for _ in 0..EDITS {
            let Some((id, value)) = self.link.next_edit() else { return };
            match self.ids.binary_search(&id) {
                Ok(param) => {
                    self.values[param].0 = value;
                    self.changes.add(param, 0, (value + self.values[param].1).clamp(0.0, 1.0));
                }
                Err(_) => self.dropped += 1,
            }
        }
    }

    /// The parameter that an event may change. VST 3 knows no values of single notes.
    fn find(&mut self, event: &Event) -> Option<usize> {
        let of_note = event.note_id >= 0 || event.key >= 0 || event.channel >= 0;
        let param = self.ids.binary_search(&event.param).ok();
        let param = param
            .filter(|&param| !of_note && !self.specs[param].read_only && event.value.is_finite());
        self.dropped += u64::from(param.is_none());
        param
    }

    fn value(&mut self, event: &Event) {
        if let Some(param) = self.find(event) {
            self.set(param, event.time, event.value);
        }
    }

    fn modulate(&mut self, event: &Event) {
        if let Some(param) = self.find(event) {
            self.values[param].1 = event.value.clamp(-1.0, 1.0);
            self.add(param, event.time);
        }
    }

    fn controller(&mut self, time: u32, controller: Controller) {
        let Controller { bus, channel, what } = controller;
        let assigned = |number| {
            let id = self.midi.get(bus, channel, number)?;
            self.ids.binary_search(&id).ok()
        };
        match what {
            // Read-only ones too: that users don't move them may be what they are flagged for.
            ControllerKind::Value(number, value) => {
                if let Some(param) = assigned(number) {
                    self.set(param, time, value);
                }
            }
            ControllerKind::Program(program) => {
                let Some(param) = assigned(PROGRAM_CHANGE).or(self.program) else { return };
                let most = self.specs[param].program.unwrap_or(0);
                if most > 0 && u32::from(program) <= most {
                    self.set(param, time, f64::from(program) / f64::from(most));
                }
            }
        }
    }

    fn set(&mut self, param: usize, time: u32, value: f64) {
        let value = value.clamp(0.0, 1.0);
        self.values[param].0 = value;
        self.link.set(param, value, true);
        self.add(param, time);
    }

    fn add(&mut self, param: usize, time: u32) {
        let (value, offset) = self.values[param];
        if !self.changes.add(param, time, (value + offset).clamp(0.0, 1.0)) {
            self.dropped += 1;
        }
    }

    /// The plugin has put out a value.
    fn put_out(&mut self, param: usize, value: f64) {
        self.values[param].0 = value;
        self.link.set(param, value, false);
    }

    fn dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped) + self.changes.take_dropped()
    }
}

#[cfg(test)]
#[path = "processor/tests.rs"]
mod tests;
