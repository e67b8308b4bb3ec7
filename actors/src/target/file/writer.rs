//! The open files of a target: one write a batch and file, syncing, rotation, repair of a torn last line.
//!
//! Plain and blocking; [`FileTarget`](super::FileTarget) calls it off the arbiter. Time comes as an argument.
//!
//! A line is acknowledged when it was written whole, with its line end (and synced, where `fsync` says so). So what
//! stands after the last line end of a file was never acknowledged, and its events come again. Such a rest is cut off,
//! unless it is a whole JSON object, array or string: that is a finished line of which only the end is missing (or the
//! last line of a file of other origin), and it is completed. A bare number is cut: nobody can say that `12` was not to
//! become `123`.

use nix::fcntl::renameat;
use std::collections::HashMap;
use std::fs::{File, TryLockError};
use std::io::{self, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::aside::{self, Aside, Compressing, Rotated};
use super::path::{self, broken};
use crate::clock::Wall;
use crate::target::Failure;
use crate::target::http::Compress;

/// Files kept open; the one longest unused is closed for another.
const MAX_OPEN: usize = 64;
/// A last line longer than this is not read to be judged, only cut.
const MAX_TAIL: u64 = 32 << 20;

/// `fsync`: when a line counts as written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// When it is on disk: one sync a batch and file.
    #[default]
    Always,
    /// When the system has it; synced once a second. A power loss can take the last second.
    Interval,
    /// When the system has it. A power loss can take what the system had not written yet.
    Never,
}

/// When a file is put aside and a new one begun, besides where it begins with another head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Rotate {
    /// Before it would grow beyond this many bytes.
    pub size: Option<u64>,
    /// Before a write to a file that is older.
    pub age: Option<Duration>,
    /// How many are kept beside the current one; all when `None`.
    pub keep: Option<usize>,
    /// How those are compressed; not when `None`.
    pub compress: Option<Compress>,
}

/// The files of one target.
#[derive(Debug)]
pub struct Writer {
    base: PathBuf,
    rotate: Rotate,
    fsync: Fsync,
    /// What a new file begins with.
    head: Vec<u8>,
    /// Whether lines are JSON, so that a last line without its end can be known as whole.
    json: bool,
    open: HashMap<String, Open>,
    uses: u64,
    /// Put aside, and not compressed yet.
    rotated: Vec<Rotated>,
    compressing: Option<Compressing>,
}

#[derive(Debug)]
struct Open {
    file: File,
    dir: Arc<OwnedFd>,
    full: PathBuf,
    name: String,
    identity: (u64, u64),
    len: u64,
    born: Wall,
    last_use: u64,
    dirty: bool,
}

impl Writer {
    /// A writer below a directory; nothing is opened yet.
    pub fn new(base: PathBuf, rotate: Rotate, fsync: Fsync) -> Self {
        let (open, rotated, compressing) = (HashMap::new(), Vec::new(), rotate.compress.map(Compressing::new));
        Self { base, rotate, fsync, head: Vec::new(), json: true, open, uses: 0, rotated, compressing }
    }

    /// The same for lines that need not be JSON, in files that begin with a head. A file that begins with something else
    /// is put aside at the first write.
    #[must_use]
    pub fn of_text(self, head: Vec<u8>) -> Self {
        Self { head, json: false, ..self }
    }

    /// The files that wait to be compressed: put aside since the last call, or left behind by an earlier process.
    pub fn take_rotated(&mut self) -> Vec<Rotated> {
        std::mem::take(&mut self.rotated)
    }

    /// Appends lines (each with its line end) to one file. On an error none of them counts as written: what of them got
    /// into the file is cut off again. Lines that a rotation put into an earlier file are safe; the number of those is
    /// returned beside the error.
    pub fn append(&mut self, relative: &str, lines: &[u8], ends: &[usize], now: Wall) -> Result<(), (usize, Failure)> {
        let mut done = 0;
        let mut start = 0;
        while done < ends.len() {
            let count = match self.chunk(relative, ends, done, start, now) {
                Ok(count) => count,
                Err(failure) => return Err((done, failure)),
            };
            let end = ends[done + count - 1];
            self.write(relative, &lines[start..end]).map_err(|failure| (done, failure))?;
            (done, start) = (done + count, end);
        }
        Ok(())
    }

    /// Syncs what was written since the last sync. A file whose sync fails is closed, and the error returned: what was
    /// acknowledged under `interval` may be lost then, and must be told.
    pub fn sync(&mut self) -> Result<(), Failure> {
        let mut first = Ok(());
        self.open.retain(|relative, open| {
            if !open.dirty {
                return true;
            }
            open.dirty = false;
            match open.file.sync_data() {
                Ok(()) => true,
                Err(error) => {
                    first = Err(broken("syncing", relative, &error));
                    false
                }
            }
        });
        first
    }

    /// Whether something waits for [`sync`](Self::sync).
    pub fn is_dirty(&self) -> bool {
        self.open.values().any(|open| open.dirty)
    }

    /// Closes all files without a word: the next write opens and repairs them.
    pub fn forget(&mut self) {
        self.open.clear();
    }

    /// How many of the lines from `done` on fit into the file, rotating it first when none does; at least one.
    fn chunk(
        &mut self,
        relative: &str,
        ends: &[usize],
        done: usize,
        start: usize,
        now: Wall,
    ) -> Result<usize, Failure> {
        let (rotate, head) = (self.rotate, self.head.len() as u64);
        let open = self.handle(relative, now)?;
        let fitting = |len: u64| match rotate.size {
            Some(size) => {
                let len = if len == 0 { head } else { len };
                ends[done..].iter().take_while(|&&end| len + (end - start) as u64 <= size).count()
            }
            None => ends.len() - done,
        };
        let too_old = rotate.age.is_some_and(|age| now.since(open.born) >= age);
        if open.len > 0 && (too_old || fitting(open.len) == 0) {
            self.put_aside(relative, now)?;
            let open = self.handle(relative, now)?;
            return Ok(fitting(open.len).max(1));
        }
        Ok(fitting(open.len).max(1))
    }

    fn write(&mut self, relative: &str, bytes: &[u8]) -> Result<(), Failure> {
        let sync = self.fsync;
        let Some(open) = self.open.get_mut(relative) else {
            return Err(Failure::new(crate::target::FailureClass::Io, "the file was closed"));
        };
        let head: &[u8] = if open.len == 0 { &self.head } else { &[] };
        let written = open.file.write_all(head).and_then(|()| open.file.write_all(bytes));
        let result = written.map_err(|e| broken("writing", relative, &e));
        let result = match (result, sync) {
            (Ok(()), Fsync::Always) => open.file.sync_data().map_err(|e| broken("syncing", relative, &e)),
            (result, _) => result,
        };
        match result {
            Ok(()) => {
                open.len += (head.len() + bytes.len()) as u64;
                open.dirty = sync == Fsync::Interval;
                Ok(())
            }
            Err(failure) => {
                // Cut back to what was acknowledged. The handle is given up: after a failed sync nothing it says can be
                // trusted, and the next attempt writes its lines anew through a fresh one.
                if let Err(error) = open.file.set_len(open.len) {
                    tracing::warn!(file = relative, %error, "lines of a failed write could not be cut off; they come again");
                }
                self.open.remove(relative);
                Err(failure)
            }
        }
    }

    /// The open file, opened or opened again when somebody moved or deleted it.
    fn handle(&mut self, relative: &str, now: Wall) -> Result<&mut Open, Failure> {
        self.uses += 1;
        if self.open.get(relative).is_some_and(|open| !open.is_in_place()) {
            tracing::info!(file = relative, "the file was moved or deleted by somebody else; a new one is begun");
            self.open.remove(relative);
        }
        if !self.open.contains_key(relative) {
            self.make_room()?;
            let opened = Open::new(&self.base, relative, now, self.json)?;
            if let Some(compressing) = &self.compressing {
                // A file that cannot be listed now is seen at the next rotation.
                let left = opened.aside().and_then(|found| aside::left_behind(&opened.dir, &found, compressing));
                match left {
                    Ok(left) => self.rotated.extend(left),
                    Err(error) => tracing::warn!(file = relative, %error, "rotated files are not compressed"),
                }
            }
            let begins =
                opened.begins_with(&self.head).map_err(|e| broken("reading the beginning of", relative, &e))?;
            self.open.insert(relative.to_owned(), opened);
            if !begins {
                // Rows of these columns would be read by the names of others.
                tracing::info!(
                    file = relative,
                    "the file does not begin with the names of the `columns`; it is put aside, and a new one is begun"
                );
                self.put_aside(relative, now)?;
                self.open.insert(relative.to_owned(), Open::new(&self.base, relative, now, self.json)?);
            }
        }
        let uses = self.uses;
        let open = self.open.get_mut(relative);
        let open = open.ok_or_else(|| Failure::new(crate::target::FailureClass::Io, "the file was closed"))?;
        open.last_use = uses;
        Ok(open)
    }

    fn make_room(&mut self) -> Result<(), Failure> {
        if self.open.len() < MAX_OPEN {
            return Ok(());
        }
        let oldest = self.open.iter().min_by_key(|(_, open)| open.last_use).map(|(name, _)| name.clone());
        let Some((name, open)) = oldest.and_then(|name| self.open.remove_entry(&name)) else { return Ok(()) };
        if open.dirty { open.file.sync_data().map_err(|e| broken("syncing", &name, &e)) } else { Ok(()) }
    }

    /// Gives the current file its final name and removes the oldest of those put aside.
    fn put_aside(&mut self, relative: &str, now: Wall) -> Result<(), Failure> {
        let Some(open) = self.open.remove(relative) else { return Ok(()) };
        open.file.sync_data().map_err(|e| broken("syncing", relative, &e))?;
        let listing = |e: io::Error| broken("listing the directory of", relative, &e);
        let mut found = open.aside().map_err(listing)?;
        let mut next = aside::next(&open.name, &found, now);
        while aside::is_taken(&open.dir, &next.plain(&open.name)).map_err(listing)? {
            next.n = next.n.saturating_add(1);
        }
        let name = next.plain(&open.name);
        let renamed = renameat(&open.dir, open.name.as_str(), &open.dir, name.as_str());
        renamed.map_err(|e| broken("rotating", relative, &e.into()))?;
        path::sync_dir(&open.dir).map_err(|e| broken("syncing the directory of", relative, &e))?;
        found.push(Aside { names: vec![name.clone()], ..next });
        if let Some(keep) = self.rotate.keep {
            // What is not removed today is removed at the next rotation; delivery does not wait for it.
            // The one just put aside is the newest.
            let surplus = found.len().saturating_sub(keep);
            let removed = found.drain(..surplus).flat_map(|old| old.names).map(|name| aside::remove(&open.dir, &name));
            if let Err(error) = removed.collect::<io::Result<Vec<()>>>() {
                tracing::warn!(file = relative, %error, "old rotated files could not be removed");
            }
        }
        if let (Some(compressing), false) = (&self.compressing, found.is_empty()) {
            self.rotated.extend(compressing.take(&open.dir, open.file, &name));
        }
        Ok(())
    }
}

impl Open {
    fn new(base: &Path, relative: &str, now: Wall, json: bool) -> Result<Self, Failure> {
        let steps = path::check(relative).map_err(|e| path::refused_path(&e))?;
        let opened = path::open(base, &steps)?;
        let failed = |doing: &'static str| move |e: io::Error| broken(doing, relative, &e);
        match opened.file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let message =
                    format!("`{relative}` is being written by another target or process; give each its own `path`");
                return Err(Failure::new(crate::target::FailureClass::Io, message));
            }
            Err(TryLockError::Error(error)) => return Err(broken("locking", relative, &error)),
        }
        let meta = opened.file.metadata().map_err(failed("looking at"))?;
        let born = if opened.created {
            now
        } else {
            let time = meta.created().or_else(|_| meta.modified()).ok();
            let since = time.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
            since.map_or(now, |d| Wall(0).plus(d)).min(now)
        };
        let len = repair(&opened.file, meta.len(), relative, json).map_err(failed("repairing the last line of"))?;
        let name = steps.last().copied().unwrap_or_default().to_owned();
        Ok(Self {
            file: opened.file,
            dir: Arc::new(opened.dir),
            full: base.join(relative),
            name,
            identity: (meta.dev(), meta.ino()),
            len,
            born,
            last_use: 0,
            dirty: false,
        })
    }

    /// Whether what is in the file comes after this head; nothing does.
    fn begins_with(&self, head: &[u8]) -> io::Result<bool> {
        if self.len == 0 || head.is_empty() {
            return Ok(true);
        }
        if self.len < head.len() as u64 {
            return Ok(false);
        }
        let mut begin = vec![0u8; head.len()];
        self.file.read_exact_at(&mut begin, 0)?;
        Ok(begin == head)
    }

    /// The files put aside before, oldest first. Only names come from the path; what is done to them is done in the
    /// directory that is open.
    fn aside(&self) -> io::Result<Vec<Aside>> {
        aside::find(self.folder(), &self.name)
    }

    fn folder(&self) -> &Path {
        self.full.parent().unwrap_or(Path::new("."))
    }

    /// Whether the path still leads to this file: else lines would be acknowledged into a file that nobody finds.
    fn is_in_place(&self) -> bool {
        std::fs::symlink_metadata(&self.full)
            .is_ok_and(|meta| (meta.dev(), meta.ino()) == self.identity && meta.len() >= self.len)
    }
}

/// Makes the file end with a line end; returns its length.
fn repair(file: &File, len: u64, relative: &str, json: bool) -> io::Result<u64> {
    let mut last = [0u8; 1];
    if len == 0 || (file.read_at(&mut last, len - 1)? == 1 && last[0] == b'\n') {
        return Ok(len);
    }
    let start = after_last_line_end(file, len)?;
    if json && len - start <= MAX_TAIL {
        let mut tail = vec![0u8; usize::try_from(len - start).unwrap_or(0)];
        file.read_exact_at(&mut tail, start)?;
        let delimited = matches!(tail.first(), Some(b'{' | b'[' | b'"'));
        if delimited && serde_json::from_slice::<serde::de::IgnoredAny>(&tail).is_ok() {
            (&*file).write_all(b"\n")?;
            file.sync_data()?;
            tracing::info!(file = relative, "the last line lacked its end and was completed");
            return Ok(len + 1);
        }
    }
    file.set_len(start)?;
    file.sync_data()?;
    tracing::warn!(file = relative, bytes = len - start, "a torn last line, never acknowledged, was cut off");
    Ok(start)
}

fn after_last_line_end(file: &File, len: u64) -> io::Result<u64> {
    let mut buffer = vec![0u8; 64 * 1024];
    let mut end = len;
    while end > 0 {
        let start = end.saturating_sub(buffer.len() as u64);
        let part = &mut buffer[..usize::try_from(end - start).unwrap_or(0)];
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|&b| b == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Shared by the calls of a target: one batch at a time.
pub type Shared = Arc<tokio::sync::Mutex<Writer>>;

#[cfg(test)]
mod tests;
