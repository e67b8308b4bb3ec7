//! JSON texts.

use super::args::{count, text};
use super::objects::{is_object, members};
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result, weight};
use crate::fault::Fault;
use crate::value::{Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "parse_json",
        signature: "(text: string) -> any!",
        doc: "The value of a JSON text, with the limits of event bodies: depth 64, 10,000 keys, no duplicate keys.",
        examples: &[("parse_json('{\"a\": [1, 2.50]}').a", "[1,2.50]")],
        run: Run::Pure(|m, a| parse_json(m, text(a, 0))),
    },
    Row {
        name: "try_parse_json",
        signature: "(text: string) -> any",
        doc: "Like `parse_json`, and null if the text is not JSON.",
        examples: &[("try_parse_json('{')", "null")],
        run: Run::Pure(|m, a| match parse_json(m, text(a, 0)) {
            Err(Fault::Error(failure)) if failure.code == codes::BAD_ARGUMENT => Ok(Value::Null),
            result => result,
        }),
    },
    Row {
        name: "to_json",
        signature: "(value: any) -> string",
        doc: "The value as a JSON text. What comes from the event is written as it was received.",
        examples: &[("to_json({ a: [1, null] })", "\"{\\\"a\\\":[1,null]}\"")],
        run: Run::Pure(|m, a| {
            m.budget.step(weight(&a[0]))?;
            let json =
                a[0].to_json(m.budget.bytes_left()).map_err(|large| Fault::new(codes::SIZE, large.to_string()))?;
            m.string(json)
        }),
    },
    Row {
        name: "to_json_pretty",
        signature: "(value: any, indent?: int) -> string",
        doc: "The value as a JSON text over several lines, indented by 2 spaces or the given number (at most 8) for \
              each level.",
        examples: &[(
            "to_json_pretty({ a: [1], b: {} })",
            "\"{\\n  \\\"a\\\": [\\n    1\\n  ],\\n  \\\"b\\\": {}\\n}\"",
        )],
        run: Run::Pure(|m, a| {
            let indent = if a.len() > 1 { count(a, 1, "indent")?.min(8) } else { 2 };
            m.budget.step(weight(&a[0]))?;
            let mut out = String::new();
            pretty(m, &a[0], indent, 1, &mut out)?;
            m.string(out)
        }),
    },
    Row {
        name: "is_json",
        signature: "(text: string) -> bool",
        doc: "Whether the text is JSON that `parse_json` takes.",
        examples: &[("is_json('{\"a\":1}')", "true"), ("is_json('{')", "false")],
        run: Run::Pure(|m, a| {
            m.budget.step(text(a, 0).len() as u64 / 4)?;
            Ok(Value::Bool(crate::json::Doc::validate(text(a, 0).as_bytes(), &crate::json::Limits::default()).is_ok()))
        }),
    },
];

/// Containers over lines of their own; the rest as `to_json` writes it.
fn pretty<'e>(m: &mut Machine<'_, 'e>, value: &Value<'e>, indent: usize, level: usize, out: &mut String) -> Result<()> {
    m.budget.step(1)?;
    let large = |large: crate::value::TooLarge| Fault::new(codes::SIZE, large.to_string());
    let size = value.array_len().unwrap_or_else(|| value.members_len());
    if !(value.array_len().is_some() || is_object(value)) || size == 0 {
        let left = m.budget.bytes_left().saturating_sub(out.len());
        out.push_str(&value.to_json(left).map_err(large)?);
        return Ok(());
    }
    let is_array = value.array_len().is_some();
    let line = |out: &mut String, level: usize| {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', indent * level));
    };
    out.push(if is_array { '[' } else { '{' });
    let entries: Vec<(Option<Text<'e>>, Value<'e>)> = if is_array {
        value.items().into_iter().flatten().map(|item| (None, item)).collect()
    } else {
        members(m, value)?.into_iter().map(|(key, member)| (Some(key), member)).collect()
    };
    for (at, (key, member)) in entries.into_iter().enumerate() {
        if out.len() > m.budget.bytes_left() {
            return m.budget.make(out.len());
        }
        if at > 0 {
            out.push(',');
        }
        line(out, level);
        if let Some(key) = key {
            let left = m.budget.bytes_left();
            out.push_str(&Value::Str(key).to_json(left).map_err(large)?);
            out.push_str(": ");
        }
        pretty(m, &member, indent, level + 1, out)?;
    }
    line(out, level - 1);
    out.push(if is_array { ']' } else { '}' });
    Ok(())
}

pub(super) fn parse_json<'e>(m: &mut Machine<'_, 'e>, text: &str) -> Result<Value<'e>> {
    m.budget.step(text.len() as u64 / 4)?;
    m.budget.make(text.len().saturating_mul(2))?;
    let bytes = bytes::Bytes::copy_from_slice(text.as_bytes());
    let doc = crate::json::Doc::parse(bytes, &crate::json::Limits::default())
        .map_err(|why| Fault::new(codes::BAD_ARGUMENT, format!("not JSON: {why}")))?;
    m.budget.make(doc.node_count() * 2 * size_of::<Value<'_>>())?;
    Ok(Value::owned_from_node(doc.root()))
}
