//! File descriptors that a plugin wants watched, on systems that have such.

use super::ClapInstance;
use super::host::Shared;
use crate::format::editor::{Readiness, Watched};
use clap_sys::ext::posix_fd_support::*;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Most descriptors that are watched for one plugin.
const MOST: usize = 64;

/// The descriptors of one plugin, and what it waits for. Any thread.
#[derive(Default)]
pub(super) struct Descriptors(Mutex<Vec<(Watched, Readiness)>>);

fn readiness(flags: clap_posix_fd_flags) -> Readiness {
    Readiness {
        read: flags & CLAP_POSIX_FD_READ != 0,
        write: flags & CLAP_POSIX_FD_WRITE != 0,
        error: flags & CLAP_POSIX_FD_ERROR != 0,
        void: false,
    }
}

impl Descriptors {
    fn all(&self) -> MutexGuard<'_, Vec<(Watched, Readiness)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// False: it is none, or known already, or one too many.
    pub(super) fn add(&self, plugin: &Shared, fd: i32, flags: clap_posix_fd_flags) -> bool {
        let mut all = self.all();
        if fd < 0 || all.len() >= MOST || all.iter().any(|(known, _)| *known == fd) {
            return false;
        }
        all.push((fd, readiness(flags)));
        drop(all);
        plugin.wake();
        true
    }

    /// False: there is no such descriptor.
    pub(super) fn change(&self, plugin: &Shared, fd: i32, flags: clap_posix_fd_flags) -> bool {
        let mut all = self.all();
        let Some(known) = all.iter_mut().find(|(known, _)| *known == fd) else { return false };
        known.1 = readiness(flags);
        drop(all);
        plugin.wake();
        true
    }

    /// False: there is no such descriptor.
    pub(super) fn remove(&self, fd: i32) -> bool {
        let mut all = self.all();
        let before = all.len();
        all.retain(|(known, _)| *known != fd);
        all.len() < before
    }
}

impl ClapInstance {
    pub(super) fn add_watched(&self, all: &mut Vec<(Watched, Readiness)>) {
        all.extend(self.shared.descriptors.all().iter().copied());
    }

    pub(super) fn watched_ready(&mut self, descriptor: Watched, ready: Readiness) {
        {
            // What was called before this may have taken it back.
            let mut all = self.shared.descriptors.all();
            let Some(at) = all.iter().position(|(known, _)| *known == descriptor) else { return };
            if ready.void {
                all.swap_remove(at);
                drop(all);
                let said = format!("closed descriptor {descriptor} without taking it back first");
                self.shared.log_line(6, &said);
                return;
            }
        }
        let flag = |set, flag| if set { flag } else { 0 };
        let flags = flag(ready.read, CLAP_POSIX_FD_READ)
            | flag(ready.write, CLAP_POSIX_FD_WRITE)
            | flag(ready.error, CLAP_POSIX_FD_ERROR);
        self.extensions().tell_descriptor(descriptor, flags);
    }
}
