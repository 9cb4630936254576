//! Load against buffer size and number of plugins, as a heat map.

use std::collections::BTreeSet;

use super::{Figure, Table, size_axis, size_units};
use crate::report::format::{count, percent, percent_or, setting, us_or};
use crate::report::svg::Svg;
use crate::report::{Report, Run};

const LEFT: f64 = 52.0;
const TOP: f64 = 22.0;
const CELL: (f64, f64) = (58.0, 34.0);

/// One panel per load, for the isolation in focus.
pub(in crate::report) fn load(report: &Report) -> Option<Figure> {
    let isolation = report.focus_isolation();
    let runs: Vec<&Run> =
        report.runs.iter().filter(|r| r.isolation == isolation && value(r).is_some()).collect();
    if runs.is_empty() {
        return None;
    }
    let panels = report
        .loads()
        .into_iter()
        .filter_map(|load| {
            let runs: Vec<&Run> = runs.iter().copied().filter(|r| r.load_us == load).collect();
            (!runs.is_empty()).then(|| panel(report, &runs, load))
        })
        .collect();
    let rows = report
        .runs
        .iter()
        .map(|r| {
            vec![
                r.isolation.name().into(),
                r.frames.to_string(),
                setting(r.load_us),
                r.plugins.to_string(),
                percent_or(r.load.p50),
                percent_or(r.load.p99),
                percent_or(r.load.max),
                r.periods.to_string(),
                r.xruns.to_string(),
                r.late.to_string(),
                r.empty.as_ref().map_or("–".into(), |e| e.xruns.to_string()),
            ]
        })
        .collect();
    Some(Figure {
        id: "load",
        heading: "Load of the period".into(),
        lead: format!(
            "How much of each period the callback took with the plugins {}. Above 80 % \
             there is little room for the unexpected; above 100 % sound drops out.",
            isolation.words()
        ),
        key: vec![
            ("heat h0", "under 20 %".into()),
            ("heat h1", "20 to 40 %".into()),
            ("heat h2", "40 to 60 %".into()),
            ("heat h3", "60 to 80 %".into()),
            ("heat h4", "80 to 100 %".into()),
            ("heat h5", "over the period".into()),
        ],
        panels,
        measured: "Measured: time from entering the callback to leaving it over the length of \
         the period; p99 where the number of blocks supports it, else p50 (marked \
         *). A dot marks runs with xruns or late blocks."
            .into(),
        table: Table {
            head: vec![
                "Isolation",
                "Frames",
                "Load, µs",
                "Plugins",
                "Load p50",
                "p99",
                "max",
                "Periods",
                "Xruns",
                "Late blocks",
                "Xruns of empty callback",
            ],
            rows,
            words: 1,
        },
    })
}

/// The load a cell shows and whether it is a lower percentile than it should be.
fn value(run: &Run) -> Option<(f64, bool)> {
    run.load.p99.map(|p99| (p99, false)).or(run.load.p50.map(|p50| (p50, true)))
}

fn panel(report: &Report, runs: &[&Run], load: f64) -> (String, Svg) {
    let sizes: Vec<(u32, u32)> = report
        .sizes()
        .into_iter()
        .filter(|s| runs.iter().any(|r| (r.frames, r.rate) == *s))
        .collect();
    let plugins: Vec<u32> =
        runs.iter().map(|r| r.plugins).collect::<BTreeSet<_>>().into_iter().rev().collect();
    let (columns, rows) = (sizes.len() as f64, plugins.len() as f64);
    let bottom = TOP + CELL.1 * rows;
    let title = format!("Plugins of {} µs", setting(load));
    let label = format!("{title}: load of the period for each buffer size and number of plugins");
    let mut svg = Svg::new((LEFT + CELL.0 * columns + 8.0).max(260.0), bottom + 40.0, &label);
    svg.text(LEFT - 8.0, TOP - 8.0, "tick end", "plugins");
    for (row, n) in plugins.iter().enumerate() {
        svg.text(
            LEFT - 8.0,
            TOP + CELL.1 * (row as f64 + 0.5) + 4.0,
            "tick end strong",
            &n.to_string(),
        );
    }
    size_units(&mut svg, LEFT - 8.0, bottom + 18.0);
    for (column, (frames, rate)) in sizes.iter().enumerate() {
        let x = LEFT + CELL.0 * column as f64;
        size_axis(&mut svg, x + CELL.0 / 2.0, bottom + 18.0, *frames, *rate);
        for (row, n) in plugins.iter().enumerate() {
            let y = TOP + CELL.1 * row as f64;
            let of_cell = |r: &&&Run| (r.frames, r.rate, r.plugins) == (*frames, *rate, *n);
            let Some(run) = runs.iter().find(of_cell) else {
                svg.rect(
                    (x + 1.0, y + 1.0),
                    (CELL.0 - 2.0, CELL.1 - 2.0),
                    "heat none",
                    "not measured",
                );
                continue;
            };
            let Some((load, lower)) = value(run) else { continue };
            let class = match load {
                l if l < 0.2 => "h0",
                l if l < 0.4 => "h1",
                l if l < 0.6 => "h2",
                l if l < 0.8 => "h3",
                l if l < 1.0 => "h4",
                _ => "h5",
            };
            let mut tip = format!(
                "{}: p50 {}, p99 {}; callback p99 {} µs; {}",
                super::words(run),
                percent_or(run.load.p50),
                percent_or(run.load.p99),
                us_or(run.callback_us.p99),
                count(run.xruns, "xrun"),
            );
            if let Some(empty) = &run.empty {
                tip += &format!(
                    "; empty callback: p99 {} µs, {}",
                    us_or(empty.callback_us.p99),
                    count(empty.xruns, "xrun")
                );
            }
            svg.rect(
                (x + 1.0, y + 1.0),
                (CELL.0 - 2.0, CELL.1 - 2.0),
                &format!("heat {class}"),
                &tip,
            );
            let mut text = percent(load);
            if load > 9.995 {
                text = format!("×{load:.0}");
            }
            if lower {
                text += "*";
            }
            svg.text(
                x + CELL.0 / 2.0,
                y + CELL.1 / 2.0 + 4.0,
                &format!("cell mid t{class}"),
                &text,
            );
            if run.xruns + run.late > 0 {
                svg.mark(
                    (x + CELL.0 - 8.0, y + 8.0),
                    2.6,
                    crate::report::svg::Shape::Circle,
                    &format!("dot t{class}"),
                    "",
                );
            }
        }
    }
    (title, svg)
}
