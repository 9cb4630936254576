//! A JACK server of the test's own, without a sound card.

use super::{LONG, becomes_true};
use sandrack_host::drivers::jack;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A server. Ended when dropped.
pub(crate) struct Jackd {
    server: Child,
    /// For `-n`, and behind `jack:`.
    pub(crate) name: String,
    frames: u32,
    /// A process can be a client of one server at a time: libjack knows no more.
    _only: MutexGuard<'static, ()>,
}

impl Drop for Jackd {
    fn drop(&mut self) {
        // So that it removes what it has in shared memory.
        let id = rustix::process::Pid::from_child(&self.server);
        let _ = rustix::process::kill_process(id, rustix::process::Signal::TERM);
        if !becomes_true(LONG, || matches!(self.server.try_wait(), Ok(Some(_)))) {
            let _ = self.server.kill();
            let _ = self.server.wait();
        }
    }
}

impl Jackd {
    /// At 48 kHz. `None`: there is no jackd, which is said; with `SANDRACK_CI=1` it is a failure.
    pub(crate) fn start(frames: u32) -> Option<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        static ONLY: Mutex<()> = Mutex::new(());
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("sandrack-test-{}-{number}", std::process::id());
        match Command::new("jackd").arg("--version").output() {
            Ok(_) => {
                let _only = ONLY.lock().unwrap_or_else(PoisonError::into_inner);
                Some(Self { server: run(&name, frames), name, frames, _only })
            }
            Err(error) => {
                let said = format!("jackd can't be started: {error}");
                assert!(std::env::var_os("SANDRACK_CI").is_none_or(|ci| ci != "1"), "{said}");
                eprintln!("SKIPPED: {said}; it is in Debian's package jackd2");
                None
            }
        }
    }

    /// As `--driver` takes it.
    pub(crate) fn driver(&self) -> String {
        format!("jack:{}", self.name)
    }

    /// Ends it as a crash would.
    pub(crate) fn kill(&mut self) {
        self.server.kill().expect("it runs");
        self.server.wait().expect("it ends");
    }

    /// Starts another of the same name.
    pub(crate) fn start_again(&mut self) {
        self.server = run(&self.name, self.frames);
    }

    /// Connects two ports as another program does.
    #[track_caller]
    pub(crate) fn connect(&self, from: &str, to: &str) {
        self.tool("jack_connect", &[from, to]);
    }

    /// The opposite.
    #[track_caller]
    pub(crate) fn disconnect(&self, from: &str, to: &str) {
        self.tool("jack_disconnect", &[from, to]);
    }

    /// What a port is connected to, as another program sees it; sorted.
    #[track_caller]
    pub(crate) fn connections(&self, port: &str) -> Vec<String> {
        let list = self.tool("jack_lsp", &["-c"]);
        let behind = list.lines().skip_while(|line| *line != port).skip(1);
        let others = behind.map_while(|line| line.strip_prefix("   "));
        let mut others: Vec<String> = others.map(str::to_owned).collect();
        others.sort();
        others
    }

    #[track_caller]
    fn tool(&self, tool: &str, arguments: &[&str]) -> String {
        let output = Command::new(tool).args(["-s", &self.name]).args(arguments).output();
        let output =
            output.unwrap_or_else(|error| panic!("{tool}, which comes with jackd: {error}"));
        assert!(output.status.success(), "{tool} {arguments:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Sets the buffer size of all its clients.
    #[track_caller]
    pub(crate) fn set_frames(&mut self, frames: u32) {
        let size = frames.to_string();
        let mut tool = Command::new("jack_bufsize");
        let output = tool.arg(&size).env("JACK_DEFAULT_SERVER", &self.name).output();
        let output = output.expect("jack_bufsize is there where jackd is");
        assert!(output.status.success(), "{output:?}");
        self.frames = frames;
    }
}

fn run(name: &str, frames: u32) -> Child {
    for class in ["-R", "-r"] {
        // Synchronous: the next cycle does not begin before the last client has done this one.
        let mut server = Command::new("jackd")
            .args([
                class,
                "-S",
                "-n",
                name,
                "-d",
                "dummy",
                "-r",
                "48000",
                "-p",
                &frames.to_string(),
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("jackd starts");
        let answers = || jack::look(Some(name)).is_ok();
        let mut has_ended = false;
        let so = becomes_true(LONG, || {
            has_ended = matches!(server.try_wait(), Ok(Some(_)));
            has_ended || answers()
        });
        if so && !has_ended {
            return server;
        }
        let _ = server.kill();
        let _ = server.wait();
    }
    panic!("jackd does not answer: try 'jackd -n {name} -d dummy' by hand");
}
