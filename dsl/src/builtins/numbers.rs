//! Numbers.

use rust_decimal::{Decimal, RoundingStrategy};

use super::{Row, Run};
use crate::code::Arith;
use crate::codes;
use crate::eval::{Machine, Result, arith};
use crate::fault::Fault;
use crate::number;
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
        name: "format_number",
        signature: "(n: number, digits?: int, group?: string, point?: string) -> string",
        doc: "The number as text with digits after the point, groups of thousands and a decimal point of choice.",
        examples: &[("format_number(1234567.891, 2, ',')", "\"1,234,567.89\""), ("format_number(5, 2)", "\"5.00\"")],
        run: Run::Pure(format_number),
    },
    Row {
        name: "random",
        signature: "(low: int, high: int) -> int",
        doc: "A random integer from `low` to before `high`, from the seed of the context: a run that is repeated gives \
              the same.",
        examples: &[("random(5, 6)", "5")],
        run: Run::Context(|m, a| {
            let (Value::Int(low), Value::Int(high)) = (&a[0], &a[1]) else { return Err(kept(&a[0])) };
            let width = i128::from(*high) - i128::from(*low);
            if width <= 0 {
                return Err(Fault::new(
                    codes::BAD_ARGUMENT,
                    format!("there is no integer from {low} to before {high}"),
                ));
            }
            let drawn = (u128::from(draw(m)) * width as u128) >> 64;
            Ok(Value::Int((i128::from(*low) + drawn as i128) as i64))
        }),
    },
];

/// The next number of the seeded sequence (SplitMix64, by Steele, Lea and Flood, 2014).
pub(super) fn draw(m: &mut Machine<'_, '_>) -> u64 {
    m.drawn = m.drawn.wrapping_add(1);
    let mut z = m.input.ctx.random_seed.wrapping_add(m.drawn.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// An integer argument that counts something.
pub(super) fn count(args: &[Value<'_>], at: usize, name: &str) -> Result<usize> {
    match args.get(at) {
        Some(Value::Int(n)) if *n >= 0 => Ok(usize::try_from(*n).unwrap_or(usize::MAX)),
        Some(other) => Err(Fault::new(
            codes::BAD_ARGUMENT,
            format!("`{name}` must be a whole number from 0 on, not {}", other.preview()),
        )),
        None => Ok(0),
    }
}

fn decimal(value: &Value<'_>) -> Result<Decimal> {
    match value {
        Value::Int(n) => Ok(Decimal::from(*n)),
        Value::Dec(n) => Ok(*n),
        other => Err(kept(other)),
    }
}

#[cold]
fn kept(value: &Value<'_>) -> Fault {
    Fault::new(
        codes::KEPT_NUMBER,
        format!("the number {} is kept as text: 28 digits do not hold it exactly", value.preview()),
    )
}

#[cold]
fn too_large() -> Fault {
    Fault::new(codes::OVERFLOW, "the result does not fit: integers have 64 bits and decimals 28 digits")
}

#[cold]
fn by_zero() -> Fault {
    Fault::new(codes::DIVISION_BY_ZERO, "division by zero")
}

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

/// A quotient rounded half to even. `digits` is at most 20.
pub(super) fn quotient<'e>(a: &Value<'_>, b: &Value<'_>, digits: u32) -> Result<Value<'e>> {
    if digits > 20 {
        return Err(Fault::new(codes::BAD_ARGUMENT, "at most 20 digits after the point"));
    }
    let (x, y) = (decimal(a)?, decimal(b)?);
    if y.is_zero() {
        return Err(by_zero());
    }
    // In integers: numerator and denominator scaled so that the quotient is the wanted mantissa. Rounding happens once.
    let shift = i64::from(digits) + i64::from(y.scale()) - i64::from(x.scale());
    let factor = u32::try_from(shift.unsigned_abs()).ok().and_then(|shift| 10i128.checked_pow(shift));
    let scaled = |value: i128, scale: bool| {
        if scale { factor.and_then(|factor| value.checked_mul(factor)) } else { Some(value) }
    };
    let (Some(over), Some(under)) = (scaled(x.mantissa(), shift > 0), scaled(y.mantissa(), shift < 0)) else {
        return Err(too_large());
    };
    let (whole, rest) = (over / under, over % under);
    let twice = rest.unsigned_abs().saturating_mul(2);
    let up = twice > under.unsigned_abs() || (twice == under.unsigned_abs() && whole % 2 != 0);
    let away = if (over < 0) == (under < 0) { 1 } else { -1 };
    let mantissa = if up { whole + away } else { whole };
    let result = Decimal::try_from_i128_with_scale(mantissa, digits).map_err(|_| too_large())?;
    Ok(Value::number(result.normalize()))
}

fn format_number<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
    let number = decimal(&args[0])?;
    let group = super::collections::optional_text(args, 2).unwrap_or_default();
    let point = super::collections::optional_text(args, 3).unwrap_or(".");
    let text = match args.get(1) {
        Some(_) => {
            let digits = count(args, 1, "digits")?.min(28);
            let rounded = number.round_dp_with_strategy(digits as u32, RoundingStrategy::MidpointAwayFromZero);
            format!("{rounded:.digits$}")
        }
        None => number.to_string(),
    };
    let (sign, text) = text.strip_prefix('-').map_or(("", text.as_str()), |text| ("-", text));
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let mut out = String::from(sign);
    for (at, digit) in whole.chars().enumerate() {
        if at > 0 && (whole.len() - at) % 3 == 0 {
            out.push_str(group);
        }
        out.push(digit);
    }
    if !fraction.is_empty() {
        out.push_str(point);
        out.push_str(fraction);
    }
    m.string(out)
}
