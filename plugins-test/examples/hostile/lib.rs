//! Hostile CLAP plugins, `org.sandrack.hostile.WHAT`, for hosts to survive.
//!
//! Apart from its one fault each is a valid stereo effect that passes audio through.
//!
//! | when | WHAT |
//! |---|---|
//! | `create_plugin` | `create-null` returns null |
//! | `init` | `init-fails` returns false, `init-panics` (which aborts), `init-aborts`, `init-exits` with code 0, `init-hangs`, `init-stops` (SIGSTOP to its own process, a moment after it has returned) |
//! | `activate` | `activate-fails`, `activate-aborts`, `activate-exits`, `activate-hangs` |
//! | `start_processing` | `start-fails` returns false, `start-hangs`, `start-spins` (busy) |
//! | `stop_processing`, `deactivate`, `destroy` | `stop-hangs`, `stop-spins` (busy), `deactivate-aborts`, `deactivate-hangs`, `destroy-aborts`, `destroy-hangs` |
//! | `state.save`, `state.load` | `state-save-aborts`, `state-save-hangs`, `state-load-aborts`, `state-load-hangs` |
//! | block N, fatally | `segfault`, `abort`, `exit` with code 0, `stack-overflow`, `heap-smash`, `double-free`, `hang` (busy), `sleep` (forever), `stop` (SIGSTOP to its own process), `rings-host` (sleeps while threads of it write to the word at which the host waits), `scribbles-asleep` (sleeps while one writes over the marks of how far it is) |
//! | block N, once | `late` (busy for 20 ms), `scribble` (random bytes over all writable shared memory it can find) |
//! | block N, once, to the process it is in | `closes-descriptors` (all), `changes-priority` (as urgent as may be), `changes-mask` (blocks all signals), `handles-signals` (ignores all, and then uses memory that is not there) |
//! | block N and after | `nan`, `inf`, `denormal` (fill the outputs), `error` (returns `CLAP_PROCESS_ERROR`), `bad-events` (outputs events of absurd size, time, type, order and content, and a null pointer), `event-flood` (outputs 65536 notes), `log-flood` (65536 lines to the host's log), `wrong-threads` (calls what the host has for the main thread, asks for a restart, and does so from a thread of its own too) |
//! | block N and after, to the process it is in | `writes-descriptors` (rubbish to all there are), `sends-descriptors` (the same, with both ends of a new pair of sockets sent along) |
//! | block N and after, on a thread of its own | `wrong-counts` (absurd counts, marks and times over the heads of all writable shared memory, while others read it) |
//! | block N and after | `restarts` (asks to be restarted), `grows` (likewise, and has a second stereo output once it was deactivated), `tells` (takes hold of `block`, moves it to the number of the block, lets go of it) |
//! | block N, once, without end | `fork-bomb` (2000 processes), `thread-bomb` (5000), `memory-bomb` (16 GiB, piece by piece), `big-allocation` (10 GiB at once), `fills-folder` (4 GiB into $XDG_DATA_HOME), `fills-file` (the same in one file), `hides-files` (in a file without a name), `hides-memory` (16 GiB in files that exist in memory only), `leaves-memory` (64 MiB of System V's, and aborts), `spins-everywhere` (two threads a core, at realtime priority if they can have it) |
//! | `init`, and block N, once | attempts to reach beyond the worker, told on standard error: `opens-socket`, `reads-home` ($HOME/.ssh/id), `writes-home`, `executes` (in a process of its own), `executes-itself` (in its place), `kills-parent` (outside of blocks it only asks whether it could), `reads-parent` (its environment), `traces-parent` (as a debugger), `opens-files` (4000), `eats-memory` (8 TiB of address space), `changes-mode`; and what is permitted: `writes-private` ($XDG_CONFIG_HOME), `starts-thread` |
//! | `latency.get` | `lies-latency` (2^32-1 frames) |
//! | port and parameter queries | `lies-audio-ports` (a million ports, of 2^32-1 channels or absent), `lies-params` (4 billion parameters with equal ids, inverted ranges, NaN and unterminated names), `lies-port-counts` (as many ports as were asked for before, with fewer channels each time), `refuses-all` (returns false from every call but init, activate and start_processing) |
//! | every block | `params-change` (has one parameter more or less and says so from there) |
//! | editor | `gui-create-hangs`, `gui-show-hangs`; `editor` has one that works, on X11 |
//!
//! `any` is whichever of those its parameter `kind` names (id 7: their texts; 0 is none), of those
//! that VST3 plugins do too; it also has `value` (id 8) and `edits` (id 9), both 0..1, which are in its
//! state. `block` is 0 by default then, and neither it nor `kind` is in its state: what brings it back
//! after a fault brings it back in peace.
//!
//! What hangs outside of `process` sleeps, so that it costs test machines nothing.
//!
//! N is the parameter `block` (id 0, whole numbers 0..1000000, default 100), unless the
//! environment variable `SANDRACK_HOSTILE_BLOCK` says otherwise. Blocks are counted from
//! 0 since the last activation: N blocks are processed well before the fault. A block in
//! which a plugin strikes has been processed well up to then.
//!
//! On systems other than Linux `scribble` writes over its output buffers only; `writes-descriptors`
//! and `sends-descriptors` sleep there, as `stop` does where there is no SIGSTOP.
//!
//! # Safety
//!
//! All files here are `unsafe` code that trusts the host to keep CLAP's rules about
//! pointers, threads and the order of calls. Where they break those rules themselves, they
//! do so on purpose; nobody should load this into a process that has more to lose.
#![allow(unsafe_code, reason = "implements and breaks a C interface, see above")]

mod calls;
mod extensions;
#[cfg(unix)]
mod gui;
mod plugin;
mod strike;
#[path = "../strikes/mod.rs"]
mod strikes;
mod what;

use std::ffi::{CStr, c_char, c_void};
use std::ptr;

use clap_sys::entry::clap_plugin_entry;
use clap_sys::factory::plugin_factory::{CLAP_PLUGIN_FACTORY_ID, clap_plugin_factory};
use clap_sys::host::clap_host;
use clap_sys::plugin::{clap_plugin, clap_plugin_descriptor};
use clap_sys::version::CLAP_VERSION;

use what::{DESCRIPTORS, What};

/// The entry point of CLAP.
#[unsafe(no_mangle)]
#[allow(non_upper_case_globals, reason = "CLAP says how it is spelt")]
pub static clap_entry: clap_plugin_entry = clap_plugin_entry {
    clap_version: CLAP_VERSION,
    init: Some(init),
    deinit: Some(deinit),
    get_factory: Some(get_factory),
};

static FACTORY: clap_plugin_factory = clap_plugin_factory {
    get_plugin_count: Some(get_plugin_count),
    get_plugin_descriptor: Some(get_plugin_descriptor),
    create_plugin: Some(create_plugin),
};

extern "C" fn init(_plugin_path: *const c_char) -> bool {
    true
}

extern "C" fn deinit() {}

unsafe extern "C" fn get_factory(id: *const c_char) -> *const c_void {
    // SAFETY: the host passes a string.
    if unsafe { CStr::from_ptr(id) } == CLAP_PLUGIN_FACTORY_ID {
        (&raw const FACTORY).cast()
    } else {
        ptr::null()
    }
}

extern "C" fn get_plugin_count(_factory: *const clap_plugin_factory) -> u32 {
    DESCRIPTORS.len() as u32
}

extern "C" fn get_plugin_descriptor(
    _factory: *const clap_plugin_factory,
    index: u32,
) -> *const clap_plugin_descriptor {
    DESCRIPTORS.get(index as usize).map_or(ptr::null(), ptr::from_ref)
}

unsafe extern "C" fn create_plugin(
    _factory: *const clap_plugin_factory,
    host: *const clap_host,
    id: *const c_char,
) -> *const clap_plugin {
    // SAFETY: the host passes a string, and the descriptors' ids are strings.
    let same = |d: &&clap_plugin_descriptor| unsafe { CStr::from_ptr(d.id) == CStr::from_ptr(id) };
    let Some(index) = DESCRIPTORS.iter().position(|d| same(&d)) else { return ptr::null() };
    match what::at(index) {
        What::CreateNull => ptr::null(),
        what => plugin::create(what, &DESCRIPTORS[index], host),
    }
}
