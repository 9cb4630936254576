//! JACK: a client of a JACK server, or of PipeWire in its place.
//!
//! The engine runs in the server's process cycle; its deadline is the end of that cycle. The server
//! says rate and buffer size, and may change the size at any time: then the callback gets blocks of
//! the new size at once ([`DriverEvent::BlocksChanged`]). Stopping takes the callback back and leaves
//! the client in the server's graph, silent: nothing is disconnected.
//!
//! When the server ends, the driver is [gone](DriverEvent::Gone). A driver that is opened in its place
//! connects itself as the one before was connected, as soon as the other ports are there. What the user
//! has connected is told for the rig ([`Driver::wiring`]).
//!
//! | file | |
//! |---|---|
//! | `library` | libjack's interface, loaded at run time |
//! | `client` | a client and its ports, safe to use |
//! | `ports` | our ports |
//! | `process` | what JACK's threads call |
//! | `transport` | JACK's song position as the host's |
//! | `registered` | how it is listed and opened by name |
//! | `wires` | what our ports are to be connected to |
//! | `patchbay` | the driver's part in that |

mod client;
mod library;
mod patchbay;
mod ports;
mod process;
pub(super) mod registered;
mod transport;
mod wires;

use super::{
    Callback, Connections, Driver, DriverConfig, DriverEvent, DriverOptions, JackOptions, MidiPeer,
    Settings, Wiring, clock,
};
use crate::error::Error;
use crate::midi::MidiBuffer;
use client::{Client, Kind, Port};
use library::{CAPTURE_LATENCY, PLAYBACK_LATENCY, port_flag};
use ports::Ports;
use process::{Context, MOST_CHANNELS, MOST_FRAMES, Rt, Shared};
use rtrb::{Consumer, Producer, RingBuffer};
use std::cell::UnsafeCell;
use std::marker::PhantomPinned;
use std::pin::Pin;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64};
use std::sync::{Mutex, OnceLock};
use std::time::{Duration, Instant};
use wires::Wires;

/// What a server offers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JackServer {
    /// Frames per second.
    pub rate: u32,
    /// Frames per callback.
    pub frames: u32,
    /// Whether it gives its clients realtime priority.
    pub realtime: bool,
    /// Ports of hardware that can be heard or read: audio.
    pub captures: Vec<String>,
    /// Ports of hardware that can be played to: audio.
    pub playbacks: Vec<String>,
    /// MIDI ports of any program or hardware that can be read.
    pub midi_sources: Vec<String>,
    /// MIDI ports of any program or hardware that can be played to.
    pub midi_sinks: Vec<String>,
}

/// Why libjack can't be used here, and what to do; `None`: it can.
pub fn problem() -> Option<String> {
    library::library().err()
}

/// What a server offers. `None`: the usual server.
///
/// # Errors
/// libjack is not there, or no such server runs; what to do.
pub fn look(server: Option<&str>) -> Result<JackServer, Error> {
    let client = Client::open("sandrack-look", server).map_err(|why| failed(server, &why))?;
    let physical = |flag| client.ports(Kind::Audio, flag | port_flag::PHYSICAL);
    Ok(JackServer {
        rate: client.rate(),
        frames: client.frames(),
        realtime: client.is_realtime(),
        captures: physical(port_flag::OUTPUT),
        playbacks: physical(port_flag::INPUT),
        midi_sources: client.ports(Kind::Midi, port_flag::OUTPUT),
        midi_sinks: client.ports(Kind::Midi, port_flag::INPUT),
    })
}

/// A client of a JACK server; see the [module](self).
pub struct JackDriver {
    name: String,
    options: JackOptions,
    config: DriverConfig,
    /// Stays in one place: JACK's threads know where.
    context: Pin<Box<Context>>,
    to_rt: Producer<Box<dyn Callback>>,
    from_rt: Consumer<Box<dyn Callback>>,
    is_active: bool,
    is_started: bool,
    told: Told,
    wires: Wires,
    looked_at_wires: Instant,
}

/// What has been told by [`Driver::take_events`].
#[derive(Default)]
struct Told {
    frames: u32,
    rate: u32,
    xruns: u64,
    latency: (u32, u32),
    gone: bool,
}

/// How often is looked at what is connected.
const GLANCE: Duration = Duration::from_millis(300);

/// How long a server may take to run one cycle. Longer, and it hangs.
const PATIENCE: Duration = Duration::from_secs(3);

fn failed(server: Option<&str>, why: &str) -> Error {
    Error::Driver { driver: name_of(server), reason: why.to_owned() }
}

fn name_of(server: Option<&str>) -> String {
    server.map_or_else(|| "jack".to_owned(), |server| format!("jack:{server}"))
}

impl JackDriver {
    /// Becomes a client of a server; `None`: the usual one. `wanted.frames`: 0, or the size that the
    /// server is asked for, for all its clients; unless somebody has changed it since this driver was
    /// open before, or the server is another by now. The rate is the server's, whatever is wanted.
    ///
    /// # Errors
    /// libjack is not there, no such server runs, or it can't give what is wanted; each says what to
    /// do.
    pub fn open(
        server: Option<&str>,
        wanted: &DriverConfig,
        options: &DriverOptions,
    ) -> Result<Self, Error> {
        let DriverOptions { jack: options, setup, before, .. } = options;
        let fail = |why: String| failed(server, &why);
        let most = wanted.inputs.max(wanted.outputs);
        if most as usize > MOST_CHANNELS {
            return Err(fail(format!("{most} channels: choose 0 to {MOST_CHANNELS}")));
        }
        let client = Client::open(&options.client, server).map_err(fail)?;
        let is_as_before = before.is_none_or(|before| before.preferred == client.frames());
        if wanted.frames != 0 && wanted.frames != client.frames() && is_as_before {
            let done = wanted.frames as usize <= MOST_FRAMES && client.set_frames(wanted.frames);
            if !done {
                return Err(fail(format!(
                    "the server can't change its buffer from {} to {} frames: choose the one it has, \
                     or start it with another ('-p')",
                    client.frames(),
                    wanted.frames
                )));
            }
        }
        let config = DriverConfig {
            rate: client.rate(),
            frames: client.frames(),
            inputs: wanted.inputs,
            outputs: wanted.outputs,
        };
        let ports = Ports::register(&client, &config, options).map_err(fail)?;
        let (to_rt, incoming) = RingBuffer::new(1);
        let (outgoing, from_rt) = RingBuffer::new(1);
        let rt = Rt {
            callback: None,
            incoming,
            outgoing,
            setup: setup.clone(),
            is_set_up: false,
            inputs: vec![0.0; config.inputs as usize * MOST_FRAMES],
            midi_in: MidiBuffer::usual(),
            midi_out: MidiBuffer::usual(),
            transport: transport::Follower::default(),
            position: 0,
            last_frame: None,
        };
        let shared = Shared {
            wants_back: AtomicBool::new(false),
            has_panicked: AtomicBool::new(false),
            blocks: AtomicU64::new(0),
            xruns: AtomicU64::new(0),
            frames: AtomicU32::new(config.frames),
            rate: AtomicU32::new(config.rate),
            freewheels: AtomicBool::new(false),
            graph_latency: AtomicU32::new(0),
            latencies: AtomicU64::new(0),
            lost_midi: AtomicU64::new(0),
            gone: OnceLock::new(),
            registered: Mutex::default(),
        };
        let clock_offset_ns = clock_offset_ns(&client);
        let (rt, _pinned) = (UnsafeCell::new(rt), PhantomPinned);
        let context = Context { client, ports, shared, clock_offset_ns, rt, _pinned };
        let context = context.pin().map_err(fail)?;
        Ok(Self {
            name: name_of(server),
            options: options.clone(),
            told: Told { frames: config.frames, rate: config.rate, ..Told::default() },
            config,
            context,
            to_rt,
            from_rt,
            is_active: false,
            is_started: false,
            wires: Wires::default(),
            looked_at_wires: Instant::now(),
        })
    }

    fn fail(&self, why: &str) -> Error {
        Error::Driver { driver: self.name.clone(), reason: why.to_owned() }
    }

    fn gone(&self) -> Option<&String> {
        self.context.shared.gone.get()
    }

    /// The name that the server gave this client.
    pub fn client_name(&self) -> String {
        self.context.client.name()
    }

    /// MIDI messages that did not fit into a port.
    pub fn lost_midi(&self) -> u64 {
        self.context.shared.lost_midi.load(Relaxed)
    }

    /// Enters the server's graph, and connects.
    fn activate(&mut self) -> Result<(), Error> {
        if !self.context.as_mut().activate() {
            let why = "the server does not let it into its graph: look into what it prints";
            return Err(self.fail(self.gone().map_or(why, String::as_str)));
        }
        self.is_active = true;
        self.plug_in();
        Ok(())
    }

    /// Waits for the callback, as long as the server runs cycles.
    fn take_back(&mut self) -> Option<Box<dyn Callback>> {
        self.context.shared.wants_back.store(true, Relaxed);
        let end = Instant::now() + PATIENCE;
        loop {
            if let Ok(callback) = self.from_rt.pop() {
                return Some(callback);
            }
            if self.gone().is_some() || Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// What is to be added to JACK's clock to get ours: of a few readings the one that was quickest.
fn clock_offset_ns(client: &Client) -> i64 {
    let reading = |_| {
        let before = clock::now_ns();
        let jack_ns = client.time_us().saturating_mul(1000);
        let after = clock::now_ns();
        (after - before, ((before + after) / 2) as i64 - jack_ns as i64)
    };
    (0..8).map(reading).min_by_key(|(took, _)| *took).map_or(0, |(_, offset)| offset)
}

impl Driver for JackDriver {
    fn name(&self) -> &str {
        &self.name
    }

    fn config(&self) -> &DriverConfig {
        &self.config
    }

    fn start(&mut self, callback: Box<dyn Callback>) -> Result<(), Error> {
        if let Some(why) = self.gone() {
            return Err(self.fail(why));
        }
        if self.is_started {
            return Err(self.fail("it is already started: stop it first"));
        }
        if !self.is_active {
            self.activate()?;
        }
        let shared = &self.context.shared;
        shared.wants_back.store(false, Relaxed);
        shared.has_panicked.store(false, Relaxed);
        shared.blocks.store(0, Relaxed);
        shared.xruns.store(0, Relaxed);
        self.told.xruns = 0;
        self.config.frames = shared.frames.load(Relaxed);
        self.config.rate = shared.rate.load(Relaxed);
        self.told.frames = self.config.frames;
        self.told.rate = self.config.rate;
        if self.to_rt.push(callback).is_err() {
            return Err(self.fail("the server runs no cycles: restart it"));
        }
        self.is_started = true;
        Ok(())
    }

    fn stop(&mut self) -> Result<Box<dyn Callback>, Error> {
        if !std::mem::take(&mut self.is_started) {
            return Err(self.fail("it is not started: start it before stopping it"));
        }
        let callback = match self.take_back() {
            Some(callback) => callback,
            // The server is gone, or hangs.
            None => {
                let callback = self.context.as_mut().close();
                let _ = self.context.shared.gone.set("the JACK server hangs".to_owned());
                callback.ok_or_else(|| self.fail("its callback is lost: report this"))?
            }
        };
        if self.context.shared.has_panicked.load(Relaxed) {
            return Err(self.fail(
                "stopped because its callback panicked: report this, it is a fault in the program",
            ));
        }
        Ok(callback)
    }

    fn running(&self) -> bool {
        self.is_started && self.gone().is_none() && !self.context.shared.has_panicked.load(Relaxed)
    }

    fn blocks(&self) -> u64 {
        self.context.shared.blocks.load(Relaxed)
    }

    fn xruns(&self) -> u64 {
        self.context.shared.xruns.load(Relaxed)
    }

    fn latency(&self) -> (u32, u32) {
        let Context { client, ports, .. } = &*self.context;
        if self.gone().is_some() {
            return self.told.latency;
        }
        let most = |ports: &[Port], mode| {
            ports.iter().map(|port| client.latency(*port, mode).1).max().unwrap_or(0)
        };
        (most(&ports.inputs, CAPTURE_LATENCY), most(&ports.outputs, PLAYBACK_LATENCY))
    }

    fn settings(&self) -> Option<Settings> {
        Some(Settings { preferred: self.config.frames, rate: self.config.rate })
    }

    fn set_graph_latency(&mut self, frames: u32) {
        if self.context.shared.graph_latency.swap(frames, Relaxed) != frames
            && self.is_active
            && self.gone().is_none()
        {
            self.context.client.recompute_latencies();
        }
    }

    fn midi_ports(&self) -> (Vec<String>, Vec<String>) {
        let Context { client, ports, .. } = &*self.context;
        let names = |ports: &ports::MidiPorts| ports.iter().map(|p| client.port_name(p)).collect();
        (names(&ports.midi_inputs), names(&ports.midi_outputs))
    }

    fn midi_peers(&self) -> Option<(Vec<MidiPeer>, Vec<MidiPeer>)> {
        let client = &self.context.client;
        let own = format!("{}:", client.name());
        let peers = |flag| {
            let names = client.ports(Kind::Midi, flag).into_iter();
            let others = names.filter(|name| !name.starts_with(&own));
            others.map(|name| MidiPeer { aliases: client.aliases(&name), name }).collect()
        };
        Some((peers(port_flag::OUTPUT), peers(port_flag::INPUT)))
    }

    fn connections(&self) -> Option<Connections> {
        Some(self.all_connections())
    }

    fn connect(&mut self, port: &str, other: &str, on: bool) -> Result<(), Error> {
        self.connect_port(port, other, on)
    }

    fn wiring(&mut self) -> Option<Wiring> {
        self.kept_wiring()
    }

    fn set_wiring(&mut self, wiring: &Wiring) {
        self.change_wiring(wiring);
    }

    fn add_midi_words(&mut self, inputs: &[String], outputs: &[String]) -> Result<(), Error> {
        let Context { client, ports, .. } = &*self.context;
        let JackOptions { midi_words, midi_out_words, .. } = &mut self.options;
        let mut all =
            [(inputs, midi_words, port_flag::INPUT), (outputs, midi_out_words, port_flag::OUTPUT)];
        for (words, known, flag) in &mut all {
            for word in words.iter() {
                if !known.contains(word) {
                    ports
                        .add(client, word, *flag)
                        .map_err(|reason| Error::Driver { driver: self.name.clone(), reason })?;
                    known.push(word.clone());
                }
            }
        }
        self.watch_wires();
        Ok(())
    }

    fn take_events(&mut self) -> Vec<DriverEvent> {
        let mut events = Vec::new();
        let shared = &self.context.shared;
        if let Some(why) = shared.gone.get() {
            if !std::mem::replace(&mut self.told.gone, true) {
                events.push(DriverEvent::Gone(why.clone()));
            }
            return events;
        }
        let (frames, rate) = (shared.frames.load(Relaxed), shared.rate.load(Relaxed));
        if std::mem::replace(&mut self.told.frames, frames) != frames {
            self.config.frames = frames;
            events.push(DriverEvent::BlocksChanged(frames));
        }
        if std::mem::replace(&mut self.told.rate, rate) != rate {
            self.config.rate = rate;
            events.push(DriverEvent::RateChanged(rate));
        }
        let xruns = shared.xruns.load(Relaxed);
        if std::mem::replace(&mut self.told.xruns, xruns) != xruns {
            events.push(DriverEvent::Overload);
        }
        if self.is_active && self.looked_at_wires.elapsed() > GLANCE {
            self.looked_at_wires = Instant::now();
            self.watch_wires();
            let latency = self.latency();
            if std::mem::replace(&mut self.told.latency, latency) != latency {
                events.push(DriverEvent::LatencyChanged);
            }
        }
        events
    }
}

impl Drop for JackDriver {
    fn drop(&mut self) {
        // What the process thread runs is out of the way before it ends.
        if self.is_started {
            let _ = self.stop();
        }
    }
}
