//! Where plugins and their presets are installed.

use std::path::PathBuf;

/// The folders in which plugins are looked for, each once, whether or not they exist: those that
/// the formats name, the user's own first.
pub fn plugin_folders() -> Vec<PathBuf> {
    let mut folders = Vec::new();
    if let Some(home) = std::env::home_dir().filter(|home| home.is_absolute()) {
        folders.extend([".clap", ".vst3"].map(|name| home.join(name)));
    }
    // The formats name `lib`; some distributions put libraries of 64 bits elsewhere.
    let multiarch = format!("/usr/lib/{}-linux-gnu", std::env::consts::ARCH);
    for parent in ["/usr/local/lib", "/usr/local/lib64", "/usr/lib", "/usr/lib64", &multiarch] {
        folders.extend(["clap", "vst3"].map(|name| PathBuf::from(parent).join(name)));
    }
    folders
}

/// The folders in which VST3 plugins' preset files lie, each in `VENDOR/PLUGIN`, whether or not they
/// exist: the user's own first.
pub fn vst3_preset_folders() -> Vec<PathBuf> {
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    home.map(|home| home.join(".vst3"))
        .into_iter()
        .chain(["/usr/local/share/vst3", "/usr/share/vst3"].map(PathBuf::from))
        .map(|folder| folder.join("presets"))
        .collect()
}

/// Where all folders begin.
pub fn drives() -> Vec<PathBuf> {
    vec![PathBuf::from("/")]
}
