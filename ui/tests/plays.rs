//! The window with a rig that really plays behind it: workers, audio, files.

mod common;

use common::raster::Raster;
use eframe::egui::{Key, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::Queryable;
use sandrack_host::play::{
    Command, Pace, PlayOptions, Player, PluginView, Source, View, WorkerState,
};
use sandrack_host::rig::demo::demo;
use sandrack_ui::{App, Look};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What is waited for at most. Nothing here takes so long on a machine that has nothing else to do.
const LONG: Duration = Duration::from_secs(60);

struct Stage {
    app: App,
    player: Player,
    view: Arc<View>,
}

fn options() -> PlayOptions {
    let mut options = PlayOptions::new().expect("this program's file");
    options.supervisor.program = env!("CARGO_BIN_EXE_sandrack-ui").into();
    options.pace = Pace::OnTime;
    options
}

fn stage(source: Source) -> Harness<'static, Stage> {
    let player = Player::open(source, options()).expect("it plays");
    let view = player.view();
    Harness::builder().with_size(vec2(1280.0, 820.0)).renderer(Raster::default()).build_ui_state(
        |ui, stage: &mut Stage| {
            stage.view = stage.player.view();
            for command in stage.app.draw(ui, &stage.view) {
                assert!(stage.player.send(command), "it takes commands");
            }
        },
        Stage { app: App::new(Look::default()), player, view },
    )
}

/// Draws until something is true of what is shown.
#[track_caller]
fn until(harness: &mut Harness<'_, Stage>, what: &str, is_true: impl Fn(&View) -> bool) {
    let start = Instant::now();
    while start.elapsed() < LONG {
        harness.run_steps(1);
        if is_true(&harness.state().view) {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let view = &harness.state().view;
    let plugins: Vec<_> = view
        .tracks
        .iter()
        .flat_map(|track| &track.plugins)
        .map(|p| (&p.name, p.state, &p.reason))
        .collect();
    panic!(
        "not within {LONG:?}: {what}; driver {:?}; {plugins:?}; {:?}",
        view.driver, view.messages
    );
}

fn plugin<'a>(view: &'a View, name: &str) -> Option<&'a PluginView> {
    view.tracks.iter().flat_map(|track| &track.plugins).find(|plugin| &*plugin.name == name)
}

fn is_heard(view: &View) -> bool {
    view.tracks.first().is_some_and(|track| track.meter[0].peak > 1e-3)
}

fn kill(process: u32) {
    let done = std::process::Command::new("kill").args(["-9", &process.to_string()]).status();
    assert!(done.is_ok_and(|status| status.success()), "kill -9 {process}");
}

fn save(harness: &mut Harness<'_, Stage>, path: &Path) {
    assert!(harness.state().player.send(Command::SaveAs(path.to_owned())));
    until(harness, "the rig is saved", |view| view.path.as_deref() == Some(path) && view.is_saved);
}

/// Starts, adds a plugin, plays a note, kills a worker, sees it come back, saves, opens again.
#[test]
fn an_evening_on_stage() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("tour.toml");
    let rig = demo().expect("the test plugins are built with the program");
    let added = rig.tracks[0].plugins[1].clone();
    let mut harness = stage(Source::Rig(rig));
    until(&mut harness, "all plugins run", |view| {
        view.driver.is_running
            && view.tracks.iter().flat_map(|t| &t.plugins).all(|p| p.state == WorkerState::Running)
    });
    let first: Vec<String> = harness.state().view.tracks[0]
        .plugins
        .iter()
        .map(|plugin| plugin.name.to_string())
        .collect();

    harness.key_down(Key::D);
    until(&mut harness, "a note is heard", is_heard);

    // A plugin more, while the note sounds.
    let track = harness.state().view.tracks[0].id.clone();
    let plugin_ref = sandrack_host::play::PluginRef { path: added.path, id: Some(added.plugin) };
    let add = Command::AddPlugin { track, place: None, plugin: plugin_ref, group: None };
    assert!(harness.state().player.send(add));
    until(&mut harness, "another plugin runs", |view| {
        view.tracks[0].plugins.len() == first.len() + 1
            && view.tracks[0].plugins.iter().all(|p| p.state == WorkerState::Running)
    });
    until(&mut harness, "the note is still heard", is_heard);

    // Its worker dies, and comes back by itself.
    let process = |view: &View| plugin(view, &first[0]).and_then(|plugin| plugin.process);
    let before = process(&harness.state().view).expect("it has a process");
    kill(before);
    until(&mut harness, "it comes back", |view| {
        process(view).is_some_and(|now| now != before)
            && plugin(view, &first[0]).is_some_and(|p| p.state == WorkerState::Running)
    });
    assert!(!harness.state().view.faults.is_empty(), "the fault is listed");
    harness.key_up(Key::D);
    harness.key_down(Key::G);
    until(&mut harness, "it plays again", is_heard);
    harness.key_up(Key::G);

    harness.get_by_label(&format!("Mute {}", harness.state().view.tracks[0].name)).click();
    until(&mut harness, "the track is silent", |view| view.tracks[0].mute);
    save(&mut harness, &file);
    drop(harness);

    let mut harness = stage(Source::File(file));
    until(&mut harness, "the saved rig plays", |view| {
        view.tracks.len() == 2
            && view.tracks[0].plugins.len() == first.len() + 1
            && view.tracks.iter().flat_map(|t| &t.plugins).all(|p| p.state == WorkerState::Running)
    });
    assert!(harness.state().view.tracks[0].mute, "as it was saved");
}
