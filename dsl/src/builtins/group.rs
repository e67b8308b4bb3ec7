//! Elements by what a function gives for them.

use std::collections::{HashMap, HashSet};

use super::collections::collected;
use super::totals::keyed;
use super::{Row, Run};
use crate::code::Lambda;
use crate::codes;
use crate::eval::{Machine, Result, weight};
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value, unique_key};

pub(super) const ROWS: &[Row] = &[
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
        name: "count_by",
        signature: "(items: array, by: fn(x)) -> object",
        doc: "An object with the number of elements for each of what the function gives, which is written as text.",
        examples: &[("count_by(['a', 'b', 'a'], x => x)", "{\"a\":2,\"b\":1}")],
        run: Run::Lambda(|m, a, f| {
            let mut object = ObjectBuilder::default();
            for item in a[0].items().into_iter().flatten() {
                let key = key_text(m, f, &item)?;
                m.budget.step(1)?;
                match object.position(&key).and_then(|at| object.value_mut(at)) {
                    Some(Value::Int(count)) => *count += 1,
                    _ => object.insert(key, Value::Int(1)),
                }
            }
            m.object(object)
        }),
    },
    Row {
        name: "duplicates",
        signature: "(items: array) -> array",
        doc: "The elements that occur more than once, each once.",
        examples: &[("duplicates([1, 2, 1, 3, 1])", "[1]")],
        run: Run::Pure(|m, a| {
            let items = collected(m, &a[0])?;
            let mut seen: HashMap<String, usize> = HashMap::new();
            let mut out = Vec::new();
            for item in items {
                m.budget.step(1 + weight(&item))?;
                let mut key = String::new();
                unique_key(&item, &mut key);
                m.budget.make(key.len())?;
                let times = seen.entry(key).or_default();
                *times += 1;
                if *times == 2 {
                    out.push(item);
                }
            }
            m.array(out)
        }),
    },
];

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
