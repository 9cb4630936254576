//! `sandrack devices`

use super::print;
use crate::drivers::virtual_driver::VirtualDriver;
use crate::error::Error;

pub(super) fn run() -> Result<(), Error> {
    let (rates, frames) = (VirtualDriver::RATES, VirtualDriver::FRAMES);
    print(&format!(
        "virtual   built in; no sound, calls back like an ASIO driver does\n\
         \x20         rate {}..={} Hz, buffer {}..={} frames, 0..={} channels each way\n",
        rates.start(),
        rates.end(),
        frames.start(),
        frames.end(),
        VirtualDriver::MAX_CHANNELS
    ));
    Ok(())
}
