//! Time zones.

use super::args::text;
use super::time::{out_of_range, zone, zoned};
use super::{Row, Run};
use crate::codes;
use crate::fault::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "in_zone",
        signature: "(time: timestamp, zone: string) -> string",
        doc: "The time as RFC 3339 text with the offset of a zone.",
        examples: &[("in_zone(from_unix(0), 'Asia/Tokyo')", "\"1970-01-01T09:00:00+09:00\"")],
        run: Run::Pure(|m, a| {
            let at = zoned(&a[0], a, 1)?;
            // Text has whole minutes, which the zones had not before they were regular.
            let minutes = (at.offset().seconds() + 30).div_euclid(60);
            let offset = jiff::tz::Offset::from_seconds(minutes * 60).map_err(|_| out_of_range())?;
            m.string(offset.to_datetime(at.timestamp()).to_string() + &offset_text(minutes))
        }),
    },
    Row {
        name: "zone_offset",
        signature: "(time: timestamp, zone: string) -> duration",
        doc: "How far a zone is ahead of UTC at a time.",
        examples: &[("zone_offset(parse_time('2026-07-01T00:00:00Z'), 'Europe/Berlin')", "\"2h\"")],
        run: Run::Pure(|_, a| Ok(Value::Duration(i64::from(zoned(&a[0], a, 1)?.offset().seconds()) * 1_000_000))),
    },
    Row {
        name: "is_zone",
        signature: "(name: string) -> bool",
        doc: "Whether there is a time zone of the name.",
        examples: &[("is_zone('Europe/Berlin')", "true"), ("is_zone('Berlin')", "false")],
        run: Run::Pure(|_, a| Ok(Value::Bool(zone(a, 0).is_ok()))),
    },
    Row {
        name: "time_at",
        signature: "(date: string, zone: string) -> timestamp",
        doc: "The time of a date, or of a date and a time of day, on the clocks of a zone.",
        examples: &[
            ("time_at('2026-07-01', 'Europe/Berlin')", "\"2026-06-30T22:00:00Z\""),
            ("time_at('2026-07-01 12:30', 'Europe/Berlin')", "\"2026-07-01T10:30:00Z\""),
        ],
        run: Run::Pure(|_, a| {
            let subject = text(a, 0);
            let bad = |why: jiff::Error| {
                Fault::new(codes::BAD_ARGUMENT, format!("{} is not a date such as 2026-07-01: {why}", a[0].preview()))
            };
            let civil: jiff::civil::DateTime = subject.parse().map_err(bad)?;
            let zoned = civil.to_zoned(zone(a, 1)?).map_err(bad)?;
            Ok(Value::Timestamp(zoned.timestamp().as_microsecond()))
        }),
    },
];

fn offset_text(minutes: i32) -> String {
    let sign = if minutes < 0 { '-' } else { '+' };
    format!("{sign}{:02}:{:02}", minutes.abs() / 60, minutes.abs() % 60)
}
