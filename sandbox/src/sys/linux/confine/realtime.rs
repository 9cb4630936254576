//! The realtime class, for the worker's audio thread alone: a plugin's own threads in it could keep
//! every core from every other plugin.

use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule,
};
use std::collections::BTreeMap;
use std::io;

/// From now on no thread of this process gets into the realtime class by itself. Who is in it stays,
/// and the host may still put threads there.
///
/// Answered with EPERM and not told: it is what programs meet on most systems, and live with; and the
/// C library asks for it with signals blocked.
pub fn keep_realtime() -> io::Result<()> {
    let text = |error: Box<dyn std::error::Error>| io::Error::other(error.to_string());
    let program = program().map_err(text)?;
    seccompiler::apply_filter_all_threads(&program).map_err(io::Error::other)
}

fn program() -> Result<BpfProgram, Box<dyn std::error::Error>> {
    // Without the flag that keeps children from inheriting the class.
    let class = SeccompCmpOp::MaskedEq(!(libc::SCHED_RESET_ON_FORK as u32) as u64);
    let is = |policy: i32| {
        let condition =
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, class.clone(), policy as u64)?;
        SeccompRule::new(vec![condition])
    };
    let realtime = [libc::SCHED_FIFO, libc::SCHED_RR, libc::SCHED_DEADLINE];
    let rules: BTreeMap<i64, Vec<SeccompRule>> = [
        (libc::SYS_sched_setscheduler, realtime.into_iter().map(is).collect::<Result<_, _>>()?),
        // What it asks for stands in memory, where a filter can't look.
        (libc::SYS_sched_setattr, vec![]),
    ]
    .into();
    let arch = std::env::consts::ARCH.try_into()?;
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    Ok(SeccompFilter::new(rules, SeccompAction::Allow, refuse, arch)?.try_into()?)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_filter_is_one_that_the_kernel_would_take() {
        assert!((1..4096).contains(&super::program().unwrap().len()));
    }
}
