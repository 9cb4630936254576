//! A plugin's buses: what they are, which arrangement of speakers they have, which are active.
//!
//! # Safety
//! `unsafe` here is calls of a living component on its main thread, with structures and lists of
//! the right kind and size.
#![allow(unsafe_code)]

use super::abi::{blank, wide};
use crate::format::{AudioPort, NotePort, main_port};
use crate::shm::layout::MAX_CHANNELS;
use vst3::ComPtr;
use vst3::Steinberg::Vst::BusDirections_::{kInput, kOutput};
use vst3::Steinberg::Vst::BusInfo_::BusFlags_::kDefaultActive;
use vst3::Steinberg::Vst::BusTypes_::kMain;
use vst3::Steinberg::Vst::MediaTypes_::{kAudio, kEvent};
use vst3::Steinberg::Vst::{
    BusDirection, BusInfo, IAudioProcessor, IAudioProcessorTrait, IComponent, IComponentTrait,
    MediaType, SpeakerArr, SpeakerArrangement,
};
use vst3::Steinberg::{kResultOk, kResultTrue};

/// Most buses of a kind and direction that are believed of a plugin.
const MAX_BUSES: i32 = 256;

/// Left and right.
const STEREO: SpeakerArrangement = 0b11;

/// The speakers that so many channels may stand for, the most usual first: as a WAV file without
/// a word on it, then as other hosts ask for them, then any.
fn speakers(channels: u32) -> Vec<SpeakerArrangement> {
    let known: &[SpeakerArrangement] = match channels {
        1 => &[SpeakerArr::kMono],
        2 => &[SpeakerArr::kStereo],
        3 => &[SpeakerArr::k30Cine, SpeakerArr::k30Music],
        4 => &[SpeakerArr::k40Music, SpeakerArr::k40Cine, SpeakerArr::kAmbi1stOrderACN],
        5 => &[SpeakerArr::k50],
        6 => &[SpeakerArr::k51, SpeakerArr::k60Cine, SpeakerArr::k60Music],
        7 => &[SpeakerArr::k61Cine, SpeakerArr::k61Music, SpeakerArr::k70Music],
        8 => &[SpeakerArr::k71Music, SpeakerArr::k71Cine, SpeakerArr::k71CineFullRear],
        9 => &[SpeakerArr::kAmbi2cdOrderACN],
        10 => &[SpeakerArr::k71_2, SpeakerArr::k51_4],
        12 => &[SpeakerArr::k71_4],
        14 => &[SpeakerArr::k71_6, SpeakerArr::k91_4],
        16 => &[SpeakerArr::kAmbi3rdOrderACN, SpeakerArr::k91_6],
        _ => &[],
    };
    let mut all = known.to_vec();
    if (1..=64).contains(&channels) && !all.contains(&arrangement_of(channels)) {
        all.push(arrangement_of(channels));
    }
    all
}

/// An audio bus.
#[derive(Clone, Debug)]
pub(super) struct AudioBus {
    pub(super) name: String,
    pub(super) channels: u32,
    pub(super) main: bool,
    pub(super) default_active: bool,
    pub(super) arrangement: SpeakerArrangement,
}

/// An event bus.
#[derive(Clone, Debug)]
pub(super) struct EventBus {
    pub(super) name: String,
    pub(super) channels: u32,
}

/// All buses of a plugin.
#[derive(Clone, Debug, Default)]
pub(super) struct Buses {
    pub(super) inputs: Vec<AudioBus>,
    pub(super) outputs: Vec<AudioBus>,
    pub(super) event_inputs: Vec<EventBus>,
    pub(super) event_outputs: Vec<EventBus>,
}

impl Buses {
    /// Asks the plugin for its buses, and has it confirm their arrangements: some set themselves up
    /// only then. Not while it is active. The error says what can't be believed.
    pub(super) fn negotiate(
        component: &ComPtr<IComponent>,
        processor: &ComPtr<IAudioProcessor>,
    ) -> Result<Self, String> {
        let buses = Self::read(component, processor)?;
        if buses.inputs.is_empty() && buses.outputs.is_empty() {
            return Ok(buses);
        }
        // One that refuses its own arrangements keeps, or has chosen, others. So has, at times, one
        // that agrees.
        buses.arrange(processor, (None, None), 0);
        let own = Self::read(component, processor)?;
        if own.inputs.iter().chain(&own.outputs).any(|bus| bus.channels > 0) {
            return Ok(own);
        }
        // It leaves all to the host. What it makes of that is asked of it, whatever it answers.
        let stereo = |buses: &[AudioBus]| -> Vec<SpeakerArrangement> {
            buses.iter().map(|bus| if bus.main { STEREO } else { bus.arrangement }).collect()
        };
        Self::set(processor, stereo(&own.inputs), stereo(&own.outputs));
        Self::read(component, processor)
    }

    /// Asks for so many channels on the main buses; see
    /// [`Instance::arrange`](crate::format::Instance::arrange). What a plugin answers says little:
    /// some refuse and take it all the same, some agree and don't. What they have then is asked.
    pub(super) fn ask(
        component: &ComPtr<IComponent>,
        processor: &ComPtr<IAudioProcessor>,
        channels: u32,
    ) -> Result<Self, String> {
        let before = Self::read(component, processor)?;
        let (input, output) = before.main();
        if input.or(output).is_none() {
            return Ok(before);
        }
        let has = |(at, buses): (Option<usize>, &[AudioBus])| Some(buses.get(at?)?.channels);
        let to_fewer = has((output, &before.outputs)).is_some_and(|o| (2..channels).contains(&o));
        for alone in [false, true] {
            // To ask for a main input alone makes sense where it is mixed to fewer channels.
            if alone && !(input.is_some() && to_fewer) {
                continue;
            }
            for speakers in speakers(channels) {
                let output = output.filter(|_| !alone);
                before.arrange(processor, (input, output), speakers);
                // One that can't be believed now is asked for what it had.
                let Ok(now) = Self::read(component, processor) else { continue };
                let has_it = match input {
                    Some(_) => has((now.main().0, &now.inputs)) == Some(channels),
                    None => has((now.main().1, &now.outputs)) == Some(channels),
                };
                if has_it {
                    return Ok(now);
                }
            }
        }
        before.arrange(processor, (None, None), 0);
        Self::read(component, processor)
    }

    /// Which are the main buses, in and out.
    fn main(&self) -> (Option<usize>, Option<usize>) {
        let main = |buses| main_port(&audio_ports(buses));
        (main(&self.inputs), main(&self.outputs))
    }

    /// Asks for these speakers on those buses, an input and an output, and on all others for what
    /// they have.
    fn arrange(
        &self,
        processor: &ComPtr<IAudioProcessor>,
        (input, output): (Option<usize>, Option<usize>),
        speakers: SpeakerArrangement,
    ) {
        let all = |buses: &[AudioBus], bus| -> Vec<SpeakerArrangement> {
            let each = buses.iter().enumerate();
            each.map(|(at, b)| if Some(at) == bus { speakers } else { b.arrangement }).collect()
        };
        Self::set(processor, all(&self.inputs, input), all(&self.outputs, output));
    }

    fn set(
        processor: &ComPtr<IAudioProcessor>,
        mut inputs: Vec<SpeakerArrangement>,
        mut outputs: Vec<SpeakerArrangement>,
    ) {
        let (count_in, count_out) = (inputs.len() as i32, outputs.len() as i32);
        // Of none, none: not every plugin looks at the count first.
        let list = |all: &mut Vec<SpeakerArrangement>| match all.is_empty() {
            true => std::ptr::null_mut(),
            false => all.as_mut_ptr(),
        };
        let (inputs, outputs) = (list(&mut inputs), list(&mut outputs));
        // SAFETY: see the file's text.
        unsafe { processor.setBusArrangements(inputs, count_in, outputs, count_out) };
    }

    /// Asks the plugin for its buses.
    pub(super) fn read(
        component: &ComPtr<IComponent>,
        processor: &ComPtr<IAudioProcessor>,
    ) -> Result<Self, String> {
        let audio = |direction| audio_buses(component, processor, direction);
        let events = |direction| event_buses(component, direction);
        Ok(Self {
            inputs: audio(kInput as BusDirection)?,
            outputs: audio(kOutput as BusDirection)?,
            event_inputs: events(kInput as BusDirection)?,
            event_outputs: events(kOutput as BusDirection)?,
        })
    }

    /// Sets which buses are active; `inputs` and `outputs` are as long as the plugin's.
    pub(super) fn activate(
        &self,
        component: &ComPtr<IComponent>,
        inputs: &[bool],
        outputs: &[bool],
    ) {
        let set = |media, direction, index: usize, active: bool| {
            // SAFETY: see the file's text. Many plugins don't implement it: nothing depends on it.
            unsafe { component.activateBus(media, direction, index as i32, active.into()) };
        };
        let (input, output) = (kInput as BusDirection, kOutput as BusDirection);
        let each = |active: &[bool], direction| {
            for (index, &active) in active.iter().enumerate() {
                set(kAudio as MediaType, direction, index, active);
            }
        };
        each(inputs, input);
        each(outputs, output);
        for (count, direction) in
            [(self.event_inputs.len(), input), (self.event_outputs.len(), output)]
        {
            (0..count).for_each(|index| set(kEvent as MediaType, direction, index, true));
        }
    }
}

/// Which buses take part: those connected to something, the main ones, and those that the plugin
/// has active from the start, unless it `wanted` otherwise meanwhile.
pub(super) fn active(
    buses: &[AudioBus],
    connected: u64,
    wanted: impl Fn(usize) -> Option<bool>,
) -> Vec<bool> {
    let is = |(index, bus): (usize, &AudioBus)| {
        let bit = u32::try_from(index).ok().and_then(|index| 1_u64.checked_shl(index));
        bus.main || wanted(index).unwrap_or(bus.default_active) || connected & bit.unwrap_or(0) != 0
    };
    buses.iter().enumerate().map(is).collect()
}

pub(super) fn audio_ports(buses: &[AudioBus]) -> Vec<AudioPort> {
    let port = |bus: &AudioBus| AudioPort {
        name: bus.name.clone(),
        channels: bus.channels,
        main: bus.main,
        active: bus.main || bus.default_active,
    };
    buses.iter().map(port).collect()
}

pub(super) fn note_ports(buses: &[EventBus]) -> Vec<NotePort> {
    let port = |bus: &EventBus| NotePort {
        name: bus.name.clone(),
        clap: true,
        // Controllers are turned into the parameters that the plugin assigns to them.
        midi: true,
        prefers_midi: false,
        expressions: false,
        channels: bus.channels,
    };
    buses.iter().map(port).collect()
}

fn infos(
    component: &ComPtr<IComponent>,
    media: MediaType,
    direction: BusDirection,
) -> Result<Vec<BusInfo>, String> {
    // SAFETY: see the file's text.
    let count = unsafe { component.getBusCount(media, direction) }.max(0);
    if count > MAX_BUSES {
        let kind = if media == kAudio as MediaType { "audio" } else { "event" };
        return Err(format!(
            "it claims {count} {kind} buses in one direction; more than {MAX_BUSES} are not \
             believed"
        ));
    }
    let info = |index| {
        let mut info: BusInfo = blank();
        // One that can't be described is there all the same, and counts: without channels.
        // SAFETY: see the file's text.
        match unsafe { component.getBusInfo(media, direction, index, &mut info) } {
            kResultOk => info,
            _ => blank(),
        }
    };
    Ok((0..count).map(info).collect())
}

fn audio_buses(
    component: &ComPtr<IComponent>,
    processor: &ComPtr<IAudioProcessor>,
    direction: BusDirection,
) -> Result<Vec<AudioBus>, String> {
    let mut buses = Vec::new();
    for (index, info) in infos(component, kAudio as MediaType, direction)?.iter().enumerate() {
        let mut arrangement = 0;
        // SAFETY: see the file's text.
        let known = unsafe {
            processor.getBusArrangement(direction, index as i32, &mut arrangement) == kResultTrue
        };
        let told = u32::try_from(info.channelCount).unwrap_or(0);
        if !known {
            arrangement = arrangement_of(told);
        }
        // What is arranged is what is processed. (An arrangement can't say 0 channels and more than
        // 64; some say none at all.)
        let channels = match arrangement.count_ones() {
            0 => told,
            n => n,
        };
        let name = wide(&info.name);
        if channels > MAX_CHANNELS {
            return Err(format!(
                "its audio bus '{name}' claims {channels} channels; more than {MAX_CHANNELS} are \
                 not believed"
            ));
        }
        buses.push(AudioBus {
            name,
            channels,
            main: info.busType == kMain as i32,
            default_active: info.flags & kDefaultActive as u32 != 0,
            arrangement,
        });
    }
    Ok(buses)
}

fn event_buses(
    component: &ComPtr<IComponent>,
    direction: BusDirection,
) -> Result<Vec<EventBus>, String> {
    let bus = |info: &BusInfo| EventBus {
        name: wide(&info.name),
        channels: info.channelCount.clamp(1, 16) as u32,
    };
    Ok(infos(component, kEvent as MediaType, direction)?.iter().map(bus).collect())
}

/// Some arrangement with so many channels.
fn arrangement_of(channels: u32) -> SpeakerArrangement {
    const MONO: SpeakerArrangement = 1 << 19;
    match channels {
        0 => 0,
        1 => MONO,
        n @ 2..=63 => (1 << n) - 1,
        _ => !0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_aux_bus_takes_part_if_something_is_connected_to_it() {
        let bus = |main, default_active| AudioBus {
            name: String::new(),
            channels: 2,
            main,
            default_active,
            arrangement: 3,
        };
        let mut buses = vec![bus(true, false), bus(false, false), bus(false, true)];
        let none = |_| None;
        assert_eq!(active(&buses, 0, none), [true, false, true]);
        assert_eq!(active(&buses, 2, none), [true, true, true]);
        assert_eq!(active(&buses, 0, |bus| Some(bus == 1)), [true, true, false]);
        assert_eq!(active(&buses, 4, |_| Some(false)), [true, false, true]);
        buses.extend(vec![bus(false, false); 70]);
        assert_eq!(active(&buses, !0, none).iter().filter(|&&active| active).count(), 64);
    }

    #[test]
    fn arrangements_have_as_many_speakers_as_channels() {
        for channels in [0, 1, 2, 3, 6, 63, 64] {
            assert_eq!(arrangement_of(channels).count_ones(), channels);
        }
        for channels in 1..=64 {
            let all = speakers(channels);
            assert!(
                !all.is_empty() && all.iter().all(|s| s.count_ones() == channels),
                "{channels}"
            );
        }
    }
}
