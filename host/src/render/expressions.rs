//! Note expressions in an automation file.

use crate::automation::nearest;
use sandrack_engine::event::{EventKind, Expression, NoteAddress};

/// What their names begin with.
const PREFIX: &str = "note:";

/// Name, range, and the value of a note that nobody has changed.
const ALL: [(&str, Expression, [f64; 2], f64); 7] = [
    ("volume", Expression::Volume, [0.0, 4.0], 1.0),
    ("pan", Expression::Pan, [0.0, 1.0], 0.5),
    ("tuning", Expression::Tuning, [-120.0, 120.0], 0.0),
    ("vibrato", Expression::Vibrato, [0.0, 1.0], 0.0),
    ("expression", Expression::Expression, [0.0, 1.0], 1.0),
    ("brightness", Expression::Brightness, [0.0, 1.0], 0.5),
    ("pressure", Expression::Pressure, [0.0, 1.0], 0.0),
];

/// What lines of the file with the same expression and note move.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Moved {
    /// Place in the list above.
    which: usize,
    /// Of one key's notes; `None`: of all.
    key: Option<u8>,
}

impl Moved {
    /// What a parameter's name means, if it is an expression's.
    pub(super) fn named(name: &str, key: Option<u8>) -> Option<Result<Self, String>> {
        let name = name.strip_prefix(PREFIX)?.trim();
        let found = ALL.iter().position(|(known, ..)| known.eq_ignore_ascii_case(name));
        Some(found.map(|which| Self { which, key }).ok_or_else(|| {
            let near = nearest(name, ALL.iter().map(|(known, ..)| *known));
            let near = near.map(|near| format!("; do you mean '{PREFIX}{near}'?"));
            format!("there is no expression '{name}'{}", near.unwrap_or_default())
        }))
    }

    /// Its name as the file has it.
    pub(super) fn name(self) -> String {
        format!("{PREFIX}{}", ALL[self.which].0)
    }

    /// The value before the first point.
    pub(super) fn neutral(self) -> f64 {
        ALL[self.which].3
    }

    /// Reads a value.
    pub(super) fn value(self, text: &str) -> Result<f64, String> {
        let [min, max] = ALL[self.which].2;
        match text.trim().parse::<f64>() {
            Ok(number) if (min..=max).contains(&number) => Ok(number),
            _ => Err(format!(
                "'{text}' is no number from {min} to {max}, the range of '{}'",
                self.name()
            )),
        }
    }

    /// The notes take a value.
    pub(super) fn event(self, value: f64) -> EventKind {
        let key = self.key.map_or(-1, i16::from);
        let note = NoteAddress { port: 0, key, ..NoteAddress::ALL };
        EventKind::NoteExpression { note, expression: ALL[self.which].1, value }
    }
}
