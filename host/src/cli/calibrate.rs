//! `sandrack calibrate`

use super::print;
use crate::error::Error;
use sandrack_sandbox::calibrate::calibrate;
use sandrack_sandbox::supervisor::SupervisorOptions;
use sandrack_sandbox::sys::thread::realtime_advice;
use std::fmt::Write;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, options: &SupervisorOptions) -> Result<(), Error> {
    let found = calibrate(&options.program)?;
    let us = |ns: f64| ns / 1e3;
    let cores: Vec<String> = found.cores.iter().map(usize::to_string).collect();
    if arguments.json {
        let json = serde_json::json!({
            "same_core_us": { "p50": us(found.same_core.p50), "p99": us(found.same_core.p99) },
            "any_core_us": { "p50": us(found.any_core.p50), "p99": us(found.any_core.p99) },
            "realtime": found.realtime,
            "cores": found.cores,
            "pins": found.pins(),
        });
        print(&format!("{json:#}\n"));
        return Ok(());
    }
    let mut text = String::from("Waking the next of 32 processes in series, us per hop\n\n");
    let mut row = |name: &str, floor: sandrack_sandbox::calibrate::Floor| {
        let _ =
            writeln!(text, "  {name:<28} p50 {:>7.2}   p99 {:>7.2}", us(floor.p50), us(floor.p99));
    };
    row("on one core", found.same_core);
    row("where the system puts them", found.any_core);
    let placement = match found.pins() {
        true => format!(
            "Plugins in series share a core; chains are spread over the cores {}.",
            cores.join(", ")
        ),
        false => "Plugins are left to the system, which does better than a fixed core.".to_owned(),
    };
    let _ = writeln!(text, "\n{placement}");
    print(&text);
    if !found.realtime {
        eprintln!("note: {}", realtime_advice());
    }
    Ok(())
}
