//! How much a worker may use of what all processes share, as data.
//!
//! The system itself holds some of it (`sys::confine`); the supervisor looks at the rest, tells what
//! it sees, and ends a worker that uses more than it may
//! ([`Worker::excess`](crate::supervisor::Worker::excess)).

use crate::confine::Level;
use serde::{Deserialize, Serialize};

/// Most that one worker may use. `None`: the usual of its level; at level `off` as much as there is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Memory of its own, in bytes. Usual: half of the machine's, and no less than 2 GiB.
    pub memory: Option<u64>,
    /// Threads, those of the worker included. Usual: 512.
    pub threads: Option<u32>,
    /// Files and other descriptors open at once. Usual: 1024.
    pub files: Option<u32>,
    /// All that lies in its private data folder, in bytes. Usual: 1 GB.
    pub disk: Option<u64>,
    /// Processor time, in percent of one core, on average over a second. Usual: no limit, but a worker
    /// that takes all cores is told of.
    pub cpu: Option<u32>,
}

/// [`Limits`] with the usual filled in. The greatest number there is: no limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InForce {
    /// Bytes.
    pub memory: u64,
    /// How many.
    pub threads: u32,
    /// How many.
    pub files: u32,
    /// Bytes.
    pub disk: u64,
    /// Percent of one core.
    pub cpu: u32,
}

impl Limits {
    /// What that means at this level, on a machine of so many bytes of memory.
    pub fn in_force(&self, level: Level, machine: u64) -> InForce {
        let usual = |usual: u64| if level == Level::Off { u64::MAX } else { usual };
        let few = |usual: u32| if level == Level::Off { u32::MAX } else { usual };
        InForce {
            memory: self.memory.unwrap_or(usual((machine / 2).max(2 << 30))),
            threads: self.threads.unwrap_or(few(512)),
            files: self.files.unwrap_or(few(1024)),
            disk: self.disk.unwrap_or(usual(1_000_000_000)),
            cpu: self.cpu.unwrap_or(u32::MAX),
        }
    }
}

/// Bytes in words: "512 MB", "1.5 GB".
pub fn bytes(count: u64) -> String {
    const MB: f64 = 1e6;
    let mb = count as f64 / MB;
    match count {
        0..10_000_000 => format!("{mb:.1} MB"),
        10_000_000..1_000_000_000 => format!("{mb:.0} MB"),
        _ => format!("{:.1} GB", mb / 1e3),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_said_is_usual_and_without_confinement_unlimited() {
        let machine = 16 << 30;
        let standard = Limits::default().in_force(Level::Standard, machine);
        assert_eq!((standard.memory, standard.threads), (8 << 30, 512));
        assert_eq!(Limits::default().in_force(Level::Strict, 1 << 30).memory, 2 << 30);
        let off = Limits::default().in_force(Level::Off, machine);
        assert_eq!((off.memory, off.disk, off.threads), (u64::MAX, u64::MAX, u32::MAX));
        let said = Limits { memory: Some(1), cpu: Some(50), ..Limits::default() };
        assert_eq!(said.in_force(Level::Off, machine).memory, 1);
        assert_eq!(said.in_force(Level::Standard, machine).cpu, 50);
    }

    #[test]
    fn bytes_are_rounded() {
        let told = [1_500_000, 64_000_000, 8_500_000_000].map(bytes);
        assert_eq!(told, ["1.5 MB", "64 MB", "8.5 GB"]);
    }
}
