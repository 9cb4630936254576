//! MIDI clock: 24 to the quarter note, with start, stop, continue and song position.

use super::message::Message;
use sandrack_engine::block::Transport;

/// Clocks to the quarter note.
const PER_BEAT: f64 = 24.0;
/// Clocks to a sixteenth, the unit of song positions.
const PER_SIXTEENTH: i64 = 6;

/// Follows a clock that comes in. Cables and other programs jitter; a delay-locked loop of 1 Hz
/// bandwidth takes that out, so that tempo and position move steadily.
#[derive(Debug, Default)]
pub(super) struct ClockIn {
    /// Frames since the beginning, at the start of the block.
    now: f64,
    /// When the last clock really came.
    heard: Option<f64>,
    /// When it came, smoothed.
    at: f64,
    /// Frames between clocks, smoothed; 0: not known yet.
    period: f64,
    /// Position of the last clock in the song, or while stopped of the next.
    ticks: i64,
    playing: bool,
    /// Start or continue came: it plays from the next clock.
    armed: bool,
    /// Whether it led in the block before.
    leads: bool,
}

impl ClockIn {
    /// Frames between clocks at 400 and at 15 quarter notes a minute.
    fn range(rate: f64) -> std::ops::RangeInclusive<f64> {
        rate * 60.0 / (400.0 * PER_BEAT)..=rate * 60.0 / (15.0 * PER_BEAT)
    }

    /// A message at a frame of the block.
    pub(super) fn message(&mut self, frame: u32, message: Message, rate: f64) {
        match message {
            Message::Clock => self.clock(self.now + f64::from(frame), rate),
            Message::Start => (self.ticks, self.armed, self.playing) = (0, true, false),
            Message::Continue if !self.playing => self.armed = true,
            Message::Stop => {
                // Where it goes on is the next clock.
                self.ticks += i64::from(self.playing);
                (self.playing, self.armed) = (false, false);
            }
            Message::SongPosition(sixteenths) if !self.playing => {
                self.ticks = i64::from(sixteenths) * PER_SIXTEENTH;
            }
            _ => {}
        }
    }

    fn clock(&mut self, time: f64, rate: f64) {
        let range = Self::range(rate);
        let since = self.heard.map(|heard| time - heard);
        self.heard = Some(time);
        if self.armed {
            (self.armed, self.playing) = (false, true);
        } else if self.playing {
            self.ticks += 1;
        }
        let expected = self.at + self.period;
        let error = time - expected;
        if self.period > 0.0 && error.abs() < self.period / 2.0 {
            let omega = std::f64::consts::TAU * self.period / rate;
            self.at = expected + std::f64::consts::SQRT_2 * omega * error;
            self.period += omega * omega * error;
            self.period = self.period.clamp(*range.start(), *range.end());
        } else {
            self.at = time;
            self.period = since.filter(|since| range.contains(since)).unwrap_or(0.0);
        }
    }

    /// What the transport is at the start of the block, by this clock. `None`: there is no clock.
    pub(super) fn block(
        &mut self,
        frames: u32,
        rate: f64,
        before: &Transport,
    ) -> Option<Transport> {
        let now = self.now;
        self.now += f64::from(frames);
        // No clock for half a second: its cable was pulled.
        if self.heard.is_some_and(|heard| now - heard >= rate / 2.0) {
            (self.playing, self.armed, self.period, self.heard) = (false, false, 0.0, None);
        }
        if self.period == 0.0 {
            let last = self.leads.then_some(Transport { playing: false, ..*before });
            self.leads = false;
            return last;
        }
        self.leads = true;
        let tempo = rate * 60.0 / (PER_BEAT * self.period);
        // No further than the next clock but one.
        let since = ((now - self.at) / self.period).min(2.0);
        let ticks = self.ticks as f64 + if self.playing { since } else { 0.0 };
        let mut transport = Transport { tempo, tempo_increment: 0.0, ..*before };
        transport.playing = self.playing && ticks >= 0.0;
        place(&mut transport, ticks.max(0.0) / PER_BEAT);
        Some(transport)
    }
}

/// Puts the song to a number of quarter notes, as if tempo and signature had always been the same.
pub(crate) fn place(transport: &mut Transport, beats: f64) {
    transport.position_beats = beats;
    transport.position_seconds = beats * 60.0 / transport.tempo.max(1.0);
    find_bar(transport);
}

/// Finds the bar that the song is in, as if the signature had always been the same.
pub(crate) fn find_bar(transport: &mut Transport) {
    let bar = f64::from(transport.signature_numerator.max(1)) * 4.0
        / f64::from(transport.signature_denominator.max(1));
    let bars = (transport.position_beats / bar).floor();
    transport.bar_number = bars as i32;
    transport.bar_start_beats = bars * bar;
}

/// Sends a clock.
#[derive(Debug, Default)]
pub(super) struct ClockOut {
    playing: bool,
    /// Where the song is at the start of the next block, if it goes on as it does.
    expected_beats: f64,
    /// Number of the clock that comes next, while it plays.
    next: i64,
    /// Clock at which the receiver is to go on, if it waits for that.
    resume: Option<i64>,
    /// Clocks until the next, while it stands still.
    until: f64,
}

impl ClockOut {
    /// Tells where the song is, and goes on from there: somebody may have come who does not know.
    pub(super) fn begin_again(&mut self) {
        self.expected_beats = f64::NEG_INFINITY;
    }

    /// Whether receivers have been told that the song moves.
    pub(super) fn is_playing(&self) -> bool {
        self.playing
    }

    /// Sends what belongs to a block that begins so.
    pub(super) fn block(
        &mut self,
        transport: &Transport,
        frames: u32,
        rate: f64,
        mut send: impl FnMut(u32, &[u8]),
    ) {
        let per_frame = transport.tempo.clamp(10.0, 1000.0) * PER_BEAT / 60.0 / rate;
        let last = frames.saturating_sub(1);
        if !transport.playing {
            if std::mem::take(&mut self.playing) {
                send(0, &[0xfc]);
            }
            while self.until < f64::from(frames) * per_frame - 1e-6 {
                send(((self.until / per_frame + 1e-3) as u32).min(last), &[0xf8]);
                self.until += 1.0;
            }
            self.until -= f64::from(frames) * per_frame;
            return;
        }
        let ticks = transport.position_beats * PER_BEAT;
        let jumped = (transport.position_beats - self.expected_beats).abs() * PER_BEAT > 0.5;
        if !self.playing || jumped {
            if self.playing {
                send(0, &[0xfc]);
            }
            self.playing = true;
            self.next = (ticks - 1e-6).ceil() as i64;
            // Positions are sixteenths: it goes on at the next one.
            let sixteenth =
                (self.next + PER_SIXTEENTH - 1).div_euclid(PER_SIXTEENTH).clamp(0, 0x3fff);
            let [low, high] = [sixteenth & 127, sixteenth >> 7].map(|bits| bits as u8);
            if sixteenth > 0 {
                send(0, &[0xf2, low, high]);
            }
            self.resume = Some(sixteenth * PER_SIXTEENTH);
        }
        let end = ticks + f64::from(frames) * per_frame;
        while (self.next as f64) < end - 1e-6 {
            let frame = ((self.next as f64 - ticks).max(0.0) / per_frame + 1e-3) as u32;
            if self.resume.is_some_and(|resume| self.next >= resume) {
                self.resume = None;
                send(frame.min(last), if self.next == 0 { &[0xfa] } else { &[0xfb] });
            }
            send(frame.min(last), &[0xf8]);
            self.next += 1;
        }
        self.until = self.next as f64 - end;
        self.expected_beats = end / PER_BEAT;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: f64 = 48_000.0;
    const FRAMES: u32 = 64;

    /// Runs a clock of 125 quarter notes a minute (960 frames a clock) with jitter through
    /// `blocks`; gives the transports.
    fn follow(
        clock: &mut ClockIn,
        blocks: u32,
        mut at: impl FnMut(u32) -> Vec<(u32, Message)>,
    ) -> Vec<Transport> {
        let mut transport = Transport::default();
        (0..blocks)
            .map(|block| {
                for (frame, message) in at(block) {
                    clock.message(frame, message, RATE);
                }
                if let Some(next) = clock.block(FRAMES, RATE, &transport) {
                    transport = next;
                }
                transport
            })
            .collect()
    }

    #[test]
    fn tempo_and_position_follow_a_jittering_clock() {
        let mut clock = ClockIn::default();
        let jitter = |tick: u32| tick * 960 + tick * 7919 % 97;
        let seen = follow(&mut clock, 9_000, |block| {
            let range = block * FRAMES..(block + 1) * FRAMES;
            let mut messages = Vec::new();
            for tick in 0..600 {
                if range.contains(&jitter(tick)) {
                    if tick == 100 {
                        messages.push((jitter(tick) - range.start, Message::Start));
                    }
                    messages.push((jitter(tick) - range.start, Message::Clock));
                }
            }
            messages
        });
        let first = seen.iter().position(|t| t.playing).expect("it starts");
        assert!((100 * 960 / FRAMES..103 * 960 / FRAMES).contains(&(first as u32)), "{first}");
        for (block, t) in seen.iter().enumerate().skip(4_000).take(4_900) {
            assert!((t.tempo - 125.0).abs() < 1.0, "block {block}: {}", t.tempo);
            let beats = (block as f64 * 64.0 - 48.0 - 100.0 * 960.0) / 960.0 / 24.0;
            assert!((t.position_beats - beats).abs() < 0.01, "{block}: {t:?} {beats}");
        }
    }

    #[test]
    fn a_pulled_cable_stops_the_song_and_then_leads_no_more() {
        let mut clock = ClockIn::default();
        let seen = follow(&mut clock, 1_000, |block| match block % 15 {
            0 if block == 0 => vec![(0, Message::Start), (0, Message::Clock)],
            0 if block < 300 => vec![(0, Message::Clock)],
            _ => Vec::new(),
        });
        assert!(seen[200].playing && !seen[999].playing);
        assert_eq!(clock.block(FRAMES, RATE, &seen[999]), None);
    }

    /// What is sent while a song of 120 plays at 48 kHz: 1000 frames a clock.
    fn sent(clock: &mut ClockOut, transport: &mut Transport, blocks: u32) -> Vec<(u32, Vec<u8>)> {
        let mut all = Vec::new();
        for block in 0..blocks {
            clock.block(transport, FRAMES, RATE, |frame, bytes| {
                assert!(frame < FRAMES);
                all.push((block * FRAMES + frame, bytes.to_vec()));
            });
            if transport.playing {
                transport.position_beats += f64::from(FRAMES) / RATE * 2.0;
            }
        }
        all
    }

    #[test]
    fn a_clock_is_sent_with_start_stop_and_continue_at_a_sixteenth() {
        let mut clock = ClockOut::default();
        let mut transport = Transport { playing: true, ..Transport::default() };
        let all = sent(&mut clock, &mut transport, 100);
        assert_eq!(all[0], (0, vec![0xfa]));
        let clocks: Vec<u32> = all[1..].iter().map(|(at, _)| *at).collect();
        assert_eq!(clocks, [0, 1000, 2000, 3000, 4000, 5000, 6000]);
        transport.playing = false;
        let all = sent(&mut clock, &mut transport, 100);
        assert_eq!(all[0], (0, vec![0xfc]));
        assert_eq!(
            all[1..].iter().map(|(at, _)| *at).collect::<Vec<_>>(),
            [600, 1600, 2600, 3600, 4600, 5600]
        );
        // It stands at 6400 frames, clock 6.4: the next sixteenth is clock 12.
        transport.playing = true;
        let all = sent(&mut clock, &mut transport, 100);
        assert_eq!(all[0], (0, vec![0xf2, 2, 0]));
        let resumed = all.iter().position(|(_, bytes)| bytes == &[0xfb]).expect("it goes on");
        assert_eq!(all[resumed].0, 5600);
        assert_eq!(all[resumed + 1], (5600, vec![0xf8]));
    }

    #[test]
    fn what_is_sent_can_be_followed() {
        let (mut out, mut follower) = (ClockOut::default(), ClockIn::default());
        let mut transport = Transport { playing: true, tempo: 97.0, ..Transport::default() };
        let mut followed = Transport::default();
        for _ in 0..5_000 {
            out.block(&transport, FRAMES, RATE, |frame, bytes| {
                follower.message(frame, Message::parse(bytes).expect("valid"), RATE);
            });
            if let Some(next) = follower.block(FRAMES, RATE, &followed) {
                followed = next;
            }
            transport.position_beats += f64::from(FRAMES) / RATE * 97.0 / 60.0;
        }
        assert!(followed.playing && (followed.tempo - 97.0).abs() < 0.05, "{followed:?}");
        let before = transport.position_beats - f64::from(FRAMES) / RATE * 97.0 / 60.0;
        assert!((followed.position_beats - before).abs() < 0.001, "{followed:?} {before}");
    }
}
