//! `render`: a WAV file through a chain of plugins, offline, sandboxed.

use crate::error::Error;
use crate::report::Isolation;
use crate::session::{Running, Session, SessionConfig};
use crate::wav::{SampleFormat, WavReader, WavSummary, WavWriter};
use sandrack_engine::timing::{NodeOutcome, NodeRecord, Record};
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::Supervisor;
use std::path::PathBuf;
use std::time::Duration;

/// What to render.
#[derive(Clone, Debug)]
pub struct RenderOptions {
    /// Input file.
    pub input: PathBuf,
    /// Output file; replaced only when all is done.
    pub output: PathBuf,
    /// Plugins in series.
    pub chain: Vec<PluginRef>,
    /// Frames per block.
    pub frames: u32,
    /// Format of the output file's samples.
    pub format: SampleFormat,
    /// Silence to render behind the input's end, seconds, for what rings on.
    pub tail: f64,
    /// Where the plugins run.
    pub isolation: Isolation,
    /// How long a plugin may take for a block before it counts as hung.
    pub timeout: Duration,
}

/// What was rendered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rendered {
    /// The file.
    pub written: WavSummary,
    /// Frames per second.
    pub rate: u32,
    /// Delay of the chain in frames; already taken out of the file.
    pub latency: u32,
}

/// Renders. `progress` is told how many frames of how many are done.
///
/// # Errors
/// Whatever goes wrong, the output file is as it was before.
pub fn render(
    options: &RenderOptions,
    supervisor: &Supervisor,
    mut progress: impl FnMut(u64, u64),
) -> Result<Rendered, Error> {
    let mut reader = WavReader::open(&options.input)?;
    let info = reader.info();
    let config = SessionConfig {
        tracks: vec![options.chain.clone()],
        isolation: options.isolation,
        ..SessionConfig::default()
    };
    let mut session = Session::load(supervisor, &config, &|| {})?;
    let plugins = options.chain.len();
    let outputs = session.output_channels(0).unwrap_or(info.channels);
    let mut running =
        session.connect(info.rate, options.frames, plugins, (info.channels, outputs))?;
    let mut writer = WavWriter::create(&options.output, outputs, info.rate, options.format)?;

    let mut latency = u64::from(running.latency);
    let tail = (options.tail * f64::from(info.rate)) as u64;
    let wanted = info.frames + tail;
    let mut block = Block::new(options.frames, info.channels, outputs);
    // What comes out of the chain first is its delay: it is left out, and made up for at the end.
    let mut skip = latency;
    let mut left = wanted;
    let mut is_settled = false;
    while left > 0 {
        let frames = block.fill(&mut reader)?;
        block.process(&mut running, options.timeout);
        check_nodes(&mut running, &session, info.rate, wanted - left)?;
        session.idle();
        // Some plugins know their delay, and ask for a restart, once they have run. Offline that
        // costs nothing: begin again, once.
        if !std::mem::replace(&mut is_settled, true) && session.wants_restart()? {
            drop(running);
            running =
                session.connect(info.rate, options.frames, plugins, (info.channels, outputs))?;
            reader = WavReader::open(&options.input)?;
            latency = u64::from(running.latency);
            skip = latency;
            continue;
        }
        let from = skip.min(frames as u64) as usize;
        skip -= from as u64;
        let to = from + left.min((frames - from) as u64) as usize;
        writer.write(&block.output(from..to))?;
        left -= (to - from) as u64;
        progress(wanted - left, wanted);
    }
    let written = writer.finish()?;
    drop(running);
    session.quit();
    Ok(Rendered { written, rate: info.rate, latency: latency as u32 })
}

/// Audio of one block.
struct Block {
    inputs: Vec<Vec<f32>>,
    outputs: Vec<Vec<f32>>,
}

impl Block {
    fn new(frames: u32, inputs: u32, outputs: u32) -> Self {
        let channels = |count: u32| vec![vec![0.0; frames as usize]; count as usize];
        Self { inputs: channels(inputs), outputs: channels(outputs) }
    }

    /// Reads a block; behind the file's end comes silence.
    fn fill(&mut self, reader: &mut WavReader) -> Result<usize, Error> {
        let frames = self.outputs.first().or(self.inputs.first()).map_or(0, Vec::len);
        let mut planar: Vec<&mut [f32]> = self.inputs.iter_mut().map(Vec::as_mut_slice).collect();
        let got = if reader.left() > 0 { reader.read(&mut planar)? } else { 0 };
        planar.iter_mut().for_each(|channel| channel[got..].fill(0.0));
        Ok(frames)
    }

    fn process(&mut self, running: &mut Running, timeout: Duration) {
        let inputs: Vec<&[f32]> = self.inputs.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [f32]> = self.outputs.iter_mut().map(Vec::as_mut_slice).collect();
        running.callback.process_offline(&inputs, &mut outputs, timeout);
    }

    fn output(&self, range: std::ops::Range<usize>) -> Vec<&[f32]> {
        self.outputs.iter().map(|channel| &channel[range.clone()]).collect()
    }
}

/// Offline there is no fallback: a plugin that did not deliver is the end.
fn check_nodes(
    running: &mut Running,
    session: &Session,
    rate: u32,
    frame: u64,
) -> Result<(), Error> {
    let mut worst: Option<NodeRecord> = None;
    while let Ok(record) = running.controller.timing().pop() {
        if let Record::Node(record) = record
            && !record.outcome.is_heard()
            && worst.is_none()
        {
            worst = Some(record);
        }
    }
    let Some(record) = worst else { return Ok(()) };
    let at = format!("at {:.3} s of the file; nothing was written", frame as f64 / f64::from(rate));
    // A plugin that is gone explains the others, which waited for it.
    if let Some((plugin, exit)) = session.gone_plugin() {
        return Err(Error::Plan { reason: format!("{plugin}: its worker {exit} {at}") });
    }
    let nodes = running.nodes.concat();
    let name = nodes.iter().find(|(node, _)| *node == record.node).map_or("?", |(_, name)| name);
    let what = match record.outcome {
        NodeOutcome::Failed => "process() reported an error",
        _ => "process() did not return in time",
    };
    Err(Error::Plan { reason: format!("{name}: {what} {at}") })
}
