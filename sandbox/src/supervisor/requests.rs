//! The way to a worker. Nobody holds it while he waits: what needs no plugin gets through beside a long
//! request that a worker does not take.

use super::lock;
use crate::protocol::Request;
use crate::protocol::wire::Pieces;
use crate::sys::channel::{NotSent, Sender};
use crate::sys::handles::{Handle, HandleChannel};
use std::io;
use std::sync::Mutex;
use std::time::Instant;

pub(super) struct Requests {
    way: Sender,
    /// Held while a piece is sent: the handles of two requests must come in the order of their last
    /// pieces.
    handles: Mutex<HandleChannel>,
}

impl Requests {
    pub(super) fn new(way: Sender, handles: HandleChannel) -> Self {
        Self { way, handles: Mutex::new(handles) }
    }

    /// Sends a request, waiting until then that the worker takes it.
    pub(super) fn send(
        &self,
        request: &Request,
        handles: &[Handle],
        until: Instant,
    ) -> Result<(), NotSent> {
        for (message, is_last) in pieces(request, handles)?.messages() {
            loop {
                if !self.way.has_room(Some(until)) {
                    return Err(NotSent::Late);
                }
                let way = lock(&self.handles);
                // Somebody else may have had it.
                if self.way.has_room(Some(Instant::now())) {
                    self.send_piece(&way, &message, handles, is_last)?;
                    break;
                }
            }
        }
        Ok(())
    }

    /// Sends a request that is waited for by nobody, if there is room for it: there is, as long as the
    /// worker takes any.
    pub(super) fn send_now(&self, request: &Request, handles: &[Handle]) -> Result<(), NotSent> {
        let pieces = pieces(request, handles)?;
        let way = lock(&self.handles);
        for (message, is_last) in pieces.messages() {
            self.send_piece(&way, &message, handles, is_last)?;
        }
        Ok(())
    }

    fn send_piece(
        &self,
        way: &HandleChannel,
        message: &[u8],
        handles: &[Handle],
        is_last: bool,
    ) -> Result<(), NotSent> {
        if is_last && !handles.is_empty() {
            let handles: Vec<&Handle> = handles.iter().collect();
            way.send(&handles).map_err(|error| match error.kind() {
                io::ErrorKind::WouldBlock => NotSent::Late,
                _ => NotSent::Closed,
            })?;
        }
        self.way.send_now(message)
    }

    /// What the worker hands over: before it holds any plugin, and never afterwards.
    pub(super) fn receive(&self) -> io::Result<Handle> {
        Ok(lock(&self.handles).receive(1)?.remove(0))
    }

    /// From now on it may hold plugins.
    pub(super) fn stop_receiving(&self) {
        lock(&self.handles).stop_receiving();
    }
}

fn pieces(request: &Request, handles: &[Handle]) -> Result<Pieces, NotSent> {
    debug_assert_eq!(request.regions(), handles.len());
    // There is none that can't be written down.
    Pieces::of_request(request).map_err(|_| NotSent::Closed)
}
