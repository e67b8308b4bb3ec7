//! Functions that call a function for each element.

use std::cmp::Ordering;

use super::collections::{collected, extreme, sorted, total, unique};
use super::strings::text;
use super::{Row, Run};
use crate::code::Lambda;
use crate::codes;
use crate::eval::{Machine, Result, truth_of, weight};
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "map",
        signature: "(items: array, each: fn(x)) -> array",
        doc: "What the function gives for each element.",
        examples: &[("map([1, 2], x => x * 10)", "[10,20]"), ("['a'] |> map(upper)", "[\"A\"]")],
        run: Run::Lambda(|m, a, f| {
            let mut out = Vec::with_capacity(a[0].array_len().unwrap_or(0).min(1024));
            for item in a[0].items().into_iter().flatten() {
                out.push(m.call1(f, item)?);
            }
            m.array(out)
        }),
    },
    Row {
        name: "flat_map",
        signature: "(items: array, each: fn(x)) -> array",
        doc: "The elements of all arrays that the function gives.",
        examples: &[("flat_map([1, 2], x => [x, x])", "[1,1,2,2]")],
        run: Run::Lambda(|m, a, f| {
            let mut out = Vec::new();
            for item in a[0].items().into_iter().flatten() {
                let inner = m.call1(f, item)?;
                m.budget.step(inner.array_len().unwrap_or(0) as u64)?;
                m.budget.make(inner.array_len().unwrap_or(0) * size_of::<Value<'_>>())?;
                match inner.items() {
                    Some(items) => out.extend(items),
                    None => out.push(inner),
                }
            }
            m.array(out)
        }),
    },
    Row {
        name: "filter",
        signature: "(items: array, keep: fn(x)) -> array",
        doc: "The elements for which the function is true.",
        examples: &[("filter([1, 2, 3], x => x > 1)", "[2,3]")],
        run: Run::Lambda(|m, a, f| {
            let mut out = Vec::new();
            for item in a[0].items().into_iter().flatten() {
                if m.test1(f, item.clone())? {
                    out.push(item);
                }
            }
            m.array(out)
        }),
    },
    Row {
        name: "fold",
        signature: "(items: array, start: any, each: fn(total, x)) -> any",
        doc: "Carries a total through the elements: the function gets the total so far and the element, and gives the \
              next total.",
        examples: &[("fold([1, 2, 3], 0, (total, x) => total + x)", "6")],
        run: Run::Lambda(|m, a, f| {
            let mut total = std::mem::take(&mut a[1]);
            for item in a[0].items().into_iter().flatten() {
                total = m.call2(f, total, item)?;
            }
            Ok(total)
        }),
    },
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
        name: "sum",
        signature: "(items: array, each?: fn(x)) -> number | duration",
        doc: "The sum of numbers or durations; 0 of nothing.",
        examples: &[("sum([1, 2.5])", "3.5"), ("sum([{ n: 1 }, { n: 2 }], x => x.n)", "3")],
        run: Run::Either(
            |m, a| total(m, a[0].items().into_iter().flatten()),
            |m, a, f| {
                let keys = keyed(m, &a[0], f)?;
                total(m, keys.into_iter().map(|(key, _)| key))
            },
        ),
    },
    Row {
        name: "avg",
        signature: "(items: array, each?: fn(x)) -> number | null",
        doc: "The average of numbers, rounded half to even to 10 digits after the point; null of nothing.",
        examples: &[("avg([1, 2])", "1.5"), ("avg([])", "null"), ("avg([1, 1, 2])", "1.3333333333")],
        run: Run::Either(
            |m, a| {
                let items = collected(m, &a[0])?;
                average(m, items)
            },
            |m, a, f| {
                let keys = keyed(m, &a[0], f)?;
                average(m, keys.into_iter().map(|(key, _)| key).collect())
            },
        ),
    },
    Row {
        name: "min",
        signature: "(items: array, by?: fn(x)) -> any",
        doc: "The smallest element, or the one for which the function gives the least; null of nothing.",
        examples: &[
            ("min([3, 1.5, 2])", "1.5"),
            ("min([{ n: 2 }, { n: 1 }], x => x.n)", "{\"n\":1}"),
            ("min([])", "null"),
        ],
        run: Run::Either(
            |m, a| extreme(m, a[0].items().into_iter().flatten().map(|item| Ok((item.clone(), item))), Ordering::Less),
            |m, a, f| {
                let keys = keyed(m, &a[0], f)?;
                extreme(m, keys.into_iter().map(Ok), Ordering::Less)
            },
        ),
    },
    Row {
        name: "max",
        signature: "(items: array, by?: fn(x)) -> any",
        doc: "The greatest element, or the one for which the function gives the most; null of nothing.",
        examples: &[("max(['a', 'c', 'b'])", "\"c\"")],
        run: Run::Either(
            |m, a| {
                extreme(m, a[0].items().into_iter().flatten().map(|item| Ok((item.clone(), item))), Ordering::Greater)
            },
            |m, a, f| {
                let keys = keyed(m, &a[0], f)?;
                extreme(m, keys.into_iter().map(Ok), Ordering::Greater)
            },
        ),
    },
    Row {
        name: "sort",
        signature: "(items: array, order?: string) -> array",
        doc: "The elements in ascending order (`'asc'`) or descending (`'desc'`); all must be of one type.",
        examples: &[("sort([3, 1, 2])", "[1,2,3]"), ("sort(['b', 'a'], 'desc')", "[\"b\",\"a\"]")],
        run: Run::Pure(|m, a| {
            let descending = direction(a, 1)?;
            let items = collected(m, &a[0])?;
            sorted(m, items.into_iter().map(|item| (item.clone(), item)).collect(), descending)
        }),
    },
    Row {
        name: "sort_by",
        signature: "(items: array, by: fn(x)) -> array",
        doc: "The elements in ascending order of what the function gives; equal ones keep their order. `reverse` turns it \
              around.",
        examples: &[("sort_by([{ n: 2 }, { n: 1 }], x => x.n)", "[{\"n\":1},{\"n\":2}]")],
        run: Run::Lambda(|m, a, f| {
            let keys = keyed(m, &a[0], f)?;
            sorted(m, keys, false)
        }),
    },
    Row {
        name: "unique",
        signature: "(items: array, by?: fn(x)) -> array",
        doc: "The elements without repetitions, or one for each of what the function gives; the first stays.",
        examples: &[("unique([1, 2, 1.0])", "[1,2]"), ("unique(['ab', 'ac'], x => slice(x, 0, 1))", "[\"ab\"]")],
        run: Run::Either(
            |m, a| {
                let items = collected(m, &a[0])?;
                unique(m, items, |_, item| Ok(item.clone()))
            },
            |m, a, f| {
                let keys = keyed(m, &a[0], f)?;
                let (keys, items): (Vec<_>, Vec<_>) = keys.into_iter().unzip();
                let mut keys = keys.into_iter();
                unique(m, items, |_, _| Ok(keys.next().unwrap_or_default()))
            },
        ),
    },
    Row {
        name: "group_by",
        signature: "(items: array, by: fn(x)) -> object",
        doc: "An object with an array of elements for each of what the function gives, which is written as text.",
        examples: &[("group_by([1, 2, 3], x => if x > 1 { 'big' } else { 'small' })", "{\"small\":[1],\"big\":[2,3]}")],
        run: Run::Lambda(group_by),
    },
    Row {
        name: "index_by",
        signature: "(items: array, by: fn(x)) -> object",
        doc: "An object with the element for each of what the function gives; the last one stays.",
        examples: &[("index_by([{ id: 'a' }], x => x.id)", "{\"a\":{\"id\":\"a\"}}")],
        run: Run::Lambda(|m, a, f| {
            let mut object = ObjectBuilder::default();
            for item in a[0].items().into_iter().flatten() {
                let key = key_text(m, f, &item)?;
                object.insert(key, item);
            }
            m.object(object)
        }),
    },
    Row {
        name: "partition",
        signature: "(items: array, test: fn(x)) -> array",
        doc: "Two arrays: the elements for which the function is true, and the others.",
        examples: &[("partition([1, 2, 3], x => x > 1)", "[[2,3],[1]]")],
        run: Run::Lambda(|m, a, f| {
            let (mut yes, mut no) = (Vec::new(), Vec::new());
            for item in a[0].items().into_iter().flatten() {
                if m.test1(f, item.clone())? { yes.push(item) } else { no.push(item) }
            }
            let (yes, no) = (m.array(yes)?, m.array(no)?);
            m.array(vec![yes, no])
        }),
    },
    Row {
        name: "map_values",
        signature: "(object: object, each: fn(value)) -> object",
        doc: "The object with what the function gives for each value.",
        examples: &[("map_values({ a: 1 }, x => x + 1)", "{\"a\":2}")],
        run: Run::Lambda(|m, a, f| {
            let mut object = ObjectBuilder::default();
            for (key, value) in a[0].members().unwrap_or_default() {
                let value = m.call1(f, value)?;
                object.push_new(key, value);
            }
            m.object(object)
        }),
    },
    Row {
        name: "filter_entries",
        signature: "(object: object, keep: fn(key, value)) -> object",
        doc: "The members for which the function is true.",
        examples: &[("filter_entries({ a: 1, b: 2 }, (k, v) => v > 1)", "{\"b\":2}")],
        run: Run::Lambda(|m, a, f| {
            let mut object = ObjectBuilder::default();
            for (key, value) in a[0].members().unwrap_or_default() {
                let keep = m.call2(f, Value::Str(key.clone()), value.clone())?;
                if truth_of(&keep)? {
                    object.push_new(key, value);
                }
            }
            m.object(object)
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

fn keyed<'p, 'e>(m: &mut Machine<'p, 'e>, items: &Value<'e>, f: &'p Lambda) -> Result<Vec<(Value<'e>, Value<'e>)>> {
    let mut pairs = Vec::new();
    for item in items.items().into_iter().flatten() {
        m.budget.make(2 * size_of::<Value<'_>>())?;
        pairs.push((m.call1(f, item.clone())?, item));
    }
    Ok(pairs)
}

fn average<'e>(m: &mut Machine<'_, 'e>, items: Vec<Value<'e>>) -> Result<Value<'e>> {
    let count = items.len() as i64;
    if count == 0 {
        return Ok(Value::Null);
    }
    let sum = total(m, items.into_iter())?;
    super::numbers::quotient(&sum, &Value::Int(count), 10)
}

fn direction(args: &[Value<'_>], at: usize) -> Result<bool> {
    match args.get(at).map(|_| text(args, at)) {
        None | Some("asc") => Ok(false),
        Some("desc") => Ok(true),
        Some(other) => Err(Fault::new(codes::BAD_ARGUMENT, format!("an order is 'asc' or 'desc', not {other:?}"))),
    }
}

fn key_text<'p, 'e>(m: &mut Machine<'p, 'e>, f: &'p Lambda, item: &Value<'e>) -> Result<Text<'e>> {
    let key = m.call1(f, item.clone())?;
    if let Value::Str(text) = key {
        return Ok(text);
    }
    m.budget.step(weight(&key))?;
    let mut out = String::new();
    match &key {
        Value::Null => out.push_str("null"),
        key => key
            .write_text(&mut out, m.budget.bytes_left())
            .map_err(|large| Fault::new(codes::SIZE, large.to_string()))?,
    }
    m.budget.make(out.len())?;
    Ok(Text::Shared(out.into()))
}

fn group_by<'p, 'e>(m: &mut Machine<'p, 'e>, args: &mut [Value<'e>], f: &'p Lambda) -> Result<Value<'e>> {
    let mut positions = ObjectBuilder::default();
    let mut groups: Vec<(Text<'e>, Vec<Value<'e>>)> = Vec::new();
    for item in args[0].items().into_iter().flatten() {
        let key = key_text(m, f, &item)?;
        m.budget.make(size_of::<Value<'_>>())?;
        match positions.position(&key) {
            Some(at) => groups[at].1.push(item),
            None => {
                positions.push_new(key.clone(), Value::Null);
                groups.push((key, vec![item]));
            }
        }
    }
    let mut object = ObjectBuilder::with_capacity(groups.len());
    for (key, items) in groups {
        let items = m.array(items)?;
        object.push_new(key, items);
    }
    m.object(object)
}
