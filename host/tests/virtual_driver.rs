//! The virtual driver from outside. These machines lose the processor to others now and then, so
//! nothing here demands that there be no xruns, only that each is accounted for.

use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use sandrack_host::drivers::virtual_driver::VirtualDriver;
use sandrack_host::drivers::{Callback, CallbackIo, CallbackTime, Driver, DriverConfig, clock};
use sandrack_host::wav::{self, SampleFormat, WavWriter};

#[global_allocator]
static GUARD: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

struct Each<F>(F);

impl<F: FnMut(&CallbackTime, &mut CallbackIo<'_>) + Send> Callback for Each<F> {
    fn process(&mut self, time: &CallbackTime, io: &mut CallbackIo<'_>) {
        self.0(time, io);
    }
}

fn each(f: impl FnMut(&CallbackTime, &mut CallbackIo<'_>) + Send + 'static) -> Box<dyn Callback> {
    Box::new(Each(f))
}

/// Notes the time of each callback, up to a number that fits without allocating.
fn noting(
    mut also: impl FnMut(u64) + Send + 'static,
) -> (Box<dyn Callback>, Arc<Mutex<Vec<CallbackTime>>>) {
    let notes = Arc::new(Mutex::new(Vec::with_capacity(100_000)));
    let to = notes.clone();
    let callback = each(move |time, _| {
        let mut to = to.lock().unwrap();
        to.push(*time);
        also(to.len() as u64 - 1);
    });
    (callback, notes)
}

fn copying() -> Box<dyn Callback> {
    each(|_, io| {
        for (out, from) in io.outputs.iter_mut().zip(io.inputs) {
            out.copy_from_slice(from);
        }
    })
}

fn config(rate: u32, frames: u32, inputs: u32, outputs: u32) -> DriverConfig {
    DriverConfig { rate, frames, inputs, outputs }
}

fn driver(rate: u32, frames: u32, inputs: u32, outputs: u32) -> VirtualDriver {
    VirtualDriver::new(config(rate, frames, inputs, outputs)).unwrap()
}

/// Every callback lies on the grid of periods, and each period without one is counted.
fn check_grid(notes: &[CallbackTime], rate: u32, frames: u32) {
    let period =
        |n: u64| (u128::from(n) * u128::from(frames) * 1_000_000_000 / u128::from(rate)) as u64;
    let first = notes[0].sample_position / u64::from(frames);
    let start = notes[0].due_ns - period(first);
    for (count, time) in notes.iter().enumerate() {
        assert_eq!(time.sample_position % u64::from(frames), 0);
        let n = time.sample_position / u64::from(frames);
        assert_eq!(time.due_ns, start + period(n), "callback {count}");
        assert_eq!(time.next_due_ns, start + period(n + 1), "callback {count}");
        assert_eq!(time.xruns, n - count as u64, "callback {count}");
    }
}

fn sine(path: &Path, rate: u32, channels: u32, frames: usize) -> Vec<Vec<f32>> {
    let planar: Vec<Vec<f32>> = (0..channels)
        .map(|c| (0..frames).map(|i| ((i + 1) as f32 * 0.01 * (c + 1) as f32).sin()).collect())
        .collect();
    let mut writer = WavWriter::create(path, channels, rate, SampleFormat::Float32).unwrap();
    writer.write(&planar.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    writer.finish().unwrap();
    planar
}

#[test]
fn callbacks_lie_on_an_exact_grid() {
    for (rate, frames, periods) in
        [(48_000, 64, 300), (44_100, 22, 300), (96_000, 441, 50), (8_000, 16, 100)]
    {
        let (callback, notes) = noting(|_| {});
        let mut driver = driver(rate, frames, 1, 2).with_limit(periods);
        let before = clock::now_ns();
        driver.start(callback).unwrap();
        driver.finish().unwrap();
        let took = clock::now_ns() - before;
        let notes = notes.lock().unwrap();
        check_grid(&notes, rate, frames);
        // Calls and misses make up the periods; misses may run over the end by the last one.
        assert!(notes.len() as u64 + driver.xruns() >= periods);
        assert!(took >= (periods - 1) * u64::from(frames) * 1_000_000_000 / u64::from(rate));
        assert_eq!(driver.blocks(), notes.len() as u64);
    }
}

#[test]
fn a_callback_that_returns_too_late_costs_exactly_the_periods_it_overran() {
    let (callback, notes) = noting(|n| {
        if n == 5 {
            std::thread::sleep(Duration::from_millis(55));
        }
    });
    // 10 ms each.
    let mut driver = driver(48_000, 480, 0, 2).with_limit(20);
    driver.start(callback).unwrap();
    driver.finish().unwrap();
    let notes = notes.lock().unwrap();
    check_grid(&notes, 48_000, 480);
    // It began in its own period and took five and a half: five more had begun when it returned.
    let skipped = (notes[6].sample_position - notes[5].sample_position) / 480 - 1;
    assert!((5..=20).contains(&skipped), "{skipped} periods skipped");
    assert!(driver.xruns() >= 5);
}

#[test]
fn a_callback_just_in_time_is_no_xrun_and_one_just_late_is_one() {
    // 100 ms each, so that this machine's own lateness hardly matters.
    let (callback, notes) = noting(|n| {
        let ms = [60, 140, 0][n as usize % 3];
        std::thread::sleep(Duration::from_millis(ms));
    });
    let mut driver = driver(8_000, 800, 0, 0).with_limit(4);
    driver.start(callback).unwrap();
    driver.finish().unwrap();
    let positions: Vec<u64> =
        notes.lock().unwrap().iter().map(|t| t.sample_position / 800).collect();
    assert_eq!(positions, [0, 1, 3]);
    assert_eq!(driver.xruns(), 1);
}

#[test]
fn the_halves_of_the_double_buffer_take_turns_and_outputs_start_silent() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let to = seen.clone();
    let callback = each(move |_, io| {
        assert!(io.outputs.iter().all(|channel| channel.iter().all(|&x| x == 0.0)));
        io.outputs[0].fill(1.0);
        to.lock().unwrap().push((io.inputs[0].as_ptr() as usize, io.outputs[0].as_ptr() as usize));
    });
    let mut driver = driver(48_000, 64, 1, 1).by_hand();
    driver.start(callback).unwrap();
    assert_eq!(driver.run_blocks(6).unwrap(), 6);
    driver.stop().unwrap();
    let seen = seen.lock().unwrap();
    assert_ne!(seen[0], seen[1]);
    assert!((2..6).all(|n| seen[n] == seen[n - 2]));
}

#[test]
fn blocks_neither_allocate_nor_have_a_deadline_when_run_by_hand() {
    for channels in [0, 1, 2, 3, 16, 17, 64, 65, 512] {
        let mut position = 0;
        let callback = each(move |time, io| {
            assert_eq!(
                (time.sample_position, time.next_due_ns, time.xruns),
                (position, u64::MAX, 0)
            );
            assert_eq!((io.inputs.len(), io.outputs.len()), (channels as usize, channels as usize));
            position += 16;
        });
        let mut driver = driver(48_000, 16, channels, channels).by_hand().with_limit(150);
        driver.start(callback).unwrap();
        let done = assert_no_alloc::assert_no_alloc(|| driver.run_blocks(100));
        assert_eq!(done.unwrap(), 100);
        assert!(driver.running());
        assert_eq!(driver.run_blocks(100).unwrap(), 50);
        assert!(!driver.running());
        driver.stop().unwrap();
    }
}

#[test]
fn playing_and_recording_do_not_allocate_on_the_callback_thread() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("in.wav"), dir.path().join("out.wav"));
    sine(&from, 48_000, 2, 10_000);
    let mut driver = driver(48_000, 64, 2, 2)
        .by_hand()
        .with_input(&from)
        .unwrap()
        .with_recording(&to, SampleFormat::Float32);
    driver.start(copying()).unwrap();
    assert_no_alloc::assert_no_alloc(|| driver.run_blocks(200)).unwrap();
    driver.stop().unwrap();
}

#[test]
fn what_is_played_is_recorded_bit_for_bit_when_nothing_is_missed() {
    let dir = tempfile::tempdir().unwrap();
    let from = dir.path().join("in.wav");
    // Longer than the rings, and no whole number of blocks.
    let length = 100_003;
    let planar = sine(&from, 44_100, 3, length);
    for (name, by_hand) in [("hand.wav", true), ("free.wav", false)] {
        let to = dir.path().join(name);
        // More inputs than the file has channels: the rest is silent.
        let mut driver = driver(44_100, 441, 5, 5).with_limit(230);
        driver = if by_hand { driver.by_hand() } else { driver.free_running() };
        driver = driver.with_input(&from).unwrap().with_recording(&to, SampleFormat::Float32);
        driver.start(copying()).unwrap();
        driver.finish().unwrap();
        assert_eq!(driver.lost_frames(), (0, 0));
        assert_eq!(driver.recorded().unwrap().frames, 230 * 441);
        let recorded = wav::read(&to).unwrap();
        assert_eq!((recorded.rate, recorded.channels.len()), (44_100, 5));
        for (channel, samples) in recorded.channels.iter().enumerate() {
            let expected: &[f32] = planar.get(channel).map_or(&[], Vec::as_slice);
            assert_eq!(&samples[..expected.len()], expected);
            assert!(samples[expected.len()..].iter().all(|&x| x == 0.0));
        }
    }
}

#[test]
fn missed_periods_are_skipped_in_the_input_and_silent_in_the_recording() {
    let dir = tempfile::tempdir().unwrap();
    let (from, to) = (dir.path().join("in.wav"), dir.path().join("out.wav"));
    let planar = sine(&from, 48_000, 1, 96_000);
    let mut driver = driver(48_000, 480, 1, 1)
        .with_limit(40)
        .with_input(&from)
        .unwrap()
        .with_recording(&to, SampleFormat::Float32);
    let mut count = 0;
    let callback = each(move |_, io| {
        io.outputs[0].copy_from_slice(io.inputs[0]);
        count += 1;
        if count == 10 {
            std::thread::sleep(Duration::from_millis(75));
        }
    });
    driver.start(callback).unwrap();
    driver.finish().unwrap();
    assert!(driver.xruns() >= 7);
    let recorded = wav::read(&to).unwrap();
    let mut silent = 0;
    for (block, played) in recorded.channels[0].chunks(480).zip(planar[0].chunks(480)) {
        let missed = block.iter().all(|&x| x == 0.0);
        assert!(missed || block == played);
        silent += u64::from(missed);
    }
    assert!(silent >= 7 && silent <= driver.xruns() + driver.lost_frames().0.div_ceil(480));
}

#[test]
fn stopping_is_prompt_and_gives_the_callback_back() {
    struct Counted(Arc<AtomicU64>);
    impl Callback for Counted {
        fn process(&mut self, _: &CallbackTime, _: &mut CallbackIo<'_>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
    let count = Arc::new(AtomicU64::new(0));
    for pace in 0..3 {
        // 128 ms each.
        let mut driver = driver(8_000, 1024, 2, 2);
        driver = match pace {
            0 => driver,
            1 => driver.free_running(),
            _ => driver.by_hand(),
        };
        let mut callback: Box<dyn Callback> = Box::new(Counted(count.clone()));
        for _ in 0..2 {
            driver.start(callback).unwrap();
            assert!(driver.running());
            if pace == 2 {
                driver.run_blocks(3).unwrap();
            }
            std::thread::sleep(Duration::from_millis(10));
            let before = Instant::now();
            callback = driver.stop().unwrap();
            assert!(before.elapsed() < Duration::from_millis(128 + 100));
            assert!(!driver.running());
            let now = count.load(Ordering::Relaxed);
            std::thread::sleep(Duration::from_millis(10));
            assert_eq!(count.load(Ordering::Relaxed), now, "called back after stop");
        }
        drop(callback);
        assert_eq!(Arc::strong_count(&count), 1);
    }
}

#[test]
fn dropping_a_running_driver_ends_the_callbacks() {
    let (callback, notes) = noting(|_| {});
    let mut driver = driver(48_000, 64, 0, 1);
    driver.start(callback).unwrap();
    drop(driver);
    assert_eq!(Arc::strong_count(&notes), 1);
}

#[test]
fn a_callback_that_panics_stops_the_driver_with_an_error() {
    for pace in 0..3 {
        let (callback, notes) = noting(|n| assert!(n < 3, "the fourth is one too many"));
        let mut driver = driver(48_000, 64, 2, 2);
        driver = match pace {
            0 => driver,
            1 => driver.free_running(),
            _ => driver.by_hand(),
        };
        driver.start(callback).unwrap();
        if pace == 2 {
            assert!(driver.run_blocks(10).unwrap_err().to_string().contains("one too many"));
            assert!(driver.run_blocks(10).is_err());
        }
        let patience = Instant::now();
        while driver.running() {
            assert!(patience.elapsed() < Duration::from_secs(10));
            std::thread::sleep(Duration::from_millis(1));
        }
        let text = driver.stop().err().unwrap().to_string();
        assert!(text.contains("virtual") && text.contains("one too many"), "{text}");
        assert!(driver.take_callback().is_some());
        assert_eq!(notes.lock().unwrap_or_else(|e| e.into_inner()).len(), 4);
        // It can be used again.
        driver.start(copying()).unwrap();
        driver.stop().unwrap();
    }
}

#[test]
fn the_thread_setup_runs_on_the_drivers_thread_at_each_start() {
    let (send, receive) = std::sync::mpsc::channel();
    let mut driver = driver(48_000, 64, 0, 0)
        .with_limit(2)
        .with_spin(Duration::from_micros(50))
        .with_thread_setup(move || {
            // Longer than a period: it must not count as an xrun.
            std::thread::sleep(Duration::from_millis(30));
            send.send(std::thread::current().name().map(str::to_owned)).unwrap();
        });
    for _ in 0..2 {
        let (callback, notes) = noting(|_| {});
        driver.start(callback).unwrap();
        driver.finish().unwrap();
        assert_eq!(receive.recv().unwrap().as_deref(), Some("virtual driver"));
        if let Some(first) = notes.lock().unwrap().first() {
            assert!(first.xruns < 20, "the setup counts as {} xruns", first.xruns);
        }
    }
}

#[test]
fn extreme_shapes_work() {
    for (rate, frames, inputs, outputs) in
        [(768_000, 16, 2, 2), (8_000, 8192, 1, 0), (768_000, 8192, 512, 512), (48_000, 16, 0, 512)]
    {
        let (callback, notes) = noting(|_| {});
        let mut driver = driver(rate, frames, inputs, outputs).with_limit(2);
        assert_eq!(driver.config(), &config(rate, frames, inputs, outputs));
        driver.start(callback).unwrap();
        driver.finish().unwrap();
        let notes = notes.lock().unwrap();
        if !notes.is_empty() {
            check_grid(&notes, rate, frames);
        }
    }
}

#[test]
fn what_is_out_of_range_or_out_of_order_is_refused_with_a_reason() {
    for (bad, says) in [
        (config(7_999, 64, 2, 2), "8000 to 768000"),
        (config(768_001, 64, 2, 2), "8000 to 768000"),
        (config(0, 64, 2, 2), "8000 to 768000"),
        (config(48_000, 15, 2, 2), "16 to 8192"),
        (config(48_000, 8193, 2, 2), "16 to 8192"),
        (config(48_000, 64, 513, 2), "0 to 512"),
        (config(48_000, 64, 2, u32::MAX), "0 to 512"),
    ] {
        let text = VirtualDriver::new(bad).err().unwrap().to_string();
        assert!(text.starts_with("driver virtual: ") && text.contains(says), "{text}");
    }
    let mut driver = driver(48_000, 64, 2, 2);
    assert!(driver.stop().is_err());
    driver.start(copying()).unwrap();
    assert!(driver.start(copying()).err().unwrap().to_string().contains("stop it first"));
    assert!(driver.take_callback().is_some());
    assert!(driver.run_blocks(1).is_err());
    assert!(driver.finish().err().unwrap().to_string().contains("no limit"));
    driver.stop().unwrap();
}

#[test]
fn files_that_do_not_fit_are_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.wav");
    sine(&path, 44_100, 3, 10);
    let rate = driver(48_000, 64, 8, 2).with_input(&path).err().unwrap().to_string();
    assert!(rate.contains("in.wav") && rate.contains("44100") && rate.contains("48000"), "{rate}");
    let channels = driver(44_100, 64, 2, 2).with_input(&path).err().unwrap().to_string();
    assert!(channels.contains("in.wav") && channels.contains("3 channels"), "{channels}");

    // A recording that can't be written: the start fails and nothing is lost.
    let nowhere = dir.path().join("none").join("out.wav");
    let mut driver = driver(48_000, 64, 2, 2).with_recording(&nowhere, SampleFormat::Int16);
    let text = driver.start(copying()).err().unwrap().to_string();
    assert!(text.contains("out.wav"), "{text}");
    assert!(driver.take_callback().is_some() && !driver.running());
}
