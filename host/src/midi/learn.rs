//! Learning: which control does the musician mean?

use super::router::MidiNotice;
use super::setup::{Channels, Control, Source};

/// Listens for the control that is moved on purpose. A key, a pad and a program are meant at once; a
/// controller when it has moved, or jumped to an end as buttons do; a wheel when it is well
/// away from its centre. Pressure comes along with keys, and is not learned.
#[derive(Clone, Debug, Default)]
pub struct Learn {
    /// The first value that each controller had.
    seen: Vec<(Source, u8, f64)>,
}

/// A controller must move so far, of 1.
const MOVED: f64 = 4.0 / 127.0;

impl Learn {
    /// Listens from now on.
    pub fn new() -> Self {
        Self::default()
    }

    /// Hears what [`MidiControl::moved`](super::MidiControl::moved) tells. Gives the control when it
    /// is clear; then this is to be dropped.
    pub fn hear(&mut self, notice: &MidiNotice) -> Option<(Source, Control)> {
        let MidiNotice::Moved { port, channel, control, value } = *notice else { return None };
        let source = Source { port: Some(port), channels: Channels::only(channel) };
        let is_meant = match control {
            Control::Note(_) => value > 0.0,
            Control::Program(_) => true,
            Control::PitchBend => (value - 0.5).abs() > 0.1,
            Control::Pressure => false,
            Control::Controller(number) => {
                let mut known = self.seen.iter();
                match known.find(|(from, seen, _)| (*from, *seen) == (source, number)) {
                    Some((_, _, first)) => (value - first).abs() >= MOVED,
                    // A button: 127 or 0 from the first.
                    None if value == 1.0 => true,
                    // 128 controllers of 16 channels are all that there are on a port.
                    None if self.seen.len() < 4096 => {
                        self.seen.push((source, number, value));
                        false
                    }
                    None => false,
                }
            }
        };
        is_meant.then_some((source, control))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_control_that_is_moved_is_learned_and_not_the_one_that_jitters() {
        let moved = |control, value| MidiNotice::Moved { port: 2, channel: 3, control, value };
        let cc = |number, value: u8| moved(Control::Controller(number), f64::from(value) / 127.0);
        let mut learn = Learn::new();
        assert_eq!(learn.hear(&cc(7, 100)), None);
        assert_eq!(learn.hear(&cc(7, 101)), None);
        assert_eq!(learn.hear(&moved(Control::Pressure, 1.0)), None);
        assert_eq!(learn.hear(&moved(Control::Note(60), 0.0)), None);
        assert_eq!(learn.hear(&moved(Control::PitchBend, 0.51)), None);
        assert_eq!(learn.hear(&cc(74, 60)), None);
        let source = Source { port: Some(2), channels: Channels::only(3) };
        assert_eq!(learn.hear(&cc(74, 70)), Some((source, Control::Controller(74))));
        assert_eq!(Learn::new().hear(&cc(80, 127)), Some((source, Control::Controller(80))));
        let pad = moved(Control::Note(36), 0.2);
        assert_eq!(Learn::new().hear(&pad), Some((source, Control::Note(36))));
    }
}
