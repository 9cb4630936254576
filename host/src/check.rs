//! `check`: does a plugin keep its format's contract, and do we keep ours with it?
//!
//! Every plugin is put through the same paces, in workers of its own: loaded, played (audio,
//! notes, blocks of odd sizes, other rates), every parameter moved to its ends, its state saved
//! and given to a new instance. Nothing it does stops the others.

mod pictures;
mod player;
mod steps;
mod table;

pub use table::{markdown, text};

use sandrack_sandbox::confine::{Enforced, Refusal};
use sandrack_sandbox::format::{Format, PluginRef};
use sandrack_sandbox::supervisor::SupervisorOptions;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// What is checked, in this order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Step {
    /// It loads, describes itself and becomes active.
    Load,
    /// Audio goes through it, or notes make it sound.
    Audio,
    /// Blocks of every size up to the greatest.
    Sizes,
    /// 44.1, 96 and 192 kHz.
    Rates,
    /// Every parameter to its smallest, greatest and default value while it plays.
    Params,
    /// Values to texts and back.
    Texts,
    /// Values of parameters survive saving and loading into a new instance, and two instances with
    /// that state sound the same.
    State,
    /// Its editor opens, shows something, stays while audio goes on, closes, and opens again.
    Editor,
}

impl Step {
    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Load,
        Self::Audio,
        Self::Sizes,
        Self::Rates,
        Self::Params,
        Self::Texts,
        Self::State,
        Self::Editor,
    ];

    /// A word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Load => "load",
            Self::Audio => "audio",
            Self::Sizes => "sizes",
            Self::Rates => "rates",
            Self::Params => "params",
            Self::Texts => "texts",
            Self::State => "state",
            Self::Editor => "editor",
        }
    }
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "verdict", content = "why")]
pub enum Verdict {
    /// As it should.
    Good,
    /// It works, but something is odd.
    Odd(String),
    /// It does not work.
    Bad(String),
    /// The plugin has nothing of the kind, or an earlier step made it impossible.
    Absent(String),
}

/// A plugin's results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Checked {
    /// Its file and id.
    pub plugin: String,
    /// Its name.
    pub name: String,
    /// Who makes it.
    pub vendor: String,
    /// Its version.
    pub version: String,
    /// Its format.
    pub format: Format,
    /// `instrument`, `effect`, …
    pub kind: String,
    /// Channels of its input buses.
    pub inputs: Vec<u32>,
    /// Channels of its output buses.
    pub outputs: Vec<u32>,
    /// How many parameters it has.
    pub params: usize,
    /// Delay in frames, at 48 kHz.
    pub latency: u32,
    /// Run time of a block of 256 frames at 48 kHz, p50, us.
    pub run_us: Option<f64>,
    /// What confined it; `None`: it never came to that.
    #[serde(default)]
    pub confinement: Option<Enforced>,
    /// What it was refused, each once.
    #[serde(default)]
    pub refused: Vec<Refusal>,
    /// The steps.
    pub steps: Vec<(Step, Verdict)>,
}

impl Checked {
    /// Whether nothing is bad.
    pub fn passed(&self) -> bool {
        !self.steps.iter().any(|(_, verdict)| matches!(verdict, Verdict::Bad(_)))
    }
}

/// How to check.
#[derive(Clone, Debug)]
pub struct CheckOptions {
    /// Plugins checked at once.
    pub jobs: usize,
    /// How long a plugin may take for a block before it counts as hung.
    pub timeout: Duration,
    /// Whether editors are opened, if there is a display.
    pub editors: bool,
    /// The folder for a picture of each.
    pub pictures: Option<PathBuf>,
}

/// Checks plugins, several at once. The results come in the plugins' order; `progress` is told
/// each as it is there.
pub fn check(
    plugins: &[PluginRef],
    workers: &SupervisorOptions,
    options: &CheckOptions,
    progress: &(dyn Fn(&Checked) + Sync),
) -> Vec<Checked> {
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Checked)>> = Mutex::new(Vec::with_capacity(plugins.len()));
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(plugin) = plugins.get(at) else { return };
            let checked = steps::run(plugin, workers, options);
            progress(&checked);
            done.lock().unwrap_or_else(std::sync::PoisonError::into_inner).push((at, checked));
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..options.jobs.clamp(1, plugins.len().max(1)) {
            scope.spawn(work);
        }
    });
    let mut done = done.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, checked)| checked).collect()
}
