//! What waking costs on this machine, and where that says to put the workers.
//!
//! The *floor* is a chain of processes that do next to nothing and wake each other by the bare
//! system call: no host of plugins can hand a block on faster. A wake is cheap where the next
//! process runs on the same core, and dear where a core has to leave its idle state first.

use crate::error::Error;
use crate::protocol::Region;
use crate::supervisor::hand_over;
use crate::sys::clock::now_ns;
use crate::sys::handles::HandleChannel;
use crate::sys::memory::{Access, Mapping, SharedMemory};
use crate::sys::process::{Process, end_with_parent};
use crate::sys::thread::{self, priority};
use crate::sys::wake::Bell;
use std::ffi::{OsStr, OsString};
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;

/// First argument of a program that is started as a link of the floor's chain.
const FLOOR_ARGUMENT: &str = "--sandrack-floor";

/// Where the links of a chain run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// All on one core, the driver of the chain included.
    SameCore(usize),
    /// Wherever the system puts them.
    AnyCore,
}

/// Cost of a hop, in ns: a round trip through the chain, divided by its links.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Floor {
    /// Half of the rounds took less.
    pub p50: f64,
    /// All but a hundredth took less.
    pub p99: f64,
}

/// Where workers should run.
#[derive(Clone, Debug, PartialEq)]
pub struct Calibration {
    /// Hop on one core.
    pub same_core: Floor,
    /// Hop where the system places.
    pub any_core: Floor,
    /// Whether the links got the realtime class.
    pub realtime: bool,
    /// Cores to use, the engine's first.
    pub cores: Vec<usize>,
}

impl Calibration {
    /// Whether workers in series should be kept on one core.
    pub fn pins(&self) -> bool {
        self.same_core.p50 < self.any_core.p50
    }

    /// Core for the chain with this number, if chains are pinned: spread evenly.
    pub fn core_for_chain(&self, chain: usize) -> Option<usize> {
        self.pins().then(|| self.cores[chain % self.cores.len()])
    }
}

/// Measures this machine. Takes about a second.
pub fn calibrate(program: &Path) -> Result<Calibration, Error> {
    let cores = thread::cores();
    let here = cores.first().copied().unwrap_or(0);
    let rest = Duration::from_micros(500);
    let (same_core, realtime) = measure(program, 32, Placement::SameCore(here), 300, rest)?;
    let (any_core, _) = measure(program, 32, Placement::AnyCore, 100, rest)?;
    Ok(Calibration { same_core, any_core, realtime, cores })
}

#[repr(C, align(64))]
struct Link {
    word: AtomicU32,
    _to_line: [u32; 15],
}

/// One page for the words, the rest for audio: two channels of 64 frames a link.
const MAX_LINKS: usize = 64;
const AUDIO_AT: usize = MAX_LINKS * size_of::<Link>();
const SAMPLES: usize = 128;

/// The floor: `links` processes (at most 60) in series, `rounds` times. Also whether they got the
/// realtime class. `rest`: from one round to the next. The longer it is the dearer a hop: others
/// use the caches meanwhile, and the core falls into a deeper sleep.
pub fn measure(
    program: &Path,
    links: usize,
    placement: Placement,
    rounds: usize,
    rest: Duration,
) -> Result<(Floor, bool), Error> {
    // Seen under Wine, once, for a reason that is not known. A process that does not come up would do it.
    let first = chain(program, links, placement, rounds, rest);
    let Err(error @ Error::Protocol { .. }) = first else { return first };
    tracing::warn!("{error}: tried once more");
    chain(program, links, placement, rounds, rest)
}

/// One chain of processes, as [`measure`] wants it.
fn chain(
    program: &Path,
    links: usize,
    placement: Placement,
    rounds: usize,
    rest: Duration,
) -> Result<(Floor, bool), Error> {
    let links = links.clamp(1, 60);
    let len = AUDIO_AT + MAX_LINKS * SAMPLES * 4;
    let memory = SharedMemory::with_bells("sandrack-floor", len, links + 1)
        .map_err(Error::system("making shared memory"))?;
    let core = match placement {
        Placement::SameCore(core) => core.to_string(),
        Placement::AnyCore => "any".to_owned(),
    };
    let mut processes = Vec::with_capacity(links);
    for link in 0..links {
        let (handles, for_link) =
            HandleChannel::pair().map_err(Error::system("making a socket pair"))?;
        let arguments: Vec<OsString> = vec![
            FLOOR_ARGUMENT.into(),
            std::process::id().to_string().into(),
            link.to_string().into(),
            core.clone().into(),
            memory.len().to_string().into(),
        ];
        let arguments: Vec<&OsStr> = arguments.iter().map(OsString::as_os_str).collect();
        let process = Process::start(program, &arguments, for_link, false)
            .map_err(Error::system(format!("starting {}", program.display())))?;
        let (_, memory_handles) = hand_over(&[(&memory, Access::ReadWrite)])
            .and_then(|(r, h)| handles.send(&h.iter().collect::<Vec<_>>()).map(|()| (r, h)))
            .map_err(Error::system("handing over memory"))?;
        drop(memory_handles);
        // Kept: the link's end would see the channel close.
        processes.push((process, handles));
    }
    let mapping = memory
        .map(Access::ReadWrite)
        .map(Arc::new)
        .map_err(Error::system("mapping shared memory"))?;
    let (sender, result) = mpsc::channel();
    std::thread::Builder::new()
        .name("floor".into())
        .spawn(move || {
            if let Placement::SameCore(core) = placement {
                let _ = thread::pin_current(core);
            }
            let realtime = thread::set_realtime(priority::ENGINE).is_ok();
            let _ = sender.send((drive(&mapping, links, rounds, rest), realtime));
        })
        .map_err(Error::system("starting a thread"))?;
    let patience = Duration::from_secs(20) + 2 * rest * rounds as u32;
    let (took, realtime) = result.recv_timeout(patience).map_err(|_| Error::Protocol {
        name: "calibration".into(),
        what: "its chain of processes stood still; is the machine out of memory?".into(),
    })?;
    let at = |quantile: f64| took[((took.len() - 1) as f64 * quantile) as usize] / links as f64;
    Ok((Floor { p50: at(0.5), p99: at(0.99) }, realtime))
}

/// Rounds through the chain, in ns, ascending.
fn drive(mapping: &Mapping, links: usize, rounds: usize, rest: Duration) -> Vec<f64> {
    let (words, bells) = (words(mapping), bells(mapping));
    let (Some(first), Some(last)) = (bells.first(), bells.get(links)) else { return vec![] };
    let mut took = Vec::with_capacity(rounds);
    const WARM_UP: usize = 10;
    for round in 1..=(rounds + WARM_UP) as u32 {
        // As between two periods: the cores fall idle.
        std::thread::sleep(rest);
        let start = now_ns();
        words[0].word.store(round, Ordering::SeqCst);
        first.wake(&words[0].word);
        while words[links].word.load(Ordering::SeqCst) != round {
            last.wait(&words[links].word, round - 1, u64::MAX);
        }
        if round > WARM_UP as u32 {
            took.push((now_ns() - start) as f64);
        }
    }
    took.sort_by(f64::total_cmp);
    took
}

fn bells(mapping: &Mapping) -> Vec<Bell> {
    (0..MAX_LINKS).map_while(|link| mapping.bell(link)).collect()
}

#[expect(unsafe_code, reason = "a view of shared words; see Safety")]
fn words(mapping: &Mapping) -> &[Link; MAX_LINKS] {
    assert!(mapping.len() >= AUDIO_AT);
    // SAFETY: large enough (checked), aligned (a page), atomics, borrowed from the mapping.
    unsafe { &*mapping.as_ptr().cast() }
}

/// If this process was started as a link, is one, and does not return.
pub fn run_if_link() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() == Some(FLOOR_ARGUMENT) {
        let numbers: Vec<String> = arguments.collect();
        let code = i32::from(link(&numbers).is_none());
        crate::sys::process::exit_now(code);
    }
}

#[expect(unsafe_code, reason = "touches its own part of the shared audio; see Safety")]
fn link(arguments: &[String]) -> Option<()> {
    let [parent, link, core, len] = arguments else { return None };
    end_with_parent(parent.parse().ok()?).ok()?;
    let link: usize = link.parse().ok().filter(|&link| link + 1 < MAX_LINKS)?;
    let region = Region { len: len.parse().ok()?, write: true };
    let handles = HandleChannel::from_stdin().ok()?;
    let handle = handles.receive(1).ok()?.pop()?;
    let mapping = Mapping::from_handle(handle, region.len, Access::ReadWrite).ok()?;
    if mapping.len() < AUDIO_AT + MAX_LINKS * SAMPLES * 4 {
        return None;
    }
    if let Ok(core) = core.parse() {
        let _ = thread::pin_current(core);
    }
    let _ = thread::set_realtime(priority::WORKER);
    thread::lock_stack();
    let words = words(&mapping);
    let (own, next) = (mapping.bell(link)?, mapping.bell(link + 1)?);
    // SAFETY: within the mapping (checked); no other process touches this link's samples.
    let audio = unsafe {
        let first = mapping.as_ptr().add(AUDIO_AT).cast::<f32>().add(link * SAMPLES);
        std::slice::from_raw_parts_mut(first, SAMPLES)
    };
    for round in 1u32.. {
        while words[link].word.load(Ordering::SeqCst) != round {
            own.wait(&words[link].word, round - 1, u64::MAX);
        }
        audio.iter_mut().for_each(|sample| *sample = *sample * 0.5 + 1.0);
        words[link + 1].word.store(round, Ordering::SeqCst);
        next.wake(&words[link + 1].word);
    }
    None
}
