//! The text between the quotes of a string, and between the `${}` of a template.

use std::borrow::Cow;

use crate::codes;
use crate::diagnostic::Diagnostic;

/// What a stretch of text belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// `"…"`
    Line,
    /// `"""…"""`
    Block,
    Template,
}

/// How a stretch of text ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// At the closing quote.
    Quote,
    /// Behind the end of a line, in a block.
    Newline,
    /// At `${`.
    Interpolation,
    /// At the end of the source.
    Source,
}

/// Reads text from `at` on, up to what ends it; returns the position of that.
pub(super) fn text<'s>(
    source: &'s str,
    at: usize,
    mode: Mode,
    findings: &mut Vec<Diagnostic>,
) -> (Cow<'s, str>, usize, End) {
    let bytes = source.as_bytes();
    let mut out = Cow::Borrowed("");
    let mut copied = at;
    let mut here = at;
    let push = |out: &mut Cow<'s, str>, part: &'s str| {
        if out.is_empty() {
            *out = Cow::Borrowed(part);
        } else {
            out.to_mut().push_str(part);
        }
    };
    loop {
        let (end, kind) = match bytes.get(here) {
            None => (here, End::Source),
            Some(b'"') if mode == Mode::Line => (here, End::Quote),
            Some(b'"') if mode == Mode::Block && bytes[here..].starts_with(b"\"\"\"") => (here, End::Quote),
            Some(b'\n') if mode == Mode::Block => (here + 1, End::Newline),
            Some(b'$') if bytes.get(here + 1) == Some(&b'{') => (here, End::Interpolation),
            // `$${` is the text `${` in a template, which has no other escapes.
            Some(b'$') if mode == Mode::Template && bytes.get(here + 1..here + 3) == Some(b"${") => {
                push(&mut out, &source[copied..here]);
                copied = here + 1;
                here += 3;
                continue;
            }
            Some(b'\\') if mode != Mode::Template => {
                push(&mut out, &source[copied..here]);
                let (c, used) = escape(source, here, findings);
                out.to_mut().push(c);
                here += used;
                copied = here;
                continue;
            }
            Some(_) => {
                here += 1;
                continue;
            }
        };
        push(&mut out, &source[copied..end]);
        return (out, end, kind);
    }
}

/// The escape at `at`, and its length.
fn escape(source: &str, at: usize, findings: &mut Vec<Diagnostic>) -> (char, usize) {
    let rest = &source[at + 1..];
    let Some(c) = rest.chars().next() else { return ('\\', 1) };
    let plain = match c {
        'n' => Some('\n'),
        't' => Some('\t'),
        'r' => Some('\r'),
        '0' => Some('\0'),
        '"' | '\\' | '$' | '\'' | '/' => Some(c),
        _ => None,
    };
    if let Some(plain) = plain {
        return (plain, 1 + c.len_utf8());
    }
    if c == 'u'
        && let Some(end) = rest.find('}').filter(|end| rest.starts_with("u{") && *end <= 8)
        && let Some(decoded) = u32::from_str_radix(&rest[2..end], 16).ok().and_then(char::from_u32)
    {
        return (decoded, end + 2);
    }
    let length = 1 + c.len_utf8();
    findings.push(
        Diagnostic::new(codes::BAD_ESCAPE, at..at + length, format!("`\\{}` is not an escape", c.escape_default()))
            .label("unknown escape")
            .help("escapes are \\n \\t \\r \\0 \\\" \\\\ \\$ and \\u{1F600}; a string in single quotes has none"),
    );
    (c, length)
}
