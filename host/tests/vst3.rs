//! VST3 plugins, as a user has them: the test plugins in a bundle. What they have in common with
//! their CLAP side is in `conformance.rs`.

mod common;

use common::bundle::{Bundle, bundle};
use common::{Noise, example, is_silent, same, supervisor};
use sandrack_host::plugins::test_library;
use sandrack_sandbox::event::{Event, transport_flags};
use sandrack_sandbox::format::{Instance, Notice, PluginRef, Preset, StateContext, Transport};
use sandrack_sandbox::local::LocalPlugin;
use sandrack_sandbox::protocol::Activation;
use std::path::Path;

#[test]
fn a_plugin_is_named_by_its_id_or_its_name() {
    let (bundle, supervisor) = (Bundle::new(), supervisor());
    let worker = supervisor.start_worker("named", None).unwrap();
    let load = |path: &Path, id: &str| {
        let plugin = PluginRef { path: path.into(), id: Some(id.into()) };
        worker.load(&plugin).map(|node| node.info().descriptor.name.clone())
    };
    let id = supervisor.list(&bundle.path).unwrap()[3].id.clone();
    let dashed = format!("{{{}-{}}}", &id[..8].to_lowercase(), &id[8..]);
    for written in [id.as_str(), &id.to_lowercase(), &dashed, "Sandrack Test Delay"] {
        assert_eq!(load(&bundle.path, written).unwrap(), "Sandrack Test Delay", "{written}");
    }
    let error = load(&bundle.path, "Sandrack Test").unwrap_err().to_string();
    assert!(error.contains("no plugin 'Sandrack Test' in it; it has: ") && error.contains(&id));
    assert!(error.contains("(Sandrack Test Delay)") && error.ends_with("… and 3 more"), "{error}");
    // CLAP plugins have names too. A library of both formats, named for neither, is CLAP.
    let library = test_library().unwrap();
    assert_eq!(load(&library, "Sandrack Test Delay").unwrap(), "Sandrack Test Delay");
    worker.quit();
}

#[test]
fn values_have_texts_and_texts_have_values() {
    let (bundle, supervisor) = (Bundle::new(), supervisor());
    let worker = supervisor.start_worker("texts", None).unwrap();
    let node = worker.load(&bundle.plugin("Compressor")).unwrap();
    let threshold = node.info().params[0].clone();
    assert_eq!(threshold.name, "threshold");
    let text = |value| node.value_to_text(threshold.id, value).unwrap().unwrap();
    let number = |text: &str| text.split(' ').next().unwrap().parse::<f64>().unwrap();
    assert_eq!(number(&text(0.5)), -30.0);
    // What is out of range is not passed on as it is.
    assert_eq!((text(7.0), text(f64::NAN)), (text(1.0), text(0.0)));
    assert_eq!(node.text_to_value(threshold.id, "-45").unwrap(), Some(0.25));
    assert_eq!(node.text_to_value(threshold.id, "loud").unwrap(), None);
    worker.quit();
}

#[test]
fn what_is_no_vst3_plugin_is_said_to_be_none() {
    let supervisor = supervisor();
    let folder = tempfile::tempdir().unwrap();
    let at = folder.path();
    let worker = supervisor.start_worker("bad files", None).unwrap();
    let refused = |path: &Path, expected: &str| {
        let plugin = PluginRef { path: path.into(), id: None };
        let error = worker.load(&plugin).map(|_| ()).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
        assert!(error.starts_with(&path.display().to_string()) && !error.contains('\n'), "{error}");
        let error = supervisor.list(path).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    };
    refused(&bundle(at, "NoSymbol", &example("no_symbol")), "no GetPluginFactory");
    let text = at.join("text");
    std::fs::write(&text, "not a library").unwrap();
    refused(&bundle(at, "Text", &text), "not a library of this system");
    let empty = at.join("Empty.vst3");
    std::fs::create_dir_all(empty.join("Contents/Resources")).unwrap();
    refused(&empty, "a bundle without a binary");
    let foreign = at.join("Foreign.vst3");
    std::fs::create_dir_all(foreign.join("Contents/x86_64-win")).unwrap();
    refused(&foreign, "it has: x86_64-win");
    refused(&example("no_symbol"), "neither clap_entry nor GetPluginFactory");
    refused(&at.join("Gone.vst3"), "no such file");
    worker.quit();
}

/// Runs noise through a plugin: the same each time.
fn run(plugin: &mut LocalPlugin, set: &[(u32, f64)]) -> Vec<Vec<f32>> {
    const FRAMES: u32 = 64;
    let activation = Activation::new(48_000.0, FRAMES);
    let (mut processor, _) = plugin.activate(activation).unwrap();
    let mut noise = Noise(5);
    let mut heard = vec![Vec::new(); 2];
    let transport = Transport { flags: transport_flags::PLAYING, ..Transport::default() };
    for block in 0..50 {
        for channel in 0..2 {
            let input = processor.input(0, channel, FRAMES as usize).unwrap();
            input.fill_with(|| noise.sample());
        }
        let events: Vec<_> = match block {
            0 => set.iter().map(|&(id, value)| Event::param_value(3, id, value)).collect(),
            _ => vec![],
        };
        assert!(processor.process(FRAMES, block * u64::from(FRAMES), &transport, &events));
        for (channel, heard) in heard.iter_mut().enumerate() {
            let mut out = [0.0; FRAMES as usize];
            processor.output(0, channel, &mut out);
            heard.extend(out);
        }
    }
    drop(processor);
    plugin.idle();
    heard
}

#[test]
fn a_state_that_is_saved_sounds_the_same_when_it_is_restored() {
    let bundle = Bundle::new();
    let reference = bundle.plugin("Compressor");
    let mut first = LocalPlugin::load(&reference).unwrap();
    let settings: Vec<_> =
        first.info().params.iter().zip([0.3, 0.9, 0.1, 0.7]).map(|(p, v)| (p.id, v)).collect();
    let before = run(&mut first, &[]);
    run(&mut first, &settings);
    // The controller knows what the audio thread was told.
    let values = |instance: &mut dyn Instance| -> Vec<f64> {
        instance.info().params.iter().map(|param| param.value).collect()
    };
    let set = values(first.instance());
    for (value, (_, wanted)) in set.iter().zip(&settings) {
        // Whole numbers are rounded.
        assert!((value - wanted).abs() < 0.01, "{value} {wanted}");
    }
    let state = first.instance().save_state(StateContext::Project).unwrap();
    let id = first.info().descriptor.id.clone();
    assert_eq!((&state[..4], &state[8..40]), (b"VST3".as_slice(), id.as_bytes()));
    let expected = run(&mut first, &[]);

    let mut second = LocalPlugin::load(&reference).unwrap();
    assert_ne!(values(second.instance()), set);
    second.instance().load_state(&state, StateContext::Project).unwrap();
    assert_eq!(values(second.instance()), set);
    let heard = run(&mut second, &[]);
    same(&heard, &expected, "before and after");
    assert!(!is_silent(&heard) && heard != before);
    assert_eq!(second.instance().save_state(StateContext::Project).unwrap(), state);
}

#[test]
fn a_preset_file_is_a_state_and_a_state_a_preset_file() {
    let (bundle, supervisor) = (Bundle::new(), supervisor());
    let worker = supervisor.start_worker("presets", None).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut local = LocalPlugin::load(&bundle.plugin("Gain")).unwrap();
    let gain = local.info().params[0].id;
    run(&mut local, &[(gain, 0.375)]);
    let file = folder.path().join("Quiet.vstpreset");
    std::fs::write(&file, local.instance().save_state(StateContext::Preset).unwrap()).unwrap();

    let mut node = worker.load(&bundle.plugin("Gain")).unwrap();
    let preset = Preset { name: "Quiet".into(), file: Some(file.clone()), key: None };
    node.load_preset(preset.clone()).unwrap();
    assert!(worker.take_notices().iter().any(|(_, notice)| *notice == Notice::ParamsChanged));
    assert_eq!(node.refresh_info().unwrap().params[0].value, 0.375);

    let other = worker.load(&bundle.plugin("Delay")).unwrap();
    let error = other.load_preset(preset).unwrap_err().to_string();
    assert!(
        error.contains("Quiet.vstpreset: it is of another plugin, of class 53616E64"),
        "{error}"
    );
    let gone = Preset { name: "Gone".into(), file: Some(folder.path().join("x")), key: None };
    assert!(other.load_preset(gone).unwrap_err().to_string().contains("can't be read"));
    let none = Preset { name: "None".into(), file: None, key: Some("0:0".into()) };
    assert!(other.load_preset(none).unwrap_err().to_string().contains("programs"));
    worker.quit();
}

#[test]
fn preset_files_in_the_users_folder_are_listed_and_loaded() {
    // Workers find the folder by this program's environment, which can't change while other tests
    // run: so this very test is run once more, by itself.
    const NAME: &str = "preset_files_in_the_users_folder_are_listed_and_loaded";
    const AGAIN: &str = "SANDRACK_TEST_PRESETS";
    let bundle = Bundle::new();
    if std::env::var_os(AGAIN).is_none() {
        let home = tempfile::tempdir().unwrap();
        let mut local = LocalPlugin::load(&bundle.plugin("Gain")).unwrap();
        let gain = local.info().params[0].id;
        local.instance().set_params(&[(gain, 0.375)]).unwrap();
        let folder = home.path().join(".vst3/presets/Sandrack/Sandrack Test Gain/Levels");
        std::fs::create_dir_all(&folder).unwrap();
        let state = local.instance().save_state(StateContext::Preset).unwrap();
        std::fs::write(folder.join("Quiet.vstpreset"), state).unwrap();
        let mut again = std::process::Command::new(std::env::current_exe().unwrap());
        again.args(["--exact", NAME, "--nocapture"]).env("HOME", home.path()).env(AGAIN, "");
        let ended = again.output().unwrap();
        let said = String::from_utf8_lossy(&ended.stderr).into_owned();
        assert!(ended.status.success(), "{said}");
        return;
    }
    let supervisor = supervisor();
    let listed = supervisor.presets(&bundle.path).unwrap();
    let ours: Vec<_> = listed.iter().filter(|one| one.preset.name == "Levels/Quiet").collect();
    let [ours] = ours[..] else { panic!("{listed:?}") };
    let worker = supervisor.start_worker("presets", None).unwrap();
    let mut node = worker.load(&bundle.plugin("Gain")).unwrap();
    assert_eq!(ours.plugins, [node.info().descriptor.id.clone()]);
    node.load_preset(ours.preset.clone()).unwrap();
    assert_eq!(node.refresh_info().unwrap().params[0].value, 0.375);
    worker.quit();
}

#[test]
fn a_bad_state_is_an_error_and_changes_nothing() {
    let bundle = Bundle::new();
    let mut plugin = LocalPlugin::load(&bundle.plugin("Gain")).unwrap();
    let instance = plugin.instance();
    let state = instance.save_state(StateContext::Project).unwrap();
    let mut refused =
        |bytes: &[u8]| instance.load_state(bytes, StateContext::Project).unwrap_err().to_string();
    for len in [0, 3, 47, 48, state.len() - 21] {
        assert!(refused(&state[..len]).contains("not a state of a VST3 plugin"), "{len}");
    }
    let mut other = state.clone();
    other[8] = b'0';
    assert!(refused(&other).contains("it is of another plugin"));
    assert_eq!(instance.save_state(StateContext::Project).unwrap(), state);
}
