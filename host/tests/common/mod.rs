//! What the tests from outside share: the program and the plugins as a user has them, processes
//! as the system shows them, and blocks stepped by hand.
//!
//! Every test that uses this runs under the allocation guard: in a debug build an allocation in
//! realtime code ends it.
#![allow(dead_code, reason = "each test uses what it needs")]

#[cfg(windows)]
pub(crate) mod asio;
pub(crate) mod bundle;
#[cfg(unix)]
pub(crate) mod display;
#[cfg(unix)]
pub(crate) mod jack_clients;
#[cfg(unix)]
pub(crate) mod jackd;
pub(crate) mod offline;
pub(crate) mod players;
pub(crate) mod program;
pub(crate) mod render;
pub(crate) mod score;
pub(crate) mod system;

use sandrack_host::plugins::test_library;
use sandrack_sandbox::confine::Confinement;
use sandrack_sandbox::format::PluginRef;
use sandrack_sandbox::supervisor::{Supervisor, SupervisorOptions};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

#[cfg(debug_assertions)]
#[global_allocator]
static GUARD: assert_no_alloc::AllocDisabler = assert_no_alloc::AllocDisabler;

/// The program under test.
pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_sandrack");

/// Longer than anything here takes, on the slowest of machines.
pub(crate) const LONG: Duration = Duration::from_secs(60);

/// `target/<profile>`.
fn profile_folder() -> &'static Path {
    Path::new(PROGRAM).parent().expect("the program lies in a folder")
}

/// Builds the plugin libraries, of which a run of this package's tests alone builds only one.
fn build_plugins() {
    static BUILT: OnceLock<()> = OnceLock::new();
    BUILT.get_or_init(|| {
        if !env!("CARGO").ends_with(&format!("cargo{}", std::env::consts::EXE_SUFFIX)) {
            // Built for another system than cargo's, which can't be started here: whoever builds
            // these tests builds the plugins too (`example` looks whether they are there).
            return;
        }
        let target = profile_folder().parent().expect("target/<profile>");
        let mut cargo = Command::new(env!("CARGO"));
        cargo.current_dir(env!("CARGO_MANIFEST_DIR"));
        cargo.args(["build", "--quiet", "-p", "sandrack-plugins-test", "--examples"]);
        cargo.arg("--target-dir").arg(target);
        if profile_folder().ends_with("release") {
            cargo.arg("--release");
        }
        let output = cargo.output().expect("cargo starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    });
}

/// One of the hostile libraries.
pub(crate) fn example(name: &str) -> PathBuf {
    build_plugins();
    let path = profile_folder().join("examples").join(format!(
        "{}{name}{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    ));
    assert!(path.is_file(), "{} was not built", path.display());
    path
}

/// A hostile plugin.
pub(crate) fn hostile(what: &str) -> PluginRef {
    PluginRef { path: example("hostile"), id: Some(format!("org.sandrack.hostile.{what}")) }
}

/// The hostile plugin that can be any, of each format.
pub(crate) fn any_hostile() -> [PluginRef; 2] {
    [hostile("any"), PluginRef { path: example("hostile_vst3"), id: Some("Hostile any".into()) }]
}

/// A well-behaved plugin.
pub(crate) fn plugin(name: &str) -> PluginRef {
    build_plugins();
    let path = test_library().expect("cargo builds it with this test");
    PluginRef { path, id: Some(format!("org.sandrack.test.{name}")) }
}

/// Workers outside the realtime class: what hangs must not hold a core against other tests.
pub(crate) fn supervisor() -> Supervisor {
    supervisor_with(false)
}

pub(crate) fn supervisor_with(realtime: bool) -> Supervisor {
    let timeout = Duration::from_secs(30);
    supervisor_as(Path::new(PROGRAM), realtime, timeout)
}

/// Workers of another copy of the program.
pub(crate) fn supervisor_of(program: &Path, timeout: Duration) -> Supervisor {
    supervisor_as(program, false, timeout)
}

/// Confined workers.
pub(crate) fn supervisor_confined(realtime: bool, confinement: Confinement) -> Supervisor {
    let timeout = Duration::from_secs(30);
    let program = Path::new(PROGRAM).into();
    let options = SupervisorOptions { program, realtime, timeout, show_errors: true, confinement };
    Supervisor::new(options).expect("a supervisor")
}

fn supervisor_as(program: &Path, realtime: bool, timeout: Duration) -> Supervisor {
    let options = SupervisorOptions {
        program: program.into(),
        realtime,
        timeout,
        show_errors: true,
        confinement: Default::default(),
    };
    Supervisor::new(options).expect("a supervisor")
}

/// Noise that is the same each time.
pub(crate) struct Noise(pub(crate) u64);

impl Noise {
    pub(crate) fn bits(&mut self) -> u64 {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// 0 .. 1.
    pub(crate) fn unit(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// 0 .. `end`.
    pub(crate) fn below(&mut self, end: u32) -> u32 {
        (self.bits() % u64::from(end.max(1))) as u32
    }

    /// -1 .. 1, with a negative zero and a denormal now and then: what is silent isn't always 0.
    pub(crate) fn sample(&mut self) -> f32 {
        match self.below(50) {
            0 => -0.0,
            1 => 1e-41,
            _ => (self.unit() * 2.0 - 1.0) as f32,
        }
    }

    pub(crate) fn channels(&mut self, channels: usize, frames: usize) -> Vec<Vec<f32>> {
        (0..channels).map(|_| (0..frames).map(|_| self.sample()).collect()).collect()
    }
}

/// Waits until something is so; says whether it came to be.
pub(crate) fn becomes_true(within: Duration, mut so: impl FnMut() -> bool) -> bool {
    let end = Instant::now() + within;
    loop {
        if so() {
            return true;
        }
        if Instant::now() > end {
            return false;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Where two signals first differ in a bit, in words.
pub(crate) fn difference(a: &[Vec<f32>], b: &[Vec<f32>]) -> Option<String> {
    if a.len() != b.len() {
        return Some(format!("{} and {} channels", a.len(), b.len()));
    }
    for (channel, (a, b)) in a.iter().zip(b).enumerate() {
        if a.len() != b.len() {
            return Some(format!("channel {channel}: {} and {} frames", a.len(), b.len()));
        }
        if let Some(at) = a.iter().zip(b).position(|(a, b)| a.to_bits() != b.to_bits()) {
            return Some(format!(
                "channel {channel}, frame {at}: {:e} ({:08x}) and {:e} ({:08x})",
                a[at],
                a[at].to_bits(),
                b[at],
                b[at].to_bits()
            ));
        }
    }
    None
}

/// That two signals are the same, bit for bit.
#[track_caller]
pub(crate) fn same(a: &[Vec<f32>], b: &[Vec<f32>], what: &str) {
    if let Some(difference) = difference(a, b) {
        panic!("{what}: {difference}");
    }
}

pub(crate) fn is_silent(channels: &[Vec<f32>]) -> bool {
    channels.iter().flatten().all(|sample| *sample == 0.0)
}
