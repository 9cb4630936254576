//! The callback that judges: the same input in each run, and what healthy chains put out compared
//! with what they should, bit for bit, block by block.

use crate::drivers::{Callback, CallbackIo, CallbackTime, clock};
use crate::session::EngineCallback;
use rtrb::{Consumer, Producer, RingBuffer};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Most channels of the driver.
pub(super) const MOST_OUTPUTS: usize = 128;
/// Channels of each chain, and of the input.
pub(super) const CHANNELS: usize = 2;
/// Blocks after which the input begins again.
const LOOP: usize = 61;
/// Differing blocks that are told one by one.
const TOLD: usize = 1 << 14;
/// Time enough for any block of a plugin that works.
const PATIENT: Duration = Duration::from_secs(2);

/// What the healthy chains put out in each block: a hash for each block and chain.
pub(super) type Reference = Arc<[u64]>;

/// What was counted, seen from outside. Plain counts; they order nothing.
#[derive(Default)]
pub(super) struct Counts {
    /// Callbacks.
    pub(super) callbacks: AtomicU64,
    /// Those that came back after their deadline.
    pub(super) late: AtomicU64,
    /// Blocks of healthy chains that were compared,
    pub(super) compared: AtomicU64,
    /// and that differ.
    pub(super) differing: AtomicU64,
}

/// A block of a chain that is not what it should be.
#[derive(Clone, Copy)]
pub(super) struct Difference {
    pub(super) block: u64,
    pub(super) chain: usize,
}

/// A callback that came back after its deadline.
pub(super) struct Late {
    pub(super) block: u64,
    /// How long after it was due it began, ns.
    pub(super) began_ns: u64,
    /// How long it took, ns.
    pub(super) took_ns: u64,
}

/// What a judge tells the control thread, beside its counts.
pub(super) struct Told {
    pub(super) differences: Consumer<Difference>,
    pub(super) late: Consumer<Late>,
}

/// See the module. Its first outputs are those of the healthy chains.
pub(super) struct Judge {
    engine: EngineCallback,
    frames: usize,
    chains: usize,
    /// Channel after channel.
    input: Vec<f32>,
    block: usize,
    /// Blocks before the first.
    settling: u64,
    reference: Reference,
    counts: Arc<Counts>,
    differences: Producer<Difference>,
    late: Producer<Late>,
}

impl Judge {
    pub(super) fn new(
        engine: EngineCallback,
        frames: usize,
        chains: usize,
        reference: Reference,
        seed: u64,
    ) -> (Self, Arc<Counts>, Told) {
        let mut random = super::random::Random::new(seed);
        let input = (0..CHANNELS * LOOP * frames).map(|_| random.sample()).collect();
        let (differences, told) = RingBuffer::new(TOLD);
        let (late, told_late) = RingBuffer::new(TOLD);
        let counts = Arc::<Counts>::default();
        let judge = Self {
            engine,
            frames,
            chains,
            input,
            block: 0,
            settling: 0,
            reference,
            counts: Arc::clone(&counts),
            differences,
            late,
        };
        (judge, counts, Told { differences: told, late: told_late })
    }

    /// Blocks of silence, before the first: plugins may want to be restarted when they begin.
    pub(super) fn settle(&mut self, blocks: usize, outputs: usize) {
        let silence = vec![0.0; self.frames];
        let mut out = vec![vec![0.0; self.frames]; outputs];
        for _ in 0..blocks {
            let mut outputs: Vec<&mut [f32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
            self.engine.process_offline(&[&silence, &silence], &mut outputs, PATIENT);
            self.settling += 1;
        }
    }

    /// How many blocks the engine has done when it begins with the first.
    pub(super) fn settling(&self) -> u64 {
        self.settling
    }

    /// Blocks without a driver, each with as much time as it needs; the hashes of the chains.
    pub(super) fn play_patiently(&mut self, blocks: usize, outputs: usize) -> Vec<u64> {
        let mut hashes = Vec::with_capacity(blocks * self.chains);
        let mut out = vec![vec![0.0; self.frames]; outputs];
        for _ in 0..blocks {
            let input = Self::input(&self.input, self.block, self.frames);
            let mut outputs: Vec<&mut [f32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
            self.engine.process_offline(&input, &mut outputs, PATIENT);
            for chain in outputs.chunks_exact(CHANNELS).take(self.chains) {
                hashes.push(hash(chain));
            }
            self.block += 1;
        }
        hashes
    }

    fn input(input: &[f32], block: usize, frames: usize) -> [&[f32]; CHANNELS] {
        let begin = block % LOOP * frames;
        std::array::from_fn(|channel| &input[channel * LOOP * frames + begin..][..frames])
    }
}

impl Callback for Judge {
    fn process(&mut self, time: &CallbackTime, io: &mut CallbackIo<'_>) {
        let began = clock::now_ns();
        let inputs = Self::input(&self.input, self.block, self.frames);
        {
            let count = io.outputs.len().min(MOST_OUTPUTS);
            let mut outputs: [&mut [f32]; MOST_OUTPUTS] =
                std::array::from_fn(|_| Default::default());
            for (slot, channel) in outputs.iter_mut().zip(io.outputs.iter_mut()) {
                *slot = channel;
            }
            self.engine.process(time, &mut CallbackIo::new(&inputs, &mut outputs[..count]));
        }
        let counts = &self.counts;
        counts.callbacks.fetch_add(1, Relaxed);
        let ended = clock::now_ns();
        if ended > time.next_due_ns {
            counts.late.fetch_add(1, Relaxed);
            let began_ns = began.saturating_sub(time.due_ns);
            let (block, took_ns) = (self.block as u64, ended.saturating_sub(began));
            let _ = self.late.push(Late { block, began_ns, took_ns });
        }
        let expected = self.reference.chunks_exact(self.chains).nth(self.block);
        if let Some(expected) = expected {
            let chains = io.outputs.chunks_exact(CHANNELS);
            for (chain, (output, expected)) in chains.zip(expected).enumerate() {
                counts.compared.fetch_add(1, Relaxed);
                if hash(output) != *expected {
                    counts.differing.fetch_add(1, Relaxed);
                    // What does not fit is counted all the same.
                    let block = self.block as u64;
                    let _ = self.differences.push(Difference { block, chain });
                }
            }
        }
        self.block += 1;
    }
}

/// Of all bits of all samples, in order. Not for adversaries: a plugin would have to guess its
/// neighbours' samples.
fn hash(channels: &[&mut [f32]]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for sample in channels.iter().flat_map(|channel| channel.iter()) {
        hash = (hash ^ u64::from(sample.to_bits())).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        hash ^= hash >> 29;
    }
    hash
}

#[cfg(test)]
mod tests {
    use super::hash;

    #[test]
    fn every_bit_and_every_place_counts() {
        let of = |left: &mut [f32], right: &mut [f32]| hash(&[left, right]);
        let one = of(&mut [0.5, 0.25], &mut [0.0, 1.0]);
        assert_eq!(one, of(&mut [0.5, 0.25], &mut [0.0, 1.0]));
        assert_ne!(one, of(&mut [0.25, 0.5], &mut [0.0, 1.0]));
        assert_ne!(one, of(&mut [0.5, 0.25], &mut [-0.0, 1.0]));
        assert_ne!(one, of(&mut [0.0, 1.0], &mut [0.5, 0.25]));
    }
}
