//! The program `sandrack-ui` as it is started, with its window on a display (Xvfb): seen as a picture,
//! used by its keys.
#![cfg(unix)]

#[path = "../../host/tests/common/display.rs"]
#[allow(dead_code, unreachable_pub, reason = "the host's tests use the rest")]
mod display;

use display::Display;
use sandrack_host::catalog::cache::Stamp;
use sandrack_host::rig::Rig;
use sandrack_host::rig::demo::demo;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use x11rb::protocol::xproto::{KeyButMask, Window};

/// The key with which an entry is done, as X names it.
const ENTER: u32 = 0xff0d;
const CONTROL: KeyButMask = KeyButMask::CONTROL;

/// Longer than anything here takes, on the slowest of machines.
const LONG: Duration = Duration::from_secs(60);

fn becomes_true(within: Duration, mut so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The program. Killed when dropped.
struct Program {
    process: Child,
    window: Window,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Program {
    fn start(display: &Display, home: &Path, arguments: &[&str], title: &str) -> Self {
        let process = Command::new(env!("CARGO_BIN_EXE_sandrack-ui"))
            .args(["--frames", "1024"])
            .args(arguments)
            .current_dir(home)
            .env("DISPLAY", &display.name)
            .env_remove("WAYLAND_DISPLAY")
            .env_remove("WAYLAND_SOCKET")
            .env("HOME", home)
            .env("XDG_DATA_HOME", home.join("data"))
            .env("SANDRACK_CACHE", home)
            .spawn()
            .expect("it starts");
        // Before a window is looked for, so that it ends with the test.
        let mut program = Self { process, window: 0 };
        program.window = display.window(title);
        display.focus(program.window);
        program
    }

    /// The processes that its plugins run in.
    fn workers(&self) -> Vec<u32> {
        let tasks = format!("/proc/{}/task", self.process.id());
        let tasks = std::fs::read_dir(tasks).into_iter().flatten().flatten();
        let children = tasks.map(|task| std::fs::read_to_string(task.path().join("children")));
        let all: String = children.flatten().collect();
        let ids = all.split_whitespace().filter_map(|id| id.parse().ok());
        // One that has ended and was not reaped yet is none any more.
        let runs = |id: &u32| std::fs::read_link(format!("/proc/{id}/exe")).is_ok();
        let mut ids: Vec<u32> = ids.filter(runs).collect();
        ids.sort_unstable();
        ids
    }

    #[track_caller]
    fn until_workers(&self, what: &str, so: impl Fn(&[u32]) -> bool) -> Vec<u32> {
        assert!(becomes_true(LONG, || so(&self.workers())), "not {what}: {:?}", self.workers());
        self.workers()
    }

    fn close(mut self, display: &Display) {
        display.close(self.window);
        let mut ended = None;
        let so = becomes_true(LONG, || {
            ended = self.process.try_wait().expect("it can be waited for");
            ended.is_some()
        });
        assert!(so, "it does not end when its window is closed");
        assert!(ended.is_some_and(|status| status.success()), "{ended:?}");
    }
}

/// Keeps what is seen, for people to look at: `target/tmp/window-NAME.png`.
fn keep(display: &Display, window: Window, name: &str) -> Vec<u32> {
    let (width, height) = display.size(window);
    let pixels = display.pixels(window);
    let bytes = pixels.iter().flat_map(|p| [(p >> 16) as u8, (p >> 8) as u8, *p as u8]).collect();
    let picture = image::RgbImage::from_raw(width.into(), height.into(), bytes).expect("it fits");
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("window-{name}.png"));
    picture.save(&path).expect("it is written");
    pixels
}

/// Waits until there is something to be seen.
#[track_caller]
fn until_drawn(display: &Display, window: Window) {
    let is_drawn = || display.pixels(window).into_iter().collect::<BTreeSet<u32>>().len() > 20;
    assert!(becomes_true(LONG, is_drawn), "the window stays blank");
}

/// How much of what is seen is as bright and green as a meter that moves.
fn green(pixels: &[u32]) -> usize {
    let is_green = |p: &&u32| {
        let [_, red, green, blue] = p.to_be_bytes().map(u32::from);
        green > 120 && green > red + 40 && green > blue + 20
    };
    pixels.iter().filter(is_green).count()
}

/// Starts the demo, adds a plugin, plays, kills a worker, sees it come back, saves, opens again.
#[test]
fn an_evening_at_the_window() {
    let Some(display) = Display::start() else { return };
    let home = tempfile::tempdir().expect("a folder");
    let home = home.path();
    let gain = demo().expect("the test plugins are there").tracks[0].plugins[1].clone();
    let stamp = Stamp::of(&gain.path).expect("it is there");
    let list = serde_json::json!({"version": 1, "files": {gain.path.to_str().expect("letters"): {
        "size": stamp.size,
        "modified": stamp.modified,
        "format": "clap",
        "by": "this test",
        "plugins": [{
            "id": gain.plugin,
            "name": "Sandrack Test Gain",
            "vendor": "Sandrack",
            "version": "1",
            "description": "",
            "features": ["audio-effect"],
        }],
    }}});
    std::fs::write(home.join("plugins.json"), list.to_string()).expect("it is written");

    let program = Program::start(&display, home, &[], "Sandrack");
    program.until_workers("three plugins", |all| all.len() == 3);
    until_drawn(&display, program.window);
    let seen = || display.pixels(program.window);

    display.press_key(program.window, 'p'.into(), CONTROL);
    std::thread::sleep(Duration::from_millis(500));
    display.type_text(program.window, "gain");
    std::thread::sleep(Duration::from_millis(500));
    keep(&display, program.window, "browser");
    display.press_key(program.window, ENTER, KeyButMask::default());
    let four = program.until_workers("four plugins", |all| all.len() == 4);

    std::thread::sleep(Duration::from_secs(1));
    let quiet = green(&keep(&display, program.window, "quiet"));
    display.key(program.window, 'd'.into(), KeyButMask::default(), true);
    let is_heard = || green(&seen()) > quiet + 100;
    assert!(becomes_true(LONG, is_heard), "no meter moves: {quiet}, then {}", green(&seen()));
    keep(&display, program.window, "playing");

    // The instrument's process: the first that was started.
    let killed = four[0];
    let done = Command::new("kill").args(["-9", &killed.to_string()]).status();
    assert!(done.is_ok_and(|status| status.success()));
    program.until_workers("all back", |all| all.len() == 4 && !all.contains(&killed));
    display.key(program.window, 'd'.into(), KeyButMask::default(), false);
    assert!(becomes_true(LONG, || green(&seen()) < quiet + 50), "the note does not end");
    display.key(program.window, 'g'.into(), KeyButMask::default(), true);
    assert!(becomes_true(LONG, is_heard), "it is not heard again");
    keep(&display, program.window, "back");
    display.key(program.window, 'g'.into(), KeyButMask::default(), false);

    display.press_key(program.window, 's'.into(), CONTROL);
    std::thread::sleep(Duration::from_millis(500));
    display.press_key(program.window, 'a'.into(), CONTROL);
    display.type_text(program.window, "tour.toml");
    std::thread::sleep(Duration::from_millis(300));
    keep(&display, program.window, "save");
    display.press_key(program.window, ENTER, KeyButMask::default());
    let file = home.join("tour.toml");
    assert!(becomes_true(LONG, || file.exists()), "it is not saved");
    program.close(&display);
    let rig = Rig::read(&file).expect("what was saved is a rig");
    let plugins: usize = rig.tracks.iter().map(|track| track.plugins.len()).sum();
    assert_eq!(plugins, 4);

    let program = Program::start(&display, home, &["tour.toml"], "Sandrack");
    program.until_workers("the saved rig", |all| all.len() == 4);
    until_drawn(&display, program.window);
    keep(&display, program.window, "again");
    program.close(&display);
}
