//! What `edit` plays: the session, kept playing by a driver's keeper.

use super::super::midi_loop::MidiLoop;
use super::super::{clean, print};
use super::{Arguments, PLUGIN};
use crate::drivers::keeper::{Keeper, KeeperEvent, Played};
use crate::drivers::virtual_driver::VirtualDriver;
use crate::drivers::{Callback, Driver, DriverConfig, ThreadSetup};
use crate::error::Error;
use crate::faults::FaultLog;
use crate::session::{Live, RecoveryOptions, Running, Session, SessionEvent, realtime_setup};
use sandrack_engine::Controller;
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::Record;
use sandrack_sandbox::format::PluginRef;
use std::path::PathBuf;
use std::sync::Arc;

/// The driver, and what it plays.
pub(super) struct Player {
    pub(super) keeper: Keeper,
    score: Score,
    /// `None` only while it is being connected, and for good when that has failed.
    rig: Option<Rig>,
}

/// What is played to the plugin, and what is done when it fails.
pub(super) struct Score {
    pub(super) midi: Option<PathBuf>,
    /// Notes to hold.
    pub(super) keys: Vec<u8>,
    pub(super) recovery: RecoveryOptions,
}

/// The session as connected for a driver that runs like this.
struct Rig {
    config: DriverConfig,
    controller: Controller,
    live: Live,
    node: NodeId,
    song: Option<MidiLoop>,
    /// When it was connected, in blocks of the keeper.
    begin: u64,
    /// Blocks in which the plugin did not deliver.
    missed: u64,
}

/// For the keeper: how to connect the session.
struct Stage<'a> {
    session: &'a mut Session,
    score: &'a Score,
    rig: &'a mut Option<Rig>,
    blocks: u64,
}

impl Played for Stage<'_> {
    fn connect(
        &mut self,
        config: &DriverConfig,
        before: Option<Box<dyn Callback>>,
    ) -> Result<Box<dyn Callback>, Error> {
        let DriverConfig { rate, frames, inputs, outputs } = *config;
        let known = self.rig.take();
        let same = known.as_ref().is_some_and(|rig| rig.config == *config);
        if let Some(before) = before.filter(|_| same) {
            *self.rig = known;
            return Ok(before);
        }
        let missed = known.as_ref().map_or(0, |rig| rig.missed);
        let Running { callback, controller, nodes, mut live, .. } = match known {
            Some(mut rig) if (rig.config.inputs, rig.config.outputs) == (inputs, outputs) => {
                rig.live.reconfigure(self.session, rate, frames)?
            }
            _ => self.session.connect(rate, frames, 1, (inputs, outputs))?,
        };
        live.enable_recovery(self.session, self.score.recovery.clone());
        let node = nodes[PLUGIN.0][PLUGIN.1].0;
        let song = self.score.midi.as_deref().map(|path| MidiLoop::read(path, rate)).transpose()?;
        let (config, begin) = (config.clone(), self.blocks);
        let mut rig = Rig { config, controller, live, node, song, begin, missed };
        rig.hold(&self.score.keys);
        *self.rig = Some(rig);
        Ok(Box::new(callback))
    }
}

impl Player {
    pub(super) fn start(
        arguments: &Arguments,
        wanted: &DriverConfig,
        score: Score,
        session: &mut Session,
    ) -> Result<Self, Error> {
        let mut rig = None;
        let setup: ThreadSetup = Arc::new(realtime_setup(None));
        let stage = &mut Stage { session, score: &score, rig: &mut rig, blocks: 0 };
        let keeper = match arguments.input.clone() {
            Some(path) => {
                let open = move |wanted: &DriverConfig, _| {
                    let setup = Arc::clone(&setup);
                    let frames = if wanted.frames == 0 { 256 } else { wanted.frames };
                    let driver = VirtualDriver::new(DriverConfig { frames, ..wanted.clone() })?;
                    let driver = driver.with_thread_setup(move || setup()).with_input(&path)?;
                    Ok(Box::new(driver) as Box<dyn Driver>)
                };
                Keeper::with(open, wanted, stage)?
            }
            None => {
                let how = arguments.driver_options.options(setup)?;
                Keeper::start(&arguments.driver, wanted, &how, stage)?
            }
        };
        Ok(Self { keeper, score, rig })
    }

    pub(super) fn hold_keys(&mut self) {
        if let Some(rig) = &mut self.rig {
            rig.hold(&self.score.keys);
        }
    }

    pub(super) fn is_busy(&self) -> bool {
        self.rig.as_ref().is_some_and(|rig| rig.song.is_some() || rig.live.is_busy())
    }

    /// What went wrong since it was connected.
    pub(super) fn faults(&self) -> Option<&FaultLog> {
        self.rig.as_ref().map(|rig| rig.live.faults())
    }

    pub(super) fn finish_faults(&mut self) -> Vec<SessionEvent> {
        self.rig.as_mut().map(|rig| rig.live.finish_faults()).unwrap_or_default()
    }

    /// Does what is due.
    pub(super) fn service(&mut self, session: &mut Session) -> Result<Vec<SessionEvent>, Error> {
        let blocks = self.keeper.blocks();
        let stage = &mut Stage { session, score: &self.score, rig: &mut self.rig, blocks };
        for event in self.keeper.service(stage)? {
            tell_driver(&event);
        }
        let Some(rig) = &mut self.rig else { return Ok(Vec::new()) };
        rig.count();
        if let Some(song) = &mut rig.song {
            // The block that comes next.
            let end = (blocks + 1).saturating_sub(rig.begin) * u64::from(rig.config.frames);
            song.send(rig.node, &mut rig.controller, end);
        }
        rig.live.service(session, &mut rig.controller)
    }

    pub(super) fn stop(mut self, plugin: &PluginRef) -> Result<(), Error> {
        drop(self.keeper.stop()?);
        let blocks = self.keeper.blocks();
        let missed = self.rig.as_mut().map_or(0, |rig| {
            rig.count();
            rig.missed
        });
        if missed > 0 {
            print(&format!("{plugin}: {missed} of {blocks} blocks did not come in time\n"));
        }
        Ok(())
    }
}

impl Rig {
    fn hold(&mut self, keys: &[u8]) {
        for &key in keys {
            let note = NoteAddress { key: key.into(), channel: 0, port: 0, note_id: -1 };
            let kind = EventKind::NoteOn { note, velocity: 0.8 };
            if self.controller.send_event(self.node, Event { time: 0, kind }).is_err() {
                tracing::warn!(key, "the queue to the engine is full");
            }
        }
    }

    fn count(&mut self) {
        while let Ok(record) = self.controller.timing().pop() {
            if let Record::Node(record) = record {
                self.missed += u64::from(!record.outcome.is_heard());
            }
        }
    }
}

/// Prints what has become of the driver, in a line.
fn tell_driver(event: &KeeperEvent) {
    print(&match event {
        KeeperEvent::Interrupted(why) => format!("driver: {}; starting it anew\n", clean(why)),
        KeeperEvent::Resumed { config, after } => format!(
            "driver: plays again after {} ms, at {} Hz in blocks of {}\n",
            after.as_millis(),
            config.rate,
            config.frames
        ),
        KeeperEvent::Waiting(why) => format!("{}; trying again until it is there\n", clean(why)),
        KeeperEvent::Latency(input, output) => {
            format!("driver: its latency is {input} frames in, {output} out now\n")
        }
        KeeperEvent::Blocks(frames) => format!("driver: blocks of {frames} frames from now on\n"),
        KeeperEvent::Resync => "driver: its position has jumped\n".to_owned(),
        KeeperEvent::Overload => "driver: overload\n".to_owned(),
        KeeperEvent::Ended => "driver: has ended\n".to_owned(),
    });
}
