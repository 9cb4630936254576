//! A worker's last words: which entry point of a plugin it is in, and what its signal handler saw.
//!
//! The page is followed by room for the top of a stack and for the list of mappings. Nobody writes
//! there unless the worker crashes, and until then it costs no memory.
//!
//! # Safety
//! `unsafe` here turns the address of a [`Mapping`] into references to atomics, and copies bytes
//! out of it. The mapping is as long as [`LEN`], checked at construction, and lives as long as the
//! view. Another process may write at the same time: any bits are valid, and are checked after they
//! were copied.
#![allow(unsafe_code)]

use crate::crash::{Call, Caught, Doing, ThreadKind};
use crate::sys::memory::Mapping;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};

/// Bytes of a stack that are kept.
pub const STACK: usize = 32 * 1024;
/// Bytes of the list of mappings that are kept.
pub const MAPS: usize = 220 * 1024;
/// Where the stack begins.
pub const STACK_AT: usize = 4096;
/// Where the list of mappings begins.
pub const MAPS_AT: usize = STACK_AT + STACK;
/// Size of the region.
pub const LEN: usize = MAPS_AT + MAPS;

/// The first page.
#[repr(C, align(64))]
pub struct CrashPage {
    /// What the main thread is doing: [`Call`] in the lower half, the plugin's number in the upper.
    pub main: AtomicU64,
    /// What the audio thread is doing besides blocks.
    pub audio: AtomicU64,
    /// How far the handler has come: 0: it was not called; 1: it writes; 2: all below is written.
    /// States: 0 → 1 (the first thread that crashes) → 2 (it, release).
    pub state: AtomicU32,
    /// The signal.
    pub signal: AtomicI32,
    /// Not 0: somebody sent it.
    pub was_sent: AtomicU32,
    /// 0: another; 1: the audio thread; 2: the main thread.
    pub thread: AtomicU32,
    /// Address that was used in vain.
    pub address: AtomicU64,
    /// Program counter, stack pointer, frame pointer, return address.
    pub registers: [AtomicU64; 4],
    /// Bytes of the stack.
    pub stack: AtomicU32,
    /// Bytes of the list of mappings.
    pub maps: AtomicU32,
}

const _: () = assert!(size_of::<CrashPage>() == 128);

/// Values of [`CrashPage::state`].
pub mod state {
    /// Nothing has happened.
    pub const QUIET: u32 = 0;
    /// The handler is at it.
    pub const WRITING: u32 = 1;
    /// All is written.
    pub const WRITTEN: u32 = 2;
}

/// A view of a crash page, in host or worker.
#[derive(Clone)]
pub struct CrashView(Arc<Mapping>);

impl CrashView {
    /// Views a mapping of [`LEN`] bytes.
    pub fn new(mapping: Arc<Mapping>) -> io::Result<Self> {
        match mapping.len() >= LEN {
            true => Ok(Self(mapping)),
            false => Err(io::Error::new(io::ErrorKind::InvalidData, "a crash page that is short")),
        }
    }

    /// The fixed part.
    pub fn page(&self) -> &CrashPage {
        // SAFETY: at the beginning of a mapping, so aligned and long enough; atomics.
        unsafe { &*self.0.as_ptr().cast() }
    }

    /// Where the list of mappings goes: [`MAPS`] bytes.
    pub fn maps_ptr(&self) -> *mut u8 {
        // SAFETY: within the mapping, whose length was checked.
        unsafe { self.0.as_ptr().add(MAPS_AT) }
    }

    fn bytes(&self, at: usize, len: usize) -> Vec<u8> {
        let mut bytes = vec![0; len];
        // SAFETY: callers stay within LEN; private and shared memory don't overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(self.0.as_ptr().add(at), bytes.as_mut_ptr(), len);
        }
        bytes
    }

    /// In a worker: tells what a thread is about to do.
    pub fn begin(word: &AtomicU64, plugin: u32, call: Call) {
        word.store(u64::from(plugin) << 32 | u64::from(call as u32), Ordering::Relaxed);
    }

    /// In the host: what the worker is doing, or did last. Nothing in it is trusted.
    pub fn read(&self) -> Doing {
        let page = self.page();
        let call = |word: &AtomicU64| {
            let word = word.load(Ordering::Relaxed);
            ((word >> 32) as u32, Call::from_word(word as u32))
        };
        // Acquire, with the handler's store.
        let is_caught = page.state.load(Ordering::Acquire) != state::QUIET
            && page.signal.load(Ordering::Relaxed) != 0;
        let caught = is_caught.then(|| {
            let len = |word: &AtomicU32, most| (word.load(Ordering::Relaxed) as usize).min(most);
            let maps = self.bytes(MAPS_AT, len(&page.maps, MAPS));
            Caught {
                signal: page.signal.load(Ordering::Relaxed),
                was_sent: page.was_sent.load(Ordering::Relaxed) != 0,
                address: page.address.load(Ordering::Relaxed),
                thread: match page.thread.load(Ordering::Relaxed) {
                    1 => ThreadKind::Audio,
                    2 => ThreadKind::Main,
                    _ => ThreadKind::Other,
                },
                registers: [0, 1, 2, 3].map(|n| page.registers[n].load(Ordering::Relaxed)),
                stack: self.bytes(STACK_AT, len(&page.stack, STACK)),
                maps: String::from_utf8_lossy(&maps).into_owned(),
            }
        });
        Doing { main: call(&page.main), audio: call(&page.audio), caught }
    }
}
