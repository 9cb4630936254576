//! Receives requests, and what is handed over with them, so that the main thread can wait for them
//! and for its plugins' wishes at the same time.
//!
//! What concerns no plugin is done here: the connections of a plan to come. A plugin that keeps the
//! main thread must not hold up the plan that brings another one back.

use super::audio_thread::Wiring;
use super::main_thread::{confused, map};
use super::node::Topology;
use crate::error::PluginError;
use crate::protocol::wire::{ConnectedSender, RequestReceiver};
use crate::protocol::{Connected, Connections, Request};
use crate::sys::handles::{Handle, HandleChannel};
use crate::sys::poll::Waker;
use crate::sys::process::exit_now;
use std::io;
use std::sync::mpsc::{Receiver, Sender};

/// A request, and what was handed over with it.
pub(super) type Received = (Request, io::Result<Vec<Handle>>);

/// What the thread has.
pub(super) struct ControlThread {
    pub(super) requests: RequestReceiver,
    pub(super) handles: HandleChannel,
    pub(super) to_main: Sender<Received>,
    pub(super) main: Waker,
    /// The way to the audio thread, once there is one.
    pub(super) wiring: Receiver<Wiring>,
    pub(super) connected: ConnectedSender,
}

impl ControlThread {
    /// Until the process ends.
    pub(super) fn run(mut self) {
        let mut wiring = None;
        while let Ok(request) = self.requests.receive() {
            let handles = self.handles.receive(request.regions());
            if let Request::Connect(connections) = request {
                if let Ok(new) = self.wiring.try_recv() {
                    wiring = Some(new);
                }
                let result = connect(wiring.as_mut(), &connections, handles);
                if self.connected.send(&Connected(connections.generation, result)).is_err() {
                    break;
                }
                continue;
            }
            if self.to_main.send((request, handles)).is_err() {
                return;
            }
            self.main.wake();
        }
        // The host dropped its end, or ended; or a plugin has meddled with the way. The main thread may be stuck in a plugin: don't ask it.
        exit_now(0);
    }
}

fn connect(
    wiring: Option<&mut Wiring>,
    connections: &Connections,
    handles: io::Result<Vec<Handle>>,
) -> Result<(), PluginError> {
    let wiring = wiring.ok_or_else(|| confused("no audio thread"))?;
    let regions = map(handles.map_err(confused)?, &connections.regions)?;
    let topology = Topology::new(connections, &regions).map_err(confused)?;
    wiring.connect(Box::new(topology)).map_err(confused)
}
