//! Confines this process.

use super::handles::Handle;
use crate::confine::{Confinement, Enforced, Level, Reached, Refusal};
use std::io;
use std::path::{Path, PathBuf};

/// The level where none is asked for.
pub const USUAL: Level = Level::Off;

/// In the host: tells what a worker is refused. Windows tells nobody of that, so there is none.
pub enum Listener {}

impl Listener {
    /// Begins to answer.
    ///
    /// # Errors
    /// Always.
    pub fn start(
        _listener: Handle,
        _process: u32,
        _reached: Reached,
        _name: &str,
        _keep: impl Fn(&Refusal) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lets the worker read a file or folder from now on.
    pub fn grant(&self, _path: &Path) {
        match *self {}
    }

    /// Lets the worker read what belongs to another plugin from now on.
    pub fn grant_plugin(&self, _plugin: &Path) {
        match *self {}
    }

    /// What has been refused since the last call.
    pub fn take(&self) -> Vec<Refusal> {
        match *self {}
    }

    /// All that has been refused, each once, up to a limit.
    pub fn refused(&self) -> Vec<Refusal> {
        match *self {}
    }

    /// Whether the worker may read what lies there.
    pub fn reaches(&self, _path: &Path) -> bool {
        match *self {}
    }
}

/// What came of confining this process.
pub struct Begun {
    /// What is in force.
    pub enforced: Enforced,
    /// The files that can be reached.
    pub reached: Reached,
    /// For the host, to [listen](Listener) at.
    pub listener: Option<Handle>,
}

/// From now on no thread gets more urgent by itself. (Who may use the realtime class of MMCSS is the
/// system's affair.)
pub fn keep_realtime() -> std::io::Result<()> {
    Ok(())
}

/// First of all in a worker: it inherits nothing but what the host listed, so nothing is to do.
pub fn leave_host() {}

/// Confines this process to what `plugins` need. What is in force afterwards.
pub fn begin(wanted: &Confinement, _plugins: &[PathBuf], _host: u32) -> Begun {
    let missing = vec!["not there yet".into()];
    let enforced = match wanted.level {
        Level::Off => Enforced::off(),
        level => Enforced { level, missing, ..Enforced::default() },
    };
    Begun { enforced, reached: Reached::default(), listener: None }
}
