//! A plugin in this very process: for one purpose, to be compared with. It is not contained: if
//! it crashes, the host does.

use crate::audio::Packed;
use crate::error::{Error, PluginError};
use crate::event::Event;
use crate::format::{
    self, Buffers, Instance, Notice, PluginInfo, PluginRef, ProcessBlock, Processor, Transport,
};
use crate::protocol::Activation;
use crate::scrub::scrub;
use crate::shm::layout::EVENTS;
use crate::supervisor::believed_latency;

/// The main-thread half. Stays on the thread that loaded it.
pub struct LocalPlugin {
    plugin: PluginRef,
    instance: Box<dyn Instance>,
    info: PluginInfo,
    active: bool,
    /// Channels that it was asked for last; 0: for none.
    asked: u32,
}

impl LocalPlugin {
    /// Loads a plugin into this process.
    pub fn load(plugin: &PluginRef) -> Result<Self, Error> {
        let mut instance = format::load(plugin, || {})?;
        let info = instance.info();
        Ok(Self { plugin: plugin.clone(), instance, info, active: false, asked: 0 })
    }

    /// What it has.
    pub fn info(&self) -> &PluginInfo {
        &self.info
    }

    /// Asks the plugin to describe itself anew. While it is active its buses and ports stay those
    /// that it was activated with.
    pub fn refresh_info(&mut self) -> &PluginInfo {
        let info = self.instance.info();
        self.info = if self.active { info.with_ports_of(&self.info) } else { info };
        &self.info
    }

    /// Asks the plugin, which must not be active, for so many channels on its main input and output.
    /// What it has then may be something else.
    pub fn arrange(&mut self, channels: u32) -> &PluginInfo {
        self.asked = channels;
        self.instance.arrange(channels);
        self.refresh_info()
    }

    /// Undoes [`activate`](Self::activate); the audio-thread half must have been dropped.
    pub fn deactivate(&mut self) -> Result<(), Error> {
        match std::mem::take(&mut self.active) {
            true => Ok(self.instance.deactivate()?),
            false => Ok(()),
        }
    }

    /// Prepares it for blocks; an earlier audio-thread half must have been dropped. Returns the
    /// audio-thread half, and the latency in frames.
    pub fn activate(&mut self, activation: Activation) -> Result<(LocalProcessor, u32), Error> {
        self.deactivate()?;
        if activation.main_channels != 0 && activation.main_channels != self.asked {
            self.arrange(activation.main_channels);
        }
        let mut processor = format::batch::activate(self.instance.as_mut(), activation)?;
        let latency = believed_latency(&self.plugin, self.instance.latency());
        self.active = true;
        if !processor.start() {
            return Err(Error::Plugin(PluginError::Call {
                plugin: self.info.descriptor.id.clone(),
                call: "start_processing".into(),
                reason: "the plugin refused".into(),
            }));
        }
        // A state may have brought other buses since it was asked.
        let channels = self.instance.channels();
        if !self.info.has_channels(&channels) {
            self.info = self.instance.info().with_channels(&channels);
        }
        let (inputs, outputs) = channels;
        let longest = activation.max_frames.max(activation.batch_frames);
        let packed = |buses: &[u32]| Packed::new(buses.iter().sum(), longest);
        let mut local = LocalProcessor {
            processor,
            input: packed(&inputs),
            output: packed(&outputs),
            inputs,
            outputs,
            out_events: Vec::with_capacity(EVENTS),
        };
        local.bind();
        Ok((local, latency))
    }

    /// The plugin itself, for all that has nothing to do with blocks.
    pub fn instance(&mut self) -> &mut dyn Instance {
        self.instance.as_mut()
    }

    /// Does what the plugin asked to be done on its main thread.
    pub fn idle(&mut self) {
        self.instance.idle();
    }

    /// What the plugin has said since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::iter::from_fn(|| self.instance.take_notice()).collect()
    }
}

/// The audio-thread half.
pub struct LocalProcessor {
    processor: Box<dyn Processor>,
    inputs: Vec<u32>,
    outputs: Vec<u32>,
    input: Packed,
    output: Packed,
    out_events: Vec<Event>,
}

impl LocalProcessor {
    #[expect(unsafe_code, reason = "hands the plugin the addresses of its own buffers")]
    fn bind(&mut self) {
        let buffers = Buffers {
            inputs: self.inputs.clone(),
            input: self.input.as_mut_ptr(),
            outputs: self.outputs.clone(),
            output: self.output.as_mut_ptr(),
        };
        // SAFETY: boxed, with room for the greatest block, never resized, owned by the same value
        // as the processor; `process` below does not touch them while the plugin runs.
        unsafe { self.processor.bind(buffers) };
    }

    /// A channel of an input bus, to be filled before [`process`](Self::process); `None` if there
    /// is no such channel.
    pub fn input(&mut self, bus: usize, channel: usize, frames: usize) -> Option<&mut [f32]> {
        let at = channel_of(&self.inputs, bus, channel)?;
        Some(self.input.channel_mut(at, frames))
    }

    /// Runs a block. False: the plugin reported an error.
    pub fn process(
        &mut self,
        frames: u32,
        steady_time: u64,
        transport: &Transport,
        events: &[Event],
    ) -> bool {
        self.out_events.clear();
        let done = self.processor.process(ProcessBlock {
            frames,
            steady_time,
            transport,
            events,
            out_events: &mut self.out_events,
        });
        crate::sys::fpu::set_flush_to_zero();
        done
    }

    /// Forgets all that sounds.
    pub fn reset(&mut self) {
        self.processor.reset();
    }

    /// Copies a channel of an output bus, scrubbed.
    pub fn output(&self, bus: usize, channel: usize, into: &mut [f32]) -> bool {
        match channel_of(&self.outputs, bus, channel) {
            Some(at) => into.copy_from_slice(self.output.channel(at, into.len())),
            None => into.fill(0.0), // a bus without channels
        }
        scrub(into)
    }

    /// What the plugin put out.
    pub fn events(&self) -> &[Event] {
        &self.out_events
    }
}

impl Drop for LocalProcessor {
    fn drop(&mut self) {
        self.processor.stop();
    }
}

/// Place of a channel among those of all buses.
fn channel_of(buses: &[u32], bus: usize, channel: usize) -> Option<usize> {
    let before: u32 = buses.get(..bus)?.iter().sum();
    (channel < *buses.get(bus)? as usize).then_some(before as usize + channel)
}
