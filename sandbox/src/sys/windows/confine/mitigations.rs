//! Mitigation policies: what this process gives up for good.
//!
//! Only those that plugins in general bear. Not among them: refusing code made at run time (plugins
//! have compilers in them), libraries that Microsoft did not sign, windows.

use std::ffi::c_void;
use windows_sys::Win32::System::Threading::{
    GetCurrentProcess, GetProcessMitigationPolicy, PROCESS_MITIGATION_POLICY,
    ProcessChildProcessPolicy, ProcessDynamicCodePolicy, ProcessExtensionPointDisablePolicy,
    ProcessImageLoadPolicy, SetProcessMitigationPolicy,
};

/// One policy.
struct Policy {
    which: PROCESS_MITIGATION_POLICY,
    /// Each is a word of bits.
    bits: u32,
    what: &'static str,
}

/// At every level.
const ALWAYS: [Policy; 3] = [
    Policy { which: ProcessExtensionPointDisablePolicy, bits: 1, what: "no extension points" },
    // From other machines, and those that a process of low integrity wrote.
    Policy { which: ProcessImageLoadPolicy, bits: 0b11, what: "no libraries from afar" },
    Policy { which: ProcessChildProcessPolicy, bits: 1, what: "no child processes" },
];

/// Further.
const STRICT: [Policy; 1] =
    [Policy { which: ProcessDynamicCodePolicy, bits: 1, what: "no code made at run time" }];

/// Puts them in force. Those that are, and those that are not.
pub(super) fn apply(strict: bool) -> (Vec<String>, Vec<String>) {
    let further = STRICT.iter().filter(|_| strict);
    let (there, lacking): (Vec<&Policy>, Vec<&Policy>) =
        ALWAYS.iter().chain(further).partition(|policy| policy.apply());
    let names = |all: Vec<&Policy>| all.iter().map(|policy| policy.what.to_owned()).collect();
    (names(there), names(lacking))
}

impl Policy {
    /// Whether it is in force afterwards, as the system says when asked: Wine says yes to all.
    fn apply(&self) -> bool {
        let mut now = 0u32;
        // SAFETY: each of these policies is a word.
        unsafe {
            let bits = (&raw const self.bits).cast::<c_void>();
            SetProcessMitigationPolicy(self.which, bits, size_of::<u32>()) != 0
                && GetProcessMitigationPolicy(
                    GetCurrentProcess(),
                    self.which,
                    (&raw mut now).cast(),
                    size_of::<u32>(),
                ) != 0
                && now & self.bits == self.bits
        }
    }
}
