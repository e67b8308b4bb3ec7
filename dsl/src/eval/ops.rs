//! Operators over values.

use std::cmp::Ordering;

use rust_decimal::Decimal;

use crate::budget::Budget;
use crate::code::{Arith, Compare};
use crate::codes;
use crate::eval::{Result, null_hint};
use crate::fault::Fault;
use crate::number::{self, Failure};
use crate::value::{Incomparable, Value, compare, equal};

impl Arith {
    fn symbol(self) -> &'static str {
        match self {
            Self::Add => "+",
            Self::Subtract => "-",
            Self::Multiply => "*",
            Self::Divide => "/",
            Self::Remainder => "%",
        }
    }
}

/// Whether a comparison holds.
#[inline]
pub(super) fn holds(budget: &mut Budget, op: Compare, left: &Value<'_>, right: &Value<'_>) -> Result<bool> {
    match op {
        Compare::Equal | Compare::NotEqual => {
            // Containers cost what there is to compare.
            if let (Value::Node(_) | Value::Array(_) | Value::Object(_), _) = (left, right) {
                budget.step(weight(left))?;
            }
            Ok(equal(left, right) == (op == Compare::Equal))
        }
        _ => {
            let order = order(left, right)?;
            Ok(match op {
                Compare::Less => order == Ordering::Less,
                Compare::LessEqual => order != Ordering::Greater,
                Compare::Greater => order == Ordering::Greater,
                _ => order != Ordering::Less,
            })
        }
    }
}

/// About how many elements a walk over the value visits.
pub(crate) fn weight(value: &Value<'_>) -> u64 {
    value.measure().weight
}

/// The order of two values.
pub(crate) fn order(left: &Value<'_>, right: &Value<'_>) -> Result<Ordering> {
    compare(left, right).map_err(|why| unordered(left, right, &why))
}

#[cold]
fn unordered(left: &Value<'_>, right: &Value<'_>, why: &Incomparable) -> Fault {
    match why {
        Incomparable::Unreadable => kept(if matches!(left, Value::Number(_)) { left } else { right }),
        Incomparable::Types => {
            let hint = if matches!(left, Value::Null) { null_hint(left) } else { null_hint(right) };
            Fault::new(codes::WRONG_TYPE, format!("{} and {} have no order{hint}", shown(left), shown(right)))
        }
    }
}

#[cold]
fn kept(value: &Value<'_>) -> Fault {
    Fault::new(
        codes::KEPT_NUMBER,
        format!("the number {} is kept as text: 28 digits do not hold it exactly", value.preview()),
    )
}

/// "string "x"", "null"
fn shown(value: &Value<'_>) -> String {
    match value {
        Value::Null => "null".to_owned(),
        other => format!("{} {}", other.type_name(), other.preview()),
    }
}

pub(super) fn negate<'e>(value: &Value<'_>) -> Result<Value<'e>> {
    match value {
        Value::Int(int) => int.checked_neg().map(Value::Int).ok_or_else(|| overflow(&format!("-({int})"))),
        Value::Dec(dec) => Ok(Value::Dec(-*dec)),
        Value::Duration(us) => us.checked_neg().map(Value::Duration).ok_or_else(|| overflow("-")),
        Value::Number(_) => Err(kept(value)),
        other => {
            Err(Fault::new(codes::WRONG_TYPE, format!("`-` negates a number or a duration, not {}", shown(other))))
        }
    }
}

#[cold]
fn overflow(operation: &str) -> Fault {
    Fault::new(codes::OVERFLOW, format!("{operation} does not fit: integers have 64 bits and decimals 28 digits"))
}

/// An arithmetic operation, exactly or not at all.
pub(crate) fn arith<'e>(budget: &mut Budget, op: Arith, left: &Value<'e>, right: &Value<'e>) -> Result<Value<'e>> {
    match (left, right) {
        (Value::Int(a), Value::Int(b)) => integers(op, *a, *b),
        (Value::Dec(a), Value::Dec(b)) => decimals(op, *a, *b, left, right),
        (Value::Int(a), Value::Dec(b)) => decimals(op, Decimal::from(*a), *b, left, right),
        (Value::Dec(a), Value::Int(b)) => decimals(op, *a, Decimal::from(*b), left, right),
        (Value::Str(a), Value::Str(b)) if op == Arith::Add => {
            budget.make(a.len() + b.len())?;
            Ok(Value::string([a.as_str(), b.as_str()].concat()))
        }
        (Value::Timestamp(_) | Value::Duration(_), _) | (_, Value::Duration(_)) => times(op, left, right),
        (Value::Number(_), Value::Int(_) | Value::Dec(_) | Value::Number(_)) => Err(kept(left)),
        (Value::Int(_) | Value::Dec(_), Value::Number(_)) => Err(kept(right)),
        _ => {
            if op == Arith::Add
                && let (Some(a), Some(b)) = (left.items(), right.items())
            {
                let size = left.array_len().unwrap_or(0) + right.array_len().unwrap_or(0);
                budget.step(size as u64)?;
                budget.make(size * size_of::<Value<'_>>())?;
                return Ok(Value::array(a.chain(b).collect()));
            }
            Err(wrong(op, left, right))
        }
    }
}

#[cold]
fn wrong(op: Arith, left: &Value<'_>, right: &Value<'_>) -> Fault {
    let hint = match (op, left, right) {
        (_, Value::Null, _) | (_, _, Value::Null) => " (give a default with `??`)",
        (Arith::Add, Value::Str(_), _) | (Arith::Add, _, Value::Str(_)) => " (join text by interpolation: \"${x}\")",
        _ => "",
    };
    Fault::new(
        codes::WRONG_TYPE,
        format!("`{}` does not work on {} and {}{hint}", op.symbol(), shown(left), shown(right)),
    )
}

fn integers<'e>(op: Arith, a: i64, b: i64) -> Result<Value<'e>> {
    let result = match op {
        Arith::Add => a.checked_add(b),
        Arith::Subtract => a.checked_sub(b),
        Arith::Multiply => a.checked_mul(b),
        Arith::Divide => {
            if b != 0 && a.checked_rem(b) == Some(0) {
                a.checked_div(b)
            } else {
                return decimals(op, Decimal::from(a), Decimal::from(b), &Value::Int(a), &Value::Int(b));
            }
        }
        Arith::Remainder if b == 0 => return Err(zero(op, &Value::Int(a))),
        // The remainder by -1 is 0, which the processor's instruction does not know for the smallest integer.
        Arith::Remainder => Some(a.checked_rem(b).unwrap_or(0)),
    };
    result.map(Value::Int).ok_or_else(|| overflow(&format!("{a} {} {b}", op.symbol())))
}

#[cold]
fn zero(op: Arith, left: &Value<'_>) -> Fault {
    Fault::new(codes::DIVISION_BY_ZERO, format!("{} {} 0 divides by zero", left.preview(), op.symbol()))
}

fn decimals<'e>(op: Arith, a: Decimal, b: Decimal, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'e>> {
    let result = match op {
        Arith::Add => number::add(a, b),
        Arith::Subtract => number::subtract(a, b),
        Arith::Multiply => number::multiply(a, b),
        Arith::Divide => number::divide(a, b),
        Arith::Remainder => number::remainder(a, b),
    };
    result.map(Value::Dec).map_err(|why| match why {
        Failure::Zero => zero(op, left),
        Failure::Overflow => overflow(&format!("{} {} {}", left.preview(), op.symbol(), right.preview())),
        Failure::Inexact => Fault::new(
            codes::NOT_EXACT,
            format!(
                "{} {} {} has no exact result in 28 digits{}",
                left.preview(),
                op.symbol(),
                right.preview(),
                if op == Arith::Divide { "; say how to round: `div(a, b)` or `ratio(a, b, digits)`" } else { "" }
            ),
        ),
    })
}

/// Timestamps and durations, in microseconds.
fn times<'e>(op: Arith, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'e>> {
    let out_of_range = || overflow(&format!("{} {} {}", left.preview(), op.symbol(), right.preview()));
    match (op, left, right) {
        (Arith::Add, Value::Timestamp(time), Value::Duration(by))
        | (Arith::Add, Value::Duration(by), Value::Timestamp(time)) => {
            time.checked_add(*by).and_then(timestamp).ok_or_else(out_of_range)
        }
        (Arith::Subtract, Value::Timestamp(time), Value::Duration(by)) => {
            time.checked_sub(*by).and_then(timestamp).ok_or_else(out_of_range)
        }
        (Arith::Subtract, Value::Timestamp(a), Value::Timestamp(b)) => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(out_of_range)
        }
        (Arith::Add, Value::Duration(a), Value::Duration(b)) => {
            a.checked_add(*b).map(Value::Duration).ok_or_else(out_of_range)
        }
        (Arith::Subtract, Value::Duration(a), Value::Duration(b)) => {
            a.checked_sub(*b).map(Value::Duration).ok_or_else(out_of_range)
        }
        (Arith::Multiply, Value::Duration(a), Value::Int(b)) | (Arith::Multiply, Value::Int(b), Value::Duration(a)) => {
            a.checked_mul(*b).map(Value::Duration).ok_or_else(out_of_range)
        }
        (Arith::Divide | Arith::Remainder, Value::Duration(a), Value::Duration(b)) => match integers(op, *a, *b)? {
            Value::Int(rest) if op == Arith::Remainder => Ok(Value::Duration(rest)),
            other => Ok(other),
        },
        _ => Err(wrong(op, left, right)),
    }
}

/// A timestamp within the years that calendars cover.
pub(crate) fn timestamp<'e>(us: i64) -> Option<Value<'e>> {
    jiff::Timestamp::from_microsecond(us).ok().map(|_| Value::Timestamp(us))
}
