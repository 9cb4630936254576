//! A client of a JACK server, and its ports: what is asked of it on the control thread.
//!
//! # Safety
//! libjack's functions may be called on an open client from any thread, also when its server has
//! ended: then they fail. A [`Client`] calls none once it is closed. Ports are made by the client, never
//! unregistered, and used only while it is open. Names that libjack gives are C strings; lists of them end with a null pointer and are
//! freed with `jack_free`.
#![allow(unsafe_code)]

use super::library::{
    AUDIO, Library, MIDI, jack_client_t, jack_latency_range_t, jack_port_t, library, option, status,
};
use std::ffi::{CStr, CString, c_char, c_int, c_ulong};
use std::ptr::{NonNull, null};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// A client; open until it is closed or dropped.
pub(super) struct Client {
    pub(super) library: &'static Library,
    raw: NonNull<jack_client_t>,
    is_closed: AtomicBool,
}

/// The server whose clients this process has now, and how many. Of libjack (JACK2) all clients of a
/// process share one table of their server's memory: clients of two servers would crash.
static SERVER: Mutex<(String, usize)> = Mutex::new((String::new(), 0));

fn server_now() -> MutexGuard<'static, (String, usize)> {
    SERVER.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The server that is meant.
fn meant(server: Option<&str>) -> String {
    let usual = || std::env::var("JACK_DEFAULT_SERVER").unwrap_or_else(|_| "default".to_owned());
    server.map_or_else(usual, str::to_owned)
}

// SAFETY: libjack's functions may be called from any thread.
unsafe impl Send for Client {}
// SAFETY: as above.
unsafe impl Sync for Client {}

/// A port of the client that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Port(pub(super) NonNull<jack_port_t>);

// SAFETY: an address; see the module.
unsafe impl Send for Port {}
// SAFETY: as above.
unsafe impl Sync for Port {}

/// Audio or MIDI.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Audio,
    Midi,
}

impl Kind {
    fn name(self) -> &'static CStr {
        match self {
            Self::Audio => AUDIO,
            Self::Midi => MIDI,
        }
    }
}

/// Frames of latency, the least and the most.
pub(super) type Latency = (u32, u32);

impl Client {
    /// Becomes a client of a server that runs; `None`: the usual one. The server may give it
    /// another name if this one is taken.
    pub(super) fn open(name: &str, server: Option<&str>) -> Result<Self, String> {
        let library = library()?;
        let name = c_string(name)?;
        let server_name = c_string(server.unwrap_or_default())?;
        // Held until it is open: those that are opened elsewhere wait.
        let mut now = server_now();
        let meant = meant(server);
        if now.1 > 0 && now.0 != meant {
            return Err(format!(
                "this program uses the JACK server '{}' already, and can use one at a time: leave \
                 that first",
                now.0
            ));
        }
        let mut said: c_int = 0;
        // SAFETY: the strings and `said` outlive the call; the last argument is what the option
        // announces.
        let raw = unsafe {
            match server {
                None => (library.jack_client_open)(
                    name.as_ptr(),
                    option::NO_START_SERVER,
                    &raw mut said,
                ),
                Some(_) => (library.jack_client_open)(
                    name.as_ptr(),
                    option::NO_START_SERVER | option::SERVER_NAME,
                    &raw mut said,
                    server_name.as_ptr(),
                ),
            }
        };
        match NonNull::new(raw) {
            Some(raw) => {
                *now = (meant, now.1 + 1);
                Ok(Self { library, raw, is_closed: AtomicBool::new(false) })
            }
            None => Err(refused(said, server)),
        }
    }

    /// For callbacks, during which it is open; otherwise `None` where it is closed.
    pub(super) fn raw(&self) -> Option<*mut jack_client_t> {
        (!self.is_closed.load(Relaxed)).then_some(self.raw.as_ptr())
    }

    /// Ends it: afterwards none of its callbacks runs, and every question is answered with nothing.
    pub(super) fn close(&self) {
        if !self.is_closed.swap(true, Relaxed) {
            // SAFETY: it is open, and is not used after this.
            unsafe { (self.library.jack_client_close)(self.raw.as_ptr()) };
            server_now().1 -= 1;
        }
    }

    pub(super) fn name(&self) -> String {
        let Some(raw) = self.raw() else { return String::new() };
        // SAFETY: an open client has a name, which lives as long as it.
        text(unsafe { (self.library.jack_get_client_name)(raw) })
    }

    pub(super) fn rate(&self) -> u32 {
        let Some(raw) = self.raw() else { return 0 };
        // SAFETY: the client is open.
        unsafe { (self.library.jack_get_sample_rate)(raw) }
    }

    pub(super) fn frames(&self) -> u32 {
        let Some(raw) = self.raw() else { return 0 };
        // SAFETY: the client is open.
        unsafe { (self.library.jack_get_buffer_size)(raw) }
    }

    pub(super) fn is_realtime(&self) -> bool {
        let Some(raw) = self.raw() else { return false };
        // SAFETY: the client is open.
        unsafe { (self.library.jack_is_realtime)(raw) != 0 }
    }

    /// Of the server, for all its clients.
    pub(super) fn set_frames(&self, frames: u32) -> bool {
        let Some(raw) = self.raw() else { return false };
        // SAFETY: the client is open.
        unsafe { (self.library.jack_set_buffer_size)(raw, frames) == 0 }
    }

    /// JACK's clock, us.
    pub(super) fn time_us(&self) -> u64 {
        // SAFETY: it asks for nothing.
        unsafe { (self.library.jack_get_time)() }
    }

    pub(super) fn register(&self, name: &str, kind: Kind, flags: c_ulong) -> Result<Port, String> {
        let Some(raw) = self.raw() else { return Err("it is closed".to_owned()) };
        let full = || {
            format!("it can't have a port '{name}': the server has no more, or one of that name")
        };
        let (name, kind) = (c_string(name)?, kind.name());
        // SAFETY: the strings outlive the call; a buffer size of 0 is for known types.
        let port = unsafe {
            (self.library.jack_port_register)(raw, name.as_ptr(), kind.as_ptr(), flags, 0)
        };
        NonNull::new(port).map(Port).ok_or_else(full)
    }

    pub(super) fn port_name(&self, port: Port) -> String {
        if self.raw().is_none() {
            return String::new();
        }
        // SAFETY: the port belongs to an open client.
        text(unsafe { (self.library.jack_port_name)(port.0.as_ptr()) })
    }

    /// The names of ports of a kind; `flags`: see [`port_flag`](super::library::port_flag).
    pub(super) fn ports(&self, kind: Kind, flags: c_ulong) -> Vec<String> {
        let Some(raw) = self.raw() else { return Vec::new() };
        // SAFETY: the string outlives the call; a null pattern means any name.
        let list =
            unsafe { (self.library.jack_get_ports)(raw, null(), kind.name().as_ptr(), flags) };
        self.take_list(list)
    }

    /// The names of ports that one of the client's is connected to.
    pub(super) fn connections(&self, port: Port) -> Vec<String> {
        let Some(raw) = self.raw() else { return Vec::new() };
        // SAFETY: the port belongs to this client, which is open.
        let list = unsafe { (self.library.jack_port_get_all_connections)(raw, port.0.as_ptr()) };
        self.take_list(list)
    }

    /// The name of a port of any client, by its number.
    pub(super) fn name_by_id(&self, port: u32) -> Option<String> {
        let raw = self.raw()?;
        // SAFETY: the client is open.
        let port = unsafe { (self.library.jack_port_by_id)(raw, port) };
        if port.is_null() {
            return None;
        }
        // SAFETY: the port is there, or was a moment ago: a port that goes away leaves its entry.
        Some(text(unsafe { (self.library.jack_port_name)(port) })).filter(|name| !name.is_empty())
    }

    /// Whether there is a port of this name, of any client.
    pub(super) fn has_port(&self, name: &str) -> bool {
        let Some(raw) = self.raw() else { return false };
        let Ok(name) = c_string(name) else { return false };
        // SAFETY: the string outlives the call.
        unsafe { !(self.library.jack_port_by_name)(raw, name.as_ptr()).is_null() }
    }

    /// Other names of a port of any client: what a device is called, for one.
    pub(super) fn aliases(&self, name: &str) -> Vec<String> {
        let Some(raw) = self.raw() else { return Vec::new() };
        let Ok(name) = c_string(name) else { return Vec::new() };
        // SAFETY: the string outlives the call.
        let port = unsafe { (self.library.jack_port_by_name)(raw, name.as_ptr()) };
        // SAFETY: it asks for nothing.
        let size = unsafe { (self.library.jack_port_name_size)() };
        let Ok(size) = usize::try_from(size) else { return Vec::new() };
        if port.is_null() || size == 0 {
            return Vec::new();
        }
        let mut names = [vec![0u8; size], vec![0u8; size]];
        let places = names.each_mut().map(|name| name.as_mut_ptr().cast::<c_char>());
        // SAFETY: the port is there (a port that goes away leaves its entry), and each of the two
        // places has as many bytes as the library says that names have.
        let count = unsafe { (self.library.jack_port_get_aliases)(port, places.as_ptr()) };
        let whole = |name: &Vec<u8>| {
            let end = name.iter().position(|byte| *byte == 0)?;
            Some(String::from_utf8_lossy(&name[..end]).into_owned())
        };
        let count = usize::try_from(count).unwrap_or(0);
        names.iter().take(count).filter_map(whole).collect()
    }

    /// Connects an output to an input; true also when they were.
    pub(super) fn connect(&self, from: &str, to: &str) -> bool {
        let Some(raw) = self.raw() else { return false };
        /// What libjack returns when they were: EEXIST.
        const THERE: c_int = 17;
        let (Ok(from), Ok(to)) = (c_string(from), c_string(to)) else { return false };
        // SAFETY: the strings outlive the call.
        let code = unsafe { (self.library.jack_connect)(raw, from.as_ptr(), to.as_ptr()) };
        code == 0 || code == THERE
    }

    /// The opposite; true also when they were not connected.
    pub(super) fn disconnect(&self, from: &str, to: &str) -> bool {
        let Some(raw) = self.raw() else { return false };
        let (Ok(c_from), Ok(c_to)) = (c_string(from), c_string(to)) else { return false };
        // SAFETY: the strings outlive the call.
        let code = unsafe { (self.library.jack_disconnect)(raw, c_from.as_ptr(), c_to.as_ptr()) };
        code == 0 || !(self.has_port(from) && self.has_port(to))
    }

    /// A port's latency; `mode`: one of libjack's two.
    pub(super) fn latency(&self, port: Port, mode: c_int) -> Latency {
        if self.raw().is_none() {
            return (0, 0);
        }
        let mut range = jack_latency_range_t::default();
        // SAFETY: the port belongs to this client; `range` outlives the call.
        unsafe {
            (self.library.jack_port_get_latency_range)(port.0.as_ptr(), mode, &raw mut range);
        }
        (range.min, range.max)
    }

    pub(super) fn set_latency(&self, port: Port, mode: c_int, (min, max): Latency) {
        if self.raw().is_none() {
            return;
        }
        let mut range = jack_latency_range_t { min, max };
        // SAFETY: the port belongs to this client; `range` outlives the call.
        unsafe {
            (self.library.jack_port_set_latency_range)(port.0.as_ptr(), mode, &raw mut range);
        }
    }

    /// Lets all clients say their latency anew.
    pub(super) fn recompute_latencies(&self) {
        let Some(raw) = self.raw() else { return };
        // SAFETY: the client is open.
        unsafe { (self.library.jack_recompute_total_latencies)(raw) };
    }

    fn take_list(&self, list: *mut *const c_char) -> Vec<String> {
        let mut names = Vec::new();
        if !list.is_null() {
            // SAFETY: the list ends with a null pointer; it is not used after it is freed.
            unsafe {
                let mut next = list;
                while !(*next).is_null() {
                    names.push(text(*next));
                    next = next.add(1);
                }
                (self.library.jack_free)(list.cast());
            }
        }
        names
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.close();
    }
}

/// Why a server did not take a client, and what to do.
fn refused(said: c_int, server: Option<&str>) -> String {
    let of = server.map(|name| format!(" named '{name}'")).unwrap_or_default();
    let option = server.map(|name| format!("-n {name} ")).unwrap_or_default();
    if said & (status::SERVER_FAILED | status::SHM_FAILURE) != 0 || said == 0 {
        return format!(
            "no JACK server{of} is running: start one ('jackd {option}-d alsa', or '-d dummy' \
             without a sound card; qjackctl), or start this program with 'pw-jack' where PipeWire \
             runs"
        );
    }
    if said & status::VERSION_ERROR != 0 {
        return "libjack and the JACK server are of different versions: restart the server".into();
    }
    format!("the JACK server{of} refuses (status {said:#x}): look into what it prints")
}

fn c_string(text: &str) -> Result<CString, String> {
    CString::new(text).map_err(|_| "a name has a zero byte in it: choose another".to_owned())
}

fn text(text: *const c_char) -> String {
    if text.is_null() {
        return String::new();
    }
    // SAFETY: libjack gives C strings.
    unsafe { CStr::from_ptr(text) }.to_string_lossy().into_owned()
}
