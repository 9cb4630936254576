//! Automation from a CSV file: what values parameters take when.
//!
//! ```csv
//! time,param,value,plugin,ramp,note
//! 0,Gain,0.25,,,
//! 1.5,Gain,-6 dB,1,linear,
//! 480f,Threshold,-20,Compressor,,
//! 2,note:tuning,0.5,,linear,64
//! ```
//! `time`: seconds (`1.5`, `1.5s`), frames (`480f`) or quarter notes (`4b`). `param`: name, or
//! `#` and number. `value`: a number in the range that `sandrack info` shows, or a text that the
//! plugin understands. `plugin`: place in the chain from 1, or name; may be left out where only
//! one has such a parameter. `ramp`: `step` (so without it), or `linear`: a straight line from the
//! value before.
//!
//! `param` may be an expression of the notes that sound: `note:tuning` (semitones), `note:volume`
//! (gain, 0 to 4), `note:pan` (0 left to 1), `note:vibrato`, `note:expression`, `note:brightness` or
//! `note:pressure` (0 to 1). `note`: the MIDI key, 0 to 127; empty: all notes. Parameters that a
//! plugin has for each note take a `note` as well.
//!
//! `mod:` and a parameter's name modulates it, where the plugin can be: `value` is added to what the
//! parameter is set to, and 0 is no modulation.

use crate::error::Error;
use std::path::{Path, PathBuf};

/// A line of the file.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Line in the file, from 1.
    pub line: u64,
    /// When.
    pub time: Time,
    /// Which parameter, as written.
    pub param: String,
    /// Its value, as written.
    pub value: String,
    /// Which plugin, as written; empty: whichever has the parameter.
    pub plugin: String,
    /// Whether the value moves there in a straight line.
    pub linear: bool,
    /// The MIDI key of the notes it is about; `None`: all, or none at all.
    pub note: Option<u8>,
}

/// A time as written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Time {
    /// Seconds.
    Seconds(f64),
    /// Frames.
    Frames(u64),
    /// Quarter notes.
    Beats(f64),
}

impl std::str::FromStr for Time {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let text = text.trim();
        let number = |digits: &str| match digits.trim().parse::<f64>() {
            Ok(n) if n.is_finite() && (0.0..=86_400.0 * 1e3).contains(&n) => Some(n),
            _ => None,
        };
        let time = match text.as_bytes().last() {
            Some(b'f') => text[..text.len() - 1].trim().parse().ok().map(Self::Frames),
            Some(b'b') => number(&text[..text.len() - 1]).map(Self::Beats),
            Some(b's') => number(&text[..text.len() - 1]).map(Self::Seconds),
            _ => number(text).map(Self::Seconds),
        };
        time.ok_or_else(|| {
            format!("'{text}' is no time: seconds (1.5), frames (480f) or quarter notes (4b)")
        })
    }
}

/// Most lines of a file.
const MAX_POINTS: usize = 1_000_000;

const COLUMNS: [&str; 6] = ["time", "param", "value", "plugin", "ramp", "note"];

/// An automation file.
#[derive(Clone, Debug, PartialEq)]
pub struct Automation {
    /// Where it was read.
    pub path: PathBuf,
    /// Its lines, as they come.
    pub points: Vec<Point>,
}

impl Automation {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = |source| Error::File { path: path.to_owned(), source };
        Self::parse(path, std::io::BufReader::new(std::fs::File::open(path).map_err(file)?))
    }

    /// Reads what is said to be in a file.
    pub fn parse(path: &Path, text: impl std::io::Read) -> Result<Self, Error> {
        let refuse =
            |line: u64, reason: String| Error::Automation { path: path.to_owned(), line, reason };
        let mut reader =
            csv::ReaderBuilder::new().trim(csv::Trim::All).flexible(true).from_reader(text);
        let unreadable = |e: csv::Error| {
            let line = e.position().map_or(1, csv::Position::line);
            refuse(line, format!("it can't be read as CSV ({e})"))
        };
        let header = reader.headers().map_err(unreadable)?.clone();
        for name in header.iter() {
            let name = name.trim_start_matches('\u{feff}').to_lowercase();
            if !COLUMNS.contains(&name.as_str()) {
                let all = COLUMNS.join(", ");
                return Err(refuse(1, format!("there is no column '{name}': {all} are known")));
            }
        }
        let column = |wanted: &str| {
            header
                .iter()
                .position(|name| name.trim_start_matches('\u{feff}').to_lowercase() == wanted)
        };
        let [Some(time), Some(param), Some(value)] = ["time", "param", "value"].map(column) else {
            let reason = "its first line has to name the columns: time,param,value";
            return Err(refuse(1, reason.into()));
        };
        let mut points = Vec::new();
        for record in reader.records() {
            let record = record.map_err(unreadable)?;
            let line = record.position().map_or(0, csv::Position::line);
            let cell = |name: &str, at: usize| match record.get(at) {
                Some(text) if !text.is_empty() => Ok(text),
                _ => Err(refuse(line, format!("column '{name}' is empty"))),
            };
            let optional =
                |name: &str| column(name).and_then(|at| record.get(at)).unwrap_or_default();
            let linear = match optional("ramp").to_lowercase().as_str() {
                "" | "step" => false,
                "linear" => true,
                other => {
                    let reason = format!("column 'ramp': '{other}' is neither step nor linear");
                    return Err(refuse(line, reason));
                }
            };
            let note = match optional("note") {
                "" => None,
                text => match text.parse::<u8>() {
                    Ok(key) if key < 128 => Some(key),
                    _ => {
                        let reason = format!("column 'note': '{text}' is no key from 0 to 127");
                        return Err(refuse(line, reason));
                    }
                },
            };
            let at = cell("time", time)?.parse();
            points.push(Point {
                line,
                time: at.map_err(|e| refuse(line, format!("column 'time': {e}")))?,
                param: cell("param", param)?.into(),
                value: cell("value", value)?.into(),
                plugin: optional("plugin").into(),
                linear,
                note,
            });
            if points.len() > MAX_POINTS {
                return Err(refuse(line, format!("it has more than {MAX_POINTS} lines")));
            }
        }
        Ok(Self { path: path.to_owned(), points })
    }
}

/// The nearest of some names, for an error's text.
pub fn nearest<'a>(wanted: &str, names: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = wanted.to_lowercase();
    names
        .map(|name| (strsim::jaro_winkler(&wanted, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, name)| name)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> Result<Vec<Point>, String> {
        let parsed = Automation::parse(Path::new("a.csv"), text.as_bytes());
        parsed.map(|a| a.points).map_err(|e| e.to_string())
    }

    #[test]
    fn columns_are_found_by_name() {
        let points =
            parse("value,time,param,ramp\n-6 dB,480f,gain,linear\n0.5, 2b ,#3,\n").unwrap();
        assert_eq!((points[0].time, points[0].linear), (Time::Frames(480), true));
        assert_eq!((points[0].value.as_str(), points[0].line), ("-6 dB", 2));
        assert_eq!((points[1].time, points[1].param.as_str()), (Time::Beats(2.0), "#3"));
    }

    #[test]
    fn errors_name_line_and_column() {
        for (text, parts) in [
            ("", ["a.csv:1:", "time,param,value"]),
            ("time,param\n", ["a.csv:1:", "time,param,value"]),
            ("time,param,value,foo\n", ["a.csv:1:", "'foo'"]),
            ("time,param,value\nx,a,1\n", ["a.csv:2:", "'time'"]),
            ("time,param,value\n0,a,1\n-1,a,1\n", ["a.csv:3:", "'time'"]),
            ("time,param,value\n1\n", ["a.csv:2:", "'param'"]),
            ("time,param,value,ramp\n1,a,2,,\n1,a,2,x\n", ["a.csv:3:", "'ramp'"]),
            ("time,param,value,note\n1,note:pan,1,128\n", ["a.csv:2:", "'note'"]),
        ] {
            let error = parse(text).unwrap_err();
            assert!(parts.iter().all(|part| error.contains(part)), "{text:?}: {error}");
        }
    }

    #[test]
    fn the_nearest_name_is_found() {
        let names = ["Threshold", "Ratio", "Attack"];
        assert_eq!(nearest("treshold", names.into_iter()), Some("Threshold"));
        assert_eq!(nearest("qqq", names.into_iter()), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(body in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = Automation::parse(Path::new("a"), &body[..]);
            let _ = Automation::parse(Path::new("a"), &[b"time,param,value\n", &body[..]].concat()[..]);
        }
    }
}
