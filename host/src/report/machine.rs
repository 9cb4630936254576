//! Facts about the machine, as far as files and the standard library tell them.

use std::time::{SystemTime, UNIX_EPOCH};

use super::Machine;

impl Machine {
    /// This machine. What can't be found out is `unknown`. The permissions are left for the caller
    /// to fill in: `realtime` and `locked_memory`.
    pub fn gather() -> Self {
        let unknown = || "unknown".to_owned();
        Self {
            cpu: cpu().or_else(cpu_by_environment).unwrap_or_else(unknown),
            cores: std::thread::available_parallelism().map_or(1, |n| n.get() as u32),
            kernel: kernel().unwrap_or_else(unknown),
            realtime: unknown(),
            realtime_granted: false,
            idle_cores: unknown(),
            locked_memory: unknown(),
            locked_memory_granted: false,
        }
    }
}

/// Missing files are no error here: other systems don't have them.
fn cpu() -> Option<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").ok()?;
    let field = |name: &str| {
        let line =
            text.lines().find(|line| line.split(':').next().is_some_and(|k| k.trim() == name));
        let value = line?.split_once(':')?.1.split_whitespace().collect::<Vec<_>>().join(" ");
        (!value.is_empty()).then_some(value)
    };
    // x86 has the first, some ARM boards the others.
    field("model name").or_else(|| field("Model")).or_else(|| field("Hardware"))
}

/// Windows says there what it runs on.
fn cpu_by_environment() -> Option<String> {
    std::env::var("PROCESSOR_IDENTIFIER").ok().filter(|text| !text.is_empty())
}

fn kernel() -> Option<String> {
    let read = |name: &str| {
        let text = std::fs::read_to_string(format!("/proc/sys/kernel/{name}")).ok()?;
        let text = text.trim().to_owned();
        (!text.is_empty()).then_some(text)
    };
    let release = read("osrelease").map(|release| match read("ostype") {
        Some(system) => format!("{system} {release}"),
        None => release,
    });
    release.or_else(|| Some(std::env::consts::OS.to_owned()).filter(|os| !os.is_empty()))
}

/// Now, as in `2031-05-17T09:30:00Z`.
pub fn now_utc() -> String {
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs());
    utc(seconds)
}

fn utc(seconds: u64) -> String {
    let (days, time) = (seconds / 86_400, seconds % 86_400);
    // Counted from 1 March of year 0, so that the leap day is the last of a year; an era is 400
    // years of 146097 days.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // Months from March have 153 days per five.
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        time / 3600,
        time / 60 % 60,
        time % 60
    )
}

#[cfg(test)]
mod tests {
    #[test]
    fn dates_are_right_around_leap_days() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_709_251_199, "2024-02-29T23:59:59Z"),
            (1_709_251_200, "2024-03-01T00:00:00Z"),
            (4_102_444_800, "2100-01-01T00:00:00Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(super::utc(seconds), text);
        }
    }
}
