//! What the driver is like, in a line of text: `key=value`, separated by spaces, `;` or lines.

use std::time::Duration;

/// Where the text comes from: the environment, else the driver's entry in the list of ASIO drivers.
/// `@FILE`: it is in this file.
pub(crate) const VARIABLE: &str = "SANDRACK_ASIO";

/// How samples are written down: ASIO's number, bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Format {
    pub(crate) number: i32,
    pub(crate) bytes: usize,
}

/// Something that happens, at a block or when the control panel is opened.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Happening {
    /// Asks for a reset.
    Reset,
    /// Prefers this size from now on, and asks for a reset.
    ResetSize(i32),
    /// Runs at this rate from now on, and asks for a reset.
    ResetRate(u32),
    /// Says that the buffer size is this now.
    Size(i32),
    /// Says that the rate is this now.
    Rate(u32),
    /// Says that latencies are these now.
    Latency(i32, i32),
    /// Says that it is out of step; positions jump by a second.
    Resync,
    /// Says that there was an overload.
    Overload,
    /// Is gone: calls back no more, and can't be opened for so long.
    Vanish(Duration),
    /// Calls back no more, and says nothing.
    Stall,
    /// Skips so many blocks.
    Skip(u64),
}

/// All that can be set.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Settings {
    pub(crate) text: String,
    pub(crate) inputs: i32,
    pub(crate) outputs: i32,
    /// Smallest, largest, preferred, granularity.
    pub(crate) sizes: [i32; 4],
    pub(crate) rates: Vec<u32>,
    pub(crate) rate: u32,
    /// Of the channels in turn.
    pub(crate) formats: Vec<Format>,
    /// Of outputs, where those have others.
    pub(crate) output_formats: Vec<Format>,
    pub(crate) latency: Option<(i32, i32)>,
    /// How late callbacks are at most.
    pub(crate) jitter: Duration,
    /// How much faster than it says, in parts of a million.
    pub(crate) drift_ppm: f64,
    /// Longest that `init` takes.
    pub(crate) init_takes: Duration,
    /// Longest that `stop` takes.
    pub(crate) stop_takes: Duration,
    /// Longest that the control panel stays open.
    pub(crate) panel_takes: Duration,
    pub(crate) at: Vec<(u64, Happening)>,
    pub(crate) panel: Vec<Happening>,
    pub(crate) bad: Vec<String>,
}

/// What `bad=` may list.
const BAD: &[&str] = &[
    "init",
    "channels",
    "no-channels",
    "sizes",
    "no-sizes",
    "rate",
    "rate-is-other",
    "create",
    "null-buffers",
    "start",
    "stop",
    "latencies",
    "channel-info",
    "unknown-format",
    "panel",
    "unterminated-names",
    "negative-clocks",
    "many-clocks",
    "yes-is-42",
    "calls-in-create",
    "calls-in-start",
    "calls-here-in-start",
    "calls-in-stop",
    "late-calls",
    "reset-in-create",
    "reset-in-start",
    "reset-always",
    "rate-in-start",
    "no-time-info",
    "null-time",
    "swapped",
    "no-position",
    "overlap",
    "no-output-ready",
    "index",
    "new-threads",
    "quiet-latency",
    "cannot-tell-rates",
    "no-rate-yet",
    "no-future",
    "slow-start",
    "needs-window",
    "no-is-code",
    "yes-is-code",
    "yes-is-minus-1",
    "ok-is-1",
    "fewer-channels",
    "second-channel",
    "denies-rates",
    "no-clock",
    "late-rate",
    "late-format",
    "one-size",
    "goes-on",
    "two-threads",
    "nags",
    "code-page",
];

impl Default for Settings {
    fn default() -> Self {
        Self {
            text: String::new(),
            inputs: 2,
            outputs: 2,
            sizes: [16, 4096, 256, -1],
            rates: vec![44_100, 48_000, 88_200, 96_000, 192_000],
            rate: 48_000,
            formats: vec![Format { number: 19, bytes: 4 }],
            output_formats: Vec::new(),
            latency: None,
            jitter: Duration::ZERO,
            drift_ppm: 0.0,
            init_takes: Duration::ZERO,
            stop_takes: Duration::ZERO,
            panel_takes: Duration::ZERO,
            at: Vec::new(),
            panel: Vec::new(),
            bad: Vec::new(),
        }
    }
}

impl Settings {
    /// As set now. `Err`: what can't be understood.
    pub(crate) fn read(registered: Option<String>) -> Result<Self, String> {
        let text = std::env::var(VARIABLE).ok().or(registered).unwrap_or_default();
        let text = match text.strip_prefix('@') {
            Some(path) => {
                std::fs::read_to_string(path.trim()).map_err(|e| format!("{path}: {e}"))?
            }
            None => text,
        };
        Self::parse(&text)
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut all = Self { text: text.to_owned(), ..Self::default() };
        let words = text.split([' ', ';', '\n', '\r', '\t']).filter(|word| !word.is_empty());
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| format!("no '=' in {word}"))?;
            all.set(key, value).ok_or_else(|| format!("can't understand {word}"))?;
        }
        Ok(all)
    }

    fn set(&mut self, key: &str, value: &str) -> Option<()> {
        let ms = |value: &str| value.parse().ok().map(Duration::from_millis);
        match key {
            "inputs" => self.inputs = value.parse().ok()?,
            "outputs" => self.outputs = value.parse().ok()?,
            "sizes" => self.sizes = numbers(value)?.try_into().ok()?,
            "rates" => self.rates = list(value)?,
            "rate" => self.rate = value.parse().ok()?,
            "format" => self.formats = value.split(',').map(format).collect::<Option<_>>()?,
            "output-format" => {
                self.output_formats = value.split(',').map(format).collect::<Option<_>>()?;
            }
            "latency" => match numbers(value)?[..] {
                [input, output] => self.latency = Some((input, output)),
                _ => return None,
            },
            "jitter-us" => self.jitter = Duration::from_micros(value.parse().ok()?),
            "drift-ppm" => self.drift_ppm = value.parse().ok()?,
            "init-ms" => self.init_takes = ms(value)?,
            "stop-ms" => self.stop_takes = ms(value)?,
            "panel-ms" => self.panel_takes = ms(value)?,
            "at" => {
                for one in value.split(',') {
                    let (block, what) = one.split_once(':')?;
                    self.at.push((block.parse().ok()?, happening(what)?));
                }
            }
            "panel" => self.panel = value.split(',').map(happening).collect::<Option<_>>()?,
            "bad" => {
                let known = |word: &str| BAD.contains(&word).then(|| word.to_owned());
                self.bad = value.split(',').map(known).collect::<Option<_>>()?;
            }
            _ => return None,
        }
        Some(())
    }

    /// Whether it misbehaves so.
    pub(crate) fn is_bad(&self, what: &str) -> bool {
        debug_assert!(BAD.contains(&what), "{what}");
        self.bad.iter().any(|bad| bad == what)
    }

    pub(crate) fn format(&self, is_input: bool, channel: i32) -> Format {
        let formats = match is_input || self.output_formats.is_empty() {
            true => &self.formats,
            false => &self.output_formats,
        };
        formats[channel as usize % formats.len()]
    }
}

fn numbers(value: &str) -> Option<Vec<i32>> {
    value.split(':').map(|number| number.parse().ok()).collect()
}

fn list(value: &str) -> Option<Vec<u32>> {
    value.split(',').map(|number| number.parse().ok()).collect()
}

/// `int24`, `int32-18`, `float32be`, …
fn format(name: &str) -> Option<Format> {
    let (name, little) = match name.strip_suffix("be") {
        Some(name) => (name, 0),
        None => (name, 16),
    };
    let (number, bytes) = match name {
        "int16" => (0, 2),
        "int24" => (1, 3),
        "int32" => (2, 4),
        "float32" => (3, 4),
        "float64" => (4, 8),
        "int32-16" => (8, 4),
        "int32-18" => (9, 4),
        "int32-20" => (10, 4),
        "int32-24" => (11, 4),
        _ => return None,
    };
    Some(Format { number: number + little, bytes })
}

fn happening(text: &str) -> Option<Happening> {
    let mut words = text.split(':');
    let what = words.next()?;
    let mut number = || words.next().and_then(|word| word.parse::<u32>().ok());
    let found = match what {
        "reset" => Happening::Reset,
        "reset-size" => Happening::ResetSize(number()? as i32),
        "reset-rate" => Happening::ResetRate(number()?),
        "size" => Happening::Size(number()? as i32),
        "rate" => Happening::Rate(number()?),
        "latency" => Happening::Latency(number()? as i32, number()? as i32),
        "resync" => Happening::Resync,
        "overload" => Happening::Overload,
        "vanish" => Happening::Vanish(Duration::from_millis(number()?.into())),
        "stall" => Happening::Stall,
        "skip" => Happening::Skip(number()?.into()),
        _ => return None,
    };
    words.next().is_none().then_some(found)
}
