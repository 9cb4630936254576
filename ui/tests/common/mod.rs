//! What the tests of the window share.

#![allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]

pub mod raster;
pub mod rigs;
