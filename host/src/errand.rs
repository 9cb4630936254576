//! What a plugin is asked for on a thread of its own: one that hangs must hold up nobody else.

use std::io;
use std::sync::mpsc::{self, TryRecvError};
use std::thread;

/// See the module. Dropping it forgets the answer; the thread ends when the plugin has answered, or
/// its worker is lost.
pub(crate) struct Errand<T> {
    answer: mpsc::Receiver<T>,
}

/// The thread ended without an answer.
#[derive(Debug)]
pub(crate) struct NoAnswer;

impl<T: Send + 'static> Errand<T> {
    /// `name`: the thread's.
    ///
    /// # Errors
    /// The system has no thread.
    pub(crate) fn start(name: &str, ask: impl FnOnce() -> T + Send + 'static) -> io::Result<Self> {
        const STACK: usize = 512 * 1024;
        let (sender, answer) = mpsc::sync_channel(1);
        let thread = thread::Builder::new().name(name.into()).stack_size(STACK);
        thread.spawn(move || {
            // Nobody may want to know any more.
            let _ = sender.send(ask());
        })?;
        Ok(Self { answer })
    }

    /// The answer, once; `None`: not yet.
    pub(crate) fn poll(&self) -> Option<Result<T, NoAnswer>> {
        match self.answer.try_recv() {
            Ok(answer) => Some(Ok(answer)),
            Err(TryRecvError::Empty) => None,
            Err(TryRecvError::Disconnected) => Some(Err(NoAnswer)),
        }
    }

    /// Waits for the answer.
    pub(crate) fn wait(self) -> Result<T, NoAnswer> {
        self.answer.recv().map_err(|_| NoAnswer)
    }
}
