//! How requests and replies become messages: a long one goes in pieces.
//!
//! The first byte of a message tells what it is a piece of, and whether it is the last. Nothing that a
//! worker sends is believed: it may be anything, of any length, at any time.

use super::{Connected, Reply, Request};
use crate::sys::channel::{LONGEST, NoMessage, NotSent, Receiver, Sender};
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io;
use std::marker::PhantomData;
use std::time::Instant;

/// Bytes at a time.
const PIECE: usize = 32 * 1024;
/// Bytes of what a worker says: a state may have 256 MiB, of which the host keeps several at times.
const MOST: usize = (256 << 20) + (1 << 20);
/// Pieces that are taken at once though the time is up.
const AT_ONCE: u32 = 64;

const _: () = assert!(PIECE < LONGEST);

/// It is the last piece.
const LAST: u8 = 1;
/// It is one of a request about connections, which may come between those of another.
const BETWEEN: u8 = 2;

/// Why there is nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Nothing {
    /// It did not come in time.
    #[error("nothing in time")]
    Late,
    /// The other end is closed.
    #[error("the other end is closed")]
    Closed,
    /// What came makes no sense; nothing that comes after it can.
    #[error("{0}")]
    Garbled(String),
}

impl From<NoMessage> for Nothing {
    fn from(why: NoMessage) -> Self {
        match why {
            NoMessage::Late => Self::Late,
            NoMessage::Closed => Self::Closed,
            NoMessage::Garbled(what) => Self::Garbled(what.into()),
        }
    }
}

fn garbled(what: impl ToString) -> Nothing {
    Nothing::Garbled(what.to_string())
}

/// What is sent in pieces.
pub struct Pieces {
    bytes: Vec<u8>,
    kind: u8,
}

impl Pieces {
    /// Of a request.
    pub fn of_request(request: &Request) -> io::Result<Self> {
        let kind = if matches!(request, Request::Connect(_)) { BETWEEN } else { 0 };
        Self::of(request, kind)
    }

    fn of(what: &impl Serialize, kind: u8) -> io::Result<Self> {
        match postcard::to_stdvec(what) {
            Ok(bytes) => Ok(Self { bytes, kind }),
            Err(error) => Err(io::Error::other(error)),
        }
    }

    /// The messages, in order; with each whether it is the last.
    pub fn messages(&self) -> impl Iterator<Item = (Vec<u8>, bool)> {
        let mut pieces = self.bytes.chunks(PIECE).peekable();
        std::iter::from_fn(move || {
            let piece = pieces.next()?;
            let is_last = pieces.peek().is_none();
            let mut message = Vec::with_capacity(1 + piece.len());
            message.push(self.kind | if is_last { LAST } else { 0 });
            message.extend(piece);
            Some((message, is_last))
        })
    }
}

/// Puts pieces together, up to so many bytes.
struct Joined(Vec<u8>, usize);

impl Joined {
    /// The whole, once there is all of it.
    fn add<T: DeserializeOwned>(
        &mut self,
        piece: &[u8],
        is_last: bool,
    ) -> Result<Option<T>, Nothing> {
        if piece.is_empty() || self.0.len() + piece.len() > self.1 {
            return Err(garbled("something without end"));
        }
        if is_last && self.0.is_empty() {
            return decode(piece).map(Some);
        }
        self.0.extend(piece);
        match is_last {
            true => decode(&std::mem::take(&mut self.0)).map(Some),
            false => Ok(None),
        }
    }
}

/// What these bytes, and no more than these, are.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Nothing> {
    match postcard::take_from_bytes(bytes) {
        Ok((what, [])) => Ok(what),
        Ok(_) => Err(garbled("more than it tells of")),
        Err(error) => Err(garbled(error)),
    }
}

/// A worker's end of what it says.
pub struct WorkerSender<T>(Sender, PhantomData<fn(T)>);

/// The host's end of what a worker says.
pub struct HostReceiver<T> {
    messages: Receiver,
    begun: Joined,
    what: PhantomData<fn() -> T>,
}

/// What a worker's main thread says.
pub type ReplySender = WorkerSender<Reply>;
/// The host's end of that.
pub type ReplyReceiver = HostReceiver<Reply>;
/// What a worker's control thread answers.
pub type ConnectedSender = WorkerSender<Connected>;
/// The host's end of that.
pub type ConnectedReceiver = HostReceiver<Connected>;

impl<T: Serialize> WorkerSender<T> {
    /// Over this way.
    pub fn new(to: Sender) -> Self {
        Self(to, PhantomData)
    }

    /// Sends something; waits for as long as it takes.
    ///
    /// # Errors
    /// The host has ended, or it is longer than anything may be.
    pub fn send(&self, what: &T) -> io::Result<()> {
        let pieces = Pieces::of(what, 0)?;
        if pieces.bytes.len() > MOST {
            return Err(io::Error::other("longer than anything that is said"));
        }
        for (message, _) in pieces.messages() {
            self.0.send(&message, None).map_err(|_: NotSent| {
                io::Error::new(io::ErrorKind::BrokenPipe, "the host has ended")
            })?;
        }
        Ok(())
    }
}

impl<T: DeserializeOwned> HostReceiver<T> {
    /// Over this way.
    pub fn new(from: Receiver) -> Self {
        Self { messages: from, begun: Joined(Vec::new(), MOST), what: PhantomData }
    }

    /// The next thing, and its length in bytes; waits for it until then at most, however much comes
    /// meanwhile that is no end of it.
    pub fn receive(&mut self, until: Instant) -> Result<(T, usize), Nothing> {
        let mut past = 0;
        loop {
            let begun = &mut self.begun;
            let (whole, len) = self.messages.receive(Some(until), |message| {
                let before = begun.0.len();
                let whole = match message {
                    [kind, piece @ ..] if kind & !LAST == 0 => begun.add(piece, kind & LAST != 0),
                    _ => Err(garbled("a message of no known kind")),
                };
                (whole, before + message.len())
            })?;
            if let Some(whole) = whole? {
                return Ok((whole, len));
            }
            if Instant::now() >= until {
                past += 1;
            }
            if past > AT_ONCE {
                return Err(Nothing::Late);
            }
        }
    }
}

/// A worker's end of what it is asked.
pub struct RequestReceiver {
    messages: Receiver,
    begun: [Joined; 2],
}

impl RequestReceiver {
    /// Over this way.
    pub fn new(from: Receiver) -> Self {
        Self { messages: from, begun: [(); 2].map(|()| Joined(Vec::new(), usize::MAX)) }
    }

    /// The next request; waits for as long as it takes.
    ///
    /// # Errors
    /// The host has ended, or a plugin has meddled with the way.
    pub fn receive(&mut self) -> Result<Request, Nothing> {
        loop {
            let begun = &mut self.begun;
            let whole = self.messages.receive(None, |message| match message {
                [kind, piece @ ..] if kind & !(LAST | BETWEEN) == 0 => {
                    begun[usize::from(kind & BETWEEN != 0)].add(piece, kind & LAST != 0)
                }
                _ => Err(garbled("a message of no known kind")),
            })?;
            if let Some(request) = whole? {
                return Ok(request);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::StateContext;
    use crate::protocol::{Answer, Connections};
    use crate::sys::channel::pair;
    use proptest::prelude::*;
    use std::time::Duration;

    fn state(bytes: Vec<u8>) -> Reply {
        Reply::Answer(Ok(Answer::State(bytes)))
    }

    fn bytes(reply: Reply) -> Vec<u8> {
        let Reply::Answer(Ok(Answer::State(bytes))) = reply else { panic!("not a state") };
        bytes
    }

    fn replies() -> (ReplySender, ReplyReceiver) {
        let (sender, receiver) = pair().unwrap();
        (ReplySender::new(sender), ReplyReceiver::new(receiver))
    }

    fn later() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    fn content(len: usize) -> Vec<u8> {
        (0..len).map(|at| (at * 31) as u8).collect()
    }

    #[test]
    fn replies_of_any_length_arrive_in_order() {
        let (sender, mut receiver) = replies();
        assert_eq!(receiver.receive(Instant::now()).err(), Some(Nothing::Late));
        let lengths = [0, 1, PIECE - 10, PIECE, PIECE + 1, 5 * PIECE, 3_000_001, 7];
        let other = std::thread::spawn(move || {
            lengths.iter().for_each(|&len| sender.send(&state(content(len))).unwrap());
        });
        for len in lengths {
            let (reply, told) = receiver.receive(later()).unwrap();
            assert!(bytes(reply) == content(len), "{len}");
            assert!(told > len, "{len}: {told}");
        }
        other.join().unwrap();
        assert_eq!(receiver.receive(later()).err(), Some(Nothing::Closed));
    }

    #[test]
    fn a_long_reply_is_taken_though_nobody_waits_for_it() {
        let (sender, mut receiver) = replies();
        let other = std::thread::spawn(move || sender.send(&state(content(9_000_000))).unwrap());
        let reply = loop {
            match receiver.receive(Instant::now()) {
                Err(Nothing::Late) => std::thread::yield_now(),
                result => break result.unwrap().0,
            }
        };
        assert!(bytes(reply) == content(9_000_000));
        other.join().unwrap();
    }

    #[test]
    fn pieces_without_end_are_not_waited_for_beyond_the_time() {
        let (sender, mut receiver) = replies();
        let give_up = later();
        let other = std::thread::spawn(move || {
            let mut piece = vec![7; PIECE];
            piece[0] = 0;
            while sender.0.send(&piece, Some(give_up)).is_ok() {}
        });
        let until = Instant::now() + Duration::from_millis(30);
        assert_eq!(receiver.receive(until).err(), Some(Nothing::Late));
        assert!(Instant::now() < give_up);
        drop(receiver);
        other.join().unwrap();
    }

    #[test]
    fn a_request_about_connections_may_come_between_the_pieces_of_another() {
        let (sender, receiver) = pair().unwrap();
        let mut receiver = RequestReceiver::new(receiver);
        let long = Request::LoadState(3, content(100_000), StateContext::Project);
        let long: Vec<_> = Pieces::of_request(&long).unwrap().messages().collect();
        let connect = Request::Connect(Connections { generation: 5, ..Connections::default() });
        let connect: Vec<_> = Pieces::of_request(&connect).unwrap().messages().collect();
        assert!(long.len() > 2 && connect.len() == 1);
        let other = std::thread::spawn(move || {
            for (message, _) in long[..2].iter().chain(&connect).chain(&long[2..]) {
                sender.send(message, None).unwrap();
            }
        });
        assert!(matches!(receiver.receive(), Ok(Request::Connect(to)) if to.generation == 5));
        assert!(
            matches!(receiver.receive(), Ok(Request::LoadState(3, state, _)) if state == content(100_000))
        );
        other.join().unwrap();
        assert_eq!(receiver.receive().err(), Some(Nothing::Closed));
    }

    #[test]
    fn pieces_that_make_no_reply_are_an_error_and_not_kept() {
        let whole = Pieces::of(&state(vec![1]), 0).unwrap().messages().next().unwrap().0;
        let with = |bytes: &[u8]| [whole.as_slice(), bytes].concat();
        let cases = [
            vec![vec![LAST, 0xff, 0xff, 0xff]],
            vec![vec![0]],
            vec![vec![LAST]],
            vec![vec![BETWEEN | LAST, 1]],
            vec![vec![0x80, 1, 2]],
            vec![with(&[0])],
            vec![vec![0, 0xff], whole.clone()],
        ];
        for messages in cases {
            let (sender, mut receiver) = replies();
            messages.iter().for_each(|message| sender.0.send(message, None).unwrap());
            let result = receiver.receive(later());
            assert!(matches!(result, Err(Nothing::Garbled(_))), "{messages:?}");
            assert!(receiver.begun.0.is_empty() || messages.len() == 1);
        }
    }

    fn rubbish() -> impl Strategy<Value = Vec<u8>> {
        let kind = prop_oneof![Just(0), Just(LAST), any::<u8>()];
        let bytes = prop_oneof![
            prop::collection::vec(any::<u8>(), 0..60),
            (any::<u8>(), 0..LONGEST - 1).prop_map(|(byte, len)| vec![byte; len]),
        ];
        (kind, bytes).prop_map(|(kind, bytes)| [vec![kind], bytes].concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

        #[test]
        fn whatever_arrives_is_taken_or_refused_and_the_end_is_seen(
            messages in prop::collection::vec(rubbish(), 0..5),
            honest: bool,
        ) {
            let (sender, mut receiver) = replies();
            let (count, all) = (messages.len(), messages.iter().map(Vec::len).sum::<usize>());
            let other = std::thread::spawn(move || {
                for message in &messages {
                    sender.0.send(message, None).unwrap();
                }
                if honest {
                    sender.send(&state(vec![4; 30])).unwrap();
                }
            });
            let mut ended = false;
            for _ in 0..count + 2 {
                let result = receiver.receive(later());
                prop_assert!(receiver.begun.0.len() <= all);
                prop_assert!(!matches!(result, Err(Nothing::Late)));
                ended |= matches!(result, Err(Nothing::Closed));
            }
            other.join().unwrap();
            prop_assert!(ended);
        }
    }
}
