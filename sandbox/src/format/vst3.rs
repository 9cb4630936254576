//! VST3 plugins, through the `vst3` crate.
//!
//! | module | is |
//! |---|---|
//! | `bundle`, `module`, `factory` | from a file to the plugins in it |
//! | `instance`, `controller`, `persist` | a loaded plugin on its main thread |
//! | `buses`, `params`, `programs`, `presets`, `state` | what it has |
//! | `host`, `connection`, `message`, `stream`, `shared` | what it can call |
//! | `view`, `run_loop` | its editor, and what that needs of the host |
//! | `processor`, `buffers`, `events`, `notes`, `queues`, `context`, `midi` | on its audio thread |
//! | `link` | parameter values between the two |
//! | `lent`, `abi` | objects and texts of the C interface |
//!
//! # Threads
//! What the SDK calls the UI thread is the thread that loaded the plugin. `setProcessing` and
//! `process` are called by the audio thread, everything else by the main thread.
#![allow(
    clippy::unnecessary_cast,
    reason = "the standard's constants are signed where the compiler is Microsoft's, unsigned elsewhere"
)]
#![allow(non_upper_case_globals, reason = "constants have the names that the SDK gives them")]

mod abi;
mod buffers;
pub(super) mod bundle;
mod buses;
mod connection;
mod context;
mod controller;
mod events;
mod expressions;
mod factory;
mod host;
mod instance;
mod lent;
mod link;
mod message;
mod midi;
mod module;
mod notes;
mod params;
mod persist;
mod presets;
mod processor;
mod programs;
mod queues;
mod run_loop;
mod shared;
mod state;
mod stream;
mod view;

pub use instance::Vst3Instance;

use super::{Descriptor, KeepsLoaded, ListedPreset};
use crate::error::PluginError;
use crate::sys::folders::vst3_preset_folders;
use std::path::Path;

/// What is in a file. `shown` is what the user calls it.
pub(super) fn list(
    file: &Path,
    shown: &Path,
) -> Result<(Vec<Descriptor>, KeepsLoaded), PluginError> {
    let factory = factory::Factory::open(file, shown)?;
    let all = factory.classes.iter().map(|class| class.descriptor.clone()).collect();
    Ok((all, Box::new(factory)))
}

/// The preset files, where the standard has them, of what is in a file.
pub(super) fn presets(
    file: &Path,
    shown: &Path,
) -> Result<(Vec<ListedPreset>, KeepsLoaded), PluginError> {
    let (all, library) = list(file, shown)?;
    Ok((presets::list(&vst3_preset_folders(), &all), library))
}
