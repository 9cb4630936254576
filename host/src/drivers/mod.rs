//! Audio drivers: whatever calls back with a block of audio at a steady rate.
//!
//! # Threads
//! The callback runs on the driver's own realtime thread, from [`Driver::start`] until
//! [`Driver::stop`] has returned, and never after. Everything else is called from one control
//! thread.

#[cfg(windows)]
mod asio;
pub mod block_clock;
pub mod clock;
mod device;
#[cfg(target_os = "linux")]
pub mod jack;
pub mod keeper;
pub mod midi_ports;
#[cfg(any(test, windows, all(target_os = "linux", feature = "alsa")))]
mod midi_timetable;
#[cfg(windows)]
mod planar;
mod registry;
pub mod samples;
pub mod sizes;
pub mod virtual_driver;

use crate::error::Error;
use crate::midi::buffer::NO_MIDI;
use crate::midi::{MidiBuffer, MidiRt};
use std::collections::BTreeMap;

pub use device::{Channel, Channels, ClockSource, DeviceDetails, DeviceInfo, Rates};
pub use registry::{
    Dither, DriverOptions, JackOptions, Settings, ThreadSetup, list, open, panel, probe,
};

/// What a driver is asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct DriverConfig {
    /// Frames per second.
    pub rate: u32,
    /// Frames per callback, 16 ..= 8192.
    pub frames: u32,
    /// Input channels.
    pub inputs: u32,
    /// Output channels.
    pub outputs: u32,
}

/// Where a callback lies in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CallbackTime {
    /// Position of the first frame, in frames since the start; a callback that was missed is
    /// counted.
    pub sample_position: u64,
    /// When this callback was due, in ns of the monotonic clock.
    pub due_ns: u64,
    /// When the next one is due: the deadline of this one. `u64::MAX` where there is none (free
    /// running).
    pub next_due_ns: u64,
    /// Callbacks that were missed since the start, because an earlier one came back too late.
    pub xruns: u64,
}

/// One block: audio, one slice per channel, each of the block's frames; MIDI; and where the driver
/// says that the song is.
pub struct CallbackIo<'a> {
    /// What came in.
    pub inputs: &'a [&'a [f32]],
    /// What goes out; holds zeros at the start.
    pub outputs: &'a mut [&'a mut [f32]],
    /// MIDI that came in through the driver's own ports, at the frames of this block.
    pub midi_in: &'a MidiBuffer,
    /// MIDI that goes out through the driver's own ports; empty at the start. `None`: it has none.
    pub midi_out: Option<&'a mut MidiBuffer>,
    /// The song position that the driver shares with other programs, at the first frame. `None`:
    /// it has none, or nobody uses it.
    pub transport: Option<DriverTransport>,
}

impl<'a> CallbackIo<'a> {
    /// Audio only.
    pub fn new(inputs: &'a [&'a [f32]], outputs: &'a mut [&'a mut [f32]]) -> Self {
        Self { inputs, outputs, midi_in: &NO_MIDI, midi_out: None, transport: None }
    }
}

/// A song position that programs share (JACK's transport).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriverTransport {
    /// Whether it moves.
    pub playing: bool,
    /// Seconds from the start of the song.
    pub seconds: f64,
    /// Tempo and bars; `None`: no program says.
    pub meter: Option<DriverMeter>,
}

/// The musical part of a [`DriverTransport`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct DriverMeter {
    /// Quarter notes per minute.
    pub tempo: f64,
    /// Song position in quarter notes.
    pub beats: f64,
    /// Start of the present bar in quarter notes.
    pub bar_start_beats: f64,
    /// Number of the present bar, from 0.
    pub bar: i32,
    /// Upper number of the time signature.
    pub numerator: u16,
    /// Lower number of the time signature.
    pub denominator: u16,
}

/// Called once per period on the driver's realtime thread.
pub trait Callback: Send {
    /// Fills `io.outputs`.
    fn process(&mut self, time: &CallbackTime, io: &mut CallbackIo<'_>);
    /// Gives back what knows which notes are held, for the callback that follows this one.
    fn take_midi(&mut self) -> Option<MidiRt> {
        None
    }
}

/// A driver that has been opened.
pub trait Driver: Send {
    /// For messages: `virtual`, `jack`, `asio:NAME`.
    fn name(&self) -> &str;
    /// What is really in force.
    fn config(&self) -> &DriverConfig;
    /// Starts calling back. The callback is given back by [`stop`](Self::stop).
    fn start(&mut self, callback: Box<dyn Callback>) -> Result<(), Error>;
    /// Stops; returns when the callback no longer runs.
    fn stop(&mut self) -> Result<Box<dyn Callback>, Error>;
    /// Whether it still calls back: started, not stopped, not at the end of a limited run, and the
    /// callback has not panicked. Cheap enough to poll.
    fn running(&self) -> bool;
    /// Callbacks since the start.
    fn blocks(&self) -> u64;
    /// Callbacks missed since the start.
    fn xruns(&self) -> u64;
    /// What the driver adds before the first input frame of a block and after its last output
    /// frame: input and output latency in frames, as it reports them.
    fn latency(&self) -> (u32, u32) {
        (0, 0)
    }
    /// Names of its own MIDI ports, inputs and outputs; their places are the ports' numbers in
    /// [`CallbackIo`].
    fn midi_ports(&self) -> (Vec<String>, Vec<String>) {
        (Vec::new(), Vec::new())
    }
    /// Ports of other programs and devices that its own can be connected to: those that can be heard,
    /// and those that can be played to. `None`: its ports are not connected so.
    fn midi_peers(&self) -> Option<(Vec<MidiPeer>, Vec<MidiPeer>)> {
        None
    }
    /// What its ports are connected to, and could be. `None`: they are not connected so.
    fn connections(&self) -> Option<Connections> {
        None
    }
    /// Connects one of its ports to another's, or not any more.
    ///
    /// # Errors
    /// One of them is not there, or they don't fit.
    fn connect(&mut self, port: &str, other: &str, _on: bool) -> Result<(), Error> {
        let reason = format!("its port '{port}' can't be connected to '{other}', or to any other");
        Err(Error::Driver { driver: self.name().to_owned(), reason })
    }
    /// What its ports are to be connected to, wherever the user has connected them other than they
    /// connect themselves. `None`: they are not connected so, or not yet.
    fn wiring(&mut self) -> Option<Wiring> {
        None
    }
    /// Connects its ports as it says, and those that it does not name as they connect themselves.
    fn set_wiring(&mut self, _wiring: &Wiring) {}
    /// Has a MIDI port for each of these words, inputs and outputs, beside those that it has: one that
    /// connects itself to whatever has the word in its name, now or later. Ports that are there stay
    /// what they are.
    ///
    /// # Errors
    /// A port can't be made.
    fn add_midi_words(&mut self, _inputs: &[String], _outputs: &[String]) -> Result<(), Error> {
        Ok(())
    }
    /// So many frames lie between what comes in and what goes out because of it. Drivers that tell
    /// other programs what they have to compensate pass it on.
    fn set_graph_latency(&mut self, _frames: u32) {}
    /// What it offers, as of when it was opened: names of channels, for one; `None`: not known.
    fn details(&self) -> Option<&DeviceDetails> {
        None
    }
    /// What its user has set in its control panel, as of when it was opened; `None`: it has none.
    fn settings(&self) -> Option<Settings> {
        None
    }
    /// Opens its control panel, and does not wait for what is done there.
    fn open_panel(&mut self) -> Result<(), Error> {
        let reason = "it has no control panel".to_owned();
        Err(Error::Driver { driver: self.name().to_owned(), reason })
    }
    /// What has happened since the last call. Cheap enough to poll.
    fn take_events(&mut self) -> Vec<DriverEvent> {
        Vec::new()
    }
}

/// A port of a driver that can be connected to those of other programs and devices.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DriverPort {
    /// Its name, without the program's.
    pub name: String,
    /// MIDI, or else audio.
    pub is_midi: bool,
    /// Whether it is played to, or else plays.
    pub is_input: bool,
    /// The others' ports that it is connected to.
    pub connected: Vec<String>,
    /// Those that it is connected to as soon as they are there.
    pub awaited: Vec<String>,
}

/// What ports of a driver are connected to, others' programs and devices included that are not there
/// now: names of ports, by the driver's own, whose names are without the program's.
pub type Wiring = BTreeMap<String, Vec<String>>;

/// What a driver's ports are connected to, and could be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// Its own.
    pub ports: Vec<DriverPort>,
    /// Others' audio ports: those that can be heard, and those that can be played to.
    pub audio: (Vec<String>, Vec<String>),
    /// Others' MIDI ports, likewise.
    pub midi: (Vec<String>, Vec<String>),
}

impl Connections {
    /// What one of the ports could be connected to.
    pub fn others(&self, port: &DriverPort) -> &[String] {
        let (sources, sinks) = if port.is_midi { &self.midi } else { &self.audio };
        if port.is_input { sources } else { sinks }
    }
}

/// A port of another program or a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MidiPeer {
    /// Its name.
    pub name: String,
    /// What it is called besides.
    pub aliases: Vec<String>,
}

impl MidiPeer {
    /// Whether a word means it: it is a part of one of its names, in any case.
    pub fn is_meant_by(&self, word: &str) -> bool {
        let word = word.to_lowercase();
        std::iter::once(&self.name).chain(&self.aliases).any(|n| n.to_lowercase().contains(&word))
    }
}

/// What a driver tells whoever controls it, while it is open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DriverEvent {
    /// It wants to be closed, opened and started again: its settings were changed.
    ResetRequested,
    /// It wants to be stopped and started again with this many frames per callback.
    BufferSizeChanged(u32),
    /// Its blocks have so many frames from now on; it goes on, and nothing has to be stopped.
    BlocksChanged(u32),
    /// It runs, or wants to run, at this rate, in Hz.
    RateChanged(u32),
    /// [`Driver::latency`] is another.
    LatencyChanged,
    /// Its position in time has jumped: sample positions are not continuous.
    Resync,
    /// It was too late for the hardware, or says so.
    Overload,
    /// It can't go on (unplugged, server ended): why. To be opened again, until that works.
    Gone(String),
}
