//! The editor: one label, as large as its parent's inside.
//!
//! # Safety
//! `unsafe` here reads and fills what the host passes, which the interface promises to be good, and
//! uses a window that is this plugin's; all on the main thread.

use clap_sys::ext::gui::*;
use clap_sys::plugin::clap_plugin;
use std::ffi::{CStr, c_char};
use std::ptr::{null, null_mut};
use std::sync::Mutex;
use windows_sys::Win32::UI::WindowsAndMessaging::{
    CreateWindowExW, DestroyWindow, MoveWindow, SW_HIDE, SW_SHOW, ShowWindow, WS_CHILD, WS_VISIBLE,
};
use windows_sys::w;

const LEAST: u32 = 100;

struct Open {
    /// The window's handle; 0: not yet.
    window: usize,
    size: (u32, u32),
}

static OPEN: Mutex<Option<Open>> = Mutex::new(None);

pub(crate) static GUI: clap_plugin_gui = clap_plugin_gui {
    is_api_supported: Some(is_api_supported),
    get_preferred_api: Some(get_preferred_api),
    create: Some(create),
    destroy: Some(destroy),
    set_scale: Some(set_scale),
    get_size: Some(get_size),
    can_resize: Some(can_resize),
    get_resize_hints: Some(get_resize_hints),
    adjust_size: Some(adjust_size),
    set_size: Some(set_size),
    set_parent: Some(set_parent),
    set_transient: Some(set_transient),
    suggest_title: Some(suggest_title),
    show: Some(show),
    hide: Some(hide),
};

/// Does something with the editor, if it is there. False: it is not.
fn with(act: impl FnOnce(&mut Open)) -> bool {
    OPEN.lock().unwrap().as_mut().map(act).is_some()
}

unsafe extern "C" fn is_api_supported(
    _: *const clap_plugin,
    api: *const c_char,
    floating: bool,
) -> bool {
    // SAFETY: see the file's text.
    !floating && unsafe { CStr::from_ptr(api) } == CLAP_WINDOW_API_WIN32
}

unsafe extern "C" fn get_preferred_api(
    _: *const clap_plugin,
    api: *mut *const c_char,
    floating: *mut bool,
) -> bool {
    // SAFETY: see the file's text.
    unsafe {
        *api = CLAP_WINDOW_API_WIN32.as_ptr();
        *floating = false;
    }
    true
}

extern "C" fn create(_: *const clap_plugin, _: *const c_char, _: bool) -> bool {
    *OPEN.lock().unwrap() = Some(Open { window: 0, size: (300, 200) });
    true
}

extern "C" fn destroy(_: *const clap_plugin) {
    if let Some(open) = OPEN.lock().unwrap().take() {
        // SAFETY: this plugin's window, or none.
        unsafe { DestroyWindow(open.window as _) };
    }
}

extern "C" fn set_scale(_: *const clap_plugin, _: f64) -> bool {
    false
}

unsafe extern "C" fn get_size(_: *const clap_plugin, width: *mut u32, height: *mut u32) -> bool {
    // SAFETY: see the file's text.
    with(|open| unsafe { (*width, *height) = open.size })
}

extern "C" fn can_resize(_: *const clap_plugin) -> bool {
    true
}

extern "C" fn get_resize_hints(_: *const clap_plugin, _: *mut clap_gui_resize_hints) -> bool {
    false
}

unsafe extern "C" fn adjust_size(_: *const clap_plugin, width: *mut u32, height: *mut u32) -> bool {
    // SAFETY: see the file's text.
    unsafe {
        *width = (*width).max(LEAST);
        *height = (*height).max(LEAST);
    }
    true
}

extern "C" fn set_size(_: *const clap_plugin, width: u32, height: u32) -> bool {
    with(|open| {
        open.size = (width, height);
        // SAFETY: this plugin's window, or none.
        unsafe { MoveWindow(open.window as _, 0, 0, width as i32, height as i32, 1) };
    })
}

unsafe extern "C" fn set_parent(_: *const clap_plugin, parent: *const clap_window) -> bool {
    // SAFETY: see the file's text; the host passes a window of the kind that was agreed upon.
    unsafe {
        let parent = (*parent).specific.win32;
        let Some(open) = &mut *OPEN.lock().unwrap() else { return false };
        let (width, height) = (open.size.0 as i32, open.size.1 as i32);
        let (class, style) = (w!("STATIC"), WS_CHILD | WS_VISIBLE);
        let (menu, library) = (null_mut(), null_mut());
        let text = w!("sandrack test editor");
        let window = CreateWindowExW(
            0,
            class,
            text,
            style,
            0,
            0,
            width,
            height,
            parent,
            menu,
            library,
            null(),
        );
        open.window = window as usize;
        !window.is_null()
    }
}

extern "C" fn set_transient(_: *const clap_plugin, _: *const clap_window) -> bool {
    false
}

extern "C" fn suggest_title(_: *const clap_plugin, _: *const c_char) {}

extern "C" fn show(_: *const clap_plugin) -> bool {
    // SAFETY: this plugin's window, or none.
    with(|open| unsafe { _ = ShowWindow(open.window as _, SW_SHOW) })
}

extern "C" fn hide(_: *const clap_plugin) -> bool {
    // SAFETY: as above.
    with(|open| unsafe { _ = ShowWindow(open.window as _, SW_HIDE) })
}
