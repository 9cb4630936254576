//! The plugin itself: valid, but for the fault it is created with.

use std::marker::PhantomData;
use std::process;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use vst3::Steinberg::Vst::{
    IAudioProcessor, IComponent, IComponentHandler, IEditController, IMidiMapping, IUnitInfo,
};
use vst3::Steinberg::{
    FUnknown, IPluginBaseTrait, int32, kInternalError, kResultFalse, kResultOk, tresult,
};
use vst3::{Class, ComPtr};

use crate::strike::Kept;
use crate::what::What;

/// The id of the parameter `block`.
pub(crate) const BLOCK: u32 = 0;
pub(crate) const BLOCK_MAX: f64 = 1_000_000.0;
pub(crate) const BLOCK_DEFAULT: f64 = 100.0;
/// The id of the parameter `gain`.
pub(crate) const GAIN: u32 = 1;
/// The ids of what MIDI controllers move.
pub(crate) const VOLUME: u32 = 2;
pub(crate) const BEND: u32 = 3;
pub(crate) const PRESSURE: u32 = 4;
/// The ids of what chooses programs of the first and the second list.
pub(crate) const OTHER_PROGRAM: u32 = 5;
pub(crate) const PROGRAM: u32 = 6;
pub(crate) const PARAMS: usize = 7;
/// Programs of each list.
pub(crate) const PROGRAMS: usize = 5;

/// Overrides the parameter.
const BLOCK_VARIABLE: &str = "SANDRACK_HOSTILE_BLOCK";

/// Component and controller in one object.
pub(crate) struct Whole;
/// A component without its controller.
pub(crate) struct Apart;
/// A controller without its component.
pub(crate) struct Controller;

/// A plugin, or the part of one that `K` says.
pub(crate) struct Plugin<K> {
    pub(crate) what: What,
    /// Bits of the parameters' normalized values, by id.
    values: [AtomicU64; PARAMS],
    /// The environment variable.
    block_override: Option<u64>,
    /// Blocks processed since activation.
    pub(crate) processed: AtomicU64,
    /// The parameter list is another now.
    pub(crate) has_more_params: AtomicBool,
    /// Buses that are inactive: bit n, of the inputs.
    pub(crate) inactive: AtomicU32,
    /// The host has arranged its buses.
    pub(crate) arranged: AtomicBool,
    /// Notes that sound.
    pub(crate) held: AtomicU32,
    pub(crate) handler: Mutex<Option<ComPtr<IComponentHandler>>>,
    /// What the host lent it in an earlier block.
    pub(crate) kept: Mutex<Option<Kept>>,
    /// The system exclusive message that it puts out. Never grows.
    pub(crate) sysex: Mutex<Vec<u8>>,
    kind: PhantomData<K>,
}

impl Class for Plugin<Whole> {
    type Interfaces = (IComponent, IAudioProcessor, IEditController, IMidiMapping, IUnitInfo);
}

impl Class for Plugin<Apart> {
    type Interfaces = (IComponent, IAudioProcessor);
}

impl Class for Plugin<Controller> {
    type Interfaces = (IEditController,);
}

impl<K> Plugin<K> {
    pub(crate) fn new(what: What) -> Self {
        let values = [BLOCK_DEFAULT / BLOCK_MAX, 1.0, 1.0, 0.5, 0.0, 0.0, 1.0];
        Self {
            what,
            values: values.map(|value: f64| AtomicU64::new(value.to_bits())),
            block_override: std::env::var(BLOCK_VARIABLE).ok().and_then(|text| text.parse().ok()),
            processed: AtomicU64::new(0),
            has_more_params: AtomicBool::new(false),
            inactive: AtomicU32::new(match what {
                What::OddBuses | What::OddAsks => !1,
                _ => 0,
            }),
            arranged: AtomicBool::new(what != What::OddEmpty),
            held: AtomicU32::new(0),
            handler: Mutex::default(),
            kept: Mutex::default(),
            sysex: Mutex::new(Vec::with_capacity(8192)),
            kind: PhantomData,
        }
    }

    /// What calls that go well give.
    pub(crate) fn fine(&self) -> tresult {
        match self.what {
            What::AllErrors => kInternalError,
            What::OddSloppy => kResultFalse,
            _ => kResultOk,
        }
    }

    pub(crate) fn value(&self, param: u32) -> f64 {
        self.values.get(param as usize).map_or(0.0, |value| f64::from_bits(value.load(Relaxed)))
    }

    pub(crate) fn set(&self, param: u32, value: f64) {
        if let Some(place) = self.values.get(param as usize) {
            place.store(value.to_bits(), Relaxed);
        }
        if param == PROGRAM && self.what == What::OddPrograms {
            self.set(GAIN, value);
        }
    }

    /// N.
    pub(crate) fn block(&self) -> u64 {
        let parameter = (self.value(BLOCK) * BLOCK_MAX).round() as u64;
        self.block_override.unwrap_or(parameter)
    }

    /// The parameters' ids, in the order of the list.
    pub(crate) fn params(&self) -> &'static [u32] {
        match self.what {
            What::OddLatency => &[BLOCK, GAIN],
            What::OddPrograms => &[OTHER_PROGRAM, PROGRAM],
            What::OddMidiMapping => &[VOLUME, BEND, PRESSURE],
            what if what.is_odd() => &[GAIN],
            _ => &[BLOCK],
        }
    }

    pub(crate) fn handler(&self) -> Option<ComPtr<IComponentHandler>> {
        self.handler.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Latency in frames.
    pub(crate) fn latency(&self) -> u32 {
        match self.what {
            What::OddLatency if self.processed.load(Relaxed) > self.block() => 128,
            What::OddLatency => 64,
            What::AllErrors => u32::MAX,
            _ => 0,
        }
    }
}

pub(crate) fn sleep_forever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

impl<K> IPluginBaseTrait for Plugin<K> {
    unsafe fn initialize(&self, _context: *mut FUnknown) -> tresult {
        match self.what {
            What::InitFails => kInternalError,
            What::InitAborts => process::abort(),
            What::InitExits => process::exit(0),
            What::InitHangs => sleep_forever(),
            // Even where hosts are forbearing, "false" here means that it can't be used.
            What::OddSloppy => kResultOk,
            _ => self.fine(),
        }
    }

    unsafe fn terminate(&self) -> tresult {
        match self.what {
            What::TerminateAborts => process::abort(),
            What::TerminateHangs => sleep_forever(),
            _ => {}
        }
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.fine()
    }
}

/// Bits of `restartComponent`: all that there are.
pub(crate) const EVERYTHING: int32 = 0x7fff;
