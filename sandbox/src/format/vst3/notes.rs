//! Which notes sound: VST 3 wants each named by channel, key and number, where the host's events
//! may leave all of that open.

use crate::event::Event;

/// A note that sounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Note {
    pub(super) bus: i16,
    pub(super) channel: i16,
    pub(super) key: i16,
    pub(super) id: i32,
}

impl Note {
    /// Whether an event is about it; what an event leaves open fits all.
    pub(super) fn is_meant_by(&self, event: &Event) -> bool {
        let fits = |wanted: i16, is: i16| wanted < 0 || wanted == is;
        fits(event.port, self.bus)
            && fits(event.channel, self.channel)
            && fits(event.key, self.key)
            && (event.note_id < 0 || event.note_id == self.id)
    }
}

/// The notes that sound, the oldest first.
pub(super) struct Notes {
    /// Never grows.
    notes: Vec<Note>,
    next_id: i32,
}

/// Numbers of notes that came without one: others' are small.
const FIRST_ID: i32 = 1 << 30;

impl Notes {
    /// Most notes that are known; further ones take the place of the oldest.
    pub(super) const MOST: usize = 256;

    pub(super) fn new() -> Self {
        Self { notes: Vec::with_capacity(Self::MOST), next_id: FIRST_ID }
    }

    pub(super) fn clear(&mut self) {
        self.notes.clear();
    }

    pub(super) fn get(&self, index: usize) -> Option<Note> {
        self.notes.get(index).copied()
    }

    /// A note begins.
    pub(super) fn begin(&mut self, event: &Event) -> Note {
        let id = if event.note_id >= 0 {
            event.note_id
        } else {
            let id = self.next_id;
            self.next_id = id.checked_add(1).unwrap_or(FIRST_ID);
            id
        };
        let note =
            Note { bus: event.port.max(0), channel: event.channel.max(0), key: event.key, id };
        if self.notes.len() == Self::MOST {
            self.notes.remove(0);
        }
        self.notes.push(note);
        note
    }

    /// The next note that an event ends.
    pub(super) fn end(&mut self, event: &Event) -> Option<Note> {
        let at = self.notes.iter().position(|note| note.is_meant_by(event))?;
        Some(self.notes.remove(at))
    }
}
