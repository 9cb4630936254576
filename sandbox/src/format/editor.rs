//! A plugin's editor: what a format has to do to put one into a window, or to let it float.

use crate::error::PluginError;
pub use crate::sys::poll::{Readiness, Watched};
pub use crate::sys::shape::{Picture, Resizing, Size, WindowId};
use serde::{Deserialize, Serialize};

/// How an editor is to be opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EditorOptions {
    /// How much larger than at 96 dots per inch; `None`: as the desktop says.
    pub scale: Option<f64>,
    /// The window's title.
    pub title: String,
    /// Whether pictures of it will be wanted: it is drawn as a whole then, whatever covers it.
    pub pictured: bool,
}

/// An editor that has been opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EditorInfo {
    /// The window's inside; `None`: the plugin has a window of its own, of which it tells nothing.
    pub size: Option<Size>,
    /// Whether its user can resize it.
    pub resizable: bool,
}

/// Whose window an editor is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// The host's: it is to be [attached](Editor::attach) to one.
    Embedded,
    /// Its own.
    Floating,
}

/// What an editor asks of the host, or tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EditorRequest {
    /// Its window is to have this size. It knows.
    Resize(Size),
    /// How it can be resized has changed.
    ResizingChanged,
    /// It is to be shown.
    Show,
    /// It is to be hidden.
    Hide,
    /// Its window was closed, or lost. It can be destroyed, and no more.
    Closed,
}

/// An editor, on the plugin's main thread.
///
/// ```text
/// create ─ size, resizing ─ attach (unless it floats) ─ show ─ set_size, hide, show … ─ destroy
/// ```
pub trait Editor {
    /// Makes it, invisible. `scale`: how much larger than at 96 dots per inch.
    fn create(&mut self, scale: f64, title: &str) -> Result<Placement, PluginError>;

    /// Its present size; `None`: it does not tell.
    fn size(&mut self) -> Option<Size>;

    /// How its user may resize it.
    fn resizing(&mut self) -> Resizing;

    /// The size nearest to `wanted` that it can have.
    fn adjust(&mut self, wanted: Size) -> Size;

    /// Its window has this size now, one that [`adjust`](Self::adjust) gave. False: it keeps its
    /// own.
    fn set_size(&mut self, size: Size) -> bool;

    /// Puts it into a window, which must outlive it.
    fn attach(&mut self, window: WindowId) -> Result<(), PluginError>;

    /// Shows it.
    fn show(&mut self) -> Result<(), PluginError>;

    /// Hides it.
    fn hide(&mut self);

    /// Ends it; does nothing if there is none.
    fn destroy(&mut self);

    /// What it has asked for, oldest first.
    fn take_request(&mut self) -> Option<EditorRequest>;
}
