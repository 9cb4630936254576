//! Sizes of windows, and how they may be resized. The same on every system.

use serde::{Deserialize, Serialize};

/// A window's inside, in the screen's pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Size {
    /// Pixels.
    pub width: u32,
    /// Pixels.
    pub height: u32,
}

impl Size {
    /// Longest side of a window that is believed in.
    pub const MOST: u32 = 16_384;

    /// As near to it as a window can be.
    pub fn clamped(self) -> Self {
        let side = |length: u32| length.clamp(1, Self::MOST);
        Self { width: side(self.width), height: side(self.height) }
    }
}

/// How a user may resize a window.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resizing {
    /// Its width may change.
    pub horizontally: bool,
    /// Its height may change.
    pub vertically: bool,
    /// Width to height, to be kept.
    pub aspect: Option<(u32, u32)>,
}

impl Resizing {
    /// In both directions, freely.
    pub const FREE: Self = Self { horizontally: true, vertically: true, aspect: None };

    /// Whether any size but the present one is allowed.
    pub fn any(self) -> bool {
        self.horizontally || self.vertically
    }
}

/// A window of this process, for a plugin to put its editor in: on X11 the window's id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WindowId(pub u64);

/// What a window shows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Picture {
    /// Its size.
    pub size: Size,
    /// Red, green and blue of each pixel, a byte each, by rows from the top.
    pub rgb: Vec<u8>,
}

/// What happened to a window.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WindowEvent {
    /// Its user wants it closed.
    CloseAsked,
    /// It has this size now.
    Resized(Size),
    /// It does not exist any more, though nobody here closed it.
    Gone,
}
