//! Sandrack's host library: drivers, sessions, measurement, and what the program `sandrack` does.
//!
//! | part | for |
//! |---|---|
//! | [`drivers`] | whatever calls back with a block of audio |
//! | [`session`] | plugins loaded, connected and ready to be called back |
//! | [`rig`] | everything that is played together, in a file |
//! | [`play`] | a rig that plays, for programs that show and change it |
//! | [`join`] | the engine's remote nodes as workers: engine and sandbox do not know each other |
//! | [`faults`] | what went wrong with plugins while they ran |
//! | [`flight`] | recordings of plugins that failed, and how to have it again |
//! | [`measure`], [`report`] | from timing records to histograms, JSON, text and HTML |
//! | [`catalog`] | the plugins of this machine: scanned, listed, found by name |
//! | [`bench`](mod@bench), [`render`] | the two long jobs |
//! | [`torture`](mod@torture) | the proof that plugins can't hurt each other |
//! | [`midi`] | from MIDI ports to instruments, parameters and commands |
//! | [`midi_file`], [`automation`] | what is played offline |
//! | [`cli`] | the command line |
//!
//! # Threads
//! | thread | runs |
//! |---|---|
//! | control (the one that made the [`Session`](session::Session)) | everything but the next line |
//! | the driver's realtime thread | [`EngineCallback`](session::EngineCallback), between a driver's start and stop |

pub mod automation;
pub mod bench;
pub mod catalog;
pub mod check;
pub mod cli;
pub mod drivers;
mod errand;
pub mod error;
pub mod faults;
pub mod flight;
pub mod join;
pub mod measure;
pub mod midi;
mod midi_events;
pub mod midi_file;
pub mod mpe;
pub mod play;
pub mod plugins;
mod presets;
pub mod render;
pub mod report;
pub mod rig;
pub mod session;
pub mod torture;
pub mod wav;

/// Every program that plays plugins begins with this: started as a worker, by itself, it is one, and
/// never returns.
pub use sandrack_sandbox::worker::run_if_worker;
