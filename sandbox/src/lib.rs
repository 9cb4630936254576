//! Plugins in worker processes, over shared memory.
//!
//! A plugin is loaded in a *worker*: the host's own program, started again
//! ([`worker::run_if_worker`]). In each block the host publishes what all nodes need to know,
//! rings the first nodes and waits for the last; in between, each worker reads its predecessors'
//! outputs, runs its plugin, and rings its successors itself. What a worker writes is checked
//! where it is read, and no worker can write what a stranger reads.
//!
//! | part | for |
//! |---|---|
//! | [`supervisor`] | starting, loading, activating, ending: everything that isn't a block |
//! | [`remote`] | the host's side of a block |
//! | [`worker`] | inside the worker process |
//! | [`format`](mod@format) | CLAP and VST3 behind a pair of traits |
//! | [`shm`] | layout of shared memory, and the typed views of it |
//! | [`protocol`] | messages of the control path |
//! | [`confine`] | levels of confinement, grants, what is in force |
//! | [`crash`] | what a worker was doing when it ended |
//! | [`limits`] | how much a worker may use |
//! | [`event`], [`sysex`] | what happens within a block |
//! | [`calibrate`] | cost of a wake on this machine |
//! | [`local`] | a plugin in this process, to be compared with |
//! | [`sys`] | the operating system |
//!
//! # Threads
//! | thread | uses |
//! |---|---|
//! | control (any but realtime) | [`supervisor`], [`calibrate`], `RemoteSet::connect` and its drop |
//! | realtime (the driver's callback) | all other methods of [`RemoteSet`](remote::RemoteSet) |
//! | a worker's main, control, audio thread | see [`worker`] |
//!
//! # `unsafe`
//! Denied, and allowed in these modules alone, each of which says what keeps it sound:
//! `sys::{fpu, linux::{confine, crash, library, memory, poll, process, thread}}`, `shm::{view, recording,
//! crash_page}`, `format::clap` and
//! its `editor`, `extensions`, `lists`, `more_host`, `pool`, `presets` and `processor`,
//! `format::vst3` apart from those of its modules that touch no plugin; and in single
//! functions of `worker::node`, `local` and `calibrate`.

mod audio;
pub mod calibrate;
pub mod confine;
pub mod crash;
pub mod error;
pub mod event;
pub mod format;
pub mod limits;
pub mod local;
pub mod passing;
pub mod protocol;
pub mod remote;
pub mod scrub;
pub mod shm;
pub mod supervisor;
pub mod sys;
pub mod sysex;
pub mod worker;
