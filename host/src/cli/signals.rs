//! What Ctrl-C and its like do: signals that tell the program to end.

use crate::error::Error;
use sandrack_sandbox::sys::process::exit_now;
use sandrack_sandbox::sys::signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

fn failed(source: io::Error) -> Error {
    Error::File { path: "signals".into(), source }
}

/// Becomes true at the first such signal; the second ends the program at once, whatever hangs.
pub(super) fn flag() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    let set = Arc::clone(&flag);
    signals::on_end(move |code| {
        if set.swap(true, Ordering::SeqCst) {
            exit_now(code);
        }
    })
    .map_err(failed)?;
    Ok(flag)
}

/// Calls this at such a signal, on a thread of its own, then ends the program.
pub(super) fn on_end(clean_up: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let mut clean_up = Some(clean_up);
    signals::on_end(move |code| {
        if let Some(clean_up) = clean_up.take() {
            clean_up();
            std::process::exit(code);
        }
    })
    .map_err(failed)
}
