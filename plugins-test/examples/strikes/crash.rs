//! What ends the process, or stops it, or holds it up.

use super::{Strike, sleep_forever, sys};
use std::alloc::{Layout, alloc, dealloc};
use std::hint::{self, black_box};
use std::process;
use std::ptr;
use std::thread;
use std::time::{Duration, Instant};

const LATE: Duration = Duration::from_millis(20);

pub(super) fn strike(strike: Strike) {
    match strike {
        Strike::Segfault => {
            let nowhere = ptr::without_provenance_mut::<u32>(64);
            // SAFETY: none. This is the fault the plugin is for; no address so low is mapped.
            unsafe { nowhere.write_volatile(0) }
        }
        Strike::Abort => process::abort(),
        Strike::Exit => process::exit(0),
        Strike::StackOverflow => {
            black_box(deeper(0));
        }
        Strike::HeapSmash => heap_smash(),
        Strike::DoubleFree => double_free(),
        Strike::Hang => spin_forever(),
        Strike::Sleep => sleep_forever(),
        Strike::Stop => sys::stop(),
        _ => {}
    }
}

/// Stops the process when its host has had an answer, and has gone on to something else.
pub(super) fn stop_soon() {
    let _ = thread::Builder::new().name("stops".into()).spawn(|| {
        thread::sleep(Duration::from_millis(30));
        sys::stop();
    });
}

pub(super) fn spin_forever() -> ! {
    loop {
        hint::spin_loop();
    }
}

pub(super) fn late() {
    let start = Instant::now();
    while start.elapsed() < LATE {
        hint::spin_loop();
    }
}

/// Calls itself until the stack is used up.
#[expect(unconditional_recursion, reason = "the fault the plugin is for")]
fn deeper(depth: u64) -> u64 {
    let filler = black_box([depth; 256]);
    deeper(depth + 1) + black_box(filler)[(depth % 256) as usize]
}

/// Writes far beyond a small piece of the heap, then uses the heap until it notices.
fn heap_smash() {
    const PIECE: usize = 64;
    const BEYOND: usize = 1 << 16;
    let Ok(layout) = Layout::from_size_align(PIECE, 16) else { return };
    // SAFETY: of what is written beyond the piece, none. This is the fault the plugin is for.
    unsafe {
        let piece = alloc(layout);
        if piece.is_null() {
            return;
        }
        for at in 0..BEYOND {
            piece.add(at).write_volatile(0xa5);
        }
        dealloc(piece, layout);
    }
    for round in 0..100_000_usize {
        black_box(vec![0_u8; 1 + round % 5000]);
    }
    // A heap that did not notice is broken all the same.
    process::abort();
}

fn double_free() {
    let Ok(layout) = Layout::from_size_align(64, 16) else { return };
    // SAFETY: of the second release, none. This is the fault the plugin is for.
    unsafe {
        let piece = black_box(alloc(layout));
        dealloc(piece, layout);
        dealloc(black_box(piece), layout);
    }
    process::abort();
}
