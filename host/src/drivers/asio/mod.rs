//! ASIO: the drivers that makers of audio interfaces write for Windows.
//!
//! A driver is a COM object in a DLL. Sandrack speaks to it directly; nothing of Steinberg's SDK is
//! in here or needed. (ASIO is a trademark of Steinberg Media Technologies GmbH.) The layout of its
//! methods and structs comes from the crate `azo-sys`; what `azo` builds on it is not used, since it
//! panics at a name that does not end or a negative count, waits without end for a driver that
//! hangs, and leaves no way to call a driver from its own callback. docs/asio.md has more.
//!
//! # Threads
//! | thread | runs |
//! |---|---|
//! | control | [`AsioDriver`]: asks the apartment, waits with a time limit |
//! | `asio NAME`, one a driver ([`apartment`]) | all calls to the driver but one: most drivers need a single-threaded apartment with a message loop |
//! | the driver's own ([`slots`], [`stream`]) | the callback, and with it the engine; then `outputReady` |
//! | any | messages from the driver: kept as flags until [`Driver::take_events`](super::Driver) |
//!
//! # Lifecycle
//! `opened` (buffers made, a callback writes silence) → `playing` → `opened` → gone. A driver is
//! never called from within one of its own messages. Callbacks may come at any time, from inside
//! any call and on any thread: they find a stream or none, and never wait.

mod apartment;
mod by_hand;
mod driver;
mod installed;
mod object;
mod open;
mod probe;
mod slots;
mod stream;

pub(super) use driver::AsioDriver;

use super::registry::DriverOptions;
use super::{DeviceInfo, Driver, DriverConfig};
use crate::error::Error;

/// What the name of an ASIO driver begins with.
const PREFIX: &str = "asio:";

/// The installed drivers. Opens none.
pub(super) fn list() -> Vec<DeviceInfo> {
    installed::all().iter().map(installed::Installed::info).collect()
}

/// See [`super::probe`].
pub(super) fn probe(known: DeviceInfo) -> Result<DeviceInfo, Error> {
    let driver = usable(&known.name)?;
    let details = probe::probe(&driver)?;
    Ok(DeviceInfo { details: Some(details), ..known })
}

/// See [`super::open`].
pub(super) fn open(
    name: &str,
    wanted: &DriverConfig,
    options: &DriverOptions,
) -> Result<Box<dyn Driver>, Error> {
    Ok(Box::new(AsioDriver::open(&usable(name)?, wanted, options)?))
}

/// Opens a driver's control panel, and returns when it is closed, or `end` says so.
///
/// # Errors
/// There is no such driver, it can't be opened, or it has no panel.
pub(super) fn panel(name: &str, end: &dyn Fn() -> bool) -> Result<(), Error> {
    probe::panel(&usable(name)?, end)
}

/// What to add where no driver has this name.
pub(super) fn advice(name: &str) -> Option<String> {
    let is_asio = name.get(..4).is_some_and(|start| start.eq_ignore_ascii_case("asio"));
    (is_asio && installed::all().is_empty()).then(|| {
        ". No ASIO driver is installed: install the one that the maker of your audio interface \
         offers"
            .to_owned()
    })
}

/// The driver whose description is this: some programs show that and not the name.
pub(super) fn named(name: &str) -> Option<DeviceInfo> {
    let description = name.strip_prefix(PREFIX)?;
    let all = installed::all();
    all.iter().find(|driver| driver.is_described_as(description)).map(installed::Installed::info)
}

fn usable(name: &str) -> Result<installed::Installed, Error> {
    let found = installed::all().into_iter().find(|driver| driver.full_name() == name);
    let driver = found.ok_or_else(|| failed(name, "is not installed any more"))?;
    match driver.problem() {
        Some(problem) => Err(failed(name, &problem)),
        None => Ok(driver),
    }
}

/// An error of a driver of this full name.
fn failed(driver: &str, reason: &str) -> Error {
    Error::Driver { driver: driver.to_owned(), reason: reason.to_owned() }
}
