//! How the song position moves.

use crate::block::Transport;

/// Moves the transport on by a block. A loop is repeated at block boundaries: what lies beyond
/// its end is played from its start.
pub(crate) fn advance(transport: &mut Transport, frames: u32, rate: f64) {
    if !transport.playing || rate <= 0.0 {
        return;
    }
    let frames = f64::from(frames);
    let seconds = frames / rate;
    let tempo = transport.tempo;
    transport.tempo += transport.tempo_increment * frames;
    // The tempo moves in a straight line: its mean is the mean of its ends.
    let beats = seconds * (tempo + transport.tempo) / 2.0 / 60.0;
    transport.position_beats += beats;
    transport.position_seconds += seconds;
    let length = transport.loop_end_beats - transport.loop_start_beats;
    if transport.looping && length > 0.0 && transport.position_beats >= transport.loop_end_beats {
        let beyond = (transport.position_beats - transport.loop_end_beats) % length;
        let back = transport.position_beats - (transport.loop_start_beats + beyond);
        transport.position_beats -= back;
        if transport.tempo > 0.0 {
            transport.position_seconds =
                (transport.position_seconds - back * 60.0 / transport.tempo).max(0.0);
        }
    }
    let bar = f64::from(transport.signature_numerator) * 4.0
        / f64::from(transport.signature_denominator.max(1));
    if bar > 0.0 {
        let bars = ((transport.position_beats - transport.bar_start_beats) / bar).floor();
        transport.bar_start_beats += bars * bar;
        transport.bar_number += bars as i32;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stopped_transport_stays() {
        let mut transport = Transport::default();
        advance(&mut transport, 48000, 48000.0);
        assert_eq!(transport, Transport::default());
    }

    #[test]
    fn beats_bars_and_loops_follow_the_tempo() {
        let mut transport = Transport { playing: true, ..Transport::default() };
        advance(&mut transport, 48000 * 3, 48000.0);
        assert_eq!(transport.position_beats, 6.0);
        assert_eq!((transport.bar_number, transport.bar_start_beats), (1, 4.0));
        transport.looping = true;
        transport.loop_end_beats = 8.0;
        transport.loop_start_beats = 1.0;
        advance(&mut transport, 48000 * 2, 48000.0);
        assert_eq!((transport.position_beats, transport.position_seconds), (3.0, 1.5));
        assert_eq!((transport.bar_number, transport.bar_start_beats), (0, 0.0));
    }
}
