//! Files that were put aside: their names, their order, and how they are compressed.
//!
//! A file is compressed beside itself: written to `<name>.gz.new`, synced, renamed to `<name>.gz`, and only then is the
//! plain file removed. So whatever a crash leaves behind, one of the two is whole, and the next process finishes: it
//! removes what was begun, removes plain files that have their compressed one, and compresses the others.

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::Mode;
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::{BTreeMap, HashSet};
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::path::sync_dir;
use crate::clock::Wall;
use crate::target::http::Compress;

/// What a compressed file is called before it is whole.
const NEW: &str = ".new";

/// A file that was put aside, in one form or several.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Aside {
    /// When.
    pub stamp: String,
    /// Which one of that time.
    pub n: u32,
    /// The names that it has: plain, compressed, begun.
    pub names: Vec<String>,
}

impl Aside {
    /// Its name before it is compressed.
    pub fn plain(&self, current: &str) -> String {
        let (stem, extension) = split_name(current);
        format!("{stem}.{}.{}{extension}", self.stamp, self.n)
    }
}

/// A file that waits to be compressed, or is being compressed.
#[derive(Debug)]
pub struct Rotated {
    dir: OwnedFd,
    name: String,
    by: Compress,
    _claim: Claim,
}

/// The files that are being taken care of, so that what one has begun is no leftover to another.
#[derive(Debug, Clone, Default)]
pub struct Claims(Arc<Mutex<HashSet<PathBuf>>>);

#[derive(Debug)]
struct Claim(Claims, PathBuf);

impl Claims {
    fn lock(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file of the directory `folder`, which is open as `dir`, to be compressed; none when it is being taken care of.
    ///
    /// # Errors
    /// Too many files are open.
    pub fn claim(&self, folder: &Path, dir: &OwnedFd, name: &str, by: Compress) -> io::Result<Option<Rotated>> {
        let (dir, path) = (dir.try_clone()?, folder.join(name));
        if !self.lock().insert(path.clone()) {
            return Ok(None);
        }
        Ok(Some(Rotated { dir, name: name.to_owned(), by, _claim: Claim(self.clone(), path) }))
    }

    fn has(&self, path: &Path) -> bool {
        self.lock().contains(path)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.0.lock().remove(&self.1);
    }
}

/// What a compressed file's name ends with.
fn ending(by: Compress) -> &'static str {
    match by {
        Compress::Gzip => ".gz",
        Compress::Zstd => ".zst",
    }
}

/// `audit.jsonl` is `audit` and `.jsonl`.
fn split_name(name: &str) -> (&str, &str) {
    match name.rfind('.') {
        Some(dot) if dot > 0 => name.split_at(dot),
        _ => (name, ""),
    }
}

/// `20261124T080000Z`: sorts by time, and needs no escaping anywhere.
fn stamp(now: Wall) -> String {
    let time = jiff::Timestamp::from_microsecond(now.0).unwrap_or_default();
    time.strftime("%Y%m%dT%H%M%SZ").to_string()
}

/// The name without what compressing added.
fn plain(name: &str) -> &str {
    let name = name.strip_suffix(NEW).unwrap_or(name);
    [Compress::Gzip, Compress::Zstd].into_iter().find_map(|by| name.strip_suffix(ending(by))).unwrap_or(name)
}

/// The time stamp and number in the name of a file that was put aside.
fn place<'a>(name: &'a str, stem: &str, extension: &str) -> Option<(&'a str, u32)> {
    let of = |name: &'a str| {
        let middle = name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(extension)?;
        let (stamp, n) = middle.split_once('.')?;
        let shape_ok = stamp.len() == 16 && stamp.ends_with('Z') && stamp.as_bytes()[8] == b'T';
        if shape_ok { n.parse().ok().map(|n| (stamp, n)) } else { None }
    };
    of(name).or_else(|| of(plain(name)))
}

/// The files put aside of the file `current`, oldest first.
pub fn find(directory: &Path, current: &str) -> io::Result<Vec<Aside>> {
    let (stem, extension) = split_name(current);
    let mut found: BTreeMap<(String, u32), Vec<String>> = BTreeMap::new();
    for entry in std::fs::read_dir(directory)? {
        let Ok(name) = entry?.file_name().into_string() else { continue };
        if let Some((stamp, n)) = place(&name, stem, extension) {
            found.entry((stamp.to_owned(), n)).or_default().push(name);
        }
    }
    Ok(found.into_iter().map(|((stamp, n), names)| Aside { stamp, n, names }).collect())
}

/// The place of the next one: behind all before it, even when the clock was set back, since the oldest are removed in this
/// order.
pub fn next(current: &str, found: &[Aside], now: Wall) -> Aside {
    debug_assert!(!current.is_empty(), "a file has a name");
    let stamp = stamp(now);
    match found.last() {
        Some(newest) if newest.stamp >= stamp => {
            Aside { stamp: newest.stamp.clone(), n: newest.n.saturating_add(1), names: Vec::new() }
        }
        _ => Aside { stamp, n: 1, names: Vec::new() },
    }
}

/// Removes a file; that it is gone already is as good.
pub fn remove(dir: impl AsFd, name: &str) -> io::Result<()> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Cleans up behind an earlier process; the files that are still to be compressed.
pub fn left_behind(
    folder: &Path,
    dir: &OwnedFd,
    found: &[Aside],
    by: Compress,
    claims: &Claims,
) -> io::Result<Vec<Rotated>> {
    let mut left = Vec::new();
    for aside in found {
        if aside.names.iter().any(|name| claims.has(&folder.join(plain(name)))) {
            continue;
        }
        let (begun, whole): (Vec<&String>, Vec<&String>) = aside.names.iter().partition(|name| name.ends_with(NEW));
        for name in begun {
            remove(dir, name)?;
        }
        let (as_it_was, compressed): (Vec<&String>, Vec<&String>) =
            whole.into_iter().partition(|name| plain(name) == **name);
        for name in as_it_was {
            if compressed.is_empty() {
                left.extend(claims.claim(folder, dir, name, by)?);
            } else {
                // It was renamed when it was whole and on disk.
                remove(dir, name)?;
            }
        }
    }
    Ok(left)
}

impl Rotated {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Compresses the file; blocks for as long as that takes.
    ///
    /// # Errors
    /// Of the file system; the plain file is still there.
    pub fn compress(&self) -> io::Result<()> {
        let dir = &self.dir;
        let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let mut source = match openat(dir, self.name.as_str(), read, Mode::empty()) {
            Ok(fd) => File::from(fd),
            // It was removed by `keep`, or by somebody.
            Err(Errno::ENOENT) => return Ok(()),
            Err(errno) => return Err(errno.into()),
        };
        let meta = source.metadata()?;
        if !meta.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        let whole = format!("{}{}", self.name, ending(self.by));
        let begun = format!("{whole}{NEW}");
        remove(dir, &begun)?;
        let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let target = File::from(openat(dir, begun.as_str(), write, Mode::from_bits_truncate(0o640))?);
        let written = self.copy(&mut source, target).and_then(|file| {
            file.sync_all()?;
            renameat(dir, begun.as_str(), dir, whole.as_str())?;
            sync_dir(dir)
        });
        if let Err(error) = written {
            // What is left of it would be removed at the next start, too.
            remove(dir, &begun).ok();
            return Err(error);
        }
        remove(dir, &self.name)?;
        sync_dir(dir)
    }

    fn copy(&self, source: &mut File, target: File) -> io::Result<File> {
        let target = BufWriter::with_capacity(64 << 10, target);
        let mut target = match self.by {
            Compress::Gzip => {
                let mut encoder = flate2::write::GzEncoder::new(target, flate2::Compression::default());
                io::copy(source, &mut encoder)?;
                encoder.finish()?
            }
            Compress::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(target, 0)?;
                io::copy(source, &mut encoder)?;
                encoder.finish()?
            }
        };
        target.flush()?;
        target.into_inner().map_err(io::IntoInnerError::into_error)
    }
}

#[cfg(test)]
mod tests;
