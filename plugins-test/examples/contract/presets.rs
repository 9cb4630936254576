//! Presets: what there are, and how they are loaded.

use crate::plugin::{contract, host_functions};
use crate::{ID, PRESETS};
use clap_sys::ext::preset_load::{CLAP_EXT_PRESET_LOAD, clap_host_preset_load};
use clap_sys::factory::preset_discovery::*;
use clap_sys::plugin::clap_plugin;
use clap_sys::universal_plugin_id::clap_universal_plugin_id;
use clap_sys::version::CLAP_VERSION;
use std::ffi::{CStr, CString, c_char, c_void};
use std::path::Path;
use std::ptr;
use std::sync::atomic::Ordering::Relaxed;

type Indexer = *const clap_preset_discovery_indexer;
type Provider = *const clap_preset_discovery_provider;

pub(crate) static FACTORY: clap_preset_discovery_factory = clap_preset_discovery_factory {
    count: Some(count),
    get_descriptor: Some(descriptor),
    create: Some(create),
};

static DESCRIPTOR: clap_preset_discovery_provider_descriptor =
    clap_preset_discovery_provider_descriptor {
        clap_version: CLAP_VERSION,
        id: c"org.sandrack.contract.presets".as_ptr(),
        name: c"Presets".as_ptr(),
        vendor: c"Sandrack".as_ptr(),
    };

extern "C" fn count(_: *const clap_preset_discovery_factory) -> u32 {
    1
}

extern "C" fn descriptor(
    _: *const clap_preset_discovery_factory,
    _index: u32,
) -> *const clap_preset_discovery_provider_descriptor {
    &DESCRIPTOR
}

extern "C" fn create(
    _: *const clap_preset_discovery_factory,
    indexer: Indexer,
    _id: *const c_char,
) -> Provider {
    Box::into_raw(Box::new(clap_preset_discovery_provider {
        desc: &DESCRIPTOR,
        provider_data: indexer.cast_mut().cast(),
        init: Some(init),
        destroy: Some(destroy),
        get_metadata: Some(get_metadata),
        get_extension: Some(get_extension),
    }))
}

unsafe extern "C" fn init(provider: Provider) -> bool {
    let file = CString::new(PRESETS.get().map_or("", |p| p.to_str().unwrap_or_default()));
    let Ok(file) = file else { return false };
    let filetype = clap_preset_discovery_filetype {
        name: c"Value".as_ptr(),
        description: c"A number".as_ptr(),
        file_extension: c"value".as_ptr(),
    };
    let location = |kind, location: *const c_char| clap_preset_discovery_location {
        flags: CLAP_PRESET_DISCOVERY_IS_FACTORY_CONTENT,
        name: c"Presets".as_ptr(),
        kind,
        location,
    };
    let own = location(CLAP_PRESET_DISCOVERY_LOCATION_PLUGIN, ptr::null());
    let files = location(CLAP_PRESET_DISCOVERY_LOCATION_FILE, file.as_ptr());
    // SAFETY: the indexer lives as long as the provider.
    unsafe {
        let indexer: Indexer = (*provider).provider_data.cast();
        let (Some(of_type), Some(at)) = ((*indexer).declare_filetype, (*indexer).declare_location)
        else {
            return false;
        };
        of_type(indexer, &filetype) && at(indexer, &own) && at(indexer, &files)
    }
}

unsafe extern "C" fn destroy(provider: Provider) {
    // SAFETY: `create` allocated it so.
    drop(unsafe { Box::from_raw(provider.cast_mut()) });
}

extern "C" fn get_extension(_: Provider, _id: *const c_char) -> *const c_void {
    ptr::null()
}

unsafe extern "C" fn get_metadata(
    _: Provider,
    kind: u32,
    _location: *const c_char,
    receiver: *const clap_preset_discovery_metadata_receiver,
) -> bool {
    let id = clap_universal_plugin_id { abi: c"clap".as_ptr(), id: ID.as_ptr() };
    // SAFETY: the receiver is valid.
    unsafe {
        let (Some(begin), Some(add_id), Some(add_creator)) =
            ((*receiver).begin_preset, (*receiver).add_plugin_id, (*receiver).add_creator)
        else {
            return false;
        };
        let told = |name: *const c_char, key: *const c_char| {
            if begin(receiver, name, key) {
                add_id(receiver, &id);
                add_creator(receiver, c"Nobody".as_ptr());
            }
        };
        match kind {
            CLAP_PRESET_DISCOVERY_LOCATION_PLUGIN => {
                told(c"Soft".as_ptr(), c"soft".as_ptr());
                told(c"Hard".as_ptr(), c"hard".as_ptr());
            }
            // Named by its file.
            _ => told(ptr::null(), ptr::null()),
        }
    }
    true
}

pub(crate) unsafe extern "C" fn from_location(
    plugin: *const clap_plugin,
    kind: u32,
    location: *const c_char,
    key: *const c_char,
) -> bool {
    // SAFETY: the plugin is alive, and the host passes texts or null.
    unsafe {
        let contract = contract(plugin);
        let text = |from: *const c_char| (!from.is_null()).then(|| CStr::from_ptr(from));
        let value = match (kind, text(location), text(key)) {
            (CLAP_PRESET_DISCOVERY_LOCATION_PLUGIN, None, Some(key)) => match key.to_bytes() {
                b"soft" => Some(0.25),
                b"hard" => Some(0.75),
                _ => None,
            },
            (CLAP_PRESET_DISCOVERY_LOCATION_FILE, Some(file), None) => {
                let file = Path::new(file.to_str().unwrap_or_default());
                std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok())
            }
            _ => None,
        };
        let host = contract.host;
        let told = host_functions::<clap_host_preset_load>(host, CLAP_EXT_PRESET_LOAD);
        let Some(value) = value else {
            if let Some(on_error) = told.and_then(|told| told.on_error) {
                on_error(host, kind, location, key, 0, c"it is not one of mine".as_ptr());
            }
            return false;
        };
        contract.param.store(f64::to_bits(value), Relaxed);
        if let Some(loaded) = told.and_then(|told| told.loaded) {
            loaded(host, kind, location, key);
        }
        true
    }
}
