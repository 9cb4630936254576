//! `sandrack render` as a user starts it, with files made for the test.

use super::program::{Finished, Program};
use super::{Noise, plugin};
use sandrack_host::wav::{self, SampleFormat, Wav, WavWriter};
use sandrack_sandbox::format::PluginRef;
use std::fs;
use std::path::Path;

/// One start of `render`: files to put in its folder, and arguments.
pub(crate) struct Render {
    program: Program,
}

impl Render {
    /// A chain of test plugins.
    pub(crate) fn new(chain: &[&str]) -> Self {
        Self::of(&chain.iter().map(|name| plugin(name)).collect::<Vec<_>>())
    }

    /// A chain of any plugins.
    pub(crate) fn of(chain: &[PluginRef]) -> Self {
        let chain: Vec<String> = chain.iter().map(PluginRef::to_string).collect();
        let mut program = Program::new(["--timeout", "30", "render", "--chain"]);
        program.command().arg(chain.join(","));
        Self { program }
    }

    pub(crate) fn file(self, name: &str, content: impl AsRef<[u8]>) -> Self {
        fs::write(self.program.folder().join(name), content).unwrap();
        self
    }

    /// A WAV file of 32-bit floats at 48 kHz.
    pub(crate) fn wav(self, name: &str, channels: &[Vec<f32>]) -> Self {
        write(&self.program.folder().join(name), channels);
        self
    }

    pub(crate) fn run(mut self, arguments: &[&str]) -> Finished {
        self.program.command().args(arguments);
        self.program.run()
    }

    /// What is in `out.wav` afterwards.
    pub(crate) fn hear(self, arguments: &[&str]) -> Vec<Vec<f32>> {
        heard(&self.run(arguments)).channels
    }
}

#[track_caller]
pub(crate) fn heard(finished: &Finished) -> Wav {
    finished.assert_success();
    wav::read(&finished.file("out.wav")).unwrap()
}

pub(crate) fn write(path: &Path, channels: &[Vec<f32>]) {
    let mut writer =
        WavWriter::create(path, channels.len() as u32, 48_000, SampleFormat::Float32).unwrap();
    writer.write(&channels.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
}

/// Stereo noise, never silent.
pub(crate) fn noise(frames: usize) -> Vec<Vec<f32>> {
    let mut noise = Noise(7);
    let mut sample = || (noise.unit() - 0.5) as f32 + 0.001;
    (0..2).map(|_| (0..frames).map(|_| sample()).collect()).collect()
}

/// Both channels the same everywhere.
pub(crate) fn constant(value: f32, frames: usize) -> Vec<Vec<f32>> {
    vec![vec![value; frames]; 2]
}

/// A MIDI file of format 1 with 480 ticks a quarter note. An event: ticks since the one before,
/// and its bytes.
pub(crate) fn midi(tracks: &[&[(u32, &[u8])]]) -> Vec<u8> {
    let mut bytes = b"MThd\0\0\0\x06\0\x01\0".to_vec();
    bytes.push(tracks.len() as u8);
    bytes.extend(480u16.to_be_bytes());
    for track in tracks {
        let mut body = Vec::new();
        for (delta, event) in track.iter().chain(&[(0, &[0xff, 0x2f, 0][..])]) {
            let parts = [delta >> 21, delta >> 14, delta >> 7].map(|n| (n & 127) as u8 | 128);
            let skip = parts.iter().take_while(|part| **part == 128).count();
            body.extend(&parts[skip..]);
            body.push((delta & 127) as u8);
            body.extend(*event);
        }
        bytes.extend(b"MTrk");
        bytes.extend((body.len() as u32).to_be_bytes());
        bytes.extend(body);
    }
    bytes
}
