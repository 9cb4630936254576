//! Tells a plugin that hangs from one that is not given a core.
//!
//! A plugin that ran past its deadline once is off the realtime class, and shares its core with
//! everything else on the machine. There, a healthy one can be at one block for long without having
//! had its turn. So what counts is time of its own: running, or asleep. One that has had less than a
//! sixth of the limit is spared, but not for ever: what it plays is missing meanwhile, and another
//! process might be luckier.

use super::watch::{Run, Silence};
use crate::session::PluginAt;
use sandrack_sandbox::supervisor::Worker;
use sandrack_sandbox::sys::thread::CoreUse;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// As long as this, times the limit, at most.
const MOST: u32 = 8;

/// What plugins that are at one block had had of their cores when that was seen first.
#[derive(Default)]
pub(super) struct Patience {
    before: HashMap<PluginAt, Before>,
    silent: HashMap<PluginAt, Before>,
}

struct Before {
    /// The block.
    first: u64,
    seen: Instant,
    /// `None`: the system does not tell.
    usage: Option<CoreUse>,
}

impl Patience {
    /// Looks at a plugin that is at one block (`run`), or has gone on.
    pub(super) fn look(&mut self, at: PluginAt, run: Option<Run>, worker: &Worker, now: Instant) {
        let Some(Run { first, .. }) = run else {
            self.before.remove(&at);
            return;
        };
        if self.before.get(&at).is_none_or(|before| before.first != first) {
            self.before.insert(at, Before { first, seen: now, usage: worker.core_use() });
        }
    }

    /// Whether a plugin that is at one block for longer than `limit` is spared.
    pub(super) fn spares(
        &self,
        at: PluginAt,
        worker: &Worker,
        limit: Duration,
        now: Instant,
    ) -> bool {
        let Some(&Before { seen, usage: Some(before), .. }) = self.before.get(&at) else {
            return false;
        };
        let time = now.saturating_duration_since(seen);
        time < limit * MOST
            && worker.core_use().is_some_and(|now| own(before, now, time) < limit / 6)
    }
}

impl Patience {
    /// Whether a plugin that has been silent for a second has slept nearly all the while: then its words in
    /// shared memory, by which it is at ever new blocks, are not its audio thread's.
    pub(super) fn sleeps(
        &mut self,
        at: PluginAt,
        silence: Option<Silence>,
        worker: &Worker,
        now: Instant,
    ) -> bool {
        const LONG: Duration = Duration::from_secs(1);
        let Some(Silence { since, first, .. }) = silence else {
            self.silent.remove(&at);
            return false;
        };
        if now.saturating_duration_since(since) < LONG / 4 {
            return false;
        }
        let before = match self.silent.get(&at) {
            Some(before) if before.first == first => before,
            _ => {
                self.silent.insert(at, Before { first, seen: now, usage: worker.core_use() });
                return false;
            }
        };
        let time = now.saturating_duration_since(before.seen);
        let (Some(before), true) = (before.usage, time >= LONG) else { return false };
        worker.core_use().is_some_and(|now| asleep(before, now, time) > time.mul_f64(0.8))
    }
}

/// How long a thread slept of some time, at least.
fn asleep(before: CoreUse, now: CoreUse, time: Duration) -> Duration {
    let ran = now.ran.saturating_sub(before.ran);
    match now.wants_core {
        true => Duration::ZERO,
        false => time.saturating_sub(ran).saturating_sub(now.waited.saturating_sub(before.waited)),
    }
}

/// What a thread has had of some time for itself: running, or waiting for something else than a
/// core. The kernel counts a wait for a core when it is over.
fn own(before: CoreUse, now: CoreUse, time: Duration) -> Duration {
    match now.wants_core {
        true => now.ran.saturating_sub(before.ran),
        false => time.saturating_sub(now.waited.saturating_sub(before.waited)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_without_a_core_is_not_its_own() {
        let ms = Duration::from_millis;
        let before = CoreUse { ran: ms(1000), waited: ms(500), wants_core: true };
        // Waiting all the while; having waited and come to an end; asleep; running.
        assert_eq!(own(before, before, ms(60)), ms(0));
        let over = CoreUse { ran: ms(1001), waited: ms(557), wants_core: false };
        assert_eq!(own(before, over, ms(60)), ms(3));
        let asleep_now = CoreUse { wants_core: false, ..before };
        assert_eq!(own(before, asleep_now, ms(60)), ms(60));
        assert_eq!(asleep(before, before, ms(60)), ms(0));
        assert_eq!(asleep(before, over, ms(60)), ms(2));
        assert_eq!(asleep(before, asleep_now, ms(60)), ms(60));
        let spinning = CoreUse { ran: ms(1060), ..before };
        assert_eq!(own(before, spinning, ms(60)), ms(60));
    }
}
