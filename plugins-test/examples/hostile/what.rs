//! The faults and the plugins' descriptors.

use std::ffi::{CStr, c_char};
use std::ptr;

use clap_sys::plugin::clap_plugin_descriptor;
use clap_sys::plugin_features::{CLAP_PLUGIN_FEATURE_AUDIO_EFFECT, CLAP_PLUGIN_FEATURE_STEREO};
use clap_sys::version::CLAP_VERSION;

macro_rules! faults {
    ($($what:ident = $id:literal,)*) => {
        /// What a plugin does wrong; the library's first page describes each.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum What {
            $($what,)*
        }

        impl What {
            pub(crate) const ALL: &[What] = &[$(What::$what,)*];
        }

        /// In the order of [`What::ALL`].
        pub(crate) static DESCRIPTORS: [clap_plugin_descriptor; What::ALL.len()] = [
            $(descriptor(
                concat!("org.sandrack.hostile.", $id, "\0"),
                concat!("Sandrack Hostile ", $id, "\0"),
            ),)*
        ];
    };
}

faults! {
    CreateNull = "create-null",
    InitFails = "init-fails",
    InitPanics = "init-panics",
    InitAborts = "init-aborts",
    InitExits = "init-exits",
    InitHangs = "init-hangs",
    ActivateFails = "activate-fails",
    ActivateAborts = "activate-aborts",
    ActivateExits = "activate-exits",
    ActivateHangs = "activate-hangs",
    StartFails = "start-fails",
    Segfault = "segfault",
    Abort = "abort",
    Exit = "exit",
    Hang = "hang",
    Sleep = "sleep",
    Stop = "stop",
    Late = "late",
    Scribble = "scribble",
    Nan = "nan",
    Inf = "inf",
    Denormal = "denormal",
    Error = "error",
    BadEvents = "bad-events",
    EventFlood = "event-flood",
    Restarts = "restarts",
    Tells = "tells",
    Grows = "grows",
    DestroyHangs = "destroy-hangs",
    StateSaveHangs = "state-save-hangs",
    LiesAudioPorts = "lies-audio-ports",
    LiesParams = "lies-params",
    LiesPortCounts = "lies-port-counts",
    ParamsChange = "params-change",
    RefusesAll = "refuses-all",
    WrongThreads = "wrong-threads",
    Editor = "editor",
    GuiCreateHangs = "gui-create-hangs",
    GuiShowHangs = "gui-show-hangs",
    OpensSocket = "opens-socket",
    ReadsHome = "reads-home",
    WritesHome = "writes-home",
    WritesPrivate = "writes-private",
    Executes = "executes",
    ExecutesItself = "executes-itself",
    KillsParent = "kills-parent",
    ReadsParent = "reads-parent",
    OpensFiles = "opens-files",
    EatsMemory = "eats-memory",
    ChangesMode = "changes-mode",
    StartsThread = "starts-thread",
}

struct Features([*const c_char; 3]);

// SAFETY: nobody writes to it, nor to the strings it points to.
unsafe impl Sync for Features {}

static FEATURES: Features = Features([
    CLAP_PLUGIN_FEATURE_AUDIO_EFFECT.as_ptr(),
    CLAP_PLUGIN_FEATURE_STEREO.as_ptr(),
    ptr::null(),
]);

const fn descriptor(id: &'static str, name: &'static str) -> clap_plugin_descriptor {
    const EMPTY: *const c_char = c"".as_ptr();
    clap_plugin_descriptor {
        clap_version: CLAP_VERSION,
        id: c_string(id),
        name: c_string(name),
        vendor: c"Sandrack".as_ptr(),
        url: EMPTY,
        manual_url: EMPTY,
        support_url: EMPTY,
        version: c"1.0.0".as_ptr(),
        description: EMPTY,
        features: (&raw const FEATURES.0).cast(),
    }
}

const fn c_string(text: &'static str) -> *const c_char {
    match CStr::from_bytes_with_nul(text.as_bytes()) {
        Ok(text) => text.as_ptr(),
        Err(_) => panic!("no NUL at the end"),
    }
}
