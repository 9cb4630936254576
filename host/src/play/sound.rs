//! The driver of a player: opened, watched, opened again when it is gone or is to be another.

mod reopen;

use super::Pace;
use super::control::{Control, EngineParts};
use super::view::{DriverView, MessageKind};
use crate::drivers::keeper;
use crate::drivers::virtual_driver::VirtualDriver;
use crate::drivers::{
    self, Callback, Connections, DeviceDetails, Driver, DriverConfig, DriverEvent, DriverOptions,
    JackOptions, MidiPeer, Settings, Wiring,
};
use crate::error::Error;
use crate::midi::{MidiRt, MidiSetup, midi, midi_queue};
use crate::rig::DriverSettings;
use crate::session::{Running, realtime_setup};
use crate::wav::SampleFormat;
use reopen::Opening;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// What calls back.
#[derive(Default)]
pub(super) struct Sound {
    driver: Option<Opened>,
    /// What it offers.
    details: Option<Arc<DeviceDetails>>,
    error: String,
    /// Why it could not be opened, as it was said last.
    told: String,
    /// It was begun on another virtual driver's clock: runs only when told.
    is_by_hand: bool,
    xruns_before: u64,
    again: Option<Instant>,
    opening: Option<Opening>,
    /// When it is started anew, as it has asked for. Until then it plays on.
    due: Option<Instant>,
    pace: keeper::Pace,
    /// The settings of a driver that is not open are shown, on a thread of their own.
    panel: Option<JoinHandle<Result<(), Error>>>,
    /// Whether this driver has ever been open.
    has_played: bool,
    /// How a driver that is gone was set. Whoever has changed that in the meantime is not overruled.
    before: Option<Settings>,
}

enum Opened {
    Virtual(Box<VirtualDriver>),
    Other(Box<dyn Driver>),
}

/// Where neither rig nor driver says: frames per second, frames per callback.
const USUAL: (u32, u32) = (48_000, 128);

/// The name of the driver that is built in.
const VIRTUAL: &str = "virtual";

/// A driver that is gone is tried again so often.
const AGAIN: Duration = Duration::from_secs(1);

impl Opened {
    fn get(&self) -> &dyn Driver {
        match self {
            Self::Virtual(driver) => &**driver,
            Self::Other(driver) => &**driver,
        }
    }

    fn get_mut(&mut self) -> &mut dyn Driver {
        match self {
            Self::Virtual(driver) => &mut **driver,
            Self::Other(driver) => &mut **driver,
        }
    }
}

impl Sound {
    /// Whether blocks come without anybody asking for them.
    pub(super) fn runs_by_itself(&self) -> bool {
        !self.is_by_hand && self.is_running()
    }

    pub(super) fn is_running(&self) -> bool {
        self.driver.as_ref().is_some_and(|driver| driver.get().running())
    }

    fn xruns(&self) -> u64 {
        self.driver.as_ref().map_or(0, |driver| driver.get().xruns())
    }

    /// Names of the driver's own MIDI ports.
    pub(super) fn midi_ports(&self) -> (Vec<String>, Vec<String>) {
        self.driver.as_ref().map(|driver| driver.get().midi_ports()).unwrap_or_default()
    }

    /// What they can be connected to.
    pub(super) fn midi_peers(&self) -> Option<(Vec<MidiPeer>, Vec<MidiPeer>)> {
        self.driver.as_ref()?.get().midi_peers()
    }

    /// What its ports are connected to.
    pub(super) fn connections(&self) -> Option<Connections> {
        self.driver.as_ref()?.get().connections()
    }

    pub(super) fn connect(&mut self, port: &str, other: &str, on: bool) -> Result<(), Error> {
        let Some(driver) = &mut self.driver else {
            return Err(Error::Usage("no driver is open, whose port could be connected".into()));
        };
        driver.get_mut().connect(port, other, on)
    }

    /// What its ports are to be connected to, as the user has connected them.
    fn wiring(&mut self) -> Option<Wiring> {
        self.driver.as_mut()?.get_mut().wiring()
    }

    /// Connects its ports as another rig says.
    pub(super) fn set_wiring(&mut self, wiring: &Wiring) {
        if let Some(driver) = &mut self.driver {
            driver.get_mut().set_wiring(wiring);
        }
    }

    pub(super) fn add_midi_words(
        &mut self,
        inputs: &[String],
        outputs: &[String],
    ) -> Result<(), Error> {
        let driver = self.driver.as_mut();
        driver.map_or(Ok(()), |driver| driver.get_mut().add_midi_words(inputs, outputs))
    }

    /// Counts from now on.
    pub(super) fn reset(&mut self) {
        self.xruns_before = self.xruns();
    }

    pub(super) fn view(&self, settings: &DriverSettings) -> DriverView {
        let Some(driver) = &self.driver else {
            let (error, settings) = (self.error.clone(), settings.clone());
            return DriverView { settings, error, ..DriverView::default() };
        };
        let driver = driver.get();
        let DriverConfig { rate, frames, inputs, outputs } = *driver.config();
        let (before, after) = driver.latency();
        let latency = f64::from(frames + before + after) * 1e3 / f64::from(rate.max(1));
        DriverView {
            settings: settings.clone(),
            rate,
            frames,
            inputs,
            outputs,
            latency_ms: latency,
            xruns: driver.xruns().saturating_sub(self.xruns_before),
            is_running: driver.running(),
            error: self.error.clone(),
            details: self.details.clone(),
        }
    }
}

impl Control {
    fn open_driver(&self, settings: &DriverSettings) -> Result<Opened, Error> {
        let &DriverSettings { rate, frames, inputs, outputs, .. } = settings;
        if settings.name != VIRTUAL {
            return Ok(Opened::Other(self.opener(settings)()?));
        }
        let setup = realtime_setup(None);
        let (rate, frames) = (or(rate, USUAL.0), or(frames, USUAL.1));
        let mut driver = VirtualDriver::new(DriverConfig { rate, frames, inputs, outputs })?;
        driver = match self.options.pace {
            Pace::OnTime => driver.with_thread_setup(setup),
            Pace::Free => driver.free_running(),
            Pace::ByHand => driver.by_hand(),
        };
        if let Some(path) = &self.options.input {
            driver = driver.with_input(path)?;
        }
        if let Some(path) = &self.options.record {
            driver = driver.with_recording(path, SampleFormat::Float32);
        }
        Ok(Opened::Virtual(Box::new(driver)))
    }

    /// Opens a driver that is not the virtual one, on whatever thread it is called.
    fn opener(
        &self,
        settings: &DriverSettings,
    ) -> impl FnOnce() -> Result<Box<dyn Driver>, Error> + Send + use<> {
        let &DriverSettings { rate, frames, inputs, outputs, .. } = settings;
        let (name, config) =
            (settings.name.clone(), DriverConfig { rate, frames, inputs, outputs });
        let (midi_words, midi_out_words) = self.words_for_driver();
        let wiring = Some(self.rig.connections.clone());
        let how = DriverOptions {
            setup: Some(Arc::new(realtime_setup(None))),
            before: self.sound.before,
            jack: JackOptions { midi_words, midi_out_words, wiring, ..JackOptions::default() },
            ..DriverOptions::default()
        };
        move || drivers::open(&name, &config, &how)
    }

    /// Opens the driver, makes an engine for it, and starts both. A driver that can't be opened is
    /// told in the view; then the engine waits.
    ///
    /// # Errors
    /// No engine could be made.
    pub(super) fn open_sound(&mut self) -> Result<(), Error> {
        let opened = self.open_driver(&self.settings.clone());
        self.play_through(opened)
    }

    /// Makes an engine for what was opened, and starts both.
    fn play_through(&mut self, opened: Result<Opened, Error>) -> Result<(), Error> {
        self.sound.error.clear();
        (self.sound.again, self.sound.due) = (None, None);
        match opened {
            Ok(driver) => {
                self.sound.details = driver.get().details().cloned().map(Arc::new);
                self.sound.driver = Some(driver);
            }
            Err(error) => self.sound_failed(&error.to_string()),
        }
        let (mut rate, mut frames) =
            (or(self.settings.rate, USUAL.0), or(self.settings.frames, USUAL.1));
        let (mut inputs, mut outputs) = (self.settings.inputs, self.settings.outputs);
        if let Some(driver) = &self.sound.driver {
            let wanted = self.settings.rate;
            DriverConfig { rate, frames, inputs, outputs } = *driver.get().config();
            (self.settings.rate, self.settings.frames) = (rate, frames);
            (self.sound.before, self.sound.has_played) = (None, true);
            self.sound.told.clear();
            if wanted != rate && wanted != 0 {
                let text = format!(
                    "driver {} runs at {rate} Hz, not at {wanted}: the rig is played at {rate} Hz",
                    self.settings.name
                );
                self.tell(MessageKind::Warning, None, text);
            }
        }
        self.sound.is_by_hand = self.options.pace == Pace::ByHand
            && matches!(self.sound.driver, Some(Opened::Virtual(_)));
        let held = self.callback.take().and_then(|mut callback| callback.take_midi());
        let channels = (inputs, outputs);
        // The next engine counts from 0.
        (self.transport.position_beats, self.transport.position_seconds) = self.position();
        let is_other = self.blocks != (rate, frames);
        self.blocks = (rate, frames);
        let running = match self.engine.take() {
            None => {
                let mut running = self.session.connect_mixer(rate, frames, channels)?;
                running.live.enable_recovery(&self.session, self.options.recovery.clone());
                running
            }
            Some(mut parts) => {
                parts.live.reconfigure_with(&mut self.session, rate, frames, channels)?
            }
        };
        if is_other {
            self.spares.clear();
        }
        self.begin(running, held);
        self.start_sound();
        Ok(())
    }

    fn begin(&mut self, running: Running, held: Option<MidiRt>) {
        let Running { callback, controller, mut live, .. } = running;
        // What was held knows the frames of another driver.
        drop(held);
        let (rt, mut midi) = midi(self.midi_setup(), self.blocks.0);
        let (keyboard, receiver) = midi_queue(1024);
        // Its queue is empty.
        let _ = midi.add_input(receiver);
        if let Some(mixer) = self.session.mix().cloned() {
            live.move_to(mixer);
        }
        self.callback = Some(callback.with_midi(rt));
        self.statistics.begin(self.blocks);
        self.engine = Some(EngineParts { live, controller, midi, keyboard });
        self.is_stale = true;
        self.transport_moved();
        self.begin_cables();
    }

    fn start_sound(&mut self) {
        let (Some(driver), Some(callback)) = (&mut self.sound.driver, self.callback.take()) else {
            return;
        };
        if let Err(error) = driver.get_mut().start(Box::new(callback)) {
            let text = error.to_string();
            self.sound.driver = None;
            self.sound_failed(&text);
        }
    }

    fn sound_failed(&mut self, why: &str) {
        if self.sound.told != why {
            let advice = match self.sound.has_played {
                true => "the rig plays on as soon as the driver can be opened again",
                false => "choose another driver or buffer size",
            };
            let text = format!("{why}; {advice}");
            self.tell(MessageKind::Error, None, text);
            self.sound.told = why.to_owned();
        }
        self.sound.error = why.to_owned();
        self.sound.again = Some(Instant::now() + AGAIN);
    }

    /// What the user has connected becomes a part of the rig.
    pub(super) fn keep_connections(&mut self) {
        if let Some(wiring) = self.sound.wiring() {
            self.rig.set_connections(wiring);
        }
    }

    /// Ends driver and engine, and closes the driver.
    pub(super) fn close_sound(&mut self) -> Result<(), Error> {
        self.keep_connections();
        self.silence_outputs();
        self.callback = None;
        // One that is just being opened is let go as soon as it is there.
        (self.sound.opening, self.sound.details) = (None, None);
        let Some(mut driver) = self.sound.driver.take() else { return Ok(()) };
        let stopped = driver.get_mut().stop();
        // With it, what it was given: the engine, which belongs on this thread again.
        drop(driver);
        stopped.map(drop)
    }

    /// What plays outside would play on: its notes are ended, and its clock stops.
    fn silence_outputs(&mut self) {
        if self.cables.view.sends.is_empty() || !self.sound.runs_by_itself() {
            return;
        }
        let setup = MidiSetup { clock_out: Vec::new(), ..self.midi_setup() };
        let Some(engine) = &mut self.engine else { return };
        if engine.midi.set(setup).is_ok() && engine.midi.panic().is_ok() {
            let (rate, frames) = self.blocks;
            let period = Duration::from_secs_f64(f64::from(frames) / f64::from(rate.max(1)));
            std::thread::sleep((3 * period).max(Duration::from_millis(10)));
        }
    }

    /// Another driver, buffer size or rate. Where that can't be opened, it is the one before again.
    pub(super) fn set_driver(&mut self, settings: DriverSettings) {
        let before = std::mem::replace(&mut self.settings, settings);
        if self.settings == before && self.sound.is_running() {
            return;
        }
        (self.sound.before, self.sound.has_played) = (None, false);
        self.change_driver();
        if self.sound.driver.is_none() && self.settings != before {
            let why = self.sound.error.clone();
            self.settings = before;
            self.change_driver();
            self.sound.error.clear();
            self.tell(MessageKind::Error, None, format!("{why}; the driver is as it was"));
        } else {
            self.rig.driver = self.settings.clone();
        }
    }

    fn change_driver(&mut self) {
        // It can't be opened twice at once.
        if let Some(opening) = self.sound.opening.take() {
            drop(opening.thread.join());
        }
        if let Err(error) = self.close_sound() {
            tracing::warn!(%error, "the driver did not end as it should");
        }
        if let Err(error) = self.open_sound() {
            self.sound_failed(&error.to_string());
        }
    }

    fn tell_how_it_plays(&mut self, what: &str) {
        if let Some(driver) = &self.sound.driver {
            let DriverConfig { rate, frames, .. } = driver.get().config();
            let text = format!("{what}: {rate} Hz, blocks of {frames} frames");
            self.tell(MessageKind::Note, None, text);
        }
    }

    /// Hears what the driver tells, and opens one again that is gone.
    pub(super) fn see_to_sound(&mut self, now: Instant) {
        let latency = self.engine.as_ref().map_or(0, |engine| engine.live.latency());
        let (mut is_gone, mut blocks) = (None, None);
        let mut change = false;
        if let Some(driver) = &mut self.sound.driver {
            driver.get_mut().set_graph_latency(latency);
            for event in driver.get_mut().take_events() {
                match event {
                    DriverEvent::ResetRequested => change = true,
                    DriverEvent::BufferSizeChanged(frames) => {
                        change |= frames != self.blocks.1;
                        self.settings.frames = frames;
                    }
                    // The engine cuts them as it was prepared for.
                    DriverEvent::BlocksChanged(frames) => {
                        self.settings.frames = frames;
                        blocks = Some(frames);
                    }
                    DriverEvent::RateChanged(rate) => {
                        change |= rate != self.blocks.0;
                        self.settings.rate = rate;
                    }
                    DriverEvent::Gone(why) => is_gone = Some(why),
                    DriverEvent::LatencyChanged | DriverEvent::Resync | DriverEvent::Overload => {}
                }
            }
            if is_gone.is_none() && !driver.get().running() {
                is_gone = Some("it has stopped".into());
            }
            if is_gone.is_some() || change {
                self.sound.before = driver.get().settings();
            }
        }
        if let Some(frames) = blocks {
            let text = format!("the driver plays blocks of {frames} frames from now on");
            self.tell(MessageKind::Note, None, text);
        }
        if change {
            // One that asks each time it is started plays on in between.
            let Sound { due, pace, .. } = &mut self.sound;
            due.get_or_insert_with(|| pace.next(now));
        }
        if let Some(why) = is_gone {
            let stopped = self.close_sound();
            let why = match stopped {
                Err(error) => error.to_string(),
                Ok(()) => format!("driver {}: {why}", self.settings.name),
            };
            self.sound_failed(&why);
        } else if self.sound.due.take_if(|due| now >= *due).is_some() {
            self.change_driver();
            self.tell_how_it_plays("the driver was started anew, as it has asked for");
        } else if self.sound.opening.is_some() {
            self.hear_opening();
        } else if self.sound.again.is_some_and(|again| now >= again) && !self.shows_panel() {
            self.open_again();
        }
    }

    /// Lets a driver by hand call back.
    pub(super) fn run_blocks(&mut self, blocks: u64) -> Result<(), Error> {
        match &mut self.sound.driver {
            Some(Opened::Virtual(driver)) if self.sound.is_by_hand => {
                driver.run_blocks(blocks).map(|_| ())
            }
            _ => Err(Error::Usage(
                "only a virtual driver that is driven by hand can be run so".into(),
            )),
        }
    }
}

fn or(number: u32, usual: u32) -> u32 {
    if number == 0 { usual } else { number }
}
