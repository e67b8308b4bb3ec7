//! Why a document was refused: a stable code, the offset, and a sentence for people.

use std::fmt;

/// What is wrong with a document.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum ErrorKind {
    /// The bytes are not UTF-8.
    Utf8,
    /// Not RFC 8259; the text says what was expected.
    Syntax(&'static str),
    /// Nested deeper than the limit.
    Depth(u32),
    /// More object keys than the limit.
    Keys(u32),
    /// A key occurs twice in one object.
    DuplicateKey(String),
    /// `\uD800`–`\uDFFF` without its partner.
    Surrogate,
    /// A number beyond the range of `f64`, which most programs cannot read.
    Number,
    /// Longer than the limit in bytes.
    TooLong(usize),
}

/// A refused document: where and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    /// Byte offset of what is refused.
    pub offset: usize,
    /// What is wrong.
    pub kind: ErrorKind,
    line: usize,
    column: usize,
}

impl Error {
    #[cold]
    pub(super) fn new(kind: ErrorKind, offset: usize, bytes: &[u8]) -> Self {
        let before = bytes.get(..offset).unwrap_or(bytes);
        let line = before.iter().filter(|&&b| b == b'\n').count() + 1;
        let line_start = before.iter().rposition(|&b| b == b'\n').map_or(0, |at| at + 1);
        // Characters, not bytes: continuation bytes do not count.
        let column = before.get(line_start..).unwrap_or_default().iter().filter(|&&b| b & 0xC0 != 0x80).count() + 1;
        Self { offset, kind, line, column }
    }

    /// An error of the bytes as such, which have no lines.
    #[cold]
    pub(super) fn unplaced(kind: ErrorKind, offset: usize) -> Self {
        Self { offset, kind, line: 0, column: 0 }
    }

    /// The stable code, for problem details and metrics.
    pub fn code(&self) -> &'static str {
        match self.kind {
            ErrorKind::Utf8 => "json-utf8",
            ErrorKind::Syntax(_) => "json-syntax",
            ErrorKind::Depth(_) => "json-depth",
            ErrorKind::Keys(_) => "json-keys",
            ErrorKind::DuplicateKey(_) => "json-duplicate-key",
            ErrorKind::Surrogate => "json-surrogate",
            ErrorKind::Number => "json-number",
            ErrorKind::TooLong(_) => "json-size",
        }
    }

    /// Line, counted from 1; 0 if the bytes are not text.
    pub fn line(&self) -> usize {
        self.line
    }

    /// Column in characters, counted from 1; 0 if the bytes are not text.
    pub fn column(&self) -> usize {
        self.column
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.kind {
            ErrorKind::Utf8 => f.write_str("the bytes are not UTF-8")?,
            ErrorKind::Syntax(expected) => write!(f, "expected {expected}")?,
            ErrorKind::Depth(limit) => write!(f, "nested deeper than {limit} levels")?,
            ErrorKind::Keys(limit) => write!(f, "more than {limit} object keys")?,
            ErrorKind::DuplicateKey(key) => write!(f, "duplicate key {key:?}")?,
            ErrorKind::Surrogate => f.write_str("\\u escape is half of a surrogate pair")?,
            ErrorKind::Number => f.write_str("number beyond the range of a 64-bit float")?,
            ErrorKind::TooLong(limit) => return write!(f, "document is longer than {limit} bytes"),
        }
        write!(f, " at byte {}", self.offset)?;
        if self.line > 0 {
            write!(f, " (line {}, column {})", self.line, self.column)?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}
