//! Arrays, and what arrays, objects and strings have in common.

use std::cmp::Ordering;
use std::collections::HashSet;

use super::numbers::count;
use super::strings::text;
use super::{Row, Run};
use crate::code::Arith;
use crate::codes;
use crate::eval::{Machine, Result, arith, order, position, weight};
use crate::fault::Fault;
use crate::json::Kind;
use crate::value::{Value, equal, unique_key};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "len",
        signature: "(of: string | array | object) -> int",
        doc: "The number of elements, members or characters.",
        examples: &[("len([1, 2])", "2"), ("len('größe')", "5"), ("len({ a: 1 })", "1")],
        run: Run::Pure(len),
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
        name: "contains",
        signature: "(of: string | array | object, what: any) -> bool",
        doc: "Whether the string has the part, the array the element, the object the key. The same as `what in of`.",
        examples: &[
            ("contains('abc', 'b')", "true"),
            ("contains([1, 2], 3)", "false"),
            ("contains({ a: 1 }, 'a')", "true"),
        ],
        run: Run::Pure(|m, a| {
            let [hay, needle] = a else { return Ok(Value::Null) };
            m.within(needle, hay).map(Value::Bool)
        }),
    },
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
        name: "index_of",
        signature: "(of: array | string, what: any) -> int | null",
        doc: "The position of the first occurrence (for a string, in characters); null if there is none.",
        examples: &[("index_of(['a', 'b'], 'b')", "1"), ("index_of('hello', 'l')", "2"), ("index_of([1], 2)", "null")],
        run: Run::Pure(index_of),
    },
    Row {
        name: "range",
        signature: "(from: int, to: int, step?: int) -> array",
        doc: "The integers from a start up to before an end; at most 100,000.",
        examples: &[("range(0, 3)", "[0,1,2]"), ("range(10, 0, -4)", "[10,6,2]")],
        run: Run::Pure(range),
    },
    Row {
        name: "reverse",
        signature: "(of: array | string) -> array | string",
        doc: "The elements or characters in the opposite order.",
        examples: &[("reverse([1, 2])", "[2,1]"), ("reverse('ab')", "\"ba\"")],
        run: Run::Pure(|m, a| {
            if let Some(text) = a[0].as_str() {
                m.budget.step(text.len() as u64 / 16)?;
                return m.string(text.chars().rev().collect());
            }
            let mut items = collected(m, &a[0])?;
            items.reverse();
            m.array(items)
        }),
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
                let mut object = crate::value::ObjectBuilder::default();
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
];

/// The elements as a vector; counted as one step each.
pub(super) fn collected<'e>(m: &mut Machine<'_, 'e>, value: &Value<'e>) -> Result<Vec<Value<'e>>> {
    let size = value.array_len().unwrap_or(0);
    m.budget.step(size as u64)?;
    m.budget.make(size * size_of::<Value<'_>>())?;
    Ok(value.items().into_iter().flatten().collect())
}

fn len<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
    let size = match &args[0] {
        Value::Str(text) => {
            m.budget.step(text.len() as u64 / 64)?;
            text.chars().count()
        }
        Value::Array(array) => array.items.len(),
        Value::Object(object) => object.len(),
        Value::Node(node) => node.len(),
        _ => 0,
    };
    Ok(Value::Int(size as i64))
}

fn taken<'e>(m: &mut Machine<'_, 'e>, items: &Value<'e>, from: usize, to: usize) -> Result<Value<'e>> {
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

fn index_of<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
    if let Value::Str(hay) = &args[0] {
        m.budget.step(hay.len() as u64 / 16)?;
        let at = args[1].as_str().and_then(|part| hay.find(part));
        return Ok(at.map_or(Value::Null, |at| Value::Int(hay[..at].chars().count() as i64)));
    }
    for (at, item) in args[0].items().into_iter().flatten().enumerate() {
        m.budget.step(1 + weight(&item))?;
        if equal(&item, &args[1]) {
            return Ok(Value::Int(at as i64));
        }
    }
    Ok(Value::Null)
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

/// The elements without those that are equal to an earlier one, by a key for each.
pub(super) fn unique<'e>(
    m: &mut Machine<'_, 'e>,
    items: Vec<Value<'e>>,
    mut key: impl FnMut(&mut Machine<'_, 'e>, &Value<'e>) -> Result<Value<'e>>,
) -> Result<Value<'e>> {
    let mut seen = HashSet::new();
    let mut out = Vec::new();
    for item in items {
        let by = key(m, &item)?;
        m.budget.step(1 + weight(&by))?;
        let mut text = String::new();
        unique_key(&by, &mut text);
        m.budget.make(text.len())?;
        if seen.insert(text) {
            out.push(item);
        }
    }
    m.array(out)
}

/// Sorts pairs of key and element; keys must have an order.
pub(super) fn sorted<'e>(
    m: &mut Machine<'_, 'e>,
    mut pairs: Vec<(Value<'e>, Value<'e>)>,
    descending: bool,
) -> Result<Value<'e>> {
    let size = pairs.len() as u64;
    m.budget.step(size * u64::from(size.max(2).ilog2()))?;
    // Checked before: a sort cannot stop half-way, and with one type every pair has an order.
    for pair in pairs.windows(2) {
        order(&pair[0].0, &pair[1].0)?;
    }
    if let [(only, _)] = pairs.as_slice() {
        order(only, only)?;
    }
    pairs.sort_by(|(a, _), (b, _)| {
        let order = order(a, b).unwrap_or(Ordering::Equal);
        if descending { order.reverse() } else { order }
    });
    m.array(pairs.into_iter().map(|(_, item)| item).collect())
}

/// The sum of numbers or durations; 0 of nothing.
pub(super) fn total<'e>(m: &mut Machine<'_, 'e>, items: impl Iterator<Item = Value<'e>>) -> Result<Value<'e>> {
    let mut sum: Option<Value<'e>> = None;
    for item in items {
        m.budget.step(1)?;
        if matches!(item, Value::Str(_) | Value::Array(_) | Value::Node(_)) {
            let why = format!("`sum` adds numbers or durations, not {} {}", item.type_name(), item.preview());
            return Err(Fault::new(codes::WRONG_TYPE, why));
        }
        sum = Some(match sum {
            None => arith(m.budget, Arith::Add, &zero_like(&item), &item)?,
            Some(sum) => arith(m.budget, Arith::Add, &sum, &item)?,
        });
    }
    Ok(sum.unwrap_or(Value::Int(0)))
}

fn zero_like<'e>(value: &Value<'_>) -> Value<'e> {
    if matches!(value, Value::Duration(_)) { Value::Duration(0) } else { Value::Int(0) }
}

/// The smallest or greatest element by its key; null of nothing.
pub(super) fn extreme<'e>(
    m: &mut Machine<'_, 'e>,
    pairs: impl Iterator<Item = Result<(Value<'e>, Value<'e>)>>,
    wanted: Ordering,
) -> Result<Value<'e>> {
    let mut best: Option<(Value<'e>, Value<'e>)> = None;
    for pair in pairs {
        m.budget.step(1)?;
        let (key, item) = pair?;
        let better = match &best {
            None => {
                order(&key, &key)?;
                true
            }
            Some((least, _)) => order(&key, least)? == wanted,
        };
        if better {
            best = Some((key, item));
        }
    }
    Ok(best.map(|(_, item)| item).unwrap_or_default())
}

/// Whether a value is an object, wherever it is.
pub(super) fn is_object(value: &Value<'_>) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Node(node) => node.kind() == Kind::Object,
        _ => false,
    }
}

/// A string argument that may be missing.
pub(super) fn optional_text<'a>(args: &'a [Value<'_>], at: usize) -> Option<&'a str> {
    args.get(at).map(|_| text(args, at))
}
