//! Strings over several lines: the line of the opening quotes, that of the closing ones, and the indentation that all
//! lines share are no part of the text.

use std::borrow::Cow;

use super::token::Token;

type Spanned<'s> = (usize, Token<'s>, usize);

/// The indentation that the lines share; blank lines have no say.
fn shared<'s>(lines: impl Iterator<Item = &'s str>) -> &'s str {
    let mut all: Option<&str> = None;
    for line in lines {
        let own = indentation(line);
        let common = match all {
            None => own.len(),
            Some(all) => all.bytes().zip(own.bytes()).take_while(|(a, b)| a == b).count(),
        };
        all = own.get(..common);
    }
    all.unwrap_or_default()
}

fn indentation(line: &str) -> &str {
    let len = line.bytes().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
    line.get(..len).unwrap_or_default()
}

fn blank(line: &str) -> bool {
    line.bytes().all(|byte| byte.is_ascii_whitespace())
}

/// The text between `'''` and `'''`.
pub(super) fn raw(text: &str) -> Cow<'_, str> {
    let Some((first, rest)) = text.split_once('\n') else { return Cow::Borrowed(text) };
    let lines = || rest.split('\n');
    let closing = lines().next_back().unwrap_or_default();
    let prefix = shared(lines().filter(|line| !blank(line)).chain(Some(closing).filter(|line| blank(line))));
    let mut out = String::with_capacity(text.len());
    let mut kept: Vec<&str> = if blank(first) { Vec::new() } else { vec![first] };
    kept.extend(lines().map(|line| line.strip_prefix(prefix).unwrap_or(if blank(line) { "" } else { line })));
    if blank(closing) && !kept.is_empty() {
        kept.pop();
    }
    for (at, line) in kept.iter().enumerate() {
        if at > 0 {
            out.push('\n');
        }
        out.push_str(line);
    }
    Cow::Owned(out)
}

/// Takes the indentation out of the tokens of a string, which begin behind its opening quotes. Each token of text ends
/// with its line, or before an interpolation.
pub(super) fn unindent<'s>(source: &'s str, open: usize, close: usize, tokens: Vec<Spanned<'s>>) -> Vec<Spanned<'s>> {
    let starts_line = |at: usize| at > open && source.as_bytes().get(at.wrapping_sub(1)) == Some(&b'\n');
    // Lines that begin within the text: those within `${…}` belong to its code.
    let mut begins: Vec<usize> = Vec::new();
    let mut depth = 0usize;
    for (start, token, _) in &tokens {
        match token {
            Token::InterpolationStart => {
                if depth == 0 && starts_line(*start) {
                    begins.push(*start);
                }
                depth += 1;
            }
            Token::InterpolationEnd => depth = depth.saturating_sub(1),
            Token::Text(_) if depth == 0 && starts_line(*start) => begins.push(*start),
            _ => {}
        }
    }
    if starts_line(close) && begins.last() != Some(&close) {
        begins.push(close);
    }
    let line = |start: usize| {
        let rest = source.get(start..).unwrap_or_default();
        rest.split_once('\n').map_or(rest, |(line, _)| line)
    };
    let prefix = shared(begins.iter().map(|start| line(*start)).filter(|line| !blank(line)));
    let last = begins.last().copied();
    let closing = last.filter(|start| source.get(*start..close).is_some_and(blank));
    let mut out: Vec<Spanned<'s>> = Vec::with_capacity(tokens.len());
    depth = 0;
    for (start, token, end) in tokens {
        let text = match token {
            Token::Text(text) if depth == 0 => text,
            token => {
                match token {
                    Token::InterpolationStart => depth += 1,
                    Token::InterpolationEnd => depth = depth.saturating_sub(1),
                    _ => {}
                }
                out.push((start, token, end));
                continue;
            }
        };
        let kept: Cow<'s, str> =
            if Some(start) == closing || (start == open && end > open && blank(&text) && ends_line(&text)) {
                Cow::Borrowed("")
            } else if starts_line(start) && text.starts_with(prefix) {
                match text {
                    Cow::Borrowed(text) => Cow::Borrowed(&text[prefix.len()..]),
                    Cow::Owned(text) => Cow::Owned(text[prefix.len()..].to_owned()),
                }
            } else if starts_line(start) && blank(&text) && ends_line(&text) {
                Cow::Borrowed("\n")
            } else {
                text
            };
        push(&mut out, start, kept, end);
    }
    if closing.is_some()
        && let Some((_, Token::Text(text), _)) = out.last_mut()
    {
        let len = text.len() - usize::from(text.ends_with('\n'));
        text.to_mut().truncate(len);
    }
    out
}

fn ends_line(text: &str) -> bool {
    text.ends_with('\n')
}

/// Text after text is one token.
fn push<'s>(out: &mut Vec<Spanned<'s>>, start: usize, text: Cow<'s, str>, end: usize) {
    if text.is_empty() {
        return;
    }
    if let Some((_, Token::Text(before), until)) = out.last_mut() {
        before.to_mut().push_str(&text);
        *until = end;
        return;
    }
    out.push((start, Token::Text(text), end));
}
