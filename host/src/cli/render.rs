//! `sandrack render`

use super::{print, signals};
use crate::catalog::find::named;
use crate::error::Error;
use crate::mpe::Mpe;
use crate::render::{ParamSetting, RenderOptions, Tail, place_and_path, render};
use crate::report::Isolation;
use crate::wav::SampleFormat;
use indicatif::{ProgressBar, ProgressStyle};
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::SupervisorOptions;
use std::path::PathBuf;
use std::time::Instant;

#[derive(clap::Args)]
#[command(override_usage = "sandrack render [IN.wav] OUT.wav --chain PLUGIN,… [OPTIONS]")]
pub(super) struct Arguments {
    /// WAV file to read, if any, and WAV file to write
    #[arg(required = true, num_args = 1..=2, value_name = "[IN.wav] OUT.wav")]
    files: Vec<PathBuf>,
    /// Plugins in series: FILE, FILE#ID or a scanned name, separated by commas
    #[arg(long, value_delimiter = ',', required = true, value_name = "PLUGIN,…")]
    chain: Vec<PluginRef>,
    /// MIDI file to play to the first plugin that takes notes
    #[arg(long, value_name = "FILE.mid")]
    midi: Option<PathBuf>,
    /// Notes of MPE zones as notes with expressions (bend, pressure, slide): auto (where the file
    /// declares zones and the plugin takes expressions), on, off
    #[arg(long, default_value = "auto", value_name = "auto|on|off")]
    mpe: Mpe,
    /// Automation: columns time,param,value and, if needed, plugin,ramp,note; param note:tuning,
    /// note:volume, … for expressions of notes that sound, mod:NAME to modulate a parameter
    #[arg(long, value_name = "FILE.csv")]
    automation: Option<PathBuf>,
    /// Set a parameter before: a number in its range or a text, as 'Gain=-6 dB'
    #[arg(long, value_name = "[PLACE:]NAME=VALUE")]
    param: Vec<String>,
    /// Load a plugin's state (--save-state, .vstpreset) before
    #[arg(long, value_name = "[PLACE=]FILE")]
    state: Vec<String>,
    /// Load a preset before: a file, or a name that the plugin knows
    #[arg(long, value_name = "[PLACE=]FILE|NAME")]
    preset: Vec<String>,
    /// Save a plugin's state afterwards
    #[arg(long, value_name = "[PLACE=]FILE")]
    save_state: Vec<String>,
    /// WAV file for the second input of a plugin: of the first that has one, or of that at PLACE
    #[arg(long, value_name = "[PLACE=]FILE")]
    sidechain: Vec<String>,
    /// Write all output buses of the last plugin, one after the other, the main one first
    #[arg(long)]
    all_outputs: bool,
    /// Frames per block
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=8192))]
    frames: u32,
    /// Frames per second, where there is no input file
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_536_000))]
    rate: Option<u32>,
    /// Sample format of the output: 16, 24 or float
    #[arg(long, alias = "bit-depth", default_value = "float", value_parser = ["16", "24", "32f", "float"])]
    bits: String,
    /// Seconds to render behind the end; 'auto': until nothing is heard, 30 at most
    #[arg(long, default_value = "0", value_name = "SECONDS|auto")]
    tail: String,
    /// Length without tail, instead of that of the input or MIDI file
    #[arg(long)]
    seconds: Option<f64>,
    /// Where plugins run: plugin (each in its own process), group (one process), none
    #[arg(long, default_value = "plugin", value_parser = super::bench::isolation)]
    isolation: Isolation,
    /// One plugin at a time, to compare with: gives the same file, later
    #[arg(long)]
    serial: bool,
}

pub(super) fn run(arguments: &Arguments, mut options: SupervisorOptions) -> Result<(), Error> {
    let render_options = arguments.options()?;
    // Nobody waits for a deadline: the system may share the machine out as it likes.
    options.realtime = false;
    // Nothing of a file that is not finished stays.
    signals::on_end(crate::wav::remove_unfinished)?;
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {percent}% {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let start = Instant::now();
    let rendered = render(&render_options, &options, |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let rendered = rendered?;
    for note in &rendered.notes {
        eprintln!("note: {note}");
    }
    let seconds = rendered.written.frames as f64 / f64::from(rendered.rate);
    let took = start.elapsed().as_secs_f64();
    let clipped = match rendered.written.clipped {
        0 => String::new(),
        n => format!("; {n} samples clipped (use --bits float)"),
    };
    let speed = seconds / took;
    let digits = usize::from(speed < 10.0);
    print(&format!(
        "{}: {seconds:.2} s in {took:.2} s ({speed:.digits$} times realtime), {} frames of latency \
         taken out{clipped}\n",
        render_options.output.display(),
        rendered.latency
    ));
    Ok(())
}

impl Arguments {
    fn options(&self) -> Result<RenderOptions, Error> {
        let tail = match (self.tail.as_str(), self.tail.parse::<f64>()) {
            ("auto", _) => Tail::Auto,
            (_, Ok(seconds)) if (0.0..=3600.0).contains(&seconds) => Tail::Seconds(seconds),
            (other, _) => {
                return Err(Error::Usage(format!("--tail {other}: 0 to 3600 seconds, or auto")));
            }
        };
        if let Some(seconds) = self.seconds.filter(|s| !(0.0..=86_400.0).contains(s)) {
            return Err(Error::Usage(format!("--seconds {seconds}: 0 to 86400")));
        }
        let params = self.param.iter().map(|text| {
            let Some((name, value)) = text.split_once('=') else {
                return Err(Error::Usage(format!("--param {text}: NAME=VALUE is needed")));
            };
            let place = name.split_once(':').and_then(|(place, rest)| {
                Some((place.trim().parse::<usize>().ok()?.checked_sub(1)?, rest))
            });
            let (place, name) = place.map_or((None, name), |(place, name)| (Some(place), name));
            let (param, value) = (name.trim().into(), value.trim().into());
            Ok(ParamSetting { place, param, value })
        });
        let (input, output) = match self.files.as_slice() {
            [output] => (None, output),
            [input, output, ..] => (Some(input.clone()), output),
            [] => return Err(Error::Usage("which file?".into())),
        };
        let path = |(place, text): (usize, String)| (place, PathBuf::from(text));
        Ok(RenderOptions {
            input,
            output: output.clone(),
            chain: self.chain.iter().map(named).collect::<Result<_, _>>()?,
            frames: self.frames,
            rate: self.rate,
            format: match self.bits.as_str() {
                "16" => SampleFormat::Int16,
                "24" => SampleFormat::Int24,
                _ => SampleFormat::Float32,
            },
            tail,
            seconds: self.seconds,
            isolation: self.isolation,
            pipelined: !self.serial,
            midi: self.midi.clone(),
            mpe: self.mpe,
            automation: self.automation.clone(),
            params: params.collect::<Result<_, _>>()?,
            states: self.placed("--state", &self.state)?.into_iter().map(path).collect(),
            presets: self.placed("--preset", &self.preset)?,
            save_states: self
                .placed("--save-state", &self.save_state)?
                .into_iter()
                .map(path)
                .collect(),
            side_chains: self
                .sidechain
                .iter()
                .map(|text| place_and_path(text))
                .map(|(place, path)| (place, path.to_owned()))
                .collect(),
            all_outputs: self.all_outputs,
        })
    }

    /// Arguments of the form `PLACE=FILE`; the place may be left out where there is only one.
    fn placed(&self, option: &str, all: &[String]) -> Result<Vec<(usize, String)>, Error> {
        all.iter()
            .map(|text| {
                let (place, path) = place_and_path(text);
                let plugins = self.chain.len();
                let place = match place {
                    None if plugins > 1 => Err(format!("of which plugin? {option} 1={text}")),
                    Some(place) if place >= plugins => {
                        Err(format!("there are {plugins} plugins in the chain"))
                    }
                    place => Ok(place.unwrap_or(0)),
                };
                match place {
                    Ok(place) => Ok((place, path.to_string_lossy().into_owned())),
                    Err(why) => Err(Error::Usage(format!("{option} {text}: {why}"))),
                }
            })
            .collect()
    }
}
