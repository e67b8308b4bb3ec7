//! Dead letters: what a subscription gave up, until a person settles it. A letter is replayed, edited or dropped; what is
//! settled is marked in a cursor of the letters' topic, in the same write as what replaces it, so that nothing is replayed
//! twice and nothing is lost in between.

use bytes::Bytes;
use hexafn_dsl::{Program, json};
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

use super::{Error, System, read};
use crate::clock::Wall;
use crate::definitions::{TargetKind, TopicDurability};
use crate::event::{Event, Str, is_json_type};
use crate::function;
use crate::log::{Appended, Op, Ops, Receipt, Record, Seq, Table};
use crate::target::redact::Redactor;
use crate::topic::cast;
use crate::topic::cursor::Cursor;
use crate::topic::{AGAIN, REPLAY_OF, TopicHandle, TopicMessage, keys};

/// What the topics of dead letters begin with; the subscription's name follows.
pub const DEAD: &str = "hexafn.dead.";

/// The topic of a subscription's dead letters.
pub fn dead_topic_of(subscription: &str) -> Str {
    format!("{DEAD}{subscription}").into()
}
/// Letters that are settled in one write.
pub const MAX_PICKED: usize = 1_000;
/// Records read at a time.
const CHUNK: usize = 256;
/// Bytes of letters that are shown at a time.
const PAGE: usize = 8 << 20;
/// The extension attributes that a dead letter has beyond those of its event.
const MARKS: [&str; 10] = [
    "deadtopic",
    "deadseq",
    "deadby",
    "deadattempts",
    "deadversion",
    "deadcause",
    "deadlog",
    "deadmade",
    "deadedited",
    SAID_TYPE,
];
/// The mark of a letter whose record could not be read: the content type that the record or its source says. The letter itself
/// has none that anything reads, until it is edited.
pub const SAID_TYPE: &str = "deadtype";

/// The letters of a subscription, in short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct DeadSummary {
    /// The subscription.
    pub subscription: Str,
    /// Letters that nobody settled.
    pub letters: usize,
    /// When the oldest of them was given up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub oldest: Option<String>,
    /// When the newest was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest: Option<String>,
    /// Why the newest was.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<Str>,
}

/// Which letters.
#[derive(Debug, Clone, Default)]
pub struct Pick {
    /// These sequences of the letters' topic; all when there is no list. An empty one is nobody.
    pub seqs: Option<Vec<Seq>>,
    /// Of those, the ones for which it holds.
    pub filter: Option<Program>,
    /// Only letters from this sequence on: without a list, where the last portion ended, so that a filter does not look at the
    /// same letters again for each.
    pub from: Option<Seq>,
    /// Only letters below this sequence: what is given up again meanwhile is left for the next time.
    pub below: Option<Seq>,
    /// At most so many, up to [`MAX_PICKED`].
    pub limit: usize,
}

/// Where letters are replayed to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum To {
    /// The subscription that gave them up, and nobody else.
    Subscription,
    /// A target.
    Target(Str),
    /// A topic, and all that listen to it.
    Topic(Str),
}

/// What was settled.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct Settled {
    /// Letters replayed or dropped.
    pub settled: usize,
    /// Letters that nobody settled yet.
    pub left: usize,
    /// The sequence that the next letter would have had before this was done.
    pub next: Seq,
    /// Where the next portion goes on; not where sequences were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Seq>,
    /// Sequences that were asked for and are those of no open letter.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub absent: Vec<Seq>,
    /// What the filter failed on, which is nothing that it holds for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub filter_failed: Option<FilterFailed>,
}

impl Settled {
    /// Both together: the one that was first, and what went on from it.
    #[must_use]
    pub fn and(self, more: Self) -> Self {
        Self {
            settled: self.settled + more.settled,
            next: self.next,
            absent: [self.absent, more.absent].concat(),
            filter_failed: FilterFailed::and(self.filter_failed, more.filter_failed),
            ..more
        }
    }
}

/// The letters on which a filter failed: a comparison of a text with a number, say, or a member that is not there. A filter
/// that fails on all of them is wrong, and finds as little as one that holds for none.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, schemars::JsonSchema)]
pub struct FilterFailed {
    /// How many.
    pub letters: usize,
    /// Why on the first.
    pub error: String,
}

impl FilterFailed {
    /// Both together; the first says why.
    pub fn and(before: Option<Self>, more: Option<Self>) -> Option<Self> {
        match (before, more) {
            (Some(before), Some(more)) => Some(Self { letters: before.letters + more.letters, ..before }),
            (before, more) => before.or(more),
        }
    }
}

/// Letters that were looked for.
#[derive(Debug)]
pub struct Found {
    /// The letters.
    pub letters: Vec<Arc<Record>>,
    /// Where to look on.
    pub next: Seq,
    /// All that nobody settled, whether they were looked at or not.
    pub open: usize,
    /// What the filter failed on.
    pub failed: Option<FilterFailed>,
}

/// Letters that are about to be settled.
struct Picked {
    /// The write that settles them.
    ops: Ops,
    count: usize,
    /// What is settled after that.
    cursor: Cursor,
    /// The sequence of the letter after the newest.
    next: Seq,
    /// Where the next portion goes on.
    from: Option<Seq>,
    absent: Vec<Seq>,
    failed: Option<FilterFailed>,
    /// What was asked for as well, and would make one write too large.
    rest: Option<Pick>,
}

/// The value of a mark of a dead letter.
pub fn mark<'e>(event: &'e Event, name: &str) -> Option<&'e Str> {
    event.extensions.iter().find(|(known, _)| &**known == name).map(|(_, value)| value)
}

/// The event as it was before it was given up, marked as one that comes again.
fn revived(letter: &Record) -> Event {
    let first = match (mark(&letter.event, "deadtopic"), mark(&letter.event, "deadseq")) {
        (Some(topic), Some(seq)) => format!("{topic}/{seq}"),
        _ => format!("{}/{}", letter.topic, letter.seq),
    };
    let mut event = unmarked(letter.event.clone());
    event.extensions.push((REPLAY_OF.into(), first.into()));
    // A letter of a circle may go round again.
    event.hops = 0;
    event
}

/// The event of a letter without what a letter says of it.
pub fn unmarked(mut event: Event) -> Event {
    event.extensions.retain(|(name, _)| !is_own(name));
    event
}

/// Whether an extension attribute is one that hexaFn sets itself, of letters and of what is replayed. No sender can set it.
pub fn is_own(name: &str) -> bool {
    MARKS.contains(&name) || name == REPLAY_OF
}

/// Whether a letter is one that a filter chooses; where the filter fails it chooses nothing, and that is noted.
fn holds(filter: Option<&Program>, letter: &Record, failed: &mut Option<FilterFailed>) -> bool {
    let Some(filter) = filter else { return true };
    function::test(filter, letter, "", 1).unwrap_or_else(|error| {
        let one = FilterFailed { letters: 1, error: error.to_string() };
        *failed = FilterFailed::and(failed.take(), Some(one));
        false
    })
}

impl System {
    fn letters(&self, subscription: &str) -> Result<TopicHandle, Error> {
        let name = dead_topic_of(subscription);
        self.0.cast.get(&name).ok_or_else(|| {
            let all: Vec<Str> =
                self.0.cast.all().iter().filter_map(|t| t.name.strip_prefix(DEAD)).map(Str::from).collect();
            super::unknown("subscription", subscription, all.iter())
        })
    }

    fn settled(&self, topic: &TopicHandle) -> Result<Cursor, Error> {
        let stored = self.0.log.get(Table::State, &keys::settled(topic.id))?;
        let mut cursor = stored.as_deref().and_then(Cursor::decode).unwrap_or_default();
        cursor.skip_to(self.0.log.bounds(topic.id)?.first);
        Ok(cursor)
    }

    /// How many letters nobody has settled.
    fn open(&self, topic: &TopicHandle, settled: &Cursor) -> Result<usize, Error> {
        Ok(usize::try_from(settled.behind(self.0.log.bounds(topic.id)?.next)).unwrap_or(usize::MAX))
    }

    /// Open letters from a sequence on, at most `limit` and 8 MiB, for which the filter holds; and where to read on.
    ///
    /// # Errors
    /// There is no such subscription; the log failed.
    pub fn dead(&self, subscription: &str, from: Seq, limit: usize, filter: Option<&Program>) -> Result<Found, Error> {
        let topic = self.letters(subscription)?;
        let cursor = self.settled(&topic)?;
        self.open_letters(&topic, &cursor, from..Seq::MAX, (limit, PAGE), filter)
    }

    fn open_letters(
        &self,
        topic: &TopicHandle,
        cursor: &Cursor,
        range: Range<Seq>,
        (limit, mut bytes): (usize, usize),
        filter: Option<&Program>,
    ) -> Result<Found, Error> {
        let next = range.start.max(cursor.floor() + 1);
        let mut found = Found { letters: Vec::new(), next, open: self.open(topic, cursor)?, failed: None };
        loop {
            let records = self.0.log.read(topic.id, found.next, CHUNK, 4 << 20)?;
            let Some(last) = records.last() else { return Ok(found) };
            found.next = last.seq + 1;
            for record in records {
                if record.seq >= range.end {
                    found.next = record.seq;
                    return Ok(found);
                }
                if cursor.is_handled(record.seq) {
                    continue;
                }
                if !holds(filter, &record, &mut found.failed) {
                    continue;
                }
                let size = record.event.data.len();
                // The first is shown however large it is.
                if found.letters.len() == limit || (!found.letters.is_empty() && size > bytes) {
                    found.next = record.seq;
                    return Ok(found);
                }
                bytes = bytes.saturating_sub(size);
                found.letters.push(record);
            }
        }
    }

    /// The subscriptions that have open letters.
    ///
    /// # Errors
    /// The log failed.
    pub fn dead_summary(&self) -> Result<Vec<DeadSummary>, Error> {
        let mut all = Vec::new();
        for topic in self.0.cast.all() {
            let Some(subscription) = topic.name.strip_prefix(DEAD) else { continue };
            let (cursor, bounds) = (self.settled(&topic)?, self.0.log.bounds(topic.id)?);
            let letters = self.open(&topic, &cursor)?;
            if letters == 0 {
                continue;
            }
            let oldest = self.open_letters(&topic, &cursor, 0..Seq::MAX, (1, PAGE), None)?.letters;
            // What was settled is no letter any more.
            let newest = (bounds.first..bounds.next).rev().find(|seq| !cursor.is_handled(*seq));
            let newest = newest.map_or(Ok(Vec::new()), |seq| self.0.log.read(topic.id, seq, 1, 1 << 20))?;
            all.push(DeadSummary {
                subscription: subscription.into(),
                letters,
                oldest: oldest.first().map(|r| r.stored.rfc3339()),
                newest: newest.first().map(|r| r.stored.rfc3339()),
                cause: newest.first().and_then(|r| mark(&r.event, "deadcause")).cloned(),
            });
        }
        Ok(all)
    }

    /// Sends letters on their way again; they are no letters any more in the same write.
    ///
    /// # Errors
    /// There is no such subscription, target or topic; the subscription is not served any more.
    pub async fn dead_replay(&self, subscription: &str, pick: &Pick, to: &To) -> Result<Settled, Error> {
        // Also where it goes elsewhere: who misspells a subscription is told what there is.
        self.letters(subscription)?;
        let mut redact = None;
        // A target that is a topic has letters where its condition fails, and no subscription of its own.
        let topic = subscription.strip_prefix("target.").filter(|name| {
            let running = read(&self.0.running);
            running.definitions.targets.get(*name).is_some_and(|t| matches!(t.kind, TargetKind::Topic(_)))
        });
        let itself = topic.filter(|_| *to == To::Subscription).map(|name| To::Target(name.into()));
        let handle = match itself.as_ref().unwrap_or(to) {
            To::Subscription => {
                let served = self.0.cast.subscribers().iter().any(|s| &*s.name == subscription);
                if !served {
                    return Err(Error::Invalid(format!(
                        "nothing serves `{subscription}` any more; name a target or a topic to replay to"
                    )));
                }
                // Also one that was given up before the target redacted.
                redact = self.redactor_of(subscription);
                self.0.cast.ensure(&format!("{AGAIN}{subscription}")).await?
            }
            To::Target(name) => {
                let kind = {
                    let running = read(&self.0.running);
                    let targets = &running.definitions.targets;
                    let target = targets.get(name).ok_or_else(|| super::unknown("target", name, targets.keys()))?;
                    redact = target.redact.clone();
                    match &target.kind {
                        TargetKind::Topic(topic) => topic.clone(),
                        TargetKind::Outside(_) => super::outbox_of(name),
                    }
                };
                self.0.cast.ensure(&kind).await?
            }
            To::Topic(name) => {
                crate::topic::pattern::check_name(name).map_err(cast::Error::from)?;
                self.0.cast.ensure(name).await?
            }
        };
        if handle.durability == TopicDurability::Memory {
            // It would be a letter no more and nowhere else: a topic in memory takes part in no write.
            return Err(Error::Invalid(format!(
                "the topic `{}` lives in memory; letters are replayed to a topic on disk, or to a target that is none in memory",
                handle.name
            )));
        }
        let settled = self.settle_letters(subscription, pick, move |letter| {
            // The letter is as the one that gave it up saw it; the one that gets it now may see less.
            let event = revived(letter);
            let event = redact.as_ref().map_or_else(|| event.clone(), |redactor| redactor.redact(&event));
            Some(Op::Append { topic: handle.id, event: Box::new(event), dedupe: None })
        });
        Ok(settled.await?.0)
    }

    /// What takes out of events what the target of a subscription must not see.
    fn redactor_of(&self, subscription: &str) -> Option<Arc<Redactor>> {
        let target = subscription.strip_prefix("target.")?;
        read(&self.0.running).definitions.targets.get(target)?.redact.clone()
    }

    /// Removes letters for good.
    ///
    /// # Errors
    /// There is no such subscription.
    pub async fn dead_drop(&self, subscription: &str, pick: &Pick) -> Result<Settled, Error> {
        Ok(self.settle_letters(subscription, pick, |_| None).await?.0)
    }

    /// Puts a letter with other data in the place of one; its new sequence. A target that redacts does so here, too: the data
    /// may have been taken from the topic, where it is whole.
    ///
    /// # Errors
    /// There is no such letter; the data is not JSON although its event says so.
    pub async fn dead_edit(&self, subscription: &str, seq: Seq, data: Bytes) -> Result<Seq, Error> {
        let topic = self.letters(subscription)?;
        let letter = self.0.log.read(topic.id, seq, 1, 1 << 20)?.into_iter().find(|letter| letter.seq == seq);
        let said = letter.as_ref().and_then(|letter| mark(&letter.event, SAID_TYPE)).cloned();
        if let Some(letter) = letter
            && said.as_deref().map_or(letter.event.is_json(), is_json_type)
            && let Err(error) = json::Doc::parse(data.clone(), &json::Limits::default())
        {
            let who = if said.is_some() { "its record, or its source," } else { "the event" };
            return Err(Error::Invalid(format!("the data is not JSON, and {who} says that it is: {error}")));
        }
        let pick = Pick { seqs: Some(vec![seq]), limit: 1, ..Pick::default() };
        let (id, redact) = (topic.id, self.redactor_of(subscription));
        let settled = self.settle_letters(subscription, &pick, move |letter| {
            let mut event = letter.event.with_data(data.clone());
            // It can be read as what it was meant to be.
            event.content_type = said.clone().or(event.content_type);
            if let Some(redactor) = &redact {
                // The marks of the letter were redacted when it was given up, and are no part of the event.
                let marks = std::mem::take(&mut event.extensions);
                event = redactor.redact(&event);
                event.extensions = marks;
            }
            event.extensions.retain(|(name, _)| &**name != "deadedited");
            event.extensions.push(("deadedited".into(), Wall::now().rfc3339().into()));
            Some(Op::Append { topic: id, event: Box::new(event), dedupe: None })
        });
        // Other letters may come before it and after it at any time: only the write itself knows its place.
        let receipt = settled.await?.1;
        match receipt.as_ref().and_then(|receipt| receipt.appended.first()) {
            Some(Appended::Stored(record)) => Ok(record.seq),
            Some(Appended::Duplicate { seq, .. }) => Ok(*seq),
            None => Err(Error::NoLetter { subscription: subscription.into(), seq }),
        }
    }

    /// Marks what is picked as settled, together with what `then` makes of each letter; and what was written, if anything was.
    async fn settle_letters(
        &self,
        subscription: &str,
        pick: &Pick,
        then: impl Fn(&Record) -> Option<Op> + Send + Sync + 'static,
    ) -> Result<(Settled, Option<Receipt>), Error> {
        let topic = self.letters(subscription)?;
        let _one_at_a_time = self.0.settling.lock().await;
        let then = Arc::new(then);
        let (mut all, mut receipt): (Option<Settled>, _) = (None, None);
        let mut portion = Some(pick.clone());
        while let Some(pick) = portion {
            // Filters over many letters take long, and others are served by this thread.
            let (system, letters, then) = (self.clone(), topic.clone(), then.clone());
            let picked = tokio::task::spawn_blocking(move || system.pick_letters(&letters, &pick, &*then)).await;
            let Picked { ops, count, cursor, next, from, absent, failed, rest } =
                picked.map_err(|_| Error::Gone("choosing the letters ended"))??;
            if count > 0 {
                receipt = Some(self.commit(ops).await?);
                // What is settled up to the floor is not needed for anything; a topic that is being restarted keeps it longer.
                topic.front.send(TopicMessage::Trim(cursor.floor() + 1)).await.ok();
            }
            let left = self.open(&topic, &cursor)?;
            let settled = Settled { settled: count, left, next, from, absent, filter_failed: failed };
            all = Some(match all {
                None => settled,
                Some(before) => before.and(settled),
            });
            portion = rest;
        }
        let settled = all.ok_or(Error::Gone("choosing the letters ended"))?;
        Ok((settled, receipt))
    }

    /// The write that settles what is picked, together with what `then` makes of each letter.
    fn pick_letters(
        &self,
        topic: &TopicHandle,
        pick: &Pick,
        then: &dyn Fn(&Record) -> Option<Op>,
    ) -> Result<Picked, Error> {
        let mut cursor = self.settled(topic)?;
        let limit = pick.limit.clamp(1, MAX_PICKED);
        let bounds = self.0.log.bounds(topic.id)?;
        let next = bounds.next;
        let open = |seq: Seq| (bounds.first..next).contains(&seq) && !cursor.is_handled(seq);
        let asked: Option<BTreeSet<Seq>> = pick.seqs.as_ref().map(|seqs| seqs.iter().copied().collect());
        let absent: Vec<Seq> = asked.iter().flatten().copied().filter(|seq| !open(*seq)).collect();
        let range = pick.from.unwrap_or(0)..pick.below.unwrap_or(Seq::MAX);
        let (mut picked, mut from, mut failed) = (Vec::new(), None, None);
        let mut rest = None;
        if let Some(asked) = asked {
            let mut asked = asked.into_iter().take(limit);
            let mut bytes = 0;
            while bytes < PAGE
                && let Some(seq) = asked.next()
            {
                let found = self.open_letters(topic, &cursor, seq..seq.saturating_add(1), (1, PAGE), None)?;
                let found = found.letters.into_iter().filter(|record| range.contains(&record.seq));
                let before = picked.len();
                picked.extend(found.filter(|record| holds(pick.filter.as_ref(), record, &mut failed)));
                bytes += picked[before..].iter().map(|letter| letter.event.data.len()).sum::<usize>();
            }
            let seqs: Vec<Seq> = asked.filter(|seq| open(*seq)).collect();
            rest = (!seqs.is_empty()).then(|| Pick { limit: seqs.len(), seqs: Some(seqs), ..pick.clone() });
        } else {
            let below = range.end.min(next);
            let found = self.open_letters(topic, &cursor, range, (limit, PAGE), pick.filter.as_ref())?;
            (picked, from, failed) = (found.letters, Some(found.next), found.failed);
            // Less than was asked for is all that there is, or as many bytes as are written at once.
            let left = limit - picked.len();
            if left > 0 && !picked.is_empty() && found.next < below {
                rest = Some(Pick { limit: left, from: Some(found.next), below: Some(below), ..pick.clone() });
            }
        }
        let mut ops = Ops::new();
        for letter in &picked {
            ops.extend(then(letter));
            cursor.mark(letter.seq);
        }
        ops.push(Op::Put { table: Table::State, key: keys::settled(topic.id), value: cursor.encode() });
        Ok(Picked { ops, count: picked.len(), cursor, next, from, absent, failed, rest })
    }
}
