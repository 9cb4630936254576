//! `sandrack torture`

use super::print;
use crate::error::Error;
use crate::plugins::hostile_libraries;
use crate::torture::{Progress, TortureOptions, TortureReport, torture};
use indicatif::{ProgressBar, ProgressStyle};
use sandrack_sandbox::confine::Level;
use sandrack_sandbox::supervisor::SupervisorOptions;
use sandrack_sandbox::sys::idle::keep_cores_awake;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Faults to inject: 1000 take about two minutes
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..))]
    faults: u64,
    /// What chooses them: the same seed, the same faults (though not the same times)
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Frames per callback
    #[arg(long, default_value_t = 128, value_parser = clap::value_parser!(u32).range(16..=8192))]
    frames: u32,
    /// Kinds of faults, by name [default: all]
    #[arg(long, value_delimiter = ',', value_name = "KIND,…")]
    kinds: Vec<String>,
    /// Attacked plugins, each in a chain of its own
    #[arg(long, default_value_t = 6)]
    attacked: usize,
    /// Don't judge what depends on the machine having nothing else to do: deadlines, recovery times
    #[arg(long)]
    no_times: bool,
    /// Where to write the figures
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

struct Bar(ProgressBar);

impl Progress for Bar {
    fn faults(&self, done: u64) {
        self.0.set_position(done);
    }
}

pub(super) fn run(arguments: Arguments, mut supervisor: SupervisorOptions) -> Result<(), Error> {
    let bar = Bar(ProgressBar::new(arguments.faults));
    bar.0.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len} faults  {msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let hostile = hostile_libraries(&|what| bar.0.set_message(what.to_owned()))?;
    bar.0.set_message("");
    if supervisor.confinement.level == Level::Off && !confinement_was_named() {
        supervisor.confinement.level = Level::Standard;
    }
    let options = TortureOptions {
        faults: arguments.faults,
        seed: arguments.seed,
        frames: arguments.frames,
        kinds: arguments.kinds,
        attacked: arguments.attacked,
        judge_times: !arguments.no_times,
        hostile,
    };
    let awake = keep_cores_awake();
    let report = torture(&options, supervisor, &bar);
    drop(awake);
    bar.0.finish_and_clear();
    let report = report?;
    print(&report.to_string());
    if let Some(path) = &arguments.json {
        crate::report::write_whole(path, &to_json(&report))?;
    }
    match report.broken.len() {
        0 => Ok(()),
        1 => Err(Error::Usage("a promise was broken".into())),
        count => Err(Error::Usage(format!("{count} promises were broken"))),
    }
}

fn confinement_was_named() -> bool {
    std::env::args_os().any(|a| a.to_string_lossy().starts_with("--confinement"))
}

fn to_json(report: &TortureReport) -> String {
    // Nothing in a report can fail to serialise: no maps, no foreign types.
    let mut text = serde_json::to_string_pretty(report).unwrap_or_default();
    text.push('\n');
    text
}
