//! What goes wrong in `process`.

use std::ptr;

use clap_sys::events::{
    CLAP_CORE_EVENT_SPACE_ID, CLAP_EVENT_NOTE_ON, CLAP_EVENT_PARAM_GESTURE_BEGIN,
    CLAP_EVENT_PARAM_GESTURE_END, CLAP_EVENT_PARAM_VALUE, clap_event_header, clap_event_note,
    clap_event_param_gesture, clap_event_param_value, clap_output_events,
};
use clap_sys::process::{CLAP_PROCESS_CONTINUE, CLAP_PROCESS_ERROR, clap_process};

use crate::calls;
use crate::plugin::{BLOCK, Hostile, channels, outputs};
use crate::strikes;
use crate::what::What;

const FLOOD: u32 = 65_536;

/// A block, for the strikes of every format.
struct Block<'a> {
    hostile: &'a Hostile,
    /// Valid, as who makes this promises.
    process: &'a clap_process,
    now: u64,
}

/// Does the damage in block `now`. Returns the block's status, if it does.
///
/// # Safety
///
/// `process` describes valid buffers and events.
pub(crate) unsafe fn strike(hostile: &Hostile, now: u64, process: &clap_process) -> i32 {
    match hostile.what {
        What::Restarts | What::Grows => {
            // SAFETY: the host outlives its plugins, and lets any thread ask for a restart.
            unsafe {
                if let Some(ask) = (*hostile.host).request_restart {
                    ask(hostile.host);
                }
            }
        }
        // SAFETY: as the caller promises.
        What::Tells => unsafe { tell(now as f64, process) },
        _ => {
            let Some(strike) = hostile.strike() else { return CLAP_PROCESS_CONTINUE };
            let mut block = Block { hostile, process, now };
            // SAFETY: as the caller promises.
            if !unsafe { strike.strike(&hostile.memory, &mut block) } {
                return CLAP_PROCESS_ERROR;
            }
        }
    }
    CLAP_PROCESS_CONTINUE
}

impl strikes::Block for Block<'_> {
    fn outputs(&self) -> Vec<(*mut f32, usize)> {
        let frames = self.process.frames_count as usize;
        // SAFETY: valid buffers.
        let ports = unsafe { outputs(self.process) };
        ports.iter().flat_map(channels).map(|&channel| (channel, frames)).collect()
    }

    fn bad_events(&mut self) {
        // SAFETY: valid events.
        unsafe { bad_events(self.process) };
    }

    fn event_flood(&mut self) {
        for i in 0..FLOOD {
            let frames = u64::from(self.process.frames_count);
            let event = note((u64::from(i) * frames / u64::from(FLOOD)) as u32);
            // SAFETY: valid events.
            unsafe { push(self.process.out_events, &raw const event.header) };
        }
    }

    fn log_flood(&mut self) {
        // SAFETY: the host outlives its plugins, and lets any thread log.
        unsafe { calls::log_lines(self.hostile.host, FLOOD) };
    }

    fn wrong_threads(&mut self, first: bool) {
        let elsewhere = first || self.now.is_multiple_of(50);
        // SAFETY: the host outlives its plugins. The thread is the wrong one: that is the fault.
        unsafe { calls::from_here_and_elsewhere(self.hostile.host, elsewhere) };
    }
}

/// # Safety
///
/// `list` is null or a valid list. `event` may be anything.
unsafe fn push(list: *const clap_output_events, event: *const clap_event_header) {
    // SAFETY: as the caller promises; as for the event, none, if that is the fault.
    unsafe {
        if let Some(try_push) = list.as_ref().and_then(|list| list.try_push) {
            try_push(list, event);
        }
    }
}

/// Takes hold of the parameter, moves it, lets go.
///
/// # Safety
///
/// `process` describes valid events.
unsafe fn tell(value: f64, process: &clap_process) {
    let header = |size: usize, type_: u16| clap_event_header {
        size: size as u32,
        time: 0,
        space_id: CLAP_CORE_EVENT_SPACE_ID,
        type_,
        flags: 0,
    };
    let gesture = |type_| clap_event_param_gesture {
        header: header(size_of::<clap_event_param_gesture>(), type_),
        param_id: BLOCK,
    };
    let (begin, end) =
        (gesture(CLAP_EVENT_PARAM_GESTURE_BEGIN), gesture(CLAP_EVENT_PARAM_GESTURE_END));
    let moved = clap_event_param_value {
        header: header(size_of::<clap_event_param_value>(), CLAP_EVENT_PARAM_VALUE),
        param_id: BLOCK,
        cookie: ptr::null_mut(),
        note_id: -1,
        port_index: -1,
        channel: -1,
        key: -1,
        value,
    };
    // SAFETY: the list is valid, as the caller promises, and so are the events.
    unsafe {
        push(process.out_events, &raw const begin.header);
        push(process.out_events, &raw const moved.header);
        push(process.out_events, &raw const end.header);
    }
}

fn note(time: u32) -> clap_event_note {
    clap_event_note {
        header: clap_event_header {
            size: size_of::<clap_event_note>() as u32,
            time,
            space_id: CLAP_CORE_EVENT_SPACE_ID,
            type_: CLAP_EVENT_NOTE_ON,
            flags: 0,
        },
        note_id: -1,
        port_index: 0,
        channel: 0,
        key: 60,
        velocity: 1.0,
    }
}

/// # Safety
///
/// `process` describes valid events.
unsafe fn bad_events(process: &clap_process) {
    let good = note(0);
    let with = |header: clap_event_header| clap_event_note { header, ..good };
    let bad = [
        // Beyond the block, then back before what came earlier.
        note(process.frames_count),
        note(u32::MAX),
        note(process.frames_count / 2),
        note(0),
        // Smaller than a header, smaller than a note, larger than anything.
        with(clap_event_header { size: 0, ..good.header }),
        with(clap_event_header { size: 1, ..good.header }),
        with(clap_event_header { size: size_of::<clap_event_header>() as u32, ..good.header }),
        with(clap_event_header { size: u32::MAX, ..good.header }),
        // Of no known kind.
        with(clap_event_header { type_: u16::MAX, ..good.header }),
        with(clap_event_header { space_id: u16::MAX, ..good.header }),
        with(clap_event_header { flags: u32::MAX, ..good.header }),
        // A note that no keyboard has.
        clap_event_note {
            note_id: i32::MIN,
            port_index: i16::MAX,
            channel: 4711,
            key: i16::MIN,
            velocity: f64::NAN,
            ..good
        },
    ];
    let unknown_parameter = clap_event_param_value {
        header: clap_event_header {
            size: size_of::<clap_event_param_value>() as u32,
            type_: CLAP_EVENT_PARAM_VALUE,
            ..good.header
        },
        param_id: u32::MAX - 1,
        cookie: ptr::without_provenance_mut(64),
        note_id: -1,
        port_index: -1,
        channel: -1,
        key: -1,
        value: f64::INFINITY,
    };
    // SAFETY: the list is valid, as the caller promises. The events aren't: that is the fault
    // the plugin is for.
    unsafe {
        for event in &bad {
            push(process.out_events, &raw const event.header);
        }
        push(process.out_events, &raw const unknown_parameter.header);
        push(process.out_events, ptr::null());
    }
}
