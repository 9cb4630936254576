//! The rig: a row a track, its plugins from left to right, its fader and meter at the right end.

use crate::app::{Choice, Place, Wishes, add_track};
use crate::look::{self, Palette};
use crate::strip;
use eframe::egui::{
    self, Align2, Color32, CornerRadius, FontId, Rect, Role, ScrollArea, Sense, Stroke, StrokeKind,
    Ui, UiBuilder, Vec2, WidgetInfo, pos2, vec2,
};
use sandrack_host::play::{Command, PluginView, TrackView, View, WorkerState};
use sandrack_host::rig::{Id, TrackKind};

const ROW: f32 = 76.0;
const NAME: f32 = 118.0;
const STRIP: f32 = 250.0;
const TILE: Vec2 = vec2(142.0, 64.0);

/// What is dragged: a plugin.
struct Dragged(Id);

pub(crate) fn show(ui: &mut Ui, view: &View, choice: Option<&Choice>, wishes: &mut Wishes) {
    ui.horizontal(|ui| {
        if ui.button("Add track").on_hover_text("Ctrl+T").clicked() {
            wishes.send(add_track(view, TrackKind::Track));
        }
        if ui.button("Add bus").on_hover_text("Sums what tracks send it").clicked() {
            wishes.send(add_track(view, TrackKind::Bus));
        }
        ui.weak("Drag plugins to move them. Click one to see it.");
    });
    if view.tracks.is_empty() {
        ui.add_space(30.0);
        ui.vertical_centered(|ui| {
            ui.heading("This rig is empty");
            ui.label("Add a track, then a plugin to it.");
        });
        return;
    }
    // Only what can be seen is laid out: a rig of hundreds of plugins costs no more than a screenful.
    ScrollArea::vertical().auto_shrink(false).show_rows(ui, ROW, view.tracks.len(), |ui, rows| {
        for track in &view.tracks[rows] {
            row(ui, view, track, choice, wishes);
        }
    });
}

fn row(ui: &mut Ui, view: &View, track: &TrackView, choice: Option<&Choice>, wishes: &mut Wishes) {
    let palette = look::palette(ui);
    let width = ui.available_width();
    let (rect, _) = ui.allocate_exact_size(vec2(width, ROW), Sense::hover());
    let is_chosen = choice == Some(&Choice::Track(track.id.clone()));
    let stroke = Stroke::new(1.0, if is_chosen { palette.accent } else { palette.line });
    ui.painter().rect_stroke(rect, CornerRadius::same(6), stroke, StrokeKind::Inside);
    let inner = rect.shrink(5.0);
    let name = Rect::from_min_size(inner.min, vec2(NAME, inner.height()));
    let strip_rect = Rect::from_min_max(pos2(inner.right() - STRIP, inner.top()), inner.max);
    let chain = Rect::from_min_max(
        pos2(name.right() + 6.0, inner.top()),
        pos2(strip_rect.left() - 6.0, inner.bottom()),
    );
    // Children of their own: what is in them moves nothing else.
    let part = |ui: &mut Ui, rect: Rect, what: &str| {
        ui.new_child(UiBuilder::new().max_rect(rect).id_salt((what, &track.id)))
    };
    head(&mut part(ui, name, "name"), view, track, is_chosen, wishes);
    let mut middle = part(ui, chain, "chain");
    middle.set_clip_rect(ui.clip_rect().intersect(chain));
    ScrollArea::horizontal().id_salt("plugins").auto_shrink(false).show(&mut middle, |ui| {
        ui.horizontal(|ui| plugins(ui, track, choice, wishes));
    });
    strip::show(&mut part(ui, strip_rect, "strip"), track, wishes);
}

fn head(ui: &mut Ui, view: &View, track: &TrackView, is_chosen: bool, wishes: &mut Wishes) {
    let palette = look::palette(ui);
    let button = ui.selectable_label(is_chosen, egui::RichText::new(&*track.name).strong());
    if button.clicked() {
        wishes.choice = Some(Choice::Track(track.id.clone()));
    }
    if button.hovered() || button.context_menu_opened() {
        let place = view.tracks.iter().position(|other| other.id == track.id).unwrap_or(0);
        button.context_menu(|ui| {
            if ui.button("Move up").clicked() && place > 0 {
                wishes.send(Command::MoveTrack(track.id.clone(), place - 1));
            }
            if ui.button("Move down").clicked() && place + 1 < view.tracks.len() {
                wishes.send(Command::MoveTrack(track.id.clone(), place + 1));
            }
            if ui.button("Remove").clicked() {
                wishes.send(Command::RemoveTrack(track.id.clone()));
            }
        });
    }
    let kind = match track.kind {
        TrackKind::Bus => "bus",
        TrackKind::Track if track.takes_notes => "notes",
        TrackKind::Track => "track",
    };
    ui.horizontal(|ui| {
        ui.label(egui::RichText::new(kind).small().color(palette.weak));
        let to = strip::output_name(view, &track.output);
        ui.label(egui::RichText::new(format!("to {to}")).small().color(palette.weak));
    });
}

fn plugins(ui: &mut Ui, track: &TrackView, choice: Option<&Choice>, wishes: &mut Wishes) {
    for (place, plugin) in track.plugins.iter().enumerate() {
        gap(ui, track, place, wishes);
        let is_chosen = choice == Some(&Choice::Plugin(plugin.id.clone()));
        tile(ui, plugin, is_chosen, wishes);
    }
    gap(ui, track, track.plugins.len(), wishes);
    let add = ui.add_sized([36.0, TILE.y], egui::Button::new("+"));
    add.widget_info(|| {
        WidgetInfo::labeled(Role::Button, true, format!("Add plugin to {}", track.name))
    });
    if add.on_hover_text("Add a plugin here (Ctrl+P)").clicked() {
        wishes.browse = Some(Place::Into(track.id.clone(), None));
    }
}

/// Between plugins: where one can be dropped.
fn gap(ui: &mut Ui, track: &TrackView, place: usize, wishes: &mut Wishes) {
    let (rect, response) = ui.allocate_exact_size(vec2(8.0, TILE.y), Sense::hover());
    let palette = look::palette(ui);
    if response.dnd_hover_payload::<Dragged>().is_some() {
        ui.painter().rect_filled(rect, CornerRadius::same(3), palette.accent);
    } else {
        let middle = rect.center();
        let line = [pos2(rect.left(), middle.y), pos2(rect.right(), middle.y)];
        ui.painter().line_segment(line, Stroke::new(1.5, palette.line));
    }
    if let Some(dragged) = response.dnd_release_payload::<Dragged>() {
        // Places count without the plugin that is moved.
        let from = track.plugins.iter().position(|plugin| plugin.id == dragged.0);
        let place = place - usize::from(from.is_some_and(|from| from < place));
        if from != Some(place) {
            let (plugin, track) = (dragged.0.clone(), track.id.clone());
            wishes.send(Command::MovePlugin { plugin, track, place });
        }
    }
}

/// A plugin: name, state, load.
fn tile(ui: &mut Ui, plugin: &PluginView, is_chosen: bool, wishes: &mut Wishes) {
    let (rect, response) = ui.allocate_exact_size(TILE, Sense::click_and_drag());
    let (word, color) = look::worker_state(plugin.state, look::palette(ui));
    response.widget_info(|| {
        let text = format!("{}, {word}", plugin.name);
        WidgetInfo::selected(Role::Button, true, is_chosen, text)
    });
    if response.clicked() {
        wishes.choice = Some(Choice::Plugin(plugin.id.clone()));
    }
    if response.double_clicked() {
        wishes.send(Command::OpenEditor(plugin.id.clone()));
    }
    response.dnd_set_drag_payload(Dragged(plugin.id.clone()));
    if ui.is_rect_visible(rect) {
        paint(ui, rect, plugin, (word, color), is_chosen, &response);
    }
    if response.hovered() && !plugin.reason.is_empty() {
        response.clone().on_hover_text(&*plugin.reason);
    }
    if response.hovered() || response.context_menu_opened() {
        response.context_menu(|ui| menu(ui, plugin, wishes));
    }
}

fn paint(
    ui: &Ui,
    rect: Rect,
    plugin: &PluginView,
    (word, color): (&str, Color32),
    is_chosen: bool,
    response: &egui::Response,
) {
    let palette: &Palette = look::palette(ui);
    let painter = ui.painter().with_clip_rect(rect.intersect(ui.clip_rect()));
    painter.rect_filled(rect, CornerRadius::same(5), palette.tile);
    let edge = match (is_chosen || response.has_focus(), response.hovered()) {
        (true, _) => Stroke::new(2.0, palette.accent),
        (false, true) => Stroke::new(1.0, palette.weak),
        (false, false) => Stroke::new(1.0, palette.line),
    };
    painter.rect_stroke(rect, CornerRadius::same(5), edge, StrokeKind::Inside);
    let text = if plugin.is_bypassed { palette.weak } else { ui.visuals().strong_text_color() };
    let inner = rect.shrink2(vec2(8.0, 6.0));
    let name = painter.with_clip_rect(inner.intersect(painter.clip_rect()));
    name.text(inner.left_top(), Align2::LEFT_TOP, &plugin.name, FontId::proportional(14.0), text);
    let dot = pos2(inner.left() + 4.0, inner.top() + 27.0);
    painter.circle_filled(dot, 4.0, color);
    let word = match plugin.is_bypassed && plugin.state == WorkerState::Running {
        true => "bypassed",
        false => word,
    };
    let small = FontId::proportional(11.5);
    painter.text(pos2(dot.x + 9.0, dot.y), Align2::LEFT_CENTER, word, small.clone(), color);
    let share = plugin.load.share;
    let figure = format!("{:.0} %", share * 100.0);
    let right = pos2(inner.right(), dot.y);
    painter.text(right, Align2::RIGHT_CENTER, figure, small, palette.weak);
    let bar = Rect::from_min_max(pos2(inner.left(), inner.bottom() - 6.0), inner.max);
    painter.rect_filled(bar, CornerRadius::same(2), palette.trough);
    let mut filled = bar;
    filled.set_width(bar.width() * share.clamp(0.0, 1.0) as f32);
    painter.rect_filled(filled, CornerRadius::same(2), look::load_color(share, palette));
}

fn menu(ui: &mut Ui, plugin: &PluginView, wishes: &mut Wishes) {
    let id = || plugin.id.clone();
    if plugin.has_editor && ui.button("Open editor").clicked() {
        wishes.send(Command::OpenEditor(id()));
    }
    let word = if plugin.is_bypassed { "Stop bypassing" } else { "Bypass" };
    if ui.button(word).clicked() {
        wishes.send(Command::Bypass(id(), !plugin.is_bypassed));
    }
    if ui.button("Restart").clicked() {
        wishes.send(Command::Restart(id()));
    }
    if ui.button("Replace...").clicked() {
        wishes.browse = Some(Place::InsteadOf(id()));
    }
    if ui.button("Remove").clicked() {
        wishes.send(Command::RemovePlugin(id()));
    }
}
