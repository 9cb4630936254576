//! Capacity against buffer size.

use super::{Figure, Table, bands, class_of, size_axis, size_units};
use crate::report::format::{capacity as figure, ms, setting};
use crate::report::svg::{Scale, Shape, Svg, spread};
use crate::report::text::percentiles;
use crate::report::{Isolation, LimitedBy, Report};

const WIDTH: f64 = 460.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 44.0;
const RIGHT: f64 = WIDTH - 92.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = HEIGHT - 48.0;

/// One panel per load, one line per isolation.
pub(in crate::report) fn capacity(report: &Report) -> Option<Figure> {
    if report.capacity.is_empty() {
        return None;
    }
    let mut loads: Vec<f64> = report.capacity.iter().map(|c| c.load_us).collect();
    loads.sort_by(f64::total_cmp);
    loads.dedup();
    let most = report.capacity.iter().map(|c| c.plugins).max().unwrap_or(1).max(10);
    let mut panels: Vec<_> =
        loads.iter().map(|load| panel(report, *load, f64::from(most))).collect();
    panels.extend(kept(report, &loads));
    let isolations: Vec<Isolation> = Isolation::ALL
        .into_iter()
        .filter(|i| report.capacity.iter().any(|c| c.isolation == *i))
        .collect();
    let mut key: Vec<_> =
        isolations.iter().map(|i| (class_of(*i), format!("{}: {}", i.name(), i.words()))).collect();
    if report.capacity.iter().any(|c| c.limited_by == LimitedBy::SweepEnd) {
        key.push(("hollow", "hollow: at least this, more were not tried".into()));
    }
    let rows = report
        .capacity
        .iter()
        .map(|c| {
            let rate = if c.rate > 0 { c.rate } else { report.rate() };
            vec![
                c.isolation.name().into(),
                match c.limited_by {
                    LimitedBy::Period => "the period".into(),
                    LimitedBy::SweepEnd => "the end of the sweep".into(),
                },
                c.percentile.name().into(),
                c.frames.to_string(),
                ms(c.frames, rate),
                setting(c.load_us),
                figure(c, "≥ "),
            ]
        })
        .collect();
    Some(Figure {
        id: "capacity",
        heading: "How many plugins fit".into(),
        lead: "Plugins in one chain against buffer size, a panel for each weight of plugin. Both \
               axes are logarithmic: lines that run side by side differ by a constant factor, \
               which is what the sandbox costs; where both were measured, the last panel shows \
               this factor itself."
            .into(),
        key,
        panels,
        measured: format!(
            "Measured: plugins were added until the callback took more than {:.0} % of \
             the period, at {} of its time: the highest percentile at which an empty \
             callback was itself clean.",
            report.capacity_limit * 100.0,
            percentiles(&report.capacity)
        ),
        table: Table {
            head: vec![
                "Isolation",
                "Limited by",
                "Held at",
                "Frames",
                "Period",
                "Load, µs",
                "Plugins",
            ],
            rows,
            words: 3,
        },
    })
}

fn panel(report: &Report, load: f64, most: f64) -> (String, Svg) {
    let title = format!("Plugins of {} µs", setting(load));
    let mut svg = Svg::new(WIDTH, HEIGHT, &format!("{title}: how many fit, against buffer size"));
    // Nothing fitting has no place on a logarithmic axis: it gets a line of its own below.
    let zero = BOTTOM;
    let y = Scale::log((1.0, most), (BOTTOM - 22.0, TOP));
    super::grid(&mut svg, &y, (LEFT, RIGHT), setting);
    svg.line((LEFT, zero), (RIGHT, zero), "axis");
    svg.text(LEFT - 8.0, zero + 4.0, "tick end", "0");
    let sizes: Vec<(u32, u32)> = report
        .sizes()
        .into_iter()
        .filter(|(frames, _)| report.capacity.iter().any(|c| c.frames == *frames))
        .collect();
    let xs = bands(sizes.len(), LEFT, RIGHT);
    size_units(&mut svg, LEFT - 2.0, BOTTOM + 18.0);
    for ((frames, rate), x) in sizes.iter().zip(&xs) {
        size_axis(&mut svg, *x, BOTTOM + 18.0, *frames, *rate);
    }
    let mut ends: Vec<(Isolation, f64, f64, String)> = Vec::new();
    // The sandboxed line is drawn last, on top.
    for isolation in Isolation::ALL.into_iter().rev() {
        let found: Vec<_> = sizes
            .iter()
            .zip(&xs)
            .filter_map(|((frames, rate), x)| {
                let c = report.capacity_of(*frames, load, isolation)?;
                let at = if c.plugins == 0 { zero } else { y.at(f64::from(c.plugins)) };
                Some((c, *rate, (*x, at)))
            })
            .collect();
        let class = class_of(isolation);
        let points: Vec<(f64, f64)> = found.iter().map(|(_, _, at)| *at).collect();
        svg.path(&points, &format!("series {class}"));
        for (c, rate, at) in &found {
            let shape = match isolation {
                Isolation::Plugin => Shape::Circle,
                Isolation::Group => Shape::Square,
                Isolation::None => Shape::Diamond,
            };
            let hollow = if c.limited_by == LimitedBy::SweepEnd { " open" } else { "" };
            let tip = format!(
                "{} frames ({}), {} µs, {}: {} plugins",
                c.frames,
                ms(c.frames, *rate),
                setting(load),
                isolation.words(),
                figure(c, "at least ")
            );
            svg.mark(*at, 4.2, shape, &format!("mark {class}{hollow}"), &tip);
        }
        if let Some((c, _, (x, at))) = found.last() {
            ends.push((isolation, *x, *at, format!("{} {}", isolation.name(), figure(c, "≥"))));
        }
    }
    let mut places: Vec<f64> = ends.iter().map(|e| e.2).collect();
    spread(&mut places, 15.0, (TOP, BOTTOM));
    for ((isolation, x, _, text), place) in ends.iter().zip(places) {
        svg.text(x + 11.0, place + 4.0, &format!("label {}", class_of(*isolation)), text);
    }
    (title, svg)
}

/// What is left of the capacity with a process for each plugin, where both were limited by the
/// period.
fn kept(report: &Report, loads: &[f64]) -> Option<(String, Svg)> {
    let share = |frames: u32, load: f64| {
        let plugin = report.capacity_of(frames, load, Isolation::Plugin)?;
        let none = report.capacity_of(frames, load, Isolation::None)?;
        let both = plugin.limited_by == LimitedBy::Period && none.limited_by == LimitedBy::Period;
        (both && none.plugins > 0).then(|| f64::from(plugin.plugins) / f64::from(none.plugins))
    };
    let sizes: Vec<(u32, u32)> = report
        .sizes()
        .into_iter()
        .filter(|(frames, _)| report.capacity.iter().any(|c| c.frames == *frames))
        .collect();
    let all = sizes.iter().flat_map(|(frames, _)| loads.iter().filter_map(|l| share(*frames, *l)));
    let most = all.fold(0.0, f64::max);
    if most <= 0.0 {
        return None;
    }
    let title = "Kept with a process each: plugin ÷ none".to_owned();
    let mut svg = Svg::new(
        WIDTH,
        HEIGHT,
        "Share of the capacity that is kept when each plugin has a process",
    );
    let y = Scale::linear((0.0, most.clamp(1.0, 1.5)), (BOTTOM, TOP));
    super::grid(&mut svg, &y, (LEFT, RIGHT), |share| format!("{:.0} %", share * 100.0));
    let xs = bands(sizes.len(), LEFT, RIGHT);
    size_units(&mut svg, LEFT - 2.0, BOTTOM + 18.0);
    for ((frames, rate), x) in sizes.iter().zip(&xs) {
        size_axis(&mut svg, *x, BOTTOM + 18.0, *frames, *rate);
    }
    let mut ends = Vec::new();
    for (load, shape) in
        loads.iter().zip([Shape::Diamond, Shape::Circle, Shape::Square].into_iter().cycle())
    {
        let points: Vec<(f64, f64, String)> = sizes
            .iter()
            .zip(&xs)
            .filter_map(|((frames, rate), x)| {
                let share = share(*frames, *load)?;
                let tip = format!(
                    "{frames} frames ({}), plugins of {} µs: {:.0} % of the capacity without \
                     sandboxing",
                    ms(*frames, *rate),
                    setting(*load),
                    share * 100.0
                );
                Some((*x, y.at(share), tip))
            })
            .collect();
        let line: Vec<(f64, f64)> = points.iter().map(|p| (p.0, p.1)).collect();
        svg.path(&line, "series s-plugin thin");
        for (x, y, tip) in &points {
            svg.mark((*x, *y), 4.0, shape, "mark s-plugin", tip);
        }
        if let Some((x, y, _)) = points.last() {
            ends.push((*x, *y, format!("{} µs", setting(*load))));
        }
    }
    let mut places: Vec<f64> = ends.iter().map(|e| e.1).collect();
    spread(&mut places, 15.0, (TOP, BOTTOM));
    for ((x, _, text), place) in ends.iter().zip(places) {
        svg.text(x + 11.0, place + 4.0, "label s-plugin", text);
    }
    Some((title, svg))
}
