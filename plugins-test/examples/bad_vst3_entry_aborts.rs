//! A VST3 library whose `ModuleEntry` aborts the process.
#![allow(unsafe_code, reason = "exports unmangled symbols; does nothing unsafe besides")]

#[macro_use]
mod bad_vst3_entry;

module!({ std::process::abort() }, { std::ptr::null_mut() });
