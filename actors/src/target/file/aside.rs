//! Files that were put aside: their names, their order, and how they are compressed.
//!
//! A file is compressed beside itself: written to `<name>.gz.new`, synced, renamed to `<name>.gz`, and only then is the
//! plain file removed. So whatever a crash leaves behind, one of the two is whole, and the next process finishes: it
//! removes what was begun, removes plain files that have their compressed one, and compresses the others.
//!
//! A file that is written to is locked (`flock`), and its lock goes with it until it is compressed. So what is locked is
//! taken care of by somebody: at a reload by the target of before, which finishes what it has begun.

use nix::errno::Errno;
use nix::fcntl::{AtFlags, OFlag, openat, renameat};
use nix::sys::stat::{Mode, fstatat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use std::collections::BTreeMap;
use std::fs::{File, TryLockError};
use std::io::{self, BufWriter, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::sync::Arc;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::path::sync_dir;
use crate::clock::Wall;
use crate::target::http::Compress;

/// What a compressed file is called before it is whole.
const NEW: &str = ".new";
/// The most files of a target that wait to be compressed.
const MAX_WAITING: usize = 64;

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

/// A file that waits to be compressed, or is being compressed: locked, so that it is nobody else's.
#[derive(Debug)]
pub struct Rotated {
    dir: Arc<OwnedFd>,
    file: File,
    name: String,
    by: Compress,
    _place: OwnedSemaphorePermit,
}

/// How a target's files are compressed, and how many may wait for it: each is open.
#[derive(Debug, Clone)]
pub struct Compressing {
    by: Compress,
    places: Arc<Semaphore>,
}

impl Compressing {
    /// Nothing waits yet.
    pub fn new(by: Compress) -> Self {
        Self { by, places: Arc::new(Semaphore::new(MAX_WAITING)) }
    }

    /// A file that was put aside just now, with its lock. None when too many wait: it is a leftover for later then.
    pub fn take(&self, dir: &Arc<OwnedFd>, file: File, name: &str) -> Option<Rotated> {
        let place = self.places.clone().try_acquire_owned().ok()?;
        Some(Rotated { dir: dir.clone(), file, name: name.to_owned(), by: self.by, _place: place })
    }

    /// A file that is there from before; none when it is somebody else's, or gone, or too many wait.
    ///
    /// # Errors
    /// It cannot be opened or locked.
    pub fn claim(&self, dir: &Arc<OwnedFd>, name: &str) -> io::Result<Option<Rotated>> {
        let read = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file = match openat(dir, name, read, Mode::empty()) {
            Ok(fd) => File::from(fd),
            // It was removed by `keep`, or by somebody.
            Err(Errno::ENOENT) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        if !file.metadata()?.is_file() {
            return Err(io::Error::other(format!("`{name}` is not a regular file")));
        }
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(None),
            Err(TryLockError::Error(error)) => return Err(error),
        }
        Ok(self.take(dir, file, name).filter(|rotated| !rotated.is_gone()))
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

/// The number of a file that was put aside, where these parts of its name are its time stamp and its number.
fn number(stamp: &str, n: &str) -> Option<u32> {
    let digits = |text: &str| text.bytes().all(|b| b.is_ascii_digit());
    let (date, time) = stamp.strip_suffix('Z')?.split_once('T')?;
    let is_stamp = date.len() == 8 && time.len() == 6 && digits(date) && digits(time);
    if is_stamp && digits(n) { n.parse().ok() } else { None }
}

/// The time stamp and number in the name of a file that was put aside.
fn place<'a>(name: &'a str, stem: &str, extension: &str) -> Option<(&'a str, u32)> {
    let of = |name: &'a str| {
        let middle = name.strip_prefix(stem)?.strip_prefix('.')?.strip_suffix(extension)?;
        let (stamp, n) = middle.split_once('.')?;
        number(stamp, n).map(|n| (stamp, n))
    };
    of(name).or_else(|| of(plain(name)))
}

/// Whether a name could be that of a file that was put aside, of whatever file: it would be removed as an old one of that.
pub fn is_like_one(name: &str) -> bool {
    let parts: Vec<&str> = name.split('.').collect();
    // Something stands before the time stamp: the name of the file.
    parts.iter().zip(&parts[1..]).skip(1).any(|(stamp, n)| number(stamp, n).is_some())
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

/// Whether a file was put aside under this name. A list of names may lack one that was being compressed while it was made;
/// here the plain name is asked for first, since it goes only after the compressed one has come.
///
/// # Errors
/// The directory cannot be read.
pub fn is_taken(dir: impl AsFd, plain: &str) -> io::Result<bool> {
    let compressed = [Compress::Gzip, Compress::Zstd].map(|by| format!("{plain}{}", ending(by)));
    for name in std::iter::once(plain).chain(compressed.iter().map(String::as_str)) {
        match fstatat(dir.as_fd(), name, AtFlags::AT_SYMLINK_NOFOLLOW) {
            Ok(_) => return Ok(true),
            Err(Errno::ENOENT) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
    Ok(false)
}

/// Removes a file; that it is gone already is as good.
pub fn remove(dir: impl AsFd, name: &str) -> io::Result<()> {
    match unlinkat(dir, name, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => Ok(()),
        Err(errno) => Err(errno.into()),
    }
}

/// Cleans up behind an earlier process; the files that are still to be compressed.
///
/// # Errors
/// Of the file system; what is not looked after now is at the next rotation.
pub fn left_behind(dir: &Arc<OwnedFd>, found: &[Aside], compressing: &Compressing) -> io::Result<Vec<Rotated>> {
    let mut left = Vec::new();
    for aside in found {
        let (begun, whole): (Vec<&String>, Vec<&String>) = aside.names.iter().partition(|name| name.ends_with(NEW));
        let (as_it_was, compressed): (Vec<&String>, Vec<&String>) =
            whole.into_iter().partition(|name| plain(name) == **name);
        let rotated = match as_it_was.first() {
            // Whoever compresses it has what was begun, too.
            Some(name) => match compressing.claim(dir, name)? {
                Some(rotated) => Some(rotated),
                None => continue,
            },
            None => None,
        };
        for name in begun {
            remove(dir, name)?;
        }
        match rotated {
            // The compressed one got its name when it was whole and on disk.
            Some(rotated) if !compressed.is_empty() => remove(dir, &rotated.name)?,
            rotated => left.extend(rotated),
        }
    }
    Ok(left)
}

impl Rotated {
    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether its name leads to nothing any more: it was compressed, or removed by `keep` or by somebody.
    fn is_gone(&self) -> bool {
        self.file.metadata().is_ok_and(|meta| meta.nlink() == 0)
    }

    /// Compresses the file; blocks for as long as that takes.
    ///
    /// # Errors
    /// Of the file system; the plain file is still there.
    pub fn compress(&self) -> io::Result<()> {
        if self.is_gone() {
            return Ok(());
        }
        let dir = &self.dir;
        let whole = format!("{}{}", self.name, ending(self.by));
        let begun = format!("{whole}{NEW}");
        remove(dir, &begun)?;
        let write = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
        let target = File::from(openat(dir, begun.as_str(), write, Mode::from_bits_truncate(0o640))?);
        let written = self.copy(target).and_then(|file| {
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

    fn copy(&self, target: File) -> io::Result<File> {
        let source = &mut &self.file;
        // It may be the one that was written to.
        source.rewind()?;
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
