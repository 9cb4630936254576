//! Cuts what is rendered into batches.
//!
//! Where a batch ends depends on nothing but the file, the tempo and the events: neither on where
//! plugins run nor on how fast. So each way to render gives plugins the same blocks.

use super::score::MOST_AT_ONCE;
use super::stage::Batch;
use crate::error::Error;
use crate::midi_events;
use crate::midi_file::Meter;
use crate::wav::WavReader;

/// Batches from the beginning, without end.
pub(super) struct Source {
    reader: Option<WavReader>,
    channels: u32,
    rate: u32,
    meter: Meter,
    /// Frames at which tempo or time signature change, to come.
    changes: Vec<u64>,
    /// Times of the events of each plugin, and of all.
    events: Vec<Times>,
    frames: u64,
    /// Blocks in the next batch, if nothing cuts it short, and the most.
    blocks: u64,
    most_blocks: u64,
    at: u64,
    /// Where the input ends, if before its file does.
    limit: u64,
}

/// Times of events.
struct Times {
    times: Vec<u64>,
    past: usize,
    /// How many there may be in a batch.
    most: usize,
}

/// Events for all plugins of an engine in a batch: its queue has room for some more.
const MOST_IN_ALL: usize = 3500;

/// What a source is made of.
pub(super) struct SourceParts {
    pub(super) reader: Option<WavReader>,
    /// Of the first stage.
    pub(super) channels: u32,
    pub(super) rate: u32,
    pub(super) meter: Meter,
    pub(super) events: Vec<Vec<u64>>,
    /// Frames of a block, and of the longest batch.
    pub(super) frames: u32,
    pub(super) batch: u32,
    pub(super) limit: u64,
}

impl Source {
    pub(super) fn new(parts: SourceParts) -> Self {
        let SourceParts { reader, channels, rate, meter, events, frames, batch, limit } = parts;
        let frame = |seconds: f64| (seconds * f64::from(rate)).round() as u64;
        let mut changes: Vec<u64> = meter.changes().into_iter().map(frame).collect();
        changes.dedup();
        changes.reverse();
        let mut all = events.concat();
        all.sort_unstable();
        let times = |(times, most)| Times { times, past: 0, most };
        let each = events.into_iter().map(|times| (times, MOST_AT_ONCE));
        let lists = each.chain([(all, MOST_IN_ALL)]).map(times).collect();
        Self {
            reader,
            channels,
            rate,
            meter,
            changes,
            events: lists,
            frames: frames.into(),
            // The first is short: a plugin that does not work is found soon.
            blocks: 1,
            most_blocks: u64::from(batch / frames).max(1),
            at: 0,
            limit,
        }
    }

    fn length(&mut self) -> u64 {
        let mut length = self.blocks * self.frames;
        self.blocks = (self.blocks * 2).min(self.most_blocks);
        while self.changes.last().is_some_and(|change| *change <= self.at) {
            self.changes.pop();
        }
        if let Some(change) = self.changes.last() {
            length = length.min(change - self.at);
        }
        for Times { times, past, most } in &mut self.events {
            *past += times[*past..].partition_point(|time| *time < self.at);
            // The first that there is no room for comes with the next batch.
            if let Some(time) = times.get(*past + *most)
                && *time < self.at + length
            {
                let room = time.saturating_sub(self.at).max(1);
                let whole = room / self.frames * self.frames;
                length = length.min(if whole > 0 { whole } else { room });
            }
        }
        length
    }

    pub(super) fn next(&mut self) -> Result<Batch, Error> {
        let frames = self.length() as usize;
        let mut audio = vec![vec![0.0; frames]; self.channels as usize];
        if let Some(reader) = self.reader.as_mut().filter(|reader| reader.left() > 0) {
            let wanted = self.limit.saturating_sub(self.at).min(frames as u64) as usize;
            let mut planar: Vec<&mut [f32]> = audio.iter_mut().map(|c| &mut c[..wanted]).collect();
            reader.read(&mut planar)?;
        }
        let seconds = self.at as f64 / f64::from(self.rate);
        let transport = midi_events::transport(&self.meter, seconds);
        let from = self.at;
        self.at += frames as u64;
        Ok(Batch { from, frames, audio, transport })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(events: Vec<u64>) -> Source {
        Source::new(SourceParts {
            reader: None,
            channels: 1,
            rate: 48_000,
            meter: Meter::default(),
            events: vec![events],
            frames: 256,
            batch: 1024,
            limit: 0,
        })
    }

    #[test]
    fn batches_grow_to_the_longest() {
        let mut source = source(vec![]);
        let lengths: Vec<_> = (0..4).map(|_| source.next().unwrap().frames).collect();
        assert_eq!(lengths, [256, 512, 1024, 1024]);
    }

    #[test]
    fn many_events_make_short_batches() {
        // One a frame, and then very many at one.
        let times: Vec<u64> = (1000..2000).chain([2000; 190]).collect();
        let mut source = source(times.clone());
        let mut at = 0;
        while at < 3000 {
            let batch = source.next().unwrap();
            assert_eq!(batch.from, at);
            assert!(batch.frames > 0);
            at += batch.frames as u64;
            let inside = times.iter().filter(|t| (batch.from..at).contains(t)).count();
            assert!(inside <= MOST_AT_ONCE, "{inside} at {}", batch.from);
        }
    }
}
