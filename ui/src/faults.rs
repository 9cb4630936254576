//! What went wrong with plugins, and what can be done about it.

use crate::app::{Choice, Wishes};
use crate::look;
use eframe::egui::{Modal, RichText, ScrollArea, Ui};
use sandrack_host::faults::FaultRecord;
use sandrack_host::play::{Command, View};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::mpsc::{Receiver, channel};

/// Replays that are running or were run.
#[derive(Default)]
pub(crate) struct Faults {
    replay: Option<Replay>,
}

struct Replay {
    file: PathBuf,
    told: Option<Receiver<String>>,
    text: String,
}

impl Faults {
    pub(crate) fn is_busy(&self) -> bool {
        self.replay.as_ref().is_some_and(|replay| replay.told.is_some())
    }

    pub(crate) fn show(&mut self, ui: &mut Ui, view: &View, wishes: &mut Wishes) {
        let palette = look::palette(ui);
        ui.horizontal(|ui| {
            if view.faults.is_empty() {
                ui.weak("Nothing went wrong.");
            } else if ui.button("Count anew").clicked() {
                wishes.send(Command::ResetStatistics);
            }
        });
        let count = view.faults.len();
        ScrollArea::vertical().auto_shrink(false).stick_to_bottom(true).show_rows(
            ui,
            24.0,
            count,
            |ui, rows| {
                for fault in &view.faults[rows] {
                    ui.horizontal(|ui| {
                        ui.monospace(format!("block {:>8}", fault.block));
                        let plugin = view.tracks.iter().flat_map(|track| &track.plugins);
                        let mut plugin =
                            plugin.filter(|p| p.node.is_some_and(|n| n.raw() == fault.node));
                        if ui.link(&fault.name).clicked()
                            && let Some(plugin) = plugin.next()
                        {
                            wishes.choice = Some(Choice::Plugin(plugin.id.clone()));
                        }
                        ui.label(RichText::new(kind(fault)).color(palette.warn));
                        ui.label(&fault.cause);
                        self.buttons(ui, fault);
                    });
                }
            },
        );
        self.result(ui);
    }

    /// What can be done about a fault: run its recording again, or see what would have been allowed.
    fn buttons(&mut self, ui: &mut Ui, fault: &FaultRecord) {
        let file = fault.details.as_ref().and_then(|details| details.file.as_ref());
        if let Some(file) = file
            && ui.button("Replay").on_hover_text(file.display().to_string()).clicked()
        {
            self.start(file.clone());
        }
    }

    fn result(&mut self, ui: &Ui) {
        let Some(replay) = &mut self.replay else { return };
        if let Some(told) = &replay.told
            && let Ok(text) = told.try_recv()
        {
            replay.text = text;
            replay.told = None;
        }
        let modal = Modal::new(eframe::egui::Id::unique("replay")).show(ui.ctx(), |ui| {
            ui.set_width(620.0);
            ui.heading("Replay");
            ui.weak(replay.file.display().to_string());
            match &replay.told {
                Some(_) => {
                    ui.spinner();
                }
                None => {
                    ScrollArea::both().max_height(360.0).show(ui, |ui| ui.monospace(&replay.text));
                }
            }
            ui.weak("To stop before the block and look with a debugger:");
            ui.monospace(format!("sandrack replay --gdb {}", replay.file.display()));
            ui.button("Close").clicked()
        });
        if modal.inner || modal.should_close() {
            self.replay = None;
        }
    }

    fn start(&mut self, file: PathBuf) {
        let (tell, told) = channel();
        let path = file.clone();
        std::thread::spawn(move || {
            let _ = tell.send(run(&path));
        });
        self.replay = Some(Replay { file, told: Some(told), text: String::new() });
    }
}

/// What happened, in a word.
fn kind(fault: &FaultRecord) -> String {
    let value = serde_json::to_value(fault.kind).unwrap_or_default();
    value.get("kind").and_then(|kind| kind.as_str()).unwrap_or("fault").to_owned()
}

/// Runs `sandrack replay`, which lies beside this program.
fn run(file: &std::path::Path) -> String {
    let program = std::env::current_exe().ok().and_then(|path| {
        Some(path.parent()?.join(format!("sandrack{}", std::env::consts::EXE_SUFFIX)))
    });
    let program = program.filter(|path| path.exists()).unwrap_or_else(|| "sandrack".into());
    let done =
        std::process::Command::new(&program).arg("replay").arg(file).stdin(Stdio::null()).output();
    match done {
        Ok(output) => {
            let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
            text += &String::from_utf8_lossy(&output.stderr);
            text
        }
        Err(error) => format!("{}: {error}: put it beside this program", program.display()),
    }
}
