//! A plugin that is given no core is not taken for one that hangs.
#![cfg(target_os = "linux")]

mod common;

use common::offline::{Offline, PATIENT};
use common::plugin;
use sandrack_engine::timing::NodeOutcome;
use sandrack_host::report::Isolation;
use sandrack_host::session::{RecoveryOptions, SessionEvent};
use sandrack_sandbox::sys::thread::{cores, pin_current, set_realtime};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

const HANG: Duration = Duration::from_millis(100);

/// Runs a program of util-linux on all threads of a process.
fn all_threads(program: &str, arguments: &[&str], process: u32) {
    let done = Command::new(program).args(arguments).arg(process.to_string()).output();
    let done =
        done.unwrap_or_else(|error| panic!("{program}, of util-linux, does not run: {error}"));
    assert!(done.status.success(), "{program}: {}", String::from_utf8_lossy(&done.stderr));
}

/// Keeps a core from everybody who is not in the realtime class while it works on something. Without
/// the permission it only competes.
fn beside_others_on(core: usize, work: impl FnOnce()) {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                pin_current(core).expect("a core of this process");
                let _ = set_realtime(1);
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        work();
        is_over.store(true, Ordering::Relaxed);
    });
}

/// A block, and what the session says then.
fn step(offline: &mut Offline, timeout: Duration) -> Vec<SessionEvent> {
    offline.step(&[vec![0.5; 64], vec![0.5; 64]], timeout);
    let running = &mut offline.running;
    let events = running.live.service(&mut offline.session, &mut running.controller);
    thread::sleep(Duration::from_millis(1));
    events.expect("a plan")
}

#[test]
fn a_plugin_that_waits_for_a_core_is_not_killed() {
    let mut offline = Offline::tracks(&[vec![plugin("gain")]], Isolation::Plugin, 64);
    let options = RecoveryOptions { hang: HANG, ..RecoveryOptions::default() };
    offline.running.live.enable_recovery(&offline.session, options);
    let process = offline.process_of(0);
    let mut events = Vec::new();
    for _ in 0..20 {
        events.extend(step(&mut offline, PATIENT));
    }
    let core = cores()[0];
    all_threads("taskset", &["--all-tasks", "--cpu-list", "--pid", &core.to_string()], process);
    // The engine gives it its priority back whenever it has come to an end.
    let mut longest = Duration::ZERO;
    for _ in 0..50 {
        beside_others_on(core, || {
            all_threads("chrt", &["--all-tasks", "--other", "--pid", "0"], process);
            let (begin, mut well) = (Instant::now(), Instant::now());
            while begin.elapsed() < 4 * HANG {
                events.extend(step(&mut offline, Duration::from_millis(5)));
                match offline.last_outcome(0, 0) {
                    NodeOutcome::Busy => longest = longest.max(well.elapsed()),
                    _ => well = Instant::now(),
                }
            }
        });
        events.extend(step(&mut offline, PATIENT));
        if longest > 2 * HANG {
            break;
        }
    }
    let is_short = longest <= 2 * HANG;
    if is_short && std::env::var_os("SANDRACK_CI").is_none() && set_realtime(1).is_err() {
        println!("not proved: no realtime permission, and it always had a core ({longest:?})");
    } else {
        assert!(!is_short, "it always had a core: {longest:?} at most without");
    }
    for _ in 0..20 {
        events.extend(step(&mut offline, PATIENT));
    }
    assert_eq!(offline.last_outcome(0, 0), NodeOutcome::Finished);
    assert_eq!(offline.process_of(0), process, "{events:?}");
    let faults = events.iter().any(|event| matches!(event, SessionEvent::Recovered { .. }));
    assert!(!faults, "{events:?}");
    offline.quit();
}
