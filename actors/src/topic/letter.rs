//! What is written when a delivery is given up, and what is told of deliveries: by the topic whose subscription has settled it,
//! and by a trigger whose result a target cannot even be asked about.

use super::subscription::Attempt;
use super::subscription::waiting::shortened;
use super::{Fallback, Feedback, OUTCOMES, Subscriber, first_place, keys};
use crate::clock::Wall;
use crate::event::{Event, Str};
use crate::log::{EventLog, Op, Record, Table, TopicId};
use crate::trigger::run::MAX_HOPS;

/// Who gave a delivery up, and after what.
#[derive(Debug, Clone, Copy)]
pub struct Given<'a> {
    /// The subscription.
    pub by: &'a str,
    /// The version of what handles its records.
    pub version: u64,
    /// Attempts made.
    pub attempts: u32,
    /// The last cause.
    pub cause: &'a str,
    /// The failed attempts.
    pub failures: &'a [Attempt],
    /// What made the event, with its versions.
    pub made: Option<&'a str>,
}

impl<'a> Given<'a> {
    /// By a subscriber.
    pub fn new(by: &'a Subscriber, attempts: u32, cause: &'a str, failures: &'a [Attempt]) -> Self {
        Self { by: &by.name, version: by.version, attempts, cause, failures, made: None }
    }

    /// The same of an event whose maker is known.
    pub fn made(self, made: Option<&'a str>) -> Self {
        Self { made, ..self }
    }
}

/// What made events from a time on: a trigger and the functions that it may run, with their versions.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Made {
    /// The first moment.
    pub since: Wall,
    /// `big-push@0123456789abcdef, total@…`.
    pub by: Str,
}

impl Made {
    /// The stored versions of a trigger, the oldest first; none where they cannot be read, since a letter says it without them.
    pub fn read(stored: &[u8]) -> Vec<Self> {
        serde_json::from_slice(stored).unwrap_or_default()
    }

    /// What made an event that lies in the outbox of a target: by its time, so an event of a version that is not kept any
    /// more has none.
    pub fn of(log: &dyn EventLog, event: &Event) -> Option<Str> {
        let trigger = event.source.strip_prefix("/triggers/")?;
        let stored = log.get(Table::State, &keys::versions(trigger)).ok().flatten()?;
        Self::at(Self::read(&stored), event.time)
    }

    fn at(made: Vec<Self>, time: Wall) -> Option<Str> {
        made.into_iter().rev().find(|one| one.since <= time).map(|one| one.by)
    }
}

/// The dead letter of a record: the event as it was, and in extension attributes where, why and after how many attempts.
pub fn dead_letter(record: &Record, given: &Given<'_>) -> Event {
    let mut event = record.event.clone();
    let (topic, seq) = first_place(record);
    for (name, value) in [
        ("deadtopic", topic.to_owned()),
        ("deadseq", seq.to_string()),
        ("deadby", given.by.to_owned()),
        ("deadattempts", given.attempts.to_string()),
        ("deadversion", format!("{:016x}", given.version)),
        ("deadcause", given.cause.chars().take(1_000).collect()),
        ("deadlog", serde_json::to_string(&shortened(given.failures)).unwrap_or_default()),
        ("deadmade", given.made.unwrap_or_default().to_owned()),
    ] {
        event.extensions.retain(|(n, _)| &**n != name);
        if name == "deadmade" && value.is_empty() {
            continue;
        }
        event.extensions.push((name.into(), value.into()));
    }
    event
}

/// What became of a delivery.
#[derive(Debug, Clone, Copy)]
pub struct Outcome<'a> {
    /// `delivered`, `retrying`, `dead-lettered`, `fell-back`.
    pub what: &'a str,
    /// The attempt.
    pub attempt: u32,
    /// Why it failed.
    pub cause: Option<&'a str>,
    /// When the next attempt is planned.
    pub next: Option<Wall>,
}

impl Outcome<'_> {
    /// The event that tells it. Nothing is told of what is told itself, nor of a circle.
    pub fn told(&self, by: &Str, feedback: &Feedback, record: &Record, now: Wall) -> Option<Op> {
        let Self { what, attempt, cause, next } = *self;
        let event = &record.event;
        // Before events were marked, those of the topic itself were known by it.
        if event.told || &*record.topic == OUTCOMES || event.hops >= MAX_HOPS {
            return None;
        }
        let (topic, seq) = first_place(record);
        let data = serde_json::json!({
            "outcome": what,
            "subscription": by,
            "event_id": event.id,
            "event_type": event.kind,
            "topic": topic,
            "seq": seq,
            "attempt": attempt,
            "cause": cause,
            "next_attempt": next.map(Wall::rfc3339),
        });
        let id = format!("{}-{by}-{what}-{attempt}", event.stem()).into();
        let json = Some("application/json".into());
        let mut told = event.derive(id, feedback.source.clone(), json, data.to_string().into(), now);
        told.kind = format!("hexafn.delivery.{what}").into();
        told.subject = Some(by.clone());
        told.told = true;
        told.headers.clear();
        told.extensions.clear();
        Some(Op::Append { topic: feedback.topic, event: Box::new(told), dedupe: None })
    }
}

/// Where a result goes that a target cannot be asked about, since its own `when` fails on it.
#[derive(Debug, Clone)]
pub struct Undecided {
    /// The target's subscription.
    pub subscription: Str,
    /// The target's version.
    pub version: u64,
    /// The trigger and its functions, with their versions.
    pub made: Str,
    /// The topic of its dead letters.
    pub dead_letter: TopicId,
    /// The target that gets it instead.
    pub fallback: Option<Fallback>,
    /// Where it is told.
    pub feedback: Option<Feedback>,
}

impl Undecided {
    /// The writes for a result that the target sees like this; `record` is what led to it.
    pub fn ops(&self, record: &Record, seen: Event, why: &str, now: Wall) -> (Op, Option<Op>) {
        let (topic, seq) = first_place(record);
        let seen = Record::new(topic.into(), record.topic_id, seq, now, seen);
        let what = if self.fallback.is_some() { "fell-back" } else { "dead-lettered" };
        let outcome = Outcome { what, attempt: 1, cause: Some(why), next: None };
        let told = self.feedback.as_ref().and_then(|to| outcome.told(&self.subscription, to, &seen, now));
        let (topic, event) = match &self.fallback {
            Some(fallback) => (fallback.topic, fallback.event(&seen.event)),
            None => {
                let failures = [Attempt { attempt: 1, at: now, cause: why.into(), ran: None }];
                let (by, made) = (&self.subscription, Some(&*self.made));
                let given = Given { by, version: self.version, attempts: 1, cause: why, failures: &failures, made };
                (self.dead_letter, dead_letter(&seen, &given))
            }
        };
        (Op::Append { topic, event: Box::new(event), dedupe: None }, told)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_made_an_event_is_found_by_its_time() {
        let made = |since: i64, by: &str| Made { since: Wall(since), by: by.into() };
        let all = vec![made(10, "t@1"), made(20, "t@2")];
        let at = |time| Made::at(all.clone(), Wall(time));
        assert_eq!((at(9), at(10), at(19), at(25)), (None, Some("t@1".into()), Some("t@1".into()), Some("t@2".into())));
        assert_eq!(Made::read(b"other"), []);
        assert_eq!(Made::read(br#"[{"since":10,"by":"t@1"}]"#), [made(10, "t@1")]);
    }
}
