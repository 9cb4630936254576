//! What plugins ask for while they run is done, and nobody else hears it.

mod common;

use common::offline::{Offline, PATIENT, RATE};
use common::program::send;
use common::system::Signal;
use common::{Noise, becomes_true, hostile, plugin, same, supervisor};
use sandrack_engine::timing::{NodeOutcome, Record};
use sandrack_host::report::Isolation;
use sandrack_host::session::{PluginAt, Session, SessionConfig, SessionEvent};
use sandrack_plugins_test::param_id;
use sandrack_sandbox::format::{ParamEdit, PluginRef, StateContext};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

const FRAMES: usize = 64;
/// The hostile plugins' parameter: the block in which they begin.
const BLOCK: u32 = 0;
const FIRST: PluginAt = PluginAt { track: 0, plugin: 0 };
/// Frames over which one delay turns into another.
const CROSSING: usize = 256;

fn service(offline: &mut Offline) -> Vec<SessionEvent> {
    let running = &mut offline.running;
    running.live.service(&mut offline.session, &mut running.controller).expect("a plan")
}

/// Plays silence until nobody wants anything any more (some ask for a restart right away).
fn settle(offline: &mut Offline) {
    let quiet = Duration::from_millis(300);
    let mut since = Instant::now();
    while since.elapsed() < quiet {
        offline.step(&vec![vec![0.0; FRAMES]; 2], PATIENT);
        if !service(offline).is_empty() || offline.running.live.is_busy() {
            since = Instant::now();
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    offline.heard.iter_mut().for_each(Vec::clear);
    offline.outcomes.clear();
}

/// Plays noise until `enough`.
fn play_until(
    offline: &mut Offline,
    noise: &mut Noise,
    mut enough: impl FnMut(&[SessionEvent]) -> bool,
) -> Vec<SessionEvent> {
    let end = Instant::now() + common::LONG;
    let mut events = Vec::new();
    while !enough(&events) {
        assert!(Instant::now() < end, "it did not come: {events:?}");
        offline.step(&noise.channels(2, FRAMES), PATIENT);
        events.extend(service(offline));
        std::thread::sleep(Duration::from_millis(1));
    }
    events
}

fn play(offline: &mut Offline, noise: &mut Noise, blocks: usize) -> Vec<Vec<f32>> {
    let mut input = vec![Vec::new(); 2];
    for _ in 0..blocks {
        let block = noise.channels(2, FRAMES);
        offline.step(&block, PATIENT);
        input.iter_mut().zip(block).for_each(|(all, block)| all.extend(block));
    }
    input
}

fn restarts(events: &[SessionEvent]) -> usize {
    events.iter().filter(|event| **event == SessionEvent::Restarted(FIRST)).count()
}

/// The last blocks of a track.
fn last(offline: &Offline, track: usize, frames: usize) -> Vec<Vec<f32>> {
    offline.track(track).iter().map(|c| c[c.len() - frames..].to_vec()).collect()
}

fn scaled(input: &[Vec<f32>], factor: f32) -> Vec<Vec<f32>> {
    // What leaves a plugin has no denormals.
    let scrubbed = |x: &f32| if x.is_subnormal() { 0.0 } else { x * factor };
    input.iter().map(|channel| channel.iter().map(scrubbed).collect()).collect()
}

fn near(a: &[Vec<f32>], b: &[Vec<f32>], what: &str) {
    for (a, b) in a.iter().flatten().zip(b.iter().flatten()) {
        assert!((a - b).abs() < 1e-6, "{what}: {a} and {b}");
    }
}

/// An engine that runs without pause on a thread of its own, as under a driver: its input rises by
/// the same step in each frame, so that a delay, a gap or a click is seen at once.
struct Runs {
    stop: Arc<AtomicBool>,
    blocks: Arc<AtomicU64>,
    thread: std::thread::JoinHandle<Vec<Vec<f32>>>,
}

const STEP: f32 = 1.0 / 1024.0;

impl Runs {
    fn start(mut callback: sandrack_host::session::EngineCallback, outputs: usize) -> Self {
        let (stop, blocks) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let (stops, counts) = (Arc::clone(&stop), Arc::clone(&blocks));
        let thread = std::thread::spawn(move || {
            let mut heard = vec![Vec::new(); outputs];
            let mut at = 0;
            while !stops.load(Ordering::Relaxed) {
                let input: Vec<f32> = (at..at + FRAMES).map(|i| i as f32 * STEP).collect();
                at += FRAMES;
                let mut out = vec![vec![f32::NAN; FRAMES]; outputs];
                let mut channels: Vec<&mut [f32]> = out.iter_mut().map(Vec::as_mut_slice).collect();
                callback.process_offline(&[&input, &input], &mut channels, PATIENT);
                heard.iter_mut().zip(out).for_each(|(heard, out)| heard.extend(out));
                counts.fetch_add(1, Ordering::Relaxed);
                std::thread::sleep(Duration::from_micros(300));
            }
            heard
        });
        Self { stop, blocks, thread }
    }

    fn wait(&self, more: u64) {
        let until = self.blocks.load(Ordering::Relaxed) + more;
        let reached = || self.blocks.load(Ordering::Relaxed) >= until;
        assert!(becomes_true(common::LONG, reached), "the engine stands still");
    }

    fn end(self) -> Vec<Vec<f32>> {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("the engine's thread ends")
    }
}

fn latency_changes(isolation: Isolation) {
    let supervisor = supervisor();
    let tracks = vec![vec![plugin("delay")], vec![plugin("gain")]];
    let config = SessionConfig { tracks, isolation, separate: true, ..SessionConfig::default() };
    let mut session = Session::load(&supervisor, &config, &|| {}).unwrap();
    let running = session.connect(RATE, FRAMES as u32, 1, (2, 4)).unwrap();
    let (mut controller, mut live) = (running.controller, running.live);
    let other = running.nodes[1][0].0;
    let runs = Runs::start(running.callback, 4);
    assert_eq!(live.latency(), 64);
    let mut outcomes = Vec::new();
    let delays = [64, 300, 20, 0, 128];
    for delay in delays {
        live.set_param(&mut session, &mut controller, FIRST, param_id("delay"), delay.into())
            .unwrap();
        let end = Instant::now() + common::LONG;
        while live.latency() != delay || live.is_busy() {
            assert!(Instant::now() < end, "stays at {}, not {delay}", live.latency());
            live.service(&mut session, &mut controller).unwrap();
            std::thread::sleep(Duration::from_millis(2));
        }
        // Until the new delay lines are full and have taken over, and a little of that.
        runs.wait(((delay as usize + CROSSING) / FRAMES + 8) as u64);
        while let Ok(record) = controller.timing().pop() {
            if let Record::Node(node) = record {
                outcomes.push((node.node, node.outcome));
            }
        }
    }
    let heard = runs.end();
    let others = outcomes.iter().filter(|(node, _)| *node == other);
    assert!(others.clone().count() > 20);
    for (_, outcome) in others {
        assert_eq!(*outcome, NodeOutcome::Finished, "the other track never stops");
    }
    // In the end both are late by the last delay, to the frame.
    let frames = heard[0].len();
    for channel in &heard {
        let wanted = |at: usize| (at - 128) as f32 * STEP;
        for (at, heard) in channel.iter().enumerate().skip(frames - 128) {
            assert_eq!(*heard, wanted(at), "{} frames from the end", frames - at);
        }
    }
    // Never a gap nor a jump: no step much larger than the input's, whatever the delays.
    let most = STEP * (1.0 + 300.0 / CROSSING as f32 + 0.1);
    for (channel, name) in [(&heard[2], "the other track"), (&heard[0], "the track itself")] {
        // At a fade to or from the fallback the value held before may be a block's rise off.
        let most = if name == "the track itself" { most + 12.0 * STEP } else { most };
        for (at, pair) in channel.windows(2).enumerate().skip(64) {
            let step = (pair[1] - pair[0]).abs();
            assert!(step <= most, "{name}, frame {at}: a step of {} inputs'", step / STEP);
        }
    }
    drop(controller);
    session.quit();
}

#[test]
fn delay_compensation_follows_a_plugin_whose_latency_changes_without_a_gap() {
    latency_changes(Isolation::Plugin);
}

#[test]
fn the_same_in_one_process() {
    latency_changes(Isolation::None);
}

/// A healthy track beside one that begins with `first`, and what both have put out.
fn beside(first: PluginRef, begins: f64, blocks: usize) -> (Offline, Vec<SessionEvent>) {
    let healthy = vec![plugin("compressor"), plugin("delay"), plugin("gain")];
    let chain = vec![first, plugin("gain")];
    let mut offline = Offline::tracks(&[chain, healthy], Isolation::Plugin, FRAMES as u32);
    // So that it does not begin while the session settles.
    offline.set(0, 0, BLOCK, 1_000_000.0);
    settle(&mut offline);
    offline.set(0, 0, BLOCK, begins);
    let mut noise = Noise(3);
    let mut events = Vec::new();
    for _ in 0..blocks {
        offline.step(&noise.channels(2, FRAMES), PATIENT);
        events.extend(service(&mut offline));
        std::thread::sleep(Duration::from_millis(1));
    }
    (offline, events)
}

#[test]
fn a_plugin_that_keeps_asking_for_a_restart_is_heard_by_nobody_else() {
    let (with, events) = beside(hostile("restarts"), 5.0, 400);
    let (without, quiet) = beside(hostile("restarts"), 1e6, 400);
    assert!(restarts(&events) >= 2, "{events:?}");
    assert_eq!(restarts(&quiet), 0, "{quiet:?}");
    same(with.track(1), without.track(1), "the healthy track");
    for plugin in 0..3 {
        let outcomes = &with.outcomes[&with.node(1, plugin)];
        assert!(outcomes.iter().all(|outcome| *outcome == NodeOutcome::Finished));
    }
    assert!(with.heard.iter().flatten().all(|sample| sample.is_finite()));
    let first = &with.outcomes[&with.node(0, 0)];
    assert!(first.contains(&NodeOutcome::Finished) && first.contains(&NodeOutcome::Gone));
    let only = [NodeOutcome::Finished, NodeOutcome::Gone];
    assert!(first.iter().all(|outcome| only.contains(outcome)), "{first:?}");
}

fn tells(isolation: Isolation) {
    let mut offline = Offline::tracks(&[vec![hostile("tells")]], isolation, FRAMES as u32);
    offline.set(0, 0, BLOCK, 10.0);
    let mut noise = Noise(4);
    let events = play_until(&mut offline, &mut noise, |events| events.len() >= 9);
    let edits: Vec<ParamEdit> = events
        .iter()
        .map(|event| match event {
            SessionEvent::ParamEdited(FIRST, BLOCK, edit) => *edit,
            other => panic!("{other:?}"),
        })
        .collect();
    for (number, edits) in edits.chunks_exact(3).enumerate() {
        let value = ParamEdit::Value(10.0 + number as f64);
        assert_eq!(edits, [ParamEdit::Begin, value, ParamEdit::End]);
    }
    assert_eq!(offline.running.controller.lost_plugin_events(), 0);
    assert!(!offline.running.live.is_busy());
}

#[test]
fn what_a_plugin_tells_of_its_parameters_arrives() {
    tells(Isolation::Plugin);
    tells(Isolation::None);
}

#[test]
fn a_plugin_with_other_buses_after_a_restart_plays_on() {
    let (mut offline, events) = beside(hostile("grows"), 5.0, 100);
    assert!(restarts(&events) >= 1, "{events:?}");
    assert_eq!(offline.session.info(0, 0).outputs.len(), 2);
    offline.set(0, 0, BLOCK, 1e6);
    settle(&mut offline);
    let mut noise = Noise(5);
    let input = play(&mut offline, &mut noise, 8);
    let late = last(&offline, 0, 7 * FRAMES);
    let wanted: Vec<Vec<f32>> =
        scaled(&input, 1.0).iter().map(|c| c[..7 * FRAMES].to_vec()).collect();
    near(&late, &wanted, "as late as the other track, 64 frames");
    offline.assert_all_well();
}

#[test]
fn a_dead_plugin_is_replaced_in_the_same_place() {
    let run = |dies: bool| {
        let tracks = [vec![plugin("gain"), plugin("gain")], vec![plugin("compressor")]];
        let mut offline = Offline::tracks(&tracks, Isolation::Plugin, FRAMES as u32);
        settle(&mut offline);
        offline.set(0, 0, param_id("gain"), 0.25);
        let mut noise = Noise(6);
        play(&mut offline, &mut noise, 20);
        if dies {
            send(offline.process_of(0), Signal::KILL);
            assert!(becomes_true(common::LONG, || offline.session.gone_plugin().is_some()));
            assert!(service(&mut offline).contains(&SessionEvent::Gone(FIRST)));
            let worker = offline.supervisor.start_worker("again", None).unwrap();
            let node = worker.load(&plugin("gain")).unwrap();
            let state = node.save_state(StateContext::Project).unwrap();
            node.load_state(state, StateContext::Project).unwrap();
            let (running, session) = (&mut offline.running, &mut offline.session);
            running.live.replace(session, FIRST, node).unwrap();
            let (live, controller) = (&mut running.live, &mut running.controller);
            live.set_param(session, controller, FIRST, param_id("gain"), 0.25).unwrap();
        }
        let mut events = Vec::new();
        for _ in 0..60 {
            play(&mut offline, &mut noise, 1);
            events.extend(service(&mut offline));
        }
        assert_eq!(restarts(&events), usize::from(dies), "{events:?}");
        offline.outcomes.clear();
        let input = play(&mut offline, &mut noise, 4);
        offline.assert_all_well();
        (offline, input)
    };
    let (with, input) = run(true);
    let (without, _) = run(false);
    same(with.track(1), without.track(1), "the other track");
    same(&last(&with, 0, 4 * FRAMES), &last(&without, 0, 4 * FRAMES), "the track itself, again");
    near(&last(&with, 0, 4 * FRAMES), &scaled(&input, 0.25), "as it was set");
}

fn bypass(isolation: Isolation) {
    let tracks = [vec![plugin("gain"), plugin("gain")], vec![plugin("delay")]];
    let mut offline = Offline::tracks(&tracks, isolation, FRAMES as u32);
    settle(&mut offline);
    offline.set(0, 0, param_id("gain"), 0.5);
    let mut noise = Noise(7);
    let mut expect = |offline: &mut Offline, factor: f32, what: &str| {
        // The ramp, and the delay of 64 frames.
        play(offline, &mut noise, 4);
        let input = play(offline, &mut noise, 4);
        let wanted: Vec<Vec<f32>> =
            scaled(&input, factor).iter().map(|c| c[..3 * FRAMES].to_vec()).collect();
        near(&last(offline, 0, 3 * FRAMES), &wanted, what);
    };
    expect(&mut offline, 0.5, "played");
    for (on, factor) in [(true, 1.0), (false, 0.5), (true, 1.0)] {
        let running = &mut offline.running;
        let session = &mut offline.session;
        running.live.set_bypass(session, &mut running.controller, FIRST, on).unwrap();
        expect(&mut offline, factor, if on { "bypassed" } else { "played again" });
    }
    // A new plan, and a new engine, keep to it.
    offline.running.live.restart_plugin(&mut offline.session, FIRST).unwrap();
    play_until(&mut offline, &mut Noise(1), |events| restarts(events) == 1);
    expect(&mut offline, 1.0, "bypassed, in another plan");
    offline.outcomes.clear();
    let live = &mut offline.running.live;
    let again = live.reconfigure(&mut offline.session, 44_100, FRAMES as u32).unwrap();
    offline.running = again;
    expect(&mut offline, 1.0, "bypassed, at another rate");
    let running = &mut offline.running;
    running.live.set_bypass(&mut offline.session, &mut running.controller, FIRST, false).unwrap();
    expect(&mut offline, 0.5, "played, with what was set before");
    offline.assert_all_well();
}

#[test]
fn a_bypassed_plugin_runs_on_and_its_input_is_heard() {
    bypass(Isolation::Plugin);
}

#[test]
fn a_parameter_is_set_checked_and_kept_while_the_plugin_is_out() {
    let mut offline = Offline::tracks(&[vec![plugin("gain")]], Isolation::Plugin, FRAMES as u32);
    let gain = param_id("gain");
    let set = |offline: &mut Offline, at, param, value| {
        let (running, session) = (&mut offline.running, &mut offline.session);
        running.live.set_param(session, &mut running.controller, at, param, value)
    };
    let elsewhere = PluginAt { track: 3, plugin: 0 };
    for (at, param, value, words) in [
        (FIRST, 4711, 0.0, "has no parameter 4711"),
        (FIRST, gain, f64::NAN, "not a number"),
        (elsewhere, gain, 0.5, "track 4 has no plugin 1"),
    ] {
        let error = set(&mut offline, at, param, value).unwrap_err().to_string();
        assert!(error.contains(words), "{error}");
    }
    let mut noise = Noise(8);
    offline.running.live.restart_plugin(&mut offline.session, FIRST).unwrap();
    service(&mut offline);
    // The engine has been told to take it out: from here on the session keeps what is set.
    set(&mut offline, FIRST, gain, 0.25).unwrap();
    let events = play_until(&mut offline, &mut noise, |events| restarts(events) == 1);
    assert_eq!(events.len(), 1, "{events:?}");
    // The plan with it waits for its worker.
    while offline.running.live.is_busy() {
        service(&mut offline);
        play(&mut offline, &mut noise, 1);
    }
    play(&mut offline, &mut noise, 4);
    let input = play(&mut offline, &mut noise, 4);
    near(&last(&offline, 0, 4 * FRAMES), &scaled(&input, 0.25), "set while it was out");
    // Out of range: as far as it goes.
    set(&mut offline, FIRST, gain, 17.0).unwrap();
    let input = play(&mut offline, &mut noise, 4);
    near(&last(&offline, 0, 4 * FRAMES), &scaled(&input, 1.0), "limited");
}
