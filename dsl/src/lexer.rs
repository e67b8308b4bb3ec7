//! Text to tokens: logos for what is regular, and a stack for what is not (interpolation, brackets, line ends).
//!
//! Line ends separate declarations the way a reader expects. A separator is put where a line ends, outside of `(` and
//! `[`, when the last token can end an expression and the next one cannot continue it. So a line that begins with an
//! operator, `.`, `|>` or `else` continues the line before.

mod block;
mod escape;
mod layout;
mod scan;
mod token;

pub(crate) use scan::{duration, scan};
pub(crate) use token::Token;

/// Longest source.
pub(crate) const MAX_SOURCE: usize = 256 * 1024;
/// Deepest nesting of brackets.
pub(crate) const MAX_BRACKETS: usize = 64;

/// Characters that change the direction of text, and so can make a program read differently from what it does.
pub(crate) fn is_bidi(c: char) -> bool {
    matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}
