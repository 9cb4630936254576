//! `sandrack check`

use super::print;
use crate::catalog::find::named;
use crate::check::{CheckOptions, Checked, check, markdown, text};
use crate::error::Error;
use indicatif::{ProgressBar, ProgressStyle};
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::path::{Path, PathBuf};
use std::time::Duration;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Plugin files, FILE#ID, or folders of them
    #[arg(required_unless_present = "with", value_name = "PLUGIN")]
    plugins: Vec<PluginRef>,
    /// Add the results of an earlier run, written with --json, of plugins not checked now
    #[arg(long, value_name = "FILE")]
    with: Vec<PathBuf>,
    /// Also write the results as JSON
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Also write the results as a table in Markdown
    #[arg(long, value_name = "FILE")]
    markdown: Option<PathBuf>,
    /// Also write a picture of each editor into this folder, as PNG
    #[arg(long, value_name = "FOLDER", conflicts_with = "no_editors")]
    pictures: Option<PathBuf>,
    /// Don't open editors
    #[arg(long)]
    no_editors: bool,
    /// How many to check at once [default: one a core]
    #[arg(long, value_name = "N")]
    jobs: Option<usize>,
}

pub(super) fn run(arguments: &Arguments, mut options: SupervisorOptions) -> Result<(), Error> {
    options.realtime = false;
    let timeout = options.timeout;
    let workers = options.clone();
    let supervisor = Supervisor::new(options)?;
    let mut plugins = Vec::new();
    let mut unlisted = Vec::new();
    for plugin in &arguments.plugins {
        let plugin = named(plugin)?;
        if plugin.id.is_some() {
            plugins.push(plugin.clone());
            continue;
        }
        for file in files(&plugin.path) {
            match supervisor.list(&file) {
                Ok(all) => {
                    plugins.extend(all.into_iter().map(|descriptor| PluginRef {
                        path: file.clone(),
                        id: Some(descriptor.id),
                    }))
                }
                Err(error) => unlisted.push(error.to_string()),
            }
        }
    }
    let mut earlier = Vec::new();
    for path in &arguments.with {
        earlier.extend(read_results(path)?);
    }
    if plugins.is_empty() && unlisted.is_empty() && earlier.is_empty() {
        return Err(Error::Usage("there is no plugin file in what was named".into()));
    }
    if let Some(folder) = &arguments.pictures {
        std::fs::create_dir_all(folder)
            .map_err(|source| Error::File { path: folder.clone(), source })?;
    }
    let bar = ProgressBar::new(plugins.len() as u64).with_style(
        ProgressStyle::with_template("{bar:30} {pos}/{len}  {wide_msg}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let options = CheckOptions {
        jobs: arguments.jobs.unwrap_or_else(|| {
            std::thread::available_parallelism().map_or(2, std::num::NonZero::get)
        }),
        timeout: timeout.max(Duration::from_secs(1)),
        editors: !arguments.no_editors,
        pictures: arguments.pictures.clone(),
    };
    let mut all = check(&plugins, &workers, &options, &|checked| {
        bar.inc(1);
        bar.set_message(checked.name.clone());
    });
    bar.finish_and_clear();
    for old in earlier {
        if !all.iter().any(|new| new.plugin == old.plugin) {
            all.push(old);
        }
    }
    let write = |path: &Path, content: String| {
        std::fs::write(path, content)
            .map_err(|source| Error::File { path: path.to_owned(), source })
    };
    if let Some(path) = &arguments.json {
        let json = serde_json::to_string_pretty(&all)
            .map_err(|e| Error::Usage(format!("results as JSON: {e}")))?;
        write(path, json + "\n")?;
    }
    if let Some(path) = &arguments.markdown {
        let words: Vec<String> =
            std::env::args_os().skip(1).map(|a| a.to_string_lossy().into_owned()).collect();
        write(path, markdown(&all, &format!("sandrack {}", words.join(" "))))?;
    }
    print(&text(&all));
    for error in &unlisted {
        eprintln!("sandrack: {error}");
    }
    let failed = all.iter().filter(|checked| !checked.passed()).count() + unlisted.len();
    match failed {
        0 => Ok(()),
        1 => Err(Error::Usage("1 plugin or file failed".into())),
        n => Err(Error::Usage(format!("{n} plugins or files failed"))),
    }
}

/// What an earlier run wrote.
fn read_results(path: &Path) -> Result<Vec<Checked>, Error> {
    let of_file = |source| Error::File { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(of_file)?;
    serde_json::from_str(&text).map_err(|e| of_file(std::io::Error::other(e)))
}

/// The plugin files that a path means: itself, or those below a folder that is no bundle.
fn files(path: &Path) -> Vec<PathBuf> {
    let is_plugin = |path: &Path| {
        path.extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("clap") || e.eq_ignore_ascii_case("vst3"))
    };
    if is_plugin(path) || !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut found: Vec<PathBuf> = std::fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .map(|entry| entry.path())
        .filter(|path| is_plugin(path) || path.is_dir())
        .flat_map(|path| files(&path))
        .collect();
    found.sort();
    found
}
