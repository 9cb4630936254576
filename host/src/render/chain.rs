//! The chain of plugins, cut into stages that need not wait for each other.
//!
//! A plugin that has done a batch may go on with the next while its successor is at this one: so a
//! chain uses as many cores as there are. Every plugin is a stage with an engine of its own; those
//! that send each other notes are one stage, for notes go with their block. What a stage gives is
//! the same to the bit as within one engine.

use super::stage::{Feed, Stage};
use super::{OTHER_FILE, RenderOptions};
use crate::automation::nearest;
use crate::error::Error;
use crate::report::Isolation;
use crate::session::{Session, SessionConfig, SideChain, main_channels};
use crate::wav::WavReader;
use sandrack_engine::event::EventKind;
use sandrack_sandbox::format::{PluginInfo, PluginRef, Preset, StateContext};
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::path::{Path, PathBuf};

/// The most frames handed over at once, where blocks are not longer.
pub(super) const BATCH: u32 = 4096;

/// All plugins of the chain, loaded.
pub(super) struct Chain {
    parts: Vec<Part>,
    sides: Vec<Side>,
    channels: u32,
    frames: u32,
}

/// Plugins of one stage.
struct Part {
    session: Session,
    /// Place of its first plugin in the chain.
    first: usize,
    plugins: usize,
}

/// A file that goes to a second input.
struct Side {
    path: PathBuf,
    place: usize,
    bus: u32,
    channels: u32,
}

/// How the chain is connected at present.
pub(super) struct Connected {
    pub(super) stages: Vec<Stage>,
    /// Delay of the whole chain, frames.
    pub(super) latency: u64,
    /// When what is at frame 0 of the file reaches each plugin.
    pub(super) arrivals: Vec<u64>,
    pub(super) outputs: u32,
}

impl Chain {
    /// Loads all plugins.
    pub(super) fn load(
        options: &RenderOptions,
        supervisor: &SupervisorOptions,
        channels: u32,
    ) -> Result<Self, Error> {
        let config = |plugins: &[PluginRef]| SessionConfig {
            tracks: vec![plugins.to_vec()],
            isolation: options.isolation,
            offline: true,
            ..SessionConfig::default()
        };
        let whole = |plugins: &[PluginRef]| {
            Session::load(&Supervisor::new(supervisor.clone())?, &config(plugins), &|| {})
        };
        let chain = &options.chain;
        let apart = options.pipelined && options.isolation == Isolation::Plugin;
        let parts = if apart && chain.len() > 1 {
            let each = chain
                .iter()
                .map(|plugin| Ok((Supervisor::new(supervisor.clone())?, plugin.clone())))
                .collect::<Result<Vec<_>, Error>>()?;
            let loaded = Session::load_each(&each, &config(&[]), &|| {})?;
            let infos: Vec<&PluginInfo> = loaded.iter().map(|s| s.info(0, 0)).collect();
            let groups = note_groups(&infos);
            let mut loaded = loaded.into_iter();
            let mut parts = Vec::new();
            for (first, plugins) in groups {
                let mut mine: Vec<Session> = loaded.by_ref().take(plugins).collect();
                let session = match (mine.pop(), mine.is_empty()) {
                    (Some(only), true) => only,
                    (last, _) => {
                        mine.into_iter().chain(last).for_each(Session::quit);
                        whole(&chain[first..first + plugins])?
                    }
                };
                parts.push(Part { session, first, plugins });
            }
            parts
        } else {
            vec![Part { session: whole(chain)?, first: 0, plugins: chain.len() }]
        };
        Ok(Self { parts, sides: Vec::new(), channels, frames: options.frames })
    }

    /// Asks each plugin for the channels that reach it, where it has others. `input`: where those of
    /// the first come from.
    ///
    /// # Errors
    /// One can't be connected.
    pub(super) fn arrange(&mut self, input: Option<&Path>) -> Result<(), Error> {
        let mut channels = self.channels;
        let mut from = None;
        for place in 0..self.places() {
            let (part, plugin) = self.part(place);
            self.parts[part].session.fit(0, plugin, channels)?;
            if let Some(misfit) = self.parts[part].session.misfit(0, plugin, channels) {
                let (source, advice) = match (from, input) {
                    (Some(from), _) => (
                        format!("of {} before it", self.reference(from)),
                        "leave one of the two out, or put one between them that has both",
                    ),
                    (None, Some(input)) => (format!("of {}", input.display()), OTHER_FILE),
                    (None, None) => ("that reach it".to_owned(), "leave it out"),
                };
                let reason = format!("{}: {misfit} {source}: {advice}", self.reference(place));
                return Err(Error::Plan { reason });
            }
            if let Some(out) = main_channels(&self.info(place).outputs) {
                (channels, from) = (out, Some(place));
            }
        }
        Ok(())
    }

    /// Plugins in the chain.
    pub(super) fn places(&self) -> usize {
        self.parts.iter().map(|part| part.plugins).sum()
    }

    fn part(&self, place: usize) -> (usize, usize) {
        let at = self.parts.partition_point(|part| part.first <= place) - 1;
        (at, place - self.parts[at].first)
    }

    /// What the plugin at a place has.
    pub(super) fn info(&self, place: usize) -> &PluginInfo {
        let (part, plugin) = self.part(place);
        self.parts[part].session.info(0, plugin)
    }

    /// The place that a user means by a number from 1, or a name.
    pub(super) fn place(&self, name: &str) -> Result<usize, String> {
        if let Ok(number) = name.parse::<usize>() {
            return match number.checked_sub(1).filter(|place| *place < self.places()) {
                Some(place) => Ok(place),
                None => Err(format!("there are {} plugins in the chain", self.places())),
            };
        }
        let names = || (0..self.places()).map(|place| &self.info(place).descriptor);
        let is = |d: &sandrack_sandbox::format::Descriptor| {
            d.name.eq_ignore_ascii_case(name) || d.id == name
        };
        let found: Vec<usize> =
            (0..self.places()).zip(names()).filter(|(_, d)| is(d)).map(|(p, _)| p).collect();
        match found.as_slice() {
            [place] => Ok(*place),
            [] => {
                let near = nearest(name, names().map(|d| d.name.as_str()));
                let near = near.map(|near| format!("; do you mean '{near}'?")).unwrap_or_default();
                Err(format!("there is no plugin '{name}' in the chain{near}"))
            }
            _ => Err(format!("'{name}' is in the chain more than once: give its place, from 1")),
        }
    }

    /// The value that a text means to a plugin.
    pub(super) fn text_to_value(
        &mut self,
        place: usize,
        param: u32,
        text: &str,
    ) -> Result<Option<f64>, Error> {
        let (part, plugin) = self.part(place);
        self.parts[part].session.text_to_value(0, plugin, param, text)
    }

    /// Asks a plugin to describe itself anew.
    pub(super) fn refresh(&mut self, place: usize) -> Result<&PluginInfo, Error> {
        let (part, plugin) = self.part(place);
        self.parts[part].session.refresh_info(0, plugin)
    }

    /// A plugin's state.
    pub(super) fn save_state(&mut self, place: usize) -> Result<Vec<u8>, Error> {
        let (part, plugin) = self.part(place);
        self.parts[part].session.save_state(0, plugin, StateContext::Project)
    }

    /// Gives a plugin a state.
    pub(super) fn load_state(
        &mut self,
        place: usize,
        state: &[u8],
        context: StateContext,
    ) -> Result<(), Error> {
        let (part, plugin) = self.part(place);
        self.parts[part].session.load_state(0, plugin, state, context)
    }

    /// Gives a plugin a preset.
    pub(super) fn load_preset(&mut self, place: usize, preset: &Preset) -> Result<(), Error> {
        let (part, plugin) = self.part(place);
        self.parts[part].session.load_preset(0, plugin, preset)
    }

    /// The presets that a plugin's file declares for it.
    pub(super) fn declared_presets(&self, place: usize) -> Result<Vec<Preset>, Error> {
        let (part, plugin) = self.part(place);
        self.parts[part].session.declared_presets(0, plugin)
    }

    /// Which plugin is at a place, as errors name it.
    pub(super) fn reference(&self, place: usize) -> String {
        let (part, plugin) = self.part(place);
        self.parts[part].session.reference(0, plugin).to_string()
    }

    /// Whether anything puts out audio.
    pub(super) fn has_output(&self) -> bool {
        (0..self.places()).any(|place| self.info(place).outputs.iter().any(|p| p.channels > 0))
    }

    /// How long the chain sounds on, frames, as far as its plugins say.
    pub(super) fn tail(&self) -> u64 {
        let tail = |place| {
            let (part, plugin) = self.part(place);
            match self.parts[part].session.tail(0, plugin) {
                u32::MAX => 0,
                tail => u64::from(tail),
            }
        };
        (0..self.places()).map(tail).sum()
    }

    /// Sends a file to the second input of a plugin, or of the first that has one.
    pub(super) fn add_side_chain(
        &mut self,
        place: Option<usize>,
        path: &Path,
        rate: u32,
    ) -> Result<(), Error> {
        let refuse =
            |why: &str| Err(Error::Usage(format!("--sidechain {}: {why}", path.display())));
        let side_bus = |place: usize| {
            let ports = &self.info(place).inputs;
            let main = ports.iter().position(|port| port.main).unwrap_or(0);
            ports.iter().enumerate().position(|(at, port)| at != main && port.channels > 0)
        };
        let found = match place {
            Some(place) if place >= self.places() => {
                return refuse(&format!("there are {} plugins in the chain", self.places()));
            }
            Some(place) => side_bus(place).map(|bus| (place, bus)),
            None => (0..self.places()).find_map(|place| Some((place, side_bus(place)?))),
        };
        let Some((place, bus)) = found else {
            return refuse("no such plugin has a second input");
        };
        let info = WavReader::open(path)?.info();
        if info.rate != rate {
            let why = format!("it has {} Hz and this is rendered at {rate} Hz", info.rate);
            return refuse(&why);
        }
        let bus = bus as u32;
        if self.sides.iter().any(|side| (side.place, side.bus) == (place, bus)) {
            return refuse("that input has a file already");
        }
        self.sides.push(Side { path: path.to_owned(), place, bus, channels: info.channels });
        Ok(())
    }

    /// Puts all buses of the last plugin with outputs into the file.
    pub(super) fn all_outputs(&mut self) {
        let last = (0..self.places())
            .rfind(|place| self.info(*place).outputs.iter().any(|port| port.channels > 0));
        if let Some(last) = last {
            let (part, _) = self.part(last);
            self.parts[part].session.configure(|config| config.all_outputs = true);
        }
    }

    /// Makes all engines, each ready to begin at frame 0.
    pub(super) fn connect(
        &mut self,
        rate: u32,
        timeout: std::time::Duration,
    ) -> Result<Connected, Error> {
        let frames = self.frames;
        let batch = (BATCH / frames).max(1) * frames;
        let mut channels = self.channels;
        let mut stages = Vec::with_capacity(self.parts.len());
        let sides = std::mem::take(&mut self.sides);
        for part in &mut self.parts {
            let mut first_channel = channels;
            let mut mine = Vec::new();
            let range = part.first..part.first + part.plugins;
            for side in sides.iter().filter(|side| range.contains(&side.place)) {
                mine.push(SideChain {
                    track: 0,
                    plugin: side.place - part.first,
                    bus: side.bus,
                    first_channel,
                    channels: side.channels,
                });
                first_channel += side.channels;
            }
            let infos: Vec<_> = (0..part.plugins).map(|p| part.session.info(0, p)).collect();
            let passes_notes = note_groups(&infos).len() < part.plugins;
            part.session.configure(|config| {
                config.side_chains = mine;
                // Notes go from plugin to plugin with their block.
                config.batch_frames = if passes_notes { 0 } else { batch };
            });
            let outputs = part.session.output_channels(0).unwrap_or(channels);
            let running = part.session.connect(rate, frames, part.plugins, (channels, outputs))?;
            stages.push(Stage::new(part.first, running, outputs, frames, timeout));
            channels = outputs;
        }
        self.sides = sides;
        let (arrivals, before, latency) = self.arrivals();
        for (stage, part) in stages.iter_mut().zip(&self.parts) {
            let range = part.first..part.first + part.plugins;
            for side in self.sides.iter().filter(|side| range.contains(&side.place)) {
                stage.add_feed(Feed::open(&side.path, before[part.first])?);
            }
        }
        Ok(Connected { stages, latency, arrivals, outputs: channels })
    }

    /// When frame 0 reaches each plugin; when audio does so that comes along the chain; and when it
    /// comes out at the end.
    fn arrivals(&self) -> (Vec<u64>, Vec<u64>, u64) {
        let (mut arrivals, mut before) = (Vec::new(), Vec::new());
        let (mut audio, mut notes) = (0, 0);
        for place in 0..self.places() {
            let (part, plugin) = self.part(place);
            let info = self.info(place);
            let has_audio = |ports: &[sandrack_sandbox::format::AudioPort]| {
                ports.iter().any(|port| port.channels > 0)
            };
            before.push(audio);
            let mut start = if has_audio(&info.inputs) { audio } else { 0 };
            if !info.note_inputs.is_empty() {
                start = start.max(notes);
            }
            arrivals.push(start);
            let end = start + u64::from(self.parts[part].session.latency(0, plugin));
            if has_audio(&info.outputs) {
                audio = end;
            }
            if !info.note_outputs.is_empty() {
                notes = end;
            }
        }
        (arrivals, before, audio)
    }

    /// Gives the stages what happens to their plugins.
    pub(super) fn send(&self, connected: &mut Connected, events: Vec<Vec<(u64, EventKind)>>) {
        for (place, events) in events.into_iter().enumerate() {
            let (part, plugin) = self.part(place);
            connected.stages[part].add_events(plugin, events);
        }
        connected.stages.iter_mut().for_each(Stage::sort_events);
    }

    /// Lets in-process plugins do what they asked for.
    pub(super) fn idle(&mut self) {
        self.parts.iter_mut().for_each(|part| part.session.idle());
    }

    /// Whether a plugin has asked to be activated anew; then all will be.
    pub(super) fn wants_restart(&mut self) -> Result<bool, Error> {
        let mut any = false;
        for part in &mut self.parts {
            any |= part.session.wants_restart()?;
        }
        if any {
            self.parts.iter_mut().for_each(|part| part.session.restart());
        }
        Ok(any)
    }

    /// A plugin whose process has ended, and how.
    pub(super) fn gone_plugin(&self) -> Option<(String, String)> {
        self.parts.iter().find_map(|part| part.session.gone_plugin())
    }

    /// Lets all plugins be destroyed in order.
    pub(super) fn quit(self) {
        self.parts.into_iter().for_each(|part| part.session.quit());
    }
}

/// First place and length of the runs of plugins that notes go along, as the session connects them.
fn note_groups(infos: &[&PluginInfo]) -> Vec<(usize, usize)> {
    let mut groups: Vec<(usize, usize)> = Vec::new();
    let mut from: Option<usize> = None;
    for (place, info) in infos.iter().enumerate() {
        groups.push((place, 1));
        if let Some(from) = from.filter(|_| !info.note_inputs.is_empty()) {
            let mut first = place;
            while let Some((before, plugins)) = groups.last().copied()
                && before + plugins > from
            {
                first = before;
                groups.pop();
            }
            groups.push((first, place + 1 - first));
        }
        if !info.note_outputs.is_empty() {
            from = Some(place);
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandrack_sandbox::format::NotePort;

    #[test]
    fn plugins_that_pass_notes_on_are_one_group() {
        let plugin = |takes: bool, gives: bool| PluginInfo {
            note_inputs: vec![NotePort::default(); usize::from(takes)],
            note_outputs: vec![NotePort::default(); usize::from(gives)],
            ..PluginInfo::default()
        };
        let groups = |plugins: &[PluginInfo]| note_groups(&plugins.iter().collect::<Vec<_>>());
        let (effect, synth, arp) = (plugin(false, false), plugin(true, false), plugin(true, true));
        let one = |p: &PluginInfo| p.clone();
        assert_eq!(groups(&[one(&effect), one(&synth), one(&synth)]), [(0, 1), (1, 1), (2, 1)]);
        assert_eq!(
            groups(&[one(&effect), one(&arp), one(&effect), one(&synth), one(&effect)]),
            [(0, 1), (1, 3), (4, 1)]
        );
        assert_eq!(groups(&[one(&arp), one(&arp), one(&synth), one(&synth)]), [(0, 4)]);
    }
}
