//! How much plugins may use, on the command line.

use sandrack_sandbox::limits::Limits;

/// Options of every command that loads plugins.
#[derive(clap::Args, Clone, Copy, Debug, Default)]
pub(super) struct Arguments {
    /// Most memory of a worker, in MB [default: half of the machine's]
    #[arg(long, global = true, value_name = "MB", value_parser = megabytes)]
    limit_memory: Option<u64>,
    /// Most threads of a worker [default: 512]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(16..))]
    limit_threads: Option<u32>,
    /// Most files a worker may have open [default: 1024]
    #[arg(long, global = true, value_name = "N", value_parser = clap::value_parser!(u32).range(64..))]
    limit_files: Option<u32>,
    /// Most that a plugin may keep in its data folder, in MB [default: 1000]
    #[arg(long, global = true, value_name = "MB", value_parser = megabytes)]
    limit_disk: Option<u64>,
    /// Most processor time of a worker, in percent of a core [default: no limit]
    #[arg(long, global = true, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(10..))]
    limit_cpu: Option<u32>,
}

/// For clap: bytes, from a number of MB.
fn megabytes(text: &str) -> Result<u64, String> {
    match text.parse::<u64>() {
        Ok(mb @ 1..=1_000_000_000) => Ok(mb * 1_000_000),
        _ => Err("a whole number of MB, at least 1".into()),
    }
}

impl Arguments {
    pub(super) fn limits(self) -> Limits {
        let Self { limit_memory, limit_threads, limit_files, limit_disk, limit_cpu } = self;
        Limits {
            memory: limit_memory,
            threads: limit_threads,
            files: limit_files,
            disk: limit_disk,
            cpu: limit_cpu,
        }
    }
}
