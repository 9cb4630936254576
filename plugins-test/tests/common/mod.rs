//! The smallest CLAP host that can tell whether a plugin works. It trusts plugins.
//!
//! # Safety
//!
//! Everything here calls plugins through C function pointers, from one thread and in the
//! order that CLAP prescribes ([`Plugin`]'s methods follow its life, its `Drop` ends it).
//! Plugins under test keep their side of that interface, or else break it only where the
//! test that loads them says so.
#![allow(unsafe_code, reason = "loads libraries and calls C interfaces, see above")]
#![allow(dead_code, reason = "each test uses what it needs")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use clap_sys::audio_buffer::clap_audio_buffer;
use clap_sys::entry::clap_plugin_entry;
use clap_sys::events::*;
use clap_sys::ext::latency::{CLAP_EXT_LATENCY, clap_host_latency, clap_plugin_latency};
use clap_sys::ext::params::{CLAP_EXT_PARAMS, clap_param_info, clap_plugin_params};
use clap_sys::factory::plugin_factory::{CLAP_PLUGIN_FACTORY_ID, clap_plugin_factory};
use clap_sys::host::clap_host;
use clap_sys::plugin::clap_plugin;
use clap_sys::process::clap_process;
use clap_sys::version::CLAP_VERSION;
use libloading::Library;

pub(crate) const RATE: f64 = 48_000.0;
pub(crate) const MAX_FRAMES: u32 = 1024;

/// Where the well-behaved plugins are: beside the test executable, in `deps`.
pub(crate) fn plugins() -> PathBuf {
    beside_tests().join(libloading::library_filename("sandrack_plugins_test"))
}

/// Where the example library `name` is.
pub(crate) fn example(name: &str) -> PathBuf {
    beside_tests().with_file_name("examples").join(libloading::library_filename(name))
}

fn beside_tests() -> PathBuf {
    std::env::current_exe().unwrap().parent().unwrap().to_owned()
}

/// A loaded library with its CLAP factory.
pub(crate) struct Clap {
    factory: *const clap_plugin_factory,
    entry: *const clap_plugin_entry,
    _library: Library,
}

impl Clap {
    /// None if the library has no `clap_entry`, doesn't initialize or lacks a factory.
    pub(crate) fn load(path: &PathBuf) -> Option<Self> {
        // SAFETY: see the module's text.
        unsafe {
            let library = Library::new(path).unwrap();
            let entry: *const clap_plugin_entry = *library.get(b"clap_entry\0").ok()?;
            let c_path = CString::new(path.to_str().unwrap()).unwrap();
            if !(*entry).init.unwrap()(c_path.as_ptr()) {
                return None;
            }
            let factory = (*entry).get_factory.unwrap()(CLAP_PLUGIN_FACTORY_ID.as_ptr());
            if factory.is_null() {
                return None;
            }
            Some(Self { factory: factory.cast(), entry, _library: library })
        }
    }

    /// The ids and names of the plugins.
    pub(crate) fn list(&self) -> Vec<(String, String)> {
        // SAFETY: see the module's text.
        unsafe {
            let factory = &*self.factory;
            let text = |s| CStr::from_ptr(s).to_str().unwrap().to_owned();
            (0..factory.get_plugin_count.unwrap()(self.factory))
                .map(|i| &*factory.get_plugin_descriptor.unwrap()(self.factory, i))
                .map(|descriptor| (text(descriptor.id), text(descriptor.name)))
                .collect()
        }
    }

    /// None if `create_plugin` or `init` says no.
    pub(crate) fn create(&self, id: &str) -> Option<Plugin<'_>> {
        let id = CString::new(id).unwrap();
        let host = Box::new(Host::new());
        // SAFETY: see the module's text. `host.clap` is pinned by its box.
        unsafe {
            let host = Box::into_raw(host);
            (*host).clap.host_data = host.cast();
            let create = (*self.factory).create_plugin.unwrap();
            let clap = create(self.factory, &raw const (*host).clap, id.as_ptr());
            if clap.is_null() {
                drop(Box::from_raw(host));
                return None;
            }
            let plugin = Plugin { clap, host, active: false, _library: self };
            (*clap).init.unwrap()(clap).then_some(plugin)
        }
    }
}

impl Drop for Clap {
    fn drop(&mut self) {
        // SAFETY: see the module's text.
        unsafe { (*self.entry).deinit.unwrap()() }
    }
}

/// The host's side of one plugin, counting what it asks for.
struct Host {
    clap: clap_host,
    restarts: AtomicU32,
    latency_changes: AtomicU32,
}

static HOST_LATENCY: clap_host_latency = clap_host_latency { changed: Some(latency_changed) };

impl Host {
    fn new() -> Self {
        Self {
            clap: clap_host {
                clap_version: CLAP_VERSION,
                host_data: ptr::null_mut(),
                name: c"Sandrack tests".as_ptr(),
                vendor: c"Sandrack".as_ptr(),
                url: c"".as_ptr(),
                version: c"1.0.0".as_ptr(),
                get_extension: Some(host_extension),
                request_restart: Some(request_restart),
                request_process: Some(request_nothing),
                request_callback: Some(request_nothing),
            },
            restarts: AtomicU32::new(0),
            latency_changes: AtomicU32::new(0),
        }
    }
}

unsafe extern "C" fn host_extension(_host: *const clap_host, id: *const c_char) -> *const c_void {
    // SAFETY: see the module's text.
    match unsafe { CStr::from_ptr(id) } == CLAP_EXT_LATENCY {
        true => (&raw const HOST_LATENCY).cast(),
        false => ptr::null(),
    }
}

unsafe extern "C" fn request_restart(host: *const clap_host) {
    // SAFETY: see the module's text.
    unsafe { &*(*host).host_data.cast::<Host>() }.restarts.fetch_add(1, Relaxed);
}

unsafe extern "C" fn latency_changed(host: *const clap_host) {
    // SAFETY: see the module's text.
    unsafe { &*(*host).host_data.cast::<Host>() }.latency_changes.fetch_add(1, Relaxed);
}

extern "C" fn request_nothing(_host: *const clap_host) {}

/// An initialized plugin.
pub(crate) struct Plugin<'a> {
    clap: *const clap_plugin,
    host: *mut Host,
    active: bool,
    _library: &'a Clap,
}

impl Plugin<'_> {
    /// Activates and starts processing; false if the plugin refuses either.
    pub(crate) fn start(&mut self) -> bool {
        // SAFETY: see the module's text.
        unsafe {
            self.active = (*self.clap).activate.unwrap()(self.clap, RATE, 1, MAX_FRAMES);
            self.active && (*self.clap).start_processing.unwrap()(self.clap)
        }
    }

    pub(crate) fn stop(&mut self) {
        // SAFETY: see the module's text.
        unsafe {
            if std::mem::take(&mut self.active) {
                (*self.clap).stop_processing.unwrap()(self.clap);
                (*self.clap).deactivate.unwrap()(self.clap);
            }
        }
    }

    pub(crate) fn restarts_requested(&self) -> u32 {
        // SAFETY: see the module's text.
        unsafe { &*self.host }.restarts.load(Relaxed)
    }

    pub(crate) fn latency_changes(&self) -> u32 {
        // SAFETY: see the module's text.
        unsafe { &*self.host }.latency_changes.load(Relaxed)
    }

    /// Null or the extension.
    pub(crate) fn extension<T>(&self, id: &CStr) -> *const T {
        // SAFETY: see the module's text.
        unsafe { (*self.clap).get_extension.unwrap()(self.clap, id.as_ptr()).cast() }
    }

    pub(crate) fn raw(&self) -> *const clap_plugin {
        self.clap
    }

    pub(crate) fn latency(&self) -> u32 {
        // SAFETY: see the module's text.
        unsafe {
            let latency: *const clap_plugin_latency = self.extension(CLAP_EXT_LATENCY);
            (*latency).get.unwrap()(self.clap)
        }
    }

    /// Name, id, minimum, maximum and default of each parameter.
    pub(crate) fn params(&self) -> Vec<(String, u32, [f64; 3])> {
        // SAFETY: see the module's text; the struct may be all zeros.
        unsafe {
            let params: *const clap_plugin_params = self.extension(CLAP_EXT_PARAMS);
            let Some(params) = params.as_ref() else { return Vec::new() };
            (0..params.count.unwrap()(self.clap))
                .map(|i| {
                    let mut info: clap_param_info = std::mem::zeroed();
                    assert!(params.get_info.unwrap()(self.clap, i, &mut info));
                    let name = CStr::from_ptr(info.name.as_ptr()).to_str().unwrap().to_owned();
                    (name, info.id, [info.min_value, info.max_value, info.default_value])
                })
                .collect()
        }
    }

    /// Sets parameters outside of processing.
    pub(crate) fn set(&mut self, values: &[(u32, f64)]) {
        let events: Vec<_> = values.iter().map(|&(id, value)| param(0, id, value)).collect();
        let events = &events[..];
        let mut out = Vec::new();
        // SAFETY: see the module's text.
        unsafe {
            let params: *const clap_plugin_params = self.extension(CLAP_EXT_PARAMS);
            let (input, output) = (input_events(&events), output_events(&mut out));
            (*params).flush.unwrap()(self.clap, &input, &output);
        }
    }

    /// Processes one block. Each port is a list of channels, all of the same length;
    /// `outputs` gives the number of channels of each output port.
    pub(crate) fn process(
        &mut self,
        inputs: &[Vec<Vec<f32>>],
        outputs: &[usize],
        frames: usize,
        events: &[Event],
    ) -> Block {
        let mut inputs = inputs.to_vec();
        // Plugins must not rely on silence in there.
        let mut outputs: Vec<_> = outputs.iter().map(|&n| vec![vec![0.123; frames]; n]).collect();
        let mut out = Vec::new();
        let mut input_pointers = pointers(&mut inputs);
        let mut output_pointers = pointers(&mut outputs);
        let input_buffers = buffers(&mut input_pointers);
        let mut output_buffers = buffers(&mut output_pointers);
        let (in_events, out_events) = (input_events(&events), output_events(&mut out));
        let process = clap_process {
            steady_time: -1,
            frames_count: frames as u32,
            transport: ptr::null(),
            audio_inputs: input_buffers.as_ptr(),
            audio_outputs: output_buffers.as_mut_ptr(),
            audio_inputs_count: input_buffers.len() as u32,
            audio_outputs_count: output_buffers.len() as u32,
            in_events: &in_events,
            out_events: &out_events,
        };
        // SAFETY: see the module's text. All that `process` points to outlives the call.
        let status = unsafe { (*self.clap).process.unwrap()(self.clap, &process) };
        Block { outputs, events: out, status }
    }

    /// Processes one block of stereo, the same in both channels; returns the left.
    pub(crate) fn stereo(&mut self, input: &[f32], events: &[Event]) -> Vec<f32> {
        let input_port = vec![input.to_vec(); 2];
        let block = self.process(&[input_port], &[2], input.len(), events);
        assert_eq!(block.outputs[0][0], block.outputs[0][1]);
        block.outputs.into_iter().next().unwrap().swap_remove(0)
    }
}

impl Drop for Plugin<'_> {
    fn drop(&mut self) {
        self.stop();
        // SAFETY: see the module's text. The plugin is gone before its host is.
        unsafe {
            (*self.clap).destroy.unwrap()(self.clap);
            drop(Box::from_raw(self.host));
        }
    }
}

/// What a plugin made of a block.
pub(crate) struct Block {
    pub(crate) outputs: Vec<Vec<Vec<f32>>>,
    pub(crate) events: Vec<Event>,
    pub(crate) status: i32,
}

/// An event of the kinds used here. Unions of the C types would save nothing.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Event {
    Note(clap_event_note),
    Param(clap_event_param_value),
    Midi(clap_event_midi),
    Other(clap_event_header),
}

impl Event {
    fn header(&self) -> &clap_event_header {
        match self {
            Event::Note(event) => &event.header,
            Event::Param(event) => &event.header,
            Event::Midi(event) => &event.header,
            Event::Other(header) => header,
        }
    }
}

fn header<T>(time: u32, type_: u16) -> clap_event_header {
    let size = size_of::<T>() as u32;
    clap_event_header { size, time, space_id: CLAP_CORE_EVENT_SPACE_ID, type_, flags: 0 }
}

pub(crate) fn param(time: u32, param_id: u32, value: f64) -> Event {
    Event::Param(clap_event_param_value {
        header: header::<clap_event_param_value>(time, CLAP_EVENT_PARAM_VALUE),
        param_id,
        cookie: ptr::null_mut(),
        note_id: -1,
        port_index: -1,
        channel: -1,
        key: -1,
        value,
    })
}

/// `type_` is one of `CLAP_EVENT_NOTE_*`.
pub(crate) fn note(type_: u16, time: u32, note_id: i32, key: i16, velocity: f64) -> Event {
    Event::Note(clap_event_note {
        header: header::<clap_event_note>(time, type_),
        note_id,
        port_index: 0,
        channel: 0,
        key,
        velocity,
    })
}

fn input_events(events: &&[Event]) -> clap_input_events {
    unsafe extern "C" fn size(list: *const clap_input_events) -> u32 {
        // SAFETY: `ctx` is what it is set to below.
        unsafe { *(*list).ctx.cast::<&[Event]>() }.len() as u32
    }
    unsafe extern "C" fn get(list: *const clap_input_events, i: u32) -> *const clap_event_header {
        // SAFETY: `ctx` is what it is set to below.
        unsafe { (&*(*list).ctx.cast::<&[Event]>())[i as usize].header() }
    }
    let ctx = ptr::from_ref(events).cast_mut().cast();
    clap_input_events { ctx, size: Some(size), get: Some(get) }
}

fn output_events(events: &mut Vec<Event>) -> clap_output_events {
    unsafe extern "C" fn try_push(
        list: *const clap_output_events,
        event: *const clap_event_header,
    ) -> bool {
        // SAFETY: `ctx` is what it is set to below. Whole events are read only if they are as
        // large as they should be.
        unsafe {
            let events = &mut *(*list).ctx.cast::<Vec<Event>>();
            let Some(header) = event.as_ref() else { return false };
            let is_note = header.space_id == CLAP_CORE_EVENT_SPACE_ID
                && header.type_ <= CLAP_EVENT_NOTE_END
                && header.size as usize == size_of::<clap_event_note>();
            events.push(match is_note {
                true => Event::Note(*event.cast()),
                false => Event::Other(*header),
            });
            true
        }
    }
    clap_output_events { ctx: ptr::from_mut(events).cast(), try_push: Some(try_push) }
}

fn pointers(ports: &mut [Vec<Vec<f32>>]) -> Vec<Vec<*mut f32>> {
    ports.iter_mut().map(|port| port.iter_mut().map(|c| c.as_mut_ptr()).collect()).collect()
}

fn buffers(ports: &mut [Vec<*mut f32>]) -> Vec<clap_audio_buffer> {
    let buffer = |port: &mut Vec<*mut f32>| clap_audio_buffer {
        data32: port.as_mut_ptr(),
        data64: ptr::null_mut(),
        channel_count: port.len() as u32,
        latency: 0,
        constant_mask: 0,
    };
    ports.iter_mut().map(buffer).collect()
}
