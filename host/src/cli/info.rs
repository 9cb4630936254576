//! `sandrack info`

use super::print;
use crate::error::Error;
use sandrack_sandbox::format::{AudioPort, NotePort, Param, PluginInfo, PluginRef};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::fmt::Write;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Plugin file, or FILE#ID
    plugin: PluginRef,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Describe every plugin of a file that holds many
    #[arg(long)]
    all: bool,
}

/// A file with more plugins than this is listed, not described.
const MANY: usize = 4;

#[derive(serde::Serialize)]
struct Described {
    #[serde(flatten)]
    info: PluginInfo,
    /// Frames at 48000 Hz and blocks of 512.
    latency: Option<u32>,
    error: Option<String>,
}

pub(super) fn run(arguments: &Arguments, mut options: SupervisorOptions) -> Result<(), Error> {
    options.realtime = false;
    let supervisor = Supervisor::new(options)?;
    let file = &arguments.plugin;
    if file.id.is_some() {
        let described = describe(&supervisor, file)?;
        show(arguments, &[described]);
        return Ok(());
    }
    let all = supervisor.list(&file.path)?;
    if all.is_empty() {
        return Err(Error::Usage(format!("{file}: there is no plugin in it")));
    }
    if all.len() > MANY && !arguments.all && !arguments.json {
        let mut text = format!("{file}: {} plugins\n\n", all.len());
        let width = all.iter().map(|d| d.id.chars().count()).max().unwrap_or(0);
        for d in &all {
            let _ = writeln!(text, "  {:width$}  {}", clean(&d.id), clean(&d.name));
        }
        let _ = writeln!(text, "\nMore of one: sandrack info '{file}#ID'; of all: --all");
        print(&text);
        return Ok(());
    }
    let mut described = Vec::with_capacity(all.len());
    let mut first_error = None;
    for descriptor in all {
        let plugin = PluginRef { path: file.path.clone(), id: Some(descriptor.id.clone()) };
        described.push(describe(&supervisor, &plugin).unwrap_or_else(|error| {
            let text = error.to_string();
            first_error.get_or_insert(error);
            let info = PluginInfo { descriptor, ..PluginInfo::default() };
            Described { info, latency: None, error: Some(text) }
        }));
    }
    // One plugin that fails is an error; among others that work, it is shown in its place.
    match first_error {
        Some(error) if described.iter().all(|d| d.error.is_some()) => return Err(error),
        _ => show(arguments, &described),
    }
    Ok(())
}

fn describe(supervisor: &Supervisor, plugin: &PluginRef) -> Result<Described, Error> {
    let worker = supervisor.start_worker(&plugin.to_string(), None)?;
    let mut node = worker.load(plugin)?;
    let latency = node.activate(Activation::new(48000.0, 512))?;
    node.deactivate()?;
    let info = node.info().clone();
    worker.quit();
    Ok(Described { info, latency: Some(latency), error: None })
}

fn show(arguments: &Arguments, all: &[Described]) {
    if arguments.json {
        let json = serde_json::to_string_pretty(all).unwrap_or_default();
        print(&format!("{json}\n"));
        return;
    }
    let texts: Vec<String> = all.iter().map(text).collect();
    print(&texts.join("\n"));
}

/// Text from a plugin, fit for a terminal.
pub(super) fn clean(text: &str) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut shown: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

fn text(described: &Described) -> String {
    let info = &described.info;
    let d = &info.descriptor;
    let mut out = String::new();
    let mut line = |name: &str, value: String| {
        if !value.is_empty() {
            let _ = writeln!(out, "  {name:<12}{}", clean(&value));
        }
    };
    line("id", d.id.clone());
    line("vendor", d.vendor.clone());
    line("version", d.version.clone());
    line("format", info.format.to_string());
    line("about", d.description.clone());
    line("features", d.features.join(", "));
    line("audio in", audio_ports(&info.inputs));
    line("audio out", audio_ports(&info.outputs));
    line("notes in", note_ports(&info.note_inputs));
    line("notes out", note_ports(&info.note_outputs));
    if let Some(frames) = described.latency {
        line("latency", format!("{frames} frames at 48000 Hz"));
    }
    let yes = |has: bool| if has { "yes" } else { "no" }.to_owned();
    line("state", yes(info.has_state));
    line("editor", yes(info.has_editor));
    line("error", described.error.clone().unwrap_or_default());
    if !info.params.is_empty() {
        line("parameters", info.params.len().to_string());
    }
    params(&info.params, &mut out);
    format!("{}\n{out}", clean(&d.name))
}

/// Wider names push the rest of their line aside.
const NAME_WIDTH: usize = 40;

/// Characters of a text that are shown.
const LONGEST: usize = 500;

/// Parameters that are shown; JSON has all of them.
const PARAMS_SHOWN: usize = 2000;

fn params(all: &[Param], out: &mut String) {
    let name = |param: &Param| match param.module.as_str() {
        "" => clean(&param.name),
        module => clean(&format!("{module}/{}", param.name)),
    };
    let width = all.iter().map(|param| name(param).chars().count()).max().unwrap_or(0);
    let width = width.min(NAME_WIDTH);
    for param in all.iter().take(PARAMS_SHOWN) {
        let kind = match (param.read_only, param.steps > 0) {
            (true, _) => "  read-only",
            (_, true) => "  stepped",
            _ => "",
        };
        let value = number(param.value);
        // What the plugin writes may be the very number.
        let shown = match clean(&param.text) {
            shown if shown.is_empty() || shown.parse() == Ok(param.value) => String::new(),
            shown => format!(" ({shown})"),
        };
        let _ = writeln!(
            out,
            "    {:>10}  {:width$}  {} ..= {}  = {value}{shown}{kind}",
            param.id,
            name(param),
            number(param.min),
            number(param.max),
        );
    }
    if all.len() > PARAMS_SHOWN {
        let _ = writeln!(out, "    and {} more: --json has all", all.len() - PARAMS_SHOWN);
    }
}

/// A number for reading: plugins' ranges are often single precision's neighbours of round ones.
fn number(value: f64) -> String {
    let rounded = (value * 1e6).round() / 1e6;
    let readable = rounded.abs() < 1e15 && (rounded != 0.0 || value == 0.0);
    if readable || !value.is_finite() { rounded.to_string() } else { format!("{value:e}") }
}

fn audio_ports(ports: &[AudioPort]) -> String {
    let one = |port: &AudioPort| {
        let main = if port.main { ", main" } else { "" };
        format!("{} ({} ch{main})", port.name, port.channels)
    };
    ports.iter().map(one).collect::<Vec<_>>().join("; ")
}

fn note_ports(ports: &[NotePort]) -> String {
    let one = |port: &NotePort| {
        let mut kinds = vec![];
        if port.clap {
            kinds.push("notes");
        }
        if port.midi {
            kinds.push("MIDI");
        }
        format!("{} ({})", port.name, kinds.join(", "))
    };
    ports.iter().map(one).collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_stand_in_columns() {
        let param = |id, name: &str, value, text: &str| Param {
            id,
            name: name.into(),
            min: -11.999_952_316_284_18,
            max: 1e-9,
            value,
            text: text.into(),
            automatable: true,
            ..Param::default()
        };
        let mut out = String::new();
        params(
            &[param(7, "Gain", 0.5, "0.500000"), param(4_000_000_000, "Far\nout", 1.0, "on")],
            &mut out,
        );
        assert_eq!(
            out,
            "             7  Gain     -11.999952 ..= 1e-9  = 0.5\n    \
             4000000000  Far out  -11.999952 ..= 1e-9  = 1 (on)\n"
        );
    }
}
