use super::*;
use crate::audio::Packed;

const MAX: u32 = 64;

fn bus(channels: u32, active: bool) -> Bus {
    Bus { channels, active }
}

/// The channels that a plugin sees in each bus, as addresses.
fn seen(buffers: *const AudioBusBuffers, buses: usize) -> Vec<Vec<*mut f32>> {
    // SAFETY: as many buses as were packed, with as many channels as they say.
    unsafe {
        let buses = std::slice::from_raw_parts(buffers, buses);
        let channels = |bus: &AudioBusBuffers| {
            let first = bus.__field0.channelBuffers32;
            (0..bus.numChannels as usize).map(|channel| *first.add(channel)).collect()
        };
        buses.iter().map(channels).collect()
    }
}

#[test]
fn a_block_is_described_anew_whatever_the_plugin_did_to_the_last() {
    let mut audio = Packed::new(3, MAX);
    let mut buses = Buses::new(&[bus(2, true), bus(0, true), bus(1, true)], false, MAX);
    let first = audio.as_mut_ptr();
    buses.bind(&[2, 0, 1], first);
    for frames in [16, 40, 64] {
        let packed = buses.pack_outputs(frames);
        let floats = stride(frames) / size_of::<f32>();
        let channel = |n: usize| first.wrapping_add(n * floats);
        assert_eq!(seen(packed, 3), [vec![channel(0), channel(1)], vec![], vec![channel(2)]]);
        // SAFETY: the plugin's to write, as it might.
        unsafe {
            (*packed).numChannels = 7;
            (*packed).__field0.channelBuffers32.write(std::ptr::null_mut());
            (*packed.add(2)).__field0.channelBuffers32 = std::ptr::null_mut();
        }
        buses.finish_outputs(frames);
    }
}

#[test]
fn silence_is_marked_for_the_plugin_and_its_own_marks_are_not_believed() {
    let mut audio = Packed::new(3, MAX);
    let mut buses = Buses::new(&[bus(3, true)], false, MAX);
    buses.bind(&[3], audio.as_mut_ptr());
    audio.channel_mut(1, 48)[47] = 1e-30;
    audio.channel_mut(2, 48)[3] = -0.0;
    // SAFETY: one bus.
    assert_eq!(unsafe { (*buses.pack_inputs(48)).silenceFlags }, 0b101);
    let packed = buses.pack_outputs(48);
    for channel in 0..3 {
        audio.channel_mut(channel, 48).fill(0.5);
    }
    // SAFETY: one bus.
    unsafe { (*packed).silenceFlags = !0b101 };
    buses.finish_outputs(48);
    let sums = [0, 1, 2].map(|channel| audio.channel(channel, 48).iter().sum::<f32>());
    assert_eq!(sums, [24.0; 3]);
}

#[test]
fn an_inactive_or_missing_bus_is_silence_to_read_and_waste_to_write() {
    let mut audio = Packed::new(4, MAX);
    for channel in 0..4 {
        audio.channel_mut(channel, 64).fill(0.5);
    }
    let all = [bus(2, true), bus(2, false), bus(1, true)];
    let mut buses = Buses::new(&all, false, MAX);
    let first = audio.as_mut_ptr();
    // The node knows two buses only.
    buses.bind(&[2, 2], first);
    let packed = buses.pack_inputs(64);
    let channels = seen(packed, 3);
    assert_eq!(channels[0], [first, first.wrapping_add(64)]);
    for private in channels[1].iter().chain(&channels[2]) {
        // SAFETY: good for the greatest block.
        let samples = unsafe { std::slice::from_raw_parts(*private, 64) };
        assert!(samples.iter().all(|sample| *sample == 0.0));
    }
    // SAFETY: as above.
    unsafe { std::slice::from_raw_parts_mut(channels[1][0], 64) }.fill(0.25);
    // SAFETY: three buses.
    let silent = unsafe { [0, 1, 2].map(|n| (*packed.add(n)).silenceFlags) };
    assert_eq!(silent, [0, 3, 1]);
    let again = seen(buses.pack_inputs(64), 3);
    // SAFETY: good for the greatest block.
    assert_eq!(unsafe { *again[1][0] }, 0.0, "silent again in the next block");
    buses.pack_outputs(64);
    buses.finish_outputs(64);
    assert_eq!(audio.channel(2, 64)[0], 0.0, "nothing old is heard of an inactive output");
}

#[test]
fn wide_samples_are_copies_and_come_back_narrowed() {
    let mut audio = Packed::new(2, MAX);
    let mut buses = Buses::new(&[bus(2, true)], true, MAX);
    buses.bind(&[2], audio.as_mut_ptr());
    for frames in [16, 50] {
        audio.channel_mut(0, frames).fill(0.1);
        audio.channel_mut(1, frames).fill(-0.3);
        let packed = seen(buses.pack_inputs(frames as u32), 1);
        for (channel, expected) in [0.1_f32, -0.3].into_iter().enumerate() {
            // SAFETY: 64-bit samples, good for the greatest block.
            let samples =
                unsafe { std::slice::from_raw_parts(packed[0][channel].cast::<f64>(), frames) };
            assert!(samples.iter().all(|sample| *sample == f64::from(expected)));
        }
        let packed = seen(buses.pack_outputs(frames as u32), 1);
        // SAFETY: as above.
        unsafe { std::slice::from_raw_parts_mut(packed[0][1].cast::<f64>(), frames) }.fill(0.7);
        buses.finish_outputs(frames as u32);
        assert_eq!(audio.channel(0, frames)[frames - 1], 0.0, "not written to: silence");
        assert_eq!(audio.channel(1, frames), vec![0.7_f32; frames]);
    }
}

#[test]
fn no_buses_at_all_are_fine() {
    let mut buses = Buses::new(&[], false, MAX);
    buses.bind(&[], std::ptr::null_mut());
    assert!(buses.pack_inputs(16).is_null() && buses.pack_outputs(16).is_null());
    buses.finish_outputs(16);
    assert_eq!(buses.len(), 0);
    let mut buses = Buses::new(&[bus(0, true)], false, MAX);
    buses.bind(&[0], std::ptr::null_mut());
    // SAFETY: one bus, and behind it the address that says that no channel is there.
    assert!(unsafe { (*(*buses.pack_outputs(16)).__field0.channelBuffers32).is_null() });
}
