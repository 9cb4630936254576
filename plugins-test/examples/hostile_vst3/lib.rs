//! Hostile VST3 plugins, classes `Hostile WHAT`, for hosts to survive, and classes `Odd WHAT` that
//! keep the rules in ways not often seen.
//!
//! Apart from its one fault each hostile class is a valid effect that passes audio through: stereo,
//! and most take one to eight channels.
//!
//! | when | WHAT |
//! |---|---|
//! | `createInstance` | `create-fails`, `create-null` (succeeds, and gives null) |
//! | `initialize` | `init-fails`, `init-aborts`, `init-exits` with code 0, `init-hangs`, `init-stops` (SIGSTOP to its own process, a moment after it has returned) |
//! | `setupProcessing` | `setup-fails` |
//! | `setActive` | `activate-fails`, `activate-aborts`, `activate-exits`, `activate-hangs`, `deactivate-aborts`, `deactivate-hangs` |
//! | `setProcessing` | `start-fails`, `start-hangs`, `stop-hangs`, `start-spins`, `stop-spins` |
//! | `terminate` | `destroy-aborts`, `destroy-hangs` |
//! | `getState` | `state-save-aborts`, `state-save-hangs`, `state-save-endless` (writes for as long as it is let); with a controller of a class of its own: `split-state-hangs`, `split-state-fails` |
//! | `setState` | `state-load-aborts`, `state-load-hangs` |
//! | block N, fatally | `segfault`, `abort`, `exit` with code 0, `stack-overflow`, `heap-smash`, `double-free`, `hang` (busy), `sleep` (forever), `stop` (SIGSTOP to its own process), `rings-host` (sleeps while threads of it write to the word at which the host waits), `scribbles-asleep` (sleeps while one writes over the marks of how far it is) |
//! | block N, once | `late` (busy for 20 ms), `scribble` (random bytes over all writable shared memory it can find), `wrong-threads` (calls the component handler from a thread of its own, and from `process`), `param-list-changes` (has more parameters from then on, and says nothing) |
//! | block N, once, to the process it is in | `closes-descriptors` (all), `changes-priority` (as urgent as may be), `changes-mask` (blocks all signals), `handles-signals` (ignores all, and then uses memory that is not there) |
//! | block N and after | `nan`, `inf`, `denormal` (fill the outputs), `error` (returns `kInternalError`), `bad-events` (of absurd time, bus, type, order and content, and a null pointer), `event-flood` (65536 notes), `log-flood` (1024 lines to standard error), `bad-params` (NaN, infinite, out of order, of unknown parameters), `param-flood` (65536 queues and points), `bad-silence` (flags channels that are not there), `moves-buffers` (writes nonsense over the description of its buffers), `releases` (the host's lists, three times each), `keeps` (references to the host's lists, and calls them in the next block), `restart-flood` (asks for everything 1000 times) |
//! | block N and after, to the process it is in | `writes-descriptors` (rubbish to all there are), `sends-descriptors` (the same, with both ends of a new pair of sockets sent along) |
//! | block N and after, on a thread of its own | `wrong-counts` (absurd counts, marks and times over the heads of all writable shared memory, while others read it) |
//! | block N, once, without end | `fork-bomb` (2000 processes), `thread-bomb` (5000), `memory-bomb` (16 GiB, piece by piece), `big-allocation` (10 GiB at once), `fills-folder` (4 GiB into $XDG_DATA_HOME), `fills-file` (the same in one file), `hides-files` (in a file without a name), `hides-memory` (16 GiB in files that exist in memory only), `leaves-memory` (64 MiB of System V's, and aborts), `spins-everywhere` (two threads a core, at realtime priority if they can have it) |
//! | `initialize`, and block N, once | attempts to reach beyond the worker, told on standard error: `opens-socket`, `reads-home` ($HOME/.ssh/id), `writes-home`, `executes` (in a process of its own), `executes-itself` (in its place), `kills-parent` (outside of blocks it only asks whether it could), `reads-parent` (its environment), `traces-parent` (as a debugger), `opens-files` (4000), `eats-memory` (8 TiB of address space), `changes-mode`; and what is permitted: `writes-private` ($XDG_CONFIG_HOME), `starts-thread` |
//! | always | `all-errors` (every call that can gives `kInternalError`) |
//! | `createView` | `view-aborts`, `view-hangs` |
//! | bus queries | `negative-buses` (-1 of each), `million-buses` (of 2^31-1 or -5 channels, or absent, with unterminated names), `thousand-channels` (in one bus) |
//! | `setBusArrangements` | `agrees` (to everything, and stays stereo), `grows` (has 100000 channels then, unless asked for stereo) |
//! | parameter queries | `negative-params` (-1), `lies-params` (2^31-1 with equal ids, unterminated names and NaN, or absent) |
//!
//! `any` is whichever of those its parameter `kind` names (id 7: their texts; 0 is none), of those
//! that CLAP plugins do too; it also has `value` (id 8) and `edits` (id 9), which are in its state.
//! `block` is 0 by default then, and neither it nor `kind` is taken from its state: what brings it
//! back after a fault brings it back in peace.
//!
//! What hangs outside of `process` sleeps, so that it costs test machines nothing.
//!
//! N is the parameter `block` (id 0, 0..1000000, default 100), unless the environment variable
//! `SANDRACK_HOSTILE_BLOCK` says otherwise. Blocks are counted from 0 since the last activation: N
//! blocks are processed well before the fault.
//!
//! | class | is |
//! |---|---|
//! | `Odd double` | a gain that takes 64-bit samples only |
//! | `Odd split` | a gain whose controller is a class of its own, and learns its values from the host |
//! | `Odd mono` | a gain that refuses any arrangement but mono |
//! | `Odd buses` | 11 stereo inputs (all but the first inactive by default), 3 stereo outputs: each is the sum of the active inputs |
//! | `Odd latency` | a gain with a latency of 64 frames until block N, then 128, which it tells |
//! | `Odd midi-out` | puts out MIDI controllers 74, 128 (pressure), 129 (bend) and 130 (program) for each note that it gets |
//! | `Odd midi-mapping` | puts out a constant per held note, times its volume, which controller 7 moves; `bend` and `pressure`, which is read-only but for that, likewise show what moved them |
//! | `Odd empty` | a gain without channels until the host arranges its buses to be stereo |
//! | `Odd adapts` | a gain that takes one to eight channels, but says it doesn't |
//! | `Odd mono-first` | a gain, mono unless it is asked for stereo |
//! | `Odd asks` | puts out the sum of its inputs, of which the second is inactive until the plugin asks for it, in its first block |
//! | `Odd programs` | a gain of 0, 1/4, 1/2, 3/4 or 1, which its five programs are, behind a parameter that MIDI does not move by itself; of two units, the second |
//! | `Odd silent` | marks its outputs as silence, as its inputs may have been, and has something in them all the same |
//! | `Odd sysex` | answers each system exclusive message with the same one, the bytes between its ends backwards |
//! | `Odd sloppy` | a gain that answers `kResultFalse` or `kNotImplemented` wherever hosts live with that |
//! | `Odd remaps` | a gain whose parameter is another (`value`, id 8) from block N on, which it tells |
//! | `Odd stateless` | a gain that says that it has no state, by `kResultFalse` |
//! | `Odd wide` | a gain of 200 channels in one bus |
//! | `Odd twins` | a gain whose controller is a class of its own, with a state of its own that is the same as the component's; it does not look at the component's |
//!
//! The gains have a parameter `gain` (id 1, 0..1, default 1).
//!
//! # Safety
//!
//! All files here are `unsafe` code that trusts the host to keep VST3's rules about pointers,
//! threads and the order of calls. Where they break those rules themselves, they do so on purpose;
//! nobody should load this into a process that has more to lose.
#![allow(unsafe_code, reason = "implements and breaks a C++ interface, see above")]
#![allow(
    clippy::unnecessary_cast,
    reason = "the standard's constants are signed where the compiler is Microsoft's, unsigned elsewhere"
)]
#![allow(non_snake_case, non_upper_case_globals, reason = "the format's own names")]

mod buses;
mod component;
mod controller;
mod factory;
mod lies;
mod plugin;
mod process;
mod strike;
#[path = "../strikes/mod.rs"]
mod strikes;
mod text;
mod units;
mod what;

use std::ffi::c_void;
use vst3::ComWrapper;
use vst3::Steinberg::IPluginFactory;

#[cfg_attr(not(windows), unsafe(export_name = "ModuleEntry"))]
#[cfg_attr(windows, unsafe(export_name = "InitDll"))]
extern "system" fn enter(_library: *mut c_void) -> bool {
    true
}

#[cfg_attr(not(windows), unsafe(export_name = "ModuleExit"))]
#[cfg_attr(windows, unsafe(export_name = "ExitDll"))]
extern "system" fn leave() -> bool {
    true
}

/// The entry point of VST3.
#[unsafe(no_mangle)]
extern "system" fn GetPluginFactory() -> *mut IPluginFactory {
    let factory = ComWrapper::new(factory::Factory).to_com_ptr::<IPluginFactory>();
    factory.map_or(std::ptr::null_mut(), vst3::ComPtr::into_raw)
}
