//! A rig that plays: sessions, driver and files behind one handle, for programs that show and
//! change it.
//!
//! ```no_run
//! # use sandrack_host::{play::*, rig::demo::demo};
//! let player = Player::open(Source::Rig(demo()?), PlayOptions::new()?)?;
//! player.send(Command::NoteOn { track: "keys".into(), key: 60, velocity: 0.8 });
//! for track in &player.view().tracks {
//!     println!("{}: {:.1} dB", track.name, track.gain_db);
//! }
//! player.close()?;
//! # Ok::<(), sandrack_host::error::Error>(())
//! ```
//!
//! # Threads
//! | thread | runs |
//! |---|---|
//! | any | [`Player::send`], [`Player::view`]: neither waits for anything |
//! | `player`, the control thread | everything else: it owns supervisor, session, driver and file |
//! | the driver's | the engine |

mod actions;
mod cables;
mod command;
mod control;
mod edit;
mod history;
mod learning;
mod mixing;
mod notes;
mod picture;
mod saver;
mod slots;
mod snapshots;
mod sound;
mod statistics;
mod texts;
mod view;

pub use command::Command;
pub use sandrack_engine::graph::NodeId;
pub use sandrack_sandbox::confine::Level;
pub use sandrack_sandbox::format::{Format, PluginRef, Preset};
pub use view::*;

use crate::error::Error;
use crate::rig::{Rig, RigFile, States};
use crate::session::RecoveryOptions;
use control::{Control, Order};
use sandrack_sandbox::supervisor::SupervisorOptions;
use saver::Saver;
use std::path::PathBuf;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

/// What is played.
#[expect(clippy::large_enum_variant, reason = "there is one, for a moment")]
#[derive(Clone, Debug)]
pub enum Source {
    /// A rig's file, saved to by and by.
    File(PathBuf),
    /// A rig without a file: it is not saved until it is told where.
    Rig(Rig),
}

/// How a rig is played.
#[derive(Clone, Debug)]
pub struct PlayOptions {
    /// How workers are started.
    pub supervisor: SupervisorOptions,
    /// When plugins are taken for lost, and what is done then.
    pub recovery: RecoveryOptions,
    /// Another driver than the rig's.
    pub driver: Option<String>,
    /// Another buffer size than the rig's, frames.
    pub frames: Option<u32>,
    /// Another rate than the rig's, Hz.
    pub rate: Option<u32>,
    /// How the virtual driver keeps time.
    pub pace: Pace,
    /// WAV file that the virtual driver plays in.
    pub input: Option<PathBuf>,
    /// WAV file that the virtual driver records its outputs to.
    pub record: Option<PathBuf>,
    /// File that gets a line of JSON for each fault, restart and refusal.
    pub fault_log: Option<PathBuf>,
    /// Whether changes are saved to the rig's file by themselves.
    pub autosave: bool,
}

/// How the virtual driver keeps time. (Others keep their own.)
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Pace {
    /// A callback a period.
    #[default]
    OnTime,
    /// One after the other.
    Free,
    /// Only in [`Player::run_blocks`].
    ByHand,
}

impl PlayOptions {
    /// As the rig says, saved by itself.
    ///
    /// # Errors
    /// This program's file can't be found, to start workers from.
    pub fn new() -> Result<Self, Error> {
        Ok(Self {
            supervisor: SupervisorOptions::new()?,
            recovery: RecoveryOptions::default(),
            driver: None,
            frames: None,
            rate: None,
            pace: Pace::default(),
            input: None,
            record: None,
            fault_log: None,
            autosave: true,
        })
    }
}

/// A rig that plays. Dropping it ends it, as [`close`](Self::close) without asking how that went.
pub struct Player {
    orders: Option<SyncSender<Order>>,
    view: Arc<Mutex<Arc<View>>>,
    thread: Option<JoinHandle<()>>,
}

/// Commands that wait to be done.
const ORDERS: usize = 4096;

impl Player {
    /// Loads a rig and plays it. Returns when its plugins are loaded, or have been found missing,
    /// and the driver runs, or has said why not: neither is an error here, the view tells.
    ///
    /// # Errors
    /// The rig's file can't be used; workers can't be started at all.
    pub fn open(source: Source, options: PlayOptions) -> Result<Self, Error> {
        let player = Self::begin(source, options)?;
        player.1.recv().map_err(|_| ended())?;
        Ok(player.0)
    }

    /// The same without waiting for plugins: the view shows how far they are.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn open_at_once(source: Source, options: PlayOptions) -> Result<Self, Error> {
        Ok(Self::begin(source, options)?.0)
    }

    fn begin(source: Source, options: PlayOptions) -> Result<(Self, Receiver<()>), Error> {
        let (file, rig, states) = match source {
            Source::File(path) => {
                let (file, rig, states) = RigFile::open(&path)?;
                (Some(file), rig, states)
            }
            Source::Rig(rig) => {
                rig.makes_sense().map_err(Error::Usage)?;
                (None, rig, States::default())
            }
        };
        let view = Arc::<Mutex<Arc<View>>>::default();
        let (orders, receiver) = mpsc::sync_channel(ORDERS);
        let (ready, waits) = mpsc::sync_channel(1);
        let (begun, result) = mpsc::sync_channel(1);
        let shared = Arc::clone(&view);
        // Everything is made on the thread it stays on.
        let work = move || {
            let saved = file.is_some().then(|| rig.clone());
            let made = Saver::start(file, saved)
                .and_then(|saver| Control::new(rig, states, saver, options, shared));
            match made {
                Ok(mut control) => {
                    control.publish();
                    let _ = begun.send(Ok(()));
                    control.run(&receiver, ready);
                }
                Err(error) => {
                    let _ = begun.send(Err(error));
                }
            }
        };
        let thread = std::thread::Builder::new()
            .name("player".into())
            .spawn(work)
            .map_err(|source| Error::File { path: "a thread".into(), source })?;
        result.recv().map_err(|_| ended())??;
        let (orders, thread) = (Some(orders), Some(thread));
        Ok((Self { orders, view, thread }, waits))
    }

    /// Tells it something. Never waits. False: it has ended, or has thousands of commands to do.
    pub fn send(&self, command: Command) -> bool {
        let order = Order::Command(command);
        self.orders.as_ref().is_some_and(|orders| orders.try_send(order).is_ok())
    }

    /// The newest picture. Never waits.
    pub fn view(&self) -> Arc<View> {
        Arc::clone(&self.view.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Lets the virtual driver, by hand, call back so often; then does what is due.
    ///
    /// # Errors
    /// The driver is not driven by hand; or as the driver says.
    pub fn run_blocks(&self, blocks: u64) -> Result<(), Error> {
        self.ask(|done| Order::RunBlocks(blocks, done))
    }

    fn ask(&self, order: impl FnOnce(SyncSender<Result<(), Error>>) -> Order) -> Result<(), Error> {
        let (done, result) = mpsc::sync_channel(1);
        let orders = self.orders.as_ref().ok_or_else(ended)?;
        orders.send(order(done)).map_err(|_| ended())?;
        result.recv().map_err(|_| ended())?
    }

    /// Saves, fades out, ends the driver and all plugins.
    ///
    /// # Errors
    /// The rig could not be saved. All else has ended.
    pub fn close(mut self) -> Result<(), Error> {
        let result = self.ask(Order::Close);
        self.end();
        result
    }

    fn end(&mut self) {
        drop(self.orders.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Drop for Player {
    fn drop(&mut self) {
        self.end();
    }
}

fn ended() -> Error {
    Error::Plan { reason: "the player has ended: report this, it is a fault in the program".into() }
}
