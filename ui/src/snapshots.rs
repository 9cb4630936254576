//! Settings to switch between: large buttons, for hands on a stage.

use crate::app::Wishes;
use crate::look;
use eframe::egui::{Button, DragValue, RichText, ScrollArea, TextEdit, Ui, vec2};
use sandrack_host::play::{Command, Learning, SnapshotView, View};

/// What is being typed.
#[derive(Default)]
pub(crate) struct Snapshots {
    name: String,
    is_edited: bool,
}

impl Snapshots {
    pub(crate) fn show(&mut self, ui: &mut Ui, view: &View, wishes: &mut Wishes) {
        ui.horizontal(|ui| {
            let hint = "name of a new snapshot";
            ui.add(TextEdit::singleline(&mut self.name).hint_text(hint).desired_width(180.0));
            if ui.button("Store").on_hover_text("Keeps all present settings").clicked() {
                let name = match self.name.trim() {
                    "" => format!("Snapshot {}", view.snapshots.len() + 1),
                    name => name.to_owned(),
                };
                wishes.send(Command::StoreSnapshot(name));
                self.name.clear();
            }
            ui.toggle_value(&mut self.is_edited, "Edit");
        });
        if view.snapshots.is_empty() {
            ui.weak("None yet. A snapshot holds faders, bypasses and every plugin's settings.");
        }
        ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            for snapshot in view.snapshots.iter() {
                let palette = look::palette(ui);
                let mut text = RichText::new(&snapshot.name).size(18.0);
                let mut button = Button::new(text.clone());
                if snapshot.is_current {
                    text = text.color(palette.on_color).strong();
                    button = Button::new(text).fill(palette.accent);
                }
                let size = vec2(ui.available_width(), 40.0);
                let pressed = ui.add_sized(size, button);
                if pressed.on_hover_text(hint(snapshot)).clicked() {
                    wishes.send(Command::RecallSnapshot(snapshot.id.clone()));
                }
                if self.is_edited {
                    ui.push_id(&snapshot.id, |ui| edit(ui, view, snapshot, wishes));
                }
            }
        });
    }
}

fn hint(snapshot: &SnapshotView) -> String {
    let mut hint = match snapshot.is_ready {
        true => "Ready: takes no time".to_owned(),
        false => "Its plugins are being prepared".to_owned(),
    };
    if let Some(program) = snapshot.program {
        hint += &format!(". MIDI program {program}");
    }
    if let Some(key) = snapshot.key {
        hint += &format!(". MIDI key {key}");
    }
    hint
}

fn edit(ui: &mut Ui, view: &View, snapshot: &SnapshotView, wishes: &mut Wishes) {
    ui.horizontal(|ui| {
        let mut program = snapshot.program.unwrap_or(0);
        let mut key = snapshot.key.map_or(-1, i16::from);
        ui.add(
            DragValue::new(&mut program)
                .range(0..=128)
                .prefix("program ")
                .custom_formatter(none_at(0.0)),
        );
        ui.add(
            DragValue::new(&mut key).range(-1..=127).prefix("key ").custom_formatter(none_at(-1.0)),
        );
        let program = (program > 0).then_some(program);
        let key = u8::try_from(key).ok();
        if (program, key) != (snapshot.program, snapshot.key) {
            wishes.send(Command::BindSnapshot(snapshot.id.clone(), program, key));
        }
        let is_learning = view.learning == Some(Learning::Snapshot(snapshot.id.clone()));
        let word = if is_learning { "..." } else { "L" };
        let hint = "Learn: the next key that is pressed, or the next program, recalls it";
        if ui.small_button(word).on_hover_text(hint).clicked() {
            let wanted = (!is_learning).then(|| snapshot.id.clone());
            wishes.send(Command::LearnSnapshot(wanted));
        }
        if ui.button("Store anew").clicked() {
            wishes.send(Command::UpdateSnapshot(snapshot.id.clone()));
        }
        if ui.button("Remove").clicked() {
            wishes.send(Command::RemoveSnapshot(snapshot.id.clone()));
        }
    });
}

fn none_at(none: f64) -> impl Fn(f64, std::ops::RangeInclusive<usize>) -> String {
    move |value, _| if value == none { "-".into() } else { format!("{value}") }
}
