//! Editors of CLAP plugins.
//!
//! # Safety
//! The one `unsafe` call gives the plugin a window of the host's. Its contract, that the window
//! outlives the plugin's part in it, is [`Editor::attach`]'s.
#![allow(unsafe_code)]

use super::host::HostShared;
use super::{ClapInstance, PluginError};
use crate::format::editor::{Editor, EditorRequest, Placement, Resizing, Size, WindowId};
use clack_extensions::gui::{
    AspectRatioStrategy, GuiApiType, GuiConfiguration, GuiSize, HostGuiImpl, PluginGui, Window,
};
use clack_host::prelude::HostError;
use crossbeam_queue::ArrayQueue;
use std::ffi::{CString, c_void};
use std::sync::atomic::{AtomicBool, Ordering};

/// What an editor asks for, from any thread, until the main thread sees to it.
pub(super) struct EditorShared {
    /// Whether there is one: created, not destroyed.
    open: AtomicBool,
    /// Whether it has ended by itself: all that may be called is `destroy`.
    has_ended: AtomicBool,
    requests: ArrayQueue<EditorRequest>,
}

impl EditorShared {
    pub(super) fn new() -> Self {
        let no = || AtomicBool::new(false);
        Self { open: no(), has_ended: no(), requests: ArrayQueue::new(16) }
    }
}

impl HostShared {
    fn ask(&self, request: EditorRequest) -> Result<(), HostError> {
        if !self.0.editor.open.load(Ordering::Acquire) {
            return Err(HostError::Message("no editor is open"));
        }
        // Of too many the oldest are forgotten: the last size asked for is the one meant.
        self.0.editor.requests.force_push(request);
        self.0.wake();
        Ok(())
    }
}

impl HostGuiImpl for HostShared {
    fn resize_hints_changed(&self) {
        let _ = self.ask(EditorRequest::ResizingChanged);
    }
    fn request_resize(&self, new_size: GuiSize) -> Result<(), HostError> {
        let size = Size { width: new_size.width, height: new_size.height };
        if size != size.clamped() {
            return Err(HostError::Message("no window can be of that size"));
        }
        self.ask(EditorRequest::Resize(size))
    }
    fn request_show(&self) -> Result<(), HostError> {
        self.ask(EditorRequest::Show)
    }
    fn request_hide(&self) -> Result<(), HostError> {
        self.ask(EditorRequest::Hide)
    }
    fn closed(&self, was_destroyed: bool) {
        // Either way it is of no more use, and `destroy` may be called.
        if was_destroyed {
            self.0.editor.has_ended.store(true, Ordering::Release);
        }
        let _ = self.ask(EditorRequest::Closed);
    }
}

impl ClapInstance {
    fn gui(&mut self) -> Result<PluginGui, PluginError> {
        if self.shared.editor.has_ended.load(Ordering::Acquire) {
            return Err(self.call_failed("gui", "its editor has ended by itself"));
        }
        let extension = self.instance.plugin_handle().get_extension::<PluginGui>();
        extension.ok_or_else(|| self.call_failed("gui", "it has no editor"))
    }

    /// What an editor of this plugin can be: embedded where it can, for hosts' windows are tested
    /// best; else floating.
    fn configuration(&mut self) -> Result<GuiConfiguration<'static>, PluginError> {
        let gui = self.gui()?;
        let handle = self.instance.plugin_handle();
        let native = GuiApiType::default_for_current_platform().unwrap_or(GuiApiType::X11);
        let candidates = [(native, false), (native, true), (GuiApiType::WAYLAND, true)]
            .map(|(api_type, is_floating)| GuiConfiguration { api_type, is_floating });
        if let Some(one) = candidates.into_iter().find(|one| gui.is_api_supported(&handle, *one)) {
            return Ok(one);
        }
        let preferred = gui.get_preferred_api(&handle).and_then(|preferred| {
            let api_type = preferred.api_type.to_standard_api()?;
            Some(GuiConfiguration { api_type, is_floating: preferred.is_floating })
        });
        let usable = preferred.filter(|p| p.is_floating || p.api_type == native);
        usable.ok_or_else(|| {
            self.call_failed("gui.is_api_supported", "its editor is for another window system")
        })
    }
}

fn size(of: GuiSize) -> Size {
    Size { width: of.width, height: of.height }.clamped()
}

impl Editor for ClapInstance {
    fn create(&mut self, scale: f64, title: &str) -> Result<Placement, PluginError> {
        self.destroy();
        let gui = self.gui()?;
        let configuration = self.configuration()?;
        // It may ask for things while it is created.
        self.shared.editor.open.store(true, Ordering::Release);
        let handle = self.instance.plugin_handle();
        if gui.create(&handle, configuration).is_err() {
            self.shared.editor.open.store(false, Ordering::Release);
            return Err(self.call_failed("gui.create", "the plugin refused"));
        }
        if configuration.is_floating {
            let title = title.replace('\0', "");
            if let Ok(title) = CString::new(title) {
                gui.suggest_title(&handle, &title);
            }
            return Ok(Placement::Floating);
        }
        // It may well answer no: then it looks at the system itself, or does not scale.
        let _ = gui.set_scale(&handle, scale);
        Ok(Placement::Embedded)
    }

    fn size(&mut self) -> Option<Size> {
        let gui = self.gui().ok()?;
        gui.get_size(&self.instance.plugin_handle()).map(size)
    }

    fn resizing(&mut self) -> Resizing {
        let Ok(gui) = self.gui() else { return Resizing::default() };
        let handle = self.instance.plugin_handle();
        if !gui.can_resize(&handle) {
            return Resizing::default();
        }
        let Some(hints) = gui.get_resize_hints(&handle) else { return Resizing::FREE };
        Resizing {
            horizontally: hints.can_resize_horizontally,
            vertically: hints.can_resize_vertically,
            aspect: match hints.strategy {
                AspectRatioStrategy::Preserve { width, height } => Some((width, height)),
                AspectRatioStrategy::Disregard => None,
            },
        }
    }

    fn adjust(&mut self, wanted: Size) -> Size {
        let Ok(gui) = self.gui() else { return wanted };
        let asked = GuiSize { width: wanted.width, height: wanted.height };
        let adjusted = gui.adjust_size(&self.instance.plugin_handle(), asked);
        adjusted.filter(|size| size.width > 0 && size.height > 0).map_or(wanted, size)
    }

    fn set_size(&mut self, size: Size) -> bool {
        let Ok(gui) = self.gui() else { return false };
        let size = GuiSize { width: size.width, height: size.height };
        gui.set_size(&self.instance.plugin_handle(), size).is_ok()
    }

    fn attach(&mut self, window: WindowId) -> Result<(), PluginError> {
        let gui = self.gui()?;
        let native = GuiApiType::default_for_current_platform().unwrap_or(GuiApiType::X11);
        // Of all systems' kinds of window a number of this size.
        let window = Window::from_generic_ptr(native, window.0 as *mut c_void);
        // SAFETY: the caller keeps the window until `destroy`.
        unsafe { gui.set_parent(&self.instance.plugin_handle(), window) }
            .map_err(|_| self.call_failed("gui.set_parent", "the plugin refused"))
    }

    fn show(&mut self) -> Result<(), PluginError> {
        let gui = self.gui()?;
        // Some answer no because an embedded one is shown already.
        let _ = gui.show(&self.instance.plugin_handle());
        Ok(())
    }

    fn hide(&mut self) {
        if let Ok(gui) = self.gui() {
            let _ = gui.hide(&self.instance.plugin_handle());
        }
    }

    fn destroy(&mut self) {
        if !self.shared.editor.open.load(Ordering::Acquire) {
            return;
        }
        self.shared.editor.has_ended.store(false, Ordering::Release);
        if let Ok(gui) = self.gui() {
            gui.destroy(&self.instance.plugin_handle());
        }
        self.shared.editor.open.store(false, Ordering::Release);
        while self.shared.editor.requests.pop().is_some() {}
    }

    fn take_request(&mut self) -> Option<EditorRequest> {
        self.shared.editor.requests.pop()
    }
}
