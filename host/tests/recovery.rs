//! A plugin that crashes or hangs comes back as it was, in its place, and nobody else hears it.

mod common;

use common::offline::{Offline, PATIENT};
use common::program::send;
use common::system::{
    ABORT_CODE, KILLED, KILLED_CODE, SEGFAULT, SEGFAULT_CODE, Signal, children_of,
};
use common::{LONG, Noise, becomes_true, hostile, plugin, same};
use sandrack_engine::timing::NodeOutcome;
use sandrack_host::faults::FaultKind;
use sandrack_host::report::Isolation;
use sandrack_host::session::{PluginAt, RecoveryOptions, SessionEvent};
use sandrack_plugins_test::param_id;
use sandrack_sandbox::format::PluginRef;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

const FRAMES: usize = 64;
/// The hostile plugins' parameter: the block in which they strike.
const BLOCK: u32 = 0;
const NEVER: f64 = 1e6;
/// Long enough for a healthy plugin on a busy machine, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(400);
const FIRST: PluginAt = PluginAt { track: 0, plugin: 0 };

/// A session that is stepped and served.
struct Stage {
    offline: Offline,
    noise: Noise,
    events: Vec<SessionEvent>,
    blocks: usize,
    /// All processes that there have been.
    processes: BTreeSet<u32>,
    /// The longest time that serving has taken.
    longest: Duration,
}

impl Stage {
    fn new(tracks: &[Vec<PluginRef>], isolation: Isolation) -> Self {
        Self::with(tracks, isolation, RecoveryOptions::default())
    }

    fn with(tracks: &[Vec<PluginRef>], isolation: Isolation, options: RecoveryOptions) -> Self {
        let mut offline = Offline::tracks(tracks, isolation, FRAMES as u32);
        settle(&mut offline);
        let (running, session) = (&mut offline.running, &offline.session);
        running.live.enable_recovery(session, options);
        let (events, processes) = (Vec::new(), BTreeSet::new());
        let longest = Duration::ZERO;
        Self { offline, noise: Noise(21), events, blocks: 0, processes, longest }
    }

    fn step(&mut self) {
        let input = self.noise.channels(2, FRAMES);
        self.offline.step(&input, if self.blocks == 0 { PATIENT } else { SHORT });
        self.blocks += 1;
        let (running, session) = (&mut self.offline.running, &mut self.offline.session);
        let start = Instant::now();
        let events = running.live.service(session, &mut running.controller).expect("a plan");
        self.longest = self.longest.max(start.elapsed());
        self.events.extend(events);
        self.processes.extend(self.offline.session.workers().iter().map(|worker| worker.id()));
        std::thread::sleep(Duration::from_millis(1));
    }

    fn play(&mut self, blocks: usize) {
        (0..blocks).for_each(|_| self.step());
    }

    #[track_caller]
    fn play_until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + LONG;
        while !so(self) {
            assert!(Instant::now() < end, "not {what}: {:?}", self.events);
            self.step();
        }
    }

    /// Long enough for whatever was changed to be saved.
    fn rest(&mut self) {
        let end = Instant::now() + Duration::from_millis(1500);
        while Instant::now() < end {
            self.step();
        }
    }

    fn set(&mut self, at: PluginAt, param: u32, value: f64) {
        let (running, session) = (&mut self.offline.running, &mut self.offline.session);
        running
            .live
            .set_param(session, &mut running.controller, at, param, value)
            .expect("it can be set");
    }

    fn recovered(&self) -> usize {
        let recovered = |event: &&SessionEvent| matches!(event, SessionEvent::Recovered { .. });
        self.events.iter().filter(recovered).count()
    }

    fn print_times(&self, what: &str) {
        for event in &self.events {
            if let SessionEvent::Recovered { at, ms } = event {
                println!("{what}: track {}, plugin {}: {ms:.1} ms", at.track, at.plugin);
            }
        }
    }

    fn value(&mut self, at: PluginAt, param: u32) -> f64 {
        let info = self.offline.session.refresh_info(at.track, at.plugin).expect("it answers");
        info.params.iter().find(|known| known.id == param).expect("it has it").value
    }

    /// Ends everything; no process may be left.
    fn end(self) -> Offline {
        let Self { mut offline, processes, .. } = self;
        for worker in offline.session.workers() {
            worker.quit();
        }
        // With it, whatever is under way.
        let session = std::mem::replace(
            &mut offline.session,
            Offline::tracks(&[vec![plugin("gain")]], Isolation::None, FRAMES as u32).session,
        );
        session.quit();
        let left = || {
            let all = children_of(std::process::id());
            processes.iter().filter(|id| all.contains(id)).count()
        };
        assert!(becomes_true(LONG, || left() == 0), "{} processes are left", left());
        offline
    }
}

/// Lets the plugins do what they want to do when they begin, which takes some blocks: how many is
/// not the same in each run.
fn settle(offline: &mut Offline) {
    let silence = vec![vec![0.0; FRAMES]; 2];
    let mut quiet = 0;
    while quiet < 8 {
        offline.step(&silence, PATIENT);
        for worker in offline.session.workers() {
            worker.sync().expect("it answers");
        }
        let (running, session) = (&mut offline.running, &mut offline.session);
        let events = running.live.service(session, &mut running.controller).expect("a plan");
        let is_quiet = events.is_empty() && !running.live.is_busy();
        quiet = if is_quiet { quiet + 1 } else { 0 };
        std::thread::sleep(Duration::from_millis(1));
    }
    offline.heard.iter_mut().for_each(Vec::clear);
    offline.outcomes.clear();
}

fn healthy() -> Vec<PluginRef> {
    vec![plugin("compressor"), plugin("delay"), plugin("gain")]
}

/// What a healthy track puts out beside one to which nothing happens.
fn undisturbed(first: Vec<PluginRef>, blocks: usize) -> Offline {
    let mut stage = Stage::new(&[first, healthy()], Isolation::Plugin);
    stage.set(FIRST, BLOCK, NEVER);
    stage.play(blocks);
    assert_eq!(stage.recovered(), 0, "{:?}", stage.events);
    stage.end()
}

/// A plugin strikes once, comes back, and nobody else hears of it.
#[track_caller]
fn comes_back(what: &str, kind: impl Fn(FaultKind) -> bool) {
    let chain = vec![hostile(what), plugin("gain")];
    let mut stage = Stage::new(&[chain.clone(), healthy()], Isolation::Plugin);
    stage.set(FIRST, BLOCK, NEVER);
    stage.rest();
    let before = stage.offline.process_of(0);
    // Past the session, which would have it strike again and again.
    stage.offline.set(0, 0, BLOCK, 3.0);
    stage.play_until("back", |stage| stage.recovered() == 1);
    stage.print_times(what);
    assert_ne!(stage.offline.process_of(0), before);
    assert_eq!(stage.value(FIRST, BLOCK), NEVER, "its parameter");
    stage.play(8);
    stage.offline.outcomes.clear();
    stage.play(20);
    stage.offline.assert_all_well();
    let kinds: Vec<FaultKind> =
        stage.offline.running.live.faults().iter().map(|r| r.kind).collect();
    assert!(kinds.iter().any(|k| kind(*k)), "{what}: {kinds:?}");
    assert!(matches!(kinds.last(), Some(FaultKind::Restarted { .. })), "{what}: {kinds:?}");
    let blocks = stage.blocks;
    let with = stage.end();
    same(with.track(1), undisturbed(chain, blocks).track(1), &format!("{what}: the healthy track"));
    assert!(with.heard.iter().flatten().all(|sample| sample.is_finite()));
}

#[test]
fn a_plugin_that_crashes_comes_back() {
    comes_back("segfault", |kind| {
        kind == FaultKind::Dead { signal: Some(SEGFAULT_CODE), code: None }
    });
}

#[test]
fn a_plugin_that_aborts_comes_back() {
    comes_back("abort", |kind| kind == FaultKind::Dead { signal: Some(ABORT_CODE), code: None });
}

#[test]
fn a_plugin_that_exits_comes_back() {
    comes_back("exit", |kind| kind == FaultKind::Dead { signal: None, code: Some(0) });
}

#[test]
fn a_plugin_that_spins_is_killed_and_comes_back() {
    comes_back("hang", |kind| kind == FaultKind::Killed);
}

#[test]
fn a_plugin_that_sleeps_is_killed_and_comes_back() {
    comes_back("sleep", |kind| kind == FaultKind::Killed);
}

#[test]
fn a_plugin_that_stops_its_process_is_killed_and_comes_back() {
    comes_back("stop", |kind| kind == FaultKind::Killed);
}

/// On Linux the host sees what it wrote; elsewhere it hangs.
#[test]
fn a_plugin_that_writes_rubbish_to_descriptors_is_killed_and_comes_back() {
    comes_back("writes-descriptors", |kind| kind == FaultKind::Killed);
    comes_back("sends-descriptors", |kind| kind == FaultKind::Killed);
}

#[test]
fn a_plugin_that_is_late_once_is_not_killed() {
    let mut stage = Stage::new(&[vec![hostile("late")]], Isolation::Plugin);
    stage.set(FIRST, BLOCK, 5.0);
    stage.play(300);
    assert_eq!(stage.events.iter().filter(|event| is_fault(event)).count(), 0);
    stage.end();
}

fn is_fault(event: &SessionEvent) -> bool {
    matches!(
        event,
        SessionEvent::Died { .. }
            | SessionEvent::Killed { .. }
            | SessionEvent::Recovered { .. }
            | SessionEvent::Quarantined { .. }
    )
}

#[test]
fn state_and_newer_parameters_are_there_again() {
    let gain = param_id("gain");
    let tracks = [vec![plugin("gain"), plugin("gain")], vec![plugin("gain")]];
    let mut stage = Stage::new(&tracks, Isolation::Plugin);
    let second = PluginAt { track: 0, plugin: 1 };
    stage.set(FIRST, gain, 0.25);
    stage.set(second, gain, 0.5);
    stage.rest();
    for (round, signal) in [Signal::KILL, Signal::ABORT, Signal::STOP].into_iter().enumerate() {
        let newer = 0.75 - round as f64 / 8.0;
        stage.set(FIRST, gain, newer);
        stage.play(2);
        send(stage.offline.process_of(0), signal);
        stage.play_until("back", |stage| stage.recovered() == round + 1);
        assert_eq!(stage.value(FIRST, gain), newer, "after {signal:?}");
        assert_eq!(stage.value(second, gain), 0.5);
    }
    stage.print_times("gain");
    // What is set while it is away, too.
    send(stage.offline.process_of(0), Signal::KILL);
    stage
        .play_until("dead", |stage| matches!(stage.events.last(), Some(SessionEvent::Died { .. })));
    stage.set(FIRST, gain, 0.0625);
    stage.play_until("back", |stage| stage.recovered() == 4);
    stage.play(8);
    assert_eq!(stage.value(FIRST, gain), 0.0625);
    let faults: Vec<_> = stage.offline.running.live.faults().iter().cloned().collect();
    let dead = faults.iter().find(|fault| matches!(fault.kind, FaultKind::Dead { .. }));
    let json = serde_json::to_value(dead.expect("a death")).unwrap();
    assert_eq!((&json["kind"], &json["signal"]), (&"dead".into(), &KILLED_CODE.into()), "{json}");
    assert!(json["cause"].as_str().is_some_and(|cause| cause.contains(KILLED)), "{json}");
    stage.end();
}

#[test]
fn a_plugin_that_crashes_again_and_again_is_left_alone_until_it_is_tried_again() {
    let chain = vec![hostile("segfault"), plugin("gain")];
    let mut stage = Stage::new(&[chain.clone(), healthy()], Isolation::Plugin);
    stage.set(FIRST, BLOCK, 5.0);
    let quarantined = |stage: &Stage| {
        stage.events.iter().any(|event| matches!(event, SessionEvent::Quarantined { .. }))
    };
    stage.play_until("in quarantine", quarantined);
    let Some(SessionEvent::Quarantined { at, reason }) = stage.events.last() else {
        panic!("{:?}", stage.events);
    };
    assert_eq!(*at, FIRST);
    assert!(reason.contains("5 faults") && reason.contains(SEGFAULT), "{reason}");
    let died = |event: &&SessionEvent| matches!(event, SessionEvent::Died { .. });
    assert_eq!(stage.events.iter().filter(died).count(), 5, "{:?}", stage.events);
    // Left alone: its dry signal is heard, nothing is under way.
    stage.events.clear();
    stage.play(100);
    assert!(stage.events.is_empty(), "{:?}", stage.events);
    assert!(!stage.offline.running.live.is_busy());
    assert_eq!(stage.offline.last_outcome(0, 0), NodeOutcome::Gone);
    // With the cause out of the way.
    stage.set(FIRST, BLOCK, NEVER);
    stage.offline.running.live.retry(&stage.offline.session, FIRST).unwrap();
    stage.play_until("back", |stage| stage.recovered() == 1);
    let error = stage.offline.running.live.retry(&stage.offline.session, FIRST).unwrap_err();
    assert!(error.to_string().contains("not in quarantine"), "{error}");
    stage.play(200);
    assert_eq!(stage.events.iter().filter(|event| is_fault(event)).count(), 1);
    assert_eq!(stage.offline.last_outcome(0, 0), NodeOutcome::Finished);
    let blocks = stage.blocks;
    let with = stage.end();
    same(with.track(1), undisturbed(chain, blocks).track(1), "the healthy track");
}

#[test]
fn plugins_that_share_a_process_come_back_together() {
    let gain = param_id("gain");
    let tracks = [vec![plugin("gain"), plugin("gain")], vec![plugin("gain")]];
    let mut stage = Stage::new(&tracks, Isolation::Group);
    let all = [(0, 0, 0.25), (0, 1, 0.5), (1, 0, 0.75)];
    let all = all.map(|(track, plugin, value)| (PluginAt { track, plugin }, value));
    for (at, value) in all {
        stage.set(at, gain, value);
    }
    stage.rest();
    send(stage.offline.process_of(0), Signal::ABORT);
    stage.play_until("back", |stage| stage.recovered() == 3);
    assert_eq!(stage.offline.session.workers().len(), 1);
    for (at, value) in all {
        assert_eq!(stage.value(at, gain), value);
    }
    stage.play(8);
    stage.offline.outcomes.clear();
    stage.play(20);
    stage.offline.assert_all_well();
    stage.print_times("group");
    stage.end();
}

/// It may write to the doorbell of the one behind it, whose marks then are rubbish.
#[test]
fn a_plugin_behind_one_that_scribbled_runs_again() {
    let mut stage = Stage::new(&[vec![hostile("scribble"), plugin("gain")]], Isolation::Plugin);
    stage.set(FIRST, BLOCK, NEVER);
    stage.rest();
    stage.offline.set(0, 0, BLOCK, 3.0);
    stage.play(20);
    send(stage.offline.process_of(0), Signal::KILL);
    stage.play_until("back", |stage| stage.recovered() == 1);
    stage.play(8);
    stage.offline.outcomes.clear();
    stage.play(20);
    stage.offline.assert_all_well();
    stage.end();
}

/// It may write to the host's doorbell, which all workers map anew in each plan.
#[test]
fn a_plugin_that_scribbles_does_not_keep_others_from_coming_back() {
    let tracks = [vec![hostile("scribble")], vec![plugin("gain")]];
    let mut stage = Stage::new(&tracks, Isolation::Plugin);
    stage.set(FIRST, BLOCK, 5.0);
    stage.play(100);
    send(stage.offline.process_of(1), Signal::KILL);
    let second = PluginAt { track: 1, plugin: 0 };
    let is_back =
        |event: &SessionEvent| matches!(event, SessionEvent::Recovered { at, .. } if *at == second);
    stage.play_until("back", |stage| stage.events.iter().any(is_back));
    let killed = |event: &&SessionEvent| matches!(event, SessionEvent::Killed { .. });
    assert_eq!(stage.events.iter().filter(killed).count(), 0, "{:?}", stage.events);
    stage.end();
}

/// The first plugin's main thread hangs: the second is killed, and is back before any request ends.
fn comes_back_beside_a_main_thread_that_hangs(stage: &mut Stage) {
    stage.longest = Duration::ZERO;
    send(stage.offline.process_of(1), Signal::KILL);
    let second = PluginAt { track: 1, plugin: 0 };
    let is_back =
        |event: &SessionEvent| matches!(event, SessionEvent::Recovered { at, .. } if *at == second);
    stage.play_until("back", |stage| stage.events.iter().any(is_back));
    // A request may take 30 s here: nobody has waited for one.
    assert!(stage.longest < Duration::from_secs(30) / 4, "{:?}", stage.longest);
    let killed = |event: &SessionEvent| matches!(event, SessionEvent::Killed { .. });
    assert!(!stage.events.iter().any(killed), "{:?}", stage.events);
    stage.print_times("beside a main thread that hangs");
}

#[test]
fn a_main_thread_that_hangs_holds_up_nobody() {
    let tracks = [vec![hostile("state-save-hangs")], vec![plugin("gain")]];
    let mut stage = Stage::new(&tracks, Isolation::Plugin);
    stage.set(FIRST, BLOCK, 0.0);
    // Its state has been asked for by now, and it hangs.
    stage.play(50);
    comes_back_beside_a_main_thread_that_hangs(&mut stage);
    // The plugin that hangs is heard on.
    stage.offline.outcomes.clear();
    stage.play(20);
    stage.offline.assert_all_well();
    stage.offline.session.workers().iter().for_each(|worker| worker.end_now());
    stage.end();
}

#[test]
fn a_plugin_that_hangs_while_it_is_activated_anew_holds_up_nobody() {
    let tracks = [vec![hostile("deactivate-hangs")], vec![plugin("gain")]];
    let mut stage = Stage::new(&tracks, Isolation::Plugin);
    stage.play(50);
    let Offline { running, session, .. } = &mut stage.offline;
    running.live.restart_plugin(session, FIRST).expect("it runs");
    // It is out, and hangs.
    stage.play(50);
    comes_back_beside_a_main_thread_that_hangs(&mut stage);
    assert!(stage.offline.running.live.is_busy(), "it still hangs");
    // Once it is ended it comes back as any other.
    stage.offline.session.workers()[0].end_now();
    let is_back =
        |event: &SessionEvent| matches!(event, SessionEvent::Recovered { at, .. } if *at == FIRST);
    stage.play_until("back", |stage| stage.events.iter().any(is_back));
    stage.rest();
    stage.offline.outcomes.clear();
    stage.play(20);
    stage.offline.assert_all_well();
    stage.offline.session.workers().iter().for_each(|worker| worker.end_now());
    stage.end();
}

/// What it writes to shared memory says that something goes on, or that nothing is to be waited for.
#[test]
fn a_plugin_that_sleeps_behind_false_marks_comes_back() {
    for what in ["rings-host", "scribbles-asleep"] {
        let tracks = [vec![hostile(what), plugin("gain")], vec![plugin("gain")]];
        let mut stage = Stage::new(&tracks, Isolation::Plugin);
        stage.set(FIRST, BLOCK, 20.0);
        stage.play(10);
        let before = stage.offline.process_of(0);
        stage.play_until("back", |stage| stage.recovered() >= 1);
        assert_ne!(stage.offline.process_of(0), before, "{what}");
        let killed =
            |event: &SessionEvent| matches!(event, SessionEvent::Killed { at, .. } if *at == FIRST);
        assert!(stage.events.iter().any(killed), "{what}: {:?}", stage.events);
        stage.print_times(what);
        stage.end();
    }
}
