//! What arrays, objects and strings have in common.

use super::{Row, Run};
use crate::eval::{Machine, Result, weight};
use crate::value::{Value, equal};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "len",
        signature: "(of: string | array | object) -> int",
        doc: "The number of elements, members or characters.",
        examples: &[("len([1, 2])", "2"), ("len('größe')", "5"), ("len({ a: 1 })", "1")],
        run: Run::Pure(len),
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
        name: "index_of",
        signature: "(of: array | string, what: any) -> int | null",
        doc: "The position of the first occurrence (for a string, in characters); null if there is none.",
        examples: &[("index_of(['a', 'b'], 'b')", "1"), ("index_of('hello', 'l')", "2"), ("index_of([1], 2)", "null")],
        run: Run::Pure(index_of),
    },
    Row {
        name: "last_index_of",
        signature: "(of: array | string, what: any) -> int | null",
        doc: "The position of the last occurrence (for a string, in characters); null if there is none.",
        examples: &[("last_index_of(['a', 'b', 'a'], 'a')", "2"), ("last_index_of('a/b/c', '/')", "3")],
        run: Run::Pure(|m, a| {
            if let Value::Str(hay) = &a[0] {
                m.budget.step(hay.len() as u64 / 16)?;
                let at = a[1].as_str().and_then(|part| hay.rfind(part));
                return Ok(at.map_or(Value::Null, |at| Value::Int(hay[..at].chars().count() as i64)));
            }
            let mut found = Value::Null;
            for (at, item) in a[0].items().into_iter().flatten().enumerate() {
                m.budget.step(1 + weight(&item))?;
                if equal(&item, &a[1]) {
                    found = Value::Int(at as i64);
                }
            }
            Ok(found)
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

pub(super) fn len<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
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
