//! The test plugins in both formats, as a user has them.

use super::plugin;
use sandrack_host::plugins::test_library;
use sandrack_sandbox::format::{Format, PluginRef};
use sandrack_sandbox::sys::library::{EXTENSION, vst3_folder};
use std::path::{Path, PathBuf};

/// All test plugins.
pub(crate) const ALL: [&str; 8] =
    ["gain", "mono", "split", "delay", "compressor", "synth", "events", "burn"];

/// Both formats.
pub(crate) const FORMATS: [Format; 2] = [Format::Clap, Format::Vst3];

/// A VST3 bundle with a copy of a library in it.
pub(crate) fn bundle(at: &Path, name: &str, library: &Path) -> PathBuf {
    let bundle = at.join(format!("{name}.vst3"));
    let folder = bundle.join("Contents").join(vst3_folder());
    std::fs::create_dir_all(&folder).unwrap();
    let inner = folder.join(format!("{name}.{EXTENSION}"));
    std::fs::copy(library, inner).unwrap();
    bundle
}

/// The test plugins in a bundle.
pub(crate) struct Bundle {
    pub(crate) path: PathBuf,
    _folder: tempfile::TempDir,
}

impl Bundle {
    pub(crate) fn new() -> Self {
        // Builds them.
        plugin("gain");
        let folder = tempfile::tempdir().unwrap();
        let path = bundle(folder.path(), "Test", &test_library().unwrap());
        Self { path, _folder: folder }
    }

    /// A test plugin as VST3, by its short name or the last word of its name.
    pub(crate) fn plugin(&self, name: &str) -> PluginRef {
        let mut name = name.to_owned();
        name[..1].make_ascii_uppercase();
        PluginRef { path: self.path.clone(), id: Some(format!("Sandrack Test {name}")) }
    }

    /// A test plugin in a format.
    pub(crate) fn of(&self, format: Format, name: &str) -> PluginRef {
        match format {
            Format::Clap => plugin(name),
            Format::Vst3 => self.plugin(name),
        }
    }
}
