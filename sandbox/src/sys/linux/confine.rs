//! Confines this process, for good: Landlock for files, seccomp for system calls, limits, an empty
//! network.
//!
//! | file | does |
//! |---|---|
//! | `places` | which files may be reached |
//! | `filter` | which system calls are refused, and how |
//! | `limits` | memory, files, processor time; capabilities |
//! | `listener` | in the host: answers and tells what a worker is refused |
//! | `files` | what a system call does to which file |
//! | `shared` | memory by name, a plugin's own |
//! | `realtime` | keeps the realtime class for the audio thread |
//!
//! All of it is inherited by threads and not by those that run already, so it is done while the
//! worker has one thread only.
//!
//! # Safety
//! The `unsafe` calls change what the kernel keeps of this process and touch none of its memory;
//! the environment is changed while there is one thread.
#![allow(unsafe_code)]

mod files;
mod filter;
mod limits;
mod listener;
mod places;
mod realtime;
mod shared;
mod writes;

pub use listener::Listener;
pub use realtime::keep_realtime;

use super::handles::Handle;
use super::process::end_with_parent;
use super::usage;
use crate::confine::{Confinement, Enforced, Level, Reached};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, path_beneath_rules,
};
use rustix::process::{getpgid, getppid, setpgid, setsid};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::io;
use std::path::{Path, PathBuf};

/// The newest version of Landlock's interface that the rules here were written for.
const NEWEST: ABI = ABI::V9;

/// The level where none is asked for.
pub const USUAL: Level = Level::Standard;
/// A private folder with more entries is full, whatever they hold.
const MOST_ENTRIES: usize = 50_000;

/// First of all in a worker: leaves the host's session and closes all descriptors but the three
/// standard ones, whatever the program that runs the host had open. When the machine runs out of memory,
/// a worker is ended rather than a host that uses as much: it comes back.
pub fn leave_host() {
    // SAFETY: nothing in this process has opened a descriptor yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    // The leader of a process group can't begin a session: be none for a moment.
    let _ = getpgid(getppid()).and_then(|group| setpgid(None, Some(group)));
    let _ = setsid();
    let _ = std::fs::write("/proc/self/oom_score_adj", "100");
}

/// What came of confining this process.
pub struct Begun {
    /// What is in force.
    pub enforced: Enforced,
    /// The files that can be reached.
    pub reached: Reached,
    /// For the host, to [listen](Listener) at. Nobody else may keep it: who has it can let this
    /// process do what the filter refuses.
    pub listener: Option<Handle>,
}

/// Confines this process to what `plugins` need.
///
/// Call it while there is one thread. It can't be undone.
pub fn begin(wanted: &Confinement, plugins: &[PathBuf], host: u32) -> Begun {
    if wanted.level == Level::Off {
        let (enforced, reached) = (Enforced::off(), Reached::default());
        return Begun { enforced, reached, listener: None };
    }
    let mut enforced = Enforced { level: wanted.level, ..Enforced::default() };
    let mut places = places::for_plugins(wanted, plugins);
    match places::private_folder(plugins) {
        Ok(folder) => {
            // SAFETY: there is one thread.
            unsafe { places::point_to(&folder, wanted) };
            // A full one is not made fuller, nor emptied: it is the user's.
            let limits = wanted.limits.in_force(wanted.level, usage::machine().memory);
            enforced.is_folder_full = usage::folder_size(&folder, MOST_ENTRIES) > limits.disk;
            match enforced.is_folder_full {
                true => places.read.push(folder.clone()),
                false => places.write.push(folder.clone()),
            }
            enforced.folder = Some(folder);
        }
        Err(error) => enforced.weaker.push(format!("no private folder: {error}")),
    }
    if !wanted.network {
        match empty_network() {
            Ok(()) => enforced.network_namespace = true,
            Err(error) => enforced.weaker.push(format!("no network namespace: {error}")),
        }
    }
    match limits::apply(wanted).and_then(|()| limits::raise_files()) {
        Ok(()) => enforced.limits = true,
        Err(error) => enforced.weaker.push(format!("no limits: {error}")),
    }
    if let Err(error) = limits::drop_capabilities() {
        enforced.missing.push(format!("capabilities can't be dropped: {error}"));
    }
    match restrict_files(&places, wanted) {
        Ok(abi) => enforced.landlock_abi = Some(abi),
        Err(why) => {
            enforced.missing.push(format!("no Landlock: {why}"));
            let all = || vec![PathBuf::from("/")];
            places = Reached { read: all(), write: all(), ..Reached::default() };
        }
    }
    // Changed credentials may have made the kernel forget it.
    if end_with_parent(host).is_err() {
        super::process::exit_now(2);
    }
    let mut listener = None;
    match filter::apply(wanted) {
        Ok(to_host) => {
            enforced.seccomp = true;
            if to_host.is_none() {
                let why = "the system lets nobody listen at the filter: what is refused is not \
                           told, and editors can't reach the display";
                enforced.weaker.push(why.into());
            }
            listener = to_host.map(Handle);
        }
        Err(error) => enforced.missing.push(format!("no system call filter: {error}")),
    }
    Begun { enforced, reached: places, listener }
}

/// Limits open files, once the [listener](Begun::listener) has been sent.
///
/// # Errors
/// The system refused.
pub fn limit_files(wanted: &Confinement) -> io::Result<()> {
    match wanted.level {
        Level::Off => Ok(()),
        Level::Standard | Level::Strict => limits::limit_files(wanted),
    }
}

/// What is missing for any level to be in force, beyond what [`begin`] found.
pub fn lacking(enforced: &Enforced) -> Vec<String> {
    let files = enforced.landlock_abi.is_none().then(|| "no Landlock".to_owned());
    let calls = (!enforced.seccomp).then(|| "no system call filter".to_owned());
    files.into_iter().chain(calls).collect()
}

/// On a line: what is in force.
pub fn describe(enforced: &Enforced) -> String {
    let landlock = match enforced.landlock_abi {
        Some(abi) => format!("Landlock {abi}"),
        None => "no Landlock".into(),
    };
    let said = |there, what| format!("{}{what}", if there { "" } else { "no " });
    let rest = [
        said(enforced.seccomp, "seccomp"),
        said(enforced.limits, "limits"),
        said(enforced.network_namespace, "own network"),
    ];
    [&[landlock][..], &rest].concat().join(", ")
}

/// A network without any device, the loopback's included.
fn empty_network() -> io::Result<()> {
    // SAFETY: no thread is there to be surprised, and no descriptor table is unshared.
    let unshare = |flags| unsafe { unshare_unsafe(flags) };
    if unshare(UnshareFlags::NEWNET).is_ok() {
        return Ok(());
    }
    // A user without rights may do so in a user namespace of their own. They stay who they are.
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNET)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    let same = |id: u32| format!("{id} {id} 1");
    std::fs::write("/proc/self/uid_map", same(user.as_raw()))?;
    std::fs::write("/proc/self/gid_map", same(group.as_raw()))
}

/// The version of Landlock's interface that is in force.
fn restrict_files(places: &Reached, wanted: &Confinement) -> Result<u32, String> {
    let text = |error: landlock::RulesetError| error.to_string();
    let no_network = !wanted.network;
    let mut scopes = BitFlags::from(Scope::Signal);
    if wanted.level == Level::Strict {
        scopes |= Scope::AbstractUnixSocket;
    }
    let mut rules = Ruleset::default()
        .handle_access(AccessFs::from_all(NEWEST))
        .and_then(|rules| rules.scope(scopes))
        .map_err(text)?;
    if no_network {
        rules = rules.handle_access(AccessNet::from_all(NEWEST)).map_err(text)?;
    }
    let read = AccessFs::from_read(NEWEST);
    // Neither programs nor device files are made.
    let write = AccessFs::from_all(NEWEST)
        & !(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock);
    let device = AccessFs::ReadFile | AccessFs::WriteFile | AccessFs::ReadDir | AccessFs::IoctlDev;
    let status = rules
        .create()
        .and_then(|rules| rules.add_rules(path_beneath_rules(&places.read, read)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(&places.write, write)))
        .and_then(|rules| rules.add_rules(path_beneath_rules(&places.devices, device)))
        .and_then(|rules| {
            let connect = BitFlags::from(AccessFs::ResolveUnix);
            rules.add_rules(path_beneath_rules(&places.sockets, connect))
        })
        .and_then(|rules| rules.restrict_self())
        .map_err(text)?;
    // Keeps the process's own folder in /proc from being forgotten, and the rule for it with it.
    if let Ok(own) = PathFd::new("/proc/self") {
        std::mem::forget(own);
    }
    match status.landlock {
        LandlockStatus::Available { effective_abi, kernel_abi } => {
            Ok(kernel_abi.map_or(effective_abi as u32, |abi| abi as u32))
        }
        LandlockStatus::NotEnabled => {
            Err("the kernel has it but does not use it: add 'landlock' to the kernel's option \
                 'lsm='"
                .into())
        }
        LandlockStatus::NotImplemented => {
            Err("the kernel is older than 5.13 or was built without".into())
        }
    }
}

/// Whether two paths are the same or one lies in the other.
fn lies_in(path: &Path, folder: &Path) -> bool {
    path.starts_with(folder)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_in_force_stands_on_a_line() {
        let enforced = Enforced {
            landlock_abi: Some(1),
            seccomp: true,
            network_namespace: true,
            ..Enforced::off()
        };
        assert_eq!(describe(&enforced), "Landlock 1, seccomp, no limits, own network");
    }
}
