//! What a VST3 plugin can ask of its host: the host's name, messages, and news of parameters.
//!
//! # Safety
//! `unsafe` here writes to addresses that the plugin gives, checked for null, and copies ids of 16
//! bytes from there. The objects may be called from any thread; see [`Shared`].
#![allow(unsafe_code)]

use super::abi::write_wide;
use super::message::{Attributes, Message};
use super::run_loop::{RunLoop, pass_run_loop_on};
use super::shared::{BusRequest, MainCall, Shared};
use crate::format::ParamEdit;
use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use vst3::Steinberg::Linux::IRunLoop;
use vst3::Steinberg::Vst::*;
use vst3::Steinberg::{
    FUnknown, IPlugView_iid, IPlugViewContentScaleSupport_iid, TBool, TUID, kInvalidArgument,
    kNoInterface, kNotImplemented, kResultFalse, kResultOk, kResultTrue, tchar, tresult,
};
use vst3::{Class, ComPtr, ComWrapper};

/// Interfaces of plugins that this host calls.
const SUPPORTED: [TUID; 16] = [
    IComponent_iid,
    IAudioProcessor_iid,
    IEditController_iid,
    IConnectionPoint_iid,
    IUnitInfo_iid,
    IMidiMapping_iid,
    INoteExpressionController_iid,
    INoteExpressionPhysicalUIMapping_iid,
    IProcessContextRequirements_iid,
    IParameterChanges_iid,
    IParamValueQueue_iid,
    IEventList_iid,
    IStreamAttributes_iid,
    IAttributeList_iid,
    IPlugView_iid,
    IPlugViewContentScaleSupport_iid,
];

/// The host, as a context for factories, components and controllers.
pub(super) struct HostApplication {
    run_loop: Arc<RunLoop>,
}

impl Class for HostApplication {
    // Views find the run loop at their frame; some plugins look for it here already.
    type Interfaces = (IHostApplication, IPlugInterfaceSupport, IRunLoop);
}

pass_run_loop_on!(HostApplication);

impl HostApplication {
    pub(super) fn create(run_loop: &Arc<RunLoop>) -> ComPtr<FUnknown> {
        ComWrapper::new(Self { run_loop: Arc::clone(run_loop) })
            .to_com_ptr()
            .expect("every object has it")
    }
}

impl IHostApplicationTrait for HostApplication {
    unsafe fn getName(&self, name: *mut String128) -> tresult {
        // SAFETY: see the file's text.
        match unsafe { name.as_mut() } {
            Some(name) => write_wide("Sandrack", name),
            None => return kInvalidArgument,
        }
        kResultOk
    }

    unsafe fn createInstance(
        &self,
        class: *mut TUID,
        iid: *mut TUID,
        object: *mut *mut c_void,
    ) -> tresult {
        if class.is_null() || iid.is_null() || object.is_null() {
            return kInvalidArgument;
        }
        // SAFETY: see the file's text; who asks gets the reference.
        unsafe {
            let (class, iid) = (class.read_unaligned(), iid.read_unaligned());
            let made: *mut c_void = match class {
                IMessage_iid if iid == IMessage_iid => Message::create().into_raw().cast(),
                IAttributeList_iid if iid == IAttributeList_iid => {
                    Attributes::create().into_raw().cast()
                }
                _ => std::ptr::null_mut(),
            };
            object.write_unaligned(made);
            if made.is_null() { kNoInterface } else { kResultOk }
        }
    }
}

impl IPlugInterfaceSupportTrait for HostApplication {
    unsafe fn isPlugInterfaceSupported(&self, iid: *const TUID) -> tresult {
        if iid.is_null() {
            return kInvalidArgument;
        }
        // SAFETY: see the file's text.
        match SUPPORTED.contains(&unsafe { iid.read_unaligned() }) {
            true => kResultTrue,
            false => kResultFalse,
        }
    }
}

/// Hears what the controller has to say.
pub(super) struct Handler {
    shared: Arc<Shared>,
    next_progress: AtomicU64,
}

impl Class for Handler {
    type Interfaces = (
        IComponentHandler,
        IComponentHandler2,
        IComponentHandlerBusActivation,
        IUnitHandler,
        IUnitHandler2,
        IProgress,
    );
}

impl Handler {
    pub(super) fn create(shared: &Arc<Shared>) -> ComPtr<IComponentHandler> {
        let handler = Self { shared: Arc::clone(shared), next_progress: AtomicU64::new(1) };
        ComWrapper::new(handler).to_com_ptr().expect("it is in its list of interfaces")
    }
}

impl IComponentHandlerTrait for Handler {
    unsafe fn beginEdit(&self, id: ParamID) -> tresult {
        self.shared.check(MainCall::Edit);
        self.shared.edit(id, ParamEdit::Begin);
        kResultOk
    }

    unsafe fn performEdit(&self, id: ParamID, value: ParamValue) -> tresult {
        self.shared.check(MainCall::Edit);
        if !value.is_finite() {
            return kInvalidArgument;
        }
        self.shared.edit(id, ParamEdit::Value(value.clamp(0.0, 1.0)));
        kResultOk
    }

    unsafe fn endEdit(&self, id: ParamID) -> tresult {
        self.shared.check(MainCall::Edit);
        self.shared.edit(id, ParamEdit::End);
        kResultOk
    }

    unsafe fn restartComponent(&self, flags: i32) -> tresult {
        self.shared.check(MainCall::Restart);
        self.shared.restart(flags);
        kResultOk
    }
}

impl IComponentHandler2Trait for Handler {
    unsafe fn setDirty(&self, state: TBool) -> tresult {
        self.shared.check(MainCall::Dirty);
        if state != 0 {
            self.shared.raise(&self.shared.wishes.dirty);
        }
        kResultOk
    }

    unsafe fn requestOpenEditor(&self, _name: *const c_char) -> tresult {
        kNotImplemented
    }

    unsafe fn startGroupEdit(&self) -> tresult {
        kResultOk
    }

    unsafe fn finishGroupEdit(&self) -> tresult {
        kResultOk
    }
}

impl IComponentHandlerBusActivationTrait for Handler {
    unsafe fn requestBusActivation(
        &self,
        media: MediaType,
        direction: BusDirection,
        index: i32,
        state: TBool,
    ) -> tresult {
        self.shared.check(MainCall::Bus);
        let Ok(index) = usize::try_from(index) else { return kInvalidArgument };
        if media != MediaTypes_::kAudio as MediaType {
            // Those for events are always active.
            return if state != 0 { kResultTrue } else { kResultFalse };
        }
        let is_input = direction == BusDirections_::kInput as BusDirection;
        match self.shared.request_bus(BusRequest { is_input, index, active: state != 0 }) {
            true => kResultTrue,
            false => kResultFalse,
        }
    }
}

impl IUnitHandlerTrait for Handler {
    unsafe fn notifyUnitSelection(&self, _unit: UnitID) -> tresult {
        self.shared.check(MainCall::Unit);
        kResultOk
    }

    unsafe fn notifyProgramListChange(&self, _list: ProgramListID, _index: i32) -> tresult {
        self.shared.check(MainCall::Unit);
        self.shared.raise(&self.shared.wishes.params);
        kResultOk
    }
}

impl IUnitHandler2Trait for Handler {
    unsafe fn notifyUnitByBusChange(&self) -> tresult {
        self.shared.check(MainCall::Unit);
        kResultOk
    }
}

// Progress is shown nowhere yet; a plugin may depend on being heard.
impl IProgressTrait for Handler {
    unsafe fn start(
        &self,
        _kind: IProgress_::ProgressType,
        _description: *const tchar,
        id: *mut IProgress_::ID,
    ) -> tresult {
        if id.is_null() {
            return kInvalidArgument;
        }
        // SAFETY: see the file's text.
        unsafe { id.write_unaligned(self.next_progress.fetch_add(1, Ordering::Relaxed)) };
        kResultOk
    }

    unsafe fn update(&self, _id: IProgress_::ID, _value: ParamValue) -> tresult {
        kResultOk
    }

    unsafe fn finish(&self, _id: IProgress_::ID) -> tresult {
        kResultOk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vst3::Steinberg::Vst::{IHostApplication, IMessage};

    #[test]
    fn the_host_has_a_name_and_makes_messages_only() {
        let host = HostApplication::create(&RunLoop::new(Arc::new(|| {})))
            .cast::<IHostApplication>()
            .unwrap();
        let mut name = [0_u16; 128];
        let mut object = std::ptr::null_mut();
        // SAFETY: the host lives; addresses are those of local values.
        unsafe {
            assert_eq!(host.getName(&mut name), kResultOk);
            assert_eq!(super::super::abi::wide(&name), "Sandrack");
            let (mut class, mut other) = (IMessage_iid, IComponent_iid);
            let id: *mut TUID = &mut class;
            assert_eq!(host.createInstance(id, id, &mut object), kResultOk);
            drop(ComPtr::<IMessage>::from_raw(object.cast()));
            assert_eq!(host.createInstance(&mut other, id, &mut object), kNoInterface);
            assert!(object.is_null());
        }
    }
}
