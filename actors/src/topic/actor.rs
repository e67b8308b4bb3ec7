//! The topic actor.
//!
//! Owns: the tail of its topic and the state of each subscription on it.
//! Receives: new records from the journal (or, for a memory topic, from publishers), settlements from subscribers.
//! Sends: deliveries to subscribers, new records to viewers, commits (cursor, outputs, dead letters) to the journal.
//! Strategy: `RestartStrategy::actor`. A restart loses what was in flight, never what was stored: cursors are read
//! back after a barrier in the journal, unsettled records are delivered again, and answers of before are stale.

use actix::{
    Actor, ActorContext, ActorFutureExt, AsyncContext, Context, ContextFutureSpawner, Handler, SpawnHandle, WrapFuture,
};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::oneshot;

use super::cast::Cast;
use super::cursor::Cursor;
use super::keys;
use super::subscription::{Subscription, Waiting};
use super::tail::{Room, Tail};
use super::{DeliverFrom, Round, Subscriber, TopicHandle, TopicMessage, Viewer, Write};
use crate::clock::{Tick, Wall};
use crate::definitions::TopicDurability;
use crate::event::{Event, Str};
use crate::log::journal::Barrier;
use crate::log::{self, Back, Commit, Epoch, Epochs, EventLog, Op, Ops, Published, Record, Seq, Table, Told, TopicId};
use crate::metrics::Metrics;
use crate::supervision::failure::{Failure, FailureKind};
use crate::supervision::front::Front;
use crate::supervision::lifeline::{Lifeline, Stop};
use crate::system::dead::DEAD;

mod aged;
mod deliver;
mod settle;
mod status;

/// Records handed to a subscriber in one message.
const BATCH: usize = 256;
/// Bytes read from disk at a time for one subscription.
const READ_BYTES: usize = 1 << 20;
/// Records that viewers are shown at once after a restart of the topic's actor.
const MISSED: usize = 4096;
/// How often retention, metrics and missed messages are looked after.
const TICK: Duration = Duration::from_secs(1);
/// For how long the place of a subscription may wait for others, where nobody wants it written at once.
const KEPT: Duration = Duration::from_millis(2);
/// The tail of a topic on disk, in bytes.
const TAIL_DISK: usize = 4 << 20;

/// What a topic actor is made of; the same at every restart.
#[derive(Clone)]
pub struct TopicSpec {
    /// Name, number, front, watermark.
    pub handle: TopicHandle,
    /// The registry: settings and subscriptions.
    pub cast: Cast,
    /// Whether records go once every subscription has handled them (outboxes).
    pub work_queue: bool,
    /// The log, for reading.
    pub log: Arc<dyn EventLog>,
    /// The journal, for writing.
    pub journal: Front<Commit>,
    /// Its epochs.
    pub epochs: Epochs,
    /// Bytes that a memory topic may hold.
    pub memory_limit: usize,
    /// The room of all tails of topics on disk.
    pub tails: Room,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// At a restart: what was sent to the journal before must be written before cursors are read.
    pub barrier: Option<Front<Barrier>>,
}

/// A subscription that is served.
struct Served {
    spec: Arc<Subscriber>,
    state: Subscription,
    /// Records read ahead from disk.
    ahead: VecDeque<Arc<Record>>,
    attempts: u64,
    delivered: u64,
    dead: u64,
    dirty: bool,
    /// The oldest that nobody handles, and when it is too old: nothing has to be looked at before.
    young_until: Option<(Seq, Wall)>,
    /// What was heard of the subscriber.
    heard: Round,
}

impl Served {
    /// Whether it has come further than what is stored says, in a topic that is on disk or not.
    fn is_unwritten(&self, on_disk: bool) -> bool {
        self.dirty && on_disk && self.spec.durable
    }

    /// Its place, to be written.
    fn place(&mut self, topic: TopicId) -> Op {
        self.dirty = false;
        Op::Put { table: Table::Cursor, key: keys::cursor(&self.spec.name, topic), value: self.state.cursor().encode() }
    }
}

/// The actor.
pub struct Topic {
    spec: TopicSpec,
    life: Lifeline,
    /// The journal that was given all that this incarnation sent: read before anything stored is.
    epoch: Epoch,
    tail: Tail,
    /// The sequence that the next record has.
    next: Seq,
    first: Seq,
    served: Vec<Served>,
    /// What is served no longer, and may be again: the newest of its settlements may be on their way to the log still, so its
    /// place is not read back from there.
    left: HashMap<Str, Subscription>,
    viewers: Vec<Viewer>,
    fresh: Vec<Arc<Record>>,
    pumping: bool,
    /// Whether the last pump stopped before it had looked at everything.
    unfinished: bool,
    /// Whether there are records that it could not read now: they are looked at again at the next tick, or with the next message.
    later: bool,
    /// Commits behind one that waits for room in the journal's mailbox.
    unsent: VecDeque<Commit>,
    /// Who is told when the places are written that are kept back.
    kept: Told,
    /// Whether they will be in a moment.
    keeping: bool,
    /// Whether one waits.
    waits_for_room: bool,
    /// Up to where letters that retention removes are counted: it says so until the log has removed them.
    counted_below: Seq,
    /// What handing out led to, for the next commit.
    owed: Ops,
    wake: Option<(Tick, SpawnHandle)>,
    label: String,
    ready: Option<oneshot::Sender<()>>,
}

#[derive(actix::Message)]
#[rtype(result = "()")]
struct Pump;

impl Topic {
    /// A topic that has read nothing yet; `ready` is told once it serves.
    pub fn new(spec: TopicSpec, life: Lifeline, ready: Option<oneshot::Sender<()>>) -> Self {
        let on_disk = spec.handle.durability == TopicDurability::Disk;
        Self {
            tail: if on_disk { Tail::within(TAIL_DISK, spec.tails.clone()) } else { Tail::new(spec.memory_limit) },
            next: 1,
            first: 1,
            served: Vec::new(),
            left: HashMap::new(),
            viewers: Vec::new(),
            fresh: Vec::new(),
            pumping: false,
            unfinished: false,
            later: false,
            unsent: VecDeque::new(),
            kept: Told::new(),
            keeping: false,
            waits_for_room: false,
            counted_below: 0,
            owed: Ops::new(),
            wake: None,
            label: spec.metrics.topic_label(&spec.handle.name).to_owned(),
            ready,
            epoch: spec.epochs.now(),
            life,
            spec,
        }
    }

    /// Reads back what the log knows of the topic.
    fn recover(&mut self, ctx: &mut Context<Self>) {
        let recovered = (|| {
            if self.on_disk() {
                let bounds = self.spec.log.bounds(self.spec.handle.id)?;
                (self.first, self.next) = (bounds.first, bounds.next);
            } else {
                // What was in memory is gone, but sequences go on: a viewer takes an old one for a repetition.
                self.next = self.spec.handle.newest.load(Ordering::Acquire) + 1;
                self.first = self.next;
            }
            for subscriber in self.spec.cast.subscribers_of(&self.spec.handle.name) {
                self.attach(subscriber)?;
            }
            Ok::<(), log::Error>(())
        })();
        match recovered {
            Ok(()) => {
                self.viewers = self.spec.cast.viewers_of(&self.spec.handle.name);
                self.show_missed();
                if let Some(ready) = self.ready.take()
                    && ready.send(()).is_err()
                {
                    tracing::debug!("nobody waits for the topic");
                }
                self.schedule(ctx);
            }
            Err(error) => self.life.fail(ctx, Failure::new(FailureKind::Reported, error.to_string(), Wall::now())),
        }
    }

    /// A commit that nobody waits for.
    fn unawaited(&self, ops: Ops) -> Commit {
        Commit { ops, back: Back::Unawaited(self.epoch, Vec::new()) }
    }

    fn on_disk(&self) -> bool {
        self.spec.handle.durability == TopicDurability::Disk
    }

    fn attach(&mut self, spec: Arc<Subscriber>) -> Result<(), log::Error> {
        if let Some(served) = self.served.iter_mut().find(|s| s.spec.name == spec.name) {
            served.state.configure(spec.settings.clone());
            served.young_until = None;
            served.spec = spec;
        } else {
            let state = match self.left.remove(&spec.name) {
                Some(mut state) if spec.durable => {
                    state.configure(spec.settings.clone());
                    state.skip_to(self.first);
                    // It may have been stopped, or let go on, while it was not served here.
                    state.pause(self.is_paused(&spec.name)?);
                    state
                }
                _ => self.load(&spec)?,
            };
            let ahead = Default::default();
            self.served.push(Served {
                spec,
                state,
                ahead,
                attempts: 0,
                delivered: 0,
                dead: 0,
                dirty: false,
                young_until: None,
                heard: Round::newest(),
            });
        }
        self.served.sort_by_key(|s| std::cmp::Reverse(s.spec.priority));
        Ok(())
    }

    /// The stored place of a subscription, or the one that it asks to begin at, which is stored at once.
    fn load(&self, spec: &Subscriber) -> Result<Subscription, log::Error> {
        let topic = self.spec.handle.id;
        let stored = self.on_disk() && spec.durable;
        let (mut cursor, mut waiting) = (None, Vec::new());
        if stored {
            cursor =
                self.spec.log.get(Table::Cursor, &keys::cursor(&spec.name, topic))?.and_then(|b| Cursor::decode(&b));
            let (now, wall) = (Tick::now(), Wall::now());
            let prefix = keys::waiting_prefix(&spec.name, topic);
            for (key, value) in self.spec.log.scan(Table::Waiting, &prefix, usize::MAX)? {
                if let (Some(seq), Some(entry)) = (keys::waiting_seq(&key), Waiting::decode(&value, now, wall)) {
                    waiting.push((seq, entry));
                }
            }
        }
        let cursor = match cursor {
            Some(cursor) => cursor,
            None => Cursor::at(self.place(spec.from)?.saturating_sub(1)),
        };
        let mut state = Subscription::new(spec.settings.clone(), cursor, waiting);
        state.skip_to(self.first);
        state.pause(self.is_paused(&spec.name)?);
        if stored {
            let op =
                Op::Put { table: Table::Cursor, key: keys::cursor(&spec.name, topic), value: state.cursor().encode() };
            let commit = self.unawaited([op].into_iter().collect());
            // The mailbox of the journal is never full of attachments; should it be, the place is stored with the
            // first settlement.
            if self.spec.journal.try_send(commit).is_err() {
                tracing::debug!(subscription = %spec.name, "place is stored later");
            }
        }
        Ok(state)
    }

    /// Whether a subscription is stopped by hand.
    fn is_paused(&self, subscription: &str) -> Result<bool, log::Error> {
        Ok(self.spec.log.get(Table::State, &keys::paused(subscription))?.is_some())
    }

    fn place(&self, from: DeliverFrom) -> Result<Seq, log::Error> {
        Ok(match from {
            DeliverFrom::New => self.next,
            DeliverFrom::All => self.first,
            DeliverFrom::Sequence(seq) => seq.clamp(self.first, self.next),
            DeliverFrom::Time(time) if self.on_disk() => self.spec.log.seq_at(self.spec.handle.id, time)?,
            DeliverFrom::Time(time) => (self.first..self.next)
                .find(|s| self.tail.get(*s).is_some_and(|r| r.stored >= time))
                .unwrap_or(self.next),
        })
    }

    fn published(&mut self, published: Published) {
        // What was made up for before is counted already.
        let before = self.next;
        for record in published.records {
            self.next = self.next.max(record.seq + 1);
            if !self.viewers.is_empty() {
                self.fresh.push(record.clone());
            }
            self.tail.push(record);
        }
        self.spec.metrics.topic_records.with_label_values(&[&self.label]).inc_by(self.next - before);
    }

    /// A message of the journal that found the mailbox full is made up for from its watermark.
    fn catch_up(&mut self) {
        let newest = self.spec.handle.newest.load(Ordering::Acquire);
        if self.on_disk() && newest >= self.next {
            let from = self.next;
            self.next = newest + 1;
            self.spec.metrics.topic_records.with_label_values(&[&self.label]).inc_by(self.next - from);
            if !self.viewers.is_empty() {
                self.show_from(from);
            }
        }
    }

    /// Takes events into a topic in memory; gives the record of the last.
    fn publish(&mut self, events: impl IntoIterator<Item = Event>) -> Option<Arc<Record>> {
        let (handle, now) = (&self.spec.handle, Wall::now());
        let record = |(event, seq)| Arc::new(Record::new(handle.name.clone(), handle.id, seq, now, event));
        let records: Vec<_> = events.into_iter().zip(self.next..).map(record).collect();
        let last = records.last()?.clone();
        handle.newest.store(last.seq, Ordering::Release);
        self.published(Published { records });
        self.first = self.tail.first().unwrap_or(self.next);
        Some(last)
    }

    fn tick(&mut self, ctx: &mut Context<Self>) {
        self.catch_up();
        self.expire(ctx);
        self.give_up_aged(ctx);
        self.retain(ctx);
        self.tail.yield_room();
        let next = self.next;
        for served in &self.served {
            let lag = i64::try_from(served.state.lag(next)).unwrap_or(i64::MAX);
            let said = [lag, served.state.in_flight() as i64, served.state.failed() as i64];
            self.spec.metrics.subscription(&served.spec.name, &self.spec.handle.name, said);
        }
        self.write_places(ctx);
        crate::failpoint!("topic-looked");
    }

    /// The places of subscriptions that are not written yet.
    fn places(&mut self) -> Ops {
        let (topic, on_disk) = (self.spec.handle.id, self.on_disk());
        self.served.iter_mut().filter(|served| served.is_unwritten(on_disk)).map(|served| served.place(topic)).collect()
    }

    /// Writes them.
    fn write_places(&mut self, ctx: &mut Context<Self>) {
        let places = self.places();
        if places.is_empty() {
            // Nothing is left to be written of what they wait for: its subscription is gone.
            self.kept.clear();
        } else {
            self.commit(self.unawaited(places), ctx);
        }
    }

    /// Has the place of a subscription written in a moment, with those that come meanwhile: at low rates each would be a write
    /// of its own, and wake two threads.
    fn keep_back(&mut self, subscription: &str, told: Option<oneshot::Sender<()>>, ctx: &mut Context<Self>) {
        let on_disk = self.on_disk();
        let mut served = self.served.iter().filter(|served| &*served.spec.name == subscription);
        if !served.any(|served| served.is_unwritten(on_disk)) {
            // Who waits is let go.
            return;
        }
        self.kept.extend(told);
        if !std::mem::replace(&mut self.keeping, true) {
            ctx.run_later(KEPT, |this, ctx| {
                let Some(_busy) = this.life.enter_own() else { return ctx.stop() };
                this.keeping = false;
                this.write_places(ctx);
            });
        }
    }

    /// Removes what age, count and bytes say, but nothing that a durable subscription still needs.
    fn retain(&mut self, ctx: &mut Context<Self>) {
        if !self.spec.cast.is_complete() {
            return;
        }
        let needed = self.served.iter().filter(|s| s.spec.durable).map(|s| s.state.needs_from()).min();
        if !self.on_disk() {
            let retention = self.spec.cast.retention(&self.spec.handle.name);
            let kept = self.tail.kept(retention.count, retention.bytes, retention.since(Wall::now()));
            self.tail.trim(kept.unwrap_or(self.next).min(needed.unwrap_or(Seq::MAX)));
            self.first = self.tail.first().unwrap_or(self.next);
            return;
        }
        let Ok(bounds) = self.spec.log.bounds(self.spec.handle.id) else { return };
        let mut below = bounds.first;
        if self.spec.work_queue {
            below = below.max(needed.unwrap_or(bounds.first));
        } else {
            let retention = self.spec.cast.retention(&self.spec.handle.name);
            if let Some(count) = retention.count {
                below = below.max(bounds.next.saturating_sub(count));
            }
            if let Some(limit) = retention.bytes.filter(|limit| bounds.bytes > *limit)
                && let Ok(seq) = self.spec.log.seq_keeping(self.spec.handle.id, limit)
            {
                below = below.max(seq);
            }
            if let Some(since) = retention.since(Wall::now())
                && bounds.oldest.is_some_and(|oldest| oldest < since)
                && let Ok(seq) = self.spec.log.seq_at(self.spec.handle.id, since)
            {
                below = below.max(seq);
            }
            below = below.min(needed.unwrap_or(Seq::MAX));
        }
        if below > bounds.first {
            let open = self.open_letters(bounds.first.max(self.counted_below), below);
            self.counted_below = self.counted_below.max(below);
            if open > 0 {
                self.spec.cast.letters_removed(&self.spec.handle.name, open);
            }
            self.trim(below, ctx);
        }
    }

    /// How many dead letters of a range nobody has settled; none where the topic holds something else.
    fn open_letters(&self, from: Seq, below: Seq) -> u64 {
        if !self.spec.handle.name.starts_with(DEAD) {
            return 0;
        }
        // One that cannot be read counts as if nothing was settled: better an alert too many.
        let stored = self.spec.log.get(Table::State, &keys::settled(self.spec.handle.id)).ok().flatten();
        let settled = stored.as_deref().and_then(Cursor::decode).unwrap_or_default();
        settled.open(from..below)
    }

    fn trim(&mut self, below: Seq, ctx: &mut Context<Self>) {
        let below = below.min(self.next);
        self.first = self.first.max(below);
        self.tail.trim(below);
        let op = Op::Trim { topic: self.spec.handle.id, below };
        self.commit(self.unawaited([op].into_iter().collect()), ctx);
    }

    /// Pumps once after everything that waits in the mailbox has been taken in.
    fn schedule(&mut self, ctx: &mut Context<Self>) {
        if !self.pumping {
            self.pumping = true;
            ctx.notify(Pump);
        }
    }

    /// Wakes up for the earliest wait or deadline.
    fn rearm(&mut self, ctx: &mut Context<Self>) {
        if std::mem::take(&mut self.later) {
            // What is due cannot be read, and would be due again at once.
            return;
        }
        let Some(next) = self.served.iter().filter_map(|s| s.state.next_wake()).min() else { return };
        if self.wake.as_ref().is_some_and(|(at, _)| *at <= next && *at > Tick::now()) {
            return;
        }
        if let Some((_, handle)) = self.wake.take() {
            ctx.cancel_future(handle);
        }
        let handle = ctx.run_later(next.since(Tick::now()), |this, ctx| {
            let Some(_busy) = this.life.enter_own() else { return ctx.stop() };
            this.wake = None;
            this.expire(ctx);
            this.schedule(ctx);
        });
        self.wake = Some((next, handle));
    }
}

impl Actor for Topic {
    type Context = Context<Self>;

    fn started(&mut self, ctx: &mut Self::Context) {
        ctx.set_mailbox_capacity(1024);
        ctx.run_interval(TICK, |this, ctx| {
            let Some(_busy) = this.life.enter_own() else { return ctx.stop() };
            this.tick(ctx);
            this.schedule(ctx);
        });
        match self.spec.barrier.clone() {
            None => self.recover(ctx),
            Some(barrier) => {
                // The mailbox waits: nothing is handled before the place is known.
                let (reply, answer) = oneshot::channel();
                let sent =
                    async move { barrier.send(Barrier { reply }).await.is_ok() && matches!(answer.await, Ok(Ok(()))) };
                sent.into_actor(self)
                    .map(|written, this, ctx| if written { this.recover(ctx) } else { this.journal_lost(ctx) })
                    .wait(ctx);
            }
        }
    }
}

impl Handler<Pump> for Topic {
    type Result = ();

    fn handle(&mut self, _: Pump, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter_own() else { return ctx.stop() };
        self.pumping = false;
        self.unfinished = false;
        self.pump();
        if !self.owed.is_empty() {
            let ops = std::mem::take(&mut self.owed);
            self.commit(self.unawaited(ops), ctx);
        }
        if self.unfinished {
            // Not by a message to itself, which would be handled before anything else on this thread.
            let others = tokio::task::yield_now().into_actor(self);
            others.map(|(), this, ctx| this.schedule(ctx)).spawn(ctx);
        }
        self.rearm(ctx);
    }
}

impl Handler<TopicMessage> for Topic {
    type Result = ();

    fn handle(&mut self, message: TopicMessage, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter() else { return ctx.stop() };
        crate::failpoint!("topic-panic");
        match message {
            TopicMessage::Published(published) => self.published(published),
            TopicMessage::Publish { event, reply } => {
                let record = self.publish([*event]);
                if let (Some(reply), Some(record)) = (reply, record)
                    && reply.send(record).is_err()
                {
                    tracing::debug!("a publisher did not wait for its answer");
                }
            }
            TopicMessage::PublishAll(events) => drop(self.publish(events)),
            TopicMessage::Settle { subscription, items, round, write: Write { soon, told } } => {
                self.hear(&subscription, round);
                match self.settle(&subscription, items, soon) {
                    Some(mut commit) => {
                        commit.back = Back::Unawaited(self.epoch, told.into_iter().collect());
                        self.commit(commit, ctx);
                    }
                    None => self.keep_back(&subscription, told, ctx),
                }
            }
            TopicMessage::Progress { subscription, question, items } => {
                self.progress(&subscription, question, &items, ctx);
            }
            TopicMessage::Attach(spec) => {
                if let Err(error) = self.attach(spec) {
                    tracing::error!(topic = %self.spec.handle.name, %error, "subscription cannot be served");
                    self.life.fail(ctx, Failure::new(FailureKind::Reported, error.to_string(), Wall::now()));
                    return;
                }
            }
            TopicMessage::Detach { subscription, forget } => {
                self.spec.metrics.forget_subscription(&subscription, &self.spec.handle.name);
                // What is in flight is nobody's now; what comes of it all the same is stale.
                self.restarted(&subscription, None, ctx);
                let left = self.served.iter().position(|s| s.spec.name == subscription);
                let mut left = left.map(|at| self.served.remove(at));
                let on_disk = self.on_disk();
                if let Some(served) = left.as_mut().filter(|served| !forget && served.is_unwritten(on_disk)) {
                    // From now on the log alone says how far it came.
                    let ops = [served.place(self.spec.handle.id)].into_iter().collect();
                    self.commit(self.unawaited(ops), ctx);
                }
                let before = self.left.remove(&subscription);
                let state = left.map(|served| served.state).or(before);
                if !forget {
                    self.left.extend(state.map(|state| (subscription.clone(), state)));
                } else {
                    match self.forget(&subscription, state.as_ref()) {
                        Ok(mut ops) => {
                            let key = keys::cursor(&subscription, self.spec.handle.id);
                            ops.push(Op::Delete { table: Table::Cursor, key });
                            self.commit(self.unawaited(ops), ctx);
                        }
                        Err(error) => tracing::error!(topic = %self.spec.handle.name, %subscription, %error,
                            "what waits for it cannot be read, so its place is not forgotten"),
                    }
                }
            }
            TopicMessage::Restarted { subscription, culprit, round } => {
                self.hear(&subscription, round);
                self.restarted(&subscription, culprit, ctx);
            }
            TopicMessage::Look => {}
            TopicMessage::Act { subscription, act, reply } => {
                let done = self.act(&subscription, act, ctx);
                if let Err(error) = &done {
                    tracing::error!(topic = %self.spec.handle.name, %subscription, %error, "it is not moved");
                }
                if let Some(reply) = reply
                    && reply.send(done).is_err()
                {
                    tracing::debug!("nobody waits for the answer");
                }
            }
            TopicMessage::View { viewer, reply } => {
                // What was acknowledged before the viewer came is behind it, also when the journal's word of it is still in
                // the mailbox; and what is fresh is in the tail already: it reads up to here by itself.
                self.catch_up();
                self.show();
                if reply.send(self.next - 1).is_ok() {
                    // Here already when the topic was started meanwhile.
                    self.viewers.retain(|v| v.id != viewer.id);
                    self.viewers.push(viewer);
                    self.spec.handle.shown.store(self.next - 1, Ordering::Release);
                }
            }
            TopicMessage::Unview(id) => self.viewers.retain(|v| v.id != id),
            TopicMessage::Inspect(reply) => {
                // Whoever was told of an event a moment ago sees it counted.
                self.catch_up();
                if reply.send(self.status()).is_err() {
                    tracing::debug!("nobody waits for the status");
                }
            }
            TopicMessage::Trim(below) => self.trim(below, ctx),
        }
        self.catch_up();
        self.schedule(ctx);
    }
}

impl Handler<Stop> for Topic {
    type Result = ();

    /// What was handled since the last settlement is stored; everything else is stored already.
    fn handle(&mut self, _: Stop, ctx: &mut Self::Context) {
        let Some(_busy) = self.life.enter_own() else { return ctx.stop() };
        self.tick(ctx);
        self.life.finish(ctx);
    }
}
