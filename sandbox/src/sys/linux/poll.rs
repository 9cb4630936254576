//! Waiting, on a worker's main thread, for whichever comes first: to be woken by another thread, a
//! time, a file descriptor that a plugin named.
//!
//! Most workers have no descriptor to watch: they sleep on a futex and own nothing for it. Only the
//! first wait with descriptors makes an eventfd.
//!
//! # Safety
//! The `unsafe` calls borrow descriptors that a plugin has named by their numbers. They are asked
//! for readiness and for nothing else; what became of a number since does no harm to memory.
#![allow(unsafe_code)]

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use std::io;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, Thread};
use std::time::Instant;

/// Something that can be watched: a file descriptor's number.
pub type Watched = i32;

/// What a descriptor is, or is to be, ready for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Readiness {
    /// To be read without waiting.
    pub read: bool,
    /// To be written without waiting.
    pub write: bool,
    /// It failed, or its other end hung up.
    pub error: bool,
    /// There is no such descriptor (any more). Told, never asked for.
    pub void: bool,
}

/// Waits, on the thread that made it.
pub struct Sleeper(Waker);

/// Ends the [`Sleeper`]'s present or next wait. Any thread; neither allocates nor blocks.
#[derive(Clone)]
pub struct Waker(Arc<State>);

struct State {
    thread: Thread,
    woken: AtomicBool,
    event: OnceLock<OwnedFd>,
}

impl Sleeper {
    /// For the thread that calls it.
    ///
    /// # Errors
    /// None here.
    pub fn new() -> io::Result<Self> {
        let (thread, woken) = (thread::current(), AtomicBool::new(false));
        Ok(Self(Waker(Arc::new(State { thread, woken, event: OnceLock::new() }))))
    }

    /// What wakes it.
    pub fn waker(&self) -> Waker {
        self.0.clone()
    }

    /// Waits until it is woken, or `until`, or a descriptor is ready for what is asked of it; then
    /// says what each is ready for. May return early for no reason.
    pub fn wait(&self, watched: &mut [(Watched, Readiness)], until: Option<Instant>) {
        let left = until.map(|until| until.saturating_duration_since(Instant::now()));
        if watched.is_empty() {
            match left {
                Some(left) => thread::park_timeout(left),
                None => thread::park(),
            }
            return;
        }
        let state = &self.0.0;
        let event = match state.event.get() {
            Some(event) => event,
            None => match eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK) {
                Ok(event) => state.event.get_or_init(|| event),
                Err(_) => {
                    // Out of descriptors: look at them now and then.
                    let short = std::time::Duration::from_millis(10);
                    thread::park_timeout(left.map_or(short, |left| left.min(short)));
                    watched.iter_mut().for_each(|(_, ready)| *ready = Readiness::default());
                    return;
                }
            },
        };
        // Either `wake` sees the event, or this sees that it was woken: SeqCst in both.
        let woken = state.woken.swap(false, Ordering::SeqCst);
        let timeout = match woken {
            true => Some(Timespec { tv_sec: 0, tv_nsec: 0 }),
            false => left.map(|left| Timespec {
                tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
                tv_nsec: i64::from(left.subsec_nanos()),
            }),
        };
        let mut fds: Vec<PollFd<'_>> = Vec::with_capacity(watched.len() + 1);
        fds.push(PollFd::new(event, PollFlags::IN));
        for &(descriptor, wanted) in watched.iter() {
            let mut flags = PollFlags::empty();
            flags.set(PollFlags::IN, wanted.read);
            flags.set(PollFlags::OUT, wanted.write);
            // SAFETY: only -1 is not allowed, and `max` rules it out; see the module otherwise.
            let fd = unsafe { BorrowedFd::borrow_raw(descriptor.max(0)) };
            fds.push(PollFd::from_borrowed_fd(fd, flags));
        }
        let failed = poll(&mut fds, timeout.as_ref()).is_err();
        if !fds[0].revents().is_empty() {
            let _ = rustix::io::read(event, &mut [0u8; 8]);
            state.woken.store(false, Ordering::SeqCst);
        }
        for ((descriptor, ready), fd) in watched.iter_mut().zip(&fds[1..]) {
            let events = if failed { PollFlags::empty() } else { fd.revents() };
            let wanted = *ready;
            *ready = Readiness {
                // The end of a stream is something to read.
                read: wanted.read && events.intersects(PollFlags::IN | PollFlags::HUP),
                write: wanted.write && events.contains(PollFlags::OUT),
                error: events.intersects(PollFlags::ERR | PollFlags::HUP),
                void: events.contains(PollFlags::NVAL) || *descriptor < 0,
            };
        }
    }
}

impl Readiness {
    /// Whether there is anything to tell.
    pub fn any(self) -> bool {
        self != Self::default()
    }
}

impl Waker {
    /// See the type.
    pub fn wake(&self) {
        let state = &self.0;
        state.woken.store(true, Ordering::SeqCst);
        state.thread.unpark();
        if let Some(event) = state.event.get() {
            let _ = rustix::io::write(event, &1u64.to_ne_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::time::Duration;

    const READ: Readiness = Readiness { read: true, write: false, error: false, void: false };
    const LONG: Duration = Duration::from_secs(60);

    fn far() -> Option<Instant> {
        Some(Instant::now() + LONG)
    }

    #[test]
    fn a_wake_before_or_during_a_wait_ends_it_with_descriptors_and_without() {
        let began = Instant::now();
        let sleeper = Sleeper::new().unwrap();
        let (quiet, _other) = std::io::pipe().unwrap();
        for round in 0..200 {
            let mut watched = vec![(quiet.as_raw_fd(), READ); round % 2];
            let waker = sleeper.waker();
            let other = thread::spawn(move || waker.wake());
            if round % 3 == 0 {
                other.join().unwrap();
            }
            sleeper.wait(&mut watched, far());
            assert!(watched.iter().all(|(_, ready)| !ready.any()));
        }
        assert!(began.elapsed() < LONG);
    }

    #[test]
    fn descriptors_say_what_they_are_ready_for() {
        let sleeper = Sleeper::new().unwrap();
        let (full, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"x").unwrap();
        let (empty, _kept) = std::io::pipe().unwrap();
        let (ended, gone) = std::io::pipe().unwrap();
        drop(gone);
        let (closed, _) = std::io::pipe().unwrap();
        let number = closed.as_raw_fd();
        drop(closed);
        let numbers = [full.as_raw_fd(), empty.as_raw_fd(), ended.as_raw_fd(), number + 1000, -7];
        let mut watched = numbers.map(|number| (number, READ));
        sleeper.wait(&mut watched, far());
        let told = watched.map(|(_, ready)| ready);
        assert_eq!(told[0], READ);
        assert!(!told[1].any());
        assert_eq!(told[2], Readiness { error: true, ..READ });
        assert!(told[3].void && told[4].void);
    }

    #[test]
    fn a_wait_without_descriptors_makes_none() {
        let sleeper = Sleeper::new().unwrap();
        sleeper.waker().wake();
        sleeper.wait(&mut [], far());
        assert!(sleeper.0.0.event.get().is_none());
    }
}
