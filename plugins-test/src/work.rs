//! Work of a known duration that preemption can't shorten.
//!
//! Polling a clock would measure the time since the start of the work, in which someone
//! else may have had the processor, and so do less work the busier the machine is. Here the
//! amount of work is fixed beforehand, from a calibration.

use std::hint::black_box;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// Overrides the calibration when it holds a positive number. Set it where many processes
/// must do the same work, or where they start while the machine is busy.
const OVERRIDE: &str = "SANDRACK_BURN_ITERATIONS_PER_US";

/// Some 50 us each on a machine of 2020: about 300 us, once per process.
const CALIBRATION_ITERATIONS: u64 = 20_000;
const CALIBRATION_TRIES: u32 = 6;

/// Does `iterations` of work. Each depends on the one before, so that the time is
/// proportional to the number, and the result is used as far as the compiler can tell.
#[inline(never)]
pub(crate) fn work(iterations: u64) {
    let mut x = black_box(0x9e37_79b9_7f4a_7c15u64);
    for _ in 0..iterations {
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
    }
    black_box(x);
}

/// How many iterations of `burn`'s work take one microsecond: what the environment variable
/// `SANDRACK_BURN_ITERATIONS_PER_US` says, or else a calibration, done once per process,
/// which takes a few hundred microseconds. Not for the audio thread.
///
/// A program that starts many processes can put the result into that variable.
pub fn iterations_per_us() -> f64 {
    static ITERATIONS_PER_US: OnceLock<f64> = OnceLock::new();
    *ITERATIONS_PER_US.get_or_init(|| {
        let given = std::env::var(OVERRIDE).ok().and_then(|text| text.trim().parse().ok());
        given.filter(|&n: &f64| n.is_finite() && n > 0.0).unwrap_or_else(calibrate)
    })
}

/// The fastest of several tries is the one nobody interrupted.
fn calibrate() -> f64 {
    let fastest = (0..CALIBRATION_TRIES)
        .map(|_| {
            let start = Instant::now();
            work(CALIBRATION_ITERATIONS);
            start.elapsed()
        })
        .min()
        .unwrap_or_default()
        .max(Duration::from_nanos(1));
    CALIBRATION_ITERATIONS as f64 / (fastest.as_secs_f64() * 1e6)
}
