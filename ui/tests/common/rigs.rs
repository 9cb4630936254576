//! Pictures of rigs, to be drawn.

use sandrack_host::drivers::{Connections, DriverPort};
use sandrack_host::play::{
    BlockTiming, ChannelLevel, ConfinementView, Culprit, Format, Message, MessageKind,
    MidiSendView, MidiView, NodeId, NodeTiming, ParamValue, ParamView, PluginLoad, PluginView,
    SnapshotView, TrackView, View, WorkerState,
};
use sandrack_host::rig::{Id, Output, Send, TrackKind};
use std::sync::Arc;

/// A track with a fader in the middle.
pub fn track(name: &str, kind: TrackKind, plugins: Vec<PluginView>) -> TrackView {
    TrackView {
        id: Id::new(name, |_| false),
        name: name.into(),
        kind,
        input: Vec::new(),
        output: Output::Channels(vec![1, 2]),
        gain_db: 0.0,
        pan: 0.0,
        mute: false,
        solo: false,
        is_silenced: false,
        sends: Vec::new(),
        midi: Vec::new(),
        midi_out: Vec::new(),
        takes_notes: kind == TrackKind::Track,
        meter: [ChannelLevel { peak: 0.4, held: 0.6, rms: 0.2, clipped: false }; 2],
        plugins,
    }
}

/// A plugin with some parameters.
pub fn plugin(name: &str, number: u64, state: WorkerState) -> PluginView {
    let param = |id: u32| ParamView {
        id,
        name: format!("Parameter {}", id + 1),
        module: "Filter".into(),
        min: 0.0,
        max: 1.0,
        default: 0.5,
        unit: "Hz".into(),
        steps: 0,
        read_only: id == 3,
        hidden: false,
        controller: (id == 1).then_some(74),
    };
    let value = |id: u32| ParamValue { value: f64::from(id) / 10.0, text: format!("{id}").into() };
    let mut plugin = PluginView {
        id: format!("plugin-{number}").into(),
        name: name.into(),
        vendor: "Sandrack".into(),
        format: Format::Clap,
        plugin: "org.sandrack.test".into(),
        path: std::path::Path::new("/plugins/test.clap").into(),
        group: None,
        node: Some(NodeId::from_raw(number)),
        state,
        reason: "".into(),
        process: Some(4711),
        is_bypassed: false,
        takes_notes: true,
        load: PluginLoad::default(),
        latency: 0,
        side_inputs: Vec::new().into(),
        side_chains: Vec::new(),
        gives_notes: false,
        midi_out: Vec::new(),
        confinement: ConfinementView::default(),
        has_editor: true,
        is_editor_open: false,
        params: (0..8).map(param).collect(),
        values: (0..8).map(value).collect(),
        presets: Vec::new().into(),
    };
    plugin.load.share = 0.12;
    plugin.load.run.p50 = 42_000;
    plugin.load.run.p99 = 61_000;
    plugin.load.run.max = 90_000;
    plugin.load.wait.p50 = 5_000;
    plugin
}

/// A small rig in which all sorts of things have happened.
pub fn stage() -> View {
    let mut broken = plugin("Shimmer Verb", 3, WorkerState::Restarting);
    broken.reason = "its process ended by signal 11 in block 70".into();
    let mut bad = plugin("Old Phaser", 4, WorkerState::Quarantined);
    bad.reason = "failed 5 times in 30 s".into();
    let mut keys = track(
        "Keys",
        TrackKind::Track,
        vec![plugin("Synth", 1, WorkerState::Running), plugin("Level", 2, WorkerState::Running)],
    );
    keys.sends = vec![Send { to: "echo".into(), gain_db: -12.0, pre: false }];
    let mut view = View {
        name: "Tour".into(),
        tracks: vec![
            keys,
            track("Strings", TrackKind::Track, vec![broken, bad]),
            track("Echo", TrackKind::Bus, vec![]),
        ],
        undo: vec!["add Level".to_owned()].into(),
        messages: vec![Message {
            number: 1,
            time_ns: 0,
            kind: MessageKind::Warning,
            text: "Shimmer Verb is being brought back: nothing to do".into(),
            plugin: None,
        }]
        .into(),
        snapshots: vec![SnapshotView {
            id: "verse".into(),
            name: "Verse".into(),
            program: Some(1),
            key: None,
            is_current: true,
            is_ready: true,
        }]
        .into(),
        ..View::default()
    };
    view.driver.is_running = true;
    (view.driver.rate, view.driver.frames) = (48_000, 64);
    (view.driver.inputs, view.driver.outputs) = (2, 2);
    view.driver.settings.frames = 64;
    view.driver.latency_ms = 2.7;
    view.engine.period_ns = 1_333_333;
    view.engine.load = 0.34;
    view.engine.busy.p50 = 420_000;
    view.engine.busy.p99 = 610_000;
    view.transport.tempo = 120.0;
    view.transport.signature = [4, 4];
    let node = |number: u64, ready: u32, run: u32| NodeTiming {
        node: NodeId::from_raw(number),
        ready_ns: ready,
        wait_ns: 6_000,
        run_ns: run,
        is_heard: true,
    };
    let block = |number: u64| {
        let is_late = number == 70;
        let run = 150_000 + (number as u32 * 37 % 60) * 1_000 + if is_late { 900_000 } else { 0 };
        Arc::new(BlockTiming {
            block: number,
            start_ns: number * 1_333_333,
            busy_ns: u64::from(run) + 120_000,
            period_ns: 1_333_333,
            nodes: vec![node(1, 10_000, 60_000), node(2, 80_000, 20_000), node(3, 10_000, run)],
            culprit: is_late.then(|| Culprit {
                plugin: Some("plugin-3".into()),
                name: "Shimmer Verb".into(),
                wait_ns: 6_000,
                run_ns: u64::from(run),
                host_ns: 12_000,
            }),
        })
    };
    view.recent.blocks = (0..120).map(block).collect();
    view.recent.late = vec![block(70)];
    view.recent.worst = Some(block(70));
    view
}

/// Many tracks of three plugins.
pub fn large(tracks: u64) -> View {
    let mut view = stage();
    view.tracks = (0..tracks)
        .map(|number| {
            let plugins = (0..3).map(|place| {
                let number = number * 3 + place;
                plugin(&format!("Plugin {number}"), number, WorkerState::Running)
            });
            track(&format!("Track {number}"), TrackKind::Track, plugins.collect())
        })
        .collect();
    view
}

/// The same with MIDI ports, as with JACK.
pub fn with_ports() -> View {
    let mut view = stage();
    let strings = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
    let port = |name: &str, is_midi, is_input, connected: &[&str]| DriverPort {
        name: name.into(),
        is_midi,
        is_input,
        connected: strings(connected),
        awaited: Vec::new(),
    };
    let inputs = strings(&["a2j:nanoKEY2 20:0", "a2j:Pads 24:0"]);
    let outputs = strings(&["a2j:Big Module 28:0", "a2j:Drum Box 32:0"]);
    view.connections = Some(Arc::new(Connections {
        ports: vec![
            port("in_1", false, true, &["system:capture_1"]),
            port("out_1", false, false, &["system:playback_1"]),
            port("out_2", false, false, &["system:playback_2"]),
            port("midi_in_1", true, true, &["a2j:nanoKEY2 20:0", "a2j:Pads 24:0"]),
            port("midi_out_1", true, false, &[]),
        ],
        audio: (
            strings(&["system:capture_1", "system:capture_2"]),
            strings(&["system:playback_1", "system:playback_2"]),
        ),
        midi: (inputs.clone(), outputs.clone()),
    }));
    view.midi = Arc::new(MidiView {
        inputs,
        outputs,
        problem: String::new(),
        clock: None,
        clock_out: strings(&["a2j:Drum Box", "Old Sequencer"]),
        sends: vec![
            MidiSendView { word: "a2j:Drum Box".into(), ports: strings(&["a2j:Drum Box 32:0"]) },
            MidiSendView { word: "Old Sequencer".into(), ports: Vec::new() },
        ],
    });
    view.driver.settings.name = "jack".into();
    view
}
