//! Upper and lower case, and the cases of identifiers.

use super::args::text;
use super::{Row, Run};
use crate::eval::{Machine, Result};
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "upper",
        signature: "(text: string) -> string",
        doc: "The text in upper case.",
        examples: &[("upper('straße')", "\"STRASSE\"")],
        run: Run::Pure(|m, a| mapped(m, a, str::to_uppercase)),
    },
    Row {
        name: "lower",
        signature: "(text: string) -> string",
        doc: "The text in lower case.",
        examples: &[("lower('PUSH')", "\"push\"")],
        run: Run::Pure(|m, a| mapped(m, a, str::to_lowercase)),
    },
    Row {
        name: "capitalize",
        signature: "(text: string) -> string",
        doc: "The text with its first letter in upper case; the rest stays.",
        examples: &[("capitalize('hello World')", "\"Hello World\"")],
        run: Run::Pure(|m, a| {
            mapped(m, a, |text| {
                let mut chars = text.chars();
                chars.next().map_or_else(String::new, |first| first.to_uppercase().chain(chars).collect())
            })
        }),
    },
    Row {
        name: "title",
        signature: "(text: string) -> string",
        doc: "The text with the first letter of each word in upper case; the rest stays.",
        examples: &[("title('hello big world')", "\"Hello Big World\"")],
        run: Run::Pure(|m, a| {
            mapped(m, a, |text| {
                let mut out = String::with_capacity(text.len());
                let mut inside = false;
                for c in text.chars() {
                    let letter = c.is_alphanumeric() || c == '\'';
                    if letter && !inside {
                        out.extend(c.to_uppercase())
                    } else {
                        out.push(c)
                    }
                    inside = letter;
                }
                out
            })
        }),
    },
    Row {
        name: "snake_case",
        signature: "(text: string) -> string",
        doc: "The words of an identifier or a text in lower case, joined with `_`.",
        examples: &[
            ("snake_case('userId')", "\"user_id\""),
            ("snake_case('HTTP Server-Name')", "\"http_server_name\""),
        ],
        run: Run::Pure(|m, a| mapped(m, a, |text| identifier(text).join("_"))),
    },
    Row {
        name: "kebab_case",
        signature: "(text: string) -> string",
        doc: "The words of an identifier or a text in lower case, joined with `-`.",
        examples: &[("kebab_case('userId')", "\"user-id\"")],
        run: Run::Pure(|m, a| mapped(m, a, |text| identifier(text).join("-"))),
    },
    Row {
        name: "camel_case",
        signature: "(text: string) -> string",
        doc: "The words of an identifier or a text joined, each but the first with a capital.",
        examples: &[("camel_case('user_id')", "\"userId\"")],
        run: Run::Pure(|m, a| mapped(m, a, |text| humps(text, 1))),
    },
    Row {
        name: "pascal_case",
        signature: "(text: string) -> string",
        doc: "The words of an identifier or a text joined, each with a capital.",
        examples: &[("pascal_case('user_id')", "\"UserId\"")],
        run: Run::Pure(|m, a| mapped(m, a, |text| humps(text, 0))),
    },
];

/// The words in lower case: split at everything that is no letter or digit, before a capital after a small letter, and
/// before the last capital of several (`HTTPServer`).
fn identifier(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut chars = text.chars().peekable();
    let mut before = None;
    while let Some(c) = chars.next() {
        if !c.is_alphanumeric() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            before = None;
            continue;
        }
        let small_follows = chars.peek().is_some_and(|next| next.is_lowercase());
        let begins = c.is_uppercase() && before.is_some_and(|b: char| !b.is_uppercase() || small_follows);
        if begins && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        word.extend(c.to_lowercase());
        before = Some(c);
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

fn humps(text: &str, small: usize) -> String {
    let mut out = String::with_capacity(text.len());
    for (at, word) in identifier(text).iter().enumerate() {
        let mut chars = word.chars();
        match chars.next() {
            Some(first) if at >= small => out.extend(first.to_uppercase()),
            Some(first) => out.push(first),
            None => {}
        }
        out.push_str(chars.as_str());
    }
    out
}

pub(super) fn mapped<'e>(
    m: &mut Machine<'_, 'e>,
    args: &[Value<'e>],
    change: impl FnOnce(&str) -> String,
) -> Result<Value<'e>> {
    let subject = text(args, 0);
    m.budget.step(subject.len() as u64 / 16)?;
    let made = change(subject);
    m.string(made)
}
