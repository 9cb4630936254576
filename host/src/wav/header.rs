//! Finds the format and the samples in a WAV file and checks both against the file's real length.
//!
//! hound decodes the samples, but its view of headers is narrower than what programs write: it
//! doesn't skip the padding byte after chunks of odd length, insists on exact `fmt ` sizes and
//! on a redundant bytes-per-second field, and doesn't notice a file that is cut off. So the
//! chunks are walked here, and hound is given a plain header in front of the samples.

use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::{SampleFormat, WavInfo, io, refuse};
use crate::error::Error;

/// Where the samples of a file are and what they mean.
pub(super) struct Header {
    pub(super) info: WavInfo,
    /// Offset of the first sample, bytes.
    pub(super) data_at: u64,
    /// Length of the samples, bytes: whole frames, all of them in the file.
    pub(super) data_len: u32,
}

const PCM: u16 = 1;
const FLOAT: u16 = 3;
const EXTENSIBLE: u16 = 0xfffe;

impl Header {
    /// Walks the chunks of `file`, `length` bytes long. Never reads more than a few bytes each.
    pub(super) fn read(
        file: &mut (impl Read + Seek),
        length: u64,
        path: &Path,
    ) -> Result<Self, Error> {
        if length == 0 {
            return Err(refuse(path, "the file is empty: export it again"));
        }
        let mut riff = [0; 12];
        let got = read_up_to(file, &mut riff).map_err(|e| io(path, e))?;
        match (&riff[..4], &riff[8..]) {
            (b"RIFF", b"WAVE") => {}
            (b"RF64" | b"BW64", _) => {
                return Err(refuse(
                    path,
                    "it is a 64-bit WAV (RF64), which can't be read: cut it into WAV files of \
                     less than 4 GiB",
                ));
            }
            (b"RIFX", _) => {
                return Err(refuse(
                    path,
                    "it is a big-endian WAV (RIFX), which can't be read: convert it to a normal \
                     WAV file",
                ));
            }
            (b"RIFF", _) if got < 12 => return Err(cut_off(path)),
            _ => return Err(refuse(path, "it is not a WAV file: convert it to WAV first")),
        }
        let mut at = 12;
        let mut format = None;
        loop {
            file.seek(SeekFrom::Start(at)).map_err(|e| io(path, e))?;
            let mut chunk = [0; 8];
            if read_up_to(file, &mut chunk).map_err(|e| io(path, e))? < 8 {
                return Err(match format {
                    Some(_) => {
                        refuse(path, "it ends before its audio begins: copy or export it again")
                    }
                    None => cut_off(path),
                });
            }
            let size = u32::from_le_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]);
            at += 8;
            match &chunk[..4] {
                b"fmt " => {
                    let mut fields = [0; 40];
                    let wanted = fields.len().min(size as usize);
                    if read_up_to(file, &mut fields[..wanted]).map_err(|e| io(path, e))? < wanted {
                        return Err(cut_off(path));
                    }
                    format = Some(parse_format(&fields[..wanted], path)?);
                }
                b"data" => {
                    let Some((channels, rate, format)) = format else {
                        return Err(refuse(
                            path,
                            "its audio comes before its format, so nobody can tell what it is: export it \
                             again",
                        ));
                    };
                    return Self::check(channels, rate, format, at, size, length, path);
                }
                _ => {}
            }
            // Chunks start at even offsets.
            at += u64::from(size) + u64::from(size & 1);
        }
    }

    fn check(
        channels: u16,
        rate: u32,
        format: SampleFormat,
        at: u64,
        size: u32,
        length: u64,
        path: &Path,
    ) -> Result<Self, Error> {
        let held = length.saturating_sub(at);
        if u64::from(size) > held {
            return Err(refuse(
                path,
                &format!(
                    "it is cut off: {size} bytes of audio are announced and {held} are there; \
                     copy or export it again"
                ),
            ));
        }
        let frame = u32::from(channels) * (format.bits() / 8);
        if !size.is_multiple_of(frame) {
            return Err(refuse(
                path,
                "its audio ends in the middle of a frame, so it is cut off or damaged: \
                 export it again",
            ));
        }
        let info =
            WavInfo { channels: channels.into(), rate, frames: u64::from(size / frame), format };
        Ok(Self { info, data_at: at, data_len: size })
    }

    /// A header that says the same in the one form every reader understands.
    pub(super) fn plain(&self) -> Vec<u8> {
        let bits = self.info.format.bits() as u16;
        // Both fit: they come from a header of the same field sizes.
        let channels = self.info.channels as u16;
        let frame = channels * (bits / 8);
        let tag = if self.info.format == SampleFormat::Float32 { FLOAT } else { PCM };
        // hound checks this product, so it has to be right, but nothing uses the rate: a rate
        // that would overflow the field is kept out of it.
        let rate = self.info.rate.min(u32::MAX / u32::from(frame));
        let mut bytes = Vec::with_capacity(44);
        bytes.extend_from_slice(b"RIFF");
        bytes.extend_from_slice(&self.data_len.saturating_add(36).to_le_bytes());
        bytes.extend_from_slice(b"WAVEfmt ");
        bytes.extend_from_slice(&16u32.to_le_bytes());
        bytes.extend_from_slice(&tag.to_le_bytes());
        bytes.extend_from_slice(&channels.to_le_bytes());
        bytes.extend_from_slice(&rate.to_le_bytes());
        bytes.extend_from_slice(&(rate * u32::from(frame)).to_le_bytes());
        bytes.extend_from_slice(&frame.to_le_bytes());
        bytes.extend_from_slice(&bits.to_le_bytes());
        bytes.extend_from_slice(b"data");
        bytes.extend_from_slice(&self.data_len.to_le_bytes());
        bytes
    }
}

/// Channels, rate and sample format of a `fmt ` chunk.
fn parse_format(fields: &[u8], path: &Path) -> Result<(u16, u32, SampleFormat), Error> {
    if fields.len() < 16 {
        return Err(refuse(
            path,
            "its format chunk is too short, so it is damaged: export it again",
        ));
    }
    let u16_at = |at: usize| u16::from_le_bytes([fields[at], fields[at + 1]]);
    let mut tag = u16_at(0);
    let channels = u16_at(2);
    let rate = u32::from_le_bytes([fields[4], fields[5], fields[6], fields[7]]);
    let frame = u16_at(12);
    if channels == 0 {
        return Err(refuse(path, "it has no channels, so it is damaged: export it again"));
    }
    if rate == 0 {
        return Err(refuse(path, "its sample rate is 0, so it is damaged: export it again"));
    }
    if tag == EXTENSIBLE {
        // The first two bytes of the sub-format are the tag it stands for, the rest a constant.
        const REST: [u8; 14] = [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71];
        if fields.len() < 40 || fields[26..40] != REST {
            return Err(refuse(
                path,
                "its audio is in a format that can't be read: export it as 16- or 24-bit or \
                 32-bit float",
            ));
        }
        tag = u16_at(24);
    }
    // The container decides, not the number of valid bits: these are the upper ones of a sample,
    // so dividing by the container's full scale is right for both.
    let container = u32::from(frame) * 8 / u32::from(channels);
    if !frame.is_multiple_of(channels) || u32::from(u16_at(14)) > container || u16_at(14) == 0 {
        return Err(refuse(
            path,
            "its sample size and its frame size contradict each other, so it is damaged: \
             export it again",
        ));
    }
    let format = match (tag, container) {
        (PCM, 8) => SampleFormat::Int8,
        (PCM, 16) => SampleFormat::Int16,
        (PCM, 24) => SampleFormat::Int24,
        (PCM, 32) => SampleFormat::Int32,
        (FLOAT, 32) => SampleFormat::Float32,
        (FLOAT, 64) => {
            return Err(refuse(
                path,
                "it holds 64-bit floats, which can't be read: export it as 32-bit float",
            ));
        }
        (PCM | FLOAT, bits) => {
            return Err(refuse(
                path,
                &format!(
                    "it holds {bits}-bit samples, which can't be read: export it as 16- or \
                     24-bit or 32-bit float"
                ),
            ));
        }
        _ => {
            return Err(refuse(
                path,
                &format!(
                    "its audio is compressed (format {tag}): export it as 16- or 24-bit or \
                     32-bit float"
                ),
            ));
        }
    };
    Ok((channels, rate, format))
}

fn cut_off(path: &Path) -> Error {
    refuse(path, "it ends within its header, so it is cut off: copy or export it again")
}

/// Reads until `into` is full or the file ends; returns how many bytes.
fn read_up_to(file: &mut impl Read, into: &mut [u8]) -> std::io::Result<usize> {
    let mut got = 0;
    while got < into.len() {
        match file.read(&mut into[got..]) {
            Ok(0) => break,
            Ok(n) => got += n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}
