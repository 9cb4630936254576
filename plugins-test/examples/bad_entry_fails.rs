//! A CLAP library whose `clap_entry.init` returns false.
#![allow(unsafe_code, reason = "exports an unmangled symbol; does nothing unsafe besides")]

#[macro_use]
mod bad_entry;

clap_entry!({ false });
