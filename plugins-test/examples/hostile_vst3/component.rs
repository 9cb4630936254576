//! The component: buses, activation, state.

use std::ffi::c_void;
use std::sync::atomic::Ordering::Relaxed;

use vst3::ComRef;
use vst3::Steinberg::Vst::SymbolicSampleSizes_::{kSample32, kSample64};
use vst3::Steinberg::Vst::{
    BusDirection, BusInfo, IAudioProcessorTrait, IComponentTrait, IoMode, MediaType, ProcessData,
    ProcessSetup, RoutingInfo, SpeakerArrangement,
};
use vst3::Steinberg::{
    IBStream, IBStreamTrait, TBool, TUID, int32, kInternalError, kInvalidArgument, kNotImplemented,
    kResultFalse, kResultOk, tresult, uint32,
};

use crate::plugin::{BLOCK, KIND, PARAMS, Plugin, sleep_forever};
use crate::strikes::Entry;
use crate::what::What;
use crate::{buses, lies, process as block};

/// Largest piece that `state-save-endless` writes, and how much it writes at most: a host has
/// better things to do with a terabyte.
const PIECE: usize = 1 << 20;
const PIECES: usize = 1 << 20;

impl<K> IComponentTrait for Plugin<K> {
    unsafe fn getControllerClassId(&self, id: *mut TUID) -> tresult {
        if !self.what.is_split() {
            return kNotImplemented;
        }
        // SAFETY: the host passes valid memory.
        unsafe { id.write(self.what.controller_id()) };
        kResultOk
    }

    unsafe fn setIoMode(&self, _mode: IoMode) -> tresult {
        kNotImplemented
    }

    unsafe fn getBusCount(&self, media: MediaType, direction: BusDirection) -> int32 {
        let is_input = buses::is_input(direction);
        match self.what {
            What::NegativeBuses | What::AllErrors => -1,
            What::MillionBuses => 1_000_000,
            what if buses::is_audio(media) => buses::audio(what, is_input).len() as int32,
            what => buses::events(what, is_input),
        }
    }

    unsafe fn getBusInfo(
        &self,
        media: MediaType,
        direction: BusDirection,
        index: int32,
        info: *mut BusInfo,
    ) -> tresult {
        let bus = match self.what {
            What::AllErrors => return kInternalError,
            What::MillionBuses => lies::bus(media, direction, index),
            what => buses::info(what, media, direction, index),
        };
        let Some(mut bus) = bus else { return kInvalidArgument };
        if buses::is_audio(media) {
            bus.channelCount = self.channels_of(index, bus.channelCount);
        }
        // SAFETY: the host passes valid memory.
        unsafe { info.write(bus) };
        kResultOk
    }

    unsafe fn getRoutingInfo(&self, _in: *mut RoutingInfo, _out: *mut RoutingInfo) -> tresult {
        kNotImplemented
    }

    unsafe fn activateBus(
        &self,
        media: MediaType,
        direction: BusDirection,
        index: int32,
        state: TBool,
    ) -> tresult {
        if buses::is_audio(media) && buses::is_input(direction) && (0..32).contains(&index) {
            let bit = 1 << index;
            if state != 0 {
                self.inactive.fetch_and(!bit, Relaxed);
            } else {
                self.inactive.fetch_or(bit, Relaxed);
            }
        }
        self.fine()
    }

    unsafe fn setActive(&self, state: TBool) -> tresult {
        if state == 0 {
            *self.kept.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = None;
            return self.enter(Entry::Deactivate);
        }
        // The latency that it was asked for in vain stays.
        if self.what != What::OddLatency {
            self.processed.store(0, Relaxed);
        }
        self.memory.forget();
        self.held.store(0, Relaxed);
        self.enter(Entry::Activate)
    }

    unsafe fn setState(&self, state: *mut IBStream) -> tresult {
        self.enter(Entry::LoadState);
        if self.what == What::AllErrors {
            return kInternalError;
        }
        // SAFETY: the host passes a stream, or null.
        match unsafe { read(state) } {
            Some(values) => {
                self.take(values);
                self.fine()
            }
            None => kResultFalse,
        }
    }

    unsafe fn getState(&self, state: *mut IBStream) -> tresult {
        self.enter(Entry::SaveState);
        match self.what {
            What::SplitStateHangs => sleep_forever(),
            What::SplitStateFails => return kInternalError,
            // SAFETY: the host passes a stream, or null.
            What::StateSaveEndless => return unsafe { write_endlessly(state) },
            What::AllErrors => return kInternalError,
            What::OddStateless => return kResultFalse,
            _ => {}
        }
        // SAFETY: the host passes a stream, or null.
        if unsafe { self.save(state) } { self.fine() } else { kResultFalse }
    }
}

impl<K> Plugin<K> {
    /// Channels of an audio bus that has so many by itself.
    fn channels_of(&self, index: int32, own: i32) -> i32 {
        match (self.arranged.load(Relaxed), self.channels.load(Relaxed)) {
            (false, _) => 0,
            (true, given) if given > 0 && index == 0 => given,
            (true, _) => own,
        }
    }

    /// Takes the channels that both main buses are to have; `None`: it is not one for that.
    ///
    /// # Safety
    ///
    /// As many arrangements as are said.
    unsafe fn take_channels(
        &self,
        inputs: (*mut SpeakerArrangement, int32),
        outputs: (*mut SpeakerArrangement, int32),
    ) -> Option<tresult> {
        if !self.what.is_wide() {
            return None;
        }
        if inputs.1 < 1 || outputs.1 < 1 {
            return Some(kResultFalse);
        }
        // SAFETY: as the caller promises.
        let (input, output) = unsafe { (*inputs.0, *outputs.0) };
        let wanted = input.count_ones() as i32;
        let fits = |most| (1..=most).contains(&wanted) && input == output;
        match self.what {
            What::Agrees => return Some(kResultOk),
            What::Grows if wanted != 2 => self.channels.store(100_000, Relaxed),
            What::OddAdapts if fits(8) => {
                self.channels.store(wanted, Relaxed);
                return Some(kResultFalse);
            }
            What::OddMonoFirst if fits(2) => self.channels.store(wanted, Relaxed),
            What::Any | What::Strike(_) if fits(8) => self.channels.store(wanted, Relaxed),
            _ => return Some(kResultFalse),
        }
        Some(self.fine())
    }

    /// Writes the parameters' values.
    ///
    /// # Safety
    ///
    /// `stream` is null or valid.
    pub(crate) unsafe fn save(&self, stream: *mut IBStream) -> bool {
        let mut bytes = vec![];
        for param in 0..PARAMS as u32 {
            bytes.extend(self.value(param).to_le_bytes());
        }
        // SAFETY: as the caller promises.
        unsafe { write(stream, &mut bytes) }
    }

    /// Takes the values of a state; but what brings the plugin that can be any back after a fault
    /// brings it back in peace.
    pub(crate) fn take(&self, values: [f64; PARAMS]) {
        for (param, value) in (0..).zip(values) {
            if self.what != What::Any || !matches!(param, BLOCK | KIND) {
                self.set(param, value);
            }
        }
    }
}

/// The parameters' values in a stream.
///
/// # Safety
///
/// `stream` is null or valid.
pub(crate) unsafe fn read(stream: *mut IBStream) -> Option<[f64; PARAMS]> {
    let mut bytes = [0_u8; 8 * PARAMS];
    let mut have = 0;
    // SAFETY: as the caller promises; the stream writes no more than it is asked for.
    unsafe {
        let stream = ComRef::from_raw(stream)?;
        while have < bytes.len() {
            let mut count = 0;
            let rest = &mut bytes[have..];
            let to = rest.as_mut_ptr().cast::<c_void>();
            if stream.read(to, rest.len() as int32, &mut count) != kResultOk || count <= 0 {
                return None;
            }
            have += count as usize;
        }
    }
    let mut values = [0.0; PARAMS];
    for (value, bytes) in values.iter_mut().zip(bytes.chunks_exact(8)) {
        *value = f64::from_le_bytes(bytes.try_into().ok()?);
    }
    Some(values)
}

/// # Safety
///
/// `stream` is null or valid.
unsafe fn write(stream: *mut IBStream, bytes: &mut [u8]) -> bool {
    let mut count = 0;
    // SAFETY: as the caller promises; the stream reads no more than it is given.
    unsafe {
        let Some(stream) = ComRef::from_raw(stream) else { return false };
        let from = bytes.as_mut_ptr().cast::<c_void>();
        stream.write(from, bytes.len() as int32, &mut count) == kResultOk
            && count as usize == bytes.len()
    }
}

/// # Safety
///
/// `stream` is null or valid.
unsafe fn write_endlessly(stream: *mut IBStream) -> tresult {
    let mut piece = vec![0x55; PIECE];
    for _ in 0..PIECES {
        // SAFETY: as the caller promises.
        if !unsafe { write(stream, &mut piece) } {
            break;
        }
    }
    kResultOk
}

impl<K> IAudioProcessorTrait for Plugin<K> {
    unsafe fn setBusArrangements(
        &self,
        inputs: *mut SpeakerArrangement,
        input_count: int32,
        outputs: *mut SpeakerArrangement,
        output_count: int32,
    ) -> tresult {
        if self.what == What::OddSloppy {
            return kNotImplemented;
        }
        // SAFETY: the host passes as many as it says.
        let taken = unsafe { self.take_channels((inputs, input_count), (outputs, output_count)) };
        if let Some(taken) = taken {
            return taken;
        }
        let same = |given: *mut SpeakerArrangement, count: int32, own: &[i32]| {
            count as usize == own.len()
                // SAFETY: the host passes as many as it says.
                && own.iter().enumerate().all(|(at, channels)| unsafe {
                    *given.add(at) == buses::arrangement(*channels)
                })
        };
        let fits = same(inputs, input_count, buses::audio(self.what, true))
            && same(outputs, output_count, buses::audio(self.what, false));
        if fits {
            self.arranged.store(true, Relaxed);
        }
        if fits { self.fine() } else { kResultFalse }
    }

    unsafe fn getBusArrangement(
        &self,
        direction: BusDirection,
        index: int32,
        arrangement: *mut SpeakerArrangement,
    ) -> tresult {
        if matches!(self.what, What::OddSloppy | What::AllErrors) {
            return kNotImplemented;
        }
        let own = buses::audio(self.what, buses::is_input(direction));
        let Some(channels) = usize::try_from(index).ok().and_then(|at| own.get(at)) else {
            return kInvalidArgument;
        };
        let channels = self.channels_of(index, *channels);
        // SAFETY: the host passes valid memory.
        unsafe { arrangement.write(buses::arrangement(channels)) };
        kResultOk
    }

    unsafe fn canProcessSampleSize(&self, size: int32) -> tresult {
        let own = if self.what == What::OddDouble { kSample64 } else { kSample32 };
        match self.what {
            What::AllErrors => kInternalError,
            _ if size == own as int32 => kResultOk,
            _ => kResultFalse,
        }
    }

    unsafe fn getLatencySamples(&self) -> uint32 {
        self.latency()
    }

    unsafe fn setupProcessing(&self, _setup: *mut ProcessSetup) -> tresult {
        if self.what == What::SetupFails { kInternalError } else { self.fine() }
    }

    unsafe fn setProcessing(&self, state: TBool) -> tresult {
        match self.what {
            What::OddSloppy => kNotImplemented,
            _ => self.enter(if state != 0 { Entry::Start } else { Entry::Stop }),
        }
    }

    unsafe fn process(&self, data: *mut ProcessData) -> tresult {
        // SAFETY: the host describes a block, or passes null.
        match unsafe { data.as_mut() } {
            // SAFETY: as above.
            Some(data) => unsafe { block::process(self, data) },
            None => kInvalidArgument,
        }
    }

    unsafe fn getTailSamples(&self) -> uint32 {
        if self.what == What::AllErrors { u32::MAX } else { 0 }
    }
}
