//! `sandrack play`: a rig without a window.

mod lines;
mod screen;

use super::fault_options::FaultOptions;
use super::signals;
use crate::error::Error;
use crate::play::{PlayOptions, Player, Source, View};
use crate::rig::demo::demo;
use console::Term;
use lines::Lines;
use sandrack_sandbox::supervisor::SupervisorOptions;
use sandrack_sandbox::sys::idle::keep_cores_awake;
use screen::Screen;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Rig file [default: a synthesizer to try things with]
    rig: Option<PathBuf>,
    /// Another audio driver than the rig's, as 'sandrack devices' names it
    #[arg(long, value_name = "NAME")]
    driver: Option<String>,
    /// Another buffer size than the rig's, in frames
    #[arg(long)]
    frames: Option<u32>,
    /// Another rate than the rig's, in Hz
    #[arg(long)]
    rate: Option<u32>,
    /// End after so many seconds [default: on Ctrl-C]
    #[arg(long)]
    seconds: Option<f64>,
    /// WAV file to record the outputs to (driver 'virtual' only)
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Don't save changes to the rig file
    #[arg(long)]
    no_save: bool,
    /// Print events as JSON, one on a line
    #[arg(long)]
    json: bool,
    /// Let idle cores sleep: spares electricity, makes waking them slower
    #[arg(long)]
    let_cores_sleep: bool,
    #[command(flatten)]
    faults: FaultOptions,
}

/// How often is looked at what has happened.
const GLANCE: Duration = Duration::from_millis(40);

pub(super) fn run(arguments: &Arguments, supervisor: SupervisorOptions) -> Result<(), Error> {
    if let Some(seconds) = arguments.seconds.filter(|s| !(0.0..=1e9).contains(s)) {
        return Err(Error::Usage(format!("--seconds {seconds}: 0 to 1000000000")));
    }
    let source = match &arguments.rig {
        Some(path) => Source::File(path.clone()),
        None => Source::Rig(demo()?),
    };
    let interrupted = signals::flag()?;
    let options = PlayOptions {
        driver: arguments.driver.clone(),
        frames: arguments.frames,
        rate: arguments.rate,
        record: arguments.output.clone(),
        recovery: arguments.faults.recovery()?,
        fault_log: arguments.faults.fault_log(),
        autosave: !arguments.no_save,
        supervisor,
        ..PlayOptions::new()?
    };
    // Held as long as it plays. That it is not permitted is no reason not to play.
    let _awake = (!arguments.let_cores_sleep).then(keep_cores_awake);
    let player = Player::open_at_once(source, options)?;
    let mut shown: Box<dyn Shown> = match Term::stdout().is_term() && !arguments.json {
        true => Box::new(Screen::new()),
        false => Box::new(Lines::new(arguments.json)),
    };
    let end = arguments.seconds.map(|seconds| Instant::now() + Duration::from_secs_f64(seconds));
    let (mut failed, mut has_played) = (None, false);
    while !interrupted.load(Ordering::Relaxed) && end.is_none_or(|end| Instant::now() < end) {
        let view = player.view();
        shown.show(&view);
        // A driver that was never there is a mistake; one that is gone may come back.
        has_played |= view.driver.is_running;
        if !has_played && !view.driver.is_running && !view.driver.error.is_empty() {
            failed = Some(Error::Usage(view.driver.error.clone()));
            break;
        }
        std::thread::sleep(GLANCE);
    }
    let view = player.view();
    let closed = player.close();
    shown.end(&view);
    match failed {
        Some(error) => Err(error),
        None => closed,
    }
}

/// What shows how it goes.
trait Shown {
    /// The newest picture.
    fn show(&mut self, view: &View);
    /// The last one.
    fn end(&mut self, view: &View);
}
