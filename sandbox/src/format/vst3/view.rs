//! Editors of VST3 plugins: `IPlugView`, and the frame that the host puts around it.
//!
//! # Safety
//! `unsafe` here is calls of the view, which lives as long as its reference, on the main thread and
//! in the order that the SDK prescribes; and structures that the plugin points to, checked for
//! null.
#![allow(unsafe_code)]

use super::abi::meaning;
use super::run_loop::{RunLoop, pass_run_loop_on};
use super::shared::Wake;
use crate::error::PluginError;
use crate::format::editor::{Editor, EditorRequest, Placement, Resizing, Size, WindowId};
use crate::sys::window::VST3_TYPE;
use crossbeam_queue::ArrayQueue;
use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use vst3::Steinberg::Linux::IRunLoop;
use vst3::Steinberg::Vst::{IEditController, IEditControllerTrait, ViewType};
use vst3::Steinberg::{
    FIDString, IPlugFrame, IPlugFrameTrait, IPlugView, IPlugViewContentScaleSupport,
    IPlugViewContentScaleSupportTrait, IPlugViewTrait, ViewRect, kInvalidArgument, kResultFalse,
    kResultOk, kResultTrue, tresult,
};
use vst3::{Class, ComPtr, ComRef, ComWrapper};

/// The kind of windows that this system's editors are put into.
const PLATFORM: FIDString = VST3_TYPE.as_ptr();

/// A controller's editor.
pub(super) struct ViewEditor {
    /// The plugin's, for errors.
    name: String,
    controller: ComPtr<IEditController>,
    frame: ComPtr<IPlugFrame>,
    requests: Arc<ArrayQueue<EditorRequest>>,
    view: Option<ComPtr<IPlugView>>,
    attached: bool,
    missing: bool,
}

impl ViewEditor {
    pub(super) fn new(
        name: &str,
        controller: &ComPtr<IEditController>,
        run_loop: &Arc<RunLoop>,
        wake: Wake,
    ) -> Self {
        let requests = Arc::new(ArrayQueue::new(16));
        let frame = Frame {
            run_loop: Arc::clone(run_loop),
            requests: Arc::clone(&requests),
            wake,
            in_resize: AtomicBool::new(false),
        };
        Self {
            name: name.into(),
            controller: controller.clone(),
            frame: ComWrapper::new(frame).to_com_ptr().expect("it is in its list of interfaces"),
            requests,
            view: None,
            attached: false,
            missing: false,
        }
    }

    /// Whether the controller was asked for a view, and gave none.
    pub(super) fn is_known_to_be_missing(&self) -> bool {
        self.missing
    }

    fn call_failed(&self, call: &str, reason: impl ToString) -> PluginError {
        PluginError::Call {
            plugin: self.name.clone(),
            call: call.into(),
            reason: reason.to_string(),
        }
    }
}

fn rect(size: Size) -> ViewRect {
    ViewRect { left: 0, top: 0, right: size.width as i32, bottom: size.height as i32 }
}

/// `None`: nothing can be of that size.
fn size(rect: &ViewRect) -> Option<Size> {
    let side = |from: i32, to: i32| u32::try_from(i64::from(to) - i64::from(from)).ok();
    let (width, height) = (side(rect.left, rect.right)?, side(rect.top, rect.bottom)?);
    Some(Size { width, height }).filter(|size| *size == size.clamped())
}

impl Editor for ViewEditor {
    fn create(&mut self, scale: f64, _title: &str) -> Result<Placement, PluginError> {
        self.destroy();
        // SAFETY: see the file's text. Who asks for a view gets its reference.
        let view = unsafe { ComPtr::from_raw(self.controller.createView(ViewType::kEditor)) };
        self.missing = view.is_none();
        let view = view.ok_or_else(|| self.call_failed("createView", "it has no editor"))?;
        // SAFETY: see the file's text.
        if unsafe { view.isPlatformTypeSupported(PLATFORM) } != kResultTrue {
            let reason = "its editor is for another window system";
            return Err(self.call_failed("isPlatformTypeSupported", reason));
        }
        // SAFETY: see the file's text. The frame outlives the view: `destroy`.
        unsafe { view.setFrame(self.frame.as_ptr()) };
        if let Some(scaling) = view.cast::<IPlugViewContentScaleSupport>() {
            // It may well answer no: then it looks at the system itself, or does not scale.
            // SAFETY: see the file's text.
            unsafe { scaling.setContentScaleFactor(scale as f32) };
        }
        self.view = Some(view);
        Ok(Placement::Embedded)
    }

    fn size(&mut self) -> Option<Size> {
        let mut rect = ViewRect { left: 0, top: 0, right: 0, bottom: 0 };
        // SAFETY: see the file's text.
        let result = unsafe { self.view.as_ref()?.getSize(&mut rect) };
        if result == kResultOk { size(&rect) } else { None }
    }

    fn resizing(&mut self) -> Resizing {
        // SAFETY: see the file's text.
        let can = self.view.as_ref().is_some_and(|v| unsafe { v.canResize() } == kResultTrue);
        if can { Resizing::FREE } else { Resizing::default() }
    }

    fn adjust(&mut self, wanted: Size) -> Size {
        let Some(view) = &self.view else { return wanted };
        let mut fit = rect(wanted);
        // Whether it answers yes or no, the rectangle holds what it can do.
        // SAFETY: see the file's text.
        unsafe { view.checkSizeConstraint(&mut fit) };
        size(&fit).unwrap_or(wanted)
    }

    fn set_size(&mut self, size: Size) -> bool {
        let Some(view) = &self.view else { return false };
        // SAFETY: see the file's text.
        let agreed = unsafe { view.onSize(&mut rect(size)) == kResultTrue };
        // Some answer no, or nothing, and do it all the same.
        agreed || self.size() == Some(size)
    }

    fn attach(&mut self, window: WindowId) -> Result<(), PluginError> {
        let Some(view) = &self.view else {
            return Err(self.call_failed("attached", "there is no view"));
        };
        // SAFETY: see the file's text. The caller keeps the window until `destroy`.
        let result = unsafe { view.attached(window.0 as *mut c_void, PLATFORM) };
        if result != kResultOk {
            return Err(self.call_failed("attached", meaning(result)));
        }
        self.attached = true;
        Ok(())
    }

    fn show(&mut self) -> Result<(), PluginError> {
        Ok(())
    }

    fn hide(&mut self) {}

    fn destroy(&mut self) {
        let Some(view) = self.view.take() else { return };
        // SAFETY: see the file's text.
        unsafe {
            if std::mem::take(&mut self.attached) {
                view.removed();
            }
            view.setFrame(std::ptr::null_mut());
        }
        drop(view);
        while self.requests.pop().is_some() {}
    }

    fn take_request(&mut self) -> Option<EditorRequest> {
        self.requests.pop()
    }
}

impl Drop for ViewEditor {
    fn drop(&mut self) {
        self.destroy();
    }
}

/// What a view can call in its host.
struct Frame {
    run_loop: Arc<RunLoop>,
    requests: Arc<ArrayQueue<EditorRequest>>,
    wake: Wake,
    /// Within the call back of `resizeView`: some views ask again from there.
    in_resize: AtomicBool,
}

impl Class for Frame {
    type Interfaces = (IPlugFrame, IRunLoop);
}

impl IPlugFrameTrait for Frame {
    unsafe fn resizeView(&self, view: *mut IPlugView, wanted: *mut ViewRect) -> tresult {
        // SAFETY: see the file's text.
        let (view, wanted) = unsafe { (ComRef::from_raw(view), wanted.as_ref()) };
        let (Some(view), Some(wanted)) = (view, wanted) else { return kInvalidArgument };
        let Some(size) = size(wanted) else { return kInvalidArgument };
        if self.in_resize.swap(true, Ordering::Acquire) {
            return kResultFalse;
        }
        // The last is the one that counts.
        self.requests.force_push(EditorRequest::Resize(size));
        (self.wake)();
        // The view may rely on hearing of its new size before this call returns. The window follows.
        let mut now = ViewRect { left: 0, top: 0, right: 0, bottom: 0 };
        // SAFETY: see the file's text.
        unsafe {
            let known = view.getSize(&mut now) == kResultOk && self::size(&now) == Some(size);
            if !known {
                view.onSize(&mut rect(size));
            }
        }
        self.in_resize.store(false, Ordering::Release);
        kResultOk
    }
}

pass_run_loop_on!(Frame);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_sizes_that_a_window_can_have_are_taken() {
        let of = |left, top, right, bottom| size(&ViewRect { left, top, right, bottom });
        assert_eq!(of(10, 20, 110, 70), Some(Size { width: 100, height: 50 }));
        assert_eq!(of(0, 0, 0, 50), None);
        assert_eq!(of(100, 0, 0, 50), None);
        assert_eq!(of(i32::MIN, i32::MIN, i32::MAX, i32::MAX), None);
    }
}
