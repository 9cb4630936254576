//! Linux: memfd with seals, futex, SCHED_FIFO, pidfd, SCM_RIGHTS, dlopen.

pub mod clock;
pub mod handles;
pub mod library;
pub mod memory;
pub mod process;
pub mod thread;
pub mod wake;
