//! JACK's transport as the host's: one song position for all programs.

use super::library::{TRANSPORT_ROLLING, jack_position_t, position};
use crate::drivers::{DriverMeter, DriverTransport};

/// Follows JACK's transport. Until someone uses it (it rolls, it was moved, or a program says the
/// tempo), it leads nobody.
#[derive(Debug, Default)]
pub(super) struct Follower {
    is_used: bool,
}

impl Follower {
    pub(super) fn block(
        &mut self,
        state: i32,
        position: &jack_position_t,
        rate: u32,
    ) -> Option<DriverTransport> {
        let playing = state == TRANSPORT_ROLLING;
        let meter = meter(position, rate);
        self.is_used |= playing || position.frame != 0 || meter.is_some();
        let rate = if position.frame_rate > 0 { position.frame_rate } else { rate };
        let seconds = f64::from(position.frame) / f64::from(rate.max(1));
        self.is_used.then_some(DriverTransport { playing, seconds, meter })
    }
}

/// Bars and beats, if a program says them and they make sense.
fn meter(position: &jack_position_t, rate: u32) -> Option<DriverMeter> {
    // Copies: the fields may lie unaligned.
    let jack_position_t {
        valid,
        bar,
        beat,
        tick,
        bar_start_tick,
        ticks_per_beat,
        beats_per_minute,
        ..
    } = *position;
    let (per_bar, beat_type) = (f64::from(position.beats_per_bar), f64::from(position.beat_type));
    let sane = valid & position::BBT != 0
        && bar >= 1
        && beat >= 1
        && (1.0..=64.0).contains(&per_bar)
        && (1.0..=64.0).contains(&beat_type)
        && (1.0..=1e6).contains(&ticks_per_beat)
        && (1.0..=10_000.0).contains(&beats_per_minute);
    if !sane {
        return None;
    }
    // JACK counts beats of the signature; plugins, quarter notes.
    let quarters = 4.0 / beat_type;
    let tempo = beats_per_minute * quarters;
    let whole_bars = f64::from(bar - 1) * per_bar;
    // Exact where the signature has changed on the way; many programs leave it at 0.
    let bar_start = match bar_start_tick {
        ticks if ticks.is_finite() && ticks > 0.0 => ticks / ticks_per_beat,
        _ => whole_bars,
    };
    let exact = position.tick_double;
    let tick = match valid & position::TICK_DOUBLE != 0 && exact.is_finite() {
        true => exact,
        false => f64::from(tick),
    };
    // The position was right so many frames before the block.
    let ago = match valid & position::BBT_FRAME_OFFSET != 0 {
        true => f64::from(position.bbt_offset) / f64::from(rate.max(1)) * beats_per_minute / 60.0,
        false => 0.0,
    };
    let in_bar = f64::from(beat - 1) + tick / ticks_per_beat + ago;
    Some(DriverMeter {
        tempo,
        beats: (bar_start + in_bar) * quarters,
        bar_start_beats: bar_start * quarters,
        bar: bar - 1,
        numerator: per_bar.round() as u16,
        denominator: beat_type.round() as u16,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transport_that_nobody_uses_leads_nobody() {
        let mut follower = Follower::default();
        let rest = jack_position_t { frame_rate: 48_000, ..Default::default() };
        assert_eq!(follower.block(0, &rest, 48_000), None);
        let moved = jack_position_t { frame: 96_000, ..rest };
        let said = follower.block(1, &moved, 48_000).expect("it rolls");
        assert_eq!((said.playing, said.seconds, said.meter), (true, 2.0, None));
        assert!(follower.block(0, &rest, 48_000).is_some(), "it was used before");
    }

    #[test]
    fn bars_and_beats_become_quarter_notes_and_nonsense_is_left_out() {
        let said = jack_position_t {
            valid: position::BBT | position::BBT_FRAME_OFFSET,
            bar: 3,
            beat: 2,
            tick: 960,
            ticks_per_beat: 1920.0,
            beats_per_bar: 6.0,
            beat_type: 8.0,
            beats_per_minute: 240.0,
            bbt_offset: 12_000,
            ..Default::default()
        };
        let meter = meter(&said, 48_000).expect("valid");
        assert_eq!((meter.tempo, meter.bar, meter.bar_start_beats), (120.0, 2, 6.0));
        // One eighth, a half of one, and a quarter of a second of them.
        assert_eq!(meter.beats, 6.0 + (1.0 + 0.5 + 1.0) / 2.0);
        assert_eq!((meter.numerator, meter.denominator), (6, 8));
        for bad in [
            jack_position_t { bar: 0, ..said },
            jack_position_t { beats_per_minute: f64::NAN, ..said },
            jack_position_t { beat_type: 0.0, ..said },
            jack_position_t { ticks_per_beat: 0.0, ..said },
            jack_position_t { valid: 0, ..said },
        ] {
            assert!(super::meter(&bad, 48_000).is_none());
        }
    }
}
