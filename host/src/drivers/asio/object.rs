//! A driver as a COM object: its methods with results in place of codes.
//!
//! Everything that a driver writes is checked: names end where their memory does, counts are
//! limited, codes may be any.
//!
//! # Safety
//! An [`Object`] is made and used on one thread, its apartment's (it is not `Send`), while COM is
//! initialised there. Every pointer given to a method points to memory of the size that ASIO
//! prescribes, larger where drivers are known to write more, and outlives the call; what has to
//! outlive it (buffers, callbacks) is said at [`Object::create_buffers`]. That the driver keeps to
//! its own interface can't be checked: it is native code in this process, as it is for every host.
#![allow(unsafe_code)]

use azo_sys::{
    BufferInfo, Callbacks, ChannelInfo, ClockSource as RawClock, FutureSelector, IIASIORedecl,
    InputMonitor, ResultCode,
};
use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::ManuallyDrop;
use windows_core::{GUID, Interface};
use windows_sys::Win32::Foundation::HWND;
use windows_sys::Win32::Globalization::{CP_ACP, MultiByteToWideChar};
use windows_sys::Win32::System::Com::{CLSCTX_INPROC_SERVER, CoCreateInstance};
use windows_sys::Win32::System::LibraryLoader::{
    GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS, GET_MODULE_HANDLE_EX_FLAG_PIN, GetModuleHandleExW,
};

use super::by_hand;
use crate::drivers::ClockSource;
use crate::drivers::sizes::Sizes;

/// Why a driver did not do what it was told: a code, and its own words if it had some.
#[derive(Clone, Debug)]
pub(super) struct Refusal {
    pub(super) code: i32,
    words: String,
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let name = match ResultCode(self.code) {
            ResultCode::NOT_PRESENT => "not present",
            ResultCode::HW_MALFUNCTION => "the hardware does not work",
            ResultCode::INVALID_PARAMETER => "invalid parameter",
            ResultCode::INVALID_MODE => "not in this mode",
            ResultCode::SP_NOT_ADVANCING => "its position does not advance",
            ResultCode::NO_CLOCK => "no clock, or not at this rate",
            ResultCode::NO_MEMORY => "no memory",
            _ => "an unknown code",
        };
        write!(f, "{name}, {}", self.code)?;
        match self.words.as_str() {
            "" => Ok(()),
            words => write!(f, ": \"{words}\""),
        }
    }
}

/// A driver.
pub(super) struct Object {
    raw: IIASIORedecl,
    /// Where buffers were made: drivers may look at this until they are disposed of.
    infos: Vec<BufferInfo>,
    /// Not `Send`: it belongs to its apartment.
    here: PhantomData<*const ()>,
}

/// A channel, as its driver describes it.
pub(super) struct RawChannel {
    pub(super) name: String,
    pub(super) group: i32,
    pub(super) sample_type: i32,
}

/// The errors of ASIO: these and what lies between them.
const NOT_PRESENT: i32 = ResultCode::NOT_PRESENT.0;
const NO_MEMORY: i32 = ResultCode::NO_MEMORY.0;

/// Most that a driver may claim to have.
const MOST_CHANNELS: i32 = 1024;
const MOST_CLOCKS: usize = 64;

/// Text that ends at the first 0, or with its memory.
fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    let bytes = &bytes[..end];
    match std::str::from_utf8(bytes) {
        Ok(text) => text.trim().to_owned(),
        Err(_) => in_code_page(bytes).trim().to_owned(),
    }
}

/// Text as programs wrote it before there was UTF-8: in the code page that the system is set to.
fn in_code_page(bytes: &[u8]) -> String {
    // No code page has more than one unit for a byte.
    let mut wide = vec![0u16; bytes.len()];
    let (from, to) = (bytes.len() as i32, wide.len() as i32);
    // SAFETY: two buffers of the stated lengths.
    let length =
        unsafe { MultiByteToWideChar(CP_ACP, 0, bytes.as_ptr(), from, wide.as_mut_ptr(), to) };
    match wide.get(..usize::try_from(length).unwrap_or(0)) {
        Some(wide) if !wide.is_empty() => String::from_utf16_lossy(wide),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Keeps a driver's library in this process for good. COM takes it away with the last object, but
/// threads of some drivers go on for a moment, in code that would not be there any more.
fn keep_library(raw: &IIASIORedecl) {
    const HOW: u32 = GET_MODULE_HANDLE_EX_FLAG_FROM_ADDRESS | GET_MODULE_HANDLE_EX_FLAG_PIN;
    let mut module = std::ptr::null_mut();
    // SAFETY: an address in the library (its table of methods), a local. What can't be kept is let
    // go of as COM has it.
    unsafe { GetModuleHandleExW(HOW, std::ptr::from_ref(raw.vtable()).cast(), &mut module) };
}

impl Object {
    /// Makes a driver of this class, which is the id of its interface, too.
    pub(super) fn make(class: &GUID) -> Result<Self, String> {
        let id = windows_sys::core::GUID {
            data1: class.data1,
            data2: class.data2,
            data3: class.data3,
            data4: class.data4,
        };
        let mut made: *mut c_void = std::ptr::null_mut();
        // SAFETY: ids and the place for the pointer are locals; COM is initialised on this thread.
        let result = unsafe {
            CoCreateInstance(&id, std::ptr::null_mut(), CLSCTX_INPROC_SERVER, &id, &mut made)
        };
        if result < 0 || made.is_null() {
            made = by_hand::make(class).unwrap_or(std::ptr::null_mut());
        }
        if made.is_null() {
            return Err(match result as u32 {
                0x8004_0154 => "its software is not there (class not registered): install it anew",
                0x8007_007e | 0x8007_0002 | 0x8004_0111 => {
                    "its library can't be found: install it anew"
                }
                0x8007_00c1 => "its library is not for 64-bit programs: install the 64-bit one",
                0x8000_4002 => "it is no ASIO driver: install it anew",
                _ => return Err(format!("it can't be loaded (0x{result:08x}): install it anew")),
            }
            .to_owned());
        }
        // SAFETY: an interface of the kind asked for was given, with one reference, which is ours.
        let raw = unsafe { IIASIORedecl::from_raw(made) };
        keep_library(&raw);
        Ok(Self { raw, infos: Vec::new(), here: PhantomData })
    }

    fn checked(&self, code: ResultCode) -> Result<(), Refusal> {
        match code {
            // By the book one of two numbers; all errors are less than 0.
            ResultCode(0..) => Ok(()),
            ResultCode(code) => Err(Refusal { code, words: self.error_message() }),
        }
    }

    /// `Err`: its own words, which may be none.
    pub(super) fn init(&self, window: HWND) -> Result<(), String> {
        // SAFETY: the window outlives the object.
        match unsafe { self.raw.init(window.cast()) }.0 {
            0 => Err(self.error_message()),
            // Some answer with a code where yes or no is asked for.
            code @ NOT_PRESENT..=NO_MEMORY => {
                Err(Refusal { code, words: self.error_message() }.to_string())
            }
            // Yes is whatever is not 0: -1 as well.
            _ => Ok(()),
        }
    }

    pub(super) fn name(&self) -> String {
        // 32 bytes by the book.
        let mut bytes = [0u8; 256];
        // SAFETY: see the top of the file.
        unsafe { self.raw.get_driver_name(bytes.as_mut_ptr()) };
        text(&bytes)
    }

    pub(super) fn version(&self) -> i32 {
        // SAFETY: no arguments.
        unsafe { self.raw.get_driver_version() }
    }

    fn error_message(&self) -> String {
        // 124 bytes by the book.
        let mut bytes = [0u8; 512];
        // SAFETY: see the top of the file.
        unsafe { self.raw.get_error_message(bytes.as_mut_ptr()) };
        text(&bytes)
    }

    /// Inputs and outputs.
    pub(super) fn channels(&self) -> Result<(u32, u32), Refusal> {
        let (mut inputs, mut outputs) = (0, 0);
        // SAFETY: see the top of the file.
        self.checked(unsafe { self.raw.get_channels(&mut inputs, &mut outputs) })?;
        let limited = |count: i32| count.clamp(0, MOST_CHANNELS) as u32;
        Ok((limited(inputs), limited(outputs)))
    }

    pub(super) fn channel(&self, input: bool, number: u32) -> Result<RawChannel, Refusal> {
        #[repr(C)]
        struct Roomy {
            info: ChannelInfo,
            room: [u8; 64],
        }
        let info = ChannelInfo {
            channel: number as i32,
            is_input: input.into(),
            is_active: false.into(),
            channel_group: 0,
            sample_type: (-1).into(),
            name: [0; 32],
        };
        let mut roomy = Roomy { info, room: [0; 64] };
        // SAFETY: see the top of the file.
        self.checked(unsafe { self.raw.get_channel_info((&raw mut roomy).cast()) })?;
        let ChannelInfo { channel_group, sample_type, name, .. } = roomy.info;
        Ok(RawChannel { name: text(&name), group: channel_group, sample_type: sample_type.0 })
    }

    /// `Ok(None)`: there is no size in what it says.
    pub(super) fn sizes(&self) -> Result<Option<Sizes>, Refusal> {
        let (mut min, mut max, mut preferred, mut granularity) = (0, 0, 0, 0);
        // SAFETY: see the top of the file.
        self.checked(unsafe {
            self.raw.get_buffer_size(&mut min, &mut max, &mut preferred, &mut granularity)
        })?;
        Ok(Sizes::stated(min, max, preferred, granularity))
    }

    /// At which rate it runs, in Hz; 0: it does not say.
    pub(super) fn rate(&self) -> u32 {
        let mut rate = 0.0;
        // SAFETY: see the top of the file.
        match self.checked(unsafe { self.raw.get_sample_rate(&mut rate) }) {
            Ok(()) => rate_in_hz(rate),
            Err(_) => 0,
        }
    }

    pub(super) fn can_rate(&self, rate: u32) -> Result<(), Refusal> {
        // SAFETY: no pointers.
        self.checked(unsafe { self.raw.can_sample_rate(f64::from(rate)) })
    }

    pub(super) fn set_rate(&self, rate: u32) -> Result<(), Refusal> {
        // SAFETY: no pointers.
        self.checked(unsafe { self.raw.set_sample_rate(f64::from(rate)) })
    }

    /// In frames, in and out. `None`: it does not say.
    pub(super) fn latency(&self) -> Option<(u32, u32)> {
        let (mut input, mut output) = (0, 0);
        // SAFETY: see the top of the file.
        self.checked(unsafe { self.raw.get_latencies(&mut input, &mut output) }).ok()?;
        // Half a minute: what is more is nonsense, and would be added to what is shown.
        let sensible = |frames: i32| u32::try_from(frames).ok().filter(|n| *n < 1 << 22);
        Some((sensible(input)?, sensible(output)?))
    }

    /// What its clock may follow; none, if it does not say.
    pub(super) fn clocks(&self) -> Vec<ClockSource> {
        let none = RawClock {
            index: 0,
            associated_channel: -1,
            associated_group: -1,
            is_current_source: false.into(),
            name: [0; 32],
        };
        let mut clocks = vec![none; MOST_CLOCKS];
        // Twice the room that it is told of.
        let mut count = MOST_CLOCKS as i32 / 2;
        // SAFETY: see the top of the file.
        let code = unsafe { self.raw.get_clock_sources(clocks.as_mut_ptr(), &mut count) };
        if self.checked(code).is_err() {
            return Vec::new();
        }
        clocks.truncate(usize::try_from(count).unwrap_or(0));
        let source = |clock: RawClock| ClockSource {
            index: clock.index,
            name: text(&clock.name),
            current: clock.is_current_source.0 != 0,
        };
        clocks.into_iter().map(source).collect()
    }

    pub(super) fn set_clock(&self, index: i32) -> Result<(), Refusal> {
        // SAFETY: no pointers.
        self.checked(unsafe { self.raw.set_clock_source(index) })
    }

    pub(super) fn open_panel(&self) -> Result<(), Refusal> {
        // SAFETY: no pointers.
        self.checked(unsafe { self.raw.control_panel() })
    }

    pub(super) fn can_monitor(&self) -> bool {
        let can = FutureSelector::CAN_INPUT_MONITOR;
        // SAFETY: this selector takes no argument. 0 is no yes here: drivers that do nothing in this
        // method answer with it.
        unsafe { self.raw.future(can, std::ptr::null_mut()) == ResultCode::SUCCESS }
    }

    /// Leads an input to an output, at full level, or no longer.
    pub(super) fn monitor(&self, input: u32, output: u32, on: bool) -> Result<(), Refusal> {
        const UNITY: i32 = 0x2000_0000;
        const MIDDLE: i32 = i32::MAX / 2;
        let mut how = InputMonitor {
            input: input as i32,
            output: output as i32,
            gain: UNITY,
            state: on.into(),
            pan: MIDDLE,
        };
        let set = FutureSelector::SET_INPUT_MONITOR;
        // SAFETY: the struct that this selector takes.
        self.checked(unsafe { self.raw.future(set, (&raw mut how).cast()) })
    }

    /// Makes two buffers for each channel (direction, number). What comes back points to the
    /// driver's memory, good until the buffers are disposed of or the object is gone. The callbacks
    /// are static, since not all drivers stop when told.
    pub(super) fn create_buffers(
        &mut self,
        channels: &[(bool, u32)],
        frames: u32,
        callbacks: &'static Callbacks,
    ) -> Result<Vec<[*mut c_void; 2]>, Refusal> {
        let info = |&(input, number): &(bool, u32)| BufferInfo {
            is_input: input.into(),
            channel_num: number as i32,
            buffers: [std::ptr::null_mut(); 2],
        };
        self.infos = channels.iter().map(info).collect();
        // SAFETY: the list is ours and kept until the buffers are gone; callbacks are static, and
        // drivers only read them.
        let code = unsafe {
            self.raw.create_buffers(
                self.infos.as_mut_ptr(),
                self.infos.len() as i32,
                frames as i32,
                std::ptr::from_ref(callbacks).cast_mut(),
            )
        };
        self.checked(code)?;
        Ok(self.infos.iter().map(|info| info.buffers).collect())
    }

    pub(super) fn dispose_buffers(&self) -> Result<(), Refusal> {
        // SAFETY: no pointers. Who may use the buffers was stopped before.
        self.checked(unsafe { self.raw.dispose_buffers() })
    }

    pub(super) fn start(&self) -> Result<(), Refusal> {
        // SAFETY: no pointers.
        self.checked(unsafe { self.raw.start() })
    }

    pub(super) fn stop(&self) -> Result<(), Refusal> {
        // SAFETY: no pointers.
        self.checked(unsafe { self.raw.stop() })
    }

    /// Whether it wants to be told when output is ready.
    pub(super) fn takes_output_ready(&self) -> bool {
        // SAFETY: no pointers.
        self.checked(unsafe { self.raw.output_ready() }).is_ok()
    }

    /// For the driver's own callback.
    pub(super) fn for_callback(&self) -> FromCallback {
        // SAFETY: borrowed without a reference of its own: it is only used while the stream is in
        // its slot, which it leaves before the object goes.
        FromCallback(ManuallyDrop::new(unsafe { IIASIORedecl::from_raw(self.raw.as_raw()) }))
    }
}

/// What a driver may be asked from its callback, on whatever thread that is.
pub(super) struct FromCallback(ManuallyDrop<IIASIORedecl>);

// SAFETY: ASIO prescribes that these two methods may be called from the callback. No reference is
// counted: it is never released here.
unsafe impl Send for FromCallback {}

impl FromCallback {
    pub(super) fn output_ready(&self) {
        // SAFETY: no pointers; the object is there (see `Object::for_callback`).
        let _ = unsafe { self.0.output_ready() };
    }

    /// Position and time stamp of the half that is played now.
    pub(super) fn position(&self) -> Option<[azo_sys::utils::I64Split; 2]> {
        let (mut position, mut stamp) = Default::default();
        // SAFETY: as above, with two locals.
        match unsafe { self.0.get_sample_position(&mut position, &mut stamp) } {
            ResultCode(0..) => Some([position, stamp]),
            _ => None,
        }
    }
}

/// Whether a stated rate means this one: some drivers measure theirs. The smallest change that is
/// chosen in earnest, film's slowing down of video, is one in a thousand.
pub(super) fn is_rate(stated: u32, rate: u32) -> bool {
    u64::from(stated.abs_diff(rate)) * 2000 <= u64::from(rate)
}

/// Rates that are usual, and that drivers are asked for.
pub(super) const RATES: [u32; 16] = [
    8_000, 11_025, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000, 64_000, 88_200, 96_000, 176_400,
    192_000, 352_800, 384_000, 768_000,
];

/// A rate as drivers state it; one that is measured becomes the usual one that is meant. 0: none.
pub(super) fn rate_in_hz(rate: f64) -> u32 {
    if !(1.0..10_000_000.0).contains(&rate) {
        return 0;
    }
    let rate = rate.round() as u32;
    RATES.into_iter().find(|usual| is_rate(rate, *usual)).unwrap_or(rate)
}

#[cfg(test)]
mod tests {
    use super::{rate_in_hz, text};

    #[test]
    fn a_measured_rate_is_the_usual_one_that_is_meant() {
        for (stated, meant) in [
            (48_000.0, 48_000),
            (48_011.3, 48_000),
            (47_952.05, 47_952),
            (44_099.6, 44_100),
            (1_600.0, 1_600),
            (0.0, 0),
            (-1.0, 0),
            (f64::NAN, 0),
            (f64::INFINITY, 0),
        ] {
            assert_eq!(rate_in_hz(stated), meant, "{stated}");
        }
    }

    #[test]
    fn names_end_at_their_0_or_with_their_memory_and_may_be_in_the_code_page() {
        assert_eq!(text(b"Line 1\0xxxx"), "Line 1");
        assert_eq!(text(b" no end "), "no end");
        assert_eq!(text(b"\0"), "");
        assert_eq!(text("Kopfh\u{f6}rer\0".as_bytes()), "Kopfh\u{f6}rer");
        // One byte for that letter: which letter it is depends on the system, but it is one.
        let text = text(b"Kopfh\xf6rer\0");
        assert_eq!(text.chars().count(), 9, "{text}");
        assert!(text.starts_with("Kopfh") && text.ends_with("rer"), "{text}");
    }
}
