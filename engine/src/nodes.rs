//! The nodes that the engine brings along. (Input, output and sum are nothing but the block
//! loop's own copying and mixing.)

mod delay;
mod gain;
mod meter;
mod pan;
mod smooth;

pub use gain::PARAM_GAIN;
pub use meter::{Level, MeterCell};
pub use pan::PARAM_PAN;

pub(crate) use delay::Delay;
pub(crate) use gain::Gain;
pub(crate) use meter::Meter;
pub(crate) use pan::Pan;

use crate::processor::Processor;

/// The state of one node of a plan.
pub(crate) enum LocalNode {
    /// Nothing of its own: input, output, sum, and what runs elsewhere.
    None,
    Gain(Gain),
    Pan(Pan),
    Meter(Meter),
    Delay(Delay),
    /// `None`: to be taken over from the plan before.
    Plugin(Option<Box<dyn Processor>>),
}

impl LocalNode {
    pub(crate) fn processor(&mut self) -> Option<&mut dyn Processor> {
        match self {
            Self::None => None,
            Self::Gain(gain) => Some(gain),
            Self::Pan(pan) => Some(pan),
            Self::Meter(meter) => Some(meter),
            Self::Delay(delay) => Some(delay),
            Self::Plugin(plugin) => plugin.as_mut().map(|p| p.as_mut() as &mut dyn Processor),
        }
    }

    pub(crate) fn is_plugin(&self) -> bool {
        matches!(self, Self::Plugin(Some(_)))
    }

    /// Whether it is a plugin without processor.
    pub(crate) fn is_absent(&self) -> bool {
        matches!(self, Self::Plugin(None))
    }

    /// A plugin's processor; from then on there is none.
    pub(crate) fn take_plugin(&mut self) -> Option<Box<dyn Processor>> {
        match self {
            Self::Plugin(plugin) => plugin.take(),
            _ => None,
        }
    }

    /// Takes over from the same node in the plan before. What is left in `old` is retired.
    pub(crate) fn take_over(&mut self, old: &mut Self) {
        match (self, old) {
            (Self::Gain(new), Self::Gain(old)) => new.0.take_over(&old.0),
            (Self::Pan(new), Self::Pan(old)) => new.take_over(old),
            (Self::Meter(new), Self::Meter(old)) => new.take_over(old),
            (Self::Delay(new), Self::Delay(old)) => new.take_over(old),
            (Self::Plugin(new @ None), Self::Plugin(old)) => *new = old.take(),
            _ => {}
        }
    }
}
