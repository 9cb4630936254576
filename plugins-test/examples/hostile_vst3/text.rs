//! Text in arrays of fixed size.

use std::ffi::c_char;

/// With a NUL at its end; what is too long is cut.
pub(crate) fn narrow(text: &str, to: &mut [c_char]) {
    to.fill(0);
    let most = to.len() - 1;
    for (to, from) in to.iter_mut().zip(text.bytes().take(most)) {
        *to = from as c_char;
    }
}

/// As [`narrow`].
pub(crate) fn wide(text: &str, to: &mut [u16]) {
    to.fill(0);
    let most = to.len() - 1;
    for (to, from) in to.iter_mut().zip(text.encode_utf16().take(most)) {
        *to = from;
    }
}
