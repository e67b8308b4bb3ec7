//! A function for each element or member.

use super::objects::members;
use super::{Row, Run};
use crate::codes;
use crate::eval::truth_of;
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Value};

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
    Row {
        name: "rename_keys",
        signature: "(object: object, to: fn(key)) -> object",
        doc: "The object with the key that the function gives for each key; a later member replaces an earlier one of \
              the same key.",
        examples: &[
            ("rename_keys({ userId: 1 }, snake_case)", "{\"user_id\":1}"),
            ("rename_keys({ a: 1, b: 2 }, k => get({ a: 'x' }, k, k))", "{\"x\":1,\"b\":2}"),
        ],
        run: Run::Lambda(|m, a, f| {
            let mut object = ObjectBuilder::default();
            for (key, value) in members(m, &a[0])? {
                match m.call1(f, Value::Str(key))? {
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
    Row {
        name: "map_entries",
        signature: "(object: object, each: fn(key, value)) -> array",
        doc: "What the function gives for each member.",
        examples: &[("map_entries({ a: 1, b: 2 }, (k, v) => \"${k}=${v}\")", "[\"a=1\",\"b=2\"]")],
        run: Run::Lambda(|m, a, f| {
            let mut out = Vec::new();
            for (key, value) in members(m, &a[0])? {
                out.push(m.call2(f, Value::Str(key), value)?);
            }
            m.array(out)
        }),
    },
];
