//! What scans have found, kept in a file: of each plugin file, what was in it when it had this
//! size and time.
//!
//! The file is `plugins.json` in the folder that the environment's `SANDRACK_CACHE` names, or else
//! in `sandrack` in the user's cache folder (`$XDG_CACHE_HOME`, `~/.cache`). It is replaced as a
//! whole, under a lock, with what others have added meanwhile: scans may run side by side.

use super::{Failed, Kind, Known};
use crate::error::Error;
use etcetera::BaseStrategy;
use sandrack_sandbox::format::{Descriptor, Format, resolve};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, UNIX_EPOCH};

/// Of the file. Another number is not read.
const VERSION: u32 = 1;

/// A file that is greater is not one of ours.
const MOST_BYTES: u64 = 256 << 20;

/// By what a change of a plugin file is noticed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stamp {
    /// Of the library, in bytes.
    pub size: u64,
    /// When the library was last written, ns since 1970.
    pub modified: i64,
}

impl Stamp {
    /// Of a plugin file, or of the library in a bundle.
    pub fn of(path: &Path) -> io::Result<Self> {
        // Without a library in it, the bundle itself.
        let library = resolve(path).unwrap_or_else(|_| path.to_owned());
        // A link that leads nowhere has a time too.
        let data = fs::metadata(&library).or_else(|_| fs::symlink_metadata(path))?;
        let modified = data.modified()?;
        let modified = match modified.duration_since(UNIX_EPOCH) {
            Ok(after) => after.as_nanos() as i64,
            Err(before) => -(before.duration().as_nanos() as i64),
        };
        Ok(Self { size: data.len(), modified })
    }
}

/// What a scan found in a file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// These plugins.
    Plugins(Vec<Descriptor>),
    /// It could not be listed, for this reason.
    Failed(String),
}

/// One file.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The file as it was then.
    #[serde(flatten)]
    pub stamp: Stamp,
    /// Its format.
    pub format: Format,
    /// Version of the program that scanned it: another may do better.
    pub by: String,
    /// What was found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// What all scans so far have found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Cache {
    /// By path of the plugin file.
    pub files: BTreeMap<PathBuf, Entry>,
}

#[derive(Serialize, Deserialize)]
struct Stored<T> {
    version: u32,
    files: T,
}

/// Read alone at first: whatever else a later version writes, it writes this.
#[derive(Deserialize)]
struct JustVersion {
    version: u32,
}

/// Where the cache is.
pub fn path() -> Result<PathBuf, Error> {
    let folder = match std::env::var_os("SANDRACK_CACHE").filter(|value| !value.is_empty()) {
        Some(folder) => PathBuf::from(folder),
        None => etcetera::choose_base_strategy()
            .map_err(|_| {
                Error::Usage(
                    "no home folder to keep the list of plugins in: name a folder in the \
                     environment's SANDRACK_CACHE"
                        .into(),
                )
            })?
            .cache_dir()
            .join("sandrack"),
    };
    Ok(folder.join("plugins.json"))
}

impl Cache {
    /// Reads what has been found so far: nothing yet, if there is no such file.
    ///
    /// # Errors
    /// [`Error::Cache`]: the file can't be read or understood. A scan makes it anew.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let broken = |reason: String| Error::Cache { path: path.to_owned(), reason };
        let file = match File::open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(broken(error.to_string())),
        };
        let mut text = Vec::new();
        let read = file.take(MOST_BYTES + 1).read_to_end(&mut text);
        read.map_err(|error| broken(error.to_string()))?;
        if text.len() as u64 > MOST_BYTES {
            return Err(broken("it is far too long".into()));
        }
        let version = serde_json::from_slice::<JustVersion>(&text)
            .map_err(|error| broken(format!("it is damaged ({error})")))?
            .version;
        if version != VERSION {
            return Err(broken(format!("it is of version {version}, this program's is {VERSION}")));
        }
        let stored: Stored<BTreeMap<PathBuf, Entry>> = serde_json::from_slice(&text)
            .map_err(|error| broken(format!("it is damaged ({error})")))?;
        Ok(Self { files: stored.files })
    }

    /// Changes what the file at `path` holds. What others wrote meanwhile is kept; what can't be
    /// understood is replaced.
    pub fn update(path: &Path, change: impl FnOnce(&mut Self)) -> Result<Self, Error> {
        let at = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        let folder = path.parent().unwrap_or(Path::new("."));
        fs::create_dir_all(folder).map_err(at(folder))?;
        let lock_path = path.with_extension("lock");
        let lock = File::create(&lock_path).map_err(at(&lock_path))?;
        wait_for(&lock);
        let mut cache = Self::read(path).unwrap_or_default();
        change(&mut cache);
        let mut new =
            tempfile::Builder::new().prefix(".plugins-").tempfile_in(folder).map_err(at(folder))?;
        let stored = Stored { version: VERSION, files: &cache.files };
        let mut text = serde_json::to_vec(&stored)
            .map_err(|error| Error::File { path: path.to_owned(), source: error.into() })?;
        text.push(b'\n');
        new.write_all(&text).map_err(at(path))?;
        new.as_file().sync_all().map_err(at(path))?;
        new.persist(path).map_err(|error| at(path)(error.error))?;
        Ok(cache)
    }

    /// All plugins of files that are still there, sorted by name.
    pub fn plugins(&self) -> Vec<Known> {
        let mut all: Vec<Known> = self
            .present()
            .filter_map(|(path, entry)| match &entry.outcome {
                Outcome::Plugins(plugins) => Some((path, entry.format, plugins)),
                Outcome::Failed(_) => None,
            })
            .flat_map(|(path, format, plugins)| {
                plugins.iter().map(move |descriptor| Known {
                    path: path.clone(),
                    format,
                    kind: Kind::of(&descriptor.features),
                    descriptor: descriptor.clone(),
                })
            })
            .collect();
        all.sort_by_cached_key(|known| {
            let (name, path) = (known.descriptor.name.to_lowercase(), known.path.clone());
            (name, known.format, path, known.descriptor.id.clone())
        });
        all
    }

    /// All files that are still there and could not be listed, sorted by path.
    pub fn failed(&self) -> Vec<Failed> {
        self.present()
            .filter_map(|(path, entry)| match &entry.outcome {
                Outcome::Failed(reason) => {
                    Some(Failed { path: path.clone(), reason: reason.clone() })
                }
                Outcome::Plugins(_) => None,
            })
            .collect()
    }

    fn present(&self) -> impl Iterator<Item = (&PathBuf, &Entry)> {
        self.files.iter().filter(|(path, _)| fs::symlink_metadata(path).is_ok())
    }
}

/// Waits for the lock. Not for ever: the worst that can come of going on is that one of two scans
/// has to be done again.
fn wait_for(lock: &File) {
    let give_up = Instant::now() + Duration::from_secs(10);
    while let Err(TryLockError::WouldBlock) = lock.try_lock() {
        if Instant::now() > give_up {
            tracing::warn!("the list of plugins has been locked for 10 s; going on without");
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(reason: &str) -> Entry {
        let stamp = Stamp { size: 1, modified: -5 };
        let outcome = Outcome::Failed(reason.into());
        Entry { stamp, format: Format::Vst3, by: "1".into(), outcome }
    }

    #[test]
    fn what_is_written_is_read_and_what_others_wrote_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/plugins.json");
        assert_eq!(Cache::read(&path).unwrap(), Cache::default());
        std::thread::scope(|scope| {
            for n in 0..8 {
                let path = &path;
                let add = move |cache: &mut Cache| {
                    cache.files.insert(format!("/{n}").into(), entry("crashed"));
                };
                scope.spawn(move || Cache::update(path, add).unwrap());
            }
        });
        let read = Cache::read(&path).unwrap();
        assert_eq!(read.files.len(), 8);
        assert_eq!(read.files[Path::new("/3")], entry("crashed"));
        let names: Vec<_> = fs::read_dir(path.parent().unwrap()).unwrap().flatten().collect();
        assert_eq!(names.len(), 2, "the file and its lock: {names:?}");
    }

    #[test]
    fn what_is_not_understood_is_said_and_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("plugins.json");
        for (text, said) in [
            ("", "damaged"),
            ("{\"version\":1,\"files\":{\"/a\":{\"size\":", "damaged"),
            ("{\"version\":1,\"files\":[3]}", "damaged"),
            ("\u{0}\u{1}", "damaged"),
            ("{\"version\":2,\"plugins\":[]}", "version 2"),
        ] {
            fs::write(&path, text).unwrap();
            let error = Cache::read(&path).unwrap_err().to_string();
            assert!(error.contains(said) && error.contains("plugins.json"), "{error}");
            Cache::update(&path, |cache| {
                cache.files.insert("/b".into(), entry("b"));
            })
            .unwrap();
            assert_eq!(Cache::read(&path).unwrap().files.len(), 1);
        }
    }
}
