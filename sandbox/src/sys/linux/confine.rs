//! Confines this process, for good: Landlock for files, seccomp for system calls, limits, an empty
//! network.
//!
//! | file | does |
//! |---|---|
//! | `places` | which files may be reached |
//! | `filter` | which system calls are refused, and how |
//! | `limits` | memory, files, processor time; capabilities |
//! | `violations` | records refused system calls |
//!
//! All of it is inherited by threads and not by those that run already, so it is done while the
//! worker has one thread only.
//!
//! # Safety
//! The `unsafe` calls change what the kernel keeps of this process and touch none of its memory;
//! the environment is changed while there is one thread.
#![allow(unsafe_code)]

mod filter;
mod limits;
mod places;
mod violations;

pub use violations::{Violation, take as take_violations, wake_on as wake_on_violation};

use super::process::end_with_parent;
use crate::confine::{Confinement, Enforced, Level};
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, LandlockStatus, PathFd, Ruleset, RulesetAttr,
    RulesetCreatedAttr, Scope, path_beneath_rules,
};
use places::Places;
use rustix::process::{getpgid, getppid, setpgid, setsid};
use rustix::thread::{UnshareFlags, unshare_unsafe};
use std::io;
use std::path::{Path, PathBuf};

/// The newest version of Landlock's interface that the rules here were written for.
const NEWEST: ABI = ABI::V9;

/// First of all in a worker: leaves the host's session and closes all descriptors but the three
/// standard ones, whatever the program that runs the host had open.
pub fn leave_host() {
    // SAFETY: nothing in this process has opened a descriptor yet.
    unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, 0u32) };
    // The leader of a process group can't begin a session: be none for a moment.
    let _ = getpgid(getppid()).and_then(|group| setpgid(None, Some(group)));
    let _ = setsid();
}

/// Confines this process to what `plugins` need. What is in force afterwards.
///
/// Call it while there is one thread. It can't be undone.
pub fn begin(wanted: &Confinement, plugins: &[PathBuf], host: u32) -> Enforced {
    if wanted.level == Level::Off {
        return Enforced::off();
    }
    let mut enforced = Enforced { level: wanted.level, ..Enforced::default() };
    let mut places = Places::for_plugins(wanted, plugins);
    match places::private_folder(plugins) {
        Ok(folder) => {
            // SAFETY: there is one thread.
            unsafe { places::point_to(&folder, wanted) };
            places.write.push(folder);
        }
        Err(error) => enforced.weaker.push(format!("no private folder: {error}")),
    }
    if !wanted.network {
        match empty_network() {
            Ok(()) => enforced.network_namespace = true,
            Err(error) => enforced.weaker.push(format!("no network namespace: {error}")),
        }
    }
    match limits::apply(wanted) {
        Ok(()) => enforced.limits = true,
        Err(error) => enforced.weaker.push(format!("no limits: {error}")),
    }
    if let Err(error) = limits::drop_capabilities() {
        enforced.missing.push(format!("capabilities can't be dropped: {error}"));
    }
    match restrict_files(&places, wanted) {
        Ok(abi) => enforced.landlock_abi = Some(abi),
        Err(why) => enforced.missing.push(format!("no Landlock: {why}")),
    }
    // Changed credentials may have made the kernel forget it.
    if end_with_parent(host).is_err() {
        super::process::exit_now(2);
    }
    if wanted.level == Level::Strict {
        let _ =
            rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable);
    }
    match violations::catch().and_then(|()| filter::apply(wanted)) {
        Ok(()) => enforced.seccomp = true,
        Err(error) => enforced.missing.push(format!("no system call filter: {error}")),
    }
    enforced
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
fn restrict_files(places: &Places, wanted: &Confinement) -> Result<u32, String> {
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
