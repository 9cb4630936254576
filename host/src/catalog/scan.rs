//! From plugin files to what is in them: each is listed in a worker of its own, several at once,
//! and what has not changed since the last scan is not listed again.

use super::cache::{Cache, Entry, Outcome, Stamp};
use super::walk::{Places, format_by_name};
use super::{Failed, Known};
use crate::error::Error;
use sandrack_sandbox::error::Error as SandboxError;
use sandrack_sandbox::format::{Descriptor, Format, resolve};
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// What a scan found is kept this often: one that is interrupted has not been for nothing.
const KEEP_EVERY: Duration = Duration::from_secs(5);

/// Workers at once, a core: much of a plugin's start is waiting for the disk.
const JOBS_PER_CORE: usize = 2;

/// Longest text, and most features, that are kept of a plugin.
const MOST_TEXT: usize = 1000;
const MOST_FEATURES: usize = 64;

/// Which files are listed although they have not changed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Again {
    /// None.
    #[default]
    Nothing,
    /// Those that failed.
    Failed,
    /// All.
    Everything,
}

/// What a scan found.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// Plugin files found.
    pub files: usize,
    /// Those that were listed in this scan; of the others it was known what is in them.
    pub listed: usize,
    /// All plugins in them, sorted by name.
    pub plugins: Vec<Known>,
    /// Files that could not be listed, now or when they were tried last.
    pub failed: Vec<Failed>,
    /// Folders that could not be read.
    pub unreadable: Vec<Failed>,
    /// Why what earlier scans found was not used.
    pub note: Option<String>,
}

/// Scans the standard places, for programs that show what is found: at usual priority, and keeps
/// the result where [`path`](super::cache::path) says. `progress` as for [`scan`].
///
/// # Errors
/// As of [`scan`].
pub fn scan_standard(progress: impl FnMut(usize, usize, &[PathBuf])) -> Result<Scan, Error> {
    let options = SupervisorOptions { realtime: false, ..SupervisorOptions::new()? };
    let supervisor = Supervisor::new(options)?;
    let cache = super::cache::path()?;
    scan(&supervisor, &Places::standard(), &cache, Again::Nothing, progress)
}

/// Scans places and keeps the result at `cache`. `progress` is told how many files of how many
/// are done, and which are being listed.
///
/// # Errors
/// When workers can't be started, or the result can't be kept. No plugin is a reason.
pub fn scan(
    supervisor: &Supervisor,
    places: &Places,
    cache: &Path,
    again: Again,
    mut progress: impl FnMut(usize, usize, &[PathBuf]),
) -> Result<Scan, Error> {
    let (old, note) = match Cache::read(cache) {
        Ok(old) => (old, None),
        Err(error) => (Cache::default(), Some(format!("{error}; made anew"))),
    };
    let walked = places.walk();
    let mut scan = Scan { files: walked.files.len(), note, ..Scan::default() };
    let failed = |(path, reason)| Failed { path, reason };
    scan.unreadable = walked.unreadable.into_iter().map(failed).collect();

    let (mut found, mut jobs) = (HashSet::new(), Vec::new());
    for path in walked.files {
        if path.to_str().is_none() {
            let reason = "its path is not in UTF-8: rename it".into();
            scan.failed.push(Failed { path, reason });
        } else if let Ok(stamp) = Stamp::of(&path) {
            let known = old.files.get(&path).filter(|entry| is_current(entry, stamp, again));
            if known.is_none() {
                jobs.push((path.clone(), stamp));
            }
            found.insert(path);
        }
    }
    scan.listed = jobs.len();

    let gone = |path: &PathBuf, entry: &Entry| {
        places.contain(path)
            && !found.contains(path)
            && !scan.unreadable.iter().any(|folder| path.starts_with(&folder.path))
            // What a scan beside this one has added stays.
            && (old.files.get(path) == Some(entry) || !path.exists())
    };
    let keep = |new: &mut BTreeMap<PathBuf, Entry>| {
        Cache::update(cache, |cache| {
            cache.files.append(new);
            cache.files.retain(|path, entry| !gone(path, entry));
        })
    };
    // At once: that it can't be kept is better said before minutes of work.
    keep(&mut BTreeMap::new())?;
    let new = list_all(supervisor, &jobs, &mut progress, |new| keep(new).map(drop))?;
    let mut cache = match new {
        new if new.is_empty() => Cache::read(cache)?,
        mut new => keep(&mut new)?,
    };
    cache.files.retain(|path, _| found.contains(path));
    scan.plugins = cache.plugins();
    scan.failed.extend(cache.failed());
    scan.failed.sort_by(|a, b| a.path.cmp(&b.path));
    Ok(scan)
}

fn is_current(entry: &Entry, stamp: Stamp, again: Again) -> bool {
    let worth_it = match again {
        Again::Nothing => false,
        Again::Failed => matches!(entry.outcome, Outcome::Failed(_)),
        Again::Everything => true,
    };
    entry.stamp == stamp && entry.by == env!("CARGO_PKG_VERSION") && !worth_it
}

enum Message<'a> {
    Began(&'a Path),
    Done(&'a Path, Box<Result<Entry, Error>>),
}

/// Lists files on several threads. Gives what has not been kept yet.
fn list_all(
    supervisor: &Supervisor,
    jobs: &[(PathBuf, Stamp)],
    progress: &mut impl FnMut(usize, usize, &[PathBuf]),
    keep: impl Fn(&mut BTreeMap<PathBuf, Entry>) -> Result<(), Error>,
) -> Result<BTreeMap<PathBuf, Entry>, Error> {
    let threads = std::thread::available_parallelism().map_or(1, usize::from) * JOBS_PER_CORE;
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        let (sender, messages) = mpsc::channel();
        for _ in 0..threads.min(jobs.len()) {
            let (sender, next) = (sender.clone(), &next);
            scope.spawn(move || {
                while let Some((path, stamp)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    // Nobody listens any more once the scan itself has failed.
                    if sender.send(Message::Began(path)).is_err() {
                        return;
                    }
                    let entry = list(supervisor, path, *stamp);
                    let _ = sender.send(Message::Done(path, Box::new(entry)));
                }
            });
        }
        drop(sender);
        let (mut new, mut kept) = (BTreeMap::new(), Instant::now());
        let (mut running, mut done) = (Vec::new(), 0);
        for message in messages {
            match message {
                Message::Began(path) => running.push(path.to_owned()),
                Message::Done(path, entry) => {
                    running.retain(|other| other != path);
                    done += 1;
                    match *entry {
                        Ok(entry) => drop(new.insert(path.to_owned(), entry)),
                        Err(error) => {
                            let _ = keep(&mut new);
                            return Err(error);
                        }
                    }
                }
            }
            progress(done, jobs.len(), &running);
            if kept.elapsed() > KEEP_EVERY {
                keep(&mut new)?;
                kept = Instant::now();
            }
        }
        Ok(new)
    })
}

/// Lists a file in a worker of its own. A failure of the plugin is a result like others.
fn list(supervisor: &Supervisor, path: &Path, stamp: Stamp) -> Result<Entry, Error> {
    let worker = supervisor.start_worker(&path.display().to_string(), None)?;
    let outcome = match worker.list(path) {
        Ok(plugins) => {
            worker.quit();
            match believable(plugins) {
                plugins if plugins.is_empty() => Outcome::Failed("there is no plugin in it".into()),
                plugins => Outcome::Plugins(plugins),
            }
        }
        Err(error @ SandboxError::System { .. }) => return Err(error.into()),
        Err(error) => Outcome::Failed(reason(path, &error)),
    };
    let format = format_by_name(path).unwrap_or_else(|| match &outcome {
        // The way VST3 writes its ids.
        Outcome::Plugins(plugins)
            if plugins
                .iter()
                .all(|p| p.id.len() == 32 && p.id.bytes().all(|byte| byte.is_ascii_hexdigit())) =>
        {
            Format::Vst3
        }
        _ => Format::Clap,
    });
    let by = env!("CARGO_PKG_VERSION").to_owned();
    Ok(Entry { stamp, format, by, outcome })
}

/// What of a file's own words is kept: a file may say anything.
fn believable(plugins: Vec<Descriptor>) -> Vec<Descriptor> {
    let mut ids = HashSet::new();
    let clip = |text: &str| text.trim().chars().take(MOST_TEXT).collect::<String>();
    plugins
        .into_iter()
        // Only the first of an id can be loaded.
        .filter(|p| !p.id.is_empty() && p.id.len() <= MOST_TEXT && ids.insert(p.id.clone()))
        .map(|p| Descriptor {
            name: clip(if p.name.trim().is_empty() { &p.id } else { &p.name }),
            vendor: clip(&p.vendor),
            version: clip(&p.version),
            description: clip(&p.description),
            features: p.features.iter().take(MOST_FEATURES).map(|f| clip(f)).collect(),
            id: p.id,
        })
        .collect()
}

/// Why a file can't be listed, without its name: that is beside it wherever it is shown.
fn reason(path: &Path, error: &SandboxError) -> String {
    let text = match error {
        SandboxError::Timeout { timeout, .. } => {
            format!("it did not answer within {timeout:?}")
        }
        error => error.to_string(),
    };
    // The system's loader says the library's name once more.
    let library = resolve(path).unwrap_or_else(|_| path.to_owned());
    let text = text.replace(&format!("{}: ", library.display()), "");
    let text = text.replace(&format!("{}: ", path.display()), "");
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(MOST_TEXT).collect()
}
