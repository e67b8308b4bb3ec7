//! Objects.

use super::collections::{collected, is_object};
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result, weight};
use crate::fault::Fault;
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
        run: Run::Pure(|m, a| {
            let size = if let Value::Node(node) = &a[0] { node.len() } else { 0 };
            m.budget.step(size as u64 / 16)?;
            Ok(Value::Bool(a[0].get(super::strings::text(a, 1)).is_some()))
        }),
    },
    Row {
        name: "get",
        signature: "(of: any, path: string, default?: any) -> any",
        doc: "What is at a path such as `a.b.0.c`; the default, or null, if anything on the way is missing.",
        examples: &[("get({ a: [{ b: 5 }] }, 'a.0.b')", "5"), ("get({}, 'x.y', 'none')", "\"none\"")],
        run: Run::Pure(|m, a| {
            let mut at = a[0].clone();
            for step in super::strings::text(a, 1).split('.') {
                m.budget.step(1 + at.array_len().unwrap_or(0) as u64 / 16)?;
                at = match step.parse::<usize>() {
                    Ok(index) if at.array_len().is_some() => {
                        at.items().and_then(|mut items| items.nth(index)).unwrap_or_default()
                    }
                    _ => at.get(step).unwrap_or_default(),
                };
            }
            Ok(match at {
                Value::Null => a.get(2).cloned().unwrap_or_default(),
                found => found,
            })
        }),
    },
    Row {
        name: "merge",
        signature: "(...objects: object | null) -> object",
        doc: "One object of the members of all; later ones win. Null counts as empty.",
        examples: &[("merge({ a: 1, b: 1 }, { b: 2 })", "{\"a\":1,\"b\":2}")],
        run: Run::Pure(|m, a| {
            let mut object = ObjectBuilder::default();
            for part in a.iter() {
                for (key, value) in members(m, part)? {
                    object.insert(key, value);
                }
            }
            m.object(object)
        }),
    },
    Row {
        name: "merge_deep",
        signature: "(a: object, b: object) -> object",
        doc: "Like `merge`, and objects under the same key are merged as well.",
        examples: &[("merge_deep({ a: { x: 1 } }, { a: { y: 2 } })", "{\"a\":{\"x\":1,\"y\":2}}")],
        run: Run::Pure(|m, a| merged_deep(m, &a[0], &a[1])),
    },
    Row {
        name: "pick",
        signature: "(object: object, keys: array) -> object",
        doc: "The object with only the given keys, in their order; missing ones are left out.",
        examples: &[("pick({ a: 1, b: 2 }, ['b', 'c'])", "{\"b\":2}")],
        run: Run::Pure(|m, a| {
            let mut object = ObjectBuilder::default();
            for key in collected(m, &a[1])? {
                m.budget.step(1 + a[0].members_len() as u64 / 16)?;
                if let Value::Str(key) = key
                    && let Some(value) = a[0].get(&key)
                {
                    object.insert(key, value);
                }
            }
            m.object(object)
        }),
    },
    Row {
        name: "without",
        signature: "(object: object, keys: array | string) -> object",
        doc: "The object without the given keys. Paths such as `a.b` reach into inner objects.",
        examples: &[
            ("without({ a: 1, b: 2 }, ['a'])", "{\"b\":2}"),
            ("without({ a: { b: 1, c: 2 } }, 'a.b')", "{\"a\":{\"c\":2}}"),
        ],
        run: Run::Pure(|m, a| {
            let paths = paths(m, &a[1])?;
            edited(m, &a[0], &paths.iter().map(String::as_str).collect::<Vec<_>>(), None)
        }),
    },
    Row {
        name: "redact",
        signature: "(value: object | array, paths: array | string, with?: string) -> object | array",
        doc: "The value with what is at the paths replaced by `[redacted]`. A path names keys; `*` stands for every key or \
              element, and arrays are passed through.",
        examples: &[
            (
                "redact({ user: { email: 'a@b.c', id: 1 } }, ['user.email'])",
                "{\"user\":{\"email\":\"[redacted]\",\"id\":1}}",
            ),
            ("redact([{ a: 1 }, { a: 2 }], 'a', '*')", "[{\"a\":\"*\"},{\"a\":\"*\"}]"),
        ],
        run: Run::Pure(|m, a| {
            let paths = paths(m, &a[1])?;
            let with = a.get(2).cloned().unwrap_or(Value::Str(Text::Borrowed("[redacted]")));
            edited(m, &a[0], &paths.iter().map(String::as_str).collect::<Vec<_>>(), Some(&with))
        }),
    },
    Row {
        name: "set",
        signature: "(object: object, path: string, value: any) -> object",
        doc: "A copy of the object with the value at the path `a.b`; what is missing on the way is made.",
        examples: &[("set({ a: 1 }, 'b.c', 2)", "{\"a\":1,\"b\":{\"c\":2}}")],
        run: Run::Pure(|m, a| {
            let path = super::strings::text(a, 1).to_owned();
            let steps: Vec<&str> = path.split('.').collect();
            placed(m, &a[0], &steps, &a[2])
        }),
    },
    Row {
        name: "exists",
        signature: "(value: any) -> bool",
        doc: "Whether the value is not null: `exists(event.data.user.email)`.",
        examples: &[("exists(event.data.x)", "false"), ("exists(0)", "true")],
        run: Run::Pure(|_, a| Ok(Value::Bool(!matches!(a[0], Value::Null)))),
    },
    Row {
        name: "coalesce",
        signature: "(...values: any) -> any",
        doc: "The first value that is not null.",
        examples: &[("coalesce(null, event.subject, 'none')", "\"none\"")],
        run: Run::Pure(|_, a| {
            let first = a.iter_mut().find(|value| !matches!(value, Value::Null));
            Ok(first.map(std::mem::take).unwrap_or_default())
        }),
    },
];

impl Value<'_> {
    fn members_len(&self) -> usize {
        match self {
            Value::Object(object) => object.len(),
            Value::Node(node) => node.len(),
            _ => 0,
        }
    }
}

fn members<'e>(m: &mut Machine<'_, 'e>, value: &Value<'e>) -> Result<Vec<(Text<'e>, Value<'e>)>> {
    m.budget.step(value.members_len() as u64)?;
    m.budget.make(value.members_len() * 2 * size_of::<Value<'_>>())?;
    Ok(value.members().unwrap_or_default())
}

fn paths(m: &mut Machine<'_, '_>, value: &Value<'_>) -> Result<Vec<String>> {
    const MOST: usize = 256;
    if let Some(text) = value.as_str() {
        return Ok(vec![text.to_owned()]);
    }
    m.budget.step(value.array_len().unwrap_or(0) as u64)?;
    let paths: Vec<String> =
        value.items().into_iter().flatten().filter_map(|path| path.as_str().map(str::to_owned)).collect();
    if paths.len() > MOST {
        return Err(Fault::new(codes::BAD_ARGUMENT, format!("at most {MOST} paths are taken, not {}", paths.len())));
    }
    Ok(paths)
}

/// A copy without (or with a replacement for) what is at the paths.
fn edited<'e>(
    m: &mut Machine<'_, 'e>,
    value: &Value<'e>,
    paths: &[&str],
    with: Option<&Value<'e>>,
) -> Result<Value<'e>> {
    if paths.is_empty() {
        return Ok(value.clone());
    }
    m.budget.step(1 + paths.len() as u64)?;
    if value.array_len().is_some() {
        // `*` may stand for the elements, or be left out.
        let below: Vec<&str> = paths.iter().map(|path| path.strip_prefix("*.").unwrap_or(path)).collect();
        let items = collected(m, value)?;
        let items = items.iter().map(|item| edited(m, item, &below, with)).collect::<Result<Vec<_>>>()?;
        return m.array(items);
    }
    if !is_object(value) {
        return Ok(value.clone());
    }
    let mut object = ObjectBuilder::default();
    for (key, member) in members(m, value)? {
        m.budget.step(paths.len() as u64)?;
        let mut hit = false;
        let mut below = Vec::new();
        for path in paths {
            let (head, rest) = path.split_once('.').map_or((*path, None), |(head, rest)| (head, Some(rest)));
            if head == "*" || head == key.as_str() {
                match rest {
                    Some(rest) => below.push(rest),
                    None => hit = true,
                }
            }
        }
        match (hit, with) {
            (true, None) => {}
            (true, Some(with)) => object.push_new(key, with.clone()),
            (false, _) => {
                let member = edited(m, &member, &below, with)?;
                object.push_new(key, member);
            }
        }
    }
    m.object(object)
}

fn placed<'e>(m: &mut Machine<'_, 'e>, value: &Value<'e>, steps: &[&str], new: &Value<'e>) -> Result<Value<'e>> {
    let Some((first, rest)) = steps.split_first() else { return Ok(new.clone()) };
    if steps.len() > 64 {
        return Err(Fault::new(codes::VALUE_DEPTH, "a path has at most 64 steps"));
    }
    let mut object = ObjectBuilder::default();
    for (key, member) in members(m, value)? {
        object.push_new(key, member);
    }
    let inner = value.get(first).filter(is_object).unwrap_or_default();
    let inner = placed(m, &inner, rest, new)?;
    object.insert(Text::Shared((*first).into()), inner);
    m.object(object)
}

fn merged_deep<'e>(m: &mut Machine<'_, 'e>, a: &Value<'e>, b: &Value<'e>) -> Result<Value<'e>> {
    m.budget.step(1 + weight(b) / 16)?;
    let mut object = ObjectBuilder::default();
    for (key, value) in members(m, a)? {
        object.push_new(key, value);
    }
    for (key, value) in members(m, b)? {
        let old = object.position(&key).and_then(|at| object.value_mut(at).cloned());
        match old {
            Some(old) if is_object(&old) && is_object(&value) => {
                let merged = merged_deep(m, &old, &value)?;
                object.insert(key, merged);
            }
            _ => object.insert(key, value),
        }
    }
    m.object(object)
}
