//! Cast: the registry of topics and subscriptions. Names lead to topics, patterns to subscriptions; a topic that is
//! used for the first time is numbered durably and started under the supervisor, with every subscription that matches.

use actix::{Actor, Addr};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use tokio::sync::oneshot;

use super::actor::{Topic, TopicSpec};
use super::cursor::Cursor;
use super::keys;
use super::pattern::Pattern;
use super::tail::Room;
use super::{AGAIN, Act, Round, Subscriber, TopicHandle, TopicMessage, TopicStatus, Viewer};
use crate::definitions::{Retention, TopicDefinition, TopicDurability};
use crate::event::Str;
use crate::log::journal::{Barrier, Sinks};
use crate::log::{self, Back, Commit, Durability, Epoch, Epochs, EventLog, Op, Ops, Receipt, Seq, Table, TopicId};
use crate::metrics::Metrics;
use crate::supervision::front::{Front, SendError};
use crate::supervision::lifeline::Started;
use crate::supervision::{ChildSpec, Place as ThreadPlace, RestartStrategy, Spawn, Supervisor};
use crate::system::dead::DEAD;
use crate::trigger::run::{Place, Topics};

mod removal;

pub use removal::KeptPlace;

/// The most cursors that are looked through for names.
const MAX_CURSORS: usize = 1_000_000;
/// The most topics.
pub const MAX_TOPICS: usize = 10_000;
/// The most topics that events may bring: their names can come from payloads, and what is configured must have room, too.
pub const MAX_NAMED_BY_EVENTS: usize = 9_000;
/// The newest records of all topics on disk that are kept in memory, in bytes.
const TAILS: usize = 128 << 20;

/// What goes wrong with topics and subscriptions.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The log failed.
    #[error(transparent)]
    Log(#[from] log::Error),
    /// The name is not one.
    #[error(transparent)]
    Name(#[from] super::pattern::Error),
    /// Too many topics.
    #[error(
        "there are {0} topics already, and no more can be made this way; a topic stays until it is removed (`hexafn topic rm`), so compute its name \
        (`topic_expr`, `emit`) from something of which there are few, and put the rest into the ordering key"
    )]
    TooMany(usize),
    /// No such topic.
    #[error("there is no topic `{name}`; {near}")]
    Unknown {
        /// What was asked for.
        name: String,
        /// What there is.
        near: String,
    },
    /// Somebody needs what would be removed.
    #[error(
        "events of topic `{topic}` are not handled yet by {by}; wait until they are, or remove them all the same with `--force` \
        (`?force=true`)"
    )]
    Needed {
        /// The topic.
        topic: Str,
        /// The subscriptions.
        by: String,
    },
    /// The supervisor does not answer.
    #[error("the topic `{0}` could not be started; see `hexafn actors`")]
    Start(Str),
}

struct Inner {
    log: Arc<dyn EventLog>,
    journal: Front<Commit>,
    epochs: Epochs,
    barrier: Front<Barrier>,
    sinks: Sinks,
    metrics: Arc<Metrics>,
    supervisor: Addr<Supervisor>,
    memory_limit: usize,
    tails: Room,
    strategy: RestartStrategy,
    topics: RwLock<Arc<HashMap<Str, TopicHandle>>>,
    settings: RwLock<HashMap<Str, Arc<TopicDefinition>>>,
    subscribers: RwLock<Vec<Arc<Subscriber>>>,
    /// Held while a topic is made or removed.
    creating: tokio::sync::Mutex<()>,
    /// The topic that is being removed.
    removing: RwLock<Option<Str>>,
    /// Topics made by an emission whose subscriptions have their places, and the journal that was given them.
    begun: Mutex<BTreeMap<Str, Epoch>>,
    viewers: RwLock<Vec<(Pattern, Viewer)>>,
    /// Letters that retention has removed, by subscription, until somebody is told.
    removed: Mutex<BTreeMap<Str, u64>>,
    viewer_ids: AtomicU64,
    /// Whether topics are there whose subscriptions are not yet.
    opening: AtomicBool,
}

/// The registry; cloning shares it.
#[derive(Clone)]
pub struct Cast(Arc<Inner>);

/// What the registry works with.
pub struct CastParts {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// The journal.
    pub journal: Front<Commit>,
    /// The journal's epochs.
    pub epochs: Epochs,
    /// The journal's barrier.
    pub barrier: Front<Barrier>,
    /// Where the journal hands over.
    pub sinks: Sinks,
    /// The metrics.
    pub metrics: Arc<Metrics>,
    /// The supervisor.
    pub supervisor: Addr<Supervisor>,
    /// Bytes that one memory topic may hold.
    pub memory_limit: usize,
    /// The strategy of topics.
    pub strategy: RestartStrategy,
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

/// The thread of a topic and of everything that belongs to it: the same name, the same thread.
pub fn slot(name: &str) -> ThreadPlace {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    ThreadPlace::Slot(usize::try_from(hasher.finish() >> 1).unwrap_or(0))
}

impl Cast {
    /// An empty registry.
    pub fn new(parts: CastParts) -> Self {
        let CastParts { log, journal, epochs, barrier, sinks, metrics, supervisor, memory_limit, strategy } = parts;
        Self(Arc::new(Inner {
            log,
            journal,
            epochs,
            barrier,
            sinks,
            metrics,
            supervisor,
            memory_limit,
            tails: Room::new(TAILS),
            strategy,
            topics: RwLock::default(),
            settings: RwLock::default(),
            subscribers: RwLock::default(),
            creating: tokio::sync::Mutex::default(),
            removing: RwLock::default(),
            begun: Mutex::default(),
            viewers: RwLock::default(),
            removed: Mutex::default(),
            viewer_ids: AtomicU64::new(1),
            opening: AtomicBool::new(false),
        }))
    }

    /// The topic, if it is known.
    pub fn get(&self, name: &str) -> Option<TopicHandle> {
        read(&self.0.topics).get(name).cloned()
    }

    /// All topics.
    pub fn all(&self) -> Vec<TopicHandle> {
        let mut all: Vec<TopicHandle> = read(&self.0.topics).values().cloned().collect();
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// The topic, or an error that lists what there is.
    pub fn find(&self, name: &str) -> Result<TopicHandle, Error> {
        self.get(name).ok_or_else(|| {
            let names: Vec<Str> = self.all().into_iter().map(|t| t.name).collect();
            Error::Unknown { name: name.to_owned(), near: crate::names::near(name, names.iter().map(|n| &**n)) }
        })
    }

    /// The settings of topics, as configured. Takes effect at the next look (within a second) where a topic runs.
    pub fn configure(&self, settings: impl IntoIterator<Item = Arc<TopicDefinition>>) {
        *write(&self.0.settings) = settings.into_iter().map(|t| (t.name.clone(), t)).collect();
    }

    /// What is removed when from a topic.
    pub fn retention(&self, name: &str) -> Retention {
        read(&self.0.settings).get(name).map_or_else(|| Retention::of(name), |t| t.retention.clone())
    }

    /// Notes that retention has removed letters that nobody had settled.
    pub(super) fn letters_removed(&self, topic: &Str, count: u64) {
        let subscription = topic.strip_prefix(DEAD).unwrap_or(topic);
        self.0.metrics.dead_letters_removed.with_label_values(&[subscription]).inc_by(count);
        let mut removed = self.0.removed.lock().unwrap_or_else(PoisonError::into_inner);
        *removed.entry(subscription.into()).or_default() += count;
    }

    /// The letters, by subscription, that retention has removed since this was asked before.
    pub fn take_removed_letters(&self) -> BTreeMap<Str, u64> {
        std::mem::take(&mut *self.0.removed.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The topic; started, and numbered durably, when it is used for the first time.
    pub async fn ensure(&self, name: &str) -> Result<TopicHandle, Error> {
        self.ensure_below(name, MAX_TOPICS).await
    }

    /// The same for a name that comes with an event or a request, of which there may be many.
    pub async fn ensure_for_event(&self, name: &str) -> Result<TopicHandle, Error> {
        self.ensure_below(name, MAX_NAMED_BY_EVENTS).await
    }

    async fn ensure_below(&self, name: &str, most: usize) -> Result<TopicHandle, Error> {
        if let Some(topic) = self.get(name) {
            return Ok(topic);
        }
        // In a task of its own: whoever asked may be gone before the topic is there, and it must not stay half made.
        let (cast, topic) = (self.clone(), Str::from(name));
        let made = tokio::spawn(async move { cast.make(&topic, most).await });
        made.await.unwrap_or_else(|_| Err(Error::Start(name.into())))
    }

    async fn make(&self, name: &str, most: usize) -> Result<TopicHandle, Error> {
        let _one_at_a_time = self.0.creating.lock().await;
        if let Some(topic) = self.get(name) {
            return Ok(topic);
        }
        if read(&self.0.topics).len() >= most {
            return Err(Error::TooMany(most));
        }
        Pattern::new(name)?;
        let durability = read(&self.0.settings).get(name).map_or(TopicDurability::Disk, |t| t.durability);
        // A new one waits for the disk, and this thread serves others.
        let (log, of) = (self.0.log.clone(), name.to_owned());
        let id = tokio::task::spawn_blocking(move || log.topic(&of)).await;
        let id = id.map_err(|_| Error::Start(name.into()))??;
        let handle = TopicHandle {
            name: name.into(),
            id,
            durability,
            front: Front::new(),
            newest: if durability == TopicDurability::Disk { self.0.log.high(id)? } else { Arc::default() },
            shown: Arc::default(),
        };
        let bounds = self.0.log.bounds(id)?;
        if durability == TopicDurability::Memory && bounds.first < bounds.next {
            tracing::warn!(
                topic = name,
                records = bounds.next - bounds.first,
                "the topic lives in memory, and events of it are on disk: nobody gets those until it is on disk again"
            );
        }
        if durability == TopicDurability::Disk {
            let front = handle.front.clone();
            // A notice that finds the mailbox full, or no actor, is made up for from the watermark.
            self.0.sinks.set(id, Arc::new(move |published| drop(front.try_send(TopicMessage::Published(published)))));
        }
        self.start(&handle).await?;
        self.insert(&handle);
        Ok(handle)
    }

    fn insert(&self, handle: &TopicHandle) {
        let mut topics = write(&self.0.topics);
        Arc::make_mut(&mut topics).insert(handle.name.clone(), handle.clone());
    }

    async fn start(&self, handle: &TopicHandle) -> Result<(), Error> {
        let (ready, is_ready) = oneshot::channel();
        let ready = std::sync::Mutex::new(Some(ready));
        let (cast, topic) = (self.clone(), handle.clone());
        let starts = AtomicU64::new(0);
        let child = ChildSpec::new(format!("/topics/{}", handle.name), "topic", move |life| {
            let spec = TopicSpec {
                handle: topic.clone(),
                work_queue: ["hexafn.out.", AGAIN].iter().any(|prefix| topic.name.starts_with(prefix)),
                cast: cast.clone(),
                log: cast.0.log.clone(),
                journal: cast.0.journal.clone(),
                epochs: cast.0.epochs.clone(),
                barrier: (starts.fetch_add(1, Ordering::Relaxed) > 0).then(|| cast.0.barrier.clone()),
                memory_limit: cast.0.memory_limit,
                tails: cast.0.tails.clone(),
                metrics: cast.0.metrics.clone(),
            };
            let ready = ready.lock().unwrap_or_else(PoisonError::into_inner).take();
            let addr = Topic::new(spec, life, ready).start();
            Ok(Started::new(&addr).serves(&topic.front, &addr))
        });
        let child = child.strategy(self.0.strategy.clone()).place(slot(&handle.name));
        let spawned = self.0.supervisor.send(Spawn(child)).await;
        match spawned {
            Ok(Ok(_)) if is_ready.await.is_ok() => Ok(()),
            _ => Err(Error::Start(handle.name.clone())),
        }
    }

    /// A topic for somebody who cannot wait for its start: its number is there at once, its actor soon after. What is
    /// stored meanwhile is found by the actor when it starts.
    fn number(&self, name: &Str) -> Result<Place, Error> {
        let memory =
            |handle: &TopicHandle| (handle.durability == TopicDurability::Memory).then(|| handle.front.clone());
        if let Some(handle) = self.get(name) {
            return Ok(Place { id: handle.id, memory: memory(&handle) });
        }
        // Its number is about to stand for nothing; whoever emits to it tries again.
        if read(&self.0.removing).as_ref() == Some(name) {
            return Err(Error::Start(name.clone()));
        }
        if read(&self.0.topics).len() >= MAX_NAMED_BY_EVENTS {
            return Err(Error::TooMany(MAX_NAMED_BY_EVENTS));
        }
        let durability = read(&self.0.settings).get(name).map_or(TopicDurability::Disk, |t| t.durability);
        let id = self.0.log.topic(name)?;
        if durability == TopicDurability::Disk {
            self.begin(name, id)?;
        }
        let (cast, topic) = (self.clone(), name.clone());
        actix_rt::spawn(async move {
            if let Err(error) = cast.ensure(&topic).await {
                tracing::error!(%topic, %error, "the topic of an emitted event could not be started");
            }
        });
        // A topic in memory that does not run yet has nowhere to put it.
        if durability == TopicDurability::Memory {
            Err(Error::Start(name.clone()))
        } else {
            Ok(Place { id, memory: None })
        }
    }

    /// Subscriptions that are there before a topic see all of it, also what is stored before its actor runs and where the
    /// process ends in between: their places are written before anything is, in the order of the journal.
    fn begin(&self, name: &Str, id: TopicId) -> Result<(), Error> {
        let mut begun = self.0.begun.lock().unwrap_or_else(PoisonError::into_inner);
        let epoch = self.0.epochs.now();
        if begun.get(name) == Some(&epoch) {
            return Ok(());
        }
        let durable = self.subscribers_of(name).into_iter().filter(|s| s.durable);
        let ops = durable.filter_map(|s| match self.0.log.get(Table::Cursor, &keys::cursor(&s.name, id)) {
            Ok(None) => {
                let (key, value) = (keys::cursor(&s.name, id), Cursor::at(0).encode());
                Some(Ok(Op::Put { table: Table::Cursor, key, value }))
            }
            Ok(Some(_)) => None,
            Err(error) => Some(Err(error)),
        });
        let ops = ops.collect::<Result<Ops, log::Error>>()?;
        if !ops.is_empty() {
            let commit = Commit { ops, back: Back::Unawaited(epoch, Vec::new()) };
            self.0.journal.try_send(commit).map_err(|_| Error::Start(name.clone()))?;
        }
        begun.insert(name.clone(), epoch);
        Ok(())
    }

    /// Whether all that has a place in a topic serves it: before, nobody knows what is still needed.
    pub fn is_complete(&self) -> bool {
        !self.0.opening.load(Ordering::Acquire)
    }

    /// Said when the subscriptions of the configuration are there.
    pub fn complete(&self) {
        self.0.opening.store(false, Ordering::Release);
    }

    /// Starts every topic that the log knows, so that patterns find them. Nothing of them is removed before it is
    /// [`complete`](Self::complete).
    pub async fn open_all(&self) -> Result<(), Error> {
        self.0.opening.store(true, Ordering::Release);
        for (name, _) in self.0.log.topics()? {
            self.ensure(&name).await?;
        }
        Ok(())
    }

    /// The subscriptions that a topic serves.
    pub fn subscribers_of(&self, topic: &str) -> Vec<Arc<Subscriber>> {
        read(&self.0.subscribers).iter().filter(|s| s.serves(topic)).cloned().collect()
    }

    /// All subscriptions.
    pub fn subscribers(&self) -> Vec<Arc<Subscriber>> {
        read(&self.0.subscribers).clone()
    }

    /// Serves a subscription from now on; one of the same name is replaced and keeps its place.
    pub async fn subscribe(&self, subscriber: Subscriber) -> Result<(), Error> {
        let subscriber = Arc::new(subscriber);
        let replaced = {
            let mut all = write(&self.0.subscribers);
            let place = all.iter().position(|s| s.name == subscriber.name);
            let replaced = place.map(|place| all.remove(place));
            all.push(subscriber.clone());
            replaced
        };
        if let Some(name) = subscriber.pattern.literal() {
            self.ensure(name).await?;
        }
        for topic in self.all() {
            let message = if subscriber.serves(&topic.name) {
                TopicMessage::Attach(subscriber.clone())
            } else if replaced.as_ref().is_some_and(|old| old.serves(&topic.name)) {
                TopicMessage::Detach { subscription: subscriber.name.clone(), forget: false }
            } else {
                continue;
            };
            // A topic that is being restarted takes its subscriptions from the registry.
            topic.front.send(message).await.ok();
        }
        Ok(())
    }

    /// Serves a subscription no longer. `forget` also removes its cursor, so that one of the same name begins anew.
    pub async fn unsubscribe(&self, name: &str, forget: bool) -> bool {
        let known = {
            let mut all = write(&self.0.subscribers);
            let place = all.iter().position(|s| &*s.name == name);
            place.map(|place| all.remove(place))
        };
        for topic in self.all() {
            // One that is to be forgotten may have a place in topics that it does not match any more.
            if !forget && known.as_ref().is_none_or(|s| !s.serves(&topic.name)) {
                continue;
            }
            topic.front.send(TopicMessage::Detach { subscription: name.into(), forget }).await.ok();
        }
        if forget && let Err(error) = self.write(Op::Delete { table: Table::State, key: keys::paused(name) }).await {
            tracing::warn!(subscription = name, %error, "the pause of a removed subscription is kept");
        }
        known.is_some()
    }

    /// The subscriber's actor runs (again): its topics deliver, and what it had in flight is offered again. `culprit` is
    /// the record it failed on, whose attempt counts; `round` is the first of its settlements, where it numbers them.
    pub fn restarted(&self, subscription: &Str, culprit: Option<(TopicId, Seq, Str)>, round: Option<Round>) {
        for topic in read(&self.0.topics).values() {
            let serves = read(&self.0.subscribers).iter().any(|s| s.name == *subscription && s.serves(&topic.name));
            if serves {
                let culprit = culprit.as_ref().filter(|(id, ..)| *id == topic.id);
                let culprit = culprit.map(|(_, seq, why)| (*seq, why.clone()));
                let message = TopicMessage::Restarted { subscription: subscription.clone(), culprit, round };
                match topic.front.try_send(message) {
                    // One that is down has nothing in flight when it starts.
                    Ok(()) | Err(SendError::Closed(_)) => {}
                    Err(SendError::Full(message)) => match tokio::runtime::Handle::try_current() {
                        Ok(runtime) => drop(runtime.spawn(topic.front.send(message))),
                        // `ack_wait` brings back what this leaves in flight.
                        Err(_) => tracing::warn!(topic = %topic.name, %subscription, "topic was not told of a restart"),
                    },
                }
            }
        }
    }

    /// The names of all subscriptions that have a place in a topic: those that are served, and those whose trigger or
    /// target is not there any more.
    pub fn subscriptions(&self) -> Result<Vec<Str>, Error> {
        let stored = self.0.log.scan(Table::Cursor, b"", MAX_CURSORS)?;
        let mut names: BTreeSet<Str> = self.subscribers().iter().map(|s| s.name.clone()).collect();
        names.extend(stored.iter().filter_map(|(key, _)| keys::subscription_of(key)).map(Str::from));
        Ok(names.into_iter().collect())
    }

    /// Hands a subscription over from one receiver to the next: what the first had is taken back before `next` is put in its
    /// place, so that the second gets each delivery once.
    pub async fn hand_over<T>(&self, subscription: &Str, next: impl FnOnce() -> T) -> T {
        let serves = |topic: &TopicHandle| {
            read(&self.0.subscribers).iter().any(|s| s.name == *subscription && s.serves(&topic.name))
        };
        let topics: Vec<TopicHandle> = self.all().into_iter().filter(serves).collect();
        for topic in &topics {
            let message = TopicMessage::Restarted { subscription: subscription.clone(), culprit: None, round: None };
            // A topic that is being restarted has nothing in flight.
            topic.front.send(message).await.ok();
        }
        let next = next();
        for topic in &topics {
            // Offered again at the topic's next look, within a second, where this does not arrive.
            topic.front.send(TopicMessage::Look).await.ok();
        }
        next
    }

    /// Changes a subscription on every topic that serves it; a pause outlives restarts. `false` when there is none.
    pub async fn act(&self, subscription: &str, act: Act) -> Result<bool, Error> {
        if !read(&self.0.subscribers).iter().any(|s| &*s.name == subscription) {
            return Ok(false);
        }
        let (table, key) = (Table::State, keys::paused(subscription));
        match act {
            Act::Pause => drop(self.write(Op::Put { table, key, value: b"by hand".to_vec() }).await?),
            Act::Resume => drop(self.write(Op::Delete { table, key }).await?),
            Act::Seek(_) | Act::RetryNow => {}
        }
        for topic in self.all() {
            let (reply, answer) = oneshot::channel();
            let message = TopicMessage::Act { subscription: subscription.into(), act, reply: Some(reply) };
            if topic.front.send(message).await.is_ok() {
                // One that starts anew reads the pause back.
                answer.await.unwrap_or(Ok(()))?;
            }
        }
        // Also where its pattern matches no topic yet.
        Ok(true)
    }

    /// Writes, and waits until it is on disk.
    async fn write(&self, op: Op) -> Result<Receipt, Error> {
        let (reply, answer) = oneshot::channel();
        let commit = Commit { ops: [op].into_iter().collect(), back: Back::Reply(Durability::Synced, reply) };
        self.0.journal.send(commit).await.map_err(|_| log::Error::Stopped)?;
        Ok(answer.await.map_err(|_| log::Error::Stopped)??)
    }

    /// The state of a topic.
    pub async fn status(&self, topic: &TopicHandle) -> Option<TopicStatus> {
        let (reply, answer) = oneshot::channel();
        topic.front.send(TopicMessage::Inspect(reply)).await.ok()?;
        answer.await.ok()
    }

    /// A number for a viewer.
    pub fn viewer_id(&self) -> u64 {
        self.0.viewer_ids.fetch_add(1, Ordering::Relaxed)
    }

    /// Shows a viewer what is new on every topic that matches, also on those that come later. Answers, for each topic
    /// that is there, with the sequence after which the viewer sees everything.
    pub async fn view(&self, pattern: &Pattern, viewer: Viewer) -> Vec<(TopicHandle, Seq)> {
        write(&self.0.viewers).push((pattern.clone(), viewer.clone()));
        let mut seen = Vec::new();
        for topic in self.all().into_iter().filter(|t| pattern.matches(&t.name)) {
            let (reply, answer) = oneshot::channel();
            let sent = topic.front.send(TopicMessage::View { viewer: viewer.clone(), reply }).await;
            if sent.is_ok()
                && let Ok(seq) = answer.await
            {
                seen.push((topic, seq));
            }
        }
        seen
    }

    /// A viewer is gone.
    pub fn unview(&self, id: u64) {
        write(&self.0.viewers).retain(|(_, v)| v.id != id);
        for topic in read(&self.0.topics).values() {
            // A topic that cannot be told finds the viewer gone at its next record.
            drop(topic.front.try_send(TopicMessage::Unview(id)));
        }
    }

    /// The viewers of a topic, for one that starts.
    pub fn viewers_of(&self, topic: &str) -> Vec<Viewer> {
        read(&self.0.viewers).iter().filter(|(p, _)| p.matches(topic)).map(|(_, v)| v.clone()).collect()
    }

    /// The log, for reading.
    pub fn log(&self) -> &Arc<dyn EventLog> {
        &self.0.log
    }

    /// The journal, for writing.
    pub fn journal(&self) -> &Front<Commit> {
        &self.0.journal
    }
}

impl Topics for Cast {
    fn place(&self, topic: &Str) -> Result<Place, String> {
        self.number(topic).map_err(|e| e.to_string())
    }
}
