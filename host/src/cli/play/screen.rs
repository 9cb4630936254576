//! A live view on a terminal: what plays, how long it takes, what went wrong.

use super::super::clean;
use super::Shown;
use super::lines::sent_to;
use crate::play::{PluginView, View, WorkerState};
use console::{Term, style};
use std::time::{Duration, Instant};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// See the module.
pub(super) struct Screen {
    term: Term,
    lines: usize,
    drawn: Option<Instant>,
}

/// How often it is drawn.
const DRAW: Duration = Duration::from_millis(120);
/// Messages and xruns at the bottom.
const NEWS: usize = 6;

impl Screen {
    pub(super) fn new() -> Self {
        let term = Term::stdout();
        let _ = term.hide_cursor();
        Self { term, lines: 0, drawn: None }
    }

    fn draw(&mut self, view: &View) {
        let (height, width) = self.term.size();
        let (height, width) = (usize::from(height).max(8), usize::from(width).max(40));
        let mut lines = vec![head(view), driver(view)];
        if !view.midi.sends.is_empty() {
            let all: Vec<String> = view.midi.sends.iter().map(sent_to).collect();
            lines.push(format!("MIDI out  {}", clean(&all.join(", "))));
        }
        lines.push(String::new());
        let mut plugins = Vec::new();
        for track in &view.tracks {
            let mark = match (track.mute, track.solo, track.is_silenced) {
                (true, ..) => "M",
                (_, true, _) => "S",
                (.., true) => "-",
                _ => " ",
            };
            let peak = track.meter.iter().map(|level| level.held).fold(0.0f32, f32::max);
            plugins.push(format!(
                "{mark} {} {:>6.1} dB  {}",
                fit(&clean(&track.name), 20),
                track.gain_db,
                meter(peak)
            ));
            plugins.extend(track.plugins.iter().map(row));
        }
        let mut news: Vec<String> = view
            .messages
            .iter()
            .rev()
            .take(NEWS)
            .map(|message| format!("{:?}: {}", message.kind, clean(&message.text)).to_lowercase())
            .collect();
        if let Some(block) = view.recent.late.last()
            && let Some(culprit) = &block.culprit
        {
            news.push(format!(
                "last xrun: block {}: {}, waited {:.0}, ran {:.0} us",
                block.block,
                clean(&culprit.name),
                culprit.wait_ns as f64 / 1e3,
                culprit.run_ns as f64 / 1e3
            ));
        }
        let room = height.saturating_sub(lines.len() + news.len() + 3);
        let hidden = plugins.len().saturating_sub(room);
        plugins.truncate(room);
        lines.extend(plugins);
        if hidden > 0 {
            lines.push(format!("… {hidden} more"));
        }
        lines.push(String::new());
        lines.extend(news.into_iter().rev());
        let _ = self.term.clear_last_lines(self.lines);
        for line in &lines {
            let _ = self.term.write_line(&console::truncate_str(line, width - 1, "…"));
        }
        self.lines = lines.len();
    }
}

fn head(view: &View) -> String {
    let engine = &view.engine;
    let us = |ns: u64| ns as f64 / 1e3;
    let name = if view.name.is_empty() { "rig" } else { &view.name };
    let busy = match &view.progress {
        Some(progress) => format!("  {} {}/{}", progress.what, progress.done, progress.of),
        None => String::new(),
    };
    format!(
        "{}  load {} {:>5.1} %  p50 {:.0} p99 {:.0} max {:.0} of {:.0} us{busy}",
        style(clean(name)).bold(),
        bar(engine.load),
        engine.load * 100.0,
        us(engine.busy.p50),
        us(engine.busy.p99),
        us(engine.busy.max),
        us(engine.period_ns)
    )
}

fn driver(view: &View) -> String {
    let (driver, engine) = (&view.driver, &view.engine);
    if !driver.is_running {
        return format!("driver {}: {}", driver.settings.name, clean(&driver.error));
    }
    format!(
        "driver {}  {} Hz  {} frames  {:.1} ms + {} frames  block {}  late {}  xruns {}  faults {}",
        driver.settings.name,
        driver.rate,
        driver.frames,
        driver.latency_ms,
        engine.latency,
        engine.block,
        engine.late,
        driver.xruns,
        view.faults.len()
    )
}

fn row(plugin: &PluginView) -> String {
    let state = match plugin.state {
        WorkerState::Running if plugin.is_bypassed => style("bypassed").dim(),
        WorkerState::Running => style("running").green(),
        WorkerState::Late => style("late").yellow(),
        WorkerState::Loading => style("loading").dim(),
        WorkerState::Restarting => style("restarting").yellow(),
        WorkerState::Quarantined => style("quarantined").red(),
        WorkerState::Missing => style("missing").red(),
        WorkerState::Refused => style("refused").red(),
    };
    let us = |ns: u64| ns as f64 / 1e3;
    let load = &plugin.load;
    format!(
        "    {} {:<11}  {:>5.1} %  wait {:>5.0} {:>6.0}  run {:>6.0} {:>7.0} us  max {:>7.0}",
        fit(&clean(&plugin.name), 24),
        state,
        load.share * 100.0,
        us(load.wait.p50),
        us(load.wait.p99),
        us(load.run.p50),
        us(load.run.p99),
        us(load.worst_ns)
    )
}

/// To this width, filled up or cut off.
fn fit(text: &str, width: usize) -> String {
    let mut fitted = String::new();
    let mut used = 0;
    for c in text.chars() {
        let wide = c.width().unwrap_or(0);
        if used + wide > width {
            break;
        }
        used += wide;
        fitted.push(c);
    }
    let left = width.saturating_sub(fitted.width());
    fitted + &" ".repeat(left)
}

fn bar(load: f64) -> String {
    const WIDTH: usize = 20;
    let full = (load.clamp(0.0, 1.0) * WIDTH as f64).round() as usize;
    format!("[{}{}]", "#".repeat(full), " ".repeat(WIDTH - full))
}

fn meter(peak: f32) -> String {
    const WIDTH: f32 = 24.0;
    const RANGE_DB: f32 = 60.0;
    let db = 20.0 * peak.max(1e-9).log10();
    let full = ((db + RANGE_DB) / RANGE_DB * WIDTH).clamp(0.0, WIDTH) as usize;
    "=".repeat(full)
}

impl Shown for Screen {
    fn show(&mut self, view: &View) {
        if self.drawn.is_none_or(|drawn| drawn.elapsed() >= DRAW) {
            self.drawn = Some(Instant::now());
            self.draw(view);
        }
    }

    fn end(&mut self, view: &View) {
        self.draw(view);
        let _ = self.term.show_cursor();
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        let _ = self.term.show_cursor();
    }
}
