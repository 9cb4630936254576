//! COM objects that the host lends a plugin for the time of a call.
//!
//! The lender decides how long they live. A plugin that releases more than it holds must not free
//! them, and one that holds on to them must find them still there: the count only tells whether
//! the memory may be given back in the end.
//!
//! # Safety
//! Interface pointers come from the pointer to the whole allocation, whose layout is [`Inner`]'s,
//! the header first. `Wrapper` finds the parts by their offsets in it. The allocation is freed by
//! `Drop` alone, and only when nobody else has a reference.
#![allow(unsafe_code)]

use std::mem::offset_of;
use std::ops::Deref;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicU32, Ordering};
use vst3::com_scrape_types::{Header, InterfaceList, MakeHeader, Wrapper};
use vst3::{Class, Interface};

#[repr(C)]
struct Inner<C: Class> {
    header: Header<C>,
    /// References, the lender's included. Never less than 1.
    references: AtomicU32,
    data: C,
}

/// An object of the host. Belongs to whoever has this value.
pub(super) struct Lent<C: Class> {
    inner: NonNull<Inner<C>>,
}

impl<C: Class> Lent<C> {
    pub(super) fn new(data: C) -> Self
    where
        C: 'static,
        C::Interfaces: MakeHeader<C, Self>,
    {
        let header = <C::Interfaces as MakeHeader<C, Self>>::HEADER;
        let inner = Box::new(Inner { header, references: AtomicU32::new(1), data });
        Self { inner: NonNull::from(Box::leak(inner)) }
    }

    /// The object as a plugin sees it; null if it does not have the interface. Good for as long as
    /// this value.
    pub(super) fn as_ptr<I: Interface>(&self) -> *mut I {
        match C::Interfaces::query(&I::IID) {
            // SAFETY: an offset that the list of interfaces gives lies within the header, which is
            // the first part of `Inner`.
            Some(offset) => unsafe { self.inner.as_ptr().byte_offset(offset).cast() },
            None => std::ptr::null_mut(),
        }
    }
}

impl<C: Class> Deref for Lent<C> {
    type Target = C;

    fn deref(&self) -> &C {
        // SAFETY: alive until drop; nobody has it mutably.
        unsafe { &self.inner.as_ref().data }
    }
}

impl<C: Class> Drop for Lent<C> {
    fn drop(&mut self) {
        // Acquire, with `release`. Whoever still has a reference may use it one day: leaked.
        // SAFETY: alive; made by `Box::leak`, and freed here alone.
        unsafe {
            if self.inner.as_ref().references.load(Ordering::Acquire) == 1 {
                drop(Box::from_raw(self.inner.as_ptr()));
            }
        }
    }
}

impl<C: Class> Wrapper<C> for Lent<C> {
    unsafe fn data_from_header(ptr: *mut Header<C>) -> *mut C {
        // SAFETY: the header is the first part of an `Inner` (contract of `Wrapper`).
        unsafe { ptr.byte_add(offset_of!(Inner<C>, data)).cast() }
    }

    unsafe fn header_from_data(ptr: *mut C) -> *mut Header<C> {
        // SAFETY: `ptr` is the data of an `Inner` (contract of `Wrapper`).
        unsafe { ptr.byte_sub(offset_of!(Inner<C>, data)).cast() }
    }

    unsafe fn add_ref(ptr: *mut C) -> usize {
        // SAFETY: as above; alive, for the plugin has a pointer to it.
        let references = unsafe { &(*Self::header_from_data(ptr).cast::<Inner<C>>()).references };
        let more = |count: u32| count.checked_add(1);
        match references.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more) {
            Ok(before) => before as usize + 1,
            Err(most) => most as usize,
        }
    }

    unsafe fn release(ptr: *mut C) -> usize {
        // SAFETY: as in `add_ref`.
        let references = unsafe { &(*Self::header_from_data(ptr).cast::<Inner<C>>()).references };
        let fewer = |count: u32| (count > 1).then(|| count - 1);
        // Release, with the load in `drop`.
        match references.fetch_update(Ordering::Release, Ordering::Relaxed, fewer) {
            Ok(before) => before as usize - 1,
            // More than it had: the lender's own reference stays.
            Err(least) => least as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::rc::Rc;
    use vst3::Steinberg::Vst::{Event, IEventList, IEventListTrait, IParameterChanges};
    use vst3::Steinberg::{FUnknown, int32, kResultFalse, tresult};
    use vst3::{ComPtr, ComRef};

    struct Seven(#[expect(dead_code, reason = "counts who holds it")] Rc<()>);

    impl Class for Seven {
        type Interfaces = (IEventList,);
    }

    impl IEventListTrait for Seven {
        unsafe fn getEventCount(&self) -> int32 {
            7
        }
        unsafe fn getEvent(&self, _: int32, _: *mut Event) -> tresult {
            kResultFalse
        }
        unsafe fn addEvent(&self, _: *mut Event) -> tresult {
            kResultFalse
        }
    }

    fn object() -> (Lent<Seven>, Rc<()>) {
        let alive = Rc::new(());
        (Lent::new(Seven(alive.clone())), alive)
    }

    #[test]
    fn it_answers_through_its_interfaces_only() {
        let (object, alive) = object();
        let list = object.as_ptr::<IEventList>();
        // SAFETY: valid until `object` is dropped.
        let list = unsafe { ComRef::from_raw(list).unwrap() };
        // SAFETY: no arguments.
        assert_eq!(unsafe { list.getEventCount() }, 7);
        assert!(list.cast::<FUnknown>().is_some());
        assert!(list.cast::<IParameterChanges>().is_none());
        assert!(object.as_ptr::<IParameterChanges>().is_null());
        drop(object);
        assert_eq!(Rc::strong_count(&alive), 1, "freed: all references are back");
    }

    #[test]
    fn a_plugin_that_releases_too_often_frees_nothing() {
        let (object, alive) = object();
        for _ in 0..3 {
            // SAFETY: the very mistake that this is about; each takes a reference that is not its.
            drop(unsafe { ComPtr::from_raw(object.as_ptr::<IEventList>()) });
        }
        assert_eq!(Rc::strong_count(&alive), 2);
        drop(object);
        assert_eq!(Rc::strong_count(&alive), 1);
    }

    #[test]
    fn a_plugin_that_holds_on_finds_it_still_there() {
        let (object, alive) = object();
        // SAFETY: valid until `object` is dropped, and takes a reference.
        let held = unsafe { ComRef::from_raw(object.as_ptr::<IEventList>()).unwrap().to_com_ptr() };
        drop(object);
        // SAFETY: no arguments.
        assert_eq!(unsafe { held.getEventCount() }, 7);
        drop(held);
        assert_eq!(Rc::strong_count(&alive), 2, "leaked, not freed under somebody");
    }
}
