//! The units that settings are written in: times (`15s`), sizes (`64MiB`), rates (`100/s`).
//!
//! A unit is always written out, so that nobody has to look up whether `30` means seconds.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

/// A length of time, written as a number and one of `ms`, `s`, `m`, `h`, `d`; several add up: `1h 30m`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Span(pub Duration);

/// A number of bytes, written as a number and one of `B`, `KiB`, `MiB`, `GiB`, or `KB`, `MB`, `GB` for powers of ten.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Size(pub u64);

/// So many in a time, written `100/s`, `600/m` or `10000/h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Rate {
    /// How many, at least 1.
    pub limit: u32,
    /// In what time.
    pub per: Duration,
}

const TIMES: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)];
const SIZES: [(&str, u64); 7] = [
    ("GiB", 1 << 30),
    ("MiB", 1 << 20),
    ("KiB", 1 << 10),
    ("GB", 1_000_000_000),
    ("MB", 1_000_000),
    ("KB", 1000),
    ("B", 1),
];

impl FromStr for Span {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{}` is not a time; write a number and a unit, e.g. `250ms`, `15s`, `1h 30m`, `7d`", cut(text));
        let (mut rest, mut total, mut parts) = (text.trim(), 0u64, 0);
        while !rest.is_empty() {
            let (number, after) = leading_number(rest).ok_or_else(wrong)?;
            let letters = after.len() - after.trim_start_matches(|c: char| c.is_ascii_alphabetic()).len();
            let (unit, after) = after.split_at(letters);
            let (_, factor) = TIMES.iter().find(|(name, _)| *name == unit).ok_or_else(wrong)?;
            total = number.checked_mul(*factor).and_then(|ms| total.checked_add(ms)).ok_or_else(wrong)?;
            rest = after.trim_start();
            parts += 1;
        }
        if parts == 0 || total > 3650 * 86_400_000 { Err(wrong()) } else { Ok(Self(Duration::from_millis(total))) }
    }
}

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{}` is not a size; write a number and a unit, e.g. `64KiB`, `64MiB`, `1GB`", cut(text));
        let (number, unit) = leading_number(text.trim()).ok_or_else(wrong)?;
        let unit = unit.trim_start();
        let (_, factor) = SIZES.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).ok_or_else(wrong)?;
        number.checked_mul(*factor).map(Self).ok_or_else(wrong)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("`{}` is not a rate; write a number and a time, e.g. `100/s`, `600/m`", cut(text));
        let (limit, unit) = text.split_once('/').ok_or_else(wrong)?;
        let limit = limit.trim().parse().ok().filter(|n| *n > 0).ok_or_else(wrong)?;
        let (_, ms) = TIMES.iter().find(|(name, _)| *name == unit.trim()).ok_or_else(wrong)?;
        Ok(Self { limit, per: Duration::from_millis(*ms) })
    }
}

/// The decimal digits at the beginning, and what follows.
fn leading_number(text: &str) -> Option<(u64, &str)> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, rest) = text.split_at(digits);
    Some((number.parse().ok()?, rest))
}

/// The beginning of what was found, for a message.
fn cut(text: &str) -> String {
    text.chars().take(40).flat_map(char::escape_debug).collect()
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        let (unit, factor) =
            TIMES.iter().find(|(_, factor)| ms > 0 && ms.is_multiple_of(*factor)).unwrap_or(&("ms", 1));
        write!(f, "{}{unit}", ms / factor)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fits = |factor: u64| self.0 > 0 && self.0.is_multiple_of(factor);
        let (unit, factor) = SIZES.iter().find(|(_, factor)| fits(*factor)).unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let unit = Span(self.per).to_string();
        write!(f, "{}/{}", self.limit, unit.trim_start_matches('1'))
    }
}

macro_rules! as_text {
    ($($name:ident, $pattern:literal, [$($example:literal),*];)*) => {$(
        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!({ "type": "string", "pattern": $pattern, "examples": [$($example),*] })
            }
        }
    )*};
}

as_text! {
    Span, r"^\s*([0-9]+(ms|s|m|h|d)\s*)+$", ["250ms", "15s", "1h 30m"];
    Size, r"^\s*[0-9]+\s*([KkMmGg][Ii]?)?[Bb]\s*$", ["64KiB", "64MiB", "1GB"];
    Rate, r"^\s*\+?0*[1-9][0-9]*\s*/\s*(ms|s|m|h|d)\s*$", ["100/s", "600/m"];
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn units_are_read_and_printed() {
        for (text, ms) in [("250ms", 250), ("15s", 15_000), ("1h 30m", 5_400_000), ("1d", 86_400_000), ("0s", 0)] {
            assert_eq!(text.parse::<Span>().unwrap().0, Duration::from_millis(ms), "{text}");
        }
        assert_eq!("90m".parse::<Span>().unwrap().to_string(), "90m");
        assert_eq!("64MiB".parse::<Size>().unwrap(), Size(64 << 20));
        assert_eq!(Size(64 << 20).to_string(), "64MiB");
        assert_eq!("100/s".parse::<Rate>().unwrap().to_string(), "100/s");
        for text in ["", "15", "s", "-1s", "1.5s", "1y", "99999999999999999999s", "9999999d", "1s1"] {
            assert!(text.parse::<Span>().is_err(), "{text}");
        }
        for text in ["", "64", "MiB", "-1B", "99999999999GiB"] {
            assert!(text.parse::<Size>().is_err(), "{text}");
        }
        for text in ["", "100", "0/s", "-1/s", "1/y", "1/"] {
            assert!(text.parse::<Rate>().is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}") {
            drop(text.parse::<Span>());
            drop(text.parse::<Size>());
            drop(text.parse::<Rate>());
        }

        #[test]
        fn what_is_printed_is_read_back(ms in 0u64..315_360_000_000, bytes: u64, limit in 1u32..) {
            let span = Span(Duration::from_millis(ms));
            proptest::prop_assert_eq!(span.to_string().parse::<Span>(), Ok(span));
            proptest::prop_assert_eq!(Size(bytes).to_string().parse::<Size>(), Ok(Size(bytes)));
            let rate = Rate { limit, per: Duration::from_secs(60) };
            proptest::prop_assert_eq!(rate.to_string().parse::<Rate>(), Ok(rate));
        }
    }
}
