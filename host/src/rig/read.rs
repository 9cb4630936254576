//! From a file to a rig. Every error names the line and the key, and the nearest valid word.

use super::check::{Problem, Step};
use super::{Rig, VERSION};
use crate::error::Error;
use std::ops::Range;
use std::path::Path;
use toml_edit::{Document, Item};

/// Longer files are no rigs.
const MOST_BYTES: u64 = 1 << 26;

impl Rig {
    /// Reads a rig's file.
    ///
    /// # Errors
    /// It can't be read, or what is in it makes no sense: with line, key and what to do.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = |source| Error::File { path: path.to_owned(), source };
        let about = std::fs::metadata(path).map_err(file)?;
        if !about.is_file() || about.len() > MOST_BYTES {
            let reason = "it is no file, or too large to be a rig".into();
            return Err(Error::Rig { path: path.to_owned(), line: None, reason });
        }
        Self::parse(path, &std::fs::read_to_string(path).map_err(file)?)
    }

    /// The rig that a text describes. `path`: for errors.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let refuse = |span: Option<Range<usize>>, reason: String| Error::Rig {
            path: path.to_owned(),
            line: span.map(|span| line(text, span.start)),
            reason,
        };
        let document = Document::parse(text)
            .map_err(|error| refuse(error.span(), one_line(error.message())))?;
        check_version(document.as_item()).map_err(|(span, reason)| refuse(span, reason))?;
        let rig: Self = toml_edit::de::from_str(text).map_err(|error| {
            let reason = explain(error.message(), error.span(), text);
            refuse(error.span(), reason)
        })?;
        rig.check().map_err(|Problem { at, name, reason }| {
            refuse(span_of(document.as_item(), &at, name.as_deref()), reason)
        })?;
        Ok(rig)
    }
}

fn check_version(root: &Item) -> Result<(), (Option<Range<usize>>, String)> {
    const KEY: &str = "sandrack_rig";
    let Some(item) = root.get(KEY) else {
        let reason = format!("this is no rig: it must begin with '{KEY} = {VERSION}'");
        return Err((Some(0..0), reason));
    };
    match item.as_integer() {
        Some(version) if version == i64::from(VERSION) => Ok(()),
        Some(version) if version > i64::from(VERSION) => Err((
            item.span(),
            format!(
                "{KEY} = {version}: written by a newer version of Sandrack; this one knows \
                 {VERSION}"
            ),
        )),
        _ => Err((item.span(), format!("{KEY}: must be {VERSION}"))),
    }
}

/// Line of a place in a text, from 1.
fn line(text: &str, at: usize) -> usize {
    text.as_bytes()[..at.min(text.len())].iter().filter(|byte| **byte == b'\n').count() + 1
}

/// The key on the line of a place, if there is one.
fn key(text: &str, at: usize) -> Option<&str> {
    let start = text.get(..at)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?;
    let (key, _) = line.split_once('=')?;
    Some(key.trim())
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// In the words of somebody who edits a file, what the deserializer found.
fn explain(message: &str, span: Option<Range<usize>>, text: &str) -> String {
    let message = one_line(message);
    let words: Vec<&str> = message.split('`').skip(1).step_by(2).collect();
    let of_key = || span.and_then(|span| key(text, span.start)).unwrap_or_default();
    match words.as_slice() {
        [wrong, valid @ ..] if message.starts_with("unknown field") => {
            format!("unknown key '{wrong}'{}", offer(wrong, valid.iter().copied()))
        }
        [wrong, valid @ ..] if message.starts_with("unknown variant") => {
            format!("{}: '{wrong}'{}", of_key(), offer(wrong, valid.iter().copied()))
        }
        [missing, ..] if message.starts_with("missing field") => {
            format!("the key '{missing}' is missing here")
        }
        _ if message.contains("untagged enum Output") => {
            format!("{}: must be channels, as [1, 2], or the id of a bus, as \"main\"", of_key())
        }
        _ => match of_key() {
            "" => message.clone(),
            key => format!("{key}: {message}"),
        },
    }
}

/// What might have been meant by a word that is not valid, or else all that is.
pub(crate) fn offer<'a>(wrong: &str, valid: impl Iterator<Item = &'a str>) -> String {
    const ALIKE: f64 = 0.6;
    const MOST: usize = 24;
    let valid: Vec<&str> = valid.collect();
    let alike = |word: &str| {
        let (a, b) = (word.to_lowercase(), wrong.to_lowercase());
        strsim::normalized_damerau_levenshtein(&a, &b).max(strsim::jaro_winkler(&a, &b) - 0.2)
    };
    let nearest = valid.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    match nearest {
        None => String::new(),
        Some(nearest) if alike(nearest) >= ALIKE => format!("; did you mean '{nearest}'?"),
        Some(_) => {
            let some: Vec<String> = valid.iter().take(MOST).map(|w| format!("'{w}'")).collect();
            let more = if valid.len() > MOST { ", …" } else { "" };
            format!("; there is {}{more}", some.join(", "))
        }
    }
}

/// Where something is in the file, or else the nearest thing around it. `name`: of a key in it.
fn span_of(root: &Item, path: &[Step], name: Option<&str>) -> Option<Range<usize>> {
    let mut item = root;
    let mut span = None;
    for step in path {
        let next = match step {
            Step::Key(key) => item.get(*key),
            Step::At(at) => match item {
                Item::ArrayOfTables(tables) => {
                    span = tables.get(*at).and_then(|table| table.span()).or(span);
                    item.get(*at)
                }
                _ => item.get(*at),
            },
        };
        let Some(next) = next else { break };
        item = next;
        span = item.span().or(span);
    }
    let named = name.and_then(|name| item.get(name)).and_then(Item::span);
    named.or(span)
}
