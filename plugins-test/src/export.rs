//! The library's entry points: `clap_entry`, `GetPluginFactory`, `ModuleEntry` and the
//! like. The order is the order in which factories list the plugins.

use nice_plug::prelude::*;

use crate::burn::Burn;
use crate::compressor::Compressor;
use crate::delay::Delay;
use crate::events::Events;
use crate::gain::Gain;
use crate::mono::Mono;
use crate::split::Split;
use crate::synth::Synth;

nice_export_clap!(Gain, Mono, Split, Delay, Compressor, Synth, Events, Burn);
nice_export_vst3!(Gain, Mono, Split, Delay, Compressor, Synth, Events, Burn);
