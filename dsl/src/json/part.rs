//! Parts of a document: a scan over bytes that were checked before, which looks for what is read and steps over the rest.
//!
//! What is found is copied into a small document of the same outline, which is then parsed like any other; so a program
//! sees the same values, down to their text. The scan ends where everything was found. A place that has another kind of
//! value than the path expects is copied as a whole: the error that a program meets there shows it.

use std::borrow::Cow;

use super::decode;
use super::parse::skip_plain;
use crate::reads::Wanted;

/// The part of the text that is wanted, as JSON; nothing if the text is no JSON, as far as it was looked at.
pub(super) fn of(bytes: &[u8], wanted: &Wanted) -> Option<Vec<u8>> {
    let mut scan = Scan { bytes, at: 0, out: Vec::with_capacity(256) };
    scan.value(wanted)?;
    Some(scan.out)
}

struct Scan<'b> {
    bytes: &'b [u8],
    at: usize,
    out: Vec<u8>,
}

impl Scan<'_> {
    fn byte(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn white(&mut self) {
        while matches!(self.byte(), Some(b' ' | b'\n' | b'\r' | b'\t')) {
            self.at += 1;
        }
    }

    fn expect(&mut self, byte: u8) -> Option<()> {
        self.white();
        (self.byte()? == byte).then(|| self.at += 1)
    }

    /// Copies what is wanted of the value here. Tells how many brackets it left open, since nothing behind was wanted.
    fn value(&mut self, wanted: &Wanted) -> Option<usize> {
        self.white();
        let only_members = !wanted.all && wanted.elements.is_empty();
        let only_elements = !wanted.all && wanted.members.is_empty() && !wanted.elements.is_empty();
        match self.byte()? {
            b'{' if only_members => self.object(wanted),
            b'[' if only_elements => self.array(wanted),
            _ => {
                let start = self.at;
                self.skip()?;
                self.out.extend_from_slice(self.bytes.get(start..self.at)?);
                Some(0)
            }
        }
    }

    fn object(&mut self, wanted: &Wanted) -> Option<usize> {
        self.at += 1;
        self.out.push(b'{');
        let mut found = 0;
        // Of a key that comes twice, which no checked document has, the first is taken.
        let mut seen = Seen::default();
        let mut first = true;
        loop {
            if found == wanted.members.len() {
                self.out.push(b'}');
                return Some(1);
            }
            self.white();
            if first && self.byte()? == b'}' {
                break;
            }
            let start = self.at;
            (self.byte()? == b'"').then_some(())?;
            self.string()?;
            let quoted = self.bytes.get(start..self.at)?;
            self.expect(b':')?;
            let key = key_of(quoted)?;
            match wanted.members.iter().position(|(own, _)| own.as_bytes() == &*key) {
                Some(member) if !seen.has(member) => {
                    seen.add(member);
                    if found > 0 {
                        self.out.push(b',');
                    }
                    found += 1;
                    self.out.extend_from_slice(quoted);
                    self.out.push(b':');
                    let open = self.value(&wanted.members.get(member)?.1)?;
                    if found == wanted.members.len() {
                        self.out.push(b'}');
                        return Some(open + 1);
                    }
                    self.leave(open)?;
                }
                _ => {
                    self.white();
                    self.skip()?;
                }
            }
            first = false;
            self.white();
            match self.byte()? {
                b',' => self.at += 1,
                b'}' => break,
                _ => return None,
            }
        }
        self.at += 1;
        self.out.push(b'}');
        Some(0)
    }

    fn array(&mut self, wanted: &Wanted) -> Option<usize> {
        self.at += 1;
        self.out.push(b'[');
        let mut left = wanted.elements.iter().peekable();
        for position in 0.. {
            self.white();
            if position == 0 && self.byte()? == b']' {
                break;
            }
            let Some((next, inside)) = left.peek() else {
                self.out.push(b']');
                return Some(1);
            };
            if position > 0 {
                self.out.push(b',');
            }
            if *next == position {
                left.next();
                let open = self.value(inside)?;
                if left.peek().is_none() {
                    self.out.push(b']');
                    return Some(open + 1);
                }
                self.leave(open)?;
            } else {
                self.out.extend_from_slice(b"null");
                self.skip()?;
            }
            self.white();
            match self.byte()? {
                b',' => self.at += 1,
                b']' => break,
                _ => return None,
            }
        }
        self.at += 1;
        self.out.push(b']');
        Some(0)
    }

    /// Steps over the value here.
    fn skip(&mut self) -> Option<()> {
        match self.byte()? {
            b'"' => self.string(),
            b'{' | b'[' => {
                self.at += 1;
                self.leave(1)
            }
            _ => {
                let start = self.at;
                while !matches!(self.byte(), None | Some(b',' | b'}' | b']' | b' ' | b'\n' | b'\r' | b'\t')) {
                    self.at += 1;
                }
                (self.at > start).then_some(())
            }
        }
    }

    /// Steps over the rest of so many values.
    fn leave(&mut self, mut open: usize) -> Option<()> {
        while open > 0 {
            let rest = self.bytes.get(self.at..)?;
            self.at += rest.iter().position(|byte| STRUCTURE[*byte as usize])?;
            match self.byte()? {
                b'"' => {
                    self.string()?;
                    continue;
                }
                b'{' | b'[' => open += 1,
                _ => open -= 1,
            }
            self.at += 1;
        }
        Some(())
    }

    /// Steps over the string that begins here.
    fn string(&mut self) -> Option<()> {
        /// Longer strings are searched with wider instructions, which take longer to begin.
        const SHORT: usize = 128;
        let mut at = self.at + 1;
        let near = self.bytes.get(..(at + SHORT).min(self.bytes.len()))?;
        loop {
            at = if at < near.len() { skip_plain(near, at) } else { at };
            if at >= near.len() {
                at += memchr::memchr2(b'"', b'\\', self.bytes.get(at..)?)?;
            }
            match self.bytes.get(at)? {
                b'"' => {
                    self.at = at + 1;
                    return Some(());
                }
                b'\\' => at += 2,
                _ => return None,
            }
        }
    }
}

/// The members that were found.
#[derive(Default)]
struct Seen {
    few: u64,
    more: Vec<usize>,
}

impl Seen {
    fn has(&self, member: usize) -> bool {
        if member < 64 { self.few & 1 << member != 0 } else { self.more.contains(&member) }
    }

    fn add(&mut self, member: usize) {
        if member < 64 { self.few |= 1 << member } else { self.more.push(member) }
    }
}

/// The bytes of a key that stands in quotes.
fn key_of(quoted: &[u8]) -> Option<Cow<'_, [u8]>> {
    let inner = quoted.get(1..quoted.len() - 1)?;
    if memchr::memchr(b'\\', inner).is_none() {
        return Some(Cow::Borrowed(inner));
    }
    Some(Cow::Owned(decode(std::str::from_utf8(inner).ok()?).into_bytes()))
}

/// Where strings begin, and brackets.
const STRUCTURE: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = b"\"{}[]";
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
};
