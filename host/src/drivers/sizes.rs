//! Buffer sizes as drivers state them: a range, one they prefer, and a rule for what lies between.
//!
//! The numbers come from drivers, which state them wrongly now and then. Whatever they are,
//! [`Sizes::stated`] makes something of them that can be chosen from.

use serde::Serialize;
use std::collections::BTreeSet;

/// Which sizes lie between the smallest and the largest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// None: smallest, preferred and largest only.
    None,
    /// Powers of two times the smallest.
    Doubling,
    /// So many frames further each.
    By(u32),
}

/// Frames per callback that a driver can do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Sizes {
    /// Smallest.
    pub min: u32,
    /// Largest.
    pub max: u32,
    /// What the driver would choose: what is set in its control panel, if it has one.
    pub preferred: u32,
    /// What lies between.
    pub step: Step,
}

/// Frames that a host can do: fewer cost more than they are worth, more are no use.
const USABLE: std::ops::RangeInclusive<u32> = 1..=8192;

impl Sizes {
    /// Any size from `min` to `max`.
    pub fn any(min: u32, max: u32, preferred: u32) -> Self {
        Self { min, max, preferred, step: Step::By(1) }
    }

    /// One size only.
    pub fn only(frames: u32) -> Self {
        Self { min: frames, max: frames, preferred: frames, step: Step::None }
    }

    /// From what an ASIO driver states: `granularity` -1 are powers of two, 0 is nothing between.
    /// `None`: there is no size in it.
    pub fn stated(min: i32, max: i32, preferred: i32, granularity: i32) -> Option<Self> {
        let usable = |frames: i32| u32::try_from(frames).ok().filter(|n| USABLE.contains(n));
        let largest = |frames: i32| usable(frames.min(*USABLE.end() as i32));
        // Each may be missing or absurd; one sensible number is enough to play with.
        let preferred = usable(preferred);
        let (min, max) = match (usable(min), largest(max)) {
            (Some(min), Some(max)) => (min.min(max), max.max(min)),
            (Some(one), None) | (None, Some(one)) => (preferred.unwrap_or(one).min(one), one),
            (None, None) => (preferred?, preferred?),
        };
        let step = match granularity {
            _ if min == max => Step::None,
            -1 => Step::Doubling,
            step @ 1.. => Step::By(step as u32),
            _ => Step::None,
        };
        let preferred = preferred.unwrap_or(min);
        Some(Self { min: min.min(preferred), max: max.max(preferred), preferred, step })
    }

    /// Whether the driver can do this many frames. What it prefers it can do, wherever that lies.
    pub fn allows(&self, frames: u32) -> bool {
        if [self.min, self.max, self.preferred].contains(&frames) {
            return true;
        }
        (self.min..=self.max).contains(&frames)
            && match self.step {
                Step::None => false,
                Step::Doubling => {
                    frames.is_multiple_of(self.min) && (frames / self.min).is_power_of_two()
                }
                Step::By(step) => (frames - self.min).is_multiple_of(step.max(1)),
            }
    }

    /// All sizes, ascending; of many, the smallest, the largest, the preferred and those that are
    /// usual.
    pub fn list(&self) -> Vec<u32> {
        const MANY: u32 = 64;
        let mut sizes = BTreeSet::from([self.min, self.max, self.preferred]);
        match self.step {
            Step::None => {}
            Step::By(step) if (self.max - self.min) / step.max(1) < MANY => {
                sizes.extend((self.min..=self.max).step_by(step.max(1) as usize));
            }
            Step::By(_) | Step::Doubling => {
                let doubled = |from: u32| {
                    std::iter::successors(Some(from), |n| n.checked_mul(2))
                        .take_while(|n| *n <= self.max)
                };
                let usual = doubled(self.min.max(1)).chain(doubled(16)).chain([48, 96, 192, 384]);
                sizes.extend(usual.filter(|n| self.allows(*n)));
            }
        }
        sizes.into_iter().collect()
    }

    /// The allowed size that is closest, the larger one of two.
    pub fn nearest(&self, frames: u32) -> u32 {
        let mut near = self.list();
        if let Step::By(step) = self.step {
            let inside = frames.clamp(self.min, self.max);
            let below = inside - (inside - self.min) % step.max(1);
            near.extend([below, below.saturating_add(step).min(self.max)]);
        }
        near.retain(|n| self.allows(*n));
        near.into_iter().min_by_key(|n| (n.abs_diff(frames), u32::MAX - n)).unwrap_or(self.min)
    }

    /// For messages: `16, 32, 64`, `16 to 2048 in steps of 16`.
    pub fn words(&self) -> String {
        let Self { min, max, preferred, .. } = self;
        let range = match self.step {
            Step::By(1) => format!("{min} to {max}"),
            Step::By(step) if (max - min) / step > 8 => {
                format!("{min} to {max} in steps of {step}")
            }
            _ => {
                let all: Vec<String> = self.list().iter().map(u32::to_string).collect();
                return all.join(", ");
            }
        };
        let without = Self { preferred: *min, ..self.clone() };
        match without.allows(*preferred) {
            true => range,
            false => format!("{range}, and {preferred}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stated(min: i32, max: i32, preferred: i32, granularity: i32) -> Sizes {
        Sizes::stated(min, max, preferred, granularity).unwrap()
    }

    #[test]
    fn powers_of_two_steps_and_single_sizes() {
        assert_eq!(stated(64, 1024, 256, -1).list(), [64, 128, 256, 512, 1024]);
        assert_eq!(stated(48, 400, 96, -1).list(), [48, 96, 192, 384, 400]);
        assert_eq!(stated(16, 64, 32, 16).list(), [16, 32, 48, 64]);
        assert_eq!(stated(441, 441, 441, 0).list(), [441]);
        assert_eq!(stated(441, 441, 441, -1).list(), [441]);
        assert_eq!(stated(64, 512, 128, 0).list(), [64, 128, 512]);
        let odd = stated(16, 2048, 441, 16);
        assert!(odd.allows(441) && odd.allows(48) && !odd.allows(440) && !odd.allows(22));
        assert!(stated(22, 22, 22, 0).allows(22));
        assert!(stated(1, 8192, 512, 1).list().len() < 32);
    }

    #[test]
    fn everything_listed_is_allowed_and_the_nearest_too() {
        for (min, max, preferred, granularity) in [
            (16, 2048, 441, 16),
            (22, 22, 22, 0),
            (64, 1000, 64, -1),
            (48, 4096, 500, 24),
            (1, 8192, 1, 1),
            (100, 200, 150, 1000),
        ] {
            let sizes = stated(min, max, preferred, granularity);
            assert!(sizes.list().iter().all(|n| sizes.allows(*n)), "{sizes:?}");
            for wanted in [0, 1, 15, 16, 64, 100, 441, 1000, 5000, u32::MAX] {
                let near = sizes.nearest(wanted);
                assert!(sizes.allows(near), "{sizes:?} {wanted}");
                let closer =
                    sizes.list().iter().any(|n| n.abs_diff(wanted) < near.abs_diff(wanted));
                assert!(!closer, "{sizes:?} {wanted} {near}");
            }
        }
    }

    #[test]
    fn what_drivers_state_wrongly_is_put_right_or_refused() {
        for bad in [(0, 0, 0, 0), (-1, -1, -1, -1), (i32::MIN, i32::MIN, 0, 5), (9000, 0, 9000, 1)]
        {
            assert_eq!(Sizes::stated(bad.0, bad.1, bad.2, bad.3), None, "{bad:?}");
        }
        assert_eq!(stated(512, 64, 128, 64), stated(64, 512, 128, 64));
        assert_eq!(stated(0, 0, 256, 0).list(), [256]);
        assert_eq!(stated(64, 512, 0, -1).preferred, 64);
        assert_eq!(stated(64, 512, 1024, -1).max, 1024);
        assert_eq!(stated(64, i32::MAX, 64, 0).max, 8192);
        // No step makes it work without end.
        for granularity in [i32::MIN, -2, 1, 7, i32::MAX] {
            assert!(stated(1, 8192, 64, granularity).list().len() < 200);
        }
    }

    #[test]
    fn sizes_in_words() {
        assert_eq!(stated(64, 512, 128, -1).words(), "64, 128, 256, 512");
        assert_eq!(stated(16, 2048, 441, 16).words(), "16 to 2048 in steps of 16, and 441");
        assert_eq!(Sizes::any(16, 8192, 256).words(), "16 to 8192");
        assert_eq!(Sizes::only(441).words(), "441");
    }
}
