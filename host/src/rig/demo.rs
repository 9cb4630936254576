//! A rig to begin with: plays at once, without a file.

use super::{DriverSettings, Id, PluginSlot, Rig, Send, Track, TrackKind};
use crate::error::Error;
use crate::plugins::test_plugin;
use sandrack_sandbox::format::Format;

/// A synthesizer on a track, with a delay on a bus, made of the test plugins.
///
/// # Errors
/// They are not there: how to get them.
pub fn demo() -> Result<Rig, Error> {
    let slot = |name: &str, kind: &str| -> Result<PluginSlot, Error> {
        let plugin = test_plugin(kind)?;
        Ok(PluginSlot {
            id: name.into(),
            name: String::new(),
            format: Format::Clap,
            plugin: plugin.id.unwrap_or_default(),
            path: plugin.path,
            group: None,
            bypass: false,
            side_chains: Vec::new(),
            midi_out: Vec::new(),
            grants: super::Grants::default(),
            state: None,
            params: Default::default(),
        })
    };
    let bus: Id = "echo".into();
    let mut keys = Track::new("keys".into(), "Keys", TrackKind::Track);
    keys.plugins = vec![slot("synth", "synth")?, slot("level", "gain")?];
    keys.sends = vec![Send { to: bus.clone(), gain_db: -12.0, pre: false }];
    let mut echo = Track::new(bus, "Echo", TrackKind::Bus);
    echo.plugins = vec![slot("delay", "delay")?];
    Ok(Rig {
        name: "Demo".into(),
        driver: DriverSettings { inputs: 0, ..DriverSettings::default() },
        tracks: vec![keys, echo],
        ..Rig::default()
    })
}
