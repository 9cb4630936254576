//! A VST3 library that initializes but has no plugin factory.
#![allow(unsafe_code, reason = "exports unmangled symbols; does nothing unsafe besides")]

#[macro_use]
mod bad_vst3_entry;

module!({ true }, { std::ptr::null_mut() });
