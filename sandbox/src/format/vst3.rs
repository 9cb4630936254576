//! VST 3.

#![allow(dead_code, reason = "the loader comes next")]

mod buffers;
mod context;
mod events;
mod lent;
mod link;
mod midi;
mod notes;
mod processor;
mod queues;
