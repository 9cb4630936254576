//! `sandrack edit`: a plugin with its editor open, played by an audio driver.

mod player;

use super::driver::DriverArguments;
use super::fault_options::{FaultOptions, write_faults};
use super::{clean, print, report_restrictions, signals};
use crate::catalog::find::named;
use crate::drivers::DriverConfig;
use crate::error::Error;
use crate::flight::details::FaultDetails;
use crate::render::OTHER_FILE;
use crate::report::Isolation;
use crate::session::{Session, SessionConfig, SessionEvent};
use crate::wav::WavReader;
use player::{Player, Score};
use sandrack_sandbox::format::editor::EditorOptions;
use sandrack_sandbox::format::{ParamEdit, PluginRef};
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use sandrack_sandbox::sys::idle::{awake_advice, keep_cores_awake};
use std::collections::BTreeMap;
use std::path::PathBuf;
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
    /// Buffer size in frames [default: as the driver is set, or 256]
    #[arg(long)]
    frames: Option<u32>,
    /// Frames per second [default: the input file's, or as the driver is set, or 48000]
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
    #[command(flatten)]
    faults: FaultOptions,
}

/// How often is looked at what has happened; and how often where a song plays, or a restart is under
/// way, which waits for the engine at each step.
const GLANCE: Duration = Duration::from_millis(30);
const SOON: Duration = Duration::from_millis(2);

/// Channels that a plugin is asked for where no file says how many there are.
const STEREO: u32 = 2;
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
    let recovery = arguments.faults.recovery()?;
    let mut writer = arguments.faults.writer()?;
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
    session.fit_all(file.map_or(STEREO, |wav| wav.channels))?;
    if let (Some(file), Some(path)) = (file, &arguments.input)
        && let Some(misfit) = session.misfit(PLUGIN.0, PLUGIN.1, file.channels)
    {
        let reason = format!("{plugin}: {misfit} of {}: {OTHER_FILE}", path.display());
        return Err(Error::Plan { reason });
    }
    let info = session.info(PLUGIN.0, PLUGIN.1);
    let name = match clean(&info.descriptor.name) {
        name if name.is_empty() => plugin.to_string(),
        name => name,
    };
    let channels = |ports: &[sandrack_sandbox::format::AudioPort]| {
        ports.iter().map(|port| port.channels).find(|channels| *channels > 0).unwrap_or(0)
    };
    let wanted = DriverConfig {
        rate: arguments.rate.or(file.map(|wav| wav.rate)).unwrap_or(0),
        frames: arguments.frames.unwrap_or(0),
        inputs: channels(&info.inputs).max(file.map_or(0, |wav| wav.channels)),
        outputs: channels(&info.outputs).max(1),
    };
    let midi = arguments.midi.clone();
    if midi.is_some() && info.note_inputs.is_empty() {
        return Err(Error::Usage(format!("--midi: {plugin} takes no notes")));
    }
    let awake = (!arguments.let_cores_sleep).then(keep_cores_awake);
    let score = Score { midi, keys: arguments.notes.clone(), recovery };
    let mut player = Player::start(arguments, &wanted, score, &mut session)?;
    report_restrictions(&supervisor);
    if let Some(Err(_)) = &awake
        && wants_realtime
    {
        eprintln!("note: {}", awake_advice());
    }

    let title = format!("{name} - Sandrack");
    let editor = EditorOptions { scale: arguments.scale, title, pictured: false };
    let opened = session.open_editor(PLUGIN, editor.clone())?;
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
    let (mut is_open, mut gave_up) = (true, None);
    while is_open
        && !interrupted.load(Ordering::Relaxed)
        && end.is_none_or(|end| Instant::now() < end)
    {
        std::thread::sleep(if player.is_busy() { SOON } else { GLANCE });
        let said = player.service(&mut session)?;
        player.faults().into_iter().for_each(|log| write_faults(&mut writer, log, false));
        is_open = !said.iter().any(|event| matches!(event, SessionEvent::EditorClosed(_)));
        tell_restarts(&name, &session, &said);
        tell_faults(&name, &player, &said);
        for event in &said {
            match event {
                SessionEvent::Recovered { .. } => {
                    player.hold_keys();
                    // If that fails as well, it is heard all the same.
                    if let Err(error) = session.open_editor(PLUGIN, editor.clone()) {
                        print(&format!("{name}: no editor: {}\n", clean(&error.to_string())));
                    }
                }
                // There is nothing else to be heard or seen.
                SessionEvent::Quarantined { reason, .. } => gave_up = Some(reason.clone()),
                _ => {}
            }
        }
        if gave_up.is_some() {
            break;
        }
        if arguments.verbose {
            tell(&session, said);
        }
        if player.keeper.has_ended() {
            break;
        }
    }
    let said = player.finish_faults();
    tell_faults(&name, &player, &said);
    player.faults().into_iter().for_each(|log| write_faults(&mut writer, log, true));
    player.stop(&plugin)?;
    session.quit();
    match gave_up {
        Some(reason) => Err(Error::Plan { reason: format!("{plugin}: {reason}") }),
        None => Ok(()),
    }
}

/// Prints what went wrong, and what became of it.
fn tell_faults(name: &str, player: &Player, said: &[SessionEvent]) {
    for event in said {
        match event {
            SessionEvent::Died { cause: why, .. } | SessionEvent::Killed { why, .. } => {
                print(&format!("{name}: {}\n", clean(why)));
            }
            SessionEvent::Recovered { ms, .. } => {
                print(&format!("{name}: plays again, after {ms:.0} ms\n"));
            }
            SessionEvent::CrashFile { path, .. } => {
                let of_file = |details: &&FaultDetails| details.file.as_ref() == Some(path);
                let records = player.faults().into_iter().flat_map(|log| log.iter().rev());
                let details = records.filter_map(|record| record.details.as_deref()).find(of_file);
                if let Some(place) = details.map(FaultDetails::place).filter(|p| !p.is_empty()) {
                    print(&format!("{name}: failed {}\n", clean(&place)));
                }
                print(&format!("to have it again: sandrack replay {}\n", path.display()));
            }
            _ => {}
        }
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
fn tell(session: &Session, said: Vec<SessionEvent>) {
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
        // It may have died since.
        let text = session.value_to_text(PLUGIN, param, value).unwrap_or_default();
        let text = text.map_or_else(|| value.to_string(), |text| clean(&text));
        let unit = known.map(|known| clean(&known.unit)).unwrap_or_default();
        let unit = if text.ends_with(&unit) { String::new() } else { format!(" {unit}") };
        print(&format!("{name} = {text}{unit}\n"));
    }
}
