//! What routing puts out, and how much of it a destination takes in a block.

use super::setup::Destination;
use crate::midi_events::pieces;
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_engine::graph::NodeId;

/// What takes what is routed, on the realtime thread.
pub(super) trait Sink {
    /// An event for a node. False: there is no room.
    fn event(&mut self, node: NodeId, event: Event) -> bool;
    /// A message for a MIDI output port. False: there is no room.
    fn message(&mut self, frame: u32, port: u16, bytes: &[u8]) -> bool;
}

/// A destination and a channel there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) to: Destination,
    pub(super) channel: u8,
}

/// Events that a node takes in a block, at most. A flood of controllers leaves room for notes, and
/// notes leave room for their ends.
mod most {
    use sandrack_sandbox::shm::layout::EVENTS;

    pub(super) const ENDS: usize = EVENTS - 8;
    pub(super) const NOTES: usize = EVENTS * 3 / 4;
    pub(super) const OTHERS: usize = EVENTS * 5 / 8;
}

/// Longest system exclusive message that goes to a node.
pub(super) const LONGEST_SYSEX: usize = 2048;

/// How many events each node has got in this block.
pub(super) struct Budget {
    nodes: Vec<(NodeId, usize)>,
    /// Messages that found no room.
    pub(super) lost: u64,
}

impl Budget {
    /// Nodes that are counted, each for itself. Those beyond share a count.
    const NODES: usize = 512;

    pub(super) fn new() -> Self {
        Self { nodes: Vec::with_capacity(Self::NODES), lost: 0 }
    }

    pub(super) fn begin(&mut self) {
        self.nodes.clear();
    }

    /// Takes room for so many events, if there is.
    fn take(&mut self, node: NodeId, events: usize, most: usize) -> bool {
        let index = match self.nodes.iter().position(|(known, _)| *known == node) {
            Some(index) => index,
            None if self.nodes.len() < Self::NODES => {
                self.nodes.push((node, 0));
                self.nodes.len() - 1
            }
            None => 0,
        };
        let used = &mut self.nodes[index].1;
        let fits = *used + events <= most;
        *used += if fits { events } else { 0 };
        fits
    }
}

/// Sends at a frame of the block.
pub(super) struct Out<'a, S> {
    pub(super) sink: &'a mut S,
    pub(super) budget: &'a mut Budget,
    pub(super) frame: u32,
}

impl<S: Sink> Out<'_, S> {
    pub(super) fn note_on(&mut self, place: Place, key: u8, velocity: f64) -> bool {
        match place.to {
            Destination::Node { node, port } => {
                let note = address(port, place.channel, key);
                self.send(node, EventKind::NoteOn { note, velocity }, most::NOTES)
            }
            Destination::Port(port) => {
                let velocity = (velocity * 127.0).round().clamp(1.0, 127.0) as u8;
                self.sink.message(self.frame, port, &[0x90 | place.channel, key, velocity])
            }
        }
    }

    pub(super) fn note_off(&mut self, place: Place, key: u8, velocity: f64) -> bool {
        match place.to {
            Destination::Node { node, port } => {
                let note = address(port, place.channel, key);
                self.send(node, EventKind::NoteOff { note, velocity }, most::ENDS)
            }
            Destination::Port(port) => {
                let velocity = (velocity * 127.0).round().clamp(0.0, 127.0) as u8;
                self.sink.message(self.frame, port, &[0x80 | place.channel, key, velocity])
            }
        }
    }

    /// All notes of a node stop at once.
    pub(super) fn choke(&mut self, node: NodeId) -> bool {
        self.send(node, EventKind::NoteChoke { note: NoteAddress::ALL }, most::ENDS)
    }

    pub(super) fn param(&mut self, node: NodeId, param: u32, value: f64) -> bool {
        let kind = EventKind::ParamValue { param, note: NoteAddress::ALL, value };
        self.counted(|out| out.send(node, kind, most::OTHERS))
    }

    /// A channel message of up to three bytes, the unused ones 0.
    pub(super) fn midi(&mut self, to: Destination, bytes: &[u8; 3]) -> bool {
        let two = matches!(bytes[0] & 0xf0, 0xc0 | 0xd0);
        self.counted(|out| match to {
            Destination::Node { node, port } => {
                out.send(node, EventKind::Midi { port, data: *bytes }, most::OTHERS)
            }
            Destination::Port(port) => {
                out.sink.message(out.frame, port, if two { &bytes[..2] } else { bytes })
            }
        })
    }

    /// A system exclusive message, whole or not at all.
    pub(super) fn sysex(&mut self, to: Destination, bytes: &[u8]) -> bool {
        self.counted(|out| match to {
            Destination::Node { node, port } => {
                let count = pieces(bytes, port).count();
                bytes.len() <= LONGEST_SYSEX
                    && out.budget.take(node, count, most::OTHERS)
                    && pieces(bytes, port).all(|kind| {
                        let time = out.frame;
                        out.sink.event(node, Event { time, kind })
                    })
            }
            Destination::Port(port) => out.sink.message(out.frame, port, bytes),
        })
    }

    fn send(&mut self, node: NodeId, kind: EventKind, most: usize) -> bool {
        self.budget.take(node, 1, most) && self.sink.event(node, Event { time: self.frame, kind })
    }

    fn counted(&mut self, send: impl FnOnce(&mut Self) -> bool) -> bool {
        let sent = send(self);
        self.budget.lost += u64::from(!sent);
        sent
    }
}

fn address(port: u16, channel: u8, key: u8) -> NoteAddress {
    NoteAddress {
        note_id: -1,
        port: i16::try_from(port).unwrap_or(0),
        channel: channel.into(),
        key: key.into(),
    }
}
