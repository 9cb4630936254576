//! Messages and attribute lists: what component and controller, which know only their host, tell
//! each other with.
//!
//! # Safety
//! `unsafe` here reads ids (C texts) and data from addresses that the plugin gives, and writes to
//! addresses it gives, within the sizes it gives; addresses that can be null are checked. Objects
//! may be called from any thread: their data lies behind locks. What
//! `getMessageID` and `getBinary` give is good until it is set anew, as the SDK has it.
#![allow(unsafe_code)]

use std::collections::HashMap;
use std::ffi::{CStr, CString, c_char, c_void};
use std::sync::{Mutex, MutexGuard, PoisonError};
use vst3::Steinberg::Vst::{IAttributeList, IAttributeListTrait, IMessage, IMessageTrait, TChar};
use vst3::Steinberg::{kInvalidArgument, kResultFalse, kResultOk, tresult};
use vst3::{Class, ComPtr, ComWrapper};

/// Longest text in an attribute, in UTF-16 units, and most bytes in one.
const MAX_TEXT: usize = 1 << 20;
const MAX_BINARY: u32 = 256 << 20;

enum Attribute {
    Int(i64),
    Float(f64),
    /// With its end.
    Text(Vec<u16>),
    Binary(Box<[u8]>),
}

/// An attribute list.
#[derive(Default)]
pub(super) struct Attributes(Mutex<HashMap<CString, Attribute>>);

impl Class for Attributes {
    type Interfaces = (IAttributeList,);
}

impl Attributes {
    /// A new list, for a plugin.
    pub(super) fn create() -> ComPtr<IAttributeList> {
        Self::default().wrap()
    }

    /// With a text in it.
    pub(super) fn with_text(self, id: &CStr, text: &str) -> Self {
        let text = Attribute::Text(text.encode_utf16().chain([0]).collect());
        self.lock().insert(id.to_owned(), text);
        self
    }

    pub(super) fn wrap(self) -> ComPtr<IAttributeList> {
        ComWrapper::new(self).to_com_ptr().expect("it is in its list of interfaces")
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<CString, Attribute>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// # Safety
    /// `id` is null or a C text.
    unsafe fn set(&self, id: *const c_char, attribute: Attribute) -> tresult {
        if id.is_null() {
            return kInvalidArgument;
        }
        // SAFETY: not null, see above.
        let id = unsafe { CStr::from_ptr(id) }.to_owned();
        self.lock().insert(id, attribute);
        kResultOk
    }

    /// # Safety
    /// `id` is null or a C text.
    unsafe fn get(&self, id: *const c_char, write: impl FnOnce(&Attribute) -> bool) -> tresult {
        if id.is_null() {
            return kInvalidArgument;
        }
        // SAFETY: not null, see above.
        let id = unsafe { CStr::from_ptr(id) };
        match self.lock().get(id).is_some_and(write) {
            true => kResultOk,
            false => kResultFalse,
        }
    }
}

// SAFETY of the blocks below: see the file's text.
impl IAttributeListTrait for Attributes {
    unsafe fn setInt(&self, id: *const c_char, value: i64) -> tresult {
        // SAFETY: as above.
        unsafe { self.set(id, Attribute::Int(value)) }
    }

    unsafe fn getInt(&self, id: *const c_char, value: *mut i64) -> tresult {
        // SAFETY: as above.
        unsafe {
            self.get(id, |attribute| match attribute {
                Attribute::Int(int) if !value.is_null() => {
                    value.write_unaligned(*int);
                    true
                }
                _ => false,
            })
        }
    }

    unsafe fn setFloat(&self, id: *const c_char, value: f64) -> tresult {
        // SAFETY: as above.
        unsafe { self.set(id, Attribute::Float(value)) }
    }

    unsafe fn getFloat(&self, id: *const c_char, value: *mut f64) -> tresult {
        // SAFETY: as above.
        unsafe {
            self.get(id, |attribute| match attribute {
                Attribute::Float(float) if !value.is_null() => {
                    value.write_unaligned(*float);
                    true
                }
                _ => false,
            })
        }
    }

    unsafe fn setString(&self, id: *const c_char, string: *const TChar) -> tresult {
        if string.is_null() {
            return kInvalidArgument;
        }
        let mut text = Vec::new();
        // SAFETY: as above; a text ends with 0.
        unsafe {
            while text.len() < MAX_TEXT && string.add(text.len()).read_unaligned() != 0 {
                text.push(string.add(text.len()).read_unaligned());
            }
            text.push(0);
            self.set(id, Attribute::Text(text))
        }
    }

    unsafe fn getString(&self, id: *const c_char, string: *mut TChar, size: u32) -> tresult {
        let room = size as usize / size_of::<TChar>();
        // SAFETY: as above; `size` bytes are there to be written.
        unsafe {
            self.get(id, |attribute| match attribute {
                Attribute::Text(text) if !string.is_null() && room > 0 => {
                    let len = (text.len() - 1).min(room - 1);
                    string.copy_from_nonoverlapping(text.as_ptr(), len);
                    string.add(len).write_unaligned(0);
                    true
                }
                _ => false,
            })
        }
    }

    unsafe fn setBinary(&self, id: *const c_char, data: *const c_void, size: u32) -> tresult {
        if (data.is_null() && size > 0) || size > MAX_BINARY {
            return kInvalidArgument;
        }
        let bytes = match size {
            0 => Box::default(),
            // SAFETY: as above; `size` bytes are there to be read.
            _ => unsafe { std::slice::from_raw_parts(data.cast::<u8>(), size as usize) }.into(),
        };
        // SAFETY: as above.
        unsafe { self.set(id, Attribute::Binary(bytes)) }
    }

    unsafe fn getBinary(
        &self,
        id: *const c_char,
        data: *mut *const c_void,
        size: *mut u32,
    ) -> tresult {
        // SAFETY: as above.
        unsafe {
            self.get(id, |attribute| match attribute {
                Attribute::Binary(bytes) if !data.is_null() && !size.is_null() => {
                    data.write_unaligned(bytes.as_ptr().cast());
                    size.write_unaligned(bytes.len() as u32);
                    true
                }
                _ => false,
            })
        }
    }
}

/// A message.
pub(super) struct Message {
    id: Mutex<Option<CString>>,
    attributes: ComPtr<IAttributeList>,
}

impl Class for Message {
    type Interfaces = (IMessage,);
}

impl Message {
    /// A new message, for a plugin.
    pub(super) fn create() -> ComPtr<IMessage> {
        let message = Self { id: Mutex::default(), attributes: Attributes::create() };
        ComWrapper::new(message).to_com_ptr().expect("it is in its list of interfaces")
    }
}

impl IMessageTrait for Message {
    unsafe fn getMessageID(&self) -> *const c_char {
        let id = self.id.lock().unwrap_or_else(PoisonError::into_inner);
        id.as_ref().map_or(std::ptr::null(), |id| id.as_ptr())
    }

    unsafe fn setMessageID(&self, id: *const c_char) {
        let new = match id.is_null() {
            true => None,
            // SAFETY: not null: a C text.
            false => Some(unsafe { CStr::from_ptr(id) }.to_owned()),
        };
        *self.id.lock().unwrap_or_else(PoisonError::into_inner) = new;
    }

    unsafe fn getAttributes(&self) -> *mut IAttributeList {
        // Not counted: it lives as long as the message.
        self.attributes.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // SAFETY of all blocks: the objects live, and addresses are those of local values.
    #[test]
    fn attributes_are_kept_by_kind() {
        let message = Message::create();
        // SAFETY: see above.
        unsafe {
            assert!(message.getMessageID().is_null());
            message.setMessageID(c"hello".as_ptr());
            assert_eq!(CStr::from_ptr(message.getMessageID()), c"hello");
            let list = vst3::ComRef::from_raw(message.getAttributes()).unwrap();
            let (mut int, mut float) = (0, 0.0);
            assert_eq!(list.setInt(c"a".as_ptr(), 7), kResultOk);
            assert_eq!(list.getInt(c"a".as_ptr(), &mut int), kResultOk);
            assert_eq!(int, 7);
            assert_ne!(list.getFloat(c"a".as_ptr(), &mut float), kResultOk);
            assert_ne!(list.getInt(c"b".as_ptr(), &mut int), kResultOk);
            assert_eq!(list.setInt(std::ptr::null(), 1), kInvalidArgument);

            assert_eq!(list.setString(c"s".as_ptr(), [104, 105, 0].as_ptr()), kResultOk);
            let mut text = [9; 4];
            assert_eq!(list.getString(c"s".as_ptr(), text.as_mut_ptr(), 4), kResultOk);
            // Only two units fit, the end among them.
            assert_eq!(text, [104, 0, 9, 9]);

            assert_eq!(list.setBinary(c"d".as_ptr(), [1_u8, 2].as_ptr().cast(), 2), kResultOk);
            let (mut data, mut size) = (std::ptr::null(), 0);
            assert_eq!(list.getBinary(c"d".as_ptr(), &mut data, &mut size), kResultOk);
            assert_eq!(std::slice::from_raw_parts(data.cast::<u8>(), size as usize), [1, 2]);
        }
    }
}
