//! Event documents: JSON kept as the bytes that were received, with a tape of nodes over them.
//!
//! One pass over the bytes checks everything that hexaFn refuses (RFC 8259 syntax, depth, keys, duplicate keys, lone
//! surrogates, numbers beyond `f64`) and writes one 16-byte node a value. Strings are not copied: a string without
//! escapes is a slice of the received bytes, and what a program passes on is written by copying its raw span, so numbers
//! and escapes leave hexaFn exactly as they came in.

mod error;
mod escape;
mod node;
mod parse;
mod part;

use bytes::Bytes;
use bytestring::ByteString;

use crate::reads::Reads;

pub use error::{Error, ErrorKind};
pub(crate) use escape::{decode, write_string};
pub(crate) use node::key_tag;
pub use node::{Elements, Entries, Kind, NodeRef};

/// What a document may hold at most. The same limits apply to validation and to parsing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Nesting of arrays and objects; a scalar alone has depth 0. Never more than [`Limits::MAX_DEPTH`].
    pub depth: u32,
    /// Object keys in the whole document.
    pub keys: u32,
    /// Bytes of the document; never more than [`Limits::MAX_BYTES`].
    pub bytes: usize,
}

impl Limits {
    /// Deepest nesting that may be allowed: comparing and copying values recurses as deep as they are.
    pub const MAX_DEPTH: u32 = 512;
    /// Offsets are stored in 28 bits.
    pub const MAX_BYTES: usize = (1 << 28) - 1;
}

impl Default for Limits {
    fn default() -> Self {
        Self { depth: 64, keys: 10_000, bytes: Self::MAX_BYTES }
    }
}

/// One node of the tape: a value, or the key of a member, which precedes its value.
///
/// `head` holds the start of the raw span (28 bits) and the kind (4 bits). `next` is the index of the node after this
/// one's subtree; for a key, the node after its value, so that a lookup steps from key to key. `count` is the number of
/// elements or members; for a key, the tag that a lookup compares before it compares bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Node {
    head: u32,
    end: u32,
    next: u32,
    count: u32,
}

const _: () = assert!(size_of::<Node>() == 16);

/// A checked document: the received bytes and the tape over them.
///
/// A clone shares the bytes and copies the tape; whoever hands one document to many readers puts it into an `Arc`.
#[derive(Clone, Debug)]
pub struct Doc {
    text: ByteString,
    tape: Vec<Node>,
}

impl Doc {
    /// Checks `bytes` and builds the tape, with one allocation for usual documents.
    ///
    /// # Errors
    /// The first thing that is refused, with its offset.
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, Error> {
        let text = utf8(bytes, limits)?;
        // A node per six bytes holds for objects with names and values; dense arrays of numbers grow once or twice.
        let mut tape = Vec::with_capacity(text.len() / 6 + 8);
        parse::run::<true>(&text, limits, &mut tape)?;
        Ok(Self { text, tape })
    }

    /// A document of those parts only that `reads` names, from bytes that [`Doc::parse`] or [`Doc::validate`] accepted
    /// before. It costs what lies before the last of them, which is stepped over rather than read.
    ///
    /// Programs whose reads these are give the same results as with the whole document. They may take fewer steps, since to
    /// look for a member costs steps by the size of its object, if that has more than 64.
    ///
    /// Bytes that were not checked are not checked here either: of a key that comes twice the first is taken, and an error
    /// behind the parts is not noticed. Where the scan meets one, or where the whole document is read, it is parsed as
    /// a whole.
    ///
    /// # Errors
    /// As [`Doc::parse`], where the whole document is parsed.
    pub fn parse_part(bytes: &Bytes, reads: &Reads, limits: &Limits) -> Result<Self, Error> {
        if !reads.is_whole()
            && let Some(part) = part::of(bytes, &reads.root)
            // What is nearly everything is not worth a copy.
            && part.len() <= bytes.len() / 2 + 64
            && let Ok(doc) = Self::parse(part.into(), limits)
        {
            return Ok(doc);
        }
        Self::parse(bytes.clone(), limits)
    }

    /// The checks of [`Doc::parse`] without keeping anything, for documents that no program reads.
    ///
    /// # Errors
    /// As [`Doc::parse`].
    pub fn validate(bytes: &[u8], limits: &Limits) -> Result<(), Error> {
        check_size(bytes.len(), limits)?;
        let text = std::str::from_utf8(bytes).map_err(|e| Error::unplaced(ErrorKind::Utf8, e.valid_up_to()))?;
        parse::run::<false>(text, limits, &mut Vec::with_capacity(64))
    }

    /// The top value.
    pub fn root(&self) -> NodeRef<'_> {
        NodeRef::new(self, 0)
    }

    /// The bytes as received.
    pub fn bytes(&self) -> &Bytes {
        self.text.as_bytes()
    }

    /// The document as text.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The number of nodes, keys included: a measure of how much there is to walk.
    pub fn node_count(&self) -> usize {
        self.tape.len()
    }
}

fn check_size(len: usize, limits: &Limits) -> Result<(), Error> {
    if len > limits.bytes.min(Limits::MAX_BYTES) {
        return Err(Error::unplaced(ErrorKind::TooLong(limits.bytes.min(Limits::MAX_BYTES)), 0));
    }
    Ok(())
}

fn utf8(bytes: Bytes, limits: &Limits) -> Result<ByteString, Error> {
    check_size(bytes.len(), limits)?;
    // Without line and column: keeping the bytes for them would cost every good document an allocation.
    ByteString::try_from(bytes).map_err(|e| Error::unplaced(ErrorKind::Utf8, e.valid_up_to()))
}

#[cfg(test)]
mod tests;
