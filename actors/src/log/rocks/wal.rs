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
//! After this RocksDB recovers with `AbsoluteConsistency`, its strictest mode. The format read here is RocksDB's
//! `db/log_format.h`: blocks of 32 KiB, fragments with CRC-32C, length and kind, and the number of the file in the kinds
//! of recycled files. Files of the time before recycling have none and are read as well.

use std::fs::{self, File, OpenOptions};
use std::hash::{BuildHasher, RandomState};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

const BLOCK: usize = 32 * 1024;
/// The header of a fragment: checksum 4, length 2, kind 1, and with the kinds of recycled files the number of the file 4.
const HEADER: usize = 7;
const RECYCLED_HEADER: usize = 11;
/// The kinds of the record that says what file was before this one.
const BEFORE: u8 = 130;
const BEFORE_RECYCLED: u8 = 131;
/// The head of a write batch that holds the marker: sequence 8, count 4, tag 1, length 1, marker.
const HEAD: usize = 14 + MARKER;
const MARKER: usize = 36;
const MAGIC: &[u8; 4] = b"hxG2";
/// The marker of the time before recycling: without the chain.
const OLD_MARKER: usize = 20;
const OLD_MAGIC: &[u8; 4] = b"hxG1";
/// RocksDB's `kTypeLogData`: bytes in a write batch that go to the write-ahead file only.
const TAG_LOG_DATA: u8 = 0x03;

/// The bytes of a marker.
pub(super) type Marked = [u8; MARKER];

/// What makes the groups of one process a chain: each holds a number that nobody outside can know, and the number of the
/// group before it. What is left over in a recycled file may be the data of an event, and its sender could have made it
/// look like a group of the file; it stands at the end of what was written sooner or later.
#[derive(Default)]
pub(super) struct Chain(RandomState);

impl Chain {
    /// What every group's write batch begins with.
    pub(super) fn marker(&self, group: u64, synced: u64) -> Marked {
        let mut out = [0; MARKER];
        out[..4].copy_from_slice(MAGIC);
        let fields = [group, synced, self.0.hash_one(group.wrapping_sub(1)), self.0.hash_one(group)];
        for (at, field) in fields.into_iter().enumerate() {
            out[4 + 8 * at..12 + 8 * at].copy_from_slice(&field.to_be_bytes());
        }
        out
    }
}

/// What a marker says.
#[derive(Debug, Clone, Copy)]
struct Marker {
    group: u64,
    synced: u64,
    /// The secret number of the group before it and its own; not in files of the time before recycling.
    chain: Option<(u64, u64)>,
}

impl Marker {
    /// The marker in the head of a write batch.
    fn read(head: &[u8]) -> Option<Self> {
        let body = head.get(14..)?;
        let field = |at: usize| Some(u64::from_be_bytes(*body.get(4 + 8 * at..)?.first_chunk()?));
        let (group, synced) = (field(0)?, field(1)?);
        let is = |length: usize, magic| head[12..14] == [TAG_LOG_DATA, length as u8] && body.starts_with(magic);
        if is(MARKER, MAGIC) {
            Some(Self { group, synced, chain: Some((field(2)?, field(3)?)) })
        } else {
            is(OLD_MARKER, OLD_MAGIC).then_some(Self { group, synced, chain: None })
        }
    }
}

/// A write-ahead file.
#[derive(Debug)]
pub(super) struct Wal {
    number: u64,
    pub(super) path: PathBuf,
    pub(super) before: Option<Before>,
}

/// What a file says of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Before {
    pub(super) number: u64,
    /// The bytes that were written to it.
    pub(super) size: u64,
}

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

/// The write-ahead files in the order of their numbers.
pub(super) fn wal_files(dir: &Path) -> io::Result<Vec<Wal>> {
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
            let mut head = [0; RECYCLED_HEADER + 24];
            let len = fill(&mut File::open(&path)?, &mut head)?;
            files.push(Wal { number, path, before: read_before(&head[..len], number) });
        }
    }
    files.sort_by_key(|file| file.number);
    Ok(files)
}

/// What the beginning of a file says of the one before it.
fn read_before(head: &[u8], number: u64) -> Option<Before> {
    let fragment = Fragment::read(head, number, u64::MAX).ok()?;
    let body = &head[fragment.body..fragment.end];
    if !matches!(fragment.kind, BEFORE | BEFORE_RECYCLED) || body.len() != 24 {
        return None;
    }
    let field = |at: usize| Some(u64::from_le_bytes(body[at..at + 8].try_into().ok()?));
    Some(Before { number: field(0)?, size: field(8)? })
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

/// A fragment at the beginning of some bytes.
struct Fragment {
    kind: u8,
    body: usize,
    end: usize,
}

/// Why there is none.
struct Unreadable {
    what: &'static str,
    /// Where it would end, when it says of itself that it belongs to the file.
    own: Option<usize>,
    /// It is of a file that came later.
    later: bool,
}

impl Fragment {
    /// `number` is that of the file, `highest` that of the last file that there is.
    fn read(bytes: &[u8], number: u64, highest: u64) -> Result<Self, Unreadable> {
        let cut = Unreadable { what: "a cut header", own: None, later: false };
        let (Some(header), kind) = (bytes.get(..HEADER), bytes.get(HEADER - 1).copied().unwrap_or(0)) else {
            return Err(cut);
        };
        let recycled = matches!(kind, 5..=8 | BEFORE_RECYCLED);
        let body = if recycled { RECYCLED_HEADER } else { HEADER };
        if bytes.len() < body {
            return Err(cut);
        }
        let crc = read_u32(header);
        let end = body + usize::from(u16::from_le_bytes([header[4], header[5]]));
        // The lower half of the number is what is written.
        let (said, number) = (recycled.then(|| read_u32(&bytes[HEADER..])), number as u32);
        let of_file = said.is_none_or(|said| said == number);
        // Of a file that there is not: then the rest of it need not be there either.
        let mut later = said.is_some_and(|said| u64::from(said) > highest);
        let what = if end > bytes.len() {
            "a length beyond the block"
        } else if unmask(crc) != crc32c::crc32c(&bytes[HEADER - 1..end]) {
            "checksum mismatch"
        } else if !of_file {
            later |= said > Some(number);
            "left over from a file that was recycled"
        } else {
            return Ok(Self { kind, body, end });
        };
        Err(Unreadable { what, own: (recycled && of_file).then_some(end.min(bytes.len())), later })
    }
}

fn read_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

/// A file that is being read, and the record that is being put together from fragments.
struct Open {
    /// The place and the number of the file, and the number of the last file that there is.
    at: usize,
    number: u64,
    highest: u64,
    /// Whether its fragments hold its number. The first block that can be read tells, by its first fragment: there a header
    /// is always RocksDB's, while what is left over behind the end of what was written may be the data of an event.
    numbered: Option<bool>,
    head: Vec<u8>,
    open: bool,
    /// The end of the last whole record.
    whole_until: u64,
    /// Whether nothing but what stands before all groups was read in this file yet.
    first: bool,
    /// The last group that was read behind something bad. That it is one shows when the block after it is the file's own,
    /// since a file is written from front to back.
    unproven: Option<Marker>,
    /// Whether the file holds what was written to it under a later number.
    recycled: bool,
}

impl Open {
    fn new(at: usize, number: u64, highest: u64) -> Self {
        let head = Vec::with_capacity(HEAD);
        let (numbered, unproven) = (None, None);
        Self {
            at,
            number,
            highest,
            numbered,
            head,
            open: false,
            whole_until: 0,
            first: true,
            unproven,
            recycled: false,
        }
    }

    fn fail(&mut self, scan: &mut Scan, what: &'static str) {
        scan.fail(self.at, self.whole_until, what);
        self.open = false;
        self.first = false;
    }

    fn block(&mut self, scan: &mut Scan, block_start: u64, block: &[u8]) {
        let mut pos = 0;
        while pos < block.len() {
            let rest = &block[pos..];
            // The end of a block that no header fits in is filled with zeros.
            if block.len() == BLOCK && rest.len() < RECYCLED_HEADER && rest.iter().all(|b| *b == 0) {
                return;
            }
            let start = block_start + pos as u64;
            let fragment = match Fragment::read(rest, self.number, self.highest) {
                Ok(fragment) => fragment,
                Err(Unreadable { what, own, later }) => {
                    if let Some(end) = own {
                        scan.own[self.at] = start + end as u64;
                    }
                    self.recycled |= later && pos == 0;
                    // The length cannot be trusted, so the rest of the block cannot be read.
                    return self.fail(scan, what);
                }
            };
            let numbered = matches!(fragment.kind, 5..=8 | BEFORE_RECYCLED);
            if pos == 0 {
                self.numbered.get_or_insert(numbered);
                if let Some(marker) = self.unproven.take() {
                    scan.group(self.at, false, marker);
                }
            }
            if self.numbered != Some(numbered) {
                return self.fail(scan, "a fragment of the other kind of file");
            }
            let end = start + fragment.end as u64;
            if !self.fragment(scan, fragment.kind, &rest[fragment.body..fragment.end], end, pos == 0) {
                return;
            }
            scan.own[self.at] = end;
            pos += fragment.end;
        }
    }

    /// Takes a fragment; `false` when the rest of its block says nothing.
    fn fragment(&mut self, scan: &mut Scan, kind: u8, payload: &[u8], end: u64, at_start: bool) -> bool {
        let (begins, ends) = match kind {
            1 | 5 | BEFORE | BEFORE_RECYCLED => (true, true),
            2 | 6 => (true, false),
            3 | 7 => (false, false),
            4 | 8 => (false, true),
            _ => {
                self.fail(scan, "an unknown kind of fragment");
                return at_start;
            }
        };
        if begins == self.open {
            self.fail(scan, "a group without its beginning or end");
            if !at_start {
                return false;
            }
            if !begins {
                return true;
            }
        }
        if begins {
            self.head.clear();
        }
        let room = HEAD.saturating_sub(self.head.len()).min(payload.len());
        self.head.extend_from_slice(&payload[..room]);
        self.open = !ends;
        if !ends {
            return true;
        }
        let before = matches!(kind, BEFORE | BEFORE_RECYCLED);
        let marker = Marker::read(&self.head)
            .filter(|marker| !before && marker.chain.is_some() == (self.numbered == Some(true)));
        match (marker, scan.chain) {
            // In files of the time before recycling, or the first one in a file, where headers are always RocksDB's, too.
            (Some(marker @ Marker { chain: None, .. }), _) => scan.group(self.at, self.first, marker),
            (Some(marker @ Marker { chain: Some((before, _)), .. }), last)
                if last.map_or(self.first, |last| before == last) =>
            {
                scan.group(self.at, self.first, marker);
            }
            (Some(marker), None) => self.unproven = Some(marker),
            // What is written when a directory is made or updated has no marker, and comes first in a file.
            (None, _) if self.first || self.numbered == Some(false) => {}
            _ => {
                self.fail(scan, "left over: it does not follow the group before it");
                return false;
            }
        }
        self.first &= marker.is_none();
        if scan.bad.is_none() {
            self.whole_until = end;
        }
        true
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
