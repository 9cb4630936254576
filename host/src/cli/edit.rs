//! `sandrack edit`: a plugin with its editor open, played by an audio driver.

use super::driver::DriverArguments;
use super::midi_loop::MidiLoop;
use super::{clean, print, report_restrictions, signals};
use crate::catalog::find::named;
use crate::drivers::keeper::{Keeper, KeeperEvent, Played};
use crate::drivers::virtual_driver::VirtualDriver;
use crate::drivers::{Callback, Driver, DriverConfig, ThreadSetup};
use crate::error::Error;
use crate::report::Isolation;
use crate::session::{Live, Running, Session, SessionConfig, SessionEvent, realtime_setup};
use crate::wav::WavReader;
use sandrack_engine::Controller;
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_engine::graph::NodeId;
use sandrack_engine::timing::Record;
use sandrack_sandbox::format::editor::EditorOptions;
use sandrack_sandbox::format::{ParamEdit, PluginRef};
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use sandrack_sandbox::sys::idle::{awake_advice, keep_cores_awake};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Plugin file, FILE#ID, or the name of a scanned plugin
    plugin: PluginRef,
    /// Audio driver, as 'sandrack devices' names it
    #[arg(long, default_value = "virtual", value_name = "NAME")]
    driver: String,
    #[command(flatten)]
    driver_options: DriverArguments,
    /// Buffer size in frames
    #[arg(long, default_value_t = 256)]
    frames: u32,
    /// Frames per second [default: the input file's, or 48000]
    #[arg(long)]
    rate: Option<u32>,
    /// End after so many seconds [default: when the window is closed, or on Ctrl-C]
    #[arg(long)]
    seconds: Option<f64>,
    /// WAV file to play into the plugin; silence after its end
    #[arg(long, value_name = "FILE")]
    input: Option<PathBuf>,
    /// Notes to hold, by MIDI key: 60 is middle C
    #[arg(long, value_delimiter = ',', value_name = "KEY,…")]
    notes: Vec<u8>,
    /// MIDI file to play again and again
    #[arg(long, value_name = "FILE.mid")]
    midi: Option<PathBuf>,
    /// Size of the editor, 1 being usual [default: as the desktop says]
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f64>,
    /// Let idle cores sleep: spares electricity, makes waking them slower
    #[arg(long)]
    let_cores_sleep: bool,
    /// Print what the plugin says and what is done in its editor
    #[arg(long, short)]
    verbose: bool,
}

/// How often is looked at what has happened; and how often where a song plays, or a restart is under
/// way, which waits for the engine at each step.
const GLANCE: Duration = Duration::from_millis(30);
const SOON: Duration = Duration::from_millis(2);

/// One plugin: the first of the first track.
const PLUGIN: (usize, usize) = (0, 0);

impl Arguments {
    fn check(&self) -> Result<(), Error> {
        let usage = |what: String| Err(Error::Usage(what));
        if self.input.is_some() && self.driver != "virtual" {
            return usage(format!(
                "--input: of the drivers, 'virtual' alone plays a file, not '{}'",
                self.driver
            ));
        }
        if let Some(seconds) = self.seconds.filter(|s| !(0.0..=86_400.0).contains(s)) {
            return usage(format!("--seconds {seconds}: 0 to 86400"));
        }
        if let Some(scale) = self.scale.filter(|s| !(0.25..=8.0).contains(s)) {
            return usage(format!("--scale {scale}: 0.25 to 8"));
        }
        match self.notes.iter().find(|key| **key > 127) {
            Some(key) => usage(format!("--notes {key}: 0 to 127")),
            None => Ok(()),
        }
    }
}

pub(super) fn run(arguments: &Arguments, options: SupervisorOptions) -> Result<(), Error> {
    arguments.check()?;
    let interrupted = signals::flag()?;
    let plugin = named(&arguments.plugin)?;
    let file = arguments.input.as_deref().map(WavReader::open).transpose()?.map(|wav| wav.info());
    let wants_realtime = options.realtime;
    let supervisor = Supervisor::new(options)?;
    let config = SessionConfig {
        tracks: vec![vec![plugin.clone()]],
        isolation: Isolation::Plugin,
        ..SessionConfig::default()
    };
    let mut session = Session::load(&supervisor, &config, &|| {})?;
    let info = session.info(PLUGIN.0, PLUGIN.1);
    let name = match clean(&info.descriptor.name) {
        name if name.is_empty() => plugin.to_string(),
        name => name,
    };
    let channels = |ports: &[sandrack_sandbox::format::AudioPort]| {
        ports.iter().map(|port| port.channels).find(|channels| *channels > 0).unwrap_or(0)
    };
    let wanted = DriverConfig {
        rate: arguments.rate.or(file.map(|wav| wav.rate)).unwrap_or(48_000),
        frames: arguments.frames,
        inputs: channels(&info.inputs).max(file.map_or(0, |wav| wav.channels)),
        outputs: channels(&info.outputs).max(1),
    };
    let midi = arguments.midi.clone();
    if midi.is_some() && info.note_inputs.is_empty() {
        return Err(Error::Usage(format!("--midi: {plugin} takes no notes")));
    }
    let awake = (!arguments.let_cores_sleep).then(keep_cores_awake);
    let score = Score { midi, keys: arguments.notes.clone() };
    let mut player = Player::start(arguments, &wanted, score, &mut session)?;
    report_restrictions(&supervisor);
    if let Some(Err(_)) = &awake
        && wants_realtime
    {
        eprintln!("note: {}", awake_advice());
    }

    let title = format!("{name} - Sandrack");
    let opened = session.open_editor(PLUGIN, EditorOptions { scale: arguments.scale, title })?;
    let shape = match opened.size {
        Some(size) => format!("editor of {} x {}", size.width, size.height),
        None => "editor in a window of its own".to_owned(),
    };
    let DriverConfig { rate, frames, .. } = *player.keeper.config();
    print(&format!(
        "{name}: {shape}; plays through driver {} at {rate} Hz in blocks of {frames}\n",
        arguments.driver
    ));
    if arguments.seconds.is_none() {
        print("Close the window or press Ctrl-C to end.\n");
    }
    let end = arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
    let mut is_open = true;
    while is_open
        && !interrupted.load(Ordering::Relaxed)
        && end.is_none_or(|end| Instant::now() < end)
    {
        std::thread::sleep(if player.is_busy() { SOON } else { GLANCE });
        // Before anything is asked of it, which would fail for that very reason.
        still_there(&session)?;
        let said = player.service(&mut session)?;
        still_there(&session)?;
        is_open = !said.iter().any(|event| matches!(event, SessionEvent::EditorClosed(_)));
        tell_restarts(&name, &session, &said);
        if arguments.verbose {
            tell(&session, said)?;
        }
        if player.keeper.has_ended() {
            break;
        }
    }
    player.stop(&plugin)?;
    session.quit();
    Ok(())
}

fn still_there(session: &Session) -> Result<(), Error> {
    match session.gone_plugin() {
        Some((plugin, exit)) => Err(Error::Plan { reason: format!("{plugin}: its worker {exit}") }),
        None => Ok(()),
    }
}

/// Prints what came of a plugin's wish to be activated anew, in a line.
fn tell_restarts(name: &str, session: &Session, said: &[SessionEvent]) {
    let latency = session.latency(PLUGIN.0, PLUGIN.1);
    let is_other = said.iter().any(|event| matches!(event, SessionEvent::LatencyChanged { .. }));
    for event in said {
        match event {
            SessionEvent::Restarted(_) if is_other => {
                print(&format!("{name}: restarted; its latency is {latency} frames now\n"));
            }
            SessionEvent::Restarted(_) => print(&format!("{name}: restarted\n")),
            SessionEvent::RestartFailed(_, why) => {
                print(&format!("{name}: can't be restarted: {}\n", clean(why)));
            }
            _ => {}
        }
    }
}

/// Prints what else a plugin says. Of a parameter that moves: where it is now.
fn tell(session: &Session, said: Vec<SessionEvent>) -> Result<(), Error> {
    let mut moved = BTreeMap::new();
    for event in said {
        match event {
            SessionEvent::ParamEdited(_, param, ParamEdit::Value(value)) => {
                moved.insert(param, value);
            }
            SessionEvent::ParamsChanged(_) => print("its parameters have changed\n"),
            SessionEvent::EditorClosed(_) => print("its editor was closed\n"),
            SessionEvent::Logged(_, _, line) => print(&format!("plugin: {}\n", clean(&line))),
            _ => {}
        }
    }
    let params = &session.info(PLUGIN.0, PLUGIN.1).params;
    for (param, value) in moved {
        let known = params.iter().find(|known| known.id == param);
        // Meters move all the time.
        if known.is_some_and(|known| known.read_only) {
            continue;
        }
        let name = known.map_or_else(|| format!("#{param}"), |known| clean(&known.name));
        let text = session.value_to_text(PLUGIN, param, value)?;
        let text = text.map_or_else(|| value.to_string(), |text| clean(&text));
        let unit = known.map(|known| clean(&known.unit)).unwrap_or_default();
        let unit = if text.ends_with(&unit) { String::new() } else { format!(" {unit}") };
        print(&format!("{name} = {text}{unit}\n"));
    }
    Ok(())
}

/// The driver, and what it plays.
struct Player {
    keeper: Keeper,
    score: Score,
    rig: Option<Rig>,
}

/// What is played to the plugin.
struct Score {
    midi: Option<PathBuf>,
    /// Notes to hold.
    keys: Vec<u8>,
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
        let Running { callback, mut controller, nodes, live, .. } = match known {
            Some(rig) if (rig.config.inputs, rig.config.outputs) == (inputs, outputs) => {
                rig.live.reconfigure(self.session, rate, frames)?
            }
            _ => self.session.connect(rate, frames, 1, (inputs, outputs))?,
        };
        let node = nodes[PLUGIN.0][PLUGIN.1].0;
        for &key in &self.score.keys {
            let note = NoteAddress { key: key.into(), channel: 0, port: 0, note_id: -1 };
            let kind = EventKind::NoteOn { note, velocity: 0.8 };
            controller
                .send_event(node, Event { time: 0, kind })
                .map_err(|e| Error::Plan { reason: e.to_string() })?;
        }
        let song = self.score.midi.as_deref().map(|path| MidiLoop::read(path, rate)).transpose()?;
        let (config, begin) = (config.clone(), self.blocks);
        *self.rig = Some(Rig { config, controller, live, node, song, begin, missed });
        Ok(Box::new(callback))
    }
}

impl Player {
    fn start(
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
                    let driver = VirtualDriver::new(wanted.clone())?;
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

    fn is_busy(&self) -> bool {
        self.rig.as_ref().is_some_and(|rig| rig.song.is_some() || rig.live.is_busy())
    }

    /// Does what is due.
    fn service(&mut self, session: &mut Session) -> Result<Vec<SessionEvent>, Error> {
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

    fn stop(mut self, plugin: &PluginRef) -> Result<(), Error> {
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
        KeeperEvent::Resync => "driver: its position has jumped\n".to_owned(),
        KeeperEvent::Overload => "driver: overload\n".to_owned(),
        KeeperEvent::Ended => "driver: has ended\n".to_owned(),
    });
}
