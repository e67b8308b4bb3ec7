//! Cron expressions in a time zone, through the changes of daylight saving time.
//!
//! As Vixie's cron does it: an expression with a fixed hour fires once a day whatever the clocks do (a time that the
//! change to summer time leaves out fires at the moment of the change, a time that autumn repeats fires the first time);
//! an expression whose hour is `*` or `*/n` follows the real hours, so `*/15 * * * *` is always 15 minutes.

use cronexpr::{Crontab, FallbackTimezoneOption, MakeTimestamp, ParseOptions};
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp};

use super::Error;
use crate::clock::Wall;

/// Longer than any expression that a person reads.
const MAX_BYTES: usize = 256;

/// The years 1900 to 9000 in microseconds: `cronexpr` adds years without a check, and a clock beyond them is broken.
const SANE: std::ops::Range<i64> = -2_208_988_800_000_000..221_845_392_000_000_000;

/// How many local times are tried for one tick: an hour that autumn repeats has at most 60, zones of two hours exist.
const MAX_TRIES: usize = 24 * 60;

#[derive(Debug, Clone)]
pub(super) struct Cron {
    /// In the zone itself when the hour is a wildcard; else in UTC, standing for local times.
    table: Crontab,
    zone: TimeZone,
    by_real_hours: bool,
}

impl Cron {
    pub(super) fn parse(text: &str, zone: Option<&str>) -> Result<Self, Error> {
        let name = zone.unwrap_or("UTC");
        let zone = TimeZone::get(name).map_err(|_| Error::Zone(name.chars().take(64).collect()))?;
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let text = fields.join(" ");
        let wrong = |position: usize, reason: &str| Error::Cron {
            expression: text.chars().take(80).collect(),
            position,
            reason: reason.to_owned(),
        };
        if text.len() > MAX_BYTES || !text.is_ascii() {
            return Err(wrong(1, "more than 256 characters, or some that are not ASCII,"));
        }
        let by_real_hours = match fields.as_slice() {
            [_, hour, _, _, _] => hour.starts_with('*'),
            [five @ .., _] if five.len() >= 5 => {
                let at = fields.iter().take(5).map(|field| field.len() + 1).sum::<usize>() + 1;
                return Err(wrong(at, "a sixth field (seconds are not supported, and a time zone goes into tz)"));
            }
            _ => return Err(wrong(text.len() + 1, "a field is missing")),
        };
        let mut options = ParseOptions::default();
        options.fallback_timezone_option = FallbackTimezoneOption::UTC;
        let mut table = cronexpr::parse_crontab_with(&text, options).map_err(|error| {
            let (position, reason) = placed(&error.to_string());
            wrong(position, &reason)
        })?;
        if by_real_hours {
            // The name is known to be a zone, and the fields to be right: only now are they put together.
            table = cronexpr::parse_crontab(&format!("{text} {name}")).map_err(|_| Error::Zone(name.to_owned()))?;
        }
        let cron = Self { table, zone, by_real_hours };
        // A leap day's year, so that 29 February is found.
        let since_2024 = Wall(1_704_067_200_000_000);
        if cron.next(since_2024).is_none() {
            return Err(Error::Never(text));
        }
        Ok(cron)
    }

    pub(super) fn next(&self, after: Wall) -> Option<Wall> {
        if !SANE.contains(&after.0) {
            return None;
        }
        let after = Timestamp::from_microsecond(after.0).ok()?;
        let found = if self.by_real_hours { self.find(after)? } else { self.next_local(after)? };
        Some(Wall(found.as_microsecond()))
    }

    fn find(&self, after: Timestamp) -> Option<Timestamp> {
        self.table.find_next(MakeTimestamp(after)).ok().map(|zoned| zoned.timestamp())
    }

    fn next_local(&self, after: Timestamp) -> Option<Timestamp> {
        let utc = TimeZone::UTC;
        let mut local = utc.to_timestamp(after.to_zoned(self.zone.clone()).datetime()).ok()?;
        // Local times and their instants are in the same order, so the first that lies after is the next.
        for _ in 0..MAX_TRIES {
            local = self.find(local)?;
            let instant = self.instant(local.to_zoned(utc.clone()).datetime())?;
            if instant > after {
                return Some(instant);
            }
        }
        None
    }

    /// The moment at which a local time fires.
    fn instant(&self, local: DateTime) -> Option<Timestamp> {
        match self.zone.to_ambiguous_timestamp(local).offset() {
            AmbiguousOffset::Unambiguous { offset } => offset.to_timestamp(local).ok(),
            AmbiguousOffset::Fold { before, .. } => before.to_timestamp(local).ok(),
            AmbiguousOffset::Gap { before, .. } => {
                // Read with the old offset, it lies just after the change: the change itself is the last one before.
                let after_change = before.to_timestamp(local).ok()?.checked_add(SignedDuration::from_secs(1)).ok()?;
                self.zone.preceding(after_change).next().map(|change| change.timestamp())
            }
        }
    }
}

/// The position and the reason out of the parser's message, whose last line is a caret under the place.
fn placed(message: &str) -> (usize, String) {
    let Some(line) = message.lines().nth(2) else { return (1, message.to_owned()) };
    match line.split_once('^') {
        Some((before, reason)) => (before.len() + 1, reason.trim().to_owned()),
        None => (1, line.trim().to_owned()),
    }
}
