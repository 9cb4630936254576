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

mod command;
mod view;

pub use command::Command;
pub use view::*;

use crate::error::Error;
use crate::rig::Rig;
use crate::session::RecoveryOptions;
use sandrack_sandbox::supervisor::SupervisorOptions;
use std::path::PathBuf;
use std::sync::Arc;

/// What is played.
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
            autosave: true,
        })
    }
}

/// A rig that plays. Dropping it ends it, as [`close`](Self::close) without asking how that went.
pub struct Player {}

impl Player {
    /// Loads a rig and plays it. Returns when its plugins are loaded, or have been found missing,
    /// and the driver runs, or has said why not: neither is an error here, the view tells.
    ///
    /// # Errors
    /// The rig's file can't be used; workers can't be started at all.
    pub fn open(_source: Source, _options: PlayOptions) -> Result<Self, Error> {
        Err(Error::Usage("not yet".into()))
    }

    /// Tells it something. Never waits. False: it has ended, or has thousands of commands to do.
    pub fn send(&self, _command: Command) -> bool {
        false
    }

    /// The newest picture. Never waits.
    pub fn view(&self) -> Arc<View> {
        Arc::default()
    }

    /// Lets the virtual driver, by hand, call back so often; then does what is due.
    ///
    /// # Errors
    /// The driver is not driven by hand; or as the driver says.
    pub fn run_blocks(&self, _blocks: u64) -> Result<(), Error> {
        Ok(())
    }

    /// Saves, fades out, ends the driver and all plugins.
    ///
    /// # Errors
    /// The rig could not be saved. All else has ended.
    pub fn close(self) -> Result<(), Error> {
        Ok(())
    }
}
