//! Keeping idle cores from sleeping deeply: on Windows the power plan's affair.

use std::io;

/// While this lives, idle cores don't sleep.
#[derive(Debug)]
pub struct CoresAwake(());

/// Keeps all cores awake.
///
/// # Errors
/// Always: Windows lets no program do so. [`awake_advice`] says what to do.
pub fn keep_cores_awake() -> io::Result<CoresAwake> {
    Err(io::ErrorKind::Unsupported.into())
}

/// For a user whose cores can't be kept awake: what would permit it.
pub fn awake_advice() -> &'static str {
    "idle cores may sleep, which makes waking them slower: choose the power plan 'High performance' \
     (or 'Ultimate performance') and set the minimum processor state to 100%"
}
