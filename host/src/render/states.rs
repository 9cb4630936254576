//! Plugins' states in files.
//!
//! A file holds what the plugin itself gave, byte for byte (of VST3 that is a `.vstpreset`). For a
//! plugin that can't save its state the host saves the values of its parameters, as JSON:
//!
//! ```json
//! { "sandrack_parameters": 1, "plugin": "com.maker.plugin",
//!   "values": [{ "id": 3, "name": "Gain", "value": 0.5 }] }
//! ```

use super::chain::Chain;
use crate::error::Error;
use crate::presets::{find, near};
use crate::wav::temporary_name;
use sandrack_sandbox::format::{Preset, StateContext};
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Parameters of a plugin that has no state of its own.
#[derive(Serialize, Deserialize)]
struct Parameters {
    /// Version of this form.
    sandrack_parameters: u32,
    /// The plugin's id.
    plugin: String,
    values: Vec<Value>,
}

#[derive(Serialize, Deserialize)]
struct Value {
    id: u32,
    name: String,
    value: f64,
}

const MAX_BYTES: u64 = 1 << 28;

/// What such files begin with, but for white space.
const BEGINS: &[u8] = b"{\"sandrack_parameters\":";

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let file = |source| Error::File { path: path.to_owned(), source };
    let about = std::fs::metadata(path).map_err(file)?;
    if !about.is_file() || about.len() > MAX_BYTES {
        let reason = "it is no file, or too large to be a plugin's state".into();
        return Err(Error::State { path: path.to_owned(), reason });
    }
    std::fs::read(path).map_err(file)
}

/// Gives a plugin the state in a file. Returns the parameters that are to be set to it.
pub(super) fn load(
    chain: &mut Chain,
    place: usize,
    path: &Path,
    context: StateContext,
) -> Result<Vec<(usize, u32, f64)>, Error> {
    let refuse = |reason: String| Error::State { path: path.to_owned(), reason };
    let bytes = read(path)?;
    let start = bytes.iter().filter(|b| !b.is_ascii_whitespace()).take(BEGINS.len()).copied();
    if start.eq(BEGINS.iter().copied()) {
        let saved: Parameters = serde_json::from_slice(&bytes)
            .map_err(|e| refuse(format!("its parameters can't be read ({e})")))?;
        let info = chain.info(place);
        let id = &info.descriptor.id;
        if saved.sandrack_parameters != 1 || saved.plugin != *id {
            let of = saved.plugin;
            return Err(refuse(format!("it is of the plugin {of} and not of {id}, or too new")));
        }
        let mut values = Vec::new();
        for value in saved.values {
            let param = info.params.iter().find(|param| param.id == value.id);
            if let Some(param) = param.filter(|p| !p.read_only && value.value.is_finite()) {
                let number = value.value.max(param.min).min(param.max);
                values.push((place, param.id, number));
            }
        }
        return Ok(values);
    }
    chain.load_state(place, &bytes, context)?;
    chain.refresh(place)?;
    Ok(Vec::new())
}

/// Gives a plugin a preset: a file, or one of those that it lists or that its file declares.
pub(super) fn load_preset(
    chain: &mut Chain,
    place: usize,
    name: &str,
) -> Result<Vec<(usize, u32, f64)>, Error> {
    let path = Path::new(name);
    let is_vstpreset = path.extension().is_some_and(|e| e.eq_ignore_ascii_case("vstpreset"));
    if path.is_file() && is_vstpreset {
        return load(chain, place, path, StateContext::Preset);
    }
    let preset = if path.is_file() {
        let file = std::path::absolute(path)
            .map_err(|source| Error::File { path: path.to_owned(), source })?;
        Preset { name: name.into(), file: Some(file), key: None }
    } else {
        let mut presets = chain.info(place).presets.clone();
        if find(&presets, name).is_none() {
            presets.extend(chain.declared_presets(place)?);
        }
        find(&presets, name).cloned().ok_or_else(|| {
            let plugin = chain.reference(place);
            let near = match near(&presets, name) {
                near if near.is_empty() => format!("see: sandrack info '{plugin}' --presets"),
                near => format!("there is {near}"),
            };
            Error::Usage(format!(
                "--preset {name}: there is no such file, and {plugin} has no such preset; {near}"
            ))
        })?
    };
    chain.load_preset(place, &preset)?;
    chain.refresh(place)?;
    Ok(Vec::new())
}

/// What is to be written for a plugin's state.
pub(super) fn save(chain: &mut Chain, place: usize) -> Result<Vec<u8>, Error> {
    if chain.info(place).has_state {
        return chain.save_state(place);
    }
    let info = chain.refresh(place)?;
    let saved = info.params.iter().filter(|param| !param.read_only);
    let values = saved.map(|p| Value { id: p.id, name: p.name.clone(), value: p.value }).collect();
    let plugin = info.descriptor.id.clone();
    let file = Parameters { sandrack_parameters: 1, plugin, values };
    serde_json::to_vec_pretty(&file).map_err(|e| Error::Plan { reason: e.to_string() })
}

/// Writes a file as a whole or not at all.
pub(super) fn write(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let temporary = temporary_name(path)?;
    let written =
        std::fs::write(&temporary, bytes).and_then(|()| std::fs::rename(&temporary, path));
    written.map_err(|source| {
        let _ = std::fs::remove_file(&temporary);
        Error::File { path: path.to_owned(), source }
    })
}
