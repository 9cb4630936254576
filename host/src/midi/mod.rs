//! MIDI: from ports to instruments, and from the musician's controls to parameters and commands.
//!
//! ```text
//! driver's ports ─┐                       ┌─ engine: notes, controllers, parameters
//! MidiReceiver ───┼─ MidiRt (callback) ───┼─ driver's ports, MidiSender
//! …               ┘        ▲              └─ MidiNotice: commands, program changes, what moved
//!                     MidiControl: setup, panic, ports (control thread)
//! ```
//! | part | is |
//! |---|---|
//! | [`buffer`] | the messages of one block, as drivers and callbacks exchange them |
//! | [`message`] | what their bytes mean |
//! | [`setup`] | what is routed where, and what controls do |
//! | [`queue`] | messages from and to other threads, with time stamps |
//! | [`midi`]: [`MidiRt`], [`MidiControl`] | the two halves |
//! | [`Learn`] | which control is meant |
//! | `router`, `sounding`, `output` | routing itself, on the realtime thread |
//! | `taps` | notes that plugins put out, as messages |
//! | `clock` | MIDI clock, both ways |
//!
//! Nothing in the callback allocates, locks or drops: a setup goes there in a box through a queue,
//! and comes back through another.

pub mod buffer;
mod clock;
mod learn;
pub mod message;
mod output;
pub mod queue;
mod realtime;
mod router;
pub mod setup;
mod sounding;
mod taps;

pub use buffer::{MidiBuffer, MidiMessage};
pub(crate) use clock::find_bar;
pub use learn::Learn;
pub use queue::{MidiReceiver, MidiSender, midi_queue};
pub(crate) use realtime::shared;
pub use realtime::{Led, MidiControl, MidiCounts, MidiQueueFull, MidiRt, midi};
pub use router::MidiNotice;
pub use setup::MidiSetup;
