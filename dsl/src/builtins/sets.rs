//! Arrays as sets: two elements are the same if `==` holds.

use std::collections::HashSet;

use super::collections::collected;
use super::group::unique;
use super::{Row, Run};
use crate::eval::{Machine, Result, weight};
use crate::value::{Value, unique_key};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "union",
        signature: "(a: array, b: array) -> array",
        doc: "The elements of both, each once.",
        examples: &[("union([1, 2], [2, 3])", "[1,2,3]")],
        run: Run::Pure(|m, a| {
            let mut items = collected(m, &a[0])?;
            items.extend(collected(m, &a[1])?);
            unique(m, items, |_, item| Ok(item.clone()))
        }),
    },
    Row {
        name: "intersection",
        signature: "(a: array, b: array) -> array",
        doc: "The elements of `a` that are in `b` as well, each once.",
        examples: &[("intersection([1, 2, 2], [2, 3])", "[2]")],
        run: Run::Pure(|m, a| kept_if(m, a, true)),
    },
    Row {
        name: "difference",
        signature: "(a: array, b: array) -> array",
        doc: "The elements of `a` that are not in `b`, each once.",
        examples: &[("difference([1, 2, 3], [2])", "[1,3]")],
        run: Run::Pure(|m, a| kept_if(m, a, false)),
    },
    Row {
        name: "is_subset",
        signature: "(a: array, b: array) -> bool",
        doc: "Whether every element of `a` is in `b`.",
        examples: &[("is_subset(['read'], ['read', 'write'])", "true")],
        run: Run::Pure(|m, a| {
            let of = keys_of(m, &a[1])?;
            Ok(Value::Bool(keys_of(m, &a[0])?.iter().all(|key| of.contains(key))))
        }),
    },
    Row {
        name: "intersects",
        signature: "(a: array, b: array) -> bool",
        doc: "Whether the arrays have an element in common.",
        examples: &[("intersects(['bug', 'ui'], ['ui'])", "true")],
        run: Run::Pure(|m, a| {
            let of = keys_of(m, &a[1])?;
            Ok(Value::Bool(keys_of(m, &a[0])?.iter().any(|key| of.contains(key))))
        }),
    },
];

/// A text for each element that is the same for equal ones.
fn keys_of(m: &mut Machine<'_, '_>, value: &Value<'_>) -> Result<HashSet<String>> {
    let mut keys = HashSet::new();
    for item in value.items().into_iter().flatten() {
        keys.insert(key_of(m, &item)?);
    }
    Ok(keys)
}

fn key_of(m: &mut Machine<'_, '_>, item: &Value<'_>) -> Result<String> {
    m.budget.step(1 + weight(item))?;
    let mut key = String::new();
    unique_key(item, &mut key);
    m.budget.make(key.len())?;
    Ok(key)
}

fn kept_if<'e>(m: &mut Machine<'_, 'e>, args: &[Value<'e>], wanted: bool) -> Result<Value<'e>> {
    let others = keys_of(m, &args[1])?;
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for item in collected(m, &args[0])? {
        let key = key_of(m, &item)?;
        if others.contains(&key) == wanted && seen.insert(key) {
            out.push(item);
        }
    }
    m.array(out)
}
