//! What one call of the driver asks for: a block of frames and where it lies in time.

/// One block: everything that is the same for all nodes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Block {
    /// Counts blocks since the engine was made, from 1; never repeats.
    pub number: u64,
    /// Frames in this block: 1 ..= the plan's maximum.
    pub frames: u32,
    /// Position of the first frame since the engine was made, in frames. Never jumps.
    pub steady_time: u64,
    /// Song position and tempo.
    pub transport: Transport,
}

/// Song position and tempo at the first frame of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Transport {
    /// Whether the song position moves.
    pub playing: bool,
    /// Whether the host records.
    pub recording: bool,
    /// Whether `loop_start_beats..loop_end_beats` is repeated.
    pub looping: bool,
    /// Quarter notes per minute at the first frame.
    pub tempo: f64,
    /// Change of `tempo` per frame.
    pub tempo_increment: f64,
    /// Song position in quarter notes.
    pub position_beats: f64,
    /// Song position in seconds.
    pub position_seconds: f64,
    /// Start of the loop in quarter notes.
    pub loop_start_beats: f64,
    /// End of the loop in quarter notes.
    pub loop_end_beats: f64,
    /// Start of the present bar in quarter notes.
    pub bar_start_beats: f64,
    /// Number of the present bar, from 0.
    pub bar_number: i32,
    /// Upper number of the time signature.
    pub signature_numerator: u16,
    /// Lower number of the time signature.
    pub signature_denominator: u16,
}

impl Default for Transport {
    /// Stopped at the start of the song, 120 quarter notes per minute, 4/4.
    fn default() -> Self {
        Self {
            playing: false,
            recording: false,
            looping: false,
            tempo: 120.0,
            tempo_increment: 0.0,
            position_beats: 0.0,
            position_seconds: 0.0,
            loop_start_beats: 0.0,
            loop_end_beats: 0.0,
            bar_start_beats: 0.0,
            bar_number: 0,
            signature_numerator: 4,
            signature_denominator: 4,
        }
    }
}
