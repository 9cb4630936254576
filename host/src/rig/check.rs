//! What must be true of a rig before anything is loaded for it.

use super::read::offer;
use super::{Id, MidiInput, MidiOutput, Output, PluginSlot, Rig, SideChain, Track, TrackKind};
use std::collections::BTreeSet;

/// One step on the way to something in a rig's file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Key(&'static str),
    At(usize),
}

/// What is wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    pub(super) at: Vec<Step>,
    /// The key there, where the file's writer names it.
    pub(super) name: Option<String>,
    pub(super) reason: String,
}

use Step::{At, Key};

pub(super) fn refuse<T>(at: &[Step], reason: impl Into<String>) -> Result<T, Problem> {
    Err(Problem { at: at.to_vec(), name: None, reason: reason.into() })
}

/// Most channels of a driver, each way.
pub(super) const CHANNELS: u32 = 512;

/// Inputs of a plugin beside its main one.
const MOST_SIDE_CHAINS: u32 = 62;

/// Loudest fader, dB.
pub(crate) const LOUDEST_DB: f64 = 24.0;

impl Rig {
    /// Whether it makes sense: all that is named is there, all values are in their ranges, and
    /// nothing feeds itself.
    pub(super) fn check(&self) -> Result<(), Problem> {
        self.check_driver()?;
        self.check_connections()?;
        let mut tracks = BTreeSet::new();
        let mut plugins = BTreeSet::new();
        for (number, track) in self.tracks.iter().enumerate() {
            let here = [Key("track"), At(number)];
            let at = |key| [here[0], here[1], Key(key)];
            check_id(&track.id, &mut tracks, &at("id"))?;
            check_db(track.gain_db, &at("gain_db"))?;
            check_pan(track.pan, &at("pan"))?;
            check_channels(&track.input, &at("input"), "input")?;
            if let Output::Channels(channels) = &track.output {
                check_channels(channels, &at("output"), "output")?;
            }
            for (midi, input) in track.midi.iter().enumerate() {
                check_midi(input, &[here[0], here[1], Key("midi"), At(midi)])?;
            }
            check_midi_outputs(&track.midi_out, &at("midi_out"))?;
            for (place, slot) in track.plugins.iter().enumerate() {
                let at = |key| [here[0], here[1], Key("plugin"), At(place), Key(key)];
                check_midi_outputs(&slot.midi_out, &at("midi_out"))?;
                check_id(&slot.id, &mut plugins, &at("id"))?;
                if slot.plugin.is_empty() && slot.path.as_os_str().is_empty() {
                    return refuse(&at("id"), "a plugin needs 'plugin' (its id) or 'path'");
                }
                if let Some((name, _)) = slot.params.iter().find(|(_, value)| !value.is_finite()) {
                    return refuse(&at("params"), format!("params: '{name}' is not a number"));
                }
            }
        }
        self.check_side_chains()?;
        self.check_routes()?;
        self.check_mappings()?;
        self.check_snapshots()
    }

    /// Whether it makes sense, for one that was not read from a file.
    ///
    /// # Errors
    /// What does not.
    pub fn makes_sense(&self) -> Result<(), String> {
        self.check().map_err(|problem| problem.reason)
    }

    fn check_driver(&self) -> Result<(), Problem> {
        let driver = &self.driver;
        let ranges = [
            ("rate", driver.rate, 8_000, 768_000),
            ("frames", driver.frames, 1, 8192),
            ("inputs", driver.inputs, 0, CHANNELS),
            ("outputs", driver.outputs, 0, CHANNELS),
        ];
        for (key, value, low, high) in ranges {
            if value != 0 && !(low..=high).contains(&value) {
                let reason = format!("{key} = {value}: must be {low} to {high}");
                return refuse(&[Key("driver"), Key(key)], reason);
            }
        }
        let transport = &self.transport;
        if !(1.0..=999.0).contains(&transport.tempo) {
            let at = [Key("transport"), Key("tempo")];
            return refuse(&at, format!("tempo = {}: must be 1 to 999", transport.tempo));
        }
        for (number, port) in transport.clock_out.iter().enumerate() {
            let at = [Key("transport"), Key("clock_out"), At(number)];
            check_port(port, "clock_out", &at)?;
        }
        let [upper, lower] = transport.signature;
        if !(1..=99).contains(&upper) || !lower.is_power_of_two() || lower > 64 {
            let at = [Key("transport"), Key("signature")];
            return refuse(&at, "signature: must be as [4, 4], [6, 8] or [7, 16]");
        }
        Ok(())
    }

    fn buses(&self) -> impl Iterator<Item = &str> {
        self.tracks.iter().filter(|t| t.kind == TrackKind::Bus).map(|track| track.id.as_str())
    }

    /// Where each track goes, by way of what.
    fn check_routes(&self) -> Result<(), Problem> {
        for (number, track) in self.tracks.iter().enumerate() {
            let output = [Key("track"), At(number), Key("output")];
            if let Output::Bus(bus) = &track.output {
                self.check_bus(track, bus, "output", &output)?;
            }
            let mut known = BTreeSet::new();
            for (place, send) in track.sends.iter().enumerate() {
                let at = |key| [Key("track"), At(number), Key("send"), At(place), Key(key)];
                self.check_bus(track, &send.to, "to", &at("to"))?;
                check_db(send.gain_db, &at("gain_db"))?;
                if !known.insert(&send.to) {
                    let reason = format!("to: '{}' is sent to '{}' twice", track.id, send.to);
                    return refuse(&at("to"), reason);
                }
            }
            if let Some(way) = self.way_back(track) {
                let names: Vec<&str> = way.iter().map(|id| id.as_str()).collect();
                let reason = format!("'{}' feeds itself: {}", track.id, names.join(" -> "));
                return refuse(&output, reason);
            }
        }
        Ok(())
    }

    fn check_bus(&self, from: &Track, bus: &Id, key: &str, at: &[Step]) -> Result<(), Problem> {
        match self.track(bus) {
            Some(track) if track.kind == TrackKind::Bus && track.id != from.id => Ok(()),
            Some(track) if track.id == from.id => {
                refuse(at, format!("{key}: '{bus}' can't feed itself"))
            }
            Some(_) => refuse(at, format!("{key}: '{bus}' is no bus: give it kind = \"bus\"")),
            None => refuse(
                at,
                format!("{key}: there is no bus '{bus}'{}", offer(bus.as_str(), self.buses())),
            ),
        }
    }

    /// What comes to a plugin's further inputs, and from where.
    fn check_side_chains(&self) -> Result<(), Problem> {
        for (number, track) in self.tracks.iter().enumerate() {
            for (place, slot) in track.plugins.iter().enumerate() {
                for (side, chain) in slot.side_chains.iter().enumerate() {
                    let at = |key| {
                        let (track, plugin) =
                            ([Key("track"), At(number)], [Key("plugin"), At(place)]);
                        [&track[..], &plugin, &[Key("side_chain"), At(side), Key(key)]].concat()
                    };
                    self.check_side_chain(track, slot, side, chain, &at)?;
                }
            }
        }
        Ok(())
    }

    fn check_side_chain(
        &self,
        track: &Track,
        slot: &PluginSlot,
        number: usize,
        chain: &SideChain,
        at: &dyn Fn(&'static str) -> Vec<Step>,
    ) -> Result<(), Problem> {
        check_db(chain.gain_db, &at("gain_db"))?;
        check_channels(&chain.input, &at("input"), "input")?;
        if !(1..=MOST_SIDE_CHAINS).contains(&chain.bus) {
            let reason = format!("bus = {}: must be 1 to {MOST_SIDE_CHAINS}", chain.bus);
            return refuse(&at("bus"), reason);
        }
        match &chain.from {
            Some(from) if *from == track.id => {
                let reason = format!("from: '{}' can't listen to the track that it is in", slot.id);
                return refuse(&at("from"), reason);
            }
            Some(from) if chain.input.is_empty() => self.check_track(from, "from", &at("from"))?,
            None if !chain.input.is_empty() => {}
            _ => {
                let reason = "a side chain needs 'from' (a track or bus) or 'input' (channels of the driver)";
                return refuse(&at("from"), reason);
            }
        }
        let is_same = |other: &SideChain| {
            (&other.from, &other.input, other.bus) == (&chain.from, &chain.input, chain.bus)
        };
        if slot.side_chains[..number].iter().any(is_same) {
            return refuse(&at("from"), format!("side_chain: '{}' has it twice", slot.id));
        }
        Ok(())
    }

    /// Where a track's sound goes, as what is heard or as what is listened to.
    fn next(&self, track: &Track) -> Vec<&Track> {
        let main = match &track.output {
            Output::Bus(bus) => Some(bus),
            Output::Channels(_) => None,
        };
        let listens = |other: &&Track| {
            let chains = other.plugins.iter().flat_map(|slot| &slot.side_chains);
            chains.filter_map(|chain| chain.from.as_ref()).any(|from| *from == track.id)
        };
        let all = main.into_iter().chain(track.sends.iter().map(|send| &send.to));
        let all = all.filter_map(|id| self.track(id));
        all.chain(self.tracks.iter().filter(listens)).collect()
    }

    /// From a track back to it, if there is a way.
    fn way_back(&self, from: &Track) -> Option<Vec<Id>> {
        let mut seen = BTreeSet::new();
        let mut ways = vec![vec![from]];
        while let Some(way) = ways.pop() {
            for next in self.next(way[way.len() - 1]) {
                if next.id == from.id {
                    let ids = way.iter().map(|track| track.id.clone());
                    return Some(ids.chain([from.id.clone()]).collect());
                }
                if seen.insert(&next.id) {
                    ways.push(way.iter().copied().chain([next]).collect());
                }
            }
        }
        None
    }

    fn plugin_ids(&self) -> impl Iterator<Item = &str> {
        self.tracks.iter().flat_map(|track| &track.plugins).map(|slot| slot.id.as_str())
    }

    pub(super) fn check_plugin(&self, id: &Id, key: &str, at: &[Step]) -> Result<(), Problem> {
        match self.plugin(id) {
            Some(_) => Ok(()),
            None => refuse(
                at,
                format!(
                    "{key}: there is no plugin '{id}'{}",
                    offer(id.as_str(), self.plugin_ids())
                ),
            ),
        }
    }

    pub(super) fn check_track(&self, id: &Id, key: &str, at: &[Step]) -> Result<(), Problem> {
        let ids = self.tracks.iter().map(|track| track.id.as_str());
        match self.track(id) {
            Some(_) => Ok(()),
            None => {
                refuse(at, format!("{key}: there is no track '{id}'{}", offer(id.as_str(), ids)))
            }
        }
    }

    fn check_snapshots(&self) -> Result<(), Problem> {
        let mut ids = BTreeSet::new();
        for (number, snapshot) in self.snapshots.iter().enumerate() {
            let at = |key| [Key("snapshot"), At(number), Key(key)];
            check_id(&snapshot.id, &mut ids, &at("id"))?;
            check_range("program", snapshot.program, 1..=128, &at("program"))?;
            check_range("channel", snapshot.channel, 1..=16, &at("channel"))?;
            check_range("key", snapshot.key, 0..=127, &at("key"))?;
            for (place, track) in snapshot.tracks.iter().enumerate() {
                let at = |key| [Key("snapshot"), At(number), Key("track"), At(place), Key(key)];
                self.check_track(&track.id, "id", &at("id"))?;
                track.gain_db.map_or(Ok(()), |db| check_db(db, &at("gain_db")))?;
                track.pan.map_or(Ok(()), |pan| check_pan(pan, &at("pan")))?;
            }
            for (place, plugin) in snapshot.plugins.iter().enumerate() {
                let at = |key| [Key("snapshot"), At(number), Key("plugin"), At(place), Key(key)];
                self.check_plugin(&plugin.id, "id", &at("id"))?;
                if let Some((name, _)) = plugin.params.iter().find(|(_, v)| !v.is_finite()) {
                    return refuse(&at("params"), format!("params: '{name}' is not a number"));
                }
            }
        }
        Ok(())
    }
}

fn check_id<'a>(id: &'a Id, known: &mut BTreeSet<&'a str>, at: &[Step]) -> Result<(), Problem> {
    let is_word = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.');
    if id.as_str().is_empty() || id.as_str().len() > 100 || !id.as_str().chars().all(is_word) {
        return refuse(
            at,
            format!("id: '{id}' must be a word of letters, digits, '-', '_' or '.'"),
        );
    }
    match known.insert(id.as_str()) {
        true => Ok(()),
        false => refuse(at, format!("id: '{id}' is there twice")),
    }
}

fn check_db(db: f64, at: &[Step]) -> Result<(), Problem> {
    match db.is_nan() || db > LOUDEST_DB {
        true => refuse(at, format!("gain_db = {db}: must be -inf to {LOUDEST_DB}")),
        false => Ok(()),
    }
}

fn check_pan(pan: f64, at: &[Step]) -> Result<(), Problem> {
    match (-1.0..=1.0).contains(&pan) {
        true => Ok(()),
        false => refuse(at, format!("pan = {pan}: must be -1 to 1")),
    }
}

fn check_channels(channels: &[u32], at: &[Step], key: &str) -> Result<(), Problem> {
    let ok = match *channels {
        [] => true,
        [one] => (1..=CHANNELS).contains(&one),
        [left, right] => (1..CHANNELS).contains(&left) && right == left + 1,
        _ => false,
    };
    match ok {
        true => Ok(()),
        false => refuse(
            at,
            format!("{key}: must be no channel, one, or two neighbours: [], [3] or [3, 4]"),
        ),
    }
}

/// A port that something is sent to: an empty word would mean any.
fn check_port(port: &str, key: &str, at: &[Step]) -> Result<(), Problem> {
    match port.trim().is_empty() {
        true => refuse(at, format!("{key}: name a MIDI port, or a part of its name")),
        false => Ok(()),
    }
}

fn check_midi_outputs(outputs: &[MidiOutput], here: &[Step]) -> Result<(), Problem> {
    for (number, output) in outputs.iter().enumerate() {
        let at = |key| [here, &[At(number), Key(key)]].concat();
        check_port(&output.port, "port", &at("port"))?;
        check_range("channel", output.channel, 1..=16, &at("channel"))?;
        if outputs[..number].contains(output) {
            return refuse(&at("port"), format!("midi_out: '{}' is there twice", output.port));
        }
    }
    Ok(())
}

fn check_midi(input: &MidiInput, here: &[Step]) -> Result<(), Problem> {
    let at = |key| [here, &[Key(key)]].concat();
    check_range("channel", input.channel, 1..=16, &at("channel"))?;
    check_range("to_channel", input.to_channel, 1..=16, &at("to_channel"))?;
    for (key, pair, low) in [("keys", input.keys, 0), ("velocity", input.velocity, 1)] {
        if let Some([from, to]) = pair.filter(|[from, to]| from > to || *from < low || *to > 127) {
            let reason = format!("{key} = [{from}, {to}]: must be {low} to 127, the lower first");
            return refuse(&at(key), reason);
        }
    }
    Ok(())
}

pub(super) fn check_range(
    key: &str,
    value: Option<u8>,
    range: std::ops::RangeInclusive<u8>,
    at: &[Step],
) -> Result<(), Problem> {
    match value.filter(|value| !range.contains(value)) {
        Some(value) => {
            let (low, high) = (range.start(), range.end());
            refuse(at, format!("{key} = {value}: must be {low} to {high}"))
        }
        None => Ok(()),
    }
}
