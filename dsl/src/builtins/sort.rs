//! The order of elements.

use std::cmp::Ordering;

use super::args::{count, direction};
use super::collections::collected;
use super::slices::taken;
use super::totals::keyed;
use super::{Row, Run};
use crate::eval::{Machine, Result, order};
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
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
        name: "top",
        signature: "(items: array, count: int, by?: fn(x)) -> array",
        doc: "The greatest elements, or those for which the function gives the most, in descending order.",
        examples: &[("top([3, 9, 5], 2)", "[9,5]"), ("top([{ n: 1 }, { n: 2 }], 1, x => x.n)", "[{\"n\":2}]")],
        run: Run::Either(
            |m, a| {
                let items = collected(m, &a[0])?;
                let many = count(a, 1, "count")?;
                let all = sorted(m, items.into_iter().map(|item| (item.clone(), item)).collect(), true)?;
                taken(m, &all, 0, many)
            },
            |m, a, f| {
                let keys = keyed(m, &a[0], f)?;
                let many = count(a, 1, "count")?;
                let all = sorted(m, keys, true)?;
                taken(m, &all, 0, many)
            },
        ),
    },
];

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
