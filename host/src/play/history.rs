//! What was changed, and the way back.

use super::control::Control;
use super::view::MessageKind;
use crate::rig::{Id, Rig, StateKey};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// What can be undone, and made again.
#[derive(Default)]
pub(super) struct History {
    undo: Vec<Change>,
    redo: Vec<Change>,
    labels: [Arc<[String]>; 2],
    /// Changes of the same thing, one soon after the other, are one.
    last: Option<(String, Instant)>,
}

pub(super) enum Change {
    /// The rig as it was.
    Rig(String, Box<Rig>),
    /// A parameter, and where it was.
    Param(String, Id, u32, f64),
}

/// Changes that are kept.
const CHANGES: usize = 200;
/// How soon.
const SOON: Duration = Duration::from_millis(1000);

impl Change {
    fn label(&self) -> &str {
        match self {
            Self::Rig(label, _) | Self::Param(label, ..) => label,
        }
    }
}

impl History {
    pub(super) fn keep(&mut self, what: String, change: Change) {
        let now = Instant::now();
        let is_same = !what.is_empty()
            && self.last.as_ref().is_some_and(|(same, at)| *same == what && now < *at + SOON);
        self.last = Some((what, now));
        self.redo.clear();
        if !is_same {
            if self.undo.len() == CHANGES {
                self.undo.remove(0);
            }
            self.undo.push(change);
        }
        self.show();
    }

    fn show(&mut self) {
        let labels = |changes: &[Change]| changes.iter().map(|c| c.label().to_owned()).collect();
        self.labels = [labels(&self.undo), labels(&self.redo)];
    }

    pub(super) fn undo_labels(&self) -> Arc<[String]> {
        Arc::clone(&self.labels[0])
    }

    pub(super) fn redo_labels(&self) -> Arc<[String]> {
        Arc::clone(&self.labels[1])
    }

    /// States that are needed to undo and to make again.
    pub(super) fn states(&self) -> Vec<StateKey> {
        let rigs = self.undo.iter().chain(&self.redo).filter_map(|change| match change {
            Change::Rig(_, rig) => Some(rig),
            Change::Param(..) => None,
        });
        rigs.flat_map(|rig| rig.states().copied().collect::<Vec<_>>()).collect()
    }
}

impl Control {
    pub(super) fn undo(&mut self) {
        let Some(change) = self.history.undo.pop() else {
            return self.tell(MessageKind::Note, None, "there is nothing to undo".into());
        };
        let back = self.go_back(change);
        self.history.redo.extend(back);
        self.history.last = None;
        self.history.show();
    }

    pub(super) fn redo(&mut self) {
        let Some(change) = self.history.redo.pop() else {
            return self.tell(MessageKind::Note, None, "there is nothing to make again".into());
        };
        let back = self.go_back(change);
        self.history.undo.extend(back);
        self.history.last = None;
        self.history.show();
    }

    /// Takes a change back; returns what would make it again.
    fn go_back(&mut self, change: Change) -> Option<Change> {
        match change {
            Change::Param(label, id, param, value) => {
                let now = self.value_of(&id, param)?;
                self.set_param(&id, param, value, false);
                Some(Change::Param(label, id, param, now))
            }
            Change::Rig(label, rig) => {
                // What has been moved since, other than by this change, stays.
                let rig = *rig;
                let gone: Vec<Id> =
                    self.slots.keys().filter(|id| rig.plugin(id).is_none()).cloned().collect();
                gone.iter().for_each(|id| self.capture_plugin(id, true));
                let states: Vec<(Id, Option<StateKey>)> = {
                    let slots = rig.tracks.iter().flat_map(|track| &track.plugins);
                    slots.map(|slot| (slot.id.clone(), slot.state)).collect()
                };
                let label_is_of_states =
                    label.starts_with("preset") || label.starts_with("snapshot");
                if label_is_of_states {
                    states.iter().for_each(|(id, _)| self.capture_plugin(id, true));
                }
                let now = std::mem::replace(&mut self.rig, rig);
                self.rig.driver = now.driver.clone();
                self.rig.connections = now.connections.clone();
                self.rig.forget_missing();
                if !label_is_of_states {
                    self.keep_states_of(&now);
                }
                self.follow_rig();
                if label_is_of_states {
                    for (id, state) in states {
                        let was = now.plugin(&id).and_then(|slot| slot.state);
                        if was != state && now.plugin(&id).is_some() {
                            self.bring_to(&id);
                        }
                    }
                }
                Some(Change::Rig(label, Box::new(now)))
            }
        }
    }

    /// Plugins that are in both rigs are as they are now, not as they were then.
    fn keep_states_of(&mut self, now: &Rig) {
        for slot in self.rig.tracks.iter_mut().flat_map(|track| &mut track.plugins) {
            let known = now.plugin(&slot.id);
            if let Some(known) = known.filter(|known| known.plugin == slot.plugin) {
                (slot.state, slot.params) = (known.state, known.params.clone());
            }
        }
    }

    /// Keeps what was before a change that is made elsewhere.
    pub(super) fn keep_change(&mut self, label: String, before: Rig) {
        self.history.keep(String::new(), Change::Rig(label, Box::new(before)));
    }
}
