//! What a CLAP plugin can call in its host.
//!
//! The specification ties each call to a thread, and plugins break that. So everything here is
//! an atomic, a lock-free queue, or (timers) a lock that only main threads take.

use super::super::wish::Wish;
use super::descriptors::Descriptors;
use super::editor::EditorShared;
use super::{Notice, more_host};
use clack_extensions::audio_ports::{AudioPortRescanFlags, HostAudioPorts, HostAudioPortsImpl};
use clack_extensions::gui::HostGui;
use clack_extensions::latency::{HostLatency, HostLatencyImpl};
use clack_extensions::log::{HostLog, HostLogImpl, LogSeverity};
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
use std::ffi::CStr;
use std::io::Write;
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
/// Most lines that wait, and most that are passed on within [`WINDOW`].
const LINES: usize = 64;
/// A plugin that logs without end must not keep its main thread, nor its host, busy with that.
const WINDOW: Duration = Duration::from_millis(100);

/// Most timers of a plugin.
const TIMERS: usize = 256;

/// A call of the host that is tied to a thread.
#[derive(Clone, Copy, Debug)]
pub(super) enum Call {
    LatencyChanged,
    StateMarkDirty,
    ParamsRescan,
    ParamsClear,
    ParamsRequestFlush,
    AudioPortsRescan,
    AudioPortsConfigRescan,
    NotePortsRescan,
    NoteNameChanged,
    VoiceInfoChanged,
    TimerRegister,
    TimerUnregister,
    PresetLoaded,
    PresetOnError,
    TailChanged,
    ThreadPoolExec,
}

impl Call {
    /// Its name, and where it may be called.
    fn rule(self) -> (&'static str, &'static str) {
        const MAIN: &str = "on the main thread";
        const AUDIO: &str = "on the audio thread";
        match self {
            Self::LatencyChanged => ("latency.changed", MAIN),
            Self::StateMarkDirty => ("state.mark_dirty", MAIN),
            Self::ParamsRescan => ("params.rescan", MAIN),
            Self::ParamsClear => ("params.clear", MAIN),
            Self::ParamsRequestFlush => ("params.request_flush", "outside the audio thread"),
            Self::AudioPortsRescan => ("audio_ports.rescan", MAIN),
            Self::AudioPortsConfigRescan => ("audio_ports_config.rescan", MAIN),
            Self::NotePortsRescan => ("note_ports.rescan", MAIN),
            Self::NoteNameChanged => ("note_name.changed", MAIN),
            Self::VoiceInfoChanged => ("voice_info.changed", MAIN),
            Self::TimerRegister => ("timer_support.register_timer", MAIN),
            Self::TimerUnregister => ("timer_support.unregister_timer", MAIN),
            Self::PresetLoaded => ("preset_load.loaded", MAIN),
            Self::PresetOnError => ("preset_load.on_error", MAIN),
            Self::TailChanged => ("tail.changed", AUDIO),
            Self::ThreadPoolExec => ("thread_pool.request_exec", AUDIO),
        }
    }
}

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

/// Each is fulfilled by what the comment says.
#[derive(Default)]
pub(super) struct Wishes {
    /// Activation.
    pub(super) restart: Wish,
    /// Reading the latency, as activation does.
    pub(super) latency: Wish,
    /// Activation: from then on, every block is processed.
    process: Wish,
    /// Reading the parameters.
    pub(super) params: Wish,
    /// Saving the state.
    pub(super) dirty: Wish,
}

/// Lines passed on lately. Main thread only.
struct LogWindow {
    begin: Instant,
    lines: usize,
}

/// What plugin and host share.
pub(super) struct Shared {
    main_thread: ThreadId,
    wake_main: Box<dyn Fn() + Send + Sync>,
    callback: AtomicBool,
    flush: AtomicBool,
    pub(super) wishes: Wishes,
    /// Whether the plugin wanted a restart when it was last activated.
    restarts_in_activate: AtomicBool,
    log_window: Mutex<LogWindow>,
    lines: ArrayQueue<Line>,
    lost_lines: AtomicU64,
    dropped_events: AtomicU64,
    late_events: AtomicU64,
    /// Never grows: a plugin may ask for one on the wrong thread.
    timers: Mutex<Vec<Timer>>,
    next_timer: AtomicU32,
    pub(super) descriptors: Descriptors,
    pub(super) editor: EditorShared,
    /// Calls that have been made on the wrong thread, a bit each.
    misplaced: AtomicU32,
    /// The plugin has taken back what events of its parameters carry.
    pub(super) cookies_void: AtomicBool,
    /// Why the plugin could not load a preset, as it said.
    preset_error: Mutex<Option<String>>,
}

impl Shared {
    pub(super) fn new(wake_main: Box<dyn Fn() + Send + Sync>) -> Self {
        Self {
            main_thread: thread::current().id(),
            wake_main,
            callback: AtomicBool::new(false),
            flush: AtomicBool::new(false),
            wishes: Wishes::default(),
            restarts_in_activate: AtomicBool::new(false),
            log_window: Mutex::new(LogWindow { begin: Instant::now(), lines: 0 }),
            lines: ArrayQueue::new(LINES),
            lost_lines: AtomicU64::new(0),
            dropped_events: AtomicU64::new(0),
            late_events: AtomicU64::new(0),
            timers: Mutex::new(Vec::with_capacity(TIMERS)),
            next_timer: AtomicU32::new(0),
            descriptors: Descriptors::default(),
            editor: EditorShared::new(),
            misplaced: AtomicU32::new(0),
            cookies_void: AtomicBool::new(false),
            preset_error: Mutex::new(None),
        }
    }

    pub(super) fn wake(&self) {
        (self.wake_main)();
    }

    fn is_main_thread(&self) -> bool {
        // Hosted in-process and offline, one thread may be both, one after the other.
        !IN_AUDIO.get() && thread::current().id() == self.main_thread
    }

    /// Whether a call comes from where it may. What a debug build says of one that does not, it
    /// says once; a user has no use for it.
    pub(super) fn is_right_thread(&self, call: Call) -> bool {
        let (name, rule) = call.rule();
        let right = match call {
            Call::TailChanged | Call::ThreadPoolExec => IN_AUDIO.get(),
            Call::ParamsRequestFlush => !IN_AUDIO.get(),
            _ => self.is_main_thread(),
        };
        let bit = 1 << call as u32;
        if cfg!(debug_assertions)
            && !right
            && self.misplaced.fetch_or(bit, Ordering::Relaxed) & bit == 0
        {
            let thread = match (IN_AUDIO.get(), self.is_main_thread()) {
                (true, _) => "the audio thread",
                (_, true) => "the main thread",
                _ => "a thread of its own",
            };
            let mut text = [0_u8; LINE];
            let mut rest = &mut text[..];
            let _ = write!(rest, "{name} was called on {thread}; it may be called {rule} only");
            let len = LINE - rest.len();
            self.log_line(6, std::str::from_utf8(&text[..len]).unwrap_or(name));
        }
        right
    }

    /// Keeps why a preset could not be loaded, for whoever asked for it.
    pub(super) fn preset_failed(&self, os_error: i32, message: Option<&CStr>) {
        if !self.is_right_thread(Call::PresetOnError) {
            return;
        }
        let mut text = message.map(|m| m.to_string_lossy().into_owned()).unwrap_or_default();
        if os_error != 0 {
            let error = std::io::Error::from_raw_os_error(os_error);
            text = if text.is_empty() { error.to_string() } else { format!("{text}: {error}") };
        }
        *self.preset_error.lock().unwrap_or_else(PoisonError::into_inner) = Some(text);
    }

    pub(super) fn take_preset_error(&self) -> Option<String> {
        self.preset_error.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    pub(super) fn raise(&self, wish: &Wish) {
        if wish.raise() {
            (self.wake_main)();
        }
    }

    fn set(&self, flag: &AtomicBool) {
        // Release, with the swaps below.
        if !flag.swap(true, Ordering::Release) {
            (self.wake_main)();
        }
    }

    pub(super) fn take_callback(&self) -> bool {
        self.callback.swap(false, Ordering::Acquire)
    }

    pub(super) fn take_flush(&self) -> bool {
        self.flush.swap(false, Ordering::Acquire)
    }

    pub(super) fn before_activate(&self) {
        self.wishes.restart.fulfil();
        self.wishes.process.fulfil();
    }

    /// The activation's answer holds the latency, whatever the plugin said of it meanwhile. A
    /// restart that it wants already is granted once: some would want it for ever.
    pub(super) fn after_activate(&self) {
        self.wishes.latency.fulfil();
        let wants = self.wishes.restart.is_raised();
        if self.restarts_in_activate.swap(wants, Ordering::Relaxed) && wants {
            self.wishes.restart.fulfil();
            self.log_line(6, "wants a restart each time it is activated; not granted again");
        }
    }

    pub(super) fn count_dropped(&self, events: u64) {
        if events > 0 {
            self.dropped_events.fetch_add(events, Ordering::Relaxed);
        }
    }

    pub(super) fn count_late(&self, events: u64) {
        if events > 0 {
            self.late_events.fetch_add(events, Ordering::Relaxed);
        }
    }

    pub(super) fn take_notice(&self) -> Option<Notice> {
        if let Some(notice) = self.take_log() {
            return Some(notice);
        }
        [
            (&self.wishes.latency, Notice::LatencyChanged),
            (&self.wishes.params, Notice::ParamsChanged),
            (&self.wishes.restart, Notice::RestartRequested),
            (&self.wishes.process, Notice::ProcessRequested),
            (&self.wishes.dirty, Notice::StateDirty),
        ]
        .into_iter()
        .find_map(|(wish, notice)| wish.take().then_some(notice))
    }

    fn take_log(&self) -> Option<Notice> {
        let mut window = self.log_window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.begin.elapsed() >= WINDOW {
            *window = LogWindow { begin: Instant::now(), lines: 0 };
            let lost = self.lost_lines.swap(0, Ordering::Relaxed);
            if lost > 0 {
                let text = format!("{lost} lines of the plugin's log were lost");
                return Some(Notice::Log(3, text));
            }
            let dropped = self.dropped_events.swap(0, Ordering::Relaxed);
            if dropped > 0 {
                let text = format!("{dropped} of its output events did not fit or were bad");
                return Some(Notice::Log(6, text));
            }
            let late = self.late_events.swap(0, Ordering::Relaxed);
            if late > 0 {
                let text = format!(
                    "{late} of its output events lay behind the end of their block; they came with \
                     its last frame"
                );
                return Some(Notice::Log(6, text));
            }
        }
        if window.lines >= LINES {
            return None;
        }
        let line = self.lines.pop()?;
        window.lines += 1;
        Some(Notice::Log(line.severity, String::from_utf8_lossy(&line.text[..line.len]).into()))
    }

    /// When there is more of the log to pass on, though nobody will say so.
    pub(super) fn log_opens(&self) -> Option<Instant> {
        let waits = !self.lines.is_empty()
            || self.lost_lines.load(Ordering::Relaxed) > 0
            || self.dropped_events.load(Ordering::Relaxed) > 0
            || self.late_events.load(Ordering::Relaxed) > 0;
        let window = self.log_window.lock().unwrap_or_else(PoisonError::into_inner);
        waits.then(|| window.begin + WINDOW)
    }

    pub(super) fn log_line(&self, severity: i32, message: &str) {
        let mut line = Line { severity, len: 0, text: [0; LINE] };
        line.len = message.floor_char_boundary(LINE);
        line.text[..line.len].copy_from_slice(&message.as_bytes()[..line.len]);
        match self.lines.push(line) {
            Ok(()) => (self.wake_main)(),
            // Nobody is woken: who takes the lines knows that there are more.
            Err(_) => {
                self.lost_lines.fetch_add(1, Ordering::Relaxed);
            }
        }
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
pub(super) struct HostAudio(pub(super) Arc<Shared>);
pub(super) struct SandrackHost;

impl HostHandlers for SandrackHost {
    type Shared<'a> = HostShared;
    type MainThread<'a> = HostMain<'a>;
    type AudioProcessor<'a> = HostAudio;

    fn declare_extensions(builder: &mut HostExtensions<Self>, _shared: &Self::Shared<'_>) {
        builder
            .register::<HostAudioPorts>()
            .register::<HostGui>()
            .register::<HostLatency>()
            .register::<HostLog>()
            .register::<more_host::NotePorts>()
            .register::<HostParams>()
            .register::<more_host::PosixFd>()
            .register::<HostState>()
            .register::<HostTail>()
            .register::<HostThreadCheck>()
            .register::<HostTimer>()
            .register::<more_host::AudioPortsConfig>()
            .register::<more_host::NoteNames>()
            .register::<more_host::PresetLoad>()
            .register::<more_host::ThreadPool>()
            .register::<more_host::VoiceInfo>();
    }
}

impl SharedHandler<'_> for HostShared {
    fn request_restart(&self) {
        self.0.raise(&self.0.wishes.restart);
    }
    fn request_process(&self) {
        self.0.raise(&self.0.wishes.process);
    }
    fn request_callback(&self) {
        self.0.set(&self.0.callback);
    }
}

impl<'a> MainThreadHandler<'a> for HostMain<'a> {}

impl HostLogImpl for HostShared {
    fn log(&self, severity: LogSeverity, message: &str) {
        self.0.log_line(severity as i32, message);
    }
}

impl HostThreadCheckImpl for HostShared {
    fn is_main_thread(&self) -> bool {
        self.0.is_main_thread()
    }
    fn is_audio_thread(&self) -> bool {
        IN_AUDIO.get()
    }
}

impl HostParamsImplShared for HostShared {
    // Means something to an inactive plugin only: blocks follow each other as long as it is active,
    // and each flushes.
    fn request_flush(&self) {
        self.0.is_right_thread(Call::ParamsRequestFlush);
        self.0.set(&self.0.flush);
    }
}

impl HostParamsImplMainThread for HostMain<'_> {
    // Whatever has changed, values, texts or the list: the answer is to read it all anew.
    fn rescan(&self, flags: ParamRescanFlags) {
        self.0.is_right_thread(Call::ParamsRescan);
        if flags.contains(ParamRescanFlags::ALL) {
            self.0.cookies_void.store(true, Ordering::Relaxed);
        }
        self.0.raise(&self.0.wishes.params);
    }
    // What a host keeps of a parameter, automation for one, is not kept here.
    fn clear(&self, _param_id: ClapId, _flags: ParamClearFlags) {
        self.0.is_right_thread(Call::ParamsClear);
    }
}

impl HostLatencyImpl for HostMain<'_> {
    fn changed(&self) {
        self.0.is_right_thread(Call::LatencyChanged);
        self.0.raise(&self.0.wishes.latency);
    }
}

impl HostStateImpl for HostMain<'_> {
    fn mark_dirty(&self) {
        self.0.is_right_thread(Call::StateMarkDirty);
        self.0.raise(&self.0.wishes.dirty);
    }
}

impl AudioProcessorHandler<'_> for HostAudio {}

impl HostTailImpl for HostAudio {
    // Every active node runs in every block: a tail is never cut short.
    fn changed(&mut self) {
        self.0.is_right_thread(Call::TailChanged);
    }
}

impl HostAudioPortsImpl for HostMain<'_> {
    fn is_rescan_flag_supported(&self, flag: AudioPortRescanFlags) -> bool {
        !flag.is_empty() && AudioPortRescanFlags::all().contains(flag)
    }
    fn rescan(&self, flags: AudioPortRescanFlags) {
        self.0.is_right_thread(Call::AudioPortsRescan);
        self.0.raise(match flags == AudioPortRescanFlags::NAMES {
            // Only what its ports are called.
            true => &self.0.wishes.params,
            false => &self.0.wishes.restart,
        });
    }
}

impl HostTimerImpl for HostMain<'_> {
    fn register_timer(&self, period_ms: u32) -> Result<TimerId, HostError> {
        self.0.is_right_thread(Call::TimerRegister);
        let mut timers = self.0.timers.lock().unwrap_or_else(PoisonError::into_inner);
        if timers.len() >= TIMERS {
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
        self.0.is_right_thread(Call::TimerUnregister);
        let mut timers = self.0.timers.lock().unwrap_or_else(PoisonError::into_inner);
        let before = timers.len();
        timers.retain(|timer| timer.id != timer_id.0);
        match timers.len() < before {
            true => Ok(()),
            false => Err(HostError::Message("no such timer")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shared() -> Shared {
        Shared::new(Box::new(|| {}))
    }

    fn notices(shared: &Shared) -> Vec<Notice> {
        std::iter::from_fn(|| shared.take_notice()).take(10_000).collect()
    }

    #[test]
    fn a_wish_is_passed_on_once_until_it_is_fulfilled() {
        let shared = shared();
        for _ in 0..3 {
            shared.raise(&shared.wishes.restart);
            shared.raise(&shared.wishes.dirty);
        }
        assert_eq!(notices(&shared), [Notice::RestartRequested, Notice::StateDirty]);
        shared.raise(&shared.wishes.restart);
        shared.raise(&shared.wishes.dirty);
        assert_eq!(notices(&shared), []);
        shared.wishes.dirty.fulfil();
        shared.raise(&shared.wishes.dirty);
        assert_eq!(notices(&shared), [Notice::StateDirty]);
    }

    #[test]
    fn a_restart_wanted_in_every_activation_is_granted_once() {
        let shared = shared();
        let activate = || {
            shared.before_activate();
            shared.raise(&shared.wishes.restart);
            shared.raise(&shared.wishes.latency);
            shared.after_activate();
            notices(&shared)
        };
        assert_eq!(activate(), [Notice::RestartRequested]);
        for _ in 0..2 {
            assert!(matches!(activate().as_slice(), [Notice::Log(6, _)]));
        }
        // One that is wanted later is another matter.
        shared.raise(&shared.wishes.restart);
        assert_eq!(notices(&shared), [Notice::RestartRequested]);
        shared.before_activate();
        shared.after_activate();
        assert_eq!(activate(), [Notice::RestartRequested]);
    }

    #[test]
    fn a_call_on_the_wrong_thread_is_told_once() {
        let shared = shared();
        assert!(shared.is_right_thread(Call::ParamsRescan));
        assert!(shared.is_right_thread(Call::ParamsRequestFlush));
        {
            let _audio = enter_audio_thread();
            assert!(shared.is_right_thread(Call::TailChanged));
            assert_eq!(notices(&shared), []);
            for _ in 0..3 {
                assert!(!shared.is_right_thread(Call::ParamsRescan));
                assert!(!shared.is_right_thread(Call::ParamsRequestFlush));
            }
        }
        thread::scope(|scope| {
            scope.spawn(|| assert!(!shared.is_right_thread(Call::TimerRegister)));
        });
        assert!(!shared.is_right_thread(Call::ThreadPoolExec));
        let told = if cfg!(debug_assertions) {
            vec![
                "params.rescan was called on the audio thread; it may be called on the main \
                 thread only",
                "params.request_flush was called on the audio thread; it may be called outside \
                 the audio thread only",
                "timer_support.register_timer was called on a thread of its own; it may be called \
                 on the main thread only",
                "thread_pool.request_exec was called on the main thread; it may be called on the \
                 audio thread only",
            ]
        } else {
            vec![]
        };
        let told: Vec<Notice> =
            told.into_iter().map(|text| Notice::Log(6, text.to_owned())).collect();
        assert_eq!(notices(&shared), told);
    }

    #[test]
    fn a_flood_of_log_lines_ends() {
        let shared = shared();
        let mut passed = 0;
        // Whoever takes the lines is slower than the plugin that writes them.
        for _ in 0..100 * LINES {
            shared.log_line(1, "again");
            passed += usize::from(shared.take_notice().is_some());
        }
        let windows = 2 + shared.log_window.lock().unwrap().begin.elapsed().as_millis() as usize;
        assert!(passed <= windows * LINES, "{passed}");
        assert!(shared.log_opens().is_some());
        thread::sleep(WINDOW);
        let told = notices(&shared);
        assert!(told.len() <= LINES + 1);
        assert!(matches!(&told[0], Notice::Log(3, text) if text.contains("were lost")));
        assert_eq!(shared.log_opens(), None);
    }

    #[test]
    fn a_thread_is_the_main_or_the_audio_thread_never_both() {
        let host = HostShared(Arc::new(shared()));
        let is = || (host.is_main_thread(), host.is_audio_thread());
        assert_eq!(is(), (true, false));
        {
            let _audio = enter_audio_thread();
            assert_eq!(is(), (false, true));
            drop(enter_audio_thread());
            assert_eq!(is(), (false, true));
        }
        assert_eq!(is(), (true, false));
        thread::scope(|scope| {
            scope.spawn(|| assert_eq!(is(), (false, false)));
        });
    }
}
