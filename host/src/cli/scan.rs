//! `sandrack scan`

use super::{clean, count, one_line, print};
use crate::catalog::cache;
use crate::catalog::scan::{Again, Scan, scan};
use crate::catalog::walk::Places;
use crate::error::Error;
use indicatif::{ProgressBar, ProgressStyle};
use sandrack_sandbox::format::Format;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Instant;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folders, or plugin files [default: the standard folders, CLAP_PATH and VST3_PATH]
    #[arg(value_name = "FOLDER")]
    folders: Vec<PathBuf>,
    /// Try again what has failed
    #[arg(long)]
    retry: bool,
    /// List every file anew, changed or not
    #[arg(long)]
    rescan: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(arguments: &Arguments, mut options: SupervisorOptions) -> Result<(), Error> {
    let places = match arguments.folders.as_slice() {
        [] => Places::standard(),
        given => Places::given(given)?,
    };
    let again = match (arguments.rescan, arguments.retry) {
        (true, _) => Again::Everything,
        (_, true) => Again::Failed,
        _ => Again::Nothing,
    };
    options.realtime = false;
    let supervisor = Supervisor::new(options)?;
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len}  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let start = Instant::now();
    let done = scan(&supervisor, &places, &cache::path()?, again, |done, of, running| {
        bar.set_length(of as u64);
        bar.set_position(done as u64);
        let names = running.iter().filter_map(|path| path.file_name());
        let names: Vec<_> = names.map(|name| name.to_string_lossy()).collect();
        bar.set_message(clean(&names.join(", ")));
    });
    bar.finish_and_clear();
    let (done, seconds) = (done?, start.elapsed().as_secs_f64());
    if let Some(note) = &done.note {
        eprintln!("note: {}", one_line(note.chars()));
    }
    match arguments.json {
        true => print(&format!("{:#}\n", json(&done, seconds))),
        false => print(&text(&done, &places, seconds)),
    }
    Ok(())
}

fn of_format(scan: &Scan, format: Format) -> usize {
    scan.plugins.iter().filter(|plugin| plugin.format == format).count()
}

fn json(scan: &Scan, seconds: f64) -> serde_json::Value {
    serde_json::json!({
        "files": scan.files,
        "listed": scan.listed,
        "plugins": scan.plugins.len(),
        "clap": of_format(scan, Format::Clap),
        "vst3": of_format(scan, Format::Vst3),
        "failed": scan.failed,
        "unreadable": scan.unreadable,
        "seconds": seconds,
    })
}

fn text(scan: &Scan, places: &Places, seconds: f64) -> String {
    let mut out = String::new();
    if scan.files == 0 {
        let folders: Vec<String> =
            places.roots.iter().map(|root| format!("  {}\n", root.display())).collect();
        let _ = write!(out, "No plugin files in\n{}", folders.concat());
    } else {
        let known = match scan.files - scan.listed.min(scan.files) {
            0 => String::new(),
            known => format!(" ({known} unchanged since the last scan)"),
        };
        let _ = writeln!(
            out,
            "Found {} in {}{known}: {} CLAP, {} VST3; {seconds:.1} s",
            count(scan.plugins.len(), "plugin"),
            count(scan.files, "file"),
            of_format(scan, Format::Clap),
            of_format(scan, Format::Vst3),
        );
    }
    if !scan.failed.is_empty() {
        let failed = count(scan.failed.len(), "file");
        let _ = writeln!(out, "\n{failed} failed, not tried again until changed (or: --retry)");
        for failed in &scan.failed {
            let path = clean(&failed.path.to_string_lossy());
            let _ = writeln!(out, "  {path}\n    {}", clean(&failed.reason));
        }
    }
    for folder in &scan.unreadable {
        let path = clean(&folder.path.to_string_lossy());
        let _ = writeln!(out, "\n{path}\n  can't be read: {}", folder.reason);
    }
    out
}
