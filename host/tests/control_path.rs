//! What a plugin does to the ways between its worker and the host ends that worker, and holds up
//! nobody.
#![cfg(target_os = "linux")]

mod common;

use common::program::{Finished, Program};
use common::system::is_stopped;
use common::{LONG, PROGRAM, becomes_true, example, hostile, plugin, supervisor_of};
use sandrack_sandbox::error::Error;
use sandrack_sandbox::format::{PluginRef, StateContext};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::remote::{NodeWiring, RemoteSet, SourceWiring};
use serde_json::Value;
use std::fs;
use std::path::Path;
use std::sync::mpsc::{self, TryRecvError};
use std::time::Duration;

/// The hostile plugin of that kind, of each format.
fn both_formats(what: &str) -> [PluginRef; 2] {
    let vst3 = PluginRef { path: example("hostile_vst3"), id: Some(format!("Hostile {what}")) };
    [hostile(what), vst3]
}

/// Plays a plugin that strikes in its block 100, each time it is brought back, beside a healthy one.
fn play(attacker: &PluginRef, level: &str) -> Finished {
    let slot = |id: &str, plugin: &PluginRef| {
        format!(
            "[[track]]\nid = \"{id}-track\"\n[[track.plugin]]\nid = \"{id}\"\nformat = \"{}\"\n\
             plugin = \"{}\"\npath = \"{}\"\n",
            if plugin.path.ends_with(example("hostile_vst3")) { "vst3" } else { "clap" },
            plugin.id.as_deref().unwrap(),
            plugin.path.display()
        )
    };
    let rig = format!(
        "sandrack_rig = 1\n[driver]\nname = \"virtual\"\nframes = 256\n{}{}",
        slot("attacker", attacker),
        slot("healthy", &plugin("gain"))
    );
    let mut program = Program::new(["play", "rig.toml", "--seconds", "4"]);
    fs::write(program.folder().join("rig.toml"), rig).unwrap();
    let more = ["--no-save", "--no-realtime", "--fault-log", "faults", "--crash-dir", "crashes"];
    program.command().args(more).args(["--confinement", level]);
    program.run()
}

#[test]
fn rubbish_written_to_every_descriptor_ends_the_worker_and_nothing_else() {
    std::thread::scope(|scope| {
        for what in ["writes-descriptors", "sends-descriptors"] {
            for attacker in both_formats(what) {
                scope.spawn(move || {
                    for level in ["standard", "off"] {
                        let finished = play(&attacker, level);
                        finished.assert_success();
                        let faults = fs::read_to_string(finished.file("faults")).unwrap();
                        assert_its_own(&attacker, &faults);
                    }
                });
            }
        }
    });
}

/// The attacker was ended for what it did, and was brought back; the healthy plugin was not touched.
fn assert_its_own(attacker: &PluginRef, faults: &str) {
    let faults: Vec<Value> =
        faults.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let broke = |fault: &&Value| {
        let cause = fault["cause"].as_str().unwrap_or_default();
        fault["kind"] == "killed" && cause.contains("broke the protocol with its host")
    };
    let is = |kind: &'static str| move |fault: &&Value| fault["kind"] == kind;
    assert!(faults.iter().filter(broke).count() >= 2, "{attacker}: {faults:#?}");
    assert!(faults.iter().any(|fault| is("restarted")(&fault)), "{attacker}: {faults:#?}");
    // How late its blocks are, and those of others, is the machine's affair.
    let fatal = ["killed", "dead", "not-restarted", "quarantined"];
    let of_healthy =
        faults.iter().filter(|fault| !fault["name"].as_str().unwrap().contains("ostile"));
    for fault in of_healthy {
        assert!(fatal.iter().all(|kind| fault["kind"] != *kind), "{fault:#}");
    }
}

#[test]
fn a_stopped_process_takes_no_state_and_holds_up_no_plan() {
    const FRAMES: u32 = 64;
    for stops in both_formats("init-stops") {
        let supervisor = supervisor_of(Path::new(PROGRAM), Duration::from_secs(8));
        let worker = supervisor.start_worker("both", None).unwrap();
        let well = plugin("gain");
        worker.begin(&[&well.path, &stops.path]).unwrap();
        let mut healthy = worker.load(&well).unwrap();
        healthy.activate(Activation::new(48_000.0, FRAMES)).unwrap();
        let node = worker.load(&stops).unwrap();
        assert!(becomes_true(LONG, || is_stopped(worker.id())), "{stops}: not stopped");

        // More than any channel takes without being read.
        let (done, restored) = mpsc::channel();
        let restoring = std::thread::spawn(move || {
            let _ = done.send(node.load_state(vec![7; 4 << 20], StateContext::Project));
        });
        std::thread::sleep(Duration::from_millis(200));
        let (told, connected) = mpsc::channel();
        let connecting = std::thread::spawn(move || {
            let wiring = NodeWiring {
                node: &healthy,
                sources: vec![SourceWiring { bus: 0, channels: 2, direct: None }],
                event_sources: vec![],
                predecessors: vec![],
            };
            let begun = RemoteSet::begin_connecting(&supervisor, &[wiring], FRAMES);
            let _ = told.send(begun.is_ok());
        });
        assert_eq!(connected.recv_timeout(LONG), Ok(true), "{stops}: a plan was held up");
        assert!(matches!(restored.try_recv(), Err(TryRecvError::Empty)), "{stops}: over already");
        let result = restored.recv_timeout(LONG).expect("it is given up");
        assert!(matches!(result, Err(Error::Timeout { .. })), "{stops}: {result:?}");
        restoring.join().unwrap();
        connecting.join().unwrap();
        assert!(worker.is_gone() || becomes_true(LONG, || worker.is_gone()));
    }
}
