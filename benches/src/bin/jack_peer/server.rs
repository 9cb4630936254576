//! The JACK server: one of the benchmark's own, or one that runs already.
//!
//! Between the benchmark and its own jackd stands a keeper process. When the benchmark ends,
//! however it does, the pipe between them closes; the keeper then ends jackd and removes what
//! jackd leaves in /dev/shm when its clients were killed. Should the keeper be killed, the
//! kernel ends jackd.

use std::fs::File;
use std::io::{Read, Seek};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use rustix::fs::MemfdFlags;
use rustix::process::{Pid, Signal};
use sandrack_benches::child::{self, Children};

use crate::{Error, KEEPER, SERVER};

/// A server to be a client of.
pub(crate) struct Server {
    name: String,
    own: Option<Own>,
}

/// A server that the benchmark started, and what it printed.
struct Own {
    keeper: Children,
    log: File,
    version: String,
}

impl Server {
    /// The server that runs under `name`.
    pub(crate) fn running(name: &str) -> Self {
        Self { name: name.to_owned(), own: None }
    }

    /// Starts `jackd -R -d dummy` under a name nobody else has.
    pub(crate) fn start(frames: u32, rate: u32) -> Result<Self, Error> {
        let jackd = find("jackd").ok_or_else(|| Error::Missing("jackd is not there".to_owned()))?;
        let name = format!("sandrack-{}", std::process::id());
        let version = Command::new(&jackd).arg("--version").stderr(Stdio::null()).output()?;
        let version = String::from_utf8_lossy(&version.stdout);
        let version = version.lines().find(|line| line.contains("version")).unwrap_or("jackd");
        let version = version.split(" tmpdir").next().unwrap_or(version).to_owned();
        // In memory, so that a chatty server neither blocks on a pipe nor leaves a file.
        let log = File::from(rustix::fs::memfd_create("jackd-log", MemfdFlags::CLOEXEC)?);
        let mut keeper = Children::default();
        keeper.spawn(
            child::again(KEEPER)
                .arg(&name)
                .arg(&jackd)
                .args(["-R", "-n", &name, "-d", "dummy"])
                .args(["-r", &rate.to_string(), "-p", &frames.to_string()])
                // Out of reach of the terminal's Ctrl-C, so that it can tidy up after it.
                .process_group(0)
                .stdin(Stdio::piped())
                .stdout(log.try_clone()?)
                .stderr(log.try_clone()?),
        )?;
        Ok(Self { name, own: Some(Own { keeper, log, version }) })
    }

    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    /// Whether the benchmark's own server is gone.
    pub(crate) fn has_ended(&mut self) -> bool {
        self.own.as_mut().is_some_and(|own| own.keeper.first_ended().is_some())
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn version(&self) -> String {
        match &self.own {
            Some(own) => own.version.clone(),
            None => format!("JACK server \"{}\"", self.name),
        }
    }

    /// What the server has to say about a failure: whether it ended, and its last lines.
    pub(crate) fn complaint(&mut self) -> String {
        let Some(own) = &mut self.own else {
            return format!("; is a JACK server named \"{}\" running?", self.name);
        };
        let mut text = String::new();
        let _ = own.log.rewind().and_then(|()| own.log.read_to_string(&mut text));
        let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
        let last = lines[lines.len().saturating_sub(6)..].join("\n  ");
        let state = if own.keeper.first_ended().is_some() { "ended" } else { "runs" };
        format!("; jackd {state}, it printed last:\n  {last}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Some(own) = &mut self.own {
            own.keeper.close_stdin();
            // Longer than the keeper gives jackd. Past this both are killed.
            own.keeper.ends(0, JACKD_LEAVES + Duration::from_secs(2));
        }
    }
}

/// How long jackd may take to leave. With clients that were killed it takes a second or two.
const JACKD_LEAVES: Duration = Duration::from_secs(5);

/// The keeper's process.
pub(crate) fn keep(arguments: &[String]) -> Result<(), Error> {
    let [name, jackd @ ..] = arguments else {
        return Err(Error::Failed("the server's keeper was started by hand".to_owned()));
    };
    let mut jackd = child::again(SERVER).args(jackd).stdin(Stdio::null()).spawn()?;
    let number = Pid::from_child(&jackd);
    thread::spawn(move || {
        // Nothing is ever written: this returns when the benchmark closes its end or is gone.
        let _ = std::io::stdin().read(&mut [0]);
        let _ = rustix::process::kill_process(number, Signal::TERM);
        thread::sleep(JACKD_LEAVES);
        let _ = rustix::process::kill_process(number, Signal::KILL);
    });
    jackd.wait()?;
    for file in std::fs::read_dir("/dev/shm")?.flatten() {
        let file_name = file.file_name();
        let left = file_name.to_string_lossy();
        // The socket is jack_NAME_…, a semaphore jack_sem.…_NAME_…
        if left.starts_with("jack_") && left.contains(&format!("_{name}_")) {
            let _ = std::fs::remove_file(file.path());
        }
    }
    Ok(())
}

/// The server's process: it becomes jackd. The death signal set here outlives the exec.
pub(crate) fn exec(parent: u32, arguments: &[String]) -> Result<(), Error> {
    child::die_with_parent(parent, Signal::TERM)?;
    let [jackd, arguments @ ..] = arguments else {
        return Err(Error::Failed("the server was started by hand".to_owned()));
    };
    Err(Command::new(jackd).args(arguments).exec().into())
}

fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}
