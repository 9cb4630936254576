//! What is connected to a rig's JACK ports is a part of the rig, whoever has connected it.
#![cfg(unix)]

mod common;

use common::jack_clients::client;
use common::jackd::Jackd;
use common::players::{saved_rig, until};
use common::program::{Program, Started};
use common::{LONG, PROGRAM, becomes_true};
use rustix::process::Signal;
use sandrack_host::drivers::jack::JackDriver;
use sandrack_host::drivers::{Callback, CallbackIo, CallbackTime, Connections, Driver, Wiring};
use sandrack_host::play::{Command, PlayOptions, Player, Source, View};
use sandrack_host::rig::{Rig, Track, TrackKind};
use std::path::Path;

struct Silent;
impl Callback for Silent {
    fn process(&mut self, _: &CallbackTime, _: &mut CallbackIo<'_>) {}
}

/// Another program, of four inputs and two outputs, that connects nothing itself.
fn other(server: &Jackd, name: &str) -> JackDriver {
    let mut other = client(server, name, (4, 2));
    other.start(Box::new(Silent)).expect("it starts");
    other
}

/// A rig of one track that plays what comes in, and names a MIDI port.
fn rig(server: &Jackd) -> Rig {
    let mut track = Track::new("through".into(), "through", TrackKind::Track);
    track.input = vec![1, 2];
    let mut rig = Rig { tracks: vec![track], ..Rig::default() };
    rig.driver.name = server.driver();
    rig.transport.clock_out = vec!["Drums: 1".into()];
    rig
}

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

/// What a port of another program is connected to.
fn of(other: &JackDriver, port: &str) -> Vec<String> {
    let Connections { ports, .. } = other.connections().expect("JACK's can be connected");
    let port = ports.into_iter().find(|known| known.name == port).expect("it has this port");
    port.connected
}

#[track_caller]
fn until_connected(other: &JackDriver, port: &str, to: &[&str]) {
    let wanted = names(to);
    let so = becomes_true(LONG, || of(other, port) == wanted);
    assert!(so, "{port} is connected to {:?}, not to {wanted:?}", of(other, port));
}

/// Starts the program with a rig, or with what is in a file.
fn play(file: Option<&Path>, text: &str) -> Started {
    let program = Program::new(["play", "rig.toml", "--json", "--let-cores-sleep"]);
    let here = program.folder().join("rig.toml");
    match file {
        Some(file) => drop(std::fs::copy(file, here).expect("it is there")),
        None => std::fs::write(here, text).expect("it is written"),
    }
    program.start()
}

#[track_caller]
fn until_said(program: &Started, what: &str) {
    let so = becomes_true(LONG, || program.text("stdout").contains(what));
    assert!(so, "not {what}: {} {}", program.text("stdout"), program.text("stderr"));
}

/// Waits until the rig's file says it, and returns what it says.
#[track_caller]
fn until_written(program: &Started, wanted: &Wiring) -> String {
    let file = program.folder().join("rig.toml");
    let now = || Rig::read(&file).expect("it is a rig at any time").connections;
    assert!(becomes_true(LONG, || now() == *wanted), "{:?}: {}", now(), program.text("stderr"));
    std::fs::read_to_string(&file).expect("it can be read")
}

#[test]
fn what_a_patchbay_connects_is_in_the_file_and_is_connected_again_whoever_comes_back() {
    let Some(mut server) = Jackd::start(1024) else { return };
    let ear = other(&server, "ear");
    let mut program = play(None, &rig(&server).to_text("").expect("it can be written"));
    until_said(&program, "\"event\":\"playing\"");
    server.connect("sandrack:out_1", "ear:in_1");
    server.connect("sandrack:out_1", "ear:in_3");
    server.connect("ear:out_1", "sandrack:in_2");
    server.connect("ear:out_2", "sandrack:in_2");
    server.connect("sandrack:Drums_ 1", "ear:midi_in_1");
    server.disconnect("sandrack:out_1", "system:playback_1");
    server.disconnect("system:capture_1", "sandrack:in_1");
    server.disconnect("system:capture_2", "sandrack:in_2");
    server.disconnect("ear:out_1", "sandrack:in_2");
    let wanted = [
        ("Drums_ 1", names(&["ear:midi_in_1"])),
        ("in_1", names(&[])),
        ("in_2", names(&["ear:out_2"])),
        ("out_1", names(&["ear:in_1", "ear:in_3"])),
    ];
    let wanted = wanted.map(|(port, others)| (port.to_owned(), others)).into();
    let text = until_written(&program, &wanted);
    let lines = ["[connections]", "in_1 = []", "out_1 = [\"ear:in_1\", \"ear:in_3\"]"];
    assert!(lines.iter().all(|line| text.lines().any(|known| known == *line)), "{text}");

    // As if the power failed.
    program.signal(Signal::KILL);
    let killed = program.finish();
    until_connected(&ear, "in_1", &[]);
    drop(ear);
    // Whom it was connected to is not there yet.
    program = play(Some(&killed.file("rig.toml")), "");
    until_said(&program, "\"event\":\"playing\"");
    let as_wanted = |ear: &JackDriver| {
        until_connected(ear, "in_1", &["sandrack:out_1"]);
        until_connected(ear, "in_2", &[]);
        until_connected(ear, "in_3", &["sandrack:out_1"]);
        until_connected(ear, "midi_in_1", &["sandrack:Drums_ 1"]);
        until_connected(ear, "out_1", &[]);
        until_connected(ear, "out_2", &["sandrack:in_2"]);
    };
    let ear = other(&server, "ear");
    as_wanted(&ear);
    // It ends, and is back before anybody has looked.
    drop(ear);
    let ear = other(&server, "ear");
    as_wanted(&ear);

    server.kill();
    until_said(&program, "\"running\":false");
    drop(ear);
    server.start_again();
    let ear = other(&server, "ear");
    as_wanted(&ear);
    let is = |port: &str, to: &[&str]| {
        let so = becomes_true(LONG, || server.connections(port) == names(to));
        assert!(so, "{port} is connected to {:?}", server.connections(port));
    };
    is("sandrack:out_2", &["system:playback_2"]);
    is("sandrack:out_1", &["ear:in_1", "ear:in_3"]);
    is("sandrack:in_1", &[]);

    program.signal(Signal::INT);
    let finished = program.finish();
    finished.assert_success();
    let after = std::fs::read_to_string(finished.file("rig.toml")).expect("it can be read");
    assert_eq!(after, text, "coming and going changes nothing");
    let complains = ["ear:in_1", "ear:in_3", "ear:out_2"];
    let complains = complains.iter().any(|port| finished.stdout.contains(port));
    assert!(!complains, "who is not there is no error: {}", finished.stdout);
}

#[test]
fn what_the_window_connects_is_saved_and_another_rig_has_its_own() {
    let Some(server) = Jackd::start(1024) else { return };
    let ear = other(&server, "ear");
    let folder = tempfile::tempdir().expect("a folder");
    let file = saved_rig(folder.path(), &rig(&server));
    let mut options = PlayOptions::new().expect("this program has a file");
    options.supervisor.program = PROGRAM.into();
    options.supervisor.realtime = false;
    let player = Player::open(Source::File(file.clone()), options.clone()).expect("it plays");
    let connect = |other: &str, on| {
        player.send(Command::Connect { port: "out_2".into(), other: other.into(), on })
    };
    let shows = |view: &View, wanted: &[&str]| {
        let connections = view.connections.as_ref();
        let port = connections.and_then(|c| c.ports.iter().find(|port| port.name == "out_2"));
        port.is_some_and(|port| port.connected == names(wanted))
    };
    until(&player, "connected to the card", |view| shows(view, &["system:playback_2"]));
    connect("ear:in_2", true);
    connect("system:playback_2", false);
    until(&player, "connected", |view| shows(view, &["ear:in_2"]));
    // A change that is taken back takes no cable along.
    player.send(Command::RenameRig("Evening".into()));
    until(&player, "renamed", |view| view.name == "Evening");
    player.send(Command::Undo);
    until(&player, "as before", |view| view.name != "Evening");
    player.send(Command::Save);
    let saved = |path: &Path| Rig::read(path).expect("it is a rig").connections;
    assert!(becomes_true(LONG, || saved(&file).get("out_2") == Some(&names(&["ear:in_2"]))));
    assert_eq!(saved(&file).len(), 1, "{:?}", saved(&file));

    let second = folder.path().join("second.toml");
    let mut rig = rig(&server);
    rig.connections.insert("out_1".into(), names(&["ear:in_4", "nobody:in"]));
    std::fs::write(&second, rig.to_text("").expect("it can be written")).expect("it is written");
    player.send(Command::Load(second.clone()));
    until_connected(&ear, "in_4", &["sandrack:out_1"]);
    until(&player, "connected to the card again", |view| shows(view, &["system:playback_2"]));
    until_connected(&ear, "in_2", &[]);
    // Somebody who never came is not waited for any more.
    let nobody = Command::Connect { port: "out_1".into(), other: "nobody:in".into(), on: false };
    player.send(nobody);
    player.close().expect("it ends");
    assert_eq!(saved(&file).get("out_2"), Some(&names(&["ear:in_2"])), "the first is as it was");
    assert_eq!(saved(&second).get("out_1"), Some(&names(&["ear:in_4"])));

    let player = Player::open(Source::File(file), options).expect("it plays");
    until_connected(&ear, "in_2", &["sandrack:out_2"]);
    until_connected(&ear, "in_4", &[]);
    player.close().expect("it ends");
}
