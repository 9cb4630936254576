//! Finds the test plugins that come with the program.

use crate::error::Error;
use sandrack_sandbox::format::PluginRef;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The library file of the test plugins: cargo builds it along with the program.
pub fn test_library() -> Result<PathBuf, Error> {
    let name = format!(
        "{}sandrack_plugins_test{}",
        std::env::consts::DLL_PREFIX,
        std::env::consts::DLL_SUFFIX
    );
    let program = std::env::current_exe()
        .map_err(|source| Error::File { path: "this program".into(), source })?;
    let folder = program.parent().unwrap_or(std::path::Path::new("."));
    // `deps` first: that is where cargo puts it for a program that depends on it. The file beside
    // the program may be of an earlier build. A test program itself lies in `deps`.
    [folder.join("deps").join(&name), folder.join(&name)]
        .into_iter()
        .find(|path| path.is_file())
        .ok_or_else(|| {
            Error::Usage(format!(
                "the test plugins are not here ({name} beside {}): run the program with 'cargo \
                 run --release', or name a plugin with --plugin",
                program.display()
            ))
        })
}

/// One of the test plugins, by its short name: `gain`, `burn`, …
pub fn test_plugin(name: &str) -> Result<PluginRef, Error> {
    Ok(PluginRef { path: test_library()?, id: Some(format!("org.sandrack.test.{name}")) })
}

/// The libraries of hostile plugins, CLAP and VST3. They are examples, which cargo does not build along
/// with the program: where the sources are, this does. `say`: what takes a while.
///
/// # Errors
/// They are not here, and can't be built.
pub fn hostile_libraries(say: &dyn Fn(&str)) -> Result<[PathBuf; 2], Error> {
    let program = std::env::current_exe()
        .map_err(|source| Error::File { path: "this program".into(), source })?;
    // A test program lies in `deps`.
    let mut profile = program.parent().unwrap_or(Path::new("."));
    if profile.ends_with("deps") {
        profile = profile.parent().unwrap_or(profile);
    }
    let names = ["hostile", "hostile_vst3"];
    let (prefix, suffix) = (std::env::consts::DLL_PREFIX, std::env::consts::DLL_SUFFIX);
    let libraries = names.map(|name| profile.join(format!("examples/{prefix}{name}{suffix}")));
    let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
    let are_here = libraries.iter().all(|library| library.is_file());
    // Started by cargo, it has cargo; and what is there may be of an earlier build.
    let cargo = std::env::var_os("CARGO").or_else(|| (!are_here).then(|| "cargo".into()));
    if let (Some(cargo), true) = (cargo, sources.is_dir()) {
        say("building the hostile plugins");
        build_hostile(Path::new(&cargo), sources, profile)?;
    }
    match libraries.iter().find(|library| !library.is_file()) {
        None => Ok(libraries),
        Some(missing) => Err(Error::Usage(format!(
            "the hostile plugins are not here ({}): in Sandrack's sources, run 'cargo build --release \
             -p sandrack-plugins-test --examples'",
            missing.display()
        ))),
    }
}

fn build_hostile(cargo: &Path, sources: &Path, profile: &Path) -> Result<(), Error> {
    let failed = |why: String| Error::Usage(format!("building the hostile plugins failed: {why}"));
    let target = profile.parent().unwrap_or(Path::new("."));
    let name = match profile.file_name().and_then(|name| name.to_str()) {
        Some("debug") | None => "dev",
        Some(name) => name,
    };
    let output = Command::new(cargo)
        .current_dir(sources)
        .args(["build", "--quiet", "-p", "sandrack-plugins-test"])
        .args(["--example", "hostile", "--example", "hostile_vst3", "--profile", name])
        .arg("--target-dir")
        .arg(target)
        .output()
        .map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => {
            let told = String::from_utf8_lossy(&output.stderr);
            Err(failed(told.lines().find(|l| !l.is_empty()).unwrap_or("cargo").to_owned()))
        }
    }
}
