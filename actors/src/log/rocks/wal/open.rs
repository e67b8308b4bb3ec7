//! Reads a write-ahead file block by block, puts records together from fragments, and tells the scan what it found.

use super::Scan;
use super::format::{BEFORE, BEFORE_RECYCLED, BLOCK, Fragment, RECYCLED_HEADER, Unreadable};
use super::marker::{HEAD, Marker};

/// A file that is being read, and the record that is being put together from fragments.
pub(super) struct Open {
    /// The place and the number of the file, and the number of the last file that there is.
    pub(super) at: usize,
    number: u64,
    highest: u64,
    /// Whether its fragments hold its number. The first block that can be read tells, by its first fragment: there a header
    /// is always RocksDB's, while what is left over behind the end of what was written may be the data of an event.
    numbered: Option<bool>,
    head: Vec<u8>,
    pub(super) open: bool,
    /// The end of the last whole record.
    pub(super) whole_until: u64,
    /// Whether nothing but what stands before all groups was read in this file yet.
    first: bool,
    /// The last group that was read behind something bad. That it is one shows when the block after it is the file's own,
    /// since a file is written from front to back.
    unproven: Option<Marker>,
    /// Whether the file holds what was written to it under a later number.
    pub(super) recycled: bool,
}

impl Open {
    pub(super) fn new(at: usize, number: u64, highest: u64) -> Self {
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

    pub(super) fn block(&mut self, scan: &mut Scan, block_start: u64, block: &[u8]) {
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
            if pos == 0 {
                self.numbered.get_or_insert(fragment.numbered);
                if let Some(marker) = self.unproven.take() {
                    scan.group(self.at, false, marker);
                }
            }
            if self.numbered != Some(fragment.numbered) {
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
