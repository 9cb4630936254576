//! One stage: an engine with its plugins' events, that takes batches of audio and gives some.

use crate::error::Error;
use crate::session::Running;
use crate::wav::WavReader;
use sandrack_engine::block::Transport;
use sandrack_engine::event::{Event, EventKind};
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::{NodeOutcome, Record};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

/// Audio on its way through the stages.
pub(super) struct Batch {
    /// Its first frame, counted from the beginning.
    pub(super) from: u64,
    pub(super) frames: usize,
    /// One vector a channel.
    pub(super) audio: Vec<Vec<f32>>,
    /// At its first frame.
    pub(super) transport: Transport,
}

/// Why a stage can't go on.
pub(super) enum Fault {
    /// A plugin did not deliver.
    Plugin { place: usize, what: &'static str, frame: u64 },
    /// Anything else.
    Other(Error),
}

/// See the module. May be used from any one thread.
pub(super) struct Stage {
    running: Running,
    /// Place of its first plugin in the chain.
    first: usize,
    outputs: usize,
    /// The plugins' block.
    frames: usize,
    timeout: Duration,
    events: Vec<(u64, NodeId, EventKind)>,
    next_event: usize,
    feeds: Vec<Feed>,
    /// Batches take so long that a part of them has to do at a time.
    is_slow: bool,
    /// Places of plugins whose output was not a number.
    pub(super) not_finite: BTreeSet<usize>,
    /// Events that did not reach their plugin.
    pub(super) lost_events: u64,
}

impl Stage {
    pub(super) fn new(
        first: usize,
        running: Running,
        outputs: u32,
        frames: u32,
        timeout: Duration,
    ) -> Self {
        tracing::debug!(first, plugins = running.nodes.concat().len(), "a stage");
        Self {
            running,
            first,
            outputs: outputs as usize,
            frames: frames as usize,
            timeout,
            events: Vec::new(),
            next_event: 0,
            feeds: Vec::new(),
            is_slow: false,
            not_finite: BTreeSet::new(),
            lost_events: 0,
        }
    }

    pub(super) fn add_feed(&mut self, feed: Feed) {
        self.feeds.push(feed);
    }

    pub(super) fn add_events(&mut self, plugin: usize, events: Vec<(u64, EventKind)>) {
        let node = self.running.nodes[0][plugin].0;
        self.events.extend(events.into_iter().map(|(frame, kind)| (frame, node, kind)));
    }

    pub(super) fn sort_events(&mut self) {
        self.events.sort_by_key(|(frame, ..)| *frame);
    }

    /// Runs a batch.
    pub(super) fn process(&mut self, batch: Batch) -> Result<Batch, Fault> {
        let mut inputs = batch.audio;
        for feed in &mut self.feeds {
            feed.read(batch.frames, &mut inputs).map_err(Fault::Other)?;
        }
        let mut outputs = vec![vec![0.0; batch.frames]; self.outputs];
        let _ = self.running.controller.transport(batch.transport);
        let step = if self.is_slow { self.frames } else { batch.frames };
        let start = Instant::now();
        let mut at = 0;
        while at < batch.frames {
            let to = (at + step).min(batch.frames);
            let first = batch.from + at as u64;
            self.send_events(first, first + (to - at) as u64);
            let inputs: Vec<&[f32]> = inputs.iter().map(|c| &c[at..to]).collect();
            let mut outputs: Vec<&mut [f32]> = outputs.iter_mut().map(|c| &mut c[at..to]).collect();
            self.running.callback.process_offline(&inputs, &mut outputs, self.timeout);
            self.check(first)?;
            at = to;
        }
        // A plugin that is slower than life is no plugin that hangs.
        self.is_slow |= start.elapsed() > self.timeout / 8;
        Ok(Batch { audio: outputs, ..batch })
    }

    fn send_events(&mut self, from: u64, to: u64) {
        while let Some((frame, node, kind)) = self.events.get(self.next_event)
            && *frame < to
        {
            let event = Event { time: frame.saturating_sub(from) as u32, kind: *kind };
            if self.running.controller.send_event(*node, event).is_err() {
                self.lost_events += 1;
            }
            self.next_event += 1;
        }
    }

    /// Offline there is no fallback: a plugin that did not deliver is the end.
    fn check(&mut self, frame: u64) -> Result<(), Fault> {
        let nodes = &self.running.nodes[0];
        let place = |id: NodeId| {
            self.first + nodes.iter().position(|(node, _)| *node == id).unwrap_or_default()
        };
        let mut worst = None;
        let mut lost = 0;
        while let Ok(record) = self.running.controller.timing().pop() {
            match record {
                Record::Node(record) if record.outcome == NodeOutcome::NotFinite => {
                    self.not_finite.insert(place(record.node));
                }
                Record::Node(record) if !record.outcome.is_heard() && worst.is_none() => {
                    worst = Some(record);
                }
                Record::Node(_) => {}
                Record::Block(block) => lost = lost.max(block.lost_events),
            }
        }
        self.lost_events = self.lost_events.max(lost);
        let Some(record) = worst else { return Ok(()) };
        let what = match record.outcome {
            NodeOutcome::Failed => "process() reported an error",
            _ => "process() did not return in time",
        };
        Err(Fault::Plugin { place: place(record.node), what, frame })
    }
}

/// A file that goes to a plugin's second input.
pub(super) struct Feed {
    reader: WavReader,
    /// Frames of silence before it: the delay of the plugins before.
    silence: u64,
}

impl Feed {
    pub(super) fn open(path: &Path, silence: u64) -> Result<Self, Error> {
        Ok(Self { reader: WavReader::open(path)?, silence })
    }

    /// Adds its channels.
    fn read(&mut self, frames: usize, to: &mut Vec<Vec<f32>>) -> Result<(), Error> {
        let first = to.len();
        to.resize(first + self.reader.info().channels as usize, vec![0.0; frames]);
        let silence = self.silence.min(frames as u64) as usize;
        self.silence -= silence as u64;
        let mut planar: Vec<&mut [f32]> =
            to[first..].iter_mut().map(|channel| &mut channel[silence..]).collect();
        if silence < frames && self.reader.left() > 0 {
            self.reader.read(&mut planar)?;
        }
        Ok(())
    }
}
