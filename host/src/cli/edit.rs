//! `sandrack edit`: a plugin with its editor open, played by an audio driver.

use super::clean;
use super::{print, report_restrictions};
use crate::drivers::virtual_driver::VirtualDriver;
use crate::drivers::{Driver, DriverConfig};
use crate::error::Error;
use crate::report::Isolation;
use crate::session::{Running, Session, SessionConfig, realtime_setup};
use crate::wav::WavReader;
use sandrack_engine::Controller;
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_engine::timing::Record;
use sandrack_sandbox::format::editor::EditorOptions;
use sandrack_sandbox::format::{Notice, ParamEdit, PluginRef};
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Plugin file, or FILE#ID
    plugin: PluginRef,
    /// Audio driver
    #[arg(long, default_value = "virtual")]
    driver: String,
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
    /// Size of the editor, 1 being usual [default: as the desktop says]
    #[arg(long, value_name = "FACTOR")]
    scale: Option<f64>,
    /// Print what the plugin says and what is done in its editor
    #[arg(long, short)]
    verbose: bool,
}

/// How often is looked at what has happened.
const GLANCE: Duration = Duration::from_millis(30);

/// One plugin: the first of the first track.
const PLUGIN: (usize, usize) = (0, 0);

impl Arguments {
    fn check(&self) -> Result<(), Error> {
        let usage = |what: String| Err(Error::Usage(what));
        if self.driver != "virtual" {
            return usage(format!("--driver {}: there is 'virtual' (see: devices)", self.driver));
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
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        // In this order: the second time it ends at once, whatever hangs.
        signal_hook::flag::register_conditional_shutdown(signal, 1, Arc::clone(&interrupted))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&interrupted)))
            .map_err(|source| Error::File { path: "signals".into(), source })?;
    }
    let file = arguments.input.as_deref().map(WavReader::open).transpose()?.map(|wav| wav.info());
    let supervisor = Supervisor::new(options)?;
    let config = SessionConfig {
        tracks: vec![vec![arguments.plugin.clone()]],
        isolation: Isolation::Plugin,
        ..SessionConfig::default()
    };
    let mut session = Session::load(&supervisor, &config, &|| {})?;
    let info = session.info(PLUGIN.0, PLUGIN.1);
    let name = match clean(&info.descriptor.name) {
        name if name.is_empty() => arguments.plugin.to_string(),
        name => name,
    };
    let channels = |ports: &[sandrack_sandbox::format::AudioPort]| {
        ports.iter().map(|port| port.channels).find(|channels| *channels > 0).unwrap_or(0)
    };
    let driver_config = DriverConfig {
        rate: arguments.rate.or(file.map(|wav| wav.rate)).unwrap_or(48_000),
        frames: arguments.frames,
        inputs: channels(&info.inputs).max(file.map_or(0, |wav| wav.channels)),
        outputs: channels(&info.outputs).max(1),
    };
    let mut driver =
        VirtualDriver::new(driver_config.clone())?.with_thread_setup(realtime_setup(None));
    if let Some(path) = &arguments.input {
        driver = driver.with_input(path)?;
    }
    let mut player = Player { driver, config: driver_config, keys: &arguments.notes, missed: 0 };
    let mut controller = player.start(&mut session)?;
    report_restrictions(&supervisor);

    let title = format!("{name} - Sandrack");
    let opened = session.open_editor(PLUGIN, EditorOptions { scale: arguments.scale, title })?;
    let shape = match opened.size {
        Some(size) => format!("editor of {} x {}", size.width, size.height),
        None => "editor in a window of its own".to_owned(),
    };
    let DriverConfig { rate, frames, .. } = player.config;
    print(&format!(
        "{name}: {shape}; plays through driver {} at {rate} Hz in blocks of {frames}\n",
        player.driver.name()
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
        std::thread::sleep(GLANCE);
        player.count(&mut controller);
        let mut wants_restart = false;
        for (_, notice) in session.take_notices() {
            match &notice {
                Notice::EditorClosed => is_open = false,
                Notice::RestartRequested | Notice::LatencyChanged => wants_restart = true,
                _ => {}
            }
            if arguments.verbose {
                tell(&session, &notice)?;
            }
        }
        // Before anything is asked of it, which would fail for that very reason.
        if let Some((plugin, exit)) = session.gone_plugin() {
            return Err(Error::Plan { reason: format!("{plugin}: its worker {exit}") });
        }
        if wants_restart {
            controller = player.restart(&mut session)?;
        } else if !player.driver.running() {
            // Says why.
            player.driver.stop()?;
            break;
        }
    }
    player.stop(&mut controller)?;
    drop(controller);
    session.quit();
    Ok(())
}

/// Prints what a plugin says.
fn tell(session: &Session, notice: &Notice) -> Result<(), Error> {
    match notice {
        Notice::ParamEdited { param, edit: ParamEdit::Value(value) } => {
            let info = session.info(PLUGIN.0, PLUGIN.1);
            let known = info.params.iter().find(|known| known.id == *param);
            let name = known.map_or_else(|| format!("#{param}"), |known| clean(&known.name));
            let text = session.value_to_text(PLUGIN, *param, *value)?;
            let text = text.map_or_else(|| value.to_string(), |text| clean(&text));
            let unit = known.map(|known| clean(&known.unit)).unwrap_or_default();
            let unit = if text.ends_with(&unit) { String::new() } else { format!(" {unit}") };
            print(&format!("{name} = {text}{unit}\n"));
        }
        Notice::ParamEdited { .. } => {}
        Notice::Log(_, line) => print(&format!("plugin: {}\n", clean(line))),
        // It is in the log.
        Notice::Refused { .. } => {}
        Notice::LatencyChanged => print("its latency has changed\n"),
        Notice::ParamsChanged => print("its parameters have changed\n"),
        Notice::RestartRequested => print("it asks to be restarted\n"),
        Notice::ProcessRequested => {}
        Notice::StateDirty => {}
        Notice::EditorClosed => print("its editor was closed\n"),
    }
    Ok(())
}

/// The driver, and what it plays.
struct Player<'a> {
    driver: VirtualDriver,
    config: DriverConfig,
    keys: &'a [u8],
    /// Blocks in which the plugin did not deliver.
    missed: u64,
}

impl Player<'_> {
    fn start(&mut self, session: &mut Session) -> Result<Controller, Error> {
        let DriverConfig { rate, frames, inputs, outputs } = self.config;
        let Running { callback, mut controller, nodes, .. } =
            session.connect(rate, frames, 1, (inputs, outputs))?;
        for &key in self.keys {
            let note = NoteAddress { key: key.into(), channel: 0, port: 0, note_id: -1 };
            let kind = EventKind::NoteOn { note, velocity: 0.8 };
            let (node, _) = nodes[PLUGIN.0][PLUGIN.1];
            controller
                .send_event(node, Event { time: 0, kind })
                .map_err(|e| Error::Plan { reason: e.to_string() })?;
        }
        self.driver.start(Box::new(callback))?;
        Ok(controller)
    }

    /// Stops for a moment and begins anew, with the plugin activated anew.
    fn restart(&mut self, session: &mut Session) -> Result<Controller, Error> {
        drop(self.driver.stop()?);
        session.restart_at_connect();
        self.start(session)
    }

    fn count(&mut self, controller: &mut Controller) {
        while let Ok(record) = controller.timing().pop() {
            if let Record::Node(record) = record {
                self.missed += u64::from(!record.outcome.is_heard());
            }
        }
    }

    fn stop(&mut self, controller: &mut Controller) -> Result<(), Error> {
        if self.driver.running() {
            drop(self.driver.stop()?);
        }
        self.count(controller);
        let (blocks, missed) = (self.driver.blocks(), self.missed);
        if missed > 0 {
            print(&format!("{missed} of {blocks} blocks did not come in time\n"));
        }
        Ok(())
    }
}
