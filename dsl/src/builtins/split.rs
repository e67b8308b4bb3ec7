//! A text into parts, and parts into a text.

use super::args::{count, text};
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::{Text, Value};

pub(super) const ROWS: &[Row] = &[
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
            let times = count(a, 1, "times")?;
            m.budget.make(text(a, 0).len().saturating_mul(times))?;
            Ok(Value::string(text(a, 0).repeat(times)))
        }),
    },
    Row {
        name: "words",
        signature: "(text: string) -> array",
        doc: "The parts between white space.",
        examples: &[("words(' a  b ')", "[\"a\",\"b\"]")],
        run: Run::Pure(|m, a| {
            let parts: Vec<_> = text(a, 0).split_whitespace().map(Value::text).collect();
            m.budget.step(parts.len() as u64 + text(a, 0).len() as u64 / 16)?;
            m.budget.make(text(a, 0).len())?;
            m.array(parts)
        }),
    },
];

fn split<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
    let separator = text(args, 1);
    let limit = match args.get(2) {
        Some(_) => count(args, 2, "limit")?.max(1),
        None => usize::MAX,
    };
    let subject = text(args, 0);
    m.budget.step(subject.len() as u64 / 16)?;
    let parts: Vec<Value<'e>> = match (&args[0], separator) {
        (_, "") => {
            // Each character, and behind the last cut what is left.
            let mut rest = subject;
            let mut parts = Vec::new();
            while let Some(c) = rest.chars().next() {
                let end = if parts.len() + 1 < limit { c.len_utf8() } else { rest.len() };
                parts.push(Value::text(&rest[..end]));
                rest = &rest[end..];
            }
            parts
        }
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
