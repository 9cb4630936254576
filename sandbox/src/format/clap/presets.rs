//! Preset discovery: what presets a plugin file declares, without loading a plugin.
//!
//! The file has *providers*. Each tells an *indexer* of ours where its presets lie and how their
//! files are called, and then what is in each file, to a *receiver* of ours.
//!
//! # Safety
//! `unsafe` here calls functions that the library hands out with pointers to locals that outlive
//! the call, and reads texts which the interface promises to end with NUL. The library stays loaded
//! as long as the entry that the caller holds. What the library calls back gets at our data through
//! a pointer that is valid while the call that it was given to lasts; a library that keeps it breaks
//! itself, and its worker.
#![allow(unsafe_code)]

use super::super::{ListedPreset, Preset};
use clack_host::prelude::PluginEntry;
use clap_sys::factory::preset_discovery::*;
use clap_sys::timestamp::clap_timestamp;
use clap_sys::universal_plugin_id::clap_universal_plugin_id;
use clap_sys::version::CLAP_VERSION;
use std::ffi::{CStr, CString, OsString, c_char, c_void};
use std::path::{Path, PathBuf};
use std::ptr;

/// Most that is believed, and most files that are looked at: beyond that a list helps nobody.
const MAX_PROVIDERS: u32 = 64;
const MAX_DECLARED: usize = 1000;
const MAX_PRESETS: usize = 100_000;
const MAX_FILES: usize = 100_000;
const MAX_DEPTH: usize = 16;
const MAX_WORDS: usize = 64;
const MAX_TEXT: usize = 4096;

/// Lists the presets of all providers of a loaded file.
pub(super) fn list(entry: &PluginEntry) -> Vec<ListedPreset> {
    let mut found = Found::default();
    // SAFETY: see the file's first page.
    unsafe {
        let Some(get_factory) = entry.raw_entry().get_factory else { return found.presets };
        let names = [CLAP_PRESET_DISCOVERY_FACTORY_ID, CLAP_PRESET_DISCOVERY_FACTORY_ID_COMPAT];
        let factory = names.iter().find_map(|name| {
            get_factory(name.as_ptr()).cast::<clap_preset_discovery_factory>().as_ref()
        });
        let Some(factory) = factory else { return found.presets };
        let (Some(count), Some(describe), Some(create)) =
            (factory.count, factory.get_descriptor, factory.create)
        else {
            return found.presets;
        };
        for index in 0..count(factory).min(MAX_PROVIDERS) {
            let Some(descriptor) = describe(factory, index).as_ref() else { continue };
            if descriptor.id.is_null() {
                continue;
            }
            let mut declared = Declared::default();
            let indexer = indexer(&mut declared);
            let provider = create(factory, &indexer, descriptor.id);
            if let Some(functions) = provider.as_ref() {
                if functions.init.is_none_or(|init| init(provider)) {
                    ask(provider, functions, &declared, &mut found);
                }
                if let Some(destroy) = functions.destroy {
                    destroy(provider);
                }
            }
        }
    }
    found.presets
}

/// What a provider says of where its presets are.
#[derive(Default)]
struct Declared {
    /// Endings of their files' names, without the dot; an empty one: any.
    endings: Vec<OsString>,
    /// `None`: within the plugins.
    places: Vec<Option<PathBuf>>,
}

/// What has been found in all places so far.
#[derive(Default)]
struct Found {
    presets: Vec<ListedPreset>,
    /// Where the presets come from that are told of now.
    file: Option<PathBuf>,
    /// Files looked at.
    files: usize,
}

/// A text of the library's, cut where nobody reads on.
unsafe fn text(from: *const c_char) -> Option<String> {
    if from.is_null() {
        return None;
    }
    // SAFETY: as the interface promises.
    let bytes = unsafe { CStr::from_ptr(from) }.to_bytes();
    Some(String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_TEXT)]).into_owned())
}

/// Has a provider tell of everything in the places that it declared.
unsafe fn ask(
    provider: *const clap_preset_discovery_provider,
    functions: &clap_preset_discovery_provider,
    declared: &Declared,
    found: &mut Found,
) {
    let Some(get_metadata) = functions.get_metadata else { return };
    let mut ask = |file: Option<PathBuf>, found: &mut Found| {
        let bytes = file.as_ref().map(|file| CString::new(file.as_os_str().as_encoded_bytes()));
        let Ok(location) = bytes.transpose() else { return };
        let kind = match location {
            Some(_) => CLAP_PRESET_DISCOVERY_LOCATION_FILE,
            None => CLAP_PRESET_DISCOVERY_LOCATION_PLUGIN,
        };
        found.file = file;
        let location = location.as_ref().map_or(ptr::null(), |location| location.as_ptr());
        let receiver = receiver(found);
        // SAFETY: see the file's first page. That it fails means that there is no preset.
        unsafe { get_metadata(provider, kind, location, &receiver) };
    };
    for place in &declared.places {
        match place {
            None => ask(None, found),
            Some(path) => walk(path, 0, &declared.endings, found, &mut ask),
        }
    }
}

/// Asks for each file of a place: a file, or a folder and what is in it.
fn walk(
    path: &Path,
    depth: usize,
    endings: &[OsString],
    found: &mut Found,
    ask: &mut dyn FnMut(Option<PathBuf>, &mut Found),
) {
    let Ok(about) = std::fs::metadata(path) else { return };
    if about.is_file() {
        let ending = path.extension().unwrap_or_default();
        let fits = |wanted: &OsString| wanted.is_empty() || wanted.eq_ignore_ascii_case(ending);
        // A place that is a file was meant, whatever its name.
        if (depth == 0 || endings.is_empty() || endings.iter().any(fits)) && found.files < MAX_FILES
        {
            found.files += 1;
            ask(Some(path.to_owned()), found);
        }
    } else if about.is_dir() && depth < MAX_DEPTH {
        let Ok(entries) = std::fs::read_dir(path) else { return };
        let mut paths: Vec<PathBuf> =
            entries.take(MAX_FILES).filter_map(|entry| Some(entry.ok()?.path())).collect();
        // The same list each time, whatever the system's order.
        paths.sort();
        for path in paths {
            walk(&path, depth + 1, endings, found, ask);
        }
    }
}

fn indexer(declared: &mut Declared) -> clap_preset_discovery_indexer {
    clap_preset_discovery_indexer {
        clap_version: CLAP_VERSION,
        name: c"Sandrack".as_ptr(),
        vendor: c"Sandrack contributors".as_ptr(),
        url: c"".as_ptr(),
        version: c"1".as_ptr(),
        indexer_data: ptr::from_mut(declared).cast(),
        declare_filetype: Some(declare_filetype),
        declare_location: Some(declare_location),
        declare_soundpack: Some(declare_soundpack),
        get_extension: Some(get_extension),
    }
}

unsafe fn declared<'a>(indexer: *const clap_preset_discovery_indexer) -> Option<&'a mut Declared> {
    // SAFETY: the library passes the indexer it was given; see the file's first page.
    unsafe { indexer.as_ref().and_then(|indexer| indexer.indexer_data.cast::<Declared>().as_mut()) }
}

unsafe extern "C" fn declare_filetype(
    indexer: *const clap_preset_discovery_indexer,
    filetype: *const clap_preset_discovery_filetype,
) -> bool {
    // SAFETY: see the file's first page.
    let (Some(declared), Some(filetype)) = (unsafe { (declared(indexer), filetype.as_ref()) })
    else {
        return false;
    };
    if declared.endings.len() >= MAX_DECLARED {
        return false;
    }
    // SAFETY: see the file's first page.
    let ending = unsafe { text(filetype.file_extension) }.unwrap_or_default();
    declared.endings.push(ending.trim_start_matches('.').into());
    true
}

unsafe extern "C" fn declare_location(
    indexer: *const clap_preset_discovery_indexer,
    location: *const clap_preset_discovery_location,
) -> bool {
    // SAFETY: see the file's first page.
    let (Some(declared), Some(location)) = (unsafe { (declared(indexer), location.as_ref()) })
    else {
        return false;
    };
    if declared.places.len() >= MAX_DECLARED {
        return false;
    }
    // SAFETY: see the file's first page.
    let path = unsafe { text(location.location) };
    match (location.kind, path) {
        (CLAP_PRESET_DISCOVERY_LOCATION_PLUGIN, _) => declared.places.push(None),
        // Relative to what?
        (CLAP_PRESET_DISCOVERY_LOCATION_FILE, Some(path)) if Path::new(&path).is_absolute() => {
            declared.places.push(Some(path.into()));
        }
        _ => return false,
    }
    true
}

unsafe extern "C" fn declare_soundpack(
    _indexer: *const clap_preset_discovery_indexer,
    _soundpack: *const clap_preset_discovery_soundpack,
) -> bool {
    // Nothing is made of them.
    true
}

unsafe extern "C" fn get_extension(
    _indexer: *const clap_preset_discovery_indexer,
    _id: *const c_char,
) -> *const c_void {
    ptr::null()
}

type Receiver = clap_preset_discovery_metadata_receiver;

fn receiver(found: &mut Found) -> Receiver {
    Receiver {
        receiver_data: ptr::from_mut(found).cast(),
        on_error: Some(on_error),
        begin_preset: Some(begin_preset),
        add_plugin_id: Some(add_plugin_id),
        set_soundpack_id: Some(ignore_text),
        set_flags: Some(set_flags),
        add_creator: Some(add_creator),
        set_description: Some(set_description),
        set_timestamps: Some(set_timestamps),
        add_feature: Some(add_feature),
        add_extra_info: Some(add_extra_info),
    }
}

unsafe fn found<'a>(receiver: *const Receiver) -> Option<&'a mut Found> {
    // SAFETY: the library passes the receiver it was given; see the file's first page.
    unsafe {
        receiver.as_ref().and_then(|receiver| receiver.receiver_data.cast::<Found>().as_mut())
    }
}

/// Adds a text to a list of the preset that is told of.
unsafe fn add(
    receiver: *const Receiver,
    from: *const c_char,
    list: impl FnOnce(&mut ListedPreset) -> &mut Vec<String>,
) {
    // SAFETY: see the file's first page.
    let (Some(found), Some(text)) = (unsafe { (found(receiver), text(from)) }) else { return };
    if let Some(list) = found.presets.last_mut().map(list)
        && list.len() < MAX_WORDS
    {
        list.push(text);
    }
}

// An unreadable file holds no preset.
unsafe extern "C" fn on_error(_: *const Receiver, _os_error: i32, _message: *const c_char) {}

unsafe extern "C" fn begin_preset(
    receiver: *const Receiver,
    name: *const c_char,
    key: *const c_char,
) -> bool {
    // SAFETY: see the file's first page.
    let (found, name, key) = unsafe { (found(receiver), text(name), text(key)) };
    let Some(found) = found.filter(|found| found.presets.len() < MAX_PRESETS) else { return false };
    let file = found.file.clone();
    // Of a file that is one preset, the name may be left to the file's.
    let of_file = || file.as_ref()?.file_stem().map(|name| name.to_string_lossy().into_owned());
    let name = name.filter(|name| !name.is_empty()).or_else(of_file).unwrap_or_default();
    found.presets.push(ListedPreset { preset: Preset { name, file, key }, ..Default::default() });
    true
}

unsafe extern "C" fn add_plugin_id(receiver: *const Receiver, id: *const clap_universal_plugin_id) {
    // SAFETY: see the file's first page.
    unsafe {
        let Some(id) = id.as_ref() else { return };
        let is_clap = text(id.abi).is_none_or(|abi| abi == "clap");
        if is_clap {
            add(receiver, id.id, |preset| &mut preset.plugins);
        }
    }
}

unsafe extern "C" fn add_creator(receiver: *const Receiver, creator: *const c_char) {
    // SAFETY: see the file's first page.
    unsafe { add(receiver, creator, |preset| &mut preset.creators) };
}

unsafe extern "C" fn add_feature(receiver: *const Receiver, feature: *const c_char) {
    // SAFETY: see the file's first page.
    unsafe { add(receiver, feature, |preset| &mut preset.features) };
}

unsafe extern "C" fn set_description(receiver: *const Receiver, description: *const c_char) {
    // SAFETY: see the file's first page.
    if let (Some(found), Some(text)) = unsafe { (found(receiver), text(description)) }
        && let Some(preset) = found.presets.last_mut()
    {
        preset.description = text;
    }
}

unsafe extern "C" fn ignore_text(_: *const Receiver, _: *const c_char) {}
unsafe extern "C" fn set_flags(_: *const Receiver, _flags: u32) {}
unsafe extern "C" fn set_timestamps(_: *const Receiver, _made: clap_timestamp, _: clap_timestamp) {}
unsafe extern "C" fn add_extra_info(_: *const Receiver, _: *const c_char, _: *const c_char) {}
