//! Two programs between which the host lies: one plays numbers and notes, one hears what becomes of
//! them.

use super::LONG;
use super::jackd::Jackd;
use rtrb::{Consumer, Producer, RingBuffer};
use sandrack_host::drivers::jack::JackDriver;
use sandrack_host::drivers::{
    Callback, CallbackIo, CallbackTime, Driver, DriverConfig, DriverOptions, JackOptions,
};
use std::time::{Duration, Instant};

pub(crate) const RATE: u32 = 48_000;
/// Frames between two notes, where in between they begin, and how long they are.
const EVERY: u32 = 12_000;
const BEGINS: u32 = 1_234;
const ENDS: u32 = 7_891;
const VELOCITY: u8 = 100;

/// Plays numbers: each sample says which it is. And a note now and then.
struct Numbers {
    next: u32,
}

/// As samples, numbers up to this are exact.
const EXACT: f32 = 16_777_216.0;

impl Callback for Numbers {
    fn process(&mut self, _: &CallbackTime, io: &mut CallbackIo<'_>) {
        let frames = io.outputs[0].len() as u32;
        for frame in 0..frames {
            let number = (self.next + frame) as f32 / EXACT;
            io.outputs[0][frame as usize] = number;
            io.outputs[1][frame as usize] = -number;
            let midi = io.midi_out.as_mut().expect("it has a MIDI port");
            match (self.next + frame) % EVERY {
                BEGINS => assert!(midi.push(frame, 0, &[0x90, 60, VELOCITY])),
                ENDS => assert!(midi.push(frame, 0, &[0x80, 60, 64])),
                _ => {}
            }
        }
        self.next += frames;
    }
}

/// What was heard at a frame.
#[derive(Clone, Copy, Default)]
pub(crate) struct Heard {
    pub(crate) audio: [f32; 4],
    midi: Option<[u8; 3]>,
}

/// Keeps what it hears.
pub(crate) struct Ear {
    pub(crate) heard: Producer<Heard>,
}

impl Callback for Ear {
    fn process(&mut self, _: &CallbackTime, io: &mut CallbackIo<'_>) {
        let mut midi = io.midi_in.iter().peekable();
        for frame in 0..io.inputs[0].len() {
            let mut heard = Heard::default();
            for (channel, input) in io.inputs.iter().enumerate() {
                heard.audio[channel] = input[frame];
            }
            if let Some(message) = midi.next_if(|message| message.frame as usize == frame) {
                heard.midi = message.bytes.try_into().ok();
            }
            let _ = self.heard.push(heard);
        }
    }
}

/// A client that connects nothing by itself.
pub(crate) fn client(server: &Jackd, name: &str, channels: (u32, u32)) -> JackDriver {
    let wanted = DriverConfig { rate: 0, frames: 0, inputs: channels.0, outputs: channels.1 };
    let jack = JackOptions { client: name.into(), connect: false, ..JackOptions::default() };
    let options = DriverOptions { jack, ..DriverOptions::default() };
    JackDriver::open(Some(&server.name), &wanted, &options).expect("the server runs")
}

/// The two other programs, between which the host lies.
pub(crate) struct Others {
    numbers: JackDriver,
    ear: JackDriver,
    heard: Consumer<Heard>,
    expected: Expected,
}

/// What the host makes of the numbers, beside notes of a synth on the third channel.
#[derive(Clone, Copy)]
pub(crate) struct Expected {
    /// What they are multiplied by.
    pub(crate) factor: f32,
    /// Whether the notes come out again as MIDI.
    pub(crate) midi: bool,
}

impl Others {
    pub(crate) fn new(server: &Jackd, expected: Expected) -> Self {
        let mut numbers = client(server, "numbers", (0, 2));
        let mut ear = client(server, "ear", (4, 0));
        let (producer, heard) = RingBuffer::new(60 * RATE as usize);
        ear.start(Box::new(Ear { heard: producer })).expect("it starts");
        numbers.start(Box::new(Numbers { next: 1 })).expect("it starts");
        Self { numbers, ear, heard, expected }
    }

    /// Connects them to a client of two inputs and four outputs. Its inputs last: then all is there
    /// when the first sound comes.
    pub(crate) fn connect(&self, server: &Jackd, host: &str) {
        let outputs = (1..=4).map(|n| (format!("{host}:out_{n}"), format!("ear:in_{n}")));
        outputs.for_each(|(from, to)| server.connect(&from, &to));
        if self.expected.midi {
            server.connect(&format!("{host}:midi_out_1"), "ear:midi_in_1");
        }
        server.connect("numbers:midi_out_1", &format!("{host}:midi_in_1"));
        server.connect("numbers:out_2", &format!("{host}:in_2"));
        server.connect("numbers:out_1", &format!("{host}:in_1"));
    }

    /// Waits until numbers come through, though nobody here has connected anything, and then until
    /// whatever else belongs to it is connected, too. `meanwhile` is called again and again.
    pub(crate) fn wait_until_connected(&mut self, mut meanwhile: impl FnMut()) {
        let end = Instant::now() + LONG;
        let mut is_heard = false;
        while !is_heard {
            assert!(Instant::now() < end, "it does not connect itself");
            meanwhile();
            std::thread::sleep(Duration::from_millis(20));
            while let Ok(heard) = self.heard.pop() {
                is_heard |= heard.audio[0] != 0.0;
            }
        }
        let rest = Instant::now() + Duration::from_secs(1);
        while Instant::now() < rest {
            meanwhile();
            std::thread::sleep(Duration::from_millis(20));
        }
        while self.heard.pop().is_ok() {}
    }

    /// Periods that they, or the server for them, say were missed.
    pub(crate) fn xruns(&self) -> u64 {
        self.numbers.xruns() + self.ear.xruns()
    }

    /// Waits until so many frames of audio have come through, and checks them. Returns how often
    /// a piece was missing.
    pub(crate) fn listen(&mut self, frames: usize) -> usize {
        let mut all = Vec::new();
        let end = Instant::now() + LONG;
        while all.len() < frames {
            assert!(Instant::now() < end, "{} of {frames} frames were heard", all.len());
            std::thread::sleep(Duration::from_millis(5));
            while let Ok(heard) = self.heard.pop() {
                // Before it is connected there is nothing.
                if heard.audio[0] != 0.0 || !all.is_empty() {
                    all.push(heard);
                }
            }
        }
        check(&all, self.expected)
    }
}

/// Every sample is one of those sent, multiplied; they come in order; and notes sound from their
/// very frame to their very frame.
fn check(all: &[Heard], expected: Expected) -> usize {
    let midi = |message| expected.midi.then_some(message);
    let mut gaps = 0;
    let mut last: Option<u32> = None;
    let (mut begun, mut ended) = (0, 0);
    for (at, heard) in all.iter().enumerate() {
        let [left, right, synth, _] = heard.audio;
        let number = left / expected.factor * EXACT;
        assert!(number > 0.0 && number.fract() == 0.0, "frame {at} holds {left}");
        assert_eq!(left.to_bits(), (-right).to_bits(), "frame {at}");
        let number = number as u32;
        let follows = last == Some(number - 1);
        if let Some(last) = last.filter(|_| !follows) {
            assert!(number > last, "frame {at}: {number} after {last}");
            gaps += 1;
        }
        if follows && number % EVERY == BEGINS {
            assert_eq!(heard.midi, midi([0x90, 60, VELOCITY]), "frame {at}");
            assert_eq!(all[at - 1].audio[2], 0.0, "frame {at}: silence before the note");
            let first = f32::from(VELOCITY) / 127.0 * 0.25;
            assert!((synth - first).abs() < 1e-6, "frame {at}: {synth}, not {first}");
            begun += 1;
        } else if follows && number % EVERY == ENDS {
            assert_eq!(heard.midi, midi([0x80, 60, 64]), "frame {at}");
            assert_eq!(synth, 0.0, "frame {at}");
            ended += 1;
        } else {
            assert_eq!(heard.midi, None, "frame {at}");
        }
        last = Some(number);
    }
    let whole = all.len() / EVERY as usize;
    assert!(
        begun + gaps + 1 >= whole && ended + gaps + 1 >= whole,
        "{begun} {ended} {whole} notes"
    );
    gaps
}
