//! A value that moves to its target in a straight line, sample by sample, so that block sizes
//! make no difference.

#[derive(Clone, Copy, Debug)]
pub(crate) struct Smooth {
    /// What the graph said: a plan with another value moves there, one with the same does not.
    specified: f32,
    target: f32,
    now: f32,
    step: f32,
    left: u32,
    /// Frames that a change takes.
    frames: u32,
}

/// A change takes 5 ms.
const SECONDS: f64 = 0.005;

impl Smooth {
    pub(crate) fn new(value: f32, rate: f64) -> Self {
        let frames = (rate * SECONDS).ceil().max(1.0) as u32;
        Self { specified: value, target: value, now: value, step: 0.0, left: 0, frames }
    }

    pub(crate) fn set(&mut self, target: f32) {
        if !target.is_finite() || target == self.target {
            return;
        }
        self.target = target;
        self.left = self.frames;
        self.step = (target - self.now) / self.frames as f32;
    }

    /// Multiplies by the value as it moves.
    pub(crate) fn apply(&mut self, input: &[f32], output: &mut [f32]) {
        let moving = (self.left as usize).min(input.len());
        let (input, still) = input.split_at(moving);
        let (output, rest) = output.split_at_mut(moving);
        for (out, sample) in output.iter_mut().zip(input) {
            self.left -= 1;
            self.now = if self.left == 0 { self.target } else { self.now + self.step };
            *out = sample * self.now;
        }
        let now = self.now;
        for (out, sample) in rest.iter_mut().zip(still) {
            *out = sample * now;
        }
    }

    /// Begins at 0.
    pub(crate) fn fade_in(&mut self) {
        let target = self.target;
        (self.target, self.now) = (0.0, 0.0);
        self.set(target);
    }

    pub(crate) fn finish(&mut self) {
        self.left = 0;
        self.now = self.target;
    }

    pub(crate) fn take_over(&mut self, old: &Self) {
        let specified = self.specified;
        let frames = self.frames;
        *self = Self { specified, frames, ..*old };
        if specified != old.specified {
            self.set(specified);
        }
    }
}
