//! In a worker: writes down where an exception hit that is about to end the process.
//!
//! The handler sees exceptions before whoever may handle them (a plugin's own handler, say), so the
//! last one that could end a process is what is kept; the host asks for it only if the process was
//! ended by that very exception. A fast failure (`abort`) and a damaged heap show themselves to no
//! handler: of these the host knows the code only.
//!
//! # Safety
//! `unsafe` here installs the handler, and reads what the system passes it. The handler allocates
//! nothing, touches atomics and bytes in a mapping that is never unmapped, and reads the stack it
//! interrupted by way of the system (`ReadProcessMemory`), which answers with an error where there
//! is no memory.
#![allow(unsafe_code)]

use super::handles::Handle;
use super::memory::{Access, Mapping};
use crate::shm::crash_page::{CrashPage, CrashView, LEN, MAPS, STACK, STACK_AT, state};
use std::ffi::c_void;
use std::fmt::{self, Write};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use windows_sys::Win32::Foundation::{
    EXCEPTION_ACCESS_VIOLATION, EXCEPTION_ARRAY_BOUNDS_EXCEEDED, EXCEPTION_BREAKPOINT,
    EXCEPTION_DATATYPE_MISALIGNMENT, EXCEPTION_ILLEGAL_INSTRUCTION, EXCEPTION_IN_PAGE_ERROR,
    EXCEPTION_INT_DIVIDE_BY_ZERO, EXCEPTION_INT_OVERFLOW, EXCEPTION_NONCONTINUABLE_EXCEPTION,
    EXCEPTION_PRIV_INSTRUCTION, EXCEPTION_STACK_OVERFLOW, HMODULE, NTSTATUS,
};
use windows_sys::Win32::System::Diagnostics::Debug::{
    AddVectoredExceptionHandler, CONTEXT, EXCEPTION_CONTINUE_SEARCH, EXCEPTION_POINTERS,
    ReadProcessMemory, SetUnhandledExceptionFilter,
};
use windows_sys::Win32::System::ProcessStatus::{
    K32EnumProcessModules, K32GetModuleFileNameExW, K32GetModuleInformation, MODULEINFO,
};
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetCurrentThreadId, SetThreadStackGuarantee, TerminateProcess,
};

/// What ends a process unless somebody handles it.
const FATAL: [NTSTATUS; 12] = [
    EXCEPTION_ACCESS_VIOLATION,
    EXCEPTION_ARRAY_BOUNDS_EXCEEDED,
    EXCEPTION_BREAKPOINT,
    EXCEPTION_DATATYPE_MISALIGNMENT,
    EXCEPTION_ILLEGAL_INSTRUCTION,
    EXCEPTION_IN_PAGE_ERROR,
    EXCEPTION_INT_DIVIDE_BY_ZERO,
    EXCEPTION_INT_OVERFLOW,
    EXCEPTION_NONCONTINUABLE_EXCEPTION,
    EXCEPTION_PRIV_INSTRUCTION,
    EXCEPTION_STACK_OVERFLOW,
    // A C++ exception, which is handled more often than not.
    0xE06D_7363_u32 as NTSTATUS,
];

/// Bytes of stack that are left for the handler when the stack has overflowed.
const RESERVE: u32 = 32 * 1024;
/// Libraries that are told.
const MODULES: usize = 512;

static PAGE: AtomicPtr<CrashPage> = AtomicPtr::new(std::ptr::null_mut());
static MAPS_TO: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static MAIN: AtomicU32 = AtomicU32::new(0);
static AUDIO: AtomicU32 = AtomicU32::new(0);
/// The thread that is in the handler.
static OWNER: AtomicU32 = AtomicU32::new(0);

/// Catches exceptions from now on; called on the main thread. The memory stays mapped for ever.
pub fn install(handle: Handle) -> io::Result<CrashView> {
    let mapping = Arc::new(Mapping::from_handle_unlocked(handle, LEN, Access::ReadWrite)?);
    let view = CrashView::new(Arc::clone(&mapping))?;
    std::mem::forget(mapping);
    PAGE.store((view.page() as *const CrashPage).cast_mut(), Ordering::Release);
    MAPS_TO.store(view.maps_ptr(), Ordering::Release);
    MAIN.store(own_number(), Ordering::Release);
    keep_reserve();
    // SAFETY: as below.
    unsafe { SetUnhandledExceptionFilter(Some(end_at_once)) };
    // SAFETY: a function that lives for ever, of the signature that is asked for.
    match unsafe { AddVectoredExceptionHandler(1, Some(on_exception)) }.is_null() {
        true => Err(io::Error::last_os_error()),
        false => Ok(view),
    }
}

/// Called by the audio thread as it begins.
pub fn enter_audio_thread() {
    keep_reserve();
    AUDIO.store(own_number(), Ordering::Release);
}

/// In the host: asks a worker's thread where it is. Nobody can be asked that here.
pub fn ask_where(_process: u32, _thread: super::thread::ThreadId) {}

fn own_number() -> u32 {
    // SAFETY: takes nothing.
    unsafe { GetCurrentThreadId() }
}

/// Keeps some of the calling thread's stack for the handler.
fn keep_reserve() {
    let mut bytes = RESERVE;
    // SAFETY: the number is a local.
    unsafe { SetThreadStackGuarantee(&mut bytes) };
}

/// Nobody has handled it. What the system would do now (reports, looking for debuggers) takes so long
/// that the plugin would seem to hang, and be ended for that. A debugger that is attached is asked
/// before this.
unsafe extern "system" fn end_at_once(exception: *const EXCEPTION_POINTERS) -> i32 {
    // SAFETY: the system passes both, good for the time of this call; ends this process.
    unsafe {
        let code = (*(*exception).ExceptionRecord).ExceptionCode;
        TerminateProcess(GetCurrentProcess(), code as u32);
    }
    EXCEPTION_CONTINUE_SEARCH
}

unsafe extern "system" fn on_exception(exception: *mut EXCEPTION_POINTERS) -> i32 {
    // SAFETY: set to a page that stays mapped.
    let page = unsafe { PAGE.load(Ordering::Acquire).as_ref() };
    // SAFETY: the system passes all three, good for the time of this call.
    let (record, context) = unsafe {
        let both = &*exception;
        (&*both.ExceptionRecord, &*both.ContextRecord)
    };
    let me = own_number();
    if let Some(page) = page
        && FATAL.contains(&record.ExceptionCode)
        // Another thread is at it, or this one in the middle of `write`.
        && OWNER.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire).is_ok()
    {
        let address = match record.ExceptionCode {
            EXCEPTION_ACCESS_VIOLATION | EXCEPTION_IN_PAGE_ERROR => record.ExceptionInformation[1],
            _ => record.ExceptionAddress as usize,
        };
        write(page, me, record.ExceptionCode, address as u64, context);
        OWNER.store(0, Ordering::Release);
    }
    EXCEPTION_CONTINUE_SEARCH
}

fn write(page: &CrashPage, me: u32, code: NTSTATUS, address: u64, context: &CONTEXT) {
    page.state.store(state::WRITING, Ordering::Relaxed);
    page.signal.store(code, Ordering::Relaxed);
    page.was_sent.store(0, Ordering::Relaxed);
    page.address.store(address, Ordering::Relaxed);
    let thread = match me {
        _ if me == AUDIO.load(Ordering::Relaxed) => 1,
        _ if me == MAIN.load(Ordering::Relaxed) => 2,
        _ => 0,
    };
    page.thread.store(thread, Ordering::Relaxed);
    let registers = registers(context);
    for (word, register) in page.registers.iter().zip(registers) {
        word.store(register, Ordering::Relaxed);
    }
    page.stack.store(save_stack(page, registers[1]), Ordering::Relaxed);
    page.maps.store(save_modules(), Ordering::Relaxed);
    // Release, with the load in `CrashView::read`.
    page.state.store(state::WRITTEN, Ordering::Release);
}

/// Program counter, stack pointer, frame pointer, return address.
#[cfg(target_arch = "x86_64")]
fn registers(context: &CONTEXT) -> [u64; 4] {
    [context.Rip, context.Rsp, context.Rbp, 0]
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &CONTEXT) -> [u64; 4] {
    // SAFETY: both parts of the union are the registers, by number and by name.
    let named = unsafe { context.Anonymous.Anonymous };
    [context.Pc, context.Sp, named.Fp, named.Lr]
}

/// Copies the stack's top, as far as there is one. How many bytes.
fn save_stack(page: &CrashPage, from: u64) -> u32 {
    let to = (&raw const *page).cast_mut().cast::<u8>().wrapping_add(STACK_AT);
    let (mut done, from) = (0, from as usize);
    while done < STACK {
        // Up to the end of a page: beyond it there may be nothing.
        let at = from.wrapping_add(done);
        let some = (4096 - at % 4096).min(STACK - done);
        // SAFETY: the system reads the memory, or says that there is none; it writes to the mapping,
        // which has room for all of it behind the page.
        let read = unsafe {
            let (at, to) = (at as *const c_void, to.add(done).cast());
            ReadProcessMemory(GetCurrentProcess(), at, to, some, std::ptr::null_mut())
        };
        if read == 0 {
            break;
        }
        done += some;
    }
    done as u32
}

/// Text in memory that was there before.
struct Text {
    at: *mut u8,
    len: usize,
}

impl Write for Text {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.len + text.len() > MAPS {
            return Err(fmt::Error);
        }
        // SAFETY: there are MAPS bytes at `at`.
        unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), self.at.add(self.len), text.len()) };
        self.len += text.len();
        Ok(())
    }
}

/// Writes down which library lies where, in the way of Linux. How many bytes.
fn save_modules() -> u32 {
    let mut text = Text { at: MAPS_TO.load(Ordering::Relaxed), len: 0 };
    let mut modules: [HMODULE; MODULES] = [std::ptr::null_mut(); MODULES];
    let mut bytes = 0;
    // SAFETY: fills locals whose sizes it is told.
    let known = unsafe {
        let (own, size) = (GetCurrentProcess(), size_of_val(&modules) as u32);
        K32EnumProcessModules(own, modules.as_mut_ptr(), size, &mut bytes)
    };
    if known == 0 {
        return 0;
    }
    let count = (bytes as usize / size_of::<HMODULE>()).min(MODULES);
    for &module in &modules[..count] {
        let mut info = MODULEINFO::default();
        let mut name = [0u16; 520];
        // SAFETY: as above; a library that was unloaded since makes them fail.
        let len = unsafe {
            let own = GetCurrentProcess();
            match K32GetModuleInformation(own, module, &mut info, size_of_val(&info) as u32) {
                0 => 0,
                _ => K32GetModuleFileNameExW(own, module, name.as_mut_ptr(), name.len() as u32),
            }
        };
        let start = info.lpBaseOfDll as usize;
        let end = start.saturating_add(info.SizeOfImage as usize);
        let line = |text: &mut Text| {
            write!(text, "{start:x}-{end:x} r-xp 00000000 00:00 0 ")?;
            let name = name[..len as usize].iter().copied();
            for letter in char::decode_utf16(name).map(|letter| letter.unwrap_or('?')) {
                text.write_char(if letter == '\\' { '/' } else { letter })?;
            }
            text.write_char('\n')
        };
        if len > 0 && line(&mut text).is_err() {
            break;
        }
    }
    text.len as u32
}
