//! The time that plugins are told, counted in frames.

/// Frames since activation or so, for a plugin: never back, though a new engine counts from 0.
#[derive(Default)]
pub(super) struct SteadyTime {
    added: u64,
    next: u64,
}

impl SteadyTime {
    /// The plugin's time of a block that begins at the engine's `time`.
    pub(super) fn of_block(&mut self, time: u64, frames: u32) -> u64 {
        let behind = self.next.saturating_sub(time.saturating_add(self.added));
        self.added += behind;
        let time = time.saturating_add(self.added);
        self.next = time.saturating_add(u64::from(frames));
        time
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_never_goes_back() {
        let mut time = SteadyTime::default();
        // Blocks that the node took no part in are counted; an engine that begins anew goes on.
        let times = [0, 64, 192, 0, 64, 1000].map(|t| time.of_block(t, 64));
        assert_eq!(times, [0, 64, 192, 256, 320, 1256]);
    }
}
