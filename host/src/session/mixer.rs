//! A session whose plugins come and go: strips as those of a mixing desk, and routes between them.
//!
//! ```text
//! routes ─▶ sum ─ plugin ─ plugin ─ … ─ sum ─┬─ fader ─ pan ─ meter ─┬─▶ routes
//!                                      before the fader       behind it
//! ```
//! What is in two plans one after the other has the same node in both, whatever comes and goes
//! beside it: sums keep the order of their sources.

use super::graph::{Chain, main_bus, main_buses, main_channels, side_bus};
use super::{Live, Plugin, PluginAt, Running, Session};
use crate::error::Error;
use sandrack_engine::graph::{Graph, NodeId, NodeSpec};
use sandrack_sandbox::confine::Grants;
use sandrack_sandbox::format::{PluginInfo, PluginRef};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::supervisor::{Node, Supervisor};
use std::collections::{BTreeMap, BTreeSet};

/// Names a strip. Strips with lower numbers come first in sums.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StripKey(pub u32);

/// Channels of the driver that lie side by side.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Channels {
    /// The first, from 0.
    pub first: u32,
    /// How many: 1 or 2.
    pub count: u32,
}

/// Where a route begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteFrom {
    /// What comes from the driver.
    Driver(Channels),
    /// A strip, before its fader.
    Pre(StripKey),
    /// A strip, behind its fader.
    Post(StripKey),
}

/// Where a route ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum RouteTo {
    /// What goes to the driver.
    Driver(Channels),
    /// The start of a strip.
    Strip(StripKey),
    /// An input of a plugin beside its main one: the how-manieth, from 1.
    SideChain(PluginAt, u32),
}

/// A way of sound from one place to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Route {
    /// Where it begins.
    pub from: RouteFrom,
    /// Where it ends.
    pub to: RouteTo,
}

/// A chain of plugins, with fader and pan.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Strip {
    /// For people.
    pub name: String,
    /// In the order in which sound passes them.
    pub plugins: Vec<PluginAt>,
    /// Plugins that sound on beside the one that has taken their place.
    pub relieved: BTreeMap<PluginAt, Vec<PluginAt>>,
    /// Of the fader: a factor.
    pub gain: f32,
    /// -1 left ..= 1 right.
    pub pan: f32,
}

/// How the plugins of a session are connected.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mixer {
    /// All strips.
    pub strips: BTreeMap<StripKey, Strip>,
    /// All routes, with their factors.
    pub routes: BTreeMap<Route, f32>,
    nodes: Nodes,
}

/// Channels of a strip.
const STEREO: u32 = 2;

/// What a node is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) enum Part {
    Input(Channels),
    Head(StripKey),
    Plugin(PluginAt),
    Tail(StripKey),
    Fader(StripKey),
    Pan(StripKey),
    Meter(StripKey),
    Route(Route),
    Output(Channels),
}

/// Who has which node. A number is never given twice.
#[derive(Clone, Debug, Default, PartialEq)]
struct Nodes {
    by_part: BTreeMap<Part, NodeId>,
    last: u64,
}

impl Mixer {
    /// All its plugins.
    pub fn plugins(&self) -> impl Iterator<Item = PluginAt> {
        let strips = self.strips.values();
        strips
            .flat_map(|strip| strip.plugins.iter().chain(strip.relieved.values().flatten()))
            .copied()
    }

    /// A part's node, as of the last plan.
    pub(super) fn node(&self, part: Part) -> Option<NodeId> {
        self.nodes.by_part.get(&part).copied()
    }

    /// Says where a fader, pan or route is.
    pub(super) fn set(&mut self, part: Part, value: f32) {
        let place = match part {
            Part::Fader(key) => self.strips.get_mut(&key).map(|strip| &mut strip.gain),
            Part::Pan(key) => self.strips.get_mut(&key).map(|strip| &mut strip.pan),
            Part::Route(route) => self.routes.get_mut(&route),
            _ => None,
        };
        if let Some(place) = place {
            *place = value;
        }
    }

    /// Faders, pans and routes are where they are in another, as far as that has them.
    pub(super) fn take_faders_of(&mut self, other: &Self) {
        for (key, strip) in &mut self.strips {
            if let Some(other) = other.strips.get(key) {
                (strip.gain, strip.pan) = (other.gain, other.pan);
            }
        }
        for (route, gain) in &mut self.routes {
            if let Some(other) = other.routes.get(route) {
                *gain = *other;
            }
        }
    }

    /// Goes on with the nodes of another.
    pub(super) fn with_nodes_of(mut self, other: &Self) -> Self {
        self.nodes = other.nodes.clone();
        self
    }

    /// Whether the plan of one does for the other, faders apart.
    pub(super) fn has_shape_of(&self, other: &Self) -> bool {
        let shape = |mixer: &Self| -> Vec<_> {
            let strips = mixer.strips.iter();
            strips.map(|(k, s)| (*k, s.plugins.clone(), s.relieved.clone())).collect()
        };
        self.routes.keys().eq(other.routes.keys()) && shape(self) == shape(other)
    }

    /// Channels that a plugin in a strip is to be asked for; 0: it has what is needed.
    pub fn wanted_channels(info: &PluginInfo) -> u32 {
        let has = |ports| main_channels(ports).is_none_or(|channels| channels == STEREO);
        if has(&info.inputs) && has(&info.outputs) { 0 } else { STEREO }
    }

    /// Whether a plugin can be in a strip.
    ///
    /// # Errors
    /// Why not.
    pub fn takes(info: &PluginInfo) -> Result<(), String> {
        for (what, ports) in [("input", &info.inputs), ("output", &info.outputs)] {
            if let Some(channels) = main_channels(ports).filter(|channels| *channels > STEREO) {
                return Err(format!(
                    "its main {what} has {channels} channels: a track has {STEREO}"
                ));
            }
        }
        Ok(())
    }

    /// The graph, and the nodes of the plugins that are in it.
    fn graph(
        &mut self,
        plugins: &BTreeMap<PluginAt, Plugin>,
    ) -> Result<(Graph, BTreeMap<PluginAt, NodeId>), Error> {
        let mut building =
            Building { graph: Graph::new(), nodes: &mut self.nodes, used: BTreeSet::new() };
        let mut placed = BTreeMap::new();
        let mut ends = BTreeMap::new();
        for (&key, strip) in &self.strips {
            let name = &strip.name;
            let head = building.add(Part::Head(key), NodeSpec::sum(name, STEREO));
            let tail = building.add(Part::Tail(key), NodeSpec::sum(name, STEREO));
            let fader = building.add(Part::Fader(key), NodeSpec::gain(name, STEREO, strip.gain));
            let pan = building.add(Part::Pan(key), NodeSpec::pan(name, strip.pan));
            let meter = building.add(Part::Meter(key), NodeSpec::meter(name, STEREO));
            let mut chain = Chain::from(Some((head, 0)));
            let mut beside: Vec<(NodeId, u32)> = Vec::new();
            for at in &strip.plugins {
                let Some(plugin) = plugins.get(at) else { continue };
                let node = building.add(Part::Plugin(*at), plugin.spec());
                placed.insert(*at, node);
                let is_effect = main_bus(&plugin.info().inputs).is_some();
                chain.connect(&mut building.graph, node, plugin.info())?;
                if is_effect {
                    for (from, bus) in beside.drain(..) {
                        let main = main_bus(&plugin.info().inputs).unwrap_or(0);
                        building.graph.connect_audio(from, bus, node, main)?;
                    }
                }
                for old in strip.relieved.get(at).into_iter().flatten() {
                    let Some(plugin) = plugins.get(old) else { continue };
                    let node = building.add(Part::Plugin(*old), plugin.spec());
                    placed.insert(*old, node);
                    beside.extend(main_bus(&plugin.info().outputs).map(|bus| (node, bus)));
                }
            }
            for (from, bus) in chain.last.into_iter().chain(beside) {
                building.graph.connect_audio(from, bus, tail, 0)?;
            }
            for (from, to) in [(tail, fader), (fader, pan), (pan, meter)] {
                building.graph.connect_audio(from, 0, to, 0)?;
            }
            ends.insert(key, (head, tail, meter));
        }
        for (&route, &gain) in &self.routes {
            let from = match route.from {
                RouteFrom::Driver(channels) => Some(building.driver_input(channels)),
                RouteFrom::Pre(strip) => ends.get(&strip).map(|ends| ends.1),
                RouteFrom::Post(strip) => ends.get(&strip).map(|ends| ends.2),
            };
            let to = match route.to {
                RouteTo::Driver(channels) => Some((building.driver_output(channels), 0)),
                RouteTo::Strip(strip) => ends.get(&strip).map(|ends| (ends.0, 0)),
                RouteTo::SideChain(at, number) => placed
                    .get(&at)
                    .copied()
                    .zip(plugins.get(&at).and_then(|plugin| side_bus(plugin.info(), number))),
            };
            let (Some(from), Some(to)) = (from, to) else { continue };
            let node = building.add(Part::Route(route), NodeSpec::gain("route", STEREO, gain));
            building.graph.connect_audio(from, 0, node, 0)?;
            building.graph.connect_audio(node, 0, to.0, to.1)?;
        }
        let Building { graph, used, nodes } = building;
        nodes.by_part.retain(|part, _| used.contains(part));
        Ok((graph, placed))
    }
}

struct Building<'a> {
    graph: Graph,
    nodes: &'a mut Nodes,
    used: BTreeSet<Part>,
}

impl Building<'_> {
    fn add(&mut self, part: Part, spec: NodeSpec) -> NodeId {
        let nodes = &mut *self.nodes;
        let id = *nodes.by_part.entry(part).or_insert_with(|| {
            nodes.last += 1;
            NodeId::from_raw(nodes.last)
        });
        if self.used.insert(part) {
            self.graph.insert(id, spec);
        }
        id
    }

    fn driver_input(&mut self, channels: Channels) -> NodeId {
        let spec = NodeSpec::input("input", channels.count).first_channel(channels.first);
        self.add(Part::Input(channels), spec)
    }

    fn driver_output(&mut self, channels: Channels) -> NodeId {
        let spec = NodeSpec::output("output", channels.count).first_channel(channels.first);
        self.add(Part::Output(channels), spec)
    }
}

impl Session {
    /// A session whose plugins come and go; there are none yet.
    pub fn mixer(supervisor: &Supervisor) -> Self {
        let (supervisor, config) = (supervisor.clone(), super::SessionConfig::default());
        Self { supervisor, config, plugins: BTreeMap::new(), mixer: Some(Mixer::default()) }
    }

    /// How the plugins are connected in the plan that runs, or is about to.
    pub fn mix(&self) -> Option<&Mixer> {
        self.mixer.as_ref()
    }

    /// How a plugin is activated in a mixer. `side_inputs`: a bit for each input that it has beside its
    /// main one.
    pub(crate) fn activation_of(
        &self,
        info: &PluginInfo,
        side_inputs: u64,
        rate: u32,
        frames: u32,
    ) -> Activation {
        let (main_input, connected_outputs) = main_buses(info);
        let connected_inputs = main_input | side_inputs;
        Activation { connected_inputs, connected_outputs, ..self.activation(rate, frames) }
    }

    /// Takes in a plugin that is loaded, and active for the running blocks. It is heard
    /// once a mixer has it.
    ///
    /// # Errors
    /// There is one already.
    pub fn add(
        &mut self,
        at: PluginAt,
        name: String,
        reference: PluginRef,
        grants: Grants,
        node: Node,
        activation: Activation,
    ) -> Result<(), Error> {
        if self.plugins.contains_key(&at) {
            return Err(Error::Plan { reason: format!("{name}: its place is taken") });
        }
        let latency = node.latency().unwrap_or(0);
        let tail = node.tail().unwrap_or(0);
        let plugin = Plugin::new(super::Place::Worker(node), reference, grants);
        let side_inputs = activation.connected_inputs & !main_buses(plugin.info()).0;
        let main_channels = activation.main_channels;
        let activation = Some(activation);
        let plugin =
            Plugin { name, activation, main_channels, latency, tail, side_inputs, ..plugin };
        self.plugins.insert(at, plugin);
        Ok(())
    }

    /// Makes an engine that runs what the mixer has, in blocks of at most `max_frames`. An engine
    /// made earlier must have been dropped. A plugin that can't be activated takes no part.
    ///
    /// `channels`: of the driver, each way.
    ///
    /// # Errors
    /// No plan could be made.
    pub fn connect_mixer(
        &mut self,
        rate: u32,
        max_frames: u32,
        channels: (u32, u32),
    ) -> Result<Running, Error> {
        let all: Vec<PluginAt> = self.plugins.keys().copied().collect();
        for at in all {
            let plugin = &self.plugins[&at];
            let (info, sides) = (plugin.info(), plugin.side_inputs);
            let activation = Activation {
                main_channels: plugin.main_channels,
                ..self.activation_of(info, sides, rate, max_frames)
            };
            let plugin = self.plugin_mut(at.track, at.plugin);
            if let Err(error) = plugin.activate(activation) {
                tracing::warn!(plugin = plugin.name, %error, "can't be activated");
            }
            // As it is to be, for whoever brings it back.
            plugin.activation = Some(activation);
        }
        loop {
            let before = self.gone_workers();
            let (graph, nodes) = self.wire(0, channels)?;
            match self.begin(rate, max_frames, channels, &graph, nodes) {
                Err(_) if super::live::comes_true(|| self.gone_workers() > before) => {}
                begun => break begun,
            }
        }
    }

    /// Lets all plugins go that the mixer has not.
    pub(super) fn retire_unused(&mut self) {
        let Some(mixer) = &self.mixer else { return };
        let used: BTreeSet<PluginAt> = mixer.plugins().collect();
        let unused: Vec<PluginAt> =
            self.plugins.keys().filter(|at| !used.contains(at)).copied().collect();
        unused.into_iter().for_each(|at| self.retire(at));
    }

    /// Lets a plugin go that no plan has any more, and its process, if it is alone there. Waits for
    /// neither.
    pub(super) fn retire(&mut self, at: PluginAt) {
        let Some(plugin) = self.plugins.remove(&at) else { return };
        let super::Place::Worker(mut node) = plugin.place else { return };
        let is_alone = !self.workers().iter().any(|w| w.id() == node.worker().id());
        let end = move || {
            if is_alone {
                node.worker().quit();
            } else if let Err(error) = node.deactivate() {
                tracing::debug!(%error, "a plugin that was removed can't be deactivated");
            }
        };
        // Without a thread the process is killed.
        let _ = std::thread::Builder::new().name("plugin end".into()).spawn(end);
    }

    /// The graph as it is to be next, and the nodes of its plugins.
    pub(super) fn wire(
        &mut self,
        count: usize,
        channels: (u32, u32),
    ) -> Result<(Graph, BTreeMap<PluginAt, NodeId>), Error> {
        match &mut self.mixer {
            Some(mixer) => mixer.graph(&self.plugins),
            None => self.graph(count, channels),
        }
    }
}

impl Live {
    /// What a strip's meter shows, left and right; `None`: it is in no plan yet.
    pub fn meter(&self, session: &Session, strip: StripKey) -> Option<NodeId> {
        session.mixer.as_ref()?.node(Part::Meter(strip))
    }
}
