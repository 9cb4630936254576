//! What the window costs.
#![cfg(target_os = "linux")]

mod common;

use common::rigs;
use eframe::egui::vec2;
use egui_kittest::Harness;
use sandrack_host::play::{NodeId, NodeTiming, View};
use sandrack_ui::{App, Bottom, Look};
use std::sync::Arc;

struct Shown {
    app: App,
    view: View,
}

fn shown<'a>(view: View, look: Look) -> Harness<'a, Shown> {
    Harness::builder().with_size(vec2(1280.0, 820.0)).build_ui_state(
        |ui, shown: &mut Shown| drop(shown.app.draw(ui, &shown.view)),
        Shown { app: App::new(look), view },
    )
}

/// What a frame of a rig of 300 plugins takes of a core, before anything is drawn, all panels open. Figures
/// for docs/benchmarks.md: the thread's own time, so that others disturb it less.
///
///     cargo test -p sandrack-ui --test cost -- --ignored --nocapture
#[test]
#[ignore = "a measurement"]
fn the_cost_of_a_frame() {
    let spent_ns = || -> u64 {
        let text = std::fs::read_to_string("/proc/thread-self/schedstat").expect("Linux tells");
        text.split(' ').next().and_then(|word| word.parse().ok()).expect("a number")
    };
    for (name, tracks, bottom) in [
        ("10 x 3 plugins, deadline view", 10, Bottom::Deadline),
        ("100 x 3 plugins, deadline view", 100, Bottom::Deadline),
        ("100 x 3 plugins, nothing below", 100, Bottom::Nothing),
    ] {
        let mut view = rigs::large(tracks);
        // As many nodes in each block as the rig has.
        for block in &mut view.recent.blocks {
            let block = Arc::make_mut(block);
            let node = block.nodes[0];
            block.nodes = (0..tracks * 3)
                .map(|number| NodeTiming { node: NodeId::from_raw(number), ..node })
                .collect();
        }
        let mut harness = shown(view, Look { bottom, ..Look::default() });
        harness.run_steps(30);
        // All together: Linux counts a thread that runs only now and then.
        const FRAMES: usize = 600;
        let before = spent_ns();
        harness.run_steps(FRAMES);
        let ms = (spent_ns() - before) as f64 / 1e6 / FRAMES as f64;
        println!(
            "{name}: {ms:.2} ms a frame; {:.1} % of a core at rest (a frame every 150 ms), {:.1} % while \
             something moves (33 ms)",
            ms / 1.5,
            ms / 0.33
        );
    }
}
