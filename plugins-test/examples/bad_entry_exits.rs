//! A CLAP library whose `clap_entry.init` ends the process as if all were well.
#![allow(unsafe_code, reason = "exports an unmangled symbol; does nothing unsafe besides")]

#[macro_use]
mod bad_entry;

clap_entry!({ std::process::exit(0) });
