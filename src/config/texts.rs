//! Every text that a configuration is read from, laid end to end, so that one number names a file and a place in it.
//!
//! A value that came from an environment variable or a flag is a text of one line of its own: its errors look like all
//! the others. Places that hold a secret are masked here, once, so that no excerpt can show one.

use std::ops::Range;
use std::sync::Arc;

/// A range of bytes in the texts laid end to end.
pub type Span = Range<usize>;

/// One text: a file, or a setting given on the command line or in the environment.
#[derive(Debug, Clone)]
pub struct Text {
    /// What people call it: a path as they would type it, or `environment HEXAFN_…`.
    pub name: Arc<str>,
    /// The text as read.
    pub text: Arc<str>,
    base: usize,
}

/// Where something is, for people: all numbers count from 1, columns in characters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The name of the text.
    pub name: Arc<str>,
    /// The line.
    pub line: usize,
    /// The column, in characters.
    pub column: usize,
}

/// The texts of one load.
#[derive(Debug, Clone, Default)]
pub struct Texts {
    texts: Vec<Text>,
    masked: Vec<Span>,
}

impl Texts {
    /// Adds a text; the answer is the position of its first byte.
    pub fn add(&mut self, name: impl Into<Arc<str>>, text: impl Into<Arc<str>>) -> usize {
        // One byte between texts, so that the end of one is not the start of the next.
        let base = self.texts.last().map_or(0, |t| t.base + t.text.len() + 1);
        self.texts.push(Text { name: name.into(), text: text.into(), base });
        base
    }

    /// The bytes of `span` are never shown.
    pub fn mask(&mut self, span: Span) {
        self.masked.push(span);
    }

    /// The text that `position` is in, and the position within it.
    pub fn find(&self, position: usize) -> Option<(&Text, usize)> {
        let at = self.texts.partition_point(|t| t.base <= position).checked_sub(1)?;
        let text = self.texts.get(at)?;
        let local = (position - text.base).min(text.text.len());
        Some((text, floor(&text.text, local)))
    }

    /// File, line and column of a position.
    pub fn place(&self, position: usize) -> Option<Place> {
        let (text, local) = self.find(position)?;
        let before = text.text.get(..local)?;
        let line_start = before.rfind('\n').map_or(0, |n| n + 1);
        Some(Place {
            name: text.name.clone(),
            line: before.matches('\n').count() + 1,
            column: before[line_start..].chars().count() + 1,
        })
    }

    /// The raw text of a span; empty when it is not within one text.
    pub fn slice(&self, span: &Span) -> &str {
        self.find(span.start).and_then(|(t, from)| t.text.get(from..from + span.len())).unwrap_or_default()
    }

    /// The text at `position` with every masked byte replaced by `*`; newlines stay, so that lines keep their numbers.
    pub fn shown(&self, position: usize) -> String {
        let Some((text, _)) = self.find(position) else { return String::new() };
        // In one walk: a text is shown for each problem in it, and one with many problems may have many secrets.
        let end = text.base + text.text.len();
        let mut masked: Vec<&Span> = self.masked.iter().filter(|m| m.start < end && m.end > text.base).collect();
        masked.sort_unstable_by_key(|m| m.start);
        let mut masked = masked.into_iter().peekable();
        let mut hidden_to = 0;
        let shown = text.text.char_indices().map(|(at, c)| {
            let at = text.base + at;
            while let Some(begun) = masked.next_if(|m| m.start <= at) {
                hidden_to = hidden_to.max(begun.end);
            }
            if c != '\n' && at < hidden_to { '*' } else { c }
        });
        shown.collect()
    }

    /// The text itself and the position of its first byte, by position.
    pub fn text_at(&self, position: usize) -> Option<(&Text, usize)> {
        self.find(position).map(|(t, _)| (t, t.base))
    }
}

/// The greatest character boundary not after `at`.
fn floor(text: &str, mut at: usize) -> usize {
    while !text.is_char_boundary(at) {
        at -= 1;
    }
    at
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_position_names_its_text_line_and_column() {
        let mut texts = Texts::default();
        let a = texts.add("a", "one\nzwö x");
        let b = texts.add("b", "three");
        let at = |p| texts.place(p).map(|p| (p.name.to_string(), p.line, p.column)).unwrap();
        assert_eq!(at(a), ("a".into(), 1, 1));
        assert_eq!(at(a + 9), ("a".into(), 2, 5), "columns count characters");
        assert_eq!(at(a + 10), ("a".into(), 2, 6), "the end belongs to the text");
        assert_eq!(at(b), ("b".into(), 1, 1));
        assert_eq!(at(b + 500), ("b".into(), 1, 6), "beyond the end is the end");
    }

    #[test]
    fn a_masked_place_is_never_shown() {
        let mut texts = Texts::default();
        texts.add("a", "first");
        let base = texts.add("b", "k = 'hush'\nnext");
        texts.mask(base + 5..base + 9);
        assert_eq!(texts.shown(base), "k = '****'\nnext");
        // In any order, within each other, and over the end of the text.
        for span in [base + 11..base + 12, base + 4..base + 8, base + 6..base + 7, base + 14..base + 99, 0..2] {
            texts.mask(span);
        }
        assert_eq!(texts.shown(base), "k = *****'\n*ex*");
        assert_eq!(texts.shown(0), "**rst");
    }
}
