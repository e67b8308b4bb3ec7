//! Lengths of time as people write them in TOML: `100ms`, `5m`, `1h30m`.

use std::borrow::Cow;
use std::fmt;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error as _;

/// A duration with a humane text form. Units: `us`, `ms`, `s`, `m`, `h`, `d`; parts may follow each other (`1h30m`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Span(pub Duration);

/// The longest span that is accepted; longer ones are typing errors, and this keeps all sums far from overflow.
pub const LONGEST: Duration = Duration::from_secs(366 * 24 * 3600);

const UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

/// Why a text is not a duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Nothing was written, or something that is not number and unit.
    #[error(
        "`{text}` is not a duration; write a number and a unit (us, ms, s, m, h, d), e.g. \"100ms\", \"5m\", \"1h30m\""
    )]
    Shape {
        /// What was written, cut to 40 characters.
        text: String,
    },
    /// A number without a unit.
    #[error("`{text}` has no unit; write e.g. \"{text}s\" or \"{text}ms\"")]
    NoUnit {
        /// What was written.
        text: String,
    },
    /// A unit that does not exist.
    #[error("`{unit}` is not a unit of time; there are us, ms, s, m, h, d")]
    Unit {
        /// The unit that was written.
        unit: String,
    },
    /// Longer than [`LONGEST`].
    #[error("`{text}` is longer than 366d, the longest duration accepted")]
    TooLong {
        /// What was written.
        text: String,
    },
}

impl Span {
    /// Reads a text such as `1h30m`.
    ///
    /// # Errors
    /// Says what is wrong and how to write it.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let shown = || text.chars().take(40).collect::<String>();
        let mut rest = text.trim();
        if rest.is_empty() {
            return Err(Error::Shape { text: shown() });
        }
        let mut total: u64 = 0;
        while !rest.is_empty() {
            let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            if digits == 0 {
                return Err(Error::Shape { text: shown() });
            }
            let (number, after) = rest.split_at(digits);
            let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
            let (unit, next) = after.split_at(letters);
            if unit.is_empty() {
                let lone = after.is_empty() && total == 0;
                return Err(if lone { Error::NoUnit { text: shown() } } else { Error::Shape { text: shown() } });
            }
            let Some((_, micros)) = UNITS.iter().find(|(name, _)| *name == unit) else {
                return Err(Error::Unit { unit: unit.chars().take(20).collect() });
            };
            let part = number.parse::<u64>().ok().and_then(|n| n.checked_mul(*micros));
            total = part
                .and_then(|p| total.checked_add(p))
                .filter(|t| u128::from(*t) <= LONGEST.as_micros())
                .ok_or_else(|| Error::TooLong { text: shown() })?;
            rest = next;
        }
        Ok(Self(Duration::from_micros(total)))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = u64::try_from(self.0.as_micros()).unwrap_or(u64::MAX);
        if left == 0 {
            return f.write_str("0s");
        }
        for (name, micros) in UNITS {
            if left >= micros {
                write!(f, "{}{name}", left / micros)?;
                left %= micros;
            }
        }
        Ok(())
    }
}

impl serde::Serialize for Span {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Span {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        struct Text;
        impl serde::de::Visitor<'_> for Text {
            type Value = Span;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration such as \"100ms\" or \"5m\"")
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Span, E> {
                Span::parse(text).map_err(E::custom)
            }
            fn visit_u64<E: serde::de::Error>(self, n: u64) -> Result<Span, E> {
                Err(E::custom(Error::NoUnit { text: n.to_string() }))
            }
            fn visit_i64<E: serde::de::Error>(self, n: i64) -> Result<Span, E> {
                Err(E::custom(Error::NoUnit { text: n.to_string() }))
            }
        }
        d.deserialize_any(Text).map_err(D::Error::custom)
    }
}

impl JsonSchema for Span {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Duration".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*([0-9]+(us|ms|s|m|h|d))+\s*$",
            "examples": ["100ms", "5m", "1h30m"],
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_what_people_write() {
        for (text, micros) in [("100ms", 100_000), ("5m", 300_000_000), ("1h30m", 5_400_000_000), ("0s", 0), ("7us", 7)]
        {
            assert_eq!(Span::parse(text).unwrap().0, Duration::from_micros(micros), "{text}");
        }
    }

    #[test]
    fn refuses_with_advice() {
        for (text, says) in [
            ("", "is not a duration"),
            ("5", "write e.g. \"5s\""),
            ("5 m", "is not a duration"),
            ("5y", "is not a unit"),
            ("-5s", "is not a duration"),
            ("1.5s", "is not a duration"),
            ("99999999999999999999s", "longer than 366d"),
            ("367d", "longer than 366d"),
        ] {
            let error = Span::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(serde_json::from_str::<Span>("5").unwrap_err().to_string().contains("no unit"));
    }

    proptest! {
        #[test]
        fn printing_and_reading_is_the_identity(micros in 0u64..31_622_400_000_000) {
            let span = Span(Duration::from_micros(micros));
            prop_assert_eq!(Span::parse(&span.to_string()).unwrap(), span);
        }

        #[test]
        fn never_panics(text in ".{0,60}") {
            drop(Span::parse(&text));
        }
    }
}
