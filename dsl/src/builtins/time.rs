//! Points in time, in microseconds. Time zones come with the program; no file is read.

use std::sync::OnceLock;

use jiff::tz::{TimeZone, TimeZoneDatabase};
use jiff::{Timestamp, Zoned};

use super::args::text;
use super::{Row, Run};
use crate::codes;
use crate::eval::{Result, timestamp};
use crate::fault::Fault;
use crate::value::Value;

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "now",
        signature: "() -> timestamp",
        doc: "The time at which the evaluation began: the same as `ctx.now`, and the same throughout a run.",
        examples: &[("now() == ctx.now", "true")],
        run: Run::Context(|m, _| Ok(Value::Timestamp(m.input.ctx.now_us))),
    },
    Row {
        name: "parse_time",
        signature: "(text: string, format?: string, zone?: string) -> timestamp!",
        doc: "A point in time from RFC 3339, or from a format of strptime such as `%d.%m.%Y %H:%M`, in a zone (UTC if not \
              given) unless the text has an offset.",
        examples: &[
            ("parse_time('2026-01-02T03:04:05+01:00')", "\"2026-01-02T02:04:05Z\""),
            ("parse_time('02.01.2026 12:00', '%d.%m.%Y %H:%M', 'Europe/Berlin')", "\"2026-01-02T11:00:00Z\""),
        ],
        run: Run::Pure(|_, a| parse_time(a)?),
    },
    Row {
        name: "try_parse_time",
        signature: "(text: string, format?: string, zone?: string) -> timestamp | null",
        doc: "Like `parse_time`, and null if the text is not a time. A zone that there is not is a failure here, too.",
        examples: &[("try_parse_time('yesterday')", "null")],
        run: Run::Pure(|_, a| Ok(parse_time(a)?.unwrap_or_default())),
    },
    Row {
        name: "format_time",
        signature: "(time: timestamp, format: string, zone?: string) -> string",
        doc: "The time as text in a format of strftime, in a zone (UTC if not given).",
        examples: &[
            ("format_time(from_unix(0), '%Y-%m-%d %H:%M', 'Asia/Tokyo')", "\"1970-01-01 09:00\""),
            ("format_time(from_unix(86400), '%A')", "\"Friday\""),
        ],
        run: Run::Pure(|m, a| {
            let zoned = zoned(&a[0], a, 2)?;
            let format = text(a, 1);
            // The format can repeat long fields; its own length bounds the result well enough.
            m.budget.make(format.len().saturating_mul(16))?;
            let written = jiff::fmt::strtime::format(format, &zoned)
                .map_err(|why| Fault::new(codes::BAD_ARGUMENT, format!("the format {format:?} is not valid: {why}")))?;
            m.string(written)
        }),
    },
    Row {
        name: "unix",
        signature: "(time: timestamp) -> int",
        doc: "Whole seconds since 1970-01-01T00:00:00Z.",
        examples: &[("unix(parse_time('1970-01-02T00:00:00Z'))", "86400")],
        run: Run::Pure(|_, a| Ok(Value::Int(us(&a[0]).div_euclid(1_000_000)))),
    },
    Row {
        name: "unix_ms",
        signature: "(time: timestamp) -> int",
        doc: "Whole milliseconds since 1970-01-01T00:00:00Z.",
        examples: &[("unix_ms(from_unix(2))", "2000")],
        run: Run::Pure(|_, a| Ok(Value::Int(us(&a[0]).div_euclid(1_000)))),
    },
    Row {
        name: "from_unix",
        signature: "(seconds: int) -> timestamp",
        doc: "The point in time of seconds since 1970-01-01T00:00:00Z.",
        examples: &[("from_unix(0)", "\"1970-01-01T00:00:00Z\"")],
        run: Run::Pure(|_, a| from_count(&a[0], 1_000_000)),
    },
    Row {
        name: "from_unix_ms",
        signature: "(milliseconds: int) -> timestamp",
        doc: "The point in time of milliseconds since 1970-01-01T00:00:00Z.",
        examples: &[("from_unix_ms(1500)", "\"1970-01-01T00:00:01.5Z\"")],
        run: Run::Pure(|_, a| from_count(&a[0], 1_000)),
    },
];

pub(super) fn us(value: &Value<'_>) -> i64 {
    match value {
        Value::Timestamp(us) | Value::Duration(us) => *us,
        _ => 0,
    }
}

pub(super) fn out_of_range() -> Fault {
    Fault::new(codes::BAD_ARGUMENT, "the time lies outside of the years -9999 to 9999")
}

fn from_count<'e>(value: &Value<'_>, unit: i64) -> Result<Value<'e>> {
    let Value::Int(count) = value else { return Ok(Value::Null) };
    count.checked_mul(unit).and_then(timestamp).ok_or_else(out_of_range)
}

pub(super) fn zone(args: &[Value<'_>], at: usize) -> Result<TimeZone> {
    static ZONES: OnceLock<TimeZoneDatabase> = OnceLock::new();
    match args.get(at).map(|_| text(args, at)) {
        None | Some("UTC" | "Z") => Ok(TimeZone::UTC),
        Some(name) => ZONES.get_or_init(TimeZoneDatabase::bundled).get(name).map_err(|_| {
            Fault::new(codes::BAD_ARGUMENT, format!("unknown time zone {name:?}; names are such as 'Europe/Berlin'"))
        }),
    }
}

pub(super) fn zoned(value: &Value<'_>, args: &[Value<'_>], at: usize) -> Result<Zoned> {
    let time = Timestamp::from_microsecond(us(value)).map_err(|_| out_of_range())?;
    Ok(time.to_zoned(zone(args, at)?))
}

/// What the text says, or why it says nothing. A zone that there is not is a slip of the program, whatever the text.
fn parse_time<'e>(args: &[Value<'_>]) -> Result<Result<Value<'e>>> {
    let subject = text(args, 0);
    let bad = |why: jiff::Error| Fault::new(codes::BAD_ARGUMENT, format!("{subject:?} is not a time: {why}"));
    let found = |time: Timestamp| Value::Timestamp(time.as_microsecond());
    if args.len() < 2 {
        return Ok(subject.parse().map(found).map_err(bad));
    }
    let parsed = match jiff::fmt::strtime::parse(text(args, 1), subject) {
        Ok(parsed) => parsed,
        Err(why) => return Ok(Err(bad(why))),
    };
    if let Ok(time) = parsed.to_timestamp() {
        return Ok(Ok(found(time)));
    }
    if parsed.meridiem().is_some() && parsed.hour().is_none() {
        let why = format!("{subject:?} is not a time: am or pm says nothing without an hour");
        return Ok(Err(Fault::new(codes::BAD_ARGUMENT, why)));
    }
    // Without an offset in the text, the zone decides; without any time of day, it is midnight.
    let zone = zone(args, 2)?;
    Ok(parsed.to_datetime().and_then(|civil| civil.to_zoned(zone)).map(|time| found(time.timestamp())).map_err(bad))
}
