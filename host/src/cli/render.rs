//! `sandrack render`

use super::print;
use crate::catalog::find::named;
use crate::error::Error;
use crate::render::{RenderOptions, render};
use crate::report::Isolation;
use crate::wav::SampleFormat;
use indicatif::{ProgressBar, ProgressStyle};
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::path::PathBuf;
use std::time::Instant;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// WAV file to read
    input: PathBuf,
    /// WAV file to write
    output: PathBuf,
    /// Plugins in series: FILE, FILE#ID or a scanned name, separated by commas
    #[arg(long, value_delimiter = ',', required = true, value_name = "PLUGIN,…")]
    chain: Vec<PluginRef>,
    /// Frames per block
    #[arg(long, default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..=8192))]
    frames: u32,
    /// Sample format of the output: 16, 24 or float
    #[arg(long, default_value = "float", value_parser = ["16", "24", "float"])]
    bits: String,
    /// Seconds to render behind the input's end
    #[arg(long, default_value_t = 0.0)]
    tail: f64,
    /// Where plugins run: plugin (each in its own process), group (one process), none
    #[arg(long, default_value = "plugin", value_parser = super::bench::isolation)]
    isolation: Isolation,
}

pub(super) fn run(arguments: &Arguments, mut options: SupervisorOptions) -> Result<(), Error> {
    if !(0.0..=3600.0).contains(&arguments.tail) {
        return Err(Error::Usage(format!("--tail {}: 0 to 3600 seconds", arguments.tail)));
    }
    // Nobody waits for a deadline: the system may share the machine out as it likes.
    options.realtime = false;
    let chain = arguments.chain.iter().map(named).collect::<Result<_, _>>()?;
    let timeout = options.timeout;
    let supervisor = Supervisor::new(options)?;
    let format = match arguments.bits.as_str() {
        "16" => SampleFormat::Int16,
        "24" => SampleFormat::Int24,
        _ => SampleFormat::Float32,
    };
    let options = RenderOptions {
        input: arguments.input.clone(),
        output: arguments.output.clone(),
        chain,
        frames: arguments.frames,
        format,
        tail: arguments.tail,
        isolation: arguments.isolation,
        timeout,
    };
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{bar:40} {percent}% {eta}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let start = Instant::now();
    let rendered = render(&options, &supervisor, |done, of| {
        bar.set_length(of);
        bar.set_position(done);
    });
    bar.finish_and_clear();
    let rendered = rendered?;
    let seconds = rendered.written.frames as f64 / f64::from(rendered.rate);
    let took = start.elapsed().as_secs_f64();
    let clipped = match rendered.written.clipped {
        0 => String::new(),
        n => format!("; {n} samples clipped (use --bits float)"),
    };
    print(&format!(
        "{}: {seconds:.2} s in {took:.2} s ({:.0} times realtime), {} frames of latency taken \
         out{clipped}\n",
        arguments.output.display(),
        seconds / took,
        rendered.latency
    ));
    Ok(())
}
