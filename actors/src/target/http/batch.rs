//! Many events in one request.
//!
//! What an answer says of a batch it says of each event in it, with two exceptions. A 4xx that is about the content may
//! be about one event alone: the batch is sent again in halves until that event stands alone. And a 207 with a JSON array
//! of `{"id": …, "status": …}` says it of each.

use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

use super::client::Request;
use super::request::Head;
use super::{Answer, HttpTarget};
use crate::clock::Wall;
use crate::event::Str;
use crate::log::Record;
use crate::target::statuses::Retries;
use crate::target::{Delivery, Detail, Failure, FailureClass, Ordering, Outcome, Verdict};

/// What a 207 says of an event.
#[derive(Deserialize)]
struct Said {
    id: String,
    status: u16,
    message: Option<String>,
}

impl HttpTarget {
    /// Makes one attempt with each of the records.
    pub(super) async fn attempt_many(&self, records: &[Arc<Record>], now: Wall) -> Vec<Outcome> {
        let started = Instant::now();
        let mut outcomes: Vec<Option<Outcome>> = vec![None; records.len()];
        // The first request may take the time-out; what is left in halves gets as much again.
        let deadline = started + self.timeout * 2;
        let mut work = self.by_head(records, now, &mut outcomes);
        let mut stuck = HashMap::new();
        while let Some((head, members)) = work.pop() {
            // What was asked before this may have left events of these keys to be tried again, which these must not overtake.
            self.stick(records, &outcomes, &mut stuck);
            let members = self.not_stuck(members, records, &stuck, &mut outcomes);
            if members.is_empty() {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            // A part that is cut off may have arrived all the same, so none begins that has hardly any time.
            if left < self.timeout / 4 {
                let late = "the batch was sent in parts, and its time (twice `timeout`) is over";
                let late = Failure::new(FailureClass::Timeout, late);
                members.iter().for_each(|&at| outcomes[at] = Some(Outcome::Failed(late.clone())));
                continue;
            }
            let mut detail = Detail::default();
            let (members, sent) =
                self.send_many(&head, members, (records, now), left, &mut outcomes, &mut detail).await;
            detail.took = started.elapsed();
            match sent {
                Ok(answer) if answer.status.as_u16() == 207 => {
                    say_each(&answer, &members, (records, &self.retries), &detail, &mut outcomes)
                }
                Ok(_) => {
                    for at in members {
                        outcomes[at] = Some(Outcome::Delivered { detail: detail.clone() });
                    }
                }
                Err(failure) if members.len() > 1 && may_be_one(failure.class) => {
                    let (first, second) = members.split_at(members.len() / 2);
                    work.push((head.clone(), second.to_vec()));
                    work.push((head, first.to_vec()));
                }
                Err(failure) => {
                    for at in members {
                        let failure = Failure { detail: detail.clone(), ..failure.clone() };
                        outcomes[at] = Some(Outcome::Failed(failure));
                    }
                }
            }
        }
        let missing = || Outcome::Failed(Failure::new(FailureClass::Io, "the event was not reached"));
        outcomes.into_iter().map(|outcome| outcome.unwrap_or_else(missing)).collect()
    }

    /// What a batch of this one event would be.
    pub(super) fn preview_of_batch(&self, delivery: Delivery<'_>) -> Result<Request, Failure> {
        let records = std::slice::from_ref(delivery.record);
        let (body, failed) = self.formatter.batch(records, delivery.now);
        if let Some((_, failure)) = failed.into_iter().next() {
            return Err(failure);
        }
        self.finish(self.head(delivery)?, body, &id_of(records.iter()), &delivery.record.event.trace, delivery.now)
    }

    /// The key by which an event is in order.
    fn order_key<'a>(&self, record: &'a Record) -> Option<&'a str> {
        match self.ordering {
            Ordering::None => None,
            Ordering::Key => record.event.key.as_deref(),
            Ordering::Strict => Some(""),
        }
    }

    /// Adds the keys of which an event is to be tried again, with the place of the first.
    fn stick<'a>(&self, records: &'a [Arc<Record>], outcomes: &[Option<Outcome>], stuck: &mut HashMap<&'a str, usize>) {
        if self.ordering == Ordering::None {
            return;
        }
        let again = |outcome: &Option<Outcome>| matches!(outcome, Some(Outcome::Failed(failure)) if failure.verdict != Verdict::DeadLetter);
        for (at, record) in records.iter().enumerate().filter(|(at, _)| again(&outcomes[*at])) {
            if let Some(key) = self.order_key(record) {
                stuck.entry(key).and_modify(|first| *first = at.min(*first)).or_insert(at);
            }
        }
    }

    /// Those of which no earlier event of their key is to be tried again; the others have failed.
    fn not_stuck(
        &self,
        members: Vec<usize>,
        records: &[Arc<Record>],
        stuck: &HashMap<&str, usize>,
        outcomes: &mut [Option<Outcome>],
    ) -> Vec<usize> {
        if stuck.is_empty() {
            return members;
        }
        let is_stuck =
            |at: &usize| self.order_key(&records[*at]).and_then(|key| stuck.get(key)).is_some_and(|first| first < at);
        let (held, members): (Vec<usize>, Vec<usize>) = members.into_iter().partition(is_stuck);
        for at in held {
            let why: Str = "not sent: an earlier event of its key has failed and comes first".into();
            outcomes[at] = Some(Outcome::Failed(Failure::new(FailureClass::Refused, why)));
        }
        members
    }

    /// The records that can share a request, in their order; those whose head cannot be made have failed. In order, none
    /// comes in a request before that of an earlier one of its key.
    fn by_head(&self, records: &[Arc<Record>], now: Wall, outcomes: &mut [Option<Outcome>]) -> Vec<(Head, Vec<usize>)> {
        let mut groups: Vec<(Head, Vec<usize>)> = Vec::new();
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (at, record) in records.iter().enumerate() {
            let head = match self.head(Delivery { record, attempt: 1, now }) {
                Ok(head) => head,
                Err(failure) => {
                    outcomes[at] = Some(Outcome::Failed(failure));
                    continue;
                }
            };
            let key = self.order_key(record);
            let from = key.and_then(|key| last.get(key)).copied().unwrap_or(0);
            let group = match (from..groups.len()).find(|&group| groups[group].0 == head) {
                Some(group) => group,
                None => {
                    groups.push((head, Vec::new()));
                    groups.len() - 1
                }
            };
            groups[group].1.push(at);
            last.extend(key.map(|key| (key, group)));
        }
        // Taken from the end.
        groups.reverse();
        groups
    }

    async fn send_many(
        &self,
        head: &Head,
        members: Vec<usize>,
        (records, now): (&[Arc<Record>], Wall),
        left: Duration,
        outcomes: &mut [Option<Outcome>],
        detail: &mut Detail,
    ) -> (Vec<usize>, Result<Answer, Failure>) {
        let chosen: Vec<Arc<Record>> = members.iter().map(|&at| records[at].clone()).collect();
        let (body, failed) = self.formatter.batch(&chosen, now);
        let mut failed: HashMap<usize, Failure> = failed.into_iter().collect();
        let mut rest = Vec::with_capacity(members.len());
        for (position, at) in members.into_iter().enumerate() {
            match failed.remove(&position) {
                Some(failure) => outcomes[at] = Some(Outcome::Failed(failure)),
                None => rest.push(at),
            }
        }
        let Some(&first) = rest.first() else {
            return (rest, Err(Failure::new(FailureClass::Template, "no event of the batch can be sent")));
        };
        let id = id_of(rest.iter().map(|&at| &records[at]));
        let request = self.finish(head.clone(), body, &id, &records[first].event.trace, now);
        let sent = match request {
            Ok(request) => self.send(request, now, self.timeout.min(left), detail).await,
            Err(failure) => Err(failure),
        };
        (rest, sent)
    }
}

/// The idempotency key of a batch: the same for the same events in the same order, so that a repetition after a crash is
/// known. Each event has its own id in its body besides.
fn id_of<'a>(records: impl Iterator<Item = &'a Arc<Record>>) -> String {
    let mut hash = Sha256::new();
    for record in records {
        hash.update(record.event.source.as_bytes());
        hash.update([0]);
        hash.update(record.event.id.as_bytes());
        hash.update([0]);
    }
    format!("batch_{}", &hex::encode(hash.finalize())[..32])
}

/// Whether a failure can be the fault of a single event: a 4xx that is neither about who sends nor about when.
fn may_be_one(class: FailureClass) -> bool {
    matches!(class, FailureClass::Status(status @ 400..=499)
        if !matches!(status, 401 | 402 | 403 | 404 | 405 | 407 | 408 | 410 | 425 | 429))
}

/// What a 207 says of each event. Of an event that it does not name it says that it arrived.
fn say_each(
    answer: &Answer,
    members: &[usize],
    (records, retries): (&[Arc<Record>], &Retries),
    detail: &Detail,
    outcomes: &mut [Option<Outcome>],
) {
    let said: Result<Vec<Said>, _> = serde_json::from_slice(&answer.body);
    let said = match said {
        Ok(said) => said,
        Err(error) => {
            let message = format!(
                "answered 207, and its body is no array of {{\"id\", \"status\"}} that says what became of each event: {error}"
            );
            let failure = Failure { detail: detail.clone(), ..Failure::new(FailureClass::Body, message) };
            members.iter().for_each(|&at| outcomes[at] = Some(Outcome::Failed(failure.clone())));
            return;
        }
    };
    let by_id: HashMap<&str, &Said> = said.iter().map(|said| (said.id.as_str(), said)).collect();
    for &at in members {
        let said = by_id.get(&*records[at].event.id).filter(|said| !(200..300).contains(&said.status));
        outcomes[at] = Some(match said {
            None => Outcome::Delivered { detail: detail.clone() },
            Some(said) => {
                let why: String =
                    said.message.iter().flat_map(|m| m.chars().take(300)).flat_map(char::escape_debug).collect();
                let message = format!("answered 207 with {} for this event: {why}", said.status);
                let verdict = retries.by_status(said.status).unwrap_or(Verdict::Retry);
                let failure = Failure::new(FailureClass::Status(said.status), message).verdict(verdict);
                Outcome::Failed(Failure { detail: detail.clone(), ..failure })
            }
        });
    }
}
