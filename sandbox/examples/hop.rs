//! The bare hop, without an engine: a chain of plugins in workers, driven block by block.
//!
//! `cargo run --release -p sandrack-sandbox --example hop -- PLUGIN.clap#ID [COUNT] [FRAMES]`

use sandrack_sandbox::calibrate::{Placement, measure};
use sandrack_sandbox::format::Transport;
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::remote::{DirectWiring, NodeWiring, RemoteSet, SourceWiring};
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use sandrack_sandbox::sys::{clock::now_ns, thread};
use std::time::{Duration, Instant};

fn main() {
    sandrack_sandbox::worker::run_if_worker();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let plugin = arguments[0].parse().unwrap();
    let number = |at: usize, default| arguments.get(at).map_or(default, |a| a.parse().unwrap());
    let (count, frames) = (number(1, 32), number(2, 64) as u32);
    let core = Some(thread::cores()[0]);
    let mut options = SupervisorOptions::new().unwrap();
    options.show_errors = true;
    let supervisor = Supervisor::new(options).unwrap();
    let begin = Instant::now();
    let mut nodes = vec![];
    for _ in 0..count {
        let worker = supervisor.start_worker("hop", core).unwrap();
        let mut node = worker.load(&plugin).unwrap();
        node.activate(Activation { rate: 48000.0, min_frames: 1, max_frames: 2048 }).unwrap();
        nodes.push(node);
    }
    println!("started {count} in {:?}; {:?}", begin.elapsed(), supervisor.restrictions());
    let wirings: Vec<_> = nodes
        .iter()
        .enumerate()
        .map(|(i, node)| NodeWiring {
            node,
            sources: vec![SourceWiring {
                bus: 0,
                channels: 2,
                direct: (i > 0).then(|| DirectWiring {
                    node: i - 1,
                    bus: 0,
                    delay: 0,
                    key: i as u64,
                }),
            }],
            event_sources: vec![],
            predecessors: if i > 0 { vec![i - 1] } else { vec![] },
        })
        .collect();
    let mut set = RemoteSet::connect(&supervisor, &wirings, 2048).unwrap();
    std::thread::spawn(move || {
        thread::pin_current(core.unwrap()).unwrap();
        let _ = thread::set_realtime(thread::priority::ENGINE);
        let mut took = vec![];
        let (mut waits, mut runs) = (vec![], vec![]);
        for block in 1..2000u64 {
            std::thread::sleep(Duration::from_millis(1));
            let start = now_ns();
            (0..count).for_each(|n| {
                assert_eq!(set.state(n), sandrack_sandbox::remote::State::Ready, "{block} {n}");
                set.prepare(n, 0, n == 0)
            });
            set.begin(frames, 0, &Transport { tempo: 120.0, ..Default::default() });
            for channel in 0..2 {
                set.input(0, 0, channel).fill(block as f32);
            }
            set.ring(0);
            assert!(set.wait(std::iter::once(count - 1), start + 1_000_000_000));
            let mut out = vec![0.0; frames as usize];
            set.output(count - 1, 0, 0, &mut out);
            set.end();
            took.push((now_ns() - start) as f64 / count as f64);
            for n in 0..count {
                let times = set.times(n);
                waits.push((times.start - times.ready) as f64);
                runs.push((times.end - times.start) as f64);
            }
            assert_eq!(out[0], block as f32);
        }
        for (name, list) in [("hop", &mut took), ("wait", &mut waits), ("run", &mut runs)] {
            list.sort_by(f64::total_cmp);
            println!(
                "{name}: p50 {:.0} ns p99 {:.0}",
                list[list.len() / 2],
                list[list.len() * 99 / 100]
            );
        }
    })
    .join()
    .unwrap();
    let program = std::env::current_exe().unwrap();
    for placement in [Placement::SameCore(core.unwrap()), Placement::AnyCore] {
        println!(
            "{placement:?}: {:?}",
            measure(&program, count, placement, 500, Duration::from_millis(1)).unwrap()
        );
    }
}
