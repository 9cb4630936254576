//! When each period is due: exact integer arithmetic, so that nothing drifts.

const NS: u128 = 1_000_000_000;

/// Periods of a fixed length from a start time on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Schedule {
    start_ns: u64,
    frames: u128,
    rate: u128,
}

impl Schedule {
    /// Period 0 is due at `start_ns`.
    pub(super) fn new(start_ns: u64, frames: u32, rate: u32) -> Self {
        Self { start_ns, frames: frames.into(), rate: rate.into() }
    }

    /// When period `n` is due, ns: the start and `n * frames / rate` seconds, rounded down.
    pub(super) fn due(&self, n: u64) -> u64 {
        self.start_ns + (u128::from(n) * self.frames * NS / self.rate) as u64
    }

    /// The last period that is due at `now_ns` or before; 0 if none is.
    pub(super) fn reached(&self, now_ns: u64) -> u64 {
        let since = u128::from(now_ns.saturating_sub(self.start_ns));
        // due(n) <= now  <=>  n * frames * NS / rate < since + 1, as due(n) is rounded down.
        (((since + 1) * self.rate).div_ceil(self.frames * NS) - 1) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn due_times_do_not_drift_over_a_week() {
        let start = 123_456_789_012_345;
        for (frames, rate) in
            [(64, 48_000), (22, 44_100), (441, 44_100), (8192, 8_000), (16, 768_000)]
        {
            let schedule = Schedule::new(start, frames, rate);
            let week = 7 * 24 * 3600 * u64::from(rate);
            let n = week / u64::from(frames) * u64::from(frames) / u64::from(frames);
            let frames_until = n * u64::from(frames);
            let exact = u128::from(frames_until) * NS / u128::from(rate);
            assert_eq!(u128::from(schedule.due(n) - start), exact);
            // Neighbours differ by the period, give or take the rounding of 1 ns.
            let period = (u128::from(frames) * NS / u128::from(rate)) as u64;
            assert!((period..=period + 1).contains(&(schedule.due(n + 1) - schedule.due(n))));
        }
    }

    #[test]
    fn reached_is_the_inverse_of_due() {
        for (frames, rate) in
            [(64, 48_000), (22, 44_100), (441, 44_100), (8192, 8_000), (16, 768_000)]
        {
            let schedule = Schedule::new(1_000_000_007, frames, rate);
            for n in (0..3000).chain(1_000_000_000..1_000_000_100) {
                assert_eq!(schedule.reached(schedule.due(n)), n);
                assert_eq!(schedule.reached(schedule.due(n + 1) - 1), n);
            }
        }
    }
}
