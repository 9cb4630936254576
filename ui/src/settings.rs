//! The audio driver: device, buffer size, rate, channels, ports.

use crate::app::Wishes;
use crate::look;
use crate::midi;
use eframe::egui::{self, ComboBox, DragValue, RichText, Role, Ui};
use sandrack_host::drivers::{self, DeviceDetails, DeviceInfo, Rates};
use sandrack_host::play::{Command, View};
use sandrack_host::rig::DriverSettings;
use std::sync::mpsc::{Receiver, channel};

/// The drivers of this machine, and what is chosen but not yet applied.
#[derive(Default)]
pub(crate) struct Settings {
    devices: Option<Vec<DeviceInfo>>,
    asked: Option<Receiver<DeviceInfo>>,
    wanted: Option<DriverSettings>,
}

/// The usual sizes, where the driver does not say which it takes.
const SIZES: [u32; 9] = [16, 32, 48, 64, 128, 256, 512, 1024, 2048];
const RATES: [u32; 6] = [44_100, 48_000, 88_200, 96_000, 176_400, 192_000];

impl Settings {
    pub(crate) fn show(&mut self, ui: &mut Ui, view: &View, wishes: &mut Wishes) {
        egui::ScrollArea::vertical().auto_shrink(false).show(ui, |ui| {
            self.driver(ui, view, wishes);
            ui.separator();
            midi::show(ui, view, wishes);
        });
    }

    fn driver(&mut self, ui: &mut Ui, view: &View, wishes: &mut Wishes) {
        let palette = look::palette(ui);
        let driver = &view.driver;
        state(ui, view);
        ui.separator();
        let mut wanted = self.wanted.clone().unwrap_or_else(|| driver.settings.clone());
        self.device(ui, &mut wanted);
        let device =
            self.devices.as_ref().and_then(|all| all.iter().find(|d| d.name == wanted.name));
        // One that is in use can't be asked, and needs not be.
        let own = driver.details.as_deref().filter(|_| wanted.name == driver.settings.name);
        let details = own.or_else(|| device.and_then(|device| device.details.as_ref()));
        sizes_and_rates(ui, &mut wanted, details);
        ui.horizontal(|ui| {
            ui.add(DragValue::new(&mut wanted.inputs).range(0..=256).prefix("inputs "));
            ui.add(DragValue::new(&mut wanted.outputs).range(1..=256).prefix("outputs "));
        });
        if wanted.frames != 0 && wanted.rate != 0 {
            let ms = f64::from(wanted.frames) / f64::from(wanted.rate) * 1000.0;
            ui.weak(format!("{} frames are {ms:.2} ms", wanted.frames));
        }
        let is_other = wanted != driver.settings;
        ui.horizontal(|ui| {
            let word = if is_other { "Apply" } else { "Reconnect" };
            let hint = "Sound breaks off for a moment; plugins keep their settings";
            if ui.button(word).on_hover_text(hint).clicked() {
                wishes.send(Command::SetDriver(wanted.clone()));
                self.wanted = None;
                return;
            }
            if is_other && ui.button("Leave as it is").clicked() {
                self.wanted = None;
                return;
            }
            // It is the present driver's that opens; of one that can't be opened as it is set, too.
            let is_present = wanted.name == driver.settings.name;
            let may_have = is_present && !driver.is_running && wanted.name.starts_with("asio:");
            let has_panel = own.map_or(may_have, |own| own.control_panel);
            if has_panel && ui.button("Control panel").clicked() {
                wishes.send(Command::DriverPanel);
            }
            self.wanted = is_other.then(|| wanted.clone());
        });
        if let Some(problem) = device.and_then(|device| device.problem.as_ref()) {
            ui.label(RichText::new(problem).color(palette.warn));
        }
    }

    fn device(&mut self, ui: &mut Ui, wanted: &mut DriverSettings) {
        if let Some(asked) = &self.asked
            && let Ok(device) = asked.try_recv()
        {
            self.asked = None;
            if let Some(known) =
                self.devices.iter_mut().flatten().find(|known| known.name == device.name)
            {
                *known = device;
            }
        }
        let devices = self.devices.get_or_insert_with(drivers::list);
        let mut chosen = None;
        ui.horizontal(|ui| {
            let shown = ComboBox::from_id_salt("device").selected_text(&wanted.name).width(200.0);
            let shown = shown.show_ui(ui, |ui| {
                for device in devices.iter() {
                    let is_it = device.name == wanted.name;
                    let label = ui.selectable_label(is_it, &device.name);
                    if label.on_hover_text(&device.about).clicked() {
                        chosen = Some(device.clone());
                    }
                }
            });
            look::name(&shown.response, Role::ComboBox, "Driver");
            if ui.button("Look again").clicked() {
                *devices = drivers::list();
            }
        });
        if let Some(device) = chosen {
            if device.details.is_none() {
                // Asking opens it, which may take seconds.
                let (tell, asked) = channel();
                let (name, ctx) = (device.name.clone(), ui.ctx().clone());
                std::thread::spawn(move || {
                    if let Ok(device) = drivers::probe(&name) {
                        let _ = tell.send(device);
                        ctx.request_repaint();
                    }
                });
                self.asked = Some(asked);
            }
            wanted.name = device.name;
        }
    }
}

fn state(ui: &mut Ui, view: &View) {
    let palette = look::palette(ui);
    let driver = &view.driver;
    let (word, color) = match driver.is_running {
        true => ("running", palette.good),
        false => ("not running", palette.bad),
    };
    ui.horizontal(|ui| {
        ui.heading(&driver.settings.name);
        ui.label(RichText::new(word).color(color).strong());
    });
    if !driver.error.is_empty() {
        ui.label(RichText::new(&driver.error).color(palette.bad));
    }
    egui::Grid::new("driver").num_columns(2).show(ui, |ui| {
        let mut row = |name: &str, value: String| {
            ui.weak(name);
            ui.label(value);
            ui.end_row();
        };
        row("buffer", format!("{} frames", driver.frames));
        row("rate", format!("{} Hz", driver.rate));
        row("channels", format!("{} in, {} out", driver.inputs, driver.outputs));
        row("latency", format!("{:.2} ms", driver.latency_ms));
        let plugins = f64::from(view.engine.latency) / f64::from(driver.rate.max(1)) * 1000.0;
        row("plugins' delay", format!("{} frames, {plugins:.2} ms", view.engine.latency));
        row("periods missed", driver.xruns.to_string());
    });
    if let Some(advice) = &view.engine.restriction {
        ui.label(RichText::new(advice).color(palette.warn));
    }
}

fn sizes_and_rates(ui: &mut Ui, wanted: &mut DriverSettings, details: Option<&DeviceDetails>) {
    let sizes = match details.and_then(|details| details.frames.as_ref()) {
        Some(sizes) => sizes.list().into_iter().filter(|n| (16..=8192).contains(n)).collect(),
        None => SIZES.to_vec(),
    };
    let rates = match details.map(|details| &details.rates) {
        Some(Rates::These { usual, .. }) if !usual.is_empty() => usual.clone(),
        Some(Rates::Between(low, high)) => {
            RATES.into_iter().filter(|rate| (*low..=*high).contains(rate)).collect()
        }
        _ => RATES.to_vec(),
    };
    ui.horizontal(|ui| {
        let or_as_set = |number: u32, unit: &str| match number {
            0 => format!("{unit} as it is set"),
            number => format!("{number} {unit}"),
        };
        let text = or_as_set(wanted.frames, "frames");
        let shown = ComboBox::from_id_salt("frames").selected_text(text).show_ui(ui, |ui| {
            for frames in sizes {
                ui.selectable_value(&mut wanted.frames, frames, format!("{frames} frames"));
            }
        });
        look::name(&shown.response, Role::ComboBox, "Buffer size");
        let text = or_as_set(wanted.rate, "Hz");
        let shown = ComboBox::from_id_salt("rate").selected_text(text).show_ui(ui, |ui| {
            for rate in rates {
                ui.selectable_value(&mut wanted.rate, rate, format!("{rate} Hz"));
            }
        });
        look::name(&shown.response, Role::ComboBox, "Rate");
    });
}
