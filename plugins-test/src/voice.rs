//! One voice of `synth`.
//!
//! Only additions, multiplications and divisions, so that the same notes give the same bits
//! on every machine.

use nice_plug::midi::{Channel, Key, VoiceID};

/// Which note a voice plays or an event is about.
#[derive(Clone, Copy)]
pub(crate) struct Note {
    pub(crate) id: VoiceID,
    pub(crate) channel: Channel,
    pub(crate) key: Key,
}

impl Note {
    /// Whether `other` names this note, either side's wildcards matching anything.
    pub(crate) fn is(&self, other: &Note) -> bool {
        let id = match (self.id, other.id) {
            (VoiceID::ID(a), VoiceID::ID(b)) => a == b,
            _ => true,
        };
        let channel = match (self.channel, other.channel) {
            (Channel::Number(a), Channel::Number(b)) => a == b,
            _ => true,
        };
        let key = match (self.key, other.key) {
            (Key::Number(a), Key::Number(b)) => a == b,
            _ => true,
        };
        id && channel && key
    }
}

/// A note that sounds.
pub(crate) struct Voice {
    pub(crate) note: Note,
    pub(crate) velocity: f32,
    /// Note expression, in semitones.
    pub(crate) tuning: f32,
    /// Counts up with each note on: the lowest is the oldest voice.
    pub(crate) age: u64,
    pub(crate) released: bool,
    level: f32,
    phase: f32,
}

/// How much the envelope moves in each sample.
#[derive(Clone, Copy)]
pub(crate) struct Steps {
    pub(crate) attack: f32,
    pub(crate) release: f32,
}

impl Voice {
    pub(crate) fn new(note: Note, velocity: f32, age: u64) -> Self {
        // Starting at the wave's peak, the very first sample isn't zero.
        Self { note, velocity, tuning: 0.0, age, released: false, level: 0.0, phase: 0.75 }
    }

    /// The phase's increment per sample, with the channel bent by so many semitones.
    pub(crate) fn increment(&self, bend: f32, sample_rate: f32) -> f32 {
        let semitones = f32::from(self.note.key.number_or_middle_c()) - 69.0 + self.tuning + bend;
        (440.0 * ratio(semitones) / sample_rate).clamp(0.0, 0.5)
    }

    /// The next sample, or none when the voice has ended.
    pub(crate) fn next(&mut self, increment: f32, steps: Steps) -> Option<f32> {
        if self.released {
            self.level -= steps.release;
            if self.level <= 0.0 {
                return None;
            }
        } else {
            self.level = (self.level + steps.attack).min(1.0);
        }
        // Two parabolas: close to a sine.
        let x = self.phase * 2.0 - 1.0;
        let wave = 4.0 * x * (1.0 - x.abs());
        self.phase += increment;
        if self.phase >= 1.0 {
            self.phase -= 1.0;
        }
        Some(wave * self.level * self.velocity)
    }
}

/// Two to the power of `semitones / 12`, straight between whole semitones (at most a cent
/// off).
fn ratio(semitones: f32) -> f32 {
    const WHOLE: [f32; 13] = [
        1.0,
        1.0594631,
        1.122462,
        1.1892071,
        1.2599211,
        1.3348398,
        std::f32::consts::SQRT_2,
        1.4983071,
        1.587401,
        1.6817929,
        1.7817974,
        1.8877486,
        2.0,
    ];
    let floor = semitones.clamp(-240.0, 240.0).floor();
    let fraction = (semitones - floor).clamp(0.0, 1.0);
    let floor = floor as i32;
    let step = floor.rem_euclid(12) as usize;
    let between = WHOLE[step] + (WHOLE[step + 1] - WHOLE[step]) * fraction;
    let octave = floor.div_euclid(12);
    if octave >= 0 { between * (1u32 << octave) as f32 } else { between / (1u32 << -octave) as f32 }
}
