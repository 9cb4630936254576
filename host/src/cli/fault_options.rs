//! What commands that play do about plugins that fail.

use crate::error::Error;
use crate::faults::{FaultLog, FaultWriter};
use crate::flight::RecorderOptions;
use crate::session::RecoveryOptions;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct FaultOptions {
    /// Folder for recordings of plugins that fail [default: $XDG_STATE_HOME/sandrack/crashes]
    #[arg(long, value_name = "FOLDER")]
    crash_dir: Option<PathBuf>,
    /// Seconds that are recorded of each plugin; 0: nothing is
    #[arg(long, value_name = "SECONDS", default_value_t = 5.0)]
    record: f64,
    /// Add a line of JSON to a file for each fault, restart and refusal
    #[arg(long, value_name = "FILE")]
    fault_log: Option<PathBuf>,
}

impl FaultOptions {
    /// How plugins are brought back, and recorded.
    pub(super) fn recovery(&self) -> Result<RecoveryOptions, Error> {
        if !(0.0..=600.0).contains(&self.record) {
            return Err(Error::Usage(format!("--record {}: 0 to 600", self.record)));
        }
        let usual = RecorderOptions::default();
        let recorder = (self.record > 0.0).then(|| RecorderOptions {
            seconds: self.record,
            // As much as the usual length takes, for each second.
            most_bytes: (usual.most_bytes as f64 * (self.record / usual.seconds).max(1.0)) as usize,
            folder: self.crash_dir.clone(),
            ..usual
        });
        Ok(RecoveryOptions { recorder, ..RecoveryOptions::default() })
    }

    /// The file in which faults are written down, if they are to be.
    pub(super) fn fault_log(&self) -> Option<PathBuf> {
        self.fault_log.clone()
    }

    /// Where faults are written down, if they are to be.
    pub(super) fn writer(&self) -> Result<Option<FaultWriter>, Error> {
        self.fault_log.as_deref().map(FaultWriter::open).transpose()
    }
}

/// Writes down what is new; a full disk is said once, and does not end the music.
pub(super) fn write_faults(writer: &mut Option<FaultWriter>, log: &FaultLog, all: bool) {
    if let Some(open) = writer
        && let Err(error) = open.write(log, all)
    {
        tracing::warn!(%error, "faults are not written down any more");
        *writer = None;
    }
}
