//! One plugin: how its worker is, what it costs, what it may do, its parameters.

use crate::app::{Place, Wishes};
use crate::look;
use crate::midi;
use crate::params::{self, Params};
use crate::pedals;
use eframe::egui::{CollapsingHeader, ComboBox, Grid, RichText, ScrollArea, TextEdit, Ui};
use sandrack_host::play::{Command, Level, PluginView, Times, View, WorkerState};
use sandrack_host::rig::{Action, Mapping, SideChain};

pub(crate) fn show(
    ui: &mut Ui,
    view: &View,
    plugin: &PluginView,
    params: &mut Params,
    wishes: &mut Wishes,
) {
    let palette = look::palette(ui);
    ui.heading(&*plugin.name);
    let (word, color) = look::worker_state(plugin.state, palette);
    ui.horizontal(|ui| {
        ui.label(RichText::new(word).color(color).strong());
        ui.weak(format!("{}  {}", plugin.vendor, plugin.format));
    });
    if !plugin.reason.is_empty() {
        ui.label(RichText::new(&*plugin.reason).color(color));
    }
    buttons(ui, plugin, wishes);
    CollapsingHeader::new("Time").default_open(true).show(ui, |ui| times(ui, view, plugin));
    CollapsingHeader::new(format!("Confinement: {}", plugin.confinement.level))
        .id_salt("confinement")
        .show(ui, |ui| confinement(ui, plugin, wishes));
    side_chains(ui, view, plugin, wishes);
    if plugin.gives_notes || !plugin.midi_out.is_empty() {
        let mut outputs = plugin.midi_out.clone();
        ui.label("The notes that it puts out go to");
        midi::outputs(ui, view, "plugin", &mut outputs);
        if outputs != plugin.midi_out {
            wishes.send(Command::SetPluginMidiOut(plugin.id.clone(), outputs));
        }
    }
    ui.separator();
    params::show(ui, view, plugin, params, wishes);
}

fn buttons(ui: &mut Ui, plugin: &PluginView, wishes: &mut Wishes) {
    let id = || plugin.id.clone();
    ui.horizontal_wrapped(|ui| {
        if plugin.has_editor {
            let word = if plugin.is_editor_open { "Close editor" } else { "Editor" };
            if ui.button(word).on_hover_text("The plugin's own window (F2)").clicked() {
                wishes.send(match plugin.is_editor_open {
                    true => Command::CloseEditor(id()),
                    false => Command::OpenEditor(id()),
                });
            }
        }
        let bypass = ui.selectable_label(plugin.is_bypassed, "Bypass");
        let mapping = || {
            let (command, plugin) = (Some(Action::Bypass), Some(id()));
            Mapping { command, plugin, ..Mapping::default() }
        };
        pedals::menu(&bypass, mapping, wishes);
        if bypass.on_hover_text("Heard as if it were not there (F4)").clicked() {
            wishes.send(Command::Bypass(id(), !plugin.is_bypassed));
        }
        let word = match plugin.state {
            WorkerState::Quarantined => "Try again",
            WorkerState::Missing | WorkerState::Refused => "Look again",
            _ => "Restart",
        };
        let hint = "Ends its process and starts another, which goes on with its state (F5)";
        if ui.button(word).on_hover_text(hint).clicked() {
            wishes.send(Command::Restart(id()));
        }
        if ui.button("Replace...").clicked() {
            wishes.browse = Some(Place::InsteadOf(id()));
        }
        if ui.button("Snapshot").on_hover_text("Keep all present settings under a name").clicked() {
            wishes.send(Command::StoreSnapshot(format!("With {}", plugin.name)));
        }
        if ui.button("Remove").clicked() {
            wishes.send(Command::RemovePlugin(id()));
        }
    });
    if !plugin.presets.is_empty() {
        ComboBox::from_id_salt("presets").selected_text("Preset...").width(220.0).show_ui(
            ui,
            |ui| {
                for preset in plugin.presets.iter() {
                    if ui.selectable_label(false, &preset.name).clicked() {
                        wishes.send(Command::LoadPreset(id(), preset.clone()));
                    }
                }
            },
        );
    }
}

fn times(ui: &mut Ui, view: &View, plugin: &PluginView) {
    let load = &plugin.load;
    let period = view.engine.period_ns.max(1) as f64;
    Grid::new("times").num_columns(4).spacing([14.0, 3.0]).show(ui, |ui| {
        ui.weak("");
        for head in ["half below", "99 of 100", "most"] {
            ui.weak(head);
        }
        ui.end_row();
        let mut row = |name: &str, times: &Times| {
            ui.label(name);
            for ns in [times.p50, times.p99, times.max] {
                ui.monospace(look::time(ns));
            }
            ui.end_row();
        };
        row("wait", &load.wait);
        row("run", &load.run);
    });
    ui.label(format!(
        "{:.1} % of the period. Not heard in {} blocks.",
        load.share * 100.0,
        load.missed
    ));
    if load.worst_ns > 0 {
        ui.label(format!(
            "Worst: block {}, {} ({:.0} % of the period)",
            load.worst_block,
            look::time(load.worst_ns),
            load.worst_ns as f64 / period * 100.0
        ));
    }
    let rate = f64::from(view.driver.rate.max(1));
    ui.label(format!(
        "Delay: {} frames, {:.1} ms",
        plugin.latency,
        f64::from(plugin.latency) / rate * 1e3
    ));
    match (&plugin.group, plugin.process) {
        (Some(group), Some(process)) => ui.weak(format!("process {process}, group '{group}'")),
        (None, Some(process)) => ui.weak(format!("process {process}")),
        (_, None) => ui.weak("no process"),
    };
}

/// What its inputs beside the main one listen to: one track or bus each. Rigs may say more.
fn side_chains(ui: &mut Ui, view: &View, plugin: &PluginView, wishes: &mut Wishes) {
    let own = view.tracks.iter().find(|t| t.plugins.iter().any(|p| p.id == plugin.id));
    for (bus, name) in (1..).zip(plugin.side_inputs.iter()) {
        let mut mine = plugin.side_chains.iter().filter(|chain| chain.bus == bus);
        let (chain, more) = (mine.next(), mine.count());
        let track = |chain: &SideChain| {
            let from = chain.from.as_ref();
            view.tracks.iter().find(|track| Some(&track.id) == from).map(|track| &*track.name)
        };
        let chosen = match chain {
            None => "nothing".to_owned(),
            Some(chain) => track(chain).unwrap_or("the driver").to_owned(),
        };
        let chosen = if more > 0 { format!("{chosen}, and more") } else { chosen };
        let name = if name.is_empty() { "Side chain" } else { name };
        ComboBox::from_label(name).selected_text(chosen).show_ui(ui, |ui| {
            let mut wish = |new: Option<SideChain>| {
                let others = plugin.side_chains.iter().filter(|chain| chain.bus != bus);
                let all = others.cloned().chain(new).collect();
                wishes.send(Command::SetSideChains(plugin.id.clone(), all));
            };
            if ui.selectable_label(chain.is_none(), "nothing").clicked() && chain.is_some() {
                wish(None);
            }
            let others =
                view.tracks.iter().filter(|track| own.is_none_or(|own| own.id != track.id));
            for other in others {
                let is_it = chain.is_some_and(|chain| chain.from.as_ref() == Some(&other.id));
                if ui.selectable_label(is_it, &*other.name).clicked() && !is_it {
                    wish(Some(SideChain { bus, ..SideChain::from_track(other.id.clone()) }));
                }
            }
        });
    }
}

fn confinement(ui: &mut Ui, plugin: &PluginView, wishes: &mut Wishes) {
    let confinement = &plugin.confinement;
    ui.label(&*confinement.text);
    let mut grants = confinement.grants.clone();
    let chosen = grants.confinement.map_or("as the program is told".to_owned(), |l| l.to_string());
    ComboBox::from_label("level").selected_text(chosen).show_ui(ui, |ui| {
        ui.selectable_value(&mut grants.confinement, None, "as the program is told");
        for level in [Level::Off, Level::Standard, Level::Strict] {
            ui.selectable_value(&mut grants.confinement, Some(level), level.to_string());
        }
    });
    ui.checkbox(&mut grants.network, "may use the network");
    let mut removed = None;
    for (number, file) in grants.files.iter().enumerate() {
        ui.horizontal(|ui| {
            ui.monospace(file);
            if ui.small_button("Remove").clicked() {
                removed = Some(number);
            }
        });
    }
    if let Some(number) = removed {
        grants.files.remove(number);
    }
    let key = ui.scope_id().with(("grant", &plugin.id));
    let mut path = ui.data(|data| data.get_temp::<String>(key)).unwrap_or_default();
    ui.horizontal(|ui| {
        let hint = "file or folder; PATH:rw to change it too";
        ui.add(TextEdit::singleline(&mut path).hint_text(hint).desired_width(200.0));
        if ui.button("Grant").clicked() && !path.trim().is_empty() {
            grants.files.push(path.trim().to_owned());
            path.clear();
        }
    });
    ui.data_mut(|data| data.insert_temp(key, path));
    if grants != confinement.grants {
        wishes.send(Command::Grant(plugin.id.clone(), grants));
    }
    if !confinement.refused.is_empty() {
        ui.label(RichText::new("It asked for, and was refused:").strong());
        ScrollArea::vertical().id_salt("refused").max_height(120.0).show(ui, |ui| {
            for (what, grant) in confinement.refused.iter() {
                ui.label(what);
                if !grant.is_empty() {
                    ui.weak(grant);
                }
            }
        });
    }
}
