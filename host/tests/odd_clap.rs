//! CLAP plugins that keep the rules in ways not often seen, block by block.

mod common;

use common::{example, supervisor};
use sandrack_sandbox::event::kind;
use sandrack_sandbox::format::{Notice, PluginInfo, PluginRef, StateContext, Transport};
use sandrack_sandbox::local::{LocalPlugin, LocalProcessor};
use sandrack_sandbox::protocol::Activation;

const FRAMES: u32 = 64;

fn odd(what: &str) -> PluginRef {
    PluginRef { path: example("odd_clap"), id: Some(format!("org.sandrack.odd.{what}")) }
}

fn activation() -> Activation {
    Activation { connected_outputs: u64::MAX, ..Activation::new(48_000.0, FRAMES) }
}

/// A plugin in this process.
struct Rig {
    // Dropped before the plugin.
    processor: LocalProcessor,
    plugin: LocalPlugin,
    time: u64,
}

impl Rig {
    fn new(what: &str) -> Self {
        Self::of(LocalPlugin::load(&odd(what)).unwrap())
    }

    fn of(mut plugin: LocalPlugin) -> Self {
        let (processor, _) = plugin.activate(activation()).unwrap();
        Self { processor, plugin, time: 0 }
    }

    /// One block: the last sample of each output.
    fn step(&mut self) -> Vec<f32> {
        assert!(self.processor.process(FRAMES, self.time, &Transport::default(), &[]));
        self.time += u64::from(FRAMES);
        let ports = channels(self.plugin.info()).into_iter().enumerate();
        let last = |(port, channels): (usize, u32)| {
            let mut samples = [f32::NAN; FRAMES as usize];
            (channels > 0).then(|| {
                self.processor.output(port, 0, &mut samples);
                samples[FRAMES as usize - 1]
            })
        };
        ports.filter_map(last).collect()
    }
}

/// Of the outputs.
fn channels(info: &PluginInfo) -> Vec<u32> {
    info.outputs.iter().map(|port| port.channels).collect()
}

#[test]
fn a_plugin_without_inputs_is_given_no_address_of_any() {
    assert_eq!(Rig::new("source").step(), [0.5]);
}

#[test]
fn what_a_plugin_does_not_write_to_is_silence_and_no_old_block() {
    let mut rig = Rig::new("lazy");
    assert_eq!(rig.step(), [0.5]);
    for _ in 0..3 {
        assert_eq!(rig.step(), [0.0]);
    }
}

#[test]
fn a_port_that_can_not_be_described_moves_no_other() {
    let mut rig = Rig::new("gap");
    assert_eq!(channels(rig.plugin.info()), [1, 0, 1]);
    assert_eq!(rig.step(), [0.25, 0.75]);
}

#[test]
fn what_a_plugin_puts_out_behind_a_block_comes_with_its_last_frame_and_is_told() {
    let mut rig = Rig::new("late");
    rig.step();
    let out: Vec<_> = rig.processor.events().iter().map(|e| (e.kind, e.time)).collect();
    assert_eq!(out, [(kind::NOTE_ON, FRAMES - 1), (kind::SYSEX, FRAMES - 1)]);
    // What is told of a log is told a tenth of a second after the last.
    std::thread::sleep(std::time::Duration::from_millis(110));
    let told = rig.plugin.take_notices();
    let says = "2 of its output events lay behind the end of their block";
    let is_it = |notice: &Notice| matches!(notice, Notice::Log(_, text) if text.starts_with(says));
    assert!(told.iter().any(is_it), "{told:?}");
}

#[test]
fn a_state_may_bring_other_outputs() {
    let mut plugin = LocalPlugin::load(&odd("brings")).unwrap();
    assert_eq!(channels(plugin.info()), [2]);
    plugin.instance().load_state(&[3], StateContext::Project).unwrap();
    let mut rig = Rig::of(plugin);
    assert_eq!(channels(rig.plugin.info()), [2, 2, 2]);
    assert_eq!(rig.step(), [1.0 / 16.0, 2.0 / 16.0, 3.0 / 16.0]);

    // In a worker, where nobody has asked for them since.
    let supervisor = supervisor();
    let worker = supervisor.start_worker("odd", None).unwrap();
    let mut node = worker.load(&odd("brings")).unwrap();
    for outputs in [3_u8, 1, 5] {
        node.load_state(vec![outputs], StateContext::Project).unwrap();
        node.activate(activation()).unwrap();
        assert_eq!(channels(node.info()), vec![2; outputs.into()]);
        node.deactivate().unwrap();
    }
}

#[test]
fn only_what_needs_it_costs_a_restart_when_ports_are_asked_for_anew() {
    // The name alone; the count of channels; what is no flag.
    for (flag, expected) in [
        (0, Some(Notice::ParamsChanged)),
        (2, Some(Notice::RestartRequested)),
        (5, Some(Notice::RestartRequested)),
        (9, None),
    ] {
        let mut rig = Rig::new("renames");
        rig.plugin.take_notices();
        rig.plugin.instance().load_state(&[flag], StateContext::Project).unwrap();
        let told = rig.plugin.take_notices();
        let asked = [Notice::ParamsChanged, Notice::RestartRequested];
        let told: Vec<_> = told.into_iter().filter(|notice| asked.contains(notice)).collect();
        assert_eq!(told, Vec::from_iter(expected), "{flag}");
    }
    // Names are known without one.
    let mut rig = Rig::new("renames");
    rig.plugin.instance().load_state(&[1], StateContext::Project).unwrap();
    assert_eq!(rig.plugin.refresh_info().outputs[0].name, "Renamed");
}
