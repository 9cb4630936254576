//! What is known of a fault beyond its kind.

use sandrack_sandbox::crash::{Call, ThreadKind};
use sandrack_sandbox::event::{Event, kind};
use sandrack_sandbox::shm::recording::RecordedBlock;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::path::PathBuf;

/// Events that are told with a fault.
pub const LAST_EVENTS: usize = 16;

/// What is known of a fault. The plugin's process has told much of it: hints.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct FaultDetails {
    /// The entry point of the plugin that it did not come back from; `None`: not known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<Call>,
    /// The thread that the signal hit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadKind>,
    /// The signal's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signal_name: Option<String>,
    /// The address that was used in vain, in hexadecimal digits; of SIGSEGV and SIGBUS.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// File of the code that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub module: Option<String>,
    /// Function of the code that failed, with the distance from its beginning; as far as known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub symbol: Option<String>,
    /// Who called whom, the innermost first; as far as it could be found out.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub backtrace: Vec<Frame>,
    /// The last events that the plugin was given.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub events: Vec<LastEvent>,
    /// The values that the host, or its user, gave parameters last: number, value.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub params: Vec<(u32, f64)>,
    /// The file from which `sandrack replay` has it again.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub file: Option<PathBuf>,
}

/// A place in the code.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Frame {
    /// The file; empty: not known.
    pub module: String,
    /// Offset in it.
    pub offset: u64,
    /// Function and distance from its beginning, if known.
    pub symbol: Option<String>,
}

impl fmt::Display for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { module, offset, symbol } = self;
        match (symbol, file_name(module)) {
            (_, "") => write!(f, "unknown code at {offset:#x}"),
            (Some(symbol), name) => write!(f, "{symbol} in {name}"),
            (None, name) => write!(f, "{name}+{offset:#x}"),
        }
    }
}

impl FaultDetails {
    /// Where it failed, in a few words: the call, and the code if known. Empty: nothing is known.
    pub fn place(&self) -> String {
        let mut parts = Vec::new();
        if let Some(thread) = self.thread.filter(|thread| *thread == ThreadKind::Other) {
            parts.push(format!("in {thread}"));
        }
        parts.extend(self.call.map(|call| format!("in {call}")));
        let file = self.module.as_deref().map(file_name);
        parts.extend(match (&self.symbol, file) {
            (Some(symbol), Some(file)) => Some(format!("at {symbol} in {file}")),
            (None, Some(file)) => Some(format!("somewhere in {file}")),
            (_, None) => self.backtrace.first().map(|frame| format!("at {frame}")),
        });
        parts.join(", ")
    }
}

fn file_name(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// The last events of some blocks, fit for JSON.
pub fn last_events(blocks: &[RecordedBlock]) -> Vec<LastEvent> {
    let all = blocks.iter().flat_map(|block| {
        let number = block.head.block;
        block.events.iter().map(move |event| LastEvent { block: number, event: *event })
    });
    let mut last: Vec<LastEvent> = all.collect();
    last.drain(..last.len().saturating_sub(LAST_EVENTS));
    for LastEvent { event, .. } in &mut last {
        // Bytes of a message lie here, and JSON has no NaN.
        if !event.value.is_finite() {
            event.value = 0.0;
        }
    }
    last
}

/// An event that a plugin was given.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct LastEvent {
    /// Number of the block.
    pub block: u64,
    /// What happened.
    #[serde(flatten)]
    pub event: Event,
}

impl fmt::Display for LastEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Event { time, param, value, key, channel, midi, note_id, expression, .. } = self.event;
        write!(f, "block {}, frame {time}: ", self.block)?;
        match self.event.kind {
            kind::NOTE_ON => write!(f, "note on, key {key}, channel {channel}, velocity {value}"),
            kind::NOTE_OFF => write!(f, "note off, key {key}, channel {channel}"),
            kind::NOTE_CHOKE => write!(f, "note choked, key {key}, channel {channel}"),
            kind::NOTE_END => write!(f, "end of note {note_id}"),
            kind::NOTE_EXPRESSION => write!(f, "expression {expression} = {value}, key {key}"),
            kind::PARAM_VALUE => write!(f, "parameter {param} = {value}"),
            kind::PARAM_MOD => write!(f, "parameter {param} offset by {value}"),
            kind::GESTURE_BEGIN => write!(f, "parameter {param} taken hold of"),
            kind::GESTURE_END => write!(f, "parameter {param} let go of"),
            kind::MIDI => write!(f, "MIDI {:02x} {:02x} {:02x}", midi[0], midi[1], midi[2]),
            kind::SYSEX => write!(f, "part of a system exclusive message"),
            other => write!(f, "event of kind {other}"),
        }
    }
}
