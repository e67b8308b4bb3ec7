//! Tokens with the comments around them. A string is one token, whatever is in it.

use crate::lexer::{Token, scan};

/// A comment, without the line end.
#[derive(Clone, Debug)]
pub(super) struct Comment<'s> {
    pub(super) text: &'s str,
    /// A blank line stands before it.
    pub(super) blank: bool,
}

#[derive(Clone, Debug)]
pub(super) struct Lexeme<'s> {
    pub(super) kind: Token<'s>,
    pub(super) text: &'s str,
    /// Comments on lines of their own before it.
    pub(super) lead: Vec<Comment<'s>>,
    /// Comments behind it on its line; a comma and a separator also have those of what they end.
    pub(super) trail: Vec<&'s str>,
    /// For a closing bracket: what stands behind the last of what it encloses.
    pub(super) inner: Vec<&'s str>,
    /// A line ends before it.
    pub(super) newline: bool,
    /// A blank line stands before it, behind its comments.
    pub(super) blank: bool,
}

impl Lexeme<'_> {
    /// How wide it is on a line that it shares; nothing if it cannot share one.
    pub(super) fn flat(&self) -> Option<usize> {
        let alone = !self.lead.is_empty() || !self.trail.is_empty() || self.text.contains('\n');
        (!alone).then(|| self.text.chars().count())
    }
}

pub(super) fn closes(kind: &Token<'_>) -> bool {
    matches!(kind, Token::RightParen | Token::RightBracket | Token::RightBrace | Token::Newline)
}

fn opens(kind: &Token<'_>) -> bool {
    matches!(kind, Token::LeftParen | Token::LambdaParen | Token::LeftBracket | Token::SafeBracket | Token::LeftBrace)
}

pub(super) fn separates(kind: &Token<'_>) -> bool {
    matches!(kind, Token::Comma | Token::Separator)
}

/// The tokens of a text that parses. The last one is the end, a [`Token::Newline`] of no text.
pub(super) fn tokens(source: &str) -> Vec<Lexeme<'_>> {
    let mut out: Vec<Lexeme<'_>> = Vec::new();
    let mut end = 0;
    let mut depth = 0usize;
    let mut begin = 0;
    for (start, kind, until) in scan(source, false).tokens {
        match kind {
            Token::StringStart => {
                if depth == 0 {
                    begin = start;
                }
                depth += 1;
                continue;
            }
            Token::StringEnd => {
                depth -= 1;
                if depth == 0 {
                    push(&mut out, source, end, (begin, Token::StringStart, until));
                    end = until;
                }
            }
            _ if depth > 0 => {}
            kind => {
                push(&mut out, source, end, (start, kind, until));
                end = until;
            }
        }
    }
    push(&mut out, source, end, (source.len(), Token::Newline, source.len()));
    settle(&mut out);
    out
}

/// Adds a token, and gives the comments between `end` and it to it and to the one before it.
fn push<'s>(out: &mut Vec<Lexeme<'s>>, source: &'s str, end: usize, token: (usize, Token<'s>, usize)) {
    let (start, kind, until) = token;
    let gap = source.get(end..start).unwrap_or_default();
    let after_line = out.last().is_none_or(|last| last.text == "\n");
    let mut newlines = usize::from(after_line);
    let mut lead: Vec<Comment<'s>> = Vec::new();
    let mut trail = Vec::new();
    let mut any = after_line;
    for (at, line) in gap.split('\n').enumerate() {
        if at > 0 {
            newlines += 1;
            any = true;
        }
        // Separators that separate nothing may stand before a comment.
        let text = line.trim_matches(|c: char| c.is_whitespace() || c == ';').trim_end();
        let text = if text.is_empty() { "" } else { line.trim_start_matches([' ', '\t', '\r', ';']).trim_end() };
        if text.is_empty() {
            continue;
        }
        if any {
            lead.push(Comment { text, blank: newlines > 1 });
        } else {
            trail.push(text);
        }
        newlines = 0;
    }
    if let Some(last) = out.last_mut() {
        last.trail = trail;
    }
    let text = source.get(start..until).unwrap_or_default();
    out.push(Lexeme { kind, text, lead, trail: Vec::new(), inner: Vec::new(), newline: any, blank: newlines > 1 });
}

/// Comments at the end of an item belong to the item, which may be any number of nodes.
fn settle(tokens: &mut [Lexeme<'_>]) {
    for at in 1..tokens.len() {
        let (before, rest) = tokens.split_at_mut(at);
        let (Some(last), Some(next)) = (before.last_mut(), rest.first_mut()) else { continue };
        if separates(&next.kind) {
            let lead = std::mem::take(&mut next.lead);
            let moved = std::mem::take(&mut last.trail).into_iter().chain(lead.into_iter().map(|comment| comment.text));
            next.trail.splice(0..0, moved);
        } else if closes(&next.kind) && !opens(&last.kind) && !separates(&last.kind) {
            next.inner = std::mem::take(&mut last.trail);
        }
    }
}
