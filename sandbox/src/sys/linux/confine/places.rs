//! Which files a worker may reach.
//!
//! # Safety
//! One function changes the environment; its caller has one thread only.

use super::lies_in;
use crate::confine::{Confinement, Level, Reach, Reached};
use crate::sys::folders;
use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};

/// Programs and data of the system, as packages install them. A path that isn't there is no harm.
const SYSTEM: &[&str] = &[
    "/usr",
    "/lib",
    "/lib32",
    "/lib64",
    "/libx32",
    "/opt",
    "/nix/store",
    "/gnu/store",
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/ld.so.preload",
    "/etc/fonts",
    "/var/cache/fontconfig",
    "/etc/localtime",
    "/etc/timezone",
    "/etc/locale.alias",
    "/etc/nsswitch.conf",
    "/etc/passwd",
    "/etc/group",
    "/etc/machine-id",
    "/etc/os-release",
    "/etc/lsb-release",
    "/etc/debian_version",
    "/etc/drirc",
    "/etc/glvnd",
    "/etc/vulkan",
    "/etc/OpenCL",
    "/etc/X11",
    "/etc/xdg",
    "/etc/gtk-2.0",
    "/etc/gtk-3.0",
    "/etc/pango",
    "/etc/gdk-pixbuf-2.0",
    "/etc/mime.types",
    // Of processes, only what is said of this one and of the machine.
    "/proc/self",
    "/proc/thread-self",
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/proc/filesystems",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/sys/kernel",
    "/proc/sys/vm",
    "/proc/driver/nvidia",
    "/sys/devices/system/cpu",
    "/sys/devices/system/node",
    "/sys/kernel/mm/transparent_hugepage",
];

/// What editors find graphics cards by.
const GRAPHICS: &[&str] =
    &["/sys/dev/char", "/sys/class/drm", "/sys/bus/pci", "/sys/devices", "/sys/module/nvidia"];

/// What a name is looked up with.
const NETWORK: &[&str] = &[
    "/etc/resolv.conf",
    "/run/systemd/resolve",
    "/etc/hosts",
    "/etc/host.conf",
    "/etc/gai.conf",
    "/etc/services",
    "/etc/protocols",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
];

/// The user's files that editors need, below the home folder.
const HOME: &[&str] = &[
    ".Xauthority",
    ".fonts",
    ".fonts.conf",
    ".local/share/fonts",
    ".config/fontconfig",
    ".cache/fontconfig",
    ".drirc",
    ".icons",
    ".local/share/icons",
    ".Xdefaults",
];

/// What plugins may reach, links and all as they are named.
pub(super) fn for_plugins(wanted: &Confinement, plugins: &[PathBuf]) -> Reached {
    let mut read: BTreeSet<PathBuf> = SYSTEM.iter().map(PathBuf::from).collect();
    // A program may bring its own libraries, the system's loader included.
    read.extend(mapped_libraries());
    let home = std::env::home_dir().filter(|home| home.is_absolute());
    for plugin in plugins {
        read.extend(own_places(plugin, home.as_deref()));
    }
    let mut devices: Vec<PathBuf> =
        ["null", "zero", "full", "random", "urandom"].map(|d| Path::new("/dev").join(d)).into();
    let mut sockets = Vec::new();
    if wanted.level == Level::Standard {
        read.extend(folders::plugin_folders());
        read.extend(GRAPHICS.iter().map(PathBuf::from));
        if let Some(home) = &home {
            read.extend(HOME.iter().map(|name| home.join(name)));
        }
        read.extend(std::env::var_os("XAUTHORITY").map(PathBuf::from));
        devices.push("/dev/dri".into());
        devices.extend(nvidia_devices());
        sockets.push("/tmp/.X11-unix".into());
        sockets.extend(wayland_socket());
    }
    if wanted.network {
        read.extend(NETWORK.iter().map(PathBuf::from));
        // Where names are looked up by somebody else.
        sockets.extend(["/run/systemd/resolve", "/run/nscd"].map(PathBuf::from));
    }
    let mut write = Vec::new();
    for (path, reach) in &wanted.files {
        match reach {
            Reach::Read => drop(read.insert(path.clone())),
            Reach::Write => write.push(path.clone()),
        }
    }
    Reached {
        read: read.into_iter().collect(),
        write,
        devices,
        sockets,
        memory: private_name(plugins),
    }
}

/// What belongs to a plugin: its bundle, or its file and what lies beside it. What lies beside a
/// file in the home folder, say, does not belong to it.
pub(super) fn own_places(plugin: &Path, home: Option<&Path>) -> Vec<PathBuf> {
    let mut places = Vec::new();
    let named = std::path::absolute(plugin).unwrap_or_else(|_| plugin.to_owned());
    let real = plugin.canonicalize().unwrap_or_else(|_| named.clone());
    for path in [named, real] {
        // A library may be named that lies deep in its bundle.
        let bundle = path.ancestors().find(|folder| is_named_as_plugin(folder) && folder.is_dir());
        let beside = path.parent().filter(|folder| !is_broad(folder, home));
        places.extend(bundle.or(beside).map(Path::to_owned));
        if bundle.is_none() {
            places.push(path);
        }
    }
    places
}

fn is_named_as_plugin(path: &Path) -> bool {
    path.extension()
        .is_some_and(|e| e.eq_ignore_ascii_case("vst3") || e.eq_ignore_ascii_case("clap"))
}

/// Whether a folder is one that all sorts of things lie in.
fn is_broad(folder: &Path, home: Option<&Path>) -> bool {
    let top = folder.components().count() <= 2; // `/tmp`
    top || home.is_some_and(|home| {
        let of_user = ["", "Desktop", "Downloads", "Documents", ".config", ".local/share"];
        lies_in(home, folder) || of_user.iter().any(|name| home.join(name) == folder)
    })
}

/// The folders of the libraries that this process has loaded, and its program.
fn mapped_libraries() -> Vec<PathBuf> {
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let files = maps.lines().filter_map(|line| line.find('/').map(|at| Path::new(&line[at..])));
    let mut all: Vec<PathBuf> = Vec::new();
    for file in files {
        let is_library = file.file_name().is_some_and(|n| n.to_string_lossy().contains(".so"));
        let place = if is_library { file.parent() } else { Some(file) };
        if let Some(place) = place.filter(|place| file.is_file() && !is_broad(place, None))
            && !all.iter().any(|known| known == place)
        {
            all.push(place.to_owned());
        }
    }
    all
}

fn wayland_socket() -> Option<PathBuf> {
    let name = std::env::var_os("WAYLAND_DISPLAY").unwrap_or_else(|| "wayland-0".into());
    let folder = PathBuf::from(std::env::var_os("XDG_RUNTIME_DIR")?);
    // A name that is a path of its own stays one.
    Some(folder.join(name)).filter(|path| path.is_absolute())
}

fn nvidia_devices() -> Vec<PathBuf> {
    let entries = std::fs::read_dir("/dev").into_iter().flatten().flatten();
    let is_nvidia = |name: &std::ffi::OsStr| name.to_string_lossy().starts_with("nvidia");
    entries.filter(|e| is_nvidia(&e.file_name())).map(|e| e.path()).collect()
}

fn data_home() -> Option<PathBuf> {
    let absolute = |path: &PathBuf| path.is_absolute();
    let named = std::env::var_os("XDG_DATA_HOME").map(PathBuf::from).filter(absolute);
    named.or_else(|| std::env::home_dir().filter(absolute).map(|home| home.join(".local/share")))
}

/// The folder that a plugin may write to, made if need be: its own, by its file's place.
pub(super) fn private_folder(plugins: &[PathBuf]) -> io::Result<PathBuf> {
    let none = || io::Error::new(io::ErrorKind::NotFound, "no home folder");
    let name = private_name(plugins).ok_or_else(none)?;
    let folder = data_home().ok_or_else(none)?.join("sandrack/plugins").join(name);
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// What the folders of a plugin are called that only its workers use.
fn private_name(plugins: &[PathBuf]) -> Option<String> {
    let plugin = plugins.first()?;
    let real = plugin.canonicalize().unwrap_or_else(|_| plugin.clone());
    let stem: String = real
        .file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .chars()
        .map(|c| if c.is_alphanumeric() { c } else { '_' })
        .take(40)
        .collect();
    // FNV-1a: the same in all versions.
    let hash =
        real.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| {
            (h ^ u64::from(*b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
    Some(format!("{stem}-{hash:016x}"))
}

/// Lets what looks for the user's folders find the private one, unless a grant lies there.
///
/// # Safety
/// There must be no other thread.
pub(super) unsafe fn point_to(folder: &Path, wanted: &Confinement) {
    let home = std::env::home_dir().unwrap_or_default();
    for (variable, usual, here) in [
        ("XDG_CONFIG_HOME", ".config", "config"),
        ("XDG_DATA_HOME", ".local/share", "data"),
        ("XDG_STATE_HOME", ".local/state", "state"),
        ("XDG_CACHE_HOME", ".cache", "cache"),
        ("TMPDIR", "", ""),
    ] {
        let now = match std::env::var_os(variable) {
            Some(value) => PathBuf::from(value),
            None if variable == "TMPDIR" => PathBuf::from("/tmp"),
            None => home.join(usual),
        };
        let is_granted = |(path, _): &(PathBuf, Reach)| lies_in(path, &now) || lies_in(&now, path);
        if !wanted.files.iter().any(is_granted) {
            // SAFETY: as the caller promises.
            unsafe { std::env::set_var(variable, folder.join(here)) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugin_in_a_folder_of_all_sorts_does_not_open_it() {
        let home = tempfile::tempdir().unwrap();
        let home = home.path().canonicalize().unwrap();
        let clap = home.join("a.clap");
        std::fs::write(&clap, "x").unwrap();
        std::fs::create_dir_all(home.join(".clap")).unwrap();
        assert_eq!(own_places(&clap, Some(&home)), [clap.clone(), clap]);
        let own = home.join(".clap/b.clap");
        std::fs::write(&own, "x").unwrap();
        assert!(own_places(&own, Some(&home)).contains(&home.join(".clap")));
        assert!(!own_places(&own, Some(&home)).contains(&home));
    }

    #[test]
    fn a_library_in_a_bundle_means_the_bundle() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let bundle = root.join("A.vst3");
        let inner = bundle.join("Contents/x86_64-linux");
        std::fs::create_dir_all(&inner).unwrap();
        std::fs::write(inner.join("A.so"), "x").unwrap();
        assert_eq!(own_places(&inner.join("A.so"), None), [bundle.clone(), bundle.clone()]);
        assert_eq!(own_places(&bundle, None), [bundle.clone(), bundle]);
    }

    #[test]
    fn folders_of_all_sorts_are_known() {
        let home = Path::new("/home/me");
        for folder in ["/", "/tmp", "/home", "/home/me", "/home/me/Downloads"] {
            assert!(is_broad(Path::new(folder), Some(home)), "{folder}");
        }
        for folder in ["/home/me/.clap", "/usr/lib/clap", "/home/me/build/deps"] {
            assert!(!is_broad(Path::new(folder), Some(home)), "{folder}");
        }
    }
}
