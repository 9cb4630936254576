//! Looks at what workers use, and ends those that use more than they may.
//!
//! The system's own limits hold what they can from inside (`sys::confine`); what they can't tell
//! apart from a crash, or don't count for root, is seen here, on a thread that looks at every worker
//! once a second, and at all of them at once when the whole machine suddenly has less memory or more
//! threads: a bomb is noticed within a twentieth of a second.

use super::lock;
use crate::limits::{InForce, bytes};
use crate::sys::process::Killer;
use crate::sys::thread::{self, ThreadId};
use crate::sys::usage::{self, Held, Machine, Usage, folder_size};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

/// How often it looks at the machine.
const TICK: Duration = Duration::from_millis(50);
/// Ticks in which it comes round to every worker.
const ROUND: usize = 20;
/// So much less memory at once, in bytes, or so many more threads, and it looks at all.
const SUDDEN_MEMORY: u64 = 64 << 20;
const SUDDEN_THREADS: i16 = 64;
/// How long processor time is counted before it is judged.
const WINDOW: Duration = Duration::from_secs(1);
/// The share of all cores that is told of: others have some, too.
const ALL_CORES: f64 = 0.8;
/// A folder is not measured more often.
const FOLDER_PAUSE: Duration = Duration::from_millis(100);
/// What a worker holds open is looked at as often as this, and when there is reason to.
const HELD_ROUND: Duration = Duration::from_secs(2);
/// One that nobody seems to write to is measured as often as this: there are other ways to fill it.
const FOLDER_ROUND: Duration = Duration::from_secs(5);
/// A folder with more entries is too large, whatever they hold.
const MOST_ENTRIES: usize = 50_000;

/// What was found out about one worker.
#[derive(Default)]
pub(super) struct Excess {
    /// Why it was ended, if it was.
    ended: OnceLock<String>,
    /// What it was not ended for.
    remarks: Mutex<Vec<String>>,
}

impl Excess {
    pub(super) fn ended(&self) -> Option<&str> {
        self.ended.get().map(String::as_str)
    }

    pub(super) fn take_remarks(&self) -> Vec<String> {
        std::mem::take(&mut lock(&self.remarks))
    }
}

/// A worker to look at.
pub(super) struct Subject {
    pub(super) process: u32,
    pub(super) killer: Arc<Killer>,
    /// Its audio thread, once it has one.
    pub(super) thread: Arc<Mutex<Option<ThreadId>>>,
    pub(super) gone: Arc<AtomicBool>,
    pub(super) limits: InForce,
    /// The folder that counts for [`InForce::disk`].
    pub(super) folder: Option<PathBuf>,
    pub(super) excess: Arc<Excess>,
}

/// The thread, which begins with the first worker and ends with this value.
#[derive(Default)]
pub(super) struct Limiter(Mutex<Option<mpsc::Sender<Subject>>>);

impl Limiter {
    /// Looks at a worker from now on, until it has ended.
    pub(super) fn add(&self, subject: Subject) -> std::io::Result<()> {
        let mut sender = lock(&self.0);
        let sender = match &*sender {
            Some(sender) => sender,
            None => {
                let (new, subjects) = mpsc::channel();
                std::thread::Builder::new()
                    .name("worker limits".into())
                    .spawn(move || run(&subjects))?;
                sender.insert(new)
            }
        };
        let _ = sender.send(subject);
        Ok(())
    }
}

/// A worker, and what was seen of it last.
struct Seen {
    subject: Subject,
    usage: Usage,
    /// Since when processor time is counted, and what it was then.
    counted: (Instant, u64),
    /// Windows in a row in which it took all cores.
    windows: u32,
    /// What it held open in files without a name, when that was looked at, and how much memory was free
    /// then.
    held: (Held, Instant, u64),
    /// When its folder was measured last.
    measured: Instant,
    /// It had as many descriptors as it may when it was looked at last.
    had_all_files: bool,
}

fn run(subjects: &mpsc::Receiver<Subject>) {
    let mut all: Vec<Seen> = Vec::new();
    let mut folders = Folders::default();
    let mut machine = usage::machine();
    let mut next = 0;
    loop {
        let new = match all.is_empty() {
            true => subjects.recv().map_err(|_| RecvTimeoutError::Disconnected),
            false => subjects.recv_timeout(TICK),
        };
        match new {
            Ok(subject) => {
                all.push(Seen::new(subject));
                continue;
            }
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {}
        }
        all.retain(|seen| !seen.subject.gone.load(Ordering::Acquire));
        let before = std::mem::replace(&mut machine, usage::machine());
        let count = match is_sudden(before, machine) {
            true => all.len(),
            false => all.len().div_ceil(ROUND),
        };
        let now = Instant::now();
        for _ in 0..count {
            next = (next + 1) % all.len().max(1);
            let Some(seen) = all.get_mut(next) else { break };
            let written = seen.usage.written;
            if let Some(why) = seen.look(now, machine) {
                seen.end(why);
            } else if seen.usage.written != written
                || written == 0
                || now.saturating_duration_since(seen.measured) >= FOLDER_ROUND
            {
                seen.measured = now;
                folders.look(&mut all, next, written, now);
            }
        }
    }
}

fn is_sudden(before: Machine, now: Machine) -> bool {
    let threads = now.threads.wrapping_sub(before.threads) as i16;
    before.free.saturating_sub(now.free) > SUDDEN_MEMORY || threads > SUDDEN_THREADS
}

impl Seen {
    fn new(subject: Subject) -> Self {
        let usage = usage::of(subject.process).unwrap_or_default();
        let counted = (Instant::now(), usage.cpu_ns);
        let measured = counted.0;
        let held = (Held::default(), measured, 0);
        Self { subject, usage, counted, windows: 0, held, measured, had_all_files: false }
    }

    /// Why it is to be ended, if it is.
    fn look(&mut self, now: Instant, machine: Machine) -> Option<String> {
        let files = self.usage.files;
        self.usage = usage::of(self.subject.process)?;
        let (usage, limits) = (self.usage, self.subject.limits);
        let (_, at, free) = self.held;
        if usage.files != files
            || now.saturating_duration_since(at) >= HELD_ROUND
            || machine.free.saturating_add(SUDDEN_MEMORY) < free
        {
            self.held = (usage::held(self.subject.process), now, machine.free);
        }
        let (held, ..) = self.held;
        // What is held is shared memory too, if it is mapped.
        let memory = usage.memory.saturating_add(usage.shared.max(held.memory));
        if memory > limits.memory {
            return Some(format!(
                "used {} of memory, more than the {} it may (--limit-memory)",
                bytes(memory),
                bytes(limits.memory)
            ));
        }
        if held.disk > limits.disk {
            return Some(format!(
                "filled files without a name with {}, more than the {} it may (--limit-disk)",
                bytes(held.disk),
                bytes(limits.disk)
            ));
        }
        if usage.threads > limits.threads {
            return Some(format!(
                "had {} threads, more than the {} it may (--limit-threads)",
                usage.threads, limits.threads
            ));
        }
        // At the very moment at which it tries it may be a plugin that can live without more.
        let had_all = std::mem::replace(&mut self.had_all_files, usage.files >= limits.files);
        if had_all && self.had_all_files {
            return Some(format!(
                "had {} files open, all that it may (--limit-files)",
                usage.files
            ));
        }
        self.look_at_cpu(now)
    }

    fn look_at_cpu(&mut self, now: Instant) -> Option<String> {
        let (since, before) = self.counted;
        let window = now.saturating_duration_since(since);
        if window < WINDOW {
            return None;
        }
        self.counted = (now, self.usage.cpu_ns);
        let used = self.usage.cpu_ns.saturating_sub(before) as f64 / window.as_nanos() as f64;
        let (percent, most) = ((used * 100.0) as u32, self.subject.limits.cpu);
        if percent > most {
            return Some(format!(
                "used {percent} % of a core, more than the {most} % it may (--limit-cpu)"
            ));
        }
        let cores = thread::cores().len();
        self.windows = if used > ALL_CORES * cores as f64 { self.windows + 1 } else { 0 };
        if self.windows == 2 && cores > 1 {
            let remark = format!("keeps all {cores} cores busy");
            lock(&self.subject.excess.remarks).push(remark);
        }
        None
    }

    fn end(&self, why: String) {
        let Subject { process, killer, thread, gone, excess, .. } = &self.subject;
        // Its number may be another's by now; its handle never is.
        if !gone.load(Ordering::Acquire) {
            tracing::debug!(process, why, "a worker is ended");
            let _ = excess.ended.set(why);
            // It ends beside the plugins that share its core, not ahead of them.
            if let Some(thread) = *lock(thread) {
                thread::demote(thread);
            }
            killer.kill();
        }
    }
}

/// Private folders, which the workers of one plugin share, and how large they are.
#[derive(Default)]
struct Folders(HashMap<PathBuf, (Instant, u64)>);

impl Folders {
    /// Looks at the folder of one worker, which has written since it had written `before`.
    fn look(&mut self, all: &mut [Seen], index: usize, before: u64, now: Instant) {
        let (limit, Some(folder)) = (all[index].subject.limits.disk, &all[index].subject.folder)
        else {
            return;
        };
        let (folder, limit) = (folder.clone(), limit);
        if limit == u64::MAX || self.size(&folder, now) <= limit {
            return;
        }
        // Of those that share it, whoever writes most.
        let growth = all[index].usage.written - before.min(all[index].usage.written);
        let others = all.iter().enumerate().filter(|(other, seen)| {
            *other != index && seen.subject.folder.as_deref() == Some(&folder)
        });
        let writes_more = |seen: &Seen| {
            usage::of(seen.subject.process)
                .is_some_and(|usage| usage.written.saturating_sub(seen.usage.written) > growth)
        };
        if others.into_iter().any(|(_, seen)| writes_more(seen)) {
            return;
        }
        all[index].end(format!(
            "filled its folder {} with more than the {} it may (--limit-disk)",
            folder.display(),
            bytes(limit)
        ));
    }

    fn size(&mut self, folder: &Path, now: Instant) -> u64 {
        if let Some((at, size)) = self.0.get(folder)
            && now.saturating_duration_since(*at) < FOLDER_PAUSE
        {
            return *size;
        }
        let size = folder_size(folder, MOST_ENTRIES);
        self.0.insert(folder.to_owned(), (now, size));
        size
    }
}
