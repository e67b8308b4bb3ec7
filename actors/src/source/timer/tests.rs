//! Schedules through daylight saving time, downtimes and clocks that jump.

#![allow(clippy::unwrap_used)]

use super::*;
use proptest::prelude::*;

fn at(text: &str) -> Wall {
    Wall(text.parse::<jiff::Timestamp>().unwrap().as_microsecond())
}

fn shown(time: Wall) -> String {
    jiff::Timestamp::from_microsecond(time.0).unwrap().to_string()
}

fn cron(expression: &str, tz: &str) -> Schedule {
    let config = ScheduleConfig { cron: Some(expression.into()), tz: Some(tz.into()), ..ScheduleConfig::default() };
    config.build().unwrap()
}

fn every(text: &str, missed: Missed) -> Schedule {
    ScheduleConfig { every: Some(text.into()), missed, ..ScheduleConfig::default() }.build().unwrap()
}

fn following(schedule: &Schedule, after: &str, count: usize) -> Vec<String> {
    let first = schedule.next(at(after));
    std::iter::successors(first, |tick| schedule.next(*tick)).take(count).map(shown).collect()
}

#[test]
fn mondays_at_nine_in_berlin_keep_their_local_hour() {
    let schedule = cron("0 9 * * MON", "Europe/Berlin");
    assert_eq!(following(&schedule, "2026-03-20T00:00:00Z", 2), ["2026-03-23T08:00:00Z", "2026-03-30T07:00:00Z"]);
    assert_eq!(following(&schedule, "2026-10-19T07:00:00Z", 1), ["2026-10-26T08:00:00Z"]);
}

#[test]
fn spring_fires_a_time_that_does_not_exist_at_the_change() {
    // 2026-03-29: 02:00 CET becomes 03:00 CEST, at 01:00 UTC.
    let half_past_two = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(
        following(&half_past_two, "2026-03-28T00:00:00Z", 3),
        ["2026-03-28T01:30:00Z", "2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"]
    );
    // Two that fall into the gap and one at its end are one moment.
    let around = cron("0,30 2,3 * * *", "Europe/Berlin");
    assert_eq!(following(&around, "2026-03-29T00:00:00Z", 2), ["2026-03-29T01:00:00Z", "2026-03-29T01:30:00Z"]);
}

#[test]
fn autumn_fires_a_repeated_time_once() {
    // 2026-10-25: 03:00 CEST becomes 02:00 CET, at 01:00 UTC.
    let half_past_two = cron("30 2 * * *", "Europe/Berlin");
    assert_eq!(following(&half_past_two, "2026-10-24T12:00:00Z", 2), ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]);
    assert_eq!(following(&half_past_two, "2026-10-25T00:30:00Z", 1), ["2026-10-26T01:30:00Z"]);
    let each_minute_of_two = cron("* 2 * * *", "Europe/Berlin");
    assert_eq!(following(&each_minute_of_two, "2026-10-25T00:59:00Z", 1), ["2026-10-26T01:00:00Z"]);
}

#[test]
fn wildcard_hours_follow_real_time_through_both_changes() {
    for day in ["2026-03-28T22:00:00Z", "2026-10-24T22:00:00Z"] {
        let schedule = cron("*/15 * * * *", "Europe/Berlin");
        let mut last = at(day);
        for _ in 0..40 {
            let next = schedule.next(last).unwrap();
            assert_eq!(next.since(last), Duration::from_secs(900), "after {}", shown(last));
            last = next;
        }
    }
}

#[test]
fn leap_days_are_found() {
    assert_eq!(following(&cron("0 0 29 2 *", "UTC"), "2026-01-01T00:00:00Z", 1), ["2028-02-29T00:00:00Z"]);
}

#[test]
fn intervals_are_counted_from_1970() {
    let schedule = every("30s", Missed::Skip);
    assert_eq!(following(&schedule, "2026-01-01T00:00:07Z", 2), ["2026-01-01T00:00:30Z", "2026-01-01T00:01:00Z"]);
    assert_eq!(shown(schedule.next(Wall(-1)).unwrap()), "1970-01-01T00:00:00Z");
}

#[test]
fn errors_show_the_place_and_an_example() {
    let told = |cron: &str, tz: &str| {
        let config = ScheduleConfig { cron: Some(cron.into()), tz: Some(tz.into()), ..ScheduleConfig::default() };
        config.build().unwrap_err().to_string()
    };
    let error = told("0 25 * * MON", "UTC");
    assert!(error.contains("at character 3;") && error.contains("0..=23") && error.contains("0 9 * * MON"), "{error}");
    assert!(told("0  9 *  * MOON", "UTC").contains("\"0 9 * * MOON\""), "{}", told("0  9 *  * MOON", "UTC"));
    assert!(told("0 9 * *", "UTC").contains("missing at character 8"));
    assert!(told("0 0 9 * * MON", "UTC").contains("sixth field"));
    assert!(told("0 9 * * MON Europe/Berlin", "UTC").contains("goes into tz"));
    assert!(told("", "UTC").contains("missing at character 1"));
    assert!(told("0 9 é * *", "UTC").contains("ASCII"));
    assert!(told("0 0 30 2 *", "UTC").contains("never fires"));
    assert!(told("0 9 * * *", "Europe/Berlim").contains("Europe/Berlim"));
    let neither = ScheduleConfig::default().build().unwrap_err();
    assert!(neither.to_string().contains("every = \"30s\""));
    for bad in ["500ms", "367d", "30", "0s"] {
        let config = ScheduleConfig { every: Some(bad.into()), ..ScheduleConfig::default() };
        assert!(matches!(config.build(), Err(Error::Every(_))), "{bad}");
    }
    let zoned = ScheduleConfig { every: Some("1m".into()), tz: Some("UTC".into()), ..ScheduleConfig::default() };
    assert!(zoned.build().unwrap_err().to_string().contains("no effect"));
}

#[test]
fn a_new_timer_owes_nothing() {
    let now = at("2026-01-01T00:00:10Z");
    let due = every("30s", Missed::All).due(None, now);
    assert_eq!((due.ticks.len(), due.next), (0, Some(at("2026-01-01T00:00:30Z"))));
    assert_eq!(due.last, Some(now));
}

#[test]
fn a_tick_that_is_a_little_late_fires_under_every_policy() {
    for missed in [Missed::Skip, Missed::Once, Missed::All] {
        let due = every("30s", missed).due(Some(at("2026-01-01T00:00:00Z")), at("2026-01-01T00:00:30.2Z"));
        assert_eq!(due.ticks, [at("2026-01-01T00:00:30Z")]);
        assert_eq!((due.skipped, due.last), (false, Some(at("2026-01-01T00:00:30Z"))));
        // And does not fire again.
        let again = every("30s", missed).due(due.last, at("2026-01-01T00:00:30.3Z"));
        assert_eq!((again.ticks.len(), again.next), (0, Some(at("2026-01-01T00:01:00Z"))));
    }
}

#[test]
fn a_downtime_follows_the_policy() {
    let (last, now) = (at("2026-01-01T00:00:00Z"), at("2026-01-01T05:30:00Z"));
    let skip = every("1h", Missed::Skip).due(Some(last), now);
    assert_eq!((skip.ticks.len(), skip.skipped, skip.last), (0, true, Some(at("2026-01-01T05:00:00Z"))));
    let once = every("1h", Missed::Once).due(Some(last), now);
    assert_eq!((once.ticks, once.skipped), (vec![at("2026-01-01T05:00:00Z")], true));
    let all = every("1h", Missed::All).due(Some(last), now);
    assert_eq!((all.ticks.len(), all.skipped), (5, false));
    assert!(all.ticks.is_sorted());
}

#[test]
fn a_year_of_downtime_fires_a_hundred_and_takes_no_year() {
    let (last, now) = (at("2025-01-01T00:00:00Z"), at("2026-01-01T00:00:00Z"));
    let cron = ScheduleConfig { cron: Some("* * * * *".into()), missed: Missed::All, ..ScheduleConfig::default() };
    for schedule in [every("1s", Missed::All), cron.build().unwrap()] {
        let due = schedule.due(Some(last), now);
        assert_eq!((due.ticks.len(), due.skipped, due.ticks.last()), (MAX_MISSED, true, Some(&now)));
    }
}

#[test]
fn a_clock_an_hour_back_repeats_nothing() {
    let schedule = every("10m", Missed::All);
    let fired = at("2026-01-01T12:00:00Z");
    let due = schedule.due(Some(fired), at("2026-01-01T11:00:30Z"));
    assert_eq!((due.ticks.len(), due.next, due.last), (0, Some(at("2026-01-01T12:10:00Z")), Some(fired)));
}

#[test]
fn a_clock_an_hour_forward_is_a_downtime() {
    let now = at("2026-01-01T13:00:30Z");
    let due = every("10m", Missed::Skip).due(Some(at("2026-01-01T12:00:00Z")), now);
    assert_eq!((due.ticks, due.skipped), (vec![at("2026-01-01T13:00:00Z")], true));
}

#[test]
fn a_clock_that_was_a_year_ahead_does_not_stop_the_timer() {
    let now = at("2026-01-01T12:00:30Z");
    let due = every("10m", Missed::All).due(Some(at("2027-01-01T12:00:00Z")), now);
    assert_eq!((due.next, due.last), (Some(at("2026-01-01T12:10:00Z")), Some(now)));
}

#[test]
fn a_tick_is_the_same_event_whenever_it_is_made() {
    let tick = at("2026-11-23T08:00:00Z");
    let (one, two) = (tick_event("report", tick), tick_event("report", tick));
    assert_eq!(&*one.id, "timer:report:2026-11-23T08:00:00Z");
    assert_eq!((&one.id, &one.data, one.time), (&two.id, &two.data, tick));
    assert_eq!((&*one.kind, &*one.source), ("timer.report", "/timers/report"));
    assert_eq!(one.doc().unwrap().root().get("scheduled").unwrap().as_str().unwrap(), "2026-11-23T08:00:00Z");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn next_is_later_and_due_is_in_order(
        last in prop_oneof![any::<i64>(), -3_000_000_000_000_000i64..300_000_000_000_000_000],
        now in prop_oneof![any::<i64>(), -3_000_000_000_000_000i64..300_000_000_000_000_000],
    ) {
        let schedules = [every("7s", Missed::All), cron("30 2 * * *", "Europe/Berlin"), cron("*/7 * * * *", "America/Havana")];
        for schedule in schedules {
            prop_assert!(schedule.next(Wall(now)).is_none_or(|next| next > Wall(now)));
            let due = schedule.due(Some(Wall(last)), Wall(now));
            prop_assert!(due.ticks.len() <= MAX_MISSED && due.ticks.is_sorted());
            prop_assert!(due.ticks.iter().all(|tick| Wall(last) < *tick && *tick <= Wall(now)));
        }
    }

    #[test]
    fn fixed_hours_fire_once_a_local_day(day in 0i64..20_000, hour in 0u8..24, minute in 0u8..60) {
        let schedule = cron(&format!("{minute} {hour} * * *"), "Europe/Berlin");
        let zone = jiff::tz::TimeZone::get("Europe/Berlin").unwrap();
        let date = jiff::civil::date(1990, 1, 1).checked_add(jiff::SignedDuration::from_hours(24 * day)).unwrap();
        let start = date.to_zoned(zone.clone()).unwrap().timestamp().as_microsecond();
        let end = date.tomorrow().unwrap().to_zoned(zone).unwrap().timestamp().as_microsecond();
        let first = schedule.next(Wall(start - 1)).unwrap();
        prop_assert!(first < Wall(end));
        prop_assert!(schedule.next(first).unwrap() >= Wall(end));
    }

    #[test]
    fn no_expression_panics(text in "[0-9*/,LW#A-Z -]{0,30}", any_text in "\\PC{0,30}", zone in "[A-Za-z/]{0,20}") {
        for cron in [text, any_text] {
            for tz in [None, Some(zone.clone())] {
                let config = ScheduleConfig { cron: Some(cron.clone()), tz, ..ScheduleConfig::default() };
                if let Err(error) = config.build() {
                    prop_assert!(!error.to_string().is_empty());
                }
            }
        }
    }
}
