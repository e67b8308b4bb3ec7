//! Where a byte of a decoded TOML string was written: what makes an error within an expression point at the right
//! column of the file.

use super::texts::{Span, Texts};

/// Positions within a decoded string, back to the file it is written in.
#[derive(Debug, Clone)]
pub struct Embedded {
    span: Span,
    /// For each byte of the decoded string, and its end, the position in the file; empty when it cannot be told.
    positions: Vec<usize>,
}

impl Embedded {
    /// `decoded` is the string that is written at `span`, with its quotes.
    pub fn new(texts: &Texts, span: &Span, decoded: &str) -> Self {
        let positions = positions(texts.slice(span), decoded).unwrap_or_default();
        let positions = positions.into_iter().map(|p| span.start + p).collect();
        Self { span: span.clone(), positions }
    }

    /// A whole text that is nothing but the string: a function's file.
    pub fn whole(base: usize, text: &str) -> Self {
        Self { span: base..base + text.len(), positions: (base..=base + text.len()).collect() }
    }

    /// The place in the decoded string of a position in the file; `None` when it cannot be told.
    pub fn inside(&self, position: usize) -> Option<usize> {
        let last = self.positions.partition_point(|p| *p <= position).checked_sub(1)?;
        // All bytes of a character have its place.
        let place = self.positions.get(last)?;
        Some(self.positions.partition_point(|p| p < place))
    }

    /// The place of a range of the decoded string; the start of the string when it cannot be told.
    pub fn span(&self, range: &Span) -> Span {
        let last = self.positions.len().saturating_sub(1);
        match (self.positions.get(range.start.min(last)), self.positions.get(range.end.min(last))) {
            (Some(start), Some(end)) => *start..(*end).max(*start),
            _ => self.span.start..self.span.start + 1,
        }
    }
}

/// For each byte of `decoded`, and its end, the offset in `raw`, which is a TOML string of one of the four kinds.
fn positions(raw: &str, decoded: &str) -> Option<Vec<usize>> {
    let (open, literal) =
        ["'''", "\"\"\"", "'", "\""].iter().find(|q| raw.starts_with(**q)).map(|q| (q.len(), q.starts_with('\'')))?;
    let end = raw.len().checked_sub(open)?;
    let mut at = open;
    if open == 3 {
        // The newline right after the opening quotes is not part of the string.
        at += ["\r\n", "\n"].iter().find(|n| raw[at..].starts_with(**n)).map_or(0, |n| n.len());
    }
    let mut map = Vec::with_capacity(decoded.len() + 1);
    let mut rebuilt = String::with_capacity(decoded.len());
    while at < end {
        let rest = raw.get(at..end)?;
        let first = rest.chars().next()?;
        let (text, length) = match first {
            '\\' if !literal => escape(rest)?,
            // CR LF may be read as LF.
            '\r' if rest[1..].starts_with('\n') && decoded.as_bytes().get(rebuilt.len()) == Some(&b'\n') => {
                (Some('\n'), 2)
            }
            c => (Some(c), c.len_utf8()),
        };
        if let Some(c) = text {
            rebuilt.push(c);
            map.resize(rebuilt.len(), at);
        }
        at += length;
    }
    map.push(end.min(at));
    (rebuilt == decoded).then_some(map)
}

/// The character that an escape at the start of `rest` stands for (none for a line that goes on) and its length.
fn escape(rest: &str) -> Option<(Option<char>, usize)> {
    let kind = rest[1..].chars().next()?;
    let hex = |digits: usize| {
        let code = u32::from_str_radix(rest.get(2..2 + digits)?, 16).ok()?;
        Some((Some(char::from_u32(code)?), 2 + digits))
    };
    match kind {
        'n' => Some((Some('\n'), 2)),
        't' => Some((Some('\t'), 2)),
        'r' => Some((Some('\r'), 2)),
        'b' => Some((Some('\u{8}'), 2)),
        'f' => Some((Some('\u{c}'), 2)),
        'e' => Some((Some('\u{1b}'), 2)),
        '"' | '\\' => Some((Some(kind), 2)),
        'x' => hex(2),
        'u' => hex(4),
        'U' => hex(8),
        c if c.is_whitespace() => {
            let skipped = rest[1..].len() - rest[1..].trim_start().len();
            Some((None, 1 + skipped))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::config::tree::parse_value;

    /// Marks `needle` of the decoded string, and says what is there in the file.
    fn seen(raw: &str, needle: &str) -> String {
        let mut texts = Texts::default();
        let base = texts.add("a", raw);
        let node = parse_value(raw, base);
        let decoded = node.text().unwrap();
        let start = decoded.find(needle).unwrap();
        let span = Embedded::new(&texts, &node.span, decoded).span(&(start..start + needle.len()));
        let embedded = Embedded::new(&texts, &node.span, decoded);
        assert_eq!(embedded.inside(span.start), Some(start), "and back");
        raw[span].to_owned()
    }

    #[test]
    fn places_in_every_kind_of_string() {
        assert_eq!(seen("'event.typo == 1'", "typo"), "typo");
        assert_eq!(seen("'''\nlet a = 1\nb'''", "b"), "b");
        assert_eq!(seen("\"a == \\\"x\\\" and b\"", "b"), "b");
        assert_eq!(seen("\"a == \\\"x\\\" and b\"", "\"x\""), "\\\"x\\\"");
        assert_eq!(seen("\"\"\"\none \\\n   two \\u00e9 three\"\"\"", "three"), "three");
        assert_eq!(seen("\"\"\"\r\none\r\ntwo\"\"\"", "two"), "two");
        assert_eq!(seen("'ä ö'", "ö"), "ö");
    }

    #[test]
    fn what_cannot_be_told_is_the_start_of_the_string() {
        let mut texts = Texts::default();
        let base = texts.add("a", "x = plain");
        let at = Embedded::new(&texts, &(base + 4..base + 9), "plain");
        assert_eq!(at.span(&(2..3)), base + 4..base + 5);
    }
}
