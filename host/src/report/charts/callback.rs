//! The callback's percentiles against its deadline, and where its time goes.

use super::{Figure, Table, bands, extent, size_axis, size_units, tick_us, words};
use crate::report::format::{count, percent, setting, us, us_or};
use crate::report::svg::{Scale, Shape, Svg};
use crate::report::{Percentiles, Report, Run};

const WIDTH: f64 = 960.0;
const LEFT: f64 = 62.0;
const RIGHT: f64 = WIDTH - 50.0;

/// p50 to max per buffer size, beside an empty callback, below the deadline.
pub(in crate::report) fn callback(report: &Report) -> Option<Figure> {
    let runs: Vec<&Run> =
        report.series().into_iter().filter(|r| r.callback_us.p50.is_some()).collect();
    let first = runs.first()?;
    const HEIGHT: f64 = 380.0;
    let (top, bottom) = (16.0, HEIGHT - 48.0);
    let times = runs.iter().flat_map(|r| {
        let empty = r.empty.as_ref().map(|e| e.callback_us).unwrap_or_default();
        [r.callback_us, empty]
            .into_iter()
            .flat_map(|p| [p.p50, p.max])
            .flatten()
            .chain([r.period_us()])
    });
    let (low, high) = extent(times)?;
    let y = Scale::log((low / 1.3, high * 1.3), (bottom, top));
    let mut svg = Svg::new(
        WIDTH,
        HEIGHT,
        "Callback time against buffer size: median to maximum, below the length of the period",
    );
    super::grid(&mut svg, &y, (LEFT, RIGHT), tick_us);
    let xs = bands(runs.len(), LEFT, RIGHT);
    let at_limit = |run: &Run, share: f64| y.at(run.period_us() * share);
    for (share, class, label) in [
        (1.0, "deadline", "deadline".to_owned()),
        (report.capacity_limit, "limit", format!("{:.0} % of it", report.capacity_limit * 100.0)),
    ] {
        if share <= 0.0 {
            continue;
        }
        let points: Vec<(f64, f64)> =
            runs.iter().zip(&xs).map(|(run, x)| (*x, at_limit(run, share))).collect();
        // One buffer size has no line: a short stroke marks its deadline.
        if let [(x, y)] = points[..] {
            svg.line((x - 40.0, y), (x + 40.0, y), class);
        }
        svg.path(&points, class);
        if let Some((x, y)) = points.last() {
            let down = if class == "limit" { 14.0 } else { -1.0 };
            svg.text(x + 8.0, y + down, &format!("label t-{class}"), &label);
        }
    }
    size_units(&mut svg, LEFT - 8.0, bottom + 18.0);
    for (run, x) in runs.iter().zip(&xs) {
        size_axis(&mut svg, *x, bottom + 18.0, run.frames, run.rate);
        if let Some(empty) = &run.empty {
            let what = format!("Empty callback at {} frames", run.frames);
            curve(&mut svg, &y, x + 10.0, &empty.callback_us, "s-none", &what);
        }
        curve(&mut svg, &y, x - 32.0, &run.callback_us, "s-plugin", &words(run));
    }
    let rows = runs
        .iter()
        .map(|r| {
            let (c, e) =
                (&r.callback_us, r.empty.as_ref().map(|e| e.callback_us).unwrap_or_default());
            vec![
                r.frames.to_string(),
                r.plugins.to_string(),
                us(r.period_us()),
                us_or(c.p50),
                us_or(c.p99),
                us_or(c.p999),
                us_or(c.max),
                c.samples.to_string(),
                us_or(e.p50),
                us_or(e.p99),
                us_or(e.max),
            ]
        })
        .collect();
    Some(Figure {
        id: "callback",
        heading: "Callback time against the deadline".into(),
        lead: format!(
            "From the median to the slowest block of {}, {}, at each buffer size. The \
             grey curve beside it is a callback that does nothing, measured in the same \
             minutes: what lies that high there is the machine's own noise.",
            plugins_of(&runs),
            first.isolation.words()
        ),
        key: vec![
            (
                "s-plugin",
                "with plugins: from left to right p50, p99, p99.9, and the maximum (diamond)"
                    .into(),
            ),
            ("s-none", "empty callback, the same".into()),
            ("k-deadline", "deadline: the length of the period".into()),
        ],
        panels: vec![(String::new(), svg)],
        measured: "Measured: monotonic clock, from entering the callback to leaving it. \
         Percentiles that the number of blocks can't support are left out."
            .into(),
        table: Table {
            head: vec![
                "Frames",
                "Plugins",
                "Period, µs",
                "p50, µs",
                "p99",
                "p99.9",
                "max",
                "Blocks",
                "Empty p50, µs",
                "p99",
                "max",
            ],
            rows,
            words: 0,
        },
    })
}

/// From p50 to the maximum in equal steps to the right, `x` being p50.
fn curve(svg: &mut Svg, y: &Scale, x: f64, of: &Percentiles, class: &str, what: &str) {
    let all = [(of.p50, "p50"), (of.p99, "p99"), (of.p999, "p99.9"), (of.max, "max")];
    let points: Vec<(f64, f64, &str, f64)> = all
        .into_iter()
        .zip(0..)
        .filter_map(|((value, name), step)| {
            value.map(|v| (x + f64::from(step) * 9.0, y.at(v), name, v))
        })
        .collect();
    let line: Vec<(f64, f64)> = points.iter().map(|p| (p.0, p.1)).collect();
    svg.path(&line, &format!("series thin {class}"));
    for (x, y, name, value) in points {
        let tip = format!("{what}: {name} {} µs", us(value));
        let shape = if name == "max" { Shape::Diamond } else { Shape::Circle };
        svg.mark(
            (x, y),
            if name == "max" { 3.4 } else { 3.8 },
            shape,
            &format!("mark {class}"),
            &tip,
        );
    }
}

/// Shares of the period: running plugins, handing over and the host, idle.
pub(in crate::report) fn time(report: &Report) -> Option<Figure> {
    let runs: Vec<&Run> =
        report.series().into_iter().filter(|r| r.callback_us.p50.is_some()).collect();
    let first = runs.first()?;
    const ROW: f64 = 34.0;
    let (top, right) = (12.0, WIDTH - 20.0);
    let left = 118.0;
    let bottom = top + ROW * runs.len() as f64;
    let mut svg = Svg::new(
        WIDTH,
        bottom + 30.0,
        "Share of the period spent running plugins, handing over, and idle, at each buffer size",
    );
    let splits: Vec<Split> = runs.iter().map(|r| Split::of(r)).collect();
    let most = splits.iter().map(|s| s.run + s.hop).fold(1.0, f64::max).min(2.0);
    let x = Scale::linear((0.0, most), (left, right));
    for tick in x.ticks() {
        let class = if (tick - 1.0).abs() < 1e-6 { "deadline" } else { "grid" };
        svg.line((x.at(tick), top), (x.at(tick), bottom), class);
        svg.text(x.at(tick), bottom + 18.0, "tick mid", &format!("{:.0} %", tick * 100.0));
    }
    for (i, (run, split)) in runs.iter().zip(&splits).enumerate() {
        let y = top + ROW * i as f64 + 5.0;
        let title = format!("{} frames", run.frames);
        svg.text(left - 10.0, y + 11.0, "tick end strong", &title);
        let under = format!(
            "{}, {}",
            super::super::format::ms(run.frames, run.rate),
            count(run.plugins.into(), "plugin")
        );
        svg.text(left - 10.0, y + 23.0, "small end", &under);
        let mut from = 0.0;
        for (share, class, what) in [
            (split.run, "f-run", "running plugins"),
            (split.hop, "f-hop", "handing over and host"),
            (split.idle, "f-idle", "idle"),
        ] {
            let (a, b) = (x.at(from), x.at(from + share));
            let tip = format!(
                "{}: {what} {} ({} µs)",
                words(run),
                percent(share),
                us(share * run.period_us())
            );
            svg.rect((a, y), ((b - a - 1.5).max(0.0), ROW - 10.0), class, &tip);
            if b - a > 46.0 {
                svg.text((a + b) / 2.0, y + 16.0, &format!("cell mid t{class}"), &percent(share));
            }
            from += share;
        }
    }
    let rows = runs
        .iter()
        .zip(&splits)
        .map(|(r, s)| {
            let figure =
                |share: f64| format!("{} ({} µs)", percent(share), us(share * r.period_us()));
            vec![
                r.frames.to_string(),
                r.plugins.to_string(),
                us(r.period_us()),
                figure(s.run),
                figure(s.hop),
                figure(s.idle),
            ]
        })
        .collect();
    Some(Figure {
        id: "time",
        heading: "Where the time goes".into(),
        lead: format!(
            "An ordinary block (p50) of {}, {}: the part of the period that plugins run, \
             the part that is spent between them, and what is left.",
            plugins_of(&runs),
            first.isolation.words()
        ),
        key: vec![
            ("f-run", "running plugins".into()),
            ("f-hop", "handing over, and the host's own work".into()),
            ("f-idle", "idle".into()),
        ],
        panels: vec![(String::new(), svg)],
        measured: "Measured: start and end of every plugin in every block, p50 of each added \
         up; handing over is the rest of the callback's p50. Where chains run side \
         by side on several cores, their run time is cut to the callback's."
            .into(),
        table: Table {
            head: vec![
                "Frames",
                "Plugins",
                "Period, µs",
                "Running",
                "Handing over and host",
                "Idle",
            ],
            rows,
            words: 0,
        },
    })
}

/// Shares of the period.
struct Split {
    run: f64,
    hop: f64,
    idle: f64,
}

impl Split {
    fn of(run: &Run) -> Self {
        let period = run.period_us();
        let busy = run.callback_us.p50.unwrap_or(0.0);
        let nodes: f64 = run.nodes.iter().filter_map(|n| n.run_us.p50).sum();
        // Without figures for each: what was asked for.
        let nodes = if run.nodes.is_empty() { run.load_us * f64::from(run.plugins) } else { nodes };
        let nodes = nodes.min(busy);
        Self {
            run: nodes / period,
            hop: (busy - nodes) / period,
            idle: ((period - busy) / period).max(0.0),
        }
    }
}

/// `32 plugins of 20 µs`, or a range where the runs differ.
fn plugins_of(runs: &[&Run]) -> String {
    let few = runs.iter().map(|r| r.plugins).min().unwrap_or(0);
    let many = runs.iter().map(|r| r.plugins).max().unwrap_or(0);
    let load = setting(runs.first().map_or(0.0, |r| r.load_us));
    if few == many {
        format!("{} of {load} µs", count(few.into(), "plugin"))
    } else {
        format!("{few} to {many} plugins of {load} µs")
    }
}
