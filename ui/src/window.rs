//! The window on the desktop, with a player behind it.

use crate::app::App;
use crate::look::Look;
use eframe::egui::{self, ThemePreference, Ui};
use sandrack_host::play::Player;
use std::time::Duration;

/// How often is drawn while something moves, and how often is looked whether something does.
const LIVELY: Duration = Duration::from_millis(33);
const CALM: Duration = Duration::from_millis(150);

/// A window that shows a playing rig.
pub struct Window {
    app: App,
    player: Player,
}

const LOOK: &str = "look";

impl Window {
    /// A window for a player, as it looked last time.
    pub fn new(player: Player, storage: Option<&dyn eframe::Storage>) -> Self {
        let look: Option<Look> = storage.and_then(|storage| eframe::get_value(storage, LOOK));
        Self { app: App::new(look.unwrap_or_default()), player }
    }
}

impl eframe::App for Window {
    fn ui(&mut self, ui: &mut Ui, _: &mut eframe::Frame) {
        let view = self.player.view();
        for command in self.app.draw(ui, &view) {
            // An overfull queue is a player that hangs, which the view tells.
            let _ = self.player.send(command);
        }
        let ctx = ui.ctx();
        let (theme, zoom) = match self.app.look.is_light {
            true => (ThemePreference::Light, self.app.look.zoom),
            false => (ThemePreference::Dark, self.app.look.zoom),
        };
        ctx.set_theme(theme);
        if (ctx.zoom_factor() - zoom).abs() > 1e-3 {
            // Ctrl and +, - change it too.
            match ctx.input(|input| input.modifiers.command) {
                true => self.app.look.zoom = ctx.zoom_factor(),
                false => ctx.set_zoom_factor(zoom),
            }
        }
        let name = if view.name.is_empty() { "rig" } else { &view.name };
        let title = format!("{name} - Sandrack");
        if ctx.input(|input| input.viewport().title.as_ref() != Some(&title)) {
            ctx.send_viewport_cmd(egui::ViewportCommand::Title(title));
        }
        ctx.request_repaint_after(if self.app.is_lively(&view) { LIVELY } else { CALM });
    }

    fn save(&mut self, storage: &mut dyn eframe::Storage) {
        eframe::set_value(storage, LOOK, &self.app.look);
    }
}
