//! The host's main loop, as VST3 plugins on Linux use it: descriptors to watch, and timers.
//!
//! # Safety
//! `unsafe` here is calls of handlers that the plugin registered: each is referenced as long as it
//! is registered, and while it is called; they are called on the main thread.
#![allow(unsafe_code)]

use super::shared::Wake;
use crate::format::editor::{Readiness, Watched};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use vst3::Steinberg::Linux::{
    FileDescriptor, IEventHandler, IEventHandlerTrait, IRunLoopTrait, ITimerHandler,
    ITimerHandlerTrait, TimerInterval,
};
use vst3::Steinberg::{kInvalidArgument, kOutOfMemory, kResultOk, tresult};
use vst3::{ComPtr, ComRef};

/// Most descriptors, and most timers, of one plugin.
const MOST: usize = 256;
/// Faster than this no screen is redrawn, and hundreds of workers must stay quiet.
const SHORTEST: Duration = Duration::from_millis(10);
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// What one plugin has registered. Plugins use it from their main thread; others break that, so
/// that it is behind a lock, which is never held while a plugin runs.
pub(super) struct RunLoop {
    wake: Wake,
    registered: Mutex<Registered>,
}

#[derive(Default)]
struct Registered {
    events: Vec<(FileDescriptor, ComPtr<IEventHandler>)>,
    timers: Vec<Timer>,
}

struct Timer {
    handler: ComPtr<ITimerHandler>,
    period: Duration,
    next: Instant,
}

impl RunLoop {
    pub(super) fn new(wake: Wake) -> Arc<Self> {
        Arc::new(Self { wake, registered: Mutex::default() })
    }

    fn registered(&self) -> MutexGuard<'_, Registered> {
        self.registered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn add_watched(&self, all: &mut Vec<(Watched, Readiness)>) {
        let read = Readiness { read: true, ..Readiness::default() };
        let before = all.len();
        for &(descriptor, _) in &self.registered().events {
            // Some register one descriptor for several handlers.
            if !all[before..].iter().any(|(known, _)| *known == descriptor) {
                all.push((descriptor, read));
            }
        }
    }

    /// Tells the plugin. An error: it closed the descriptor without taking it back.
    pub(super) fn ready(&self, descriptor: Watched, ready: Readiness) -> Result<(), String> {
        let mut registered = self.registered();
        if ready.void {
            let before = registered.events.len();
            let gone: Vec<_> =
                registered.events.extract_if(.., |(known, _)| *known == descriptor).collect();
            let any = registered.events.len() < before;
            drop(registered);
            drop(gone);
            return match any {
                true => Err(format!("closed descriptor {descriptor} while it was registered")),
                false => Ok(()),
            };
        }
        let handlers: Vec<_> = registered
            .events
            .iter()
            .filter(|(known, _)| *known == descriptor)
            .map(|(_, handler)| handler.clone())
            .collect();
        drop(registered);
        for handler in handlers {
            // One handler may have taken back another.
            let is_there = |(known, one): &(FileDescriptor, ComPtr<IEventHandler>)| {
                *known == descriptor && one.as_ptr() == handler.as_ptr()
            };
            if self.registered().events.iter().any(is_there) {
                // SAFETY: see the file's text.
                unsafe { handler.onFDIsSet(descriptor) };
            }
        }
        Ok(())
    }

    /// Calls the timers whose time has come. When the next one's will.
    pub(super) fn run_timers(&self) -> Option<Instant> {
        let now = Instant::now();
        let mut due = Vec::new();
        for timer in self.registered().timers.iter_mut().filter(|timer| timer.next <= now) {
            // One that is late skips what it missed.
            timer.next = (timer.next + timer.period).max(now);
            due.push(timer.handler.clone());
        }
        for handler in due {
            let is_there = |timer: &Timer| timer.handler.as_ptr() == handler.as_ptr();
            if self.registered().timers.iter().any(is_there) {
                // SAFETY: see the file's text.
                unsafe { handler.onTimer() };
            }
        }
        self.registered().timers.iter().map(|timer| timer.next).min()
    }

    /// Forgets all that is registered: the plugin is about to end.
    pub(super) fn clear(&self) {
        // Not under the lock: what goes may call back.
        let all = std::mem::take(&mut *self.registered());
        drop(all);
    }
}

/// The interface. Objects that offer it pass their calls on to this.
impl IRunLoopTrait for RunLoop {
    unsafe fn registerEventHandler(
        &self,
        handler: *mut IEventHandler,
        descriptor: FileDescriptor,
    ) -> tresult {
        // SAFETY: the plugin gives a living object, or null.
        let Some(handler) = (unsafe { ComRef::from_raw(handler) }) else {
            return kInvalidArgument;
        };
        if descriptor < 0 {
            return kInvalidArgument;
        }
        let mut registered = self.registered();
        if registered.events.len() >= MOST {
            return kOutOfMemory;
        }
        registered.events.push((descriptor, handler.to_com_ptr()));
        drop(registered);
        (self.wake)();
        kResultOk
    }

    unsafe fn unregisterEventHandler(&self, handler: *mut IEventHandler) -> tresult {
        let is_it =
            |(_, one): &mut (FileDescriptor, ComPtr<IEventHandler>)| one.as_ptr() == handler;
        let gone: Vec<_> = self.registered().events.extract_if(.., is_it).collect();
        if gone.is_empty() { kInvalidArgument } else { kResultOk }
    }

    unsafe fn registerTimer(
        &self,
        handler: *mut ITimerHandler,
        milliseconds: TimerInterval,
    ) -> tresult {
        // SAFETY: the plugin gives a living object, or null.
        let Some(handler) = (unsafe { ComRef::from_raw(handler) }) else {
            return kInvalidArgument;
        };
        let period = Duration::from_millis(milliseconds).clamp(SHORTEST, LONGEST);
        let mut registered = self.registered();
        if registered.timers.len() >= MOST {
            return kOutOfMemory;
        }
        let next = Instant::now() + period;
        registered.timers.push(Timer { handler: handler.to_com_ptr(), period, next });
        drop(registered);
        (self.wake)();
        kResultOk
    }

    unsafe fn unregisterTimer(&self, handler: *mut ITimerHandler) -> tresult {
        let is_it = |timer: &mut Timer| timer.handler.as_ptr() == handler;
        let gone: Vec<_> = self.registered().timers.extract_if(.., is_it).collect();
        if gone.is_empty() { kInvalidArgument } else { kResultOk }
    }
}

/// Passes the calls of [`IRunLoopTrait`] on to a [`RunLoop`] in a field named `run_loop`.
macro_rules! pass_run_loop_on {
    ($object:ty) => {
        impl vst3::Steinberg::Linux::IRunLoopTrait for $object {
            unsafe fn registerEventHandler(
                &self,
                handler: *mut vst3::Steinberg::Linux::IEventHandler,
                descriptor: vst3::Steinberg::Linux::FileDescriptor,
            ) -> vst3::Steinberg::tresult {
                // SAFETY: the caller's promises are those of this call.
                unsafe { self.run_loop.registerEventHandler(handler, descriptor) }
            }
            unsafe fn unregisterEventHandler(
                &self,
                handler: *mut vst3::Steinberg::Linux::IEventHandler,
            ) -> vst3::Steinberg::tresult {
                // SAFETY: as above.
                unsafe { self.run_loop.unregisterEventHandler(handler) }
            }
            unsafe fn registerTimer(
                &self,
                handler: *mut vst3::Steinberg::Linux::ITimerHandler,
                milliseconds: vst3::Steinberg::Linux::TimerInterval,
            ) -> vst3::Steinberg::tresult {
                // SAFETY: as above.
                unsafe { self.run_loop.registerTimer(handler, milliseconds) }
            }
            unsafe fn unregisterTimer(
                &self,
                handler: *mut vst3::Steinberg::Linux::ITimerHandler,
            ) -> vst3::Steinberg::tresult {
                // SAFETY: as above.
                unsafe { self.run_loop.unregisterTimer(handler) }
            }
        }
    };
}
pub(super) use pass_run_loop_on;
