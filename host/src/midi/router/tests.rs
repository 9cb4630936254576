use super::*;
use crate::midi::setup::{Channels, Mapping, Range, Source, VelocityCurve};
use proptest::prelude::*;
use sandrack_engine::event::{Event, EventKind};
use std::collections::HashMap;

fn node(number: u64) -> NodeId {
    NodeId::from_raw(number)
}

/// Keeps what it is given, as long as it has room; and what sounds and is bent because of it.
#[derive(Default)]
struct Synths {
    events: Vec<(u64, Event)>,
    messages: Vec<(u32, u16, Vec<u8>)>,
    room: Option<usize>,
    sounds: HashMap<(u64, i16, i16), bool>,
    controls: HashMap<(u64, u8, u8), [u8; 2]>,
}

impl Sink for Synths {
    fn event(&mut self, node: NodeId, event: Event) -> bool {
        match &mut self.room {
            Some(0) => return false,
            Some(room) => *room -= 1,
            None => {}
        }
        let at = |note: sandrack_engine::event::NoteAddress| (node.raw(), note.channel, note.key);
        match event.kind {
            EventKind::NoteOn { note, velocity } => {
                assert!(velocity > 0.0 && velocity <= 1.0);
                let before = self.sounds.insert(at(note), true);
                assert_ne!(before, Some(true), "{note:?} begins twice");
            }
            EventKind::NoteOff { note, .. } => {
                let before = self.sounds.insert(at(note), false);
                assert_eq!(before, Some(true), "{note:?} ends without having begun");
            }
            EventKind::Midi { data: [status @ 0xb0..=0xbf, number, value], .. } => {
                self.controls.insert((node.raw(), status, number), [number, value]);
            }
            EventKind::Midi { data: [status, a, b], .. } => {
                self.controls.insert((node.raw(), status, 0), [a, b]);
            }
            _ => {}
        }
        self.events.push((node.raw(), event));
        true
    }

    fn message(&mut self, frame: u32, port: u16, bytes: &[u8]) -> bool {
        self.messages.push((frame, port, bytes.to_vec()));
        true
    }
}

impl Synths {
    /// What came since the last time: node, key or first data byte, whether it is an end.
    fn took(&mut self) -> Vec<String> {
        let events = self.events.drain(..).map(|(node, event)| {
            let at = event.time;
            match event.kind {
                EventKind::NoteOn { note, velocity } => format!(
                    "{at}: {node} on {}/{} {}",
                    note.channel,
                    note.key,
                    (velocity * 127.0).round()
                ),
                EventKind::NoteOff { note, .. } => {
                    format!("{at}: {node} off {}/{}", note.channel, note.key)
                }
                EventKind::Midi { data, .. } => format!("{at}: {node} midi {data:x?}"),
                EventKind::ParamValue { param, value, .. } => {
                    format!("{at}: {node} param {param} {value}")
                }
                EventKind::SysEx { len, first, last, .. } => {
                    format!("{at}: {node} sysex {len} {first} {last}")
                }
                other => format!("{at}: {node} {other:?}"),
            }
        });
        events.collect()
    }
}

struct Bench {
    router: Router,
    synths: Synths,
    notices: Vec<MidiNotice>,
}

impl Bench {
    fn new(setup: MidiSetup) -> Self {
        Self { router: Router::new(setup), synths: Synths::default(), notices: Vec::new() }
    }

    fn with(routes: Vec<Route>) -> Self {
        Self::new(MidiSetup { routes, ..MidiSetup::default() })
    }

    fn block(&mut self, messages: &[(u32, u16, &[u8])]) -> Vec<String> {
        let mut midi = MidiBuffer::usual();
        for (frame, port, bytes) in messages {
            assert!(midi.push(*frame, *port, bytes));
        }
        self.router.begin(&mut self.synths);
        let notices = &mut self.notices;
        self.router.process(&midi, &mut self.synths, &mut |notice| notices.push(notice));
        self.synths.took()
    }

    fn play(&mut self, bytes: &[u8]) -> Vec<String> {
        self.block(&[(0, 0, bytes)])
    }

    fn swap(&mut self, setup: MidiSetup) {
        let _ = self.router.swap(Box::new(Prepared::new(setup)));
    }
}

#[test]
fn a_split_with_a_layer_plays_each_key_where_it_belongs() {
    let bass = Route {
        keys: Range { low: 0, high: 59 },
        transpose: -12,
        pedals: false,
        channel: Some(9),
        ..Route::to(node(1))
    };
    let piano = Route { keys: Range { low: 60, high: 127 }, ..Route::to(node(2)) };
    let strings = Route {
        velocities: Range { low: 64, high: 127 },
        curve: VelocityCurve { exponent: 1.0, low: 80, high: 80 },
        ..piano
    };
    let mut bench = Bench::with(vec![bass, piano, Route { to: Route::to(node(3)).to, ..strings }]);
    assert_eq!(bench.block(&[(7, 0, &[0x90, 59, 10])]), ["7: 1 on 9/47 10"]);
    assert_eq!(bench.play(&[0x90, 60, 10]), ["0: 2 on 0/60 10"]);
    assert_eq!(bench.play(&[0x90, 61, 100]), ["0: 2 on 0/61 100", "0: 3 on 0/61 80"]);
    assert_eq!(bench.play(&[0x90, 61, 0]), ["0: 2 off 0/61", "0: 3 off 0/61"]);
    assert_eq!(bench.play(&[0x80, 59, 64]), ["0: 1 off 9/47"]);
    assert_eq!(bench.play(&[0xb0, 64, 127]), ["0: 2 midi [b0, 40, 7f]", "0: 3 midi [b0, 40, 7f]"]);
    // Below the lowest key there is nothing.
    let low = Route { transpose: -60, ..Route::to(node(1)) };
    let mut bench = Bench::with(vec![low]);
    assert_eq!(bench.play(&[0x90, 59, 10]), Vec::<String>::new());
    assert_eq!(bench.play(&[0x80, 59, 10]), Vec::<String>::new());
}

#[test]
fn a_controller_reaches_a_node_once_however_many_routes_lead_there() {
    let half = |low, high| Route { keys: Range { low, high }, ..Route::to(node(1)) };
    let mut bench = Bench::with(vec![half(0, 59), half(60, 127)]);
    assert_eq!(bench.play(&[0xb2, 7, 90]), ["0: 1 midi [b2, 7, 5a]"]);
    assert_eq!(bench.play(&[0xe2, 0, 90]), ["0: 1 midi [e2, 0, 5a]"]);
    assert_eq!(bench.play(&[0xf0, 1, 2, 0xf7]), ["0: 1 sysex 4 true true"]);
    assert_eq!(bench.play(&[0xc2, 5]), ["0: 1 midi [c2, 5, 0]"]);
}

#[test]
fn held_notes_and_pedals_stay_with_the_sound_that_began_them() {
    let to = |number| MidiSetup { routes: vec![Route::to(node(number))], ..MidiSetup::default() };
    let mut bench = Bench::new(to(1));
    bench.block(&[(0, 0, &[0x90, 60, 100]), (0, 0, &[0x90, 62, 100]), (0, 0, &[0xb0, 64, 127])]);
    bench.swap(to(2));
    assert_eq!(bench.play(&[0x90, 64, 100]), ["0: 2 on 0/64 100"]);
    assert_eq!(bench.play(&[0x80, 60, 64]), ["0: 1 off 0/60"]);
    // The same key, now with the other sound; then the pedal, for both.
    assert_eq!(bench.play(&[0x90, 60, 100]), ["0: 2 on 0/60 100"]);
    assert_eq!(bench.play(&[0xb0, 64, 0]), ["0: 2 midi [b0, 40, 0]", "0: 1 midi [b0, 40, 0]"]);
    assert_eq!(bench.play(&[0xb0, 64, 127]), ["0: 2 midi [b0, 40, 7f]"]);
    assert_eq!(bench.play(&[0x80, 62, 64]), ["0: 1 off 0/62"]);
    assert_eq!(bench.play(&[0x80, 60, 64]), ["0: 2 off 0/60"]);
    assert_eq!(bench.router.notes(), 1);
}

#[test]
fn controls_move_parameters_and_give_commands_and_go_no_further_unless_asked() {
    let knob = Mapping {
        from: Source::default(),
        control: Control::Controller(74),
        mode: Mode::Direct,
        target: Target::Param { node: node(5), param: 3, low: -24.0, high: 103.0 },
        pass: false,
    };
    let pad = Mapping {
        control: Control::Note(36),
        mode: Mode::Toggle,
        target: Target::Command(9),
        ..knob
    };
    let wheel = Mapping { control: Control::PitchBend, pass: true, ..knob };
    let setup = MidiSetup {
        routes: vec![Route::to(node(1))],
        mappings: vec![knob, pad, wheel],
        programs: Some(Source { port: Some(0), channels: Channels::only(0) }),
        ..MidiSetup::default()
    };
    let mut bench = Bench::new(setup.clone());
    assert_eq!(bench.block(&[(5, 0, &[0xb0, 74, 127])]), ["5: 5 param 3 103"]);
    assert_eq!(bench.play(&[0xb0, 74, 0]), ["0: 5 param 3 -24"]);
    assert_eq!(bench.play(&[0xe0, 0, 0]), ["0: 5 param 3 -24", "0: 1 midi [e0, 0, 0]"]);
    let commands = |bench: &mut Bench| -> Vec<MidiNotice> {
        let is_moved = |notice: &MidiNotice| matches!(notice, MidiNotice::Moved { .. });
        bench.notices.drain(..).filter(|notice| !is_moved(notice)).collect()
    };
    commands(&mut bench);
    for _ in 0..2 {
        assert!(bench.play(&[0x90, 36, 20]).is_empty());
        assert!(bench.play(&[0x80, 36, 64]).is_empty());
        // The same mapping in another setup stays switched.
        bench.swap(setup.clone());
    }
    let given = |value| MidiNotice::Command { command: 9, value, at: 0 };
    assert_eq!(commands(&mut bench), [given(1.0), given(0.0)]);
    assert!(bench.block(&[(0, 0, &[0xb0, 0, 1]), (0, 0, &[0xb0, 32, 2])]).len() == 2);
    assert!(bench.play(&[0xc0, 17]).is_empty());
    let program = MidiNotice::Program { port: 0, channel: 0, bank: 130, program: 17 };
    assert_eq!(commands(&mut bench), [program]);
    assert_eq!(bench.play(&[0xc1, 17]), ["0: 1 midi [c1, 11, 0]"]);
}

#[test]
fn a_mapping_that_comes_while_its_key_is_held_leaves_no_note_behind() {
    let setup = MidiSetup { routes: vec![Route::to(node(1))], ..MidiSetup::default() };
    let mut bench = Bench::new(setup.clone());
    bench.play(&[0x90, 36, 20]);
    let pad = Mapping {
        from: Source::default(),
        control: Control::Note(36),
        mode: Mode::Direct,
        target: Target::Command(1),
        pass: false,
    };
    bench.swap(MidiSetup { mappings: vec![pad], ..setup });
    assert_eq!(bench.play(&[0x80, 36, 20]), ["0: 1 off 0/36"]);
}

#[test]
fn panic_ends_notes_lifts_pedals_and_silences_every_destination() {
    let to = |number| MidiSetup { routes: vec![Route::to(node(number))], ..MidiSetup::default() };
    let mut bench = Bench::new(to(1));
    bench.block(&[(0, 0, &[0x90, 60, 100]), (0, 0, &[0xb0, 64, 127])]);
    bench.swap(MidiSetup { panic: vec![node(3)], ..to(2) });
    bench.router.begin(&mut bench.synths);
    bench.router.panic(&mut bench.synths);
    let took = bench.synths.took();
    for (number, channel) in [(1, 0), (2, 15), (3, 7)] {
        for what in ["40, 0", "78, 0", "7b, 0"] {
            let wanted = format!("0: {number} midi [{:x}, {what}]", 0xb0 + channel);
            assert!(took.contains(&wanted), "{wanted} is not in {took:?}");
        }
        assert!(took.iter().any(|t| t.starts_with(&format!("0: {number} NoteChoke"))));
    }
    assert!(took.contains(&"0: 1 off 0/60".to_owned()));
    assert_eq!(bench.router.notes(), 0);
    assert!(bench.play(&[0x80, 60, 0]).is_empty(), "it has ended already");
}

#[test]
fn a_port_gets_what_is_routed_to_it_as_bytes() {
    let mut out = Route::to_destination(Destination::Port(4));
    out.channel = Some(2);
    let mut bench = Bench::with(vec![out]);
    bench.block(&[(3, 1, &[0x95, 60, 7]), (4, 1, &[0xc5, 3]), (5, 1, &[0xf0, 9, 0xf7])]);
    bench.block(&[(6, 1, &[0x85, 60, 0])]);
    let messages = std::mem::take(&mut bench.synths.messages);
    assert_eq!(
        messages,
        [
            (3, 4, vec![0x92, 60, 7]),
            (4, 4, vec![0xc2, 3]),
            (5, 4, vec![0xf0, 9, 0xf7]),
            (6, 4, vec![0x82, 60, 0])
        ]
    );
}

#[test]
fn a_flood_of_controllers_leaves_room_for_notes_and_their_ends() {
    let mut bench = Bench::with(vec![Route::to(node(1))]);
    let mut flood: Vec<(u32, u16, Vec<u8>)> = Vec::new();
    for value in 0..250u8 {
        flood.push((0, 0, vec![0xb0, 7, value & 127]));
    }
    flood.extend((0..20).map(|key| (1, 0, vec![0x90, key, 1])));
    flood.extend((0..20).map(|key| (2, 0, vec![0x80, key, 1])));
    let messages: Vec<_> = flood.iter().map(|(f, p, b)| (*f, *p, b.as_slice())).collect();
    let took = bench.block(&messages);
    assert!(took.len() <= sandrack_sandbox::shm::layout::EVENTS);
    assert_eq!(took.iter().filter(|t| t.contains("on ")).count(), 20);
    assert_eq!(took.iter().filter(|t| t.contains("off ")).count(), 20);
    assert_eq!(bench.router.lost(), 90);
}

/// What can happen on a stage.
#[derive(Clone, Debug)]
enum Step {
    Message(u16, Vec<u8>),
    Swap(Vec<Route>),
    Panic,
    /// A block with so much room at the destinations.
    Block(Option<usize>),
}

fn route() -> impl Strategy<Value = Route> {
    let source = (proptest::option::of(0u16..2), any::<bool>());
    let to = (1u64..4, proptest::option::of(0u8..2), 56u8..64, 0u8..8, -3i8..4);
    (source, to, any::<bool>(), any::<bool>()).prop_map(
        |((port, all), (to, channel, low, width, transpose), pedals, controllers)| Route {
            from: Source { port, channels: if all { Channels::ALL } else { Channels::only(1) } },
            keys: Range { low, high: low + width },
            transpose,
            channel,
            pedals,
            controllers,
            ..Route::to(node(to))
        },
    )
}

fn step() -> impl Strategy<Value = Step> {
    let channel = 0u8..2;
    let bytes = prop_oneof![
        4 => (channel.clone(), 58u8..62, 1u8..128).prop_map(|(c, k, v)| vec![0x90 | c, k, v]),
        4 => (channel.clone(), 58u8..62).prop_map(|(c, k)| vec![0x80 | c, k, 64]),
        2 => (channel.clone(), any::<bool>()).prop_map(|(c, on)| vec![0xb0 | c, 64, u8::from(on) * 127]),
        1 => (channel.clone(), 0u8..128).prop_map(|(c, v)| vec![0xe0 | c, 0, v]),
        1 => (channel.clone(), prop_oneof![Just(120u8), Just(121), Just(123)]).prop_map(|(c, n)| vec![0xb0 | c, n, 0]),
        1 => proptest::collection::vec(any::<u8>(), 0..4),
    ];
    prop_oneof![
        20 => (0u16..2, bytes).prop_map(|(port, bytes)| Step::Message(port, bytes)),
        3 => proptest::collection::vec(route(), 0..4).prop_map(Step::Swap),
        1 => Just(Step::Panic),
        4 => proptest::option::of(0usize..6).prop_map(Step::Block),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    /// Whatever is played, however the routes change meanwhile and however full the destinations
    /// are: when every key and pedal is let go, nothing sounds, and nothing is out of tune. That no
    /// note begins twice or ends unbegun is checked with every event.
    #[test]
    fn every_note_that_begins_ends(steps in proptest::collection::vec(step(), 1..120)) {
        let mut bench = Bench::with(vec![Route::to(node(1))]);
        for step in steps {
            match step {
                Step::Message(port, bytes) if !bytes.is_empty() => {
                    let mut midi = MidiBuffer::usual();
                    midi.push(0, port, &bytes);
                    bench.router.process(&midi, &mut bench.synths, &mut |_| {});
                }
                Step::Message(..) => {}
                Step::Swap(routes) => bench.swap(MidiSetup { routes, ..MidiSetup::default() }),
                Step::Panic => bench.router.panic(&mut bench.synths),
                Step::Block(room) => {
                    bench.synths.room = room;
                    bench.block(&[]);
                }
            }
        }
        for port in 0..2u16 {
            for channel in 0..16u8 {
                for key in 0..128 {
                    bench.block(&[(0, port, &[0x80 | channel, key, 0])]);
                }
                bench.block(&[(0, port, &[0xb0 | channel, 64, 0]), (0, port, &[0xb0 | channel, 1, 0])]);
                bench.block(&[(0, port, &[0xe0 | channel, 0, 64]), (0, port, &[0xd0 | channel, 0])]);
            }
        }
        bench.synths.room = None;
        bench.block(&[]);
        bench.block(&[]);
        prop_assert_eq!(bench.router.notes(), 0);
        prop_assert!(bench.synths.sounds.values().all(|sounds| !sounds), "{:?}", bench.synths.sounds);
        for ((node, status, number), data) in &bench.synths.controls {
            match (status & 0xf0, number) {
                (0xb0, 64) => prop_assert_eq!(data[1], 0, "pedal of {} {:x}", node, status),
                (0xe0, _) => prop_assert_eq!(*data, [0, 64], "bend of {} {:x}", node, status),
                _ => {}
            }
        }
    }
}
