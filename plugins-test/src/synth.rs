//! `synth`: 16 voices of a plain wave. Notes start and end at the very sample of their
//! event; with an attack of 0, a note's first sample is `velocity * volume`.
//!
//! Understands note on, off and choke by note id, channel and key; tuning expressions;
//! pitch bend (2 semitones either way); all sound off (CC 120) and all notes off (CC 123).
//! It reports the end of each voice, the one stolen by a 17th note included.

use std::sync::Arc;

use nice_plug::midi::Channel;
use nice_plug::prelude::*;

use crate::voice::{Note, Steps, Voice};

const VOICES: usize = 16;
const BEND_SEMITONES: f32 = 2.0;

/// Parameters of `synth`.
#[derive(Params)]
struct SynthParams {
    /// Silence to full level, in milliseconds.
    #[id = "attack"]
    attack: IntParam,
    /// Full level to silence, in milliseconds.
    #[id = "release"]
    release: IntParam,
    /// Of one voice at full velocity.
    #[id = "volume"]
    volume: FloatParam,
}

impl Default for SynthParams {
    fn default() -> Self {
        let time = IntRange::Linear { min: 0, max: 5000 };
        Self {
            attack: IntParam::new("attack", 5, time).with_unit(" ms"),
            release: IntParam::new("release", 50, time).with_unit(" ms"),
            volume: FloatParam::new("volume", 0.25, FloatRange::Linear { min: 0.0, max: 1.0 }),
        }
    }
}

/// See the module's text.
#[derive(Default)]
pub(crate) struct Synth {
    params: Arc<SynthParams>,
    voices: [Option<Voice>; VOICES],
    /// Per channel, in semitones.
    bend: [f32; 16],
    notes_started: u64,
    sample_rate: f32,
}

impl Plugin for Synth {
    crate::same_for_all!("Synth");

    const AUDIO_IO_LAYOUTS: &'static [AudioIOLayout] =
        &[AudioIOLayout { main_input_channels: None, ..crate::STEREO }];
    const MIDI_INPUT: MidiConfig = MidiConfig::MidiCCs;
    const SAMPLE_ACCURATE_AUTOMATION: bool = true;
    const INPUT_EVENT_CAPACITY: usize = 8192;

    fn activate(
        &mut self,
        _audio_io_layout: &AudioIOLayout,
        buffer_config: &BufferConfig,
        _context: &mut impl ActivateContext<Self>,
    ) -> bool {
        self.sample_rate = buffer_config.sample_rate;
        true
    }

    fn reset(&mut self) {
        self.voices.fill_with(|| None);
        self.bend.fill(0.0);
        self.notes_started = 0;
    }

    fn process(
        &mut self,
        buffer: &mut Buffer,
        _aux: &mut AuxiliaryBuffers,
        context: &mut impl ProcessContext<Self>,
    ) -> ProcessStatus {
        let frames = buffer.samples();
        let channels = buffer.as_slice();
        channels.iter_mut().for_each(|channel| channel.fill(0.0));

        let mut from = 0;
        while let Some(event) = context.next_event() {
            let to = (event.timing() as usize).clamp(from, frames);
            self.render(channels, from, to, context);
            self.handle(event, context);
            from = to;
        }
        self.render(channels, from, frames, context);

        if self.voices.iter().any(Option::is_some) {
            ProcessStatus::KeepAlive
        } else {
            ProcessStatus::Normal
        }
    }
}

impl Synth {
    fn render(
        &mut self,
        channels: &mut [&mut [f32]],
        from: usize,
        to: usize,
        context: &mut impl ProcessContext<Self>,
    ) {
        let step = |milliseconds: i32| match milliseconds {
            0 => 1.0,
            _ => 1000.0 / (milliseconds as f32 * self.sample_rate),
        };
        let steps = Steps {
            attack: step(self.params.attack.value()),
            release: step(self.params.release.value()),
        };
        let volume = self.params.volume.value();
        let Some((first, others)) = channels.split_first_mut() else { return };

        for slot in &mut self.voices {
            let Some(voice) = slot else { continue };
            let channel = voice.note.channel.number().unwrap_or(0);
            let bend = self.bend[usize::from(channel & 15)];
            let increment = voice.increment(bend, self.sample_rate);
            for i in from..to {
                match voice.next(increment, steps) {
                    Some(sample) => first[i] += sample * volume,
                    None => {
                        report_end(context, i, voice.note);
                        *slot = None;
                        break;
                    }
                }
            }
        }
        for other in others {
            other[from..to].copy_from_slice(&first[from..to]);
        }
    }

    fn handle(&mut self, event: NoteEvent<()>, context: &mut impl ProcessContext<Self>) {
        let at = event.timing() as usize;
        match event {
            NoteEvent::NoteOn { voice_id, channel, key, velocity, .. } => {
                self.start(Note { id: voice_id, channel, key }, velocity, at, context);
            }
            NoteEvent::NoteOff { voice_id, channel, key, .. } => {
                self.release(Note { id: voice_id, channel, key });
            }
            NoteEvent::Choke { voice_id, channel, key, .. } => {
                self.choke(Note { id: voice_id, channel, key }, at, context);
            }
            NoteEvent::PolyTuning { voice_id, channel, key, tuning, .. } => {
                let note = Note { id: voice_id, channel, key };
                for voice in self.voices.iter_mut().flatten().filter(|v| v.note.is(&note)) {
                    voice.tuning = tuning;
                }
            }
            NoteEvent::MidiPitchBend { channel, value, .. } => {
                self.bend[usize::from(channel & 15)] = (value * 2.0 - 1.0) * BEND_SEMITONES;
            }
            NoteEvent::MidiCC { channel, cc, .. } => {
                let note = Note {
                    id: nice_plug::midi::VoiceID::Wildcard,
                    channel: Channel::Number(channel),
                    key: nice_plug::midi::Key::Wildcard,
                };
                match cc {
                    control_change::ALL_SOUND_OFF => self.choke(note, at, context),
                    control_change::ALL_NOTES_OFF => self.release(note),
                    _ => {}
                }
            }
            _ => {}
        }
    }

    fn start(
        &mut self,
        note: Note,
        velocity: f32,
        at: usize,
        context: &mut impl ProcessContext<Self>,
    ) {
        // The first free slot, or else the oldest voice.
        let age = |slot: &&mut Option<Voice>| slot.as_ref().map_or(0, |voice| voice.age);
        let Some(slot) = self.voices.iter_mut().min_by_key(age) else { return };
        self.notes_started += 1;
        if let Some(stolen) = slot.replace(Voice::new(note, velocity, self.notes_started)) {
            report_end(context, at, stolen.note);
        }
    }

    fn release(&mut self, note: Note) {
        for voice in self.voices.iter_mut().flatten().filter(|voice| voice.note.is(&note)) {
            voice.released = true;
        }
    }

    fn choke(&mut self, note: Note, at: usize, context: &mut impl ProcessContext<Self>) {
        for slot in &mut self.voices {
            if let Some(voice) = slot.take_if(|voice| voice.note.is(&note)) {
                report_end(context, at, voice.note);
            }
        }
    }
}

/// The host's queue may be full; the voice has ended all the same.
fn report_end(context: &mut impl ProcessContext<Synth>, at: usize, note: Note) {
    let _ = context.try_send_event(NoteEvent::VoiceTerminated {
        timing: at as u32,
        voice_id: note.id,
        channel: note.channel,
        key: note.key,
    });
}

crate::formats!(
    Synth,
    "synth",
    b"SandrackTestSynt",
    "16 deterministic voices",
    [Instrument Synthesizer Stereo],
    [Instrument Synth]
);
