//! How many channels a plugin's main ports have, where it leaves that to the host.

use super::host::SandrackHost;
use clack_extensions::audio_ports::{AudioPortFlags, AudioPortInfoBuffer, PluginAudioPorts};
use clack_extensions::audio_ports_config::{AudioPortsConfigBuffer, PluginAudioPortsConfig};
use clack_extensions::configurable_audio_ports::{
    AudioPortRequest, AudioPortRequestDetails, PluginConfigurableAudioPorts,
};
use clack_host::prelude::*;

/// Most configurations that are looked at.
const MOST: u32 = 256;

/// Asks for so many channels on the main ports, in one way or the other. Nothing, while it is active.
pub(super) fn arrange(instance: &mut PluginInstance<SandrackHost>, channels: u32) {
    let mains = main_ports(&instance.plugin_handle());
    let Some(mut handle) = instance.inactive_plugin_handle() else { return };
    if let Some(ports) = handle.get_extension::<PluginConfigurableAudioPorts>() {
        let request = |&(is_input, index): &(bool, u32)| {
            AudioPortRequest::new(is_input, index, details(channels))
        };
        let requests: Vec<AudioPortRequest<'_>> = mains.iter().map(request).collect();
        if ports.can_apply_configuration(&mut handle, &requests)
            && ports.apply_configuration(&mut handle, &requests)
        {
            return;
        }
    }
    let Some(configs) = handle.get_extension::<PluginAudioPortsConfig>() else { return };
    let mut buffer = AudioPortsConfigBuffer::new();
    for index in 0..configs.count(&handle).min(MOST) {
        let Some(config) = configs.get(&handle, index, &mut buffer) else { continue };
        let has = |main: Option<u32>| main.is_none_or(|count| count == channels);
        let (input, output) = (
            config.main_input.map(|port| port.channel_count),
            config.main_output.map(|port| port.channel_count),
        );
        if has(input) && has(output) && input.or(output).is_some() {
            let _ = configs.select(&handle, config.id);
            return;
        }
    }
}

fn details(channels: u32) -> AudioPortRequestDetails<'static> {
    match channels {
        1 => AudioPortRequestDetails::mono(),
        2 => AudioPortRequestDetails::stereo(),
        more => AudioPortRequestDetails::untyped(more),
    }
}

/// The main input and output, as far as there are such: whether it is an input, and its index.
fn main_ports(handle: &PluginMainThreadHandle<'_>) -> Vec<(bool, u32)> {
    let Some(ports) = handle.get_extension::<PluginAudioPorts>() else { return Vec::new() };
    let mut buffer = AudioPortInfoBuffer::new();
    let mut is_main = |index, input| {
        let port = ports.get(handle, index, input, &mut buffer);
        port.is_some_and(|port| port.flags.contains(AudioPortFlags::IS_MAIN))
    };
    let mut found = Vec::new();
    for input in [true, false] {
        let count = ports.count(handle, input).min(MOST);
        found.extend((0..count).find(|&index| is_main(index, input)).map(|index| (input, index)));
    }
    found
}
