//! Faults as lines of JSON in a file, each when all is known of it.

use super::FaultLog;
use crate::error::Error;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Writes a log's records to a file, one line each.
pub struct FaultWriter {
    path: PathBuf,
    file: File,
    /// The number of the next record.
    next: u64,
}

impl FaultWriter {
    /// Lines are added to the file, which is made if need be.
    ///
    /// # Errors
    /// It can't be written to.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.map_err(|source| Error::File { path: path.into(), source })?;
        Ok(Self { path: path.into(), file, next: 0 })
    }

    /// Writes the records that are new and complete; with `all`, those of which more is to come as
    /// well: at the end.
    ///
    /// # Errors
    /// The disk is full, for instance. What could not be written is tried again by the next call.
    pub fn write(&mut self, log: &FaultLog, all: bool) -> Result<(), Error> {
        for (number, record) in log.complete(self.next, all) {
            let mut line = serde_json::to_string(record).unwrap_or_default();
            line.push('\n');
            let failed = |source| Error::File { path: self.path.clone(), source };
            self.file.write_all(line.as_bytes()).map_err(failed)?;
            self.next = number + 1;
        }
        Ok(())
    }
}
