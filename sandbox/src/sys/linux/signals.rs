//! What tells the program to end: Ctrl-C and its like.

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;

/// From now on calls this whenever the program is told to end, on a thread of its own, with the exit
/// code that tells of it. One handler a program.
pub fn on_end(mut handler: impl FnMut(i32) + Send + 'static) -> io::Result<()> {
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    let wait = move || signals.forever().for_each(|signal| handler(128 + signal));
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}
