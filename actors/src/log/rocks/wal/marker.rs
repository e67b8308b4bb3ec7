//! What every group begins with, so that the scan of the write-ahead files can tell groups from what is left over.

use std::hash::{BuildHasher, RandomState};

/// The head of a write batch that holds the marker: sequence 8, count 4, tag 1, length 1, marker.
pub(super) const HEAD: usize = 14 + MARKER;
const MARKER: usize = 36;
const MAGIC: &[u8; 4] = b"hxG2";
/// The marker of the time before recycling: without the chain.
const OLD_MARKER: usize = 20;
const OLD_MAGIC: &[u8; 4] = b"hxG1";
/// RocksDB's `kTypeLogData`: bytes in a write batch that go to the write-ahead file only.
const TAG_LOG_DATA: u8 = 0x03;

/// The bytes of a marker.
pub(in crate::log::rocks) type Marked = [u8; MARKER];

/// What makes the groups of one process a chain: each holds a number that nobody outside can know, and the number of the
/// group before it. What is left over in a recycled file may be the data of an event, and its sender could have made it
/// look like a group of the file; it stands at the end of what was written sooner or later.
#[derive(Default)]
pub(in crate::log::rocks) struct Chain(RandomState);

impl Chain {
    /// What every group's write batch begins with.
    pub(in crate::log::rocks) fn marker(&self, group: u64, synced: u64) -> Marked {
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
pub(super) struct Marker {
    pub(super) group: u64,
    pub(super) synced: u64,
    /// The secret number of the group before it and its own; not in files of the time before recycling.
    pub(super) chain: Option<(u64, u64)>,
}

impl Marker {
    /// The marker in the head of a write batch.
    pub(super) fn read(head: &[u8]) -> Option<Self> {
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
