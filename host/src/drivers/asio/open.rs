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
        let (inputs, outputs) = self.channels(object)?;
        self.set_clock(object)?;
        let own_rate = object.rate();
        let rate = self.set_rate(object, own_rate)?;
        // Only now: sizes may depend on the rate.
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
        let config = DriverConfig { rate, frames, inputs, outputs };
        let stream = self.buffers(object, &config, callbacks)?;
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
        if self.wanted.outputs > 0 && outputs == 0 && self.wanted.inputs == 0 {
            return Err(format!("it has no outputs: choose a device {}", self.in_panel()));
        }
        let most = planar::MOST as u32;
        Ok((self.wanted.inputs.min(inputs).min(most), self.wanted.outputs.min(outputs).min(most)))
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
            0 => [48_000, 44_100].into_iter().find(|r| object.can_rate(*r).is_ok()).unwrap_or(0),
            rate => rate,
        };
        if wanted == now && now > 0 {
            return Ok(now);
        }
        // To play on at its own rate is better than not to play on.
        let goes_on = self.options.before.is_some() && now > 0;
        if goes_on && object.can_rate(wanted).is_err() {
            return Ok(now);
        }
        let refused = |why: String| {
            let usual: Vec<String> =
                probe::usual_rates(object).iter().map(u32::to_string).collect();
            let can =
                if usual.is_empty() { "none that is usual".to_owned() } else { usual.join(", ") };
            format!(
                "{wanted} Hz is refused ({why}): it can do {can} (--rate); a clock that comes from \
                 outside has to have the same rate"
            )
        };
        match object.can_rate(wanted) {
            // It can't tell, or does not know the question.
            Err(refusal) if refusal.code != ResultCode::NO_CLOCK.0 => {}
            can => can.map_err(|refusal| refused(refusal.to_string()))?,
        }
        object.set_rate(wanted).map_err(|refusal| refused(refusal.to_string()))?;
        match object.rate() {
            // Some say nothing, or are a little off.
            0 => Ok(wanted),
            real if is_rate(real, wanted) => Ok(wanted),
            real => Err(refused(format!("it runs at {real} Hz all the same"))),
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
        let channels: Vec<(bool, u32)> =
            ins.chain((0..config.outputs).map(|number| (false, number))).collect();
        let layouts = channels.iter().map(|channel| layout(object, *channel));
        let layouts = layouts.collect::<Result<Vec<_>, _>>()?;
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
        let mut buffers = Vec::with_capacity(channels.len());
        for (((input, number), layout), halves) in channels.iter().zip(layouts).zip(made) {
            let noise = (!input && dither).then(|| Noise::new(*number));
            let Some(channel) = ChannelBuffers::new(layout, halves, noise) else {
                let _ = object.dispose_buffers();
                let what = if *input { "input" } else { "output" };
                return Err(format!(
                    "it has made no buffer for {what} {}: try another size (--frames)",
                    number + 1
                ));
            };
            buffers.push(channel);
        }
        let outputs = buffers.split_off(config.inputs as usize);
        let parts = Parts {
            inputs: buffers,
            outputs,
            setup: self.options.setup.clone(),
            apartment: self.apartment,
            driver: object.for_callback(),
            tell_ready: object.takes_output_ready(),
        };
        Ok(Stream::new(config, parts))
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
