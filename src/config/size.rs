//! Amounts of memory and disk as people write them: `"256MiB"`, `"10GiB"`.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use std::borrow::Cow;
use std::fmt;

/// A number of bytes. Units are binary, since what they bound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

const UNITS: [(&str, u64); 5] = [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];

impl Size {
    /// Reads `"256MiB"`.
    pub fn parse(text: &str) -> Result<Self, String> {
        let shown: String = text.chars().take(40).collect();
        let wrong = || {
            format!("`{shown}` is not a size; write a whole number and a unit (B, KiB, MiB, GiB, TiB), e.g. \"256MiB\"")
        };
        let digits = text.find(|c: char| !c.is_ascii_digit()).ok_or_else(wrong)?;
        let (number, unit) = text.split_at(digits);
        let scale =
            UNITS.iter().find(|(name, _)| *name == unit.trim_start()).map(|(_, scale)| *scale).ok_or_else(wrong)?;
        let bytes = number.parse::<u64>().ok().and_then(|n| n.checked_mul(scale)).ok_or_else(wrong)?;
        Ok(Self(bytes))
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = UNITS.iter().find(|(_, scale)| self.0.is_multiple_of(*scale) && self.0 >= *scale);
        let (unit, scale) = exact.copied().unwrap_or(("B", 1));
        write!(f, "{}{unit}", self.0 / scale)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl de::Visitor<'_> for Visitor {
            type Value = Size;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"256MiB\", or a number of bytes")
            }
            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                Size::parse(text).map_err(E::custom)
            }
            fn visit_u64<E: de::Error>(self, n: u64) -> Result<Size, E> {
                Ok(Size(n))
            }
            fn visit_i64<E: de::Error>(self, n: i64) -> Result<Size, E> {
                u64::try_from(n).map(Size).map_err(|_| E::custom("a size cannot be negative"))
            }
        }
        from.deserialize_any(Visitor)
    }
}

impl Serialize for Size {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl JsonSchema for Size {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Size".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": r"^[0-9]+\s*(B|KiB|MiB|GiB|TiB)$",
            "minimum": 0,
            "examples": ["256MiB", "10GiB"],
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn reads_and_prints() {
        for (text, bytes) in [("64B", 64), ("1KiB", 1 << 10), ("256MiB", 256 << 20), ("3GiB", 3 << 30), ("0B", 0)] {
            assert_eq!(Size::parse(text).unwrap().0, bytes);
            assert_eq!(Size(bytes).to_string(), text);
        }
        for bad in ["", "1", "MiB", "1MB", "-1MiB", "99999999TiB", "1.5GiB", "é"] {
            assert!(Size::parse(bad).is_err(), "{bad}");
        }
    }
}
