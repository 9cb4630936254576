//! Each plugin of one run: a bar of its ordinary block, and how its waits and runs are spread.

use super::{Figure, Table, extent, tick_us, words};
use crate::report::format::{count, percent_or, us, us_or};
use crate::report::svg::{Scale, Svg};
use crate::report::{Bin, Node, Percentiles, Report};

/// Rows that a chart can hold.
const MOST: usize = 40;
const WIDTH: f64 = 960.0;
const ROW: f64 = 20.0;
const TOP: f64 = 30.0;
const BAR: (f64, f64) = (190.0, 440.0);
const WAIT: (f64, f64) = (480.0, 700.0);
const RUN: (f64, f64) = (730.0, 950.0);

/// The nodes of the run in focus.
pub(in crate::report) fn nodes(report: &Report) -> Option<Figure> {
    let run = report.focus_run()?;
    let shown = pick(&run.nodes);
    let bottom = TOP + ROW * shown.len() as f64;
    let mut svg = Svg::new(
        WIDTH,
        bottom + 24.0,
        "Each plugin: median wait and run time as a bar, and the spread of both",
    );
    let total = |n: &Node| n.wait_us.p50.unwrap_or(0.0) + n.run_us.p50.unwrap_or(0.0);
    let longest = shown.iter().map(|n| total(n)).fold(0.0, f64::max);
    let bar = Scale::linear((0.0, longest * 1.02), BAR);
    let wait = spread_scale(shown.iter().map(|n| (&n.wait_us, &n.wait_bins)), WAIT);
    let work = spread_scale(shown.iter().map(|n| (&n.run_us, &n.run_bins)), RUN);
    for (title, x, scale) in [
        ("median wait + run", BAR.0, Some(&bar)),
        ("spread of waits", WAIT.0, wait.as_ref()),
        ("spread of run times", RUN.0, work.as_ref()),
    ] {
        svg.text(x, TOP - 14.0, "tick strong", title);
        let Some(scale) = scale else { continue };
        let ticks = scale.ticks();
        let every = ticks.len().div_ceil(5).max(1);
        for tick in ticks.into_iter().step_by(every) {
            svg.line((scale.at(tick), TOP - 4.0), (scale.at(tick), bottom), "grid");
            svg.text(scale.at(tick), bottom + 16.0, "tick mid", &tick_us(tick));
        }
    }
    for (i, node) in shown.iter().enumerate() {
        let y = TOP + ROW * i as f64;
        svg.text(BAR.0 - 10.0, y + 13.0, "small end ink", &short(&node.name));
        let waited = node.wait_us.p50.unwrap_or(0.0);
        let (a, b, c) = (bar.at(0.0), bar.at(waited), bar.at(total(node)));
        let tip = |what: &str, p: &Percentiles| {
            format!(
                "{}: {what} p50 {} µs, p99 {} µs, max {} µs",
                node.name,
                us_or(p.p50),
                us_or(p.p99),
                us_or(p.max)
            )
        };
        let (wait_tip, run_tip) = (tip("wait", &node.wait_us), tip("run", &node.run_us));
        svg.rect((a, y + 3.0), (b - a, ROW - 6.0), "f-hop", &wait_tip);
        svg.rect((b + 1.0, y + 3.0), (c - b - 1.0, ROW - 6.0), "f-run", &run_tip);
        if let Some(scale) = &wait {
            strip(&mut svg, scale, y, (&node.wait_us, &node.wait_bins), "f-hop", &wait_tip);
        }
        if let Some(scale) = &work {
            strip(&mut svg, scale, y, (&node.run_us, &node.run_bins), "f-run", &run_tip);
        }
    }
    let period = run.period_us();
    let rows = run
        .nodes
        .iter()
        .map(|n| {
            let (w, r) = (&n.wait_us, &n.run_us);
            let share = w.p50.zip(r.p50).map(|(w, r)| (w + r) / period);
            vec![
                n.name.clone(),
                us_or(w.p50),
                us_or(w.p99),
                us_or(w.max),
                us_or(r.p50),
                us_or(r.p99),
                us_or(r.max),
                percent_or(share),
            ]
        })
        .collect();
    let hidden = run.nodes.len() - shown.len();
    let mut lead = format!(
        "{}. Wait is the hop: from the plugin before being done to this one starting.",
        words(run)
    );
    if hidden > 0 {
        lead += &format!(
            " The {} slowest in the order of the graph; {hidden} more in the table.",
            shown.len()
        );
    }
    Some(Figure {
        id: "nodes",
        heading: "Plugin by plugin".into(),
        lead,
        key: vec![
            ("f-hop", "wait".into()),
            ("f-run", "run".into()),
            ("k-tick", "strokes: p50, p99 and maximum".into()),
        ],
        panels: vec![(String::new(), svg)],
        measured: format!(
            "Measured: ready, start and end of each plugin in each of {}. In the spreads \
             a darker cell holds more blocks; the shade follows the logarithm of the \
             count, so that a single slow block is seen.",
            count(run.periods, "period")
        ),
        table: Table {
            head: vec![
                "Plugin",
                "Wait p50, µs",
                "p99",
                "max",
                "Run p50, µs",
                "p99",
                "max",
                "Share of the period, p50",
            ],
            rows,
            words: 1,
        },
    })
}

/// The slowest, in their order, where there are too many.
fn pick(nodes: &[Node]) -> Vec<&Node> {
    if nodes.len() <= MOST {
        return nodes.iter().collect();
    }
    let cost = |n: &Node| {
        n.wait_us.p99.or(n.wait_us.max).unwrap_or(0.0)
            + n.run_us.p99.or(n.run_us.max).unwrap_or(0.0)
    };
    let mut order: Vec<usize> = (0..nodes.len()).collect();
    order.sort_by(|a, b| cost(&nodes[*b]).total_cmp(&cost(&nodes[*a])));
    order.truncate(MOST);
    order.sort_unstable();
    order.into_iter().map(|i| &nodes[i]).collect()
}

/// A logarithmic scale for all values of one kind.
fn spread_scale<'a>(
    of: impl Iterator<Item = (&'a Percentiles, &'a Vec<Bin>)>,
    place: (f64, f64),
) -> Option<Scale> {
    let values = of.flat_map(|(p, bins)| {
        let ends = bins.first().map(|b| b.from_us).into_iter().chain(bins.last().map(|b| b.to_us));
        [p.p50, p.p99, p.max].into_iter().flatten().chain(ends)
    });
    extent(values).map(|(low, high)| Scale::log((low * 0.9, high * 1.1), place))
}

/// The spread of one quantity of one node.
fn strip(
    svg: &mut Svg,
    scale: &Scale,
    y: f64,
    (of, bins): (&Percentiles, &[Bin]),
    class: &str,
    tip: &str,
) {
    let (top, height) = (y + 3.0, ROW - 6.0);
    let most = bins.iter().map(|b| b.count).max().unwrap_or(1) as f64;
    for bin in bins.iter().filter(|b| b.count > 0) {
        let (a, b) = (scale.at(bin.from_us), scale.at(bin.to_us));
        let shade = 0.12 + 0.88 * (1.0 + bin.count as f64).ln() / (1.0 + most).ln();
        let cell = format!(
            "{tip}; {} between {} and {} µs",
            count(bin.count, "block"),
            us(bin.from_us),
            us(bin.to_us)
        );
        svg.shade((a, top), (b - a, height), class, shade, &cell);
    }
    if let (true, Some(p50), Some(max)) = (bins.is_empty(), of.p50, of.max) {
        let (a, b) = (scale.at(p50), scale.at(max));
        svg.shade((a, y + ROW / 2.0 - 1.0), (b - a, 2.0), class, 0.6, tip);
    }
    for (value, class) in [(of.p50, "ptick"), (of.p99, "ptick"), (of.max, "ptick")] {
        if let Some(value) = value {
            svg.line((scale.at(value), top), (scale.at(value), top + height), class);
        }
    }
}

/// A name that fits its column.
fn short(name: &str) -> String {
    const FITS: usize = 26;
    if name.chars().count() <= FITS {
        return name.to_owned();
    }
    name.chars().take(FITS - 1).chain(['…']).collect()
}
