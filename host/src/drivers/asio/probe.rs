//! Asks a driver what it offers, and opens its control panel.

use super::driver::{LONG, SHORT};
use super::installed::Installed;
use super::object::{Object, RATES};
use super::{failed, open};
use crate::drivers::samples::SampleLayout;
use crate::drivers::{Channel, Channels, DeviceDetails, Rates};
use crate::error::Error;
use std::time::Duration;

/// Opens it, asks, and closes it.
pub(super) fn probe(driver: &Installed) -> Result<DeviceDetails, Error> {
    let fail = |reason: String| failed(&driver.full_name(), &reason);
    let apartment = open::start(driver).map_err(fail)?;
    let details = apartment
        .call("getChannels", LONG, |inside| inside.object.as_ref().map(details))
        .map_err(fail)?
        .unwrap_or_default();
    match (details.inputs.most, details.outputs.most) {
        (0, 0) => Err(fail(format!(
            "it has no channels: choose a device in its control panel (sandrack devices --panel \
             \"{}\"), or switch it on",
            driver.full_name()
        ))),
        _ => Ok(details),
    }
}

/// Those of the usual rates that it says it can do, and that at which it runs.
pub(super) fn usual_rates(object: &Object) -> Vec<u32> {
    let now = object.rate();
    RATES.into_iter().filter(|rate| *rate == now || object.can_rate(*rate).is_ok()).collect()
}

/// What it says of itself.
pub(super) fn details(object: &Object) -> DeviceDetails {
    let (inputs, outputs) = object.channels().unwrap_or((0, 0));
    let mut notes = vec![format!("calls itself {}, version {}", object.name(), object.version())];
    let channels = |input: bool, most: u32| Channels {
        most,
        each: (0..most).map(|number| channel(object, input, number)).collect(),
    };
    let frames = match object.sizes() {
        Ok(Some(sizes)) => Some(sizes),
        Ok(None) => {
            notes.push("states no buffer size that makes sense".to_owned());
            None
        }
        Err(refusal) => {
            notes.push(format!("states no buffer sizes ({refusal})"));
            None
        }
    };
    DeviceDetails {
        inputs: channels(true, inputs),
        outputs: channels(false, outputs),
        rates: Rates::These { usual: usual_rates(object), now: object.rate() },
        frames,
        latency: object.latency(),
        clock_sources: object.clocks(),
        direct_monitoring: object.can_monitor(),
        control_panel: true,
        notes,
        ..DeviceDetails::default()
    }
}

fn channel(object: &Object, input: bool, number: u32) -> Channel {
    match object.channel(input, number) {
        Ok(raw) => Channel {
            name: match raw.name.as_str() {
                "" => (number + 1).to_string(),
                name => name.to_owned(),
            },
            group: raw.group,
            format: match SampleLayout::from_asio(raw.sample_type) {
                Some(layout) => layout.to_string(),
                None => format!("unknown ({})", raw.sample_type),
            },
        },
        Err(refusal) => Channel {
            name: (number + 1).to_string(),
            group: 0,
            format: format!("unknown ({refusal})"),
        },
    }
}

/// See [`super::panel`].
pub(super) fn panel(driver: &Installed, end: &dyn Fn() -> bool) -> Result<(), Error> {
    let fail = |reason: String| failed(&driver.full_name(), &reason);
    // A driver without its device often can still be set up: only whether it is there counts.
    let apartment = super::apartment::Apartment::start(&driver.name).map_err(fail)?;
    let class = driver.class();
    apartment
        .call("CoCreateInstance", LONG, move |inside| inside.make(&class))
        .and_then(|made| made)
        .map_err(fail)?;
    let _ = apartment.call("init", LONG, |inside| {
        inside.object.as_ref().map(|object| object.init(inside.window))
    });
    let (send, answer) = std::sync::mpsc::sync_channel(1);
    apartment.post(move |inside| {
        let result = inside.object.as_ref().map(Object::open_panel);
        let _ = send.send(result);
    });
    // Some come back when it is closed, others at once and leave a window behind.
    let mut done = false;
    while !end() {
        match answer.recv_timeout(Duration::from_millis(50)) {
            Ok(Some(Err(refusal))) => {
                return Err(fail(format!(
                    "its control panel does not open ({refusal}): look for a program of its maker"
                )));
            }
            Ok(_) => done = true,
            Err(_) => {}
        }
        if done {
            // The driver gets a moment to show its window.
            std::thread::sleep(Duration::from_millis(200));
            if !apartment.shows_windows() {
                break;
            }
        }
    }
    let _ = apartment.call("disposeBuffers", SHORT, |inside| drop(inside.object.take()));
    Ok(())
}
