//! What our ports are to be connected to: by themselves (to the sound card, or to what a word means),
//! and as the user has connected them, here or in any patchbay. It outlives the server, the others'
//! programs and, in the rig, this one.
//!
//! JACK forgets connections with the ports. So what is gone without its port being gone was
//! disconnected by somebody; what is gone with its port is made again when the port is back.

use super::client::{Client, Kind, Port};
use super::library::port_flag;
use super::ports::Ports;
use crate::drivers::Wiring;
use std::collections::{BTreeSet, HashMap};
use std::sync::{LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What each driver is to be connected to, by its name, as long as the program runs.
static REMEMBERED: LazyLock<Mutex<HashMap<String, Vec<Plugs>>>> = LazyLock::new(Mutex::default);

fn memory() -> MutexGuard<'static, HashMap<String, Vec<Plugs>>> {
    REMEMBERED.lock().unwrap_or_else(PoisonError::into_inner)
}

/// How long a connection must be gone, while both ports are there, to count as taken away: a program
/// that starts anew has its port back before this is told.
const SURE: Duration = Duration::from_millis(250);

/// How long one that was taken away here may be seen.
const CUT: Duration = Duration::from_secs(1);

/// One of our ports, as it is now.
pub(super) struct Mine {
    /// Without the client's name.
    pub(super) name: String,
    pub(super) kind: Kind,
    pub(super) is_input: bool,
    /// The word that it was made for.
    pub(super) word: Option<String>,
    /// What it is connected to.
    pub(super) connected: Vec<String>,
}

/// What one of our ports is to be connected to, in the order in which that came.
#[derive(Clone, Debug, Default)]
struct Plugs {
    name: String,
    wires: Vec<Wire>,
    /// What it is connected to if nobody says anything else.
    by_itself: BTreeSet<String>,
    /// The rig says it.
    is_listed: bool,
    has_word: bool,
}

#[derive(Clone, Debug)]
struct Wire {
    other: String,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// To be made as soon as the other port is there.
    Awaited,
    /// It has been seen.
    Made,
    /// It is gone, though both ports are there, since then.
    Missing(Instant),
    /// It was taken away here, then. The server shows it until its next cycle.
    Cut(Instant),
}

impl Plugs {
    /// What is wanted.
    fn wanted(&self) -> impl Iterator<Item = &Wire> {
        self.wires.iter().filter(|wire| !matches!(wire.state, State::Cut(_)))
    }

    fn is_usual(&self) -> bool {
        self.wanted().count() == self.by_itself.len()
            && self.wanted().all(|wire| self.by_itself.contains(&wire.other))
    }

    fn find(&mut self, other: &str) -> Option<&mut Wire> {
        self.wires.iter_mut().find(|wire| wire.other == other)
    }

    fn put(&mut self, other: &str, state: State) {
        match self.find(other) {
            Some(wire) => wire.state = state,
            None => self.wires.push(Wire { other: other.to_owned(), state }),
        }
    }

    /// Wants a connection, if it is not wanted yet.
    fn want(&mut self, other: &str) {
        if !self.wanted().any(|wire| wire.other == other) {
            self.put(other, State::Awaited);
        }
    }

    /// What the rig is to say about it; `None`: nothing.
    fn kept(&self) -> Option<Vec<String>> {
        // A word is in the rig already, and means other ports tomorrow.
        let is_worth_saying =
            |wire: &&Wire| !self.has_word || !self.by_itself.contains(&wire.other);
        let all = self.wanted().filter(is_worth_saying).map(|wire| wire.other.clone());
        let all: Vec<String> = all.collect();
        let says = match self.has_word {
            true => !all.is_empty(),
            false => self.is_listed || !self.is_usual(),
        };
        says.then_some(all)
    }

    /// Compares with what is there.
    fn look(
        &mut self,
        mine: &Mine,
        there: &BTreeSet<String>,
        new: &BTreeSet<String>,
        now: Instant,
    ) {
        for other in &mine.connected {
            match self.find(other).map(|wire| wire.state) {
                Some(State::Cut(since)) if now < since + CUT => {}
                _ => self.put(other, State::Made),
            }
        }
        self.wires.retain_mut(|wire| {
            if mine.connected.contains(&wire.other) || wire.state == State::Awaited {
                return true;
            }
            if matches!(wire.state, State::Cut(_)) {
                return false;
            }
            if !there.contains(&wire.other) || new.contains(&wire.other) {
                wire.state = State::Awaited;
                return true;
            }
            match wire.state {
                State::Missing(since) => now < since + SURE,
                _ => {
                    wire.state = State::Missing(now);
                    true
                }
            }
        });
    }
}

/// What all our ports are to be connected to.
#[derive(Default)]
pub(super) struct Wires {
    ports: Vec<Plugs>,
    /// Others' MIDI ports that were there when words were last compared with them.
    seen: [Seen; 2],
}

/// Of one direction: others' ports, and how many words of ours have seen them.
#[derive(Default)]
struct Seen {
    others: BTreeSet<String>,
    words: usize,
}

/// The words of our MIDI ports, each with the number of the first port that belongs to one.
#[derive(Clone, Copy)]
pub(super) struct Words<'a> {
    pub(super) inputs: (usize, &'a [String]),
    pub(super) outputs: (usize, &'a [String]),
}

/// Whether a port is what a word means, by one of its names.
fn is_meant(client: &Client, other: &str, word: &str) -> bool {
    let word = word.to_lowercase();
    let has = |name: &String| name.to_lowercase().contains(&word);
    has(&other.to_owned()) || client.aliases(other).iter().any(has)
}

/// Our ports, and what they are connected to.
pub(super) fn ours(client: &Client, ports: &Ports, words: Words<'_>) -> Vec<Mine> {
    let own = format!("{}:", client.name());
    let mine = |port: Port, kind, is_input, word: Option<&String>| {
        let name = client.port_name(port);
        let name = name.strip_prefix(&own).unwrap_or(&name).to_owned();
        Mine { name, kind, is_input, word: word.cloned(), connected: client.connections(port) }
    };
    let word = |(first, words): (usize, &'_ [String]), number: usize| {
        number.checked_sub(first).and_then(|at| words.get(at)).cloned()
    };
    let inputs = ports.inputs.iter().map(|port| mine(*port, Kind::Audio, true, None));
    let outputs = ports.outputs.iter().map(|port| mine(*port, Kind::Audio, false, None));
    let midi = |ports: &super::ports::MidiPorts, is_input, words| -> Vec<Mine> {
        let all = ports.iter().enumerate();
        all.map(|(n, port)| mine(port, Kind::Midi, is_input, word(words, n).as_ref())).collect()
    };
    let midi_inputs = midi(&ports.midi_inputs, true, words.inputs);
    let midi_outputs = midi(&ports.midi_outputs, false, words.outputs);
    inputs.chain(outputs).chain(midi_inputs).chain(midi_outputs).collect()
}

impl Wires {
    /// As the rig says; what it does not say, as it was, or else to the sound card. `given`: `None`,
    /// nobody says anything.
    pub(super) fn begin(
        driver: &str,
        client: &Client,
        ours: &[Mine],
        words: &[String],
        given: Option<&Wiring>,
    ) -> Self {
        let known = memory().get(driver).cloned().map(|ports| Self { ports, ..Self::default() });
        // What is remembered is of another rig where it is not what this one says.
        let known = known.filter(|known| given.is_none_or(|given| *given == known.kept()));
        let mut all = known.unwrap_or_default();
        for port in &mut all.ports {
            port.wires.retain(|wire| !matches!(wire.state, State::Cut(_)));
            port.wires.iter_mut().for_each(|wire| wire.state = State::Awaited);
        }
        all.list(given);
        let hardware = Hardware::of(client, words);
        let mut numbers = [0, 0];
        for mine in ours.iter().filter(|mine| mine.word.is_none()) {
            let usual = match (mine.kind, mine.is_input) {
                (Kind::Audio, is_input) => {
                    let number = &mut numbers[usize::from(is_input)];
                    *number += 1;
                    let list = if is_input { &hardware.captures } else { &hardware.playbacks };
                    list.get(*number - 1).into_iter().cloned().collect()
                }
                (Kind::Midi, true) if mine.name == FIRST_MIDI => hardware.midi.clone(),
                (Kind::Midi, _) => Vec::new(),
            };
            let port = all.port(&mine.name);
            let is_usual = !port.is_listed && port.is_usual();
            port.by_itself.extend(usual);
            if is_usual {
                port.by_itself.clone().iter().for_each(|other| port.want(other));
            }
        }
        all
    }

    /// Takes over what the rig says about ports of which nothing is known.
    fn list(&mut self, given: Option<&Wiring>) {
        for (name, others) in given.into_iter().flatten() {
            let is_known = self.ports.iter().any(|port| port.name == *name);
            if !is_known {
                let port = self.port(name);
                port.is_listed = true;
                others.iter().for_each(|other| port.want(other));
            }
        }
    }

    fn port(&mut self, name: &str) -> &mut Plugs {
        let at = self.ports.iter().position(|port| port.name == name).unwrap_or_else(|| {
            self.ports.push(Plugs { name: name.to_owned(), ..Plugs::default() });
            self.ports.len() - 1
        });
        &mut self.ports[at]
    }

    /// What the rig is to say.
    pub(super) fn kept(&self) -> Wiring {
        let ports = self.ports.iter();
        ports.filter_map(|port| Some((port.name.clone(), port.kept()?))).collect()
    }

    /// Those of a port that are not there.
    pub(super) fn awaited(&self, name: &str) -> Vec<String> {
        let port = self.ports.iter().find(|port| port.name == name);
        let wires = port.into_iter().flat_map(|port| &port.wires);
        let awaited = wires.filter(|wire| wire.state == State::Awaited);
        awaited.map(|wire| wire.other.clone()).collect()
    }

    /// Another rig says what is to be connected: what neither it says nor is usual is disconnected.
    pub(super) fn change(&mut self, client: &Client, ours: &[Mine], given: &Wiring) {
        let before = std::mem::take(&mut self.ports);
        self.list(Some(given));
        for port in before {
            let (is_word, usual) = (port.has_word, port.by_itself);
            let new = self.port(&port.name);
            (new.has_word, new.by_itself) = (is_word, usual);
            if is_word || !new.is_listed {
                new.by_itself.clone().iter().for_each(|other| new.want(other));
            }
        }
        for mine in ours {
            for other in &mine.connected {
                let port = self.port(&mine.name);
                if port.find(other).is_none() {
                    port.put(other, State::Cut(Instant::now()));
                    let (from, to) = ends(client, mine, other);
                    client.disconnect(&from, &to);
                }
            }
        }
    }

    /// Wants connections between MIDI ports of others that have come since the last time and those of
    /// ours whose words mean them; and between words that have come since and what was there.
    pub(super) fn follow(&mut self, client: &Client, ours: &[Mine]) {
        let own = format!("{}:", client.name());
        for (is_input, flag) in [(true, port_flag::OUTPUT), (false, port_flag::INPUT)] {
            let words = ours.iter().filter(|mine| mine.is_input == is_input);
            let words = words.filter_map(|mine| Some((&mine.name, mine.word.as_ref()?)));
            let words: Vec<(&String, &String)> = words.collect();
            if words.is_empty() {
                continue;
            }
            let others: BTreeSet<String> = client.ports(Kind::Midi, flag).into_iter().collect();
            let seen = std::mem::take(&mut self.seen[usize::from(is_input)]);
            for other in others.iter().filter(|name| !name.starts_with(&own)) {
                let before = if seen.others.contains(other) { seen.words } else { 0 };
                for (name, _) in
                    words.iter().skip(before).filter(|(_, word)| is_meant(client, other, word))
                {
                    let port = self.port(name);
                    port.has_word = true;
                    if port.find(other).is_none() {
                        port.by_itself.insert(other.clone());
                        port.want(other);
                    }
                }
            }
            self.seen[usize::from(is_input)] = Seen { others, words: words.len() };
        }
    }

    /// Somebody has decided about these two.
    pub(super) fn decide(&mut self, name: &str, other: &str, on: bool) {
        let port = self.port(name);
        match on {
            true => port.want(other),
            false => port.put(other, State::Cut(Instant::now())),
        }
    }

    /// Looks at what others have connected and disconnected, and connects what is awaited and there.
    /// `new`: ports that have come since the last time.
    pub(super) fn look(&mut self, client: &Client, ours: &[Mine], new: &BTreeSet<String>) {
        let now = Instant::now();
        let there = |kind, flag| client.ports(kind, flag).into_iter().collect::<BTreeSet<_>>();
        let others = [Kind::Audio, Kind::Midi]
            .map(|kind| [there(kind, port_flag::OUTPUT), there(kind, port_flag::INPUT)]);
        for mine in ours {
            let there = &others[usize::from(mine.kind == Kind::Midi)][usize::from(!mine.is_input)];
            let port = self.port(&mine.name);
            port.has_word = mine.word.is_some();
            port.look(mine, there, new, now);
            for wire in &port.wires {
                if wire.state == State::Awaited && there.contains(&wire.other) {
                    // It counts as made once it is seen.
                    let (from, to) = ends(client, mine, &wire.other);
                    client.connect(&from, &to);
                }
            }
        }
    }

    /// For a driver that is opened in place of this one.
    pub(super) fn remember(&self, driver: &str) {
        memory().insert(driver.to_owned(), self.ports.clone());
    }
}

/// From where to where a connection goes.
fn ends(client: &Client, mine: &Mine, other: &str) -> (String, String) {
    let full = format!("{}:{}", client.name(), mine.name);
    match mine.is_input {
        true => (other.to_owned(), full),
        false => (full, other.to_owned()),
    }
}

/// Our port for all MIDI that no word means.
const FIRST_MIDI: &str = "midi_in_1";

/// The ports of hardware: channel by channel, and its MIDI sources that no word means.
struct Hardware {
    captures: Vec<String>,
    playbacks: Vec<String>,
    midi: Vec<String>,
}

impl Hardware {
    fn of(client: &Client, words: &[String]) -> Self {
        let physical = |kind, flag| client.ports(kind, flag | port_flag::PHYSICAL);
        let is_free = |name: &String| !words.iter().any(|word| is_meant(client, name, word));
        let midi = physical(Kind::Midi, port_flag::OUTPUT).into_iter().filter(is_free).collect();
        Self {
            captures: physical(Kind::Audio, port_flag::OUTPUT),
            playbacks: physical(Kind::Audio, port_flag::INPUT),
            midi,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    fn mine(connected: &[&str]) -> Mine {
        Mine {
            name: "out_1".into(),
            kind: Kind::Audio,
            is_input: false,
            word: None,
            connected: connected.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    /// Whether a connection that is gone is still wanted, when it is looked at again.
    fn is_wanted_again(there: &[&str], new: &[&str]) -> bool {
        let (none, now) = (BTreeSet::new(), Instant::now());
        let mut plugs = Plugs::default();
        plugs.look(&mine(&["ear:in"]), &set(&["ear:in"]), &none, now);
        plugs.look(&mine(&[]), &set(there), &none, now);
        plugs.look(&mine(&[]), &set(there), &set(new), now + SURE);
        plugs.find("ear:in").is_some_and(|wire| wire.state == State::Awaited)
    }

    #[test]
    fn what_went_with_its_port_is_wanted_again_and_what_was_taken_away_is_not() {
        assert!(!is_wanted_again(&["ear:in"], &[]));
        assert!(!is_wanted_again(&["ear:in"], &["other:in"]));
        assert!(is_wanted_again(&[], &[]), "its program has ended");
        assert!(is_wanted_again(&["ear:in"], &["ear:in"]), "its program was started anew at once");
    }

    #[test]
    fn what_is_taken_away_here_is_gone_at_once_though_the_server_shows_it_for_a_while() {
        let (none, now) = (BTreeSet::new(), Instant::now());
        let mut plugs = Plugs::default();
        plugs.look(&mine(&["ear:in"]), &set(&["ear:in"]), &none, now);
        plugs.put("ear:in", State::Cut(now));
        plugs.look(&mine(&["ear:in"]), &set(&["ear:in"]), &none, now);
        assert_eq!(plugs.wanted().count(), 0);
        plugs.look(&mine(&[]), &set(&["ear:in"]), &none, now);
        plugs.look(&mine(&["ear:in"]), &set(&["ear:in"]), &none, now);
        assert_eq!(plugs.wanted().count(), 1, "somebody has connected it again");
    }

    #[test]
    fn only_what_is_not_usual_is_kept() {
        let (none, now) = (BTreeSet::new(), Instant::now());
        let mut plugs = Plugs { by_itself: set(&["card:1"]), ..Plugs::default() };
        plugs.want("card:1");
        assert_eq!(plugs.kept(), None, "the card is not there yet");
        plugs.look(&mine(&["card:1"]), &set(&["card:1"]), &none, now);
        assert_eq!(plugs.kept(), None);
        plugs.look(&mine(&["card:1", "ear:in"]), &set(&["card:1", "ear:in"]), &none, now);
        assert_eq!(plugs.kept(), Some(vec!["card:1".into(), "ear:in".into()]));
        plugs.wires.clear();
        assert_eq!(plugs.kept(), Some(Vec::new()), "it is to be connected to nothing");
        plugs.has_word = true;
        plugs.want("card:1");
        assert_eq!(plugs.kept(), None, "its word says so");
        plugs.want("ear:in");
        assert_eq!(plugs.kept(), Some(vec!["ear:in".into()]));
    }
}
