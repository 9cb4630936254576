//! A plugin's ports, and how many channels its main ports have, where it leaves that to the host.

use super::{ClapInstance, text};
use crate::format::{AudioPort, NotePort, main_port};
use clack_extensions::audio_ports::{AudioPortFlags, AudioPortInfoBuffer, PluginAudioPorts};
use clack_extensions::audio_ports_config::{AudioPortsConfigBuffer, PluginAudioPortsConfig};
use clack_extensions::configurable_audio_ports::{AudioPortRequest, AudioPortRequestDetails};
use clack_extensions::note_ports::{
    NoteDialect, NoteDialects, NotePortInfoBuffer, PluginNotePorts,
};
use clack_extensions::surround::{SurroundChannel, SurroundConfig};
use clack_host::utils::ClapId;

/// Most ports in one direction that are believed of a plugin.
const MAX_PORTS: u32 = 256;
/// Most configurations that are looked at.
const MOST: u32 = 256;

/// Index and channels of the main ports, in and out.
type Mains = (Option<(u32, u32)>, Option<(u32, u32)>);

/// Channels of the main ports, in and out.
type Channels = (Option<u32>, Option<u32>);

/// One of a plugin's configurations.
struct Configuration {
    id: ClapId,
    main: Channels,
    /// How many ports there are, in and out.
    ports: (u32, u32),
}

impl ClapInstance {
    pub(super) fn audio_ports(&mut self, input: bool) -> Vec<AudioPort> {
        let handle = self.instance.plugin_handle();
        let Some(ports) = handle.get_extension::<PluginAudioPorts>() else { return vec![] };
        let count = ports.count(&handle, input).min(MAX_PORTS);
        let mut buffer = AudioPortInfoBuffer::new();
        let mut all = Vec::new();
        for index in 0..count {
            let info = ports.get(&handle, index, input, &mut buffer);
            // One that can't be described is there all the same, and counts: without channels.
            all.push(info.map_or_else(AudioPort::default, |info| AudioPort {
                name: text(info.name),
                channels: info.channel_count,
                main: info.flags.contains(AudioPortFlags::IS_MAIN),
                active: true,
            }));
        }
        all
    }

    pub(super) fn note_ports(&mut self, input: bool) -> Vec<NotePort> {
        let handle = self.instance.plugin_handle();
        let Some(ports) = handle.get_extension::<PluginNotePorts>() else { return vec![] };
        let count = ports.count(&handle, input).min(MAX_PORTS);
        let mut buffer = NotePortInfoBuffer::new();
        let mut all = Vec::new();
        for index in 0..count {
            if let Some(info) = ports.get(&handle, index, input, &mut buffer) {
                all.push(NotePort {
                    name: text(info.name),
                    clap: info.supported_dialects.supports(NoteDialect::Clap),
                    midi: info
                        .supported_dialects
                        .intersects(NoteDialects::MIDI | NoteDialects::MIDI_MPE),
                    prefers_midi: matches!(
                        info.preferred_dialect,
                        Some(NoteDialect::Midi | NoteDialect::MidiMpe)
                    ),
                    expressions: info.supported_dialects.supports(NoteDialect::Clap),
                    channels: 16,
                });
            }
        }
        all
    }

    /// See [`Instance::arrange`](crate::format::Instance::arrange). What a plugin answers says little:
    /// what its ports are then is asked.
    pub(super) fn arrange_ports(&mut self, channels: u32) {
        let before = self.main_ports();
        if self.instance.is_active() || before.0.or(before.1).is_none() {
            return;
        }
        let has_it = |mains: Mains| mains.0.or(mains.1).is_some_and(|(_, has)| has == channels);
        let (input, output) = before;
        let both = (input.map(|_| channels), output.map(|_| channels));
        // To ask for a main input alone makes sense where it is mixed to fewer channels.
        let mixed = output.filter(|(_, has)| input.is_some() && (2..channels).contains(has));
        let alone = mixed.map(|_| (Some(channels), None));
        for wanted in [Some(both), alone].into_iter().flatten() {
            if self.configure(before, wanted) && has_it(self.main_ports()) {
                return;
            }
        }
        if self.select(before, channels) && has_it(self.main_ports()) {
            return;
        }
        // One that has done something else has it taken back.
        if self.main_ports() != before {
            let channels = |port: Option<(u32, u32)>| port.map(|(_, channels)| channels);
            let former = (channels(input), channels(output));
            if !self.configure(before, former) {
                self.choose(|main| main == former);
            }
        }
    }

    fn main_ports(&mut self) -> Mains {
        let mut main = |is_input| {
            let ports = self.audio_ports(is_input);
            main_port(&ports).map(|at| (at as u32, ports[at].channels))
        };
        (main(true), main(false))
    }

    /// Asks for these channels on the main ports, in the way that names channels one by one. Whether
    /// it agrees.
    fn configure(&mut self, mains: Mains, wanted: Channels) -> bool {
        let asked = [(true, mains.0, wanted.0), (false, mains.1, wanted.1)];
        // First what the channels are, where there is a usual meaning; then only how many.
        [details, untyped].iter().any(|details| {
            let requests: Vec<AudioPortRequest<'_>> = asked
                .iter()
                .filter_map(|(is_input, port, wanted)| Some((*is_input, (*port)?.0, (*wanted)?)))
                .map(|(is_input, index, count)| {
                    AudioPortRequest::new(is_input, index, details(count))
                })
                .collect();
            self.extensions().configure_ports(AudioPortRequest::slice_as_raw(&requests))
        })
    }

    /// Chooses among its configurations the one with these channels: on both main ports, or else on
    /// the main input. Whether it agrees.
    fn select(&mut self, mains: Mains, channels: u32) -> bool {
        let wanted = |port: Option<(u32, u32)>| port.map(|_| channels);
        let (input, output) = (wanted(mains.0), wanted(mains.1));
        let mixes = |(i, o): Channels| i.is_some() && i == input && o.is_some() == output.is_some();
        self.choose(|main| main == (input, output)) || self.choose(mixes)
    }

    /// Chooses the configuration whose main ports are so; of several, one with as many ports as there
    /// are now: side chains stay. Whether there is one, and it agrees.
    fn choose(&mut self, fits: impl Fn(Channels) -> bool) -> bool {
        let now = (self.audio_ports(true).len() as u32, self.audio_ports(false).len() as u32);
        let Some(handle) = self.instance.inactive_plugin_handle() else { return false };
        let Some(configs) = handle.get_extension::<PluginAudioPortsConfig>() else { return false };
        let mut buffer = AudioPortsConfigBuffer::new();
        let mut config = |index| {
            let config = configs.get(&handle, index, &mut buffer)?;
            let (input, output) = (config.main_input, config.main_output);
            Some(Configuration {
                id: config.id,
                main: (input.map(|p| p.channel_count), output.map(|p| p.channel_count)),
                ports: (config.input_port_count, config.output_port_count),
            })
        };
        let all = (0..configs.count(&handle).min(MOST)).filter_map(&mut config);
        let found = all.filter(|config| fits(config.main)).min_by_key(|c| c.ports != now);
        found.is_some_and(|found| configs.select(&handle, found.id).is_ok())
    }
}

/// What so many channels usually are.
fn details(channels: u32) -> AudioPortRequestDetails<'static> {
    match (channels, surround(channels)) {
        (1, _) => AudioPortRequestDetails::mono(),
        (2, _) => AudioPortRequestDetails::stereo(),
        (_, Some(speakers)) => SurroundConfig::new(speakers).into(),
        (_, None) => untyped(channels),
    }
}

fn untyped(channels: u32) -> AudioPortRequestDetails<'static> {
    AudioPortRequestDetails::untyped(channels)
}

/// The speakers of a WAV file that says nothing of them.
fn surround(channels: u32) -> Option<&'static [SurroundChannel]> {
    use SurroundChannel::*;
    Some(match channels {
        3 => &[FrontLeft, FrontRight, FrontCenter],
        4 => &[FrontLeft, FrontRight, BackLeft, BackRight],
        5 => &[FrontLeft, FrontRight, FrontCenter, BackLeft, BackRight],
        6 => &[FrontLeft, FrontRight, FrontCenter, LowFrequency, BackLeft, BackRight],
        7 => &[FrontLeft, FrontRight, FrontCenter, LowFrequency, BackCenter, SideLeft, SideRight],
        8 => &[
            FrontLeft,
            FrontRight,
            FrontCenter,
            LowFrequency,
            BackLeft,
            BackRight,
            SideLeft,
            SideRight,
        ],
        _ => return None,
    })
}
