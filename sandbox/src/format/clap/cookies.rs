//! What a plugin wants its parameters' events to carry, so that it need not look for the parameter.
//!
//! # Safety
//! Cookies are addresses that mean something to the plugin alone. They are never followed here, only
//! given back, and only as long as the plugin says that they hold; so any thread may have them.
#![allow(unsafe_code)]

use clack_extensions::params::{ParamInfoBuffer, PluginParams};
use clack_host::prelude::PluginMainThreadHandle;
use std::ffi::c_void;

/// A plugin's cookies, by parameter.
#[derive(Debug, Default)]
pub(super) struct Cookies {
    /// In order of the parameters' numbers. None of them null.
    all: Vec<(u32, *mut c_void)>,
}

// SAFETY: see the file's text.
unsafe impl Send for Cookies {}

impl Cookies {
    /// Asks for those of at most so many parameters. Main thread.
    pub(super) fn read(handle: &PluginMainThreadHandle<'_>, most: u32) -> Self {
        let Some(params) = handle.get_extension::<PluginParams>() else { return Self::default() };
        let mut buffer = ParamInfoBuffer::new();
        let mut all = Vec::new();
        for index in 0..params.count(handle).min(most) {
            let Some(info) = params.get_info(handle, index, &mut buffer) else { continue };
            let cookie = info.cookie.as_raw();
            if !cookie.is_null() {
                all.push((info.id.get(), cookie));
            }
        }
        // Stable, and the first of a number counts.
        all.sort_by_key(|(id, _)| *id);
        all.dedup_by_key(|(id, _)| *id);
        Self { all }
    }

    /// Of a parameter; null: it has none.
    pub(super) fn of(&self, param: u32) -> *mut c_void {
        match self.all.binary_search_by_key(&param, |(id, _)| *id) {
            Ok(at) => self.all[at].1,
            Err(_) => std::ptr::null_mut(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_parameter_without_a_cookie_has_none() {
        let place = |number: usize| std::ptr::without_provenance_mut::<c_void>(number);
        let cookies = Cookies { all: vec![(2, place(20)), (7, place(70))] };
        assert_eq!([2, 7, 3].map(|param| cookies.of(param).addr()), [20, 70, 0]);
        assert!(Cookies::default().of(0).is_null());
    }
}
