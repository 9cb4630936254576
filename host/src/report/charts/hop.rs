//! The hop against its floor.

use super::{Figure, Table, bands, size_axis, size_units, words};
use crate::report::format::{us, us_or};
use crate::report::svg::{Scale, Svg};
use crate::report::{Isolation, Report, Run};

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = WIDTH - 150.0;

/// Bars of the hop's median with its p99, and a stroke for the floor.
pub(in crate::report) fn hop(report: &Report) -> Option<Figure> {
    let hops = |r: &&Run| r.hop_us.p50.is_some() && r.isolation != Isolation::None;
    let runs: Vec<&Run> = report.series().into_iter().filter(hops).collect();
    if runs.is_empty() {
        return None;
    }
    let (top, bottom) = (20.0, HEIGHT - 48.0);
    let high = |r: &&Run| r.hop_us.p99.or(r.hop_us.p50).unwrap_or(0.0).max(r.floor_us);
    let floors = report.floor.same_core_us.max(report.floor.any_core_us);
    let most = runs.iter().map(high).fold(floors, f64::max) * 1.1;
    let y = Scale::linear((0.0, most), (bottom, top));
    let mut svg =
        Svg::new(WIDTH, HEIGHT, "Hop from one plugin to the next against the bare hand-off");
    super::grid(&mut svg, &y, (LEFT, RIGHT), super::tick_us);
    let mut labels = [report.floor.same_core_us, report.floor.any_core_us].map(|f| y.at(f));
    crate::report::svg::spread(&mut labels, 15.0, (top, bottom));
    let floors = [("same core", report.floor.same_core_us), ("any core", report.floor.any_core_us)];
    for ((name, floor), label) in floors.into_iter().zip(labels) {
        if floor > 0.0 {
            svg.line((LEFT, y.at(floor)), (RIGHT, y.at(floor)), "floor");
            svg.text(
                RIGHT + 8.0,
                label + 4.0,
                "label t-floor",
                &format!("floor, {name}: {} µs", us(floor)),
            );
        }
    }
    size_units(&mut svg, LEFT - 8.0, bottom + 18.0);
    for (run, x) in runs.iter().zip(bands(runs.len(), LEFT, RIGHT)) {
        size_axis(&mut svg, x, bottom + 18.0, run.frames, run.rate);
        let Some(p50) = run.hop_us.p50 else { continue };
        let ratio =
            if run.floor_us > 0.0 { format!("{:.2}×", p50 / run.floor_us) } else { String::new() };
        let tip = format!(
            "{}: hop p50 {} µs, p99 {} µs, floor {} µs {ratio}",
            words(run),
            us(p50),
            us_or(run.hop_us.p99),
            us(run.floor_us)
        );
        svg.rect((x - 17.0, y.at(p50)), (34.0, bottom - y.at(p50)), "f-hop", &tip);
        if let Some(p99) = run.hop_us.p99 {
            svg.line((x, y.at(p50)), (x, y.at(p99)), "whisker s-hop");
            svg.line((x - 6.0, y.at(p99)), (x + 6.0, y.at(p99)), "whisker s-hop");
        }
        if run.floor_us > 0.0 {
            svg.line((x - 22.0, y.at(run.floor_us)), (x + 22.0, y.at(run.floor_us)), "floor-mark");
        }
        let inside = bottom - y.at(p50) > 36.0;
        if inside {
            svg.text(x, bottom - 8.0, "cell mid tf-hop", &us(p50));
        }
        if !ratio.is_empty() {
            let above = run.hop_us.p99.map_or(y.at(p50), |p99| y.at(p99)).min(y.at(run.floor_us));
            svg.text(x, above - 7.0, "small mid ink", &ratio);
        }
    }
    svg.line((LEFT, bottom), (RIGHT, bottom), "axis");
    let rows = report
        .runs
        .iter()
        .filter(|r| hops(r))
        .map(|r| {
            let ratio =
                r.hop_us.p50.filter(|_| r.floor_us > 0.0).map(|p| format!("{:.2}", p / r.floor_us));
            vec![
                r.isolation.name().into(),
                r.frames.to_string(),
                crate::report::format::setting(r.load_us),
                r.plugins.to_string(),
                us_or(r.hop_us.p50),
                us_or(r.hop_us.p99),
                us(r.floor_us),
                ratio.unwrap_or_else(|| "–".into()),
            ]
        })
        .collect();
    Some(Figure {
        id: "hop",
        heading: "The hop against its floor".into(),
        lead: "What it costs to go from one plugin to the next: the bar is the median, the \
         whisker reaches p99, the stroke across it is the floor, and the number \
         above says how many times the floor the median is."
            .into(),
        key: vec![
            ("f-hop", "hop, p50".into()),
            ("k-floor", "floor: a bare hand-off between processes, same placement".into()),
        ],
        panels: vec![(String::new(), svg)],
        measured: "Measured: hop, from the end of one plugin to the start of the next. Floor: \
         a ring of processes that only wake each other, in the same run on the same \
         cores."
            .into(),
        table: Table {
            head: vec![
                "Isolation",
                "Frames",
                "Load, µs",
                "Plugins",
                "Hop p50, µs",
                "p99",
                "Floor, µs",
                "Times floor",
            ],
            rows,
            words: 1,
        },
    })
}
