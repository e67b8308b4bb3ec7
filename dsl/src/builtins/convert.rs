//! A value as another type.

use super::args::text;
use super::{Row, Run};
use crate::eval::{Result, weight};
use crate::fault::Fault;
use crate::value::Value;
use crate::{codes, number};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "to_string",
        signature: "(value: any) -> string",
        doc: "The value as interpolation writes it: strings bare, null as nothing, arrays and objects as JSON.",
        examples: &[("to_string(1.50)", "\"1.50\""), ("to_string([1])", "\"[1]\""), ("to_string(90s)", "\"1m30s\"")],
        run: Run::Pure(|m, a| {
            if let Value::Str(_) = &a[0] {
                return Ok(std::mem::take(&mut a[0]));
            }
            m.budget.step(weight(&a[0]))?;
            let mut out = String::new();
            a[0].write_text(&mut out, m.budget.bytes_left())
                .map_err(|large| Fault::new(codes::SIZE, large.to_string()))?;
            m.string(out)
        }),
    },
    Row {
        name: "to_int",
        signature: "(value: string | number | bool | duration | timestamp) -> int!",
        doc: "The value as an integer: a text of digits, a decimal without fraction, true as 1, microseconds of a time. \
              Fails if the value is not a whole number; `round` first.",
        examples: &[("to_int('42')", "42"), ("to_int(3.0)", "3"), ("to_int(true)", "1")],
        run: Run::Pure(|_, a| to_int(&a[0])),
    },
    Row {
        name: "to_decimal",
        signature: "(value: string | number) -> number!",
        doc: "The value as a number: a text such as `1.50`.",
        examples: &[("to_decimal('1.50')", "1.50"), ("to_decimal(2)", "2")],
        run: Run::Pure(|_, a| match &a[0] {
            Value::Str(text) => number::decimal(text.trim())
                .filter(|_| looks_like_number(text.trim()))
                .map(Value::Dec)
                .ok_or_else(|| no_number(&a[0], "a number")),
            Value::Number(_) => Err(no_number(&a[0], "a number of 28 digits")),
            other => Ok(other.clone()),
        }),
    },
    Row {
        name: "to_bool",
        signature: "(value: bool | string | int | null) -> bool!",
        doc: "The value as true or false: `true`, `yes`, `on`, `1` and `false`, `no`, `off`, `0` and nothing, in either \
              case.",
        examples: &[("to_bool('Yes')", "true"), ("to_bool(0)", "false"), ("to_bool(null)", "false")],
        run: Run::Pure(|_, a| {
            let truth = match &a[0] {
                Value::Bool(truth) => Some(*truth),
                Value::Null => Some(false),
                Value::Int(n) => [0, 1].contains(n).then_some(*n == 1),
                _ => match text(a, 0).trim().to_ascii_lowercase().as_str() {
                    "true" | "yes" | "on" | "1" => Some(true),
                    "false" | "no" | "off" | "0" | "" => Some(false),
                    _ => None,
                },
            };
            truth.map(Value::Bool).ok_or_else(|| no_number(&a[0], "true or false"))
        }),
    },
    Row {
        name: "try_int",
        signature: "(value: any) -> int | null",
        doc: "Like `to_int`, and null if the value is not a whole number: `try_int(x) ?? 0`.",
        examples: &[("try_int('x')", "null"), ("try_int('7')", "7")],
        run: Run::Pure(|_, a| Ok(to_int(&a[0]).unwrap_or_default())),
    },
    Row {
        name: "try_decimal",
        signature: "(value: any) -> number | null",
        doc: "Like `to_decimal`, and null if the value is not a number.",
        examples: &[("try_decimal('1,5')", "null"), ("try_decimal('1.5')", "1.5")],
        run: Run::Pure(|_, a| {
            Ok(match &a[0] {
                Value::Str(text) => number::decimal(text.trim())
                    .filter(|_| looks_like_number(text.trim()))
                    .map_or(Value::Null, Value::Dec),
                Value::Int(_) | Value::Dec(_) => a[0].clone(),
                _ => Value::Null,
            })
        }),
    },
    Row {
        name: "to_array",
        signature: "(value: any) -> array",
        doc: "An array as it is, null as an empty one, and anything else as the only element.",
        examples: &[("to_array('a')", "[\"a\"]"), ("to_array(null)", "[]")],
        run: Run::Pure(|m, a| match &a[0] {
            Value::Null => m.array(Vec::new()),
            array if array.array_len().is_some() => Ok(array.clone()),
            other => m.array(vec![other.clone()]),
        }),
    },
];

#[cold]
pub(super) fn no_number(value: &Value<'_>, what: &str) -> Fault {
    Fault::new(codes::BAD_ARGUMENT, format!("{} {} is not {what}", value.type_name(), value.preview()))
}

/// `number::decimal` reads what the grammars of JSON and the language let through; here the text can be anything.
pub(super) fn looks_like_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    digits.starts_with(|c: char| c.is_ascii_digit()) && !digits.ends_with('.') && !digits.contains(".e")
}

fn to_int<'e>(value: &Value<'_>) -> Result<Value<'e>> {
    let int = match value {
        Value::Int(n) => Some(*n),
        Value::Bool(truth) => Some(i64::from(*truth)),
        Value::Dec(n) => number::whole(*n),
        Value::Timestamp(us) | Value::Duration(us) => Some(*us),
        Value::Str(text) => text.trim().parse().ok(),
        _ => None,
    };
    int.map(Value::Int).ok_or_else(|| no_number(value, "a whole number of 64 bits"))
}
