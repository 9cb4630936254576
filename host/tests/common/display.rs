//! A display of the test's own (Xvfb), and looking at what is on it.

use super::{LONG, becomes_true};
use std::cell::OnceCell;
use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use x11rb::connection::Connection;
use x11rb::protocol::xproto::{
    AtomEnum, ButtonPressEvent, ClientMessageEvent, ConfigureWindowAux, ConnectionExt,
    CreateWindowAux, EventMask, ImageFormat, InputFocus, KeyButMask, KeyPressEvent, StackMode,
    Window, WindowClass,
};
use x11rb::rust_connection::RustConnection;

/// A display. Ended when dropped.
pub(crate) struct Display {
    server: Child,
    /// For `DISPLAY`.
    pub(crate) name: String,
    connection: RustConnection,
    root: Window,
    /// What covers all that is on it, once that was wanted.
    cover: OnceCell<Window>,
}

impl Drop for Display {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl Display {
    /// `None`: there is no Xvfb, which is said; with `SANDRACK_CI=1` it is a failure.
    pub(crate) fn start() -> Option<Self> {
        let started = Command::new("Xvfb")
            .args(["-displayfd", "1", "-screen", "0", "1600x1200x24", "-nolisten", "tcp"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn();
        let mut server = match started {
            Ok(server) => server,
            Err(error) => {
                let said = format!("Xvfb can't be started: {error}");
                assert!(std::env::var_os("SANDRACK_CI").is_none_or(|ci| ci != "1"), "{said}");
                eprintln!("SKIPPED: {said}; it is in Debian's package xvfb");
                return None;
            }
        };
        let mut number = String::new();
        let said = server.stdout.take().expect("it is a pipe");
        BufReader::new(said).read_line(&mut number).expect("it says its number");
        let name = format!(":{}", number.trim());
        let (connection, screen) = x11rb::connect(Some(&name)).expect("its display");
        let root = connection.setup().roots[screen].root;
        Some(Self { server, name, connection, root, cover: OnceCell::new() })
    }

    /// Waits for a window whose title holds this.
    #[track_caller]
    pub(crate) fn window(&self, title: &str) -> Window {
        let mut found = None;
        let find = || {
            found = self.children(self.root).into_iter().find(|&window| {
                let name = self.connection.get_property(
                    false,
                    window,
                    AtomEnum::WM_NAME,
                    AtomEnum::ANY,
                    0,
                    99,
                );
                let name = name.unwrap().reply().map(|reply| reply.value).unwrap_or_default();
                String::from_utf8_lossy(&name).contains(title) && self.is_shown(window)
            });
            found.is_some()
        };
        assert!(becomes_true(LONG, find), "no window '{title}'");
        found.unwrap()
    }

    fn is_shown(&self, window: Window) -> bool {
        let attributes = self.connection.get_window_attributes(window).unwrap().reply();
        attributes.is_ok_and(|a| a.map_state == x11rb::protocol::xproto::MapState::VIEWABLE)
    }

    pub(crate) fn children(&self, window: Window) -> Vec<Window> {
        let tree = self.connection.query_tree(window).unwrap().reply();
        tree.map(|tree| tree.children).unwrap_or_default()
    }

    /// Zeros: it is gone.
    pub(crate) fn size(&self, window: Window) -> (u16, u16) {
        let geometry = self.connection.get_geometry(window).unwrap().reply();
        geometry.map_or((0, 0), |geometry| (geometry.width, geometry.height))
    }

    /// Waits until a window has a size.
    #[track_caller]
    pub(crate) fn wait_for_size(&self, window: Window, size: (u16, u16)) {
        let so = becomes_true(LONG, || self.size(window) == size);
        assert!(so, "{:?}, not {size:?}", self.size(window));
    }

    /// Gives a window another size, as a user's window manager would.
    pub(crate) fn drag(&self, window: Window, (width, height): (u16, u16)) {
        let values = ConfigureWindowAux::new().width(u32::from(width)).height(u32::from(height));
        self.connection.configure_window(window, &values).unwrap().check().unwrap();
    }

    /// What is seen where a window is, a number a pixel.
    pub(crate) fn pixels(&self, window: Window) -> Vec<u32> {
        let (width, height) = self.size(window);
        let at = self.connection.translate_coordinates(window, self.root, 0, 0).unwrap();
        let at = at.reply().expect("the window is there");
        let (format, all) = (ImageFormat::Z_PIXMAP, !0);
        let (x, y) = (at.dst_x, at.dst_y);
        let image = self.connection.get_image(format, self.root, x, y, width, height, all).unwrap();
        let data = image.reply().expect("the window is on the screen").data;
        data.chunks_exact(4)
            .map(|pixel| u32::from_le_bytes(pixel.try_into().unwrap()) & 0xff_ffff)
            .collect()
    }

    /// Covers all that is on the screen.
    pub(crate) fn cover_all(&self) {
        let cover = *self.cover.get_or_init(|| {
            let (id, depth) =
                (self.connection.generate_id().unwrap(), x11rb::COPY_DEPTH_FROM_PARENT);
            let white = CreateWindowAux::new().override_redirect(1).background_pixel(0xff_ffff);
            let class = WindowClass::INPUT_OUTPUT;
            self.connection
                .create_window(depth, id, self.root, 0, 0, 1600, 1200, 0, class, 0, &white)
                .unwrap();
            self.connection.map_window(id).unwrap();
            id
        });
        let above = ConfigureWindowAux::new().stack_mode(StackMode::ABOVE);
        self.connection.configure_window(cover, &above).unwrap().check().unwrap();
    }

    /// Presses a mouse button in a window.
    pub(crate) fn press(&self, window: Window) {
        let event = ButtonPressEvent {
            response_type: x11rb::protocol::xproto::BUTTON_PRESS_EVENT,
            detail: 1,
            sequence: 0,
            time: x11rb::CURRENT_TIME,
            root: self.root,
            event: window,
            child: x11rb::NONE,
            root_x: 5,
            root_y: 5,
            event_x: 5,
            event_y: 5,
            state: KeyButMask::default(),
            same_screen: true,
        };
        let mask = EventMask::BUTTON_PRESS;
        self.connection.send_event(false, window, mask, event).unwrap().check().unwrap();
    }

    /// Closes a window as its user does.
    pub(crate) fn close(&self, window: Window) {
        let atom = |name: &str| {
            self.connection.intern_atom(false, name.as_bytes()).unwrap().reply().unwrap().atom
        };
        let data = [atom("WM_DELETE_WINDOW"), x11rb::CURRENT_TIME, 0, 0, 0];
        let event = ClientMessageEvent::new(32, window, atom("WM_PROTOCOLS"), data);
        let mask = EventMask::NO_EVENT;
        self.connection.send_event(false, window, mask, event).unwrap().check().unwrap();
    }

    /// Lets a window have the keyboard, as its window manager would.
    pub(crate) fn focus(&self, window: Window) {
        let to = InputFocus::POINTER_ROOT;
        let focus = self.connection.set_input_focus(to, window, x11rb::CURRENT_TIME);
        focus.unwrap().check().unwrap();
    }

    /// The key of the keyboard that means a letter, or a symbol of X, and whether with shift.
    fn key_of(&self, symbol: u32) -> (u8, bool) {
        let setup = self.connection.setup();
        let (first, last) = (setup.min_keycode, setup.max_keycode);
        let mapping = self.connection.get_keyboard_mapping(first, last - first + 1).unwrap();
        let mapping = mapping.reply().expect("it has a keyboard");
        let each = usize::from(mapping.keysyms_per_keycode).max(1);
        let mut keys = (first..=last).zip(mapping.keysyms.chunks(each));
        let place = |symbols: &[u32]| symbols.iter().take(2).position(|known| *known == symbol);
        let found = keys.find_map(|(key, symbols)| Some((key, place(symbols)? == 1)));
        found.unwrap_or_else(|| panic!("no key for {symbol:#x}"))
    }

    /// Presses a key in a window, or lets it go: a letter, or a symbol of X.
    pub(crate) fn key(&self, window: Window, symbol: u32, with: KeyButMask, down: bool) {
        let (detail, shift) = self.key_of(symbol);
        let state = if shift { with | KeyButMask::SHIFT } else { with };
        let (response_type, mask) = match down {
            true => (x11rb::protocol::xproto::KEY_PRESS_EVENT, EventMask::KEY_PRESS),
            false => (x11rb::protocol::xproto::KEY_RELEASE_EVENT, EventMask::KEY_RELEASE),
        };
        let event = KeyPressEvent {
            response_type,
            detail,
            sequence: 0,
            time: x11rb::CURRENT_TIME,
            root: self.root,
            event: window,
            child: x11rb::NONE,
            root_x: 5,
            root_y: 5,
            event_x: 5,
            event_y: 5,
            state,
            same_screen: true,
        };
        self.connection.send_event(false, window, mask, event).unwrap().check().unwrap();
    }

    /// Presses a key and lets it go.
    pub(crate) fn press_key(&self, window: Window, symbol: u32, with: KeyButMask) {
        self.key(window, symbol, with, true);
        self.key(window, symbol, with, false);
    }

    /// Types a text.
    pub(crate) fn type_text(&self, window: Window, text: &str) {
        text.chars().for_each(|c| self.press_key(window, u32::from(c), KeyButMask::default()));
    }
}
