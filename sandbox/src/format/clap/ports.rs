//! How many channels a plugin's main ports have, where it leaves that to the host.

use super::ClapInstance;
use crate::format::main_port;
use clack_extensions::audio_ports_config::{AudioPortsConfigBuffer, PluginAudioPortsConfig};
use clack_extensions::configurable_audio_ports::{
    AudioPortRequest, AudioPortRequestDetails, PluginConfigurableAudioPorts,
};
use clack_extensions::surround::{SurroundChannel, SurroundConfig};
use clack_host::utils::ClapId;

/// Most configurations that are looked at.
const MOST: u32 = 256;

/// Index and channels of the main ports, in and out.
type Mains = (Option<(u32, u32)>, Option<(u32, u32)>);

impl ClapInstance {
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
            if !self.configure(before, (channels(input), channels(output))) {
                self.select_exactly(channels(input), channels(output));
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
    fn configure(&mut self, mains: Mains, wanted: (Option<u32>, Option<u32>)) -> bool {
        let Some(mut handle) = self.instance.inactive_plugin_handle() else { return false };
        let Some(ports) = handle.get_extension::<PluginConfigurableAudioPorts>() else {
            return false;
        };
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
            ports.can_apply_configuration(&mut handle, &requests)
                && ports.apply_configuration(&mut handle, &requests)
        })
    }

    /// Chooses among its configurations the one with these channels: on both main ports, or else on
    /// the main input. Whether it agrees.
    fn select(&mut self, mains: Mains, channels: u32) -> bool {
        let wanted = |port: Option<(u32, u32)>| port.map(|_| channels);
        let (input, output) = (wanted(mains.0), wanted(mains.1));
        if self.select_exactly(input, output) {
            return true;
        }
        let found = self.configurations().into_iter().find(|(_, found)| {
            input.is_some() && found.0 == input && found.1.is_some() == output.is_some()
        });
        found.is_some_and(|(id, _)| self.choose(id))
    }

    fn select_exactly(&mut self, input: Option<u32>, output: Option<u32>) -> bool {
        let mut all = self.configurations().into_iter();
        all.find(|(_, found)| *found == (input, output)).is_some_and(|(id, _)| self.choose(id))
    }

    /// Its configurations, with the channels of their main ports.
    fn configurations(&mut self) -> Vec<(ClapId, (Option<u32>, Option<u32>))> {
        let handle = self.instance.plugin_handle();
        let Some(configs) = handle.get_extension::<PluginAudioPortsConfig>() else {
            return Vec::new();
        };
        let mut buffer = AudioPortsConfigBuffer::new();
        let mut config = |index| {
            let config = configs.get(&handle, index, &mut buffer)?;
            let (input, output) = (config.main_input, config.main_output);
            let channels = (input.map(|p| p.channel_count), output.map(|p| p.channel_count));
            Some((config.id, channels))
        };
        (0..configs.count(&handle).min(MOST)).filter_map(&mut config).collect()
    }

    fn choose(&mut self, id: ClapId) -> bool {
        let Some(handle) = self.instance.inactive_plugin_handle() else { return false };
        let configs = handle.get_extension::<PluginAudioPortsConfig>();
        configs.is_some_and(|configs| configs.select(&handle, id).is_ok())
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
