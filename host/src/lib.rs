//! Sandrack's host library (being laid out).
pub mod drivers;
pub mod error;
pub mod report;
pub mod wav;
