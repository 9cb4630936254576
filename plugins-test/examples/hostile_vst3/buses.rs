//! Which buses a plugin has.

use vst3::Steinberg::Vst::BusDirections_::kInput;
use vst3::Steinberg::Vst::BusInfo_::BusFlags_::kDefaultActive;
use vst3::Steinberg::Vst::BusTypes_::{kAux, kMain};
use vst3::Steinberg::Vst::MediaTypes_::kAudio;
use vst3::Steinberg::Vst::{BusDirection, BusInfo, MediaType, SpeakerArr, SpeakerArrangement};

use crate::strikes::Strike;
use crate::text::wide;
use crate::what::What;

/// Channels of each audio bus.
pub(crate) fn audio(what: What, is_input: bool) -> &'static [i32] {
    match what {
        What::OddMono | What::OddMonoFirst => &[1],
        What::OddBuses if is_input => &[2; 11],
        What::OddBuses => &[2; 3],
        What::OddAsks if is_input => &[2; 2],
        What::OddMidiMapping | What::OddMidiOut if is_input => &[],
        What::OddMidiOut => &[],
        What::ThousandChannels => &[1000],
        What::OddWide => &[200],
        _ => &[2],
    }
}

/// How many event buses there are.
pub(crate) fn events(what: What, is_input: bool) -> i32 {
    let notes = match what {
        What::OddMidiOut | What::OddSysex => true,
        What::OddMidiMapping | What::OddPrograms => is_input,
        What::Any | What::Strike(Strike::BadEvents | Strike::EventFlood) => !is_input,
        _ => false,
    };
    notes.into()
}

pub(crate) fn is_audio(media: MediaType) -> bool {
    media == kAudio as MediaType
}

pub(crate) fn is_input(direction: BusDirection) -> bool {
    direction == kInput as BusDirection
}

/// A bus that is there.
pub(crate) fn info(
    what: What,
    media: MediaType,
    direction: BusDirection,
    index: i32,
) -> Option<BusInfo> {
    let at = usize::try_from(index).ok()?;
    let is_input = is_input(direction);
    let channel_count = if is_audio(media) {
        *audio(what, is_input).get(at)?
    } else {
        (index < events(what, is_input)).then_some(16)?
    };
    let by_default = index == 0 || !is_input;
    let mut info = BusInfo {
        mediaType: media,
        direction,
        channelCount: channel_count,
        name: [0; _],
        busType: if index == 0 { kMain } else { kAux } as i32,
        flags: if by_default { kDefaultActive as u32 } else { 0 },
    };
    wide(&format!("{} {}", if is_input { "Input" } else { "Output" }, at + 1), &mut info.name);
    Some(info)
}

/// The arrangement of a bus of so many channels.
pub(crate) fn arrangement(channels: i32) -> SpeakerArrangement {
    match channels {
        1 => SpeakerArr::kMono,
        2 => SpeakerArr::kStereo,
        // As many speakers as there are channels, whatever they are; none where there are too many.
        many @ 1..=64 => u64::MAX >> (64 - many),
        _ => SpeakerArr::kEmpty,
    }
}
