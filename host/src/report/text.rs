//! The report on a terminal, 80 columns wide.

use std::fmt::Write;

use super::format::{capacity, count, ms, percent_or, setting, us, us_or};
use super::{Capacity, Isolation, Node, Report, Run};

/// Columns of a terminal.
const WIDTH: usize = 80;
/// Rows of a table that could be longer.
const ROWS: usize = 8;

/// Whether text may hold colour codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colours {
    /// Plain text, for files and pipes.
    #[default]
    Plain,
    /// ANSI colour codes, for terminals.
    Ansi,
}

/// The report for a terminal, plain.
pub fn text(report: &Report) -> String {
    text_with(report, Colours::Plain)
}

/// The report for a terminal.
pub fn text_with(report: &Report, colours: Colours) -> String {
    let mut out = Out { text: String::new(), colours };
    out.paragraph("", &report.headline("us"), Some("1"));
    out.machine(report);
    out.capacity(report);
    out.callbacks(report);
    out.hops(report);
    out.nodes(report);
    out.xruns(report);
    let advice = report.advice("us");
    if !advice.is_empty() {
        out.heading("What to do");
        for line in &advice {
            out.paragraph("- ", line, None);
        }
    }
    if !report.notes.is_empty() {
        out.heading("Notes");
        for note in &report.notes {
            out.paragraph("- ", note, None);
        }
    }
    out.text
}

struct Out {
    text: String,
    colours: Colours,
}

impl Out {
    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn code(&self, line: &str, code: Option<&str>) -> String {
        match (self.colours, code) {
            (Colours::Ansi, Some(code)) => format!("\x1b[{code}m{line}\x1b[0m"),
            _ => line.to_owned(),
        }
    }

    fn heading(&mut self, text: &str) {
        let text = self.code(text, Some("1"));
        self.line("");
        self.line(&text);
    }

    /// Wraps at words; the lines after the first are indented as far as `bullet`.
    fn paragraph(&mut self, bullet: &str, text: &str, code: Option<&str>) {
        let indent = " ".repeat(bullet.len());
        let mut line = bullet.to_owned();
        let mut empty = true;
        for word in plain(text).split_whitespace() {
            let width = line.chars().count() + usize::from(!empty) + word.chars().count();
            if !empty && width > WIDTH {
                let done = self.code(&line, code);
                self.line(&done);
                line.clone_from(&indent);
                empty = true;
            }
            if !empty {
                line.push(' ');
            }
            line.push_str(word);
            empty = false;
        }
        let done = self.code(&line, code);
        self.line(&done);
    }

    fn machine(&mut self, report: &Report) {
        let machine = &report.machine;
        self.line("");
        for (name, value) in [
            ("plugin", report.plugin.clone()),
            ("machine", format!("{}, {}", machine.cpu, count(machine.cores.into(), "core"))),
            ("kernel", machine.kernel.clone()),
            ("driver", report.driver.clone()),
            ("realtime", machine.realtime.clone()),
            ("idle", machine.idle_cores.clone()),
            ("memory", machine.locked_memory.clone()),
        ] {
            self.paragraph(&format!("{name:<10}"), &value, None);
        }
    }

    fn capacity(&mut self, report: &Report) {
        if report.capacity.is_empty() {
            return;
        }
        self.heading("Capacity: how many plugins fit");
        let isolations: Vec<Isolation> = Isolation::ALL
            .into_iter()
            .filter(|i| report.capacity.iter().any(|c| c.isolation == *i))
            .collect();
        let mut loads: Vec<f64> = report.capacity.iter().map(|c| c.load_us).collect();
        loads.sort_by(f64::total_cmp);
        loads.dedup();
        const FIRST: usize = 15;
        const CELL: usize = 7;
        let group = CELL * isolations.len();
        for loads in loads.chunks(((WIDTH - FIRST) / group).max(1)) {
            let mut titles = " ".repeat(FIRST);
            let mut names = format!("{:>6}{:>9}", "frames", "period");
            for load in loads {
                let _ = write!(titles, "{:>group$}", format!("{} us each", setting(*load)));
                for isolation in &isolations {
                    let _ = write!(names, "{:>CELL$}", isolation.name());
                }
            }
            self.line(&titles);
            self.line(&names);
            for (frames, rate) in report.sizes() {
                let found = |load: f64, i: Isolation| report.capacity_of(frames, load, i);
                if !loads.iter().any(|l| isolations.iter().any(|i| found(*l, *i).is_some())) {
                    continue;
                }
                let mut row = format!("{frames:>6}{:>9}", ms(frames, rate));
                for load in loads {
                    for isolation in &isolations {
                        let cell =
                            found(*load, *isolation).map_or("-".into(), |c| capacity(c, ">="));
                        let _ = write!(row, "{cell:>CELL$}");
                    }
                }
                self.line(&row);
            }
        }
        let percentiles = percentiles(&report.capacity);
        let mut legend = format!(
            "The callback stays under {:.0} % of the period ({percentiles}).",
            report.capacity_limit * 100.0
        );
        for isolation in &isolations {
            let _ = write!(legend, " {}: {}.", isolation.name(), isolation.words());
        }
        if report.capacity.iter().any(|c| c.limited_by == super::LimitedBy::SweepEnd) {
            legend += " >=: more were not tried.";
        }
        self.paragraph("", &legend, None);
    }

    fn callbacks(&mut self, report: &Report) {
        let runs = report.series();
        if runs.is_empty() {
            return;
        }
        self.heading(&format!(
            "Callback time, us: plugins of {} us, {}",
            setting(runs[0].load_us),
            runs[0].isolation.words()
        ));
        self.line(&format!(
            "{:>6}{:>8}{:>8}{:>7}{:>7}{:>7}{:>7}{:>10}{:>7}{:>11}",
            "frames",
            "plugins",
            "period",
            "p50",
            "p99",
            "p99.9",
            "max",
            "load p99",
            "xruns",
            "empty p99"
        ));
        for run in pick_rows(&runs) {
            let c = &run.callback_us;
            self.line(&format!(
                "{:>6}{:>8}{:>8}{:>7}{:>7}{:>7}{:>7}{:>10}{:>7}{:>11}",
                run.frames,
                run.plugins,
                us(run.period_us()),
                us_or(c.p50),
                us_or(c.p99),
                us_or(c.p999),
                us_or(c.max),
                percent_or(run.load.p99),
                run.xruns,
                us_or(run.empty.as_ref().and_then(|e| e.callback_us.p99)),
            ));
        }
    }

    fn hops(&mut self, report: &Report) {
        let series = report.series();
        let runs: Vec<&Run> = series.into_iter().filter(|r| r.hop_us.p50.is_some()).collect();
        if runs.is_empty() {
            return;
        }
        self.heading("Hop: from the end of one plugin to the start of the next, us");
        self.line(&format!(
            "{:>6}{:>10}{:>10}{:>10}{:>10}{:>14}",
            "frames", "plugins", "hop p50", "hop p99", "floor", "times floor"
        ));
        for run in pick_rows(&runs) {
            let ratio = run.hop_us.p50.filter(|_| run.floor_us > 0.0).map(|p50| p50 / run.floor_us);
            self.line(&format!(
                "{:>6}{:>10}{:>10}{:>10}{:>10}{:>14}",
                run.frames,
                run.plugins,
                us_or(run.hop_us.p50),
                us_or(run.hop_us.p99),
                us(run.floor_us),
                ratio.map_or("-".into(), |r| format!("{r:.2}")),
            ));
        }
        self.paragraph(
            "",
            &format!(
                "Floor: a bare hand-off between processes, resting as long between two rounds \
                 as between two periods. With 0.5 ms of rest: {} us on one core, {} us left to \
                 the scheduler.",
                us(report.floor.same_core_us),
                us(report.floor.any_core_us)
            ),
            None,
        );
    }

    fn nodes(&mut self, report: &Report) {
        let Some(run) = report.focus_run() else {
            return;
        };
        let cost = |n: &Node| {
            n.wait_us.highest().map_or(0.0, |v| v.1) + n.run_us.highest().map_or(0.0, |v| v.1)
        };
        let mut nodes: Vec<&Node> = run.nodes.iter().collect();
        nodes.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        let shown = nodes.len().min(ROWS);
        self.heading(&format!(
            "Slowest {shown} of {} at {} frames, us",
            count(nodes.len() as u64, "node"),
            run.frames
        ));
        self.line(&format!(
            "{:<27}{:>8}{:>8}{:>8}{:>9}{:>8}{:>8}",
            "node", "wait p50", "p99", "max", "run p50", "p99", "max"
        ));
        for node in &nodes[..shown] {
            self.line(&format!(
                "{}{:>8}{:>8}{:>8}{:>9}{:>8}{:>8}",
                fixed(&node.name, 27),
                us_or(node.wait_us.p50),
                us_or(node.wait_us.p99),
                us_or(node.wait_us.max),
                us_or(node.run_us.p50),
                us_or(node.run_us.p99),
                us_or(node.run_us.max),
            ));
        }
    }

    fn xruns(&mut self, report: &Report) {
        let sum = |f: fn(&Run) -> u64| report.fitting().map(f).sum::<u64>();
        let (xruns, late, periods) = (sum(|r| r.xruns), sum(|r| r.late), sum(|r| r.periods));
        if report.runs.is_empty() {
            return;
        }
        self.heading("Xruns");
        let empty = |f: fn(&super::Empty) -> u64| {
            report.fitting().filter_map(|r| r.empty.as_ref()).map(f).sum::<u64>()
        };
        let mut line = format!(
            "{} and {} past the deadline in {}",
            count(xruns, "xrun"),
            count(late, "block"),
            count(periods, "period")
        );
        match empty(|e| e.periods) {
            0 => line.push('.'),
            of => {
                let _ = write!(
                    line,
                    "; {} in {of} of an empty callback.",
                    count(empty(|e| e.xruns), "xrun")
                );
            }
        }
        let overloaded = report.runs.iter().filter(|r| report.overloaded(r)).count();
        if overloaded > 0 {
            let runs = count(overloaded as u64, "run");
            let _ = write!(line, " Not counted: {runs} with more work than a period holds.");
        }
        self.paragraph("", &line, None);
        let causes: Vec<_> =
            report.fitting().flat_map(|r| r.causes.iter().map(move |c| (r, c))).collect();
        for (run, cause) in causes.iter().take(ROWS) {
            self.paragraph(
                "- ",
                &format!(
                    "{} frames, {}, period {}: {} (waited {} us, ran {} us, host {} us)",
                    run.frames,
                    count(run.plugins.into(), "plugin"),
                    cause.period,
                    cause.node,
                    us(cause.wait_us),
                    us(cause.run_us),
                    us(cause.host_us)
                ),
                None,
            );
        }
        if causes.len() > ROWS {
            self.line(&format!("  and {} more: see the JSON file", causes.len() - ROWS));
        }
    }
}

/// `p99`, or which ones if they differ.
pub(super) fn percentiles(capacity: &[Capacity]) -> String {
    let mut all: Vec<_> = capacity.iter().map(|c| c.percentile).collect();
    all.sort_unstable();
    all.dedup();
    all.iter().map(|p| p.name()).collect::<Vec<_>>().join(" or ")
}

/// Some of many, first and last included.
fn pick_rows<'a>(runs: &[&'a Run]) -> Vec<&'a Run> {
    if runs.len() <= ROWS {
        return runs.to_vec();
    }
    (0..ROWS).map(|i| runs[i * (runs.len() - 1) / (ROWS - 1)]).collect()
}

/// Without control characters: names come from plugins, and a terminal obeys such characters.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Cut or filled to `width` columns.
fn fixed(text: &str, width: usize) -> String {
    let text = plain(text);
    let fits = text.chars().count() < width;
    let text: String =
        if fits { text } else { text.chars().take(width - 2).chain(['…']).collect() };
    format!("{text:<width$}")
}
