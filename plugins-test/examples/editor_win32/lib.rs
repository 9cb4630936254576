//! A CLAP plugin (it does nothing to audio) whose editor is a child window of Windows, 300 × 200 at
//! first and never smaller than 100 × 100. Elsewhere a library without a plugin.
#![allow(unsafe_code, reason = "implements a C interface")]

#[cfg(windows)]
mod editor;
#[cfg(windows)]
mod plugin;
