//! A CLAP library that initializes but has no plugin factory.
#![allow(unsafe_code, reason = "exports an unmangled symbol; does nothing unsafe besides")]

#[macro_use]
mod bad_entry;

clap_entry!({ true });
