//! What hostile plugins of every format do wrong: one list, and one way of doing each.
//!
//! [`Strike`] is the list. A plugin calls [`Strike::enter`] on entering each function of its format
//! and [`Strike::strike`] in each block that is to go wrong; what only the format knows of a block
//! (its buffers, its lists of events) it offers as a [`Block`].
//!
//! | file | strikes |
//! |---|---|
//! | `crash` | that end the process, or stop it |
//! | `escape` | that reach beyond the worker |
//! | `bomb` | that use up memory, threads, processes, files, the disk, the processor |
//! | `meddle` | that change the process they are in: descriptors, priorities, signals |
//! | `shared_memory` | that write where others read |
//! | `descriptors` | that write to every descriptor there is |
//! | `sys` | what depends on the operating system, for all of them |
//!
//! # Safety
//!
//! The `unsafe` code here breaks rules on purpose; nobody should run it in a process that has more to
//! lose.

mod bomb;
mod crash;
#[cfg(target_os = "linux")]
mod descriptors;
mod escape;
mod meddle;
mod shared_memory;
mod sys;

use std::process;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::thread;
use std::time::Duration;

pub(crate) use shared_memory::Mappings;

macro_rules! strikes {
    ($($strike:ident = $name:literal,)*) => {
        /// What a plugin does wrong; the first page of each format's library describes it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(crate) enum Strike {
            $($strike,)*
        }

        #[allow(dead_code, reason = "each format has names of its own")]
        impl Strike {
            pub(crate) const ALL: &[Strike] = &[$(Strike::$strike,)*];

            pub(crate) const fn name(self) -> &'static str {
                match self {
                    $(Self::$strike => $name,)*
                }
            }

            /// With a NUL behind it.
            pub(crate) const fn clap_id(self) -> &'static str {
                match self {
                    $(Self::$strike => concat!("org.sandrack.hostile.", $name, "\0"),)*
                }
            }

            /// With a NUL behind it.
            pub(crate) const fn clap_name(self) -> &'static str {
                match self {
                    $(Self::$strike => concat!("Sandrack Hostile ", $name, "\0"),)*
                }
            }

            pub(crate) const fn vst3_name(self) -> &'static str {
                match self {
                    $(Self::$strike => concat!("Hostile ", $name),)*
                }
            }
        }
    };
}

strikes! {
    // On entering a function.
    InitFails = "init-fails",
    InitAborts = "init-aborts",
    InitExits = "init-exits",
    InitHangs = "init-hangs",
    InitStops = "init-stops",
    ActivateFails = "activate-fails",
    ActivateAborts = "activate-aborts",
    ActivateExits = "activate-exits",
    ActivateHangs = "activate-hangs",
    StartFails = "start-fails",
    StartHangs = "start-hangs",
    StopHangs = "stop-hangs",
    StartSpins = "start-spins",
    StopSpins = "stop-spins",
    DeactivateAborts = "deactivate-aborts",
    DeactivateHangs = "deactivate-hangs",
    StateSaveAborts = "state-save-aborts",
    StateSaveHangs = "state-save-hangs",
    StateLoadAborts = "state-load-aborts",
    StateLoadHangs = "state-load-hangs",
    DestroyAborts = "destroy-aborts",
    DestroyHangs = "destroy-hangs",
    // In a block, fatally.
    Segfault = "segfault",
    Abort = "abort",
    Exit = "exit",
    StackOverflow = "stack-overflow",
    HeapSmash = "heap-smash",
    DoubleFree = "double-free",
    Hang = "hang",
    Sleep = "sleep",
    Stop = "stop",
    RingsHost = "rings-host",
    ScribblesAsleep = "scribbles-asleep",
    // In a block, once.
    Late = "late",
    Scribble = "scribble",
    ClosesDescriptors = "closes-descriptors",
    ChangesPriority = "changes-priority",
    ChangesMask = "changes-mask",
    HandlesSignals = "handles-signals",
    WrongCounts = "wrong-counts",
    // In a block, and in all that follow.
    Nan = "nan",
    Inf = "inf",
    Denormal = "denormal",
    Error = "error",
    BadEvents = "bad-events",
    EventFlood = "event-flood",
    LogFlood = "log-flood",
    WrongThreads = "wrong-threads",
    WritesDescriptors = "writes-descriptors",
    SendsDescriptors = "sends-descriptors",
    // Attempts to reach beyond the worker, in `init` too.
    OpensSocket = "opens-socket",
    ReadsHome = "reads-home",
    WritesHome = "writes-home",
    WritesPrivate = "writes-private",
    Executes = "executes",
    ExecutesItself = "executes-itself",
    KillsParent = "kills-parent",
    ReadsParent = "reads-parent",
    TracesParent = "traces-parent",
    ChangesMode = "changes-mode",
    OpensFiles = "opens-files",
    EatsMemory = "eats-memory",
    StartsThread = "starts-thread",
    // Bombs, once.
    ForkBomb = "fork-bomb",
    ThreadBomb = "thread-bomb",
    MemoryBomb = "memory-bomb",
    BigAllocation = "big-allocation",
    FillsFolder = "fills-folder",
    HidesMemory = "hides-memory",
    LeavesMemory = "leaves-memory",
    HidesFiles = "hides-files",
    FillsFile = "fills-file",
    SpinsEverywhere = "spins-everywhere",
}

/// A function of a plugin, whatever a format calls it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    Init,
    Activate,
    Start,
    Stop,
    Deactivate,
    SaveState,
    LoadState,
    Destroy,
}

/// A block, as far as strikes have to know of it.
pub(crate) trait Block {
    /// Address and frames of each output channel.
    fn outputs(&self) -> Vec<(*mut f32, usize)>;
    /// Puts out events of absurd size, time, type, order and content.
    fn bad_events(&mut self);
    /// Puts out far more events than anybody has room for.
    fn event_flood(&mut self);
    /// Writes far more lines to the host's log than anybody reads.
    fn log_flood(&mut self);
    /// Calls what the host has for other threads; `first`: for the first time.
    fn wrong_threads(&mut self, first: bool);
}

/// What a plugin needs to remember to strike.
#[derive(Default)]
pub(crate) struct Memory {
    /// What it may write to, as of [`Entry::Init`]: later it may be unable to look.
    mappings: Mappings,
    /// The strike that has begun, by its number, plus one.
    begun: AtomicU32,
}

impl Memory {
    /// It was activated: the next block that goes wrong is the first.
    pub(crate) fn forget(&self) {
        self.begun.store(0, Relaxed);
    }
}

pub(crate) fn sleep_forever() -> ! {
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

impl Strike {
    /// Does what the plugin is for on entering a function; false: the function has to fail.
    pub(crate) fn enter(self, entry: Entry) -> bool {
        match (self, entry) {
            (Self::InitFails, Entry::Init)
            | (Self::ActivateFails, Entry::Activate)
            | (Self::StartFails, Entry::Start) => return false,
            (Self::InitAborts, Entry::Init)
            | (Self::ActivateAborts, Entry::Activate)
            | (Self::DeactivateAborts, Entry::Deactivate)
            | (Self::StateSaveAborts, Entry::SaveState)
            | (Self::StateLoadAborts, Entry::LoadState)
            | (Self::DestroyAborts, Entry::Destroy) => process::abort(),
            (Self::InitExits, Entry::Init) | (Self::ActivateExits, Entry::Activate) => {
                process::exit(0)
            }
            // What hangs outside of blocks sleeps, so that it costs test machines nothing.
            (Self::InitHangs, Entry::Init)
            | (Self::ActivateHangs, Entry::Activate)
            | (Self::StartHangs, Entry::Start)
            | (Self::StopHangs, Entry::Stop)
            | (Self::DeactivateHangs, Entry::Deactivate)
            | (Self::StateSaveHangs, Entry::SaveState)
            | (Self::StateLoadHangs, Entry::LoadState)
            | (Self::DestroyHangs, Entry::Destroy) => sleep_forever(),
            (Self::InitStops, Entry::Init) => crash::stop_soon(),
            (Self::StartSpins, Entry::Start) | (Self::StopSpins, Entry::Stop) => {
                crash::spin_forever()
            }
            (_, Entry::Init) => escape::attempt(self, escape::When::Init),
            _ => {}
        }
        true
    }

    /// What has to be known before the strike.
    pub(crate) fn prepare(self, memory: &mut Memory) {
        if self == Self::Scribble {
            memory.mappings = Mappings::find();
        }
    }

    /// Does the damage in a block; false: the block has to fail.
    ///
    /// # Safety
    ///
    /// `block` describes a valid block.
    pub(crate) unsafe fn strike(self, memory: &Memory, block: &mut dyn Block) -> bool {
        let first = memory.begun.swap(self as u32 + 1, Relaxed) != self as u32 + 1;
        match self {
            Self::Error => return false,
            // SAFETY: as the caller promises.
            Self::Nan => unsafe { fill(block, f32::NAN) },
            // SAFETY: as the caller promises.
            Self::Inf => unsafe { fill(block, f32::INFINITY) },
            // SAFETY: as the caller promises.
            Self::Denormal => unsafe { fill(block, f32::from_bits(1)) },
            Self::BadEvents => block.bad_events(),
            Self::EventFlood => block.event_flood(),
            Self::LogFlood => block.log_flood(),
            Self::WrongThreads => block.wrong_threads(first),
            Self::Segfault
            | Self::Abort
            | Self::Exit
            | Self::StackOverflow
            | Self::HeapSmash
            | Self::DoubleFree
            | Self::Hang
            | Self::Sleep
            | Self::Stop => crash::strike(self),
            Self::WritesDescriptors | Self::SendsDescriptors => {
                sys::write_descriptors(self == Self::SendsDescriptors);
            }
            Self::RingsHost => {
                shared_memory::ring_host();
                sleep_forever();
            }
            Self::ScribblesAsleep => {
                shared_memory::wrong_marks();
                sleep_forever();
            }
            _ if !first => {}
            Self::Late => crash::late(),
            // SAFETY: as the caller promises; of what else is written to, none. That is the fault.
            Self::Scribble => unsafe { shared_memory::scribble(&memory.mappings, block) },
            Self::WrongCounts => shared_memory::wrong_counts(),
            Self::ClosesDescriptors
            | Self::ChangesPriority
            | Self::ChangesMask
            | Self::HandlesSignals => meddle::strike(self),
            Self::ForkBomb
            | Self::ThreadBomb
            | Self::MemoryBomb
            | Self::BigAllocation
            | Self::FillsFolder
            | Self::HidesMemory
            | Self::LeavesMemory
            | Self::HidesFiles
            | Self::FillsFile
            | Self::SpinsEverywhere => bomb::strike(self),
            _ => escape::attempt(self, escape::When::Block),
        }
        true
    }
}

/// # Safety
///
/// `block` describes a valid block.
unsafe fn fill(block: &dyn Block, value: f32) {
    for (channel, frames) in block.outputs() {
        for frame in 0..frames {
            // SAFETY: as the caller promises.
            unsafe { channel.add(frame).write(value) };
        }
    }
}
