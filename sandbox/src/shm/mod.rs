//! Shared memory: its layout, and the typed views through which alone it is touched.

pub mod layout;
pub mod marks;
mod view;

pub use view::{BlockView, DoorbellView, InboxReader, InboxWriter, OutboxReader, OutboxWriter};
