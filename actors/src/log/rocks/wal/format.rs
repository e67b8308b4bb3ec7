//! The format of RocksDB's write-ahead files, as its `db/log_format.h` gives it: blocks of 32 KiB, fragments with CRC-32C,
//! length and kind, and the number of the file in the kinds of recycled files. Files of the time before recycling have
//! none and are read as well.

use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub(super) const BLOCK: usize = 32 * 1024;
/// The header of a fragment: checksum 4, length 2, kind 1, and with the kinds of recycled files the number of the file 4.
const HEADER: usize = 7;
pub(super) const RECYCLED_HEADER: usize = 11;
/// The kinds of the record that says what file was before this one.
pub(super) const BEFORE: u8 = 130;
pub(super) const BEFORE_RECYCLED: u8 = 131;

/// A write-ahead file.
#[derive(Debug)]
pub(in crate::log::rocks) struct Wal {
    pub(super) number: u64,
    pub(in crate::log::rocks) path: PathBuf,
    pub(in crate::log::rocks) before: Option<Before>,
}

/// What a file says of the one before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::log::rocks) struct Before {
    pub(in crate::log::rocks) number: u64,
    /// The bytes that were written to it.
    pub(in crate::log::rocks) size: u64,
}

/// The write-ahead files in the order of their numbers.
pub(in crate::log::rocks) fn wal_files(dir: &Path) -> io::Result<Vec<Wal>> {
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

/// A fragment at the beginning of some bytes.
pub(super) struct Fragment {
    pub(super) kind: u8,
    /// Whether it holds the number of its file.
    pub(super) numbered: bool,
    pub(super) body: usize,
    pub(super) end: usize,
}

/// Why there is none.
pub(super) struct Unreadable {
    pub(super) what: &'static str,
    /// Where it would end, when it says of itself that it belongs to the file.
    pub(super) own: Option<usize>,
    /// It is of a file that came later.
    pub(super) later: bool,
}

impl Fragment {
    /// `number` is that of the file, `highest` that of the last file that there is.
    pub(super) fn read(bytes: &[u8], number: u64, highest: u64) -> Result<Self, Unreadable> {
        let cut = Unreadable { what: "a cut header", own: None, later: false };
        let (Some(header), kind) = (bytes.get(..HEADER), bytes.get(HEADER - 1).copied().unwrap_or(0)) else {
            return Err(cut);
        };
        let numbered = matches!(kind, 5..=8 | BEFORE_RECYCLED);
        let body = if numbered { RECYCLED_HEADER } else { HEADER };
        if bytes.len() < body {
            return Err(cut);
        }
        let crc = read_u32(header);
        let end = body + usize::from(u16::from_le_bytes([header[4], header[5]]));
        // The lower half of the number is what is written.
        let (said, number) = (numbered.then(|| read_u32(&bytes[HEADER..])), number as u32);
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
            return Ok(Self { kind, numbered, body, end });
        };
        Err(Unreadable { what, own: (numbered && of_file).then_some(end.min(bytes.len())), later })
    }
}

fn read_u32(bytes: &[u8]) -> u32 {
    bytes.first_chunk().map_or(0, |four| u32::from_le_bytes(*four))
}

/// RocksDB stores a rotated checksum plus a constant (`util/crc32c.h`).
fn unmask(masked: u32) -> u32 {
    masked.wrapping_sub(0xa282_ead8).rotate_right(17)
}

pub(super) fn fill(file: &mut File, block: &mut [u8]) -> io::Result<usize> {
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
