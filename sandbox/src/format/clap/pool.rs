//! Threads that help a plugin's audio thread: CLAP's thread pool.
//!
//! A plugin that splits its block into tasks asks for them to be run side by side. The threads are
//! made when the plugin is activated and end with its processor. Between two requests they sleep;
//! in a request, they and the audio thread take tasks until none is left. What comes out does not
//! depend on who took which: tasks are independent, and all threads round alike.
//!
//! # Safety
//! `unsafe` here calls the plugin's task function from these threads. The plugin outlives the pool:
//! it is part of the processor, which is dropped before the plugin is deactivated, and dropping it
//! joins the threads.
#![allow(unsafe_code)]

use super::extensions::Exec;
use super::host::enter_audio_thread;
use crate::sys::fpu::FlushToZero;
use crate::sys::thread::{self, ThreadId};
use crate::sys::wake;
use assert_no_alloc::assert_no_alloc;
use clap_sys::plugin::clap_plugin;
use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;

/// Most tasks of a request; a plugin that wants more has to do without the pool.
const MOST_TASKS: u32 = 1 << 20;
/// Most threads of one plugin, its audio thread counted.
const MOST_THREADS: usize = 8;

thread_local! {
    /// The pool of the plugin whose process() this thread runs, unless it waits for the pool.
    static POOL: Cell<Option<&'static Job>> = const { Cell::new(None) };
}

/// The pool of one active plugin.
pub(super) struct Pool {
    job: Arc<Job>,
    threads: Vec<(JoinHandle<()>, ThreadId)>,
}

/// | word | states |
/// |---|---|
/// | `tasks` | number of tasks (high half) and the next to be taken (low half): `run` publishes (n, 0), takers count up to (n, n) |
/// | `done` | 0 (`run`) → n (who finishes a task), upon which `run` returns |
/// | `word` | counts requests: what idle threads sleep on |
struct Job {
    plugin: *const clap_plugin,
    exec: Exec,
    tasks: AtomicU64,
    done: AtomicU32,
    word: AtomicU32,
    ends: AtomicBool,
}

// SAFETY: CLAP has the task function called on any thread; the pointer is passed to it only.
unsafe impl Send for Job {}
// SAFETY: as above; all else in it is atomic.
unsafe impl Sync for Job {}

impl Pool {
    /// Makes the threads; `None`: the system would not, and the plugin has to do without.
    pub(super) fn start(plugin: *const clap_plugin, exec: Exec) -> Option<Self> {
        let job = Arc::new(Job {
            plugin,
            exec,
            tasks: AtomicU64::new(0),
            done: AtomicU32::new(0),
            word: AtomicU32::new(0),
            ends: AtomicBool::new(false),
        });
        let mut pool = Self { job, threads: Vec::new() };
        let helpers = thread::cores().len().clamp(2, MOST_THREADS) - 1;
        for _ in 0..helpers {
            let job = Arc::clone(&pool.job);
            let (send, id) = std::sync::mpsc::sync_channel(1);
            let spawned = std::thread::Builder::new()
                .name("audio pool".into())
                .stack_size(1 << 20)
                .spawn(move || {
                    let _flush = FlushToZero::new();
                    thread::lock_stack();
                    let _ = send.send(thread::current());
                    let _audio = enter_audio_thread();
                    job.help();
                })
                .ok()?;
            pool.threads.push((spawned, id.recv().ok()?));
        }
        Some(pool)
    }

    /// Gives the threads the priority that the calling one has.
    pub(super) fn take_priority(&self) {
        if let Some(priority) = thread::realtime_priority() {
            for (_, id) in &self.threads {
                let _ = thread::promote(*id, priority);
            }
        }
    }

    /// Lets the plugin reach the pool from this thread until the value is dropped: within
    /// process(), that is, and nowhere else.
    pub(super) fn enter(&self) -> impl Drop + use<> {
        struct Leave;
        impl Drop for Leave {
            fn drop(&mut self) {
                POOL.set(None);
            }
        }
        // SAFETY: taken back before process() returns, and the processor, whose part the pool is,
        // lives until then.
        POOL.set(Some(unsafe { &*Arc::as_ptr(&self.job) }));
        Leave
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.job.ends.store(true, Ordering::SeqCst);
        self.job.rouse(self.threads.len());
        for (thread, _) in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// Runs tasks 0..`count` of the plugin whose process() this thread runs, on all threads of its
/// pool, and returns when all have been run. False: there is no such plugin here, or it asked for
/// this within a task, or for too much; nothing was run.
pub(super) fn run(count: u32) -> bool {
    if count > MOST_TASKS {
        return false;
    }
    // A task that asks for tasks of its own is refused.
    let Some(job) = POOL.take() else { return false };
    job.run(count);
    POOL.set(Some(job));
    true
}

impl Job {
    fn run(&self, count: u32) {
        self.done.store(0, Ordering::Relaxed);
        // Release, with the loads in `take`: whoever takes a task sees `done` at 0, and what the
        // plugin wrote before.
        self.tasks.store(u64::from(count) << 32, Ordering::Release);
        if count > 1 {
            self.rouse(count as usize - 1);
        }
        self.work();
        loop {
            // Acquire, with `work`: what the tasks wrote is visible.
            let done = self.done.load(Ordering::Acquire);
            if done >= count {
                return;
            }
            wake::wait(&self.done, done, u64::MAX);
        }
    }

    fn rouse(&self, threads: usize) {
        // SeqCst, with `help`: a thread sees the new count, or the wait it begins ends at once.
        self.word.fetch_add(1, Ordering::SeqCst);
        for _ in 0..threads.min(MOST_THREADS) {
            wake::wake(&self.word);
        }
    }

    fn help(&self) {
        loop {
            // Read before looking for tasks: a request after this line ends the wait below.
            let word = self.word.load(Ordering::SeqCst);
            if self.ends.load(Ordering::SeqCst) {
                return;
            }
            assert_no_alloc(|| self.work());
            wake::wait(&self.word, word, u64::MAX);
        }
    }

    /// Runs tasks until none is left.
    fn work(&self) {
        while let Some((task, count)) = self.take() {
            // SAFETY: the plugin is alive and in process(): the request that the task belongs to
            // has not returned.
            unsafe { (self.exec)(self.plugin, task) };
            // Release, with `run`.
            if self.done.fetch_add(1, Ordering::AcqRel) + 1 == count {
                wake::wake(&self.done);
            }
        }
    }

    /// Takes the next task. One that was late for the request before takes one of this: no task is
    /// taken of a request that has returned, for all of its were.
    fn take(&self) -> Option<(u32, u32)> {
        let update = |tasks: u64| ((tasks as u32) < (tasks >> 32) as u32).then_some(tasks + 1);
        let before = self.tasks.fetch_update(Ordering::AcqRel, Ordering::Acquire, update).ok()?;
        Some((before as u32, (before >> 32) as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Which task ran how often.
    struct Tasks(Vec<AtomicU32>);

    unsafe extern "C" fn count(plugin: *const clap_plugin, task: u32) {
        // SAFETY: the tests pass the address of a `Tasks` that outlives the pool.
        let tasks = unsafe { &*plugin.cast::<Tasks>() };
        assert!(!run(1), "a task asked for tasks");
        tasks.0[task as usize].fetch_add(1, Ordering::Relaxed);
    }

    #[test]
    fn every_task_runs_once_in_each_request() {
        let tasks = Tasks((0..100).map(|_| AtomicU32::new(0)).collect());
        let pool = Pool::start((&raw const tasks).cast(), count).unwrap();
        assert!(!run(1), "outside of process()");
        {
            let _process = pool.enter();
            for request in 1..=2000_u32 {
                let n = request % 100;
                tasks.0.iter().for_each(|task| task.store(0, Ordering::Relaxed));
                assert!(run(n));
                let ran: Vec<u32> = tasks.0.iter().map(|t| t.load(Ordering::Relaxed)).collect();
                let expected = |index| u32::from(index < n as usize);
                assert!(ran.iter().enumerate().all(|(i, ran)| *ran == expected(i)), "{ran:?}");
            }
            assert!(run(0) && !run(MOST_TASKS + 1) && !run(u32::MAX));
        }
        assert!(!run(1));
        drop(pool);
    }
}
