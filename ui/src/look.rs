//! How things look: colours, sizes, and what is remembered of it between runs.

use eframe::egui::{Color32, Response, Role, Ui, WidgetInfo, vec2};
use sandrack_host::play::WorkerState;
use serde::{Deserialize, Serialize};

/// What the user chose to see. Kept between runs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Look {
    /// Dark letters on light ground.
    pub is_light: bool,
    /// Size of everything, 1 being usual.
    pub zoom: f32,
    /// What lies below the rig.
    pub bottom: Bottom,
    /// What lies beside the rig.
    pub side: Side,
    /// Whether the keyboard is shown.
    pub has_keyboard: bool,
}

impl Default for Look {
    fn default() -> Self {
        Self {
            is_light: false,
            zoom: 1.0,
            bottom: Bottom::Deadline,
            side: Side::Plugin,
            has_keyboard: true,
        }
    }
}

/// What lies below the rig.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bottom {
    /// Nothing.
    Nothing,
    /// Every block against its deadline.
    #[default]
    Deadline,
    /// What would happen at other buffer sizes.
    Capacity,
    /// What went wrong.
    Faults,
}

/// What lies beside the rig.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// Nothing.
    Nothing,
    /// The plugin that is chosen.
    #[default]
    Plugin,
    /// The track that is chosen.
    Track,
    /// Settings to switch between.
    Snapshots,
    /// Audio driver.
    Driver,
}

/// Colours that mean something.
pub(crate) struct Palette {
    pub(crate) good: Color32,
    pub(crate) warn: Color32,
    pub(crate) bad: Color32,
    pub(crate) accent: Color32,
    /// Text on any of the above.
    pub(crate) on_color: Color32,
    pub(crate) weak: Color32,
    pub(crate) tile: Color32,
    pub(crate) trough: Color32,
    pub(crate) line: Color32,
}

const DARK: Palette = Palette {
    good: Color32::from_rgb(0x4c, 0xc3, 0x8a),
    warn: Color32::from_rgb(0xf2, 0xb8, 0x4b),
    bad: Color32::from_rgb(0xff, 0x5d, 0x5d),
    accent: Color32::from_rgb(0x5a, 0xa9, 0xff),
    on_color: Color32::from_rgb(0x10, 0x14, 0x18),
    weak: Color32::from_rgb(0x9a, 0xa4, 0xae),
    tile: Color32::from_rgb(0x2a, 0x30, 0x37),
    trough: Color32::from_rgb(0x12, 0x15, 0x19),
    line: Color32::from_rgb(0x4a, 0x53, 0x5c),
};

const LIGHT: Palette = Palette {
    good: Color32::from_rgb(0x1c, 0x8a, 0x56),
    warn: Color32::from_rgb(0xa8, 0x69, 0x00),
    bad: Color32::from_rgb(0xc6, 0x28, 0x28),
    accent: Color32::from_rgb(0x14, 0x63, 0xc2),
    on_color: Color32::WHITE,
    weak: Color32::from_rgb(0x58, 0x61, 0x6b),
    tile: Color32::from_rgb(0xe6, 0xea, 0xee),
    trough: Color32::from_rgb(0xc9, 0xd0, 0xd6),
    line: Color32::from_rgb(0xaa, 0xb3, 0xbb),
};

/// Colours of plugins in charts, told apart by people with any colour vision (Okabe and Ito).
const SERIES: [Color32; 7] = [
    Color32::from_rgb(0x56, 0xb4, 0xe9),
    Color32::from_rgb(0xe6, 0x9f, 0x00),
    Color32::from_rgb(0x00, 0x9e, 0x73),
    Color32::from_rgb(0xcc, 0x79, 0xa7),
    Color32::from_rgb(0xf0, 0xe4, 0x42),
    Color32::from_rgb(0x00, 0x72, 0xb2),
    Color32::from_rgb(0xd5, 0x5e, 0x00),
];

/// A chart's colour.
pub(crate) fn series(number: usize) -> Color32 {
    SERIES[number % SERIES.len()]
}

/// How many charts' colours there are.
pub(crate) const SERIES_COUNT: usize = SERIES.len();

/// The colours of this theme.
pub(crate) fn palette(ui: &Ui) -> &'static Palette {
    if ui.visuals().dark_mode { &DARK } else { &LIGHT }
}

/// What a worker's state is called, and its colour.
pub(crate) fn worker_state(state: WorkerState, palette: &Palette) -> (&'static str, Color32) {
    match state {
        WorkerState::Loading => ("loading", palette.weak),
        WorkerState::Running => ("running", palette.good),
        WorkerState::Late => ("late", palette.warn),
        WorkerState::Restarting => ("restarting", palette.warn),
        WorkerState::Quarantined => ("quarantined", palette.bad),
        WorkerState::Missing => ("missing", palette.bad),
        WorkerState::Refused => ("refused", palette.bad),
    }
}

/// A load's colour: fine up to 60 %, too much from 80 % of the period on.
pub(crate) fn load_color(load: f64, palette: &Palette) -> Color32 {
    match load {
        load if load < 0.6 => palette.good,
        load if load < 0.8 => palette.warn,
        _ => palette.bad,
    }
}

/// A time of ns, for people.
pub(crate) fn time(ns: u64) -> String {
    match ns as f64 / 1000.0 {
        us if us < 10.0 => format!("{us:.1} us"),
        us if us < 1000.0 => format!("{us:.0} us"),
        us => format!("{:.2} ms", us / 1000.0),
    }
}

/// Decibels of a fader.
pub(crate) fn decibels(db: f64) -> String {
    if db <= -90.0 { "-inf dB".into() } else { format!("{db:+.1} dB") }
}

/// Gives the window its style: larger targets than egui's own, for hands on a stage.
pub(crate) fn apply(ui: &mut Ui) {
    let style = ui.style_mut();
    style.spacing.button_padding = vec2(8.0, 4.0);
    style.spacing.interact_size.y = 24.0;
    style.spacing.item_spacing = vec2(6.0, 5.0);
}

/// Names a widget that has no words of its own, for whoever can't see it.
pub(crate) fn name(of: &Response, role: Role, name: &str) {
    of.widget_info(|| WidgetInfo::labeled(role, true, name));
}
