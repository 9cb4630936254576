//! The plugins: what each does, and their descriptors.

use std::ffi::{CStr, c_char};
use std::ptr;

use clap_sys::plugin::clap_plugin_descriptor;
use clap_sys::plugin_features::{CLAP_PLUGIN_FEATURE_AUDIO_EFFECT, CLAP_PLUGIN_FEATURE_STEREO};
use clap_sys::version::CLAP_VERSION;

use crate::strikes::Strike;

macro_rules! plugins {
    ($($what:ident = $id:literal,)*) => {
        /// What a plugin does wrong; the library's first page describes each.
        #[derive(Clone, Copy, PartialEq, Eq)]
        pub(crate) enum What {
            $($what,)*
            /// Whatever its parameter says.
            Any,
            /// What plugins of every format do.
            Strike(Strike),
        }

        const OWN: &[What] = &[What::Any, $(What::$what,)*];
        const OWN_NAMES: &[(&str, &str)] = &[
            ("org.sandrack.hostile.any\0", "Sandrack Hostile any\0"),
            $((
                concat!("org.sandrack.hostile.", $id, "\0"),
                concat!("Sandrack Hostile ", $id, "\0"),
            ),)*
        ];
    };
}

plugins! {
    CreateNull = "create-null",
    InitPanics = "init-panics",
    Restarts = "restarts",
    Tells = "tells",
    Grows = "grows",
    LiesAudioPorts = "lies-audio-ports",
    LiesParams = "lies-params",
    LiesLatency = "lies-latency",
    LiesPortCounts = "lies-port-counts",
    ParamsChange = "params-change",
    RefusesAll = "refuses-all",
    Editor = "editor",
    GuiCreateHangs = "gui-create-hangs",
    GuiShowHangs = "gui-show-hangs",
}

const COUNT: usize = OWN.len() + Strike::ALL.len();

/// One for each plugin.
pub(crate) static DESCRIPTORS: [clap_plugin_descriptor; COUNT] = {
    let mut all = [descriptor(OWN_NAMES[0].0, OWN_NAMES[0].1); COUNT];
    let mut at = 0;
    while at < COUNT {
        let (id, name) = match at < OWN.len() {
            true => OWN_NAMES[at],
            false => {
                let strike = Strike::ALL[at - OWN.len()];
                (strike.clap_id(), strike.clap_name())
            }
        };
        all[at] = descriptor(id, name);
        at += 1;
    }
    all
};

/// What the plugin with that descriptor does.
pub(crate) fn at(index: usize) -> What {
    match OWN.get(index) {
        Some(what) => *what,
        None => What::Strike(Strike::ALL[index - OWN.len()]),
    }
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
