//! Small things that VST3's C interface needs: blank structures, fixed-size texts, class ids.
//!
//! # Safety
//! `unsafe` here makes C structures of numbers and arrays, for which all zeros is a value.
#![allow(unsafe_code)]

use std::ffi::c_char;
use vst3::Steinberg::Vst::{
    BusInfo, NoteExpressionTypeInfo, ParameterInfo, ProgramListInfo, UnitInfo,
};
use vst3::Steinberg::{PClassInfo, PClassInfo2, PClassInfoW, PFactoryInfo, TUID, tresult};

/// Structures that a plugin fills in.
///
/// # Safety
/// All zeros must be a value of the type.
pub(super) unsafe trait Plain {}

macro_rules! plain {
    ($($t:ty)*) => { $(
        // SAFETY: numbers and arrays of numbers.
        unsafe impl Plain for $t {}
    )* };
}
plain!(PClassInfo PClassInfo2 PClassInfoW PFactoryInfo BusInfo ParameterInfo UnitInfo ProgramListInfo
    NoteExpressionTypeInfo);

/// A structure to be filled in.
pub(super) fn blank<T: Plain>() -> T {
    // SAFETY: the contract of `Plain`.
    unsafe { std::mem::zeroed() }
}

/// A text of bytes, up to its end or the end of its space.
pub(super) fn narrow(text: &[c_char]) -> String {
    let bytes: Vec<u8> = text.iter().take_while(|&&c| c != 0).map(|&c| c as u8).collect();
    String::from_utf8_lossy(&bytes).trim().to_owned()
}

/// A text of UTF-16, up to its end or the end of its space.
pub(super) fn wide(text: &[u16]) -> String {
    let end = text.iter().position(|&c| c == 0).unwrap_or(text.len());
    let text = &text[..end];
    // LSP's plugins write their version with the bytes of each unit in the other order.
    let is_swapped = |&unit: &u16| unit & 0xff == 0 && (0x20..0x7f).contains(&(unit >> 8));
    if text.len() > 2 && text.iter().all(is_swapped) {
        return text.iter().map(|unit| char::from((unit >> 8) as u8)).collect();
    }
    String::from_utf16_lossy(text).trim().to_owned()
}

/// Writes a text into a fixed space, cut if need be, with an end.
pub(super) fn write_wide(text: &str, into: &mut [u16]) {
    into.fill(0);
    let room = into.len().saturating_sub(1);
    let mut at = 0;
    for c in text.chars() {
        if at + c.len_utf16() > room {
            break;
        }
        at += c.encode_utf16(&mut into[at..]).len();
    }
}

/// A class id as 32 hexadecimal digits, as `moduleinfo.json` and presets write it.
pub(super) fn hex(id: &TUID) -> String {
    // The SDK prints ids from four numbers; where ids are not in COM's byte order (all but
    // Windows), that is the order of the bytes.
    let order = match vst3::uid(0x0001_0203, 0x0405_0607, 0x0809_0a0b, 0x0c0d_0e0f) {
        [0, ..] => [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15],
        _ => [3, 2, 1, 0, 5, 4, 7, 6, 8, 9, 10, 11, 12, 13, 14, 15],
    };
    order.iter().map(|&at: &usize| format!("{:02X}", id[at] as u8)).collect()
}

/// A class id as people write it: any case, with or without dashes and braces. `None`: it is none.
pub(super) fn normal_hex(text: &str) -> Option<String> {
    let digits: String = text
        .chars()
        .filter(|c| !matches!(c, '-' | '{' | '}'))
        .map(|c| c.to_ascii_uppercase())
        .collect();
    let is_id = digits.len() == 32 && digits.bytes().all(|b| b.is_ascii_hexdigit());
    is_id.then_some(digits)
}

/// What a result of a call means, for an error's text.
pub(super) fn meaning(result: tresult) -> String {
    use vst3::Steinberg as s;
    match result {
        s::kResultFalse => "the plugin refused".into(),
        s::kInvalidArgument => "the plugin calls it an invalid argument".into(),
        s::kNotImplemented => "the plugin does not implement it".into(),
        s::kInternalError => "the plugin reports an internal error".into(),
        s::kNotInitialized => "the plugin says that it is not initialised".into(),
        s::kOutOfMemory => "the plugin is out of memory".into(),
        s::kNoInterface => "the plugin has no such interface".into(),
        other => format!("the plugin returned {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_end_where_they_must() {
        let mut space = [7u16; 4];
        write_wide("ab\u{1f3b5}c", &mut space);
        // The note takes two units, of which only one is left.
        assert_eq!(space, [97, 98, 0, 0]);
        assert_eq!(wide(&[97, 98, 99]), "abc");
        assert_eq!(wide(&[0xd800, 0]), "\u{fffd}");
        assert_eq!(narrow(&[104, 105, 0, 106]), "hi");
        write_wide("x", &mut []);
    }

    #[test]
    fn ids_are_read_as_people_write_them() {
        let id = vst3::uid(0x0123_4567, 0x89AB_CDEF, 0x0246_8ACE, 0x1357_9BDF);
        let text = "0123456789ABCDEF02468ACE13579BDF";
        assert_eq!(hex(&id), text);
        for odd in [text, "{01234567-89ab-cdef-0246-8ace13579bdf}", &text.to_lowercase()] {
            assert_eq!(normal_hex(odd).as_deref(), Some(text));
        }
        assert_eq!(normal_hex("org.sandrack.test.gain"), None);
    }
}
