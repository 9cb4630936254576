//! What would happen at other buffer sizes: predicted from the times measured, and verified by
//! playing at each size for a while.

use crate::app::Wishes;
use crate::look;
use eframe::egui::{Button, Grid, RichText, Ui};
use egui_plot::{HLine, Legend, Line, Plot, PlotPoints, Points};
use sandrack_host::play::{Command, View};
use sandrack_host::rig::DriverSettings;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// The sizes that are looked at, frames.
const SIZES: [u32; 8] = [16, 32, 64, 128, 256, 512, 1024, 2048];

/// Time to settle after a change, and time measured.
const SETTLE: Duration = Duration::from_millis(700);
const MEASURE: Duration = Duration::from_secs(2);

/// What was found out, and a run that is under way.
#[derive(Default)]
pub(crate) struct Capacity {
    /// Load at p99 by frames, measured.
    measured: BTreeMap<u32, f64>,
    run: Option<Run>,
    wanted: bool,
}

struct Run {
    /// To go back to.
    before: DriverSettings,
    left: Vec<u32>,
    frames: u32,
    step: Step,
    since: Instant,
}

#[derive(PartialEq, Eq)]
enum Step {
    Settling,
    Measuring,
}

impl Capacity {
    pub(crate) fn is_busy(&self) -> bool {
        self.run.is_some()
    }

    pub(crate) fn show(&mut self, ui: &mut Ui, view: &View) {
        let palette = look::palette(ui);
        ui.horizontal(|ui| {
            match &self.run {
                None => {
                    let hint = "Plays at every size for two seconds, then goes back. Sound \
                                breaks off for a moment at each change.";
                    let button = ui.add_enabled(view.driver.is_running, Button::new("Verify"));
                    if button.on_hover_text(hint).clicked() {
                        self.wanted = true;
                    }
                }
                Some(run) => {
                    ui.spinner();
                    ui.label(format!("playing at {} frames", run.frames));
                    if ui.button("Stop").clicked()
                        && let Some(run) = &mut self.run
                    {
                        run.left.clear();
                        run.step = Step::Measuring;
                        run.since = Instant::now() - MEASURE;
                    }
                }
            }
            ui.weak(
                "Predicted: a plugin's time grows with the buffer, what waking it costs does not. \
                 Up to 80 % of the period is taken to be safe.",
            );
        });
        let Some(predicted) = predict(view) else {
            ui.weak("Nothing has been measured yet: play for a moment.");
            return;
        };
        ui.horizontal(|ui| {
            Grid::new("capacity").num_columns(3).striped(true).show(ui, |ui| {
                for head in ["frames", "predicted", "measured"] {
                    ui.weak(head);
                }
                ui.end_row();
                for (frames, load) in &predicted {
                    let here = if *frames == view.driver.frames { " now" } else { "" };
                    ui.monospace(format!("{frames}{here}"));
                    ui.label(percent(*load, palette));
                    match self.measured.get(frames) {
                        Some(load) => ui.label(percent(*load, palette)),
                        None => ui.weak("-"),
                    };
                    ui.end_row();
                }
            });
            self.plot(ui, predicted);
        });
    }

    fn plot(&self, ui: &mut Ui, predicted: Vec<(u32, f64)>) {
        let palette = look::palette(ui);
        let x = |frames: u32| f64::from(frames).log2();
        let line: Vec<[f64; 2]> =
            predicted.iter().map(|(frames, load)| [x(*frames), load * 100.0]).collect();
        let points: Vec<[f64; 2]> =
            self.measured.iter().map(|(frames, load)| [x(*frames), load * 100.0]).collect();
        let (accent, good, bad) = (palette.accent, palette.good, palette.bad);
        Plot::new("capacity-plot")
            .legend(Legend::default())
            .allow_zoom(false)
            .allow_drag(false)
            .allow_scroll(false)
            .include_y(0.0)
            .include_y(100.0)
            .y_axis_label("% of the period")
            .x_axis_label("frames")
            .x_axis_formatter(|mark, _| format!("{:.0}", mark.value.exp2()))
            .show(ui, |plot| {
                plot.hline(HLine::new("80 %", 80.0).color(bad));
                plot.line(Line::new("predicted", PlotPoints::from(line)).color(accent));
                let points = Points::new("measured", PlotPoints::from(points));
                plot.points(points.color(good).radius(4.0));
            });
    }

    /// The next step of a run, if it is time.
    pub(crate) fn step(&mut self, view: &View, wishes: &mut Wishes) {
        if std::mem::take(&mut self.wanted) && self.run.is_none() {
            let mut left: Vec<u32> = SIZES.into_iter().rev().collect();
            let Some(frames) = left.pop() else { return };
            self.measured.clear();
            let before = view.driver.settings.clone();
            wishes.send(Command::SetDriver(DriverSettings { frames, ..before.clone() }));
            let since = Instant::now();
            self.run = Some(Run { before, left, frames, step: Step::Settling, since });
        }
        let Some(run) = &mut self.run else { return };
        let is_there = view.driver.is_running && view.driver.frames == run.frames;
        match run.step {
            // A size that the driver refuses is passed over after a while.
            Step::Settling if run.since.elapsed() > SETTLE && is_there && !view.is_changing => {
                wishes.send(Command::ResetStatistics);
                run.step = Step::Measuring;
                run.since = Instant::now();
            }
            Step::Settling if run.since.elapsed() < SETTLE * 6 => {}
            Step::Measuring if run.since.elapsed() < MEASURE => {}
            Step::Settling | Step::Measuring => {
                if is_there && run.step == Step::Measuring && view.engine.period_ns > 0 {
                    let load = view.engine.busy.p99 as f64 / view.engine.period_ns as f64;
                    self.measured.insert(run.frames, load);
                }
                match run.left.pop() {
                    Some(frames) => {
                        let settings = DriverSettings { frames, ..run.before.clone() };
                        wishes.send(Command::SetDriver(settings));
                        run.frames = frames;
                        run.step = Step::Settling;
                        run.since = Instant::now();
                    }
                    None => {
                        wishes.send(Command::SetDriver(run.before.clone()));
                        self.run = None;
                    }
                }
            }
        }
    }
}

fn percent(load: f64, palette: &look::Palette) -> RichText {
    RichText::new(format!("{:.0} %", load * 100.0)).color(look::load_color(load, palette))
}

/// Load at p99 for each size, from what was measured at this one. The callback's time is waiting and
/// running in the same proportion as the plugins' own times: the first is taken to stay, the second
/// to grow with the buffer.
fn predict(view: &View) -> Option<Vec<(u32, f64)>> {
    let engine = &view.engine;
    if engine.period_ns == 0 || engine.busy.p99 == 0 || view.driver.frames == 0 {
        return None;
    }
    let loads = || view.tracks.iter().flat_map(|track| &track.plugins).map(|plugin| plugin.load);
    let run: u64 = loads().map(|load| load.run.p50).sum();
    let wait: u64 = loads().map(|load| load.wait.p50).sum();
    let busy = engine.busy.p99 as f64;
    let growing = busy * run as f64 / (run + wait).max(1) as f64;
    let fixed = busy - growing;
    let at = |frames: u32| {
        let ratio = f64::from(frames) / f64::from(view.driver.frames);
        (fixed + growing * ratio) / (engine.period_ns as f64 * ratio)
    };
    Some(SIZES.into_iter().map(|frames| (frames, at(frames))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_grow_weighs_more_in_small_buffers() {
        let mut view = View::default();
        view.driver.frames = 64;
        view.engine.period_ns = 1_000_000;
        view.engine.busy.p99 = 400_000;
        assert_eq!(predict(&view).map(|all| all.len()), Some(SIZES.len()));
        // Nothing known of plugins: all of it is taken to be fixed.
        let at = |view: &View, frames| {
            predict(view).and_then(|all| all.into_iter().find(|(f, _)| *f == frames)).map(|p| p.1)
        };
        assert_eq!(at(&view, 64), Some(0.4));
        assert_eq!(at(&view, 32), Some(0.8));
        assert_eq!(at(&view, 128), Some(0.2));
    }
}
