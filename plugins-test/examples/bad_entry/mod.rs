//! What the libraries `bad_entry_*` and `no_factory` have in common.

/// Exports a `clap_entry` with this as the body of its `init`. It has no plugin factory.
macro_rules! clap_entry {
    ($init:block) => {
        extern "C" fn init(_plugin_path: *const std::ffi::c_char) -> bool $init

        extern "C" fn deinit() {}

        extern "C" fn get_factory(_id: *const std::ffi::c_char) -> *const std::ffi::c_void {
            std::ptr::null()
        }

        /// The entry point of CLAP.
        #[unsafe(no_mangle)]
        #[allow(non_upper_case_globals, reason = "CLAP says how it is spelt")]
        pub static clap_entry: clap_sys::entry::clap_plugin_entry =
            clap_sys::entry::clap_plugin_entry {
                clap_version: clap_sys::version::CLAP_VERSION,
                init: Some(init),
                deinit: Some(deinit),
                get_factory: Some(get_factory),
            };
    };
}
