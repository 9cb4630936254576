//! Sandrack's host library: drivers, sessions, benchmarks, rendering.
pub mod bench;
pub mod cli;
pub mod drivers;
pub mod error;
pub mod join;
pub mod measure;
pub mod plugins;
pub mod render;
pub mod report;
pub mod session;
pub mod wav;
