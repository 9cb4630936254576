//! Its blocks.

use crate::{What, plugin};
use clap_sys::audio_buffer::clap_audio_buffer;
use clap_sys::events::*;
use clap_sys::plugin::clap_plugin;
use clap_sys::process::{CLAP_PROCESS_CONTINUE, CLAP_PROCESS_ERROR, clap_process};
use std::sync::atomic::Ordering::Relaxed;

pub(crate) unsafe extern "C" fn process(
    this: *const clap_plugin,
    process: *const clap_process,
) -> i32 {
    // SAFETY: the plugin is alive and the host describes the block correctly.
    unsafe {
        let (this, process) = (plugin(this), &*process);
        let outputs = process.audio_outputs_count as usize;
        let put_out = |port: usize, value: f32| {
            fill(&*process.audio_outputs.add(port), process.frames_count, value);
        };
        let is_first = this.blocks.fetch_add(1, Relaxed) == 0;
        match this.what {
            What::Source => put_out(0, if process.audio_inputs.is_null() { 0.5 } else { -1.0 }),
            What::Lazy if is_first => put_out(0, 0.5),
            What::Gap if outputs != 3 || (*process.audio_outputs.add(1)).channel_count != 0 => {
                return CLAP_PROCESS_ERROR;
            }
            What::Gap => [(0, 0.25), (2, 0.75)].iter().for_each(|(port, v)| put_out(*port, *v)),
            // Others would write to what is not there.
            What::Brings if outputs != this.state.load(Relaxed).into() => {
                return CLAP_PROCESS_ERROR;
            }
            What::Brings => {
                (0..outputs).for_each(|port| put_out(port, (port + 1) as f32 / 16.0));
            }
            What::Late => put_out_events(process.out_events, process.frames_count),
            What::Lazy | What::Renames => {}
        }
    }
    CLAP_PROCESS_CONTINUE
}

/// # Safety
/// It describes channels of so many frames.
unsafe fn fill(bus: &clap_audio_buffer, frames: u32, value: f32) {
    for channel in 0..bus.channel_count as usize {
        // SAFETY: as the caller promises.
        unsafe {
            let samples = *bus.data32.add(channel);
            (0..frames as usize).for_each(|frame| samples.add(frame).write(value));
        }
    }
}

/// # Safety
/// The list is valid.
unsafe fn put_out_events(out: *const clap_output_events, frames: u32) {
    let header = |size: usize, type_, time| clap_event_header {
        size: size as u32,
        time,
        space_id: CLAP_CORE_EVENT_SPACE_ID,
        type_,
        flags: 0,
    };
    let note = clap_event_note {
        header: header(size_of::<clap_event_note>(), CLAP_EVENT_NOTE_ON, frames),
        note_id: -1,
        port_index: 0,
        channel: 0,
        key: 60,
        velocity: 0.5,
    };
    let message = [0xf0, 0x7d, 1, 0xf7];
    let type_ = CLAP_EVENT_MIDI_SYSEX;
    let sysex = clap_event_midi_sysex {
        header: header(size_of::<clap_event_midi_sysex>(), type_, frames + 5),
        port_index: 0,
        buffer: message.as_ptr(),
        size: message.len() as u32,
    };
    // SAFETY: as the caller promises.
    unsafe {
        if let Some(push) = (*out).try_push {
            push(out, &raw const note.header);
            push(out, &raw const sysex.header);
        }
    }
}
