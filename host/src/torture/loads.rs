//! Plugins that strike while they are loaded, activated, saved or let go: in workers beside the rig's,
//! on a thread of their own.

use super::kinds::Kind;
use super::random::Random;
use crate::error::Error;
use sandrack_sandbox::format::{PluginRef, StateContext};
use sandrack_sandbox::protocol::Activation;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

/// What hangs is given up after so long.
const TIMEOUT: Duration = Duration::from_millis(500);
/// Plugins that strike when they have been loaded do so before that.
const MOMENT: Duration = Duration::from_millis(40);
/// Between two, on average.
const PAUSE: Duration = Duration::from_millis(400);

/// The thread. Ends with this value.
pub(super) struct Loads {
    stop: Arc<AtomicBool>,
    struck: mpsc::Receiver<&'static str>,
    thread: Option<JoinHandle<()>>,
}

impl Loads {
    /// Begins to strike. `plugin` finds the plugin of a kind, of either format.
    pub(super) fn start(
        options: &SupervisorOptions,
        kinds: Vec<Kind>,
        plugin: impl Fn(usize, &str) -> PluginRef + Send + 'static,
        seed: u64,
    ) -> Result<Self, Error> {
        let options = SupervisorOptions { timeout: TIMEOUT, ..options.clone() };
        let supervisor = Supervisor::new(options)?;
        let stop = Arc::<AtomicBool>::default();
        let (sender, struck) = mpsc::channel();
        let stopped = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("load attacks".into())
            .spawn(move || {
                let mut random = Random::new(seed);
                while !stopped.load(Relaxed) && !kinds.is_empty() {
                    let kind = kinds[random.below(kinds.len())].name;
                    let plugin = plugin(random.below(2), kind);
                    if sender.send(kind).is_err() {
                        return;
                    }
                    // That it goes wrong is the point; that it ends is what counts.
                    if let Err(error) = whole_life(&supervisor, &plugin) {
                        tracing::debug!(%error, "as expected");
                    }
                    std::thread::sleep(random.pause(PAUSE));
                }
            })
            .map_err(|e| Error::Usage(format!("no thread for load attacks: {e}")))?;
        Ok(Self { stop, struck, thread: Some(thread) })
    }

    /// No more, once the present one is over.
    pub(super) fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// The kinds that have struck since the last call.
    pub(super) fn struck(&self) -> impl Iterator<Item = &'static str> {
        self.struck.try_iter()
    }
}

impl Drop for Loads {
    fn drop(&mut self) {
        self.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Everything that a plugin is asked outside of blocks.
fn whole_life(
    supervisor: &Supervisor,
    plugin: &PluginRef,
) -> Result<(), sandrack_sandbox::error::Error> {
    let worker = supervisor.start_worker(&plugin.to_string(), None)?;
    let mut node = worker.load(plugin)?;
    // What it does a moment afterwards, too.
    std::thread::sleep(MOMENT);
    node.activate(Activation::new(48_000.0, 256))?;
    let state = node.save_state(StateContext::Project)?;
    node.load_state(state, StateContext::Project)?;
    node.deactivate()?;
    drop(node);
    worker.quit();
    Ok(())
}
