//! One value of all elements.

use rust_decimal::Decimal;

use super::arithmetic::{decimal, quotient};
use super::collections::collected;
use super::sort::sorted;
use super::{Row, Run};
use crate::code::{Arith, Lambda};
use crate::eval::{Machine, Result, arith};
use crate::fault::Fault;
use crate::value::Value;
use crate::{codes, number};

pub(super) const ROWS: &[Row] = &[
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
        name: "scan",
        signature: "(items: array, start: any, each: fn(total, x)) -> array",
        doc: "Like `fold`, and gives every total on the way.",
        examples: &[("scan([1, 2, 3], 0, (total, x) => total + x)", "[1,3,6]")],
        run: Run::Lambda(|m, a, f| {
            let mut total = std::mem::take(&mut a[1]);
            let mut out = Vec::new();
            for item in a[0].items().into_iter().flatten() {
                m.budget.make(size_of::<Value<'_>>())?;
                total = m.call2(f, total, item)?;
                out.push(total.clone());
            }
            m.array(out)
        }),
    },
    Row {
        name: "median",
        signature: "(items: array) -> any",
        doc: "The middle one of the sorted elements, the average of the two middle numbers if there are two; null of \
              nothing.",
        examples: &[("median([5, 1, 3])", "3"), ("median([1, 2, 3, 4])", "2.5")],
        run: Run::Pure(|m, a| {
            let items = in_order(m, &a[0])?;
            let half = items.len() / 2;
            match items.len() {
                0 => Ok(Value::Null),
                odd if odd % 2 == 1 => Ok(items[half].clone()),
                _ => average(m, items[half - 1..=half].to_vec()),
            }
        }),
    },
    Row {
        name: "percentile",
        signature: "(items: array, percent: number) -> any",
        doc: "The element that `percent` of all are not greater than (nearest rank); null of nothing.",
        examples: &[("percentile([15, 20, 35, 40, 50], 40)", "20"), ("percentile([1, 2, 3], 99.9)", "3")],
        run: Run::Pure(|m, a| {
            let percent = decimal(&a[1])?;
            if percent.is_sign_negative() || percent > Decimal::ONE_HUNDRED {
                return Err(Fault::new(codes::BAD_ARGUMENT, format!("`percent` is 0 to 100, not {percent}")));
            }
            let items = in_order(m, &a[0])?;
            let rank = (percent * Decimal::from(items.len() as u64) / Decimal::ONE_HUNDRED).ceil();
            let rank = number::whole(rank).and_then(|rank| usize::try_from(rank).ok()).unwrap_or(0);
            Ok(items.get(rank.saturating_sub(1)).cloned().unwrap_or_default())
        }),
    },
];

fn in_order<'e>(m: &mut Machine<'_, 'e>, items: &Value<'e>) -> Result<Vec<Value<'e>>> {
    let items = collected(m, items)?;
    let sorted = sorted(m, items.into_iter().map(|item| (item.clone(), item)).collect(), false)?;
    collected(m, &sorted)
}

/// The sum of numbers or durations; 0 of nothing.
pub(super) fn total<'e>(m: &mut Machine<'_, 'e>, items: impl Iterator<Item = Value<'e>>) -> Result<Value<'e>> {
    let mut sum: Option<Value<'e>> = None;
    for item in items {
        m.budget.step(1)?;
        if matches!(item, Value::Str(_) | Value::Array(_) | Value::Node(_)) {
            let why = format!("numbers or durations are added, not {} {}", item.type_name(), item.preview());
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

fn average<'e>(m: &mut Machine<'_, 'e>, items: Vec<Value<'e>>) -> Result<Value<'e>> {
    let count = items.len() as i64;
    if count == 0 {
        return Ok(Value::Null);
    }
    let sum = total(m, items.into_iter())?;
    quotient(&sum, &Value::Int(count), 10)
}

pub(super) fn keyed<'p, 'e>(
    m: &mut Machine<'p, 'e>,
    items: &Value<'e>,
    f: &'p Lambda,
) -> Result<Vec<(Value<'e>, Value<'e>)>> {
    let mut pairs = Vec::new();
    for item in items.items().into_iter().flatten() {
        m.budget.make(2 * size_of::<Value<'_>>())?;
        pairs.push((m.call1(f, item.clone())?, item));
    }
    Ok(pairs)
}
