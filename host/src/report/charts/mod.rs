//! The charts of the page. Each has a heading, a sentence on how to read it, drawings, a line on
//! how it was measured, and the same figures as a table.

mod callback;
mod capacity;
mod hop;
mod load;
mod nodes;

pub(super) use callback::{callback, time};
pub(super) use capacity::capacity;
pub(super) use hop::hop;
pub(super) use load::load;
pub(super) use nodes::nodes;

use std::fmt::Write;

use super::svg::{Scale, Svg, escape};
use super::{Isolation, Run};

/// A chart with all that belongs to it. Texts are plain; they are escaped here.
pub(super) struct Figure {
    pub(super) id: &'static str,
    pub(super) heading: String,
    /// What to see in it.
    pub(super) lead: String,
    /// Key entries: class of the swatch and text.
    pub(super) key: Vec<(&'static str, String)>,
    /// Drawings, with a caption each or an empty one.
    pub(super) panels: Vec<(String, Svg)>,
    /// How it was measured.
    pub(super) measured: String,
    pub(super) table: Table,
}

/// Figures as a table.
pub(super) struct Table {
    pub(super) head: Vec<&'static str>,
    pub(super) rows: Vec<Vec<String>>,
    /// How many columns from the left hold words.
    pub(super) words: usize,
}

impl Figure {
    /// The figure as HTML.
    pub(super) fn html(self) -> String {
        let Self { id, heading, lead, key, panels, measured, table } = self;
        let mut out = format!(
            "<section class=\"card\" aria-labelledby=\"{id}\">\n<h2 \
             id=\"{id}\">{}</h2>\n<p class=\"lead\">{}</p>\n",
            escape(&heading),
            escape(&lead)
        );
        if !key.is_empty() {
            out += "<ul class=\"key\">";
            for (class, text) in key {
                let _ = write!(out, "<li><i class=\"sw {class}\"></i>{}</li>", escape(&text));
            }
            out += "</ul>\n";
        }
        let class = if panels.len() > 1 { "panels" } else { "panel" };
        let _ = writeln!(out, "<div class=\"{class}\">");
        for (caption, svg) in panels {
            out += "<figure>";
            if !caption.is_empty() {
                let _ = write!(out, "<figcaption>{}</figcaption>", escape(&caption));
            }
            out += "\n";
            out += &svg.finish();
            out += "</figure>\n";
        }
        out += "</div>\n";
        let _ = writeln!(out, "<p class=\"measured\">{}</p>", escape(&measured));
        out += "<details><summary>The same as a table</summary>\n";
        out += &table.html(&heading);
        out += "</details>\n</section>\n";
        out
    }
}

impl Table {
    /// The table as HTML; `caption` for those who can't see where it stands.
    pub(super) fn html(&self, caption: &str) -> String {
        let mut out = format!(
            "<div class=\"scroll\"><table><caption>{}</caption><thead><tr>",
            escape(caption)
        );
        for (i, head) in self.head.iter().enumerate() {
            let class = if i < self.words { "" } else { " class=\"n\"" };
            let _ = write!(out, "<th scope=\"col\"{class}>{}</th>", escape(head));
        }
        out += "</tr></thead><tbody>\n";
        for row in &self.rows {
            out += "<tr>";
            for (i, cell) in row.iter().enumerate() {
                let class = if i < self.words { "" } else { " class=\"n\"" };
                let _ = write!(out, "<td{class}>{}</td>", escape(cell));
            }
            out += "</tr>\n";
        }
        out += "</tbody></table></div>\n";
        out
    }
}

/// The class that colours an isolation.
fn class_of(isolation: Isolation) -> &'static str {
    match isolation {
        Isolation::Plugin => "s-plugin",
        Isolation::Group => "s-group",
        Isolation::None => "s-none",
    }
}

/// A buffer size under its place on the axis: frames, and the period in ms.
fn size_axis(svg: &mut Svg, x: f64, y: f64, frames: u32, rate: u32) {
    svg.text(x, y, "tick mid strong", &frames.to_string());
    let period = super::format::ms(frames, rate);
    svg.text(x, y + 14.0, "tick mid", period.trim_end_matches(" ms"));
}

/// The units of [`size_axis`], left of it.
fn size_units(svg: &mut Svg, x: f64, y: f64) {
    svg.text(x, y, "tick end strong", "frames");
    svg.text(x, y + 14.0, "tick end", "ms");
}

/// Centres of `count` equal bands between two ends.
fn bands(count: usize, from: f64, to: f64) -> Vec<f64> {
    let width = (to - from) / count.max(1) as f64;
    (0..count).map(|i| from + width * (i as f64 + 0.5)).collect()
}

/// Grid lines and their labels for a vertical scale.
fn grid(svg: &mut Svg, scale: &Scale, (left, right): (f64, f64), label: impl Fn(f64) -> String) {
    for tick in scale.ticks() {
        let y = scale.at(tick);
        svg.line((left, y), (right, y), "grid");
        svg.text(left - 8.0, y + 4.0, "tick end", &label(tick));
    }
}

/// A tick in microseconds: as milliseconds from a thousand on.
fn tick_us(value: f64) -> String {
    if value >= 999.0 {
        format!("{} ms", super::format::setting(value / 1000.0))
    } else {
        format!("{} µs", super::format::setting(value))
    }
}

/// Smallest and largest of values above 0.
fn extent(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.filter(|v| *v > 0.0 && v.is_finite()).fold(None, |ends, v| match ends {
        None => Some((v, v)),
        Some((low, high)) => Some((low.min(v), high.max(v))),
    })
}

/// What a run is: for captions and tips.
fn words(run: &Run) -> String {
    use super::format::{count, ms, setting};
    format!(
        "{} frames ({}), {} of {} µs, {}",
        run.frames,
        ms(run.frames, run.rate),
        count(run.plugins.into(), "plugin"),
        setting(run.load_us),
        run.isolation.words()
    )
}
