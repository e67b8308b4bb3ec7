//! The calendar of a time zone.

use super::args::text;
use super::time::{out_of_range, zoned};
use super::{Row, Run};
use crate::codes;
use crate::eval::Result;
use crate::fault::Fault;
use crate::value::{ObjectBuilder, Text, Value};

pub(super) const ROWS: &[Row] = &[
    Row {
        name: "date_parts",
        signature: "(time: timestamp, zone?: string) -> object",
        doc: "Year, month, day, hour, minute, second, weekday (1 is Monday) and day of the year, in a zone (UTC if not \
              given).",
        examples: &[(
            "date_parts(from_unix(0))",
            "{\"year\":1970,\"month\":1,\"day\":1,\"hour\":0,\"minute\":0,\"second\":0,\"weekday\":4,\"yearday\":1}",
        )],
        run: Run::Pure(|m, a| {
            let at = zoned(&a[0], a, 1)?;
            let parts = [
                ("year", i64::from(at.year())),
                ("month", i64::from(at.month())),
                ("day", i64::from(at.day())),
                ("hour", i64::from(at.hour())),
                ("minute", i64::from(at.minute())),
                ("second", i64::from(at.second())),
                ("weekday", i64::from(at.weekday().to_monday_one_offset())),
                ("yearday", i64::from(at.day_of_year())),
            ];
            let mut object = ObjectBuilder::with_capacity(parts.len());
            for (name, part) in parts {
                object.push_new(Text::Borrowed(name), Value::Int(part));
            }
            m.object(object)
        }),
    },
    Row {
        name: "start_of",
        signature: "(time: timestamp, unit: string, zone?: string) -> timestamp",
        doc: "The beginning of the `'minute'`, `'hour'`, `'day'`, `'week'` (Monday), `'month'`, `'quarter'` or \
              `'year'` in a zone (UTC if not given).",
        examples: &[
            ("start_of(parse_time('2026-05-17T10:30:00Z'), 'month')", "\"2026-05-01T00:00:00Z\""),
            ("start_of(parse_time('2026-05-17T10:30:00Z'), 'day', 'Asia/Tokyo')", "\"2026-05-16T15:00:00Z\""),
        ],
        run: Run::Pure(|_, a| period(a, false)),
    },
    Row {
        name: "end_of",
        signature: "(time: timestamp, unit: string, zone?: string) -> timestamp",
        doc: "The last microsecond of the same units.",
        examples: &[("end_of(parse_time('2026-02-17T10:30:00Z'), 'month')", "\"2026-02-28T23:59:59.999999Z\"")],
        run: Run::Pure(|_, a| period(a, true)),
    },
    Row {
        name: "add_calendar",
        signature: "(time: timestamp, count: int, unit: string, zone?: string) -> timestamp",
        doc: "The time moved by a count of `'minute'`, `'hour'`, `'day'`, `'week'`, `'month'`, `'quarter'` or `'year'` \
              on the calendar of a zone (UTC if not given): the time of day stays over a change of the clocks, and a \
              day that the month lacks becomes its last.",
        examples: &[
            ("add_calendar(parse_time('2026-01-31T08:00:00Z'), 1, 'month')", "\"2026-02-28T08:00:00Z\""),
            ("add_calendar(parse_time('2026-03-28T11:00:00Z'), 1, 'day', 'Europe/Berlin')", "\"2026-03-29T10:00:00Z\""),
        ],
        run: Run::Pure(|_, a| {
            let Value::Int(count) = a[1] else { return Ok(Value::Null) };
            let moved = zoned(&a[0], a, 3)?.checked_add(span(count, text(a, 2))?).map_err(|_| out_of_range())?;
            Ok(Value::Timestamp(moved.timestamp().as_microsecond()))
        }),
    },
    Row {
        name: "calendar_between",
        signature: "(from: timestamp, to: timestamp, unit: string, zone?: string) -> int",
        doc: "The whole units of `add_calendar` from one time to another on the calendar of a zone (UTC if not given); \
              less than 0 if `to` is the earlier one.",
        examples: &[
            ("calendar_between(parse_time('2024-02-29T00:00:00Z'), parse_time('2026-02-28T00:00:00Z'), 'year')", "1"),
            ("calendar_between(parse_time('2026-01-01T00:00:00Z'), parse_time('2026-03-15T00:00:00Z'), 'week')", "10"),
        ],
        run: Run::Pure(|_, a| {
            let (from, to) = (zoned(&a[0], a, 3)?, zoned(&a[1], a, 3)?);
            let (unit, share) = match text(a, 2) {
                "minute" => (jiff::Unit::Minute, 1),
                "hour" => (jiff::Unit::Hour, 1),
                "day" => (jiff::Unit::Day, 1),
                "week" => (jiff::Unit::Week, 1),
                "month" => (jiff::Unit::Month, 1),
                "quarter" => (jiff::Unit::Month, 3),
                "year" => (jiff::Unit::Year, 1),
                other => return Err(no_unit(other)),
            };
            let span = from.until((unit, &to)).map_err(|_| out_of_range())?;
            let count = match unit {
                jiff::Unit::Minute => span.get_minutes(),
                jiff::Unit::Hour => i64::from(span.get_hours()),
                jiff::Unit::Day => i64::from(span.get_days()),
                jiff::Unit::Week => i64::from(span.get_weeks()),
                jiff::Unit::Month => i64::from(span.get_months()),
                _ => i64::from(span.get_years()),
            };
            Ok(Value::Int(count / share))
        }),
    },
    Row {
        name: "weekday",
        signature: "(time: timestamp, zone?: string) -> int",
        doc: "The day of the week in a zone (UTC if not given): 1 is Monday, 7 is Sunday.",
        examples: &[("weekday(parse_time('2026-05-17T10:30:00Z'))", "7")],
        run: Run::Pure(|_, a| Ok(Value::Int(i64::from(zoned(&a[0], a, 1)?.weekday().to_monday_one_offset())))),
    },
    Row {
        name: "iso_week",
        signature: "(time: timestamp, zone?: string) -> object",
        doc: "The week of ISO 8601 and the year that it belongs to, in a zone (UTC if not given).",
        examples: &[("iso_week(parse_time('2027-01-01T00:00:00Z'))", "{\"year\":2026,\"week\":53}")],
        run: Run::Pure(|m, a| {
            let week = zoned(&a[0], a, 1)?.date().iso_week_date();
            let mut object = ObjectBuilder::with_capacity(2);
            object.push_new(Text::Borrowed("year"), Value::Int(i64::from(week.year())));
            object.push_new(Text::Borrowed("week"), Value::Int(i64::from(week.week())));
            m.object(object)
        }),
    },
    Row {
        name: "days_in_month",
        signature: "(time: timestamp, zone?: string) -> int",
        doc: "The number of days of the month in a zone (UTC if not given).",
        examples: &[("days_in_month(parse_time('2028-02-01T00:00:00Z'))", "29")],
        run: Run::Pure(|_, a| Ok(Value::Int(i64::from(zoned(&a[0], a, 1)?.days_in_month())))),
    },
];

#[cold]
fn no_unit(unit: &str) -> Fault {
    let known = "'minute', 'hour', 'day', 'week', 'month', 'quarter' or 'year'";
    Fault::new(codes::BAD_ARGUMENT, format!("a unit is {known}, not {unit:?}"))
}

fn span(count: i64, unit: &str) -> Result<jiff::Span> {
    let none = jiff::Span::new();
    let span = match unit {
        "minute" => none.try_minutes(count),
        "hour" => none.try_hours(count),
        "day" => none.try_days(count),
        "week" => none.try_weeks(count),
        "month" => none.try_months(count),
        "quarter" => none.try_months(count.checked_mul(3).ok_or_else(out_of_range)?),
        "year" => none.try_years(count),
        other => return Err(no_unit(other)),
    };
    span.map_err(|_| out_of_range())
}

/// The first or the last microsecond of the unit around a time.
fn period<'e>(args: &[Value<'_>], end: bool) -> Result<Value<'e>> {
    let at = zoned(&args[0], args, 2)?;
    let date = at.date();
    let unit = text(args, 1);
    let start = match unit {
        "minute" => date.at(at.hour(), at.minute(), 0, 0),
        "hour" => date.at(at.hour(), 0, 0, 0),
        "day" => date.at(0, 0, 0, 0),
        "week" => {
            let back = i64::from(date.weekday().to_monday_zero_offset());
            date.checked_sub(jiff::Span::new().days(back)).map_err(|_| out_of_range())?.at(0, 0, 0, 0)
        }
        "month" => date.first_of_month().at(0, 0, 0, 0),
        "quarter" => {
            let back = i64::from((date.month() - 1) % 3);
            let month = date.first_of_month().checked_sub(jiff::Span::new().months(back));
            month.map_err(|_| out_of_range())?.at(0, 0, 0, 0)
        }
        "year" => date.first_of_year().at(0, 0, 0, 0),
        other => return Err(no_unit(other)),
    };
    let civil = if end { start.checked_add(span(1, unit)?).map_err(|_| out_of_range())? } else { start };
    let last = i64::from(end);
    if matches!(unit, "minute" | "hour") {
        // Where the clocks repeat an hour, the hour around a time is in the same pass as the time.
        let same = at.offset().to_timestamp(civil).map_err(|_| out_of_range())?.as_microsecond() - last;
        let then = jiff::Timestamp::from_microsecond(same).map_err(|_| out_of_range())?;
        if at.time_zone().to_offset(then) == at.offset() {
            return Ok(Value::Timestamp(same));
        }
    }
    let zoned = civil.to_zoned(at.time_zone().clone()).map_err(|_| out_of_range())?;
    Ok(Value::Timestamp(zoned.timestamp().as_microsecond() - last))
}
