//! Arithmetic beyond the operators.

use rust_decimal::Decimal;

use super::args::count;
use super::{Row, Run};
use crate::code::Arith;
use crate::eval::{Result, arith, order};
use crate::fault::Fault;
use crate::value::Value;
use crate::{codes, number};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "div",
        signature: "(a: number, b: number) -> int",
        doc: "The whole part of a quotient; `a - div(a, b) * b` is `a % b`.",
        examples: &[("div(7, 2)", "3"), ("div(-7, 2)", "-3")],
        run: Run::Pure(|_, a| {
            let (x, y) = (decimal(&a[0])?, decimal(&a[1])?);
            if y.is_zero() {
                return Err(by_zero());
            }
            if let (Value::Int(x), Value::Int(y)) = (&a[0], &a[1]) {
                return x.checked_div(*y).map(Value::Int).ok_or_else(too_large);
            }
            let rest = number::remainder(x, y).map_err(|_| too_large())?;
            let whole =
                number::subtract(x, rest).and_then(|whole| number::divide(whole, y)).map_err(|_| too_large())?;
            number::whole(whole).map(Value::Int).ok_or_else(too_large)
        }),
    },
    Row {
        name: "mod",
        signature: "(a: number, b: number) -> number",
        doc: "The remainder with the sign of `b`, as clocks and calendars need it; `%` gives the sign of `a`.",
        examples: &[("mod(-1, 7)", "6"), ("-1 % 7", "-1")],
        run: Run::Pure(|m, a| {
            let rest = arith(m.budget, Arith::Remainder, &a[0], &a[1])?;
            let (sign, other) = (decimal(&rest)?, decimal(&a[1])?);
            if !sign.is_zero() && sign.is_sign_negative() != other.is_sign_negative() {
                return arith(m.budget, Arith::Add, &rest, &a[1]);
            }
            Ok(rest)
        }),
    },
    Row {
        name: "ratio",
        signature: "(a: number, b: number, digits: int) -> number",
        doc: "The quotient rounded half to even to digits after the point (at most 20).",
        examples: &[("ratio(10, 3, 2)", "3.33"), ("ratio(1, 8, 2)", "0.12")],
        run: Run::Pure(|_, a| {
            let digits = count(a, 2, "digits")?;
            quotient(&a[0], &a[1], digits as u32)
        }),
    },
    Row {
        name: "clamp",
        signature: "(n: number, low: number, high: number) -> number",
        doc: "The number, or the bound that it lies beyond.",
        examples: &[("clamp(15, 0, 10)", "10")],
        run: Run::Pure(|_, a| {
            let n = decimal(&a[0])?;
            let chosen = if n < decimal(&a[1])? {
                1
            } else if n > decimal(&a[2])? {
                2
            } else {
                0
            };
            Ok(a[chosen].clone())
        }),
    },
    Row {
        name: "pow",
        signature: "(base: number, exponent: int) -> number",
        doc: "The base multiplied by itself; the exponent is 0 to 1000.",
        examples: &[("pow(2, 10)", "1024"), ("pow(1.5, 2)", "2.25")],
        run: Run::Pure(|m, a| {
            let exponent = count(a, 1, "exponent")?;
            if exponent > 1000 {
                return Err(Fault::new(codes::BAD_ARGUMENT, "`exponent` of `pow` is at most 1000"));
            }
            let mut product = Value::Int(1);
            for _ in 0..exponent {
                m.budget.step(1)?;
                product = arith(m.budget, Arith::Multiply, &product, &a[0])?;
            }
            Ok(product)
        }),
    },
    Row {
        name: "percent",
        signature: "(part: number, whole: number, digits?: int) -> number",
        doc: "What percentage of the whole the part is, rounded half to even to digits after the point (2 if not \
              given).",
        examples: &[("percent(1, 3)", "33.33"), ("percent(45, 50, 0)", "90")],
        run: Run::Pure(|m, a| {
            let digits = if a.len() > 2 { count(a, 2, "digits")? } else { 2 };
            let hundredfold = arith(m.budget, Arith::Multiply, &a[0], &Value::Int(100))?;
            quotient(&hundredfold, &a[1], digits.min(21) as u32)
        }),
    },
    Row {
        name: "is_between",
        signature: "(n: number | duration | timestamp | string, low: any, high: any) -> bool",
        doc: "Whether the value is neither less than `low` nor greater than `high`.",
        examples: &[("is_between(5, 1, 5)", "true")],
        run: Run::Pure(|_, a| Ok(Value::Bool(order(&a[0], &a[1])?.is_ge() && order(&a[0], &a[2])?.is_le()))),
    },
];

pub(super) fn decimal(value: &Value<'_>) -> Result<Decimal> {
    match value {
        Value::Int(n) => Ok(Decimal::from(*n)),
        Value::Dec(n) => Ok(*n),
        Value::Number(_) => Err(kept(value)),
        other => {
            let why = format!("a number is needed, not {} {}", other.type_name(), other.preview());
            Err(Fault::new(codes::WRONG_TYPE, why))
        }
    }
}

#[cold]
pub(super) fn kept(value: &Value<'_>) -> Fault {
    Fault::new(
        codes::KEPT_NUMBER,
        format!("the number {} is kept as text: 28 digits do not hold it exactly", value.preview()),
    )
}

#[cold]
pub(super) fn too_large() -> Fault {
    Fault::new(codes::OVERFLOW, "the result does not fit: integers have 64 bits and decimals 28 digits")
}

#[cold]
pub(super) fn by_zero() -> Fault {
    Fault::new(codes::DIVISION_BY_ZERO, "division by zero")
}

/// A quotient rounded half to even. `digits` is at most 20.
pub(super) fn quotient<'e>(a: &Value<'_>, b: &Value<'_>, digits: u32) -> Result<Value<'e>> {
    if digits > 20 {
        return Err(Fault::new(codes::BAD_ARGUMENT, "at most 20 digits after the point"));
    }
    let (x, y) = (decimal(a)?, decimal(b)?);
    if y.is_zero() {
        return Err(by_zero());
    }
    // In integers, digit by digit, so that only the quotient itself must fit. Rounding happens once.
    let shift = i64::from(digits) + i64::from(y.scale()) - i64::from(x.scale());
    let mut under = y.mantissa().unsigned_abs();
    if shift < 0 {
        let factor = u32::try_from(-shift).ok().and_then(|shift| 10u128.checked_pow(shift));
        // What does not fit is so large that less than half a unit is left.
        let Some(scaled) = factor.and_then(|factor| under.checked_mul(factor)) else { return Ok(Value::Int(0)) };
        under = scaled;
    }
    let over = x.mantissa().unsigned_abs();
    let (mut whole, mut rest) = (over / under, over % under);
    for _ in 0..shift {
        whole = whole.checked_mul(10).and_then(|whole| whole.checked_add(rest * 10 / under)).ok_or_else(too_large)?;
        rest = rest * 10 % under;
    }
    if rest > under - rest || (rest == under - rest && whole % 2 != 0) {
        whole += 1;
    }
    let whole = i128::try_from(whole).map_err(|_| too_large())?;
    let mantissa = if x.is_sign_negative() == y.is_sign_negative() { whole } else { -whole };
    let result = number::exact(mantissa, i64::from(digits)).map_err(|_| too_large())?;
    Ok(Value::number(result.normalize()))
}
