//! What a plugin may have beside the bare interface, asked on its main thread.
//!
//! # Safety
//! `unsafe` here calls functions that the plugin hands out, with pointers to locals that outlive
//! the call. [`Extensions`] borrows the instance, so the plugin is alive; only its main thread has
//! one, and no process() of an inactive plugin runs (`flush`).
#![allow(unsafe_code)]

use super::super::{NoteName, StateContext, Voices};
use super::cookies::Cookies;
use super::events::push_event;
use super::lists::{InEvents, OutEvents};
use crate::event::Event;
use clap_sys::ext::audio_ports_activation::*;
use clap_sys::ext::configurable_audio_ports::*;
use clap_sys::ext::note_name::*;
use clap_sys::ext::params::{CLAP_EXT_PARAMS, clap_plugin_params};
use clap_sys::ext::posix_fd_support::*;
use clap_sys::ext::preset_load::*;
use clap_sys::ext::render::*;
use clap_sys::ext::state::{CLAP_EXT_STATE, clap_plugin_state};
use clap_sys::ext::state_context::*;
use clap_sys::ext::tail::{CLAP_EXT_TAIL, clap_plugin_tail};
use clap_sys::ext::thread_pool::{CLAP_EXT_THREAD_POOL, clap_plugin_thread_pool};
use clap_sys::ext::voice_info::*;
use clap_sys::factory::preset_discovery::{
    CLAP_PRESET_DISCOVERY_LOCATION_FILE, CLAP_PRESET_DISCOVERY_LOCATION_PLUGIN,
};
use clap_sys::plugin::clap_plugin;
use clap_sys::stream::{clap_istream, clap_ostream};
use std::ffi::{CStr, CString, c_void};
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::path::Path;
use std::ptr;

/// Most bytes of a state: of a plugin that writes without end, an error comes of it.
const MAX_STATE: usize = 256 << 20;
/// Most names of notes that are believed of a plugin.
const MAX_NOTE_NAMES: u32 = 16 * 128 * 16;

/// A plugin's extensions, on its main thread.
#[derive(Clone, Copy)]
pub(super) struct Extensions<'a> {
    plugin: *const clap_plugin,
    alive: PhantomData<&'a ()>,
}

/// How to run one task of the plugin's on any thread of its pool.
pub(super) type Exec = unsafe extern "C" fn(*const clap_plugin, u32);

impl<'a> Extensions<'a> {
    /// Of a plugin that lives as long as the reference. Main thread only.
    pub(super) fn of(plugin: &'a clap_plugin) -> Self {
        Self { plugin, alive: PhantomData }
    }

    /// The plugin's functions under the first of these names that it knows.
    ///
    /// # Safety
    /// `T` is what these names stand for.
    unsafe fn get<T>(self, names: &[&CStr]) -> Option<&'a T> {
        // SAFETY: the plugin is alive; what it hands out lives as long as it does.
        unsafe {
            let get = (*self.plugin).get_extension?;
            names.iter().find_map(|name| get(self.plugin, name.as_ptr()).cast::<T>().as_ref())
        }
    }

    /// Frames that it sounds after its input has become silent; `u32::MAX`: without end.
    pub(super) fn tail(self) -> u32 {
        // SAFETY: see the file's first page.
        let frames = unsafe {
            self.get::<clap_plugin_tail>(&[CLAP_EXT_TAIL])
                .and_then(|tail| Some(tail.get?(self.plugin)))
        };
        match frames {
            Some(frames) if frames >= i32::MAX as u32 => u32::MAX,
            frames => frames.unwrap_or(0),
        }
    }

    /// Tells it that a descriptor is ready, for what of `CLAP_POSIX_FD_…`.
    pub(super) fn tell_descriptor(self, descriptor: i32, flags: clap_posix_fd_flags) {
        // SAFETY: see the file's first page.
        unsafe {
            let support = self.get::<clap_plugin_posix_fd_support>(&[CLAP_EXT_POSIX_FD_SUPPORT]);
            if let Some(on_fd) = support.and_then(|support| support.on_fd) {
                on_fd(self.plugin, descriptor, flags);
            }
        }
    }

    /// Whether it can't be rendered faster or slower than it is heard.
    pub(super) fn is_bound_to_realtime(self) -> bool {
        // SAFETY: see the file's first page.
        unsafe {
            self.get::<clap_plugin_render>(&[CLAP_EXT_RENDER])
                .and_then(|render| Some(render.has_hard_realtime_requirement?(self.plugin)))
                .unwrap_or(false)
        }
    }

    /// Tells it whether it renders to a file. `None`: it does not want to know.
    pub(super) fn set_render_mode(self, offline: bool) -> Option<bool> {
        let mode = if offline { CLAP_RENDER_OFFLINE } else { CLAP_RENDER_REALTIME };
        // SAFETY: see the file's first page.
        unsafe {
            self.get::<clap_plugin_render>(&[CLAP_EXT_RENDER])
                .and_then(|render| Some(render.set?(self.plugin, mode)))
        }
    }

    /// Tells it of a port whether it is used. Inactive plugin only. False: it stays as it is.
    pub(super) fn set_port_active(self, input: bool, index: u32, active: bool) -> bool {
        let names = [CLAP_EXT_AUDIO_PORTS_ACTIVATION, CLAP_EXT_AUDIO_PORTS_ACTIVATION_COMPAT];
        // SAFETY: see the file's first page.
        unsafe {
            self.get::<clap_plugin_audio_ports_activation>(&names)
                .and_then(|ports| Some(ports.set_active?(self.plugin, input, index, active, 32)))
                .unwrap_or(false)
        }
    }

    /// Asks for other channels of its ports, where it lets its host choose. Inactive plugin only. Whether
    /// it agreed to all.
    pub(super) fn configure_ports(self, wanted: &[clap_audio_port_configuration_request]) -> bool {
        let names = [CLAP_EXT_CONFIGURABLE_AUDIO_PORTS, CLAP_EXT_CONFIGURABLE_AUDIO_PORTS_COMPAT];
        let (first, count) = (wanted.as_ptr(), wanted.len() as u32);
        // SAFETY: see the file's first page.
        unsafe {
            let Some(ports) = self.get::<clap_plugin_configurable_audio_ports>(&names) else {
                return false;
            };
            let (Some(can_apply), Some(apply)) =
                (ports.can_apply_configuration, ports.apply_configuration)
            else {
                return false;
            };
            can_apply(self.plugin, first, count) && apply(self.plugin, first, count)
        }
    }

    pub(super) fn voices(self) -> Option<Voices> {
        let mut info = clap_voice_info { voice_count: 0, voice_capacity: 0, flags: 0 };
        // SAFETY: see the file's first page.
        let known = unsafe {
            let voices = self.get::<clap_plugin_voice_info>(&[CLAP_EXT_VOICE_INFO])?;
            voices.get?(self.plugin, &mut info)
        };
        known.then_some(Voices {
            count: info.voice_count,
            capacity: info.voice_capacity,
            overlapping: info.flags & CLAP_VOICE_INFO_SUPPORTS_OVERLAPPING_NOTES != 0,
        })
    }

    pub(super) fn note_names(self) -> Vec<NoteName> {
        let mut all = Vec::new();
        // SAFETY: see the file's first page. Zeroes are a valid value, and the plugin writes into
        // it if anything.
        unsafe {
            let Some(names) = self.get::<clap_plugin_note_name>(&[CLAP_EXT_NOTE_NAME]) else {
                return all;
            };
            let (Some(count), Some(get)) = (names.count, names.get) else { return all };
            for index in 0..count(self.plugin).min(MAX_NOTE_NAMES) {
                let mut name: clap_note_name = MaybeUninit::zeroed().assume_init();
                if !get(self.plugin, index, &mut name) {
                    // One that ends early, or never had any.
                    break;
                }
                let bytes = name.name.map(|c| c as u8);
                all.push(NoteName {
                    name: super::text(&bytes),
                    port: name.port,
                    channel: name.channel,
                    key: name.key,
                });
            }
        }
        all
    }

    pub(super) fn has_state(self) -> bool {
        // SAFETY: see the file's first page.
        unsafe { self.get::<clap_plugin_state>(&[CLAP_EXT_STATE]).is_some() }
    }

    /// Its state; `None`: it failed to write it.
    pub(super) fn save(self, context: StateContext) -> Option<Vec<u8>> {
        let mut state = Vec::<u8>::new();
        let ctx = ptr::from_mut(&mut state).cast();
        let stream = clap_ostream { ctx, write: Some(write) };
        // SAFETY: see the file's first page.
        let done = unsafe {
            let with_context = self.get::<clap_plugin_state_context>(&[CLAP_EXT_STATE_CONTEXT]);
            match with_context.and_then(|state| state.save) {
                Some(save) => save(self.plugin, &stream, context_type(context)),
                None => {
                    let state = self.get::<clap_plugin_state>(&[CLAP_EXT_STATE])?;
                    state.save?(self.plugin, &stream)
                }
            }
        };
        done.then_some(state)
    }

    /// Gives it a state. False: it did not take it.
    pub(super) fn load(self, state: &[u8], context: StateContext) -> bool {
        let mut rest = state;
        let ctx = ptr::from_mut(&mut rest).cast();
        let stream = clap_istream { ctx, read: Some(read) };
        // SAFETY: see the file's first page.
        unsafe {
            let with_context = self.get::<clap_plugin_state_context>(&[CLAP_EXT_STATE_CONTEXT]);
            match with_context.and_then(|state| state.load) {
                Some(load) => load(self.plugin, &stream, context_type(context)),
                None => self
                    .get::<clap_plugin_state>(&[CLAP_EXT_STATE])
                    .and_then(|state| Some(state.load?(self.plugin, &stream)))
                    .unwrap_or(false),
            }
        }
    }

    /// Has it load a preset: of a file, or of its own. `None`: it knows no presets.
    pub(super) fn load_preset(self, file: Option<&Path>, key: Option<&str>) -> Option<bool> {
        // What holds a NUL names nothing.
        let file = file.map(|file| CString::new(file.as_os_str().as_encoded_bytes())).transpose();
        let key = key.map(CString::new).transpose();
        let (Ok(file), Ok(key)) = (file, key) else { return Some(false) };
        let kind = match file {
            Some(_) => CLAP_PRESET_DISCOVERY_LOCATION_FILE,
            None => CLAP_PRESET_DISCOVERY_LOCATION_PLUGIN,
        };
        let file = file.as_ref().map_or(ptr::null(), |file| file.as_ptr());
        let key = key.as_ref().map_or(ptr::null(), |key| key.as_ptr());
        let names = [CLAP_EXT_PRESET_LOAD, CLAP_EXT_PRESET_LOAD_COMPAT];
        // SAFETY: see the file's first page.
        unsafe {
            let presets = self.get::<clap_plugin_preset_load>(&names)?;
            Some(presets.from_location?(self.plugin, kind, file, key))
        }
    }

    /// Gives an inactive plugin events of parameters, and takes those that it puts out. False: it
    /// takes none.
    pub(super) fn flush(self, events: &[Event], cookies: &Cookies, out: &mut OutEvents) -> bool {
        let mut input = InEvents::with_capacity(events.len());
        events.iter().for_each(|event| push_event(&mut input, event, &[], cookies));
        // The time of these means nothing.
        out.begin(u32::MAX);
        // SAFETY: see the file's first page.
        unsafe {
            let params = self.get::<clap_plugin_params>(&[CLAP_EXT_PARAMS]);
            let Some(flush) = params.and_then(|params| params.flush) else { return false };
            let (input, out) = (input.list(), out.list());
            flush(self.plugin, input.as_ptr(), out.as_ptr());
        }
        true
    }

    /// What it runs on several threads at once, if anything.
    pub(super) fn exec(self) -> Option<(*const clap_plugin, Exec)> {
        // SAFETY: see the file's first page.
        let pool = unsafe { self.get::<clap_plugin_thread_pool>(&[CLAP_EXT_THREAD_POOL])? };
        Some((self.plugin, pool.exec?))
    }
}

fn context_type(context: StateContext) -> clap_plugin_state_context_type {
    match context {
        StateContext::Project => CLAP_STATE_CONTEXT_FOR_PROJECT,
        StateContext::Preset => CLAP_STATE_CONTEXT_FOR_PRESET,
        StateContext::Duplicate => CLAP_STATE_CONTEXT_FOR_DUPLICATE,
    }
}

unsafe extern "C" fn write(stream: *const clap_ostream, buffer: *const c_void, size: u64) -> i64 {
    // SAFETY: the plugin passes the stream it was given, while the call that gave it lasts; `ctx`
    // is what `save` set it to.
    let state = unsafe { stream.as_ref().and_then(|s| s.ctx.cast::<Vec<u8>>().as_mut()) };
    let (Some(state), Ok(size)) = (state, usize::try_from(size)) else { return -1 };
    if (buffer.is_null() && size > 0) || size > MAX_STATE - state.len() {
        return -1;
    }
    if size > 0 {
        // SAFETY: the plugin promises so many bytes there.
        state.extend_from_slice(unsafe { std::slice::from_raw_parts(buffer.cast(), size) });
    }
    size as i64
}

unsafe extern "C" fn read(stream: *const clap_istream, buffer: *mut c_void, size: u64) -> i64 {
    // SAFETY: as in `write`; `ctx` is what `load` set it to.
    let rest = unsafe { stream.as_ref().and_then(|s| s.ctx.cast::<&[u8]>().as_mut()) };
    let Some(rest) = rest else { return -1 };
    let count = usize::try_from(size).unwrap_or(usize::MAX).min(rest.len());
    if buffer.is_null() && count > 0 {
        return -1;
    }
    if count > 0 {
        // SAFETY: the plugin promises room for `size` bytes, which is no less.
        unsafe { ptr::copy_nonoverlapping(rest.as_ptr(), buffer.cast(), count) };
    }
    *rest = &rest[count..];
    count as i64
}
