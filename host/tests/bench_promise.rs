//! What `bench` promises of its figures and its report, on a bench that really ran.

mod common;

use common::plugin;
use common::program::{Finished, Program};
use serde_json::Value;
use std::fs;

fn bench(arguments: &str) -> Finished {
    let mut program = Program::new("bench --quick --seconds 0.1".split(' '));
    program.command().args(arguments.split_whitespace());
    let finished = program.run();
    finished.assert_success();
    finished
}

fn json(finished: &Finished) -> Value {
    let text = fs::read_to_string(finished.file("sandrack-bench.json")).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn number(value: &Value, path: &str) -> f64 {
    let found = value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value}"));
    found.as_f64().unwrap_or_else(|| panic!("{path} is no number: {found}"))
}

fn text<'a>(value: &'a Value, path: &str) -> &'a str {
    let found = value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value}"));
    found.as_str().unwrap_or_else(|| panic!("{path} is no text: {found}"))
}

fn list<'a>(value: &'a Value, name: &str) -> &'a [Value] {
    value[name].as_array().unwrap_or_else(|| panic!("{name} is no list in {value}"))
}

/// Percentiles: of so many samples, none below a lower one, none above the greatest; null only
/// where the samples can't support it.
fn percentiles(value: &Value, path: &str) -> u64 {
    let found = value.pointer(path).unwrap_or_else(|| panic!("no {path} in {value}"));
    let samples = found["samples"].as_u64().unwrap_or_else(|| panic!("{path}: {found}"));
    let mut last = 0.0;
    for (name, least) in [("p50", 1), ("p99", 100), ("p999", 1000), ("max", 1)] {
        let value = found.get(name).unwrap_or_else(|| panic!("no {name} in {path}"));
        match value.as_f64() {
            Some(x) => {
                assert!(x.is_finite() && x >= last, "{path}/{name}: {found}");
                last = x;
            }
            None => assert!(value.is_null() && samples < least, "{path}/{name}: {found}"),
        }
    }
    samples
}

fn check_run(run: &Value) {
    for name in ["frames", "rate", "plugins"] {
        assert!(run[name].as_u64().is_some_and(|n| n > 0), "{name}: {}", run[name]);
    }
    assert!(run["xruns"].is_u64() && run["periods"].is_u64());
    assert!(number(run, "/load_us") >= 0.0);
    assert!(number(run, "/floor_us") > 0.0);
    assert!(["plugin", "group", "none"].contains(&text(run, "/isolation")));
    let periods = number(run, "/periods");
    assert!(periods > 0.0);
    assert_eq!(percentiles(run, "/callback_us") as f64, periods);
    assert_eq!(percentiles(run, "/load") as f64, periods);
    let nodes = list(run, "nodes");
    assert_eq!(nodes.len() as f64, number(run, "/plugins"));
    percentiles(run, "/hop_us");
    for node in nodes {
        assert!(!text(node, "/name").is_empty());
        assert!(percentiles(node, "/wait_us") > 0, "{node}");
        assert!(percentiles(node, "/run_us") > 0, "{node}");
    }
    // The callback takes as long as its plugins, at least.
    let period_us = number(run, "/frames") * 1e6 / number(run, "/rate");
    let load = number(run, "/load/p50");
    let callback = number(run, "/callback_us/p50");
    assert!((load - callback / period_us).abs() < 0.02 * load.max(0.01), "{load} and {callback}");
}

#[test]
fn the_figures_hold_what_is_promised() {
    let finished = bench("--frames 64,256 --plugins 1,4 --load-us 0,20 --most 8");
    let json = json(&finished);
    assert!(!text(&json, "/machine/cpu").is_empty());
    assert!(number(&json, "/machine/cores") >= 1.0);
    assert!(!text(&json, "/machine/kernel").is_empty());
    assert!(!text(&json, "/machine/realtime").is_empty());
    assert!(number(&json, "/floor/same_core_us") > 0.0);
    assert!(number(&json, "/floor/any_core_us") > 0.0);

    let runs = list(&json, "runs");
    runs.iter().for_each(check_run);
    // Every combination, once.
    let mut seen: Vec<String> = runs
        .iter()
        .map(|run| {
            let of = |name: &str| run[name].to_string();
            ["frames", "plugins", "load_us", "isolation"].map(of).join(" ")
        })
        .collect();
    seen.sort();
    seen.dedup();
    assert_eq!(runs.len(), 2 * 2 * 2 * 3);
    assert_eq!(seen.len(), runs.len());
    // The load that was set is the load that was measured, at the least.
    for run in runs.iter().filter(|run| number(run, "/load_us") == 20.0) {
        for node in list(run, "nodes") {
            assert!(number(node, "/run_us/p50") > 5.0, "{node}");
        }
    }

    let capacity = list(&json, "capacity");
    assert_eq!(capacity.len(), 2 * 3);
    for entry in capacity {
        assert!(entry["frames"].is_u64() && entry["plugins"].is_u64());
        assert!(number(entry, "/load_us") > 0.0);
        assert!(["plugin", "group", "none"].contains(&text(entry, "/isolation")));
        assert!(number(entry, "/plugins") <= 8.0);
    }
    check_page(&finished);
    // What a musician can act on comes first.
    let first = finished.stdout.lines().next().unwrap();
    assert!(first.contains("plugins"), "{first}");
    assert!(finished.stdout.contains("Capacity"), "{}", finished.stdout);
    assert_eq!(finished.stderr, "");
}

fn check_page(finished: &Finished) {
    let page = fs::read_to_string(finished.file("sandrack-bench.html")).unwrap();
    assert!(page.starts_with("<!"), "not a page");
    assert!(page.contains("</html>"), "the page is not complete");
    assert!(page.contains("<svg"), "no chart");
    // Closed in itself: nothing is fetched, nothing is run.
    for forbidden in ["src=\"http", "href=\"http", "url(http", "@import", "<link", "<iframe"] {
        assert!(!page.contains(forbidden), "{forbidden} in the page");
    }
}

#[test]
fn a_users_own_plugin_is_measured_in_the_same_form() {
    let gain = plugin("gain").to_string();
    let finished = bench(&format!("--plugin {gain} --frames 128 --plugins 1,3 --most 6"));
    let json = json(&finished);
    assert!(text(&json, "/plugin").contains("org.sandrack.test.gain"));
    let runs = list(&json, "runs");
    assert_eq!(runs.len(), 2 * 3);
    runs.iter().for_each(check_run);
    assert!(list(&json, "capacity").len() <= 3);
    check_page(&finished);
}

#[test]
fn instruments_and_note_effects_can_be_measured() {
    for name in ["synth", "events", "compressor", "split", "mono"] {
        let plugin = plugin(name).to_string();
        let finished = bench(&format!(
            "--plugin {plugin} --frames 256 --plugins 3 --no-capacity --isolation plugin"
        ));
        list(&json(&finished), "runs").iter().for_each(check_run);
    }
}

#[test]
fn tracks_side_by_side_are_measured() {
    let finished =
        bench("--tracks 3 --frames 256 --plugins 2 --load-us 0 --isolation plugin --no-capacity");
    let json = json(&finished);
    let runs = list(&json, "runs");
    assert_eq!(runs.len(), 1);
    check_run(&runs[0]);
    assert_eq!(number(&runs[0], "/plugins"), 6.0);
}

#[test]
fn files_that_can_not_be_written_are_an_error_in_one_line() {
    let arguments = "bench --quick --no-capacity --frames 256 --plugins 1 --isolation none \
                     --json /nowhere/at/all.json";
    let finished = Program::new(arguments.split_whitespace()).run();
    finished.assert_error(&["/nowhere/at/all.json"]);
}
