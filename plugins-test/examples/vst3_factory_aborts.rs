//! A VST3 library whose `GetPluginFactory` aborts the process.
#![allow(unsafe_code, reason = "exports unmangled symbols; does nothing unsafe besides")]

#[macro_use]
mod bad_vst3_entry;

module!({ true }, { std::process::abort() });
