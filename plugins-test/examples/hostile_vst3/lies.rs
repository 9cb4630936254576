//! Answers that make no sense.

use vst3::Steinberg::Vst::{BusDirection, BusInfo, MediaType, ParameterInfo};

/// Every second bus is there, and is of an absurd size; no name has an end.
pub(crate) fn bus(media: MediaType, direction: BusDirection, index: i32) -> Option<BusInfo> {
    (index % 2 == 0).then_some(BusInfo {
        mediaType: media,
        direction,
        channelCount: if index % 4 == 0 { i32::MAX } else { -5 },
        name: [0xd800; _],
        busType: i32::MIN,
        flags: u32::MAX,
    })
}

/// Every second parameter is there, and all are the same one.
pub(crate) fn param(index: i32) -> Option<ParameterInfo> {
    (index % 2 == 0).then_some(ParameterInfo {
        id: 0,
        title: [0xdfff; _],
        shortTitle: [0xffff; _],
        units: [0xd800; _],
        stepCount: i32::MIN,
        defaultNormalizedValue: f64::NAN,
        unitId: i32::MAX,
        flags: i32::MAX,
    })
}
