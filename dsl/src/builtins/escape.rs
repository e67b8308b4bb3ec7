//! Text made safe for another syntax.

use super::args::text;
use super::case::mapped;
use super::{Row, Run};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "html_escape",
        signature: "(text: string) -> string",
        doc: "The text for HTML and XML: `& < > \" '` as entities.",
        examples: &[("html_escape('<a href=\"x\">')", "\"&lt;a href=&quot;x&quot;&gt;\"")],
        run: Run::Pure(|m, a| {
            let special = text(a, 0).bytes().filter(|byte| b"&<>\"'".contains(byte)).count();
            m.budget.make(special.saturating_mul(5))?;
            mapped(m, a, |text| {
                let mut out = String::with_capacity(text.len() + special * 5);
                for c in text.chars() {
                    match ENTITIES.iter().find(|(_, plain)| *plain == c) {
                        Some((entity, _)) => out.push_str(entity),
                        None => out.push(c),
                    }
                }
                out
            })
        }),
    },
    Row {
        name: "html_unescape",
        signature: "(text: string) -> string",
        doc: "The text with the entities of `html_escape` and numeric ones (`&#39;`, `&#x27;`) undone; others stay.",
        examples: &[("html_unescape('a &lt; b &#x26; c &eacute;')", "\"a < b & c &eacute;\"")],
        run: Run::Pure(|m, a| mapped(m, a, unescaped)),
    },
    Row {
        name: "regex_escape",
        signature: "(text: string) -> string",
        doc: "The text as a regular expression that matches it literally.",
        examples: &[("regex_escape('1.5')", "\"1\\\\.5\"")],
        run: Run::Pure(|m, a| {
            m.budget.make(text(a, 0).len())?;
            mapped(m, a, regex::escape)
        }),
    },
    Row {
        name: "shell_quote",
        signature: "(text: string) -> string",
        doc: "The text as one word of a POSIX shell, in single quotes.",
        examples: &[("shell_quote(\"it's\")", "\"'it'\\\\''s'\"")],
        run: Run::Pure(|m, a| {
            m.budget.make(text(a, 0).matches('\'').count().saturating_mul(3))?;
            mapped(m, a, |text| ["'", &text.replace('\'', "'\\''"), "'"].concat())
        }),
    },
    Row {
        name: "strip_ansi",
        signature: "(text: string) -> string",
        doc: "The text without the colour and cursor sequences of terminals.",
        examples: &[("strip_ansi(\"\\u{1b}[31mred\\u{1b}[0m\")", "\"red\"")],
        run: Run::Pure(|m, a| {
            mapped(m, a, |text| {
                let mut out = String::with_capacity(text.len());
                let mut chars = text.chars().peekable();
                while let Some(c) = chars.next() {
                    if c != '\u{1b}' {
                        out.push(c);
                        continue;
                    }
                    if chars.next_if_eq(&'[').is_some() {
                        // The sequence ends with a character from `@` on.
                        while chars.next().is_some_and(|c| !('@'..='~').contains(&c)) {}
                    }
                }
                out
            })
        }),
    },
];

const ENTITIES: [(&str, char); 5] = [("&amp;", '&'), ("&lt;", '<'), ("&gt;", '>'), ("&quot;", '"'), ("&#39;", '\'')];

fn unescaped(text: &str) -> String {
    /// The longest that is looked at: `&#x10FFFF;`.
    const LONGEST: usize = 10;
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('&') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let end = rest.bytes().take(LONGEST).position(|byte| byte == b';');
        let entity = end.map_or("", |end| &rest[..=end]);
        let number = entity.strip_prefix("&#").and_then(|digits| digits.strip_suffix(';'));
        let number = number.and_then(|digits| match digits.strip_prefix(['x', 'X']) {
            Some(hex) => u32::from_str_radix(hex, 16).ok(),
            None => digits.parse().ok(),
        });
        let plain = number.and_then(char::from_u32).or(match entity {
            "&apos;" => Some('\''),
            entity => ENTITIES.iter().find(|(known, _)| *known == entity).map(|(_, plain)| *plain),
        });
        match plain {
            Some(plain) => {
                out.push(plain);
                rest = &rest[entity.len()..];
            }
            None => {
                out.push('&');
                rest = &rest[1..];
            }
        }
    }
    out.push_str(rest);
    out
}
