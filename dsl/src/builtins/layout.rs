//! The width and the look of a text.

use super::args::{count, optional_text, text};
use super::case::mapped;
use super::{Row, Run};
use crate::eval::{Machine, Result};
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
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
            let width = count(a, 1, "width")?;
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
        name: "indent",
        signature: "(text: string, prefix?: string) -> string",
        doc: "The text with each line that is not empty behind the prefix (two spaces if not given).",
        examples: &[("indent(\"a\\n\\nb\", '> ')", "\"> a\\n\\n> b\"")],
        run: Run::Pure(|m, a| {
            let prefix = optional_text(a, 1).unwrap_or("  ");
            let lines = text(a, 0).lines().count();
            m.budget.make(lines.saturating_mul(prefix.len()))?;
            mapped(m, a, |text| {
                let mut out = String::with_capacity(text.len() + lines.saturating_mul(prefix.len()));
                for line in text.split_inclusive('\n') {
                    if !line.trim().is_empty() {
                        out.push_str(prefix);
                    }
                    out.push_str(line);
                }
                out
            })
        }),
    },
    Row {
        name: "collapse_spaces",
        signature: "(text: string) -> string",
        doc: "The text with every run of white space as one space, and none at the ends.",
        examples: &[("collapse_spaces(\" a \\n b \")", "\"a b\"")],
        run: Run::Pure(|m, a| mapped(m, a, |text| text.split_whitespace().collect::<Vec<_>>().join(" "))),
    },
    Row {
        name: "slug",
        signature: "(text: string) -> string",
        doc: "The text in lower case for a URL or a file name: letters and digits of ASCII, joined with `-`; common \
              accents are dropped.",
        examples: &[("slug('Über uns: Ein Café!')", "\"uber-uns-ein-cafe\"")],
        run: Run::Pure(|m, a| {
            // What is no ASCII is looked for among the letters with marks.
            let marked = text(a, 0).bytes().filter(|byte| !byte.is_ascii()).count();
            m.budget.step(marked as u64 / 2)?;
            mapped(m, a, slug)
        }),
    },
];

fn slug(text: &str) -> String {
    /// Letters of Latin-1 and their neighbours that are one of ASCII with a mark.
    const PLAIN: [(&str, &str); 14] = [
        ("àáâãäåāăą", "a"),
        ("çćč", "c"),
        ("ďđð", "d"),
        ("èéêëēęě", "e"),
        ("ìíîïīį", "i"),
        ("łľĺ", "l"),
        ("ñńň", "n"),
        ("òóôõöøōő", "o"),
        ("ŕř", "r"),
        ("śšş", "s"),
        ("ťţ", "t"),
        ("ùúûüūůű", "u"),
        ("ýÿ", "y"),
        ("źżž", "z"),
    ];
    let mut out = String::with_capacity(text.len());
    let mut gap = false;
    for c in text.chars().flat_map(char::to_lowercase) {
        let ascii = c.is_ascii_alphanumeric();
        let marked = if c.is_ascii() { &[][..] } else { &PLAIN[..] };
        let plain = marked.iter().find(|(marked, _)| marked.contains(c)).map(|(_, plain)| *plain);
        let plain = plain.or(match c {
            'ß' => Some("ss"),
            'æ' => Some("ae"),
            'œ' => Some("oe"),
            'þ' => Some("th"),
            _ => None,
        });
        let mut ascii_text = [0; 4];
        let part = if ascii { Some(&*c.encode_utf8(&mut ascii_text)) } else { plain };
        match part {
            Some(part) => {
                if std::mem::take(&mut gap) && !out.is_empty() {
                    out.push('-');
                }
                out.push_str(part);
            }
            None => gap = true,
        }
    }
    out
}

fn pad<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>], start: bool) -> Result<Value<'e>> {
    let width = count(args, 1, "width")?;
    let fill = args.get(2).and_then(Value::as_str).and_then(|fill| fill.chars().next()).unwrap_or(' ');
    m.budget.make(width.saturating_mul(fill.len_utf8()))?;
    mapped(m, args, |text| {
        let missing = width.saturating_sub(text.chars().count());
        let filling = std::iter::repeat_n(fill, missing);
        if start { filling.chain(text.chars()).collect() } else { text.chars().chain(filling).collect() }
    })
}
