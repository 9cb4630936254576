//! From a session's tracks to a graph: what is connected to what.

use super::{NamedNodes, Plugin, Session};
use crate::error::Error;
use crate::report::Isolation;
use sandrack_engine::graph::{self, Graph, NodeId, NodeSpec};
use sandrack_sandbox::format::AudioPort;

impl Session {
    /// For each of the first plugins of the tracks: which input and output buses are connected.
    /// Main buses are, even where there is nothing to hear: plugins rely on them.
    pub(super) fn connected(&self, plugins: usize) -> Vec<(u64, u64)> {
        let bit = |bus: u32| 1u64.checked_shl(bus).unwrap_or(0);
        let mut all = Vec::new();
        for (number, track) in self.tracks.iter().enumerate() {
            let last = last_with_output(track, plugins);
            for (place, plugin) in track.iter().take(plugins).enumerate() {
                let info = plugin.info();
                let main = |ports| main_bus(ports).map_or(1, bit);
                let sides = self.config.side_chains.iter();
                let mine = sides.filter(|side| (side.track, side.plugin) == (number, place));
                let inputs = mine.fold(main(&info.inputs), |bits, side| bits | bit(side.bus));
                let outputs = match self.config.all_outputs && last == Some(place) {
                    true => (0..info.outputs.len() as u32).map(bit).fold(0, |all, bit| all | bit),
                    false => main(&info.outputs),
                };
                all.push((inputs, outputs));
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
    ) -> Result<(Graph, NamedNodes), Error> {
        let mut graph = Graph::new();
        let input = (inputs > 0).then(|| graph.add(NodeSpec::input("input", inputs)));
        let ends = self.ends(&mut graph, outputs)?;
        let isolation = match self.config.isolation {
            Isolation::None => graph::Isolation::Local,
            Isolation::Plugin | Isolation::Group => graph::Isolation::Remote,
        };
        let mut nodes = Vec::with_capacity(self.tracks.len());
        for (number, (track, end)) in self.tracks.iter().zip(ends).enumerate() {
            let mut last = input.map(|node| (node, 0));
            let mut notes = None;
            let mut ids = Vec::with_capacity(plugins);
            for (place, plugin) in track.iter().take(plugins).enumerate() {
                let info = plugin.info();
                // A bus without channels carries nothing, but has to keep its place.
                let channels = |ports: &[AudioPort]| -> Vec<u32> {
                    ports.iter().map(|port| port.channels.max(1)).collect()
                };
                let (ins, outs) = (channels(&info.inputs), channels(&info.outputs));
                let spec = NodeSpec::plugin(&plugin.name, &ins, &outs)
                    .isolation(isolation)
                    .event_input(!info.note_inputs.is_empty() || !info.params.is_empty())
                    .event_output(!info.note_outputs.is_empty() || !info.params.is_empty())
                    .latency(plugin.latency);
                let node = graph.add(spec);
                if let (Some((from, bus)), Some(main)) = (last, main_bus(&info.inputs)) {
                    graph.connect_audio(from, bus, node, main)?;
                }
                let sides = self.config.side_chains.iter();
                for side in sides.filter(|side| (side.track, side.plugin) == (number, place)) {
                    let spec = NodeSpec::input("side chain", side.channels);
                    let from = graph.add(spec.first_channel(side.first_channel));
                    graph.connect_audio(from, 0, node, side.bus)?;
                }
                if let Some(main) = main_bus(&info.outputs) {
                    last = Some((node, main));
                }
                if let Some(from) = notes.filter(|_| !info.note_inputs.is_empty()) {
                    graph.connect_events(from, node)?;
                }
                if !info.note_outputs.is_empty() {
                    notes = Some(node);
                }
                ids.push((node, plugin.name.clone()));
            }
            let all_of = last_with_output(track, plugins).filter(|_| self.config.all_outputs);
            if let Some(place) = all_of {
                let ports = &track[place].info().outputs;
                connect_all_outputs(&mut graph, ids[place].0, ports, end)?;
            } else if let Some((from, bus)) = last {
                graph.connect_audio(from, bus, end, 0)?;
            }
            nodes.push(ids);
        }
        Ok((graph, nodes))
    }

    /// Where each track ends.
    fn ends(&self, graph: &mut Graph, outputs: u32) -> Result<Vec<NodeId>, Error> {
        let tracks = self.tracks.len();
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
            let track = self.tracks.first()?;
            let ports = &track[last_with_output(track, usize::MAX)?].info().outputs;
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

/// The bus that is in the chain: the one that the plugin calls its main one, or else the first
/// with channels.
pub(super) fn main_bus(ports: &[AudioPort]) -> Option<u32> {
    let with_channels = |port: &AudioPort| port.channels > 0;
    ports
        .iter()
        .position(|port| port.main && with_channels(port))
        .or_else(|| ports.iter().position(with_channels))
        .map(|bus| bus as u32)
}

/// The last of a track's first plugins that puts out audio.
fn last_with_output(track: &[Plugin], plugins: usize) -> Option<usize> {
    let track = &track[..plugins.min(track.len())];
    track.iter().rposition(|plugin| main_bus(&plugin.info().outputs).is_some())
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
