//! From a rig to a file. What people wrote into it (comments, order, blank lines, how a number is
//! written) stays where the rig is still the same.

use super::{Id, Rig, States};
use crate::error::Error;
use crate::wav::temporary_name;
use std::collections::BTreeSet;
use std::io::Write;
use std::path::{Path, PathBuf};
use toml_edit::{ArrayOfTables, DocumentMut, InlineTable, Item, Table, Value};

/// How a new file begins.
const HEADER: &str = "\
# A Sandrack rig: what is played together. It can be edited by hand, and is written again by the
# program, which keeps comments. Its form is described in docs/rig.md.
";

/// A rig's file, as it was read or written last.
#[derive(Clone, Debug)]
pub struct RigFile {
    path: PathBuf,
    text: String,
    /// States that the file on disk refers to.
    referred: BTreeSet<super::StateKey>,
    states: Vec<u8>,
}

impl RigFile {
    /// Reads a rig, and its states.
    ///
    /// # Errors
    /// As [`Rig::read`] and [`States::read`]; or a state is missing that the rig refers to.
    pub fn open(path: &Path) -> Result<(Self, Rig, States), Error> {
        let rig = Rig::read(path)?;
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
        let mut states = States::read(&States::path(path))?;
        let packed = states.pack()?;
        let referred = rig.states().copied().collect();
        let file = Self { path: path.to_owned(), text, referred, states: packed };
        Ok((file, rig, states))
    }

    /// A file that is not there yet.
    pub fn new(path: &Path) -> Self {
        let (text, states) = (String::new(), Vec::new());
        Self { path: path.to_owned(), text, referred: BTreeSet::new(), states }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes states, then the rig, each as a whole or not at all; nothing where nothing has
    /// changed. Somebody else's changes to the file since are kept beside it: returns where.
    ///
    /// # Errors
    /// A file can't be written. What was there before is still there.
    pub fn save(&mut self, rig: &Rig, states: &mut States) -> Result<Option<PathBuf>, Error> {
        let text = rig.to_text(&self.text)?;
        // What the file on disk refers to stays until the new one is there.
        let referred: BTreeSet<_> = rig.states().copied().collect();
        let mut kept = states.clone();
        kept.keep(&referred.union(&self.referred).copied().collect());
        let packed = kept.pack()?;
        let has_states = !referred.is_empty() || !self.states.is_empty();
        if has_states && packed != self.states {
            write(&States::path(&self.path), &packed)?;
            self.states = packed;
        }
        self.referred = referred;
        if text == self.text {
            return Ok(None);
        }
        let theirs = self.keep_others_changes()?;
        write(&self.path, text.as_bytes())?;
        self.text = text;
        Ok(theirs)
    }

    fn keep_others_changes(&self) -> Result<Option<PathBuf>, Error> {
        let Ok(there) = std::fs::read_to_string(&self.path) else { return Ok(None) };
        if there == self.text {
            return Ok(None);
        }
        let beside = self.path.with_extension("edited.toml");
        write(&beside, there.as_bytes())?;
        Ok(Some(beside))
    }
}

/// Writes a file as a whole or not at all, for good.
fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = temporary_name(path)?;
    let written = std::fs::File::create(&temporary).and_then(|mut file| {
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&temporary, path)
    });
    written.map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        Error::File { path: path.to_owned(), source }
    })
}

impl Rig {
    /// The text of its file. `before`: the text that it replaces, or nothing.
    ///
    /// # Errors
    /// What can't be written as TOML.
    pub fn to_text(&self, before: &str) -> Result<String, Error> {
        let failed = |reason: String| Error::Plan { reason: format!("the rig: {reason}") };
        let new = toml_edit::ser::to_string_pretty(self).map_err(|e| failed(e.to_string()))?;
        let mut new: DocumentMut =
            new.parse().map_err(|e: toml_edit::TomlError| failed(e.to_string()))?;
        let is_new = before.is_empty();
        let mut old: DocumentMut = before.parse().unwrap_or_default();
        on_one_line(new.as_item_mut());
        merge(old.as_table_mut(), new.as_table(), Place::Rig);
        forget_positions(old.as_table_mut());
        let text = old.to_string();
        Ok(if is_new { format!("{HEADER}{text}") } else { text })
    }
}

/// Makes one table say what the other says. `place`: what kind of table it is.
fn merge(old: &mut Table, new: &Table, place: Place) {
    old.retain(|key, _| new.contains_key(key));
    for (key, item) in new {
        match (old.get_mut(key), item) {
            (None, item) if place.is_default(key, item) => {}
            (None, item) => {
                let mut item = item.clone();
                prune(&mut item, place.of(key));
                old.insert(key, item);
            }
            (Some(Item::Table(old)), Item::Table(new)) => merge(old, new, place.of(key)),
            (Some(Item::ArrayOfTables(old)), Item::ArrayOfTables(new)) => {
                merge_all(old, new, place.of(key));
            }
            (Some(there), item) if same_item(there, item, place.of(key)) => {}
            (Some(there), Item::Value(value)) => set(there, value.clone()),
            (Some(there), item) => {
                let mut item = item.clone();
                prune(&mut item, place.of(key));
                match (there.is_value(), item.clone().into_value()) {
                    // It was written on one line, and stays so.
                    (true, Ok(value)) => set(there, value),
                    _ => *there = item,
                }
            }
        }
    }
}

fn set(there: &mut Item, mut value: Value) {
    if let Item::Value(old) = there {
        *value.decor_mut() = old.decor().clone();
    }
    *there = Item::Value(value);
}

/// Tables that are told apart by an id keep what was written about them when they move.
fn merge_all(old: &mut ArrayOfTables, new: &ArrayOfTables, place: Place) {
    let name = |table: &Table| -> Option<String> {
        let id = table.get("id").or_else(|| table.get("to"))?;
        id.as_str().map(str::to_owned)
    };
    let mut there: Vec<Option<Table>> = old.iter().cloned().map(Some).collect();
    old.clear();
    for (number, table) in new.iter().enumerate() {
        let wanted = name(table);
        let known = match &wanted {
            Some(_) => there.iter().position(|t| t.as_ref().is_some_and(|t| name(t) == wanted)),
            None => there.get(number).and_then(Option::as_ref).map(|_| number),
        };
        let merged = match known.and_then(|at| there[at].take()) {
            Some(mut known) => {
                merge(&mut known, table, place);
                known
            }
            None => {
                let mut table = table.clone();
                prune_table(&mut table, place);
                table
            }
        };
        old.push(merged);
    }
}

/// Leaves out what need not be said.
fn prune(item: &mut Item, place: Place) {
    match item {
        Item::Table(table) => prune_table(table, place),
        Item::ArrayOfTables(tables) => {
            tables.iter_mut().for_each(|table| prune_table(table, place));
        }
        Item::Value(_) | Item::None => {}
    }
}

fn prune_table(table: &mut Table, place: Place) {
    table.retain(|key, item| place.is_worth_saying(key) || !place.is_default(key, item));
    table.iter_mut().for_each(|(key, item)| prune(item, place.of(key.get())));
}

/// What kind of table something is in: which keys count there, and for how much.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    Rig,
    Driver,
    Transport,
    Connections,
    Track,
    Plugin,
    Grants,
    Send,
    SideChain,
    Midi,
    Snapshot,
    /// Of a track or plugin in a snapshot: what is not said stays as it is.
    Settings,
    Other,
}

impl Place {
    fn of(self, key: &str) -> Self {
        match (self, key) {
            (Self::Snapshot, "track" | "plugin") => Self::Settings,
            (_, "driver") => Self::Driver,
            (_, "transport") => Self::Transport,
            (Self::Rig, "connections") => Self::Connections,
            (_, "track") => Self::Track,
            (_, "plugin") => Self::Plugin,
            (_, "grants") => Self::Grants,
            (_, "send") => Self::Send,
            (_, "side_chain") => Self::SideChain,
            (_, "midi") => Self::Midi,
            (_, "snapshot") => Self::Snapshot,
            _ => Self::Other,
        }
    }

    /// Whether a new table says it even so, for whoever edits it.
    fn is_worth_saying(self, key: &str) -> bool {
        matches!(
            (self, key),
            (Self::Driver, "name" | "inputs" | "outputs")
                | (Self::Track, "output" | "gain_db")
                | (Self::Plugin, "format")
        )
    }

    /// Whether a key's value is what counts where the key is not there.
    fn is_default(self, key: &str, item: &Item) -> bool {
        let number = |n: f64| {
            let value = item.as_float().or_else(|| item.as_integer().map(|i| i as f64));
            value == Some(n)
        };
        let pair = |a: i64, b: i64| {
            let values = item.as_array().map(|array| array.iter().map(Value::as_integer).collect());
            values == Some(vec![Some(a), Some(b)])
        };
        if is_empty(item) {
            return self != Self::Connections && (self, key) != (Self::Track, "output");
        }
        match (self, key) {
            (Self::Settings | Self::Other, _) => false,
            (Self::Driver, "name") => item.as_str() == Some("virtual"),
            (Self::Driver, "rate" | "frames") => number(0.0),
            (Self::Driver, "inputs" | "outputs") => number(2.0),
            (Self::Transport, "tempo") => number(120.0),
            (Self::Transport, "signature") => pair(4, 4),
            (Self::Track, "output") => pair(1, 2),
            (Self::Track, "kind") => item.as_str() == Some("track"),
            (Self::Track, "gain_db" | "pan")
            | (Self::Send | Self::SideChain, "gain_db")
            | (Self::Midi, "transpose") => number(0.0),
            (Self::SideChain, "bus") => number(1.0),
            (_, "mute" | "solo" | "pre" | "bypass" | "network") => item.as_bool() == Some(false),
            (Self::Plugin, "format") => item.as_str() == Some("clap"),
            (_, "name" | "path" | "plugin") => item.as_str() == Some(""),
            (_, "driver" | "transport" | "grants" | "params") => {
                let place = self.of(key);
                let table = item.as_table_like();
                table.is_some_and(|table| table.iter().all(|(key, i)| place.is_default(key, i)))
            }
            _ => false,
        }
    }
}

fn is_empty(item: &Item) -> bool {
    item.as_array().is_some_and(|array| array.is_empty())
        || item.as_array_of_tables().is_some_and(|tables| tables.is_empty())
        || item.as_table_like().is_some_and(|table| table.is_empty())
}

fn same_item(a: &Item, b: &Item, place: Place) -> bool {
    match (a.clone().into_value(), b.clone().into_value()) {
        (Ok(a), Ok(b)) => same(&a, &b, place),
        _ => false,
    }
}

/// Whether two values mean the same, however they are written.
fn same(a: &Value, b: &Value, place: Place) -> bool {
    let number = |v: &Value| v.as_float().or_else(|| v.as_integer().map(|i| i as f64));
    if let (Some(a), Some(b)) = (number(a), number(b)) {
        return a == b;
    }
    match (a, b) {
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b, place))
        }
        (Value::InlineTable(a), Value::InlineTable(b)) => {
            let all_in = |a: &InlineTable, b: &InlineTable| {
                a.iter().all(|(key, value)| match b.get(key) {
                    Some(other) => same(value, other, place.of(key)),
                    None => place.is_default(key, &Item::Value(value.clone())),
                })
            };
            all_in(a, b) && all_in(b, a)
        }
        _ => match (a.as_str(), b.as_str(), a.as_bool(), b.as_bool()) {
            (Some(a), Some(b), ..) => a == b,
            (.., Some(a), Some(b)) => a == b,
            _ => false,
        },
    }
}

/// Writes every list on one line.
fn on_one_line(item: &mut Item) {
    match item {
        Item::Table(table) => table.iter_mut().for_each(|(_, item)| on_one_line(item)),
        Item::ArrayOfTables(tables) => {
            for table in tables.iter_mut() {
                table.iter_mut().for_each(|(_, item)| on_one_line(item));
            }
        }
        Item::Value(Value::Array(array)) => {
            array.fmt();
            array.set_trailing("");
            array.set_trailing_comma(false);
        }
        Item::Value(_) | Item::None => {}
    }
}

/// Tables are written in their order in memory, not where they once stood.
fn forget_positions(table: &mut Table) {
    table.set_position(None);
    for (_, item) in table.iter_mut() {
        match item {
            Item::Table(table) => forget_positions(table),
            Item::ArrayOfTables(tables) => tables.iter_mut().for_each(forget_positions),
            Item::Value(_) | Item::None => {}
        }
    }
}

impl Rig {
    /// Leaves out of snapshots and mappings what is about a track or plugin that is no more, and
    /// connections of MIDI ports that are named no more.
    pub fn forget_missing(&mut self) {
        let tracks: BTreeSet<Id> = self.tracks.iter().map(|track| track.id.clone()).collect();
        let slots = self.tracks.iter().flat_map(|track| &track.plugins);
        let plugins: BTreeSet<Id> = slots.map(|slot| slot.id.clone()).collect();
        for slot in self.tracks.iter_mut().flat_map(|track| &mut track.plugins) {
            let is_there = |from: &Id| tracks.contains(from);
            slot.side_chains.retain(|chain| chain.from.as_ref().is_none_or(is_there));
        }
        for snapshot in &mut self.snapshots {
            snapshot.tracks.retain(|track| tracks.contains(&track.id));
            snapshot.plugins.retain(|plugin| plugins.contains(&plugin.id));
        }
        let mut connections = std::mem::take(&mut self.connections);
        connections.retain(|port, _| self.has_port(port));
        self.connections = connections;
        self.mappings.retain(|mapping| {
            mapping.plugin.as_ref().is_none_or(|id| plugins.contains(id))
                && mapping.track.as_ref().is_none_or(|id| tracks.contains(id))
        });
    }
}
