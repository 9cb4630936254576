//! An editor, true and false: a child window of one colour, drawn over a connection of its own that
//! the host watches.
//!
//! Its sides are multiples of ten. A timer has it ask once for [`GROWN`]; a mouse button turns it
//! from [`CALM`] to [`TOUCHED`] and has the plugin ask for a restart, which turns it to [`RESTARTED`].

use std::ffi::{CStr, c_char, c_void};
use std::os::fd::AsRawFd;
use std::ptr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use clap_sys::ext::gui::{
    CLAP_EXT_GUI, CLAP_WINDOW_API_X11, clap_host_gui, clap_plugin_gui, clap_window,
};
use clap_sys::ext::posix_fd_support::{
    CLAP_EXT_POSIX_FD_SUPPORT, CLAP_POSIX_FD_READ, clap_host_posix_fd_support,
    clap_plugin_posix_fd_support,
};
use clap_sys::ext::timer_support::{
    CLAP_EXT_TIMER_SUPPORT, clap_host_timer_support, clap_plugin_timer_support,
};
use clap_sys::host::clap_host;
use clap_sys::plugin::clap_plugin;
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::xproto::{
    ChangeWindowAttributesAux, ConfigureWindowAux, ConnectionExt, CreateWindowAux, EventMask,
    WindowClass,
};
use x11rb::rust_connection::RustConnection;

use crate::plugin::hostile;
use crate::strikes::sleep_forever;
use crate::what::What;

const CALM: u32 = 0x0020_60a0;
const TOUCHED: u32 = 0x00d0_8020;
const RESTARTED: u32 = 0x0040_a060;
const FIRST: (u32, u32) = (200, 120);
const GROWN: (u32, u32) = (300, 180);

static GUI: clap_plugin_gui = clap_plugin_gui {
    is_api_supported: Some(is_api_supported),
    get_preferred_api: None,
    create: Some(create),
    destroy: Some(destroy),
    set_scale: None,
    get_size: Some(get_size),
    can_resize: Some(can_resize),
    get_resize_hints: None,
    adjust_size: Some(adjust_size),
    set_size: Some(set_size),
    set_parent: Some(set_parent),
    set_transient: None,
    suggest_title: None,
    show: Some(show),
    hide: None,
};
static FD: clap_plugin_posix_fd_support = clap_plugin_posix_fd_support { on_fd: Some(on_fd) };
static TIMER: clap_plugin_timer_support = clap_plugin_timer_support { on_timer: Some(on_timer) };

/// The one editor that is open in this process.
static OPEN: Mutex<Option<Open>> = Mutex::new(None);

struct Open {
    connection: RustConnection,
    window: u32,
    size: (u32, u32),
    timer: u32,
    /// Its user has pressed a button.
    touched: bool,
}

fn open() -> MutexGuard<'static, Option<Open>> {
    OPEN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The extension called `id`, of those that make an editor.
pub(crate) fn get(what: What, id: &CStr) -> *const c_void {
    if !matches!(what, What::Editor | What::GuiCreateHangs | What::GuiShowHangs) {
        ptr::null()
    } else if id == CLAP_EXT_GUI {
        (&raw const GUI).cast()
    } else if id == CLAP_EXT_POSIX_FD_SUPPORT {
        (&raw const FD).cast()
    } else if id == CLAP_EXT_TIMER_SUPPORT {
        (&raw const TIMER).cast()
    } else {
        ptr::null()
    }
}

/// The host, and one of its extensions.
///
/// # Safety
///
/// The plugin is alive, and `T` the structure of that extension.
unsafe fn host<'a, T>(plugin: *const clap_plugin, id: &CStr) -> Option<(*const clap_host, &'a T)> {
    // SAFETY: as the caller promises; the host lives longer than the plugin.
    unsafe {
        let host = hostile(plugin).host;
        let extension = (*host).get_extension?(host, id.as_ptr()).cast::<T>();
        Some((host, extension.as_ref()?))
    }
}

unsafe extern "C" fn is_api_supported(
    _plugin: *const clap_plugin,
    api: *const c_char,
    is_floating: bool,
) -> bool {
    // SAFETY: the host passes a string.
    !is_floating && unsafe { CStr::from_ptr(api) } == CLAP_WINDOW_API_X11
}

unsafe extern "C" fn create(
    plugin: *const clap_plugin,
    _api: *const c_char,
    _is_floating: bool,
) -> bool {
    // SAFETY: the plugin is alive.
    if unsafe { hostile(plugin) }.what == What::GuiCreateHangs {
        sleep_forever();
    }
    let Ok((connection, _)) = x11rb::connect(None) else { return false };
    // SAFETY: the plugin is alive; these are the extensions' structures.
    unsafe {
        if let Some((host, fds)) =
            host::<clap_host_posix_fd_support>(plugin, CLAP_EXT_POSIX_FD_SUPPORT)
            && let Some(register) = fds.register_fd
        {
            register(host, connection.stream().as_raw_fd(), CLAP_POSIX_FD_READ);
        }
        let mut timer = 0;
        if let Some((host, timers)) =
            host::<clap_host_timer_support>(plugin, CLAP_EXT_TIMER_SUPPORT)
            && let Some(register) = timers.register_timer
        {
            register(host, 50, &mut timer);
        }
        *open() = Some(Open { connection, window: 0, size: FIRST, timer, touched: false });
    }
    true
}

unsafe extern "C" fn destroy(plugin: *const clap_plugin) {
    let Some(gone) = open().take() else { return };
    // SAFETY: as in `create`.
    unsafe {
        if let Some((host, fds)) =
            host::<clap_host_posix_fd_support>(plugin, CLAP_EXT_POSIX_FD_SUPPORT)
            && let Some(unregister) = fds.unregister_fd
        {
            unregister(host, gone.connection.stream().as_raw_fd());
        }
        if let Some((host, timers)) =
            host::<clap_host_timer_support>(plugin, CLAP_EXT_TIMER_SUPPORT)
            && let Some(unregister) = timers.unregister_timer
        {
            unregister(host, gone.timer);
        }
    }
}

unsafe extern "C" fn get_size(
    _plugin: *const clap_plugin,
    width: *mut u32,
    height: *mut u32,
) -> bool {
    let Some(size) = open().as_ref().map(|open| open.size) else { return false };
    // SAFETY: the host passes valid memory.
    unsafe { (*width, *height) = size };
    true
}

extern "C" fn can_resize(_plugin: *const clap_plugin) -> bool {
    true
}

unsafe extern "C" fn adjust_size(
    _plugin: *const clap_plugin,
    width: *mut u32,
    height: *mut u32,
) -> bool {
    // SAFETY: the host passes valid memory.
    let sides = unsafe { [&mut *width, &mut *height] };
    for side in sides {
        *side = (*side / 10 * 10).max(100);
    }
    true
}

extern "C" fn set_size(_plugin: *const clap_plugin, width: u32, height: u32) -> bool {
    let mut open = open();
    let Some(open) =
        open.as_mut().filter(|_| width.is_multiple_of(10) && height.is_multiple_of(10))
    else {
        return false;
    };
    open.size = (width, height);
    let values = ConfigureWindowAux::new().width(width).height(height);
    let _ = open.connection.configure_window(open.window, &values);
    open.connection.flush().is_ok()
}

unsafe extern "C" fn set_parent(_plugin: *const clap_plugin, window: *const clap_window) -> bool {
    // SAFETY: the host passes a window of the kind that `is_api_supported` allows.
    let parent = unsafe { (*window).specific.x11 } as u32;
    let mut open = open();
    let Some(open) = open.as_mut() else { return false };
    let Ok(child) = open.connection.generate_id() else { return false };
    let (width, height) = (open.size.0 as u16, open.size.1 as u16);
    let events = EventMask::BUTTON_PRESS;
    let values = CreateWindowAux::new().background_pixel(CALM).event_mask(events);
    let class = WindowClass::INPUT_OUTPUT;
    let made = open
        .connection
        .create_window(0, child, parent, 0, 0, width, height, 0, class, 0, &values)
        .is_ok_and(|cookie| cookie.check().is_ok());
    let _ = open.connection.map_window(child);
    open.window = child;
    made && open.connection.flush().is_ok()
}

unsafe extern "C" fn show(plugin: *const clap_plugin) -> bool {
    // SAFETY: the plugin is alive.
    if unsafe { hostile(plugin) }.what == What::GuiShowHangs {
        sleep_forever();
    }
    true
}

impl Open {
    fn paint(&mut self, color: u32) {
        let values = ChangeWindowAttributesAux::new().background_pixel(color);
        let _ = self.connection.change_window_attributes(self.window, &values);
        let _ = self.connection.clear_area(false, self.window, 0, 0, 0, 0);
        let _ = self.connection.flush();
        self.touched = true;
    }
}

/// The plugin was activated.
pub(crate) fn activated() {
    if let Some(open) = open().as_mut().filter(|open| open.touched) {
        open.paint(RESTARTED);
    }
}

unsafe extern "C" fn on_fd(plugin: *const clap_plugin, _fd: i32, _flags: u32) {
    let mut open = open();
    let Some(open) = open.as_mut() else { return };
    while let Ok(Some(event)) = open.connection.poll_for_event() {
        if let Event::ButtonPress(_) = event {
            open.paint(TOUCHED);
            // SAFETY: the plugin is alive, and its host lives longer.
            unsafe {
                let host = hostile(plugin).host;
                if let Some(ask) = (*host).request_restart {
                    ask(host);
                }
            }
        }
    }
}

unsafe extern "C" fn on_timer(plugin: *const clap_plugin, _timer: u32) {
    let is_first = open().as_ref().is_some_and(|open| open.size == FIRST && open.window != 0);
    // SAFETY: as in `create`.
    unsafe {
        if is_first
            && let Some((host, gui)) = host::<clap_host_gui>(plugin, CLAP_EXT_GUI)
            && let Some(request) = gui.request_resize
            && request(host, GROWN.0, GROWN.1)
        {
            set_size(plugin, GROWN.0, GROWN.1);
        }
    }
}
