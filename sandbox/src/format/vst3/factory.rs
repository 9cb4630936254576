//! A module's factory: which plugins it makes.
//!
//! # Safety
//! `unsafe` here is calls of the factory, which is alive, with structures of the right kind to be
//! filled in; and taking the reference that `createInstance` gives with the interface asked for.
#![allow(unsafe_code)]

use super::abi::{blank, hex, narrow, normal_hex, wide};
use super::module::Module;
use crate::error::PluginError;
use crate::format::{Descriptor, PluginRef};
use std::path::Path;
use vst3::Steinberg::{
    FUnknown, IPluginFactory, IPluginFactory2, IPluginFactory2Trait, IPluginFactory3,
    IPluginFactory3Trait, IPluginFactoryTrait, PClassInfo, PClassInfo2, PClassInfoW, PFactoryInfo,
    TUID, kResultOk,
};
use vst3::{ComPtr, Interface};

/// Category of the classes that are plugins.
const AUDIO_EFFECT: &str = "Audio Module Class";
/// Most classes that are believed of a factory.
const MAX_CLASSES: i32 = 10_000;

/// A plugin that a factory makes.
#[derive(Clone)]
pub(super) struct AudioClass {
    pub(super) id: TUID,
    pub(super) descriptor: Descriptor,
}

/// A factory with at least one plugin.
pub(super) struct Factory {
    factory: ComPtr<IPluginFactory>,
    pub(super) classes: Vec<AudioClass>,
    // Last: left after all that came of it is gone.
    _module: Module,
}

impl Factory {
    /// Loads a library and reads its factory. `shown` is what the user calls it.
    pub(super) fn open(file: &Path, shown: &Path) -> Result<Self, PluginError> {
        let failed = |reason| PluginError::Load { path: shown.display().to_string(), reason };
        let module = Module::open(file).map_err(failed)?;
        let factory =
            module.factory().ok_or_else(|| failed("its GetPluginFactory gave none".into()))?;
        let classes = audio_classes(&factory);
        if classes.is_empty() {
            return Err(failed("there is no plugin in it (its factory has no audio class)".into()));
        }
        Ok(Self { factory, classes, _module: module })
    }

    /// Tells the factory who its host is.
    pub(super) fn set_host(&self, host: &ComPtr<FUnknown>) {
        if let Some(factory) = self.factory.cast::<IPluginFactory3>() {
            // SAFETY: see the file's text.
            unsafe { factory.setHostContext(host.as_ptr()) };
        }
    }

    /// The class that is meant: by its id, or by its name if only one is called so.
    pub(super) fn find(&self, plugin: &PluginRef) -> Result<&AudioClass, PluginError> {
        let Some(id) = &plugin.id else { return Ok(&self.classes[0]) };
        let digits = normal_hex(id);
        let by_id = self.classes.iter().find(|c| Some(&c.descriptor.id) == digits.as_ref());
        let named: Vec<_> = self.classes.iter().filter(|c| c.descriptor.name == *id).collect();
        match (by_id, named.as_slice()) {
            (Some(class), _) => Ok(class),
            (None, [class]) => Ok(class),
            _ => {
                let descriptors = self.classes.iter().map(|class| &class.descriptor);
                Err(PluginError::NoSuchId {
                    path: plugin.path.display().to_string(),
                    id: id.clone(),
                    has: some_of(id, descriptors),
                })
            }
        }
    }

    /// Makes an object of a class.
    pub(super) fn create<I: Interface>(&self, class: &TUID) -> Option<ComPtr<I>> {
        let mut object = std::ptr::null_mut();
        // SAFETY: see the file's text.
        unsafe {
            let result =
                self.factory.createInstance(class.as_ptr(), I::IID.as_ptr().cast(), &mut object);
            match result {
                kResultOk => ComPtr::from_raw(object.cast()),
                _ => None,
            }
        }
    }
}

/// Most plugins that an error names.
const NAMED: usize = 5;

/// Names plugins for whoever asked for one that is not there: first those whose names begin like,
/// contain, or share a word with what was asked for.
fn some_of<'a>(wanted: &str, all: impl Iterator<Item = &'a Descriptor>) -> String {
    let wanted = wanted.to_lowercase();
    let distance = |descriptor: &Descriptor| {
        let (name, id) = (descriptor.name.to_lowercase(), descriptor.id.to_lowercase());
        if name == wanted {
            0
        } else if name.starts_with(&wanted) || id.starts_with(&wanted) {
            1
        } else if name.contains(&wanted) {
            2
        } else if wanted.split_whitespace().any(|word| name.contains(word)) {
            3
        } else {
            4
        }
    };
    let mut all: Vec<_> = all.collect();
    all.sort_by_key(|descriptor| distance(descriptor));
    let text = |descriptor: &&Descriptor| format!("{} ({})", descriptor.id, descriptor.name);
    let mut named: Vec<String> = all.iter().take(NAMED).map(text).collect();
    if all.len() > NAMED {
        named.push(format!("… and {} more", all.len() - NAMED));
    }
    named.join(", ")
}

fn audio_classes(factory: &ComPtr<IPluginFactory>) -> Vec<AudioClass> {
    let (second, third) = (factory.cast::<IPluginFactory2>(), factory.cast::<IPluginFactory3>());
    let mut maker: PFactoryInfo = blank();
    // SAFETY: see the file's text.
    let count = unsafe {
        factory.getFactoryInfo(&mut maker);
        factory.countClasses().clamp(0, MAX_CLASSES)
    };
    let maker = narrow(&maker.vendor);
    let mut classes = Vec::new();
    for index in 0..count {
        let Some((category, mut class)) = class_info(factory, &second, &third, index) else {
            continue;
        };
        if category != AUDIO_EFFECT {
            continue;
        }
        if class.descriptor.vendor.is_empty() {
            class.descriptor.vendor.clone_from(&maker);
        }
        classes.push(class);
    }
    classes
}

/// Category and class, from the newest of the ways in which the factory tells them.
fn class_info(
    factory: &ComPtr<IPluginFactory>,
    second: &Option<ComPtr<IPluginFactory2>>,
    third: &Option<ComPtr<IPluginFactory3>>,
    index: i32,
) -> Option<(String, AudioClass)> {
    if let Some(third) = third {
        let mut info: PClassInfoW = blank();
        // SAFETY: see the file's text.
        if unsafe { third.getClassInfoUnicode(index, &mut info) } == kResultOk {
            let descriptor = Descriptor {
                id: hex(&info.cid),
                name: wide(&info.name),
                vendor: wide(&info.vendor),
                version: wide(&info.version),
                description: String::new(),
                features: features(&narrow(&info.subCategories)),
            };
            return Some((narrow(&info.category), AudioClass { id: info.cid, descriptor }));
        }
    }
    if let Some(second) = second {
        let mut info: PClassInfo2 = blank();
        // SAFETY: see the file's text.
        if unsafe { second.getClassInfo2(index, &mut info) } == kResultOk {
            let descriptor = Descriptor {
                id: hex(&info.cid),
                name: narrow(&info.name),
                vendor: narrow(&info.vendor),
                version: narrow(&info.version),
                description: String::new(),
                features: features(&narrow(&info.subCategories)),
            };
            return Some((narrow(&info.category), AudioClass { id: info.cid, descriptor }));
        }
    }
    let mut info: PClassInfo = blank();
    // SAFETY: see the file's text.
    if unsafe { factory.getClassInfo(index, &mut info) } != kResultOk {
        return None;
    }
    let descriptor =
        Descriptor { id: hex(&info.cid), name: narrow(&info.name), ..Descriptor::default() };
    Some((narrow(&info.category), AudioClass { id: info.cid, descriptor }))
}

/// Subcategories (`Fx|Pitch Shift`) in the words that CLAP has for them, as far as it has.
fn features(subcategories: &str) -> Vec<String> {
    let word = |part: &str| match part {
        "Fx" => "audio-effect".to_owned(),
        "EQ" => "equalizer".into(),
        "Pitch Shift" => "pitch-shifter".into(),
        "Synth" => "synthesizer".into(),
        "Drum" => "drum".into(),
        other => other.to_lowercase().replace(' ', "-"),
    };
    subcategories.split('|').map(str::trim).filter(|part| !part.is_empty()).map(word).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn of_many_plugins_an_error_names_the_nearest() {
        let name = |n: usize| if n == 150 { "Graphic EQ".into() } else { format!("Plugin {n}") };
        let all: Vec<_> = (0..184)
            .map(|n| super::Descriptor {
                id: format!("{n:032}"),
                name: name(n),
                ..Default::default()
            })
            .collect();
        let text = super::some_of("graphic eq x16", all.iter());
        assert!(text.starts_with(&format!("{:032} (Graphic EQ), ", 150)), "{text}");
        assert!(text.ends_with(", … and 179 more"), "{text}");
        assert_eq!(text.matches(" (").count(), 5, "{text}");
        assert!(!super::some_of("x", all[..5].iter()).contains('…'));
    }

    #[test]
    fn subcategories_become_features() {
        let all = super::features("Fx|EQ|Pitch Shift||Up-Downmix");
        assert_eq!(all, ["audio-effect", "equalizer", "pitch-shifter", "up-downmix"]);
        assert!(super::features("").is_empty());
    }
}
