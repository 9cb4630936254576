//! `sandrack list`

use super::{clean, one_line, print};
use crate::catalog::cache::{self, Cache};
use crate::catalog::find::{matches, matches_failed};
use crate::catalog::{Failed, Known};
use crate::error::Error;
use serde::Serialize;
use std::io::IsTerminal;
use unicode_width::UnicodeWidthStr;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Words that must all be in a plugin's name, maker, kind, features, format or id
    words: Vec<String>,
    /// List the files that could not be scanned, and why
    #[arg(long)]
    failed: bool,
    /// Print as JSON
    #[arg(long)]
    json: bool,
}

/// Wider columns push the rest of their line aside.
const WIDEST: usize = 44;

pub(super) fn run(arguments: &Arguments) -> Result<(), Error> {
    let path = cache::path()?;
    let cache = Cache::read(&path)
        .map_err(|error| Error::Usage(format!("{error}; run 'sandrack scan' to make it anew")))?;
    if cache.files.is_empty() {
        return Err(Error::Usage("no plugins are known yet: run 'sandrack scan'".into()));
    }
    let words = &arguments.words;
    let rows: Vec<Vec<String>> = if arguments.failed {
        let failed: Vec<Failed> =
            cache.failed().into_iter().filter(|f| matches_failed(f, words)).collect();
        if arguments.json {
            return json(&failed);
        }
        failed.into_iter().map(|f| vec![f.path.display().to_string(), f.reason]).collect()
    } else {
        let known: Vec<Known> =
            cache.plugins().into_iter().filter(|known| matches(known, words)).collect();
        if arguments.json {
            return json(&known);
        }
        known.iter().map(row).collect()
    };
    print(&table(&rows, std::io::stdout().is_terminal()));
    if rows.is_empty() && !words.is_empty() {
        eprintln!("nothing scanned matches '{}'", clean(&words.join(" ")));
    }
    Ok(())
}

fn json<T: Serialize>(all: &[T]) -> Result<(), Error> {
    let text = serde_json::to_string_pretty(all).unwrap_or_default();
    print(&format!("{text}\n"));
    Ok(())
}

fn row(known: &Known) -> Vec<String> {
    let d = &known.descriptor;
    vec![
        d.name.clone(),
        d.vendor.clone(),
        known.kind.to_string(),
        known.format.to_string(),
        known.reference().to_string(),
    ]
}

/// Lines of cells: in columns for people, with tabs between for programs.
fn table(rows: &[Vec<String>], columns: bool) -> String {
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| one_line(cell.chars())).collect()).collect();
    let width = |column: usize| {
        let widths = rows.iter().filter_map(|row: &Vec<String>| row.get(column));
        widths.map(|cell| cell.width()).max().unwrap_or(0).min(WIDEST)
    };
    let widths: Vec<usize> = (0..rows.first().map_or(0, Vec::len)).map(width).collect();
    let mut out = String::new();
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            out.push_str(cell);
            match column + 1 == row.len() {
                true => out.push('\n'),
                false if !columns => out.push('\t'),
                false => {
                    let fill = widths[column].saturating_sub(cell.width()) + 2;
                    out.extend(std::iter::repeat_n(' ', fill));
                }
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_for_people_and_tabs_for_programs() {
        let rows =
            [["a\tb", "two", "x"], ["音", "", "y"]].map(|row| row.map(str::to_owned).to_vec());
        assert_eq!(table(&rows, true), "a b  two  x\n音        y\n");
        assert_eq!(table(&rows, false), "a b\ttwo\tx\n音\t\ty\n");
        assert_eq!(table(&[], true), "");
    }
}
