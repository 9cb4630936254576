//! Rubbish, written to every descriptor of the process: whoever reads at the other end has to bear it.
//!
//! | round | what |
//! |---|---|
//! | `0` | one byte |
//! | `1` | what looks like the beginning of a longer message, by its first words or its first byte |
//! | `2` | random bytes, of random lengths |
//! | `3` | nothing: a message without a byte |
//! | `4` | more than any message has |
//!
//! A round a block, over and over; each process begins with another one. It never waits: a descriptor
//! that takes nothing more is left out.

use std::io;
use std::mem::{size_of, zeroed};
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

const DESCRIPTORS: i32 = 1024;
const ROUNDS: u32 = 5;

/// One round. `with_sockets`: with both ends of a new pair of sockets sent along, where that is
/// possible.
pub(crate) fn write_descriptors(with_sockets: bool) {
    static ROUND: AtomicU32 = AtomicU32::new(0);
    let round = ROUND.fetch_add(1, Relaxed).wrapping_add(std::process::id());
    let bytes = rubbish(round % ROUNDS, &mut Random(round.wrapping_mul(0x9e37_79b9)));
    for descriptor in 0..DESCRIPTORS {
        if !with_sockets || send_with_sockets(descriptor, &bytes).is_err() {
            write(descriptor, &bytes);
        }
    }
}

fn rubbish(round: u32, random: &mut Random) -> Vec<u8> {
    let word = |number: u64| number.to_ne_bytes();
    let mut bytes = match round {
        0 => vec![b'x'],
        // Its own length, then that of all its pieces; or a piece, and a last one.
        1 => match random.next() % 4 {
            0 => [word(24), word(1 << 40), word(7)].concat(),
            1 => [word(24), word(100_000), word(7)].concat(),
            2 => [word(1 << 20), word(1 << 20)].concat(),
            _ => vec![(random.next() % 8) as u8; 32 * 1024],
        },
        3 => return Vec::new(),
        4 => vec![0; 60_000],
        _ => vec![0; 1 + random.next() as usize % 40_000],
    };
    if round == 2 {
        bytes.iter_mut().for_each(|byte| *byte = random.next() as u8);
    }
    bytes
}

/// As a message, or else as a part of a stream or a file.
fn write(descriptor: i32, bytes: &[u8]) {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    // SAFETY: the bytes outlive the calls. The descriptor is others': that is the fault.
    unsafe {
        let done = libc::send(descriptor, bytes.as_ptr().cast(), bytes.len(), flags);
        let no_socket = io::Error::last_os_error().raw_os_error() == Some(libc::ENOTSOCK);
        // Standard output and error may be somebody's terminal.
        if done == -1 && no_socket && descriptor > 2 {
            libc::write(descriptor, bytes.as_ptr().cast(), bytes.len());
        }
    }
}

fn send_with_sockets(descriptor: i32, bytes: &[u8]) -> io::Result<()> {
    const BOTH: usize = size_of::<[i32; 2]>();
    // An empty message carries nothing.
    let bytes = if bytes.is_empty() { &[0] } else { bytes };
    let mut pair = [-1; 2];
    // SAFETY: every pointer is to a local that outlives the calls; the pair is new, and closed. The
    // descriptor is others': that is the fault.
    unsafe {
        if libc::socketpair(libc::AF_UNIX, libc::SOCK_SEQPACKET, 0, pair.as_mut_ptr()) != 0 {
            return Err(io::Error::last_os_error());
        }
        let mut part =
            libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
        let mut control = [0_u64; 8];
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(BOTH as u32) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(BOTH as u32) as _;
        ptr::copy_nonoverlapping(pair.as_ptr().cast::<u8>(), libc::CMSG_DATA(header), BOTH);
        let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
        let done = libc::sendmsg(descriptor, &raw const message, flags);
        let error = io::Error::last_os_error();
        pair.iter().for_each(|&end| {
            libc::close(end);
        });
        if done == -1 { Err(error) } else { Ok(()) }
    }
}

/// Xorshift.
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        let Self(x) = self;
        *x = (*x).max(1);
        *x ^= *x << 13;
        *x ^= *x >> 17;
        *x ^= *x << 5;
        *x
    }
}
