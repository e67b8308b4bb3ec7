//! Lengths of time.

use super::args::text;
use super::time::us;
use super::{Row, Run};
use crate::codes;
use crate::eval::Result;
use crate::fault::Fault;
use crate::value::Value;

/// The microseconds of a unit.
fn unit(name: &str) -> Result<i64> {
    let one = Some(name).filter(|name| name.bytes().all(|byte| byte.is_ascii_alphabetic()));
    one.and_then(|name| crate::lexer::duration(&["1", name].concat()))
        .ok_or_else(|| Fault::new(codes::BAD_ARGUMENT, format!("a unit is us, ms, s, m, h, d or w, not {name:?}")))
}

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "parse_duration",
        signature: "(text: string) -> duration!",
        doc: "A length of time such as `1h30m`; units us, ms, s, m, h, d, w.",
        examples: &[("parse_duration('90s') == 1m30s", "true")],
        run: Run::Pure(|_, a| {
            let (negative, digits) = text(a, 0).strip_prefix('-').map_or((false, text(a, 0)), |rest| (true, rest));
            crate::lexer::duration(digits).map(|us| Value::Duration(if negative { -us } else { us })).ok_or_else(|| {
                Fault::new(codes::BAD_ARGUMENT, format!("{:?} is not a duration such as 1h30m", text(a, 0)))
            })
        }),
    },
    Row {
        name: "duration",
        signature: "(count: int, unit: string) -> duration",
        doc: "A length of time of a count of units: us, ms, s, m, h, d, w.",
        examples: &[("duration(90, 's')", "\"1m30s\"")],
        run: Run::Pure(|_, a| {
            let Value::Int(count) = a[0] else { return Ok(Value::Null) };
            let unit = unit(text(a, 1))?;
            count
                .checked_mul(unit)
                .map(Value::Duration)
                .ok_or_else(|| Fault::new(codes::OVERFLOW, "the duration does not fit 64 bits of microseconds"))
        }),
    },
    Row {
        name: "total",
        signature: "(length: duration, unit: string) -> int",
        doc: "The whole units in a length of time.",
        examples: &[("total(90m, 'h')", "1"), ("total(1h, 's')", "3600")],
        run: Run::Pure(|_, a| {
            let unit = unit(text(a, 1))?;
            Ok(Value::Int(us(&a[0]) / unit))
        }),
    },
    Row {
        name: "parse_iso_duration",
        signature: "(text: string) -> duration!",
        doc: "A length of time from ISO 8601, such as `PT1H30M`; a day has 24 hours, and years and months have no \
              fixed length.",
        examples: &[("parse_iso_duration('P1DT2H') == 26h", "true")],
        run: Run::Pure(|_, a| {
            let bad = |why: String| {
                Fault::new(codes::BAD_ARGUMENT, format!("{} is not a duration such as PT1H30M: {why}", a[0].preview()))
            };
            let span: jiff::Span = text(a, 0).parse().map_err(|why: jiff::Error| bad(why.to_string()))?;
            if span.get_years() != 0 || span.get_months() != 0 {
                return Err(bad("years and months have no fixed length".to_owned()));
            }
            let length =
                span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|why| bad(why.to_string()))?;
            i64::try_from(length.as_micros())
                .map(Value::Duration)
                .map_err(|_| Fault::new(codes::OVERFLOW, "the duration does not fit 64 bits of microseconds"))
        }),
    },
    Row {
        name: "format_iso_duration",
        signature: "(length: duration) -> string",
        doc: "The length of time as ISO 8601, in hours, minutes and seconds.",
        examples: &[("format_iso_duration(26h30s)", "\"PT26H30S\"")],
        run: Run::Pure(|m, a| {
            let length = jiff::SignedDuration::from_micros(us(&a[0]));
            m.string(length.to_string())
        }),
    },
    Row {
        name: "humanize",
        signature: "(length: duration) -> string",
        doc: "The length of time in words: its two largest units, rounded down.",
        examples: &[("humanize(93784s)", "\"1 day 2 hours\""), ("humanize(200ms)", "\"less than a second\"")],
        run: Run::Pure(|m, a| {
            const UNITS: [(&str, u64); 5] =
                [("week", 604_800), ("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];
            let length = us(&a[0]);
            let mut seconds = length.unsigned_abs() / 1_000_000;
            let mut parts = Vec::new();
            let mut looked = 0;
            for (name, size) in UNITS {
                let count = seconds / size;
                seconds %= size;
                looked += usize::from(count > 0 || looked > 0);
                if count > 0 {
                    parts.push(format!("{count} {name}{}", if count == 1 { "" } else { "s" }));
                }
                if looked == 2 {
                    break;
                }
            }
            let sign = if length < 0 && !parts.is_empty() { "-" } else { "" };
            m.string(if parts.is_empty() { "less than a second".to_owned() } else { [sign, &parts.join(" ")].concat() })
        }),
    },
];
