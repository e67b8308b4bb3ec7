//! Compilers of functions: what scripts/deps installs, as a person's own would be found. None of them asks a registry.

use super::servers::cache;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The repository.
pub fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Puts the packages of npm that a new function in this language names into its folder.
pub fn copy_packages(language: &str, folder: &Path) {
    let packages = cache().join("npm").join(language).join("node_modules");
    assert!(packages.is_dir(), "the packages of {language} are not installed; run scripts/deps test");
    // A copy, since npm takes a link away.
    let copied = Command::new("cp").arg("-a").arg(packages).arg(folder).output().unwrap();
    assert!(copied.status.success(), "{}", String::from_utf8_lossy(&copied.stderr));
}

/// The versions of crates that hexaFn itself is built with, which are there, for a function in Rust.
pub fn lock_crates(folder: &Path) {
    std::fs::copy(root().join("Cargo.lock"), folder.join("Cargo.lock")).unwrap();
}

/// A Rust compiler that has the target wasm32-wasip1.
fn wasi_rust() -> PathBuf {
    let asked = Command::new(root().join("scripts/wasi-rust")).arg("--check").output().unwrap();
    let path = String::from_utf8(asked.stdout).unwrap();
    assert!(asked.status.success(), "{}; or scripts/deps test", String::from_utf8_lossy(&asked.stderr));
    path.trim().into()
}

/// Runs shell commands of a documentation in a folder, with `hexafn` and the compilers found: what they print.
pub fn shell(folder: &Path, commands: &str) -> String {
    let hexafn = Path::new(env!("CARGO_BIN_EXE_hexafn")).parent().unwrap();
    let cargo = Path::new(env!("CARGO")).parent().unwrap();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = [hexafn, cargo].map(Path::to_path_buf).into_iter().chain(std::env::split_paths(&path));
    let mut shell = Command::new("bash");
    shell
        .args(["-euo", "pipefail", "-c", commands])
        .current_dir(folder)
        .env("PATH", std::env::join_paths(found).unwrap());
    // Nothing of this build is said to the one of the function.
    for name in ["CARGO_TARGET_DIR", "RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS", "RUSTC_WRAPPER", "HEXAFN_CONFIG"] {
        shell.env_remove(name);
    }
    if commands.contains("cargo ") {
        shell.env("RUSTC", wasi_rust());
    }
    shell.env("CARGO_NET_OFFLINE", "true");
    for (name, value) in [("offline", "true"), ("audit", "false"), ("fund", "false"), ("update_notifier", "false")] {
        shell.env(format!("npm_config_{name}"), value);
    }
    let ran = shell.output().unwrap();
    let (out, err) = (String::from_utf8(ran.stdout).unwrap(), String::from_utf8_lossy(&ran.stderr).into_owned());
    assert!(ran.status.success(), "{commands}\n{out}{err}\nis something missing? run scripts/deps test");
    out
}
