//! A VST3 library whose `ModuleEntry` never returns (it sleeps).
#![allow(unsafe_code, reason = "exports unmangled symbols; does nothing unsafe besides")]

#[macro_use]
mod bad_vst3_entry;

module!(
    {
        loop {
            std::thread::sleep(std::time::Duration::from_secs(3600));
        }
    },
    { std::ptr::null_mut() }
);
