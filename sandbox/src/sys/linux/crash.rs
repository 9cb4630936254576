//! In a worker: writes down where a signal hit that is about to end the process.
//!
//! A plugin may install handlers of its own, or close what this one writes to; then the host knows
//! the signal only. Whatever happens in here, the process ends, by the signal that hit it.
//!
//! # Safety
//! `unsafe` here installs signal handlers and stacks for them, and reads what the kernel passes a
//! handler. The handler calls nothing but system calls, touches atomics in a mapping that is never
//! unmapped, and reads the stack it interrupted by way of the kernel (`pwrite`), which answers with
//! an error where there is no memory.
#![allow(unsafe_code)]

use super::handles::Handle;
use super::memory::{Access, Mapping};
use super::thread;
use crate::shm::crash_page::{CrashPage, CrashView, LEN, MAPS, STACK, STACK_AT, state};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::IntoRawFd;
use std::ptr::null_mut;
use std::sync::atomic::{AtomicI32, AtomicPtr, Ordering};

/// What ends a process by default and says that its code is wrong. SIGQUIT: the host asks a worker
/// that hangs where it is.
const SIGNALS: [i32; 7] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGILL,
    libc::SIGFPE,
    libc::SIGABRT,
    libc::SIGTRAP,
    libc::SIGQUIT,
];

/// Bytes of a stack for signals; what the kernel puts there takes some 12 KiB with AMX.
const OWN_STACK: usize = 64 * 1024;

static PAGE: AtomicPtr<CrashPage> = AtomicPtr::new(null_mut());
static MAPS_TO: AtomicPtr<u8> = AtomicPtr::new(null_mut());
/// The same memory as a file: what is written by way of the kernel can't fault here.
static FILE: AtomicI32 = AtomicI32::new(-1);
static MAIN: AtomicI32 = AtomicI32::new(0);
static AUDIO: AtomicI32 = AtomicI32::new(0);
/// Who is in the handler.
static OWNER: AtomicI32 = AtomicI32::new(0);

/// Catches signals from now on; called on the main thread. The memory stays mapped for ever.
pub fn install(handle: Handle) -> io::Result<CrashView> {
    let file = handle.0.try_clone()?.into_raw_fd();
    let mapping = Mapping::from_handle_unlocked(handle, LEN, Access::ReadWrite);
    let mapping = match mapping {
        Ok(mapping) => std::sync::Arc::new(mapping),
        Err(error) => {
            // SAFETY: as above; nobody knows it.
            unsafe { libc::close(file) };
            return Err(error);
        }
    };
    let view = CrashView::new(std::sync::Arc::clone(&mapping))?;
    std::mem::forget(mapping);
    PAGE.store((view.page() as *const CrashPage).cast_mut(), Ordering::Release);
    MAPS_TO.store(view.maps_ptr(), Ordering::Release);
    FILE.store(file, Ordering::Release);
    // SAFETY: gettid has no preconditions.
    MAIN.store(unsafe { libc::gettid() }, Ordering::Release);
    signal_stack();
    for signal in SIGNALS {
        set_action(signal, on_signal as *const () as libc::sighandler_t);
    }
    Ok(view)
}

/// Called by the audio thread as it begins.
pub fn enter_audio_thread() {
    signal_stack();
    // SAFETY: gettid has no preconditions.
    AUDIO.store(unsafe { libc::gettid() }, Ordering::Release);
}

/// Gives the calling thread a stack for signals, so that an overflow of its own can be told. It is
/// never freed.
fn signal_stack() {
    let stack = Box::leak(vec![0u8; OWN_STACK].into_boxed_slice());
    let stack =
        libc::stack_t { ss_sp: stack.as_mut_ptr().cast(), ss_flags: 0, ss_size: stack.len() };
    // SAFETY: the memory is never freed.
    unsafe { libc::sigaltstack(&stack, null_mut()) };
}

fn set_action(signal: i32, handler: libc::sighandler_t) {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeros is a valid `sigaction`, filled in and passed from a local; the handler has
    // the signature that SA_SIGINFO asks for, or is SIG_DFL.
    unsafe {
        let action = action.assume_init_mut();
        action.sa_sigaction = handler;
        // NODEFER: a fault in the handler comes back to it, and is told apart by `OWNER`.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK | libc::SA_NODEFER;
        libc::sigaction(signal, action, null_mut());
    }
}

extern "C" fn on_signal(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    // SAFETY: gettid has no preconditions.
    let me = unsafe { libc::gettid() };
    // SAFETY: set to a page that stays mapped.
    let page = unsafe { PAGE.load(Ordering::Acquire).as_ref() };
    // SAFETY: the kernel passes both, valid for the time of this call.
    let (info, context) = unsafe { (&*info, &*context.cast::<libc::ucontext_t>()) };
    if let Some(page) = page {
        match OWNER.compare_exchange(0, me, Ordering::AcqRel, Ordering::Acquire) {
            Ok(_) => write(page, me, signal, info, context),
            // This thread, in the middle of `write`.
            Err(owner) if owner == me => {}
            // Two at the same time. The other must be able to finish: this one's return ends all.
            Err(_) => wait_for(page),
        }
    }
    if signal == libc::SIGQUIT {
        // It was asked where it hangs, and is to end. Not by this signal's own action, which may
        // write all its memory to a file.
        // SAFETY: ends this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGKILL) };
    }
    // What is left is to take the process apart, which keeps the kernel busy for milliseconds: not ahead
    // of the plugins that share this core. Nothing else of the realtime class is done here.
    thread::demote_self();
    set_action(signal, libc::SIG_DFL);
    if info.si_code <= 0 {
        // Sent, so it does not come again by itself.
        // SAFETY: sends a signal to this very thread.
        unsafe { libc::syscall(libc::SYS_tgkill, libc::getpid(), me, signal) };
    }
}

fn wait_for(page: &CrashPage) {
    for _ in 0..200 {
        if page.state.load(Ordering::Acquire) == state::WRITTEN {
            return;
        }
        let moment = libc::timespec { tv_sec: 0, tv_nsec: 1_000_000 };
        // SAFETY: the pointer is to a local.
        unsafe { libc::nanosleep(&moment, null_mut()) };
    }
}

fn write(
    page: &CrashPage,
    me: i32,
    signal: i32,
    info: &libc::siginfo_t,
    context: &libc::ucontext_t,
) {
    page.state.store(state::WRITING, Ordering::Relaxed);
    page.signal.store(signal, Ordering::Relaxed);
    page.was_sent.store(u32::from(info.si_code <= 0), Ordering::Relaxed);
    // SAFETY: any siginfo has room for the address; it is a number here.
    let address = unsafe { info.si_addr() } as u64;
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
    let file = FILE.load(Ordering::Relaxed);
    page.stack.store(save_stack(file, registers[1]), Ordering::Relaxed);
    page.maps.store(save_maps(), Ordering::Relaxed);
    // Release, with the load in `CrashView::read`.
    page.state.store(state::WRITTEN, Ordering::Release);
}

/// Program counter, stack pointer, frame pointer, return address.
#[cfg(target_arch = "x86_64")]
fn registers(context: &libc::ucontext_t) -> [u64; 4] {
    let register = |name: i32| context.uc_mcontext.gregs[name as usize] as u64;
    [register(libc::REG_RIP), register(libc::REG_RSP), register(libc::REG_RBP), 0]
}

#[cfg(target_arch = "aarch64")]
fn registers(context: &libc::ucontext_t) -> [u64; 4] {
    let all = &context.uc_mcontext;
    [all.pc, all.sp, all.regs[29], all.regs[30]]
}

/// Writes the stack's top to the file, as far as there is one. How many bytes.
///
/// Of a stack that overflowed the top lies where there is no memory: zeros stand for it.
fn save_stack(file: i32, from: u64) -> u32 {
    let (mut done, mut has_begun) = (0, false);
    while done < STACK {
        // Up to the end of a page: beyond it there may be nothing.
        let part = (4096 - (from as usize).wrapping_add(done) % 4096).min(STACK - done);
        // SAFETY: the kernel reads the memory, or says that there is none.
        let written = unsafe {
            libc::pwrite(
                file,
                (from as usize).wrapping_add(done) as *const libc::c_void,
                part,
                (STACK_AT + done) as libc::off_t,
            )
        };
        done += match written {
            1.. => written as usize,
            _ if has_begun => break,
            _ => part,
        };
        has_begun |= written > 0;
    }
    if has_begun { done as u32 } else { 0 }
}

/// Reads what is mapped where. How many bytes.
fn save_maps() -> u32 {
    let to = MAPS_TO.load(Ordering::Relaxed);
    let mut done = 0;
    // SAFETY: the kernel writes to memory that stays mapped, no more than there is.
    unsafe {
        let maps = libc::open(c"/proc/self/maps".as_ptr(), libc::O_RDONLY | libc::O_CLOEXEC);
        while maps >= 0 && done < MAPS {
            let read = libc::read(maps, to.add(done).cast(), MAPS - done);
            if read <= 0 {
                break;
            }
            done += read as usize;
        }
    }
    done as u32
}

/// In the host: asks a worker's thread where it is, which ends it. See `SIGNALS`.
pub fn ask_where(process: u32, thread: super::thread::ThreadId) {
    // SAFETY: sends a signal.
    unsafe {
        libc::syscall(libc::SYS_tgkill, process as i32, thread.number() as i32, libc::SIGQUIT)
    };
}
