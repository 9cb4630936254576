//! Loads plugins for a session that plays, on threads of their own.

use super::graph::{bit, main_buses, side_bus};
use super::{Kept, Mixer};
use crate::rig::nearest;
use sandrack_sandbox::confine::Grants;
use sandrack_sandbox::error::Error;
use sandrack_sandbox::format::{PluginInfo, PluginRef, StateContext};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::supervisor::{Node, Supervisor, Worker};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::{self, TryRecvError};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// A plugin to be loaded, as it is to be.
#[derive(Clone, Debug)]
pub struct LoadOrder {
    /// Which.
    pub plugin: PluginRef,
    /// What it may do.
    pub grants: Grants,
    /// Its state.
    pub state: Option<Arc<Vec<u8>>>,
    /// Parameters set after the state, by number or name.
    pub params: BTreeMap<String, f64>,
    /// Inputs beside its main one that something comes to: the how-manieth, from 1.
    pub side_chains: BTreeSet<u32>,
    /// The blocks that follow: frames per second, most frames.
    pub blocks: (u32, u32),
}

/// A plugin that is loaded and active.
pub struct Loaded {
    /// The plugin.
    pub node: Node,
    /// How it was activated.
    pub activation: Activation,
    /// What it was given.
    pub kept: Kept,
    /// What could not be done as ordered.
    pub warnings: Vec<String>,
}

/// Plugins being loaded, into one process. Dropping it ends that, with all that was started.
pub struct Loading {
    told: mpsc::Receiver<Result<Loaded, String>>,
    new: Arc<Mutex<New>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct New {
    worker: Option<Arc<Worker>>,
    is_stopped: bool,
}

impl Loading {
    /// Begins. `worker`: where they are loaded; `None`: in a new one.
    ///
    /// # Errors
    /// There is no thread for it.
    pub fn start(
        supervisor: &Supervisor,
        orders: Vec<LoadOrder>,
        worker: Option<Arc<Worker>>,
    ) -> std::io::Result<Self> {
        let (sender, told) = mpsc::channel();
        let new = Arc::<Mutex<New>>::default();
        let (shared, supervisor) = (Arc::clone(&new), supervisor.clone());
        let thread = std::thread::Builder::new()
            .name("plugin load".into())
            .spawn(move || run(&supervisor, &orders, worker, &sender, &shared))?;
        Ok(Self { told, new, thread: Some(thread) })
    }

    /// The next of the plugins, in their order; `None`: not yet.
    pub fn poll(&self) -> Option<Result<Loaded, String>> {
        match self.told.try_recv() {
            Ok(result) => Some(result),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err("its thread ended without a word".into())),
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        let worker = {
            let mut new = self.new.lock().unwrap_or_else(PoisonError::into_inner);
            new.is_stopped = true;
            new.worker.take()
        };
        let has_ended = self.thread.as_ref().is_none_or(JoinHandle::is_finished);
        // Whatever it is asked fails at once.
        if let (Some(worker), false) = (worker, has_ended) {
            worker.end_now();
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(
    supervisor: &Supervisor,
    orders: &[LoadOrder],
    there: Option<Arc<Worker>>,
    told: &mpsc::Sender<Result<Loaded, String>>,
    new: &Mutex<New>,
) {
    let is_new = there.is_none();
    let worker = there.map_or_else(|| start(supervisor, orders), Ok);
    let worker = match worker {
        Ok(worker) => worker,
        Err(error) => {
            for _ in orders {
                let _ = told.send(Err(error.to_string()));
            }
            return;
        }
    };
    if is_new {
        let mut new = new.lock().unwrap_or_else(PoisonError::into_inner);
        if new.is_stopped {
            return;
        }
        new.worker = Some(Arc::clone(&worker));
    }
    let results: Vec<_> = orders
        .iter()
        .map(|order| load(&worker, order).map_err(|error| error.to_string()))
        .collect();
    // Before the news: who has the plugins need not be afraid for them.
    new.lock().unwrap_or_else(PoisonError::into_inner).worker = None;
    for result in results {
        let _ = told.send(result);
    }
}

fn start(supervisor: &Supervisor, orders: &[LoadOrder]) -> Result<Arc<Worker>, Error> {
    let name = orders.first().map_or_else(String::new, |order| order.plugin.to_string());
    let worker = supervisor.start_worker(&name, None)?;
    let files: Vec<&Path> = orders.iter().map(|order| order.plugin.path.as_path()).collect();
    let grants: Vec<Grants> = orders.iter().map(|order| order.grants.clone()).collect();
    worker.begin_with(&files, &grants)?;
    Ok(worker)
}

fn load(worker: &Arc<Worker>, order: &LoadOrder) -> Result<Loaded, Error> {
    let mut node = worker.load(&order.plugin)?;
    let absurd = |what| {
        let plugin = order.plugin.to_string();
        Error::Plugin(sandrack_sandbox::error::PluginError::Absurd { plugin, what })
    };
    let mut warnings = Vec::new();
    if let Some(state) = &order.state {
        match node.load_state(state.to_vec(), StateContext::Project) {
            Err(Error::Plugin(error)) => {
                warnings.push(format!("it does not take its state: {error}"))
            }
            result => result?,
        }
    }
    if order.state.is_some() {
        // Which may have brought other buses, and other parameters.
        node.refresh_info()?;
    }
    let params = numbers(node.info(), &order.params, &mut warnings);
    if !params.is_empty() {
        match node.set_params(&params) {
            Err(Error::Plugin(error)) => {
                warnings.push(format!("it does not take its parameters: {error}"));
            }
            result => result?,
        }
    }
    // Behind its state, which may say what it has.
    let main_channels = Mixer::wanted_channels(node.info());
    if main_channels != 0 {
        node.arrange(main_channels)?;
    }
    Mixer::takes(node.info()).map_err(absurd)?;
    let (rate, frames) = order.blocks;
    let (mut connected_inputs, connected_outputs) = main_buses(node.info());
    for number in &order.side_chains {
        match side_bus(node.info(), *number) {
            Some(bus) => connected_inputs |= bit(bus),
            None => warnings.push(no_side_chain(node.info(), *number)),
        }
    }
    let activation = Activation {
        connected_inputs,
        connected_outputs,
        main_channels,
        batch_frames: frames,
        ..Activation::new(f64::from(rate), frames)
    };
    node.activate(activation)?;
    // Values are those of now, after the state; and its buses, too, may be others once it is active.
    node.refresh_info()?;
    Mixer::takes(node.info()).map_err(absurd)?;
    let kept = Kept { state: order.state.clone(), params };
    Ok(Loaded { node, activation, kept, warnings })
}

fn no_side_chain(info: &PluginInfo, number: u32) -> String {
    let there = (1..).take_while(|number| side_bus(info, *number).is_some()).count();
    let there = match there {
        0 => "it has none: leave 'side_chain' out".to_owned(),
        1 => "it has one: leave 'bus' out".to_owned(),
        several => format!("'bus' may be 1 to {several}"),
    };
    format!("it has no side chain {number}; {there}")
}

/// Parameters by their numbers.
fn numbers(
    info: &PluginInfo,
    params: &BTreeMap<String, f64>,
    warnings: &mut Vec<String>,
) -> Vec<(u32, f64)> {
    let mut all = Vec::new();
    for (word, value) in params {
        let by_number = || info.params.iter().find(|param| word.parse() == Ok(param.id));
        let by_name = || info.params.iter().find(|param| param.name.eq_ignore_ascii_case(word));
        match by_number().or_else(by_name) {
            Some(param) if param.read_only => {
                warnings.push(format!("its parameter '{word}' is only shown"));
            }
            Some(param) => all.push((param.id, super::live::limit(param, *value))),
            None => {
                let names = info.params.iter().map(|param| param.name.as_str());
                warnings.push(format!("it has no parameter '{word}'{}", nearest(word, names)));
            }
        }
    }
    all
}
