//! Ways for messages between a host and a worker: pairs of SEQPACKET sockets, one a direction and
//! purpose.
//!
//! Whatever runs in a worker can write what it likes to the worker's ends. So the host never waits but
//! for a time it has set, takes no more at once than the longest message, and takes no descriptors: it
//! offers no room for any, and where the kernel has a word for it (`SO_PASSRIGHTS`, since 6.16) they
//! can't even be sent. (Dropping one may wait: a socket that lingers.) What is not meant to go over a
//! way is shut at the host's end: nothing can be left lying there.
//!
//! # Safety
//! The one `unsafe` call passes a number to the kernel.
#![allow(unsafe_code)]

use super::handles::{Handle, HandleChannel};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, recv, send, shutdown,
    socketpair, sockopt,
};
use serde::{Deserialize, Serialize};
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::Instant;

/// Most bytes of a message.
pub const LONGEST: usize = 33 * 1024;

/// Where messages are sent.
pub struct Sender(OwnedFd);

/// Where they arrive.
pub struct Receiver(OwnedFd);

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
    /// There was no room for it in time.
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

/// What the worker's first words tell of the ways: nothing, the host has made them.
#[derive(Serialize, Deserialize)]
pub struct Offer;

/// The host's ends of a worker that is about to be started.
pub struct Prepared(HostEnds);

/// In the host: makes the ways, and hands the worker's ends over.
pub fn prepare(handles: &HandleChannel) -> io::Result<Prepared> {
    let (requests, for_worker) = pair()?;
    let (replying, replies) = pair()?;
    let (connecting, connected) = pair()?;
    // Nothing comes back.
    shutdown(&requests.0, Shutdown::Read)?;
    for receiver in [&replies, &connected] {
        shutdown(&receiver.0, Shutdown::Write)?;
        refuse_descriptors(receiver);
    }
    let theirs = [Handle(for_worker.0), Handle(replying.0), Handle(connecting.0)];
    handles.send(&theirs.each_ref())?;
    Ok(Prepared(HostEnds { requests, replies, connected }))
}

/// In the worker: takes its ends, which have been handed over.
pub fn open(handles: &HandleChannel) -> io::Result<(WorkerEnds, Offer)> {
    let taken: Result<[Handle; 3], _> = handles.receive(3)?.try_into();
    let [requests, replies, connected] = taken.map_err(|_| io::Error::other("not three ends"))?;
    let ends = WorkerEnds {
        requests: Receiver(requests.0),
        replies: Sender(replies.0),
        connected: Sender(connected.0),
    };
    Ok((ends, Offer))
}

impl Prepared {
    /// The host's ends, once the worker has said its first words.
    pub fn accept(self, _: Offer) -> HostEnds {
        self.0
    }
}

/// Both ends of a way.
pub fn pair() -> io::Result<(Sender, Receiver)> {
    let (a, b) =
        socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    // The most that anybody may have, where it is more than what everybody has.
    let _ = sockopt::set_socket_send_buffer_size(&a, 8 * LONGEST);
    Ok((Sender(a), Receiver(b)))
}

fn refuse_descriptors(receiver: &Receiver) {
    const SO_PASSRIGHTS: libc::c_int = 83;
    let no: libc::c_int = 0;
    // SAFETY: the pointer is to a local that outlives the call, of the size that is told. An older
    // kernel does not know the option, and says so.
    unsafe {
        libc::setsockopt(
            receiver.0.as_raw_fd(),
            libc::SOL_SOCKET,
            SO_PASSRIGHTS,
            (&raw const no).cast(),
            size_of_val(&no) as libc::socklen_t,
        );
    }
}

impl Sender {
    /// Sends a message, waiting for room until then; `None`: for ever.
    pub fn send(&self, message: &[u8], until: Option<Instant>) -> Result<(), NotSent> {
        loop {
            match self.send_now(message) {
                Err(NotSent::Late) if self.has_room(until) => {}
                sent => return sent,
            }
        }
    }

    /// Sends a message if there is room for it at this moment.
    pub fn send_now(&self, message: &[u8]) -> Result<(), NotSent> {
        debug_assert!((1..=LONGEST).contains(&message.len()));
        loop {
            // NOSIGNAL: that the other end is closed is an error, not a SIGPIPE.
            return match send(&self.0, message, SendFlags::DONTWAIT | SendFlags::NOSIGNAL) {
                Ok(_) => Ok(()),
                Err(Errno::INTR) => continue,
                Err(Errno::AGAIN) => Err(NotSent::Late),
                Err(_) => Err(NotSent::Closed),
            };
        }
    }

    /// Waits until there is plenty of room: three quarters of all there is, so that who waits for it
    /// leaves room for who can't. Whether there is, or the other end is closed.
    pub fn has_room(&self, until: Option<Instant>) -> bool {
        !wait_for(&self.0, PollFlags::OUT, until).is_empty()
    }
}

impl Receiver {
    /// Gives the next message to `take`, waiting for it until then; `None`: for ever.
    pub fn receive<R>(
        &self,
        until: Option<Instant>,
        take: impl FnOnce(&[u8]) -> R,
    ) -> Result<R, NoMessage> {
        let mut space = [MaybeUninit::<u8>::uninit(); LONGEST];
        let flags = RecvFlags::DONTWAIT | RecvFlags::TRUNC;
        loop {
            match recv(&self.0, &mut space, flags) {
                Ok((_, 0)) => {
                    let closed = PollFlags::HUP | PollFlags::RDHUP;
                    let ready = wait_for(&self.0, PollFlags::RDHUP, Some(Instant::now()));
                    return Err(match ready.intersects(closed) {
                        true => NoMessage::Closed,
                        false => NoMessage::Garbled("an empty message"),
                    });
                }
                Ok((_, len)) if len > LONGEST => {
                    return Err(NoMessage::Garbled("a message longer than any"));
                }
                Ok(((message, _), _)) => return Ok(take(message)),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    if wait_for(&self.0, PollFlags::IN, until).is_empty() {
                        return Err(NoMessage::Late);
                    }
                }
                Err(_) => return Err(NoMessage::Closed),
            }
        }
    }
}

/// Waits for any of these; what has come, nothing when it is too late.
fn wait_for(fd: &OwnedFd, flags: PollFlags, until: Option<Instant>) -> PollFlags {
    loop {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        let mut fds = [PollFd::new(fd, flags)];
        match poll(&mut fds, timeout.as_ref()) {
            Err(Errno::INTR) => {}
            Ok(0) | Err(_) => return PollFlags::empty(),
            Ok(_) => return fds[0].revents(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, sendmsg};
    use std::io::IoSlice;
    use std::os::fd::AsFd;
    use std::time::Duration;

    fn now() -> Option<Instant> {
        Some(Instant::now())
    }

    fn take(receiver: &Receiver) -> Result<Vec<u8>, NoMessage> {
        receiver.receive(now(), <[u8]>::to_vec)
    }

    fn write(sender: &Sender, bytes: &[u8]) {
        send(&sender.0, bytes, SendFlags::DONTWAIT | SendFlags::NOSIGNAL).unwrap();
    }

    #[test]
    fn what_is_no_message_is_told_and_the_end_is_another_thing() {
        let (sender, receiver) = pair().unwrap();
        assert_eq!(take(&receiver), Err(NoMessage::Late));
        write(&sender, &[7; LONGEST]);
        write(&sender, &[]);
        write(&sender, &[7; LONGEST + 1]);
        write(&sender, &[1]);
        assert_eq!(take(&receiver).unwrap().len(), LONGEST);
        assert!(matches!(take(&receiver), Err(NoMessage::Garbled(_))));
        assert!(matches!(take(&receiver), Err(NoMessage::Garbled(_))));
        assert_eq!(take(&receiver), Ok(vec![1]));
        drop(sender);
        assert_eq!(take(&receiver), Err(NoMessage::Closed));
    }

    #[test]
    fn a_message_is_waited_for_no_longer_than_said_and_one_that_comes_is_taken() {
        let (sender, receiver) = pair().unwrap();
        let until = Instant::now() + Duration::from_millis(30);
        assert_eq!(receiver.receive(Some(until), |_| ()), Err(NoMessage::Late));
        assert!(Instant::now() >= until);
        let other = std::thread::spawn(move || {
            std::thread::sleep(Duration::from_millis(10));
            sender.send(&[3], None).unwrap();
        });
        assert_eq!(receiver.receive(None, <[u8]>::to_vec), Ok(vec![3]));
        other.join().unwrap();
    }

    #[test]
    fn who_waits_for_room_leaves_room_and_waits_no_longer_than_said() {
        let (sender, receiver) = pair().unwrap();
        let until = Instant::now() + Duration::from_millis(30);
        while sender.has_room(Some(until)) {
            sender.send_now(&[0; LONGEST]).unwrap();
        }
        for _ in 0..30 {
            sender.send_now(&[1; 500]).unwrap();
        }
        while sender.send_now(&[0; LONGEST]).is_ok() {}
        assert_eq!(sender.send(&[2], Some(until)), Err(NotSent::Late));
        while take(&receiver).is_ok() {}
        sender.send(&[2], now()).unwrap();
        drop(receiver);
        assert_eq!(sender.send(&[2], None), Err(NotSent::Closed));
    }

    fn open_files() -> usize {
        std::fs::read_dir("/proc/self/fd").unwrap().count()
    }

    /// Both as the kernel is, and as one is that lets descriptors be sent.
    #[test]
    fn descriptors_that_are_sent_along_do_not_arrive() {
        for refuses in [false, true] {
            let (sender, receiver) = pair().unwrap();
            if refuses {
                refuse_descriptors(&receiver);
            }
            let (a, b) = std::io::pipe().unwrap();
            for _ in 0..2000 {
                let fds = [a.as_fd(), b.as_fd()];
                let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
                let mut control = SendAncillaryBuffer::new(&mut space);
                control.push(SendAncillaryMessage::ScmRights(&fds));
                let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
                match sendmsg(&sender.0, &[IoSlice::new(&[9])], &mut control, flags) {
                    Ok(_) => assert_eq!(take(&receiver), Ok(vec![9])),
                    Err(error) => assert!(refuses, "{error}"),
                }
            }
            // Other tests open some, too.
            assert!(open_files() < 1000);
        }
    }

    #[test]
    fn nothing_can_be_sent_the_wrong_way() {
        let (host, worker) = HandleChannel::pair().unwrap();
        let prepared = prepare(&host).unwrap();
        let (theirs, offer) = open(&worker).unwrap();
        let ours = prepared.accept(offer);
        ours.requests.send(&[1], None).unwrap();
        assert_eq!(theirs.requests.receive(None, <[u8]>::to_vec), Ok(vec![1]));
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        assert_eq!(send(&theirs.requests.0, &[1], flags), Err(Errno::PIPE));
        theirs.connected.send(&[2], None).unwrap();
        theirs.replies.send(&[3], None).unwrap();
        assert_eq!(take(&ours.connected), Ok(vec![2]));
        assert_eq!(take(&ours.replies), Ok(vec![3]));
        drop(theirs);
        assert_eq!(take(&ours.replies), Err(NoMessage::Closed));
        assert_eq!(ours.requests.send_now(&[1]), Err(NotSent::Closed));
    }
}
