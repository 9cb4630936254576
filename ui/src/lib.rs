//! The window of Sandrack: draws pictures of a playing rig, and says what is to change.
//!
//! | part | for |
//! |---|---|
//! | [`App`] | the whole window's contents: draws a [`View`](sandrack_host::play::View), gives back [`Command`](sandrack_host::play::Command)s |
//! | [`Window`] | the same in a window of the desktop, with a [`Player`](sandrack_host::play::Player) behind it |
//!
//! # Threads
//! Everything runs on the window's thread, which waits for nobody: sound comes from the player's
//! threads and goes on when this one stalls.

#![deny(unsafe_code)]

mod app;
mod browser;
mod capacity;
mod deadline;
mod faults;
mod help;
mod keyboard;
mod look;
mod midi;
mod params;
mod pedals;
mod plugin;
mod rack;
mod settings;
mod snapshots;
mod strip;
mod top;
mod window;

pub use app::App;
pub use look::{Bottom, Look, Side};
pub use window::Window;
