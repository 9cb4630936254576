//! Standard MIDI files: what is played when, and the tempo and time signatures along the way.
//!
//! Formats 0 and 1 are merged in time order; the sequences of format 2 are played one after the
//! other. Times are seconds from the start, exact to the sample at any rate. A file is taken as far
//! as it can be read: [`Song::warnings`] says what was wrong with it.

use crate::error::Error;
use midly::{Format, MetaMessage, MidiMessage, Timing, TrackEventKind};
use std::path::Path;

/// What a file holds.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Song {
    /// What is sent to an instrument, in time order; at the same time in the order of the tracks.
    pub messages: Vec<Message>,
    /// Tempo and time signatures.
    pub meter: Meter,
    /// Length in seconds: the last event of any kind.
    pub seconds: f64,
    /// What could not be read.
    pub warnings: Vec<String>,
}

/// Bytes at a time.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Seconds from the start.
    pub seconds: f64,
    /// What is sent.
    pub bytes: Bytes,
}

/// A MIDI 1.0 message.
#[derive(Clone, Debug, PartialEq)]
pub enum Bytes {
    /// A channel message; two-byte ones end with a 0.
    Channel([u8; 3]),
    /// A system-exclusive message, with F0 and F7.
    Exclusive(Vec<u8>),
}

/// Tempo and time signatures along a song.
#[derive(Clone, Debug, PartialEq)]
pub struct Meter {
    /// In time order; the first is at 0.
    tempos: Vec<Tempo>,
    /// In time order; the first is at 0.
    signatures: Vec<Signature>,
}

/// From a time on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Tempo {
    seconds: f64,
    beats: f64,
    /// Quarter notes per minute.
    tempo: f64,
}

/// From a time on.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Signature {
    seconds: f64,
    beats: f64,
    bar: i32,
    numerator: u16,
    denominator: u16,
}

impl Default for Meter {
    /// 120 quarter notes a minute, 4/4.
    fn default() -> Self {
        let first = Signature { seconds: 0.0, beats: 0.0, bar: 0, numerator: 4, denominator: 4 };
        Self {
            tempos: vec![Tempo { seconds: 0.0, beats: 0.0, tempo: 120.0 }],
            signatures: vec![first],
        }
    }
}

/// Where a song is at a time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Position {
    /// Quarter notes per minute.
    pub tempo: f64,
    /// Quarter notes from the start.
    pub beats: f64,
    /// Start of the bar in quarter notes.
    pub bar_start: f64,
    /// Number of the bar, from 0.
    pub bar: i32,
    /// Upper number of the time signature.
    pub numerator: u16,
    /// Lower number of the time signature.
    pub denominator: u16,
}

/// A time closer than this to a change is after it: less than a sample at any rate.
const SAME: f64 = 1e-7;

impl Meter {
    /// Where the song is.
    pub fn position(&self, seconds: f64) -> Position {
        let tempo = at(&self.tempos, |t| t.seconds <= seconds + SAME);
        let signature = at(&self.signatures, |s| s.seconds <= seconds + SAME);
        let beats = tempo.beats + (seconds - tempo.seconds) * tempo.tempo / 60.0;
        let bar = f64::from(signature.numerator) * 4.0 / f64::from(signature.denominator);
        let bars = ((beats - signature.beats) / bar + 1e-9).floor().max(0.0);
        Position {
            tempo: tempo.tempo,
            beats,
            bar_start: signature.beats + bars * bar,
            bar: signature.bar.saturating_add(bars as i32),
            numerator: signature.numerator,
            denominator: signature.denominator,
        }
    }

    /// When so many quarter notes have passed, in seconds.
    pub fn seconds_at(&self, beats: f64) -> f64 {
        let tempo = at(&self.tempos, |t| t.beats <= beats);
        tempo.seconds + (beats - tempo.beats) * 60.0 / tempo.tempo
    }

    /// Times at which tempo or time signature change, in order.
    pub fn changes(&self) -> Vec<f64> {
        let tempos = self.tempos.iter().skip(1).map(|t| t.seconds);
        let mut all: Vec<f64> =
            tempos.chain(self.signatures.iter().skip(1).map(|s| s.seconds)).collect();
        all.sort_by(f64::total_cmp);
        all.dedup();
        all
    }
}

/// The last for which `is_past` holds, or the first.
fn at<T: Copy>(all: &[T], is_past: impl Fn(&T) -> bool) -> T {
    all[all.partition_point(is_past).saturating_sub(1)]
}

/// The greatest file that is read; songs are a thousandth of it.
const MAX_BYTES: u64 = 64 << 20;

impl Song {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let file = |source| Error::File { path: path.to_owned(), source };
        let refuse = |reason| Error::Midi { path: path.to_owned(), reason };
        let about = std::fs::metadata(path).map_err(file)?;
        if about.len() > MAX_BYTES || !about.is_file() {
            return Err(refuse("it is no file, or too large to be a MIDI file".into()));
        }
        Self::parse(&std::fs::read(path).map_err(file)?).map_err(refuse)
    }

    /// Reads the bytes of a file. The error says what is wrong with them.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        // midly 0.5 negates this frame rate, which overflows.
        let rate_at = bytes.windows(4).position(|name| name == b"MThd").map(|at| at + 12);
        if rate_at.and_then(|at| bytes.get(at)) == Some(&0x80) {
            return Err("its header's time code has an impossible frame rate".into());
        }
        let (header, tracks) =
            midly::parse(bytes).map_err(|e| format!("it is not a standard MIDI file ({e})"))?;
        let declared = tracks.size_hint().0;
        let mut song = Self::default();
        let mut raw = Vec::new();
        let (mut start, mut longest, mut number) = (0, 0, 0);
        for track in tracks {
            number += 1;
            let Ok(track) = track else {
                song.warnings.push(format!("track {number} can't be read"));
                continue;
            };
            if header.format == Format::Sequential {
                start = longest;
            }
            let mut tick: u64 = start;
            let mut ended = false;
            let mut exclusive = Vec::new();
            for event in track {
                let Ok(event) = event else { break };
                tick += u64::from(event.delta.as_int());
                ended = matches!(event.kind, TrackEventKind::Meta(MetaMessage::EndOfTrack));
                if let Some(message) = exclusive_message(&mut exclusive, &event.kind) {
                    raw.push((tick, Raw::Exclusive(message)));
                }
                raw.push((tick, Raw::Event(event.kind)));
            }
            if !exclusive.is_empty() {
                song.warnings
                    .push(format!("track {number} has a system-exclusive message without end"));
            }
            if !ended {
                song.warnings.push(format!("track {number} breaks off; played as far as it goes"));
            }
            longest = longest.max(tick);
        }
        if number == 0 {
            return Err("there is no track in it: it is empty or cut short".into());
        }
        if number < declared {
            song.warnings.push(format!("{} of {declared} tracks are missing", declared - number));
        }
        // Stable: at the same tick the tracks keep their order.
        raw.sort_by_key(|(tick, _)| *tick);
        let mut clock = Clock::new(header.timing, &mut song.meter)?;
        for (tick, kind) in raw {
            let seconds = clock.seconds(tick);
            let mut push = |bytes| song.messages.push(Message { seconds, bytes });
            match kind {
                Raw::Exclusive(message) => push(Bytes::Exclusive(message)),
                Raw::Event(TrackEventKind::Midi { channel, message }) => {
                    push(Bytes::Channel(short(channel.as_int(), message)));
                }
                Raw::Event(TrackEventKind::Meta(MetaMessage::Tempo(us))) => {
                    clock.tempo(tick, us.as_int());
                }
                Raw::Event(TrackEventKind::Meta(MetaMessage::TimeSignature(upper, lower, ..))) => {
                    clock.signature(tick, upper, lower);
                }
                Raw::Event(_) => {}
            }
        }
        let seconds = clock.seconds(longest);
        song.seconds = seconds;
        Ok(song)
    }
}

/// What a track holds.
enum Raw<'a> {
    Event(TrackEventKind<'a>),
    /// All packets of one.
    Exclusive(Vec<u8>),
}

/// The system-exclusive message that an event completes. A file may cut one into packets: the first
/// is called so, the others are escapes, and the last of them ends with F7.
fn exclusive_message(open: &mut Vec<u8>, event: &TrackEventKind<'_>) -> Option<Vec<u8>> {
    match event {
        TrackEventKind::SysEx(data) => {
            *open = vec![0xf0];
            open.extend_from_slice(data);
        }
        TrackEventKind::Escape(data) if !open.is_empty() => open.extend_from_slice(data),
        _ => return None,
    }
    (open.last() == Some(&0xf7)).then(|| std::mem::take(open))
}

/// From ticks to seconds.
struct Clock<'a> {
    meter: &'a mut Meter,
    /// Ticks in a quarter note, or in a second.
    ticks: f64,
    is_timecode: bool,
    /// Tick of the last change of tempo.
    changed: u64,
}

impl<'a> Clock<'a> {
    fn new(timing: Timing, meter: &'a mut Meter) -> Result<Self, String> {
        let (ticks, is_timecode) = match timing {
            Timing::Metrical(ticks) => (f64::from(ticks.as_int()), false),
            Timing::Timecode(fps, parts) => {
                let fps = match fps {
                    // Drop-frame time code counts 30 where 29.97 pass.
                    midly::Fps::Fps29 => 30_000.0 / 1001.0,
                    other => f64::from(other.as_int()),
                };
                (fps * f64::from(parts), true)
            }
        };
        if ticks <= 0.0 {
            return Err("its header says that a quarter note has no ticks".into());
        }
        Ok(Self { meter, ticks, is_timecode, changed: 0 })
    }

    fn last(&self) -> Tempo {
        self.meter.tempos[self.meter.tempos.len() - 1]
    }

    fn seconds(&self, tick: u64) -> f64 {
        if self.is_timecode {
            return tick as f64 / self.ticks;
        }
        let last = self.last();
        last.seconds + (tick - self.changed) as f64 / self.ticks * 60.0 / last.tempo
    }

    fn beats(&self, tick: u64) -> f64 {
        let last = self.last();
        if self.is_timecode {
            return last.beats + (self.seconds(tick) - last.seconds) * last.tempo / 60.0;
        }
        last.beats + (tick - self.changed) as f64 / self.ticks
    }

    fn tempo(&mut self, tick: u64, us_per_beat: u32) {
        // Nothing moves at a tempo without end.
        let tempo = 60e6 / f64::from(us_per_beat.max(1));
        let (seconds, beats) = (self.seconds(tick), self.beats(tick));
        self.changed = tick;
        replace(&mut self.meter.tempos, Tempo { seconds, beats, tempo }, |t| t.seconds);
    }

    fn signature(&mut self, tick: u64, upper: u8, lower: u8) {
        if upper == 0 || lower > 8 {
            return;
        }
        let (seconds, beats) = (self.seconds(tick), self.beats(tick));
        let before = self.meter.position(seconds);
        // A change within a bar begins a new one.
        let whole = (beats - before.bar_start).abs() < 1e-6;
        let bar = before.bar.saturating_add(i32::from(!whole));
        let (numerator, denominator) = (u16::from(upper), 1 << lower);
        let new = Signature { seconds, beats, bar, numerator, denominator };
        replace(&mut self.meter.signatures, new, |s| s.seconds);
    }
}

/// Adds behind the others, or in place of the last if that is at the same time.
fn replace<T>(all: &mut Vec<T>, new: T, seconds: impl Fn(&T) -> f64) {
    if all.last().is_some_and(|last| seconds(last) >= seconds(&new)) {
        all.pop();
    }
    all.push(new);
}

fn short(channel: u8, message: MidiMessage) -> [u8; 3] {
    let status = |high: u8| high | channel;
    match message {
        MidiMessage::NoteOff { key, vel } => [status(0x80), key.as_int(), vel.as_int()],
        MidiMessage::NoteOn { key, vel } if vel == 0 => [status(0x80), key.as_int(), 64],
        MidiMessage::NoteOn { key, vel } => [status(0x90), key.as_int(), vel.as_int()],
        MidiMessage::Aftertouch { key, vel } => [status(0xa0), key.as_int(), vel.as_int()],
        MidiMessage::Controller { controller, value } => {
            [status(0xb0), controller.as_int(), value.as_int()]
        }
        MidiMessage::ProgramChange { program } => [status(0xc0), program.as_int(), 0],
        MidiMessage::ChannelAftertouch { vel } => [status(0xd0), vel.as_int(), 0],
        MidiMessage::PitchBend { bend } => {
            let value = bend.0.as_int();
            [status(0xe0), (value & 0x7f) as u8, (value >> 7) as u8]
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A file of these tracks.
    fn file(format: u8, division: [u8; 2], tracks: &[&[u8]]) -> Vec<u8> {
        let mut bytes = b"MThd\0\0\0\x06\0".to_vec();
        bytes.extend([format, 0, tracks.len() as u8, division[0], division[1]]);
        for track in tracks {
            bytes.extend(b"MTrk");
            bytes.extend((track.len() as u32).to_be_bytes());
            bytes.extend(*track);
        }
        bytes
    }

    const END: [u8; 4] = [0, 0xff, 0x2f, 0];

    fn times(song: &Song) -> Vec<(f64, [u8; 3])> {
        let short = |m: &Message| match m.bytes {
            Bytes::Channel(bytes) => (m.seconds, bytes),
            Bytes::Exclusive(_) => panic!("{m:?}"),
        };
        song.messages.iter().map(short).collect()
    }

    #[test]
    fn running_status_tempo_changes_and_tracks_come_together() {
        // 96 ticks a quarter note; 60 a minute from tick 96 on.
        let meta = [&[96, 0xff, 0x51, 3, 0x0f, 0x42, 0x40][..], &END].concat();
        let notes = [&[0, 0x90, 60, 100, 96, 60, 0, 96, 0xe1, 0, 64][..], &END].concat();
        let song = Song::parse(&file(1, [0, 96], &[&meta, &notes])).unwrap();
        let expected = [(0.0, [0x90, 60, 100]), (0.5, [0x80, 60, 64]), (1.5, [0xe1, 0, 64])];
        assert_eq!(times(&song), expected);
        assert_eq!((song.seconds, song.warnings.len()), (1.5, 0));
        assert_eq!(song.meter.changes(), [0.5]);
        assert_eq!(song.meter.position(0.25).beats, 0.5);
        assert_eq!(song.meter.position(1.5).beats, 2.0);
        assert_eq!(song.meter.position(1.5).tempo, 60.0);
        assert_eq!(song.meter.seconds_at(2.0), 1.5);
    }

    #[test]
    fn system_exclusive_messages_are_put_together() {
        // One whole, one in two packets with a note between them, one that never ends.
        let whole = [0, 0xf0, 3, 1, 2, 0xf7];
        let packets = [0, 0xf0, 2, 3, 4, 96, 0x90, 60, 1, 96, 0xf7, 2, 5, 0xf7];
        let endless = [0, 0xf0, 1, 6];
        let escape = [0, 0xf7, 1, 0xf8];
        let track = [&escape[..], &whole, &packets, &endless, &END].concat();
        let song = Song::parse(&file(0, [0, 96], &[&track])).unwrap();
        let got: Vec<_> = song.messages.iter().map(|m| (m.seconds, m.bytes.clone())).collect();
        let expected = [
            (0.0, Bytes::Exclusive(vec![0xf0, 1, 2, 0xf7])),
            (0.5, Bytes::Channel([0x90, 60, 1])),
            (1.0, Bytes::Exclusive(vec![0xf0, 3, 4, 5, 0xf7])),
        ];
        assert_eq!(got, expected);
        assert_eq!(song.warnings, ["track 1 has a system-exclusive message without end"]);
    }

    #[test]
    fn bars_follow_the_time_signature() {
        // 3/4 from the start, 6/8 after two bars.
        let track =
            [&[0, 0xff, 0x58, 4, 3, 2, 24, 8, 0x84, 0x40, 0xff, 0x58, 4, 6, 3, 24, 8][..], &END];
        let song = Song::parse(&file(0, [0, 96], &[&track.concat()])).unwrap();
        let at = |beats: f64| {
            let p = song.meter.position(song.meter.seconds_at(beats));
            (p.bar, p.bar_start, p.numerator, p.denominator)
        };
        assert_eq!(at(0.0), (0, 0.0, 3, 4));
        assert_eq!(at(5.5), (1, 3.0, 3, 4));
        assert_eq!(at(6.0), (2, 6.0, 6, 8));
        assert_eq!(at(9.5), (3, 9.0, 6, 8));
    }

    #[test]
    fn time_code_and_sequences_are_timed() {
        // 25 frames of 40 parts: a tick is a millisecond.
        let track = [&[100, 0x90, 60, 1][..], &END].concat();
        let song = Song::parse(&file(0, [0xe7, 40], &[&track])).unwrap();
        assert_eq!(times(&song), [(0.1, [0x90, 60, 1])]);
        let song = Song::parse(&file(2, [0xe7, 40], &[&track, &track])).unwrap();
        assert_eq!(times(&song), [(0.1, [0x90, 60, 1]), (0.2, [0x90, 60, 1])]);
    }

    #[test]
    fn what_is_broken_is_said() {
        assert!(Song::parse(b"RIFF").is_err());
        assert!(Song::parse(b"").is_err());
        assert!(Song::parse(&file(0, [0, 0], &[&END])).is_err());
        assert!(Song::parse(&file(0, [0, 96], &[])).is_err());
        assert!(Song::parse(&file(0, [0x80, 0], &[&END])).is_err());
        let song = Song::parse(&file(0, [0, 96], &[&[0, 0x90, 60, 100]])).unwrap();
        assert_eq!((song.messages.len(), song.warnings.len()), (1, 1));
        let mut cut = file(1, [0, 96], &[&END, &END]);
        cut.truncate(cut.len() - 12);
        assert_eq!(Song::parse(&cut).unwrap().warnings.len(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(
            body in prop::collection::vec(any::<u8>(), 0..300),
            format in 0u8..4,
            division in any::<[u8; 2]>(),
        ) {
            for bytes in [file(format, division, &[&body]), body.clone()] {
                if let Ok(song) = Song::parse(&bytes) {
                    prop_assert!(song.seconds.is_finite() && song.seconds >= 0.0);
                    prop_assert!(song.messages.windows(2).all(|m| m[0].seconds <= m[1].seconds));
                    prop_assert!(song.messages.len() <= bytes.len());
                    for change in song.meter.changes() {
                        let position = song.meter.position(change);
                        prop_assert!(position.beats.is_finite() && position.bar_start.is_finite());
                    }
                }
            }
        }
    }
}
