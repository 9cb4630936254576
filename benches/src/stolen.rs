//! Periods missed beside a theft of the cores by the hypervisor.
//!
//! Short thefts are not told by the system: what is counted here was beside one, what is not may have
//! been.

use std::time::Duration;

/// Periods missed, and how many of them beside a theft.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Missed {
    /// All.
    pub all: u64,
    /// Those in a stretch of which a part was stolen, or in the ones beside it: the kernel counts a
    /// theft when it is over, and the driver a missed period when it calls again.
    pub beside_theft: u64,
}

impl Missed {
    /// Of counts taken now and then: periods missed so far, and time stolen so far.
    #[must_use]
    pub fn of(samples: &[(u64, Duration)]) -> Self {
        let stretches: Vec<_> =
            samples.windows(2).map(|pair| (pair[1].0 - pair[0].0, pair[1].1 > pair[0].1)).collect();
        let mut missed = Self::default();
        for (at, &(count, _)) in stretches.iter().enumerate() {
            let beside = &stretches[at.saturating_sub(1)..(at + 2).min(stretches.len())];
            missed.all += count;
            missed.beside_theft += if beside.iter().any(|&(_, stolen)| stolen) { count } else { 0 };
        }
        missed
    }
}

impl std::ops::AddAssign for Missed {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.beside_theft += other.beside_theft;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn periods_missed_beside_a_theft_are_told_apart() {
        let ms = Duration::from_millis;
        let samples =
            [(0, ms(0)), (2, ms(0)), (2, ms(0)), (21, ms(0)), (21, ms(100)), (22, ms(100))];
        assert_eq!(Missed::of(&samples), Missed { all: 22, beside_theft: 20 });
        assert_eq!(Missed::of(&samples[..1]), Missed::default());
    }
}
