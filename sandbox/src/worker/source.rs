//! One source of a node's input: picks it up, converts its channels, delays it, adds it.

use crate::audio::Packed;
use crate::protocol::SourceConnection;
use crate::shm::layout::status;
use crate::shm::{InboxReader, OutboxReader};
use smallvec::SmallVec;
use std::io;
use std::sync::atomic::Ordering;

/// A source, with what it remembers from block to block.
pub(super) struct Source {
    index: usize,
    bus: usize,
    direct: Option<Direct>,
}

struct Direct {
    outbox: OutboxReader,
    /// The bus's first channel among those of the outbox, and how many it has.
    first: u32,
    channels: u32,
    key: u64,
    /// Whether the last block came from the inbox. `None`: there was none yet. Then the host sees to it
    /// that what comes goes on from what was there before: it begins in the inbox, with the fallback.
    was_replaced: Option<bool>,
    /// By input channel. Stereo needs no memory elsewhere.
    memory: SmallVec<[Memory; 2]>,
}

/// What a channel remembers from block to block.
struct Memory {
    line: DelayLine,
    /// The last sample: for the ramp when the source changes.
    last: f32,
}

/// Longest ramp in frames; a shorter block ramps over its whole length.
const RAMP: usize = 256;

impl Source {
    pub(super) fn new(
        index: usize,
        from: &SourceConnection,
        outbox: Option<OutboxReader>,
        max_frames: u32,
    ) -> io::Result<Self> {
        let bad = |what| Err(io::Error::new(io::ErrorKind::InvalidData, what));
        let direct = match (&from.direct, outbox) {
            (Some(direct), Some(outbox)) => {
                let Some(&channels) = outbox.shape().buses.get(direct.bus as usize) else {
                    return bad("an output bus that is not there");
                };
                if outbox.shape().max_frames < max_frames {
                    return bad("a predecessor of shorter blocks");
                }
                if channels != from.channels && channels != 1 && from.channels != 1 {
                    return bad("buses whose channels don't match");
                }
                let memory = || Memory { line: DelayLine::new(direct.delay as usize), last: 0.0 };
                Some(Direct {
                    first: outbox.first_channel(direct.bus as usize),
                    outbox,
                    channels,
                    key: direct.key,
                    was_replaced: None,
                    memory: (0..from.channels).map(|_| memory()).collect(),
                })
            }
            _ => None,
        };
        Ok(Self { index, bus: from.bus as usize, direct })
    }

    pub(super) fn bus(&self) -> usize {
        self.bus
    }

    /// Continues `old` if it is the same connection in an earlier plan, perhaps with another delay.
    pub(super) fn take_over(&mut self, old: &mut Self) {
        let (Some(new), Some(old)) = (&mut self.direct, &mut old.direct) else { return };
        if new.key == old.key && new.memory.len() == old.memory.len() {
            for (new, old) in new.memory.iter_mut().zip(&mut old.memory) {
                new.line.take_over(&mut old.line);
                new.last = old.last;
            }
            new.was_replaced = old.was_replaced;
        }
    }

    /// Adds this block's audio to the bus.
    #[inline]
    pub(super) fn read(&mut self, inbox: &InboxReader, replaced: u64, input: &mut Input<'_>) {
        let index = self.index;
        match &mut self.direct {
            None => input.add(|channel, out| inbox.read_channel(index, channel as u32, out)),
            Some(direct) => {
                let is_replaced = replaced & (1 << index) != 0;
                let was_replaced = direct.was_replaced.replace(is_replaced);
                let ramp = was_replaced.is_some_and(|was| was != is_replaced);
                let channels = input.channels;
                input.add(|channel, out| {
                    if is_replaced {
                        inbox.read_channel(index, channel as u32, out);
                    } else {
                        direct.pick_up(channel, channels, out);
                    }
                    let memory = &mut direct.memory[channel];
                    memory.line.process(out);
                    if ramp {
                        ramp_from(memory.last, out);
                    }
                    memory.last = out[out.len() - 1];
                });
            }
        }
    }
}

/// A bus of a node's input, in one block.
pub(super) struct Input<'a> {
    pub(super) audio: &'a mut Packed,
    pub(super) scratch: &'a mut Packed,
    pub(super) first_channel: usize,
    pub(super) channels: usize,
    pub(super) frames: usize,
    /// No source has been added yet.
    pub(super) is_empty: bool,
}

impl Input<'_> {
    /// Sets or adds: `read` is given each channel's number and where to write it.
    #[inline]
    fn add(&mut self, mut read: impl FnMut(usize, &mut [f32])) {
        for channel in 0..self.channels {
            let out = self.audio.channel_mut(self.first_channel + channel, self.frames);
            if self.is_empty {
                read(channel, out);
            } else {
                let scratch = self.scratch.channel_mut(0, self.frames);
                read(channel, scratch);
                out.iter_mut().zip(scratch).for_each(|(o, s)| *o += *s);
            }
        }
        self.is_empty = false;
    }

    pub(super) fn silence_if_empty(&mut self) {
        if self.is_empty {
            self.add(|_, out| out.fill(0.0));
        }
    }
}

impl Direct {
    /// The predecessor's audio for one input channel.
    #[inline]
    fn pick_up(&self, channel: usize, wanted: usize, out: &mut [f32]) {
        if self.outbox.header().status.load(Ordering::Relaxed) != status::DONE {
            out.fill(0.0); // the plugin reported an error: what it wrote is void
            return;
        }
        let frames = out.len() as u32;
        match (self.channels as usize, wanted) {
            (0, _) => out.fill(0.0),
            (1, _) => {
                self.outbox.read_part(self.first, frames, 0, out);
            }
            (have, 1) => {
                // Mean of all channels, in channel order: the same bits as the engine's.
                self.outbox.read_part(self.first, frames, 0, out);
                let mut part = [0.0f32; 64];
                for (at, out) in out.chunks_mut(part.len()).enumerate() {
                    let at = at * part.len();
                    for other in self.first + 1..self.first + have as u32 {
                        let part = &mut part[..out.len()];
                        self.outbox.read_part(other, frames, at, part);
                        out.iter_mut().zip(part).for_each(|(o, p)| *o += *p);
                    }
                }
                let scale = 1.0 / have as f32;
                out.iter_mut().for_each(|o| *o *= scale);
            }
            _ => {
                self.outbox.read_part(self.first + channel as u32, frames, 0, out);
            }
        }
    }
}

/// Fades from a held sample to what is there, so that a jump makes no click.
fn ramp_from(last: f32, out: &mut [f32]) {
    let length = out.len().min(RAMP);
    let step = 1.0 / length as f32;
    for (n, sample) in out.iter_mut().take(length).enumerate() {
        let gain = (n + 1) as f32 * step;
        *sample = last * (1.0 - gain) + *sample * gain;
    }
}

/// The last samples of a channel.
#[derive(Default)]
struct Ring {
    samples: Box<[f32]>,
    at: usize,
}

impl Ring {
    #[inline]
    fn step(&mut self, sample: f32) -> f32 {
        let Some(slot) = self.samples.get_mut(self.at) else { return sample };
        let late = std::mem::replace(slot, sample);
        self.at += 1;
        if self.at == self.samples.len() {
            self.at = 0;
        }
        late
    }
}

/// Delays a channel by a fixed number of frames. One that takes the place of a longer or shorter
/// one lets that be heard until it is full itself, then turns into it (as the engine's lines do). Another
/// may come before that is over: what is heard then goes on.
#[derive(Default)]
struct DelayLine {
    ring: Ring,
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
        left if left > RAMP => old,
        left => {
            let weight = left as f32 / RAMP as f32;
            old * weight + new * (1.0 - weight)
        }
    }
}

impl DelayLine {
    fn new(frames: usize) -> Self {
        let ring = Ring { samples: vec![0.0; frames].into(), at: 0 };
        Self { ring, ..Self::default() }
    }

    fn take_over(&mut self, old: &mut Self) {
        if self.ring.samples.len() == old.ring.samples.len() {
            std::mem::swap(self, old);
            return;
        }
        if old.left > RAMP {
            // Its own ring has not been heard yet.
            std::mem::swap(&mut self.before, &mut old.before);
            std::mem::swap(&mut self.older, &mut old.older);
            self.older_left = old.older_left;
        } else {
            std::mem::swap(&mut self.before, &mut old.ring);
            std::mem::swap(&mut self.older, &mut old.before);
            self.older_left = old.left;
        }
        self.left = self.ring.samples.len().max(self.older_left) + RAMP;
    }

    #[inline]
    fn process(&mut self, samples: &mut [f32]) {
        if self.left == 0 {
            if !self.ring.samples.is_empty() {
                samples.iter_mut().for_each(|sample| *sample = self.ring.step(*sample));
            }
            return;
        }
        for sample in samples {
            let (new, mut old) = (self.ring.step(*sample), self.before.step(*sample));
            if self.older_left > 0 {
                old = crossed(self.older.step(*sample), old, self.older_left);
                self.older_left -= 1;
            }
            *sample = crossed(old, new, self.left);
            self.left = self.left.saturating_sub(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{DelayLine, RAMP, ramp_from};

    #[test]
    fn a_delay_line_delays_by_its_frames_across_blocks() {
        let mut line = DelayLine::new(3);
        let mut heard = vec![];
        for block in [vec![1.0, 2.0], vec![3.0, 4.0, 5.0], vec![6.0]] {
            let mut block = block;
            line.process(&mut block);
            heard.extend(block);
        }
        assert_eq!(heard, [0.0, 0.0, 0.0, 1.0, 2.0, 3.0]);
    }

    #[test]
    fn another_delay_takes_over_without_a_gap_and_is_exact_in_the_end() {
        for (before, after) in [(0usize, 40usize), (40, 0), (7, 8)] {
            let mut old = DelayLine::new(before);
            let input: Vec<f32> = (1..=1000).map(|n| n as f32).collect();
            let mut heard = input.clone();
            old.process(&mut heard[..100]);
            let mut line = DelayLine::new(after);
            line.take_over(&mut old);
            heard[100..].chunks_mut(33).for_each(|block| line.process(block));
            let most = 1.0 + before.abs_diff(after) as f32 / RAMP as f32 + 0.01;
            let jump = heard[before..].windows(2).map(|w| (w[1] - w[0]).abs()).fold(0.0, f32::max);
            assert!(jump <= most, "{before} to {after}: a step of {jump}");
            let exact = 100 + after + RAMP;
            assert_eq!(heard[exact..], input[exact - after..1000 - after], "{before} to {after}");
        }
    }

    #[test]
    fn a_delay_that_changes_again_before_the_first_change_is_over_makes_no_gap() {
        for delays in [[0, 400, 100], [400, 0, 300], [50, 900, 0], [10, 300, 20], [300, 0, 500]] {
            for pause in [1, 100, 255, 300, 500] {
                let input: Vec<f32> = (1..=4000).map(|n| n as f32).collect();
                let mut heard = input.clone();
                let mut line = DelayLine::new(delays[0]);
                line.process(&mut heard[..1000]);
                let mut from = 1000;
                for (delay, frames) in [(delays[1], pause), (delays[2], pause), (delays[0], 2000)] {
                    let mut next = DelayLine::new(delay);
                    next.take_over(&mut line);
                    line = next;
                    heard[from..from + frames].chunks_mut(33).for_each(|part| line.process(part));
                    from += frames;
                }
                let steps = heard[delays[0]..from].windows(2).map(|w| (w[1] - w[0]).abs());
                // Two may turn into others at once.
                let most = 1.0 + 2.0 * 900.0 / RAMP as f32;
                let jump = steps.fold(0.0, f32::max);
                assert!(jump <= most, "{delays:?} after {pause}: a step of {jump}");
                let end = from - 100;
                assert_eq!(heard[end..from], input[end - delays[0]..from - delays[0]]);
            }
        }
    }

    #[test]
    fn a_ramp_begins_near_the_held_sample_and_ends_on_the_new_one() {
        let mut block = [0.0; 16];
        ramp_from(1.0, &mut block);
        assert!(block.windows(2).all(|w| w[0] > w[1]), "{block:?}");
        assert!(block[0] > 0.9 && block[15] == 0.0);
    }
}
