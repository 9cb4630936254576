//! Sandrack's graph, its compiler and the block loop.
//!
//! This crate runs a graph of audio nodes inside a driver's callback, some of them on the
//! callback's own thread, others (isolated plugins) elsewhere, and measures every plugin in every
//! block. It knows nothing of processes, plugin formats, OS calls or files: what runs elsewhere is
//! behind one trait, [`Remote`](remote::Remote), whose other side is not its concern.
//!
//! # Lifecycle
//!
//! ```text
//! Graph --compile--> Compiled --into_plan--> Plan --swap--> runs --> retired --> dropped
//!   ^                   |  topology()          ^
//!   edited              +--> whoever wires remote nodes, and makes the `Remote`
//! ```
//!
//! A [`Graph`](graph::Graph) is edited at leisure. [`compile`](compile::compile) decides all that
//! can be decided beforehand: order, delay compensation, who reads whom, where every value lies.
//! A [`Plan`](plan::Plan) never changes its shape. To change the graph is to compile another plan
//! and to [`swap`](controller::Controller::swap) it in; what both plans share goes on without a
//! gap.
//!
//! # Threads
//!
//! | thread | owns | does |
//! |---|---|---|
//! | control (any number, one at a time) | [`Graph`](graph::Graph), [`Controller`] | edits, compiles, sends, reads records, drops retired plans |
//! | realtime (the driver's) | [`Engine`], the present [`Plan`](plan::Plan) | [`process`](engine::Engine::process): no allocation, lock, log, drop or system call but what `Remote` needs to wake and wait |
//!
//! The two share one queue of commands, four queues back (records, retired plans, plugins taken
//! out, what plugins tell), the meters' atomics and two counters; nothing else.
//!
//! # Where to look
//!
//! The block loop is `schedule`, what each of its steps does is `steps`, and what is heard in
//! place of a plugin that did not deliver is `fallback`.

#![forbid(unsafe_code)]

mod bits;
pub mod block;
pub mod compile;
pub mod controller;
mod delay;
pub mod engine;
pub mod event;
mod fallback;
pub mod graph;
pub mod mix;
pub mod nodes;
pub mod plan;
pub mod processor;
pub mod remote;
mod schedule;
mod steps;
mod taps;
pub mod timing;
mod transport;

pub use controller::{Controller, PluginEvent, QueueFull, SwapError, TakenOut};
pub use engine::{Engine, EngineConfig};
pub use schedule::Deadlines;
