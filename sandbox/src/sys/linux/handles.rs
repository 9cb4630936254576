//! Handing file descriptors to a worker: SCM_RIGHTS over a socket pair.
//!
//! The worker's end is its standard input, so that starting it needs no inheritable descriptor
//! that another worker, started at the same moment, could inherit too.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, Shutdown, SocketFlags, SocketType, recvmsg, sendmsg, shutdown,
    socketpair,
};
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Something that can be handed to another process. Closed when dropped.
pub struct Handle(pub(super) OwnedFd);

/// Descriptors per message; the kernel's limit is 253.
const AT_ONCE: usize = 64;

/// One end of a connection over which handles pass.
pub struct HandleChannel(OwnedFd);

impl HandleChannel {
    /// Both ends.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (a, b) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        Ok((Self(a), Self(b)))
    }

    pub(super) fn into_fd(self) -> OwnedFd {
        self.0
    }

    /// In a worker: takes the channel that the host put in place of standard input, and puts
    /// `/dev/null` there.
    pub fn from_stdin() -> io::Result<Self> {
        let stdin = io::stdin();
        let fd = rustix::io::fcntl_dupfd_cloexec(stdin.as_fd(), 3)?;
        let null = std::fs::File::open("/dev/null")?;
        rustix::stdio::dup2_stdin(&null)?;
        rustix::net::sockopt::socket_type(&fd)?; // not a socket: started by hand
        Ok(Self(fd))
    }

    /// Sends handles; they arrive in this order.
    pub fn send(&self, handles: &[&Handle]) -> io::Result<()> {
        for some in handles.chunks(AT_ONCE) {
            let fds: Vec<BorrowedFd<'_>> = some.iter().map(|h| h.0.as_fd()).collect();
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            control.push(SendAncillaryMessage::ScmRights(&fds));
            let count = [some.len() as u8];
            // NOSIGNAL: a worker that is gone is an error, not a SIGPIPE.
            // DONTWAIT: a worker that does not read must not hold the supervisor.
            let flags = SendFlags::NOSIGNAL | SendFlags::DONTWAIT;
            sendmsg(&self.0, &[IoSlice::new(&count)], &mut control, flags)?;
        }
        Ok(())
    }

    /// Nothing is received from now on: whatever the other end would send is refused there, and does not
    /// lie about here.
    pub fn stop_receiving(&self) {
        let _ = shutdown(&self.0, Shutdown::Read);
    }

    /// Receives exactly `count` handles, which have been sent before or are about to be.
    pub fn receive(&self, count: usize) -> io::Result<Vec<Handle>> {
        let mut handles = Vec::with_capacity(count);
        let mut sent = 0;
        while sent < count {
            let mut byte = [0u8];
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(AT_ONCE))];
            let mut control = RecvAncillaryBuffer::new(&mut space);
            let got = recvmsg(
                &self.0,
                &mut [IoSliceMut::new(&mut byte)],
                &mut control,
                RecvFlags::CMSG_CLOEXEC,
            )?;
            if got.bytes == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            for message in control.drain() {
                if let RecvAncillaryMessage::ScmRights(fds) = message {
                    handles.extend(fds.map(Handle));
                }
            }
            sent += usize::from(byte[0]).max(1);
        }
        // The kernel leaves out those for which there is no number left.
        match handles.len() == count {
            true => Ok(handles),
            false => Err(io::Error::other("too many open files to be handed more")),
        }
    }
}
