//! Parts of arrays.

use super::args::count;
use super::collections::collected;
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result, position};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "first",
        signature: "(items: array, count?: int) -> any",
        doc: "The first element, null if there is none; with a count, an array of the first elements.",
        examples: &[("first([1, 2, 3])", "1"), ("first([1, 2, 3], 2)", "[1,2]"), ("first([])", "null")],
        run: Run::Pure(|m, a| match a.get(1) {
            None => Ok(a[0].items().and_then(|mut items| items.next()).unwrap_or_default()),
            Some(_) => {
                let many = count(a, 1, "count")?;
                taken(m, &a[0], 0, many)
            }
        }),
    },
    Row {
        name: "last",
        signature: "(items: array, count?: int) -> any",
        doc: "The last element, null if there is none; with a count, an array of the last elements.",
        examples: &[("last([1, 2, 3])", "3"), ("last([1, 2, 3], 2)", "[2,3]")],
        run: Run::Pure(|m, a| {
            let size = a[0].array_len().unwrap_or(0);
            match a.get(1) {
                None => {
                    m.budget.step(size as u64 / 16)?;
                    Ok(a[0].items().and_then(Iterator::last).unwrap_or_default())
                }
                Some(_) => {
                    let many = count(a, 1, "count")?;
                    taken(m, &a[0], size.saturating_sub(many), size)
                }
            }
        }),
    },
    Row {
        name: "slice",
        signature: "(of: array | string, from: int, to?: int) -> array | string",
        doc: "The elements or characters from a position up to before another; negative positions count from the end.",
        examples: &[("slice([1, 2, 3, 4], 1, 3)", "[2,3]"), ("slice('hello', -3)", "\"llo\"")],
        run: Run::Pure(slice),
    },
    Row {
        name: "chunk",
        signature: "(items: array, size: int) -> array",
        doc: "The elements in arrays of the given size; the last may be shorter.",
        examples: &[("chunk([1, 2, 3], 2)", "[[1,2],[3]]")],
        run: Run::Pure(|m, a| {
            let size = count(a, 1, "size")?;
            if size == 0 {
                return Err(Fault::new(codes::BAD_ARGUMENT, "`size` of `chunk` must be at least 1"));
            }
            let items = collected(m, &a[0])?;
            let chunks = items.chunks(size).map(|chunk| m.array(chunk.to_vec())).collect::<Result<Vec<_>>>()?;
            m.array(chunks)
        }),
    },
    Row {
        name: "window",
        signature: "(items: array, size: int, step?: int) -> array",
        doc: "Every run of `size` elements, each `step` (1 if not given) after the one before; runs that are not full \
              are left out.",
        examples: &[("window([1, 2, 3], 2)", "[[1,2],[2,3]]"), ("window([1, 2, 3, 4], 2, 2)", "[[1,2],[3,4]]")],
        run: Run::Pure(|m, a| {
            let size = count(a, 1, "size")?;
            let step = if a.len() > 2 { count(a, 2, "step")? } else { 1 };
            if size == 0 || step == 0 {
                return Err(Fault::new(codes::BAD_ARGUMENT, "`size` and `step` of `window` must be at least 1"));
            }
            let items = collected(m, &a[0])?;
            let mut out = Vec::new();
            for window in items.windows(size).step_by(step) {
                m.budget.step(size as u64)?;
                out.push(m.array(window.to_vec())?);
            }
            m.array(out)
        }),
    },
];

pub(super) fn taken<'e>(m: &mut Machine<'_, 'e>, items: &Value<'e>, from: usize, to: usize) -> Result<Value<'e>> {
    let size = items.array_len().unwrap_or(0);
    let (from, to) = (from.min(size), to.min(size));
    m.budget.step(to as u64)?;
    let taken = items.items().into_iter().flatten().skip(from).take(to.saturating_sub(from)).collect();
    m.array(taken)
}

fn slice<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
    let size = match &args[0] {
        Value::Str(text) => text.chars().count(),
        other => other.array_len().unwrap_or(0),
    };
    let bound = |value: Option<&Value<'e>>, default: usize| match value {
        Some(Value::Int(at)) => position(*at, size).unwrap_or(0).min(size),
        _ => default,
    };
    let (from, to) = (bound(args.get(1), 0), bound(args.get(2), size));
    if let Value::Str(text) = &args[0] {
        m.budget.step(text.len() as u64 / 16)?;
        return m.string(text.chars().skip(from).take(to.saturating_sub(from)).collect());
    }
    taken(m, &args[0], from, to)
}
