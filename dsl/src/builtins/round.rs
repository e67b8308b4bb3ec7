//! Rounding.

use rust_decimal::RoundingStrategy;

use super::args::count;
use super::arithmetic::{kept, too_large};
use super::{Row, Run};
use crate::eval::Result;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "abs",
        signature: "(n: number | duration) -> number | duration",
        doc: "The number without its sign.",
        examples: &[("abs(-3)", "3"), ("abs(1.5)", "1.5")],
        run: Run::Pure(|_, a| match &a[0] {
            Value::Int(n) => n.checked_abs().map(Value::Int).ok_or_else(too_large),
            Value::Duration(n) => n.checked_abs().map(Value::Duration).ok_or_else(too_large),
            Value::Dec(n) => Ok(Value::Dec(n.abs())),
            other => Err(kept(other)),
        }),
    },
    Row {
        name: "round",
        signature: "(n: number, digits?: int) -> number",
        doc: "The number rounded to digits after the point (0 if not given), half away from zero, as invoices do.",
        examples: &[("round(2.5)", "3"), ("round(-2.5)", "-3"), ("round(1.005, 2)", "1.01"), ("round(7)", "7")],
        run: Run::Pure(|_, a| rounded(a, RoundingStrategy::MidpointAwayFromZero)),
    },
    Row {
        name: "round_even",
        signature: "(n: number, digits?: int) -> number",
        doc: "The number rounded to digits after the point, half to even, as statistics do.",
        examples: &[("round_even(2.5)", "2"), ("round_even(0.125, 2)", "0.12")],
        run: Run::Pure(|_, a| rounded(a, RoundingStrategy::MidpointNearestEven)),
    },
    Row {
        name: "floor",
        signature: "(n: number, digits?: int) -> number",
        doc: "The number rounded down.",
        examples: &[("floor(1.9)", "1"), ("floor(-1.1)", "-2")],
        run: Run::Pure(|_, a| rounded(a, RoundingStrategy::ToNegativeInfinity)),
    },
    Row {
        name: "ceil",
        signature: "(n: number, digits?: int) -> number",
        doc: "The number rounded up.",
        examples: &[("ceil(1.1)", "2"), ("ceil(-1.9)", "-1")],
        run: Run::Pure(|_, a| rounded(a, RoundingStrategy::ToPositiveInfinity)),
    },
    Row {
        name: "trunc",
        signature: "(n: number, digits?: int) -> number",
        doc: "The number rounded towards zero.",
        examples: &[("trunc(-1.9)", "-1")],
        run: Run::Pure(|_, a| rounded(a, RoundingStrategy::ToZero)),
    },
    Row {
        name: "sign",
        signature: "(n: number | duration) -> int",
        doc: "-1, 0 or 1: the sign of the number.",
        examples: &[("sign(-3.5)", "-1")],
        run: Run::Pure(|_, a| {
            let sign = match &a[0] {
                Value::Int(n) | Value::Duration(n) => n.signum(),
                Value::Dec(n) if n.is_zero() => 0,
                Value::Dec(n) if n.is_sign_negative() => -1,
                Value::Dec(_) => 1,
                other => return Err(kept(other)),
            };
            Ok(Value::Int(sign))
        }),
    },
];

fn rounded<'e>(args: &[Value<'_>], strategy: RoundingStrategy) -> Result<Value<'e>> {
    let digits = count(args, 1, "digits")?.min(28) as u32;
    match &args[0] {
        Value::Int(n) => Ok(Value::Int(*n)),
        Value::Dec(n) => {
            let result = n.round_dp_with_strategy(digits, strategy);
            Ok(if digits == 0 { Value::number(result) } else { Value::Dec(result) })
        }
        other => Err(kept(other)),
    }
}
