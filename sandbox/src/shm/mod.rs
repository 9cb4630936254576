//! Shared memory: its layout, and the typed views through which alone it is touched.

pub mod crash_page;
pub mod layout;
pub mod marks;
pub mod recording;
mod view;

pub use view::{BlockView, DoorbellView, InboxReader, InboxWriter, OutboxReader, OutboxWriter};
