//! The peer of Sandrack's hop: the same chain of processes, run by JACK.
//!
//! 32 JACK clients in series, one process each, each multiplying two channels by a gain, on a
//! server that this program starts (`jackd -R -d dummy`, under a name of its own, so that it
//! neither meets nor disturbs one that is in use) or on one that runs already (`--running`).
//! Every client notes when its process callback begins and ends. A cycle's chain time is from
//! the first client's begin to the last client's end; divided by the number of clients it is the
//! time per hop. Cycles in which a client is missing or did not wait for the one before it are
//! counted and left out.
//!
//! ```text
//! cargo run --release -p sandrack-benches --features jack --bin jack_peer -- --pin --json jack.json
//! ```
//!
//! `--pin` holds the clients and the server that was started to one core; without it the
//! scheduler decides. Prints microseconds per hop and of the whole chain (p50, p99, max), and of
//! the wait alone, from one client's end to the next one's begin. To build it takes
//! libjack's pkg-config file (Debian: `apt install libjack-jackd2-dev pkg-config`); jackd and
//! libjack itself (`apt install jackd2`) are found at run time. Exit code 0; 2 when jackd or
//! libjack is missing; 1 with a line that says why for all else.

mod client;
mod record;
mod server;

use std::fmt;
use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use clap::Parser;
use rustix::thread::futex;
use sandrack_benches::child::{self, Children, NotReady};
use sandrack_benches::os;
use sandrack_benches::stats::{self, Summary};
use serde_json::json;

use record::{Cycles, Record};
use server::Server;

const CLIENT: &str = "as-client";
const KEEPER: &str = "as-keeper";
const SERVER: &str = "as-server";

/// A chain of JACK clients, one process each, doing a stereo gain plugin's work.
#[derive(Parser)]
struct Options {
    /// Clients in the chain
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u16).range(2..=60))]
    clients: u16,
    /// Frames per period of the server that is started
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(16..=8192))]
    frames: u32,
    /// Sample rate of the server that is started
    #[arg(long, default_value_t = 48_000, value_parser = clap::value_parser!(u32).range(8000..=384_000))]
    rate: u32,
    /// Seconds to measure
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=3600))]
    seconds: u32,
    /// Hold all processes to one core
    #[arg(long)]
    pin: bool,
    /// Use the server that runs under this name instead of starting one
    #[arg(long, value_name = "NAME", num_args = 0..=1, default_missing_value = "default")]
    running: Option<String>,
    /// Also write the figures to FILE; `-` prints them instead of the table
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Why there are no figures.
#[derive(Debug)]
pub(crate) enum Error {
    /// JACK is not installed.
    Missing(String),
    /// Anything else.
    Failed(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(what) => write!(f, "{what} (Debian: apt install jackd2)"),
            Self::Failed(why) => f.write_str(why),
        }
    }
}

impl<E: std::error::Error> From<E> for Error {
    fn from(error: E) -> Self {
        Self::Failed(error.to_string())
    }
}

fn main() -> ExitCode {
    let result = match child::role(&[CLIENT, KEEPER, SERVER]) {
        Some((role, parent, arguments)) => match role.as_str() {
            CLIENT => client::run(parent, &arguments),
            KEEPER => server::keep(&arguments),
            _ => server::exec(parent, &arguments),
        },
        None => measure(&Options::parse()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("jack_peer: {error}");
            ExitCode::from(if matches!(error, Error::Missing(_)) { 2 } else { 1 })
        }
    }
}

fn measure(options: &Options) -> Result<(), Error> {
    if let Err(error) = jack::jack_sys::library() {
        return Err(Error::Missing(format!("libjack is not there: {error}")));
    }
    let cores = os::cores()?;
    let core = cores.first().copied().filter(|_| options.pin);
    if let Some(core) = core {
        // The children inherit it.
        os::pin(&[core])?;
    }
    let mut server = match &options.running {
        Some(name) => Server::running(name),
        None => Server::start(options.frames, options.rate)?,
    };

    let clients = usize::from(options.clients);
    // How many cycles there will be is known only when a client has seen the server's period:
    // a running server's may be any. 16 frames is the shortest that is provided for.
    let shortest = if server.is_own() { options.frames } else { 16 };
    let slots = (options.seconds as usize + 2) * options.rate as usize / shortest as usize + 16;
    let record = Record::create(clients, slots)?;
    let mut children = Children::default();
    for index in 0..clients {
        children.spawn(
            child::again(CLIENT)
                .args([index, clients, slots].map(|number| number.to_string()))
                .env("JACK_DEFAULT_SERVER", server.name())
                .stdin(record.stdio()?)
                .stdout(Stdio::null()),
        )?;
        // One after the other: each connects itself to the one before.
        let ready = || record.ready().load(Ordering::Acquire) as usize > index; // with `client`
        children.wait_until(Duration::from_secs(10), ready).map_err(|why| {
            let why = match why {
                NotReady::TimedOut => "a client could not be started in 10 seconds".to_owned(),
                NotReady::Ended(..) => format!("{why} at start"),
            };
            Error::Failed(format!("{why}{}", server.complaint()))
        })?;
    }
    let realtime = children.ids().all(child::has_realtime_thread);

    // The connections that were made last have to arrive in the order of execution.
    std::thread::sleep(Duration::from_millis(500));
    let xruns_before = record.xruns().load(Ordering::Relaxed);
    record.on().store(1, Ordering::Release); // with the load in `client`
    let end = Instant::now() + Duration::from_secs(u64::from(options.seconds));
    while let left = end.saturating_duration_since(Instant::now())
        && !left.is_zero()
    {
        // Seldom enough to disturb nothing.
        std::thread::sleep(left.min(Duration::from_millis(500)));
        let ended = children.first_ended().map(|(index, how)| NotReady::Ended(index, how));
        if ended.is_some() || server.has_ended() {
            let who = ended.map_or_else(|| "the server ended".to_owned(), |why| why.to_string());
            let why = format!("{who} while measuring{}", server.complaint());
            return Err(Error::Failed(why));
        }
    }
    record.on().store(0, Ordering::Release); // with the load in `client`
    let xruns = record.xruns().load(Ordering::Relaxed) - xruns_before;
    // A cycle under way still writes; and clients that leave by themselves leave JACK tidy. They
    // go one by one: JACK2 takes seconds to tell many leaving clients of each other.
    for left in 1..=clients {
        record.leave().store(left as u32, Ordering::Release); // with the load in `client`
        // The kernel takes the number as signed: u32::MAX would wake one.
        let _ = futex::wake(record.leave(), futex::Flags::empty(), i32::MAX as u32);
        if !children.ends(clients - left, Duration::from_secs(2)) {
            eprintln!("jack_peer: client {} does not leave; it is killed", clients - left);
            break;
        }
    }
    drop(children);
    let cycles = record.evaluate();
    let frames = record.frames().load(Ordering::Relaxed);
    let rate = record.rate().load(Ordering::Relaxed);
    let version = server.version();
    drop(server);
    let expected = u64::from(options.seconds) * u64::from(rate) / u64::from(frames.max(1));
    if (cycles.complete as u64) < expected * 9 / 10 {
        return Err(Error::Failed(format!(
            "no usable figures: of {expected} cycles {} are complete, {} lack a client and {} \
             are out of order. Where the chain takes longer than a period, more --frames help.",
            cycles.complete, cycles.incomplete, cycles.unordered
        )));
    }
    report(options, &cycles, &Ran { frames, rate, realtime, xruns, version })
}

/// What the run turned out to be.
struct Ran {
    frames: u32,
    rate: u32,
    realtime: bool,
    xruns: u32,
    version: String,
}

fn report(options: &Options, cycles: &Cycles, ran: &Ran) -> Result<(), Error> {
    let clients = usize::from(options.clients);
    let hop = Summary::of(&cycles.chain_ns, clients);
    let chain = Summary::of(&cycles.chain_ns, 1);
    let wait = Summary::of(&cycles.wait_ns, 1);
    let value = json!({
        "bench": "jack_peer",
        "jack": ran.version,
        "clients": clients,
        "frames": ran.frames,
        "rate": ran.rate,
        "seconds": options.seconds,
        "placement": if options.pin { "same_core" } else { "free" },
        "realtime": ran.realtime,
        "cycles": cycles.complete,
        "cycles_incomplete": cycles.incomplete,
        "cycles_out_of_order": cycles.unordered,
        "xruns": ran.xruns,
        "hop_us": hop.json(),
        "chain_us": chain.json(),
        "wait_us": wait.json(),
    });
    if !ran.realtime {
        eprintln!(
            "The clients have no realtime thread: the server runs without realtime priority, \
             or this user may not have it (`ulimit -r`). The figures are as a rule higher so."
        );
    }
    if options.pin && options.running.is_some() {
        eprintln!("The running server was left on its cores: only the clients are pinned.");
    }
    if let Some(file) = &options.json {
        stats::write_json(file, &value)?;
        if file.as_os_str() == "-" {
            return Ok(());
        }
    }
    println!(
        "{}: {clients} clients in series, {} frames at {} Hz, {}, {} cycles, {} xruns",
        ran.version,
        ran.frames,
        ran.rate,
        if options.pin { "all on one core" } else { "left to the scheduler" },
        cycles.complete,
        ran.xruns,
    );
    if cycles.incomplete + cycles.unordered > 0 {
        println!(
            "left out: {} cycles without a client, {} out of order",
            cycles.incomplete, cycles.unordered
        );
    }
    println!("{:<22}{:>8}{:>8}{:>8}", "microseconds", "p50", "p99", "max");
    for (name, summary) in
        [("per hop", hop), ("whole chain", chain), ("wait between clients", wait)]
    {
        println!(
            "{name:<22}{}{}{}",
            stats::cell(summary.p50),
            stats::cell(summary.p99),
            stats::cell(summary.max)
        );
    }
    Ok(())
}
