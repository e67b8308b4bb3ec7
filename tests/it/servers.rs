//! Real servers and libraries that scripts/deps installs (scripts/servers.txt).

use std::path::PathBuf;

/// The program of this name on PATH. `standardwebhooks-python` is the Python that has the official library.
pub fn program(name: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let installed = installed().join("bin");
    let (file, places) = match name {
        "standardwebhooks-python" => ("python", vec![installed]),
        other => (other, std::env::split_paths(&path).chain([installed]).collect()),
    };
    let found = places.into_iter().map(|place| place.join(file)).find(|program| program.is_file());
    found.unwrap_or_else(|| panic!("`{name}` is not installed; run scripts/deps test"))
}

/// The packages of Node.
pub fn node_modules() -> PathBuf {
    installed().join("node_modules")
}

fn installed() -> PathBuf {
    cache().join("servers")
}

/// The folder that scripts/deps unpacks into.
pub fn cache() -> PathBuf {
    let cache = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    let cache = cache.or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".cache"))).unwrap_or_default();
    cache.join("hexafn")
}
