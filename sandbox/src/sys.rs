//! Everything that asks the operating system: one portable face, one folder a system behind it,
//! chosen here and nowhere else.
//!
//! | module | gives |
//! |---|---|
//! | `clock` | monotonic ns |
//! | `memory` | sealed shared memory, mappings that can be read-only for good |
//! | `wake` | waiting on, and waking, a word in shared memory |
//! | `thread` | realtime class, cores, locking memory |
//! | `process` | starting, watching, killing and reaping workers |
//! | `handles` | handing memory to another process |
//! | `library` | loading libraries, and beginning with them as VST3 modules |
//! | `fpu` | flush-to-zero |

pub mod fpu;

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
pub use linux::{clock, handles, library, memory, process, thread, wake};
