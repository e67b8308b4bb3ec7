//! Elements that a function finds.

use super::collections::collected;
use super::{Row, Run};
use crate::code::Lambda;
use crate::eval::{Machine, Result, truth_of};
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "find",
        signature: "(items: array, test: fn(x)) -> any",
        doc: "The first element for which the function is true; null if there is none.",
        examples: &[("find([1, 2, 3], x => x > 1)", "2"), ("find([], x => true)", "null")],
        run: Run::Lambda(|m, a, f| {
            for item in a[0].items().into_iter().flatten() {
                if m.test1(f, item.clone())? {
                    return Ok(item);
                }
            }
            Ok(Value::Null)
        }),
    },
    Row {
        name: "find_index",
        signature: "(items: array, test: fn(x)) -> int | null",
        doc: "The position of the first element for which the function is true; null if there is none.",
        examples: &[("find_index(['a', 'b'], x => x == 'b')", "1")],
        run: Run::Lambda(|m, a, f| {
            for (at, item) in a[0].items().into_iter().flatten().enumerate() {
                if m.test1(f, item)? {
                    return Ok(Value::Int(at as i64));
                }
            }
            Ok(Value::Null)
        }),
    },
    Row {
        name: "any",
        signature: "(items: array, test?: fn(x)) -> bool",
        doc: "Whether the function is true for an element, or an element itself is true.",
        examples: &[("any([1, 2], x => x > 1)", "true"), ("any([])", "false")],
        run: Run::Either(|m, a| truths(m, &a[0], true), |m, a, f| tested(m, &a[0], f, true)),
    },
    Row {
        name: "all",
        signature: "(items: array, test?: fn(x)) -> bool",
        doc: "Whether the function is true for every element, or every element itself is true; true of nothing.",
        examples: &[("all([1, 2], x => x > 1)", "false"), ("all([])", "true")],
        run: Run::Either(|m, a| truths(m, &a[0], false), |m, a, f| tested(m, &a[0], f, false)),
    },
    Row {
        name: "count",
        signature: "(items: array, test?: fn(x)) -> int",
        doc: "The number of elements, or of those for which the function is true.",
        examples: &[("count([1, 2, 3], x => x > 1)", "2"), ("count([1])", "1")],
        run: Run::Either(
            |_, a| Ok(Value::Int(a[0].array_len().unwrap_or(0) as i64)),
            |m, a, f| {
                let mut count = 0;
                for item in a[0].items().into_iter().flatten() {
                    count += i64::from(m.test1(f, item)?);
                }
                Ok(Value::Int(count))
            },
        ),
    },
    Row {
        name: "find_last",
        signature: "(items: array, test: fn(x)) -> any",
        doc: "The last element for which the function is true; null if there is none.",
        examples: &[("find_last([1, 2, 3], x => x < 3)", "2")],
        run: Run::Lambda(|m, a, f| {
            for item in collected(m, &a[0])?.into_iter().rev() {
                if m.test1(f, item.clone())? {
                    return Ok(item);
                }
            }
            Ok(Value::Null)
        }),
    },
    Row {
        name: "take_while",
        signature: "(items: array, test: fn(x)) -> array",
        doc: "The elements before the first one for which the function is not true.",
        examples: &[("take_while([1, 2, 9, 1], x => x < 5)", "[1,2]")],
        run: Run::Lambda(|m, a, f| {
            let mut out = Vec::new();
            for item in a[0].items().into_iter().flatten() {
                if !m.test1(f, item.clone())? {
                    break;
                }
                out.push(item);
            }
            m.array(out)
        }),
    },
    Row {
        name: "drop_while",
        signature: "(items: array, test: fn(x)) -> array",
        doc: "The elements from the first one on for which the function is not true.",
        examples: &[("drop_while([1, 2, 9, 1], x => x < 5)", "[9,1]")],
        run: Run::Lambda(|m, a, f| {
            let items = collected(m, &a[0])?;
            let mut start = 0;
            while start < items.len() && m.test1(f, items[start].clone())? {
                start += 1;
            }
            m.array(items[start..].to_vec())
        }),
    },
];

fn truths<'e>(m: &mut Machine<'_, 'e>, items: &Value<'e>, wanted: bool) -> Result<Value<'e>> {
    for item in items.items().into_iter().flatten() {
        m.budget.step(1)?;
        if truth_of(&item)? == wanted {
            return Ok(Value::Bool(wanted));
        }
    }
    Ok(Value::Bool(!wanted))
}

fn tested<'p, 'e>(m: &mut Machine<'p, 'e>, items: &Value<'e>, f: &'p Lambda, wanted: bool) -> Result<Value<'e>> {
    for item in items.items().into_iter().flatten() {
        if m.test1(f, item)? == wanted {
            return Ok(Value::Bool(wanted));
        }
    }
    Ok(Value::Bool(!wanted))
}
