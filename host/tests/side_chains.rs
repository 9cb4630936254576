//! What a rig brings to a plugin's inputs beside its main one, from outside.

mod common;

use common::players::{
    FRAMES, find, options, played, rig, runs, saved_rig, settle, track, until, value,
};
use common::program::Program;
use common::same;
use sandrack_host::play::{Command, Pace, Player, Source};
use sandrack_host::rig::{Output, Rig, SideChain, Track};
use sandrack_plugins_test::param_id;

const FRAMES_IN_ALL: usize = 2000 * FRAMES as usize;
/// From here on the drums play. Long after the start, where everything fades in.
const BEGIN: usize = 1000 * FRAMES as usize;

/// A quiet pad on the first channel, drums on the second that begin halfway.
fn input() -> Vec<Vec<f32>> {
    let pad = |frame: usize| (frame as f32 * 0.01).sin() * 0.03;
    let drums = |frame: usize| if frame < BEGIN { 0.0 } else { (frame as f32 * 0.3).sin() * 0.8 };
    vec![(0..FRAMES_IN_ALL).map(pad).collect(), (0..FRAMES_IN_ALL).map(drums).collect()]
}

/// The pad passes a compressor, whose side chain is this; the drums pass these plugins, and go nowhere.
fn ducking(side_chains: Vec<SideChain>, drums: &[(&str, &str)]) -> Rig {
    let mut pad = track("pad", &[("duck", "compressor")]);
    pad.input = vec![1];
    let duck = &mut pad.plugins[0];
    // -30 dB, 20 to 1, in the plugin's own ranges; slow to let go.
    for (param, value) in [("threshold", 0.5), ("ratio", 1.0), ("attack", 0.0), ("release", 500.0)]
    {
        duck.params.insert(param.into(), value);
    }
    duck.side_chains = side_chains;
    let mut drums = Track { input: vec![2], ..track("drums", drums) };
    drums.output = Output::Channels(Vec::new());
    rig(vec![pad, drums])
}

fn from_drums() -> SideChain {
    SideChain::from_track("drums".into())
}

fn pad_of(rig: Rig) -> Vec<f32> {
    played(rig, &input(), |_| {}).swap_remove(0)
}

/// The loudest of some samples.
fn loudest(samples: &[f32]) -> f32 {
    samples.iter().fold(0.0, |loudest, sample| loudest.max(sample.abs()))
}

#[test]
fn a_track_is_heard_by_another_ones_compressor() {
    let alone = pad_of(ducking(Vec::new(), &[]));
    let ducked = pad_of(ducking(vec![from_drums()], &[]));
    let (before, after) = (4000..BEGIN - 100, BEGIN + 1000..FRAMES_IN_ALL);
    same(&[ducked[before.clone()].to_vec()], &[alone[before].to_vec()], "while they are silent");
    assert!(loudest(&alone[after.clone()]) > 0.02);
    assert!(loudest(&ducked[after.clone()]) < 0.01, "{}", loudest(&ducked[after.clone()]));

    // The same from the driver's channel; and before a fader that is down.
    let driver = SideChain { from: None, input: vec![2], ..from_drums() };
    let mut down = ducking(vec![SideChain { pre: true, ..from_drums() }], &[]);
    down.tracks[1].gain_db = f64::NEG_INFINITY;
    for (what, rig) in [("driver", ducking(vec![driver], &[])), ("pre", down)] {
        let other = pad_of(rig);
        same(&[other[after.clone()].to_vec()], &[ducked[after.clone()].to_vec()], what);
    }

    // A fader that is down, a mute, and a side chain that is turned down silence it.
    let mut faded = ducking(vec![from_drums()], &[]);
    faded.tracks[1].gain_db = f64::NEG_INFINITY;
    let mut muted = ducking(vec![SideChain { pre: true, ..from_drums() }], &[]);
    muted.tracks[1].mute = true;
    let quiet = ducking(vec![SideChain { gain_db: f64::NEG_INFINITY, ..from_drums() }], &[]);
    for (what, rig) in [("fader", faded), ("mute", muted), ("gain", quiet)] {
        let other = pad_of(rig);
        same(&[other[after.clone()].to_vec()], &[alone[after.clone()].to_vec()], what);
    }
}

#[test]
fn what_was_played_together_meets() {
    let at_once = pad_of(ducking(vec![from_drums()], &[]));
    let late = pad_of(ducking(vec![from_drums()], &[("late", "delay")]));
    let delay = 64;
    let from = 4000..FRAMES_IN_ALL - delay;
    same(
        &[late[4000 + delay..].to_vec()],
        &[at_once[from].to_vec()],
        "the drums come later by a plugin's delay, and so does the pad",
    );
}

#[test]
fn it_comes_and_goes_while_it_plays_and_is_saved() {
    let folder = tempfile::tempdir().unwrap();
    let path = saved_rig(folder.path(), &ducking(Vec::new(), &[]));
    let player = Player::open(Source::File(path.clone()), options(Pace::ByHand)).expect("it plays");
    settle(&player);
    let view = player.view();
    assert_eq!(find(&view, "duck").side_inputs.len(), 1);
    let threshold = param_id("threshold");
    player.send(Command::SetParam("duck".into(), threshold, 0.25));
    settle(&player);
    let before = find(&player.view(), "duck").process.expect("it has a process");
    player.send(Command::SetSideChains("duck".into(), vec![from_drums()]));
    until(&player, "loaded for it", |view| {
        player.run_blocks(2).expect("it is driven by hand");
        runs(view, "duck") && find(view, "duck").process.is_some_and(|now| now != before)
    });
    settle(&player);
    assert_eq!(value(&player.view(), "duck", threshold), 0.25, "it keeps its state");
    // One that can't be: it is said, and nothing changes.
    let pad = SideChain::from_track("pad".into());
    player.send(Command::SetSideChains("duck".into(), vec![pad]));
    settle(&player);
    let said = |text: &str| player.view().messages.iter().any(|m| m.text.contains(text));
    assert!(said("can't listen to the track"), "{:?}", player.view().messages);
    let third = SideChain { bus: 3, ..from_drums() };
    player.send(Command::SetSideChains("duck".into(), vec![from_drums(), third]));
    settle(&player);
    assert!(said("no side chain 3; it has one"), "{:?}", player.view().messages);
    player.send(Command::SetSideChains("duck".into(), vec![from_drums()]));
    settle(&player);
    player.close().expect("it is saved");
    let saved = Rig::read(&path).unwrap();
    assert_eq!(saved.tracks[0].plugins[0].side_chains, [from_drums()]);
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.contains("from = \"drums\"") && !text.contains("bus ="), "{text}");

    // A track that goes takes its side chains along.
    let player = Player::open(Source::File(path), options(Pace::ByHand)).expect("it plays");
    settle(&player);
    player.send(Command::RemoveTrack("drums".into()));
    settle(&player);
    assert!(find(&player.view(), "duck").side_chains.is_empty());
    player.close().expect("it ends");
}

#[test]
fn mistakes_are_named_with_line_and_nearest_word() {
    for (line, wanted) in [
        ("side_chain = [{ from = \"drms\" }]", "'drums'"),
        ("side_chain = [{ form = \"drums\" }]", "'from'"),
        ("side_chain = [{ from = \"pad\" }]", "can't listen to the track that it is in"),
        ("side_chain = [{ from = \"drums\", input = [1] }]", "needs 'from'"),
        ("side_chain = [{ pre = true }]", "needs 'from'"),
        ("side_chain = [{ from = \"drums\", bus = 0 }]", "must be 1 to"),
        ("side_chain = [{ from = \"band\" }]", "feeds itself"),
    ] {
        let mut program = Program::new(["play", "rig.toml"]);
        let text = format!(
            "sandrack_rig = 1\n[[track]]\nid = \"drums\"\n[[track]]\nid = \"band\"\nkind = \"bus\"\n\
             [[track]]\nid = \"pad\"\noutput = \"band\"\n[[track.plugin]]\nid = \"duck\"\n\
             plugin = \"x\"\n{line}\n"
        );
        std::fs::write(program.folder().join("rig.toml"), text).unwrap();
        program.command();
        let finished = program.run();
        assert!(!finished.status.success(), "{line}");
        assert!(finished.stderr.contains(wanted), "{line}: {}", finished.stderr);
        assert!(finished.stderr.contains("rig.toml:"), "{line}: {}", finished.stderr);
    }
}
