//! What changes the process that the plugin is in, for all that run in it.

use super::{Strike, crash, sys};

pub(super) fn strike(strike: Strike) {
    match strike {
        Strike::ClosesDescriptors => sys::close_descriptors(),
        Strike::ChangesPriority => sys::change_priority(),
        Strike::ChangesMask => sys::block_all_signals(),
        Strike::HandlesSignals => {
            sys::ignore_all_signals();
            // Its handler returns to the very instruction, again and again.
            crash::strike(Strike::Segfault);
        }
        _ => {}
    }
}
