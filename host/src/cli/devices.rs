//! `sandrack devices`

use super::{clean, print, signals};
use crate::drivers::{self, Channels, DeviceInfo, Rates};
use crate::error::Error;
use std::fmt::Write;
use std::sync::atomic::Ordering;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Only this driver
    name: Option<String>,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Only list names: drivers are not opened, which may take seconds each
    #[arg(long)]
    names: bool,
    /// Open a driver's control panel, and wait until it is closed
    #[arg(long, value_name = "NAME", conflicts_with_all = ["name", "json", "names"])]
    panel: Option<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    if let Some(name) = &arguments.panel {
        let interrupted = signals::flag()?;
        return drivers::panel(name, &|| interrupted.load(Ordering::Relaxed));
    }
    let mut devices = match &arguments.name {
        // An error of the only one asked for is an error.
        Some(name) => {
            let mut device = drivers::probe(name)?;
            add_system_ports(&mut device);
            vec![device]
        }
        None => drivers::list(),
    };
    if !arguments.names {
        devices.iter_mut().for_each(ask);
    }
    if arguments.json {
        let json = serde_json::to_string_pretty(&devices)
            .map_err(|e| Error::Usage(format!("--json: {e}")))?;
        print(&format!("{json}\n"));
        return Ok(());
    }
    let alone = devices.len() == 1 && arguments.name.is_some();
    print(&devices.iter().map(|device| describe(device, alone)).collect::<String>());
    Ok(())
}

/// Fills in what only opening a driver tells, or why that can't be done.
fn ask(device: &mut DeviceInfo) {
    if device.details.is_none() && device.problem.is_none() {
        match drivers::probe(&device.name) {
            Ok(known) => *device = known,
            Err(Error::Driver { reason, .. }) => device.problem = Some(reason),
            Err(error) => device.problem = Some(error.to_string()),
        }
    }
    add_system_ports(device);
}

/// With a driver that has no MIDI ports of its own, the system's are played.
fn add_system_ports(device: &mut DeviceInfo) {
    let Some(details) = &mut device.details else { return };
    if details.midi_inputs.is_empty()
        && details.midi_outputs.is_empty()
        && let Ok(ports) = drivers::midi_ports::list()
    {
        (details.midi_inputs, details.midi_outputs) = (ports.inputs, ports.outputs);
    }
}

/// A paragraph. `all`: each channel, too.
fn describe(device: &DeviceInfo, all: bool) -> String {
    let mut text = format!("{}\n", clean(&device.name));
    let mut line = |words: String| {
        let _ = writeln!(text, "    {}", clean(&words));
    };
    line(device.about.clone());
    if let Some(problem) = &device.problem {
        line(format!("can't be used: {problem}"));
    }
    let Some(details) = &device.details else { return text };
    line(format!("inputs    {}", channels(&details.inputs)));
    line(format!("outputs   {}", channels(&details.outputs)));
    line(format!("rates     {}", rates(&details.rates)));
    if let Some(sizes) = &details.frames {
        line(format!("buffers   {} frames; prefers {}", sizes.words(), sizes.preferred));
    }
    line(match details.latency {
        Some((input, output)) => format!("latency   {input} in, {output} out, in frames"),
        None => "latency   it does not say".to_owned(),
    });
    if !details.clock_sources.is_empty() {
        let sources = details.clock_sources.iter();
        let names: Vec<String> = sources
            .map(|source| format!("{}{}", source.name, if source.current { " (now)" } else { "" }))
            .collect();
        line(format!("clocks    {}", names.join(", ")));
    }
    for (what, ports) in [("MIDI in ", &details.midi_inputs), ("MIDI out", &details.midi_outputs)] {
        if !ports.is_empty() {
            line(format!("{what}  {}", ports.join(", ")));
        }
    }
    if details.direct_monitoring {
        line("has direct monitoring".to_owned());
    }
    details.notes.iter().for_each(|note| line(note.clone()));
    if all {
        for (what, channels) in [("in ", &details.inputs), ("out", &details.outputs)] {
            for (number, channel) in channels.each.iter().enumerate() {
                line(format!(
                    "{what} {:<3} {}  group {}, {}",
                    number + 1,
                    channel.name,
                    channel.group,
                    channel.format
                ));
            }
        }
    }
    text
}

fn channels(channels: &Channels) -> String {
    if channels.each.is_empty() {
        return match channels.most {
            0 => "none".to_owned(),
            most => format!("up to {most}"),
        };
    }
    const SHOWN: usize = 4;
    let names: Vec<&str> =
        channels.each.iter().take(SHOWN).map(|channel| channel.name.as_str()).collect();
    let more = if channels.each.len() > SHOWN { ", …" } else { "" };
    let mut formats: Vec<&str> =
        channels.each.iter().map(|channel| channel.format.as_str()).collect();
    formats.dedup();
    let formats = if formats.len() == 1 { formats[0] } else { "several formats" };
    format!("{} ({}{more}), {formats}", channels.most, names.join(", "))
}

fn rates(rates: &Rates) -> String {
    match rates {
        Rates::Between(least, most) => format!("{least} to {most} Hz"),
        Rates::These { usual, now } => {
            let mut words: Vec<String> = usual.iter().map(u32::to_string).collect();
            if words.is_empty() {
                words.push("it does not say which".to_owned());
            }
            match now {
                0 => words.join(", "),
                now => format!("{} Hz; now {now}", words.join(", ")),
            }
        }
    }
}
