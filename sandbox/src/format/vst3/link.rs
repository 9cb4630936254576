//! Parameter values between a plugin's two threads.
//!
//! Edits go to the audio thread through a queue; what finds it full waits on the main thread. The
//! other way, the audio thread keeps the last value of each parameter and passes what has changed
//! on about 30 times a second, so that meters and automation don't keep the main thread busy. In
//! both directions a value may be overtaken by a later one of the same parameter, and the last one
//! arrives.

use crossbeam_queue::ArrayQueue;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Values on their way in one direction.
const WAITING: usize = 1024;
/// How often changed values are passed on, per second of audio.
const PER_SECOND: f64 = 30.0;

/// Wakes the main thread. At most one system call.
pub(super) type Wake = Arc<dyn Fn() + Send + Sync>;

struct Shared {
    edits: ArrayQueue<(u32, f64)>,
    /// More edits wait on the main thread.
    more_edits: AtomicBool,
    values: ArrayQueue<(u32, f64, bool)>,
    /// What found no room when the audio end was dropped. Never touched by the audio thread.
    last_values: Mutex<Vec<(u32, f64, bool)>>,
    dropped: AtomicU64,
}

/// The main thread's end.
pub(super) struct MainEnd {
    shared: Arc<Shared>,
    /// Edits that found no room.
    waiting: BTreeMap<u32, f64>,
}

/// The audio thread's end.
pub(super) struct AudioEnd {
    shared: Arc<Shared>,
    wake: Wake,
    params: Box<[Changed]>,
    /// Indices of those with a change to pass on, each once. Never grows.
    changed: Vec<usize>,
    frames: f64,
    frames_between: f64,
}

struct Changed {
    id: u32,
    value: f64,
    from_host: bool,
    waits: bool,
}

/// Both ends. The audio thread's calls `wake` when there is something to take.
pub(super) fn link(wake: Wake) -> (MainEnd, AudioEnd) {
    let shared = Arc::new(Shared {
        edits: ArrayQueue::new(WAITING),
        more_edits: AtomicBool::new(false),
        values: ArrayQueue::new(WAITING),
        last_values: Mutex::default(),
        dropped: AtomicU64::new(0),
    });
    let main = MainEnd { shared: shared.clone(), waiting: BTreeMap::new() };
    let audio = AudioEnd {
        shared,
        wake,
        params: Box::default(),
        changed: Vec::new(),
        frames: f64::INFINITY,
        frames_between: 0.0,
    };
    (main, audio)
}

impl MainEnd {
    /// A parameter's value for the processor, to be given in the next block.
    pub(super) fn edit(&mut self, param: u32, value: f64) {
        if !value.is_finite() {
            return;
        }
        let value = value.clamp(0.0, 1.0);
        self.push_waiting();
        let fits = self.waiting.is_empty() && self.shared.edits.push((param, value)).is_ok();
        if !fits {
            self.waiting.insert(param, value);
            // Release, with the load in `AudioEnd::end_block`.
            self.shared.more_edits.store(true, Ordering::Release);
        }
    }

    /// Whether there are edits that the audio end has not taken.
    pub(super) fn has_edits(&mut self) -> bool {
        self.push_waiting();
        !self.shared.edits.is_empty()
    }

    /// Takes back the edits that the audio end has not taken.
    pub(super) fn forget_edits(&mut self) {
        self.waiting.clear();
        while self.shared.edits.pop().is_some() {}
        self.push_waiting();
    }

    /// A parameter's value that the audio thread has set: for the controller. True: it came from
    /// the host's events; false: from the processor.
    pub(super) fn take(&mut self) -> Option<(u32, f64, bool)> {
        self.push_waiting();
        self.shared.values.pop().or_else(|| {
            self.shared.last_values.lock().unwrap_or_else(PoisonError::into_inner).pop()
        })
    }

    /// Takes over what has not been delivered by an earlier link, whose audio end is gone.
    pub(super) fn carry_over(&mut self, mut old: Self) {
        let mut edits = BTreeMap::new();
        while let Some((param, value)) = old.shared.edits.pop() {
            edits.insert(param, value);
        }
        edits.append(&mut old.waiting);
        for (param, value) in edits {
            self.edit(param, value);
        }
        let values: Vec<_> = std::iter::from_fn(|| old.take()).collect();
        let mut last = self.shared.last_values.lock().unwrap_or_else(PoisonError::into_inner);
        last.extend(values.into_iter().rev());
    }

    /// Events and values that could not be passed on, in either direction, since the last call.
    pub(super) fn take_dropped(&mut self) -> u64 {
        self.shared.dropped.swap(0, Ordering::Relaxed)
    }

    fn push_waiting(&mut self) {
        while let Some(edit) = self.waiting.first_entry() {
            if self.shared.edits.push((*edit.key(), *edit.get())).is_err() {
                return;
            }
            edit.remove();
        }
        self.shared.more_edits.store(false, Ordering::Release);
    }
}

impl AudioEnd {
    /// Makes room. Not on the audio thread.
    pub(super) fn prepare(&mut self, params: &[u32], rate: f64) {
        let changed = |&id: &u32| Changed { id, value: 0.0, from_host: false, waits: false };
        self.params = params.iter().map(changed).collect();
        self.changed = Vec::with_capacity(params.len());
        self.frames_between = rate / PER_SECOND;
    }

    /// The next edit.
    pub(super) fn next_edit(&mut self) -> Option<(u32, f64)> {
        self.shared.edits.pop()
    }

    /// A parameter, by its place in the list given to [`prepare`](Self::prepare), has taken a
    /// value.
    pub(super) fn set(&mut self, param: usize, value: f64, from_host: bool) {
        let Some(entry) = self.params.get_mut(param) else { return };
        entry.value = value;
        entry.from_host = from_host;
        if !std::mem::replace(&mut entry.waits, true) {
            self.changed.push(param);
        }
    }

    pub(super) fn count_dropped(&self, events: u64) {
        if events > 0 {
            self.shared.dropped.fetch_add(events, Ordering::Relaxed);
        }
    }

    /// Passes on what has changed, if it is time.
    pub(super) fn end_block(&mut self, frames: u32) {
        self.frames += f64::from(frames);
        if self.frames >= self.frames_between {
            self.pass_on();
        }
    }

    /// Passes on what has changed.
    pub(super) fn pass_on(&mut self) {
        // Acquire, with the store in `MainEnd::edit`.
        let more_edits =
            self.shared.more_edits.load(Ordering::Acquire) && self.shared.edits.is_empty();
        if self.changed.is_empty() && !more_edits {
            return;
        }
        self.frames = 0.0;
        let was_empty = self.shared.values.is_empty();
        let mut passed = 0;
        for &param in &self.changed {
            let entry = &mut self.params[param];
            if self.shared.values.push((entry.id, entry.value, entry.from_host)).is_err() {
                break;
            }
            entry.waits = false;
            passed += 1;
        }
        self.changed.drain(..passed);
        if more_edits || (was_empty && passed > 0) {
            (self.wake)();
        }
    }
}

impl Drop for AudioEnd {
    fn drop(&mut self) {
        self.pass_on();
        let mut last = self.shared.last_values.lock().unwrap_or_else(PoisonError::into_inner);
        last.extend(self.changed.iter().map(|&param| {
            let entry = &self.params[param];
            (entry.id, entry.value, entry.from_host)
        }));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicUsize;

    fn counted(params: &[u32]) -> (MainEnd, AudioEnd, Arc<AtomicUsize>) {
        let wakes = Arc::new(AtomicUsize::new(0));
        let count = wakes.clone();
        let wake = Arc::new(move || {
            count.fetch_add(1, Ordering::Relaxed);
        });
        let (main, mut audio) = link(wake);
        audio.prepare(params, 48_000.0);
        (main, audio, wakes)
    }

    fn taken(main: &mut MainEnd) -> Vec<(u32, f64, bool)> {
        std::iter::from_fn(|| main.take()).collect()
    }

    #[test]
    fn the_last_edit_of_each_parameter_arrives_however_many_there_are() {
        let (mut main, mut audio, wakes) = counted(&[]);
        for round in 0..4 {
            for param in 0..WAITING as u32 {
                main.edit(param, f64::from(round) / 4.0);
            }
        }
        main.edit(0, 9.0);
        main.edit(1, f64::NAN);
        let mut last = BTreeMap::new();
        // As in blocks: the main thread is told to hand over the rest.
        while wakes.swap(0, Ordering::Relaxed) > 0 || last.is_empty() {
            assert_eq!(main.take(), None);
            last.extend(std::iter::from_fn(|| audio.next_edit()));
            audio.end_block(48_000);
        }
        assert_eq!(last.len(), WAITING);
        assert_eq!(last.remove(&0), Some(1.0), "in range");
        assert!(last.values().all(|value| *value == 0.75));
    }

    #[test]
    fn a_value_put_out_each_block_wakes_nobody_at_audio_rate() {
        let (mut main, mut audio, wakes) = counted(&[3, 5]);
        for block in 0..750 {
            audio.set(1, f64::from(block) / 1000.0, false);
            audio.end_block(64);
            if wakes.load(Ordering::Relaxed) == 1 && block == 0 {
                assert_eq!(taken(&mut main), [(5, 0.0, false)]);
            }
        }
        assert_eq!(wakes.load(Ordering::Relaxed), 2, "the first, then while none is taken: once");
        audio.set(0, 0.5, true);
        audio.end_block(1600);
        let values = taken(&mut main);
        assert!(values.contains(&(3, 0.5, true)) && values.contains(&(5, 0.749, false)));
        let of_meter = values.iter().filter(|(param, ..)| *param == 5).count();
        assert!(of_meter <= 30, "{of_meter} in a second");
    }

    #[test]
    fn no_parameter_is_lost_when_all_change_at_once_or_the_audio_end_goes() {
        let ids: Vec<u32> = (0..3 * WAITING as u32).collect();
        let (mut main, mut audio, _) = counted(&ids);
        for param in 0..ids.len() {
            audio.set(param, 0.25, true);
        }
        audio.end_block(64);
        for param in 0..ids.len() {
            audio.set(param, 0.5, false);
        }
        drop(audio);
        let last: BTreeMap<u32, f64> =
            taken(&mut main).into_iter().map(|(param, value, _)| (param, value)).collect();
        assert_eq!(last.len(), ids.len());
        assert!(last.values().all(|value| *value == 0.5));
    }

    #[test]
    fn the_next_link_delivers_what_the_last_did_not() {
        let (mut old, mut audio, _) = counted(&[7]);
        for param in 0..2 * WAITING as u32 {
            old.edit(param, 0.5);
        }
        old.edit(3, 1.0);
        audio.set(0, 0.125, true);
        drop(audio);
        let (mut main, mut audio, _) = counted(&[7]);
        main.carry_over(old);
        let mut edits = BTreeMap::new();
        for _ in 0..3 {
            edits.extend(std::iter::from_fn(|| audio.next_edit()));
            assert_eq!(main.take().is_some(), edits.len() == WAITING);
        }
        assert_eq!(edits.len(), 2 * WAITING);
        assert_eq!(edits[&3], 1.0);
    }
}
