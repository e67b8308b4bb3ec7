//! Many events in one request.
//!
//! What an answer says of a batch it says of each event in it, with two exceptions. A 4xx that is about the content may
//! be about one event alone: the batch is sent again in halves until that event stands alone. And a 207 with a JSON array
//! of `{"id": …, "status": …}` says it of each.

use futures_util::StreamExt;
use http::StatusCode;
use serde::Deserialize;
use sha2::{Digest, Sha256};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;

use super::client::Request;
use super::request::Head;
use super::{Answer, HttpTarget, OF_EACH};
use crate::clock::Wall;
use crate::log::Record;
use crate::target::{Delivery, Detail, Failure, FailureClass, Ordering, Outcome, Size, Verdict};

/// What a 207 says of an event.
#[derive(Deserialize)]
struct Said {
    id: String,
    status: u16,
    message: Option<String>,
}

/// A part of a batch that is sent in one request.
struct Part {
    head: Head,
    /// The places of its events in the batch.
    members: Vec<usize>,
    /// Whether they have been sent before in this attempt: it is half of one that was refused.
    refused: bool,
}

/// What became of events, by their places in the batch.
type Told = HashMap<usize, Outcome>;

impl HttpTarget {
    /// Makes one attempt with each of the records.
    pub(super) async fn attempt_many(&self, records: &[Arc<Record>], now: Wall) -> Vec<Outcome> {
        let started = Instant::now();
        let (mut told, any) = (Told::new(), AtomicBool::new(false));
        let parts = self.by_head(records, now, &mut told);
        if self.ordering == Ordering::None {
            // Side by side, within what `concurrency` lets be at the receiver.
            let each = parts.into_iter().map(|part| self.attempt_parts(vec![part], (records, now), started, &any));
            let mut each = futures_util::stream::iter(each).buffer_unordered(self.requests.1);
            while let Some(of_part) = each.next().await {
                told.extend(of_part);
            }
        } else {
            told.extend(self.attempt_parts(parts, (records, now), started, &any).await);
        }
        let missing = || Outcome::Failed(Failure::new(FailureClass::Io, "the event was not reached"));
        (0..records.len()).map(|at| told.remove(&at).unwrap_or_else(missing)).collect()
    }

    /// Sends parts of a batch one after the other, the first first.
    /// `any` says whether one of the batch has begun, which one does however late it is.
    async fn attempt_parts(
        &self,
        mut work: Vec<Part>,
        (records, now): (&[Arc<Record>], Wall),
        started: Instant,
        any: &AtomicBool,
    ) -> Told {
        let mut outcomes = Told::new();
        let mut stuck = HashMap::new();
        work.reverse();
        while let Some(Part { head, members, refused }) = work.pop() {
            // What was asked before this may have left events of these keys to be tried again, which these must not overtake.
            self.stick(records, &outcomes, &mut stuck);
            let members = self.not_stuck(members, records, &stuck, &mut outcomes);
            if members.is_empty() {
                continue;
            }
            // Never closed, so there always is one.
            let _one = self.requests.0.acquire().await.ok();
            // A batch takes twice the time-out at most: a part begins in the first, and has one of its own. Halves of what was
            // refused share what is left; one that is cut off may have arrived all the same, so none begins with hardly any time.
            let left = (self.timeout * 2).saturating_sub(started.elapsed());
            let late = match refused {
                false if left <= self.timeout && any.swap(true, Relaxed) => {
                    Some(Failure::not_sent("other parts of its batch took the time (`timeout`)"))
                }
                true if left < self.timeout / 4 => {
                    let late = "the batch was sent in halves, and its time (twice `timeout`) is over";
                    Some(Failure::new(FailureClass::Timeout, late))
                }
                _ => None,
            };
            if let Some(late) = late {
                outcomes.extend(members.into_iter().map(|at| (at, Outcome::Failed(late.clone()))));
                continue;
            }
            any.store(true, Relaxed);
            let within = if refused { left.min(self.timeout) } else { self.timeout };
            let mut detail = Detail::default();
            let (members, sent) =
                self.send_many(&head, members, (records, now), within, &mut outcomes, &mut detail).await;
            detail.took = started.elapsed();
            match sent {
                Ok(answer) if answer.status == StatusCode::MULTI_STATUS => {
                    self.say_each(&answer, &members, records, &detail, &mut outcomes)
                }
                Ok(_) => {
                    for at in members {
                        outcomes.insert(at, Outcome::Delivered { detail: detail.clone() });
                    }
                }
                // Of what the receiver itself answered: a token endpoint refuses no event.
                Err(failure) if members.len() > 1 && detail.status.is_some() && may_be_one(failure.class) => {
                    let (first, second) = members.split_at(members.len() / 2);
                    work.push(Part { head: head.clone(), members: second.to_vec(), refused: true });
                    work.push(Part { head, members: first.to_vec(), refused: true });
                }
                Err(failure) => {
                    for at in members {
                        let failure = Failure { detail: detail.clone(), ..failure.clone() };
                        outcomes.insert(at, Outcome::Failed(failure));
                    }
                }
            }
        }
        outcomes
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
    fn stick<'a>(&self, records: &'a [Arc<Record>], outcomes: &Told, stuck: &mut HashMap<&'a str, usize>) {
        if self.ordering == Ordering::None {
            return;
        }
        let again =
            |outcome: &Outcome| matches!(outcome, Outcome::Failed(failure) if failure.verdict != Verdict::DeadLetter);
        for (&at, _) in outcomes.iter().filter(|(_, outcome)| again(outcome)) {
            if let Some(key) = self.order_key(&records[at]) {
                stuck.entry(key).and_modify(|first| *first = at.min(*first)).or_insert(at);
            }
        }
    }

    /// Those of which no earlier event of their key is to be tried again; the others are not sent.
    fn not_stuck(
        &self,
        members: Vec<usize>,
        records: &[Arc<Record>],
        stuck: &HashMap<&str, usize>,
        outcomes: &mut Told,
    ) -> Vec<usize> {
        if stuck.is_empty() {
            return members;
        }
        let is_stuck =
            |at: &usize| self.order_key(&records[*at]).and_then(|key| stuck.get(key)).is_some_and(|first| first < at);
        let (held, members): (Vec<usize>, Vec<usize>) = members.into_iter().partition(is_stuck);
        for at in held {
            let failure = Failure::not_sent("an earlier event of its key has failed and comes first");
            outcomes.insert(at, Outcome::Failed(failure));
        }
        members
    }

    /// The records that can share a request, in their order; those whose head cannot be made have failed. In order, none
    /// comes in a request before that of an earlier one of its key.
    fn by_head(&self, records: &[Arc<Record>], now: Wall, outcomes: &mut Told) -> Vec<Part> {
        let mut groups: Vec<Part> = Vec::new();
        let mut last: HashMap<&str, usize> = HashMap::new();
        for (at, record) in records.iter().enumerate() {
            let head = match self.head(Delivery { record, attempt: 1, now }) {
                Ok(head) => head,
                Err(failure) => {
                    outcomes.insert(at, Outcome::Failed(failure));
                    continue;
                }
            };
            let key = self.order_key(record);
            let from = key.and_then(|key| last.get(key)).copied().unwrap_or(0);
            let group = match (from..groups.len()).find(|&group| groups[group].head == head) {
                Some(group) => group,
                None => {
                    groups.push(Part { head, members: Vec::new(), refused: false });
                    groups.len() - 1
                }
            };
            groups[group].members.push(at);
            last.extend(key.map(|key| (key, group)));
        }
        groups
    }

    async fn send_many(
        &self,
        head: &Head,
        members: Vec<usize>,
        (records, now): (&[Arc<Record>], Wall),
        within: Duration,
        outcomes: &mut Told,
        detail: &mut Detail,
    ) -> (Vec<usize>, Result<Answer, Failure>) {
        let chosen: Vec<Arc<Record>> = members.iter().map(|&at| records[at].clone()).collect();
        let (body, failed) = self.formatter.batch(&chosen, now);
        let mut failed: HashMap<usize, Failure> = failed.into_iter().collect();
        let mut rest = Vec::with_capacity(members.len());
        for (position, at) in members.into_iter().enumerate() {
            match failed.remove(&position) {
                Some(failure) => drop(outcomes.insert(at, Outcome::Failed(failure))),
                None => rest.push(at),
            }
        }
        let Some(&first) = rest.first() else {
            return (rest, Err(Failure::new(FailureClass::Template, "no event of the batch can be sent")));
        };
        let id = id_of(rest.iter().map(|&at| &records[at]));
        let request = self.finish(head.clone(), body, &id, &records[first].event.trace, now);
        let sent = match request {
            Ok(request) => self.send(request, rest.len(), now, within, detail).await,
            Err(failure) => Err(failure),
        };
        (rest, sent)
    }

    /// What a 207 says of each event. Of an event that it does not name it says that it arrived.
    fn say_each(
        &self,
        answer: &Answer,
        members: &[usize],
        records: &[Arc<Record>],
        detail: &Detail,
        outcomes: &mut Told,
    ) {
        let said: Result<Vec<Said>, _> = serde_json::from_slice(&answer.body);
        let said = match said {
            Ok(said) => said,
            Err(error) => {
                let message = if answer.cut {
                    let (read, setting) = (answer.body.len(), Size(self.max_reply as u64));
                    format!(
                        "answered 207 with more than {read} bytes, and so what became of each event is not known: raise `max_reply` \
                         ({setting}; {} more for each event), or lower `batch.max_records`",
                        Size(OF_EACH as u64)
                    )
                } else {
                    format!(
                        "answered 207, and its body is no array of {{\"id\", \"status\"}} that says what became of each event: {error}"
                    )
                };
                let failure = Failure { detail: detail.clone(), ..Failure::new(FailureClass::Body, message) };
                outcomes.extend(members.iter().map(|&at| (at, Outcome::Failed(failure.clone()))));
                return;
            }
        };
        let by_id: HashMap<&str, &Said> = said.iter().map(|said| (said.id.as_str(), said)).collect();
        for &at in members {
            let said = by_id.get(&*records[at].event.id).filter(|said| !(200..300).contains(&said.status));
            let outcome = match said {
                None => Outcome::Delivered { detail: detail.clone() },
                Some(said) => {
                    let why: String =
                        said.message.iter().flat_map(|m| m.chars().take(300)).flat_map(char::escape_debug).collect();
                    let message = format!("answered 207 with {} for this event: {why}", said.status);
                    let verdict = self.retries.by_status(said.status).unwrap_or(Verdict::Retry);
                    let failure = Failure::new(FailureClass::Status(said.status), message).verdict(verdict);
                    Outcome::Failed(Failure { detail: detail.clone(), ..failure })
                }
            };
            outcomes.insert(at, outcome);
        }
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
