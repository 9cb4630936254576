//! What can't be connected or compiled, and the words for it; buffers are shared, and safely.

mod common;

use common::rig::config;
use sandrack_engine::compile::{CompileConfig, CompileError, compile};
use sandrack_engine::graph::{Graph, GraphError, NodeId, NodeKind, NodeSpec};

#[test]
fn a_cycle_is_named() {
    let mut graph = Graph::new();
    let names = ["eq", "delay", "reverb", "aside"];
    let nodes: Vec<NodeId> = names
        .iter()
        .map(|n| graph.add(NodeSpec::plugin(*n, &[2], &[2]).event_input(true).event_output(true)))
        .collect();
    graph.connect_audio(nodes[0], 0, nodes[1], 0).unwrap();
    graph.connect_events(nodes[1], nodes[2]).unwrap();
    graph.connect_audio(nodes[2], 0, nodes[3], 0).unwrap();
    assert!(compile(&graph, config(64)).is_ok());
    graph.connect_audio(nodes[2], 0, nodes[0], 0).unwrap();
    let error = compile(&graph, config(64)).unwrap_err();
    let text = "the graph has a cycle: \"eq\" -> \"delay\" -> \"reverb\" -> \"eq\"";
    assert_eq!(error.to_string(), text);
    graph.disconnect_events(nodes[1], nodes[2]).unwrap();
    assert!(compile(&graph, config(64)).is_ok());
    graph.connect_audio(nodes[3], 0, nodes[3], 0).unwrap();
    let error = compile(&graph, config(64)).unwrap_err();
    assert_eq!(error, CompileError::Cycle(vec!["aside".into()]));
}

#[test]
fn impossible_configurations_are_refused() {
    let graph = Graph::new();
    let with = |change: fn(&mut CompileConfig)| {
        let mut config = config(64);
        change(&mut config);
        compile(&graph, config).err()
    };
    assert_eq!(with(|_| {}), None);
    assert_eq!(with(|c| c.max_frames = 0), Some(CompileError::MaxFrames(0)));
    assert_eq!(with(|c| c.max_frames = 8193), Some(CompileError::MaxFrames(8193)));
    assert_eq!(with(|c| c.event_capacity = 0), Some(CompileError::EventCapacity(0)));
    assert_eq!(with(|c| c.rate = 0.0), Some(CompileError::Rate(0.0)));
    assert!(with(|c| c.rate = f64::NAN).is_some());
}

#[test]
fn impossible_nodes_are_refused() {
    let refused = |spec: NodeSpec| {
        let mut graph = Graph::new();
        graph.add(spec);
        compile(&graph, config(64)).unwrap_err().to_string()
    };
    let text = refused(NodeSpec::plugin("wide", &[2], &[300]));
    assert_eq!(text, "\"wide\" has a bus of 300 channels: must be 1 to 256");
    let text = refused(NodeSpec::gain("loud", 2, f32::INFINITY));
    assert_eq!(text, "\"loud\": inf is not a gain");
    assert!(refused(NodeSpec::pan("far", 2.0)).contains("far"));
    assert!(refused(NodeSpec::delay("late", 1, u32::MAX)).contains("late"));
    assert!(refused(NodeSpec::gain("none", 0, 1.0)).contains("must have one input"));
    assert!(refused(NodeSpec::plugin("old", &[1], &[1]).latency(1 << 25)).contains("old"));
    let mut spec = NodeSpec::plugin("turned", &[1], &[2]);
    spec.kind = NodeKind::Sum;
    assert!(refused(spec).contains("sum"));
}

#[test]
fn impossible_edges_are_refused_with_both_names() {
    let mut graph = Graph::new();
    let stereo = graph.add(NodeSpec::plugin("stereo", &[2], &[2]));
    let quad = graph.add(NodeSpec::plugin("quad", &[4], &[4]));
    let mono = graph.add(NodeSpec::plugin("mono", &[1], &[1]));
    let error = graph.connect_audio(stereo, 0, quad, 0).unwrap_err();
    let text = "can't connect 2 channels of \"stereo\" to 4 channels of \"quad\": the counts must \
                be equal, or one of them 1";
    assert_eq!(error.to_string(), text);
    graph.connect_audio(stereo, 0, mono, 0).unwrap();
    graph.connect_audio(mono, 0, quad, 0).unwrap();
    let error = graph.connect_audio(mono, 0, quad, 0).unwrap_err();
    assert!(matches!(error, GraphError::Duplicate { .. }));
    assert!(graph.connect_audio(mono, 1, quad, 0).unwrap_err().to_string().contains("mono"));
    assert!(graph.connect_audio(mono, 0, quad, 1).unwrap_err().to_string().contains("quad"));
    assert!(graph.connect_events(mono, quad).is_err());
    graph.disconnect_audio(mono, 0, quad, 0).unwrap();
    assert!(graph.disconnect_audio(mono, 0, quad, 0).is_err());
    graph.remove(mono).unwrap();
    assert_eq!(graph.audio_edges(), []);
    assert_eq!(graph.node(mono), Err(GraphError::NoSuchNode(mono)));
    let next = graph.add(NodeSpec::sum("next", 2));
    assert!(next > mono, "ids are not used again");
}

#[test]
fn outputs_are_aligned_and_latency_is_reported() {
    let mut graph = Graph::new();
    let input = graph.add(NodeSpec::input("in", 2));
    let slow = graph.add(NodeSpec::plugin("slow", &[2], &[2]).latency(1000));
    let (near, far) =
        (graph.add(NodeSpec::output("near", 2)), graph.add(NodeSpec::output("far", 2)));
    graph.connect_audio(input, 0, slow, 0).unwrap();
    graph.connect_audio(slow, 0, far, 0).unwrap();
    graph.connect_audio(input, 0, near, 0).unwrap();
    let compiled = compile(&graph, config(64)).unwrap();
    assert_eq!(compiled.latency(), 1000);
    assert_eq!(compiled.output_latencies(), [(near, 0), (far, 1000)]);
}

#[test]
fn a_long_local_chain_needs_few_buffers() {
    let mut graph = Graph::new();
    let mut last = graph.add(NodeSpec::input("in", 2));
    for at in 0..100 {
        let gain = graph.add(NodeSpec::gain(format!("gain {at}"), 2, 1.0));
        graph.connect_audio(last, 0, gain, 0).unwrap();
        last = gain;
    }
    let output = graph.add(NodeSpec::output("out", 2));
    graph.connect_audio(last, 0, output, 0).unwrap();
    let compiled = compile(&graph, config(64)).unwrap();
    let (buffers, values) = compiled.buffers();
    assert!(values > 100 && buffers <= 5, "{buffers} buffers for {values} values");
}
