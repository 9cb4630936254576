//! The guard against allocation in realtime code is there, and works.
//!
//! Unix: it tells by the signal what ended a process.
#![cfg(unix)]

mod common;

use common::{PROGRAM, plugin};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};

/// In a process of its own: an allocation where none may be.
#[test]
#[ignore = "run by the test below, in a process that it may end"]
fn allocates_in_realtime_code() {
    assert_no_alloc::assert_no_alloc(|| drop(std::hint::black_box(Box::new(1))));
}

#[test]
fn an_allocation_in_realtime_code_ends_a_debug_build() {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "allocates_in_realtime_code"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    // SIGABRT. In a release build, where it would cost time, there is no guard.
    let expected = cfg!(debug_assertions).then_some(6);
    assert_eq!(status.signal(), expected, "{status:?}");
}

#[test]
fn the_program_has_the_guard_in_debug_builds_and_only_there() {
    // The allocator's methods are linked into a program that uses it as its allocator, and into
    // no other: their names are in its table of symbols.
    let has = |path: &std::path::Path| {
        let bytes = std::fs::read(path).unwrap();
        let name = b"AllocDisabler$u20$as$u20$core..alloc..global..GlobalAlloc$GT$5alloc17h";
        bytes.windows(name.len()).any(|window| window == name)
    };
    assert_eq!(has(PROGRAM.as_ref()), cfg!(debug_assertions));
    assert!(!has(&plugin("gain").path), "a library that has no such allocator");
}
