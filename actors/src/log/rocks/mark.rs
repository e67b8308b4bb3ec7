//! The mark: a small file beside the engine that says up to which group everything was synced.
//!
//! It is written *after* the sync of a group, never before, so it never claims too much. The write itself is one
//! `pwrite` a group; a thread of its own syncs the file at most five times a second. What that guarantees:
//! - after a crash of the process (the page cache survives) the mark is exact: a log that lost any acknowledged group
//!   is noticed at the next start;
//! - after a crash of the machine the mark may be [`LAG`] (and the time of one sync) behind: a loss of what was
//!   acknowledged before that is noticed. A later loss is noticed only when it left a hole (`wal.rs`).
//!
//! Two slots are written in turn, each with its checksum, so a torn write leaves the one before.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// The longest time between two syncs of the mark while groups are written.
pub(super) const LAG: Duration = Duration::from_millis(200);

const MAGIC: &[u8; 4] = b"hxMK";
const SLOT: usize = 24;
/// Slots are a disk sector apart, so that one torn sector never takes both.
const STRIDE: u64 = 4096;

/// The open mark file.
pub(super) struct Mark {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

struct Shared {
    file: File,
    state: Mutex<State>,
    changed: Condvar,
    failed: AtomicBool,
}

#[derive(Default)]
struct State {
    writes: u64,
    dirty: bool,
    stop: bool,
}

impl Mark {
    /// Opens or creates the file; returns the highest group in it (0 when new).
    pub(super) fn open(path: &Path) -> io::Result<(Self, u64)> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        let group = read(&file)?;
        if file.metadata()?.len() < STRIDE + SLOT as u64 {
            file.set_len(STRIDE + SLOT as u64)?;
            file.write_all_at(&slot(group), 0)?;
            file.sync_all()?;
        }
        let shared =
            Arc::new(Shared { file, state: Mutex::default(), changed: Condvar::new(), failed: AtomicBool::new(false) });
        let other = shared.clone();
        let thread = std::thread::Builder::new().name("hexafn-log-mark".into()).spawn(move || other.run())?;
        Ok((Self { shared, thread: Some(thread) }, group))
    }

    /// Says that everything up to `group` is synced. Fails when an earlier sync of the mark has failed.
    pub(super) fn raise(&self, group: u64) -> io::Result<()> {
        if self.shared.failed.load(Ordering::Relaxed) {
            return Err(io::Error::other("the sync of the mark file failed"));
        }
        let mut state = self.shared.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.writes += 1;
        self.shared.file.write_all_at(&slot(group), (state.writes % 2) * STRIDE)?;
        if !state.dirty {
            state.dirty = true;
            self.shared.changed.notify_one();
        }
        Ok(())
    }

    /// Sets both slots, also to a lower group: after a person accepted a loss.
    pub(super) fn reset(&self, group: u64) -> io::Result<()> {
        self.shared.file.write_all_at(&slot(group), 0)?;
        self.shared.file.write_all_at(&slot(group), STRIDE)?;
        self.shared.file.sync_all()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.shared.state.lock().unwrap_or_else(PoisonError::into_inner).stop = true;
        self.shared.changed.notify_one();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the thread that syncs the mark file panicked");
        }
    }
}

impl Shared {
    fn run(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            state = self.changed.wait_while(state, |s| !s.dirty && !s.stop).unwrap_or_else(PoisonError::into_inner);
            if !state.dirty {
                return;
            }
            state.dirty = false;
            drop(state);
            if let Err(e) = self.file.sync_data() {
                // A failed sync is never retried as if nothing had happened: the next commit fails.
                tracing::error!(error = %e, "syncing the mark file failed");
                self.failed.store(true, Ordering::Relaxed);
                return;
            }
            state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            (state, _) =
                self.changed.wait_timeout_while(state, LAG, |s| !s.stop).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn slot(group: u64) -> [u8; SLOT] {
    let mut out = [0; SLOT];
    out[..4].copy_from_slice(MAGIC);
    out[4..8].copy_from_slice(&1u32.to_be_bytes());
    out[8..16].copy_from_slice(&group.to_be_bytes());
    let crc = crc32c::crc32c(&out[..16]);
    out[16..20].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The highest group of the valid slots.
fn read(file: &File) -> io::Result<u64> {
    let mut highest = 0;
    for at in [0, STRIDE] {
        let mut bytes = [0; SLOT];
        match file.read_exact_at(&mut bytes, at) {
            Ok(()) => {}
            Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => continue,
            Err(e) => return Err(e),
        }
        let (crc, group) = (crc32c::crc32c(&bytes[..16]).to_be_bytes(), bytes[8..16].try_into());
        if bytes[..4] == *MAGIC
            && bytes[16..20] == crc
            && let Ok(group) = group
        {
            highest = highest.max(u64::from_be_bytes(group));
        }
    }
    Ok(highest)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn the_mark_survives_and_a_torn_slot_leaves_the_other() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let (mark, group) = Mark::open(&path).unwrap();
        assert_eq!(group, 0);
        mark.raise(7).unwrap();
        mark.raise(8).unwrap();
        drop(mark);
        let (mark, group) = Mark::open(&path).unwrap();
        assert_eq!(group, 8);
        drop(mark);
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        file.write_all_at(b"torn", 8).unwrap();
        assert_eq!(Mark::open(&path).unwrap().1, 7);
    }

    #[test]
    fn a_reset_lowers_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark");
        let (mark, _) = Mark::open(&path).unwrap();
        mark.raise(7).unwrap();
        mark.reset(3).unwrap();
        drop(mark);
        assert_eq!(Mark::open(&path).unwrap().1, 3);
    }
}
