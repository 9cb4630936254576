//! Sample-accurate events: notes, expressions, parameters, MIDI bytes.

/// An event at a frame of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Event {
    /// Frame within the block, less than the block's frames.
    pub time: u32,
    /// What happens.
    pub kind: EventKind,
}

/// Which note an event means. -1 in a field means "any", as in CLAP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NoteAddress {
    /// Number that the sender gave this note, or -1.
    pub note_id: i32,
    /// Note port of the receiving node, or -1.
    pub port: i16,
    /// MIDI channel 0..=15, or -1.
    pub channel: i16,
    /// MIDI key 0..=127, or -1.
    pub key: i16,
}

/// What a note expression changes; values are as CLAP defines them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Expression {
    /// Linear gain, 0..=4.
    Volume,
    /// 0 left, 0.5 centre, 1 right.
    Pan,
    /// Semitones, -120..=120.
    Tuning,
    /// 0..=1.
    Vibrato,
    /// 0..=1.
    Expression,
    /// 0..=1.
    Brightness,
    /// 0..=1.
    Pressure,
}

/// The kinds of event.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum EventKind {
    /// A note begins; velocity 0..=1.
    NoteOn {
        /// The note.
        note: NoteAddress,
        /// 0..=1.
        velocity: f64,
    },
    /// A note is released; velocity 0..=1.
    NoteOff {
        /// The note, or with -1 in its fields several.
        note: NoteAddress,
        /// 0..=1.
        velocity: f64,
    },
    /// A note stops at once, without its release.
    NoteChoke {
        /// The note, or with -1 in its fields several.
        note: NoteAddress,
    },
    /// From a plugin: this note has ended by itself.
    NoteEnd {
        /// The note.
        note: NoteAddress,
    },
    /// A note's expression takes a value.
    NoteExpression {
        /// The note.
        note: NoteAddress,
        /// What changes.
        expression: Expression,
        /// In the unit of `expression`.
        value: f64,
    },
    /// A parameter takes a value.
    ParamValue {
        /// The plugin's number for the parameter.
        param: u32,
        /// All -1: the parameter itself; otherwise for these notes.
        note: NoteAddress,
        /// Plain value, in the parameter's own range.
        value: f64,
    },
    /// A parameter is offset, without changing its value.
    ParamMod {
        /// The plugin's number for the parameter.
        param: u32,
        /// All -1: the parameter itself; otherwise for these notes.
        note: NoteAddress,
        /// Offset in the parameter's own range.
        amount: f64,
    },
    /// From a plugin: the user took hold of (or let go of) a parameter.
    ParamGesture {
        /// The plugin's number for the parameter.
        param: u32,
        /// True: took hold. False: let go.
        begin: bool,
    },
    /// A MIDI 1.0 message of up to three bytes.
    Midi {
        /// Note port of the receiving node.
        port: u16,
        /// Status and data bytes.
        data: [u8; 3],
    },
    /// A piece of a system exclusive message. The pieces of one message follow each other at the
    /// same time.
    SysEx {
        /// Note port of the receiving node.
        port: u16,
        /// The piece: of the message's bytes, F0 and F7 included, the next.
        data: [u8; SYSEX_BYTES],
        /// How many bytes of `data` count.
        len: u8,
        /// Whether the message begins with this piece.
        first: bool,
        /// Whether the message ends with this piece.
        last: bool,
    },
}

/// Most bytes of a piece of a system exclusive message.
pub const SYSEX_BYTES: usize = 20;

/// What becomes of the notes that a plugin puts out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Notes {
    /// They go on.
    #[default]
    Own,
    /// It is bypassed: the notes that it is given go on in their place.
    Passed,
    /// It is about to be taken out: none go on, and those that it has begun end.
    Ended,
}

impl EventKind {
    /// Whether a node's event, put out, goes on to the nodes connected to it. Parameters do not:
    /// their numbers mean something to one plugin only. Nor does what a plugin tells its host.
    pub fn passes_on(&self) -> bool {
        match self {
            Self::NoteOn { .. }
            | Self::NoteOff { .. }
            | Self::NoteChoke { .. }
            | Self::NoteExpression { .. }
            | Self::Midi { .. }
            | Self::SysEx { .. } => true,
            Self::NoteEnd { .. }
            | Self::ParamValue { .. }
            | Self::ParamMod { .. }
            | Self::ParamGesture { .. } => false,
        }
    }

    /// Whether a plugin puts it out for its host.
    pub(crate) fn is_told(&self) -> bool {
        use EventKind::{NoteEnd, ParamGesture, ParamValue};
        matches!(self, NoteEnd { .. } | ParamValue { .. } | ParamGesture { .. })
    }

    /// Whether it lets a note sound.
    pub fn starts_note(&self) -> bool {
        match self {
            Self::NoteOn { .. } => true,
            Self::Midi { data: [status, _, velocity], .. } => {
                status & 0xf0 == 0x90 && *velocity > 0
            }
            _ => false,
        }
    }
}

impl NoteAddress {
    /// Every note (all fields -1).
    pub const ALL: Self = Self { note_id: -1, port: -1, channel: -1, key: -1 };
}

/// Events of one block, sorted by time; events at the same frame keep the order in which they
/// came. Its capacity is fixed when it is made: what does not fit is counted, not stored.
#[derive(Clone, Debug)]
pub struct EventBuffer {
    events: Vec<Event>,
    dropped: u64,
}

impl EventBuffer {
    /// An empty buffer for `capacity` events.
    pub fn with_capacity(capacity: usize) -> Self {
        Self { events: Vec::with_capacity(capacity), dropped: 0 }
    }

    /// Inserts behind all events whose time is not later. Returns false (and counts it) when full.
    pub fn push(&mut self, event: Event) -> bool {
        if self.events.len() == self.events.capacity() {
            self.dropped += 1;
            return false;
        }
        let at = match self.events.last() {
            Some(last) if last.time > event.time => {
                self.events.partition_point(|e| e.time <= event.time)
            }
            _ => self.events.len(),
        };
        self.events.insert(at, event);
        true
    }

    /// Forgets the events, keeps the room.
    pub fn clear(&mut self) {
        self.events.clear();
    }

    /// Keeps for the next block, at its first frame, the events for which `keep` is true.
    pub(crate) fn hold(&mut self, keep: impl Fn(&EventKind) -> bool) {
        self.events.retain(|event| keep(&event.kind));
        for event in &mut self.events {
            event.time = 0;
        }
    }

    /// The events, sorted by time.
    pub fn as_slice(&self) -> &[Event] {
        &self.events
    }

    /// How many events did not fit since the buffer was made.
    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}
