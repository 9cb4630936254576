//! `.sandrack` files: a plugin's last blocks, its state at their beginning, and how they ended.
//!
//! All numbers are little-endian. docs/recordings.md describes the layout.

use super::details::FaultDetails;
use crate::error::Error;
use sandrack_sandbox::event::Event;
use sandrack_sandbox::format::{Format, PluginRef, Transport};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::shm::layout::{MAX_CHANNELS, MAX_FRAMES};
use sandrack_sandbox::shm::recording::{BlockHead, MAX_EVENTS, RecordedBlock};
use sandrack_sandbox::sys::process::Exit;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;

/// How a file begins.
pub const MAGIC: &[u8; 8] = b"SANDRACK";
/// Of the layout. Another number is not read.
pub const VERSION: u32 = 1;

const PREFIX: usize = 52;
const BLOCK: usize = 112;
const EVENT: usize = 40;
const CHECKSUM: usize = 4;
/// A longer file is not one of ours.
const MOST_BYTES: u64 = 2 << 30;
const MOST_HEADER: usize = 16 << 20;
const MOST_BUSES: usize = 4096;

/// What a plugin did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Failure {
    /// Its process ended.
    Died {
        /// By this signal,
        signal: Option<i32>,
        /// or with this exit code.
        code: Option<i32>,
    },
    /// It did not come back.
    Hung,
    /// It was ended because it used more than it may: memory, threads, …
    Excess,
    /// It wrote to its process's ways to the host what makes no sense there, and was ended.
    Protocol,
    /// It put out NaN or infinities.
    NotFinite,
}

impl Failure {
    /// Of a process that ended.
    pub fn died(exit: Exit) -> Self {
        match exit {
            Exit::Signal(signal) => Self::Died { signal: Some(signal), code: None },
            Exit::Code(code) => Self::Died { signal: None, code: Some(code) },
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::Died { signal: Some(signal), .. } => {
                write!(f, "its process {}", Exit::Signal(signal))
            }
            Self::Died { code, .. } => write!(f, "its process {}", Exit::Code(code.unwrap_or(0))),
            Self::Hung => f.write_str("it hung"),
            Self::Excess => f.write_str("it used more than it may"),
            Self::Protocol => f.write_str("it broke the protocol with its host"),
            Self::NotFinite => f.write_str("it put out NaN or infinities"),
        }
    }
}

/// All that is not samples, events or state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The program that wrote it.
    pub by: String,
    /// When it happened: seconds since 1970.
    pub time: u64,
    /// The plugin.
    pub plugin: PluginRef,
    /// Its id, even where the file holds only one.
    pub id: String,
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its format.
    pub format: Option<Format>,
    /// What it was activated for.
    pub activation: Activation,
    /// What its process was confined to.
    pub confinement: String,
    /// Channels of each input bus.
    pub inputs: Vec<u32>,
    /// What it did wrong.
    pub failure: Failure,
    /// Number of the block in which it did; as in the program's log.
    pub block: u64,
    /// What is known beyond that.
    #[serde(default)]
    pub details: FaultDetails,
    /// Parameters that are newer than the state, in the plugin's own range.
    pub params: Vec<(u32, f64)>,
    /// Whether there is a state.
    pub has_state: bool,
}

/// A recording, as it is in a file.
#[derive(Clone, Debug, PartialEq)]
pub struct Flight {
    /// What it is.
    pub head: Head,
    /// The plugin's state before the first block; `None`: as it is when it is new.
    pub state: Option<Vec<u8>>,
    /// The blocks, oldest first.
    pub blocks: Vec<RecordedBlock>,
}

fn bad(path: &Path, reason: impl Into<String>) -> Error {
    Error::Recording { path: path.into(), reason: reason.into() }
}

impl Flight {
    /// Channels of all input buses.
    pub fn channels(&self) -> usize {
        self.head.inputs.iter().map(|&channels| channels as usize).sum()
    }

    /// Seconds of audio.
    pub fn seconds(&self) -> f64 {
        let frames: u64 = self.blocks.iter().map(|block| u64::from(block.head.frames)).sum();
        frames as f64 / self.head.activation.rate
    }

    /// Events in all blocks.
    pub fn events(&self) -> usize {
        self.blocks.iter().map(|block| block.events.len()).sum()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// It can't be read, is none of these, is cut off or damaged.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let failed = |source| Error::File { path: path.into(), source };
        let file = File::open(path).map_err(failed)?;
        let data = file.metadata().map_err(failed)?;
        if !data.is_file() {
            return Err(bad(path, "not a file"));
        }
        if data.len() > MOST_BYTES {
            return Err(bad(path, "too large for a recording"));
        }
        let mut bytes = Vec::new();
        file.take(MOST_BYTES).read_to_end(&mut bytes).map_err(failed)?;
        Self::parse(&bytes).map_err(|reason| bad(path, reason))
    }

    /// What the bytes of a file say; else why they say nothing.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        if !bytes.starts_with(MAGIC) {
            return Err("not a recording of Sandrack's".into());
        }
        let whole = bytes;
        let mut bytes = Bytes(bytes);
        let cut = || format!("cut off: only {} bytes", whole.len());
        bytes.take(MAGIC.len()).ok_or_else(cut)?;
        let version = bytes.u32().ok_or_else(cut)?;
        if version != VERSION {
            return Err(format!("a recording of layout {version}; this program reads {VERSION}"));
        }
        let mut word = || bytes.u64().ok_or_else(cut);
        let [header, state, blocks, events, samples] =
            [word()?, word()?, word()?, word()?, word()?].map(|n| usize::try_from(n).ok());
        let sizes = || Some((header?, state?, blocks?, events?, samples?));
        let (header, state, blocks, events, samples) = sizes().ok_or("its sizes are absurd")?;
        // Not what a damaged prefix says, but what is there.
        let parts = [(header, 1), (state, 1), (blocks, BLOCK), (events, EVENT), (samples, 4)];
        let sum = parts.iter().try_fold(PREFIX + CHECKSUM, |sum, (count, size)| {
            count.checked_mul(*size).and_then(|len| len.checked_add(sum))
        });
        match sum {
            Some(sum) if sum == whole.len() => {}
            Some(sum) if sum > whole.len() => {
                return Err(format!("cut off: {} of {sum} bytes", whole.len()));
            }
            _ => return Err("damaged: its sizes do not match its length".into()),
        }
        let (content, checksum) = whole.split_at(whole.len() - CHECKSUM);
        if crc32fast::hash(content).to_le_bytes() != checksum {
            return Err("damaged: its checksum does not match".into());
        }
        if header > MOST_HEADER {
            return Err("its header is absurdly long".into());
        }
        let head: Head = serde_json::from_slice(bytes.take(header).ok_or_else(cut)?)
            .map_err(|error| format!("its header can't be read: {error}"))?;
        check(&head)?;
        let state = bytes.take(state).ok_or_else(cut)?;
        let state = head.has_state.then(|| state.to_vec());
        let all_blocks = bytes.take(blocks * BLOCK).ok_or_else(cut)?;
        let mut events = Bytes(bytes.take(events * EVENT).ok_or_else(cut)?);
        let mut samples = Bytes(bytes.take(samples * 4).ok_or_else(cut)?);
        let channels: u32 = head.inputs.iter().sum();
        let longest = head.activation.max_frames.max(head.activation.batch_frames);
        let mut flight = Self { head, state, blocks: Vec::with_capacity(blocks) };
        for (number, block) in all_blocks.chunks_exact(BLOCK).enumerate() {
            let (mut recorded, count) =
                read_block(block).ok_or_else(|| format!("block {number} makes no sense"))?;
            let frames = recorded.head.frames;
            if !(1..=longest).contains(&frames) || count as usize > MAX_EVENTS {
                return Err(format!("block {number} is absurd"));
            }
            for _ in 0..count {
                let event = events.take(EVENT).and_then(read_event);
                let event = event.filter(|event| event.is_valid(u32::MAX));
                recorded.events.push(event.ok_or_else(|| format!("an event of block {number}"))?);
            }
            let bytes = samples.take(channels as usize * frames as usize * 4);
            let bytes = bytes.ok_or_else(|| format!("block {number} lacks samples"))?;
            let sample = |bytes: &[u8]| bytes.try_into().map_or(0.0, f32::from_le_bytes);
            recorded.audio = bytes.chunks_exact(4).map(sample).collect();
            flight.blocks.push(recorded);
        }
        match (events.0, samples.0) {
            ([], []) => Ok(flight),
            _ => Err("it has more events or samples than its blocks".into()),
        }
    }

    /// The bytes of a file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let header = serde_json::to_vec(&self.head).unwrap_or_default();
        let state = self.state.as_deref().unwrap_or_default();
        let samples: usize = self.blocks.iter().map(|block| block.audio.len()).sum();
        let sizes = [header.len(), state.len(), self.blocks.len(), self.events(), samples];
        let mut bytes = Vec::with_capacity(PREFIX + header.len() + state.len() + 4 * samples);
        bytes.extend(MAGIC);
        bytes.extend(VERSION.to_le_bytes());
        sizes.iter().for_each(|size| bytes.extend((*size as u64).to_le_bytes()));
        bytes.extend(header);
        bytes.extend(state);
        for block in &self.blocks {
            write_block(block, &mut bytes);
        }
        for event in self.blocks.iter().flat_map(|block| &block.events) {
            write_event(event, &mut bytes);
        }
        for sample in self.blocks.iter().flat_map(|block| &block.audio) {
            bytes.extend(sample.to_le_bytes());
        }
        let checksum = crc32fast::hash(&bytes);
        bytes.extend(checksum.to_le_bytes());
        bytes
    }

    /// Writes a file as a whole: either all of it is there under its name, or nothing. Only its
    /// user may read it: it holds what was played.
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let failed = |source| Error::File { path: path.into(), source };
        let folder = match path.parent() {
            Some(folder) if folder != Path::new("") => folder,
            _ => Path::new("."),
        };
        let write = || -> io::Result<()> {
            let mut file = tempfile::Builder::new().prefix(".crash-").tempfile_in(folder)?;
            file.write_all(&self.to_bytes())?;
            file.persist(path).map(drop).map_err(|error| error.error)
        };
        write().map_err(failed)
    }
}

/// That what is said of the plugin can be worked with.
fn check(head: &Head) -> Result<(), String> {
    let Activation { rate, min_frames, max_frames, batch_frames, .. } = head.activation;
    let longest = max_frames.max(batch_frames);
    let makes_sense = (1.0..=1e7).contains(&rate)
        && min_frames <= max_frames
        && max_frames >= 1
        && longest <= MAX_FRAMES
        && head.activation.main_channels <= MAX_CHANNELS
        && head.inputs.len() <= MOST_BUSES
        && head.inputs.iter().all(|&channels| channels <= MAX_CHANNELS)
        && head.params.iter().all(|(_, value)| value.is_finite());
    makes_sense.then_some(()).ok_or_else(|| "what it says of its plugin is absurd".into())
}

/// Bytes that are read from the front.
struct Bytes<'a>(&'a [u8]);

impl<'a> Bytes<'a> {
    fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u16(&mut self) -> Option<u16> {
        self.array().map(u16::from_le_bytes)
    }

    fn i16(&mut self) -> Option<i16> {
        self.array().map(i16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn i32(&mut self) -> Option<i32> {
        self.array().map(i32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    fn f64(&mut self) -> Option<f64> {
        self.array().map(f64::from_le_bytes)
    }
}

/// A block and the number of its events.
fn read_block(bytes: &[u8]) -> Option<(RecordedBlock, u32)> {
    let mut b = Bytes(bytes);
    let number = b.u64()?;
    let (block, steady_time) = (b.u64()?, b.u64()?);
    let (frames, events, ended, flags) = (b.u32()?, b.u32()?, b.u32()?, b.u32()?);
    let transport = Transport {
        flags,
        tempo: b.f64()?,
        tempo_increment: b.f64()?,
        position_beats: b.f64()?,
        position_seconds: b.f64()?,
        loop_start_beats: b.f64()?,
        loop_end_beats: b.f64()?,
        bar_start_beats: b.f64()?,
        bar_number: b.i32()?,
        signature_numerator: b.u16()?,
        signature_denominator: b.u16()?,
    };
    let head = BlockHead { block, frames, steady_time, transport };
    let ended = ended != 0;
    Some((RecordedBlock { number, head, ended, events: vec![], audio: vec![] }, events))
}

fn write_block(block: &RecordedBlock, bytes: &mut Vec<u8>) {
    let BlockHead { block: number, frames, steady_time, transport } = &block.head;
    for word in [block.number, *number, *steady_time] {
        bytes.extend(word.to_le_bytes());
    }
    for word in [*frames, block.events.len() as u32, u32::from(block.ended), transport.flags] {
        bytes.extend(word.to_le_bytes());
    }
    for value in [
        transport.tempo,
        transport.tempo_increment,
        transport.position_beats,
        transport.position_seconds,
        transport.loop_start_beats,
        transport.loop_end_beats,
        transport.bar_start_beats,
    ] {
        bytes.extend(value.to_le_bytes());
    }
    bytes.extend(transport.bar_number.to_le_bytes());
    bytes.extend(transport.signature_numerator.to_le_bytes());
    bytes.extend(transport.signature_denominator.to_le_bytes());
    bytes.extend([0; 8]);
}

fn read_event(bytes: &[u8]) -> Option<Event> {
    let mut b = Bytes(bytes);
    Some(Event {
        time: b.u32()?,
        kind: b.u16()?,
        expression: b.u16()?,
        note_id: b.i32()?,
        param: b.u32()?,
        port: b.i16()?,
        channel: b.i16()?,
        key: b.i16()?,
        midi: b.array()?,
        reserved: [b.u16()?, b.u16()?, b.u16()?],
        value: b.f64()?,
    })
}

fn write_event(event: &Event, bytes: &mut Vec<u8>) {
    bytes.extend(event.time.to_le_bytes());
    bytes.extend(event.kind.to_le_bytes());
    bytes.extend(event.expression.to_le_bytes());
    bytes.extend(event.note_id.to_le_bytes());
    bytes.extend(event.param.to_le_bytes());
    bytes.extend(event.port.to_le_bytes());
    bytes.extend(event.channel.to_le_bytes());
    bytes.extend(event.key.to_le_bytes());
    bytes.extend(event.midi);
    event.reserved.iter().for_each(|word| bytes.extend(word.to_le_bytes()));
    bytes.extend(event.value.to_le_bytes());
}
