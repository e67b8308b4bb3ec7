//! Keys and values.

use super::args::text;
use super::collections::collected;
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::json::Kind;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "keys",
        signature: "(object: object) -> array",
        doc: "The keys, in order.",
        examples: &[("keys({ b: 1, a: 2 })", "[\"b\",\"a\"]")],
        run: Run::Pure(|m, a| {
            let members = members(m, &a[0])?;
            m.array(members.into_iter().map(|(key, _)| Value::Str(key)).collect())
        }),
    },
    Row {
        name: "values",
        signature: "(object: object) -> array",
        doc: "The values, in order.",
        examples: &[("values({ b: 1, a: 2 })", "[1,2]")],
        run: Run::Pure(|m, a| {
            let members = members(m, &a[0])?;
            m.array(members.into_iter().map(|(_, value)| value).collect())
        }),
    },
    Row {
        name: "entries",
        signature: "(object: object) -> array",
        doc: "An array of `[key, value]` for each member.",
        examples: &[("entries({ a: 1 })", "[[\"a\",1]]")],
        run: Run::Pure(|m, a| {
            let members = members(m, &a[0])?;
            let pairs = members.into_iter().map(|(key, value)| m.array(vec![Value::Str(key), value]));
            let pairs = pairs.collect::<Result<Vec<_>>>()?;
            m.array(pairs)
        }),
    },
    Row {
        name: "from_entries",
        signature: "(entries: array) -> object",
        doc: "The object of `[key, value]` pairs; a later pair replaces an earlier one of the same key.",
        examples: &[("from_entries([['a', 1], ['b', 2]])", "{\"a\":1,\"b\":2}")],
        run: Run::Pure(|m, a| {
            let mut object = ObjectBuilder::default();
            for pair in collected(m, &a[0])? {
                let mut parts = pair.items().into_iter().flatten();
                match (parts.next(), parts.next()) {
                    (Some(Value::Str(key)), Some(value)) => object.insert(key, value),
                    _ => {
                        let why = format!("`from_entries` takes pairs [key, value], not {}", pair.preview());
                        return Err(Fault::new(codes::WRONG_TYPE, why));
                    }
                }
            }
            m.object(object)
        }),
    },
    Row {
        name: "has",
        signature: "(object: object | null, key: string) -> bool",
        doc: "Whether the object has the key, be its value null or not.",
        examples: &[("has({ a: null }, 'a')", "true"), ("has(null, 'a')", "false")],
        run: Run::Pure(|m, a| Ok(Value::Bool(m.member(&a[0], text(a, 1))?.is_some()))),
    },
    Row {
        name: "invert",
        signature: "(object: object) -> object",
        doc: "Keys and values changed over; the values must be strings, and the last one of several stays.",
        examples: &[("invert({ de: 'Germany' })", "{\"Germany\":\"de\"}")],
        run: Run::Pure(|m, a| {
            let mut object = ObjectBuilder::default();
            for (key, value) in members(m, &a[0])? {
                match value {
                    Value::Str(value) => object.insert(value, Value::Str(key)),
                    other => {
                        let why =
                            format!("`invert` takes strings as values, not {} {}", other.type_name(), other.preview());
                        return Err(Fault::new(codes::WRONG_TYPE, why));
                    }
                }
            }
            m.object(object)
        }),
    },
    Row {
        name: "object_of",
        signature: "(keys: array, values: array) -> object",
        doc: "The object of keys and the values at the same positions, as many as the shorter array has.",
        examples: &[("object_of(['a', 'b'], [1, 2])", "{\"a\":1,\"b\":2}")],
        run: Run::Pure(|m, a| {
            let mut object = ObjectBuilder::default();
            let values = collected(m, &a[1])?;
            for (key, value) in collected(m, &a[0])?.into_iter().zip(values) {
                match key {
                    Value::Str(key) => object.insert(key, value),
                    other => {
                        let why = format!("a key is a string, not {} {}", other.type_name(), other.preview());
                        return Err(Fault::new(codes::WRONG_TYPE, why));
                    }
                }
            }
            m.object(object)
        }),
    },
];
impl Value<'_> {
    pub(super) fn members_len(&self) -> usize {
        match self {
            Value::Object(object) => object.len(),
            Value::Node(node) => node.len(),
            _ => 0,
        }
    }
}

pub(super) fn members<'e>(m: &mut Machine<'_, 'e>, value: &Value<'e>) -> Result<Vec<(Text<'e>, Value<'e>)>> {
    m.budget.step(value.members_len() as u64)?;
    m.budget.make(value.members_len() * 2 * size_of::<Value<'_>>())?;
    Ok(value.members().unwrap_or_default())
}

/// Whether a value is an object, wherever it is.
pub(super) fn is_object(value: &Value<'_>) -> bool {
    match value {
        Value::Object(_) => true,
        Value::Node(node) => node.kind() == Kind::Object,
        _ => false,
    }
}
