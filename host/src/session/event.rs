//! What a running session tells.

#[cfg(doc)]
use super::{Live, Session};
use sandrack_engine::event::NoteAddress;
use sandrack_sandbox::confine::Refusal;
use sandrack_sandbox::format::ParamEdit;
use std::path::PathBuf;

/// What became of a running session, or what its plugins tell.
#[derive(Clone, Debug, PartialEq)]
pub enum SessionEvent {
    /// The delay from driver input to driver output is another now.
    LatencyChanged {
        /// In frames.
        frames: u32,
    },
    /// A plugin was activated anew, as it had asked, or another took its place.
    Restarted(PluginAt),
    /// A plugin could not be activated anew. Its fallback is heard until it is replaced, or asks
    /// for it again.
    RestartFailed(PluginAt, String),
    /// A plugin's process has ended. Its fallback is heard until it is replaced.
    Gone(PluginAt),
    /// A plugin's process has ended by itself, and is being replaced (if it may be).
    Died {
        /// Which.
        at: PluginAt,
        /// How it ended.
        cause: String,
    },
    /// A plugin's process was ended because it hung, and is being replaced (if it may be).
    Killed {
        /// Which.
        at: PluginAt,
        /// What it did or did not do.
        why: String,
    },
    /// A plugin that had died or been killed plays again.
    Recovered {
        /// Which.
        at: PluginAt,
        /// So long after that was seen, ms.
        ms: f64,
    },
    /// A plugin has failed too often, and is left alone until [`Live::retry`].
    Quarantined {
        /// Which.
        at: PluginAt,
        /// How often, and how.
        reason: String,
    },
    /// What a plugin was given before it failed is in a file, from which `sandrack replay` has the
    /// failure again.
    CrashFile {
        /// Which.
        at: PluginAt,
        /// The file.
        path: PathBuf,
    },
    /// Values, texts or the list of parameters have changed; [`Session::info`] has them.
    ParamsChanged(PluginAt),
    /// A plugin's user, or the plugin itself, moved a parameter.
    ParamEdited(PluginAt, u32, ParamEdit),
    /// A note has ended by itself.
    NoteEnded(PluginAt, NoteAddress),
    /// The state differs from what was saved last.
    StateDirty(PluginAt),
    /// A plugin wants to process again. (All active plugins process every block.)
    ProcessRequested(PluginAt),
    /// A plugin's confinement refused it something: what, and the option that would allow it. Of
    /// plugins that share a process, the first is named.
    Refused(PluginAt, Refusal),
    /// A plugin's editor was closed by its user.
    EditorClosed(PluginAt),
    /// A line for the log; how grave, as in
    /// [`Notice::Log`](sandrack_sandbox::format::Notice::Log).
    Logged(PluginAt, i32, String),
}

/// Which plugin of a session: where it was when it was loaded. Stays the same when it is moved, and
/// when others come and go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PluginAt {
    /// Track, from 0.
    pub track: usize,
    /// Place in the track, from 0.
    pub plugin: usize,
}
