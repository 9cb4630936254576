//! JACK among the drivers: `jack`, or `jack:NAME` for the server of that name.

use super::{JackDriver, JackServer, look, problem};
use crate::drivers::{
    Channel, Channels, DeviceDetails, DeviceInfo, Driver, DriverConfig, DriverOptions, Rates,
    sizes::Sizes,
};
use crate::error::Error;

pub(in crate::drivers) fn list() -> Vec<DeviceInfo> {
    vec![info("jack")]
}

pub(in crate::drivers) fn named(name: &str) -> Option<DeviceInfo> {
    server(name)?.map(|_server| info(name))
}

/// The server in a driver's name; `None`: it is another driver.
fn server(name: &str) -> Option<Option<&str>> {
    let rest = name.strip_prefix("jack")?;
    if rest.is_empty() { Some(None) } else { rest.strip_prefix(':').map(Some) }
}

fn info(name: &str) -> DeviceInfo {
    DeviceInfo {
        name: name.into(),
        about: "the JACK server, or PipeWire in its place".into(),
        problem: problem(),
        details: None,
    }
}

pub(in crate::drivers) fn probe(mut known: DeviceInfo) -> Result<DeviceInfo, Error> {
    let JackServer { rate, frames, realtime, captures, playbacks, midi_sources, midi_sinks } =
        look(server(&known.name).flatten())?;
    let channels = |names: Vec<String>| Channels {
        most: names.len() as u32,
        each: names
            .into_iter()
            .map(|name| Channel { name, group: 0, format: "float32".into() })
            .collect(),
    };
    let class = if realtime { "gives" } else { "does not give" };
    known.details = Some(DeviceDetails {
        inputs: channels(captures),
        outputs: channels(playbacks),
        rates: Rates::These { usual: vec![rate], now: rate },
        frames: Some(Sizes::only(frames)),
        midi_inputs: midi_sources,
        midi_outputs: midi_sinks,
        notes: vec![format!("its server runs, and {class} its clients realtime priority")],
        ..DeviceDetails::default()
    });
    Ok(known)
}

pub(in crate::drivers) fn open(
    name: &str,
    wanted: &DriverConfig,
    options: &DriverOptions,
) -> Result<Box<dyn Driver>, Error> {
    let server = server(name).flatten();
    let driver = JackDriver::open(server, wanted, options)?;
    Ok(Box::new(driver))
}

pub(in crate::drivers) fn panel(name: &str, _end: &dyn Fn() -> bool) -> Result<(), Error> {
    Err(Error::Driver {
        driver: name.into(),
        reason: "it has no control panel: set the JACK server up where it is started".into(),
    })
}

pub(in crate::drivers) fn advice(name: &str) -> Option<String> {
    name.starts_with("asio").then(|| " (ASIO drivers are there on Windows only)".to_owned())
}
