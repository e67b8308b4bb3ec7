//! The directory of compiled code. What lies there is run as it is, so nobody but hexaFn may have filled it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

use wasmtime::{Cache, CacheConfig};

use crate::{Code, Error};

/// Opens a directory of which hexaFn is the only user, and makes it when it is not there, with mode 0700.
///
/// # Errors
/// [`Code::Compile`] when somebody else could write to it, or could have written something that lies in it.
pub(super) fn open(directory: &Path) -> Result<Cache, Error> {
    let unusable = |why: String| Error::new(Code::Compile, format!("the cache of compiled code cannot be used: {why}"));
    if !directory.is_absolute() {
        return Err(unusable("its directory is not an absolute path".to_owned()));
    }
    make(directory).map_err(|e| unusable(e.to_string()))?;
    let meta = fs::symlink_metadata(directory).map_err(|e| unusable(e.to_string()))?;
    if !meta.is_dir() {
        return Err(unusable("what should be its directory is something else".to_owned()));
    }
    if !is_ours(&meta) || meta.permissions().mode() & 0o077 != 0 {
        return Err(unusable(format!(
            "its directory has mode {:o} and owner {}; it must be 700 and belong to the user that hexaFn runs as",
            meta.permissions().mode() & 0o777,
            meta.uid()
        )));
    }
    let mut foreign = None;
    walk(directory, &mut foreign).map_err(|e| unusable(e.to_string()))?;
    if let Some(name) = foreign {
        return Err(unusable(format!(
            "somebody else may have written `{name}` in it; remove its directory, and hexaFn compiles anew"
        )));
    }
    let mut config = CacheConfig::new();
    config.with_directory(directory);
    Cache::new(config).map_err(|e| unusable(format!("{e:#}")))
}

/// Only the directory itself is private: what is above it may be for others, too.
fn make(directory: &Path) -> io::Result<()> {
    if let Some(parent) = directory.parent() {
        fs::create_dir_all(parent)?;
    }
    match fs::DirBuilder::new().mode(0o700).create(directory) {
        Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        made => made,
    }
}

fn is_ours(meta: &Metadata) -> bool {
    meta.uid() == nix::unistd::geteuid().as_raw()
}

/// Looks for what others could have put there while the directory was open to them.
fn walk(directory: &Path, foreign: &mut Option<String>) -> io::Result<()> {
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let meta = match entry.metadata() {
            // Another hexaFn has cleaned up meanwhile.
            Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
            meta => meta?,
        };
        let shape = meta.file_type();
        if !is_ours(&meta) || meta.permissions().mode() & 0o022 != 0 || !(shape.is_dir() || shape.is_file()) {
            *foreign = Some(entry.file_name().to_string_lossy().into_owned());
            return Ok(());
        }
        if shape.is_dir() {
            walk(&entry.path(), foreign)?;
        }
    }
    Ok(())
}
