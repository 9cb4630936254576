//! What can go wrong in the host.

use std::path::PathBuf;

/// Errors of the host. Each text names the file, plugin or driver and says what to do.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A driver could not do what it was asked.
    #[error("driver {driver}: {reason}")]
    Driver {
        /// Which driver.
        driver: String,
        /// Why, and what to try.
        reason: String,
    },
    /// A WAV file can't be read or written as asked.
    #[error("{path}: {reason}", path = path.display())]
    Wav {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A MIDI file can't be read.
    #[error("{path}: {reason}", path = path.display())]
    Midi {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A line of an automation file makes no sense.
    #[error("{path}:{line}: {reason}", path = path.display())]
    Automation {
        /// Which file.
        path: PathBuf,
        /// Line, from 1.
        line: u64,
        /// Why, with the column, and what to do.
        reason: String,
    },
    /// A recording of a plugin that failed can't be used.
    #[error("{path}: {reason}", path = path.display())]
    Recording {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A file with a plugin's state or parameters can't be used.
    #[error("{path}: {reason}", path = path.display())]
    State {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// A file is not a report of `bench`, or of another version of it.
    #[error("{path}: {reason}", path = path.display())]
    Report {
        /// Which file.
        path: PathBuf,
        /// Why, and what to do.
        reason: String,
    },
    /// What is in a rig's file makes no sense.
    #[error("{path}{line}: {reason}", path = path.display(),
        line = line.map(|line| format!(":{line}")).unwrap_or_default())]
    Rig {
        /// Which file.
        path: PathBuf,
        /// Line, from 1, where it is known.
        line: Option<usize>,
        /// Why, with the key, and what to do.
        reason: String,
    },
    /// The list of scanned plugins can't be read.
    #[error("{path}: can't be used as the list of plugins: {reason}", path = path.display())]
    Cache {
        /// Which file.
        path: PathBuf,
        /// Why. A scan makes it anew.
        reason: String,
    },
    /// A plugin or its worker.
    #[error(transparent)]
    Sandbox(#[from] sandrack_sandbox::error::Error),
    /// Nodes can't be connected so.
    #[error(transparent)]
    Graph(#[from] sandrack_engine::graph::GraphError),
    /// The graph can't be run.
    #[error(transparent)]
    Compile(#[from] sandrack_engine::compile::CompileError),
    /// A plan can't be run.
    #[error("{reason}")]
    Plan {
        /// Why.
        reason: String,
    },
    /// What was asked for makes no sense.
    #[error("{0}")]
    Usage(String),
}
