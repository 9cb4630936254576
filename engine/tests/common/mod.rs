//! What the tests share: a clock that only tests move, deterministic plugins, remote nodes in
//! memory, and a reference that evaluates a graph sample by sample.
#![allow(dead_code, unreachable_pub)]

pub mod fake_remote;
pub mod machine;
pub mod reference;
pub mod rig;

use std::cell::Cell;

// The guard is there in debug builds only.
#[cfg(debug_assertions)]
#[global_allocator]
static GUARD: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

thread_local! {
    static NOW: Cell<u64> = const { Cell::new(1) };
}

/// Every look at the clock takes 10 ns.
pub fn clock() -> u64 {
    NOW.with(|now| {
        now.set(now.get() + 10);
        now.get()
    })
}

pub fn set_clock(to: u64) {
    NOW.with(|now| now.set(now.get().max(to)));
}

/// A small generator: the same on every run.
#[derive(Clone)]
pub struct Dice(pub u64);

impl Dice {
    pub fn roll(&mut self, sides: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) % sides.max(1)
    }

    pub fn sample(&mut self) -> f32 {
        self.roll(2_000_001) as f32 / 1_000_000.0 - 1.0
    }
}

/// A signal for each of several driver channels.
pub fn noise(channels: usize, frames: usize, seed: u64) -> Vec<Vec<f32>> {
    let mut dice = Dice(seed);
    (0..channels).map(|_| (0..frames).map(|_| dice.sample() * 0.5).collect()).collect()
}

pub fn bits(signal: &[f32]) -> Vec<u32> {
    signal.iter().map(|s| s.to_bits()).collect()
}

/// The first place where two signals differ in a bit.
pub fn difference(left: &[f32], right: &[f32]) -> Option<usize> {
    if left.len() != right.len() {
        return Some(left.len().min(right.len()));
    }
    left.iter().zip(right).position(|(l, r)| l.to_bits() != r.to_bits())
}
