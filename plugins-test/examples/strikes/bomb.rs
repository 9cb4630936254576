//! What uses up what all processes share. Each has an end, though far beyond what a plugin may use,
//! so that a machine on which nothing holds it back survives.

use super::{Strike, sleep_forever, sys};
use std::fs;
use std::hint::{self, black_box};
use std::io::{self, Write};
use std::path::PathBuf;
use std::thread;
use std::time::Duration;

const PROCESSES: usize = 2000;
const THREADS: usize = 5000;
/// In bytes.
const MEMORY: usize = 16 << 30;
const BIG_ALLOCATION: usize = 10 << 30;
const FOLDER: usize = 4 << 30;
const PAGE: usize = 4096;

pub(super) fn strike(strike: Strike) {
    match strike {
        Strike::ForkBomb => {
            let _ = (0..PROCESSES).try_for_each(|_| sys::fork_sleeper());
        }
        Strike::ThreadBomb => thread_bomb(),
        Strike::MemoryBomb => memory_bomb(),
        Strike::BigAllocation => touch(&mut Vec::with_capacity(BIG_ALLOCATION)),
        Strike::FillsFolder => {
            if let Err(error) = fill_folder() {
                eprintln!("hostile plugin can't fill its folder any more: {error}");
            }
        }
        Strike::HidesMemory => on_a_thread(hide_memory),
        Strike::LeavesMemory => {
            if let Err(error) = sys::leave_memory(64 << 20) {
                eprintln!("hostile plugin can't leave memory: {error}");
            }
            std::process::abort();
        }
        Strike::HidesFiles => on_a_thread(|| fill_one_file(true)),
        Strike::FillsFile => on_a_thread(|| fill_one_file(false)),
        Strike::SpinsEverywhere => spin_everywhere(),
        _ => {}
    }
}

fn thread_bomb() {
    for _ in 0..THREADS {
        let thread = thread::Builder::new().stack_size(64 << 10);
        if thread.spawn(|| sleep_forever()).is_err() {
            return;
        }
    }
}

/// Piece by piece, on a thread of its own: the audio goes on meanwhile.
fn memory_bomb() {
    const STEP: usize = 16 << 20;
    let eat = || {
        let mut all = Vec::new();
        for _ in 0..MEMORY / STEP {
            let mut piece = Vec::new();
            if piece.try_reserve_exact(STEP).is_err() {
                break;
            }
            touch(&mut piece);
            all.push(piece);
        }
        black_box(&all);
        sleep_forever();
    };
    let _ = thread::Builder::new().name("memory bomb".into()).spawn(eat);
}

/// Has the system give all of it.
fn touch(memory: &mut Vec<u8>) {
    for (at, byte) in memory.spare_capacity_mut().iter_mut().enumerate() {
        if at % PAGE == 0 {
            byte.write(1);
        }
    }
    black_box(memory);
}

/// The folder that plugins may write to.
fn fill_folder() -> io::Result<()> {
    const PIECE: usize = 1 << 20;
    const PIECES_A_FILE: usize = 16;
    let folder = PathBuf::from(std::env::var_os("XDG_DATA_HOME").unwrap_or_default());
    fs::create_dir_all(&folder)?;
    let piece = vec![0x5a; PIECE];
    for file in 0..FOLDER / PIECE / PIECES_A_FILE {
        let mut file = fs::File::create(folder.join(format!("fill-{file}")))?;
        for _ in 0..PIECES_A_FILE {
            file.write_all(&piece)?;
        }
    }
    Ok(())
}

fn on_a_thread(fill: impl FnOnce() -> io::Result<()> + Send + 'static) {
    let fill = move || {
        if let Err(error) = fill() {
            eprintln!("hostile plugin can't fill any more: {error}");
        }
        sleep_forever();
    };
    let _ = thread::Builder::new().name("fills".into()).spawn(fill);
}

/// In files that exist in memory only, and are nobody's memory.
fn hide_memory() -> io::Result<()> {
    const PIECE: usize = 1 << 20;
    const PIECES_A_FILE: usize = 256;
    let piece = vec![0x5a; PIECE];
    let mut files = Vec::new();
    for _ in 0..MEMORY / PIECE / PIECES_A_FILE {
        let mut file = sys::memory_file()?;
        for _ in 0..PIECES_A_FILE {
            file.write_all(&piece)?;
        }
        files.push(file);
    }
    sleep_forever()
}

/// A single one in the folder that plugins may write to; `hidden`: without a name.
fn fill_one_file(hidden: bool) -> io::Result<()> {
    let folder = PathBuf::from(std::env::var_os("XDG_DATA_HOME").unwrap_or_default());
    fs::create_dir_all(&folder)?;
    let path = folder.join(if hidden { "hidden" } else { "one" });
    let mut file = fs::File::create(&path)?;
    if hidden {
        fs::remove_file(&path)?;
    }
    let piece = vec![0x5a; 1 << 20];
    for _ in 0..FOLDER / piece.len() {
        file.write_all(&piece)?;
    }
    sleep_forever()
}

/// Two threads a core, as urgent as may be.
fn spin_everywhere() {
    const LONGEST: Duration = Duration::from_secs(20);
    let cores = thread::available_parallelism().map_or(1, usize::from);
    for core in (0..cores).chain(0..cores) {
        let spin = move || {
            sys::pin(core);
            sys::become_realtime();
            let start = std::time::Instant::now();
            while start.elapsed() < LONGEST {
                hint::spin_loop();
            }
        };
        let _ = thread::Builder::new().name("spins".into()).spawn(spin);
    }
}
