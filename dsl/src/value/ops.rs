//! Equality and order. Equality never fails: values of different types are different. Order exists within a type.

use std::cmp::Ordering;

use super::Value;
use crate::json::Kind;
use crate::number::canonical;

/// Two values have no order.
#[derive(Debug)]
pub(crate) enum Incomparable {
    Types,
    /// One is a number that is kept as text.
    Unreadable,
}

/// Whether two values are equal; numbers by value, objects without regard to the order of their members.
pub(crate) fn equal(a: &Value<'_>, b: &Value<'_>) -> bool {
    match (a, b) {
        (Value::Str(a), Value::Str(b)) => a.as_str() == b.as_str(),
        (Value::Int(a), Value::Int(b)) => a == b,
        (Value::Null, Value::Null) | (Value::Drop, Value::Drop) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Dec(a), Value::Dec(b)) => a == b,
        (Value::Int(int), Value::Dec(dec)) | (Value::Dec(dec), Value::Int(int)) => {
            *dec == rust_decimal::Decimal::from(*int)
        }
        (Value::Number(a), Value::Number(b)) => canonical(a) == canonical(b),
        (Value::Timestamp(a), Value::Timestamp(b)) | (Value::Duration(a), Value::Duration(b)) => a == b,
        _ => equal_containers(a, b),
    }
}

fn equal_containers(a: &Value<'_>, b: &Value<'_>) -> bool {
    if let (Some(left), Some(right)) = (a.items(), b.items()) {
        return a.array_len() == b.array_len() && left.zip(right).all(|(a, b)| equal(&a, &b));
    }
    let (Some(left), Some(right)) = (a.members(), b.members()) else { return false };
    if left.len() != right.len() {
        return false;
    }
    // Same order is the common case; otherwise sort both by key, so that large objects do not cost a square.
    if left.iter().zip(&right).all(|((a, _), (b, _))| a.as_str() == b.as_str()) {
        return left.iter().zip(&right).all(|((_, a), (_, b))| equal(a, b));
    }
    let sorted = |mut members: Vec<_>| {
        members.sort_by(|(a, _): &(super::Text<'_>, Value<'_>), (b, _)| a.as_str().cmp(b.as_str()));
        members
    };
    sorted(left).iter().zip(&sorted(right)).all(|((a, x), (b, y))| a.as_str() == b.as_str() && equal(x, y))
}

/// The order of two values of one type: numbers, strings by code point, booleans, timestamps, durations.
pub(crate) fn compare(a: &Value<'_>, b: &Value<'_>) -> Result<Ordering, Incomparable> {
    match (a, b) {
        (Value::Int(a), Value::Int(b)) => Ok(a.cmp(b)),
        (Value::Str(a), Value::Str(b)) => Ok(a.as_str().cmp(b.as_str())),
        (Value::Dec(a), Value::Dec(b)) => Ok(a.cmp(b)),
        (Value::Int(a), Value::Dec(b)) => Ok(rust_decimal::Decimal::from(*a).cmp(b)),
        (Value::Dec(a), Value::Int(b)) => Ok(a.cmp(&rust_decimal::Decimal::from(*b))),
        (Value::Bool(a), Value::Bool(b)) => Ok(a.cmp(b)),
        (Value::Timestamp(a), Value::Timestamp(b)) | (Value::Duration(a), Value::Duration(b)) => Ok(a.cmp(b)),
        (Value::Number(_), Value::Int(_) | Value::Dec(_) | Value::Number(_))
        | (Value::Int(_) | Value::Dec(_), Value::Number(_)) => Err(Incomparable::Unreadable),
        _ => Err(Incomparable::Types),
    }
}

/// A text that is equal for equal values and different for different ones; for `unique` and `group_by`.
pub(crate) fn unique_key(value: &Value<'_>, out: &mut String) {
    match value {
        Value::Null => out.push('n'),
        Value::Drop => out.push('-'),
        Value::Bool(value) => out.push(if *value { 't' } else { 'f' }),
        Value::Int(value) => number(&value.to_string(), out),
        Value::Dec(value) => number(&value.to_string(), out),
        Value::Number(text) => number(text, out),
        Value::Str(text) => string(text, out),
        Value::Timestamp(value) => out.push_str(&format!("T{value};")),
        Value::Duration(value) => out.push_str(&format!("D{value};")),
        Value::Node(node) if node.kind() == Kind::Array => array(value, out),
        Value::Array(_) => array(value, out),
        Value::Node(_) | Value::Object(_) => {
            let mut members = value.members().unwrap_or_default();
            members.sort_by(|(a, _), (b, _)| a.as_str().cmp(b.as_str()));
            out.push('{');
            for (key, value) in &members {
                string(key, out);
                unique_key(value, out);
            }
            out.push('}');
        }
    }
}

fn array(value: &Value<'_>, out: &mut String) {
    out.push('[');
    for item in value.items().into_iter().flatten() {
        unique_key(&item, out);
    }
    out.push(']');
}

fn string(text: &str, out: &mut String) {
    out.push_str(&format!("s{}:", text.len()));
    out.push_str(text);
}

fn number(text: &str, out: &mut String) {
    let (negative, digits, exponent) = canonical(text);
    out.push_str(&format!("#{}{digits}e{exponent};", if negative { "-" } else { "" }));
}
