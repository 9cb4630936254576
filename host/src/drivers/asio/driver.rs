//! An open ASIO driver, as the rest of the host sees it.

use super::apartment::{Apartment, Inside};
use super::failed;
use super::object::is_rate;
use super::slots::Taken;
use crate::drivers::registry::Settings;
use crate::drivers::{Callback, DeviceDetails, Driver, DriverConfig, DriverEvent, clock};
use crate::error::Error;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Longest that a driver may take for a call, but for those that talk to its hardware.
pub(super) const SHORT: Duration = Duration::from_secs(5);
/// Longest for `init`, `createBuffers`, `start` and the like: some take six seconds to find that
/// their server does not run.
pub(super) const LONG: Duration = Duration::from_secs(20);
/// A driver that has not called back for so long has stopped, whatever it says.
const STANDSTILL_NS: u64 = 2_000_000_000;
/// Longest until the first callback after a start: some devices take their time to lock to a clock.
const FIRST_NS: u64 = 6_000_000_000;

/// An ASIO driver with its buffers made.
pub(crate) struct AsioDriver {
    pub(super) name: String,
    pub(super) config: DriverConfig,
    pub(super) settings: Settings,
    pub(super) details: DeviceDetails,
    pub(super) latency: (u32, u32),
    /// Hardware connections that were made, to be taken back.
    pub(super) monitor: Vec<(u32, u32)>,
    // In this order: whatever may be in the slot is gone before the driver is.
    pub(super) slot: Option<Taken>,
    pub(super) apartment: Arc<Apartment>,
    pub(super) playing: Option<Playing>,
    pub(super) panel_open: Arc<AtomicBool>,
    /// Resync, overload, latencies.
    pub(super) heard: [Heard; 3],
}

/// Since the last start.
#[derive(Default)]
pub(super) struct Playing {
    started_ns: u64,
    told_standstill: bool,
}

/// When something was heard of last that some drivers say in every block: that is passed on once a
/// second.
#[derive(Default)]
pub(super) struct Heard(Option<Instant>);

impl Heard {
    const PAUSE: Duration = Duration::from_secs(1);

    /// Whether it was said and is to be passed on now. What is not stays said.
    fn now(&mut self, said: &AtomicBool) -> bool {
        let is_due = self.0.is_none_or(|last| last.elapsed() >= Self::PAUSE);
        let now = is_due && said.swap(false, Ordering::Relaxed);
        if now {
            self.0 = Some(Instant::now());
        }
        now
    }
}

impl AsioDriver {
    fn failed(&self, reason: &str) -> Error {
        failed(&self.name, reason)
    }

    /// Asks the driver something on its thread.
    fn ask<T: Send + 'static>(
        &self,
        what: &'static str,
        limit: Duration,
        job: impl FnOnce(&super::object::Object) -> T + Send + 'static,
    ) -> Result<T, Error> {
        let result = self.apartment.call(what, limit, |inside| inside.object.as_ref().map(job));
        match result {
            Ok(Some(value)) => Ok(value),
            Ok(None) => Err(self.failed("it is not open any more: open it again")),
            Err(reason) => Err(self.failed(&reason)),
        }
    }

    fn slot(&self) -> Result<&'static super::slots::Slot, Error> {
        let slot = self.slot.as_ref().map(Taken::slot);
        slot.ok_or_else(|| self.failed("it is not open any more: open it again"))
    }

    /// Takes the callback out, after which it never runs. `None`: a callback has hung in there.
    fn take_callback(&self) -> Option<(Option<Box<dyn Callback>>, Option<String>)> {
        let mut stream = self.slot.as_ref()?.slot().stream()?;
        let stream = stream.as_mut()?;
        Some((stream.callback.take(), stream.panicked.take()))
    }
}

impl Driver for AsioDriver {
    fn name(&self) -> &str {
        &self.name
    }

    fn config(&self) -> &DriverConfig {
        &self.config
    }

    fn start(&mut self, callback: Box<dyn Callback>) -> Result<(), Error> {
        if self.playing.is_some() {
            return Err(self.failed("it is already started: stop it first"));
        }
        let slot = self.slot()?;
        slot.forget_counts();
        match slot.stream().as_deref_mut() {
            Some(Some(stream)) => stream.play(callback, &self.config),
            _ => return Err(self.failed("a callback of it hangs: open it again")),
        }
        // Before the call: some call back from inside of it.
        self.playing = Some(Playing { started_ns: clock::now_ns(), told_standstill: false });
        let started = self.ask("start", LONG, |object| object.start().map(|()| object.latency()));
        let reason = match started {
            Ok(Ok(latency)) => {
                // It may have taken long itself.
                let started_ns = clock::now_ns();
                self.playing = Some(Playing { started_ns, told_standstill: false });
                // Some know only now, and don't say so.
                if latency.is_some_and(|latency| latency != self.latency) {
                    slot.said.latency.store(true, Ordering::Relaxed);
                }
                return Ok(());
            }
            Ok(Err(refusal)) => format!(
                "it does not start ({refusal}): another program may be using it, or the device may \
                 be off; close the one, switch on the other, and try again"
            ),
            Err(error) => {
                self.playing = None;
                return Err(error);
            }
        };
        self.playing = None;
        drop(self.take_callback());
        Err(self.failed(&reason))
    }

    fn stop(&mut self) -> Result<Box<dyn Callback>, Error> {
        if self.playing.take().is_none() {
            return Err(self.failed("it is not started: start it before stopping it"));
        }
        // First, for some call back from inside `stop`, and some afterwards: they write silence.
        let Some((callback, panicked)) = self.take_callback() else {
            return Err(self.failed("a callback of it has not ended in two seconds"));
        };
        // One that can't stop (it is gone, or hangs) calls back in vain.
        let stopped = self.ask("stop", SHORT, |object| object.stop());
        if let Some(text) = panicked {
            return Err(self.failed(&format!(
                "stopped because its callback panicked ({text}): report this, it is a fault in the \
                 program"
            )));
        }
        match stopped {
            Ok(Err(refusal)) => tracing::debug!(driver = self.name, %refusal, "stop"),
            Err(error) => tracing::debug!(driver = self.name, %error, "stop"),
            Ok(Ok(())) => {}
        }
        callback.ok_or_else(|| self.failed("its callback was lost: report this"))
    }

    fn running(&self) -> bool {
        let Some(playing) = &self.playing else { return false };
        // Not by a look into the slot, which could meet a callback there.
        let panicked = |slot: &Taken| slot.slot().counts.panicked.load(Ordering::Relaxed);
        !playing.told_standstill
            && !self.apartment.hangs()
            && self.slot.as_ref().is_some_and(|slot| !panicked(slot))
    }

    fn blocks(&self) -> u64 {
        self.slot.as_ref().map_or(0, |slot| slot.slot().counts.blocks.load(Ordering::Relaxed))
    }

    fn xruns(&self) -> u64 {
        let counts = self.slot.as_ref().map(|slot| &slot.slot().counts);
        counts.map_or(0, |counts| {
            let xruns = counts.xruns.load(Ordering::Relaxed);
            xruns + counts.overlaps.load(Ordering::Relaxed)
        })
    }

    fn latency(&self) -> (u32, u32) {
        self.latency
    }

    fn take_events(&mut self) -> Vec<DriverEvent> {
        let mut events = Vec::new();
        let Ok(slot) = self.slot() else { return events };
        let said = &slot.said;
        let [resync, overload, latency] = &mut self.heard;
        if resync.now(&said.resync) {
            events.push(DriverEvent::Resync);
        }
        if overload.now(&said.overload) {
            events.push(DriverEvent::Overload);
        }
        // While its panel is open, its thread may be busy with it; what is set there counts once it
        // is closed.
        if self.panel_open.load(Ordering::Acquire) {
            return events;
        }
        if latency.now(&said.latency)
            && let Ok(latency) = self.ask("getLatencies", SHORT, |object| object.latency())
        {
            // Told even if it is the same: it was asked to be looked at.
            self.latency = latency.unwrap_or(self.latency);
            events.push(DriverEvent::LatencyChanged);
        }
        let rate = said.rate.swap(0, Ordering::Relaxed);
        // Many say so without a change, at each start.
        if rate > 0 && !is_rate(rate, self.config.rate) {
            events.push(DriverEvent::RateChanged(rate));
        }
        let frames = said.size.swap(0, Ordering::Relaxed);
        if frames > 0 && frames != self.config.frames {
            events.push(DriverEvent::BufferSizeChanged(frames));
        }
        if said.reset.swap(false, Ordering::Relaxed) {
            events.push(DriverEvent::ResetRequested);
        }
        self.watch(&mut events);
        events
    }

    fn details(&self) -> Option<&DeviceDetails> {
        Some(&self.details)
    }

    fn settings(&self) -> Option<Settings> {
        Some(self.settings)
    }

    fn open_panel(&mut self) -> Result<(), Error> {
        if self.panel_open.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        // Some come back when it is closed, others at once. Not waited for.
        let (open, name) = (Arc::clone(&self.panel_open), self.name.clone());
        self.apartment.post(move |inside| {
            if let Some(object) = &inside.object
                && let Err(refusal) = object.open_panel()
            {
                tracing::warn!(driver = name, %refusal, "no control panel");
            }
            open.store(false, Ordering::Release);
        });
        Ok(())
    }
}

impl AsioDriver {
    /// Whether it still calls.
    fn watch(&mut self, events: &mut Vec<DriverEvent>) {
        let Ok(slot) = self.slot() else { return };
        let Some(playing) = &mut self.playing else { return };
        let last = slot.counts.last_ns.load(Ordering::Relaxed);
        let patience = if last == 0 { FIRST_NS } else { STANDSTILL_NS };
        let last = last.max(playing.started_ns);
        let period_ns = u64::from(self.config.frames) * 1_000_000_000;
        let limit = patience.max(20 * period_ns / u64::from(self.config.rate.max(1)));
        let still = clock::now_ns().saturating_sub(last);
        if still > limit && !playing.told_standstill {
            playing.told_standstill = true;
            let seconds = still as f64 / 1e9;
            events.push(DriverEvent::Gone(format!("it has not called back for {seconds:.1} s")));
        }
    }
}

impl Drop for AsioDriver {
    fn drop(&mut self) {
        if self.playing.is_some() {
            let _ = self.stop();
        }
        // The buffers go with the stream, before the driver takes them away.
        let emptied = self.slot.as_ref().is_none_or(|slot| match slot.slot().stream() {
            Some(mut stream) => {
                drop(stream.take());
                true
            }
            None => false,
        });
        if emptied {
            let monitor = std::mem::take(&mut self.monitor);
            let let_go = move |inside: &mut Inside| {
                let Some(object) = inside.object.take() else { return };
                for (input, output) in monitor {
                    let _ = object.monitor(input, output, false);
                }
                let _ = object.dispose_buffers();
                drop(object);
            };
            match self.apartment.hangs() {
                false => drop(self.apartment.call("disposeBuffers", LONG, let_go)),
                // As soon as it comes back, if it ever does: from its control panel, say.
                true => self.apartment.post(let_go),
            }
        }
        if (!emptied || self.apartment.hangs())
            && let Some(slot) = self.slot.take()
        {
            slot.keep_forever();
        }
    }
}
