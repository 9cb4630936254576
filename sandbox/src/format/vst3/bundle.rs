//! VST3 bundles: folders `X.vst3/Contents/SYSTEM/X.so`.

use crate::format::library::is_library;
use crate::sys::library::{EXTENSION, vst3_folder};
use std::path::{Path, PathBuf};

/// Whether a folder is laid out as a bundle.
pub(in crate::format) fn is_bundle(path: &Path) -> bool {
    path.join("Contents").is_dir()
}

/// Whether a file or folder is VST3 by its name.
pub(in crate::format) fn is_named_vst3(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("vst3"))
}

/// The library in a bundle for this system. The error says why there is none.
pub(in crate::format) fn library_in(bundle: &Path) -> Result<PathBuf, String> {
    let contents = bundle.join("Contents");
    let system = vst3_folder();
    let folder = contents.join(&system);
    if !folder.is_dir() {
        let others = systems(&contents);
        return Err(match others.is_empty() {
            true => format!("it is a bundle without a binary (no Contents/{system})"),
            false => format!("it has no binary for {system}; it has: {}", others.join(", ")),
        });
    }
    let named = folder.join(bundle.file_stem().unwrap_or_default()).with_added_extension(EXTENSION);
    if named.is_file() {
        return Ok(named);
    }
    // A bundle that was renamed keeps the old name inside.
    let mut found: Vec<PathBuf> = std::fs::read_dir(&folder)
        .map_err(|e| format!("Contents/{system} can't be read: {e}"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| is_library(path))
        .collect();
    match (found.len(), found.pop()) {
        (1, Some(only)) => Ok(only),
        (0, _) => Err(format!("there is no library in its Contents/{system}")),
        (n, _) => {
            Err(format!("there are {n} libraries in its Contents/{system}, none of its name"))
        }
    }
}

/// The systems that a bundle has binaries for.
fn systems(contents: &Path) -> Vec<String> {
    const OTHER: [&str; 3] = ["Resources", "_CodeSignature", "Frameworks"];
    let Ok(entries) = std::fs::read_dir(contents) else { return vec![] };
    let mut systems: Vec<String> = entries
        .filter_map(Result::ok)
        .filter(|entry| entry.path().is_dir())
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .filter(|name| !OTHER.contains(&name.as_str()))
        .collect();
    systems.sort();
    systems
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_bundle_means_its_library_for_this_system() {
        let folder = tempfile::tempdir().unwrap();
        let bundle = folder.path().join("Some.Thing.vst3");
        let contents = bundle.join("Contents");
        fs::create_dir_all(contents.join("Resources")).unwrap();
        assert!(is_bundle(&bundle) && is_named_vst3(&bundle));
        assert!(library_in(&bundle).unwrap_err().contains("without a binary"));
        let other = if vst3_folder() == "x86_64-win" { "x86_64-linux" } else { "x86_64-win" };
        fs::create_dir_all(contents.join(other)).unwrap();
        fs::create_dir_all(contents.join("MacOS")).unwrap();
        let error = library_in(&bundle).unwrap_err();
        assert!(error.ends_with(&format!("it has: MacOS, {other}")), "{error}");

        let ours = contents.join(vst3_folder());
        fs::create_dir_all(&ours).unwrap();
        assert!(library_in(&bundle).unwrap_err().contains("no library"));
        let head = &fs::read(std::env::current_exe().unwrap()).unwrap()[..4096];
        fs::write(ours.join("moduleinfo.json"), "{ broken").unwrap();
        let named = |name: &str| ours.join(format!("{name}.{EXTENSION}"));
        fs::write(named("Old"), head).unwrap();
        assert_eq!(library_in(&bundle).unwrap(), named("Old"));
        fs::write(named("Older"), head).unwrap();
        assert!(library_in(&bundle).unwrap_err().contains("2 libraries"));
        fs::write(named("Some.Thing"), head).unwrap();
        assert_eq!(library_in(&bundle).unwrap(), named("Some.Thing"));
    }
}
