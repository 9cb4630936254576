//! Charts drawn by hand, as SVG that lies in the page.
//!
//! Charting crates write colours and fonts into the drawing. Here every shape has a class instead
//! and the page's style decides, so the charts follow light and dark; and every mark carries its
//! figure as a `<title>`, which browsers show and screen readers speak, without a script.

use std::fmt::Write;

/// Escapes text for HTML, attributes included.
pub(super) fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            // Not allowed in HTML, and some change how text around them is shown.
            c if c.is_control() => out.push(' '),
            '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

/// A drawing.
pub(super) struct Svg {
    width: f64,
    height: f64,
    label: String,
    body: String,
}

/// Shapes that tell series apart where colours don't.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Circle,
    Square,
    Diamond,
}

impl Svg {
    /// An empty drawing; `label` says what it shows to those who can't see it.
    pub(super) fn new(width: f64, height: f64, label: &str) -> Self {
        Self { width, height, label: escape(label), body: String::new() }
    }

    pub(super) fn text(&mut self, x: f64, y: f64, class: &str, text: &str) {
        let text = escape(text);
        let _ = writeln!(self.body, r#"<text class="{class}" x="{x:.1}" y="{y:.1}">{text}</text>"#);
    }

    pub(super) fn line(&mut self, (x1, y1): (f64, f64), (x2, y2): (f64, f64), class: &str) {
        let _ = writeln!(
            self.body,
            r#"<line class="{class}" x1="{x1:.1}" y1="{y1:.1}" x2="{x2:.1}" y2="{y2:.1}"/>"#
        );
    }

    /// A line through points.
    pub(super) fn path(&mut self, points: &[(f64, f64)], class: &str) {
        let mut d = String::new();
        for (i, (x, y)) in points.iter().enumerate() {
            let _ = write!(d, "{}{x:.1} {y:.1}", if i == 0 { "M" } else { "L" });
        }
        let _ = writeln!(self.body, r#"<path class="{class}" d="{d}"/>"#);
    }

    /// A rectangle; without a size nothing is drawn.
    pub(super) fn rect(&mut self, (x, y): (f64, f64), (w, h): (f64, f64), class: &str, tip: &str) {
        if w > 0.0 && h > 0.0 {
            self.shape(
                &format!(
                    r#"<rect class="{class}" x="{x:.1}" y="{y:.1}" width="{w:.2}" height="{h:.1}""#
                ),
                "rect",
                tip,
            );
        }
    }

    /// A rectangle of some opacity.
    pub(super) fn shade(
        &mut self,
        (x, y): (f64, f64),
        (w, h): (f64, f64),
        class: &str,
        opacity: f64,
        tip: &str,
    ) {
        self.shape(
            &format!(
                r#"<rect class="{class}" fill-opacity="{opacity:.2}" x="{x:.1}" y="{y:.1}" width="{w:.2}" height="{h:.1}""#
            ),
            "rect",
            tip,
        );
    }

    /// A mark of `radius` around a point.
    pub(super) fn mark(
        &mut self,
        (x, y): (f64, f64),
        radius: f64,
        shape: Shape,
        class: &str,
        tip: &str,
    ) {
        let (r, d) = (radius, radius * 1.3);
        match shape {
            Shape::Circle => self.shape(
                &format!(r#"<circle class="{class}" cx="{x:.1}" cy="{y:.1}" r="{r:.1}""#),
                "circle",
                tip,
            ),
            Shape::Square => {
                let r = r * 0.9;
                self.rect((x - r, y - r), (2.0 * r, 2.0 * r), class, tip);
            }
            Shape::Diamond => {
                let path = format!(
                    "M{x:.1} {:.1}L{:.1} {y:.1}L{x:.1} {:.1}L{:.1} {y:.1}Z",
                    y - d,
                    x + d,
                    y + d,
                    x - d
                );
                self.shape(&format!(r#"<path class="{class}" d="{path}""#), "path", tip);
            }
        }
    }

    fn shape(&mut self, open: &str, tag: &str, tip: &str) {
        if tip.is_empty() {
            let _ = writeln!(self.body, "{open}/>");
        } else {
            let _ = writeln!(self.body, "{open}><title>{}</title></{tag}>", escape(tip));
        }
    }

    /// The drawing as an element.
    pub(super) fn finish(self) -> String {
        let Self { width, height, label, body } = self;
        format!(
            "<svg role=\"img\" aria-label=\"{label}\" viewBox=\"0 0 {width:.0} \
             {height:.0}\" style=\"max-width:{width:.0}px\">\n{body}</svg>\n"
        )
    }
}

/// Maps values to positions.
#[derive(Clone, Copy)]
pub(super) struct Scale {
    low: f64,
    high: f64,
    from: f64,
    to: f64,
    log: bool,
}

impl Scale {
    /// Equal steps for equal differences.
    pub(super) fn linear((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        Self { low, high: if high > low { high } else { low + 1.0 }, from, to, log: false }
    }

    /// Equal steps for equal factors. Ends must be above 0.
    pub(super) fn log((low, high): (f64, f64), (from, to): (f64, f64)) -> Self {
        let low = low.max(1e-6);
        Self { low, high: if high > low { high } else { low * 10.0 }, from, to, log: true }
    }

    /// Where a value lies; at the ends where it is beyond them.
    pub(super) fn at(&self, value: f64) -> f64 {
        let value = value.clamp(self.low, self.high);
        let share = if self.log {
            (value / self.low).ln() / (self.high / self.low).ln()
        } else {
            (value - self.low) / (self.high - self.low)
        };
        self.from + share * (self.to - self.from)
    }

    /// Round values along the scale: 1, 2 and 5 of each power of ten, as far as there is room.
    pub(super) fn ticks(&self) -> Vec<f64> {
        // A narrow logarithmic scale is as good as linear, and needs values in between.
        if !self.log || self.high < 6.0 * self.low {
            let raw = (self.high - self.low) / 5.0;
            let power = 10f64.powf(raw.log10().floor());
            let step = [1.0, 2.0, 5.0, 10.0]
                .into_iter()
                .map(|m| m * power)
                .find(|s| *s >= raw)
                .unwrap_or(raw);
            let first = (self.low / step).ceil() as i64;
            return (first..)
                .map(|i| i as f64 * step)
                .take_while(|v| *v <= self.high * 1.0001)
                .take(20)
                .collect();
        }
        let decades = (self.high / self.low).log10();
        let of_ten: &[f64] = if decades > 3.5 { &[1.0] } else { &[1.0, 2.0, 5.0] };
        let (first, last) = (self.low.log10().floor() as i32, self.high.log10().ceil() as i32);
        let all = (first..=last).flat_map(|p| of_ten.iter().map(move |m| m * 10f64.powi(p)));
        all.filter(|v| *v >= self.low * 0.999 && *v <= self.high * 1.001).collect()
    }
}

/// Moves labels apart that would cover each other, keeping their order.
pub(super) fn spread(positions: &mut [f64], gap: f64, (low, high): (f64, f64)) {
    let mut order: Vec<usize> = (0..positions.len()).collect();
    order.sort_by(|a, b| positions[*a].total_cmp(&positions[*b]));
    let mut at_least = low;
    for i in &order {
        positions[*i] = positions[*i].max(at_least);
        at_least = positions[*i] + gap;
    }
    let mut at_most = high;
    for i in order.iter().rev() {
        positions[*i] = positions[*i].min(at_most);
        at_most = positions[*i] - gap;
    }
}
