//! A rig that plays through an ASIO driver, as `sandrack play` and the window do: its control panel,
//! what it asks for while it plays, and what becomes of the rig while it is gone.
#![cfg(windows)]

mod common;

use common::asio::{NAME, VirtualAsio};
use common::players::{options, rig, runs, track, until, value};
use common::{LONG, becomes_true};
use sandrack_host::play::{Command, Pace, PlayOptions, Player, Source, View};
use sandrack_plugins_test::param_id;
use std::time::{Duration, Instant};

/// A synthesizer and a gain of 0.5 that play through the driver.
fn player(frames: u32) -> Player {
    let rig = rig(vec![track("keys", &[("synth", "synth"), ("level", "gain")])]);
    let options =
        PlayOptions { driver: Some(NAME.into()), frames: Some(frames), ..options(Pace::OnTime) };
    let player = Player::open(Source::Rig(rig), options).expect("it plays");
    until(&player, "running", |view| runs(view, "synth") && view.engine.blocks > 10);
    player.send(Command::SetParam("level".into(), param_id("gain"), 0.5));
    until(&player, "set", has_gain);
    player
}

fn has_gain(view: &View) -> bool {
    runs(view, "level") && value(view, "level", param_id("gain")) == 0.5
}

fn told(view: &View, words: &str) -> usize {
    view.messages.iter().filter(|message| message.text.contains(words)).count()
}

/// Until it plays this many blocks more.
#[track_caller]
fn goes_on(player: &Player, blocks: u64) {
    let before = player.view().engine.blocks;
    // An engine that was made anew counts from 0.
    until(player, "going on", |view| {
        let done = view.engine.blocks;
        view.driver.is_running && (done > before + blocks || (done < before && done > blocks))
    });
}

#[test]
fn the_control_panel_opens_and_what_is_set_there_is_played() {
    let virtual_asio = VirtualAsio::set("panel=reset-size:512 panel-ms=100");
    let player = player(1024);
    let view = player.view();
    let details = view.driver.details.as_ref().expect("it says what it offers");
    assert!(details.control_panel && details.frames.as_ref().unwrap().allows(512), "{details:?}");
    player.send(Command::DriverPanel);
    let view = until(&player, "at 512 frames", |view| {
        view.driver.frames == 512 && view.driver.is_running && has_gain(view)
    });
    assert_eq!(told(&view, "started anew"), 1, "{:?}", view.messages);
    goes_on(&player, 20);
    player.close().expect("it ends");
    virtual_asio.was_treated_well();
    // Where it can't be opened as it is set, its panel can.
    virtual_asio.change("bad=start panel=resync panel-ms=300");
    let options = PlayOptions { driver: Some(NAME.into()), ..options(Pace::OnTime) };
    let player = Player::open(Source::Rig(rig(vec![])), options).expect("it waits");
    until(&player, "refused", |view| view.driver.error.contains("does not start"));
    player.send(Command::DriverPanel);
    std::thread::sleep(Duration::from_secs(1));
    player.close().expect("it ends");
    virtual_asio.was_treated_well();
}

#[test]
fn a_driver_that_asks_for_a_reset_at_every_start_plays_in_between() {
    let virtual_asio = VirtualAsio::set("bad=reset-always");
    let player = player(1024);
    until(&player, "started anew", |view| told(view, "started anew") >= 2);
    let before = told(&player.view(), "started anew");
    std::thread::sleep(Duration::from_secs(5));
    let view = player.view();
    let resets = told(&view, "started anew") - before;
    // Looked at forty times a second, it would be two hundred.
    assert!(resets < 20, "{resets} in five seconds");
    until(&player, "playing in between", |view| {
        view.driver.is_running && view.engine.blocks > 10 && has_gain(view)
    });
    player.close().expect("it ends");
    virtual_asio.was_treated_well();
}

#[test]
fn a_driver_that_is_gone_is_opened_again_and_holds_nobody_up() {
    // Each opening takes as long as some need to find that their device is not there.
    let opening = Duration::from_secs(4);
    let ms = opening.as_millis();
    let virtual_asio = VirtualAsio::set(&format!("at=100:vanish:5000 init-ms={ms}"));
    let player = player(1024);
    until(&player, "gone", |view| view.driver.error.contains("has not called back"));
    let (mut last, mut longest) = (Instant::now(), Duration::ZERO);
    let mut number = player.view().number;
    let is_back = becomes_true(LONG, || {
        let view = player.view();
        if view.number != number {
            longest = longest.max(last.elapsed());
            (last, number) = (Instant::now(), view.number);
        }
        told(&view, "the driver is back") == 1 && view.driver.is_running && has_gain(&view)
    });
    assert!(is_back, "{:?}", player.view().messages);
    // Pictures went on all the time.
    assert!(longest < opening / 2, "nothing was shown for {longest:?}");
    goes_on(&player, 20);
    player.close().expect("it ends");
    virtual_asio.was_treated_well();
}

#[test]
fn another_size_and_rate_of_the_driver_are_followed() {
    let settings = "sizes=64:2048:1024:-1 rates=24000,48000 at=60:size:512,160:rate:24000";
    let virtual_asio = VirtualAsio::set(settings);
    let player = player(1024);
    until(&player, "at 24000 Hz", |view| {
        let driver = &view.driver;
        (driver.rate, driver.frames) == (24_000, 512) && driver.is_running && has_gain(view)
    });
    goes_on(&player, 20);
    player.close().expect("it ends");
    virtual_asio.was_treated_well();
}
