//! The report as one page that needs nothing else: no network, no script.

use std::fmt::Write;
use std::path::Path;

use super::charts::{self, Figure, Table};
use super::format::{count, percent_or, us, us_or};
use super::svg::escape;
use super::{Report, Run, json};
use crate::error::Error;

const STYLE: &str = include_str!("style.css");

/// The report as a self-contained page.
pub fn html(report: &Report) -> String {
    let headline = escape(&report.headline("µs"));
    let mut out = format!(
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <title>Sandrack bench, {}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n",
        escape(&report.date)
    );
    let _ = write!(
        out,
        "<header>\n<p class=\"kicker\">Sandrack bench</p>\n<h1>{headline}</h1>\n<p \
         class=\"sub\">{}</p>\n</header>\n",
        escape(&format!(
            "{}. {}, {}.",
            report.plugin,
            report.machine.cpu,
            count(report.machine.cores.into(), "core")
        ))
    );
    out += &tiles(report);
    out += &advice(report);
    let figures: [fn(&Report) -> Option<Figure>; 6] = [
        charts::capacity,
        charts::load,
        charts::callback,
        charts::time,
        charts::hop,
        charts::nodes,
    ];
    for figure in figures {
        if let Some(figure) = figure(report) {
            out += &figure.html();
        }
    }
    out += &causes(report);
    out += &about(report);
    out += "</main>\n</body>\n</html>\n";
    out
}

/// Writes the page; `path` holds the whole of it or is as it was.
///
/// # Errors
/// The file can't be written.
pub fn write_html(report: &Report, path: &Path) -> Result<(), Error> {
    json::write_whole(path, &html(report))
}

/// The figures to see first.
fn tiles(report: &Report) -> String {
    let mut tiles: Vec<(String, String, String)> = Vec::new();
    let focus = report.focus_run();
    if let Some(run) = focus
        && let Some(p50) = run.hop_us.p50
    {
        let floor = if run.floor_us > 0.0 {
            format!("{:.2} times the floor of {} µs", p50 / run.floor_us, us(run.floor_us))
        } else {
            "no floor was measured".into()
        };
        tiles.push(("Hop, p50".into(), format!("{} µs", us(p50)), floor));
    }
    if let Some(run) = focus {
        tiles.push((
            format!("Load at {} frames, p99", run.frames),
            percent_or(run.load.p99.or(run.load.p50)),
            format!(
                "{} of {} µs",
                count(run.plugins.into(), "plugin"),
                super::format::setting(run.load_us)
            ),
        ));
    }
    let sum = |f: fn(&Run) -> u64| report.fitting().map(f).sum::<u64>();
    let periods = sum(|r| r.periods);
    if periods > 0 {
        let empty: u64 = report.fitting().filter_map(|r| r.empty.as_ref()).map(|e| e.xruns).sum();
        tiles.push((
            "Xruns in runs that fit".into(),
            sum(|r| r.xruns + r.late).to_string(),
            format!("in {}; {empty} with an empty callback", count(periods, "period")),
        ));
    }
    let (value, note) = match report.machine.realtime_granted {
        true => ("granted", report.machine.realtime.clone()),
        false => ("missing", "see below what to do about it".to_owned()),
    };
    tiles.push(("Realtime priority".into(), value.into(), note));
    let mut out = String::from("<section class=\"tiles\" aria-label=\"Key figures\">\n");
    for (name, value, note) in tiles {
        let _ = writeln!(
            out,
            "<div class=\"tile\"><p class=\"name\">{}</p><p class=\"value\">{}</p><p \
             class=\"note\">{}</p></div>",
            escape(&name),
            escape(&value),
            escape(&note)
        );
    }
    out + "</section>\n"
}

fn advice(report: &Report) -> String {
    let lines: Vec<String> =
        report.advice("µs").into_iter().chain(report.notes.iter().cloned()).collect();
    if lines.is_empty() {
        return String::new();
    }
    let mut out = String::from(
        "<section class=\"card\" aria-labelledby=\"todo\">\n<h2 id=\"todo\">What to \
         do with this</h2>\n<ul>\n",
    );
    for line in lines {
        let _ = writeln!(out, "<li>{}</li>", escape(&line));
    }
    out + "</ul>\n</section>\n"
}

/// Every xrun that has a name.
fn causes(report: &Report) -> String {
    let rows: Vec<Vec<String>> = report
        .fitting()
        .flat_map(|r| r.causes.iter().map(move |c| (r, c)))
        .take(500)
        .map(|(r, c)| {
            vec![
                c.node.clone(),
                r.isolation.name().into(),
                r.frames.to_string(),
                r.plugins.to_string(),
                c.period.to_string(),
                us(c.wait_us),
                us(c.run_us),
                us(c.host_us),
            ]
        })
        .collect();
    if rows.is_empty() {
        return String::new();
    }
    let table = Table {
        head: vec![
            "Due to",
            "Isolation",
            "Frames",
            "Plugins",
            "Period",
            "Waited, µs",
            "Ran, µs",
            "Host, µs",
        ],
        rows,
        words: 2,
    };
    format!(
        "<section class=\"card\" aria-labelledby=\"xruns\">\n<h2 id=\"xruns\">Blocks that came too late</h2>\n\
         <p class=\"lead\">In runs that fit into their period, each with the node it is due to. \
          A long wait is the system's doing, a long run the plugin's, a long host \
          time neither's.</p>\n{}</section>\n",
        table.html("Blocks that came too late")
    )
}

fn about(report: &Report) -> String {
    let machine = &report.machine;
    let floor = format!(
        "{} µs on one core, {} µs left to the scheduler (p50)",
        us_or(Some(report.floor.same_core_us)),
        us_or(Some(report.floor.any_core_us))
    );
    let mut out = String::from(
        "<section class=\"card\" aria-labelledby=\"about\">\n<h2 id=\"about\">What \
         was measured where</h2>\n<dl>\n",
    );
    for (name, value) in [
        ("Plugin", &report.plugin),
        ("Processor", &format!("{}, {}", machine.cpu, count(machine.cores.into(), "core"))),
        ("Kernel", &machine.kernel),
        ("Driver", &report.driver),
        ("Realtime priority", &machine.realtime),
        ("Idle cores", &machine.idle_cores),
        ("Locked memory", &machine.locked_memory),
        ("Bare hand-off", &floor),
        ("Date", &report.date),
        ("Version", &report.version),
        ("To measure again", &report.command),
    ] {
        let _ = writeln!(out, "<dt>{name}</dt><dd>{}</dd>", escape(value));
    }
    out + "</dl>\n</section>\n"
}
