//! What depends on the operating system: SIGSTOP and the search for shared memory.

use std::ops::Range;
use std::ptr;

use clap_sys::process::clap_process;

use crate::plugin::{channels, outputs, sleep_forever};

/// Stops the process until somebody continues it.
pub(crate) fn stop() {
    #[cfg(unix)]
    {
        use rustix::process::{Signal, getpid, kill_process};
        if kill_process(getpid(), Signal::STOP).is_ok() {
            // Another thread may take the signal; this one is stopped a moment later. Without
            // waiting for that, it could finish the block.
            std::thread::sleep(std::time::Duration::from_millis(10));
            return;
        }
    }
    sleep_forever();
}

/// Address ranges of writable shared memory.
#[derive(Default)]
pub(crate) struct Mappings(Vec<Range<usize>>);

impl Mappings {
    /// Those of this process; none where that can't be found out.
    pub(crate) fn find() -> Self {
        // Lines like "7f0a1000-7f0a2000 rw-s 00000000 00:05 1234 /memfd:name".
        let parse = |line: &str| {
            let (range, rest) = line.split_once(' ')?;
            let (start, end) = range.split_once('-')?;
            let writable_and_shared =
                rest.starts_with("rw") && rest.as_bytes().get(3) == Some(&b's');
            let address = |hex| usize::from_str_radix(hex, 16).ok();
            writable_and_shared.then_some(address(start)?..address(end)?)
        };
        let maps = match cfg!(target_os = "linux") {
            true => std::fs::read_to_string("/proc/self/maps").unwrap_or_default(),
            false => String::new(),
        };
        Self(maps.lines().filter_map(parse).collect())
    }
}

/// Writes random bytes (the same each time) over all writable shared memory: what there is
/// now, or else what there was before, or else at least the output buffers.
///
/// # Safety
///
/// `process` describes valid buffers. What is in shared memory is ruined.
pub(crate) unsafe fn scribble(before: &Mappings, process: &clap_process) {
    let now = Mappings::find();
    let mappings = if now.0.is_empty() { &before.0 } else { &now.0 };
    let mut bytes = 0;
    // SAFETY: the ranges were mapped writable when they were found; the rest is as the caller
    // promises.
    unsafe {
        for range in mappings {
            bytes += range.len();
            scribble_over(ptr::with_exposed_provenance_mut(range.start), range.len());
        }
        if mappings.is_empty() {
            for &channel in outputs(process).iter().flat_map(channels) {
                let len = process.frames_count as usize * size_of::<f32>();
                bytes += len;
                scribble_over(channel.cast(), len);
            }
        }
    }
    eprintln!("hostile plugin wrote over {bytes} bytes in {} shared mappings", mappings.len());
}

/// # Safety
///
/// The memory is writable and aligned to 4 bytes.
unsafe fn scribble_over(start: *mut u32, bytes: usize) {
    let mut x = 0x9e37_79b9_u32;
    for i in 0..bytes / size_of::<u32>() {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        // SAFETY: within the memory.
        unsafe { start.add(i).write_volatile(x) };
    }
}
