//! The paces that a plugin is put through.

use super::pictures;
use super::player::Player;
use super::{CheckOptions, Checked, Step, Verdict};
use crate::catalog::walk::format_by_name;
use sandrack_sandbox::format::editor::{EditorOptions, Picture};
use sandrack_sandbox::format::{Param, PluginInfo, PluginRef, StateContext};
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use sandrack_sandbox::sys::shape::Size;
use std::time::Duration;

const RATE: u32 = 48_000;
const FRAMES: u32 = 256;
/// Most parameters that are moved, taken evenly from all: some plugins have thousands.
const MOST_PARAMS: usize = 400;

pub(super) fn run(
    plugin: &PluginRef,
    workers: &SupervisorOptions,
    options: &CheckOptions,
) -> Checked {
    let mut checked = Checked {
        plugin: plugin.to_string(),
        name: String::new(),
        vendor: String::new(),
        version: String::new(),
        // Until the plugin itself is there to tell.
        format: format_by_name(&plugin.path).unwrap_or_default(),
        kind: String::new(),
        inputs: vec![],
        outputs: vec![],
        params: 0,
        latency: 0,
        run_us: None,
        confinement: None,
        refused: vec![],
        steps: vec![],
    };
    // Plugins are checked side by side, and a supervisor serves one engine.
    match Supervisor::new(workers.clone()) {
        Ok(supervisor) => {
            let load = || Player::load(plugin, &supervisor, options.timeout);
            run_all(&mut checked, &load, options);
            checked.refused = supervisor.refused();
        }
        Err(error) => checked.steps.push((Step::Load, Verdict::Bad(error.to_string()))),
    }
    checked
}

fn run_all(
    checked: &mut Checked,
    load: &dyn Fn() -> Result<Player, crate::error::Error>,
    options: &CheckOptions,
) {
    let mut player = match load() {
        Ok(player) => player,
        Err(error) => {
            checked.steps.push((Step::Load, Verdict::Bad(error.to_string())));
            return;
        }
    };
    describe(checked, player.info());
    checked.confinement = player.enforced();
    let audio = match player.connect(RATE, FRAMES) {
        Ok(latency) => {
            checked.latency = latency;
            checked.steps.push((Step::Load, Verdict::Good));
            audio(&mut player)
        }
        Err(error) => {
            checked.steps.push((Step::Load, Verdict::Bad(error.to_string())));
            player.quit();
            return;
        }
    };
    checked.run_us = p50_us(&player.runs);
    checked.steps.push((Step::Audio, audio));
    // Each step begins with an instance that can be played; one that broke is loaded anew.
    type Do = fn(&mut Player) -> Verdict;
    let steps: [(Step, Do); 4] =
        [(Step::Sizes, sizes), (Step::Rates, rates), (Step::Params, params), (Step::Texts, texts)];
    for (step, check) in steps {
        let broke = checked.steps.last().is_some_and(|(_, v)| matches!(v, Verdict::Bad(_)));
        if broke {
            player.quit();
            player = match load() {
                Ok(player) => player,
                Err(error) => {
                    checked.steps.push((step, Verdict::Bad(error.to_string())));
                    return;
                }
            };
        }
        checked.steps.push((step, check(&mut player)));
    }
    player.quit();
    checked.steps.push((Step::State, state(load)));
    checked.steps.push((
        Step::Editor,
        match options.editors {
            true => editor(load, options),
            false => Verdict::Absent("not asked for".into()),
        },
    ));
}

fn describe(checked: &mut Checked, info: &PluginInfo) {
    let d = &info.descriptor;
    (checked.name, checked.vendor, checked.version) =
        (d.name.clone(), d.vendor.clone(), d.version.clone());
    checked.format = info.format;
    checked.kind = if plays_notes(info) { "instrument" } else { "effect" }.into();
    checked.inputs = info.inputs.iter().map(|port| port.channels).collect();
    checked.outputs = info.outputs.iter().map(|port| port.channels).collect();
    checked.params = info.params.len();
}

/// Whether notes should make it sound.
fn plays_notes(info: &PluginInfo) -> bool {
    let is =
        |feature: &str| info.descriptor.features.iter().any(|f| f.eq_ignore_ascii_case(feature));
    (is("instrument") || is("synthesizer") || is("sampler") || is("synth"))
        && !info.note_inputs.is_empty()
}

fn p50_us(runs: &[u64]) -> Option<f64> {
    let mut sorted = runs.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).map(|ns| *ns as f64 / 1e3)
}

fn odd_if(why: Vec<String>) -> Verdict {
    if why.is_empty() { Verdict::Good } else { Verdict::Odd(why.join("; ")) }
}

/// Half a second of noise, and a chord for those that take notes.
fn audio(player: &mut Player) -> Verdict {
    let (takes_notes, sounds) = (!player.info().note_inputs.is_empty(), plays_notes(player.info()));
    if takes_notes {
        player.chord(true);
    }
    let heard = match player.play(&[FRAMES; 94], true) {
        Ok(heard) => heard,
        Err(why) => return Verdict::Bad(why),
    };
    if takes_notes {
        player.chord(false);
        if let Err(why) = player.play(&[FRAMES; 20], false) {
            return Verdict::Bad(why);
        }
    }
    let mut odd = Vec::new();
    if player.not_finite > 0 {
        odd.push(format!("NaN or infinities in {} blocks", player.not_finite));
    }
    let peak = heard.peak();
    if player.info().outputs.is_empty() {
        return Verdict::Absent("no audio output".into());
    }
    if peak == 0.0 {
        odd.push(match sounds {
            true => "silent with its default settings, though a chord is played".into(),
            false => "silent with its default settings".into(),
        });
    } else if peak > 16.0 {
        odd.push(format!("very loud: {:+.0} dBFS", 20.0 * peak.log10()));
    }
    odd_if(odd)
}

fn sizes(player: &mut Player) -> Verdict {
    const SIZES: [u32; 16] = [1, 512, 17, 64, 3, 511, 256, 2, 128, 31, 512, 5, 480, 441, 16, 512];
    let played = player
        .connect(RATE, 512)
        .map_err(|e| e.to_string())
        .and_then(|_| player.play(&SIZES, true));
    match played {
        Ok(_) => Verdict::Good,
        Err(why) => Verdict::Bad(why),
    }
}

fn rates(player: &mut Player) -> Verdict {
    for rate in [44_100, 96_000, 192_000, RATE] {
        let played = player
            .connect(rate, FRAMES)
            .map_err(|e| e.to_string())
            .and_then(|_| player.play(&[FRAMES; 8], true));
        if let Err(why) = played {
            return Verdict::Bad(format!("{rate} Hz: {why}"));
        }
    }
    Verdict::Good
}

fn settable(info: &PluginInfo) -> Vec<Param> {
    let all: Vec<&Param> = info
        .params
        .iter()
        .filter(|p| p.automatable && !p.read_only && p.min.is_finite() && p.max > p.min)
        .collect();
    let step = all.len().div_ceil(MOST_PARAMS).max(1);
    all.into_iter().step_by(step).cloned().collect()
}

/// Each parameter to its ends and back, while audio and notes go on.
fn params(player: &mut Player) -> Verdict {
    if let Err(error) = player.connect(RATE, FRAMES) {
        return Verdict::Bad(error.to_string());
    }
    let params = settable(player.info());
    if params.is_empty() {
        return Verdict::Absent("no parameter that can be automated".into());
    }
    let before = player.not_finite;
    for param in &params {
        for value in [param.min, param.max, param.default.clamp(param.min, param.max)] {
            player.set(param.id, value);
            if let Err(why) = player.play(&[64], true) {
                return Verdict::Bad(format!("'{}' set to {value}: {why}", param.name));
            }
        }
    }
    if let Err(why) = player.play(&[FRAMES; 4], true) {
        return Verdict::Bad(why);
    }
    match player.not_finite - before {
        0 => Verdict::Good,
        blocks => Verdict::Odd(format!("NaN or infinities in {blocks} blocks")),
    }
}

/// Whether two values are within a share of the parameter's range; NaN is near nothing.
fn near(a: f64, b: f64, param: &Param, share: f64) -> bool {
    (a - b).abs() <= (param.max - param.min) * share
}

/// What a plugin writes of a value, it should read as that value again.
fn texts(player: &mut Player) -> Verdict {
    let params = settable(player.info());
    let Some(node) = player.node() else { return Verdict::Absent("not in a worker".into()) };
    let (mut none, mut unread, mut moved) = (Vec::new(), Vec::new(), Vec::new());
    for param in params.iter().take(64) {
        let ask = || -> Result<Option<(Option<f64>, String)>, String> {
            let text = node.value_to_text(param.id, param.default).map_err(|e| e.to_string())?;
            let Some(text) = text else { return Ok(None) };
            let value = node.text_to_value(param.id, &text).map_err(|e| e.to_string())?;
            Ok(Some((value, text)))
        };
        match ask() {
            Err(why) => return Verdict::Bad(format!("'{}': {why}", param.name)),
            Ok(None) => none.push(param.name.clone()),
            Ok(Some((None, _))) => unread.push(param.name.clone()),
            // Texts are rounded: a twentieth of the range is another value.
            Ok(Some((Some(value), text))) if !near(value, param.default, param, 0.05) => {
                moved.push(format!("{} '{text}'", param.name));
            }
            Ok(Some(_)) => {}
        }
    }
    let few = |what: &str, names: Vec<String>| {
        let more =
            if names.len() > 1 { format!(" and {} more", names.len() - 1) } else { "".into() };
        names.first().map(|first| format!("{what}: {first}{more}"))
    };
    let odd = [
        few("no text", none),
        few("text not understood", unread),
        few("text read as another value", moved),
    ];
    odd_if(odd.into_iter().flatten().collect())
}

/// Values set in one instance are there in the next, and two with the same state sound the same.
fn state(load: &dyn Fn() -> Result<Player, crate::error::Error>) -> Verdict {
    let attempt = || -> Result<Verdict, String> {
        let text = |e: crate::error::Error| e.to_string();
        let mut first = load().map_err(text)?;
        if !first.info().has_state {
            first.quit();
            return Ok(Verdict::Absent("it can't save its state".into()));
        }
        first.connect(RATE, FRAMES).map_err(text)?;
        let params: Vec<Param> = settable(first.info())
            .into_iter()
            .filter(|p| !p.bypass && !p.program && !p.hidden)
            .take(100)
            .collect();
        for (number, param) in params.iter().enumerate() {
            // Away from the default, by another amount each.
            let share = 0.2 + 0.6 * ((number * 7) % 10) as f64 / 10.0;
            let mut value = param.min + (param.max - param.min) * share;
            if param.steps > 0 {
                let step = (param.max - param.min) / f64::from(param.steps);
                value = param.min + ((value - param.min) / step).round() * step;
            }
            first.set(param.id, value);
            first.play(&[FRAMES], true)?;
        }
        first.play(&[FRAMES; 8], true)?;
        let values = refreshed(&mut first)?;
        let node = first.node().ok_or("not in a worker")?;
        let saved = node.save_state(StateContext::Project).map_err(|e| e.to_string())?;
        first.quit();
        if saved.is_empty() && !params.is_empty() {
            return Ok(Verdict::Bad("the state it saved is empty".into()));
        }
        let restored = |load: &dyn Fn() -> Result<Player, crate::error::Error>| {
            let mut player = load().map_err(text)?;
            let node = player.node().ok_or("not in a worker")?;
            node.load_state(saved.clone(), StateContext::Project).map_err(|e| e.to_string())?;
            player.connect(RATE, FRAMES).map_err(text)?;
            player.chord(!player.info().note_inputs.is_empty());
            let heard = player.play(&[FRAMES; 40], true)?;
            Ok::<_, String>((player, heard))
        };
        let (mut second, heard) = restored(load)?;
        let again = refreshed(&mut second)?;
        second.quit();
        let (third, heard_again) = restored(load)?;
        third.quit();
        let lost: Vec<&str> = params
            .iter()
            .filter(|param| {
                let find = |all: &[Param]| all.iter().find(|p| p.id == param.id).map(|p| p.value);
                let (before, after) = (find(&values), find(&again));
                match (before, after) {
                    (Some(before), Some(after)) => !near(before, after, param, 1e-3),
                    _ => false,
                }
            })
            .map(|param| param.name.as_str())
            .collect();
        if let [first, ..] = lost.as_slice() {
            let of = params.len();
            let why = format!("{} of {of} parameters came back otherwise: {first}", lost.len());
            return Ok(Verdict::Bad(why));
        }
        Ok(match heard.same_bits(&heard_again) {
            true => Verdict::Good,
            false => Verdict::Odd("two instances with the same state sound different".into()),
        })
    };
    attempt().unwrap_or_else(Verdict::Bad)
}

/// Opens its editor, lets it live for a while as audio goes on, looks at it, closes it, opens it
/// again.
fn editor(
    load: &dyn Fn() -> Result<Player, crate::error::Error>,
    options: &CheckOptions,
) -> Verdict {
    let attempt = || -> Result<Verdict, String> {
        let mut player = load().map_err(|e| e.to_string())?;
        if !player.info().has_editor {
            player.quit();
            return Ok(Verdict::Absent("it has none".into()));
        }
        player.connect(RATE, FRAMES).map_err(|e| e.to_string())?;
        let title = player.info().descriptor.name.clone();
        let mut sizes = Vec::new();
        let mut is_blank = false;
        // First until it has settled, then closed while it still sets itself up.
        for moments in [24, 2] {
            let node = player.node().ok_or("not in a worker")?;
            let how = EditorOptions { scale: None, title: title.clone(), pictured: true };
            match node.open_editor(how) {
                Ok(info) => sizes.push(info.size),
                Err(error) if error.to_string().contains("no editor") => {
                    player.quit();
                    return Ok(Verdict::Absent("it has none".into()));
                }
                Err(error) if error.to_string().contains("display") => {
                    player.quit();
                    return Ok(Verdict::Absent("there is no display".into()));
                }
                Err(error) => return Err(error.to_string()),
            }
            for _ in 0..moments {
                player.play(&[FRAMES; 4], true)?;
                std::thread::sleep(Duration::from_millis(50));
            }
            // A window of the plugin's own can't be looked at.
            if moments > 2
                && let Some(picture) = drawn(&mut player)?
            {
                is_blank = pictures::is_blank(&picture);
                if let Some(folder) = &options.pictures {
                    pictures::save(&picture, folder, player.info()).map_err(|e| e.to_string())?;
                }
            }
            let node = player.node().ok_or("not in a worker")?;
            node.close_editor().map_err(|e| e.to_string())?;
        }
        player.play(&[FRAMES; 4], true)?;
        player.quit();
        let is_void =
            |size: &Option<_>| size.as_ref().is_some_and(|s: &Size| s.width < 2 || s.height < 2);
        Ok(match sizes.iter().any(is_void) {
            true => Verdict::Odd("its window has no size".into()),
            false if is_blank => Verdict::Odd("its window stayed of one colour".into()),
            false => Verdict::Good,
        })
    };
    attempt().unwrap_or_else(Verdict::Bad)
}

/// What its editor shows. One that shows nothing yet gets some seconds more: the machine may be busy.
fn drawn(player: &mut Player) -> Result<Option<Picture>, String> {
    const PATIENCE: u32 = 60;
    let mut last = None;
    for _ in 0..PATIENCE {
        let node = player.node().ok_or("not in a worker")?;
        last = node.editor_picture().ok();
        if last.as_ref().is_none_or(|picture| !pictures::is_blank(picture)) {
            break;
        }
        player.play(&[FRAMES; 4], true)?;
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(last)
}

/// The parameters as they are now.
fn refreshed(player: &mut Player) -> Result<Vec<Param>, String> {
    Ok(player.refresh()?.params.clone())
}
