//! Streams: the bytes that states are saved to and loaded from.
//!
//! # Safety
//! `unsafe` here copies from and to addresses that the plugin gives, of the sizes it gives, which
//! are checked for null and sign. A stream may be called from any thread: its bytes lie behind a
//! lock.
#![allow(unsafe_code)]

use super::message::Attributes;
use crate::format::StateContext;
use std::ffi::{CStr, c_void};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use vst3::Steinberg::IBStream_::IStreamSeekMode;
use vst3::Steinberg::IBStream_::IStreamSeekMode_::{kIBSeekCur, kIBSeekEnd, kIBSeekSet};
use vst3::Steinberg::Vst::{IAttributeList, IStreamAttributes, IStreamAttributesTrait, String128};
use vst3::Steinberg::{
    IBStream, IBStreamTrait, ISizeableStream, ISizeableStreamTrait, kInvalidArgument,
    kNotImplemented, kOutOfMemory, kResultOk, tresult,
};
use vst3::{Class, ComPtr, ComWrapper};

/// Most bytes of a state.
const MAX: usize = 256 << 20;

#[derive(Default)]
struct Bytes {
    data: Vec<u8>,
    at: usize,
}

/// A stream in memory.
pub(super) struct Stream {
    bytes: Mutex<Bytes>,
    attributes: ComPtr<IAttributeList>,
}

impl Class for Stream {
    type Interfaces = (IBStream, ISizeableStream, IStreamAttributes);
}

impl Stream {
    /// A stream over bytes, which says what they are for, and (of a preset) which file they are of.
    pub(super) fn new(
        data: Vec<u8>,
        context: StateContext,
        file: Option<&Path>,
    ) -> ComWrapper<Self> {
        const STATE_TYPE: &CStr = c"StateType";
        const FILE: &CStr = c"FilePathString";
        let mut attributes = Attributes::default();
        if context != StateContext::Preset {
            attributes = attributes.with_text(STATE_TYPE, "Project");
        }
        if let Some(file) = file {
            attributes = attributes.with_text(FILE, &file.to_string_lossy());
        }
        let bytes = Mutex::new(Bytes { data, at: 0 });
        ComWrapper::new(Self { bytes, attributes: attributes.wrap() })
    }

    /// What was written.
    pub(super) fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.lock().data)
    }

    fn lock(&self) -> MutexGuard<'_, Bytes> {
        self.bytes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream as a plugin takes it.
pub(super) fn as_argument(stream: &ComWrapper<Stream>) -> ComPtr<IBStream> {
    stream.to_com_ptr().expect("it is in its list of interfaces")
}

impl IBStreamTrait for Stream {
    unsafe fn read(&self, buffer: *mut c_void, size: i32, done: *mut i32) -> tresult {
        let Ok(size) = usize::try_from(size) else { return kInvalidArgument };
        if buffer.is_null() && size > 0 {
            return kInvalidArgument;
        }
        let mut bytes = self.lock();
        let rest = bytes.data.get(bytes.at..).unwrap_or_default();
        let len = size.min(rest.len());
        if len > 0 {
            // SAFETY: see the file's text.
            unsafe { buffer.cast::<u8>().copy_from_nonoverlapping(rest.as_ptr(), len) };
        }
        bytes.at += len;
        if !done.is_null() {
            // SAFETY: see the file's text.
            unsafe { done.write_unaligned(len as i32) };
        }
        // Short reads are told by the number: some plugins read until there is nothing more.
        kResultOk
    }

    unsafe fn write(&self, buffer: *mut c_void, size: i32, done: *mut i32) -> tresult {
        let Ok(size) = usize::try_from(size) else { return kInvalidArgument };
        if buffer.is_null() && size > 0 {
            return kInvalidArgument;
        }
        let mut bytes = self.lock();
        let end = bytes.at + size;
        if end > MAX {
            return kOutOfMemory;
        }
        if end > bytes.data.len() {
            bytes.data.resize(end, 0);
        }
        if size > 0 {
            let at = bytes.at;
            // SAFETY: see the file's text.
            let from = unsafe { std::slice::from_raw_parts(buffer.cast::<u8>(), size) };
            bytes.data[at..end].copy_from_slice(from);
        }
        bytes.at = end;
        if !done.is_null() {
            // SAFETY: see the file's text.
            unsafe { done.write_unaligned(size as i32) };
        }
        kResultOk
    }

    unsafe fn seek(&self, by: i64, mode: i32, result: *mut i64) -> tresult {
        let mut bytes = self.lock();
        let from = match mode as IStreamSeekMode {
            kIBSeekSet => 0,
            kIBSeekCur => bytes.at as i64,
            kIBSeekEnd => bytes.data.len() as i64,
            _ => return kInvalidArgument,
        };
        let to = from.checked_add(by).and_then(|to| usize::try_from(to).ok());
        let Some(to) = to.filter(|&to| to <= MAX) else { return kInvalidArgument };
        bytes.at = to;
        if !result.is_null() {
            // SAFETY: see the file's text.
            unsafe { result.write_unaligned(to as i64) };
        }
        kResultOk
    }

    unsafe fn tell(&self, at: *mut i64) -> tresult {
        if at.is_null() {
            return kInvalidArgument;
        }
        // SAFETY: see the file's text.
        unsafe { at.write_unaligned(self.lock().at as i64) };
        kResultOk
    }
}

impl ISizeableStreamTrait for Stream {
    unsafe fn getStreamSize(&self, size: *mut i64) -> tresult {
        if size.is_null() {
            return kInvalidArgument;
        }
        // SAFETY: see the file's text.
        unsafe { size.write_unaligned(self.lock().data.len() as i64) };
        kResultOk
    }

    unsafe fn setStreamSize(&self, size: i64) -> tresult {
        let Some(size) = usize::try_from(size).ok().filter(|&size| size <= MAX) else {
            return kInvalidArgument;
        };
        self.lock().data.resize(size, 0);
        kResultOk
    }
}

impl IStreamAttributesTrait for Stream {
    unsafe fn getFileName(&self, _name: *mut String128) -> tresult {
        kNotImplemented
    }

    unsafe fn getAttributes(&self) -> *mut IAttributeList {
        // Not counted: it lives as long as the stream.
        self.attributes.as_ptr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vst3::ComRef;
    use vst3::Steinberg::Vst::IAttributeListTrait;

    #[test]
    fn a_stream_is_read_written_and_sought() {
        let own = Stream::new(vec![], StateContext::Project, None);
        let stream = as_argument(&own);
        // SAFETY: the stream lives; addresses are those of local values, sizes are theirs.
        unsafe {
            let (mut done, mut at) = (0, 0);
            let mut text = *b"hello";
            assert_eq!(stream.write(text.as_mut_ptr().cast(), 5, &mut done), kResultOk);
            assert_eq!(done, 5);
            assert_eq!(stream.seek(-3, kIBSeekEnd as i32, &mut at), kResultOk);
            assert_eq!(at, 2);
            assert_eq!(stream.read(text.as_mut_ptr().cast(), 5, &mut done), kResultOk);
            assert_eq!((done, &text[..3]), (3, b"llo".as_slice()));
            assert_eq!(stream.read(text.as_mut_ptr().cast(), -1, &mut done), kInvalidArgument);
            assert_eq!(stream.seek(-1, kIBSeekSet as i32, &mut at), kInvalidArgument);
            // A gap is filled with zeros, and nothing is claimed that is not written.
            assert_eq!(stream.seek(7, kIBSeekSet as i32, &mut at), kResultOk);
            assert_eq!(stream.read(text.as_mut_ptr().cast(), 5, &mut done), kResultOk);
            assert_eq!(done, 0);
            assert_eq!(stream.write(text.as_mut_ptr().cast(), 1, std::ptr::null_mut()), kResultOk);
            assert_eq!(own.take(), b"hello\0\0l");
            assert_eq!(stream.seek(i64::MAX, kIBSeekCur as i32, &mut at), kInvalidArgument);
        }
    }

    #[test]
    fn a_stream_says_what_it_is_for() {
        for (context, expected) in
            [(StateContext::Project, Some("Project")), (StateContext::Preset, None)]
        {
            let own = Stream::new(vec![], context, None);
            let stream = as_argument(&own).cast::<IStreamAttributes>().unwrap();
            let mut text = [0_u16; 32];
            // SAFETY: the stream lives, and so does its list; the text has the size given.
            let known = unsafe {
                let list = ComRef::from_raw(stream.getAttributes()).unwrap();
                list.getString(c"StateType".as_ptr(), text.as_mut_ptr(), 64) == kResultOk
            };
            assert_eq!(known.then(|| super::super::abi::wide(&text)).as_deref(), expected);
        }
    }
}
