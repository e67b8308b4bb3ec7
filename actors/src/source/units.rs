//! Durations and sizes as people write them in the configuration: `"30s"`, `"24h"`, `"1MiB"`. A bare number is refused
//! for a duration, since nobody can see its unit.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serializer, de};
use std::fmt;
use std::time::Duration;

/// Reads `"250ms"`, `"30s"`, `"5m"`, `"24h"`, `"7d"`.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "`{}` is not a duration: write a whole number and a unit (ms, s, m, h, d), for example \"30s\"",
            shown(text)
        )
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let scale: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(scale).map(Duration::from_millis).ok_or_else(wrong)
}

/// Reads `"512KiB"`, `"1MiB"`, `"64B"`.
pub fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!("`{}` is not a size: write a whole number and a unit (B, KiB, MiB), for example \"1MiB\"", shown(text))
    };
    let (number, unit) = split(text).ok_or_else(wrong)?;
    let scale: u64 = match unit {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        _ => return Err(wrong()),
    };
    number.checked_mul(scale).ok_or_else(wrong)
}

fn split(text: &str) -> Option<(u64, &str)> {
    let text = text.trim();
    let at = text.find(|c: char| !c.is_ascii_digit())?;
    let (number, unit) = text.split_at_checked(at)?;
    Some((number.parse().ok()?, unit.trim_start()))
}

/// What a message repeats of the input: enough to recognise it.
fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// `#[serde(with = "units::duration")]`
pub mod duration {
    use super::*;

    /// Deserializes a [`Duration`] from text such as `"30s"`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        struct Text;
        impl de::Visitor<'_> for Text {
            type Value = Duration;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a duration with its unit, for example \"30s\"")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Duration, E> {
                parse_duration(text).map_err(E::custom)
            }
        }
        from.deserialize_str(Text)
    }

    /// Writes it as text again, for the defaults in the schema.
    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&crate::target::Span(*duration))
    }

    /// What an editor is told.
    pub fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": r"^\s*[0-9]+\s*(ms|s|m|h|d)\s*$",
            "examples": ["250ms", "30s", "24h"],
        })
    }
}

/// `#[serde(with = "units::size")]`
pub mod size {
    use super::*;

    /// Deserializes a number of bytes from a number or from text such as `"1MiB"`.
    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "a size: a number of bytes, or text such as \"1MiB\"")]
        enum Size {
            Bytes(u64),
            Text(String),
        }
        match Size::deserialize(from)? {
            Size::Bytes(n) => Ok(n),
            Size::Text(text) => parse_size(&text).map_err(de::Error::custom),
        }
    }

    /// Writes it as text again, for the defaults in the schema.
    pub fn serialize<S: Serializer>(size: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&crate::target::Size(*size))
    }

    /// What an editor is told.
    pub fn schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": r"^\s*[0-9]+\s*(B|KiB|MiB)\s*$",
            "minimum": 0,
            "examples": ["512KiB", "1MiB"],
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn durations_need_a_unit() {
        assert_eq!(parse_duration("250ms").unwrap(), Duration::from_millis(250));
        assert_eq!(parse_duration("24h").unwrap(), Duration::from_secs(86_400));
        for bad in ["", "5", "s", "-5s", "1.5h", "5 weeks", "99999999999999999999s", "18446744073709551615d", "5sé"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(parse_size("1MiB").unwrap(), 1_048_576);
        assert_eq!(parse_size("64 B").unwrap(), 64);
        assert!(parse_size("1MB").is_err());
    }
}
