//! A plugin that crashes, hangs, stops or lies costs its own chain, for a moment, and nobody else.

mod common;

use common::offline::{Offline, PATIENT, RATE};
use common::program::send;
use common::system::{KILLED, Signal, is_stopped};
use common::{Noise, becomes_true, hostile, is_silent, plugin, same, supervisor_with};
use sandrack_engine::event::{Event, EventKind, NoteAddress};
use sandrack_engine::timing::NodeOutcome;
use sandrack_host::drivers::virtual_driver::VirtualDriver;
use sandrack_host::drivers::{Callback, CallbackIo, CallbackTime, Driver, DriverConfig};
use sandrack_host::report::Isolation;
use sandrack_host::session::{EngineCallback, Session, SessionConfig, realtime_setup};
use sandrack_host::wav::{SampleFormat, WavWriter};
use sandrack_sandbox::format::PluginRef;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Also the latency of the healthy track, for which the other is compensated: what is processed in
/// a block is heard in the next.
const FRAMES: usize = 64;
/// The block in which the fault strikes.
const STRIKES: usize = 12;
const BLOCKS: usize = 48;
/// The hostile plugins' parameter: the block in which they strike.
const BLOCK: u32 = 0;
/// Long enough for a healthy plugin on a busy machine, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(400);

/// What is heard of the two tracks, and what came in.
struct Heard {
    input: Vec<Vec<f32>>,
    bad: Vec<Vec<f32>>,
    healthy: Vec<Vec<f32>>,
    outcomes: Vec<NodeOutcome>,
    latency: usize,
}

impl Heard {
    /// What was heard of these blocks, one block later.
    fn part(channels: &[Vec<f32>], blocks: Range<usize>) -> Vec<Vec<f32>> {
        let range = (blocks.start + 1) * FRAMES..(blocks.end + 1) * FRAMES;
        channels.iter().map(|channel| channel[range.clone()].to_vec()).collect()
    }

    fn bad(&self, blocks: Range<usize>) -> Vec<Vec<f32>> {
        Self::part(&self.bad, blocks)
    }

    /// The input, times a factor, as late as the session.
    fn dry(&self, blocks: Range<usize>, factor: f32) -> Vec<Vec<f32>> {
        let late: Vec<Vec<f32>> = self
            .input
            .iter()
            .map(|x| {
                let late = std::iter::repeat_n(0.0, self.latency);
                late.chain(x.iter().map(|x| x * factor)).take(x.len()).collect()
            })
            .collect();
        Self::part(&late, blocks)
    }

    fn is_finite(&self) -> bool {
        self.bad.iter().chain(&self.healthy).flatten().all(|sample| sample.is_finite())
    }
}

/// Two tracks: the first begins with `first`, which is told to strike in block `strikes`; the
/// second is healthy, and has a latency to be compensated. `before` each block: what else happens.
fn play(
    first: &[PluginRef],
    strikes: usize,
    isolation: Isolation,
    mut before: impl FnMut(usize, &mut Offline),
) -> Heard {
    let healthy = vec![plugin("compressor"), plugin("delay"), plugin("gain")];
    let mut offline = Offline::tracks(&[first.to_vec(), healthy], isolation, FRAMES as u32);
    offline.set(0, 0, BLOCK, strikes as f64);
    let gain = sandrack_plugins_test::param_id("gain");
    let mut noise = Noise(11);
    let mut input = vec![Vec::new(); 2];
    for block in 0..=BLOCKS {
        before(block, &mut offline);
        let kind =
            EventKind::ParamValue { param: gain, note: NoteAddress::ALL, value: noise.unit() };
        offline.send(1, 2, Event { time: noise.below(FRAMES as u32), kind });
        let samples: Vec<Vec<f32>> =
            (0..2).map(|_| (0..FRAMES).map(|_| noise.unit() as f32 - 0.5).collect()).collect();
        offline.step(&samples, if block == 0 { PATIENT } else { SHORT });
        input.iter_mut().zip(samples).for_each(|(all, block)| all.extend(block));
    }
    let outcomes = offline.outcomes[&offline.node(0, 0)].clone();
    Heard {
        input,
        bad: offline.track(0).to_vec(),
        healthy: offline.track(1).to_vec(),
        outcomes,
        latency: offline.running.latency as usize,
    }
}

fn never() -> usize {
    1_000_000
}

/// Plays with the fault and without. The other track must not differ in a bit, nor this one
/// before the fault.
#[track_caller]
fn with_and_without(what: &str, chain: &[PluginRef]) -> (Heard, Heard) {
    let with = play(chain, STRIKES, Isolation::Plugin, |_, _| {});
    let without = play(chain, never(), Isolation::Plugin, |_, _| {});
    assert!(without.outcomes.iter().all(|o| *o == NodeOutcome::Finished), "{what}");
    same(&with.healthy, &without.healthy, &format!("{what}: the healthy track"));
    assert!(!is_silent(&with.healthy), "{what}");
    assert!(with.is_finite(), "{what}");
    same(&with.bad(0..STRIKES), &without.bad(0..STRIKES), &format!("{what}: before the fault"));
    (with, without)
}

/// A plugin that is lost for good: its dry signal goes on, through the rest of its chain, from the
/// block after the one that is lost; that one block may hold the way there and back.
#[track_caller]
fn goes_dry(what: &str) {
    // The plugin passes on what comes in: dry, its chain sounds as before.
    let (with, without) = with_and_without(what, &[hostile(what)]);
    assert_ne!(with.outcomes[STRIKES], NodeOutcome::Finished, "{what} did nothing");
    assert!(!with.outcomes[STRIKES + 1..].contains(&NodeOutcome::Finished), "{what} came back");
    same(&with.bad(STRIKES + 1..BLOCKS), &without.bad(STRIKES + 1..BLOCKS), what);
    same(&with.bad(STRIKES + 1..BLOCKS), &with.dry(STRIKES + 1..BLOCKS, 1.0), what);

    // What comes behind it in its chain is heard again after one block more.
    let (with, without) = with_and_without(what, &[hostile(what), plugin("mono"), plugin("split")]);
    same(&with.bad(STRIKES + 2..BLOCKS), &without.bad(STRIKES + 2..BLOCKS), what);
    assert!(!is_silent(&with.bad(STRIKES + 2..BLOCKS)), "{what}");
}

#[test]
fn a_plugin_that_crashes_costs_one_block_of_its_own_chain() {
    goes_dry("segfault");
}

#[test]
fn a_plugin_that_aborts_costs_one_block_of_its_own_chain() {
    goes_dry("abort");
}

#[test]
fn a_plugin_that_exits_costs_one_block_of_its_own_chain() {
    goes_dry("exit");
}

#[test]
fn a_plugin_that_spins_costs_one_block_of_its_own_chain() {
    goes_dry("hang");
}

#[test]
fn a_plugin_that_sleeps_costs_one_block_of_its_own_chain() {
    goes_dry("sleep");
}

#[test]
fn a_plugin_whose_process_is_stopped_costs_one_block_of_its_own_chain() {
    goes_dry("stop");
}

#[test]
fn a_worker_that_is_killed_costs_one_block_of_its_own_chain() {
    let gain = sandrack_plugins_test::param_id("gain");
    let chain = [plugin("gain")];
    let half = |block, offline: &mut Offline| {
        if block == 0 {
            offline.set(0, 0, gain, 0.5);
        }
    };
    let kill = |block, offline: &mut Offline| {
        half(block, offline);
        if block == STRIKES {
            send(offline.process_of(0), Signal::KILL);
        }
    };
    let with = play(&chain, never(), Isolation::Plugin, kill);
    let without = play(&chain, never(), Isolation::Plugin, half);
    same(&with.healthy, &without.healthy, "the healthy track");
    same(&with.bad(0..STRIKES), &with.dry(0..STRIKES, 0.5), "before");
    // Whether the block in question ran once more is a race.
    let after = STRIKES + 2..BLOCKS;
    same(&with.bad(after.clone()), &with.dry(after, 1.0), "the dry signal");
    assert!(with.is_finite());
    assert_eq!(with.outcomes[STRIKES + 1], NodeOutcome::Gone);
}

#[test]
fn a_killed_worker_with_latency_is_replaced_by_as_late_a_dry_signal() {
    let kill = |block, offline: &mut Offline| {
        if block == STRIKES {
            send(offline.process_of(0), Signal::KILL);
        }
    };
    let with = play(&[plugin("delay")], never(), Isolation::Plugin, kill);
    assert_eq!(with.latency, 64);
    let after = STRIKES + 2..BLOCKS;
    same(&with.bad(after.clone()), &with.dry(after, 1.0), "the dry signal");
    // What it puts out in a block is heard in that block: it came in earlier.
    let before = 0..STRIKES - 1;
    same(&with.bad(before.clone()), &with.dry(before, 1.0), "the plugin");
}

#[test]
fn a_worker_killed_between_others_is_bridged() {
    let kill = |block, offline: &mut Offline| {
        if block == STRIKES {
            send(offline.process_of(1), Signal::KILL);
        }
    };
    let chain = [plugin("mono"), plugin("gain"), plugin("mono")];
    let with = play(&chain, never(), Isolation::Plugin, kill);
    let without = play(&chain, never(), Isolation::Plugin, |_, _| {});
    same(&with.healthy, &without.healthy, "the healthy track");
    let after = STRIKES + 3..BLOCKS;
    same(&with.bad(after.clone()), &without.bad(after), "the bridged chain");
}

#[test]
fn a_plugin_that_reports_an_error_is_replaced_by_its_dry_signal() {
    let (with, without) = with_and_without("error", &[hostile("error")]);
    assert!(with.outcomes[STRIKES..].iter().all(|o| *o == NodeOutcome::Failed));
    let after = STRIKES + 1..BLOCKS;
    same(&with.bad(after.clone()), &without.bad(after), "error");
    // In front of others it must not harm them.
    with_and_without("error", &[hostile("error"), plugin("mono"), plugin("gain")]);
}

#[test]
fn what_is_not_a_number_becomes_silence() {
    for what in ["nan", "inf", "denormal"] {
        let (with, _) = with_and_without(what, &[hostile(what)]);
        assert!(is_silent(&with.bad(STRIKES + 1..BLOCKS)), "{what}");
        // Behind it in the chain, too.
        let (with, _) = with_and_without(what, &[hostile(what), plugin("delay"), plugin("mono")]);
        assert!(is_silent(&with.bad(STRIKES + 3..BLOCKS)), "{what}");
    }
}

#[test]
fn nonsense_events_and_floods_of_them_harm_nobody() {
    for what in ["bad-events", "event-flood"] {
        // Audio passes through, or at the worst the dry signal does.
        let (with, without) = with_and_without(what, &[hostile(what), plugin("gain")]);
        let after = STRIKES + 2..BLOCKS;
        same(&with.bad(after.clone()), &without.bad(after), what);
        // Into a plugin that takes notes.
        with_and_without(what, &[hostile(what), plugin("synth")]);
    }
}

#[test]
fn a_plugin_that_scribbles_over_shared_memory_harms_its_own_chain_only() {
    with_and_without("scribble", &[hostile("scribble")]);
    with_and_without("scribble", &[hostile("scribble"), plugin("gain"), plugin("mono")]);
}

#[test]
fn a_delay_that_no_plugin_has_delays_nobody() {
    let usual = play(&[plugin("gain")], never(), Isolation::Plugin, |_, _| {});
    let absurd = play(&[hostile("lies-latency")], never(), Isolation::Plugin, |_, _| {});
    assert_eq!(absurd.latency, usual.latency);
    same(&absurd.healthy, &usual.healthy, "the healthy track");
}

#[test]
fn a_plugin_that_writes_false_marks_harms_its_own_chain_only() {
    for what in ["rings-host", "scribbles-asleep"] {
        with_and_without(what, &[hostile(what)]);
        with_and_without(what, &[hostile(what), plugin("gain"), plugin("mono")]);
    }
}

#[test]
fn nobody_waits_for_a_plugin_that_crashed_nor_for_those_behind_it() {
    let gain = || plugin("gain");
    let crash = || hostile("segfault");
    for isolation in [Isolation::Plugin, Isolation::Group] {
        for chain in [
            vec![crash()],
            vec![crash(), gain(), gain()],
            vec![gain(), crash(), gain()],
            vec![gain(), gain(), crash()],
        ] {
            let place = chain.iter().position(|plugin| *plugin == crash()).unwrap();
            let mut offline = Offline::tracks(&[chain, vec![gain()]], isolation, 64);
            offline.set(0, place, BLOCK, 3.0);
            for _ in 0..6 {
                // This test would go on for a day.
                offline.step(&vec![vec![0.5; FRAMES]; 2], Duration::from_secs(86_400));
            }
            assert_eq!(offline.last_outcome(0, place), NodeOutcome::Gone);
        }
    }
}

/// Steps until the plugin delivers again; what is heard then is what would be heard anyway.
fn comes_back(offline: &mut Offline) {
    let mut noise = Noise(3);
    let mut last = vec![vec![]; 2];
    let mut step = |offline: &mut Offline| {
        last = noise.channels(2, FRAMES);
        last.iter_mut().flatten().for_each(|x| *x = if x.is_normal() { *x } else { 0.25 });
        offline.step(&last, PATIENT);
        last.clone()
    };
    let back = becomes_true(Duration::from_secs(20), || {
        step(offline);
        offline.last_outcome(0, 0) == NodeOutcome::Finished
            && offline.last_outcome(0, 1) == NodeOutcome::Finished
    });
    assert!(back, "{:?}", offline.outcomes);
    // The way back from the dry signal.
    step(offline);
    for _ in 0..5 {
        let input = step(offline);
        let from = offline.heard[0].len() - FRAMES;
        let out: Vec<Vec<f32>> =
            offline.track(0).iter().map(|channel| channel[from..].to_vec()).collect();
        same(&out, &input, "after it came back");
        assert_eq!(offline.last_outcome(0, 0), NodeOutcome::Finished);
    }
}

#[test]
fn a_plugin_that_is_late_once_comes_back() {
    let mut offline =
        Offline::tracks(&[vec![hostile("late"), plugin("gain")]], Isolation::Plugin, 64);
    offline.set(0, 0, BLOCK, 5.0);
    let silence = vec![vec![0.0; FRAMES]; 2];
    for block in 0..6 {
        // It spins for 20 ms.
        let timeout = if block == 5 { Duration::from_millis(2) } else { PATIENT };
        offline.step(&silence, timeout);
    }
    assert_eq!(offline.last_outcome(0, 0), NodeOutcome::Running);
    assert_eq!(offline.last_outcome(0, 1), NodeOutcome::NotReady);
    comes_back(&mut offline);
}

#[test]
fn a_stopped_worker_that_is_continued_comes_back() {
    let mut offline =
        Offline::tracks(&[vec![plugin("gain"), plugin("gain")]], Isolation::Plugin, 64);
    let silence = vec![vec![0.0; FRAMES]; 2];
    for _ in 0..5 {
        offline.step(&silence, PATIENT);
    }
    let worker = offline.process_of(0);
    send(worker, Signal::STOP);
    let stopped = becomes_true(Duration::from_secs(10), || is_stopped(worker));
    assert!(stopped);
    offline.step(&silence, SHORT);
    assert_eq!(offline.last_outcome(0, 0), NodeOutcome::NotStarted);
    for _ in 0..5 {
        offline.step(&silence, SHORT);
        assert_eq!(offline.last_outcome(0, 0), NodeOutcome::Busy);
        assert_eq!(offline.last_outcome(0, 1), NodeOutcome::Finished);
    }
    send(worker, Signal::CONT);
    comes_back(&mut offline);
}

#[test]
fn a_crash_in_a_group_takes_the_group_and_not_the_host() {
    let chain = [hostile("segfault")];
    let with = play(&chain, STRIKES, Isolation::Group, |_, _| {});
    assert!(with.is_finite());
    assert_eq!(with.outcomes[STRIKES + 1..], vec![NodeOutcome::Gone; BLOCKS - STRIKES]);
    let after = STRIKES + 2..BLOCKS;
    same(&with.bad(after.clone()), &with.dry(after.clone(), 1.0), "the dry signal");
    // The other track was in the same process: dry as well.
    let healthy = Heard::part(&with.healthy, after.clone());
    same(&healthy, &with.dry(after, 1.0), "the other track's dry signal");
}

#[test]
fn a_hang_in_a_group_takes_the_group_and_not_the_host() {
    let with = play(&[hostile("sleep")], STRIKES, Isolation::Group, |_, _| {});
    let after = STRIKES + 2..BLOCKS;
    same(&with.bad(after.clone()), &with.dry(after.clone(), 1.0), "the dry signal");
    let healthy = Heard::part(&with.healthy, after.clone());
    same(&healthy, &with.dry(after, 1.0), "the other track's dry signal");
}

#[test]
fn a_session_connects_again_after_a_worker_was_killed_or_says_who_it_was() {
    let mut offline =
        Offline::tracks(&[vec![plugin("gain")], vec![plugin("gain")]], Isolation::Plugin, 64);
    offline.step(&vec![vec![0.5; FRAMES]; 2], PATIENT);
    send(offline.process_of(0), Signal::KILL);
    assert!(becomes_true(Duration::from_secs(10), || offline.session.gone_plugin().is_some()));
    let (who, how) = offline.session.gone_plugin().unwrap();
    assert!(who.contains("org.sandrack.test.gain") && how.contains(KILLED), "{who}: {how}");
    let Offline { running, mut session, .. } = offline;
    drop(running);
    let error = session.connect(RATE, 64, 1, (2, 4)).err().expect("a dead worker can't connect");
    assert!(error.to_string().contains("gain"), "{error}");
    session.quit();
}

/// Checks, block by block, what the engine makes of what comes in.
struct Watching {
    engine: EngineCallback,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    blocks: AtomicU64,
    /// Blocks in which the healthy track wasn't what it has to be.
    wrong: AtomicU64,
    /// The last block in which the other track was neither dry nor processed.
    torn: AtomicU64,
    /// Blocks in which it was dry.
    dry: AtomicU64,
}

impl Callback for Watching {
    fn process(&mut self, time: &CallbackTime, io: &mut CallbackIo<'_>) {
        let block = self.seen.blocks.load(Ordering::Relaxed);
        self.engine.process(time, io);
        let is = |track: usize, factor: f32| {
            io.outputs[2 * track..][..2]
                .iter()
                .zip(io.inputs)
                .all(|(out, input)| out.iter().zip(*input).all(|(o, i)| *o == i * factor))
        };
        // The first blocks set the parameters.
        if block >= 2 && io.inputs[0].iter().any(|x| *x != 0.0) {
            self.seen.wrong.fetch_add(u64::from(!is(1, 0.5)), Ordering::Relaxed);
            if is(0, 1.0) {
                self.seen.dry.fetch_add(1, Ordering::Relaxed);
            } else if !is(0, 0.5) {
                self.seen.torn.store(block, Ordering::Relaxed);
            }
        }
        self.seen.blocks.store(block + 1, Ordering::Relaxed);
    }
}

/// Two tracks on a driver that keeps time: `bad`, and a gain of 0.5.
fn on_a_driver(bad: &[PluginRef], struck: impl FnOnce(&Session, &mut dyn FnMut(u64))) -> Arc<Seen> {
    // Long periods: what a busy machine takes away now and then is short beside them.
    let config = DriverConfig { rate: RATE, frames: 4096, inputs: 2, outputs: 4 };
    let supervisor = supervisor_with(true);
    let tracks = vec![bad.to_vec(), vec![plugin("gain")]];
    let loaded = SessionConfig { tracks, separate: true, ..SessionConfig::default() };
    let mut session = Session::load(&supervisor, &loaded, &|| {}).unwrap();
    let mut running = session.connect(RATE, config.frames, 2, (2, 4)).unwrap();
    let gain = sandrack_plugins_test::param_id("gain");
    for (node, name) in running.nodes.concat() {
        // The last of the first track, and the second track.
        if name.contains("Gain") {
            running.controller.set_param(node, gain, 0.5).unwrap();
        } else {
            running.controller.set_param(node, BLOCK, 8.0).unwrap();
        }
    }
    let seen = Arc::new(Seen::default());
    let watching = Watching { engine: running.callback, seen: Arc::clone(&seen) };
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("in.wav");
    let mut writer = WavWriter::create(&file, 2, RATE, SampleFormat::Float32).unwrap();
    let mut noise = Noise(5);
    let samples: Vec<f32> = (0..64 * 2 * config.frames).map(|_| noise.unit() as f32).collect();
    writer.write_interleaved(&samples).unwrap();
    writer.finish().unwrap();
    let mut driver = VirtualDriver::new(config)
        .and_then(|driver| driver.with_input(&file))
        .unwrap()
        .with_thread_setup(realtime_setup(None));
    driver.start(Box::new(watching)).unwrap();
    let mut wait_for = |blocks: u64| {
        let reached = || seen.blocks.load(Ordering::Relaxed) >= blocks;
        assert!(becomes_true(Duration::from_secs(60), reached), "the driver stands still");
    };
    struck(&session, &mut wait_for);
    drop(driver.stop().unwrap());
    drop(running.controller);
    seen
}

#[test]
fn a_plugin_that_spins_at_realtime_priority_does_not_stop_its_neighbours() {
    let seen = on_a_driver(&[hostile("hang"), plugin("gain")], |_, wait_for| wait_for(24));
    assert_eq!(seen.wrong.load(Ordering::Relaxed), 0, "blocks of the healthy track");
    // It strikes in the ninth block; there and in the next its chain finds its way.
    assert!(seen.torn.load(Ordering::Relaxed) <= 10, "{:?}", seen.torn);
}

#[test]
fn a_worker_killed_under_a_driver_does_not_stop_its_neighbours() {
    let mut at = 0;
    let seen = on_a_driver(&[plugin("gain")], |session, wait_for| {
        wait_for(8);
        send(session.workers()[0].id(), Signal::KILL);
        assert!(becomes_true(Duration::from_secs(10), || session.gone_plugin().is_some()));
        at = 10;
        wait_for(24);
    });
    assert_eq!(seen.wrong.load(Ordering::Relaxed), 0, "blocks of the healthy track");
    assert!(seen.torn.load(Ordering::Relaxed) <= at + 2, "{:?}", seen.torn);
    assert!(seen.dry.load(Ordering::Relaxed) >= 10, "{:?}", seen.dry);
}
