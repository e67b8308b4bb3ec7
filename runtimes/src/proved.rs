//! Which modules of WebAssembly were compiled within their bounds before, so that a start does not compile them twice.
//!
//! Of each there is an empty file beside the cache of compiled code, whose name is the module's hash. Whoever could put one there could
//! as well replace the module.

use std::collections::HashSet;
use std::fs::{self, DirBuilder};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};

/// So many files are kept; then all are removed, and what is still used is compiled twice once more.
const MOST: usize = 1_000;

static SEEN: Mutex<Option<HashSet<String>>> = Mutex::new(None);

/// One module.
pub(crate) struct Proved {
    name: String,
    folder: Option<PathBuf>,
}

impl Proved {
    /// The module of this code; `cache` is the folder of compiled code.
    pub fn of(code: &[u8], cache: Option<&PathBuf>) -> Self {
        // Another version brings another compiler.
        let hash =
            Sha256::new().chain_update(env!("CARGO_PKG_VERSION")).chain_update([0]).chain_update(code).finalize();
        let name = hash.iter().map(|byte| format!("{byte:02x}")).collect();
        Self { name, folder: cache.map(|cache| cache.with_extension("proved")) }
    }

    /// Whether it was noted before.
    pub fn is_known(&self) -> bool {
        let seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner).as_ref().is_some_and(|s| s.contains(&self.name));
        seen || self.folder.as_ref().is_some_and(|folder| folder.join(&self.name).exists())
    }

    /// Notes it. Where the folder cannot be written, only this process knows.
    pub fn note(&self) {
        SEEN.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_default().insert(self.name.clone());
        if let Some(folder) = &self.folder
            && let Err(error) = keep(folder, &self.name)
        {
            tracing::debug!(folder = %folder.display(), %error, "what was compiled cannot be noted");
        }
    }
}

fn keep(folder: &Path, name: &str) -> std::io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    if fs::read_dir(folder)?.count() >= MOST {
        fs::remove_dir_all(folder)?;
        DirBuilder::new().mode(0o700).create(folder)?;
    }
    fs::write(folder.join(name), b"")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_module_is_known_by_its_code_and_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let cache = dir.path().join("compiled");
        let (one, two) = (Proved::of(b"one", Some(&cache)), Proved::of(b"two", Some(&cache)));
        assert!(!one.is_known() && !two.is_known());
        one.note();
        assert!(one.is_known() && !two.is_known());
        assert_eq!(fs::read_dir(dir.path().join("compiled.proved")).unwrap().count(), 1);
        // Another process has the folder alone.
        let elsewhere = Proved { name: "f".repeat(64), ..Proved::of(b"", Some(&cache)) };
        fs::write(dir.path().join("compiled.proved").join("f".repeat(64)), b"").unwrap();
        assert!(elsewhere.is_known());
    }

    #[test]
    fn the_folder_has_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("compiled.proved");
        fs::create_dir(&folder).unwrap();
        for number in 0..MOST {
            fs::write(folder.join(number.to_string()), b"").unwrap();
        }
        keep(&folder, "last").unwrap();
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }
}
