//! Receives requests, so that the main thread can wait for them and for its plugins' wishes at
//! the same time.

use crate::protocol::Request;
use crate::sys::poll::Waker;
use crate::sys::process::exit_now;
use ipc_channel::ipc::IpcReceiver;
use std::sync::mpsc::Sender;

/// Until the process ends.
pub(super) fn run(requests: &IpcReceiver<Request>, to_main: &Sender<Request>, main: &Waker) {
    while let Ok(request) = requests.recv() {
        if to_main.send(request).is_err() {
            return;
        }
        main.wake();
    }
    // The host dropped its end, or ended. The main thread may be stuck in a plugin: don't ask it.
    exit_now(0);
}
