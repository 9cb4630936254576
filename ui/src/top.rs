//! The bar on top: file, undo, transport, load, driver, panic.

use crate::app::Wishes;
use crate::look::{self, Look, Side};
use crate::pedals;
use eframe::egui::{
    self, Align, Button, DragValue, Layout, Modal, ProgressBar, RichText, TextEdit, Ui,
};
use sandrack_host::play::{Command, View};
use sandrack_host::rig::Action;
use std::path::PathBuf;

/// What is being asked about files.
#[derive(Default)]
pub(crate) struct File {
    question: Option<Question>,
    path: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    Open,
    SaveAs,
}

impl File {
    /// Saves; asks where, if the rig was never saved.
    pub(crate) fn save(&mut self, view: &View, wishes: &mut Wishes) {
        match view.path {
            Some(_) => wishes.send(Command::Save),
            None => self.ask(Question::SaveAs, view),
        }
    }

    fn ask(&mut self, question: Question, view: &View) {
        self.path = match (&view.path, question) {
            (Some(path), _) => path.display().to_string(),
            (None, Question::Open) => String::new(),
            (None, Question::SaveAs) => "rig.toml".into(),
        };
        self.question = Some(question);
    }

    fn show(&mut self, ui: &Ui, wishes: &mut Wishes) {
        let Some(question) = self.question else { return };
        let (title, word) = match question {
            Question::Open => ("Open a rig", "Open"),
            Question::SaveAs => ("Save the rig as", "Save"),
        };
        let modal = Modal::new(egui::Id::unique("file")).show(ui.ctx(), |ui| {
            ui.heading(title);
            let edit = TextEdit::singleline(&mut self.path).desired_width(420.0);
            let field = ui.add(edit.hint_text("path of a file, as in rigs/tour.toml"));
            field.request_focus();
            let entered = ui.input(|input| input.key_pressed(egui::Key::Enter));
            let mut done = false;
            ui.horizontal(|ui| {
                let is_named = !self.path.trim().is_empty();
                if ui.add_enabled(is_named, Button::new(word)).clicked() || (entered && is_named) {
                    let path = PathBuf::from(self.path.trim());
                    wishes.send(match question {
                        Question::Open => Command::Load(path),
                        Question::SaveAs => Command::SaveAs(path),
                    });
                    done = true;
                }
                done |= ui.button("Cancel").clicked();
            });
            done
        });
        if modal.inner || modal.should_close() {
            self.question = None;
        }
    }
}

pub(crate) fn show(
    ui: &mut Ui,
    view: &View,
    look: &mut Look,
    file: &mut File,
    has_help: &mut bool,
    wishes: &mut Wishes,
) {
    let palette = look::palette(ui);
    ui.horizontal(|ui| {
        ui.menu_button(if view.name.is_empty() { "Rig" } else { &view.name }, |ui| {
            if ui.button("Open...").clicked() {
                file.ask(Question::Open, view);
            }
            if ui.button("Save").clicked() {
                file.save(view, wishes);
            }
            if ui.button("Save as...").clicked() {
                file.ask(Question::SaveAs, view);
            }
            ui.separator();
            match &view.path {
                Some(path) => ui.weak(path.display().to_string()),
                None => ui.weak("not saved to a file yet"),
            };
        });
        if !view.is_saved {
            ui.label(RichText::new("changed").color(palette.weak))
                .on_hover_text("Saved by itself within two seconds once it has a file");
        }
        let undo = ui.add_enabled(!view.undo.is_empty(), Button::new("Undo"));
        if undo.on_hover_text(view.undo.last().map_or("", String::as_str)).clicked() {
            wishes.send(Command::Undo);
        }
        let redo = ui.add_enabled(!view.redo.is_empty(), Button::new("Redo"));
        if redo.on_hover_text(view.redo.last().map_or("", String::as_str)).clicked() {
            wishes.send(Command::Redo);
        }
        ui.separator();
        transport(ui, view, wishes);
        ui.separator();
        let panic = ui.button("Panic");
        pedals::menu_of(&panic, Action::Panic, wishes);
        if panic.on_hover_text("Ends all notes everywhere (Esc)").clicked() {
            wishes.send(Command::Panic);
        }
        ui.with_layout(Layout::right_to_left(Align::Center), |ui| {
            right(ui, view, look, has_help, wishes);
        });
    });
    file.show(ui, wishes);
}

fn transport(ui: &mut Ui, view: &View, wishes: &mut Wishes) {
    let transport = &view.transport;
    let word = if transport.is_playing { "Stop" } else { "Play" };
    let play = ui.button(word);
    pedals::menu_of(&play, Action::Play, wishes);
    if play.on_hover_text("Moves the song position that plugins see").clicked() {
        wishes.send(Command::Transport(!transport.is_playing));
    }
    let upper = f64::from(transport.signature[0].max(1));
    let per_bar = upper * 4.0 / f64::from(transport.signature[1].max(1));
    let bar = (transport.beats / per_bar).floor();
    let beat = (transport.beats - bar * per_bar) * upper / per_bar;
    ui.monospace(format!("{:>3}.{}", bar + 1.0, beat.floor() + 1.0)).on_hover_text("Bar and beat");
    let mut tempo = transport.tempo;
    let drag = DragValue::new(&mut tempo).range(1.0..=999.0).clamp_existing_to_range(false);
    let drag = drag.speed(0.2).max_decimals(2);
    let shown = ui.add(drag.suffix(" bpm"));
    pedals::menu_of(&shown, Action::TapTempo, wishes);
    if shown.changed() {
        wishes.send(Command::Tempo(tempo));
    }
}

fn right(ui: &mut Ui, view: &View, look: &mut Look, has_help: &mut bool, wishes: &mut Wishes) {
    let palette = look::palette(ui);
    ui.toggle_value(has_help, "?").on_hover_text("Keys and help (F1)");
    let theme = if look.is_light { "Dark" } else { "Light" };
    if ui.button(theme).clicked() {
        look.is_light = !look.is_light;
    }
    if ui.button("+").on_hover_text("Larger").clicked() {
        look.zoom = (look.zoom + 0.1).min(3.0);
    }
    if ui.button("-").on_hover_text("Smaller").clicked() {
        look.zoom = (look.zoom - 0.1).max(0.5);
    }
    ui.separator();
    let driver = &view.driver;
    let text = match (driver.is_running, driver.error.as_str()) {
        (true, _) => format!(
            "{}  {} frames  {:.1} ms",
            driver.settings.name, driver.frames, driver.latency_ms
        ),
        (false, "") => "driver stopped".into(),
        (false, _) => format!("{}: not running", driver.settings.name),
    };
    let color = if driver.is_running { ui.visuals().text_color() } else { palette.bad };
    let button = ui.button(RichText::new(text).color(color));
    if button.on_hover_text("Audio driver: device, buffer size, rate").clicked() {
        look.side = Side::Driver;
    }
    let engine = &view.engine;
    let late = engine.late + driver.xruns;
    let color = if late == 0 { palette.good } else { palette.bad };
    let text = RichText::new(format!("{late} late")).color(color);
    let hint = format!(
        "Blocks in which a plugin was not done in time: {}. Periods missed: {}. Click to count anew.",
        engine.late, driver.xruns
    );
    if ui.add(Button::new(text)).on_hover_text(hint).clicked() {
        wishes.send(Command::ResetStatistics);
    }
    let color = look::load_color(engine.load, palette);
    let text = RichText::new(format!("{:.0} %", engine.load * 100.0)).color(palette.on_color);
    ui.add(
        ProgressBar::new(engine.load.clamp(0.0, 1.0) as f32)
            .desired_width(110.0)
            .fill(color)
            .text(text),
    )
    .on_hover_text(format!(
        "Time in the callback, of a period of {}: half the blocks {}, 99 of 100 {}, at most {}",
        look::time(engine.period_ns),
        look::time(engine.busy.p50),
        look::time(engine.busy.p99),
        look::time(engine.busy.max)
    ));
    ui.label("Load");
    if let Some(advice) = &engine.restriction {
        ui.label(RichText::new("!").color(palette.warn).strong()).on_hover_text(advice);
    }
}
