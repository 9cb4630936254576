//! `render`: what goes in comes out, in time; and whatever goes wrong, a file that was there stays.

mod common;

use common::program::{Finished, Program, files_in};
#[cfg(unix)]
use common::system::Signal;
use common::system::{ABORT, SEGFAULT};
use common::{Noise, difference, hostile, plugin, same};
use sandrack_host::wav::{self, SampleFormat, Wav, WavWriter};
use std::fs;
use std::path::Path;

/// A file of noise in one of the formats that can be read.
fn write_noise(path: &Path, channels: u16, rate: u32, frames: u32, bits: u16, float: bool) {
    let format = if float { hound::SampleFormat::Float } else { hound::SampleFormat::Int };
    let spec = hound::WavSpec {
        channels,
        sample_rate: rate,
        bits_per_sample: bits,
        sample_format: format,
    };
    let mut writer = hound::WavWriter::create(path, spec).unwrap();
    let mut noise = Noise(u64::from(rate) + u64::from(bits));
    for _ in 0..frames * u32::from(channels) {
        if float {
            writer.write_sample(noise.unit() as f32 * 4.0 - 2.0).unwrap();
        } else {
            let full = f64::from(1u32 << (bits - 1));
            writer.write_sample(((noise.unit() * 2.0 - 1.0) * (full - 1.0)) as i32).unwrap();
        }
    }
    writer.finalize().unwrap();
}

fn program(arguments: &[&str], chain: &[String]) -> Program {
    let mut program = Program::new(["--timeout", "10", "render", "in.wav", "out.wav", "--chain"]);
    program.command().arg(chain.join(",")).args(arguments);
    program
}

fn plugins(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| plugin(name).to_string()).collect()
}

/// Renders noise; what came in, and how it ended.
fn render(
    chain: &[&str],
    arguments: &[&str],
    (channels, rate, frames): (u16, u32, u32),
    (bits, float): (u16, bool),
) -> (Wav, Finished) {
    let program = program(arguments, &plugins(chain));
    let input = program.folder().join("in.wav");
    write_noise(&input, channels, rate, frames, bits, float);
    let input = wav::read(&input).unwrap();
    (input, program.run())
}

fn output(finished: &Finished) -> Wav {
    finished.assert_success();
    assert_eq!(finished.stderr, "");
    let path = finished.file("out.wav");
    assert_eq!(
        files_in(path.parent().unwrap()),
        ["in.wav", "out.wav", "stderr", "stdout", "tmp"],
        "nothing else is left"
    );
    wav::read(&path).unwrap()
}

const FLOAT: (u16, bool) = (32, true);

#[test]
fn a_chain_that_only_delays_gives_back_its_input_bit_for_bit() {
    for (bits, float) in [(16, false), (24, false), (32, false), (32, true)] {
        for rate in [44_100, 96_000] {
            let (input, finished) = render(&["delay"], &[], (2, rate, 5000), (bits, float));
            let output = output(&finished);
            assert_eq!(output.rate, rate);
            same(&output.channels, &input.channels, &format!("{bits} bits, {rate} Hz"));
            assert!(finished.stdout.contains("64 frames of latency"), "{}", finished.stdout);
        }
    }
}

#[test]
fn latencies_of_a_chain_add_up_and_are_taken_out() {
    let (input, finished) = render(
        &["delay", "gain", "delay", "delay"],
        &["--frames", "100"],
        (2, 48_000, 3333),
        FLOAT,
    );
    same(&output(&finished).channels, &input.channels, "three delays");
}

#[test]
fn any_block_size_gives_the_same_file() {
    for frames in ["1", "7", "64", "1000", "8192"] {
        let (input, finished) =
            render(&["delay", "gain"], &["--frames", frames], (2, 48_000, 1500), FLOAT);
        same(&output(&finished).channels, &input.channels, &format!("blocks of {frames}"));
    }
}

#[test]
fn any_isolation_gives_the_same_file() {
    let render = |isolation| {
        let chain = ["compressor", "delay", "split", "gain"];
        let arguments = ["--isolation", isolation, "--tail", "0.05"];
        let (_, finished) = render(&chain, &arguments, (2, 44_100, 20_000), FLOAT);
        output(&finished);
        fs::read(finished.file("out.wav")).unwrap()
    };
    let apart = render("plugin");
    assert_eq!(wav_frames(&apart), 20_000 + 2205);
    assert!(apart == render("group"), "plugin and group");
    assert!(apart == render("none"), "plugin and none");
}

fn wav_frames(bytes: &[u8]) -> usize {
    hound::WavReader::new(bytes).unwrap().duration() as usize
}

#[test]
fn a_mono_file_goes_through_stereo_and_mono_plugins() {
    // On both channels of a stereo plugin, whose output is stereo.
    let (input, finished) = render(&["delay"], &[], (1, 48_000, 2000), FLOAT);
    let both = [input.channels[0].clone(), input.channels[0].clone()];
    same(&output(&finished).channels, &both, "stereo plugin");
    let (input, finished) = render(&["mono"], &[], (1, 48_000, 2000), FLOAT);
    same(&output(&finished).channels, &input.channels, "mono plugin");
}

#[test]
fn a_stereo_file_is_mixed_for_a_mono_plugin() {
    let (input, finished) = render(&["mono"], &[], (2, 48_000, 2000), FLOAT);
    let [left, right] = input.channels.as_slice() else { panic!("stereo") };
    let mean: Vec<f32> = left.iter().zip(right).map(|(l, r)| (l + r) * 0.5).collect();
    same(&output(&finished).channels, &[mean], "the mean");
}

#[test]
fn a_file_of_six_channels_is_refused_by_a_stereo_plugin() {
    let (_, finished) = render(&["delay"], &[], (6, 48_000, 2000), FLOAT);
    finished.assert_error(&["takes 2 channels, not the 6 of", "in.wav"]);
    assert!(!finished.file("out.wav").exists());
}

#[test]
fn odd_rates_are_rendered() {
    for rate in [1, 7919, 11_025, 192_000, 768_000] {
        let (input, finished) = render(&["delay"], &[], (2, rate, 400), FLOAT);
        same(&output(&finished).channels, &input.channels, &format!("{rate} Hz"));
    }
}

#[test]
fn an_empty_and_a_tiny_file_are_rendered() {
    for frames in [0, 1, 2] {
        let (input, finished) = render(&["delay"], &[], (2, 48_000, frames), FLOAT);
        same(&output(&finished).channels, &input.channels, &format!("{frames} frames"));
    }
    // With a tail there is something after all.
    let (_, finished) = render(&["delay"], &["--tail", "0.5"], (2, 48_000, 0), FLOAT);
    assert_eq!(output(&finished).channels[0].len(), 24_000);
}

#[test]
fn integers_are_written_as_asked_and_what_clips_is_said() {
    let (input, finished) = render(&["gain"], &["--bits", "24"], (2, 48_000, 3000), (24, false));
    same(&output(&finished).channels, &input.channels, "24 bits");
    assert!(!finished.stdout.contains("clipped"), "{}", finished.stdout);
    // Floats of up to 2.
    let (_, finished) = render(&["gain"], &["--bits", "16"], (2, 48_000, 3000), FLOAT);
    let written = output(&finished);
    assert!(written.channels.iter().flatten().all(|x| (-1.0..=1.0).contains(x)));
    assert!(finished.stdout.contains("clipped"), "{}", finished.stdout);
}

#[test]
fn an_instrument_and_a_note_effect_are_rendered_as_what_they_put_out() {
    // Nobody plays the synth.
    let (_, finished) = render(&["synth"], &[], (2, 48_000, 2000), FLOAT);
    assert!(output(&finished).channels.iter().flatten().all(|x| *x == 0.0));
    // Audio goes past a note effect.
    let (input, finished) = render(&["events", "gain"], &[], (2, 48_000, 2000), FLOAT);
    same(&output(&finished).channels, &input.channels, "past a note effect");
}

#[test]
fn a_file_may_be_rendered_onto_itself() {
    let mut program = Program::new(["render", "in.wav", "in.wav", "--chain"]);
    program.command().arg(plugin("delay").to_string());
    let file = program.folder().join("in.wav");
    write_noise(&file, 2, 48_000, 3000, 32, true);
    let before = wav::read(&file).unwrap();
    let finished = program.run();
    finished.assert_success();
    same(&wav::read(&finished.file("in.wav")).unwrap().channels, &before.channels, "itself");
}

/// Renders with an output that was there before; it must still be there, and nothing else.
#[track_caller]
fn leaves_the_old_file(program: Program, parts: &[&str]) {
    fs::write(program.folder().join("out.wav"), "precious").unwrap();
    let finished = program.run();
    finished.assert_error(parts);
    assert_eq!(fs::read_to_string(finished.file("out.wav")).unwrap(), "precious");
    let files = files_in(finished.file("x").parent().unwrap());
    assert!(!files.iter().any(|name| name.contains("partial")), "{files:?}");
}

fn with_input(arguments: &[&str], chain: &[String]) -> Program {
    let program = program(arguments, chain);
    write_noise(&program.folder().join("in.wav"), 2, 48_000, 20_000, 32, true);
    program
}

#[test]
fn a_plugin_that_fails_in_the_middle_leaves_the_file_that_was_there() {
    for (what, reason) in [
        ("segfault", SEGFAULT),
        ("abort", ABORT),
        ("exit", "exited with code 0"),
        ("error", "reported an error"),
    ] {
        for place in 0..3 {
            let mut chain = plugins(&["gain", "delay"]);
            chain.insert(place, hostile(what).to_string());
            let program =
                with_input(&["--frames", "64"], &chain).env("SANDRACK_HOSTILE_BLOCK", "5");
            leaves_the_old_file(program, &[reason, what, "nothing was written"]);
        }
    }
}

#[test]
fn a_plugin_that_hangs_in_the_middle_is_named_and_leaves_the_file_that_was_there() {
    for what in ["hang", "sleep", "stop"] {
        for isolation in ["plugin", "group"] {
            let chain = [plugins(&["gain"]), vec![hostile(what).to_string()], plugins(&["delay"])];
            let arguments = ["--frames", "64", "--isolation", isolation, "--timeout", "1"];
            let mut program = Program::new(["render", "in.wav", "out.wav", "--chain"]);
            program.command().arg(chain.concat().join(",")).args(arguments);
            write_noise(&program.folder().join("in.wav"), 2, 48_000, 20_000, 32, true);
            leaves_the_old_file(
                program.env("SANDRACK_HOSTILE_BLOCK", "5"),
                &[what, "did not return in time"],
            );
        }
    }
}

#[test]
fn a_plugin_that_fails_in_a_group_leaves_the_file_that_was_there() {
    let chain = [plugins(&["gain"]), vec![hostile("segfault").to_string()]].concat();
    let program = with_input(&["--frames", "64", "--isolation", "group"], &chain)
        .env("SANDRACK_HOSTILE_BLOCK", "5");
    leaves_the_old_file(program, &[SEGFAULT, "nothing was written"]);
}

#[test]
fn output_that_is_not_a_number_is_rendered_as_silence() {
    let program = with_input(&["--frames", "64"], &[hostile("nan").to_string()])
        .env("SANDRACK_HOSTILE_BLOCK", "5");
    let input = wav::read(&program.folder().join("in.wav")).unwrap();
    let finished = program.run();
    finished.assert_success();
    let output = wav::read(&finished.file("out.wav")).unwrap();
    let part = |wav: &Wav, to: usize| -> Vec<Vec<f32>> {
        wav.channels.iter().map(|channel| channel[..to].to_vec()).collect()
    };
    assert_eq!(difference(&part(&output, 320), &part(&input, 320)), None);
    assert!(output.channels.iter().all(|channel| channel[320..].iter().all(|x| *x == 0.0)));
}

#[test]
fn inputs_that_are_not_there_or_no_audio_are_refused() {
    let gain = plugins(&["gain"]);
    leaves_the_old_file(program(&[], &gain), &["in.wav"]);
    for bytes in [&b""[..], b"RIFF", b"This is no audio.", b"RIFF\xff\xff\xff\xffWAVEfmt "] {
        let program = program(&[], &gain);
        fs::write(program.folder().join("in.wav"), bytes).unwrap();
        leaves_the_old_file(program, &["in.wav"]);
    }
}

#[test]
fn an_output_that_can_not_be_written_is_refused() {
    for output in ["/nowhere/at/all.wav", "/proc/out.wav", "."] {
        let mut program = Program::new(["render", "in.wav", output, "--chain"]);
        program.command().arg(plugin("gain").to_string());
        write_noise(&program.folder().join("in.wav"), 2, 48_000, 2000, 32, true);
        program.run().assert_error(&[output]);
    }
}

// Nobody but who sits at the console can interrupt a program on Windows.
#[cfg(unix)]
#[test]
fn an_interrupted_render_leaves_the_file_that_was_there() {
    use common::{LONG, becomes_true};
    for signal in [Signal::INT, Signal::TERM, Signal::KILL] {
        // Stands still in its sixth block, for as long as this test needs.
        let program = {
            let chain = [hostile("sleep").to_string()].join(",");
            let mut program =
                Program::new(["--timeout", "600", "render", "in.wav", "out.wav", "--chain"]);
            program.command().arg(chain).args(["--frames", "64"]);
            write_noise(&program.folder().join("in.wav"), 2, 48_000, 20_000, 32, true);
            program.env("SANDRACK_HOSTILE_BLOCK", "5")
        };
        fs::write(program.folder().join("out.wav"), "precious").unwrap();
        let render = program.start();
        let (id, folder) = (render.id(), render.folder().to_owned());
        let partial = || files_in(&folder).iter().any(|name| name.contains("partial"));
        assert!(becomes_true(LONG, partial), "{:?}", files_in(&folder));
        render.signal(signal);
        let finished = render.finish();
        assert!(!finished.status.success());
        assert_eq!(fs::read_to_string(finished.file("out.wav")).unwrap(), "precious");
        finished.assert_no_trace(id);
    }
}

#[test]
fn two_renders_into_one_file_leave_one_of_the_two() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.wav");
    let start = |channels: u16| {
        let mut program = Program::new(["render", "in.wav"]);
        program.command().arg(&out).arg("--chain").arg(plugin("mono").to_string());
        write_noise(&program.folder().join("in.wav"), channels, 48_000, 30_000, 32, true);
        program.start()
    };
    let renders = [start(1), start(2)];
    for render in renders {
        render.finish().assert_success();
    }
    assert_eq!(wav::read(&out).unwrap().channels[0].len(), 30_000);
    assert_eq!(files_in(folder.path()), ["out.wav"]);
}

#[test]
fn a_very_long_name_and_one_with_other_letters_are_no_obstacle() {
    let program = Program::new(["render", "ein Stück ♪.wav", "mit # und ,.wav", "--chain"]);
    let mut program = program;
    program.command().arg(plugin("gain").to_string());
    let input = program.folder().join("ein Stück ♪.wav");
    let mut writer = WavWriter::create(&input, 2, 48_000, SampleFormat::Float32).unwrap();
    writer.write_interleaved(&[0.5; 400]).unwrap();
    writer.finish().unwrap();
    let finished = program.run();
    finished.assert_success();
    let written = wav::read(&finished.file("mit # und ,.wav")).unwrap();
    assert_eq!(written.channels, vec![vec![0.5; 200]; 2]);
}
