//! The naive reference: evaluates a graph recursively, whole signals at once, without plans,
//! blocks or buffers.

use std::collections::HashMap;

use sandrack_engine::event::EventKind;
use sandrack_engine::graph::{Graph, NodeId, NodeKind};
use sandrack_engine::mix;

use super::machine::{MAX_CHANNELS, Machine};

pub type Notes = Vec<(usize, EventKind)>;

#[derive(Clone, Default)]
struct Signals {
    /// By bus and channel.
    audio: Vec<Vec<Vec<f32>>>,
    events: Notes,
}

pub struct Reference<'a> {
    graph: &'a Graph,
    frames: usize,
    inputs: &'a [Vec<f32>],
    events: &'a [(usize, NodeId, EventKind)],
    machine: &'a dyn Fn(NodeId) -> Machine,
    known: HashMap<NodeId, Signals>,
}

impl<'a> Reference<'a> {
    pub fn new(
        graph: &'a Graph,
        inputs: &'a [Vec<f32>],
        events: &'a [(usize, NodeId, EventKind)],
        machine: &'a dyn Fn(NodeId) -> Machine,
    ) -> Self {
        let frames = inputs.first().map_or(0, |c| c.len());
        Self { graph, frames, inputs, events, machine, known: HashMap::new() }
    }

    fn arrives(&self, node: NodeId) -> usize {
        if matches!(self.graph.node(node).unwrap().kind, NodeKind::Output { .. }) {
            return self.latency();
        }
        self.latest(node)
    }

    fn latest(&self, node: NodeId) -> usize {
        let audio = self.graph.audio_edges().iter().filter(|e| e.to == node).map(|e| e.from);
        let events = self.graph.event_edges().iter().filter(|e| e.to == node).map(|e| e.from);
        audio.chain(events).map(|from| self.leaves(from)).max().unwrap_or(0)
    }

    fn leaves(&self, node: NodeId) -> usize {
        self.arrives(node) + self.graph.node(node).unwrap().latency as usize
    }

    pub fn latency(&self) -> usize {
        let sinks = self
            .graph
            .nodes()
            .filter(|(_, spec)| matches!(spec.kind, NodeKind::Output { .. }))
            .map(|(id, _)| self.latest(id));
        sinks.max().unwrap_or(0)
    }

    /// What the driver's output channels get.
    pub fn outputs(&mut self, channels: usize) -> Vec<Vec<f32>> {
        let mut outputs = vec![vec![0.0; self.frames]; channels];
        let sinks: Vec<_> = self.graph.nodes().map(|(id, _)| id).collect();
        for id in sinks {
            let NodeKind::Output { first_channel } = self.graph.node(id).unwrap().kind else {
                continue;
            };
            for (channel, signal) in self.input(id, 0).into_iter().enumerate() {
                let Some(output) = outputs.get_mut(first_channel as usize + channel) else {
                    continue;
                };
                for (out, sample) in output.iter_mut().zip(signal) {
                    *out += sample;
                }
            }
        }
        outputs
    }

    fn is_plugin(&self, id: NodeId) -> bool {
        self.graph.node(id).unwrap().plugin_isolation().is_some()
    }

    /// What arrives at an input bus: delayed, converted and summed.
    fn input(&mut self, node: NodeId, bus: usize) -> Vec<Vec<f32>> {
        let channels = self.graph.node(node).unwrap().inputs[bus].channels as usize;
        let mut edges: Vec<_> = self
            .graph
            .audio_edges()
            .iter()
            .filter(|e| e.to == node && e.to_bus as usize == bus)
            .copied()
            .collect();
        edges.sort_by_key(|e| self.is_plugin(e.from));
        let mut sum: Option<Vec<Vec<f32>>> = None;
        for edge in edges {
            let delay = self.arrives(node) - self.leaves(edge.from);
            let source = self.node(edge.from).audio[edge.from_bus as usize].clone();
            let frames = self.frames;
            let at = |c: usize, t: usize| if t < delay { 0.0 } else { source[c][t - delay] };
            let convert = |channel: usize, t: usize| match (source.len(), channels) {
                (n, m) if n == m => at(channel, t),
                (1, _) => at(0, t),
                (n, _) => {
                    let mut mean = at(0, t);
                    for c in 1..n {
                        mean += at(c, t);
                    }
                    mean * (1.0 / n as f32)
                }
            };
            let edge: Vec<Vec<f32>> =
                (0..channels).map(|c| (0..frames).map(|t| convert(c, t)).collect()).collect();
            sum = Some(match sum {
                None => edge,
                Some(sum) => {
                    let add = |(l, r): (Vec<f32>, Vec<f32>)| {
                        l.into_iter().zip(r).map(|(l, r)| l + r).collect()
                    };
                    sum.into_iter().zip(edge).map(add).collect()
                }
            });
        }
        sum.unwrap_or_else(|| vec![vec![0.0; self.frames]; channels])
    }

    /// The events that arrive at a node, in the order in which it gets them.
    fn notes(&mut self, node: NodeId) -> Notes {
        let mut notes: Notes =
            self.events.iter().filter(|(_, to, _)| *to == node).map(|(t, _, k)| (*t, *k)).collect();
        let mut edges: Vec<_> = self
            .graph
            .event_edges()
            .iter()
            .filter(|e| e.to == node)
            .map(|e| (e.from, self.arrives(node) - self.leaves(e.from)))
            .collect();
        edges.sort_by_key(|(from, delay)| self.is_plugin(*from) && *delay == 0);
        for (from, delay) in edges {
            let events = self.node(from).events.clone();
            let events = events.into_iter().filter(|(_, kind)| kind.passes_on());
            notes.extend(events.map(|(t, kind)| (t + delay, kind)).filter(|n| n.0 < self.frames));
        }
        notes.sort_by_key(|(time, _)| *time);
        notes
    }

    fn node(&mut self, id: NodeId) -> &Signals {
        if !self.known.contains_key(&id) {
            let signals = self.evaluate(id);
            self.known.insert(id, signals);
        }
        &self.known[&id]
    }

    fn evaluate(&mut self, id: NodeId) -> Signals {
        let spec = self.graph.node(id).unwrap().clone();
        let notes = self.notes(id);
        let buses: Vec<_> = (0..spec.inputs.len()).map(|bus| self.input(id, bus)).collect();
        let main = buses.first().cloned().unwrap_or_default();
        let frames = self.frames;
        let audio = match spec.kind {
            NodeKind::Input { first_channel } => {
                let channel = |c: u32| {
                    let signal = self.inputs.get((first_channel + c) as usize).cloned();
                    signal.unwrap_or_else(|| vec![0.0; frames])
                };
                spec.outputs.iter().map(|bus| (0..bus.channels).map(channel).collect()).collect()
            }
            NodeKind::Output { .. } => Vec::new(),
            NodeKind::Sum | NodeKind::Meter => vec![main],
            NodeKind::Gain { gain } => {
                vec![main.iter().map(|c| c.iter().map(|s| s * gain).collect()).collect()]
            }
            NodeKind::Pan { pan } => {
                let faded = |away: f32| match away {
                    a if a >= 1.0 => 0.0,
                    a => (a.max(0.0) * std::f32::consts::FRAC_PI_2).cos(),
                };
                let gains = [faded(pan), faded(-pan)];
                let turned = main.iter().zip(gains);
                vec![turned.map(|(c, g)| c.iter().map(|s| s * g).collect()).collect()]
            }
            NodeKind::Delay { frames: delay } => {
                let late = |c: &Vec<f32>| {
                    (0..frames)
                        .map(|t| t.checked_sub(delay as usize).map_or(0.0, |t| c[t]))
                        .collect()
                };
                vec![main.iter().map(late).collect()]
            }
            NodeKind::Plugin { .. } => return self.plugin(id, buses, notes),
        };
        Signals { audio, events: notes }
    }

    fn plugin(&self, id: NodeId, buses: Vec<Vec<Vec<f32>>>, notes: Notes) -> Signals {
        let spec = self.graph.node(id).unwrap();
        let mut machine = (self.machine)(id);
        let mut signals = Signals::default();
        for bus in &spec.outputs {
            signals.audio.push(vec![vec![0.0; self.frames]; bus.channels as usize]);
        }
        let mut next = 0;
        let (mut input, mut output) = ([0.0; MAX_CHANNELS], [0.0; MAX_CHANNELS]);
        for t in 0..self.frames {
            while let Some((time, kind)) = notes.get(next).filter(|n| n.0 <= t) {
                machine.event(kind);
                if let Some(echo) = Machine::echo(kind) {
                    signals.events.push((*time, echo));
                }
                next += 1;
            }
            for (at, channel) in buses.iter().flatten().enumerate() {
                input[at] = channel[t];
            }
            machine.tick(&input, &mut output);
            mix::scrub(&mut output);
            for (channel, sample) in signals.audio.iter_mut().flatten().zip(&output) {
                channel[t] = *sample;
            }
        }
        signals
    }
}
