//! A plugin's recording, as the host has it.

use super::{Node, hand_over};
use crate::error::Error;
use crate::protocol::Request;
use crate::shm::recording::{Recorded, RecordingReader, RecordingShape};
use crate::sys::memory::{Access, SharedMemory};
use std::sync::Arc;

/// How much of what a plugin is given is kept.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RecorderOptions {
    /// The last so many seconds,
    pub seconds: f64,
    /// but no more than fits into so many bytes of memory (at least 16 blocks do).
    pub most_bytes: usize,
}

impl Default for RecorderOptions {
    /// Five seconds, of up to eight channels at 48 kHz.
    fn default() -> Self {
        Self { seconds: 5.0, most_bytes: 8 << 20 }
    }
}

/// What is kept of a plugin.
#[derive(Default)]
pub(super) struct Recorder {
    options: Option<RecorderOptions>,
    /// Of the present activation.
    memory: Option<Recording>,
}

/// What one activation of a plugin was given lately. Outlives the plugin's worker.
#[derive(Clone)]
pub struct Recording {
    memory: Arc<SharedMemory>,
    shape: RecordingShape,
}

impl Recording {
    /// All that is there, at any time: while the plugin plays, when its worker has ended. Not for
    /// the realtime thread.
    ///
    /// # Errors
    /// It can't be mapped.
    pub fn read(&self) -> Result<Recorded, Error> {
        let mapping = self.memory.map_unlocked();
        let reader =
            mapping.and_then(|mapping| RecordingReader::new(Arc::new(mapping), self.shape));
        reader.map(|reader| reader.read()).map_err(Error::system("mapping a recording"))
    }
}

impl Recorder {
    pub(super) fn set(&mut self, options: Option<RecorderOptions>) {
        self.options = options;
    }

    /// Begins a recording, if one is wanted and the plugin is active.
    pub(super) fn begin(&mut self, node: &Node) -> Result<(), Error> {
        let before = self.memory.take();
        let Some(activation) = node.activation() else { return Ok(()) };
        let number = node.number();
        let Some(shape) = self.options.and_then(|options| {
            let channels = node.info().inputs.iter().map(|port| port.channels).sum();
            let longest = activation.max_frames.max(activation.batch_frames);
            let RecorderOptions { seconds, most_bytes } = options;
            let rate = activation.rate;
            RecordingShape::new(channels, longest, rate, seconds, most_bytes)
        }) else {
            return match before {
                Some(_) => node.worker().request(Request::Record(number, None), &[]).map(drop),
                None => Ok(()),
            };
        };
        let failed = || Error::system(format!("{}: making its recording", node.plugin()));
        let memory = SharedMemory::new("sandrack-recording", shape.len()).map_err(failed())?;
        let (regions, handles) = hand_over(&[(&memory, Access::ReadWrite)]).map_err(failed())?;
        let request = Request::Record(number, Some((shape, regions[0])));
        match node.worker().request(request, &handles) {
            Ok(_) => self.memory = Some(Recording { memory: Arc::new(memory), shape }),
            // It changed its mind about its inputs. It plays all the same.
            Err(Error::Plugin(error)) => tracing::debug!(%error, "not recorded"),
            Err(error) => return Err(error),
        }
        Ok(())
    }

    pub(super) fn recording(&self) -> Option<Recording> {
        self.memory.clone()
    }
}
