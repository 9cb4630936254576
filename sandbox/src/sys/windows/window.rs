//! Plain windows for plugins to put their editors in: each the parent of the plugin's own.
//!
//! Messages reach the window procedure by the main thread's wait (`poll`); what they say waits there
//! in a list of the thread's own until [`Display::next_event`] asks for it.
//!
//! # Safety
//! The `unsafe` calls pass locals, and handles of windows that this thread made; a handle that has
//! become stale makes them fail. The window procedure uses no pointer but that of `WM_GETMINMAXINFO`,
//! which the system fills.
#![allow(unsafe_code)]

use super::poll::Watched;
use crate::sys::shape::{Picture, Resizing, Size, WindowEvent, WindowId};
use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::ffi::CStr;
use std::io;
use std::marker::PhantomData;
use std::ptr::{null, null_mut};
use windows_sys::Win32::Foundation::{HWND, LPARAM, LRESULT, RECT, WPARAM};
use windows_sys::Win32::Graphics::Gdi::{BLACK_BRUSH, GetStockObject};
use windows_sys::Win32::System::Com::{COINIT_APARTMENTTHREADED, CoInitializeEx};
use windows_sys::Win32::System::LibraryLoader::GetModuleHandleW;
use windows_sys::Win32::UI::HiDpi::{
    DPI_AWARENESS_CONTEXT_PER_MONITOR_AWARE_V2, GetDpiForSystem, SetThreadDpiAwarenessContext,
};
use windows_sys::Win32::UI::WindowsAndMessaging::{
    AdjustWindowRectEx, CW_USEDEFAULT, CreateWindowExW, DefWindowProcW, DestroyWindow, GWL_STYLE,
    GetClientRect, GetWindowLongPtrW, IDC_ARROW, LoadCursorW, MINMAXINFO, RegisterClassExW,
    SIZE_MINIMIZED, SW_HIDE, SW_SHOWNORMAL, SWP_NOACTIVATE, SWP_NOMOVE, SWP_NOZORDER,
    SetForegroundWindow, SetWindowLongPtrW, SetWindowPos, ShowWindow, WM_CLOSE, WM_DESTROY,
    WM_GETMINMAXINFO, WM_SIZE, WNDCLASSEXW, WS_CLIPCHILDREN, WS_MAXIMIZEBOX, WS_OVERLAPPEDWINDOW,
    WS_THICKFRAME,
};
use windows_sys::w;

/// Sees to what plugins expect of a display from the moment they are loaded: nothing here.
pub fn prepare() {}

/// What VST3 calls windows of this kind.
pub const VST3_TYPE: &CStr = c"HWND";

thread_local! {
    static EVENTS: RefCell<VecDeque<(WindowId, WindowEvent)>> = const { RefCell::new(VecDeque::new()) };
    /// Smallest and largest size, frame included, of windows that can't be any size.
    static LIMITS: RefCell<BTreeMap<u64, [(i32, i32); 2]>> = const { RefCell::new(BTreeMap::new()) };
}

/// Most events that wait: of a flood the oldest are forgotten.
const MOST_EVENTS: usize = 1024;

/// The desktop. One thread.
pub struct Display {
    _thread: PhantomData<*const ()>,
}

impl Display {
    /// Gets ready to make windows.
    ///
    /// # Errors
    /// The system refused.
    pub fn open() -> io::Result<Self> {
        // SAFETY: constants and locals; see the file's text.
        unsafe {
            // What editors use of the shell (file dialogs, browsers) wants it, and the thread that has
            // windows is the one for it. A plugin may have been first.
            CoInitializeEx(null(), COINIT_APARTMENTTHREADED as u32);
            // Sizes are pixels, whatever the screen's scale.
            SetThreadDpiAwarenessContext(DPI_AWARENESS_CONTEXT_PER_MONITOR_AWARE_V2);
            let name = w!("sandrack editor");
            let class = WNDCLASSEXW {
                cbSize: size_of::<WNDCLASSEXW>() as u32,
                lpfnWndProc: Some(procedure),
                hInstance: GetModuleHandleW(null()),
                hCursor: LoadCursorW(null_mut(), IDC_ARROW),
                hbrBackground: GetStockObject(BLACK_BRUSH),
                lpszClassName: name,
                ..Default::default()
            };
            // Known from an editor before.
            const ALREADY_EXISTS: i32 = 1410;
            let registered = RegisterClassExW(&class);
            let error = io::Error::last_os_error();
            if registered == 0 && error.raw_os_error() != Some(ALREADY_EXISTS) {
                return Err(error);
            }
            Ok(Self { _thread: PhantomData })
        }
    }

    /// What to watch to know when to ask for [`next_event`](Self::next_event): nothing, for the
    /// thread's waits see to messages by themselves.
    pub fn watched(&self) -> Option<Watched> {
        None
    }

    /// How much larger than usual its user wants everything: 1 is 96 dots per inch.
    pub fn scale(&self) -> f64 {
        // SAFETY: takes nothing.
        let scale = f64::from(unsafe { GetDpiForSystem() }) / 96.0;
        if (0.25..=8.0).contains(&scale) { scale } else { 1.0 }
    }

    /// Makes a window, which is not shown yet.
    pub fn create(&self, title: &str, size: Size, resizing: Resizing) -> io::Result<WindowId> {
        let title: String = title.chars().filter(|c| !c.is_control()).take(200).collect();
        let title: Vec<u16> = title.encode_utf16().chain([0]).collect();
        let style = style(resizing);
        let (width, height) = outer(size, style);
        let anywhere = CW_USEDEFAULT;
        // SAFETY: the title outlives the call; the class's name is a constant.
        let window = unsafe {
            CreateWindowExW(
                0,
                w!("sandrack editor"),
                title.as_ptr(),
                style,
                anywhere,
                anywhere,
                width,
                height,
                null_mut(),
                null_mut(),
                GetModuleHandleW(null()),
                null(),
            )
        };
        if window.is_null() {
            return Err(io::Error::last_os_error());
        }
        let id = WindowId(window as usize as u64);
        self.set_resizing(id, size, resizing)?;
        Ok(id)
    }

    /// Says how a window of this size may be resized.
    pub fn set_resizing(&self, window: WindowId, size: Size, resizing: Resizing) -> io::Result<()> {
        let style = style(resizing);
        // SAFETY: a number of a window's own.
        unsafe {
            let shown = GetWindowLongPtrW(handle(window), GWL_STYLE);
            let ours = (WS_THICKFRAME | WS_MAXIMIZEBOX) as isize;
            SetWindowLongPtrW(handle(window), GWL_STYLE, shown & !ours | style as isize & ours);
        }
        let limit = |otherwise: u32| {
            let side = |free: bool, length| if free { otherwise } else { length };
            let width = side(resizing.horizontally, size.width);
            outer(Size { width, height: side(resizing.vertically, size.height) }, style)
        };
        let limits = [limit(32), limit(Size::MOST)];
        LIMITS.with_borrow_mut(|all| all.insert(window.0, limits));
        Ok(())
    }

    /// Shows a window, in front of others.
    pub fn show(&self, window: WindowId) -> io::Result<()> {
        // SAFETY: takes a handle and numbers. Neither tells of errors that matter.
        unsafe {
            ShowWindow(handle(window), SW_SHOWNORMAL);
            SetForegroundWindow(handle(window));
        }
        Ok(())
    }

    /// Hides a window.
    pub fn hide(&self, window: WindowId) -> io::Result<()> {
        // SAFETY: takes a handle and a number.
        unsafe { ShowWindow(handle(window), SW_HIDE) };
        Ok(())
    }

    /// Asks for another size. An event tells what became of it.
    pub fn resize(&self, window: WindowId, size: Size) -> io::Result<()> {
        // SAFETY: takes a handle and numbers.
        let done = unsafe {
            let style = GetWindowLongPtrW(handle(window), GWL_STYLE) as u32;
            let (width, height) = outer(size, style);
            let flags = SWP_NOMOVE | SWP_NOZORDER | SWP_NOACTIVATE;
            SetWindowPos(handle(window), null_mut(), 0, 0, width, height, flags)
        };
        if done == 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
    }

    /// Nothing to do: not how pictures would be made here.
    pub fn draw_whole(&self, _window: WindowId) -> io::Result<()> {
        Ok(())
    }

    /// What a window shows.
    ///
    /// # Errors
    /// Always: not made here yet.
    pub fn picture(&self, _window: WindowId) -> io::Result<Picture> {
        Err(io::Error::other("pictures of editors are made on Linux only"))
    }

    /// Destroys a window. The plugin's part in it must be gone.
    pub fn destroy(&self, window: WindowId) {
        // SAFETY: takes a handle.
        unsafe { DestroyWindow(handle(window)) };
        LIMITS.with_borrow_mut(|all| all.remove(&window.0));
        // Nobody wants to be told of what was done here.
        EVENTS.with_borrow_mut(|events| events.retain(|(of, _)| *of != window));
    }

    /// The next thing that happened, if anything has.
    ///
    /// # Errors
    /// None here.
    pub fn next_event(&self) -> io::Result<Option<(WindowId, WindowEvent)>> {
        Ok(EVENTS.with_borrow_mut(VecDeque::pop_front))
    }
}

fn handle(window: WindowId) -> HWND {
    window.0 as usize as HWND
}

fn style(resizing: Resizing) -> u32 {
    let all = WS_OVERLAPPEDWINDOW | WS_CLIPCHILDREN;
    if resizing.any() { all } else { all & !(WS_THICKFRAME | WS_MAXIMIZEBOX) }
}

/// Size with the frame.
fn outer(size: Size, style: u32) -> (i32, i32) {
    let size = size.clamped();
    let mut rect = RECT { left: 0, top: 0, right: size.width as i32, bottom: size.height as i32 };
    // SAFETY: changes a local.
    unsafe { AdjustWindowRectEx(&mut rect, style, 0, 0) };
    (rect.right - rect.left, rect.bottom - rect.top)
}

fn tell(window: HWND, event: WindowEvent) {
    // Not borrowed meanwhile: no message is dispatched by who holds it.
    EVENTS.with_borrow_mut(|events| {
        if events.len() == MOST_EVENTS {
            events.pop_front();
        }
        events.push_back((WindowId(window as usize as u64), event));
    });
}

unsafe extern "system" fn procedure(
    window: HWND,
    message: u32,
    first: WPARAM,
    second: LPARAM,
) -> LRESULT {
    match message {
        WM_CLOSE => {
            tell(window, WindowEvent::CloseAsked);
            return 0;
        }
        WM_DESTROY => tell(window, WindowEvent::Gone),
        WM_SIZE if first != SIZE_MINIMIZED as usize => {
            let mut inside = RECT::default();
            // SAFETY: fills a local.
            if unsafe { GetClientRect(window, &mut inside) } != 0 {
                let size = Size { width: inside.right as u32, height: inside.bottom as u32 };
                tell(window, WindowEvent::Resized(size));
            }
        }
        WM_GETMINMAXINFO => {
            let limits = LIMITS.with_borrow(|all| all.get(&(window as usize as u64)).copied());
            if let Some([least, most]) = limits {
                // SAFETY: with this message the system passes the address of such a structure.
                let info = unsafe { &mut *(second as *mut MINMAXINFO) };
                (info.ptMinTrackSize.x, info.ptMinTrackSize.y) = least;
                (info.ptMaxTrackSize.x, info.ptMaxTrackSize.y) = most;
            }
            return 0;
        }
        _ => {}
    }
    // SAFETY: what was passed is passed on.
    unsafe { DefWindowProcW(window, message, first, second) }
}
