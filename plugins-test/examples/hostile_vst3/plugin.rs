//! The plugin itself: valid, but for the fault it is created with.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};

use vst3::Steinberg::Vst::{
    IAudioProcessor, IComponent, IComponentHandler, IEditController, IMidiMapping, IUnitInfo,
};
use vst3::Steinberg::{
    FUnknown, IPluginBaseTrait, int32, kInternalError, kResultFalse, kResultOk, tresult,
};
use vst3::{Class, ComPtr};

use crate::strike::Kept;
use crate::strikes::{Entry, Memory, Strike};
use crate::what::What;

pub(crate) use crate::strikes::sleep_forever;

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
/// The ids of those of the plugin that can be any: what it does, and what is in its state.
pub(crate) const KIND: u32 = 7;
pub(crate) const VALUE: u32 = 8;
pub(crate) const EDITS: u32 = 9;
pub(crate) const PARAMS: usize = 10;
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
    /// Channels that the host has given its main buses; 0: none yet.
    pub(crate) channels: AtomicI32,
    /// Notes that sound.
    pub(crate) held: AtomicU32,
    pub(crate) handler: Mutex<Option<ComPtr<IComponentHandler>>>,
    /// What the host lent it in an earlier block.
    pub(crate) kept: Mutex<Option<Kept>>,
    /// The system exclusive message that it puts out. Never grows.
    pub(crate) sysex: Mutex<Vec<u8>>,
    pub(crate) memory: Memory,
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
        let block = if what == What::Any { 0.0 } else { BLOCK_DEFAULT / BLOCK_MAX };
        let values = [block, 1.0, 1.0, 0.5, 0.0, 0.0, 1.0, 0.0, 0.5, 0.0];
        let mut memory = Memory::default();
        if let What::Strike(strike) = what {
            strike.prepare(&mut memory);
        }
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
            channels: AtomicI32::new(0),
            held: AtomicU32::new(0),
            handler: Mutex::default(),
            kept: Mutex::default(),
            sysex: Mutex::new(Vec::with_capacity(8192)),
            memory,
            kind: PhantomData,
        }
    }

    /// Its strike, if it is for one.
    pub(crate) fn strike(&self) -> Option<Strike> {
        match self.what {
            What::Strike(strike) => Some(strike),
            What::Any => {
                let number = (self.value(KIND) * KINDS).round() as usize;
                Strike::ALL.get(number.checked_sub(1)?).copied()
            }
            _ => None,
        }
    }

    /// On entering a function; what it has to give.
    pub(crate) fn enter(&self, entry: Entry) -> tresult {
        match self.strike().is_none_or(|strike| strike.enter(entry)) {
            true => self.fine(),
            false => kInternalError,
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
            What::Any => &[BLOCK, KIND, VALUE, EDITS],
            What::OddRemaps if self.has_more_params.load(Relaxed) => &[VALUE],
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

/// The greatest value of the parameter [`KIND`].
pub(crate) const KINDS: f64 = Strike::ALL.len() as f64;

impl<K> IPluginBaseTrait for Plugin<K> {
    unsafe fn initialize(&self, _context: *mut FUnknown) -> tresult {
        // Even where hosts are forbearing, "false" here means that it can't be used.
        if self.what == What::OddSloppy { kResultOk } else { self.enter(Entry::Init) }
    }

    unsafe fn terminate(&self) -> tresult {
        self.enter(Entry::Destroy);
        *self.handler.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.fine()
    }
}

/// Bits of `restartComponent`: all that there are.
pub(crate) const EVERYTHING: int32 = 0x7fff;
