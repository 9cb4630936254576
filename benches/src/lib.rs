//! What the benchmarks of this crate have in common.
//!
//! The yardsticks share no code with Sandrack:
//!
//! | program | measures |
//! |---|---|
//! | `floor` | the bare hand-off: N processes, each wakes the next by futex |
//! | `jack_peer` | the same chain as N JACK clients (`--features jack`) |
//!
//! The others run Sandrack's engine on the virtual driver, in turns with a yardstick or an empty
//! callback, and judge the ratio:
//!
//! | program | target |
//! |---|---|
//! | `hop` | a hop costs at most 1.4x the floor; with `--jack`, a third of JACK's |
//! | `tracks` | 100 tracks of 3 plugins: no more xruns than an empty callback, half the period |
//! | `capacity` | workers carry 0.75x the plugins that fit in-process |
//! | `workers` | a worker starts in 15 ms and has 6 MB of its own |
//!
//! ```text
//! cargo run --release -p sandrack-benches --bin hop
//! ```
//!
//! All print a table and, with `--json FILE`, the same figures for programs. Those that judge
//! exit with 1 when a target is missed; `--smoke` is a short run that judges nothing. All start
//! themselves again as the processes they need; none outlives the program, however it ends.
//! Linux only.

pub mod chain;
pub mod child;
pub mod os;
pub mod rig;
pub mod stats;
pub mod stolen;
pub mod verdict;
pub mod witness;
