//! How often a plugin may be activated anew.

use std::time::{Duration, Instant};

/// Holds back a plugin that wants to be restarted again and again: at most five times in the first
/// second, then less and less often.
#[derive(Default)]
pub(super) struct Pace {
    last: Option<Instant>,
    pub(super) pause: Duration,
}

const SHORTEST_PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
pub(super) const PEACE: Duration = Duration::from_secs(1);

impl Pace {
    pub(super) fn allows(&self, now: Instant) -> bool {
        self.last.is_none_or(|last| now >= last + self.pause)
    }

    pub(super) fn count(&mut self, now: Instant) {
        let again = self.last.is_some_and(|last| now < last + 2 * self.pause + PEACE);
        self.pause = match again {
            true => (2 * self.pause).clamp(SHORTEST_PAUSE, LONGEST_PAUSE),
            false => SHORTEST_PAUSE,
        };
        self.last = Some(now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_that_always_wants_a_restart_gets_fewer_and_fewer() {
        let mut pace = Pace::default();
        let start = Instant::now();
        let mut granted = Vec::new();
        for ms in 0..60_000 {
            let now = start + Duration::from_millis(ms);
            if pace.allows(now) {
                pace.count(now);
                granted.push(ms);
            }
        }
        assert!(granted.iter().filter(|ms| **ms < 1000).count() <= 5, "{granted:?}");
        assert!(granted.len() < 16, "{granted:?}");
        // After peace it is served at once again.
        let later = start + Duration::from_secs(120);
        assert!(pace.allows(later));
        pace.count(later);
        assert!(pace.allows(later + SHORTEST_PAUSE));
    }
}
