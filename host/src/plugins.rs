//! Finds the test plugins that come with the program.

use crate::error::Error;
use sandrack_sandbox::format::PluginRef;
use std::path::PathBuf;

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
