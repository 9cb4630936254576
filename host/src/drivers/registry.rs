//! The drivers of this machine, and how to open one by its name.

use super::device::{Channels, DeviceDetails, DeviceInfo, Rates};
use super::sizes::Sizes;
use super::virtual_driver::VirtualDriver;
use super::{Driver, DriverConfig, Wiring};
use crate::error::Error;
use std::sync::Arc;

/// Done on the driver's realtime thread before its first callback, and again should the driver go
/// on with another thread: the place to ask for realtime priority. It may take its time and
/// allocate.
pub type ThreadSetup = Arc<dyn Fn() + Send + Sync>;

/// How a driver is opened, beyond its [`DriverConfig`].
#[derive(Clone, Default)]
pub struct DriverOptions {
    /// Of its realtime thread.
    pub setup: Option<ThreadSetup>,
    /// Whether to dither where the driver's samples have fewer bits than those to be played.
    pub dither: Dither,
    /// What its clock shall follow, by name. `None`: as it is set.
    pub clock_source: Option<String>,
    /// Inputs that the hardware shall lead to outputs, both from 0.
    pub monitor: Vec<(u32, u32)>,
    /// How it shows itself to JACK; the server is in the driver's name.
    pub jack: JackOptions,
    /// What a driver that was open before was like then. Where its user has changed something in
    /// the meantime, in its control panel say, that counts more than what is wanted.
    pub before: Option<Settings>,
}

/// How the program shows itself to JACK.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JackOptions {
    /// The name it asks for as a client.
    pub client: String,
    /// Whether it connects itself: as it was before, or else to the sound card.
    pub connect: bool,
    /// MIDI ports, in and out.
    pub midi: (u32, u32),
    /// More MIDI inputs, numbered after those: a word each, which is the port's name, and is in the
    /// names of what it connects itself to, now or as soon as that is there.
    pub midi_words: Vec<String>,
    /// The same for MIDI outputs.
    pub midi_out_words: Vec<String>,
    /// What its ports are connected to, where somebody has said so; `None`: as they were last.
    pub wiring: Option<Wiring>,
}

impl Default for JackOptions {
    fn default() -> Self {
        let (midi_words, midi_out_words) = (Vec::new(), Vec::new());
        let client = "sandrack".into();
        Self { client, connect: true, midi: (1, 1), midi_words, midi_out_words, wiring: None }
    }
}

/// Whether to dither samples that lose bits.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Dither {
    /// Triangular noise of one step: to 24 bits and fewer, and only of samples that lie between two
    /// steps. What fits is played to the bit.
    #[default]
    On,
    /// Samples are rounded.
    Off,
}

/// What the user of a driver sets in its control panel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// The buffer size it prefers, in frames.
    pub preferred: u32,
    /// The rate it runs at unless asked for another, in Hz.
    pub rate: u32,
}

/// The drivers of this machine. Opens none of them.
pub fn list() -> Vec<DeviceInfo> {
    let mut all = vec![virtual_driver()];
    all.extend(system::list());
    all
}

/// What a driver offers; `Err`: why it can't be used, and what to try. Opens it, which may take
/// seconds, and closes it.
///
/// # Errors
/// There is no such driver, or it can't be opened.
pub fn probe(name: &str) -> Result<DeviceInfo, Error> {
    let known = find(name)?;
    match known.details {
        Some(_) => Ok(known),
        None => system::probe(known),
    }
}

/// Opens a driver. What is really in force is [`Driver::config`]: it may have fewer channels than
/// wanted. 0 Hz or 0 frames: whatever the driver is set to.
///
/// # Errors
/// There is no such driver, it can't be opened (in use, not plugged in), or can't do what is wanted;
/// each says what to try.
pub fn open(
    name: &str,
    wanted: &DriverConfig,
    options: &DriverOptions,
) -> Result<Box<dyn Driver>, Error> {
    let known = find(name)?;
    match known.name.as_str() {
        VIRTUAL => {
            let mut driver = VirtualDriver::new(DriverConfig {
                rate: if wanted.rate == 0 { 48_000 } else { wanted.rate },
                frames: if wanted.frames == 0 { 256 } else { wanted.frames },
                ..wanted.clone()
            })?;
            if let Some(setup) = options.setup.clone() {
                driver = driver.with_thread_setup(move || setup());
            }
            Ok(Box::new(driver))
        }
        name => system::open(name, wanted, options),
    }
}

/// Opens a driver's control panel, and returns when it is closed or `end` says so.
///
/// # Errors
/// There is no such driver, it can't be opened, or has no control panel.
pub fn panel(name: &str, end: &dyn Fn() -> bool) -> Result<(), Error> {
    let known = find(name)?;
    match known.name.as_str() {
        VIRTUAL => Err(Error::Driver {
            driver: known.name,
            reason: "it has no control panel: what it does is set by --rate and --frames".into(),
        }),
        name => system::panel(name, end),
    }
}

const VIRTUAL: &str = "virtual";

fn virtual_driver() -> DeviceInfo {
    let most = |most| Channels { most, each: Vec::new() };
    DeviceInfo {
        name: VIRTUAL.into(),
        about: "built in; no sound, calls back like a sound card's driver does".into(),
        problem: None,
        details: Some(DeviceDetails {
            inputs: most(VirtualDriver::MAX_CHANNELS),
            outputs: most(VirtualDriver::MAX_CHANNELS),
            rates: Rates::Between(*VirtualDriver::RATES.start(), *VirtualDriver::RATES.end()),
            frames: Some(Sizes::any(
                *VirtualDriver::FRAMES.start(),
                *VirtualDriver::FRAMES.end(),
                256,
            )),
            latency: Some((0, 0)),
            midi_inputs: vec![VirtualDriver::MIDI_INPUT.into()],
            midi_outputs: vec![VirtualDriver::MIDI_OUTPUT.into()],
            ..DeviceDetails::default()
        }),
    }
}

/// The driver of this name; upper and lower case are the same where that is clear.
fn find(name: &str) -> Result<DeviceInfo, Error> {
    let mut all = list();
    let place = all.iter().position(|known| known.name == name).or_else(|| {
        let alike = |known: &DeviceInfo| known.name.eq_ignore_ascii_case(name);
        match all.iter().filter(|known| alike(known)).count() {
            1 => all.iter().position(alike),
            _ => None,
        }
    });
    if let Some(place) = place {
        return Ok(all.swap_remove(place));
    }
    // One of several servers, which can't be listed; another name of a driver.
    #[cfg(any(windows, target_os = "linux"))]
    if let Some(known) = system::named(name) {
        return Ok(known);
    }
    let names: Vec<String> = all.iter().map(|known| format!("'{}'", known.name)).collect();
    let more = system::advice(name).unwrap_or_default();
    Err(Error::Driver {
        driver: name.into(),
        reason: format!("there is no such driver; there is {}{more}", names.join(", ")),
    })
}

#[cfg(windows)]
use super::asio as system;
#[cfg(target_os = "linux")]
use super::jack::registered as system;

#[cfg(not(any(windows, target_os = "linux")))]
mod system {
    use super::{DeviceInfo, Driver, DriverConfig, DriverOptions, Error};

    pub(super) fn list() -> Vec<DeviceInfo> {
        Vec::new()
    }

    pub(super) fn probe(known: DeviceInfo) -> Result<DeviceInfo, Error> {
        Ok(known)
    }

    pub(super) fn open(
        name: &str,
        _wanted: &DriverConfig,
        _options: &DriverOptions,
    ) -> Result<Box<dyn Driver>, Error> {
        Err(Error::Driver { driver: name.into(), reason: "can't be opened on this system".into() })
    }

    pub(super) fn panel(name: &str, _end: &dyn Fn() -> bool) -> Result<(), Error> {
        Err(Error::Driver { driver: name.into(), reason: "it has no control panel".into() })
    }

    pub(super) fn advice(name: &str) -> Option<String> {
        name.starts_with("asio").then(|| " (ASIO drivers are there on Windows only)".to_owned())
    }
}
