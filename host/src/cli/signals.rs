//! What Ctrl-C and its like do: signals that tell the program to end.

use crate::error::Error;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

const SIGNALS: [i32; 3] = [SIGHUP, SIGINT, SIGTERM];

fn failed(source: io::Error) -> Error {
    Error::File { path: "signals".into(), source }
}

/// Becomes true at the first such signal; the second ends the program at once, whatever hangs.
pub(super) fn flag() -> Result<Arc<AtomicBool>, Error> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in SIGNALS {
        // In this order: what is registered first is done first.
        signal_hook::flag::register_conditional_shutdown(signal, 128 + signal, Arc::clone(&flag))
            .and_then(|_| signal_hook::flag::register(signal, Arc::clone(&flag)))
            .map_err(failed)?;
    }
    Ok(flag)
}

/// Calls this at such a signal, on a thread of its own, then ends the program.
pub(super) fn on_end(clean_up: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let mut signals = signal_hook::iterator::Signals::new(SIGNALS).map_err(failed)?;
    let wait = move || {
        if let Some(signal) = signals.forever().next() {
            clean_up();
            std::process::exit(128 + signal);
        }
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait).map_err(failed)?;
    Ok(())
}
