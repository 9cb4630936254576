//! A driver that is gone is opened again, and its settings are shown: both may take seconds or minutes,
//! in which the control thread goes on.

use super::{Opened, VIRTUAL};
use crate::drivers::{self, Driver};
use crate::error::Error;
use crate::play::control::Control;
use crate::play::view::MessageKind;
use std::thread::JoinHandle;
use std::time::Instant;

/// A driver that is opened again, on a thread of its own: it may take seconds to find that its device
/// is not there.
pub(super) struct Opening {
    pub(super) thread: JoinHandle<Result<Box<dyn Driver>, Error>>,
    /// The words that it was given to make ports for.
    words: (Vec<String>, Vec<String>),
}

impl Control {
    /// Looks whether a driver that is gone is back. As long as it is not, the engine stays as it is.
    pub(super) fn open_again(&mut self) {
        self.sound.again = None;
        let settings = self.settings.clone();
        if settings.name == VIRTUAL {
            let opened = self.open_driver(&settings);
            return self.is_back(opened);
        }
        let thread = std::thread::Builder::new().name("open driver".into());
        match thread.spawn(self.opener(&settings)) {
            Ok(thread) => {
                self.sound.opening = Some(Opening { thread, words: self.words_for_driver() });
            }
            Err(error) => self.sound_failed(&format!("no thread to open the driver: {error}")),
        }
    }

    /// Whether it was, as soon as that is known.
    pub(super) fn hear_opening(&mut self) {
        let is_known = |opening: &mut Opening| opening.thread.is_finished();
        let Some(opening) = self.sound.opening.take_if(is_known) else { return };
        let panicked =
            |_| Err(Error::Plan { reason: "opening the driver panicked: report this".into() });
        let opened = opening.thread.join().unwrap_or_else(panicked);
        if opening.words != self.words_for_driver() {
            // Other ports are wanted by now.
            drop(opened);
            return self.open_again();
        }
        self.is_back(opened.map(Opened::Other));
    }

    fn is_back(&mut self, opened: Result<Opened, Error>) {
        if let Err(error) = opened {
            return self.sound_failed(&error.to_string());
        }
        self.callback = None;
        if let Err(error) = self.play_through(opened) {
            self.sound_failed(&error.to_string());
        }
        self.tell_how_it_plays("the driver is back");
    }

    /// Opens the driver's own settings: also of one that can't be opened as it is set.
    pub(in crate::play) fn driver_panel(&mut self) {
        let name = self.settings.name.clone();
        let error = match &mut self.sound.driver {
            Some(driver) => driver.get_mut().open_panel().err().map(|error| error.to_string()),
            None if self.sound.panel.is_some() => None,
            None => {
                let opening = self.sound.opening.take();
                // When the panel is closed.
                self.sound.again = Some(Instant::now());
                let panel = move || {
                    // It can't be opened twice at once.
                    if let Some(opening) = opening {
                        drop(opening.thread.join());
                    }
                    drivers::panel(&name, &|| false)
                };
                match std::thread::Builder::new().name("driver panel".into()).spawn(panel) {
                    Ok(thread) => {
                        self.sound.panel = Some(thread);
                        None
                    }
                    Err(error) => Some(format!("no thread for the driver's settings: {error}")),
                }
            }
        };
        if let Some(text) = error {
            self.tell(MessageKind::Note, None, text);
        }
    }

    /// Whether the settings of a driver that is not open are still shown.
    pub(super) fn shows_panel(&mut self) -> bool {
        let is_closed = |panel: &mut JoinHandle<_>| panel.is_finished();
        if let Some(panel) = self.sound.panel.take_if(is_closed)
            && let Ok(Err(error)) = panel.join()
        {
            self.tell(MessageKind::Note, None, error.to_string());
        }
        self.sound.panel.is_some()
    }
}
