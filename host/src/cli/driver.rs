//! What the command line says of an audio driver.

use crate::drivers::{Dither, DriverOptions, ThreadSetup};
use crate::error::Error;

/// For those that have settings of their own.
#[derive(clap::Args)]
pub(super) struct DriverArguments {
    /// What the driver's clock shall follow, as 'sandrack devices' names it
    #[arg(long, value_name = "NAME")]
    clock_source: Option<String>,
    /// Let the hardware lead an input to an output, both from 1: direct monitoring
    #[arg(long, value_delimiter = ',', value_name = "IN:OUT,…")]
    monitor: Vec<String>,
    /// Round samples that the driver has too few bits for, without dither
    #[arg(long)]
    no_dither: bool,
}

impl DriverArguments {
    /// With what is to be done on the driver's thread.
    pub(super) fn options(&self, setup: ThreadSetup) -> Result<DriverOptions, Error> {
        Ok(DriverOptions {
            setup: Some(setup),
            dither: if self.no_dither { Dither::Off } else { Dither::On },
            clock_source: self.clock_source.clone(),
            monitor: self.monitor.iter().map(|word| channels(word)).collect::<Result<_, _>>()?,
            ..DriverOptions::default()
        })
    }
}

fn channels(word: &str) -> Result<(u32, u32), Error> {
    let number = |text: &str| text.parse::<u32>().ok()?.checked_sub(1);
    word.split_once(':')
        .and_then(|(input, output)| Some((number(input)?, number(output)?)))
        .ok_or_else(|| Error::Usage(format!("--monitor {word}: two channels from 1, as in 1:2")))
}
