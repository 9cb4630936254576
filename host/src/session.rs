//! Plugins loaded, connected and ready to be called back: chains of them, side by side.
//!
//! ```text
//! driver in ─┬─ track 0: plugin ─ plugin ─ … ─┬─ sum ─ driver out
//!            └─ track 1: plugin ─ plugin ─ … ─┘
//! ```
//! Notes go down a track, too: from a plugin that puts them out to the next that takes them.
//!
//! # Threads
//! Everything here is for one control thread, the one that made the [`Session`]; in-process plugins
//! must not change their main thread. [`EngineCallback`] goes to the driver.

mod callback;
mod live;
mod plan;

pub use callback::{EngineCallback, realtime_setup};
pub use live::{Live, PluginAt, SessionEvent};

use crate::error::Error;
use crate::report::Isolation;
use sandrack_engine::Controller;
use sandrack_engine::compile::{CompileConfig, Delays};
use sandrack_engine::engine::{Engine, EngineConfig};
use sandrack_engine::graph::{self, Graph, NodeId, NodeSpec};
use sandrack_sandbox::format::{Notice, PluginInfo, PluginRef};
use sandrack_sandbox::local::{LocalPlugin, LocalProcessor};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::supervisor::{Node, Supervisor, Worker};
use sandrack_sandbox::sys::clock::now_ns;
use sandrack_sandbox::sys::thread;
use std::collections::HashMap;
use std::sync::Arc;

/// What to load.
#[derive(Clone, Debug, Default)]
pub struct SessionConfig {
    /// Plugins in series, one vector a track.
    pub tracks: Vec<Vec<PluginRef>>,
    /// Where they run.
    pub isolation: Isolation,
    /// Cores to keep the tracks' workers on, in turn; the first is the engine's. Empty: the
    /// system decides.
    pub cores: Vec<usize>,
    /// Whether the tracks stay apart, instead of being summed: the driver's outputs are shared out
    /// among them, the first to the first.
    pub separate: bool,
}

/// Loaded plugins. Not `Send`: in-process plugins stay on their main thread.
pub struct Session {
    supervisor: Supervisor,
    isolation: Isolation,
    separate: bool,
    tracks: Vec<Vec<Plugin>>,
}

struct Plugin {
    name: String,
    place: Place,
    activation: Option<Activation>,
    latency: u32,
}

enum Place {
    Worker(Node),
    Here(LocalPlugin, Option<LocalProcessor>),
}

impl Plugin {
    fn info(&self) -> &PluginInfo {
        match &self.place {
            Place::Worker(node) => node.info(),
            Place::Here(local, _) => local.info(),
        }
    }
}

/// Nodes and their names, track by track.
pub type NamedNodes = Vec<Vec<(NodeId, String)>>;

/// What goes to the driver, and what stays to control it.
pub struct Running {
    /// For the driver.
    pub callback: EngineCallback,
    /// For the control thread.
    pub controller: Controller,
    /// Every plugin's node and name, track by track.
    pub nodes: NamedNodes,
    /// Delay from driver input to driver output, frames.
    pub latency: u32,
    /// For the control thread: sees to what plugins ask for while they run.
    pub live: Live,
}

impl Session {
    /// Loads all plugins, several at once.
    pub fn load(
        supervisor: &Supervisor,
        config: &SessionConfig,
        progress: &(dyn Fn() + Sync),
    ) -> Result<Self, Error> {
        let core = |track: usize| match config.cores.as_slice() {
            [] => None,
            cores => Some(cores[track % cores.len()]),
        };
        let tracks = match config.isolation {
            Isolation::Plugin => load_apart(supervisor, &config.tracks, &core, progress)?,
            Isolation::Group => {
                // One process has one audio thread: all tracks on the engine's core.
                let worker = supervisor.start_worker("group", core(0))?;
                load_all(&config.tracks, |_, plugin| {
                    let node = worker.load(plugin)?;
                    progress();
                    Ok(Place::Worker(node))
                })?
            }
            Isolation::None => load_all(&config.tracks, |_, plugin| {
                let local = LocalPlugin::load(plugin)?;
                progress();
                Ok(Place::Here(local, None))
            })?,
        };
        let supervisor = supervisor.clone();
        let (isolation, separate) = (config.isolation, config.separate);
        Ok(Self { supervisor, isolation, separate, tracks })
    }

    /// Plugins loaded, over all tracks.
    pub fn plugins(&self) -> usize {
        self.tracks.iter().map(Vec::len).sum()
    }

    /// What a plugin has.
    pub fn info(&self, track: usize, plugin: usize) -> &PluginInfo {
        self.tracks[track][plugin].info()
    }

    /// The processes, for looking at from outside.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        let mut workers: Vec<Arc<Worker>> = Vec::new();
        for plugin in self.tracks.iter().flatten() {
            if let Place::Worker(node) = &plugin.place
                && !workers.iter().any(|known| known.id() == node.worker().id())
            {
                workers.push(Arc::clone(node.worker()));
            }
        }
        workers
    }

    /// Makes an engine that runs the first `plugins` plugins of each track, in blocks of at most
    /// `max_frames`. An engine made earlier must have been dropped.
    ///
    /// `channels`: of the driver, each way.
    pub fn connect(
        &mut self,
        rate: u32,
        max_frames: u32,
        plugins: usize,
        channels: (u32, u32),
    ) -> Result<Running, Error> {
        self.activate(rate, max_frames, plugins)?;
        // A running session goes on without one; it does not begin so.
        if let Some((plugin, exit)) = self.gone_plugin() {
            return Err(Error::Plan { reason: format!("{plugin}: its worker {exit}") });
        }
        let (graph, nodes) = self.graph(plugins, channels)?;
        let config =
            CompileConfig { rate: f64::from(rate), max_frames, event_capacity: EVENT_CAPACITY };
        let built = self.build(&graph, &nodes, config, &Delays::default())?;
        let (engine, mut controller) = Engine::new(EngineConfig {
            // A quarter of a second of records even for 300 plugins in blocks of 64 frames.
            records: 1 << 16,
            ..EngineConfig::new(now_ns)
        });
        controller.swap(built.plan).map_err(|e| Error::Plan { reason: e.to_string() })?;
        let latency = built.latency;
        let live = Live::new(config, channels, nodes.clone(), built.delays, latency);
        Ok(Running { callback: EngineCallback { engine }, controller, nodes, latency, live })
    }

    /// Channels of the last plugin's main output, if a track has a plugin with one.
    pub fn output_channels(&self, track: usize) -> Option<u32> {
        let of = |info: &PluginInfo| {
            main_bus(&info.outputs).map(|bus| info.outputs[bus as usize].channels)
        };
        self.tracks.get(track)?.iter().rev().find_map(|plugin| of(plugin.info()))
    }

    /// A plugin whose worker has ended though nobody asked it to, and how it ended.
    pub fn gone_plugin(&self) -> Option<(String, String)> {
        self.tracks.iter().flatten().find_map(|plugin| match &plugin.place {
            Place::Worker(node) if node.worker().is_gone() => {
                Some((node.plugin().to_string(), node.worker().kill().to_string()))
            }
            _ => None,
        })
    }

    /// What the plugins have logged since the last call.
    pub fn log_notices(&self) {
        for worker in self.workers() {
            for (_, notice) in worker.take_notices() {
                tracing::debug!(worker = worker.id(), ?notice, "a plugin says");
            }
        }
    }

    /// Lets in-process plugins do what they asked to be done on the main thread. (Workers see to
    /// that themselves.)
    pub fn idle(&mut self) {
        for plugin in self.tracks.iter_mut().flatten() {
            if let Place::Here(local, _) = &mut plugin.place {
                local.idle();
            }
        }
    }

    /// Whether a plugin has asked to be activated anew, or has another delay now.
    /// [`connect`](Self::connect) does what it asks for; until then, what is known of it may be
    /// wrong. Some plugins know their delay only once they have run.
    pub fn wants_restart(&mut self) -> Result<bool, Error> {
        let mut said = HashMap::new();
        for worker in self.workers() {
            worker.sync()?;
            said.insert(worker.id(), worker.take_notices());
        }
        let mut any = false;
        for plugin in self.tracks.iter_mut().flatten() {
            let notices: Vec<Notice> = match &mut plugin.place {
                Place::Here(local, _) => local.take_notices(),
                Place::Worker(node) => said[&node.worker().id()]
                    .iter()
                    .filter(|(number, _)| *number == node.number())
                    .map(|(_, notice)| notice.clone())
                    .collect(),
            };
            for notice in notices {
                tracing::debug!(plugin = plugin.name, ?notice, "a plugin says");
                any |= matches!(notice, Notice::RestartRequested | Notice::LatencyChanged);
            }
        }
        if any {
            // All, for the next engine begins at the beginning of time.
            self.tracks.iter_mut().flatten().for_each(|plugin| plugin.activation = None);
        }
        Ok(any)
    }

    fn activate(&mut self, rate: u32, max_frames: u32, plugins: usize) -> Result<(), Error> {
        let activation = Activation::new(f64::from(rate), max_frames);
        for plugin in self.tracks.iter_mut().flat_map(|track| track.iter_mut().take(plugins)) {
            match &mut plugin.place {
                Place::Worker(_) if plugin.activation == Some(activation) => {}
                Place::Worker(node) => plugin.latency = node.activate(activation)?,
                Place::Here(local, processor) => {
                    drop(processor.take());
                    let (active, latency) = local.activate(activation)?;
                    *processor = Some(active);
                    plugin.latency = latency;
                }
            }
            plugin.activation = Some(activation);
        }
        Ok(())
    }

    fn graph(
        &self,
        plugins: usize,
        (inputs, outputs): (u32, u32),
    ) -> Result<(Graph, NamedNodes), Error> {
        let mut graph = Graph::new();
        let input = (inputs > 0).then(|| graph.add(NodeSpec::input("input", inputs)));
        let ends = self.ends(&mut graph, outputs)?;
        let isolation = match self.isolation {
            Isolation::None => graph::Isolation::Local,
            Isolation::Plugin | Isolation::Group => graph::Isolation::Remote,
        };
        let mut nodes = Vec::with_capacity(self.tracks.len());
        for (track, end) in self.tracks.iter().zip(ends) {
            let mut last = input.map(|node| (node, 0));
            let mut notes = None;
            let mut ids = Vec::with_capacity(plugins);
            for plugin in track.iter().take(plugins) {
                let info = plugin.info();
                // A bus without channels carries nothing, but has to keep its place.
                let channels = |ports: &[sandrack_sandbox::format::AudioPort]| -> Vec<u32> {
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
            if let Some((from, bus)) = last {
                graph.connect_audio(from, bus, end, 0)?;
            }
            nodes.push(ids);
        }
        Ok((graph, nodes))
    }

    /// Where each track ends.
    fn ends(&self, graph: &mut Graph, outputs: u32) -> Result<Vec<NodeId>, Error> {
        let tracks = self.tracks.len();
        if self.separate {
            let each = outputs / (tracks as u32).max(1);
            let output = |track| {
                let name = format!("output {}", track + 1);
                graph.add(NodeSpec::output(name, each).first_channel(track * each))
            };
            return Ok((0..tracks as u32).map(output).collect());
        }
        let sum = (tracks > 1).then(|| graph.add(NodeSpec::sum("sum", outputs)));
        let output = graph.add(NodeSpec::output("output", outputs));
        if let Some(sum) = sum {
            graph.connect_audio(sum, 0, output, 0)?;
        }
        Ok(vec![sum.unwrap_or(output); tracks])
    }

    /// Lets all plugins be destroyed in order, then their processes end.
    pub fn quit(self) {
        let workers = self.workers();
        drop(self);
        let share = workers.len().div_ceil(8).max(1);
        std::thread::scope(|scope| {
            for some in workers.chunks(share) {
                scope.spawn(move || some.iter().for_each(|worker| worker.quit()));
            }
        });
    }
}

/// Events a node can receive in one block.
const EVENT_CAPACITY: u32 = sandrack_sandbox::shm::layout::EVENTS as u32;

fn main_bus(ports: &[sandrack_sandbox::format::AudioPort]) -> Option<u32> {
    let with_channels = |port: &sandrack_sandbox::format::AudioPort| port.channels > 0;
    ports
        .iter()
        .position(|port| port.main && with_channels(port))
        .or_else(|| ports.iter().position(with_channels))
        .map(|bus| bus as u32)
}

fn display_name(plugin: &PluginRef, info: &PluginInfo, number: usize) -> String {
    let name = match info.descriptor.name.as_str() {
        "" => plugin.to_string(),
        name => name.to_owned(),
    };
    format!("{name} {}", number + 1)
}

fn load_all(
    tracks: &[Vec<PluginRef>],
    mut load: impl FnMut(usize, &PluginRef) -> Result<Place, Error>,
) -> Result<Vec<Vec<Plugin>>, Error> {
    let mut number = 0;
    let mut loaded = Vec::with_capacity(tracks.len());
    for (track, plugins) in tracks.iter().enumerate() {
        let mut chain = Vec::with_capacity(plugins.len());
        for plugin in plugins {
            chain.push(named(load(track, plugin)?, plugin, number));
            number += 1;
        }
        loaded.push(chain);
    }
    Ok(loaded)
}

fn named(place: Place, reference: &PluginRef, number: usize) -> Plugin {
    let mut plugin = Plugin { name: String::new(), place, activation: None, latency: 0 };
    plugin.name = display_name(reference, plugin.info(), number);
    plugin
}

/// A worker for each plugin, started from several threads.
fn load_apart(
    supervisor: &Supervisor,
    tracks: &[Vec<PluginRef>],
    core: &(dyn Fn(usize) -> Option<usize> + Sync),
    progress: &(dyn Fn() + Sync),
) -> Result<Vec<Vec<Plugin>>, Error> {
    let jobs: Vec<(usize, &PluginRef)> = tracks
        .iter()
        .enumerate()
        .flat_map(|(track, plugins)| plugins.iter().map(move |plugin| (track, plugin)))
        .collect();
    // Two at a time a core: while one waits for its process to come up, another loads.
    let threads = (2 * thread::cores().len()).clamp(1, 16).min(jobs.len().max(1));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let load = |(track, plugin): (usize, &PluginRef)| -> Result<Node, Error> {
        let worker = supervisor.start_worker(&plugin.to_string(), core(track))?;
        Ok(worker.load(plugin)?)
    };
    let results: Vec<(usize, Result<Node, Error>)> = std::thread::scope(|scope| {
        let work = || {
            let mut mine = Vec::new();
            loop {
                let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                let Some(&job) = jobs.get(at) else { break mine };
                let result = load(job);
                let failed = result.is_err();
                mine.push((at, result));
                if failed {
                    // The others stop too: one error is enough.
                    next.fetch_max(jobs.len(), std::sync::atomic::Ordering::Relaxed);
                    break mine;
                }
                progress();
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        handles.into_iter().flat_map(|handle| handle.join().unwrap_or_default()).collect()
    });
    let mut nodes: Vec<Option<Node>> = jobs.iter().map(|_| None).collect();
    for (at, result) in results {
        nodes[at] = Some(result?);
    }
    let mut nodes = nodes.into_iter().flatten();
    load_all(tracks, |_, plugin| {
        let node = nodes.next().ok_or_else(|| Error::Plan {
            reason: format!("{plugin}: was not loaded, and nobody said why"),
        })?;
        Ok(Place::Worker(node))
    })
}
