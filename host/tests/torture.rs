//! `sandrack torture`, in short: every kind of fault that fits, in both formats, and nothing is lost but
//! what was promised. What depends on the machine's speed is not judged here.

mod common;

use common::program::{Finished, Program};
use serde_json::Value;
use std::fs;

fn torture(arguments: &[&str]) -> Finished {
    common::example("hostile");
    let mut program = Program::new(["torture", "--json", "torture.json"]);
    program.command().args(arguments);
    program.run()
}

fn report(finished: &Finished) -> Value {
    let text = fs::read_to_string(finished.file("torture.json")).unwrap_or_else(|_| {
        panic!("{}: no figures: {}{}", finished.shown, finished.stdout, finished.stderr)
    });
    serde_json::from_str(&text).unwrap()
}

fn count(report: &Value, name: &str) -> u64 {
    report[name].as_u64().unwrap_or_else(|| panic!("no {name} in {report}"))
}

#[test]
fn healthy_chains_do_not_notice_and_nothing_is_left_over() {
    let finished = torture(&["--faults", "60", "--seed", "7", "--no-times"]);
    let report = report(&finished);
    assert!(count(&report, "faults") >= 60);
    assert!(count(&report, "healthy_blocks") > 1000, "{report}");
    let unexplained =
        count(&report, "healthy_blocks_differing") - count(&report, "healthy_blocks_late");
    assert_eq!(unexplained, 0, "{}", finished.stdout);
    for none in ["not_recovered", "state_lost", "leftover_processes", "leftover_shm"] {
        assert_eq!(count(&report, none), 0, "{none}: {}", finished.stdout);
    }
    let kinds = report["by_kind"].as_array().unwrap();
    let faults: u64 = kinds.iter().map(|kind| count(kind, "faults")).sum();
    assert_eq!(faults, count(&report, "faults"));
    assert!(report["recovery_ms"]["p99"].as_f64().unwrap() > 0.0);
    finished.assert_success();
    assert!(finished.stdout.contains("All promises were kept."), "{}", finished.stdout);
}

/// Nothing but the host itself keeps them from it.
#[test]
fn rubbish_on_descriptors_does_no_harm_without_confinement_either() {
    let kinds = "writes-descriptors,sends-descriptors,init-stops";
    let level = ["--confinement", "off", "--faults", "12", "--no-times"];
    let finished = torture(&[level.as_slice(), &["--kinds", kinds]].concat());
    finished.assert_success();
    let report = report(&finished);
    assert!(count(&report, "faults") >= 12);
    assert_eq!(count(&report, "not_recovered"), 0, "{}", finished.stdout);
}

#[test]
fn kinds_are_chosen_by_name() {
    let finished = torture(&["--faults", "6", "--kinds", "segfault,nan", "--no-times"]);
    finished.assert_success();
    let report = report(&finished);
    let kinds = report["by_kind"].as_array().unwrap().iter();
    assert!(
        kinds.map(|kind| kind["kind"].as_str().unwrap()).all(|k| k == "segfault" || k == "nan")
    );
    torture(&["--kinds", "sneeze"]).assert_error(&["--kinds sneeze", "segfault"]);
    torture(&["--kinds", "kills-parent", "--confinement", "off"])
        .assert_error(&["kills-parent", "--confinement off"]);
}
