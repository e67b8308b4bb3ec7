//! Exact numbers: 64-bit integers, and decimals of 28 digits. Nothing is ever rounded silently.
//!
//! A number of an event that neither holds keeps its text. Arithmetic works on mantissa and scale in 128 bits and
//! answers that it cannot, rather than an approximation.

use rust_decimal::Decimal;

/// A number as it was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Int(i64),
    Dec(Decimal),
    /// Outside of what is computed with; its text is kept.
    Raw,
}

/// Why an operation has no exact result.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// Beyond 64 bits (integers) or 28 digits before the point.
    Overflow,
    Zero,
    /// The exact result needs more than 28 digits.
    Inexact,
}

const MAX_SCALE: u32 = 28;
/// Digits that 128 bits hold, whatever they are.
const MOST_DIGITS: usize = 38;

/// Reads JSON number syntax. `integer` says that there is no fraction and no exponent.
#[inline]
pub(crate) fn read(text: &str, integer: bool) -> Number {
    if integer {
        let bytes = text.as_bytes();
        if bytes.len() <= 18 {
            let (negative, digits) = match bytes {
                [b'-', rest @ ..] => (true, rest),
                _ => (false, bytes),
            };
            let value = digits.iter().fold(0i64, |sum, digit| sum * 10 + i64::from(digit - b'0'));
            return Number::Int(if negative { -value } else { value });
        }
        if let Ok(value) = text.parse() {
            return Number::Int(value);
        }
    }
    decimal(text).map_or(Number::Raw, Number::Dec)
}

/// Reads a number of the language or of JSON when a decimal holds it exactly.
pub(crate) fn decimal(text: &str) -> Option<Decimal> {
    let (body, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i32>().ok()?),
        None => (text, 0),
    };
    let (negative, body) = match body.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, body),
    };
    let (mut whole, mut fraction) = body.split_once('.').unwrap_or((body, ""));
    // Zeros at the end count only while they fit.
    while fraction.len() > MAX_SCALE as usize && fraction.ends_with('0') {
        fraction = &fraction[..fraction.len() - 1];
    }
    let mut tens = 0;
    if exponent < 0 && whole.len() + fraction.len() > MOST_DIGITS {
        fraction = fraction.trim_end_matches('0');
        if fraction.is_empty() {
            let digits = whole.trim_end_matches('0');
            tens = i64::try_from(whole.len() - digits.len()).ok()?;
            whole = digits;
        }
    }
    let mut mantissa: i128 = 0;
    for digit in whole.bytes().chain(fraction.bytes()) {
        if !digit.is_ascii_digit() {
            return None;
        }
        mantissa = mantissa.checked_mul(10)?.checked_add(i128::from(digit - b'0'))?;
    }
    let scale = i64::try_from(fraction.len()).ok()? - i64::from(exponent) - tens;
    exact(if negative { -mantissa } else { mantissa }, scale).ok()
}

/// The decimal `mantissa / 10^scale`, if there is one.
pub(crate) fn exact(mut mantissa: i128, mut scale: i64) -> Result<Decimal, Failure> {
    if mantissa == 0 {
        return Ok(Decimal::new(0, scale.clamp(0, i64::from(MAX_SCALE)) as u32));
    }
    while scale > i64::from(MAX_SCALE) || (scale > 0 && mantissa.unsigned_abs() >> 96 != 0) {
        if mantissa % 10 != 0 {
            return Err(Failure::Inexact);
        }
        mantissa /= 10;
        scale -= 1;
    }
    while scale < 0 {
        mantissa = mantissa.checked_mul(10).ok_or(Failure::Overflow)?;
        scale += 1;
    }
    Decimal::try_from_i128_with_scale(mantissa, scale as u32).map_err(|_| Failure::Overflow)
}

/// The whole number that a decimal is, if it is one and fits.
pub(crate) fn whole(value: Decimal) -> Option<i64> {
    let value = value.normalize();
    if value.scale() != 0 {
        return None;
    }
    i64::try_from(value.mantissa()).ok()
}

fn power(exponent: u32) -> Option<i128> {
    10i128.checked_pow(exponent)
}

fn aligned(a: Decimal, b: Decimal) -> Result<(i128, i128, u32), Failure> {
    let scale = a.scale().max(b.scale());
    let lift = |value: Decimal| {
        power(scale - value.scale()).and_then(|factor| value.mantissa().checked_mul(factor)).ok_or(Failure::Inexact)
    };
    Ok((lift(a)?, lift(b)?, scale))
}

pub(crate) fn add(a: Decimal, b: Decimal) -> Result<Decimal, Failure> {
    let (a, b, scale) = aligned(a, b).or_else(|_| aligned(a.normalize(), b.normalize()))?;
    exact(a.checked_add(b).ok_or(Failure::Overflow)?, i64::from(scale))
}

pub(crate) fn subtract(a: Decimal, b: Decimal) -> Result<Decimal, Failure> {
    add(a, -b)
}

pub(crate) fn multiply(a: Decimal, b: Decimal) -> Result<Decimal, Failure> {
    let product = |a: Decimal, b: Decimal| {
        a.mantissa().checked_mul(b.mantissa()).map(|mantissa| (mantissa, i64::from(a.scale() + b.scale())))
    };
    let (mantissa, scale) = product(a, b).or_else(|| product(a.normalize(), b.normalize())).ok_or(Failure::Inexact)?;
    exact(mantissa, scale)
}

pub(crate) fn remainder(a: Decimal, b: Decimal) -> Result<Decimal, Failure> {
    if b.is_zero() {
        return Err(Failure::Zero);
    }
    let (a, b, scale) = aligned(a, b).or_else(|_| aligned(a.normalize(), b.normalize()))?;
    exact(a % b, i64::from(scale))
}

/// The quotient when it is a finite decimal of at most 28 digits: reduced, the denominator is `2^a * 5^b`.
pub(crate) fn divide(a: Decimal, b: Decimal) -> Result<Decimal, Failure> {
    let (a, b) = (a.normalize(), b.normalize());
    if b.is_zero() {
        return Err(Failure::Zero);
    }
    let common = gcd(a.mantissa().unsigned_abs(), b.mantissa().unsigned_abs()).max(1) as i128;
    let mut numerator = a.mantissa() / common;
    let mut rest = b.mantissa() / common;
    if rest < 0 {
        rest = -rest;
        numerator = -numerator;
    }
    let mut count = |factor: i128| {
        let mut times = 0u32;
        while rest % factor == 0 {
            rest /= factor;
            times += 1;
        }
        times
    };
    let (twos, fives) = (count(2), count(5));
    if rest != 1 {
        return Err(Failure::Inexact);
    }
    // What the denominator lacks of a power of ten multiplies the numerator.
    let shift = twos.max(fives);
    let lacking = 5i128.checked_pow(shift - fives).zip(2i128.checked_pow(shift - twos));
    let numerator = lacking.and_then(|(fives, twos)| numerator.checked_mul(fives)?.checked_mul(twos));
    let numerator = numerator.ok_or(Failure::Inexact)?;
    let value = exact(numerator, i64::from(shift) + i64::from(a.scale()) - i64::from(b.scale()))?;
    Ok(value.normalize())
}

fn gcd(mut a: u128, mut b: u128) -> u128 {
    while b != 0 {
        (a, b) = (b, a % b);
    }
    a
}

/// Sign, digits without zeros at either end, and exponent of a number's text: equal numbers have equal forms.
pub(crate) fn canonical(text: &str) -> (bool, String, i64) {
    let (body, exponent) = match text.find(['e', 'E']) {
        Some(at) => (&text[..at], text[at + 1..].parse::<i64>().unwrap_or(i64::MAX / 2)),
        None => (text, 0),
    };
    let (negative, body) = match body.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, body),
    };
    let (whole, fraction) = body.split_once('.').unwrap_or((body, ""));
    let digits = [whole, fraction].concat();
    let digits = digits.trim_start_matches('0');
    let shortened = digits.trim_end_matches('0');
    let exponent = exponent - fraction.len() as i64 + (digits.len() - shortened.len()) as i64;
    if shortened.is_empty() { (false, String::new(), 0) } else { (negative, shortened.to_owned(), exponent) }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn dec(text: &str) -> Decimal {
        decimal(text).unwrap()
    }

    #[test]
    fn numbers_that_fit_are_read_exactly() {
        assert_eq!(read("-12", true), Number::Int(-12));
        assert_eq!(read("9223372036854775807", true), Number::Int(i64::MAX));
        assert_eq!(read("9223372036854775808", true), Number::Dec(dec("9223372036854775808")));
        assert_eq!(read("1e3", false), Number::Dec(dec("1000")));
        assert_eq!(read("0.1000000000000000000000000000000000", false), Number::Dec(dec("0.1")));
        assert_eq!(read("1e40", false), Number::Raw);
        assert_eq!(read(&format!("1{}e-30", "0".repeat(41)), false), Number::Dec(dec("100000000000")));
        assert_eq!(read(&format!("-1{}.000e-45", "0".repeat(41)), false), Number::Dec(dec("-0.0001")));
        assert_eq!(read(&format!("0.0{}e-300", "0".repeat(41)), false), Number::Dec(dec("0")));
        assert_eq!(read("0.123456789012345678901234567890123", false), Number::Raw);
        assert_eq!(read("1e-400", false), Number::Raw);
        assert_eq!(dec("1.10").to_string(), "1.10");
    }

    #[test]
    fn division_is_exact_or_refused() {
        assert_eq!(divide(dec("7"), dec("2")), Ok(dec("3.5")));
        assert_eq!(divide(dec("6"), dec("2")), Ok(dec("3")));
        assert_eq!(divide(dec("-1"), dec("0.08")), Ok(dec("-12.5")));
        assert_eq!(divide(dec("10"), dec("3")), Err(Failure::Inexact));
        assert_eq!(divide(dec("1"), dec("0.0")), Err(Failure::Zero));
        // Wei to ether.
        let ether = divide(dec("1234567890123456789"), dec("1000000000000000000000"));
        assert_eq!(ether, Ok(dec("0.001234567890123456789")));
        assert_eq!(divide(dec("1"), dec("9007199254740992")), Err(Failure::Inexact));
        assert_eq!(divide(dec("3"), dec("0.0000000000000000000000000003")), Ok(dec("10000000000000000000000000000")));
    }

    #[test]
    fn products_do_not_round() {
        assert_eq!(multiply(dec("1.10"), dec("2")), Ok(dec("2.20")));
        let tiny = dec("0.0000000000000000000000000001");
        assert_eq!(multiply(tiny, tiny), Err(Failure::Inexact));
        assert_eq!(multiply(dec("79228162514264337593543950335"), dec("10")), Err(Failure::Overflow));
    }

    #[test]
    fn canonical_forms_compare_equal_numbers_equal() {
        assert_eq!(canonical("1e40"), canonical("10.0e39"));
        assert_eq!(canonical("-0"), canonical("0.00"));
        assert_ne!(canonical("1e40"), canonical("1e41"));
    }
}
