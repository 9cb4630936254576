//! MIDI ports, wherever one is chosen: what a track plays, where notes and clock go; and what the
//! driver's ports are connected to.

use crate::app::Wishes;
use crate::{look, pedals};
use eframe::egui::{CollapsingHeader, ComboBox, DragValue, RichText, Role, Ui};
use sandrack_host::play::{Command, MidiView, View};
use sandrack_host::rig::MidiOutput;

/// What a rig calls the program's own keyboard.
const KEYBOARD: &str = "keyboard";

/// What a rig is to call a port: its name, without the numbers at its end that ALSA gives anew each
/// time, unless another has the same name then.
fn word_of<'a>(name: &'a str, all: &[String]) -> &'a str {
    let is_number = |c: char| c.is_ascii_digit() || c == ':';
    let short = match name.rsplit_once(' ') {
        Some((short, end)) if end.contains(':') && end.chars().all(is_number) => short,
        _ => return name,
    };
    match all.iter().filter(|other| other.contains(short)).count() {
        1 => short,
        _ => name,
    }
}

/// A DragValue's words for a channel that may be any.
fn channel(ui: &mut Ui, of: &mut Option<u8>, none: &'static str) {
    let mut number = of.unwrap_or(0);
    let name = move |channel: f64, _: std::ops::RangeInclusive<usize>| match channel as u8 {
        0 => none.to_owned(),
        channel => channel.to_string(),
    };
    let drag = DragValue::new(&mut number).range(0..=16).prefix("channel ");
    let shown = ui.add(drag.custom_formatter(name));
    look::name(&shown, Role::SpinButton, "MIDI channel");
    *of = (number != 0).then_some(number);
}

/// A port that notes come from; none: any.
pub(crate) fn input(ui: &mut Ui, view: &View, port: &mut Option<String>) {
    let ports = &view.midi.inputs;
    let text = port.as_deref().unwrap_or("any port").to_owned();
    let shown = ComboBox::from_id_salt("port").selected_text(text).width(200.0);
    let shown = shown.show_ui(ui, |ui| {
        ui.selectable_value(port, None, "any port");
        ui.selectable_value(port, Some(KEYBOARD.to_owned()), "the keyboard here");
        for name in ports {
            let word = word_of(name, ports).to_owned();
            ui.selectable_value(port, Some(word), name);
        }
    });
    look::name(&shown.response, Role::ComboBox, "MIDI input");
}

/// The ports that something goes to. `what`: names it for whoever can't see it.
pub(crate) fn outputs(ui: &mut Ui, view: &View, what: &str, outputs: &mut Vec<MidiOutput>) {
    let ports = &view.midi.outputs;
    let mut removed = None;
    for (number, output) in outputs.iter_mut().enumerate() {
        ui.push_id((what, number), |ui| {
            ui.horizontal(|ui| {
                let text = output.port.clone();
                let shown = ComboBox::from_id_salt("port").selected_text(text).width(150.0);
                let shown = shown.show_ui(ui, |ui| {
                    for name in ports {
                        let word = word_of(name, ports).to_owned();
                        ui.selectable_value(&mut output.port, word, name);
                    }
                });
                look::name(&shown.response, Role::ComboBox, "MIDI output");
                channel(ui, &mut output.channel, "as it is");
                if ui.small_button("x").on_hover_text("Send nothing there any more").clicked() {
                    removed = Some(number);
                }
            });
            is_there(ui, view, &output.port);
        });
    }
    if let Some(number) = removed {
        outputs.remove(number);
    }
    let is_free = |name: &&String| {
        let word = word_of(name, ports);
        outputs.iter().all(|output| output.port != word)
    };
    let free: Vec<String> = ports.iter().filter(is_free).cloned().collect();
    if free.is_empty() && outputs.is_empty() {
        ui.weak(nothing(&view.midi));
    }
    if !free.is_empty() {
        let add = ComboBox::from_id_salt(("add", what)).selected_text("Add a MIDI output");
        let shown = add.width(200.0).show_ui(ui, |ui| {
            for name in &free {
                if ui.selectable_label(false, name).clicked() {
                    let port = word_of(name, ports).to_owned();
                    outputs.push(MidiOutput { port, channel: None });
                }
            }
        });
        look::name(&shown.response, Role::ComboBox, "Add a MIDI output");
    }
}

/// Why there is nothing to choose from.
fn nothing(midi: &MidiView) -> String {
    match midi.problem.as_str() {
        "" => "There is no MIDI output: plug one in.".into(),
        problem => format!("There is no MIDI output: {problem}."),
    }
}

/// Says so if a port that the rig sends to is not there.
fn is_there(ui: &mut Ui, view: &View, word: &str) {
    let send = view.midi.sends.iter().find(|send| send.word == word);
    if send.is_some_and(|send| send.ports.is_empty()) {
        let text = format!("'{word}' is not there; it is used as soon as it is");
        ui.label(RichText::new(text).color(look::palette(ui).warn));
    }
}

/// The clock, and what the ports of the driver are connected to.
pub(crate) fn show(ui: &mut Ui, view: &View, wishes: &mut Wishes) {
    ui.label(RichText::new("MIDI").strong());
    let midi = &view.midi;
    if !midi.problem.is_empty() {
        ui.label(RichText::new(&midi.problem).color(look::palette(ui).warn));
    }
    clock(ui, view, wishes);
    if let Some(connections) = &view.connections {
        for (title, is_midi) in [("MIDI connections", true), ("Audio connections", false)] {
            CollapsingHeader::new(title).default_open(is_midi).show(ui, |ui| {
                for port in connections.ports.iter().filter(|port| port.is_midi == is_midi) {
                    connection(ui, port, connections.others(port), wishes);
                }
            });
        }
    } else {
        let list = |ports: &[String]| match ports {
            [] => "none".to_owned(),
            ports => ports.join(", "),
        };
        ui.weak(format!("inputs: {}", list(&midi.inputs)));
        ui.weak(format!("outputs: {}", list(&midi.outputs)));
    }
    CollapsingHeader::new("Pedals, buttons and knobs")
        .show(ui, |ui| pedals::show(ui, view, wishes));
}

fn clock(ui: &mut Ui, view: &View, wishes: &mut Wishes) {
    let midi = &view.midi;
    let text = midi.clock.as_deref().unwrap_or("nothing");
    ComboBox::from_label("leads the tempo").selected_text(text).show_ui(ui, |ui| {
        if ui.selectable_label(midi.clock.is_none(), "nothing").clicked() {
            wishes.send(Command::SetClock(None));
        }
        for name in &midi.inputs {
            let word = word_of(name, &midi.inputs);
            let is_it = midi.clock.as_deref() == Some(word);
            if ui.selectable_label(is_it, name).clicked() && !is_it {
                wishes.send(Command::SetClock(Some(word.to_owned())));
            }
        }
    });
    let text = match midi.clock_out.as_slice() {
        [] => "nothing".to_owned(),
        ports => ports.join(", "),
    };
    let shown = ComboBox::from_label("gets a clock").selected_text(text);
    shown.show_ui(ui, |ui| {
        let there = midi.outputs.iter().map(|name| (word_of(name, &midi.outputs), name.as_str()));
        let there: Vec<_> = there.collect();
        let is_listed = |word: &String| there.iter().any(|(known, _)| known == word);
        let others = midi.clock_out.iter().filter(|word| !is_listed(word));
        let others: Vec<_> = others.map(|word| (word.as_str(), word.as_str())).collect();
        for (word, name) in there.iter().chain(&others) {
            let mut is_on = midi.clock_out.iter().any(|known| known == word);
            if ui.checkbox(&mut is_on, *name).changed() {
                let others = midi.clock_out.iter().filter(|known| *known != word).cloned();
                let all = others.chain(is_on.then(|| (*word).to_owned())).collect();
                wishes.send(Command::SetClockOut(all));
            }
        }
        if there.is_empty() && others.is_empty() {
            ui.weak(nothing(midi));
        }
    });
    for word in &midi.clock_out {
        is_there(ui, view, word);
    }
}

fn connection(
    ui: &mut Ui,
    port: &sandrack_host::drivers::DriverPort,
    others: &[String],
    wishes: &mut Wishes,
) {
    let text = match port.connected.as_slice() {
        [] => match port.awaited.first() {
            Some(other) => format!("waits for {other}"),
            None => "not connected".to_owned(),
        },
        [one] => one.clone(),
        [first, more @ ..] => format!("{first} and {} more", more.len()),
    };
    // The other port is to the left of it.
    let arrow = if port.is_input { "->" } else { "<-" };
    let label = format!("{arrow} {}", port.name);
    let chosen = ComboBox::from_label(label).selected_text(text).width(170.0);
    chosen.show_ui(ui, |ui| {
        // What is connected comes first, and can be seen even if it is not among the others.
        let more = others.iter().filter(|other| !port.connected.contains(other));
        for other in port.connected.iter().chain(more) {
            let mut on = port.connected.contains(other);
            if ui.checkbox(&mut on, other).changed() {
                let (port, other) = (port.name.clone(), other.clone());
                wishes.send(Command::Connect { port, other, on });
            }
        }
        for other in &port.awaited {
            let mut on = true;
            if !others.contains(other)
                && ui.checkbox(&mut on, format!("{other} (not there)")).changed()
            {
                let (port, other) = (port.name.clone(), other.clone());
                wishes.send(Command::Connect { port, other, on });
            }
        }
        if others.is_empty() && port.connected.is_empty() && port.awaited.is_empty() {
            ui.weak("There is nothing to connect it to.");
        }
    });
}

/// A channel that notes come on.
pub(crate) fn input_channel(ui: &mut Ui, of: &mut Option<u8>) {
    channel(ui, of, "any");
}
