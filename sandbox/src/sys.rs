//! Everything that asks the operating system: one portable face, one folder a system behind it,
//! chosen here and nowhere else.
//!
//! | module | gives |
//! |---|---|
//! | `channel` | ways for messages between a host and a worker |
//! | `clock` | monotonic ns |
//! | `confine` | what a worker may do to the rest of the system |
//! | `crash` | where a worker was when a signal ended it |
//! | `memory` | sealed shared memory, mappings that can be read-only for good |
//! | `wake` | waiting on, and waking, a word: of this process, or in shared memory by its bell |
//! | `thread` | realtime class, cores, locking memory |
//! | `process` | starting, watching, killing and reaping workers |
//! | `handles` | handing memory to another process |
//! | `idle` | keeping idle cores awake |
//! | `folders` | where plugins and presets are installed; drives |
//! | `library` | loading libraries, and beginning with them as VST3 modules |
//! | `poll` | waiting for a wake, a time or a descriptor, whichever comes first |
//! | `traces` | what a host has left behind |
//! | `usage` | what a process uses, and how the machine is doing |
//! | `window` | windows that plugins put their editors in |
//! | `signals` | being told to end |
//! | `shape` | sizes of windows, on every system |
//! | `image` | for which system and machine a library is, told by its first bytes |
//! | `fpu` | flush-to-zero |

pub mod fpu;
pub mod image;
pub mod shape;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{
    channel, clock, confine, crash, folders, handles, idle, library, memory, poll, process,
    signals, thread, traces, usage, wake, window,
};

#[cfg(windows)]
mod windows;
#[cfg(windows)]
pub use windows::{
    channel, clock, confine, crash, folders, handles, idle, library, memory, poll, process,
    signals, thread, traces, usage, wake, window,
};
