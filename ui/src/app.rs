//! The window's contents.

use crate::browser::Browser;
use crate::capacity::Capacity;
use crate::deadline::Deadline;
use crate::faults::Faults;
use crate::help;
use crate::keyboard::Keyboard;
use crate::look::{self, Bottom, Look, Side};
use crate::params::Params;
use crate::settings::Settings;
use crate::snapshots::Snapshots;
use crate::{plugin, rack, strip, top};
use eframe::egui::{self, Key, KeyboardShortcut, Modifiers, Panel, RichText, Ui};
use sandrack_host::play::{Command, MessageKind, View};
use sandrack_host::rig::{Id, TrackKind};

/// What is chosen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// A track or bus.
    Track(Id),
    /// A plugin.
    Plugin(Id),
}

/// Where the parts of the window put what they want done.
#[derive(Default)]
pub(crate) struct Wishes {
    pub(crate) commands: Vec<Command>,
    /// What is to be chosen.
    pub(crate) choice: Option<Choice>,
    /// A plugin is to be picked: for this track, at this place; or in the place of this plugin.
    pub(crate) browse: Option<Place>,
}

/// Where a picked plugin goes.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Place {
    /// Into a track, at a place; `None`: at the end.
    Into(Id, Option<usize>),
    /// Instead of a plugin.
    InsteadOf(Id),
}

impl Wishes {
    pub(crate) fn send(&mut self, command: Command) {
        self.commands.push(command);
    }
}

/// The window's contents, and what it remembers from frame to frame. Draws one [`View`] and gives
/// back what the user wants.
#[derive(Default)]
pub struct App {
    /// What the user chose to see.
    pub look: Look,
    choice: Option<Choice>,
    keyboard: Keyboard,
    browser: Browser,
    params: Params,
    snapshots: Snapshots,
    settings: Settings,
    deadline: Deadline,
    capacity: Capacity,
    faults: Faults,
    has_help: bool,
    last_message: u64,
    file: top::File,
}

const SAVE: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::S);
const UNDO: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Z);
const REDO: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::Y);
const REDO_TOO: KeyboardShortcut =
    KeyboardShortcut::new(Modifiers::COMMAND.plus(Modifiers::SHIFT), Key::Z);
const ADD: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::P);
const TRACK: KeyboardShortcut = KeyboardShortcut::new(Modifiers::COMMAND, Key::T);

impl App {
    /// A window that looks so.
    pub fn new(look: Look) -> Self {
        Self { look, ..Self::default() }
    }

    /// Draws a picture of the rig, and gives back what is to be done.
    pub fn draw(&mut self, ui: &mut Ui, view: &View) -> Vec<Command> {
        let mut wishes = Wishes::default();
        look::apply(ui);
        self.forget_what_is_gone(view);
        self.shortcuts(ui, view, &mut wishes);
        Panel::top("top").show(ui, |ui| {
            top::show(ui, view, &mut self.look, &mut self.file, &mut self.has_help, &mut wishes);
        });
        Panel::bottom("messages").show(ui, |ui| self.messages(ui, view));
        if self.look.has_keyboard {
            let track = self.playing(view);
            Panel::bottom("keyboard").show(ui, |ui| {
                self.keyboard.show(ui, view, track.as_ref(), &mut wishes);
            });
        } else {
            self.keyboard.release(&mut wishes);
        }
        self.bottom(ui, view, &mut wishes);
        self.side(ui, view, &mut wishes);
        egui::CentralPanel::default().show(ui, |ui| {
            rack::show(ui, view, self.choice.as_ref(), &mut wishes);
        });
        self.browser.show(ui, view, &mut wishes);
        help::show(ui, &mut self.has_help);
        self.capacity.step(view, &mut wishes);
        if let Some(place) = wishes.browse.take() {
            self.browser.open(place);
        }
        if let Some(choice) = wishes.choice.take() {
            self.look.side = match choice {
                Choice::Track(_) => Side::Track,
                Choice::Plugin(_) => Side::Plugin,
            };
            self.choice = Some(choice);
        }
        wishes.commands
    }

    /// Whether something moves by itself: another frame is wanted soon.
    pub(crate) fn is_lively(&self, view: &View) -> bool {
        let sounds = view.tracks.iter().any(|track| track.meter.iter().any(|m| m.held > 1e-4));
        let changes = view.is_changing || view.progress.is_some() || view.transport.is_playing;
        sounds
            || changes
            || self.capacity.is_busy()
            || self.browser.is_busy()
            || self.faults.is_busy()
    }

    fn forget_what_is_gone(&mut self, view: &View) {
        let is_there = match &self.choice {
            Some(Choice::Track(id)) => view.track(id).is_some(),
            Some(Choice::Plugin(id)) => view.plugin(id).is_some(),
            None => false,
        };
        if !is_there {
            let first = view.tracks.iter().flat_map(|track| &track.plugins).next();
            self.choice = first.map(|plugin| Choice::Plugin(plugin.id.clone()));
        }
    }

    /// The track that the keyboard plays: the chosen one, or else the first that takes notes.
    fn playing(&self, view: &View) -> Option<Id> {
        let chosen = match &self.choice {
            Some(Choice::Track(id)) => view.track(id),
            Some(Choice::Plugin(id)) => view.plugin(id).map(|(track, _)| track),
            None => None,
        };
        let takes_notes = |track: &&sandrack_host::play::TrackView| track.takes_notes;
        let track = chosen.filter(takes_notes).or_else(|| view.tracks.iter().find(takes_notes));
        track.map(|track| track.id.clone())
    }

    fn shortcuts(&mut self, ui: &Ui, view: &View, wishes: &mut Wishes) {
        let pressed = |shortcut| ui.input_mut(|input| input.consume_shortcut(&shortcut));
        // The longer ones first: the shorter ones would take them.
        if pressed(REDO_TOO) || pressed(REDO) {
            wishes.send(Command::Redo);
        }
        if pressed(UNDO) {
            wishes.send(Command::Undo);
        }
        if pressed(SAVE) {
            self.file.save(view, wishes);
        }
        if pressed(TRACK) {
            wishes.send(add_track(view, TrackKind::Track));
        }
        if pressed(ADD)
            && let Some(track) = self.chosen_track(view)
        {
            wishes.browse = Some(Place::Into(track, None));
        }
        if ui.ctx().text_edit_focused() || self.browser.is_open() {
            return;
        }
        let key = |key| ui.input_mut(|input| input.consume_key(Modifiers::NONE, key));
        if key(Key::F1) {
            self.has_help = !self.has_help;
        }
        if key(Key::Escape) {
            match self.has_help {
                true => self.has_help = false,
                false => wishes.send(Command::Panic),
            }
        }
        match &self.choice {
            Some(Choice::Plugin(id)) if key(Key::Delete) => {
                wishes.send(Command::RemovePlugin(id.clone()));
            }
            Some(Choice::Plugin(id)) if key(Key::F2) => {
                wishes.send(Command::OpenEditor(id.clone()));
            }
            Some(Choice::Plugin(id)) if key(Key::F5) => wishes.send(Command::Restart(id.clone())),
            Some(Choice::Plugin(id)) if key(Key::F4) => {
                let bypassed = view.plugin(id).is_some_and(|(_, plugin)| plugin.is_bypassed);
                wishes.send(Command::Bypass(id.clone(), !bypassed));
            }
            _ => {}
        }
    }

    fn chosen_track(&self, view: &View) -> Option<Id> {
        match &self.choice {
            Some(Choice::Track(id)) => Some(id.clone()),
            Some(Choice::Plugin(id)) => view.plugin(id).map(|(track, _)| track.id.clone()),
            None => view.tracks.first().map(|track| track.id.clone()),
        }
    }

    fn bottom(&mut self, ui: &mut Ui, view: &View, wishes: &mut Wishes) {
        Panel::bottom("tabs").show(ui, |ui| {
            ui.horizontal(|ui| {
                let faults = match view.faults.len() {
                    0 => "Faults".to_owned(),
                    count => format!("Faults ({count})"),
                };
                let tabs = [
                    (Bottom::Deadline, "Deadline".to_owned()),
                    (Bottom::Capacity, "Buffer sizes".to_owned()),
                    (Bottom::Faults, faults),
                ];
                for (tab, name) in tabs {
                    let is_open = self.look.bottom == tab;
                    if ui.selectable_label(is_open, name).clicked() {
                        self.look.bottom = if is_open { Bottom::Nothing } else { tab };
                    }
                }
                ui.separator();
                ui.toggle_value(&mut self.look.has_keyboard, "Keyboard");
            });
        });
        if self.look.bottom == Bottom::Nothing {
            return;
        }
        Panel::bottom("bottom").resizable(true).default_size(220.0).min_size(120.0).show(
            ui,
            |ui| match self.look.bottom {
                Bottom::Deadline => self.deadline.show(ui, view, wishes),
                Bottom::Capacity => self.capacity.show(ui, view),
                Bottom::Faults => self.faults.show(ui, view, wishes),
                Bottom::Nothing => {}
            },
        );
    }

    fn side(&mut self, ui: &mut Ui, view: &View, wishes: &mut Wishes) {
        if self.look.side == Side::Nothing {
            return;
        }
        Panel::right("side").resizable(true).default_size(330.0).min_size(260.0).show(ui, |ui| {
            ui.horizontal(|ui| {
                let tabs = [
                    (Side::Plugin, "Plugin"),
                    (Side::Track, "Track"),
                    (Side::Snapshots, "Snapshots"),
                    (Side::Driver, "Driver"),
                ];
                for (tab, name) in tabs {
                    ui.selectable_value(&mut self.look.side, tab, name);
                }
            });
            ui.separator();
            match (self.look.side, &self.choice) {
                (Side::Plugin, Some(Choice::Plugin(id))) => {
                    if let Some((_, chosen)) = view.plugin(id) {
                        plugin::show(ui, view, chosen, &mut self.params, wishes);
                    }
                }
                (Side::Plugin, _) => {
                    ui.weak("Choose a plugin in the rig to see what it does.");
                }
                (Side::Track, _) => match self.chosen_track(view) {
                    Some(id) => strip::details(ui, view, &id, wishes),
                    None => {
                        ui.weak("There is no track yet: press \"Add track\".");
                    }
                },
                (Side::Snapshots, _) => self.snapshots.show(ui, view, wishes),
                (Side::Driver, _) => self.settings.show(ui, view, wishes),
                (Side::Nothing, _) => {}
            }
        });
    }

    /// The newest message, and all of them in a menu.
    fn messages(&mut self, ui: &mut Ui, view: &View) {
        let palette = look::palette(ui);
        let color = |kind| match kind {
            MessageKind::Note => palette.weak,
            MessageKind::Warning => palette.warn,
            MessageKind::Error => palette.bad,
        };
        ui.horizontal(|ui| {
            if !view.messages.is_empty() {
                ui.menu_button("Messages", |ui| {
                    egui::ScrollArea::vertical().max_height(300.0).show(ui, |ui| {
                        for message in view.messages.iter().rev() {
                            ui.label(RichText::new(&message.text).color(color(message.kind)));
                        }
                    });
                });
            }
            if let Some(progress) = &view.progress {
                let share = progress.done as f32 / progress.of.max(1) as f32;
                let text = format!("{} {} of {}", progress.what, progress.done, progress.of);
                ui.add(egui::ProgressBar::new(share).desired_width(260.0).text(text));
            } else if let Some(message) = view.messages.last() {
                if message.number > self.last_message
                    && ui.small_button("x").on_hover_text("Don't show this any more").clicked()
                {
                    self.last_message = message.number;
                }
                if message.number > self.last_message {
                    let text = RichText::new(&message.text).color(color(message.kind));
                    ui.add(egui::Label::new(text).truncate());
                }
            } else {
                ui.weak("F1: keys and help");
            }
        });
    }
}

/// Adds a track with a name of its own.
pub(crate) fn add_track(view: &View, kind: TrackKind) -> Command {
    let word = match kind {
        TrackKind::Track => "Track",
        TrackKind::Bus => "Bus",
    };
    let name = (1..)
        .map(|number| format!("{word} {number}"))
        .find(|name| view.tracks.iter().all(|track| *track.name != **name))
        .unwrap_or_default();
    Command::AddTrack { name, kind, place: None }
}
