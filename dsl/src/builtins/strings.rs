//! Text.

use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::{Text, Value};
use regex::Regex;

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
        name: "starts_with",
        signature: "(text: string, prefix: string) -> bool",
        doc: "Whether the text begins with the prefix.",
        examples: &[("starts_with('refs/heads/main', 'refs/heads/')", "true")],
        run: Run::Pure(|_, a| Ok(Value::Bool(text(a, 0).starts_with(text(a, 1))))),
    },
    Row {
        name: "ends_with",
        signature: "(text: string, suffix: string) -> bool",
        doc: "Whether the text ends with the suffix.",
        examples: &[("ends_with('a.png', '.png')", "true")],
        run: Run::Pure(|_, a| Ok(Value::Bool(text(a, 0).ends_with(text(a, 1))))),
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
        name: "replace",
        signature: "(text: string, from: string, to: string) -> string",
        doc: "The text with every occurrence of `from` replaced.",
        examples: &[("replace('a-b-c', '-', '+')", "\"a+b+c\"")],
        run: Run::Pure(|m, a| {
            let (from, to) = (text(a, 1), text(a, 2));
            if from.is_empty() {
                return Err(Fault::new(codes::BAD_ARGUMENT, "`from` of `replace` must not be empty"));
            }
            let count = text(a, 0).matches(from).count();
            // Before it is made: a short text can grow by a long replacement.
            m.budget.make(count.saturating_mul(to.len()))?;
            mapped(m, a, |text| text.replace(from, to))
        }),
    },
    Row {
        name: "split",
        signature: "(text: string, separator: string, limit?: int) -> array",
        doc: "The parts between the separators; with a limit, the last part keeps the rest. An empty separator gives the \
              characters.",
        examples: &[("split('a,b,c', ',')", "[\"a\",\"b\",\"c\"]"), ("split('a,b,c', ',', 2)", "[\"a\",\"b,c\"]")],
        run: Run::Pure(split),
    },
    Row {
        name: "lines",
        signature: "(text: string) -> array",
        doc: "The lines, without their ends.",
        examples: &[("lines(\"a\\nb\\r\\n\")", "[\"a\",\"b\"]")],
        run: Run::Pure(|m, a| {
            let parts = text(a, 0).lines().map(Value::text).collect::<Vec<_>>();
            m.budget.step(parts.len() as u64)?;
            m.budget.make(text(a, 0).len())?;
            m.array(parts)
        }),
    },
    Row {
        name: "join",
        signature: "(items: array, separator?: string) -> string",
        doc: "The items as one text; items that are not strings are written as interpolation writes them.",
        examples: &[("join(['a', 1, true], '-')", "\"a-1-true\""), ("join([])", "\"\"")],
        run: Run::Pure(join),
    },
    Row {
        name: "repeat",
        signature: "(text: string, times: int) -> string",
        doc: "The text several times.",
        examples: &[("repeat('ab', 3)", "\"ababab\"")],
        run: Run::Pure(|m, a| {
            let times = super::numbers::count(a, 1, "times")?;
            m.budget.make(text(a, 0).len().saturating_mul(times))?;
            Ok(Value::string(text(a, 0).repeat(times)))
        }),
    },
    Row {
        name: "pad_start",
        signature: "(text: string, width: int, fill?: string) -> string",
        doc: "The text filled up in front to a width in characters, with spaces or the first character of `fill`.",
        examples: &[("pad_start('7', 3, '0')", "\"007\"")],
        run: Run::Pure(|m, a| pad(m, a, true)),
    },
    Row {
        name: "pad_end",
        signature: "(text: string, width: int, fill?: string) -> string",
        doc: "The text filled up behind to a width in characters.",
        examples: &[("pad_end('ab', 4, '.')", "\"ab..\"")],
        run: Run::Pure(|m, a| pad(m, a, false)),
    },
    Row {
        name: "truncate",
        signature: "(text: string, width: int, end?: string) -> string",
        doc: "At most `width` characters of the text, `…` (or `end`) included if something was cut.",
        examples: &[("truncate('hello world', 6)", "\"hello…\""), ("truncate('hi', 6)", "\"hi\"")],
        run: Run::Pure(|m, a| {
            let width = super::numbers::count(a, 1, "width")?;
            let end = a.get(2).and_then(Value::as_str).unwrap_or("…");
            mapped(m, a, |text| {
                if text.chars().count() <= width {
                    return text.to_owned();
                }
                let kept = width.saturating_sub(end.chars().count());
                text.chars().take(kept).chain(end.chars().take(width)).collect()
            })
        }),
    },
    Row {
        name: "matches",
        signature: "(text: string, pattern: string) -> bool",
        doc: "Whether the regular expression matches anywhere in the text. Patterns take linear time; write them in \
              single quotes.",
        examples: &[("matches('v1.2.3', '^v\\d+')", "true")],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            Ok(Value::Bool(regex.is_match(text(a, 0))))
        }),
    },
    Row {
        name: "captures",
        signature: "(text: string, pattern: string) -> object | null",
        doc: "The groups of the first match: numbered as `\"0\"`, `\"1\"`, … and by name; null without a match.",
        examples: &[
            ("captures('v1.2', '(?<major>\\d+)\\.(\\d+)')", "{\"0\":\"1.2\",\"1\":\"1\",\"2\":\"2\",\"major\":\"1\"}"),
            ("captures('x', '\\d')", "null"),
        ],
        run: Run::Pattern(captures),
    },
    Row {
        name: "find_all",
        signature: "(text: string, pattern: string) -> array",
        doc: "All matches of a regular expression.",
        examples: &[("find_all('#12 and #7', '#\\d+')", "[\"#12\",\"#7\"]")],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            let mut found = Vec::new();
            for part in regex.find_iter(text(a, 0)) {
                rescanned(m, a, part.end())?;
                found.push(Value::text(part.as_str()));
            }
            m.budget.make(text(a, 0).len())?;
            m.array(found)
        }),
    },
    Row {
        name: "regex_replace",
        signature: "(text: string, pattern: string, to: string) -> string",
        doc: "The text with every match replaced; `$1` and `${name}` in `to` stand for groups.",
        examples: &[
            ("regex_replace('a1b22', '\\d+', '#')", "\"a#b#\""),
            ("regex_replace('ab', '(a)(b)', '$2$1')", "\"ba\""),
        ],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            let (subject, to) = (text(a, 0), text(a, 2));
            let mut count = 0usize;
            for part in regex.find_iter(subject) {
                rescanned(m, a, part.end())?;
                count += 1;
            }
            // A group may be as long as the text: cap before making.
            m.budget.make(count.saturating_mul(to.len().saturating_add(16)))?;
            let groups = to.matches('$').count();
            if groups > 0 {
                m.budget.make(subject.len().saturating_mul(groups))?;
            }
            let replaced = regex.replace_all(subject, to).into_owned();
            m.string(replaced)
        }),
    },
    Row {
        name: "regex_split",
        signature: "(text: string, pattern: string) -> array",
        doc: "The parts between the matches of a regular expression.",
        examples: &[("regex_split('a, b;c', '[,;] *')", "[\"a\",\"b\",\"c\"]")],
        run: Run::Pattern(|m, a, regex| {
            scanned(m, a)?;
            let mut parts = Vec::new();
            let mut at = 0;
            for part in regex.split(text(a, 0)) {
                at += part.len();
                rescanned(m, a, at)?;
                parts.push(Value::text(part));
            }
            m.budget.make(text(a, 0).len())?;
            m.array(parts)
        }),
    },
];

/// The text of a string argument; its type was checked before.
pub(super) fn text<'a>(args: &'a [Value<'_>], at: usize) -> &'a str {
    args.get(at).and_then(Value::as_str).unwrap_or_default()
}

fn mapped<'e>(m: &mut Machine<'_, 'e>, args: &[Value<'e>], change: impl FnOnce(&str) -> String) -> Result<Value<'e>> {
    let subject = text(args, 0);
    m.budget.step(subject.len() as u64 / 16)?;
    let made = change(subject);
    m.string(made)
}

fn scanned(m: &mut Machine<'_, '_>, args: &[Value<'_>]) -> Result<()> {
    m.budget.step(text(args, 0).len() as u64 / 8)
}

/// Searching on after a match may look at all of the rest, so many matches can cost the square of the text.
fn rescanned(m: &mut Machine<'_, '_>, args: &[Value<'_>], at: usize) -> Result<()> {
    m.budget.step(1 + text(args, 0).len().saturating_sub(at) as u64 / 256)
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

fn split<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
    let separator = text(args, 1);
    let limit = match args.get(2) {
        Some(_) => super::numbers::count(args, 2, "limit")?.max(1),
        None => usize::MAX,
    };
    let subject = text(args, 0);
    m.budget.step(subject.len() as u64 / 16)?;
    let parts: Vec<Value<'e>> = match (&args[0], separator) {
        (_, "") => subject.chars().map(|c| Value::text(c.encode_utf8(&mut [0; 4]))).collect(),
        (Value::Str(Text::Borrowed(text)), _) => {
            text.splitn(limit, separator).map(|part| Value::Str(Text::Borrowed(part))).collect()
        }
        _ => subject.splitn(limit, separator).map(Value::text).collect(),
    };
    m.budget.step(parts.len() as u64)?;
    m.budget.make(subject.len())?;
    m.array(parts)
}

fn join<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
    let separator = args.get(1).and_then(Value::as_str).unwrap_or_default();
    let mut out = String::new();
    for (at, item) in args[0].items().into_iter().flatten().enumerate() {
        m.budget.step(1)?;
        if at > 0 {
            out.push_str(separator);
        }
        item.write_text(&mut out, m.budget.bytes_left()).map_err(|large| Fault::new(codes::SIZE, large.to_string()))?;
    }
    m.string(out)
}

fn pad<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>], start: bool) -> Result<Value<'e>> {
    let width = super::numbers::count(args, 1, "width")?;
    let fill = args.get(2).and_then(Value::as_str).and_then(|fill| fill.chars().next()).unwrap_or(' ');
    m.budget.make(width.saturating_mul(fill.len_utf8()))?;
    mapped(m, args, |text| {
        let missing = width.saturating_sub(text.chars().count());
        let filling = std::iter::repeat_n(fill, missing);
        if start { filling.chain(text.chars()).collect() } else { text.chars().chain(filling).collect() }
    })
}

fn captures<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>], regex: &Regex) -> Result<Value<'e>> {
    scanned(m, args)?;
    let Some(found) = regex.captures(text(args, 0)) else { return Ok(Value::Null) };
    let mut object = crate::value::ObjectBuilder::with_capacity(found.len());
    let group = |group: Option<regex::Match<'_>>| group.map_or(Value::Null, |group| Value::text(group.as_str()));
    for (at, part) in found.iter().enumerate() {
        object.push_new(Text::Shared(at.to_string().into()), group(part));
    }
    for name in regex.capture_names().flatten() {
        object.push_new(Text::Shared(name.into()), group(found.name(name)));
    }
    m.budget.make(text(args, 0).len())?;
    m.object(object)
}
