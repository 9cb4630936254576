//! The kinds of faults, and what is expected of each.
//!
//! Their names are those of the strikes in the hostile plugins (plugins-test/examples/strikes).

use crate::error::Error;

/// What becomes of a plugin that strikes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Its process ends or hangs at once, and it comes back.
    Falls,
    /// It uses more and more, is ended for that, and comes back.
    Bursts,
    /// It goes on, and is well again when it stops.
    Goes,
    /// It goes on, or not; its process is good for nothing afterwards, and is ended.
    Harms,
    /// As that, but only when its state is asked for.
    Saves,
    /// It strikes while it is loaded, activated, saved, or let go.
    Loads,
}

/// A kind of fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    pub(super) then: Then,
    /// What it does would hit the machine or the user if it were not confined.
    pub(super) confined: bool,
}

const fn kind(name: &'static str, then: Then) -> Kind {
    Kind { name, then, confined: false }
}

const fn confined(name: &'static str, then: Then) -> Kind {
    Kind { name, then, confined: true }
}

pub(super) const ALL: &[Kind] = &[
    kind("segfault", Then::Falls),
    kind("abort", Then::Falls),
    kind("exit", Then::Falls),
    kind("stack-overflow", Then::Falls),
    kind("heap-smash", Then::Falls),
    kind("double-free", Then::Falls),
    kind("hang", Then::Falls),
    kind("sleep", Then::Falls),
    kind("stop", Then::Falls),
    kind("writes-descriptors", Then::Falls),
    kind("sends-descriptors", Then::Falls),
    kind("rings-host", Then::Falls),
    kind("leaves-memory", Then::Falls),
    kind("handles-signals", Then::Falls),
    confined("big-allocation", Then::Falls),
    confined("memory-bomb", Then::Bursts),
    confined("thread-bomb", Then::Bursts),
    confined("fills-folder", Then::Bursts),
    confined("hides-memory", Then::Bursts),
    confined("opens-files", Then::Bursts),
    confined("spins-everywhere", Then::Bursts),
    confined("fork-bomb", Then::Goes),
    kind("late", Then::Goes),
    kind("nan", Then::Goes),
    kind("inf", Then::Goes),
    kind("denormal", Then::Goes),
    kind("error", Then::Goes),
    kind("bad-events", Then::Goes),
    kind("event-flood", Then::Goes),
    kind("log-flood", Then::Goes),
    kind("wrong-threads", Then::Goes),
    kind("scribble", Then::Harms),
    kind("wrong-counts", Then::Harms),
    kind("closes-descriptors", Then::Harms),
    kind("changes-mask", Then::Harms),
    confined("changes-priority", Then::Harms),
    kind("state-save-hangs", Then::Saves),
    kind("state-save-aborts", Then::Saves),
    kind("opens-socket", Then::Goes),
    kind("reads-home", Then::Goes),
    confined("writes-home", Then::Goes),
    confined("executes", Then::Goes),
    confined("executes-itself", Then::Goes),
    confined("kills-parent", Then::Goes),
    kind("reads-parent", Then::Goes),
    kind("traces-parent", Then::Goes),
    confined("changes-mode", Then::Goes),
    confined("eats-memory", Then::Goes),
    kind("init-aborts", Then::Loads),
    kind("init-exits", Then::Loads),
    kind("init-hangs", Then::Loads),
    kind("init-stops", Then::Loads),
    kind("activate-aborts", Then::Loads),
    kind("activate-exits", Then::Loads),
    kind("activate-hangs", Then::Loads),
    kind("start-hangs", Then::Loads),
    kind("stop-hangs", Then::Loads),
    kind("start-spins", Then::Loads),
    kind("stop-spins", Then::Loads),
    kind("deactivate-aborts", Then::Loads),
    kind("deactivate-hangs", Then::Loads),
    kind("state-load-aborts", Then::Loads),
    kind("state-load-hangs", Then::Loads),
    kind("destroy-aborts", Then::Loads),
    kind("destroy-hangs", Then::Loads),
];

/// The kinds of these names; all, where there are none. Without confinement those that need it are
/// left out.
///
/// # Errors
/// A name that is none, or that needs confinement.
pub(super) fn choose(names: &[String], is_confined: bool) -> Result<Vec<Kind>, Error> {
    if names.is_empty() {
        return Ok(ALL.iter().filter(|kind| is_confined || !kind.confined).copied().collect());
    }
    let one = |name: &String| match ALL.iter().find(|kind| kind.name == name) {
        Some(kind) if kind.confined && !is_confined => Err(Error::Usage(format!(
            "--kinds {name}: it would hit this machine: not with --confinement off"
        ))),
        Some(kind) => Ok(*kind),
        None => {
            let all: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
            Err(Error::Usage(format!("--kinds {name}: no such kind; there are {}", all.join(", "))))
        }
    };
    names.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_once_and_what_hits_the_machine_is_left_out_without_confinement() {
        let mut names: Vec<&str> = ALL.iter().map(|kind| kind.name).collect();
        names.sort_unstable();
        assert!(names.windows(2).all(|two| two[0] != two[1]));
        let kinds = choose(&[], false).unwrap();
        assert!(kinds.iter().all(|kind| !kind.confined) && kinds.len() > 20);
        assert_eq!(choose(&["exit".into(), "hang".into()], true).unwrap().len(), 2);
        assert!(choose(&["exi".into()], true).unwrap_err().to_string().contains("segfault, abort"));
        assert!(choose(&["kills-parent".into()], false).is_err());
    }
}
