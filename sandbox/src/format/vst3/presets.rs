//! Preset files where the standard has them: in `VENDOR/PLUGIN` of a few folders.

use super::abi::normal_hex;
use super::state;
use crate::format::{Descriptor, ListedPreset, Preset};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

/// Most folders in a folder, and most entries that are looked at: beyond that a list helps nobody.
const MAX_DEPTH: usize = 8;
const MAX_ENTRIES: usize = 100_000;

/// The preset files of some plugins in folders like `~/.vst3/presets`, sorted by path.
pub(super) fn list(folders: &[PathBuf], plugins: &[Descriptor]) -> Vec<ListedPreset> {
    let mut own = BTreeSet::new();
    for plugin in plugins {
        let (vendor, name) = (as_file_name(&plugin.vendor), as_file_name(&plugin.name));
        if let (Some(vendor), Some(name)) = (vendor, name) {
            own.extend(folders.iter().map(|folder| folder.join(&vendor).join(&name)));
        }
    }
    let mut found = BTreeMap::new();
    let mut left = MAX_ENTRIES;
    for folder in &own {
        walk(folder, folder, MAX_DEPTH, &mut left, &mut found);
    }
    let of_plugins = |(file, name): (PathBuf, String)| {
        // Plugins share folders, and change their names.
        let class = class_of(&file)?;
        plugins.iter().find(|plugin| plugin.id == class)?;
        let preset = Preset { name, file: Some(file), key: None };
        Some(ListedPreset { preset, plugins: vec![class], ..ListedPreset::default() })
    };
    found.into_iter().filter_map(of_plugins).collect()
}

/// A name with what no file's name may have replaced, as the standard says. `None`: none is left.
fn as_file_name(name: &str) -> Option<String> {
    let bad = |c: char| "\\/*?\":<>|".contains(c) || c.is_control();
    let name: String = name.chars().map(|c| if bad(c) { '_' } else { c }).collect();
    (!name.is_empty() && name != "." && name != "..").then_some(name)
}

/// Adds the preset files below `at`, named by their paths from `top` on.
fn walk(
    top: &Path,
    at: &Path,
    depth: usize,
    left: &mut usize,
    found: &mut BTreeMap<PathBuf, String>,
) {
    let Ok(entries) = std::fs::read_dir(at) else { return };
    for entry in entries.flatten() {
        let Some(fewer) = left.checked_sub(1) else { return };
        *left = fewer;
        let path = entry.path();
        if path.is_dir() {
            if depth > 0 {
                walk(top, &path, depth - 1, left, found);
            }
        } else if path.extension().is_some_and(|e| e.eq_ignore_ascii_case("vstpreset")) {
            let name = path.with_extension("");
            let parts = name.strip_prefix(top).unwrap_or(&name).iter();
            let parts: Vec<_> = parts.map(|part| part.to_string_lossy()).collect();
            found.insert(path, parts.join("/"));
        }
    }
}

/// The class that a preset file is for.
fn class_of(file: &Path) -> Option<String> {
    // A pipe or a device would be waited for.
    if !std::fs::metadata(file).ok()?.is_file() {
        return None;
    }
    let mut head = Vec::with_capacity(state::HEADER);
    File::open(file).ok()?.take(state::HEADER as u64).read_to_end(&mut head).ok()?;
    normal_hex(state::class(&head).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    const CLASS: &str = "0123456789ABCDEF0123456789ABCDEF";

    fn write(at: &Path, class: &str) {
        fs::create_dir_all(at.parent().unwrap()).unwrap();
        let chunks = state::Chunks { class, component: Some(b"x"), controller: None };
        fs::write(at, state::write(&chunks)).unwrap();
    }

    #[test]
    fn presets_of_a_plugin_are_found_in_its_folders() {
        let temporary = tempfile::tempdir().unwrap();
        let folders = ["user", "shared", "gone"].map(|name| temporary.path().join(name));
        let plugin = Descriptor {
            id: CLASS.into(),
            vendor: "A/B: Audio".into(),
            name: "Room?".into(),
            ..Descriptor::default()
        };
        let user = folders[0].join("A_B_ Audio/Room_");
        write(&user.join("Small.vstpreset"), CLASS);
        write(&user.join("Halls/Large.VstPreset"), &CLASS.to_lowercase());
        write(&user.join("Other.vstpreset"), "0123456789ABCDEF0123456789ABCDE0");
        write(&user.join("Small.txt"), CLASS);
        fs::write(user.join("Short.vstpreset"), "VST3").unwrap();
        write(&folders[1].join("A_B_ Audio/Room_/Factory.vstpreset"), CLASS);
        write(&folders[1].join("Nobody/Room_/Not mine.vstpreset"), CLASS);
        // Around in a circle.
        #[cfg(unix)]
        std::os::unix::fs::symlink(&user, user.join("again")).unwrap();

        let all = list(&folders, std::slice::from_ref(&plugin));
        let names: Vec<&str> = all.iter().map(|listed| listed.preset.name.as_str()).collect();
        assert!(names.contains(&"Small") && names.contains(&"Halls/Large"), "{names:?}");
        assert!(names.contains(&"Factory") && !names.contains(&"Not mine"), "{names:?}");
        assert!(!names.contains(&"Other") && !names.contains(&"Short"), "{names:?}");
        assert!(names.len() < 100, "{}", names.len());
        for listed in &all {
            assert_eq!(listed.plugins, [CLASS]);
            assert!(listed.preset.file.as_ref().unwrap().is_file() && listed.preset.key.is_none());
        }
        let nameless = Descriptor { vendor: "..".into(), ..plugin };
        assert!(list(&folders, &[nameless]).is_empty());
    }
}
