//! Timers: when an event is due, by a cron expression in a time zone or by an interval.
//!
//! Pure: a schedule maps a wall time to the next one. Ticks have deterministic ids (`timer:<name>:<time>`), so that a
//! tick that is published again after a crash is recognised as the same event.
//!
//! A clock that is set back does not repeat ticks: what has fired stays fired until the clock passes it again. A clock
//! that is set forward is like a downtime: the `missed` policy decides.

use bytes::Bytes;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::VecDeque;
use std::time::Duration;

use super::units;
use crate::clock::Wall;
use crate::event::Event;

mod cron;

/// What happens to ticks that passed while nothing ran (or while the clock jumped forward).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Missed {
    /// They are left out. A tick that is at most a minute late is not missed.
    #[default]
    Skip,
    /// The last of them fires, once.
    Once,
    /// All of them fire, in order, the latest 100 at most.
    All,
}

/// At most this many missed ticks fire.
pub const MAX_MISSED: usize = 100;

/// How late a tick may fire without having been missed.
const ON_TIME: Duration = Duration::from_secs(60);

/// Missed ticks are looked for this far back; what a timer missed before is left out.
const LOOK_BACK: Duration = Duration::from_secs(10 * 366 * 86_400);

/// The clock was wrong, not set back a little, when the last tick lies this far in the future: begin anew.
const CLOCK_WAS_WRONG: Duration = Duration::from_secs(86_400);

/// `{ cron = "0 9 * * MON", tz = "Europe/Berlin" }` or `{ every = "30s" }`, and `missed`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(extend("oneOf" = [{ "required": ["cron"] }, { "required": ["every"] }]))]
pub struct ScheduleConfig {
    /// Minute, hour, day of month, month, day of week.
    #[serde(default)]
    pub cron: Option<String>,
    /// The time zone of `cron`, an IANA name; default UTC.
    #[serde(default)]
    pub tz: Option<String>,
    /// An interval, `"1s"` to `"366d"`, counted from 1970, so that a restart does not shift it.
    #[serde(default)]
    #[schemars(schema_with = "units::duration::schema")]
    pub every: Option<String>,
    /// Ticks that passed while the process was down.
    #[serde(default)]
    pub missed: Missed,
}

/// Why a schedule cannot be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// Neither `cron` nor `every`.
    #[error("a timer needs cron (for example cron = \"0 9 * * MON\") or every (for example every = \"30s\")")]
    Neither,
    /// Both, or a time zone with an interval.
    #[error("{0}")]
    Both(&'static str),
    /// The expression.
    #[error(
        "cron {expression:?}: {reason} at character {position}; five fields are expected (minute hour day-of-month month \
         day-of-week), for example \"0 9 * * MON\" for Mondays at nine"
    )]
    Cron {
        /// As written.
        expression: String,
        /// The character, counted from 1.
        position: usize,
        /// What is wrong there.
        reason: String,
    },
    /// It has no tick.
    #[error("cron {0:?} never fires: no year has such a day")]
    Never(String),
    /// The time zone.
    #[error("tz {0:?} is not a time zone: write an IANA name, for example \"Europe/Berlin\" or \"UTC\"")]
    Zone(String),
    /// The interval.
    #[error("every: {0}")]
    Every(String),
}

impl Error {
    /// The setting to look at.
    pub fn field(&self) -> &'static str {
        match self {
            Self::Zone(_) => "tz",
            Self::Every(_) => "every",
            _ => "cron",
        }
    }
}

impl ScheduleConfig {
    /// Checks the setting.
    ///
    /// # Errors
    /// What is wrong, where, and an example.
    pub fn build(&self) -> Result<Schedule, Error> {
        let rule = match (&self.cron, &self.every) {
            (None, None) => return Err(Error::Neither),
            (Some(_), Some(_)) => return Err(Error::Both("cron and every exclude each other: keep one")),
            (None, Some(_)) if self.tz.is_some() => {
                return Err(Error::Both("tz has no effect on every: remove it, or use cron"));
            }
            (None, Some(every)) => {
                let every = units::parse_duration(every).map_err(Error::Every)?;
                let micros = i64::try_from(every.as_micros()).unwrap_or(i64::MAX);
                if !(1_000_000..=366 * 86_400 * 1_000_000).contains(&micros) {
                    return Err(Error::Every("must be between \"1s\" and \"366d\"".into()));
                }
                Rule::Every(micros)
            }
            (Some(text), None) => Rule::Cron(Box::new(cron::Cron::parse(text, self.tz.as_deref())?)),
        };
        let told = match &rule {
            Rule::Every(micros) => format!("every {micros}"),
            Rule::Cron(_) => format!("cron {:?} {:?}", self.cron, self.tz),
        };
        Ok(Schedule { rule, missed: self.missed, mark: crate::log::keys::mark(&told) })
    }
}

#[derive(Debug, Clone)]
enum Rule {
    Cron(Box<cron::Cron>),
    /// Microseconds.
    Every(i64),
}

/// A checked schedule.
#[derive(Debug, Clone)]
pub struct Schedule {
    rule: Rule,
    missed: Missed,
    mark: [u8; 8],
}

/// What is due.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Due {
    /// The ticks to fire now, in order.
    pub ticks: Vec<Wall>,
    /// When to ask again. `None`: never.
    pub next: Option<Wall>,
    /// Whether the `missed` policy (or its cap) left ticks out.
    pub skipped: bool,
    /// What to remember as `last_fired`, also when nothing fires.
    pub last: Option<Wall>,
}

impl Schedule {
    /// What tells it from others: when it ticks, not what it does about missed ticks. Stored with the last tick.
    pub fn mark(&self) -> [u8; 8] {
        self.mark
    }

    /// The first tick after a time.
    pub fn next(&self, after: Wall) -> Option<Wall> {
        match &self.rule {
            Rule::Every(micros) => {
                let next = after.0.div_euclid(*micros).checked_add(1)?.checked_mul(*micros)?;
                Some(Wall(next))
            }
            Rule::Cron(cron) => cron.next(after),
        }
    }

    /// What is due at `now`, when `last_fired` was the last tick that fired (or when the timer was first seen: a new
    /// timer owes nothing for the past).
    pub fn due(&self, last_fired: Option<Wall>, now: Wall) -> Due {
        let Some(last) = last_fired.filter(|last| last.since(now) <= CLOCK_WAS_WRONG) else {
            return Due { next: self.next(now), last: Some(now), ..Due::default() };
        };
        if last >= now {
            return Due { next: self.next(last), last: Some(last), ..Due::default() };
        }
        let wanted = if self.missed == Missed::All { MAX_MISSED } else { 1 };
        let (mut ticks, mut skipped) = self.latest(last, now, wanted);
        let newest = ticks.last().copied();
        if self.missed == Missed::Skip {
            let before = ticks.len();
            ticks.retain(|tick| now.since(*tick) <= ON_TIME);
            skipped |= ticks.len() < before;
        }
        Due { next: self.next(now), last: newest.or(Some(last)), ticks, skipped }
    }

    /// The latest ticks in `(after, now]`, at most `most`, and whether there are earlier ones. Looks back in windows
    /// that double, so that a year of downtime of a timer of every second costs no more than a minute of it.
    fn latest(&self, after: Wall, now: Wall, most: usize) -> (Vec<Wall>, bool) {
        let mut window = Duration::from_secs(60);
        loop {
            let start = Wall(now.0.saturating_sub(i64::try_from(window.as_micros()).unwrap_or(i64::MAX)));
            let whole = start <= after;
            let mut found = VecDeque::with_capacity(most + 1);
            let mut at = start.max(after);
            // Without a tick after its start (a clock beyond all calendars) there is none in a wider window either.
            let exhausted = window >= LOOK_BACK || self.next(at).is_none();
            while let Some(tick) = self.next(at).filter(|tick| *tick <= now) {
                found.push_back(tick);
                if found.len() > most + 1 {
                    found.pop_front();
                }
                at = tick;
            }
            let more = found.len() > most;
            if more || whole || exhausted {
                found.drain(..found.len().saturating_sub(most));
                return (found.into(), more || !whole);
            }
            window = window.saturating_mul(2).min(LOOK_BACK);
        }
    }
}

/// The id of a tick, the same whenever it is made.
pub fn tick_id(name: &str, tick: Wall) -> String {
    match jiff::Timestamp::from_microsecond(tick.0) {
        Ok(time) => format!("timer:{name}:{time}"),
        Err(_) => format!("timer:{name}:{}us", tick.0),
    }
}

/// The event of a tick: type `timer.<name>`, source `/timers/<name>`, the time that was due as its time and data.
pub fn tick_event(name: &str, tick: Wall) -> Event {
    let id = tick_id(name, tick);
    let time = id.splitn(3, ':').nth(2).unwrap_or_default();
    // Neither can hold anything that JSON escapes: names are checked, the time is digits and signs.
    let data = format!(r#"{{"timer":"{name}","scheduled":"{time}"}}"#);
    let kind = format!("timer.{name}");
    let mut event = Event::new(format!("/timers/{name}"), kind, Bytes::from(data));
    event.id = id.into();
    event.time = tick;
    event
}

#[cfg(test)]
mod tests;
