//! A VST3 library whose `ModuleEntry` returns false.
#![allow(unsafe_code, reason = "exports unmangled symbols; does nothing unsafe besides")]

#[macro_use]
mod bad_vst3_entry;

module!({ false }, { std::ptr::null_mut() });
