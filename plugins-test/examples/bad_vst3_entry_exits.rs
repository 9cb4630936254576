//! A VST3 library whose `ModuleEntry` ends the process as if all were well.
#![allow(unsafe_code, reason = "exports unmangled symbols; does nothing unsafe besides")]

#[macro_use]
mod bad_vst3_entry;

module!({ std::process::exit(0) }, { std::ptr::null_mut() });
