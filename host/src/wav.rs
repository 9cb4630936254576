//! WAV files in and out, as planar 32-bit float.
//!
//! Both directions work block by block, so an hour-long file is never in memory as a whole:
//! [`WavReader`] and [`WavWriter`]. [`read`] is the short way for small files.
//!
//! # What can be read
//! Integers of 8, 16, 24 and 32 bits and 32-bit floats, any rate, any number of channels, with
//! plain and extensible headers. An n-bit integer is divided by 2^(n-1), so full scale is
//! -1 ..= 1 - 2^-(n-1). Anything else is refused with a sentence that says what to do.
//!
//! # What is written
//! 32-bit float unless asked otherwise. A file is written under a temporary name beside its
//! target and renamed when it is complete, so a render that is interrupted leaves the target as
//! it was. A plain WAV file ends at 4 GiB: going beyond is an error, not a broken file.
//!
//! File access blocks: nothing here belongs on a realtime thread.

mod header;

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Cursor, Read, Seek, SeekFrom, Take};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::Error;
use header::Header;

/// How samples are stored in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SampleFormat {
    /// 8-bit unsigned integers. Can be read, not written.
    Int8,
    /// 16-bit integers.
    Int16,
    /// 24-bit integers.
    Int24,
    /// 32-bit integers. Can be read, not written.
    Int32,
    /// 32-bit floats: exact, and nothing clips.
    #[default]
    Float32,
}

impl SampleFormat {
    /// Bits of one sample as stored.
    pub fn bits(self) -> u32 {
        match self {
            Self::Int8 => 8,
            Self::Int16 => 16,
            Self::Int24 => 24,
            Self::Int32 | Self::Float32 => 32,
        }
    }
}

impl std::fmt::Display for SampleFormat {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = if *self == Self::Float32 { "float" } else { "integer" };
        write!(f, "{}-bit {kind}", self.bits())
    }
}

/// What a file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WavInfo {
    /// Channels, at least 1.
    pub channels: u32,
    /// Frames per second, at least 1.
    pub rate: u32,
    /// Length in frames.
    pub frames: u64,
    /// How the samples are stored.
    pub format: SampleFormat,
}

impl WavInfo {
    /// Length in seconds.
    pub fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.rate)
    }
}

/// A whole file in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct Wav {
    /// Frames per second.
    pub rate: u32,
    /// One `Vec` per channel, all of the same length.
    pub channels: Vec<Vec<f32>>,
}

/// Reads a whole file. For files that may be long, use [`WavReader`].
pub fn read(path: &Path) -> Result<Wav, Error> {
    let mut reader = WavReader::open(path)?;
    let info = reader.info();
    // The length was checked against the file's real size, so a forged header can't ask for more
    // memory than a small multiple of what is on disk.
    let frames = usize::try_from(info.frames)
        .map_err(|_| refuse(path, "it is too long for this machine's memory: cut it"))?;
    let mut channels = vec![vec![0.0; frames]; info.channels as usize];
    let mut planar: Vec<&mut [f32]> = channels.iter_mut().map(Vec::as_mut_slice).collect();
    reader.read(&mut planar)?;
    Ok(Wav { rate: info.rate, channels })
}

/// What hound decodes: a header it is sure to understand, then the samples of the file.
type Samples = std::io::Chain<Cursor<Vec<u8>>, Take<BufReader<File>>>;

/// Reads a file block by block.
pub struct WavReader {
    path: PathBuf,
    info: WavInfo,
    left: u64,
    samples: hound::WavReader<Samples>,
}

impl WavReader {
    /// Opens a file and checks its header against its real length.
    ///
    /// # Errors
    /// The file can't be opened, isn't a WAV file, is cut off, or is of a kind that can't be read;
    /// the text says which and what to do.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let mut file =
            BufReader::with_capacity(1 << 16, File::open(path).map_err(|e| io(path, e))?);
        let length = file.get_ref().metadata().map_err(|e| io(path, e))?;
        if length.is_dir() {
            return Err(refuse(path, "it is a folder: name a WAV file in it"));
        }
        let header = Header::read(&mut file, length.len(), path)?;
        file.seek(SeekFrom::Start(header.data_at)).map_err(|e| io(path, e))?;
        let plain = Cursor::new(header.plain());
        let samples = hound::WavReader::new(plain.chain(file.take(u64::from(header.data_len))))
            .map_err(|e| decode(path, e))?;
        Ok(Self { path: path.to_owned(), info: header.info, left: header.info.frames, samples })
    }

    /// What the file holds.
    pub fn info(&self) -> WavInfo {
        self.info
    }

    /// Frames not yet read.
    pub fn left(&self) -> u64 {
        self.left
    }

    /// Fills as much of `planar` (one slice per channel of the file, all of one length) as the
    /// file still holds and returns how many frames that were; 0 at the end.
    ///
    /// # Errors
    /// The file could not be read, or `planar` hasn't the file's number of channels.
    pub fn read(&mut self, planar: &mut [&mut [f32]]) -> Result<usize, Error> {
        if planar.len() != self.info.channels as usize {
            return Err(refuse(
                &self.path,
                &format!(
                    "it has {} channels and {} were asked for",
                    self.info.channels,
                    planar.len()
                ),
            ));
        }
        let room = planar.iter().map(|c| c.len()).min().unwrap_or(0);
        let frames = usize::try_from(self.left).unwrap_or(usize::MAX).min(room);
        let Self { path, samples, info, .. } = self;
        let done = match info.format {
            SampleFormat::Float32 => fill(samples.samples::<f32>(), planar, frames, |s| s),
            format => {
                // In f64 so that 32-bit integers are rounded once, to the nearest f32.
                let scale = 1.0 / f64::from(1u32 << (format.bits() - 1));
                fill(samples.samples::<i32>(), planar, frames, |s| (f64::from(s) * scale) as f32)
            }
        };
        done.map_err(|e| decode(path, e))?;
        self.left -= frames as u64;
        Ok(frames)
    }
}

fn fill<S>(
    mut from: impl Iterator<Item = hound::Result<S>>,
    planar: &mut [&mut [f32]],
    frames: usize,
    convert: impl Fn(S) -> f32,
) -> hound::Result<()> {
    for frame in 0..frames {
        for channel in planar.iter_mut() {
            channel[frame] = convert(from.next().unwrap_or(Err(hound::Error::UnfinishedSample))?);
        }
    }
    Ok(())
}

/// What a finished file holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WavSummary {
    /// Length in frames.
    pub frames: u64,
    /// Samples that did not fit the integer format and were limited to its range (NaN included,
    /// which became 0). Always 0 for floats.
    pub clipped: u64,
}

/// Writes a file block by block; nothing is seen under its name until [`finish`](Self::finish).
pub struct WavWriter {
    path: PathBuf,
    temporary: PathBuf,
    channels: usize,
    format: SampleFormat,
    /// Frames that fit a plain WAV file.
    limit: u64,
    frames: u64,
    clipped: u64,
    /// `None` once finished.
    file: Option<hound::WavWriter<BufWriter<File>>>,
}

/// Bytes of audio that fit a WAV file with room for any header: lengths are 32-bit.
const DATA_LIMIT: u64 = u32::MAX as u64 - 4096;

impl WavWriter {
    /// Starts a file that will be `path` when finished, replacing what is there.
    ///
    /// # Errors
    /// The folder can't be written to, or a WAV file can't be of this shape (no channels, no
    /// rate, frames of more than 65535 bytes, 8- or 32-bit integers).
    pub fn create(
        path: &Path,
        channels: u32,
        rate: u32,
        format: SampleFormat,
    ) -> Result<Self, Error> {
        let frame_bytes = u64::from(channels) * u64::from(format.bits() / 8);
        if channels == 0 || rate == 0 {
            return Err(refuse(
                path,
                "a WAV file needs at least one channel and a sample rate above 0",
            ));
        }
        if frame_bytes > u64::from(u16::MAX) || frame_bytes * u64::from(rate) > u64::from(u32::MAX)
        {
            return Err(refuse(
                path,
                &format!(
                    "{channels} channels at {rate} Hz do not fit a WAV header: write fewer \
                     channels per file"
                ),
            ));
        }
        if matches!(format, SampleFormat::Int8 | SampleFormat::Int32) {
            return Err(refuse(
                path,
                &format!("{format} is not written: choose 32-bit float, 24 or 16 bits"),
            ));
        }
        let temporary = temporary_name(path)?;
        let spec = hound::WavSpec {
            channels: channels as u16,
            sample_rate: rate,
            bits_per_sample: format.bits() as u16,
            sample_format: match format {
                SampleFormat::Float32 => hound::SampleFormat::Float,
                _ => hound::SampleFormat::Int,
            },
        };
        unfinished().push(temporary.clone());
        let file = File::create_new(&temporary).map_err(|e| io(path, e))?;
        let file = match hound::WavWriter::new(BufWriter::with_capacity(1 << 16, file), spec) {
            Ok(file) => file,
            Err(e) => {
                let _ = fs::remove_file(&temporary);
                return Err(decode(path, e));
            }
        };
        Ok(Self {
            path: path.to_owned(),
            temporary,
            channels: channels as usize,
            format,
            limit: DATA_LIMIT / frame_bytes,
            frames: 0,
            clipped: 0,
            file: Some(file),
        })
    }

    /// Frames written so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Appends a block: one slice per channel, all of one length.
    ///
    /// # Errors
    /// The disk is full or the file would pass 4 GiB. What was written before is intact and can
    /// still be finished.
    pub fn write(&mut self, planar: &[&[f32]]) -> Result<(), Error> {
        let frames = planar.iter().map(|c| c.len()).min().unwrap_or(0);
        if planar.len() != self.channels {
            return Err(refuse(
                &self.path,
                &format!(
                    "it has {} channels and a block of {} was written to it",
                    self.channels,
                    planar.len()
                ),
            ));
        }
        self.append(frames, |frame, channel| planar[channel][frame])
    }

    /// Appends frames whose samples lie one channel after the other; a part of a frame at the end
    /// is left out. Errors as [`write`](Self::write).
    pub fn write_interleaved(&mut self, samples: &[f32]) -> Result<(), Error> {
        let channels = self.channels;
        self.append(samples.len() / channels, |frame, channel| samples[frame * channels + channel])
    }

    fn append(&mut self, frames: usize, sample: impl Fn(usize, usize) -> f32) -> Result<(), Error> {
        if self.frames + frames as u64 > self.limit {
            return Err(refuse(
                &self.path,
                "it would pass 4 GiB, where WAV files end: write a shorter piece, fewer \
                 channels or 24 bits",
            ));
        }
        let Some(file) = self.file.as_mut() else {
            return Ok(());
        };
        for frame in 0..frames {
            for channel in 0..self.channels {
                let x = sample(frame, channel);
                if self.format == SampleFormat::Float32 {
                    file.write_sample(x)
                } else {
                    let (value, clipped) = to_int(x, self.format.bits());
                    self.clipped += u64::from(clipped);
                    file.write_sample(value)
                }
                .map_err(|e| decode(&self.path, e))?;
            }
        }
        self.frames += frames as u64;
        Ok(())
    }

    /// Completes the file and gives it its name.
    ///
    /// # Errors
    /// The disk is full or the name can't be taken; then nothing is left behind and what was at
    /// the name before is untouched.
    pub fn finish(mut self) -> Result<WavSummary, Error> {
        if let Some(file) = self.file.take() {
            let done = file.finalize().map_err(|e| decode(&self.path, e));
            let done = done.and_then(|()| {
                fs::rename(&self.temporary, &self.path).map_err(|e| io(&self.path, e))
            });
            if let Err(e) = done {
                let _ = fs::remove_file(&self.temporary);
                return Err(e);
            }
        }
        Ok(WavSummary { frames: self.frames, clipped: self.clipped })
    }
}

/// Files that are being written, under their temporary names.
fn unfinished() -> std::sync::MutexGuard<'static, Vec<PathBuf>> {
    static UNFINISHED: std::sync::Mutex<Vec<PathBuf>> = std::sync::Mutex::new(Vec::new());
    UNFINISHED.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Removes all files that are being written: this process is about to end.
pub(crate) fn remove_unfinished() {
    for temporary in unfinished().drain(..) {
        let _ = fs::remove_file(temporary);
    }
}

impl Drop for WavWriter {
    fn drop(&mut self) {
        unfinished().retain(|temporary| *temporary != self.temporary);
        if self.file.take().is_some() {
            // Nobody can act on a failure here: the file has a temporary name.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Rounds to the nearest integer of `bits` bits; says whether the sample had to be limited.
fn to_int(x: f32, bits: u32) -> (i32, bool) {
    let full = f64::from(1u32 << (bits - 1));
    let rounded = (f64::from(x) * full).round();
    let limited = rounded.clamp(-full, full - 1.0);
    // The cast turns NaN into 0, which is not what was asked for either.
    (limited as i32, limited != rounded)
}

/// A name beside `path` that nobody else uses, so that the rename stays within one file system.
pub(crate) fn temporary_name(path: &Path) -> Result<PathBuf, Error> {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let Some(name) = path.file_name() else {
        return Err(io(
            path,
            std::io::Error::new(std::io::ErrorKind::InvalidInput, "this is not a file name"),
        ));
    };
    let mut temporary = std::ffi::OsString::from(".");
    temporary.push(name);
    // Relaxed: only the count itself matters.
    temporary.push(format!(
        ".{}-{}.partial",
        std::process::id(),
        COUNT.fetch_add(1, Ordering::Relaxed)
    ));
    Ok(path.with_file_name(temporary))
}

fn io(path: &Path, source: std::io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}

fn refuse(path: &Path, reason: &str) -> Error {
    Error::Wav { path: path.to_owned(), reason: reason.to_owned() }
}

fn decode(path: &Path, error: hound::Error) -> Error {
    match error {
        hound::Error::IoError(e) => io(path, e),
        e => refuse(
            path,
            &format!(
                "its audio can't be decoded ({e}): export it again as 16- or 24-bit or 32-bit float"
            ),
        ),
    }
}
