//! What the window looks like, and what it wants done when it is used.

mod common;

use common::raster::Raster;
use common::rigs;
use eframe::egui::{Key, Modifiers, Role, vec2};
use egui_kittest::Harness;
use egui_kittest::kittest::{NodeT, Queryable};
use sandrack_host::play::{Command, Learning, View};
use sandrack_host::rig::{Action, Id, Mapping, MidiInput, MidiOutput};
use sandrack_ui::{App, Bottom, Look, Side};

struct Shown {
    app: App,
    view: View,
    wanted: Vec<Command>,
}

fn shown<'a>(view: View, look: Look) -> Harness<'a, Shown> {
    let theme = if look.is_light { eframe::egui::Theme::Light } else { eframe::egui::Theme::Dark };
    Harness::builder()
        .with_size(vec2(1280.0, 820.0))
        .with_theme(theme)
        .renderer(Raster::default())
        .build_ui_state(
            |ui, shown: &mut Shown| {
                let commands = shown.app.draw(ui, &shown.view);
                shown.wanted.extend(commands);
            },
            Shown { app: App::new(look), view, wanted: Vec::new() },
        )
}

/// The last thing that was wanted.
fn wanted(harness: &mut Harness<'_, Shown>) -> Option<Command> {
    harness.run_steps(3);
    harness.state_mut().wanted.pop()
}

#[test]
fn a_rig_on_stage() {
    let mut harness = shown(rigs::stage(), Look::default());
    harness.run_steps(4);
    harness.snapshot("stage");
}

#[test]
fn a_rig_by_day() {
    let look =
        Look { is_light: true, side: Side::Snapshots, bottom: Bottom::Capacity, ..Look::default() };
    let mut harness = shown(rigs::stage(), look);
    harness.run_steps(4);
    harness.snapshot("day");
}

#[test]
fn twice_as_large() {
    let mut harness = shown(rigs::stage(), Look { bottom: Bottom::Nothing, ..Look::default() });
    harness.set_pixels_per_point(2.0);
    harness.run_steps(4);
    harness.snapshot("twice");
}

#[test]
fn an_empty_rig_says_what_to_do() {
    let mut harness = shown(View::default(), Look::default());
    harness.run_steps(2);
    assert!(harness.query_by_label("This rig is empty").is_some());
    harness.get_by_label("Add track").click();
    assert!(matches!(wanted(&mut harness), Some(Command::AddTrack { .. })));
}

#[test]
fn buttons_of_a_track_say_what_is_wanted() {
    let mut harness = shown(rigs::stage(), Look::default());
    harness.run_steps(2);
    harness.get_by_label("Mute Keys").click();
    assert_eq!(wanted(&mut harness), Some(Command::Mute("keys".into(), true)));
    harness.get_by_label("Solo Strings").click();
    assert_eq!(wanted(&mut harness), Some(Command::Solo("strings".into(), true)));
}

#[test]
fn a_plugin_is_chosen_and_retried() {
    let mut harness = shown(rigs::stage(), Look::default());
    harness.run_steps(2);
    harness.get_by_label("Old Phaser, quarantined").click();
    harness.run_steps(3);
    assert!(harness.query_by_label("failed 5 times in 30 s").is_some());
    harness.get_by_label("Try again").click();
    assert_eq!(wanted(&mut harness), Some(Command::Restart("plugin-4".into())));
}

#[test]
fn midi_ports_are_chosen_where_the_driver_is() {
    let look = Look { side: Side::Driver, bottom: Bottom::Nothing, ..Look::default() };
    let mut harness = shown(rigs::with_ports(), look);
    harness.run_steps(4);
    harness.snapshot("ports");
    let told = "'Old Sequencer' is not there; it is used as soon as it is";
    assert!(harness.query_by_label(told).is_some());
    harness.get_by_role_and_label(Role::ComboBox, "gets a clock").click();
    harness.run_steps(3);
    // By the name without ALSA's numbers, which are others tomorrow.
    harness.get_by_label("a2j:Big Module 28:0").click();
    let all = ["a2j:Drum Box", "Old Sequencer", "a2j:Big Module"].map(String::from);
    assert_eq!(wanted(&mut harness), Some(Command::SetClockOut(all.into())));
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    harness.get_by_role_and_label(Role::ComboBox, "leads the tempo").click();
    harness.run_steps(3);
    harness.get_by_label("a2j:Pads 24:0").click();
    assert_eq!(wanted(&mut harness), Some(Command::SetClock(Some("a2j:Pads".into()))));
    harness.get_by_role_and_label(Role::ComboBox, "<- midi_out_1").click();
    harness.run_steps(3);
    harness.get_by_label("a2j:Drum Box 32:0").click();
    let connect = |port: &str, other: &str, on| {
        Some(Command::Connect { port: port.into(), other: other.into(), on })
    };
    assert_eq!(wanted(&mut harness), connect("midi_out_1", "a2j:Drum Box 32:0", true));
    harness.key_press(Key::Escape);
    harness.run_steps(3);
    harness.get_by_role_and_label(Role::ComboBox, "-> midi_in_1").click();
    harness.run_steps(3);
    harness.get_by_label("a2j:nanoKEY2 20:0").click();
    assert_eq!(wanted(&mut harness), connect("midi_in_1", "a2j:nanoKEY2 20:0", false));
}

#[test]
fn what_pedals_do_is_shown_learned_and_taken_away() {
    let look = Look { side: Side::Driver, bottom: Bottom::Nothing, ..Look::default() };
    let mut view = rigs::stage();
    let (command, track) = (Some(Action::Mute), Some("keys".into()));
    let what = Mapping { command, track, ..Mapping::default() };
    let mapping = Mapping { controller: Some(80), channel: Some(2), ..what.clone() };
    view.mappings = [mapping.clone()].into();
    let mut harness = shown(view, look);
    harness.run_steps(4);
    harness.get_by_label("Pedals, buttons and knobs").click();
    harness.run_steps(20);
    assert!(harness.query_by_label("controller 80, channel 2: mute Keys").is_some());
    harness.get_by_role_and_label(Role::Button, "Forget mute Keys").click();
    assert_eq!(wanted(&mut harness), Some(Command::RemoveMapping(mapping)));
    harness.get_by_role_and_label(Role::ComboBox, "Does").click();
    harness.run_steps(3);
    harness.get_by_label("bypass").click();
    harness.run_steps(3);
    harness.get_by_role_and_label(Role::ComboBox, "What it is about").click();
    harness.run_steps(3);
    harness.get_by_role_and_label(Role::Button, "Level").click();
    harness.run_steps(3);
    harness.get_by_label("Learn").click();
    let (command, plugin) = (Some(Action::Bypass), Some("plugin-2".into()));
    let bypass = Mapping { command, plugin, ..Mapping::default() };
    assert_eq!(wanted(&mut harness), Some(Command::LearnMapping(Some(bypass.clone()))));
    harness.state_mut().view.learning = Some(Learning::Mapping(bypass));
    harness.run_steps(3);
    harness.get_by_label("Press it now ...").click();
    assert_eq!(wanted(&mut harness), Some(Command::LearnMapping(None)));
    // Where it is done by hand it is learned, too.
    harness.get_by_label("Mute Keys").click_secondary();
    harness.run_steps(3);
    harness.get_by_label("Learn a pedal or button").click();
    assert_eq!(wanted(&mut harness), Some(Command::LearnMapping(Some(what))));
}

#[test]
fn a_tracks_ports_are_chosen_and_its_keys_learned() {
    let look = Look { side: Side::Track, bottom: Bottom::Nothing, ..Look::default() };
    let mut view = rigs::with_ports();
    view.tracks[0].midi = vec![MidiInput::default()];
    let mut harness = shown(view, look);
    harness.run_steps(4);
    let keys: Id = "keys".into();
    harness.get_by_role_and_label(Role::ComboBox, "Add a MIDI output").click();
    harness.run_steps(3);
    harness.get_by_label("a2j:Big Module 28:0").click();
    let to = MidiOutput { port: "a2j:Big Module".into(), channel: None };
    assert_eq!(wanted(&mut harness), Some(Command::SetMidiOut(keys.clone(), vec![to.clone()])));
    harness.get_by_role_and_label(Role::ComboBox, "MIDI input").click();
    harness.run_steps(3);
    harness.get_by_label("a2j:nanoKEY2 20:0").click();
    let input = MidiInput { port: Some("a2j:nanoKEY2".into()), ..MidiInput::default() };
    assert_eq!(wanted(&mut harness), Some(Command::SetMidi(keys.clone(), vec![input])));
    harness.get_by_label("Learn keys").click();
    assert_eq!(wanted(&mut harness), Some(Command::LearnKeys(Some((keys.clone(), 0)))));
    let track = &mut harness.state_mut().view;
    track.tracks[0].midi_out = vec![to];
    track.learning = Some(Learning::Keys { track: keys, range: 0, first: Some(40) });
    harness.run_steps(3);
    harness.snapshot("track");
    harness.get_by_label("highest...").click();
    assert_eq!(wanted(&mut harness), Some(Command::LearnKeys(None)));
}

#[test]
fn letters_play_the_chosen_track() {
    let mut harness = shown(rigs::stage(), Look::default());
    harness.run_steps(2);
    let keys: Id = "keys".into();
    harness.key_down(Key::A);
    let note = wanted(&mut harness);
    assert!(
        matches!(&note, Some(Command::NoteOn { track, key: 60, .. }) if *track == keys),
        "{note:?}"
    );
    harness.key_up(Key::A);
    assert_eq!(wanted(&mut harness), Some(Command::NoteOff { track: keys, key: 60 }));
}

#[test]
fn keys_alone_are_enough() {
    let mut harness = shown(rigs::stage(), Look::default());
    harness.run_steps(2);
    harness.key_press_modifiers(Modifiers::COMMAND, Key::Z);
    assert_eq!(wanted(&mut harness), Some(Command::Undo));
    harness.key_press(Key::F5);
    assert_eq!(wanted(&mut harness), Some(Command::Restart("plugin-1".into())));
    harness.key_press(Key::Escape);
    assert_eq!(wanted(&mut harness), Some(Command::Panic));
    // Every control can be reached by Tab: after enough of them, a plugin has the focus.
    let has_focus = |harness: &Harness<'_, Shown>| {
        harness
            .query_by_label("Level, running")
            .is_some_and(|node| node.accesskit_node().is_focused())
    };
    let reached = (0..200).any(|_| {
        harness.key_press(Key::Tab);
        harness.run_steps(2);
        has_focus(&harness)
    });
    assert!(reached, "Tab never came to a plugin");
    harness.key_press(Key::Enter);
    harness.run_steps(3);
    harness.key_press(Key::F5);
    assert_eq!(wanted(&mut harness), Some(Command::Restart("plugin-2".into())), "it is chosen");
}

/// A frame of a rig of 300 plugins costs about what one of a rig of 30 does: only what can be seen
/// is laid out.
#[test]
fn a_large_rig_costs_no_more_than_a_screenful() {
    let cost = |tracks| {
        let mut harness =
            shown(rigs::large(tracks), Look { bottom: Bottom::Nothing, ..Look::default() });
        harness.run_steps(5);
        let times = (0..15).map(|_| {
            let start = std::time::Instant::now();
            harness.run_steps(1);
            start.elapsed()
        });
        times.min().unwrap_or_default()
    };
    let (small, large) = (cost(10), cost(100));
    assert!(large < small * 3, "a frame of 30 plugins takes {small:?}, of 300 {large:?}");
}
