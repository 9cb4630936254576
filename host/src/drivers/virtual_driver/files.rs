//! WAV files played into the inputs and recorded from the outputs.
//!
//! Files are read and written by a helper thread each; the callback thread only touches
//! lock-free rings. A helper ends when the other end of its ring is gone.
//!
//! Both sides stay on the sample position: frames of periods that were missed are skipped in the
//! file that plays and are silence in the one recorded, and so are frames that a helper could not
//! deliver or take in time. Those are counted.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rtrb::{Consumer, Producer, RingBuffer};

use crate::error::Error;
use crate::wav::{SampleFormat, WavReader, WavSummary, WavWriter};

/// How often an idle helper looks at its ring; the rings hold many times that.
const IDLE: Duration = Duration::from_millis(20);
/// Frames a helper moves at a time.
const CHUNK: usize = 4096;

/// Room for half a second, within reason for very many channels, and for 4 blocks at least.
fn ring_frames(rate: u32, frames: usize, channels: usize) -> usize {
    const SAMPLES: usize = 8 << 20;
    (rate as usize / 2).min(SAMPLES / channels).max(4 * frames).max(2 * CHUNK)
}

/// The callback thread's end of a file that is played.
pub(super) struct Player {
    ring: Consumer<f32>,
    channels: usize,
    /// Samples of one block, one frame after the other.
    scratch: Vec<f32>,
    /// Frames of the file that have not come out of the ring.
    left: u64,
    /// The first of these that should have been played already: to be dropped as they arrive.
    behind: u64,
    /// Free running: wait for the file instead of losing frames.
    patient: bool,
    lost: Arc<AtomicU64>,
    helper: thread::Thread,
}

impl Player {
    /// Opens `path` for a driver of `inputs` channels; `lost` counts frames that came too late.
    pub(super) fn start(
        path: &Path,
        (rate, frames, inputs): (u32, usize, u32),
        patient: bool,
        lost: Arc<AtomicU64>,
    ) -> Result<(Self, JoinHandle<Result<(), Error>>), Error> {
        let mut reader = WavReader::open(path)?;
        check_fit(path, &reader, rate, inputs)?;
        let channels = reader.info().channels as usize;
        let frames_in_file = reader.info().frames;
        let (mut to, ring) = RingBuffer::new(ring_frames(rate, frames, channels) * channels);
        let mut planar = vec![0.0; CHUNK * channels];
        let mut interleaved = vec![0.0; CHUNK * channels];
        // The first frames are there before the first callback.
        while pump(&mut reader, &mut planar, &mut interleaved, &mut to)? {}
        let helper = spawn("wav reader", move || {
            while reader.left() > 0 && !to.is_abandoned() {
                if !pump(&mut reader, &mut planar, &mut interleaved, &mut to)? {
                    thread::park_timeout(IDLE);
                }
            }
            Ok(())
        })?;
        let player = Self {
            ring,
            channels,
            scratch: vec![0.0; frames * channels],
            left: frames_in_file,
            behind: 0,
            patient,
            lost,
            helper: helper.thread().clone(),
        };
        Ok((player, helper))
    }

    /// Fills the first channels of `planar`, which hold `frames` each; the rest is silence.
    pub(super) fn fill(&mut self, planar: &mut [f32], frames: usize) {
        let (expected, had) = loop {
            // First: what the helper wrote before it gave up must be seen.
            let gave_up = self.ring.is_abandoned();
            self.drop_behind();
            let expected = (self.left - self.behind).min(frames as u64) as usize;
            let there = (self.ring.slots() / self.channels).min(expected);
            let had = if self.behind == 0 { there } else { 0 };
            if had == expected || gave_up || !self.patient {
                break (expected, had);
            }
            self.helper.unpark();
            thread::yield_now();
        };
        // The scratch has a block's size and the ring that much.
        let _ = self.ring.pop_entire_slice(&mut self.scratch[..had * self.channels]);
        self.left -= had as u64;
        let (played, silent) = planar.split_at_mut(frames * self.channels);
        for (channel, out) in played.chunks_exact_mut(frames).enumerate() {
            let from = self.scratch[..had * self.channels].iter().skip(channel);
            for (out, sample) in out.iter_mut().zip(from.step_by(self.channels)) {
                *out = *sample;
            }
            out[had..].fill(0.0);
        }
        silent.fill(0.0);
        let missing = (expected - had) as u64;
        if missing > 0 {
            self.behind += missing;
            self.lost.fetch_add(missing, Ordering::Relaxed);
        }
    }

    /// Passes over the frames of periods that were missed.
    pub(super) fn skip(&mut self, frames: u64) {
        self.behind = self.behind.saturating_add(frames).min(self.left);
    }

    fn drop_behind(&mut self) {
        if self.behind == 0 {
            return;
        }
        let frames = (self.ring.slots() / self.channels)
            .min(usize::try_from(self.behind).unwrap_or(usize::MAX));
        if let Ok(chunk) = self.ring.read_chunk(frames * self.channels) {
            chunk.commit_all();
            self.behind -= frames as u64;
            self.left -= frames as u64;
        }
    }
}

/// Moves a chunk from the file to the ring, if there is room; false when there is nothing to do.
fn pump(
    reader: &mut WavReader,
    planar: &mut [f32],
    interleaved: &mut [f32],
    to: &mut Producer<f32>,
) -> Result<bool, Error> {
    let channels = reader.info().channels as usize;
    if to.slots() < CHUNK * channels {
        return Ok(false);
    }
    let mut slices: Vec<&mut [f32]> = planar.chunks_exact_mut(CHUNK).collect();
    let frames = reader.read(&mut slices)?;
    for (channel, samples) in slices.iter().enumerate() {
        let places = interleaved.iter_mut().skip(channel).step_by(channels);
        for (place, sample) in places.zip(&samples[..frames]) {
            *place = *sample;
        }
    }
    // There is room: it was checked, and only this side fills it.
    let _ = to.push_entire_slice(&interleaved[..frames * channels]);
    Ok(frames > 0)
}

/// Whether a file can be played by a driver without changing it.
pub(super) fn check_fit(
    path: &Path,
    reader: &WavReader,
    rate: u32,
    inputs: u32,
) -> Result<(), Error> {
    let info = reader.info();
    let reason = if info.rate != rate {
        format!(
            "its rate is {} Hz and the driver's {rate} Hz: set the driver to {0} Hz or \
             convert the file",
            info.rate
        )
    } else if info.channels > inputs {
        format!(
            "it has {} channels and the driver {inputs} inputs: open the driver with {0} inputs",
            info.channels
        )
    } else {
        return Ok(());
    };
    Err(Error::Wav { path: path.to_owned(), reason })
}

/// The callback thread's end of a file that is recorded.
pub(super) struct Recorder {
    samples: Producer<f32>,
    /// One per block: frames of silence before it.
    gaps: Producer<u64>,
    channels: usize,
    scratch: Vec<f32>,
    gap: u64,
    patient: bool,
    lost: Arc<AtomicU64>,
    helper: thread::Thread,
}

impl Recorder {
    /// Starts a file of `channels` channels; `lost` counts frames the disk was too slow for.
    pub(super) fn start(
        path: &Path,
        format: SampleFormat,
        (rate, frames, channels): (u32, usize, u32),
        patient: bool,
        lost: Arc<AtomicU64>,
    ) -> Result<(Self, JoinHandle<Result<WavSummary, Error>>), Error> {
        let writer = WavWriter::create(path, channels, rate, format)?;
        let channels = channels as usize;
        let room = ring_frames(rate, frames, channels);
        let (samples, from) = RingBuffer::new(room * channels);
        let (gaps, blocks) = RingBuffer::new(room / frames);
        let helper =
            spawn("wav writer", move || write(writer, from, blocks, frames * channels, channels))?;
        let recorder = Self {
            samples,
            gaps,
            channels,
            scratch: vec![0.0; frames * channels],
            gap: 0,
            patient,
            lost,
            helper: helper.thread().clone(),
        };
        Ok((recorder, helper))
    }

    /// Records a block of `frames` frames per channel.
    pub(super) fn record(&mut self, planar: &[f32], frames: usize) {
        let wanted = frames * self.channels;
        while self.patient && !self.has_room(wanted) && !self.samples.is_abandoned() {
            self.helper.unpark();
            thread::yield_now();
        }
        if !self.has_room(wanted) {
            self.lost.fetch_add(frames as u64, Ordering::Relaxed);
            self.skip(frames as u64);
            return;
        }
        for (channel, samples) in planar.chunks_exact(frames).enumerate() {
            let places = self.scratch.iter_mut().skip(channel).step_by(self.channels);
            for (place, sample) in places.zip(samples) {
                *place = *sample;
            }
        }
        // There is room for both. The samples go first: the gap tells the helper of them.
        let _ = self.samples.push_entire_slice(&self.scratch);
        let _ = self.gaps.push(self.gap);
        self.gap = 0;
    }

    fn has_room(&self, samples: usize) -> bool {
        self.samples.slots() >= samples && self.gaps.slots() > 0
    }

    /// Leaves silence for periods that were missed, if a block follows them.
    pub(super) fn skip(&mut self, frames: u64) {
        self.gap = self.gap.saturating_add(frames);
    }
}

/// The helper that writes: until the recorder is gone and the ring is empty.
fn write(
    mut to: WavWriter,
    mut samples: Consumer<f32>,
    mut gaps: Consumer<u64>,
    block: usize,
    channels: usize,
) -> Result<WavSummary, Error> {
    let silence = vec![0.0; CHUNK * channels];
    let mut scratch = vec![0.0; block];
    loop {
        let last = gaps.is_abandoned();
        while let Ok(gap) = gaps.pop() {
            let mut left = gap;
            while left > 0 {
                let now = left.min(CHUNK as u64);
                to.write_interleaved(&silence[..now as usize * channels])?;
                left -= now;
            }
            // They were pushed before the gap.
            let _ = samples.pop_entire_slice(&mut scratch);
            to.write_interleaved(&scratch)?;
        }
        if last {
            return to.finish();
        }
        thread::park_timeout(IDLE);
    }
}

/// What is recorded to where.
#[derive(Clone, Debug)]
pub(super) struct Recording {
    pub(super) path: PathBuf,
    pub(super) format: SampleFormat,
}

fn spawn<T: Send + 'static>(
    name: &str,
    run: impl FnOnce() -> Result<T, Error> + Send + 'static,
) -> Result<JoinHandle<Result<T, Error>>, Error> {
    thread::Builder::new().name(name.into()).spawn(run).map_err(|e| {
        super::failed(&format!(
            "no thread for the {name} ({e}): close other programs and try again"
        ))
    })
}
