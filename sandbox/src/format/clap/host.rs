//! What a CLAP plugin can call in its host.
//!
//! The specification ties each call to a thread, and plugins break that. So everything here is
//! an atomic, a lock-free queue, or (timers) a lock that only main threads take.

use super::Notice;
use clack_extensions::audio_ports::{AudioPortRescanFlags, HostAudioPorts, HostAudioPortsImpl};
use clack_extensions::latency::{HostLatency, HostLatencyImpl};
use clack_extensions::log::{HostLog, HostLogImpl, LogSeverity};
use clack_extensions::note_ports::{
    HostNotePorts, HostNotePortsImpl, NoteDialects, NotePortRescanFlags,
};
use clack_extensions::params::{
    HostParams, HostParamsImplMainThread, HostParamsImplShared, ParamClearFlags, ParamRescanFlags,
};
use clack_extensions::state::{HostState, HostStateImpl};
use clack_extensions::tail::{HostTail, HostTailImpl};
use clack_extensions::thread_check::{HostThreadCheck, HostThreadCheckImpl};
use clack_extensions::timer::{HostTimer, HostTimerImpl, TimerId};
use clack_host::prelude::*;
use crossbeam_queue::ArrayQueue;
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

thread_local! {
    /// Whether this thread is, for now, the plugin's audio thread.
    static IN_AUDIO: Cell<bool> = const { Cell::new(false) };
}

/// This thread is the plugin's audio thread until the value is dropped.
pub(super) fn enter_audio_thread() -> impl Drop {
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            IN_AUDIO.set(self.0);
        }
    }
    Leave(IN_AUDIO.replace(true))
}

/// Longest line a plugin can log, in bytes; the rest is cut. No allocation: it may come from the
/// audio thread.
const LINE: usize = 240;
const LINES: usize = 64;

struct Line {
    severity: i32,
    len: usize,
    text: [u8; LINE],
}

struct Timer {
    id: u32,
    period: Duration,
    next: Instant,
}

/// What plugin and host share.
pub(super) struct Shared {
    main_thread: ThreadId,
    wake_main: Box<dyn Fn() + Send + Sync>,
    callback: AtomicBool,
    restart: AtomicBool,
    process: AtomicBool,
    latency: AtomicBool,
    params: AtomicBool,
    dirty: AtomicBool,
    lines: ArrayQueue<Line>,
    lost_lines: AtomicU64,
    dropped_events: AtomicU64,
    timers: Mutex<Vec<Timer>>,
    next_timer: AtomicU32,
}

impl Shared {
    pub(super) fn new(wake_main: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            main_thread: thread::current().id(),
            wake_main,
            callback: AtomicBool::new(false),
            restart: AtomicBool::new(false),
            process: AtomicBool::new(false),
            latency: AtomicBool::new(false),
            params: AtomicBool::new(false),
            dirty: AtomicBool::new(false),
            lines: ArrayQueue::new(LINES),
            lost_lines: AtomicU64::new(0),
            dropped_events: AtomicU64::new(0),
            timers: Mutex::new(Vec::new()),
            next_timer: AtomicU32::new(0),
        }
    }

    fn raise(&self, flag: &AtomicBool) {
        if !flag.swap(true, Ordering::Release) {
            (self.wake_main)();
        }
    }

    pub(super) fn take_callback(&self) -> bool {
        self.callback.swap(false, Ordering::Acquire)
    }

    pub(super) fn count_dropped(&self, events: u64) {
        if events > 0 {
            self.dropped_events.fetch_add(events, Ordering::Relaxed);
        }
    }

    pub(super) fn take_notice(&self) -> Option<Notice> {
        if let Some(line) = self.lines.pop() {
            let text = String::from_utf8_lossy(&line.text[..line.len]).into_owned();
            return Some(Notice::Log(line.severity, text));
        }
        let lost = self.lost_lines.swap(0, Ordering::Relaxed);
        if lost > 0 {
            return Some(Notice::Log(3, format!("{lost} lines of the plugin's log were lost")));
        }
        let dropped = self.dropped_events.swap(0, Ordering::Relaxed);
        if dropped > 0 {
            let text = format!("{dropped} of the plugin's output events did not fit or were bad");
            return Some(Notice::Log(6, text));
        }
        [
            (&self.latency, Notice::LatencyChanged),
            (&self.params, Notice::ParamsChanged),
            (&self.restart, Notice::RestartRequested),
            (&self.process, Notice::ProcessRequested),
            (&self.dirty, Notice::StateDirty),
        ]
        .into_iter()
        .find_map(|(flag, notice)| flag.swap(false, Ordering::Acquire).then_some(notice))
    }

    /// Timers whose time has come, and when the next one's will.
    pub(super) fn due_timers(&self, now: Instant) -> (Vec<TimerId>, Option<Instant>) {
        let mut timers = self.timers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        for timer in timers.iter_mut().filter(|timer| timer.next <= now) {
            due.push(TimerId(timer.id));
            // A timer that is late skips what it missed.
            timer.next = (timer.next + timer.period).max(now);
        }
        (due, timers.iter().map(|timer| timer.next).min())
    }
}

pub(super) struct HostShared(pub(super) Arc<Shared>);
pub(super) struct HostMain<'a>(pub(super) &'a Shared);
pub(super) struct HostAudio;
pub(super) struct SandrackHost;

impl HostHandlers for SandrackHost {
    type Shared<'a> = HostShared;
    type MainThread<'a> = HostMain<'a>;
    type AudioProcessor<'a> = HostAudio;

    fn declare_extensions(builder: &mut HostExtensions<Self>, _shared: &Self::Shared<'_>) {
        builder
            .register::<HostAudioPorts>()
            .register::<HostLatency>()
            .register::<HostLog>()
            .register::<HostNotePorts>()
            .register::<HostParams>()
            .register::<HostState>()
            .register::<HostTail>()
            .register::<HostThreadCheck>()
            .register::<HostTimer>();
    }
}

impl SharedHandler<'_> for HostShared {
    fn request_restart(&self) {
        self.0.raise(&self.0.restart);
    }
    fn request_process(&self) {
        self.0.raise(&self.0.process);
    }
    fn request_callback(&self) {
        self.0.raise(&self.0.callback);
    }
}

impl<'a> MainThreadHandler<'a> for HostMain<'a> {}

impl HostLogImpl for HostShared {
    fn log(&self, severity: LogSeverity, message: &str) {
        let mut line = Line { severity: severity as i32, len: 0, text: [0; LINE] };
        line.len = message.floor_char_boundary(LINE);
        line.text[..line.len].copy_from_slice(&message.as_bytes()[..line.len]);
        match self.0.lines.push(line) {
            Ok(()) => (self.0.wake_main)(),
            Err(_) => {
                self.0.lost_lines.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl HostThreadCheckImpl for HostShared {
    fn is_main_thread(&self) -> bool {
        // Hosted in-process and offline, one thread may be both, one after the other.
        !IN_AUDIO.get() && thread::current().id() == self.0.main_thread
    }
    fn is_audio_thread(&self) -> bool {
        IN_AUDIO.get()
    }
}

impl HostParamsImplShared for HostShared {
    // Blocks follow each other as long as the plugin is active, and each flushes.
    fn request_flush(&self) {}
}

impl HostParamsImplMainThread for HostMain<'_> {
    fn rescan(&self, _flags: ParamRescanFlags) {
        self.0.raise(&self.0.params);
    }
    fn clear(&self, _param_id: ClapId, _flags: ParamClearFlags) {}
}

impl HostLatencyImpl for HostMain<'_> {
    fn changed(&self) {
        self.0.raise(&self.0.latency);
    }
}

impl HostStateImpl for HostMain<'_> {
    fn mark_dirty(&self) {
        self.0.raise(&self.0.dirty);
    }
}

impl AudioProcessorHandler<'_> for HostAudio {}

impl HostTailImpl for HostAudio {
    // Every active node runs in every block: a tail is never cut short.
    fn changed(&mut self) {}
}

impl HostAudioPortsImpl for HostMain<'_> {
    fn is_rescan_flag_supported(&self, _flag: AudioPortRescanFlags) -> bool {
        false
    }
    fn rescan(&self, _flags: AudioPortRescanFlags) {
        self.0.raise(&self.0.restart);
    }
}

impl HostNotePortsImpl for HostMain<'_> {
    fn supported_dialects(&self) -> NoteDialects {
        NoteDialects::CLAP | NoteDialects::MIDI
    }
    fn rescan(&self, _flags: NotePortRescanFlags) {}
}

impl HostTimerImpl for HostMain<'_> {
    fn register_timer(&self, period_ms: u32) -> Result<TimerId, HostError> {
        const MOST: usize = 256;
        let mut timers = self.0.timers.lock().unwrap_or_else(PoisonError::into_inner);
        if timers.len() >= MOST {
            return Err(HostError::Message("too many timers"));
        }
        let id = self.0.next_timer.fetch_add(1, Ordering::Relaxed);
        // Faster than this no screen is redrawn, and hundreds of workers must stay quiet.
        let period = Duration::from_millis(u64::from(period_ms.max(16)));
        timers.push(Timer { id, period, next: Instant::now() + period });
        (self.0.wake_main)();
        Ok(TimerId(id))
    }

    fn unregister_timer(&self, timer_id: TimerId) -> Result<(), HostError> {
        let mut timers = self.0.timers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = timers.len();
        timers.retain(|timer| timer.id != timer_id.0);
        match timers.len() < before {
            true => Ok(()),
            false => Err(HostError::Message("no such timer")),
        }
    }
}
