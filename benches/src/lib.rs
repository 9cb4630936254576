//! What the benchmarks of this crate have in common.
//!
//! The crate holds the yardsticks that Sandrack's hop (the hand-off from one worker process to
//! the next) is measured against. They share no code with Sandrack. Linux only.
//!
//! | program | measures | run it |
//! |---|---|---|
//! | `floor` | the bare hand-off: N processes, each wakes the next by futex | `cargo run --release -p sandrack-benches --bin floor` |
//! | `jack_peer` | the same chain as N JACK clients | `cargo run --release -p sandrack-benches --features jack --bin jack_peer -- --pin` |
//!
//! Both print a table and, with `--json FILE`, the same figures for programs. Both start
//! themselves again as the processes of the chain; [`child`] sees to it that none outlives the
//! program, however it ends.

pub mod child;
pub mod os;
pub mod stats;
