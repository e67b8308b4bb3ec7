//! Parts of a text, found and replaced.

use super::args::text;
use super::case::mapped;
use super::{Row, Run};
use crate::codes;
use crate::fault::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
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
        name: "replace_first",
        signature: "(text: string, from: string, to: string) -> string",
        doc: "The text with the first occurrence of `from` replaced.",
        examples: &[("replace_first('a-b-c', '-', '+')", "\"a+b-c\"")],
        run: Run::Pure(|m, a| {
            m.budget.make(text(a, 2).len())?;
            mapped(m, a, |subject| subject.replacen(text(a, 1), text(a, 2), 1))
        }),
    },
    Row {
        name: "occurrences",
        signature: "(text: string, part: string) -> int",
        doc: "How often the part occurs, without overlaps.",
        examples: &[("occurrences('banana', 'an')", "2")],
        run: Run::Pure(|m, a| {
            m.budget.step(text(a, 0).len() as u64 / 16)?;
            if text(a, 1).is_empty() {
                return Err(Fault::new(codes::BAD_ARGUMENT, "`part` of `occurrences` must not be empty"));
            }
            Ok(Value::Int(text(a, 0).matches(text(a, 1)).count() as i64))
        }),
    },
];
