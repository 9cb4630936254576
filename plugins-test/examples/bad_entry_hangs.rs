//! A CLAP library whose `clap_entry.init` never returns (it sleeps).
#![allow(unsafe_code, reason = "exports an unmangled symbol; does nothing unsafe besides")]

#[macro_use]
mod bad_entry;

clap_entry!({
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
});
