//! What a host promises of a plugin, whatever its format: one property a function, over all test
//! plugins as CLAP and as VST3.

mod common;

use common::bundle::{ALL, Bundle, FORMATS};
use common::offline::{Offline, RATE};
use common::score::{self, Events, MAX, shown, value_at};
use common::{difference, is_silent, same, supervisor};
use sandrack_host::report::Isolation;
use sandrack_host::session::SessionConfig;
use sandrack_sandbox::event::transport_flags;
use sandrack_sandbox::format::{
    AudioPort, Format, Param, PluginInfo, PluginRef, StateContext, Transport,
};
use sandrack_sandbox::local::LocalPlugin;
use sandrack_sandbox::protocol::Activation;

/// Runs a check of every plugin in every format, and fails with all that it found.
#[track_caller]
fn each(check: impl Fn(&Bundle, Format, &str) -> Result<(), String>) {
    let bundle = Bundle::new();
    let mut wrong = Vec::new();
    for name in ALL {
        for format in FORMATS {
            if let Err(why) = check(&bundle, format, name) {
                wrong.push(format!("{name} ({format}): {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A track in which a plugin can be heard: one without audio plays a synth.
fn track(bundle: &Bundle, format: Format, name: &str) -> Vec<PluginRef> {
    let mut track = vec![bundle.of(format, name)];
    if name == "events" {
        track.push(bundle.of(format, "synth"));
    }
    track
}

fn config(track: Vec<PluginRef>, isolation: Isolation) -> SessionConfig {
    SessionConfig { tracks: vec![track], isolation, ..SessionConfig::default() }
}

fn played(config: SessionConfig, events: Events) -> Vec<Vec<f32>> {
    let mut offline = Offline::of(supervisor(), config, MAX, |_| {});
    score::play(&mut offline, events);
    offline.quit()
}

fn differs(a: &[Vec<f32>], b: &[Vec<f32>], what: &str) -> Result<(), String> {
    difference(a, b).map_or(Ok(()), |how| Err(format!("{what}: {how}")))
}

/// The number that a text begins with.
fn number(text: &str) -> Option<f64> {
    text.split(' ').next().and_then(|word| word.parse().ok())
}

#[test]
fn a_plugin_says_the_same_of_itself_in_both_formats() {
    let (bundle, supervisor) = (Bundle::new(), supervisor());
    let listed = |path| supervisor.list(path).unwrap();
    let (clap, vst3) = (listed(&common::plugin("gain").path), listed(&bundle.path));
    let names = |all: &[sandrack_sandbox::format::Descriptor]| -> Vec<(String, String, String)> {
        all.iter().map(|d| (d.name.clone(), d.vendor.clone(), d.version.clone())).collect()
    };
    assert_eq!(names(&clap), names(&vst3));
    assert_eq!(clap.len(), ALL.len());
    assert!(vst3.iter().all(|d| d.id.len() == 32) && clap.iter().all(|d| d.id.len() < 32));
    let channels = |ports: &[AudioPort]| -> Vec<(u32, bool)> {
        ports.iter().map(|port| (port.channels, port.main)).collect()
    };
    let worker = supervisor.start_worker("described", None).unwrap();
    for name in ALL {
        let load = |format| worker.load(&bundle.of(format, name)).unwrap();
        let (clap, vst3) = (load(Format::Clap), load(Format::Vst3));
        let (clap, vst3) = (clap.info(), vst3.info());
        assert_eq!((clap.format, vst3.format), (Format::Clap, Format::Vst3));
        // Without audio, the framework gives VST3 hosts a bus to call it with.
        if name != "events" {
            assert_eq!(channels(&clap.inputs), channels(&vst3.inputs), "{name}");
            assert_eq!(channels(&clap.outputs), channels(&vst3.outputs), "{name}");
        }
        assert_eq!(clap.note_inputs.len(), vst3.note_inputs.len(), "{name}");
        assert_eq!(clap.note_outputs.len(), vst3.note_outputs.len(), "{name}");
        // Whether a VST3 plugin has an editor is known once it is opened.
        assert_eq!(clap.has_state, vst3.has_state, "{name}");
        let said = |info: &PluginInfo| -> Vec<_> {
            let said = |p: &&Param| (p.id, p.name.clone(), p.steps, p.automatable, p.read_only);
            shown(info).iter().map(said).collect()
        };
        assert_eq!(said(clap), said(vst3), "{name}");
        for (clap, vst3) in shown(clap).iter().zip(shown(vst3)) {
            assert_eq!((vst3.min, vst3.max), (0.0, 1.0));
            // A number may have its unit in one and beside it in the other.
            assert_eq!(number(&clap.text), number(&vst3.text), "{name}, {}", vst3.name);
        }
    }
    worker.quit();
}

#[test]
fn what_a_parameter_says_of_a_value_means_that_value() {
    let supervisor = supervisor();
    each(|bundle, format, name| {
        let worker = supervisor.start_worker("texts", None).unwrap();
        let node = worker.load(&bundle.of(format, name)).unwrap();
        let info = node.info().clone();
        for param in shown(&info) {
            for share in [0.0, 0.25, 0.5, 0.999, 1.0] {
                let value = value_at(&info, param, share);
                let text = node.value_to_text(param.id, value).unwrap().ok_or("no text")?;
                let back = node.text_to_value(param.id, &text).unwrap();
                // Texts have two digits behind the point.
                let near = 0.005 * (param.max - param.min);
                if !back.is_some_and(|back| (back - value).abs() <= near) {
                    return Err(format!("{}: {value} is '{text}', which is {back:?}", param.name));
                }
            }
            for nothing in ["", "loud", "\u{1f508}\0"] {
                if let Some(value) = node.text_to_value(param.id, nothing).unwrap() {
                    return Err(format!("{}: '{nothing}' is {value}", param.name));
                }
            }
        }
        worker.quit();
        Ok(())
    });
}

/// Bit for bit: no tolerance. Notes and parameters only, since the formats write note expressions
/// and pitch bend in other numbers.
#[test]
fn both_formats_of_a_plugin_sound_the_same() {
    let bundle = Bundle::new();
    for name in ALL {
        let [clap, vst3] = FORMATS.map(|format| {
            played(config(track(&bundle, format, name), Isolation::Plugin), Events::Common)
        });
        assert!(!is_silent(&clap), "{name} puts out silence, which proves nothing");
        same(&clap, &vst3, name);
    }
}

#[test]
fn a_plugin_sounds_the_same_in_a_worker_in_a_group_and_in_process() {
    each(|bundle, format, name| {
        let heard = |isolation| played(config(track(bundle, format, name), isolation), Events::All);
        let here = heard(Isolation::None);
        if is_silent(&here) {
            return Err("silence, which proves nothing".into());
        }
        differs(&here, &heard(Isolation::Plugin), "here and in a worker")?;
        differs(&here, &heard(Isolation::Group), "here and in a group")
    });
}

#[test]
fn offline_and_in_batches_a_plugin_sounds_as_live() {
    each(|bundle, format, name| {
        let live = config(track(bundle, format, name), Isolation::Plugin);
        let offline = SessionConfig { offline: true, ..live.clone() };
        let batches = SessionConfig { batch_frames: 2048, ..offline.clone() };
        let heard = played(live, Events::All);
        differs(&heard, &played(offline, Events::All), "live and offline")?;
        differs(&heard, &played(batches, Events::All), "live and in batches")
    });
}

#[test]
fn a_state_saved_in_one_run_sounds_the_same_in_the_next() {
    each(|bundle, format, name| {
        let track = || config(track(bundle, format, name), Isolation::Plugin);
        let mut first = Offline::of(supervisor(), track(), MAX, |_| {});
        let info = first.session.info(0, 0).clone();
        // Away from the defaults, each by another amount.
        let wanted: Vec<(u32, f64)> = shown(&info)
            .into_iter()
            .zip([0.3, 0.9, 0.1, 0.7].into_iter().cycle())
            .map(|(param, share)| (param.id, value_at(&info, param, share)))
            .collect();
        for &(param, value) in &wanted {
            first.set(0, 0, param, value);
        }
        score::play_untouched(&mut first);
        // What was set by events is known on the main thread, with its text.
        let known = first.session.refresh_info(0, 0).unwrap().clone();
        for &(id, value) in &wanted {
            let param = known.params.iter().find(|param| param.id == id).unwrap();
            let text = first.session.node(0, 0).unwrap().value_to_text(id, value).unwrap();
            if (param.value - value).abs() > 1e-6 * (param.max - param.min) {
                return Err(format!("{} is {} and not {value}", param.name, param.value));
            }
            if Some(&param.text) != text.as_ref() {
                return Err(format!("{} is '{}' and not {text:?}", param.name, param.text));
            }
        }
        let state = first.session.save_state(0, 0, StateContext::Project).unwrap();
        let mut first = first.again(RATE, MAX);
        score::play_untouched(&mut first);
        let before = first.quit();

        let mut second = Offline::of(supervisor(), track(), MAX, |session| {
            session.load_state(0, 0, &state, StateContext::Project).unwrap();
        });
        score::play_untouched(&mut second);
        let again = second.session.refresh_info(0, 0).unwrap().clone();
        let values = |info: &PluginInfo| -> Vec<(u32, f64, String)> {
            shown(info).iter().map(|p| (p.id, p.value, p.text.clone())).collect()
        };
        if values(&known) != values(&again) {
            return Err(format!("{:?} became {:?}", values(&known), values(&again)));
        }
        differs(&before, &second.quit(), "before and after")?;
        // A plugin without its state sounds otherwise; those that only burn time and those without
        // parameters can't.
        let mut third = Offline::of(supervisor(), track(), MAX, |_| {});
        score::play_untouched(&mut third);
        let other = third.quit();
        match difference(&before, &other).is_some() || ["burn", "split"].contains(&name) {
            true => Ok(()),
            false => Err("its parameters change nothing".into()),
        }
    });
}

#[test]
fn latency_and_tail_are_what_the_plugin_reports() {
    const FRAMES: u32 = 64;
    each(|bundle, format, name| {
        let mut plugin = LocalPlugin::load(&bundle.of(format, name)).map_err(|e| e.to_string())?;
        let (mut processor, latency) = plugin.activate(Activation::new(48_000.0, FRAMES)).unwrap();
        let transport = Transport { flags: transport_flags::PLAYING, ..Transport::default() };
        for block in 0..4 {
            assert!(processor.process(FRAMES, block * u64::from(FRAMES), &transport, &[]));
        }
        let tail = plugin.instance().tail();
        drop(processor);
        plugin.deactivate().unwrap();
        let wanted = if name == "delay" { 64 } else { 0 };
        if latency != wanted {
            return Err(format!("a latency of {latency} frames"));
        }
        // The synth sounds as long as a note is held.
        let tails = match name {
            "delay" => [64, 64],
            "synth" => [0, u32::MAX],
            _ => [0, 0],
        };
        match tails.contains(&tail) {
            true => Ok(()),
            false => Err(format!("a tail of {tail} frames")),
        }
    });
}

#[test]
fn a_latency_that_was_set_holds_from_the_next_activation() {
    let bundle = Bundle::new();
    for format in FORMATS {
        let config = config(track(&bundle, format, "delay"), Isolation::Plugin);
        let mut offline = Offline::of(supervisor(), config, MAX, |_| {});
        assert_eq!((offline.running.latency, offline.session.latency(0, 0)), (64, 64), "{format}");
        let info = offline.session.info(0, 0).clone();
        let delay = shown(&info)[0];
        offline.set(0, 0, delay.id, value_at(&info, delay, 100.0 / 8192.0));
        score::play_untouched(&mut offline);
        let offline = offline.again(RATE, MAX);
        assert_eq!(
            (offline.running.latency, offline.session.latency(0, 0)),
            (100, 100),
            "{format}"
        );
        offline.quit();
    }
}

#[test]
fn a_plugin_plays_at_every_rate_and_back_as_before() {
    each(|bundle, format, name| {
        let config = config(track(bundle, format, name), Isolation::Plugin);
        let mut offline = Offline::of(supervisor(), config, MAX, |_| {});
        score::play_untouched(&mut offline);
        let before = offline.heard.clone();
        let mut odd = Vec::new();
        for (rate, frames) in [(44_100, 256), (192_000, 1024), (8_000, 32), (RATE, MAX)] {
            offline = offline.again(rate, frames);
            score::play_untouched(&mut offline);
            if is_silent(&offline.heard) {
                odd.push(format!("silent at {rate} Hz"));
            }
            // What depends on time sounds otherwise at another rate.
            let timed = ["compressor", "synth", "events"].contains(&name) && rate != RATE;
            if timed != difference(&before, &offline.heard).is_some() {
                odd.push(format!("at {rate} Hz {}", if timed { "as before" } else { "other" }));
            }
        }
        offline.quit();
        if odd.is_empty() { Ok(()) } else { Err(odd.join(", ")) }
    });
}
