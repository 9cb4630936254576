//! Asks plugins things that may take long, on a thread of its own: texts of values, editors.

use super::control::Control;
use super::view::MessageKind;
use crate::rig::Id;
use crate::session::PluginAt;
use sandrack_sandbox::format::editor::EditorOptions;
use sandrack_sandbox::supervisor::{Node, Worker};
use std::sync::Arc;
use std::sync::mpsc::{self, Receiver, SyncSender};

type Text = (PluginAt, u32, f64, Arc<Worker>, u32);

/// See the module.
pub(super) struct Texts {
    asked: Option<SyncSender<Text>>,
    told: Receiver<(PluginAt, u32, f64, String)>,
    opened: mpsc::Sender<(Id, Result<(), String>)>,
    editors: Receiver<(Id, Result<(), String>)>,
}

impl Texts {
    pub(super) fn start() -> Self {
        let (asked, questions) = mpsc::sync_channel::<Text>(256);
        let (answers, told) = mpsc::channel();
        let (opened, editors) = mpsc::channel();
        let thread = std::thread::Builder::new().name("plugin texts".into()).spawn(move || {
            while let Ok((at, param, value, worker, number)) = questions.recv() {
                // One that is busy or hangs would hold up the others.
                if worker.is_gone() || !worker.is_answering() {
                    continue;
                }
                if let Ok(Some(text)) = worker.value_to_text(number, param, value)
                    && answers.send((at, param, value, text)).is_err()
                {
                    break;
                }
            }
        });
        Self { asked: thread.is_ok().then_some(asked), told, opened, editors }
    }
}

impl Control {
    /// Asks how a plugin writes a value.
    pub(super) fn ask_text(&mut self, at: PluginAt, param: u32, value: f64) {
        let Some(node) = self.session.node(at.track, at.plugin) else { return };
        let question = (at, param, value, Arc::clone(node.worker()), node.number());
        // Too many at once: the number is shown.
        let _ = self.texts.asked.as_ref().map(|asked| asked.try_send(question));
    }

    pub(super) fn hear_texts(&mut self) {
        while let Ok((at, param, value, text)) = self.texts.told.try_recv() {
            self.text_is(at, param, value, &text);
        }
        while let Ok((id, result)) = self.texts.editors.try_recv() {
            let Some(slot) = self.slots.get_mut(&id) else { continue };
            match result {
                Ok(()) => slot.is_editor_open = true,
                Err(why) => {
                    let text = format!("{}: its editor can't be opened: {why}", self.name_of(&id));
                    self.tell(MessageKind::Error, Some(&id), text);
                }
            }
        }
    }

    /// Opens an editor, or closes it.
    pub(super) fn editor(&mut self, id: &Id, open: bool) {
        let name = self.name_of(id);
        let node: Option<&Node> = self.at(id).and_then(|at| self.session.node(at.track, at.plugin));
        let Some((worker, number)) = node.map(|n| (Arc::clone(n.worker()), n.number())) else {
            return self.tell(MessageKind::Error, Some(id), format!("{name}: it is not loaded"));
        };
        let (done, id) = (self.texts.opened.clone(), id.clone());
        if !open && let Some(slot) = self.slots.get_mut(&id) {
            slot.is_editor_open = false;
        }
        let work = move || {
            if open {
                let title = format!("{name} - Sandrack");
                let opened =
                    worker.open_editor(number, EditorOptions { title, ..EditorOptions::default() });
                let _ = done.send((id, opened.map(|_| ()).map_err(|error| error.to_string())));
            } else {
                let _ = worker.close_editor(number);
            }
        };
        if let Err(error) = std::thread::Builder::new().name("plugin editor".into()).spawn(work) {
            self.tell(MessageKind::Error, None, format!("no thread for an editor: {error}"));
        }
    }
}
