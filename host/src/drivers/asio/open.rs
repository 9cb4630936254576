//! Opens an ASIO driver: every step may be refused, each refusal says what to try.

use super::apartment::{Apartment, Inside};
use super::driver::{AsioDriver, LONG};
use super::installed::Installed;
use super::object::{Object, is_rate};
use super::slots::Taken;
use super::stream::{ChannelBuffers, Parts, Stream};
use super::{failed, probe};
use crate::drivers::registry::{Dither, DriverOptions, Settings};
use crate::drivers::samples::{Noise, SampleLayout};
use crate::drivers::{DeviceDetails, DriverConfig, planar};
use crate::error::Error;
use azo_sys::ResultCode;
use std::sync::Arc;
use std::time::{Duration, Instant};
use windows_sys::Win32::Foundation::HWND;

/// What comes back from the driver's thread.
struct Opened {
    config: DriverConfig,
    settings: Settings,
    details: DeviceDetails,
    latency: (u32, u32),
    stream: Stream,
}

impl AsioDriver {
    /// Opens it; see [`super::open`].
    pub(super) fn open(
        driver: &Installed,
        wanted: &DriverConfig,
        options: &DriverOptions,
    ) -> Result<Self, Error> {
        let name = driver.full_name();
        let fail = |reason: String| failed(&name, &reason);
        let slot = Taken::take().ok_or_else(|| {
            fail("as many ASIO drivers are open as can be: close another one".to_owned())
        })?;
        let apartment = Arc::new(start(driver).map_err(fail)?);
        let order = Order {
            wanted: wanted.clone(),
            options: options.clone(),
            name: name.clone(),
            apartment: apartment.thread_id(),
        };
        let callbacks = slot.callbacks();
        let opened =
            apartment.call("createBuffers", LONG, move |inside| order.prepare(inside, callbacks));
        let opened = match opened {
            Ok(Ok(opened)) => opened,
            Ok(Err(reason)) => return Err(fail(reason)),
            Err(reason) => {
                slot.keep_forever();
                return Err(fail(reason));
            }
        };
        let Opened { config, settings, details, latency, stream } = opened;
        match slot.slot().stream() {
            Some(mut place) => *place = Some(stream),
            None => return Err(fail("a callback of it hangs: open it again".to_owned())),
        }
        Ok(Self {
            name,
            config,
            settings,
            details,
            latency,
            monitor: options.monitor.clone(),
            slot: Some(slot),
            apartment,
            playing: None,
            panel_open: Arc::default(),
            heard: Default::default(),
        })
    }
}

/// The driver's thread, with the driver made and initialised.
pub(super) fn start(driver: &Installed) -> Result<Apartment, String> {
    let apartment = Apartment::start(&driver.name)?;
    let class = driver.class();
    apartment.call("CoCreateInstance", LONG, move |inside| inside.make(&class))??;
    apartment.call("init", LONG, |inside| {
        let Inside { object, window } = inside;
        let object = object.as_ref().ok_or("it is gone")?;
        init(object, *window)
    })??;
    Ok(apartment)
}

fn init(object: &Object, window: HWND) -> Result<(), String> {
    object.init(window).map_err(|words| {
        let said = match words.as_str() {
            "" => "without saying why".to_owned(),
            words => format!("saying \"{words}\""),
        };
        format!(
            "it can't be used now, {said}: plug in the device and switch it on, and close other \
             programs that use it"
        )
    })
}

/// What is to be opened, on its way to the driver's thread.
struct Order {
    wanted: DriverConfig,
    options: DriverOptions,
    name: String,
    apartment: u32,
}

impl Order {
    fn prepare(
        self,
        inside: &mut Inside,
        callbacks: &'static azo_sys::Callbacks,
    ) -> Result<Opened, String> {
        let object = inside.object.as_mut().ok_or("it is gone")?;
        self.set_clock(object)?;
        let own_rate = object.rate();
        let rate = self.set_rate(object, own_rate)?;
        // Only now: what there is may depend on the rate.
        let (inputs, outputs) = self.channels(object)?;
        let details = probe::details(object);
        let sizes = details
            .frames
            .clone()
            .ok_or_else(|| format!("it states no buffer size: choose one {}", self.in_panel()))?;
        let settings = Settings { preferred: sizes.preferred, rate: own_rate };
        let frames = match (self.wanted.frames, self.options.before) {
            (0, _) => sizes.preferred,
            // Its user has chosen another one since.
            (_, Some(before)) if before.preferred != sizes.preferred => sizes.preferred,
            (frames, Some(_)) if !sizes.allows(frames) => sizes.preferred,
            (frames, _) => frames,
        };
        if !sizes.allows(frames) {
            return Err(format!(
                "buffers of {frames} frames are none that it can do: choose one of {} (--frames), \
                 or set others {}",
                sizes.words(),
                self.in_panel()
            ));
        }
        let mut config = DriverConfig { rate, frames, inputs, outputs };
        let stream = match self.buffers(object, &config, callbacks) {
            // To play on at its own size is better than not to play on.
            Err(_) if self.options.before.is_some() && frames != sizes.preferred => {
                config.frames = sizes.preferred;
                self.buffers(object, &config, callbacks)
            }
            made => made,
        }?;
        for (at, (input, output)) in self.options.monitor.iter().enumerate() {
            if let Err(refusal) = object.monitor(*input, *output, true) {
                for (input, output) in &self.options.monitor[..at] {
                    let _ = object.monitor(*input, *output, false);
                }
                let _ = object.dispose_buffers();
                return Err(format!(
                    "it can't lead input {} to output {} in the hardware ({refusal}): leave out \
                     --monitor",
                    input + 1,
                    output + 1
                ));
            }
        }
        let latency = object.latency().unwrap_or((0, 0));
        Ok(Opened { config, settings, details, latency, stream })
    }

    fn in_panel(&self) -> String {
        format!("in its control panel (sandrack devices --panel \"{}\")", self.name)
    }

    /// How many there are, of those that are wanted.
    fn channels(&self, object: &Object) -> Result<(u32, u32), String> {
        let (inputs, outputs) = object.channels().map_err(|refusal| {
            format!("it does not tell its channels ({refusal}): is the device switched on?")
        })?;
        if (inputs, outputs) == (0, 0) {
            return Err(format!(
                "it has no channels: choose a device {}, or switch it on",
                self.in_panel()
            ));
        }
        let most = planar::MOST as u32;
        let wanted = &self.wanted;
        match (wanted.inputs.min(inputs).min(most), wanted.outputs.min(outputs).min(most)) {
            // Drivers don't run without a channel.
            (0, 0) if wanted.inputs == 0 && wanted.outputs == 0 => {
                Ok((inputs.min(1), outputs.min(1)))
            }
            (0, 0) => {
                let what = if outputs == 0 { "outputs" } else { "inputs" };
                Err(format!("it has no {what}: choose a device {}", self.in_panel()))
            }
            some => Ok(some),
        }
    }

    fn set_clock(&self, object: &Object) -> Result<(), String> {
        let Some(wanted) = &self.options.clock_source else { return Ok(()) };
        let clocks = object.clocks();
        let found = clocks.iter().find(|clock| clock.name.eq_ignore_ascii_case(wanted));
        let Some(clock) = found else {
            let names: Vec<String> = clocks.iter().map(|c| format!("'{}'", c.name)).collect();
            let there = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
            return Err(format!("it has no clock source '{wanted}'; there is {there}"));
        };
        if clock.current {
            return Ok(());
        }
        object.set_clock(clock.index).map_err(|refusal| {
            format!("its clock can't follow '{wanted}' ({refusal}): is something connected there?")
        })
    }

    /// Sees to it that the driver runs at the wanted rate.
    fn set_rate(&self, object: &Object, now: u32) -> Result<u32, String> {
        let changed = self.options.before.is_some_and(|before| before.rate != now);
        let wanted = match self.wanted.rate {
            _ if changed && now > 0 => now,
            0 if now > 0 => now,
            // It has none yet: one of the two that everything can do.
            0 => {
                [48_000, 44_100].into_iter().find(|r| object.can_rate(*r).is_ok()).unwrap_or(48_000)
            }
            rate => rate,
        };
        if wanted == now {
            return Ok(now);
        }
        match try_rate(object, wanted, now) {
            Ok(()) => Ok(wanted),
            // To play on at its own rate is better than not to play on.
            Err(_) if self.options.before.is_some() && object.rate() > 0 => Ok(object.rate()),
            Err(why) => {
                let usual: Vec<String> =
                    probe::usual_rates(object).iter().map(u32::to_string).collect();
                let can = match &usual[..] {
                    [] => "none that is usual".to_owned(),
                    usual => usual.join(", "),
                };
                Err(format!(
                    "{wanted} Hz is refused ({why}): it can do {can} (--rate); a clock that comes \
                     from outside has to have the same rate"
                ))
            }
        }
    }

    /// Has the buffers made.
    fn buffers(
        &self,
        object: &mut Object,
        config: &DriverConfig,
        callbacks: &'static azo_sys::Callbacks,
    ) -> Result<Stream, String> {
        let ins = (0..config.inputs).map(|number| (true, number));
        let wanted = ins.chain((0..config.outputs).map(|number| (false, number)));
        let described: Vec<_> = wanted.map(|channel| (channel, layout(object, channel))).collect();
        let is_known = |(_, layout): &&(_, Result<_, _>)| layout.is_ok();
        let channels: Vec<(bool, u32)> =
            described.iter().filter(is_known).map(|(channel, _)| *channel).collect();
        let mut unknown = described.iter().filter_map(|(_, layout)| layout.as_ref().err());
        if channels.is_empty() {
            return Err(unknown.next().cloned().unwrap_or_default());
        }
        // One that the driver itself does not know is silent, and no reason not to play the others.
        for why in unknown {
            tracing::warn!(driver = self.name, "left out: {why}");
        }
        let made = object.create_buffers(&channels, config.frames, callbacks);
        let made = made.map_err(|refusal| {
            format!(
                "it refuses buffers of {} frames for {} inputs and {} outputs ({refusal}): another \
                 program may be using it; try the size it prefers (--frames 0), or set one {}",
                config.frames,
                config.inputs,
                config.outputs,
                self.in_panel()
            )
        })?;
        let dither = self.options.dither == Dither::On;
        let (mut inputs, mut outputs) = (Vec::new(), Vec::new());
        let mut made = made.into_iter();
        for ((input, number), before) in described {
            let place = if input { &mut inputs } else { &mut outputs };
            let Ok(before) = before else {
                place.push(None);
                continue;
            };
            // Some are certain of it only once there are buffers.
            let layout = layout(object, (input, number)).unwrap_or(before);
            let noise = (!input && dither).then(|| Noise::new(number));
            let halves = made.next().unwrap_or([std::ptr::null_mut(); 2]);
            let Some(channel) = ChannelBuffers::new(layout, halves, noise) else {
                let _ = object.dispose_buffers();
                let what = if input { "input" } else { "output" };
                return Err(format!(
                    "it has made no buffer for {what} {}: try another size (--frames)",
                    number + 1
                ));
            };
            place.push(Some(channel));
        }
        let parts = Parts {
            inputs,
            outputs,
            setup: self.options.setup.clone(),
            apartment: self.apartment,
            driver: object.for_callback(),
            tell_ready: object.takes_output_ready(),
        };
        Ok(Stream::new(config, parts))
    }
}

/// Has a driver run at another rate than now. `Err`: why it does not.
fn try_rate(object: &Object, wanted: u32, now: u32) -> Result<(), String> {
    if let Err(refusal) = object.can_rate(wanted) {
        // One that says no to the rate at which it runs can't tell; nor one that does not know the
        // question.
        let can_tell = refusal.code == ResultCode::NO_CLOCK.0;
        if can_tell && (now == 0 || object.can_rate(now).is_ok()) {
            return Err(refusal.to_string());
        }
    }
    object.set_rate(wanted).map_err(|refusal| refusal.to_string())?;
    // Some need a moment to switch, in which they still tell the old one.
    let end = Instant::now() + Duration::from_secs(1);
    loop {
        match object.rate() {
            // Some say nothing, or are a little off.
            0 => return Ok(()),
            real if is_rate(real, wanted) => return Ok(()),
            real if Instant::now() > end => {
                return Err(format!("it runs at {real} Hz all the same"));
            }
            _ => std::thread::sleep(Duration::from_millis(20)),
        }
    }
}

fn layout(object: &Object, (input, number): (bool, u32)) -> Result<SampleLayout, String> {
    let what = if input { "input" } else { "output" };
    let channel = object
        .channel(input, number)
        .map_err(|refusal| format!("it does not describe {what} {} ({refusal})", number + 1))?;
    SampleLayout::from_asio(channel.sample_type).ok_or_else(|| {
        format!(
            "{what} {} has samples of a kind that is not known here ({}; 32 to 40 are DSD): set it \
             to PCM in its control panel",
            number + 1,
            channel.sample_type
        )
    })
}
