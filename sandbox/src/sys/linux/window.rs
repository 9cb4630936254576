//! Windows on X11 (Wayland's sessions have it too), spoken by `x11rb`: no library of the system is
//! needed.
//!
//! A plugin makes its editor a child of such a window, over a connection of its own. Most need no
//! more than that; those written for XEmbed (VSTGUI's) are told that they have been embedded.

use super::poll::Watched;
use crate::sys::shape::{Picture, Resizing, Size, WindowEvent, WindowId};
use std::ffi::CStr;
use std::fmt::Display as Shown;
use std::io;
use std::os::fd::AsRawFd;
use std::sync::OnceLock;
use x11rb::connection::Connection;
use x11rb::properties::{AspectRatio, WmSizeHints, WmSizeHintsSpecification};
use x11rb::protocol::Event;
use x11rb::protocol::composite::{ConnectionExt as _, Redirect};
use x11rb::protocol::xproto::{
    AtomEnum, ChangeWindowAttributesAux, ClientMessageEvent, ConfigureWindowAux, ConnectionExt,
    CreateWindowAux, EventMask, ImageFormat, PropMode, StackMode, Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;
use x11rb::wrapper::ConnectionExt as _;

x11rb::atom_manager! {
    Atoms: AtomsCookie {
        UTF8_STRING,
        WM_PROTOCOLS,
        WM_DELETE_WINDOW,
        _NET_WM_NAME,
        _NET_WM_PID,
        _NET_WM_PING,
        _XEMBED,
        _XEMBED_INFO,
    }
}

/// Names that window managers make known. Where none runs, plugins (JUCE's) look for them in vain, use
/// what they did not find, and end their process by the server's error.
const USUAL: [&str; 12] = [
    "WM_CHANGE_STATE",
    "WM_STATE",
    "WM_TAKE_FOCUS",
    "_MOTIF_WM_HINTS",
    "_NET_FRAME_EXTENTS",
    "_NET_WM_ALLOWED_ACTIONS",
    "_NET_WM_STATE",
    "_NET_WM_STATE_FULLSCREEN",
    "_NET_WM_STATE_HIDDEN",
    "_NET_WM_WINDOW_TYPE",
    "_NET_WM_WINDOW_TYPE_COMBO",
    "_NET_WM_WINDOW_TYPE_NORMAL",
];

/// What VST3 calls windows of this kind.
pub const VST3_TYPE: &CStr = c"X11EmbedWindowID";

/// Messages of the XEmbed protocol, and the bit of a client that wants to be mapped.
const XEMBED_EMBEDDED_NOTIFY: u32 = 0;
const XEMBED_WINDOW_ACTIVATE: u32 = 1;
const XEMBED_WINDOW_DEACTIVATE: u32 = 2;
const XEMBED_FOCUS_IN: u32 = 4;
const XEMBED_FOCUS_OUT: u32 = 5;
const XEMBED_MAPPED: u32 = 1;

/// Most pixels of a picture: 16 MB a message.
const MOST_PIXELS: u32 = 4096 * 1024;

/// A connection to the display. One thread.
pub struct Display {
    connection: RustConnection,
    root: Window,
    atoms: Atoms,
}

/// The connection by which [`USUAL`] names stay known: a server forgets them with its last client.
static KEEPS_NAMES: OnceLock<Option<RustConnection>> = OnceLock::new();

/// Sees to what plugins expect of a display from the moment they are loaded. Does nothing where
/// there is none on this machine. Any thread.
pub fn prepare() {
    KEEPS_NAMES.get_or_init(|| {
        let name = std::env::var("DISPLAY").ok()?;
        let number = name.strip_prefix(':')?.split('.').next()?;
        // Others would be looked up in the network, and nothing waits for that here.
        std::fs::exists(format!("/tmp/.X11-unix/X{number}")).ok().filter(|is_there| *is_there)?;
        let (connection, _) = x11rb::connect(None).ok()?;
        make_known(&connection);
        Atoms::new(&connection).ok()?.reply().ok()?;
        Some(connection)
    });
}

/// Makes the usual names known to the server. What fails then fails again where it matters.
fn make_known(connection: &RustConnection) {
    for cookie in USUAL.map(|name| connection.intern_atom(false, name.as_bytes())) {
        let _ = cookie.map(|cookie| cookie.reply());
    }
}

fn failed(what: impl Shown) -> io::Error {
    io::Error::other(what.to_string())
}

impl Display {
    /// Connects to the display that the environment names.
    ///
    /// # Errors
    /// There is none. The text says what to do.
    pub fn open() -> io::Result<Self> {
        let name = std::env::var("DISPLAY").unwrap_or_default();
        if name.is_empty() {
            return Err(failed(
                "there is no display for its window: DISPLAY is not set (start it in a graphical \
                 session; one of Wayland needs XWayland)",
            ));
        }
        let (connection, screen) = x11rb::connect(None)
            .map_err(|e| failed(format!("display '{name}' can't be reached: {e}")))?;
        let root = connection.setup().roots[screen].root;
        make_known(&connection);
        let atoms = Atoms::new(&connection).map_err(failed)?.reply().map_err(failed)?;
        Ok(Self { connection, root, atoms })
    }

    /// What to watch, for reading, to know when to ask for [`next_event`](Self::next_event); `None`:
    /// the thread's waits see to it by themselves.
    pub fn watched(&self) -> Option<Watched> {
        Some(self.connection.stream().as_raw_fd())
    }

    /// How much larger than usual its user wants everything: 1 is 96 dots per inch.
    pub fn scale(&self) -> f64 {
        let resources = self
            .connection
            .get_property(
                false,
                self.root,
                AtomEnum::RESOURCE_MANAGER,
                AtomEnum::STRING,
                0,
                1 << 16,
            )
            .ok()
            .and_then(|cookie| cookie.reply().ok());
        let dpi = resources.and_then(|reply| font_dpi(&String::from_utf8_lossy(&reply.value)));
        let gdk = || std::env::var("GDK_SCALE").ok()?.trim().parse::<f64>().ok();
        let scale = dpi.map(|dpi| dpi / 96.0).or_else(gdk).unwrap_or(1.0);
        if (0.25..=8.0).contains(&scale) { scale } else { 1.0 }
    }

    /// Makes a window, which is not shown yet.
    pub fn create(&self, title: &str, size: Size, resizing: Resizing) -> io::Result<WindowId> {
        let connection = &self.connection;
        let (width, height) = sides(size);
        let window = connection.generate_id().map_err(failed)?;
        let events =
            EventMask::STRUCTURE_NOTIFY | EventMask::SUBSTRUCTURE_NOTIFY | EventMask::FOCUS_CHANGE;
        let values = CreateWindowAux::new().background_pixel(0).event_mask(events);
        let (inherit, class) = (x11rb::COPY_FROM_PARENT, WindowClass::INPUT_OUTPUT);
        connection
            .create_window(0, window, self.root, 0, 0, width, height, 0, class, inherit, &values)
            .map_err(failed)?
            .check()
            .map_err(failed)?;
        self.describe(window, title).map_err(failed)?;
        self.set_resizing(WindowId(window.into()), size, resizing)?;
        Ok(WindowId(window.into()))
    }

    fn describe(&self, window: Window, title: &str) -> Result<(), x11rb::errors::ConnectionError> {
        let (connection, atoms, string) = (&self.connection, &self.atoms, AtomEnum::STRING);
        let replace = PropMode::REPLACE;
        let title: String = title.chars().filter(|c| !c.is_control()).take(200).collect::<String>();
        let protocols = [atoms.WM_DELETE_WINDOW, atoms._NET_WM_PING];
        connection.change_property32(
            replace,
            window,
            atoms.WM_PROTOCOLS,
            AtomEnum::ATOM,
            &protocols,
        )?;
        connection.change_property8(
            replace,
            window,
            AtomEnum::WM_NAME,
            string,
            title.as_bytes(),
        )?;
        connection.change_property8(
            replace,
            window,
            atoms._NET_WM_NAME,
            atoms.UTF8_STRING,
            title.as_bytes(),
        )?;
        let class = b"sandrack\0Sandrack\0";
        connection.change_property8(replace, window, AtomEnum::WM_CLASS, string, class)?;
        // With these two a window manager can offer to end a process whose editor hangs: this
        // worker, and nothing else.
        let machine = rustix::system::uname().nodename().to_bytes().to_owned();
        connection.change_property8(
            replace,
            window,
            AtomEnum::WM_CLIENT_MACHINE,
            string,
            &machine,
        )?;
        let id = [std::process::id()];
        connection.change_property32(
            replace,
            window,
            atoms._NET_WM_PID,
            AtomEnum::CARDINAL,
            &id,
        )?;
        Ok(())
    }

    /// Says how a window of this size may be resized.
    pub fn set_resizing(&self, window: WindowId, size: Size, resizing: Resizing) -> io::Result<()> {
        let side = |length: u32, free: bool, otherwise: u32| {
            (if free { otherwise } else { length.clamp(1, Size::MOST) }) as i32
        };
        let limit = |otherwise| {
            let width = side(size.width, resizing.horizontally, otherwise);
            (width, side(size.height, resizing.vertically, otherwise))
        };
        let aspect = resizing.aspect.filter(|_| resizing.any()).and_then(|(width, height)| {
            let ratio = AspectRatio::new(width.try_into().ok()?, height.try_into().ok()?);
            Some((ratio, ratio))
        });
        let hints = WmSizeHints {
            size: Some((
                WmSizeHintsSpecification::ProgramSpecified,
                side(size.width, false, 0),
                side(size.height, false, 0),
            )),
            min_size: Some(limit(32)),
            max_size: Some(limit(Size::MOST)),
            aspect,
            ..WmSizeHints::new()
        };
        hints.set_normal_hints(&self.connection, id(window)).map_err(failed)?;
        self.flush()
    }

    /// Shows a window, in front of others.
    pub fn show(&self, window: WindowId) -> io::Result<()> {
        let front = ConfigureWindowAux::new().stack_mode(StackMode::ABOVE);
        self.connection.map_window(id(window)).map_err(failed)?;
        self.connection.configure_window(id(window), &front).map_err(failed)?;
        self.flush()
    }

    /// Hides a window.
    pub fn hide(&self, window: WindowId) -> io::Result<()> {
        self.connection.unmap_window(id(window)).map_err(failed)?;
        self.flush()
    }

    /// Asks for another size. An event tells what became of it.
    pub fn resize(&self, window: WindowId, size: Size) -> io::Result<()> {
        let (width, height) = sides(size);
        let values = ConfigureWindowAux::new().width(u32::from(width)).height(u32::from(height));
        self.connection.configure_window(id(window), &values).map_err(failed)?;
        self.flush()
    }

    /// Has a window drawn as a whole, also where others cover it.
    pub fn draw_whole(&self, window: WindowId) -> io::Result<()> {
        let version = self.connection.composite_query_version(0, 4).map_err(failed)?;
        version.reply().map_err(failed)?;
        let redirect = self.connection.composite_redirect_window(id(window), Redirect::AUTOMATIC);
        redirect.map_err(failed)?.check().map_err(failed)
    }

    /// What a window shows, with what its children do. Only what is seen of it, unless it is
    /// [drawn as a whole](Self::draw_whole).
    pub fn picture(&self, window: WindowId) -> io::Result<Picture> {
        let geometry = self.connection.get_geometry(id(window)).map_err(failed)?;
        let geometry = geometry.reply().map_err(failed)?;
        let (width, height) = (geometry.width, geometry.height);
        if u32::from(width) * u32::from(height) > MOST_PIXELS {
            return Err(failed(format!("{width} x {height} pixels are too many for a picture")));
        }
        let every = u32::MAX;
        let format = ImageFormat::Z_PIXMAP;
        let image = self
            .connection
            .get_image(format, id(window), 0, 0, width, height, every)
            .map_err(failed)?;
        let image = image.reply().map_err(failed)?;
        let pixels = image.data.as_chunks::<4>().0;
        if ![24, 32].contains(&image.depth)
            || pixels.len() != usize::from(width) * usize::from(height)
        {
            return Err(failed(format!("the display has {} bits per pixel, not 24", image.depth)));
        }
        // Blue first, as servers of this byte order have it.
        let rgb = pixels.iter().flat_map(|&[blue, green, red, _]| [red, green, blue]).collect();
        Ok(Picture { size: Size { width: width.into(), height: height.into() }, rgb })
    }

    /// Destroys a window. The plugin's part in it must be gone.
    pub fn destroy(&self, window: WindowId) {
        let quiet = ChangeWindowAttributesAux::new().event_mask(EventMask::NO_EVENT);
        let _ = self.connection.change_window_attributes(id(window), &quiet);
        let _ = self.connection.destroy_window(id(window));
        let _ = self.flush();
    }

    /// The next thing that happened, if anything has.
    ///
    /// # Errors
    /// The display is gone, and all windows with it.
    pub fn next_event(&self) -> io::Result<Option<(WindowId, WindowEvent)>> {
        while let Some(event) = self.connection.poll_for_event().map_err(failed)? {
            let told = match event {
                Event::ClientMessage(e) if e.type_ == self.atoms.WM_PROTOCOLS && e.format == 32 => {
                    let protocol = e.data.as_data32()[0];
                    if protocol == self.atoms._NET_WM_PING {
                        self.pong(e)?;
                    }
                    (protocol == self.atoms.WM_DELETE_WINDOW)
                        .then_some((e.window, WindowEvent::CloseAsked))
                }
                Event::ConfigureNotify(e) if e.event == e.window => {
                    let size = Size { width: e.width.into(), height: e.height.into() };
                    Some((e.window, WindowEvent::Resized(size)))
                }
                Event::DestroyNotify(e) if e.event == e.window => {
                    Some((e.window, WindowEvent::Gone))
                }
                Event::CreateNotify(e) => self.embed(e.parent, e.window)?,
                Event::ReparentNotify(e) if e.event == e.parent => {
                    self.embed(e.parent, e.window)?
                }
                Event::FocusIn(e) => {
                    self.tell_children(e.event, &[XEMBED_WINDOW_ACTIVATE, XEMBED_FOCUS_IN])?
                }
                Event::FocusOut(e) => {
                    self.tell_children(e.event, &[XEMBED_FOCUS_OUT, XEMBED_WINDOW_DEACTIVATE])?
                }
                _ => None,
            };
            if let Some((window, event)) = told {
                return Ok(Some((WindowId(window.into()), event)));
            }
        }
        Ok(None)
    }

    fn pong(&self, mut message: ClientMessageEvent) -> io::Result<()> {
        let mask = EventMask::SUBSTRUCTURE_NOTIFY | EventMask::SUBSTRUCTURE_REDIRECT;
        message.window = self.root;
        self.connection.send_event(false, self.root, mask, message).map_err(failed)?;
        self.flush()
    }

    /// A child has appeared in a window: one of XEmbed's kind waits to be told, and to be shown.
    fn embed(&self, parent: Window, child: Window) -> io::Result<Option<(Window, WindowEvent)>> {
        if let Some(flags) = self.xembed_flags(child) {
            self.tell(child, XEMBED_EMBEDDED_NOTIFY, parent)?;
            if flags & XEMBED_MAPPED != 0 {
                self.connection.map_window(child).map_err(failed)?;
            }
            self.flush()?;
        }
        Ok(None)
    }

    fn tell_children(
        &self,
        parent: Window,
        messages: &[u32],
    ) -> io::Result<Option<(Window, WindowEvent)>> {
        let tree = self.connection.query_tree(parent).map_err(failed)?.reply();
        for child in tree.map(|tree| tree.children).unwrap_or_default() {
            if self.xembed_flags(child).is_some() {
                messages.iter().try_for_each(|&message| self.tell(child, message, 0))?;
            }
        }
        self.flush()?;
        Ok(None)
    }

    /// `None`: it is not of XEmbed's kind, or gone already.
    fn xembed_flags(&self, child: Window) -> Option<u32> {
        let property = self.atoms._XEMBED_INFO;
        let reply = self
            .connection
            .get_property(false, child, property, AtomEnum::ANY, 0, 2)
            .ok()?
            .reply()
            .ok()?;
        reply.value32()?.nth(1)
    }

    fn tell(&self, child: Window, message: u32, parent: Window) -> io::Result<()> {
        let data = [x11rb::CURRENT_TIME, message, 0, parent, 0];
        let event = ClientMessageEvent::new(32, child, self.atoms._XEMBED, data);
        self.connection
            .send_event(false, child, EventMask::NO_EVENT, event)
            .map(|_| ())
            .map_err(failed)
    }

    fn flush(&self) -> io::Result<()> {
        self.connection.flush().map_err(failed)
    }
}

fn id(window: WindowId) -> Window {
    window.0 as Window
}

fn sides(size: Size) -> (u16, u16) {
    let size = size.clamped();
    (size.width as u16, size.height as u16)
}

/// The desktop's dots per inch, from the display's resources.
fn font_dpi(resources: &str) -> Option<f64> {
    let line = resources.lines().find_map(|line| line.strip_prefix("Xft.dpi:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_dpi_is_found_among_the_resources() {
        let resources = "Xcursor.size:\t24\nXft.antialias:\t1\nXft.dpi:\t144\nXft.hinting:\t1\n";
        assert_eq!(font_dpi(resources), Some(144.0));
        assert_eq!(font_dpi("Xft.dpi: many"), None);
        assert_eq!(font_dpi(""), None);
    }
}
