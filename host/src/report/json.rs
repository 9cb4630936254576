//! The report as JSON, and files that are complete or not there.

use std::path::Path;

use super::Report;
use crate::error::Error;
use crate::wav::temporary_name;

/// The report as JSON, indented.
pub fn to_json(report: &Report) -> String {
    // Nothing in a report can fail to serialise: no maps, no foreign types.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}

/// Writes the report as JSON; `path` holds the whole of it or is as it was.
///
/// # Errors
/// The file can't be written.
pub fn write_json(report: &Report, path: &Path) -> Result<(), Error> {
    write_whole(path, &to_json(report))
}

/// Reads what [`write_json`] wrote, to compare or to show it again.
///
/// # Errors
/// The file can't be read or is no report.
pub fn read_json(path: &Path) -> Result<Report, Error> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| Error::File { path: path.to_owned(), source })?;
    serde_json::from_str(&text).map_err(|e| Error::Report {
        path: path.to_owned(),
        reason: format!(
            "it is not a report of bench ({e}): write one with `sandrack bench --json`"
        ),
    })
}

pub(crate) fn write_whole(path: &Path, text: &str) -> Result<(), Error> {
    let temporary = temporary_name(path)?;
    std::fs::write(&temporary, text).and_then(|()| std::fs::rename(&temporary, path)).map_err(
        |source| {
            // It may not exist; the error to tell is the first one.
            let _ = std::fs::remove_file(&temporary);
            Error::File { path: path.to_owned(), source }
        },
    )
}
