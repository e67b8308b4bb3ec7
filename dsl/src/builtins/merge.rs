//! Objects put together and compared.

use std::collections::HashSet;

use super::objects::{is_object, members};
use super::{Row, Run};
use crate::eval::{Machine, Result, weight};
use crate::value::{ObjectBuilder, Text, Value, equal};

pub(super) const ROWS: &[Row] = &[
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
        name: "patch",
        signature: "(value: any, patch: any) -> any",
        doc: "The value with a JSON Merge Patch (RFC 7396): members of the patch replace, null removes.",
        examples: &[("patch({ a: 1, b: { c: 2, d: 3 } }, { a: null, b: { c: 5 } })", "{\"b\":{\"c\":5,\"d\":3}}")],
        run: Run::Pure(|m, a| patched(m, &a[0], &a[1])),
    },
    Row {
        name: "diff",
        signature: "(before: any, after: any) -> array",
        doc: "What differs: an array of `{ path, op, before, after }`, where `op` is `'add'`, `'remove'` or \
              `'change'`. Arrays are compared as a whole.",
        examples: &[
            ("diff({ a: 1, b: 2 }, { a: 1, b: 3, c: 4 }) |> map(d => d.op + ' ' + d.path)", "[\"change b\",\"add c\"]"),
            ("diff({ a: 1 }, {})", "[{\"path\":\"a\",\"op\":\"remove\",\"before\":1,\"after\":null}]"),
        ],
        run: Run::Pure(|m, a| {
            let mut out = Vec::new();
            differences(m, &a[0], &a[1], "", &mut out)?;
            m.array(out)
        }),
    },
];

fn patched<'e>(m: &mut Machine<'_, 'e>, value: &Value<'e>, patch: &Value<'e>) -> Result<Value<'e>> {
    if !is_object(patch) {
        return Ok(patch.clone());
    }
    let mut object = ObjectBuilder::default();
    for (key, value) in members(m, value)? {
        object.push_new(key, value);
    }
    let mut removed = HashSet::new();
    for (key, new) in members(m, patch)? {
        let old = object.position(&key).and_then(|at| object.value_mut(at).cloned()).unwrap_or_default();
        if matches!(new, Value::Null) {
            removed.insert(key.as_str().to_owned());
        } else {
            let new = patched(m, &old, &new)?;
            object.insert(key, new);
        }
    }
    if removed.is_empty() {
        return m.object(object);
    }
    let all = object.finish();
    let mut kept = ObjectBuilder::default();
    for (key, value) in members(m, &all)? {
        if !removed.contains(key.as_str()) {
            kept.push_new(key, value);
        }
    }
    m.object(kept)
}

fn differences<'e>(
    m: &mut Machine<'_, 'e>,
    before: &Value<'e>,
    after: &Value<'e>,
    path: &str,
    out: &mut Vec<Value<'e>>,
) -> Result<()> {
    m.budget.step(1)?;
    if !(is_object(before) && is_object(after)) {
        m.budget.step(weight(before))?;
        if !equal(before, after) {
            out.push(difference(m, path, "change", before.clone(), after.clone())?);
        }
        return Ok(());
    }
    let mut old = ObjectBuilder::default();
    let olds = members(m, before)?;
    for (key, value) in &olds {
        old.push_new(key.clone(), value.clone());
    }
    let below = |key: &str| if path.is_empty() { key.to_owned() } else { [path, ".", key].concat() };
    let mut new = HashSet::new();
    let news = members(m, after)?;
    for (key, _) in &news {
        new.insert(key.as_str());
    }
    for (key, value) in &olds {
        if !new.contains(key.as_str()) {
            out.push(difference(m, &below(key), "remove", value.clone(), Value::Null)?);
        }
    }
    for (key, value) in &news {
        match old.position(key).and_then(|at| old.value_mut(at).cloned()) {
            Some(earlier) => differences(m, &earlier, value, &below(key), out)?,
            None => out.push(difference(m, &below(key), "add", Value::Null, value.clone())?),
        }
    }
    Ok(())
}

fn difference<'e>(
    m: &mut Machine<'_, 'e>,
    path: &str,
    op: &'static str,
    before: Value<'e>,
    after: Value<'e>,
) -> Result<Value<'e>> {
    m.budget.make(path.len())?;
    let mut object = ObjectBuilder::with_capacity(4);
    object.push_new(Text::Borrowed("path"), Value::text(path));
    object.push_new(Text::Borrowed("op"), Value::Str(Text::Borrowed(op)));
    object.push_new(Text::Borrowed("before"), before);
    object.push_new(Text::Borrowed("after"), after);
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
