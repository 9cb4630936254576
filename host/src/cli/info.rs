//! `sandrack info`

use super::{clean, count, print};
use crate::catalog::find::named;
use crate::error::Error;
use crate::presets::declared;
use sandrack_sandbox::confine::{Enforced, Refusal};
use sandrack_sandbox::format::{
    AudioPort, Format, NotePort, Param, PluginInfo, PluginRef, Preset, StateContext,
};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::fmt::Write;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Plugin file, FILE#ID, or the name of a scanned plugin
    plugin: PluginRef,
    /// Print as JSON
    #[arg(long)]
    json: bool,
    /// Describe every plugin of a file that holds many
    #[arg(long)]
    all: bool,
    /// List presets, also those that the file declares, as 'render --preset' takes them
    #[arg(long)]
    presets: bool,
}

/// A file with more plugins than this is listed, not described.
const MANY: usize = 4;

/// One plugin, as `--json` prints it; docs/json.md describes it.
#[derive(Default, serde::Serialize)]
struct Described {
    path: PathBuf,
    #[serde(flatten)]
    info: PluginInfo,
    /// Frames at 48000 Hz and blocks of 512.
    latency: Option<u32>,
    /// The same; `None` also if it never ends.
    tail: Option<u32>,
    tail_is_endless: bool,
    state_bytes: Option<usize>,
    /// What confined it meanwhile.
    confinement: Option<Enforced>,
    /// What it was refused meanwhile.
    refused: Vec<Refusal>,
    /// Why it can't be used, or does not give its state.
    error: Option<String>,
}

pub(super) fn run(arguments: &Arguments, mut options: SupervisorOptions) -> Result<(), Error> {
    options.realtime = false;
    let supervisor = Supervisor::new(options)?;
    let file = &named(&arguments.plugin)?;
    if file.id.is_some() {
        let described = describe(&supervisor, file, arguments)?;
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
        described.push(describe(&supervisor, &plugin, arguments).unwrap_or_else(|error| {
            let text = error.to_string();
            first_error.get_or_insert(error);
            let info = PluginInfo { descriptor, ..PluginInfo::default() };
            Described { path: plugin.path, info, error: Some(text), ..Described::default() }
        }));
    }
    // One plugin that fails is an error; among others that work, it is shown in its place.
    match first_error {
        Some(error) if described.iter().all(|d| d.error.is_some()) => return Err(error),
        _ => show(arguments, &described),
    }
    Ok(())
}

fn describe(
    supervisor: &Supervisor,
    plugin: &PluginRef,
    arguments: &Arguments,
) -> Result<Described, Error> {
    let worker = supervisor.start_worker(&plugin.to_string(), None)?;
    let mut node = worker.load(plugin)?;
    let latency = node.activate(Activation::new(48000.0, 512))?;
    let tail = node.tail();
    node.deactivate()?;
    let mut info = node.info().clone();
    if arguments.presets {
        let declared = declared(supervisor, plugin, &info)?;
        info.presets.extend(declared);
    }
    let mut described = Described {
        path: plugin.path.clone(),
        info,
        latency: Some(latency),
        tail: tail.filter(|frames| *frames != u32::MAX),
        tail_is_endless: tail == Some(u32::MAX),
        confinement: worker.enforced(),
        ..Described::default()
    };
    if arguments.json && described.info.has_state {
        // Last: a plugin that fails here is described all the same.
        match node.save_state(StateContext::Project) {
            Ok(state) => described.state_bytes = Some(state.len()),
            Err(error) => described.error = Some(error.to_string()),
        }
    }
    worker.quit();
    described.refused = worker.refused();
    Ok(described)
}

fn show(arguments: &Arguments, all: &[Described]) {
    if arguments.json {
        let json = serde_json::to_string_pretty(all).unwrap_or_default();
        print(&format!("{json}\n"));
        return;
    }
    let text = if arguments.presets { preset_list } else { text };
    let texts: Vec<String> = all.iter().map(text).collect();
    print(&texts.join("\n"));
}

/// Each preset on a line, with its file if it is in one.
fn preset_list(described: &Described) -> String {
    let info = &described.info;
    let mut out =
        format!("{}: {}\n", clean(&info.descriptor.name), count(info.presets.len(), "preset"));
    for preset in &info.presets {
        let file = preset.file.as_ref().map(|file| clean(&format!("  {}", file.display())));
        let _ = writeln!(out, "  {}{}", clean(&preset.name), file.unwrap_or_default());
    }
    if let Some(error) = &described.error {
        let _ = writeln!(out, "  error: {}", clean(error));
    }
    out
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
    match described.tail {
        Some(0) => {}
        Some(frames) => line("tail", format!("{frames} frames")),
        None if described.tail_is_endless => line("tail", "endless".into()),
        None => {}
    }
    let yes = |has: bool| if has { "yes" } else { "no" }.to_owned();
    line("state", yes(info.has_state));
    line(
        "editor",
        match (info.format, info.has_editor) {
            (Format::Vst3, true) => "probably (known once it is opened)".into(),
            (_, has) => yes(has),
        },
    );
    line("confined", described.confinement.as_ref().map_or("".into(), |c| c.to_string()));
    for refusal in &described.refused {
        line("refused", refusal.to_string());
    }
    line("presets", presets(&info.presets));
    line("error", described.error.clone().unwrap_or_default());
    if !info.params.is_empty() {
        line("parameters", info.params.len().to_string());
    }
    params(&info.params, &mut out);
    format!("{}\n{out}", clean(&d.name))
}

/// Wider names push the rest of their line aside.
const NAME_WIDTH: usize = 40;

/// Parameters that are shown; JSON has all of them.
const PARAMS_SHOWN: usize = 2000;

/// Presets that are named; JSON has all of them.
const PRESETS_SHOWN: usize = 8;

fn presets(all: &[Preset]) -> String {
    let names: Vec<String> = all.iter().take(PRESETS_SHOWN).map(|p| clean(&p.name)).collect();
    match all.len() {
        0 => String::new(),
        n if n > PRESETS_SHOWN => format!("{n}: {}, …", names.join(", ")),
        n => format!("{n}: {}", names.join(", ")),
    }
}

fn params(all: &[Param], out: &mut String) {
    // A line a group, unless there is a group to each parameter.
    let groups = all.chunk_by(|a, b| a.module == b.module).count();
    let headed = 2 * groups <= all.len() + 1;
    let name = |param: &Param| match param.module.as_str() {
        module if !headed && !module.is_empty() => clean(&format!("{module}/{}", param.name)),
        _ => clean(&param.name),
    };
    let width = all.iter().map(|param| name(param).chars().count()).max().unwrap_or(0);
    let width = width.min(NAME_WIDTH);
    let mut group = "";
    for param in all.iter().take(PARAMS_SHOWN) {
        if headed && param.module != group {
            group = &param.module;
            let shown = if group.is_empty() { "-".into() } else { clean(group) };
            let _ = writeln!(out, "   {shown}");
        }
        let _ = writeln!(
            out,
            "    {:>10}  {:width$}  {} ..= {}  = {}{}{}",
            param.id,
            name(param),
            number(param.min),
            number(param.max),
            number(param.value),
            written(param),
            traits(param),
        );
    }
    if all.len() > PARAMS_SHOWN {
        let _ = writeln!(out, "    and {} more: --json has all", all.len() - PARAMS_SHOWN);
    }
}

/// The value as the plugin writes it, with its unit.
fn written(param: &Param) -> String {
    let (text, unit) = (clean(&param.text), clean(&param.unit));
    match (text.is_empty(), unit.is_empty()) {
        (true, true) => String::new(),
        (true, false) => format!(" {unit}"),
        (false, false) if !text.ends_with(&unit) => format!(" ({text} {unit})"),
        // What the plugin writes may be the very number.
        _ if text.parse() == Ok(param.value) => String::new(),
        _ => format!(" ({text})"),
    }
}

/// What else there is to say of a parameter.
fn traits(param: &Param) -> String {
    let mut all = Vec::new();
    if param.steps > 0 {
        all.push(count(param.steps as usize + 1, "value"));
    }
    for (is_so, what) in [
        (param.read_only, "read-only"),
        (param.bypass, "bypass"),
        (param.program, "program"),
        (param.periodic, "periodic"),
        (param.per_note, "per note"),
        (param.hidden, "hidden"),
        (!param.automatable && !param.read_only, "not automatable"),
    ] {
        if is_so {
            all.push(what.to_owned());
        }
    }
    if all.is_empty() { String::new() } else { format!("  {}", all.join(", ")) }
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
        if port.expressions {
            kinds.push("expressions");
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

    #[test]
    fn a_parameter_is_shown_with_unit_steps_and_group() {
        let param = |module: &str, text: &str, unit: &str, steps| Param {
            name: "P".into(),
            module: module.into(),
            max: 1.0,
            text: text.into(),
            unit: unit.into(),
            steps,
            automatable: true,
            ..Param::default()
        };
        let mut out = String::new();
        let hidden = Param { hidden: true, automatable: false, ..param("", "", "", 0) };
        params(&[param("A/B", "1.5", "dB", 0), param("A/B", "2 dB", "dB", 2), hidden], &mut out);
        assert_eq!(
            out,
            "   A/B\n             0  P  0 ..= 1  = 0 (1.5 dB)\n             0  P  0 ..= 1  = 0 \
             (2 dB)  3 values\n   -\n             0  P  0 ..= 1  = 0  hidden, not automatable\n"
        );
    }
}
