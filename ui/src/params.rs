//! A plugin's parameters: search, set, learn.

use crate::app::Wishes;
use crate::look;
use eframe::egui::{RichText, ScrollArea, Slider, TextEdit, Ui};
use sandrack_host::play::{Command, Learning, ParamValue, ParamView, PluginView, View};

/// What is searched for.
#[derive(Default)]
pub(crate) struct Params {
    words: String,
    /// The parameters found: indices, and of what they were.
    found: Vec<usize>,
    of: Option<(sandrack_host::rig::Id, usize, String)>,
}

const ROW: f32 = 26.0;

pub(crate) fn show(
    ui: &mut Ui,
    view: &View,
    plugin: &PluginView,
    params: &mut Params,
    wishes: &mut Wishes,
) {
    ui.horizontal(|ui| {
        ui.label(RichText::new("Parameters").strong());
        let hint = format!("search {}", plugin.params.len());
        ui.add(TextEdit::singleline(&mut params.words).hint_text(hint).desired_width(150.0));
    });
    params.search(plugin);
    if params.found.is_empty() {
        ui.weak(if plugin.params.is_empty() { "It has none." } else { "None has these words." });
        return;
    }
    let count = params.found.len();
    // Only those that can be seen: some plugins have thousands.
    ScrollArea::vertical().auto_shrink(false).show_rows(ui, ROW, count, |ui, rows| {
        for &index in &params.found[rows] {
            if let (Some(param), Some(value)) = (plugin.params.get(index), plugin.values.get(index))
            {
                ui.push_id(param.id, |ui| row(ui, view, plugin, param, value, wishes));
            }
        }
    });
}

impl Params {
    fn search(&mut self, plugin: &PluginView) {
        let of = (plugin.id.clone(), plugin.params.len(), self.words.clone());
        if self.of.as_ref() == Some(&of) {
            return;
        }
        let words: Vec<_> = self.words.split_whitespace().map(str::to_lowercase).collect();
        let has_all = |param: &ParamView| {
            let text = format!("{} {}", param.module, param.name).to_lowercase();
            words.iter().all(|word| text.contains(word))
        };
        let all = plugin.params.iter().enumerate();
        let found = all.filter(|(_, param)| !param.hidden && has_all(param));
        self.found = found.map(|(index, _)| index).collect();
        self.of = Some(of);
    }
}

fn row(
    ui: &mut Ui,
    view: &View,
    plugin: &PluginView,
    param: &ParamView,
    value: &ParamValue,
    wishes: &mut Wishes,
) {
    ui.horizontal(|ui| {
        ui.set_height(ROW);
        let name = ui.add_sized([108.0, 18.0], label(&param.name));
        if name.hovered() && !param.module.is_empty() {
            name.clone().on_hover_text(&param.module);
        }
        if param.read_only {
            ui.weak(text(param, value));
            return;
        }
        let mut number = value.value;
        let mut slider = Slider::new(&mut number, param.min..=param.max).show_value(false);
        if param.steps > 0 {
            slider = slider.step_by((param.max - param.min) / f64::from(param.steps));
        }
        let slider = ui.add(slider).labelled_by(name.id);
        if slider.double_clicked() {
            number = param.default;
        }
        if number != value.value {
            wishes.send(Command::SetParam(plugin.id.clone(), param.id, number));
        }
        ui.add_sized([64.0, 18.0], label(&text(param, value)));
        learn(ui, view, plugin, param, wishes);
    });
}

fn label(text: &str) -> eframe::egui::Label {
    eframe::egui::Label::new(RichText::new(text).small()).truncate()
}

fn text(param: &ParamView, value: &ParamValue) -> String {
    let text = match value.text.is_empty() {
        true => format!("{:.2}", value.value),
        false => value.text.to_string(),
    };
    match param.unit.is_empty() || text.ends_with(&param.unit) {
        true => text,
        false => format!("{text} {}", param.unit),
    }
}

fn learn(ui: &mut Ui, view: &View, plugin: &PluginView, param: &ParamView, wishes: &mut Wishes) {
    let this = (plugin.id.clone(), param.id);
    let is_learning = matches!(&view.learning, Some(Learning::Param(id, param))
        if (id, *param) == (&this.0, this.1));
    let palette = look::palette(ui);
    let (word, hint) = match (is_learning, param.controller) {
        (true, _) => ("...".to_owned(), "Move a controller; click to give up".to_owned()),
        (false, Some(number)) => (
            format!("CC{number}"),
            format!("Moved by controller {number}. Click to learn another, right-click to forget"),
        ),
        (false, None) => ("L".into(), "Learn: the next controller that moves, moves this".into()),
    };
    let color = if is_learning { palette.warn } else { palette.weak };
    let button = ui.small_button(RichText::new(word).color(color)).on_hover_text(hint);
    if button.clicked() {
        wishes.send(Command::Learn((!is_learning).then_some(this)));
    } else if button.secondary_clicked() {
        wishes.send(Command::Forget(plugin.id.clone(), param.id));
    }
}
