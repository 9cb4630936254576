//! What `sys` promises, whatever system is behind it: memory that can't be taken away from a
//! reader nor written to by one, waits that end when they should, processes that are reaped.
//!
//! Linux: it looks into /proc, and at signals. The modules under `sys::windows` have their own.
#![cfg(target_os = "linux")]
#![allow(unsafe_code, reason = "tries to make a mapping writable, to see that it can't be")]

use sandrack_sandbox::sys::clock::now_ns;
use sandrack_sandbox::sys::handles::HandleChannel;
use sandrack_sandbox::sys::memory::{Access, Mapping, SharedMemory};
use sandrack_sandbox::sys::process::{Exit, Process, Waker, wait_any};
use sandrack_sandbox::sys::thread;
use sandrack_sandbox::sys::wake::{self, Wait};
use std::ffi::OsStr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

const SECOND: u64 = 1_000_000_000;

fn byte(mapping: &Mapping, at: usize) -> u8 {
    assert!(at < mapping.len());
    // SAFETY: within the mapping; volatile, as others may write.
    unsafe { mapping.as_ptr().add(at).read_volatile() }
}

fn set_byte(mapping: &Mapping, at: usize, to: u8) {
    assert!(at < mapping.len() && mapping.access() == Access::ReadWrite);
    // SAFETY: within the mapping, which may be written to.
    unsafe { mapping.as_ptr().add(at).write_volatile(to) };
}

/// The descriptor of a piece of memory, opened anew: what a plugin could do in its worker.
fn descriptor(name: &str) -> std::fs::File {
    let entry = std::fs::read_dir("/proc/self/fd")
        .unwrap()
        .flatten()
        .find(|entry| {
            std::fs::read_link(entry.path())
                .is_ok_and(|target| target.to_string_lossy().contains(name))
        })
        .expect("the memory has a descriptor");
    std::fs::OpenOptions::new().read(true).write(true).open(entry.path()).unwrap()
}

#[test]
fn memory_is_zeroed_and_in_whole_pages() {
    let page = rustix::param::page_size();
    for (asked, got) in [(0, page), (1, page), (page, page), (page + 1, 2 * page)] {
        let memory = SharedMemory::new("test-zeroed", asked).unwrap();
        assert_eq!(memory.len(), got);
        let mapping = memory.map(Access::Read).unwrap();
        assert_eq!(mapping.len(), got);
        assert!((0..got).all(|at| byte(&mapping, at) == 0));
    }
}

#[test]
fn what_one_writes_the_other_reads() {
    let memory = SharedMemory::new("test-shared", 10_000).unwrap();
    let writer = memory.map(Access::ReadWrite).unwrap();
    let handle = memory.handle(Access::Read).unwrap();
    let reader = Mapping::from_handle(handle, memory.len(), Access::Read).unwrap();
    for at in [0, 1, 4095, 4096, 9999, memory.len() - 1] {
        set_byte(&writer, at, at as u8 | 1);
        assert_eq!(byte(&reader, at), at as u8 | 1);
    }
}

#[test]
fn memory_can_be_neither_truncated_nor_grown_nor_unsealed() {
    let memory = SharedMemory::new("test-sealed-memory", 8192).unwrap();
    let mapping = memory.map(Access::Read).unwrap();
    let file = descriptor("test-sealed-memory");
    for length in [0, 1, 4096, 8191, 8193, 1 << 20] {
        assert!(file.set_len(length).is_err(), "its length became {length}");
    }
    assert_eq!(file.metadata().unwrap().len(), 8192);
    let punch = rustix::fs::FallocateFlags::KEEP_SIZE;
    assert!(rustix::fs::fallocate(&file, punch, 8192, 4096).is_err(), "grew behind its end");
    assert!(rustix::fs::fcntl_add_seals(&file, rustix::fs::SealFlags::WRITE).is_err());
    // Would end this program, if there were nothing.
    assert_eq!(byte(&mapping, 8191), 0);
}

#[test]
fn what_is_read_can_not_be_opened_again_to_be_written() {
    use std::io::Write;
    let memory = SharedMemory::for_one_writer("test-one-writer", 4096).unwrap();
    let writer = memory.map(Access::ReadWrite).unwrap();
    // Before it is sealed this is possible: what is tried below is not refused for other reasons.
    assert!(descriptor("test-one-writer").write_all(b"x").is_ok());
    memory.seal_writes().unwrap();
    let handle = memory.handle(Access::Read).unwrap();
    let mut again = descriptor("test-one-writer");
    assert!(again.write_all(b"y").is_err(), "it was written to by its name in /proc");
    let reader = Mapping::from_handle(handle, 4096, Access::Read).unwrap();
    assert!(memory.map(Access::ReadWrite).is_err(), "it was mapped to be written to");
    set_byte(&writer, 1, 7);
    assert_eq!((byte(&reader, 0), byte(&reader, 1)), (b'x', 7));
}

#[test]
fn a_handle_to_read_can_not_be_used_to_write() {
    let memory = SharedMemory::new("test-read-only", 4096).unwrap();
    let handle = memory.handle(Access::Read).unwrap();
    let mapping = Mapping::from_handle(handle, 4096, Access::ReadWrite);
    assert!(mapping.is_err(), "a handle to read was mapped for writing");

    let handle = memory.handle(Access::Read).unwrap();
    let mapping = Mapping::from_handle(handle, 4096, Access::Read).unwrap();
    assert_eq!(mapping.access(), Access::Read);
    let all = rustix::mm::MprotectFlags::READ | rustix::mm::MprotectFlags::WRITE;
    // SAFETY: the range is the mapping's own; more access takes nothing away from anybody.
    let changed = unsafe { rustix::mm::mprotect(mapping.as_ptr().cast(), mapping.len(), all) };
    assert!(changed.is_err(), "a mapping to read became one to write");
}

#[test]
fn less_memory_than_was_promised_is_refused() {
    let memory = SharedMemory::new("test-promise", 4096).unwrap();
    for promised in [4097, 8192, usize::MAX] {
        let handle = memory.handle(Access::Read).unwrap();
        assert!(Mapping::from_handle(handle, promised, Access::Read).is_err(), "{promised}");
    }
}

#[test]
fn a_handle_is_closed_once_its_memory_is_mapped() {
    let memory = SharedMemory::new("test-closed-handle", 4096).unwrap();
    let handle = memory.handle(Access::Read).unwrap();
    let mapping = Mapping::from_handle(handle, 4096, Access::Read).unwrap();
    drop(memory);
    let left = std::fs::read_dir("/proc/self/fd").unwrap().flatten().any(|entry| {
        std::fs::read_link(entry.path())
            .is_ok_and(|target| target.to_string_lossy().contains("test-closed-handle"))
    });
    assert!(!left, "a descriptor is left");
    assert_eq!(byte(&mapping, 0), 0);
}

#[test]
fn handles_arrive_in_order_however_many() {
    let memories: Vec<SharedMemory> =
        (0..150).map(|_| SharedMemory::new("test-many", 4096).unwrap()).collect();
    for (number, memory) in memories.iter().enumerate() {
        set_byte(&memory.map(Access::ReadWrite).unwrap(), 0, number as u8);
    }
    let (a, b) = HandleChannel::pair().unwrap();
    let handles: Vec<_> = memories.iter().map(|m| m.handle(Access::Read).unwrap()).collect();
    let sender = std::thread::spawn(move || {
        a.send(&handles.iter().collect::<Vec<_>>()).unwrap();
        a
    });
    let received = b.receive(150).unwrap();
    for (number, handle) in received.into_iter().enumerate() {
        let mapping = Mapping::from_handle(handle, 4096, Access::Read).unwrap();
        assert_eq!(byte(&mapping, 0), number as u8);
    }
    // The other end is gone: an error, and no wait for ever.
    drop(sender.join().unwrap());
    assert!(b.receive(1).is_err());
    let handle = memories[0].handle(Access::Read).unwrap();
    assert!(b.send(&[&handle]).is_err());
}

#[test]
fn a_wait_ends_when_it_is_woken() {
    let memory = SharedMemory::new("test-wake", 4096).unwrap();
    let mapping = Arc::new(memory.map(Access::ReadWrite).unwrap());
    // SAFETY: aligned (a page), within the mapping, which outlives it; an atomic.
    let word_of = |m: &Mapping| unsafe { &*m.as_ptr().cast::<AtomicU32>() };
    let woken = Arc::new(AtomicBool::new(false));
    let (theirs, flag) = (Arc::clone(&mapping), Arc::clone(&woken));
    let waiter = std::thread::spawn(move || {
        let word = word_of(&theirs);
        while word.load(Ordering::SeqCst) == 0 {
            wake::wait(word, 0, u64::MAX);
        }
        flag.store(true, Ordering::SeqCst);
    });
    std::thread::sleep(Duration::from_millis(50));
    assert!(!woken.load(Ordering::SeqCst));
    // Through another mapping of the same memory, as another process has it.
    let other = memory.map(Access::ReadWrite).unwrap();
    word_of(&other).store(1, Ordering::SeqCst);
    wake::wake(word_of(&other));
    waiter.join().unwrap();
    assert!(woken.load(Ordering::SeqCst));
}

#[test]
fn a_wait_for_a_word_that_has_changed_does_not_begin() {
    let word = AtomicU32::new(5);
    assert_eq!(wake::wait(&word, 4, u64::MAX), Wait::Woken);
    assert_eq!(wake::wait(&word, 6, u64::MAX), Wait::Woken);
}

#[test]
fn a_wait_ends_at_its_deadline_and_not_before() {
    let word = AtomicU32::new(0);
    for ns in [0, 1_000, 100_000, 20_000_000] {
        let deadline = now_ns() + ns;
        // It may return early for no reason; then it waits again.
        while wake::wait(&word, 0, deadline) != Wait::TimedOut {}
        assert!(now_ns() >= deadline);
    }
    // Long past, and the earliest there is.
    for deadline in [0, 1, now_ns() - SECOND] {
        while wake::wait(&word, 0, deadline) != Wait::TimedOut {}
    }
}

#[test]
fn wakes_without_a_waiter_are_harmless_and_not_remembered() {
    let word = AtomicU32::new(0);
    for _ in 0..100 {
        wake::wake(&word);
    }
    while wake::wait(&word, 0, now_ns() + 1_000_000) != Wait::TimedOut {}
}

#[test]
fn a_wake_can_be_asked_for_through_memory_that_may_only_be_read() {
    // As a worker's mapping of the block page: waiting must not need a right to write.
    let memory = SharedMemory::new("test-read-wait", 4096).unwrap();
    let mapping = Mapping::from_handle(memory.handle(Access::Read).unwrap(), 4096, Access::Read);
    let mapping = mapping.unwrap();
    // SAFETY: aligned, within the mapping; only loaded from.
    let word = unsafe { &*mapping.as_ptr().cast::<AtomicU32>() };
    while wake::wait(word, 0, now_ns() + 1_000_000) != Wait::TimedOut {}
}

#[test]
fn the_clock_never_steps_back() {
    let mut last = now_ns();
    for _ in 0..100_000 {
        let now = now_ns();
        assert!(now >= last);
        last = now;
    }
}

fn start(program: &str, arguments: &[&str]) -> (Process, HandleChannel) {
    let (ours, theirs) = HandleChannel::pair().unwrap();
    let arguments: Vec<&OsStr> = arguments.iter().map(OsStr::new).collect();
    (Process::start(Path::new(program), &arguments, theirs, false).unwrap(), ours)
}

#[test]
fn how_a_process_ended_is_known() {
    for (script, exit) in
        [("exit 0", Exit::Code(0)), ("exit 7", Exit::Code(7)), ("kill -SEGV $$", Exit::Signal(11))]
    {
        let (mut process, _channel) = start("/bin/sh", &["-c", script]);
        assert_eq!(process.wait(Duration::from_secs(60)), Some(exit), "{script}");
        assert_eq!(process.ended(), Some(exit));
        assert_eq!(process.kill(), exit, "killing what has ended changes nothing");
    }
}

#[test]
fn a_process_that_is_dropped_is_killed_and_reaped() {
    let (process, _channel) =
        start("/bin/sh", &["-c", "trap '' TERM; while :; do sleep 100; done"]);
    let folder = format!("/proc/{}", process.id());
    assert!(Path::new(&folder).exists());
    drop(process);
    assert!(!Path::new(&folder).exists(), "not even a zombie");
}

#[test]
fn the_end_of_any_watched_process_is_told() {
    let (mut slow, _a) = start("/bin/sh", &["-c", "exec sleep 100"]);
    let (mut quick, _b) = start("/bin/sh", &["-c", "exit 3"]);
    let (watch_slow, watch_quick) = (slow.watch().unwrap(), quick.watch().unwrap());
    let waker = Waker::new().unwrap();
    assert_eq!(wait_any(&[&watch_slow, &watch_quick], &waker), Some(1));
    assert!(watch_quick.ended() && !watch_slow.ended());
    assert_eq!(quick.ended(), Some(Exit::Code(3)));
    // Woken, although none has ended.
    waker.wake();
    assert_eq!(wait_any(&[&watch_slow], &waker), None);
    assert_eq!(slow.wait(Duration::from_millis(20)), None);
    assert_eq!(slow.kill(), Exit::Signal(9));
    assert!(watch_slow.ended());
}

#[test]
fn a_program_that_is_not_there_is_an_error() {
    let (_ours, theirs) = HandleChannel::pair().unwrap();
    assert!(Process::start(Path::new("/nowhere/at/all"), &[], theirs, false).is_err());
}

#[test]
fn threads_are_known_by_their_process() {
    let me = std::process::id();
    assert!(thread::belongs_to(thread::current(), me));
    assert!(!thread::belongs_to(thread::current(), 1));
    assert!(!thread::cores().is_empty());
    assert!(thread::pin_current(1 << 20).is_err());
}
