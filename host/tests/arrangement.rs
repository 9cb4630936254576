//! Plugins are asked for the channels that reach them, in both formats and wherever they run.

mod common;

use common::bundle::{Bundle, FORMATS};
use common::program::Program;
use common::render::{Render, write};
use common::{Noise, example, plugin, same};
use sandrack_sandbox::format::PluginRef;

const EVERYWHERE: [&str; 3] = ["plugin", "group", "none"];

/// Different noise on each channel, of numbers that half of is exact.
fn noise(channels: usize) -> Vec<Vec<f32>> {
    let mut noise = Noise(11);
    let mut sample = || (noise.unit() - 0.5) as f32;
    (0..channels).map(|_| (0..3000).map(|_| sample()).collect()).collect()
}

fn scaled(channels: &[Vec<f32>], factor: f32) -> Vec<Vec<f32>> {
    channels.iter().map(|channel| channel.iter().map(|x| x * factor).collect()).collect()
}

fn layouts(what: &str) -> PluginRef {
    PluginRef { path: example("layouts"), id: Some(format!("org.sandrack.layouts.{what}")) }
}

fn vst3(class: &str) -> PluginRef {
    PluginRef { path: example("hostile_vst3"), id: Some(class.to_owned()) }
}

/// What comes out of a chain that these channels go into.
fn through(chain: &[PluginRef], input: &[Vec<f32>], arguments: &[&str]) -> Vec<Vec<f32>> {
    let all = [&["in.wav", "out.wav"], arguments].concat();
    Render::of(chain).wav("in.wav", input).hear(&all)
}

#[test]
fn six_channels_go_through_a_plugin_that_can_have_them() {
    let (bundle, input) = (Bundle::new(), noise(6));
    for format in FORMATS {
        let gain = bundle.of(format, "gain");
        for isolation in EVERYWHERE {
            let what = format!("{format}, {isolation}");
            let half = ["--isolation", isolation, "--param", "gain=0.5"];
            let one = through(std::slice::from_ref(&gain), &input, &half);
            same(&one, &scaled(&input, 0.5), &what);
            let each = ["--isolation", isolation, "--param", "1:gain=0.5", "--param", "2:gain=0.5"];
            let two = through(&[gain.clone(), gain.clone()], &input, &each);
            same(&two, &scaled(&input, 0.25), &format!("two, {what}"));
        }
        // What has stereo from the start stays as it is.
        let stereo = through(std::slice::from_ref(&gain), &input[..2], &["--param", "gain=0.5"]);
        same(&stereo, &scaled(&input[..2], 0.5), "stereo");
    }
}

#[test]
fn what_a_plugin_can_not_have_is_refused_with_what_it_can() {
    let bundle = Bundle::new();
    for format in FORMATS {
        let gain = bundle.of(format, "gain");
        for isolation in EVERYWHERE {
            let render = Render::of(std::slice::from_ref(&gain)).wav("in.wav", &noise(3));
            let finished = render.run(&["in.wav", "out.wav", "--isolation", isolation]);
            let says = "takes 2 or 6 channels, not the 3 of in.wav: give it a file with as many";
            finished.assert_error(&[&gain.to_string(), says]);
            assert!(!finished.file("out.wav").exists());
        }
    }
    // The second of a chain: its input is another's output.
    let render = Render::new(&["gain", "delay"]).wav("in.wav", &noise(6));
    let says = format!("takes 2 channels, not the 6 of {} before it: ", plugin("gain"));
    render.run(&["in.wav", "out.wav"]).assert_error(&[&plugin("delay").to_string(), &says]);
}

#[test]
fn a_plugin_that_is_mono_first_has_stereo_if_that_reaches_it() {
    let input = noise(2);
    for isolation in ["plugin", "none"] {
        let arguments = ["--isolation", isolation];
        let out = through(&[layouts("listed")], &input, &arguments);
        same(&out, &scaled(&input, 0.5), &format!("CLAP, {isolation}"));
        let out = through(&[vst3("Odd mono-first")], &input, &arguments);
        same(&out, &input, &format!("VST3, {isolation}"));
    }
    // Mono stays mono.
    same(&through(&[vst3("Odd mono-first")], &input[..1], &[]), &input[..1], "mono");
    same(&through(&[layouts("listed")], &input[..1], &[]), &scaled(&input[..1], 0.5), "mono");
    // What reaches the next counts.
    let out = through(&[vst3("Odd mono-first"), layouts("listed")], &input, &[]);
    same(&out, &scaled(&input, 0.5), "both");
}

#[test]
fn every_usual_count_of_channels_is_asked_for_by_its_name() {
    for count in 1..=8 {
        let input = noise(count);
        // Of one channel on a stereo plugin, both get it: that needs no asking.
        let expected = if count == 1 { vec![input[0].clone(); 2] } else { input.clone() };
        let out = through(&[layouts("any")], &input, &[]);
        same(&out, &scaled(&expected, 0.5), &format!("CLAP, {count}"));
        let out = through(&[layouts("draft")], &input, &[]);
        same(&out, &scaled(&expected, 0.5), &format!("CLAP, of old, {count}"));
        let out = through(&[vst3("Odd adapts")], &input, &[]);
        same(&out, &expected, &format!("VST3, {count}"));
    }
    Render::of(&[vst3("Odd adapts")])
        .wav("in.wav", &noise(9))
        .run(&["in.wav", "out.wav"])
        .assert_error(&["takes 1, 2, 3, 4, 5, 6, 7 or 8 channels, not the 9 of in.wav"]);
}

#[test]
fn a_plugin_may_mix_many_channels_to_fewer() {
    let input = noise(6);
    let out = through(&[layouts("listed"), plugin("gain")], &input, &[]);
    same(&out, &scaled(&input[..2], 0.5), "six to two, and on");
    let out = through(&[layouts("listed")], &input[..4], &[]);
    same(&out, &scaled(&input[..4], 0.5), "four");
    // What can be mono gets the mean of what it can't have.
    assert_eq!(through(&[layouts("listed")], &noise(3), &[]).len(), 1);
}

#[test]
fn what_a_plugin_agrees_to_and_does_not_do_is_found_out() {
    for liar in [layouts("agrees"), vst3("Hostile agrees")] {
        for isolation in ["plugin", "none"] {
            let render = Render::of(std::slice::from_ref(&liar)).wav("in.wav", &noise(4));
            let finished = render.run(&["in.wav", "out.wav", "--isolation", isolation]);
            let says = "takes 2 channels, not the 4 of in.wav";
            finished.assert_error(&[&liar.to_string(), says]);
        }
        // It is as good as any with what it has.
        assert_eq!(through(&[liar], &noise(2), &[]).len(), 2);
    }
    for grows in [layouts("grows"), vst3("Hostile grows")] {
        for isolation in ["plugin", "none"] {
            let render = Render::of(std::slice::from_ref(&grows)).wav("in.wav", &noise(4));
            let finished = render.run(&["in.wav", "out.wav", "--isolation", isolation]);
            finished.assert_error(&["channels"]);
            println!("{}", finished.stderr);
        }
    }
}

#[test]
fn a_side_chain_stays_as_it_is() {
    // The compressor has stereo only, and so has its side chain.
    let input = noise(2);
    let plain = through(&[plugin("compressor")], &input, &[]);
    let render = Render::new(&["compressor"]).wav("in.wav", &input);
    let louder = render.wav("side.wav", &vec![vec![1.0; 3000]; 2]);
    let sided = louder.hear(&["in.wav", "out.wav", "--sidechain", "side.wav"]);
    assert_ne!(plain, sided, "it is heard");
    Render::new(&["compressor"])
        .wav("in.wav", &noise(4))
        .run(&["in.wav", "out.wav"])
        .assert_error(&["takes 2 channels, not the 4 of in.wav"]);
}

#[test]
fn an_editor_is_not_opened_for_a_file_that_its_plugin_can_not_take() {
    let gain = plugin("gain").to_string();
    let program = Program::new(["--no-realtime", "edit", &gain, "--input", "in.wav"]);
    write(&program.folder().join("in.wav"), &noise(3));
    program.run().assert_error(&[&gain, "takes 2 or 6 channels, not the 3 of in.wav: give it"]);
}
