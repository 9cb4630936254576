//! Saves a rig to its file, on a thread of its own.

use super::control::Control;
use super::view::MessageKind;
use crate::error::Error;
use crate::rig::{Id, Rig, RigFile, StateKey, States};
use crate::session::Kept;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver, Sender};
use std::thread::JoinHandle;

type Work = (Rig, States, Option<PathBuf>);
type Done = (PathBuf, Result<Option<PathBuf>, Error>);

/// See the module.
pub(super) struct Saver {
    path: Option<PathBuf>,
    work: Option<Sender<Work>>,
    done: Receiver<Done>,
    thread: Option<JoinHandle<()>>,
    /// What is in the file, or on its way there.
    saved: Option<Rig>,
    under_way: usize,
    failed: bool,
    /// Somebody waits to hear that it is saved.
    says: bool,
}

impl Saver {
    /// `rig`: what is in the file.
    pub(super) fn start(file: Option<RigFile>, rig: Option<Rig>) -> Result<Self, Error> {
        let path = file.as_ref().map(|file| file.path().to_owned());
        let (work, orders) = mpsc::channel::<Work>();
        let (answer, done) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("rig saver".into())
            .spawn(move || run(file, &orders, &answer))
            .map_err(|source| Error::File { path: path.clone().unwrap_or_default(), source })?;
        let (work, thread) = (Some(work), Some(thread));
        Ok(Self { path, work, done, thread, saved: rig, under_way: 0, failed: false, says: false })
    }

    pub(super) fn path(&self) -> Option<&Path> {
        self.path.as_deref()
    }

    /// Whether this is what is in the file.
    pub(super) fn has(&self, rig: &Rig) -> bool {
        self.under_way == 0 && !self.failed && self.saved.as_ref() == Some(rig)
    }

    fn send(&mut self, rig: Rig, states: States, path: Option<PathBuf>) {
        if path.is_some() {
            self.path.clone_from(&path);
        }
        self.saved = Some(rig.clone());
        if self.work.as_ref().is_some_and(|work| work.send((rig, states, path)).is_ok()) {
            self.under_way += 1;
        }
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        drop(self.work.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn run(mut file: Option<RigFile>, orders: &Receiver<Work>, answer: &Sender<Done>) {
    while let Ok((rig, mut states, path)) = orders.recv() {
        if let Some(path) = path {
            // A file that is there is replaced, but what people wrote around it stays.
            file = Some(RigFile::open(&path).map_or_else(|_| RigFile::new(&path), |(f, ..)| f));
        }
        let Some(file) = &mut file else { continue };
        let result = file.save(&rig, &mut states);
        if answer.send((file.path().to_owned(), result)).is_err() {
            break;
        }
    }
}

impl Control {
    /// Brings the rig up to what plugins and connections are now.
    pub(super) fn capture(&mut self) {
        self.keep_connections();
        let ids: Vec<Id> = self.slots.keys().cloned().collect();
        for id in ids {
            self.capture_plugin(&id, false);
        }
    }

    /// The same for one plugin. `surely`: even if it is as the file has it.
    pub(super) fn capture_plugin(&mut self, id: &Id, surely: bool) {
        let Some(at) = self.at(id) else { return };
        let Some(kept) = self.engine.as_ref().and_then(|engine| engine.live.kept(at)) else {
            return;
        };
        let Some(slot) = self.slots.get_mut(id) else { return };
        let is_same = |known: &Kept| {
            known.params == kept.params
                && match (&known.state, &kept.state) {
                    (Some(a), Some(b)) => std::sync::Arc::ptr_eq(a, b),
                    (None, None) => true,
                    _ => false,
                }
        };
        if !surely && slot.captured.as_ref().is_some_and(is_same) && slot.baseline.is_some() {
            return;
        }
        let key = kept.state.as_ref().map(|state| self.states.add(std::sync::Arc::clone(state)));
        let baseline = *slot.baseline.get_or_insert(key.unwrap_or_else(|| StateKey::of(&[])));
        let has_moved = match (&key, &slot.captured) {
            (Some(key), _) => *key != baseline,
            (None, Some(known)) => known.params != kept.params,
            (None, None) => false,
        };
        let is_newer = !kept.params.is_empty() && key.is_some();
        slot.captured = Some(kept.clone());
        slot.has_changed |= has_moved || is_newer;
        if !slot.has_changed && !surely {
            return;
        }
        slot.has_changed = true;
        let info = self.session.info(at.track, at.plugin);
        let name = |id: u32| {
            let named = info.params.iter().find(|param| param.id == id).map(|p| p.name.as_str());
            let is_only = |name: &&str| {
                !name.is_empty()
                    && name.parse::<u32>().is_err()
                    && info.params.iter().filter(|p| p.name.eq_ignore_ascii_case(name)).count() == 1
            };
            named.filter(is_only).map_or_else(|| id.to_string(), str::to_owned)
        };
        let params: BTreeMap<String, f64> =
            kept.params.iter().map(|(id, value)| (name(*id), *value)).collect();
        if let Some(wanted) = self.rig.plugin_mut(id) {
            wanted.state = key;
            wanted.params = params;
        }
    }

    /// Saves what has changed, if there is a file.
    pub(super) fn autosave(&mut self) {
        self.capture();
        let is_new = self.saver.saved.as_ref() != Some(&self.rig);
        if self.saver.path.is_some() && is_new && self.saver.under_way == 0 {
            self.save(None);
        }
    }

    pub(super) fn save(&mut self, path: Option<PathBuf>) {
        self.capture();
        let mut used: BTreeSet<StateKey> = self.rig.states().copied().collect();
        used.extend(self.history.states());
        self.states.keep(&used);
        self.saver.send(self.rig.clone(), self.states.clone(), path);
    }

    /// Saves because somebody asked for it.
    pub(super) fn save_now(&mut self, path: Option<PathBuf>) {
        if self.saver.path.is_none() && path.is_none() {
            let text = "the rig has no file yet: choose one to save it to".into();
            return self.tell(MessageKind::Error, None, text);
        }
        self.saver.says = true;
        self.save(path);
    }

    pub(super) fn hear_saver(&mut self) {
        while let Ok((path, result)) = self.saver.done.try_recv() {
            self.saved(&path, result);
        }
    }

    fn saved(&mut self, path: &Path, result: Result<Option<PathBuf>, Error>) {
        self.saver.under_way = self.saver.under_way.saturating_sub(1);
        match result {
            Ok(theirs) => {
                self.saver.failed = false;
                if std::mem::take(&mut self.saver.says) {
                    self.tell(MessageKind::Note, None, format!("saved to {}", path.display()));
                }
                if let Some(theirs) = theirs {
                    let text = format!(
                        "{} was changed by another program: that is in {} now",
                        path.display(),
                        theirs.display()
                    );
                    self.tell(MessageKind::Warning, None, text);
                }
            }
            Err(error) => {
                // Told once, tried again with the next change.
                if !std::mem::replace(&mut self.saver.failed, true) || self.saver.says {
                    let text = format!("the rig is not saved: {error}; save it elsewhere");
                    self.tell(MessageKind::Error, None, text);
                }
                self.saver.says = false;
            }
        }
    }

    /// Saves, and waits until that is done.
    pub(super) fn save_at_last(&mut self) -> Result<(), Error> {
        if self.saver.path.is_none() {
            return Ok(());
        }
        self.capture();
        if self.saver.saved.as_ref() != Some(&self.rig) || self.saver.failed {
            self.save(None);
        }
        let mut last = Ok(());
        while self.saver.under_way > 0 {
            let Ok((path, result)) = self.saver.done.recv() else { break };
            match result {
                Err(error) => {
                    self.saver.under_way -= 1;
                    last = Err(error);
                }
                ok => {
                    self.saved(&path, ok);
                    last = Ok(());
                }
            }
        }
        last
    }
}
