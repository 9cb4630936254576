//! The two halves of MIDI: one in the driver's callback, one that controls it.

use super::buffer::MidiBuffer;
use super::clock::{ClockIn, ClockOut, place};
use super::message::Message;
use super::output::Sink;
use super::queue::{MidiReceiver, MidiSender};
use super::router::{MidiNotice, Prepared, Router};
use super::setup::MidiSetup;
use super::taps::Pieces;
use crate::drivers::midi_ports::FIRST_PORT;
use crate::drivers::{CallbackIo, CallbackTime, DriverTransport, clock};
use rtrb::{Consumer, Producer, RingBuffer};
use sandrack_engine::Deadlines;
use sandrack_engine::block::Transport;
use sandrack_engine::engine::{Engine, Tapped};
use sandrack_engine::event::Event;
use sandrack_engine::graph::NodeId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Ports of one direction beside the driver's own.
const PORTS: usize = 64;

/// What the realtime half is told.
enum Command {
    Setup(Box<Prepared>),
    Panic,
    AddInput(MidiReceiver),
    AddOutput(u16, MidiSender),
}

/// What it no longer needs.
#[expect(dead_code, reason = "carried only to be dropped on the control thread")]
enum Garbage {
    Setup(Box<Prepared>),
    Input(MidiReceiver),
    Output(MidiSender),
}

/// What both count. Relaxed everywhere: they only count.
#[derive(Default)]
struct Counts {
    lost: AtomicU64,
    invalid: AtomicU64,
    notes: AtomicU64,
    /// A bit for each node that a held note or pedal sounds at; see [`bit`].
    sounding: [AtomicU64; 16],
    /// Tempo, as bits; 0: nothing leads.
    tempo: AtomicU64,
    /// Position in quarter notes, as bits.
    beats: AtomicU64,
    plays: AtomicBool,
}

/// Where the song is, as something else than the host says: a MIDI clock, or the driver.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Led {
    /// Quarter notes per minute.
    pub tempo: f64,
    /// Position in quarter notes.
    pub beats: f64,
    /// Whether it moves.
    pub playing: bool,
}

/// Where a node's bit is. Two nodes may share one: then each counts as sounding while one does.
fn bit(node: NodeId) -> (usize, u64) {
    let place = node.raw() % (16 * 64);
    ((place / 64) as usize, 1 << (place % 64))
}

/// Messages and notices that came to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MidiCounts {
    /// Messages that found no room.
    pub lost: u64,
    /// Messages that were not valid MIDI.
    pub invalid: u64,
    /// Notes that are held now.
    pub notes: u64,
}

/// The half for the driver's callback. Made on the control thread, and dropped there.
pub struct MidiRt {
    router: Router,
    rate: f64,
    /// Everything that came in for this block.
    merged: MidiBuffer,
    /// What plugins put out in this block.
    tapped: MidiBuffer,
    pieces: Pieces,
    /// Ports that got a clock and get none any more.
    stopped: Vec<u16>,
    /// The engine does not know yet whom to listen to.
    has_new_setup: bool,
    inputs: Vec<MidiReceiver>,
    outputs: Vec<(u16, MidiSender)>,
    clock_in: ClockIn,
    clock_out: ClockOut,
    commands: Consumer<Command>,
    garbage: Producer<Garbage>,
    /// What the queue for that had no room for. Nothing is taken until it has.
    waiting: Option<Garbage>,
    moved: Producer<MidiNotice>,
    notices: Producer<MidiNotice>,
    counts: Arc<Counts>,
}

/// The half that controls it, for one control thread.
pub struct MidiControl {
    commands: Producer<Command>,
    garbage: Consumer<Garbage>,
    moved: Consumer<MidiNotice>,
    notices: Consumer<MidiNotice>,
    counts: Arc<Counts>,
}

/// The callback has not yet done what it was told before: it is not running. Try again later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the queue to the callback's MIDI is full")]
pub struct MidiQueueFull;

/// Makes both halves. `rate`: frames per second of the driver.
pub fn midi(setup: MidiSetup, rate: u32) -> (MidiRt, MidiControl) {
    let (command_sender, commands) = RingBuffer::new(64);
    let (garbage, garbage_receiver) = RingBuffer::new(64);
    let (moved, moved_receiver) = RingBuffer::new(1024);
    let (notices, notice_receiver) = RingBuffer::new(1024);
    let counts = Arc::new(Counts::default());
    let rt = MidiRt {
        router: Router::new(setup),
        rate: rate.into(),
        merged: MidiBuffer::usual(),
        tapped: MidiBuffer::usual(),
        pieces: Pieces::new(),
        stopped: Vec::with_capacity(PORTS),
        has_new_setup: true,
        inputs: Vec::with_capacity(PORTS),
        outputs: Vec::with_capacity(PORTS),
        clock_in: ClockIn::default(),
        clock_out: ClockOut::default(),
        commands,
        garbage,
        waiting: None,
        moved,
        notices,
        counts: Arc::clone(&counts),
    };
    let control = MidiControl {
        commands: command_sender,
        garbage: garbage_receiver,
        moved: moved_receiver,
        notices: notice_receiver,
        counts,
    };
    (rt, control)
}

impl MidiControl {
    fn send(&mut self, command: Command) -> Result<(), MidiQueueFull> {
        self.collect();
        self.commands.push(command).map_err(|_| MidiQueueFull)
    }

    /// Routes and maps by another setup from the next block on. Held notes and pedals stay with the
    /// sounds that they began until they are let go.
    pub fn set(&mut self, setup: MidiSetup) -> Result<(), MidiQueueFull> {
        self.send(Command::Setup(Box::new(Prepared::new(setup))))
    }

    /// Silences everything at the next block: held notes, pedals, and whatever else sounds at the
    /// destinations of the routes.
    pub fn panic(&mut self) -> Result<(), MidiQueueFull> {
        self.send(Command::Panic)
    }

    /// Another source of messages beside the driver's ports: a cable, an on-screen keyboard. It is
    /// forgotten when its sender is dropped.
    pub fn add_input(&mut self, input: MidiReceiver) -> Result<(), MidiQueueFull> {
        self.send(Command::AddInput(input))
    }

    /// What goes to this port goes here, instead of to the driver's; until its receiver is dropped.
    pub fn add_output(&mut self, port: u16, output: MidiSender) -> Result<(), MidiQueueFull> {
        self.send(Command::AddOutput(port, output))
    }

    /// The next command, program change or parameter that a control has moved. Also drops what the
    /// callback no longer needs: to be called often.
    pub fn notice(&mut self) -> Option<MidiNotice> {
        self.collect();
        self.notices.pop().ok()
    }

    /// The next control that was moved, whatever it does: for [`Learn`](super::Learn), and to show
    /// that MIDI comes in. What nobody fetches is forgotten.
    pub fn moved(&mut self) -> Option<MidiNotice> {
        self.moved.pop().ok()
    }

    /// What came to nothing so far, and what is held.
    pub fn counts(&self) -> MidiCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let Counts { lost, invalid, notes, .. } = &*self.counts;
        MidiCounts { lost: read(lost), invalid: read(invalid), notes: read(notes) }
    }

    /// What leads the song, as of the last block; `None`: nothing does.
    pub fn led(&self) -> Option<Led> {
        let read = |bits: &AtomicU64| f64::from_bits(bits.load(Ordering::Relaxed));
        let Counts { tempo, beats, plays, .. } = &*self.counts;
        let playing = plays.load(Ordering::Relaxed);
        Some(Led { tempo: read(tempo), beats: read(beats), playing }).filter(|led| led.tempo > 0.0)
    }

    /// Whether a node has notes that are held, or a pedal that is down, as of the last block. May be
    /// true of one that has not.
    pub fn sounds(&self, node: NodeId) -> bool {
        let (word, bit) = bit(node);
        self.counts.sounding[word].load(Ordering::Relaxed) & bit != 0
    }

    fn collect(&mut self) {
        while self.garbage.pop().is_ok() {}
    }
}

/// Puts out what is routed: to the engine, to the driver's ports, to others.
struct Outputs<'a, 'b> {
    engine: &'a mut Engine,
    driver: Option<&'a mut MidiBuffer>,
    outputs: &'a mut [(u16, MidiSender)],
    time: &'b CallbackTime,
    rate: f64,
}

impl Sink for Outputs<'_, '_> {
    fn event(&mut self, node: NodeId, event: Event) -> bool {
        self.engine.event(node, event)
    }

    fn message(&mut self, frame: u32, port: u16, bytes: &[u8]) -> bool {
        if let Some((_, sender)) = self.outputs.iter_mut().find(|(own, _)| *own == port) {
            // When this frame is heard, but for the driver's latency: a period later than it is
            // computed.
            let due = match self.time.next_due_ns {
                u64::MAX => clock::now_ns(),
                next => next + (f64::from(frame) * 1e9 / self.rate) as u64,
            };
            return sender.send(due, port, bytes);
        }
        // A cable that was pulled: what does not arrive there is not to be sent again and again.
        if port >= FIRST_PORT {
            return true;
        }
        self.driver.as_mut().is_some_and(|midi| midi.push(frame, port, bytes))
    }
}

impl MidiRt {
    /// A block: takes in MIDI, leads the transport, lets the engine process, puts MIDI out.
    /// Realtime-safe.
    pub fn process(
        &mut self,
        engine: &mut Engine,
        time: &CallbackTime,
        io: &mut CallbackIo<'_>,
        deadlines: Deadlines,
    ) {
        let frames = frames(io);
        let Self { router, rate, merged, inputs, outputs, clock_in, .. } = self;
        let Self { clock_out, moved, notices, commands, garbage, waiting, counts, .. } = self;
        let Self { tapped, pieces, has_new_setup, stopped, .. } = self;
        let mut panics = false;
        *waiting = waiting.take().and_then(|rest| give_back(garbage, rest));
        while waiting.is_none()
            && let Ok(command) = commands.pop()
        {
            let rest = match command {
                Command::Setup(setup) => {
                    let before = router.swap(setup);
                    *has_new_setup = true;
                    let (old, new) = (&before.setup.clock_out, &router.setup().clock_out);
                    if old != new {
                        // Those that are new are told where the song is, the others that it is over.
                        let gone = old.iter().filter(|port| !new.contains(port));
                        stopped.extend(gone.copied().take(stopped.capacity() - stopped.len()));
                        clock_out.begin_again();
                    }
                    Some(Garbage::Setup(before))
                }
                Command::Panic => {
                    panics = true;
                    None
                }
                Command::AddInput(input) if inputs.len() < PORTS => {
                    inputs.push(input);
                    None
                }
                Command::AddInput(input) => Some(Garbage::Input(input)),
                Command::AddOutput(port, mut output) => {
                    match outputs.iter().position(|(known, _)| *known == port) {
                        Some(known) => {
                            std::mem::swap(&mut outputs[known].1, &mut output);
                            Some(Garbage::Output(output))
                        }
                        None if outputs.len() < PORTS => {
                            outputs.push((port, output));
                            None
                        }
                        None => Some(Garbage::Output(output)),
                    }
                }
            };
            *waiting = rest.and_then(|rest| give_back(garbage, rest));
        }

        merged.clear();
        for message in io.midi_in.iter() {
            merged.push(message.frame.min(frames.saturating_sub(1)), message.port, message.bytes);
        }
        for input in inputs.iter_mut() {
            input.drain(time, frames, merged);
        }
        if waiting.is_none()
            && let Some(gone) = inputs.iter().position(MidiReceiver::is_over)
        {
            *waiting = give_back(garbage, Garbage::Input(inputs.swap_remove(gone)));
        }
        if waiting.is_none()
            && let Some(gone) = outputs.iter().position(|(_, output)| output.is_abandoned())
        {
            *waiting = give_back(garbage, Garbage::Output(outputs.swap_remove(gone).1));
        }

        let clock = router.setup().clock_in;
        let is_clock = |port: &u16| Some(*port) == clock;
        for message in merged.iter().filter(|message| is_clock(&message.port)) {
            if let Some(meaning) = Message::parse(message.bytes) {
                clock_in.message(message.frame, meaning, *rate);
            }
        }
        let led = clock_in.block(frames, *rate, engine.transport());
        let driver = io.transport.map(|led| shared(led, engine.transport()));
        let leader = led.or(driver);
        let (tempo, beats) = leader.map_or((0.0, 0.0), |at| (at.tempo, at.position_beats));
        counts.tempo.store(f64::to_bits(tempo), Ordering::Relaxed);
        counts.beats.store(f64::to_bits(beats), Ordering::Relaxed);
        counts.plays.store(leader.is_some_and(|at| at.playing), Ordering::Relaxed);
        if let Some(transport) = leader {
            engine.lead(transport);
        }

        let mut sink =
            Outputs { engine, driver: io.midi_out.as_deref_mut(), outputs, time, rate: *rate };
        router.begin(&mut sink);
        if std::mem::take(has_new_setup) {
            sink.engine.listen(router.setup().taps.iter().map(|tap| tap.node));
            router.silence_lost_taps(&mut sink);
        }
        if panics {
            router.panic(&mut sink);
        }
        let mut tell = |mut notice: MidiNotice| {
            if let MidiNotice::Command { at, .. } = &mut notice {
                *at += time.sample_position;
            }
            let is_moved = matches!(notice, MidiNotice::Moved { .. });
            let queue = if is_moved { &mut *moved } else { &mut *notices };
            if queue.push(notice).is_err() && !is_moved {
                counts.lost.fetch_add(1, Ordering::Relaxed);
            }
        };
        let lost = router.lost();
        router.process(merged, &mut sink, &mut tell);
        counts.lost.fetch_add(router.lost() - lost, Ordering::Relaxed);
        counts.invalid.store(router.invalid, Ordering::Relaxed);
        counts.notes.store(router.notes() as u64, Ordering::Relaxed);
        let mut sounding = [0; 16];
        for node in router.sounding_nodes() {
            let (word, bit) = bit(node);
            sounding[word] |= bit;
        }
        for (word, bits) in counts.sounding.iter().zip(sounding) {
            word.store(bits, Ordering::Relaxed);
        }

        sink.engine.process(io.inputs, io.outputs, deadlines);

        if !router.setup().taps.is_empty() {
            tapped.clear();
            let lost = (router.lost(), tapped.lost());
            for index in 0..sink.engine.heard().len() {
                let Tapped { node, event } = sink.engine.heard()[index];
                let Some(port) = router.tap(node) else { continue };
                match event {
                    Some(event) => pieces.write(&event, port, tapped),
                    None => router.silence_port(port, &mut sink),
                }
            }
            router.process(tapped, &mut sink, &mut tell);
            let lost = router.lost() - lost.0 + tapped.lost() - lost.1;
            counts.lost.fetch_add(lost, Ordering::Relaxed);
        }
        for port in stopped.drain(..).filter(|_| clock_out.is_playing()) {
            sink.message(0, port, &[0xfc]);
        }
        let began = *sink.engine.began_with();
        let ports = &router.setup().clock_out;
        if !ports.is_empty() {
            clock_out.block(&began, frames, *rate, |frame, bytes| {
                for &port in ports {
                    sink.message(frame, port, bytes);
                }
            });
        }
    }

    /// For a driver that now runs at another rate.
    pub fn set_rate(&mut self, rate: u32) {
        self.rate = rate.into();
    }
}

fn give_back(garbage: &mut Producer<Garbage>, rest: Garbage) -> Option<Garbage> {
    match garbage.push(rest) {
        Ok(()) => None,
        Err(rtrb::PushError::Full(rest)) => Some(rest),
    }
}

fn frames(io: &CallbackIo<'_>) -> u32 {
    let inputs = io.inputs.iter().map(|channel| channel.len());
    inputs.chain(io.outputs.iter().map(|channel| channel.len())).max().unwrap_or(0) as u32
}

/// The transport as the driver says it is; what it does not say stays as it is.
pub(crate) fn shared(led: DriverTransport, before: &Transport) -> Transport {
    let mut transport = Transport { playing: led.playing, tempo_increment: 0.0, ..*before };
    match led.meter {
        Some(meter) => {
            transport.tempo = meter.tempo;
            transport.position_beats = meter.beats;
            transport.bar_start_beats = meter.bar_start_beats;
            transport.bar_number = meter.bar;
            transport.signature_numerator = meter.numerator;
            transport.signature_denominator = meter.denominator;
        }
        None => place(&mut transport, led.seconds * before.tempo / 60.0),
    }
    transport.position_seconds = led.seconds;
    transport
}
