//! Arrays made, and made of other arrays.

use super::collections::collected;
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "range",
        signature: "(from: int, to: int, step?: int) -> array",
        doc: "The integers from a start up to before an end; at most 100,000.",
        examples: &[("range(0, 3)", "[0,1,2]"), ("range(10, 0, -4)", "[10,6,2]")],
        run: Run::Pure(range),
    },
    Row {
        name: "flatten",
        signature: "(items: array) -> array",
        doc: "The array with the elements of inner arrays in place of them; one level.",
        examples: &[("flatten([1, [2, [3]], []])", "[1,2,[3]]")],
        run: Run::Pure(|m, a| {
            let mut out = Vec::new();
            for item in a[0].items().into_iter().flatten() {
                m.budget.step(1 + item.array_len().unwrap_or(0) as u64)?;
                match item.items() {
                    Some(inner) => out.extend(inner),
                    None => out.push(item),
                }
            }
            m.array(out)
        }),
    },
    Row {
        name: "compact",
        signature: "(of: array | object) -> array | object",
        doc: "The array or object without the elements or members that are null.",
        examples: &[("compact([1, null, 2])", "[1,2]"), ("compact({ a: null, b: 0 })", "{\"b\":0}")],
        run: Run::Pure(|m, a| {
            if let Some(members) = a[0].members() {
                m.budget.step(members.len() as u64)?;
                let mut object = ObjectBuilder::default();
                for (key, value) in members {
                    if !matches!(value, Value::Null) {
                        object.push_new(key, value);
                    }
                }
                return m.object(object);
            }
            let mut items = collected(m, &a[0])?;
            items.retain(|item| !matches!(item, Value::Null));
            m.array(items)
        }),
    },
    Row {
        name: "zip",
        signature: "(a: array, b: array) -> array",
        doc: "Pairs of the elements at the same positions, as many as the shorter array has.",
        examples: &[("zip([1, 2], ['a', 'b', 'c'])", "[[1,\"a\"],[2,\"b\"]]")],
        run: Run::Pure(|m, a| {
            let (Some(left), Some(right)) = (a[0].items(), a[1].items()) else { return Ok(Value::Null) };
            let mut out = Vec::new();
            for (x, y) in left.zip(right) {
                m.budget.step(1)?;
                out.push(m.array(vec![x, y])?);
            }
            m.array(out)
        }),
    },
    Row {
        name: "concat_arrays",
        signature: "(...arrays: array | null) -> array",
        doc: "The elements of all arrays, one after the other. Null counts as empty.",
        examples: &[("concat_arrays([1], null, [2, 3])", "[1,2,3]")],
        run: Run::Pure(|m, a| {
            let mut out = Vec::new();
            for part in a.iter() {
                out.extend(collected(m, part)?);
            }
            m.array(out)
        }),
    },
    Row {
        name: "flatten_deep",
        signature: "(items: array) -> array",
        doc: "The array with the elements of inner arrays of every level in place of them.",
        examples: &[("flatten_deep([1, [2, [3, []]]])", "[1,2,3]")],
        run: Run::Pure(|m, a| {
            let mut out = Vec::new();
            flattened(m, &a[0], &mut out)?;
            m.array(out)
        }),
    },
    Row {
        name: "transpose",
        signature: "(rows: array) -> array",
        doc: "Columns for rows: the first elements of all arrays, the second ones and so on, as many as the shortest \
              has.",
        examples: &[("transpose([[1, 2], [3, 4]])", "[[1,3],[2,4]]")],
        run: Run::Pure(|m, a| {
            let mut rows = Vec::new();
            for row in collected(m, &a[0])? {
                if row.array_len().is_none() {
                    let why = format!("`transpose` takes an array of arrays, and {} is none", row.preview());
                    return Err(Fault::new(codes::WRONG_TYPE, why));
                }
                rows.push(collected(m, &row)?.into_iter());
            }
            let width = rows.iter().map(ExactSizeIterator::len).min().unwrap_or(0);
            let mut out = Vec::with_capacity(width);
            for _ in 0..width {
                m.budget.step(rows.len() as u64)?;
                let column = rows.iter_mut().filter_map(Iterator::next).collect();
                out.push(m.array(column)?);
            }
            m.array(out)
        }),
    },
];

/// As deep as values are, which is capped.
fn flattened<'e>(m: &mut Machine<'_, 'e>, value: &Value<'e>, out: &mut Vec<Value<'e>>) -> Result<()> {
    for item in value.items().into_iter().flatten() {
        m.budget.step(1)?;
        if item.array_len().is_some() {
            flattened(m, &item, out)?;
        } else {
            m.budget.make(size_of::<Value<'_>>())?;
            out.push(item);
        }
    }
    Ok(())
}

fn range<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
    const MOST: i128 = 100_000;
    let int = |at: usize, default: i64| match args.get(at) {
        Some(Value::Int(value)) => *value,
        _ => default,
    };
    let (from, to, step) = (int(0, 0), int(1, 0), int(2, 1));
    if step == 0 {
        return Err(Fault::new(codes::BAD_ARGUMENT, "`step` of `range` must not be 0"));
    }
    let span = if step > 0 { i128::from(to) - i128::from(from) } else { i128::from(from) - i128::from(to) };
    let size = if span <= 0 { 0 } else { (span - 1) / i128::from(step).abs() + 1 };
    if size > MOST {
        return Err(Fault::new(codes::BAD_ARGUMENT, format!("`range` gives at most {MOST} integers, not {size}")));
    }
    m.budget.step(size as u64)?;
    m.budget.make(size as usize * size_of::<Value<'_>>())?;
    // In range: the last one lies before `to`.
    let items = (0..size as i64).map(|at| Value::Int(from.wrapping_add(at.wrapping_mul(step)))).collect();
    m.array(items)
}
