//! The one pass over a document. Iterative: nesting costs no stack, and while a container is open its `next` field
//! holds the index of the container around it.

use std::borrow::Cow;
use std::collections::HashSet;

use super::node::{Tag, key_tag};
use super::{Error, ErrorKind, Limits, Node, decode};

/// Up to here, a new key is compared with the keys before it; a larger object is checked once, by hash, when it ends.
const LINEAR_KEYS: u32 = 24;
const NO_PARENT: u32 = u32::MAX;

/// Parses `text`. With `KEEP` the tape is complete afterwards; without, subtrees are dropped as they end.
pub(super) fn run<const KEEP: bool>(text: &str, limits: &Limits, tape: &mut Vec<Node>) -> Result<(), Error> {
    let mut parser = Parser { bytes: text.as_bytes(), text, at: 0, limits, tape, keys: 0, depth: 0, open: NO_PARENT };
    parser.document::<KEEP>()
}

struct Parser<'a> {
    bytes: &'a [u8],
    text: &'a str,
    at: usize,
    limits: &'a Limits,
    tape: &'a mut Vec<Node>,
    keys: u32,
    depth: u32,
    open: u32,
}

impl Parser<'_> {
    fn document<const KEEP: bool>(&mut self) -> Result<(), Error> {
        'value: loop {
            self.white();
            match self.byte() {
                b'"' => self.string(false)?,
                b'{' => {
                    self.enter(Tag::Object)?;
                    self.white();
                    if self.byte() != b'}' {
                        self.key()?;
                        continue 'value;
                    }
                    self.at += 1;
                    self.leave::<KEEP>()?;
                }
                b'[' => {
                    self.enter(Tag::Array)?;
                    self.white();
                    if self.byte() != b']' {
                        continue 'value;
                    }
                    self.at += 1;
                    self.leave::<KEEP>()?;
                }
                b'-' | b'0'..=b'9' => self.number()?,
                b't' => self.word(b"true", Tag::True)?,
                b'f' => self.word(b"false", Tag::False)?,
                b'n' => self.word(b"null", Tag::Null)?,
                _ => return Err(self.syntax("a value")),
            }
            // A value has ended: go on in the container around it, or end.
            loop {
                self.white();
                if self.open == NO_PARENT {
                    if self.at < self.bytes.len() {
                        return Err(self.syntax("the end of the document"));
                    }
                    return Ok(());
                }
                let open = self.open as usize;
                self.tape[open].count += 1;
                if self.tape[open].tag() == Tag::Object {
                    self.close_key::<KEEP>(open);
                    match self.byte() {
                        b',' => {
                            self.at += 1;
                            self.white();
                            self.key()?;
                            continue 'value;
                        }
                        b'}' => {
                            self.at += 1;
                            self.leave::<KEEP>()?;
                        }
                        _ => return Err(self.syntax("`,` or `}`")),
                    }
                } else {
                    if !KEEP {
                        self.tape.truncate(open + 1);
                    }
                    match self.byte() {
                        b',' => {
                            self.at += 1;
                            continue 'value;
                        }
                        b']' => {
                            self.at += 1;
                            self.leave::<KEEP>()?;
                        }
                        _ => return Err(self.syntax("`,` or `]`")),
                    }
                }
            }
        }
    }

    /// The byte at the position; 0 at the end, which no rule accepts.
    #[inline(always)]
    fn byte(&self) -> u8 {
        self.bytes.get(self.at).copied().unwrap_or(0)
    }

    #[inline(always)]
    fn white(&mut self) {
        while matches!(self.bytes.get(self.at), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    #[cold]
    fn syntax(&self, expected: &'static str) -> Error {
        self.error(ErrorKind::Syntax(expected), self.at)
    }

    #[cold]
    fn error(&self, kind: ErrorKind, offset: usize) -> Error {
        Error::new(kind, offset.min(self.bytes.len()), self.bytes)
    }

    #[inline]
    fn push(&mut self, tag: Tag, start: usize, end: usize, count: u32) {
        let next = self.tape.len() as u32 + 1;
        self.tape.push(Node::new(tag, start, end, next, count));
    }

    fn enter(&mut self, tag: Tag) -> Result<(), Error> {
        self.depth += 1;
        let limit = self.limits.depth.min(Limits::MAX_DEPTH);
        if self.depth > limit {
            return Err(self.error(ErrorKind::Depth(limit), self.at));
        }
        let index = self.tape.len() as u32;
        self.tape.push(Node::new(tag, self.at, 0, self.open, 0));
        self.open = index;
        self.at += 1;
        Ok(())
    }

    /// The closing bracket has been read.
    fn leave<const KEEP: bool>(&mut self) -> Result<(), Error> {
        let open = self.open as usize;
        let node = self.tape[open];
        if node.tag() == Tag::Object && node.count > LINEAR_KEYS {
            self.check_many_keys(open)?;
        }
        if !KEEP {
            self.tape.truncate(open + 1);
        }
        let end = self.tape.len() as u32;
        self.open = node.next;
        self.tape[open].end = self.at as u32;
        self.tape[open].next = end;
        self.depth -= 1;
        Ok(())
    }

    /// Reads a key and its colon.
    fn key(&mut self) -> Result<(), Error> {
        if self.byte() != b'"' {
            return Err(self.syntax("a key in double quotes"));
        }
        self.keys += 1;
        if self.keys > self.limits.keys {
            return Err(self.error(ErrorKind::Keys(self.limits.keys), self.at));
        }
        self.string(true)?;
        let open = self.open as usize;
        let count = self.tape[open].count;
        if count > 0 && count < LINEAR_KEYS {
            self.check_key(open, count)?;
        }
        // Patched when the value ends. Until then it names itself as the open key of its object.
        let key = self.tape.len() - 1;
        self.tape[open].end = key as u32;
        self.white();
        if self.byte() != b':' {
            return Err(self.syntax("`:`"));
        }
        self.at += 1;
        Ok(())
    }

    /// The value of the last key of `open` has ended.
    #[inline]
    fn close_key<const KEEP: bool>(&mut self, open: usize) {
        let key = self.tape[open].end as usize;
        if !KEEP {
            self.tape.truncate(key + 1);
        }
        self.tape[key].next = self.tape.len() as u32;
    }

    #[inline]
    fn check_key(&self, open: usize, count: u32) -> Result<(), Error> {
        let new = self.tape[self.tape.len() - 1];
        let mut at = open + 1;
        for _ in 0..count {
            let old = self.tape[at];
            let same = if old.tag() == Tag::Escaped || new.tag() == Tag::Escaped {
                self.key_text(old) == self.key_text(new)
            } else {
                old.count == new.count && old.inner(self.bytes) == new.inner(self.bytes)
            };
            if same {
                return Err(self.duplicate(new));
            }
            at = old.next as usize;
        }
        Ok(())
    }

    fn check_many_keys(&self, open: usize) -> Result<(), Error> {
        let count = self.tape[open].count;
        let mut seen = HashSet::with_capacity(count as usize);
        let mut at = open + 1;
        for _ in 0..count {
            let key = self.tape[at];
            if !seen.insert(self.key_text(key)) {
                return Err(self.duplicate(key));
            }
            at = key.next as usize;
        }
        Ok(())
    }

    fn key_text(&self, key: Node) -> Cow<'_, str> {
        let raw = key.inner_text(self.text);
        if key.tag() == Tag::Escaped { Cow::Owned(decode(raw)) } else { Cow::Borrowed(raw) }
    }

    #[cold]
    fn duplicate(&self, key: Node) -> Error {
        self.error(ErrorKind::DuplicateKey(self.key_text(key).into_owned()), key.start())
    }

    fn string(&mut self, key: bool) -> Result<(), Error> {
        let start = self.at;
        let mut at = start + 1;
        let mut tag = Tag::Plain;
        loop {
            at = skip_plain(self.bytes, at);
            match self.bytes.get(at) {
                Some(b'"') => break,
                Some(b'\\') => {
                    tag = Tag::Escaped;
                    at = self.escape(at)?;
                }
                Some(_) => return Err(self.error(ErrorKind::Syntax("no control character in a string"), at)),
                None => return Err(self.error(ErrorKind::Syntax("the end of the string that begins"), start)),
            }
        }
        self.at = at + 1;
        let count = if key { key_tag(&self.bytes[start + 1..at]) } else { 0 };
        self.push(tag, start, at + 1, count);
        Ok(())
    }

    /// `at` is at a backslash; returns the position after the escape.
    fn escape(&self, at: usize) -> Result<usize, Error> {
        match self.bytes.get(at + 1) {
            Some(b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't') => Ok(at + 2),
            Some(b'u') => match self.hex(at + 2)? {
                0xD800..=0xDBFF => {
                    let pair = self.bytes.get(at + 6) == Some(&b'\\') && self.bytes.get(at + 7) == Some(&b'u');
                    if pair && (0xDC00..=0xDFFF).contains(&self.hex(at + 8)?) {
                        return Ok(at + 12);
                    }
                    Err(self.error(ErrorKind::Surrogate, at))
                }
                0xDC00..=0xDFFF => Err(self.error(ErrorKind::Surrogate, at)),
                _ => Ok(at + 6),
            },
            _ => Err(self.error(ErrorKind::Syntax("one of \\\" \\\\ \\/ \\b \\f \\n \\r \\t \\uXXXX"), at)),
        }
    }

    fn hex(&self, at: usize) -> Result<u32, Error> {
        let mut value = 0;
        for offset in at..at + 4 {
            let digit = self.bytes.get(offset).and_then(|b| (*b as char).to_digit(16));
            let Some(digit) = digit else {
                return Err(self.error(ErrorKind::Syntax("four hexadecimal digits"), offset));
            };
            value = value << 4 | digit;
        }
        Ok(value)
    }

    fn number(&mut self) -> Result<(), Error> {
        let start = self.at;
        let mut at = start + usize::from(self.byte() == b'-');
        match self.bytes.get(at) {
            Some(b'0') => at += 1,
            Some(b'1'..=b'9') => at = digits(self.bytes, at),
            _ => return Err(self.error(ErrorKind::Syntax("a digit"), at)),
        }
        let mut tag = Tag::Integer;
        let mut exponent = false;
        if self.bytes.get(at) == Some(&b'.') {
            tag = Tag::Number;
            let end = digits(self.bytes, at + 1);
            if end == at + 1 {
                return Err(self.error(ErrorKind::Syntax("a digit"), end));
            }
            at = end;
        }
        if matches!(self.bytes.get(at), Some(b'e' | b'E')) {
            tag = Tag::Number;
            exponent = true;
            at += 1;
            if matches!(self.bytes.get(at), Some(b'+' | b'-')) {
                at += 1;
            }
            let end = digits(self.bytes, at);
            if end == at {
                return Err(self.error(ErrorKind::Syntax("a digit"), end));
            }
            at = end;
        }
        // Without an exponent, only a number of more than 308 digits can be out of range.
        if (exponent || at - start > 308) && self.text[start..at].parse::<f64>().is_ok_and(f64::is_infinite) {
            return Err(self.error(ErrorKind::Number, start));
        }
        self.at = at;
        self.push(tag, start, at, 0);
        Ok(())
    }

    fn word(&mut self, word: &'static [u8], tag: Tag) -> Result<(), Error> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word) {
            return Err(self.syntax("a value"));
        }
        self.push(tag, self.at, end, 0);
        self.at = end;
        Ok(())
    }
}

fn digits(bytes: &[u8], mut at: usize) -> usize {
    while matches!(bytes.get(at), Some(b'0'..=b'9')) {
        at += 1;
    }
    at
}

/// The first position from `at` on that holds a quote, a backslash or a control character; eight bytes a step.
#[inline]
pub(super) fn skip_plain(bytes: &[u8], mut at: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    while let Some(chunk) = bytes.get(at..at + 8).and_then(|c| <[u8; 8]>::try_from(c).ok()) {
        let word = u64::from_le_bytes(chunk);
        let quote = word ^ (ONES * 0x22);
        let slash = word ^ (ONES * 0x5C);
        let hits = (quote.wrapping_sub(ONES) & !quote)
            | (slash.wrapping_sub(ONES) & !slash)
            | (word.wrapping_sub(ONES * 0x20) & !word);
        let hits = hits & HIGH;
        if hits != 0 {
            return at + (hits.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(&byte) = bytes.get(at) {
        if byte == b'"' || byte == b'\\' || byte < 0x20 {
            return at;
        }
        at += 1;
    }
    bytes.len()
}
