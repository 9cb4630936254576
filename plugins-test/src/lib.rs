//! Plugins to test and measure hosts with: well-behaved ones, one that burns a known
//! amount of processor time, and (under `examples/`) hostile ones.
//!
//! # Loading
//!
//! One library holds all well-behaved plugins, as CLAP (`clap_entry`) and as VST3
//! (`GetPluginFactory`). Load it **by path**, as a user's plugin is loaded:
//! `target/<profile>/deps/libsandrack_plugins_test.so`, which is beside the test
//! executables and always current (`cargo build -p sandrack-plugins-test` also leaves a
//! copy in `target/<profile>/`). The rlib half of this crate exists only so that Cargo
//! builds the library along with a program that depends on it; such a program has no
//! need to `use` anything from here.
//!
//! The hostile plugins are libraries of their own, built by `cargo test --workspace` or
//! `cargo build -p sandrack-plugins-test --examples` (add the same profile flag; a test run
//! narrowed down by `--test` doesn't build them) to
//! `target/<profile>/examples/lib<name>.so`: `hostile` (its first page lists its
//! plugins), `layouts` (honest ones but for two) and `bad_entry_fails`, `bad_entry_hangs`, `bad_entry_aborts`,
//! `bad_entry_exits`, `no_factory`, `no_symbol`; as VST3 `hostile_vst3` (which has unusual but honest
//! plugins too), `bad_vst3_entry_*`, `no_vst3_factory`, `vst3_factory_aborts`.
//!
//! # The plugins
//!
//! CLAP ids are `org.sandrack.test.` and the name below. VST3 names are the CLAP names
//! ("Sandrack Test Gain").
//!
//! | name | ports | does | parameters (range, default) |
//! |---|---|---|---|
//! | `gain` | stereo in, out, or six channels if asked for | multiplies, from the very sample of a change | `gain` (0..1, 1) |
//! | `mono` | mono in, out | as `gain` | `gain` (0..1, 1) |
//! | `split` | stereo in, 3 stereo out | input x1, x0.5, x-1 | - |
//! | `delay` | stereo in, out | delays by exactly its reported latency | `delay` (0..8192 frames, 64) |
//! | `compressor` | stereo in + stereo side chain, stereo out | compresses by the louder of the two inputs | `threshold` (-60..0 dB, -20), `ratio` (1..20, 4), `attack` (0..200 ms, 5), `release` (0..2000 ms, 50) |
//! | `synth` | notes in, stereo out | 16 voices, sine-like | `attack` (0..5000 ms, 5), `release` (0..5000 ms, 50), `volume` (0..1, 0.25) |
//! | `events` | notes in, notes out, no audio | transposes upwards | `transpose` (0..24 semitones, 12) |
//! | `burn` | stereo in, out | passes through and burns time | `block` (0..10000 us, 0), `sample` (0..100000 ns, 0), `memory` (0..65536 KiB, 0) |
//!
//! # Addressing parameters
//!
//! A parameter's name is its string id as written above; [`param_id`] turns it into the
//! number that both formats use. Values differ by format:
//! - CLAP: `threshold` and `ratio` are normalized to 0..1, being
//!   `(plain - min) / (max - min)`. All others are as in the table: whole numbers are
//!   stepped, and `gain` and `volume` range over 0..1 anyway.
//! - VST3: always normalized, in the same way.
//!
//! # Threads
//!
//! | thread | runs |
//! |---|---|
//! | the host's main thread | everything but processing; all allocations; `burn`'s calibration |
//! | the host's audio thread | `process`, which doesn't allocate (see below), and `reset` |
//! | `bg-worker`, one per plugin type in use | nothing here: the framework starts it and it sleeps |
//!
//! `synth` and `events` take up to 8192 note events in one call; more would make the
//! framework allocate.

mod burn;
mod compressor;
mod delay;
mod events;
mod export;
mod gain;
mod mono;
mod split;
mod synth;
mod voice;
mod work;

pub use work::iterations_per_us;

/// The numeric id, in CLAP and VST3, of the parameter with string id `id`.
///
/// ```
/// assert_eq!(sandrack_plugins_test::param_id("gain"), 3_165_055);
/// ```
pub const fn param_id(id: &str) -> u32 {
    let bytes = id.as_bytes();
    let mut hash = 0u32;
    let mut i = 0;
    while i < bytes.len() {
        hash = hash.wrapping_mul(31).wrapping_add(bytes[i] as u32);
        i += 1;
    }
    // VST3 keeps the top bit for the host.
    hash & 0x7fff_ffff
}

/// The members of `impl Plugin` that are the same for all plugins here.
macro_rules! same_for_all {
    ($name:literal) => {
        const NAME: &'static str = concat!("Sandrack Test ", $name);
        const VENDOR: &'static str = "Sandrack";
        const URL: &'static str = "";
        const EMAIL: &'static str = "";
        const VERSION: &'static str = env!("CARGO_PKG_VERSION");

        type Editor = ();
        type SysExMessage = ();
        type BackgroundTask = ();

        fn params(&self) -> std::sync::Arc<dyn nice_plug::prelude::Params> {
            self.params.clone()
        }
    };
}
use same_for_all;

/// Implements both formats' traits for a plugin.
macro_rules! formats {
    ($plugin:ty, $id:literal, $vst3_id:literal, $about:literal, [$($clap:ident)*], [$($vst3:ident)*]) => {
        impl nice_plug::prelude::ClapPlugin for $plugin {
            const CLAP_ID: &'static str = concat!("org.sandrack.test.", $id);
            const CLAP_DESCRIPTION: Option<&'static str> = Some($about);
            const CLAP_MANUAL_URL: Option<&'static str> = None;
            const CLAP_SUPPORT_URL: Option<&'static str> = None;
            const CLAP_FEATURES: &'static [nice_plug::prelude::ClapFeature] =
                &[$(nice_plug::prelude::ClapFeature::$clap),*];
        }

        impl nice_plug::prelude::Vst3Plugin for $plugin {
            const VST3_CLASS_ID: [u8; 16] = *$vst3_id;
            const VST3_SUBCATEGORIES: &'static [nice_plug::prelude::Vst3SubCategory] =
                &[$(nice_plug::prelude::Vst3SubCategory::$vst3),*];
        }
    };
}
use formats;

/// One stereo bus each way.
const STEREO: nice_plug::prelude::AudioIOLayout = nice_plug::prelude::AudioIOLayout {
    main_input_channels: std::num::NonZeroU32::new(2),
    main_output_channels: std::num::NonZeroU32::new(2),
    ..nice_plug::prelude::AudioIOLayout::const_default()
};
