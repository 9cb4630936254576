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
mod editors;
mod event;
mod graph;
mod live;
mod load;
mod loader;
mod mixer;
mod pace;
mod plan;
mod plugin;
mod recovery;
mod rewire;

pub use callback::{EngineCallback, realtime_setup};
pub use editors::PluginIndex;
pub use event::{PluginAt, SessionEvent};
pub(crate) use graph::side_inputs;
pub use live::Live;
pub use loader::{LoadOrder, Loaded, Loading};
pub use mixer::{Channels, Mixer, Route, RouteFrom, RouteTo, Strip, StripKey};
pub use recovery::{Health, Kept, RecoveryOptions};

use crate::error::Error;
use crate::report::Isolation;
pub(crate) use graph::main_channels;
use load::{keyed, load_all, load_apart};
use plan::Built;
use sandrack_engine::Controller;
use sandrack_engine::compile::{CompileConfig, Delays};
use sandrack_engine::engine::{Engine, EngineConfig};
use sandrack_engine::graph::{Graph, NodeId};
use sandrack_sandbox::confine::Grants;
use sandrack_sandbox::format::{Notice, PluginInfo, PluginRef};
use sandrack_sandbox::local::{LocalPlugin, LocalProcessor};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::supervisor::{Node, Supervisor, Worker};
use sandrack_sandbox::sys::clock::now_ns;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;
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
    /// Whether plugins are told that they are rendered to a file, not played.
    pub offline: bool,
    /// Frames that the engine hands to a plugin at once, to be processed there in blocks of
    /// `max_frames`; 0: a block at a time. For offline work.
    pub batch_frames: u32,
    /// What else of the driver's inputs goes to plugins.
    pub side_chains: Vec<SideChain>,
    /// What some plugins may do beyond, or not even, what all others may; see
    /// [`Supervisor`]'s options for those. Plugins that share a process get all that any of
    /// them may.
    pub grants: BTreeMap<PluginAt, Grants>,
    /// Whether all output buses of a track's last plugin with outputs go to the driver's outputs,
    /// one bus after the other, the main one first. For a session of one track.
    pub all_outputs: bool,
}

impl SessionConfig {
    /// What is different for one plugin.
    pub(crate) fn grants_of(&self, at: PluginAt) -> Grants {
        self.grants.get(&at).cloned().unwrap_or_default()
    }
}

/// The places of all plugins, track by track.
fn places<T>(tracks: &[Vec<T>]) -> impl Iterator<Item = PluginAt> {
    let each = tracks.iter().map(Vec::len).enumerate();
    each.flat_map(|(track, plugins)| (0..plugins).map(move |plugin| PluginAt { track, plugin }))
}

/// Channels of the driver that go to an input bus of a plugin, beside its main input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SideChain {
    /// Track, from 0.
    pub track: usize,
    /// Place in the track, from 0.
    pub plugin: usize,
    /// Input bus of the plugin.
    pub bus: u32,
    /// First channel of the driver.
    pub first_channel: u32,
    /// Channels.
    pub channels: u32,
}

/// Loaded plugins. Not `Send`: in-process plugins stay on their main thread.
pub struct Session {
    supervisor: Supervisor,
    config: SessionConfig,
    plugins: BTreeMap<PluginAt, Plugin>,
    /// Where plugins come and go; `None`: the chains are as they were loaded.
    mixer: Option<Mixer>,
}

struct Plugin {
    name: String,
    reference: PluginRef,
    grants: Grants,
    place: Place,
    activation: Option<Activation>,
    /// Channels that its main input and output were asked to have; 0: as they were.
    main_channels: u32,
    latency: u32,
    tail: u32,
    /// Inputs beside the main one that something comes to, where plugins come and go: a bit each.
    side_inputs: u64,
    /// It is being moved: its fallback is heard, without delay.
    is_wire: bool,
}

enum Place {
    Worker(Node),
    Here(LocalPlugin, Option<LocalProcessor>),
}

/// Nodes and their names, track by track.
pub type NamedNodes = Vec<Vec<(NodeId, String)>>;

/// What goes to the driver, and what stays to control it.
pub struct Running {
    /// For the driver.
    pub callback: EngineCallback,
    /// For the control thread.
    pub controller: Controller,
    /// Every plugin's node and name, track by track; none where plugins come and go.
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
            Isolation::Plugin => {
                load_apart(&|_| supervisor, &config.tracks, &config.grants, &core, progress)?
            }
            Isolation::Group => {
                // One process has one audio thread: all tracks on the engine's core.
                let worker = supervisor.start_worker("group", core(0))?;
                let files: Vec<&Path> =
                    config.tracks.iter().flatten().map(|plugin| plugin.path.as_path()).collect();
                let all = places(&config.tracks);
                let grants: Vec<Grants> = all.map(|at| config.grants_of(at)).collect();
                worker.begin_with(&files, &grants)?;
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
        let plugins = keyed(tracks, config);
        Ok(Self { supervisor, config: config.clone(), plugins, mixer: None })
    }

    /// Loads plugins into a session each, with the grants of their place among them, every one with a supervisor of its own and so with an
    /// engine that needs not wait for the others. In processes of their own, several at once.
    pub fn load_each(
        plugins: &[(Supervisor, PluginRef)],
        config: &SessionConfig,
        progress: &(dyn Fn() + Sync),
    ) -> Result<Vec<Self>, Error> {
        let tracks = [plugins.iter().map(|(_, plugin)| plugin.clone()).collect::<Vec<_>>()];
        let supervisor = |place: usize| &plugins[place].0;
        let loaded = load_apart(&supervisor, &tracks, &config.grants, &|_| None, progress)?;
        let each = loaded.into_iter().flatten().zip(plugins).enumerate();
        let first = PluginAt { track: 0, plugin: 0 };
        let grants = |plugin| config.grants_of(PluginAt { plugin, ..first });
        Ok(each
            .map(|(place, (plugin, (supervisor, reference)))| {
                let config = SessionConfig {
                    tracks: vec![vec![reference.clone()]],
                    grants: [(first, grants(place))].into(),
                    isolation: Isolation::Plugin,
                    ..config.clone()
                };
                let plugins = keyed(vec![vec![plugin]], &config);
                Self { supervisor: supervisor.clone(), config, plugins, mixer: None }
            })
            .collect())
    }

    /// Changes what [`connect`](Self::connect) does from the next time on; what is loaded, and
    /// where it runs, stays.
    pub fn configure(&mut self, change: impl FnOnce(&mut SessionConfig)) {
        let isolation = self.config.isolation;
        change(&mut self.config);
        self.config.isolation = isolation;
    }

    /// Plugins loaded, over all tracks.
    pub fn plugins(&self) -> usize {
        self.plugins.len()
    }

    /// What a plugin has.
    pub fn info(&self, track: usize, plugin: usize) -> &PluginInfo {
        self.plugin(track, plugin).info()
    }

    /// A plugin's node; `None`: it is in this process.
    pub fn node(&self, track: usize, plugin: usize) -> Option<&Node> {
        match &self.plugins.get(&PluginAt { track, plugin })?.place {
            Place::Worker(node) => Some(node),
            Place::Here(..) => None,
        }
    }

    /// The processes, for looking at from outside.
    pub fn workers(&self) -> Vec<Arc<Worker>> {
        let (mut workers, mut seen) = (Vec::new(), HashSet::new());
        for plugin in self.plugins.values() {
            if let Place::Worker(node) = &plugin.place
                && seen.insert(node.worker().id())
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
        self.begin(rate, max_frames, channels, &graph, nodes)
    }

    /// Makes an engine, and everything that goes with it.
    fn begin(
        &mut self,
        rate: u32,
        max_frames: u32,
        channels: (u32, u32),
        graph: &Graph,
        nodes: BTreeMap<PluginAt, NodeId>,
    ) -> Result<Running, Error> {
        let max_frames = max_frames.max(self.config.batch_frames);
        let config =
            CompileConfig { rate: f64::from(rate), max_frames, event_capacity: EVENT_CAPACITY };
        let mut building = self.build(graph, nodes, config, &Delays::default())?;
        building.wait()?;
        let Built { plan, nodes, latency, delays } = self.finish(building)?;
        let (engine, mut controller) = Engine::new(EngineConfig {
            // A quarter of a second of records even for 300 plugins in blocks of 64 frames.
            records: 1 << 16,
            ..EngineConfig::new(now_ns)
        });
        controller.swap(plan).map_err(|e| Error::Plan { reason: e.to_string() })?;
        let mut named = vec![Vec::new(); self.config.tracks.len()];
        if self.mixer.is_none() {
            for (at, node) in &nodes {
                named[at.track].push((*node, self.plugins[at].name.clone()));
            }
        }
        let live = Live::new(config, channels, nodes, delays, latency);
        let callback = EngineCallback { engine, midi: None };
        Ok(Running { callback, controller, nodes: named, latency, live })
    }

    /// Channels of the last plugin's main output, or of all its outputs if they are asked for, if
    /// a track has a plugin with one.
    pub fn output_channels(&self, track: usize) -> Option<u32> {
        let of = |info: &PluginInfo| {
            let main = main_channels(&info.outputs);
            let all = info.outputs.iter().map(|port| port.channels).sum();
            main.map(|main| if self.config.all_outputs { all } else { main })
        };
        self.chain(track).rev().find_map(|(_, plugin)| of(plugin.info()))
    }

    /// A plugin whose worker has ended though nobody asked it to, and how it ended.
    pub fn gone_plugin(&self) -> Option<(String, String)> {
        self.plugins.values().find_map(|plugin| match &plugin.place {
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
        for plugin in self.plugins.values_mut() {
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
        for plugin in self.plugins.values_mut() {
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
            self.plugins.values_mut().for_each(|plugin| plugin.activation = None);
        }
        Ok(any)
    }

    /// The plugins of a track, in order.
    fn chain(&self, track: usize) -> impl DoubleEndedIterator<Item = (PluginAt, &Plugin)> {
        let at = |plugin| PluginAt { track, plugin };
        self.plugins.range(at(0)..=at(usize::MAX)).map(|(at, plugin)| (*at, plugin))
    }

    fn plugin(&self, track: usize, plugin: usize) -> &Plugin {
        &self.plugins[&PluginAt { track, plugin }]
    }

    fn plugin_mut(&mut self, track: usize, plugin: usize) -> &mut Plugin {
        match self.plugins.get_mut(&PluginAt { track, plugin }) {
            Some(plugin) => plugin,
            None => panic!("track {track} has no plugin {plugin}"),
        }
    }

    /// How plugins are to be activated, but for their buses.
    fn activation(&self, rate: u32, max_frames: u32) -> Activation {
        Activation {
            offline: self.config.offline,
            batch_frames: self.config.batch_frames.max(max_frames),
            ..Activation::new(f64::from(rate), max_frames)
        }
    }

    fn activate(&mut self, rate: u32, max_frames: u32, plugins: usize) -> Result<(), Error> {
        let activation = self.activation(rate, max_frames);
        for (at, (inputs, outputs)) in self.connected(plugins) {
            let plugin = self.plugin_mut(at.track, at.plugin);
            plugin.activate(Activation {
                connected_inputs: inputs,
                connected_outputs: outputs,
                main_channels: plugin.main_channels,
                ..activation
            })?;
        }
        Ok(())
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
