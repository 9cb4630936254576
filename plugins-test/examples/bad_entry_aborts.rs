//! A CLAP library whose `clap_entry.init` aborts the process.
#![allow(unsafe_code, reason = "exports an unmangled symbol; does nothing unsafe besides")]

#[macro_use]
mod bad_entry;

clap_entry!({ std::process::abort() });
