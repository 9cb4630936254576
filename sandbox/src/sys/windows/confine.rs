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
use crate::confine::{Confinement, Enforced, Level, Reach};
use crate::sys::poll::Waker;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use windows_sys::Win32::UI::Shell::{FOLDERID_LocalAppData, FOLDERID_LocalAppDataLow};

/// Something that was refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// What.
    pub what: String,
    /// What would allow it.
    pub grant: &'static str,
}

/// Has the main thread woken when something is refused. Windows tells nobody of that.
pub fn wake_on_violation(_waker: Waker) {}

/// What has been refused and not been told yet.
pub fn take_violations() -> Vec<Violation> {
    Vec::new()
}

/// First of all in a worker: it inherits nothing but what the host listed, so nothing is to do.
pub fn leave_host() {}

/// Confines this process to what `plugins` need. What is in force afterwards.
///
/// Call it while there is one thread. It can't be undone.
pub fn begin(wanted: &Confinement, plugins: &[PathBuf], _host: u32) -> Enforced {
    if wanted.level == Level::Off {
        return Enforced::off();
    }
    let mut enforced = Enforced { level: wanted.level, ..Enforced::default() };
    match private_folder(plugins) {
        // SAFETY: there is one thread.
        Ok(folder) => unsafe { point_to(&folder) },
        Err(error) => enforced.weaker.push(format!("no private folder: {error}")),
    }
    match limits::apply(wanted) {
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
