//! WAV files from outside: everything that programs write, and everything that is broken.

use std::path::{Path, PathBuf};

use sandrack_host::wav::{self, SampleFormat, WavReader, WavWriter};

/// A file put together by hand.
struct Raw {
    tag: u16,
    channels: u16,
    rate: u32,
    bits: u16,
    /// Container, where it isn't the bits.
    container: u16,
    extensible: bool,
    /// Bytes of the `fmt ` chunk where it isn't extensible.
    fmt_len: u32,
    before: Vec<u8>,
    data: Vec<u8>,
    /// What the header says of `data`, where it lies.
    claimed: Option<u32>,
}

impl Raw {
    fn new(tag: u16, channels: u16, rate: u32, bits: u16, data: Vec<u8>) -> Self {
        Self {
            tag,
            channels,
            rate,
            bits,
            container: bits,
            extensible: false,
            fmt_len: 16,
            before: Vec::new(),
            data,
            claimed: None,
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let frame = self.channels.wrapping_mul(self.container / 8);
        let mut fmt = Vec::new();
        fmt.extend((if self.extensible { 0xfffe } else { self.tag }).to_le_bytes());
        fmt.extend(self.channels.to_le_bytes());
        fmt.extend(self.rate.to_le_bytes());
        // Wrong on purpose: it is redundant, and programs do write nonsense here.
        fmt.extend(7u32.to_le_bytes());
        fmt.extend(frame.to_le_bytes());
        fmt.extend((if self.extensible { self.container } else { self.bits }).to_le_bytes());
        if self.extensible {
            fmt.extend(22u16.to_le_bytes());
            fmt.extend(self.bits.to_le_bytes());
            fmt.extend(0u32.to_le_bytes());
            fmt.extend(self.tag.to_le_bytes());
            fmt.extend([0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xaa, 0, 0x38, 0x9b, 0x71]);
        } else {
            fmt.resize(self.fmt_len as usize, 0);
        }
        let mut bytes = b"RIFF\0\0\0\0WAVE".to_vec();
        bytes.extend(&self.before);
        bytes.extend(b"fmt ");
        bytes.extend((fmt.len() as u32).to_le_bytes());
        bytes.extend(fmt);
        bytes.extend(b"data");
        bytes.extend(self.claimed.unwrap_or(self.data.len() as u32).to_le_bytes());
        bytes.extend(&self.data);
        let riff = (bytes.len() as u32 - 8).to_le_bytes();
        bytes[4..8].copy_from_slice(&riff);
        bytes
    }
}

fn put(dir: &Path, name: &str, bytes: &[u8]) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, bytes).unwrap();
    path
}

/// The error for these bytes, after checking that it names the file and ends in advice.
fn refusal(bytes: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "broken.wav", bytes);
    let text = wav::read(&path).expect_err("should be refused").to_string();
    assert!(text.contains("broken.wav"), "{text}");
    text
}

fn samples(raw: &Raw) -> Vec<Vec<f32>> {
    let dir = tempfile::tempdir().unwrap();
    wav::read(&put(dir.path(), "a.wav", &raw.bytes())).unwrap().channels
}

#[test]
fn integers_are_divided_by_their_full_scale() {
    assert_eq!(
        samples(&Raw::new(1, 1, 8_000, 8, vec![0, 128, 255, 192])),
        [[-1.0, 0.0, 127.0 / 128.0, 0.5]]
    );
    let data = [-32768i16, 0, 32767, 1].iter().flat_map(|x| x.to_le_bytes()).collect();
    assert_eq!(
        samples(&Raw::new(1, 1, 8_000, 16, data)),
        [[-1.0, 0.0, 32767.0 / 32768.0, 1.0 / 32768.0]]
    );
    let full = 8_388_608.0;
    let data =
        [-8_388_608i32, 1, 8_388_607].iter().flat_map(|x| x.to_le_bytes()[..3].to_vec()).collect();
    assert_eq!(samples(&Raw::new(1, 1, 8_000, 24, data)), [[-1.0, 1.0 / full, 8_388_607.0 / full]]);
    let data: Vec<u8> = [i32::MIN, 1 << 30, 256].iter().flat_map(|x| x.to_le_bytes()).collect();
    let expected = [[-1.0, 0.5, 256.0 / 2_147_483_648.0]];
    for fmt_len in [16, 18, 40] {
        let raw = Raw { fmt_len, ..Raw::new(1, 1, 8_000, 32, data.clone()) };
        assert_eq!(samples(&raw), expected);
    }
}

#[test]
fn floats_come_through_bit_for_bit() {
    let values = [1.5f32, -0.0, f32::MIN_POSITIVE / 2.0, -123.25];
    let data: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
    for fmt_len in [16, 18, 40] {
        let read = samples(&Raw { fmt_len, ..Raw::new(3, 2, 96_000, 32, data.clone()) });
        let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
        assert_eq!(bits(&read[0]), bits(&[values[0], values[2]]));
        assert_eq!(bits(&read[1]), bits(&[values[1], values[3]]));
    }
}

#[test]
fn extensible_headers_work_and_valid_bits_are_the_upper_ones() {
    let data: Vec<u8> = [1 << 30, -1 << 31].iter().flat_map(|x: &i32| x.to_le_bytes()).collect();
    for bits in [32, 24, 20] {
        let raw =
            Raw { extensible: true, container: 32, ..Raw::new(1, 1, 44_100, bits, data.clone()) };
        assert_eq!(samples(&raw), [[0.5, -1.0]]);
    }
    let raw =
        Raw { extensible: true, ..Raw::new(3, 1, 44_100, 32, 0.25f32.to_le_bytes().to_vec()) };
    assert_eq!(samples(&raw), [[0.25]]);
}

#[test]
fn other_chunks_are_skipped_with_their_padding() {
    let before = b"LIST\x05\0\0\0hello\0junk\x02\0\0\0xx".to_vec();
    let raw = Raw { before, ..Raw::new(1, 1, 8_000, 8, vec![192]) };
    assert_eq!(samples(&raw), [[0.5]]);
    let mut bytes = Raw::new(1, 1, 8_000, 8, vec![192]).bytes();
    bytes.extend(b"\0LIST\x04\0\0\0tail");
    let dir = tempfile::tempdir().unwrap();
    assert_eq!(wav::read(&put(dir.path(), "a.wav", &bytes)).unwrap().channels, [[0.5]]);
}

#[test]
fn many_channels_and_odd_rates_round_trip_in_blocks() {
    let dir = tempfile::tempdir().unwrap();
    for (channels, rate) in [(1u32, 1u32), (2, 44_100), (5, 22_257), (64, 768_000), (100, 48_000)] {
        let path = dir.path().join(format!("{channels}.wav"));
        let planar: Vec<Vec<f32>> = (0..channels)
            .map(|c| (0..1000).map(|i| (i * (c + 1)) as f32 * 1e-5).collect())
            .collect();
        let mut writer = WavWriter::create(&path, channels, rate, SampleFormat::Float32).unwrap();
        for at in (0..1000).step_by(300) {
            let block: Vec<&[f32]> = planar.iter().map(|c| &c[at..1000.min(at + 300)]).collect();
            writer.write(&block).unwrap();
        }
        let summary = writer.finish().unwrap();
        assert_eq!((summary.frames, summary.clipped), (1000, 0));

        let mut reader = WavReader::open(&path).unwrap();
        let info = reader.info();
        assert_eq!(
            (info.channels, info.rate, info.frames, info.format),
            (channels, rate, 1000, SampleFormat::Float32)
        );
        assert_eq!(info.seconds(), 1000.0 / f64::from(rate));
        let mut block = vec![vec![9.0f32; 333]; channels as usize];
        let mut at = 0;
        loop {
            let mut slices: Vec<&mut [f32]> = block.iter_mut().map(Vec::as_mut_slice).collect();
            let got = reader.read(&mut slices).unwrap();
            if got == 0 {
                break;
            }
            for (read, written) in block.iter().zip(&planar) {
                assert_eq!(read[..got], written[at..at + got]);
            }
            at += got;
        }
        assert_eq!((at, reader.left()), (1000, 0));
        assert!(reader.read(&mut []).is_err());
    }
}

#[test]
fn integers_round_to_the_nearest_and_clipping_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    for (format, full) in [(SampleFormat::Int16, 32768.0f32), (SampleFormat::Int24, 8_388_608.0)] {
        let path = dir.path().join("a.wav");
        let mut writer = WavWriter::create(&path, 1, 48_000, format).unwrap();
        let input =
            [0.0, 0.4 / full, 0.6 / full, -0.6 / full, -1.0, 1.0, -1.5, f32::INFINITY, f32::NAN];
        writer.write(&[&input]).unwrap();
        assert_eq!(writer.finish().unwrap().clipped, 4);
        let top = (full - 1.0) / full;
        let expected = [[0.0, 0.0, 1.0 / full, -1.0 / full, -1.0, top, -1.0, top, 0.0]];
        assert_eq!(wav::read(&path).unwrap().channels, expected);
        assert_eq!(WavReader::open(&path).unwrap().info().format, format);
    }
}

#[test]
fn what_was_read_is_written_back_exactly() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    let values: Vec<f32> = (-32768..=32767).map(|i| i as f32 / 32768.0).collect();
    let mut writer = WavWriter::create(&path, 1, 48_000, SampleFormat::Int16).unwrap();
    writer.write_interleaved(&values).unwrap();
    assert_eq!(writer.finish().unwrap().clipped, 0);
    assert_eq!(wav::read(&path).unwrap().channels, [values]);
}

#[test]
fn an_unfinished_file_leaves_the_old_one_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let path = put(dir.path(), "a.wav", b"what was there");
    let mut writer = WavWriter::create(&path, 2, 48_000, SampleFormat::Int24).unwrap();
    writer.write(&[&[0.5; 10_000], &[0.5; 10_000]]).unwrap();
    assert_eq!(std::fs::read(&path).unwrap(), b"what was there");
    drop(writer);
    assert_eq!(std::fs::read(&path).unwrap(), b"what was there");
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    let mut writer = WavWriter::create(&path, 2, 48_000, SampleFormat::Int24).unwrap();
    writer.write(&[&[0.5], &[0.25]]).unwrap();
    writer.finish().unwrap();
    assert_eq!(wav::read(&path).unwrap().channels, [[0.5], [0.25]]);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn no_audio_is_a_file_of_no_frames() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.wav");
    WavWriter::create(&path, 2, 48_000, SampleFormat::Int16).unwrap().finish().unwrap();
    assert_eq!(wav::read(&path).unwrap().channels, [[0.0; 0]; 2]);
}

#[test]
fn broken_files_are_refused_with_advice() {
    assert!(refusal(b"").contains("empty"));
    assert!(refusal(b"x").contains("not a WAV"));
    assert!(refusal(b"\x7fELF and much more of the same").contains("not a WAV"));
    assert!(refusal(b"RIFF\x10\0\0\0AVI LIST    ").contains("not a WAV"));
    assert!(refusal(b"RF64\xff\xff\xff\xffWAVEds64").contains("64-bit WAV"));
    assert!(refusal(b"RIFX\xff\xff\xff\xffWAVEfmt ").contains("big-endian"));
    let good = Raw::new(1, 2, 48_000, 16, vec![1; 400]);
    let zero = |f: fn(&mut Raw)| {
        let mut raw = Raw::new(1, 2, 48_000, 16, vec![1; 400]);
        f(&mut raw);
        refusal(&raw.bytes())
    };
    assert!(zero(|r| r.channels = 0).contains("no channels"));
    assert!(zero(|r| r.rate = 0).contains("rate is 0"));
    assert!(zero(|r| (r.bits, r.container) = (0, 0)).contains("contradict"));
    assert!(zero(|r| (r.bits, r.container) = (64, 64)).contains("64-bit"));
    assert!(zero(|r| (r.tag, r.bits, r.container) = (3, 64, 64)).contains("64-bit floats"));
    assert!(zero(|r| (r.tag, r.bits, r.container) = (3, 16, 16)).contains("16-bit"));
    assert!(zero(|r| r.tag = 0x55).contains("compressed"));
    assert!(zero(|r| r.tag = 2).contains("compressed"));
    assert!(zero(|r| r.bits = 32).contains("contradict"));
    assert!(zero(|r| r.claimed = Some(u32::MAX)).contains("cut off"));
    assert!(zero(|r| r.claimed = Some(u32::MAX - 3)).contains("4294967292"));
    assert!(zero(|r| r.claimed = Some(398)).contains("middle of a frame"));
    assert!(zero(|r| r.fmt_len = 14).contains("too short"));

    // Cut off anywhere: never a panic, always refused.
    let whole = good.bytes();
    for length in 0..whole.len() {
        refusal(&whole[..length]);
    }
    // Any byte of the header wrong: never a panic.
    let dir = tempfile::tempdir().unwrap();
    for at in 0..44 {
        for value in [0, 1, 0x7f, 0xff] {
            let mut bytes = whole.clone();
            bytes[at] = value;
            let _ = wav::read(&put(dir.path(), "b.wav", &bytes));
        }
    }
}

#[test]
fn places_that_hold_no_file_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("missing.wav"), dir.path().to_owned()] {
        let text = WavReader::open(&path).err().unwrap().to_string();
        assert!(text.contains(path.to_str().unwrap()), "{text}");
    }
    for (path, channels, rate, format) in [
        (dir.path().join("none/a.wav"), 2, 48_000, SampleFormat::Float32),
        (dir.path().join("a.wav"), 0, 48_000, SampleFormat::Float32),
        (dir.path().join("a.wav"), 2, 0, SampleFormat::Float32),
        (dir.path().join("a.wav"), 20_000, 48_000, SampleFormat::Float32),
        (dir.path().join("a.wav"), 2, u32::MAX, SampleFormat::Float32),
        (dir.path().join("a.wav"), 2, 48_000, SampleFormat::Int8),
        (PathBuf::from("/"), 2, 48_000, SampleFormat::Float32),
    ] {
        let text = WavWriter::create(&path, channels, rate, format).err().unwrap().to_string();
        assert!(text.contains(path.to_str().unwrap()), "{text}");
    }
    // The name is taken by a folder: found at the end, and nothing is left behind.
    let folder = dir.path().join("folder.wav");
    std::fs::create_dir(&folder).unwrap();
    assert!(WavWriter::create(&folder, 1, 48_000, SampleFormat::Int16).unwrap().finish().is_err());
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
}
