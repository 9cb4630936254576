//! The program as a user starts it, and its processes as the system shows them.

use super::system::crashed;
pub(crate) use super::system::{Signal, children_of, send};
use super::{LONG, PROGRAM, becomes_true};
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// One start of the program, in a folder of its own that is also its folder for temporary files.
pub(crate) struct Program {
    command: Command,
    folder: tempfile::TempDir,
}

/// A program that runs. Killed when dropped.
pub(crate) struct Started {
    child: Child,
    folder: tempfile::TempDir,
    shown: String,
}

/// How a program ended.
pub(crate) struct Finished {
    pub(crate) status: ExitStatus,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
    /// What it was started with.
    pub(crate) shown: String,
    folder: tempfile::TempDir,
}

impl Program {
    pub(crate) fn new<I: AsRef<OsStr>>(arguments: impl IntoIterator<Item = I>) -> Self {
        Self::of(Path::new(PROGRAM), arguments)
    }

    /// Another copy of the program.
    pub(crate) fn of<I: AsRef<OsStr>>(
        program: &Path,
        arguments: impl IntoIterator<Item = I>,
    ) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("tmp")).expect("a folder in it");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(folder.path());
        for variable in ["TMPDIR", "TMP", "TEMP"] {
            command.env(variable, folder.path().join("tmp"));
        }
        command.env_remove("SANDRACK_LOG");
        // Not the user's own plugins, nor what is known of them.
        command.env("SANDRACK_CACHE", folder.path().join("cache"));
        command.env("XDG_STATE_HOME", folder.path().join("state"));
        Self { command, folder }
    }

    pub(crate) fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    pub(crate) fn command(&mut self) -> &mut Command {
        &mut self.command
    }

    /// Where it is started.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn start(mut self) -> Started {
        let file = |name| fs::File::create(self.folder.path().join(name)).expect("a file");
        self.command.stdin(Stdio::null()).stdout(file("stdout")).stderr(file("stderr"));
        let shown = format!("{:?}", self.command.get_args().collect::<Vec<_>>());
        let child = self.command.spawn().expect("the program starts");
        Started { child, folder: self.folder, shown }
    }

    /// Runs it to its end, and checks that it leaves nothing behind.
    pub(crate) fn run(self) -> Finished {
        let started = self.start();
        let id = started.id();
        let finished = started.finish();
        finished.assert_no_trace(id);
        finished
    }
}

impl Started {
    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    /// The folder it was started in.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        send(self.id(), signal);
    }

    /// Waits for its end; longer than it can take is a failure.
    pub(crate) fn finish(mut self) -> Finished {
        let give_up = Instant::now() + 3 * LONG;
        let status = loop {
            if let Some(status) = self.child.try_wait().expect("it can be waited for") {
                break status;
            }
            if Instant::now() > give_up {
                let _ = self.child.kill();
                let _ = self.child.wait();
                panic!("{} never ended; it said: {}", self.shown, self.text("stderr"));
            }
            std::thread::sleep(Duration::from_millis(2));
        };
        let (stdout, stderr) = (self.text("stdout"), self.text("stderr"));
        let folder = std::mem::replace(&mut self.folder, tempfile::tempdir().expect("a folder"));
        Finished { status, stdout, stderr, shown: std::mem::take(&mut self.shown), folder }
    }

    /// What a file in its folder holds so far: `stdout`, `stderr`.
    pub(crate) fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.path().join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Finished {
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    #[track_caller]
    pub(crate) fn assert_success(&self) -> &Self {
        assert!(self.status.success(), "{}: {:?}: {}", self.shown, self.status, self.stderr);
        self
    }

    /// That it ended with an error in one line that holds all of `parts`.
    #[track_caller]
    pub(crate) fn assert_error(&self, parts: &[&str]) -> &Self {
        let Self { status, stderr, shown, .. } = self;
        assert!(!crashed(*status), "{shown}: {status:?}: {stderr}");
        assert!(!status.success(), "{shown}: succeeded: {}", self.stdout);
        // What the log says of a plugin beside it is not the error.
        let lines = stderr.lines().filter(|line| line.starts_with("sandrack: ")).count();
        assert_eq!(lines, 1, "{shown}: not one line: {stderr}");
        for part in parts {
            assert!(stderr.contains(part), "{shown}: no '{part}' in: {stderr}");
        }
        assert!(!stderr.contains("panicked"), "{shown}: {stderr}");
        assert!(stderr.trim_end().len() > "sandrack: ".len(), "{shown}: {stderr}");
        self
    }

    /// That its workers have ended with it and it left no files.
    #[track_caller]
    pub(crate) fn assert_no_trace(&self, id: u32) {
        let gone = becomes_true(Duration::from_secs(10), || children_of(id).is_empty());
        assert!(gone, "{}: left processes {:?}", self.shown, children_of(id));
        let left: Vec<_> = files_in(&self.folder.path().join("tmp"));
        assert!(left.is_empty(), "{}: left files {left:?}", self.shown);
    }
}

pub(crate) fn files_in(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .map(|entries| {
            entries.flatten().map(|e| e.file_name().to_string_lossy().into_owned()).collect()
        })
        .unwrap_or_default();
    names.sort();
    names
}
