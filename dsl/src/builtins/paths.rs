//! What lies deep inside of a value, by paths such as `a.b.0`.

use super::args::{optional_text, text};
use super::collections::collected;
use super::objects::{is_object, members};
use super::{Row, Run};
use crate::codes;
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "get",
        signature: "(of: any, path: string, default?: any) -> any",
        doc: "What is at a path such as `a.b.0.c`; the default, or null, if anything on the way is missing.",
        examples: &[("get({ a: [{ b: 5 }] }, 'a.0.b')", "5"), ("get({}, 'x.y', 'none')", "\"none\"")],
        run: Run::Pure(|m, a| {
            let mut at = a[0].clone();
            for step in text(a, 1).split('.') {
                m.budget.step(1 + at.array_len().unwrap_or(0) as u64 / 16)?;
                at = match step.parse::<usize>() {
                    Ok(index) if at.array_len().is_some() => {
                        at.items().and_then(|mut items| items.nth(index)).unwrap_or_default()
                    }
                    _ => m.member(&at, step)?.unwrap_or_default(),
                };
            }
            Ok(match at {
                Value::Null => a.get(2).cloned().unwrap_or_default(),
                found => found,
            })
        }),
    },
    Row {
        name: "set",
        signature: "(object: object | array, path: string, value: any) -> object | array",
        doc: "A copy of the object with the value at the path `a.b` or `a.0.b`; objects that are missing on the way are made.",
        examples: &[("set({ a: 1 }, 'b.c', 2)", "{\"a\":1,\"b\":{\"c\":2}}")],
        run: Run::Pure(|m, a| {
            let path = text(a, 1).to_owned();
            let steps: Vec<&str> = path.split('.').collect();
            placed(m, &a[0], &steps, &a[2])
        }),
    },
    Row {
        name: "pick",
        signature: "(object: object, keys: array) -> object",
        doc: "The object with only the given keys, in their order; missing ones are left out.",
        examples: &[("pick({ a: 1, b: 2 }, ['b', 'c'])", "{\"b\":2}")],
        run: Run::Pure(|m, a| {
            let mut object = ObjectBuilder::default();
            for key in collected(m, &a[1])? {
                m.budget.step(1)?;
                if let Value::Str(key) = key
                    && let Some(value) = m.member(&a[0], &key)?
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
        name: "paths",
        signature: "(value: any) -> array",
        doc: "The paths of everything in the value that is not an array or object itself, as `get` takes them.",
        examples: &[("paths({ a: { b: 1 }, c: [2] })", "[\"a.b\",\"c.0\"]")],
        run: Run::Pure(|m, a| {
            let mut out = Vec::new();
            leaves(m, &a[0], None, ".", true, &mut out)?;
            m.array(out.into_iter().map(|(path, _)| Value::string(path)).collect())
        }),
    },
    Row {
        name: "flatten_keys",
        signature: "(object: object, separator?: string) -> object",
        doc: "One level of keys for all levels, joined with the separator (`.` if not given). Arrays stay.",
        examples: &[("flatten_keys({ a: { b: 1, c: [2] } })", "{\"a.b\":1,\"a.c\":[2]}")],
        run: Run::Pure(|m, a| {
            let mut out = Vec::new();
            leaves(m, &a[0], None, optional_text(a, 1).unwrap_or("."), false, &mut out)?;
            let mut object = ObjectBuilder::with_capacity(out.len());
            for (key, value) in out {
                object.insert(Text::Shared(key.into()), value);
            }
            m.object(object)
        }),
    },
    Row {
        name: "unflatten_keys",
        signature: "(object: object, separator?: string) -> object",
        doc: "The opposite of `flatten_keys`: an object within the object for each part of a key.",
        examples: &[("unflatten_keys({ 'a.b': 1, 'a.c': 2 })", "{\"a\":{\"b\":1,\"c\":2}}")],
        run: Run::Pure(|m, a| {
            let separator = optional_text(a, 1).unwrap_or(".").to_owned();
            if separator.is_empty() {
                return Err(Fault::new(codes::BAD_ARGUMENT, "`separator` of `unflatten_keys` must not be empty"));
            }
            let all = members(m, &a[0])?;
            nested(m, all.iter().map(|(key, value)| (key.as_str(), value.clone())).collect(), &separator, 0)
        }),
    },
];

/// What is no object (and no array, if those are walked as well), with its path.
fn leaves<'e>(
    m: &mut Machine<'_, 'e>,
    value: &Value<'e>,
    path: Option<&str>,
    separator: &str,
    arrays: bool,
    out: &mut Vec<(String, Value<'e>)>,
) -> Result<()> {
    let below = |key: &str| path.map_or_else(|| key.to_owned(), |path| [path, separator, key].concat());
    let items = if arrays { value.array_len() } else { None };
    if let Some(size) = items.filter(|size| *size > 0) {
        m.budget.step(size as u64)?;
        for (at, item) in value.items().into_iter().flatten().enumerate() {
            leaves(m, &item, Some(&below(&at.to_string())), separator, arrays, out)?;
        }
    } else if is_object(value) && value.members_len() > 0 {
        for (key, member) in members(m, value)? {
            leaves(m, &member, Some(&below(&key)), separator, arrays, out)?;
        }
    } else if let Some(path) = path {
        m.budget.step(1)?;
        m.budget.make(path.len() + 2 * size_of::<Value<'_>>())?;
        out.push((path.to_owned(), value.clone()));
    }
    Ok(())
}

pub(super) fn paths(m: &mut Machine<'_, '_>, value: &Value<'_>) -> Result<Vec<String>> {
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
pub(super) fn edited<'e>(
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
        let mut items = collected(m, value)?;
        for (at, item) in items.iter_mut().enumerate() {
            m.budget.step(paths.len() as u64)?;
            // What is hidden is hidden by its place, too, and where an element is no object that has members for `*`.
            let here: Vec<&str> = if with.is_some() { placed_at(paths, at) } else { Vec::new() };
            let plain = item.array_len().is_none() && !is_object(item);
            if let Some(with) = with
                && (here.contains(&"") || plain && below.contains(&"*"))
            {
                *item = with.clone();
                continue;
            }
            let below: Vec<&str> = below.iter().copied().chain(here).collect();
            *item = edited(m, item, &below, with)?;
        }
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

/// What is left of the paths that begin with this place of an array; nothing of one that ends there.
fn placed_at<'p>(paths: &[&'p str], at: usize) -> Vec<&'p str> {
    let place = at.to_string();
    let heads = paths.iter().map(|path| path.split_once('.').unwrap_or((path, "")));
    heads.filter(|(head, _)| *head == place).map(|(_, rest)| rest).collect()
}

fn placed<'e>(m: &mut Machine<'_, 'e>, value: &Value<'e>, steps: &[&str], new: &Value<'e>) -> Result<Value<'e>> {
    let Some((first, rest)) = steps.split_first() else { return Ok(new.clone()) };
    if steps.len() > 64 {
        return Err(Fault::new(codes::VALUE_DEPTH, "a path has at most 64 steps"));
    }
    if let Some(size) = value.array_len() {
        let at = first.parse::<usize>().ok().filter(|at| *at < size);
        let Some(at) = at else {
            let why = format!("an array on the way of the path has {size} elements, and there is no {first}");
            return Err(Fault::new(codes::BAD_ARGUMENT, why));
        };
        let mut items = collected(m, value)?;
        items[at] = placed(m, &items[at], rest, new)?;
        return m.array(items);
    }
    let mut object = ObjectBuilder::default();
    for (key, member) in members(m, value)? {
        object.push_new(key, member);
    }
    let inner = value.get(first).filter(|inner| is_object(inner) || inner.array_len().is_some()).unwrap_or_default();
    let inner = placed(m, &inner, rest, new)?;
    object.insert(Text::Shared((*first).into()), inner);
    m.object(object)
}

/// A key and its value.
type Entry<'k, 'e> = (&'k str, Value<'e>);

/// Objects within objects for the parts of keys; of two values at one place, the later one stays.
fn nested<'e>(
    m: &mut Machine<'_, 'e>,
    entries: Vec<Entry<'_, 'e>>,
    separator: &str,
    level: usize,
) -> Result<Value<'e>> {
    if level > 64 {
        return Err(Fault::new(codes::VALUE_DEPTH, "a key has at most 64 parts"));
    }
    m.budget.step(entries.len() as u64)?;
    m.budget.make(entries.len() * 2 * size_of::<Value<'_>>())?;
    let mut positions = ObjectBuilder::default();
    let mut groups: Vec<(&str, Value<'e>, Vec<Entry<'_, 'e>>)> = Vec::new();
    for (key, value) in entries {
        let (first, rest) = key.split_once(separator).map_or((key, None), |(first, rest)| (first, Some(rest)));
        let at = positions.position(first).unwrap_or_else(|| {
            positions.push_new(Text::Shared(first.into()), Value::Null);
            groups.push((first, Value::Null, Vec::new()));
            groups.len() - 1
        });
        let (_, own, below) = &mut groups[at];
        match rest {
            Some(rest) => below.push((rest, value)),
            None => {
                *own = value;
                below.clear();
            }
        }
    }
    let mut object = ObjectBuilder::with_capacity(groups.len());
    for (key, own, below) in groups {
        let value = if below.is_empty() { own } else { nested(m, below, separator, level + 1)? };
        object.push_new(Text::Shared(key.into()), value);
    }
    m.object(object)
}
