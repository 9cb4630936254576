use super::*;
use crate::audio::Packed;
use crate::event::transport_flags;
use crate::format::Transport;
use crate::format::vst3::link::{MainEnd, link};
use std::sync::{Arc, Mutex};
use vst3::Steinberg::Vst::{
    BusDirection, BusInfo, IAudioProcessorTrait, IComponentTrait, IParamValueQueueTrait,
    IParameterChangesTrait, IoMode, MediaType, ProcessSetup, RoutingInfo, SpeakerArrangement,
};
use vst3::Steinberg::{
    FUnknown, IBStream, IPluginBaseTrait, TBool, TUID, int32, kNotImplemented, kResultFalse,
    kResultOk, uint32,
};
use vst3::{Class, ComRef, ComWrapper};

type OnProcess = dyn Fn(&mut ProcessData) -> tresult;

/// A plugin that does in `process` what a test says.
struct Fake {
    on_process: Box<OnProcess>,
    processing: Mutex<Vec<bool>>,
    answer: tresult,
}

impl Class for Fake {
    type Interfaces = (IComponent, IAudioProcessor);
}

impl IPluginBaseTrait for Fake {
    unsafe fn initialize(&self, _: *mut FUnknown) -> tresult {
        kResultOk
    }
    unsafe fn terminate(&self) -> tresult {
        kResultOk
    }
}

impl IComponentTrait for Fake {
    unsafe fn getControllerClassId(&self, _: *mut TUID) -> tresult {
        kNotImplemented
    }
    unsafe fn setIoMode(&self, _: IoMode) -> tresult {
        kNotImplemented
    }
    unsafe fn getBusCount(&self, _: MediaType, _: BusDirection) -> int32 {
        0
    }
    unsafe fn getBusInfo(
        &self,
        _: MediaType,
        _: BusDirection,
        _: int32,
        _: *mut BusInfo,
    ) -> tresult {
        kNotImplemented
    }
    unsafe fn getRoutingInfo(&self, _: *mut RoutingInfo, _: *mut RoutingInfo) -> tresult {
        kNotImplemented
    }
    unsafe fn activateBus(&self, _: MediaType, _: BusDirection, _: int32, _: TBool) -> tresult {
        kNotImplemented
    }
    unsafe fn setActive(&self, _: TBool) -> tresult {
        kResultOk
    }
    unsafe fn setState(&self, _: *mut IBStream) -> tresult {
        kNotImplemented
    }
    unsafe fn getState(&self, _: *mut IBStream) -> tresult {
        kNotImplemented
    }
}

impl IAudioProcessorTrait for Fake {
    unsafe fn setBusArrangements(
        &self,
        _: *mut SpeakerArrangement,
        _: int32,
        _: *mut SpeakerArrangement,
        _: int32,
    ) -> tresult {
        kNotImplemented
    }
    unsafe fn getBusArrangement(
        &self,
        _: BusDirection,
        _: int32,
        _: *mut SpeakerArrangement,
    ) -> tresult {
        kNotImplemented
    }
    unsafe fn canProcessSampleSize(&self, _: int32) -> tresult {
        kResultOk
    }
    unsafe fn getLatencySamples(&self) -> uint32 {
        0
    }
    unsafe fn setupProcessing(&self, _: *mut ProcessSetup) -> tresult {
        kResultOk
    }
    unsafe fn setProcessing(&self, state: TBool) -> tresult {
        self.processing.lock().unwrap().push(state != 0);
        self.answer
    }
    unsafe fn process(&self, data: *mut ProcessData) -> tresult {
        // SAFETY: the host's data, valid during the call.
        (self.on_process)(unsafe { &mut *data })
    }
    unsafe fn getTailSamples(&self) -> uint32 {
        0
    }
}

/// A processor of a fake plugin, with its memory and the main thread's end.
struct Rig {
    processor: Vst3Processor,
    main: MainEnd,
    fake: ComWrapper<Fake>,
    input: Packed,
    output: Packed,
}

const PARAMS: [ParamSpec; 4] = [
    ParamSpec { id: 40, read_only: false, value: 0.0, program: Some(4) },
    ParamSpec { id: 10, read_only: false, value: 0.5, program: None },
    ParamSpec { id: 20, read_only: true, value: 0.0, program: None },
    ParamSpec { id: 30, read_only: false, value: 0.25, program: None },
];

impl Rig {
    fn new(on_process: impl Fn(&mut ProcessData) -> tresult + 'static) -> Self {
        Self::answering(kResultOk, false, on_process)
    }

    fn answering(
        answer: tresult,
        double: bool,
        on_process: impl Fn(&mut ProcessData) -> tresult + 'static,
    ) -> Self {
        let on_process = Box::new(on_process);
        let fake = ComWrapper::new(Fake { on_process, processing: Mutex::default(), answer });
        let (main, audio) = link(Arc::new(|| {}));
        let stereo = Bus { channels: 2, active: true };
        let mut midi = MidiMap::new(1);
        midi.set(0, 3, 74, 10);
        midi.set(0, 3, 129, 30);
        let mut processor = Vst3Processor::new(Setup {
            component: fake.to_com_ptr().unwrap(),
            processor: fake.to_com_ptr().unwrap(),
            inputs: vec![stereo],
            outputs: vec![stereo],
            event_inputs: vec![16],
            event_outputs: vec![16],
            double,
            offline: true,
            rate: 48_000.0,
            max_frames: 64,
            context_requirements: u32::MAX,
            midi,
            expressions: Expressions::default(),
            params: PARAMS.to_vec(),
            link: audio,
        });
        let (mut input, mut output) = (Packed::new(2, 64), Packed::new(2, 64));
        let buffers = Buffers {
            inputs: vec![2],
            input: input.as_mut_ptr(),
            outputs: vec![2],
            output: output.as_mut_ptr(),
        };
        // SAFETY: both live as long as the processor, and are not touched while it runs.
        unsafe { processor.bind(buffers) };
        Self { processor, main, fake, input, output }
    }

    fn run(&mut self, events: &[Event]) -> (bool, Vec<Event>) {
        let mut out_events = Vec::with_capacity(EVENTS);
        let transport = Transport {
            flags: transport_flags::PLAYING,
            tempo: 120.0,
            position_beats: 2.0,
            ..Transport::default()
        };
        let done = self.processor.process(ProcessBlock {
            frames: 64,
            steady_time: 640,
            transport: &transport,
            events,
            out_events: &mut out_events,
        });
        (done, out_events)
    }
}

/// All points that a plugin is given, by parameter.
fn points(data: &ProcessData) -> Vec<(u32, i32, f64)> {
    let mut all = vec![];
    // SAFETY: the host's lists, valid during the call; valid pointers.
    unsafe {
        let changes = ComRef::from_raw(data.inputParameterChanges).unwrap();
        for index in 0..changes.getParameterCount() {
            let queue = ComRef::from_raw(changes.getParameterData(index)).unwrap();
            for point in 0..queue.getPointCount() {
                let (mut time, mut value) = (0, 0.0);
                assert_eq!(queue.getPoint(point, &mut time, &mut value), kResultOk);
                all.push((queue.getParameterId(), time, value));
            }
        }
    }
    all
}

/// The points that a plugin gets when these events come.
fn given(rig: impl FnOnce(&mut Rig), events: &[Event]) -> (Vec<(u32, i32, f64)>, MainEnd) {
    let seen = Arc::new(Mutex::new(vec![]));
    let to = seen.clone();
    let mut made = Rig::new(move |data| {
        *to.lock().unwrap() = points(data);
        kResultOk
    });
    rig(&mut made);
    assert!(made.run(events).0);
    let seen = std::mem::take(&mut *seen.lock().unwrap());
    (seen, made.main)
}

fn taken(main: &mut MainEnd) -> Vec<(u32, f64, bool)> {
    std::iter::from_fn(|| main.take()).collect()
}

#[test]
fn parameters_are_set_at_their_time_within_their_range() {
    let events = [
        Event::param_value(0, 10, 0.125),
        Event::param_value(9, 30, -3.0),
        Event::param_value(63, 10, 7.0),
        Event::param_value(900, 10, 0.5),
        // Read-only, unknown, of one note, not a number.
        Event::param_value(0, 20, 0.5),
        Event::param_value(0, 11, 0.5),
        Event { key: 60, ..Event::param_value(0, 10, 0.5) },
        Event::param_value(0, 10, f64::NAN),
    ];
    let (points, mut main) = given(|_| {}, &events);
    assert_eq!(points, [(10, 0, 0.125), (10, 63, 1.0), (10, 63, 0.5), (30, 9, 0.0)]);
    assert_eq!(main.take_dropped(), 4);
    assert_eq!(taken(&mut main), [(10, 0.5, true), (30, 0.0, true)]);
}

#[test]
fn modulation_is_an_offset_from_the_value() {
    let modulate =
        |time, amount| Event { kind: kind::PARAM_MOD, ..Event::param_value(time, 10, amount) };
    let events =
        [modulate(1, 0.25), Event::param_value(2, 10, 0.125), modulate(3, -1.0), modulate(4, 0.0)];
    let (points, mut main) = given(|_| {}, &events);
    assert_eq!(points, [(10, 1, 0.75), (10, 2, 0.375), (10, 3, 0.0), (10, 4, 0.125)]);
    assert_eq!(taken(&mut main), [(10, 0.125, true)], "the controller sees no modulation");
}

#[test]
fn controllers_move_the_parameters_assigned_to_them() {
    let midi = |time, bytes| Event { midi: bytes, ..Event::new(kind::MIDI, time) };
    let events = [
        midi(5, [0xb3, 74, 127, 0]),
        midi(6, [0xb2, 74, 64, 0]), // of another channel
        midi(7, [0xe3, 0, 0, 0]),
        midi(8, [0xc0, 3, 0, 0]),
        midi(9, [0xc0, 5, 0, 0]), // there are five programs
    ];
    let (points, _) = given(|_| {}, &events);
    assert_eq!(points, [(10, 5, 1.0), (30, 7, 0.0), (40, 8, 0.75)]);
}

#[test]
fn edits_come_first_and_too_many_for_a_block_come_in_the_next() {
    let (points, mut main) = given(
        |rig| {
            rig.main.edit(30, 0.75);
            rig.main.edit(11, 0.75);
        },
        &[Event::param_value(0, 30, 0.5)],
    );
    assert_eq!(points, [(30, 0, 0.75), (30, 0, 0.5)]);
    assert_eq!(main.take_dropped(), 1);
}

#[test]
fn what_the_plugin_puts_out_reaches_the_host_and_the_controller() {
    let mut rig = Rig::new(|data| {
        // SAFETY: the host's list, valid during the call; valid pointers.
        unsafe {
            let changes = ComRef::from_raw(data.outputParameterChanges).unwrap();
            let queue = |id: u32| ComRef::from_raw(changes.addParameterData(&id, &mut 0)).unwrap();
            queue(20).addPoint(40, 0.5, &mut 0);
            queue(10).addPoint(63, 0.25, &mut 0);
            queue(20).addPoint(20, 2.0, &mut 0);
            queue(20).addPoint(20, f64::NAN, &mut 0);
            queue(99).addPoint(0, 0.5, &mut 0);
        }
        kResultOk
    });
    let (done, out) = rig.run(&[]);
    assert!(done);
    let seen: Vec<_> = out.iter().map(|event| (event.param, event.time, event.value)).collect();
    assert_eq!(seen, [(20, 20, 1.0), (20, 40, 0.5), (10, 63, 0.25)]);
    assert!(out.iter().all(|event| event.kind == kind::PARAM_VALUE));
    assert_eq!(taken(&mut rig.main), [(20, 0.5, false), (10, 0.25, false)]);
    assert_eq!(rig.main.take_dropped(), 2);
}

#[test]
fn only_last_values_are_put_out_where_there_is_no_room_for_all() {
    let mut rig = Rig::new(|data| {
        // SAFETY: the host's list, valid during the call; valid pointers.
        unsafe {
            let changes = ComRef::from_raw(data.outputParameterChanges).unwrap();
            for id in [10_u32, 20, 30] {
                let queue = ComRef::from_raw(changes.addParameterData(&id, &mut 0)).unwrap();
                for n in 0..1000 {
                    queue.addPoint(n % 64, f64::from(n) / 1000.0, &mut 0);
                }
            }
        }
        kResultOk
    });
    let (_, out) = rig.run(&[]);
    assert_eq!(out.iter().map(|event| event.param).collect::<Vec<_>>(), [10, 20, 30]);
}

#[test]
fn audio_passes_in_the_size_that_the_plugin_takes() {
    for double in [false, true] {
        let mut rig = Rig::answering(kResultOk, double, move |data| {
            let size = if double { kSample64 } else { kSample32 };
            assert_eq!(data.symbolicSampleSize, size as i32);
            assert_eq!(data.processMode, kOffline as i32);
            assert_eq!((data.numInputs, data.numOutputs, data.numSamples), (1, 1, 64));
            // SAFETY: the host's buffers, valid during the call.
            unsafe {
                let (input, output) = (&(*data.inputs).__field0, &(*data.outputs).__field0);
                for channel in 0..2 {
                    for frame in 0..64 {
                        if double {
                            let sample = *(*input.channelBuffers64.add(channel)).add(frame);
                            *(*output.channelBuffers64.add(channel)).add(frame) = sample / 2.0;
                        } else {
                            let sample = *(*input.channelBuffers32.add(channel)).add(frame);
                            *(*output.channelBuffers32.add(channel)).add(frame) = sample / 2.0;
                        }
                    }
                }
            }
            kResultOk
        });
        for (frame, sample) in rig.input.channel_mut(1, 64).iter_mut().enumerate() {
            *sample = frame as f32;
        }
        assert!(rig.run(&[]).0);
        let expected: Vec<f32> = (0..64).map(|frame| frame as f32 / 2.0).collect();
        assert_eq!(rig.output.channel(1, 64), expected);
        assert_eq!(rig.output.channel(0, 64), [0.0; 64]);
    }
}

#[test]
fn the_transport_comes_with_every_block() {
    let mut rig = Rig::new(|data| {
        // SAFETY: the host's context, valid during the call.
        let context = unsafe { *data.processContext };
        assert_eq!((context.tempo, context.projectTimeMusic), (120.0, 2.0));
        assert_eq!(context.continousTimeSamples, 640);
        kResultOk
    });
    assert!(rig.run(&[]).0);
}

#[test]
fn only_real_failures_fail_a_block_or_a_start() {
    for (result, fine) in [
        (kResultOk, true),
        (kResultFalse, true),
        (kNotImplemented, true),
        (kInvalidArgument, false),
        (kInternalError, false),
        (kNotInitialized, false),
        (kOutOfMemory, false),
    ] {
        let mut rig = Rig::answering(result, false, move |_| result);
        assert_eq!(rig.processor.start(), fine, "{result}");
        assert_eq!(rig.run(&[]).0, fine, "{result}");
    }
}

#[test]
fn a_reset_stops_and_starts() {
    let mut rig = Rig::new(|_| kResultOk);
    rig.processor.reset();
    assert!(rig.processor.start());
    rig.processor.reset();
    rig.processor.stop();
    rig.processor.stop();
    assert_eq!(*rig.fake.processing.lock().unwrap(), [true, false, true, false]);
}
