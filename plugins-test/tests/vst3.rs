//! The same plugins are there as VST3.
//!
//! # Safety
//!
//! Loads the library and calls its entry points and its factory as the VST3 SDK prescribes,
//! on one thread; structures to be filled in may start as all zeros.
#![allow(unsafe_code, reason = "loads a library and calls its C interface, see above")]

mod common;

use std::ffi::{CStr, c_void};

use common::{Clap, plugins};
use libloading::{Library, Symbol};
use vst3::ComPtr;
use vst3::Steinberg::Vst::{IComponent, IComponent_iid};
use vst3::Steinberg::{
    IPluginBaseTrait, IPluginFactory, IPluginFactoryTrait, PClassInfo, kResultOk,
};

#[test]
fn the_factory_lists_the_plugins_that_clap_has() {
    // SAFETY: see the file's text.
    unsafe {
        let library = Library::new(plugins()).unwrap();
        if cfg!(target_os = "linux") {
            type Entry = unsafe extern "C" fn(*mut c_void) -> bool;
            let entry: Symbol<Entry> = library.get(b"ModuleEntry\0").unwrap();
            assert!(entry(std::ptr::null_mut()));
        }
        type Get = unsafe extern "system" fn() -> *mut c_void;
        let get: Symbol<Get> = library.get(b"GetPluginFactory\0").unwrap();
        let factory: ComPtr<IPluginFactory> = ComPtr::from_raw(get().cast()).unwrap();

        let classes: Vec<PClassInfo> = (0..factory.countClasses())
            .map(|i| {
                let mut info = std::mem::zeroed();
                assert_eq!(factory.getClassInfo(i, &mut info), kResultOk);
                info
            })
            .collect();
        let names: Vec<_> = classes
            .iter()
            .map(|info| CStr::from_ptr(info.name.as_ptr()).to_str().unwrap().to_owned())
            .collect();
        let clap: Vec<_> =
            Clap::load(&plugins()).unwrap().list().into_iter().map(|(_, name)| name).collect();
        assert_eq!(names, clap);

        for class in &classes {
            let mut object = std::ptr::null_mut();
            let iid = IComponent_iid.as_ptr().cast();
            let result = factory.createInstance(class.cid.as_ptr(), iid, &mut object);
            assert_eq!(result, kResultOk);
            let component: ComPtr<IComponent> = ComPtr::from_raw(object.cast()).unwrap();
            assert_eq!(component.initialize(std::ptr::null_mut()), kResultOk);
            assert_eq!(component.terminate(), kResultOk);
        }
    }
}
