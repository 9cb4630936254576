//! The command line of `sandrack`.

mod bench;
mod calibrate;
mod check;
mod devices;
mod driver;
mod edit;
mod fault_options;
mod info;
mod limits;
mod list;
mod midi_loop;
mod play;
mod render;
mod replay;
mod scan;
mod signals;
mod torture;

use crate::error::Error;
use clap::{Parser, Subcommand};
use sandrack_sandbox::confine::{Confinement, Level, Reach};
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use sandrack_sandbox::sys::thread::realtime_advice;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

#[derive(Parser)]
#[command(
    name = "sandrack",
    version,
    about = "Plays audio plugins, each in a process of its own, inside the audio driver's callback",
    after_help = "A plugin is named by its file, or FILE#ID where the file holds several; after \
                  'sandrack scan' also by its name or id.",
    arg_required_else_help = true,
    disable_help_subcommand = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
    /// How long a plugin may take for one request, in seconds [default: 10; scan: 15]
    #[arg(long, global = true, value_name = "SECONDS")]
    timeout: Option<f64>,
    /// Don't ask the system for realtime priority
    #[arg(long, global = true)]
    no_realtime: bool,
    /// Show what workers and plugins write to standard error
    #[arg(long, global = true)]
    show_worker_errors: bool,
    /// What plugins may do to the rest of the system: off, standard or strict
    #[arg(long, global = true, value_name = "LEVEL", default_value_t)]
    confinement: Level,
    /// What becomes of plugins where the system can't enforce their confinement: refuse or allow
    #[arg(long, global = true, value_name = "WHAT", default_value = "refuse",
          value_parser = ["refuse", "allow"])]
    confinement_missing: String,
    #[command(flatten)]
    limits: limits::Arguments,
    /// Let plugins read a file or folder; PATH:rw to change it too
    #[arg(long, global = true, value_name = "PATH")]
    grant_files: Vec<String>,
    /// Let plugins use the network
    #[arg(long, global = true)]
    grant_network: bool,
}

/// What plugins may do.
fn confinement(cli: &Cli) -> Result<Confinement, Error> {
    let grant = |text: &String| {
        let (path, reach) = match text.strip_suffix(":rw") {
            Some(path) => (path, Reach::Write),
            None => (text.as_str(), Reach::Read),
        };
        let path = std::path::absolute(PathBuf::from(path))
            .map_err(|e| Error::Usage(format!("--grant-files {text}: {e}")))?;
        match path.exists() {
            true => Ok((path, reach)),
            false => Err(Error::Usage(format!("--grant-files {text}: no such file or folder"))),
        }
    };
    Ok(Confinement {
        files: cli.grant_files.iter().map(grant).collect::<Result<_, _>>()?,
        network: cli.grant_network,
        limits: cli.limits.limits(),
        require: cli.confinement_missing == "refuse",
        ..Confinement::of(cli.confinement)
    })
}

// In the order of use: help begins with the three that are used most.
#[derive(Subcommand)]
enum Command {
    /// Measure how many plugins this machine runs at which buffer size
    Bench(bench::Arguments),
    /// Show what is in a plugin file: ids, buses, notes, parameters, latency
    Info(info::Arguments),
    /// Run a WAV file through a chain of plugins, faster than realtime
    Render(render::Arguments),
    /// Put plugins through their paces: audio, parameters, state, …
    Check(check::Arguments),
    /// Play a rig
    Play(play::Arguments),
    /// Play a plugin with its editor open
    Edit(edit::Arguments),
    /// Run a recording of a plugin that crashed, hung or put out NaN again
    Replay(replay::Arguments),
    /// Find the plugins of this machine and what is in them
    Scan(scan::Arguments),
    /// List scanned plugins: all, or those that match all words
    List(list::Arguments),
    /// Show audio drivers and what they offer
    Devices(devices::Arguments),
    /// Measure what waking a process costs here, and where that puts the plugins
    Calibrate(calibrate::Arguments),
    /// Attack plugins beside healthy ones, thousands of times, and prove that these don't notice
    Torture(torture::Arguments),
}

/// Runs the program.
pub fn main() -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("SANDRACK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let cli = Cli::parse();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            // Plugins' texts may hold anything; an error stays on its line.
            let text = one_line(error.to_string().chars());
            let _ = writeln!(std::io::stderr(), "sandrack: {text}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> Result<ExitCode, Error> {
    let timeout = cli.timeout.unwrap_or(match cli.command {
        Command::Scan(_) => 15.0,
        _ => 10.0,
    });
    if !(timeout > 0.0 && timeout < 86_400.0) {
        return Err(Error::Usage(format!("--timeout {timeout}: more than 0, less than a day")));
    }
    let mut options = SupervisorOptions::new()?;
    options.realtime = !cli.no_realtime;
    options.timeout = Duration::from_secs_f64(timeout);
    options.show_errors = cli.show_worker_errors;
    options.confinement = confinement(&cli)?;
    match cli.command {
        Command::Bench(arguments) => bench::run(arguments, options),
        Command::Info(arguments) => info::run(&arguments, options),
        Command::Render(arguments) => render::run(&arguments, options),
        Command::Check(arguments) => check::run(&arguments, options),
        Command::Play(arguments) => play::run(&arguments, options),
        Command::Edit(arguments) => edit::run(&arguments, options),
        Command::Replay(arguments) => return replay::run(&arguments, options),
        Command::Scan(arguments) => scan::run(&arguments, options),
        Command::List(arguments) => list::run(&arguments),
        Command::Devices(arguments) => devices::run(&arguments),
        Command::Calibrate(arguments) => calibrate::run(&arguments, &options),
        Command::Torture(arguments) => torture::run(arguments, options),
    }
    .map(|()| ExitCode::SUCCESS)
}

/// Says, once, what the system does not permit and what to do about it.
fn report_restrictions(supervisor: &Supervisor) {
    let restrictions = supervisor.restrictions();
    if restrictions.not_realtime.is_some() {
        eprintln!("note: {}", realtime_advice());
    } else if restrictions.not_locked {
        eprintln!("note: memory can't be locked: raise the limit 'memlock' (ulimit -l)");
    }
}

/// Text from a plugin, fit for a terminal: on one line, and not without end.
fn clean(text: &str) -> String {
    /// Characters of a text that are shown.
    const LONGEST: usize = 500;
    let mut chars = text.chars();
    let mut shown = one_line(chars.by_ref().take(LONGEST));
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

fn one_line(text: impl Iterator<Item = char>) -> String {
    text.map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// "1 file", "2 files".
fn count(number: usize, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

/// Writes to standard output; a closed pipe (`| head`) is not an error.
fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
    let _ = std::io::stdout().flush();
}
