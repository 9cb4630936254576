//! From a session's tracks to a graph: what is connected to what.

use super::{Place, Plugin, PluginAt, Session};
use crate::error::Error;
use sandrack_engine::graph::{self, Graph, NodeId, NodeSpec};
use sandrack_sandbox::format::{AudioPort, PluginInfo, main_port};
use std::collections::BTreeMap;

impl Plugin {
    /// Its node, as it is now.
    pub(super) fn spec(&self) -> NodeSpec {
        let info = self.info();
        // A bus without channels carries nothing, but has to keep its place.
        let channels =
            |ports: &[AudioPort]| ports.iter().map(|port| port.channels.max(1)).collect::<Vec<_>>();
        let isolation = match self.place {
            Place::Worker(_) => graph::Isolation::Remote,
            Place::Here(..) => graph::Isolation::Local,
        };
        NodeSpec::plugin(&self.name, &channels(&info.inputs), &channels(&info.outputs))
            .isolation(isolation)
            .event_input(!info.note_inputs.is_empty() || !info.params.is_empty())
            .event_output(!info.note_outputs.is_empty() || !info.params.is_empty())
            .latency(if self.is_wire { 0 } else { self.latency })
    }
}

/// The way of sound and notes down a chain of plugins, as far as it is connected.
pub(super) struct Chain {
    /// Who was last to put out audio, and the bus.
    pub(super) last: Option<(NodeId, u32)>,
    /// Who was last to put out notes.
    notes: Option<NodeId>,
}

impl Chain {
    /// Begins with what is there.
    pub(super) fn from(last: Option<(NodeId, u32)>) -> Self {
        Self { last, notes: None }
    }

    /// Leads to a plugin, and goes on from it.
    pub(super) fn connect(
        &mut self,
        graph: &mut Graph,
        node: NodeId,
        info: &PluginInfo,
    ) -> Result<(), Error> {
        if let (Some((from, bus)), Some(main)) = (self.last, main_bus(&info.inputs)) {
            graph.connect_audio(from, bus, node, main)?;
        }
        if let Some(main) = main_bus(&info.outputs) {
            self.last = Some((node, main));
        }
        if let Some(from) = self.notes.filter(|_| !info.note_inputs.is_empty()) {
            graph.connect_events(from, node)?;
        }
        if !info.note_outputs.is_empty() {
            self.notes = Some(node);
        }
        Ok(())
    }
}

/// Which buses are connected where only the main ones are. Those are even where there is nothing to
/// hear: plugins rely on them.
pub(super) fn main_buses(info: &PluginInfo) -> (u64, u64) {
    let main = |ports| main_bus(ports).map_or(1, bit);
    (main(&info.inputs), main(&info.outputs))
}

/// The input bus that is the `number`th beside the main one, from 1.
pub(super) fn side_bus(info: &PluginInfo, number: u32) -> Option<u32> {
    let place = number.checked_sub(1)? as usize;
    side_buses(info).nth(place).map(|(bus, _)| bus)
}

/// The inputs beside the main one.
pub(crate) fn side_inputs(info: &PluginInfo) -> impl Iterator<Item = &AudioPort> {
    side_buses(info).map(|(_, port)| port)
}

fn side_buses(info: &PluginInfo) -> impl Iterator<Item = (u32, &AudioPort)> {
    let main = main_bus(&info.inputs);
    let buses = (0u32..).zip(&info.inputs);
    buses.filter(move |(bus, port)| Some(*bus) != main && port.channels > 0)
}

pub(super) fn bit(bus: u32) -> u64 {
    1u64.checked_shl(bus).unwrap_or(0)
}

impl Session {
    /// For each of the first plugins of the tracks: which input and output buses are connected.
    pub(super) fn connected(&self, plugins: usize) -> BTreeMap<PluginAt, (u64, u64)> {
        let mut all = BTreeMap::new();
        for number in 0..self.config.tracks.len() {
            let last = self.last_with_output(number, plugins);
            for (at, plugin) in self.chain(number).take(plugins) {
                let info = plugin.info();
                let (main_input, main_output) = main_buses(info);
                let sides = self.config.side_chains.iter();
                let mine = sides.filter(|side| (side.track, side.plugin) == (at.track, at.plugin));
                let inputs = mine.fold(main_input, |bits, side| bits | bit(side.bus));
                let outputs = match self.config.all_outputs && last == Some(at) {
                    true => (0..info.outputs.len() as u32).map(bit).fold(0, |all, bit| all | bit),
                    false => main_output,
                };
                all.insert(at, (inputs, outputs));
            }
        }
        all
    }

    /// The graph of the first `plugins` plugins of each track, and their nodes. `channels`: of the
    /// driver, in and out.
    pub(super) fn graph(
        &self,
        plugins: usize,
        (inputs, outputs): (u32, u32),
    ) -> Result<(Graph, BTreeMap<PluginAt, NodeId>), Error> {
        let mut graph = Graph::new();
        let input = (inputs > 0).then(|| graph.add(NodeSpec::input("input", inputs)));
        let ends = self.ends(&mut graph, outputs)?;
        let mut nodes = BTreeMap::new();
        for (number, end) in ends.into_iter().enumerate() {
            let mut chain = Chain::from(input.map(|node| (node, 0)));
            for (at, plugin) in self.chain(number).take(plugins) {
                let node = graph.add(plugin.spec());
                chain.connect(&mut graph, node, plugin.info())?;
                let sides = self.config.side_chains.iter();
                for side in sides.filter(|side| (side.track, side.plugin) == (number, at.plugin)) {
                    let spec = NodeSpec::input("side chain", side.channels);
                    let from = graph.add(spec.first_channel(side.first_channel));
                    graph.connect_audio(from, 0, node, side.bus)?;
                }
                nodes.insert(at, node);
            }
            let last = self.last_with_output(number, plugins);
            if let Some(at) = last.filter(|_| self.config.all_outputs) {
                let ports = &self.plugins[&at].info().outputs;
                connect_all_outputs(&mut graph, nodes[&at], ports, end)?;
            } else if let Some((from, bus)) = chain.last {
                graph.connect_audio(from, bus, end, 0)?;
            }
        }
        Ok((graph, nodes))
    }

    /// The last of a track's first plugins that puts out audio.
    fn last_with_output(&self, track: usize, plugins: usize) -> Option<PluginAt> {
        let first: Vec<_> = self.chain(track).take(plugins).collect();
        let has_output = |plugin: &Plugin| main_bus(&plugin.info().outputs).is_some();
        first.iter().rev().find(|(_, plugin)| has_output(plugin)).map(|(at, _)| *at)
    }

    /// Where each track ends.
    fn ends(&self, graph: &mut Graph, outputs: u32) -> Result<Vec<NodeId>, Error> {
        let tracks = self.config.tracks.len();
        if self.config.separate {
            let each = outputs / (tracks as u32).max(1);
            let output = |track| {
                let name = format!("output {}", track + 1);
                graph.add(NodeSpec::output(name, each).first_channel(track * each))
            };
            return Ok((0..tracks as u32).map(output).collect());
        }
        let sum = (tracks > 1).then(|| graph.add(NodeSpec::sum("sum", outputs)));
        // Of several buses, the main one is the first.
        let main = || {
            let ports = &self.plugins[&self.last_with_output(0, usize::MAX)?].info().outputs;
            Some(ports[main_bus(ports)? as usize].channels)
        };
        let outputs = if self.config.all_outputs { main().unwrap_or(outputs) } else { outputs };
        let output = graph.add(NodeSpec::output("output", outputs));
        if let Some(sum) = sum {
            graph.connect_audio(sum, 0, output, 0)?;
        }
        Ok(vec![sum.unwrap_or(output); tracks])
    }
}

/// The bus that is in the chain.
pub(crate) fn main_bus(ports: &[AudioPort]) -> Option<u32> {
    main_port(ports).map(|bus| bus as u32)
}

/// Its channels.
pub(crate) fn main_channels(ports: &[AudioPort]) -> Option<u32> {
    main_port(ports).map(|bus| ports[bus].channels)
}

/// The main bus to `main`, each other one to an output of its own behind it.
fn connect_all_outputs(
    graph: &mut Graph,
    from: NodeId,
    ports: &[AudioPort],
    main: NodeId,
) -> Result<(), Error> {
    let Some(first) = main_bus(ports) else { return Ok(()) };
    graph.connect_audio(from, first, main, 0)?;
    let mut channel = ports[first as usize].channels;
    for (bus, port) in ports.iter().enumerate() {
        if bus as u32 != first && port.channels > 0 {
            let output = NodeSpec::output(format!("output {bus}"), port.channels);
            let output = graph.add(output.first_channel(channel));
            graph.connect_audio(from, bus as u32, output, 0)?;
            channel += port.channels;
        }
    }
    Ok(())
}
