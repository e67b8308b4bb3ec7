//! Reads RocksDB's write-ahead files before RocksDB does, to tell a torn tail from damage.
//!
//! No recovery mode of RocksDB can: `TolerateCorruptedTailRecords` silently ends at a damaged length in the last 32
//! KiB and silently steps over a zeroed block, `PointInTime` drops whatever follows a bad record, and
//! `AbsoluteConsistency` refuses the torn tail that every power loss may leave. What they lack is knowing what was
//! synced. hexaFn writes that down: every group begins with a marker ([`Chain::marker`]) that holds the group's number and the last
//! group that was synced when it was written, and the mark file (`mark.rs`) holds the same from outside. So:
//! - a bad record followed by a group that says the bad one was synced, or at or below the mark: damage, reported;
//! - a hole in the group numbers within a file: damage, reported;
//! - any other bad record is an unsynced tail, that nobody was promised: it is cut off (and kept in `torn/`).
//!
//! Files are recycled: behind the end of what was written there may be left-over bytes of a file that had the place
//! before, and a write that was torn looks much like them. So the end of a file is known in two ways: the file that
//! follows begins with the length of the one before it (RocksDB's `PredecessorWALInfo`), and each fragment holds the
//! number of the file that it was written to. In a file that has no next one, what cannot be read and is followed by
//! no fragment of the file's own is its end; what lies behind an end is cut off without a word. A fragment of a later
//! file says that power was lost before the recycled file's new name was on disk: nothing in it is needed. And since
//! left-over bytes may be the data of an event, groups prove that they follow each other: see [`Chain`].
//!
//! After this RocksDB recovers with `AbsoluteConsistency`, its strictest mode.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

mod format;
mod marker;
mod open;

pub(super) use format::wal_files;
pub(super) use marker::{Chain, Marked};

use format::{BLOCK, fill};
use marker::Marker;
use open::Open;

/// The first thing that does not fit, or what is behind the end of a file.
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
    /// The number that the next group must have; not known where files between may be gone, since their content is in
    /// tables.
    next: Option<u64>,
    /// The secret number of the last group, where the next one has to know it.
    chain: Option<u64>,
    bad: Option<Bad>,
    /// Torn ends of files that the next file continues without a loss: a write failed, and was made again.
    mended: Vec<Bad>,
    /// Ends of files that have left-over bytes behind them.
    ends: Vec<Bad>,
    /// A proof that synced data is damaged.
    damage: Option<String>,
    /// Of each file: the end of the last fragment that is its own.
    own: Vec<u64>,
}

impl Scan {
    fn fail(&mut self, file: usize, offset: u64, what: &'static str) {
        if self.bad.is_none() {
            self.bad = Some(Bad { file, offset, what, after: self.last });
        }
        self.chain = None;
    }

    /// A whole group was read in the file at this place.
    fn group(&mut self, at: usize, first_of_file: bool, Marker { group, synced, chain }: Marker) {
        self.chain = chain.map(|(_, own)| own);
        let goes_on = |bad: &Bad| bad.file < at && bad.after.is_some_and(|after| after.saturating_add(1) == group);
        if first_of_file && self.bad.as_ref().is_some_and(goes_on) {
            self.mended.extend(self.bad.take());
        }
        if let Some(bad) = &self.bad {
            // Groups are numbered without gaps, so the bad ones are those after the last good one and before this.
            let lowest_bad = bad.after.map_or(group.saturating_sub(1), |g| g + 1);
            if synced >= lowest_bad && self.damage.is_none() {
                self.damage = Some(format!("group {lowest_bad} was synced before group {group} was written"));
            }
        } else {
            if self.next.is_some_and(|next| next != group) && self.damage.is_none() {
                let last = self.last.unwrap_or_default();
                self.damage = Some(format!("group {group} follows group {last}"));
            }
            self.last = Some(group);
            self.next = Some(group.saturating_add(1));
        }
    }
}

/// Checks the write-ahead files in RocksDB's directory against the mark, and cuts off a torn tail (its bytes are
/// kept in `keep`). An error text says what is damaged; with `accept_loss` the damage and all after it is cut off too.
pub(super) fn check(dir: &Path, marked: u64, keep: &Path, accept_loss: bool) -> Result<(), String> {
    let files = wal_files(dir).map_err(|e| format!("reading {} failed ({e})", dir.display()))?;
    let mut scan = Scan::default();
    for (at, file) in files.iter().enumerate() {
        let next = files.get(at + 1).and_then(|next| next.before).filter(|before| before.number == file.number);
        // Files between may be gone, since what was in them is in tables. RocksDB itself checks that none that it needs
        // is missing or too short (`track_and_verify_wals_in_manifest`).
        if at == 0 || file.before.is_none_or(|before| before.number != files[at - 1].number) {
            (scan.last, scan.next, scan.chain) = (None, None, None);
        }
        let highest = files.last().map_or(0, |file| file.number);
        let open = Open::new(at, file.number, highest);
        scan_file(&mut scan, open, &file.path, next.map(|before| before.size))
            .map_err(|e| format!("reading {} failed ({e})", file.path.display()))?;
    }
    let place = |bad: &Bad| format!("{} at byte {}: {}", files[bad.file].path.display(), bad.offset, bad.what);
    if let Some(why) = scan.damage.filter(|_| !accept_loss) {
        return Err(match &scan.bad {
            Some(bad) => format!("synced data is damaged in {}; {why}", place(bad)),
            None => format!("the write-ahead files have a hole: {why}"),
        });
    }
    // What follows the last file's end was never promised, if the mark is right.
    let last = scan.bad.as_ref().or_else(|| scan.ends.last().filter(|end| end.file + 1 == files.len()));
    if let Some(bad) = last.filter(|bad| !accept_loss && bad.after.is_some_and(|after| after < marked)) {
        return Err(format!("synced data is damaged in {}; groups up to {marked} had been synced", place(bad)));
    }
    let cut = |file: usize, from: u64, keep: Option<&Path>| {
        let path = &files[file].path;
        let keep = keep.map(|keep| (keep, scan.own[file].max(from + BLOCK as u64)));
        cut(path, from, keep).map_err(|e| format!("cutting {} at byte {from} failed ({e})", path.display()))
    };
    for end in &scan.ends {
        // Each recycled file begins with a fragment of its own and follows another one; else it is kept, whatever it is.
        cut(end.file, end.offset, (scan.own[end.file] == 0 || end.after.is_none()).then_some(keep))?;
    }
    scan.mended.iter().try_for_each(|bad| cut(bad.file, bad.offset, Some(keep)))?;
    if let Some(bad) = &scan.bad {
        tracing::warn!(place = %place(bad), "the log ends in a write that was never synced; it is cut off and kept aside");
        // From the last one on: whenever that ends, what is left is what was before the bad place, or is found bad again.
        (bad.file + 1..files.len()).rev().try_for_each(|later| cut(later, 0, Some(keep)))?;
        cut(bad.file, bad.offset, Some(keep))?;
    }
    Ok(())
}

/// Cuts a file. `keep` is the directory for what is cut off, and up to where that is worth it.
fn cut(path: &Path, from: u64, keep: Option<(&Path, u64)>) -> io::Result<()> {
    let mut file = OpenOptions::new().read(true).write(true).open(path)?;
    if file.metadata()?.len() <= from {
        return Ok(());
    }
    if let Some((keep, to)) = keep {
        fs::create_dir_all(keep)?;
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("wal");
        file.seek(SeekFrom::Start(from))?;
        let mut copy = File::create(keep.join(format!("{name}.{from}")))?;
        io::copy(&mut (&mut file).take(to.saturating_sub(from)), &mut copy)?;
        copy.sync_all()?;
    }
    file.set_len(from)?;
    file.sync_all()
}

/// Reads one file, fragment by fragment, up to `end` where that is known.
fn scan_file(scan: &mut Scan, mut record: Open, path: &Path, end: Option<u64>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let at = record.at;
    let size = file.metadata()?.len();
    let mut block = vec![0u8; BLOCK];
    let mut block_start = 0u64;
    let damage = scan.damage.clone();
    scan.own.push(0);
    loop {
        let len = fill(&mut file, &mut block)?;
        let before_end = end.map_or(u64::MAX, |end| end.saturating_sub(block_start));
        let known = usize::try_from(before_end).map_or(len, |before_end| len.min(before_end));
        record.block(scan, block_start, &block[..known]);
        block_start += len as u64;
        if known < BLOCK {
            break;
        }
    }
    if record.recycled {
        // Its new name was not on disk yet when power was lost. What it held is in tables, and what was being written to
        // it was not promised, since a sync covers the name, too.
        scan.bad.take_if(|bad| bad.file == at);
        (scan.damage, scan.last, scan.next, scan.chain) = (damage, None, None, None);
        return Ok(());
    }
    if record.open {
        scan.fail(at, record.whole_until, "the last group is cut short");
    }
    match end {
        Some(end) if size < end => scan.fail(at, record.whole_until, "the file is shorter than the next one says"),
        Some(end) if size > end && scan.bad.is_none() => {
            scan.ends.push(Bad { file: at, offset: end, what: "left over", after: scan.last });
        }
        Some(_) => {}
        None => {
            let own = scan.own[at];
            scan.ends.extend(scan.bad.take_if(|bad| bad.file == at && own <= bad.offset));
        }
    }
    Ok(())
}
