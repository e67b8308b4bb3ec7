//! Tables as text, and pairs of keys and values.

use super::args::{optional_text, text};
use super::base::utf8;
use super::collections::collected;
use super::objects::{is_object, members};
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "parse_csv",
        signature: "(text: string, separator?: string) -> array!",
        doc: "The rows of CSV (RFC 4180) as objects by the names of the first row; all values are strings. Every row \
              must have as many fields as the first.",
        examples: &[("parse_csv(\"id,name\\n1,\\\"Doe, Jo\\\"\\n\")", "[{\"id\":\"1\",\"name\":\"Doe, Jo\"}]")],
        run: Run::Pure(|m, a| {
            let mut rows = rows_of(m, a, false)?.into_iter();
            let Some(names) = rows.next() else { return m.array(Vec::new()) };
            let mut out = Vec::new();
            for row in rows {
                m.budget.step(names.len() as u64)?;
                let mut object = ObjectBuilder::with_capacity(names.len());
                for (name, field) in names.iter().zip(row) {
                    if let Value::Str(name) = name {
                        object.insert(name.clone(), field);
                    }
                }
                out.push(m.object(object)?);
            }
            m.array(out)
        }),
    },
    Row {
        name: "parse_csv_rows",
        signature: "(text: string, separator?: string) -> array",
        doc: "The rows of CSV as arrays of strings, the first like the others; rows may differ in length.",
        examples: &[("parse_csv_rows(\"a;b\\n1;2\", ';')", "[[\"a\",\"b\"],[\"1\",\"2\"]]")],
        run: Run::Pure(|m, a| {
            let rows = rows_of(m, a, true)?.into_iter().map(|row| m.array(row)).collect::<Result<Vec<_>>>()?;
            m.array(rows)
        }),
    },
    Row {
        name: "format_csv",
        signature: "(rows: array, separator?: string) -> string",
        doc: "CSV of arrays, or of objects with a first row of the keys of the first one. Fields are quoted where they \
              must be; lines end with a line feed.",
        examples: &[
            ("format_csv([{ id: 1, name: 'Doe, Jo' }])", "\"id,name\\n1,\\\"Doe, Jo\\\"\\n\""),
            ("format_csv([['a', null, true]])", "\"a,,true\\n\""),
        ],
        run: Run::Pure(|m, a| {
            let separator = separator(a)?;
            let mut writer = csv::WriterBuilder::new().delimiter(separator).flexible(true).from_writer(Vec::new());
            let rows = collected(m, &a[0])?;
            let names: Vec<Text<'_>> = match rows.first() {
                Some(first) if is_object(first) => members(m, first)?.into_iter().map(|(name, _)| name).collect(),
                _ => Vec::new(),
            };
            let failed = |why: csv::Error| Fault::new(codes::BAD_ARGUMENT, format!("not CSV: {why}"));
            if !names.is_empty() {
                writer.write_record(names.iter().map(|name| name.as_bytes())).map_err(failed)?;
            }
            for row in &rows {
                let fields = match row.array_len() {
                    Some(_) if names.is_empty() => collected(m, row)?,
                    None if is_object(row) && !names.is_empty() => {
                        m.budget.step((names.len() * (1 + row.members_len() / 16)) as u64)?;
                        names.iter().map(|name| row.get(name).unwrap_or_default()).collect()
                    }
                    _ => {
                        let why = format!(
                            "the rows of `format_csv` are all arrays or all objects, and {} is not",
                            row.preview()
                        );
                        return Err(Fault::new(codes::WRONG_TYPE, why));
                    }
                };
                let mut texts = Vec::with_capacity(fields.len());
                for field in &fields {
                    let mut out = String::new();
                    field
                        .write_text(&mut out, m.budget.bytes_left())
                        .map_err(|large| Fault::new(codes::SIZE, large.to_string()))?;
                    m.budget.step(1 + out.len() as u64 / 16)?;
                    m.budget.make(out.len() + 3)?;
                    texts.push(out);
                }
                writer.write_record(&texts).map_err(failed)?;
            }
            let bytes =
                writer.into_inner().map_err(|why| Fault::new(codes::BAD_ARGUMENT, format!("not CSV: {why}")))?;
            utf8(m, bytes)
        }),
    },
    Row {
        name: "parse_key_value",
        signature: "(text: string, between?: string, pairs?: string) -> object!",
        doc: "The object of pairs such as `level=info msg=\"a b\"`: `between` stands between key and value (`=`), \
              `pairs` between the pairs (white space). Values may be in double quotes; a key without a value is true.",
        examples: &[
            ("parse_key_value('level=info msg=\"a b\" ok')", "{\"level\":\"info\",\"msg\":\"a b\",\"ok\":true}"),
            ("parse_key_value('a:1;b:2', ':', ';')", "{\"a\":\"1\",\"b\":\"2\"}"),
        ],
        run: Run::Pure(|m, a| {
            let between = optional_text(a, 1).unwrap_or("=").to_owned();
            let pairs = optional_text(a, 2).unwrap_or(" ").to_owned();
            if between.is_empty() || pairs.is_empty() {
                return Err(Fault::new(codes::BAD_ARGUMENT, "the separators of `parse_key_value` must not be empty"));
            }
            m.budget.step(text(a, 0).len() as u64 / 4)?;
            m.budget.make(text(a, 0).len())?;
            pairs_of(m, text(a, 0), &between, &pairs)
        }),
    },
    Row {
        name: "format_key_value",
        signature: "(object: object, between?: string, pairs?: string) -> string",
        doc: "The opposite of `parse_key_value`; values with white space, quotes or separators are quoted.",
        examples: &[("format_key_value({ level: 'info', msg: 'a b' })", "\"level=info msg=\\\"a b\\\"\"")],
        run: Run::Pure(|m, a| {
            let between = optional_text(a, 1).unwrap_or("=").to_owned();
            let pairs = optional_text(a, 2).unwrap_or(" ").to_owned();
            let mut out = String::new();
            for (at, (key, value)) in members(m, &a[0])?.into_iter().enumerate() {
                let mut field = String::new();
                value
                    .write_text(&mut field, m.budget.bytes_left())
                    .map_err(|large| Fault::new(codes::SIZE, large.to_string()))?;
                let quoted = field.contains(|c: char| c.is_whitespace() || c == '"')
                    || field.is_empty()
                    || field.contains(pairs.as_str())
                    || field.contains(between.as_str());
                m.budget.make(key.len() + 2 * field.len() + between.len() + pairs.len())?;
                if at > 0 {
                    out.push_str(&pairs);
                }
                out.push_str(&key);
                out.push_str(&between);
                if quoted {
                    out.push_str(&Value::string(field).to_json(usize::MAX).unwrap_or_default());
                } else {
                    out.push_str(&field);
                }
            }
            Ok(Value::string(out))
        }),
    },
];

fn separator(args: &[Value<'_>]) -> Result<u8> {
    match optional_text(args, 1).unwrap_or(",").as_bytes() {
        [one] if one.is_ascii() && !matches!(one, b'"' | b'\n' | b'\r') => Ok(*one),
        _ => {
            let why = format!("a separator of CSV is one character of ASCII, not {}", args[1].preview());
            Err(Fault::new(codes::BAD_ARGUMENT, why))
        }
    }
}

fn rows_of<'e>(m: &mut Machine<'_, 'e>, args: &[Value<'e>], flexible: bool) -> Result<Vec<Vec<Value<'e>>>> {
    let mut builder = csv::ReaderBuilder::new();
    let subject = text(args, 0).strip_prefix('\u{feff}').unwrap_or(text(args, 0));
    m.budget.step(subject.len() as u64 / 4)?;
    m.budget.make(subject.len())?;
    builder.has_headers(false).delimiter(separator(args)?).flexible(flexible);
    let mut rows = Vec::new();
    for record in builder.from_reader(subject.as_bytes()).records() {
        let record = record.map_err(|why| Fault::new(codes::BAD_ARGUMENT, not_csv(&why)))?;
        m.budget.step(1 + record.len() as u64)?;
        m.budget.make(record.len() * (size_of::<Value<'_>>() + 16))?;
        rows.push(record.iter().map(Value::text).collect());
    }
    Ok(rows)
}

#[cold]
fn not_csv(why: &csv::Error) -> String {
    match why.kind() {
        csv::ErrorKind::UnequalLengths { pos, expected_len, len } => {
            let line = pos.as_ref().map_or(0, csv::Position::line);
            format!("not CSV: line {line} has {len} fields, and the first row has {expected_len}")
        }
        _ => format!("not CSV: {why}"),
    }
}

fn pairs_of<'e>(m: &mut Machine<'_, 'e>, text: &str, between: &str, pairs: &str) -> Result<Value<'e>> {
    let spaces = pairs.trim().is_empty();
    let mut object = ObjectBuilder::default();
    let mut rest = text;
    // The next end of a pair. It stays the next one until it is passed: pairs whose values are in quotes need none between
    // them, and looking for it from each of them would cost the square of the text.
    let mut next_end = None;
    let separators = (between.len() + pairs.len()) as u64 / 16;
    loop {
        rest = rest.trim_start();
        while !spaces && let Some(more) = rest.strip_prefix(pairs) {
            rest = more.trim_start();
        }
        if rest.is_empty() {
            return m.object(object);
        }
        m.budget.step(1 + separators)?;
        m.budget.make(2 * size_of::<Value<'_>>())?;
        let here = text.len() - rest.len();
        let ahead = next_end.filter(|end| *end >= here).unwrap_or_else(|| {
            let found = if spaces { rest.find(char::is_whitespace) } else { rest.find(pairs) };
            found.map_or(text.len(), |at| here + at)
        });
        next_end = Some(ahead);
        let end = ahead - here;
        let Some(at) = rest[..end].find(between) else {
            object.insert(Text::Shared(rest[..end].trim().into()), Value::Bool(true));
            rest = &rest[end..];
            continue;
        };
        let key = rest[..at].trim();
        let value = &rest[at + between.len()..];
        let (field, after) = match value.strip_prefix('"') {
            Some(quoted) => unquoted(quoted)?,
            None => (rest[at + between.len()..end].trim().to_owned(), &rest[end..]),
        };
        object.insert(Text::Shared(key.into()), Value::string(field));
        rest = after;
    }
}

/// The text up to the closing quote, and what follows it.
fn unquoted(text: &str) -> Result<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Ok((out, &text[at + 1..])),
            '\\' => match chars.next() {
                Some((_, 'n')) => out.push('\n'),
                Some((_, 't')) => out.push('\t'),
                Some((_, c)) => out.push(c),
                None => break,
            },
            c => out.push(c),
        }
    }
    Err(Fault::new(codes::BAD_ARGUMENT, "a value in quotes has no closing quote"))
}
