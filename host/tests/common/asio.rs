//! The virtual ASIO driver, and callbacks that check what comes back from it.
//!
//! # Safety
//! The `unsafe` calls are of the driver's library, which stays loaded, and of the environment, which
//! only the one test that holds [`VirtualAsio`] changes.
#![allow(unsafe_code)]

use super::{LONG, Noise, example};
use sandrack_host::drivers::samples::SampleLayout;
use sandrack_host::drivers::{
    self, Callback, CallbackIo, CallbackTime, Driver, DriverConfig, DriverEvent, DriverOptions,
};
use sandrack_host::error::Error;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

pub(crate) const NAME: &str = "asio:Sandrack Virtual ASIO";

/// What the driver counts, by its numbers.
pub(crate) const OUTPUT_READY: u32 = 1;
pub(crate) const ALIVE: u32 = 3;
pub(crate) const MONITORS: u32 = 6;
pub(crate) const BUFFERS: u32 = 7;
pub(crate) const WRONG: [(u32, &str); 3] = [
    (8, "calls on another thread than the apartment's"),
    (9, "calls that come too early or twice"),
    (11, "answers that are not those of ASIO 2"),
];

/// The driver as it is set, for one test at a time.
pub(crate) struct VirtualAsio {
    _alone: MutexGuard<'static, ()>,
}

fn library() -> &'static libloading::Library {
    static LIBRARY: OnceLock<libloading::Library> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let path = example("asio_driver");
        // SAFETY: nothing happens when it is loaded.
        let library = unsafe { libloading::Library::new(&path) }.expect("the driver's library");
        type Register = unsafe extern "system" fn() -> i32;
        // SAFETY: COM's function of this name.
        let result = unsafe { library.get::<Register>(b"DllRegisterServer\0").unwrap()() };
        assert_eq!(result, 0, "it can be registered");
        library
    })
}

impl VirtualAsio {
    /// Like this from the next opening on; see docs/asio.md.
    pub(crate) fn set(settings: &str) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        library();
        let this = Self { _alone: alone };
        this.change(settings);
        this
    }

    /// Like that now. What was counted is forgotten at the next opening.
    pub(crate) fn change(&self, settings: &str) {
        static TIMES: AtomicU64 = AtomicU64::new(0);
        // A text of its own each time: it tells the driver to forget.
        let blanks = TIMES.fetch_add(1, Ordering::Relaxed) as usize;
        let text = format!("{settings}{}", ";".repeat(blanks + 1));
        // SAFETY: tests that use this run one at a time, and no other thread reads variables then.
        unsafe { std::env::set_var("SANDRACK_ASIO", text) };
    }

    /// How often something has happened since it was set.
    pub(crate) fn count(&self, what: u32) -> u64 {
        type Count = unsafe extern "system" fn(u32) -> u64;
        // SAFETY: the library's function of this name.
        unsafe { library().get::<Count>(b"sandrack_asio_count\0").unwrap()(what) }
    }

    /// That it was treated as ASIO has it, and let go of.
    #[track_caller]
    pub(crate) fn was_treated_well(&self) {
        for (what, words) in WRONG {
            assert_eq!(self.count(what), 0, "{words}");
        }
        assert_eq!(self.count(BUFFERS), 0, "buffers were not disposed of");
        assert_eq!(self.count(ALIVE), 0, "it was not let go of");
    }
}

impl Drop for VirtualAsio {
    fn drop(&mut self) {
        // SAFETY: as above.
        unsafe { std::env::remove_var("SANDRACK_ASIO") };
    }
}

/// What a [`Loop`] has seen.
#[derive(Default)]
pub(crate) struct Seen {
    /// Callbacks.
    pub(crate) blocks: AtomicU64,
    /// Blocks that came back, and those of them that differ from what went out.
    pub(crate) compared: AtomicU64,
    pub(crate) differ: AtomicU64,
    /// Blocks that the chain put out as it should, in a row until now; and any others.
    pub(crate) chain_row: AtomicU64,
    pub(crate) chain_differs: AtomicU64,
    /// Xruns and sample position of the last callback.
    pub(crate) xruns: AtomicU64,
    pub(crate) position: AtomicU64,
    /// The first difference, in words.
    pub(crate) first: Mutex<Option<String>>,
}

impl Seen {
    #[track_caller]
    pub(crate) fn wait_for(&self, blocks: u64) {
        let get = || self.blocks.load(Ordering::Relaxed);
        let there = super::becomes_true(LONG, || get() >= blocks);
        assert!(there, "{} of {blocks} blocks", get());
    }

    #[track_caller]
    pub(crate) fn came_back_exactly(&self) {
        let compared = self.compared.load(Ordering::Relaxed);
        assert!(compared > 0, "nothing came back");
        let first = self.first.lock().unwrap().clone();
        assert_eq!(self.differ.load(Ordering::Relaxed), 0, "of {compared}: {first:?}");
    }
}

/// Noise through a chain to the driver; what comes back two blocks later has to be that, in the
/// driver's samples.
pub(crate) struct Loop {
    /// What stands between the noise and the driver, and what it multiplies by, in turn.
    chain: Option<(Box<dyn Callback>, Vec<f32>)>,
    noise: Noise,
    bits: Option<u32>,
    on_steps: bool,
    input: Vec<Vec<f32>>,
    /// What went out in the last two blocks, as it has to come back.
    expected: [Vec<Vec<f32>>; 2],
    blocks: usize,
    pub(crate) seen: Arc<Seen>,
}

/// Rounded to a step of so many bits, by the format's definition.
fn rounded(sample: f32, bits: Option<u32>) -> f32 {
    match bits {
        None => sample,
        Some(bits) => {
            let half = (1u64 << (bits - 1)) as f64;
            let step = (f64::from(sample) * half).round_ties_even().clamp(-half, half - 1.0);
            (step / half) as f32
        }
    }
}

impl Loop {
    /// For a driver that runs so and writes samples of this layout.
    pub(crate) fn new(config: &DriverConfig, layout: SampleLayout) -> Self {
        let (frames, channels) = (config.frames as usize, config.outputs as usize);
        let block = || vec![vec![0.0; frames]; channels];
        Self {
            chain: None,
            noise: Noise(7),
            bits: layout.bits(),
            on_steps: false,
            input: block(),
            expected: [block(), block()],
            blocks: 0,
            seen: Arc::default(),
        }
    }

    /// With samples that lose no bits.
    pub(crate) fn on_steps(mut self) -> Self {
        self.on_steps = true;
        self
    }

    /// Through a chain that multiplies by these, in turn.
    pub(crate) fn through(mut self, chain: Box<dyn Callback>, factors: &[f32]) -> Self {
        self.chain = Some((chain, factors.to_vec()));
        self
    }

    pub(crate) fn seen_by(mut self, seen: &Arc<Seen>) -> Self {
        self.seen = Arc::clone(seen);
        self
    }

    fn compare(&mut self, io: &CallbackIo<'_>) {
        let expected = &self.expected[self.blocks % 2];
        let differ = io.inputs.iter().zip(expected).enumerate().find_map(|(channel, (a, b))| {
            let at = a.iter().zip(b).position(|(a, b)| *a != *b)?;
            Some((channel, at, a[at], b[at]))
        });
        self.seen.compared.fetch_add(1, Ordering::Relaxed);
        if let Some((channel, at, came, went)) = differ {
            self.seen.differ.fetch_add(1, Ordering::Relaxed);
            let block = self.blocks;
            let words = format!("block {block}, channel {channel}, frame {at}: {came} for {went}");
            self.seen.first.lock().unwrap().get_or_insert(words);
        }
    }
}

impl Callback for Loop {
    fn process(&mut self, time: &CallbackTime, io: &mut CallbackIo<'_>) {
        if time.sample_position == 0 {
            // Started anew: nothing is on its way.
            self.blocks = 0;
        }
        if self.blocks >= 2 {
            self.compare(io);
        }
        for sample in self.input.iter_mut().flatten() {
            let noise = (self.noise.unit() * 1.9 - 0.95) as f32;
            *sample = if self.on_steps { rounded(noise, self.bits.or(Some(24))) } else { noise };
        }
        match &mut self.chain {
            None => {
                for (to, from) in io.outputs.iter_mut().zip(&self.input) {
                    to.copy_from_slice(from);
                }
            }
            Some((chain, factors)) => {
                let inputs: Vec<&[f32]> = self.input.iter().map(Vec::as_slice).collect();
                let mut outputs: Vec<&mut [f32]> =
                    io.outputs.iter_mut().map(|channel| &mut **channel).collect();
                chain.process(time, &mut CallbackIo::new(&inputs, &mut outputs));
                let through = |sample: f32| factors.iter().fold(sample, |x, factor| x * factor);
                let exact = io.outputs.iter().zip(&self.input).all(|(out, from)| {
                    out.iter().zip(from).all(|(out, from)| *out == through(*from))
                });
                match exact {
                    true => self.seen.chain_row.fetch_add(1, Ordering::Relaxed),
                    false => {
                        self.seen.chain_row.store(0, Ordering::Relaxed);
                        self.seen.chain_differs.fetch_add(1, Ordering::Relaxed)
                    }
                };
            }
        }
        let bits = self.bits;
        for (expected, out) in self.expected[self.blocks % 2].iter_mut().zip(io.outputs.iter()) {
            for (expected, out) in expected.iter_mut().zip(out.iter()) {
                *expected = rounded(*out, bits);
            }
        }
        self.blocks += 1;
        self.seen.xruns.store(time.xruns, Ordering::Relaxed);
        self.seen.position.store(time.sample_position, Ordering::Relaxed);
        self.seen.blocks.fetch_add(1, Ordering::Relaxed);
    }
}

/// All sample formats: as the driver's settings name them, as ASIO numbers them.
pub(crate) const FORMATS: [(&str, i32); 18] = [
    ("int16", 16),
    ("int24", 17),
    ("int32", 18),
    ("float32", 19),
    ("float64", 20),
    ("int32-16", 24),
    ("int32-18", 25),
    ("int32-20", 26),
    ("int32-24", 27),
    ("int16be", 0),
    ("int24be", 1),
    ("int32be", 2),
    ("float32be", 3),
    ("float64be", 4),
    ("int32-16be", 8),
    ("int32-18be", 9),
    ("int32-20be", 10),
    ("int32-24be", 11),
];

pub(crate) fn layout(number: i32) -> SampleLayout {
    SampleLayout::from_asio(number).expect("a format")
}

/// At the usual rate, two channels each way.
pub(crate) fn wanted(frames: u32) -> DriverConfig {
    DriverConfig { rate: 48_000, frames, inputs: 2, outputs: 2 }
}

#[track_caller]
pub(crate) fn open(frames: u32) -> Result<Box<dyn Driver>, Error> {
    drivers::open(NAME, &wanted(frames), &DriverOptions::default())
}

/// Plays 100 blocks through a driver that is set like this, to the bit. What it said.
#[track_caller]
pub(crate) fn plays(settings: &str, frames: u32) -> (Vec<DriverEvent>, Arc<Seen>) {
    let virtual_asio = VirtualAsio::set(settings);
    let mut driver = open(frames).expect(settings);
    let through = Loop::new(driver.config(), layout(19)).on_steps();
    let seen = Arc::clone(&through.seen);
    driver.start(Box::new(through)).expect(settings);
    seen.wait_for(100);
    let events = driver.take_events();
    drop(driver.stop().expect(settings));
    let blocks = seen.blocks.load(Ordering::Relaxed);
    // What comes now comes too late.
    std::thread::sleep(Duration::from_millis(60));
    assert_eq!(seen.blocks.load(Ordering::Relaxed), blocks, "{settings}: after stop");
    drop(driver);
    std::thread::sleep(Duration::from_millis(60));
    seen.came_back_exactly();
    virtual_asio.was_treated_well();
    (events, seen)
}
