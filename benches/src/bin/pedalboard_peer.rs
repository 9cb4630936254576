//! An 8-plugin chain of real VST3 plugins rendered by Sandrack, each plugin in its own process, and
//! by pedalboard, which hosts them in its own: the same audio, and who takes longer?
//!
//! First each plugin alone in both programs, at its default settings: the greatest difference of
//! any sample. Then the chain, the two programs in turns. Sandrack's time is the whole command,
//! starting processes, loading and reading and writing files included; pedalboard's is the call of
//! `process` alone, after loading.
//!
//! ```text
//! python3 -m venv V && V/bin/pip install pedalboard
//! cargo build --release --workspace && target/release/pedalboard_peer --python V/bin/python A.vst3 …
//! ```

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use clap::Parser;
use sandrack_benches::rig::Failure;
use sandrack_benches::stats::median;
use sandrack_benches::verdict::{self, Check, Output};
use sandrack_host::wav::{SampleFormat, WavReader, WavWriter};
use serde_json::{Value, json};

const RATE: u32 = 48_000;

/// Most that a sample may differ: the last bits of a 32-bit float at full scale. Both programs give
/// the plugin the same numbers; what may differ is the state of the denormal flags.
const TOLERANCE: f64 = 1e-6;

/// Sandrack against pedalboard, rendering a chain of VST3 plugins.
#[derive(Parser)]
struct Options {
    /// The chain; of one plugin, that plugin eight times
    #[arg(required = true, value_name = "PLUGIN.vst3")]
    plugins: Vec<PathBuf>,
    /// A Python that has pedalboard
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// Seconds of audio [default: 60]
    #[arg(long)]
    seconds: Option<f64>,
    /// Turns [default: 5]
    #[arg(long)]
    rounds: Option<u32>,
    /// Frames per block
    #[arg(long, default_value_t = 256)]
    frames: u32,
    #[command(flatten)]
    output: Output,
}

fn main() -> ExitCode {
    sandrack_sandbox::worker::run_if_worker();
    match measure(&Options::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("pedalboard_peer: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Both programs, and where they work.
struct Peers<'a> {
    options: &'a Options,
    sandrack: PathBuf,
    folder: PathBuf,
}

/// What pedalboard said: version, seconds of `process`.
struct Pedalboard {
    version: String,
    seconds: f64,
}

impl Peers<'_> {
    fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Seconds of the whole command.
    fn sandrack(&self, chain: &[PathBuf]) -> Result<f64, Failure> {
        let mut command = Command::new(&self.sandrack);
        command.args(["render".as_ref(), self.file("in.wav").as_os_str()]);
        command.arg(self.file("sandrack.wav"));
        for plugin in chain {
            command.arg("--chain").arg(plugin);
        }
        command.args(["--frames", &self.options.frames.to_string()]);
        let began = Instant::now();
        let done = command.output()?;
        let seconds = began.elapsed().as_secs_f64();
        if !done.status.success() {
            return Err(String::from_utf8_lossy(&done.stderr).trim().into());
        }
        Ok(seconds)
    }

    fn pedalboard(&self, chain: &[PathBuf]) -> Result<Pedalboard, Failure> {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("pedalboard_peer.py");
        let done = Command::new(&self.options.python)
            .arg(script)
            .args([self.file("in.wav"), self.file("pedalboard.wav")])
            .args([self.options.frames.to_string(), "1".into()])
            .args(chain)
            .output()
            .map_err(|e| format!("{}: {e}", self.options.python.display()))?;
        if !done.status.success() {
            let said = String::from_utf8_lossy(&done.stderr);
            return Err(said.lines().last().unwrap_or("pedalboard failed").into());
        }
        let said = String::from_utf8_lossy(&done.stdout);
        // Plugins print, too.
        let line = said.lines().rev().find(|line| line.starts_with('{')).ok_or("no answer")?;
        let value: Value = serde_json::from_str(line)?;
        let seconds = value["seconds"][0].as_f64().ok_or("no time in the answer")?;
        Ok(Pedalboard { version: value["version"].as_str().unwrap_or("?").into(), seconds })
    }

    /// Greatest difference between what both wrote last, and the greatest sample.
    fn difference(&self) -> Result<(f64, f64), Failure> {
        let (ours, theirs) =
            (read(&self.file("sandrack.wav"))?, read(&self.file("pedalboard.wav"))?);
        if ours.len() != theirs.len() || ours[0].len() != theirs[0].len() {
            return Err("the two files have different lengths".into());
        }
        let pairs = ours.iter().flatten().zip(theirs.iter().flatten());
        Ok(pairs.fold((0.0_f64, 0.0_f64), |(most, peak), (a, b)| {
            (most.max(f64::from((a - b).abs())), peak.max(f64::from(b.abs())))
        }))
    }
}

fn read(path: &Path) -> Result<Vec<Vec<f32>>, Failure> {
    let mut reader = WavReader::open(path)?;
    let info = reader.info();
    let mut channels = vec![vec![0.0; info.frames as usize]; info.channels as usize];
    let mut slices: Vec<&mut [f32]> = channels.iter_mut().map(Vec::as_mut_slice).collect();
    reader.read(&mut slices)?;
    Ok(channels)
}

/// Noise whose loudness swells and falls, so that compressors and gates have work.
fn write_input(path: &Path, seconds: f64) -> Result<(), Failure> {
    let frames = (seconds * f64::from(RATE)) as usize;
    let mut samples = Vec::with_capacity(2 * frames);
    let mut seed = 1_u64;
    for frame in 0..frames {
        let swell = (frame as f64 / f64::from(RATE) * 3.0).sin().abs();
        for _ in 0..2 {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            samples.push((((seed >> 40) as f64 / (1_u64 << 24) as f64 - 0.5) * swell) as f32);
        }
    }
    let mut writer = WavWriter::create(path, 2, RATE, SampleFormat::Float32)?;
    writer.write_interleaved(&samples)?;
    writer.finish()?;
    Ok(())
}

fn measure(options: &Options) -> Result<ExitCode, Failure> {
    let seconds = options.output.or(options.seconds, 60.0, 2.0);
    let rounds = options.output.or(options.rounds, 5, 1);
    let sandrack = std::env::current_exe()?.with_file_name("sandrack");
    if !sandrack.exists() {
        return Err(format!("{} is missing: cargo build --release", sandrack.display()).into());
    }
    let folder = std::env::temp_dir().join(format!("sandrack-pedalboard-{}", std::process::id()));
    std::fs::create_dir(&folder)?;
    let peers = Peers { options, sandrack, folder: folder.clone() };
    let result = compare(&peers, seconds, rounds);
    std::fs::remove_dir_all(&folder)?;
    result
}

fn compare(peers: &Peers<'_>, seconds: f64, rounds: u32) -> Result<ExitCode, Failure> {
    let options = peers.options;
    write_input(&peers.file("in.wav"), seconds)?;
    let chain: Vec<PathBuf> = match options.plugins.as_slice() {
        [one] => vec![one.clone(); 8],
        all => all.to_vec(),
    };
    let mut text = format!(
        "Rendering {seconds} s of stereo at {RATE} Hz, {} frames a block\n\n{:<36}{:>14}{:>10}\n",
        options.frames, "alone", "difference", "peak"
    );
    let mut alone = Vec::new();
    let mut worst = 0.0_f64;
    for plugin in &options.plugins {
        let one = std::slice::from_ref(plugin);
        peers.sandrack(one)?;
        peers.pedalboard(one)?;
        let (difference, peak) = peers.difference()?;
        let name = plugin.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let _ = writeln!(text, "{name:<36}{difference:>14.3e}{peak:>10.3}");
        worst = worst.max(difference);
        alone.push(json!({ "plugin": name, "difference": difference, "peak": peak }));
    }
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    let mut version = String::new();
    for round in 0..rounds {
        for turn in 0..2 {
            if (round + turn) % 2 == 0 {
                ours.push(peers.sandrack(&chain)?);
            } else {
                let done = peers.pedalboard(&chain)?;
                theirs.push(done.seconds);
                version = done.version;
            }
        }
    }
    let (chained, _) = peers.difference()?;
    let ratios = ours.iter().zip(&theirs).map(|(ours, theirs)| ours / theirs);
    let ratio = median(ratios);
    let p50 = |all: &[f64]| median(all.iter().copied()).unwrap_or(f64::NAN);
    let _ = writeln!(
        text,
        "\nchain of {}: Sandrack, the whole command, {:.2} s; pedalboard {version}, process() alone, \
         {:.2} s (medians of {rounds})\ndifference of the chain's output: {chained:.3e}",
        chain.len(),
        p50(&ours),
        p50(&theirs)
    );
    let value = json!({
        "bench": "pedalboard_peer",
        "pedalboard": version,
        "seconds": seconds,
        "frames": options.frames,
        "alone": alone,
        "chain": chain,
        "chain_difference": chained,
        "sandrack_s": ours,
        "pedalboard_s": theirs,
    });
    let checks = [
        Check::at_most("greatest difference of a sample, each alone", Some(worst), TOLERANCE),
        Check::at_most("time against pedalboard's, median of the rounds", ratio, 1.0),
    ];
    Ok(verdict::finish(&options.output, &text, value, &checks)?)
}
