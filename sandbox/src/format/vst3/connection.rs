//! Component and controller tell each other things through the host, which stands between them:
//! each is connected to a proxy of the other.
//!
//! On the main thread a message is passed on at once. One sent from another thread, against the
//! rules, waits for the main thread; the message object is kept alive until then.
//!
//! # Safety
//! `unsafe` here is calls of connection points, which live as long as references to them, on the
//! main thread; and references made from addresses that the plugin gives, checked for null.
#![allow(unsafe_code)]

use super::shared::{Letter, MainCall, Shared};
use std::sync::{Arc, Mutex, PoisonError};
use vst3::Steinberg::Vst::{IConnectionPoint, IConnectionPointTrait, IMessage};
use vst3::Steinberg::{kInvalidArgument, kResultFalse, kResultOk, tresult};
use vst3::{Class, ComPtr, ComRef, ComWrapper, Interface};

/// Stands for the other side.
struct Proxy {
    shared: Arc<Shared>,
    /// `None` once disconnected.
    other: Mutex<Option<ComPtr<IConnectionPoint>>>,
}

impl Class for Proxy {
    type Interfaces = (IConnectionPoint,);
}

impl IConnectionPointTrait for Proxy {
    unsafe fn connect(&self, _other: *mut IConnectionPoint) -> tresult {
        kResultFalse
    }

    unsafe fn disconnect(&self, _other: *mut IConnectionPoint) -> tresult {
        kResultFalse
    }

    unsafe fn notify(&self, message: *mut IMessage) -> tresult {
        // SAFETY: a message or null.
        let Some(message) = (unsafe { ComRef::from_raw(message) }) else {
            return kInvalidArgument;
        };
        // Not locked during the call: it may send a message back.
        let other = self.other.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(other) = other else { return kResultFalse };
        self.shared.check(MainCall::Message);
        if self.shared.is_main_thread() {
            // SAFETY: see the file's text.
            return unsafe { other.notify(message.as_ptr()) };
        }
        match self.shared.post(Letter { to: other, message: message.to_com_ptr() }) {
            true => kResultOk,
            false => kResultFalse,
        }
    }
}

/// Component and controller, connected until it is dropped.
pub(super) struct Connection {
    sides: [(ComPtr<IConnectionPoint>, ComWrapper<Proxy>); 2],
}

impl Connection {
    /// `None`: not both of them want to be connected.
    pub(super) fn new<A: Interface, B: Interface>(
        component: &ComPtr<A>,
        controller: &ComPtr<B>,
        shared: &Arc<Shared>,
    ) -> Option<Self> {
        let points = [component.cast()?, controller.cast()?];
        let proxy = |other: &ComPtr<IConnectionPoint>| {
            let other = Mutex::new(Some(other.clone()));
            ComWrapper::new(Proxy { shared: Arc::clone(shared), other })
        };
        let [component, controller] = points;
        let proxies = [proxy(&controller), proxy(&component)];
        let [of_controller, of_component] = proxies;
        let sides = [(component, of_controller), (controller, of_component)];
        for (point, proxy) in &sides {
            // SAFETY: see the file's text.
            unsafe { point.connect(argument(proxy).as_ptr()) };
        }
        Some(Self { sides })
    }
}

fn argument(proxy: &ComWrapper<Proxy>) -> ComRef<'_, IConnectionPoint> {
    proxy.as_com_ref().expect("it is in its list of interfaces")
}

impl Drop for Connection {
    fn drop(&mut self) {
        for (point, proxy) in &self.sides {
            // SAFETY: see the file's text.
            unsafe { point.disconnect(argument(proxy).as_ptr()) };
            // Whoever still holds the proxy must not hold the other side.
            drop(proxy.other.lock().unwrap_or_else(PoisonError::into_inner).take());
        }
    }
}

/// Delivers what other threads have sent. Main thread.
pub(super) fn deliver(shared: &Shared) {
    // No more than there are now: a plugin may answer each with another.
    for _ in 0..1024 {
        let Some(letter) = shared.take_letter() else { return };
        // SAFETY: see the file's text.
        unsafe { letter.to.notify(letter.message.as_ptr()) };
    }
}
