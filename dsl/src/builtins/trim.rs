//! What is cut off at the ends of a text.

use super::args::text;
use super::case::mapped;
use super::{Row, Run};
use crate::eval::{Machine, Result};
use crate::value::{Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "trim",
        signature: "(text: string, chars?: string) -> string",
        doc: "The text without white space at both ends, or without the given characters.",
        examples: &[("trim('  a b ')", "\"a b\""), ("trim('--a--', '-')", "\"a\"")],
        run: Run::Pure(|m, a| trimmed(m, a, true, true)),
    },
    Row {
        name: "trim_start",
        signature: "(text: string, chars?: string) -> string",
        doc: "The text without white space, or the given characters, at its start.",
        examples: &[("trim_start('  a ')", "\"a \"")],
        run: Run::Pure(|m, a| trimmed(m, a, true, false)),
    },
    Row {
        name: "trim_end",
        signature: "(text: string, chars?: string) -> string",
        doc: "The text without white space, or the given characters, at its end.",
        examples: &[("trim_end('a/', '/')", "\"a\"")],
        run: Run::Pure(|m, a| trimmed(m, a, false, true)),
    },
    Row {
        name: "remove_prefix",
        signature: "(text: string, prefix: string) -> string",
        doc: "The text without the prefix, if it begins with it.",
        examples: &[("remove_prefix('refs/heads/main', 'refs/heads/')", "\"main\"")],
        run: Run::Pure(|m, a| mapped(m, a, |text_| text_.strip_prefix(text(a, 1)).unwrap_or(text_).to_owned())),
    },
    Row {
        name: "remove_suffix",
        signature: "(text: string, suffix: string) -> string",
        doc: "The text without the suffix, if it ends with it.",
        examples: &[("remove_suffix('main.git', '.git')", "\"main\"")],
        run: Run::Pure(|m, a| mapped(m, a, |text_| text_.strip_suffix(text(a, 1)).unwrap_or(text_).to_owned())),
    },
    Row {
        name: "before",
        signature: "(text: string, separator: string) -> string",
        doc: "What stands before the first separator; the whole text if there is none.",
        examples: &[("before('user@example.org', '@')", "\"user\"")],
        run: Run::Pure(|m, a| {
            part(m, a, |text, separator| text.split_once(separator).map_or(text, |(before, _)| before))
        }),
    },
    Row {
        name: "after",
        signature: "(text: string, separator: string) -> string",
        doc: "What stands after the first separator; nothing if there is none.",
        examples: &[("after('user@example.org', '@')", "\"example.org\""), ("after('user', '@')", "\"\"")],
        run: Run::Pure(|m, a| part(m, a, |text, separator| text.split_once(separator).map_or("", |(_, after)| after))),
    },
];

/// A part of the text; one of the event needs no copy.
fn part<'e>(
    m: &mut Machine<'_, 'e>,
    args: &[Value<'e>],
    cut: impl for<'t> Fn(&'t str, &str) -> &'t str,
) -> Result<Value<'e>> {
    let separator = text(args, 1);
    m.budget.step(text(args, 0).len() as u64 / 64)?;
    if let Some(Value::Str(Text::Borrowed(subject))) = args.first() {
        return Ok(Value::Str(Text::Borrowed(cut(subject, separator))));
    }
    mapped(m, args, |subject| cut(subject, separator).to_owned())
}

fn trimmed<'e>(m: &mut Machine<'_, 'e>, args: &[Value<'e>], start: bool, end: bool) -> Result<Value<'e>> {
    let chars = args.get(1).and_then(Value::as_str);
    let compared = chars.map_or(1, str::len).saturating_mul(text(args, 0).len());
    m.budget.step(compared as u64 / 64)?;
    let drop = |c: char| chars.map_or(c.is_whitespace(), |chars| chars.contains(c));
    let cut = |text: &str| -> (usize, usize) {
        let rest = if start { text.trim_start_matches(drop) } else { text };
        let from = text.len() - rest.len();
        let rest = if end { rest.trim_end_matches(drop) } else { rest };
        (from, from + rest.len())
    };
    // A part of a text of the event needs no copy.
    if let Some(Value::Str(Text::Borrowed(text))) = args.first() {
        let (from, to) = cut(text);
        return Ok(Value::Str(Text::Borrowed(&text[from..to])));
    }
    mapped(m, args, |text| {
        let (from, to) = cut(text);
        text[from..to].to_owned()
    })
}
