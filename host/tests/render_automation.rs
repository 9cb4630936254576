//! `render --automation` and `--param`: each value at its sample, and errors that say where.

mod common;

use common::render::{Render, constant, midi};
use common::{example, same};
use sandrack_sandbox::format::PluginRef;

/// Ones through `gain`: what comes out are the parameter's values.
fn gains(csv: &str, arguments: &[&str]) -> Vec<f32> {
    let arguments = [&["in.wav", "out.wav", "--automation", "a.csv"], arguments].concat();
    let render = Render::new(&["gain"]).file("a.csv", csv).wav("in.wav", &constant(1.0, 10_000));
    render.hear(&arguments).remove(0)
}

#[test]
fn values_change_at_their_sample_inside_and_between_blocks() {
    let csv = "time,param,value\n0,gain,0.5\n1024f,gain,0.25\n1500f,GAIN,0.75\n0.1s,gain,0\n";
    for arguments in [
        &[][..],
        &["--frames", "100"],
        &["--frames", "8192"],
        &["--isolation", "none"],
        &["--isolation", "group"],
    ] {
        let out = gains(csv, arguments);
        let mut expected = vec![0.5; 1024];
        expected.extend(vec![0.25; 1500 - 1024]);
        expected.extend(vec![0.75; 4800 - 1500]);
        expected.extend(vec![0.0; 10_000 - 4800]);
        same(&[out], &[expected], &format!("{arguments:?}"));
    }
}

#[test]
fn a_ramp_is_a_straight_line_in_steps() {
    let out = gains("time,param,value,ramp\n0,gain,0,\n6400f,gain,1,linear\n", &[]);
    for (at, value) in out.iter().enumerate() {
        let expected = if at >= 6400 { 1.0 } else { (at / 64) as f32 / 100.0 };
        assert!((value - expected).abs() < 1e-6, "{at}: {value} {expected}");
    }
    let again = gains(
        "time,param,value,ramp\n0,gain,0,\n6400f,gain,1,linear\n",
        &["--isolation", "none", "--frames", "300"],
    );
    same(&[again], &[out], "in-process");
}

#[test]
fn times_in_quarter_notes_follow_the_tempo() {
    // 60 a minute after half a quarter note.
    let tempo = midi(&[&[(240, &[0xff, 0x51, 3, 0x0f, 0x42, 0x40])]]);
    let render = Render::new(&["gain", "synth"]);
    let render = render.file("t.mid", tempo).file("a.csv", "time,param,value\n0.75b,volume,0\n");
    let notes = midi(&[&[
        (0, &[0x90, 60, 127]),
        (240, &[0xff, 0x51, 3, 0x0f, 0x42, 0x40]),
        (480, &[0xb0, 7, 0]),
    ]]);
    let out = render.file("n.mid", notes).hear(&[
        "out.wav",
        "--midi",
        "n.mid",
        "--automation",
        "a.csv",
        "--param",
        "attack=0",
    ]);
    // A quarter of a second, and a quarter of a second: 24000 frames.
    assert!(out[0][23_900..24_000].iter().any(|x| *x != 0.0));
    assert!(out[0][24_000..].iter().all(|x| *x == 0.0));
}

#[test]
fn plugins_are_named_by_place_or_name_and_come_in_step_with_the_audio() {
    // The second gain hears its input 64 frames late: so does it its automation.
    let csv = "time,param,value,plugin\n300f,gain,0.5,3\n400f,gain,0,1\n0,delay,64,org.sandrack.test.delay\n";
    for arguments in [&[][..], &["--serial"], &["--isolation", "none"]] {
        let render = Render::new(&["gain", "delay", "gain"]).file("a.csv", csv);
        let out = render
            .wav("in.wav", &constant(1.0, 1000))
            .hear(&[&["in.wav", "out.wav", "--automation", "a.csv"], arguments].concat());
        let expected = [vec![1.0; 300], vec![0.5; 100], vec![0.0; 600]].concat();
        same(&out, &[expected.clone(), expected], &format!("{arguments:?}"));
    }
}

#[test]
fn texts_mean_what_the_plugin_says() {
    let render = |threshold: &str| {
        let threshold = format!("threshold={threshold}");
        let render = Render::new(&["compressor"]).wav("in.wav", &constant(0.9, 5000));
        render.hear(&["in.wav", "out.wav", "--param", &threshold])
    };
    let number = render("0.5");
    same(&render("-30 dB"), &number, "a text");
    assert_ne!(render("-10 dB")[0], number[0]);
    let csv = "time,param,value\n0,threshold,-30 dB\n";
    let automated = Render::new(&["compressor"]).file("a.csv", csv);
    let automated = automated.wav("in.wav", &constant(0.9, 5000)).hear(&[
        "in.wav",
        "out.wav",
        "--automation",
        "a.csv",
    ]);
    same(&automated, &number, "a text in a file");
}

#[test]
fn a_parameter_that_changes_the_delay_is_compensated() {
    let input = common::render::noise(3000);
    for delay in ["delay=0", "delay=1000"] {
        let out = Render::new(&["gain", "delay"])
            .wav("in.wav", &input)
            .hear(&["in.wav", "out.wav", "--param", delay]);
        same(&out, &input, delay);
    }
}

#[test]
fn errors_name_line_and_column_and_what_may_be_meant() {
    for (csv, parts) in [
        ("time,param,value\n0,gian,1\n", &["a.csv:2:", "'param'", "'gain'"][..]),
        ("time,param,value\n0,gain,2\n", &["a.csv:2:", "'value'", "0 to 1"]),
        ("time,param,value\n0,gain,loud\n", &["a.csv:2:", "'value'", "loud"]),
        ("time,param,value\nsoon,gain,1\n", &["a.csv:2:", "'time'", "soon"]),
        ("time,param,value,plugin\n0,gain,1,2\n", &["a.csv:2:", "'plugin'", "1 plugins"]),
        (
            "time,param,value,plugin\n0,gain,1,Sandrack Gian\n",
            &["a.csv:2:", "'plugin'", "do you mean"],
        ),
        ("when,param,value\n0,gain,1\n", &["a.csv:1:", "'when'"]),
        ("\u{0}\u{1}", &["a.csv:1:"]),
    ] {
        let render = Render::new(&["gain"]).file("a.csv", csv).wav("in.wav", &constant(1.0, 10));
        render.run(&["in.wav", "out.wav", "--automation", "a.csv"]).assert_error(parts);
    }
    let twice = |param: &str| {
        let render = Render::new(&["gain", "gain"]).wav("in.wav", &constant(1.0, 100));
        render.run(&["in.wav", "out.wav", "--param", param])
    };
    twice("gain=0.5").assert_error(&["--param", "1 and 2"]);
    twice("2:gain=0.5").assert_success();
    twice("3:gain=0.5").assert_error(&["2 plugins"]);
    twice("gain").assert_error(&["NAME=VALUE"]);
}

/// What the plugin `contract` was last told, in a file of one block after the other: its value, and
/// its modulation (plus the key that it is for).
fn told(csv: &str) -> Vec<(f32, f32)> {
    let contract = PluginRef { path: example("contract"), id: None };
    let out = Render::of(&[contract])
        .file("a.csv", format!("time,param,value,ramp,note\n{csv}"))
        .wav("in.wav", &constant(0.0, 1024))
        .hear(&["in.wav", "out.wav", "--automation", "a.csv", "--frames", "256"]);
    out[0].chunks(256).map(|block| (block[7], block[8])).collect()
}

#[test]
fn parameters_are_modulated_and_those_of_notes_are_of_one_key() {
    let csv = "256f,mod:#0,0.25,,\n512f,#0,0.75,,\n768f,mod:#0,-0.5,,64\n";
    assert_eq!(told(csv), [(0.5, 0.0), (0.5, -0.75), (0.75, -0.75), (0.75, 63.5)]);
    assert_eq!(told("256f,#0,1,,60\n")[..2], [(0.5, 0.0), (1.0, 0.0)]);
}

#[test]
fn what_is_not_of_notes_and_offsets_out_of_range_are_said() {
    Render::new(&["gain"])
        .file("a.csv", "time,param,value,ramp,note\n0,gain,0.1,,60\n")
        .wav("in.wav", &constant(1.0, 100))
        .run(&["in.wav", "out.wav", "--automation", "a.csv"])
        .assert_error(&["a.csv:2: column 'note': 'gain' is not of single notes"]);
    let contract = PluginRef { path: example("contract"), id: None };
    Render::of(&[contract])
        .file("a.csv", "time,param,value\n0,mod:#0,1.5\n")
        .wav("in.wav", &constant(1.0, 100))
        .run(&["in.wav", "out.wav", "--automation", "a.csv"])
        .assert_error(&["column 'value': '1.5' is no offset", "from -1 to 1"]);
}
