//! Plugins' states, compact, in a file beside the rig: each once, named by what is in it.
//!
//! A rig that refers to states is written after them, and states that only the rig before refers to
//! stay until the next save: whenever a save is cut short, rig and states fit each other.
//!
//! The file: `SANDRACK STATES 1\n`, then for each state its key (16 bytes), the length of what
//! follows (8 bytes, little endian), and the state, compressed (deflate).

use crate::error::Error;
use flate2::read::DeflateDecoder;
use flate2::write::DeflateEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

/// Names a state: the beginning of its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct StateKey([u8; 16]);

impl StateKey {
    /// The key of a state.
    pub fn of(state: &[u8]) -> Self {
        let mut key = [0; 16];
        key.copy_from_slice(&Sha256::digest(state)[..16]);
        Self(key)
    }
}

impl fmt::Display for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for StateKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for StateKey {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("'{text}' names no state: 32 digits 0-9, a-f");
        let mut key = [0; 16];
        if text.len() != 32 || !text.is_ascii() {
            return Err(wrong());
        }
        for (at, byte) in key.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&text[2 * at..2 * at + 2], 16).map_err(|_| wrong())?;
        }
        Ok(Self(key))
    }
}

impl TryFrom<String> for StateKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<StateKey> for String {
    fn from(key: StateKey) -> Self {
        key.to_string()
    }
}

const MAGIC: &[u8] = b"SANDRACK STATES 1\n";
/// No state is larger: neither what a file claims, nor what a plugin gives.
const MOST_BYTES: u64 = 1 << 28;

/// States by their keys.
#[derive(Clone, Debug, Default)]
pub struct States {
    states: BTreeMap<StateKey, Arc<Vec<u8>>>,
    /// Compressed, as they are in the file.
    packed: BTreeMap<StateKey, Arc<Vec<u8>>>,
}

impl States {
    /// The file that belongs to a rig's.
    pub fn path(rig: &Path) -> PathBuf {
        rig.with_extension("states")
    }

    /// Keeps a state; returns its key.
    pub fn add(&mut self, state: Arc<Vec<u8>>) -> StateKey {
        let key = StateKey::of(&state);
        self.states.entry(key).or_insert(state);
        key
    }

    /// A state; `None`: there is none of this key.
    pub fn get(&self, key: &StateKey) -> Option<Arc<Vec<u8>>> {
        self.states.get(key).cloned()
    }

    /// Forgets all but these.
    pub fn keep(&mut self, keys: &BTreeSet<StateKey>) {
        self.states.retain(|key, _| keys.contains(key));
        self.packed.retain(|key, _| keys.contains(key));
    }

    /// Keys of all.
    pub fn keys(&self) -> BTreeSet<StateKey> {
        self.states.keys().copied().collect()
    }

    /// Reads a file; none is as good as an empty one.
    ///
    /// # Errors
    /// It can't be read, or is damaged. Whatever refers to it is missing then.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let refuse = |what: &str| Error::State {
            path: path.to_owned(),
            reason: format!("{what}; restore it from a copy, or remove it to begin without states"),
        };
        let file = match std::fs::read(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Ok(Self::default());
            }
            file => file.map_err(|source| Error::File { path: path.to_owned(), source })?,
        };
        let mut rest = file.strip_prefix(MAGIC).ok_or_else(|| {
            refuse("it does not hold plugins' states, or was written by a newer version")
        })?;
        let mut all = Self::default();
        while !rest.is_empty() {
            let (Some(key), Some(len)) = (rest.get(..16), rest.get(16..24)) else {
                return Err(refuse("it ends in the middle of a state"));
            };
            let mut number = [0; 8];
            number.copy_from_slice(len);
            let len = usize::try_from(u64::from_le_bytes(number)).unwrap_or(usize::MAX);
            let Some(packed) = rest.get(24..).and_then(|rest| rest.get(..len)) else {
                return Err(refuse("it ends in the middle of a state"));
            };
            let mut name = [0; 16];
            name.copy_from_slice(key);
            let mut state = Vec::new();
            let mut limited = DeflateDecoder::new(packed).take(MOST_BYTES);
            limited.read_to_end(&mut state).map_err(|_| refuse("one of its states is damaged"))?;
            if StateKey::of(&state) != StateKey(name) {
                return Err(refuse("one of its states is damaged"));
            }
            all.states.insert(StateKey(name), Arc::new(state));
            all.packed.insert(StateKey(name), Arc::new(packed.to_vec()));
            rest = &rest[24 + len..];
        }
        Ok(all)
    }

    /// What is to be in the file.
    ///
    /// # Errors
    /// A state is too large.
    pub fn pack(&mut self) -> Result<Vec<u8>, Error> {
        let mut file = MAGIC.to_vec();
        for (key, state) in &self.states {
            if state.len() as u64 >= MOST_BYTES {
                let reason = format!("a plugin's state of {} bytes is too large", state.len());
                return Err(Error::Plan { reason });
            }
            let packed = self.packed.entry(*key).or_insert_with(|| Arc::new(pack(state)));
            file.extend(key.0);
            file.extend((packed.len() as u64).to_le_bytes());
            file.extend(packed.as_slice());
        }
        Ok(file)
    }
}

fn pack(state: &[u8]) -> Vec<u8> {
    let mut packed = DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
    // Writing to memory does not fail.
    let _ = packed.write_all(state);
    packed.finish().unwrap_or_default()
}
