//! A plugin that uses more than it may is told of, ended, and comes back; nobody else notices.

mod common;

use common::offline::{Offline, PATIENT};
use common::{LONG, Noise, any_hostile, becomes_true, plugin, supervisor_confined};
use sandrack_host::faults::FaultKind;
use sandrack_host::session::{PluginAt, RecoveryOptions, SessionConfig, SessionEvent};
use sandrack_sandbox::confine::{Confinement, Level};
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::limits::Limits;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

const FRAMES: usize = 64;
/// Of the hostile plugin that can be any: which it is.
const KIND: u32 = 7;
/// Long enough for a healthy plugin on a busy machine, short enough to be waited for.
const SHORT: Duration = Duration::from_millis(400);
const FIRST: PluginAt = PluginAt { track: 0, plugin: 0 };

/// The hostile plugin beside a healthy one, confined.
struct Stage {
    offline: Offline,
    noise: Noise,
    events: Vec<SessionEvent>,
}

impl Stage {
    fn new(hostile: &PluginRef, limits: Limits, realtime: bool) -> Self {
        let confinement = Confinement { limits, ..Confinement::of(Level::Standard) };
        let config = SessionConfig {
            tracks: vec![vec![hostile.clone()], vec![plugin("gain")]],
            separate: true,
            ..SessionConfig::default()
        };
        let supervisor = supervisor_confined(realtime, confinement);
        let mut offline = Offline::of(supervisor, config, FRAMES as u32, |_| {});
        let (running, session) = (&mut offline.running, &offline.session);
        running.live.enable_recovery(session, RecoveryOptions::default());
        Self { offline, noise: Noise(5), events: Vec::new() }
    }

    fn step(&mut self) {
        let first = self.events.is_empty() && self.offline.heard[0].is_empty();
        let input = self.noise.channels(2, FRAMES);
        self.offline.step(&input, if first { PATIENT } else { SHORT });
        let (running, session) = (&mut self.offline.running, &mut self.offline.session);
        let events = running.live.service(session, &mut running.controller).expect("a plan");
        self.events.extend(events);
        std::thread::sleep(Duration::from_millis(1));
    }

    fn strike(&mut self, what: &str) {
        // It may be gone by now.
        if let Ok(kind) = self.offline.session.text_to_value(0, 0, KIND, what) {
            self.offline.set(0, 0, KIND, kind.unwrap_or_else(|| panic!("there is no {what}")));
        }
    }

    #[track_caller]
    fn play_until(&mut self, what: &str, mut so: impl FnMut(&Self) -> bool) {
        let end = Instant::now() + LONG;
        while !so(self) {
            assert!(Instant::now() < end, "not {what}: {:?}", self.events);
            self.step();
        }
    }

    fn folder(&self) -> PathBuf {
        let worker = self.offline.session.node(0, 0).expect("in a worker").worker();
        worker.enforced().and_then(|enforced| enforced.folder).expect("a data folder")
    }

    fn process(&self) -> u32 {
        self.offline.session.node(0, 0).expect("in a worker").worker().id()
    }
}

/// It is ended for that, and comes back.
#[track_caller]
fn is_ended(what: &str, limits: Limits, reason: &[&str]) {
    for hostile in any_hostile() {
        let mut stage = Stage::new(&hostile, limits, false);
        stage.step();
        let process = stage.process();
        let folder = stage.folder();
        stage.strike(what);
        let is_killed = |event: &SessionEvent| matches!(event, SessionEvent::Killed { .. });
        let end = Instant::now() + LONG;
        while !stage.events.iter().any(is_killed) {
            assert!(Instant::now() < end, "{what}: not killed: {:?}", stage.events);
            // Once more, in case it was late for the block before. It strikes once.
            stage.strike(what);
            (0..20).for_each(|_| stage.step());
        }
        // Other tests use the same folder, at the same time.
        if what.starts_with("fills-") {
            for file in fs::read_dir(&folder).into_iter().flatten().flatten() {
                fs::remove_dir_all(file.path()).or_else(|_| fs::remove_file(file.path())).unwrap();
            }
        }
        let why = stage.events.iter().find_map(|event| match event {
            SessionEvent::Killed { at: FIRST, why } => Some(why.clone()),
            _ => None,
        });
        let why = why.unwrap_or_else(|| panic!("{what}: {:?}", stage.events));
        assert!(reason.iter().all(|part| why.contains(part)), "{what}: {why}");
        let recovered = |stage: &Stage| {
            stage.events.iter().any(|event| matches!(event, SessionEvent::Recovered { .. }))
        };
        stage.play_until("back", recovered);
        assert_ne!(stage.process(), process);
        assert!(!fs::exists(format!("/proc/{process}")).unwrap(), "it is gone for good");
        let faults: Vec<_> = stage.offline.running.live.faults().iter().collect();
        let killed = faults.iter().find(|fault| fault.kind == FaultKind::Killed);
        assert_eq!(killed.map(|fault| &fault.cause), Some(&why));
        assert!(faults.iter().all(|fault| fault.track == 0), "{faults:?}");
    }
}

#[test]
fn memory_without_end() {
    let limits = Limits { memory: Some(400_000_000), ..Limits::default() };
    is_ended("memory-bomb", limits, &["of memory, more than the 400 MB", "--limit-memory"]);
}

/// In files that exist in memory only: the kernel counts them as nobody's.
#[test]
fn memory_without_end_in_files() {
    let limits = Limits { memory: Some(400_000_000), ..Limits::default() };
    is_ended("hides-memory", limits, &["of memory, more than the 400 MB", "--limit-memory"]);
}

/// System V's, which outlives processes.
#[test]
fn memory_that_is_left_behind() {
    let left_by = |process: u32| {
        let all = fs::read_to_string("/proc/sysvipc/shm").expect("this system has it");
        let by = all.lines().filter_map(|line| line.split_ascii_whitespace().nth(4)?.parse().ok());
        by.filter(|by: &u32| *by == process).count()
    };
    for hostile in any_hostile() {
        let mut stage = Stage::new(&hostile, Limits::default(), false);
        stage.step();
        let process = stage.process();
        stage.strike("leaves-memory");
        let is_back = |event: &SessionEvent| matches!(event, SessionEvent::Recovered { .. });
        stage.play_until("back", |stage| stage.events.iter().any(is_back));
        assert!(becomes_true(LONG, || left_by(process) == 0), "{} pieces", left_by(process));
    }
}

#[test]
fn threads_without_end() {
    let limits = Limits { threads: Some(100), ..Limits::default() };
    is_ended("thread-bomb", limits, &["threads, more than the 100", "--limit-threads"]);
}

#[test]
fn files_without_end() {
    let limits = Limits { files: Some(200), ..Limits::default() };
    is_ended("opens-files", limits, &["200 files open", "--limit-files"]);
}

/// Plugins of the same file share their folder: one test after the other.
#[test]
fn a_disk_folder_that_grows_without_end() {
    let limits = Limits { disk: Some(50_000_000), ..Limits::default() };
    is_ended("fills-folder", limits, &["more than the 50 MB", "--limit-disk"]);
    is_ended("fills-file", limits, &["more than the 50 MB", "--limit-disk"]);
    is_ended("hides-files", limits, &["without a name", "more than the 50 MB", "--limit-disk"]);
    a_full_folder_is_not_made_fuller();
}

#[test]
fn processor_time_without_end() {
    let limits = Limits { cpu: Some(15), ..Limits::default() };
    is_ended("spins-everywhere", limits, &["% of a core, more than the 15 %", "--limit-cpu"]);
}

#[test]
fn processes_are_not_started_at_all() {
    for hostile in any_hostile() {
        let mut stage = Stage::new(&hostile, Limits::default(), false);
        stage.step();
        stage.strike("fork-bomb");
        (0..50).for_each(|_| stage.step());
        let children = format!("/proc/{0}/task/{0}/children", stage.process());
        assert_eq!(fs::read_to_string(children).unwrap_or_default(), "");
        assert_eq!(stage.offline.session.gone_plugin(), None);
    }
}

#[test]
fn nobody_but_the_audio_thread_gets_realtime_priority() {
    for hostile in any_hostile() {
        let mut stage = Stage::new(&hostile, Limits::default(), true);
        let may = stage.offline.supervisor.restrictions().not_realtime.is_none();
        assert!(may || std::env::var_os("SANDRACK_CI").is_none(), "no realtime class here");
        stage.step();
        let process = stage.process();
        // Policy and name of each thread.
        let realtime = || -> Vec<String> {
            let threads = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
            let stats = threads.filter_map(|t| fs::read_to_string(t.path().join("stat")).ok());
            stats
                .filter_map(|stat| {
                    let (head, rest) = stat.rsplit_once(')')?;
                    let policy = rest.split_whitespace().nth(38)?;
                    (policy != "0").then(|| head.split_once('(').unwrap().1.to_owned())
                })
                .collect()
        };
        let before = realtime();
        if may {
            assert_eq!(before, ["audio"]);
        }
        stage.strike("spins-everywhere");
        let spinning = || {
            let count = fs::read_dir(format!("/proc/{process}/task")).unwrap().flatten();
            let names = count.filter_map(|t| fs::read_to_string(t.path().join("comm")).ok());
            names.filter(|name| name.trim() == "spins").count() > 1
        };
        stage.play_until("spinning", |_| spinning());
        assert!(becomes_true(LONG, || realtime() == before), "{:?}", realtime());
        stage.offline.session.workers().iter().for_each(|worker| worker.end_now());
    }
}

fn a_full_folder_is_not_made_fuller() {
    let hostile = &any_hostile()[0];
    let limits = Limits { disk: Some(3_000_000), ..Limits::default() };
    let folder = Stage::new(hostile, limits, false).folder();
    let file = folder.join("large");
    fs::write(&file, vec![1; 4_000_000]).unwrap();
    let full = Stage::new(hostile, limits, false);
    let worker = full.offline.session.workers()[0].clone();
    let enforced = worker.enforced().unwrap();
    fs::remove_file(file).unwrap();
    assert!(enforced.is_folder_full);
}
