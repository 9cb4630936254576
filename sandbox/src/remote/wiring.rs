//! How a plan's nodes are connected: the memory it takes, and what each worker is told.

use crate::error::Error;
use crate::protocol::{
    Connections, DirectConnection, NodeConnections, Slots, SourceConnection, SuccessorConnection,
};
use crate::shm::OutboxReader;
use crate::shm::layout::{DOORBELL_SLOTS, InboxShape, MAX_SOURCES, OutboxShape};
use crate::supervisor::{Node, Supervisor, Worker, hand_over};
use crate::sys::memory::{Access, SharedMemory};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How one node is connected. Nodes are named by their place in the list.
pub struct NodeWiring<'a> {
    /// The node. One that is not active, or whose worker has ended, takes part in no block.
    pub node: &'a Node,
    /// Its sources, grouped by input bus, in bus order.
    pub sources: Vec<SourceWiring>,
    /// Nodes whose events it receives.
    pub event_sources: Vec<usize>,
    /// Nodes that must have finished first (distinct).
    pub predecessors: Vec<usize>,
}

/// A source of an input bus.
pub struct SourceWiring {
    /// The bus.
    pub bus: u32,
    /// Its channels.
    pub channels: u32,
    /// Another node's output; `None`: what the host writes.
    pub direct: Option<DirectWiring>,
}

/// Another node's output as a source.
pub struct DirectWiring {
    /// The node.
    pub node: usize,
    /// Its output bus.
    pub bus: u32,
    /// Delay in frames.
    pub delay: u32,
    /// The same for the same connection in the next plan.
    pub key: u64,
}

/// A plan's memory, laid out over the workers.
pub(super) struct Layout<'a> {
    pub(super) wirings: &'a [NodeWiring<'a>],
    pub(super) generation: u32,
    pub(super) inboxes: Vec<(SharedMemory, InboxShape)>,
    pub(super) slots: Vec<Slots>,
    /// For nodes that take no part an outbox that nobody writes, for those who would read it.
    stand_ins: Vec<Option<StandIn>>,
}

type StandIn = (SharedMemory, OutboxReader, OutboxShape);

pub(super) fn absurd(what: String) -> Error {
    Error::Protocol { name: "plan".into(), what }
}

/// Slots for plans of this generation: in the page that holds the doorbell's word as long as there
/// are any left, for a second page costs every wake an address translation more.
fn slot_areas(generation: u32) -> [(u32, u32); 2] {
    const FIRST_PAGE: u32 = ((4096 - 64) / size_of::<u32>()) as u32;
    let all = DOORBELL_SLOTS as u32;
    let (half, middle) = (FIRST_PAGE / 2, FIRST_PAGE + (all - FIRST_PAGE) / 2);
    match generation % 2 {
        0 => [(0, half), (FIRST_PAGE, middle)],
        _ => [(half, FIRST_PAGE), (middle, all)],
    }
}

impl<'a> Layout<'a> {
    pub(super) fn new(
        wirings: &'a [NodeWiring<'a>],
        generation: u32,
        max_frames: u32,
    ) -> Result<Self, Error> {
        // Plans of even and odd generation use different slots, so that those who still ring for
        // the old plan don't disturb the new.
        let areas = slot_areas(generation);
        let most: u32 = areas.iter().map(|area| area.1 - area.0).sum();
        let mut used: BTreeMap<u32, [(u32, u32); 2]> = BTreeMap::new();
        let mut slots = Vec::with_capacity(wirings.len());
        let mut stand_ins = Vec::with_capacity(wirings.len());
        let mut inboxes = Vec::with_capacity(wirings.len());
        for wiring in wirings {
            if wiring.sources.len() > MAX_SOURCES {
                return Err(absurd(format!(
                    "{}: {} sources; at most {MAX_SOURCES}",
                    wiring.node.plugin(),
                    wiring.sources.len()
                )));
            }
            let count = wiring.predecessors.len() as u32 + 1;
            let free = used.entry(wiring.node.worker().id()).or_insert(areas);
            let Some(area) = free.iter_mut().find(|area| area.1 - area.0 >= count) else {
                return Err(absurd(format!(
                    "{}: its worker has more than {most} connections",
                    wiring.node.plugin()
                )));
            };
            slots.push(Slots { first: area.0, count });
            area.0 += count;
            let shape = InboxShape {
                sources: wiring.sources.iter().map(|source| source.channels).collect(),
                max_frames,
            };
            let memory = SharedMemory::for_one_writer("sandrack-inbox", shape.len())
                .map_err(Error::system("making an inbox"))?;
            inboxes.push((memory, shape));
            let stand_in = (!wiring.node.is_ready()).then(|| stand_in(wiring.node, max_frames));
            stand_ins.push(stand_in.transpose()?);
        }
        Ok(Self { wirings, generation, inboxes, slots, stand_ins })
    }

    pub(super) fn outbox(
        &self,
        index: usize,
    ) -> Result<(&SharedMemory, &OutboxReader, &OutboxShape), Error> {
        if let Some((memory, reader, shape)) = &self.stand_ins[index] {
            return Ok((memory, reader, shape));
        }
        let node = self.wirings[index].node;
        node.outbox().ok_or_else(|| absurd(format!("{} is not active", node.plugin())))
    }

    /// Whether the node takes part in no block of the plan.
    pub(super) fn is_absent(&self, index: usize) -> bool {
        self.stand_ins[index].is_some()
    }

    /// Tells each worker its part.
    pub(super) fn send(&self, supervisor: &Supervisor) -> Result<Connecting, Error> {
        let mut successors: Vec<Vec<(usize, u32)>> = vec![vec![]; self.wirings.len()];
        let present = || self.wirings.iter().enumerate().filter(|(i, _)| !self.is_absent(*i));
        for (index, wiring) in present() {
            for (slot, &predecessor) in wiring.predecessors.iter().enumerate() {
                successors[predecessor].push((index, slot as u32 + 1));
            }
        }
        let mut by_worker: BTreeMap<u32, Vec<usize>> = BTreeMap::new();
        for (index, wiring) in present() {
            by_worker.entry(wiring.node.worker().id()).or_default().push(index);
        }
        let mut waiting = Vec::with_capacity(by_worker.len());
        for members in by_worker.values() {
            let worker = self.wirings[members[0]].node.worker();
            let mut part = Part { regions: Regions::default(), nodes: vec![] };
            for &index in members {
                part.add(self, supervisor, worker, index, &successors[index])?;
            }
            let (regions, handles) =
                hand_over(&part.regions.0).map_err(Error::system("handing over memory"))?;
            let nodes = part.nodes;
            let connections = Connections { generation: self.generation, regions, nodes };
            worker.connect(connections, &handles)?;
            waiting.push(Arc::clone(worker));
        }
        let (generation, limit) = (self.generation, supervisor.connect_limit());
        let give_up = Instant::now() + limit;
        Ok(Connecting { generation, limit, give_up, waiting, accepted: 0, refused: Vec::new() })
    }
}

/// Workers that have been told their part of a plan, and have not all said whether they can take it.
/// The plan must not run before; but for those that are stuck in an earlier block, which take no part in
/// its blocks until they are back.
pub struct Connecting {
    generation: u32,
    limit: Duration,
    give_up: Instant,
    waiting: Vec<Arc<Worker>>,
    accepted: usize,
    refused: Vec<(Arc<Worker>, Error)>,
}

impl Connecting {
    /// Whether all have their part; to be called again if not. Waits for no answer, though a moment for a
    /// process that is about to end.
    ///
    /// # Errors
    /// A worker has ended, or was ended because it can't take its part, or says nothing: without it
    /// another plan can be made.
    pub fn poll(&mut self) -> Result<bool, Error> {
        let mut at = 0;
        while let Some(worker) = self.waiting.get(at) {
            match worker.connected(self.generation) {
                None if Instant::now() < self.give_up => at += 1,
                None => {
                    worker.end_now();
                    let (name, during) = (worker.name().to_owned(), "connect".to_owned());
                    return Err(Error::Timeout { name, during, timeout: self.limit });
                }
                Some(Ok(())) => {
                    self.waiting.swap_remove(at);
                    self.accepted += 1;
                }
                // It lives, and says that it can't.
                Some(Err(error @ Error::Plugin(_))) => {
                    let worker = self.waiting.swap_remove(at);
                    self.refused.push((worker, error));
                }
                Some(Err(error)) => return Err(error),
            }
        }
        if !self.waiting.is_empty() {
            return Ok(false);
        }
        // One that can't take its part (it may have no descriptor left) must not hold up the others; but
        // if all can't, it is not for them to die of it.
        for (worker, error) in self.refused.iter().filter(|_| self.accepted > 0) {
            tracing::warn!("ended, for it can't take part in another plan: {error}");
            worker.kill();
        }
        self.refused.drain(..).next().map_or(Ok(true), |(_, error)| Err(error))
    }

    /// The system's numbers of the processes that have said nothing yet.
    pub fn waits_for(&self) -> impl Iterator<Item = u32> {
        self.waiting.iter().map(|worker| worker.id())
    }

    /// Waits until all have their part.
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub fn wait(mut self) -> Result<(), Error> {
        while !self.poll()? {
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }
}

fn stand_in(node: &Node, max_frames: u32) -> Result<StandIn, Error> {
    let buses = node.info().outputs.iter().map(|port| port.channels).collect();
    let shape = OutboxShape { buses, max_frames };
    let failed = || Error::system("making shared memory");
    let memory = SharedMemory::new("sandrack-outbox", shape.len()).map_err(failed())?;
    let reader = memory
        .map(Access::Read)
        .and_then(|mapping| OutboxReader::new(Arc::new(mapping), shape.clone()))
        .map_err(failed())?;
    Ok((memory, reader, shape))
}

/// Memory objects to hand over, each once.
#[derive(Default)]
struct Regions<'a>(Vec<(&'a SharedMemory, Access)>);

impl<'a> Regions<'a> {
    fn index(&mut self, memory: &'a SharedMemory, access: Access) -> u32 {
        let known = self.0.iter().position(|(m, a)| std::ptr::eq(*m, memory) && *a == access);
        known.unwrap_or_else(|| {
            self.0.push((memory, access));
            self.0.len() - 1
        }) as u32
    }
}

/// One worker's part of a plan.
struct Part<'a> {
    regions: Regions<'a>,
    nodes: Vec<NodeConnections>,
}

impl<'a> Part<'a> {
    fn add(
        &mut self,
        layout: &'a Layout<'a>,
        supervisor: &'a Supervisor,
        worker: &Arc<Worker>,
        index: usize,
        successors: &[(usize, u32)],
    ) -> Result<(), Error> {
        let wiring = &layout.wirings[index];
        let (memory, shape) = &layout.inboxes[index];
        let inbox = self.regions.index(memory, Access::Read);
        let mut sources = Vec::with_capacity(wiring.sources.len());
        for source in &wiring.sources {
            let direct = match &source.direct {
                None => None,
                Some(direct) => {
                    let (outbox, _, shape) = layout.outbox(direct.node)?;
                    Some(DirectConnection {
                        outbox: self.regions.index(outbox, Access::Read),
                        shape: shape.clone(),
                        bus: direct.bus,
                        delay: direct.delay,
                        key: direct.key,
                    })
                }
            };
            sources.push(SourceConnection { bus: source.bus, channels: source.channels, direct });
        }
        let mut event_sources = Vec::with_capacity(wiring.event_sources.len());
        for &source in &wiring.event_sources {
            let (outbox, _, shape) = layout.outbox(source)?;
            event_sources.push((self.regions.index(outbox, Access::Read), shape.clone()));
        }
        let successors = successors
            .iter()
            .map(|&(successor, slot)| {
                let other = layout.wirings[successor].node.worker();
                let doorbell = (other.id() != worker.id())
                    .then(|| self.regions.index(other.bell().1, Access::ReadWrite));
                let slots = layout.slots[successor];
                SuccessorConnection { doorbell, slots, slot, index: successor as u32 }
            })
            .collect();
        let host = self.regions.index(supervisor.bell().1, Access::ReadWrite);
        self.nodes.push(NodeConnections {
            node: wiring.node.number(),
            slots: layout.slots[index],
            inbox,
            inbox_shape: shape.clone(),
            sources,
            event_sources,
            successors,
            host,
            index: index as u32,
        });
        Ok(())
    }
}
