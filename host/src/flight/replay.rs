//! Runs a recording again: the same plugin in a fresh worker, given the same, block by block.
//!
//! There is no engine and no clock: a block follows when the one before has ended.

use super::details::FaultDetails;
use super::file::{Failure, Flight};
use super::reporter::tell_caught;
use super::symbols::Symbols;
use crate::error::Error;
use sandrack_sandbox::crash::Call;
use sandrack_sandbox::error::Error as SandboxError;
use sandrack_sandbox::event::insert_sorted;
use sandrack_sandbox::format::{PluginRef, StateContext};
use sandrack_sandbox::remote::{NodeWiring, Outcome, RemoteSet, SourceWiring, State};
use sandrack_sandbox::shm::recording::RecordedBlock;
use sandrack_sandbox::supervisor::{Node, Supervisor, Worker};
use sandrack_sandbox::sys::clock::now_ns;
use sandrack_sandbox::sys::process::Exit;
use serde::Serialize;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How a recording is run.
#[derive(Clone, Debug)]
pub struct ReplayOptions {
    /// The plugin to load instead of the recorded one: another build of it.
    pub plugin: Option<PluginRef>,
    /// A plugin that takes longer than this for a block hangs.
    pub limit: Duration,
    /// Whether what the plugin puts out is kept.
    pub keep_output: bool,
    /// Whether backtraces are made.
    pub backtrace: bool,
}

impl Default for ReplayOptions {
    /// The recorded plugin, five seconds a block, with backtraces.
    fn default() -> Self {
        Self { plugin: None, limit: Duration::from_secs(5), keep_output: false, backtrace: true }
    }
}

/// What came of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Replayed {
    /// What the plugin did wrong; `None`: it came to the recording's end.
    pub failure: Option<Failure>,
    /// In which of the recording's blocks, from 0; `None`: before or after all of them.
    pub at: Option<usize>,
    /// The number that this block had when it was recorded.
    pub block: Option<u64>,
    /// What is known beyond that.
    pub details: FaultDetails,
    /// What the plugin put out, by channels of all its buses, if it was to be kept.
    #[serde(skip)]
    pub output: Vec<Vec<f32>>,
    /// Events that could not be given again, because there were too many in their block.
    pub lost_events: usize,
}

/// Called before each block with the worker's process number and the block's place; may take as long
/// as it likes.
pub type BeforeBlock<'a> = &'a mut dyn FnMut(u32, usize);

/// What a run can't go beyond.
enum Stop {
    Failed(Failure, Call),
    Error(Error),
}

impl From<SandboxError> for Stop {
    fn from(error: SandboxError) -> Self {
        match error {
            SandboxError::Died { exit, .. } => Self::Failed(Failure::died(exit), Call::None),
            SandboxError::Timeout { .. } | SandboxError::Hung { .. } => {
                Self::Failed(Failure::Hung, Call::None)
            }
            SandboxError::Excess { .. } => Self::Failed(Failure::Excess, Call::None),
            SandboxError::Protocol { .. } => Self::Failed(Failure::Protocol, Call::None),
            error => Self::Error(error.into()),
        }
    }
}

/// Runs a recording. `before_block`: see there.
///
/// # Errors
/// The plugin can't be loaded, or is not the one that was recorded.
pub fn replay(
    supervisor: &Supervisor,
    flight: &Flight,
    options: &ReplayOptions,
    before_block: BeforeBlock<'_>,
) -> Result<Replayed, Error> {
    let plugin = options.plugin.clone().unwrap_or_else(|| flight.head.plugin.clone());
    let worker = supervisor.start_worker(&plugin.to_string(), None)?;
    let mut replayed = Replayed {
        failure: None,
        at: None,
        block: None,
        details: FaultDetails::default(),
        output: Vec::new(),
        lost_events: 0,
    };
    let run = Run { supervisor, flight, options, worker: &worker };
    let stop = match run.run(&plugin, &mut replayed, before_block) {
        Ok(()) => {
            worker.quit();
            return Ok(replayed);
        }
        Err(stop) => stop,
    };
    let (failure, call) = match stop {
        Stop::Failed(failure, call) => (failure, call),
        Stop::Error(error) => return Err(error),
    };
    if failure == Failure::Hung {
        worker.ask_where(Duration::from_secs(2));
    }
    worker.end_now();
    worker.kill();
    let doing = worker.doing();
    let known = [doing.audio.1, doing.main.1].into_iter().find(|call| *call != Call::None);
    replayed.failure = Some(failure);
    replayed.details.call = Some(call).filter(|call| *call != Call::None).or(known);
    if let Some(caught) = doing.caught.filter(|_| options.backtrace) {
        tell_caught(&mut replayed.details, failure, &caught, &mut Symbols::default());
    }
    Ok(replayed)
}

struct Run<'a> {
    supervisor: &'a Supervisor,
    flight: &'a Flight,
    options: &'a ReplayOptions,
    worker: &'a Arc<Worker>,
}

impl Run<'_> {
    fn run(
        &self,
        plugin: &PluginRef,
        replayed: &mut Replayed,
        before_block: BeforeBlock<'_>,
    ) -> Result<(), Stop> {
        let mut node = self.load(plugin)?;
        node.activate(self.flight.head.activation)?;
        self.check_inputs(&node)?;
        let outputs: Vec<u32> = node.info().outputs.iter().map(|port| port.channels).collect();
        replayed.output = vec![Vec::new(); outputs.iter().sum::<u32>() as usize];
        let mut set = self.connect(&node)?;
        let sources: Vec<(usize, u32)> =
            used(&self.flight.head.inputs).map(|(_, channels)| channels).enumerate().collect();
        for (at, block) in self.flight.blocks.iter().enumerate() {
            before_block(self.worker.id(), at);
            (replayed.at, replayed.block) = (Some(at), Some(block.head.block));
            // Who waits for a debugger waits as long as it takes.
            let outcome = self.block(&mut set, block, &sources, replayed);
            match outcome {
                Outcome::Finished | Outcome::Failed => {}
                _ if self.worker.is_gone() => {
                    let exit = self.worker.kill();
                    return Err(Stop::Failed(self.failure_of(exit), Call::Process));
                }
                _ => return Err(Stop::Failed(Failure::Hung, Call::Process)),
            }
            // Nobody hears what they say; that they can be taken is looked at.
            self.worker.take_notices();
            if self.worker.broken().is_some() {
                return Err(Stop::Failed(Failure::Protocol, Call::Process));
            }
            let is_finite = self.output(&set, &outputs, block.head.frames, replayed);
            if !is_finite && self.flight.head.failure == Failure::NotFinite {
                replayed.failure = Some(Failure::NotFinite);
                replayed.details.call = Some(Call::Process);
                return Ok(());
            }
        }
        if self.flight.head.failure == Failure::Excess {
            self.wait_for_excess()?;
        }
        (replayed.at, replayed.block) = (None, None);
        self.last_call(node)
    }

    fn failure_of(&self, exit: Exit) -> Failure {
        match (self.worker.excess(), self.worker.broken()) {
            (Some(_), _) => Failure::Excess,
            (None, Some(_)) => Failure::Protocol,
            (None, None) => Failure::died(exit),
        }
    }

    /// What uses up something often does so on a thread of its own, and takes as long as it took.
    fn wait_for_excess(&self) -> Result<(), Stop> {
        const LONGEST: Duration = Duration::from_secs(10);
        let give_up = Instant::now() + LONGEST;
        while Instant::now() < give_up {
            if self.worker.is_gone() {
                let exit = self.worker.kill();
                return Err(Stop::Failed(self.failure_of(exit), Call::Process));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }

    fn load(&self, plugin: &PluginRef) -> Result<Node, Stop> {
        let head = &self.flight.head;
        let node = self.worker.load(plugin)?;
        let id = &node.info().descriptor.id;
        if *id != head.id {
            let reason = format!("{plugin} is '{id}'; '{}' was recorded", head.id);
            return Err(Stop::Error(Error::Usage(reason)));
        }
        if let Some(state) = &self.flight.state {
            forgive(node.load_state(state.clone(), StateContext::Project))?;
        }
        if !head.params.is_empty() {
            forgive(node.set_params(&head.params))?;
        }
        Ok(node)
    }

    /// That it takes what was recorded.
    fn check_inputs(&self, node: &Node) -> Result<(), Stop> {
        let inputs: Vec<u32> = node.info().inputs.iter().map(|port| port.channels).collect();
        let recorded = &self.flight.head.inputs;
        if inputs == *recorded {
            return Ok(());
        }
        let reason = format!(
            "{}: has inputs of {inputs:?} channels; recorded were {recorded:?}",
            node.plugin()
        );
        Err(Stop::Error(Error::Usage(reason)))
    }

    fn connect(&self, node: &Node) -> Result<RemoteSet, Stop> {
        let source = |(bus, channels)| SourceWiring { bus: bus as u32, channels, direct: None };
        let wiring = NodeWiring {
            node,
            sources: used(&self.flight.head.inputs).map(source).collect(),
            event_sources: vec![],
            predecessors: vec![],
        };
        let activation = &self.flight.head.activation;
        let longest = activation.max_frames.max(activation.batch_frames);
        Ok(RemoteSet::connect(self.supervisor, &[wiring], longest)?)
    }

    /// One block.
    fn block(
        &self,
        set: &mut RemoteSet,
        block: &RecordedBlock,
        sources: &[(usize, u32)],
        replayed: &mut Replayed,
    ) -> Outcome {
        if set.state(0) == State::Gone {
            return Outcome::NotStarted;
        }
        set.prepare(0, 0, true);
        let mut events = Vec::with_capacity(block.events.len());
        for event in &block.events {
            insert_sorted(&mut events, *event);
        }
        replayed.lost_events += events.iter().filter(|event| !set.push_event(0, event)).count();
        let head = &block.head;
        set.begin(head.block, head.frames, head.steady_time, &head.transport);
        let mut channels = block.audio.chunks_exact(head.frames as usize);
        for &(source, count) in sources {
            for channel in 0..count {
                let recorded = channels.next().unwrap_or_default();
                let into = set.input(0, source, channel);
                match into.len() == recorded.len() {
                    true => into.copy_from_slice(recorded),
                    false => into.fill(0.0),
                }
            }
        }
        set.ring(0);
        let limit = u64::try_from(self.options.limit.as_nanos()).unwrap_or(u64::MAX);
        set.wait(std::iter::once(0), now_ns().saturating_add(limit));
        let outcome = set.outcome(0);
        set.end();
        outcome
    }

    /// Whether all that it put out are numbers.
    fn output(&self, set: &RemoteSet, buses: &[u32], frames: u32, replayed: &mut Replayed) -> bool {
        let mut samples = vec![0.0; frames as usize];
        let all = buses.iter().enumerate();
        let all = all.flat_map(|(bus, &count)| (0..count).map(move |channel| (bus, channel)));
        let mut is_finite = true;
        for ((bus, channel), kept) in all.zip(&mut replayed.output) {
            is_finite &= set.output(0, bus, channel, &mut samples);
            if self.options.keep_output {
                kept.extend_from_slice(&samples);
            }
        }
        is_finite
    }

    /// What the plugin did not come back from may not be a block.
    fn last_call(&self, mut node: Node) -> Result<(), Stop> {
        let stop = |error, call| match Stop::from(error) {
            Stop::Failed(failure, _) => Err(Stop::Failed(failure, call)),
            other => Err(other),
        };
        let call = self.flight.head.details.call.unwrap_or_default();
        let result = match call {
            Call::SaveState => node.save_state(StateContext::Project).map(drop),
            Call::Describe => node.refresh_info().map(drop),
            Call::Stop | Call::Deactivate => node.deactivate(),
            Call::Start | Call::Activate => node.activate(self.flight.head.activation).map(drop),
            Call::Idle => self.worker.sync(),
            _ => Ok(()),
        };
        match result {
            Ok(()) | Err(SandboxError::Plugin(_)) => Ok(()),
            Err(error) => stop(error, call),
        }
    }
}

/// Input buses that have channels.
fn used(inputs: &[u32]) -> impl Iterator<Item = (usize, u32)> {
    inputs.iter().copied().enumerate().filter(|(_, channels)| *channels > 0)
}

/// Better a plugin as it is when it is new than none: the recovery did so, too.
fn forgive(result: Result<(), SandboxError>) -> Result<(), Stop> {
    match result {
        Err(SandboxError::Plugin(error)) => {
            tracing::warn!(%error, "it does not take its recorded state");
            Ok(())
        }
        result => Ok(result?),
    }
}

impl Replayed {
    /// Whether this is the failure that was recorded: the same signal or exit code, hanging again,
    /// NaN again.
    pub fn reproduces(&self, flight: &Flight) -> bool {
        self.failure == Some(flight.head.failure)
    }
}
