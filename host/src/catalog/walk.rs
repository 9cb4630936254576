//! From folders to plugin files.

use crate::error::Error;
use same_file::Handle;
use sandrack_sandbox::format::Format;
use sandrack_sandbox::sys::folders::{drives, plugin_folders};
use std::collections::HashSet;
use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};

/// What to search.
#[derive(Clone, Debug, Default)]
pub struct Places {
    /// Folders, or plugin files, as absolute paths.
    pub roots: Vec<PathBuf>,
}

/// What a search found.
#[derive(Clone, Debug, Default)]
pub struct Walked {
    /// Plugin files and bundle folders, sorted, each once however many links lead to it.
    pub files: Vec<PathBuf>,
    /// What could not be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

impl Places {
    /// The standard folders, and those of the environment's `CLAP_PATH` and `VST3_PATH`. None of
    /// them has to exist.
    pub fn standard() -> Self {
        let from = |name: &str| -> Vec<PathBuf> {
            let value = std::env::var_os(name).unwrap_or_default();
            std::env::split_paths(&value).filter(|path| !path.as_os_str().is_empty()).collect()
        };
        let mut roots = from("CLAP_PATH");
        roots.extend(from("VST3_PATH"));
        roots.extend(plugin_folders());
        let mut seen = HashSet::new();
        let roots = roots.into_iter().filter_map(|root| std::path::absolute(root).ok());
        Self { roots: roots.filter(|root| seen.insert(root.clone())).collect() }
    }

    /// Folders or plugin files that a user names.
    ///
    /// # Errors
    /// When one does not exist.
    pub fn given(paths: &[PathBuf]) -> Result<Self, Error> {
        let mut roots = Vec::with_capacity(paths.len());
        for path in paths {
            let at = |source| Error::File { path: path.clone(), source };
            std::fs::metadata(path).map_err(at)?;
            roots.push(std::path::absolute(path).map_err(at)?);
        }
        Ok(Self { roots })
    }

    /// Whether a path is, or lies in, one of them.
    pub fn contain(&self, path: &Path) -> bool {
        self.roots.iter().any(|root| path.starts_with(root))
    }

    /// Finds the plugin files. Each folder is entered once, however links lead to it; one that leads
    /// up, to a folder that it lies in or to a whole drive, is not followed.
    pub fn walk(&self) -> Walked {
        let mut walk = Walk::default();
        for root in &self.roots {
            if format_by_name(root).is_some() || root.is_file() {
                walk.add(root.clone());
                continue;
            }
            walk.above = above(root);
            walk.folder(root, 0);
        }
        walk.found.files.sort();
        walk.found
    }
}

/// Folders below one that is searched; no maker nests plugins so deeply.
const DEEPEST: usize = 32;

#[derive(Default)]
struct Walk {
    found: Walked,
    /// Files and folders, by their real paths.
    seen: HashSet<PathBuf>,
    /// The folders in which the present one lies, and the drives. By what the system says they are,
    /// not by path: not every link looks like one (those of Unix don't to programs under Wine).
    above: Vec<Handle>,
}

/// The folders that a root really lies in, and all drives.
fn above(root: &Path) -> Vec<Handle> {
    let real = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let up = real.ancestors().skip(1).map(Path::to_owned);
    let own = Handle::from_path(root).ok();
    let mut above = Vec::new();
    for handle in up.chain(drives()).filter_map(|folder| Handle::from_path(folder).ok()) {
        // A whole drive is searched, if that is what is asked for.
        if own.as_ref() != Some(&handle) && !above.contains(&handle) {
            above.push(handle);
        }
    }
    above
}

impl Walk {
    fn folder(&mut self, folder: &Path, depth: usize) {
        if let Err(error) = self.enter(folder, depth)
            && error.kind() != io::ErrorKind::NotFound
        {
            self.found.unreadable.push((folder.to_owned(), error.to_string()));
        }
    }

    fn enter(&mut self, folder: &Path, depth: usize) -> io::Result<()> {
        let here = Handle::from_path(folder)?;
        if self.above.contains(&here) || !self.seen.insert(folder.canonicalize()?) {
            return Ok(());
        }
        let mut paths = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            paths.push(entry?.path());
        }
        // Which of several links to a file counts must not depend on the order on disk.
        paths.sort();
        self.above.push(here);
        for path in paths {
            if format_by_name(&path).is_some() {
                self.add(path);
            } else if depth < DEEPEST && path.is_dir() {
                self.folder(&path, depth + 1);
            }
        }
        self.above.pop();
        Ok(())
    }

    fn add(&mut self, path: PathBuf) {
        // A link that leads nowhere is found too: what is wrong with it is said when it is listed.
        if self.seen.insert(path.canonicalize().unwrap_or_else(|_| path.clone())) {
            self.found.files.push(path);
        }
    }
}

/// The format that a file's or folder's name means; `None`: it is not named as a plugin.
pub fn format_by_name(path: &Path) -> Option<Format> {
    let extension = path.extension().and_then(OsStr::to_str)?;
    match () {
        () if extension.eq_ignore_ascii_case("clap") => Some(Format::Clap),
        () if extension.eq_ignore_ascii_case("vst3") => Some(Format::Vst3),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn plugins_are_found_by_name_and_bundles_are_not_entered() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir_all(at(".clap/maker/deep")).unwrap();
        fs::create_dir_all(at("B.vst3/Contents/inner.vst3")).unwrap();
        fs::create_dir_all(at("C.clap/presets")).unwrap();
        for name in [".clap/maker/deep/a.CLAP", ".clap/maker/readme.txt", "C.clap/C.clap", "no"] {
            fs::write(at(name), "").unwrap();
        }
        let found = Places::given(&[folder.path().to_owned()]).unwrap().walk();
        assert_eq!(found.files, [at(".clap/maker/deep/a.CLAP"), at("B.vst3"), at("C.clap")]);
        assert!(found.unreadable.is_empty());
        // A plugin may be named itself, whatever it is called.
        let given = Places::given(&[at("no"), at("C.clap"), at("C.clap")]).unwrap();
        assert_eq!(given.walk().files, [at("C.clap"), at("no")]);
        assert!(Places::given(&[at("missing")]).is_err());
        let missing = Places { roots: vec![at("missing")] }.walk();
        assert!(missing.files.is_empty() && missing.unreadable.is_empty());
    }
}
