//! Delay lines for audio and for events.

use std::collections::VecDeque;

use crate::event::{Event, EventBuffer};

/// Delays a bus by a fixed number of frames.
#[derive(Debug, Default)]
pub(crate) struct DelayLine {
    /// The last `frames` samples of each channel, each a ring that begins at `at`.
    samples: Box<[f32]>,
    channels: usize,
    frames: usize,
    at: usize,
}

impl DelayLine {
    pub(crate) fn new(channels: usize, frames: usize) -> Self {
        Self { samples: vec![0.0; channels * frames].into(), channels, frames, at: 0 }
    }

    /// Delays one block of one channel. To be called once for each channel, then `advance`.
    pub(crate) fn run(&mut self, channel: usize, input: &[f32], output: &mut [f32]) {
        if self.frames == 0 {
            output.copy_from_slice(input);
            return;
        }
        let ring = &mut self.samples[channel * self.frames..][..self.frames];
        let held = ring.len();
        if input.len() > held {
            // Nothing of the ring survives.
            let (late, early) = ring.split_at(self.at);
            output[..early.len()].copy_from_slice(early);
            output[early.len()..held].copy_from_slice(late);
            let through = input.len() - held;
            output[held..].copy_from_slice(&input[..through]);
            let (late, early) = ring.split_at_mut((self.at + input.len()) % held);
            early.copy_from_slice(&input[through..][..early.len()]);
            late.copy_from_slice(&input[through + early.len()..]);
            return;
        }
        let first = input.len().min(held - self.at);
        for (from, to) in [(0, self.at), (first, 0)] {
            let count = if from == 0 { first } else { input.len() - first };
            output[from..from + count].copy_from_slice(&ring[to..to + count]);
            ring[to..to + count].copy_from_slice(&input[from..from + count]);
            if first == input.len() {
                break;
            }
        }
    }

    pub(crate) fn advance(&mut self, frames: usize) {
        if self.frames > 0 {
            self.at = (self.at + frames) % self.frames;
        }
    }

    pub(crate) fn reset(&mut self) {
        self.samples.fill(0.0);
    }

    /// Takes over what `old` holds; if it holds more or less, the latest of it.
    pub(crate) fn take_over(&mut self, old: &mut Self) {
        if self.channels == old.channels && self.frames == old.frames {
            std::mem::swap(self, old);
            return;
        }
        self.reset();
        self.at = 0;
        let count = self.frames.min(old.frames);
        for channel in 0..self.channels.min(old.channels) {
            for back in 1..=count {
                let from = (old.at + old.frames - back) % old.frames;
                self.samples[channel * self.frames + self.frames - back] =
                    old.samples[channel * old.frames + from];
            }
        }
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
    use super::DelayLine;

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
