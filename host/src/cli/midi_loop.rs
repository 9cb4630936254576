//! A MIDI file played again and again to a running plugin.

use crate::error::Error;
use crate::midi_events::{Played, transport};
use crate::midi_file::{Meter, Song};
use sandrack_engine::Controller;
use sandrack_engine::block::Transport;
use sandrack_engine::event::{Event, EventKind};
use sandrack_engine::graph::NodeId;
use std::path::Path;

/// Longer system-exclusive messages are not sent: so much a plugin can be given at once.
const LONGEST_SYSEX: usize = 2048;

/// What is sent next, and when: frames count from the first block that was played.
pub(super) struct MidiLoop {
    events: Vec<(u64, EventKind)>,
    /// Frames of the song at which the transport is set, and 0.
    changes: Vec<u64>,
    meter: Meter,
    rate: u32,
    frames: u64,
    /// Where this round of the song began.
    start: u64,
    next_event: usize,
    next_change: usize,
}

impl MidiLoop {
    pub(super) fn read(path: &Path, rate: u32) -> Result<Self, Error> {
        let song = Song::read(path)?;
        let Played { events, frames, .. } = Played::new(&song, rate, LONGEST_SYSEX, None);
        if events.is_empty() || frames == 0 {
            let reason = "there is nothing to play in it".into();
            return Err(Error::Midi { path: path.to_owned(), reason });
        }
        let frame = |seconds: f64| (seconds * f64::from(rate)).round() as u64;
        let changes = [0].into_iter().chain(song.meter.changes().into_iter().map(frame)).collect();
        let (meter, start, next_event, next_change) = (song.meter, 0, 0, 0);
        Ok(Self { events, changes, meter, rate, frames, start, next_event, next_change })
    }

    /// Sends what is due before a frame. What the engine's queue has no room for comes next time.
    pub(super) fn send(&mut self, node: NodeId, controller: &mut Controller, before: u64) {
        self.due(before, |due| match due {
            Due::Event(kind) => controller.send_event(node, Event { time: 0, kind }).is_ok(),
            Due::Transport(transport) => controller.transport(transport).is_ok(),
        });
    }

    /// Gives what is due before a frame, until all is given or `take` takes no more.
    fn due(&mut self, before: u64, mut take: impl FnMut(Due) -> bool) {
        loop {
            while let Some(&change) = self.changes.get(self.next_change)
                && self.start + change < before
            {
                let seconds = change as f64 / f64::from(self.rate);
                if !take(Due::Transport(transport(&self.meter, seconds))) {
                    return;
                }
                self.next_change += 1;
            }
            while let Some(&(frame, kind)) = self.events.get(self.next_event)
                && self.start + frame < before
            {
                if !take(Due::Event(kind)) {
                    return;
                }
                self.next_event += 1;
            }
            // What is at its very end belongs to this round.
            if self.next_event < self.events.len() || self.start + self.frames >= before {
                return;
            }
            self.start += self.frames;
            (self.next_event, self.next_change) = (0, 0);
        }
    }
}

/// What is sent.
enum Due {
    Event(EventKind),
    Transport(Transport),
}

#[cfg(test)]
mod tests {
    use super::*;
    use sandrack_engine::event::NoteAddress;

    #[test]
    fn a_song_begins_again_at_its_end_and_loses_nothing() {
        let note = NoteAddress { note_id: -1, port: 0, channel: 0, key: 60 };
        let mut song = MidiLoop {
            events: vec![
                (10, EventKind::NoteOn { note, velocity: 1.0 }),
                (100, EventKind::NoteOff { note, velocity: 1.0 }),
            ],
            changes: vec![0],
            meter: Meter::default(),
            rate: 100,
            frames: 100,
            start: 0,
            next_event: 0,
            next_change: 0,
        };
        let mut at = Vec::new();
        for block in 0..64u64 {
            // Every other time the queue is full.
            song.due((block + 1) * 8, |due| {
                if block % 2 == 0 {
                    at.push((block * 8, matches!(due, Due::Transport(_))));
                }
                block % 2 == 0
            });
        }
        let transports: Vec<u64> = at.iter().filter(|(_, t)| *t).map(|(at, _)| *at).collect();
        let events: Vec<u64> = at.iter().filter(|(_, t)| !*t).map(|(at, _)| *at).collect();
        assert_eq!(transports, [0, 96, 208, 304, 400, 496]);
        assert_eq!(events, [16, 96, 112, 208, 208, 304, 304, 400, 416, 496]);
    }
}
