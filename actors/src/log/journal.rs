//! The journal: the one writer of the log, an actor on a thread of its own.
//!
//! Owns: the commits that wait for the next group. Receives: [`Commit`], [`Barrier`]. Sends: the answers, then
//! [`Published`] to the [`Sinks`]. Restart: at once; commits that had not been written are answered with a closed
//! channel, which means "not acknowledged". A failed write is not restarted: see [`Error::Failed`].
//!
//! actix hands an actor every message of its mailbox before it polls what a handler spawned, so a flush that is
//! spawned by the first commit runs when the mailbox is empty: everything that arrived during the last sync becomes
//! one group with one sync. No timer, no waiting for more. Of a group, what nobody waits for (what topics settle) is written
//! and told of first, so that only those wait for the sync who want it.

use actix::{Actor, ActorContext, ActorFutureExt, AsyncContext, Context, Handler, Message, WrapFuture};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

use crate::clock::Wall;
use crate::supervision::failure::{Failure, FailureKind};
use crate::supervision::lifeline::{Busy, Lifeline, Stop};

use super::{
    Appended, Back, Batch, Commit, Durability, Epoch, Epochs, Error, EventLog, Op, Ops, Published, Receipt, Record,
    Told, TopicId,
};

mod sinks;
mod stats;

#[cfg(test)]
mod tests;

pub use sinks::{Sink, Sinks};
pub use stats::{JournalStats, SYNC_BUCKETS};

/// Answers when everything that was sent before it is on disk.
#[derive(Debug, Message)]
#[rtype(result = "()")]
pub struct Barrier {
    /// Where to answer.
    pub reply: oneshot::Sender<Result<(), Error>>,
}

/// How the journal groups.
#[derive(Debug, Clone)]
pub struct JournalOptions {
    /// The messages that its mailbox holds before `try_send` is refused.
    pub mailbox: usize,
    /// The most commits in one group.
    pub max_group: usize,
    /// The most data bytes in one group (one commit may be larger).
    pub max_bytes: usize,
    /// Every commit is lazy, whatever it asks for (`storage.sync = "lazy"`): else those of timers and of people would sync what
    /// the door was told not to wait for. An orderly stop syncs.
    pub lazy: bool,
    /// When nothing is synced meanwhile, lazy commits are synced after this time.
    pub lazy_sync_after: Duration,
}

impl Default for JournalOptions {
    fn default() -> Self {
        Self {
            mailbox: 1024,
            max_group: 1024,
            max_bytes: 8 << 20,
            lazy: false,
            lazy_sync_after: Duration::from_millis(500),
        }
    }
}

/// Called once when writing failed for good; the process exits from there with code 74.
pub type OnFatal = Arc<dyn Fn(&Error) + Send + Sync>;

/// What the journal works with; cloned into each restart.
#[derive(Clone)]
pub struct JournalParts {
    /// The engine.
    pub log: Arc<dyn EventLog>,
    /// Who is told of new records.
    pub sinks: Sinks,
    /// Its statistics.
    pub stats: Arc<JournalStats>,
    /// Counts the incarnations.
    pub epochs: Epochs,
    /// True until writing fails for good.
    pub healthy: Arc<AtomicBool>,
    /// What to do then.
    pub on_fatal: OnFatal,
    /// How it groups.
    pub options: JournalOptions,
}

impl JournalParts {
    /// Parts with default options, fresh statistics and no sinks.
    pub fn new(log: Arc<dyn EventLog>, on_fatal: OnFatal) -> Self {
        Self {
            log,
            sinks: Sinks::default(),
            stats: Arc::default(),
            epochs: Epochs::default(),
            healthy: Arc::new(AtomicBool::new(true)),
            on_fatal,
            options: JournalOptions::default(),
        }
    }
}

/// The actor. Start it on an arbiter of its own: it blocks in the sync.
pub struct Journal {
    parts: JournalParts,
    epoch: Epoch,
    pending: Pending,
    /// A flush is spawned.
    flushing: bool,
    /// A sync of lazy groups is due.
    sync_due: bool,
    /// A sweep is spawned.
    sweeping: bool,
    /// The tie to the supervisor; none in tests and benchmarks.
    life: Option<Lifeline>,
    /// Told once it serves.
    ready: Option<oneshot::Sender<()>>,
}

type Reply = oneshot::Sender<Result<Receipt, Error>>;

/// What is written at once.
#[derive(Default)]
struct Part {
    batches: Vec<Batch>,
    /// What they bring.
    bytes: usize,
}

impl Part {
    fn push(&mut self, ops: Ops) {
        self.bytes += ops.iter().map(bytes_of).sum::<usize>();
        self.batches.push(Batch { ops });
    }
}

/// The commits of the next group.
#[derive(Default)]
struct Pending {
    /// What nobody waits for, in its order.
    unawaited: Part,
    /// Who is told when that is written.
    told: Told,
    /// What somebody waits for, in its order. An answer comes after its group, so what follows from one is in a later group: none
    /// of these has to be written before any of the above.
    awaited: Part,
    /// The answer of each of these.
    replies: Vec<Reply>,
    barriers: Vec<oneshot::Sender<Result<(), Error>>>,
    synced: bool,
}

impl Pending {
    fn push(&mut self, ops: Ops, back: Back) {
        match back {
            Back::Reply(durability, reply) => {
                self.synced |= durability == Durability::Synced;
                self.awaited.push(ops);
                self.replies.push(reply);
            }
            Back::Unawaited(_, told) => {
                self.unawaited.push(ops);
                self.told.extend(told);
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.unawaited.batches.is_empty() && self.awaited.batches.is_empty()
    }

    fn is_full(&self, options: &JournalOptions) -> bool {
        self.unawaited.batches.len() + self.awaited.batches.len() >= options.max_group
            || self.unawaited.bytes + self.awaited.bytes >= options.max_bytes
    }
}

/// The bytes that an operation brings, for the size of a group.
fn bytes_of(op: &Op) -> usize {
    match op {
        Op::Append { event, .. } => event.data.len(),
        Op::Put { key, value, .. } => key.len() + value.len(),
        Op::Delete { key, .. } => key.len(),
        Op::Trim { .. } => 0,
        Op::Remove { keys, .. } => keys.iter().map(|(_, key)| key.len()).sum(),
    }
}

impl Journal {
    /// A journal over these parts.
    pub fn new(parts: JournalParts) -> Self {
        let epoch = parts.epochs.begin();
        Self {
            parts,
            epoch,
            pending: Pending::default(),
            flushing: false,
            sync_due: false,
            sweeping: false,
            life: None,
            ready: None,
        }
    }

    /// A journal under the supervisor; `ready` is told when its fronts are open.
    pub fn supervised(parts: JournalParts, life: Lifeline, ready: Option<oneshot::Sender<()>>) -> Self {
        Self { life: Some(life), ready, ..Self::new(parts) }
    }

    /// An error when this incarnation was replaced and must do nothing.
    fn enter(&self) -> Result<Option<Busy>, ()> {
        match &self.life {
            None => Ok(None),
            Some(life) => life.enter().map(Some).ok_or(()),
        }
    }

    fn flush_soon(&mut self, ctx: &mut Context<Self>) {
        if self.pending.is_full(&self.parts.options) {
            self.flush(ctx);
        } else if !self.flushing {
            self.flushing = true;
            // Polled when the mailbox is empty.
            ctx.spawn(std::future::ready(()).into_actor(self).map(|(), journal, ctx| {
                journal.flushing = false;
                journal.flush(ctx);
            }));
        }
    }

    fn flush(&mut self, ctx: &mut Context<Self>) {
        let pending = std::mem::take(&mut self.pending);
        if pending.is_empty() && pending.barriers.is_empty() {
            return;
        }
        let synced = pending.synced;
        if !self.parts.write(pending) {
            return self.lost(ctx);
        }
        self.sweep_soon(ctx);
        if !synced && !self.sync_due {
            self.sync_due = true;
            ctx.run_later(self.parts.options.lazy_sync_after, |journal, ctx| {
                journal.sync_due = false;
                journal.pending.synced = true;
                journal.flush_lazy(ctx);
            });
        }
    }

    /// Does what large trims left, piece by piece, each when the mailbox is empty.
    fn sweep_soon(&mut self, ctx: &mut Context<Self>) {
        if self.sweeping || !self.parts.log.has_unswept() {
            return;
        }
        self.sweeping = true;
        // Timers have their turn between two pieces.
        ctx.spawn(tokio::task::yield_now().into_actor(self).map(|(), journal, ctx| {
            journal.sweeping = false;
            match journal.parts.log.sweep() {
                Ok(true) => journal.sweep_soon(ctx),
                Ok(false) => {}
                // With the next group again.
                Err(error) => journal.parts.check_fatal(&error),
            }
        }));
    }

    /// Settlements were not written: topics are ahead of the disk. A restart of the journal takes the topics along, and
    /// they begin again from what is stored.
    fn lost(&mut self, ctx: &mut Context<Self>) {
        if let Some(life) = &self.life {
            let why = "settlements of topics could not be written; topics start again from what is stored";
            life.fail(ctx, Failure::new(FailureKind::Reported, why, Wall::now()).uncounted());
        }
    }

    /// Syncs what lazy groups left, together with what is pending.
    fn flush_lazy(&mut self, ctx: &mut Context<Self>) {
        if self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            if !self.parts.write(pending) {
                self.lost(ctx);
            }
            self.sweep_soon(ctx);
        } else {
            self.flush(ctx);
        }
    }
}

impl JournalParts {
    /// Writes a group, answers everybody, and tells the topics. `false` when something was not written that nobody waits
    /// for.
    ///
    /// What nobody waits for comes first, and is told of at once: a delivery does not wait for the sync that the door asked for.
    fn write(&self, pending: Pending) -> bool {
        let Pending { unawaited, told, awaited, replies, barriers, synced } = pending;
        let settlements = unawaited.batches.len() as u64;
        let kept = settlements == 0
            || match self.commit(unawaited, false) {
                Ok(receipts) => {
                    told.into_iter().for_each(|told| answer(told, ()));
                    self.tell(self.by_topic(&receipts));
                    true
                }
                Err(error) => {
                    self.count_refused(settlements, &error);
                    self.check_fatal(&error);
                    false
                }
            };
        if awaited.batches.is_empty() && !synced {
            return kept;
        }
        match self.commit(awaited, synced) {
            Ok(receipts) => {
                let topics = self.by_topic(&receipts);
                for (reply, receipt) in replies.into_iter().zip(receipts) {
                    answer(reply, Ok(receipt));
                }
                barriers.into_iter().for_each(|barrier| answer(barrier, Ok(())));
                self.tell(topics);
            }
            Err(error) => {
                replies.into_iter().for_each(|reply| self.refuse(reply, &error));
                barriers.into_iter().for_each(|barrier| answer(barrier, Err(error.clone())));
                self.check_fatal(&error);
            }
        }
        kept
    }

    /// One write, and a sync when it is to be synced.
    fn commit(&self, part: Part, synced: bool) -> Result<Vec<Receipt>, Error> {
        let stats = &*self.stats;
        let batches = part.batches;
        let commits = batches.len() as u64;
        let started = Instant::now();
        let receipts = self.log.commit(batches, synced)?;
        stats.shared.store(self.log.shared_bytes(), Ordering::Relaxed);
        if synced {
            stats.synced_in(started.elapsed());
        }
        stats.add(&stats.groups, 1);
        stats.add(&stats.commits, commits);
        Ok(receipts)
    }

    /// Tells the topics of their new records.
    fn tell(&self, topics: Vec<(TopicId, Vec<Arc<Record>>)>) {
        for (topic, records) in topics {
            self.sinks.publish(topic, Published { records });
        }
    }

    /// The new records of each topic, in order.
    fn by_topic(&self, receipts: &[Receipt]) -> Vec<(TopicId, Vec<Arc<Record>>)> {
        let mut topics: Vec<(TopicId, Vec<Arc<Record>>)> = Vec::new();
        let (mut records, mut duplicates, mut bytes) = (0, 0, 0);
        for appended in receipts.iter().flat_map(|r| &r.appended) {
            let Appended::Stored(record) = appended else {
                duplicates += 1;
                continue;
            };
            records += 1;
            bytes += record.event.data.len() as u64;
            match topics.iter_mut().rev().find(|(id, _)| *id == record.topic_id) {
                Some((_, list)) => list.push(record.clone()),
                None => topics.push((record.topic_id, vec![record.clone()])),
            }
        }
        self.stats.add(&self.stats.records, records);
        self.stats.add(&self.stats.duplicates, duplicates);
        self.stats.add(&self.stats.bytes, bytes);
        topics
    }

    fn refuse(&self, reply: Reply, error: &Error) {
        self.count_refused(1, error);
        answer(reply, Err(error.clone()));
    }

    fn count_refused(&self, commits: u64, error: &Error) {
        let counter = if matches!(error, Error::Full) { &self.stats.refused_full } else { &self.stats.failed };
        self.stats.add(counter, commits);
    }

    /// After a failed write nothing is acknowledged any more; says so once.
    fn check_fatal(&self, error: &Error) {
        if matches!(error, Error::Failed(_)) && self.healthy.swap(false, Ordering::SeqCst) {
            (self.on_fatal)(error);
        }
    }
}

/// Answers; whoever asked may have gone, which changes nothing about what is written.
fn answer<T>(reply: oneshot::Sender<T>, value: T) {
    drop(reply.send(value));
}

impl Actor for Journal {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(self.parts.options.mailbox);
        if let Some(ready) = self.ready.take() {
            answer(ready, ());
        }
        // Of the process before, or the incarnation.
        self.sweep_soon(ctx);
    }

    fn stopped(&mut self, _ctx: &mut Self::Context) {
        // After a panic the waiting commits get a closed channel; a second panic here would end the process.
        if std::thread::panicking() {
            return;
        }
        // An orderly stop leaves nothing unsynced.
        let mut pending = std::mem::take(&mut self.pending);
        pending.synced = true;
        self.parts.write(pending);
    }
}

impl Handler<Commit> for Journal {
    type Result = ();

    fn handle(&mut self, commit: Commit, ctx: &mut Self::Context) {
        let Ok(_busy) = self.enter() else { return ctx.stop() };
        fail::fail_point!("journal-panic");
        let Commit { mut ops, mut back } = commit;
        match &mut back {
            // What its sender sent before it died with an earlier incarnation: a cursor that counts a record as handled
            // would be stored without what that record led to. The topics are taken along by the restart.
            Back::Unawaited(epoch, _) if *epoch != self.epoch => {
                self.parts.stats.add(&self.parts.stats.stale, 1);
                return;
            }
            Back::Reply(durability, _) if self.parts.options.lazy => *durability = Durability::Lazy,
            Back::Unawaited(..) | Back::Reply(..) => {}
        }
        // What comes after it is held against the topics that are left.
        let ends_group = ops.iter().any(|op| matches!(op, Op::Remove { .. }));
        match (self.parts.log.admits(&ops), back) {
            (Ok(()), back) => {
                self.pending.push(ops, back);
                if ends_group { self.flush(ctx) } else { self.flush_soon(ctx) }
            }
            // A topic was removed while this was on its way. What goes there goes with it; what else a settlement writes must
            // not, since its sender counts on all of it.
            (Err(Error::NoTopic(_)), back @ Back::Unawaited(..)) => {
                ops.retain(|op| !matches!(self.parts.log.admits(std::slice::from_ref(op)), Err(Error::NoTopic(_))));
                self.pending.push(ops, back);
                self.flush_soon(ctx);
            }
            // What nobody waits for are settlements of topics: the reserve is there for them, so that deliveries go on
            // while the door is shut.
            (Err(Error::Full), back @ Back::Unawaited(..)) => {
                self.pending.push(ops, back);
                self.flush_soon(ctx);
            }
            (Err(error), Back::Reply(_, reply)) => {
                self.parts.refuse(reply, &error);
                self.parts.check_fatal(&error);
            }
            (Err(error), Back::Unawaited(..)) => {
                self.parts.count_refused(1, &error);
                self.parts.check_fatal(&error);
            }
        }
    }
}

impl Handler<Barrier> for Journal {
    type Result = ();

    fn handle(&mut self, barrier: Barrier, ctx: &mut Self::Context) {
        let Ok(_busy) = self.enter() else { return ctx.stop() };
        self.pending.barriers.push(barrier.reply);
        self.pending.synced = true;
        self.flush_soon(ctx);
    }
}

impl Handler<Stop> for Journal {
    type Result = ();

    /// What is pending is written and synced by `stopped`.
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        match &self.life {
            Some(life) => life.finish(ctx),
            None => ctx.stop(),
        }
    }
}
