//! What is written over memory that other processes read.

use super::Block;
use std::ops::Range;
use std::ptr;
use std::thread;
use std::time::Duration;

/// Address ranges of writable shared memory.
#[derive(Clone, Default)]
pub(crate) struct Mappings(Vec<Range<usize>>);

impl Mappings {
    /// Those of this process; none where that can't be found out.
    pub(super) fn find() -> Self {
        Self::named("")
    }

    /// Those whose name holds this.
    fn named(name: &str) -> Self {
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
        Self(maps.lines().filter(|line| line.contains(name)).filter_map(parse).collect())
    }
}

/// Writes random bytes (the same each time) over all writable shared memory: what there is
/// now, or else what there was before, or else at least the output buffers.
///
/// # Safety
///
/// `block` describes a valid block. What is in shared memory is ruined.
pub(super) unsafe fn scribble(before: &Mappings, block: &dyn Block) {
    let now = Mappings::find();
    let mappings = if now.0.is_empty() { before } else { &now };
    let mut bytes = 0;
    // SAFETY: the ranges were mapped writable when they were found; the rest is as the caller
    // promises.
    unsafe {
        for range in &mappings.0 {
            bytes += range.len();
            scribble_over(ptr::with_exposed_provenance_mut(range.start), range.len());
        }
        if mappings.0.is_empty() {
            for (channel, frames) in block.outputs() {
                let len = frames * size_of::<f32>();
                bytes += len;
                scribble_over(channel.cast(), len);
            }
        }
    }
    eprintln!("hostile plugin wrote over {bytes} bytes in {} shared mappings", mappings.0.len());
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

/// From now on, on a thread of its own: writes absurd counts, marks and times over the beginning of
/// all writable shared memory, where heads of lists use to lie, while others read them.
pub(super) fn wrong_counts() {
    const HEAD: usize = 64;
    let ranges = Mappings::find().0;
    let _ = thread::Builder::new().name("wrong counts".into()).spawn(move || {
        let values = [u32::MAX, 0, 257, i32::MAX as u32, 0x7fc0_0000];
        for value in values.into_iter().cycle() {
            for range in &ranges {
                let start = ptr::with_exposed_provenance_mut::<u32>(range.start);
                // Behind the two words that say what the memory is.
                for word in 2..HEAD.min(range.len()) / size_of::<u32>() {
                    // SAFETY: mapped writable when it was found. That others use it is the fault.
                    unsafe { start.add(word).write_volatile(value) };
                }
            }
            thread::sleep(Duration::from_micros(50));
        }
    });
}

/// From now on, on two threads of its own: writes to the word at which the host waits.
pub(super) fn ring_host() {
    for _ in 0..2 {
        let ranges = Mappings::named("host-bell").0;
        let _ = thread::Builder::new().name("rings".into()).spawn(move || {
            for count in 0..u32::MAX {
                for range in &ranges {
                    let start = ptr::with_exposed_provenance_mut::<u32>(range.start);
                    for word in 2..16 {
                        // SAFETY: as in `wrong_counts`.
                        unsafe { start.add(word).write_volatile(count) };
                    }
                }
            }
        });
    }
}

/// From now on, on a thread of its own: writes over the marks by which the plugin's own process says how
/// far it is, as if something went on there.
pub(super) fn wrong_marks() {
    let bells = Mappings::named("sandrack-bell").0;
    let outboxes = Mappings::named("sandrack-outbox").0;
    let _ = thread::Builder::new().name("wrong marks".into()).spawn(move || {
        let mut x = 0x9e37_79b9_u32;
        loop {
            x = x.wrapping_mul(747_796_405).wrapping_add(2_891_336_453);
            for range in bells.iter().chain(&outboxes) {
                let start = ptr::with_exposed_provenance_mut::<u32>(range.start);
                for word in 2..16 {
                    // SAFETY: as in `wrong_counts`.
                    unsafe { start.add(word).write_volatile(if x >> 31 == 0 { 0 } else { x }) };
                }
            }
            thread::sleep(Duration::from_micros(50));
        }
    });
}
