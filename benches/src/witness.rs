//! What the machine does to a callback that uses all cores, with no plugin and no process in it.
//!
//! An empty callback uses one core for a moment. One whose work is spread over the cores waits for
//! the latest of them, and is exposed to the machine's stalls as long as it works. The witness
//! wakes a thread on each other core, as the engine wakes its workers; all then are busy for as
//! long as the measured callback is (reading the clock, nothing else), and the callback waits for
//! the last.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::thread::JoinHandle;

use sandrack_host::drivers::{Callback, CallbackIo, CallbackTime};
use sandrack_sandbox::sys::{clock::now_ns, thread, wake};

/// What callback and threads share.
struct Shared {
    /// Number of the block to work on.
    block: Vec<AtomicU32>,
    /// Threads that have not finished it.
    left: AtomicU32,
    /// Until when to be busy, ns.
    until: AtomicU64,
    quit: AtomicBool,
}

/// A callback that is busy on all cores.
pub struct Witness {
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
    busy_ns: u64,
    number: u32,
}

impl Witness {
    /// Busy for `busy_ns` in each block, on the callback's core and on `others`.
    #[must_use]
    pub fn new(busy_ns: u64, others: &[usize]) -> Self {
        let shared = Arc::new(Shared {
            block: others.iter().map(|_| AtomicU32::new(0)).collect(),
            left: AtomicU32::new(0),
            until: AtomicU64::new(0),
            quit: AtomicBool::new(false),
        });
        let start = |(index, &core): (usize, &usize)| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || work(&shared, index, core))
        };
        let threads = others.iter().enumerate().map(start).collect();
        Self { shared, threads, busy_ns, number: 0 }
    }
}

fn work(shared: &Shared, index: usize, core: usize) {
    let _ = thread::pin_current(core);
    let _ = thread::set_realtime(thread::priority::WORKER);
    let mut done = 0;
    loop {
        let block = shared.block[index].load(Ordering::Acquire);
        if shared.quit.load(Ordering::Acquire) {
            return;
        }
        if block == done {
            wake::wait(&shared.block[index], block, u64::MAX);
            continue;
        }
        done = block;
        while now_ns() < shared.until.load(Ordering::Relaxed) {
            std::hint::spin_loop();
        }
        // Release, with the callback's Acquire.
        if shared.left.fetch_sub(1, Ordering::Release) == 1 {
            wake::wake(&shared.left);
        }
    }
}

impl Callback for Witness {
    fn process(&mut self, _: &CallbackTime, _: &mut CallbackIo<'_>) {
        self.number = self.number.wrapping_add(1);
        let until = now_ns() + self.busy_ns;
        self.shared.until.store(until, Ordering::Relaxed);
        self.shared.left.store(self.threads.len() as u32, Ordering::Relaxed);
        for block in &self.shared.block {
            // Release, with the thread's Acquire.
            block.store(self.number, Ordering::Release);
            wake::wake(block);
        }
        while now_ns() < until {
            std::hint::spin_loop();
        }
        loop {
            match self.shared.left.load(Ordering::Acquire) {
                0 => return,
                left => wake::wait(&self.shared.left, left, u64::MAX),
            };
        }
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.shared.quit.store(true, Ordering::Release);
        for block in &self.shared.block {
            block.fetch_add(1, Ordering::Release);
            wake::wake(block);
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}
