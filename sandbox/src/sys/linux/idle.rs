//! Keeping idle cores from sleeping deeply, by the kernel's PM QoS interface.
//!
//! A core that has nothing to do goes to sleep, and takes the longer to wake the deeper it sleeps;
//! a virtual machine's is taken away by the machine it runs on. `/dev/cpu_dma_latency` holds the
//! longest wake that a program can bear, for as long as that program keeps the file open: see
//! `Documentation/power/pm_qos_interface.rst` of Linux.
//!
//! To a hypervisor such a core is busy. One that rations processor time takes it away sooner or
//! later, for longer than any wake lasts: where that is seen to happen, cores may sleep after all.

use super::usage::stolen;
use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

const DEVICE: &str = "/dev/cpu_dma_latency";
/// How often is looked whether time was stolen,
const LOOK: Duration = Duration::from_secs(1);
/// over how many looks,
const LOOKS: usize = 10;
/// and how much is too much. What happens anyway is far less.
const TOO_MUCH: Duration = Duration::from_millis(40);

/// While this lives, idle cores don't sleep, unless a hypervisor takes them away for it. Costs
/// electricity and warmth.
#[derive(Debug)]
pub struct CoresAwake(#[expect(dead_code, reason = "its end ends the thread")] mpsc::Sender<()>);

/// Keeps all cores awake.
///
/// # Errors
/// Not permitted, or this system has no such thing: [`awake_advice`] says what to do.
pub fn keep_cores_awake() -> io::Result<CoresAwake> {
    let mut file = OpenOptions::new().write(true).open(DEVICE)?;
    // The longest wake in us, as a number of 32 bits.
    file.write_all(&0_i32.to_ne_bytes())?;
    let (awake, ended) = mpsc::channel();
    std::thread::Builder::new().name("cores awake".into()).spawn(move || watch(file, &ended))?;
    Ok(CoresAwake(awake))
}

/// Keeps the file open for as long as that is good.
fn watch(file: File, ended: &mpsc::Receiver<()>) {
    let mut looks = VecDeque::from([stolen()]);
    while ended.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
        if is_too_much(&mut looks, stolen()) {
            tracing::warn!(
                "the hypervisor takes this machine's cores away while they are kept awake: idle ones \
                 may sleep from now on, which makes waking them slower"
            );
            return drop(file);
        }
    }
}

/// Whether too much was stolen during the last looks.
fn is_too_much(looks: &mut VecDeque<Duration>, now: Duration) -> bool {
    looks.push_back(now);
    if looks.len() > LOOKS + 1 {
        looks.pop_front();
    }
    looks.front().is_some_and(|first| now.saturating_sub(*first) >= TOO_MUCH)
}

/// For a user whose cores can't be kept awake: what would permit it.
pub fn awake_advice() -> &'static str {
    "idle cores may sleep, which makes waking them slower: give your user (the group 'audio', say) \
     write access to /dev/cpu_dma_latency by a udev rule"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_theft_is_too_much_and_what_happens_anyway_is_not() {
        let ms = Duration::from_millis;
        let mut looks = VecDeque::from([ms(5000)]);
        // 10 ms in 4 s, for a minute.
        for second in 1..=60 {
            assert!(!is_too_much(&mut looks, ms(5000 + 10 * (second / 4))), "{second}");
        }
        assert!(is_too_much(&mut looks, ms(5300)));
    }
}
