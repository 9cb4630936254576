//! Delay lines for audio and for events.

use std::collections::VecDeque;

use crate::event::{Event, EventBuffer};

/// Frames over which one delay turns into another.
const CROSSING: usize = 256;

/// The last `frames` samples of each channel, each a ring that begins at `at`.
#[derive(Debug, Default)]
struct Ring {
    samples: Box<[f32]>,
    frames: usize,
    at: usize,
}

impl Ring {
    fn channel(&mut self, channel: usize) -> &mut [f32] {
        &mut self.samples[channel * self.frames..][..self.frames]
    }

    fn run(&mut self, channel: usize, input: &[f32], output: &mut [f32]) {
        if self.frames == 0 {
            output.copy_from_slice(input);
            return;
        }
        let at = self.at;
        let ring = self.channel(channel);
        let held = ring.len();
        if input.len() > held {
            // Nothing of the ring survives.
            let (late, early) = ring.split_at(at);
            output[..early.len()].copy_from_slice(early);
            output[early.len()..held].copy_from_slice(late);
            let through = input.len() - held;
            output[held..].copy_from_slice(&input[..through]);
            let (late, early) = ring.split_at_mut((at + input.len()) % held);
            early.copy_from_slice(&input[through..][..early.len()]);
            late.copy_from_slice(&input[through + early.len()..]);
            return;
        }
        let first = input.len().min(held - at);
        for (from, to) in [(0, at), (first, 0)] {
            let count = if from == 0 { first } else { input.len() - first };
            output[from..from + count].copy_from_slice(&ring[to..to + count]);
            ring[to..to + count].copy_from_slice(&input[from..from + count]);
            if first == input.len() {
                break;
            }
        }
    }

    /// Sample by sample, for when two have to be mixed.
    fn step(&mut self, channel: usize, offset: usize, sample: f32) -> f32 {
        if self.frames == 0 {
            return sample;
        }
        let at = (self.at + offset) % self.frames;
        std::mem::replace(&mut self.channel(channel)[at], sample)
    }

    fn advance(&mut self, frames: usize) {
        if self.frames > 0 {
            self.at = (self.at + frames) % self.frames;
        }
    }
}

/// Delays a bus by a fixed number of frames.
///
/// When a plan is swapped in whose line is longer or shorter, the old delay is heard until the new
/// line is full, then one turns into the other: no gap, no jump, and nothing to be copied on the
/// realtime thread. Another such plan may come before that is over: what is heard then goes on.
#[derive(Debug, Default)]
pub(crate) struct DelayLine {
    ring: Ring,
    channels: usize,
    /// The line before, while it is heard.
    before: Ring,
    /// Frames until only the present line is heard.
    left: usize,
    /// The line before that, which was turning into it.
    older: Ring,
    /// Frames until it is not heard any more. Before then `before` does not turn into `ring`.
    older_left: usize,
}

/// From one signal to another, `left` frames before the end of it.
fn crossed(old: f32, new: f32, left: usize) -> f32 {
    match left {
        0 => new,
        left if left > CROSSING => old,
        left => {
            let weight = left as f32 / CROSSING as f32;
            old * weight + new * (1.0 - weight)
        }
    }
}

impl DelayLine {
    pub(crate) fn new(channels: usize, frames: usize) -> Self {
        let ring = Ring { samples: vec![0.0; channels * frames].into(), frames, at: 0 };
        Self { ring, channels, ..Self::default() }
    }

    /// Begins as a line that took the place of one without delay.
    pub(crate) fn after_no_delay(mut self) -> Self {
        self.left = self.ring.frames + CROSSING;
        self
    }

    /// Delays one block of one channel. To be called once for each channel, then `advance`.
    pub(crate) fn run(&mut self, channel: usize, input: &[f32], output: &mut [f32]) {
        if self.left == 0 {
            return self.ring.run(channel, input, output);
        }
        for (offset, (input, output)) in input.iter().zip(output).enumerate() {
            let new = self.ring.step(channel, offset, *input);
            let mut old = self.before.step(channel, offset, *input);
            if self.older_left > 0 {
                let older = self.older.step(channel, offset, *input);
                old = crossed(older, old, self.older_left.saturating_sub(offset));
            }
            *output = crossed(old, new, self.left.saturating_sub(offset));
        }
    }

    pub(crate) fn advance(&mut self, frames: usize) {
        self.ring.advance(frames);
        if self.left > 0 {
            self.before.advance(frames);
            self.older.advance(frames);
            self.left = self.left.saturating_sub(frames);
            self.older_left = self.older_left.saturating_sub(frames);
        }
    }

    /// Empty, and nothing of an earlier line is heard.
    pub(crate) fn reset(&mut self) {
        self.ring.samples.fill(0.0);
        (self.left, self.older_left) = (0, 0);
    }

    /// Goes on where `old` was.
    pub(crate) fn take_over(&mut self, old: &mut Self) {
        if self.channels != old.channels {
            return;
        }
        if self.ring.frames == old.ring.frames {
            std::mem::swap(self, old);
            return;
        }
        if old.left > CROSSING {
            // Its own ring has not been heard yet.
            std::mem::swap(&mut self.before, &mut old.before);
            std::mem::swap(&mut self.older, &mut old.older);
            self.older_left = old.older_left;
        } else {
            std::mem::swap(&mut self.before, &mut old.ring);
            std::mem::swap(&mut self.older, &mut old.before);
            self.older_left = old.left;
        }
        self.left = self.ring.frames.max(self.older_left) + CROSSING;
    }
}

/// Delays events by a fixed number of frames.
#[derive(Debug)]
pub(crate) struct EventLine {
    /// Absolute frame at which it is due.
    waiting: VecDeque<(u64, Event)>,
    capacity: usize,
    frames: u64,
    pub(crate) dropped: u64,
}

impl EventLine {
    pub(crate) fn new(capacity: usize, frames: u32) -> Self {
        Self {
            waiting: VecDeque::with_capacity(capacity),
            capacity,
            frames: frames.into(),
            dropped: 0,
        }
    }

    /// Takes the events of the block that begins at `now`.
    pub(crate) fn push(&mut self, now: u64, event: Event) {
        if self.waiting.len() == self.capacity {
            self.dropped += 1;
            return;
        }
        self.waiting.push_back((now + u64::from(event.time) + self.frames, event));
    }

    /// Hands out what is due in the block.
    pub(crate) fn pop(&mut self, now: u64, frames: usize, into: &mut EventBuffer) {
        while let Some((due, event)) = self.waiting.front() {
            if *due >= now + frames as u64 {
                break;
            }
            into.push(Event { time: due.saturating_sub(now) as u32, ..*event });
            self.waiting.pop_front();
        }
    }

    pub(crate) fn reset(&mut self) {
        self.waiting.clear();
    }

    /// Takes over the waiting events; they stay due when they were.
    pub(crate) fn take_over(&mut self, old: &mut Self) {
        if self.capacity == old.capacity {
            std::mem::swap(&mut self.waiting, &mut old.waiting);
        } else {
            let room = self.capacity - self.waiting.len();
            self.waiting.extend(old.waiting.drain(..).take(room));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CROSSING, DelayLine};

    #[test]
    fn another_delay_is_heard_without_a_gap_or_a_jump_and_is_exact_in_the_end() {
        for (before, after) in [(0usize, 300usize), (300, 0), (64, 65), (1000, 10)] {
            let mut old = DelayLine::new(1, before);
            let input: Vec<f32> = (1..=4000).map(|i| i as f32).collect();
            let mut output = vec![0.0; 4000];
            old.run(0, &input[..1500], &mut output[..1500]);
            old.advance(1500);
            let mut line = DelayLine::new(1, after);
            line.take_over(&mut old);
            for at in (1500..4000).step_by(100) {
                line.run(0, &input[at..at + 100], &mut output[at..at + 100]);
                line.advance(100);
            }
            // A ramp that rises by one a frame: the difference of the delays is made up for.
            let most = 1.0 + (before.abs_diff(after) as f32) / CROSSING as f32 + 0.01;
            let jump = output[before..].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
            assert!(jump <= most, "{before} to {after}: a step of {jump}");
            let exact = 1500 + after + CROSSING;
            assert_eq!(output[exact..], input[exact - after..4000 - after], "{before} to {after}");
        }
    }

    #[test]
    fn another_delay_before_the_last_change_is_over_does_not_jump_either() {
        for delays in [[480usize, 0, 480, 100], [0, 960, 480, 0], [64, 300, 301, 302]] {
            for wait in [1usize, 2, 4, 7, 20] {
                let mut line = DelayLine::new(1, delays[0]);
                let input: Vec<f32> = (0..200 * 64).map(|i| (i as f32 * 0.01).sin()).collect();
                let mut output = vec![0.0; input.len()];
                let mut changes = delays[1..].iter();
                for (block, at) in (0..input.len()).step_by(64).enumerate() {
                    if block >= 40
                        && (block - 40) % wait == 0
                        && let Some(frames) = changes.next()
                    {
                        let mut new = DelayLine::new(1, *frames);
                        new.take_over(&mut line);
                        line = new;
                    }
                    line.run(0, &input[at..at + 64], &mut output[at..at + 64]);
                    line.advance(64);
                }
                let steps = output[1000..].windows(2).map(|w| (w[1] - w[0]).abs());
                let jump = steps.fold(0.0, f32::max);
                assert!(jump < 0.01 + 2.0 / CROSSING as f32 + 1e-3, "{delays:?} {wait}: {jump}");
                let last = input.len() - 1000;
                assert_eq!(output[last..], input[last - delays[3]..input.len() - delays[3]]);
            }
        }
    }

    #[test]
    fn delays_exactly_whatever_the_block_sizes() {
        for delay in [0usize, 1, 2, 7, 64, 100] {
            let mut line = DelayLine::new(1, delay);
            let input: Vec<f32> = (1..=1000).map(|i| i as f32).collect();
            let mut output = vec![0.0; 1000];
            let (mut at, mut size) = (0, 1);
            while at < 1000 {
                let n = size.min(1000 - at);
                line.run(0, &input[at..at + n], &mut output[at..at + n]);
                line.advance(n);
                at += n;
                size = size * 5 % 97 + 1;
            }
            assert!(output[..delay].iter().all(|s| *s == 0.0));
            assert_eq!(output[delay..], input[..1000 - delay], "delay {delay}");
        }
    }
}
