//! What the clients write down, in memory they share with the benchmark.
//!
//! Each client has one entry per cycle: the cycle's key, begin and end. The key is JACK's frame
//! time at the cycle's start, the same for all clients, so that entries are joined by it and a
//! cycle that a client missed is seen. Each client writes to its own entries only.

use std::io;
use std::process::Stdio;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use sandrack_benches::os::Shared;

/// Words of an entry: key + 1 (0 is empty), begin, end.
const ENTRY: usize = 3;

/// The shared record: start-up and state words, then `slots` entries per client.
pub(crate) struct Record {
    shared: Shared,
    clients: usize,
    slots: usize,
}

impl Record {
    const CELLS: usize = 6;

    pub(crate) fn create(clients: usize, slots: usize) -> io::Result<Self> {
        let words = clients * slots * ENTRY;
        Ok(Self { shared: Shared::create(Self::CELLS, words)?, clients, slots })
    }

    pub(crate) fn inherited(clients: usize, slots: usize) -> io::Result<Self> {
        let words = clients * slots * ENTRY;
        Ok(Self { shared: Shared::from_stdin(Self::CELLS, words)?, clients, slots })
    }

    pub(crate) fn stdio(&self) -> io::Result<Stdio> {
        self.shared.stdio()
    }

    fn cell(&self, index: usize) -> &AtomicU32 {
        &self.shared.cells()[index].0
    }

    /// How many clients are active and connected.
    pub(crate) fn ready(&self) -> &AtomicU32 {
        self.cell(0)
    }

    /// 1 while the clients write entries.
    pub(crate) fn on(&self) -> &AtomicU32 {
        self.cell(1)
    }

    /// How many clients, from the last on, shall leave; they wait on it.
    pub(crate) fn leave(&self) -> &AtomicU32 {
        self.cell(2)
    }

    /// Xruns the server told the first client of.
    pub(crate) fn xruns(&self) -> &AtomicU32 {
        self.cell(3)
    }

    /// The server's frames per period.
    pub(crate) fn frames(&self) -> &AtomicU32 {
        self.cell(4)
    }

    /// The server's sample rate.
    pub(crate) fn rate(&self) -> &AtomicU32 {
        self.cell(5)
    }

    fn entry(&self, client: usize, slot: usize) -> &[AtomicU64] {
        let start = (client * self.slots + slot) * ENTRY;
        &self.shared.words()[start..start + ENTRY]
    }

    /// Writes down a cycle. Called by the realtime thread of `client` only.
    pub(crate) fn write(&self, client: usize, frame_time: u32, frames: u32, begin: u64, end: u64) {
        let slot = (frame_time / frames.max(1)) as usize % self.slots;
        let entry = self.entry(client, slot);
        entry[1].store(begin, Ordering::Relaxed);
        entry[2].store(end, Ordering::Relaxed);
        entry[0].store(u64::from(frame_time) + 1, Ordering::Release); // with the load in `read`
    }

    fn read(&self, client: usize, slot: usize) -> Option<(u64, u64, u64)> {
        let entry = self.entry(client, slot);
        let key = entry[0].load(Ordering::Acquire); // with the store in `write`
        (key != 0)
            .then(|| (key, entry[1].load(Ordering::Relaxed), entry[2].load(Ordering::Relaxed)))
    }

    /// Joins the clients' entries to cycles, once the clients are gone.
    pub(crate) fn evaluate(&self) -> Cycles {
        let mut cycles = Cycles::default();
        // Recording is switched on and off while cycles are under way: the first and the last
        // one are not whole, which says nothing about JACK.
        let mut begun: Vec<(u64, usize)> = (0..self.slots)
            .filter_map(|slot| {
                let first = (0..self.clients).find_map(|client| self.read(client, slot))?;
                Some((first.1, slot))
            })
            .collect();
        begun.sort_unstable();
        let inner = begun.get(1..begun.len().saturating_sub(1)).unwrap_or_default();
        for &(_, slot) in inner {
            let Some(entries) =
                (0..self.clients).map(|client| self.read(client, slot)).collect::<Option<Vec<_>>>()
            else {
                cycles.incomplete += 1;
                continue;
            };
            if entries.iter().any(|entry| entry.0 != entries[0].0) {
                cycles.incomplete += 1;
            } else if entries.windows(2).any(|pair| pair[1].1 < pair[0].2) {
                cycles.unordered += 1;
            } else {
                cycles.complete += 1;
                cycles.chain_ns.push(entries[self.clients - 1].2 - entries[0].1);
                cycles.wait_ns.extend(entries.windows(2).map(|pair| pair[1].1 - pair[0].2));
            }
        }
        cycles
    }
}

/// The cycles of a run.
#[derive(Default)]
pub(crate) struct Cycles {
    /// Those that count.
    pub(crate) complete: usize,
    /// Those that a client missed.
    pub(crate) incomplete: usize,
    /// Those in which a client began before the one before it had ended.
    pub(crate) unordered: usize,
    /// Of each complete cycle: first begin to last end.
    pub(crate) chain_ns: Vec<u64>,
    /// Of each hop in a complete cycle: end to the next one's begin.
    pub(crate) wait_ns: Vec<u64>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_whole_cycles_in_order_count() {
        let record = Record::create(2, 8).unwrap();
        let cycle = |number: u32, first: (u64, u64), second: Option<(u64, u64)>| {
            record.write(0, number * 64, 64, first.0, first.1);
            if let Some(second) = second {
                record.write(1, number * 64, 64, second.0, second.1);
            }
        };
        cycle(0, (10, 20), None); // the switch-on falls into it: not counted at all
        cycle(1, (100, 110), Some((140, 150)));
        cycle(2, (200, 210), None);
        cycle(3, (300, 310), Some((305, 320)));
        cycle(4, (400, 410), Some((430, 470)));
        cycle(5, (500, 510), None); // the switch-off
        let cycles = record.evaluate();
        assert_eq!((cycles.complete, cycles.incomplete, cycles.unordered), (2, 1, 1));
        assert_eq!(cycles.chain_ns, [50, 70]);
        assert_eq!(cycles.wait_ns, [30, 20]);
    }
}
