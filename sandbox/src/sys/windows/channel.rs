//! Ways for messages between a host and a worker: ipc-channel's.
//!
//! It trusts what it reads: docs/windows.md says what that means. A message that makes it panic is taken
//! for what it is, rubbish.

use super::handles::HandleChannel;
use ipc_channel::TryRecvError;
use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use serde::{Deserialize, Serialize};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Most bytes of a message.
pub const LONGEST: usize = 33 * 1024;

/// Where messages are sent.
pub struct Sender(Mutex<IpcSender<Vec<u8>>>);

/// Where they arrive.
pub struct Receiver(IpcReceiver<Vec<u8>>);

/// Why there is no message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoMessage {
    /// None came in time.
    Late,
    /// The other end is closed.
    Closed,
    /// What came is no message.
    Garbled(&'static str),
}

/// Why a message was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotSent {
    /// There was no room for it in time. Not told on this system, where sending waits.
    Late,
    /// The other end is closed.
    Closed,
}

/// The host's ends.
pub struct HostEnds {
    /// What it asks.
    pub requests: Sender,
    /// What the worker's main thread says.
    pub replies: Receiver,
    /// What its control thread answers.
    pub connected: Receiver,
}

/// The worker's ends, likewise.
pub struct WorkerEnds {
    /// What the host asks.
    pub requests: Receiver,
    /// What its main thread says.
    pub replies: Sender,
    /// What its control thread answers.
    pub connected: Sender,
}

/// The host's ends, in the worker's first words.
#[derive(Serialize, Deserialize)]
pub struct Offer {
    requests: IpcSender<Vec<u8>>,
    replies: IpcReceiver<Vec<u8>>,
    connected: IpcReceiver<Vec<u8>>,
}

/// The host's ends of a worker that is about to be started: the worker makes them.
pub struct Prepared(());

/// In the host: nothing has to be done.
pub fn prepare(_: &HandleChannel) -> io::Result<Prepared> {
    Ok(Prepared(()))
}

/// In the worker: makes the ways.
pub fn open(_: &HandleChannel) -> io::Result<(WorkerEnds, Offer)> {
    let (request_sender, requests) = ipc::channel()?;
    let (replies, reply_receiver) = ipc::channel()?;
    let (connected, connected_receiver) = ipc::channel()?;
    let ends = WorkerEnds {
        requests: Receiver(requests),
        replies: Sender(Mutex::new(replies)),
        connected: Sender(Mutex::new(connected)),
    };
    let offer =
        Offer { requests: request_sender, replies: reply_receiver, connected: connected_receiver };
    Ok((ends, offer))
}

impl Prepared {
    /// The host's ends, once the worker has said its first words.
    pub fn accept(self, offer: Offer) -> HostEnds {
        HostEnds {
            requests: Sender(Mutex::new(offer.requests)),
            replies: Receiver(offer.replies),
            connected: Receiver(offer.connected),
        }
    }
}

/// Both ends of a way.
pub fn pair() -> io::Result<(Sender, Receiver)> {
    let (sender, receiver) = ipc::channel()?;
    Ok((Sender(Mutex::new(sender)), Receiver(receiver)))
}

impl Sender {
    /// Sends a message. Waits for room for as long as it takes.
    pub fn send(&self, message: &[u8], _: Option<Instant>) -> Result<(), NotSent> {
        self.send_now(message)
    }

    /// The same.
    pub fn send_now(&self, message: &[u8]) -> Result<(), NotSent> {
        let sender = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        sender.send(message.to_vec()).map_err(|_| NotSent::Closed)
    }

    /// Whether there is room: not known here.
    pub fn has_room(&self, _: Option<Instant>) -> bool {
        true
    }
}

impl Receiver {
    /// Gives the next message to `take`, waiting for it until then; `None`: for ever.
    pub fn receive<R>(
        &self,
        until: Option<Instant>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, NoMessage> {
        let receive = || match until {
            None => self.0.recv().map_err(TryRecvError::IpcError),
            Some(until) => match until.saturating_duration_since(Instant::now()) {
                left if left.is_zero() => self.0.try_recv(),
                left => self.0.try_recv_timeout(left),
            },
        };
        // Unwind safe: nothing is received after what is garbled.
        match catch_unwind(AssertUnwindSafe(receive)) {
            Err(_) => Err(NoMessage::Garbled("what ipc-channel does not bear")),
            Ok(Err(TryRecvError::Empty)) => Err(NoMessage::Late),
            Ok(Err(TryRecvError::IpcError(ipc_channel::IpcError::SerializationError(_)))) => {
                Err(NoMessage::Garbled("a message that is none"))
            }
            Ok(Err(TryRecvError::IpcError(_))) => Err(NoMessage::Closed),
            Ok(Ok(message)) if message.len() > LONGEST => {
                Err(NoMessage::Garbled("a message longer than any"))
            }
            Ok(Ok(message)) => Ok(take(&message)),
        }
    }
}
