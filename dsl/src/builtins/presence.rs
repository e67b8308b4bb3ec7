//! Values that may be missing.

use super::collections::len;
use super::objects::is_object;
use super::{Row, Run};
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "exists",
        signature: "(value: any) -> bool",
        doc: "Whether the value is not null: `exists(event.data.user.email)`.",
        examples: &[("exists(event.data.x)", "false"), ("exists(0)", "true")],
        run: Run::Pure(|_, a| Ok(Value::Bool(!matches!(a[0], Value::Null)))),
    },
    Row {
        name: "is_empty",
        signature: "(of: string | array | object | null) -> bool",
        doc: "Whether there is nothing in it; null is empty.",
        examples: &[("is_empty('')", "true"), ("is_empty([0])", "false"), ("is_empty(null)", "true")],
        run: Run::Pure(|m, a| {
            if matches!(a[0], Value::Null) {
                return Ok(Value::Bool(true));
            }
            len(m, a).map(|count| Value::Bool(matches!(count, Value::Int(0))))
        }),
    },
    Row {
        name: "coalesce",
        signature: "(...values: any) -> any",
        doc: "The first value that is not null.",
        examples: &[("coalesce(null, event.subject, 'none')", "\"none\"")],
        run: Run::Pure(|_, a| {
            let first = a.iter_mut().find(|value| !matches!(value, Value::Null));
            Ok(first.map(std::mem::take).unwrap_or_default())
        }),
    },
    Row {
        name: "is_blank",
        signature: "(value: any) -> bool",
        doc: "Whether the value is null, an empty array or object, or a text of white space only.",
        examples: &[("is_blank(' ')", "true"), ("is_blank(0)", "false")],
        run: Run::Pure(|m, a| {
            if let Value::Str(text) = &a[0] {
                m.budget.step(text.len() as u64 / 64)?;
            }
            Ok(Value::Bool(blank(&a[0])))
        }),
    },
    Row {
        name: "non_blank",
        signature: "(value: any) -> any",
        doc: "The value, and null if it is blank: `non_blank(event.data.name) ?? 'unknown'`.",
        examples: &[("non_blank('') ?? 'unknown'", "\"unknown\"")],
        run: Run::Pure(|m, a| {
            if let Value::Str(text) = &a[0] {
                m.budget.step(text.len() as u64 / 64)?;
            }
            Ok(if blank(&a[0]) { Value::Null } else { std::mem::take(&mut a[0]) })
        }),
    },
];

fn blank(value: &Value<'_>) -> bool {
    match value {
        Value::Null => true,
        Value::Str(text) => text.trim().is_empty(),
        other => other.array_len() == Some(0) || is_object(other) && other.members_len() == 0,
    }
}
