use sandrack_host::report::Isolation;
use sandrack_host::session::*;
use sandrack_sandbox::supervisor::*;
use sandrack_sandbox::sys::{clock::now_ns, thread};
use std::time::Duration;
fn main() {
    sandrack_sandbox::worker::run_if_worker();
    let n: usize = std::env::args().nth(1).unwrap().parse().unwrap();
    let gap: u64 = std::env::args().nth(2).unwrap().parse().unwrap();
    let sup = Supervisor::new(SupervisorOptions::new().unwrap()).unwrap();
    let plugin = sandrack_host::plugins::test_plugin("gain").unwrap();
    let config = SessionConfig {
        tracks: vec![vec![plugin; n]],
        isolation: Isolation::Plugin,
        cores: vec![0],
        ..probe_default()
    };
    let mut s = Session::load(&sup, &config, &|| {}).unwrap();
    let mut r = s.connect(48000, 64, n, (2, 2)).unwrap();
    thread::pin_current(0).unwrap();
    thread::set_realtime(71).unwrap();
    let x = vec![0.5f32; 64];
    let (mut a, mut b) = (vec![0f32; 64], vec![0f32; 64]);
    let mut took = vec![];
    for _ in 0..3000 {
        if gap > 0 {
            std::thread::sleep(Duration::from_micros(gap));
        }
        let t = now_ns();
        r.callback.process_offline(&[&x, &x], &mut [&mut a, &mut b], Duration::from_secs(1));
        took.push(now_ns() - t);
        while r.controller.timing().pop().is_ok() {}
    }
    took.sort();
    println!("n={n} gap={gap}: p50 {} p10 {} p99 {}", took[1500], took[300], took[2970]);
}
fn probe_default() -> SessionConfig {
    SessionConfig {
        tracks: vec![],
        isolation: Isolation::Plugin,
        cores: vec![],
        ..Default::default()
    }
}
