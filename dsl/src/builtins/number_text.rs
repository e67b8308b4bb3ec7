//! Numbers as people and files write them.

use rust_decimal::{Decimal, RoundingStrategy};

use super::args::{count, optional_text, text};
use super::arithmetic::decimal;
use super::convert::looks_like_number;
use super::{Row, Run};
use crate::eval::{Machine, Result};
use crate::fault::Fault;
use crate::value::Value;
use crate::{codes, number};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "format_number",
        signature: "(n: number, digits?: int, group?: string, point?: string) -> string",
        doc: "The number as text with digits after the point, groups of thousands and a decimal point of choice.",
        examples: &[("format_number(1234567.891, 2, ',')", "\"1,234,567.89\""), ("format_number(5, 2)", "\"5.00\"")],
        run: Run::Pure(format_number),
    },
    Row {
        name: "parse_number",
        signature: "(text: string, group?: string, point?: string) -> number!",
        doc: "The number of a text with groups of thousands (`,` if not given) and a decimal point (`.`) of choice.",
        examples: &[("parse_number('1,234,567.89')", "1234567.89"), ("parse_number('1.234,50', '.', ',')", "1234.50")],
        run: Run::Pure(|_, a| {
            let group = optional_text(a, 1).unwrap_or(",");
            let point = optional_text(a, 2).unwrap_or(".");
            let bad = || {
                Fault::new(
                    codes::BAD_ARGUMENT,
                    format!("{} is not a number such as {}", a[0].preview(), ["1", group, "234", point, "5"].concat()),
                )
            };
            if text(a, 0).len() > 100 || group == point || point.is_empty() {
                return Err(bad());
            }
            let plain = text(a, 0).trim();
            let (whole, fraction) =
                plain.split_once(point).map_or((plain, None), |(whole, fraction)| (whole, Some(fraction)));
            let whole = if group.is_empty() { whole.to_owned() } else { whole.replace(group, "") };
            let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            if !digits(whole.strip_prefix('-').unwrap_or(&whole)) || fraction.is_some_and(|fraction| !digits(fraction))
            {
                return Err(bad());
            }
            match fraction {
                None => {
                    whole.parse().map(Value::Int).or_else(|_| number::decimal(&whole).map(Value::Dec).ok_or_else(bad))
                }
                Some(fraction) => number::decimal(&[&whole, ".", fraction].concat()).map(Value::Dec).ok_or_else(bad),
            }
        }),
    },
    Row {
        name: "format_bytes",
        signature: "(n: int) -> string",
        doc: "A number of bytes for people: with one digit after the point, in units of 1024.",
        examples: &[("format_bytes(1536)", "\"1.5 KiB\""), ("format_bytes(100)", "\"100 B\"")],
        run: Run::Pure(|m, a| {
            let Value::Int(n) = a[0] else { return Ok(Value::Null) };
            let (mut size, mut unit) = (Decimal::from(n.unsigned_abs()), 0);
            let step = Decimal::from(1024);
            while unit + 1 < UNITS.len() && size.round_dp(if unit == 0 { 0 } else { 1 }) >= step {
                size /= step;
                unit += 1;
            }
            let sign = if n < 0 { "-" } else { "" };
            let digits = usize::from(unit > 0);
            let rounded = size.round_dp_with_strategy(digits as u32, RoundingStrategy::MidpointAwayFromZero);
            m.string([sign, &fixed(rounded, digits), " ", UNITS[unit]].concat())
        }),
    },
    Row {
        name: "parse_bytes",
        signature: "(text: string) -> int!",
        doc: "The number of bytes of a text such as `1.5 GiB`, `10MB` or `512`: units of 1024 with an `i`, of 1000 \
              without.",
        examples: &[("parse_bytes('1.5 KiB')", "1536"), ("parse_bytes('10MB')", "10000000")],
        run: Run::Pure(|_, a| {
            let subject = text(a, 0).trim();
            let bad = || {
                Fault::new(codes::BAD_ARGUMENT, format!("{} is not a number of bytes such as 1.5 GiB", a[0].preview()))
            };
            let at = subject.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(subject.len());
            let unit = subject[at..].trim().to_ascii_lowercase();
            let (prefix, base) = match unit.strip_suffix("ib") {
                Some(prefix) => (prefix, 1024_i64),
                None => (unit.strip_suffix('b').unwrap_or(&unit), 1000),
            };
            let power = ["", "k", "m", "g", "t", "p"].iter().position(|known| *known == prefix).ok_or_else(bad)?;
            if !looks_like_number(&subject[..at]) || subject[..at].matches('.').count() > 1 {
                return Err(bad());
            }
            let count = number::decimal(&subject[..at]).ok_or_else(bad)?;
            let bytes = count.checked_mul(Decimal::from(base.pow(power as u32))).ok_or_else(bad)?;
            number::whole(bytes.trunc()).map(Value::Int).ok_or_else(bad)
        }),
    },
    Row {
        name: "format_int",
        signature: "(n: int, base: int) -> string",
        doc: "The integer in the digits of a base from 2 to 36.",
        examples: &[("format_int(255, 16)", "\"ff\""), ("format_int(-5, 2)", "\"-101\"")],
        run: Run::Pure(|m, a| {
            let (Value::Int(n), base) = (&a[0], base_of(a)?) else { return Ok(Value::Null) };
            let mut rest = n.unsigned_abs();
            let mut digits = Vec::new();
            loop {
                digits.extend(char::from_digit((rest % u64::from(base)) as u32, base));
                rest /= u64::from(base);
                if rest == 0 {
                    break;
                }
            }
            if *n < 0 {
                digits.push('-');
            }
            m.string(digits.into_iter().rev().collect())
        }),
    },
    Row {
        name: "parse_base",
        signature: "(text: string, base: int) -> int!",
        doc: "The integer of digits in a base from 2 to 36, in either case.",
        examples: &[("parse_base('FF', 16)", "255")],
        run: Run::Pure(|_, a| {
            let base = base_of(a)?;
            i64::from_str_radix(text(a, 0), base).map(Value::Int).map_err(|_| {
                Fault::new(
                    codes::BAD_ARGUMENT,
                    format!("{} is not an integer of 64 bits in base {base}", a[0].preview()),
                )
            })
        }),
    },
];

const UNITS: [&str; 6] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"];

fn base_of(args: &[Value<'_>]) -> Result<u32> {
    let base = count(args, 1, "base")?;
    if !(2..=36).contains(&base) {
        return Err(Fault::new(codes::BAD_ARGUMENT, format!("a base is 2 to 36, not {base}")));
    }
    Ok(base as u32)
}

fn format_number<'e>(m: &mut Machine<'_, 'e>, args: &mut [Value<'e>]) -> Result<Value<'e>> {
    let number = decimal(&args[0])?;
    let group = optional_text(args, 2).unwrap_or_default();
    let point = optional_text(args, 3).unwrap_or(".");
    let text = match args.get(1) {
        Some(_) => {
            let digits = count(args, 1, "digits")?.min(28);
            let rounded = number.round_dp_with_strategy(digits as u32, RoundingStrategy::MidpointAwayFromZero);
            fixed(rounded, digits)
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

/// The number with that many digits after the point. The formatter of the crate panics where they exceed its buffer.
fn fixed(number: Decimal, digits: usize) -> String {
    let mut text = number.to_string();
    if digits > 0 {
        if !text.contains('.') {
            text.push('.');
        }
        let present = text.len() - text.find('.').map_or(0, |at| at + 1);
        text.extend(std::iter::repeat_n('0', digits.saturating_sub(present)));
    }
    text
}
