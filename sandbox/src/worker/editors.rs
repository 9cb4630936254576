//! Plugins' editors, each in a window of its own in this process. Main thread only.
//!
//! Nothing here is made before the first editor is opened, and what was is dropped with the last.

use super::main_thread::Plugin;
use crate::error::PluginError;
use crate::format::Instance;
use crate::format::editor::{
    Editor, EditorInfo, EditorOptions, EditorRequest, Picture, Placement, Readiness, Resizing,
    Size, Watched, WindowId,
};
use crate::protocol::NodeNumber;
use crate::sys::shape::WindowEvent;
use crate::sys::window::Display;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How old an editor is when it is taken apart, at least; closed earlier, it is hidden until then.
/// Those made with VSTGUI's live editing animate for a second after they were opened, and abort if
/// they end while a timer still runs.
const SETTLED: Duration = Duration::from_millis(1250);

/// Size of an editor that does not tell its own.
const UNKNOWN: Size = Size { width: 640, height: 480 };

/// The editors that are open, and the display they are on.
#[derive(Default)]
pub(super) struct Editors {
    display: Option<Display>,
    open: BTreeMap<NodeNumber, Open>,
}

struct Open {
    /// `None`: the plugin has its own.
    window: Option<WindowId>,
    /// As the plugin has it.
    size: Size,
    resizing: Resizing,
    /// A size the window had and the plugin could not have. Corrected once: a window manager that
    /// insists is not fought.
    refused: Option<Size>,
    since: Instant,
    /// It is closed for its user, hidden, and to be taken apart once it has settled.
    closing: bool,
}

impl Open {
    fn info(&self) -> EditorInfo {
        EditorInfo {
            size: self.window.map(|_| self.size),
            resizable: self.window.is_some() && self.resizing.any(),
        }
    }
}

fn lost(plugin: &str, reason: impl ToString) -> PluginError {
    PluginError::Call {
        plugin: plugin.into(),
        call: "opening its editor".into(),
        reason: reason.to_string(),
    }
}

impl Editors {
    /// Whether there is nothing to do.
    pub(super) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Adds what tells that a window has something to say.
    pub(super) fn add_watched(&self, all: &mut Vec<(Watched, Readiness)>) {
        let read = Readiness { read: true, ..Readiness::default() };
        let watched = self.display.iter().filter_map(Display::watched);
        all.extend(watched.map(|watched| (watched, read)));
    }

    /// Opens an editor; one that is open is brought to the front. `plugin`: its name, for errors.
    pub(super) fn open(
        &mut self,
        number: NodeNumber,
        plugin: &str,
        instance: &mut dyn Instance,
        options: &EditorOptions,
    ) -> Result<EditorInfo, PluginError> {
        let editor = instance.editor().ok_or_else(|| lost(plugin, "it has none"))?;
        if let Some(open) = self.open.get_mut(&number) {
            open.closing = false;
            let info = open.info();
            if let (Some(window), Some(display)) = (open.window, &self.display) {
                let _ = display.show(window);
            }
            editor.show()?;
            return Ok(info);
        }
        let result = self.open_new(number, plugin, editor, options);
        if result.is_err() {
            editor.destroy();
        }
        self.drop_display();
        result
    }

    fn open_new(
        &mut self,
        number: NodeNumber,
        plugin: &str,
        editor: &mut dyn Editor,
        options: &EditorOptions,
    ) -> Result<EditorInfo, PluginError> {
        // Before the plugin's code: without a display many end their process.
        let display = match self.display.take() {
            Some(display) => display,
            None => Display::open().map_err(|e| lost(plugin, e))?,
        };
        let display = self.display.insert(display);
        let scale = options.scale.unwrap_or_else(|| display.scale());
        let mut open = Open {
            window: None,
            size: UNKNOWN,
            resizing: Resizing::default(),
            refused: None,
            since: Instant::now(),
            closing: false,
        };
        if editor.create(scale, &options.title)? == Placement::Embedded {
            open.size = editor.size().unwrap_or(UNKNOWN);
            open.resizing = editor.resizing();
            let window = display
                .create(&options.title, open.size, open.resizing)
                .map_err(|e| lost(plugin, e))?;
            open.window = Some(window);
            if options.pictured {
                // Where that can't be, a picture may show what covers it.
                let _ = display.draw_whole(window);
            }
            if let Err(error) = editor.attach(window) {
                editor.destroy();
                display.destroy(window);
                return Err(error);
            }
            // Some know their size only now.
            open.follow(display, editor);
            if let Err(error) = display.show(window) {
                editor.destroy();
                return Err(lost(plugin, error));
            }
        }
        editor.show()?;
        if open.window.is_some() {
            open.follow(display, editor);
        }
        let info = open.info();
        self.open.insert(number, open);
        Ok(info)
    }

    /// What an editor's window shows. `plugin`: its name, for errors.
    pub(super) fn picture(&self, number: NodeNumber, plugin: &str) -> Result<Picture, PluginError> {
        let failed = |reason: &str| PluginError::Call {
            plugin: plugin.into(),
            call: "picture of its editor".into(),
            reason: reason.into(),
        };
        let open = self.open.get(&number).ok_or_else(|| failed("it is not open"))?;
        match (open.window, &self.display) {
            (Some(window), Some(display)) => {
                display.picture(window).map_err(|e| failed(&e.to_string()))
            }
            _ => Err(failed("its window is its own")),
        }
    }

    /// Closes an editor; does nothing if there is none. One that has only just been opened is taken
    /// apart [later](Self::take_apart_settled).
    pub(super) fn close(&mut self, number: NodeNumber, instance: &mut dyn Instance) {
        if let (Some(open), Some(display)) = (self.open.get_mut(&number), &self.display)
            && open.since.elapsed() < SETTLED
            && open.window.is_some_and(|window| display.hide(window).is_ok())
        {
            open.closing = true;
            return;
        }
        self.take_apart(number, instance);
    }

    /// Takes apart those that were closed before they had settled. When to come again.
    pub(super) fn take_apart_settled(
        &mut self,
        plugins: &mut BTreeMap<NodeNumber, Plugin>,
    ) -> Option<Instant> {
        let closing = |(&number, open): (&NodeNumber, &Open)| {
            open.closing.then_some((number, open.since + SETTLED))
        };
        let (due, later): (Vec<_>, Vec<_>) =
            self.open.iter().filter_map(closing).partition(|(_, due)| *due <= Instant::now());
        for (number, _) in due {
            if let Some(plugin) = plugins.get_mut(&number) {
                self.take_apart(number, &mut *plugin.instance);
            }
        }
        later.into_iter().map(|(_, due)| due).min()
    }

    /// Ends an editor; does nothing if there is none.
    pub(super) fn take_apart(&mut self, number: NodeNumber, instance: &mut dyn Instance) {
        let Some(open) = self.open.remove(&number) else { return };
        if let Some(editor) = instance.editor() {
            editor.hide();
            editor.destroy();
        }
        if let (Some(window), Some(display)) = (open.window, &self.display) {
            display.destroy(window);
        }
        self.drop_display();
    }

    fn drop_display(&mut self) {
        if self.open.is_empty() {
            self.display = None;
        }
    }

    /// Sees to what windows and editors have to say. Gives those that are to be closed, because
    /// their users closed them or because they are lost.
    pub(super) fn idle(&mut self, plugins: &mut BTreeMap<NodeNumber, Plugin>) -> Vec<NodeNumber> {
        let mut closed = Vec::new();
        let Some(display) = &self.display else { return closed };
        // Of several sizes of a window only the last counts.
        let mut sizes: BTreeMap<NodeNumber, Size> = BTreeMap::new();
        loop {
            let (window, event) = match display.next_event() {
                Ok(Some(told)) => told,
                Ok(None) => break,
                Err(_) => {
                    // The display is gone. The plugins find out for themselves, most by an end.
                    self.display = None;
                    return self.open.keys().copied().collect();
                }
            };
            let is_it = |open: &Open| open.window == Some(window) && !open.closing;
            let Some((&number, _)) = self.open.iter().find(|(_, open)| is_it(open)) else {
                continue;
            };
            match event {
                WindowEvent::CloseAsked | WindowEvent::Gone => closed.push(number),
                WindowEvent::Resized(size) => {
                    sizes.insert(number, size);
                }
            }
        }
        for (&number, open) in &mut self.open {
            let plugin = plugins.get_mut(&number);
            let Some(editor) = plugin.and_then(|p| p.instance.editor()) else { continue };
            // What its user did comes first: a plugin may answer to it.
            if let Some(size) = sizes.remove(&number) {
                open.resized(display, editor, size);
            }
            while let Some(request) = editor.take_request() {
                match request {
                    _ if open.closing => {}
                    EditorRequest::Closed => closed.push(number),
                    request => open.see_to(request, display, editor),
                }
            }
        }
        closed.dedup();
        closed
    }
}

impl Open {
    /// Its window has this size now.
    fn resized(&mut self, display: &Display, editor: &mut dyn Editor, size: Size) {
        if size == self.size {
            self.refused = None;
            return;
        }
        if !self.resizing.any() {
            return;
        }
        let fit = editor.adjust(size).clamped();
        if fit != self.size && editor.set_size(fit) {
            self.size = fit;
        }
        let Some(window) = self.window else { return };
        if self.size != size && self.refused != Some(size) {
            self.refused = Some(size);
            let _ = display.resize(window, self.size);
        }
    }

    fn see_to(&mut self, request: EditorRequest, display: &Display, editor: &mut dyn Editor) {
        let Some(window) = self.window else { return };
        // A window that can't be changed is gone; an event tells.
        let _ = match request {
            EditorRequest::Resize(size) => {
                self.size = size.clamped();
                self.give_size(display, window)
            }
            EditorRequest::ResizingChanged => {
                self.resizing = editor.resizing();
                display.set_resizing(window, self.size, self.resizing)
            }
            EditorRequest::Show => display.show(window),
            EditorRequest::Hide => display.hide(window),
            EditorRequest::Closed => Ok(()),
        };
    }

    /// Gives the window the size that the plugin has now.
    fn follow(&mut self, display: &Display, editor: &mut dyn Editor) {
        if let (Some(window), Some(size)) = (self.window, editor.size())
            && size != self.size
        {
            self.size = size.clamped();
            let _ = self.give_size(display, window);
        }
    }

    fn give_size(&mut self, display: &Display, window: WindowId) -> std::io::Result<()> {
        self.refused = None;
        display.set_resizing(window, self.size, self.resizing)?;
        display.resize(window, self.size)
    }
}
