//! What the benchmarks that judge have in common: two options, targets, and the exit code.

use std::path::PathBuf;
use std::process::ExitCode;

use sandrack_sandbox::sys::idle::{CoresAwake, awake_advice, keep_cores_awake};
use serde_json::{Value, json};

use crate::stats;

/// Options of every benchmark that judges.
#[derive(clap::Args)]
pub struct Output {
    /// Also write the figures to FILE; `-` prints them instead of the text
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// A short run that shows that it works: the targets are not judged
    #[arg(long)]
    pub smoke: bool,
    /// Let idle cores sleep (see `sandrack_sandbox::sys::idle`)
    #[arg(long)]
    pub let_cores_sleep: bool,
}

impl Output {
    /// Keeps the cores awake as long as the value lives, unless told not to or not permitted.
    pub fn keep_cores_awake(&self) -> Option<CoresAwake> {
        if self.let_cores_sleep {
            return None;
        }
        keep_cores_awake().inspect_err(|e| eprintln!("note: {e}: {}", awake_advice())).ok()
    }

    /// A default that depends on whether this is a short run.
    pub fn or<T>(&self, given: Option<T>, usual: T, smoke: T) -> T {
        given.unwrap_or(if self.smoke { smoke } else { usual })
    }
}

/// A target, and what was measured.
pub struct Check {
    what: String,
    value: Option<f64>,
    limit: f64,
    at_least: bool,
}

impl Check {
    /// The figure may be `limit` or less.
    pub fn at_most(what: impl Into<String>, value: Option<f64>, limit: f64) -> Self {
        Self { what: what.into(), value, limit, at_least: false }
    }

    /// The figure may be `limit` or more.
    pub fn at_least(what: impl Into<String>, value: Option<f64>, limit: f64) -> Self {
        Self { what: what.into(), value, limit, at_least: true }
    }

    /// Whether the target is met. Without a figure it is not.
    #[must_use]
    pub fn met(&self) -> bool {
        self.value.is_some_and(|value| match self.at_least {
            true => value >= self.limit,
            false => value <= self.limit,
        })
    }

    fn json(&self) -> Value {
        let relation = if self.at_least { "at_least" } else { "at_most" };
        json!({ "what": self.what, "value": self.value, relation: self.limit, "met": self.met() })
    }

    fn text(&self, smoke: bool) -> String {
        let verdict = match (smoke, self.met()) {
            (true, _) => "not judged",
            (_, true) => "met",
            (_, false) => "MISSED",
        };
        let value = self.value.map_or("no figure".to_owned(), number);
        let relation = if self.at_least { "at least" } else { "at most" };
        format!("{verdict:<10}  {}: {value} ({relation} {})\n", self.what, number(self.limit))
    }
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 { format!("{value}") } else { format!("{value:.2}") }
}

/// Prints or writes what was found and tells the exit code: 1 when a target is missed.
pub fn finish(
    output: &Output,
    text: &str,
    mut value: Value,
    checks: &[Check],
) -> std::io::Result<ExitCode> {
    value["smoke"] = output.smoke.into();
    value["checks"] = checks.iter().map(Check::json).collect();
    let missed = !output.smoke && checks.iter().any(|check| !check.met());
    let code = if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS };
    if let Some(file) = &output.json {
        stats::write_json(file, &value)?;
        if file.as_os_str() == "-" {
            return Ok(code);
        }
    }
    let verdicts: String = checks.iter().map(|check| check.text(output.smoke)).collect();
    println!("{text}\n{verdicts}");
    Ok(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_figure_misses_its_target() {
        assert!(Check::at_most("", Some(1.4), 1.4).met());
        assert!(!Check::at_most("", Some(1.41), 1.4).met());
        assert!(Check::at_least("", Some(3.0), 3.0).met());
        assert!(!Check::at_least("", Some(2.9), 3.0).met());
        assert!(!Check::at_most("", None, 1.4).met());
    }
}
