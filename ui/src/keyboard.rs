//! Notes by mouse and by the computer's keyboard.

use crate::app::Wishes;
use crate::look;
use eframe::egui::{
    self, Align2, Color32, CornerRadius, FontId, Key, Pos2, Rect, Sense, Stroke, StrokeKind, Ui,
    pos2, vec2,
};
use sandrack_host::play::{Command, View};
use sandrack_host::rig::Id;
use std::collections::BTreeMap;

/// Keys of the computer's keyboard, as on a piano from C on: two rows, an octave and a half.
const KEYS: [Key; 18] = [
    Key::A,
    Key::W,
    Key::S,
    Key::E,
    Key::D,
    Key::F,
    Key::T,
    Key::G,
    Key::Y,
    Key::H,
    Key::U,
    Key::J,
    Key::K,
    Key::O,
    Key::L,
    Key::P,
    Key::Semicolon,
    Key::Quote,
];

/// What holds a note.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Holder {
    Mouse,
    Letter(Key),
}

/// A keyboard, and what is held on it.
pub(crate) struct Keyboard {
    /// The C of the letter A: a MIDI key.
    base: u8,
    velocity: f64,
    held: BTreeMap<Holder, (Id, u8)>,
}

impl Default for Keyboard {
    fn default() -> Self {
        Self { base: 60, velocity: 0.8, held: BTreeMap::new() }
    }
}

const LOWEST: u8 = 36;
const HIGHEST: u8 = 96;

impl Keyboard {
    /// Draws it for a track, and plays.
    pub(crate) fn show(
        &mut self,
        ui: &mut Ui,
        view: &View,
        track: Option<&Id>,
        wishes: &mut Wishes,
    ) {
        let Some(track) = track else {
            self.release(wishes);
            ui.weak("No track takes notes: add an instrument.");
            return;
        };
        ui.horizontal(|ui| {
            let name = view.track(track).map_or(track.as_str(), |track| &track.name);
            ui.label(format!("Plays {name}"));
            ui.weak("keys A to '; octave Z, X");
            ui.add(egui::Slider::new(&mut self.velocity, 0.01..=1.0).text("velocity"));
            ui.label(format!("octave {}", i16::from(self.base) / 12 - 1));
        });
        self.letters(ui, track, wishes);
        let size = vec2(ui.available_width(), 64.0);
        let (rect, response) = ui.allocate_exact_size(size, Sense::click_and_drag());
        let keys = layout(rect);
        let pointed = response
            .is_pointer_button_down_on()
            .then(|| response.interact_pointer_pos())
            .flatten()
            .and_then(|at| hit(&keys, at));
        match pointed {
            Some(key) => self.press(Holder::Mouse, track, key, wishes),
            None => self.let_go(Holder::Mouse, wishes),
        }
        self.paint(ui, &keys);
    }

    /// Ends what it holds.
    pub(crate) fn release(&mut self, wishes: &mut Wishes) {
        for (track, key) in std::mem::take(&mut self.held).into_values() {
            wishes.send(Command::NoteOff { track, key });
        }
    }

    fn letters(&mut self, ui: &Ui, track: &Id, wishes: &mut Wishes) {
        // Letters are text while a field has the keyboard; and a window that lost it hears no key up.
        let is_ours = !ui.ctx().text_edit_focused() && ui.input(|input| input.focused);
        let (down, pressed) = ui.input(|input| {
            let plain = !input.modifiers.command && !input.modifiers.alt;
            let down = |key: &Key| is_ours && plain && input.key_down(*key);
            let keys: Vec<bool> = KEYS.iter().map(down).collect();
            let pressed = |key| is_ours && plain && input.key_pressed(key);
            (keys, (pressed(Key::Z), pressed(Key::X)))
        });
        if pressed.0 {
            self.base = self.base.saturating_sub(12).max(24);
        }
        if pressed.1 {
            self.base = (self.base + 12).min(96);
        }
        for (number, (key, is_down)) in KEYS.iter().zip(down).enumerate() {
            let holder = Holder::Letter(*key);
            match (is_down, self.held.contains_key(&holder)) {
                (true, false) => self.press(holder, track, self.base + number as u8, wishes),
                (false, true) => self.let_go(holder, wishes),
                _ => {}
            }
        }
    }

    fn press(&mut self, holder: Holder, track: &Id, key: u8, wishes: &mut Wishes) {
        if self.held.get(&holder).is_some_and(|(_, held)| *held == key) {
            return;
        }
        self.let_go(holder, wishes);
        let key = key.min(127);
        wishes.send(Command::NoteOn { track: track.clone(), key, velocity: self.velocity });
        self.held.insert(holder, (track.clone(), key));
    }

    fn let_go(&mut self, holder: Holder, wishes: &mut Wishes) {
        if let Some((track, key)) = self.held.remove(&holder) {
            wishes.send(Command::NoteOff { track, key });
        }
    }

    fn paint(&self, ui: &Ui, keys: &[(u8, Rect, bool)]) {
        let palette = look::palette(ui);
        let painter = ui.painter();
        let is_held = |key: u8| self.held.values().any(|(_, held)| *held == key);
        for &(key, rect, is_black) in keys {
            let fill = match (is_held(key), is_black) {
                (true, _) => palette.accent,
                (false, true) => Color32::from_gray(0x22),
                (false, false) => Color32::from_gray(0xee),
            };
            painter.rect_filled(rect, CornerRadius::same(2), fill);
            let stroke = Stroke::new(1.0, Color32::from_gray(0x55));
            painter.rect_stroke(rect, CornerRadius::same(2), stroke, StrokeKind::Inside);
            if key.is_multiple_of(12) {
                let name = format!("C{}", i16::from(key) / 12 - 1);
                let at = pos2(rect.center().x, rect.bottom() - 3.0);
                let font = FontId::proportional(10.0);
                painter.text(at, Align2::CENTER_BOTTOM, name, font, Color32::from_gray(0x44));
            }
        }
    }
}

fn is_black(key: u8) -> bool {
    matches!(key % 12, 1 | 3 | 6 | 8 | 10)
}

/// Every key's place, white ones first, so that black ones are painted over them.
fn layout(rect: Rect) -> Vec<(u8, Rect, bool)> {
    let whites = (LOWEST..=HIGHEST).filter(|key| !is_black(*key)).count();
    let width = rect.width() / whites as f32;
    let (mut white, mut black) = (Vec::new(), Vec::new());
    let mut x = rect.left();
    for key in LOWEST..=HIGHEST {
        if is_black(key) {
            let size = vec2(width * 0.62, rect.height() * 0.62);
            let at = pos2(x - size.x / 2.0, rect.top());
            black.push((key, Rect::from_min_size(at, size), true));
        } else {
            let size = vec2(width - 0.5, rect.height());
            white.push((key, Rect::from_min_size(pos2(x, rect.top()), size), false));
            x += width;
        }
    }
    white.append(&mut black);
    white
}

fn hit(keys: &[(u8, Rect, bool)], at: Pos2) -> Option<u8> {
    keys.iter().rev().find(|(_, rect, _)| rect.contains(at)).map(|(key, ..)| *key)
}
