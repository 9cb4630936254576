//! The host's transport as a VST 3 plugin sees it.

use super::super::Transport;
use super::super::steady_time::SteadyTime;
use crate::event::transport_flags;
use crate::sys::clock::now_ns;
use vst3::Steinberg::Vst::IProcessContextRequirements_::Flags_::{
    kNeedSamplesToNextClock, kNeedSystemTime,
};
use vst3::Steinberg::Vst::ProcessContext_::StatesAndFlags;
use vst3::Steinberg::Vst::ProcessContext_::StatesAndFlags_::{
    kBarPositionValid, kClockValid, kContTimeValid, kCycleActive, kCycleValid, kPlaying,
    kProjectTimeMusicValid, kRecording, kSystemTimeValid, kTempoValid, kTimeSigValid,
};
use vst3::Steinberg::Vst::{Chord, FrameRate, ProcessContext};

/// MIDI clocks in a quarter note.
const CLOCKS: f64 = 24.0;

/// Makes one [`ProcessContext`] a block.
pub(super) struct ContextMaker {
    rate: f64,
    /// What the plugin says it reads. All that costs nothing is given all the same.
    requirements: u32,
    steady_time: SteadyTime,
}

impl ContextMaker {
    pub(super) fn new(rate: f64, requirements: u32) -> Self {
        Self { rate, requirements, steady_time: SteadyTime::default() }
    }

    /// The context of the next block. Only what is known is marked as valid.
    pub(super) fn next(
        &mut self,
        transport: &Transport,
        steady_time: u64,
        frames: u32,
    ) -> ProcessContext {
        let mut state = kContTimeValid as u32;
        let mut mark = |flag: StatesAndFlags, holds: bool| {
            if holds {
                state |= flag as u32;
            }
            holds
        };
        mark(kPlaying, transport.flags & transport_flags::PLAYING != 0);
        mark(kRecording, transport.flags & transport_flags::RECORDING != 0);
        let tempo = transport.tempo;
        let has_tempo = mark(kTempoValid, tempo.is_finite() && tempo > 0.0);
        let beats = transport.position_beats;
        let has_beats = mark(kProjectTimeMusicValid, beats.is_finite());
        let has_signature = mark(
            kTimeSigValid,
            transport.signature_numerator > 0 && transport.signature_denominator > 0,
        );
        mark(kBarPositionValid, has_signature && transport.bar_start_beats.is_finite());
        let cycle = transport.loop_start_beats..transport.loop_end_beats;
        let has_cycle = cycle.start.is_finite() && cycle.end.is_finite() && !cycle.is_empty();
        mark(kCycleValid, has_cycle);
        mark(kCycleActive, has_cycle && transport.flags & transport_flags::LOOPING != 0);
        let to_next_clock = if self.requirements & kNeedSamplesToNextClock as u32 != 0
            && mark(kClockValid, has_tempo && has_beats)
        {
            let clocks = (beats * CLOCKS).ceil() - beats * CLOCKS;
            (clocks / CLOCKS * 60.0 / tempo * self.rate).round() as i32
        } else {
            0
        };
        let system_time = if mark(kSystemTimeValid, self.requirements & kNeedSystemTime as u32 != 0)
        {
            now_ns() as i64
        } else {
            0
        };
        ProcessContext {
            state,
            sampleRate: self.rate,
            // Saturates; NaN is 0.
            projectTimeSamples: (transport.position_seconds * self.rate).round() as i64,
            systemTime: system_time,
            continousTimeSamples: self.steady_time.of_block(steady_time, frames) as i64,
            projectTimeMusic: if has_beats { beats } else { 0.0 },
            barPositionMusic: transport.bar_start_beats,
            cycleStartMusic: cycle.start,
            cycleEndMusic: cycle.end,
            tempo: if has_tempo { tempo } else { 120.0 },
            timeSigNumerator: if has_signature { transport.signature_numerator.into() } else { 4 },
            timeSigDenominator: if has_signature {
                transport.signature_denominator.into()
            } else {
                4
            },
            chord: Chord { keyNote: 0, rootNote: 0, chordMask: 0 },
            smpteOffsetSubframes: 0,
            frameRate: FrameRate { framesPerSecond: 0, flags: 0 },
            samplesToNextClock: to_next_clock,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known() -> Transport {
        Transport {
            flags: transport_flags::PLAYING | transport_flags::LOOPING,
            tempo: 90.0,
            tempo_increment: 0.0,
            position_beats: 10.5,
            position_seconds: 7.0,
            loop_start_beats: 8.0,
            loop_end_beats: 16.0,
            bar_start_beats: 9.0,
            bar_number: 3,
            signature_numerator: 3,
            signature_denominator: 4,
        }
    }

    #[test]
    fn what_is_known_is_passed_on_and_marked() {
        let context = ContextMaker::new(48_000.0, u32::MAX).next(&known(), 640, 64);
        let marked = kPlaying
            | kCycleActive
            | kCycleValid
            | kTempoValid
            | kProjectTimeMusicValid
            | kBarPositionValid
            | kTimeSigValid
            | kContTimeValid
            | kSystemTimeValid
            | kClockValid;
        assert_eq!(context.state, marked as u32);
        assert_eq!(context.projectTimeSamples, 336_000);
        assert_eq!(context.continousTimeSamples, 640);
        assert_eq!(context.tempo, 90.0);
        assert_eq!([context.projectTimeMusic, context.barPositionMusic], [10.5, 9.0]);
        assert_eq!([context.cycleStartMusic, context.cycleEndMusic], [8.0, 16.0]);
        assert_eq!([context.timeSigNumerator, context.timeSigDenominator], [3, 4]);
        assert_eq!(context.samplesToNextClock, 0, "10.5 beats lie on a clock");
        assert!(context.systemTime > 0);
    }

    #[test]
    fn what_is_unknown_or_no_number_is_not_marked() {
        let nothing = Transport { position_beats: f64::NAN, ..Transport::default() };
        let context = ContextMaker::new(48_000.0, 0).next(&nothing, 0, 64);
        assert_eq!(context.state, kContTimeValid as u32);
        // Many plugins read these all the same, and divide by them.
        assert_eq!(context.tempo, 120.0);
        assert_eq!([context.timeSigNumerator, context.timeSigDenominator], [4, 4]);
        assert_eq!(context.projectTimeMusic, 0.0);
    }

    #[test]
    fn the_next_clock_is_counted_in_frames() {
        let quarter_clock = 1.0 / CLOCKS / 4.0;
        let transport = Transport { position_beats: 1.0 + quarter_clock, ..known() };
        let needs = kNeedSamplesToNextClock as u32;
        let context = ContextMaker::new(48_000.0, needs).next(&transport, 0, 64);
        // Three quarters of a clock of 48000 * 60 / 90 / 24 frames.
        assert_eq!(context.samplesToNextClock, 1000);
    }

    #[test]
    fn continuous_time_never_goes_back() {
        let mut maker = ContextMaker::new(48_000.0, 0);
        let times = [64, 0].map(|time| maker.next(&known(), time, 64).continousTimeSamples);
        assert_eq!(times, [64, 128]);
    }
}
