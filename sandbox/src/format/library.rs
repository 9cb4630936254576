//! From what a user names to the library file to load.

use super::vst3::bundle;
use crate::error::PluginError;
use crate::sys::image::{self, Image};
use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

/// The library file that a path means: a file, told by content and not by name, or the one in a
/// folder: a VST3 bundle, or the folders that some makers pack plugins into where the system knows
/// no bundles.
pub fn resolve(path: &Path) -> Result<PathBuf, PluginError> {
    let shown = || path.display().to_string();
    let unreadable = |e: io::Error| match e.kind() {
        io::ErrorKind::NotFound => PluginError::Missing { path: shown() },
        _ => PluginError::Unreadable { path: shown(), reason: e.to_string() },
    };
    let not_a_plugin = |reason| PluginError::NotAPlugin { path: shown(), reason };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        let head = read_head(path).map_err(unreadable)?;
        check_head(&head).map_err(not_a_plugin)?;
        return Ok(path.to_owned());
    }
    if bundle::is_bundle(path) {
        return resolve(&bundle::library_in(path).map_err(not_a_plugin)?);
    }
    let entries = std::fs::read_dir(path).map_err(unreadable)?;
    let mut found: Vec<PathBuf> = entries
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|file| is_library(file))
        .collect();
    found.sort();
    if let [only] = found.as_slice() {
        return Ok(only.clone());
    }
    // Others beside it may be what it needs.
    if let Some(main) = found.iter().find(|file| file.file_name() == path.file_name()) {
        return Ok(main.clone());
    }
    let names: Vec<_> =
        found.iter().filter_map(|file| file.file_name()).map(OsStr::to_string_lossy).collect();
    Err(not_a_plugin(match names.as_slice() {
        [] => "it is a folder without a plugin in it".into(),
        [first, .., last] => format!(
            "it is a folder of {} libraries ({first} … {last}): name one of them",
            names.len()
        ),
        [_] => unreachable!("taken above"),
    }))
}

/// Whether a file is a library for this machine.
pub(super) fn is_library(file: &Path) -> bool {
    read_head(file).is_ok_and(|head| check_head(&head).is_ok())
}

/// The first bytes of a file. A pipe or a device would be waited for, and is none.
fn read_head(path: &Path) -> io::Result<Vec<u8>> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::other("it is not a file"));
    }
    let mut head = Vec::with_capacity(image::HEAD);
    std::fs::File::open(path)?.take(image::HEAD as u64).read_to_end(&mut head)?;
    Ok(head)
}

fn check_head(head: &[u8]) -> Result<(), String> {
    crate::sys::library::check(&Image::of(head))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The beginning of a library for this machine.
    fn library() -> Vec<u8> {
        std::fs::read(std::env::current_exe().unwrap()).unwrap()[..image::HEAD].to_vec()
    }

    fn reason(path: &Path) -> String {
        resolve(path).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_with_one_library_means_that_library() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("Spectral.clap");
        std::fs::create_dir(&bundle).unwrap();
        assert!(reason(&bundle).ends_with("a folder without a plugin in it"));
        std::fs::write(bundle.join("readme.txt"), "not a library").unwrap();
        std::fs::create_dir(bundle.join("presets")).unwrap();
        std::fs::write(bundle.join("main.so"), library()).unwrap();
        assert_eq!(resolve(&bundle).unwrap(), bundle.join("main.so"));

        std::fs::write(bundle.join("other.so"), library()).unwrap();
        assert!(reason(&bundle).contains("2 libraries (main.so … other.so): name one"));
        std::fs::write(bundle.join("Spectral.clap"), library()).unwrap();
        assert_eq!(resolve(&bundle).unwrap(), bundle.join("Spectral.clap"));
    }

    #[test]
    fn what_is_no_library_is_said_to_be_none() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.clap");
        assert!(reason(&file).ends_with("no such file"));
        for (content, expected) in [
            (b"".as_slice(), "it is empty"),
            (b"\xcf\xfa\xed\xfe", "a macOS library"),
            (b"#!/bin/sh", "not a library"),
        ] {
            std::fs::write(&file, content).unwrap();
            assert!(reason(&file).contains(expected), "{}", reason(&file));
        }
    }
}
