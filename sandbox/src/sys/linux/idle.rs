//! Keeping idle cores from sleeping deeply, by the kernel's PM QoS interface.
//!
//! A core that has nothing to do goes to sleep, and takes the longer to wake the deeper it sleeps;
//! a virtual machine's is taken away by the machine it runs on. `/dev/cpu_dma_latency` holds the
//! longest wake that a program can bear, for as long as that program keeps the file open: see
//! `Documentation/power/pm_qos_interface.rst` of Linux.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};

const DEVICE: &str = "/dev/cpu_dma_latency";

/// While this lives, idle cores don't sleep. Costs electricity and warmth.
#[derive(Debug)]
pub struct CoresAwake(#[expect(dead_code, reason = "open as long as this lives")] File);

/// Keeps all cores awake.
///
/// # Errors
/// Not permitted, or this system has no such thing: [`awake_advice`] says what to do.
pub fn keep_cores_awake() -> io::Result<CoresAwake> {
    let mut file = OpenOptions::new().write(true).open(DEVICE)?;
    // The longest wake in us, as a number of 32 bits.
    file.write_all(&0_i32.to_ne_bytes())?;
    Ok(CoresAwake(file))
}

/// For a user whose cores can't be kept awake: what would permit it.
pub fn awake_advice() -> &'static str {
    "idle cores may sleep, which makes waking them slower: give your user (the group 'audio', say) \
     write access to /dev/cpu_dma_latency by a udev rule"
}
