//! The way of a worker's replies: long ones in pieces.
//!
//! What ipc-channel can't send at once it sends by other means, which on Windows begin with opening
//! the receiver's process: a worker that is confined must not be able to do that. And what arrives
//! piece by piece can be given up when it becomes too much.

use super::Reply;
use ipc_channel::ipc::{self, IpcReceiver, IpcSender};
use ipc_channel::{IpcError, TryRecvError};
use serde::{Deserialize, Serialize};
use std::io;
use std::time::{Duration, Instant};

/// Bytes at a time: below what any system's channel takes at once.
const PIECE: usize = 32 * 1024;
/// Bytes of a reply: a state may have 256 MiB, of which the host keeps several at times.
const MOST: usize = (256 << 20) + (1 << 20);

/// What goes over the channel.
#[derive(Serialize, Deserialize)]
pub enum Part {
    /// A short reply.
    Whole(Box<Reply>),
    /// Bytes of a long one, and whether they are its last.
    Piece(Vec<u8>, bool),
}

/// A worker's end.
pub struct ReplySender(IpcSender<Part>);

/// The host's end.
pub struct ReplyReceiver {
    parts: IpcReceiver<Part>,
    /// Of a reply that has not come to its end.
    begun: Vec<u8>,
}

/// Both ends; the host's as it is sent there.
pub fn channel() -> io::Result<(ReplySender, IpcReceiver<Part>)> {
    let (sender, receiver) = ipc::channel()?;
    Ok((ReplySender(sender), receiver))
}

fn garbled(error: impl ToString) -> IpcError {
    IpcError::Io(io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

impl ReplySender {
    /// Sends a reply.
    ///
    /// # Errors
    /// The host has ended, or it is longer than any reply may be.
    pub fn send(&self, reply: Reply) -> Result<(), IpcError> {
        let len = postcard::experimental::serialized_size(&reply).map_err(garbled)?;
        if len <= PIECE {
            return self.0.send(Part::Whole(Box::new(reply)));
        }
        let bytes = postcard::to_stdvec(&reply).map_err(garbled)?;
        let mut pieces = bytes.chunks(PIECE).peekable();
        while let Some(piece) = pieces.next() {
            self.0.send(Part::Piece(piece.to_vec(), pieces.peek().is_none()))?;
        }
        Ok(())
    }
}

impl ReplyReceiver {
    /// The host's end, as it has come.
    pub fn new(parts: IpcReceiver<Part>) -> Self {
        Self { parts, begun: Vec::new() }
    }

    /// The next reply, if it is there.
    pub fn try_recv(&mut self) -> Result<Reply, TryRecvError> {
        self.try_recv_timeout(Duration::ZERO)
    }

    /// The next reply, waiting for it at most so long.
    pub fn try_recv_timeout(&mut self, timeout: Duration) -> Result<Reply, TryRecvError> {
        let give_up = Instant::now() + timeout;
        loop {
            let left = give_up.saturating_duration_since(Instant::now());
            let part = match left.is_zero() {
                true => self.parts.try_recv()?,
                false => self.parts.try_recv_timeout(left)?,
            };
            if let Some(reply) = self.add(part).map_err(TryRecvError::IpcError)? {
                return Ok(reply);
            }
        }
    }

    fn add(&mut self, part: Part) -> Result<Option<Reply>, IpcError> {
        let (piece, last) = match part {
            Part::Whole(_) if !self.begun.is_empty() => return Err(garbled("a reply in a reply")),
            Part::Whole(reply) => return Ok(Some(*reply)),
            Part::Piece(piece, last) => (piece, last),
        };
        if piece.is_empty() || self.begun.len() + piece.len() > MOST {
            return Err(garbled("a reply without end"));
        }
        self.begun.extend(piece);
        if !last {
            return Ok(None);
        }
        postcard::from_bytes(&std::mem::take(&mut self.begun)).map(Some).map_err(garbled)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::protocol::Answer;

    fn state(bytes: Vec<u8>) -> Reply {
        Reply::Answer(Ok(Answer::State(bytes)))
    }

    fn bytes(reply: Reply) -> Vec<u8> {
        let Reply::Answer(Ok(Answer::State(bytes))) = reply else { panic!("not a state") };
        bytes
    }

    #[test]
    fn replies_of_any_length_arrive_in_order() {
        let (sender, receiver) = channel().unwrap();
        let mut receiver = ReplyReceiver::new(receiver);
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::Empty)));
        let lengths = [0, 1, PIECE - 10, PIECE, PIECE + 1, 5 * PIECE, 3_000_001, 7];
        let content = |len: usize| -> Vec<u8> { (0..len).map(|at| (at * 31) as u8).collect() };
        let other = std::thread::spawn(move || {
            lengths.iter().for_each(|&len| sender.send(state(content(len))).unwrap());
        });
        for len in lengths {
            let reply = receiver.try_recv_timeout(Duration::from_secs(60)).unwrap();
            assert!(bytes(reply) == content(len), "{len}");
        }
        other.join().unwrap();
        assert!(matches!(receiver.try_recv(), Err(TryRecvError::IpcError(_))));
    }

    #[test]
    fn pieces_that_make_no_reply_are_an_error_and_not_kept() {
        let (sender, receiver) = channel().unwrap();
        let mut receiver = ReplyReceiver::new(receiver);
        for parts in [
            vec![Part::Piece(vec![0xff; 40], true)],
            vec![Part::Piece(vec![], false)],
            vec![Part::Piece(vec![1], false), Part::Whole(Box::new(state(vec![])))],
        ] {
            parts.into_iter().for_each(|part| sender.0.send(part).unwrap());
            let waited = receiver.try_recv_timeout(Duration::from_secs(60));
            assert!(matches!(waited, Err(TryRecvError::IpcError(IpcError::Io(_)))));
        }
    }
}
