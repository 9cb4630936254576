//! What a run of `torture` found, for JSON and for people, and whether the promises were kept.

use serde::Serialize;
use std::fmt;

/// The longest that bringing a plugin back may take, for 99 of 100, ms.
const RECOVERY_MS: f64 = 150.0;

/// See the module. Times in ms.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TortureReport {
    /// Version of the program.
    pub version: String,
    /// Faults injected.
    pub faults: u64,
    /// What chose them.
    pub seed: u64,
    /// Frames per callback.
    pub frames: u32,
    /// Frames per second.
    pub rate: u32,
    /// Healthy chains, of so many plugins in all.
    pub healthy_chains: usize,
    /// Plugins of these.
    pub healthy_plugins: usize,
    /// Plugins under attack, each in a chain of its own.
    pub attacked_plugins: usize,
    /// What confined them.
    pub confinement: String,
    /// How long it took.
    pub seconds: f64,
    /// Callbacks in runs with faults,
    pub callbacks: u64,
    /// and in the same runs without, between them.
    pub callbacks_fault_free: u64,
    /// Callbacks that came back after their deadline, in runs with faults,
    pub late_callbacks: u64,
    /// and without.
    pub late_callbacks_fault_free: u64,
    /// Callbacks that the driver had to leave out, in runs with faults,
    pub xruns: u64,
    /// and without.
    pub xruns_fault_free: u64,
    /// Blocks of healthy chains in runs with faults, each compared with what it should be,
    pub healthy_blocks: u64,
    /// those in which a bit differs,
    pub healthy_blocks_differing: u64,
    /// and of these, those in which a plugin of that very chain had missed its deadline, or which
    /// follow such a block: what a busy machine does without any fault, too.
    pub healthy_blocks_late: u64,
    /// The same of runs without faults.
    pub healthy_blocks_fault_free: u64,
    /// The same of runs without faults.
    pub healthy_blocks_differing_fault_free: u64,
    /// The same of runs without faults.
    pub healthy_blocks_late_fault_free: u64,
    /// From the fault until the plugin is heard again. (Of what grows until it reaches a limit: from
    /// then.)
    pub recovery_ms: Milliseconds,
    /// Faults of which a plugin did not come back.
    pub not_recovered: u64,
    /// States that were looked at after a recovery,
    pub states: u64,
    /// and were not those before the fault.
    pub state_lost: u64,
    /// Processes of workers, or started by them, that are still there in the end.
    pub leftover_processes: usize,
    /// Pieces of shared memory that are still there in the end.
    pub leftover_shm: usize,
    /// By kind of fault.
    pub by_kind: Vec<ByKind>,
    /// Promises that were not kept, and what else is to be said.
    pub broken: Vec<String>,
    /// What is worth knowing of this run.
    pub notes: Vec<String>,
}

/// Quantiles, ms.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Milliseconds {
    /// Median.
    pub p50: f64,
    /// All but one of a hundred.
    pub p99: f64,
    /// The longest.
    pub max: f64,
}

/// Faults of one kind.
#[derive(Clone, Debug, Serialize)]
pub struct ByKind {
    /// Its name.
    pub kind: String,
    /// How many.
    pub faults: u64,
    /// After so many the process ended by itself,
    pub died: u64,
    /// after so many it was ended,
    pub killed: u64,
    /// and after so many the plugin came back.
    pub recovered: u64,
    /// After so many it did not.
    pub not_recovered: u64,
    /// How long that took.
    pub recovery_ms: Milliseconds,
}

impl TortureReport {
    /// Judges what was counted. `times`: also what depends on the machine having nothing else to do.
    pub(super) fn judge(&mut self, times: bool) {
        let mut broken = Vec::new();
        let unexplained = self.healthy_blocks_differing - self.healthy_blocks_late;
        if unexplained > 0 {
            broken.push(format!(
                "{unexplained} blocks of healthy chains differ, though their plugins were in time"
            ));
        }
        for (count, what) in [
            (self.state_lost, "states were lost"),
            (self.not_recovered, "plugins did not come back"),
            (self.leftover_processes as u64, "processes were left over"),
            (self.leftover_shm as u64, "pieces of shared memory were left over"),
        ] {
            if count > 0 {
                broken.push(format!("{count} {what}"));
            }
        }
        if times {
            let (late, free) = (self.late_callbacks, self.late_callbacks_fault_free);
            if late > most_by_chance(free) {
                broken.push(format!("{late} callbacks were late, without faults {free}"));
            }
            let (late, free) = (self.healthy_blocks_late, self.healthy_blocks_late_fault_free);
            if late > most_by_chance(free) {
                broken.push(format!(
                    "{late} blocks of healthy chains were late, without faults {free}"
                ));
            }
            if self.recovery_ms.p99 > RECOVERY_MS {
                broken.push(format!(
                    "one of a hundred recoveries took more than {:.0} ms: {RECOVERY_MS} are allowed",
                    self.recovery_ms.p99
                ));
            }
        }
        self.broken = broken;
    }
}

/// The greatest count that is no worse than another of the same length: three standard deviations,
/// and one where there was none.
fn most_by_chance(count: u64) -> u64 {
    count + (3.0 * (count as f64).sqrt()).max(1.0) as u64
}

impl fmt::Display for TortureReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} faults in {} attacked plugins beside {} healthy ones in {} chains, {} frames at {} \
             Hz, seed {}\nconfined: {}\n",
            self.faults,
            self.attacked_plugins,
            self.healthy_plugins,
            self.healthy_chains,
            self.frames,
            self.rate,
            self.seed,
            self.confinement
        )?;
        writeln!(f, "{:34}{:>14}{:>14}", "", "with faults", "without")?;
        for (what, with, without) in [
            ("callbacks", self.callbacks, self.callbacks_fault_free),
            ("  past their deadline", self.late_callbacks, self.late_callbacks_fault_free),
            ("  left out (xruns)", self.xruns, self.xruns_fault_free),
            ("blocks of healthy chains", self.healthy_blocks, self.healthy_blocks_fault_free),
            (
                "  that differ in a bit",
                self.healthy_blocks_differing,
                self.healthy_blocks_differing_fault_free,
            ),
        ] {
            writeln!(f, "{what:34}{with:>14}{without:>14}")?;
        }
        if self.healthy_blocks_late > 0 {
            writeln!(
                f,
                "  of these by a plugin of theirs that was late {:>5}",
                self.healthy_blocks_late
            )?;
        }
        let Milliseconds { p50, p99, max } = self.recovery_ms;
        writeln!(
            f,
            "\nback again after      {p50:.0} ms (p50), {p99:.0} ms (p99), {max:.0} ms (longest)"
        )?;
        writeln!(f, "not back              {}", self.not_recovered)?;
        writeln!(f, "states lost           {} of {}", self.state_lost, self.states)?;
        writeln!(f, "processes left over   {}", self.leftover_processes)?;
        writeln!(f, "shared memory left    {}\n", self.leftover_shm)?;
        writeln!(
            f,
            "{:20}{:>8}{:>8}{:>8}{:>8}{:>10}{:>10}",
            "kind", "faults", "died", "ended", "back", "p50 ms", "max ms"
        )?;
        for kind in &self.by_kind {
            let Milliseconds { p50, max, .. } = kind.recovery_ms;
            let ms = |ms: f64| if kind.recovered == 0 { "-".into() } else { format!("{ms:.0}") };
            writeln!(
                f,
                "{:20}{:>8}{:>8}{:>8}{:>8}{:>10}{:>10}",
                kind.kind,
                kind.faults,
                kind.died,
                kind.killed,
                kind.recovered,
                ms(p50),
                ms(max)
            )?;
        }
        for note in &self.notes {
            writeln!(f, "\nnote: {note}")?;
        }
        match self.broken.as_slice() {
            [] => writeln!(f, "\nAll promises were kept."),
            broken => {
                writeln!(f)?;
                broken.iter().try_for_each(|what| writeln!(f, "BROKEN: {what}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_broken_is_named_and_chance_is_not_held_against_it() {
        let mut report = TortureReport { late_callbacks: 1, ..TortureReport::default() };
        report.judge(true);
        assert_eq!(report.broken, [] as [&str; 0]);
        report.late_callbacks = 130;
        report.late_callbacks_fault_free = 100;
        report.judge(true);
        assert_eq!(report.broken, [] as [&str; 0]);
        report.late_callbacks = 131;
        (report.healthy_blocks_differing, report.state_lost) = (3, 2);
        report.recovery_ms.p99 = 151.0;
        report.judge(false);
        assert_eq!(report.broken.len(), 2, "{:?}", report.broken);
        report.judge(true);
        assert_eq!(report.broken.len(), 4, "{:?}", report.broken);
        assert!(report.to_string().contains("BROKEN: 2 states were lost"));
        // A late plugin is not a wrong bit.
        report.healthy_blocks_late = 3;
        report.healthy_blocks_late_fault_free = 3;
        report.judge(false);
        assert_eq!(report.broken, ["2 states were lost"]);
    }
}
