//! The flight recorder: what a plugin was given before it failed, kept in a file from which the
//! failure can be had again.
//!
//! | part | for |
//! |---|---|
//! | [`file`](mod@file) | `.sandrack` files: what is in them, reading, writing |
//! | [`folder`] | where they are kept, and how many |
//! | [`details`] | what is known of a fault: the call, the code it was in, the last events |
//! | [`symbols`] | from addresses to modules and functions |
//! | [`reporter`] | puts all of that together, on a thread of its own |
//! | [`replay`] | runs a file again, in a fresh worker |
//! | [`minimize`] | the shortest recording that still fails |
//!
//! What is recorded is written by the worker (`sandbox::shm::recording`), what its signals meant by
//! its signal handler; both are read here as what a stranger wrote.

pub mod details;
pub mod file;
pub mod folder;
pub mod minimize;
pub mod replay;
pub mod reporter;
pub mod symbols;

use std::path::PathBuf;

/// What is recorded, and where it goes.
#[derive(Clone, Debug, PartialEq)]
pub struct RecorderOptions {
    /// The last so many seconds of each plugin,
    pub seconds: f64,
    /// but no more than fits into so many bytes of memory a plugin.
    pub most_bytes: usize,
    /// Where files go; `None`: [`folder::default_folder`].
    pub folder: Option<PathBuf>,
    /// Files that are kept there; the oldest are removed.
    pub most_files: usize,
    /// Whether a plugin that puts out NaN or infinities makes a file, too: the first time only.
    pub not_finite: bool,
}

impl Default for RecorderOptions {
    /// Five seconds, 8 MiB, 50 files, NaN included.
    fn default() -> Self {
        Self { seconds: 5.0, most_bytes: 8 << 20, folder: None, most_files: 50, not_finite: true }
    }
}
