//! The plugins of this machine: found in folders, listed once, looked up by name.
//!
//! | part | for |
//! |---|---|
//! | [`walk`] | from folders to plugin files |
//! | [`scan`](mod@scan) | from plugin files to what is in them, in workers |
//! | [`cache`] | keeping that until a file changes |
//! | [`find`] | from words, or a name, to plugins |
//!
//! All of it may take long and belongs on a control thread.

pub mod cache;
pub mod find;
pub mod scan;
pub mod walk;

use sandrack_sandbox::format::{Descriptor, Format, PluginRef};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// What a plugin is, told by its features.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// Makes audio of notes.
    Instrument,
    /// Makes audio of audio.
    Effect,
    /// Makes notes of notes.
    NoteEffect,
    /// Makes notes of audio.
    NoteDetector,
    /// Shows what it is given.
    Analyzer,
    /// Does not say.
    Other,
}

impl Kind {
    /// The kind that features mean, in CLAP's words or VST3's.
    pub fn of(features: &[String]) -> Self {
        let words: Vec<String> = features.iter().map(|feature| feature.to_lowercase()).collect();
        let has = |any: &[&str]| words.iter().any(|word| any.contains(&word.as_str()));
        // The narrower first: makers add `audio-effect` to much.
        match () {
            () if has(&["instrument", "synthesizer", "synth", "sampler"]) => Self::Instrument,
            () if has(&["note-effect"]) => Self::NoteEffect,
            () if has(&["note-detector"]) => Self::NoteDetector,
            () if has(&["analyzer", "analyser"]) => Self::Analyzer,
            () if has(&["audio-effect", "fx"]) => Self::Effect,
            () => Self::Other,
        }
    }

    /// Its name in lists and JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Instrument => "instrument",
            Self::Effect => "effect",
            Self::NoteEffect => "note-effect",
            Self::NoteDetector => "note-detector",
            Self::Analyzer => "analyzer",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// A plugin that a scan has found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Known {
    /// The file, or bundle folder, it is in.
    pub path: PathBuf,
    /// The file's format.
    pub format: Format,
    /// What it is.
    pub kind: Kind,
    /// What its factory says of it.
    #[serde(flatten)]
    pub descriptor: Descriptor,
}

impl Known {
    /// What names it to everything else.
    pub fn reference(&self) -> PluginRef {
        PluginRef { path: self.path.clone(), id: Some(self.descriptor.id.clone()) }
    }
}

/// A file that could not be listed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Failed {
    /// The file.
    pub path: PathBuf,
    /// Why.
    pub reason: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kind_is_told_by_the_features_of_either_format() {
        let kind = |features: &[&str]| {
            Kind::of(&features.iter().map(|f| (*f).to_owned()).collect::<Vec<_>>())
        };
        assert_eq!(kind(&["audio-effect", "reverb", "stereo"]), Kind::Effect);
        assert_eq!(kind(&["audio-effect", "analyzer"]), Kind::Analyzer);
        assert_eq!(kind(&["Instrument", "Synth"]), Kind::Instrument);
        assert_eq!(kind(&["Fx", "Delay"]), Kind::Effect);
        assert_eq!(kind(&["note-effect"]), Kind::NoteEffect);
        assert_eq!(kind(&["stereo"]), Kind::Other);
        assert_eq!(kind(&[]), Kind::Other);
    }
}
