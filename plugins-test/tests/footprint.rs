//! What loading costs. Alone in its file, hence in its process, so as to measure nothing
//! else.

mod common;

use std::time::{Duration, Instant};

use common::{Clap, plugins};

/// Memory that nobody shares with this process, in KiB, where the system tells.
fn private_kib() -> Option<u64> {
    let rollup = std::fs::read_to_string("/proc/self/smaps_rollup").ok()?;
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private.map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok()).sum()
}

/// The limits leave room for slow machines and for builds without optimization.
#[test]
fn gain_and_burn_start_quickly_and_take_little_memory() {
    // Once, so that reading the figure itself costs nothing new.
    private_kib();
    let before = private_kib();
    let start = Instant::now();
    let clap = Clap::load(&plugins()).unwrap();
    let loaded = start.elapsed();
    let mut gain = clap.create("org.sandrack.test.gain").unwrap();
    let created = start.elapsed();
    assert!(gain.start());
    let activated = start.elapsed();
    let private = private_kib().zip(before).map(|(after, before)| after.saturating_sub(before));
    println!("gain: loaded after {loaded:?}, created {created:?}, activated {activated:?}");
    println!("gain: {private:?} KiB of private memory");
    assert!(activated < Duration::from_millis(100));
    assert!(private.is_none_or(|kib| kib < 4096));

    let start = Instant::now();
    let mut burn = clap.create("org.sandrack.test.burn").unwrap();
    assert!(burn.start());
    let activated = start.elapsed();
    println!("burn: activated after {activated:?}");
    println!("burn: {:.0} iterations per us", sandrack_plugins_test::iterations_per_us());
    assert!(activated < Duration::from_millis(100));

    burn.set(&[(sandrack_plugins_test::param_id("block"), 200.0)]);
    let time = |_| {
        let start = Instant::now();
        burn.stereo(&[0.0; 16], &[]);
        start.elapsed()
    };
    println!("burn: 200 us take at least {:?}", (0..50).map(time).min().unwrap());
}
