//! A track's fader, pan, mute, solo and meter; and where it goes.

use crate::app::Wishes;
use crate::look::{self, Palette};
use crate::{midi, pedals};
use eframe::egui::{
    self, Button, ComboBox, CornerRadius, DragValue, Rect, RichText, Role, Sense, Slider, Ui,
    WidgetInfo, pos2, vec2,
};
use sandrack_host::play::{ChannelLevel, Command, Learning, TrackView, View};
use sandrack_host::rig::{Action, Id, Mapping, MidiInput, Output, Send, TrackKind};

/// Faders end here; below it is silence.
const LOWEST_DB: f64 = -90.0;
const HIGHEST_DB: f64 = 12.0;

/// The right end of a track's row.
pub(crate) fn show(ui: &mut Ui, track: &TrackView, wishes: &mut Wishes) {
    let palette = look::palette(ui);
    ui.horizontal(|ui| {
        let mute = Button::selectable(track.mute, "M");
        let mute = ui.add(if track.mute { mute.fill(palette.warn) } else { mute });
        mute.widget_info(|| named(track, "Mute", track.mute));
        let mapped = |action| {
            let (command, track) = (Some(action), Some(track.id.clone()));
            move || Mapping { command, track: track.clone(), ..Mapping::default() }
        };
        pedals::menu(&mute, mapped(Action::Mute), wishes);
        if mute.on_hover_text("Mute").clicked() {
            wishes.send(Command::Mute(track.id.clone(), !track.mute));
        }
        let solo = Button::selectable(track.solo, "S");
        let solo = ui.add(if track.solo { solo.fill(palette.good) } else { solo });
        solo.widget_info(|| named(track, "Solo", track.solo));
        pedals::menu(&solo, mapped(Action::Solo), wishes);
        if solo.on_hover_text("Solo").clicked() {
            wishes.send(Command::Solo(track.id.clone(), !track.solo));
        }
        let mut gain = track.gain_db.max(LOWEST_DB);
        let fader = DragValue::new(&mut gain)
            .range(LOWEST_DB..=HIGHEST_DB)
            .speed(0.1)
            .custom_formatter(|db, _| look::decibels(db))
            .custom_parser(|text| text.trim_end_matches("dB").trim().parse().ok());
        if ui.add(fader).on_hover_text("Fader: drag, or click and type").changed() {
            wishes.send(Command::SetGain(track.id.clone(), faded(gain)));
        }
        let mut pan = track.pan;
        let drag = DragValue::new(&mut pan).range(-1.0..=1.0).speed(0.01);
        let drag = drag.custom_formatter(|pan, _| pan_name(pan));
        if ui.add(drag).on_hover_text("Pan").changed() {
            wishes.send(Command::SetPan(track.id.clone(), pan));
        }
    });
    for (channel, level) in track.meter.iter().enumerate() {
        let size = vec2(ui.available_width(), 9.0);
        let (rect, response) = ui.allocate_exact_size(size, Sense::hover());
        meter(ui, rect, level, track.is_silenced || track.mute, palette);
        if response.hovered() {
            let side = if channel == 0 { "left" } else { "right" };
            let (peak, rms) = (dbfs(level.held), dbfs(level.rms));
            response.on_hover_text(format!("{side}: peak {peak}, average {rms}"));
        }
    }
}

fn named(track: &TrackView, what: &str, on: bool) -> WidgetInfo {
    WidgetInfo::selected(Role::Button, true, on, format!("{what} {}", track.name))
}

fn faded(db: f64) -> f64 {
    if db <= LOWEST_DB { f64::NEG_INFINITY } else { db }
}

fn pan_name(pan: f64) -> String {
    match (pan * 100.0).round() {
        0.0 => "centre".into(),
        left if left < 0.0 => format!("{:.0} L", -left),
        right => format!("{right:.0} R"),
    }
}

fn dbfs(level: f32) -> String {
    match level {
        level if level < 1e-5 => "silent".into(),
        level => format!("{:.1} dBFS", 20.0 * level.log10()),
    }
}

/// Where a level lies on a meter: -60 dBFS at 0, +3 at 1.
fn place(level: f32) -> f32 {
    ((20.0 * level.max(1e-6).log10() + 60.0) / 63.0).clamp(0.0, 1.0)
}

fn meter(ui: &Ui, rect: Rect, level: &ChannelLevel, is_silent: bool, palette: &Palette) {
    let painter = ui.painter();
    let round = CornerRadius::same(2);
    painter.rect_filled(rect, round, palette.trough);
    let at = |level: f32| rect.left() + rect.width() * place(level);
    let color = match level.peak {
        _ if is_silent => palette.weak,
        peak if peak < 0.5 => palette.good,
        peak if peak < 1.0 => palette.warn,
        _ => palette.bad,
    };
    let part = |to: f32| Rect::from_min_max(rect.min, pos2(to, rect.bottom()));
    painter.rect_filled(part(at(level.peak)), round, color.gamma_multiply(0.6));
    painter.rect_filled(part(at(level.rms)), round, color);
    if level.held > 1e-3 {
        let x = at(level.held);
        let held = Rect::from_min_max(pos2(x - 1.5, rect.top()), pos2(x, rect.bottom()));
        painter.rect_filled(held, CornerRadius::ZERO, color);
    }
    if level.clipped {
        let end = Rect::from_min_max(pos2(rect.right() - 6.0, rect.top()), rect.max);
        painter.rect_filled(end, round, palette.bad);
    }
}

/// An output, for people.
pub(crate) fn output_name(view: &View, output: &Output) -> String {
    match output {
        Output::Bus(id) => view.track(id).map_or(id.as_str(), |bus| &bus.name).to_owned(),
        Output::Channels(channels) => match channels.as_slice() {
            [] => "nowhere".into(),
            [one] => format!("out {one}"),
            [first, .., last] => format!("out {first}-{last}"),
        },
    }
}

/// All of one track.
pub(crate) fn details(ui: &mut Ui, view: &View, id: &Id, wishes: &mut Wishes) {
    let Some(track) = view.track(id) else { return };
    egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
        ui.heading(&*track.name);
        rename(ui, track, wishes);
        ui.horizontal(|ui| {
            let mut gain = track.gain_db.max(LOWEST_DB);
            let slider = Slider::new(&mut gain, LOWEST_DB..=HIGHEST_DB);
            let slider = slider.custom_formatter(|db, _| look::decibels(db)).text("fader");
            if ui.add(slider).changed() {
                wishes.send(Command::SetGain(id.clone(), faded(gain)));
            }
        });
        let mut pan = track.pan;
        let slider = Slider::new(&mut pan, -1.0..=1.0).custom_formatter(|pan, _| pan_name(pan));
        if ui.add(slider.text("pan")).changed() {
            wishes.send(Command::SetPan(id.clone(), pan));
        }
        ui.separator();
        routes(ui, view, track, wishes);
        ui.separator();
        notes(ui, view, track, wishes);
        ui.separator();
        let red = look::palette(ui).bad;
        if ui.button(RichText::new("Remove track").color(red)).clicked() {
            wishes.send(Command::RemoveTrack(id.clone()));
        }
    });
}

fn rename(ui: &mut Ui, track: &TrackView, wishes: &mut Wishes) {
    let key = ui.scope_id().with(("rename", &track.id));
    let mut name = ui.data(|data| data.get_temp::<String>(key)).unwrap_or(track.name.to_string());
    let field = ui.horizontal(|ui| {
        let label = ui.label("Name");
        ui.text_edit_singleline(&mut name).labelled_by(label.id)
    });
    let field = field.inner;
    if field.lost_focus() {
        if !name.trim().is_empty() && *name != *track.name {
            wishes.send(Command::RenameTrack(track.id.clone(), name.trim().to_owned()));
        }
        ui.data_mut(|data| data.remove::<String>(key));
    } else if field.has_focus() {
        ui.data_mut(|data| data.insert_temp(key, name));
    }
}

/// Neighbouring channels, two by two.
fn pairs(channels: u32) -> impl Iterator<Item = Vec<u32>> {
    (0..channels / 2).map(|pair| vec![pair * 2 + 1, pair * 2 + 2])
}

fn channels_name(channels: &[u32]) -> String {
    match channels {
        [] => "none".into(),
        [one] => format!("{one}"),
        [first, .., last] => format!("{first}-{last}"),
    }
}

fn routes(ui: &mut Ui, view: &View, track: &TrackView, wishes: &mut Wishes) {
    if track.kind == TrackKind::Track {
        ComboBox::from_label("input").selected_text(channels_name(&track.input)).show_ui(
            ui,
            |ui| {
                for channels in std::iter::once(Vec::new()).chain(pairs(view.driver.inputs)) {
                    let is_it = channels == track.input;
                    if ui.selectable_label(is_it, channels_name(&channels)).clicked() && !is_it {
                        wishes.send(Command::SetInput(track.id.clone(), channels));
                    }
                }
            },
        );
    }
    let buses = || view.tracks.iter().filter(|other| other.kind == TrackKind::Bus);
    let output = output_name(view, &track.output);
    ComboBox::from_label("output").selected_text(output).show_ui(ui, |ui| {
        let outs = std::iter::once(Vec::new()).chain(pairs(view.driver.outputs));
        let outs = outs.map(Output::Channels);
        let buses = buses().filter(|bus| bus.id != track.id);
        for output in outs.chain(buses.map(|bus| Output::Bus(bus.id.clone()))) {
            let is_it = output == track.output;
            if ui.selectable_label(is_it, output_name(view, &output)).clicked() && !is_it {
                wishes.send(Command::SetOutput(track.id.clone(), output));
            }
        }
    });
    for bus in buses().filter(|bus| bus.id != track.id) {
        send(ui, track, bus, wishes);
    }
}

fn send(ui: &mut Ui, track: &TrackView, bus: &TrackView, wishes: &mut Wishes) {
    let send = track.sends.iter().find(|send| send.to == bus.id);
    ui.horizontal(|ui| {
        let mut is_on = send.is_some();
        if ui.checkbox(&mut is_on, format!("send to {}", bus.name)).changed() {
            let to = bus.id.clone();
            wishes.send(match is_on {
                true => Command::SetSend(track.id.clone(), Send { to, gain_db: 0.0, pre: false }),
                false => Command::RemoveSend(track.id.clone(), to),
            });
        }
        let Some(send) = send else { return };
        let mut changed = send.clone();
        let mut gain = send.gain_db.max(LOWEST_DB);
        let drag = DragValue::new(&mut gain).range(LOWEST_DB..=HIGHEST_DB).speed(0.1);
        let drag = ui.add(drag.custom_formatter(|db, _| look::decibels(db)));
        look::name(&drag, Role::SpinButton, &format!("gain of the send to {}", bus.name));
        if gain != send.gain_db.max(LOWEST_DB) {
            changed.gain_db = faded(gain);
        }
        ui.checkbox(&mut changed.pre, "pre").on_hover_text("Taken before the fader");
        if changed != *send {
            wishes.send(Command::SetSend(track.id.clone(), changed));
        }
    });
}

/// Which notes it plays, and what gets them besides its plugins.
fn notes(ui: &mut Ui, view: &View, track: &TrackView, wishes: &mut Wishes) {
    ui.label(RichText::new("Notes").strong());
    let mut inputs = track.midi.clone();
    if inputs.is_empty() {
        ui.weak("Plays all notes of all ports.");
    }
    let mut removed = None;
    for (number, input) in inputs.iter_mut().enumerate() {
        ui.push_id(number, |ui| {
            if note_range(ui, view, track, (number, input), wishes) {
                removed = Some(number);
            }
        });
    }
    if let Some(number) = removed {
        inputs.remove(number);
    }
    ui.horizontal(|ui| {
        if ui.button("Add a range").on_hover_text("A split, a layer, a channel").clicked() {
            inputs.push(MidiInput::default());
        }
        if track.midi.is_empty() {
            learn_keys(ui, view, track, 0, wishes);
        }
    });
    if inputs != track.midi {
        wishes.send(Command::SetMidi(track.id.clone(), inputs));
    }
    let mut outputs = track.midi_out.clone();
    midi::outputs(ui, view, "notes", &mut outputs);
    if outputs != track.midi_out {
        wishes.send(Command::SetMidiOut(track.id.clone(), outputs));
    }
}

/// One range of keys; true: it is to go.
fn note_range(
    ui: &mut Ui,
    view: &View,
    track: &TrackView,
    (number, input): (usize, &mut MidiInput),
    wishes: &mut Wishes,
) -> bool {
    midi::input(ui, view, &mut input.port);
    let [mut low, mut high] = input.keys.unwrap_or([0, 127]);
    ui.horizontal(|ui| {
        ui.add(DragValue::new(&mut low).range(0..=high).prefix("keys "));
        ui.add(DragValue::new(&mut high).range(low..=127).prefix("to "));
        learn_keys(ui, view, track, number, wishes);
        midi::input_channel(ui, &mut input.channel);
    });
    input.keys = ((low, high) != (0, 127)).then_some([low, high]);
    let transpose = DragValue::new(&mut input.transpose).range(-48..=48).prefix("transpose ");
    ui.horizontal(|ui| {
        ui.add(transpose);
        ui.button("Remove").clicked()
    })
    .inner
}

/// Lets the ends of a range be pressed instead of typed.
fn learn_keys(ui: &mut Ui, view: &View, track: &TrackView, range: usize, wishes: &mut Wishes) {
    let first = match &view.learning {
        Some(Learning::Keys { track: id, range: known, first }) => {
            (*id == track.id && *known == range).then_some(*first)
        }
        _ => None,
    };
    let (word, hint) = match first {
        None => ("Learn keys", "Press the lowest and the highest key"),
        Some(None) => ("lowest...", "Press the lowest key; click to give up"),
        Some(Some(_)) => ("highest...", "Press the highest key; click to give up"),
    };
    let palette = look::palette(ui);
    let color = if first.is_some() { palette.warn } else { palette.weak };
    if ui.small_button(RichText::new(word).color(color)).on_hover_text(hint).clicked() {
        let wanted = first.is_none().then(|| (track.id.clone(), range));
        wishes.send(Command::LearnKeys(wanted));
    }
}
