//! The program `sandrack-ui`. Also a worker, when it is started as one.

#![deny(unsafe_code)]

use clap::Parser;
use eframe::egui::{ViewportBuilder, vec2};
use sandrack_host::play::{PlayOptions, Player, Source};
use sandrack_host::rig::demo::demo;
use sandrack_ui::Window;
use std::path::PathBuf;
use std::process::ExitCode;

// Aborts when realtime code (the engine's callback, a worker's audio thread) allocates or frees.
#[cfg(debug_assertions)]
#[global_allocator]
static GUARD: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

#[derive(Parser)]
#[command(name = "sandrack-ui", version, about = "Plays a rig of plugins, and shows it")]
struct Arguments {
    /// Rig file [default: a demo]
    rig: Option<PathBuf>,
    /// Audio driver [default: the rig's]
    #[arg(long)]
    driver: Option<String>,
    /// Buffer size in frames [default: the rig's]
    #[arg(long)]
    frames: Option<u32>,
    /// Frames per second [default: the rig's]
    #[arg(long)]
    rate: Option<u32>,
}

fn main() -> ExitCode {
    sandrack_host::run_if_worker();
    let filter = tracing_subscriber::EnvFilter::try_from_env("SANDRACK_LOG")
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("warn"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    match run(Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sandrack-ui: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<(), Box<dyn std::error::Error>> {
    let source = match arguments.rig {
        Some(path) => Source::File(path),
        None => Source::Rig(demo()?),
    };
    let options = PlayOptions {
        driver: arguments.driver,
        frames: arguments.frames,
        rate: arguments.rate,
        ..PlayOptions::new()?
    };
    let player = Player::open(source, options)?;
    let viewport = ViewportBuilder::default()
        .with_title("Sandrack")
        .with_inner_size(vec2(1280.0, 820.0))
        .with_min_inner_size(vec2(720.0, 480.0));
    let options = eframe::NativeOptions { viewport, ..Default::default() };
    eframe::run_native(
        "sandrack",
        options,
        Box::new(|creation| Ok(Box::new(Window::new(player, creation.storage)))),
    )
    .map_err(|error| {
        let hint = "is there a display? 'sandrack play' plays without a window";
        format!("no window: {error}; {hint}").into()
    })
}
