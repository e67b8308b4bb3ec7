//! A delivery that waits for another attempt, its attempts so far, and how both are stored.

use std::time::Duration;

use crate::clock::{Tick, Wall};
use crate::event::Str;
use crate::supervision::failure::Failure;

/// A delivery that waits for its next attempt.
#[derive(Debug, Clone, PartialEq)]
pub struct Waiting {
    /// Attempts made so far.
    pub attempts: u32,
    /// When the first attempt failed.
    pub since: Wall,
    /// When the next attempt is due.
    pub due: Tick,
    /// The same on the wall clock: what is stored and shown.
    pub due_wall: Wall,
    /// Its ordering key.
    pub key: Option<Str>,
    /// Why the last attempt failed.
    pub cause: Str,
    /// Every failed attempt so far, within [`MAX_TOLD`]; the first and the newest where there is no room for all.
    pub failures: Vec<Attempt>,
    /// Whether the other side said when the next is due (`Retry-After`), not the schedule.
    pub asked: bool,
}

/// A failed attempt.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attempt {
    /// Its number, from 1.
    pub attempt: u32,
    /// When it failed, in microseconds since 1970.
    pub at: Wall,
    /// Why, cut to 300 characters.
    pub cause: Str,
    /// The functions that ran and their versions, as in `score@0123456789abcdef`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ran: Option<Str>,
}

/// The bytes that the failed attempts of a delivery may take: all thousand that can be asked for where they fail alike, and some
/// 150 whose causes are all long and different. Of more, those after the first go.
pub const MAX_TOLD: usize = 48 << 10;
/// The bytes that the failed attempts of all deliveries of a subscription that wait may take together. Of those that would go
/// beyond, the first and the newest [`NEWEST`] are kept.
pub const MAX_TOLD_TOGETHER: usize = 16 << 20;
/// See [`MAX_TOLD_TOGETHER`].
pub const NEWEST: usize = 3;
/// What an attempt takes beside its cause.
const ATTEMPT: usize = 48;
/// The characters of a cause that are kept.
const CAUSE: usize = 300;

/// The failed attempts of a delivery with this one.
pub(super) fn told(waited: Option<&Waiting>, attempt: u32, at: Wall, failure: &Failure) -> Vec<Attempt> {
    let mut failures = waited.map(|w| w.failures.clone()).unwrap_or_default();
    let mut cause: String = failure.message.chars().take(CAUSE).collect();
    if cause.is_empty() {
        // An empty one means the one before, where it is stored.
        cause.push_str("no reason was given");
    }
    // What fails alike is kept once, and beside the whole message only where it is cut.
    let same = failures.last().filter(|last| *last.cause == *cause).map(|last| last.cause.clone());
    let cause = same.unwrap_or_else(|| if *failure.message == *cause { failure.message.clone() } else { cause.into() });
    failures.push(Attempt { attempt, at, cause, ran: failure.ran.clone() });
    while size(&failures) > MAX_TOLD && failures.len() > 2 {
        failures.remove(1);
    }
    failures
}

/// Leaves the first and the newest.
pub(super) fn shorten(failures: &mut Vec<Attempt>) {
    if failures.len() > 1 + NEWEST {
        failures.drain(1..failures.len() - NEWEST);
        failures.shrink_to_fit();
    }
}

/// The bytes that attempts take, a cause or a text of what ran once where it follows itself.
pub(super) fn size(failures: &[Attempt]) -> usize {
    let mut before: Option<&Attempt> = None;
    let mut bytes = 0;
    for one in failures {
        let new_cause = before.is_none_or(|b| b.cause != one.cause);
        let new_ran = before.is_none_or(|b| b.ran != one.ran);
        let ran = one.ran.as_ref().filter(|_| new_ran).map_or(0, |ran| ran.len());
        bytes += ATTEMPT + ran + if new_cause { one.cause.len() } else { 0 };
        before = Some(one);
    }
    bytes
}

/// The stored form of a waiting entry.
#[derive(serde::Serialize, serde::Deserialize)]
struct Stored {
    attempts: u32,
    since: Wall,
    due: Wall,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<Str>,
    cause: Str,
    /// An attempt without a cause failed like the one before it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    failures: Vec<Attempt>,
    /// Whether the other side said when: `Retry-After`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    asked: bool,
}

impl Waiting {
    /// The stored form: JSON, since it is rare and read by people when something went wrong.
    pub fn encode(&self) -> Vec<u8> {
        let stored = Stored {
            attempts: self.attempts,
            since: self.since,
            due: self.due_wall,
            key: self.key.clone(),
            cause: self.cause.clone(),
            failures: shortened(&self.failures),
            asked: self.asked,
        };
        serde_json::to_vec(&stored).unwrap_or_default()
    }

    /// Reads the stored form; the wall clock says how long is left to wait, at most what the schedule could ask for.
    pub fn decode(bytes: &[u8], now: Tick, wall: Wall) -> Option<Self> {
        let stored: Stored = serde_json::from_slice(bytes).ok()?;
        let left = stored.due.since(wall).min(Duration::from_secs(86_400));
        Some(Self {
            attempts: stored.attempts,
            since: stored.since,
            due: now.plus(left),
            due_wall: stored.due,
            key: stored.key,
            cause: stored.cause,
            failures: whole(stored.failures),
            asked: stored.asked,
        })
    }
}

/// The attempts as they are stored: a cause that is that of the attempt before it is left empty.
pub(in crate::topic) fn shortened(failures: &[Attempt]) -> Vec<Attempt> {
    let mut short = failures.to_vec();
    for at in (1..failures.len()).rev() {
        if failures[at].cause == failures[at - 1].cause {
            short[at].cause = "".into();
        }
    }
    short
}

fn whole(mut failures: Vec<Attempt>) -> Vec<Attempt> {
    for at in 1..failures.len() {
        if failures[at].cause.is_empty() {
            failures[at].cause = failures[at - 1].cause.clone();
        }
    }
    failures
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::supervision::failure::FailureKind;

    fn after(attempts: u32, cause: impl Fn(u32) -> String) -> Waiting {
        let mut waiting: Option<Waiting> = None;
        for attempt in 1..=attempts {
            let at = Wall(i64::from(attempt));
            let failure = Failure::new(FailureKind::Reported, cause(attempt), at);
            let failures = told(waiting.as_ref(), attempt, at, &failure);
            let (due, key, cause) = (Tick(0), None, failure.message);
            let (since, due_wall, asked) = (Wall(1), at, attempt % 2 == 0);
            waiting = Some(Waiting { attempts: attempt, since, due, due_wall, key, cause, failures, asked });
        }
        waiting.unwrap()
    }

    #[test]
    fn every_attempt_is_kept_where_they_fail_alike() {
        let waiting = after(1_000, |_| "connect: nobody listens at the address of the receiver".repeat(5));
        assert_eq!(waiting.failures.len(), 1_000);
        let stored = waiting.encode();
        assert!(stored.len() < 64 << 10, "{}", stored.len());
        assert_eq!(Waiting::decode(&stored, Tick(0), Wall(1_000)).unwrap(), waiting);
    }

    #[test]
    fn of_too_many_that_fail_differently_the_first_and_the_newest_are_kept() {
        let waiting = after(1_000, |n| format!("{n} {}", "x".repeat(400)));
        let kept: Vec<u32> = waiting.failures.iter().map(|f| f.attempt).collect();
        assert!((100..200).contains(&kept.len()), "{}", kept.len());
        assert_eq!((kept[0], kept[1], kept[kept.len() - 1]), (1, 1_002 - kept.len() as u32, 1_000));
    }

    #[test]
    fn what_was_stored_before_is_read() {
        let before = br#"{"attempts":2,"since":1,"due":5,"cause":"b","failures":[{"attempt":1,"at":1,"cause":"a"},{"attempt":2,"at":2,"cause":"b"}]}"#;
        let read = Waiting::decode(before, Tick(0), Wall(5)).unwrap();
        let causes: Vec<&str> = read.failures.iter().map(|f| &*f.cause).collect();
        assert_eq!((causes, read.asked), (vec!["a", "b"], false));
        let older = br#"{"attempts":1,"since":1,"due":5,"cause":"a"}"#;
        assert_eq!(Waiting::decode(older, Tick(0), Wall(5)).unwrap().failures, []);
    }
}
