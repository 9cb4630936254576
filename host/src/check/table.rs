//! The results as people read them.

use super::{Checked, Step, Verdict};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

fn mark(verdict: Option<&Verdict>) -> &'static str {
    match verdict {
        Some(Verdict::Good) => "yes",
        Some(Verdict::Odd(_)) => "odd",
        Some(Verdict::Bad(_)) => "NO",
        Some(Verdict::Absent(_)) => "-",
        None => "",
    }
}

fn of(checked: &Checked, step: Step) -> Option<&Verdict> {
    checked.steps.iter().find(|(s, _)| *s == step).map(|(_, verdict)| verdict)
}

/// One line.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// What is odd or bad, a sentence each.
fn remarks(checked: &Checked) -> Vec<String> {
    let remark = |(step, verdict): &(Step, Verdict)| match verdict {
        Verdict::Odd(why) | Verdict::Bad(why) => Some(format!("{}: {}", step.name(), clean(why))),
        Verdict::Good | Verdict::Absent(_) => None,
    };
    checked.steps.iter().filter_map(remark).collect()
}

fn summary(all: &[Checked]) -> String {
    let passed = all.iter().filter(|checked| checked.passed()).count();
    format!("{passed} of {} plugins passed", all.len())
}

/// For a terminal: a line a plugin, its oddities below it.
pub fn text(all: &[Checked]) -> String {
    let mut out = String::new();
    for checked in all {
        let name = if checked.name.is_empty() { &checked.plugin } else { &checked.name };
        let verdict = if checked.passed() { "passed" } else { "FAILED" };
        let _ = writeln!(out, "{verdict}  {}  {}", checked.format, clean(name));
        for remark in remarks(checked) {
            let _ = writeln!(out, "          {remark}");
        }
        for refusal in &checked.refused {
            let _ = writeln!(out, "          refused: {}", clean(&refusal.to_string()));
        }
    }
    let _ = writeln!(out, "\n{}", summary(all));
    let confined: BTreeSet<String> =
        all.iter().filter_map(|c| Some(c.confinement.as_ref()?.to_string())).collect();
    for level in confined {
        let _ = writeln!(out, "confined: {level}");
    }
    out
}

/// For `docs/compatibility.md`: a table a vendor.
pub fn markdown(all: &[Checked], command: &str) -> String {
    let mut out = String::from("# Plugins that Sandrack was tried with\n\n");
    let _ = writeln!(
        out,
        "Written by a command, on Linux:\n\n    {command}\n\n{}. `yes`: as it should be; `odd`: it \
         works, with the remark below the table; `NO`: it does not; `-`: the plugin has none.\n\n\
         | column | what was done, each plugin in a worker process of its own |\n|---|---|\n\
         | load | loaded, described, activated |\n\
         | audio | noise and a chord at 48 kHz in blocks of 256: it sounds, no NaN |\n\
         | sizes | blocks of 1 to 512 frames |\n\
         | rates | 44.1, 96, 192 kHz |\n\
         | params | every parameter to its ends while it plays |\n\
         | texts | values to texts and back |\n\
         | state | saved, given to a new instance: the values are there, and two such instances \
         give the same bits |\n\
         | editor | its editor was opened, twice, while audio went on; what it shows has more than one \
         colour |",
        summary(all)
    );
    let mut vendors: BTreeMap<&str, Vec<&Checked>> = BTreeMap::new();
    for checked in all {
        let vendor = if checked.vendor.is_empty() { "(unnamed)" } else { &checked.vendor };
        vendors.entry(vendor).or_default().push(checked);
    }
    for (vendor, mut plugins) in vendors {
        plugins.sort_by(|a, b| (&a.name, a.format).cmp(&(&b.name, b.format)));
        let _ = writeln!(
            out,
            "\n## {}\n\n| plugin | format | version | buses in/out | params | latency | {} |\n|{}",
            escape(vendor),
            Step::ALL.map(Step::name).join(" | "),
            "---|".repeat(6 + Step::ALL.len())
        );
        for checked in &plugins {
            let buses = |all: &[u32]| match all {
                [] => "0".to_owned(),
                all => all.iter().map(u32::to_string).collect::<Vec<_>>().join("+"),
            };
            let marks: Vec<&str> = Step::ALL.iter().map(|step| mark(of(checked, *step))).collect();
            let _ = writeln!(
                out,
                "| {} | {} | {} | {}/{} | {} | {} | {} |",
                escape(if checked.name.is_empty() { &checked.plugin } else { &checked.name }),
                checked.format,
                escape(&checked.version),
                buses(&checked.inputs),
                buses(&checked.outputs),
                checked.params,
                checked.latency,
                marks.join(" | ")
            );
        }
        let mut remarked: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for checked in &plugins {
            for remark in remarks(checked) {
                let who = format!("{} ({})", escape(&checked.name), checked.format);
                remarked.entry(escape(&remark)).or_default().push(who);
            }
        }
        if !remarked.is_empty() {
            out.push('\n');
        }
        for (remark, who) in remarked {
            let _ = writeln!(out, "- {remark} - {}", who.join(", "));
        }
    }
    out
}

fn escape(text: &str) -> String {
    clean(text).replace('|', "\\|")
}
