//! What pedals, buttons and keys do beside moving parameters: shown, learned, taken away.

use crate::app::Wishes;
use crate::look;
use eframe::egui::{ComboBox, Id as UiId, Response, RichText, Role, Ui};
use sandrack_host::play::{Command, Learning, View};
use sandrack_host::rig::{Action, Id, Mapping};

/// What a command is about, for people.
fn about(view: &View, mapping: &Mapping) -> String {
    let track = mapping.track.as_ref().map(|id| match view.track(id) {
        Some(track) => track.name.to_string(),
        None => id.to_string(),
    });
    let plugin = || {
        let id = mapping.plugin.as_ref()?;
        Some(view.plugin(id).map_or_else(|| id.to_string(), |(_, plugin)| plugin.name.to_string()))
    };
    track.or_else(plugin).unwrap_or_default()
}

fn what(view: &View, mapping: &Mapping) -> String {
    let about = about(view, mapping);
    match (mapping.command, &mapping.param) {
        (Some(action), _) => format!("{action} {about}"),
        (None, Some(param)) => format!("parameter {param} of {about}"),
        (None, None) => format!("fader of {about}"),
    }
}

/// The menu of a button: whoever opens it gets another one to do the same.
pub(crate) fn menu(button: &Response, mapping: impl Fn() -> Mapping, wishes: &mut Wishes) {
    button.context_menu(|ui| {
        let hint = "The next controller, key or program that comes in does this from then on";
        if ui.button("Learn a pedal or button").on_hover_text(hint).clicked() {
            wishes.send(Command::LearnMapping(Some(mapping())));
            ui.close();
        }
    });
}

/// The same for what is about the whole rig.
pub(crate) fn menu_of(button: &Response, action: Action, wishes: &mut Wishes) {
    menu(button, || Mapping { command: Some(action), ..Mapping::default() }, wishes);
}

/// All of them, and what one that is to come does.
pub(crate) fn show(ui: &mut Ui, view: &View, wishes: &mut Wishes) {
    for (number, mapping) in view.mappings.iter().enumerate() {
        ui.push_id(number, |ui| {
            ui.horizontal(|ui| {
                let mut by = mapping.control_name();
                if let Some(channel) = mapping.channel {
                    by += &format!(", channel {channel}");
                }
                if let Some(port) = &mapping.port {
                    by += &format!(", {port}");
                }
                let text = what(view, mapping);
                ui.label(format!("{by}: {text}"));
                let hint = "It does this no more";
                let remove = ui.small_button("x").on_hover_text(hint);
                look::name(&remove, Role::Button, &format!("Forget {text}"));
                if remove.clicked() {
                    wishes.send(Command::RemoveMapping(mapping.clone()));
                }
            });
        });
    }
    let place = UiId::unique("pedal to come");
    let first = || Mapping { command: Some(Action::Panic), ..Mapping::default() };
    let mut wanted: Mapping = ui.data(|data| data.get_temp(place)).unwrap_or_else(first);
    ui.horizontal_wrapped(|ui| {
        let action = wanted.command.unwrap_or(Action::Panic);
        let shown = ComboBox::from_id_salt("does").selected_text(action.word()).width(130.0);
        let shown = shown.show_ui(ui, |ui| {
            for action in Action::ALL {
                ui.selectable_value(&mut wanted.command, Some(action), action.word());
            }
        });
        look::name(&shown.response, Role::ComboBox, "Does");
        let action = wanted.command.unwrap_or(Action::Panic);
        let is_ready = target(ui, view, action, &mut wanted);
        let is_learning = view.learning == Some(Learning::Mapping(wanted.clone()));
        let (word, hint) = match is_learning {
            true => ("Press it now ...", "Press the pedal, button or key; click to give up"),
            false => ("Learn", "The next controller, key or program does this"),
        };
        let text = RichText::new(word);
        let text = if is_learning { text.color(look::palette(ui).warn) } else { text };
        let button = ui.add_enabled(is_ready, eframe::egui::Button::new(text));
        if button.on_hover_text(hint).clicked() {
            wishes.send(Command::LearnMapping((!is_learning).then(|| wanted.clone())));
        }
    });
    ui.data_mut(|data| data.insert_temp(place, wanted));
}

/// Chooses what a command is about. Whether there is such a thing.
fn target(ui: &mut Ui, view: &View, action: Action, wanted: &mut Mapping) -> bool {
    if !action.is_of_track() {
        (wanted.track, wanted.plugin) = (None, None);
        return true;
    }
    let tracks = view.tracks.iter().map(|track| (Some(track.id.clone()), None, &*track.name));
    let plugins = view.tracks.iter().flat_map(|track| &track.plugins);
    let plugins = plugins.map(|plugin| (None, Some(plugin.id.clone()), &*plugin.name));
    let plugins = plugins.filter(|_| action.is_of_plugin());
    let all: Vec<(Option<Id>, Option<Id>, &str)> = tracks.chain(plugins).collect();
    let is_it = |(track, plugin, _): &&(Option<Id>, Option<Id>, &str), wanted: &Mapping| {
        (track, plugin) == (&wanted.track, &wanted.plugin)
    };
    if !all.iter().any(|one| is_it(&one, wanted)) {
        let Some((track, plugin, _)) = all.first().cloned() else { return false };
        (wanted.track, wanted.plugin) = (track, plugin);
    }
    let name = all.iter().find(|one| is_it(one, wanted)).map_or("", |(.., name)| *name);
    let shown = ComboBox::from_id_salt("about").selected_text(name).width(130.0);
    let shown = shown.show_ui(ui, |ui| {
        for (number, one) in all.iter().enumerate() {
            ui.push_id(number, |ui| {
                if ui.selectable_label(is_it(&one, wanted), one.2).clicked() {
                    (wanted.track, wanted.plugin) = (one.0.clone(), one.1.clone());
                }
            });
        }
    });
    look::name(&shown.response, Role::ComboBox, "What it is about");
    true
}
