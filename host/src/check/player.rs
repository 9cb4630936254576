//! One plugin in a session, fed with the same noise and notes each time.

use crate::error::Error;
use crate::report::Isolation;
use crate::session::{Running, Session, SessionConfig};
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_engine::timing::{NodeOutcome, Record};
use sandrack_sandbox::confine::Enforced;
use sandrack_sandbox::format::{PluginInfo, PluginRef};
use sandrack_sandbox::supervisor::{Node, Supervisor};
use std::time::Duration;

/// Most channels each way.
const CHANNELS: u32 = 2;

/// A plugin that can be played.
pub(super) struct Player {
    // Before the session: an engine must be gone before another is made.
    running: Option<Running>,
    session: Session,
    timeout: Duration,
    noise: u64,
    /// Run times of its blocks, ns.
    pub(super) runs: Vec<u64>,
    /// Blocks in which it put out NaN or infinities.
    pub(super) not_finite: u64,
}

/// What came out.
#[derive(Default)]
pub(super) struct Heard {
    /// Each channel.
    pub(super) channels: Vec<Vec<f32>>,
}

impl Heard {
    pub(super) fn peak(&self) -> f32 {
        self.channels.iter().flatten().fold(0.0, |peak, sample| peak.max(sample.abs()))
    }

    pub(super) fn same_bits(&self, other: &Self) -> bool {
        let bits = |heard: &Self| -> Vec<u32> {
            heard.channels.iter().flatten().map(|sample| sample.to_bits()).collect()
        };
        bits(self) == bits(other)
    }
}

impl Player {
    pub(super) fn load(
        plugin: &PluginRef,
        supervisor: &Supervisor,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let config = SessionConfig {
            tracks: vec![vec![plugin.clone()]],
            isolation: Isolation::Plugin,
            ..SessionConfig::default()
        };
        let mut session = Session::load(supervisor, &config, &|| {})?;
        session.fit_all(CHANNELS)?;
        Ok(Self { running: None, session, timeout, noise: 1, runs: Vec::new(), not_finite: 0 })
    }

    pub(super) fn info(&self) -> &PluginInfo {
        self.session.info(0, 0)
    }

    /// What confines it.
    pub(super) fn enforced(&self) -> Option<Enforced> {
        self.node()?.worker().enforced()
    }

    pub(super) fn node(&self) -> Option<&Node> {
        self.session.node(0, 0)
    }

    /// What it has now.
    pub(super) fn refresh(&mut self) -> Result<&PluginInfo, String> {
        self.session.refresh_info(0, 0).map_err(|e| e.to_string())
    }

    /// Activates it. Returns its latency in frames.
    pub(super) fn connect(&mut self, rate: u32, max_frames: u32) -> Result<u32, Error> {
        self.running = None;
        let running = self.session.connect(rate, max_frames, 1, (CHANNELS, CHANNELS))?;
        let latency = running.latency;
        self.running = Some(running);
        self.noise = 1;
        Ok(latency)
    }

    /// Lets go of the audio side.
    pub(super) fn disconnect(&mut self) {
        self.running = None;
    }

    pub(super) fn send(&mut self, time: u32, kind: EventKind) {
        if let Some(running) = &mut self.running {
            let node = running.nodes[0][0].0;
            // A full queue loses an event of a test that sends hundreds: no harm.
            let _ = running.controller.send_event(node, Event { time, kind });
        }
    }

    pub(super) fn set(&mut self, param: u32, value: f64) {
        self.send(0, EventKind::ParamValue { param, note: NoteAddress::ALL, value });
    }

    /// Notes of a chord: on, or off.
    pub(super) fn chord(&mut self, on: bool) {
        for (id, key) in [48_i16, 60, 64, 67].into_iter().enumerate() {
            let note = NoteAddress { note_id: id as i32, port: 0, channel: 0, key };
            self.send(
                id as u32,
                match on {
                    true => EventKind::NoteOn { note, velocity: 0.8 },
                    false => EventKind::NoteOff { note, velocity: 0.5 },
                },
            );
        }
    }

    /// Plays blocks of these sizes; with noise as input, or silence.
    pub(super) fn play(&mut self, sizes: &[u32], with_noise: bool) -> Result<Heard, String> {
        let Some(running) = &mut self.running else { return Err("it is not active".into()) };
        let mut heard = Heard { channels: vec![Vec::new(); CHANNELS as usize] };
        for (number, &frames) in sizes.iter().enumerate() {
            let mut unit = || {
                // Knuth's MMIX constants; the upper bits are the good ones.
                self.noise = self
                    .noise
                    .wrapping_mul(6_364_136_223_846_793_005)
                    .wrapping_add(1_442_695_040_888_963_407);
                (self.noise >> 40) as f32 / (1_u64 << 24) as f32 - 0.5
            };
            let level = if with_noise { 0.5 } else { 0.0 };
            let input: Vec<Vec<f32>> =
                (0..CHANNELS).map(|_| (0..frames).map(|_| unit() * level).collect()).collect();
            let inputs: Vec<&[f32]> = input.iter().map(Vec::as_slice).collect();
            let mut out = vec![vec![0.0; frames as usize]; CHANNELS as usize];
            let mut outputs: Vec<&mut [f32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
            running.callback.process_offline(&inputs, &mut outputs, self.timeout);
            for (heard, out) in heard.channels.iter_mut().zip(out) {
                heard.extend(out);
            }
            while let Ok(record) = running.controller.timing().pop() {
                let Record::Node(node) = record else { continue };
                match node.outcome {
                    NodeOutcome::Finished => {}
                    NodeOutcome::NotFinite => self.not_finite += 1,
                    other => {
                        let how = match self.session.gone_plugin() {
                            Some((_, exit)) => format!("its worker {exit}"),
                            None if other == NodeOutcome::Failed => {
                                "process() reported an error".into()
                            }
                            None => "process() did not return in time".into(),
                        };
                        return Err(format!("block {number} of {frames} frames: {how}"));
                    }
                }
                self.runs.push(node.end.saturating_sub(node.start));
            }
            self.session.log_notices();
        }
        Ok(heard)
    }

    pub(super) fn quit(mut self) {
        self.disconnect();
        self.session.quit();
    }
}
