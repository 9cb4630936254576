//! From words, or a name, to plugins.

use super::cache::{self, Cache};
use super::walk::format_by_name;
use super::{Failed, Known};
use crate::error::Error;
use sandrack_sandbox::format::{Format, PluginRef};
use std::path::Path;

/// Names that are offered instead of one that isn't there.
const OFFERED: usize = 4;

/// How alike two names are, 0 to 1, so that one is offered for the other.
const ALIKE: f64 = 0.75;

/// What a user means by PLUGIN: a file that exists, `FILE#ID` of one, or the name or id of a
/// scanned plugin, in any case. A CLAP plugin is preferred to the same maker's VST3 plugin of this
/// name.
///
/// # Errors
/// When no scanned plugin, or more than one, is called so. The text names what is nearest.
pub fn named(plugin: &PluginRef) -> Result<PluginRef, Error> {
    let text = plugin.to_string();
    if plugin.path.exists() || text.is_empty() {
        return Ok(plugin.clone());
    }
    // What looks like a path is one: whoever uses it says that it is not there.
    let looks_like_path = plugin.path.is_absolute()
        || plugin.path.starts_with(".")
        || plugin.path.starts_with("..")
        || format_by_name(&plugin.path).is_some();
    let known = match cache::path().and_then(|path| Cache::read(&path)) {
        Ok(cache) => cache.plugins(),
        Err(_) if looks_like_path => return Ok(plugin.clone()),
        Err(error) => {
            return Err(Error::Usage(format!(
                "{text}: no such file, and no names are known ({error}): run 'sandrack scan'"
            )));
        }
    };
    match choose(&known, &text) {
        Ok(found) => Ok(found.reference()),
        Err(_) if looks_like_path => Ok(plugin.clone()),
        Err(reason) => Err(Error::Usage(reason)),
    }
}

/// The scanned plugin that a name or id means, or why none is meant.
fn choose<'a>(known: &'a [Known], text: &str) -> Result<&'a Known, String> {
    let wanted = text.trim().to_lowercase();
    let by = |what: fn(&Known) -> &str| -> Vec<&'a Known> {
        let is_it = |plugin: &&Known| what(plugin).to_lowercase() == wanted;
        each_once(known.iter().filter(is_it))
    };
    let mut found = by(|plugin| &plugin.descriptor.id);
    if found.is_empty() {
        found = by(|plugin| &plugin.descriptor.name);
    }
    let claps: Vec<&Known> = found.iter().copied().filter(|p| p.format == Format::Clap).collect();
    match (found.as_slice(), claps.as_slice()) {
        ([only], _) => Ok(only),
        (_, [clap]) if found.iter().all(|other| same_maker(clap, other)) => Ok(clap),
        ([], _) => Err(none(known, text, &wanted)),
        (several, _) => {
            let names: Vec<String> =
                several.iter().take(OFFERED).map(|p| format!("'{}'", p.reference())).collect();
            let more = match several.len().saturating_sub(OFFERED) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Err(format!("{text}: {} plugins are called so: {}{more}", several.len(), {
                names.join(", ")
            }))
        }
    }
}

/// Leaves out what is reached by another path already.
fn each_once<'a>(all: impl Iterator<Item = &'a Known>) -> Vec<&'a Known> {
    let mut found: Vec<(std::path::PathBuf, &Known)> = Vec::new();
    for plugin in all {
        let file = plugin.path.canonicalize().unwrap_or_else(|_| plugin.path.clone());
        let seen =
            |(other, p): &(_, &Known)| *other == file && p.descriptor.id == plugin.descriptor.id;
        if !found.iter().any(seen) {
            found.push((file, plugin));
        }
    }
    found.into_iter().map(|(_, plugin)| plugin).collect()
}

/// Whether makers' names are the same for people: formats' rules for them differ, and some makers
/// add the format (`LSP CLAP`, `LSP VST3`).
fn same_maker(a: &Known, b: &Known) -> bool {
    let name = |plugin: &Known| {
        let vendor = plugin.descriptor.vendor.to_lowercase();
        let words = vendor.split_whitespace().filter(|word| !matches!(*word, "clap" | "vst3"));
        letters(&words.collect::<String>())
    };
    let (a, b) = (name(a), name(b));
    a.contains(&b) || b.contains(&a)
}

fn letters(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).collect()
}

fn none(known: &[Known], text: &str, wanted: &str) -> String {
    if known.is_empty() {
        return format!(
            "{text}: no such file; for plugins to be known by name run 'sandrack scan' first"
        );
    }
    let mut near: Vec<(f64, &str)> = known
        .iter()
        .map(|plugin| {
            let name = plugin.descriptor.name.to_lowercase();
            let part = letters(wanted);
            let alike = match !part.is_empty() && letters(&name).contains(&part) {
                true => 1.0,
                false => strsim::normalized_damerau_levenshtein(&name, wanted)
                    .max(strsim::jaro_winkler(&name, wanted) - 0.1),
            };
            (alike, plugin.descriptor.name.as_str())
        })
        .filter(|(alike, _)| *alike >= ALIKE)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
    near.dedup_by_key(|(_, name)| *name);
    let names: Vec<String> = near.iter().take(OFFERED).map(|(_, n)| format!("'{n}'")).collect();
    match names.is_empty() {
        true => format!("{text}: no such file, and no scanned plugin is called so (see: list)"),
        false => format!(
            "{text}: no such file, and no scanned plugin is called so; there is {}",
            names.join(", ")
        ),
    }
}

/// Whether all of some words are in what is known of a plugin, in any case.
pub fn matches(plugin: &Known, words: &[String]) -> bool {
    let d = &plugin.descriptor;
    let all = [&d.name, &d.vendor, &d.id].into_iter().chain(&d.features);
    let mut text = all.map(String::as_str).collect::<Vec<_>>().join("\n");
    text.push_str(&format!("\n{}\n{}", plugin.kind, plugin.format));
    contains(&text, words)
}

/// The same of a file that could not be listed.
pub fn matches_failed(failed: &Failed, words: &[String]) -> bool {
    contains(&format!("{}\n{}", Path::display(&failed.path), failed.reason), words)
}

fn contains(text: &str, words: &[String]) -> bool {
    let text = text.to_lowercase();
    words.iter().all(|word| text.contains(&word.to_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::super::Kind;
    use super::*;
    use sandrack_sandbox::format::Descriptor;

    fn known(path: &str, format: Format, name: &str, vendor: &str, id: &str) -> Known {
        let descriptor = Descriptor {
            id: id.into(),
            name: name.into(),
            vendor: vendor.into(),
            features: vec!["audio-effect".into(), "reverb".into()],
            ..Descriptor::default()
        };
        Known { path: path.into(), format, kind: Kind::Effect, descriptor }
    }

    fn all() -> Vec<Known> {
        use Format::{Clap, Vst3};
        vec![
            known("/a.clap", Clap, "Hall Reverb", "Dragonfly", "dragonfly.hall"),
            known("/a.vst3", Vst3, "Hall Reverb", "dragon-fly", "0123"),
            known("/b.vst3", Vst3, "Plate Reverb", "Dragonfly", "4567"),
            known("/c.clap", Clap, "Comp", "A", "a.comp"),
            known("/c.vst3", Vst3, "Comp", "B", "89ab"),
            known("/f.clap", Clap, "Gain", "LSP CLAP", "f"),
            known("/f.vst3", Vst3, "Gain", "LSP VST3", "cdef"),
            known("/d.clap", Clap, "EQ", "A", "same"),
            known("/e.clap", Clap, "Gate", "A", "same"),
        ]
    }

    #[test]
    fn a_name_means_one_plugin_or_says_why_not() {
        let all = all();
        let chosen = |text: &str| choose(&all, text).map(|k| k.reference().to_string());
        assert_eq!(chosen("hall REVERB").unwrap(), "/a.clap#dragonfly.hall");
        assert_eq!(chosen("0123").unwrap(), "/a.vst3#0123");
        assert_eq!(chosen("Plate Reverb").unwrap(), "/b.vst3#4567");
        assert_eq!(chosen("gain").unwrap(), "/f.clap#f");
        let text = chosen("comp").unwrap_err();
        assert!(text.contains("2 plugins") && text.contains("'/c.vst3#89ab'"), "{text}");
        assert!(chosen("same").unwrap_err().contains("'/e.clap#same'"));
        let text = chosen("Hal Reverb").unwrap_err();
        assert!(text.contains("there is 'Hall Reverb'"), "{text}");
        assert!(chosen("hallreverb").unwrap_err().contains("there is 'Hall Reverb'"));
        let text = chosen("reverb").unwrap_err();
        assert!(text.contains("'Hall Reverb', 'Plate Reverb'"), "{text}");
        assert!(chosen("xyzzy").unwrap_err().contains("see: list"));
        assert!(choose(&[], "x").unwrap_err().contains("sandrack scan"));
    }

    #[test]
    fn all_words_must_match() {
        let all = all();
        let count = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|w| (*w).to_owned()).collect();
            all.iter().filter(|known| matches(known, &words)).count()
        };
        assert_eq!(count(&[]), 9);
        assert_eq!(count(&["Reverb", "vst3", "hall"]), 1);
        assert_eq!(count(&["EFFECT", "clap"]), 5);
        assert_eq!(count(&["a.comp"]), 1);
        assert_eq!(count(&["reverb", "nothing"]), 0);
    }
}
