//! Taking back: what subscribers and people say of deliveries, and the commits that this makes.

use std::collections::BTreeSet;

use actix::{ActorFutureExt, Context, ContextFutureSpawner, WrapFuture};

use super::super::letter::{self, Given, Made, Outcome};
use super::super::subscription::{Effect, Subscription, Verdict};
use super::super::{Act, DeliverFrom, Overdue, Progress, Round, Settlement, Subscriber, TopicHandle, keys};
use super::{READ_BYTES, Served, TICK, Topic};
use crate::clock::{Tick, Wall};
use crate::event::{Event, Str};
use crate::log::{self, Back, Commit, Op, Ops, Record, Seq, Table};
use crate::supervision::failure::{Failure, FailureKind};
use crate::supervision::front::SendError;

impl Topic {
    /// Applies settlements, and makes the one commit of what they change. What changes nothing but the subscription's place
    /// makes none if it need not be written `soon`: the subscription is left as dirty.
    pub(super) fn settle(&mut self, subscription: &str, items: Vec<Settlement>, soon: bool) -> Option<Commit> {
        let (now, wall) = (Tick::now(), Wall::now());
        let durable_topic = self.on_disk();
        let topic = self.spec.handle.clone();
        let served = self.served.iter_mut().find(|s| &*s.spec.name == subscription)?;
        let stored = durable_topic && served.spec.durable;
        let mut ops = Ops::new();
        // What is told of it goes into the same write.
        let mut told = Vec::new();
        let (tail, stored_log) = (&self.tail, &self.spec.log);
        // `None` where retention has removed it; one that is damaged is told by its place.
        let record_of = |seq| {
            if let Some(record) = tail.get(seq) {
                return Ok(Some(record.clone()));
            }
            match stored_log.read(topic.id, seq, 1, READ_BYTES) {
                Ok(records) => Ok(records.into_iter().next().filter(|record| record.seq == seq)),
                Err(error @ log::Error::Corrupt { .. }) => Ok(Some(damaged(&topic, seq, &error).into())),
                Err(error) => Err(error),
            }
        };
        let mut changed = false;
        for mut item in items {
            // What fails may have to be written down as a dead letter, so it is read before anything is decided.
            let mut record = None;
            if matches!(item.verdict, Verdict::Nak(_) | Verdict::Term(_) | Verdict::Expire(_)) {
                match record_of(item.seq) {
                    Ok(found) => record = found,
                    Err(error) => {
                        tracing::warn!(topic = %topic.name, seq = item.seq, %error, subscription,
                            "a delivery failed, and its record cannot be read now; it is delivered again");
                        item.verdict = Verdict::Release;
                    }
                }
            }
            let expired = matches!(item.verdict, Verdict::Expire(_));
            let effect = served.state.settle(item.seq, item.attempt, item.verdict, now, wall, rand::random());
            let key = || keys::waiting(&served.spec.name, topic.id, item.seq);
            if matches!(effect, Effect::Stale | Effect::Again) {
                continue;
            }
            told.extend(item.told);
            match effect {
                Effect::Stale | Effect::Again => {}
                Effect::Done { waited } => {
                    served.delivered += 1;
                    ops.extend(item.ops);
                    if served.spec.feedback.as_ref().is_some_and(|feedback| feedback.delivered) {
                        told.extend(record_of(item.seq).ok().flatten().and_then(|record| {
                            let outcome = Outcome { what: "delivered", attempt: item.attempt, cause: None, next: None };
                            told_of(&served.spec, &record, outcome, wall)
                        }));
                    }
                    if waited && stored {
                        ops.push(Op::Delete { table: Table::Waiting, key: key() });
                    }
                }
                Effect::Wait(entry) => {
                    if served.spec.feedback.is_some() {
                        told.extend(record.as_ref().and_then(|record| {
                            let (cause, next) = (Some(&*entry.cause), Some(entry.due_wall));
                            let outcome = Outcome { what: "retrying", attempt: entry.attempts, cause, next };
                            told_of(&served.spec, record, outcome, wall)
                        }));
                    }
                    if stored {
                        ops.push(Op::Put { table: Table::Waiting, key: key(), value: entry.encode() });
                    }
                }
                Effect::Dead { attempts, cause, failures, waited } => {
                    // What retention has removed cannot go there.
                    let falls = served.spec.fallback.as_ref().zip(record.as_ref());
                    let (metrics, name) = (&self.spec.metrics, [&*served.spec.name]);
                    if expired {
                        metrics.expired.with_label_values(&name).inc();
                    }
                    if falls.is_some() {
                        metrics.fell_back.with_label_values(&name).inc();
                    } else {
                        served.dead += 1;
                        metrics.dead_letters.with_label_values(&name).inc();
                    }
                    if waited && stored {
                        ops.push(Op::Delete { table: Table::Waiting, key: key() });
                    }
                    let what = if falls.is_some() { "fell-back" } else { "dead-lettered" };
                    let outcome = Outcome { what, attempt: attempts, cause: Some(&cause), next: None };
                    told.extend(record.as_ref().and_then(|record| told_of(&served.spec, record, outcome, wall)));
                    if let Some((fallback, record)) = falls {
                        let event = Box::new(fallback.event(&record.event));
                        ops.push(Op::Append { topic: fallback.topic, event, dedupe: None });
                        changed = true;
                        continue;
                    }
                    if let (Some(to), Some(record)) = (served.spec.dead_letter, record) {
                        let made = served.spec.name.starts_with("target.");
                        let made = made.then(|| Made::of(&**stored_log, &record.event)).flatten();
                        let given = Given::new(&served.spec, attempts, &cause, &failures).made(made.as_deref());
                        let event = Box::new(letter::dead_letter(&record, &given));
                        ops.push(Op::Append { topic: to, event, dedupe: None });
                    }
                }
            }
            changed = true;
        }
        if !changed {
            return None;
        }
        if stored && !soon && ops.is_empty() && told.is_empty() {
            served.dirty = true;
            return None;
        }
        if stored {
            ops.push(served.place(topic.id));
        }
        ops.extend(told);
        (!ops.is_empty()).then_some(Commit { ops, back: Back::Unawaited(self.epoch, Vec::new()) })
    }

    /// Hands a commit to the journal, in order: when its mailbox is full the topic waits, which stops its intake. A
    /// journal that is gone takes outputs with it, so the topic starts again from what is stored.
    pub(super) fn commit(&mut self, mut commit: Commit, ctx: &mut Context<Self>) {
        // What is kept back goes along.
        if let Back::Unawaited(_, told) = &mut commit.back
            && !self.kept.is_empty()
        {
            told.append(&mut self.kept);
            commit.ops.extend(self.places());
        }
        // In their order, also the second one of a turn whose first waits.
        self.unsent.push_back(commit);
        if !self.waits_for_room {
            self.send_on(ctx);
        }
    }

    /// Sends what was not sent yet.
    fn send_on(&mut self, ctx: &mut Context<Self>) {
        while let Some(commit) = self.unsent.pop_front() {
            match self.spec.journal.try_send(commit) {
                Ok(()) => {}
                Err(SendError::Full(commit)) => {
                    let sent = self.spec.journal.send(commit);
                    // Others queue behind it.
                    self.waits_for_room = true;
                    sent.into_actor(self)
                        .map(|sent, this, ctx| {
                            this.waits_for_room = false;
                            match sent {
                                Ok(()) => this.send_on(ctx),
                                Err(_) => this.journal_lost(ctx),
                            }
                        })
                        .wait(ctx);
                    return;
                }
                Err(SendError::Closed(_)) => return self.journal_lost(ctx),
            }
        }
    }

    pub(super) fn journal_lost(&mut self, ctx: &mut Context<Self>) {
        let failure = Failure::new(FailureKind::Reported, "the journal is not running", Wall::now());
        self.life.fail(ctx, failure.uncounted());
    }

    /// Deliveries that nobody settled in time have failed, where the subscriber cannot say how far it is with them.
    pub(super) fn expire(&mut self, ctx: &mut Context<Self>) {
        let now = Tick::now();
        for at in 0..self.served.len() {
            let served = &mut self.served[at];
            if let Some(asks) = &served.spec.asks {
                let question = Round::begin();
                let items = served.state.ask(question, now);
                if items.is_empty() {
                    continue;
                }
                let (topic, reply_to) = (self.spec.handle.name.clone(), self.spec.handle.front.clone());
                if asks.try_send(Overdue { topic, reply_to, question, items }).is_err() {
                    // It is busy, or being started anew, which gives back what it had.
                    served.state.ask_at(question, now.plus(TICK));
                }
                continue;
            }
            let expired = served.state.expired(now);
            if !expired.is_empty() {
                let spec = served.spec.clone();
                let items = unsettled(&spec, expired).collect();
                if let Some(commit) = self.settle(&spec.name, items, true) {
                    self.commit(commit, ctx);
                }
            }
        }
    }

    /// Takes what a subscriber says of deliveries that it was asked for.
    pub(super) fn progress(
        &mut self,
        subscription: &str,
        question: Round,
        items: &[(Seq, Progress)],
        ctx: &mut Context<Self>,
    ) {
        let Some(served) = self.served.iter_mut().find(|s| &*s.spec.name == subscription) else { return };
        let answered = served.state.answered(question, items, Tick::now());
        if !answered.lost.is_empty() {
            tracing::warn!(topic = %self.spec.handle.name, subscription, lost = answered.lost.len(),
                "deliveries are not with their subscriber any more; they are delivered again");
        }
        let spec = served.spec.clone();
        let lost = answered.lost.into_iter().map(|(seq, attempt)| Settlement::new(seq, attempt, Verdict::Release));
        let items = unsettled(&spec, answered.failed).chain(lost).collect();
        if let Some(commit) = self.settle(subscription, items, true) {
            self.commit(commit, ctx);
        }
    }

    /// What is handed over from now on is so in knowledge of this.
    pub(super) fn hear(&mut self, subscription: &str, round: Option<Round>) {
        let served = self.served.iter_mut().find(|s| &*s.spec.name == subscription);
        if let (Some(served), Some(round)) = (served, round) {
            served.heard = served.heard.max(round);
        }
    }

    pub(super) fn restarted(&mut self, subscription: &str, culprit: Option<(Seq, Str)>, ctx: &mut Context<Self>) {
        let Some(served) = self.served.iter_mut().find(|s| &*s.spec.name == subscription) else { return };
        let items = served.state.flying().into_iter().map(|(seq, attempt)| {
            let verdict = match &culprit {
                Some((bad, cause)) if *bad == seq => {
                    Verdict::Nak(Failure::new(FailureKind::Panicked, &**cause, Wall::now()))
                }
                _ => Verdict::Release,
            };
            Settlement::new(seq, attempt, verdict)
        });
        let items = items.collect();
        if let Some(commit) = self.settle(subscription, items, true) {
            self.commit(commit, ctx);
        }
    }

    /// Changes a subscription, where it is served.
    pub(super) fn act(&mut self, subscription: &str, act: Act, ctx: &mut Context<Self>) -> Result<(), log::Error> {
        let Some(at) = self.served.iter().position(|s| &*s.spec.name == subscription) else { return Ok(()) };
        let state = &mut self.served[at].state;
        match act {
            Act::Pause => state.pause(true),
            Act::Resume => state.pause(false),
            Act::RetryNow => state.retry_now(Tick::now()),
            Act::Seek(from) => self.seek(at, from, ctx)?,
        }
        Ok(())
    }

    /// Moves a subscription: its new place and the end of what waited are one write, or it stays as it is.
    fn seek(&mut self, at: usize, from: DeliverFrom, ctx: &mut Context<Self>) -> Result<(), log::Error> {
        let place = self.place(from)?;
        let Served { spec, state, .. } = &self.served[at];
        let mut ops = self.forget(&spec.name, Some(state))?;
        let (stored, topic) = (self.on_disk() && spec.durable, self.spec.handle.id);
        let served = &mut self.served[at];
        served.state.seek(place);
        served.ahead.clear();
        served.young_until = None;
        if stored {
            ops.push(served.place(topic));
            self.commit(self.unawaited(ops), ctx);
        }
        Ok(())
    }

    /// Deletes what waits: what is stored, and what is on its way there.
    pub(super) fn forget(&self, subscription: &str, state: Option<&Subscription>) -> Result<Ops, log::Error> {
        if !self.on_disk() {
            return Ok(Ops::new());
        }
        let topic = self.spec.handle.id;
        let stored = self.spec.log.scan(Table::Waiting, &keys::waiting_prefix(subscription, topic), usize::MAX)?;
        let on_their_way = state.into_iter().flat_map(Subscription::tried);
        let on_their_way = on_their_way.map(|seq| keys::waiting(subscription, topic, seq));
        let all: BTreeSet<Vec<u8>> = stored.into_iter().map(|(key, _)| key).chain(on_their_way).collect();
        Ok(all.into_iter().map(|key| Op::Delete { table: Table::Waiting, key }).collect())
    }
}

/// What failed because its time is over.
fn unsettled(by: &Subscriber, deliveries: Vec<(Seq, u32)>) -> impl Iterator<Item = Settlement> {
    let wait = by.settings.ack_wait;
    deliveries.into_iter().map(move |(seq, attempt)| {
        let failure = Failure::new(FailureKind::Deadline, format!("not settled within {wait:?}"), Wall::now());
        Settlement::new(seq, attempt, Verdict::Nak(failure))
    })
}

/// What stands for a record that cannot be read any more: where it was, and what is wrong with it.
pub(super) fn damaged(topic: &TopicHandle, seq: Seq, error: &log::Error) -> Record {
    let data = serde_json::json!({ "topic": topic.name, "seq": seq, "error": error.to_string() });
    let mut event = Event::new(format!("/topics/{}", topic.name), "hexafn.record.damaged", data.to_string().into());
    event.id = format!("{}-{seq}-damaged", topic.name).into();
    Record::new(topic.name.clone(), topic.id, seq, Wall::now(), event)
}

fn told_of(by: &Subscriber, record: &Record, outcome: Outcome<'_>, now: Wall) -> Option<Op> {
    outcome.told(&by.name, by.feedback.as_ref()?, record, now)
}
