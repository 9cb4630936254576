//! The factory.

use std::ffi::c_void;
use std::ptr;

use vst3::Steinberg::PClassInfo_::ClassCardinality_::kManyInstances;
use vst3::Steinberg::PFactoryInfo_::FactoryFlags_::kUnicode;
use vst3::Steinberg::Vst::{IComponent, IEditController};
use vst3::Steinberg::{
    FIDString, FUnknown, IPluginFactory2, IPluginFactory2Trait, IPluginFactoryTrait, PClassInfo,
    PClassInfo2, PFactoryInfo, TUID, int32, kInternalError, kInvalidArgument, kResultOk, tresult,
};
use vst3::{Class, ComPtr, ComWrapper, Interface};

use crate::plugin::{Apart, Controller, Plugin, Whole};
use crate::text::narrow;
use crate::what::What;

pub(crate) struct Factory;

impl Class for Factory {
    type Interfaces = (IPluginFactory2,);
}

/// Who has a controller that is a class of its own.
const CONTROLLERS: [What; 2] = [What::OddSplit, What::OddTwins];

/// Name and id of a class, and whether it is a controller.
fn class(index: i32) -> Option<(What, TUID, bool)> {
    let mut all = What::all();
    let index = usize::try_from(index).ok()?;
    let count = all.len();
    match all.nth(index) {
        Some(what) => Some((what, what.id(), false)),
        None => {
            let what = *CONTROLLERS.get(index - count)?;
            Some((what, what.controller_id(), true))
        }
    }
}

impl IPluginFactoryTrait for Factory {
    unsafe fn getFactoryInfo(&self, info: *mut PFactoryInfo) -> tresult {
        let mut filled = PFactoryInfo { vendor: [0; _], url: [0; _], email: [0; _], flags: 0 };
        narrow("Sandrack", &mut filled.vendor);
        filled.flags = kUnicode as int32;
        // SAFETY: the host passes valid memory.
        unsafe { info.write(filled) };
        kResultOk
    }

    unsafe fn countClasses(&self) -> int32 {
        (What::all().len() + CONTROLLERS.len()) as int32
    }

    unsafe fn getClassInfo(&self, index: int32, info: *mut PClassInfo) -> tresult {
        let Some((what, cid, is_controller)) = class(index) else { return kInvalidArgument };
        let cardinality = kManyInstances as int32;
        let mut filled = PClassInfo { cid, cardinality, category: [0; _], name: [0; _] };
        narrow(category(is_controller), &mut filled.category);
        narrow(what.name(), &mut filled.name);
        // SAFETY: the host passes valid memory.
        unsafe { info.write(filled) };
        kResultOk
    }

    unsafe fn createInstance(
        &self,
        cid: FIDString,
        iid: FIDString,
        object: *mut *mut c_void,
    ) -> tresult {
        // SAFETY: the host passes ids of 16 bytes, and a variable for the result.
        let (cid, iid) = unsafe {
            object.write(ptr::null_mut());
            (*cid.cast::<TUID>(), iid.cast::<TUID>())
        };
        if let Some(what) = CONTROLLERS.iter().find(|what| what.controller_id() == cid) {
            return query(controller(*what), iid, object);
        }
        match What::all().find(|what| what.id() == cid) {
            None => kInvalidArgument,
            Some(What::CreateFails) => kInternalError,
            Some(What::CreateNull) => kResultOk,
            Some(what) if what.is_split() => {
                let plugin = ComWrapper::new(Plugin::<Apart>::new(what));
                query(plugin.to_com_ptr::<IComponent>(), iid, object)
            }
            Some(what) => {
                let plugin = ComWrapper::new(Plugin::<Whole>::new(what));
                query(plugin.to_com_ptr::<IComponent>(), iid, object)
            }
        }
    }
}

impl IPluginFactory2Trait for Factory {
    unsafe fn getClassInfo2(&self, index: int32, info: *mut PClassInfo2) -> tresult {
        let Some((what, cid, is_controller)) = class(index) else { return kInvalidArgument };
        let mut filled = PClassInfo2 {
            cid,
            cardinality: kManyInstances as int32,
            category: [0; _],
            name: [0; _],
            classFlags: 0,
            subCategories: [0; _],
            vendor: [0; _],
            version: [0; _],
            sdkVersion: [0; _],
        };
        narrow(category(is_controller), &mut filled.category);
        narrow(what.name(), &mut filled.name);
        narrow(
            if what == What::OddMidiMapping { "Instrument|Synth" } else { "Fx" },
            &mut filled.subCategories,
        );
        narrow("Sandrack", &mut filled.vendor);
        narrow("1.0.0", &mut filled.version);
        narrow("VST 3.7.9", &mut filled.sdkVersion);
        // SAFETY: the host passes valid memory.
        unsafe { info.write(filled) };
        kResultOk
    }
}

fn category(is_controller: bool) -> &'static str {
    if is_controller { "Component Controller Class" } else { "Audio Module Class" }
}

fn controller(what: What) -> Option<ComPtr<IEditController>> {
    ComWrapper::new(Plugin::<Controller>::new(what)).to_com_ptr()
}

fn query<I: Interface>(
    plugin: Option<ComPtr<I>>,
    iid: *const TUID,
    to: *mut *mut c_void,
) -> tresult {
    let Some(plugin) = plugin else { return kInternalError };
    let unknown = plugin.as_ptr().cast::<FUnknown>();
    // SAFETY: every interface begins with those of `FUnknown`; the host passes valid memory.
    unsafe { ((*(*unknown).vtbl).queryInterface)(unknown, iid, to) }
}
