//! Where recordings of failed plugins are kept, and how many.

use super::file::Flight;
use crate::error::Error;
use etcetera::BaseStrategy;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

/// Ending of the files' names.
const ENDING: &str = "sandrack";
/// Bytes of all files together, at most; the newest file is kept all the same.
const MOST_BYTES: u64 = 512 << 20;

/// `sandrack/crashes` in the user's folder for what programs keep (`$XDG_STATE_HOME`,
/// `~/.local/state`).
pub fn default_folder() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    let folder = strategy.state_dir().unwrap_or_else(|| strategy.data_dir());
    Some(folder.join("sandrack").join("crashes"))
}

/// Writes a recording into a folder, which is made if need be, and removes the oldest ones beyond
/// `most`. Where it is.
pub fn keep(flight: &Flight, folder: &Path, most: usize) -> Result<PathBuf, Error> {
    let failed = |source| Error::File { path: folder.into(), source };
    fs::create_dir_all(folder).map_err(failed)?;
    let stem = format!("crash-{}-{}", stamp(flight.head.time), file_name(&flight.head.name));
    let path = (0..1000)
        .map(|n| match n {
            0 => folder.join(format!("{stem}.{ENDING}")),
            n => folder.join(format!("{stem}-{n}.{ENDING}")),
        })
        .find(|path| !path.exists())
        .unwrap_or_else(|| folder.join(format!("{stem}.{ENDING}")));
    flight.write(&path)?;
    remove_oldest(folder, &path, most.max(1));
    Ok(path)
}

fn remove_oldest(folder: &Path, newest: &Path, most: usize) {
    let Ok(entries) = fs::read_dir(folder) else { return };
    let is_ours = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.starts_with("crash-") && path.extension().is_some_and(|ending| ending == ENDING)
    };
    let mut others: Vec<(SystemTime, u64, PathBuf)> = entries
        .flatten()
        .filter(|entry| is_ours(&entry.path()) && entry.path() != newest)
        .filter_map(|entry| {
            let data = entry.metadata().ok().filter(fs::Metadata::is_file)?;
            Some((data.modified().ok()?, data.len(), entry.path()))
        })
        .collect();
    others.sort_unstable_by(|a, b| b.cmp(a));
    let mut bytes = fs::metadata(newest).map_or(0, |data| data.len());
    for (place, (_, len, path)) in others.iter().enumerate() {
        bytes += len;
        // Another host may have removed it already.
        if place + 1 >= most || bytes > MOST_BYTES {
            let _ = fs::remove_file(path);
        }
    }
}

/// A name that any file system takes.
fn file_name(name: &str) -> String {
    const LONGEST: usize = 60;
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
    let name: String = name.chars().map(plain).take(LONGEST).collect();
    let words: Vec<&str> = name.split('-').filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "plugin".into() } else { words.join("-") }
}

/// Seconds since 1970 as `20261122-140503`, UTC.
fn stamp(seconds: u64) -> String {
    let time = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(seconds));
    let time = time.unwrap_or(SystemTime::UNIX_EPOCH);
    let text = humantime::format_rfc3339_seconds(time).to_string();
    text.replace(['-', ':', 'Z'], "").replace('T', "-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_names_make_file_names() {
        assert_eq!(stamp(0), "19700101-000000");
        assert_eq!(stamp(1_795_356_303), "20261122-140503");
        assert_eq!(file_name("../Über Synth #1"), "ber-Synth-1");
        assert_eq!(file_name("///"), "plugin");
    }
}
