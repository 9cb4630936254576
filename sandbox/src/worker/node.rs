//! One plugin in the audio thread: gathers its input, runs it, publishes its output, rings.

use super::source::{Input, Source};
use crate::audio::Packed;
use crate::event::{Event, insert_sorted};
use crate::format::{Buffers, ProcessBlock, Processor, Transport};
use crate::passing::{Notes, Passing};
use crate::protocol::{Connections, NodeConnections, Slots};
use crate::shm::layout::{BlockPage, EVENTS, MAX_NODES, node_flags, status};
use crate::shm::marks::{self, is_complete, ring};
use crate::shm::recording::{BlockHead, RecordingWriter};
use crate::shm::{BlockView, DoorbellView, InboxReader, OutboxReader, OutboxWriter};
use crate::sys::memory::Mapping;
use crate::sys::{clock::now_ns, fpu};
use smallvec::SmallVec;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Connections of this worker's nodes in one plan, mapped and checked.
pub(super) struct Topology {
    pub(super) generation: u32,
    pub(super) nodes: Vec<Links>,
}

/// Connections of one node.
pub(super) struct Links {
    pub(super) node: u32,
    at: usize,
    slots: Slots,
    inbox: InboxReader,
    // Inline where there is one, the usual case: what a block needs lies together.
    sources: SmallVec<[Source; 1]>,
    event_sources: Vec<OutboxReader>,
    successors: SmallVec<[Successor; 1]>,
    /// Number in the plan.
    index: usize,
    host: DoorbellView,
}

struct Successor {
    /// `None`: a node of this worker, which looks by itself.
    bell: Option<DoorbellView>,
    slots: Slots,
    slot: usize,
    index: usize,
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

impl Topology {
    pub(super) fn new(all: &Connections, regions: &[Arc<Mapping>]) -> io::Result<Self> {
        let nodes = all.nodes.iter().map(|node| Links::new(node, regions));
        Ok(Self { generation: all.generation, nodes: nodes.collect::<io::Result<_>>()? })
    }

    /// Continues the delay lines and ramps of the plan before. No allocation: lines are swapped.
    pub(super) fn take_over(&mut self, old: &mut Self) {
        for links in &mut self.nodes {
            let before = old.nodes.iter_mut().filter(|o| o.node == links.node);
            for old in before.flat_map(|o| o.sources.iter_mut()) {
                for new in &mut links.sources {
                    new.take_over(old);
                }
            }
        }
    }
}

impl Links {
    fn new(from: &NodeConnections, regions: &[Arc<Mapping>]) -> io::Result<Self> {
        if from.index as usize >= MAX_NODES {
            return Err(bad("a node that is not in the table"));
        }
        let region = |index: u32| {
            regions.get(index as usize).cloned().ok_or_else(|| bad("a region that is not there"))
        };
        let bell_of = |index| DoorbellView::of_another(region(index)?);
        let shape = from.inbox_shape.clone();
        let max_frames = shape.max_frames;
        let inbox = InboxReader::new(region(from.inbox)?, shape)?;
        let source = |(index, s): (usize, &crate::protocol::SourceConnection)| {
            let outbox = match &s.direct {
                Some(d) => Some(OutboxReader::new(region(d.outbox)?, d.shape.clone())?),
                None => None,
            };
            Source::new(index, s, outbox, max_frames)
        };
        let events =
            |(index, shape): &(u32, _)| OutboxReader::new(region(*index)?, Clone::clone(shape));
        let successor = |s: &crate::protocol::SuccessorConnection| {
            if s.slot >= s.slots.count || s.index as usize >= MAX_NODES {
                return Err(bad("a slot that is not there"));
            }
            let bell = s.doorbell.map(bell_of).transpose()?;
            Ok(Successor { bell, slots: s.slots, slot: s.slot as usize, index: s.index as usize })
        };
        Ok(Self {
            node: from.node,
            at: 0,
            slots: from.slots,
            inbox,
            sources: from.sources.iter().enumerate().map(source).collect::<io::Result<_>>()?,
            event_sources: from.event_sources.iter().map(events).collect::<io::Result<_>>()?,
            successors: from.successors.iter().map(successor).collect::<io::Result<_>>()?,
            index: from.index as usize,
            host: bell_of(from.host)?,
        })
    }

    /// The node that these are the connections of.
    #[inline]
    pub(super) fn find<'n>(
        &mut self,
        nodes: &'n mut [Box<AudioNode>],
    ) -> Option<&'n mut AudioNode> {
        // Where it was last time: a group of hundreds must not search for each.
        if nodes.get(self.at).is_none_or(|node| node.number != self.node) {
            self.at = nodes.iter().position(|node| node.number == self.node)?;
        }
        Some(&mut nodes[self.at])
    }

    /// Whether everything the node waits for is there for this block.
    #[inline]
    pub(super) fn is_ready(&self, page: &BlockPage, bell: &DoorbellView, sequence: u32) -> bool {
        bell.slots(self.slots.first, self.slots.count)
            .is_some_and(|slots| is_complete(slots, host_rings(page, self.index), sequence))
    }

    #[inline]
    fn ring(&self, own: &DoorbellView, page: &BlockPage, sequence: u32) {
        for successor in &self.successors {
            let bell = successor.bell.as_ref().unwrap_or(own);
            let Some(slots) = bell.slots(successor.slots.first, successor.slots.count) else {
                continue;
            };
            let host_rings = host_rings(page, successor.index);
            if ring(slots, successor.slot, host_rings, sequence) && successor.bell.is_some() {
                bell.wake();
            }
        }
    }
}

#[inline]
fn host_rings(page: &BlockPage, index: usize) -> bool {
    page.nodes[index].flags.load(Ordering::Relaxed) & node_flags::RINGS != 0
}

/// What becomes of the notes of a node with these flags.
#[inline]
fn notes(flags: u32) -> Notes {
    match flags & (node_flags::PASSES | node_flags::ENDS) {
        0 => Notes::Own,
        node_flags::PASSES => Notes::Passed,
        _ => Notes::Ended,
    }
}

/// A plugin with its buffers, in the audio thread.
pub(super) struct AudioNode {
    number: u32,
    processor: Box<dyn Processor>,
    outbox: OutboxWriter,
    /// Channels of each input bus.
    buses: Vec<u32>,
    /// The processor knows its address.
    input: Packed,
    scratch: Packed,
    events: Vec<Event>,
    out_events: Vec<Event>,
    passing: Passing,
    max_frames: u32,
    last_run: u32,
    recording: Option<RecordingWriter>,
}

impl AudioNode {
    pub(super) fn new(
        number: u32,
        processor: Box<dyn Processor>,
        outbox: OutboxWriter,
        input_channels: &[u32],
        max_frames: u32,
    ) -> Self {
        let mut node = Self {
            number,
            processor,
            outbox,
            buses: input_channels.to_vec(),
            input: Packed::new(input_channels.iter().sum(), max_frames),
            scratch: Packed::new(1, max_frames),
            events: Vec::with_capacity(2 * EVENTS),
            out_events: Vec::with_capacity(EVENTS),
            passing: Passing::default(),
            max_frames,
            last_run: 0,
            recording: None,
        };
        node.bind();
        node
    }

    #[expect(unsafe_code, reason = "hands the plugin the addresses of the node's own buffers")]
    fn bind(&mut self) {
        let outputs = self.outbox.shape().buses.clone();
        let buffers = Buffers {
            inputs: self.buses.clone(),
            input: self.input.as_mut_ptr(),
            outputs,
            output: self.outbox.audio_ptr(),
        };
        // SAFETY: inputs are boxed, with room for the greatest block, and live as long as the
        // processor, which is in the same value and is taken out only to be deactivated; while it
        // runs, `run` does not touch them. Outputs lie in the outbox, whose shape has the same
        // buses and room for the greatest block.
        unsafe { self.processor.bind(buffers) };
    }

    pub(super) fn number(&self) -> u32 {
        self.number
    }

    /// Channels of all input buses, and most frames of a block.
    pub(super) fn input_size(&self) -> (u32, u32) {
        (self.buses.iter().sum(), self.max_frames)
    }

    /// Records from now on, instead of what was recorded to before.
    pub(super) fn record(&mut self, recording: &mut Option<RecordingWriter>) {
        std::mem::swap(&mut self.recording, recording);
    }

    pub(super) fn start(&mut self) -> bool {
        self.processor.start()
    }

    pub(super) fn stop(&mut self) {
        self.processor.stop();
    }

    #[inline]
    pub(super) fn has_run(&self, sequence: u32) -> bool {
        self.last_run == sequence
    }

    /// Runs one block, if it is still open.
    pub(super) fn run(
        &mut self,
        links: &mut Links,
        page: &BlockView,
        own_bell: &DoorbellView,
        sequence: u32,
    ) {
        self.last_run = sequence;
        let start = now_ns();
        let header = self.outbox.header();
        header.start_ns.store(start, Ordering::Relaxed);
        // From here on the host knows that this node is at work, or this node sees that the host has
        // closed the block.
        if !marks::begin_work(&header.started, &page.open, sequence) {
            header.status.store(status::SKIPPED, Ordering::Relaxed);
            header.ended.store(sequence, Ordering::SeqCst);
            return;
        }
        let frames = page.frames.load(Ordering::Relaxed).clamp(1, self.max_frames);
        self.gather(links, page, frames);
        let flags = page.nodes[links.index].flags.load(Ordering::Relaxed);
        let done = self.process(page, frames, notes(flags));
        let header = self.outbox.header();
        header.end_ns.store(now_ns(), Ordering::Relaxed);
        header.status.store(if done { status::DONE } else { status::FAILED }, Ordering::Relaxed);
        let is_watched =
            marks::end_work(&header.ended, &page.watched, links.index as u32 + 1, sequence);
        links.ring(own_bell, page, sequence);
        if is_watched {
            links.host.wake();
        }
    }

    /// Brings this block's audio and events together.
    #[inline]
    fn gather(&mut self, links: &mut Links, page: &BlockPage, frames: u32) {
        let n = frames as usize;
        let entry = &page.nodes[links.index];
        let replaced = entry.replaced.load(Ordering::Relaxed);
        let mut sources = links.sources.iter_mut().peekable();
        let mut first_channel = 0;
        for (bus, &channels) in self.buses.iter().enumerate() {
            let mut input = Input {
                audio: &mut self.input,
                scratch: &mut self.scratch,
                first_channel,
                channels: channels as usize,
                frames: n,
                is_empty: true,
            };
            while let Some(source) = sources.next_if(|source| source.bus() == bus) {
                source.read(&links.inbox, replaced, &mut input);
            }
            input.silence_if_empty();
            first_channel += channels as usize;
        }
        self.events.clear();
        let events = entry.events.load(Ordering::Relaxed);
        if events > 0 {
            links.inbox.read_events(events, &mut self.events);
        }
        for outbox in &links.event_sources {
            let header = outbox.header();
            // One that takes no part in this block left older events there.
            if header.ended.load(Ordering::Acquire) != self.last_run
                || header.status.load(Ordering::Relaxed) != status::DONE
            {
                continue;
            }
            outbox.read_events(frames, |event| {
                if event.passes_on() {
                    insert_sorted(&mut self.events, event);
                }
            });
        }
    }

    /// The choke point: every call of a plugin's process() goes through here.
    #[inline]
    fn process(&mut self, page: &BlockPage, frames: u32, notes: Notes) -> bool {
        let head = BlockHead {
            block: page.number.load(Ordering::Relaxed),
            frames,
            steady_time: page.steady_time.load(Ordering::Relaxed),
            transport: read_transport(page),
        };
        // Before, for this may be the block that it doesn't come back from, and it may write to its
        // input.
        if let Some(recording) = &mut self.recording {
            record(recording, &head, &self.events, &mut self.input);
        }
        self.out_events.clear();
        let done = self.processor.process(ProcessBlock {
            frames,
            steady_time: head.steady_time,
            transport: &head.transport,
            events: &self.events,
            out_events: &mut self.out_events,
        });
        fpu::set_flush_to_zero();
        if let Some(recording) = &mut self.recording {
            recording.end(done);
        }
        self.passing.block(notes, &self.events, &mut self.out_events);
        let mut count = 0;
        for event in &self.out_events {
            count += usize::from(self.outbox.write_event(count, event));
        }
        self.outbox.header().events.store(count as u32, Ordering::Relaxed);
        done
    }
}

#[expect(unsafe_code, reason = "hands over the address of the node's own buffer")]
#[inline]
fn record(recording: &mut RecordingWriter, head: &BlockHead, events: &[Event], input: &mut Packed) {
    // SAFETY: the input has room for the greatest block of all its channels, of which the
    // recording has no more: `main_thread` checks that.
    unsafe { recording.begin(head, events, input.as_mut_ptr()) };
}

fn read_transport(page: &BlockPage) -> Transport {
    let number = |word: &std::sync::atomic::AtomicU64| f64::from_bits(word.load(Ordering::Relaxed));
    let signature = page.signature.load(Ordering::Relaxed);
    Transport {
        flags: page.transport_flags.load(Ordering::Relaxed),
        tempo: number(&page.tempo),
        tempo_increment: number(&page.tempo_increment),
        position_beats: number(&page.position_beats),
        position_seconds: number(&page.position_seconds),
        loop_start_beats: number(&page.loop_start_beats),
        loop_end_beats: number(&page.loop_end_beats),
        bar_start_beats: number(&page.bar_start_beats),
        bar_number: page.bar_number.load(Ordering::Relaxed),
        signature_numerator: (signature >> 16) as u16,
        signature_denominator: signature as u16,
    }
}
