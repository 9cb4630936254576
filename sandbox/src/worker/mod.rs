//! Inside a worker process.
//!
//! | thread | file | does |
//! |---|---|---|
//! | main | `main_thread`, `editors` | plugins' main-thread calls, requests, timers, editors |
//! | control | `control_thread` | receives requests; answers those about connections; ends the process when the host is gone |
//! | audio | `audio_thread` | waits at the doorbell, runs nodes, rings the next |
//!
//! A program that hosts plugins calls [`run_if_worker`] first thing in `main`: workers are that
//! same program, started again.

mod audio_thread;
mod control_thread;
mod editors;
mod main_thread;
mod node;
mod source;

use crate::protocol::WORKER_ARGUMENT;
use std::ffi::OsString;

/// If this process was started as a worker, is one, and does not return.
pub fn run_if_worker() {
    crate::calibrate::run_if_link();
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_some_and(|first| first == WORKER_ARGUMENT) {
        let rest: Vec<OsString> = arguments.collect();
        let code = match main_thread::run(&rest) {
            Ok(()) => 0,
            Err(reason) => {
                // Normally nobody reads this; `--show-worker-errors` does.
                eprintln!("sandrack worker: {reason}");
                2
            }
        };
        // Not a return: static destructors of plugins' libraries may hang or crash.
        crate::sys::process::exit_now(code);
    }
}
