//! A session stepped by hand: no driver, no clock, the same each time.

use super::supervisor;
use sandrack_engine::event::Event;
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::{NodeOutcome, Record};
use sandrack_host::report::Isolation;
use sandrack_host::session::{Running, Session, SessionConfig};
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::Supervisor;
use std::collections::HashMap;
use std::time::Duration;

pub(crate) const RATE: u32 = 48_000;

/// Time enough for any block of a plugin that works.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

/// Loaded and connected plugins.
pub(crate) struct Offline {
    pub(crate) running: Running,
    pub(crate) session: Session,
    pub(crate) supervisor: Supervisor,
    outputs: usize,
    /// What came out so far.
    pub(crate) heard: Vec<Vec<f32>>,
    /// How each node fared in each block.
    pub(crate) outcomes: HashMap<NodeId, Vec<NodeOutcome>>,
    pub(crate) lost_events: u64,
}

impl Offline {
    /// Tracks with outputs of their own, two channels each.
    pub(crate) fn tracks(tracks: &[Vec<PluginRef>], isolation: Isolation, max_frames: u32) -> Self {
        Self::new(tracks, isolation, max_frames, true)
    }

    /// Tracks that are summed, unless `separate`.
    pub(crate) fn new(
        tracks: &[Vec<PluginRef>],
        isolation: Isolation,
        max_frames: u32,
        separate: bool,
    ) -> Self {
        let config = SessionConfig {
            tracks: tracks.to_vec(),
            isolation,
            separate,
            ..SessionConfig::default()
        };
        Self::of(supervisor(), config, max_frames, |_| {})
    }

    /// A session as it is described, prepared before it is connected.
    pub(crate) fn of(
        supervisor: Supervisor,
        config: SessionConfig,
        max_frames: u32,
        prepare: impl FnOnce(&mut Session),
    ) -> Self {
        let plugins = config.tracks.iter().map(Vec::len).max().unwrap_or(0);
        let outputs = if config.separate { 2 * config.tracks.len() } else { 2 };
        let mut session = Session::load(&supervisor, &config, &|| {}).expect("plugins load");
        prepare(&mut session);
        let running = session
            .connect(RATE, max_frames, plugins, (2, outputs as u32))
            .expect("plugins connect");
        Self {
            running,
            session,
            supervisor,
            outputs,
            heard: vec![Vec::new(); outputs],
            outcomes: HashMap::new(),
            lost_events: 0,
        }
    }

    pub(crate) fn node(&self, track: usize, plugin: usize) -> NodeId {
        self.running.nodes[track][plugin].0
    }

    pub(crate) fn send(&mut self, track: usize, plugin: usize, event: Event) {
        let node = self.node(track, plugin);
        self.running.controller.send_event(node, event).expect("room for an event");
    }

    /// Sets a parameter at the start of the next block.
    pub(crate) fn set(&mut self, track: usize, plugin: usize, param: u32, value: f64) {
        let node = self.node(track, plugin);
        self.running.controller.set_param(node, param, value).expect("room for an event");
    }

    /// One block.
    pub(crate) fn step(&mut self, input: &[Vec<f32>], timeout: Duration) {
        let frames = input[0].len();
        let inputs: Vec<&[f32]> = input.iter().map(Vec::as_slice).collect();
        let mut out = vec![vec![f32::NAN; frames]; self.outputs];
        let mut outputs: Vec<&mut [f32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
        self.running.callback.process_offline(&inputs, &mut outputs, timeout);
        for (heard, out) in self.heard.iter_mut().zip(out) {
            heard.extend(out);
        }
        while let Ok(record) = self.running.controller.timing().pop() {
            match record {
                Record::Node(node) => {
                    self.outcomes.entry(node.node).or_default().push(node.outcome);
                }
                Record::Block(block) => self.lost_events = block.lost_events,
            }
        }
    }

    pub(crate) fn last_outcome(&self, track: usize, plugin: usize) -> NodeOutcome {
        *self.outcomes[&self.node(track, plugin)].last().expect("it has run")
    }

    /// What a track put out so far.
    pub(crate) fn track(&self, track: usize) -> &[Vec<f32>] {
        &self.heard[2 * track..][..2]
    }

    /// That every plugin delivered in every block.
    #[track_caller]
    pub(crate) fn assert_all_well(&self) {
        for (node, outcomes) in &self.outcomes {
            let bad = outcomes.iter().position(|outcome| *outcome != NodeOutcome::Finished);
            if let Some(bad) = bad {
                panic!("node {node}, block {bad}: {:?}", outcomes[bad]);
            }
        }
        assert_eq!(self.lost_events, 0, "events were lost");
    }

    /// Lets go of the engine, and makes another: what sounds is forgotten.
    pub(crate) fn again(self, rate: u32, max_frames: u32) -> Self {
        let Self { running, mut session, supervisor, outputs, .. } = self;
        let plugins = running.nodes.iter().map(Vec::len).max().unwrap_or(0);
        drop(running);
        session.restart();
        let running = session
            .connect(rate, max_frames, plugins, (2, outputs as u32))
            .expect("plugins connect again");
        Self {
            running,
            session,
            supervisor,
            outputs,
            heard: vec![Vec::new(); outputs],
            outcomes: HashMap::new(),
            lost_events: 0,
        }
    }

    /// Ends it in good order. What was heard.
    pub(crate) fn quit(self) -> Vec<Vec<f32>> {
        let Self { running, session, heard, .. } = self;
        drop(running);
        session.quit();
        heard
    }

    /// The number of the process that a plugin is in.
    pub(crate) fn process_of(&self, plugin: usize) -> u32 {
        self.session.workers()[plugin].id()
    }
}
