//! Rigs that are played in the test's own process, and what is seen of them.

use super::{LONG, PROGRAM, plugin};
use sandrack_host::play::{Pace, PlayOptions, Player, PluginView, Source, View, WorkerState};
use sandrack_host::rig::{PluginSlot, Rig, Track, TrackKind};
use sandrack_sandbox::format::{Format, PluginRef};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(crate) const FRAMES: u32 = 64;

pub(crate) fn options(pace: Pace) -> PlayOptions {
    let mut options = PlayOptions::new().expect("this program has a file");
    options.supervisor.program = PROGRAM.into();
    options.supervisor.realtime = false;
    options.supervisor.timeout = Duration::from_secs(30);
    options.pace = pace;
    // Other tests run beside this one.
    options.frames = (pace == Pace::OnTime).then_some(1024);
    options
}

pub(crate) fn slot(id: &str, what: &PluginRef) -> PluginSlot {
    let text = format!(
        "sandrack_rig = 1\n[[track]]\nid = \"t\"\n[[track.plugin]]\nid = \"{id}\"\nplugin = \"{}\"\n",
        what.id.clone().unwrap_or_default()
    );
    let rig = Rig::parse(Path::new("slot"), &text).expect("it is a rig");
    PluginSlot { path: what.path.clone(), format: Format::Clap, ..rig.tracks[0].plugins[0].clone() }
}

pub(crate) fn track(id: &str, plugins: &[(&str, &str)]) -> Track {
    let mut track = Track::new(id.into(), id, TrackKind::Track);
    track.plugins = plugins.iter().map(|(id, kind)| slot(id, &plugin(kind))).collect();
    track
}

pub(crate) fn rig(tracks: Vec<Track>) -> Rig {
    let mut rig = Rig { name: "Test".into(), tracks, ..Rig::default() };
    rig.driver.frames = FRAMES;
    rig
}

pub(crate) fn find<'a>(view: &'a View, id: &str) -> &'a PluginView {
    view.plugin(&id.into()).unwrap_or_else(|| panic!("no plugin {id}: {:?}", view.messages)).1
}

pub(crate) fn runs(view: &View, id: &str) -> bool {
    matches!(find(view, id).state, WorkerState::Running | WorkerState::Late)
}

pub(crate) fn value(view: &View, id: &str, param: u32) -> f64 {
    let plugin = find(view, id);
    let place = plugin.params.iter().position(|known| known.id == param).expect("it has it");
    plugin.values[place].value
}

#[track_caller]
pub(crate) fn until(player: &Player, what: &str, so: impl Fn(&View) -> bool) -> Arc<View> {
    let end = Instant::now() + LONG;
    loop {
        let view = player.view();
        if so(&view) {
            return view;
        }
        assert!(Instant::now() < end, "not {what}: {:?}", view.messages);
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Lets blocks pass until nothing is under way.
#[track_caller]
pub(crate) fn settle(player: &Player) {
    let end = Instant::now() + LONG;
    loop {
        player.run_blocks(2).expect("it is driven by hand");
        let view = player.view();
        if !view.is_changing && view.progress.is_none() {
            return;
        }
        assert!(Instant::now() < end, "not settled: {:?}", view.messages);
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A file with this rig in it.
pub(crate) fn saved_rig(folder: &Path, rig: &Rig) -> PathBuf {
    let path = folder.join("rig.toml");
    std::fs::write(&path, rig.to_text("").unwrap()).unwrap();
    path
}

/// What a rig puts out, channel by channel, for what comes in from the start on, as long as that is.
/// `edit` is called before the first block.
#[track_caller]
pub(crate) fn played(rig: Rig, input: &[Vec<f32>], edit: impl Fn(&Player)) -> Vec<Vec<f32>> {
    let folder = tempfile::tempdir().unwrap();
    let (file, output) = (folder.path().join("in.wav"), folder.path().join("out.wav"));
    let format = hound::WavSpec {
        channels: input.len() as u16,
        sample_rate: 48_000,
        bits_per_sample: 32,
        sample_format: hound::SampleFormat::Float,
    };
    let mut writer = hound::WavWriter::create(&file, format).unwrap();
    for frame in 0..input[0].len() {
        input.iter().for_each(|channel| writer.write_sample(channel[frame]).unwrap());
    }
    writer.finalize().unwrap();
    let blocks = input[0].len() as u64 / u64::from(FRAMES);
    let channels = rig.driver.outputs as usize;
    let mut options = options(Pace::ByHand);
    (options.input, options.record) = (Some(file), Some(output.clone()));
    let player = Player::open(Source::Rig(rig), options).expect("it plays");
    settle(&player);
    edit(&player);
    let done = player.view().engine.block;
    assert!(done + 100 < blocks, "{done} blocks are too many");
    player.run_blocks(blocks - done).unwrap();
    player.close().expect("it ends");
    let mut reader = hound::WavReader::open(&output).unwrap();
    let samples: Vec<f32> = reader.samples::<f32>().map(Result::unwrap).collect();
    (0..channels).map(|at| samples.iter().skip(at).step_by(channels).copied().collect()).collect()
}
