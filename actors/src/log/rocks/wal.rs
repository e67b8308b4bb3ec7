//! Reads RocksDB's write-ahead files before RocksDB does, to tell a torn tail from damage.
//!
//! No recovery mode of RocksDB can: `TolerateCorruptedTailRecords` silently ends at a damaged length in the last 32
//! KiB and silently steps over a zeroed block, `PointInTime` drops whatever follows a bad record, and
//! `AbsoluteConsistency` refuses the torn tail that every power loss may leave. What they lack is knowing what was
//! synced. hexaFn writes that down: every group begins with a [`marker`] that holds the group's number and the last
//! group that was synced when it was written, and the mark file (`mark.rs`) holds the same from outside. So:
//! - a bad record followed by a group that says the bad one was synced, or at or below the mark: damage, reported;
//! - a hole in the group numbers within a file: damage, reported;
//! - any other bad record is an unsynced tail, that nobody was promised: it is cut off (and kept in `torn/`).
//!
//! After this RocksDB opens with `AbsoluteConsistency`, its strictest mode. The format read here is RocksDB's
//! `db/log_format.h`: blocks of 32 KiB, fragments with CRC-32C, length and type. Files with recycled records are not
//! made, since recycling is off.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
const FRAGMENT_HEADER: usize = 7;
/// The head of a write batch that holds the marker: sequence 8, count 4, tag 1, length 1, marker 20.
const HEAD: usize = 34;
const MARKER: &[u8; 4] = b"hxG1";
/// RocksDB's `kTypeLogData`: bytes in a write batch that go to the write-ahead file only.
const TAG_LOG_DATA: u8 = 0x03;

/// What every group's write batch begins with.
pub(super) fn marker(group: u64, synced: u64) -> [u8; 20] {
    let mut out = [0; 20];
    out[..4].copy_from_slice(MARKER);
    out[4..12].copy_from_slice(&group.to_be_bytes());
    out[12..].copy_from_slice(&synced.to_be_bytes());
    out
}

/// The group and synced group in the head of a write batch.
fn read_marker(head: &[u8]) -> Option<(u64, u64)> {
    let body = head.get(12..HEAD)?;
    if body[0] != TAG_LOG_DATA || body[1] != 20 || body[2..6] != *MARKER {
        return None;
    }
    Some((u64::from_be_bytes(body[6..14].try_into().ok()?), u64::from_be_bytes(body[14..22].try_into().ok()?)))
}

/// The first thing that does not fit.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Bad {
    file: usize,
    /// The end of the last whole group before it.
    offset: u64,
    what: &'static str,
    /// The last group before it, when one was seen.
    after: Option<u64>,
}

#[derive(Debug, Default)]
struct Scan {
    last: Option<u64>,
    bad: Option<Bad>,
    /// Torn ends of files that the next file continues without a loss: a write failed, and was made again.
    mended: Vec<Bad>,
    /// A proof that synced data is damaged.
    damage: Option<String>,
}

impl Scan {
    fn fail(&mut self, file: usize, offset: u64, what: &'static str) {
        if self.bad.is_none() {
            self.bad = Some(Bad { file, offset, what, after: self.last });
        }
    }

    /// A whole group was read.
    fn group(&mut self, first_of_file: bool, group: u64, synced: u64) {
        if first_of_file && self.bad.as_ref().is_some_and(|bad| bad.after.is_some_and(|after| after + 1 == group)) {
            self.mended.extend(self.bad.take());
        }
        if let Some(bad) = &self.bad {
            // Groups are numbered without gaps, so the bad ones are those after the last good one and before this.
            let lowest_bad = bad.after.map_or(group.saturating_sub(1), |g| g + 1);
            if synced >= lowest_bad && self.damage.is_none() {
                self.damage = Some(format!("group {lowest_bad} was synced before group {group} was written"));
            }
        } else {
            // Between files a gap is normal: a file whose content is in tables may be deleted before an older one.
            // RocksDB itself checks that no file it needs is missing (`track_and_verify_wals_in_manifest`).
            if let Some(last) = self.last
                && group != last + 1
                && !first_of_file
                && self.damage.is_none()
            {
                self.damage = Some(format!("group {group} follows group {last}"));
            }
            self.last = Some(group);
        }
    }
}

/// Checks the write-ahead files in RocksDB's directory against the mark, and cuts off a torn tail (its bytes are
/// kept in `keep`). An error text says what is damaged; with `accept_loss` the damage and all after it is cut off too.
pub(super) fn check(dir: &Path, marked: u64, keep: &Path, accept_loss: bool) -> Result<(), String> {
    let files = wal_files(dir).map_err(|e| format!("reading {} failed ({e})", dir.display()))?;
    let mut scan = Scan::default();
    for (at, path) in files.iter().enumerate() {
        scan_file(&mut scan, at, path).map_err(|e| format!("reading {} failed ({e})", path.display()))?;
    }
    let cut = |path: &Path, from: u64| {
        cut(path, from, keep).map_err(|e| format!("cutting {} at byte {from} failed ({e})", path.display()))
    };
    let Some(bad) = scan.bad.take() else {
        if let Some(why) = scan.damage.filter(|_| !accept_loss) {
            return Err(format!("the write-ahead files have a hole: {why}"));
        }
        return scan.mended.iter().try_for_each(|bad| cut(&files[bad.file], bad.offset));
    };
    let place = format!("{} at byte {}: {}", files[bad.file].display(), bad.offset, bad.what);
    if let Some(why) = scan.damage.filter(|_| !accept_loss) {
        return Err(format!("synced data is damaged in {place}; {why}"));
    }
    if let Some(after) = bad.after
        && after < marked
        && !accept_loss
    {
        return Err(format!("synced data is damaged in {place}; groups up to {marked} had been synced"));
    }
    tracing::warn!(%place, "the log ends in a write that was never synced; it is cut off and kept aside");
    scan.mended.iter().try_for_each(|bad| cut(&files[bad.file], bad.offset))?;
    cut(&files[bad.file], bad.offset)?;
    files.iter().skip(bad.file + 1).try_for_each(|path| cut(path, 0))
}

/// The write-ahead files in the order of their numbers.
fn wal_files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(e),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse::<u64>().ok());
        if let (Some(number), Some("log")) = (number, path.extension().and_then(|e| e.to_str())) {
            files.push((number, path));
        }
    }
    files.sort();
    Ok(files.into_iter().map(|(_, path)| path).collect())
}

fn cut(path: &Path, from: u64, keep: &Path) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() <= from {
        return Ok(());
    }
    fs::create_dir_all(keep)?;
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("wal");
    file.seek(SeekFrom::Start(from))?;
    let mut copy = File::create(keep.join(format!("{name}.{from}")))?;
    io::copy(&mut file, &mut copy)?;
    copy.sync_all()?;
    file.set_len(from)?;
    file.sync_all()
}

/// Reads one file, fragment by fragment.
fn scan_file(scan: &mut Scan, at: usize, path: &Path) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut block = vec![0u8; BLOCK];
    let mut block_start = 0u64;
    let mut record = Open { head: Vec::with_capacity(HEAD), open: false, whole_until: 0, first: true };
    loop {
        let len = fill(&mut file, &mut block)?;
        record.block(scan, at, block_start, &block[..len]);
        block_start += len as u64;
        if len < BLOCK {
            break;
        }
    }
    if record.open {
        scan.fail(at, record.whole_until, "the last group is cut short");
    }
    Ok(())
}

/// The record that is being put together from fragments.
struct Open {
    head: Vec<u8>,
    open: bool,
    /// The end of the last whole record.
    whole_until: u64,
    /// Whether no marker was read in this file yet.
    first: bool,
}

impl Open {
    fn block(&mut self, scan: &mut Scan, at: usize, block_start: u64, block: &[u8]) {
        let mut pos = 0;
        while block.len() - pos >= FRAGMENT_HEADER {
            let header = &block[pos..pos + FRAGMENT_HEADER];
            let crc = u32::from_le_bytes([header[0], header[1], header[2], header[3]]);
            let (len, kind) = (usize::from(u16::from_le_bytes([header[4], header[5]])), header[6]);
            let end = pos + FRAGMENT_HEADER + len;
            let bad = if end > block.len() {
                Some("a length beyond the block")
            } else if unmask(crc) != crc32c::crc32c(&block[pos + 6..end]) {
                Some("checksum mismatch")
            } else {
                None
            };
            if let Some(what) = bad {
                scan.fail(at, self.whole_until, what);
                self.open = false;
                // The length cannot be trusted, so the rest of the block cannot be read.
                return;
            }
            self.fragment(scan, at, kind, &block[pos + FRAGMENT_HEADER..end], block_start + end as u64);
            pos = end;
        }
        let rest = &block[pos..];
        if !rest.is_empty() && (block.len() < BLOCK || rest.iter().any(|b| *b != 0)) {
            scan.fail(at, self.whole_until, "a cut header");
        }
    }

    fn fragment(&mut self, scan: &mut Scan, at: usize, kind: u8, payload: &[u8], end: u64) {
        let (begins, ends) = match kind {
            1 => (true, true),
            2 => (true, false),
            3 => (false, false),
            4 => (false, true),
            _ => return scan.fail(at, self.whole_until, "an unknown kind of fragment"),
        };
        if begins == self.open {
            scan.fail(at, self.whole_until, "a group without its beginning or end");
            self.open = false;
            if !begins {
                return;
            }
        }
        if begins {
            self.head.clear();
        }
        let room = HEAD.saturating_sub(self.head.len()).min(payload.len());
        self.head.extend_from_slice(&payload[..room]);
        self.open = !ends;
        if ends {
            if let Some((group, synced)) = read_marker(&self.head) {
                scan.group(self.first, group, synced);
                self.first = false;
            }
            if scan.bad.is_none() {
                self.whole_until = end;
            }
        }
    }
}

/// RocksDB stores a rotated checksum plus a constant (`util/crc32c.h`).
fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_right(17)
}

fn fill(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
    let mut len = 0;
    while len < block.len() {
        match file.read(&mut block[len..]) {
            Ok(0) => break,
            Ok(n) => len += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(len)
}
