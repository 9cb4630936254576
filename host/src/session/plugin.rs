//! One plugin of a session, wherever it runs: what it is asked outside the blocks.

use super::{Place, Plugin, PluginAt, Session, main_channels};
use crate::error::Error;
use crate::presets;
use sandrack_sandbox::confine::{Enforced, Grants, Reach, Refusal};
use sandrack_sandbox::format::{PluginInfo, PluginRef, Preset, StateContext};
use sandrack_sandbox::protocol::Activation;

impl Plugin {
    pub(super) fn new(place: Place, reference: PluginRef, grants: Grants) -> Self {
        let (name, activation) = (String::new(), None);
        let (main_channels, latency, tail, side_inputs, is_wire) = (0, 0, 0, 0, false);
        Self {
            name,
            reference,
            grants,
            place,
            activation,
            main_channels,
            latency,
            tail,
            side_inputs,
            is_wire,
        }
    }

    /// Activates it, if it is not active in this very way.
    pub(super) fn activate(&mut self, activation: Activation) -> Result<(), Error> {
        let was = self.activation.replace(activation);
        let result = match &mut self.place {
            Place::Worker(node) if was == Some(activation) && node.latency().is_some() => Ok(()),
            Place::Worker(node) => node.activate(activation).map(|latency| {
                (self.latency, self.tail) = (latency, node.tail().unwrap_or(0));
            }),
            Place::Here(local, processor) => {
                drop(processor.take());
                local.activate(activation).map(|(active, latency)| {
                    *processor = Some(active);
                    (self.latency, self.tail) = (latency, local.instance().tail());
                })
            }
        };
        if result.is_err() {
            self.activation = None;
        }
        Ok(result?)
    }

    pub(super) fn info(&self) -> &PluginInfo {
        match &self.place {
            Place::Worker(node) => node.info(),
            Place::Here(local, _) => local.info(),
        }
    }
}

/// Plugins are named by track and place in it, both from 0; others than there are panic.
impl Session {
    /// The plugin's name, with its number in the session.
    pub fn name(&self, track: usize, plugin: usize) -> &str {
        &self.plugin(track, plugin).name
    }

    /// Which plugin was asked for.
    pub fn reference(&self, track: usize, plugin: usize) -> &PluginRef {
        &self.plugin(track, plugin).reference
    }

    /// What confines it, with the other plugins of its process; `None`: it is in this process.
    pub fn enforced(&self, track: usize, plugin: usize) -> Option<Enforced> {
        self.node(track, plugin)?.worker().enforced()
    }

    /// What its confinement has refused it, or other plugins of its process, so far: each once, up
    /// to a limit.
    pub fn refused(&self, track: usize, plugin: usize) -> Vec<Refusal> {
        self.node(track, plugin).map(|node| node.worker().refused()).unwrap_or_default()
    }

    /// The presets that its file declares for it, beside those in its [`info`](Self::info).
    ///
    /// # Errors
    /// As of loading the file, in another worker.
    pub fn declared_presets(&self, track: usize, plugin: usize) -> Result<Vec<Preset>, Error> {
        let reference = self.reference(track, plugin);
        presets::declared(&self.supervisor, reference, self.info(track, plugin))
    }

    /// Its delay in frames, as of the last [`connect`](Self::connect).
    pub fn latency(&self, track: usize, plugin: usize) -> u32 {
        self.plugin(track, plugin).latency
    }

    /// How long it sounds on behind its input, in frames, as of the last
    /// [`connect`](Self::connect); `u32::MAX`: without end.
    pub fn tail(&self, track: usize, plugin: usize) -> u32 {
        self.plugin(track, plugin).tail
    }

    /// Asks a plugin to describe itself anew: its parameters' values are those of now.
    pub fn refresh_info(&mut self, track: usize, plugin: usize) -> Result<&PluginInfo, Error> {
        match &mut self.plugin_mut(track, plugin).place {
            Place::Worker(node) => Ok(node.refresh_info()?),
            Place::Here(local, _) => Ok(local.refresh_info()),
        }
    }

    /// Asks a plugin for so many channels on its main input and output, before
    /// [`connect`](Self::connect); so is whatever takes its place. What it has then may be something
    /// else.
    pub fn arrange(
        &mut self,
        track: usize,
        plugin: usize,
        channels: u32,
    ) -> Result<&PluginInfo, Error> {
        let plugin = self.plugin_mut(track, plugin);
        plugin.main_channels = channels;
        match &mut plugin.place {
            Place::Worker(node) => Ok(node.arrange(channels)?),
            Place::Here(local, _) => Ok(local.arrange(channels)),
        }
    }

    /// Arranges a plugin that these channels reach, if it has others. One that takes a single one
    /// and is reached by one, or several, needs nothing: see [`crate::render`].
    pub fn fit(&mut self, track: usize, plugin: usize, channels: u32) -> Result<(), Error> {
        match main_channels(&self.info(track, plugin).inputs) {
            Some(has) if has != channels && channels > 1 => {
                self.arrange(track, plugin, channels).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// Arranges all plugins, where so many channels reach each track; see [`fit`](Self::fit).
    pub fn fit_all(&mut self, channels: u32) -> Result<(), Error> {
        let mut reach = (usize::MAX, channels);
        for PluginAt { track, plugin } in self.plugins.keys().copied().collect::<Vec<_>>() {
            if reach.0 != track {
                reach = (track, channels);
            }
            self.fit(track, plugin, reach.1)?;
            reach.1 = main_channels(&self.info(track, plugin).outputs).unwrap_or(reach.1);
        }
        Ok(())
    }

    /// Where so many channels can't be connected to a plugin: what it takes instead, found out by
    /// asking it for each count up to eight. What it has then is of no use.
    pub fn misfit(&mut self, track: usize, plugin: usize, channels: u32) -> Option<String> {
        let has = main_channels(&self.info(track, plugin).inputs)?;
        if has == channels || has == 1 || channels == 1 {
            return None;
        }
        let mut takes = |count: &u32| {
            let info = self.arrange(track, plugin, *count).ok();
            *count == has || info.and_then(|info| main_channels(&info.inputs)) == Some(*count)
        };
        let counts = (1..=8).chain((has > 8).then_some(has));
        let mut can: Vec<String> = counts.filter(&mut takes).map(|n| n.to_string()).collect();
        let last = can.pop().unwrap_or_default();
        let can = if can.is_empty() { last } else { format!("{} or {last}", can.join(", ")) };
        Some(format!("takes {can} channels, not the {channels}"))
    }

    /// The value that a text means to a plugin; `None`: nothing.
    pub fn text_to_value(
        &mut self,
        track: usize,
        plugin: usize,
        param: u32,
        text: &str,
    ) -> Result<Option<f64>, Error> {
        match &mut self.plugin_mut(track, plugin).place {
            Place::Worker(node) => Ok(node.text_to_value(param, text)?),
            Place::Here(local, _) => Ok(local.instance().text_to_value(param, text)),
        }
    }

    /// A plugin's state.
    pub fn save_state(
        &mut self,
        track: usize,
        plugin: usize,
        context: StateContext,
    ) -> Result<Vec<u8>, Error> {
        match &mut self.plugin_mut(track, plugin).place {
            Place::Worker(node) => Ok(node.save_state(context)?),
            Place::Here(local, _) => {
                local.instance().save_state(context).map_err(|e| Error::Sandbox(e.into()))
            }
        }
    }

    /// Gives a plugin a state.
    pub fn load_state(
        &mut self,
        track: usize,
        plugin: usize,
        state: &[u8],
        context: StateContext,
    ) -> Result<(), Error> {
        match &mut self.plugin_mut(track, plugin).place {
            Place::Worker(node) => Ok(node.load_state(state.to_vec(), context)?),
            Place::Here(local, _) => {
                local.instance().load_state(state, context).map_err(|e| Error::Sandbox(e.into()))
            }
        }
    }

    /// Gives a plugin a preset. It, and whoever takes its place, may read the preset's file.
    pub fn load_preset(
        &mut self,
        track: usize,
        plugin: usize,
        preset: &Preset,
    ) -> Result<(), Error> {
        if let Some(file) = &preset.file {
            let grants = &mut self.plugin_mut(track, plugin).grants;
            grants.files.push((file.clone(), Reach::Read));
        }
        match &mut self.plugin_mut(track, plugin).place {
            Place::Worker(node) => Ok(node.load_preset(preset.clone())?),
            Place::Here(local, _) => {
                local.instance().load_preset(preset).map_err(|e| Error::Sandbox(e.into()))
            }
        }
    }

    /// Lets the next [`connect`](Self::connect) activate all plugins anew: what sounds is forgotten.
    pub fn restart(&mut self) {
        self.plugins.values_mut().for_each(|plugin| plugin.activation = None);
    }
}
