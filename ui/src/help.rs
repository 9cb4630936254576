//! Keys, and what to do first.

use eframe::egui::{Grid, Ui, Window};

const KEYS: [(&str, &str); 13] = [
    ("A W S E D F ...", "play notes; Z, X: octave"),
    ("Esc", "panic: ends all notes"),
    ("Ctrl+T", "add a track"),
    ("Ctrl+P", "add a plugin to the chosen track"),
    ("Tab, Enter", "go to the next control, use it"),
    ("F2", "the chosen plugin's own editor"),
    ("F4", "bypass it"),
    ("F5", "restart it"),
    ("Del", "remove it"),
    ("Ctrl+Z, Ctrl+Y", "undo, redo"),
    ("Ctrl+S", "save"),
    ("Ctrl++, Ctrl+-", "larger, smaller"),
    ("F1", "this"),
];

pub(crate) fn show(ui: &Ui, is_open: &mut bool) {
    Window::new("Keys").open(is_open).collapsible(false).resizable(false).show(ui.ctx(), |ui| {
        Grid::new("keys").num_columns(2).spacing([20.0, 4.0]).show(ui, |ui| {
            for (key, what) in KEYS {
                ui.monospace(key);
                ui.label(what);
                ui.end_row();
            }
        });
        ui.separator();
        ui.label(
            "Every plugin runs in a process of its own. One that crashes or hangs is replaced",
        );
        ui.label("by its fallback within the block, and comes back by itself with its state.");
    });
}
