//! Joins engine and sandbox, which do not know each other: the engine's remote nodes are workers,
//! its local plugins are plugins in this process.

use sandrack_engine::block::{Block, Transport};
use sandrack_engine::event::{Event, EventBuffer, EventKind, Expression, NoteAddress, Notes};
use sandrack_engine::processor::{AudioIo, EventIo, Processor};
use sandrack_engine::remote::{
    Remote, RemoteIndex, RemoteNodeTopology, RemoteOutcome, RemoteState, RemoteTimes, SourceFrom,
    SourceIndex,
};
use sandrack_sandbox::error::Error;
use sandrack_sandbox::event as shm_event;
use sandrack_sandbox::event::{kind, transport_flags};
use sandrack_sandbox::format::Transport as ShmTransport;
use sandrack_sandbox::local::LocalProcessor;
use sandrack_sandbox::passing::Notes as ShmNotes;
use sandrack_sandbox::remote::{
    Connecting, DirectWiring, NodeWiring, Outcome, RemoteSet, SourceWiring, State,
};
use sandrack_sandbox::supervisor::{Node, Supervisor};
use sandrack_sandbox::sysex;

/// The remote nodes of one plan, in workers.
pub struct Workers {
    set: RemoteSet,
    indices: Vec<usize>,
}

impl Workers {
    /// Begins to wire the workers as the compiler says; see [`Connecting`] for what has to come before
    /// the first block. `node` finds each node's plugin, which is active.
    pub fn begin_connecting<'a>(
        supervisor: &Supervisor,
        topology: &[RemoteNodeTopology],
        node: impl Fn(sandrack_engine::graph::NodeId) -> &'a Node,
        max_frames: u32,
    ) -> Result<(Self, Connecting), Error> {
        let wirings: Vec<NodeWiring<'_>> = topology
            .iter()
            .map(|entry| NodeWiring {
                node: node(entry.node),
                sources: entry.sources.iter().map(|s| source(topology, entry, s)).collect(),
                event_sources: entry.event_sources.iter().map(|i| i.0 as usize).collect(),
                predecessors: entry.predecessors.iter().map(|i| i.0 as usize).collect(),
            })
            .collect();
        let (set, connecting) = RemoteSet::begin_connecting(supervisor, &wirings, max_frames)?;
        Ok((Self { set, indices: Vec::with_capacity(wirings.len()) }, connecting))
    }
}

fn source(
    topology: &[RemoteNodeTopology],
    to: &RemoteNodeTopology,
    source: &sandrack_engine::remote::Source,
) -> SourceWiring {
    let direct = match &source.from {
        SourceFrom::Engine => None,
        SourceFrom::Direct(direct) => {
            let from = topology[direct.node.0 as usize].node;
            // Names the connection across plans: both nodes and both buses.
            let buses = u64::from(direct.bus) << 8 ^ u64::from(source.bus);
            let key = from.raw().rotate_left(40) ^ to.node.raw().rotate_left(16) ^ buses;
            Some(DirectWiring {
                node: direct.node.0 as usize,
                bus: direct.bus,
                delay: direct.delay,
                key,
            })
        }
    };
    SourceWiring { bus: source.bus, channels: source.channels, direct }
}

impl Remote for Workers {
    fn state(&mut self, node: RemoteIndex) -> RemoteState {
        match self.set.state(node.0 as usize) {
            State::Ready => RemoteState::Ready,
            State::Busy => RemoteState::Busy,
            State::Gone => RemoteState::Gone,
        }
    }

    fn prepare(&mut self, node: RemoteIndex, replaced: u64, ring: bool) {
        self.set.prepare(node.0 as usize, replaced, ring);
    }

    fn set_notes(&mut self, node: RemoteIndex, notes: Notes) {
        self.set.set_notes(node.0 as usize, notes_to_shm(notes));
    }

    fn push_event(&mut self, node: RemoteIndex, event: &Event) -> bool {
        self.set.push_event(node.0 as usize, &to_shm(event))
    }

    fn begin(&mut self, block: &Block) {
        let transport = transport_to_shm(&block.transport);
        self.set.begin(block.number, block.frames, block.steady_time, &transport);
    }

    fn input(&mut self, node: RemoteIndex, source: SourceIndex, channel: u32) -> &mut [f32] {
        self.set.input(node.0 as usize, source.0 as usize, channel)
    }

    fn ring(&mut self, node: RemoteIndex) {
        self.set.ring(node.0 as usize);
    }

    fn wait(&mut self, nodes: &[RemoteIndex], deadline: u64) -> bool {
        // Within its capacity: a plan never waits for more nodes than it has.
        self.indices.clear();
        self.indices.extend(nodes.iter().map(|node| node.0 as usize));
        self.set.wait(self.indices.iter().copied(), deadline)
    }

    fn outcome(&mut self, node: RemoteIndex) -> RemoteOutcome {
        match self.set.outcome(node.0 as usize) {
            Outcome::Finished => RemoteOutcome::Finished,
            Outcome::Failed => RemoteOutcome::Failed,
            Outcome::Running => RemoteOutcome::Running,
            Outcome::NotStarted => RemoteOutcome::NotStarted,
            Outcome::NotReady => RemoteOutcome::NotReady,
        }
    }

    fn is_lost(&mut self, node: RemoteIndex) -> bool {
        self.set.is_lost(node.0 as usize)
    }

    fn demote(&mut self, node: RemoteIndex) {
        self.set.demote(node.0 as usize);
    }

    fn output(&mut self, node: RemoteIndex, bus: u32, channel: u32, into: &mut [f32]) -> bool {
        self.set.output(node.0 as usize, bus as usize, channel, into)
    }

    fn events(&mut self, node: RemoteIndex, into: &mut EventBuffer) {
        self.set.events(node.0 as usize, |event| {
            if let Some(event) = from_shm(&event) {
                into.push(event);
            }
        });
    }

    fn times(&mut self, node: RemoteIndex) -> RemoteTimes {
        let times = self.set.times(node.0 as usize);
        RemoteTimes { ready: times.ready, start: times.start, end: times.end }
    }

    fn end(&mut self) {
        self.set.end();
    }
}

/// A plugin in this process.
pub struct LocalPluginNode {
    plugin: LocalProcessor,
    events: Vec<shm_event::Event>,
}

impl LocalPluginNode {
    /// Wraps an active plugin.
    pub fn new(plugin: LocalProcessor) -> Self {
        Self { plugin, events: Vec::with_capacity(sandrack_sandbox::shm::layout::EVENTS) }
    }
}

impl Processor for LocalPluginNode {
    fn process(&mut self, block: &Block, audio: AudioIo<'_>, events: EventIo<'_>) -> bool {
        let AudioIo { inputs, mut outputs } = audio;
        let frames = block.frames as usize;
        for bus in 0..inputs.buses() {
            for channel in 0..inputs.channels(bus) {
                if let Some(input) = self.plugin.input(bus, channel, frames) {
                    input.copy_from_slice(inputs.channel(bus, channel));
                }
            }
        }
        self.events.clear();
        let room = self.events.capacity();
        self.events.extend(events.input.iter().take(room).map(to_shm));
        let transport = transport_to_shm(&block.transport);
        let ok = self.plugin.process(block.frames, block.steady_time, &transport, &self.events);
        for bus in 0..outputs.buses() {
            for channel in 0..outputs.channels(bus) {
                self.plugin.output(bus, channel, outputs.channel(bus, channel));
            }
        }
        for event in self.plugin.events().iter().filter_map(from_shm) {
            events.output.push(event);
        }
        ok
    }

    fn set_notes(&mut self, notes: Notes) {
        self.plugin.set_notes(notes_to_shm(notes));
    }

    fn reset(&mut self) {
        self.plugin.reset();
    }
}

fn notes_to_shm(notes: Notes) -> ShmNotes {
    match notes {
        Notes::Own => ShmNotes::Own,
        Notes::Passed => ShmNotes::Passed,
        Notes::Ended => ShmNotes::Ended,
    }
}

fn transport_to_shm(from: &Transport) -> ShmTransport {
    let flag = |on: bool, bit: u32| if on { bit } else { 0 };
    ShmTransport {
        flags: flag(from.playing, transport_flags::PLAYING)
            | flag(from.recording, transport_flags::RECORDING)
            | flag(from.looping, transport_flags::LOOPING),
        tempo: from.tempo,
        tempo_increment: from.tempo_increment,
        position_beats: from.position_beats,
        position_seconds: from.position_seconds,
        loop_start_beats: from.loop_start_beats,
        loop_end_beats: from.loop_end_beats,
        bar_start_beats: from.bar_start_beats,
        bar_number: from.bar_number,
        signature_numerator: from.signature_numerator,
        signature_denominator: from.signature_denominator,
    }
}

fn to_shm(event: &Event) -> shm_event::Event {
    let new = |kind| shm_event::Event::new(kind, event.time);
    let note = |kind, note: NoteAddress, value| shm_event::Event {
        note_id: note.note_id,
        port: note.port,
        channel: note.channel,
        key: note.key,
        value,
        ..new(kind)
    };
    match event.kind {
        EventKind::NoteOn { note: n, velocity } => note(kind::NOTE_ON, n, velocity),
        EventKind::NoteOff { note: n, velocity } => note(kind::NOTE_OFF, n, velocity),
        EventKind::NoteChoke { note: n } => note(kind::NOTE_CHOKE, n, 0.0),
        EventKind::NoteEnd { note: n } => note(kind::NOTE_END, n, 0.0),
        EventKind::NoteExpression { note: n, expression, value } => shm_event::Event {
            expression: expression as u16,
            ..note(kind::NOTE_EXPRESSION, n, value)
        },
        EventKind::ParamValue { param, note: n, value } => {
            shm_event::Event { param, ..note(kind::PARAM_VALUE, n, value) }
        }
        EventKind::ParamMod { param, note: n, amount } => {
            shm_event::Event { param, ..note(kind::PARAM_MOD, n, amount) }
        }
        EventKind::ParamGesture { param, begin } => {
            let kind = if begin { kind::GESTURE_BEGIN } else { kind::GESTURE_END };
            shm_event::Event { param, ..new(kind) }
        }
        EventKind::Midi { port, data: [a, b, c] } => shm_event::Event {
            port: i16::try_from(port).unwrap_or(0),
            midi: [a, b, c, 0],
            ..new(kind::MIDI)
        },
        EventKind::SysEx { port, data, len, first, last } => {
            let flags = if first { sysex::FIRST } else { 0 } | if last { sysex::LAST } else { 0 };
            let len = usize::from(len).min(data.len());
            shm_event::Event {
                port: i16::try_from(port).unwrap_or(0),
                ..sysex::piece_event(event.time, &data[..len], flags)
            }
        }
    }
}

fn from_shm(event: &shm_event::Event) -> Option<Event> {
    let note = NoteAddress {
        note_id: event.note_id,
        port: event.port,
        channel: event.channel,
        key: event.key,
    };
    let (param, value) = (event.param, event.value);
    let kind = match event.kind {
        kind::NOTE_ON => EventKind::NoteOn { note, velocity: value },
        kind::NOTE_OFF => EventKind::NoteOff { note, velocity: value },
        kind::NOTE_CHOKE => EventKind::NoteChoke { note },
        kind::NOTE_END => EventKind::NoteEnd { note },
        kind::NOTE_EXPRESSION => {
            let expression = EXPRESSIONS.get(usize::from(event.expression)).copied()?;
            EventKind::NoteExpression { note, expression, value }
        }
        kind::PARAM_VALUE => EventKind::ParamValue { param, note, value },
        kind::PARAM_MOD => EventKind::ParamMod { param, note, amount: value },
        kind::GESTURE_BEGIN => EventKind::ParamGesture { param, begin: true },
        kind::GESTURE_END => EventKind::ParamGesture { param, begin: false },
        kind::MIDI => {
            let [a, b, c, _] = event.midi;
            EventKind::Midi { port: u16::try_from(event.port).unwrap_or(0), data: [a, b, c] }
        }
        kind::SYSEX => {
            let (data, len) = sysex::piece_bytes(event);
            EventKind::SysEx {
                port: u16::try_from(event.port).unwrap_or(0),
                data,
                len: len as u8,
                first: event.expression & sysex::FIRST != 0,
                last: event.expression & sysex::LAST != 0,
            }
        }
        _ => return None,
    };
    Some(Event { time: event.time, kind })
}

const _: () = assert!(sysex::BYTES == sandrack_engine::event::SYSEX_BYTES);

/// In CLAP's order, which is the order of the enum.
const EXPRESSIONS: [Expression; 7] = [
    Expression::Volume,
    Expression::Pan,
    Expression::Tuning,
    Expression::Vibrato,
    Expression::Expression,
    Expression::Brightness,
    Expression::Pressure,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_comes_back_as_it_went() {
        let note = NoteAddress { note_id: 7, port: 1, channel: 2, key: 60 };
        let mut kinds = vec![
            EventKind::NoteOn { note, velocity: 0.5 },
            EventKind::NoteOff { note, velocity: 0.25 },
            EventKind::NoteChoke { note },
            EventKind::NoteEnd { note: NoteAddress::ALL },
            EventKind::ParamValue { param: 3, note, value: -1.5 },
            EventKind::ParamMod { param: 4, note: NoteAddress::ALL, amount: 0.125 },
            EventKind::ParamGesture { param: 5, begin: true },
            EventKind::ParamGesture { param: 5, begin: false },
            EventKind::Midi { port: 2, data: [0x90, 60, 100] },
            EventKind::SysEx { port: 1, data: [0xff; 20], len: 20, first: true, last: false },
            EventKind::SysEx { port: 0, data: [0; 20], len: 0, first: false, last: true },
        ];
        let mut data = [0; 20];
        data[..5].copy_from_slice(&[0xf0, 0x7e, 1, 2, 0xf7]);
        kinds.push(EventKind::SysEx { port: 3, data, len: 5, first: true, last: true });
        kinds.extend(EXPRESSIONS.map(|expression| EventKind::NoteExpression {
            note,
            expression,
            value: 0.75,
        }));
        for kind in kinds {
            let event = Event { time: 9, kind };
            assert_eq!(from_shm(&to_shm(&event)), Some(event));
        }
    }
}
