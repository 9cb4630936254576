//! Attempts to reach what lies beyond a plugin's worker, made in `init`. Each says on standard error
//! how it went: `escape WHAT: done` or `escape WHAT: refused (REASON)`.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

use crate::what::What;

/// Makes the attempt that a plugin is for, if it is for one.
pub(crate) fn attempt(what: What) {
    let (name, outcome) = match what {
        What::OpensSocket => ("opens-socket", opens_socket()),
        What::ReadsHome => ("reads-home", reads_home()),
        What::WritesHome => ("writes-home", writes_home()),
        What::WritesPrivate => ("writes-private", writes_private()),
        What::Executes => ("executes", Command::new("/bin/true").status().map(drop)),
        What::ExecutesItself => ("executes-itself", executes_itself()),
        What::KillsParent => ("kills-parent", kills_parent()),
        What::ReadsParent => ("reads-parent", reads_parent()),
        What::OpensFiles => ("opens-files", opens_files()),
        What::EatsMemory => ("eats-memory", eats_memory()),
        What::ChangesMode => ("changes-mode", changes_mode()),
        What::StartsThread => ("starts-thread", starts_thread()),
        _ => return,
    };
    match outcome {
        Ok(()) => eprintln!("escape {name}: done"),
        Err(error) => eprintln!("escape {name}: refused ({error})"),
    }
}

fn home() -> PathBuf {
    PathBuf::from(std::env::var_os("HOME").unwrap_or_default())
}

fn opens_socket() -> io::Result<()> {
    std::net::UdpSocket::bind("127.0.0.1:0").map(drop)
}

fn reads_home() -> io::Result<()> {
    fs::read(home().join(".ssh/id")).map(drop)
}

fn writes_home() -> io::Result<()> {
    fs::write(home().join("written"), "x")
}

fn writes_private() -> io::Result<()> {
    let folder = PathBuf::from(std::env::var_os("XDG_CONFIG_HOME").unwrap_or_default());
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("settings"), "x")
}

#[cfg(unix)]
fn executes_itself() -> io::Result<()> {
    use std::os::unix::process::CommandExt;
    // Comes back only if it fails.
    Err(Command::new("/bin/true").exec())
}

#[cfg(unix)]
fn kills_parent() -> io::Result<()> {
    use rustix::process::{getppid, test_kill_process};
    // What is permitted is asked, not done: the parent runs the test.
    let parent = getppid().ok_or(io::ErrorKind::NotFound)?;
    Ok(test_kill_process(parent)?)
}

#[cfg(unix)]
fn reads_parent() -> io::Result<()> {
    let parent = rustix::process::getppid().ok_or(io::ErrorKind::NotFound)?;
    fs::read(format!("/proc/{}/environ", parent.as_raw_nonzero())).map(drop)
}

#[cfg(not(unix))]
fn executes_itself() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
fn kills_parent() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(not(unix))]
fn reads_parent() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

/// More than a plugin needs, fewer than a program may open elsewhere.
fn opens_files() -> io::Result<()> {
    let program = std::env::current_exe()?;
    (0..4000).map(|_| fs::File::open(&program)).collect::<io::Result<Vec<_>>>().map(drop)
}

/// Address space is asked for without end and never touched, so that no machine suffers.
fn eats_memory() -> io::Result<()> {
    const STEP: usize = 1 << 30;
    let mut all: Vec<Vec<u8>> = Vec::new();
    // More than any machine's memory; asked for piece by piece, so that each is given alone.
    for _ in 0..(1 << 13) {
        let mut piece = Vec::new();
        piece.try_reserve_exact(STEP).map_err(|e| io::Error::other(e.to_string()))?;
        all.push(std::hint::black_box(piece));
    }
    Ok(())
}

fn changes_mode() -> io::Result<()> {
    let path = home().join(".ssh/id");
    let mut mode = fs::metadata(&path)?.permissions();
    mode.set_readonly(true);
    fs::set_permissions(path, mode)
}

/// What every plugin may do.
fn starts_thread() -> io::Result<()> {
    let thread = std::thread::Builder::new().name("escape".into()).spawn(|| 1)?;
    thread.join().map(drop).map_err(|_| io::Error::other("it panicked"))
}
