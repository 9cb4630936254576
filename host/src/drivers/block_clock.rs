//! When a driver's callbacks are due, which of them were missed, and where the next frame lies:
//! made out of what the clock, the driver's sample position and its time stamps say.
//!
//! None of these is to be relied on. Threads wake late, drivers call several times at once,
//! positions stand still, and 64-bit numbers come with their halves swapped. What comes out always
//! goes forward by whole blocks.

use super::CallbackTime;

/// A 64-bit number in two halves, as a driver states it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Halves {
    /// What should be the upper 32 bits.
    pub hi: u32,
    /// What should be the lower.
    pub lo: u32,
}

/// What a driver says of a callback.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Position of its first frame.
    pub position: Option<Halves>,
    /// When it was due, in ns of a clock of the driver's own.
    pub stamp: Option<Halves>,
}

/// Keeps time for the callbacks of one run.
#[derive(Clone, Debug)]
pub struct BlockClock {
    frames: u64,
    rate: u64,
    period_ns: u64,
    /// When the last callback was due. `None`: there was none yet.
    due_ns: Option<u64>,
    entered_ns: u64,
    /// Of the next block.
    position: u64,
    xruns: u64,
    /// Periods that the last callback took too long.
    overrun: u64,
    driver_position: Number,
    stamps: Stamps,
}

impl BlockClock {
    /// For blocks of so many frames.
    pub fn new(rate: u32, frames: u32) -> Self {
        let rate = u64::from(rate.max(1));
        let frames = u64::from(frames.max(1));
        Self {
            frames,
            rate,
            period_ns: frames * 1_000_000_000 / rate,
            due_ns: None,
            entered_ns: 0,
            position: 0,
            xruns: 0,
            overrun: 0,
            driver_position: Number::default(),
            stamps: Stamps::default(),
        }
    }

    /// Callbacks missed so far.
    pub fn xruns(&self) -> u64 {
        self.xruns
    }

    /// At the start of a callback, at `entered_ns` of the monotonic clock.
    pub fn begin(&mut self, entered_ns: u64, told: Told) -> CallbackTime {
        let missed = self.missed(told.position);
        self.xruns += missed.max(std::mem::take(&mut self.overrun));
        self.position += missed * self.frames;
        let due_ns = self.due(entered_ns, missed, told.stamp);
        self.due_ns = Some(due_ns);
        self.entered_ns = entered_ns;
        let time = CallbackTime {
            sample_position: self.position,
            due_ns,
            next_due_ns: due_ns + self.period_ns,
            xruns: self.xruns,
        };
        self.position += self.frames;
        time
    }

    /// At its end, at `left_ns`. The hardware does not wait: who takes longer than a period has
    /// missed one.
    pub fn end(&mut self, left_ns: u64) {
        self.overrun = left_ns.saturating_sub(self.entered_ns) / self.period_ns.max(1);
    }

    /// Blocks that the driver left out, by its position.
    fn missed(&mut self, position: Option<Halves>) -> u64 {
        let Some(position) = position else { return 0 };
        let Some(step) = self.driver_position.step(position, self.frames) else { return 0 };
        // A second at most: what jumps further has been set to something else.
        if step > self.rate.max(4 * self.frames) {
            return 0;
        }
        // Positions of some drivers waver around the block's.
        (step + self.frames / 2).saturating_sub(self.frames) / self.frames
    }

    fn due(&mut self, entered_ns: u64, missed: u64, stamp: Option<Halves>) -> u64 {
        let seen = match stamp {
            Some(stamp) => self.stamps.on_our_clock(stamp, entered_ns, self.period_ns),
            None => entered_ns,
        };
        let Some(before) = self.due_ns else { return seen };
        let expected = before + (missed + 1) * self.period_ns;
        let error = seen as i64 - expected as i64;
        if error.unsigned_abs() > 4 * self.period_ns + 1_000_000 {
            // It stood still, or the system did: nothing left to be even about.
            return seen;
        }
        // Threads wake late, never early: an early callback is the truth, a late one hardly.
        let share = if error < 0 { 2 } else { 64 };
        expected.saturating_add_signed(error / share).min(entered_ns)
    }
}

/// A number that grows, with its halves the right way round or not.
#[derive(Clone, Copy, Debug, Default)]
struct Number {
    last: Option<Halves>,
    swapped: bool,
}

fn joined(Halves { hi, lo }: Halves, swapped: bool) -> u64 {
    let (hi, lo) = if swapped { (lo, hi) } else { (hi, lo) };
    u64::from(hi) << 32 | u64::from(lo)
}

impl Number {
    /// How far it went, given about how far it should. `None`: nowhere, or backwards.
    fn step(&mut self, now: Halves, expected: u64) -> Option<u64> {
        let last = self.last.replace(now)?;
        let step = |swapped| joined(now, swapped).checked_sub(joined(last, swapped));
        let far = |step: Option<u64>| step.map_or(u64::MAX, |step| step.abs_diff(expected));
        // Of the two ways to read it, the one that goes as far as it should.
        let (here, there) = (step(self.swapped), step(!self.swapped));
        if far(there) < far(here) {
            self.swapped = !self.swapped;
            return there.filter(|step| *step > 0);
        }
        here.filter(|step| *step > 0)
    }

    fn value(&self) -> Option<u64> {
        self.last.map(|last| joined(last, self.swapped))
    }
}

/// Time stamps of a driver's own clock.
#[derive(Clone, Copy, Debug, Default)]
struct Stamps {
    number: Number,
    /// Our clock less the driver's, at least.
    offset_ns: Option<i64>,
    /// Whether they tell more than whole milliseconds.
    fine: bool,
}

impl Stamps {
    /// When it was by our clock; `entered_ns` where the stamp says nothing better.
    fn on_our_clock(&mut self, stamp: Halves, entered_ns: u64, period_ns: u64) -> u64 {
        /// What two clocks of one machine drift apart, ns a period of a millisecond.
        const DRIFT_NS: i64 = 100;
        let stepped = self.number.step(stamp, period_ns).is_some();
        let value = self.number.value().unwrap_or_default();
        // The usual clock of ASIO ticks in milliseconds: the time of entering is better.
        self.fine |= !value.is_multiple_of(1_000_000);
        if !stepped || !self.fine {
            return entered_ns;
        }
        let apart = (entered_ns as i64).wrapping_sub(value as i64);
        let offset = match self.offset_ns {
            Some(known) if apart.abs_diff(known) < 100_000_000 => apart.min(known + DRIFT_NS),
            _ => apart,
        };
        self.offset_ns = Some(offset);
        let seen = (value as i64).wrapping_add(offset) as u64;
        seen.clamp(entered_ns.saturating_sub(2 * period_ns), entered_ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn halves(value: u64, swapped: bool) -> Halves {
        let (hi, lo) = ((value >> 32) as u32, value as u32);
        if swapped { Halves { hi: lo, lo: hi } } else { Halves { hi, lo } }
    }

    fn told(position: u64, stamp: u64, swapped: bool) -> Told {
        Told { position: Some(halves(position, swapped)), stamp: Some(halves(stamp, swapped)) }
    }

    /// 480 frames at 48 kHz: 10 ms.
    fn clock() -> BlockClock {
        BlockClock::new(48_000, 480)
    }

    #[test]
    fn swapped_halves_are_told_from_right_ones_and_say_the_same() {
        // Positions that begin anywhere, also so high that both halves count.
        for start in [0, 480, 77_777, (3 << 32) - 960, 5 << 33] {
            let mut seen = Vec::new();
            for swapped in [false, true] {
                let mut clock = clock();
                let mut times = Vec::new();
                for n in 0..20u64 {
                    // The eleventh block and the one behind it never come.
                    let n = if n > 10 { n + 2 } else { n };
                    let stamp = 123_456_789_123 + n * 10 * MS + 7;
                    let told = told(start + n * 480, stamp, swapped);
                    times.push(clock.begin(5_000 * MS + n * 10 * MS, told));
                }
                assert_eq!(clock.xruns(), 2, "{start} {swapped}");
                assert_eq!(times[19].sample_position, 21 * 480, "{start} {swapped}");
                seen.push(times);
            }
            assert_eq!(seen[0], seen[1], "{start}");
        }
    }

    #[test]
    fn positions_that_stand_still_jump_or_waver_do_no_harm() {
        let mut clock = clock();
        let positions = [
            0,
            0,
            0,
            480,
            960,
            10,
            u64::MAX,
            0,
            480,
            1150,
            1440,
            1700,
            2400,
            1 << 40,
            (1 << 40) + 480,
        ];
        for (n, position) in positions.into_iter().enumerate() {
            let told = Told { position: Some(halves(position, false)), stamp: None };
            let time = clock.begin(n as u64 * 10 * MS, told);
            assert_eq!(time.sample_position, n as u64 * 480);
            assert_eq!(time.xruns, 0, "at {n}");
        }
    }

    #[test]
    fn a_callback_that_takes_longer_than_its_period_has_missed_one() {
        let mut clock = clock();
        clock.begin(0, Told::default());
        clock.end(9 * MS);
        assert_eq!(clock.begin(10 * MS, Told::default()).xruns, 0);
        clock.end(35 * MS);
        assert_eq!(clock.begin(40 * MS, Told::default()).xruns, 2);
        // The driver left them out, too: the same two are not counted twice.
        let mut clock = super::BlockClock::new(48_000, 480);
        clock.begin(0, told(0, 0, false));
        clock.end(35 * MS);
        let time = clock.begin(40 * MS, told(4 * 480, 0, false));
        assert_eq!((time.xruns, time.sample_position), (3, 4 * 480));
    }

    #[test]
    fn late_wake_ups_hardly_move_what_is_due_and_early_ones_do() {
        let mut clock = clock();
        let mut last = clock.begin(MS, Told::default());
        for n in 1..200u64 {
            let late = if n % 7 == 0 { 4 * MS } else { 0 };
            let time = clock.begin(MS + n * 10 * MS + late, Told::default());
            assert!(time.due_ns.abs_diff(MS + n * 10 * MS) < MS, "{n}: {time:?}");
            assert!(time.due_ns > last.due_ns);
            assert_eq!(time.next_due_ns - time.due_ns, 10 * MS);
            last = time;
        }
        // A pause: it begins anew, and nothing is counted as missed.
        let time = clock.begin(60_000 * MS, Told::default());
        assert_eq!((time.due_ns, time.xruns), (60_000 * MS, 0));
    }

    #[test]
    fn fine_stamps_see_through_late_wake_ups_and_coarse_ones_are_not_used() {
        let mut fine = clock();
        let mut coarse = clock();
        for n in 0..100u64 {
            let due = 10_000 * MS + n * 10 * MS;
            let late = (n % 5) * MS;
            let time = fine.begin(due + late, told(n * 480, 500 * MS + n * 10 * MS + 1234, false));
            if n > 10 {
                assert!(time.due_ns.abs_diff(due) < MS / 10, "{n}: {}", time.due_ns - due);
            }
            let time = coarse.begin(due, told(n * 480, (n * 10 + 3) * MS, false));
            assert_eq!(time.due_ns, due);
        }
    }

    #[test]
    fn nothing_a_driver_says_makes_it_overflow() {
        let mut clock = BlockClock::new(u32::MAX, 1);
        let mut random = 1u64;
        for n in 0..10_000u64 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(n);
            let extreme = [0, u64::MAX, random, random >> 20, 1 << 63][n as usize % 5];
            clock.begin(n, told(extreme, extreme.rotate_left(13), n % 3 == 0));
            clock.end(n + random % 1000);
        }
        BlockClock::new(0, 0).begin(0, Told::default());
    }
}
