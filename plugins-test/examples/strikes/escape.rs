//! Attempts to reach what lies beyond a plugin's worker, made in `init` and once more in a block. Each
//! says on standard error how it went: `escape WHAT: done` or `escape WHAT: refused (REASON)`.

use super::{Strike, sys};
use std::fs;
use std::io;
use std::path::PathBuf;
use std::process::Command;

/// When the attempt is made. In a block what would harm the host is done, before it is asked only
/// whether it could be.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Init,
    Block,
}

/// Makes the attempt that a plugin is for, if it is for one.
pub(super) fn attempt(strike: Strike, when: When) {
    let outcome = match strike {
        Strike::OpensSocket => opens_socket(),
        Strike::ReadsHome => reads_home(),
        Strike::WritesHome => writes_home(),
        Strike::WritesPrivate => writes_private(),
        Strike::Executes => Command::new("/bin/true").status().map(drop),
        Strike::ExecutesItself => sys::execute("/bin/true"),
        Strike::KillsParent => sys::kill_parent(when == When::Block),
        Strike::ReadsParent => sys::parent().and_then(reads),
        Strike::TracesParent => sys::trace_parent(),
        Strike::OpensFiles => opens_files(when),
        Strike::EatsMemory => eats_memory(),
        Strike::ChangesMode => changes_mode(),
        Strike::StartsThread => starts_thread(),
        _ => return,
    };
    let name = strike.name();
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

fn reads(process: u32) -> io::Result<()> {
    fs::read(format!("/proc/{process}/environ")).map(drop)
}

/// More than a plugin needs, fewer than a program may open elsewhere.
fn opens_files(when: When) -> io::Result<()> {
    let program = std::env::current_exe()?;
    let mut all = Vec::new();
    let outcome = (0..4000).try_for_each(|_| fs::File::open(&program).map(|file| all.push(file)));
    if when == When::Block {
        // And keeps what it got.
        std::mem::forget(all);
    }
    outcome
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
