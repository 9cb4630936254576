//! Picking a plugin from those that a scan has found.

use crate::app::{Place, Wishes};
use eframe::egui::{self, Key, Modal, RichText, ScrollArea, TextEdit, Ui};
use sandrack_host::catalog::cache::{self, Cache};
use sandrack_host::catalog::find::matches;
use sandrack_host::catalog::scan::scan_standard;
use sandrack_host::catalog::{Failed, Known};
use sandrack_host::play::{Command, View};
use std::sync::mpsc::{Receiver, Sender, channel};

/// A window in the window: search, choose, add.
#[derive(Default)]
pub(crate) struct Browser {
    place: Option<Place>,
    words: String,
    chosen: usize,
    plugins: Vec<Known>,
    failed: Vec<Failed>,
    note: String,
    is_read: bool,
    scanning: Option<Scanning>,
    just_opened: bool,
}

struct Scanning {
    told: Receiver<Told>,
    done: usize,
    of: usize,
    what: String,
}

enum Told {
    Progress(usize, usize, String),
    Done(Result<(), String>),
}

impl Browser {
    pub(crate) fn open(&mut self, place: Place) {
        self.place = Some(place);
        self.just_opened = true;
        self.chosen = 0;
        if !self.is_read {
            self.read();
        }
    }

    pub(crate) fn is_open(&self) -> bool {
        self.place.is_some()
    }

    pub(crate) fn is_busy(&self) -> bool {
        self.scanning.is_some()
    }

    fn read(&mut self) {
        self.is_read = true;
        match cache::path().and_then(|path| Cache::read(&path)) {
            Ok(cache) => {
                self.plugins = cache.plugins();
                self.failed = cache.failed();
                self.note.clear();
            }
            Err(error) => self.note = error.to_string(),
        }
    }

    pub(crate) fn show(&mut self, ui: &Ui, view: &View, wishes: &mut Wishes) {
        self.hear();
        let Some(place) = self.place.clone() else { return };
        let modal = Modal::new(egui::Id::unique("browser")).show(ui.ctx(), |ui| {
            ui.set_width(560.0);
            ui.heading(match &place {
                Place::Into(track, _) => {
                    let name = view.track(track).map_or(track.as_str(), |track| &track.name);
                    format!("Add a plugin to {name}")
                }
                Place::InsteadOf(plugin) => {
                    let name = view.plugin(plugin).map_or(plugin.as_str(), |(_, p)| &p.name);
                    format!("Replace {name}")
                }
            });
            self.contents(ui)
        });
        if let Some(known) = modal.inner {
            wishes.send(match place {
                Place::Into(track, place) => {
                    Command::AddPlugin { track, place, plugin: known.reference(), group: None }
                }
                Place::InsteadOf(plugin) => {
                    Command::ReplacePlugin { plugin, by: known.reference() }
                }
            });
            self.place = None;
        } else if modal.should_close() {
            self.place = None;
        }
    }

    /// What was picked.
    fn contents(&mut self, ui: &mut Ui) -> Option<Known> {
        let hint = "name, maker, kind, format: dragonfly reverb vst3";
        let edit =
            TextEdit::singleline(&mut self.words).hint_text(hint).desired_width(f32::INFINITY);
        let field = ui.add(edit);
        if std::mem::take(&mut self.just_opened) {
            field.request_focus();
        }
        if field.changed() {
            self.chosen = 0;
        }
        let words: Vec<String> = self.words.split_whitespace().map(str::to_owned).collect();
        let found: Vec<&Known> = self.plugins.iter().filter(|p| matches(p, &words)).collect();
        let (up, down, enter) = ui.input(|input| {
            let pressed = |key| input.key_pressed(key);
            (pressed(Key::ArrowUp), pressed(Key::ArrowDown), pressed(Key::Enter))
        });
        let mut chosen = self.chosen.min(found.len().saturating_sub(1));
        chosen = chosen.saturating_sub(usize::from(up));
        chosen = (chosen + usize::from(down)).min(found.len().saturating_sub(1));
        let mut picked = enter.then(|| found.get(chosen).map(|known| (*known).clone())).flatten();
        if found.is_empty() {
            ui.add_space(8.0);
            ui.label(match self.plugins.is_empty() {
                true => "No plugins are known yet: press \"Scan\" below.",
                false => "No plugin has all these words.",
            });
        }
        ScrollArea::vertical().max_height(360.0).auto_shrink(false).show_rows(
            ui,
            26.0,
            found.len(),
            |ui, rows| {
                for index in rows {
                    let known = found[index];
                    let response = ui
                        .horizontal(|ui| {
                            let name = RichText::new(&known.descriptor.name).strong();
                            let response = ui.selectable_label(index == chosen, name);
                            let d = &known.descriptor;
                            ui.weak(format!("{}  {}  {}", d.vendor, known.kind, known.format));
                            response
                        })
                        .inner;
                    if response.clicked() {
                        picked = Some(known.clone());
                    }
                }
            },
        );
        self.chosen = chosen;
        ui.separator();
        self.foot(ui);
        picked
    }

    fn foot(&mut self, ui: &mut Ui) {
        ui.horizontal(|ui| {
            if let Some(scanning) = &self.scanning {
                let share = scanning.done as f32 / scanning.of.max(1) as f32;
                ui.add(egui::ProgressBar::new(share).desired_width(160.0));
                ui.weak(format!("{} of {}  {}", scanning.done, scanning.of, scanning.what));
            } else {
                let hint =
                    "Looks for plugins in the standard folders, each in a process of its own";
                if ui.button("Scan").on_hover_text(hint).clicked() {
                    self.scan(ui.ctx().clone());
                }
                ui.weak(format!("{} plugins known", self.plugins.len()));
                if !self.failed.is_empty() {
                    ui.menu_button(format!("{} files failed", self.failed.len()), |ui| {
                        for failed in &self.failed {
                            ui.label(format!("{}: {}", failed.path.display(), failed.reason));
                        }
                    });
                }
            }
        });
        if !self.note.is_empty() {
            ui.label(&self.note);
        }
    }

    fn scan(&mut self, ctx: egui::Context) {
        let (tell, told) = channel();
        std::thread::spawn(move || {
            let done = run(&tell, &ctx);
            let _ = tell.send(Told::Done(done));
            ctx.request_repaint();
        });
        self.scanning = Some(Scanning { told, done: 0, of: 0, what: String::new() });
    }

    fn hear(&mut self) {
        let Some(scanning) = &mut self.scanning else { return };
        let mut done = None;
        for told in scanning.told.try_iter() {
            match told {
                Told::Progress(count, of, what) => {
                    (scanning.done, scanning.of, scanning.what) = (count, of, what);
                }
                Told::Done(result) => done = Some(result),
            }
        }
        if let Some(result) = done {
            self.scanning = None;
            self.read();
            if let Err(error) = result {
                self.note = error;
            }
        }
    }
}

fn run(tell: &Sender<Told>, ctx: &egui::Context) -> Result<(), String> {
    let done = scan_standard(|done, of, running| {
        let name = running.first().and_then(|path| path.file_name());
        let name = name.map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let _ = tell.send(Told::Progress(done, of, name));
        ctx.request_repaint();
    });
    done.map(|_| ()).map_err(|error| error.to_string())
}
