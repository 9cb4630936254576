//! Notes that some nodes put out, kept for whoever runs the engine: they go to a MIDI port, say.

use crate::event::Event;
use crate::graph::NodeId;

/// Most nodes that are listened to.
const NODES: usize = 128;
/// Most events that are kept of what is processed at once. Those beyond are counted as lost.
const EVENTS: usize = 2048;

/// What a node that is listened to put out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Tapped {
    /// The node.
    pub node: NodeId,
    /// The event; its time counts from the start of what was processed. `None`: it was not heard, so
    /// what it put out is lost, and ends of notes with it.
    pub event: Option<Event>,
}

/// Who is listened to, and what was heard of them. All its room is made at once.
pub(crate) struct Taps {
    nodes: Vec<NodeId>,
    heard: Vec<Tapped>,
    /// Frames before the present block in what is processed.
    offset: u32,
}

impl Taps {
    pub(crate) fn new() -> Self {
        Self { nodes: Vec::with_capacity(NODES), heard: Vec::with_capacity(EVENTS), offset: 0 }
    }

    pub(crate) fn listen(&mut self, nodes: impl Iterator<Item = NodeId>) {
        self.nodes.clear();
        self.nodes.extend(nodes.take(NODES));
    }

    pub(crate) fn begin(&mut self) {
        self.heard.clear();
    }

    pub(crate) fn begin_block(&mut self, offset: usize) {
        self.offset = offset as u32;
    }

    pub(crate) fn heard(&self) -> &[Tapped] {
        &self.heard
    }

    /// What a node put out in this block; `None`: it was not heard. Returns how many did not fit.
    #[inline]
    pub(crate) fn hear(&mut self, node: NodeId, events: Option<&[Event]>) -> u64 {
        if self.nodes.is_empty() || !self.nodes.contains(&node) {
            return 0;
        }
        let Some(events) = events else { return self.keep(Tapped { node, event: None }) };
        let notes = events.iter().filter(|event| event.kind.passes_on());
        notes
            .map(|event| {
                let time = event.time.saturating_add(self.offset);
                self.keep(Tapped { node, event: Some(Event { time, ..*event }) })
            })
            .sum()
    }

    fn keep(&mut self, tapped: Tapped) -> u64 {
        let fits = self.heard.len() < self.heard.capacity();
        if fits {
            self.heard.push(tapped);
        }
        u64::from(!fits)
    }
}
