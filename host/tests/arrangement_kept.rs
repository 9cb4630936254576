//! What a plugin was asked for, whatever takes its place is asked for again: after a crash, a
//! restart, at another rate, and where its crash is replayed.

mod common;

use common::bundle::{Bundle, FORMATS};
use common::offline::PATIENT;
use common::players::{find, played, rig, runs, settle, slot, track};
use common::program::{Program, Signal, send};
use common::{LONG, Noise, example, plugin, same, supervisor};
use sandrack_host::flight::RecorderOptions;
use sandrack_host::flight::file::Flight;
use sandrack_host::play::Player;
use sandrack_host::report::Isolation;
use sandrack_host::session::{
    PluginAt, RecoveryOptions, Running, Session, SessionConfig, SessionEvent,
};
use sandrack_sandbox::format::{Format, PluginRef};
use std::time::{Duration, Instant};

const FRAMES: usize = 64;
const SIX: u32 = 6;
const FIRST: PluginAt = PluginAt { track: 0, plugin: 0 };

/// A plugin of six channels, stepped and served.
struct Stage {
    running: Running,
    session: Session,
    noise: Noise,
    frames: usize,
}

impl Stage {
    fn new(plugin: &PluginRef, isolation: Isolation, recovery: RecoveryOptions) -> Self {
        let tracks = vec![vec![plugin.clone()]];
        let config = SessionConfig { tracks, isolation, ..SessionConfig::default() };
        let mut session = Session::load(&supervisor(), &config, &|| {}).expect("it loads");
        session.fit_all(SIX).expect("it answers");
        let running = session.connect(48_000, FRAMES as u32, 1, (SIX, SIX)).expect("it connects");
        let mut stage = Self { running, session, noise: Noise(3), frames: FRAMES };
        stage.running.live.enable_recovery(&stage.session, recovery);
        stage
    }

    /// A block: what went in, what came out, what happened.
    fn step(&mut self) -> (Vec<Vec<f32>>, Vec<Vec<f32>>, Vec<SessionEvent>) {
        let mut sample = || (self.noise.unit() - 0.5) as f32;
        let input: Vec<Vec<f32>> =
            (0..SIX).map(|_| (0..self.frames).map(|_| sample()).collect()).collect();
        let mut out = vec![vec![f32::NAN; self.frames]; SIX as usize];
        let inputs: Vec<&[f32]> = input.iter().map(Vec::as_slice).collect();
        let mut outputs: Vec<&mut [f32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
        self.running.callback.process_offline(&inputs, &mut outputs, PATIENT);
        let (running, session) = (&mut self.running, &mut self.session);
        let events = running.live.service(session, &mut running.controller).expect("a plan");
        std::thread::sleep(Duration::from_millis(1));
        (input, out, events)
    }

    #[track_caller]
    fn play_until(&mut self, what: &str, so: impl Fn(&SessionEvent) -> bool) {
        let end = Instant::now() + LONG;
        while !self.step().2.iter().any(&so) {
            assert!(Instant::now() < end, "not {what}");
        }
    }

    /// That it has six channels, and they are heard as it makes them.
    #[track_caller]
    fn is_six(&mut self, what: &str) {
        let count = |ports: &[sandrack_sandbox::format::AudioPort]| ports[0].channels;
        let info = self.session.info(0, 0);
        assert_eq!((count(&info.inputs), count(&info.outputs)), (SIX, SIX), "{what}");
        // Behind every ramp.
        (0..100).for_each(|_| drop(self.step()));
        let (input, out, _) = self.step();
        let half = |channel: &Vec<f32>| channel.iter().map(|x| x * 0.5).collect();
        same(&out, &input.iter().map(half).collect::<Vec<Vec<f32>>>(), what);
    }

    fn quit(self) {
        drop(self.running);
        self.session.quit();
    }
}

fn halving(bundle: &Bundle) -> Vec<PluginRef> {
    let mut all: Vec<PluginRef> = FORMATS.map(|format| bundle.of(format, "gain")).into();
    let any = Some("org.sandrack.layouts.any".into());
    all.push(PluginRef { path: example("layouts"), id: any });
    all
}

fn halve(stage: &mut Stage, plugin: &PluginRef) {
    let params = &stage.session.info(0, 0).params;
    let Some(gain) = params.iter().find(|param| param.name == "gain").map(|param| param.id) else {
        // It halves by itself.
        assert!(plugin.to_string().contains("layouts"));
        return;
    };
    let (running, session) = (&mut stage.running, &mut stage.session);
    let controller = &mut running.controller;
    running.live.set_param(session, controller, FIRST, gain, 0.5).expect("it can be set");
}

#[test]
fn a_plugin_that_was_killed_comes_back_with_its_channels() {
    let bundle = Bundle::new();
    for plugin in halving(&bundle) {
        let mut stage = Stage::new(&plugin, Isolation::Plugin, RecoveryOptions::default());
        halve(&mut stage, &plugin);
        stage.is_six(&format!("{plugin} at first"));
        send(stage.session.workers()[0].id(), Signal::KILL);
        stage.play_until("back", |event| matches!(event, SessionEvent::Recovered { .. }));
        stage.is_six(&format!("{plugin} after its crash"));
        stage.quit();
    }
}

#[test]
fn a_plugin_that_is_activated_anew_keeps_its_channels() {
    let bundle = Bundle::new();
    for plugin in halving(&bundle) {
        for isolation in [Isolation::Plugin, Isolation::None] {
            let mut stage = Stage::new(&plugin, isolation, RecoveryOptions::default());
            halve(&mut stage, &plugin);
            stage.running.live.restart_plugin(&mut stage.session, FIRST).expect("it is there");
            stage.play_until("restarted", |event| matches!(event, SessionEvent::Restarted(_)));
            stage.is_six(&format!("{plugin} restarted"));
            let Stage { running, mut session, noise, .. } = stage;
            let Running { callback, mut live, .. } = running;
            drop(callback);
            let running = live.reconfigure(&mut session, 44_100, 100).expect("it connects again");
            let mut stage = Stage { running, session, noise, frames: 100 };
            stage.is_six(&format!("{plugin} at another rate"));
            stage.quit();
        }
    }
}

#[test]
fn another_instance_in_its_place_is_asked_as_well() {
    let gain = plugin("gain");
    let mut stage = Stage::new(&gain, Isolation::Plugin, RecoveryOptions::default());
    halve(&mut stage, &gain);
    stage.is_six("at first");
    let node = stage.session.node(0, 0).expect("in a worker");
    let state = node.save_state(sandrack_sandbox::format::StateContext::Project).expect("a state");
    let newer = node.worker().load(&gain).expect("it loads");
    assert_eq!(newer.info().inputs[0].channels, 2);
    newer.load_state(state, sandrack_sandbox::format::StateContext::Project).expect("it takes it");
    let (running, session) = (&mut stage.running, &mut stage.session);
    running.live.replace(session, FIRST, newer).expect("it is activated");
    stage.play_until("replaced", |event| matches!(event, SessionEvent::Restarted(_)));
    stage.is_six("another instance");
    stage.quit();
}

#[test]
fn a_crash_with_six_channels_is_replayed_with_six() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let recorder = RecorderOptions {
        seconds: 5.0,
        folder: Some(folder.path().into()),
        ..RecorderOptions::default()
    };
    let options = RecoveryOptions { recorder: Some(recorder), ..RecoveryOptions::default() };
    let path = example("hostile_vst3");
    let segfault = PluginRef { path, id: Some("Hostile segfault".into()) };
    let mut stage = Stage::new(&segfault, Isolation::Plugin, options);
    let file = std::cell::RefCell::new(None);
    stage.play_until("recorded", |event| match event {
        SessionEvent::CrashFile { path, .. } => file.replace(Some(path.clone())).is_none(),
        _ => false,
    });
    stage.quit();
    let file = file.into_inner().expect("just seen");
    let head = Flight::read(&file).expect("it can be read").head;
    assert_eq!((head.activation.main_channels, head.inputs.as_slice()), (SIX, &[SIX][..]));
    let shown = file.to_str().expect("a plain name");
    let again = Program::new(["--no-realtime", "--timeout", "60", "replay", shown, "--json"]).run();
    again.assert_success();
    let again: serde_json::Value = serde_json::from_str(&again.stdout).expect("JSON");
    assert_eq!((&again["reproduced"], &again["same_block"]), (&true.into(), &true.into()));
}

#[test]
fn what_is_mono_first_is_stereo_on_a_track_and_stays_so_whatever_takes_its_place() {
    // Copies, of which the files can change.
    let folder = tempfile::tempdir().unwrap();
    let copy = |name: &str, id: &str| {
        let (from, to) = (example(name), folder.path().join(name));
        std::fs::copy(from, &to).unwrap();
        PluginRef { path: to, id: Some(id.into()) }
    };
    let clap = copy("layouts", "org.sandrack.layouts.listed");
    let vst3 = copy("hostile_vst3", "Odd mono-first");
    let mut both = track("both", &[]);
    both.input = vec![1, 2];
    both.plugins = vec![slot("clap", &clap), slot("vst3", &vst3)];
    both.plugins[1].format = Format::Vst3;
    // Of which the mean is silence.
    let mut noise = Noise(9);
    let left: Vec<f32> = (0..64 * 12_000).map(|_| (noise.unit() - 0.5) as f32).collect();
    let input = [left.clone(), left.iter().map(|sample| -sample).collect()];
    let replaced = |player: &Player, replace: &dyn Fn(u32, &PluginRef)| {
        player.run_blocks(50).expect("it is driven by hand");
        for (id, plugin) in [("clap", &clap), ("vst3", &vst3)] {
            let process = |player: &Player| find(&player.view(), id).process;
            let before = process(player).expect("it has a process");
            replace(before, plugin);
            let end = Instant::now() + LONG;
            while !(runs(&player.view(), id) && process(player).is_some_and(|id| id != before)) {
                assert!(Instant::now() < end, "{id} is not back: {:?}", player.view().messages);
                player.run_blocks(2).expect("it is driven by hand");
                std::thread::sleep(Duration::from_millis(2));
            }
        }
        settle(player);
    };
    let crashed = |player: &Player| replaced(player, &|process, _| send(process, Signal::KILL));
    // As installers do it: another file in the place of the old one.
    let install = |_: u32, plugin: &PluginRef| {
        let new = folder.path().join("new");
        std::fs::copy(&plugin.path, &new).unwrap();
        std::fs::rename(&new, &plugin.path).unwrap();
    };
    let installed = |player: &Player| replaced(player, &install);
    type Edit<'a> = &'a dyn Fn(&Player);
    let ways: [(&str, Edit<'_>); 3] = [
        ("at first", &|_: &Player| {}),
        ("after a crash", &crashed),
        ("after its file changed", &installed),
    ];
    for (what, edit) in ways {
        let out = played(rig(vec![both.clone()]), &input, edit);
        let end = out[0].len() - 1000..out[0].len();
        for (out, given) in out.iter().zip(&input) {
            let half: Vec<f32> = given[end.clone()].iter().map(|sample| sample * 0.5).collect();
            same(&[out[end.clone()].to_vec()], &[half], what);
        }
    }
}
