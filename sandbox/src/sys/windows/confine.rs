//! Confines this process, for good: low integrity, no privileges, a job with limits, mitigation
//! policies.
//!
//! | file | does |
//! |---|---|
//! | `token` | integrity level, privileges |
//! | `limits` | memory, processes |
//! | `mitigations` | what else it gives up |
//!
//! Windows keeps a process of low integrity from writing to what is the user's; it has nothing to
//! keep such a process from reading, or from the network, but app containers, which plugins don't
//! bear. So `standard` is less than on Linux, as [`Enforced::weaker`] says, and `strict` can't be
//! had.
//!
//! # Safety
//! The `unsafe` calls change what the system keeps of this process, from locals, and touch none of
//! its memory; the environment is changed while there is one thread of its own.
#![allow(unsafe_code)]

mod limits;
mod mitigations;
mod token;

use super::folders;
use super::handles::Handle;
use crate::confine::{Confinement, Enforced, Level, Reach, Reached, Refusal};
use crate::sys::usage;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use windows_sys::Win32::UI::Shell::{FOLDERID_LocalAppData, FOLDERID_LocalAppDataLow};

/// The level where none is asked for. Not `standard`, until somebody has seen plugins work so on real
/// Windows: Wine, where this is tested, has no integrity levels.
pub const USUAL: Level = Level::Off;

/// In the host: tells what a worker is refused. Windows tells nobody of that, so there is none.
pub enum Listener {}

impl Listener {
    /// Begins to answer.
    ///
    /// # Errors
    /// Always.
    pub fn start(
        _listener: Handle,
        _process: u32,
        _reached: Reached,
        _name: &str,
        _keep: impl Fn(&Refusal) + Send + Sync + 'static,
    ) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Lets the worker read a file or folder from now on.
    pub fn grant(&self, _path: &Path) {
        match *self {}
    }

    /// Lets the worker read what belongs to another plugin from now on.
    pub fn grant_plugin(&self, _plugin: &Path) {
        match *self {}
    }

    /// What has been refused since the last call.
    pub fn take(&self) -> Vec<Refusal> {
        match *self {}
    }

    /// All that has been refused, each once, up to a limit.
    pub fn refused(&self) -> Vec<Refusal> {
        match *self {}
    }

    /// Whether the worker may read what lies there.
    pub fn reaches(&self, _path: &Path) -> bool {
        match *self {}
    }
}

/// What came of confining this process.
pub struct Begun {
    /// What is in force.
    pub enforced: Enforced,
    /// The files that can be reached.
    pub reached: Reached,
    /// For the host, to [listen](Listener) at.
    pub listener: Option<Handle>,
}

/// From now on no thread gets more urgent by itself. (Who may use the realtime class of MMCSS is the
/// system's affair.)
pub fn keep_realtime() -> std::io::Result<()> {
    Ok(())
}

/// First of all in a worker: it inherits nothing but what the host listed, so nothing is to do.
pub fn leave_host() {}

/// Nothing to do: there is no such limit.
pub fn limit_files(_wanted: &Confinement) -> std::io::Result<()> {
    Ok(())
}

/// Confines this process to what `plugins` need. What is in force afterwards.
///
/// Call it while there is one thread. It can't be undone.
pub fn begin(wanted: &Confinement, plugins: &[PathBuf], _host: u32) -> Begun {
    let enforced = match wanted.level {
        Level::Off => Enforced::off(),
        _ => enforce(wanted, plugins),
    };
    Begun { enforced, reached: Reached::default(), listener: None }
}

fn enforce(wanted: &Confinement, plugins: &[PathBuf]) -> Enforced {
    /// A private folder with more entries is full, whatever they hold.
    const MOST_ENTRIES: usize = 100_000;
    let limits = wanted.limits.in_force(wanted.level, usage::machine().memory);
    let mut enforced = Enforced { level: wanted.level, ..Enforced::default() };
    match private_folder(plugins) {
        Ok(folder) => {
            // SAFETY: there is one thread.
            unsafe { point_to(&folder) };
            enforced.is_folder_full = usage::folder_size(&folder, MOST_ENTRIES) > limits.disk;
            enforced.folder = Some(folder);
        }
        Err(error) => enforced.weaker.push(format!("no private folder: {error}")),
    }
    match limits::apply(&limits) {
        Ok(()) => enforced.limits = true,
        Err(error) => enforced.weaker.push(format!("no limits: {error}")),
    }
    if let Err(error) = token::drop_privileges() {
        enforced.missing.push(format!("privileges can't be dropped: {error}"));
    }
    let (there, lacking) = mitigations::apply(wanted.level == Level::Strict);
    enforced.mitigations = there;
    enforced.weaker.extend(lacking.iter().map(|what| format!("not in force: {what}")));
    match token::lower_integrity().and_then(|()| check_files()) {
        Ok(()) => enforced.low_integrity = true,
        Err(error) => enforced.missing.push(format!("no low integrity: {error}")),
    }
    let open = ["the user's files can be read", "the network can be used"].map(str::to_owned);
    match wanted.level {
        Level::Strict => enforced.missing.extend(open),
        _ => enforced.weaker.extend(open),
    }
    for (path, _) in wanted.files.iter().filter(|(_, reach)| *reach == Reach::Write) {
        if enforced.low_integrity && !is_writable(path) {
            enforced.weaker.push(format!(
                "{} can't be written to: allow it with icacls \"{}\" /setintegritylevel (OI)(CI)L",
                path.display(),
                path.display()
            ));
        }
    }
    enforced
}

/// What is missing for any level to be in force, beyond what [`begin`] found.
pub fn lacking(enforced: &Enforced) -> Vec<String> {
    match enforced.low_integrity {
        true => vec![],
        false => vec!["no low integrity".into()],
    }
}

/// On a line: what is in force.
pub fn describe(enforced: &Enforced) -> String {
    let said = |there, what: &str| format!("{}{what}", if there { "" } else { "no " });
    let parts = [said(enforced.low_integrity, "low integrity"), said(enforced.limits, "limits")];
    parts.into_iter().chain(enforced.mitigations.iter().cloned()).collect::<Vec<_>>().join(", ")
}

/// That the user's own files are really out of reach: systems that know of integrity levels by name
/// only are found out so.
fn check_files() -> io::Result<()> {
    let Some(folder) = folders::known(&FOLDERID_LocalAppData) else { return Ok(()) };
    match is_writable(&folder) {
        true => Err(io::Error::other(
            "this system has it by name only: the user's files can be written to",
        )),
        false => Ok(()),
    }
}

fn is_writable(folder: &Path) -> bool {
    let probe = folder.join(format!("sandrack-probe-{}", std::process::id()));
    let made = File::options().write(true).create_new(true).open(&probe).is_ok();
    if made {
        let _ = fs::remove_file(&probe);
    }
    made
}

/// The folder that plugins may write to, made if need be, among those that low integrity can.
fn private_folder(plugins: &[PathBuf]) -> io::Result<PathBuf> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "no folder of the user's");
    let plugin = plugins.first().ok_or_else(none)?;
    let name: String = plugin
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .take(40)
        .collect();
    let all = folders::known(&FOLDERID_LocalAppDataLow).ok_or_else(none)?;
    let folder = all.join("sandrack").join("plugins").join(name);
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Lets what looks for a folder for temporary files find the private one.
///
/// # Safety
/// There must be no other thread.
unsafe fn point_to(folder: &Path) {
    for variable in ["TEMP", "TMP"] {
        // SAFETY: as the caller promises.
        unsafe { std::env::set_var(variable, folder) };
    }
}
