//! What the driver's methods do.

use crate::abi::{
    self, BufferInfo, Callbacks, ChannelInfo, ClockSource, Code, INVALID_MODE, INVALID_PARAMETER,
    MALFUNCTION, NO_CLOCK, NOT_PRESENT, Number, selector,
};
use crate::memory::{self, Count, count, uncount};
use crate::playback::{Buffers, Playback, Shared};
use crate::register;
use crate::settings::{Happening, Settings};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::{Duration, Instant};

/// Whether an instance is initialised: there is one device, for one program at a time.
static IN_USE: AtomicBool = AtomicBool::new(false);

pub(crate) struct Device {
    thread: ThreadId,
    state: Mutex<State>,
    /// Used inside callbacks, while a method may hold the state.
    shared: Arc<Shared>,
}

#[derive(Default)]
struct State {
    settings: Settings,
    error: String,
    is_initialised: bool,
    rate: u32,
    /// When it was set, and what it was before.
    rate_was_set: Option<(Instant, u32)>,
    other_program: Option<register::Alone>,
    buffers: Option<Arc<Buffers>>,
    playback: Option<Playback>,
    /// Was stopped, and calls back all the same.
    goes_on: Option<Playback>,
}

impl State {
    /// Inputs and outputs. Many devices have fewer at high rates.
    fn channels(&self) -> (i32, i32) {
        let Settings { inputs, outputs, .. } = self.settings;
        match self.settings.is_bad("fewer-channels") && self.rate > 50_000 {
            true => (inputs / 2, outputs / 2),
            false => (inputs, outputs),
        }
    }

    /// Whether it has this channel, and knows it.
    fn knows(&self, is_input: bool, channel: i32) -> bool {
        let (inputs, outputs) = self.channels();
        let most = if is_input { inputs } else { outputs };
        (0..most).contains(&channel) && !(channel == 1 && self.settings.is_bad("second-channel"))
    }
}

impl Device {
    pub(crate) fn new() -> Self {
        let device = Self {
            thread: std::thread::current().id(),
            state: Mutex::default(),
            shared: Arc::default(),
        };
        let mut state = device.state();
        match Settings::read(register::registered_settings()) {
            Ok(settings) => {
                memory::settings_are(&settings);
                state.rate = memory::with(|memory| memory.rate).unwrap_or(settings.rate);
                state.settings = settings;
            }
            Err(why) => state.error = format!("settings: {why}"),
        }
        drop(state);
        count(Count::Instances);
        count(Count::Alive);
        device
    }

    /// For methods that belong to the apartment's thread.
    fn state(&self) -> MutexGuard<'_, State> {
        if std::thread::current().id() != self.thread {
            count(Count::WrongThread);
        }
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn init(&self, has_window: bool) -> i32 {
        let mut state = self.state();
        if !state.error.is_empty() {
            return 0;
        }
        std::thread::sleep(state.settings.init_takes);
        let why = if state.settings.is_bad("init") {
            "init fails, as it was told to"
        } else if state.settings.is_bad("needs-window") && !has_window {
            "it was given no window"
        } else if memory::with(|memory| memory.is_gone()) {
            "the device is not plugged in"
        } else if IN_USE.swap(true, Ordering::AcqRel) {
            "this program uses it already"
        } else {
            ""
        };
        if !why.is_empty() {
            state.error = why.to_owned();
            return if state.settings.is_bad("no-is-code") { NOT_PRESENT } else { 0 };
        }
        state.is_initialised = true;
        match register::alone() {
            Some(alone) => state.other_program = Some(alone),
            None => {
                state.error = "another program uses it".to_owned();
                return 0;
            }
        }
        match &state.settings {
            settings if settings.is_bad("yes-is-42") => 42,
            settings if settings.is_bad("yes-is-code") => abi::SUCCESS,
            settings if settings.is_bad("yes-is-minus-1") => -1,
            _ => 1,
        }
    }

    pub(crate) fn name(&self) -> [u8; 32] {
        let state = self.state();
        text("Sandrack Virtual ASIO", &state.settings)
    }

    pub(crate) fn error(&self) -> String {
        self.state().error.clone()
    }

    /// For most: it is initialised, and not told to fail at this.
    fn well(&self, bad: &str) -> Result<MutexGuard<'_, State>, Code> {
        let mut state = self.state();
        if !state.is_initialised {
            state.error = "not initialised".to_owned();
            return Err(NOT_PRESENT);
        }
        if state.settings.is_bad(bad) {
            state.error = format!("{bad} fails, as it was told to");
            return Err(MALFUNCTION);
        }
        Ok(state)
    }

    pub(crate) fn channels(&self) -> Result<(i32, i32), Code> {
        let state = self.well("channels")?;
        match state.settings.is_bad("no-channels") {
            true => Ok((0, 0)),
            false => Ok(state.channels()),
        }
    }

    pub(crate) fn latencies(&self) -> Result<(i32, i32), Code> {
        count(Count::Latencies);
        let state = self.well("latencies")?;
        let changed = memory::with(|memory| memory.latency).or(state.settings.latency);
        let frames = match &state.buffers {
            Some(buffers) => buffers.frames as i32,
            None => sizes(&state.settings)[2],
        };
        if state.settings.is_bad("quiet-latency") && state.playback.is_some() {
            return Ok((frames + 7, frames + 9));
        }
        // What is played comes back after two blocks.
        Ok(changed.unwrap_or((frames, frames)))
    }

    pub(crate) fn sizes(&self) -> Result<[i32; 4], Code> {
        let state = self.well("sizes")?;
        match state.settings.is_bad("no-sizes") {
            true => Ok([0, 0, 0, 0]),
            false => Ok(sizes(&state.settings)),
        }
    }

    pub(crate) fn can_rate(&self, rate: f64) -> Result<(), Code> {
        let state = self.well("rate")?;
        if state.settings.is_bad("cannot-tell-rates") {
            return Err(NOT_PRESENT);
        }
        if state.settings.is_bad("denies-rates") {
            return Err(NO_CLOCK);
        }
        drop(state);
        self.has_rate(rate)
    }

    fn has_rate(&self, rate: f64) -> Result<(), Code> {
        let mut state = self.well("rate")?;
        if state.settings.rates.iter().any(|known| f64::from(*known) == rate) {
            return Ok(());
        }
        state.error = format!("{rate} Hz is not among its rates");
        Err(NO_CLOCK)
    }

    pub(crate) fn rate(&self) -> Result<u32, Code> {
        const LATE: Duration = Duration::from_millis(200);
        let state = self.state();
        let is_bad = |what| state.settings.is_bad(what);
        match state.rate_was_set {
            _ if is_bad("no-clock") => Err(NO_CLOCK),
            None if is_bad("no-rate-yet") => Ok(0),
            Some((at, before)) if is_bad("late-rate") && at.elapsed() < LATE => Ok(before),
            _ => Ok(state.rate),
        }
    }

    pub(crate) fn set_rate(&self, rate: f64) -> Result<(), Code> {
        self.has_rate(rate)?;
        let mut state = self.state();
        state.rate_was_set = Some((Instant::now(), state.rate));
        if !state.settings.is_bad("rate-is-other") {
            state.rate = rate as u32;
        }
        Ok(())
    }

    /// What there is, and how many it says there are.
    pub(crate) fn clocks(&self) -> (Vec<ClockSource>, i32) {
        let state = self.state();
        let now = memory::with(|memory| memory.clock);
        let many = state.settings.is_bad("many-clocks");
        let names = ["Internal", "Word clock"].into_iter().cycle().take(if many { 40 } else { 2 });
        let clocks: Vec<ClockSource> = names
            .enumerate()
            .map(|(index, name)| ClockSource {
                index: index as i32,
                channel: -1,
                group: -1,
                is_current: i32::from(now == index as i32),
                name: text(name, &state.settings),
            })
            .collect();
        let count = if state.settings.is_bad("negative-clocks") { -3 } else { clocks.len() as i32 };
        (clocks, count)
    }

    pub(crate) fn set_clock(&self, index: i32) -> Result<(), Code> {
        if !(0..2).contains(&index) {
            return Err(INVALID_PARAMETER);
        }
        memory::with(|memory| memory.clock = index);
        Ok(())
    }

    pub(crate) fn position(&self) -> Result<(Number, Number), Code> {
        match self.shared.time() {
            Some(time) => Ok(time),
            None => Err(abi::NOT_PRESENT),
        }
    }

    pub(crate) fn channel(&self, info: &mut ChannelInfo) -> Result<(), Code> {
        let state = self.well("channel-info")?;
        let settings = &state.settings;
        let is_input = info.is_input != 0;
        if !state.knows(is_input, info.channel) {
            return Err(INVALID_PARAMETER);
        }
        info.is_active = state.buffers.is_some().into();
        info.group = info.channel / 2;
        let is_early = settings.is_bad("late-format") && state.buffers.is_none();
        info.sample_type = match settings.format(is_input, info.channel).number {
            _ if settings.is_bad("unknown-format") => 33,
            // Of another size, so that it is heard.
            number if is_early => {
                if number == 16 {
                    18
                } else {
                    16
                }
            }
            number => number,
        };
        let what = if is_input { "Loop in" } else { "Loop out" };
        let number = info.channel + 1;
        info.name = text(&format!("{what} {number}"), settings);
        Ok(())
    }

    pub(crate) fn create_buffers(
        &self,
        infos: &mut [BufferInfo],
        frames: i32,
        callbacks: Callbacks,
    ) -> Result<(), Code> {
        let mut state = self.well("create")?;
        if state.buffers.is_some() {
            count(Count::WrongOrder);
            state.error = "there are buffers already".to_owned();
            return Err(INVALID_MODE);
        }
        let has_channels = infos.iter().all(|info| state.knows(info.is_input != 0, info.channel));
        if !has_channels {
            state.error = "it has no such channels".to_owned();
            return Err(INVALID_PARAMETER);
        }
        let sizes = sizes(&state.settings);
        let is_other = state.settings.is_bad("one-size") && frames != sizes[2];
        if is_other || !allows(sizes, frames) {
            state.error = format!("{frames} frames are not among its sizes");
            return Err(INVALID_MODE);
        }
        if state.settings.is_bad("calls-in-create") {
            crate::playback::call_early(&callbacks);
        }
        let (settings, rate) = (state.settings.clone(), state.rate);
        let buffers = Arc::new(Buffers::new(infos, frames as usize, &settings));
        self.shared.prepare(&settings, rate, callbacks);
        state.buffers = Some(Arc::clone(&buffers));
        count(Count::Buffers);
        drop(state);
        self.shared.ask_host();
        if settings.is_bad("calls-in-create") {
            self.shared.call(&buffers, 0);
        }
        if settings.is_bad("reset-in-create") {
            self.shared.happens(&Happening::Reset);
        }
        Ok(())
    }

    pub(crate) fn dispose_buffers(&self) -> Result<(), Code> {
        let mut state = self.state();
        if state.playback.is_some() {
            count(Count::WrongOrder);
            return Err(INVALID_MODE);
        }
        if let Some(playback) = state.goes_on.take() {
            playback.stop();
        }
        match state.buffers.take() {
            Some(_) => {
                uncount(Count::Buffers);
                Ok(())
            }
            None => Err(INVALID_MODE),
        }
    }

    pub(crate) fn start(&self) -> Result<(), Code> {
        let mut state = self.well("start")?;
        let (Some(buffers), None) = (state.buffers.clone(), &state.playback) else {
            count(Count::WrongOrder);
            state.error = "start without buffers, or twice".to_owned();
            return Err(INVALID_MODE);
        };
        let settings = state.settings.clone();
        if let Some(playback) = state.goes_on.take() {
            playback.stop();
        }
        if settings.is_bad("rate-in-start") {
            self.shared.happens(&Happening::Rate(state.rate));
        }
        if settings.is_bad("calls-here-in-start") {
            self.shared.call(&buffers, 0);
            self.shared.call(&buffers, 1);
        }
        if settings.is_bad("reset-in-start") && memory::with(|memory| memory.done.insert(1000)) {
            self.shared.happens(&Happening::Reset);
        }
        if settings.is_bad("reset-always") {
            self.shared.happens(&Happening::Reset);
        }
        let playback = Playback::start(Arc::clone(&self.shared), buffers).ok_or(MALFUNCTION)?;
        if settings.is_bad("calls-in-start") {
            // The host hears from another thread before this returns.
            self.shared.wait_for_blocks(2);
        }
        state.playback = Some(playback);
        count(Count::Starts);
        Ok(())
    }

    pub(crate) fn stop(&self) -> Result<(), Code> {
        count(Count::Stops);
        let (playback, settings, buffers) = {
            let mut state = self.state();
            (state.playback.take(), state.settings.clone(), state.buffers.clone())
        };
        let Some(playback) = playback else { return Err(INVALID_MODE) };
        std::thread::sleep(settings.stop_takes);
        if settings.is_bad("goes-on") {
            self.state().goes_on = Some(playback);
            return Ok(());
        }
        if let Some(buffers) = buffers.filter(|_| settings.is_bad("calls-in-stop")) {
            self.shared.call(&buffers, 0);
            playback.stop();
            self.shared.call(&buffers, 1);
        } else {
            playback.stop();
        }
        if settings.is_bad("late-calls") {
            self.shared.call_late();
        }
        match settings.is_bad("stop") {
            true => Err(MALFUNCTION),
            false => Ok(()),
        }
    }

    pub(crate) fn panel(&self) -> Result<(), Code> {
        let settings = self.well("panel")?.settings.clone();
        std::thread::sleep(settings.panel_takes);
        for happening in &settings.panel {
            self.shared.happens(happening);
        }
        Ok(())
    }

    pub(crate) fn future(&self, what: i32, on: Option<bool>) -> Code {
        if self.state().settings.is_bad("no-future") {
            return INVALID_PARAMETER;
        }
        match (what, on) {
            (selector::CAN_TIME_INFO | selector::CAN_INPUT_MONITOR, _) => abi::SUCCESS,
            (selector::SET_INPUT_MONITOR, Some(true)) => {
                count(Count::Monitors);
                abi::SUCCESS
            }
            (selector::SET_INPUT_MONITOR, Some(false)) => {
                uncount(Count::Monitors);
                abi::SUCCESS
            }
            _ => INVALID_PARAMETER,
        }
    }

    pub(crate) fn output_ready(&self) -> Result<(), Code> {
        count(Count::OutputReady);
        match self.shared.wants_output_ready() {
            true => Ok(()),
            false => Err(NOT_PRESENT),
        }
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let (playback, goes_on) = {
            let mut state = self.state();
            (state.playback.take(), state.goes_on.take())
        };
        if let Some(playback) = playback {
            count(Count::WrongOrder);
            playback.stop();
        }
        if let Some(playback) = goes_on {
            playback.stop();
        }
        if self.state().is_initialised {
            IN_USE.store(false, Ordering::Release);
        }
        uncount(Count::Alive);
    }
}

/// With what its user has set.
fn sizes(settings: &Settings) -> [i32; 4] {
    let [min, max, preferred, granularity] = settings.sizes;
    let preferred = memory::with(|memory| memory.preferred).unwrap_or(preferred);
    [min.min(preferred), max.max(preferred), preferred, granularity]
}

fn allows([min, max, preferred, granularity]: [i32; 4], frames: i32) -> bool {
    let inside = frames >= min && frames <= max;
    frames == preferred
        || inside
            && match granularity {
                -1 => frames % min == 0 && (frames / min).count_ones() == 1,
                0 => frames == min || frames == max,
                step => (frames - min) % step == 0,
            }
}

/// A name in its 32 bytes.
fn text(name: &str, settings: &Settings) -> [u8; 32] {
    let fill = if settings.is_bad("unterminated-names") { b'x' } else { 0 };
    let mut bytes = [fill; 32];
    bytes[..name.len()].copy_from_slice(name.as_bytes());
    if settings.is_bad("code-page")
        && let Some(letter) = bytes.iter_mut().find(|letter| **letter == b'o')
    {
        // An o with two dots in most of the code pages of the west.
        *letter = 0xf6;
    }
    bytes
}
