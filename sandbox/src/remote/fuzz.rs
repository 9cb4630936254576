//! Whatever workers write into the memory that they may write to, the host goes on: no panic, no
//! number that is none, no event out of bounds, no wait beyond its deadline.

use super::*;
use crate::error::PluginError;
use crate::event::Event;
use crate::format::{Notice, ParamEdit};
use crate::protocol::wire::decode;
use crate::protocol::{Answer, Reply};
use crate::shm::layout::{EVENTS, InboxShape, OutboxShape};
use crate::sys::memory::{Mapping, SharedMemory};
use proptest::prelude::*;
use std::time::{Duration, Instant};

const CHANNELS: u32 = 2;
const MAX_FRAMES: u32 = 64;

/// The host's side of some nodes, and all that their workers can write to.
struct Rig {
    set: RemoteSet,
    writable: Vec<Arc<Mapping>>,
}

fn memory(len: usize) -> (SharedMemory, Arc<Mapping>) {
    let memory = SharedMemory::with_bells("sandrack-fuzz", len, 1).unwrap();
    let mapping = Arc::new(memory.map(Access::ReadWrite).unwrap());
    (memory, mapping)
}

impl Rig {
    /// A node for each list of predecessors, each in a worker of its own.
    fn new(predecessors: &[Vec<u32>]) -> Self {
        let mut writable = Vec::new();
        let mut doorbell = || {
            let (_, mapping) = memory(DoorbellView::LEN);
            writable.push(Arc::clone(&mapping));
            DoorbellView::new(mapping).unwrap()
        };
        let bell = doorbell();
        let bells: Vec<DoorbellView> = predecessors.iter().map(|_| doorbell()).collect();
        let mut nodes = Vec::new();
        for (worker, (predecessors, bell)) in predecessors.iter().zip(bells).enumerate() {
            let inbox = InboxShape { sources: vec![CHANNELS], max_frames: MAX_FRAMES };
            let shape = OutboxShape { buses: vec![CHANNELS], max_frames: MAX_FRAMES };
            let (outbox, outbox_written) = memory(shape.len());
            writable.push(outbox_written);
            let reader = Arc::new(outbox.map(Access::Read).unwrap());
            nodes.push(RtNode {
                inbox: InboxWriter::new(memory(inbox.len()).1, inbox).unwrap(),
                outbox: OutboxReader::new(reader, shape).unwrap(),
                bell,
                slots: Slots { first: 0, count: predecessors.len() as u32 + 1 },
                predecessors: predecessors.clone(),
                worker,
                gone: Arc::default(),
                // Not in the realtime class: what is done to it does nothing.
                thread: Some(crate::sys::thread::current()),
                takes_part: false,
                host_rings: false,
                events: 0,
                rung_ns: 0,
                is_idle: false,
                usual_ns: 0,
                class: Arc::default(),
                missing_since: 0,
                suspect: None,
            });
        }
        let count = nodes.len();
        let set = RemoteSet {
            page: BlockView::new(memory(BlockView::LEN).1).unwrap(),
            bell,
            generation: 1,
            blocks: Arc::default(),
            sequence: 0,
            frames: 0,
            begun_ns: 0,
            nodes,
            busy: vec![false; count],
            busy_is_known: false,
            deaths: Arc::default(),
            deaths_seen: 0,
            lost: vec![false; count],
        };
        Self { set, writable }
    }

    /// Writes over memory that workers may write to.
    fn scribble(&self, scribble: &Scribble) {
        let Scribble { region, from, words } = scribble;
        let mapping = &self.writable[region.index(self.writable.len())];
        let from = from.map_or(0, |from| from.index(mapping.len() / size_of::<u32>()));
        for (at, word) in words.iter().enumerate() {
            let at = (from + at) % (mapping.len() / size_of::<u32>());
            let to = mapping.as_ptr().cast::<AtomicU32>();
            // SAFETY: within the mapping, which is aligned to pages; atomics may race.
            #[allow(unsafe_code)]
            unsafe {
                (*to.add(at)).store(*word, Ordering::Relaxed);
            }
        }
    }

    /// A block, with all that the engine does of it.
    fn block(&mut self, frames: u32, before: &[Scribble], meanwhile: &[Scribble]) {
        before.iter().for_each(|scribble| self.scribble(scribble));
        let count = self.set.len();
        let ready: Vec<bool> = (0..count).map(|n| self.set.state(n) == State::Ready).collect();
        for node in (0..count).filter(|&node| ready[node]) {
            self.set.prepare(node, 0, true);
            assert!(self.set.push_event(node, &Event::param_value(0, 1, 0.5)));
        }
        self.set.begin(0, frames, 0, &Transport::default());
        for node in (0..count).filter(|&node| ready[node]) {
            self.set.input(node, 0, 0).fill(0.5);
            self.set.ring(node);
        }
        meanwhile.iter().for_each(|scribble| self.scribble(scribble));
        let part: Vec<usize> = (0..count).filter(|&node| ready[node]).collect();
        let before_wait = Instant::now();
        self.set.wait(part.iter().copied(), now_ns() + 200_000);
        // Generous: the machine may have better things to do.
        assert!(before_wait.elapsed() < Duration::from_secs(5));
        let mut audio = vec![f32::NAN; frames as usize];
        for &node in &part {
            self.set.outcome(node);
            self.set.is_lost(node);
            self.set.demote(node);
            for (bus, channel) in [(0, 0), (0, 1), (0, 7), (9, 0)] {
                self.set.output(node, bus, channel, &mut audio);
                assert!(audio.iter().all(|sample| sample.is_finite()), "{audio:?}");
            }
            let mut events = 0;
            self.set.events(node, |event| {
                assert!(event.is_valid(frames), "{event:?}");
                events += 1;
            });
            assert!(events <= EVENTS);
            let Times { ready, start, end } = self.set.times(node);
            assert!(ready <= start && start <= end);
        }
        self.set.end();
    }
}

/// Words written somewhere.
#[derive(Clone, Debug)]
struct Scribble {
    region: prop::sample::Index,
    /// `None`: its beginning.
    from: Option<prop::sample::Index>,
    words: Vec<u32>,
}

/// Any word, and often one that means something somewhere.
fn word() -> impl Strategy<Value = u32> {
    prop_oneof![
        any::<u32>(),
        0_u32..12,
        Just(u32::MAX),
        Just(i32::MAX as u32),
        Just(257),
        Just(f32::NAN.to_bits()),
        Just(f32::INFINITY.to_bits()),
    ]
}

fn scribbles() -> impl Strategy<Value = Vec<Scribble>> {
    let from = prop_oneof![
        // Where marks, counts and times lie.
        Just(None),
        any::<prop::sample::Index>().prop_map(Some),
    ];
    let one = (any::<prop::sample::Index>(), from, prop::collection::vec(word(), 1..600));
    let one = one.prop_map(|(region, from, words)| Scribble { region, from, words });
    prop::collection::vec(one, 0..6)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn what_workers_write_does_the_host_no_harm(
        blocks in prop::collection::vec((1..=MAX_FRAMES, scribbles(), scribbles()), 1..6),
        in_series: bool,
    ) {
        let predecessors = match in_series {
            true => vec![vec![], vec![0], vec![1], vec![0, 2]],
            false => vec![vec![]; 3],
        };
        let mut rig = Rig::new(&predecessors);
        for (frames, before, meanwhile) in &blocks {
            rig.block(*frames, before, meanwhile);
        }
    }

    #[test]
    fn replies_of_any_bytes_are_understood_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = decode::<Reply>(&bytes);
    }

    #[test]
    fn replies_with_some_bytes_changed_are_understood_or_refused(
        which: prop::sample::Index,
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut: prop::sample::Index,
    ) {
        let mut bytes = honest().swap_remove(which.index(honest().len()));
        for (at, to) in changes {
            let at = at.index(bytes.len());
            bytes[at] = to;
        }
        bytes.truncate(cut.index(2 * bytes.len()) + 1);
        let _ = decode::<Reply>(&bytes);
    }
}

/// Replies as workers send them.
fn honest() -> Vec<Vec<u8>> {
    let replies = [
        Reply::Answer(Ok(Answer::State(vec![7; 40]))),
        Reply::Answer(Ok(Answer::Text(Some("text".into())))),
        Reply::Answer(Ok(Answer::Info(Box::default()))),
        Reply::Answer(Err(PluginError::Absurd { plugin: "a".into(), what: "b".into() })),
        Reply::Notice(3, Notice::Log(1, "a line".into())),
        Reply::Notice(0, Notice::ParamEdited { param: 1, edit: ParamEdit::Value(0.5) }),
    ];
    // As the channel does it.
    replies.iter().map(|reply| postcard::to_stdvec(reply).unwrap()).collect()
}

/// Lengths in a reply are the sender's claims: nothing is reserved for what does not follow.
#[test]
fn a_reply_that_claims_to_be_large_is_refused_at_once() {
    for bytes in honest() {
        assert!(decode::<Reply>(&bytes).is_ok());
        for at in 0..bytes.len() {
            let mut claims = bytes[..at].to_vec();
            claims.extend([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f]);
            let start = Instant::now();
            let _ = decode::<Reply>(&claims);
            assert!(start.elapsed() < Duration::from_secs(5));
        }
    }
}
