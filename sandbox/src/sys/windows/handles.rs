//! Handing memory to a worker: the host duplicates the handles into the worker's process and tells
//! their numbers over a pipe.
//!
//! The worker's end of the pipe is its standard input, the only handle that it inherits.
//!
//! # Safety
//! The `unsafe` calls pass handles that the values own, and buffers of the sizes told. A worker takes
//! the numbers for handles of its own: the host, which alone holds the pipe's other end, made them.
#![allow(unsafe_code)]

use super::wake::owned;
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::windows::io::{AsRawHandle, FromRawHandle, OwnedHandle, RawHandle};
use std::ptr::{null, null_mut};
use std::sync::{Arc, OnceLock};
use windows_sys::Win32::Foundation::{DUPLICATE_SAME_ACCESS, DuplicateHandle, HANDLE};
use windows_sys::Win32::Storage::FileSystem::{FILE_TYPE_PIPE, GetFileType};
use windows_sys::Win32::System::Console::{GetStdHandle, STD_INPUT_HANDLE, SetStdHandle};
use windows_sys::Win32::System::Pipes::{CreatePipe, PIPE_NOWAIT, SetNamedPipeHandleState};
use windows_sys::Win32::System::Threading::GetCurrentProcess;

/// Something that can be handed to another process: a section, and the bells of its words. Closed
/// when dropped.
pub struct Handle(pub(super) Vec<OwnedHandle>);

/// Bytes that the pipe holds: a worker reads them only when the request that they belong to comes.
const ROOM: u32 = 256 * 1024;
/// Most handles of one region.
const MOST: u32 = 256;

/// One end of a connection over which handles pass, from the host to one worker.
pub struct HandleChannel {
    pipe: File,
    /// The process to hand to; known once it has been started.
    worker: Arc<OnceLock<OwnedHandle>>,
}

impl HandleChannel {
    /// Both ends: the host's, the worker's.
    pub fn pair() -> io::Result<(Self, Self)> {
        let (mut read, mut write): (HANDLE, HANDLE) = (null_mut(), null_mut());
        // SAFETY: fills two locals.
        if unsafe { CreatePipe(&mut read, &mut write, null(), ROOM) } == 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: both are new.
        let (read, write) = unsafe { (owned(read)?, owned(write)?) };
        // A worker that does not read must not hold the supervisor. Refused, it holds it when the
        // pipe is full.
        // SAFETY: the mode is a local.
        unsafe { SetNamedPipeHandleState(write.as_raw_handle(), &PIPE_NOWAIT, null(), null()) };
        let worker = Arc::new(OnceLock::new());
        let host = Self { pipe: write.into(), worker: Arc::clone(&worker) };
        Ok((host, Self { pipe: read.into(), worker }))
    }

    /// The worker's end, to be inherited, and where to put its process once there is one.
    pub(super) fn into_parts(self) -> (OwnedHandle, Arc<OnceLock<OwnedHandle>>) {
        (self.pipe.into(), self.worker)
    }

    /// In a worker: takes the channel that the host put in place of standard input, and puts
    /// `NUL` there.
    pub fn from_stdin() -> io::Result<Self> {
        let null = OwnedHandle::from(File::open("NUL")?);
        // SAFETY: the handle is this process's standard input and nothing else uses it; what is put
        // in its place is never closed.
        unsafe {
            let stdin = owned(GetStdHandle(STD_INPUT_HANDLE))?;
            if GetFileType(stdin.as_raw_handle()) != FILE_TYPE_PIPE {
                // Started by hand.
                std::mem::forget(stdin);
                return Err(io::Error::other("standard input is not a pipe"));
            }
            SetStdHandle(STD_INPUT_HANDLE, null.as_raw_handle());
            std::mem::forget(null);
            Ok(Self { pipe: stdin.into(), worker: Arc::default() })
        }
    }

    /// Sends handles; they arrive in this order.
    pub fn send(&self, handles: &[&Handle]) -> io::Result<()> {
        if handles.is_empty() {
            return Ok(());
        }
        let worker = self.worker.get().ok_or_else(|| io::Error::other("it was not started"))?;
        let mut message = Vec::new();
        for handle in handles {
            message.extend((handle.0.len() as u32).to_le_bytes());
            for one in &handle.0 {
                message.extend(hand_to(worker, one)?.to_le_bytes());
            }
        }
        let mut pipe = &self.pipe;
        match pipe.write(&message)? {
            all if all == message.len() => Ok(()),
            _ => Err(io::Error::new(io::ErrorKind::WouldBlock, "it does not take its handles")),
        }
    }

    /// Nothing is received from now on. Nothing can be, on this system: the pipe has one direction.
    pub fn stop_receiving(&self) {}

    /// Receives exactly `count` handles, which have been sent before or are about to be.
    pub fn receive(&self, count: usize) -> io::Result<Vec<Handle>> {
        let mut pipe = &self.pipe;
        let mut number = || -> io::Result<u32> {
            let mut bytes = [0; 4];
            pipe.read_exact(&mut bytes)?;
            Ok(u32::from_le_bytes(bytes))
        };
        let mut all = Vec::with_capacity(count);
        for _ in 0..count {
            let members = number()?;
            if members == 0 || members > MOST {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "not a number of handles"));
            }
            let mut handle = Vec::with_capacity(members as usize);
            for _ in 0..members {
                let value = number()?;
                // SAFETY: the host made it for this process alone; see the file's text.
                handle.push(unsafe { OwnedHandle::from_raw_handle(value as usize as RawHandle) });
            }
            all.push(Handle(handle));
        }
        Ok(all)
    }
}

/// Puts a copy of a handle into another process. Its number there: of the bits of a handle 32 count.
fn hand_to(process: &OwnedHandle, handle: &OwnedHandle) -> io::Result<u32> {
    let mut there: HANDLE = null_mut();
    // SAFETY: fills a local; both handles are borrowed.
    let done = unsafe {
        DuplicateHandle(
            GetCurrentProcess(),
            handle.as_raw_handle(),
            process.as_raw_handle(),
            &mut there,
            0,
            0,
            DUPLICATE_SAME_ACCESS,
        )
    };
    match done {
        0 => Err(io::Error::last_os_error()),
        _ => Ok(there as usize as u32),
    }
}

/// A copy with no more than these rights.
pub(super) fn duplicate(handle: &OwnedHandle, rights: u32) -> io::Result<OwnedHandle> {
    let mut copy: HANDLE = null_mut();
    // SAFETY: fills a local; the handle is borrowed.
    unsafe {
        let own = GetCurrentProcess();
        match DuplicateHandle(own, handle.as_raw_handle(), own, &mut copy, rights, 0, 0) {
            0 => Err(io::Error::last_os_error()),
            _ => owned(copy),
        }
    }
}
