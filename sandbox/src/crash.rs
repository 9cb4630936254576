//! What a worker was doing when it ended: which entry point of the plugin, and, if a signal ended
//! it, where the code was.
//!
//! The worker writes both into its [crash page](crate::shm::crash_page), the second from a signal
//! handler ([`sys::crash`](crate::sys::crash)); the host reads them once the worker has ended. A
//! plugin may have written there too, or have taken the signals for itself: all of it is a hint.

use serde::{Deserialize, Serialize};
use std::fmt;

/// An entry point of a plugin, as both formats have them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
#[repr(u32)]
pub enum Call {
    /// None: the worker's own code, or not known.
    #[default]
    None,
    /// Loading the file, creating the plugin, `init`.
    Load,
    /// Questions about buses, notes, parameters.
    Describe,
    /// `activate` (VST3: `setupProcessing`, `setActive`).
    Activate,
    /// `start_processing`.
    Start,
    /// `process`.
    Process,
    /// `stop_processing`.
    Stop,
    /// `deactivate`.
    Deactivate,
    /// `state.save` (VST3: `getState`).
    SaveState,
    /// `state.load` (VST3: `setState`).
    LoadState,
    /// Loading a preset.
    LoadPreset,
    /// Text of a parameter's value, or the other way round.
    ParamText,
    /// Setting parameters while inactive.
    SetParams,
    /// Opening the editor.
    OpenEditor,
    /// Closing the editor.
    CloseEditor,
    /// What it asked to be called for on the main thread: timers, callbacks, its editor's events.
    Idle,
    /// `destroy` (VST3: `terminate`).
    Destroy,
}

impl Call {
    const ALL: [Self; 17] = [
        Self::None,
        Self::Load,
        Self::Describe,
        Self::Activate,
        Self::Start,
        Self::Process,
        Self::Stop,
        Self::Deactivate,
        Self::SaveState,
        Self::LoadState,
        Self::LoadPreset,
        Self::ParamText,
        Self::SetParams,
        Self::OpenEditor,
        Self::CloseEditor,
        Self::Idle,
        Self::Destroy,
    ];

    pub(crate) fn from_word(word: u32) -> Self {
        Self::ALL.get(word as usize).copied().unwrap_or_default()
    }

    /// What plugin makers call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Load => "load",
            Self::Describe => "describe",
            Self::Activate => "activate",
            Self::Start => "start_processing",
            Self::Process => "process",
            Self::Stop => "stop_processing",
            Self::Deactivate => "deactivate",
            Self::SaveState => "state.save",
            Self::LoadState => "state.load",
            Self::LoadPreset => "load of a preset",
            Self::ParamText => "text of a parameter",
            Self::SetParams => "change of parameters",
            Self::OpenEditor => "opening its editor",
            Self::CloseEditor => "closing its editor",
            Self::Idle => "its timers, callbacks or editor",
            Self::Destroy => "destroy",
        }
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// Which of a worker's threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ThreadKind {
    /// The one that runs blocks.
    Audio,
    /// The one for all else.
    Main,
    /// The plugin's own, or not known.
    #[default]
    Other,
}

impl fmt::Display for ThreadKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Audio => "audio thread",
            Self::Main => "main thread",
            Self::Other => "a thread of its own",
        })
    }
}

/// What a worker's signal handler saw.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caught {
    /// The signal.
    pub signal: i32,
    /// Whether somebody sent it, and no instruction raised it.
    pub was_sent: bool,
    /// The address that an instruction used in vain; means something for SIGSEGV and SIGBUS.
    pub address: u64,
    /// The thread.
    pub thread: ThreadKind,
    /// Registers: program counter, stack pointer, frame pointer, return address (where there is
    /// a register for it).
    pub registers: [u64; 4],
    /// The top of the stack, from the stack pointer on.
    pub stack: Vec<u8>,
    /// What was mapped where, as in `/proc/PID/maps`; may be cut off.
    pub maps: String,
}

/// What a worker was doing when it ended, or is doing now.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Doing {
    /// On its main thread: the plugin's number in the worker, and the entry point.
    pub main: (u32, Call),
    /// On its audio thread, `process` aside: the outbox and the recording tell of that.
    pub audio: (u32, Call),
    /// What its signal handler saw, if it was called.
    pub caught: Option<Caught>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_keep_their_numbers() {
        for (number, call) in Call::ALL.into_iter().enumerate() {
            assert_eq!(call as u32, number as u32);
            assert_eq!(Call::from_word(number as u32), call);
        }
        assert_eq!(Call::from_word(u32::MAX), Call::None);
    }
}
