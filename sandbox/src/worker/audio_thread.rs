//! The audio thread: waits at the doorbell, runs the nodes that are ready, rings the next.
//!
//! Between two blocks of a node in series lie exactly two system calls: waking the successor, and
//! waiting again.

use super::node::{AudioNode, Topology};
use crate::crash::Call;
use crate::shm::crash_page::CrashView;
use crate::shm::recording::RecordingWriter;
use crate::shm::{BlockView, DoorbellView};
use crate::sys::crash;
use crate::sys::fpu::FlushToZero;
use crate::sys::thread::{self, ThreadId};
use assert_no_alloc::assert_no_alloc;
use rtrb::{Consumer, Producer, RingBuffer};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::mpsc;
use std::time::Duration;

/// Most nodes in one worker.
const MAX_NODES: usize = 1024;

enum Command {
    Add(Box<AudioNode>),
    Remove(u32),
    Record(u32, Option<RecordingWriter>),
    Quit,
}

enum Done {
    Added,
    Refused(Box<AudioNode>),
    Removed(Option<Box<AudioNode>>),
    /// What was recorded to before, to be dropped elsewhere.
    Recording(Option<RecordingWriter>),
}

/// What became of the audio thread's wishes.
pub(super) struct Prepared {
    pub(super) thread: ThreadId,
    pub(super) not_realtime: Option<String>,
    pub(super) locked: bool,
}

/// The control thread's side: connections of plans to come, and those that are no longer used.
pub(super) struct Wiring {
    plans: Producer<Box<Topology>>,
    retired: Consumer<Box<Topology>>,
    bell: DoorbellView,
}

/// The main thread's side.
pub(super) struct AudioHandle {
    commands: Producer<Command>,
    done: Consumer<Done>,
    bell: DoorbellView,
    thread: ThreadId,
    join: Option<std::thread::JoinHandle<()>>,
}

impl AudioHandle {
    /// Starts the thread.
    pub(super) fn start(
        page: BlockView,
        bell: DoorbellView,
        doing: CrashView,
        core: Option<usize>,
        priority: Option<i32>,
    ) -> io::Result<(Self, Wiring, Prepared)> {
        let (commands, from_main) = RingBuffer::new(64);
        let (to_main, done) = RingBuffer::new(64);
        let (plans, from_control) = RingBuffer::new(64);
        let (to_control, retired) = RingBuffer::new(64);
        let (ready, prepared) = mpsc::sync_channel(1);
        let mut audio = AudioThread {
            page,
            bell: bell.clone(),
            nodes: Vec::with_capacity(MAX_NODES),
            topology: None,
            upcoming: Vec::with_capacity(16),
            commands: from_main,
            done: to_main,
            plans: from_control,
            retired: to_control,
            doing,
            quitting: false,
        };
        let join = std::thread::Builder::new().name("audio".into()).stack_size(2 << 20).spawn(
            move || {
                let _flush = FlushToZero::new();
                crash::enter_audio_thread();
                if let Some(core) = core {
                    let _ = thread::pin_current(core);
                }
                let not_realtime = priority
                    .and_then(|priority| thread::set_realtime(priority).err())
                    .map(|error| error.to_string());
                let locked = thread::lock_stack();
                let thread = thread::current();
                if ready.send(Prepared { thread, not_realtime, locked }).is_ok() {
                    audio.run();
                }
            },
        )?;
        let prepared = prepared.recv().map_err(io::Error::other)?;
        let thread = prepared.thread;
        let wiring = Wiring { plans, retired, bell: bell.clone() };
        Ok((Self { commands, done, bell, thread, join: Some(join) }, wiring, prepared))
    }

    /// Starts a node; gives it back if the plugin refuses.
    pub(super) fn add(&mut self, node: Box<AudioNode>) -> Result<(), Box<AudioNode>> {
        self.send(Command::Add(node));
        loop {
            match self.receive() {
                Done::Added => return Ok(()),
                Done::Refused(node) => return Err(node),
                _ => {}
            }
        }
    }

    /// Stops a node and takes it off the thread.
    pub(super) fn remove(&mut self, number: u32) -> Option<Box<AudioNode>> {
        self.send(Command::Remove(number));
        loop {
            if let Done::Removed(node) = self.receive() {
                return node;
            }
        }
    }

    /// From now on a node's blocks are recorded, or not any more.
    pub(super) fn record(&mut self, number: u32, recording: Option<RecordingWriter>) {
        self.send(Command::Record(number, recording));
        loop {
            if let Done::Recording(before) = self.receive() {
                return drop(before);
            }
        }
    }

    /// Moves the thread to a core, or lets it go everywhere.
    pub(super) fn pin(&mut self, core: Option<usize>) {
        if let Some(core) = core {
            let _ = thread::pin(self.thread, core);
        }
    }

    fn send(&mut self, command: Command) {
        let mut command = command;
        while let Err(rtrb::PushError::Full(back)) = self.commands.push(command) {
            command = back;
            std::thread::sleep(Duration::from_micros(200));
        }
        knock(&self.bell);
    }

    // The main thread may wait: the host gives up on it after a while and kills the process.
    fn receive(&mut self) -> Done {
        loop {
            match self.done.pop() {
                Ok(done) => return done,
                Err(_) => std::thread::sleep(Duration::from_micros(200)),
            }
        }
    }
}

impl Drop for AudioHandle {
    fn drop(&mut self) {
        self.send(Command::Quit);
        if let Some(join) = self.join.take() {
            let _ = join.join();
        }
    }
}

impl Wiring {
    /// Hands over the connections of a plan to come.
    pub(super) fn connect(&mut self, topology: Box<Topology>) -> io::Result<()> {
        // Drops here what the audio thread no longer uses.
        while self.retired.pop().is_ok() {}
        self.plans
            .push(topology)
            .map_err(|_| io::Error::other("the audio thread takes no more plans"))?;
        knock(&self.bell);
        Ok(())
    }
}

/// There is something in a queue of the audio thread's.
fn knock(bell: &DoorbellView) {
    // Release, with the load in `AudioThread::run`: it is in the queue.
    bell.commands.store(1, Ordering::Release);
    bell.wake();
}

/// Generations are counted, and may wrap.
fn is_older(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) < 0
}

#[expect(clippy::vec_box, reason = "boxes pass through the queues, so that nothing is freed here")]
struct AudioThread {
    page: BlockView,
    bell: DoorbellView,
    nodes: Vec<Box<AudioNode>>,
    topology: Option<Box<Topology>>,
    upcoming: Vec<Box<Topology>>,
    commands: Consumer<Command>,
    done: Producer<Done>,
    plans: Consumer<Box<Topology>>,
    retired: Producer<Box<Topology>>,
    doing: CrashView,
    quitting: bool,
}

impl AudioThread {
    fn run(&mut self) {
        while !self.quitting {
            // Read before looking around: a ring after this line changes the word, and the wait
            // below returns at once.
            let word = self.bell.word.load(Ordering::SeqCst);
            self.bell.answered.store(word, Ordering::Relaxed);
            // In debug builds of programs that install its allocator, an allocation in here aborts.
            assert_no_alloc(|| self.run_ready());
            // Acquire, with `knock`. Looked at only when something is there: the queues lie in other
            // pages.
            if self.bell.commands.load(Ordering::Acquire) != 0 {
                // Read anew with the write: what another thread has put there since is not lost.
                self.bell.commands.swap(0, Ordering::Acquire);
                while self.take_plan() {}
                while self.obey() {}
            } else {
                self.bell.wait(word, u64::MAX);
            }
        }
    }

    /// Runs every node that has all it waits for. In a worker with several, a node may make the
    /// next one ready: nodes stand in an order in which one pass runs them all.
    #[inline]
    fn run_ready(&mut self) {
        // Acquire, with the store in `RemoteSet::begin`: what describes the block is visible.
        let sequence = self.page.open.load(Ordering::Acquire);
        if sequence == 0 {
            return;
        }
        if !self.choose_topology() {
            return;
        }
        let Some(topology) = &mut self.topology else { return };
        for links in &mut topology.nodes {
            let Some(node) = links.find(&mut self.nodes) else { continue };
            if !node.has_run(sequence) && links.is_ready(&self.page, &self.bell, sequence) {
                node.run(links, &self.page, &self.bell, sequence);
            }
        }
    }

    /// Takes the topology of the plan that is in force, with the delay lines of the one before.
    /// False: it is not there. Either it is still in the queue, whose flag then is set, or this
    /// worker has no part in the plan; the slots of the one before mean something else now.
    fn choose_topology(&mut self) -> bool {
        let generation = self.page.generation.load(Ordering::Relaxed);
        if self.topology.as_ref().is_some_and(|t| t.generation == generation) {
            return true;
        }
        let Some(at) = self.upcoming.iter().position(|t| t.generation == generation) else {
            return false;
        };
        let mut next = self.upcoming.swap_remove(at);
        if let Some(mut old) = self.topology.take() {
            next.take_over(&mut old);
            self.retire(old);
        }
        self.topology = Some(next);
        // Plans that were followed by this one before they ever ran.
        while let Some(at) = self.upcoming.iter().position(|t| is_older(t.generation, generation)) {
            let stale = self.upcoming.swap_remove(at);
            if let Err(rtrb::PushError::Full(stale)) = self.retired.push(stale) {
                self.upcoming.push(stale);
                break;
            }
        }
        true
    }

    fn retire(&mut self, topology: Box<Topology>) {
        if let Err(rtrb::PushError::Full(topology)) = self.retired.push(topology) {
            // Nobody has collected for a long time. Keeping it beats freeing it here.
            if self.upcoming.len() < self.upcoming.capacity() {
                self.upcoming.push(topology);
            } else {
                std::mem::forget(topology);
            }
        }
    }

    fn tell(&self, plugin: u32, call: Call) {
        CrashView::begin(&self.doing.page().audio, plugin, call);
    }

    /// Takes the connections of a plan to come.
    fn take_plan(&mut self) -> bool {
        let Ok(topology) = self.plans.pop() else { return false };
        if self.upcoming.len() < self.upcoming.capacity() {
            self.upcoming.push(topology);
        } else {
            // Many plans prepared, none used: the oldest will not be.
            let oldest = std::mem::replace(&mut self.upcoming[0], topology);
            self.retire(oldest);
        }
        true
    }

    /// Does one thing the main thread wants.
    fn obey(&mut self) -> bool {
        let Ok(command) = self.commands.pop() else { return false };
        let done = match command {
            Command::Add(mut node) => {
                self.tell(node.number(), Call::Start);
                let started = self.nodes.len() < MAX_NODES && node.start();
                self.tell(node.number(), Call::None);
                match started {
                    true => {
                        self.nodes.push(node);
                        Done::Added
                    }
                    false => Done::Refused(node),
                }
            }
            Command::Quit => {
                self.quitting = true;
                return false;
            }
            Command::Remove(number) => {
                let at = self.nodes.iter().position(|node| node.number() == number);
                Done::Removed(at.map(|at| {
                    let mut node = self.nodes.remove(at);
                    self.tell(number, Call::Stop);
                    node.stop();
                    self.tell(number, Call::None);
                    node
                }))
            }
            Command::Record(number, mut recording) => {
                if let Some(node) = self.nodes.iter_mut().find(|node| node.number() == number) {
                    node.record(&mut recording);
                }
                Done::Recording(recording)
            }
        };
        // The main thread waits for this answer, so there is room.
        let _ = self.done.push(done);
        true
    }
}
