//! Sends MIDI messages at their times, from a thread that is not the callback: the callback hands
//! them over a period before they are due, note by note and port by port, not in the order of time.

use super::clock;
use crate::midi::MidiReceiver;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// What lies further ahead than any block is not meant so.
const FURTHEST_NS: u64 = 1_000_000_000;
/// How often is looked for more: less than any period lasts, and than anybody hears.
const LOOK_NS: u64 = 500_000;

/// Sends what comes through a queue until `ends` says so, and what is there then at once: ends of
/// notes may be among it.
pub(super) fn run(mut from: MidiReceiver, ends: &AtomicBool, mut send: impl FnMut(&[u8])) {
    let mut waiting = Waiting::default();
    loop {
        let has_ended = ends.load(Relaxed);
        let now = clock::now_ns();
        while let Some((due, _, bytes)) = from.next_before(u64::MAX) {
            waiting.add(due.min(now.saturating_add(FURTHEST_NS)), bytes);
        }
        let until = if has_ended { u64::MAX } else { clock::now_ns() };
        while let Some(bytes) = waiting.take(until) {
            send(&bytes);
        }
        if has_ended {
            return;
        }
        let look = now.saturating_add(LOOK_NS);
        clock::sleep_until(waiting.first().map_or(look, |due| due.min(look)));
    }
}

/// Messages by their time; those of the same time in the order in which they came.
#[derive(Default)]
struct Waiting {
    messages: BTreeMap<(u64, u64), Vec<u8>>,
    count: u64,
}

impl Waiting {
    fn add(&mut self, due: u64, bytes: &[u8]) {
        self.count += 1;
        self.messages.insert((due, self.count), bytes.to_vec());
    }

    fn first(&self) -> Option<u64> {
        self.messages.keys().next().map(|(due, _)| *due)
    }

    /// The next message that is due by then.
    fn take(&mut self, until: u64) -> Option<Vec<u8>> {
        let entry = self.messages.first_entry()?;
        (entry.key().0 <= until).then(|| entry.remove())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::midi::midi_queue;

    #[test]
    fn messages_go_in_the_order_of_their_times_and_never_before() {
        let (mut sender, receiver) = midi_queue(16);
        let ends = AtomicBool::new(false);
        let begin = clock::now_ns();
        let at = |ms: u64| begin + ms * 1_000_000;
        // As the callback does: notes first, then a clock that belongs between them.
        assert!(sender.send(at(20), 0, &[0x90, 60, 1]));
        assert!(sender.send(at(40), 0, &[0x80, 60, 1]));
        assert!(sender.send(at(30), 0, &[0xf8]));
        assert!(sender.send(at(20), 0, &[0xb0, 7, 1]));
        assert!(sender.send(u64::MAX - 1, 0, &[0xfc]), "the last, when it ends");
        let mut sent = Vec::new();
        run(receiver, &ends, |bytes| {
            sent.push((clock::now_ns(), bytes[0]));
            if sent.len() == 4 {
                ends.store(true, Relaxed);
            }
        });
        assert_eq!(sent.iter().map(|s| s.1).collect::<Vec<_>>(), [0x90, 0xb0, 0xf8, 0x80, 0xfc]);
        for ((when, _), ms) in sent.iter().zip([20, 20, 30, 40]) {
            assert!(*when >= at(ms), "{ms} ms: {} ns early", at(ms) - when);
        }
    }
}
