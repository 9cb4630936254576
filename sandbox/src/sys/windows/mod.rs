//! Windows: file mappings without names, events, MMCSS, job objects, LoadLibrary, plain windows.

pub mod channel;
pub mod clock;
pub mod confine;
pub mod crash;
pub mod folders;
pub mod handles;
pub mod idle;
pub mod library;
pub mod memory;
pub mod poll;
pub mod process;
pub mod signals;
pub mod thread;
pub mod traces;
pub mod usage;
pub mod wake;
pub mod window;
