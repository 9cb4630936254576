//! What a worker may do to the rest of the system: levels and grants, as data.
//!
//! How a level is enforced is the system's affair ([`sys::confine`]);
//! docs/confinement.md says what each allows.

use crate::limits::Limits;
use crate::sys;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// How far a worker is confined.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Not at all: a plugin may do what its user may do.
    Off,
    /// As far as normal plugins, their editors included, go on working.
    Standard,
    /// Further: no sockets, so no editors; none of the user's own files.
    Strict,
}

impl Default for Level {
    fn default() -> Self {
        crate::sys::confine::USUAL
    }
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Off => "off",
            Self::Standard => "standard",
            Self::Strict => "strict",
        })
    }
}

impl FromStr for Level {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "off" => Ok(Self::Off),
            "standard" => Ok(Self::Standard),
            "strict" => Ok(Self::Strict),
            _ => Err("one of off, standard, strict".into()),
        }
    }
}

/// What may be done with a file or folder, and all that is in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// It may be read.
    Read,
    /// It may be read, changed and removed.
    Write,
}

/// What is wanted of a worker's confinement.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Confinement {
    /// How far.
    pub level: Level,
    /// More files and folders than the level allows.
    pub files: Vec<(PathBuf, Reach)>,
    /// Whether the network may be used.
    pub network: bool,
    /// How much a worker may use.
    pub limits: Limits,
    /// Whether a plugin is refused where the level can't be enforced.
    pub require: bool,
}

/// What is different for one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// More files and folders, with all that is in them; a socket, to be connected to, needs
    /// [`Reach::Write`].
    pub files: Vec<(PathBuf, Reach)>,
    /// Whether it may use the network.
    pub network: bool,
    /// Its level; `None`: that of all.
    pub level: Option<Level>,
    /// Whether it is loaded all the same where its level can't be enforced.
    pub unenforced: bool,
}

impl Grants {
    /// More files and folders to read.
    pub fn to_read(files: impl IntoIterator<Item = PathBuf>) -> Self {
        let files = files.into_iter().map(|file| (file, Reach::Read)).collect();
        Self { files, ..Self::default() }
    }
}

impl Default for Confinement {
    fn default() -> Self {
        Self {
            level: Level::default(),
            files: vec![],
            network: false,
            limits: Limits::default(),
            require: true,
        }
    }
}

impl Confinement {
    /// None.
    pub fn off() -> Self {
        Self { level: Level::Off, ..Self::default() }
    }

    /// A level, without grants.
    pub fn of(level: Level) -> Self {
        Self { level, ..Self::default() }
    }

    /// What is wanted of a process that holds plugins with these grants: all that any of them may.
    pub fn with(&self, grants: &[Grants]) -> Self {
        let level = grants.iter().map(|each| each.level.unwrap_or(self.level)).min();
        let mut all = Self { level: level.unwrap_or(self.level), ..self.clone() };
        for each in grants {
            all.files.extend(each.files.iter().cloned());
            all.network |= each.network;
            all.require &= !each.unenforced;
        }
        all.files.sort_by(|a, b| a.0.cmp(&b.0).then((b.1 as u8).cmp(&(a.1 as u8))));
        // Of the same path the greater reach stands first, and stays.
        all.files.dedup_by(|a, b| a.0 == b.0);
        all
    }
}

/// What a worker can reach of the file system, each with all that is in it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reached {
    /// Read.
    pub read: Vec<PathBuf>,
    /// Read, changed, made and removed.
    pub write: Vec<PathBuf>,
    /// Read and changed.
    pub devices: Vec<PathBuf>,
    /// Local sockets to connect to.
    pub sockets: Vec<PathBuf>,
    /// Whose memory by name it shares: a name for the plugin file; `None`: nobody's.
    pub memory: Option<String>,
}

/// Something that a worker was refused.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The system call, and the file or address.
    pub what: String,
    /// The option that would allow it.
    pub grant: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (allowed by {})", self.what, self.grant)
    }
}

/// What is really in force in a worker.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Enforced {
    /// The level that was asked for.
    pub level: Level,
    /// Files are confined, by this version of Landlock's interface; `None`: they are not.
    pub landlock_abi: Option<u32>,
    /// System calls are filtered.
    pub seccomp: bool,
    /// Memory, files and processor time are limited.
    pub limits: bool,
    /// Its private data folder, if it has one.
    pub folder: Option<PathBuf>,
    /// That folder is full: it may be read only.
    pub is_folder_full: bool,
    /// It has a network of its own, with nothing in it.
    pub network_namespace: bool,
    /// Windows: it can't write to what is its user's.
    pub low_integrity: bool,
    /// Windows: what else it has given up.
    pub mitigations: Vec<String>,
    /// Parts without which the level is not in force, and why.
    pub missing: Vec<String>,
    /// Lesser parts that the system does not permit, and why: the level is in force without.
    pub weaker: Vec<String>,
}

impl Enforced {
    /// Nothing.
    pub fn off() -> Self {
        Self { level: Level::Off, ..Self::default() }
    }

    /// Fails closed: whether a plugin may be loaded in a worker like this.
    ///
    /// # Errors
    /// What is missing, and how to go on.
    pub fn allows(&self, wanted: &Confinement) -> Result<(), String> {
        if wanted.level == Level::Off || !wanted.require {
            return Ok(());
        }
        let mut missing = self.missing.clone();
        if missing.is_empty() {
            // A worker that says nothing is missing must have all that the system has.
            if self.level != wanted.level {
                missing.push(format!("the level is '{}'", self.level));
            }
            missing.extend(sys::confine::lacking(self));
        }
        match missing.as_slice() {
            [] => Ok(()),
            missing => Err(format!(
                "it can't be confined at level '{}' on this system ({}); if you trust it, use \
                 --confinement-missing allow",
                wanted.level,
                missing.join("; ")
            )),
        }
    }
}

impl fmt::Display for Enforced {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.level)?;
        if self.level == Level::Off {
            return Ok(());
        }
        write!(f, ": {}", sys::confine::describe(self))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole() -> Enforced {
        Enforced {
            level: Level::Standard,
            landlock_abi: Some(1),
            seccomp: true,
            low_integrity: true,
            ..Enforced::default()
        }
    }

    #[test]
    fn what_cannot_be_enforced_is_refused_and_says_how_to_go_on() {
        let wanted = Confinement::of(Level::Standard);
        assert_eq!(whole().allows(&wanted), Ok(()));
        let lacking = [
            Enforced { landlock_abi: None, low_integrity: false, ..whole() },
            Enforced { seccomp: false, low_integrity: false, ..whole() },
            Enforced { missing: vec!["no Landlock: too old".into()], ..whole() },
            Enforced::off(),
        ];
        for enforced in lacking {
            let why = enforced.allows(&wanted).unwrap_err();
            assert!(why.contains("--confinement-missing allow"), "{why}");
            // Unless the user said that it need not be.
            assert_eq!(enforced.allows(&Confinement { require: false, ..wanted.clone() }), Ok(()));
            assert_eq!(enforced.allows(&Confinement::off()), Ok(()));
        }
        assert!(whole().allows(&Confinement::of(Level::Strict)).is_err());
    }

    #[test]
    fn plugins_that_share_a_process_get_what_any_of_them_may() {
        let wanted = Confinement {
            files: vec![("/all".into(), Reach::Read)],
            ..Confinement::of(Level::Standard)
        };
        assert_eq!(wanted.with(&[]), wanted);
        let strict = Grants { level: Some(Level::Strict), ..Grants::to_read(["/one".into()]) };
        assert_eq!(wanted.with(std::slice::from_ref(&strict)).level, Level::Strict);
        let files = vec![("/one".into(), Reach::Write), ("/all".into(), Reach::Read)];
        let other = Grants { files, network: true, ..Grants::default() };
        let both = wanted.with(&[strict, other]);
        assert_eq!((both.level, both.network, both.require), (Level::Standard, true, true));
        assert_eq!(
            both.files,
            [("/all".into(), Reach::Read), ("/one".into(), Reach::Write)] as [(PathBuf, Reach); 2]
        );
        let careless = Grants { unenforced: true, ..Grants::default() };
        assert!(!wanted.with(&[careless]).require);
    }

    #[test]
    fn what_is_in_force_stands_on_a_line() {
        let text = Enforced { network_namespace: true, ..whole() }.to_string();
        assert!(text.starts_with("standard: ") && text.contains("no limits"), "{text}");
        assert_eq!(Enforced::off().to_string(), "off");
    }

    #[test]
    fn levels_are_words() {
        for level in [Level::Off, Level::Standard, Level::Strict] {
            assert_eq!(level.to_string().parse(), Ok(level));
        }
        assert!("of".parse::<Level>().is_err());
    }
}
