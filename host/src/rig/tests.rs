use super::*;
use std::path::Path;

const TEXT: &str = r#"# My rig.
sandrack_rig = 1
name = "Live"

[driver]
name = "virtual"
frames = 64 # as small as may be

# The piano.
[[track]]
id = "piano"
gain_db = -3
mute = false # not now
output = "main"

  [[track.plugin]]
  id = "synth"
  plugin = "org.sandrack.test.synth"
  path = "/plugins/synth.clap"
  grants = { network = true }
  params = { volume = 0.50 }

[[track]]
# All goes here.
id = "main"
kind = "bus"
"#;

fn parse(text: &str) -> Result<Rig, String> {
    Rig::parse(Path::new("a.toml"), text).map_err(|error| error.to_string())
}

#[track_caller]
fn refused(text: &str, parts: &[&str]) {
    let error = parse(text).expect_err("it makes no sense");
    for part in parts {
        assert!(error.contains(part), "{error}: lacks {part}");
    }
}

#[test]
fn a_rig_comes_back_as_it_was_and_comments_stay() {
    let rig = parse(TEXT).unwrap();
    assert_eq!(rig.to_text(TEXT).unwrap(), TEXT);
    let mut changed = rig.clone();
    changed.tracks[0].gain_db = -6.5;
    changed.tracks[0].mute = true;
    changed.tracks[0].plugins[0].params.clear();
    changed.driver.frames = 128;
    let text = changed.to_text(TEXT).unwrap();
    assert!(text.contains("gain_db = -6.5\n") && text.contains("mute = true # not now"), "{text}");
    assert!(text.contains("frames = 128 # as small as may be"), "{text}");
    assert_eq!(parse(&text).unwrap(), changed);
}

#[test]
fn what_moves_takes_its_comments_along() {
    let mut rig = parse(TEXT).unwrap();
    rig.tracks.swap(0, 1);
    let mut send = Track::new("new".into(), "New", TrackKind::Track);
    send.sends.push(Send { to: "main".into(), gain_db: f64::NEG_INFINITY, pre: true });
    send.midi.push(MidiInput { keys: Some([0, 59]), ..MidiInput::default() });
    rig.tracks.insert(1, send);
    let text = rig.to_text(TEXT).unwrap();
    assert_eq!(parse(&text).unwrap(), rig, "{text}");
    let at = |what: &str| text.find(what).unwrap_or_else(|| panic!("{what}: {text}"));
    assert!(at("# All goes here.") < at("id = \"main\""));
    assert!(at("id = \"main\"") < at("id = \"new\"") && at("id = \"new\"") < at("# The piano."));
    assert!(at("# The piano.") < at("id = \"piano\"") && at("id = \"piano\"") < at("\"synth\""));
}

#[test]
fn a_new_file_can_be_read_again() {
    let mut rig = parse(TEXT).unwrap();
    rig.snapshots.push(Snapshot {
        id: "verse".into(),
        name: "Verse".into(),
        program: Some(3),
        channel: None,
        key: None,
        tracks: vec![TrackSettings {
            id: "piano".into(),
            gain_db: Some(0.0),
            pan: None,
            mute: None,
        }],
        plugins: vec![PluginSettings {
            id: "synth".into(),
            bypass: Some(true),
            state: Some(StateKey::of(b"state")),
            params: BTreeMap::from([("17".into(), 0.25)]),
        }],
    });
    let text = rig.to_text("").unwrap();
    assert!(text.starts_with("# A Sandrack rig"), "{text}");
    assert_eq!(parse(&text).unwrap(), rig, "{text}");
    assert_eq!(rig.to_text(&text).unwrap(), text);
}

#[test]
fn errors_name_line_and_key_and_the_nearest_word() {
    let with = |from: &str, to: &str| {
        assert!(TEXT.contains(from));
        TEXT.replace(from, to)
    };
    refused(&with("gain_db = -3", "gian_db = -3"), &["a.toml:12:", "'gian_db'", "'gain_db'"]);
    refused(&with("kind = \"bus\"", "kind = \"buss\""), &["a.toml:26:", "kind", "'bus'"]);
    refused(&with("output = \"main\"", "output = \"mian\""), &["a.toml:14:", "output", "'main'"]);
    refused(&with("gain_db = -3", "gain_db = \"-3\""), &["a.toml:12:", "gain_db"]);
    refused(&with("gain_db = -3", "gain_db = 100"), &["a.toml:12:", "gain_db = 100", "24"]);
    refused(&with("frames = 64", "frames = 9000"), &["a.toml:7:", "frames", "8192"]);
    refused(&with("frames = 64", "frames = "), &["a.toml:7:"]);
    refused(&with("output = \"main\"", "output = [1, 3]"), &["a.toml:14:", "output", "[3, 4]"]);
    refused(&with("output = \"main\"", "output = true"), &["a.toml:14:", "output", "bus"]);
    refused(&with("id = \"main\"", "id = \"piano\""), &["id", "'piano'", "twice"]);
    refused(&with("sandrack_rig = 1", "sandrack_rig = 2"), &["a.toml:2:", "newer"]);
    refused("name = \"x\"", &["a.toml:1:", "sandrack_rig"]);
    refused(&with("id = \"synth\"", "ide = \"synth\""), &["'ide'", "'id'"]);
    let feeds_itself = with("kind = \"bus\"", "kind = \"bus\"\noutput = \"main\"");
    refused(&feeds_itself, &["a.toml:27:", "'main'", "itself"]);
}

#[test]
fn midi_outputs_are_read_written_and_checked() {
    let with = |track: &str, transport: &str| {
        let text = TEXT.replace("mute = false # not now", track);
        text.replace("# The piano.", &format!("[transport]\n{transport}\n# The piano."))
    };
    let outputs = "midi_out = [{ port = \"Big Module\", channel = 5 }, { port = \"b\" }] # out";
    let text = with(outputs, "clock_out = [\"drum\"] # beat");
    let mut rig = parse(&text).unwrap();
    assert_eq!(
        rig.tracks[0].midi_out[0],
        MidiOutput { port: "Big Module".into(), channel: Some(5) }
    );
    assert_eq!(rig.transport.clock_out, ["drum"]);
    assert_eq!(rig.to_text(&text).unwrap(), text);
    rig.tracks[0].plugins[0].midi_out = vec![MidiOutput { port: "c".into(), channel: None }];
    let written = rig.to_text(&text).unwrap();
    assert!(written.contains("port = \"c\"\n"), "{written}");
    assert!(written.contains("# out") && written.contains("# beat"), "{written}");
    assert_eq!(parse(&written).unwrap(), rig);
    assert_eq!(parse(&rig.to_text("").unwrap()).unwrap(), rig);
    let wrong = |outputs: &str| with(&format!("midi_out = [{outputs}]"), "");
    refused(&wrong("{ port = \"a\", channel = 17 }"), &["a.toml:15:", "channel = 17", "16"]);
    refused(&wrong("{ prot = \"a\" }"), &["a.toml:15:", "'prot'", "'port'"]);
    refused(&wrong("{ channel = 1 }"), &["a.toml:15:", "'port'", "missing"]);
    refused(&wrong("{ port = \" \" }"), &["a.toml:15:", "port", "name a MIDI port"]);
    refused(&wrong("{ port = \"a\" }, { port = \"a\" }"), &["a.toml:15:", "'a'", "twice"]);
    refused(&with("", "clock_out = [\"\"]"), &["a.toml:10:", "clock_out", "name a MIDI port"]);
}

#[test]
fn states_are_kept_once_and_damage_is_seen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.states");
    assert!(States::read(&path).unwrap().keys().is_empty());
    let mut states = States::default();
    let key = states.add(Arc::new(vec![7; 100_000]));
    assert_eq!(states.add(Arc::new(vec![7; 100_000])), key);
    let other = states.add(Arc::new(Vec::new()));
    let file = states.pack().unwrap();
    assert!(file.len() < 2000, "{}", file.len());
    std::fs::write(&path, &file).unwrap();
    let read = States::read(&path).unwrap();
    assert_eq!(read.get(&key).unwrap().len(), 100_000);
    assert_eq!(read.get(&other).unwrap().len(), 0);
    for cut in [10, 20, 40, 60, file.len() - 1] {
        std::fs::write(&path, &file[..cut]).unwrap();
        States::read(&path).expect_err("it is cut off");
    }
    let mut wrong = file.clone();
    wrong[60] ^= 1;
    std::fs::write(&path, &wrong).unwrap();
    States::read(&path).expect_err("it is damaged");
}

#[test]
fn a_saved_rig_can_be_opened_and_others_changes_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("live.toml");
    std::fs::write(&path, TEXT).unwrap();
    let (mut file, mut rig, mut states) = RigFile::open(&path).unwrap();
    assert_eq!(file.save(&rig, &mut states).unwrap(), None);
    assert_eq!(std::fs::read_to_string(&path).unwrap(), TEXT);
    let key = states.add(Arc::new(vec![1, 2, 3]));
    rig.tracks[0].plugins[0].state = Some(key);
    assert_eq!(file.save(&rig, &mut states).unwrap(), None);
    let (_, again, read) = RigFile::open(&path).unwrap();
    assert_eq!(again, rig);
    assert_eq!(*read.get(&key).unwrap(), vec![1, 2, 3]);
    std::fs::write(&path, "# mine").unwrap();
    rig.name = "Other".into();
    let beside = file.save(&rig, &mut states).unwrap().expect("it was changed");
    assert_eq!(std::fs::read_to_string(beside).unwrap(), "# mine");
    assert_eq!(Rig::read(&path).unwrap(), rig);
}

/// A track and a plugin, and what is written behind them.
fn with(rest: &str) -> String {
    format!(
        "sandrack_rig = 1\n[[track]]\nid = \"piano\"\n[[track.plugin]]\nid = \"reverb\"\nplugin = \
         \"a\"\n{rest}"
    )
}

#[test]
fn pedals_do_what_the_rig_says_and_what_makes_no_sense_is_named() {
    let text = with(
        "[[mapping]]\ncontroller = 80\ncommand = \"bypass\"\nplugin = \"reverb\"\n\n# Left.\n\
         [[mapping]]\nkey = 24\ncommand = \"mute\"\ntrack = \"piano\"\nmode = \"direct\"\n\n\
         [[mapping]]\nprogram = 128\nchannel = 16\nport = \"foot\"\ncommand = \"next-snapshot\"\n",
    );
    let rig = parse(&text).unwrap();
    assert_eq!(rig.to_text(&text).unwrap(), text);
    assert_eq!(rig.mappings[1].command, Some(Action::Mute));
    for action in Action::ALL {
        let word = toml_edit::ser::to_string(&BTreeMap::from([("a", action)])).unwrap();
        assert_eq!(word, format!("a = \"{action}\"\n"));
    }
    let mapping = |keys: &str| with(&format!("[[mapping]]\n{keys}\n"));
    let refuses = |keys: &str, parts: &[&str]| refused(&mapping(keys), parts);
    refuses("key = 1\ncommand = \"byepass\"", &[":9: ", "command", "did you mean 'bypass'?"]);
    refuses("key = 1\ncomand = \"bypass\"", &[":9: ", "comand", "did you mean 'command'?"]);
    refuses("key = 1\ncommand = \"mute\"", &[":9: ", "'mute' needs 'track'"]);
    refuses("key = 1\ncommand = \"bypass\"", &[":9: ", "'bypass' needs 'plugin' or 'track'"]);
    refuses(
        "key = 1\ncommand = \"mute\"\nplugin = \"reverb\"",
        &[":10: ", "plugin: the command 'mute' has none, only 'track'"],
    );
    refuses(
        "key = 1\ncommand = \"panic\"\ntrack = \"piano\"",
        &[":10: ", "track: the command 'panic' has none"],
    );
    refuses("key = 1\ncommand = \"panic\"\nmode = \"toggle\"", &[":10: ", "mode: the command"]);
    refuses(
        "key = 1\ncommand = \"bypass\"\nplugin = \"revreb\"",
        &[":10: ", "no plugin 'revreb'; did you mean 'reverb'?"],
    );
    refuses("command = \"panic\"", &[":7: ", "'controller', 'key' or 'program'"]);
    refuses("key = 1\nprogram = 1\ncommand = \"panic\"", &["'controller', 'key' or 'program'"]);
    refuses("program = 0\ncommand = \"panic\"", &[":8: ", "program = 0: must be 1 to 128"]);
    refuses("key = 1", &["'command'"]);
}

#[test]
fn what_ports_are_connected_to_is_written_and_wrong_names_are_named() {
    let text = with("\n[connections]\n# Nothing.\nin_1 = []\nout_12 = [\"a:b:c\"]\n");
    let rig = parse(&text).unwrap();
    assert_eq!(rig.to_text(&text).unwrap(), text);
    let mut changed = rig.clone();
    changed.connections.insert("out_1".into(), vec!["ear:in".into()]);
    changed.connections.remove("out_12");
    // The port of a word that the rig does not name, and what JACK would never say.
    let mut told = changed.connections.clone();
    told.insert("nanoKEY".into(), vec!["a:b".into()]);
    told.insert("midi_in_1".into(), vec!["nobody".into(), "a:b".into()]);
    changed.connections.insert("midi_in_1".into(), vec!["a:b".into()]);
    let mut set = rig.clone();
    set.set_connections(told);
    assert_eq!(set, changed);
    let written = changed.to_text(&text).unwrap();
    let wanted = "# Nothing.\nin_1 = []\nmidi_in_1 = [\"a:b\"]\nout_1 = [\"ear:in\"]\n";
    assert!(written.contains(wanted), "{written}");
    let fresh = changed.to_text("").unwrap();
    assert!(fresh.contains("[connections]\nin_1 = []\n"), "{fresh}");
    let connections = |line: &str| with(&format!("[connections]\n{line}\n"));
    refused(&connections("ot_1 = []"), &[":8: ", "no port 'ot_1'; did you mean 'out_1'?"]);
    refused(&connections("out_0 = []"), &[":8: ", "no port 'out_0'"]);
    refused(&connections("\"foot\" = []"), &[":8: ", "no port 'foot'"]);
    refused(&connections("out_1 = [\"system\"]"), &[":8: ", "out_1: 'system'", "jack_lsp"]);
    refused(&connections("out_1 = [\"a:b\", \"a:b\"]"), &[":8: ", "'a:b' is there twice"]);
    let clock = "[connections]\nFoot_in = [\"a:b\"]\n[transport]\nclock = \"foot\"\n";
    let mut rig = parse(&with(clock)).unwrap();
    rig.transport.clock = None;
    rig.forget_missing();
    assert!(rig.connections.is_empty(), "nobody names the port any more");
}
