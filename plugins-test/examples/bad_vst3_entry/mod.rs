//! What the libraries `bad_vst3_entry_*`, `no_vst3_factory` and `vst3_factory_aborts` have in common.

/// Exports the entry points of VST3, with these as the bodies of `ModuleEntry` and
/// `GetPluginFactory`. (On Windows the first is `InitDll`.)
macro_rules! module {
    ($entry:block, $factory:block) => {
        #[cfg_attr(not(windows), unsafe(export_name = "ModuleEntry"))]
        #[cfg_attr(windows, unsafe(export_name = "InitDll"))]
        extern "system" fn enter(_library: *mut std::ffi::c_void) -> bool $entry

        #[cfg_attr(not(windows), unsafe(export_name = "ModuleExit"))]
        #[cfg_attr(windows, unsafe(export_name = "ExitDll"))]
        extern "system" fn leave() -> bool {
            true
        }

        /// The entry point of VST3.
        #[unsafe(export_name = "GetPluginFactory")]
        pub extern "system" fn factory() -> *mut std::ffi::c_void $factory
    };
}
