//! MIDI ports of the system, for use beside any audio driver: on Windows always, on Linux (ALSA) with
//! the cargo feature `alsa`, whose build needs ALSA's headers. Without it there are JACK's MIDI ports.
//!
//! # Threads
//! What comes in is stamped on the system's MIDI thread as it comes, and goes to the callback
//! through a queue; what goes out waits for its time on a thread of the port's own.

use crate::error::Error;
use crate::midi::{MidiReceiver, MidiSender};

/// Ports of the system beside the driver's own are numbered from here on.
pub const FIRST_PORT: u16 = 256;

/// Names of the system's ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MidiPortNames {
    /// Ports that can be read.
    pub inputs: Vec<String>,
    /// Ports that can be played to.
    pub outputs: Vec<String>,
}

/// Why there are no system ports in this build, and what to do; `None`: there are.
pub fn missing() -> Option<&'static str> {
    system::MISSING
}

/// The system's ports as of now.
///
/// # Errors
/// The system's MIDI does not answer.
pub fn list() -> Result<MidiPortNames, Error> {
    system::list()
}

/// An input that is open until it is dropped.
pub struct InputPort {
    /// Its name.
    pub name: String,
    _connection: system::Input,
}

/// An output that is open until it is dropped.
pub struct OutputPort {
    /// Its name.
    pub name: String,
    _connection: system::Output,
}

/// Opens an input: of this name, or the only one with this in its name, in any case. Its messages
/// come with this port number.
///
/// # Errors
/// There is no such port, or it can't be opened (in use).
pub fn open_input(name: &str, port: u16) -> Result<(InputPort, MidiReceiver), Error> {
    let (name, connection, receiver) = system::open_input(name, port)?;
    Ok((InputPort { name, _connection: connection }, receiver))
}

/// Opens an output, named as for [`open_input`].
///
/// # Errors
/// There is no such port, or it can't be opened (in use).
pub fn open_output(name: &str) -> Result<(OutputPort, MidiSender), Error> {
    let (name, connection, sender) = system::open_output(name)?;
    Ok((OutputPort { name, _connection: connection }, sender))
}

/// The port that a name means: its place in `names`.
///
/// # Errors
/// It means none, or several; which there are.
pub fn find(names: &[String], wanted: &str) -> Result<usize, Error> {
    let fail = |reason| Err(Error::Driver { driver: format!("MIDI port {wanted}"), reason });
    if let Some(exact) = names.iter().position(|name| name == wanted) {
        return Ok(exact);
    }
    let wanted = wanted.to_lowercase();
    let has = |name: &String| name.to_lowercase().contains(&wanted);
    let found: Vec<usize> = (0..names.len()).filter(|index| has(&names[*index])).collect();
    let list = |indices: &mut dyn Iterator<Item = usize>| {
        indices.map(|index| format!("'{}'", names[index])).collect::<Vec<_>>().join(", ")
    };
    match found.as_slice() {
        [one] => Ok(*one),
        [] if names.is_empty() => {
            fail(missing().unwrap_or("there is none: plug one in").to_owned())
        }
        [] => fail(format!("there is no such port{}", suggest(&wanted, names))),
        several => fail(format!(
            "it may be {}: name one of them whole",
            list(&mut several.iter().copied())
        )),
    }
}

/// The port that may have been meant by a word which none has in its name, or else what ports there
/// are; to be put behind a complaint.
pub fn suggest(word: &str, names: &[String]) -> String {
    const ALIKE: f64 = 0.6;
    const MOST: usize = 12;
    let word = word.to_lowercase();
    let alike = |name: &String| {
        let name = name.to_lowercase();
        let parts = name.split(|c: char| !c.is_alphanumeric());
        let all = parts.chain([name.as_str()]);
        all.map(|part| strsim::normalized_damerau_levenshtein(part, &word)).fold(0.0, f64::max)
    };
    let nearest = names.iter().max_by(|a, b| alike(a).total_cmp(&alike(b)));
    let all = |count| {
        let some: Vec<String> = names.iter().take(count).map(|name| format!("'{name}'")).collect();
        some.join(", ")
    };
    match nearest {
        None => "; there is none".to_owned(),
        Some(near) if alike(near) >= ALIKE && names.len() > 1 => {
            let more = if names.len() > MOST { ", …" } else { "" };
            format!("; did you mean '{near}'? There is {}{more}", all(MOST))
        }
        Some(near) if alike(near) >= ALIKE => format!("; did you mean '{near}'?"),
        Some(_) if names.len() > MOST => format!("; there is {}, …", all(MOST)),
        Some(_) => format!("; there is {}", all(MOST)),
    }
}

#[cfg(any(windows, all(target_os = "linux", feature = "alsa")))]
mod system {
    use super::{MidiPortNames, find};
    use crate::drivers::{clock, midi_timetable};
    use crate::error::Error;
    use crate::midi::{MidiReceiver, MidiSender, midi_queue};
    use midir::{Ignore, MidiIO, MidiInput, MidiInputConnection, MidiOutput};
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    use std::thread::JoinHandle;

    pub(super) const MISSING: Option<&str> = None;

    const NAME: &str = "sandrack";
    /// Messages on their way.
    const QUEUE: usize = 4096;

    pub(super) type Input = MidiInputConnection<MidiSender>;

    fn failed(what: &str, why: impl std::fmt::Display) -> Error {
        let reason = format!("{why}: plug it in again, or end the program that uses it");
        Error::Driver { driver: format!("MIDI {what}"), reason }
    }

    fn input() -> Result<MidiInput, Error> {
        let mut input = MidiInput::new(NAME).map_err(|e| failed("input", e))?;
        input.ignore(Ignore::ActiveSense);
        Ok(input)
    }

    fn output() -> Result<MidiOutput, Error> {
        MidiOutput::new(NAME).map_err(|e| failed("output", e))
    }

    fn names<T: MidiIO>(of: &T) -> Vec<String> {
        // A port that has just gone keeps its place, without a name.
        of.ports().iter().map(|port| of.port_name(port).unwrap_or_default()).collect()
    }

    pub(super) fn list() -> Result<MidiPortNames, Error> {
        Ok(MidiPortNames { inputs: names(&input()?), outputs: names(&output()?) })
    }

    pub(super) fn open_input(
        wanted: &str,
        port: u16,
    ) -> Result<(String, Input, MidiReceiver), Error> {
        let input = input()?;
        let names = names(&input);
        let index = find(&names, wanted)?;
        let name = names[index].clone();
        let ports = input.ports();
        let from = ports.get(index).ok_or_else(|| failed(&name, "it is gone"))?;
        let (sender, receiver) = midi_queue(QUEUE);
        let take = move |_: u64, bytes: &[u8], sender: &mut MidiSender| {
            sender.send(clock::now_ns(), port, bytes);
        };
        let connection = input.connect(from, NAME, take, sender).map_err(|e| failed(&name, e))?;
        Ok((name, connection, receiver))
    }

    /// The thread that sends.
    pub(super) struct Output {
        ends: Arc<AtomicBool>,
        thread: Option<JoinHandle<()>>,
    }

    impl Drop for Output {
        fn drop(&mut self) {
            self.ends.store(true, Relaxed);
            if let Some(thread) = self.thread.take() {
                let _ = thread.join();
            }
        }
    }

    pub(super) fn open_output(wanted: &str) -> Result<(String, Output, MidiSender), Error> {
        let output = output()?;
        let names = names(&output);
        let index = find(&names, wanted)?;
        let name = names[index].clone();
        let ports = output.ports();
        let to = ports.get(index).ok_or_else(|| failed(&name, "it is gone"))?;
        let mut connection = output.connect(to, NAME).map_err(|e| failed(&name, e))?;
        let (sender, receiver) = midi_queue(QUEUE);
        let ends = Arc::new(AtomicBool::new(false));
        let ended = Arc::clone(&ends);
        let send = move || {
            midi_timetable::run(receiver, &ended, |bytes| {
                if let Err(error) = connection.send(bytes) {
                    tracing::debug!("MIDI output: {error}");
                }
            });
        };
        let thread = std::thread::Builder::new().name("MIDI output".into()).spawn(send);
        let thread = Some(thread.map_err(|e| failed(&name, e))?);
        Ok((name, Output { ends, thread }, sender))
    }
}

#[cfg(not(any(windows, all(target_os = "linux", feature = "alsa"))))]
mod system {
    use super::{MidiPortNames, find};
    use crate::error::Error;
    use crate::midi::{MidiReceiver, MidiSender};

    pub(super) const MISSING: Option<&str> =
        Some("this build has no ALSA MIDI: use JACK's MIDI ports, or build with '--features alsa'");

    /// There is none.
    pub(super) enum Input {}
    /// There is none.
    pub(super) enum Output {}

    pub(super) fn list() -> Result<MidiPortNames, Error> {
        Ok(MidiPortNames::default())
    }

    pub(super) fn open_input(
        wanted: &str,
        _port: u16,
    ) -> Result<(String, Input, MidiReceiver), Error> {
        Err(nothing(wanted))
    }

    pub(super) fn open_output(wanted: &str) -> Result<(String, Output, MidiSender), Error> {
        Err(nothing(wanted))
    }

    fn nothing(wanted: &str) -> Error {
        match find(&[], wanted) {
            Err(error) => error,
            Ok(_) => unreachable!("nothing is found among nothing"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_found_by_a_part_of_its_name_unless_that_means_several() {
        let names: Vec<String> = ["nanoKEY 1", "nanoKEY 2", "USB Uno"].map(String::from).into();
        assert_eq!(find(&names, "uno").ok(), Some(2));
        assert_eq!(find(&names, "nanoKEY 2").ok(), Some(1));
        let several = find(&names, "nanokey").expect_err("two").to_string();
        assert!(several.contains("'nanoKEY 1', 'nanoKEY 2'"), "{several}");
        let none = find(&names, "piano").expect_err("none").to_string();
        assert!(none.contains("'USB Uno'"), "{none}");
        assert!(find(&[], "piano").is_err());
    }
}
