//! What can go wrong: with a plugin ([`PluginError`], said by the worker), and with a worker
//! ([`Error`], said by the supervisor). Each text stands on one line and names the file.

use crate::protocol::VERSION;
use crate::sys::process::Exit;
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// A plugin can't be used. The path or name leads; the user has to do something about the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub enum PluginError {
    /// There is no such file.
    #[error("{path}: no such file")]
    Missing {
        /// The file.
        path: String,
    },
    /// It can't be read.
    #[error("{path}: can't be read: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// What the system said.
        reason: String,
    },
    /// It is something else, or for another machine.
    #[error("{path}: not a plugin for this system: {reason}")]
    NotAPlugin {
        /// The file.
        path: String,
        /// What it is.
        reason: String,
    },
    /// The system's loader, or the plugin's own entry function, refused.
    #[error("{path}: can't be loaded: {reason}")]
    Load {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// The file has no plugin of this id.
    #[error("{path}: no plugin '{id}' in it; it has: {has}")]
    NoSuchId {
        /// The file.
        path: String,
        /// The id asked for.
        id: String,
        /// The ids there are.
        has: String,
    },
    /// A call of the plugin failed, and the plugin can't be used without it.
    #[error("{plugin}: {call} failed: {reason}")]
    Call {
        /// The plugin: file and id.
        plugin: String,
        /// Which call.
        call: String,
        /// Why, as far as known.
        reason: String,
    },
    /// What the plugin says of itself makes no sense.
    #[error("{plugin}: {what}")]
    Absurd {
        /// The plugin: file and id.
        plugin: String,
        /// What it said.
        what: String,
    },
}

/// A worker can't be used any more, or never could.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The plugin can't be used; the worker is well.
    #[error(transparent)]
    Plugin(#[from] PluginError),
    /// The worker ended by itself. The plugin crashed it, or called exit.
    #[error("{name}: its worker {exit} during {during}")]
    Died {
        /// The plugin, or whatever the worker was started for.
        name: String,
        /// How it ended.
        exit: Exit,
        /// What it had been asked to do.
        during: String,
    },
    /// The worker used more than it may, and was ended.
    #[error("{name}: its worker {what}, and was ended during {during}")]
    Excess {
        /// The plugin, or whatever the worker was started for.
        name: String,
        /// What it used, and how much it may.
        what: String,
        /// What it had been asked to do.
        during: String,
    },
    /// The worker did not answer in time; it was killed.
    #[error("{name}: no answer to {during} within {timeout:?}; its worker was killed")]
    Timeout {
        /// The plugin, or whatever the worker was started for.
        name: String,
        /// What it had been asked to do.
        during: String,
        /// How long it was given.
        timeout: Duration,
    },
    /// The worker did not answer in time. It goes on: its main thread hangs, its audio does not.
    #[error("{name}: no answer to {during} within {timeout:?}; it hangs, its audio goes on")]
    Hung {
        /// The plugin, or whatever the worker was started for.
        name: String,
        /// What it had been asked to do.
        during: String,
        /// How long it was given.
        timeout: Duration,
    },
    /// The worker answered something that makes no sense. It was killed.
    #[error("{name}: its worker broke the protocol ({what}) and was killed")]
    Protocol {
        /// The plugin, or whatever the worker was started for.
        name: String,
        /// What it did.
        what: String,
    },
    /// The program that was to be a worker is not of the build that this host is of.
    #[error(
        "{name}: the program that is to run it is of another build than this host ({}): install both \
         together, and start the host again",
        VERSION
    )]
    OtherBuild {
        /// The plugin, or whatever the worker was started for.
        name: String,
    },
    /// The system refused something the host needs.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// What the system said.
        source: std::io::Error,
    },
}

impl Error {
    /// For `map_err` on system calls.
    pub(crate) fn system(what: impl Into<String>) -> impl FnOnce(std::io::Error) -> Self {
        let what = what.into();
        move |source| Self::System { what, source }
    }
}
