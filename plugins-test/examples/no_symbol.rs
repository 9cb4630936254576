//! A library that exports nothing: neither `clap_entry` nor `GetPluginFactory`.
