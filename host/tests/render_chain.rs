//! States, side chains, several outputs, tails; and that plugins which work at the same time give
//! the same file as one after the other.

mod common;

use common::program::Program;
use common::render::{Render, constant, heard, midi, noise};
use common::{example, hostile, is_silent, plugin, same};
use sandrack_sandbox::format::PluginRef;
use std::fs;
use std::path::Path;

#[test]
fn a_chain_on_several_threads_gives_the_same_bits_as_one_after_the_other() {
    let chain = ["compressor", "delay", "split", "mono", "delay", "gain", "compressor", "gain"];
    let csv: String = (0..400)
        .map(|n| {
            format!(
                "{},gain,{},6\n{},ratio,{},7\n",
                n * 37,
                (n % 10) as f64 / 10.0,
                n * 41,
                (n % 9) as f64 / 9.0
            )
        })
        .collect::<String>()
        .lines()
        .map(|line| line.replacen(',', "f,", 1) + "\n")
        .collect();
    let csv = format!("time,param,value,plugin\n{csv}");
    let render = |arguments: &[&str]| {
        let all = ["in.wav", "out.wav", "--automation", "a.csv", "--sidechain", "7=side.wav"];
        let render = Render::new(&chain).file("a.csv", &csv).wav("side.wav", &noise(30_000));
        render.wav("in.wav", &noise(40_000)).hear(&[&all, arguments].concat())
    };
    for frames in ["64", "256"] {
        let pipelined = render(&["--frames", frames]);
        assert!(!is_silent(&pipelined));
        assert_eq!(pipelined[0].len(), 40_000);
        for other in [["--serial"].as_slice(), &["--isolation", "none"], &["--isolation", "group"]]
        {
            let other = [&["--frames", frames], other].concat();
            same(&render(&other), &pipelined, &format!("{other:?}"));
        }
    }
}

#[test]
fn a_state_saved_in_one_run_is_that_of_the_next() {
    let render = || Render::new(&["gain", "compressor"]).wav("in.wav", &noise(20_000));
    let set = ["--param", "gain=0.5", "--param", "threshold=-50 dB", "--param", "ratio=0.5"];
    for isolation in ["plugin", "group", "none"] {
        let save = ["--save-state", "1=gain.state", "--save-state", "2=comp.state"];
        let arguments =
            [&["in.wav", "out.wav", "--isolation", isolation], &set[..], &save].concat();
        let first = render().run(&arguments);
        let [gain, comp] =
            ["gain.state", "comp.state"].map(|name| fs::read(first.file(name)).unwrap());
        let load = ["--state", "1=gain.state", "--state", "2=comp.state"];
        let arguments = [&["in.wav", "out.wav", "--isolation", isolation], &load[..]].concat();
        let second = render().file("gain.state", gain).file("comp.state", comp).hear(&arguments);
        same(&second, &heard(&first).channels, isolation);
    }
    let plain = render().hear(&["in.wav", "out.wav"]);
    let finished = render().run(&[&["in.wav", "out.wav"], &set[..]].concat());
    assert_ne!(plain, heard(&finished).channels, "it makes a difference");
}

#[test]
fn parameters_are_the_state_of_a_plugin_without_one() {
    let state = |plugin: &str, value: &str| {
        format!(
            r#"{{ "sandrack_parameters": 1, "plugin": "org.sandrack.test.{plugin}",
                  "values": [{{ "id": 3165055, "name": "gain", "value": {value} }}] }}"#
        )
    };
    let render = |state: &str| {
        let render = Render::new(&["gain"]).file("s.json", state);
        render.wav("in.wav", &constant(1.0, 100)).run(&["in.wav", "out.wav", "--state", "s.json"])
    };
    render(&state("gain", "0.5")).assert_success();
    render(&state("mono", "0.5")).assert_error(&["s.json", "org.sandrack.test.mono"]);
    render(&state("gain", "[]")).assert_error(&["s.json"]);
}

#[test]
fn states_and_presets_that_are_none_are_refused_and_the_file_stays() {
    for (arguments, parts) in [
        (["--state", "no.state"], ["no.state", ""]),
        (["--state", "2=in.wav"], ["1 plugins", "in.wav"]),
        (["--preset", "Warm"], ["Warm", "no such preset"]),
        (["--save-state", "no/such/folder"], ["no/such/folder", ""]),
    ] {
        let render = Render::new(&["gain"]).wav("in.wav", &constant(1.0, 100));
        render.run(&[&["in.wav", "out.wav"], &arguments[..]].concat()).assert_error(&parts);
    }
    let render = Render::new(&["gain", "gain"]).wav("in.wav", &constant(1.0, 100));
    render
        .run(&["in.wav", "out.wav", "--save-state", "a"])
        .assert_error(&["of which plugin", "1=a"]);
}

fn contract(path: &Path) -> PluginRef {
    PluginRef { path: path.to_owned(), id: Some("org.sandrack.contract".into()) }
}

#[test]
fn presets_of_a_file_are_listed_and_loaded_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let plugin = contract(&folder.path().join("contract.clap"));
    fs::copy(example("contract"), &plugin.path).unwrap();
    fs::create_dir(folder.path().join("presets")).unwrap();
    let third = folder.path().join("presets/Third.value");
    fs::write(&third, "0.375").unwrap();

    let shown = plugin.to_string();
    let listed = Program::new(["info", "--presets", &shown]).run();
    listed.assert_success();
    let expected =
        format!("Sandrack Contract: 3 presets\n  Soft\n  Hard\n  Third  {}\n", third.display());
    assert_eq!(listed.stdout, expected);
    let json = Program::new(["info", "--presets", "--json", &shown]).run();
    let all: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    let names: Vec<_> = all[0]["presets"].as_array().unwrap().iter().map(|p| &p["name"]).collect();
    assert_eq!(names, ["Soft", "Hard", "Third"]);

    let render = |preset: &str| {
        let render = Render::of(std::slice::from_ref(&plugin));
        render.run(&["out.wav", "--seconds", "0.01", "--preset", preset])
    };
    for (name, value) in [("Hard", 0.75), ("soft", 0.25), ("1=THIRD", 0.375)] {
        // Its register of the parameter.
        assert_eq!(heard(&render(name)).channels[0][7], value, "{name}");
    }
    render("Thrid").assert_error(&["Thrid", &shown, "no such preset", "there is 'Third'"]);
    render("xyz").assert_error(&["xyz", "no such preset", "--presets"]);
}

#[test]
fn plugins_are_told_which_of_their_inputs_are_connected() {
    let plugin = contract(&example("contract"));
    let register = |more: &[&str]| {
        let render = Render::of(std::slice::from_ref(&plugin)).wav("in.wav", &noise(500));
        render.wav("side.wav", &noise(500)).hear(&[&["in.wav", "out.wav"], more].concat())[0][2]
    };
    assert_eq!(register(&[]), 0.0);
    assert_eq!(register(&["--sidechain", "side.wav"]), 1.0);
    // Of eleven inputs it puts out the sum of those that it was told of, in three outputs.
    let buses = PluginRef { path: example("hostile_vst3"), id: Some("Odd buses".into()) };
    let render = |more: &[&str]| {
        let render = Render::of(std::slice::from_ref(&buses)).wav("in.wav", &constant(0.25, 500));
        let render = render.wav("side.wav", &constant(0.125, 500));
        render.hear(&[&["in.wav", "out.wav"], more].concat())
    };
    let (plain, side) = (render(&[]), render(&["--sidechain", "side.wav", "--all-outputs"]));
    assert!(plain.iter().all(|channel| channel[400] == 0.25), "{}", plain[0][400]);
    assert!(side.iter().all(|channel| channel[400] == 0.375), "{}", side[0][400]);
    assert_eq!(side.len(), 3 * plain.len());
}

#[test]
fn a_plugin_that_fails_is_named_by_its_file() {
    let failing = hostile("error");
    let render = Render::of(&[plugin("gain"), failing.clone()]).wav("in.wav", &noise(100_000));
    // It does so in its hundredth block.
    let finished = render.run(&["in.wav", "out.wav", "--frames", "256"]);
    finished.assert_error(&[&failing.to_string(), "process() reported an error"]);
}

#[test]
fn a_side_chain_ducks_and_comes_in_step() {
    let voice = [vec![0.0; 5000], vec![1.0; 5000]].concat();
    let render = |chain: &[&str], arguments: &[&str]| {
        let render = Render::new(chain).wav("in.wav", &constant(0.05, 10_000));
        let render = render.wav("side.wav", &[voice.clone(), voice.clone()]);
        render.hear(&[&["in.wav", "out.wav", "--param", "attack=0"], arguments].concat())
    };
    let ducked = render(&["compressor"], &["--sidechain", "side.wav"]);
    assert_eq!(ducked[0][4999], 0.05);
    assert!(ducked[0][5000] < 0.02, "{}", ducked[0][5000]);
    assert_eq!(render(&["compressor"], &[])[0][9000], 0.05);
    // What delays the main input delays the other.
    let delayed = ["delay", "gain", "delay", "compressor"];
    for more in [&["--serial"][..], &["--isolation", "none"], &[]] {
        let arguments = [&["--sidechain", "side.wav"], more].concat();
        same(&render(&delayed, &arguments), &ducked, &format!("{more:?}"));
        let arguments = [&["--sidechain", "4=side.wav"], more].concat();
        same(&render(&delayed, &arguments), &ducked, &format!("by place, {more:?}"));
    }
}

#[test]
fn a_side_chain_that_fits_nowhere_is_refused() {
    let refused = |chain: &[&str], side: &str, parts: &[&str]| {
        let render = Render::new(chain).wav("in.wav", &noise(10)).wav("side.wav", &noise(10));
        render.run(&["in.wav", "out.wav", "--sidechain", side]).assert_error(parts);
    };
    refused(&["gain"], "side.wav", &["side.wav", "second input"]);
    refused(&["gain", "compressor"], "1=side.wav", &["second input"]);
    refused(&["compressor"], "2=side.wav", &["1 plugins"]);
    refused(&["compressor"], "no.wav", &["no.wav"]);
}

#[test]
fn all_outputs_are_written_one_after_the_other() {
    let input = noise(3000);
    let scaled = |by: f32| input.iter().map(move |c| c.iter().map(|x| x * by).collect::<Vec<_>>());
    let expected: Vec<Vec<f32>> = scaled(1.0).chain(scaled(0.5)).chain(scaled(-1.0)).collect();
    for more in [&[][..], &["--serial"], &["--isolation", "none"]] {
        let arguments = [&["in.wav", "out.wav", "--all-outputs"], more].concat();
        let out = Render::new(&["delay", "split"]).wav("in.wav", &input).hear(&arguments);
        same(&out, &expected, &format!("{more:?}"));
    }
}

#[test]
fn an_automatic_tail_ends_half_a_second_after_the_last_sound() {
    let file = midi(&[&[(480, &[0x90, 60, 127]), (480, &[0x80, 60, 0])]]);
    let render = |release: &str| {
        let arguments = ["out.wav", "--midi", "a.mid", "--tail", "auto", "--param", release];
        Render::new(&["synth"]).file("a.mid", &file).hear(&arguments).remove(0)
    };
    let out = render("release=1000");
    let last = out.iter().rposition(|x| x.abs() >= 3.162_277_7e-5).unwrap();
    assert!((90_000..96_001).contains(&last), "{last}");
    assert_eq!(out.len(), last + 1 + 24_000);
    let short = render("release=0");
    assert!(short.len() <= 72_000, "{}", short.len());
}

// Nobody but who sits at the console can tell a program to end on Windows.
#[cfg(unix)]
#[test]
fn no_unfinished_file_is_left_when_told_to_end() {
    use common::program::files_in;
    use common::{LONG, becomes_true};
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::TERM] {
        let mut program =
            Program::new(["--timeout", "600", "render", "in.wav", "out.wav", "--chain"]);
        program.command().arg(hostile("sleep").to_string()).args(["--frames", "64"]);
        common::render::write(&program.folder().join("in.wav"), &noise(20_000));
        let render = program.env("SANDRACK_HOSTILE_BLOCK", "5").start();
        let (id, folder) = (render.id(), render.folder().to_owned());
        let partial = || files_in(&folder).iter().any(|name| name.contains("partial"));
        assert!(becomes_true(LONG, partial), "{:?}", files_in(&folder));
        render.signal(signal);
        let finished = render.finish();
        assert!(!finished.status.success());
        let left = files_in(finished.file("x").parent().unwrap());
        assert!(!left.iter().any(|name| name.contains("partial")), "{left:?}");
        finished.assert_no_trace(id);
    }
}
