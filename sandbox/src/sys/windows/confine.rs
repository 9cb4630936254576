//! Confines this process.

use crate::confine::{Confinement, Enforced, Level};
use crate::sys::poll::Waker;
use std::path::PathBuf;

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub what: String,
    /// What would allow it.
    pub grant: &'static str,
}

/// Has the main thread woken when something is refused. Windows tells nobody of that.
pub fn wake_on_violation(_waker: Waker) {}

/// What has been refused and not been told yet.
pub fn take_violations() -> Vec<Violation> {
    Vec::new()
}

/// First of all in a worker: it inherits nothing but what the host listed, so nothing is to do.
pub fn leave_host() {}

/// Confines this process to what `plugins` need. What is in force afterwards.
pub fn begin(wanted: &Confinement, _plugins: &[PathBuf], _host: u32) -> Enforced {
    if wanted.level == Level::Off {
        return Enforced::off();
    }
    Enforced { level: wanted.level, missing: vec!["not there yet".into()], ..Enforced::default() }
}
