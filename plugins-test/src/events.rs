//! `events`: a note effect without audio. Transposes notes and what belongs to them, and
//! passes other MIDI on as it is.
//!
//! A note keeps the transposition it started with, so that a change of the parameter leaves
//! no note hanging. Notes that would end up above key 127 are dropped, with their offs.

use std::sync::Arc;

use nice_plug::midi::{Channel, Key};
use nice_plug::prelude::*;

/// Parameters of `events`.
#[derive(Params)]
struct EventsParams {
    /// In semitones, upwards.
    #[id = "transpose"]
    transpose: IntParam,
}

impl Default for EventsParams {
    fn default() -> Self {
        Self {
            transpose: IntParam::new("transpose", 12, IntRange::Linear { min: 0, max: 24 })
                .with_unit(" semitones"),
        }
    }
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Events {
    params: Arc<EventsParams>,
    /// Per channel and key, the transposition of the note that last started there.
    started_with: Shifts,
}

/// Whole arrays beyond 32 elements lack `Default`.
struct Shifts([[u8; 128]; 16]);

impl Default for Shifts {
    fn default() -> Self {
        Self([[0; 128]; 16])
    }
}

impl Shifts {
    fn of(&mut self, channel: Channel, key: u8) -> &mut u8 {
        &mut self.0[usize::from(channel.number().unwrap_or(0) & 15)][usize::from(key & 127)]
    }
}

impl Events {
    /// The event as it is to leave, or none if it leaves the keyboard.
    fn transpose(&mut self, mut event: NoteEvent<()>) -> Option<NoteEvent<()>> {
        if let NoteEvent::NoteOn { channel, key: Key::Number(key), .. } = event {
            *self.started_with.of(channel, key) = self.params.transpose.value() as u8;
        }
        match &mut event {
            NoteEvent::NoteOn { channel, key, .. }
            | NoteEvent::NoteOff { channel, key, .. }
            | NoteEvent::Choke { channel, key, .. }
            | NoteEvent::PolyPressure { channel, key, .. }
            | NoteEvent::PolyVolume { channel, key, .. }
            | NoteEvent::PolyPan { channel, key, .. }
            | NoteEvent::PolyTuning { channel, key, .. }
            | NoteEvent::PolyVibrato { channel, key, .. }
            | NoteEvent::PolyExpression { channel, key, .. }
            | NoteEvent::PolyBrightness { channel, key, .. } => {
                if let Key::Number(number) = key {
                    let shift = *self.started_with.of(*channel, *number);
                    *number = number.checked_add(shift).filter(|&number| number < 128)?;
                }
            }
            _ => {}
        }
        Some(event)
    }
}

impl Plugin for Events {
    crate::same_for_all!("Events");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] = &[];
    const MIDI_INPUT: MidiConfig = MidiConfig::MidiCCs;
    const MIDI_OUTPUT: MidiConfig = MidiConfig::MidiCCs;
    const SAMPLE_ACCURATE_AUTOMATION: bool = true;
    const INPUT_EVENT_CAPACITY: usize = 8192;

    fn process(
        &mut self,
        _buffer: &mut Buffer,
        _aux: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        while let Some(event) = context.next_event() {
            if let Some(event) = self.transpose(event) {
                // There is nothing to be done about a host whose queue is full.
                let _ = context.try_send_event(event);
            }
        }
        ProcessStatus::Normal
    }
}

crate::formats!(
    Events,
    "events",
    b"SandrackTestEvnt",
    "Transposes notes",
    [NoteEffect Utility],
    [Fx Tools]
);
