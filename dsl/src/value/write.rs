//! Values as JSON and as text.

use std::fmt::Write as _;

use super::Value;
use super::object::Keys;
use crate::json::write_string;

/// The JSON of a value is longer than the caller allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the result is larger than {limit} bytes as JSON")]
pub struct TooLarge {
    /// The limit in bytes.
    pub limit: usize,
}

impl Value<'_> {
    /// Appends the value as JSON. Nodes of the event are copied as they were received; timestamps become RFC 3339
    /// strings and durations strings such as `"1h30m"`; `drop` is written as `null`.
    ///
    /// # Errors
    /// When more than `max_bytes` would be appended; `out` then holds a part.
    pub fn write_json(&self, out: &mut Vec<u8>, max_bytes: usize) -> Result<(), TooLarge> {
        let limit = out.len().saturating_add(max_bytes);
        write(self, out, limit).map_err(|()| TooLarge { limit: max_bytes })
    }

    /// The value as a JSON text.
    ///
    /// # Errors
    /// As [`Value::write_json`].
    pub fn to_json(&self, max_bytes: usize) -> Result<String, TooLarge> {
        let mut out = Vec::new();
        self.write_json(&mut out, max_bytes)?;
        String::from_utf8(out).map_err(|_| TooLarge { limit: max_bytes })
    }

    /// Appends the value as interpolation writes it: strings bare, null as nothing, arrays and objects as JSON.
    pub(crate) fn write_text(&self, out: &mut String, max_bytes: usize) -> Result<(), TooLarge> {
        match self {
            Self::Null | Self::Drop => {}
            Self::Str(text) | Self::Number(text) => out.push_str(text),
            Self::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            // Writing to a string cannot fail.
            Self::Int(value) => write!(out, "{value}").unwrap_or_default(),
            Self::Dec(value) => write!(out, "{value}").unwrap_or_default(),
            Self::Timestamp(us) => out.push_str(&time_text(*us)),
            Self::Duration(us) => out.push_str(&duration_text(*us)),
            Self::Node(_) | Self::Array(_) | Self::Object(_) => out.push_str(&self.to_json(max_bytes)?),
        }
        if out.len() > max_bytes { Err(TooLarge { limit: max_bytes }) } else { Ok(()) }
    }
}

fn write(value: &Value<'_>, out: &mut Vec<u8>, limit: usize) -> Result<(), ()> {
    match value {
        Value::Null | Value::Drop => out.extend_from_slice(b"null"),
        Value::Bool(true) => out.extend_from_slice(b"true"),
        Value::Bool(false) => out.extend_from_slice(b"false"),
        Value::Int(value) => integer(out, *value),
        Value::Dec(value) => {
            use std::io::Write as _;
            write!(out, "{value}").map_err(drop)?;
        }
        Value::Number(text) => out.extend_from_slice(text.as_bytes()),
        Value::Str(text) => {
            if text.len() > limit.saturating_sub(out.len()) {
                return Err(());
            }
            write_string(out, text);
        }
        Value::Node(node) => {
            let raw = node.raw();
            if raw.len() > limit.saturating_sub(out.len()) {
                return Err(());
            }
            out.extend_from_slice(raw);
        }
        Value::Array(array) => {
            out.push(b'[');
            for (at, item) in array.items.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                write(item, out, limit)?;
            }
            out.push(b']');
        }
        Value::Object(object) => {
            out.push(b'{');
            for (at, value) in object.values.iter().enumerate() {
                if at > 0 {
                    out.push(b',');
                }
                match &object.keys {
                    Keys::Shape(shape) => out.extend_from_slice(&shape.json[at]),
                    Keys::Own(keys) => {
                        write_string(out, &keys[at]);
                        out.push(b':');
                    }
                }
                write(value, out, limit)?;
            }
            out.push(b'}');
        }
        Value::Timestamp(us) => write_string(out, &time_text(*us)),
        Value::Duration(us) => write_string(out, &duration_text(*us)),
    }
    if out.len() > limit { Err(()) } else { Ok(()) }
}

fn integer(out: &mut Vec<u8>, value: i64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

/// RFC 3339 in UTC with as many digits of a second as needed.
pub(crate) fn time_text(us: i64) -> String {
    // Every timestamp a program can make was checked against jiff's range; the event's own time comes from the door.
    jiff::Timestamp::from_microsecond(us).map_or_else(|_| us.to_string(), |time| time.to_string())
}

/// A duration as the language writes it: `1h30m`, `200ms`; negative with a sign in front; zero is `0s`.
pub(crate) fn duration_text(us: i64) -> String {
    const UNITS: [(u64, &str); 6] =
        [(86_400_000_000, "d"), (3_600_000_000, "h"), (60_000_000, "m"), (1_000_000, "s"), (1_000, "ms"), (1, "us")];
    if us == 0 {
        return "0s".to_owned();
    }
    let mut out = String::new();
    if us < 0 {
        out.push('-');
    }
    let mut rest = us.unsigned_abs();
    for (size, unit) in UNITS {
        let count = rest / size;
        rest %= size;
        if count > 0 {
            out.push_str(&format!("{count}{unit}"));
        }
    }
    out
}
