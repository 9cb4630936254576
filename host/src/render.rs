//! `render`: audio, notes and automation through a chain of plugins, offline, sandboxed.
//!
//! | part | does |
//! |---|---|
//! | `chain` | loads the plugins and cuts the chain into stages |
//! | `score`, `expressions` | what happens when: parameters, automation, notes |
//! | `source` | cuts what is rendered into batches |
//! | `stage`, `pipeline` | run the batches, all stages at once |
//! | `states` | plugins' states and presets in files |
//!
//! # Channels
//! A plugin is asked for the channels that reach it. Where it has others all the same, one channel
//! goes to all, and of several the mean goes to one; other combinations are refused. The output has
//! the channels of the last plugin's main output.
//!
//! # Delay
//! The chain's delay is taken out of the file; side chains, notes and automation reach a plugin in
//! step with the audio that the plugins before it have delayed. The transport is the same for all.

mod chain;
mod expressions;
mod pipeline;
mod score;
mod source;
mod stage;
mod states;

use crate::error::Error;
use crate::mpe::Mpe;
use crate::report::Isolation;
use crate::wav::{SampleFormat, WavReader, WavSummary, WavWriter};
use chain::{Chain, Connected};
use sandrack_sandbox::format::{PluginRef, StateContext};
use sandrack_sandbox::supervisor::SupervisorOptions;
use score::Score;
use source::{Source, SourceParts};
use stage::{Batch, Fault};
use std::path::{Path, PathBuf};

/// What to render.
#[derive(Clone, Debug, Default)]
pub struct RenderOptions {
    /// Input file; `None`: silence.
    pub input: Option<PathBuf>,
    /// Output file; replaced only when all is done.
    pub output: PathBuf,
    /// Plugins in series.
    pub chain: Vec<PluginRef>,
    /// Frames per block.
    pub frames: u32,
    /// Frames per second; `None`: the input's, or 48000.
    pub rate: Option<u32>,
    /// Format of the output file's samples.
    pub format: SampleFormat,
    /// What to render behind the end, for what rings on.
    pub tail: Tail,
    /// Length without tail, seconds; `None`: the longer of input and MIDI file.
    pub seconds: Option<f64>,
    /// Where the plugins run.
    pub isolation: Isolation,
    /// Whether plugins in processes of their own work on different parts of the file at the same
    /// time. The result is the same.
    pub pipelined: bool,
    /// Notes for the first plugin that takes any.
    pub midi: Option<PathBuf>,
    /// Whether notes of MPE zones in the MIDI file come with expressions of their own.
    pub mpe: Mpe,
    /// Automation, a CSV file.
    pub automation: Option<PathBuf>,
    /// Parameters to set before.
    pub params: Vec<ParamSetting>,
    /// States to load before, by place from 0.
    pub states: Vec<(usize, PathBuf)>,
    /// Presets to load before, by place from 0: files, or names that the plugin knows.
    pub presets: Vec<(usize, String)>,
    /// Files for the plugins' states after it, by place from 0.
    pub save_states: Vec<(usize, PathBuf)>,
    /// Files for second inputs, with the plugin's place from 0; `None`: the first that has one.
    pub side_chains: Vec<(Option<usize>, PathBuf)>,
    /// Whether all output buses of the last plugin with outputs are written, not only the main one.
    pub all_outputs: bool,
}

/// A parameter's value as a user writes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSetting {
    /// The plugin's place from 0; `None`: the only one that has the parameter.
    pub place: Option<usize>,
    /// The parameter's name, or `#` and number.
    pub param: String,
    /// A number, or a text that the plugin understands.
    pub value: String,
}

/// How long to go on behind the end.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Tail {
    /// Seconds.
    Seconds(f64),
    /// As long as the plugins say, and until it has been silent (below -90 dBFS) for half a second;
    /// half a minute at most.
    Auto,
}

impl Default for Tail {
    fn default() -> Self {
        Self::Seconds(0.0)
    }
}

/// What was rendered.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// The file.
    pub written: WavSummary,
    /// Frames per second.
    pub rate: u32,
    /// Delay of the chain in frames; already taken out of the file.
    pub latency: u32,
    /// What the user should know.
    pub notes: Vec<String>,
}

/// What to do about a file whose channels a plugin can't have.
pub(crate) const OTHER_FILE: &str =
    "give it a file with as many, or with 1, which goes to all of them";

/// Below this nothing is heard: -90 dBFS.
const SILENT: f32 = 3.162_277_7e-5;
/// The longest that is rendered.
const MAX_SECONDS: f64 = 86_400.0;

/// Renders. `progress` is told how many frames of how many are done.
///
/// # Errors
/// Whatever goes wrong, the output file is as it was before.
pub fn render(
    options: &RenderOptions,
    supervisor: &SupervisorOptions,
    mut progress: impl FnMut(u64, u64),
) -> Result<Rendered, Error> {
    let reader = options.input.as_deref().map(WavReader::open).transpose()?;
    let info = reader.as_ref().map(WavReader::info);
    let rate = match (info, options.rate) {
        (Some(info), Some(rate)) if info.rate != rate => {
            return Err(Error::Usage(format!(
                "--rate {rate}: the input has {} Hz, and is not resampled",
                info.rate
            )));
        }
        (info, rate) => rate.or(info.map(|info| info.rate)).unwrap_or(48_000),
    };
    if info.is_none() && options.midi.is_none() && options.seconds.is_none() {
        return Err(Error::Usage(
            "how long? Name an input file before the output, or --midi, or --seconds".into(),
        ));
    }
    // Without a file there is a silent input all the same: most effects expect one.
    let channels = info.map_or(1, |info| info.channels);
    let mut chain = Chain::load(options, supervisor, channels)?;
    if info.is_none() && !chain.has_output() {
        return Err(Error::Usage("no plugin of the chain puts out audio".into()));
    }
    let mut restored = Vec::new();
    for (place, path) in &options.states {
        restored.extend(states::load(&mut chain, *place, path, StateContext::Project)?);
    }
    for (place, name) in &options.presets {
        restored.extend(states::load_preset(&mut chain, *place, name)?);
    }
    // Behind their states, which may say what they have.
    chain.arrange(options.input.as_deref())?;
    for (place, path) in &options.side_chains {
        chain.add_side_chain(*place, path, rate)?;
    }
    if options.all_outputs {
        chain.all_outputs();
    }
    let score = Score::new(options, &mut chain, rate, &restored)?;
    let length = match options.seconds {
        Some(seconds) => (seconds * f64::from(rate)).round() as u64,
        None => score.frames.max(info.map_or(0, |info| info.frames)),
    };
    if length as f64 > MAX_SECONDS * f64::from(rate) {
        return Err(Error::Usage(format!(
            "this would be {:.0} hours long: cut it with --seconds",
            length as f64 / f64::from(rate) / 3600.0
        )));
    }
    let render = Render { options, rate, channels, length, supervisor };
    let rendered = render.run(&mut chain, &score, &mut progress);
    chain.quit();
    rendered
}

struct Render<'a> {
    options: &'a RenderOptions,
    rate: u32,
    channels: u32,
    /// Frames, without tail.
    length: u64,
    supervisor: &'a SupervisorOptions,
}

impl Render<'_> {
    fn connect(
        &self,
        chain: &mut Chain,
        score: &Score,
        again: bool,
    ) -> Result<(Connected, Source), Error> {
        let mut connected = chain.connect(self.rate, self.supervisor.timeout)?;
        let events = score.timed(&connected.arrivals, again);
        let source = Source::new(SourceParts {
            reader: self.options.input.as_deref().map(WavReader::open).transpose()?,
            channels: self.channels,
            rate: self.rate,
            meter: score.meter.clone(),
            events: events.iter().map(|e| e.iter().map(|(frame, _)| *frame).collect()).collect(),
            frames: self.options.frames,
            batch: chain::BATCH,
            limit: if self.options.seconds.is_some() { self.length } else { u64::MAX },
        });
        chain.send(&mut connected, events);
        Ok((connected, source))
    }

    fn run(
        &self,
        chain: &mut Chain,
        score: &Score,
        progress: &mut dyn FnMut(u64, u64),
    ) -> Result<Rendered, Error> {
        let (mut connected, mut source) = self.connect(chain, score, false)?;
        let mut sink = Sink::new(self, &connected, chain.tail())?;
        let mut first = None;
        let mut once = |batch| {
            first = Some(batch);
            Ok(false)
        };
        let ended = pipeline::serial(&mut connected.stages, &mut source, &mut || (), &mut once);
        ended.map_err(|fault| self.explain(fault, chain))?;
        chain.idle();
        // Some plugins know their delay, and ask for a restart, once they have run. Offline that
        // costs nothing: begin again, once.
        if chain.wants_restart()? {
            drop(connected);
            (connected, source) = self.connect(chain, score, true)?;
            sink.latency(connected.latency, chain.tail());
            first = None;
        }
        let mut write = |batch: Batch| {
            let more = sink.take(&batch)?;
            progress(sink.done, sink.wanted);
            Ok(more)
        };
        let more = first.map_or(Ok(true), &mut write)?;
        let stages = &mut connected.stages;
        let ended = match (more, stages.len()) {
            (false, _) => Ok(()),
            (true, 1) => pipeline::serial(stages, &mut source, &mut || chain.idle(), &mut write),
            (true, _) => pipeline::parallel(stages, &mut source, &mut write),
        };
        ended.map_err(|fault| self.explain(fault, chain))?;
        let mut states = Vec::new();
        for (place, path) in &self.options.save_states {
            states.push((path, states::save(chain, *place)?));
        }
        let written = sink.writer.finish()?;
        for (path, bytes) in states {
            states::write(path, &bytes)?;
        }
        let mut notes = score.notes.clone();
        for stage in &connected.stages {
            notes.extend(stage.not_finite.iter().map(|place| {
                let name = chain.reference(*place);
                format!("{name}: it put out what is not a number; it is silence in the file")
            }));
        }
        let lost: u64 = connected.stages.iter().map(|stage| stage.lost_events).sum();
        if lost > 0 {
            notes.push(format!("{lost} events were lost: too many at once"));
        }
        Ok(Rendered { written, rate: self.rate, latency: connected.latency as u32, notes })
    }

    fn explain(&self, fault: Fault, chain: &Chain) -> Error {
        let (place, what, frame) = match fault {
            Fault::Other(error) => return error,
            Fault::Plugin { place, what, frame } => (place, what, frame),
        };
        let seconds = frame as f64 / f64::from(self.rate);
        let at = format!("at {seconds:.3} s of the file; nothing was written");
        // A plugin that is gone explains the others, which waited for it.
        let reason = match chain.gone_plugin() {
            Some((plugin, exit)) => format!("{plugin}: its worker {exit} {at}"),
            None => format!("{}: {what} {at}", chain.reference(place)),
        };
        Error::Plan { reason }
    }
}

/// Writes what comes out, without the chain's delay.
struct Sink {
    writer: WavWriter,
    /// Frames of delay still to be left out.
    skip: u64,
    done: u64,
    /// As far as is known.
    wanted: u64,
    length: u64,
    rate: u32,
    /// With an automatic tail: the last frame that was heard, and one.
    heard: Option<u64>,
}

impl Sink {
    fn new(render: &Render<'_>, connected: &Connected, tail: u64) -> Result<Self, Error> {
        let Render { options, rate, length, .. } = *render;
        let writer = WavWriter::create(&options.output, connected.outputs, rate, options.format)?;
        let fixed = match options.tail {
            Tail::Seconds(seconds) => (seconds * f64::from(rate)) as u64,
            Tail::Auto => 0,
        };
        let heard = (options.tail == Tail::Auto).then_some(0);
        let (skip, done) = (0, 0);
        let mut sink = Self { writer, skip, done, wanted: length + fixed, length, rate, heard };
        sink.latency(connected.latency, tail);
        Ok(sink)
    }

    fn latency(&mut self, latency: u64, tail: u64) {
        self.skip = latency;
        if self.heard.is_some() {
            self.wanted = self.length + tail.min(30 * u64::from(self.rate));
        }
    }

    /// False: that was all.
    fn take(&mut self, batch: &Batch) -> Result<bool, Error> {
        let from = self.skip.min(batch.frames as u64) as usize;
        self.skip -= from as u64;
        if let Some(heard) = &mut self.heard {
            let loud = |c: &Vec<f32>| c[from..].iter().rposition(|x| x.abs() >= SILENT);
            if let Some(last) = batch.audio.iter().filter_map(loud).max() {
                *heard = self.done + last as u64 + 1;
            }
            let rate = u64::from(self.rate);
            let rings = self.length.max(*heard) + rate / 2;
            self.wanted = self.wanted.max(rings.min(self.length + 30 * rate));
        }
        let left = self.wanted - self.done;
        let to = from + left.min((batch.frames - from) as u64) as usize;
        let audio: Vec<&[f32]> = batch.audio.iter().map(|c| &c[from..to]).collect();
        self.writer.write(&audio)?;
        self.done += (to - from) as u64;
        Ok(self.done < self.wanted)
    }
}

/// Where a path is written as `PLACE=FILE`, with places from 1.
pub fn place_and_path(text: &str) -> (Option<usize>, &Path) {
    match text.split_once('=') {
        Some((place, path)) if !Path::new(text).exists() => match place.parse::<usize>() {
            Ok(place) if place > 0 => (Some(place - 1), Path::new(path)),
            _ => (None, Path::new(text)),
        },
        _ => (None, Path::new(text)),
    }
}
